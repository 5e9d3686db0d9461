"""From a ratio to pH: a polynomial through measured ratios, valid on their monotone range only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.ph_ambiguity import ratios_of_two_ph, told_of
from imgtheranostics.cest.ph_conditions import Conditions
from imgtheranostics.cest.ph_few_points import closer_curve, unknown_ph
from imgtheranostics.cest.ph_polynomial import Curve, Form, Scale, best_curve, scatter
from imgtheranostics.cest.ph_stretch import FEWEST_LEVELS, longest_stretch
from imgtheranostics.errors import Caution, IllConditioned, ImplausibleValue

DoubleArray = npt.NDArray[np.float64]

PH_LIMITS = (3.0, 11.0)

REACH = 2.0
"""Standard errors within which a ratio may be one that occurs at a second pH."""

_AT_THE_END = 1e-6
"""Part of the range by which rounding to single precision may miss its ends."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """pH as a polynomial of a ratio, or of its logarithm.

    Attributes
    ----------
    curve : Curve
        The polynomial.
    range : (float, float)
        Lowest and highest pH of the calibrated monotone range.
    ratio_range : (float, float)
        Lowest and highest ratio that is converted.
    n_points : int
        Points that the polynomial goes through.
    conditions : Conditions
        Under which the ratios were measured.
    warnings : tuple of Caution
    unknown_ph : float
        What is not known of the curve beside the noise of its points, in pH: see `calibrate`.
    ambiguous : tuple of (float, float)
        Ratios of the range that points beyond its turn have too: such a ratio belongs to either pH.
    """

    curve: Curve
    range: tuple[float, float]
    ratio_range: tuple[float, float]
    n_points: int
    conditions: Conditions = field(default_factory=Conditions)
    warnings: tuple[Caution, ...] = ()
    unknown_ph: float = 0.0
    ambiguous: tuple[tuple[float, float], ...] = ()

    @property
    def degree(self) -> int:
        """Degree of the polynomial."""
        return int(self.curve.coefficients.size) - 1

    @property
    def residual_sd(self) -> float:
        """Scatter of the points about the curve, in pH; NaN without any degree of freedom."""
        return self.curve.residual_sd

    def invert(self, ratio: npt.ArrayLike) -> DoubleArray:
        """PH of ratios, NaN outside the calibrated monotone range.

        Parameters
        ----------
        ratio : array_like

        Returns
        -------
        ndarray
            float64, of the same shape.
        """
        given, inside = self._within(ratio)
        return np.where(inside, self.curve.ph(given), np.nan)

    def is_ambiguous(
        self, ratio: npt.ArrayLike, ratio_se: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.bool_]:
        """Whether ratios are, within two standard errors, such as occur at a second pH too.

        Parameters
        ----------
        ratio : array_like
        ratio_se : array_like, optional
            Standard error of the ratio; without it, and where it is NaN, 0.
        """
        given = np.asarray(ratio, np.float64)
        reach = np.zeros_like(given)
        if ratio_se is not None:
            reach = REACH * np.nan_to_num(np.asarray(ratio_se, np.float64))
        found = np.zeros(given.shape, np.bool_)
        for low, high in self.ambiguous:
            found |= (given + reach >= low) & (given - reach <= high)
        return found

    def slope(self, ratio: npt.ArrayLike) -> DoubleArray:
        """Change of pH with the ratio, NaN outside the range."""
        given, inside = self._within(ratio)
        return np.where(inside, self.curve.slope(given), np.nan)

    def calibration_error(self, ratio: npt.ArrayLike) -> DoubleArray:
        """Standard error of the curve itself: common to all that is converted with it."""
        given, inside = self._within(ratio)
        error = self.curve.error(given)
        if self.unknown_ph > 0.0:
            error = np.hypot(np.where(np.isnan(error), 0.0, error), self.unknown_ph)
        return np.where(inside, error, np.nan)

    def standard_error(self, ratio: npt.ArrayLike, ratio_se: npt.ArrayLike | None = None) -> DoubleArray:
        """Standard error of pH from that of the ratio and that of the calibration.

        Parameters
        ----------
        ratio : array_like
        ratio_se : array_like, optional
            Standard error of the ratio; without it, that of the calibration alone.

        Returns
        -------
        ndarray
            NaN outside the range. The line through two points has no error of its own: only that of the
            ratio is then in it, or NaN without `ratio_se`.
        """
        common = self.calibration_error(ratio)
        if ratio_se is None:
            return common
        own = np.abs(self.slope(ratio)) * np.asarray(ratio_se, np.float64)
        return np.asarray(np.hypot(own, np.where(np.isnan(common) & np.isfinite(own), 0.0, common)))

    def _within(self, ratio: npt.ArrayLike) -> tuple[DoubleArray, npt.NDArray[np.bool_]]:
        """Ratios with a place in the range where they have none in it, and which have."""
        given = np.asarray(ratio, np.float64)
        low, high = self.ratio_range
        margin = _AT_THE_END * max(abs(low), abs(high))
        inside = np.isfinite(given) & (given >= low - margin) & (given <= high + margin)
        return np.where(inside, np.clip(given, low, high), low), np.asarray(inside)

    def save(self, path: str | Path) -> None:
        """Write everything to a small JSON file, which `load_calibration` reads.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from imgtheranostics.cest.ph_files import save_calibration

        save_calibration(self, path)

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "rule": _rule(self.curve),
            "degree": self.degree,
            "n_points": self.n_points,
            "ph_range": list(self.range),
            "ratio_range": list(self.ratio_range),
            "residual_sd": self.residual_sd,
            "unknown_ph": self.unknown_ph,
            "ambiguous_ratios": [list(one) for one in self.ambiguous],
            "conditions": self.conditions.as_dict(),
        }


