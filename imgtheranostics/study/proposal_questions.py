"""Questions that fit the analyses, groups and outcomes of a proposed manifest, for people who choose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from imgtheranostics.study.manifest import Analysis, split_reference
from imgtheranostics.study.manifest_files import OPEN
from imgtheranostics.study.outcomes import TIME_UNIT, OutcomeColumns

if TYPE_CHECKING:
    from imgtheranostics.study.proposal import ProposedSubject

_QUANTITIES = {
    "mri t1": "t1",
    "mri t2": "t2",
    "mri t2star": "t2star",
    "mri enhancement": "enhancement",
    "ct enhancement": "delta_attenuation",
    "cest contrast": "mtr_asym",
    "msot oxygenation": "so2",
    "ultrasound enhancement": "echo_enhancement",
}
"""Commands whose tables have one number per region that questions are mostly about."""
_TARGET = re.compile(r"tumou?r|lesion|metasta|target|plaque|graft", re.IGNORECASE)
_DRIVER = re.compile(r"dose|activity|volume|mass")
"""Covariates that may drive uptake and outcome both."""
_NUMBERED = re.compile(r"[ _-]?[0-9]+$")
_MOST_NAMED = 8
_LONGEST = 64
_SUMMARIES = "mean, median or maximum of a subject's lesions"


@dataclass(frozen=True)
class ProposedQuestion:
    """A question that the study may ask.

    Attributes
    ----------
    values : mapping
        As the manifest has them; ``ask`` where only a person can say it.
    choices : mapping of str to str
        What comes into question for those, by key.
    """

    values: Mapping[str, Any]
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Measure:
    """What of an analysis is asked about: its keys, and what comes into question for the open ones."""

    analysis: Analysis
    quantity: str
    sessions: tuple[str, ...]
    several_sessions: bool
    region: str
    regions: tuple[str, ...]

    def question(
        self, kind: str, name: str, *, all_sessions: bool = False, **values: Any
    ) -> ProposedQuestion:
        own, choices = self.keys(all_sessions=all_sessions)
        title = f"{self.analysis.name}-{name}"[:_LONGEST].strip("-")
        return ProposedQuestion({"name": title, "kind": kind, **own, **values}, choices)

    def keys(self, *, all_sessions: bool = False) -> tuple[dict[str, str], dict[str, str]]:
        """Keys of `imgtheranostics.study.questions.Measure`."""
        found = {"quantity": self.quantity, "analysis": self.analysis.name, "region": self.region}
        choices = {}
        if self.region == OPEN:
            choices["region"] = _listed(self.regions) or "a name of the regions"
        if self.region.endswith("*"):
            found["lesions"] = OPEN
            choices["lesions"] = _SUMMARIES
        if self.several_sessions and not self.analysis.per_subject:
            if all_sessions:
                found["session"] = "*"
            else:
                found["session"] = self.sessions[0] if len(self.sessions) == 1 else OPEN
            if found["session"] == OPEN:
                choices["session"] = _listed(self.sessions)
        return found, choices


def fitting_questions(
    subjects: Sequence[ProposedSubject],
    analyses: Sequence[Analysis],
    regions: Sequence[str],
    outcomes: OutcomeColumns | None,
) -> tuple[ProposedQuestion, ...]:
    """Questions about each analysis with a number per region.

    Differences of groups where there are several; crossed factors; association with a response and time to an
    event where the table of outcomes has them, adjusted for doses and volumes among the covariates; agreement
    of two analyses that give the same quantity; the share of subjects with a response. What only a person can
    say, such as the region, how lesions become one number and which session, is open.

    Parameters
    ----------
    subjects : sequence of ProposedSubject
    analyses : sequence of Analysis
    regions : sequence of str
        Names of all regions that were found.
    outcomes : OutcomeColumns or None
    """
    measures = [
        _measure(one, quantity, subjects, regions) for one in analyses if (quantity := _quantity(one))
    ]
    found: list[ProposedQuestion] = []
    for measure in measures:
        found += _of_groups(measure, subjects)
        if outcomes is not None:
            found += _of_outcomes(measure, subjects, outcomes)
    found += _agreements(measures)
    if outcomes is not None and "response" in outcomes.yes_or_no:
        found.append(ProposedQuestion({"name": "responders", "kind": "share", "outcome": "response"}))
    return tuple(found)


def _quantity(analysis: Analysis) -> str:
    if analysis.command == "nuclear uptake":
        asked = analysis.options.get("quantity")
        return str(asked[0]) if isinstance(asked, list) and asked else ""
    return _QUANTITIES.get(analysis.command, "")


def _measure(
    analysis: Analysis, quantity: str, subjects: Sequence[ProposedSubject], regions: Sequence[str]
) -> _Measure:
    roles = {split_reference(text)[0] for text in analysis.scans}
    labels: Counter[str] = Counter()
    most = 0
    for subject in subjects:
        own = [one.id for one in subject.sessions if roles <= {scan.role for scan in one.scans}]
        labels.update(own)
        most = max(most, len(own))
    sessions = tuple(sorted(labels))
    return _Measure(analysis, quantity, sessions, most > 1, *_region(regions))


def _region(regions: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The region that a study is mostly about, ``lesion*`` for several, or open; and all names."""
    stems: dict[str, list[str]] = {}
    for name in dict.fromkeys(regions):
        stems.setdefault(_NUMBERED.sub("", name) or name, []).append(name)
    names = [members[0] if len(members) == 1 else f"{stem}*" for stem, members in stems.items()]
    wanted = [name for name in names if _TARGET.search(name)]
    chosen = wanted if wanted else names
    return (chosen[0] if len(chosen) == 1 else OPEN), tuple(names)


