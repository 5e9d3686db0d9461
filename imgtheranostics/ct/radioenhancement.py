"""Macroscopic dose enhancement: how much more energy tissue with metal absorbs than water alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.compounds import find_material
from imgtheranostics.ct.energy_absorption import (
    RELATIVE_ERROR,
    energy_absorption,
    water_energy_absorption,
)
from imgtheranostics.ct.xray_spectra import Spectrum
from imgtheranostics.errors import Caution

_SCARCE = 1e-9
"""Photons of a spectrum below this share of its maximum are what filters leave where nothing is known."""

LABEL = "macroscopic dose enhancement (energy absorption only)"


@dataclass(frozen=True, slots=True)
class DoseEnhancement:
    """Dose in tissue with metal over that in water, as energy absorption alone makes it.

    Attributes
    ----------
    value : float
        1 + w (ratio - 1), without unit.
    standard_error : float
        Of the ratio and of the mass fraction; it does not cover what `warnings` say is left out.
    ratio : float
        Mass energy-absorption coefficient of the material over that of water, both averaged over the energy
        fluence.
    mass_fraction : float
        Of the material in the tissue.
    material : str
    source : str
        Where the ratio is from.
    label : str
        What it is, to stand beside every number.
    warnings : tuple of Caution
    """

    value: float
    standard_error: float
    ratio: float
    mass_fraction: float
    material: str
    source: str
    label: str = LABEL
    warnings: tuple[Caution, ...] = ()

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        return {
            "quantity": self.label,
            "dose_enhancement": self.value,
            "standard_error": self.standard_error,
            "ratio": self.ratio,
            "mass_fraction": self.mass_fraction,
            "material": self.material,
            "source": self.source,
        }


def dose_enhancement(
    material: str,
    mass_fraction: float,
    energy_kev: npt.ArrayLike | Spectrum | None = None,
    *,
    fluence: npt.ArrayLike | None = None,
    ratio: float | None = None,
    ratio_error: float | None = None,
    mass_fraction_error: float = 0.0,
) -> DoseEnhancement:
    """Dose in tissue that holds a material over dose in water, from energy absorption alone.

    An average over tissue with electron equilibrium: what happens within micrometres of a particle (Auger
    electrons, radicals) is not modelled, and the result says so.

    Parameters
    ----------
    material : str
        Element, formula, name of a compound, or agent's record.
    mass_fraction : float
        Mass of the material over that of the tissue, 0 to 1; 10 mg/mL are about 0.01.
    energy_kev : float, array_like or Spectrum, optional
        Photon energy, or the energies of a spectrum, 10 to 800 keV. Not needed with `ratio`.
    fluence : array_like, optional
        Photons at each energy, in any unit.
    ratio : float, optional
        Mass energy-absorption coefficient over that of water from a table of your own. The only way to go
        above 800 keV.
    ratio_error : float, optional
        Standard error of `ratio`; without it 4 % where the ratio is modelled, and 0 where it is given.
    mass_fraction_error : float
        Standard error of `mass_fraction`.

    Returns
    -------
    DoseEnhancement

    Raises
    ------
    ImplausibleValue
        If an energy is outside of 10 to 800 keV and no ratio is given.
    UnsupportedInput
        If the material is not known; near names are listed.
    ValueError
        If numbers are not what they should be, or neither an energy nor a ratio is given.

    Examples
    --------
    >>> round(dose_enhancement("HfO2", 0.01, ratio=81).value, 2)
    1.8
    """
    _check_numbers(mass_fraction, mass_fraction_error, ratio, ratio_error)
    name = find_material(material).name
    if ratio is None:
        used = _modelled_ratio(material, energy_kev, fluence)
        error = RELATIVE_ERROR * used if ratio_error is None else ratio_error
        source = "modelled from XrayDB, without bremsstrahlung and pair production"
    else:
        used, error, source = float(ratio), ratio_error or 0.0, "given"
    text = (
        "the dose enhancement is macroscopic: nanoscale effects, Auger electrons and radicals within "
        "micrometres of the particles, are not modelled"
    )
    return DoseEnhancement(
        1.0 + mass_fraction * (used - 1.0),
        float(np.hypot(mass_fraction * error, (used - 1.0) * mass_fraction_error)),
        used,
        float(mass_fraction),
        name,
        source,
        warnings=(Caution("macroscopic-only", text, name),),
    )


def _modelled_ratio(
    material: str, energy_kev: npt.ArrayLike | Spectrum | None, fluence: npt.ArrayLike | None
) -> float:
    """Ratio of the means over the energy fluence, which is that of the energies absorbed."""
    if energy_kev is None:
        raise ValueError("give energy_kev, or the ratio of the energy absorption to that of water")
    if isinstance(energy_kev, Spectrum):
        if fluence is not None:
            raise ValueError("the spectrum holds its own fluence")
        present = energy_kev.fluence > _SCARCE * energy_kev.fluence.max()
        energy, photons = energy_kev.energy_kev[present], energy_kev.fluence[present]
    else:
        energy = np.atleast_1d(np.asarray(energy_kev, np.float64))
        photons = np.ones(energy.shape) if fluence is None else np.asarray(fluence, np.float64)
        if fluence is None and energy.size != 1:
            raise ValueError("several energies need fluence=, the photons at each")
    if photons.shape != energy.shape or energy.ndim != 1:
        raise ValueError(f"energy_kev has shape {energy.shape} and fluence {photons.shape}")
    if not (np.isfinite(photons).all() and (photons >= 0).all() and photons.sum() > 0):
        raise ValueError("fluence is not negative and not all 0")
    weight = photons * energy
    absorbed = np.sum(weight * np.asarray(energy_absorption(material, energy)))
    return float(absorbed / np.sum(weight * water_energy_absorption(energy)))


def _check_numbers(
    mass_fraction: float, mass_fraction_error: float, ratio: float | None, ratio_error: float | None
) -> None:
    if not 0 <= mass_fraction <= 1:
        raise ValueError(f"mass_fraction is between 0 and 1, not {mass_fraction}")
    if not 0 <= mass_fraction_error < np.inf:
        raise ValueError(f"mass_fraction_error is not negative, not {mass_fraction_error}")
    if ratio is not None and not 0 < ratio < np.inf:
        raise ValueError(f"ratio is positive, not {ratio}")
    if ratio_error is not None and not 0 <= ratio_error < np.inf:
        raise ValueError(f"ratio_error is not negative, not {ratio_error}")
