"""Writing a Volume as NIfTI: the same bytes for the same Volume, nothing but voxels and geometry."""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO

import numpy as np

from imgtheranostics.volume import Volume

_BLOCK = 1 << 20
_COMPRESSION = 3
_GZIP_WINDOW = 31
_LARGEST_NIFTI1_EXTENT = 32767
_ROUNDING_MM = 1e-4
_LARGEST_STEP_S = 1e9
_SCANNER = 1
_LABEL_INTENT = 1002


def write_nifti(volume: Volume, stream: BinaryIO, *, compressed: bool) -> None:
    """Write the image; compressed without name and time stamp.

    NIfTI-1, or NIfTI-2 where extents or the precision of the affine need it.
    """
    header = _header(volume)
    start = header.tobytes() + b"\x00\x00\x00\x00"
    if compressed:
        _write_compressed(stream, start, volume)
        return
    stream.write(start)
    for block in _blocks(volume):
        stream.write(block)


def _write_compressed(stream: BinaryIO, start: bytes, volume: Volume) -> None:
    # zlib's own gzip header holds neither a file name nor a time, so equal volumes give equal files.
    packer = zlib.compressobj(_COMPRESSION, zlib.DEFLATED, _GZIP_WINDOW)
    stream.write(packer.compress(start))
    for block in _blocks(volume):
        stream.write(packer.compress(block))
    stream.write(packer.flush())


def _blocks(volume: Volume) -> Any:
    flat = volume.data.reshape(-1, order="F")
    little = flat.dtype.newbyteorder("<")
    for first in range(0, flat.size, _BLOCK):
        yield flat[first : first + _BLOCK].astype(little, copy=False).tobytes()


def _header(volume: Volume) -> Any:
    import nibabel

    needs_more = max(volume.shape) > _LARGEST_NIFTI1_EXTENT or _rounding_mm(volume) > _ROUNDING_MM
    kind: Any = nibabel.Nifti2Header if needs_more else nibabel.Nifti1Header
    header = kind(endianness="<")
    header.set_data_dtype(volume.data.dtype)
    header.set_data_shape(volume.shape)
    header["pixdim"][1:4] = volume.grid.spacing_mm
    header.set_sform(volume.affine, code=_SCANNER)
    if _is_rotation(volume):
        header.set_qform(volume.affine, code=_SCANNER)
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    header["vox_offset"] = 544 if needs_more else 352
    if volume.quantity == "labels":
        header["intent_code"] = _LABEL_INTENT
    _describe_fourth_axis(header, volume)
    return header.structarr


def _describe_fourth_axis(header: Any, volume: Volume) -> None:
    """Unit and step of dimension 4, which the format reserves for time."""
    first = volume.axes[0] if volume.axes else None
    if first is None or first.name != "time":
        header.set_xyzt_units("mm", None)
        if first is not None:
            header["pixdim"][4] = 0.0
    else:
        header.set_xyzt_units("mm", "sec")
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.diff(first.values)
            even = steps.size > 0 and bool((np.abs(steps - steps[0]) <= 1e-6 * steps[0]).all())
        header["pixdim"][4] = steps[0] if even and 0 < steps[0] < _LARGEST_STEP_S else 0.0
    if volume.axis("wavelength") is not None:
        header["intent_name"] = b"MSOT"


def _rounding_mm(volume: Volume) -> float:
    """How far single precision of the affine would move a corner voxel."""
    rounded = volume.affine.astype(np.float32).astype(np.float64) - volume.affine
    last = np.array(volume.grid.shape) - 1
    return float(np.abs(rounded[:3, :3] @ last).max() + np.abs(rounded[:3, 3]).max())


def _is_rotation(volume: Volume) -> bool:
    """Whether the directions are orthogonal, as a quaternion needs them."""
    cosines = volume.affine[:3, :3] / np.array(volume.grid.spacing_mm)
    return bool(np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-6))
