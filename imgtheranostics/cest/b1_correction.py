"""Values at the nominal B1 from scans with several B1: of contrasts, or of the Z-spectra themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.smoothing_spline import checked_smoothing, smoothing_modes
from imgtheranostics.errors import ImplausibleValue, UnsupportedInput
from imgtheranostics.fit import Fit, PlanarSignal, planar
from imgtheranostics.io.saturation_offsets import LARGEST_B1_UT, SMALLEST_B1_UT
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]
Method = Literal["spline", "linear", "quadratic", "second_order"]
Weights = Callable[[DoubleArray, DoubleArray], DoubleArray]

SMOOTHING = 0.998
"""Of the spline over B1 in uT (cest.md, section 2)."""

LARGEST_RELATIVE_B1 = 10.0
"""A relative B1 whose median is above it is in percent."""

_PARABOLA = ("quadratic", "second_order")
_BLOCK = 1 << 14


@dataclass(frozen=True, eq=False)
class _Levels:
    """Nominal B1 of the scans in ascending order, with the one at zero where a known value stands there."""

    b1_ut: DoubleArray
    order: npt.NDArray[np.int64]
    target_ut: float
    anchor: float | None

    @property
    def knots(self) -> DoubleArray:
        """B1 of all values that are fitted."""
        return self.b1_ut if self.anchor is None else np.concatenate([[0.0], self.b1_ut])


def correct_b1_contrast(
    contrast: npt.ArrayLike,
    b1_ut: npt.ArrayLike,
    relative_b1: npt.ArrayLike,
    *,
    nominal_b1_ut: float,
    method: Method = "spline",
    smoothing: float = SMOOTHING,
    zero_anchor: bool = False,
    extrapolate: bool = False,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """A contrast as it would be at the nominal B1, from the same contrast at several B1.

    In a voxel whose B1 is ``r`` times what was set, scans at ``b1_ut`` were taken at ``r b1_ut``; the value
    at `nominal_b1_ut` is read off a curve through them.

    Parameters
    ----------
    contrast : (..., n) array_like
        Of the scans, in the order of `b1_ut`.
    b1_ut : (n,) array_like
        B1 that was set, each once, all by the same definition (rms, mean ...).
    relative_b1 : float or array_like
        B1 relative to what was set; of the leading shape, or of its first axes where the last are samples.
    nominal_b1_ut : float
        B1 at which the contrast is wanted.
    method : {"spline", "linear", "quadratic", "second_order"}
        Smoothing spline, straight lines from scan to scan, or a parabola by least squares (three scans),
        which has two names.
    smoothing : float
        Of the spline, p of ``p sum (y - f)^2 + (1 - p) int f''^2`` over B1 in uT: 1 interpolates.
    zero_anchor : bool
        Without B1 there is no contrast: count 0 at 0 uT among the values.
    extrapolate : bool
        Also outside the range of B1 that a voxel had, still flagged; NaN without.
    noise_sd : float or (...) array_like, optional
        Standard error of each contrast, for that of the result; NaN without.
    mask : (...) array_like of bool, optional
        Voxels outside are NaN and `Flag.MASKED_OUT`.

    Returns
    -------
    Fit
        ``contrast``. `Flag.INVALID_B1` and NaN where relative B1 is not above zero, `Flag.OUTSIDE_RANGE`
        where the nominal B1 lies outside those that the voxel had, `Flag.INVALID_INPUT` for values that are
        no numbers.

    Raises
    ------
    UnsupportedInput
        If there is one B1 only (two for a parabola): nothing tells how the contrast changes with B1.
    ImplausibleValue
        If a B1 cannot be in uT, or relative B1 is in percent.
    ValueError
        If shapes do not fit, or a B1 occurs twice.

    References
    ----------
    .. [1] Windschuh et al., NMR Biomed 2015;28:529, doi:10.1002/nbm.3283.
    """
    levels = _levels(b1_ut, nominal_b1_ut, method, 0.0 if zero_anchor else None)
    values = planar(contrast, levels.b1_ut.size, "contrast")
    weights = _weights(levels, method, smoothing)
    return _corrected("contrast", values, relative_b1, levels, weights, extrapolate, noise_sd, mask)


def correct_b1_z(
    z: npt.ArrayLike,
    b1_ut: npt.ArrayLike,
    relative_b1: npt.ArrayLike,
    *,
    nominal_b1_ut: float,
    method: Method = "spline",
    smoothing: float = SMOOTHING,
    zero_anchor: bool = False,
    extrapolate: bool = False,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Z-spectra as they would be at the nominal B1, from spectra at several B1.

    Parameters
    ----------
    z : (..., n_offsets, n) array_like
        Spectra, corrected for the shift of water, at the same offsets for each B1.
    b1_ut, relative_b1, nominal_b1_ut, method, smoothing, extrapolate, mask
        As in `correct_b1_contrast`; `relative_b1` and `mask` are maps of the voxels.
    zero_anchor : bool
        Without B1 nothing is saturated: count 1 at 0 uT among the values.
    noise_sd : float or (...) array_like, optional
        Noise of each sample.

    Returns
    -------
    Fit
        ``z`` (..., n_offsets); flags likewise.

    Raises
    ------
    UnsupportedInput, ImplausibleValue, ValueError
        As `correct_b1_contrast`.
    """
    levels = _levels(b1_ut, nominal_b1_ut, method, 1.0 if zero_anchor else None)
    values = planar(z, levels.b1_ut.size, "z")
    if not values.shape:
        raise ValueError("z must be (..., n_offsets, n): spectra along the last axis but one")
    weights = _weights(levels, method, smoothing)
    return _corrected("z", values, relative_b1, levels, weights, extrapolate, noise_sd, mask)


