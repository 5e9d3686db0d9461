"""Areas under activity curves without a model between the samples: trapezoids, and a tail after the last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.calculated import nothing_fitted
from imgtheranostics.mapping.refusals import checked
from imgtheranostics.mapping.voxel_blocks import Curves
from imgtheranostics.nuclear.exponential_curves import checked_sampling
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
"""Part of itself that each sample is moved by for the propagation of errors."""

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
    size = np.abs(samples)
    steps = _STEP * np.where(size > 0, size, size.max(axis=0))
    variance = np.zeros((len(NAMES), samples.shape[1]))
    spread = np.broadcast_to(errors.reshape(errors.shape[0], -1), samples.shape)
    for k in range(samples.shape[0]):
        moved, step = samples.copy(), steps[k]
        moved[k] += step
        above = areas(moved, rule)[0]
        moved[k] -= 2.0 * step
        with np.errstate(divide="ignore", invalid="ignore"):
            variance += ((above - areas(moved, rule)[0]) / (2.0 * step) * spread[k]) ** 2
    return np.asarray(np.sqrt(variance))


def auc(
    activity: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    method: str = "linear",
    tail: str = "physical",
    half_life_s: float,
    beginning: str = "linear",
    tail_points: int = 3,
    standard_error: npt.ArrayLike | None = None,
    decay_corrected: bool = False,
    administered: float = 1.0,
    unit: str = "1",
    mask: npt.ArrayLike | None = None,
) -> Fit:
    """Area under the activity from the injection on, without a model between the samples.

    Parameters
    ----------
    activity : (..., n) array_like
        As in `fit_exponential`. Of one reference for all samples.
    time_s : (n,) array_like
        After the injection, increasing.
    method : {"linear", "linear_log"}
        Trapezoids; or straight where the curve rises and exponential where it falls.
    tail : {"physical", "last_phase", "none"}
        After the last sample C: C / lambda with the decay of the nuclide, which bounds the area from above;
        or with the rate of a line through the logarithms of the last samples, never below that decay; or
        nothing.
    half_life_s : float
        Of the nuclide.
    beginning : {"linear", "physical", "none"}
        Before the first sample: a rise from nothing at the injection; decay alone since then, which suits
        blood and prompt uptake; or nothing.
    tail_points : int
        Samples of the last phase.
    standard_error : (n,) or (..., n) array_like, optional
        Of each sample, independent. Without it the results have none.
    decay_corrected : bool
        Whether the samples are as if nothing had decayed since the injection.
    administered, unit, mask
        As in `fit_exponential`.

    Returns
    -------
    Fit
        ``auc`` (`unit` x s), ``tiac_s`` (over `administered`), ``mean_residence_time_s`` (area under the
        first moment over the area), ``extrapolated_fraction`` and ``before_first_fraction`` of the area, and
        of the tail ``terminal_rate_per_s``, ``effective_half_life_s`` and ``biological_half_life_s``
        (infinite where nothing is cleared). A last phase slower than the decay is `Flag.AT_BOUND`, one that
        is not positive NaN with `Flag.OUTSIDE_RANGE`; negative samples are `Flag.NEGATIVE_AMPLITUDE`, and
        what is not finite, or has no positive area, is flagged as in `fit_exponential`.

    Raises
    ------
    ValueError
        If shapes, times or choices do not fit, or there are fewer samples than `tail_points`.

    Examples
    --------
    >>> share = 2.0 ** -np.arange(5.0)
    >>> found = auc(share, 3600.0 * np.arange(5.0), method="linear_log", half_life_s=3600.0)
    >>> round(float(found.parameters["auc"] * np.log(2) / 3600), 6)
    1.0
    """
    times, decay = checked_sampling(time_s, half_life_s)
    for name, known, what in ((method, METHODS, "method"), (tail, TAILS, "tail")):
        checked(name, known, what)
    checked(beginning, BEGINNINGS, "beginning")
    if tail == "last_phase" and not 2 <= tail_points <= times.size:
        raise ValueError(f"a last phase of {tail_points} samples needs 2 to {times.size} of them")
    if not (math.isfinite(administered) and administered > 0):
        raise ValueError(f"administered must be positive, not {administered!r}")
    rule = AreaRule(times, decay, method, tail, beginning, int(tail_points), float(administered))
    curves = Curves.of(activity, times.size, mask, "activity")
    spread = _sample_errors(standard_error, curves, times.size)
    left = np.exp(-decay * times)[:, np.newaxis] if decay_corrected else np.ones((times.size, 1))
    shape, dtype = curves.planes.shape, curves.planes.samples.dtype
    values, errors = (np.full((len(NAMES), curves.planes.n_voxels), np.nan, dtype) for _ in range(2))
    flags = curves.flags()
    for index in curves.blocks():
        samples = curves.samples(index) * left
        values[:, index], flags[index] = areas(samples, rule)
        if spread is not None:
            own = spread.samples(index) if isinstance(spread, Curves) else spread[:, np.newaxis]
            errors[:, index] = area_errors(samples, own * left, rule)
    errors[~np.isfinite(values)] = np.nan
    units = {"auc": "s" if unit == "1" else f"{unit}.s", "tiac_s": "s" if unit == "1" else f"{unit}.s"}
    return Fit(
        {name: curves.restored(row) for name, row in zip(NAMES, values, strict=True)},
        {name: curves.restored(row) for name, row in zip(NAMES, errors, strict=True)},
        *nothing_fitted(shape, dtype),
        flags=curves.restored(flags),
        units={name: units.get(name, _plain_unit(name)) for name in NAMES},
    )


def _plain_unit(name: str) -> str:
    if name.endswith("_per_s"):
        return "1/s"
    return "s" if name.endswith("_s") else "1"


def _sample_errors(
    standard_error: npt.ArrayLike | None, curves: Curves, n: int
) -> Curves | FloatArray | None:
    """Errors of the samples, for all curves or for each."""
    if standard_error is None:
        return None
    given = np.asarray(standard_error, np.float64)
    if (given < 0).any():
        raise ValueError("standard_error must not be negative")
    if given.ndim == 1 and curves.planes.shape != ():
        if given.shape != (n,):
            raise ValueError(f"standard_error must be {n} numbers, one for each time, or one for each sample")
        return given
    own = Curves.of(given, n, None, "standard_error")
    if own.planes.shape != curves.planes.shape:
        raise ValueError(f"standard_error has shape {given.shape}, which is not that of the activity")
    if own.planes.order != curves.planes.order:
        own = Curves.of(np.asarray(given, order=curves.planes.order), n, None, "standard_error")
    return own
