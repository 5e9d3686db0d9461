"""Ichise's multilinear reference-tissue model with three regressors: binding, delivery and clearance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned
from imgtheranostics.fit import Fit, planar, shortfall
from imgtheranostics.nuclear.graphical import area_weights, line_window, reference_area
from imgtheranostics.nuclear.kinetic_inputs import checked_mid_times

__all__ = ["mrtm"]

_PER_MIN = 60.0
_LEAST_SHARE = 1e-10
_UNITS = {"DVR": "1", "BP_ND": "1", "R1": "1", "k2": "1/min", "k2_reference": "1/min", "k2a": "1/min"}


def mrtm(
    tissue: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    time_s: npt.ArrayLike,
    start_s: float = 0.0,
    end_s: float | None = None,
    frame_duration_s: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
    check_time: bool = True,
) -> Fit:
    """Ratio of volumes of distribution, delivery and clearance against a reference tissue, without a search.

    C_T = R1 k2' int C_R - k2a int C_T + R1 C_R, linear in its three weights.

    Parameters
    ----------
    tissue, reference, time_s, start_s, end_s, frame_duration_s, weights, mask, workers, check_time
        As in `imgtheranostics.nuclear.kinetics.mrtm2`: all frames by default, which holds for one tissue
        compartment each.

    Returns
    -------
    Fit
        ``DVR`` = R1 k2'/k2a, ``BP_ND`` = DVR - 1 and ``R1`` (no unit); ``k2`` = R1 k2', ``k2_reference`` =
        k2' and ``k2a`` in 1/min. Standard errors as in `imgtheranostics.nuclear.kinetics.logan`, without that
        of the reference; ``k2`` has none of its own. INVALID_INPUT for a frame that is not finite;
        ILL_CONDITIONED where the three cannot be told apart, as in a multiple of the reference (NaN);
        NEGATIVE_AMPLITUDE where the activity is below zero on average, or R1 is.

    Raises
    ------
    ValueError, ImplausibleValue
        As `imgtheranostics.nuclear.kinetics.logan`; with fewer than three frames.
    IllConditioned
        If the reference is proportional to its own integral.

    Notes
    -----
    Noise of the voxel is in its integral too, which biases BP_ND where it is high; k2' is worth more as the
    median of a region, for `imgtheranostics.nuclear.kinetics.mrtm2`.

    References
    ----------
    .. [1] Ichise M et al. J Cereb Blood Flow Metab 2003, 23:1096.
           doi:10.1097/01.WCB.0000085441.37552.CA
    """
    from imgtheranostics.kernels import reference_planes as kernels
    from imgtheranostics.kernels.lanes import read_only
    from imgtheranostics.kernels.threads import thread_limit

    times, frames = checked_mid_times(time_s, frame_duration_s, check_time=check_time)
    line = line_window(times, start_s, end_s, weights)
    used = int(np.count_nonzero(line.weights))
    if used < 3:
        raise ValueError(f"mrtm has 3 parameters and needs at least 3 frames, found {used}")
    curve, area = reference_area(reference, times, frames)
    older, newer = (part / _PER_MIN for part in area_weights(times, frames))
    own = np.zeros(line.stop)
    own[line.first :] = line.weights
    x, r = area[: line.stop] / _PER_MIN, curve[: line.stop]
    curves = planar(tissue, times.size, "tissue")
    out = np.empty((kernels.ROWS, curves.n_voxels), curves.samples.dtype)
    flags = np.empty(curves.n_voxels, np.uint16)
    kernel: Any = kernels.reference_planes
    with thread_limit(workers):
        kernel(
            read_only(curves.samples[: line.stop]),
            read_only(curves.chosen(mask)),
            line.first,
            older[: line.stop],
            newer[: line.stop],
            x,
            r,
            own,
            _shared(x, r, own),
            used - 3,
            shortfall(used - 3),
            out,
            flags,
        )
    back, error = curves.restored, 4
    rows = {
        "DVR": kernels.RATIO,
        "R1": kernels.DELIVERY,
        "k2_reference": kernels.CLEARANCE,
        "k2a": kernels.APPARENT,
    }
    values = {name: back(out[row]) for name, row in rows.items()}
    errors = {name: back(out[row + error]) for name, row in rows.items()}
    values |= {"BP_ND": values["DVR"] - 1.0, "k2": values["R1"] * values["k2_reference"]}
    errors |= {"BP_ND": errors["DVR"], "k2": np.full_like(errors["DVR"], np.nan)}
    return Fit(
        {name: values[name] for name in _UNITS},
        {name: errors[name] for name in _UNITS},
        back(out[kernels.R_SQUARED]),
        back(out[kernels.RMSE]),
        np.ones(curves.shape, np.uint8),
        back(flags),
        dict(_UNITS),
    )


def _shared(
    x: npt.NDArray[np.float64], r: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Inverse of the products of the two regressors that all voxels share, and the sum of the weights."""
    xx, xr, rr = float(weights @ (x * x)), float(weights @ (x * r)), float(weights @ (r * r))
    determinant = xx * rr - xr * xr
    if not determinant > _LEAST_SHARE * xx * rr:
        raise IllConditioned(
            "the reference is proportional to its own integral",
            where="reference",
            found="frames in which only one of both is seen",
            needed="the rise and the fall of its curve",
            next_step="begin earlier (start_s=0), or use mrtm2 with a known k2'",
        )
    return np.array([rr, -xr, xx, weights.sum() * determinant]) / determinant
