"""NIfTI and Analyze headers: nibabel's layout, and rules of our own before anything is allocated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput, ImgTheranosticsError, UnsupportedInput
from imgtheranostics.io.nifti_geometry import FloatArray, read_affine, unit_of_length

HEADER_SIZES = {348: "NIfTI-1", 540: "NIfTI-2"}

_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    32: "c8",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    1792: "c16",
}
_REFUSED_TYPES = {
    0: "unknown",
    1: "one bit per voxel",
    128: "RGB colour",
    1536: "128-bit float",
    2048: "256-bit complex",
    2304: "RGBA colour",
}
_TIME_UNITS = {0: None, 8: "s", 16: "ms", 24: "us", 32: "Hz", 40: "ppm", 48: "rad/s"}
_UNSCALED: tuple[float | None, float, tuple[Caution, ...]] = (None, 0.0, ())
_LABEL_INTENT = 1002
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What a checked header says.

    Attributes
    ----------
    kind : str
        ``NIfTI-1``, ``NIfTI-2`` or ``Analyze``.
    is_pair : bool
        Whether the voxels lie in a separate ``.img`` file.
    shape : tuple of int
        At least three extents, trailing ones of length 1 dropped.
    dtype : numpy.dtype
        Stored type with its byte order.
    offset : int
        Where the voxels begin.
    slope, intercept : float or None
        Scaling; None where the format says that there is none.
    affine : (4, 4) array
        Voxel index to RAS+ mm, after unit conversion.
    step, step_unit : float or None, str or None
        pixdim[4] and its unit, as the file has them.
    cautions : tuple of Caution
    """

    kind: str
    is_pair: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float | None
    intercept: float
    affine: FloatArray
    step: float | None
    step_unit: str | None
    is_labels: bool
    is_big_endian: bool
    cautions: tuple[Caution, ...] = ()

    @property
    def n_samples(self) -> int:
        """Number of stored values."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes that the voxels take in the file."""
        return self.n_samples * self.dtype.itemsize


def looks_like_header(start: bytes) -> bool:
    """Whether these first bytes are those of a NIfTI or Analyze header (at least 348 of them)."""
    if len(start) < 348:
        return False
    size = _declared_size(start)
    if size is None:
        return False
    if size[0] == 540:
        return start[4:8] in (b"n+2\x00", b"ni2\x00")
    return start[344:348] in (b"n+1\x00", b"ni1\x00") or _is_analyze(start)


def parse_header(start: bytes, where: str, *, separate_file: bool) -> NiftiHeader:
    """Check the first bytes of an image and say what they declare.

    Parameters
    ----------
    start : bytes
        The beginning of the (inflated) file, at least 540 bytes where the file has them.
    where : str
        File, for messages.
    separate_file : bool
        Whether this is the ``.hdr`` of a pair: only there Analyze is accepted.

    Raises
    ------
    CorruptInput, UnsupportedInput
        By the rules of the input reference, naming the field.
    """
    import nibabel

    if not start:
        raise CorruptInput("empty file", where=where)
    if start.startswith(_POINTER):
        raise CorruptInput(
            "the file is a Git LFS pointer, not the image itself",
            where=where,
            next_step="fetch the data with git lfs pull",
        )
    kind, order, is_pair = _identify(start, where, separate_file)
    if kind == "NIfTI-2":
        fields = nibabel.Nifti2Header(start[:540], endianness=order, check=False).structarr
    else:
        fields = nibabel.Nifti1Header(start[:348], endianness=order, check=False).structarr
    try:
        return _checked(fields, kind, order, is_pair, where)
    except ImgTheranosticsError as error:
        error.where = f"{where}, {error.where}" if error.where else where
        raise


def _declared_size(start: bytes) -> tuple[int, str] | None:
    for order in ("<", ">"):
        size = int.from_bytes(start[:4], "little" if order == "<" else "big")
        if size in HEADER_SIZES:
            return size, order
    return None


def _is_analyze(start: bytes) -> bool:
    return start[344:348] == b"\x00\x00\x00\x00"


def _identify(start: bytes, where: str, separate_file: bool) -> tuple[str, str, bool]:
    declared = _declared_size(start)
    if declared is None or len(start) < declared[0]:
        raise CorruptInput(
            "this is no NIfTI header",
            where=where,
            found=f"{len(start)} bytes that begin with {start[:4].hex(' ')}",
            needed="sizeof_hdr 348 or 540 and as many bytes",
        )
    size, order = declared
    kind = HEADER_SIZES[size]
    magic = start[4:8] if size == 540 else start[344:348]
    singles, pairs = ((b"n+2\x00",), (b"ni2\x00",)) if size == 540 else ((b"n+1\x00",), (b"ni1\x00",))
    if magic in singles:
        return kind, order, False
    if magic in pairs:
        return kind, order, True
    if size == 348 and separate_file and _is_analyze(start):
        return "Analyze", order, True
    raise CorruptInput(
        "the magic bytes are not those of a NIfTI file",
        where=f"{where}, magic",
        found=magic.hex(" "),
        needed="n+1, ni1, n+2 or ni2",
    )


