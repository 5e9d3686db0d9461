"""What a study holds: subjects with their sessions and scans, and the analyses that are done to them.

A manifest names files and says what they are; it holds no result. Everything that decides a number stands in
it, so that a study can be repeated from the manifest and the scans alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.study.manifest_parts import Label, Name, Part, Text, amount_in
from imgtheranostics.study.particle import Particle
from imgtheranostics.study.questions import Question

EVERY_SESSION = "*"
"""In ``role@*``: the scans of a role from all sessions, in the order of their dates."""

AlignModel = Literal["rigid", "affine", "bspline", "translation", "position"]

_ROLE = r"[a-z][a-z0-9_-]*"
_REFERENCE = re.compile(rf"({_ROLE})(?:@([A-Za-z0-9*]+))?$")


Role = Annotated[str, StringConstraints(pattern=rf"^{_ROLE}$", max_length=64)]
ActivityBq = Annotated[float, Field(ge=0), amount_in("Bq")]
MassKg = Annotated[float, Field(gt=0), amount_in("kg")]
TimeS = Annotated[float, Field(ge=0), amount_in("s")]
LengthM = Annotated[float, Field(gt=0), amount_in("m")]
MassMg = Annotated[float, Field(gt=0), amount_in("mg")]
MgPerKg = Annotated[float, Field(gt=0), amount_in("mg/kg")]


class Administration(Part):
    """What was injected; overrides what the files say. Amounts are written with their unit.

    The injection was `at` a moment, or the `delay` before the start of the scan, for files without clocks.
    The injected particles weigh `mass`, or `mass_per_weight` times the body weight: of it an uptake becomes a
    concentration in mg/mL.
    """

    activity: ActivityBq | None = None
    at: datetime | None = None
    delay: TimeS | None = None
    nuclide: Text | None = None
    residual: ActivityBq | None = None
    residual_at: datetime | None = None
    infiltrated: ActivityBq | None = None
    relative_uncertainty: Annotated[float, Field(ge=0, le=1)] | None = None
    mass: MassMg | None = None
    mass_per_weight: MgPerKg | None = None

    @model_validator(mode="after")
    def _one_moment(self) -> Administration:
        if self.at is not None and self.delay is not None:
            raise PydanticCustomError("moment", "either at or delay")
        if self.mass is not None and self.mass_per_weight is not None:
            raise PydanticCustomError("mass", "either mass or mass_per_weight")
        return self


class Scan(Part):
    """One scan: a file or folder relative to the manifest, and the series where there are several."""

    path: Text
    series: Text | None = None


def _scan(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


ScanEntry = Annotated[Scan, BeforeValidator(_scan)]


class DrawnRegions(Part):
    """Regions and the scan that they were drawn on.

    Attributes
    ----------
    path : str
        Relative to the manifest.
    drawn_on : str, optional
        Role of that scan in its session; scans on other grids get the regions resampled, and scans of
        other sessions by registration. Without it, the regions fit every scan as they are.
    """

    path: Text
    drawn_on: Role | None = None


def _regions(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


RegionsEntry = Annotated[DrawnRegions, BeforeValidator(_regions)]


class Session(Part):
    """One visit of a subject.

    Attributes
    ----------
    id : str
    date : datetime
        When it began: sessions are ordered by it, and no session goes without.
    scans : mapping of role to Scan
        Roles are words of the study's choice, such as ``pet``, ``ct``, ``pre``, ``post``, ``fraction-3``.
    regions : DrawnRegions, optional
        Without, the nearest earlier session's are carried over by registration.
    """

    id: Label
    date: datetime
    scans: dict[Role, ScanEntry] = Field(min_length=1)
    regions: RegionsEntry | None = None
    administration: Administration | None = None


class Subject(Part):
    """One animal or patient; `covariates` are numbers for the statistics, each named with its
    unit, and `factors` words, such as ``targeting: active``.
    """

    id: Label
    group: Text = ""
    species: Text | None = None
    sex: Literal["M", "F", "O"] | None = None
    weight: MassKg | None = None
    height: LengthM | None = None
    covariates: dict[Name, float] = Field(default={})
    factors: dict[Name, Text] = Field(default={})
    sessions: tuple[Session, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _once(self) -> Subject:
        refuse_repeated((session.id for session in self.sessions), f"sessions of {self.id}")
        if len({one.date.tzinfo is None for one in self.sessions}) > 1:
            raise PydanticCustomError("zone", "all dates of a subject with a time zone, or none")
        own = {"participant_id", "group", "species", "sex", "weight"}
        refuse_repeated((*own, *self.covariates, *self.factors), f"names of what is known of {self.id}")
        return self

    @property
    def in_time(self) -> tuple[Session, ...]:
        """The sessions in the order of their dates."""
        return tuple(sorted(self.sessions, key=lambda session: (session.date, session.id)))


class ScanReference(Part):
    """As an option's value: the path of a scan, such as the CT that belongs to a PET."""

    scan: str = Field(pattern=_REFERENCE.pattern)


