"""Answers from mixed models: lesions inside patients, sessions inside animals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue, MissingMetadata
from imgtheranostics.report.figures.association import AssociationPlot, SubjectPoint
from imgtheranostics.report.figures.organ_points import OrganPoint, OrganPoints
from imgtheranostics.report.study_figures import Shown
from imgtheranostics.report.wording import number
from imgtheranostics.study.cohort import Cohort, Value, by_session, chosen
from imgtheranostics.study.findings import Finding
from imgtheranostics.study.group_answers import compared_in_session, curve_figures, curves_of, in_time
from imgtheranostics.study.mixed import MixedModel, mixed_model
from imgtheranostics.study.power import spearman_power, two_sample_power
from imgtheranostics.study.questions import Mixed
from imgtheranostics.study.replies import Reply, lost, measure_words, percent
from imgtheranostics.study.samples import DoubleArray
from imgtheranostics.study.wording import LESIONS, notes

LESIONS_INSIDE = (
    "Lesions are modelled inside their patients, with a random intercept of each patient: n and the degrees "
    "of freedom are those of patients."
)
"""Where lesions are not brought to one number."""


@dataclass(frozen=True, eq=False)
class _Measured:
    """Measurements and what the model takes of the subject of each."""

    values: tuple[Value, ...]
    subjects: tuple[str, ...]
    fixed: Mapping[str, DoubleArray]
    pair: tuple[str, str]
    step: float
    unit: str
    sessions: tuple[str, ...]
    summarised: bool

    def column(self, name: str) -> DoubleArray:
        """A number of subjects, repeated for each of their measurements."""
        place = {one: n for n, one in enumerate(self.subjects)}
        return np.array([self.fixed[name][place[one.subject]] for one in self.values])

    @property
    def several_regions(self) -> bool:
        """Whether a subject has several regions in one session."""
        seen = {(one.subject, one.session) for one in self.values}
        return len(seen) < len(self.values)


def mixed_reply(cohort: Cohort, question: Mixed) -> Reply:
    """A ratio or slope over all measurements, with the degrees of freedom of subjects."""
    measured, left_out = _measured(cohort, question)
    model = _model(measured, question, ())
    name = "about[1]" if question.of_groups else "about"
    beside: list[tuple[str, Finding]] = []
    facts = _scatter(model, question)
    if len(measured.sessions) > 1:
        crossed = _model(measured, question, (("about", "session"),))
        test = crossed.tests["about:session"]
        told = f"F({test.freedom}, {test.rest_freedom:g}) = {test.statistic:.2f}, p = {test.p_value:.2g}"
        facts.insert(0, (f"{question.about[:1].upper()}{question.about[1:]} × session", told))
        beside += _by_session(cohort, question, measured)
        beside += _interactions(crossed, question, measured)
    return Reply(
        primary=dataclasses.replace(model.coefficients[name], measure=_measure(question, measured)),
        beside=tuple(beside),
        facts=tuple(facts),
        notes=_notes(cohort, question, measured),
        left_out=left_out,
        power=_power(cohort, question, measured),
        cautions=model.warnings,
        shown=_figures(cohort, question, measured),
    )


def _measured(cohort: Cohort, question: Mixed) -> tuple[_Measured, tuple[str, ...]]:
    if question.lesions is None:
        found = chosen(cohort, question)
        values = list(found.values)
    else:
        values, found = by_session(cohort, question)
    present = {one.subject for one in values}
    subjects = [one for one in cohort.subjects if one in present]
    fixed: dict[str, DoubleArray] = {}
    pair, step = ("", ""), 1.0
    if question.of_groups:
        pair = _pair(question, [cohort.group(one) for one in subjects])
        # the first of the pair is the reference, whatever the order of the names
        fixed["about"] = np.array(
            [float(pair.index(g)) if (g := cohort.group(one)) in pair else math.nan for one in subjects]
        )
    else:
        fixed["about"] = cohort.covariate(question.about, subjects)
    fixed |= {name: cohort.covariate(name, subjects) for name in question.adjust}
    fixed |= {name: _logarithm(cohort.covariate(name, subjects), name) for name in question.adjust_log}
    known = np.logical_and.reduce([np.isfinite(one) for one in fixed.values()])
    fixed = {name: one[known] for name, one in fixed.items()}
    if not question.of_groups and fixed["about"].size:
        step = float(fixed["about"].std(ddof=1)) if fixed["about"].size > 1 else 0.0
        fixed["about"] = fixed["about"] / (step or 1.0)
    kept = [one for one, here in zip(subjects, known, strict=True) if here]
    needed = " or no ".join(
        ("group of the two" if question.of_groups else question.about, *question.adjusted)
    )
    inside = set(kept)
    values = [one for one in in_time(cohort, values) if one.subject in inside]
    measured = _Measured(
        values=tuple(values),
        subjects=tuple(kept),
        fixed=fixed,
        pair=pair,
        step=step,
        unit=found.unit,
        sessions=tuple(dict.fromkeys(one.session for one in values)),
        summarised=question.lesions is not None and found.several_regions,
    )
    return measured, (*found.left_out, *lost(cohort, subjects, list(known), needed))


def _pair(question: Mixed, present: Sequence[str]) -> tuple[str, str]:
    names = sorted(set(present) - {""})
    if question.groups is not None:
        return question.groups
    if len(names) != 2:
        raise MissingMetadata(
            "the question does not say which two groups are compared",
            where="question",
            found=", ".join(names) or "no group",
            needed="groups: two of them",
        )
    return names[0], names[1]


def _logarithm(values: DoubleArray, name: str) -> DoubleArray:
    below = values <= 0.0
    if below.any():
        raise ImplausibleValue(
            f"{name} is not above zero in {np.count_nonzero(below)} subjects",
            where=name,
            needed="values above zero for their logarithm",
            next_step="name it under adjust instead of adjust_log",
        )
    return np.log(values)


def _model(measured: _Measured, question: Mixed, interactions: Sequence[tuple[str, str]]) -> MixedModel:
    """The model whose terms are ``about``, ``session`` and what is adjusted for."""
    about = measured.column("about")
    terms: dict[str, npt.ArrayLike] = {
        "about": np.array([f"{one:.0f}" for one in about]) if question.of_groups else about
    }
    if len(measured.sessions) > 1:
        # numbered, so that the first in time is the one that others are compared with
        terms["session"] = np.array(
            [f"{measured.sessions.index(one.session):04d}" for one in measured.values]
        )
    terms |= {f"adjusted_{name}": measured.column(name) for name in question.adjusted}
    repeated = len(measured.sessions) > 1 and measured.several_regions
    return mixed_model(
        [one.value for one in measured.values],
        terms,
        np.array([one.subject for one in measured.values]),
        interactions=interactions,
        nested=np.array([one.region for one in measured.values]) if repeated else None,
        logarithmic=question.logarithmic,
        level=1 - question.alpha,
        unit=measured.unit,
    )


def _measure(question: Mixed, measured: _Measured) -> str:
    over = " over all sessions" if len(measured.sessions) > 1 else ""
    if question.of_groups:
        first, second = measured.pair
        if question.logarithmic:
            return f"ratio{over}, {second} over {first}"
        return f"difference{over}, {second} less {first}"
    word = "ratio" if question.logarithmic else "change"
    return f"{word}{over} per standard deviation ({number(measured.step, 3)}) of {question.about}"


def _by_session(cohort: Cohort, question: Mixed, measured: _Measured) -> list[tuple[str, Finding]]:
    """Groups in each session, over means of subjects."""
    if not question.of_groups:
        return []
    means = _means(cohort, question, measured)
    return [
        compared_in_session(
            cohort, [one for one in means if one.session == session], measured.pair, question, measured.unit,
            session,
        )
        for session in measured.sessions
    ]  # fmt: skip


def _interactions(model: MixedModel, question: Mixed, measured: _Measured) -> list[tuple[str, Finding]]:
    """How much more or less it is in each session than in the first; one F test stands for all of them."""
    found = []
    for name, one in model.coefficients.items():
        if not (name.startswith("about") and ":session[" in name):
            continue
        session = measured.sessions[int(name.partition(":session[")[2].removesuffix("]"))]
        word = "ratio of ratios" if question.logarithmic else "difference of differences"
        if not question.of_groups:
            word = "ratio of slopes" if question.logarithmic else "difference of slopes"
        measure = f"{word}, session {session} against {measured.sessions[0]}"
        found.append(("interaction", dataclasses.replace(one, measure=measure, p_value=math.nan)))
    return found


def _scatter(model: MixedModel, question: Mixed) -> list[tuple[str, str]]:
    parts = {"between subjects": model.between_sd, "between their regions": model.nested_sd}
    parts["of single measurements"] = model.within_sd
    known = {name: value for name, value in parts.items() if not math.isnan(value)}
    facts = [
        ("Measurements", f"{model.n_measurements} of {model.n_subjects} subjects"),
        (
            f"Standard deviation{' of logarithms' if question.logarithmic else ''}",
            ", ".join(f"{number(value, 3)} {name}" for name, value in known.items()),
        ),
    ]
    facts.append(("Share of variance between subjects", number(model.intraclass_correlation, 2)))
    return facts


def _notes(cohort: Cohort, question: Mixed, measured: _Measured) -> tuple[str, ...]:
    inside: tuple[str, ...] = (LESIONS_INSIDE,) if measured.several_regions else ()
    if measured.summarised:
        inside = (LESIONS,)
    if question.of_groups:
        return inside
    told = notes(cohort.declared.agent, cohort.declared.study, control_arm=cohort.declared.control_arm)
    return (*told, *inside)


def _power(cohort: Cohort, question: Mixed, measured: _Measured) -> str:
    """Of subjects, whose means the model compares."""
    if question.of_groups:
        effect = question.effect or 1.0
        groups = [cohort.group(one) for one in measured.subjects]
        sizes = [groups.count(name) for name in measured.pair]
        found = two_sample_power(sizes[0], sizes[1], effect, alpha=question.alpha)
        return (
            f"With {sizes[0]} and {sizes[1]} subjects a difference of {effect:g} standard deviations of "
            f"subjects would be found in {percent(found.power)} of such studies."
        )
    effect, n = question.effect or 0.6, len(measured.subjects) - len(question.adjusted)
    if n < 4:
        return ""
    chance = spearman_power(n, effect, alpha=question.alpha, n_simulations=4000)
    return (
        f"With {len(measured.subjects)} subjects a correlation of {effect:g} over them would be found in "
        f"some {percent(chance.power)} of such studies."
    )


def _figures(cohort: Cohort, question: Mixed, measured: _Measured) -> tuple[Shown, ...]:
    label = measure_words(question, measured.unit)
    if question.of_groups and len(measured.sessions) > 1:
        means = _means(cohort, question, measured)
        return curve_figures(cohort, question, curves_of(cohort, means), measured.unit)
    if question.of_groups:
        points = tuple(
            OrganPoint(question.region, cohort.group(one.subject), one.subject, one.value)
            for one in measured.values
        )
        return (Shown("organ_points", label, OrganPoints(label, points, logarithmic=False)),)
    by_subject = measured.column("about") * measured.step
    plotted = tuple(
        SubjectPoint(one.subject, cohort.group(one.subject), float(x), one.value)
        for one, x in zip(measured.values, by_subject, strict=True)
    )
    title = f"{label} against {question.about}, every measurement"
    return (Shown("association", title, AssociationPlot(question.about, label, plotted)),)


def _means(cohort: Cohort, question: Mixed, measured: _Measured) -> list[Value]:
    """One value per subject and session: the geometric mean of regions where logarithms are modelled."""
    cells: dict[tuple[str, str], list[float]] = {}
    for one in in_time(cohort, measured.values):
        cells.setdefault((one.subject, one.session), []).append(one.value)
    log = question.logarithmic
    return [
        Value(
            subject,
            session,
            question.region,
            float(np.exp(np.mean(np.log(found))) if log else np.mean(found)),
        )
        for (subject, session), found in cells.items()
    ]
