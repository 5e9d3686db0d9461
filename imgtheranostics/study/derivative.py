"""The maps of a subject under the names of BIDS, beside the folders in which the commands left them.

The folder of each analysis is what its command wrote; what lies here is made from it: the images as further
names of the same files (copies where the file system knows no such links), each with a sidecar that
also says where it comes from. It is made anew from whatever is done, so nothing in it decides what is done.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.sidecar import dataset_root, read_sidecar
from imgtheranostics.report.plain import as_json
from imgtheranostics.report.tables import as_tsv
from imgtheranostics.study.bids_names import FOLDERS, BidsName, Naming, bids_name, camel
from imgtheranostics.study.jobs import Job
from imgtheranostics.units import QUANTITIES

_IMAGE = ".nii.gz"


@dataclass(frozen=True)
class Placed:
    """What a subject has under the names of BIDS.

    Attributes
    ----------
    files : mapping of str to Path or str
        Path below the output to the file that it is another name of, or to its text.
    descriptions : mapping of str to str
        Label of the ``desc`` entity to what it stands for.
    """

    files: Mapping[str, Path | str]
    descriptions: Mapping[str, str]


def place_maps(jobs: Sequence[Job], done: Sequence[str], output: Path, naming: Naming, work: Path) -> Placed:
    """Give the maps of a subject their names, and take away names of what is no longer there.

    Parameters
    ----------
    jobs : sequence of Job
        All jobs of the subject, in order.
    done : sequence of str
        Folders of those whose results are there.
    output : Path
    naming : Naming
    work : Path
        An empty folder on the same disk.

    Raises
    ------
    OSError
        If the output cannot be written.
    """
    wanted = _wanted(jobs, done, output, naming)
    subject = next((job.folder.split("/")[0] for job in jobs), None)
    for old in _present(output / subject) if subject else ():
        if old.relative_to(output).as_posix() not in wanted.files:
            old.unlink()
    for name, content in wanted.files.items():
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            _write(target, content, work)
        else:
            _link(target, content, work)
    for folder in _folders(output / subject) if subject else ():
        if not any(folder.iterdir()):
            folder.rmdir()
    return wanted


def _folders(subject: Path) -> list[Path]:
    places = [subject, *sorted(subject.glob("ses-*"))]
    return [place / name for place in places for name in FOLDERS if (place / name).is_dir()]


def _present(subject: Path) -> Iterator[Path]:
    for folder in _folders(subject):
        yield from (one for one in sorted(folder.iterdir()) if one.is_file() or one.is_symlink())


def _write(target: Path, text: str, work: Path) -> None:
    content = text.encode("utf-8")
    if target.is_file() and target.read_bytes() == content:
        return
    (work / "new").write_bytes(content)
    (work / "new").replace(target)


def _link(target: Path, source: Path, work: Path) -> None:
    if target.is_file() and (target.samefile(source) or filecmp.cmp(target, source, shallow=False)):
        return
    try:
        os.link(source, work / "new")
    except OSError:
        shutil.copyfile(source, work / "new")
    (work / "new").replace(target)


def _wanted(jobs: Sequence[Job], done: Sequence[str], output: Path, naming: Naming) -> Placed:
    files: dict[str, Path | str] = {}
    descriptions: dict[str, str] = {}
    names: dict[str, str] = {}
    labels = _labels(jobs)
    for job in jobs:
        if job.folder not in done:
            continue
        folder = output / job.folder
        sidecars = _sidecars(folder)
        scan = next((one["Modality"] for one in sidecars.values() if "Modality" in one), "")
        source = _source_sidecar(_origin(job, jobs)) if sidecars else {}
        where = job.folder.rpartition("/")[0]
        for stem, own in sidecars.items():
            named = bids_name(labels[job.name], stem, {"Modality": scan} | own, source, naming)
            base, label = _free(named, where, files)
            files[base + _IMAGE] = folder / f"{stem}{_IMAGE}"
            files[f"{base}.json"] = as_json(
                {
                    **own,
                    **named.keys,
                    "Description": _description(stem, own),
                    **_sources(job, output, names, naming),
                }
            )
            if named.suffix == "dseg":
                files[f"{base}.tsv"] = _lookup(own)
            names[f"{job.folder}/{stem}{_IMAGE}"] = base + _IMAGE
            descriptions[label] = _label_text(job, stem, own, named)
    return Placed(files, descriptions)


def _labels(jobs: Sequence[Job]) -> dict[str, str]:
    """A label for the name of each job; names that differ by more than letters and digits keep apart."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(job.name for job in jobs):
        label, number = camel(name), 1
        while label in found.values():
            number += 1
            label = f"{camel(name)}{number}"
        found[name] = label
    return found


