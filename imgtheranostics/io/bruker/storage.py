"""How the numbers of a 2dseq file are stored and scaled, checked against the size of the file."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, MissingMetadata, UnsupportedInput
from imgtheranostics.io.bruker.dataset import Dataset
from imgtheranostics.io.bruker.frame_groups import IndexArray
from imgtheranostics.io.bruker.placement import read_size
from imgtheranostics.io.git_lfs import is_lfs_pointer_file, refuse_lfs_pointer

_ENUMERATION = re.compile(r"^_\d{1,3}BIT_[A-Z_]{1,16}$")

FloatArray = npt.NDArray[np.float64]

WORD_TYPES = {"_8BIT_UNSGN": "u1", "_16BIT_SGN": "i2", "_32BIT_SGN": "i4", "_32BIT_FLOAT": "f4"}
BYTE_ORDERS = {"littleendian": "<", "bigendian": ">"}


@dataclass(frozen=True, slots=True)
class Storage:
    """How the numbers stand in the file.

    Attributes
    ----------
    dtype : dtype
    size : tuple of int
        Voxels of a frame as VisuCoreSize says.
    slope, offset : (n_frames,) ndarray
    swapped : (n_frames,) ndarray of int
        Where not 0, a frame is stored with two dimensions exchanged: see `exchanged`.
    reversed_slices : bool
        Slices of three-dimensional frames are stored from the last to the first.
    """

    dtype: np.dtype[np.generic]
    size: tuple[int, ...]
    slope: FloatArray
    offset: FloatArray
    swapped: IndexArray
    reversed_slices: bool

    def exchanged(self, frame: int) -> tuple[int, int] | None:
        """The two dimensions that are exchanged in a frame; of equal lengths they are not, as measured."""
        code = int(self.swapped[frame])
        if code == 0:
            return None
        first, second = (0, len(self.size) - 1) if code >= len(self.size) else (code - 1, code)
        return None if self.size[first] == self.size[second] else (first, second)


def read_storage(dataset: Dataset) -> Storage:
    """How numbers are stored and scaled, checked against the size of the file.

    Raises
    ------
    MissingMetadata
        If slope, offset, type or byte order is absent.
    CorruptInput
        If a slope is not finite or 0, or the file has another size than its header says.
    UnsupportedInput
        If the type is unknown, or two-dimensional slices are stored in reverse.
    """
    visu, frames = dataset.visu, dataset.frames
    size = read_size(visu)
    slope, offset = _scales(dataset)
    swapped = frames.values(visu, "VisuCoreTransposition")
    if swapped is None or not np.isfinite(swapped).all():
        swapped = np.zeros((frames.count, 1))
    order = (visu.text("VisuCoreDiskSliceOrder") or "").lower()
    if order == "disk_reverse_slice_order" and len(size) == 2 and frames.find("FG_SLICE") is not None:
        raise UnsupportedInput(
            "slices in reverse order on disk are not handled: readers disagree on where they lie",
            where=visu.where("VisuCoreDiskSliceOrder"),
            needed="disk_normal_slice_order",
            next_step="export the images as DICOM",
        )
    storage = Storage(
        _dtype(dataset),
        size,
        slope,
        offset,
        swapped[:, 0].astype(np.intp),
        order == "disk_reverse_slice_order",
    )
    _check_file_size(dataset, storage)
    return storage


def _scales(dataset: Dataset) -> tuple[FloatArray, FloatArray]:
    visu, frames = dataset.visu, dataset.frames
    slope, offset = (
        frames.values(visu, name, strict=True) for name in ("VisuCoreDataSlope", "VisuCoreDataOffs")
    )
    if slope is None:
        raise visu.missing("VisuCoreDataSlope", "stored values mean nothing without their slope")
    if offset is None:
        raise visu.missing("VisuCoreDataOffs", "stored values mean nothing without their offset")
    if not np.isfinite(slope).all() or (slope == 0).any() or not np.isfinite(offset).all():
        bad = slope[~np.isfinite(slope) | (slope == 0)]
        raise CorruptInput(
            "a slope or offset is not a scale",
            where=visu.where("VisuCoreDataSlope" if bad.size else "VisuCoreDataOffs"),
            found=f"{bad[0]:g}" if bad.size else "an offset that is not finite",
            needed="finite numbers, slopes other than 0, for every frame",
            next_step="reconstruct the images again",
        )
    return slope[:, 0], offset[:, 0]


def _dtype(dataset: Dataset) -> np.dtype[np.generic]:
    visu = dataset.visu
    word, order = visu.text("VisuCoreWordType"), visu.text("VisuCoreByteOrder")
    if word is None:
        raise visu.missing("VisuCoreWordType")
    kind = next((code for name, code in WORD_TYPES.items() if word.upper().startswith(name)), None)
    if kind is None:
        raise UnsupportedInput(
            "the type of the stored numbers is not known",
            where=visu.where("VisuCoreWordType"),
            found=word if _ENUMERATION.match(word) else "another text",
            needed=", ".join(WORD_TYPES),
        )
    if order is None and kind != "u1":
        raise visu.missing("VisuCoreByteOrder")
    sign = BYTE_ORDERS.get((order or "littleEndian").lower())
    if sign is None:
        raise UnsupportedInput(
            "the byte order is not known",
            where=visu.where("VisuCoreByteOrder"),
            needed="littleEndian, bigEndian",
        )
    return np.dtype(sign + kind)


def _check_file_size(dataset: Dataset, storage: Storage) -> None:
    if is_lfs_pointer_file(dataset.path):
        raise refuse_lfs_pointer(dataset.path)
    try:
        found = dataset.path.stat().st_size
    except OSError as error:
        raise MissingMetadata(
            "the image file cannot be read", where=str(dataset.path), found=error.strerror
        ) from None
    needed = storage.dtype.itemsize * dataset.frames.count * int(np.prod(storage.size, dtype=np.int64))
    if found == needed:
        return
    twice = "; a file of twice the size holds complex images" if found == 2 * needed else ""
    raise CorruptInput(
        "empty file" if not found else "the file does not have the size that its header says",
        where=str(dataset.path),
        found=f"{found} bytes{twice}",
        needed=f"{needed} bytes: {dataset.frames.count} frames of "
        f"{' x '.join(str(n) for n in storage.size)} numbers of {storage.dtype.itemsize} bytes",
        next_step="copy the file again; reconstruct magnitude images where it is complex",
    )
