"""Physics of CT images: attenuation of tissue and agent, pools, motion, hardening, resolution and noise.

Level 0 is attenuation plus pinned slope times concentration, with the water that particles of a known
density displace. Level 1 puts an injected suspension into clustered pools of its full strength, mass for
mass, and adds Gaussian noise that went through a reconstruction kernel: its power rises as |f| to where the
kernel cuts it off, so that neighbours are correlated, and the mean over a region scatters by another number
than voxels over the root of their count. Level 2 adds the resolution of the image, the hardening of a
polychromatic beam as a scan that is corrected for water shows it (`imgtheranostics.phantom.ct_hardening`),
and how the subject lies: against other modalities, and at later fractions moved and deformed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import CtAcquisition, Subject
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.ct_composition import Composition, composed, is_pooled, mixture_of
from imgtheranostics.phantom.ct_hardening import Held, hardening_hu
from imgtheranostics.phantom.ct_noise import kernel_noise
from imgtheranostics.phantom.ct_scans import BEFORE, BINS, CtScan, ct_cases, scanner_of, scans_of
from imgtheranostics.phantom.ct_tissue import (
    AIR_HU,
    concentration_mg_ml,
    filled_share,
    material_of,
    materials_of,
    region_value,
    shown_slope_hu,
    slope_hu,
    tissue_hu,
)
from imgtheranostics.phantom.misplacement import draw_shift
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.pet import blur
from imgtheranostics.phantom.physics import LazyVolumes, Physics
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.units import conversion_factor
from imgtheranostics.volume import Axis, Source, Volume, make_step

Float32Array = npt.NDArray[np.float32]


class Ct(Physics):
    """X-ray computed tomography in HU."""

    modality = "CT"

    def names(self, spec: PhantomSpec) -> tuple[str, ...]:
        """Axis values such as ``fraction-5_fill-10_kvp-120``; scans beside the main ones with their role."""
        return tuple(scan.name for scan in scans_of(spec))

    def cases(self, spec: PhantomSpec) -> Sequence[Case]:
        """Of the main scans, which come first; nothing is expected of the others."""
        return ct_cases(spec)

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """Refuse a region without attenuation, a beam without slope, and pools of more than 100 %."""
        for scan in scans_of(spec):
            for region in spec.regions:
                tissue_hu(spec, region.name, scan)
                if concentration_mg_ml(spec, region.name, scan) > 0:
                    slope_hu(spec, material_of(spec, region.name), scan)
                share = filled_share(spec, region.name, scan)
                if share > 1.0 and is_pooled(spec, region.name):
                    raise ImplausibleValue(
                        f"more suspension than there is room for in {region.name}",
                        found=f"{100 * share:.4g} %",
                    )

    def volumes(
        self, spec: PhantomSpec, mixture: Mixture, level: int, seeds: Sequence[np.random.SeedSequence]
    ) -> LazyVolumes:
        """The scans, each made when it is asked for."""
        scans = scans_of(spec)
        return LazyVolumes(
            len(seeds), lambda n: _volume(_Job(spec, mixture, level, scans[n], n == 0), seeds[n])
        )

    def region_truth(
        self, spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0
    ) -> float:
        """What a perfect analysis finds in a region."""
        return region_value(spec, region.removesuffix("_core"), quantity, scans_of(spec)[volume])

    def truth_map(self, spec: PhantomSpec, mixture: Mixture, volume: int, level: int = 0) -> Volume:
        """Concentration of the agent, mg/mL, in pools from level 1 on; HU where there are several agents."""
        scan = scans_of(spec)[volume]
        if len(materials_of(spec)) > 1:
            values = {r.name: region_value(spec, r.name, "attenuation", scan) for r in spec.regions}
            image = mixture_of(spec, mixture, scan).paint(values, outside=AIR_HU)
            return Volume(image, mixture.grid.affine, "attenuation", "[HU]")
        # where the regions are drawn, not where this scanner's table put the subject
        back = -np.array(scanner_of(spec).shift_mm) if level >= 2 else None
        held = composed(spec, mixture, scan, level, back).mg_ml
        empty = np.zeros(mixture.grid.shape, np.float32, order="F")
        return Volume(sum(held.values(), empty), mixture.grid.affine, "concentration", "mg/mL")


@dataclass(frozen=True, eq=False)
class _Job:
    """One image to be made; `first` is whether it shows the subject where the regions are drawn."""

    spec: PhantomSpec
    mixture: Mixture
    level: int
    scan: CtScan
    first: bool


def _volume(job: _Job, seed: np.random.SeedSequence) -> Volume:
    spec, scan, grid = job.spec, job.scan, job.mixture.grid
    children = seed.spawn(len(scan.beams) + 1)
    offset = np.zeros(3)
    if job.level >= 3 and not job.first:
        rng = np.random.Generator(np.random.Philox(children[-1]))
        offset += draw_shift(spec.physics_of("CT").misplacement.shift_sd_mm, rng)
    composition = composed(spec, job.mixture, scan, job.level, offset)
    data = np.empty((*grid.shape, len(scan.beams)), np.float32, order="F")
    for sample, child in enumerate(children[:-1]):
        data[..., sample] = shown(spec, composition, scan, sample, job.level)
        if job.level >= 1:
            data[..., sample] += _noise(spec, job.mixture, np.random.Generator(np.random.Philox(child)))
    axes: tuple[Axis, ...] = ()
    if scan.role == BINS:
        middles = np.array([0.5 * (beam.low_kev + min(beam.high_kev, beam.kvp)) for beam in scan.beams])
        axes = (Axis("energy", middles, "keV"),)
    return Volume(
        data if axes else data[..., 0],
        grid.affine,
        "attenuation",
        "[HU]",
        axes=axes,
        acquisition=_record(spec, scan),
        history=(make_step("phantom", slug=spec.slug, level=job.level, volume=scan.name),),
        source=Source(subject=f"PHANTOM-{spec.slug}", session=scan.name),
    )


def shown(spec: PhantomSpec, composition: Composition, scan: CtScan, sample: int, level: int) -> Float32Array:
    """The noise-free image of one beam, HU."""
    scanner, grid = scanner_of(spec), composition.mixture.grid
    image = composition.tissue_hu.copy(order="F")
    for material, amount in composition.mg_ml.items():
        image += np.float32(shown_slope_hu(spec, material, scan, sample)) * amount
    if level < 2:
        return image
    fwhm_mm = spec.physics_of("CT").psf_fwhm_mm
    if fwhm_mm > 0:
        # air beyond the grid goes on
        image = blur(image - np.float32(AIR_HU), fwhm_mm, grid.spacing_mm) + np.float32(AIR_HU)
    if scanner.beam_hardening and composition.mg_ml:
        held = [
            Held(material, slope_hu(spec, material, scan, sample), amount)
            for material, amount in composition.mg_ml.items()
        ]
        image += hardening_hu(
            grid,
            composition.tissue_hu,
            held,
            scan.beams[sample],
            water_cm=scanner.water_cm,
            bath_cm=scanner.water_cm if spec.subject.species == "none" else None,
        )
    return image


def _noise(spec: PhantomSpec, mixture: Mixture, rng: np.random.Generator) -> Float32Array | float:
    physics, scanner, grid = spec.physics_of("CT"), scanner_of(spec), mixture.grid
    if physics.noise != "gaussian" or physics.noise_sd is None:
        return 0.0
    fwhm_mm = scanner.noise_fwhm_mm or physics.psf_fwhm_mm or 1.5 * max(grid.spacing_mm[:2])
    return kernel_noise(grid, physics.noise_sd, fwhm_mm, rng)


def _record(spec: PhantomSpec, scan: CtScan) -> CtAcquisition:
    """What the header of a scan says."""
    physics, scanner, subject = spec.physics_of("CT"), scanner_of(spec), spec.subject
    animal = subject.species not in ("human", "none")
    return CtAcquisition(
        manufacturer=physics.manufacturer,
        model=physics.model,
        tube_voltage_kv=scan.kvp,
        filter_material="ALUMINUM",
        filter_thickness_mm=scanner.filtration_mm_al,
        kernel=scanner.kernel,
        slice_thickness_mm=spec.grid.voxel_mm[2],
        rescale_type="HU",
        acquisition_datetime=_start(spec, scan),
        subject=Subject(
            weight_kg=subject.weight_kg,
            height_m=subject.height_m,
            sex=subject.sex,
            species=subject.species if animal else None,
        ),
    )


def _start(spec: PhantomSpec, scan: CtScan) -> datetime:
    """On the scanner's clock: an hour before the injection without agent, else at the case's time."""
    if scan.role == BEFORE:
        return spec.administration.at - timedelta(hours=1)
    for kind in ("fraction", "time"):
        axis = spec.axis_of(kind)
        if axis is not None and kind in scan.case:
            seconds = float(scan.case[kind]) * conversion_factor(axis.unit, "s")
            return spec.administration.at + timedelta(seconds=seconds)
    return spec.administration.at
