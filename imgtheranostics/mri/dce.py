"""Dynamic contrast enhancement: from signal to concentration, and from concentration to perfusion.

Each stage can be called alone: `signal_to_concentration` needs T1 before the agent, `fit` needs tissue and
plasma concentration, however they were obtained. Input functions are in `imgtheranostics.mri.input_function`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import Fit, PlanarSignal, planar, shortfall
from imgtheranostics.mri.dce_choice import (
    Block,
    Setting,
    Task,
    fit_block,
    not_enhancing,
    transfer,
    without_exchange,
)
from imgtheranostics.mri.dce_concentration import signal_to_concentration
from imgtheranostics.mri.dce_models import KTRANS_OF_FLOW, MODELS, SEALED, Inflow, delay_parameter, search
from imgtheranostics.mri.input_function import checked_curve_times, population_aif
from imgtheranostics.volume import Flag

__all__ = ["fit", "plasma_from_blood", "population_aif", "signal_to_concentration"]

FloatArray = npt.NDArray[np.float64]

BLOCK_BYTES = 3 << 20
"""Curves in float64 that are fitted at a time."""

LARGEST = 1e150
"""Concentrations whose squares would overflow are no better than infinite ones."""


def plasma_from_blood(blood: npt.ArrayLike, haematocrit: float) -> FloatArray:
    """Plasma concentration from that in whole blood: the agent stays out of the cells.

    Parameters
    ----------
    blood : array_like
        Concentration in whole blood, any unit.
    haematocrit : float
        Volume of cells over volume of blood, within 0 and 1.

    Raises
    ------
    ImplausibleValue
        If the haematocrit is not between 0 and 1.
    """
    if not 0.0 < haematocrit < 1.0:
        percent = " (percent?)" if 1.0 <= haematocrit <= 100.0 else ""
        raise ImplausibleValue(
            "the haematocrit is outside its range",
            where="haematocrit",
            found=f"{haematocrit:g}{percent}",
            needed="a fraction between 0 and 1, in people about 0.42",
            next_step="give a fraction, or leave it out when the curve is that of plasma",
        )
    return np.asarray(blood, dtype=np.float64) / (1.0 - haematocrit)


def fit(
    model: str,
    concentration: npt.ArrayLike,
    time_s: npt.ArrayLike,
    plasma: npt.ArrayLike,
    *,
    plasma_time_s: npt.ArrayLike | None = None,
    haematocrit: float | None = None,
    fit_delay: bool = False,
    delay_bounds_s: tuple[float, float] = (-5.0, 30.0),
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    max_iterations: int = 200,
    tolerance: float = 1e-7,
    check_time: bool = True,
) -> Fit:
    """Perfusion parameters of a tracer model from concentration curves.

    The plasma curve is taken as straight lines between its samples, zero before the first; its convolution
    with the model's exponentials is exact for that, at any increasing times. The start is the best of a table
    of rates (and delays) with their linear weights; a bounded Levenberg-Marquardt fit follows.

    Parameters
    ----------
    model : {"tofts", "extended_tofts", "patlak", "2cxm", "2cum"}
        ``tofts``: Ktrans, ve; ``extended_tofts``: and vp; ``patlak``: PS, vp (no backflux);
        ``2cxm``: exchange between plasma and interstitium, Fp, PS, ve, vp; ``2cum``: the same without
        backflux, Fp, PS, vp.
    concentration : (..., n) array_like
        Concentration in tissue, mmol/L.
    time_s : (n,) array_like
        Time of the samples in s, increasing.
    plasma : (n,) array_like
        Input function at the same times, mmol/L: concentration in plasma, or in whole blood when
        `haematocrit` is given.
    plasma_time_s : (k,) array_like, optional
        Own times of `plasma` (k,), increasing and up to the last image: those of blood samples, or closer
        ones of a population's curve. Straight lines between samples 5 s apart miss parts of the bolus, and
        Ktrans by up to 3 %; 10 s apart, by 20 %.
    haematocrit : float, optional
        Volume fraction of cells in blood; `plasma` is then divided by (1 - haematocrit). Without it, `plasma`
        is used as it is.
    fit_delay : bool
        Fit by how much the tissue lags behind the input function, per curve.
    delay_bounds_s : (float, float)
        Earliest and latest delay in s, at most half of the scan; negative where the input function was
        measured downstream.
    mask : (...) array_like of bool, optional
        Curves to fit.
    workers : int, optional
        Threads; all by default. The result does not depend on it.
    max_iterations, tolerance : int, float
        Most steps, and the relative change of every parameter below which the fit is settled.
    check_time : bool
        Whether times that look like minutes or milliseconds are refused.

    Returns
    -------
    Fit
        ``ktrans_per_min`` and ``ps_per_min`` in 1/min, ``fp_ml_100ml_min``, ``ve``, ``vp``, ``delay_s``:
        those of the model. For ``patlak`` the slope is given under both names, Ktrans and PS; for ``2cxm``
        and ``2cum`` Ktrans is Fp PS/(Fp + PS), its standard error by their covariance. All are NaN and
        flagged in a curve with a sample that is not finite (INVALID_INPUT), one that does not settle
        (NOT_CONVERGED), and one in which an F test at 0.001 finds no enhancement (NOT_ENHANCING). A value at
        a bound (ve and vp at most 1) is kept, flagged AT_BOUND and has no standard error; those of the other
        parameters take it as known. ``ve`` without any exchange into it is NaN, flagged ILL_CONDITIONED.

    Notes
    -----
    A curve may show no exchange: that of ``2cxm`` where one compartment with flow explains it as well, that
    of ``extended_tofts`` where plasma alone does. Two parameters, the exchange and ve, then have nothing to
    hold on to, and the best of the many equal solutions may be absurd (PS or Ktrans of several per min into
    a ve near 0). The F test at 0.001 of their gain decides, and the gain must be more than a thousandth of
    the curve (root mean square), about what straight lines between samples 0.5 s apart leave out. Without a
    gain, Fp, vp and delay are those of the smaller model, with its standard errors; PS or Ktrans is 0 and
    AT_BOUND, ve NaN and ILL_CONDITIONED. Such a curve does not tell exchange that is too slow to be seen
    from one that is too fast: in the latter case vp holds plasma and interstitium together (PS several
    times the flow). Exchange that is there but too weak for the noise counts as none; the average over a
    region of such voxels is too low, the fit to the region's curve is not. ``tofts`` and ``2cum`` need no
    such choice: without Ktrans nothing is left, and a PS near 0 is well determined.

    Raises
    ------
    ValueError
        For an unknown model, fewer samples than parameters, times that do not increase, or lengths that
        differ.
    ImplausibleValue
        If the haematocrit is not between 0 and 1, or the times look like minutes or milliseconds.

    References
    ----------
    .. [1] Tofts PS et al. J Magn Reson Imaging 1999, 10:223
    .. [2] Patlak CS et al. J Cereb Blood Flow Metab 1983, 3:1. doi:10.1038/jcbfm.1983.1
    .. [3] Sourbron SP, Buckley DL. Magn Reson Med 2011, 66:735. doi:10.1002/mrm.22861
    """
    if model not in MODELS:
        raise ValueError(f"unknown model {model!r}; there are {', '.join(MODELS)}")
    # Copies: an array that may not be written would compile the kernels a second time.
    time = checked_curve_times(time_s, check_unit=check_time).copy()
    inflow = _checked_inflow(plasma, plasma_time_s, time, haematocrit, check_time)
    delay = (
        delay_parameter(delay_bounds_s, float(time[-1] - time[0])) if fit_delay and time.size > 1 else None
    )
    more = () if delay is None else (delay,)
    count = len(MODELS[model].parameters) + len(more)
    if time.size < count:
        raise ValueError(
            f"{model} has {count} parameters and needs at least {count} samples, found {time.size}"
        )
    curves = planar(concentration, time.size, "concentration", contiguous=False)
    # First the model itself, then what is left of it without exchange.
    tasks = [
        Task(nested, (*nested.parameters, *more), search(nested, time, inflow, delay), delay is not None)
        for nested in (MODELS[model], SEALED.get(model))
        if nested is not None
    ]
    result = _Result(curves, tasks, Setting(time, inflow, max_iterations, tolerance, workers))
    within = curves.chosen(mask)
    result.flags[~within] = Flag.MASKED_OUT
    todo = np.flatnonzero(within)
    per_block = max(64, BLOCK_BYTES // (8 * time.size))
    for first in range(0, todo.size, per_block):
        result.add(todo[first : first + per_block])
    return result.fit()


class _Result:
    """Parameters of all curves, filled block by block."""

    def __init__(self, curves: PlanarSignal, tasks: list[Task], setting: Setting) -> None:
        self.curves = curves
        self.task, self.sealed = tasks[0], tasks[1:]
        self.setting = setting
        dtype = curves.samples.dtype
        shape = (len(self.task.parameters), curves.n_voxels)
        self.values = np.full(shape, np.nan, dtype)
        self.errors = np.full(shape, np.nan, dtype)
        self.transfer = np.full((2, curves.n_voxels), np.nan, dtype)
        """Ktrans per min and its standard error, where it follows from Fp and PS."""
        self.r_squared = np.full(curves.n_voxels, np.nan, dtype)
        self.rmse = np.full(curves.n_voxels, np.nan, dtype)
        self.iterations = np.zeros(curves.n_voxels, np.int32)
        self.flags = np.zeros(curves.n_voxels, np.uint16)

    def add(self, voxels: npt.NDArray[np.intp]) -> None:
        """Fit the curves of some voxels."""
        whole = voxels[-1] - voxels[0] + 1 == voxels.size
        part = slice(voxels[0], voxels[-1] + 1) if whole else voxels
        block = np.ascontiguousarray(self.curves.samples[:, part].T, dtype=np.float64)
        if not block.flags.writeable:
            block = block.copy()
        finite = np.abs(block).max(axis=1) < LARGEST
        self.flags[voxels[~finite]] |= np.uint16(Flag.INVALID_INPUT)
        if not finite.all():
            block, voxels = block[finite], voxels[finite]
        if voxels.size == 0:
            return
        found = fit_block(self.task, block, self.setting)
        for sealed in self.sealed:
            found = without_exchange(self.task, sealed, block, found, self.setting)
        flags, usable = self._judge(block, found)
        self.flags[voxels] |= flags
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            explained = 1.0 - found.squares[:, 0] / found.squares[:, 1]
            self.r_squared[voxels] = np.where(found.squares[:, 1] > 0.0, explained, np.nan)
            self.rmse[voxels] = np.sqrt(found.squares[:, 0] / block.shape[1])
            self.iterations[voxels] = found.iterations
            unbiased = shortfall(block.shape[1] - len(self.task.parameters))
            for row, parameter in enumerate(self.task.parameters):
                known = usable[:, row]
                self.values[row, voxels[known]] = found.values[known, row] * parameter.factor
                self.errors[row, voxels[known]] = (
                    np.sqrt(found.variances[known, row]) * parameter.factor / unbiased
                )
            if self.task.model.name in KTRANS_OF_FLOW:
                known = usable[:, 0] & usable[:, 1]
                value, variance = transfer(found)
                per_min = 60.0 * np.stack([value, np.sqrt(variance) / unbiased])
                self.transfer[:, voxels[known]] = per_min[:, known]

    def _judge(self, block: FloatArray, found: Block) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
        """Flags of each curve, and which of its parameters are known."""
        from imgtheranostics.kernels.tracer_fit import CONVERGED, UNDETERMINED

        lower, upper = self.task.lower, self.task.upper
        flags = np.zeros(len(block), np.uint16)
        failed = (found.state & CONVERGED) == 0
        flags[failed] |= np.uint16(Flag.NOT_CONVERGED)
        silent = not_enhancing(block, found.squares[:, 0], lower.size)
        flags[silent] |= np.uint16(Flag.NOT_ENHANCING)
        known = np.repeat(~(failed | silent)[:, np.newaxis], lower.size, axis=1)
        at_bound = (found.values <= lower) | (found.values >= upper)
        flags[(at_bound & known).any(axis=1)] |= np.uint16(Flag.AT_BOUND)
        flags[known[:, 0] & ((found.state & UNDETERMINED) != 0)] |= np.uint16(Flag.ILL_CONDITIONED)
        if self.task.model.volume_of is not None:
            volume, filled_by = (self.task.row(name) for name in self.task.model.volume_of)
            empty = known[:, volume] & (found.values[:, filled_by] <= lower[filled_by])
            flags[empty] |= np.uint16(Flag.ILL_CONDITIONED)
            known[empty, volume] = False
        return flags, known

    def fit(self) -> Fit:
        """Everything in the leading shape of the concentration."""
        back = self.curves.restored
        names = [parameter.name for parameter in self.task.parameters]
        values = {name: back(row) for name, row in zip(names, self.values, strict=True)}
        errors = {name: back(row) for name, row in zip(names, self.errors, strict=True)}
        units = {parameter.name: parameter.unit for parameter in self.task.parameters}
        if self.task.model.name == "patlak":
            for table in (values, errors):
                table["ktrans_per_min"] = table["ps_per_min"]
            units["ktrans_per_min"] = units["ps_per_min"]
        if self.task.model.name in KTRANS_OF_FLOW:
            values["ktrans_per_min"], errors["ktrans_per_min"] = map(back, self.transfer)
            units["ktrans_per_min"] = units["ps_per_min"]
        return Fit(
            values,
            errors,
            back(self.r_squared),
            back(self.rmse),
            back(self.iterations),
            back(self.flags),
            units,
        )


def _checked_inflow(
    plasma: npt.ArrayLike,
    plasma_time_s: npt.ArrayLike | None,
    time: FloatArray,
    haematocrit: float | None,
    check_time: bool,
) -> Inflow:
    """The input function in plasma and its times, checked."""
    knots = (
        time if plasma_time_s is None else checked_curve_times(plasma_time_s, check_unit=check_time).copy()
    )
    curve = np.asarray(plasma, dtype=np.float64)
    if curve.shape != knots.shape:
        raise ValueError(
            f"plasma has shape {curve.shape}, but needs one value for each of its {knots.size} times"
        )
    if not bool(np.isfinite(curve).all()):
        raise ValueError("plasma holds values that are not finite; give the whole input function")
    if not bool((curve > 0.0).any()):
        raise ValueError("plasma is nowhere above zero: there is no input function")
    if time[-1] > knots[-1] + float(np.diff(knots).max(initial=0.0)):
        raise ValueError(f"plasma ends at {knots[-1]:g} s, the tissue's curve at {time[-1]:g} s")
    if haematocrit is not None:
        curve = plasma_from_blood(curve, haematocrit)
    shared = knots.size == time.size and bool((knots == time).all())
    return Inflow(knots, curve.copy(), shared)
