"""Magnetic resonance: relaxation times, enhancement, concentration, perfusion and temperature."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "concentration_map": "analysis",
    "dce_map": "analysis",
    "t1_map": "analysis",
    "t2_map": "analysis",
    "t2star_map": "analysis",
    "temperature_map": "analysis",
}
_MODULES = ("analysis", "dce", "fluorine", "relaxometry", "thermometry")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"imgtheranostics.mri.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"imgtheranostics.mri.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
