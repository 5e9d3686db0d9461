"""Which agent, which relaxivity, and what the concentration therefore counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imgtheranostics.agents import Agent, Relaxivity, get
from imgtheranostics.errors import MissingMetadata
from imgtheranostics.mri.agent_relaxivity import given_relaxivity, relaxivity_for
from imgtheranostics.mri.protocol import known
from imgtheranostics.volume import Volume

QUANTITY_PER = {"Gd": "gd_concentration", "Fe": "fe_concentration"}
"""Quantity of a concentration by what its relaxivity counts; ``agent_concentration`` for all else."""


@dataclass(frozen=True)
class AgentChoice:
    """The agent and its relaxivity, as far as somebody said it.

    Attributes
    ----------
    agent : str or Agent, optional
        Name of the record, or the record.
    relaxivity : float or Relaxivity, optional
        L/mmol/s; goes before the record.
    relaxivity_uncertainty : float, optional
        Standard uncertainty of a number given.
    medium, temperature_c, interpolate
        Which value of the record.
    per : str, optional
        What the relaxivity counts: of the record, or of the number given.
    field_strength_t : float, optional
        Goes before the file.
    """

    agent: str | Agent | None = None
    relaxivity: float | Relaxivity | None = None
    relaxivity_uncertainty: float | None = None
    medium: str | None = None
    temperature_c: float | None = None
    per: str | None = None
    interpolate: bool = False
    field_strength_t: float | None = None

    @property
    def record(self) -> Agent | None:
        """The agent's record, where one was named."""
        return get(self.agent) if isinstance(self.agent, str) else self.agent

    def of_record(self) -> AgentChoice:
        """The same without a relaxivity that was given for another rate."""
        return replace(self, relaxivity=None, relaxivity_uncertainty=None)

    def at(self, v: Volume, kind: str) -> Relaxivity:
        """The relaxivity for a scan.

        Raises
        ------
        MissingMetadata
            If neither an agent nor a relaxivity is given, the field is not known, or the record holds none.
        """
        record = self.record
        if self.relaxivity is None and record is None:
            raise MissingMetadata(
                "neither the agent nor its relaxivity is stated; a concentration needs it",
                where="--agent (agent=) or --relaxivity (relaxivity=)",
                needed=f"{kind} at the field of the scan, in the right medium",
                next_step="see agents list, or give --relaxivity with --relaxivity-uncertainty",
            )
        field = known(v, "field_strength_t", self.field_strength_t)
        field_t = None if field is None else field.scalar
        if isinstance(self.relaxivity, (int, float, np.integer, np.floating)):
            return given_relaxivity(
                float(self.relaxivity),
                kind,
                per=self.per or _count(record, kind),
                field_t=field_t,
                temperature_c=self.temperature_c,
                medium=self.medium,
                uncertainty=self.relaxivity_uncertainty,
            )
        return relaxivity_for(
            self.relaxivity if record is None or self.relaxivity is not None else record,  # type: ignore[arg-type]
            kind,
            field_t=field_t,
            temperature_c=self.temperature_c,
            medium=self.medium,
            per=self.per,
            interpolate=self.interpolate,
        )


def _count(record: Agent | None, kind: str) -> str:
    """What the agent's relaxivities of that kind count, where they agree; else empty."""
    if record is None:
        return ""
    counts = {entry.per for entry in record.relaxivities if entry.kind == kind}
    counts = counts or {entry.per for entry in record.relaxivities}
    return counts.pop() if len(counts) == 1 else ""


def quantity_of(relaxivity: Relaxivity) -> str:
    """The quantity that a concentration with this relaxivity is."""
    return QUANTITY_PER.get(relaxivity.per, "agent_concentration")


def concentration_decisions(found: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a concentration, one entry per kind of relaxivity."""
    rest = {name: value for name, value in found.items() if name != "relaxivity"}
    kinds = {f"relaxivity_{kind}": dict(value) for kind, value in found.get("relaxivity", {}).items()}
    return {"calculation": rest, **kinds}
