"""Which energy window of a gamma camera is meant, by an energy in it or by its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from imgtheranostics.acquisition import NuclearAcquisition
from imgtheranostics.errors import MissingMetadata, NothingUsable, UnsupportedInput
from imgtheranostics.io.dicom.energy_windows import Window, window_text
from imgtheranostics.volume import Volume, make_step

WindowChoice = float | tuple[float, float]
"""An energy in the window, or its lower and upper limit; keV."""

_SAME_KEV = 0.5


def check_choice(choice: WindowChoice) -> WindowChoice:
    """The choice as plain numbers.

    Raises
    ------
    ValueError
        If it is neither a positive energy nor a range of two.
    """
    numbers = (choice,) if isinstance(choice, (int, float)) else tuple(choice)
    if not (
        len(numbers) in (1, 2)
        and all(np.isfinite(one) and one > 0 for one in numbers)
        and numbers[0] < (*numbers, np.inf)[1]
    ):
        raise ValueError("window_kev is an energy in keV, or a lower and a higher limit")
    return float(numbers[0]) if len(numbers) == 1 else (float(numbers[0]), float(numbers[1]))


def matches(window: Window, choice: WindowChoice) -> bool:
    """Whether a window contains the energy, or is (has a range) of those limits within 0.5 keV."""
    if isinstance(choice, (int, float)):
        return any(low <= choice <= high for low, high in window)
    return any(
        abs(low - choice[0]) <= _SAME_KEV and abs(high - choice[1]) <= _SAME_KEV for low, high in window
    )


def only_match(windows: Sequence[Window], choice: WindowChoice, where: str) -> int:
    """Number of the one window that is meant, from 0.

    Raises
    ------
    NothingUsable
        If none or several are; the message lists them.
    """
    found = [n for n, window in enumerate(windows) if matches(window, choice)]
    if len(found) == 1:
        return found[0]
    told = f"{choice:g} keV" if isinstance(choice, (int, float)) else window_text((choice,))
    raise NothingUsable(
        f"several energy windows contain {told}" if found else f"no energy window is or contains {told}",
        where=where,
        found="; ".join(window_text(window) or "a window without limits" for window in windows),
        needed="one of these",
        next_step="choose by the limits, such as 126-154" if found else "choose one of these windows",
    )


def energy_window(v: Volume, choice: WindowChoice) -> Volume:
    """One energy window of a gamma-camera image.

    Parameters
    ----------
    v : Volume
        With an ``energy`` axis, or of one window, which is then checked.
    choice : float or (float, float)
        An energy in the window, or its lower and upper limit, keV.

    Returns
    -------
    Volume
        Without the ``energy`` axis; its record names that window alone.

    Raises
    ------
    ValueError
        If the choice is no energy and no range.
    UnsupportedInput
        If the image is not one of a gamma camera.
    MissingMetadata
        If the windows are not known.
    NothingUsable
        If no window, or more than one, is meant.
    """
    wanted = check_choice(choice)
    record = v.acquisition
    if not isinstance(record, NuclearAcquisition):
        raise UnsupportedInput(
            "only images of a gamma camera have energy windows",
            found="another modality" if record is not None else "no acquisition record",
            needed="NM",
        )
    windows = record.windows_kev
    axis = v.axis("energy")
    if not windows or (axis is not None and len(axis) != len(windows)):
        raise MissingMetadata(
            "the image does not say in which energy windows it was counted",
            where="EnergyWindowInformationSequence (0054,0012)",
            needed="the limits of each window",
            next_step="leave the window out, or choose a series",
        )
    number = only_match(windows, wanted, "EnergyWindowInformationSequence (0054,0012)")
    if axis is None:
        return v
    place = v.axes.index(axis)
    narrowed = replace(record, energy_windows_kev=windows[number], ranges_per_window=())
    return v.replace(
        data=np.take(v.data, number, axis=3 + place),
        axes=tuple(one for one in v.axes if one is not axis),
        acquisition=narrowed,
        history=(*v.history, make_step("energy_window", ranges_kev=[list(pair) for pair in windows[number]])),
    )
