"""Mass attenuation of elements and compounds, and what single energies make of it.

The tables are those of XrayDB (Elam, Ravel and Sieber; data CC0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.xray_tables import rows
from imgtheranostics.errors import ImplausibleValue, UnsupportedInput

DoubleArray = npt.NDArray[np.float64]

LOWEST_KEV, HIGHEST_KEV = 0.1, 800.0
"""Energies that the tables cover, in keV."""

WATER = MappingProxyType({"H": 2.0, "O": 1.0})


@dataclass(frozen=True, slots=True)
class Element:
    """An element of the tables.

    Attributes
    ----------
    symbol, name : str
    molar_mass_g_mol : float
    density_g_ml : float
        Of the element by itself.
    """

    symbol: str
    name: str
    molar_mass_g_mol: float
    density_g_ml: float


@dataclass(frozen=True, slots=True, eq=False)
class _CrossSection:
    """A spline in logarithms: knots, values and second derivatives."""

    log_ev: DoubleArray
    log_value: DoubleArray
    curvature: DoubleArray

    def at(self, log_ev: DoubleArray) -> DoubleArray:
        """Cross-section in cm2/g.

        An energy on a knot takes the neighbours on both sides of it, as Elam's interpolation does: the tables
        hold an edge as two knots close together.
        """
        last = self.log_ev.size - 1
        low = np.maximum(np.searchsorted(self.log_ev, log_ev, side="left") - 1, 0)
        high = np.minimum(np.searchsorted(self.log_ev, log_ev, side="right"), last)
        width = self.log_ev[high] - self.log_ev[low]
        a = (self.log_ev[high] - log_ev) / width
        b = (log_ev - self.log_ev[low]) / width
        bend = (a * a - 1.0) * a * self.curvature[low] + (b * b - 1.0) * b * self.curvature[high]
        return np.exp(a * self.log_value[low] + b * self.log_value[high] + width * width / 6.0 * bend)


def elements() -> Mapping[str, Element]:
    """The elements of the tables by symbol, hydrogen to californium."""
    return _elements()


def element_attenuation(symbol: str, energy_kev: npt.ArrayLike) -> DoubleArray:
    """Total mass attenuation coefficient of an element, in cm2/g.

    Parameters
    ----------
    symbol : str
    energy_kev : array_like
        0.1 to 800 keV.

    Raises
    ------
    ImplausibleValue
        If an energy lies outside of the tables: they are not extrapolated.

    References
    ----------
    .. [1] W. T. Elam, B. D. Ravel, J. R. Sieber, Radiat. Phys. Chem. 63 (2002) 121,
       doi:10.1016/S0969-806X(01)00227-4
    """
    energy = _energies(energy_kev)
    log_ev = np.log(energy.ravel() * 1000.0)
    total = sum((part.at(log_ev) for part in _cross_sections(symbol)), np.zeros(log_ev.size))
    return total.reshape(energy.shape)


def absorbing_parts(symbol: str, energy_kev: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Photoelectric absorption and incoherent scattering of an element, in cm2/g."""
    log_ev = np.log(_energies(energy_kev) * 1000.0)
    photo, _, incoherent = _cross_sections(symbol)
    return photo.at(log_ev), incoherent.at(log_ev)


def mixture_attenuation(mass_fractions: Mapping[str, float], energy_kev: npt.ArrayLike) -> DoubleArray:
    """Mass attenuation coefficient of a mixture, cm2/g: that of its elements by mass fraction.

    Parameters
    ----------
    mass_fractions : mapping of str to float
        Mass fraction by symbol; they are used in proportion.
    energy_kev : array_like
    """
    whole = sum(mass_fractions.values())
    parts = [share * element_attenuation(symbol, energy_kev) for symbol, share in mass_fractions.items()]
    return np.asarray(sum(parts) / whole, np.float64)


def water_attenuation(energy_kev: npt.ArrayLike) -> DoubleArray:
    """Mass attenuation coefficient of water in cm2/g, which is 1/cm at 1 g/mL."""
    return mixture_attenuation(mass_fractions(WATER), energy_kev)


def mass_fractions(atoms: Mapping[str, float]) -> dict[str, float]:
    """Mass fraction of each element from the number of its atoms."""
    masses = {symbol: n * elements()[symbol].molar_mass_g_mol for symbol, n in atoms.items()}
    whole = sum(masses.values())
    return {symbol: mass / whole for symbol, mass in masses.items()}


def _energies(energy_kev: npt.ArrayLike) -> DoubleArray:
    energy = np.asarray(energy_kev, np.float64)
    outside = ~((energy >= LOWEST_KEV) & (energy <= HIGHEST_KEV))
    if outside.any():
        raise ImplausibleValue(
            "a photon energy is outside the attenuation tables",
            found=f"{energy[outside].ravel()[0]:g} keV",
            needed=f"{LOWEST_KEV:g} to {HIGHEST_KEV:g} keV",
            next_step="check the unit: energies are in keV; the tables are not extrapolated",
        )
    return energy


@lru_cache(maxsize=1)
def _elements() -> Mapping[str, Element]:
    listed = rows("SELECT element, name, molar_mass, density FROM elements ORDER BY atomic_number")
    covered = {row[0] for row in rows("SELECT element FROM photoabsorption")}
    return MappingProxyType(
        {
            symbol: Element(symbol, name, float(mass), float(density))
            for symbol, name, mass, density in listed
            if symbol in covered
        }
    )


@lru_cache(maxsize=128)
def _cross_sections(symbol: str) -> tuple[_CrossSection, ...]:
    """Photoelectric absorption, coherent and incoherent scattering."""
    if symbol not in _elements():
        raise UnsupportedInput("this is no element of the attenuation tables", found=symbol)
    photo = rows(
        "SELECT log_energy, log_photoabsorption, log_photoabsorption_spline "
        "FROM photoabsorption WHERE element = ?",
        symbol,
    )
    scatter = rows(
        "SELECT log_energy, log_coherent_scatter, log_coherent_scatter_spline, "
        "log_incoherent_scatter, log_incoherent_scatter_spline FROM scattering WHERE element = ?",
        symbol,
    )
    (grid, coherent, coherent_bend, incoherent, incoherent_bend) = (_numbers(text) for text in scatter[0])
    return (
        _CrossSection(*(_numbers(text) for text in photo[0])),
        _CrossSection(grid, coherent, coherent_bend),
        _CrossSection(grid, incoherent, incoherent_bend),
    )


def _numbers(text: str) -> DoubleArray:
    return np.array(json.loads(text), np.float64)
