"""Physics of ultrasound cines: echo power of regions, speckle, resolution, breathing, log compression.

Level 0 is the mean echo power of every region, on the scanner's logarithmic grey scale without rounding.
Level 1 gives it fully developed speckle, whose intensity is exponential and whose neighbouring pixels share
resolution cells: that of tissue stays, that of regions with an agent is renewed by flow and new gas; and it
stores whole grey levels. Level 2 adds the resolution of the image and breathing
along the depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import GeometryMismatch, UnsupportedInput
from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.pet import blur
from imgtheranostics.phantom.physics import LazyVolumes, Physics
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.ultrasound_cines import Cine, cines_of, echo_course, scanner_of
from imgtheranostics.phantom.ultrasound_speckle import ComplexArray, speckle_frames
from imgtheranostics.regions import FWHM_PER_SD
from imgtheranostics.volume import Axis, Grid, Source, Volume, make_step

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

LARGEST_GREY = 255
"""Of eight bits."""

_MM_PER_CM = 10.0
_MOST_LEVEL = 2


class Ultrasound(Physics):
    """B-mode or contrast-mode ultrasound in one plane."""

    modality = "US"

    def names(self, spec: PhantomSpec) -> tuple[str, ...]:
        """The protocol of each cine, of gas with its time and pH: ``gas_time-60_ph-6.5``."""
        return tuple(cine.name for cine in cines_of(spec))

    def cases(self, spec: PhantomSpec) -> Sequence[Case]:
        """Protocol, and time and pH where a cine has them."""
        return tuple(cine.case for cine in cines_of(spec))

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """Refuse several planes, levels without physics, and regions that do not state what a cine needs."""
        if spec.grid.shape[2] != 1:
            raise GeometryMismatch("a cine shows one plane", where="grid.shape", found=str(spec.grid.shape))
        if max(spec.physics_of("US").levels) > _MOST_LEVEL:
            raise UnsupportedInput("ultrasound has levels up to 2", where="physics.levels")
        for cine in cines_of(spec):
            for region in spec.regions:
                echo_course(spec, region, cine)

    def place(self, grid: Grid) -> Grid:
        """An ultrasound image has no place in the patient: its first pixel is the origin."""
        affine = grid.affine.copy()
        affine[:3, 3] = 0.0
        return Grid(grid.shape, affine)

    def volumes(
        self, spec: PhantomSpec, mixture: Mixture, level: int, seeds: Sequence[np.random.SeedSequence]
    ) -> LazyVolumes:
        """The cines, each made when it is asked for."""
        cines = cines_of(spec)
        return LazyVolumes(len(seeds), lambda n: _volume(spec, mixture, level, cines[n], seeds[n]))

    def region_truth(
        self, spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0
    ) -> float:
        """What a region states; its echo intensity is that of the cine's last frame."""
        found = spec.region(region.removesuffix("_core"))
        if quantity == "echo_intensity":
            return float(echo_course(spec, found, cines_of(spec)[volume])[-1])
        truth = found.states(quantity)
        if truth is None:
            raise UnsupportedInput("the region does not state this quantity", found=f"{quantity} of {region}")
        return truth.in_own_unit()

    def truth_map(self, spec: PhantomSpec, mixture: Mixture, volume: int, level: int = 0) -> Volume:
        """Echo intensity in the cine's last frame."""
        cine = cines_of(spec)[volume]
        values = {region.name: float(echo_course(spec, region, cine)[-1]) for region in spec.regions}
        return Volume(mixture.paint(values), mixture.grid.affine, "echo_intensity", "1")

    def blur_mm(self, spec: PhantomSpec) -> tuple[float, float, float]:
        """In the plane; across it the voxel is all there is."""
        fwhm_mm = self.resolution_mm(spec)
        return fwhm_mm, fwhm_mm, _of_voxel(spec.grid.voxel_mm[2])


def _of_voxel(width_mm: float) -> float:
    """FWHM of the Gaussian as wide as the average over a voxel."""
    return FWHM_PER_SD * width_mm / math.sqrt(12.0)


def _volume(
    spec: PhantomSpec, mixture: Mixture, level: int, cine: Cine, seed: np.random.SeedSequence
) -> Volume:
    grid, scanner = mixture.grid, scanner_of(spec)
    flowing = _flowing(spec)
    tissue = _mean_echo(spec, mixture, level, cine, [r.name for r in spec.regions if r.name not in flowing])
    agent = _mean_echo(spec, mixture, level, cine, flowing)
    echo = tissue + agent
    if level >= 1 and scanner.speckle:
        renewal = math.exp(-1.0 / (scanner.frame_rate_hz * scanner.speckle_lifetime_s))
        fields = [
            _fields(spec, level, cine, correlation, child)
            for correlation, child in zip((1.0, renewal), seed.spawn(2), strict=True)
        ]
        for n, (still, renewed) in enumerate(zip(*fields, strict=True)):
            seen = np.sqrt(tissue[:, :, 0, n]) * still + np.sqrt(agent[:, :, 0, n]) * renewed
            echo[:, :, 0, n] = seen.real**2 + seen.imag**2
    return Volume(
        _grey(echo, scanner.full_scale_db, scanner.dynamic_range_db, whole=level >= 1),
        grid.affine,
        "signal",
        "[arb'U]",
        axes=(Axis("time", cine.frame_s, "s"),),
        acquisition=_record(spec, grid),
        history=(make_step("phantom", slug=spec.slug, level=level, volume=cine.name),),
        source=Source(subject=f"PHANTOM-{spec.slug}", session=cine.name),
    )


