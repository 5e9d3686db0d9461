"""Light in tissue: formulas, depth below the surface, maps of fluence, and the correction of images by them.

Absorption and reduced scattering coefficients are in 1/cm, to base e; depths and radii in mm.
"""

from __future__ import annotations

from imgtheranostics.msot.body_depth import depth_from_mask
from imgtheranostics.msot.fluence_iteration import FluenceCorrection, iterative
from imgtheranostics.msot.fluence_maps import correct, fluence_map
from imgtheranostics.msot.tissue_light import (
    cylinder,
    grueneisen,
    mu_eff,
    reduced_scattering,
    slab,
    tissue_absorption,
)

__all__ = [
    "FluenceCorrection",
    "correct",
    "cylinder",
    "depth_from_mask",
    "fluence_map",
    "grueneisen",
    "iterative",
    "mu_eff",
    "reduced_scattering",
    "slab",
    "tissue_absorption",
]
