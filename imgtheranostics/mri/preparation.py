"""What is settled before a fit: motion, mask and noise level, each with its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImgTheranosticsError,
    merge_cautions,
)
from imgtheranostics.mri.methods import UnknownChoice
from imgtheranostics.mri.protocol import Series, mr_record, series_along
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Flag, Volume

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
FlagArray = npt.NDArray[np.uint16]

Mask = Volume | Regions | npt.ArrayLike | None

_SIGNIFICANT = 3.0


def on_grid(given: Volume, v: Volume, what: str, next_step: str) -> Array:
    """Voxels of a map in the order of `v`.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid or has axes beyond space.
    """
    same = v.grid.same_as(given.grid)
    match = None if same else v.grid.axis_match(given.grid)
    if given.axes or not (same or match is not None):
        raise GeometryMismatch(
            f"{what} does not lie on the grid of the images",
            found=", ".join(axis.name for axis in given.axes) if given.axes else str(same),
            needed="the same grid, one value per voxel",
            next_step=next_step,
        )
    return given.data if match is None else match.apply_to_array(given.data)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Which voxels are worked on, and the flags of those that are not.

    Attributes
    ----------
    inside : ndarray of bool
    flags : ndarray of uint16
        `Flag.MASKED_OUT` or `Flag.BELOW_NOISE` outside.
    """

    inside: BoolArray
    flags: FlagArray
    decision: dict[str, Any]

    def merged(self, found: FlagArray) -> FlagArray:
        """Flags of a fit, with the reason instead where a voxel was not worked on."""
        inside, flags = self.inside, self.flags
        if found.ndim > inside.ndim:
            inside, flags = inside[..., np.newaxis], flags[..., np.newaxis]
        return np.asarray(np.where(inside, found, 0) | flags, np.uint16)


def chosen_voxels(
    samples: Array,
    v: Volume,
    *,
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | None = None,
    n_coils: int = 1,
) -> Chosen:
    """Voxels inside the mask whose signal stands out.

    Parameters
    ----------
    samples : (i, j, k, *others, n) ndarray
    v : Volume
        Gives the grid for the mask.
    mask : Volume, Regions or (i, j, k) array_like, optional
        Zero and NaN are outside.
    threshold : float, optional
        The largest sample must reach it, in the unit of the signal.
    noise_sd : float, optional
        The mean square of the samples must exceed that of noise alone, 2 n_coils noise_sd^2, by three of its
        standard deviations.
    """
    shape = samples.shape[:-1]
    inside = np.ones(shape, np.bool_, order="F")
    flags = np.zeros(shape, np.uint16, order="F")
    decision: dict[str, Any] = {"rule": "all voxels"}
    if mask is not None:
        within = mask_array(mask, v).reshape((*v.grid.shape, *(1,) * (len(shape) - 3)))
        inside &= within
        flags[~inside] = Flag.MASKED_OUT.value
        decision = {"rule": "mask", "n_voxels": int(np.count_nonzero(within))}
    weak = np.zeros(shape, np.bool_, order="F")
    if threshold is not None:
        if not np.isfinite(threshold):
            raise UnknownChoice(f"the threshold must be a number, not {threshold}")
        largest = np.full(shape, -np.inf, samples.dtype, order="F")
        for n in range(samples.shape[-1]):
            np.fmax(largest, samples[..., n], out=largest)
        weak |= largest < threshold
        decision["threshold"] = float(threshold)
    if noise_sd is not None and noise_sd > 0:
        weak |= below_noise(samples, noise_sd, n_coils)
        decision["noise_sd"] = float(noise_sd)
    weak &= inside
    flags[weak] = Flag.BELOW_NOISE.value
    if decision.keys() & {"threshold", "noise_sd"}:
        decision["n_below_noise"] = int(np.count_nonzero(weak))
    return Chosen(inside & ~weak, flags, decision)


def below_noise(samples: Array, noise_sd: float, n_coils: int = 1) -> BoolArray:
    """Where magnitudes along the last axis are no more than noise.

    The square of a magnitude of noise alone has the mean 2 n sigma^2 and the standard deviation
    2 sqrt(n) sigma^2 for n coils.
    """
    n_samples = samples.shape[-1]
    power = np.zeros(samples.shape[:-1], np.float64, order="F")
    for n in range(n_samples):
        power += np.square(samples[..., n], dtype=np.float64)
    expected = 2.0 * n_coils * noise_sd**2
    spread = 2.0 * np.sqrt(n_coils / n_samples) * noise_sd**2
    return np.asarray(power / n_samples < expected + _SIGNIFICANT * spread)


def mask_array(mask: Volume | Regions | npt.ArrayLike, v: Volume) -> BoolArray:
    """A mask in the voxel order of `v`; zero and NaN are outside.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid.
    """
    if isinstance(mask, Regions):
        return np.asarray((mask.fit_to(v.grid).labels > 0).any(axis=-1))
    if isinstance(mask, Volume):
        array: Array = on_grid(mask, v, "the mask", "draw the mask on this image, or resample it first")
    else:
        array = np.asarray(mask)
        if array.shape != v.grid.shape:
            raise GeometryMismatch(
                "the mask does not fit the images", found=str(array.shape), needed=str(v.grid.shape)
            )
    return np.asarray((array != 0) & (array == array))


