"""Answers to declared questions, against closed forms, SciPy and made-up studies with known effects."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from imgtheranostics.study.answers import Answer, answers_of
from imgtheranostics.study.cohort import read_cohort
from imgtheranostics.study.differences import group_difference
from imgtheranostics.study.wording import MM302_FUTILITY, NO_CONTROL_ARM

Make = Callable[..., Path]
Row = tuple[str, str, str, float]

MICE = tuple(f"m{n:02d}" for n in range(12))
GROUPS = {name: "lumen" if n % 2 else "bilayer" for n, name in enumerate(MICE)}


def liver(seed: int = 1, ratio: float = 1.57, sessions: tuple[str, ...] = ("d1",)) -> list[Row]:
    """Liver and tumour; bilayer above lumen in the liver by a ratio, nothing in the tumour."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for name in MICE:
        own = math.exp(0.1 * rng.standard_normal())
        for place, session in enumerate(sessions):
            level = 14.0 * 0.8**place * own * (ratio if GROUPS[name] == "bilayer" else 1.0)
            rows.append((name, session, "liver", level * math.exp(0.1 * rng.standard_normal())))
            rows.append((name, session, "tumour", 5.0 * own * math.exp(0.1 * rng.standard_normal())))
    return rows


def asked(output: Path) -> dict[str, Answer]:
    return {one.question.name: one for one in answers_of(read_cohort(output))}


def values(rows: list[Row], region: str, group: str) -> list[float]:
    return [row[3] for row in rows if row[2] == region and GROUPS[row[0]] == group]


def test_difference_of_groups_is_welchs_t_of_logarithms(make_results: Make) -> None:
    rows = liver()
    questions = (
        "[{name: a, kind: group_difference, quantity: id_per_g, region: liver, groups: [lumen, bilayer]},"
        " {name: b, kind: group_difference, quantity: id_per_g, region: tumour, margin: 1.5,"
        " groups: [lumen, bilayer]}]"
    )
    found = asked(make_results(rows, groups=GROUPS, questions=questions))
    low, high = (np.log(values(rows, "liver", group)) for group in ("lumen", "bilayer"))
    expected = stats.ttest_ind(high, low, equal_var=False)
    primary = found["a"].reply.primary  # type: ignore[union-attr]
    limits = np.exp(expected.confidence_interval(0.95))
    assert primary.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert tuple(primary.interval) == pytest.approx(tuple(limits), rel=1e-9)
    assert primary.estimate == pytest.approx(math.exp(high.mean() - low.mean()), rel=1e-12)
    # Holm of two: the smaller p is doubled
    assert found["a"].holm_p_value == pytest.approx(2 * expected.pvalue, rel=1e-9)
    assert found["a"].verdict.startswith("Beyond chance at 5 % after correction for 2 questions")
    assert "Equivalent within a margin of 1.5 that was fixed in advance" in found["b"].verdict


def test_difference_of_groups_in_the_unit_of_the_values_is_scipys() -> None:
    rng = np.random.default_rng(5)
    one, other = rng.normal(5, 1, 9), rng.normal(6, 3, 6)
    found = group_difference([*one, math.nan], other, unit="%/g")
    expected = stats.ttest_ind(other, one, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert tuple(found.interval) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-9)
    assert (found.unit, found.n, found.left_out) == ("%/g", 15, 1)


def test_three_groups_are_compared_in_pairs_with_their_own_correction(make_results: Make) -> None:
    groups = {name: "abc"[n % 3] for n, name in enumerate(MICE)}
    rows = liver()
    text = "[{name: a, kind: group_difference, quantity: id_per_g, region: tumour}]"
    reply = asked(make_results(rows, groups=groups, questions=text))["a"].reply
    assert reply is not None
    parts = {
        key: np.log([row[3] for row in rows if row[2] == "tumour" and groups[row[0]] == key]) for key in "abc"
    }
    p_values = [
        stats.ttest_ind(parts[one], parts[other], equal_var=False).pvalue for one, other in ("ab", "ac", "bc")
    ]
    assert reply.primary.p_value == pytest.approx(min(1.0, 3 * min(p_values)), rel=1e-9)
    assert len(reply.beside) == 2


