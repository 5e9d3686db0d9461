"""T1 from spoiled gradient echoes at several flip angles (variable flip angle, VFA)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, planar
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.mri.plane_results import PlaneResults
from imgtheranostics.mri.plausible import (
    check_distinct,
    check_sample_count,
    checked_b1,
    checked_flip_angles,
    checked_gradient_echo_repetition_times,
)

T1_LIMIT_S = 20.0
"""T1 beyond it is outside the range: no signal of a scanner tells it from infinity."""

_UNITS = {"t1_s": "s", "s0": "[arb'U]"}


def fit_vfa(
    signal: npt.ArrayLike,
    flip_angle_deg: npt.ArrayLike,
    repetition_time_s: npt.ArrayLike,
    *,
    b1: npt.ArrayLike | None = None,
    method: Literal["nlls", "linear", "wlls"] = "nlls",
    t1_limit_s: float = T1_LIMIT_S,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """T1 and S0 of the spoiled gradient echo S = S0 sin a (1 - E) / (1 - E cos a), E = exp(-TR/T1).

    Parameters
    ----------
    signal : (..., n) array_like
        Magnitude at each flip angle, above 0, arbitrary units. float32 is fitted in float32 blocks, all else
        in float64.
    flip_angle_deg : (n,) array_like
        Nominal flip angles in degrees.
    repetition_time_s : float
        The same for all flip angles, in s, up to 2 s.
    b1 : (...) array_like, optional
        Actual over nominal flip angle, 1 where nominal. Without it T1 is wrong by about its square.
    method : {"nlls", "linear", "wlls"}
        ``nlls``: least squares of the signals. ``linear``: the line of S/sin a over S/tan a, which weighs
        noise wrongly. ``wlls``: that line with weights (sin a/(1 - E cos a))^2, iterated until E stays.
    t1_limit_s : float
        Longer T1 are refused as outside the range.
    mask : (...) array_like of bool, optional
        Voxels to fit.
    workers : int, optional
        Threads; all by default. The bytes of the result do not depend on it.

    Returns
    -------
    Fit
        ``t1_s`` and ``s0``. Standard errors are those of noise of equal size in every signal: the covariance
        s^2 (J'J)^-1 for ``nlls`` and ``wlls``, and the noise carried through the line for ``linear``; not
        a number with two flip angles. A voxel is NaN and flagged where a signal is not above 0
        (`INVALID_INPUT`), `b1` is not above 0 or turns by 180 degrees or more (`INVALID_B1`), the slope is
        not between 0 and 1 or T1 is beyond the limit (`OUTSIDE_RANGE`), or the search does not settle
        (`NOT_CONVERGED`).

    Raises
    ------
    ValueError
        If shapes do not fit, repetition times differ, or there are fewer than two different flip angles.
    ImplausibleValue
        If flip angles look like radians, the repetition time like milliseconds, or `b1` like
        percent.

    References
    ----------
    .. [1] doi:10.1002/mrm.10407 (variable flip angles, linear form)
    .. [2] doi:10.1002/mrm.21669 (weights of the linear form)
    """
    from imgtheranostics.kernels import vfa, vfa_voxel

    methods = {"linear": vfa_voxel.LINEAR, "wlls": vfa_voxel.WEIGHTED, "nlls": vfa_voxel.NONLINEAR}
    if method not in methods:
        raise ValueError(f"method {method!r} is not one of {', '.join(sorted(methods))}")
    if not t1_limit_s > 0.0:
        raise ValueError("t1_limit_s must be above 0")
    angles = checked_flip_angles(flip_angle_deg)
    if angles.size == 2 and method == "nlls":
        # Both points lie on the curve, whatever the weights: the line needs no search.
        method = "linear"
    check_sample_count(angles.size, 2, "flip angles", "variable flip angle T1")
    check_distinct(angles, 2, "flip angles", "variable flip angle T1")
    repetition_time = _one_repetition_time(repetition_time_s, angles.size)
    planes = planar(signal, angles.size)
    field = np.array(1.0) if b1 is None else checked_b1(b1)
    flat_field = planes.flat(field, "b1") if field.ndim else field.reshape(1)
    results = PlaneResults.empty(planes, len(_UNITS))
    single = planes.samples.dtype == np.float32
    kernel = vfa.fit_planes if single else vfa_voxel.fit_exactly
    with thread_limit(workers):
        kernel(
            read_only(planes.samples),
            np.radians(angles),
            read_only(flat_field.astype(planes.samples.dtype, copy=False)),
            repetition_time,
            methods[method],
            float(t1_limit_s),
            read_only(planes.chosen(mask)),
            results.planes,
            results.iterations,
            results.flags,
        )
    return results.as_fit(_UNITS, 2)


def _one_repetition_time(repetition_time_s: npt.ArrayLike, n: int) -> float:
    """The repetition time that all flip angles share."""
    times = checked_gradient_echo_repetition_times(repetition_time_s, n)
    if not np.allclose(times, times[0], rtol=1e-6, atol=0.0):
        raise ValueError("repetition_time_s differs between flip angles; the model needs one for all")
    return float(times[0])
