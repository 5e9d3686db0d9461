"""Z-spectra on arrays: normalisation, position of water, corrections for B0 and B1, noise."""

from __future__ import annotations

from imgtheranostics.cest.b0 import b0_minimum, correct_b0, interpolate
from imgtheranostics.cest.b0_fits import b0_lorentzian, b0_symmetry
from imgtheranostics.cest.b1_correction import correct_b1_contrast, correct_b1_z
from imgtheranostics.cest.denoising import Denoised, denoise_pca, smooth
from imgtheranostics.cest.normalisation import Normalised, normalise
from imgtheranostics.cest.wasabi import wasabi, wasabi_t1
from imgtheranostics.cest.z_noise import noise_sd

__all__ = [
    "Denoised",
    "Normalised",
    "b0_lorentzian",
    "b0_minimum",
    "b0_symmetry",
    "correct_b0",
    "correct_b1_contrast",
    "correct_b1_z",
    "denoise_pca",
    "interpolate",
    "noise_sd",
    "normalise",
    "smooth",
    "wasabi",
    "wasabi_t1",
]
