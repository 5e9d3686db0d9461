"""Answers to the questions that a study declared, corrected for each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imgtheranostics.errors import Caution, ImgTheranosticsError, merge_cautions
from imgtheranostics.report.figures.forest import Forest, ForestRow
from imgtheranostics.report.study_figures import Shown
from imgtheranostics.study.agreement_answers import agreement_reply
from imgtheranostics.study.cohort import Cohort
from imgtheranostics.study.findings import Finding
from imgtheranostics.study.group_answers import difference_reply, factorial_reply, repeatability_reply
from imgtheranostics.study.mixed_answers import mixed_reply
from imgtheranostics.study.multiplicity import holm
from imgtheranostics.study.outcome_answers import association_reply, share_reply, survival_reply
from imgtheranostics.study.question_words import default_text
from imgtheranostics.study.questions import AnyQuestion, Mixed
from imgtheranostics.study.replies import Reply
from imgtheranostics.study.wording import EQUIVALENCE_NEEDED, claims_beyond_association

_REPLIES: Mapping[str, Callable[[Cohort, Any], Reply]] = {
    "group_difference": difference_reply,
    "association": association_reply,
    "survival": survival_reply,
    "agreement": agreement_reply,
    "repeatability": repeatability_reply,
    "factorial": factorial_reply,
    "mixed": mixed_reply,
    "share": share_reply,
}

NOTHING_FOUND = "This does not show that there is no association: see the interval for what it may be."

COLUMNS = (
    "question", "kind", "role", "what", "measure", "estimate", "unit", "low", "high", "level", "p_value",
    "holm_p_value", "n", "left_out", "method", "assumed", "warnings",
)  # fmt: skip
"""Of ``answers.tsv``: one row per finding; the primary one decides the question."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to one question.

    Attributes
    ----------
    question : AnyQuestion
    text : str
        The question in words.
    reply : Reply, optional
        None where it could not be answered.
    error : mapping
        Why not: type, what, where, found, needed, next.
    holm_p_value : float
        Of the primary finding, adjusted for all questions that were tested; NaN where nothing was.
    verdict : str
        One sentence.
    cautions : tuple of Caution
    """

    question: AnyQuestion
    text: str
    reply: Reply | None
    error: Mapping[str, Any] = field(default_factory=dict)
    holm_p_value: float = math.nan
    verdict: str = ""
    cautions: tuple[Caution, ...] = ()

    @property
    def found(self) -> bool:
        """Whether the report calls it beyond chance, after correction for all questions."""
        return self.reply is not None and self.reply.tested and self.holm_p_value <= self.question.alpha

    @property
    def findings(self) -> list[tuple[str, str, Finding]]:
        """Role (``primary`` or ``beside``), a word of what it is, and the finding."""
        if self.reply is None:
            return []
        own = [("primary", "", self.reply.primary)]
        return own + [("beside", what, finding) for what, finding in self.reply.beside]

    def rows(self) -> list[dict[str, Any]]:
        """Rows of ``answers.tsv``."""
        rows = []
        for role, what, finding in self.findings:
            record = {name: _known(value) for name, value in finding.as_record().items()}
            adjusted = self.holm_p_value if role == "primary" else math.nan
            start = {
                "question": self.question.name,
                "kind": self.question.kind,
                "role": role,
                "what": what,
                "holm_p_value": _known(adjusted),
            }
            rows.append(start | record)
        return rows


def _known(value: object) -> object:
    """NaN as None; an endless limit as the word, as JSON knows none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def answers_of(cohort: Cohort) -> tuple[Answer, ...]:
    """Answer every question that the study declared; one that cannot be answered says why.

    P values of the primary findings are adjusted for each other by Holm. What stands beside them decides
    nothing.
    """
    plain = [_answer(cohort, question) for question in cohort.declared.questions]
    tested = [one.reply is not None and one.reply.tested for one in plain]
    p_values = [
        one.reply.primary.p_value if counts and one.reply is not None else math.nan
        for one, counts in zip(plain, tested, strict=True)
    ]
    if not p_values:
        return ()
    adjusted = holm(p_values)
    return tuple(
        dataclasses.replace(one, holm_p_value=float(p), verdict=_verdict(one, float(p), adjusted.n))
        for one, p in zip(plain, adjusted.adjusted, strict=True)
    )


def _answer(cohort: Cohort, question: AnyQuestion) -> Answer:
    text, cautions = _words(question)
    try:
        reply = _REPLIES[question.kind](cohort, question)
    except ImgTheranosticsError as error:
        return Answer(
            question, text, None, {"type": type(error).__name__, **error.parts()}, cautions=cautions
        )
    except ValueError as error:
        # a statistic that was given columns it is not made for says so in one sentence
        return Answer(question, text, None, {"type": "ValueError", "what": str(error)}, cautions=cautions)
    findings = (reply.primary.warnings, *(finding.warnings for _, finding in reply.beside))
    return Answer(question, text, reply, cautions=merge_cautions(cautions, reply.cautions, *findings))


def _words(question: AnyQuestion) -> tuple[str, tuple[Caution, ...]]:
    """The question as its author put it, unless that says more than an association can."""
    if question.text is None:
        return default_text(question), ()
    claims = claims_beyond_association(question.text)
    if not claims:
        return question.text, ()
    told = f"the question's own words claim too much ({'; '.join(claims)}) and are not repeated"
    return default_text(question), (Caution("claim-withheld", told, question.name),)


def _verdict(answer: Answer, p_value: float, n_tested: int) -> str:
    reply, alpha = answer.reply, answer.question.alpha
    if reply is None:
        return "Not answered."
    if not reply.tested or math.isnan(p_value):
        return reply.agreed or "Not a test: the estimate and its interval are the answer."
    after = f" after correction for {n_tested} questions (Holm)" if n_tested > 1 else ""
    if p_value <= alpha:
        found = f"Beyond chance at {100 * alpha:g} %{after}."
        return f"{found} {reply.agreed}".strip()
    if reply.agreed:
        return f"Not beyond chance at {100 * alpha:g} %{after}. {reply.agreed}"
    question = answer.question
    outcome = question.kind in ("association", "survival") or (
        isinstance(question, Mixed) and not question.of_groups
    )
    return (
        f"Not beyond chance at {100 * alpha:g} %{after}. {NOTHING_FOUND if outcome else EQUIVALENCE_NEEDED}"
    )


def forest_of(answers: Sequence[Answer]) -> Shown | None:
    """Primary findings that are ratios or correlations, in one figure; None for fewer than two."""
    rows = []
    for one in answers:
        if one.reply is None:
            continue
        finding = one.reply.primary
        scale = _scale(finding)
        if scale and finding.estimate == finding.estimate:
            rows.append(ForestRow(one.question.name, finding.estimate, *finding.interval, finding.n, scale))
    return Shown("forest", "All questions at one glance", Forest(tuple(rows))) if len(rows) > 1 else None


def _scale(finding: Finding) -> str:
    if "ratio" in finding.measure and finding.estimate > 0.0:
        return "ratio"
    words = ("rho", "Pearson", "correlation")
    return "correlation" if any(word in finding.measure for word in words) else ""
