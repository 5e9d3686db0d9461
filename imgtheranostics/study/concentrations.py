"""Numbers of several modalities as one concentration of the particle, or the reason why that cannot be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from imgtheranostics.errors import Caution, ImgTheranosticsError, MissingMetadata, UnitMismatch
from imgtheranostics.study.cohort import Chosen, Cohort
from imgtheranostics.study.particle import PARTICLE, Particle, mg_per_ml_factor
from imgtheranostics.study.questions import Agreement, CountedMeasure

UPTAKE = ("id_per_ml", "id_per_g")
"""Shares of what was injected: a concentration with the mass that was."""
CONCENTRATIONS: Mapping[str, str] = {
    "gd_concentration": "Gd",
    "fe_concentration": "Fe",
    "particle_concentration": PARTICLE,
    "concentration": "",
    "agent_concentration": "",
    "molar_concentration": "",
    "label_concentration": "",
}
"""Quantities that are a concentration, and what they count; empty where analysis or question say it."""

LABEL_NOTE = (
    "A concentration from uptake is that of the label: it is that of the particle as long as the label "
    "stays on it."
)


@dataclasses.dataclass(frozen=True)
class Converted:
    """Numbers as one concentration.

    Attributes
    ----------
    found : Chosen
    of : str
        What the measured numbers count.
    words : str
        How they were converted.
    warnings : tuple of Caution
    """

    found: Chosen
    of: str
    words: str
    warnings: tuple[Caution, ...] = ()


def counts(cohort: Cohort, measure: CountedMeasure, found: Chosen) -> str:
    """What the numbers of a measure count: ``particle``, an element, or empty where nobody says it.

    Raises
    ------
    UnitMismatch
        If the question says another thing than the quantity or the analysis.
    """
    known = CONCENTRATIONS.get(measure.quantity, "")
    if measure.quantity in ("concentration", "agent_concentration"):
        known = cohort.declared.counts.get(found.analysis, "")
    if measure.of is None or not known or measure.of == known:
        return measure.of or known
    raise UnitMismatch(
        f"{measure.quantity} counts something else than the question says",
        where=f"question, {found.analysis}",
        found=known,
        needed=measure.of,
        next_step=f"say of: {known}, or name the record of the agent in the analysis",
    )


def require_alike(cohort: Cohort, question: Agreement, first: Chosen, second: Chosen) -> None:
    """Refuse to compare mg/mL of one thing with mg/mL of another as they are.

    Raises
    ------
    UnitMismatch
        If both are concentrations that count different things, or it is not known that they count the same.
    """
    pair = ((question.first, first), (question.second, second))
    if any(measure.quantity not in CONCENTRATIONS for measure, _ in pair):
        return
    named = [counts(cohort, measure, found) for measure, found in pair]
    commands = [cohort.declared.commands.get(found.analysis, "") for _, found in pair]
    same_way = question.first.quantity == question.second.quantity and commands[0] == commands[1]
    if named[0] == named[1] and (named[0] or same_way):
        return
    raise UnitMismatch(
        "two concentrations are compared that need not count the same thing",
        where="question",
        found=" and ".join(
            f"{measure.quantity} of {of or 'what is not said'} ({found.analysis})"
            for (measure, found), of in zip(pair, named, strict=True)
        ),
        needed="concentration: mg/mL, with what the particle carries; or of: the same for both",
        next_step="state particle.carries in the manifest and concentration: mg/mL in the question",
    )


def as_concentration(
    cohort: Cohort, question: Agreement, measure: CountedMeasure, found: Chosen
) -> Converted:
    """Numbers as the concentration that the question declares.

    Raises
    ------
    MissingMetadata
        If it is not known what was injected, what the numbers count, or how much of it the particle carries.
    UnitMismatch
        If the quantity is none that becomes a concentration.
    """
    assert question.concentration is not None  # noqa: S101
    if measure.statistic == "volume_ml":
        raise _no_way("volume_ml")
    particle, warnings = _particle(cohort)
    goal = mg_per_ml_factor(particle, question.of, question.concentration)
    if measure.quantity in UPTAKE:
        factors = _of_uptake(cohort, measure, found)
        of, words = PARTICLE, _uptake_words(measure, factors)
    elif measure.quantity in CONCENTRATIONS:
        of = counts(cohort, measure, found)
        if not of:
            raise MissingMetadata(
                f"what {measure.quantity} counts is not known",
                where=f"question, {found.analysis}",
                found=f"{found.unit}",
                needed="of: particle, or an element or compound that the particle carries",
                next_step="say it in the question",
            )
        factor = mg_per_ml_factor(particle, of, found.unit)
        factors = dict.fromkeys(_keys(found), factor)
        words = f"{found.unit} of {of}, times {factor:g}"
    else:
        raise _no_way(measure.quantity)
    values = tuple(
        dataclasses.replace(one, value=one.value * factors[one.subject, one.session] / goal)
        for one in found.values
    )
    if goal != 1.0:
        words += f", over {goal:g}"
    used = {of, question.of}
    return Converted(
        dataclasses.replace(found, values=values, unit=question.concentration),
        of,
        words,
        tuple(one for one in warnings if one.where in used),
    )


def _keys(found: Chosen) -> list[tuple[str, str]]:
    return [(one.subject, one.session) for one in found.values]


def _of_uptake(cohort: Cohort, measure: CountedMeasure, found: Chosen) -> dict[tuple[str, str], float]:
    """mg/mL of the particle for each % of the injection per mL or g, by subject and session."""
    density = 1.0
    if measure.quantity == "id_per_g":
        if measure.density_g_ml is None:
            raise MissingMetadata(
                "the tissue's density, by which id_per_g was divided, is not stated",
                where="question",
                needed="density_g_ml",
                next_step="ask for id_per_ml, which needs none, or state it",
            )
        density = measure.density_g_ml
    per_unit = _share_per_unit(found.unit) * density
    return {key: per_unit * _injected_mg(cohort, *key) for key in _keys(found)}


def _share_per_unit(unit: str) -> float:
    """The share of the injection that one unit of uptake is, per mL or per g."""
    from imgtheranostics.units import conversion_factor

    for base in ("%/mL", "%/g"):
        try:
            return conversion_factor(unit, base) / 100.0
        except UnitMismatch:
            continue
    raise UnitMismatch("this is no uptake", found=unit, needed="%/mL or %/g")


def _injected_mg(cohort: Cohort, subject: str, session: str) -> float:
    injected = cohort.declared.injected_mg
    known = {value for (who, when), value in injected.items() if who == subject and session in ("", when)}
    if len(known) == 1:
        return known.pop()
    raise MissingMetadata(
        "the mass of the particles that were injected is not known",
        where=f"{subject}{f', session {session}' if session else ''}",
        found="several" if known else None,
        needed="administration: {mass: 25 mg}, or mass_per_weight with the weight of the subject",
        next_step="state it in the manifest and run study run again: what is done is kept",
    )


def _uptake_words(measure: CountedMeasure, factors: Mapping[tuple[str, str], float]) -> str:
    low, high = min(factors.values()), max(factors.values())
    span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    density = f" and {measure.density_g_ml:g} g/mL" if measure.quantity == "id_per_g" else ""
    return f"share of the injection, by the injected mass{density}: times {span} mg/mL"


def _no_way(quantity: str) -> UnitMismatch:
    return UnitMismatch(
        f"{quantity} is not made into a concentration",
        where="question",
        needed=", ".join((*UPTAKE, *CONCENTRATIONS)),
        next_step="ask for id_per_ml of a nuclear scan, or the concentration of the others",
    )


def _particle(cohort: Cohort) -> tuple[Particle, tuple[Caution, ...]]:
    """What the manifest says of the particle, and what it does not say from the agent's record."""
    from imgtheranostics import agents

    stated = cohort.declared.particle or Particle()
    if not cohort.declared.agent:
        return stated, ()
    try:
        record = agents.get(cohort.declared.agent)
    except ImgTheranosticsError:
        return stated, ()
    carries, warnings = dict(stated.carries), []
    for payload in record.particle.payload if record.particle else ():
        if payload.unit == "umol/mg" and payload.value is not None and payload.of not in carries:
            carries[payload.of] = f"{payload.value:g} umol/mg"
            doubt = ", from memory" if payload.provenance == "unconfirmed" else ""
            text = (
                f"{payload.of} in the particle is that of the record {record.id}: {payload.value:g} umol/mg"
            )
            warnings.append(Caution("payload-of-record", text + doubt, payload.of))
    return stated.model_copy(update={"carries": carries}), tuple(warnings)
