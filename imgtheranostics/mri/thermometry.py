"""Temperature from the phase of gradient echoes: the proton resonance frequency falls as water warms."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.mapping.calculated import nothing_fitted
from imgtheranostics.mapping.calibrated_fit import CalibratedFit
from imgtheranostics.mapping.voxel_blocks import (
    BoolArray,
    DoubleArray,
    FlagArray,
    IndexArray,
    checked_baseline,
    stored,
)
from imgtheranostics.mri.heating import (
    field_frequency_product,
    initial_heating_rate,
    specific_absorption_rate,
)
from imgtheranostics.mri.phase_change import Drift, PhaseSeries, fit_drift, phase_series, polynomial_terms
from imgtheranostics.mri.plausible import checked_echo_times
from imgtheranostics.mri.thermal_dose import HeatedRegion, area_above, cem43
from imgtheranostics.volume import Flag

__all__ = [
    "ALPHA_PPM_PER_C",
    "HeatedRegion",
    "absolute_temperature",
    "area_above",
    "cem43",
    "field_frequency_product",
    "initial_heating_rate",
    "radians_per_degree",
    "specific_absorption_rate",
    "temperature_change",
]

GAMMA_RAD_PER_S_T = 2.0 * math.pi * 42.577e6
"""Of the proton (mri.md F16)."""

ALPHA_PPM_PER_C = -0.01
"""Change of the proton's resonance frequency per degree; unconfirmed, as in open scripts (mri.md F16)."""

AMBIGUOUS_STEP_RAD = 0.75 * math.pi
"""A wrapped step beyond it may have been more than half a turn the other way."""

_LEAST_SNR = 3.0
_MOST_FIELD_T = 30.0
_LEAST_ALPHA = 1e-4

CHANGE = "temperature_change_c"
SHARED = "shared_error_c"


@dataclass(frozen=True, eq=False)
class _Choices:
    """What one calculation was asked for."""

    series: PhaseSeries
    radians: float
    noise_sd: DoubleArray | None
    fat: BoolArray
    drift: Drift | None
    ambiguous_rad: float


def radians_per_degree(
    field_t: float, echo_time_s: float, *, alpha_ppm_per_c: float = ALPHA_PPM_PER_C
) -> float:
    """Phase change per degree, gamma alpha B0 TE, in rad/Cel.

    Parameters
    ----------
    field_t, echo_time_s : float
    alpha_ppm_per_c : float
        Negative where phase grows with frequency; its sign turned serves scanners that count the other way.

    Raises
    ------
    ImplausibleValue
        If field, echo time or alpha cannot be.

    Examples
    --------
    >>> round(abs(radians_per_degree(3.0, 0.010)), 5)
    0.08026
    """
    echo_s = float(checked_echo_times(echo_time_s)[0])
    if not 0 < field_t <= _MOST_FIELD_T:
        raise ImplausibleValue(
            "the field cannot be that",
            where="field_t",
            found=f"{field_t:g} T",
            needed=f"above 0 and at most {_MOST_FIELD_T:g} T",
            next_step="give it in T, not as frequency in MHz",
        )
    if not (math.isfinite(alpha_ppm_per_c) and _LEAST_ALPHA <= abs(alpha_ppm_per_c) < 1):
        raise ImplausibleValue(
            "the temperature coefficient cannot be that",
            where="alpha_ppm_per_c",
            found=f"{alpha_ppm_per_c:g} ppm/Cel",
            needed="about -0.01 ppm/Cel",
            next_step="give it in ppm per degree, not as a fraction per degree",
        )
    return GAMMA_RAD_PER_S_T * alpha_ppm_per_c * 1e-6 * float(field_t) * echo_s


