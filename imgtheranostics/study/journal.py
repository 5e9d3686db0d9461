"""What has been done already: each result keeps the key of the job that made it.

A key stands for everything that decides a result: the command and its options, the content of every file that
is read, and the version of this package. Where a scan lies does not matter, nor how fast it was done.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imgtheranostics._version import VERSION
from imgtheranostics.errors import NothingUsable
from imgtheranostics.io.atomic import write_text
from imgtheranostics.io.sidecar import dataset_root, find_sidecars, image_stem
from imgtheranostics.study.jobs import Job, placed

JOB_FILE = "job.json"
"""In the folder of each result."""
HASH_FOLDER = ".hashes"


class Hashes:
    """SHA-256 of files, kept with size and time so that unchanged files are read once.

    Parameters
    ----------
    file : Path
        Where they are kept from one run to the next; one for each subject, so that nobody shares it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, list[Any]] = _read_json(file) or {}
        self._changed = False

    def of(self, path: Path) -> str:
        """Of a file with its companions; of a folder, of the names and contents of all files in it.

        Raises
        ------
        NothingUsable
            If there is no such file, or it cannot be read.
        """
        try:
            if path.is_dir():
                files = sorted(found for found in path.rglob("*") if found.is_file())
                parts = [f"{one.relative_to(path).as_posix()}\0{self._file_hash(one)}" for one in files]
                return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()
            parts = [self._file_hash(one) for one in (path, *companions(path))]
            return hashlib.sha256("\n".join(parts).encode()).hexdigest()
        except OSError as error:
            raise NothingUsable(
                "a file of the study cannot be read",
                where=str(path),
                found=error.strerror or type(error).__name__,
            ) from error

    def keep(self) -> None:
        """Write what was found, if anything was."""
        if self._changed:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, json.dumps(self._known))
            self._changed = False

    def _file_hash(self, path: Path) -> str:
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        known = self._known.get(name)
        if known is not None and known[:3] == stamp:
            return str(known[3])
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        self._known[name] = [*stamp, found]
        self._changed = True
        return found


def companions(path: Path) -> list[Path]:
    """What belongs to a file: others of its name, sidecars of a dataset that apply to it, participants."""
    stem = image_stem(path)
    own = {one for one in path.parent.glob(f"{glob.escape(stem)}.*") if one.is_file()}
    root = dataset_root(path.parent)
    people = set() if root is None else {root / "participants.tsv", root / "participants.json"}
    inherited = {*find_sidecars(path), *(one for one in people if one.is_file())}
    return sorted((own | inherited) - {path})


def key_of(job: Job, output: Path, hashes: Hashes, *, report: bool) -> str:
    """The key of a job, whose earlier results must be there by now.

    Raises
    ------
    NothingUsable
        If a file that it reads is not there.
    """
    content = {path: hashes.of(Path(placed(path, output))) for path in job.reads}
    described = {
        "version": VERSION,
        "command": list(job.words),
        "arguments": [content[path] for path in job.arguments],
        "options": [[one.name, content[one.value] if one.is_path else one.value] for one in job.options],
        "report": report,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def is_done(folder: Path, key: str) -> bool:
    """Whether the folder holds the result of just this job."""
    found = _read_json(folder / JOB_FILE)
    return found is not None and found.get("key") == key


def job_record(job: Job, key: str) -> str:
    """What is written beside a result: how it was made, without paths of this machine."""
    options = [[one.name, Path(one.value).name if one.is_path else one.value] for one in job.options]
    record = {
        "key": key,
        "version": VERSION,
        "command": " ".join(job.words),
        "scans": [Path(path).name for path in job.arguments],
        "options": options,
    }
    return json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _read_json(file: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no such file, or it is no longer readable."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def leftovers(output: Path, subjects: Iterable[str]) -> list[str]:
    """Subjects that have results but no longer stand in the manifest."""
    wanted = {f"sub-{label}" for label in subjects}
    return sorted(one.name for one in output.glob("sub-*") if one.is_dir() and one.name not in wanted)
