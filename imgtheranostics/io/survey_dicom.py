"""DICOM files of a tree as series, regions and what is left out; folder by folder, to bound memory."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from imgtheranostics.acquisition import NuclearAcquisition, UltrasoundAcquisition
from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.io.dicom.clocks import to_datetime
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.planning import plan
from imgtheranostics.io.dicom.series import Series, catalogue
from imgtheranostics.io.dicom.sop_classes import object_name
from imgtheranostics.io.dicom.ultrasound import read_regions
from imgtheranostics.io.loading import series_order
from imgtheranostics.io.pseudonym import pseudonym
from imgtheranostics.io.region_names import clean_name
from imgtheranostics.io.survey import (
    UNREADABLE,
    FoundRegions,
    FoundSeries,
    LeftOut,
    UidTails,
    chosen,
    earliest,
    folder_label,
    geometry,
    no_injection,
    refused,
)

REGION_OBJECTS = ("segmentation", "radiotherapy structure set")
_REASONS = {
    "secondary capture": "a screenshot, report page or other secondary capture",
    "structured report": "a report, such as of the dose",
    "radiotherapy dose": "an absorbed dose: a result, no scan",
    "radiotherapy plan": "a treatment plan",
    "registration": "a registration",
    "parametric map": "a parametric map: a result, no scan",
    "media directory": "the directory of a medium",
}
_LOCALISER = re.compile(
    r"locali[sz]er|\bscout|\bsurview|topogram|tripilot|3[- ]?plane|\bsurvey\b|scanogram", re.IGNORECASE
)
_ECHOES = {"GRADIENT": ("GR",), "SPIN": ("SE",)}
_NOBODY = re.compile(r"(?:anon\w*|de-?identified|unknown|none|no ?name|n/?a|x+|0+|[\W_]+)$", re.IGNORECASE)
"""What stands for a patient where the name was taken away."""
_REPORT = re.compile(r"dose report|patient protocol|screen ?(save|shot|capture)", re.IGNORECASE)
_REFORMATTED = {"MPR", "REFORMATTED", "MIP", "MINIP", "PROJECTION IMAGE", "VRT", "3DREFORMATTED"}
_MAPS = {
    "ADC",
    "FA",
    "TRACEW",
    "SUBTRACTION",
    "SUB",
    "PARALLEL",
    "CBF",
    "CBV",
    "MTT",
    "TTP",
    "T1 MAP",
    "T2 MAP",
}
_MOST_LOCALISER_IMAGES = 20
_COLOUR_FLOW = 2
"""As data type of an ultrasound region."""
_SETTINGS = {
    "repetition_time": "RepetitionTime",
    "echo_time": "EchoTime",
    "inversion_time": "InversionTime",
    "flip_angle": "FlipAngle",
    "energy": "KVP",
}


@dataclass(slots=True)
class _Group:
    """One series of one folder, or of several: its files, what was found, and its place in a listing."""

    found: FoundSeries
    files: list[Path]
    order: tuple[str, float, str, str] = field(repr=False)
    instances: frozenset[str] = field(repr=False)
    modality: str = ""


def survey_dicom(
    files: Sequence[Path], root: Path, *, workers: int = 8
) -> tuple[list[FoundSeries], list[FoundRegions], list[LeftOut]]:
    """The DICOM files of a tree.

    Parameters
    ----------
    files : sequence of Path
    root : Path
        Whose first folders may stand for subjects.
    workers : int
        Files that are read at a time.

    Returns
    -------
    series, regions, left_out : lists
        Series that cannot be loaded, localisers and derived images have a reason in `left_out` of their own.
    """
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        by_folder[path.parent].append(path)
    groups: list[_Group] = []
    regions: list[FoundRegions] = []
    left: list[LeftOut] = []
    for members in by_folder.values():
        part, drawn, rest = _one_folder(members, root, workers)
        groups += part
        regions += drawn
        left += rest
    groups, copies = _across_folders(groups, root, workers)
    return _placed(groups, root), regions, left + copies


def _one_folder(
    files: Sequence[Path], root: Path, workers: int
) -> tuple[list[_Group], list[FoundRegions], list[LeftOut]]:
    parts = catalogue(files, workers=workers)
    groups = [_group(one, root) for one in sorted(parts.series, key=series_order)]
    regions: list[FoundRegions] = []
    others: Counter[tuple[Path, str]] = Counter()
    for header in parts.objects:
        name = object_name(header)
        if name in REGION_OBJECTS:
            regions.append(_regions(header, root))
        else:
            others[header.path.parent, _REASONS.get(name, f"no image: {name}")] += 1
    left = [LeftOut(folder, reason, count) for (folder, reason), count in others.items()]
    left += [
        LeftOut(_named_file(error, files[0].parent), f"{UNREADABLE}: {type(error).__name__}: {error.what}")
        for error in parts.broken
    ]
    return groups, regions, left


def _named_file(error: ImgTheranosticsError, folder: Path) -> Path:
    """The file that a refusal names, without the attribute."""
    named = Path((error.where or "").partition(": ")[0])
    return named if named.parent == folder else folder


def _group(one: Series, root: Path) -> _Group:
    header = one.header
    words = " ".join(header.text(name) or "" for name in ("SeriesDescription", "SequenceName"))
    kinds = header.strings("ImageType")
    facts: dict[str, object] = {}
    reason = ""
    try:
        planned = plan(one)
    except ImgTheranosticsError as error:
        reason = refused(error)
        record = None
    else:
        record = planned.acquisition
        facts = {
            "shape": planned.shape,
            "axes": {axis.name: len(axis) for axis in planned.axes},
            "place": geometry(planned.shape, planned.affine.tolist()),
            "quantity": "" if planned.quantity == "signal" else planned.quantity,
            "no_injection": no_injection(record, planned.quantity),
        }
    settings = _settings(header, kinds)
    if isinstance(record, NuclearAcquisition):
        settings["windows"] = record.energy_windows_kev
    if isinstance(record, UltrasoundAcquisition):
        settings["flow"] = any(region["data_type"] == _COLOUR_FLOW for region in record.regions)
    found = FoundSeries(
        kind="dicom",
        modality=one.modality,
        path=one.files[0],
        subject=_subject(header) or folder_label(one.files[0], root),
        visit=header.text("StudyInstanceUID") or str(one.files[0].parent),
        begin=_begin(one),
        contrast=(header.text("ContrastBolusAgent") or "none").lower() not in ("no", "none"),
        attenuation_corrected=_attenuation_corrected(one),
        settings=settings,
        left_out=_why_not(one, words, kinds) or reason,
        derived=kinds[:1] == ("DERIVED",),
        uid=one.uid,
        frame_of_reference=header.text("FrameOfReferenceUID") or "",
        person=tuple(header.text(name) or "" for name in ("PatientName", "PatientBirthDate", "PatientSex")),
        words=f"{words} {_folder_words(one.files[0], root)}",
        **facts,  # type: ignore[arg-type]
    )
    instances = frozenset(
        frame.header.text("SOPInstanceUID") or str(frame.header.path) for frame in one.frames
    )
    return _Group(found, list(one.files), series_order(one), instances, one.modality)


def _subject(header: Header) -> str:
    """Pseudonym of the patient; empty where the header names nobody, or everybody alike."""
    for keyword in ("PatientID", "PatientName"):
        stated = header.text(keyword) or ""
        if stated and not _NOBODY.match(stated):
            return pseudonym(stated).removeprefix("sub-")
    return ""


def _folder_words(path: Path, root: Path) -> str:
    """Names of the folders of a file below the subject's, where people write pre and post."""
    return " ".join(path.relative_to(root).parts[:-1])


