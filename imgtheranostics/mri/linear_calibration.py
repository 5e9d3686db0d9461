"""Amount from a signal that is proportional to it: a line through standards and blanks, and its inverse.

Serves magnetic particle imaging (iron mass), 19F (nuclei) and any other signal without saturation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned
from imgtheranostics.fit import shortfall
from imgtheranostics.mapping.calculated import elementwise, nothing_fitted
from imgtheranostics.mapping.calibrated_fit import CalibratedFit, largest_relative
from imgtheranostics.mapping.voxel_blocks import DoubleArray, stored
from imgtheranostics.mapping.weighted_line import LineErrors, errors_of_points, solve_line
from imgtheranostics.volume import Flag

DETECTION_SDS = 3.0
QUANTIFICATION_SDS = 10.0
"""Standard deviations of the blank at the limits of detection and of quantification."""

_SIGNIFICANT = 3.0


@dataclass(frozen=True, eq=False)
class LinearCalibration(LineErrors):
    """Signal = intercept + slope x amount.

    Attributes
    ----------
    slope, intercept : float
    covariance : (2, 2) ndarray
        Of intercept and slope; NaN where two points leave no freedom and no errors are given.
    noise_sd : float
        Of one reading of a blank: the scatter of the blanks, else of the points about the line; NaN if
        neither.
    highest : float
        Largest amount among the standards.
    n_points, n_blanks : int
    r_squared : float
    unit : str
        Of the amount.
    """

    slope: float
    intercept: float
    covariance: DoubleArray
    noise_sd: float
    highest: float
    n_points: int
    n_blanks: int
    r_squared: float
    unit: str

    @property
    def detection_limit(self) -> float:
        """Amount whose signal exceeds the blank by three standard deviations of a blank reading."""
        return DETECTION_SDS * self.noise_sd / self.slope

    @property
    def quantification_limit(self) -> float:
        """Amount whose signal exceeds the blank by ten standard deviations of a blank reading."""
        return QUANTIFICATION_SDS * self.noise_sd / self.slope

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "rule": "straight line through standards and blanks",
            "slope": self.slope,
            "slope_error": self.slope_error,
            "intercept": self.intercept,
            "intercept_error": self.intercept_error,
            "n_points": self.n_points,
            "n_blanks": self.n_blanks,
            "detection_limit": self.detection_limit,
            "quantification_limit": self.quantification_limit,
            "highest_standard": self.highest,
            "unit": self.unit,
        }

    def amount(
        self,
        signal: npt.ArrayLike,
        *,
        signal_error: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
    ) -> CalibratedFit:
        """Amounts of signals, (signal - intercept) / slope.

        Parameters
        ----------
        signal : array_like
        signal_error : float or array_like, optional
            Standard error of the signals; without it, that of one reading of a blank.
        mask : array_like of bool, optional

        Returns
        -------
        CalibratedFit
            ``amount``. Values below the detection limit carry `Flag.BELOW_NOISE`, those above the highest
            standard `Flag.OUTSIDE_RANGE`; both are kept, since cutting them off would bias a mean. The
            calibration's error is common to all, and for amounts near 0 not proportional to them:
            `calibration_relative` is that of the amounts above the detection limit.

        Raises
        ------
        ValueError
            If shapes do not fit.
        """
        spread = self.noise_sd if signal_error is None else signal_error
        (reading, error), flags, dtype = elementwise(signal, spread, mask=mask)
        flags[~np.isfinite(reading)] |= Flag.INVALID_INPUT.value
        usable = flags == 0
        (a, ab), (_, b) = self.covariance
        with np.errstate(invalid="ignore", over="ignore"):
            value = np.where(usable, (reading - self.intercept) / self.slope, np.nan)
            variance = np.maximum(a + 2.0 * value * ab + value**2 * b, 0.0)
            shared = np.sqrt(variance) / self.slope
            own = np.where(usable, error / self.slope, np.nan)
            weak = value < self.detection_limit
            flags[weak] |= Flag.BELOW_NOISE.value
            flags[value > self.highest] |= Flag.OUTSIDE_RANGE.value
        return CalibratedFit(
            {"amount": stored(value, dtype)},
            {"amount": stored(own, dtype)},
            *nothing_fitted(value.shape, dtype),
            flags=flags,
            units={"amount": self.unit},
            calibration_errors={"amount": stored(shared, dtype)},
            calibration_relative=largest_relative(value[~weak], shared[~weak]),
            decisions={"calibration": self.decision()},
        )


def fit_line_through_blank(
    amount: npt.ArrayLike,
    signal: npt.ArrayLike,
    *,
    signal_error: npt.ArrayLike | None = None,
    blank: npt.ArrayLike = (),
    unit: str = "ug",
) -> LinearCalibration:
    """Line of signal over amount through standards and blanks.

    Blanks count as readings of amount 0, so the intercept is that of what is really there without the agent.
    With `signal_error`, points weigh by it and the errors are absolute; blanks then have their own scatter,
    or the smallest of the errors when there is only one.

    Parameters
    ----------
    amount, signal : (n,) array_like
        Standards: amounts, not negative, and their signals.
    signal_error : float or (n,) array_like, optional
        Standard errors of the signals; without them, the scatter about the line tells.
    blank : (m,) array_like
        Readings without the agent.
    unit : str
        UCUM code of the amount.

    Returns
    -------
    LinearCalibration

    Raises
    ------
    ValueError
        If numbers are missing, negative or not finite, or all amounts are the same.
    IllConditioned
        If the signal does not rise with the amount by three standard errors of the slope.
    """
    x, y, blanks, error = _points(amount, signal, signal_error, blank)
    every_x, every_y = np.r_[x, np.zeros(blanks.size)], np.r_[y, blanks]
    if np.unique(every_x).size < 2:
        raise ValueError("a line needs at least two different amounts, blanks among them")
    scatter = _scatter(blanks)
    weight = np.ones(every_x.size)
    if error is not None:
        own = scatter if np.isfinite(scatter) and scatter > 0 else error.min()
        weight = 1.0 / np.r_[error, np.full(blanks.size, own)]
    line = solve_line(every_x, every_y, weight)
    covariance, freedom = line.covariance, every_x.size - 2
    about_line = np.nan if freedom < 1 else np.sqrt(line.squares / freedom)
    if error is None:
        covariance = covariance * about_line**2
        about_line = about_line / shortfall(freedom) if freedom else np.nan
    else:
        about_line = float(error.min())
    _check_rise(line.slope, float(np.sqrt(covariance[1, 1])))
    middle = np.average(every_y, weights=weight**2)
    total = float(((every_y - middle) ** 2 * weight**2).sum())
    return LinearCalibration(
        line.slope,
        line.intercept,
        covariance,
        scatter if np.isfinite(scatter) else float(about_line),
        float(x.max()),
        int(x.size),
        int(blanks.size),
        1.0 - line.squares / total if total > 0 else float("nan"),
        unit,
    )


def _points(
    amount: npt.ArrayLike,
    signal: npt.ArrayLike,
    signal_error: npt.ArrayLike | None,
    blank: npt.ArrayLike,
) -> tuple[DoubleArray, DoubleArray, DoubleArray, DoubleArray | None]:
    given: Mapping[str, DoubleArray] = {
        "amount": np.atleast_1d(np.asarray(amount, np.float64)),
        "signal": np.atleast_1d(np.asarray(signal, np.float64)),
        "blank": np.atleast_1d(np.asarray(blank, np.float64)),
    }
    for name, values in given.items():
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"{name} must be a list of finite numbers")
    x, y = given["amount"], given["signal"]
    if x.size == 0 or x.size != y.size:
        raise ValueError(f"amount has {x.size} values and signal {y.size}; one signal for each is needed")
    if (x < 0).any():
        raise ValueError("an amount is negative")
    if signal_error is None:
        return x, y, given["blank"], None
    return x, y, given["blank"], errors_of_points(signal_error, x.size, "signal_error")


def _scatter(blanks: DoubleArray) -> float:
    """Standard deviation of blank readings, unbiased; NaN for fewer than two."""
    if blanks.size < 2:
        return float("nan")
    return float(blanks.std(ddof=1)) / shortfall(blanks.size - 1)


def _check_rise(slope: float, error: float) -> None:
    if slope <= 0 or (np.isfinite(error) and slope < _SIGNIFICANT * error):
        raise IllConditioned(
            "the signal does not rise with the amount",
            found=f"slope {slope:.4g} ± {error:.2g}",
            needed=f"a slope above 0 by {_SIGNIFICANT:g} standard errors",
            next_step="check the order of the standards, or measure larger amounts or more of them",
        )