def _levels(b1_ut: npt.ArrayLike, nominal_b1_ut: float, method: str, anchor: float | None) -> _Levels:
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, found {method!r}")
    given = np.atleast_1d(np.asarray(b1_ut, dtype=np.float64))
    if given.ndim != 1:
        raise ValueError(f"b1_ut must be a list, found shape {given.shape}")
    for name, values in (("b1_ut", given), ("nominal_b1_ut", np.atleast_1d(float(nominal_b1_ut)))):
        if not ((values > SMALLEST_B1_UT) & (values <= LARGEST_B1_UT)).all():
            raise ImplausibleValue(
                "a B1 cannot be that",
                where=name,
                found=", ".join(f"{value:g}" for value in values),
                needed=f"above {SMALLEST_B1_UT:g} and at most {LARGEST_B1_UT:g} uT",
                next_step="give B1 in uT, not in T or Hz",
            )
    order = np.argsort(given, kind="stable")
    ordered = given[order]
    if (np.diff(ordered) == 0.0).any():
        raise ValueError(f"b1_ut holds {ordered[1:][np.diff(ordered) == 0.0][0]:g} uT twice: average those")
    needed = 3 if method in _PARABOLA else 2
    if ordered.size < needed:
        raise UnsupportedInput(
            "the correction for B1 needs scans at several B1: one does not tell how the contrast changes",
            where="b1_ut",
            found=f"{ordered.size} of them",
            needed=f"at least {needed} for the {method} method, below and above the nominal B1",
            next_step="measure at further B1, or leave B1 uncorrected and report the map of B1",
        )
    return _Levels(ordered, order, float(nominal_b1_ut), anchor)


def _weights(levels: _Levels, method: str, smoothing: float) -> Weights:
    """How much each knot counts, (v, n_knots), at places (v,) on the scale of what was set."""
    from scipy.interpolate import CubicSpline

    knots = levels.knots
    if method in _PARABOLA:
        powers = np.linalg.pinv(knots[:, np.newaxis] ** np.arange(3))
        return lambda place, _: (place[:, np.newaxis] ** np.arange(3)) @ powers
    if method == "linear":
        return lambda place, _: _between(knots, place)
    p = checked_smoothing(smoothing)
    modes, rough = smoothing_modes(knots)
    natural = CubicSpline(knots, np.eye(knots.size), bc_type="natural") if knots.size > 2 else None

    def spline(place: DoubleArray, relative: DoubleArray) -> DoubleArray:
        # over the B1 that the voxel had, x = relative * knots, the second derivative's integral is
        # relative^-3 times that over the knots
        kept = 1.0 / (1.0 + rough * ((1.0 - p) / p) / relative[:, np.newaxis] ** 3)
        inside = np.clip(place, knots[0], knots[-1])
        at = _between(knots, place) if natural is None else natural(inside)
        if natural is not None:
            beyond = (place - inside)[:, np.newaxis]
            at = at + np.where(beyond != 0.0, beyond * natural(inside, 1), 0.0)
        return np.asarray(((at @ modes) * kept) @ modes.T)

    return spline


