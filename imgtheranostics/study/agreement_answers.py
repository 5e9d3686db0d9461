"""Answers about two ways of measuring one thing: limits of agreement, concordance, a line through both."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imgtheranostics.errors import Caution, IllConditioned, NothingUsable, UnitMismatch
from imgtheranostics.report.figures.method_agreement import AgreementPlot
from imgtheranostics.report.study_figures import Shown
from imgtheranostics.report.wording import unit_words
from imgtheranostics.study.agreement import BlandAltman, bland_altman, concordance_correlation
from imgtheranostics.study.agreement_repeated import bland_altman_repeated
from imgtheranostics.study.cohort import Chosen, Cohort, chosen, per_subject
from imgtheranostics.study.concentrations import (
    LABEL_NOTE,
    UPTAKE,
    Converted,
    as_concentration,
    require_alike,
)
from imgtheranostics.study.deming_lines import deming_regression
from imgtheranostics.study.findings import Finding, Interval
from imgtheranostics.study.particle import PARTICLE
from imgtheranostics.study.questions import EVERY, Agreement, CountedMeasure
from imgtheranostics.study.replies import Reply, in_session, measure_words, region_words
from imgtheranostics.study.samples import DoubleArray
from imgtheranostics.units import conversion_factor


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Numbers of both measures in one unit; `subjects` is whose each is, `names` what it is called."""

    x: DoubleArray
    y: DoubleArray
    subjects: tuple[str, ...]
    names: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def clusters(self) -> tuple[str, ...] | None:
        """Whose each pair is, where some subject has several and there are several subjects."""
        several = 1 < len(set(self.subjects)) < len(self.subjects)
        return self.subjects if several else None

    @property
    def of_one_subject(self) -> bool:
        return len(set(self.subjects)) == 1 and len(self.subjects) > 1


def agreement_reply(cohort: Cohort, question: Agreement) -> Reply:
    """Two measures of each subject, or of each region, in one unit."""
    measures = (question.first, question.second)
    first, second = (chosen(cohort, one) for one in measures)
    facts: list[tuple[str, str]] = []
    warnings: tuple[Caution, ...] = ()
    if question.concentration is None:
        require_alike(cohort, question, first, second)
        first, second, words = _one_unit(first, second)
        facts += words
    else:
        both = [
            as_concentration(cohort, question, *one) for one in zip(measures, (first, second), strict=True)
        ]
        first, second = both[0].found, both[1].found
        facts += [_converted(*one) for one in zip(measures, both, strict=True)]
        warnings = tuple(dict.fromkeys(warning for one in both for warning in one.warnings))
    labels = _label(question, question.first, first.unit), _label(question, question.second, first.unit)
    pairs = _pairs(cohort, question, (first, second), labels)
    found, beside, of_line = _findings(question, pairs, first.unit)
    by_label = question.concentration is not None and any(one.quantity in UPTAKE for one in measures)
    return Reply(
        primary=dataclasses.replace(found, measure="mean difference, second less first"),
        tested=False,
        beside=beside,
        facts=(*of_line, *facts),
        notes=(LABEL_NOTE,) if by_label else (),
        left_out=pairs.left_out,
        agreed=_agreed(found, question, first.unit),
        cautions=warnings,
        shown=(
            Shown(
                "method_agreement",
                f"{labels[1]} less {labels[0]}",
                _plot(found, pairs.names, labels, _quantity(question, first.unit)),
            ),
        ),
    )


def _findings(
    question: Agreement, pairs: _Pairs, unit: str
) -> tuple[BlandAltman, tuple[tuple[str, Finding], ...], list[tuple[str, str]]]:
    """Limits of agreement, what stands beside them, and the line's intercept or why there is none."""
    x, y, level, whose = pairs.x, pairs.y, 1 - question.alpha, pairs.clusters
    if whose is None and not pairs.of_one_subject:
        found = bland_altman(x, y, relative=question.relative, level=level, unit=unit)
    else:
        found = bland_altman_repeated(
            x, y, pairs.subjects, relative=question.relative, level=level, unit=unit
        )
    beside: list[tuple[str, Finding]] = [
        ("limits of agreement, lower", _limit(found, found.lower, found.lower_interval)),
        ("limits of agreement, upper", _limit(found, found.upper, found.upper_interval)),
        ("concordance", concordance_correlation(x, y, subject=whose, level=level, unit=unit)),
    ]
    try:
        line = deming_regression(
            x,
            y,
            subject=whose,
            variance_ratio=question.variance_ratio,
            level=level,
            x_unit=unit,
            y_unit=unit,
        )
    except IllConditioned as error:
        return found, tuple(beside), [("Deming line", f"none: {error.what}")]
    low, high = line.intercept_interval
    told = f"{line.intercept:.3g} ({low:.3g} to {high:.3g})"
    return found, (*beside, ("Deming line", line)), [("Intercept of the Deming line", told)]


def _one_unit(first: Chosen, second: Chosen) -> tuple[Chosen, Chosen, list[tuple[str, str]]]:
    """The second in the unit of the first, refused where they measure different things."""
    if first.unit == second.unit:
        return first, second, []
    try:
        factor = conversion_factor(second.unit, first.unit)
    except UnitMismatch as error:
        raise UnitMismatch(
            "the two are not measured in the same kind of unit",
            where="question",
            found=f"{first.unit} and {second.unit}",
            needed=error.needed or "units that convert into each other",
            next_step="for one particle seen in two ways, declare concentration: mg/mL, and in the manifest "
            "what was injected and what the particle carries",
        ) from None
    values = tuple(dataclasses.replace(one, value=factor * one.value) for one in second.values)
    words = f"{second.unit} to {first.unit}, times {factor:g}"
    return first, dataclasses.replace(second, values=values, unit=first.unit), [("Converted", words)]


