"""How materials show on CT: attenuation, HU per mg/mL, slopes with their errors, and dose enhancement."""

from __future__ import annotations

from imgtheranostics.ct.compounds import Material, find_material
from imgtheranostics.ct.energy_absorption import energy_absorption
from imgtheranostics.ct.energy_bins import bin_slopes
from imgtheranostics.ct.prior_slopes import PRIOR_RELATIVE_ERROR, prior_slope
from imgtheranostics.ct.radioenhancement import DoseEnhancement, dose_enhancement
from imgtheranostics.ct.sensitivity import hu_per_mg_ml, mass_attenuation, monoenergetic
from imgtheranostics.ct.slope import Slope
from imgtheranostics.ct.vial_calibration import VialCalibration, calibrate
from imgtheranostics.ct.vial_files import load_vial_calibration
from imgtheranostics.ct.xray_spectra import Beam, Spectrum, mean_energy_kev, transmitted

__all__ = [
    "PRIOR_RELATIVE_ERROR",
    "Beam",
    "DoseEnhancement",
    "Material",
    "Slope",
    "Spectrum",
    "VialCalibration",
    "bin_slopes",
    "calibrate",
    "dose_enhancement",
    "energy_absorption",
    "find_material",
    "hu_per_mg_ml",
    "load_vial_calibration",
    "mass_attenuation",
    "mean_energy_kev",
    "monoenergetic",
    "prior_slope",
    "transmitted",
]
