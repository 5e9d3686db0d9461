"""What one question gets as its answer, before all questions are corrected for each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from imgtheranostics.errors import Caution
from imgtheranostics.report.study_figures import Shown
from imgtheranostics.study.cohort import Cohort
from imgtheranostics.study.findings import Finding, Interval
from imgtheranostics.study.questions import EVERY, Measure


@dataclass(frozen=True, kw_only=True, eq=False)
class Reply:
    """One answer.

    Attributes
    ----------
    primary : Finding
        What the question is decided by.
    tested : bool
        Whether its p value counts among those that are corrected for each other.
    beside : tuple of (str, Finding)
        What stands beside it, with a word of what it is; no decision hangs on it.
    facts : tuple of (str, str)
        Further numbers in words.
    notes : tuple of str
        Fixed sentences that belong below it.
    left_out : tuple of str
        Who is not in it, and why.
    power : str
        What a study of this size could have found.
    agreed : str
        What is said instead of a test: of an agreement or equivalence.
    cautions : tuple of Caution
        Of the study as a whole, beyond those of the findings.
    shown : tuple of Shown
        Figures.
    """

    primary: Finding
    tested: bool = True
    beside: tuple[tuple[str, Finding], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    power: str = ""
    agreed: str = ""
    cautions: tuple[Caution, ...] = ()
    shown: tuple[Shown, ...] = ()


def as_ratio(finding: Finding, measure: str) -> Finding:
    """A finding of logarithms as one of ratios."""
    low, high = finding.interval
    return dataclasses.replace(
        finding,
        measure=measure,
        estimate=math.exp(finding.estimate),
        interval=Interval(math.exp(low), math.exp(high)),
        unit="1",
        method=f"{finding.method}, of logarithms",
    )


def measure_words(measure: Measure, unit: str) -> str:
    """Quantity, region and unit as an axis has them."""
    from imgtheranostics.report.wording import quantity_words, unit_words

    words = f"{quantity_words(measure.quantity)}, {region_words(measure)}{in_session(measure)}"
    shown = unit_words(unit, measure.quantity if measure.statistic != "volume_ml" else "")
    if measure.statistic != "mean":
        names = {"max": "highest voxel", "p95": "95th percentile", "volume_ml": "volume"}
        words = f"{words} ({names.get(measure.statistic, measure.statistic)})"
    return f"{words} [{shown}]" if shown else words


def region_words(measure: Measure) -> str:
    """The region as a reader has it: ``lesion* (mean)`` where lesions are brought together."""
    return measure.region if measure.lesions is None else f"{measure.region} ({measure.lesions})"


def in_session(measure: Measure) -> str:
    """Which session, where it is one of several; empty otherwise."""
    return "" if measure.session in (None, EVERY) else f", session {measure.session}"


def lost(cohort: Cohort, subjects: Sequence[str], present: Sequence[bool], what: str) -> tuple[str, ...]:
    """Subjects of whom something is missing, in words."""
    return tuple(f"{one}: no {what}" for one, here in zip(subjects, present, strict=True) if not here)


def percent(share: float) -> str:
    """A share in whole percent, as ``36 %``."""
    return f"{100.0 * share:.0f} %"
