"""Macroscopic dose enhancement of tissue from the concentration of a material that was measured in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from imgtheranostics.ct.compounds import find_material
from imgtheranostics.ct.injected_agent import positive
from imgtheranostics.ct.radioenhancement import LABEL, dose_enhancement
from imgtheranostics.ct.xray_spectra import Spectrum
from imgtheranostics.errors import Caution, ImplausibleValue

TISSUE_DENSITY_G_ML = 1.0
"""Of tissue without the material, where none is stated: that of water."""

_MG_PER_G = 1000.0


@dataclass(frozen=True, slots=True)
class TissueDose:
    """Dose enhancement of one region, with the parts of its standard error.

    Attributes
    ----------
    value : float
        1 + w (ratio - 1), without unit; NaN where the concentration is. Noise may take it below 1.
    mass_fraction : float
        Of the material in the tissue, w.
    noise_error, slope_error, ratio_error : float
        Parts of the standard error: noise of the concentration, slope of the concentration, and ratio of the
        energy absorption. The last two are common to all regions.
    """

    value: float
    mass_fraction: float
    noise_error: float
    slope_error: float
    ratio_error: float

    @property
    def standard_error(self) -> float:
        """All parts in quadrature; it does not cover what a macroscopic estimate leaves out."""
        return math.hypot(self.noise_error, self.slope_error, self.ratio_error)


@dataclass(frozen=True, slots=True)
class DoseRule:
    """How a concentration becomes a dose enhancement; `dose_rule` makes it.

    Attributes
    ----------
    material : str
    ratio, ratio_error : float
        Mass energy-absorption coefficient over that of water.
    source : str
        Where the ratio is from.
    tissue_density_g_ml : float
    density_g_ml : float or None
        Of the material, whose volume the tissue makes room for; None where that is left out.
    photon_kev : float or None
    warnings : tuple of Caution
    """

    material: str
    ratio: float
    ratio_error: float
    source: str
    tissue_density_g_ml: float
    density_g_ml: float | None
    photon_kev: float | None
    warnings: tuple[Caution, ...]

    def at(
        self, concentration_mg_ml: float, noise_error_mg_ml: float = 0.0, slope_error_mg_ml: float = 0.0
    ) -> TissueDose:
        """Dose enhancement at a concentration.

        Raises
        ------
        ImplausibleValue
            If the concentration is more than the material itself, or far below 0.
        """
        amount = float(concentration_mg_ml) / _MG_PER_G
        if math.isnan(amount):
            return TissueDose(*[math.nan] * 5)
        room = 0.0 if self.density_g_ml is None else self.tissue_density_g_ml / self.density_g_ml
        whole = self.tissue_density_g_ml + amount * (1.0 - room)
        if not (abs(amount) < whole and math.isfinite(whole)):
            raise ImplausibleValue(
                "this concentration leaves no room for tissue, so that there is no mass fraction",
                found=f"{concentration_mg_ml:g} mg/mL of {self.material}",
                needed="less than the density of the material, and not far below 0",
                next_step="check the slope and its unit: HU per mg/mL",
            )
        fraction = amount / whole
        per_mg_ml = abs(self.ratio - 1.0) * self.tissue_density_g_ml / whole**2 / _MG_PER_G
        return TissueDose(
            1.0 + fraction * (self.ratio - 1.0),
            fraction,
            per_mg_ml * noise_error_mg_ml,
            per_mg_ml * slope_error_mg_ml,
            abs(fraction) * self.ratio_error,
        )

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        displaced = (
            f"left out: the density of {self.material} is not known, or displacement is not wanted"
            if self.density_g_ml is None
            else f"tissue makes room for {self.material} of {self.density_g_ml:g} g/mL"
        )
        return {
            "quantity": LABEL,
            "rule": "1 + w (ratio - 1), w the mass of the material over that of material and tissue",
            "material": self.material,
            "ratio": self.ratio,
            "ratio_standard_error": self.ratio_error,
            "source": self.source,
            "photon_kev": self.photon_kev,
            "tissue_density_g_ml": self.tissue_density_g_ml,
            "displacement": displaced,
        }


def dose_rule(
    material: str,
    photon_kev: float | Spectrum | None = None,
    *,
    ratio: float | None = None,
    ratio_error: float | None = None,
    tissue_density_g_ml: float = TISSUE_DENSITY_G_ML,
    density_g_ml: float | None = None,
    displacement: bool = True,
) -> DoseRule:
    """How a concentration of a material becomes a macroscopic dose enhancement.

    The mass fraction of C g/mL is C / (C + T), T the mass of tissue in 1 mL: the density of tissue, less what
    the material displaces where its own density is known.

    Parameters
    ----------
    material : str
        As in `dose_enhancement`, as are `ratio` and `ratio_error`.
    photon_kev : float or Spectrum, optional
        10 to 800 keV; beyond, only with `ratio`.
    ratio, ratio_error : float, optional
    tissue_density_g_ml : float
        Of tissue without the material.
    density_g_ml : float, optional
        Of the material; by default that of the agent's record. Formulas have none.
    displacement : bool
        Whether the material takes the place of tissue, where its density is known.

    Raises
    ------
    ImplausibleValue
        If an energy is outside of 10 to 800 keV and no ratio is given, or a density is not positive.
    UnsupportedInput
        If the material is not known.
    ValueError
        If neither energy nor ratio is given, or the ratio is not positive.

    Examples
    --------
    >>> round(dose_rule("HfO2", ratio=81).at(10.1).value, 2)
    1.8
    """
    # a mass fraction of 1 has the error of the ratio itself
    pure = dose_enhancement(material, 1.0, photon_kev, ratio=ratio, ratio_error=ratio_error)
    known = find_material(material).density_g_ml if density_g_ml is None else density_g_ml
    energy = None if photon_kev is None or isinstance(photon_kev, Spectrum) else float(photon_kev)
    if energy is not None:
        positive(energy, "the photon energy", "keV")
    return DoseRule(
        pure.material,
        pure.ratio,
        pure.standard_error,
        pure.source,
        positive(tissue_density_g_ml, "the density of tissue", "g/mL"),
        None if known is None or not displacement else positive(known, "the density", "g/mL"),
        energy,
        pure.warnings,
    )