def test_groups_over_all_sessions_come_from_a_mixed_model(make_results: Make) -> None:
    rows = liver(sessions=("t04", "t24", "t72"))
    text = (
        '[{name: a, kind: group_difference, quantity: id_per_g, region: liver, session: "*",'
        " groups: [lumen, bilayer]}]"
    )
    reply = asked(make_results(rows, groups=GROUPS, questions=text))["a"].reply
    assert reply is not None
    # balanced: the ratio is that of the means over all sessions
    low, high = (np.log(values(rows, "liver", group)).mean() for group in ("lumen", "bilayer"))
    assert reply.primary.estimate == pytest.approx(math.exp(high - low), rel=1e-4)
    assert reply.primary.interval.low < 1.57 < reply.primary.interval.high
    assert reply.primary.n == 12
    assert [what for what, _ in reply.beside] == [
        f"session {one}, without a test" for one in ("t04", "t24", "t72")
    ]
    assert all(math.isnan(finding.p_value) for _, finding in reply.beside)
    assert [one.kind for one in reply.shown] == ["group_curves", "spider"]


def patients(n: int = 15) -> tuple[list[Row], str, dict[str, dict[str, float]]]:
    """Patients with 1 to 4 lesions; dose drives uptake and shrinkage, and nothing else does."""
    rng = np.random.default_rng(11)
    rows: list[Row] = []
    lines = ["subject\tresponse\tshrinkage\ttime\tevent"]
    covariates = {}
    for number in range(n):
        name = f"p{number:02d}"
        dose = 15.0 + 6.0 * number
        covariates[name] = {"dose_mg": dose}
        rows += [
            (name, "d1", f"lesion-{lesion}", dose * math.exp(0.2 * rng.standard_normal()))
            for lesion in range(1 + number % 4)
        ]
        shrinkage = dose * math.exp(0.2 * rng.standard_normal())
        response, event = "yes" if number % 3 else "no", int(number != 3)
        lines.append(f"{name}\t{response}\t{shrinkage:.3f}\t{rng.exponential(6):.3f}\t{event}")
    return rows, "\n".join(lines) + "\n", covariates


ASSOCIATION = 'kind: association, quantity: id_per_g, region: "lesion-*", lesions: mean, outcome: shrinkage'


def test_lesions_become_patients_before_they_are_correlated(make_results: Make) -> None:
    rows, outcomes, covariates = patients()
    output = make_results(
        rows, outcomes=outcomes, covariates=covariates, questions=f"[{{name: a, {ASSOCIATION}}}]"
    )
    answer = asked(output)["a"]
    assert answer.reply is not None
    names = [f"p{n:02d}" for n in range(15)]
    means = [np.mean([row[3] for row in rows if row[0] == name]) for name in names]
    shrinkage = [float(line.split("\t")[2]) for line in outcomes.splitlines()[1:]]
    expected = stats.spearmanr(means, shrinkage).statistic
    assert answer.reply.primary.estimate == pytest.approx(expected, rel=1e-12)
    assert answer.reply.primary.n == 15
    # published with the design: 5 % critical rho of 15 subjects .51, power at .6 .63
    assert "from 0.5" in answer.reply.power
    assert NO_CONTROL_ARM in answer.reply.notes
    assert any(one.code == "not-adjusted" and "dose_mg" in one.message for one in answer.cautions)


def test_what_the_dose_explains_is_gone_when_it_is_adjusted_for(make_results: Make) -> None:
    rows, outcomes, covariates = patients()
    text = f"[{{name: a, {ASSOCIATION}, adjust: [dose_mg]}}]"
    answer = asked(make_results(rows, outcomes=outcomes, covariates=covariates, questions=text))["a"]
    assert answer.reply is not None
    [(what, plain)] = answer.reply.beside
    assert what == "not adjusted"
    assert plain.p_value < 0.001 < 0.05 < answer.reply.primary.p_value
    assert not any(one.code == "not-adjusted" for one in answer.cautions)
    assert "does not show that there is no association" in answer.verdict


def test_lesions_without_a_declared_summary_are_refused(make_results: Make) -> None:
    rows, outcomes, _ = patients()
    text = "[{name: a, kind: association, quantity: id_per_g, region: 'lesion-*', outcome: shrinkage}]"
    answer = asked(make_results(rows, outcomes=outcomes, questions=text))["a"]
    assert answer.reply is None
    assert answer.error["needed"] == "lesions: mean, median or maximum"
    assert answer.verdict == "Not answered."


