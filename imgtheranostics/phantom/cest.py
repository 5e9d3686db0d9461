"""Physics of CEST images: spectra of tissues and agents by the Bloch-McConnell simulator, fields, noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import MrAcquisition, Subject
from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.cest_scans import CestScan, cest_cases, scanner_of, scans_of
from imgtheranostics.phantom.cest_table import Saturation, field_table
from imgtheranostics.phantom.cest_tissue import LEAST_PROTON_DENSITY, pools_of, proton_density
from imgtheranostics.phantom.cest_truth import ideal_map, region_value
from imgtheranostics.phantom.misplacement import draw_shift, shapes_on_grid
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.mri_fields import Fields, fields_on, noisy
from imgtheranostics.phantom.pet import blur
from imgtheranostics.phantom.physics import LazyVolumes, Physics
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.volume import Axis, Source, Volume, make_step

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

SCALE = 1000.0
"""Signal of water that shows all of its magnetisation."""
LEAST_SHARE = 1e-4
"""Share of a region in a voxel below which it does not show, at the resolution of the image."""
_GAMMA_MHZ_T = 42.5764


class Cest(Physics):
    """Chemical exchange saturation transfer: magnitude images at many saturation offsets."""

    modality = "CEST"

    def names(self, spec: PhantomSpec) -> tuple[str, ...]:
        """Axis values such as ``saturation-b1-3.6_state-pre``; scans beside the main ones with their role."""
        return tuple(scan.name for scan in scans_of(spec))

    def cases(self, spec: PhantomSpec) -> Sequence[Case]:
        """Of the main scans, which come first; nothing is expected of the others."""
        return cest_cases(spec)

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """Refuse a region without relaxation times, and exchange that nothing states."""
        for scan in scans_of(spec):
            for region in spec.regions:
                if proton_density(region, scan.case) > LEAST_PROTON_DENSITY:
                    pools_of(spec, region.name, scan)

    def volumes(
        self, spec: PhantomSpec, mixture: Mixture, level: int, seeds: Sequence[np.random.SeedSequence]
    ) -> LazyVolumes:
        """The scans, each made when it is asked for."""
        scans = scans_of(spec)
        return LazyVolumes(len(seeds), lambda n: _volume(spec, mixture, level, scans[n], n == 0, seeds[n]))

    def region_truth(
        self, spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0
    ) -> float:
        """What a perfect analysis finds in a region."""
        return region_value(spec, region.removesuffix("_core"), quantity, scans_of(spec)[volume])

    def truth_map(self, spec: PhantomSpec, mixture: Mixture, volume: int, level: int = 0) -> Volume:
        """The ideal image of what the scan measures: pH, or the asymmetry at the agent's offset."""
        return ideal_map(spec, mixture, scans_of(spec)[volume])


def _volume(
    spec: PhantomSpec,
    mixture: Mixture,
    level: int,
    scan: CestScan,
    first: bool,
    seed: np.random.SeedSequence,
) -> Volume:
    physics, (scanner, _, _) = spec.physics_of("CEST"), scanner_of(spec)
    children = seed.spawn(scan.offset_ppm.size + 1)
    if level >= 3 and not first:
        rng = np.random.Generator(np.random.Philox(children[-1]))
        mixture = shapes_on_grid(spec, mixture.grid, draw_shift(physics.misplacement.shift_sd_mm, rng))
    fields = fields_on(scanner, mixture.grid, level)
    blurred_mm = physics.psf_fwhm_mm if level >= 2 else 0.0
    data = magnetisation(spec, mixture, scan, fields, blurred_mm)
    sd = noise_sd(spec) if level >= 1 else 0.0
    for n, child in enumerate(children[:-1]):
        rng = np.random.Generator(np.random.Philox(child))
        data[:, n] = np.abs(noisy(data[:, n] * fields.receive, sd, physics.noise, scanner.coils, rng))
    return Volume(
        data.reshape((*mixture.grid.shape, scan.offset_ppm.size), order="F"),
        mixture.grid.affine,
        "signal",
        "[arb'U]",
        axes=(Axis("saturation_offset", scan.offset_ppm, "ppm"),),
        acquisition=_record(spec, scan),
        history=(make_step("phantom", slug=spec.slug, level=level, volume=scan.name),),
        source=Source(subject=f"PHANTOM-{spec.slug}", session=scan.name),
    )


