"""What a folder tree holds, from headers alone: every series once, regions, and what is left out and why.

Nothing in it names a person: subjects are pseudonyms, labels of BIDS or names of folders, and identifiers
that are needed to tell things apart stay out of every representation.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.errors import ImgTheranosticsError, NothingUsable
from imgtheranostics.io.dicom.discovery import find

NEUTRAL_DAY = date(2000, 1, 1)
"""Where our own files have their dates when these are not kept: it says nothing."""

ALREADY_PER_DOSE = ("suv", "id_per")
"""Beginnings of quantities that need no injected activity any more."""

UNREADABLE = "it cannot be read"
"""How the reason begins for a file that may belong to a series."""

_UID_TAIL = 8
_LISTING_NUMBERS = 500_000
"""A number up to this may be read as one of a listing."""


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """One series of a tree.

    Attributes
    ----------
    kind, modality : str
        As `imgtheranostics.io.SeriesSummary` has them.
    path : Path
        File or folder that `load` takes.
    series : str
        What chooses it there; empty where nothing else is there.
    subject : str
        Letters and digits; empty where neither header nor folder tells.
    session : str
        Label of BIDS; empty where there is none.
    visit : str
        What the series of one visit share: their study, or their folder.
    begin : datetime or None
        On the clock of the scanner.
    suffix : str
        Of BIDS, such as ``VFA``.
    entities : mapping
        Of BIDS, without subject and session.
    shape : tuple of int
    axes : mapping of str to int
    place : tuple
        Geometry: series with the same one share a grid.
    contrast : bool
        Whether the header names a contrast agent.
    attenuation_corrected : bool or None
        Of PET; None where it is not known.
    settings : mapping
        Of the acquisition: two series with the same are repetitions.
    no_injection : tuple of str
        What is not known of the injection: ``activity``, ``at``, ``nuclide``.
    left_out : str
        Why it is no scan of a study; empty where it is one.
    derived : bool
        Whether it was made of other images.
    person : tuple of str
        What else the header says of who it is, to see whether one identifier stands for several.
    words : str
        What people wrote about it; for matching only.
    """

    kind: str
    modality: str
    path: Path
    series: str = ""
    subject: str = ""
    session: str = ""
    visit: str = field(default="", repr=False)
    begin: datetime | None = field(default=None, repr=False)
    suffix: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    axes: Mapping[str, int] = field(default_factory=dict)
    place: tuple[float, ...] = ()
    quantity: str = ""
    contrast: bool = False
    attenuation_corrected: bool | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    no_injection: tuple[str, ...] = ()
    left_out: str = ""
    derived: bool = False
    uid: str = field(default="", repr=False)
    frame_of_reference: str = field(default="", repr=False)
    person: tuple[str, ...] = field(default=(), repr=False)
    words: str = field(default="", repr=False)

    @property
    def described(self) -> str:
        """Modality, size and axes, for people who choose."""
        size = " x ".join(str(n) for n in self.shape[:3])
        axes = [f"{count} {name.replace('_', ' ')}s" for name, count in self.axes.items() if count > 1]
        return ", ".join(part for part in (self.modality or self.kind, size, *axes, self.quantity) if part)


@dataclass(frozen=True, slots=True)
class FoundRegions:
    """A file of regions.

    Attributes
    ----------
    references : frozenset of str
        Series that it was drawn on, where it names them.
    space : str
        Entity ``space`` of BIDS: what they were drawn on, where it is the suffix of an image.
    names : tuple of str
        Of the regions, as far as a table beside the file or its header has them.
    """

    kind: str
    path: Path
    subject: str = ""
    session: str = ""
    visit: str = field(default="", repr=False)
    references: frozenset[str] = field(default=frozenset(), repr=False)
    frame_of_reference: str = field(default="", repr=False)
    place: tuple[float, ...] = ()
    space: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that are no scans or regions of a study, and why."""

    path: Path
    reason: str
    files: int = 1


