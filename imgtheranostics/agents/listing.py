"""A record as rows for a table and as plain data for JSON."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from imgtheranostics.agents.schema import Agent

_SUFFIXES = {
    "molar_extinction_per_m_cm": "L/mol/cm",
    "_w_per_g_fe": "W/g",
    "_k_per_min": "K/min",
    "_ka_per_m": "kA/m",
    "_g_mol": "g/mol",
    "_g_ml": "g/mL",
    "_ppm": "ppm",
    "_khz": "kHz",
    "_kev": "keV",
    "_nm": "nm",
    "_mm": "mm",
    "_c": "Cel",
}
_SECTIONS = {
    "particle": "particle",
    "labels": "label",
    "relaxivities": "relaxivity",
    "relaxivity_ratios": "relaxivity",
    "cest_pools": "CEST",
    "optical": "optical",
    "attenuation": "attenuation",
    "acoustic": "acoustic",
    "heating": "heating",
    "pharmacokinetics": "kinetics",
    "dosing": "dosing",
    "linear_ranges": "linear range",
    "response_blur_mm": "response",
    "observations": "observed",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a record: what it is, the number as text, its unit, and where it is from."""

    section: str
    what: str
    value: str
    unit: str
    provenance: str
    source: str
    note: str


def rows(agent: Agent) -> list[Row]:
    """Every value of a record in the order of the file's sections."""
    table: list[Row] = []
    for path, entry in agent.values():
        section = _SECTIONS[path.partition(".")[0]]
        name, unit = _named(path)
        owner = _owner(agent, path)
        for context, text, own_unit in entry.lines():
            what = ", ".join(word for word in (owner, context or name) if word)
            table.append(
                Row(section, what, text, own_unit or unit, entry.provenance, entry.source, entry.note)
            )
    return table


def _named(path: str) -> tuple[str, str]:
    """The field's name in words without its unit, and that unit."""
    field = [part for part in path.split(".") if not part.isdigit()][-1]
    for suffix, unit in _SUFFIXES.items():
        if field.endswith(suffix):
            return field.removesuffix(suffix).replace("_", " ") or "molar extinction", unit
    return field.replace("_", " "), "1" if field == "protons" else ""


def _owner(agent: Agent, path: str) -> str:
    """The pool or component that a value belongs to."""
    match = re.match(r"(cest_pools|optical)\.(\d+)(?:\.peaks\.(\d+))?", path)
    if match is None:
        return ""
    if match[1] == "cest_pools":
        return agent.cest_pools[int(match[2])].name
    optical = agent.optical[int(match[2])]
    if match[3] is None:
        return optical.component
    peak = optical.peaks[int(match[3])]
    number = f"peak {int(match[3]) + 1}"
    return ", ".join(word for word in (optical.component, number, peak.medium) if word)


def as_plain(agent: Agent) -> dict[str, Any]:
    """The record as JSON-ready data: its content, each label's half-life, its rows, what is unconfirmed."""
    content: dict[str, Any] = agent.model_dump(mode="json", exclude_none=True)
    for label, plain in zip(agent.labels, content["labels"], strict=True):
        plain["half_life_s"] = label.half_life_s
    return {
        "agent": {name: value for name, value in content.items() if value not in ([], {}, "")},
        "values": [asdict(row) for row in rows(agent)],
        "unconfirmed": [path for path, entry in agent.values() if entry.provenance == "unconfirmed"],
    }


def counts(agent: Agent) -> dict[str, int]:
    """How many values the record holds by provenance."""
    found = {"review": 0, "published": 0, "computed": 0, "unconfirmed": 0}
    for _, entry in agent.values():
        found[entry.provenance] += 1
    return found
