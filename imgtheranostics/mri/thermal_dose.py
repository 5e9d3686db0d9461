"""Thermal dose: cumulative equivalent minutes at 43 Cel, and how much is above a temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.fit import FloatArray
from imgtheranostics.mapping.calculated import nothing_fitted
from imgtheranostics.mapping.calibrated_fit import CalibratedFit
from imgtheranostics.mapping.voxel_blocks import Curves, DoubleArray, checked_times, stored
from imgtheranostics.volume import Flag

NAME = "cem43_min"

REFERENCE_C = 43.0
RATE_ABOVE = 0.5
RATE_BELOW = 0.25
NOTHING_BELOW_C = 39.0
"""Convention for CEM43, unconfirmed (mri.md F17); every constant is a keyword."""

HOTTEST_C = 150.0
"""A median above it is a temperature in kelvin; ablation stays below."""

_LEVEL_C = 1e-7
"""Change over an interval below which the temperature counts as constant there."""


@dataclass(frozen=True)
class _Dose:
    """R^(43 - T) as a function of temperature, its integral over temperature, and its slope."""

    above: float
    below: float
    reference_c: float
    nothing_below_c: float

    def rate(self, temperature: DoubleArray) -> DoubleArray:
        """Equivalent minutes per minute."""
        base = np.where(temperature >= self.reference_c, self.above, self.below)
        with np.errstate(over="ignore", invalid="ignore"):
            value = base ** (self.reference_c - temperature)
        kept: DoubleArray = np.where(temperature < self.nothing_below_c, 0.0 * temperature, value)
        return kept

    def slope(self, temperature: DoubleArray) -> DoubleArray:
        """Derivative of the rate by temperature."""
        base = np.where(temperature >= self.reference_c, self.above, self.below)
        steep: DoubleArray = -np.log(base) * self.rate(temperature)
        return steep

    def integral(self, temperature: DoubleArray) -> DoubleArray:
        """Integral of the rate from where it starts, over temperature; continuous."""
        low = min(self.nothing_below_c, self.reference_c)
        colder = np.clip(temperature, low, self.reference_c)
        warmer = np.maximum(temperature, max(self.reference_c, self.nothing_below_c))
        first = self._primitive(colder, self.below) - self._primitive(np.float64(low), self.below)
        start = np.float64(max(self.reference_c, self.nothing_below_c))
        second = self._primitive(warmer, self.above) - self._primitive(start, self.above)
        total: DoubleArray = first + second + 0.0 * temperature
        return total

    def _primitive(self, temperature: DoubleArray | np.float64, base: float) -> DoubleArray:
        if base == 1.0:
            return np.asarray(temperature, np.float64)
        with np.errstate(over="ignore"):
            value: DoubleArray = -(base ** (self.reference_c - temperature)) / np.log(base)
        return value


def cem43(
    temperature_c: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike | None = None,
    frame_duration_s: npt.ArrayLike | None = None,
    temperature_error: npt.ArrayLike | None = None,
    shared_error: npt.ArrayLike = 0.0,
    rate_above: float = RATE_ABOVE,
    rate_below: float = RATE_BELOW,
    reference_c: float = REFERENCE_C,
    nothing_below_c: float = NOTHING_BELOW_C,
    mask: npt.ArrayLike | None = None,
) -> CalibratedFit:
    """Cumulative equivalent minutes at 43 Cel, the integral of R^(43 - T) over time in minutes.

    With `time_s`, the temperature runs straight between its samples and the integral is exact; with
    `frame_duration_s`, each sample stands for its frame and the dose is the plain sum. The rate bends
    upwards, so noise raises the dose: by about (0.69 se)^2 / 2 of it, 6 % at 0.5 Cel.

    Parameters
    ----------
    temperature_c : (..., n) array_like
        Absolute temperature in Cel.
    time_s : (n,) array_like, optional
        Times of the samples; exactly one of `time_s` and `frame_duration_s`.
    frame_duration_s : float or (n,) array_like, optional
    temperature_error : float, (...,) or (..., n) array_like, optional
        Standard error of each sample, independent from frame to frame: without what `shared_error` holds.
    shared_error : float or (...) array_like
        Standard error that all frames share: of the reference frames, of the start temperature.
    rate_above, rate_below : float
        R from 43 Cel on and below; 0.5 and 0.25 by convention, unconfirmed.
    reference_c, nothing_below_c : float
        Temperature of the equivalent minutes; below the second, no dose is counted (37 or 39 by convention).
    mask : (...) array_like of bool, optional

    Returns
    -------
    CalibratedFit
        ``cem43_min`` in min. NaN and `Flag.INVALID_INPUT` where a temperature is not finite. `decisions` hold
        the convention, and a caution says that it is unconfirmed where it is the default one.

    Raises
    ------
    ValueError
        If shapes, times or constants do not fit.
    ImplausibleValue
        If the temperatures look like kelvin.
    """
    if not (0 < rate_above <= 1 and 0 < rate_below <= 1):
        raise ValueError(f"rates must lie above 0 and up to 1, got {rate_above:g} and {rate_below:g}")
    dose = _Dose(float(rate_above), float(rate_below), float(reference_c), float(nothing_below_c))
    given = np.asarray(temperature_c)
    n = given.shape[-1] if given.ndim else 0
    minutes, straight = _minutes(time_s, frame_duration_s, n)
    curves = Curves.of(given, n, mask, "temperature_c")
    _refuse_kelvin(curves.planes.samples)
    errors = _error_planes(temperature_error, curves, n)
    shared = curves.flat(shared_error, "shared_error")
    value, error, flags = curves.empty_map(), curves.empty_map(), curves.flags()
    for index in curves.blocks():
        temperature = curves.samples(index)
        total, gradient = (_straight if straight else _stepwise)(dose, temperature, minutes)
        own = np.nan if errors is None else errors[:, index]
        with np.errstate(invalid="ignore", over="ignore"):
            variance = ((gradient * own) ** 2).sum(axis=0) + (gradient.sum(axis=0) * shared[index]) ** 2
        value[index], error[index] = stored(total, value.dtype), stored(np.sqrt(variance), value.dtype)
        flags[index[~np.isfinite(value[index])]] |= Flag.INVALID_INPUT.value
    shape = curves.planes.shape
    return CalibratedFit(
        {NAME: curves.restored(value)},
        {NAME: curves.restored(error)},
        *nothing_fitted(shape, value.dtype),
        flags=curves.restored(flags),
        units={NAME: "min"},
        decisions={
            "rule": "straight lines between images" if straight else "constant temperature in each image",
            "rate_above": dose.above,
            "rate_below": dose.below,
            "reference_c": dose.reference_c,
            "nothing_below_c": dose.nothing_below_c,
        },
        warnings=_convention_caution(dose),
    )


def _refuse_kelvin(temperature: FloatArray) -> None:
    """Refuse temperatures most of which are no degrees Celsius."""
    finite = np.count_nonzero(np.isfinite(temperature))
    if 2 * np.count_nonzero(temperature > HOTTEST_C) > finite:
        raise ImplausibleValue(
            "the temperatures look like kelvin",
            where="temperature_c",
            found=f"more than half of them above {HOTTEST_C:g} Cel",
            needed="degrees Celsius",
            next_step="subtract 273.15",
        )


def _convention_caution(dose: _Dose) -> tuple[Caution, ...]:
    """That the constants are from memory, as long as nobody chose others."""
    if dose != _Dose(RATE_ABOVE, RATE_BELOW, REFERENCE_C, NOTHING_BELOW_C):
        return ()
    text = (
        f"the convention of CEM43 (R {RATE_ABOVE:g} from {REFERENCE_C:g} Cel on, {RATE_BELOW:g} below, and "
        f"nothing below {NOTHING_BELOW_C:g} Cel) is from memory and is not a validated truth"
    )
    return (Caution("unconfirmed-value", text, "cem43"),)


def _minutes(
    time_s: npt.ArrayLike | None, frame_duration_s: npt.ArrayLike | None, n: int
) -> tuple[DoubleArray, bool]:
    """Minutes between samples, or of each frame; and which of the two."""
    if (time_s is None) == (frame_duration_s is None):
        raise ValueError("give exactly one of time_s and frame_duration_s")
    if time_s is not None:
        times = checked_times(time_s)
        if times.size != n:
            raise ValueError(f"time_s has {times.size} times for {n} temperatures")
        return np.diff(times)[:, np.newaxis] / 60.0, True
    durations = np.asarray(frame_duration_s, np.float64)
    if (
        durations.ndim > 1
        or durations.size not in (1, n)
        or not (np.isfinite(durations) & (durations > 0)).all()
    ):
        raise ValueError(f"frame_duration_s must be one positive duration, or {n}")
    return np.broadcast_to(durations, (n,))[:, np.newaxis] / 60.0, False


def _error_planes(error: npt.ArrayLike | None, curves: Curves, n: int) -> DoubleArray | None:
    """Standard errors as (n, n_voxels)."""
    if error is None:
        return None
    given = np.asarray(error, np.float64)
    if given.shape == (*curves.planes.shape, n):
        ordered = np.asarray(given, order=curves.planes.order)
        return ordered.reshape(-1, n, order=curves.planes.order).T
    return np.broadcast_to(curves.flat(given, "temperature_error"), (n, curves.planes.n_voxels))


def _straight(dose: _Dose, temperature: DoubleArray, minutes: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Dose of straight lines between samples, and its derivative by each sample.

    The mean of the rate over an interval is the difference of its integral over temperature, divided by the
    change of temperature.
    """
    change = np.diff(temperature, axis=0)
    rates = dose.rate(temperature)
    level = np.abs(change) < _LEVEL_C
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = np.diff(dose.integral(temperature), axis=0) / change
        by_last = (rates[1:] - mean) / change
        by_first = (mean - rates[:-1]) / change
    middle = 0.5 * (temperature[1:] + temperature[:-1])
    mean = np.where(level, dose.rate(middle), mean)
    half = 0.5 * dose.slope(middle)
    gradient = np.zeros_like(temperature)
    gradient[1:] += minutes * np.where(level, half, by_last)
    gradient[:-1] += minutes * np.where(level, half, by_first)
    return (minutes * mean).sum(axis=0), gradient