def magnetisation(
    spec: PhantomSpec, mixture: Mixture, scan: CestScan, fields: Fields, blurred_mm: float
) -> Float32Array:
    """Noise-free signal, (n_voxels, n_offsets) in Fortran order.

    The fields are smooth over the resolution of the image, so that what each region shows at the field of
    the voxel is weighted with the region's blurred share.
    """
    data = np.zeros((mixture.grid.n_voxels, scan.offset_ppm.size), np.float32, order="F")
    saturated = ~np.isnan(scan.offset_ppm)
    for region in spec.regions:
        amplitude = SCALE * proton_density(region, scan.case)
        if amplitude <= SCALE * LEAST_PROTON_DENSITY:
            continue
        share = mixture.occupancy(region.name)
        if blurred_mm > 0:
            share = blur(share, blurred_mm, mixture.grid.spacing_mm)
        flat = share.ravel(order="F")
        index = np.flatnonzero(flat > LEAST_SHARE)
        weight = amplitude * flat[index].astype(np.float64)
        z = np.ones((index.size, scan.offset_ppm.size))
        z[:, saturated] = spectra(spec, region.name, scan, fields, index)
        for n in range(scan.offset_ppm.size):
            data[index, n] += (weight * z[:, n]).astype(np.float32)
    return data


def spectra(
    spec: PhantomSpec, region: str, scan: CestScan, fields: Fields, index: npt.NDArray[np.int64]
) -> FloatArray:
    """Z-spectra of a region at the fields of some voxels, (n_voxels, n_saturated)."""
    pools = pools_of(spec, region, scan)
    saturation = Saturation(scan.b1_ut, scan.saturation_s, tuple(scan.saturated.tolist()))
    if fields.uniform:
        return np.broadcast_to(saturation.spectrum(pools), (index.size, scan.saturated.size))
    b0_ppm, relative_b1 = (
        np.full(index.size, float(field)) if np.ndim(field) == 0 else np.asarray(field)[index]
        for field in (fields.offset_ppm, fields.relative_b1)
    )
    table = field_table(pools, saturation, _around(b0_ppm, 0.02), _around(relative_b1, 0.01))
    return table(b0_ppm, relative_b1)


def _around(values: FloatArray, step: float) -> tuple[float, float]:
    """The range of some values, to the next multiples of a step."""
    low, high = float(values.min()), float(values.max())
    return round(math.floor(low / step) * step, 9), round(math.ceil(high / step) * step, 9)


def noise_sd(spec: PhantomSpec) -> float:
    """Standard deviation of the noise in each part of the complex signal.

    The signal-to-noise ratio is that of the brightest region without saturation.
    """
    physics = spec.physics_of("CEST")
    if physics.noise_sd is not None:
        return physics.noise_sd
    if physics.snr is None or physics.noise in (None, "none"):
        return 0.0
    first = scans_of(spec)[0]
    return SCALE * max(proton_density(region, first.case) for region in spec.regions) / physics.snr


def _record(spec: PhantomSpec, scan: CestScan) -> MrAcquisition:
    """What the header of a scan says."""
    _, cest, field_t = scanner_of(spec)
    physics, subject = spec.physics_of("CEST"), spec.subject
    animal = subject.species not in ("human", "none")
    after = scan.agent and scan.role == ""
    return MrAcquisition(
        manufacturer=physics.manufacturer,
        model=physics.model,
        field_strength_t=field_t,
        imaging_frequency_mhz=field_t * _GAMMA_MHZ_T,
        nucleus="1H",
        sequence="saturation",
        image_component="magnitude",
        acquisition_datetime=spec.administration.at - timedelta(hours=0 if after else 1),
        saturation={
            "m0_index": scan.references,
            "b1_rms_ut": scan.b1_ut,
            "b1_cwpe_ut": scan.b1_ut,
            "pulse_shape": "block",
            "pulse_duration_s": scan.saturation_s,
            "pulse_count": 1,
            "duty_cycle": 1.0,
            "duration_s": scan.saturation_s,
            "recovery_time_s": cest.recovery_s,
        },
        subject=Subject(
            weight_kg=subject.weight_kg,
            height_m=subject.height_m,
            sex=subject.sex,
            species=subject.species if animal else None,
        ),
    )
