"""Which relaxivity a concentration is calculated with: recorded or given, its field, and what it counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from imgtheranostics.agents import Agent, Relaxivity, get
from imgtheranostics.agents.relaxivity import SAME_FIELD
from imgtheranostics.errors import (
    Caution,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
    merge_cautions,
)

KINDS = ("r1", "r2", "r2star")

GIVEN = "given"
"""Provenance of a relaxivity that the user states; records have their own four words."""

_MOST = 1e5
"""L/mmol/s per particle; per atom a hundredth of it would be remarkable."""


def given_relaxivity(
    value: float,
    kind: str,
    *,
    per: str = "",
    field_t: float | None = None,
    temperature_c: float | None = None,
    medium: str | None = None,
    uncertainty: float | None = None,
    source: str = "",
) -> Relaxivity:
    """A relaxivity that the user states, with the conditions that it was measured in.

    Parameters
    ----------
    value : float
        L/mmol/s.
    kind : {"r1", "r2", "r2star"}
    per : str
        What the concentration will count: Gd, Fe, Mn, molecule or particle; empty when not said.
    field_t, temperature_c, medium, source : optional
        Conditions and origin, for the record.
    uncertainty : float, optional
        Standard uncertainty, L/mmol/s.

    Raises
    ------
    ImplausibleValue
        If value or uncertainty cannot be.
    UnsupportedInput
        If the kind is not known.
    """
    if kind not in KINDS:
        raise UnsupportedInput("the kind of relaxivity is not known", found=kind, needed=", ".join(KINDS))
    if not 0 < value <= _MOST:
        raise ImplausibleValue(
            "the relaxivity cannot be that",
            where=kind,
            found=f"{value:g} L/mmol/s",
            needed=f"above 0 and at most {_MOST:g} L/mmol/s",
            next_step="give it in L/mmol/s, which is 1/(mM s)",
        )
    if uncertainty is not None and not (math.isfinite(uncertainty) and uncertainty >= 0):
        raise ImplausibleValue(
            "the uncertainty of the relaxivity must be 0 or more", where=kind, found=f"{uncertainty:g}"
        )
    field = math.nan if field_t is None else float(field_t)
    return Relaxivity(
        kind,
        float(value),
        uncertainty,
        per,
        field,
        temperature_c,
        medium,
        GIVEN,
        source or "given by the user",
    )


def relaxivity_for(
    agent: str | Agent | Relaxivity | float,
    kind: str,
    *,
    field_t: float | None,
    temperature_c: float | None = None,
    medium: str | None = None,
    per: str | None = None,
    interpolate: bool = False,
) -> Relaxivity:
    """The relaxivity of an agent at the field of the scan, or a refusal that lists what there is.

    Parameters
    ----------
    agent : str, Agent, Relaxivity or float
        Name or record of an agent; or the relaxivity itself. A number is taken as it is: stating it is the
        explicit choice that lets a value of another field in. A `Relaxivity` must be of this field.
    kind : {"r1", "r2", "r2star"}
    field_t : float or None
        Field of the scan in T.
    temperature_c, medium, per : optional
        Conditions, where the record holds several.
    interpolate : bool
        Allow a straight line between recorded fields, never beyond them.

    Raises
    ------
    MissingMetadata
        If the field is not known, or the record holds no value for it, or several.
    UnitMismatch
        If a `Relaxivity` is of another kind, field or count.
    ImplausibleValue, NothingUsable
        If a number cannot be a relaxivity; if there is no such agent.
    """
    if isinstance(agent, (int, float, np.integer, np.floating)):
        return given_relaxivity(float(agent), kind, per=per or "", field_t=field_t)
    if isinstance(agent, Relaxivity):
        check_relaxivity(agent, kind, per=per, field_t=field_t)
        return agent
    if field_t is None:
        raise MissingMetadata(
            "relaxivity depends on the field, which is not stated",
            where="MagneticFieldStrength (0018,0087); sidecar key MagneticFieldStrength",
            needed="the field in T",
            next_step="give --field-t (field_t=), or the relaxivity itself",
        )
    record = agent if isinstance(agent, Agent) else get(agent)
    return record.relaxivity(kind, field_t, temperature_c, medium, per=per, interpolate=interpolate)


def check_relaxivity(
    relaxivity: Relaxivity, kind: str, *, per: str | None = None, field_t: float | None = None
) -> None:
    """Refuse a relaxivity of another kind or count, or of another field than the scan's.

    Raises
    ------
    UnitMismatch
        With both.
    """
    problem = None
    if relaxivity.kind != kind:
        problem = ("kind", relaxivity.kind, kind)
    elif per is not None and relaxivity.per != per:
        problem = ("count", f"per {relaxivity.per}", f"per {per}")
    elif field_t is not None and abs(relaxivity.field_t - field_t) > SAME_FIELD * relaxivity.field_t:
        problem = ("field", f"{relaxivity.field_t:g} T", f"{field_t:g} T, the field of the scan")
    if problem is not None:
        raise UnitMismatch(
            f"the relaxivity is of another {problem[0]}",
            where=f"{relaxivity.kind} {relaxivity.value:g} L/mmol/s",
            found=problem[1],
            needed=problem[2],
            next_step="take the agent's value for this scan, or state the number itself to use it anyway",
        )


def as_relaxivity(value: Relaxivity | float, kind: str) -> Relaxivity:
    """A number as a given relaxivity; a `Relaxivity` of that kind as it is.

    Raises
    ------
    ValueError
        If it is neither, such as the name of an agent, whose relaxivity depends on the field.
    UnitMismatch, ImplausibleValue
        As `relaxivity_for`.
    """
    if not isinstance(value, (int, float, np.integer, np.floating, Relaxivity)):
        raise ValueError(
            f"relaxivity must be one number in L/mmol/s or a Relaxivity, not {type(value).__name__}; "
            "relaxivity_for(agent, kind, field_t=...) finds that of an agent"
        )
    return relaxivity_for(value, kind, field_t=None)


def shared_count(relaxivities: Mapping[str, Relaxivity]) -> str:
    """What several relaxivities of one agent count.

    Raises
    ------
    UnitMismatch
        If they count different things, or hold for different fields.
    """
    counts = {relaxivity.per for relaxivity in relaxivities.values()} - {""}
    fields = [r.field_t for r in relaxivities.values() if math.isfinite(r.field_t)]
    for name, found in (
        ("counts", sorted(counts) if len(counts) > 1 else []),
        ("fields", [f"{f:g} T" for f in fields] if _differ(fields) else []),
    ):
        if found:
            raise UnitMismatch(
                f"the relaxivities are of different {name}",
                where=" and ".join(relaxivities),
                found=", ".join(found),
                needed="one agent, one field, one count",
                next_step="take all of them from one record at one field",
            )
    return next(iter(counts), "")


def _differ(fields: list[float]) -> bool:
    return bool(fields) and max(fields) - min(fields) > SAME_FIELD * max(fields)


def relaxivity_decision(relaxivity: Relaxivity) -> dict[str, Any]:
    """Value, uncertainty, conditions and provenance, for the record of decisions."""
    return {
        "kind": relaxivity.kind,
        "value": relaxivity.value,
        "unit": relaxivity.unit,
        "relative_uncertainty": relaxivity.relative_uncertainty,
        "per": relaxivity.per or "not stated",
        "field_t": relaxivity.field_t if math.isfinite(relaxivity.field_t) else "not stated",
        "temperature_c": "not stated" if relaxivity.temperature_c is None else relaxivity.temperature_c,
        "medium": relaxivity.medium or "not stated",
        "interpolated_between_t": list(relaxivity.interpolated_between),
        "provenance": relaxivity.provenance,
        "source": relaxivity.source,
    }


def relaxivity_cautions(relaxivities: Mapping[str, Relaxivity]) -> tuple[Caution, ...]:
    """What a reader must know of the relaxivities: those of the record, and what nobody states."""
    found: list[tuple[Caution, ...]] = [relaxivity.warnings for relaxivity in relaxivities.values()]
    for kind, relaxivity in relaxivities.items():
        if relaxivity.uncertainty is None:
            text = (
                f"the source of {kind} {relaxivity.value:g} L/mmol/s states no uncertainty; none is included"
            )
            found.append((Caution("relaxivity-uncertainty-unknown", text, kind),))
        if kind != "r1" and relaxivity.per == "Fe":
            text = (
                f"iron from {kind} is apparent: it assumes the relaxivity of free particles, while particles "
                "inside cells or clusters relax differently"
            )
            found.append((Caution("apparent-concentration", text, kind),))
    return merge_cautions(*found)
