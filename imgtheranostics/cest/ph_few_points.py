"""Calibrations of pH by few points: curves that go where a simpler one misses, and what is not known of them.

With 3 to 6 points, points that are left out tell little: a straight line through the others often predicts
the ends of a curve better than the curve of another degree. Where it misses the points by more than they can
be wrong, a curve through them is nearer to the truth. The logarithm of the ratio as a polynomial of pH comes
first: for the ratio of two sites (7 and 11.7 T, 3 to 6 uT, MTRasym and its inverse form, simulated, pH 6.4 to
7.4), its error is at most 0.012 with 4 points and 0.006 with 5, where pH over the ratio misses by up to 0.05.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.ph_polynomial import Curve, Form, Scale, fitted_curve, turning_places
from imgtheranostics.cest.ph_steps import steps_through
from imgtheranostics.errors import Caution

DoubleArray = npt.NDArray[np.float64]

TOLERANCE_PH = 0.02
"""What a calibration may miss its points by; also that of the phantom without noise."""

MOST_POINTS = 6
"""Different pH up to which a curve is looked for that goes where the chosen one misses."""

LEAST_POINTS = 3

_HIGHEST_DEGREE = 4
_ERRORS_ALLOWED = 2.0
_CLEARLY_LESS = 1.0 / 3.0
_LINE, _BENT = 2, 0.25
_GRID = 201


def closer_curve(
    ratio: DoubleArray,
    ph: DoubleArray,
    error: DoubleArray | None,
    chosen: Curve,
    *,
    scale: Scale,
    form: Form,
) -> Curve:
    """The chosen curve, or the one that follows few points which that one misses.

    Parameters
    ----------
    ratio, ph : (n,) ndarray
    error : (n,) ndarray, optional
        Standard errors of the ratios: points may be missed by twice as much.
    chosen : Curve
    scale, form
        As those of `imgtheranostics.cest.ph.calibrate`.

    Returns
    -------
    Curve
        Of the highest degree up to 4 that rises or falls throughout (the lowest with `error` given), the
        logarithm of the ratio over pH before others. With 6 different pH only if it leaves less than a third
        of the scatter: there a point is left over to tell.
    """
    levels = _levels(ratio, ph)
    if not LEAST_POINTS <= levels <= MOST_POINTS or _follows(chosen, ratio, ph, error):
        return chosen
    highest = min(levels - 1, _HIGHEST_DEGREE)
    degrees = range(highest, chosen.coefficients.size - 1, -1)
    for inverse, logarithmic in _forms(ratio, scale, form):
        for degree in degrees if error is None else reversed(degrees):
            curve = fitted_curve(ratio, ph, error, degree, logarithmic, inverse)
            if turning_places(curve.coefficients).size or not _follows(curve, ratio, ph, error):
                continue
            if levels < MOST_POINTS or curve.residual_sd < _CLEARLY_LESS * chosen.residual_sd:
                return curve
    return chosen


def unknown_ph(
    ratio: DoubleArray, ph: DoubleArray, curve: Curve, *, scale: Scale, form: Form
) -> tuple[float, tuple[Caution, ...]]:
    """What is not known of the curve beside the noise of its points, in pH, and the cautions that say so.

    Parameters
    ----------
    ratio, ph : (n,) ndarray
    curve : Curve
        Through them.
    scale, form
        As those of `imgtheranostics.cest.ph.calibrate`.

    Returns
    -------
    float
        The scatter about the curve, where it is above 0.02: then it may be the curve that is wrong.
        For a curve through 3 or more points without any left over, and for any through points at 3 pH: what
        others through them differ by at most, at 3 pH those in the shape of an S too. Else 0.
    tuple of Caution
        ``calibration-poor``, ``calibration-unchecked``, or ``calibration-sparse`` where an S-shaped course
        would differ by more than 0.02.
    """
    if curve.residual_sd > TOLERANCE_PH:
        missed = float(np.abs(curve.ph(ratio) - ph).max())
        message = (
            f"the points scatter about the calibration by {curve.residual_sd:.3f} pH and miss it by up to "
            f"{missed:.3f} pH, where {TOLERANCE_PH:g} is wanted: it needs more points, or points of less "
            "noise; the scatter is in the standard errors"
        )
        return curve.residual_sd, (Caution("calibration-poor", message),)
    levels, degree = _levels(ratio, ph), curve.coefficients.size - 1
    through_all = levels >= LEAST_POINTS and ratio.size <= degree + 1
    places = np.linspace(ratio.min(), ratio.max(), _GRID)
    others = _polynomials_through(ratio, ph, places, degree, scale, form) if through_all else []
    if levels == LEAST_POINTS:
        others += _steps_through(ratio, ph, places, scale)
    differ = max((float(np.abs(other - curve.ph(places)).max()) for other in others), default=0.0)
    if through_all:
        message = (
            f"the calibration goes through all of its {ratio.size} points, so that none tells its error; "
            f"other curves through them differ by up to {differ:.3f} pH, which is in the standard errors"
        )
        return differ, (Caution("calibration-unchecked", message),)
    if differ > TOLERANCE_PH:
        message = (
            f"three pH do not tell a straight course from an S-shaped one, which would differ by up to "
            f"{differ:.3f} pH: that is in the standard errors; calibrate at more pH"
        )
        return differ, (Caution("calibration-sparse", message),)
    return differ, ()


def _polynomials_through(
    ratio: DoubleArray, ph: DoubleArray, places: DoubleArray, degree: int, scale: Scale, form: Form
) -> list[DoubleArray]:
    """PH at some ratios along the other polynomials through points, within the pH of these."""
    least, most = float(ph.min()), float(ph.max())
    return [
        np.clip(other.ph(places), least, most)
        for inverse, logarithmic in _forms(ratio, scale, form)
        for other in [fitted_curve(ratio, ph, None, degree, logarithmic, inverse)]
        if not turning_places(other.coefficients).size
    ]


def _steps_through(
    ratio: DoubleArray, ph: DoubleArray, places: DoubleArray, scale: Scale
) -> list[DoubleArray]:
    """PH at some ratios along S-shaped curves through the mean ratios at three pH."""
    levels, group = np.unique(ph, return_inverse=True)
    if levels.size != LEAST_POINTS:
        return []
    found: list[DoubleArray] = []
    for logarithmic in dict.fromkeys(logarithmic for _, logarithmic in _forms(ratio, scale, "auto")):
        measure = np.log10(ratio) if logarithmic else ratio
        means = np.bincount(group, measure) / np.bincount(group)
        low, high = float(means.min()), float(means.max())
        at = np.clip(np.log10(places) if logarithmic else places, low, high)
        found += steps_through(means, levels, at)
    return found


def _levels(ratio: DoubleArray, ph: DoubleArray) -> int:
    return int(min(np.unique(ratio).size, np.unique(ph).size))


def _forms(ratio: DoubleArray, scale: Scale, form: Form) -> list[tuple[bool, bool]]:
    """Whether inverse and whether logarithmic, the best first."""
    logarithms = [log for log in (True, False) if scale in ("auto", "log10" if log else "linear")]
    if not (ratio > 0).all():
        logarithms = [False]
    inverses = [inverse for inverse in (True, False) if form in ("auto", "inverse" if inverse else "direct")]
    return [(inverse, log) for inverse in inverses for log in logarithms]


def _follows(curve: Curve, ratio: DoubleArray, ph: DoubleArray, error: DoubleArray | None) -> bool:
    """Whether the points of each pH lie on the curve, as far as they can be expected to."""
    levels, group = np.unique(ph, return_inverse=True)
    count = np.bincount(group)
    missed = np.abs(np.bincount(group, curve.ph(ratio)) / count - levels)
    allowed = np.full(levels.size, TOLERANCE_PH)
    if error is not None:
        own = np.abs(curve.slope(ratio)) * error
        allowed = np.maximum(allowed, _ERRORS_ALLOWED * np.sqrt(np.bincount(group, own**2)) / count)
    if error is not None or math.isnan(curve.residual_sd):
        return bool((missed <= allowed).all())
    # Points that bend are missed between them by several times what they are missed by themselves.
    wanted = TOLERANCE_PH if curve.coefficients.size == _LINE else _BENT * TOLERANCE_PH
    return bool((missed <= allowed).all() and curve.residual_sd <= wanted)
