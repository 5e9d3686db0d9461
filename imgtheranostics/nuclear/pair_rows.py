"""Rows of one region for a pair of nuclides: its curve, half-lives, decays and doses, with their parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgtheranostics.errors import Caution
from imgtheranostics.nuclear.curve_models import AREAS, TERMS
from imgtheranostics.nuclear.curve_rows import RegionCurve
from imgtheranostics.nuclear.exponential_curves import fit_exponential
from imgtheranostics.nuclear.pair_bounds import bounds_of_one_exponential
from imgtheranostics.nuclear.pair_curves import Extrapolation, at_injection, phases
from imgtheranostics.nuclear.pair_doses import RegionMass, SelfDose, self_dose
from imgtheranostics.nuclear.pair_drawings import biology_at, curve_parameters
from imgtheranostics.nuclear.pair_rules import Twins
from imgtheranostics.units import QUANTITIES

Row = dict[str, Any]
Results = dict[str, tuple[Row, Row]]
"""Rows of `fit_curve` with their details, by quantity."""

REPLACED = ("much-extrapolated",)
"""Codes of `fit_curve` that are said anew."""

_OF_IMAGED = ("effective_half_life", "tiac", "tiac_per_g", "tiac_per_ml")


@dataclass(frozen=True, eq=False)
class Asked:
    """Choices that all regions share.

    Attributes
    ----------
    pair : Twins
    model : str
    uptake : bool or None
    weights : str
    level : float
    masses_g : mapping of str to float
    density_g_ml : float
    progeny : str
    most_extrapolated : float or None
    """

    pair: Twins
    model: str
    uptake: bool | None
    weights: str
    level: float
    masses_g: Mapping[str, float]
    density_g_ml: float
    progeny: str
    most_extrapolated: float | None


@dataclass(frozen=True, eq=False)
class RegionRows:
    """Rows of one region, each with its details, and what is to be said of it.

    Attributes
    ----------
    rows : list of (dict, dict)
    cautions : tuple of Caution
    """

    rows: list[tuple[Row, Row]]
    cautions: tuple[Caution, ...]


def region_rows(
    asked: Asked,
    curve: RegionCurve,
    given: Results,
    imaged: Results,
) -> RegionRows:
    """All rows of one region."""
    where, name = f"region {curve.region}", AREAS[curve.quantity][0]
    row, detail = given[name]
    if math.isinf(detail["biological_half_life_s"]) and "lower" in detail:
        given = _without_clearance(asked, curve, given)
        row, detail = given[name]
    share = given["extrapolated_fraction"][0]["mean"] / 100.0
    extrapolation = _extrapolation(asked, curve, detail, row["mean"], share)
    extrapolation.check(asked.most_extrapolated, where)
    mass = RegionMass.of(curve.region, asked.masses_g, curve.volume_ml, asked.density_g_ml)
    dose = self_dose(asked.pair.given, row["mean"], name, mass, progeny=asked.progeny, where=where)
    late = extrapolation.cautions(asked.pair.given.name, where)
    cautions = (*late, *dose.cautions)
    bounds = {"tiac_least": extrapolation.least, "tiac_most": extrapolation.most}
    result = _doses(asked, row, detail, dose, mass)
    for quantity, (own_row, own_detail) in given.items():
        result.append((own_row, {**own_detail, "nuclide": asked.pair.given.name, **bounds}))
        if quantity in _OF_IMAGED:
            first, second = imaged[quantity]
            kept = {**second, "nuclide": asked.pair.imaged.name}
            named = f"imaged_{quantity}"
            result.append(({**first, "quantity": named, "unit": QUANTITIES[named].unit}, kept))
    result.append(_at_injection(asked, curve, row))
    codes = _codes(row["warnings"], cautions)
    return RegionRows([({**one, "warnings": codes}, two) for one, two in result], cautions)


def _without_clearance(asked: Asked, curve: RegionCurve, given: Results) -> Results:
    """The rows of a curve at the bound of its rate, with the bounds of the profile likelihood."""
    name, administered = AREAS[curve.quantity]
    decay = asked.pair.given.decay_constant_per_s
    ends = dict.fromkeys((name, "effective_half_life", "biological_half_life"), (math.nan, math.nan))
    single = phases(curve_parameters(given[name][1]), decay)[0].size == 1
    alike = asked.weights == "equal"
    weights = np.ones(curve.time_s.size) if alike else curve.importance(asked.weights)
    found = bounds_of_one_exponential(
        curve.time_s, curve.values, weights, known=False, decay_per_s=decay, level=asked.level
    )
    if single and found is not None:
        ends = {
            name: (found.lower_area / administered, found.upper_area / administered),
            "effective_half_life": found.effective_half_life_s(decay),
            "biological_half_life": found.biological_half_life_s(),
        }
    made = {
        quantity: (
            given[quantity][0],
            {**given[quantity][1], "lower": lower, "upper": upper, "interval_method": "profile"},
        )
        for quantity, (lower, upper) in ends.items()
    }
    return {**given, **made}


def _codes(given: str, cautions: tuple[Caution, ...]) -> str:
    kept = [code for code in given.split(";") if code and code not in REPLACED]
    return ";".join(dict.fromkeys([*kept, *(caution.code for caution in cautions)]))


def _extrapolation(asked: Asked, curve: RegionCurve, detail: Row, tiac: float, share: float) -> Extrapolation:
    _, administered = AREAS[curve.quantity]
    decay, last = asked.pair.given.decay_constant_per_s, float(curve.time_s[-1])
    if asked.model in TERMS:
        at_last = float(biology_at(detail, decay, np.array([last]))[0])
    else:
        at_last = max(float(curve.values[-1]), 0.0)
    return Extrapolation.of(tiac, share, at_last / administered, last, decay)


def _at_injection(asked: Asked, curve: RegionCurve, row: Row) -> tuple[Row, Row]:
    """The uptake at time 0, as a row; not known of trapezoids, which have no curve there."""
    value, error = np.nan, np.nan
    if asked.model in TERMS and np.isfinite(row["mean"]):
        alike = asked.weights == "equal"
        importance = np.ones(curve.time_s.size) if alike else curve.importance(asked.weights)
        fit = fit_exponential(
            curve.values,
            curve.time_s,
            terms=TERMS[asked.model],
            uptake=asked.uptake,
            weights=importance,
            half_life_s=curve.half_life_s,
            decay_corrected=True,
        )
        value, error = at_injection(fit, curve.time_s, importance, asked.pair.given.decay_constant_per_s)
    shared = curve.calibration_relative * abs(value)
    own = {
        "quantity": f"{curve.quantity}_at_injection",
        "unit": curve.unit,
        "mean": value,
        "standard_error": float(np.hypot(error, shared)),
    }
    said = {
        "standard_error_fit": error,
        "standard_error_calibration": shared,
        "rule": "biological curve at 0",
    }
    return {**row, **own}, said


def _doses(asked: Asked, row: Row, detail: Row, dose: SelfDose, mass: RegionMass) -> list[tuple[Row, Row]]:
    """Rows of the doses: their errors are those of the area, and of the energy that a sphere absorbs."""
    made = []
    for quantity, value, own in (
        ("local_dose_per_activity", dose.local, 0.0),
        ("self_dose_per_activity", dose.sphere, dose.sphere_relative),
    ):
        if quantity.startswith("self") and not np.isfinite(mass.mass_g):
            continue
        scale = value / row["mean"] if row["mean"] > 0 else np.nan
        shared = math.hypot(detail["standard_error_calibration"] * scale, own * value)
        fit = detail["standard_error_fit"] * scale
        said = {
            "nuclide": asked.pair.given.name,
            "progeny": asked.progeny,
            "mass_g": mass.mass_g,
            "gy_per_mbq_per_tiac": scale,
            "standard_error_fit": fit,
            "standard_error_calibration": shared,
        }
        if "lower" in detail:
            said |= {name: detail[name] for name in ("interval_level", "interval_method")}
            said |= {name: detail[name] * scale for name in ("lower", "upper")}
        error = float(np.hypot(fit, shared))
        new = {"quantity": quantity, "unit": "Gy/MBq", "mean": value, "standard_error": error}
        made.append(({**row, **new}, said))
    return made
