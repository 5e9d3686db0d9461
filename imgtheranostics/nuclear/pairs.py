"""Theranostic pairs: what the image of one nuclide says about another one on the same carrier.

Both are assumed to move alike: the same carrier, a label that stays on it, and no effect of the mass given.
Then the decay-corrected curve is that of the carrier, and only the physical decay differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue
from imgtheranostics.nuclear.decay import decay_factor
from imgtheranostics.nuclear.dosimetry import local_dose_per_activity

FloatArray = npt.NDArray[np.float64]

LEAST_TIMES = 3
"""A clearance needs one time more than its two parameters, or nothing checks it."""


@dataclass(frozen=True)
class Transfer:
    """Kinetics of a region for the nuclide that is to be given.

    Attributes
    ----------
    nuclide : str
    uptake : float
        Value of the biological curve at injection, in the unit of the input, such as %/g.
    uptake_standard_error : float
    biological_rate_per_s, biological_rate_standard_error : float
        Clearance without decay; never below zero.
    effective_half_life_s : float
        With the decay of `nuclide`.
    tiac_s : float
        Time-integrated activity coefficient: `uptake` / 100 x T_eff / ln 2, s (per g for %/g).
    tiac_standard_error_s : float
        Of the fit.
    tiac_ratio : float
        Of `nuclide` over the one that was imaged.
    extrapolated_fraction : float
        Share of `tiac_s` after the last image.
    assumption : str
    warnings : tuple of Caution
    """

    nuclide: str
    uptake: float
    uptake_standard_error: float
    biological_rate_per_s: float
    biological_rate_standard_error: float
    effective_half_life_s: float
    tiac_s: float
    tiac_standard_error_s: float
    tiac_ratio: float
    extrapolated_fraction: float
    assumption: str
    warnings: tuple[Caution, ...] = ()

    @property
    def biological_half_life_s(self) -> float:
        """Half-life of the carrier in the region; infinity without clearance."""
        rate = self.biological_rate_per_s
        return math.log(2.0) / rate if rate > 0 else math.inf

    @property
    def local_dose_gy_per_mbq(self) -> float:
        """Absorbed dose per administered activity by local deposition, Gy/MBq, for an uptake in %/g."""
        return local_dose_per_activity(self.nuclide, self.tiac_s)


def biological_curve(time_s: npt.ArrayLike, activity: npt.ArrayLike, imaged: str) -> FloatArray:
    """Activity as it was, decay corrected to injection: B(t) = a(t) exp(lambda t).

    Parameters
    ----------
    time_s : (n,) array_like
        After injection.
    activity : (n,) array_like
        As measured, in any unit.
    imaged : str
        Nuclide that was imaged.
    """
    half_life_s = nuclide(imaged).half_life_s
    return np.asarray(np.asarray(activity, np.float64) / decay_factor(time_s, half_life_s))


def transfer(
    time_s: npt.ArrayLike,
    uptake_percent: npt.ArrayLike,
    *,
    imaged: str,
    given: str,
    standard_error: npt.ArrayLike | None = None,
) -> Transfer:
    """Kinetics of `given` from the decay-corrected curve of `imaged`, cleared as one exponential.

    The curve ``uptake * exp(-rate t)`` is fitted by weighted least squares. A curve that rises is fitted
    with a rate of zero, as the activity cannot outlive its decay, with a caution.

    Parameters
    ----------
    time_s : (n,) array_like
        After injection, at least three different times.
    uptake_percent : (n,) array_like
        %ID/g, %ID/mL or %ID, decay corrected to injection.
    imaged, given : str
        Nuclides, such as ``Y-86`` and ``Y-90``.
    standard_error : (n,) array_like, optional
        Of each value, independent; by default all are taken as equal and estimated from the residuals.

    Returns
    -------
    Transfer

    Raises
    ------
    ValueError
        If the arrays do not fit together or hold no finite numbers.
    IllConditioned
        If there are fewer than three times.
    ImplausibleValue
        If there is no positive uptake. Two elements are no error but a caution, ``other-element``.
    UnsupportedInput
        If a nuclide is not known.

    Examples
    --------
    >>> hours = np.array([1.0, 24.0, 72.0])
    >>> moved = transfer(hours * 3600, 12 * 2 ** (-hours / 60), imaged="Y-86", given="Y-90")
    >>> round(moved.effective_half_life_s / 3600, 1), round(moved.local_dose_gy_per_mbq, 2)
    (31.0, 2.89)
    """
    times, values, errors = _checked(time_s, uptake_percent, standard_error)
    source, target = nuclide(imaged), nuclide(given)
    amplitude, rate, covariance = _fit(times, values, errors)
    cautions: tuple[Caution, ...] = ()
    if rate < 0:
        amplitude, covariance = _constant(values, errors)
        rate = 0.0
        text = "the decay-corrected curve rises: it was taken as constant, which bounds the result from above"
        cautions += (Caution("no-clearance", text),)
    if not amplitude > 0:
        raise ImplausibleValue("the curve has no positive uptake", found=f"{amplitude:g}")
    if source.name.partition("-")[0] != target.name.partition("-")[0]:
        text = f"{source.name} and {target.name} are not one element: the label may not move alike"
        cautions += (Caution("other-element", text),)
    effective_rate = target.decay_constant_per_s + rate
    tiac = amplitude / 100.0 / effective_rate
    by_amplitude, by_rate = tiac / amplitude, -tiac / effective_rate
    gradient = np.array([by_amplitude, by_rate])
    return Transfer(
        nuclide=target.name,
        uptake=amplitude,
        uptake_standard_error=math.sqrt(covariance[0, 0]),
        biological_rate_per_s=rate,
        biological_rate_standard_error=math.sqrt(covariance[1, 1]),
        effective_half_life_s=math.log(2.0) / effective_rate,
        tiac_s=tiac,
        tiac_standard_error_s=math.sqrt(float(gradient @ covariance @ gradient)),
        tiac_ratio=(source.decay_constant_per_s + rate) / effective_rate,
        extrapolated_fraction=math.exp(-effective_rate * float(times.max())),
        assumption=f"{target.name} is carried, taken up and cleared as {source.name} is, mono-exponentially",
        warnings=cautions,
    )


def _checked(
    time_s: npt.ArrayLike, values: npt.ArrayLike, standard_error: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    times, curve = np.asarray(time_s, np.float64), np.asarray(values, np.float64)
    errors = None if standard_error is None else np.asarray(standard_error, np.float64)
    if times.ndim != 1 or curve.shape != times.shape or (errors is not None and errors.shape != times.shape):
        raise ValueError("times, values and standard errors must be one-dimensional and of one length")
    if not (np.isfinite(times).all() and np.isfinite(curve).all() and (times >= 0).all()):
        raise ValueError("times and values must be finite, and times after the injection")
    if errors is not None and not (np.isfinite(errors) & (errors > 0)).all():
        raise ValueError("standard errors must be positive and finite")
    if np.unique(times).size < LEAST_TIMES:
        raise IllConditioned(
            "too few times for a clearance",
            found=f"{np.unique(times).size} different times",
            needed=f"at least {LEAST_TIMES}",
        )
    return times, curve, errors


def _fit(
    times: FloatArray, values: FloatArray, errors: FloatArray | None
) -> tuple[float, float, npt.NDArray[np.float64]]:
    """Amplitude, rate and their covariance by weighted least squares."""
    from scipy.optimize import least_squares

    weight = np.ones_like(values) if errors is None else 1.0 / errors
    scale_time, scale_value = float(times.max()), float(np.abs(values).max()) or 1.0
    t, y = times / scale_time, values / scale_value

    def residual(p: FloatArray) -> FloatArray:
        return np.asarray((p[0] * np.exp(-p[1] * t) - y) * weight)

    def jacobian(p: FloatArray) -> FloatArray:
        decay = np.exp(-p[1] * t)
        return np.stack([decay, -p[0] * t * decay], axis=1) * weight[:, np.newaxis]

    found = least_squares(residual, _start(t, y), jac=jacobian, method="lm", x_scale="jac")
    slopes = jacobian(found.x)
    variance = 2 * found.cost / (t.size - 2) if errors is None else 1.0 / scale_value**2
    normal = variance * np.linalg.pinv(slopes.T @ slopes)
    unit = np.array([scale_value, 1.0 / scale_time])
    amplitude, rate = found.x * unit
    covariance = np.asarray(normal * np.outer(unit, unit), np.float64)
    return float(amplitude), float(rate), covariance


def _start(t: FloatArray, y: FloatArray) -> FloatArray:
    """A line through the logarithms of what is positive."""
    positive = y > 0
    if positive.sum() < 2 or np.ptp(t[positive]) == 0:
        return np.array([float(y.max()), 0.0])
    slope, intercept = np.polyfit(t[positive], np.log(y[positive]), 1)
    return np.array([math.exp(intercept), -slope])


def _constant(values: FloatArray, errors: FloatArray | None) -> tuple[float, npt.NDArray[np.float64]]:
    weights = np.ones_like(values) if errors is None else 1.0 / errors**2
    mean = float(np.average(values, weights=weights))
    if errors is None:
        variance = float(((values - mean) ** 2).sum() / (values.size - 1) / values.size)
    else:
        variance = float(1.0 / weights.sum())
    return mean, np.array([[variance, 0.0], [0.0, 0.0]])
