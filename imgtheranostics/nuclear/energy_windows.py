"""Energy windows of a gamma camera: the choice of one, and whether scans were counted in the same."""

from __future__ import annotations

from collections.abc import Sequence

from imgtheranostics.acquisition import NuclearAcquisition
from imgtheranostics.errors import UnitMismatch
from imgtheranostics.io.dicom.energy_windows import window_text
from imgtheranostics.io.window_choice import energy_window
from imgtheranostics.volume import Volume

__all__ = ["check_same_windows", "energy_window"]

_SAME_RELATIVE = 0.02


def check_same_windows(volumes: Sequence[Volume]) -> None:
    """Refuse counts of several scans that one sensitivity cannot fit: those of different energy windows.

    Images without counts, or without stated windows, pass.

    Raises
    ------
    UnitMismatch
        If limits differ by more than 2 %.
    """
    stated = [
        v.acquisition.energy_windows_kev
        for v in volumes
        if v.quantity in ("counts", "count_rate")
        and isinstance(v.acquisition, NuclearAcquisition)
        and v.acquisition.energy_windows_kev
    ]
    for other in stated[1:]:
        same = len(other) == len(stated[0]) and all(
            abs(one - two) <= _SAME_RELATIVE * two
            for pair, first in zip(other, stated[0], strict=True)
            for one, two in zip(pair, first, strict=True)
        )
        if not same:
            raise UnitMismatch(
                "the scans were counted in different energy windows, so their counts do not compare",
                where="EnergyWindowInformationSequence (0054,0012)",
                found=f"{window_text(stated[0])}; {window_text(other)}",
                needed="one window for all scans",
                next_step="load the same window of each (window_kev=), or calibrate each scan on its own",
            )
