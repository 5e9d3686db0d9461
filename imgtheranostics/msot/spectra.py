"""Spectra of absorbers: haemoglobin, water, lipid, melanin, dyes, gold particles, and a user's own.

Molar extinction is to base 10, in 1/(M cm); an absorption coefficient is to base e, in 1/cm:
``mu_a = ln(10) eps C``. Nothing is extrapolated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.msot.components import MOLAR, Component, component, condition_number
from imgtheranostics.msot.gold_particles import (
    absorption_per_gram_litre,
    gold_nanorod,
    gold_sphere,
    nanorod_cross_section_nm2,
    nanorod_volume_nm3,
    sphere_cross_section_nm2,
    sphere_volume_nm3,
)
from imgtheranostics.msot.spectrum import LN_10, Spectrum, checked_wavelengths
from imgtheranostics.msot.spectrum_files import read_spectrum
from imgtheranostics.msot.spectrum_library import shipped_spectrum, spectrum_name, spectrum_names

__all__ = [
    "Component",
    "Spectrum",
    "absorption",
    "absorption_per_gram_litre",
    "blood_absorption",
    "component",
    "condition_number",
    "find_spectrum",
    "gold_nanorod",
    "gold_sphere",
    "molar_extinction",
    "nanorod_cross_section_nm2",
    "nanorod_volume_nm3",
    "read_spectrum",
    "spectrum_name",
    "spectrum_names",
    "sphere_cross_section_nm2",
    "sphere_volume_nm3",
]

HAEMOGLOBIN_G_MOL = 64500.0
"""Molar mass of the haemoglobin tetramer, to which the molar extinctions refer."""

FloatArray = npt.NDArray[np.float64]


def molar_extinction(name: str, wavelength_nm: npt.ArrayLike, **particle: Any) -> FloatArray:
    """Decadic molar extinction of a component, in 1/(M cm).

    Parameters
    ----------
    name : str
        ``HbO2``, ``Hb``, ``ICG``, ``IR780`` ... or any name that `component` takes, in any case.
    wavelength_nm : array_like
        A number or an array of any shape.
    **particle
        Shape and permittivity of gold particles, as `component`.

    Returns
    -------
    ndarray
        Of the shape of `wavelength_nm`.

    Raises
    ------
    NothingUsable
        If the name means nothing; near names are listed.
    UnsupportedInput
        If the data do not cover a wavelength, or are an absorption coefficient and no molar extinction.

    Examples
    --------
    >>> molar_extinction("HbO2", [700.0, 800.0])
    array([290., 816.])
    """
    wavelength = checked_wavelengths(wavelength_nm)
    found = component(name, wavelength.ravel(), **particle)
    if found.unit != MOLAR:
        raise UnsupportedInput(
            f"{found.name} has no molar extinction: its spectrum is the absorption of the pure substance",
            where=name,
            next_step="use msot.spectra.absorption, in 1/cm to base e",
        )
    return found.values.reshape(wavelength.shape)


def absorption(
    name: str, wavelength_nm: npt.ArrayLike, *, concentration_umol_l: float | None = None, **particle: Any
) -> FloatArray:
    """Absorption coefficient to base e, in 1/cm.

    Parameters
    ----------
    name : str
        Pure substances: ``water`` (source 1), ``water-2``, ``water-1973``, ``lipid``, ``melanin``
        (1.7e12 l^-3.48), ``melanin-2`` (6.6e11 l^-3.33). Those with a molar extinction need their
        concentration.
    wavelength_nm : array_like
    concentration_umol_l : float, optional
        Of a component with a molar extinction, in umol/L.
    **particle
        Shape and permittivity of gold particles, as `component`.

    Raises
    ------
    NothingUsable, UnsupportedInput
        As `molar_extinction`.
    ValueError
        If a concentration is missing, or is given for a pure substance.

    Examples
    --------
    >>> float(absorption("lipid", 930.0).round(3))
    0.131
    """
    wavelength = checked_wavelengths(wavelength_nm)
    found = component(name, wavelength.ravel(), **particle)
    molar = found.unit == MOLAR
    if molar != (concentration_umol_l is not None):
        raise ValueError(
            f"{found.name} needs concentration_umol_l=" if molar else f"{found.name} is a pure substance"
        )
    amount = 1.0 if concentration_umol_l is None else 1e-6 * concentration_umol_l
    return (found.natural * amount).reshape(wavelength.shape)


def blood_absorption(
    wavelength_nm: npt.ArrayLike, *, so2: float, haemoglobin_g_l: float = 150.0
) -> FloatArray:
    """Absorption coefficient of whole blood to base e, in 1/cm.

    Parameters
    ----------
    wavelength_nm : array_like
    so2 : float
        Share of haemoglobin that carries oxygen, 0 to 1.
    haemoglobin_g_l : float
        In grams per litre of blood.

    Examples
    --------
    >>> float(blood_absorption(700.0, so2=1.0).round(2))
    1.55
    """
    if not 0.0 <= so2 <= 1.0:
        raise ValueError(f"so2 is a share between 0 and 1, not {so2}")
    if not 0.0 <= haemoglobin_g_l < 1000.0:
        raise ValueError(f"haemoglobin in g/L lies between 0 and 1000, not at {haemoglobin_g_l}")
    eps = so2 * molar_extinction("hbo2", wavelength_nm) + (1.0 - so2) * molar_extinction("hb", wavelength_nm)
    return np.asarray(LN_10 * haemoglobin_g_l / HAEMOGLOBIN_G_MOL * eps)


def find_spectrum(name: str) -> Spectrum:
    """A shipped spectrum with its data, source and licence.

    Raises
    ------
    NothingUsable
        If there is none of that name.
    """
    return shipped_spectrum(name)
