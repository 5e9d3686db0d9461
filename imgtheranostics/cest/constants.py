"""Constants of all CEST code, each in one place."""

from __future__ import annotations

GAMMA_RAD_PER_S_UT = 267.5154109126009
"""Gyromagnetic ratio of the proton in rad/(s uT), 2 pi x 42.5764 MHz/T.

The value of the simulators and protocols in common use; spectra are compared between programs only with the
same one, so that the last digits of a newer recommendation are not used here.
"""

WATER_PROTON_CONCENTRATION_MM = 111e3
"""Concentration of water's protons in mmol/L, twice 55.5 mol/L: what exchanging protons are a fraction of."""
