"""Colour images to one grey level per pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_LUMINANCE = (0.299, 0.587, 0.114)
_LEVELS = 2
_SHARE = 0.01


def to_grey(rgb: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], bool]:
    """Luminance (ITU-R BT.601) of a (rows, columns, 3) image, and whether it really holds colour.

    A grey image stored in three equal channels keeps its levels exactly. Colour is reported where channels
    differ by more than two levels in more than one per cent of the pixels.
    """
    wide = rgb.astype(np.int64)
    spread = wide.max(axis=2) - wide.min(axis=2)
    coloured = float(np.count_nonzero(spread > _LEVELS)) > _SHARE * spread.size
    grey = wide[..., 0] * _LUMINANCE[0] + wide[..., 1] * _LUMINANCE[1] + wide[..., 2] * _LUMINANCE[2]
    grey[spread == 0] = wide[..., 0][spread == 0]
    return grey.astype(np.float32), coloured
