"""Time-intensity parameters of dynamic curves; contrast-enhanced scans of other modalities use the same."""

from __future__ import annotations

from imgtheranostics.mapping.time_intensity import (
    CONSECUTIVE,
    THRESHOLD,
    WINDOWS_S,
    bolus_arrival,
    initial_area,
    time_intensity,
)

__all__ = ["CONSECUTIVE", "THRESHOLD", "WINDOWS_S", "bolus_arrival", "initial_area", "time_intensity"]
