"""What a study declared before its results were seen, kept beside them: its questions and its outcomes.

The report is made from the folder of results alone, with the questions that the study was run with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imgtheranostics._version import VERSION
from imgtheranostics.errors import CorruptInput, NothingUsable
from imgtheranostics.io.atomic import write_text
from imgtheranostics.report.plain import as_json
from imgtheranostics.study.counting import counted_by
from imgtheranostics.study.manifest import Study, absolute
from imgtheranostics.study.manifest_parts import Part
from imgtheranostics.study.outcomes import OUTCOMES_FILE, outcome_text
from imgtheranostics.study.particle import Particle
from imgtheranostics.study.questions import Question

DECLARED_FILE = "study.json"


class _Questions(Part):
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Declared:
    """What a study declared.

    Attributes
    ----------
    study : str
    agent : str
        Empty where none is named.
    measured : str
        ``label``, ``carrier``, ``drug``, or empty.
    control_arm : bool
    questions : tuple of Question
    hours : mapping of (subject, session) to float
        When each session began.
    time_origin : str
        ``injection``, or ``first session`` where a session does not say when it was.
    particle : Particle, optional
    injected_mg : mapping of (subject, session) to float
        Mass of the particles that were injected, where it is known.
    commands, counts : mapping of str to str
        By analysis: its command, and what its concentrations count as far as its options say.
    """

    study: str
    agent: str
    measured: str
    control_arm: bool
    questions: tuple[Question, ...]
    hours: Mapping[tuple[str, str], float]
    time_origin: str
    particle: Particle | None = None
    injected_mg: Mapping[tuple[str, str], float] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, str] = field(default_factory=dict)


def outcomes_of(study: Study, manifest: Path) -> str:
    """The table of outcomes as it is kept beside the results; empty where a study has none.

    Raises
    ------
    NothingUsable, CorruptInput, MissingMetadata, UnsupportedInput
        As `imgtheranostics.study.outcomes.outcome_text`.
    """
    if study.outcomes is None:
        return ""
    wanted = {name for question in study.questions for name in question.columns()}
    return outcome_text(absolute(study.outcomes, manifest), wanted)


def write_declared(output: Path, study: Study, outcomes: str) -> None:
    """Write ``study.json`` and ``outcomes.tsv`` into the folder of results; no date is in them."""
    origin, hours = _hours(study)
    injected = _injected_mg(study)
    content: dict[str, Any] = {
        "study": study.study,
        "version": VERSION,
        "agent": study.agent,
        "measured": study.measured,
        "control_arm": study.control_arm,
        "time_origin": origin,
        "sessions": [
            {"subject": subject, "session": session, "hours": value}
            | ({"injected_mg": injected[subject, session]} if (subject, session) in injected else {})
            for (subject, session), value in hours.items()
        ],
        "analyses": [
            {"name": one.name, "command": one.command, "counts": counted_by(one, study.agent)}
            for one in study.analyses
        ],
        "questions": [one.model_dump(mode="json", exclude_defaults=True) for one in study.questions],
    }
    if study.particle is not None:
        content["particle"] = study.particle.model_dump(mode="json", exclude_defaults=True)
    write_text(output / DECLARED_FILE, as_json(content))
    if outcomes:
        write_text(output / OUTCOMES_FILE, outcomes)
    else:
        (output / OUTCOMES_FILE).unlink(missing_ok=True)


def read_declared(output: Path) -> Declared:
    """What the study declared whose results lie in the folder.

    Raises
    ------
    NothingUsable
        If the folder holds no results of ``study run``.
    CorruptInput
        If the file is not what this package writes.
    """
    file = output / DECLARED_FILE
    if not file.is_file():
        raise NothingUsable(
            "the folder holds no study with its questions",
            where=str(output),
            needed=f"a {DECLARED_FILE}, as study run writes it",
            next_step="run study run again: what is done is kept",
        )
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        questions = _Questions.model_validate({"questions": content["questions"]}).questions
        hours = {
            (str(one["subject"]), str(one["session"])): float(one["hours"]) for one in content["sessions"]
        }
        return Declared(
            study=str(content["study"]),
            agent=content["agent"] or "",
            measured=content["measured"] or "",
            control_arm=bool(content["control_arm"]),
            questions=questions,
            hours=hours,
            time_origin=str(content["time_origin"]),
            particle=Particle.model_validate(content["particle"]) if "particle" in content else None,
            injected_mg={
                (str(one["subject"]), str(one["session"])): float(one["injected_mg"])
                for one in content["sessions"]
                if "injected_mg" in one
            },
            commands={str(one["name"]): str(one["command"]) for one in content.get("analyses", ())},
            counts={str(one["name"]): str(one["counts"]) for one in content.get("analyses", ())},
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise CorruptInput(
            "what the study declared cannot be read",
            where=str(file),
            found=type(error).__name__,
            next_step="run study run again: what is done is kept",
        ) from error


def _hours(study: Study) -> tuple[str, dict[tuple[str, str], float]]:
    """Hours from the injection where all sessions say when it was, else from each subject's first session."""
    injected = all(
        session.administration is not None
        and session.administration.at is not None
        and (session.administration.at.tzinfo is None) == (session.date.tzinfo is None)
        for subject in study.subjects
        for session in subject.sessions
    )
    hours = {}
    for subject in study.subjects:
        first = subject.in_time[0].date
        for session in subject.in_time:
            given = session.administration
            start = given.at if injected and given is not None and given.at is not None else first
            hours[subject.id, session.id] = round((session.date - start).total_seconds() / 3600.0, 4)
    return ("injection" if injected else "first session"), hours


def _injected_mg(study: Study) -> dict[tuple[str, str], float]:
    """Mass of the injected particles of each session that states it, of itself or with the body weight."""
    found = {}
    for subject in study.subjects:
        for session in subject.sessions:
            given = session.administration
            if given is None:
                continue
            if given.mass is not None:
                found[subject.id, session.id] = given.mass
            elif given.mass_per_weight is not None and subject.weight is not None:
                found[subject.id, session.id] = given.mass_per_weight * subject.weight
    return found
