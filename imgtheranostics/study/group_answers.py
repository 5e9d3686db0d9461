"""Answers about groups of animals: differences, crossed factors, repeats of one subject."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from imgtheranostics.errors import IllConditioned, MissingMetadata
from imgtheranostics.report.figures.group_curves import AnimalCurve, GroupCurves
from imgtheranostics.report.figures.organ_points import OrganPoint, OrganPoints
from imgtheranostics.report.figures.spider import Spider
from imgtheranostics.report.study_figures import Shown
from imgtheranostics.report.wording import number
from imgtheranostics.study.cohort import Cohort, PerSubject, Value, by_session, chosen, per_subject
from imgtheranostics.study.differences import group_difference
from imgtheranostics.study.equivalence import Equivalence, equivalence_test
from imgtheranostics.study.factorial import TwoWay, two_way
from imgtheranostics.study.findings import Finding
from imgtheranostics.study.mixed import MixedModel, mixed_model
from imgtheranostics.study.multiplicity import holm
from imgtheranostics.study.power import two_sample_power
from imgtheranostics.study.questions import EVERY, Factorial, GroupDifference, Mixed, Repeatability
from imgtheranostics.study.reliability import intraclass_correlation, repeatability
from imgtheranostics.study.replies import Reply, as_ratio, measure_words, percent
from imgtheranostics.study.wording import LESIONS

Pair = tuple[str, str]


def difference_reply(cohort: Cohort, question: GroupDifference) -> Reply:
    """Groups in one session by Welch's t; over all sessions in a mixed model."""
    if question.session == EVERY:
        return _over_sessions(cohort, question)
    found = per_subject(cohort, question)
    groups = np.array([cohort.group(one) for one in found.subjects], np.object_)
    pairs = _pairs(question, [str(one) for one in groups])
    parts = {pair: [found.values[groups == name] for name in pair] for pair in pairs}
    findings = {
        pair: group_difference(
            *values, names=pair, logarithmic=question.logarithmic, unit=found.unit, level=1 - question.alpha
        )
        for pair, values in parts.items()
    }
    primary, beside = _of_pairs(findings)
    agreed = ""
    if question.margin is not None:
        tests = {pair: _equivalence(question, parts[pair], pair, found.unit) for pair in pairs}
        beside += tuple(("equivalence", shown) for _, shown in tests.values())
        unit = "1" if question.logarithmic else found.unit
        agreed = _equivalence_words([test for test, _ in tests.values()], question.margin, unit)
    sizes = [int(values.size) for values in parts[_first(findings)]]
    power = two_sample_power(sizes[0], sizes[1], question.effect, alpha=question.alpha)
    return Reply(
        primary=primary,
        beside=beside,
        notes=(LESIONS,) if found.several_regions else (),
        left_out=(*found.left_out, *_without_group(cohort, found.subjects, pairs)),
        power=f"With {sizes[0]} and {sizes[1]} subjects a difference of {question.effect:g} SD "
        f"would be found in {percent(power.power)} of such studies.",
        agreed=agreed,
        shown=(_points(cohort, question, found),),
    )


def _pairs(question: GroupDifference, present: Sequence[str]) -> list[Pair]:
    names = sorted(set(present) - {""})
    if question.groups is not None:
        lacking = [one for one in question.groups if one not in names]
        if lacking:
            raise IllConditioned(
                "a group has no number", where="groups", found=", ".join(names), needed=", ".join(lacking)
            )
        return [question.groups]
    if len(names) < 2:
        raise MissingMetadata(
            "there are no two groups to compare",
            where="participants.tsv",
            found=", ".join(names) or "no group",
            needed="subjects of two groups with this quantity",
        )
    return list(combinations(names, 2))


def _first(findings: dict[Pair, Finding]) -> Pair:
    return min(findings, key=lambda pair: findings[pair].p_value)


def _of_pairs(findings: dict[Pair, Finding]) -> tuple[Finding, tuple[tuple[str, Finding], ...]]:
    """The pair that differs most, its p value adjusted for all pairs, and the others."""
    if len(findings) == 1:
        return next(iter(findings.values())), ()
    adjusted = dict(zip(findings, holm([one.p_value for one in findings.values()]).adjusted, strict=True))
    told = f"; p adjusted for {len(findings)} pairs (Holm)"
    every = {
        pair: dataclasses.replace(one, p_value=float(adjusted[pair]), method=one.method + told)
        for pair, one in findings.items()
    }
    best = _first(findings)
    return every[best], tuple(("another pair", one) for pair, one in every.items() if pair != best)