@dataclass(frozen=True, eq=False)
class NoiseLevel:
    """Standard deviation of the noise in each channel, or why there is none."""

    sd: float | None
    decision: dict[str, Any]
    warnings: tuple[Caution, ...] = ()


def noise_level(
    v: Volume, samples: Array, given: float | str | None, *, n_coils: int = 1, attempt: bool = False
) -> NoiseLevel:
    """The noise level that was given, or that of the background.

    Parameters
    ----------
    v : Volume
    samples : (i, j, k, *others, n) ndarray
    given : float, "estimate" or None
        A number is taken as it is, 0 means none; ``estimate`` must succeed.
    n_coils : int
    attempt : bool
        With None, estimate it where the background allows, and do without otherwise.

    Raises
    ------
    ValueError
        If the number is negative, or the word is not known.
    UnsupportedInput
        If an estimate was asked for and the image has no background to take it from.
    """
    if isinstance(given, str):
        if given != "estimate":
            raise ValueError(f"noise_sd is a number or 'estimate', not {given!r}")
        attempt = True
    elif given is not None:
        if not (np.isfinite(given) and given >= 0):
            raise ValueError("noise_sd is not a number of at least 0")
        text = "given" if given else "none, as given"
        return NoiseLevel(float(given) or None, {"rule": text, "noise_sd": float(given)})
    if not attempt:
        return NoiseLevel(None, {"rule": "not used"})
    from imgtheranostics.mri.noise import estimate_noise

    try:
        found = estimate_noise(samples, n_coils=n_coils)
    except ImgTheranosticsError as refusal:
        if given is not None:
            raise
        caution = Caution("noise-level-unknown", f"no noise floor is fitted: {refusal.what}", "--noise-sd")
        return NoiseLevel(None, {"rule": "not known", "explanation": refusal.what}, (caution,))
    decision = {
        "rule": "background",
        "noise_sd": found.sd,
        "noise_sd_standard_error": found.standard_error,
        "n_voxels": found.n_voxels,
        "share_of_voxels": found.share,
    }
    return NoiseLevel(found.sd, decision)


def aligned(v: Volume, wanted: bool) -> tuple[Volume, tuple[Caution, ...], dict[str, Any] | None]:
    """The images of a series aligned to the first, when that is asked for, and what it took."""
    if not wanted:
        return v, (), None
    from imgtheranostics.registration import align_series

    moved, report = align_series(v)
    decision = {
        "rule": "rigid to the first image",
        "n_corrected": int(np.count_nonzero(report.corrected)),
        "largest_displacement_mm": float(np.nanmax(report.displacement_mm)),
        "largest_residual_mm": float(np.nanmax(report.residual_mm)),
        "threshold_mm": report.threshold_mm,
    }
    return moved, (), decision


@dataclass(frozen=True, eq=False)
class Handling:
    """How the voxels of a series are handled before a fit, as a user says it.

    Attributes
    ----------
    mask : Volume, Regions or array, optional
        Voxels outside are NaN and flagged.
    threshold : float, optional
        Voxels whose largest sample stays below are flagged as below noise.
    noise_sd : float or "estimate", optional
        Standard deviation of the noise; voxels that do not rise above it are flagged as below noise.
    n_coils : int
        Coils whose squares were summed.
    motion_correct : bool
        Align the images to the first.
    """

    mask: Mask = None
    threshold: float | None = None
    noise_sd: float | str | None = None
    n_coils: int = 1
    motion_correct: bool = False

    def prepare(self, v: Volume, axis: str, *, attempt: bool = False, masks_noise: bool = True) -> Prepared:
        """A series along an axis, aligned, masked, and with its noise level.

        Parameters
        ----------
        v : Volume
        axis : str
        attempt : bool
            Estimate the noise where the background allows, even when nobody asked for it.
        masks_noise : bool
            Whether voxels that do not rise above the noise are left out.
        """
        v, moved, motion = aligned(v, self.motion_correct)
        series = series_along(v, axis)
        level = noise_level(v, series.samples, self.noise_sd, n_coils=self.n_coils, attempt=attempt)
        chosen = chosen_voxels(
            series.samples,
            v,
            mask=self.mask,
            threshold=self.threshold,
            noise_sd=level.sd if masks_noise else None,
            n_coils=self.n_coils,
        )
        return Prepared(v, series, level, chosen, motion, merge_cautions(moved, level.warnings))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A series that is ready for a fit, and the record of what was done to it."""

    volume: Volume
    series: Series
    level: NoiseLevel
    chosen: Chosen
    motion: dict[str, Any] | None
    warnings: tuple[Caution, ...]

    def decisions(self) -> dict[str, Any]:
        """For the record."""
        scale = mr_record(self.volume).value_scale
        return {
            "mask": self.chosen.decision,
            "noise_level": self.level.decision,
            **({"scaling": {"rule": scale}} if scale else {}),
            **({"motion": self.motion} if self.motion is not None else {}),
        }
