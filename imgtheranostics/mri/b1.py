"""The relative transmit field: actual over nominal flip angle, 1 where they agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, FloatArray, PlanarSignal, planar
from imgtheranostics.mri.plausible import checked_flip_angles, checked_repetition_times
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]

SAME_RATIO = 1e-3
"""Relative deviation of the second flip angle from twice the first that rounding may cause."""

_PIECE = 65536

_Cosine = Callable[[DoubleArray], tuple[DoubleArray, DoubleArray]]


def double_angle(
    signal: npt.ArrayLike,
    flip_angle_deg: npt.ArrayLike,
    *,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Relative transmit field from two flip angles, the second twice the first.

    Without T1 weighting (TR above five T1, or the same saturation before both) the signals go with the sines
    of the angles, so that the actual first angle is arccos(S2 / (2 S1)).

    Parameters
    ----------
    signal : (..., 2) array_like
        Signal at the first angle and at twice that angle. Magnitudes serve while the second actual angle
        stays below 180 degrees; with a sign, the first may reach that.
    flip_angle_deg : float or (2,) array_like
        Nominal first angle, or both, in degrees.
    noise_sd : float or (...) array_like, optional
        Standard deviation of the noise of either signal, for the standard error.
    mask : (...) array_like of bool, optional

    Returns
    -------
    Fit
        ``relative_b1``; NaN where it fails: `Flag.INVALID_INPUT` (a signal is not finite, or the first not
        above 0) or `Flag.OUTSIDE_RANGE` (no angle has that ratio: S2 beyond twice S1). There are as many
        signals as unknowns, so that nothing is left for a goodness of fit, and the standard error is NaN
        unless the noise is given.

    Raises
    ------
    ValueError
        If the second angle is not twice the first, or the noise is negative.
    ImplausibleValue
        If the angles look like radians or are out of range.

    References
    ----------
    .. [1] Insko, Bolinger, J Magn Reson A 1993;103:82, doi:10.1006/jmra.1993.1133
    """
    angles = checked_flip_angles(flip_angle_deg, limit_deg=360.0)
    if angles.size > 2 or (angles.size == 2 and abs(angles[1] - 2 * angles[0]) > SAME_RATIO * angles[1]):
        found = ", ".join(f"{angle:g}" for angle in angles)
        raise ValueError(f"double_angle needs one flip angle, or it and its double in degrees; found {found}")
    return _from_ratio(signal, float(angles[0]), lambda r: (0.5 * r, np.full_like(r, 0.5)), noise_sd, mask)


def actual_flip_angle(
    signal: npt.ArrayLike,
    flip_angle_deg: float,
    repetition_times_s: npt.ArrayLike,
    *,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Relative transmit field by actual flip-angle imaging (AFI): one angle, two repetition times in turn.

    With r = S2 / S1 and n = TR2 / TR1 the actual angle is arccos((r n - 1) / (n - r)), as long as both TR
    are short against T1 and the transverse magnetisation is spoilt.

    Parameters
    ----------
    signal : (..., 2) array_like
        Signal after the first and after the second repetition time.
    flip_angle_deg : float
        Nominal angle in degrees.
    repetition_times_s : (2,) array_like
        In s, in the order of the signals: TR1 and the longer TR2.
    noise_sd, mask
        As in `double_angle`.

    Returns
    -------
    Fit
        ``relative_b1``, with flags and standard error as in `double_angle`.

    Raises
    ------
    ValueError
        If TR2 is not longer than TR1, or the noise is negative.
    ImplausibleValue
        If the angle looks like radians, or a repetition time like ms.

    References
    ----------
    .. [1] Yarnykh, Magn Reson Med 2007;57:192, doi:10.1002/mrm.21120
    """
    angles = checked_flip_angles(flip_angle_deg)
    times = checked_repetition_times(repetition_times_s, 2)
    if angles.size != 1:
        raise ValueError(f"actual_flip_angle needs one flip angle, found {angles.size}")
    if times.size != 2 or times[1] <= times[0]:
        raise ValueError(
            "repetition_times_s must be two times, the first the shorter one, as the signals are"
        )
    n = float(times[1] / times[0])
    return _from_ratio(
        signal,
        float(angles[0]),
        lambda r: ((r * n - 1.0) / (n - r), (n * n - 1.0) / (n - r) ** 2),
        noise_sd,
        mask,
    )


def _from_ratio(
    signal: npt.ArrayLike,
    nominal_deg: float,
    cosine: _Cosine,
    noise_sd: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
) -> Fit:
    """The angle whose cosine is a function of S2 / S1, relative to nominal."""
    curves = planar(signal, 2)
    noise = None if noise_sd is None else curves.flat(noise_sd, "noise_sd")
    if noise is not None and bool((noise < 0.0).any()):
        raise ValueError("noise_sd must not be negative")
    chosen = curves.chosen(mask)
    value = np.full(curves.n_voxels, np.nan, curves.samples.dtype)
    error = value.copy()
    flags = np.full(curves.n_voxels, Flag.MASKED_OUT.value, np.uint16)
    for first in range(0, curves.n_voxels, _PIECE):
        part = slice(first, first + _PIECE)
        sigma = None if noise is None else noise[part].astype(np.float64)
        found = _piece(curves.samples[:, part].astype(np.float64), np.radians(nominal_deg), cosine, sigma)
        inside = chosen[part]
        value[part][inside], error[part][inside], flags[part][inside] = (x[inside] for x in found)
    return _fit(curves, value, error, flags)


def _piece(
    samples: DoubleArray, nominal: float, cosine: _Cosine, sigma: DoubleArray | None
) -> tuple[DoubleArray, DoubleArray, npt.NDArray[np.uint16]]:
    one, two = samples
    with np.errstate(all="ignore"):
        valid = np.isfinite(one) & np.isfinite(two) & (one > 0.0)
        ratio = two / one
        c, slope = cosine(ratio)
        inside = valid & (np.abs(c) <= 1.0)
        angle = np.arccos(c)
        value = np.where(inside & (angle > 0.0), angle / nominal, np.nan)
        spread = np.full_like(value, np.nan)
        if sigma is not None:
            sine = np.sqrt(1.0 - c * c)
            spread = slope * sigma / one * np.sqrt(1.0 + ratio * ratio) / sine / nominal
    flags = np.where(valid, Flag.OUTSIDE_RANGE.value, Flag.INVALID_INPUT.value)
    flags = np.where(np.isfinite(value), 0, flags).astype(np.uint16)
    return value, np.where(np.isfinite(value) & np.isfinite(spread), spread, np.nan), flags


def _fit(curves: PlanarSignal, value: FloatArray, error: FloatArray, flags: npt.NDArray[np.uint16]) -> Fit:
    nothing = curves.restored(np.full(curves.n_voxels, np.nan, curves.samples.dtype))
    return Fit(
        {"relative_b1": curves.restored(value)},
        {"relative_b1": curves.restored(error)},
        nothing,
        nothing.copy(),
        np.zeros(curves.shape, np.int16),
        curves.restored(flags),
        {"relative_b1": "1"},
    )