def _equivalence(
    question: GroupDifference, values: list[np.ndarray], pair: Pair, unit: str
) -> tuple[Equivalence, Finding]:
    given = question.margin or math.nan
    if not question.logarithmic:
        test = equivalence_test(*values, margin=given, alpha=question.alpha, unit=unit)
        return test, test
    test = equivalence_test(*(np.log(one) for one in values), margin=math.log(given), alpha=question.alpha)
    return test, as_ratio(test, f"ratio of geometric means, {pair[1]} over {pair[0]}, against {given:g}")


def _equivalence_words(tests: Sequence[Equivalence], margin: float, unit: str) -> str:
    within = f"a margin of {margin:g}{f' {unit}' if unit != '1' else ''} that was fixed in advance"
    if all(test.equivalent for test in tests):
        return f"Equivalent within {within}."
    return f"Not shown to be equivalent within {within}."


def _without_group(cohort: Cohort, subjects: Sequence[str], pairs: Sequence[Pair]) -> tuple[str, ...]:
    compared = {name for pair in pairs for name in pair}
    told = {one: cohort.group(one) for one in subjects if cohort.group(one) not in compared}
    return tuple(f"{one}: {f'group {group}' if group else 'no group'}" for one, group in told.items())


def _over_sessions(cohort: Cohort, question: GroupDifference) -> Reply:
    values, found = by_session(cohort, question)
    pairs = _pairs(question, [cohort.group(one.subject) for one in values])
    findings, facts = {}, []
    for pair in pairs:
        kept = [one for one in values if cohort.group(one.subject) in pair]
        findings[pair], interaction = _mixed(cohort, kept, pair, question, found.unit)
        facts.append((f"Group × session, {pair[1]} and {pair[0]}", interaction))
    primary, beside = _of_pairs(findings)
    sessions = dict.fromkeys(one.session for one in in_time(cohort, values))
    for session in sessions:
        here = [one for one in values if one.session == session]
        beside += tuple(
            compared_in_session(cohort, here, pair, question, found.unit, session) for pair in pairs
        )
    curves = curves_of(cohort, values)
    return Reply(
        primary=primary,
        beside=beside,
        facts=tuple(facts),
        notes=(LESIONS,) if found.several_regions else (),
        left_out=found.left_out,
        shown=curve_figures(cohort, question, curves, found.unit),
    )


def _mixed(
    cohort: Cohort, values: Sequence[Value], pair: Pair, question: GroupDifference, unit: str
) -> tuple[Finding, str]:
    # "0" and "1" keep the first group the reference, whatever the names' order
    group = np.array([str(int(cohort.group(one.subject) == pair[1])) for one in values])
    session = np.array([one.session for one in values])
    subject = np.array([one.subject for one in values])
    measured = [one.value for one in values]

    def model(*interactions: Pair) -> MixedModel:
        return mixed_model(
            measured,
            {"group": group, "session": session},
            subject,
            interactions=interactions,
            logarithmic=question.logarithmic,
            level=1 - question.alpha,
            unit=unit,
        )

    plain, crossed = model(), model(("group", "session"))
    test = crossed.tests["group:session"]
    words = "ratio" if question.logarithmic else "difference"
    beside = f"{pair[1]} {'over' if question.logarithmic else 'less'} {pair[0]}"
    finding = dataclasses.replace(
        plain.coefficients["group[1]"],
        measure=f"{words} over all sessions, {beside}",
    )
    told = f"F({test.freedom}, {test.rest_freedom:g}) = {test.statistic:.2f}, p = {test.p_value:.2g}"
    return finding, told


def compared_in_session(
    cohort: Cohort,
    values: Sequence[Value],
    pair: Pair,
    question: GroupDifference | Mixed,
    unit: str,
    session: str,
) -> tuple[str, Finding]:
    """Two groups in one session of several: an estimate with its interval, and no test of its own."""
    parts = [[one.value for one in values if cohort.group(one.subject) == name] for name in pair]
    found = group_difference(
        *parts, names=pair, logarithmic=question.logarithmic, unit=unit, level=1 - question.alpha
    )
    return f"session {session}, without a test", dataclasses.replace(found, p_value=math.nan)