def calibrate(
    ratio: npt.ArrayLike,
    ph: npt.ArrayLike,
    *,
    degree: int | None = None,
    scale: Scale = "auto",
    form: Form = "auto",
    ratio_se: npt.ArrayLike | None = None,
    conditions: Conditions | None = None,
) -> Calibration:
    """Polynomial between a ratio, or its logarithm, and pH.

    Only the longest stretch of pH on which the ratio goes one way is used, since a ratio that comes twice
    tells nothing. Ratios of that stretch which points beyond its turn have too are noted as ambiguous, and
    `imgtheranostics.cest.ph.converted` gives no pH for them: leave out points of a pH that cannot occur. A
    step back within two of its standard errors is no turn; without `ratio_se` these come from the scatter
    about a smooth course, for 6 different pH or more. Where the curve through the points turns in the first
    or last third of them, those beyond are left out too.

    Form, scale and degree are those whose left-out points are predicted best (each point by the polynomial
    through all others, in pH), with a degree of at most 5 and at most the number of different points less 2;
    a lower degree is preferred while its error is within 10 % of the best. Polynomials that turn inside the
    range are not considered. With at most 6 different pH, and unless a degree is given, a curve that misses
    its points by more than 0.02 pH (or two of their standard errors, where these are given and larger) makes
    way for one that goes where they are and turns nowhere (`imgtheranostics.cest.ph_few_points`).

    Parameters
    ----------
    ratio, ph : (n,) array_like
        Points of the calibration, in any order; several at one pH are all used.
    degree : int, optional
        Of the polynomial, below the number of different points; that of pH over the ratio unless `form` says
        otherwise.
    scale : {"auto", "linear", "log10"}
        The ratio, or its decadic logarithm.
    form : {"auto", "direct", "inverse"}
        ``direct``: pH is a polynomial of the ratio, as published. ``inverse``: the ratio is one of pH and is
        solved for it, which follows a ratio that levels off, where pH over the ratio becomes steep.
    ratio_se : float or (n,) array_like, optional
        Standard error of the ratios: points weigh by what it is in pH, and a turn within two of them is not
        taken for one.
    conditions : Conditions, optional
        Under which the ratios were measured.

    Returns
    -------
    Calibration
        With the cautions ``calibration-not-monotone`` where points had to be left out and
        ``calibration-ambiguous`` where their ratios occur in the stretch too; ``calibration-poor``
        where they scatter about the curve by more than 0.02 pH, which is then added to its error, since it
        may be the curve that is wrong; ``calibration-unchecked`` for a curve through all of 3 or more points,
        whose error is what other curves through them differ by; and ``calibration-sparse`` for points at 3 pH
        between which an S-shaped course would differ by more than 0.02 pH, which is then its error.

    Raises
    ------
    ValueError
        If points are missing, not finite, or too few for the degree.
    ImplausibleValue
        If a pH is outside 3 to 11.
    IllConditioned
        If the ratio goes one way nowhere, or a polynomial of the given degree turns inside the range.
    """
    given, acidity, error = _points(ratio, ph, ratio_se)
    kept = _monotone_part(given, acidity, error)
    while True:
        x, y = given[kept], acidity[kept]
        spread = None if error is None else error[kept]
        _check_choice(x, y, degree, scale)
        levels = np.unique(y)
        best = best_curve(
            x, y, spread, degree=degree, scale=scale, form=form, may_turn=levels.size > FEWEST_LEVELS
        )
        if best is None:
            raise IllConditioned(
                f"a polynomial of degree {degree} turns inside the calibrated range",
                found=f"{levels.size} different pH",
                needed="a polynomial that rises or falls throughout",
                next_step="leave the degree to be chosen, or calibrate at more pH",
            )
        if not best.turns:
            break
        # There the ratio has its extreme: what is beyond it comes twice.
        kept = kept & (acidity > best.beyond[0]) & (acidity < best.beyond[1])
    curve = best.curve
    if degree is None:
        curve = closer_curve(x, y, spread, curve, scale=scale, form=form)
    unknown, doubts = unknown_ph(x, y, curve, scale=scale, form=form)
    twice = ratios_of_two_ph(given, acidity, kept)
    return Calibration(
        curve,
        (float(y.min()), float(y.max())),
        (float(x.min()), float(x.max())),
        int(x.size),
        conditions or Conditions(),
        (*_left_out(acidity, kept), *told_of(twice), *doubts),
        unknown,
        twice,
    )


