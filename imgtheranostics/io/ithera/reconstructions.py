"""Reconstructions that the vendor's software left beside an iThera scan: nodes of ``.msot``, RECONs/*.bin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import PhotoacousticAcquisition, Subject
from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata, NothingUsable
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.frame_stack import FrameStack
from imgtheranostics.io.git_lfs import is_lfs_pointer_file, refuse_lfs_pointer
from imgtheranostics.io.ithera.description import NODES, Description
from imgtheranostics.io.ithera.frames import ScanFrame, relative_seconds
from imgtheranostics.io.ithera.quantities import number, required, whole_number
from imgtheranostics.io.ithera.signals import MANUFACTURER
from imgtheranostics.io.xml_tree import Element
from imgtheranostics.volume import FloatArray, Source, make_step

_FOLDER = "RECONs"
_IDENTIFIER = re.compile(r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")
_TYPES = (np.dtype("<f8"), np.dtype("<f4"))
_MOST_PIXELS = 1 << 15
_LARGEST_FIELD_M = 0.5


@dataclass(frozen=True, eq=False)
class _Shape:
    """Pixels along x, y and z, and the field of view in mm."""

    pixels: tuple[int, int, int]
    field_mm: tuple[float, float, float | None]
    cautions: tuple[Caution, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float | None]:
        x, y, z = (
            None if field is None else field / count
            for field, count in zip(self.field_mm, self.pixels, strict=True)
        )
        if x is None or y is None:
            raise ValueError("x and y have a field of view")
        return x, y, z


@dataclass(frozen=True, eq=False)
class _Image:
    """One image of a node: its place in the file, the scan frames it was made of, and whether they failed."""

    offset: int
    frames: tuple[ScanFrame, ...]
    has_errors: bool


def reconstruction(description: Description, index: int) -> FrameStack:
    """One reconstruction of a scan, by its place in the list, without reading an image.

    Raises
    ------
    NothingUsable
        If its file is missing.
    CorruptInput
        If the size of the file is not that of its images, or it names scan frames that are none.
    MissingMetadata, UnitMismatch
        If matrix or field of view are not stated.
    """
    node, path = description.root.all(*NODES)[index], description.path
    shape = _shape(node, path)
    images = _images(node, description)
    file = _file(node, path)
    dtype = _type(file, len(images), shape)
    wavelengths, table, cautions = _table(images, path)
    seconds = _seconds(description, images, table)
    energies = _mean(images, table, "energy_mj")
    stages = _mean(images, table, "stage_mm")
    failed = sum(image.has_errors for image in images)
    if failed:
        text = f"{failed} images are marked as faulty by the vendor's software: they are not a number here"
        cautions = (*cautions, Caution("reconstruction-errors", text, "HasErrors"))
    identifier = required(node, path, "GUID").text
    per_wavelength = () if energies is None else tuple(float(one) for one in energies.mean(axis=0))
    return FrameStack(
        where=file,
        read=_reader(file, dtype, shape, images, table),
        n_frames=table.shape[0],
        wavelength_nm=wavelengths,
        pixels=shape.pixels,
        spacing_mm=shape.spacing_mm,
        stage_mm=None if stages is None else stages.mean(axis=1),
        seconds=seconds,
        acquisition=PhotoacousticAcquisition(
            manufacturer=MANUFACTURER,
            wavelength_nm=tuple(float(one) for one in wavelengths),
            laser_energy_mj=per_wavelength,
            energy_corrected=description.energy_corrected,
            subject=Subject(species=description.species),
        ),
        cautions=(*description.cautions, *shape.cautions, *cautions),
        history=(
            make_step(
                "load",
                format="iThera reconstruction",
                number=index + 1,
                stored_type=str(dtype),
                wavelength_order_nm=_order(images),
            ),
        ),
        source=Source((path, file), identifiers={"path": str(path)}),
        uid=identifier,
        label=f"reconstruction {index + 1}",
    )


def _shape(node: Element, path: Path) -> _Shape:
    """Matrix and field of view, which older files state for a square and newer ones for each axis."""
    counts, extents = node.first("FIELD-OF-VIEW", "PixelCount"), node.first("FIELD-OF-VIEW", "Extents")
    if counts is not None and extents is not None:
        x, y, z = (_count(required(counts, path, axis), path) for axis in "XYZ")
        dx, dy, dz = (number(required(extents, path, axis), path) * 1e3 for axis in "XYZ")
        return _Shape((x, y, z), (dx, dy, dz if dz > 0 and z > 1 else None))
    side = _count(required(node, path, "Resolution"), path)
    deep = node.first("ZResolution")
    slices = 1 if deep is None or not deep.text else max(1, whole_number(deep, path))
    if slices > _MOST_PIXELS:
        raise CorruptInput("a reconstruction has too many slices", where=str(path), found=str(slices))
    field, cautions = _square_field(node, path)
    depth = _extent(node, path, "RoiZlow", "RoiZhigh") if slices > 1 else None
    if slices > 1 and not depth:
        raise MissingMetadata(
            "a reconstruction of several slices states no extent across them",
            where=f"{path}, RoiZlow, RoiZhigh",
        )
    return _Shape((side, side, slices), (field, field, depth or None), cautions)


def _count(element: Element, path: Path) -> int:
    count = whole_number(element, path)
    if not 1 <= count <= _MOST_PIXELS:
        raise CorruptInput(
            "a reconstruction has an impossible matrix",
            where=f"{path}, {element.name}",
            found=str(count),
            needed=f"1 to {_MOST_PIXELS} pixels",
        )
    return count


def _square_field(node: Element, path: Path) -> tuple[float, tuple[Caution, ...]]:
    extent = _extent(node, path, "RoiLow", "RoiHigh")
    if extent:
        return extent, ()
    stated = node.first("Roi")
    if stated is None or not stated.text:
        raise MissingMetadata(
            "a reconstruction states no field of view", where=f"{path}, RoiLow, RoiHigh or Roi"
        )
    value = number(stated, path)
    if 0 < value <= _LARGEST_FIELD_M:
        return value * 1e3, ()
    text = f"a field of view of {value:g} cannot be m: it is taken to be mm"
    return value, (Caution("field-of-view-unit", text, "Roi"),)


def _extent(node: Element, path: Path, low: str, high: str) -> float | None:
    """Distance of two limits in mm; they are in m. None where they are not stated, or the wrong way round."""
    ends = [node.first(name) for name in (low, high)]
    if any(end is None or not end.text for end in ends):
        return None
    first, last = (number(end, path) for end in ends if end is not None)
    return (last - first) * 1e3 if last > first else None


def _images(node: Element, description: Description) -> list[_Image]:
    """The images of a node with the scan frames that they were made of."""
    path = description.path
    by_offset = {frame.offset: frame for frame in description.frames}
    entries = node.all("ReconFrames", "DataModelReconstructionFrame")
    if not entries:
        return [_Image(frame.offset, (frame,), has_errors=False) for frame in description.frames]
    images = []
    for entry in entries:
        listed = [whole_number(one, path) for one in required(entry, path, "ScanFramesID").children]
        if not listed or not set(listed) <= set(by_offset):
            raise CorruptInput(
                "an image was made of scan frames that the scan does not list",
                where=f"{path}, ReconFrames, ScanFramesID",
            )
        failed = entry.first("HasErrors")
        images.append(
            _Image(
                whole_number(required(entry, path, "IDOffset"), path),
                tuple(by_offset[one] for one in listed),
                has_errors=failed is not None and failed.text.lower() == "true",
            )
        )
    if sorted(image.offset for image in images) != list(range(len(images))):
        raise CorruptInput(
            "the images of a reconstruction are not numbered from 0 without gaps",
            where=f"{path}, ReconFrames, IDOffset",
        )
    return sorted(images, key=lambda image: image.offset)


def _file(node: Element, path: Path) -> Path:
    """The images of a node; its name must be an identifier, as a name could lead elsewhere."""
    name = required(node, path, "GUID").text
    if not _IDENTIFIER.match(name):
        raise CorruptInput("a reconstruction is not named by an identifier", where=f"{path}, GUID")
    file = path.parent / _FOLDER / f"{name}.bin"
    if not file.is_file():
        raise NothingUsable(
            "the images of a reconstruction are missing",
            where=str(path),
            needed=f"{_FOLDER}/{name}.bin beside it",
            next_step="copy the whole folder of the scan",
        )
    return file


def _type(file: Path, n_images: int, shape: _Shape) -> np.dtype[Any]:
    """The type of the stored numbers, which only the size of the file tells."""
    if is_lfs_pointer_file(file):
        raise refuse_lfs_pointer(file)
    n_values = int(np.prod(shape.pixels, dtype=np.int64)) * n_images
    size = file.stat().st_size
    for dtype in _TYPES:
        if size == n_values * dtype.itemsize:
            check_budget(n_values * dtype.itemsize, where=file)
            return dtype
    raise CorruptInput(
        "the size of the images is not that of the reconstruction",
        where=str(file),
        found=f"{size} bytes",
        needed=f"{n_values * 8} or {n_values * 4} bytes: {n_images} images of "
        f"{' x '.join(str(n) for n in shape.pixels)} numbers of 8 or 4 bytes",
        next_step="copy the scan again; it may be cut off",
    )


def _order(images: list[_Image]) -> list[float]:
    return list(dict.fromkeys(image.frames[0].wavelength_nm for image in images))


def _table(images: list[_Image], path: Path) -> tuple[FloatArray, npt.NDArray[np.intp], tuple[Caution, ...]]:
    """Images by frame and wavelength, wavelengths rising."""
    by_wavelength: dict[float, list[int]] = {}
    for image in images:
        wavelengths = {frame.wavelength_nm for frame in image.frames}
        if len(wavelengths) > 1:
            raise CorruptInput(
                "an image was made of frames of several wavelengths: it cannot enter unmixing",
                where=f"{path}, ReconFrames, ScanFramesID",
                needed="frames of one wavelength",
            )
        by_wavelength.setdefault(wavelengths.pop(), []).append(image.offset)
    counts = {len(members) for members in by_wavelength.values()}
    if len(counts) > 1:
        raise CorruptInput(
            "a reconstruction does not hold as many images at each wavelength",
            where=f"{path}, ReconFrames",
            found=", ".join(f"{one:g} nm {len(by_wavelength[one])}" for one in sorted(by_wavelength)),
        )
    wavelengths_nm = sorted(by_wavelength)
    table = np.array([by_wavelength[one] for one in wavelengths_nm]).T
    return np.array(wavelengths_nm), table, ()


def _seconds(
    description: Description, images: list[_Image], table: npt.NDArray[np.intp]
) -> FloatArray | None:
    seconds = relative_seconds(description.frames)
    if seconds is None:
        return None
    means = np.array([float(seconds[[frame.offset for frame in image.frames]].mean()) for image in images])
    found: FloatArray = means[table]
    return found


def _mean(images: list[_Image], table: npt.NDArray[np.intp], name: str) -> FloatArray | None:
    """A value of the scan frames, mean over those of one image; None where one does not state it."""
    values = [[getattr(frame, name) for frame in image.frames] for image in images]
    if any(value is None for row in values for value in row):
        return None
    means = np.array([float(np.mean(row)) for row in values])
    found: FloatArray = means[table]
    return found


def _reader(
    file: Path, dtype: np.dtype[Any], shape: _Shape, images: list[_Image], table: npt.NDArray[np.intp]
) -> Any:
    nx, ny, nz = shape.pixels
    count = nx * ny * nz

    def read(frame: int, wavelength: int) -> npt.NDArray[Any]:
        image = images[table[frame, wavelength]]
        stored = np.fromfile(file, dtype, count=count, offset=image.offset * count * dtype.itemsize)
        if image.has_errors:
            stored = np.full(count, np.nan, dtype=dtype)
        return stored.reshape(nz, ny, nx)

    return read
