"""Relaxivity by field, temperature and medium: what is recorded, or a refusal that lists what is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imgtheranostics.agents.signals import RecordedRelaxivity
from imgtheranostics.errors import Caution, MissingMetadata, UnsupportedInput

SAME_FIELD = 0.04
"""Relative difference up to which two fields are the same nominal one."""
SAME_TEMPERATURE_C = 1.0
_YOURSELF = "give the relaxivity of this field yourself: --relaxivity (relaxivity=)"
_KINDS = {"r1": "r1", "r2": "r2", "r2star": "r2star", "r2*": "r2star"}


@dataclass(frozen=True, slots=True)
class Relaxivity:
    """A relaxivity with its conditions.

    Attributes
    ----------
    kind : {"r1", "r2", "r2star"}
    value : float
        L/mmol/s.
    uncertainty : float or None
        As the source states it, or half of a recorded range; None when it states none.
    per : str
        What the concentration counts: Gd, Fe, Mn, molecule or particle.
    field_t, temperature_c, medium
        Conditions of the value; None where the source is silent. `field_t` is the field asked for when the
        value is interpolated, else the recorded one.
    provenance, source : str
    interpolated_between : tuple of float
        The two recorded fields, empty when the field itself is recorded.
    warnings : tuple of Caution
    """

    kind: str
    value: float
    uncertainty: float | None
    per: str
    field_t: float
    temperature_c: float | None
    medium: str | None
    provenance: str
    source: str
    interpolated_between: tuple[float, ...] = ()
    warnings: tuple[Caution, ...] = ()

    @property
    def unit(self) -> str:
        """Always L/mmol/s."""
        return "L/mmol/s"

    @property
    def relative_uncertainty(self) -> float | None:
        """Uncertainty over value; None when the source states none or the value is 0."""
        return None if self.uncertainty is None or self.value == 0 else self.uncertainty / self.value


def find_relaxivity(
    agent: str,
    recorded: Sequence[RecordedRelaxivity],
    *,
    kind: str,
    field_t: float,
    temperature_c: float | None = None,
    medium: str | None = None,
    per: str | None = None,
    interpolate: bool = False,
) -> Relaxivity:
    """The relaxivity of a record; see `Agent.relaxivity`."""
    wanted = _KINDS.get(kind.lower())
    if wanted is None:
        raise UnsupportedInput("the kind of relaxivity is not known", found=kind, needed="r1, r2 or r2star")
    if not (math.isfinite(field_t) and field_t > 0):
        raise UnsupportedInput("the field is not a positive number", found=f"{field_t} T")
    same_kind = [entry for entry in recorded if entry.kind == wanted]
    fitting = [
        entry
        for entry in same_kind
        if medium in (None, entry.medium)
        and per in (None, entry.per)
        and _same_temperature(entry, temperature_c)
    ]
    at_field = [
        entry
        for entry in fitting
        if entry.field_t is not None and abs(entry.field_t - field_t) <= SAME_FIELD * entry.field_t
    ]
    asked = _asked(wanted, field_t, temperature_c, medium, per)
    if len(at_field) == 1:
        return _as_recorded(at_field[0])
    if at_field:
        raise MissingMetadata(
            f"{agent} holds several values for {asked}",
            where=f"agent {agent}",
            found=_contexts(at_field),
            needed="one of them",
            next_step="say which: --medium (medium=), --temperature-c (temperature_c=) or --per (per=)",
        )
    if interpolate:
        found = _interpolated(agent, fitting, field_t, asked)
        if found is not None:
            return found
    raise MissingMetadata(
        f"{agent} holds no {asked}",
        where=f"agent {agent}",
        found=_contexts(same_kind) if same_kind else f"no {wanted} at all",
        needed=asked,
        next_step=_advice(fitting, field_t, interpolate),
    )


def _same_temperature(entry: RecordedRelaxivity, temperature_c: float | None) -> bool:
    if temperature_c is None:
        return True
    return entry.temperature_c is not None and abs(entry.temperature_c - temperature_c) <= SAME_TEMPERATURE_C


def _asked(
    kind: str, field_t: float, temperature_c: float | None, medium: str | None, per: str | None
) -> str:
    words = [f"{kind} per {per}" if per else kind, f"at {field_t:g} T"]
    words += [f"at {temperature_c:g} Cel"] if temperature_c is not None else []
    words += [f"in {medium}"] if medium else []
    return " ".join(words)


def _contexts(entries: Iterable[RecordedRelaxivity]) -> str:
    return "; ".join(f"{entry.context}: {entry.text} ({entry.provenance})" for entry in entries)


def _advice(fitting: Sequence[RecordedRelaxivity], field_t: float, interpolate: bool) -> str:
    fields = sorted({entry.field_t for entry in fitting if entry.field_t is not None})
    if not interpolate and fields and fields[0] < field_t < fields[-1]:
        return f"ask for --interpolate (interpolate=True), or {_YOURSELF}"
    return _YOURSELF


def _middle(entry: RecordedRelaxivity) -> tuple[float, float | None, tuple[Caution, ...]]:
    """Value, uncertainty and cautions; the middle of a range, with half the range as uncertainty."""
    if entry.value is not None:
        return entry.value, entry.uncertainty, entry.warnings
    if entry.between is None:
        return entry.number(), None, ()
    low, high = entry.between
    caution = Caution(
        "relaxivity-is-a-range",
        f"the source gives {low:g} to {high:g} L/mmol/s; the middle is used, half the range as uncertainty",
        entry.place,
    )
    return (low + high) / 2, (high - low) / 2, (*entry.warnings, caution)


def _as_recorded(entry: RecordedRelaxivity) -> Relaxivity:
    value, uncertainty, warnings = _middle(entry)
    return Relaxivity(
        kind=entry.kind,
        value=value,
        uncertainty=uncertainty,
        per=entry.per,
        field_t=entry.field_t or math.nan,
        temperature_c=entry.temperature_c,
        medium=entry.medium,
        provenance=entry.provenance,
        source=entry.source,
        warnings=warnings,
    )


def _interpolated(
    agent: str, fitting: Sequence[RecordedRelaxivity], field_t: float, asked: str
) -> Relaxivity | None:
    """A straight line between neighbouring fields of one series of equal conditions; None outside all."""
    series: dict[tuple[str, str | None, float | None], list[RecordedRelaxivity]] = {}
    for entry in fitting:
        if entry.field_t is not None:
            series.setdefault((entry.per, entry.medium, entry.temperature_c), []).append(entry)
    around = []
    for entries in series.values():
        below = [entry for entry in entries if (entry.field_t or 0) < field_t]
        above = [entry for entry in entries if (entry.field_t or 0) > field_t]
        if below and above:
            around.append(
                (max(below, key=lambda e: e.field_t or 0), min(above, key=lambda e: e.field_t or 0))
            )
    if not around:
        return None
    if len(around) > 1:
        raise MissingMetadata(
            f"{agent} can interpolate {asked} in several conditions",
            where=f"agent {agent}",
            found=_contexts(entry for pair in around for entry in pair),
            needed="one series",
            next_step="say which: --medium (medium=), --temperature-c (temperature_c=) or --per (per=)",
        )
    return _between(*around[0], field_t)


def _between(low: RecordedRelaxivity, high: RecordedRelaxivity, field_t: float) -> Relaxivity:
    first, last = float(low.field_t or 0), float(high.field_t or 0)
    share = (field_t - first) / (last - first)
    (a, sa, wa), (b, sb, wb) = _middle(low), _middle(high)
    doubtful = "unconfirmed" in (low.provenance, high.provenance)
    caution = Caution(
        "interpolated-relaxivity",
        f"{low.kind} at {field_t:g} T is interpolated between {first:g} and {last:g} T",
        low.place.partition(":")[0],
    )
    return Relaxivity(
        kind=low.kind,
        value=a + share * (b - a),
        uncertainty=None if sa is None or sb is None else math.hypot((1 - share) * sa, share * sb),
        per=low.per,
        field_t=field_t,
        temperature_c=low.temperature_c,
        medium=low.medium,
        provenance="unconfirmed" if doubtful else "computed",
        source="; ".join(dict.fromkeys(text for text in (low.source, high.source) if text)),
        interpolated_between=(first, last),
        warnings=tuple(dict.fromkeys((*wa, *wb, caution))),
    )