def test_survival_is_cox_first_and_a_searched_cut_point_is_corrected(make_results: Make) -> None:
    rows, outcomes, _ = patients()
    start = 'kind: survival, quantity: id_per_g, region: "lesion-*", lesions: mean, time_unit: mo'
    text = f"[{{name: a, {start}, cutpoint: search}}, {{name: b, {start}, cutpoint: 60}}]"
    found = asked(make_results(rows, outcomes=outcomes, questions=text, top={"agent": "mm302-64cu"}))
    searched, fixed = found["a"].reply, found["b"].reply
    assert searched is not None
    assert fixed is not None
    assert searched.primary.measure == "hazard ratio per doubling of uptake"
    assert searched.primary.p_value == fixed.primary.p_value
    what, cut = searched.beside[0]
    assert "searched" in what
    assert cut.p_value > cut.uncorrected_p_value  # type: ignore[attr-defined]
    assert MM302_FUTILITY in fixed.notes
    assert fixed.beside[-1][1].unit == "mo"
    [shown] = fixed.shown
    assert [one.label for one in shown.content.groups] == ["≤ 60 %ID/g", "> 60 %ID/g"]


def test_follow_up_counts_from_the_landmark_at_which_uptake_was_known(make_results: Make) -> None:
    rows = [(f"p{n:02d}", "d1", "tumour", 1.0 + n % 5 + 0.1 * n) for n in range(14)]
    lines = [f"p{n:02d}\t{n + 1}\t1\t{3 if n > 2 else 0.5}" for n in range(14)]
    outcomes = "subject\ttime\tevent\tscan_time\n" + "\n".join(lines) + "\n"
    text = "[{name: a, kind: survival, quantity: id_per_g, region: tumour, measured_at: scan_time}]"
    reply = asked(make_results(rows, outcomes=outcomes, questions=text))["a"].reply
    assert reply is not None
    assert reply.primary.n == 11  # the first three ended by month 3
    assert max(reply.shown[0].content.groups[0].time) == pytest.approx(11.0)
    assert [one.code for one in reply.cautions] == ["landmark"]


def test_animals_and_the_means_of_their_groups_are_told_apart(make_results: Make) -> None:
    rng = np.random.default_rng(2)
    names = [f"m{n:02d}" for n in range(18)]
    groups = {name: "abc"[n % 3] for n, name in enumerate(names)}
    level = {"a": 1.0, "b": 4.0, "c": 9.0}
    rows = [(name, "d1", "tumour", level[groups[name]] + 0.3 * rng.random()) for name in names]
    lines = [f"{name}\t{level[groups[name]] + 0.3 * rng.random():.4f}" for name in names]
    text = "[{name: a, kind: association, quantity: id_per_g, region: tumour, within_groups: true}]"
    outcomes = "subject\tresponse\n" + "\n".join(lines) + "\n"
    reply = asked(make_results(rows, groups=groups, outcomes=outcomes, questions=text))["a"].reply
    assert reply is not None
    assert abs(reply.primary.estimate) < 0.6
    assert dict(reply.facts)["R² of the means of 3 groups"] == "1.00"


def test_crossed_factors_and_their_equivalence(make_results: Make) -> None:
    rng = np.random.default_rng(8)
    rows, factors, sizes = [], {}, {}
    for number in range(30):
        name = f"m{number:02d}"
        active, size = number % 2, (20.0, 50.0, 150.0)[number % 3]
        factors[name] = {"targeting": "active" if active else "passive"}
        sizes[name] = {"size_nm": size}
        rows.append((name, "d1", "tumour", (1.0 + active) * math.exp(0.1 * rng.standard_normal())))
    text = (
        "[{name: a, kind: factorial, quantity: id_per_g, region: tumour, factors: [targeting, size_nm],"
        " equivalent: {size_nm: 1.3}}]"
    )
    answer = asked(make_results(rows, factors=factors, covariates=sizes, questions=text))["a"]
    assert answer.reply is not None
    assert answer.reply.primary.estimate == pytest.approx(0.5, rel=0.1)
    assert "Levels of size_nm: equivalent within a margin of 1.3" in answer.verdict
    assert any("targeting × size_nm" in what for what, _ in answer.reply.beside)


