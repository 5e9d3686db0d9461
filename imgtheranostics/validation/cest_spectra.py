"""Spectra of regions of CEST phantoms as a user makes them: fields from WASABI, shift, mean of a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.bloch_mcconnell import PulseTrain, simulate
from imgtheranostics.cest.constants import GAMMA_RAD_PER_S_UT
from imgtheranostics.phantom.cest_scans import WASABI, CestScan, scanner_of, scans_of
from imgtheranostics.phantom.cest_tissue import pools_of
from imgtheranostics.phantom.physics import parts_of
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.validation.mri_maps import api
from imgtheranostics.validation.mri_methods import best
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    from imgtheranostics.cest.normalisation import Normalised
    from imgtheranostics.fit import Fit
    from imgtheranostics.phantom.spec import PhantomSpec
    from imgtheranostics.validation.session import Session

FloatArray = npt.NDArray[np.floating]
DoubleArray = npt.NDArray[np.float64]

BLOCK_MM = 1.2
"""Voxels are averaged over blocks of about this size before WASABI: fields are smooth, noise is not."""

CLEAR_OF_NOISE = 6.0
"""Samples below this many standard deviations of the noise of one voxel are left out; see
`_without_mean_noise`."""

MOST_PARTS, UNIFORM_B1 = 2, 0.01
"""Parts of a region in which B1 is spread by more than this standard deviation; see `parts_by_b1`."""


@dataclass(frozen=True, eq=False)
class FieldMaps:
    """Where water lies in ppm, and B1 over nominal, in each voxel of the grid."""

    b0_ppm: DoubleArray
    relative_b1: DoubleArray


@dataclass(frozen=True, eq=False)
class RegionSpectrum:
    """Mean spectrum of a region with water at 0, at the offsets that all of its voxels were measured at.

    Without those next to water, where the signal is that of the noise.
    """

    z: DoubleArray
    offset_ppm: DoubleArray
    relative_b1: float
    n_voxels: int


def scan_of(session: Session, volume: int) -> CestScan:
    """The scan of a volume."""
    return scans_of(session.phantom.spec)[volume - first_volume(session.phantom.spec)]


def volume_of(session: Session, scan: CestScan) -> int:
    """Number of the volume of a scan."""
    names = [known.name for known in scans_of(session.phantom.spec)]
    return first_volume(session.phantom.spec) + names.index(scan.name)


def first_volume(spec: PhantomSpec) -> int:
    """Position of the first CEST image among all of the phantom."""
    return next(part.first for part in parts_of(spec) if part.physics.modality == "CEST")


def field_maps(session: Session) -> FieldMaps:
    """B0 and B1 from the phantom's WASABI scan.

    Raises
    ------
    MethodMissing
        If the phantom has none, or the package cannot read it yet.
    """
    found = next((scan for scan in scans_of(session.phantom.spec) if scan.role == WASABI), None)
    if found is None:
        raise MethodMissing("WASABI scan in the phantom")
    made: FieldMaps = session.kept(WASABI, lambda: _from_wasabi(session.image(volume_of(session, found))))
    return made


def _from_wasabi(image: Volume) -> FieldMaps:
    blocks = [max(1, round(BLOCK_MM / spacing)) for spacing in image.grid.spacing_mm]
    found = api("normalise", "cest.zspectrum")(_block_sums(image.data, blocks), _offsets(image))
    pulse = image.acquisition
    fit = _wasabi(found.z, found.offset_ppm, pulse.saturation, pulse.imaging_frequency_mhz)
    shape = image.grid.shape
    return FieldMaps(*(_on_voxels(fit.parameters[name], shape, blocks) for name in ("b0_ppm", "relative_b1")))


def _wasabi(z: FloatArray, offset_ppm: DoubleArray, saturation: Mapping[str, Any], mhz: float) -> Fit:
    found: Fit = api("wasabi", "cest.wasabi")(
        z,
        offset_ppm,
        pulse_duration_s=saturation["duration_s"],
        imaging_frequency_mhz=mhz,
        nominal_b1_ut=saturation["b1_rms_ut"],
    )
    return found


def relaxation_bias(session: Session, region: str) -> float:
    """What WASABI makes of nominal B1 in water that relaxes as that of a region does.

    Its formula knows no relaxation. Water relaxes by some per cent during the pulse, which reads as less B1;
    with T1 and T2 known, a simulation tells how much.
    """

    def make() -> float:
        spec = session.phantom.spec
        scan = next(scan for scan in scans_of(spec) if scan.role == WASABI)
        water = replace(pools_of(spec, region, scan), exchange=(), mt=None)
        z = simulate(water, PulseTrain(scan.saturated, [scan.b1_ut], scan.saturation_s))
        saturation = {"duration_s": scan.saturation_s, "b1_rms_ut": scan.b1_ut}
        mhz = scanner_of(spec)[2] * GAMMA_RAD_PER_S_UT / (2.0 * np.pi)
        return float(_wasabi(z, scan.saturated, saturation, mhz).parameters["relative_b1"])

    made: float = session.kept(("relaxation bias", region), make)
    return made


def _offsets(image: Volume) -> DoubleArray:
    axis = image.axis("saturation_offset")
    if axis is None:
        raise MethodMissing("saturation offsets in the image")
    return np.asarray(axis.values, np.float64)


def _block_sums(data: FloatArray, blocks: Sequence[int]) -> DoubleArray:
    """Sums over blocks of voxels; the last ones may be smaller."""
    found = np.asarray(data, np.float64)
    for axis, size in enumerate(blocks):
        found = np.add.reduceat(found, np.arange(0, found.shape[axis], size), axis=axis)
    return found


def _on_voxels(values: FloatArray, shape: tuple[int, int, int], blocks: Sequence[int]) -> DoubleArray:
    """A map of blocks between their centres; blocks without a value take that of the nearest one."""
    from scipy.ndimage import distance_transform_edt, map_coordinates

    missing = ~np.isfinite(values)
    nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
    full = values[tuple(nearest)]
    places = []
    for n, size in zip(shape, blocks, strict=True):
        first = np.arange(0, n, size)
        centres = 0.5 * (first + np.minimum(first + size, n) - 1)
        places.append(np.interp(np.arange(n), centres, np.arange(first.size)))
    grid = np.meshgrid(*places, indexing="ij")
    return np.asarray(map_coordinates(np.asarray(full, np.float64), grid, order=1, mode="nearest"))


def region_spectrum(session: Session, volume: int, region: str) -> RegionSpectrum:
    """Mean spectrum of a region, each voxel of it shifted first."""
    return region_parts(session, volume, region, 1)[0]


def parts_by_b1(session: Session, volume: int, region: str) -> tuple[RegionSpectrum, ...]:
    """Mean spectra of the voxels of similar B1 of a region, the lowest B1 first.

    A pool's signal does not change with B1 in a straight line, so that the mean spectrum of a region is not
    the spectrum at its mean B1: with B1 spread by 2.6 %, 1 mmol/L of an amine reads 1 % too high, and a third
    of that in two parts.
    """
    inside = session.phantom.regions.mask(best(session, region))
    spread = float(np.std(field_maps(session).relative_b1[inside]))
    return region_parts(session, volume, region, MOST_PARTS if spread > UNIFORM_B1 else 1)


def region_parts(session: Session, volume: int, region: str, n: int) -> tuple[RegionSpectrum, ...]:
    """Mean spectra of a region's voxels in n groups of equal size by their B1."""

    def make() -> tuple[RegionSpectrum, ...]:
        maps, image = field_maps(session), session.image(volume)
        inside = session.phantom.regions.mask(best(session, region))
        found = api("normalise", "cest.zspectrum")(image.data[inside], _offsets(image))
        shifted = api("correct_b0", "cest.zspectrum")(found.z, found.offset_ppm, maps.b0_ppm[inside])
        usable = np.flatnonzero(np.isfinite(shifted).any(axis=1))
        b1 = maps.relative_b1[inside]
        bias = relaxation_bias(session, region)
        groups = np.array_split(usable[np.argsort(b1[usable], kind="stable")], n)
        return tuple(
            _mean_spectrum(shifted[group], found.m0[group], found, float(b1[group].mean()) / bias)
            for group in groups
        )

    made: tuple[RegionSpectrum, ...] = session.kept(("spectrum", volume, region, n), make)
    return made


def _mean_spectrum(z: FloatArray, m0: FloatArray, found: Normalised, relative_b1: float) -> RegionSpectrum:
    """Sum of the signals over that of the unsaturated ones, which has less noise than a mean of ratios has.

    The inverse of a noisy reference is too high on average.
    """
    weight = np.asarray(m0, np.float64)[:, np.newaxis]
    mean = (weight * z).sum(axis=0) / weight.sum()
    noise = float(np.sqrt(np.nanmean(np.square(found.noise_sd, dtype=np.float64))))
    with np.errstate(invalid="ignore"):
        kept = mean > CLEAR_OF_NOISE * noise
    spectrum = _without_mean_noise(mean[kept], noise)
    return RegionSpectrum(spectrum, found.offset_ppm[kept], relative_b1, len(z))


def _without_mean_noise(z: DoubleArray, noise_sd: float) -> DoubleArray:
    """The mean of many voxels' z without what the noise of magnitudes adds to it.

    A magnitude lies above its signal by sd^2 / (2 signal) on average, to 1 part in 2000 from 6 sd on. That
    goes for the unsaturated signal too.
    """
    return np.asarray(z - noise_sd**2 / (2.0 * z) + z * noise_sd**2 / 2.0)
