"""What is settled before a fit: mask, noise level, transmit-field map and motion, each with its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImgTheranosticsError,
    ImplausibleValue,
    UnitMismatch,
)
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Flag, Volume

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
FlagArray = npt.NDArray[np.uint16]

Mask = Volume | Regions | npt.ArrayLike | None

PERCENT_ABOVE = 10.0
"""A transmit-field map whose median exceeds this is in percent."""

B1_RELATIVE_UNCERTAINTY = 0.2 / 3.0**0.5
"""Of a field that was not mapped: even between 0.8 and 1.2 of nominal (the sheet's range, unconfirmed)."""

_SIGNIFICANT = 3.0


@dataclass(frozen=True, eq=False)
class TransmitField:
    """The transmit field relative to nominal, or that it is not known.

    Attributes
    ----------
    ratio : (i, j, k) ndarray or None
    relative_uncertainty : float
        Of the ratio; what a fit without a map does not know.
    """

    ratio: Array | None
    relative_uncertainty: float
    decision: dict[str, Any]
    warnings: tuple[Caution, ...] = ()


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


def transmit_field(
    b1: Volume | float | None, v: Volume, *, resample: bool = False, relative_uncertainty: float | None = None
) -> TransmitField:
    """A transmit-field map on the grid of `v`, as a ratio to nominal.

    Parameters
    ----------
    b1 : Volume or float, optional
        Ratio or percent; a median above 10 counts as percent.
    v : Volume
    resample : bool
        Bring a map from another grid by linear interpolation.
    relative_uncertainty : float, optional
        Of an unmapped field, or of the map; by default `B1_RELATIVE_UNCERTAINTY` without a map, 0 with one.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid and `resample` is not asked for.
    UnitMismatch, ImplausibleValue
        If it is no transmit-field map.
    """
    if b1 is None:
        spread = B1_RELATIVE_UNCERTAINTY if relative_uncertainty is None else relative_uncertainty
        caution = Caution(
            "b1-not-mapped",
            "no transmit-field map was given: the flip angles are taken as nominal, and the standard error "
            f"contains {200 * spread:.0f} % for it, as T1 goes with the square of the field",
            "--b1",
        )
        explanation = f"no map; nominal flip angles, uncertain by {100 * spread:.1f} %"
        return TransmitField(None, spread, {"rule": "nominal", "explanation": explanation}, (caution,))
    spread = relative_uncertainty or 0.0
    if not isinstance(b1, Volume):
        if not 0.1 < b1 < PERCENT_ABOVE:
            raise ImplausibleValue(
                "the transmit field is no ratio to nominal", found=f"{b1:g}", needed="a ratio, such as 0.95"
            )
        ratio = np.full(v.grid.shape, float(b1), order="F")
        return TransmitField(ratio, spread, {"rule": "one value", "relative_b1": float(b1)})
    if b1.quantity not in ("relative_b1", "signal"):
        raise UnitMismatch(
            "a transmit-field map is needed",
            found=f"{b1.quantity} [{b1.unit}]",
            needed="relative_b1 [1], or percent",
        )
    decision: dict[str, Any] = {"rule": "map", "explanation": "flip angles are multiplied by the map"}
    if resample and not v.grid.same_as(b1.grid) and v.grid.axis_match(b1.grid) is None:
        b1 = _resampled(b1, v)
        decision["resampled"] = "linear"
    ratio = on_grid(b1, v, "the transmit-field map", "give --resample-b1 (resample_b1=True), or resample it")
    positive = ratio[np.isfinite(ratio) & (ratio > 0)]
    if not positive.size:
        raise ImplausibleValue("the transmit-field map holds no positive value", needed="a ratio to nominal")
    warnings: tuple[Caution, ...] = ()
    if float(np.median(positive)) > PERCENT_ABOVE:
        ratio = ratio * np.float32(0.01)
        decision["converted"] = "percent to ratio"
        warnings = (Caution("b1-in-percent", "the transmit-field map is in percent: divided by 100"),)
    return TransmitField(ratio, spread, decision, (*b1.warnings, *warnings))


def _resampled(b1: Volume, v: Volume) -> Volume:
    from imgtheranostics.registration import resample

    return resample(b1, np.eye(4), like=v)


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
        with np.errstate(invalid="ignore"):
            weak |= np.nanmax(np.where(np.isfinite(samples), samples, -np.inf), axis=-1) < threshold
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
