"""The jobs of a study: each is one command line, done to files of one subject, with a folder of its own.

A study does nothing that the command line cannot do: what its jobs are is in the plan, and any of them can
be repeated by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from imgtheranostics.errors import ImgTheranosticsError, MissingMetadata, UnsupportedInput
from imgtheranostics.io.sidecar import dataset_root
from imgtheranostics.study.bids_names import RESERVED, Naming
from imgtheranostics.study.manifest import (
    EVERY_SESSION,
    Administration,
    AlignModel,
    Analysis,
    FileReference,
    Scan,
    ScanReference,
    Session,
    Study,
    Subject,
    absolute,
    split_reference,
)

ALIGN = "study align"
"""The command that brings one scan, and the regions drawn on it, onto another."""
CARRIED = "regions"
"""Folder of regions that were carried over from an earlier session."""
RIGID: AlignModel = "rigid"
POSITION: AlignModel = "position"
REGIONS_FILE = "regions.nii.gz"
MOVED_FILE = "moved.nii.gz"

_PER_SCAN = frozenset(("nuclear curves", "nuclear dose", "nuclear pairs"))
"""Commands whose ``--rois`` may be one file per scan, and whose ``--series`` is one for each."""
_SERIES = {"ct retention": ("series", "followup-series")}
"""Commands of several scans with their options for the series of the first, and of each further one."""
_THE_ONLY = "-"
"""In place of a series, where others are named: the scan has no other."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and its error as the command line prints it in JSON."""

    exit_code: int
    error: Mapping[str, object] | None = None


class Program(Protocol):
    """The command line, as the study sees it."""

    def options(self, command: str) -> frozenset[str] | None:
        """Long options of a command without their dashes; None where there is no such command."""

    def run(self, arguments: Sequence[str]) -> Outcome:
        """Do one command in this process."""


@dataclass(frozen=True)
class Option:
    """A long option without its dashes; the value of a switch is empty, and some values are paths."""

    name: str
    value: str = ""
    is_path: bool = False


@dataclass(frozen=True)
class Job:
    """One command line.

    Attributes
    ----------
    name : str
    folder : str
        Relative to the output, with slashes: ``sub-m01/ses-d1/uptake``.
    words : tuple of str
        The command, such as ``("nuclear", "uptake")``.
    arguments : tuple of str
        Its scans: absolute paths, or results of earlier jobs relative to the output, which begin with
        ``sub-``.
    options : tuple of Option
    after : tuple of str
        Folders of the jobs whose results it reads.
    """

    name: str
    folder: str
    words: tuple[str, ...]
    arguments: tuple[str, ...]
    options: tuple[Option, ...]
    after: tuple[str, ...] = ()

    def command_line(self, output: Path) -> list[str]:
        """Arguments of the program, without those that say where the result goes."""
        line = [*self.words, *(placed(path, output) for path in self.arguments)]
        for one in self.options:
            line.append(f"--{one.name}")
            if one.value:
                line.append(placed(one.value, output) if one.is_path else one.value)
        return line

    @property
    def reads(self) -> tuple[str, ...]:
        """Every file and folder that it reads, each once, as in `arguments`."""
        return tuple(dict.fromkeys((*self.arguments, *(one.value for one in self.options if one.is_path))))


@dataclass(frozen=True)
class SubjectJobs:
    """The jobs of one subject in the order in which they are done, or why there are none.

    `naming` is that of the maps of the whole study.
    """

    subject: str
    jobs: tuple[Job, ...] = ()
    error: ImgTheranosticsError | None = None
    naming: Naming = field(default=Naming())


def placed(path: str, output: Path) -> str:
    """A path of a job as this machine has it."""
    return str(output / path) if path.startswith("sub-") else path


def jobs_of(study: Study, manifest: Path, program: Program) -> list[SubjectJobs]:
    """What has to be done, subject by subject.

    A subject that lacks what its analyses need, such as a scan to carry regions over by, gets an error in
    place of jobs; the others go on.

    Raises
    ------
    UnsupportedInput
        If an analysis names a command or an option that there is not, is named as a folder of BIDS, or is
        done to no session at all.
    """
    for analysis in study.analyses:
        _check_command(analysis, program)
    found = [_subject_jobs(_Planner(study, subject, manifest, program)) for subject in study.subjects]
    done = {job.name for one in found for job in one.jobs}
    for analysis in study.analyses:
        if analysis.name not in done and not any(one.error for one in found):
            raise UnsupportedInput(
                "an analysis is done to no session",
                where=analysis.name,
                needed="a session with all of its scans: " + ", ".join(analysis.scans),
            )
    naming = _naming(study, found)
    return [replace(one, naming=naming) for one in found]