def _between(knots: DoubleArray, place: DoubleArray) -> DoubleArray:
    """Weights of straight lines from knot to knot, the outer ones extended."""
    left = np.clip(np.searchsorted(knots, place, side="right") - 1, 0, knots.size - 2)
    share = (place - knots[left]) / (knots[left + 1] - knots[left])
    weights = np.zeros((place.size, knots.size))
    rows = np.arange(place.size)
    weights[rows, left], weights[rows, left + 1] = 1.0 - share, share
    return weights


def _corrected(
    name: str,
    values: PlanarSignal,
    relative_b1: npt.ArrayLike,
    levels: _Levels,
    weights: Weights,
    extrapolate: bool,
    noise_sd: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
) -> Fit:
    relative = _spread(_checked_field(relative_b1), values, "relative_b1")
    noise = np.array(np.nan) if noise_sd is None else np.asarray(noise_sd, dtype=np.float64)
    noise = _spread(noise, values, "noise_sd")
    inside = np.asarray(True if mask is None else mask)
    chosen = _spread(inside, values, "mask").astype(np.bool_)
    dtype = values.samples.dtype
    found, error = (np.full(values.n_voxels, np.nan, dtype) for _ in range(2))
    flags = np.full(values.n_voxels, Flag.MASKED_OUT.value, np.uint16)
    index = np.flatnonzero(chosen)
    for first in range(0, index.size, _BLOCK):
        voxels = index[first : first + _BLOCK]
        samples = values.samples[:, voxels][levels.order].astype(np.float64)
        flags[voxels], usable = _judged(samples, relative[voxels], levels, extrapolate)
        voxels, samples = voxels[usable], samples[:, usable]
        counted = weights(levels.target_ut / relative[voxels], relative[voxels])
        known = np.zeros(voxels.size)
        if levels.anchor is not None:
            known, counted = counted[:, 0] * levels.anchor, counted[:, 1:]
        found[voxels] = known + np.einsum("vn,nv->v", counted, samples)
        error[voxels] = np.sqrt(np.einsum("vn,vn->v", counted, counted)) * noise[voxels]
    unknown = np.full(values.shape, np.nan, dtype)
    return Fit(
        parameters={name: values.restored(found)},
        standard_errors={name: values.restored(error)},
        r_squared=unknown,
        rmse=unknown.copy(),
        iterations=np.zeros(values.shape, np.int16),
        flags=values.restored(flags),
        units={name: "1"},
    )


def _judged(
    samples: DoubleArray, relative: DoubleArray, levels: _Levels, extrapolate: bool
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    """Flags of a block of voxels, and which of them get a value."""
    invalid = ~np.isfinite(samples).all(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        no_field = ~(np.isfinite(relative) & (relative > 0.0))
        place = levels.target_ut / relative
        outside = ~no_field & ((place > levels.knots[-1]) | (place < levels.knots[0]))
    flags = np.where(outside, Flag.OUTSIDE_RANGE, 0)
    flags = np.where(no_field, Flag.INVALID_B1, flags)
    flags = np.where(invalid, Flag.INVALID_INPUT, flags)
    return flags.astype(np.uint16), ~invalid & ~no_field & (~outside | extrapolate)


def _checked_field(relative_b1: npt.ArrayLike) -> DoubleArray:
    relative = np.asarray(relative_b1, dtype=np.float64)
    usable = relative[np.isfinite(relative) & (relative > 0.0)]
    if usable.size and float(np.median(usable)) > LARGEST_RELATIVE_B1:
        raise ImplausibleValue(
            "B1 is relative to what was set",
            where="relative_b1",
            found=f"median {np.median(usable):g}",
            needed="about 1",
            next_step="divide a map in percent by 100, one in uT by the B1 that was set",
        )
    return relative


def _spread(given: npt.NDArray[np.float64], values: PlanarSignal, name: str) -> DoubleArray:
    """A number or a map of the first axes as one value per voxel and sample, flat as the values are."""
    shape = values.shape
    if given.shape != shape[: given.ndim]:
        raise ValueError(f"{name} has shape {given.shape}, the leading shape of the values is {shape}")
    wide = given.reshape(given.shape + (1,) * (len(shape) - given.ndim))
    return np.broadcast_to(wide, shape).ravel(order=values.order)
