"""Questions that mixed models answer, against closed forms of balanced designs and likelihoods in full."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from imgtheranostics.study.answers import Answer, answers_of
from imgtheranostics.study.cohort import read_cohort
from imgtheranostics.study.mixed import mixed_model
from imgtheranostics.study.mixed_answers import LESIONS_INSIDE
from imgtheranostics.study.wording import ASSOCIATION, LESIONS, NO_CONTROL_ARM

pytest.importorskip("statsmodels")

Make = Callable[..., Path]
Row = tuple[str, str, str, float]

MICE = tuple(f"m{n:02d}" for n in range(12))
GROUPS = {name: "lumen" if n % 2 else "bilayer" for n, name in enumerate(MICE)}
SESSIONS = ("h24", "h4", "h72")
"""In the order of their names, which `make_results` takes for that of their dates."""


def asked(output: Path) -> dict[str, Answer]:
    return {one.question.name: one for one in answers_of(read_cohort(output))}


def livers(ratio: float = 1.57, sessions: tuple[str, ...] = SESSIONS) -> list[Row]:
    rng = np.random.default_rng(4)
    rows: list[Row] = []
    for name in MICE:
        own = math.exp(0.2 * rng.standard_normal()) * (ratio if GROUPS[name] == "bilayer" else 1.0)
        rows += [
            (name, one, "liver", 14.0 * own * math.exp(0.08 * rng.standard_normal())) for one in sessions
        ]
    return rows


def logs(rows: list[Row]) -> np.ndarray:
    """Of animals by session."""
    return np.log([row[3] for row in rows]).reshape(len(MICE), -1)


def test_groups_over_time_are_the_split_plot_design(make_results: Make) -> None:
    rows = livers()
    text = (
        '[{name: a, kind: mixed, quantity: id_per_g, region: liver, session: "*", groups: [lumen, bilayer]}]'
    )
    reply = asked(make_results(rows, groups=GROUPS, questions=text))["a"].reply
    assert reply is not None
    table = logs(rows)
    first = np.array([GROUPS[name] == "lumen" for name in MICE])
    means = table.mean(axis=1)
    t = stats.ttest_ind(means[~first], means[first])
    assert reply.primary.estimate == pytest.approx(
        math.exp(means[~first].mean() - means[first].mean()), rel=1e-6
    )
    assert reply.primary.p_value == pytest.approx(t.pvalue, rel=1e-3)
    assert tuple(reply.primary.interval) == pytest.approx(tuple(np.exp(t.confidence_interval())), rel=1e-3)
    assert reply.primary.measure == "ratio over all sessions, bilayer over lumen"
    # each session is a Welch test without its p value; the interaction one F test of 2 and 20
    assert [what for what, _ in reply.beside] == [
        *(f"session {one}, without a test" for one in SESSIONS), "interaction", "interaction",
    ]  # fmt: skip
    inner = table - means[:, None]
    cells = np.array([inner[first].mean(axis=0), inner[~first].mean(axis=0)])
    rest = inner - cells[np.where(first, 0, 1)]
    f = 6 * np.sum((cells - inner.mean(axis=0)) ** 2) / 2 / (np.sum(rest**2) / 20)
    fact = dict(reply.facts)["Group × session"]
    assert fact.startswith(f"F(2, 20) = {f:.2f}, p = {stats.f.sf(f, 2, 20):.2g}")
    ratio = reply.beside[3][1]
    assert ratio.measure == "ratio of ratios, session h4 against h24"
    expected = (table[~first, 1] - table[~first, 0]).mean() - (table[first, 1] - table[first, 0]).mean()
    assert math.log(ratio.estimate) == pytest.approx(expected, rel=1e-5)
    assert all(math.isnan(finding.p_value) for _, finding in reply.beside)
    assert [one.kind for one in reply.shown] == ["group_curves", "spider"]


def patients(counts: list[int], seed: int = 3) -> tuple[list[Row], str, dict[str, dict[str, float]]]:
    """Lesions inside patients; dose drives uptake and shrinkage, by their logarithms."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    lines = ["subject\tshrinkage"]
    covariates = {}
    for number, count in enumerate(counts):
        name, dose = f"p{number:02d}", (15.0, 30.0, 50.0, 75.0, 100.0)[number % 5]
        own = 0.4 * rng.standard_normal()
        covariates[name] = {"dose": dose}
        rows += [
            (name, "d1", f"lesion-{n}", dose * math.exp(own + 0.3 * rng.standard_normal()))
            for n in range(count)
        ]
        lines.append(f"{name}\t{10 * math.log(dose) + 8 * own + 4 * rng.standard_normal():.6f}")
    return rows, "\n".join(lines) + "\n", covariates


