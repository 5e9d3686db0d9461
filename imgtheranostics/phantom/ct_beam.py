"""The X-ray beam of a phantom's scanner: a spectrum, and how matter attenuates it.

The spectrum is deliberately plainer than the package's own, and independent of it: bremsstrahlung by
Kramers' law without characteristic lines, behind aluminium. It decides only how a slope changes with the
matter in the beam; the slopes themselves are pinned in the phantom file.

References
----------
.. [1] Kramers, Phil. Mag. 46:836, 1923: photons per energy interval in proportion to E0/E - 1.
.. [2] Attenuation coefficients: XrayDB 4.5.8 (tables of Elam et al., CC0).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DETECTED_FROM_KEV = 15.0
_STEP_KEV = 1.0
_ALUMINIUM_G_ML = 2.699
_LONGEST_CM = 80.0


@dataclass(frozen=True, slots=True)
class Beam:
    """A filtered beam and its detector.

    Attributes
    ----------
    kvp, filtration_mm_al : float
    counting : bool
        Each photon counts once, as in a photon-counting detector; else by its energy.
    low_kev, high_kev : float
        Photons that are counted.
    """

    kvp: float
    filtration_mm_al: float
    counting: bool = False
    low_kev: float = DETECTED_FROM_KEV
    high_kev: float = np.inf

    @property
    def energies_kev(self) -> FloatArray:
        """Middle of each step of the spectrum."""
        stop = min(self.kvp, self.high_kev)
        n = max(1, round((stop - self.low_kev) / _STEP_KEV))
        return self.low_kev + (np.arange(n) + 0.5) * (stop - self.low_kev) / n

    def weights(self, water_cm: float = 0.0) -> FloatArray:
        """Share of each energy in the detected signal behind some water."""
        energy = self.energies_kev
        photons = np.maximum(self.kvp / energy - 1.0, 0.0)
        signal = photons if self.counting else photons * energy
        path = _ALUMINIUM_G_ML * self.filtration_mm_al / 10 * attenuation("Al", energy)
        left = np.exp(-path - water_cm * attenuation("H2O", energy))
        return np.asarray(signal * left / (signal * left).sum())

    def slope(self, material: str, water_cm: float) -> float:
        """HU per mg/mL of a trace of a material behind some water: ratio of the mean attenuations."""
        weights, energy = self.weights(water_cm), self.energies_kev
        return float((weights @ attenuation(material, energy)) / (weights @ attenuation("H2O", energy)))

    def water_equivalent(self) -> tuple[FloatArray, FloatArray]:
        """Lengths of water in cm, and the attenuation -ln(I/I0) that each shows."""
        lengths = np.linspace(0.0, _LONGEST_CM, 1601)
        through = np.exp(-lengths[:, np.newaxis] * attenuation("H2O", self.energies_kev))
        return lengths, -np.log(through @ self.weights())


def attenuation(material: str, energy_kev: FloatArray) -> FloatArray:
    """Mass attenuation coefficient of an element or a compound by its formula, cm2/g."""
    return np.array(_attenuation(material, tuple(energy_kev.tolist())))


@lru_cache(maxsize=256)
def _attenuation(material: str, energy_kev: tuple[float, ...]) -> tuple[float, ...]:
    import xraydb

    parts = xraydb.chemparse(material)
    mass = {element: count * xraydb.atomic_mass(element) for element, count in parts.items()}
    energy_ev = np.array(energy_kev) * 1000.0
    total = sum(mass[element] * xraydb.mu_elam(element, energy_ev) for element in parts)
    return tuple((np.asarray(total) / sum(mass.values())).tolist())
