"""Body measures that SUV is normalised to: weight, lean and ideal body mass, surface area.

All formulas were derived from adults. Sex ``O`` takes the mean of the two formulas.

References
----------
.. [1] James WPT, Research on Obesity, 1976 (coefficient 128); with 120 for men as in Sugawara 1999.
.. [2] Janmahasatian S et al., Clin Pharmacokinet 2005, doi:10.2165/00003088-200544100-00004.
.. [3] Du Bois D, Du Bois EF, Arch Intern Med 1916.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imgtheranostics.errors import ImplausibleValue, MissingMetadata

KINDS: Final = ("bw", "lbm_janmahasatian", "lbm_james120", "lbm_james128", "bsa", "ibw")
"""The body measures of SUV."""

SMALLEST_ADULT_KG: Final = 25.0
"""Below it the formulas of adults are refused; small animals and children have no valid measure here."""


@dataclass(frozen=True, slots=True)
class BodyMeasure:
    """What activity per injected activity is multiplied by.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    value : float
        In `unit`, g or cm2.
    unit : str
    explanation : str
    """

    kind: str
    value: float
    unit: str
    explanation: str


def lean_body_mass_james(weight_kg: float, height_m: float, sex: str, *, coefficient: int = 128) -> float:
    """Lean body mass after James [1]_, kg; negative for very obese subjects, which callers must refuse.

    Parameters
    ----------
    weight_kg, height_m : float
    sex : {"M", "F", "O"}
    coefficient : {128, 120}
        Of the male formula; the female one is the same for both.

    Examples
    --------
    >>> round(lean_body_mass_james(80.0, 1.80, "M"), 4)
    62.716
    """
    if coefficient not in (120, 128):
        raise ValueError(f"coefficient must be 120 or 128, not {coefficient}")
    ratio = (weight_kg / (100.0 * height_m)) ** 2
    return _by_sex(sex, 1.10 * weight_kg - coefficient * ratio, 1.07 * weight_kg - 148.0 * ratio)


def lean_body_mass_janmahasatian(weight_kg: float, height_m: float, sex: str) -> float:
    """Lean body mass after Janmahasatian [2]_, kg.

    Examples
    --------
    >>> round(lean_body_mass_janmahasatian(60.0, 1.65, "F"), 4)
    39.2868
    """
    index = weight_kg / height_m**2
    male = 9270.0 * weight_kg / (6680.0 + 216.0 * index)
    female = 9270.0 * weight_kg / (8780.0 + 244.0 * index)
    return _by_sex(sex, male, female)


def ideal_body_weight(height_m: float, sex: str) -> float:
    """Ideal body weight, kg; not positive for very short subjects, which callers must refuse.

    Examples
    --------
    >>> round(ideal_body_weight(1.80, "M"), 2)
    77.68
    """
    above = 100.0 * height_m - 152.0
    return _by_sex(sex, 48.0 + 1.06 * above, 45.5 + 0.91 * above)


def body_surface_area(weight_kg: float, height_m: float) -> float:
    """Body surface area after Du Bois [3]_, m2.

    Examples
    --------
    >>> round(body_surface_area(80.0, 1.80), 5)
    1.99642
    """
    return float(0.007184 * (100.0 * height_m) ** 0.725 * weight_kg**0.425)


def body_measure(
    kind: str, *, weight_kg: float | None, height_m: float | None = None, sex: str | None = None
) -> BodyMeasure:
    """The measure that SUV of `kind` is normalised to.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    weight_kg, height_m : float or None
    sex : {"M", "F", "O"} or None

    Returns
    -------
    BodyMeasure
        In g, or cm2 for ``bsa``.

    Raises
    ------
    ValueError
        If the kind is not known.
    MissingMetadata
        If weight, height or sex is needed and absent.
    ImplausibleValue
        If the formula does not hold for this body: not an adult, or a lean mass that is not positive or
        exceeds the weight.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    weight = _needed(weight_kg, "PatientWeight (0010,1030)", kind, "weight_kg")
    if kind == "bw":
        return BodyMeasure("bw", 1000.0 * weight, "g", f"body weight {weight:g} kg")
    height = _needed(height_m, "PatientSize (0010,1020)", kind, "height_m")
    if weight < SMALLEST_ADULT_KG:
        raise ImplausibleValue(
            f"SUV {kind} holds for adults only",
            where="PatientWeight (0010,1030)",
            found=f"{weight:g} kg",
            needed=f"at least {SMALLEST_ADULT_KG:g} kg",
            next_step="use suv_bw, or %ID/g for small animals",
        )
    if kind == "bsa":
        area = body_surface_area(weight, height)
        return BodyMeasure("bsa", 1e4 * area, "cm2", f"body surface area {area:.5g} m2 (Du Bois)")
    known_sex = _known_sex(sex, kind)
    formula, name = _MASSES[kind]
    mass = formula(weight, height, known_sex)
    if not 0.0 < mass <= (math.inf if kind == "ibw" else weight):
        raise ImplausibleValue(
            f"the formula for SUV {kind} does not hold for this weight and height",
            where="PatientWeight (0010,1030) and PatientSize (0010,1020)",
            found=f"{name} of {mass:.3g} kg at {weight:g} kg and {height:g} m",
            needed="a positive mass not above the weight",
            next_step="use suv_bw or suv_lbm_janmahasatian, or correct weight and height",
        )
    suffix = ", mean of the male and female formula" if known_sex == "O" else ""
    return BodyMeasure(kind, 1000.0 * mass, "g", f"{name} {mass:.6g} kg{suffix}")


def _by_sex(sex: str, male: float, female: float) -> float:
    if sex not in ("M", "F", "O"):
        raise ValueError(f"sex must be M, F or O, not {sex!r}")
    return {"M": male, "F": female, "O": 0.5 * (male + female)}[sex]


_MASSES: Final[dict[str, tuple[Callable[[float, float, str], float], str]]] = {
    "lbm_janmahasatian": (lean_body_mass_janmahasatian, "lean body mass (Janmahasatian)"),
    "lbm_james120": (
        lambda w, h, s: lean_body_mass_james(w, h, s, coefficient=120),
        "lean body mass (James 120)",
    ),
    "lbm_james128": (
        lambda w, h, s: lean_body_mass_james(w, h, s, coefficient=128),
        "lean body mass (James 128)",
    ),
    "ibw": (lambda _, h, s: ideal_body_weight(h, s), "ideal body weight"),
}


def _needed(value: float | None, field: str, kind: str, option: str) -> float:
    if value is None or not math.isfinite(value) or value <= 0.0:
        raise MissingMetadata(
            f"SUV {kind} needs {field.split(' ')[0]}",
            where=field,
            found="absent" if value is None else f"{value:g}",
            needed="a positive number",
            next_step=f"give --{option.replace('_', '-')} ({option}=), or use %ID/g, which does not need it",
        )
    return float(value)


def _known_sex(sex: str | None, kind: str) -> str:
    known = (sex or "").strip().upper()[:1]
    if known not in ("M", "F", "O"):
        raise MissingMetadata(
            f"SUV {kind} needs PatientSex",
            where="PatientSex (0010,0040)",
            found="absent" if not sex else "another value",
            needed="M, F or O (mean of the two formulas)",
            next_step="give --sex (sex=), or use suv_bw, which does not need it",
        )
    return known
