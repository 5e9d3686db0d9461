"""Mono-exponential decay of curves in any unit of time, by the kernel of relaxation decays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import shortfall
from imgtheranostics.mapping.voxel_blocks import DoubleArray, FlagArray

_SLOWEST, _FASTEST, _N_RATES = 0.02, 10.0, 48
"""Rates that are looked at: per span of the samples, per smallest gap, and how many in between."""


class Decays(NamedTuple):
    """Fits of A exp(-k (t - t0)) with t0 the first sample, one per curve; NaN where there is none.

    `rate`, `amplitude` and their standard errors from the residuals; `rate_by_level` and `amplitude_by_level`
    say how both change with a constant that is added to all samples.
    """

    rate: DoubleArray
    amplitude: DoubleArray
    rate_error: DoubleArray
    amplitude_error: DoubleArray
    rate_by_level: DoubleArray
    amplitude_by_level: DoubleArray
    r_squared: DoubleArray
    rmse: DoubleArray
    iterations: npt.NDArray[np.int16]
    flags: FlagArray


def fit_decays(samples: DoubleArray, times: DoubleArray) -> Decays:
    """Least-squares exponentials without a constant.

    Parameters
    ----------
    samples : (n, n_curves) ndarray
        At least three; of either sign.
    times : (n,) ndarray
        Increasing, in any unit, even or not.

    Returns
    -------
    Decays
        A curve that falls by less than 1 % over all samples, or rises, is `Flag.OUTSIDE_RANGE`; one that is
        gone within a tenth of a gap `Flag.AT_BOUND`; one below zero `Flag.NEGATIVE_AMPLITUDE`.
    """
    from imgtheranostics.kernels import decay as kernels

    span = float(times[-1] - times[0])
    shifts = (times - times[0]) / span
    gaps = np.diff(shifts)
    even = float(1.0 / gaps.size) if np.allclose(gaps, gaps[0], rtol=1e-9, atol=0.0) else 0.0
    rates = np.geomspace(_SLOWEST, _FASTEST / float(gaps.min()), _N_RATES)
    curves = np.exp(-np.outer(rates, shifts))
    curves /= np.linalg.norm(curves, axis=1, keepdims=True)
    n_curves = samples.shape[1]
    out = np.empty((kernels.ROWS, n_curves))
    iterations, flags = np.empty(n_curves, np.int16), np.empty(n_curves, np.uint16)
    kernels.fit_decays(
        np.ascontiguousarray(samples), 0.0, shifts, even, rates, curves, False, out, iterations, flags
    )
    time = out[kernels.TIME] * span
    rate, amplitude = 1.0 / time, out[kernels.AMPLITUDE]
    unbiased = shortfall(times.size - 2)
    rate_error = out[kernels.TIME_ERROR] * span * rate**2 / unbiased
    by_rate, by_amplitude = _levels(rate, amplitude, times - times[0])
    return Decays(
        rate, amplitude, rate_error, out[kernels.AMPLITUDE_ERROR] / unbiased, by_rate, by_amplitude,
        out[kernels.R_SQUARED], out[kernels.RMSE], iterations, flags,
    )  # fmt: skip


def _levels(
    rate: DoubleArray, amplitude: DoubleArray, shifts: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """What adding 1 to all samples does to rate and amplitude: (J'J)^-1 J' 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        e = np.exp(-np.outer(shifts, rate))
        d = -amplitude * shifts[:, np.newaxis] * e
        ee, ed, dd = np.sum(e * e, axis=0), np.sum(e * d, axis=0), np.sum(d * d, axis=0)
        e1, d1 = e.sum(axis=0), d.sum(axis=0)
        determinant = ee * dd - ed * ed
        return (ee * d1 - ed * e1) / determinant, (dd * e1 - ed * d1) / determinant
