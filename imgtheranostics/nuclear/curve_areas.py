"""Areas under activity curves without a model between the samples: trapezoids, and a tail after the last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.float64]
FlagArray = npt.NDArray[np.uint16]

METHODS = ("linear", "linear_log")
TAILS = ("physical", "last_phase", "none")
BEGINNINGS = ("linear", "physical", "none")

NAMES = (
    "auc",
    "tiac_s",
    "mean_residence_time_s",
    "extrapolated_fraction",
    "before_first_fraction",
    "terminal_rate_per_s",
    "effective_half_life_s",
    "biological_half_life_s",
)

_SAME = 1e-6
"""Relative difference of two samples below which a logarithmic segment is a straight one."""

_STEP = 1e-5
"""Part of the largest sample that each is moved by for the propagation of errors."""

_AT_PHYSICS = 1e-9


@dataclass(frozen=True, eq=False)
class AreaRule:
    """How the area is made.

    Attributes
    ----------
    time_s : (n,) ndarray
    decay_per_s : float
    method, tail, beginning : str
        Of `METHODS`, `TAILS` and `BEGINNINGS`.
    tail_points : int
        Samples of the last phase.
    administered : float
    """

    time_s: FloatArray
    decay_per_s: float
    method: str
    tail: str
    beginning: str
    tail_points: int
    administered: float


def areas(samples: FloatArray, rule: AreaRule) -> tuple[FloatArray, FlagArray]:
    """The quantities of `NAMES`, (K, m), of activity curves (n, m), and flags."""
    inside, moment = _between(samples, rule)
    before, before_moment = _before(samples[0], rule)
    flags = np.zeros(samples.shape[1], np.uint16)
    flags[(samples < 0).any(axis=0)] |= Flag.NEGATIVE_AMPLITUDE.value
    rate = np.full(samples.shape[1], np.nan)
    after = after_moment = np.zeros(samples.shape[1])
    if rule.tail != "none":
        rate = _tail_rate(samples, rule, flags)
        last, time = np.maximum(samples[-1], 0.0), rule.time_s[-1]
        after = last / rate
        after_moment = last * (time / rate + 1.0 / rate**2)
    total = before + inside + after
    bad = ~np.isfinite(samples).all(axis=0)
    empty = ~bad & ~(total > 0) & np.isfinite(total)
    flags[bad] = Flag.INVALID_INPUT.value
    flags[empty] |= Flag.BELOW_NOISE.value
    out = np.empty((len(NAMES), samples.shape[1]))
    biological = rate - rule.decay_per_s
    biological[biological <= _AT_PHYSICS * rule.decay_per_s] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        out[0], out[1] = total, total / rule.administered
        out[2] = (before_moment + moment + after_moment) / total
        out[3], out[4] = after / total, before / total
        out[5], out[6], out[7] = rate, math.log(2.0) / rate, math.log(2.0) / biological
    out[:, bad | empty] = np.nan
    return out, flags


def _between(samples: FloatArray, rule: AreaRule) -> tuple[FloatArray, FloatArray]:
    """Area and first moment from the first to the last sample."""
    area, moment = np.zeros((2, samples.shape[1]))
    for k, (start, stop) in enumerate(zip(rule.time_s[:-1], rule.time_s[1:], strict=True)):
        first, second, gap = samples[k], samples[k + 1], stop - start
        part = 0.5 * gap * (first + second)
        turn = gap * (start * (2.0 * first + second) + stop * (first + 2.0 * second)) / 6.0
        if rule.method == "linear_log":
            with np.errstate(divide="ignore", invalid="ignore"):
                falling = (second > 0) & (first > second * (1.0 + _SAME))
                slope = np.log(np.where(falling, first, math.e) / np.where(falling, second, 1.0)) / gap
            part = np.where(falling, (first - second) / slope, part)
            logarithmic = (start * first - stop * second) / slope + (first - second) / slope**2
            turn = np.where(falling, logarithmic, turn)
        area += part
        moment += turn
    return area, moment


def _before(first: FloatArray, rule: AreaRule) -> tuple[FloatArray, FloatArray]:
    """Area and first moment from the injection to the first sample."""
    time, decay = float(rule.time_s[0]), rule.decay_per_s
    if rule.beginning == "none" or time == 0:
        return np.zeros(first.shape), np.zeros(first.shape)
    if rule.beginning == "linear":
        return 0.5 * time * first, time**2 / 3.0 * first
    x = decay * time
    return first * math.expm1(x) / decay, first * (math.expm1(x) - x) / decay**2


def _tail_rate(samples: FloatArray, rule: AreaRule, flags: FlagArray) -> FloatArray:
    """Rate of the tail, never below the physical decay; NaN where the last phase has no logarithm."""
    physical = np.full(samples.shape[1], rule.decay_per_s)
    if rule.tail == "physical":
        return physical
    last, time = samples[-rule.tail_points :], rule.time_s[-rule.tail_points :]
    positive = (last > 0).all(axis=0)
    centred = time - time.mean()
    slope = centred @ np.log(np.where(positive, last, 1.0)) / (centred @ centred)
    flags[positive & (-slope < rule.decay_per_s)] |= Flag.AT_BOUND.value
    flags[~positive] |= Flag.OUTSIDE_RANGE.value
    return np.where(positive, np.maximum(-slope, physical), np.nan)


def area_errors(samples: FloatArray, errors: FloatArray, rule: AreaRule) -> FloatArray:
    """Standard errors of `areas`, (K, m), for independent errors (n,) or (n, m) of the samples."""
    step = _STEP * np.max(np.abs(samples), axis=0)
    variance = np.zeros((len(NAMES), samples.shape[1]))
    spread = np.broadcast_to(errors.reshape(errors.shape[0], -1), samples.shape)
    for k in range(samples.shape[0]):
        moved = samples.copy()
        moved[k] += step
        above = areas(moved, rule)[0]
        moved[k] -= 2.0 * step
        with np.errstate(divide="ignore", invalid="ignore"):
            variance += ((above - areas(moved, rule)[0]) / (2.0 * step) * spread[k]) ** 2
    return np.asarray(np.sqrt(variance))
