"""The report of a study: answers, tables and figures from its folder of results, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imgtheranostics._version import VERSION
from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.io.atomic import write_text
from imgtheranostics.report.figures.organ_points import OrganPoint, OrganPoints
from imgtheranostics.report.plain import as_json, plain
from imgtheranostics.report.study_figures import Shown, render_shown
from imgtheranostics.report.study_html import Described, StudyPage, render_study
from imgtheranostics.report.tables import as_tsv
from imgtheranostics.report.wording import quantity_words, unit_words
from imgtheranostics.study.answers import COLUMNS, Answer, answers_of, forest_of
from imgtheranostics.study.cohort import Cohort, read_cohort
from imgtheranostics.study.wording import MEASURED, claims_beyond_association

REPORT_FILE, ANSWERS_FILE, ANSWERS_TABLE = "report.html", "answers.json", "answers.tsv"
_MISSING = "n/a"
_MOST_ORGANS = 14
_MOST_FIGURES = 8
_UNSTATED = (
    "The manifest does not say whether the images show the label, the carrier or the drug (measured). They "
    "are read as the label."
)


@dataclass(frozen=True, eq=False)
class StudyReport:
    """What was written.

    Attributes
    ----------
    study : str
    answers : tuple of Answer
    cautions : tuple of Caution
    failed : tuple of str
        Subjects of which something is missing.
    files : tuple of Path
    """

    study: str
    answers: tuple[Answer, ...]
    cautions: tuple[Caution, ...]
    failed: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def complete(self) -> bool:
        """Whether every subject was done and every question answered."""
        return not self.failed and all(one.reply is not None for one in self.answers)


def write_study_report(output: Path, into: Path | None = None) -> StudyReport:
    """Answer the questions of a study and write its report.

    Parameters
    ----------
    output : Path
        Folder that ``study run`` wrote.
    into : Path, optional
        The HTML file; ``report.html`` in that folder when not given. ``answers.json`` and ``answers.tsv`` are
        written beside it.

    Raises
    ------
    NothingUsable, CorruptInput
        If the folder holds no results of a study, or damaged ones.
    OutputError
        If the report cannot be written.
    """
    cohort = read_cohort(output)
    answers = answers_of(cohort)
    page = output / REPORT_FILE if into is None else into
    beside = (page.parent / ANSWERS_FILE, page.parent / ANSWERS_TABLE)
    rows = [row for one in answers for row in one.rows()]
    text = render_study(_page(cohort, answers))
    write_text(beside[0], as_json(answers_object(cohort, answers)))
    write_text(beside[1], as_tsv(rows, COLUMNS))
    write_text(page, text)
    cautions = _cautions(cohort, answers)
    return StudyReport(cohort.declared.study, answers, cautions, tuple(cohort.status.failed), (page, *beside))


def answers_object(cohort: Cohort, answers: Sequence[Answer]) -> dict[str, Any]:
    """The content of ``answers.json``."""
    return {
        "study": cohort.declared.study,
        "version": VERSION,
        "agent": cohort.declared.agent or None,
        "measured": _measured(cohort),
        "subjects": cohort.status.counts,
        "failed": {name: cohort.why_missing(name) for name in cohort.status.failed},
        "correction": "Holm",
        "questions": [_described(one) for one in answers],
        "warnings": [
            {"code": one.code, "message": one.message, "where": one.where}
            for one in _cautions(cohort, answers)
        ],
    }


def _described(answer: Answer) -> dict[str, Any]:
    reply = answer.reply
    return {
        "name": answer.question.name,
        "kind": answer.question.kind,
        "text": answer.text,
        "declared": answer.question.model_dump(mode="json", exclude_defaults=True, exclude={"text"}),
        "answered": reply is not None,
        "error": dict(answer.error) or None,
        "verdict": answer.verdict,
        "p_value": None if reply is None or not reply.tested else plain(reply.primary.p_value),
        "holm_p_value": plain(answer.holm_p_value),
        "alpha": answer.question.alpha,
        "findings": answer.rows(),
        "facts": [] if reply is None else [list(fact) for fact in reply.facts],
        "power": "" if reply is None else reply.power,
        "notes": [] if reply is None else list(reply.notes),
        "left_out": [] if reply is None else list(reply.left_out),
        "warnings": [{"code": one.code, "message": one.message} for one in answer.cautions],
    }


def _measured(cohort: Cohort) -> str:
    return MEASURED.get(cohort.declared.measured) or f"{_UNSTATED} {MEASURED['label']}"


def _cautions(cohort: Cohort, answers: Sequence[Answer]) -> tuple[Caution, ...]:
    own = cohort.outcomes.cautions if cohort.outcomes is not None else ()
    return merge_cautions(cohort.status.warnings, own, *(one.cautions for one in answers))


def _page(cohort: Cohort, answers: Sequence[Answer]) -> StudyPage:
    forest = forest_of(answers)
    overview = [] if forest is None else render_shown([forest], "all")
    own = cohort.outcomes.cautions if cohort.outcomes is not None else ()
    claims = claims_beyond_association(cohort.declared.study)
    return StudyPage(
        study="Study" if claims else cohort.declared.study,
        agent=cohort.declared.agent,
        counts=cohort.status.counts,
        groups=tuple(
            (name, sum(cohort.group(one) == name for one in cohort.people)) for name in cohort.groups
        ),
        sessions=len({session for _, session in cohort.declared.hours}),
        measured=_measured(cohort),
        cautions=tuple(merge_cautions(cohort.status.warnings, own)),
        questions=tuple(
            (one, render_shown(one.reply.shown, one.question.name) if one.reply is not None else [])
            for one in map(_shown_answer, answers)
        ),
        overview=overview,
        organs=render_shown(_organ_figures(cohort), "organs"),
        table=_group_table(cohort),
        failed=tuple((name, cohort.why_missing(name)) for name in cohort.status.failed),
        waiting=tuple(name for name, one in cohort.status.subjects.items() if one["state"] == "waiting"),
        version=VERSION,
    )


def _shown_answer(answer: Answer) -> Described:
    reply = answer.reply
    return Described(
        question=answer.question,
        name=answer.question.name,
        text=answer.text,
        verdict=answer.verdict,
        holm_p_value=answer.holm_p_value,
        error=answer.error,
        reply=reply,
        findings=tuple(answer.findings),
        cautions=answer.cautions,
    )


def _series(cohort: Cohort) -> Mapping[tuple[str, str, str, str], list[Mapping[str, str]]]:
    """Rows with a value that are none of a curve, by analysis, quantity, unit and session."""
    found: dict[tuple[str, str, str, str], list[Mapping[str, str]]] = {}
    for row in cohort.rows:
        if row.get("axis_value", _MISSING) == _MISSING and row["mean"] != _MISSING:
            key = (row["analysis"], row["quantity"], row["unit"], row["session"])
            found.setdefault(key, []).append(row)
    return found


def _organ_figures(cohort: Cohort) -> list[Shown]:
    """One figure per quantity and session, regions side by side."""
    shown = []
    for (analysis, quantity, unit, session), rows in _series(cohort).items():
        organs = list(dict.fromkeys(row["region"] for row in rows))
        if not 2 <= len(organs) <= _MOST_ORGANS:
            continue
        points = tuple(
            OrganPoint(row["region"], cohort.group(row["subject"]), row["subject"], float(row["mean"]))
            for row in rows
            if row["subject"] in cohort.people
        )
        words = unit_words("" if unit == _MISSING else unit, quantity)
        label = f"{quantity_words(quantity)}{f' [{words}]' if words else ''}"
        means = [float(np.mean([one.value for one in points if one.organ == organ])) for organ in organs]
        wide = min(one.value for one in points) > 0.0 and max(means) > 12.0 * min(means)
        when = "" if session == _MISSING else f", session {session}"
        shown.append(
            Shown("organ_points", f"{label}{when} ({analysis})", OrganPoints(label, points, logarithmic=wide))
        )
    return shown[:_MOST_FIGURES]


def _group_table(cohort: Cohort) -> list[dict[str, Any]]:
    """Mean, spread and number of subjects of each quantity, region, session and group."""
    table = []
    for (analysis, quantity, unit, session), rows in _series(cohort).items():
        cells: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            if row["subject"] in cohort.people:
                cells.setdefault((row["region"], cohort.group(row["subject"])), []).append(float(row["mean"]))
        for (region, group), values in cells.items():
            table.append(
                {
                    "analysis": analysis,
                    "quantity": quantity_words(quantity),
                    "unit": unit_words("" if unit == _MISSING else unit, quantity),
                    "session": "" if session == _MISSING else session,
                    "region": region,
                    "group": group,
                    "n": len(values),
                    "mean": float(np.mean(values)),
                    "sd": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
                    "median": float(np.median(values)),
                    "low": min(values),
                    "high": max(values),
                }
            )
    return table