def test_agreement_converts_units_or_refuses(make_results: Make) -> None:
    rng = np.random.default_rng(4)
    rows = [(name, "d1", "liver", 10.0 + n + 0.1 * rng.random()) for n, name in enumerate(MICE)]
    rows += [(name, "d2", "liver", 10.0 + n + 0.1 * rng.random()) for n, name in enumerate(MICE)]
    start = "kind: agreement, first: {quantity: id_per_g, region: liver, session: d1}"
    text = (
        f"[{{name: a, {start}, second: {{quantity: id_per_g, region: liver, session: d2}}, limit: 0.5}},"
        f" {{name: b, {start}, second: {{quantity: id_per_g, region: liver, session: d2,"
        " statistic: volume_ml}}]"
    )
    output = make_results(rows, questions=text)
    table = (output / "quantities.tsv").read_text().splitlines()
    header = table[0].split("\t")
    cells = [line.split("\t") for line in table[1:]]
    for line in cells:
        line[header.index("volume_ml")] = "1.5"
        if line[header.index("session")] == "d2":
            # the same share written per kilogram
            line[header.index("unit")] = "%/kg"
            line[header.index("mean")] = repr(float(line[header.index("mean")]) * 1000.0)
    (output / "quantities.tsv").write_text("\n".join([table[0], *("\t".join(one) for one in cells)]) + "\n")
    found = asked(output)
    reply = found["a"].reply
    assert reply is not None
    assert abs(reply.primary.estimate) < 0.05
    assert found["a"].verdict.startswith("They agree")
    assert math.isnan(found["a"].holm_p_value)
    assert found["b"].error["type"] == "UnitMismatch"


def test_mixed_units_between_subjects_are_named(make_results: Make) -> None:
    text = "[{name: a, kind: group_difference, quantity: id_per_g, region: liver}]"
    output = make_results(liver(), groups=GROUPS, questions=text, units={"m03": "%/mL"})
    answer = asked(output)["a"]
    assert answer.error["type"] == "UnitMismatch"
    assert "m03" in answer.error["found"]


def test_exact_share_and_repeatability(make_results: Make) -> None:
    rows = liver(sessions=("d1", "d2"))
    outcomes = "subject\tresponse\n" + "".join(f"{name}\t{int(name != 'm00')}\n" for name in MICE)
    text = (
        "[{name: a, kind: share},"
        ' {name: b, kind: repeatability, quantity: id_per_g, region: tumour, session: "*"}]'
    )
    found = asked(make_results(rows, outcomes=outcomes, questions=text))
    share, repeat = found["a"].reply, found["b"].reply
    assert share is not None
    assert repeat is not None
    # Clopper-Pearson of 11 in 12: the beta quantiles
    limits = (stats.beta.ppf(0.025, 11, 2), stats.beta.ppf(0.975, 12, 1))
    assert tuple(share.primary.interval) == pytest.approx(limits, rel=1e-9)
    first, second = (
        np.log([row[3] for row in rows if row[1] == day and row[2] == "tumour"]) for day in ("d1", "d2")
    )
    within = math.sqrt(float(np.mean((first - second) ** 2)) / 2)
    assert repeat.primary.estimate == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(2) * within, rel=1e-9)
    assert math.isnan(found["b"].holm_p_value)


def test_words_of_a_question_that_claim_too_much_are_not_repeated(make_results: Make) -> None:
    rows, outcomes, _ = patients()
    text = f'[{{name: a, {ASSOCIATION}, text: "Uptake predicts shrinkage"}}]'
    answer = asked(make_results(rows, outcomes=outcomes, questions=text))["a"]
    assert "predict" not in answer.text
    assert any(one.code == "claim-withheld" for one in answer.cautions)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("{name: a, kind: group_difference, quantity: id_per_g, region: kidney}", "kidney"),
        ("{name: a, kind: group_difference, quantity: suv_bw, region: liver}", "id_per_g"),
        ("{name: a, kind: group_difference, quantity: id_per_g, region: tumour}", "several sessions"),
    ],
)
def test_a_question_that_means_nothing_or_too_much_says_what_there_is(
    make_results: Make, question: str, told: str
) -> None:
    output = make_results(liver(sessions=("d1", "d2")), groups=GROUPS, questions=f"[{question}]")
    answer = asked(output)["a"]
    assert answer.reply is None
    assert told in " ".join(str(text) for text in answer.error.values())
