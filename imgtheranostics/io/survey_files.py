"""NIfTI files, ParaVision scans and optoacoustic files of a tree as series, regions and what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.io.bids import interpret
from imgtheranostics.io.bids_tables import read_times, time_of
from imgtheranostics.io.loading import nifti_series
from imgtheranostics.io.nifti import NiftiFile, read_header
from imgtheranostics.io.nifti_series import series_axis
from imgtheranostics.io.pseudonym import pseudonym
from imgtheranostics.io.region_tables import read_names
from imgtheranostics.io.sidecar import entities, image_stem, read_sidecar
from imgtheranostics.io.survey import (
    FoundRegions,
    FoundSeries,
    LeftOut,
    earliest,
    folder_label,
    geometry,
    in_source_data,
    label,
    no_injection,
    refused,
)

_REGION_SUFFIXES = frozenset(("dseg", "mask", "label", "labels", "roi", "rois", "seg"))
_REGION_NAME = re.compile(
    r"(?:^|[_. -])(?:rois?|masks?|d?seg|segmentations?|labels?|vois?)\d*(?:$|[_. -])", re.IGNORECASE
)
_RESULT_NAMES = ("derivatives",)
_MAPS = frozenset(("t1", "t2", "t2star", "r1", "r2", "r2star"))
_LOCALISER = re.compile(r"locali[sz]er|scout|tripilot|pilot", re.IGNORECASE)
_MEASURED = frozenset(
    (
        *("signal", "stored_value", "activity_concentration", "counts", "count_rate"),
        *("attenuation", "optoacoustic_signal", "echo_level", "echo_intensity"),
    )
)
"""Quantities that scanners give; a file of another one without an acquisition was computed."""
_SETTINGS = {
    "repetition_time": "repetition_time_s",
    "echo_time": "echo_time_s",
    "inversion_time": "inversion_time_s",
    "flip_angle": "flip_angle_deg",
    "energy": "tube_voltage_kv",
    "kernel": "kernel",
    "sequence": "scanning_sequence",
    "windows": "energy_windows_kev",
    "dynamic_range": "dynamic_range_db",
}


def survey_nifti(
    files: Sequence[Path], root: Path, *, is_bids: bool, workers: int = 8
) -> tuple[list[FoundSeries], list[FoundRegions], list[LeftOut]]:
    """The NIfTI files of a tree; collections such as the flip angles of one series are one series.

    Parameters
    ----------
    files : sequence of Path
    root : Path
    is_bids : bool
        Whether names and tables follow BIDS.
    workers : int
        Files that are read at a time.

    Returns
    -------
    series, regions, left_out : lists
    """
    left: Counter[tuple[Path, str]] = Counter()
    groups = []
    for group in nifti_series(sorted(files)):
        place = _no_raw_data(group[0], root) if is_bids else None
        if place is None or (place[1].startswith("a derivative") and _is_region_name(group[0])):
            groups.append(group)
        else:
            left[place] += len(group)
    scans, sessions = read_times(root) if is_bids else ({}, {})
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        described = list(pool.map(lambda group: _described(group, root), groups))
    beside = Counter(group[0].parent for group in groups)
    series: list[FoundSeries] = []
    regions: list[FoundRegions] = []
    for group, one in zip(groups, described, strict=True):
        if isinstance(one, FoundRegions):
            regions.append(one)
            continue
        moments = [scans[path] for path in group if path in scans]
        listed = sessions.get((one.subject, one.session))
        begin = earliest(*moments) or one.begin or earliest(listed)
        if len(group) > 1:
            several = beside[group[0].parent] > 1
            one = replace(one, path=group[0].parent, series=group[0].name if several else "")
        series.append(replace(one, begin=begin))
    return series, regions, [LeftOut(path, why, count) for (path, why), count in left.items()]


def _no_raw_data(path: Path, root: Path) -> tuple[Path, str] | None:
    """The folder and why its files are no raw data of the dataset."""
    parts = path.relative_to(root).parts
    if parts[0] in _RESULT_NAMES:
        return root.joinpath(*parts[:2]) if len(parts) > 2 else root / parts[0], "a derivative: no scan"
    if in_source_data(path, root):
        return root / parts[0], "what the dataset was made of"
    return None


def _is_region_name(path: Path) -> bool:
    stem = image_stem(path)
    found, suffix = entities(stem)
    if found:
        return suffix.lower() in _REGION_SUFFIXES
    return _REGION_NAME.search(stem) is not None


def _described(group: Sequence[Path], root: Path) -> FoundSeries | FoundRegions:
    path = group[0]
    stem = image_stem(path)
    found, suffix = entities(stem)
    subject = label(found.get("sub", "")) or folder_label(path, root)
    rest = {key: value for key, value in found.items() if key not in ("sub", "ses")}
    base = FoundSeries(
        kind="nifti",
        modality="",
        path=path,
        subject=subject,
        session=label(found.get("ses", "")),
        visit=str(path.parent if "ses" not in found else path.parent.parent),
        suffix=suffix if found else "",
        entities=rest,
        words=" ".join((*path.relative_to(root).parts[:-1], stem)),
    )
    try:
        file = read_header(path)
        if _is_region_name(path):
            return _regions(base, file)
        sidecar = read_sidecar(path)
        meaning = interpret(sidecar, file.header)
        if meaning.quantity == "labels":
            return _regions(base, file)
        axes = {axis.name: len(axis) for axis in meaning.axes}
        if len(group) > 1:
            axes[series_axis(group)] = len(group)
    except ImgTheranosticsError as error:
        return replace(base, left_out=refused(error))
    record: Any = meaning.acquisition
    modality = getattr(record, "modality", "") or ""
    is_result = not found and meaning.quantity not in _MEASURED and modality in ("", "OT")
    agent = sidecar.text("ContrastBolusAgent", "ContrastBolusIngredient") or "none"
    return replace(
        base,
        modality=modality,
        begin=earliest(time_of(sidecar), *_moments(record)),
        shape=(*file.header.shape[:3], *axes.values()),
        axes=axes,
        place=geometry(file.header.shape, file.header.affine.tolist()),
        quantity="" if meaning.quantity == "signal" else meaning.quantity,
        contrast="ce" in found or agent.lower() not in ("no", "none"),
        settings=_settings(record, file.header.shape),
        left_out="a result, no scan" if is_result else "",
        no_injection=no_injection(record, meaning.quantity),
    )


def _settings(record: Any, shape: Sequence[int]) -> dict[str, object]:
    found = {name: getattr(record, field, None) for name, field in _SETTINGS.items()}
    return {**found, "matrix": tuple(shape[:2])}


def _moments(record: Any) -> list[datetime]:
    """Dates that a record has; arrays of them count by their first."""
    found = []
    for name in ("acquisition_datetime", "series_datetime"):
        value = getattr(record, name, None)
        if isinstance(value, datetime):
            found.append(value)
    return found


def _regions(base: FoundSeries, file: NiftiFile) -> FoundRegions:
    return FoundRegions(
        kind="nifti",
        path=base.path,
        subject=base.subject,
        session=base.session,
        visit=base.visit,
        place=geometry(file.header.shape, file.header.affine.tolist()),
        space=base.entities.get("space", ""),
        entities=base.entities,
        names=_names(base.path),
    )


def _names(image: Path) -> tuple[str, ...]:
    """Names of labels from the table beside an image; a table that is none is refused when it is used."""
    try:
        return tuple(read_names(image).values())
    except ImgTheranosticsError:
        return ()


def survey_bruker(files: Sequence[Path], root: Path) -> tuple[list[FoundSeries], list[LeftOut]]:
    """The images of ParaVision scans; one series for each of its maps or parts."""
    from imgtheranostics.io.bruker.dataset import scan_folder, sort_key
    from imgtheranostics.io.bruker.planning import plans

    series: list[FoundSeries] = []
    left: list[LeftOut] = []
    for file in sorted(files, key=sort_key):
        try:
            planned = plans(file)
        except ImgTheranosticsError as error:
            left.append(LeftOut(file, refused(error)))
            continue
        visu = planned[0].dataset.visu
        identifier = pseudonym(visu.text("VisuSubjectId") or visu.text("VisuSubjectName") or "")
        words = " ".join(visu.text(name) or "" for name in ("VisuAcquisitionProtocol", "VisuAcqSequenceName"))
        for number, one in enumerate(planned, start=1):
            record = one.acquisition
            series.append(
                FoundSeries(
                    kind="bruker",
                    modality="MR",
                    path=file,
                    series=str(number) if len(planned) > 1 else "",
                    subject=identifier.removeprefix("sub-") or folder_label(file, root),
                    visit=visu.text("VisuStudyUid") or str(scan_folder(file).parent),
                    begin=earliest(record.acquisition_datetime),
                    shape=one.shape,
                    axes={axis.name: len(axis) for axis in one.axes},
                    place=geometry(one.shape, one.affine.tolist()),
                    quantity="" if one.quantity == "signal" else one.quantity,
                    settings=_settings(record, one.shape),
                    left_out=_bruker_reason(one.quantity, words, len(planned)),
                    uid=one.uid,
                    words=words,
                )
            )
    return series, left


def _bruker_reason(quantity: str, words: str, count: int) -> str:
    if quantity in _MAPS:
        return "a map that the scanner computed"
    return "a localiser" if _LOCALISER.search(words) and count > 1 else ""


def survey_optoacoustic(files: Sequence[Path], root: Path) -> tuple[list[FoundSeries], list[LeftOut]]:
    """Reconstructions of iThera scans and HDF5 files; raw signals are left out."""
    from imgtheranostics.io.optoacoustic_entries import begin_of, optoacoustic_files

    series: list[FoundSeries] = []
    left: list[LeftOut] = []
    for file in files:
        held = optoacoustic_files([file], None)
        begin = earliest(begin_of(file)) if held.entries else None
        for number, entry in enumerate((*held.entries, *held.unreadable), start=1):
            summary = entry.summary(number)
            outer = file.parent.parent if file.parent != root else root
            series.append(
                FoundSeries(
                    kind=summary.kind,
                    modality="PA",
                    path=file,
                    series=str(number) if len(held.entries) > 1 else "",
                    subject=folder_label(file, root),
                    visit=str(outer if outer.is_relative_to(root) else file.parent),
                    begin=begin,
                    shape=summary.shape,
                    axes=summary.axes,
                    quantity=summary.quantity,
                    left_out="" if summary.shape else "it cannot be loaded: " + "; ".join(summary.problems),
                    uid=entry.uid,
                    words=" ".join(file.relative_to(root).parts),
                )
            )
        left += [LeftOut(path, "raw signals: msot reconstruct makes images of them") for path in held.raw]
        left += [LeftOut(path, "no optoacoustic images that are known") for path in held.other]
    return series, left
