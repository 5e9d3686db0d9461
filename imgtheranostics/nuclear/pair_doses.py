"""Dose of a region per injected activity, from its own decays: all absorbed in place, or as a sphere does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from imgtheranostics.data.nuclides import Nuclide, nuclide
from imgtheranostics.errors import Caution
from imgtheranostics.nuclear.absorbed_fractions import absorbed_fraction
from imgtheranostics.nuclear.dose_convolution import GY_PER_MGY
from imgtheranostics.nuclear.dose_maps import KERNEL_RELATIVE_UNCERTAINTY
from imgtheranostics.nuclear.dose_sources import PENETRATING, chain_of
from imgtheranostics.nuclear.dosimetry import local_s

_LEAVES = 0.1
"""Share of the energy that leaves a region, above which it is said."""


@dataclass(frozen=True, slots=True)
class RegionMass:
    """How much tissue takes the energy.

    Attributes
    ----------
    mass_g : float
        NaN where it is not known.
    volume_ml : float
    density_g_ml : float
    """

    mass_g: float
    volume_ml: float
    density_g_ml: float

    @classmethod
    def of(cls, region: str, masses_g: Mapping[str, float], volume_ml: float, density: float) -> RegionMass:
        """The mass that is stated, or that of the volume."""
        return cls(float(masses_g.get(region, volume_ml * density)), volume_ml, density)

    def decays_per_g(self, tiac: float, quantity: str) -> float:
        """Decays per gram over the activity injected, s/g, from those per gram, millilitre or region."""
        if quantity == "tiac_per_g":
            return tiac
        if quantity == "tiac_per_ml":
            return tiac / self.density_g_ml
        return tiac / self.mass_g


@dataclass(frozen=True, slots=True)
class SelfDose:
    """Dose per MBq from the decays in a region, Gy/MBq.

    Attributes
    ----------
    local, sphere : float
        With all energy but that of photons absorbed in place; and with what a sphere of the region's mass
        absorbs, NaN without a mass.
    sphere_relative : float
        Uncertainty of the energy that a sphere absorbs.
    cautions : tuple of Caution
    """

    local: float
    sphere: float
    sphere_relative: float
    cautions: tuple[Caution, ...]


def self_dose(
    given: Nuclide, tiac: float, quantity: str, mass: RegionMass, *, progeny: str, where: str
) -> SelfDose:
    """Dose of a region from its own time-integrated activity.

    Parameters
    ----------
    given : Nuclide
    tiac : float
        Of that nuclide.
    quantity : {"tiac_per_g", "tiac_per_ml", "tiac"}
    mass : RegionMass
    progeny : {"none", "in_place"}
        As in `imgtheranostics.nuclear.absorbed_dose`.
    where : str
        Region, for the cautions.

    Raises
    ------
    UnsupportedInput
        If there is no such way to count progeny.
    """
    chain, cautions = chain_of(given, progeny)
    per_g = mass.decays_per_g(tiac, quantity)
    each = sum(number * local_s(name) for name, number in chain.items())
    local = per_g * each * GY_PER_MGY
    sphere = math.nan
    if math.isfinite(mass.mass_g):
        inside = sum(number * _sphere_s(name, mass) for name, number in chain.items())
        sphere = per_g * mass.mass_g * inside * GY_PER_MGY
    found = list(cautions)
    kept = sum(number * nuclide(name).delta_np_mev for name, number in chain.items())
    photons = sum(number * nuclide(name).mean_photon_mev for name, number in chain.items())
    if photons > PENETRATING * kept:
        text = (
            f"photons ({photons:.3g} MeV per decay beside {kept:.3g} MeV that stay) come from everywhere in "
            "the body: the doses of regions hold at most those of their own decays"
        )
        found.append(Caution("photons-not-included", text))
    if sphere < (1.0 - _LEAVES) * local:
        leaving = f"{100 * (1 - sphere / local):.0f} % of the energy"
        text = (
            f"{where}: {leaving} leaves a sphere of {mass.mass_g:.3g} g: "
            "the local dose is too high, self_dose_per_activity is that of the region alone"
        )
        found.append(Caution("energy-leaves-region", text))
    return SelfDose(local, sphere, KERNEL_RELATIVE_UNCERTAINTY, tuple(found))


def _sphere_s(name: str, mass: RegionMass) -> float:
    return absorbed_fraction(name, mass_g=mass.mass_g, density_g_ml=mass.density_g_ml).s_mgy_per_mbq_s