@dataclass(frozen=True, slots=True)
class Survey:
    """What a tree holds; `every` has the series that are left out too, among which one has to be chosen."""

    root: Path
    series: tuple[FoundSeries, ...] = ()
    regions: tuple[FoundRegions, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    is_bids: bool = False
    every: tuple[FoundSeries, ...] = field(default=(), repr=False)


def survey(folder: str | Path, *, workers: int = 8) -> Survey:
    """Every series of a folder tree, from headers; no voxel is read.

    Parameters
    ----------
    folder : path
        With files of any kind that `load` reads, or a BIDS dataset.
    workers : int
        Files that are read at a time.

    Raises
    ------
    NothingUsable
        If it is no folder, or holds neither images nor regions.
    """
    from imgtheranostics.io.sidecar import DATASET_ROOT
    from imgtheranostics.io.survey_dicom import survey_dicom
    from imgtheranostics.io.survey_files import survey_bruker, survey_nifti, survey_optoacoustic

    root = Path(folder)
    if not root.is_dir():
        raise NothingUsable("there is no such folder", where=str(root), needed="a folder with scans")
    found = find(root)
    is_bids = (root / DATASET_ROOT).is_file()
    series, regions, left = survey_nifti(found.nifti, root, is_bids=is_bids, workers=workers)
    dicom = [path for path in found.dicom if not (is_bids and in_source_data(path, root))]
    if len(dicom) < len(found.dicom):
        copies = len(found.dicom) - len(dicom)
        left.append(LeftOut(root / "sourcedata", "what the dataset was made of", copies))
    dicom_series, dicom_regions, dicom_left = survey_dicom(dicom, root, workers=workers)
    bruker, bruker_left = survey_bruker(found.bruker, root)
    optoacoustic, optoacoustic_left = survey_optoacoustic(found.optoacoustic, root)
    near = _subjects_of_folders(dicom_series, root)
    others = [
        replace(one, subject=_subject_near(one.path, one.subject, near, root))
        for one in (*series, *optoacoustic)
    ]
    regions = [
        replace(drawn, subject=_subject_near(drawn.path, drawn.subject, near, root)) for drawn in regions
    ]
    every: list[FoundSeries] = [*dicom_series, *bruker, *others]
    left += [*dicom_left, *bruker_left, *optoacoustic_left]
    left += [LeftOut(path, f"{UNREADABLE}: it may be a damaged image") for path in found.suspicious()]
    if found.links:
        left.append(LeftOut(root, "links that lead out of the folder are not followed", found.links))
    scans = [one for one in every if not one.left_out]
    left += [LeftOut(one.path, one.left_out) for one in every if one.left_out]
    if not scans and not regions and not left:
        raise NothingUsable(
            "the folder holds no scans",
            where=str(root),
            found=f"{found.other} files that are no images",
            needed="DICOM, NIfTI, ParaVision or optoacoustic images",
        )
    return Survey(root, tuple(scans), (*dicom_regions, *regions), tuple(left), is_bids, tuple(every))


def _subjects_of_folders(dicom: Sequence[FoundSeries], root: Path) -> dict[Path, set[str]]:
    """Subjects of the DICOM series in each folder and below it."""
    known: dict[Path, set[str]] = {}
    for one in dicom:
        for folder in (one.path, *one.path.parents):
            known.setdefault(folder, set()).add(one.subject)
            if folder == root:
                break
    return known


def _subject_near(path: Path, subject: str, known: Mapping[Path, set[str]], root: Path) -> str:
    """The subject of a file that names none: that of DICOM files in the nearest folder, where it is one."""
    near: set[str] = next((known[folder] for folder in path.parents if folder in known), set())
    is_named = subject != folder_label(path, root)
    return subject if is_named or len(near) != 1 else next(iter(near))


def in_source_data(path: Path, root: Path) -> bool:
    """Whether a file of a BIDS dataset is one of those that the dataset was made of."""
    return path.relative_to(root).parts[0] in ("sourcedata", "rawdata_dicom", "code", "stimuli")


def label(text: str) -> str:
    """The letters and digits of a text, as labels of subjects have them."""
    return "".join(letter for letter in text if letter.isascii() and letter.isalnum())[:64]


def folder_label(path: Path, root: Path) -> str:
    """The first folder below the root as a label; empty for a file in the root itself."""
    parts = path.relative_to(root).parts
    return label(parts[0].removeprefix("sub-")) if len(parts) > 1 else ""


def earliest(*moments: datetime | None) -> datetime | None:
    """The first of these on the scanner's clock; a neutral day counts as none."""
    known = [one.replace(tzinfo=None) for one in moments if one is not None]
    known = [one for one in known if one.date() != NEUTRAL_DAY]
    return min(known, default=None)


def no_injection(record: object, quantity: str) -> tuple[str, ...]:
    """What a record of emission does not say of the injection, as far as its quantity needs it."""
    if not isinstance(record, (EmissionAcquisition, NuclearAcquisition)):
        return ()
    if quantity.startswith(ALREADY_PER_DOSE):
        return ()
    tracer = record.radiopharmaceutical
    known = {
        "activity": bool(tracer.total_dose),
        "at": tracer.start_datetime is not None
        or tracer.start_time is not None
        or getattr(record, "injection_to_first_frame_s", None) is not None,
        "nuclide": tracer.nuclide is not None or tracer.half_life_s is not None,
    }
    return tuple(name for name, is_known in known.items() if not is_known)


def refused(error: ImgTheranosticsError) -> str:
    """Why a file cannot be loaded, without its place, which stands beside it."""
    parts = [f"{name}: {text}" for name, text in error.parts().items() if name in ("found", "needed")]
    return "; ".join((f"it cannot be loaded: {type(error).__name__}: {error.what}", *parts))


def geometry(shape: Sequence[int], affine: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Extents and affine to 0.01 mm, by which grids are compared."""
    rounded = [round(float(value) + 0.0, 2) + 0.0 for row in affine for value in row]
    return (*(float(n) for n in shape[:3]), *rounded)


def chosen(one: FoundSeries, path: Path, series: str) -> FoundSeries:
    """The series with the path and the choice by which `load` finds it."""
    return replace(one, path=path, series=series)


class Choices:
    """How `load` is told which series of a folder is meant.

    Parameters
    ----------
    every : sequence of FoundSeries
        All of the tree, those that are left out too.
    root : Path
    """

    def __init__(self, every: Sequence[FoundSeries], root: Path) -> None:
        self._inside: dict[Path, list[str]] = {}
        self._tails: dict[Path, UidTails] = {}
        for one in every:
            for folder in (one.path, *one.path.parents):
                self._inside.setdefault(folder, []).append(one.uid)
                if folder == root:
                    break

    def of_several(self, several: Sequence[FoundSeries]) -> tuple[Path, str] | None:
        """Path and choice that make one Volume of DICOM series; None where their UIDs do not do."""
        folders = [one.path if one.path.is_dir() else one.path.parent for one in several]
        path = Path(os.path.commonpath(folders))
        inside = self._inside.get(path, [])
        if len(inside) == len(several):
            return path, "all"
        if path not in self._tails:
            self._tails[path] = UidTails(inside)
        tails = self._tails[path]
        found = [tails.of(one.uid) for one in several]
        return None if "" in found else (path, ",".join(found))


class UidTails:
    """Ends of UIDs by which the series of one folder are told apart."""

    def __init__(self, uids: Sequence[str]) -> None:
        self._counts = Counter(uids)
        self._reversed = sorted(uid[::-1] for uid in self._counts)

    def of(self, uid: str) -> str:
        """The end that no other UID has and that is no number of a listing; empty where there is none."""
        if not uid or self._counts[uid] != 1:
            return ""
        place = bisect_left(self._reversed, uid[::-1])
        beside = (*self._reversed[max(place - 1, 0) : place], *self._reversed[place + 1 : place + 2])
        shared = max((_common_length(uid[::-1], other) for other in beside), default=0)
        for length in range(max(shared + 1, min(_UID_TAIL, len(uid))), len(uid) + 1):
            if not _is_number(uid[-length:]):
                return uid[-length:]
        return ""


def _common_length(first: str, second: str) -> int:
    """How many letters two texts begin with alike."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))


def _is_number(tail: str) -> bool:
    return tail.isdecimal() and int(tail) <= _LISTING_NUMBERS