def temperature_change(
    signal: npt.ArrayLike,
    *,
    echo_time_s: float,
    field_t: float,
    reference: tuple[int, int] = (0, 1),
    alpha_ppm_per_c: float = ALPHA_PPM_PER_C,
    alpha_relative_uncertainty: float = 0.0,
    magnitude: npt.ArrayLike | None = None,
    noise_sd: npt.ArrayLike | None = None,
    unheated: npt.ArrayLike | None = None,
    drift_order: int = 1,
    fat: npt.ArrayLike | None = None,
    ambiguous_step_rad: float = AMBIGUOUS_STEP_RAD,
    unwrapped: bool = False,
    mask: npt.ArrayLike | None = None,
) -> CalibratedFit:
    """Temperature change from the proton resonance frequency, dT = dphi / (gamma alpha B0 TE).

    Phase differences from frame to frame are wrapped to half a turn and added up; the mean over the reference
    frames is subtracted; a polynomial in space, fitted to the unheated region frame by frame, takes away
    drift.

    Parameters
    ----------
    signal : (..., n) array_like
        Complex images, or phase in rad, over n frames. The leading axes are space.
    echo_time_s, field_t : float
    reference : (first, stop)
        Frames before heating.
    alpha_ppm_per_c, alpha_relative_uncertainty : float
        Temperature coefficient, unconfirmed, and what is not known of it; common to all voxels.
    magnitude : (..., n) array_like, optional
        Beside a phase. With `noise_sd`, the standard error is that of the phase, noise over magnitude.
    noise_sd : float or (...) array_like, optional
        Noise of the real part in units of the magnitude.
    unheated : (...) array_like of bool, optional
        Region that stays at its temperature. Without it, drift remains, and a caution says so. Where noise is
        not given, its scatter about the drift is the standard error.
    drift_order : {0, 1, 2}
    fat : (...) array_like of bool, optional
        Voxels whose protons do not follow water: neither estimated nor used for the drift.
    ambiguous_step_rad : float
        Wrapped steps beyond it set `Flag.AMBIGUOUS_BRANCH` from that frame on.
    unwrapped : bool
        Phases are continuous in time already.
    mask : (...) array_like of bool, optional

    Returns
    -------
    CalibratedFit
        ``temperature_change_c`` of shape (..., n), flags likewise; ``shared_error_c`` of the leading shape is
        the part of the standard error that all frames of a voxel share, from the reference.
        `Flag.MASKED_OUT` for mask and fat, `Flag.BELOW_NOISE` where the magnitude is less than three times
        the noise.

    Raises
    ------
    ValueError
        If shapes, windows or orders do not fit, or the unheated region cannot tell the drift.
    ImplausibleValue
        If field, echo time or phases are in another unit.
    """
    given = np.asarray(signal)
    window = checked_baseline(reference, given.shape[-1] if given.ndim else 0, "reference")
    radians = radians_per_degree(field_t, echo_time_s, alpha_ppm_per_c=alpha_ppm_per_c)
    series = phase_series(given, magnitude, window, mask, unwrapped=unwrapped)
    curves = series.curves
    if noise_sd is not None and series.magnitude is None:
        raise ValueError("noise_sd tells the phase error only beside the magnitude: give magnitude too")
    nowhere = np.zeros(curves.planes.n_voxels, np.bool_)
    fatty = nowhere if fat is None else curves.planes.chosen(fat)
    still = None if unheated is None else curves.planes.chosen(unheated) & ~fatty
    drift = None if still is None else fit_drift(series, still, drift_order)
    noise = None if noise_sd is None else curves.flat(noise_sd, "noise_sd")
    choices = _Choices(series, radians, noise, fatty, drift, float(ambiguous_step_rad))
    value, error = curves.empty_series(), curves.empty_series()
    shared = curves.empty_map()
    flags = np.repeat((curves.flags() | _fat_flags(fatty))[np.newaxis], curves.n_samples, axis=0)
    for index in curves.blocks():
        found, deviation, common, state = _block(choices, index)
        value[:, index], error[:, index] = stored(found, value.dtype), stored(deviation, value.dtype)
        shared[index] = stored(common, value.dtype)
        flags[:, index] |= state
    value[:, fatty] = error[:, fatty] = np.nan
    shared[fatty] = np.nan
    fit = _change_fit(choices, value, error, shared, flags)
    return _with_calibration(fit, alpha_ppm_per_c, float(alpha_relative_uncertainty), choices)


def _fat_flags(fat: BoolArray) -> FlagArray:
    return np.where(fat, Flag.MASKED_OUT.value, 0).astype(np.uint16)