class FileReference(Part):
    """As an option's value: a file relative to the manifest, such as a table of blood samples."""

    file: Text


Plain = bool | int | float | str
OptionValue = ScanReference | FileReference | Plain | list[Plain | FileReference]


class Analysis(Part):
    """One command, done to the scans of a session, or of all sessions of a subject.

    Attributes
    ----------
    name : str
        Of the folder and the rows of results.
    command : str
        As on the command line, such as ``nuclear uptake`` or ``ct retention``.
    scans : tuple of str
        Roles of its arguments in order. ``role`` is that of each session that has all of them;
        ``role@id`` is that of one session and ``role@*`` of all, and then the analysis is done once per
        subject.
    options : mapping
        Long options of the command without their dashes; ``{scan: role}`` is the path of a scan, and
        ``{file: path}`` that of another file.
    align : mapping of role to role, optional
        Scans that are brought onto another scan of the session before.
    align_model : {"rigid", "affine", "bspline", "translation", "position"}
        How: ``position`` goes by the scanner's coordinates alone, as of a PET/CT.
    carry : {"position", "rigid", "affine", "bspline", "translation"}
        How regions come from the scan that they were drawn on to the first scan of the analysis: as they lie
        in the scanner's coordinates, or by registration of the two scans, as where a subject was moved from
        one scanner to the other.
    """

    name: Name
    command: Annotated[str, StringConstraints(pattern=r"^[a-z]+ [a-z][a-z0-9-]*$")]
    scans: tuple[Annotated[str, Field(pattern=_REFERENCE.pattern)], ...] = Field(min_length=1)
    options: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")], OptionValue] = Field(
        default={}
    )
    align: dict[Role, Role] = Field(default={})
    align_model: AlignModel = "rigid"
    carry: AlignModel = "position"

    @property
    def references(self) -> tuple[tuple[str, str | None], ...]:
        """Role and session of every scan that the analysis reads, its arguments first."""
        named = [one.scan for one in self.options.values() if isinstance(one, ScanReference)]
        return tuple(split_reference(text) for text in (*self.scans, *named))

    @property
    def per_subject(self) -> bool:
        """Whether it is done once for a subject, as its scans name their sessions."""
        return any(session is not None for _, session in self.references)

    @model_validator(mode="after")
    def _one_kind(self) -> Analysis:
        own = [session is None for _, session in self.references]
        if any(own) and not all(own):
            raise PydanticCustomError(
                "sessions", "a session for every scan or for none: role@session, or role alone"
            )
        return self


def split_reference(text: str) -> tuple[str, str | None]:
    """Role and session of ``role`` or ``role@session``.

    >>> split_reference("pet@d1"), split_reference("ct")
    (('pet', 'd1'), ('ct', None))
    """
    match = _REFERENCE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no reference to a scan")
    return match[1], match[2]


