"""Voxels of a NIfTI image: one output buffer, scaled in float64 blocks, no more than the header declares."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue, UnsupportedInput
from imgtheranostics.io.budget import BUDGET_VARIABLE, check_budget, check_file_holds
from imgtheranostics.io.gzip_stream import GzipStream, is_gzip
from imgtheranostics.io.nifti_header import NiftiHeader

Array = npt.NDArray[Any]
Reader = Callable[[memoryview], int]

_BLOCK = 1 << 18
_SAMPLED_ABOVE_BYTES = 64 * 2**20
_SAMPLE_STRIDE = 1024
_SAMPLE_LENGTH = 64
_MAXIMUM_TAIL = 2 * 2**30
_BOMB_BYTES = 2**30
_BOMB_RATIO = 250


def read_voxels(
    path: Path, header: NiftiHeader, *, factor: float = 1.0, dtype: npt.DTypeLike = np.float32
) -> tuple[Array, tuple[Caution, ...]]:
    """The voxels of an image in Fortran order.

    Parameters
    ----------
    path : Path
        File that holds the voxels, compressed or not, whatever its name says.
    header : NiftiHeader
    factor : float
        Applied together with the header's scaling, for the conversion to another unit.
    dtype : dtype
        float32, or an integer type for labels and flags, which must come out as whole numbers.

    Returns
    -------
    data : array of ``header.shape``
        A read-only memory map where the file already holds what is wanted, else a new array.
    cautions : tuple of Caution

    Raises
    ------
    CorruptInput
        If the file does not hold what the header declares; nothing is allocated before that is known.
    UnsupportedInput
        If the image is larger than the memory budget, or complex.
    """
    wanted = np.dtype(dtype)
    check_size(path, header)
    compressed = is_gzip(path)
    size = path.stat().st_size
    plain = factor == 1.0 and header.slope is None and header.dtype == wanted and header.dtype.isnative
    if not compressed and plain:
        return _mapped(path, header)
    check_budget(header.n_samples * wanted.itemsize, where=path)
    out = np.empty(header.n_samples, dtype=wanted)
    if compressed:
        with GzipStream(path) as stream:
            if stream.skip(header.offset) < header.offset:
                raise _truncated(path, header, 0)
            _fill(out, stream.read_into, header, factor, path)
            extra = stream.drain(_MAXIMUM_TAIL)
            cautions = _tail(extra + stream.bytes_after_the_end)
    else:
        with path.open("rb") as file:
            file.seek(header.offset)
            _fill(out, file.readinto, header, factor, path)
        cautions = _tail(size - header.offset - header.n_bytes)
    return out.reshape(header.shape, order="F"), cautions


def check_size(path: Path, header: NiftiHeader) -> None:
    """See that the file can hold what its header declares, before anything of that size is made.

    Raises
    ------
    CorruptInput
        If it cannot.
    UnsupportedInput
        If the voxels are complex.
    """
    if header.dtype.kind == "c":
        raise UnsupportedInput(
            "complex voxels are not loaded as one number",
            where=f"{path}, datatype",
            found=str(header.dtype),
            needed="real voxels",
            next_step="write magnitude and phase as two images",
        )
    size = path.stat().st_size
    if is_gzip(path):
        check_file_holds(header.n_bytes + header.offset, path, inflated=True)
        _refuse_bomb(path, header, size)
    elif size < header.offset + header.n_bytes:
        raise _truncated(path, header, max(0, size - header.offset))


def _refuse_bomb(path: Path, header: NiftiHeader, size: int) -> None:
    """Refuse a small file that would inflate to gigabytes, which images do not do unless they are empty."""
    if (
        os.environ.get(BUDGET_VARIABLE)
        or header.n_bytes <= _BOMB_BYTES
        or header.n_bytes <= _BOMB_RATIO * size
    ):
        return
    raise UnsupportedInput(
        "a small file would inflate to gigabytes",
        where=str(path),
        found=f"{header.n_bytes / 2**30:.3g} GiB from {size} bytes, {header.n_bytes / size:.0f} to 1",
        needed=f"at most {_BOMB_RATIO} to 1 beyond {_BOMB_BYTES / 2**30:g} GiB",
        next_step=f"if the image really is that empty, set {BUDGET_VARIABLE} to the memory that it may take",
    )


def _mapped(path: Path, header: NiftiHeader) -> tuple[Array, tuple[Caution, ...]]:
    data = np.memmap(path, dtype=header.dtype, mode="r", offset=header.offset, shape=header.shape, order="F")
    return np.asarray(data), _tail(path.stat().st_size - header.offset - header.n_bytes)


def _fill(out: Array, read_into: Reader, header: NiftiHeader, factor: float, path: Path) -> None:
    if factor == 1.0 and header.slope is None and header.dtype.isnative and header.dtype == out.dtype:
        got = _read_fully(read_into, out.view("u1").data)
        if got < header.n_bytes:
            raise _truncated(path, header, got)
        return
    raw = np.empty(min(_BLOCK, out.size), dtype=header.dtype)
    slope = (1.0 if header.slope is None else header.slope) * factor
    intercept = header.intercept * factor
    scale = slope != 1.0 or intercept != 0.0
    for first in range(0, out.size, _BLOCK):
        block = raw[: min(_BLOCK, out.size - first)]
        got = _read_fully(read_into, block.view("u1").data)
        if got < block.nbytes:
            raise _truncated(path, header, first * header.dtype.itemsize + got)
        part = out[first : first + block.size]
        if part.dtype.kind in "iu":
            _store_whole(block, part, header, path)
        else:
            _store_float(block, part, (slope, intercept) if scale else None, path)


def _read_fully(read_into: Reader, buffer: memoryview) -> int:
    got = 0
    while got < len(buffer):
        step = read_into(buffer[got:])
        if not step:
            break
        got += step
    return got


def _store_float(block: Array, part: Array, scaling: tuple[float, float] | None, path: Path) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if scaling is None:
            part[:] = block
        else:
            part[:] = block.astype(np.float64) * scaling[0] + scaling[1]
    if (scaling is not None or block.dtype.kind == "f") and not math.isfinite(float(np.abs(part).max())):
        lost = np.isinf(part) & np.isfinite(block.astype(np.float64))
        if lost.any():
            raise ImplausibleValue(
                "scaled values are beyond what float32 can hold",
                where=str(path),
                found=f"{int(lost.sum())} such voxels",
                needed=f"magnitudes up to {np.finfo(np.float32).max:.4g}",
                next_step="check scl_slope and the unit",
            )


def _store_whole(block: Array, part: Array, header: NiftiHeader, path: Path) -> None:
    values: Array = block
    if header.slope is not None:
        values = block.astype(np.float64) * header.slope + header.intercept
    with np.errstate(invalid="ignore"):
        part[:] = values.astype(part.dtype)
    if not np.array_equal(part, values):
        raise CorruptInput(
            "labels or flags are not whole numbers in range",
            where=str(path),
            needed=f"whole numbers that fit {part.dtype}",
            next_step="if this is no label image, correct Quantity in its sidecar",
        )


def _tail(extra: int) -> tuple[Caution, ...]:
    if extra <= 0:
        return ()
    return (Caution("trailing-data", f"{extra} bytes follow the image and were not used", "file size"),)


def _truncated(path: Path, header: NiftiHeader, got: int) -> CorruptInput:
    return CorruptInput(
        "the file ends before the image does",
        where=str(path),
        found=f"{got} bytes of voxels",
        needed=f"{header.n_bytes} bytes ({' x '.join(str(n) for n in header.shape)} of {header.dtype})",
        next_step="copy the file again; it is truncated",
    )


def count_not_finite(data: Array) -> tuple[int, int]:
    """Number of NaN and of infinite voxels; a sum of squares finds the blocks worth a closer look."""
    if data.dtype.kind != "f":
        return 0, 0
    flat = data.reshape(-1, order="F")
    n_nan = n_inf = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, flat.size, _BLOCK):
            block = flat[first : first + _BLOCK]
            if not math.isfinite(float(np.dot(block, block))):
                n_nan += int(np.isnan(block).sum())
                n_inf += int(np.isinf(block).sum())
    return n_nan, n_inf


def not_finite_cautions(data: Array) -> tuple[Caution, ...]:
    """The caution that tells how many voxels are not numbers.

    A large memory map is not read through for it, which would cost many times the load: 64 voxels of every
    1024 are looked at, which meets every run of 1024, and only then all are counted. Tables of regions
    count their own voxels in any case.
    """
    if not data.flags.writeable and data.nbytes > _SAMPLED_ABOVE_BYTES and not _sample_has_not_finite(data):
        return ()
    n_nan, n_inf = count_not_finite(data)
    if not n_nan and not n_inf:
        return ()
    parts = [f"{n} {word}" for n, word in ((n_nan, "NaN"), (n_inf, "infinite")) if n]
    return (
        Caution(
            "not-finite-voxels", f"{' and '.join(parts)} of {data.size} values are kept as they are", "voxels"
        ),
    )


def _sample_has_not_finite(data: Array) -> bool:
    flat = data.reshape(-1, order="F")
    runs = flat[: flat.size // _SAMPLE_STRIDE * _SAMPLE_STRIDE].reshape(-1, _SAMPLE_STRIDE)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(runs[:, :_SAMPLE_LENGTH].sum())
    return not math.isfinite(total)