def _block(choices: _Choices, index: IndexArray) -> tuple[DoubleArray, DoubleArray, DoubleArray, FlagArray]:
    """Temperature change of some voxels, its standard error, the shared part of it, and flags."""
    series = choices.series
    change, steps = series.change(index)
    flags = np.where(np.isfinite(change), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    with np.errstate(invalid="ignore"):
        doubtful = np.cumsum(steps > choices.ambiguous_rad, axis=0) > 0
    if not series.unwrapped:
        flags[doubtful] |= Flag.AMBIGUOUS_BRANCH.value
    variance, common = _phase_variance(choices, index)
    if choices.drift is not None:
        terms = polynomial_terms(index, series.curves.planes, choices.drift.order)
        drifted, spread = choices.drift.at(terms)
        with np.errstate(over="ignore", invalid="ignore"):
            change, variance = change - drifted, variance + spread**2
    if choices.noise_sd is not None:
        weak = series.weights(index) < _LEAST_SNR * choices.noise_sd[index]
        weak |= weak[slice(*series.reference)].any(axis=0)
        flags[weak] |= Flag.BELOW_NOISE.value
        change[weak] = np.nan
    scale = abs(choices.radians)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.where(np.isfinite(change), np.sqrt(variance), np.nan) / scale
        return change / choices.radians, error, np.sqrt(common) / scale, flags


def _phase_variance(choices: _Choices, index: IndexArray) -> tuple[DoubleArray, DoubleArray]:
    """Variance of the phase change of each frame, and its part that the reference gives to all frames."""
    series = choices.series
    first, stop = series.reference
    n, frames = stop - first, series.curves.n_samples
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if choices.noise_sd is not None:
            single = (choices.noise_sd[index] / series.weights(index)) ** 2
            common = single[first:stop].sum(axis=0) / n**2
            variance = single + common
            variance[first:stop] -= 2.0 / n * single[first:stop]
            return np.maximum(variance, 0.0), common
        if choices.drift is None:
            return np.full((frames, index.size), np.nan), np.full(index.size, np.nan)
        relative = (choices.drift.magnitude / series.weights(index)) ** 2
        variance = choices.drift.scatter[:, np.newaxis] ** 2 * relative
    later = np.r_[choices.drift.scatter[:first], choices.drift.scatter[stop:]] ** 2
    typical = float(later.mean()) if later.size else math.nan
    return variance, typical / (n + 1) * relative.mean(axis=0)


def _change_fit(choices: _Choices, value: Any, error: Any, shared: Any, flags: FlagArray) -> CalibratedFit:
    curves = choices.series.curves
    kept = curves.restored(flags)
    return CalibratedFit(
        {CHANGE: curves.restored(value), SHARED: curves.restored(shared)},
        {CHANGE: curves.restored(error), SHARED: np.full_like(curves.restored(shared), np.nan)},
        *nothing_fitted(kept.shape, value.dtype),
        flags=kept,
        units={CHANGE: "Cel", SHARED: "Cel"},
    )


def _with_calibration(fit: CalibratedFit, alpha: float, relative: float, choices: _Choices) -> CalibratedFit:
    """The share of the temperature coefficient, and the record of what was done."""
    drift, flags = choices.drift, fit.flags
    warnings = []
    if alpha == ALPHA_PPM_PER_C:
        text = f"the temperature coefficient {alpha:g} ppm/Cel is from memory and is not a validated truth"
        warnings.append(Caution("unconfirmed-value", text, "alpha_ppm_per_c"))
    if drift is None:
        text = "no unheated region is given: drift of the field is not removed and looks like temperature"
        warnings.append(Caution("drift-not-removed", text, "unheated"))
    doubtful = int(np.count_nonzero((flags & Flag.AMBIGUOUS_BRANCH.value).any(axis=-1)))
    if doubtful:
        text = f"the phase of {doubtful} voxels steps by so much between frames that a turn may be missed"
        warnings.append(Caution("phase-step-ambiguous", text, "signal"))
    removed: dict[str, Any] = {"rule": "not removed"}
    if drift is not None:
        removed = {"rule": "polynomial per frame", "order": drift.order, "n_voxels": drift.n_voxels}
    noise_known = choices.noise_sd is not None
    return replace(
        fit,
        calibration_errors={CHANGE: np.abs(fit.parameters[CHANGE]) * relative},
        calibration_relative=relative,
        decisions={
            "alpha_ppm_per_c": alpha,
            "alpha_relative_uncertainty": relative,
            "radians_per_degree": choices.radians,
            "reference_frames": list(choices.series.reference),
            "drift": removed,
            "n_fat_voxels": int(np.count_nonzero(choices.fat)),
            "standard_error": "noise over magnitude"
            if noise_known
            else ("scatter of the unheated region" if drift is not None else "not known"),
        },
        warnings=tuple(warnings),
    )


def absolute_temperature(
    change_c: npt.ArrayLike, start_c: npt.ArrayLike, *, plausible_c: tuple[float, float] = (-10.0, 110.0)
) -> npt.NDArray[np.float64]:
    """Temperature from its change and the temperature at the start, which phase alone cannot tell.

    Parameters
    ----------
    change_c : (..., n) array_like
    start_c : float or (...) array_like
        Measured by a probe, or of the body; its error is common to all frames.
    plausible_c : (lowest, highest)
        Range of a start temperature.

    Raises
    ------
    ImplausibleValue
        If a start temperature is outside, such as one in kelvin.
    ValueError
        If shapes do not fit.
    """
    start = np.asarray(start_c, np.float64)
    low, high = plausible_c
    known = start[np.isfinite(start)]
    if known.size == 0 or known.min() < low or known.max() > high:
        raise ImplausibleValue(
            "the start temperature cannot be that",
            where="start_c",
            found=f"{known.min():g} to {known.max():g} Cel" if known.size else "no number",
            needed=f"{low:g} to {high:g} Cel",
            next_step="give it in degrees Celsius",
        )
    change = np.asarray(change_c, np.float64)
    if start.ndim and start.shape != change.shape[:-1]:
        raise ValueError(f"start_c has shape {start.shape}, the change {change.shape}")
    temperature: npt.NDArray[np.float64] = change + (start[..., np.newaxis] if start.ndim else start)
    return temperature
