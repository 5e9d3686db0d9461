"""Graphical analysis of tracer kinetics: Patlak, Logan, MA1 and their variants with a reference tissue.

All curves must be decay corrected to one moment, tissue and input alike: mixed corrections bend every plot. A
linear fit on transformed data, so that noise biases Logan's VT low; `ma1` is less sensitive to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import Fit, PlanarSignal, planar, shortfall
from imgtheranostics.nuclear.kinetic_inputs import (
    Frames,
    checked_clearance,
    checked_input,
    checked_mid_times,
    checked_reference,
    refuse_late_tissue,
)

FloatArray = npt.NDArray[np.float64]

__all__ = ["logan", "logan_reference", "ma1", "mrtm2", "patlak", "patlak_reference"]

_PER_MIN = 60.0


def patlak(
    tissue: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    input_time_s: npt.ArrayLike,
    plasma: npt.ArrayLike,
    start_s: float,
    end_s: float | None = None,
    frame_duration_s: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_time: bool = True,
) -> Fit:
    """Net influx of a tracer that is trapped: the late slope of C_T/C_p over (integral of C_p)/C_p.

    Parameters
    ----------
    tissue : (..., n) array_like
        Activity concentration in tissue, Bq/mL, decay corrected; NaN allowed.
    time_s : (n,) array_like
        Middles of the frames in s since the injection.
    input_time_s, plasma : (k,) array_like
        Metabolite-corrected plasma, in the unit of `tissue` and decay corrected to the same moment; straight
        lines between the samples, whose integral is exact.
    start_s : float
        t*: the line takes frames whose middle is at or after it.
    end_s : float, optional
        The line takes frames up to it.
    frame_duration_s : float or (n,) array_like, optional
        Plasma is then averaged over each frame, exactly; without it, taken at its middle.
    weights : (n,) array_like, optional
        Relative weights of the squares of the ordinate; equal by default.
    mask : (...) array_like of bool, optional
    workers : int, optional
        Threads; the result does not depend on it.
    check_time : bool
        Whether times that look like minutes are refused.

    Returns
    -------
    Fit
        ``Ki`` in mL/cm3/min and ``intercept`` in mL/cm3, the volume of what is not trapped. `r_squared` and
        `rmse` are those of the plot. A voxel with a value in the line that is not finite is NaN and flagged
        INVALID_INPUT; one whose activity is below zero on average keeps its value, NEGATIVE_AMPLITUDE.

    Raises
    ------
    ValueError
        If lengths differ, times do not increase, or fewer than two frames are left for the line.
    ImplausibleValue
        If the plasma does not cover the scan or is not above zero within the line, or times look like
        minutes.

    References
    ----------
    .. [1] Patlak CS et al. J Cereb Blood Flow Metab 1983, 3:1. doi:10.1038/jcbfm.1983.1
    """
    times, frames = checked_mid_times(time_s, frame_duration_s, check_time=check_time)
    inflow = checked_input(input_time_s, plasma, until_s=last_start(times, frames))
    line = line_window(times, start_s, end_s, weights)
    level = inflow.at(times) if frames is None else inflow.average(frames.start_s, frames.end_s)
    area = inflow.integral(times) if frames is None else inflow.average_integral(frames.start_s, frames.end_s)
    return _fixed(tissue, times, line, level, area, "plasma", mask, workers)


def patlak_reference(
    tissue: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    start_s: float,
    end_s: float | None = None,
    frame_duration_s: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_time: bool = True,
) -> Fit:
    """Influx relative to a tissue that does not trap the tracer: Patlak's plot over that tissue's curve.

    Parameters
    ----------
    tissue : (..., n) array_like
    reference : (n,) array_like
        Curve of the reference tissue in the same frames, from the injection on.
    time_s, start_s, end_s, frame_duration_s, weights, mask, workers, check_time
        As in `patlak`; with `frame_duration_s` the reference's integral is the sum of its frames.

    Returns
    -------
    Fit
        ``Ki`` in 1/min, relative to the reference, and ``intercept`` (no unit).

    Raises
    ------
    ValueError, ImplausibleValue
        As `patlak`; also if the first frame starts more than a minute after the injection.
    """
    times, frames = checked_mid_times(time_s, frame_duration_s, check_time=check_time)
    line = line_window(times, start_s, end_s, weights)
    curve, area = reference_area(reference, times, frames)
    found = _fixed(tissue, times, line, curve, area, "reference", mask, workers)
    return replace(found, units={"Ki": "1/min", "intercept": "1"})


def logan(
    tissue: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    input_time_s: npt.ArrayLike,
    plasma: npt.ArrayLike,
    start_s: float,
    end_s: float | None = None,
    frame_duration_s: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_time: bool = True,
) -> Fit:
    """Volume of distribution: the late slope of (integral of C_T)/C_T over (integral of C_p)/C_T.

    Parameters
    ----------
    tissue, time_s, input_time_s, plasma, start_s, end_s, weights, mask, workers, check_time
        As in `patlak`. The tissue's integral starts with the injection, so that all frames are needed.
    frame_duration_s : float or (n,) array_like, optional
        The tissue's integral is then the sum of its frames; without it, that of straight lines between
        the middles, from zero at the injection.

    Returns
    -------
    Fit
        ``VT`` in mL/cm3 and ``intercept`` in min. A voxel with a value that is not finite, or not above zero
        within the line, is NaN and flagged INVALID_INPUT; one that stays proportional to the integral of the
        plasma has no line and is flagged ILL_CONDITIONED.

    Raises
    ------
    ValueError
        As `patlak`.
    ImplausibleValue
        As `patlak`, and if the first frame starts more than a minute after the injection.

    Notes
    -----
    Noise of the voxel is in both axes and lowers VT. Standard errors are those of noise that is as large in
    every frame, also in those before the line, and goes into both axes and the integral: some twice those of
    the line alone, which takes its points for independent. They do not hold the bias.

    References
    ----------
    .. [1] Logan J et al. J Cereb Blood Flow Metab 1990, 10:740. doi:10.1038/jcbfm.1990.127
    """
    times, frames, line, x = _plasma_areas(
        time_s, input_time_s, plasma, start_s, end_s, frame_duration_s, weights, check_time
    )
    found = _own(tissue, times, frames, line, x, mask, workers, plane=False)
    return _named(found, "VT", "mL/cm3")


def ma1(
    tissue: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    input_time_s: npt.ArrayLike,
    plasma: npt.ArrayLike,
    start_s: float,
    end_s: float | None = None,
    frame_duration_s: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_time: bool = True,
) -> Fit:
    """Volume of distribution by Ichise's multilinear analysis: C_T = -(VT/b) int C_p + (1/b) int C_T.

    Logan's equation, solved for the tissue itself, so that its noise is on one side only but for the
    integral, which averages it.

    Parameters
    ----------
    tissue, time_s, input_time_s, plasma, start_s, end_s, frame_duration_s, weights, mask, workers, check_time
        As in `logan`.

    Returns
    -------
    Fit
        ``VT`` in mL/cm3 and ``intercept`` b in min; goodness of fit is that of the tissue curve. Standard
        errors and flags as in `logan`, but for values that are not above zero, which may take part.

    Raises
    ------
    ValueError, ImplausibleValue
        As `logan`.

    References
    ----------
    .. [1] Ichise M et al. J Cereb Blood Flow Metab 2002, 22:1271.
           doi:10.1097/01.WCB.0000038000.34930.4E
    """
    times, frames, line, x = _plasma_areas(
        time_s, input_time_s, plasma, start_s, end_s, frame_duration_s, weights, check_time
    )
    found = _own(tissue, times, frames, line, x, mask, workers, plane=True)
    return _named(found, "VT", "mL/cm3")


def logan_reference(
    tissue: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    start_s: float,
    k2_reference_per_min: float | None = None,
    end_s: float | None = None,
    frame_duration_s: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_time: bool = True,
) -> Fit:
    """Ratio of volumes of distribution to a reference tissue, by Logan's plot over that tissue's curve.

    Parameters
    ----------
    tissue : (..., n) array_like
    reference : (n,) array_like
        Curve of the reference tissue in the same frames, from the injection on.
    time_s, start_s, end_s, frame_duration_s, weights, mask, workers, check_time
        As in `logan`.
    k2_reference_per_min : float, optional
        Clearance of the reference tissue; its term is left out without it, which is right where the ratio of
        tissue and reference is constant within the line.

    Returns
    -------
    Fit
        ``DVR`` and ``BP_ND`` = DVR - 1 (no unit), and ``intercept`` in min. Standard errors as in `logan`,
        without noise of the reference.

    Raises
    ------
    ValueError, ImplausibleValue
        As `logan`.

    References
    ----------
    .. [1] Logan J et al. J Cereb Blood Flow Metab 1996, 16:834. doi:10.1097/00004647-199609000-00008
    """
    times, frames, line, x = _reference_areas(
        reference, time_s, start_s, end_s, frame_duration_s, weights, check_time, k2_reference_per_min
    )
    return _binding(_own(tissue, times, frames, line, x, mask, workers, plane=False))


def mrtm2(
    tissue: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    k2_reference_per_min: float,
    start_s: float = 0.0,
    end_s: float | None = None,
    frame_duration_s: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_time: bool = True,
) -> Fit:
    """Ratio of volumes of distribution by Ichise's multilinear reference-tissue model with a known k2'.

    C_T = -(DVR/b) (int C_R + C_R/k2') + (1/b) int C_T.

    Parameters
    ----------
    tissue, reference, time_s, start_s, end_s, frame_duration_s, weights, mask, workers, check_time
        As in `logan_reference`; all frames by default, which holds for one tissue compartment.
    k2_reference_per_min : float
        Clearance of the reference tissue, such as that of `srtm`.

    Returns
    -------
    Fit
        ``DVR``, ``BP_ND``, ``intercept`` in min.

    Raises
    ------
    ValueError, ImplausibleValue
        As `logan`.

    References
    ----------
    .. [1] Ichise M et al. J Cereb Blood Flow Metab 2003, 23:1096.
           doi:10.1097/01.WCB.0000085441.37552.CA
    """
    times, frames, line, x = _reference_areas(
        reference, time_s, start_s, end_s, frame_duration_s, weights, check_time, k2_reference_per_min
    )
    return _binding(_own(tissue, times, frames, line, x, mask, workers, plane=True))


@dataclass(frozen=True, eq=False)
class _Line:
    """Samples that a line takes: from `first` up to `stop`, and their weights, 1 on average."""

    first: int
    stop: int
    weights: FloatArray


def line_window(
    times: FloatArray, start_s: float, end_s: float | None, weights: npt.ArrayLike | None
) -> _Line:
    """Frames of a line, and their weights; `ValueError` where there are fewer than two."""
    last = np.inf if end_s is None else float(end_s)
    if np.isnan(float(start_s)) or np.isnan(last):
        raise ValueError("start_s and end_s must be numbers")
    first = int(np.searchsorted(times, float(start_s), side="left"))
    stop = int(np.searchsorted(times, last, side="right"))
    if stop - first < 2:
        raise ValueError(
            f"a line has 2 parameters and needs at least 2 frames, found {max(stop - first, 0)} from "
            f"{float(start_s):g} s to {min(last, float(times[-1])):g} s"
        )
    given = np.ones(times.size) if weights is None else np.array(weights, np.float64)
    if given.shape != times.shape:
        raise ValueError(f"weights has shape {given.shape}, but needs one per frame, {times.size}")
    used = given[first:stop]
    if not np.isfinite(used).all() or (used < 0.0).any() or np.count_nonzero(used) < 2:
        raise ValueError(
            "weights must be finite and not negative, at least two of those in the line positive"
        )
    return _Line(first, stop, used * used.size / used.sum())


def last_start(times: FloatArray, frames: Frames | None) -> float:
    """When the last frame starts; half a step before its middle where frames are not known."""
    if frames is not None:
        return float(frames.start_s[-1])
    return float(times[-1] - 0.5 * (times[-1] - times[-2])) if times.size > 1 else float(times[-1])


def area_weights(times: FloatArray, frames: Frames | None) -> tuple[FloatArray, FloatArray]:
    """What the sample before and the sample itself add to the integral up to each middle of a frame."""
    refuse_late_tissue(times, frames)
    half = np.zeros(times.size) if frames is None else 0.5 * (frames.end_s - frames.start_s)
    before = np.concatenate([[0.0], times[:-1]])
    older = np.concatenate([[0.0], half[:-1]])
    gap = 0.5 * np.maximum(times - half - (before + older), 0.0)
    newer = half + gap
    older = older + gap
    older[0] = 0.0
    return older, newer


def _plasma_areas(
    time_s: npt.ArrayLike,
    input_time_s: npt.ArrayLike,
    plasma: npt.ArrayLike,
    start_s: float,
    end_s: float | None,
    frame_duration_s: npt.ArrayLike | None,
    weights: npt.ArrayLike | None,
    check_time: bool,
) -> tuple[FloatArray, Frames | None, _Line, FloatArray]:
    times, frames = checked_mid_times(time_s, frame_duration_s, check_time=check_time)
    inflow = checked_input(input_time_s, plasma, until_s=last_start(times, frames))
    line = line_window(times, start_s, end_s, weights)
    return times, frames, line, inflow.integral(times)


def reference_area(
    reference: npt.ArrayLike, times: FloatArray, frames: Frames | None
) -> tuple[FloatArray, FloatArray]:
    """The reference's curve and its integral up to the middles of the frames."""
    curve = checked_reference(reference, times)
    older, newer = area_weights(times, frames)
    before = np.concatenate([[0.0], curve[:-1]])
    return curve, np.cumsum(older * before + newer * curve)


def _reference_areas(
    reference: npt.ArrayLike,
    time_s: npt.ArrayLike,
    start_s: float,
    end_s: float | None,
    frame_duration_s: npt.ArrayLike | None,
    weights: npt.ArrayLike | None,
    check_time: bool,
    k2_per_min: float | None,
) -> tuple[FloatArray, Frames | None, _Line, FloatArray]:
    times, frames = checked_mid_times(time_s, frame_duration_s, check_time=check_time)
    line = line_window(times, start_s, end_s, weights)
    curve, area = reference_area(reference, times, frames)
    if k2_per_min is not None:
        checked_clearance(k2_per_min)
        area = area + curve * (_PER_MIN / k2_per_min)
    return times, frames, line, area


def _prepared(
    tissue: npt.ArrayLike, n: int, mask: npt.ArrayLike | None
) -> tuple[PlanarSignal, npt.NDArray[np.bool_], npt.NDArray[np.floating], npt.NDArray[np.uint16]]:
    from imgtheranostics.kernels.graphical_lines import ROWS

    curves = planar(tissue, n, "tissue")
    out = np.empty((ROWS, curves.n_voxels), curves.samples.dtype)
    return curves, curves.chosen(mask), out, np.empty(curves.n_voxels, np.uint16)


def _fixed(
    tissue: npt.ArrayLike,
    times: FloatArray,
    line: _Line,
    level: FloatArray,
    area: FloatArray,
    name: str,
    mask: npt.ArrayLike | None,
    workers: int | None,
) -> Fit:
    """A line over an abscissa that all voxels share."""
    from imgtheranostics.kernels.graphical_lines import fixed_lines
    from imgtheranostics.kernels.lanes import read_only
    from imgtheranostics.kernels.threads import thread_limit

    curves, chosen, out, flags = _prepared(tissue, times.size, mask)
    part = slice(line.first, line.stop)
    if not (level[part] > 0.0).all():
        raise ImplausibleValue(
            f"the {name} is not above zero in a frame of the line, which is divided by it",
            where=name,
            found=f"{level[part].min():.4g}",
            next_step="let the line end before it (end_s=), or check the curve",
        )
    # In minutes from here on, so that nothing has to be scaled voxel by voxel afterwards.
    x, weights = area[part] / level[part] / _PER_MIN, line.weights
    mean = float(weights @ x / weights.sum())
    spread = float(weights @ (x - mean) ** 2)
    to_slope = weights * (x - mean) / spread
    to_intercept = weights / weights.sum() - mean * to_slope
    n = int(np.count_nonzero(weights))
    unit = 1.0 / np.sqrt(n - 2) / shortfall(n - 2) if n > 2 else np.nan
    scatter = np.array(
        [
            unit / np.sqrt(spread),
            unit * np.sqrt(1.0 / weights.sum() + mean**2 / spread),
            1.0 / np.sqrt(weights.sum()),
            spread,
            mean,
        ]
    )
    scale = 1.0 / level[part]
    rows = (scale, x, to_slope * scale, to_intercept * scale, weights, scatter)
    own_type = [np.asarray(row, out.dtype) for row in rows]
    kernel: Any = fixed_lines
    with thread_limit(workers):
        kernel(read_only(curves.samples), read_only(chosen), line.first, *own_type, out, flags)
    return _fit_of(curves, out, flags, {"Ki": (0, "mL/cm3/min"), "intercept": (1, "mL/cm3")})


def _own(
    tissue: npt.ArrayLike,
    times: FloatArray,
    frames: Frames | None,
    line: _Line,
    x: FloatArray,
    mask: npt.ArrayLike | None,
    workers: int | None,
    *,
    plane: bool,
) -> Fit:
    """A line, or plane, whose abscissa or second regressor is the voxel's own integral."""
    from imgtheranostics.kernels.graphical_lines import own_lines, own_planes
    from imgtheranostics.kernels.lanes import read_only
    from imgtheranostics.kernels.threads import thread_limit

    curves, chosen, out, flags = _prepared(tissue, times.size, mask)
    older, newer = area_weights(times, frames)
    weights = np.zeros(line.stop)
    weights[line.first :] = line.weights
    freedom = int(np.count_nonzero(line.weights)) - 2
    kernel: Any = own_planes if plane else own_lines
    with thread_limit(workers):
        kernel(
            read_only(curves.samples[: line.stop]),
            read_only(chosen),
            line.first,
            older[: line.stop] / _PER_MIN,
            newer[: line.stop] / _PER_MIN,
            x[: line.stop] / _PER_MIN,
            weights,
            freedom,
            shortfall(freedom),
            out,
            flags,
        )
    return _fit_of(curves, out, flags, {"slope": (0, "1"), "intercept": (1, "min")})


def _fit_of(
    curves: PlanarSignal,
    out: npt.NDArray[np.floating],
    flags: npt.NDArray[np.uint16],
    parameters: Mapping[str, tuple[int, str]],
) -> Fit:
    """Rows of the kernels as a Fit; each parameter with its row and unit."""
    from imgtheranostics.kernels import graphical_lines as rows

    back = curves.restored
    return Fit(
        {name: back(out[row]) for name, (row, _) in parameters.items()},
        {name: back(out[row + rows.SLOPE_ERROR]) for name, (row, _) in parameters.items()},
        back(out[rows.R_SQUARED]),
        back(out[rows.RMSE]),
        np.ones(curves.shape, np.uint8),
        back(flags),
        {name: unit for name, (_, unit) in parameters.items()},
    )


def _named(found: Fit, name: str, unit: str) -> Fit:
    values = {name: found.parameters["slope"], "intercept": found.parameters["intercept"]}
    errors = {name: found.standard_errors["slope"], "intercept": found.standard_errors["intercept"]}
    units = {name: unit, "intercept": "min"}
    return replace(found, parameters=values, standard_errors=errors, units=units)


def _binding(found: Fit) -> Fit:
    ratio = _named(found, "DVR", "1")
    values = {**ratio.parameters, "BP_ND": ratio.parameters["DVR"] - 1.0}
    errors = {**ratio.standard_errors, "BP_ND": ratio.standard_errors["DVR"]}
    return replace(ratio, parameters=values, standard_errors=errors, units={**ratio.units, "BP_ND": "1"})
