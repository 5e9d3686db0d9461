"""What a report says beyond an estimate: verdicts, p values and intervals, each as yes or no.

Over many null twins the share of yes is the rate of false findings of what the report prints.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from imgtheranostics.study.answers import Answer
from imgtheranostics.study.findings import Finding
from imgtheranostics.study.intervals import BinomialInterval, binomial_interval

Kind = Literal["verdict", "p value", "interval", "equivalence"]
ANY = "any question"

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")
_UNNUMBERED = re.compile(r" \(\d+\)$")
_TOGETHER = "(Holm)"
"""In the method of findings whose p values are adjusted for each other."""
_NO_EFFECT: tuple[tuple[str, float], ...] = (
    ("area under", 0.5),
    ("ratio", 1.0),
    ("rho", 0.0),
    ("Pearson", 0.0),
    ("correlation", 0.0),
    ("difference", 0.0),
    ("bias", 0.0),
)


@dataclass(frozen=True)
class Said:
    """One statement of a report.

    Attributes
    ----------
    question : str
    what : str
        Which finding of the answer: ``primary``, or what stands beside it, numbered where that repeats.
    kind : {"verdict", "p value", "interval", "equivalence"}
        The sentence that decides a question; a p value as printed, at most the level (of those that are
        adjusted for each other, any); an interval that leaves out what no effect would be; a test of
        equivalence that is passed.
    """

    question: str
    what: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.question}: {self.what}, {self.kind}"


def said(answers: Sequence[Answer]) -> dict[Said, bool]:
    """Every statement of a report and whether it speaks of an effect; what is not answered says nothing.

    Parameters
    ----------
    answers : sequence of Answer
        Of one study. Its verdicts are corrected for each other: ``any question`` is their sum.
    """
    found: dict[Said, bool] = {}
    for answer in answers:
        name, alpha = answer.question.name, answer.question.alpha
        if answer.reply is not None and answer.reply.tested:
            found[Said(name, "primary", "verdict")] = answer.found
        for what, finding in _numbered(answer):
            small = finding.p_value <= alpha
            if what.startswith("equivalence"):
                found[Said(name, what, "equivalence")] = small
            elif _TOGETHER in finding.method:
                together = Said(name, f"{_UNNUMBERED.sub('', what)}, any of them", "p value")
                found[together] = found.get(together, False) or small
            elif not math.isnan(finding.p_value):
                found[Said(name, what, "p value")] = small
            none = no_effect(finding)
            if none is not None and not math.isnan(finding.interval.low + finding.interval.high):
                found[Said(name, what, "interval")] = finding.interval.excludes(none)
    verdicts = [yes for one, yes in found.items() if one.kind == "verdict"]
    if len(verdicts) > 1:
        found[Said(ANY, "primary", "verdict")] = any(verdicts)
    return found


def counted(reports: Sequence[dict[Said, bool]], level: float = 0.95) -> dict[Said, BinomialInterval]:
    """How often each statement was yes, of the reports that made it, with its exact interval."""
    made = Counter(one for report in reports for one in report)
    yes = Counter(one for report in reports for one, spoke in report.items() if spoke)
    return {one: binomial_interval(yes[one], total, level) for one, total in made.items()}


def no_effect(finding: Finding) -> float | None:
    """The value of a finding without any effect; None where there is no such value."""
    measure = finding.measure
    if measure.startswith(("partial eta", "share", "repeatability", "median")):
        return None
    places = [(measure.find(words), value) for words, value in _NO_EFFECT if words in measure]
    return min(places)[1] if places else None


def _numbered(answer: Answer) -> Iterator[tuple[str, Finding]]:
    """Findings under names that are the same in all twins: numbers in words differ between them."""
    seen: Counter[str] = Counter()
    for role, what, finding in answer.findings:
        name = _NUMBER.sub("#", what) or role
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name} ({seen[name]})"), finding
