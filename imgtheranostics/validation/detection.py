"""The least amount that a measurement can tell from nothing, and the least that it can measure.

References
----------
.. [1] ICH Q2(R1), Validation of analytical procedures, 2005: limits of 3.3 and 10 standard deviations of the
   blank over the slope of the calibration line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned

DETECTION, QUANTIFICATION = 3.3, 10.0
"""Standard deviations of the blank over the slope [1]_."""

_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of detection and quantification with their 95 % interval on a logarithmic scale.

    Attributes
    ----------
    detection, quantification : float
        In the unit of the concentrations.
    slope : float
        Signal per concentration.
    blank_sd : float
        In the unit of the signal.
    log10_low, log10_high : float
        Interval of log10 of the limit of detection; that of quantification lies log10(10 / 3.3) higher.
    """

    detection: float
    quantification: float
    slope: float
    blank_sd: float
    log10_low: float
    log10_high: float


def detection_limits(concentration: npt.ArrayLike, signal: npt.ArrayLike, blanks: npt.ArrayLike) -> Limits:
    """Limits from a series of known concentrations and repeated blanks.

    The interval joins the chi-square interval of the blanks' standard deviation with the standard error of
    the slope, both as distances on the logarithmic scale, in quadrature.

    Parameters
    ----------
    concentration : (n,) array_like
        Known, not all equal.
    signal : (n,) array_like
        What was measured of each.
    blanks : (repeats,) or (sets, repeats) array_like
        Signal of blanks. Sets, such as scans, may have different means; their variances are pooled.

    Raises
    ------
    ValueError
        If the arrays do not fit together.
    IllConditioned
        If the signal does not rise with the concentration, or the blanks do not scatter.
    """
    x, y = np.asarray(concentration, np.float64), np.asarray(signal, np.float64)
    sets = np.atleast_2d(np.asarray(blanks, np.float64))
    if x.ndim != 1 or x.shape != y.shape or x.size < 3 or sets.ndim != 2 or sets.shape[1] < 2:
        raise ValueError("at least three concentrations with one signal each, and two blanks per set")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(sets).all()) or np.ptp(x) == 0:
        raise ValueError("concentrations, signals and blanks must be finite, and concentrations must differ")
    slope, slope_error = _line(x, y)
    freedom = sets.size - sets.shape[0]
    variance = float(((sets - sets.mean(axis=1, keepdims=True)) ** 2).sum() / freedom)
    if not slope > 0 or variance == 0:
        raise IllConditioned(
            "there is no limit of detection",
            found=f"slope {slope:.4g}, standard deviation of the blanks {math.sqrt(variance):.4g}",
            needed="a signal that rises with the concentration, and blanks with noise",
        )
    sd = math.sqrt(variance)
    low, high = _interval(freedom, slope_error / slope)
    detection = DETECTION * sd / slope
    return Limits(
        detection,
        QUANTIFICATION * sd / slope,
        slope,
        sd,
        math.log10(detection) - low,
        math.log10(detection) + high,
    )


def straight_line(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[float, float]:
    """Slope of the least-squares line and its coefficient of determination R^2."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    slope = _line(a, b)[0]
    residual = b - b.mean() - slope * (a - a.mean())
    return slope, 1.0 - float((residual**2).sum() / ((b - b.mean()) ** 2).sum())


def _line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Slope and its standard error."""
    centred = x - x.mean()
    power = float((centred**2).sum())
    slope = float((centred * y).sum() / power)
    residual = y - y.mean() - slope * centred
    return slope, math.sqrt(float((residual**2).sum()) / max(x.size - 2, 1) / power)


def _interval(freedom: int, slope_relative_error: float) -> tuple[float, float]:
    """How far the limits of log10 lie below and above the estimate."""
    from scipy.stats import chi2, norm

    tail = (1 - _LEVEL) / 2
    of_slope = float(norm.ppf(1 - tail)) * slope_relative_error / math.log(10)
    low = 0.5 * math.log10(float(chi2.ppf(1 - tail, freedom)) / freedom)
    high = -0.5 * math.log10(float(chi2.ppf(tail, freedom)) / freedom)
    return math.hypot(low, of_slope), math.hypot(high, of_slope)