def _settings(header: Header, kinds: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {name: header.soft_number(keyword) for name, keyword in _SETTINGS.items()}
    echo = (header.text("EchoPulseSequence") or "").upper()
    found["sequence"] = header.strings("ScanningSequence") or _ECHOES.get(echo, ())
    found["kind"] = kinds[2:]
    found["matrix"] = (header.soft_number("Rows"), header.soft_number("Columns"))
    found["kernel"] = header.text("ConvolutionKernel")
    return found


def _attenuation_corrected(one: Series) -> bool | None:
    if one.modality not in ("PT", "NM"):
        return None
    done = one.header.strings("CorrectedImage")
    return "ATTN" in done if done else None


def _begin(one: Series) -> datetime | None:
    """When the series began: its first acquisition, else what series, content or study state."""
    moments = [frame.acquisition_us for frame in one.frames if frame.acquisition_us is not None]
    if moments:
        return earliest(to_datetime(min(moments)))
    for level in ("Acquisition", "Series", "Content", "Study"):
        try:
            day, clock = one.header.date(f"{level}Date"), one.header.time(f"{level}Time")
        except ImgTheranosticsError:
            continue
        if day is not None:
            return earliest(datetime.combine(day, clock or datetime.min.time()))
    return None


def _why_not(one: Series, words: str, kinds: tuple[str, ...]) -> str:
    """Why a series is no scan of a study; empty where it may be one."""
    upper = {kind.upper() for kind in kinds}
    few = len({frame.header for frame in one.frames}) <= _MOST_LOCALISER_IMAGES
    if "LOCALIZER" in upper or (few and _LOCALISER.search(words)):
        return "a localiser"
    if one.orientations > 1 and few and one.modality in ("CT", "MR"):
        return "a localiser: few images, which are not parallel"
    if _REPORT.search(words) or any("SCREEN" in kind for kind in upper):
        return "a screenshot or report page"
    if _no_tissue(one):
        return "traces over time, such as spectral Doppler or M-mode: no image of tissue"
    if upper & _REFORMATTED:
        return "reformatted or projected from another series"
    if kinds[:1] == ("DERIVED",) and upper & _MAPS:
        return "a map or difference that the scanner computed"
    return ""


def _no_tissue(one: Series) -> bool:
    """Whether an ultrasound image shows traces over time alone, such as spectral Doppler and M-mode."""
    if one.modality != "US":
        return False
    formats = {region["spatial_format"] for region in read_regions(one.header)}
    return bool(formats & {"m_mode", "spectral", "waveform"}) and "2d" not in formats


def _regions(header: Header, root: Path) -> FoundRegions:
    """The file of regions and the series that it names."""
    frames = header.text("FrameOfReferenceUID") or ""
    references: frozenset[str] = frozenset()
    with suppress(ImgTheranosticsError):
        references = frozenset(_referenced_series(header))
    return FoundRegions(
        kind="dicom",
        path=header.path,
        subject=_subject(header) or folder_label(header.path, root),
        visit=header.text("StudyInstanceUID") or str(header.path.parent),
        references=references,
        frame_of_reference=frames,
        names=_region_names(header),
    )


def _region_names(header: Header) -> tuple[str, ...]:
    """Names of the segments or structures of a file."""
    named = (("SegmentSequence", "SegmentLabel"), ("StructureSetROISequence", "ROIName"))
    found = []
    with suppress(ImgTheranosticsError):
        found = [
            clean_name(item.get(keyword), "")
            for sequence, keyword in named
            for item in header.sequence(sequence)
        ]
    return tuple(name for name in found if name)


def _referenced_series(header: Header) -> Iterator[str]:
    """UIDs of series that a segmentation or structure set refers to."""
    for item in header.sequence("ReferencedSeriesSequence"):
        yield str(item.get("SeriesInstanceUID") or "")
    for frame in header.sequence("ReferencedFrameOfReferenceSequence"):
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                yield str(series.get("SeriesInstanceUID") or "")


def _across_folders(groups: list[_Group], root: Path, workers: int) -> tuple[list[_Group], list[LeftOut]]:
    """Series whose files lie in several folders become one; whole copies are left out."""
    by_uid: dict[tuple[str, str], list[_Group]] = defaultdict(list)
    for number, one in enumerate(groups):
        uid = one.found.uid or f"without {number}"
        by_uid[one.modality, uid].append(one)
    kept: list[_Group] = []
    copies: list[LeftOut] = []
    for several in by_uid.values():
        folders = {one.files[0].parent for one in several}
        if len(folders) < 2:
            kept += several
            continue
        originals: list[_Group] = []
        for one in several:
            if any(one.instances <= other.instances for other in originals):
                copies.append(
                    LeftOut(one.files[0].parent, "a copy of a series in another folder", len(one.files))
                )
            else:
                originals.append(one)
        if len({one.files[0].parent for one in originals}) > 1:
            files = [path for one in originals for path in one.files]
            merged = catalogue(files, workers=workers).series
            originals = [_group(one, root) for one in sorted(merged, key=series_order)]
        kept += originals
    return kept, copies


def _placed(groups: list[_Group], root: Path) -> list[FoundSeries]:
    """Each series with the path and the choice by which `load` finds it and nothing else."""
    inside: dict[Path, list[_Group]] = defaultdict(list)
    files: dict[Path, int] = Counter()
    for one in groups:
        for path in one.files:
            files[path] += 1
        for folder in {parent for path in one.files for parent in _folders(path, root)}:
            inside[folder].append(one)
    placed = []
    tails: dict[Path, UidTails] = {}
    for one in groups:
        if len(one.files) == 1:
            path = one.files[0]
            shared = files[path] > 1
            several = [other for other in inside[path.parent] if path in other.files] if shared else [one]
        else:
            path = Path(os.path.commonpath([file.parent for file in one.files]))
            several = inside[path]
        if path not in tails:
            tails[path] = UidTails([other.found.uid for other in several])
        placed.append(chosen(one.found, path, _choice(one, several, tails[path])))
    return placed


def _folders(path: Path, root: Path) -> Iterator[Path]:
    """The folder of a file and those above it, up to the root."""
    for folder in path.parents:
        yield folder
        if folder == root:
            return


def _choice(one: _Group, several: list[_Group], tails: UidTails) -> str:
    """What chooses a series among those of a path: the end of its UID, or its number where that is shared."""
    if len(several) < 2:
        return ""
    tail = tails.of(one.found.uid)
    if tail:
        return tail
    ordered = sorted(several, key=lambda other: other.order)
    return str(next(number for number, other in enumerate(ordered, start=1) if other is one))
