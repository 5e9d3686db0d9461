"""Many subjects at once: here, in processes of this machine, or on a cluster that Dask knows."""

from __future__ import annotations

import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtheranostics._version import VERSION
from imgtheranostics.errors import NothingUsable, UnsupportedInput
from imgtheranostics.study.execution import SubjectStatus, run_subject
from imgtheranostics.study.jobs import Program, SubjectJobs

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S = 20.0
"""How long a scheduler may take to answer."""

Told = Callable[[SubjectStatus], None]


@dataclass(frozen=True)
class Needed:
    """A subject with the memory that its largest job takes, in bytes."""

    planned: SubjectJobs
    memory_bytes: int


@dataclass(frozen=True)
class Means:
    """With what a study is run.

    Attributes
    ----------
    workers : int
        Processes on this machine; with 1, everything is done in this one.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://host:8786``, whose workers see the same files.
    memory_bytes : int, optional
        All subjects that are in work together may take this much by their estimates.
    report : bool
        Write a report for each job.
    """

    workers: int = 1
    scheduler: str | None = None
    memory_bytes: int | None = None
    report: bool = True


def run_subjects(
    subjects: Sequence[Needed], output: Path, program: Program, means: Means, told: Told
) -> list[SubjectStatus]:
    """Run every subject and tell of each as it ends; the result is in the order of `subjects`.

    A subject whose process dies is reported as failed and the others go on.

    Raises
    ------
    NothingUsable
        If the scheduler cannot be reached or has no workers.
    UnsupportedInput
        If its workers have another version of this package or do not see the output folder.
    OutputError
        If the output cannot be written.
    """
    too_large = {one.planned.subject: _too_large(one, means) for one in subjects if _exceeds(one, means)}
    found: dict[str, SubjectStatus] = dict(too_large)
    for status in too_large.values():
        told(status)
    ready = [one for one in subjects if one.planned.subject not in too_large]
    if means.scheduler is None and min(means.workers, len(ready)) <= 1:
        for one in ready:
            status = run_subject(one.planned, output, program, report=means.report)
            found[status.subject] = status
            told(status)
    else:
        with _client(means, len(ready)) as client:
            _check_workers(client, output)
            for status in _in_flight(client, ready, output, program, means):
                found[status.subject] = status
                told(status)
    return [found[one.planned.subject] for one in subjects]


def _exceeds(one: Needed, means: Means) -> bool:
    return means.memory_bytes is not None and one.memory_bytes > means.memory_bytes


def _too_large(one: Needed, means: Means) -> SubjectStatus:
    error = UnsupportedInput(
        "the subject takes more memory than is allowed",
        found=f"about {one.memory_bytes / 1e9:.1f} GB",
        needed=f"at most {(means.memory_bytes or 0) / 1e9:.1f} GB",
        next_step="give more with --memory-limit",
    )
    return SubjectStatus(
        one.planned.subject,
        error={"type": "UnsupportedInput", "exit_code": error.exit_code, **error.parts()},
    )


@contextmanager
def _client(means: Means, n_subjects: int) -> Iterator[Client]:
    """A client of the scheduler that was named, or of processes of our own."""
    import dask
    from distributed import Client, LocalCluster

    if means.scheduler is not None:
        try:
            client = Client(means.scheduler, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise NothingUsable(
                "the scheduler cannot be reached",
                where=means.scheduler,
                found=type(error).__name__,
                next_step="start one with `dask scheduler`, workers with `dask worker`, and give its address",
            ) from error
        with client:
            yield client
        return
    # a subject that kills its process is not tried again and again
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=min(means.workers, n_subjects),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _check_workers(client: Client, output: Path) -> None:
    """Every worker must have this version, and see the folder that results go to."""
    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=CONNECT_S)
    token = output / f".seen-{uuid.uuid4().hex}"
    token.touch()
    try:
        answers = client.run(_seen, str(token))
    except ModuleNotFoundError as error:
        raise UnsupportedInput(
            "a worker lacks this package", found=str(error), needed=f"imgtheranostics {VERSION}"
        ) from error
    finally:
        token.unlink(missing_ok=True)
    if not answers:
        raise NothingUsable(
            "the scheduler has no workers",
            next_step="start some with `dask worker` and the scheduler's address",
        )
    for worker, (version, seen) in answers.items():
        if version != VERSION:
            raise UnsupportedInput(
                "a worker has another version", where=worker, found=version, needed=VERSION
            )
        if not seen:
            raise UnsupportedInput(
                "a worker does not see the output folder",
                where=worker,
                found=str(output),
                needed="one file system for all",
            )


def _seen(token: str) -> tuple[str, bool]:
    """Version of the package on a worker, and whether it sees a file."""
    return VERSION, Path(token).exists()


def _in_flight(
    client: Client, subjects: Sequence[Needed], output: Path, program: Program, means: Means
) -> Iterator[SubjectStatus]:
    """Statuses as subjects end; as many in work as there are threads and the memory allows."""
    from distributed import as_completed

    waiting = deque(subjects)
    running: dict[Future[Any], Needed] = {}
    completed: Any = as_completed(loop=client.loop)
    threads = _threads_per_command(client, means)

    def fill() -> None:
        slots = max(1, sum(client.nthreads().values()))
        while waiting and len(running) < slots and _fits(waiting[0], running.values(), means):
            one = waiting.popleft()
            future = client.submit(
                run_subject,
                one.planned,
                output,
                program,
                report=means.report,
                threads=threads,
                pure=False,
                key=f"subject-{one.planned.subject}-{uuid.uuid4().hex}",
            )
            running[future] = one
            completed.add(future)

    fill()
    for future in completed:
        one = running.pop(future)
        yield _status_of(future, one.planned)
        fill()


def _threads_per_command(client: Client, means: Means) -> int:
    """Threads that share this machine's processors among its processes; one on a cluster."""
    if means.scheduler is not None:
        return 1
    return max(1, len(os.sched_getaffinity(0)) // len(client.nthreads()))


def _fits(one: Needed, running: Iterable[Needed], means: Means) -> bool:
    if means.memory_bytes is None:
        return True
    return one.memory_bytes + sum(other.memory_bytes for other in running) <= means.memory_bytes


def _status_of(future: Future[Any], planned: SubjectJobs) -> SubjectStatus:
    from distributed.scheduler import KilledWorker

    try:
        status: SubjectStatus = future.result()
    except KilledWorker:
        return SubjectStatus(
            planned.subject,
            error={
                "type": "KilledWorker",
                "exit_code": 1,
                "what": "the process that worked on the subject died",
                "next": "look for a lack of memory: fewer --workers, or a --memory-limit; then run again",
            },
        )
    return status