def in_time(cohort: Cohort, values: Sequence[Value]) -> list[Value]:
    """In the order in which they were measured."""
    hours = cohort.declared.hours
    return sorted(values, key=lambda one: hours.get((one.subject, one.session), math.inf))


def curves_of(cohort: Cohort, values: Sequence[Value]) -> tuple[AnimalCurve, ...]:
    """Values of each subject over time, one per session."""
    by_subject: dict[str, list[Value]] = {}
    for one in in_time(cohort, values):
        by_subject.setdefault(one.subject, []).append(one)
    return tuple(
        AnimalCurve(
            subject,
            cohort.group(subject),
            tuple(cohort.declared.hours.get((subject, one.session), math.nan) for one in here),
            tuple(one.value for one in here),
        )
        for subject, here in by_subject.items()
    )


def curve_figures(
    cohort: Cohort,
    question: GroupDifference | Mixed | Repeatability,
    curves: tuple[AnimalCurve, ...],
    unit: str,
) -> tuple[Shown, ...]:
    """Every subject over time by group, and its change from the first session."""
    label = measure_words(question, unit)
    since = f"time after the {cohort.declared.time_origin}"
    logarithmic = question.logarithmic and all(value > 0.0 for one in curves for value in one.values)
    drawn: list[Shown] = [
        Shown("group_curves", label, GroupCurves(label, since, curves, logarithmic=logarithmic))
    ]
    followed = tuple(one for one in curves if len(one.values) > 1 and one.values[0] > 0.0)
    if followed:
        drawn.append(
            Shown("spider", f"Change from the first session: {label}", Spider(label, since, followed))
        )
    return tuple(drawn)


def _points(cohort: Cohort, question: GroupDifference | Factorial, found: PerSubject) -> Shown:
    label = measure_words(question, found.unit)
    points = tuple(
        OrganPoint(question.region, cohort.group(one), one, float(value))
        for one, value in zip(found.subjects, found.values, strict=True)
    )
    return Shown("organ_points", label, OrganPoints(label, points, logarithmic=False))


def factorial_reply(cohort: Cohort, question: Factorial) -> Reply:
    """Two crossed factors with their interaction; the first is what the question is about."""
    found = per_subject(cohort, question)
    factors = {name: cohort.labels(name, found.subjects) for name in question.factors}
    values = found.values
    if question.logarithmic:
        if (values <= 0.0).any():
            raise IllConditioned(
                "values are not above zero",
                where="question",
                needed="values above zero for their logarithm",
                next_step="give logarithmic: false",
            )
        values = np.log(values)
    design = two_way(
        values,
        {name: np.array(labels, np.object_) for name, labels in factors.items()},
        level=1 - question.alpha,
        unit="1" if question.logarithmic else found.unit,
    )
    primary, others = _contrasts(design, question)
    equivalent, agreed = _equivalent_levels(design, question, found.unit)
    first, second = question.factors
    beside = [(f"{name.replace(':', ' × ')}, F test", one) for name, one in design.effects.items()]
    sizes = design.cell_sizes.sum(axis=1)
    power = two_sample_power(int(sizes[0]), int(sizes[1]), question.effect, alpha=question.alpha)
    levels = [f"{name}: {', '.join(design.levels[name])}" for name in (first, second)]
    return Reply(
        primary=primary,
        beside=(*others, *beside, *equivalent),
        facts=(
            ("Levels", "; ".join(levels)),
            (
                "Animals per cell",
                " to ".join(
                    dict.fromkeys(str(one) for one in (design.cell_sizes.min(), design.cell_sizes.max()))
                ),
            ),
        ),
        left_out=(*found.left_out, *_without_factor(found, factors)),
        power=f"With {sizes[0]} and {sizes[1]} animals a difference of {question.effect:g} SD "
        f"between levels of {first} would be found in {percent(power.power)} of such studies.",
        agreed=agreed,
        cautions=design.warnings,
        shown=(_factorial_points(question, found, factors),),
    )


def _contrasts(design: TwoWay, question: Factorial) -> tuple[Finding, tuple[tuple[str, Finding], ...]]:
    """What the first factor does, as a contrast where it has two levels; and all other contrasts (Holm)."""
    shown = []
    for one in design.contrasts:
        words = f"{one.factor}, {one.levels[1]} {'over' if question.logarithmic else 'less'} {one.levels[0]}"
        told: Finding = dataclasses.replace(
            one,
            p_value=one.holm_p_value,
            method=f"{one.method}; p adjusted for the pairs of {one.factor} (Holm)",
        )
        if question.logarithmic:
            told = as_ratio(told, f"ratio of marginal geometric means, {words}")
        shown.append((one.factor, told))
    first = question.factors[0]
    own = [told for factor, told in shown if factor == first]
    if len(own) == 1:
        return own[0], tuple((f"levels of {name}", told) for name, told in shown if name != first)
    return design.effects[first], tuple((f"levels of {name}", told) for name, told in shown)


