"""Reading thousands of damaged files in children that may die."""

from __future__ import annotations

import logging
import os
import pickle
import random
import resource
import signal
import struct
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from fuzzing.judging import BAD, VERDICTS, judge
from fuzzing.mutations import mutate
from fuzzing.seeds import Outcome, Seed, make_result_seeds, make_seeds

MEMORY_BYTES = 4 * 2**30
SECONDS = 10
BATCH = 40
_SIZE = struct.Struct("<I")


@dataclass(frozen=True)
class Mutant:
    """One damaged file: its seed, its number, and the damage."""

    seed: Seed
    number: int
    damage: str
    content: bytes


@dataclass
class Result:
    """Verdicts of a run.

    Attributes
    ----------
    counts : dict
        (seed name, verdict) -> number.
    offending : list
        (mutant, verdict, detail).
    slowest_s : float
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    offending: list[tuple[Mutant, str, str]] = field(default_factory=list)
    slowest_s: float = 0.0

    def total(self, verdict: str) -> int:
        """Number of mutants with this verdict."""
        return sum(count for (_, found), count in self.counts.items() if found == verdict)


def draw(seeds: Sequence[Seed], count: int, number: int) -> Iterator[Mutant]:
    """`count` mutants; each depends on the seed number and its own number only."""
    weights = [seed.weight for seed in seeds]
    for one in range(count):
        rng = random.Random(f"{number}:{one}")  # noqa: S311 - not for secrets
        seed = rng.choices(seeds, weights)[0]
        damage, content = mutate(seed.content, seed.header_bytes, rng)
        yield Mutant(seed, one, damage, content)


def fuzz(count: int, number: int, kinds: Iterable[str] | None = None, *, only: int | None = None) -> Result:
    """Damage, read and judge `count` files.

    Parameters
    ----------
    count, number : int
        How many mutants, and the seed that they are drawn with.
    kinds : iterable of str, optional
        ``dicom``, ``nifti``, ``json``, ``regions``, ``table``, ``msot``, ``hdf5``, ``results``; default all.
    only : int, optional
        Just this mutant.
    """
    logging.disable(logging.CRITICAL)
    _import_readers()
    result = Result()
    wanted = set(kinds) if kinds else None
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        scratch = Path(name)
        seeds = [seed for seed in make_seeds(scratch) if wanted is None or seed.kind in wanted]
        if wanted is None or "results" in wanted:
            seeds += make_result_seeds(scratch)
        good = {
            seed.name: found
            for seed, found, _ in _read_all([(seed, seed.content) for seed in seeds], scratch)
        }
        batch: list[Mutant] = []
        for mutant in draw(seeds, count, number):
            if only in (None, mutant.number):
                batch.append(mutant)
            if len(batch) == BATCH:
                _judge_batch(batch, good, scratch, result)
                batch = []
        _judge_batch(batch, good, scratch, result)
    return result


def _import_readers() -> None:
    """Once here, instead of once in every child."""
    for name in (
        "io.dicom.reading",
        "io.dicom.rtstruct",
        "io.dicom.seg",
        "io.hdf5.image_sequences",
        "io.hdf5.ipasc",
        "io.ithera.reconstructions",
        "io.nifti",
        "io.optoacoustic_entries",
        "io.regions",
        "io.signal_loading",
        "nuclear.analysis",
    ):
        import_module(f"imgtheranostics.{name}")
    import_module("h5py")
    import_module("nibabel")
    import_module("pydicom")


def _judge_batch(batch: list[Mutant], good: dict[str, Outcome | str], scratch: Path, result: Result) -> None:
    found = _read_all([(mutant.seed, mutant.content) for mutant in batch], scratch)
    for mutant, (seed, outcome, seconds) in zip(batch, found, strict=True):
        verdict, detail = judge(seed, good[seed.name], outcome, mutant.content)
        result.counts[seed.name, verdict] += 1
        result.slowest_s = max(result.slowest_s, seconds)
        if verdict in BAD:
            result.offending.append((mutant, verdict, detail))


def _read_all(jobs: list[tuple[Seed, bytes]], scratch: Path) -> Iterator[tuple[Seed, Outcome | str, float]]:
    """Outcomes in order; a child reads on until it dies, then the next one takes over behind the fault."""
    done = 0
    while done < len(jobs):
        for outcome, seconds in _child(jobs[done:], scratch):
            yield jobs[done][0], outcome, seconds
            done += 1


def _child(jobs: list[tuple[Seed, bytes]], scratch: Path) -> Iterator[tuple[Outcome | str, float]]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _serve(jobs, scratch, writer)
    os.close(writer)
    answered = 0
    with os.fdopen(reader, "rb") as stream:
        while len(head := stream.read(_SIZE.size)) == _SIZE.size:
            yield pickle.loads(stream.read(_SIZE.unpack(head)[0]))  # noqa: S301 - from our own child
            answered += 1
    _, status = os.waitpid(child, 0)
    if answered < len(jobs):
        fault = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        text = "hang: no answer in time" if fault == signal.SIGALRM else f"signal: {fault}, status {status}"
        yield text, float(SECONDS)


def _serve(jobs: list[tuple[Seed, bytes]], scratch: Path, writer: int) -> None:
    """Read every job and send what came of it; never returns."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        with os.fdopen(writer, "wb") as stream:
            for seed, content in jobs:
                signal.alarm(SECONDS)
                start = time.perf_counter()
                outcome = _read_one(seed, content, scratch)
                signal.alarm(0)
                answer = pickle.dumps((outcome, time.perf_counter() - start))
                stream.write(_SIZE.pack(len(answer)) + answer)
                stream.flush()
    finally:
        os._exit(0)


def _read_one(seed: Seed, content: bytes, scratch: Path) -> Outcome | str:
    from imgtheranostics.errors import ImgTheranosticsError

    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        for file, good in seed.files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(content if file == seed.target else good)
        try:
            return seed.read(folder)
        except ImgTheranosticsError as error:
            return f"refused: {type(error).__name__}"
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-3:]
            place = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(last))
            return f"untyped: {type(error).__name__}: {str(error)[:120]} at {place}"


def table(result: Result) -> str:
    """Verdicts by seed as text."""
    names = list(dict.fromkeys(name for name, _ in result.counts))
    width = max(len(name) for name in [*names, "seed"])
    lines = [f"{'seed':<{width}}" + "".join(f"{verdict:>9}" for verdict in VERDICTS)]
    lines += [
        f"{name:<{width}}" + "".join(f"{result.counts[name, verdict]:>9}" for verdict in VERDICTS)
        for name in sorted(names)
    ]
    totals = "".join(f"{result.total(verdict):>9}" for verdict in VERDICTS)
    return "\n".join([*lines, f"{'all':<{width}}{totals}"])


def keep(result: Result, folder: Path) -> None:
    """Write every offending file, so that it can be read again under a debugger."""
    folder.mkdir(parents=True, exist_ok=True)
    for mutant, verdict, _ in result.offending:
        stem = f"{mutant.number:06d}-{verdict}-{mutant.seed.name.replace(' ', '-')}"
        (folder / f"{stem}-{mutant.seed.target}").write_bytes(mutant.content)
