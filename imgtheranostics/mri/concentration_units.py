"""A map in mmol/L as mass of the element, or as particles, per millilitre."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.agents import Agent
from imgtheranostics.errors import Caution, MissingMetadata
from imgtheranostics.mri.agent_mass import (
    MOLAR_MASSES,
    mg_per_ml,
    molar_mass_cautions,
    molar_mass_g_mol,
    particle_count,
)
from imgtheranostics.volume import Estimate, make_step


def as_mass(estimate: Estimate, counts: str) -> Estimate:
    """A concentration in mmol/L as mg/mL of the element that it counts.

    Raises
    ------
    UnsupportedInput
        If it counts no element of the table.
    """
    mass = molar_mass_g_mol(counts)
    decision = {
        "rule": f"mass of {counts}",
        "g_per_mol": mass,
        "provenance": MOLAR_MASSES[counts].provenance,
        "source": MOLAR_MASSES[counts].source,
    }
    return _converted(
        estimate,
        mg_per_ml(estimate.value.data, counts),
        mg_per_ml(estimate.standard_error.data, counts),
        ("concentration", "mg/mL", "mass"),
        decision,
        molar_mass_cautions(counts),
    )


def as_particles(estimate: Estimate, counts: str, agent: Agent | None) -> Estimate:
    """A concentration in mmol/L as particles per mL, by what the record says that one particle holds.

    Raises
    ------
    MissingMetadata
        If there is no record, or it does not say it.
    """
    if agent is None:
        raise MissingMetadata(
            "particles per mL need the agent's record",
            where="--agent (agent=)",
            needed="a record that says what one particle holds",
            next_step="name the agent, or ask for mmol/L",
        )
    count = particle_count(agent, counts)
    value = count.particles_per_ml(estimate.value.data)
    error = count.particles_per_ml(estimate.standard_error.data)
    spread = (count.uncertainty or 0.0) / count.per_particle
    if spread:
        error = np.hypot(error, spread * np.abs(value))
        estimate = replace(estimate, calibration_relative=math.hypot(estimate.calibration_relative, spread))
    decision = {
        "rule": count.rule,
        "per_particle": count.per_particle,
        "relative_uncertainty": spread or None,
        "provenance": count.provenance,
        "source": count.source,
    }
    names = ("particle_concentration", "{particles}/mL", "particles")
    return _converted(estimate, value, error, names, decision, count.warnings)


def _converted(
    estimate: Estimate,
    value: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
    names: tuple[str, str, str],
    decision: dict[str, Any],
    warnings: tuple[Caution, ...],
) -> Estimate:
    quantity, unit, topic = names
    step = make_step(f"as_{topic}", rule=decision["rule"])
    result = estimate.value.derived(value, quantity, unit, step).with_warnings(*warnings)
    return replace(
        estimate,
        value=result,
        standard_error=result.replace(data=error, warnings=()),
        decisions={**estimate.decisions, topic: decision},
    )
