"""One column of the unmixing: what one unit of an absorber contributes at each wavelength."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.msot.spectrum import LN_10, Spectrum

FloatArray = npt.NDArray[np.float64]

MOLAR = "M"
FRACTION = "1"


@dataclass(frozen=True, eq=False)
class Component:
    """What one unit of an absorber contributes to a spectrum.

    Attributes
    ----------
    name : str
        As it was asked for; of a record, as the record names its absorber.
    values : (n,) ndarray
        Decadic absorption coefficient in 1/cm per unit amount: the molar extinction in 1/(M cm), or a
        natural absorption coefficient over ln 10 for what is counted as a fraction of the volume. Spectra of
        decadic absorption are ``values @ amounts``.
    unit : str
        Of the amount: ``M`` (mol/L) or ``1``; empty for an array whose unit is not stated.
    source, licence : str
    model : bool
        Whether a formula from memory stands in for a measurement.
    cautions : tuple of Caution
    wavelength_nm : (n,) ndarray
        In the order in which they were asked for.
    """

    name: str
    values: FloatArray
    unit: str
    source: str
    licence: str
    model: bool
    cautions: tuple[Caution, ...]
    wavelength_nm: FloatArray

    @property
    def natural(self) -> FloatArray:
        """Absorption coefficient to base e in 1/cm per unit amount."""
        return self.values * LN_10


def from_spectrum(spectrum: Spectrum, wavelength: FloatArray) -> Component:
    """The column of a spectrum."""
    molar = spectrum.quantity == "molar_extinction"
    return Component(
        spectrum.name,
        spectrum.at(wavelength) / (1.0 if molar else LN_10),
        MOLAR if molar else FRACTION,
        spectrum.source,
        spectrum.licence,
        spectrum.model,
        spectrum.cautions,
        wavelength,
    )
