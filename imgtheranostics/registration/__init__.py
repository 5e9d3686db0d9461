"""Registration of volumes with SimpleITK: transforms, resampling, and the motion of a series."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgtheranostics.registration.files import load_transform, save_transform
    from imgtheranostics.registration.matching import Registration, register
    from imgtheranostics.registration.motion import MotionReport
    from imgtheranostics.registration.quality import Quality
    from imgtheranostics.registration.resampling import resample
    from imgtheranostics.registration.series import align_series
    from imgtheranostics.registration.transform import Spline, Transform

_HOMES = {
    "MotionReport": "motion",
    "Quality": "quality",
    "Registration": "matching",
    "Spline": "transform",
    "Transform": "transform",
    "align_series": "series",
    "load_transform": "files",
    "register": "matching",
    "resample": "resampling",
    "save_transform": "files",
}

__all__ = [
    "MotionReport",
    "Quality",
    "Registration",
    "Spline",
    "Transform",
    "align_series",
    "load_transform",
    "register",
    "resample",
    "save_transform",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"imgtheranostics.registration.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
