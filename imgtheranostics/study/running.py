"""A whole study, from its manifest to its tables."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from imgtheranostics.errors import Caution, CorruptInput
from imgtheranostics.study.bids_names import Naming
from imgtheranostics.study.dataset_files import write_dataset, write_descriptions
from imgtheranostics.study.declared import outcomes_of, write_declared
from imgtheranostics.study.execution import SubjectStatus
from imgtheranostics.study.jobs import Program, SubjectJobs, jobs_of
from imgtheranostics.study.journal import leftovers
from imgtheranostics.study.manifest import Analyses, Study
from imgtheranostics.study.memory import needed_bytes
from imgtheranostics.study.results import (
    StudyStatus,
    study_folder,
    write_participants,
    write_status,
    write_tables,
)
from imgtheranostics.study.runner import Means, Needed, run_subjects

_STATUS_EVERY_S = 2.0

Progress = Callable[[SubjectStatus, int, int], None]
"""Called with the subject that has ended, how many have, and how many there are."""


@dataclass(frozen=True)
class Plan:
    """What a study will do.

    Attributes
    ----------
    study : Study
    subjects : tuple of Needed
        Jobs and memory of each.
    outcomes : str
        The table of outcomes as it is kept beside the results; empty where there is none.
    """

    study: Study
    subjects: tuple[Needed, ...]
    outcomes: str = ""

    @property
    def n_jobs(self) -> int:
        """Of all subjects."""
        return sum(len(one.planned.jobs) for one in self.subjects)

    @property
    def jobs(self) -> list[SubjectJobs]:
        """Of each subject."""
        return [one.planned for one in self.subjects]

    @property
    def naming(self) -> Naming:
        """Of the maps of all subjects."""
        return self.subjects[0].planned.naming


def plan(study: Study, manifest: Path, program: Program) -> Plan:
    """The jobs of a study with the memory that they take; see `imgtheranostics.study.jobs.jobs_of`."""
    planned = jobs_of(study, manifest, program)
    needed = tuple(Needed(one, needed_bytes(one)) for one in planned)
    return Plan(study, needed, outcomes_of(study, manifest))


def with_analyses(study: Study, given: Analyses) -> Study:
    """A study that was read from a table, which holds no analyses and questions, with them; checked again.

    Raises
    ------
    CorruptInput
        If they name what the study does not have.
    """
    stated = {name: getattr(given, name) for name in given.model_fields_set}
    try:
        return Study.model_validate({**dict(study), **stated})
    except ValidationError as error:
        raise CorruptInput(
            "the analyses do not fit the manifest", found=error.errors(include_url=False)[0]["msg"]
        ) from None


def run_plan(
    planned: Plan, output: Path, program: Program, means: Means, progress: Progress | None = None
) -> StudyStatus:
    """Do what is not done yet, and write status and tables.

    What was done before with the same files, options and version is left alone. The process may be killed at
    any moment: results are there as a whole or not at all, and the next run goes on.

    Parameters
    ----------
    planned : Plan
    output : Path
        Made where it is not there.
    program : Program
        The command line.
    means : Means
    progress : callable, optional

    Raises
    ------
    OutputError
        If the folder holds something else, cannot be written, or another run is at work in it.
    NothingUsable, UnsupportedInput
        If a scheduler or its workers cannot be used.
    """
    output = output.resolve()
    ended: dict[str, SubjectStatus] = {}
    name = planned.study.study
    with study_folder(output):
        warnings = _leftover_cautions(output, planned.study)
        written = time.monotonic()
        write_dataset(output, name, planned.naming)
        write_participants(output, planned.study)
        write_declared(output, planned.study, planned.outcomes)
        write_status(output, name, planned.jobs, ended, warnings)

        def told(status: SubjectStatus) -> None:
            nonlocal written
            ended[status.subject] = status
            if time.monotonic() - written > _STATUS_EVERY_S:
                write_status(output, name, planned.jobs, ended, warnings)
                written = time.monotonic()
            if progress is not None:
                progress(status, len(ended), len(planned.subjects))

        run_subjects(planned.subjects, output, program, means, told)
        warnings += write_tables(output, planned.study, ended)
        described = {
            label: text
            for one in reversed(planned.jobs)
            if one.subject in ended
            for label, text in ended[one.subject].descriptions.items()
        }
        write_descriptions(output, described)
        return write_status(output, name, planned.jobs, ended, warnings)


def _leftover_cautions(output: Path, study: Study) -> tuple[Caution, ...]:
    left = leftovers(output, [one.id for one in study.subjects])
    if not left:
        return ()
    text = f"results of subjects that are not in the manifest lie in the folder: {', '.join(left)}"
    return (Caution("left-over-subjects", text + "; they are in no table, and BIDS wants none such"),)
