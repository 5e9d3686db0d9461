"""Magnetic resonance: relaxation times, enhancement, concentration, perfusion and temperature."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgtheranostics.mri.change_maps import (
        enhancement,
        enhancement_ratio,
        time_intensity_maps,
    )
    from imgtheranostics.mri.concentration_maps import concentration, joint_concentration
    from imgtheranostics.mri.decay_maps import t2_map, t2star_map
    from imgtheranostics.mri.fluorine_maps import fluorine_map
    from imgtheranostics.mri.perfusion_maps import dce_map
    from imgtheranostics.mri.rate_change_maps import delta_r1_map, delta_r2_map, delta_r2star_map
    from imgtheranostics.mri.rate_entry import load_map
    from imgtheranostics.mri.relaxation_maps import t1_map
    from imgtheranostics.mri.temperature_maps import temperature_map
    from imgtheranostics.mri.thermal_maps import cem43_map, heated_volume, specific_absorption_rate_map
    from imgtheranostics.mri.transmit_maps import b1_map

_HOMES = {
    "b1_map": "transmit_maps",
    "cem43_map": "thermal_maps",
    "concentration": "concentration_maps",
    "dce_map": "perfusion_maps",
    "delta_r1_map": "rate_change_maps",
    "delta_r2_map": "rate_change_maps",
    "delta_r2star_map": "rate_change_maps",
    "enhancement": "change_maps",
    "enhancement_ratio": "change_maps",
    "fluorine_map": "fluorine_maps",
    "heated_volume": "thermal_maps",
    "joint_concentration": "concentration_maps",
    "load_map": "rate_entry",
    "specific_absorption_rate_map": "thermal_maps",
    "t1_map": "relaxation_maps",
    "t2_map": "decay_maps",
    "t2star_map": "decay_maps",
    "temperature_map": "temperature_maps",
    "time_intensity_maps": "change_maps",
}
_MODULES = (
    "agent_concentration",
    "agent_mass",
    "agent_relaxivity",
    "analysis",
    "b1",
    "dce",
    "fluorine",
    "heating",
    "input_function",
    "linear_calibration",
    "noise",
    "noise_bias",
    "relaxometry",
    "signal_change",
    "spgr_concentration",
    "spgr_echoes",
    "thermal_dose",
    "thermometry",
    "time_intensity",
)

__all__ = [
    "b1_map",
    "cem43_map",
    "concentration",
    "dce_map",
    "delta_r1_map",
    "delta_r2_map",
    "delta_r2star_map",
    "enhancement",
    "enhancement_ratio",
    "fluorine_map",
    "heated_volume",
    "joint_concentration",
    "load_map",
    "specific_absorption_rate_map",
    "t1_map",
    "t2_map",
    "t2star_map",
    "temperature_map",
    "time_intensity_maps",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"imgtheranostics.mri.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"imgtheranostics.mri.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
