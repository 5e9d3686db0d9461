"""A manifest proposed from a folder: what headers say, and a question for what they cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from imgtheranostics.errors import ImgTheranosticsError, NothingUsable
from imgtheranostics.io.bids_tables import Participant, read_participants, unused_columns
from imgtheranostics.io.survey import UNREADABLE, Choices, FoundSeries, LeftOut, Survey, survey
from imgtheranostics.study.manifest import Analysis
from imgtheranostics.study.outcomes import OutcomeColumns, outcome_columns
from imgtheranostics.study.proposal_analyses import fitting_analyses
from imgtheranostics.study.proposal_questions import ProposedQuestion, fitting_questions
from imgtheranostics.study.proposal_regions import RegionsOf, place_regions
from imgtheranostics.study.proposal_roles import RoleOf, bids_role, roles_of, telling_entities
from imgtheranostics.study.proposal_visits import Visit, visits_of

_MOST_REASONS = 5


@dataclass(frozen=True)
class Question:
    """What a person has to answer before the study can run.

    Attributes
    ----------
    subject, session : str
        Empty where the question is about more.
    about : str
        Key of the manifest.
    text : str
    choices : tuple of str
        Paths or descriptions that come into question.
    """

    subject: str
    session: str
    about: str
    text: str
    choices: tuple[str, ...] = ()


@dataclass
class ProposedSession:
    """One session: scans by role, regions, and what is not known of the injection."""

    id: str
    begin: datetime | None = field(default=None, repr=False)
    scans: list[RoleOf] = field(default_factory=list)
    regions: RegionsOf | None = None
    no_injection: tuple[str, ...] = ()


@dataclass
class ProposedSubject:
    """One subject; `id` is empty where nothing tells who it is, `several` where it may be more than one."""

    id: str
    person: Participant
    sessions: list[ProposedSession]
    several: bool = False


@dataclass(frozen=True)
class Proposal:
    """A manifest with its open questions.

    Attributes
    ----------
    name : str
    root : Path
        The folder that was looked through.
    subjects : list of ProposedSubject
    analyses : tuple of Analysis
        That fit the roles.
    outcomes : Path or None
    left_out : tuple of LeftOut
    questions : tuple of Question
    notes : tuple of str
        What to know, which no answer is needed for.
    asks : tuple of ProposedQuestion
        That the study may ask of its results, as they fit groups and outcomes.
    """

    name: str
    root: Path
    subjects: list[ProposedSubject]
    analyses: tuple[Analysis, ...]
    outcomes: Path | None
    left_out: tuple[LeftOut, ...]
    questions: tuple[Question, ...]
    notes: tuple[str, ...]
    asks: tuple[ProposedQuestion, ...] = ()

    @property
    def n_scans(self) -> int:
        """Roles of all sessions, those with a question included."""
        return sum(len(session.scans) for subject in self.subjects for session in subject.sessions)


def propose(folder: str | Path, *, workers: int = 8) -> Proposal:
    """A manifest for the scans of a folder tree or BIDS dataset, from headers alone.

    Every series is found once: with its role, as a candidate of a question, or left out with the reason.
    Subjects are labels of BIDS, pseudonyms of PatientID, or names of folders.

    Parameters
    ----------
    folder : path
    workers : int
        Files that are read at a time.

    Raises
    ------
    NothingUsable
        If it is no folder, or holds no scans.
    CorruptInput, ImplausibleValue
        If a table of the dataset cannot be read.
    """
    held = survey(folder, workers=workers)
    if not held.series:
        reasons = list(dict.fromkeys(f"{one.path.name}: {one.reason}" for one in held.left_out))
        raise NothingUsable(
            "the folder holds no scan that a study can use",
            where=str(held.root),
            found="; ".join(reasons[:_MOST_REASONS]) or f"{len(held.regions)} files of regions",
            needed="at least one image series",
        )
    people = read_participants(held.root) if held.is_bids else {}
    by_subject: dict[str, list[FoundSeries]] = defaultdict(list)
    for one in held.series:
        by_subject[one.subject].append(one)
    visits = {subject: visits_of(members) for subject, members in by_subject.items()}
    telling = telling_entities([visit.series for several in visits.values() for visit in several])
    left = list(held.left_out)
    choices = Choices(held.every, held.root)
    subjects = []
    for label in sorted(visits):
        sessions = [_session(visit, choices, telling, left) for visit in visits[label]]
        person = people.get(label, Participant())
        subjects.append(ProposedSubject(label, person, sessions, _may_be_several(by_subject[label])))
    left += place_regions(subjects, held.regions)
    analyses = fitting_analyses(subjects)
    outcomes = _outcomes(held.root)
    columns, told = _columns(outcomes, subjects)
    asks = fitting_questions(subjects, analyses, _region_names(held), columns)
    name = held.root.resolve().name or "study"
    questions = tuple(_questions(subjects, held.root))
    notes = (*_notes(subjects, people), *told, *_damaged_folders(held))
    if held.is_bids and (unused := unused_columns(held.root)):
        notes += (f"columns of participants.tsv that may name people or remark on them: {', '.join(unused)}",)
    return Proposal(name, held.root, subjects, analyses, outcomes, _gathered(left), questions, notes, asks)


def _may_be_several(series: Sequence[FoundSeries]) -> bool:
    """Whether headers with one identifier contradict each other in name, birth date or sex."""
    stated = zip(*(one.person for one in series if one.person), strict=True)
    return any(len({value for value in column if value}) > 1 for column in stated)


def _session(
    visit: Visit, choices: Choices, telling: dict[str, tuple[str, ...]], left: list[LeftOut]
) -> ProposedSession:
    named = [one for one in visit.series if one.suffix]
    roles = _bids_roles(named, telling)
    other, dropped = roles_of([one for one in visit.series if not one.suffix], choices)
    taken = {one.role for one in roles}
    roles += [one for one in other if one.role not in taken]
    left += [LeftOut(one.path, reason) for one, reason in dropped]
    lacking = {name for one in visit.series for name in one.no_injection}
    order = ("activity", "at", "nuclide")
    return ProposedSession(
        id=visit.label,
        begin=visit.begin,
        scans=sorted(roles, key=lambda one: one.role),
        no_injection=tuple(name for name in order if name in lacking),
    )


def _bids_roles(named: Sequence[FoundSeries], telling: dict[str, tuple[str, ...]]) -> list[RoleOf]:
    by_role: dict[str, list[FoundSeries]] = defaultdict(list)
    for one in named:
        by_role[bids_role(one, telling)].append(one)
    return [
        RoleOf(role, several[0])
        if len(several) == 1
        else RoleOf(
            role, None, "", f"{len(several)} series have the same names: which is it?", tuple(several)
        )
        for role, several in by_role.items()
    ]


def _questions(subjects: Sequence[ProposedSubject], root: Path) -> list[Question]:
    found: list[Question] = []
    for subject in subjects:
        if not subject.id:
            text = "whose scans are these? neither headers nor folders tell; split them by subject"
            found.append(Question("", "", "id", text))
        if subject.several:
            text = "one PatientID, but different names, birth dates or sexes: one subject or several?"
            found.append(Question(subject.id, "", "id", text))
        if "weight" in subject.person.unsure:
            text = "participants.tsv states no unit of the weight; it was taken for kg: is it?"
            found.append(Question(subject.id, "", "weight", text))
        for session in subject.sessions:
            found += _session_questions(subject.id, session, root)
    return found


def _session_questions(subject: str, session: ProposedSession, root: Path) -> list[Question]:
    found = []
    if session.begin is None:
        text = "when was it? no header or table says; sessions are ordered by their dates"
        found.append(Question(subject, session.id, "date", text))
    for one in session.scans:
        if one.question:
            choices = tuple(shown(candidate, root) for candidate in one.candidates)
            found.append(Question(subject, session.id, f"scans.{one.role}", one.question, choices))
    if session.regions is not None and session.regions.question:
        choices = tuple(_below(one.path, root) for one in session.regions.candidates)
        about = "regions.drawn_on" if session.regions.path is not None else "regions"
        found.append(Question(subject, session.id, about, session.regions.question, choices))
    if session.no_injection:
        words = {"activity": "how much", "at": "when", "nuclide": "which nuclide"}
        text = "what was injected? not known: " + ", ".join(words[name] for name in session.no_injection)
        found.append(Question(subject, session.id, "administration", text))
    return found


def shown(one: FoundSeries, root: Path) -> str:
    """Where a series is and what it is like, for people who choose."""
    series = f", series {one.series}" if one.series else ""
    return f"{_below(one.path, root)}{series} ({one.described})"


def _below(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _notes(subjects: Sequence[ProposedSubject], people: dict[str, Participant]) -> list[str]:
    notes = []
    without = [one.id or "?" for one in subjects if not any(session.regions for session in one.sessions)]
    if 0 < len(without) < len(subjects):
        notes.append(f"no regions for {len(without)} of {len(subjects)} subjects: {', '.join(without[:10])}")
    elif without:
        notes.append("no regions were found; most analyses need them, or --rois")
    absent = sorted(set(people) - {one.id for one in subjects})
    if absent:
        notes.append(f"participants without scans: {', '.join(absent[:10])}")
    strangers = sorted({one.id for one in subjects} - set(people)) if people else []
    if strangers:
        notes.append(f"scans of subjects that participants.tsv does not have: {', '.join(strangers[:10])}")
    return notes


def _damaged_folders(held: Survey) -> list[str]:
    """Folders whose scans are refused as long as a file that cannot be read lies among them."""
    scans = {one.path for one in held.series if one.kind == "dicom" and one.path.is_dir()}
    bad = [one.path for one in held.left_out if one.reason.startswith(UNREADABLE)]
    names = sorted({_below(path, held.root) for path in bad if scans & set(path.parents)})
    return [f"as long as {name} lies there, scans of its folder are refused" for name in names]


def _outcomes(root: Path) -> Path | None:
    """A table of outcomes in the folder itself."""
    for name in ("outcomes.tsv", "outcomes.csv"):
        if (root / name).is_file():
            return root / name
    return None


def _region_names(held: Survey) -> list[str]:
    return list(dict.fromkeys(name for one in held.regions for name in one.names))


def _columns(
    outcomes: Path | None, subjects: Sequence[ProposedSubject]
) -> tuple[OutcomeColumns | None, list[str]]:
    """What the table of outcomes holds, and what does not fit the subjects; no label of it is repeated."""
    if outcomes is None:
        return None, []
    try:
        found = outcome_columns(outcomes)
    except ImgTheranosticsError as error:
        return None, [f"{outcomes.name} will be refused: {error.what}"]
    strangers = found.subjects - {one.id for one in subjects}
    if not strangers:
        return found, []
    return found, [
        f"{outcomes.name}: {len(strangers)} of {len(found.subjects)} subjects have no scans under that name; "
        "its column subject needs the ids of this manifest"
    ]


def _gathered(left: Sequence[LeftOut]) -> tuple[LeftOut, ...]:
    """One entry for each place and reason."""
    counts: dict[tuple[Path, str], int] = {}
    for one in left:
        counts[one.path, one.reason] = counts.get((one.path, one.reason), 0) + one.files
    return tuple(LeftOut(path, reason, count) for (path, reason), count in sorted(counts.items()))
