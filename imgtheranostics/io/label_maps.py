"""Regions from NIfTI: label maps, masks, stacks of overlapping masks and fractional masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput, UnsupportedInput
from imgtheranostics.io.nifti import read_header
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.nifti_voxels import read_voxels
from imgtheranostics.io.region_names import clean_name, name_of_file, unique_names
from imgtheranostics.io.region_tables import read_names
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid

MOST_UNNAMED = 1000
"""More labels than this without a table of names are an image, not regions."""
_EXACT_FLOAT32 = 2**24
_ABOUT_VALUES = frozenset({"no-scaling"})

Array = npt.NDArray[Any]


def load_label_map(path: Path, *, fractional_threshold: float = 0.5) -> Regions:
    """Regions of a NIfTI label map on its own grid.

    A map with one label and no table of names is named after its file. A fourth dimension holds layers,
    so that regions may overlap. Regions may be empty.

    Raises
    ------
    CorruptInput
        If voxels are NaN or negative, or by the rules of the NIfTI loader.
    UnsupportedInput
        If voxels are neither whole numbers nor fractions from 0 to 1, or hold too many labels.
    """
    file = read_header(path)
    voxels, tail = _voxels(file.voxel_path, file.header)
    cautions = [one for one in file.header.cautions if one.code not in _ABOUT_VALUES] + list(tail)
    if voxels.ndim > 4:
        raise UnsupportedInput(
            "a label map has at most one dimension beyond space", where=str(path), found=f"{voxels.ndim}-D"
        )
    labels, fractional = _whole(voxels, fractional_threshold, path)
    cautions += fractional
    labels, present = _one_layer_per_number(labels, path)
    known = read_names(path)
    if not known and len(present) > MOST_UNNAMED:
        raise UnsupportedInput(
            "this holds too many different values for a label map",
            where=str(path),
            found=f"{len(present)} values",
            needed=f"at most {MOST_UNNAMED} without a table of names",
            next_step="give the label image, not the image that was segmented",
        )
    names, named = _names(present, known, path)
    shape = labels.shape
    return Regions(
        labels, names, Grid((shape[0], shape[1], shape[2]), file.header.affine), (*cautions, *named)
    )


def _voxels(path: Path, header: NiftiHeader) -> tuple[Array, tuple[Caution, ...]]:
    whole = header.slope is None and header.dtype.kind in "iu" and header.dtype.itemsize <= 4
    if not whole or header.dtype == np.dtype("u4").newbyteorder(header.dtype.byteorder):
        return read_voxels(path, header)
    return read_voxels(path, header, dtype=np.int32)


def _whole(voxels: Array, threshold: float, path: Path) -> tuple[npt.NDArray[np.int32], list[Caution]]:
    """Labels as whole numbers, and a caution where fractions were cut at the threshold."""
    low, high = voxels.min(), voxels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int(np.count_nonzero(~np.isfinite(voxels)))
        raise CorruptInput(
            "a label map holds values that are not numbers", where=str(path), found=f"{count} voxels"
        )
    if low < 0:
        raise CorruptInput("a label map holds negative values", where=str(path), found=f"{float(low):g}")
    if voxels.dtype.kind in "iu":
        return voxels, []
    if not any((layer != np.rint(layer)).any() for layer in np.moveaxis(voxels, 2, 0)):
        if high > _EXACT_FLOAT32:
            raise UnsupportedInput(
                "label numbers are too large to be told apart",
                where=str(path),
                found=f"{float(high):.10g}",
                needed=f"at most {_EXACT_FLOAT32}, or an integer type of up to 32 bits",
            )
        return voxels.astype(np.int32), []
    if high > 1:
        raise UnsupportedInput(
            "this is no label map: its values are neither whole numbers nor fractions from 0 to 1",
            where=str(path),
            found=f"values up to {float(high):.6g}",
            next_step="give the label image, not the image that was segmented",
        )
    text = f"the mask holds fractions; a voxel belongs to it from {threshold:g} on"
    labels = (voxels >= np.float32(threshold)) & (voxels > 0)
    return labels.astype(np.int32), [Caution("mask-fractional", text, str(path))]


def _one_layer_per_number(
    labels: npt.NDArray[np.int32], path: Path
) -> tuple[npt.NDArray[np.int32], list[int]]:
    """Labels of which each has one layer, and the numbers present; a stack of masks is numbered."""
    layers = labels.reshape(*labels.shape[:3], -1, order="F")
    present = [_numbers(layers[..., n]) for n in range(layers.shape[3])]
    if len(present) == 1:
        return labels, sorted(present[0])
    if all(numbers <= {1} for numbers in present):
        numbered = np.multiply(layers, np.arange(1, len(present) + 1), dtype=np.int32)
        return numbered, list(range(1, len(present) + 1))
    together = [number for numbers in present for number in numbers]
    if len(set(together)) < len(together):
        raise UnsupportedInput(
            "a label number stands in several layers of a four-dimensional label map",
            where=str(path),
            needed="masks of 0 and 1, or each number in one layer",
            next_step="give one file per region",
        )
    return layers, sorted(together)


def _numbers(labels: npt.NDArray[np.int32]) -> set[int]:
    found: set[int] = set()
    for k in range(labels.shape[2]):
        found.update(np.unique(labels[:, :, k]).tolist())
    return found - {0}


def _names(
    present: list[int], known: dict[int, str], path: Path
) -> tuple[dict[int, str], tuple[Caution, ...]]:
    if not known and len(present) < 2:
        return {present[0] if present else 1: name_of_file(path)}, ()
    numbers = [*known, *(number for number in present if number not in known)]
    labels = [clean_name(known.get(number), f"region-{number}") for number in numbers]
    cautions: tuple[Caution, ...] = ()
    unnamed = [number for number in present if known and number not in known]
    if unnamed:
        text = f"labels without a name in the table: {', '.join(map(str, unnamed[:10]))}"
        cautions = (Caution("region-unnamed", text, str(path)),)
    unique, renamed = unique_names(labels, where=str(path))
    return dict(zip(numbers, unique, strict=True)), (*cautions, *renamed)