def _converted(measure: CountedMeasure, converted: Converted) -> tuple[str, str]:
    return f"Converted, {measure.quantity} ({converted.found.analysis})", converted.words


def _pairs(
    cohort: Cohort, question: Agreement, found: tuple[Chosen, Chosen], labels: tuple[str, str]
) -> _Pairs:
    if question.pairs == "regions":
        return _of_regions(cohort, question, found, labels)
    first, second = (
        per_subject(cohort, measure, values)
        for measure, values in zip((question.first, question.second), found, strict=True)
    )
    of_first = dict(zip(first.subjects, first.values, strict=True))
    of_second = dict(zip(second.subjects, second.values, strict=True))
    both = tuple(one for one in cohort.subjects if one in of_first and one in of_second)
    x, y = (np.array([float(of[one]) for one in both]) for of in (of_first, of_second))
    left_out = (*_only(first.left_out, labels[0]), *_only(second.left_out, labels[1]))
    return _Pairs(x, y, both, both, left_out)


def _of_regions(
    cohort: Cohort, question: Agreement, found: tuple[Chosen, Chosen], labels: tuple[str, str]
) -> _Pairs:
    """One pair for each region that has the same name in both, in the same session where all are meant."""
    every = question.first.session == EVERY
    first, second = (
        {(one.subject, one.session if every else "", one.region): one.value for one in part.values}
        for part in found
    )
    order = {subject: number for number, subject in enumerate(cohort.subjects)}
    both = sorted((key for key in first if key in second), key=lambda key: (order[key[0]], key))
    if not both:
        raise NothingUsable(
            "no region has a number by both",
            where="question",
            found=f"{_some(first)} and {_some(second)}",
            needed="regions of the same name",
        )
    lone = [
        f"{' '.join(word for word in key if word)}: only by the {which}"
        for keys, other, which in ((first, second, "first"), (second, first, "second"))
        for key in keys
        if key not in other
    ]
    left_out = (*_only(found[0].left_out, labels[0]), *_only(found[1].left_out, labels[1]), *lone)
    names = tuple(" ".join(word for word in key if word) for key in both)
    x, y = (np.array([float(of[key]) for key in both]) for of in (first, second))
    return _Pairs(x, y, tuple(key[0] for key in both), names, left_out)


def _some(keys: dict[tuple[str, str, str], float]) -> str:
    return ", ".join(sorted({key[2] for key in keys}))[:120] or "none"


def _label(question: Agreement, measure: CountedMeasure, unit: str) -> str:
    if question.concentration is None:
        return measure_words(measure, unit)
    of = "" if question.of == PARTICLE else f" of {question.of}"
    by = f" by {measure.analysis}" if measure.analysis else f" by {measure.quantity}"
    return f"Concentration{of}{by}, {region_words(measure)}{in_session(measure)} [{unit_words(unit)}]"


def _only(left_out: Sequence[str], label: str) -> list[str]:
    return [f"{one} ({label})" for one in left_out]


def _limit(found: BlandAltman, value: float, interval: Interval) -> Finding:
    return Finding(
        measure="95 % of differences lie within",
        estimate=value,
        interval=interval,
        p_value=math.nan,
        n=found.n,
        method="bias ± 1.96 SD",
        unit=found.unit,
        level=found.level,
    )


def _quantity(question: Agreement, unit: str) -> str:
    """The quantity by which a unit of the differences is spelled."""
    return "" if question.relative or question.concentration is not None else question.first.quantity


def _agreed(found: BlandAltman, question: Agreement, unit: str) -> str:
    if question.limit is None and question.bias_limit is None:
        return "No limit was declared: whether this is agreement enough is for the reader to say."
    spelled = unit_words(found.unit, _quantity(question, unit))
    said = []
    if question.bias_limit is not None:
        limit = f"{question.bias_limit:g} {spelled}".rstrip()
        low, high = found.interval
        inside = low >= -question.bias_limit and high <= question.bias_limit
        said.append(
            f"On the mean they agree: the mean difference, with its interval, lies within ± {limit}."
            if inside
            else f"A mean difference within ± {limit} is not shown: its interval reaches beyond."
        )
    if question.limit is not None:
        limit = f"{question.limit:g} {spelled}".rstrip()
        inside = found.lower_interval.low >= -question.limit and found.upper_interval.high <= question.limit
        said.append(
            f"They agree: both limits of agreement, with their intervals, lie within ± {limit}."
            if inside
            else f"Agreement within ± {limit} is not shown: the limits, with their intervals, reach beyond."
        )
    return " ".join(said)


def _plot(
    found: BlandAltman, names: tuple[str, ...], labels: tuple[str, str], quantity: str
) -> AgreementPlot:
    return AgreementPlot(
        mean=tuple(map(float, found.mean)),
        difference=tuple(map(float, found.difference)),
        subjects=names,
        bias=found.estimate,
        limits=(found.lower, found.upper),
        intervals=(found.interval, found.lower_interval, found.upper_interval),
        unit=unit_words(found.unit, quantity),
        labels=labels,
    )
