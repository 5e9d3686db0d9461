"""Z-spectra on arrays: normalisation, position of water, correction, noise."""

from __future__ import annotations

from imgtheranostics.cest.b0 import b0_minimum, correct_b0, interpolate
from imgtheranostics.cest.b0_fits import b0_lorentzian, b0_symmetry
from imgtheranostics.cest.normalisation import Normalised, normalise
from imgtheranostics.cest.z_noise import noise_sd

__all__ = [
    "Normalised",
    "b0_lorentzian",
    "b0_minimum",
    "b0_symmetry",
    "correct_b0",
    "interpolate",
    "noise_sd",
    "normalise",
]
