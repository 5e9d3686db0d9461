"""Colour images to one grey level per pixel, without the graphics that are drawn over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_LUMINANCE = (0.299, 0.587, 0.114)
_LEVELS = 2
_SHARE = 0.01
_GRAPHICS = 96
_TINTED = 8
_BLACK = 16
_EIGHT_BITS = 255

Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Grey:
    """A colour image as grey levels.

    Attributes
    ----------
    levels : (rows, columns) ndarray
        NaN where there are graphics.
    coloured : bool
        Channels differ by more than two levels of 255 in more than one per cent of the pixels.
    graphics : int
        Pixels that are no echo.
    mapped : bool
        Most pixels that are not black are coloured: the image was drawn with a colour map.
    """

    levels: npt.NDArray[np.float32]
    coloured: bool
    graphics: int
    mapped: bool


def luminance(rgb: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Luminance (ITU-R BT.601) along the last axis; exactly the level where the three channels are equal."""
    wide = rgb.astype(np.int64)
    grey = wide[..., 0] * _LUMINANCE[0] + wide[..., 1] * _LUMINANCE[1] + wide[..., 2] * _LUMINANCE[2]
    same = (wide[..., 0] == wide[..., 1]) & (wide[..., 1] == wide[..., 2])
    grey[same] = wide[..., 0][same]
    return np.asarray(grey)


def to_grey(rgb: npt.NDArray[Any], within: Window | None = None) -> Grey:
    """Luminance of a (rows, columns, 3) image, and whether it really holds colour.

    A grey image stored in three equal channels keeps its levels exactly. Pixels whose channels differ by more
    than 96 levels of 255 are graphics drawn over the image, unless most of what is not black is tinted: then
    the whole image is drawn with a colour map, and its luminance is kept.

    Parameters
    ----------
    rgb : (rows, columns, 3) ndarray
    within : (rows, columns), optional
        The part of the image that is looked at for colour: the tissue.
    """
    wide = rgb.astype(np.int64)
    spread = wide.max(axis=2) - wide.min(axis=2)
    unit = 1 if rgb.dtype.itemsize == 1 else (1 << 8 * rgb.dtype.itemsize) // (_EIGHT_BITS + 1)
    part = spread if within is None else spread[within]
    coloured = float(np.count_nonzero(part > _LEVELS * unit)) > _SHARE * part.size
    levels = luminance(rgb).astype(np.float32)
    shown = wide.max(axis=2) > _BLACK * unit
    tinted = np.count_nonzero((spread > _TINTED * unit) & shown)
    mapped = bool(2 * tinted > np.count_nonzero(shown))
    drawn = spread > _GRAPHICS * unit
    if mapped:
        return Grey(levels, coloured, 0, mapped)
    levels[drawn] = np.nan
    return Grey(levels, coloured, int(np.count_nonzero(drawn)), mapped)
