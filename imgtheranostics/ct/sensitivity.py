"""HU per mg/mL of a material, from attenuation tables: in the spectrum of a beam, or at single energies."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.attenuation import mixture_attenuation, water_attenuation
from imgtheranostics.ct.compounds import Material, find_material
from imgtheranostics.ct.xray_spectra import Beam, transmitted
from imgtheranostics.errors import MissingMetadata

DoubleArray = npt.NDArray[np.float64]


def hu_per_mg_ml(
    material: str,
    kvp: float,
    *,
    filtration_mm_al: float = 7.0,
    water_cm: float = 20.0,
    tin_mm: float = 0.0,
    displacement: bool = False,
    density_g_ml: float | None = None,
) -> float:
    """HU per mg/mL of a material, from a model of the X-ray spectrum.

    A tungsten spectrum behind aluminium (and tin) is hardened by water and weighted by energy, as an
    integrating detector does; HU are those of small amounts of the material in water, without beam hardening
    by the material itself. This is a prior: a calibration of the scanner goes before it.

    Parameters
    ----------
    material : str
        Element, formula, name of a compound, or agent's record; see `find_material`. The mass is that of this
        material: ``"Hf"`` counts mg of hafnium and ``"HfO2"`` mg of its oxide.
    kvp : float
        Tube voltage in kV, 20 to 200.
    filtration_mm_al : float
        Filtration in mm of aluminium; about 7 in clinical scanners, 0.5 to 1 in micro-CT.
    water_cm : float
        Width of the patient in cm of water; about 3 for a mouse.
    tin_mm : float
        Tin in mm, in addition.
    displacement : bool
        Subtract the water that particles displace, 1/density HU per mg/mL.
    density_g_ml : float, optional
        Density of the particles for that; a record may bring its own.

    Returns
    -------
    float

    Raises
    ------
    UnsupportedInput
        If the material is not known; near names are listed.
    ImplausibleValue
        If the beam is not one of a CT scanner.
    MissingMetadata
        If `displacement` is asked for without a density.

    Examples
    --------
    >>> round(hu_per_mg_ml("I", 120))
    28
    """
    found = find_material(material)
    model = model_slope(
        found.name, tuple(found.mass_fractions.items()), Beam(kvp, filtration_mm_al, water_cm, tin_mm)
    )
    return model - (displaced_water(found, density_g_ml, required=True) if displacement else 0.0)


def monoenergetic(material: str, energy_kev: npt.ArrayLike) -> DoubleArray | float:
    """HU per mg/mL at single photon energies: mass attenuation over that of water.

    Parameters
    ----------
    material : str
        As for `hu_per_mg_ml`.
    energy_kev : array_like
        0.1 to 800 keV.

    Returns
    -------
    ndarray or float
        Without displacement of water.

    Raises
    ------
    ImplausibleValue
        If an energy is outside of the tables.
    UnsupportedInput
        If the material is not known; near names are listed.

    Examples
    --------
    >>> round(monoenergetic("HfO2", 80), 2)
    34.08
    """
    ratio = mass_attenuation(material, energy_kev) / water_attenuation(energy_kev)
    return float(ratio) if np.ndim(ratio) == 0 else ratio


def mass_attenuation(material: str, energy_kev: npt.ArrayLike) -> DoubleArray | float:
    """Total mass attenuation coefficient in cm2/g, with coherent scattering, of XrayDB's tables.

    Parameters
    ----------
    material : str
        As for `hu_per_mg_ml`.
    energy_kev : array_like
        0.1 to 800 keV.

    Returns
    -------
    ndarray or float

    Raises
    ------
    ImplausibleValue
        If an energy is outside of the tables.
    UnsupportedInput
        If the material is not known; near names are listed.
    """
    total = mixture_attenuation(find_material(material).mass_fractions, energy_kev)
    return float(total) if np.ndim(total) == 0 else total


@lru_cache(maxsize=1024)
def model_slope(name: str, fractions: tuple[tuple[str, float], ...], beam: Beam) -> float:
    """HU per mg/mL in the spectrum behind the water; kept for the process."""
    spectrum = transmitted(beam)
    energy = spectrum.energy_kev
    return spectrum.mean(mixture_attenuation(dict(fractions), energy)) / spectrum.mean(
        water_attenuation(energy)
    )


def displaced_water(material: Material, density_g_ml: float | None, *, required: bool) -> float:
    """HU per mg/mL of displaced water: 1000 HU times 1 mg over the density."""
    density = material.density_g_ml if density_g_ml is None else density_g_ml
    if density is None and required:
        raise MissingMetadata(
            "the displacement of water needs the density of the particles",
            where=material.agent or material.name,
            next_step="give density_g_ml, or the agent's record that states it",
        )
    if density is None:
        return 0.0
    if not (np.isfinite(density) and density > 0):
        raise ValueError(f"density_g_ml is positive, not {density}")
    return 1.0 / density
