"""How materials show on CT: attenuation, HU per mg/mL, and slopes with their errors."""

from __future__ import annotations

from imgtheranostics.ct.compounds import Material, find_material
from imgtheranostics.ct.prior_slopes import PRIOR_RELATIVE_ERROR, prior_slope
from imgtheranostics.ct.sensitivity import hu_per_mg_ml, mass_attenuation, monoenergetic
from imgtheranostics.ct.slope import Slope
from imgtheranostics.ct.xray_spectra import mean_energy_kev

__all__ = [
    "PRIOR_RELATIVE_ERROR",
    "Material",
    "Slope",
    "find_material",
    "hu_per_mg_ml",
    "mass_attenuation",
    "mean_energy_kev",
    "monoenergetic",
    "prior_slope",
]