def _of_groups(measure: _Measure, subjects: Sequence[ProposedSubject]) -> list[ProposedQuestion]:
    groups = sorted({one.person.group for one in subjects if one.person.group})
    found = []
    if len(groups) > 1:
        found.append(
            measure.question("group_difference", "between-groups", all_sessions=True, logarithmic=True)
        )
    crossed = _crossed(subjects)
    if crossed is not None:
        name = f"by-{crossed[0]}-and-{crossed[1]}".replace("_", "-")
        found.append(measure.question("factorial", name, factors=list(crossed)))
    return found


def _crossed(subjects: Sequence[ProposedSubject]) -> tuple[str, str] | None:
    """Two factors of which every combination of levels has a subject."""
    rows = [one.person.factors for one in subjects]
    names = sorted({name for row in rows for name in row})
    for first, second in combinations(names, 2):
        cells = {(row[first], row[second]) for row in rows if first in row and second in row}
        levels = [{cell[n] for cell in cells} for n in (0, 1)]
        if min(map(len, levels)) > 1 and len(cells) == len(levels[0]) * len(levels[1]):
            return first, second
    return None


def _of_outcomes(
    measure: _Measure, subjects: Sequence[ProposedSubject], outcomes: OutcomeColumns
) -> list[ProposedQuestion]:
    covariates = sorted({name for one in subjects for name in one.person.covariates})
    drivers = [name for name in covariates if _DRIVER.search(name)]
    adjust: dict[str, Any] = {"adjust": drivers} if drivers else {}
    found = []
    if "response" in outcomes.numeric:
        found.append(measure.question("association", "and-response", outcome="response", **adjust))
    if {"time", "event"} <= set(outcomes.numeric):
        asked = measure.question("survival", "and-time", **adjust)
        if TIME_UNIT not in outcomes.names:
            asked = ProposedQuestion(
                {**asked.values, "time_unit": OPEN}, {**asked.choices, "time_unit": "such as d, wk, mo, a"}
            )
        found.append(asked)
    return found


def _agreements(measures: Sequence[_Measure]) -> list[ProposedQuestion]:
    found = []
    for first, second in combinations(measures, 2):
        if first.quantity != second.quantity:
            continue
        (one, choices), (other, more) = first.keys(), second.keys()
        name = f"{first.analysis.name}-against-{second.analysis.name}"[:_LONGEST].strip("-")
        found.append(
            ProposedQuestion(
                {"name": name, "kind": "agreement", "first": one, "second": other}, {**choices, **more}
            )
        )
    return found


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
