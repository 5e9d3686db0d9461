"""Answers about uptake and outcome: association, survival, shares."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from imgtheranostics.errors import Caution, MissingMetadata
from imgtheranostics.report.figures.association import AssociationPlot, SubjectPoint
from imgtheranostics.report.figures.kaplan_meier import FollowedGroup, KaplanMeier
from imgtheranostics.report.figures.waterfall import Bar, Waterfall
from imgtheranostics.report.study_figures import Shown
from imgtheranostics.report.wording import number
from imgtheranostics.study.association import ecological_association
from imgtheranostics.study.cohort import Cohort, PerSubject, per_subject
from imgtheranostics.study.correlation import partial_spearman, spearman
from imgtheranostics.study.cutpoints import cutpoint_search, split_at
from imgtheranostics.study.findings import Finding
from imgtheranostics.study.intervals import binomial_interval
from imgtheranostics.study.landmarks import landmark
from imgtheranostics.study.outcomes import OUTCOMES_FILE, TIME_UNIT, Outcomes
from imgtheranostics.study.power import log_rank_power, spearman_critical, spearman_power
from imgtheranostics.study.proportional_hazards import CoxRegression, cox_regression
from imgtheranostics.study.questions import Association, Share, Survival
from imgtheranostics.study.receiver_curves import roc_area
from imgtheranostics.study.replies import Reply, lost, measure_words, percent
from imgtheranostics.study.samples import DoubleArray, common_unit
from imgtheranostics.study.survival import kaplan_meier, log_rank
from imgtheranostics.study.wording import CUTPOINT, GROUP_MEANS, LANDMARK, notes

_KNOWN_AT_START = (
    "Follow-up counts from time zero, as if uptake had been known then: subjects who were scanned later "
    "lived until their scan. Name the column measured_at to count from a landmark."
)


_NO_FOLLOW_UP = ("follow-up in the outcomes", "follow-up, or none after the landmark")


def _outcomes(cohort: Cohort) -> Outcomes:
    if cohort.outcomes is None:
        raise MissingMetadata(
            "the study has no table of outcomes",
            where="manifest",
            needed="outcomes: a table with subject, and response or time and event",
        )
    return cohort.outcomes


def _notes(cohort: Cohort, found: PerSubject) -> tuple[str, ...]:
    return notes(
        cohort.declared.agent,
        cohort.declared.study,
        several_lesions=found.several_regions,
        control_arm=cohort.declared.control_arm,
    )


def association_reply(cohort: Cohort, question: Association) -> Reply:
    """Rank correlation over subjects, adjusted where the question says for what."""
    found = per_subject(cohort, question)
    y = _outcomes(cohort).numbers(question.outcome, found.subjects)
    others = {name: cohort.covariate(name, found.subjects) for name in question.adjust}
    known = np.isfinite(y)
    for values in others.values():
        known &= np.isfinite(values)
    x, y = found.values[known], y[known]
    subjects = [one for one, here in zip(found.subjects, known, strict=True) if here]
    level = 1 - question.alpha
    facts: list[tuple[str, str]] = []
    beside: list[tuple[str, Finding]] = []
    told = list(_notes(cohort, found))
    primary: Finding
    if question.within_groups:
        groups = [cohort.group(one) for one in subjects]
        inside = ecological_association(x, y, groups, level=level)
        primary = inside
        facts = [
            ("Pearson's r over all animals, groups not regarded", f"{inside.animal_r:.2f}"),
            (f"R² of the means of {len(inside.groups)} groups", f"{inside.group_r_squared:.2f}"),
        ]
        told.append(GROUP_MEANS)
    elif others:
        primary = partial_spearman(
            x, y, {name: values[known] for name, values in others.items()}, level=level
        )
        beside.append(("not adjusted", spearman(x, y, level=level)))
    else:
        primary = spearman(x, y, level=level)
    binary = bool(np.isin(y, (0.0, 1.0)).all())
    if binary and min(np.count_nonzero(y == 0.0), np.count_nonzero(y == 1.0)) >= 2:
        beside.append((f"those with {question.outcome} above those without", roc_area(x, y, level=level)))
    if binary:
        beside.append((f"share with {question.outcome}", _share(y, level)))
    label = measure_words(question, found.unit)
    return Reply(
        primary=primary,
        beside=tuple(beside),
        facts=tuple(facts),
        notes=tuple(told),
        left_out=(
            *found.left_out,
            *lost(cohort, found.subjects, list(known), " or no ".join((question.outcome, *question.adjust))),
        ),
        power=_correlation_power(primary.n, question),
        cautions=_confounders(cohort, question, subjects, x, y),
        shown=_association_figures(cohort, question, subjects, x, y, label, binary),
    )


def _correlation_power(n: int, question: Association) -> str:
    least, power = _rank_power(n, question.effect, question.alpha)
    return (
        f"With {n} subjects a rank correlation is significant from {least:.2f} on, and a true correlation of "
        f"{question.effect:g} would be found in {percent(power)} of such studies."
    )


@lru_cache(maxsize=256)
def _rank_power(n: int, effect: float, alpha: float) -> tuple[float, float]:
    """Smallest significant rank correlation, and power; questions with the same numbers share them."""
    power = spearman_power(n, effect, alpha=alpha, n_simulations=4000).power
    return spearman_critical(n, alpha=alpha), power


def _confounders(
    cohort: Cohort, question: Association, subjects: Sequence[str], x: DoubleArray, y: DoubleArray
) -> tuple[Caution, ...]:
    """Covariates that go along with both and are not adjusted for."""
    names = sorted({name for one in cohort.people.values() for name in one})
    found = []
    for name in names:
        if name in question.adjust or name in ("group", "sex", "species"):
            continue
        try:
            values = np.array([float(text or math.nan) for text in cohort.labels(name, subjects)])
        except ValueError:
            continue  # a factor, which has no numbers
        if _go_along(values, x) and _go_along(values, y):
            found.append(name)
    if not found:
        return ()
    told = f"{', '.join(found)} goes along with both uptake and {question.outcome}, and is not adjusted for"
    return (Caution("not-adjusted", told, question.name),)


def _go_along(one: DoubleArray, other: DoubleArray) -> bool:
    from scipy.stats import spearmanr

    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 5 or np.ptp(one[known]) == 0.0 or np.ptp(other[known]) == 0.0:
        return False
    return bool(spearmanr(one[known], other[known]).pvalue < 0.05)


def _association_figures(
    cohort: Cohort,
    question: Association,
    subjects: Sequence[str],
    x: DoubleArray,
    y: DoubleArray,
    label: str,
    binary: bool,
) -> tuple[Shown, ...]:
    points = tuple(
        SubjectPoint(one, cohort.group(one), float(a), float(b))
        for one, a, b in zip(subjects, x, y, strict=True)
    )
    plot = AssociationPlot(label, question.outcome, points, binary=binary)
    middle = float(np.median(x))
    if binary:
        bars = tuple(
            Bar(one, float(a), f"{question.outcome}: {'yes' if b else 'no'}")
            for one, a, b in zip(subjects, x, y, strict=True)
        )
        fall = Waterfall(label, bars)
    else:
        bars = tuple(
            Bar(one, float(b), "uptake above the median" if a > middle else "uptake at or below the median")
            for one, a, b in zip(subjects, x, y, strict=True)
        )
        fall = Waterfall(question.outcome, bars)
    return (
        Shown("association", f"{question.outcome} against {label}", plot),
        Shown("waterfall", f"Every subject: {fall.label}", fall),
    )


def _share(y: DoubleArray, level: float) -> Finding:
    exact = binomial_interval(int(np.count_nonzero(y == 1.0)), int(y.size), level)
    return Finding(
        measure=f"share, {exact.successes} of {exact.total}",
        estimate=exact.estimate,
        interval=exact.interval,
        p_value=math.nan,
        n=exact.total,
        method=exact.method,
        level=level,
        assumed=exact.assumed,
    )


def share_reply(cohort: Cohort, question: Share) -> Reply:
    """The share of subjects with an outcome, with its exact interval."""
    y = _outcomes(cohort).numbers(question.outcome, cohort.subjects)
    known = np.isfinite(y)
    if not np.isin(y[known], (0.0, 1.0)).all() or not known.any():
        raise MissingMetadata(
            f"{question.outcome} is not yes or no",
            where=OUTCOMES_FILE,
            needed="1 and 0, or yes and no, in at least one row",
        )
    return Reply(
        primary=_share(y[known], 1 - question.alpha),
        tested=False,
        left_out=lost(cohort, cohort.subjects, list(known), question.outcome),
    )


def survival_reply(cohort: Cohort, question: Survival) -> Reply:
    """Cox on the continuous uptake first; curves at a cut-point that was fixed, or searched and corrected."""
    found = per_subject(cohort, question)
    table = _outcomes(cohort)
    time, event = (table.numbers(name, found.subjects) for name in (question.time, question.event))
    unit = _time_unit(table, question, found.subjects)
    others = {name: cohort.covariate(name, found.subjects) for name in question.adjust}
    known = np.isfinite(time) & np.isfinite(event)
    for values in others.values():
        known &= np.isfinite(values)
    told = list(_notes(cohort, found))
    cautions: tuple[Caution, ...] = ()
    if question.measured_at is None:
        told.append(_KNOWN_AT_START)
    else:
        measured_at = table.numbers(question.measured_at, found.subjects)
        known &= np.isfinite(measured_at)
        start = landmark(time[known], event[known], measured_at[known])
        # the landmark keeps rows of those given, in order
        known[np.flatnonzero(known)[~start.kept]] = False
        time = time - start.at
        cautions = start.warnings
        told.append(LANDMARK)
    x, time, event = found.values[known], time[known], event[known]
    level = 1 - question.alpha
    cox = cox_regression(
        x,
        time,
        event,
        adjust={name: values[known] for name, values in others.items()} or None,
        logarithmic=question.logarithmic,
        level=level,
        unit=found.unit,
    )
    beside, groups, cut_told = _cut(question, x, time, event, found.unit, level)
    told += cut_told
    whole = kaplan_meier(time, event, level=level, time_unit=unit or "1")
    return Reply(
        primary=cox,
        beside=(*beside, (f"all subjects{'' if unit else ', unit not stated'}", whole)),
        facts=_cox_facts(cox),
        notes=tuple(told),
        left_out=(
            *found.left_out,
            *lost(cohort, found.subjects, list(known), _NO_FOLLOW_UP[question.measured_at is not None]),
        ),
        power=_survival_power(question, cox.n, whole.estimate, float(time.max()), unit),
        cautions=cautions,
        shown=(_curves(question, groups, time, event, unit, found.unit, level),),
    )


def _time_unit(table: Outcomes, question: Survival, subjects: Sequence[str]) -> str:
    if TIME_UNIT not in table.columns:
        return question.time_unit or ""
    return common_unit(table.texts(TIME_UNIT, subjects), question.time)


def _cox_facts(cox: CoxRegression) -> tuple[tuple[str, str], ...]:
    facts = [("Events", f"{cox.n_events} of {cox.n} subjects")]
    concordance = f"{cox.concordance:.2f}"
    if math.isfinite(cox.corrected_concordance):
        concordance += (
            f"; {cox.corrected_concordance:.2f} less the optimism of being fitted to these subjects"
        )
    facts.append(("Concordance (Harrell's C)", concordance))
    facts += [
        (f"Hazard ratio per unit of {name}", f"{value:.3g}") for name, value in cox.adjusted_for.items()
    ]
    return tuple(facts)


def _cut(
    question: Survival, x: DoubleArray, time: DoubleArray, event: DoubleArray, unit: str, level: float
) -> tuple[tuple[tuple[str, Finding], ...], list[str], list[str]]:
    """Findings at the cut-point, the side of each subject, and what has to be said of it."""
    if question.cutpoint is None:
        return (), ["all subjects"] * x.size, []
    if question.cutpoint == "search":
        search = cutpoint_search(x, time, event, level=level, unit=unit)
        labels = split_at(x, search.cutpoint)
        sentence = [CUTPOINT]
        return (
            ((f"cut-point {search.cutpoint:.3g}, searched", search),),
            [str(one) for one in labels],
            sentence,
        )
    labels = split_at(x, question.cutpoint)
    test = log_rank(time, event, labels, level=level)
    words = "at the median" if question.cutpoint == "median" else "fixed in advance"
    shown = dataclasses.replace(
        test, measure=f"hazard ratio, uptake {_side(test.groups[1])} against {_side(test.groups[0])}"
    )
    return ((f"cut-point {words}", shown),), [str(one) for one in labels], []


def _side(label: str) -> str:
    """A side of a cut-point as readers have it: ``≤ 4.29``."""
    sign, _, limit = label.partition(" ")
    return f"{'≤' if sign == '<=' else sign} {number(float(limit), 3)}"


def _survival_power(question: Survival, n: int, median: float, longest: float, unit: str) -> str:
    if not math.isfinite(median) or median <= 0.0 or n < 4:
        return ""
    found = log_rank_power(
        n,
        question.effect,
        median_time=median,
        follow_up_time=longest,
        alpha=question.alpha,
        n_simulations=4000,
    )
    return (
        f"With {n} subjects, a median of {median:.3g} {unit} and {longest:.3g} {unit} of follow-up, a hazard "
        f"ratio of {question.effect:g} between halves would be found in {percent(found.power)} of such "
        "studies."
    ).replace("  ", " ")


def _curves(
    question: Survival,
    groups: Sequence[str],
    time: DoubleArray,
    event: DoubleArray,
    unit: str,
    uptake: str,
    level: float,
) -> Shown:
    from imgtheranostics.report.wording import unit_words

    words = unit_words(uptake, question.quantity)
    names = sorted(set(groups))
    followed = []
    for name in names:
        own = np.array([one == name for one in groups])
        label = name if name == "all subjects" else f"{_side(name)} {words}".rstrip()
        followed.append(
            FollowedGroup(
                label,
                tuple(map(float, time[own])),
                tuple(bool(one) for one in event[own]),
                _steps(time[own], event[own], level),
            )
        )
    label = f"{question.time}{f' [{unit}]' if unit else ' (unit not stated)'}"
    return Shown("kaplan_meier", f"Time without {question.event}", KaplanMeier(label, tuple(followed)))


def _steps(
    time: DoubleArray, event: DoubleArray, level: float
) -> tuple[tuple[float, float, float, float], ...]:
    """The curve of one group; flat where it had no event, or is a single subject."""
    if not event.any() or time.size < 2:
        return ((float(time[0]), 0.0, 0.0, 0.0),) if event.any() else ()
    curve = kaplan_meier(time, event, level=level)
    columns = (one.tolist() for one in (curve.time, curve.survival, curve.low, curve.high))
    return tuple(zip(*columns, strict=True))
