"""Cohorts that are drawn as numbers, put into the tables that ``study run`` leaves, without any image.

What a report says of many such cohorts shows how often it is wrong: `answers_of_drawn` reads the tables back
and answers the questions of the manifest with the code of ``study report``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from imgtheranostics.errors import UnitMismatch, UnsupportedInput
from imgtheranostics.phantom.cohort_members import Member, Visit
from imgtheranostics.phantom.cohort_spec import OPTIONAL_REGIONS
from imgtheranostics.phantom.cohorts import MANIFEST, OUTCOMES, manifest_of
from imgtheranostics.phantom.cohorts import Cohort as DrawnCohort
from imgtheranostics.phantom.cohorts import outcomes_of as drawn_outcomes
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.study.answers import Answer, answers_of
from imgtheranostics.study.cohort import read_cohort
from imgtheranostics.study.declared import outcomes_of, write_declared
from imgtheranostics.study.execution import JobStatus, SubjectStatus
from imgtheranostics.study.jobs import SubjectJobs
from imgtheranostics.study.manifest import Analysis, Study
from imgtheranostics.study.questions import AnyQuestion, Measure
from imgtheranostics.study.results import COLUMNS, write_rows, write_status
from imgtheranostics.units import QUANTITIES, conversion_factor

_SHOWN_PER_TRUTH: Mapping[tuple[str, str], float] = {
    # AGuIX at 3 T and its flip angle, and Olsa at 11.7 T: slopes of noise-free phantoms at small amounts
    ("enhancement", "mmol/L"): 1000.0,
    ("delta_mtr_asym", "mmol/L"): 1.2,
}
"""What an image shows of one unit of the truth where the two are not one quantity."""
_RATIO = "/"


def answers_of_drawn(cohort: DrawnCohort) -> tuple[Answer, ...]:
    """What the report of a drawn cohort says.

    Parameters
    ----------
    cohort : imgtheranostics.phantom.Cohort
        As `imgtheranostics.phantom.make_cohort` draws it.

    Raises
    ------
    UnsupportedInput, CorruptInput
        As `write_drawn`.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_drawn(cohort, Path(folder))
        return answers_of(read_cohort(Path(folder)))


def write_drawn(cohort: DrawnCohort, output: Path) -> None:
    """Write what ``study run`` leaves of a cohort whose scans show the truth, but for the scans' own results.

    The tables hold every quantity and analysis that the questions of the manifest name, in all regions and
    sessions; ``study report`` reads the folder like any other.

    Parameters
    ----------
    cohort : imgtheranostics.phantom.Cohort
    output : Path
        An empty folder.

    Raises
    ------
    UnsupportedInput
        If a question asks for a quantity of which nothing says how it comes from the truth.
    CorruptInput
        If the manifest of the cohort is not valid.
    """
    study = Study.model_validate(manifest_of(cohort))
    table = drawn_outcomes(cohort)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / OUTCOMES).write_text(table, encoding="utf-8")
        kept = outcomes_of(study, Path(folder) / MANIFEST)
    write_declared(output, study, kept)
    rows = list(_rows(cohort, study))
    warnings = write_rows(output, study, rows)
    ended = {one.id: SubjectStatus(one.id, tuple(_jobs(study, one.id, rows))) for one in study.subjects}
    planned = [SubjectJobs(one.id, ()) for one in study.subjects]
    write_status(output, study.study, planned, ended, warnings)


def _jobs(study: Study, subject: str, rows: list[dict[str, Any]]) -> Iterator[JobStatus]:
    """One done job per session and analysis, as folders of results have them."""
    done = dict.fromkeys((row["session"], row["analysis"]) for row in rows if row["subject"] == subject)
    for session, analysis in done:
        yield JobStatus(analysis, f"sub-{subject}/ses-{session}/{analysis}", "done")


def _rows(cohort: DrawnCohort, study: Study) -> Iterator[dict[str, Any]]:
    """Rows of the table of all subjects."""
    scan = cohort.spec.base()
    wanted = dict.fromkeys(
        (_analysis(study, measure).name, measure.quantity)
        for question in study.questions
        for measure in measures_of(question)
    )
    for member in cohort.members:
        for visit in member.visits:
            truths = _truths(cohort, scan, visit)
            for analysis, quantity in wanted:
                yield from _of_visit(member, visit, analysis, quantity, truths, study)


def measures_of(question: AnyQuestion) -> Iterator[Measure]:
    """The numbers of subjects that a question names."""
    if isinstance(question, Measure):
        yield question
    for _, value in question:
        if isinstance(value, Measure):
            yield value


def _analysis(study: Study, measure: Measure) -> Analysis:
    if not study.analyses:
        raise UnsupportedInput("the manifest of the cohort has no analysis", found=study.study)
    return next((one for one in study.analyses if one.name == measure.analysis), study.analyses[0])


Truths = Mapping[str, tuple[float, str]]
"""Value and unit by region."""


def _truths(cohort: DrawnCohort, scan: PhantomSpec, visit: Visit) -> Truths:
    """What each region of a visit holds: the subject's own value, or that of the scan in all subjects."""
    found = {}
    for region in scan.regions:
        stated = region.states(cohort.spec.quantity)
        value = visit.held.get(region.name)
        if value is None and not region.name.startswith(OPTIONAL_REGIONS) and stated is not None:
            value = stated.value
        if value is not None and stated is not None:
            found[region.name] = (value, stated.unit)
    return found


def _of_visit(
    member: Member, visit: Visit, analysis: str, quantity: str, truths: Truths, study: Study
) -> Iterator[dict[str, Any]]:
    unit = QUANTITIES[quantity].unit or "1"
    for region, value in _shown(quantity, unit, truths, study):
        yield dict.fromkeys(COLUMNS) | {
            "subject": member.id,
            "session": visit.session,
            "analysis": analysis,
            "region": region,
            "quantity": quantity,
            "unit": unit,
            **dict.fromkeys(("mean", "median", "p05", "p95", "min", "max"), value),
        }


def _shown(quantity: str, unit: str, truths: Truths, study: Study) -> Iterator[tuple[str, float]]:
    """What an image without noise shows, by region; ratios of regions where questions ask for them."""
    asked = [one.region for question in study.questions for one in measures_of(question)]
    ratios = [one.split(_RATIO) for one in asked if _RATIO in one]
    if quantity.endswith("_region_ratio"):
        for pattern, over in dict.fromkeys((above, below) for above, below in ratios):
            for region, (value, _) in truths.items():
                if fnmatchcase(region, pattern):
                    yield f"{region}{_RATIO}{over}", value / truths[over][0]
        return
    for region, (value, truth_unit) in truths.items():
        yield region, value * _factor(quantity, unit, truth_unit)


def _factor(quantity: str, unit: str, truth_unit: str) -> float:
    known = _SHOWN_PER_TRUTH.get((quantity, truth_unit))
    if known is not None:
        return known
    try:
        return conversion_factor(truth_unit, unit)
    except UnitMismatch:
        raise UnsupportedInput(
            f"nothing says how {quantity} comes from what a cohort of this kind holds",
            found=truth_unit,
            needed=f"a quantity in {unit}",
        ) from None