def _flowing(spec: PhantomSpec) -> list[str]:
    """Regions whose scatterers are replaced: those with an agent, and those that a bolus passes."""
    passed = {one.bolus.region for one in scanner_of(spec).cines if one.bolus is not None}
    return [region.name for region in spec.regions if region.agent is not None or region.name in passed]


def _fields(
    spec: PhantomSpec, level: int, cine: Cine, correlation: float, seed: np.random.SeedSequence
) -> Iterator[ComplexArray]:
    scanner, shape = scanner_of(spec), spec.grid.shape
    lateral, axial = scanner.speckle_fwhm_mm
    return speckle_frames(
        (shape[0], shape[1]),
        (lateral / spec.grid.voxel_mm[0], axial / spec.grid.voxel_mm[1]),
        cine.frame_s.size,
        correlation,
        np.random.Generator(np.random.Philox(seed)),
        _breathing(spec, level, cine),
    )


def _mean_echo(
    spec: PhantomSpec, mixture: Mixture, level: int, cine: Cine, regions: Sequence[str]
) -> Float32Array:
    """Echo power of some regions without speckle, (i, j, 1, n)."""
    from scipy.ndimage import shift

    nothing = np.zeros(cine.frame_s.size)
    courses = {
        region.name: echo_course(spec, region, cine) if region.name in regions else nothing
        for region in spec.regions
    }
    still = _seen(spec, mixture, level, {name: float(course[0]) for name, course in courses.items()})
    echo = np.repeat(still[..., np.newaxis], cine.frame_s.size, axis=-1)
    for name, course in courses.items():
        change = (course - course[0]).astype(np.float32)
        if change.any():
            share = _seen(spec, mixture, level, {known: float(known == name) for known in courses})
            echo += share[..., np.newaxis] * change
    moved = _breathing(spec, level, cine)
    if moved is not None:
        for n, distance in enumerate(moved):
            echo[:, :, 0, n] = shift(echo[:, :, 0, n], (0.0, distance), order=1, mode="nearest")
    return np.asfortranarray(np.maximum(echo, 0.0))


def _seen(spec: PhantomSpec, mixture: Mixture, level: int, values: dict[str, float]) -> Float32Array:
    image = mixture.paint(values)
    if level < _MOST_LEVEL or not spec.physics_of("US").psf_fwhm_mm:
        return image
    width = Ultrasound().blur_mm(spec)
    return blur(image, width, mixture.grid.spacing_mm)


def _breathing(spec: PhantomSpec, level: int, cine: Cine) -> FloatArray | None:
    """Displacement along the depth in every frame, pixels; None at rest."""
    scanner = scanner_of(spec)
    if level < _MOST_LEVEL or not scanner.motion_mm:
        return None
    phase = 2.0 * math.pi * scanner.motion_rate_hz * cine.frame_s
    return np.asarray(scanner.motion_mm * np.sin(phase) / spec.grid.voxel_mm[1])


def _grey(echo: Float32Array, full_scale_db: float, range_db: float, *, whole: bool) -> Float32Array:
    """Grey levels from 0 to 255 of echo powers."""
    with np.errstate(divide="ignore"):
        level_db = 10.0 * np.log10(echo)
    grey = LARGEST_GREY * np.clip(1.0 + (level_db - full_scale_db) / range_db, 0.0, 1.0)
    return np.asfortranarray(np.rint(grey) if whole else grey, np.float32)


def _record(spec: PhantomSpec, grid: Grid) -> UltrasoundAcquisition:
    """Without a dynamic range, which no scanner writes either."""
    physics, scanner = spec.physics_of("US"), scanner_of(spec)
    columns, rows, _ = grid.shape
    region = {
        "spatial_format": "2d",
        "data_type": 1,
        "x0": 0,
        "y0": 0,
        "x1": columns - 1,
        "y1": rows - 1,
        "x_unit": "cm",
        "y_unit": "cm",
        "x_delta": grid.spacing_mm[0] / _MM_PER_CM,
        "y_delta": grid.spacing_mm[1] / _MM_PER_CM,
    }
    return UltrasoundAcquisition(
        manufacturer=physics.manufacturer,
        model=physics.model,
        frame_time_s=1.0 / scanner.frame_rate_hz,
        photometric="MONOCHROME2",
        regions=(region,),
        grey_max=float(LARGEST_GREY),
    )
