"""Concentration of an agent from changes of relaxation rates: one rate, or several together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.agents import Relaxivity
from imgtheranostics.fit import FloatArray
from imgtheranostics.mapping.calculated import elementwise, nothing_fitted
from imgtheranostics.mapping.calibrated_fit import CalibratedFit, largest_relative
from imgtheranostics.mapping.voxel_blocks import BoolArray, DoubleArray, FlagArray, stored
from imgtheranostics.mri.agent_relaxivity import (
    as_relaxivity,
    relaxivity_cautions,
    relaxivity_decision,
    shared_count,
)
from imgtheranostics.mri.signal_change import Rate, rate_change_from_times
from imgtheranostics.volume import Flag

NAME = "concentration_mm"
UNIT = "mmol/L"


def from_rate_change(
    delta_per_s: npt.ArrayLike,
    relaxivity: Relaxivity | float,
    *,
    kind: Rate,
    delta_error: npt.ArrayLike = np.nan,
    mask: npt.ArrayLike | None = None,
) -> CalibratedFit:
    """Concentration from the change of one relaxation rate, C = dR / r.

    Parameters
    ----------
    delta_per_s : array_like
        Change of the rate, 1/s; negative values give negative concentrations, as noise does.
    relaxivity : Relaxivity or float
        L/mmol/s; see `relaxivity_for`. The concentration counts what it counts (per Gd, Fe, molecule).
    kind : {"r1", "r2", "r2star"}
        Which rate; the relaxivity must be of the same.
    delta_error : float or array_like
        Standard error of the change, 1/s.
    mask : array_like of bool, optional

    Returns
    -------
    CalibratedFit
        ``concentration_mm`` in mmol/L. `standard_errors` is se(dR)/r, `calibration_errors` is C se(r)/r,
        which all voxels share; `total_errors` joins them (mri.md F12). Iron from r2 or r2* carries the
        caution that it is apparent.

    Raises
    ------
    UnitMismatch
        If the relaxivity is of another kind.
    ImplausibleValue
        If it cannot be a relaxivity.
    """
    used = as_relaxivity(relaxivity, kind)
    (delta, error), flags, dtype = elementwise(delta_per_s, delta_error, mask=mask)
    flags[~np.isfinite(delta)] |= Flag.INVALID_INPUT.value
    value = np.where(flags == 0, delta / used.value, np.nan)
    relative = used.relative_uncertainty or 0.0
    return calibrated(
        value,
        error / used.value,
        np.abs(value) * relative,
        flags,
        dtype,
        {kind: used},
        relative=relative,
        decisions={"rule": f"change of {kind} over relaxivity"},
    )


def from_relaxation_times(
    pre_s: npt.ArrayLike,
    post_s: npt.ArrayLike,
    relaxivity: Relaxivity | float,
    *,
    kind: Rate,
    pre_error: npt.ArrayLike = np.nan,
    post_error: npt.ArrayLike = np.nan,
    mask: npt.ArrayLike | None = None,
) -> CalibratedFit:
    """Concentration from relaxation times before and after the agent, C = (1/post - 1/pre) / r.

    Parameters
    ----------
    pre_s, post_s : array_like
        Relaxation times in s, from variable flip angles, inversion recovery or echoes.
    relaxivity, kind, mask
        As in `from_rate_change`.
    pre_error, post_error : float or array_like
        Standard errors of the times, s.

    Returns
    -------
    CalibratedFit
        As `from_rate_change`; `Flag.INVALID_INPUT` where a time is not a positive number.

    Raises
    ------
    UnitMismatch, ImplausibleValue, ValueError
        As in `from_rate_change`; if shapes do not fit.
    """
    change = rate_change_from_times(
        pre_s, post_s, kind=kind, pre_error=pre_error, post_error=post_error, mask=mask
    )
    name = f"delta_{kind}_per_s"
    fit = from_rate_change(
        change.parameters[name], relaxivity, kind=kind, delta_error=change.standard_errors[name]
    )
    return _with_flags(fit, change.flags)


def _with_flags(fit: CalibratedFit, flags: FlagArray) -> CalibratedFit:
    """The same with the reasons of an earlier step, where that already gave up."""
    return replace(fit, flags=np.where(flags != 0, flags, fit.flags).astype(np.uint16))


def from_rate_changes(
    changes: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    relaxivities: Mapping[str, Relaxivity | float],
    *,
    mask: npt.ArrayLike | None = None,
) -> CalibratedFit:
    """One concentration from the changes of several rates of an agent that shortens T1 and T2 at once.

    Weighted least squares through the origin, each rate with the weight of its own standard error: a rate
    whose sensitivity is spent (T1 at high, T2* at low concentration) loses its say.

    Parameters
    ----------
    changes : mapping of str to (change, standard error)
        By kind (``r1``, ``r2``, ``r2star``), at least two; 1/s.
    relaxivities : mapping of str to Relaxivity or float
        By kind.
    mask : array_like of bool, optional

    Returns
    -------
    CalibratedFit
        ``concentration_mm``; ``chi2``, the squared misfit over the errors of rates and relaxivities, and
        ``consistency``, the probability of a larger one: small where the rates contradict each other, as they
        do when particles sit inside cells or an echo is corrupted. `Flag.INVALID_INPUT` where a change or a
        positive error is missing.

    Raises
    ------
    ValueError
        If fewer than two kinds are given, or not the same ones in both.
    UnitMismatch
        If relaxivities are of another kind or count different things.
    """
    if len(changes) < 2 or set(changes) != set(relaxivities):
        raise ValueError(
            f"changes {sorted(changes)} and relaxivities {sorted(relaxivities)} must name the same rates, "
            "at least two"
        )
    used = {kind: as_relaxivity(relaxivities[kind], kind) for kind in changes}
    shared_count(used)
    pairs = [array for pair in changes.values() for array in pair]
    maps, flags, dtype = elementwise(*pairs, mask=mask)
    deltas, errors = np.array(maps[::2]), np.array(maps[1::2])
    with np.errstate(invalid="ignore"):
        good = np.isfinite(deltas).all(axis=0) & (np.isfinite(errors) & (errors > 0)).all(axis=0)
    flags[~good] |= Flag.INVALID_INPUT.value
    shape = (-1, *(1,) * (deltas.ndim - 1))
    r = np.array([used[kind].value for kind in changes]).reshape(shape)
    spread = np.array([used[kind].uncertainty or 0.0 for kind in changes]).reshape(shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        weight = r**2 / errors**2
        total = weight.sum(axis=0)
        value = (r * deltas / errors**2).sum(axis=0) / total
        share = weight / total
        calibration = np.abs(value) * np.sqrt(((share * spread / r) ** 2).sum(axis=0))
        error = 1.0 / np.sqrt(total)
    value = np.where(flags == 0, value, np.nan)
    chi2 = _misfit(deltas, errors, r, spread, value)
    consistency = _chance(chi2, len(changes) - 1)
    return calibrated(
        value,
        error,
        calibration,
        flags,
        dtype,
        used,
        beside={"chi2": chi2, "consistency": consistency},
        decisions={"rule": "weighted least squares of the changes of " + " and ".join(changes)},
    )


def _misfit(
    deltas: DoubleArray, errors: DoubleArray, r: DoubleArray, spread: DoubleArray, value: DoubleArray
) -> DoubleArray:
    """Chi squared of the best single concentration when relaxivities are uncertain too.

    The variance of a change is that of its measurement plus (C se(r))^2.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = errors**2 + (spread * value) ** 2
        best = (r * deltas / variance).sum(axis=0) / (r**2 / variance).sum(axis=0)
        chi2: DoubleArray = ((deltas - r * best) ** 2 / variance).sum(axis=0)
    return chi2


