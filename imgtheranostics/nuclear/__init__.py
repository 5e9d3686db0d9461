"""PET and SPECT: uptake values, injected dose per gram, and time-activity curves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgtheranostics.nuclear import (
        administration,
        analysis,
        body,
        calibration,
        clock,
        decay,
        dosimetry,
        maps,
        pairs,
        partial_volume,
        reference_time,
    )
    from imgtheranostics.nuclear.activity_curves import time_activity
    from imgtheranostics.nuclear.administration import Administration
    from imgtheranostics.nuclear.analysis import (
        convert_suv,
        percent_id_per_gram,
        percent_id_per_ml,
        percent_id_per_region,
        suv,
    )
    from imgtheranostics.nuclear.calibration import Calibration, calibrate
    from imgtheranostics.nuclear.maps import density_from_ct

_HOMES = {
    "Administration": "administration",
    "Calibration": "calibration",
    "calibrate": "calibration",
    "convert_suv": "analysis",
    "density_from_ct": "maps",
    "percent_id_per_gram": "analysis",
    "percent_id_per_ml": "analysis",
    "percent_id_per_region": "analysis",
    "suv": "analysis",
    "time_activity": "activity_curves",
}
_MODULES = (
    "administration",
    "analysis",
    "body",
    "calibration",
    "clock",
    "decay",
    "dosimetry",
    "maps",
    "pairs",
    "partial_volume",
    "reference_time",
)

__all__ = [
    "Administration",
    "Calibration",
    "administration",
    "analysis",
    "body",
    "calibrate",
    "calibration",
    "clock",
    "convert_suv",
    "decay",
    "density_from_ct",
    "dosimetry",
    "maps",
    "pairs",
    "partial_volume",
    "percent_id_per_gram",
    "percent_id_per_ml",
    "percent_id_per_region",
    "reference_time",
    "suv",
    "time_activity",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"imgtheranostics.nuclear.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"imgtheranostics.nuclear.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
