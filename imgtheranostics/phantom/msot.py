"""Physics of optoacoustic images: absorbed light made pressure, resolution, noise with negative values.

The signal of a voxel is the Grueneisen parameter times the light that gets there times what absorbs it,
p = Gamma Phi mu_a, with the light as a share of that at the surface and mu_a in 1/cm. Levels 0 and 1 have
the light of a slab of the bulk tissue; level 1 adds Gaussian noise, so that faint voxels are negative; level
2 adds the light that all regions leave (`imgtheranostics.phantom.msot_fluence`), absorbers that fade while
the wavelengths are taken, and the resolution in the slice and across it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import PhotoacousticAcquisition, Subject
from imgtheranostics.errors import CorruptInput
from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.misplacement import draw_shift, shapes_on_grid
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.msot_fluence import Medium, attenuation_per_cm, depth_mm
from imgtheranostics.phantom.msot_scans import MsotScan, msot_cases, scanner_of, scans_of
from imgtheranostics.phantom.msot_tissue import (
    AGENT,
    agent_absorption_per_cm,
    region_value,
    scattering_per_cm,
    tissue_absorption_per_cm,
)
from imgtheranostics.phantom.pet import blur
from imgtheranostics.phantom.physics import LazyVolumes, Physics
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.volume import Axis, Source, Volume, make_step

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

_MM_PER_CM = 10.0
_UMOL_PER_MMOL = 1e3


class Msot(Physics):
    """Multispectral optoacoustic imaging."""

    modality = "MSOT"

    def names(self, spec: PhantomSpec) -> tuple[str, ...]:
        """Axis values such as ``particle-nanorod_concentration-0.1``; ``scan`` where there is one image."""
        return tuple(scan.name for scan in scans_of(spec))

    def cases(self, spec: PhantomSpec) -> Sequence[Case]:
        """Of each image; its wavelengths are no frames, since an analysis makes one map of all of them."""
        return msot_cases(spec)

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """Refuse a region without scattering, haemoglobin without saturation, and an unknown absorber."""
        bulk = scanner_of(spec).bulk
        if bulk is not None and bulk not in mixture.names:
            raise CorruptInput(
                "the bulk is no region of the phantom",
                where="physics.msot.bulk",
                found=bulk,
                needed="one of " + ", ".join(mixture.names),
            )
        for scan in scans_of(spec):
            _Absorbing.of(spec, mixture, scan)

    def volumes(
        self, spec: PhantomSpec, mixture: Mixture, level: int, seeds: Sequence[np.random.SeedSequence]
    ) -> LazyVolumes:
        """The images, each made when it is asked for."""
        scene = _Scene(spec, mixture, level)
        return LazyVolumes(len(seeds), lambda n: _volume(scene, n, seeds[n]))

    def region_truth(
        self, spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0
    ) -> float:
        """What a perfect analysis finds in a region."""
        return region_value(spec, region.removesuffix("_core"), quantity, scans_of(spec)[volume])

    def truth_map(self, spec: PhantomSpec, mixture: Mixture, volume: int, level: int = 0) -> Volume:
        """Concentration of the absorber, umol/L."""
        scan = scans_of(spec)[volume]
        held = {name: _UMOL_PER_MMOL * region_value(spec, name, AGENT, scan) for name in mixture.names}
        return Volume(mixture.paint(held), mixture.grid.affine, "chromophore_concentration", "umol/L")

    def resolution_mm(self, spec: PhantomSpec) -> float:
        """The wider of the two: across the slices."""
        return max(self.blur_mm(spec))

    def blur_mm(self, spec: PhantomSpec) -> tuple[float, float, float]:
        """In the slice along i and j, and across the slices along k."""
        in_plane = spec.physics_of("MSOT").psf_fwhm_mm
        return in_plane, in_plane, scanner_of(spec).elevational_fwhm_mm or in_plane


@dataclass(frozen=True, eq=False)
class _Absorbing:
    """What the regions of a scan absorb and scatter, (regions, wavelengths) in the mixture's order, 1/cm."""

    tissue: FloatArray
    agent: FloatArray
    scattering: FloatArray

    @classmethod
    def of(cls, spec: PhantomSpec, mixture: Mixture, scan: MsotScan) -> _Absorbing:
        names = mixture.names
        return cls(
            np.array([tissue_absorption_per_cm(spec, name, scan) for name in names]),
            np.array([agent_absorption_per_cm(spec, name, scan) for name in names]),
            np.array([_scattering(spec, name, scan) for name in names]),
        )

    @property
    def total(self) -> FloatArray:
        return self.tissue + self.agent


