"""Spectra of X-ray tubes: from the target, through the filters, hardened by water.

Photon fluence comes from SpekPy (tungsten target of 12 degrees); it runs once per tube voltage and process.
Filters and water are applied here, with the same attenuation tables as everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.attenuation import element_attenuation, elements, water_attenuation
from imgtheranostics.errors import ImplausibleValue

DoubleArray = npt.NDArray[np.float64]

ANODE_ANGLE_DEG = 12.0
LOWEST_KVP, HIGHEST_KVP = 20.0, 200.0
"""Tube voltages that imaging uses and that the model takes, in kV."""

_BIN_KEV = 0.5
_PARTS = 5
"""Parts of a bin, so that an absorption edge inside of it does not fall to one side as a whole."""


@dataclass(frozen=True, slots=True)
class Beam:
    """A tube voltage, its filters, and the water that hardens the spectrum on the way to the detector.

    Attributes
    ----------
    kvp : float
        Tube voltage in kV, 20 to 200.
    filtration_mm_al : float
        Aluminium in mm, inherent filtration included.
    water_cm : float
        Water in cm: the width of the patient or of the animal.
    tin_mm : float
        Tin in mm, in addition.

    Raises
    ------
    ImplausibleValue
        If a number is outside of what a scanner has.
    """

    kvp: float
    filtration_mm_al: float = 7.0
    water_cm: float = 20.0
    tin_mm: float = 0.0

    def __post_init__(self) -> None:
        check_kvp(self.kvp)
        _check("filtration_mm_al", self.filtration_mm_al, 0.0, 50.0, "mm")
        _check("water_cm", self.water_cm, 0.0, 60.0, "cm")
        _check("tin_mm", self.tin_mm, 0.0, 3.0, "mm")
        for name in ("kvp", "filtration_mm_al", "water_cm", "tin_mm"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def filter(self) -> str:
        """The filters in words."""
        return f"{self.filtration_mm_al:g} mm Al" + (f" + {self.tin_mm:g} mm Sn" if self.tin_mm else "")

    def __str__(self) -> str:
        return f"{self.kvp:g} kVp, {self.filter}, {self.water_cm:g} cm water"


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Photons per energy bin, in arbitrary units.

    Attributes
    ----------
    energy_kev : (n,) ndarray
        Middle of each bin.
    fluence : (n,) ndarray
        Photons in each bin; not writable.
    step_kev : float
        Width of a bin.
    """

    energy_kev: DoubleArray
    fluence: DoubleArray
    step_kev: float

    def mean(self, values: npt.ArrayLike, *, counting: bool = False) -> float:
        """Mean of a quantity over the detected signal.

        Parameters
        ----------
        values : (n,) array_like
        counting : bool
            Weigh photons alike, as a counting detector does, instead of by their energy.
        """
        weight = self.fluence if counting else self.fluence * self.energy_kev
        return float(np.sum(weight * np.asarray(values)) / np.sum(weight))


@lru_cache(maxsize=64)
def transmitted(beam: Beam) -> Spectrum:
    """The spectrum behind filters and water, at the detector. Kept for the process."""
    source = tube_spectrum(beam.kvp)
    energy = source.energy_kev
    depth = (
        water_attenuation(energy) * beam.water_cm
        + _filter_depth("Al", beam.filtration_mm_al, energy)
        + _filter_depth("Sn", beam.tin_mm, energy)
    )
    return Spectrum(energy, _fixed(source.fluence * np.exp(-depth)), source.step_kev)


@lru_cache(maxsize=64)
def tube_spectrum(kvp: float) -> Spectrum:
    """The unfiltered spectrum of a tungsten target of 12 degrees. Kept for the process.

    References
    ----------
    .. [1] G. Poludniowski, A. Omar, R. Bujila, P. Andreo, "Technical Note: SpekPy v2.0", Med. Phys. 48 (2021)
       3630, doi:10.1002/mp.14945
    """
    import spekpy

    model = spekpy.Spek(kvp=kvp, th=ANODE_ANGLE_DEG, dk=_BIN_KEV, physics="casim")
    middle, fluence = (np.asarray(values, np.float64) for values in model.get_spectrum())
    offsets = ((np.arange(_PARTS) + 0.5) / _PARTS - 0.5) * _BIN_KEV
    energy = (middle[:, np.newaxis] + offsets).ravel()
    return Spectrum(_fixed(energy), _fixed(np.repeat(fluence / _PARTS, _PARTS)), _BIN_KEV / _PARTS)


def mean_energy_kev(
    kvp: float,
    *,
    filtration_mm_al: float = 7.0,
    water_cm: float = 20.0,
    tin_mm: float = 0.0,
    counting: bool = False,
) -> float:
    """Mean energy of what an energy-integrating detector measures behind the water, in keV.

    Parameters
    ----------
    kvp : float
        Tube voltage in kV.
    filtration_mm_al, tin_mm : float
        Filters in mm.
    water_cm : float
        Water in cm.
    counting : bool
        Mean over photons instead, as a counting detector sees them.
    """
    spectrum = transmitted(Beam(kvp, filtration_mm_al, water_cm, tin_mm))
    return spectrum.mean(spectrum.energy_kev, counting=counting)


def _filter_depth(symbol: str, thickness_mm: float, energy_kev: DoubleArray) -> DoubleArray:
    if thickness_mm == 0:
        return np.zeros(energy_kev.size)
    return element_attenuation(symbol, energy_kev) * (elements()[symbol].density_g_ml * thickness_mm / 10.0)


def check_kvp(kvp: float) -> None:
    """Refuse a tube voltage that no CT scanner has.

    Raises
    ------
    ImplausibleValue
        If it is not 20 to 200 kV.
    """
    _check("kvp", kvp, LOWEST_KVP, HIGHEST_KVP, "kV")


def _check(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise ImplausibleValue(
            "the X-ray beam is not one of a CT scanner",
            where=name,
            found=f"{value:g} {unit}",
            needed=f"{low:g} to {high:g} {unit}",
            next_step="check the value and its unit",
        )


def _fixed(values: DoubleArray) -> DoubleArray:
    values.setflags(write=False)
    return values
