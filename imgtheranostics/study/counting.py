"""What the concentrations of an analysis count, as its options in the manifest say."""

from __future__ import annotations

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.study.manifest import Analysis
from imgtheranostics.study.particle import PARTICLE


def counted_by(analysis: Analysis, agent: str | None) -> str:
    """What the mg/mL or mmol/L of an analysis count, as far as its options say; empty where they do not."""
    family = analysis.command.split()[0]
    if family == "msot":
        return PARTICLE
    given = analysis.options.get({"ct": "material", "mri": "per"}.get(family, ""))
    if not isinstance(given, str):
        return ""
    return PARTICLE if family == "ct" and agent is not None and _same_record(given, agent) else given


def _same_record(one: str, other: str) -> bool:
    """Whether two names are those of one agent record."""
    from imgtheranostics import agents

    if one == other:
        return True
    try:
        return agents.get(one).id == agents.get(other).id
    except ImgTheranosticsError:
        return False
