"""Regions from an RT Structure Set: closed planar contours in patient coordinates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from imgtheranostics.errors import Caution, CorruptInput, GeometryMismatch, MissingMetadata
from imgtheranostics.io.contours import voxels_in_contours
from imgtheranostics.io.dicom.parsing import element, guarded, numbers, read_object, sequence, whole_number
from imgtheranostics.io.region_layers import layered
from imgtheranostics.io.region_names import clean_name, unique_names
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid

FloatArray = npt.NDArray[np.float64]

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_CONTOUR_DATA = 0x30060050
_CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass
class StructureSet:
    """The regions of an RT Structure Set before they meet an image.

    Attributes
    ----------
    contours : dict of str to list of (n, 3) float64
        Closed contours of each region in RAS+ mm, in the order of the file; none for an empty region.
    frames_of_reference : set of str
        UIDs of the coordinate systems in which they were drawn; identifying, never printed.
    warnings : list of Caution
    """

    contours: dict[str, list[FloatArray]]
    frames_of_reference: set[str] = field(default_factory=set, repr=False)
    warnings: list[Caution] = field(default_factory=list)


def load_rtstruct(
    path: Path, grid: Grid | None, *, resample: bool = False, frame_of_reference: str = ""
) -> Regions:
    """Regions of an RT Structure Set on the grid of an image.

    Parameters
    ----------
    path : Path
    grid : Grid or None
        The image on which the contours are filled; contours have no voxels of their own.
    resample : bool
        Accept contours between slices, see `imgtheranostics.io.contours.voxels_in_contours`.
    frame_of_reference : str
        UID of the image's coordinate system, empty when it is not known.

    Raises
    ------
    MissingMetadata
        If no grid is given.
    CorruptInput, GeometryMismatch
        As `read_structures` and `voxels_in_contours`.
    """
    if grid is None:
        raise MissingMetadata(
            "contours need an image: an RT Structure Set has no voxels of its own",
            where=str(path),
            needed="the grid of an image",
            next_step="give the image as like=, or name the series on the command line",
        )
    structures = read_structures(path)
    cautions = list(structures.warnings)
    if frame_of_reference and structures.frames_of_reference - {frame_of_reference}:
        cautions.append(other_frame_of_reference(path, resample))
    voxels, found = voxels_in_contours(structures.contours, grid, resample=resample, where=str(path))
    return layered(voxels, grid, where=str(path), warnings=(*cautions, *found))


def other_frame_of_reference(path: Path, resample: bool) -> Caution:
    """The caution for regions of another coordinate system than the image's; a refusal when resampling.

    Where voxels coincide the geometry itself speaks for the pair; where they are resampled nothing does.
    """
    if resample:
        raise GeometryMismatch(
            "the regions were drawn in another frame of reference than the image's",
            where=str(path),
            found="FrameOfReferenceUID (0020,0052) differs",
            next_step="register the images first, or draw the regions on this image",
        )
    text = "the regions name another frame of reference than the image, though their positions fit"
    return Caution("frame-of-reference-differs", text, str(path))


def read_structures(path: Path) -> StructureSet:
    """Contours of an RT Structure Set in patient coordinates.

    Raises
    ------
    CorruptInput
        If the file is damaged, has no regions, or if a contour's numbers contradict their count.
    """
    dataset = read_object(path)
    regions = sequence(dataset, "StructureSetROISequence", path, "(3006,0020)")
    if not regions:
        raise CorruptInput("StructureSetROISequence (3006,0020) is absent or empty", where=str(path))
    found: dict[int, list[FloatArray]] = {}
    labels: dict[int, str] = {}
    frames: set[str] = set()
    cautions: list[Caution] = []
    for item in regions:
        number = _required_number(item, "ROINumber", path, "(3006,0022)")
        if number in labels:
            raise CorruptInput("two regions have the same ROINumber (3006,0022)", where=str(path))
        labels[number] = clean_name(element(item, "ROIName", path, "(3006,0026)"), f"region-{number}")
        frames.add(str(element(item, "ReferencedFrameOfReferenceUID", path, "(3006,0024)") or ""))
        found[number] = []
    for item in sequence(dataset, "ROIContourSequence", path, "(3006,0039)"):
        number = _required_number(item, "ReferencedROINumber", path, "(3006,0084)")
        if number not in labels:
            raise CorruptInput(
                "contours refer to a region that is not in StructureSetROISequence (3006,0020)",
                where=str(path),
            )
        contours, ignored = _contours(item, path)
        found[number] += contours
        cautions += ignored
    names, renamed = unique_names(labels.values(), where=str(path))
    cautions += renamed
    structures = dict(zip(names, found.values(), strict=True))
    return StructureSet(structures, frames - {""}, cautions)


def _required_number(item: Dataset, keyword: str, path: Path, tag: str) -> int:
    number = whole_number(item, keyword, path, tag)
    if number is None:
        raise CorruptInput(f"{keyword} {tag} is absent", where=str(path))
    return number


def _contours(roi: Dataset, path: Path) -> tuple[list[FloatArray], Sequence[Caution]]:
    contours: list[FloatArray] = []
    ignored: Counter[str] = Counter()
    for item in sequence(roi, "ContourSequence", path, "(3006,0040)"):
        kind = str(element(item, "ContourGeometricType", path, "(3006,0042)") or "").strip().upper()
        if kind not in _CLOSED:
            ignored["that are points or open lines"] += 1
            continue
        points = _points(item, path)
        if len(points) < 3:
            ignored["with fewer than three points"] += 1
            continue
        contours.append(points)
    cautions = [
        Caution("contours-ignored", f"{count} contours {why} were ignored", str(path))
        for why, count in ignored.items()
    ]
    return contours, cautions


def _points(item: Dataset, path: Path) -> FloatArray:
    """(n, 3) points in RAS+ mm without a repeated last point."""
    offset = numbers(item, "ContourOffsetVector", path, "(3006,0045)", 3)
    if offset is not None and any(offset):
        raise CorruptInput(
            "ContourOffsetVector (3006,0045) shifts a contour, which the standard has withdrawn",
            where=str(path),
        )
    values = _contour_data(item, path)
    declared = whole_number(item, "NumberOfContourPoints", path, "(3006,0046)")
    if values.size % 3 or (declared is not None and values.size != 3 * declared):
        raise CorruptInput(
            "ContourData (3006,0050) does not hold the points that it should",
            where=str(path),
            found=f"{values.size} numbers",
            needed=f"3 for each of {declared} points" if declared is not None else "3 for each point",
        )
    points = values.reshape(-1, 3) * _RAS_FROM_LPS
    if len(points) > 1 and np.array_equal(points[0], points[-1]):
        points = points[:-1]
    return np.asarray(points)


def _contour_data(item: Dataset, path: Path) -> FloatArray:
    """The numbers of ContourData, from their bytes: one object per number would take most of the time."""
    part = "ContourData (3006,0050)"
    if _CONTOUR_DATA not in item:
        raise CorruptInput(f"{part} is absent", where=str(path))
    raw: object = guarded(path, part, lambda: item.get_item(_CONTOUR_DATA))
    if not isinstance(raw, RawDataElement) or raw.value is None:
        listed = element(item, "ContourData", path, "(3006,0050)")
        values = guarded(path, part, lambda: np.array([float(value) for value in listed], np.float64))
    else:
        text = raw.value.strip(b" \0")
        if text.translate(None, b"0123456789+-.eE \\"):
            raise CorruptInput(f"{part} holds what is not a number", where=str(path))
        values = guarded(path, part, lambda: np.array(text.split(b"\\"), dtype=bytes).astype(np.float64))
    if not (np.abs(values) < 1e9).all():
        raise CorruptInput(f"{part} is not finite", where=str(path))
    return values
