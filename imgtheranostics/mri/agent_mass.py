"""From moles to mass and to particles: what a concentration counts decides what may be made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.agents import Agent
from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata, UnsupportedInput

AVOGADRO_PER_MOL = 6.02214076e23
"""Exact by definition of the mole (SI, 2019)."""

_PARTICLES_PER_ML = AVOGADRO_PER_MOL * 1e-6
"""Particles in 1 mL at 1 mmol/L."""


@dataclass(frozen=True, slots=True)
class MolarMass:
    """Standard atomic weight of an element, and where it is from."""

    g_mol: float
    provenance: str
    source: str


MOLAR_MASSES = {
    "Fe": MolarMass(55.845, "published", "IUPAC standard atomic weights; mri.md section 4.2"),
    "Gd": MolarMass(157.25, "unconfirmed", "memory"),
    "Mn": MolarMass(54.938, "unconfirmed", "memory"),
    "F": MolarMass(18.998, "unconfirmed", "memory"),
}
"""By symbol of the element that a concentration counts."""


def molar_mass_g_mol(element: str) -> float:
    """Standard atomic weight in g/mol of an element that relaxivities are stated per.

    Raises
    ------
    UnsupportedInput
        If it is none of them: a molecule or particle has the mass that its record says, or none.

    Examples
    --------
    >>> molar_mass_g_mol("Fe")
    55.845
    """
    if element not in MOLAR_MASSES:
        raise UnsupportedInput(
            "the mass of what the concentration counts is not known",
            found=element or "not stated",
            needed="one of " + ", ".join(MOLAR_MASSES),
            next_step="give the molar mass, or keep mmol/L",
        )
    return MOLAR_MASSES[element].g_mol


def molar_mass_cautions(element: str) -> tuple[Caution, ...]:
    """A caution where the atomic weight is from memory."""
    mass = MOLAR_MASSES.get(element)
    if mass is None or mass.provenance != "unconfirmed":
        return ()
    text = f"the molar mass of {element}, {mass.g_mol:g} g/mol, is from memory"
    return (Caution("unconfirmed-value", text, f"molar mass of {element}"),)


def mg_per_ml(
    concentration_mm: npt.ArrayLike, element: str, *, molar_mass: float | None = None
) -> npt.NDArray[np.float64]:
    """Mass concentration of an element from its concentration in mmol/L; standard errors convert alike.

    Parameters
    ----------
    concentration_mm : array_like
        mmol/L of `element`, not of a molecule that holds several.
    element : {"Fe", "Gd", "Mn", "F"}
    molar_mass : float, optional
        g/mol, in place of the table's.

    Raises
    ------
    UnsupportedInput
        If the element is not in the table and no molar mass is given.
    ImplausibleValue
        If the molar mass is not positive.

    Examples
    --------
    >>> float(mg_per_ml(1.0, "Fe"))
    0.055845
    """
    mass = molar_mass_g_mol(element) if molar_mass is None else float(molar_mass)
    if not (math.isfinite(mass) and mass > 0):
        raise ImplausibleValue("the molar mass must be positive", found=f"{mass:g} g/mol")
    converted: npt.NDArray[np.float64] = np.asarray(concentration_mm, np.float64) * (mass * 1e-3)
    return converted


@dataclass(frozen=True, slots=True)
class ParticleCount:
    """How many of what a concentration counts make one particle.

    Attributes
    ----------
    counts : str
        Gd, Fe, Mn, molecule or particle.
    per_particle : float
    uncertainty : float or None
        Standard uncertainty of `per_particle`, None when the record states none.
    rule, provenance, source : str
    warnings : tuple of Caution
    """

    counts: str
    per_particle: float
    uncertainty: float | None
    rule: str
    provenance: str
    source: str
    warnings: tuple[Caution, ...] = ()

    def particles_per_ml(self, concentration_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Particles per mL from mmol/L of what is counted; standard errors convert alike."""
        given = np.asarray(concentration_mm, np.float64)
        converted: npt.NDArray[np.float64] = given * (_PARTICLES_PER_ML / self.per_particle)
        return converted


def particle_count(agent: Agent, counts: str) -> ParticleCount:
    """How many atoms one particle of an agent holds, from its record.

    A count per particle is taken as it is; an amount per mass of particle needs the particle's molar mass.

    Parameters
    ----------
    agent : Agent
    counts : str
        What the concentration counts: Gd, Fe, Mn, molecule or particle.

    Raises
    ------
    MissingMetadata
        If the record does not say it, with the agent's name and what it lacks.
    """
    if counts == "particle":
        return ParticleCount(
            counts, 1.0, None, "the concentration counts particles", "computed", "definition"
        )
    particle = agent.particle
    payloads = [payload for payload in (particle.payload if particle else ()) if payload.of == counts]
    if counts == "molecule" and not payloads:
        rule = "one molecule is one particle"
        return ParticleCount(counts, 1.0, None, rule, "computed", "definition")
    direct = [payload for payload in payloads if payload.unit == "1"]
    by_mass = [payload for payload in payloads if payload.unit == "umol/mg"]
    if len(direct) == 1:
        payload, factor, rule = direct[0], 1.0, f"{counts} per particle, of the record"
    elif len(by_mass) == 1 and not direct and particle is not None and particle.molar_mass_g_mol is not None:
        payload = by_mass[0]
        factor = particle.molar_mass_g_mol.number() * 1e-3
        rule = f"{counts} per mass of particle x molar mass of the particle, of the record"
    else:
        raise _unknown_count(agent, counts, mass_known=len(by_mass) == 1)
    number = payload.number() * factor
    if not number > 0:
        raise _unknown_count(agent, counts, mass_known=False)
    spread = None if payload.uncertainty is None else payload.uncertainty * factor
    return ParticleCount(counts, number, spread, rule, payload.provenance, payload.source, payload.warnings)


def _unknown_count(agent: Agent, counts: str, *, mass_known: bool) -> MissingMetadata:
    lacking = (
        "the molar mass of the particle" if mass_known else f"how many {counts or 'atoms'} a particle holds"
    )
    return MissingMetadata(
        f"particles per mL cannot be told for {agent.name}: its record does not say {lacking}",
        where=f"agent {agent.id}",
        needed=lacking,
        next_step="add it to a record of your own (particle: payload, molar_mass_g_mol), or keep mmol/L",
    )
