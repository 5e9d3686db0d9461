"""Polynomials between a ratio and pH: form, scale and degree by how well they predict left-out points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from numpy.polynomial import polynomial

from imgtheranostics.fit import shortfall

DoubleArray = npt.NDArray[np.float64]
Scale = Literal["auto", "linear", "log10"]
Form = Literal["auto", "direct", "inverse"]

HIGHEST_DEGREE = 5
"""Of a polynomial that is chosen automatically."""

LEAST_GAIN = 1.1
"""A lower degree is kept while the error of its left-out points is within this factor of the best."""

FEWEST_FOR_SCATTER = 6
"""Different pH that it takes to tell scatter from the course."""

_TABLE = 2049
_NEWTON_STEPS = 3
_LN_10 = math.log(10.0)


@dataclass(frozen=True, eq=False)
class Curve:
    """PH as a polynomial of the ratio, or the ratio as one of pH; the ratio itself or its decadic logarithm.

    Attributes
    ----------
    coefficients : (degree + 1,) ndarray
        Ascending, of (x - centre) / half_span, where x is what the polynomial is one of.
    covariance : (degree + 1, degree + 1) ndarray
        Of the coefficients; NaN without any degree of freedom.
    logarithmic : bool
        Whether it is the logarithm of the ratio.
    inverse : bool
        Whether the ratio is the polynomial and pH its variable.
    centre, half_span : float
    residual_sd : float
        Of the points, in pH; NaN without any degree of freedom.
    left_out : float
        Root mean square of what each point is missed by without it, in pH.
    """

    coefficients: DoubleArray
    covariance: DoubleArray
    logarithmic: bool
    inverse: bool
    centre: float
    half_span: float
    residual_sd: float
    left_out: float

    def ph(self, ratio: DoubleArray) -> DoubleArray:
        """PH of ratios within the range."""
        place = self._place(ratio)
        if self.inverse:
            return self.centre + self.half_span * place
        return np.asarray(polynomial.polyval(place, self.coefficients))

    def slope(self, ratio: DoubleArray) -> DoubleArray:
        """Change of pH with the ratio."""
        by_place = polynomial.polyval(self._place(ratio), polynomial.polyder(self.coefficients))
        own = by_place / self.half_span
        with np.errstate(divide="ignore", invalid="ignore"):
            per_measure = 1.0 / own if self.inverse else own
            return np.asarray(per_measure / (ratio * _LN_10) if self.logarithmic else per_measure)

    def error(self, ratio: DoubleArray) -> DoubleArray:
        """Standard error of pH by what is not known of the polynomial."""
        place = self._place(ratio)
        design = np.stack([place**k for k in range(self.coefficients.size)], axis=-1)
        variance = np.einsum("...i,ij,...j->...", design, self.covariance, design)
        error = np.sqrt(np.maximum(variance, 0.0))
        if not self.inverse:
            return np.asarray(error)
        by_place = polynomial.polyval(place, polynomial.polyder(self.coefficients)) / self.half_span
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(error / np.abs(by_place))

    def _place(self, ratio: DoubleArray) -> DoubleArray:
        """The variable of the polynomial, scaled to -1 to 1."""
        measure = np.log10(ratio) if self.logarithmic else ratio
        if not self.inverse:
            return np.asarray((measure - self.centre) / self.half_span)
        nodes = np.linspace(-1.0, 1.0, _TABLE)
        values = polynomial.polyval(nodes, self.coefficients)
        if values[0] > values[-1]:
            nodes, values = nodes[::-1], values[::-1]
        place = np.interp(measure, values, nodes)
        by_place = polynomial.polyder(self.coefficients)
        for _ in range(_NEWTON_STEPS):
            missed = polynomial.polyval(place, self.coefficients) - measure
            place = np.clip(place - missed / polynomial.polyval(place, by_place), -1.0, 1.0)
        return np.asarray(place)


@dataclass(frozen=True, eq=False)
class Choice:
    """The best curve, and where it turns beside an end of the points.

    Attributes
    ----------
    curve : Curve
    beyond : (float, float)
        The pH within which it does not turn; infinite where it turns nowhere.
    """

    curve: Curve
    beyond: tuple[float, float]

    @property
    def turns(self) -> bool:
        """Whether it turns at all."""
        return bool(np.isfinite(self.beyond).any())


def best_curve(
    ratio: DoubleArray,
    ph: DoubleArray,
    error: DoubleArray | None,
    *,
    degree: int | None,
    scale: Scale,
    form: Form,
    may_turn: bool = False,
) -> Choice | None:
    """The simplest curve among those that predict left-out points best; None if all turn.

    Parameters
    ----------
    ratio, ph : (n,) ndarray
    error : (n,) ndarray, optional
        Standard errors of the ratios.
    degree : int, optional
    scale : {"auto", "linear", "log10"}
    form : {"auto", "direct", "inverse"}
    may_turn : bool
        Whether an inverse curve may turn in the first or in the last third of the points.
    """
    levels = np.unique(ph)
    third = max(1, levels.size // 3)
    found = []
    for inverse, logarithmic, tried in _candidates(ratio, ph, degree, scale, form):
        curve = fitted_curve(ratio, ph, error, tried, logarithmic, inverse)
        places = curve.centre + curve.half_span * turning_places(curve.coefficients)
        if places.size and not (inverse and may_turn):
            continue
        low, high = places <= levels[third], places >= levels[-1 - third]
        if (low | high).all() and not (low.any() and high.any()):
            beyond = (places[low].max(initial=-math.inf), places[high].min(initial=math.inf))
            found.append(Choice(curve, beyond))
    if not found:
        return None
    least = min(one.curve.left_out for one in found)
    good = [one for one in found if one.curve.left_out <= LEAST_GAIN * least]
    lowest = min(one.curve.coefficients.size for one in good)
    simple = [one for one in good if one.curve.coefficients.size == lowest]
    return min(simple, key=lambda one: one.curve.left_out)


def _candidates(
    ratio: DoubleArray, ph: DoubleArray, degree: int | None, scale: Scale, form: Form
) -> list[tuple[bool, bool, int]]:
    """Whether inverse, whether logarithmic, and degree, the simple ones first."""
    if scale not in ("auto", "linear", "log10"):
        raise ValueError(f"unknown scale {scale!r}; there are auto, linear, log10")
    if form not in ("auto", "direct", "inverse"):
        raise ValueError(f"unknown form {form!r}; there are auto, direct, inverse")
    scales = [scale == "log10"] if scale != "auto" else [False, True] if (ratio > 0).all() else [False]
    # A degree that somebody asks for is that of the published form, pH over the ratio.
    forms = [form == "inverse"] if form != "auto" else [False, True] if degree is None else [False]
    distinct = min(np.unique(ratio).size, np.unique(ph).size)
    degrees = range(1, max(1, min(HIGHEST_DEGREE, distinct - 2)) + 1) if degree is None else [degree]
    return [(inverse, logarithmic, d) for d in degrees for inverse in forms for logarithmic in scales]


def fitted_curve(
    ratio: DoubleArray,
    ph: DoubleArray,
    error: DoubleArray | None,
    degree: int,
    logarithmic: bool,
    inverse: bool,
) -> Curve:
    """The polynomial of a form and degree by least squares: in the ratio for the inverse form, else in pH.

    Parameters
    ----------
    ratio, ph : (n,) ndarray
    error : (n,) ndarray, optional
        Standard errors of the ratios.
    degree : int
    logarithmic, inverse : bool
        As in `Curve`.
    """
    measure = np.log10(ratio) if logarithmic else ratio
    spread = error / (ratio * _LN_10) if error is not None and logarithmic else error
    x, y = (ph, measure) if inverse else (measure, ph)
    centre, half = 0.5 * float(x.min() + x.max()), 0.5 * float(np.ptp(x))
    place = (x - centre) / half
    design = polynomial.polyvander(place, degree)
    weights = np.ones(x.size)
    coefficients = np.linalg.pinv(design) @ y
    if spread is not None:
        for _ in range(1 if inverse else 3):
            weights = 1.0 / (spread if inverse else spread * _per_measure(place, coefficients, half))
            coefficients = np.linalg.pinv(design * weights[:, np.newaxis]) @ (y * weights)
    inverted = np.linalg.pinv(design * weights[:, np.newaxis])
    residual = y - design @ coefficients
    leverage = np.einsum("ij,ji->i", design * weights[:, np.newaxis], inverted)
    in_ph = 1.0 / _per_measure(place, coefficients, half) if inverse else np.ones(x.size)
    own = inverted @ inverted.T
    freedom = x.size - degree - 1
    if freedom < 1:
        covariance = own * math.nan if spread is None else own
        return Curve(coefficients, covariance, logarithmic, inverse, centre, half, math.nan, math.inf)
    variance = float(((residual * weights) ** 2).sum() / freedom) / shortfall(freedom) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left_out = residual * in_ph / (1.0 - leverage)
    left_out = left_out[np.isfinite(left_out)]
    return Curve(
        coefficients,
        # With errors given, points that scatter more than that enlarge them; less scatter may be luck.
        own * (variance if spread is None else max(variance, 1.0)),
        logarithmic,
        inverse,
        centre,
        half,
        math.sqrt(float(((residual * in_ph) ** 2).sum()) / freedom) / shortfall(freedom),
        math.sqrt(float((left_out**2).mean())) if left_out.size else math.inf,
    )


def _per_measure(place: DoubleArray, coefficients: DoubleArray, half_span: float) -> DoubleArray:
    """Steepness at each point; not below a tenth of the mean, where a flat place would count endlessly."""
    slope = np.abs(polynomial.polyval(place, polynomial.polyder(coefficients))) / half_span
    return np.asarray(np.maximum(slope, 0.1 * slope.mean() + np.finfo(float).tiny))


def turning_places(coefficients: DoubleArray) -> DoubleArray:
    """Where a polynomial stops rising or falling between -1 and 1; 0 where it is constant."""
    slope = polynomial.polyder(coefficients)
    if not np.abs(slope).max() > 0:
        return np.zeros(1)
    roots = polynomial.polyroots(slope) if slope.size > 1 else np.empty(0)
    real = roots.real[np.abs(roots.imag) < 1e-9]
    return np.asarray(real[(real > -1.0) & (real < 1.0)], np.float64)


def scatter(ratio: DoubleArray, ph: DoubleArray) -> float:
    """Standard deviation of ratios about a smooth course over pH, which may turn; 0 for too few to tell."""
    if ph.size < FEWEST_FOR_SCATTER:
        return 0.0
    place = (ph - ph.mean()) / np.ptp(ph)
    tried = []
    for degree in range(1, min(HIGHEST_DEGREE, ph.size - 3) + 1):
        design = polynomial.polyvander(place, degree)
        inverted = np.linalg.pinv(design)
        residual = ratio - design @ (inverted @ ratio)
        left_out = residual / (1.0 - np.einsum("ij,ji->i", design, inverted))
        tried.append((float((left_out**2).mean()), float((residual**2).sum() / (ph.size - degree - 1))))
    return math.sqrt(min(tried)[1])