def _equivalent_levels(
    design: TwoWay, question: Factorial, unit: str
) -> tuple[tuple[tuple[str, Finding], ...], str]:
    beside: list[tuple[str, Finding]] = []
    words = []
    for name, margin in question.equivalent.items():
        own = [one for one in design.contrasts if one.factor == name]
        tests = [
            one.equivalent_within(math.log(margin) if question.logarithmic else margin, question.alpha)
            for one in own
        ]
        for one, test in zip(own, tests, strict=True):
            told = f"{name}, {one.levels[1]} against {one.levels[0]}, within {number(margin)}"
            beside.append(
                ("equivalence", as_ratio(test, f"ratio of marginal geometric means, {told}"))
                if question.logarithmic
                else (
                    "equivalence",
                    dataclasses.replace(test, measure=f"difference of marginal means, {told}"),
                )
            )
        said = _equivalence_words(tests, margin, "1" if question.logarithmic else unit)
        words.append(f"Levels of {name}: {said[:1].lower()}{said[1:]}")
    return tuple(beside), " ".join(words)


def _without_factor(found: PerSubject, factors: dict[str, list[str | None]]) -> tuple[str, ...]:
    return tuple(
        f"{one}: no {name}"
        for name, labels in factors.items()
        for one, label in zip(found.subjects, labels, strict=True)
        if label is None
    )


def _factorial_points(question: Factorial, found: PerSubject, factors: dict[str, list[str | None]]) -> Shown:
    label = measure_words(question, found.unit)
    first, second = question.factors
    rows = zip(found.subjects, found.values, factors[first], factors[second], strict=True)
    points = tuple(
        OrganPoint(f"{second} {across}", f"{first} {one}", subject, float(value))
        for subject, value, one, across in rows
        if one is not None and across is not None
    )
    return Shown("organ_points", label, OrganPoints(label, points, logarithmic=False))


def repeatability_reply(cohort: Cohort, question: Repeatability) -> Reply:
    """Repeats over sessions: what change is beyond them. Lesions of a patient: how alike they are."""
    if question.across == "lesions":
        found = chosen(cohort, question)
        values = list(found.values)
    else:
        values, found = by_session(cohort, question)
    if question.logarithmic and any(one.value <= 0.0 for one in values):
        raise IllConditioned(
            "values are not above zero",
            where="question",
            needed="values above zero for their logarithm",
            next_step="give logarithmic: false",
        )
    measured = np.array([one.value for one in values])
    subjects = [one.subject for one in values]
    level = 1 - question.alpha
    alike = intraclass_correlation(
        np.log(measured) if question.logarithmic else measured,
        subjects,
        level=level,
        unit="1" if question.logarithmic else found.unit,
    )
    repeats = repeatability(
        measured, subjects, logarithmic=question.logarithmic, level=level, unit=found.unit
    )
    sds = [math.sqrt(max(one, 0.0)) for one in (alike.between_variance, alike.within_variance)]
    facts = [("Standard deviation between subjects, within", " and ".join(number(one, 3) for one in sds))]
    if question.logarithmic:
        cvs = [100.0 * math.sqrt(math.expm1(one**2)) for one in sds]
        facts = [("Coefficient of variation between subjects, within", f"{cvs[0]:.0f} % and {cvs[1]:.0f} %")]
    if question.across == "lesions":
        return Reply(primary=alike, tested=False, facts=tuple(facts), left_out=found.left_out)
    limits = repeats.change_limits
    unit = "%" if question.logarithmic else found.unit
    facts.insert(
        0, ("Changes beyond repeats", f"below {number(limits[0], 3)} or above {number(limits[1], 3)} {unit}")
    )
    return Reply(
        primary=repeats,
        tested=False,
        beside=(("share of variance between subjects", alike),),
        facts=tuple(facts),
        left_out=found.left_out,
        shown=curve_figures(cohort, question, curves_of(cohort, values), found.unit),
    )
