"""The jobs on Volumes that the API and the command line both call; each lives in the module of its idea."""

from __future__ import annotations

from imgtheranostics.mapping.map_files import load_map
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
from imgtheranostics.mri.relaxation_maps import t1_map
from imgtheranostics.mri.temperature_maps import temperature_map
from imgtheranostics.mri.thermal_maps import cem43_map, heated_volume, specific_absorption_rate_map
from imgtheranostics.mri.transmit_maps import b1_map

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