def _naming(study: Study, planned: Sequence[SubjectJobs]) -> Naming:
    """What the names of maps depend on; scans' datasets are numbered in the order of the jobs."""
    read = dict.fromkeys(path for one in planned for job in one.jobs for path in job.reads)
    folders = dict.fromkeys(Path(path).parent for path in read if not path.startswith("sub-"))
    roots = dict.fromkeys(str(root.absolute()) for root in map(dataset_root, folders) if root is not None)
    return Naming(
        tracer=study.agent or "",
        datasets=tuple((root, f"source{n or ''}") for n, root in enumerate(roots)),
    )


def _check_command(analysis: Analysis, program: Program) -> None:
    known = program.options(analysis.command)
    if known is None:
        raise UnsupportedInput("there is no such command", where=analysis.name, found=analysis.command)
    if analysis.name in RESERVED:
        raise UnsupportedInput(
            "an analysis is named as a folder of BIDS, which the study needs for its maps",
            where=analysis.name,
            next_step="give it another name, such as " + analysis.command.replace(" ", "-"),
        )
    for name in analysis.options:
        if name not in known:
            raise UnsupportedInput(
                f"{analysis.command} has no option --{name}",
                where=analysis.name,
                needed=", ".join(f"--{one}" for one in sorted(known)),
            )


def _subject_jobs(planner: _Planner) -> SubjectJobs:
    try:
        return SubjectJobs(planner.subject.id, tuple(planner.jobs()))
    except ImgTheranosticsError as error:
        return SubjectJobs(planner.subject.id, error=error)


