"""Formulas of light in tissue: diffusion in slabs and cylinders, absorption, scattering, heat to pressure.

Absorption and reduced scattering coefficients are in 1/cm, to base e; depths and radii in mm. Diffusion needs
absorption far below reduced scattering, and depths beyond one mean free path of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.msot.spectra import absorption, molar_extinction
from imgtheranostics.msot.spectrum import LN_10, checked_wavelengths

FloatArray = npt.NDArray[np.float64]

_CM_PER_MM = 0.1


def mu_eff(mu_a: npt.ArrayLike, mu_s: npt.ArrayLike) -> FloatArray:
    """Effective attenuation coefficient of diffuse light, in 1/cm.

    Parameters
    ----------
    mu_a : array_like
        Absorption coefficient in 1/cm, to base e.
    mu_s : array_like
        Reduced scattering coefficient in 1/cm.

    Raises
    ------
    ValueError
        If one is negative.

    Examples
    --------
    >>> float(mu_eff(0.3, 10.0).round(4))
    3.0447
    """
    absorption, scattering = np.asarray(mu_a, np.float64), np.asarray(mu_s, np.float64)
    if np.any(absorption < 0.0) or np.any(scattering < 0.0):
        raise ValueError("absorption and reduced scattering coefficients are not negative")
    return np.asarray(np.sqrt(3.0 * absorption * (absorption + scattering)))


def slab(depth_mm: npt.ArrayLike, mu_a: npt.ArrayLike, mu_s: npt.ArrayLike) -> FloatArray:
    """Fluence at a depth below a broad beam, over that at the surface.

    Parameters
    ----------
    depth_mm : array_like
        0 or more.
    mu_a, mu_s : array_like
        Absorption and reduced scattering coefficient in 1/cm; all three broadcast.

    Raises
    ------
    ValueError
        If one is negative.

    Examples
    --------
    >>> float(slab(10.0, 0.3, 10.0).round(5))
    0.04761
    """
    depth = np.asarray(depth_mm, np.float64)
    if np.any(depth < 0.0):
        raise ValueError("a depth is not negative")
    return np.asarray(np.exp(-mu_eff(mu_a, mu_s) * depth * _CM_PER_MM))


def cylinder(
    radius_mm: npt.ArrayLike, surface_radius_mm: npt.ArrayLike, mu_a: npt.ArrayLike, mu_s: npt.ArrayLike
) -> FloatArray:
    """Fluence in a cylinder lit evenly all around, over that at its surface.

    Parameters
    ----------
    radius_mm : array_like
        Distance from the axis, from 0 to the surface.
    surface_radius_mm : array_like
        Radius of the cylinder, above 0.
    mu_a, mu_s : array_like
        Absorption and reduced scattering coefficient in 1/cm; all four broadcast.

    Raises
    ------
    ValueError
        If a radius lies outside the cylinder, or a coefficient is negative.

    Examples
    --------
    >>> float(cylinder(0.0, 10.0, 0.3, 10.0).round(5))
    0.19759
    """
    from scipy.special import i0e

    radius, surface = np.asarray(radius_mm, np.float64), np.asarray(surface_radius_mm, np.float64)
    if np.any(surface <= 0.0) or np.any(radius < 0.0) or np.any(radius > surface):
        raise ValueError("a radius lies between 0 and that of the surface")
    attenuation = mu_eff(mu_a, mu_s) * _CM_PER_MM
    # I0 itself overflows in a large body; its scaled form leaves the decay to one exponential.
    ratio = i0e(attenuation * radius) / i0e(attenuation * surface)
    return np.asarray(ratio * np.exp(-attenuation * (surface - radius)))


def reduced_scattering(
    wavelength_nm: npt.ArrayLike,
    *,
    amplitude_per_cm: float = 18.9,
    power: float = 1.286,
    reference_nm: float = 500.0,
) -> FloatArray:
    """Reduced scattering coefficient of soft tissue, in 1/cm: a power law of the wavelength.

    Parameters
    ----------
    wavelength_nm : array_like
    amplitude_per_cm, power, reference_nm : float
        Coefficient at the reference, and the power by which it falls. The usual soft tissue (unconfirmed);
        8 to 12 per cm, 1.2 and 800 nm is another in use and agrees at 800 nm.

    Examples
    --------
    >>> reduced_scattering([700.0, 800.0]).round(2)
    array([12.26, 10.33])
    """
    wavelength = checked_wavelengths(wavelength_nm)
    return np.asarray(amplitude_per_cm * (wavelength / reference_nm) ** -power)


def grueneisen(temperature_cel: npt.ArrayLike) -> FloatArray:
    """Grueneisen parameter of water: the pressure per absorbed energy density.

    Parameters
    ----------
    temperature_cel : array_like
        0 to 60 Cel; the line is unconfirmed.

    Raises
    ------
    ValueError
        If a temperature lies outside.

    Examples
    --------
    >>> float(grueneisen(37.0).round(4))
    0.1644
    """
    temperature = np.asarray(temperature_cel, np.float64)
    if np.any(temperature < 0.0) or np.any(temperature > 60.0):
        raise ValueError("the Grueneisen parameter of water is stated for 0 to 60 Cel")
    return np.asarray(0.0043 * temperature + 0.0053)


def tissue_absorption(
    wavelength_nm: npt.ArrayLike,
    *,
    thb_umol_l: float,
    so2: float,
    water: float = 0.75,
    lipid: float = 0.0,
) -> FloatArray:
    """Absorption coefficient of soft tissue to base e, in 1/cm.

    Parameters
    ----------
    wavelength_nm : array_like
    thb_umol_l : float
        Total haemoglobin in tissue, in umol/L; 50 to 150 is usual (unconfirmed).
    so2 : float
        Share of it that carries oxygen, 0 to 1.
    water, lipid : float
        Shares of the volume.

    Raises
    ------
    ValueError
        If an amount is not possible.
    """
    if thb_umol_l < 0.0 or not 0.0 <= so2 <= 1.0:
        raise ValueError("haemoglobin is not negative, and so2 is a share between 0 and 1")
    if water < 0.0 or lipid < 0.0 or water + lipid > 1.0:
        raise ValueError("shares of water and lipid lie between 0 and 1, and so does their sum")
    blood = so2 * molar_extinction("HbO2", wavelength_nm) + (1.0 - so2) * molar_extinction(
        "Hb", wavelength_nm
    )
    total = LN_10 * 1e-6 * thb_umol_l * blood
    for share, name in ((water, "water"), (lipid, "lipid")):
        if share > 0.0:
            total = total + share * absorption(name, wavelength_nm)
    return np.asarray(total)
