"""Models of a bolus and of replenishment in closed form: curves, landmarks, and areas of named origin.

All are curves of linear echo power above its baseline; x = t - t0 is the time since arrival t0. Definitions
by tangents follow the wording of commercial perfusion software, whose manual was not read in full: TI and TO
are where the tangents at the steepest rise and fall meet the baseline. Two areas are called the wash-in area
in the literature, one that begins at t0 and one that begins at TI; here each has its own name.

References
----------
.. [1] Strouthos et al., IEEE TUFFC 57:1296 (2010): which models fit boluses of microbubbles.
.. [2] Wei et al., Circulation 97:473 (1998): replenishment, A (1 - exp(-b t)).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from imgtheranostics.ultrasound.choices import BOLUS_MODELS as BOLUS_MODELS

FloatArray = npt.NDArray[np.float64]

LANDMARKS = (
    "area",
    "mean_transit_time_s",
    "wash_in_area",
    "rise_time_s",
    "wash_in_rate",
    "wash_in_area_from_ti",
    "wash_in_perfusion_index",
    "mean_transit_time_from_ti_s",
    "fall_time_s",
    "wash_out_rate",
    "wash_out_area",
    "full_width_half_maximum_s",
)
"""What follows from peak, time to peak and width."""

POWERS = {
    "area": (1, 1),
    "mean_transit_time_s": (0, 1),
    "wash_in_area": (1, 1),
    "rise_time_s": (0, 1),
    "wash_in_rate": (1, -1),
    "wash_in_area_from_ti": (1, 1),
    "wash_in_perfusion_index": (1, 0),
    "mean_transit_time_from_ti_s": (0, 1),
    "fall_time_s": (0, 1),
    "wash_out_rate": (1, -1),
    "wash_out_area": (1, 1),
    "full_width_half_maximum_s": (0, 1),
}
"""How each scales: powers of the peak and of the time to peak."""


def lognormal(
    time_s: npt.ArrayLike, *, area: float, log_mean: float, log_sd: float, arrival_time_s: float = 0.0
) -> FloatArray:
    """Lognormal bolus, area / (sqrt(2 pi) s x) exp(-(ln x - m)^2 / (2 s^2)); 0 up to arrival.

    Parameters
    ----------
    time_s : array_like
    area : float
        Under the whole curve, signal times s.
    log_mean, log_sd : float
        m and s of the logarithm of the time since arrival in s.
    arrival_time_s : float

    Returns
    -------
    ndarray
        Signal above baseline.
    """

    def shape(x: FloatArray) -> FloatArray:
        deviation = (np.log(x) - log_mean) / log_sd
        return np.asarray(area / (math.sqrt(2 * math.pi) * log_sd * x) * np.exp(-0.5 * deviation**2))

    return _since(time_s, arrival_time_s, shape)


def gamma_variate(
    time_s: npt.ArrayLike, *, amplitude: float, exponent: float, scale_s: float, arrival_time_s: float = 0.0
) -> FloatArray:
    """Gamma variate, amplitude x^a exp(-x / b) with x in s; 0 up to arrival.

    Parameters
    ----------
    time_s : array_like
    amplitude, exponent, scale_s : float
        Amplitude in signal per s^a, a, and b in s.
    arrival_time_s : float

    Returns
    -------
    ndarray
        Signal above baseline.
    """

    def shape(x: FloatArray) -> FloatArray:
        return np.asarray(amplitude * x**exponent * np.exp(-x / scale_s))

    return _since(time_s, arrival_time_s, shape)


def local_density_random_walk(
    time_s: npt.ArrayLike, *, area: float, transit_time_s: float, skewness: float, arrival_time_s: float = 0.0
) -> FloatArray:
    """Local density random walk, area e^L / mu sqrt(mu L / (2 pi x)) exp(-L/2 (x/mu + mu/x)).

    Parameters
    ----------
    time_s : array_like
    area : float
        Under the whole curve, signal times s.
    transit_time_s, skewness : float
        mu in s and L; the mean transit time is mu (1 + 1/L).
    arrival_time_s : float

    Returns
    -------
    ndarray
        Signal above baseline.
    """
    return _random_walk(time_s, area, transit_time_s, skewness, arrival_time_s, 0.5)


def first_passage(
    time_s: npt.ArrayLike, *, area: float, transit_time_s: float, skewness: float, arrival_time_s: float = 0.0
) -> FloatArray:
    """First passage of diffusion with drift, area e^L sqrt(mu L / (2 pi x^3)) exp(-L/2 (x/mu + mu/x)).

    Parameters and result as `local_density_random_walk`; mu is the mean transit time.
    """
    return _random_walk(time_s, area, transit_time_s, skewness, arrival_time_s, 1.5)


def replenishment(
    time_s: npt.ArrayLike, *, amplitude: float, rate_per_s: float, burst_time_s: float = 0.0
) -> FloatArray:
    """Replenishment after a destruction pulse, A (1 - exp(-b (t - burst))); 0 before it.

    Parameters
    ----------
    time_s : array_like
    amplitude, rate_per_s : float
        A is proportional to the blood volume, A b to the flow.
    burst_time_s : float

    Returns
    -------
    ndarray
        Signal above that right after the burst.
    """

    def shape(x: FloatArray) -> FloatArray:
        return np.asarray(-amplitude * np.expm1(-rate_per_s * x))

    return _since(time_s, burst_time_s, shape)


def _random_walk(
    time_s: npt.ArrayLike, area: float, mu: float, skewness: float, arrival: float, power: float
) -> FloatArray:
    scale = area * math.sqrt(skewness / (2 * math.pi)) * mu ** (power - 1.0)

    def shape(x: FloatArray) -> FloatArray:
        return np.asarray(scale * x**-power * np.exp(-0.5 * skewness * (x - mu) ** 2 / (mu * x)))

    return _since(time_s, arrival, shape)


def _since(time_s: npt.ArrayLike, arrival_s: float, shape: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """A curve of the time since arrival, 0 up to it."""
    since = np.asarray(time_s, np.float64) - arrival_s
    out = np.zeros(since.shape)
    later = since > 0
    with np.errstate(over="ignore", under="ignore"):
        out[later] = shape(since[later])
    out[np.isnan(since)] = np.nan
    return out


def landmarks(model: str, width: npt.ArrayLike) -> dict[str, FloatArray]:
    """Landmarks of a bolus of peak 1 that is reached 1 s after arrival.

    A bolus of peak P and time to peak k has these times P and k to the `POWERS` of each.

    Parameters
    ----------
    model : str
        One of `BOLUS_MODELS`.
    width : array_like
        s, a or L of the model; of a gamma variate more than 1, so that its rise has a steepest point.

    Returns
    -------
    dict of str to ndarray
        `LANDMARKS`. ``wash_in_area`` is from t0 to the peak and ``wash_in_area_from_ti`` from TI to the peak;
        ``wash_out_area`` from the peak to TO; ``wash_in_perfusion_index`` is ``wash_in_area_from_ti`` over
        ``rise_time_s``; rates are the slopes of the steepest tangents, that of the fall below 0.
    """
    w = np.asarray(width, np.float64)
    q, slope, steepest, area_to, mean = _shape_functions(model, w)
    rise, fall = steepest(-1), steepest(1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        rising, falling = (np.exp(q(u)) * slope(u) / u for u in (rise, fall))
        begin = rise - np.exp(q(rise)) / rising
        end = fall - np.exp(q(fall)) / falling
        whole, to_peak = area_to(np.full(w.shape, np.inf)), area_to(np.ones(w.shape))
        from_ti = to_peak - area_to(np.maximum(begin, 0.0))
    half = [_at_half_height(q, side, w) for side in (-1, 1)]
    return {
        "area": whole,
        "mean_transit_time_s": mean,
        "wash_in_area": to_peak,
        "rise_time_s": 1.0 - begin,
        "wash_in_rate": rising,
        "wash_in_area_from_ti": from_ti,
        "wash_in_perfusion_index": from_ti / (1.0 - begin),
        "mean_transit_time_from_ti_s": mean - begin,
        "fall_time_s": end - 1.0,
        "wash_out_rate": falling,
        "wash_out_area": area_to(end) - to_peak,
        "full_width_half_maximum_s": half[1] - half[0],
    }


_OfTime = Callable[[FloatArray], FloatArray]
_Shape = tuple[_OfTime, _OfTime, Callable[[int], FloatArray], _OfTime, FloatArray]


def _shape_functions(model: str, w: FloatArray) -> _Shape:
    """Logarithm of the curve, its slope by ln u, steepest points, integral from 0 to u, mean transit time."""
    if model == "lognormal":
        return _lognormal_functions(w)
    if model == "gamma_variate":
        return _gamma_functions(w)
    return _random_walk_functions(w, 0.5 if model == "ldrw" else 1.5)


def _lognormal_functions(s: FloatArray) -> _Shape:
    from scipy.special import ndtr

    def q(u: FloatArray) -> FloatArray:
        return np.asarray(-0.5 * (np.log(u) / s) ** 2)

    def slope(u: FloatArray) -> FloatArray:
        return np.asarray(-np.log(u) / s**2)

    def steepest(side: int) -> FloatArray:
        return np.asarray(np.exp(-0.5 * s**2 + side * 0.5 * s * np.sqrt(s**2 + 4.0)))

    def area_to(u: FloatArray) -> FloatArray:
        whole = math.sqrt(2 * math.pi) * s * np.exp(0.5 * s**2)
        return np.asarray(whole * ndtr(np.log(u) / s - s))

    return q, slope, steepest, area_to, np.exp(1.5 * s**2)


def _gamma_functions(a: FloatArray) -> _Shape:
    from scipy.special import gammainc, gammaln

    def q(u: FloatArray) -> FloatArray:
        return np.asarray(a * (np.log(u) - u + 1.0))

    def slope(u: FloatArray) -> FloatArray:
        return np.asarray(a * (1.0 - u))

    def steepest(side: int) -> FloatArray:
        return np.asarray(1.0 + side / np.sqrt(a))

    def area_to(u: FloatArray) -> FloatArray:
        whole = np.exp(a + gammaln(a + 1.0) - (a + 1.0) * np.log(a))
        return np.asarray(whole * gammainc(a + 1.0, a * u))

    return q, slope, steepest, area_to, 1.0 + 1.0 / a


def _random_walk_functions(skewness: FloatArray, power: float) -> _Shape:
    from scipy.special import log_ndtr, ndtr

    both = np.sqrt(skewness**2 + power**2)
    along, against = both - power, both + power
    mu = against / skewness

    def q(u: FloatArray) -> FloatArray:
        return np.asarray(-power * np.log(u) - 0.5 * (along * (u - 1.0) + against * (1.0 / u - 1.0)))

    def slope(u: FloatArray) -> FloatArray:
        return np.asarray(-power - 0.5 * (along * u - against / u))

    def steepest(side: int) -> FloatArray:
        def bending(u: FloatArray) -> FloatArray:
            return np.asarray(
                (0.5 * along * u**2 + power * u - 0.5 * against) ** 2 - u * (against - power * u)
            )

        return _root(bending, side, both.shape)

    def area_to(u: FloatArray) -> FloatArray:
        ratio = np.sqrt(u / mu)
        passed = ndtr(np.sqrt(skewness) * (ratio - 1.0 / ratio))
        back = np.exp(2.0 * skewness + log_ndtr(-np.sqrt(skewness) * (ratio + 1.0 / ratio)))
        share = passed - back if power == 0.5 else passed + back
        at_peak = np.sqrt(skewness / (2 * math.pi)) * mu ** (power - 1.0)
        at_peak *= np.exp(-0.5 * skewness * (1.0 - mu) ** 2 / mu)
        return np.asarray(share / at_peak)

    mean = mu * (1.0 + 1.0 / skewness) if power == 0.5 else mu
    return q, slope, steepest, area_to, mean


def _root(function: _OfTime, side: int, shape: tuple[int, ...]) -> FloatArray:
    """Where a function that is negative at u = 1 becomes positive, before (-1) or after (1) it."""
    near = np.zeros(shape)
    far = np.full(shape, side * 40.0)
    for _ in range(64):
        middle = 0.5 * (near + far)
        positive = function(np.exp(middle)) > 0
        far, near = np.where(positive, middle, far), np.where(positive, near, middle)
    return np.asarray(np.exp(0.5 * (near + far)))


def _at_half_height(q: _OfTime, side: int, w: FloatArray) -> FloatArray:
    """Where the curve has half of its height, before or after the peak."""
    return _root(lambda u: -math.log(2.0) - q(u), side, w.shape)