def _scattering(spec: PhantomSpec, region: str, scan: MsotScan) -> FloatArray:
    if scanner_of(spec).fluence == "none":
        return np.zeros(scan.wavelength_nm.size)
    return scattering_per_cm(spec, region, scan)


@dataclass(frozen=True, eq=False)
class _Scene:
    """A phantom at one level, with what all of its images share."""

    spec: PhantomSpec
    mixture: Mixture
    level: int

    @cached_property
    def scans(self) -> tuple[MsotScan, ...]:
        return scans_of(self.spec)

    @cached_property
    def noise_sd(self) -> float:
        """Of every voxel: stated, or from the brightest region of all images without their noise."""
        physics = self.spec.physics_of("MSOT")
        if self.level < 1 or physics.noise != "gaussian":
            return 0.0
        if physics.noise_sd is not None:
            return physics.noise_sd
        if physics.snr is None:
            return 0.0
        return brightest_signal(self.spec, self.mixture) / physics.snr


def brightest_signal(spec: PhantomSpec, mixture: Mixture) -> float:
    """The largest mean signal of a region, over all images and wavelengths, in the light of level 0."""
    depth, gain = depth_mm(mixture), grueneisen_of(spec)
    labels = mixture.labels.ravel(order="F")
    counts = np.maximum(np.bincount(labels, minlength=len(mixture.names) + 1)[1:], 1)
    found = 0.0
    for scan in scans_of(spec):
        absorbing = _Absorbing.of(spec, mixture, scan)
        bulk = bulk_of(spec, mixture, absorbing.total, absorbing.scattering)
        for n in range(scan.wavelength_nm.size):
            light = slab_fluence(spec, depth, bulk[n]).ravel(order="F")
            means = np.bincount(labels, light, minlength=counts.size + 1)[1:] / counts
            found = max(found, gain * float((means * absorbing.total[:, n]).max()))
    return found


def grueneisen_of(spec: PhantomSpec) -> float:
    """The Grueneisen parameter at the temperature of the scan."""
    from imgtheranostics.msot import fluence

    return float(fluence.grueneisen(scanner_of(spec).temperature_cel))


def bulk_region(spec: PhantomSpec, mixture: Mixture) -> str:
    """The region whose tissue is taken for all that light passes: stated, or the largest."""
    volumes = mixture.volumes_ml()
    return scanner_of(spec).bulk or max(volumes, key=lambda name: volumes[name])


def bulk_of(
    spec: PhantomSpec, mixture: Mixture, absorption: FloatArray, scattering: FloatArray
) -> list[tuple[float, float]]:
    """Absorption and reduced scattering of the bulk at each wavelength, 1/cm."""
    row = mixture.names.index(bulk_region(spec, mixture))
    pairs = zip(absorption[row], scattering[row], strict=True)
    return [(float(mu_a), float(mu_s)) for mu_a, mu_s in pairs]


def slab_fluence(spec: PhantomSpec, depth: FloatArray, bulk: tuple[float, float]) -> FloatArray:
    """Light at each depth in a slab of the bulk, over that at its surface."""
    kind = scanner_of(spec).fluence
    if kind == "none":
        return np.ones_like(depth)
    per_cm = float(attenuation_per_cm(*bulk)) if kind == "diffusion" else sum(bulk)
    return np.exp(-per_cm / _MM_PER_CM * depth)