class _Planner:
    """Jobs of one subject."""

    def __init__(self, study: Study, subject: Subject, manifest: Path, program: Program) -> None:
        self._study = study
        self.subject = subject
        self._manifest = manifest
        self._program = program
        self._sessions = {session.id: session for session in subject.in_time}
        self._made: dict[str, Job] = {}

    def jobs(self) -> list[Job]:
        for analysis in self._study.analyses:
            if analysis.per_subject:
                self._whole_subject(analysis)
                continue
            for session in self.subject.in_time:
                if all(role in session.scans for role, _ in analysis.references):
                    self._one_session(analysis, session)
        return list(self._made.values())

    def _one_session(self, analysis: Analysis, session: Session) -> None:
        self._add(analysis, [(role, session) for role, _ in map(split_reference, analysis.scans)], session)

    def _whole_subject(self, analysis: Analysis) -> None:
        scans: list[tuple[str, Session]] = []
        for role, label in map(split_reference, analysis.scans):
            if label == EVERY_SESSION:
                scans += [(role, session) for session in self.subject.in_time if role in session.scans]
            elif label in self._sessions and role in self._sessions[label].scans:
                scans.append((role, self._sessions[label]))
            else:
                return
        if scans:
            self._add(analysis, scans, None)

    def _add(self, analysis: Analysis, scans: list[tuple[str, Session]], session: Session | None) -> None:
        folder = "/".join(
            (f"sub-{self.subject.id}", *([f"ses-{session.id}"] if session else []), analysis.name)
        )
        after: list[str] = []
        arguments = [self._scan(role, at, analysis, after) for role, at in scans]
        rois = self._rois(analysis, scans, after)
        options = [*self._series(analysis, scans), *(Option("rois", path, True) for path in rois)]
        if rois and self._takes(analysis, "resample-rois") and "resample-rois" not in analysis.options:
            options.append(Option("resample-rois"))
        options += self._labels(analysis, session)
        options += self._administration(analysis, scans[0][1])
        options += self._given(analysis, session, after)
        self._made[folder] = Job(
            analysis.name,
            folder,
            tuple(analysis.command.split()),
            tuple(arguments),
            tuple(options),
            tuple(dict.fromkeys(after)),
        )

    def _takes(self, analysis: Analysis, option: str) -> bool:
        return option in (self._program.options(analysis.command) or ())

    def _path(self, path: str) -> str:
        return str(absolute(path, self._manifest).resolve())

    def _scan(self, role: str, session: Session, analysis: Analysis, after: list[str]) -> str:
        """The path of a scan, after its alignment where the analysis wants that."""
        path = self._path(session.scans[role].path)
        onto = analysis.align.get(role)
        if onto is None or onto not in session.scans:
            return path
        folder = f"sub-{self.subject.id}/ses-{session.id}/{role}-onto-{onto}{_by(analysis.align_model)}"
        self._align(folder, session.scans[onto], session.scans[role], None, analysis.align_model)
        after.append(folder)
        return f"{folder}/{MOVED_FILE}"

    def _align(
        self,
        folder: str,
        fixed: Scan,
        moving: Scan,
        regions: str | None,
        model: AlignModel = RIGID,
        after: tuple[str, ...] = (),
    ) -> None:
        arguments = (self._path(fixed.path), self._path(moving.path))
        series = {"series": fixed.series, "moving-series": moving.series}
        options = [Option(name, value) for name, value in series.items() if value is not None]
        if regions is not None:
            options += [Option("rois", regions, True), Option("resample-rois")]
        if model != RIGID:
            options.append(Option("model", model))
        name = folder.rpartition("/")[2]
        job = Job(name, folder, tuple(ALIGN.split()), arguments, tuple(options), after)
        self._made.setdefault(folder, job)

    def _is_moved(self, role: str, session: Session, analysis: Analysis) -> bool:
        return analysis.align.get(role) in session.scans

    def _rois(self, analysis: Analysis, scans: list[tuple[str, Session]], after: list[str]) -> list[str]:
        """Files of regions: of the first scan, or of each where the command takes that."""
        if "rois" in analysis.options or not self._takes(analysis, "rois"):
            return []
        wanted = scans if analysis.command in _PER_SCAN else scans[:1]
        found = [self._regions_on(role, session, analysis, after) for role, session in wanted]
        files = [path for path in found if path is not None]
        if len(files) != len(found) and files:
            raise MissingMetadata(
                "regions are missing for a scan",
                where=f"{self.subject.id}, {analysis.name}",
                needed="regions in an earlier session, or in every session",
            )
        return files if len(set(files)) > 1 else files[:1]

    def _regions_on(self, role: str, session: Session, analysis: Analysis, after: list[str]) -> str | None:
        """The regions of a session where they lie on a scan, by registration where the analysis says so."""
        target = analysis.align[role] if self._is_moved(role, session, analysis) else role
        source = self._source_of_regions(session)
        if source is None or analysis.carry == POSITION:
            return self._regions_of(role, session, after)
        assert source.regions is not None  # noqa: S101
        drawn_on = source.regions.drawn_on
        if drawn_on is None or drawn_on not in session.scans:
            raise MissingMetadata(
                "regions cannot be carried to another scan without the one that they were drawn on",
                where=f"{self.subject.id}, session {session.id}, {analysis.name}",
                found="drawn_on is not stated" if drawn_on is None else ", ".join(session.scans),
                needed="drawn_on: a role of this session" if drawn_on is None else f"a scan {drawn_on}",
            )
        before: list[str] = []
        path = self._regions_of(role, session, before)
        if drawn_on == target:
            after += before
            return path
        folder = f"sub-{self.subject.id}/ses-{session.id}/{CARRIED}-on-{target}{_by(analysis.carry)}"
        scans = session.scans[target], session.scans[drawn_on]
        self._align(folder, *scans, path, analysis.carry, tuple(before))
        after.append(folder)
        return f"{folder}/{REGIONS_FILE}"

    def _source_of_regions(self, session: Session) -> Session | None:
        """The session itself where it has regions, else the nearest earlier one that does."""
        drawn = [one for one in self.subject.in_time if one.regions is not None and one.date <= session.date]
        return session if session.regions is not None else drawn[-1] if drawn else None

    def _regions_of(self, role: str, session: Session, after: list[str]) -> str | None:
        """The regions of a session, or those of the nearest earlier one, carried over by registration."""
        source = self._source_of_regions(session)
        if source is None:
            return None
        assert source.regions is not None  # noqa: S101
        path = self._path(source.regions.path)
        if source is session:
            return path
        anchor = source.regions.drawn_on or role
        for one in (source, session):
            if anchor not in one.scans:
                raise MissingMetadata(
                    "regions cannot be carried over without a scan of the same role in both sessions",
                    where=f"{self.subject.id}, session {one.id}",
                    found=", ".join(one.scans),
                    needed=f"a scan {anchor}, or regions for this session",
                )
        folder = f"sub-{self.subject.id}/ses-{session.id}/{CARRIED}"
        self._align(folder, session.scans[anchor], source.scans[anchor], path)
        after.append(folder)
        return f"{folder}/{REGIONS_FILE}"

    def _series(self, analysis: Analysis, scans: list[tuple[str, Session]]) -> list[Option]:
        """``--series`` of the first scan, ``--post-series`` of the second, or one option for each."""
        chosen = [
            None if self._is_moved(role, session, analysis) else session.scans[role].series
            for role, session in scans
        ]
        if analysis.command in _PER_SCAN:
            options = ("series",) * len(scans)
        elif analysis.command in _SERIES:
            first, further = _SERIES[analysis.command]
            options = (first, *(further for _ in scans[1:]))
        else:
            options = ("series", "post-series", *("" for _ in scans))[: len(scans)]
        found: list[Option] = []
        for number, series in enumerate(chosen):
            option = options[number]
            alike = [one for one, other in zip(chosen, options, strict=True) if other == option]
            if not any(alike):
                continue
            if not self._takes(analysis, option):
                raise self._no_series(analysis, *scans[number])
            found.append(Option(option, series or _THE_ONLY))
        return found

    def _no_series(self, analysis: Analysis, role: str, session: Session) -> UnsupportedInput:
        return UnsupportedInput(
            f"{analysis.command} cannot choose a series of this scan",
            where=f"{self.subject.id}, session {session.id}, {role}",
            next_step="name a folder that holds this series only",
        )

    def _labels(self, analysis: Analysis, session: Session | None) -> list[Option]:
        labels = {"subject": self.subject.id, **({"session": session.id} if session else {})}
        return [Option(name, value) for name, value in labels.items() if self._takes(analysis, name)]

    def _administration(self, analysis: Analysis, session: Session) -> list[Option]:
        found = {
            **_administered(session.administration),
            "weight-kg": _number(self.subject.weight),
            "height-m": _number(self.subject.height),
            "sex": self.subject.sex,
        }
        return [
            Option(name, value)
            for name, value in found.items()
            if value is not None and self._takes(analysis, name) and name not in analysis.options
        ]

    def _given(self, analysis: Analysis, session: Session | None, after: list[str]) -> list[Option]:
        """The options of the manifest; switches that are off are left out."""
        found: list[Option] = []
        for name, value in analysis.options.items():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, ScanReference):
                    role, label = split_reference(one.scan)
                    at = session if label is None else self._sessions.get(label)
                    if at is None or role not in at.scans:
                        raise MissingMetadata(
                            "a scan that an option names is missing",
                            where=f"{self.subject.id}, {analysis.name}, {name}",
                            found=one.scan,
                        )
                    found.append(Option(name, self._scan(role, at, analysis, after), True))
                    series = at.scans[role].series
                    if series is not None and not self._is_moved(role, at, analysis):
                        if not self._takes(analysis, f"{name}-series"):
                            raise self._no_series(analysis, role, at)
                        found.append(Option(f"{name}-series", series))
                elif isinstance(one, FileReference):
                    found.append(Option(name, self._path(one.file), True))
                elif isinstance(one, bool):
                    found += [Option(name)] if one else []
                else:
                    found.append(Option(name, str(one)))
        return found


def _administered(given: Administration | None) -> dict[str, str | None]:
    if given is None:
        return {}
    return {
        "dose": _number(given.activity, "Bq"),
        "injected-at": given.at.isoformat() if given.at else None,
        "delay": _number(given.delay, "s"),
        "nuclide": given.nuclide,
        "residual": _number(given.residual, "Bq"),
        "residual-at": given.residual_at.isoformat() if given.residual_at else None,
        "infiltrated": _number(given.infiltrated, "Bq"),
        "dose-uncertainty": _number(given.relative_uncertainty),
    }


def _number(value: float | None, unit: str = "") -> str | None:
    return None if value is None else f"{value!r}{unit}"


def _by(model: AlignModel) -> str:
    """End of the name of a folder that holds what was brought over in another way than rigidly."""
    return "" if model == RIGID else f"-{model}"
