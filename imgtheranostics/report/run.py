"""Run: everything that one command produced, handed over to be written and shown."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from imgtheranostics.errors import Caution, NothingUsable, merge_cautions
from imgtheranostics.fit import CurveFit
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.report.plain import plain
from imgtheranostics.volume import Estimate, Source, Step, Volume

if TYPE_CHECKING:
    import pandas as pd


DELINEATED = "delineated"
"""Name of the history of regions that the command found."""


@dataclass(frozen=True, slots=True)
class Input:
    """One file that was read: its path, its SHA-256 as hexadecimal text, and its size."""

    path: Path
    sha256: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class KnownValue:
    """A value known beforehand, to hold a measured one against.

    Attributes
    ----------
    region, quantity : str
        As in the table.
    label : str
        What it is, such as ``truth``.
    value : float
        In the unit of the quantity.
    """

    region: str
    quantity: str
    label: str
    value: float


@dataclass(frozen=True, eq=False)
class Run:
    """What one command did and found.

    Parameters
    ----------
    command : str
        The verb, for example ``nuclear uptake``.
    estimates : sequence or mapping of Estimate
        The maps; each quantity once, because files are named after it. May be empty.
    table : pandas.DataFrame
        Tidy rows with the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`, in any order;
        ``attrs["details"]`` holds one mapping per row where there are any.
    regions : Regions, optional
        Drawn as contours.
    anatomy : Volume, optional
        Drawn in grey under the map, on any grid in the same patient space.
    parameters : mapping
        Options as the user gave them.
    inputs : sequence of Path or Input
        Files and folders that were read; those of the estimates' sources when left out.
    decisions : mapping, or sequence of mappings
        Rules that were applied, or those of each scan, which are kept under ``scans``; those of the
        estimates when left out.
    known : sequence of KnownValue
        What the values should be, where that is known; drawn beside them.
    known_note : str
        One or two sentences under that figure.
    curves : sequence of CurveFit
        Measured curves with the models that were fitted to them; drawn with their residuals.
    figures : sequence of str
        Names of figures to draw; all that apply when empty.
    warnings : sequence of Caution
        Warnings beyond those that the estimates carry.
    images : mapping of str to Volume
        Images without standard errors that are written under these names.
    delineated : Regions, optional
        Regions that the command found; written as labels, ``regions.nii.gz`` with their names beside it.
    attachments : mapping of str to bytes
        Further files of the folder by name, as they are.
    seed : int, optional
        Seed of random numbers, when any were drawn.
    elapsed : float, optional
        Wall time in s; shown by the caller, never written, so that outputs stay byte-equal.
    """

    command: str
    estimates: Sequence[Estimate] | Mapping[str, Estimate]
    table: pd.DataFrame
    regions: Regions | None = None
    anatomy: Volume | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Path | Input] = ()
    decisions: Mapping[str, Any] | Sequence[Mapping[str, Any]] = field(default_factory=dict)
    known: Sequence[KnownValue] = ()
    known_note: str = ""
    curves: Sequence[CurveFit] = ()
    figures: Sequence[str] = ()
    warnings: Sequence[Caution] = ()
    images: Mapping[str, Volume] = field(default_factory=dict)
    delineated: Regions | None = None
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    seed: int | None = None
    elapsed: float | None = None

    def __post_init__(self) -> None:
        given = self.estimates
        estimates = tuple(given.values() if isinstance(given, Mapping) else given)
        quantities = [estimate.quantity for estimate in estimates]
        if len(set(quantities)) != len(quantities):
            raise ValueError(f"each quantity may be written once, got {quantities}")
        missing = [name for name in STATISTICS_COLUMNS if name not in self.table.columns]
        if missing:
            raise ValueError(f"the table lacks the columns {missing}")
        carried = merge_cautions(
            tuple(self.warnings),
            *(estimate.warnings for estimate in estimates),
            self.regions.warnings if self.regions is not None else (),
            self.delineated.warnings if self.delineated is not None else (),
            *(image.warnings for image in self.images.values()),
        )
        for name, value in (
            ("estimates", estimates),
            ("parameters", MappingProxyType(dict(self.parameters))),
            ("inputs", tuple(self.inputs)),
            ("decisions", MappingProxyType(_as_mapping(self.decisions) or _decisions_of(estimates))),
            ("known", tuple(self.known)),
            ("images", MappingProxyType(dict(self.images))),
            ("attachments", MappingProxyType(dict(self.attachments))),
            ("curves", tuple(self.curves)),
            ("figures", tuple(self.figures)),
            ("warnings", gathered(carried, quantities)),
        ):
            object.__setattr__(self, name, value)

    @property
    def maps(self) -> tuple[Estimate, ...]:
        """The estimates in the order in which they were given."""
        return tuple(self.estimates)  # type: ignore[arg-type]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Sources of every volume of the run, each once."""
        volumes = [part for e in self.maps for part in (e.value, e.standard_error, e.flags)]
        if self.anatomy is not None:
            volumes.append(self.anatomy)
        volumes += self.images.values()
        return tuple({id(volume.source): volume.source for volume in volumes}.values())

    @property
    def history(self) -> dict[str, tuple[Step, ...]]:
        """Steps that led to each map, by quantity."""
        steps = {estimate.quantity: estimate.value.history for estimate in self.maps}
        steps |= {name: image.history for name, image in self.images.items()}
        if self.regions is not None and self.regions.history:
            steps["regions"] = self.regions.history
        if self.delineated is not None:
            steps[DELINEATED] = self.delineated.history
        return steps

    def with_files(
        self, files: Mapping[str, bytes], *, inputs: Sequence[Input], warnings: Sequence[Caution] = ()
    ) -> Run:
        """The same run with further attachments, inputs that were hashed already, and more warnings."""
        made = copy.copy(self)
        for name, value in (
            ("attachments", MappingProxyType({**self.attachments, **files})),
            ("inputs", tuple(inputs)),
            ("warnings", merge_cautions(tuple(self.warnings), tuple(warnings))),
        ):
            object.__setattr__(made, name, value)
        return made

    def hashed_inputs(self, *, workers: int | None = None) -> tuple[Input, ...]:
        """The inputs with their hashes; files of the sources where no inputs were given."""
        listed = self.inputs or tuple(dict.fromkeys(path for source in self.sources for path in source.files))
        return hash_inputs(listed, workers=workers)


def _as_mapping(decisions: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if isinstance(decisions, Mapping):
        return dict(decisions)
    scans = [dict(scan) for scan in decisions]
    return scans[0] if len(scans) == 1 else {"scans": scans} if scans else {}


def _decisions_of(estimates: Iterable[Estimate]) -> dict[str, Any]:
    """What all maps share stands once; what one map decided for itself stands under its quantity."""
    by_quantity = {estimate.quantity: dict(estimate.decisions) for estimate in estimates}
    kept = list(by_quantity.values())
    first = kept[0] if kept else {}
    shared = {
        topic: value
        for topic, value in first.items()
        if all(topic in other and plain(other[topic]) == plain(value) for other in kept[1:])
    }
    own = {
        quantity: {topic: value for topic, value in decisions.items() if topic not in shared}
        for quantity, decisions in by_quantity.items()
    }
    return {**shared, **{quantity: decisions for quantity, decisions in own.items() if decisions}}


def hash_inputs(paths: Iterable[Path | Input], *, workers: int | None = None) -> tuple[Input, ...]:
    """SHA-256 of files, read as streams in threads; a folder stands for every file in it, sorted.

    Raises
    ------
    NothingUsable
        If a file cannot be read any more.
    """
    listed: list[Path | Input] = []
    for path in paths:
        if isinstance(path, Path) and path.is_dir():
            listed += sorted(found for found in path.rglob("*") if found.is_file())
        else:
            listed.append(path)
    threads = workers or min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        return tuple(pool.map(_hashed, dict.fromkeys(listed)))


def gathered(cautions: Sequence[Caution], quantities: Collection[str]) -> tuple[Caution, ...]:
    """Warnings that say the same of several quantities, as one that names them all.

    >>> one, other = Caution("failed", "ktrans: 3 failed", "ktrans"), Caution("failed", "ve: 3 failed", "ve")
    >>> [both] = gathered([one, other], ["ktrans", "ve"])
    >>> both.message, both.where
    ('ktrans, ve: 3 failed', 'ktrans, ve')
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for caution in cautions:
        name, colon, rest = caution.message.partition(": ")
        if not colon or name not in quantities or caution.where not in ("", name):
            found[caution.code, caution.message, caution.where] = []
            continue
        key = (caution.code, f": {rest}", "." if caution.where else "")
        found.setdefault(key, []).append(name)
    return tuple(
        Caution(code, ", ".join(names) + message, ", ".join(names) if names and where else where)
        for (code, message, where), names in found.items()
    )


def _hashed(path: Path | Input) -> Input:
    if isinstance(path, Input):
        return path
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return Input(path, digest, stream.tell())
    except OSError as error:
        raise NothingUsable(
            "an input can no longer be read, so its hash cannot be recorded",
            where=str(path),
            found=error.strerror or type(error).__name__,
            next_step="keep the inputs in place until the command has ended",
        ) from error
