"""Energy windows of gamma-camera objects: their limits, and which of them a frame was counted in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.header import Header

Window = tuple[tuple[float, float], ...]
"""The ranges of one window, (lower, upper) in keV; empty where the file does not state them."""


def stated_windows(header: Header) -> list[Window]:
    """The windows in the order in which EnergyWindowVector (0054,0010) counts them.

    Raises
    ------
    CorruptInput
        If limits are no range.
    """
    return [
        tuple(
            limits
            for one in item.get("EnergyWindowRangeSequence") or []
            if (limits := _limits(one, header)) is not None
        )
        for item in header.sequence("EnergyWindowInformationSequence")
    ]


def _limits(item: Any, header: Header) -> tuple[float, float] | None:
    low, high = item.get("EnergyWindowLowerLimit"), item.get("EnergyWindowUpperLimit")
    if low in (None, "") or high in (None, ""):
        return None
    try:
        numbers = float(low), float(high)
    except (TypeError, ValueError):
        numbers = math.nan, math.nan
    if numbers == (0.0, 0.0):
        return None
    if not (0 <= numbers[0] < numbers[1] and math.isfinite(numbers[1])):
        raise CorruptInput(
            "the limits of an energy window are no range",
            where=f"{header.path}: EnergyWindowRangeSequence (0054,0013)",
            found=f"{numbers[0]:g} to {numbers[1]:g}",
            needed="a lower and a higher energy in keV",
        )
    return numbers


def assign_windows(frames: list[Frame], header: Header, vector: npt.NDArray[np.int64] | None) -> None:
    """Tell each frame the window that it was counted in.

    A frame of an object that lists several windows without an index is of all of them, as far as the file
    says: it may be their sum, or one of them corrected for scatter by the others.

    Raises
    ------
    CorruptInput
        If the index names a window that is not listed.
    """
    windows = stated_windows(header)
    everything = tuple(limits for window in windows for limits in window)
    for n, frame in enumerate(frames):
        if vector is None:
            frame.window = everything
            frame.details["windows_not_told_apart"] = len(windows) > 1
        elif windows:
            number = int(vector[n])
            if not 1 <= number <= len(windows):
                raise CorruptInput(
                    "a frame names an energy window that is not listed",
                    where=f"{header.path}: EnergyWindowVector (0054,0010)",
                    found=str(number),
                    needed=f"1 to {len(windows)}",
                )
            frame.window = windows[number - 1]
        if frame.window and not frame.details.get("windows_not_told_apart"):
            frame.parameters["energy"] = centre_kev(frame.window)
        elif vector is not None:
            # nothing but the number tells such windows apart
            frame.kind = (*frame.kind, ("energy window", int(vector[n])))


def centre_kev(window: Window) -> float:
    """Middle of the first range: where the window stands on an axis of energies."""
    low, high = window[0]
    return (low + high) / 2.0


def window_text(window: Window) -> str:
    """The ranges as listings tell them, such as ``126-154 keV``."""
    return " + ".join(f"{low:g}-{high:g}" for low, high in window) + " keV" if window else ""