def _check_choice(x: DoubleArray, y: DoubleArray, degree: int | None, scale: Scale) -> None:
    distinct = min(np.unique(x).size, np.unique(y).size)
    if degree is not None and degree < 1:
        raise ValueError(f"degree must be at least 1, found {degree}")
    if degree is not None and degree >= distinct:
        raise ValueError(
            f"a polynomial of degree {degree} needs more than {degree} different points, found {distinct}"
        )
    if scale == "log10" and not (x > 0).all():
        raise ValueError("a ratio is not positive and has no logarithm; give scale='linear'")


def _left_out(acidity: DoubleArray, kept: npt.NDArray[np.bool_]) -> tuple[Caution, ...]:
    if kept.all():
        return ()
    low, high = acidity[kept].min(), acidity[kept].max()
    message = (
        f"the ratio goes one way only from pH {low:g} to {high:g}: {int((~kept).sum())} of {kept.size} "
        "points outside are not used, and nothing there is converted"
    )
    return (Caution("calibration-not-monotone", message),)


def _rule(curve: Curve) -> str:
    measure = "log10 of the ratio" if curve.logarithmic else "the ratio"
    return f"{measure} as a polynomial of pH" if curve.inverse else f"pH as a polynomial of {measure}"


def _points(
    ratio: npt.ArrayLike, ph: npt.ArrayLike, ratio_se: npt.ArrayLike | None
) -> tuple[DoubleArray, DoubleArray, DoubleArray | None]:
    """Points in the order of pH, checked."""
    x, y = np.asarray(ratio, np.float64), np.asarray(ph, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"ratio and ph must be lists of equal length, found shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a point of the calibration is not finite: leave it out")
    if np.unique(y).size < 2:
        raise ValueError(f"a calibration needs at least 2 different pH, found {np.unique(y).size}")
    low, high = PH_LIMITS
    if y.min() < low or y.max() > high:
        raise ImplausibleValue(
            "a pH of the calibration cannot be that",
            where="ph",
            found=f"{y.min():g} to {y.max():g}",
            needed=f"{low:g} to {high:g}",
            next_step="give ratio first and pH second",
        )
    order = np.lexsort((x, y))
    if ratio_se is None:
        return x[order], y[order], None
    try:
        error = np.broadcast_to(np.asarray(ratio_se, np.float64), x.shape)
    except ValueError:
        raise ValueError(f"ratio_se must be one number or {x.size}") from None
    if not (np.isfinite(error) & (error > 0)).all():
        raise ValueError("ratio_se must be positive")
    return x[order], y[order], error[order]


def _monotone_part(x: DoubleArray, y: DoubleArray, error: DoubleArray | None) -> npt.NDArray[np.bool_]:
    """Which points lie on the longest stretch of pH where the ratio goes one way."""
    levels, group = np.unique(y, return_inverse=True)
    count = np.bincount(group)
    means = np.bincount(group, x) / count
    if error is None:
        errors = np.full(levels.size, scatter(means, levels))
    else:
        errors = np.sqrt(np.bincount(group, error**2)) / count
    found = longest_stretch(means, errors, levels)
    if found is None:
        raise IllConditioned(
            "the ratio does not go one way with pH anywhere",
            found=f"{levels.size} different pH from {levels[0]:g} to {levels[-1]:g}",
            needed=f"at least {FEWEST_LEVELS} neighbouring pH at which the ratio rises, or falls",
            next_step="check which ratio belongs to which pH, or choose another power",
        )
    return np.asarray((group >= found[0]) & (group <= found[1]))
