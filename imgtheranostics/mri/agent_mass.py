"""From amount of substance to mass or number of particles."""

from __future__ import annotations

from dataclasses import replace

from imgtheranostics.agents import Agent
from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.volume import Estimate, make_step

MOLAR_MASS_G_MOL = {"Gd": 157.25, "Fe": 55.845, "Mn": 54.938}
"""Standard atomic weights (published: IUPAC 2021, doi:10.1515/pac-2019-0603)."""

AVOGADRO_PER_MMOL = 6.02214076e20
"""Exact by the definition of the mole (SI 2019)."""


def as_mass(estimate: Estimate, per: str) -> Estimate:
    """A concentration in mmol/L as the mass in mg/mL of the element that it counts.

    Raises
    ------
    UnsupportedInput
        If it counts no element.
    """
    mass = MOLAR_MASS_G_MOL.get(per)
    if mass is None:
        raise UnsupportedInput(
            "mg/mL needs the mass of what the relaxivity counts",
            found=f"per {per or 'not stated'}",
            needed="per " + ", ".join(MOLAR_MASS_G_MOL),
            next_step="ask for mmol/L, or say with --per (per=) what a given relaxivity counts",
        )
    decision = {"rule": f"mass of {per}", "g_per_mol": mass}
    return _scaled(estimate, mass / 1000.0, "concentration", "mg/mL", "mass", decision)


def as_particles(estimate: Estimate, per: str, agent: Agent | None) -> Estimate:
    """A concentration in mmol/L as particles per mL, where the record says what one particle carries.

    Raises
    ------
    MissingMetadata
        If no record is given, or it does not say how many of what is counted one particle holds.
    """
    carried = [] if agent is None or agent.particle is None else agent.particle.payload
    counts = [entry for entry in carried if entry.of == per and entry.unit == "1"]
    number = 1.0 if per == "particle" else counts[0].number() if counts else None
    if number is None:
        raise MissingMetadata(
            f"the record does not say how many {per or 'atoms'} one particle carries",
            where="agent record: particle.payload",
            found=", ".join(f"{entry.of} in {entry.unit}" for entry in carried) or "nothing",
            needed=f"a count of {per or 'what the relaxivity counts'} per particle",
            next_step="ask for mmol/L, or give a record of your own with the payload",
        )
    factor = AVOGADRO_PER_MMOL / 1000.0 / number
    decision = {"rule": "payload of the record", "per_particle": number}
    return _scaled(estimate, factor, "particle_concentration", "{particles}/mL", "particles", decision)


def _scaled(
    estimate: Estimate, factor: float, quantity: str, unit: str, topic: str, decision: dict[str, object]
) -> Estimate:
    step = make_step(f"as_{topic}", factor=factor)
    value = estimate.value.derived(estimate.value.data * factor, quantity, unit, step)
    error = value.replace(data=estimate.standard_error.data * factor, warnings=())
    decisions = {**estimate.decisions, topic: decision}
    return replace(estimate, value=value, standard_error=error, decisions=decisions)