def _chance(chi2: DoubleArray, freedom: int) -> DoubleArray:
    """Probability of a larger chi squared with one or two degrees of freedom."""
    with np.errstate(invalid="ignore"):
        if freedom == 2:
            return np.exp(-0.5 * chi2)
        root = np.sqrt(0.5 * chi2)
    return np.vectorize(math.erfc, otypes=[float])(root) if root.size else root


def calibrated(
    value: DoubleArray,
    error: DoubleArray,
    calibration: DoubleArray,
    flags: FlagArray,
    dtype: np.dtype[np.floating],
    relaxivities: Mapping[str, Relaxivity],
    *,
    relative: float | None = None,
    beside: Mapping[str, DoubleArray] | None = None,
    decisions: Mapping[str, Any] | None = None,
) -> CalibratedFit:
    """Concentrations with their two kinds of error and the record of their relaxivities.

    Values are kept where they are finite; `Flag.AMBIGUOUS_BRANCH` and the like do not forbid them. Arrays of
    the result's type are taken over.
    """
    usable = np.isfinite(value)
    kept = _where(usable, value, dtype)
    usable &= np.isfinite(kept)
    flags[~usable & (flags == 0)] = Flag.OUTSIDE_RANGE.value
    values = {NAME: kept, **{name: _where(usable, array, dtype) for name, array in (beside or {}).items()}}
    uncertain = {name: np.full(value.shape, np.nan, dtype) for name in beside or {}}
    known = [r for r in relaxivities.values() if r.uncertainty]
    return CalibratedFit(
        values,
        {NAME: _where(usable, error, dtype), **uncertain},
        *nothing_fitted(value.shape, dtype),
        flags=flags,
        units={NAME: UNIT, **dict.fromkeys(beside or {}, "1")},
        calibration_errors={NAME: _where(usable, calibration, dtype)},
        calibration_relative=relative
        if relative is not None
        else (largest_relative(kept, calibration) if known else 0.0),
        decisions={
            "counts": shared_count(relaxivities) or "not stated",
            "relaxivity": {kind: relaxivity_decision(used) for kind, used in relaxivities.items()},
            **(decisions or {}),
        },
        warnings=relaxivity_cautions(relaxivities),
    )


def _where(usable: BoolArray, values: FloatArray, dtype: np.dtype[np.floating]) -> FloatArray:
    """Values of a result, NaN where there is no concentration; in place where their type allows."""
    if values.dtype != dtype or not values.flags.writeable:
        return stored(np.where(usable, values, np.nan), dtype)
    values[~(usable & np.isfinite(values))] = np.nan
    return values