class Analyses(Part):
    """What a manifest that is a table does not hold; keys as of `Study`, paths relative to the table."""

    analyses: tuple[Analysis, ...] = Field(min_length=1)
    outcomes: Text | None = None
    questions: tuple[Question, ...] = ()
    particle: Particle | None = None
    measured: Literal["label", "carrier", "drug"] | None = None
    control_arm: bool = False


class Study(Part):
    """A whole study.

    Attributes
    ----------
    study : str
        Its name.
    agent : str, optional
        Record of the nanoparticle.
    particle : Particle, optional
        What it carries, so that several modalities can be compared as one concentration.
    subjects : tuple of Subject
    analyses : tuple of Analysis
        In the order in which they are done.
    outcomes : str, optional
        Table of outcomes, relative to the manifest: ``subject`` and any of ``response``, ``time``, ``event``.
    questions : tuple of Question
        What the study asks, declared before results are seen; see `imgtheranostics.study.questions`.
    measured : {"label", "carrier", "drug"}, optional
        What the images show.
    control_arm : bool
        Whether there are subjects without the particle.
    """

    study: Text
    agent: Text | None = None
    particle: Particle | None = None
    subjects: tuple[Subject, ...] = Field(min_length=1)
    analyses: tuple[Analysis, ...] = ()
    outcomes: Text | None = None
    questions: tuple[Question, ...] = ()
    measured: Literal["label", "carrier", "drug"] | None = None
    control_arm: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        refuse_repeated((subject.id for subject in self.subjects), "subjects")
        refuse_repeated((analysis.name for analysis in self.analyses), "analyses")
        roles = set(self.roles())
        for analysis in self.analyses:
            for role, _ in analysis.references:
                if role not in roles:
                    raise PydanticCustomError(
                        "role",
                        "{name}: no session has a scan {role}; there are {known}",
                        {"name": analysis.name, "role": role, "known": ", ".join(sorted(roles))},
                    )
        refuse_repeated((question.name for question in self.questions), "questions")
        for question in self.questions:
            for what, named, known in self._named_by(question):
                if named not in known:
                    raise PydanticCustomError(
                        "question",
                        "{name}: there is no {what} {named}; there are {known}",
                        {"name": question.name, "what": what, "named": named, "known": ", ".join(known)},
                    )
        return self

    def _named_by(self, question: Question) -> Iterator[tuple[str, str, list[str]]]:
        """What a question names, and what there is of its kind; outcomes are not read here."""
        analyses = [one.name for one in self.analyses]
        sessions = sorted({session.id for one in self.subjects for session in one.sessions})
        groups = sorted({one.group for one in self.subjects if one.group})
        covariates = sorted({name for one in self.subjects for name in one.covariates})
        factors = sorted({name for one in self.subjects for name in one.factors})
        for kind, names in question.names():
            known = {
                # the analyses of a manifest that is a table are given beside it
                "analysis": analyses or [names],
                "session": sessions,
                "group": groups,
                "covariate": covariates if self.outcomes is None else [*covariates, names],
                "factor": [*factors, *covariates, "group", "sex", "species"],
                "outcome": [names] if self.outcomes is not None else [],
            }[kind]
            yield ("table of outcomes with" if kind == "outcome" else kind), names, known

    def roles(self) -> Iterator[str]:
        """Roles of all scans, again and again."""
        for subject in self.subjects:
            for session in subject.sessions:
                yield from session.scans

    @property
    def n_scans(self) -> int:
        """How many scans there are."""
        return sum(1 for _ in self.roles())


def refuse_repeated(labels: Iterable[str], what: str) -> None:
    """A pydantic error when a label stands twice."""
    twice = sorted(label for label, count in Counter(labels).items() if count > 1)
    if twice:
        raise PydanticCustomError(
            "repeated", "{what}: each once, but repeated: {twice}", {"what": what, "twice": ", ".join(twice)}
        )


def absolute(path: str, manifest: Path) -> Path:
    """A path of the manifest, which is relative to its folder."""
    given = Path(path)
    return given if given.is_absolute() else manifest.parent / given