SLOPE = 'kind: mixed, quantity: id_per_g, region: "lesion-*", about: shrinkage, adjust_log: [dose]'


def test_slope_over_balanced_lesions_is_the_regression_of_patient_means(make_results: Make) -> None:
    rows, outcomes, covariates = patients([3] * 15)
    made = make_results(rows, outcomes=outcomes, covariates=covariates, questions=f"[{{name: a, {SLOPE}}}]")
    reply = asked(made)["a"].reply
    assert reply is not None
    means = np.log([row[3] for row in rows]).reshape(15, 3).mean(axis=1)
    response = np.array([float(line.split("\t")[1]) for line in outcomes.splitlines()[1:]])
    step = response.std(ddof=1)
    design = np.column_stack(
        [np.ones(15), response / step, np.log([one["dose"] for one in covariates.values()])]
    )
    beta, squares, *_ = np.linalg.lstsq(design, means, rcond=None)
    error = math.sqrt(squares[0] / 12 * np.linalg.inv(design.T @ design)[1, 1])
    half = stats.t.ppf(0.975, 12) * error
    assert math.log(reply.primary.estimate) == pytest.approx(beta[1], rel=1e-5)
    assert np.log(reply.primary.interval) == pytest.approx([beta[1] - half, beta[1] + half], rel=1e-3)
    assert reply.primary.p_value == pytest.approx(2 * stats.t.sf(abs(beta[1]) / error, 12), rel=1e-3)
    assert reply.primary.n == 15
    assert reply.primary.measure.startswith("ratio per standard deviation (")
    assert {LESIONS_INSIDE, ASSOCIATION, NO_CONTROL_ARM} <= set(reply.notes)
    assert dict(reply.facts)["Measurements"] == "45 of 15 subjects"


def _restricted(
    log_share: float, y: np.ndarray, x: np.ndarray, patient: np.ndarray
) -> tuple[float, float, float]:
    """Minus twice the restricted log likelihood (less constants), slope and its error."""
    v = np.eye(y.size) + math.exp(log_share) * (patient[:, None] == patient)
    w = np.linalg.inv(v)
    covariance = np.linalg.inv(x.T @ w @ x)
    beta = covariance @ x.T @ w @ y
    rest = y - x @ beta
    s2 = float(rest @ w @ rest) / (y.size - x.shape[1])
    value = np.linalg.slogdet(v)[1] - np.linalg.slogdet(covariance)[1] + (y.size - x.shape[1]) * math.log(s2)
    return float(value), float(beta[1]), math.sqrt(s2 * covariance[1, 1])


