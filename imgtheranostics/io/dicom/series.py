"""Files into series: read every header once, group what belongs together, never merge what does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from imgtheranostics.errors import CorruptInput, GeometryMismatch, ImgTheranosticsError
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.geometry import orientation_classes
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.header_reading import read_header
from imgtheranostics.io.dicom.planes import planes_of
from imgtheranostics.io.dicom.rtdose import MODALITY, is_dose_grid
from imgtheranostics.io.dicom.sop_classes import image_modality, is_image_without_pixels, object_name

_SPACING_RELATIVE = 1e-4


@dataclass(slots=True)
class Series:
    """Planes that may make one Volume.

    Attributes
    ----------
    modality, uid : str
    frames : list of Frame
    orientations : int
        Different orientations among the groups that the same SeriesInstanceUID fell into.
    failure : ImgTheranosticsError or None
        Why the planes could not even be described.
    """

    modality: str
    uid: str
    frames: list[Frame]
    files: list[Path]
    orientations: int = 1
    failure: ImgTheranosticsError | None = None

    @property
    def header(self) -> Header:
        """The first file's header."""
        return self.frames[0].header


@dataclass(slots=True)
class Catalogue:
    """What a path holds.

    Attributes
    ----------
    series : list of Series
    broken : list
        Files that could not be read, with the reason.
    others : Counter
        Objects that are no image series, by name.
    objects : list of Header
        Those objects.
    """

    series: list[Series] = field(default_factory=list)
    broken: list[ImgTheranosticsError] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    objects: list[Header] = field(default_factory=list)


def catalogue(paths: Sequence[Path], *, doses: bool = False, workers: int = 1) -> Catalogue:
    """Read the headers of DICOM files and group them into series.

    With `doses` each RT Dose is a series where there are no images: beside them it belongs to a plan, as its
    structures do. With several `workers` that many files are read at a time.
    """
    found = Catalogue()
    by_uid: dict[tuple[str, str], list[Header]] = {}
    grids: list[Header] = []
    for read in _headers(paths, workers):
        try:
            header = read()
            modality = image_modality(header)
            uid = header.text("SeriesInstanceUID") or ""
        except ImgTheranosticsError as error:
            found.broken.append(error)
            continue
        if modality is None:
            if is_image_without_pixels(header):
                found.broken.append(_no_pixels(header))
                continue
            grids += [header] if doses and is_dose_grid(header) else []
            found.others[object_name(header)] += 1
            found.objects.append(header)
            continue
        by_uid.setdefault((modality, uid), []).append(header)
    if grids and not by_uid:
        found.others[object_name(grids[0])] -= len(grids)
        found.others = +found.others
        for header in grids:
            found.series += _groups(MODALITY, header.text("SOPInstanceUID") or "", [header])
    for (modality, uid), headers in by_uid.items():
        found.series += _groups(modality, uid, headers)
    if any(one.modality == "PA" for one in found.series):
        from imgtheranostics.io.dicom.photoacoustic import together

        found.series = together(found.series)
    return found


def _headers(paths: Sequence[Path], workers: int) -> Iterator[Callable[[], Header]]:
    """Each file's header, or what its reading raises, when it is called for; in the order of the files."""
    if workers < 2:
        yield from (partial(read_header, path) for path in paths)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from [pool.submit(read_header, path).result for path in paths]


def _no_pixels(header: Header) -> CorruptInput:
    return CorruptInput(
        "an image object has no pixel data",
        where=f"{header.path}: PixelData (7FE0,0010)",
        next_step="copy the file again; it may be truncated",
    )


def _groups(modality: str, uid: str, headers: list[Header]) -> list[Series]:
    try:
        frames = [frame for header in headers for frame in planes_of(header, modality)]
        keys = keys_of(frames)
    except ImgTheranosticsError as error:
        frames = [Frame(header) for header in headers]
        return [Series(modality, uid, frames, [h.path for h in headers], failure=error)]
    groups: dict[tuple[object, ...], list[Frame]] = {}
    for frame, key in zip(frames, keys, strict=True):
        groups.setdefault(key, []).append(frame)
    orientations = len({key[0] for key in keys})
    series = []
    for members in groups.values():
        files = list(dict.fromkeys(frame.header.path for frame in members))
        series.append(Series(modality, uid, members, files, orientations))
    return series


def keys_of(frames: list[Frame], *, windows: bool = True) -> list[tuple[object, ...]]:
    """What the frames of one Volume must agree in, for each frame; in energy windows only if `windows`."""
    orientation = orientation_classes(frames)
    spacing = _spacing_classes(frames)
    keys: list[tuple[object, ...]] = []
    for n, frame in enumerate(frames):
        elements = frame.header.elements
        keys.append(
            (
                int(orientation[n]),
                spacing[n],
                frame.tile[2:] if frame.tile else None,
                elements.get("Rows"),
                elements.get("Columns"),
                elements.get("SamplesPerPixel"),
                elements.get("PhotometricInterpretation"),
                frame.kind,
                frame.window if windows else None,
            )
        )
    return keys


def _spacing_classes(frames: list[Frame]) -> list[int]:
    classes: list[tuple[float, ...]] = []
    known: dict[tuple[float, ...] | None, int] = {}
    labels: list[int] = []
    for frame in frames:
        label = known.get(frame.spacing)
        if label is None:
            spacing = frame.spacing or (0.0, 0.0)
            label = next(
                (k for k, c in enumerate(classes) if np.allclose(c, spacing, rtol=_SPACING_RELATIVE, atol=0)),
                len(classes),
            )
            if label == len(classes):
                classes.append(spacing)
            known[frame.spacing] = label
        labels.append(label)
    return labels


def combine(several: Sequence[Series], where: str) -> Series:
    """Series that the user wants as one Volume: they may differ in what becomes an axis, in nothing else.

    Raises
    ------
    GeometryMismatch
        If they differ in modality, matrix, orientation, spacing, image type or component.
    """
    for one in several:
        if one.failure is not None:
            raise one.failure
    frames = [frame for one in several for frame in one.frames]
    if len({one.modality for one in several}) > 1 or len(set(keys_of(frames, windows=False))) > 1:
        raise GeometryMismatch(
            "the series do not go together into one volume",
            where=where,
            needed="one modality, matrix, orientation, spacing and image type",
            next_step="load them one by one",
        )
    files = list(dict.fromkeys(path for one in several for path in one.files))
    return Series(several[0].modality, " ".join(one.uid for one in several), frames, files)