def _checked(fields: Any, kind: str, order: str, is_pair: bool, where: str) -> NiftiHeader:
    shape = _shape(fields["dim"])
    dtype = _dtype(int(fields["datatype"]), int(fields["bitpix"]), order)
    length_factor, step_unit, unit_cautions = _units(fields, kind)
    affine, affine_cautions = read_affine(fields, shape, kind, length_factor)
    if kind == "Analyze":
        slope, intercept, scale_cautions = _UNSCALED
    else:
        slope, intercept, scale_cautions = _scaling(fields, dtype)
    step = float(fields["pixdim"][4])
    return NiftiHeader(
        kind=kind,
        is_pair=is_pair,
        shape=shape,
        dtype=dtype,
        offset=_offset(float(fields["vox_offset"]), kind, is_pair),
        slope=slope,
        intercept=intercept,
        affine=affine,
        step=step if math.isfinite(step) and step > 0 else None,
        step_unit=step_unit,
        is_labels=kind != "Analyze" and int(fields["intent_code"]) == _LABEL_INTENT and dtype.kind in "iu",
        is_big_endian=order == ">",
        cautions=(*unit_cautions, *affine_cautions, *scale_cautions),
    )


def _shape(dim: npt.NDArray[np.integer[Any]]) -> tuple[int, ...]:
    rank = int(dim[0])
    if not 1 <= rank <= 7:
        raise CorruptInput(
            "the number of dimensions is impossible", where="dim[0]", found=str(rank), needed="1 to 7"
        )
    for axis in range(1, rank + 1):
        if int(dim[axis]) < 1:
            raise CorruptInput(
                f"the extent dim[{axis}] is {'negative' if dim[axis] < 0 else 'zero'}",
                where=f"dim[{axis}]",
                found=str(int(dim[axis])),
                needed="at least 1",
            )
    shape = [int(n) for n in dim[1 : rank + 1]] + [1] * (3 - rank)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) > 5:
        raise UnsupportedInput(
            "images of more than five dimensions are not handled",
            where="dim",
            found=" x ".join(str(n) for n in shape),
            needed="space and at most two more axes",
        )
    return tuple(shape)


def _dtype(code: int, bits: int, order: str) -> np.dtype[Any]:
    if code in _REFUSED_TYPES:
        raise UnsupportedInput(
            f"voxels of type {_REFUSED_TYPES[code]} are not handled",
            where="datatype",
            found=str(code),
            needed="integer or 32/64-bit float voxels",
        )
    if code not in _DTYPES:
        raise UnsupportedInput(
            "the voxel type is not known", where="datatype", found=str(code), needed="a NIfTI datatype code"
        )
    dtype = np.dtype(order + _DTYPES[code])
    if bits != dtype.itemsize * 8:
        raise CorruptInput(
            "bitpix contradicts datatype",
            where="bitpix",
            found=f"{bits} with datatype {code}",
            needed=str(dtype.itemsize * 8),
            next_step="find out which of the two is right and correct the header",
        )
    return dtype


def _offset(offset: float, kind: str, is_pair: bool) -> int:
    least = 0 if is_pair else (544 if kind == "NIfTI-2" else 352)
    if offset == 0:
        return least
    if not math.isfinite(offset) or offset < least or offset != int(offset):
        raise CorruptInput(
            "the voxels cannot begin where the header says",
            where="vox_offset",
            found=f"{offset:g}",
            needed=f"a whole number of at least {least}",
        )
    return int(offset)


def _scaling(fields: Any, dtype: np.dtype[Any]) -> tuple[float | None, float, tuple[Caution, ...]]:
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if math.isinf(slope) or math.isinf(intercept):
        name, value = ("scl_slope", slope) if math.isinf(slope) else ("scl_inter", intercept)
        raise CorruptInput("the scaling is infinite", where=name, found=str(value), needed="a finite number")
    if slope == 0 or math.isnan(slope):
        # Float images without a scale are the rule (nibabel writes NaN); whole numbers may have lost theirs.
        cautions = (
            (
                Caution(
                    "no-scaling",
                    f"scl_slope is {slope:g}, which by the format means that stored values are not scaled",
                    "scl_slope",
                ),
            )
            if dtype.kind in "iu" or slope == 0
            else ()
        )
        return None, 0.0, cautions
    if math.isnan(intercept):
        raise CorruptInput(
            "the intercept is not a number", where="scl_inter", found="nan", needed="a finite number"
        )
    if slope == 1 and intercept == 0:
        return None, 0.0, ()
    cautions = ()
    if slope < 0:
        cautions = (Caution("negative-slope", f"scl_slope is negative ({slope:g})", "scl_slope"),)
    return slope, intercept, cautions


def _units(fields: Any, kind: str) -> tuple[float, str | None, tuple[Caution, ...]]:
    if kind == "Analyze":
        return (
            1.0,
            None,
            (Caution("length-unit-assumed", "Analyze states no unit of length: mm assumed", "vox_units"),),
        )
    code = int(fields["xyzt_units"])
    factor, cautions = unit_of_length(code & 0x07)
    time_code = code & 0x38
    if time_code not in _TIME_UNITS:
        raise CorruptInput(
            "the unit of the fourth axis is not one of the format", where="xyzt_units", found=str(code)
        )
    return factor, _TIME_UNITS[time_code], cautions
