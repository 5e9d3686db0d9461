"""Relaxation times that were measured before: a map of the time or of the rate, or one number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue, UnitMismatch
from imgtheranostics.mapping.estimates import with_rate
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

LONGEST_RELAXATION_TIME_S = {"t1": 20.0, "t2": 10.0, "t2star": 5.0}
"""Longer than those of any liquid in a scanner: a median above it is a relaxation time in ms."""

TIME_OF_RATE = {"r1": "t1", "r2": "t2", "r2star": "t2star"}
"""The relaxation time whose inverse a rate is."""

_SAY_MS = "divide by 1000, or state the unit in the sidecar: Units ms"


def check_relaxation_times(
    times_s: npt.ArrayLike, quantity: str, *, next_step: str = "divide by 1000"
) -> None:
    """Refuse relaxation times whose median says that they are in milliseconds.

    Parameters
    ----------
    times_s : array_like
        What is not a positive number is left out.
    quantity : {"t1", "t2", "t2star"}
    next_step : str

    Raises
    ------
    ImplausibleValue
    """
    values = np.asarray(times_s, dtype=np.float64)
    usable = values[np.isfinite(values) & (values > 0.0)]
    longest = LONGEST_RELAXATION_TIME_S[quantity]
    typical = float(np.median(usable)) if usable.size else 0.0
    if typical > longest:
        raise ImplausibleValue(
            f"{quantity} looks like milliseconds",
            where=quantity,
            found=f"{typical:g} s",
            needed=f"at most {longest:g} s",
            next_step=next_step,
        )


def measured_times(
    x: Volume | Estimate | float, kind: str, *, like: Volume | None = None, needed: str | None = None
) -> Estimate:
    """The relaxation time that belongs to a rate, from a map of either or from one number.

    Parameters
    ----------
    x : Volume, Estimate or float
        A map of the time in s or of the rate in 1/s; or one time in s.
    kind : {"r1", "r2", "r2star"}
    like : Volume, optional
        Gives the grid for a number.
    needed : str, optional
        What a refusal says is needed, by default such a map.

    Raises
    ------
    UnitMismatch
        If a map is of another quantity.
    ImplausibleValue
        If times look like milliseconds.
    ValueError
        If a number is not positive, or there is no grid for it.
    """
    quantity = TIME_OF_RATE[kind]
    if isinstance(x, (int, float, np.integer, np.floating)):
        return _constant(float(x), quantity, like)
    if x.quantity not in (quantity, kind):
        raise UnitMismatch(
            f"{quantity} is needed",
            found=f"{x.quantity} [{x.unit}]",
            needed=needed or f"a map of {quantity} [s] or {kind} [1/s], or one number in s",
        )
    estimate = x if isinstance(x, Estimate) else _without_error(x)
    times = estimate if x.quantity == quantity else with_rate(estimate, quantity)
    check_relaxation_times(times.value.data, quantity, next_step=_SAY_MS)
    return times


def _constant(seconds: float, quantity: str, like: Volume | None) -> Estimate:
    if like is None or not (np.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a relaxation time must be a positive number of seconds, got {seconds:g}")
    check_relaxation_times(seconds, quantity, next_step=_SAY_MS)
    data = np.full(like.grid.shape, seconds, np.float32, order="F")
    value = Volume(data, like.affine, quantity, "s", history=(make_step("constant", seconds=seconds),))
    zero = value.replace(data=np.zeros_like(data))
    decisions = {"method": {"rule": "one value, given", f"{quantity}_s": seconds}}
    return Estimate(value, zero, zero.replace(quantity="flags", unit="1"), decisions=decisions)


def _without_error(v: Volume) -> Estimate:
    """A map from a file without its standard error: the error is unknown, not zero."""
    missing = np.full(v.shape, np.nan, np.float32, order="F")
    good = np.isfinite(v.data) & (v.data > 0)
    flags = np.where(good, 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    caution = Caution(
        "map-without-error",
        f"the map of {v.quantity} comes without a standard error, so what is made of it has none",
        v.quantity,
    )
    value = v.replace(data=np.where(good, v.data, np.nan)).with_warnings(caution)
    error = value.replace(data=missing, warnings=())
    decisions = {"method": {"rule": f"map of {v.quantity}, given"}}
    flag_map = error.replace(data=flags, quantity="flags", unit="1")
    return Estimate(value, error, flag_map, decisions=decisions)
