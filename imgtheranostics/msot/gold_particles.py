"""Absorption of gold nanorods (Gans) and gold spheres (Mie), per particle and per mass.

What an optoacoustic signal follows is absorption, not extinction: what a particle scatters makes no sound.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.msot.gold_permittivity import gold_permittivity
from imgtheranostics.msot.mie import absorption_efficiency
from imgtheranostics.msot.spectrum import FloatArray, checked_wavelengths

GOLD_DENSITY_G_ML = 19.3

AVOGADRO = 6.02214076e23
"""Particles per mole."""

_NM2_CM2 = 1e-14
_NM3_ML = 1e-21
_N_RATIOS = 241
_N_SD = 4.0
_SMALLEST_RATIO = 1.0
_LARGEST_RATIO = 20.0


def gold_nanorod(
    aspect_ratio: float,
    wavelength_nm: npt.ArrayLike,
    *,
    diameter_nm: float = 10.0,
    medium_index: float = 1.333,
    aspect_ratio_sd: float = 0.0,
    permittivity: str = "lorentz-drude-1998",
) -> FloatArray:
    """Decadic molar extinction by absorption of gold nanorods, per mole of rods in 1/(M cm).

    A randomly oriented prolate spheroid with the volume of the hemisphere-capped rod, in the quasi-static
    limit (diameter much smaller than the wavelength; scattering is left out).

    Parameters
    ----------
    aspect_ratio : float
        Length over diameter, 1 to 20.
    wavelength_nm : array_like
    diameter_nm : float
    medium_index : float
        Index of refraction around the rod.
    aspect_ratio_sd : float
        Standard deviation of the aspect ratio over the rods, normal and cut off at 1; all have one diameter,
        and the mean is over rods.
    permittivity : {"lorentz-drude-1998", "johnson-christy-1972"}
        Of gold; the two put the peak 7 to 61 nm apart.

    Raises
    ------
    ValueError
        If a shape or an index is not possible.
    UnsupportedInput
        If the permittivity does not cover a wavelength.

    Examples
    --------
    >>> float(gold_nanorod(4.0, 820.5).round(-7))
    3750000000.0

    References
    ----------
    .. [1] R. Gans, Ann. Phys. 342, 881 (1912), doi:10.1002/andp.19123420503
    """
    area = nanorod_cross_section_nm2(
        aspect_ratio,
        wavelength_nm,
        diameter_nm=diameter_nm,
        medium_index=medium_index,
        aspect_ratio_sd=aspect_ratio_sd,
        permittivity=permittivity,
    )
    return molar_from_cross_section(area)


def nanorod_cross_section_nm2(
    aspect_ratio: float,
    wavelength_nm: npt.ArrayLike,
    *,
    diameter_nm: float = 10.0,
    medium_index: float = 1.333,
    aspect_ratio_sd: float = 0.0,
    permittivity: str = "lorentz-drude-1998",
) -> FloatArray:
    """Absorption cross-section of a gold nanorod in nm2, as `gold_nanorod`."""
    wavelength = checked_wavelengths(wavelength_nm)
    _check_particle(diameter_nm, medium_index)
    ratios, shares = _ratios(aspect_ratio, aspect_ratio_sd)
    gold = gold_permittivity(wavelength, permittivity)
    around = medium_index**2
    total = np.zeros(wavelength.shape, np.float64)
    for ratio, share in zip(ratios.tolist(), shares.tolist(), strict=True):
        along = depolarisation(ratio)
        across = 0.5 * (1.0 - along)
        difference = gold - around
        polarised = difference / (around + along * difference) + 2.0 * difference / (
            around + across * difference
        )
        total += share * nanorod_volume_nm3(ratio, diameter_nm) / 3.0 * polarised.imag
    return np.asarray(2.0 * np.pi * medium_index / wavelength * total)


def gold_sphere(
    diameter_nm: float,
    wavelength_nm: npt.ArrayLike,
    *,
    medium_index: float = 1.333,
    permittivity: str = "lorentz-drude-1998",
) -> FloatArray:
    """Decadic molar extinction by absorption of gold spheres, per mole of spheres in 1/(M cm).

    The full Mie series, so that it holds at every size: it is above the quasi-static limit by up to 2 % at
    10 nm and 8 % at 20 nm.

    Parameters
    ----------
    diameter_nm : float
        Up to 500.
    wavelength_nm : array_like
    medium_index : float
    permittivity : {"lorentz-drude-1998", "johnson-christy-1972"}
        Of bulk gold: the damping by the surface of spheres below 10 nm is left out.

    Raises
    ------
    ValueError
        If a size or an index is not possible.
    UnsupportedInput
        If the permittivity does not cover a wavelength.
    """
    return molar_from_cross_section(
        sphere_cross_section_nm2(
            diameter_nm, wavelength_nm, medium_index=medium_index, permittivity=permittivity
        )
    )


def sphere_cross_section_nm2(
    diameter_nm: float,
    wavelength_nm: npt.ArrayLike,
    *,
    medium_index: float = 1.333,
    permittivity: str = "lorentz-drude-1998",
) -> FloatArray:
    """Absorption cross-section of a gold sphere in nm2, as `gold_sphere`."""
    wavelength = checked_wavelengths(wavelength_nm)
    _check_particle(diameter_nm, medium_index)
    index = np.sqrt(gold_permittivity(wavelength, permittivity)) / medium_index
    size = np.pi * diameter_nm * medium_index / wavelength
    return np.asarray(0.25 * np.pi * diameter_nm**2 * absorption_efficiency(size, index))


def depolarisation(aspect_ratio: float) -> float:
    """Depolarisation factor along the axis of a prolate spheroid; a third for a sphere.

    >>> round(depolarisation(4.0), 4), depolarisation(1.0)
    (0.0754, 0.3333333333333333)
    """
    square = 1.0 - 1.0 / aspect_ratio**2
    if square < 1e-3:
        # The closed form loses its digits where it nears 0/0.
        return 1.0 / 3.0 - square * (2.0 / 15.0 + square * (2.0 / 35.0 + square * 2.0 / 63.0))
    e = float(np.sqrt(square))
    return float((1.0 - square) / square * (np.arctanh(e) / e - 1.0))


def nanorod_volume_nm3(aspect_ratio: float, diameter_nm: float) -> float:
    """Volume of a cylinder capped by two hemispheres, in nm3.

    >>> round(nanorod_volume_nm3(4.0, 10.0))
    2880
    """
    return float(np.pi * diameter_nm**3 * (0.25 * (aspect_ratio - 1.0) + 1.0 / 6.0))


def sphere_volume_nm3(diameter_nm: float) -> float:
    """Volume of a sphere in nm3."""
    return float(np.pi * diameter_nm**3 / 6.0)


def molar_from_cross_section(area_nm2: npt.ArrayLike) -> FloatArray:
    """Decadic molar extinction in 1/(M cm) of particles with an absorption cross-section in nm2."""
    return np.asarray(np.asarray(area_nm2, np.float64) * (_NM2_CM2 * AVOGADRO / (1000.0 * np.log(10.0))))


def absorption_per_gram_litre(molar_extinction: npt.ArrayLike, volume_nm3: float) -> FloatArray:
    """Absorption in 1/cm, to base e, of 1 g of gold per litre as particles of a volume.

    Parameters
    ----------
    molar_extinction : array_like
        Per mole of particles, 1/(M cm).
    volume_nm3 : float
        Of one particle.
    """
    molar_mass = GOLD_DENSITY_G_ML * volume_nm3 * _NM3_ML * AVOGADRO
    return np.asarray(np.log(10.0) * np.asarray(molar_extinction, np.float64) / molar_mass)


def _ratios(mean: float, sd: float) -> tuple[FloatArray, FloatArray]:
    """Aspect ratios and their shares."""
    if not _SMALLEST_RATIO <= mean <= _LARGEST_RATIO:
        raise ValueError(f"the aspect ratio lies between 1 and 20, not at {mean}")
    if not 0.0 <= sd <= 0.5 * mean:
        raise ValueError(f"the spread of the aspect ratio lies between 0 and half its mean, not at {sd}")
    if sd == 0.0:
        return np.array([mean]), np.ones(1)
    ratios = np.linspace(max(mean - _N_SD * sd, _SMALLEST_RATIO), mean + _N_SD * sd, _N_RATIOS)
    shares = np.exp(-0.5 * ((ratios - mean) / sd) ** 2)
    shares[[0, -1]] *= 0.5
    return ratios, shares / shares.sum()


def _check_particle(diameter_nm: float, medium_index: float) -> None:
    if not 0.5 <= diameter_nm <= 500.0:
        raise ValueError(f"the diameter of a particle lies between 0.5 and 500 nm, not at {diameter_nm}")
    if not 1.0 <= medium_index <= 3.0:
        raise ValueError(f"the index of the medium lies between 1 and 3, not at {medium_index}")
