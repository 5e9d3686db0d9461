"""The page of a study's report: answers first, then figures, tables, who is missing and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgtheranostics.errors import Caution
from imgtheranostics.report.html import embedded, page
from imgtheranostics.report.registry import Rendered
from imgtheranostics.report.wording import number, unit_words

TEMPLATE = "study.html.j2"
_LARGEST_TABLE = 400
_MOST_LEFT_OUT = 40


@dataclass(frozen=True, eq=False)
class Described:
    """One question with its answer, as the page shows it; see `imgtheranostics.study.answers.Answer`."""

    question: Any
    name: str
    text: str
    verdict: str
    holm_p_value: float
    error: Mapping[str, Any]
    reply: Any
    findings: tuple[tuple[str, str, Any], ...]
    cautions: tuple[Caution, ...]


@dataclass(frozen=True, eq=False)
class StudyPage:
    """What the page shows."""

    study: str
    agent: str
    counts: Mapping[str, int]
    groups: tuple[tuple[str, int], ...]
    sessions: int
    measured: str
    cautions: tuple[Caution, ...]
    questions: tuple[tuple[Described, list[Rendered]], ...]
    overview: Sequence[Rendered]
    organs: Sequence[Rendered]
    table: Sequence[Mapping[str, Any]]
    failed: tuple[tuple[str, str], ...]
    waiting: tuple[str, ...]
    version: str


def render_study(shown: StudyPage) -> str:
    """The whole report as HTML text, without script and without any reference to another file or host."""
    rows = [_table_row(row) for row in shown.table[:_LARGEST_TABLE]]
    return page(
        TEMPLATE,
        title=shown.study,
        command="study report",
        version=shown.version,
        subject=_subject(shown),
        counts=[(words, shown.counts.get(state, 0), state) for state, words in _STATES],
        measured=shown.measured,
        warnings=shown.cautions,
        questions=[_question(one, figures) for one, figures in shown.questions],
        overview=[embedded(one) for one in shown.overview],
        organs=[embedded(one) for one in shown.organs],
        rows=rows,
        n_rows=len(shown.table),
        failed=shown.failed,
        waiting=shown.waiting,
        corrected=sum(1 for one, _ in shown.questions if one.reply is not None and one.reply.tested),
    )


_STATES = (("done", "subjects done"), ("failed", "failed"), ("waiting", "not done yet"))


def _subject(shown: StudyPage) -> str:
    parts = [f"{sum(shown.counts.values())} subjects"]
    if shown.groups:
        parts.append(", ".join(f"{name} {count}" for name, count in shown.groups))
    if shown.sessions > 1:
        parts.append(f"{shown.sessions} sessions")
    if shown.agent:
        parts.append(shown.agent)
    return " · ".join(parts)


def _question(one: Described, figures: Sequence[Rendered]) -> dict[str, Any]:
    findings = [_finding(role, what, finding) for role, what, finding in one.findings]
    if findings:
        findings[0]["holm"] = p_words(one.holm_p_value)
    left_out = list(one.reply.left_out) if one.reply is not None else []
    return {
        "name": one.name,
        "text": one.text,
        "kind": one.question.kind.replace("_", " "),
        "verdict": one.verdict,
        "error": {key: value for key, value in one.error.items() if key != "type"},
        "findings": findings,
        "facts": list(one.reply.facts) if one.reply is not None else [],
        "notes": list(dict.fromkeys(one.reply.notes)) if one.reply is not None else [],
        "power": one.reply.power if one.reply is not None else "",
        "tested": one.reply is not None and one.reply.tested,
        "left_out": left_out[:_MOST_LEFT_OUT],
        "more_left_out": max(len(left_out) - _MOST_LEFT_OUT, 0),
        "warnings": one.cautions,
        "method": one.findings[0][2].method if one.findings else "",
        "assumed": list(one.findings[0][2].assumed) if one.findings else [],
        "figures": [embedded(figure) for figure in figures],
    }


def _finding(role: str, what: str, finding: Any) -> dict[str, Any]:
    unit = unit_words(finding.unit)
    return {
        "role": role,
        "what": what,
        "measure": finding.measure,
        "estimate": f"{number(finding.estimate, 3, zeros=True)} {unit}".rstrip(),
        "interval": _interval(finding),
        "level": f"{100 * finding.level:g} %",
        "p": p_words(finding.p_value),
        "holm": "",
        "n": finding.n,
    }


def _interval(finding: Any) -> str:
    low, high = finding.interval
    if math.isnan(low) and math.isnan(high):
        return "n/a"
    return " to ".join("∞" if math.isinf(one) else number(one, 3, zeros=True) for one in (low, high))


def p_words(value: float) -> str:
    """A p value as it is printed: two digits, and below 0.001 no more than that.

    >>> p_words(0.0312), p_words(2e-7), p_words(float("nan"))
    ('0.031', '< 0.001', '')
    """
    if math.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else number(value, 2)


def _table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: number(row[name], 4, zeros=True) for name in ("mean", "sd", "median", "low", "high")}
    return {**row, **shown}
