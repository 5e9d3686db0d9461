"""Whether angles, times and transmit-field maps can be what they are called, before they are used.

A repetition time in ms taken for s gives a T1 that is wrong by a constant factor and looks fine; so values
that no scanner produces in the stated unit are refused with the unit that they probably have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue

FloatArray = npt.NDArray[np.float64]

LONGEST_REPETITION_TIME_S = 20.0
LONGEST_GRADIENT_ECHO_REPETITION_S = 2.0
"""A spoiled gradient echo tells flip angles apart by T1 only where it repeats well within T1: 4 or 15 without
a unit are milliseconds, not seconds."""

LONGEST_ECHO_TIME_S = 5.0
LONGEST_RECOVERY_TIME_S = 60.0
"""Inversion and recovery times: five times the longest T1 of a liquid, with room to spare."""


LARGEST_RATIO_OF_B1 = 10.0
"""A median above it is a map in percent: a relative transmit field lies near 1."""


def checked_flip_angles(flip_angle_deg: npt.ArrayLike, *, limit_deg: float = 180.0) -> FloatArray:
    """Flip angles in degrees as a list, each above 0 and below `limit_deg`.

    Raises
    ------
    ImplausibleValue
        If all are at most pi, which are radians more likely than degrees, or one lies outside the range.
    ValueError
        If they are not a list of finite numbers.
    """
    angles = _numbers(flip_angle_deg, "flip_angle_deg")
    if not bool(np.all((angles > 0.0) & (angles < limit_deg))):
        raise ImplausibleValue(
            "a flip angle is outside its range",
            where="flip_angle_deg",
            found=_words(angles, "degrees"),
            needed=f"above 0 and below {limit_deg:g} degrees",
            next_step="give the nominal flip angles in degrees",
        )
    if bool(np.all(angles <= np.pi)):
        raise ImplausibleValue(
            "the flip angles look like radians",
            where="flip_angle_deg",
            found=_words(angles, "degrees"),
            needed="at least one flip angle above pi degrees",
            next_step="convert them with numpy.degrees",
        )
    return angles


def checked_repetition_times(repetition_time_s: npt.ArrayLike, n: int | None = None) -> FloatArray:
    """One repetition time in s, or one per sample when `n` is given, as a list.

    Raises
    ------
    ImplausibleValue
        If one is not above 0 or is longer than 20 s, which are milliseconds more likely.
    ValueError
        If they are not finite, or not one and not `n`.
    """
    return _repetition_times(repetition_time_s, n, LONGEST_REPETITION_TIME_S)


def checked_gradient_echo_repetition_times(
    repetition_time_s: npt.ArrayLike, n: int | None = None
) -> FloatArray:
    """As `checked_repetition_times`, for spoiled gradient echoes: a few ms to a few hundred.

    Raises
    ------
    ImplausibleValue
        If one is not above 0 or is longer than 2 s, which are milliseconds more likely.
    ValueError
        If they are not finite, or not one and not `n`.
    """
    return _repetition_times(repetition_time_s, n, LONGEST_GRADIENT_ECHO_REPETITION_S)


def _repetition_times(repetition_time_s: npt.ArrayLike, n: int | None, longest_s: float) -> FloatArray:
    times = _numbers(repetition_time_s, "repetition_time_s")
    if times.size != 1 and times.size != n:
        wanted = "one repetition time" if n is None else f"one repetition time or {n}, one per sample"
        raise ValueError(f"repetition_time_s has {times.size} values; {wanted} is needed")
    _refuse_outside(times, "repetition_time_s", longest_s, zero=False)
    return times


def checked_echo_times(echo_time_s: npt.ArrayLike) -> FloatArray:
    """Echo times in s, increasing.

    Raises
    ------
    ImplausibleValue
        If one is not above 0 or is longer than 5 s, which are milliseconds more likely.
    ValueError
        If they are not finite or do not increase.
    """
    times = _numbers(echo_time_s, "echo_time_s")
    _refuse_outside(times, "echo_time_s", LONGEST_ECHO_TIME_S, zero=False)
    if bool(np.any(np.diff(times) <= 0.0)):
        raise ValueError("echo_time_s must increase; sort the echoes and the signal by echo time")
    return times


def checked_recovery_times(time_s: npt.ArrayLike, name: str = "inversion_time_s") -> FloatArray:
    """Inversion, saturation-recovery or Look-Locker times in s, in any order, repeats allowed.

    Raises
    ------
    ImplausibleValue
        If one is negative or longer than 60 s, which are milliseconds more likely.
    ValueError
        If they are not a list of finite numbers.
    """
    times = _numbers(time_s, name)
    _refuse_outside(times, name, LONGEST_RECOVERY_TIME_S, zero=True)
    return times


def b1_in_percent(b1: npt.ArrayLike) -> bool:
    """Whether a transmit-field map is in percent of nominal instead of a ratio: its median is above 10."""
    values = np.asarray(b1)
    usable = np.count_nonzero((values > 0.0) & (values < np.inf))
    above = np.count_nonzero((values > LARGEST_RATIO_OF_B1) & (values < np.inf))
    return bool(2 * above > usable)


def checked_b1(b1: npt.ArrayLike) -> npt.NDArray[Any]:
    """A relative transmit field, 1 where the flip angle is nominal; not a number where it is unknown.

    Raises
    ------
    ImplausibleValue
        If it is in percent.
    """
    values = np.asarray(b1)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"b1 is of type {values.dtype}, but must be real numbers")
    if b1_in_percent(values):
        raise ImplausibleValue(
            "the transmit-field map looks like percent",
            where="b1",
            found=f"median {float(np.nanmedian(values[values > 0])):.4g}",
            needed="a ratio near 1",
            next_step="divide it by 100",
        )
    return values


def check_sample_count(n: int, needed: int, what: str, model: str) -> None:
    """Refuse fewer samples than the model has parameters.

    Raises
    ------
    ValueError
        Says how many samples are needed.
    """
    if n < needed:
        raise ValueError(f"{model} has {needed} parameters and needs at least {needed} {what}, found {n}")


def check_distinct(values: FloatArray, needed: int, what: str, model: str) -> None:
    """Refuse settings that repeat so often that the parameters cannot be told apart.

    Raises
    ------
    ValueError
        Says how many different settings are needed.
    """
    distinct = np.unique(values).size
    if distinct < needed:
        raise ValueError(f"{model} needs at least {needed} different {what}, found {distinct}")


def _numbers(values: npt.ArrayLike, name: str) -> FloatArray:
    given = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if given.ndim != 1 or given.size == 0 or not bool(np.all(np.isfinite(given))):
        raise ValueError(f"{name} must be a list of finite numbers")
    return given


def _refuse_outside(times: FloatArray, name: str, longest_s: float, *, zero: bool) -> None:
    """Refuse times that are negative, zero where that has no meaning, or too long for seconds."""
    if float(times.max()) > longest_s:
        raise ImplausibleValue(
            f"{name} looks like milliseconds",
            where=name,
            found=_words(times, "s"),
            needed=f"at most {longest_s:g} s",
            next_step="divide by 1000",
        )
    if bool(np.any(times < 0.0)) or (not zero and bool(np.any(times == 0.0))):
        raise ImplausibleValue(
            f"{name} is {'negative' if zero else 'not above zero'}",
            where=name,
            found=_words(times, "s"),
            needed="0 s or more" if zero else "above 0 s",
            next_step="check the protocol; times count from the pulse",
        )


def _words(values: FloatArray, unit: str) -> str:
    """The values, or their range when there are many."""
    if values.size <= 8:
        return ", ".join(f"{value:g}" for value in values) + f" {unit}"
    return f"{values.min():g} to {values.max():g} {unit}"