def _free(named: BidsName, where: str, files: Mapping[str, object]) -> tuple[str, str]:
    """A path that no other map has, and its label."""
    label, number = named.label, 1
    while named.path(where, label) + _IMAGE in files:
        number += 1
        label = f"{named.label}{number}"
    return named.path(where, label), label


def _sidecars(folder: Path) -> dict[str, dict[str, Any]]:
    """Of each map and label image in a folder of results; counters such as flags are no maps."""
    found = {}
    for image in sorted(folder.glob(f"*{_IMAGE}")):
        stem = image.name.removesuffix(_IMAGE)
        content = _read(folder / f"{stem}.json")
        quantity = QUANTITIES.get(str(content.get("Quantity")))
        if quantity is not None and (quantity.dtype == "float32" or quantity.name == "labels"):
            found[stem] = content
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _origin(job: Job, jobs: Sequence[Job]) -> str:
    """The scan that a job's first argument is, or was before it was moved."""
    first = job.arguments[0]
    if len(job.arguments) > 1 and job.words[0] == "study":
        first = job.arguments[1]
    before = next((one for one in jobs if first.startswith(f"{one.folder}/")), None)
    return first if before is None or before is job else _origin(before, jobs)


def _source_sidecar(scan: str) -> Mapping[str, Any]:
    """What the sidecars of a scan state; of a folder of images, what all of them state alike."""
    path = Path(scan)
    images = sorted(path.glob("*.nii*")) if path.is_dir() else [path]
    try:
        stated = [read_sidecar(one).values for one in images]
    except (CorruptInput, OSError):
        return {}
    first, *others = stated or [{}]
    return {
        key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)
    }


def _sources(job: Job, output: Path, names: Mapping[str, str], naming: Naming) -> dict[str, Any]:
    """Files of this dataset and of other BIDS datasets by their URIs; of all, how many there were and a hash.

    Scans that lie in no dataset have no URI, and their paths are no part of a result.
    """
    uris = []
    for path in job.reads:
        if path.startswith("sub-"):
            uris.append(f"bids::{names.get(path, path)}")
        else:
            uris += dataset_uri(path, naming)
    record = _read(output / job.folder / "provenance.json")
    found: dict[str, Any] = {"Sources": uris} if uris else {}
    if "inputs_sha256" in record and isinstance(record.get("inputs"), list):
        found["SourceFiles"] = {"Number": len(record["inputs"]), "SHA256": record["inputs_sha256"]}
    return found


def dataset_uri(path: str, naming: Naming) -> list[str]:
    """The BIDS URI of a file or folder, if it lies in a dataset that has a name; a list of one or none."""
    root = root_of(path)
    name = dict(naming.datasets).get(root)
    if name is None:
        return []
    inside = Path(path).relative_to(root)
    return [] if inside.parts[0].startswith(".") else [f"bids:{name}:{inside.as_posix()}"]


def root_of(path: str) -> str:
    """The root of the BIDS dataset that a file lies in; empty where there is none."""
    root = dataset_root(Path(path).parent)
    return "" if root is None else str(root.absolute())


def _description(stem: str, own: Mapping[str, Any]) -> str:
    text = str(own.get("Description", ""))
    return f"standard error of the {text}" if stem.endswith("_se") else text


def _label_text(job: Job, stem: str, own: Mapping[str, Any], named: BidsName) -> str:
    """What a label stands for; one that several quantities share does not say which."""
    what = (
        _description(stem, own) if named.says_quantity else "standard error" if stem.endswith("_se") else ""
    )
    return f"{what}{'; ' if what else ''}{job.name}, by {' '.join(job.words)}"


def _lookup(own: Mapping[str, Any]) -> str:
    rows = [{"index": int(number), "name": name} for number, name in dict(own.get("Labels") or {}).items()]
    return as_tsv(sorted(rows, key=lambda row: row["index"]), ["index", "name"])
