"""Answers about two ways of measuring one thing: limits of agreement, concordance, a line through both."""

from __future__ import annotations

import dataclasses

import numpy as np

from imgtheranostics.errors import IllConditioned
from imgtheranostics.report.figures.method_agreement import AgreementPlot
from imgtheranostics.report.study_figures import Shown
from imgtheranostics.report.wording import unit_words
from imgtheranostics.study.agreement import BlandAltman, bland_altman, concordance_correlation
from imgtheranostics.study.cohort import Cohort, per_subject
from imgtheranostics.study.deming_lines import deming_regression
from imgtheranostics.study.findings import Finding, Interval
from imgtheranostics.study.questions import Agreement
from imgtheranostics.study.replies import Reply, measure_words
from imgtheranostics.units import conversion_factor


def agreement_reply(cohort: Cohort, question: Agreement) -> Reply:
    """Two measures of each subject, the second converted to the unit of the first."""
    first, second = (per_subject(cohort, one) for one in (question.first, question.second))
    factor = 1.0 if first.unit == second.unit else conversion_factor(second.unit, first.unit)
    of_first = dict(zip(first.subjects, first.values, strict=True))
    of_second = dict(zip(second.subjects, factor * second.values, strict=True))
    both = [one for one in cohort.subjects if one in of_first and one in of_second]
    x, y = (np.array([float(of[one]) for one in both]) for of in (of_first, of_second))
    level = 1 - question.alpha
    found = bland_altman(x, y, relative=question.relative, level=level, unit=first.unit)
    beside: list[tuple[str, Finding]] = [
        ("limits of agreement, lower", _limit(found, found.lower, found.lower_interval)),
        ("limits of agreement, upper", _limit(found, found.upper, found.upper_interval)),
        ("concordance", concordance_correlation(x, y, level=level, unit=first.unit)),
    ]
    facts = []
    try:
        line = deming_regression(
            x,
            y,
            variance_ratio=question.variance_ratio,
            level=level,
            x_unit=first.unit,
            y_unit=first.unit,
        )
        beside.append(("Deming line", line))
        low, high = line.intercept_interval
        facts.append(("Intercept of the Deming line", f"{line.intercept:.3g} ({low:.3g} to {high:.3g})"))
    except IllConditioned as error:
        facts.append(("Deming line", f"none: {error.what}"))
    if factor != 1.0:
        facts.append(("Converted", f"{second.unit} to {first.unit}, times {factor:g}"))
    labels = measure_words(question.first, first.unit), measure_words(question.second, first.unit)
    return Reply(
        primary=dataclasses.replace(found, measure="mean difference, second less first"),
        tested=False,
        beside=tuple(beside),
        facts=tuple(facts),
        left_out=(*_only(first.left_out, labels[0]), *_only(second.left_out, labels[1])),
        agreed=_agreed(found, question),
        shown=(
            Shown(
                "method_agreement",
                f"{labels[1]} less {labels[0]}",
                _plot(found, both, labels, "" if question.relative else question.first.quantity),
            ),
        ),
    )


def _only(left_out: tuple[str, ...], label: str) -> list[str]:
    return [f"{one} ({label})" for one in left_out]


def _limit(found: BlandAltman, value: float, interval: Interval) -> Finding:
    return Finding(
        measure="95 % of differences lie within",
        estimate=value,
        interval=interval,
        p_value=float("nan"),
        n=found.n,
        method="bias ± 1.96 SD",
        unit=found.unit,
        level=found.level,
    )


def _agreed(found: BlandAltman, question: Agreement) -> str:
    if question.limit is None:
        return "No limit was declared: whether this is agreement enough is for the reader to say."
    inside = found.lower_interval.low >= -question.limit and found.upper_interval.high <= question.limit
    unit = unit_words(found.unit, "" if question.relative else question.first.quantity)
    limit = f"{question.limit:g} {unit}".rstrip()
    if inside:
        return f"They agree: both limits of agreement, with their intervals, lie within ± {limit}."
    return f"Agreement within ± {limit} is not shown: the limits, with their intervals, reach beyond."


def _plot(found: BlandAltman, subjects: list[str], labels: tuple[str, str], quantity: str) -> AgreementPlot:
    return AgreementPlot(
        mean=tuple(map(float, found.mean)),
        difference=tuple(map(float, found.difference)),
        subjects=tuple(subjects),
        bias=found.estimate,
        limits=(found.lower, found.upper),
        intervals=(found.interval, found.lower_interval, found.upper_interval),
        unit=unit_words(found.unit, quantity),
        labels=labels,
    )