def test_slope_over_unequal_lesions_is_that_of_the_full_likelihood(make_results: Make) -> None:
    """The restricted likelihood written down with whole matrices, its maximum by SciPy."""
    rows, outcomes, covariates = patients([2 + n % 7 for n in range(15)])
    made = make_results(rows, outcomes=outcomes, covariates=covariates, questions=f"[{{name: a, {SLOPE}}}]")
    reply = asked(made)["a"].reply
    assert reply is not None
    patient = np.array([int(row[0][1:]) for row in rows])
    response = np.array([float(line.split("\t")[1]) for line in outcomes.splitlines()[1:]])
    dose = np.log([covariates[row[0]]["dose"] for row in rows])
    x = np.column_stack([np.ones(len(rows)), (response / response.std(ddof=1))[patient], dose])
    y = np.log([row[3] for row in rows])
    best = optimize.minimize_scalar(
        lambda share: _restricted(share, y, x, patient)[0], bounds=(-6, 6), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    _, slope, error = _restricted(best.x, y, x, patient)
    assert math.log(reply.primary.estimate) == pytest.approx(slope, rel=1e-4)
    assert reply.primary.p_value == pytest.approx(2 * stats.t.sf(abs(slope) / error, 12), rel=1e-3)


def test_confounding_dose_is_found_when_it_is_not_adjusted_for(make_results: Make) -> None:
    rows, outcomes, covariates = patients([3] * 15, seed=8)
    plain = SLOPE.replace(", adjust_log: [dose]", "")
    made = make_results(
        rows, outcomes=outcomes, covariates=covariates,
        questions=f"[{{name: a, {SLOPE}}}, {{name: b, {plain}}}]",
    )  # fmt: skip
    found = asked(made)
    with_dose, without = found["a"].reply, found["b"].reply
    assert with_dose is not None
    assert without is not None
    assert without.primary.estimate > with_dose.primary.estimate > 1.0
    assert "dose accounted for" in found["a"].text
    assert "over regions inside subjects" in found["b"].text


def test_lesions_over_sessions_have_a_random_intercept_of_their_own() -> None:
    """Balanced: groups by the means of subjects, sessions by what is left inside lesions; 2 and 70 of 108."""
    rng = np.random.default_rng(2)
    subject, lesion, session = (one.ravel() for one in np.indices((12, 3, 3)))
    value = np.exp(
        0.3 * rng.standard_normal(12)[subject]
        + 0.5 * rng.standard_normal((12, 3))[subject, lesion]
        + 0.1 * rng.standard_normal(108)
    )
    terms = {"group": (subject % 2).astype(str), "session": session.astype(str)}
    found = mixed_model(value, terms, subject, nested=lesion, logarithmic=True)
    cube = np.log(value).reshape(12, 3, 3)
    means = cube.mean(axis=(1, 2))
    assert found.tests["group"].p_value == pytest.approx(
        stats.ttest_ind(means[::2], means[1::2]).pvalue, rel=1e-3
    )
    rest = cube - cube.mean(axis=2, keepdims=True) - cube.mean(axis=(0, 1)) + cube.mean()
    f = 36 * np.sum((cube.mean(axis=(0, 1)) - cube.mean()) ** 2) / 2 / (np.sum(rest**2) / 70)
    assert (found.tests["session"].rest_freedom, found.n_nested) == (70, 36)
    assert found.tests["session"].statistic == pytest.approx(f, rel=1e-3)
    # mean squares of the nested analysis of variance
    within = np.sum(rest**2) / 70
    of_lesions = 3 * np.sum((cube.mean(axis=2) - means[:, None]) ** 2) / 24
    assert found.within_sd**2 == pytest.approx(within, rel=1e-3)
    assert found.nested_sd**2 == pytest.approx((of_lesions - within) / 3, rel=1e-2)


def test_lesions_over_sessions_are_asked_in_one_question(make_results: Make) -> None:
    rng = np.random.default_rng(6)
    rows = [
        (name, session, f"lesion-{n}", math.exp(0.3 * own + 0.4 * n + 0.1 * rng.standard_normal()))
        for name, own in zip(MICE, rng.standard_normal(12), strict=True)
        for n in range(2)
        for session in ("d1", "d2")
    ]
    text = '[{name: a, kind: mixed, quantity: id_per_g, region: "lesion-*", session: "*"}]'
    reply = asked(make_results(rows, groups=GROUPS, questions=text))["a"].reply
    assert reply is not None
    assert "between their regions" in dict(reply.facts)["Standard deviation of logarithms"]
    summarised = text.replace('"lesion-*"', '"lesion-*", lesions: mean')
    other = asked(make_results(rows, groups=GROUPS, questions=summarised, name="b"))["a"].reply
    assert other is not None
    assert other.notes == (LESIONS,)
    assert other.primary.n == 12


def test_what_a_mixed_model_cannot_answer_says_why(make_results: Make) -> None:
    rows = livers()
    three = {name: "abc"[n % 3] for n, name in enumerate(MICE)}
    text = (
        '[{name: a, kind: mixed, quantity: id_per_g, region: liver, session: "*"},'
        " {name: b, kind: mixed, quantity: id_per_g, region: liver, session: h4, groups: [a, b]},"
        ' {name: c, kind: mixed, quantity: id_per_g, region: liver, session: "*", groups: [a, b],'
        " adjust_log: [dose]}]"
    )
    covariates = {name: {"dose": float(n)} for n, name in enumerate(MICE)}
    found = asked(make_results(rows, groups=three, questions=text, covariates=covariates))
    assert found["a"].error["needed"] == "groups: two of them"
    assert "measured once" in found["b"].error["what"]
    assert found["c"].error["type"] == "ImplausibleValue"
    assert "dose is not above zero in 1" in found["c"].error["what"]


def test_subjects_without_a_group_or_outcome_are_named(make_results: Make) -> None:
    rows, outcomes, covariates = patients([3] * 15)
    lines = outcomes.splitlines()
    shorter = "\n".join(line for line in lines if not line.startswith("p07")) + "\n"
    made = make_results(rows, outcomes=shorter, covariates=covariates, questions=f"[{{name: a, {SLOPE}}}]")
    reply = asked(made)["a"].reply
    assert reply is not None
    assert reply.left_out == ("p07: no shrinkage or no dose",)
    assert reply.primary.n == 14
