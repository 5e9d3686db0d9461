"""Palettes of ultrasound: which indices are echo, and which are colours of graphics and text."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.dicom.grey import luminance
from imgtheranostics.io.dicom.header import Header

_LEAST_SHARE = 0.5
_MOST_ENTRIES = 1 << 16


def table_luminance(header: Header) -> npt.NDArray[np.float64]:
    """Luminance of every index that the pixels may hold.

    Raises
    ------
    CorruptInput
        If the palette cannot be read.
    """
    from pydicom.pixels.processing import apply_color_lut

    count = min(1 << (header.integer("BitsStored") or 8), _MOST_ENTRIES)
    kind = np.uint8 if count <= 1 << 8 else np.uint16
    try:
        colours = apply_color_lut(np.arange(count, dtype=kind).reshape(1, count), header.dataset)
    except Exception as error:  # pydicom raises what it likes on damaged tables
        raise CorruptInput(
            "the palette cannot be read",
            where=f"{header.path}: RedPaletteColorLookupTableData (0028,1201)",
            found=type(error).__name__,
        ) from None
    return np.asarray(luminance(colours[..., :3])[0], np.float64)


def echo_top(header: Header) -> int | None:
    """The largest index that stands for echo; indices above it are colours of graphics.

    Indices are the levels before the display's curve and colour map; where brightness grows with the index,
    from 0 over at least half of the table, the map is undone by taking the index itself. None where it does
    not.

    Raises
    ------
    CorruptInput
        If the palette cannot be read.
    """
    bright = table_luminance(header)
    falls = np.flatnonzero(np.diff(bright) < 0)
    top = int(falls[0]) if falls.size else bright.size - 1
    same_as_top = np.flatnonzero(bright[: top + 1] < bright[top])
    grows = same_as_top.size > 0
    return top if grows and top + 1 >= _LEAST_SHARE * bright.size else None


def without_graphics(index: npt.NDArray[Any], top: int) -> npt.NDArray[np.float32]:
    """Indices as grey levels; NaN where the palette holds a colour of graphics."""
    grey = index.astype(np.float32)
    grey[index > top] = np.nan
    return grey
