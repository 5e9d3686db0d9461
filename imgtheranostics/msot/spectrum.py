"""A spectrum: values at wavelengths with what they are and whence, evaluated without extrapolation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnitMismatch, UnsupportedInput

FloatArray = npt.NDArray[np.float64]

SpectrumQuantity = Literal["molar_extinction", "absorption"]

WAVELENGTH_TOLERANCE_NM = 0.5
"""Wavelengths closer than this are one."""

LN_10 = float(np.log(10.0))
"""A natural absorption coefficient over a decadic one."""

_UNITS = {"molar_extinction": "1/(M cm), base 10", "absorption": "1/cm, base e"}
_SHORTEST_NM, _LONGEST_NM = 100.0, 20000.0


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Values at increasing wavelengths.

    Attributes
    ----------
    name : str
    wavelength_nm, values : (n,) ndarray
        `values` are molar extinction in 1/(M cm) to base 10, or absorption in 1/cm to base e.
    quantity : {"molar_extinction", "absorption"}
    source, licence : str
    model : bool
        Whether a formula stands in for a measurement.
    cautions : tuple of Caution
    """

    name: str
    wavelength_nm: FloatArray
    values: FloatArray
    quantity: SpectrumQuantity
    source: str = ""
    licence: str = ""
    model: bool = False
    cautions: tuple[Caution, ...] = ()

    @property
    def unit(self) -> str:
        """Unit and base of the values."""
        return _UNITS[self.quantity]

    def at(self, wavelength_nm: npt.ArrayLike) -> FloatArray:
        """The values at wavelengths, by linear interpolation.

        Parameters
        ----------
        wavelength_nm : array_like

        Raises
        ------
        UnsupportedInput
            If one lies beyond the data.
        UnitMismatch
            If they are not in nm.
        """
        wavelength = checked_wavelengths(wavelength_nm)
        check_covered(self.name, wavelength, float(self.wavelength_nm[0]), float(self.wavelength_nm[-1]))
        return np.asarray(np.interp(wavelength, self.wavelength_nm, self.values))


def checked_wavelengths(wavelength_nm: npt.ArrayLike) -> FloatArray:
    """Wavelengths as float64, once it is certain that they are finite and in nm.

    Raises
    ------
    ValueError
        If one is not a finite positive number.
    UnitMismatch
        If they look like metres or micrometres.
    """
    given: Any = np.asarray(wavelength_nm)
    if given.dtype.kind not in "iuf":
        raise ValueError(f"wavelengths in nm are numbers, not {given.dtype}")
    wavelength = np.asarray(given, np.float64)
    if not np.all(np.isfinite(wavelength)) or np.any(wavelength <= 0.0):
        raise ValueError("every wavelength must be a finite number of nm above 0")
    outside = (wavelength < _SHORTEST_NM) | (wavelength > _LONGEST_NM)
    if np.any(outside):
        value = float(wavelength[outside].ravel()[0])
        guess = "metres" if value < 1e-4 else "micrometres" if value < _SHORTEST_NM else "picometres"
        raise UnitMismatch(
            "the wavelengths are not in nm",
            where="wavelength_nm",
            found=f"{value:g}, which would be plausible in {guess}",
            needed=f"{_SHORTEST_NM:g} to {_LONGEST_NM:g} nm",
            next_step="convert them to nm",
        )
    return wavelength


def check_covered(name: str, wavelength_nm: FloatArray, first_nm: float, last_nm: float) -> None:
    """Refuse wavelengths beyond the data of a component.

    Raises
    ------
    UnsupportedInput
    """
    outside = (wavelength_nm < first_nm) | (wavelength_nm > last_nm)
    if np.any(outside):
        beyond = ", ".join(f"{value:g}" for value in np.unique(wavelength_nm[outside])[:8])
        raise UnsupportedInput(
            f"the spectrum of {name} does not cover every wavelength, and is not extrapolated",
            where=name,
            found=f"{beyond} nm",
            needed=f"{first_nm:g} to {last_nm:g} nm",
            next_step="leave these wavelengths or the component out, or give a spectrum that covers them",
        )
