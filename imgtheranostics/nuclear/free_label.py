"""Where a radioactive label goes that came off its carrier, and whether regions of a scan look like that.

The pattern is a reason to look, never a finding: intact carriers reach some of the same organs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgtheranostics.data.nuclides import nuclide_name
from imgtheranostics.errors import Caution

if TYPE_CHECKING:
    import pandas as pd

CODE = "free-label-pattern"
"""Code of the caution."""

UNCHECKED_CODE = "free-label-not-checked"
"""Code where an organ of the pattern is measured and nothing to compare it with."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Organs in which a free label collects.

    Attributes
    ----------
    species : str
        The free label in words.
    organs : tuple of str
        Keys of `ORGANS`.
    blood_ratio, muscle_ratio : float
        Uptake over that of blood, or of muscle where blood is not measured, from which an organ counts.
        These limits are unconfirmed.
    status, source : str
        Provenance of the organs.
    also : str
        What else looks like it.
    """

    species: str
    organs: tuple[str, ...]
    blood_ratio: float
    muscle_ratio: float
    status: str
    source: str
    also: str


PATTERNS: dict[str, Pattern] = {
    "Tc": Pattern(
        "pertechnetate",
        ("thyroid", "stomach", "salivary glands", "bladder"),
        3.0,
        6.0,
        "review",
        "free 99mTc appears in stomach, thyroid and bladder; the salivary glands are unconfirmed",
        "urine and bile carry intact label, too",
    ),
    "Cu": Pattern(
        "copper ions",
        ("liver",),
        5.0,
        10.0,
        "review",
        "transchelation: free copper raises the liver",
        "the liver takes up most nanoparticles whole",
    ),
    "I": Pattern(
        "iodide",
        ("thyroid", "stomach", "salivary glands", "bladder"),
        3.0,
        6.0,
        "unconfirmed",
        "memory",
        "urine carries intact label, too, and a blocked thyroid hides iodide",
    ),
    "Zr": Pattern(
        "zirconium ions", ("bone",), 3.0, 6.0, "unconfirmed", "memory", "marrow takes up nanoparticles whole"
    ),
    "Y": Pattern(
        "yttrium ions", ("bone",), 3.0, 6.0, "unconfirmed", "memory", "marrow takes up nanoparticles whole"
    ),
    "Lu": Pattern(
        "lutetium ions", ("bone",), 3.0, 6.0, "unconfirmed", "memory", "marrow takes up nanoparticles whole"
    ),
}
"""Patterns by element."""

ORGANS: dict[str, frozenset[str]] = {
    "muscle": frozenset({"muscle", "muscles", "gluteus", "quadriceps"}),
    "thyroid": frozenset({"thyroid", "thyroidea"}),
    "stomach": frozenset({"stomach", "gastric", "gaster"}),
    "salivary glands": frozenset({"salivary", "parotid", "parotis", "submandibular", "sublingual"}),
    "bladder": frozenset({"bladder", "vesica", "urine"}),
    "liver": frozenset({"liver", "hepar", "hepatic"}),
    "bone": frozenset(
        {"bone", "bones", "femur", "skeleton", "skeletal", "tibia", "humerus", "joint", "joints"}
    ),
    "blood": frozenset({"blood", "bloodpool", "heart", "aorta", "ventricle", "lv"}),
}
"""Words of region names, in lower case, by organ."""

_OTHER = frozenset(
    {
        "gall",
        "gallbladder",
        "tumour",
        "tumor",
        "lesion",
        "metastasis",
        "marrow",
        "vial",
        "abscess",
        "xenograft",
    }
)
"""Words that make a region something else than the organ that it names as well."""

_CONCENTRATIONS = ("id_per_g", "id_per_ml", "activity_concentration")


@dataclass(frozen=True, slots=True)
class Finding:
    """An organ of the pattern that is higher than its reference.

    Attributes
    ----------
    organ, region, reference : str
    ratio : float
    at : float
        Value on the axis of the table, such as a time in s; NaN without one.
    """

    organ: str
    region: str
    reference: str
    ratio: float
    at: float = math.nan


def organ_of(name: str) -> str | None:
    """The organ of `ORGANS` that the name of a region says; None for any other, and for a lesion in one.

    Examples
    --------
    >>> [organ_of(name) for name in ("Thyroid_L", "urinary bladder", "gall-bladder", "liver tumour", "LV")]
    ['thyroid', 'bladder', None, None, 'blood']
    """
    words = set(re.findall(r"[^\W\d_]+", name.casefold()))
    if words & _OTHER:
        return None
    return next((organ for organ, known in ORGANS.items() if words & known), None)


def free_label_pattern(
    table_or_values: pd.DataFrame | Mapping[str, float],
    *,
    nuclide: str | None,
    blood_ratio: float | None = None,
    muscle_ratio: float | None = None,
) -> tuple[Caution, ...]:
    """Warn where regions look as if the label had come off its carrier.

    Parameters
    ----------
    table_or_values : DataFrame or mapping of str to float
        A region table of DESIGN section 6, of one or several times, or uptake by name of the region. Organs
        are known by their names (`ORGANS`), in any case.
    nuclide : str or None
        The label; without one, or of an element without a pattern, nothing is said.
    blood_ratio, muscle_ratio : float, optional
        Limits instead of those of the pattern.

    Returns
    -------
    tuple of Caution
        ``free-label-pattern`` where an organ of the pattern is above its limit;
        ``free-label-not-checked`` where such an organ is measured, and neither blood nor muscle.

    Raises
    ------
    UnsupportedInput
        If the text names no nuclide.
    ValueError
        If a limit is not above 1.

    Examples
    --------
    >>> found = free_label_pattern({"thyroid": 30.0, "blood": 1.5}, nuclide="99mTc")
    >>> [caution.code for caution in found]
    ['free-label-pattern']
    """
    element = None if nuclide is None else nuclide_name(nuclide).split("-")[0]
    pattern = PATTERNS.get(element or "")
    if pattern is None:
        return ()
    limits = {
        "blood": pattern.blood_ratio if blood_ratio is None else blood_ratio,
        "muscle": pattern.muscle_ratio if muscle_ratio is None else muscle_ratio,
    }
    if not all(limit > 1 for limit in limits.values()):
        raise ValueError("a ratio to blood or muscle is above 1")
    moments = _moments(table_or_values)
    findings = [one for at, values in moments for one in findings_of(values, pattern, limits, at)]
    if findings:
        return (_caution(findings, pattern),)
    measured = {organ_of(name) for _, values in moments for name in values}
    named = [organ for organ in pattern.organs if organ in measured and organ != "liver"]
    if not named or measured & {"blood", "muscle"}:
        return ()
    text = (
        f"{_listed(named)} were measured, and neither blood nor muscle to compare them with: whether free "
        f"{pattern.species} collected there was not checked"
    )
    return (Caution(UNCHECKED_CODE, text),)


def findings_of(
    values: Mapping[str, float], pattern: Pattern, limits: Mapping[str, float], at: float = math.nan
) -> list[Finding]:
    """Organs of the pattern that are above their limit, at one time."""
    highest: dict[str, tuple[float, str]] = {}
    for name, value in values.items():
        organ = organ_of(name)
        if organ is not None and math.isfinite(value):
            highest[organ] = max(highest.get(organ, (-math.inf, "")), (value, name))
    reference = next((name for name in ("blood", "muscle") if highest.get(name, (0.0, ""))[0] > 0), None)
    if reference is None:
        return []
    base = highest[reference][0]
    return [
        Finding(organ, highest[organ][1], reference, highest[organ][0] / base, at)
        for organ in pattern.organs
        if organ in highest and highest[organ][0] >= limits[reference] * base
    ]


def label_of(record: Any, given: str | None) -> str | None:
    """The nuclide that was given, else that of the acquisition record; None where neither is known."""
    return given or getattr(getattr(record, "radiopharmaceutical", None), "nuclide", None)


def _moments(given: pd.DataFrame | Mapping[str, float]) -> list[tuple[float, dict[str, float]]]:
    """Uptake by region, at each value of the table's axis."""
    if isinstance(given, Mapping):
        return [(math.nan, {str(name): float(value) for name, value in given.items()})]
    quantities = list(dict.fromkeys(str(name) for name in given["quantity"]))
    chosen = next((name for name in quantities if name in _CONCENTRATIONS or name.startswith("suv_")), None)
    rows = given[given["quantity"] == chosen]
    return [
        (float(str(at)), dict(zip(part["region"].astype(str), part["mean"].astype(float), strict=True)))
        for at, part in rows.groupby("axis_value", sort=False, dropna=False)
    ]


def _caution(findings: list[Finding], pattern: Pattern) -> Caution:
    best: dict[str, Finding] = {}
    for one in findings:
        if one.organ not in best or one.ratio > best[one.organ].ratio:
            best[one.organ] = one
    told = []
    for one in best.values():
        at = "" if math.isnan(one.at) else f" at {one.at / 3600:.3g} h"
        told.append(f"{one.region} {one.ratio:.3g} times {one.reference}{at}")
    text = (
        f"{', '.join(told)}: free {pattern.species} collects there, so part of the label may have left its "
        f"carrier; this is no proof ({pattern.also})"
    )
    return Caution(CODE, text)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