def _stepwise(dose: _Dose, temperature: DoubleArray, minutes: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Dose of frames of constant temperature, and its derivative by each."""
    return (minutes * dose.rate(temperature)).sum(axis=0), minutes * dose.slope(temperature)


@dataclass(frozen=True, eq=False)
class HeatedRegion:
    """How much is above a temperature, frame by frame.

    Attributes
    ----------
    n_voxels : (n,) ndarray of int
        Voxels above it.
    n_voxels_low, n_voxels_high : (n,) ndarray of int
        Voxels above it by more than one standard error, and those that may be with one more; equal to
        `n_voxels` where no error is known.
    n_valid : (n,) ndarray of int
        Voxels with a temperature.
    area_mm2, volume_ml : (n,) ndarray or None
        `n_voxels` times the area or volume of a voxel, where that is given.
    """

    n_voxels: npt.NDArray[np.int64]
    n_voxels_low: npt.NDArray[np.int64]
    n_voxels_high: npt.NDArray[np.int64]
    n_valid: npt.NDArray[np.int64]
    area_mm2: FloatArray | None
    volume_ml: FloatArray | None


def area_above(
    temperature_c: npt.ArrayLike,
    *,
    above_c: float = 41.0,
    temperature_error: npt.ArrayLike = 0.0,
    voxel_area_mm2: float | None = None,
    voxel_volume_ml: float | None = None,
    mask: npt.ArrayLike | None = None,
) -> HeatedRegion:
    """How many voxels, and what area or volume, are above a temperature.

    Parameters
    ----------
    temperature_c : (..., n) array_like
        Absolute temperature; leading axes are space, the last is time.
    above_c : float
        41 Cel is where hyperthermia begins (review).
    temperature_error : float or (..., n) array_like
    voxel_area_mm2, voxel_volume_ml : float, optional
        Of one voxel, in plane and in space.
    mask : (...) array_like of bool, optional

    Raises
    ------
    ValueError
        If shapes do not fit, or an area or volume is not positive.
    ImplausibleValue
        If the temperatures look like kelvin.
    """
    temperature = np.asarray(temperature_c, np.float64)
    if temperature.ndim == 0:
        raise ValueError("temperature_c needs a last axis of frames")
    _refuse_kelvin(temperature)
    for name, size in (("voxel_area_mm2", voxel_area_mm2), ("voxel_volume_ml", voxel_volume_ml)):
        if size is not None and not 0 < size < np.inf:
            raise ValueError(f"{name} must be positive, got {size}")
    try:
        error = np.nan_to_num(np.broadcast_to(np.asarray(temperature_error, np.float64), temperature.shape))
    except ValueError:
        raise ValueError("temperature_error does not have the shape of temperature_c") from None
    valid = np.isfinite(temperature)
    if mask is not None:
        inside = np.asarray(mask, np.bool_)
        if inside.shape != temperature.shape[:-1]:
            raise ValueError(f"mask has shape {inside.shape}, the map {temperature.shape[:-1]}")
        valid &= inside[..., np.newaxis]
    space = tuple(range(temperature.ndim - 1))

    def count(margin: DoubleArray) -> npt.NDArray[np.int64]:
        with np.errstate(invalid="ignore"):
            return np.asarray(np.count_nonzero(valid & (temperature + margin > above_c), axis=space))

    n_voxels = count(0.0 * error)
    return HeatedRegion(
        n_voxels,
        count(-error),
        count(error),
        np.asarray(np.count_nonzero(valid, axis=space)),
        None if voxel_area_mm2 is None else n_voxels * float(voxel_area_mm2),
        None if voxel_volume_ml is None else n_voxels * float(voxel_volume_ml),
    )
