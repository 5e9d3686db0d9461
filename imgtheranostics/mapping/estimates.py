"""From a Fit to an Estimate: value, standard error, flags, what comes out beside, and how much failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.voxels import Chosen
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Axis, Estimate, Flag, Step, Volume

Array = npt.NDArray[Any]

STATED_SHARE = 0.05
"""Share of voxels at a bound, or failed, above which a result carries a caution."""

_SIGNAL_PARAMETERS = {"s0": "signal"}
_NOT_WORKED_ON = Flag.MASKED_OUT.value | Flag.BELOW_NOISE.value


def estimate_of(
    v: Volume,
    fit: Fit,
    parameter: str,
    quantity: str,
    step: Step,
    chosen: Chosen,
    *,
    axes: tuple[Axis, ...] = (),
    scale: float = 1.0,
    calibration_relative: float = 0.0,
    decisions: Mapping[str, Any] | None = None,
    warnings: tuple[Caution, ...] = (),
    beside: Mapping[str, str] | None = None,
) -> Estimate:
    """One parameter of a fit as an Estimate on the grid of `v`.

    Parameters
    ----------
    v : Volume
        Gives grid, acquisition, source and history.
    fit : Fit
        Arrays of shape (i, j, k, *others).
    parameter, quantity : str
        Name in the fit, and of the table of quantities.
    step : Step
    chosen : Chosen
        Voxels that were left out keep their reason.
    axes : tuple of Axis
        The axes of the result beyond space.
    scale : float
        Multiplies value and standard error.
    calibration_relative : float
        Relative uncertainty that all voxels share; goes into the standard error in quadrature.
    decisions, warnings
        Travel with the estimate.
    beside : mapping of str to str, optional
        Further parameters and their quantities; amplitude and goodness of fit are always there.
    """
    unit = QUANTITIES[quantity].unit or v.unit
    value = np.asarray(fit.parameters[parameter], np.float64) * scale
    error = np.asarray(fit.standard_errors[parameter], np.float64) * abs(scale)
    if calibration_relative:
        error = np.hypot(error, calibration_relative * np.abs(value))
    flags = chosen.merged(fit.flags)
    cautions = (*warnings, *share_cautions(flags, value, quantity))
    result = v.derived(value, quantity, unit, step, axes=axes).with_warnings(*cautions)
    plain = result.replace(warnings=())
    return Estimate(
        result,
        plain.replace(data=error),
        plain.replace(data=flags, quantity="flags", unit="1"),
        calibration_relative,
        decisions or {},
        _beside(plain, v.unit, fit, {**_SIGNAL_PARAMETERS, **(beside or {})}),
    )


def calculated_estimate(
    v: Volume,
    fit: Fit,
    parameter: str,
    quantity: str,
    step: Step,
    chosen: Chosen,
    *,
    axes: tuple[Axis, ...] = (),
    decisions: Mapping[str, Any] | None = None,
    warnings: tuple[Caution, ...] = (),
    beside: Mapping[str, Volume] | None = None,
) -> Estimate:
    """Numbers that were calculated and not fitted, as an Estimate: no goodness of fit goes along."""
    value = np.asarray(fit.parameters[parameter])
    flags = chosen.merged(fit.flags)
    result = v.derived(value, quantity, QUANTITIES[quantity].unit or v.unit, step, axes=axes)
    result = result.with_warnings(*warnings, *share_cautions(flags, value, quantity))
    plain = result.replace(warnings=())
    error = getattr(fit, "total_errors", fit.standard_errors)[parameter]
    return Estimate(
        result,
        plain.replace(data=np.asarray(error)),
        plain.replace(data=flags, quantity="flags", unit="1"),
        float(getattr(fit, "calibration_relative", 0.0)),
        decisions or {},
        {name: volume.replace(warnings=()) for name, volume in (beside or {}).items()},
    )


def _beside(plain: Volume, signal_unit: str, fit: Fit, wanted: Mapping[str, str]) -> dict[str, Volume]:
    """Volumes of the further parameters and of the goodness of the fit."""
    arrays: dict[str, tuple[str, Array]] = {
        name.removesuffix("_s"): (quantity, fit.parameters[name])
        for name, quantity in wanted.items()
        if name in fit.parameters
    }
    arrays |= {
        "r_squared": ("r_squared", fit.r_squared),
        "rmse": ("rmse", fit.rmse),
        "iterations": ("iterations", np.clip(fit.iterations, 0, 65535)),
    }
    return {
        name: plain.replace(data=array, quantity=quantity, unit=QUANTITIES[quantity].unit or signal_unit)
        for name, (quantity, array) in arrays.items()
    }


def share_cautions(flags: npt.NDArray[np.uint16], value: Array, quantity: str) -> tuple[Caution, ...]:
    """Cautions when too many of the voxels that were worked on failed or sit at a bound."""
    worked_on = (flags & _NOT_WORKED_ON) == 0
    total = int(np.count_nonzero(worked_on))
    if total == 0:
        return (Caution("nothing-estimated", f"{quantity}: no voxel was left to estimate it in"),)
    failed = int(np.count_nonzero(worked_on & ~np.isfinite(value)))
    at_bound = int(np.count_nonzero(worked_on & ((flags & Flag.AT_BOUND.value) != 0) & np.isfinite(value)))
    found = []
    for code, count, words in (
        ("many-failed", failed, "could not be estimated and are NaN"),
        ("many-at-bound", at_bound, "sit at a bound of the fit, without a standard error"),
    ):
        if count > STATED_SHARE * total:
            text = (
                f"{count} of {total} voxels ({100 * count / total:.0f} %, more than "
                f"{100 * STATED_SHARE:.0f} %) {words}; see the flags, or give a mask"
            )
            found.append(Caution(code, f"{quantity}: {text}"))
    return tuple(found)


def with_rate(estimate: Estimate, quantity: str) -> Estimate:
    """A relaxation time as its rate, or a rate as its time: 1/x with the standard error divided by x^2."""
    value = estimate.value
    unit = QUANTITIES[quantity].unit or "1"
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / value.data.astype(np.float64)
        error = estimate.standard_error.data / np.square(value.data, dtype=np.float64)
    bad = ~np.isfinite(inverse)
    inverse[bad], error[bad] = np.nan, np.nan
    flags = np.array(estimate.flags.data)
    flags[bad & (flags == 0)] = Flag.OUTSIDE_RANGE.value
    step = Step("reciprocal", {"of": estimate.quantity})
    result = value.derived(inverse, quantity, unit, step)
    return replace(
        estimate,
        value=result,
        standard_error=result.replace(data=error, warnings=()),
        flags=estimate.flags.replace(data=flags),
        maps={},
    )
