"""Regions from a DICOM Segmentation: binary, fractional and label map; segments may overlap."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from imgtheranostics.errors import (
    Caution,
    CorruptInput,
    GeometryMismatch,
    MissingMetadata,
    UnsupportedInput,
)
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.dicom.decoding import Decoder
from imgtheranostics.io.dicom.header_reading import read_header
from imgtheranostics.io.dicom.parsing import element, guarded, numbers, read_object, sequence, whole_number
from imgtheranostics.io.dicom.pixels import pixel_format
from imgtheranostics.io.dicom.rtstruct import other_frame_of_reference
from imgtheranostics.io.planes import Placement, Plane, grid_of, place
from imgtheranostics.io.region_layers import layered
from imgtheranostics.io.region_names import clean_name, unique_names
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
_BITS = {"BINARY": (1, 8), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}

PixelArray = npt.NDArray[Any]
IndexArray = npt.NDArray[np.int64]


@dataclass
class Segmentation:
    """The frames of a Segmentation before they meet an image.

    Attributes
    ----------
    names : dict of int to str
        Name of each segment number, in the order of the file.
    planes : list of Plane
        Where each frame lies.
    segments : list of int
        Segment number of each frame; 0 where the pixels are segment numbers themselves.
    frames : (n_frames, n_rows, n_columns) array
        Not 0 inside, or segment numbers of a label map.
    spacing_mm : float or None
        Declared distance between slices.
    frame_of_reference : str
        UID of the coordinate system; identifying, never printed.
    """

    names: dict[int, str]
    planes: list[Plane]
    segments: list[int]
    frames: PixelArray
    spacing_mm: float | None
    frame_of_reference: str = field(repr=False)
    warnings: list[Caution] = field(default_factory=list)


def load_seg(
    path: Path,
    grid: Grid | None,
    *,
    resample: bool = False,
    fractional_threshold: float = 0.5,
    frame_of_reference: str = "",
) -> Regions:
    """Regions of a DICOM Segmentation, on an image's grid or on the grid of its own frames.

    Parameters
    ----------
    path : Path
    grid : Grid or None
        The image. Frames that are voxels of it are put in place, in any order of the axes; missing
        frames are background.
    resample : bool
        Where frames are not voxels of the image, return the regions on the frames' own grid, for the
        caller to resample.
    fractional_threshold : float
        A pixel of a fractional segment belongs to it from this fraction on.
    frame_of_reference : str
        UID of the image's coordinate system, empty when it is not known.

    Raises
    ------
    CorruptInput, MissingMetadata, UnsupportedInput
        As `read_segmentation`.
    GeometryMismatch
        If frames are not voxels of the image and `resample` is not set.
    """
    found = read_segmentation(path, fractional_threshold)
    where = str(path)
    other = bool(frame_of_reference and found.frame_of_reference not in ("", frame_of_reference))
    placements = _placements(found, grid) if grid is not None else None
    if grid is not None and placements is not None:
        cautions = [other_frame_of_reference(path, resample=False)] if other else []
        regions = _regions(found, placements, grid, where)
        return Regions(regions.labels, regions.names, grid, (*cautions, *regions.warnings))
    n_rows, n_columns = found.frames.shape[1:]
    own = grid_of(found.planes, n_rows, n_columns, spacing_mm=found.spacing_mm, where=where)
    if grid is not None and not resample:
        raise GeometryMismatch(
            "the segmentation lies on another grid than the image",
            where=where,
            found=str(grid.same_as(own)),
            needed="frames whose pixels are voxels of the image",
            next_step="segment this image, or give --resample-rois to resample the segmentation (nearest)",
        )
    placements = _placements(found, own)
    if placements is None:
        raise GeometryMismatch("the frames do not lie on one regular grid", where=where)
    if grid is not None and other:
        other_frame_of_reference(path, resample=True)
    return _regions(found, placements, own, where)


def read_segmentation(path: Path, fractional_threshold: float = 0.5) -> Segmentation:
    """Frames, their places and the segment names of a DICOM Segmentation.

    Raises
    ------
    CorruptInput
        If the file is damaged or its parts contradict each other.
    UnsupportedInput
        If it is no such object, a tiled slide, or over the memory budget.
    MissingMetadata
        If a frame has no position, orientation or pixel size.
    """
    dataset = read_object(path)
    kind = str(element(dataset, "SegmentationType", path, "(0062,0001)") or "").strip().upper()
    if kind not in _BITS:
        raise UnsupportedInput(
            "SegmentationType (0062,0001) is none that is known",
            where=str(path),
            needed=", ".join(sorted(_BITS)),
        )
    if "TotalPixelMatrixColumns" in dataset:
        raise UnsupportedInput("tiled segmentations of microscope slides are not handled", where=str(path))
    names, renamed = _names(dataset, path, lowest=0 if kind == "LABELMAP" else 1)
    shape = _frame_shape(dataset, path, kind)
    groups = sequence(dataset, "PerFrameFunctionalGroupsSequence", path, "(5200,9230)")
    if len(groups) != shape[0]:
        raise CorruptInput(
            "frames and PerFrameFunctionalGroupsSequence (5200,9230) do not fit",
            where=str(path),
            found=f"{len(groups)} items",
            needed=f"{shape[0]} frames",
        )
    shared_items = sequence(dataset, "SharedFunctionalGroupsSequence", path, "(5200,9229)")
    shared = shared_items[0] if shared_items else Dataset()
    planes = [_plane(group, shared, path) for group in groups]
    segments = [0] * len(groups)
    if kind != "LABELMAP":
        segments = [_segment(group, shared, names, path) for group in groups]
    frames = _pixels(dataset, path).reshape(shape)
    cautions = list(renamed)
    if kind == "FRACTIONAL":
        frames = _above(frames, dataset, fractional_threshold, path)
        text = f"fractional segments were cut at {fractional_threshold:g}"
        cautions.append(Caution("segments-fractional", text, str(path)))
    elif kind == "LABELMAP":
        frames = _without_background(frames, dataset, names, path)
    return Segmentation(
        names,
        planes,
        segments,
        frames,
        _declared_spacing(groups, shared, path),
        str(element(dataset, "FrameOfReferenceUID", path, "(0020,0052)") or ""),
        cautions,
    )


def _names(dataset: Dataset, path: Path, lowest: int) -> tuple[dict[int, str], tuple[Caution, ...]]:
    labels: dict[int, str] = {}
    for item in sequence(dataset, "SegmentSequence", path, "(0062,0002)"):
        number = whole_number(item, "SegmentNumber", path, "(0062,0004)")
        if number is None or number in labels or number < lowest:
            raise CorruptInput("SegmentNumber (0062,0004) is absent, repeated or 0", where=str(path))
        labels[number] = clean_name(element(item, "SegmentLabel", path, "(0062,0005)"), f"segment-{number}")
    if not labels:
        raise CorruptInput("SegmentSequence (0062,0002) is absent or empty", where=str(path))
    names, renamed = unique_names(labels.values(), where=str(path))
    return dict(zip(labels, names, strict=True)), renamed


def _frame_shape(dataset: Dataset, path: Path, kind: str) -> tuple[int, int, int]:
    """Frames, rows and columns, after checking that PixelData holds them and that they fit the budget."""
    sizes: dict[str, int] = {}
    for keyword, tag, default in (
        ("NumberOfFrames", "(0028,0008)", 1),
        ("Rows", "(0028,0010)", 0),
        ("Columns", "(0028,0011)", 0),
        ("BitsAllocated", "(0028,0100)", 0),
        ("SamplesPerPixel", "(0028,0002)", 1),
    ):
        number = whole_number(dataset, keyword, path, tag)
        sizes[keyword] = default if number is None else number
        if sizes[keyword] < 1:
            raise CorruptInput(f"{keyword} {tag} is absent or 0", where=str(path))
    shape = sizes["NumberOfFrames"], sizes["Rows"], sizes["Columns"]
    bits = sizes["BitsAllocated"]
    if bits not in _BITS[kind] or sizes["SamplesPerPixel"] != 1:
        raise CorruptInput(
            f"BitsAllocated (0028,0100) or SamplesPerPixel (0028,0002) is none of a {kind} segmentation",
            where=str(path),
            found=f"{bits} bits, {sizes['SamplesPerPixel']} samples",
        )
    n_pixels = shape[0] * shape[1] * shape[2]
    check_budget(n_pixels * max(1, bits // 8), where=path, what="the segmentation")
    data = element(dataset, "PixelData", path, "(7FE0,0010)")
    if not isinstance(data, bytes):
        raise CorruptInput("PixelData (7FE0,0010) is absent", where=str(path))
    expected = (n_pixels * bits + 7) // 8
    if not _is_compressed(dataset, path) and len(data) not in (expected, expected + 1):
        raise CorruptInput(
            "PixelData (7FE0,0010) does not hold the frames that the header declares",
            where=str(path),
            found=f"{len(data)} bytes",
            needed=f"{expected} bytes",
        )
    return shape


def _is_compressed(dataset: Dataset, path: Path) -> bool:
    return bool(
        guarded(
            path,
            "TransferSyntaxUID (0002,0010)",
            lambda: dataset.file_meta.TransferSyntaxUID.is_encapsulated,
        )
    )


def _pixels(dataset: Dataset, path: Path) -> PixelArray:
    """Stored pixels of all frames; compressed ones are decoded in a child process."""
    if not _is_compressed(dataset, path):
        part = "PixelData (7FE0,0010)"
        return np.asarray(guarded(path, part, lambda: pixel_array(dataset, raw=True)))
    header = read_header(path)
    stored = replace(pixel_format(header), photometric="MONOCHROME2")
    with Decoder() as decoder:
        return np.stack(decoder.decode(header, stored))


def _group(item: Dataset, shared: Dataset, keyword: str, path: Path, tag: str) -> Dataset:
    """A functional group of a frame, its own before the shared one."""
    for holder in (item, shared):
        entries = sequence(holder, keyword, path, tag)
        if entries:
            return entries[0]
    return Dataset()


def _plane(group: Dataset, shared: Dataset, path: Path) -> Plane:
    position = _group(group, shared, "PlanePositionSequence", path, "(0020,9113)")
    orientation = _group(group, shared, "PlaneOrientationSequence", path, "(0020,9116)")
    measures = _group(group, shared, "PixelMeasuresSequence", path, "(0028,9110)")
    origin = _needed(position, "ImagePositionPatient", path, "(0020,0032)", 3)
    cosines = _needed(orientation, "ImageOrientationPatient", path, "(0020,0037)", 6).reshape(2, 3)
    spacing = _needed(measures, "PixelSpacing", path, "(0028,0030)", 2)
    lengths = np.linalg.norm(cosines, axis=1)
    if np.abs(lengths - 1).max() > 1e-3 or abs(cosines[0] @ cosines[1]) > 1e-3 or spacing.min() < 1e-6:
        raise CorruptInput(
            "ImageOrientationPatient (0020,0037) or PixelSpacing (0028,0030) describes no plane of pixels",
            where=str(path),
        )
    along = cosines / lengths[:, np.newaxis] * _RAS_FROM_LPS
    return Plane(origin * _RAS_FROM_LPS, along[0] * spacing[1], along[1] * spacing[0])


def _needed(item: Dataset, keyword: str, path: Path, tag: str, count: int) -> npt.NDArray[np.float64]:
    found = numbers(item, keyword, path, tag, count)
    if found is None:
        raise MissingMetadata(
            f"{keyword} {tag} of a frame is absent",
            where=str(path),
            next_step="export the segmentation with the geometry of its frames",
        )
    return np.array(found)


def _segment(group: Dataset, shared: Dataset, names: dict[int, str], path: Path) -> int:
    identification = _group(group, shared, "SegmentIdentificationSequence", path, "(0062,000A)")
    number = whole_number(identification, "ReferencedSegmentNumber", path, "(0062,000B)")
    if number is None or number not in names:
        raise CorruptInput(
            "a frame's ReferencedSegmentNumber (0062,000B) is absent or not in SegmentSequence (0062,0002)",
            where=str(path),
        )
    return number


def _declared_spacing(groups: list[Dataset], shared: Dataset, path: Path) -> float | None:
    measures = _group(groups[0], shared, "PixelMeasuresSequence", path, "(0028,9110)")
    for keyword, tag in (("SpacingBetweenSlices", "(0018,0088)"), ("SliceThickness", "(0018,0050)")):
        found = numbers(measures, keyword, path, tag, 1)
        if found is not None and found[0] != 0:
            return abs(found[0])
    return None


def _above(frames: PixelArray, dataset: Dataset, threshold: float, path: Path) -> PixelArray:
    maximum = whole_number(dataset, "MaximumFractionalValue", path, "(0062,000E)")
    if maximum is None or not 1 <= maximum <= 255:
        raise CorruptInput("MaximumFractionalValue (0062,000E) is absent or not 1 to 255", where=str(path))
    if int(frames.max()) > maximum:
        raise CorruptInput(
            "pixels exceed MaximumFractionalValue (0062,000E)", where=str(path), found=str(int(frames.max()))
        )
    return np.asarray(frames >= max(1, int(np.ceil(threshold * maximum - 1e-9))))


def _without_background(
    frames: PixelArray, dataset: Dataset, names: dict[int, str], path: Path
) -> PixelArray:
    """Segment numbers with 0 for the background, which then is no segment."""
    background = whole_number(dataset, "PixelPaddingValue", path, "(0028,0120)") or 0
    present = set(np.unique(frames).tolist()) - {background}
    names.pop(background, None)
    if 0 in present:
        raise UnsupportedInput("a label map whose background is not 0 uses 0 for a segment", where=str(path))
    unknown = present - set(names)
    if unknown:
        raise CorruptInput(
            "pixels hold segment numbers that SegmentSequence (0062,0002) does not describe",
            where=str(path),
            found=f"{len(unknown)} such numbers",
        )
    return frames if background == 0 else np.where(frames == background, 0, frames)


def _placements(found: Segmentation, grid: Grid) -> list[Placement] | None:
    n_rows, n_columns = found.frames.shape[1:]
    placements: list[Placement] = []
    for plane in found.planes:
        placement = place(plane, grid, n_rows, n_columns)
        if placement is None:
            return None
        placements.append(placement)
    return placements


def _regions(found: Segmentation, placements: list[Placement], grid: Grid, where: str) -> Regions:
    parts: dict[int, list[IndexArray]] = defaultdict(list)
    seen: set[tuple[int, ...]] = set()
    total, outside = 0, 0
    for number, placement, frame in zip(found.segments, placements, found.frames, strict=True):
        if (number, *placement.key) in seen:
            raise UnsupportedInput(
                "two frames of one segment lie at the same position",
                where=where,
                next_step="export one segmentation per time point",
            )
        seen.add((number, *placement.key))
        rows, columns = np.nonzero(frame)
        inside = frame[rows, columns] if number == 0 else np.full(rows.size, number)
        for segment in np.unique(inside).tolist():
            members = inside == segment
            voxels, lost = placement.flat(rows[members], columns[members])
            parts[segment].append(voxels)
            total, outside = total + int(members.sum()), outside + lost
    if total and outside == total:
        raise GeometryMismatch("the segmentation lies outside the image", where=where)
    cautions = list(found.warnings)
    if outside:
        text = f"{100 * outside / total:.3g} % of the segmented pixels lie outside the image"
        cautions.append(Caution("segments-outside-image", text, where))
    none: list[IndexArray] = [np.empty(0, np.int64)]
    inside_of = {
        name: np.sort(np.concatenate(parts.get(number, none))) for number, name in found.names.items()
    }
    return layered(inside_of, grid, where=where, warnings=cautions)