def _volume(scene: _Scene, number: int, seed: np.random.SeedSequence) -> Volume:
    spec, scan, grid = scene.spec, scene.scans[number], scene.mixture.grid
    noise, motion = (np.random.Generator(np.random.Philox(child)) for child in seed.spawn(2))
    mixture = scene.mixture
    if scene.level >= 3 and number > 0:
        mixture = shapes_on_grid(
            spec, grid, draw_shift(spec.physics_of("MSOT").misplacement.shift_sd_mm, motion)
        )
    data = _signal(spec, mixture, scan, scene.level)
    if scene.noise_sd > 0:
        for n in range(data.shape[3]):
            white = noise.standard_normal(grid.shape[::-1], dtype=np.float32)
            data[..., n] += np.float32(scene.noise_sd) * white.T
    return Volume(
        data,
        grid.affine,
        "optoacoustic_signal",
        "[arb'U]",
        axes=(Axis("wavelength", scan.wavelength_nm, "nm"),),
        acquisition=_record(spec, scan),
        history=(make_step("phantom", slug=spec.slug, level=scene.level, volume=scan.name),),
        source=Source(subject=f"PHANTOM-{spec.slug}", session=scan.name),
    )


def _signal(spec: PhantomSpec, mixture: Mixture, scan: MsotScan, level: int) -> Float32Array:
    """The image without noise, (i, j, k, wavelength)."""
    scanner, gain = scanner_of(spec), np.float32(grueneisen_of(spec))
    absorbing = _Absorbing.of(spec, mixture, scan)
    light = _Light(spec, mixture, absorbing, everywhere=level >= 2)
    width = Msot().blur_mm(spec) if level >= 2 else (0.0, 0.0, 0.0)
    data = np.empty((*mixture.grid.shape, scan.wavelength_nm.size), np.float32, order="F")
    received = np.zeros(mixture.grid.shape, np.float32, order="F")
    rate = np.float32(scanner.photobleaching_per_s if level >= 2 else 0.0)
    for n in range(scan.wavelength_nm.size):
        bright = light.at(n)
        image = mixture.paint(dict(zip(mixture.names, absorbing.tissue[:, n], strict=True)))
        if absorbing.agent.any():
            agent = mixture.paint(dict(zip(mixture.names, absorbing.agent[:, n], strict=True)))
            image += agent * np.exp(-rate * received) if rate > 0 else agent
        received += np.float32(scanner.seconds_per_wavelength) * bright
        image *= gain * bright
        data[..., n] = blur(image, width, mixture.grid.spacing_mm) if max(width) > 0 else image
    return data


class _Light:
    """The light at each voxel, wavelength by wavelength: of the bulk, or of all regions."""

    def __init__(self, spec: PhantomSpec, mixture: Mixture, absorbing: _Absorbing, *, everywhere: bool):
        self.spec, self.absorbing, self.shape = spec, absorbing, mixture.grid.shape
        self.bulk = bulk_of(spec, mixture, absorbing.total, absorbing.scattering)
        spreads = everywhere and scanner_of(spec).fluence == "diffusion"
        self.medium = Medium.of(mixture) if spreads else None
        self.depth = depth_mm(mixture)

    def at(self, wavelength: int) -> Float32Array:
        bulk = self.bulk[wavelength]
        if self.medium is None:
            return np.asfortranarray(slab_fluence(self.spec, self.depth, bulk), dtype=np.float32)
        absorbing = self.absorbing
        found = self.medium.fluence(absorbing.total[:, wavelength], absorbing.scattering[:, wavelength], bulk)
        return self.medium.on_voxels(found, self.shape)


def _record(spec: PhantomSpec, scan: MsotScan) -> PhotoacousticAcquisition:
    """What the header of a scan says."""
    physics, subject = spec.physics_of("MSOT"), spec.subject
    animal = subject.species not in ("human", "none")
    return PhotoacousticAcquisition(
        manufacturer=physics.manufacturer,
        model=physics.model,
        wavelength_nm=tuple(float(one) for one in scan.wavelength_nm),
        energy_corrected=True,
        image_type="raw-au",
        subject=Subject(
            weight_kg=subject.weight_kg,
            height_m=subject.height_m,
            sex=subject.sex,
            species=subject.species if animal else None,
        ),
    )
