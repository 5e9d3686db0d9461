"""Two-way designs, equivalence and mixed models against statsmodels, closed forms and null twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import imgtheranostics as it
from imgtheranostics.study.statistics import binomial_interval, equivalence_test, mixed_model, two_way


def _animals(rng, sizes, *, effect=0.0, interaction=0.0):
    """C3: targeting x size."""
    cells = [(one, other) for one in ("active", "passive") for other in ("large", "medium", "small")]
    targeting = np.repeat([cell[0] for cell in cells], sizes)
    size = np.repeat([cell[1] for cell in cells], sizes)
    value = rng.normal(size=sum(sizes)) + effect * (targeting == "active")
    return value + interaction * ((targeting == "active") & (size == "small")), targeting, size


@pytest.mark.parametrize("sizes", [[5] * 6, [3, 6, 4, 5, 2, 7]], ids=["balanced", "unbalanced"])
def test_effects_are_those_of_statsmodels_type_three(sizes, rng):
    formula = pytest.importorskip("statsmodels.formula.api")
    anova = pytest.importorskip("statsmodels.stats.anova")
    import pandas as pd

    value, targeting, size = _animals(rng, sizes, effect=1.0, interaction=1.0)
    table = pd.DataFrame({"value": value, "targeting": targeting, "size": size})
    model = formula.ols("value ~ C(targeting, Sum) * C(size, Sum)", table).fit()
    theirs = anova.anova_lm(model, typ=3)
    found = two_way(value, {"targeting": targeting, "size": size})
    rows = ("C(targeting, Sum)", "C(size, Sum)", "C(targeting, Sum):C(size, Sum)")
    for name, row in zip(("targeting", "size", "targeting:size"), rows, strict=True):
        assert found.effects[name].statistic == pytest.approx(theirs.loc[row, "F"], rel=1e-9)
        assert found.effects[name].p_value == pytest.approx(theirs.loc[row, "PR(>F)"], rel=1e-7)
        share = theirs.loc[row, "sum_sq"] / (theirs.loc[row, "sum_sq"] + theirs.loc["Residual", "sum_sq"])
        assert found.effects[name].estimate == pytest.approx(share)
    assert found.residual_sd == pytest.approx(math.sqrt(model.mse_resid))


def test_contrast_of_two_levels_is_the_main_effect(rng):
    value, targeting, size = _animals(rng, [5] * 6, effect=1.2)
    found = two_way(value, {"targeting": targeting, "size": size}, unit="%/g")
    contrast = found.contrasts[0]
    assert contrast.levels == ("active", "passive")
    assert contrast.unit == "%/g"
    assert contrast.p_value == pytest.approx(found.effects["targeting"].p_value)
    assert contrast.estimate == pytest.approx(
        value[targeting == "passive"].mean() - value[targeting == "active"].mean()
    )
    assert len(found.contrasts) == 1 + 3
    assert all(one.holm_p_value >= one.p_value for one in found.contrasts)


def test_null_twins_of_the_design_hold_five_percent():
    rng = np.random.default_rng(33)
    found = dict.fromkeys(("targeting", "size", "targeting:size"), 0)
    for _ in range(300):
        value, targeting, size = _animals(rng, [3, 6, 4, 5, 2, 7])
        effects = two_way(value, {"targeting": targeting, "size": size}).effects
        for name in found:
            found[name] += effects[name].p_value <= 0.05
    for count in found.values():
        low, high = binomial_interval(count, 300)
        assert low <= 0.05 <= high


def test_no_effect_of_size_needs_equivalence_not_a_large_p(rng):
    few, targeting, size = _animals(rng, [3] * 6)
    many, more_targeting, more_size = _animals(rng, [60] * 6)
    small = two_way(few, {"targeting": targeting, "size": size}).contrasts[-1]
    large = two_way(many, {"targeting": more_targeting, "size": more_size}).contrasts[-1]
    assert not small.equivalent_within(0.8).equivalent
    assert large.equivalent_within(0.8).equivalent
    assert large.equivalent_within(0.8).level == pytest.approx(0.9)


def test_interaction_is_told_before_main_effects_are_read(rng):
    value, targeting, size = _animals(rng, [10] * 6, interaction=4.0)
    found = two_way(value, {"targeting": targeting, "size": size})
    assert [warning.code for warning in found.warnings] == ["interaction"]


def test_share_of_variance_has_an_interval_that_covers():
    """Balanced design, two levels 1 SD apart: f^2 = .25, share of the population .25 / 1.25."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(150):
        value, targeting, size = _animals(rng, [6] * 6, effect=1.0)
        interval = two_way(value, {"targeting": targeting, "size": size}).effects["targeting"].interval
        covered += not interval.excludes(0.2)
    assert 0.90 <= covered / 150 <= 0.99


def test_empty_cells_and_single_levels_are_refused(rng):
    value, targeting, size = _animals(rng, [5, 5, 5, 5, 5, 0])
    with pytest.raises(it.IllConditioned, match="no animals") as refusal:
        two_way(value, {"targeting": targeting, "size": size})
    assert refusal.value.where == "targeting passive, size small"
    with pytest.raises(ValueError, match="one level"):
        two_way(value, {"targeting": targeting, "batch": ["a"] * value.size})
    with pytest.raises(ValueError, match="two-way design"):
        two_way(value, {"targeting": targeting})


@pytest.mark.parametrize("paired", [False, True])
def test_equivalence_is_that_of_statsmodels(paired, rng):
    weight = pytest.importorskip("statsmodels.stats.weightstats")
    x, y = rng.normal(0, 1, 20), rng.normal(0.2, 1.4, 20)
    test = weight.ttost_paired if paired else weight.ttost_ind
    theirs = test(y, x, -0.9, 0.7, **({} if paired else {"usevar": "unequal"}))
    found = equivalence_test(x, y, margin=(-0.9, 0.7), paired=paired)
    assert found.p_value == pytest.approx(theirs[0])
    assert (found.p_low, found.p_high) == pytest.approx((theirs[1][1], theirs[2][1]))
    inside = found.interval.low > -0.9 and found.interval.high < 0.7
    assert found.equivalent == inside


def test_difference_as_large_as_the_margin_is_called_equivalent_in_five_percent():
    rng = np.random.default_rng(7)
    found = sum(
        equivalence_test(rng.normal(size=40), rng.normal(0.8, 1, 40), margin=0.8).equivalent
        for _ in range(500)
    )
    low, high = binomial_interval(found, 500)
    assert low <= 0.05 <= high


def test_margin_must_contain_no_difference(rng):
    with pytest.raises(ValueError, match="must contain 0"):
        equivalence_test(rng.normal(size=9), rng.normal(size=9), margin=(0.1, 0.5))


def _livers(rng, ratio=1.0):
    """C4: 2 x 6 mice at 4, 24 and 72 h, CV 20 %."""
    animal, group = np.repeat(np.arange(12), 3), np.repeat(["bilayer", "lumen"], 18)
    time = np.tile(["04 h", "24 h", "72 h"], 12)
    spread = 0.17 * rng.normal(size=12)[animal] + 0.1 * rng.normal(size=36)
    return np.exp(math.log(22) + spread - math.log(ratio) * (group == "lumen")), group, time, animal


def test_balanced_mixed_model_is_the_t_test_of_animals_and_the_anova_of_times(rng):
    """Split plot: groups by the means of animals, times by what is left inside them."""
    pytest.importorskip("statsmodels")
    value, group, time, animal = _livers(rng, 1.57)
    found = mixed_model(value, {"group": group, "time": time}, animal, logarithmic=True, unit="%/g")
    table = np.log(value).reshape(12, 3)
    t = stats.ttest_ind(table[6:].mean(axis=1), table[:6].mean(axis=1))
    ratio = found.coefficients["group[lumen]"]
    assert math.log(ratio.estimate) == pytest.approx(table[6:].mean() - table[:6].mean(), rel=1e-6)
    assert found.tests["group"].p_value == pytest.approx(t.pvalue, rel=1e-3)
    assert (found.tests["group"].rest_freedom, found.tests["time"].rest_freedom) == (10, 22)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    mean_square = 12 * np.sum((table.mean(axis=0) - table.mean()) ** 2) / 2
    assert found.tests["time"].statistic == pytest.approx(mean_square / (np.sum(rest**2) / 22), rel=1e-3)
    assert (ratio.unit, found.coefficients["intercept"].unit) == ("1", "%/g")
    assert found.n_subjects == 12


def test_main_effects_beside_an_interaction_are_those_of_averages(rng):
    """Group effect averaged over times, not that at the first time: F of the means of animals."""
    pytest.importorskip("statsmodels")
    value, group, time, animal = _livers(rng, 1.3)
    found = mixed_model(
        value, {"group": group, "time": time}, animal, interactions=[("group", "time")], logarithmic=True
    )
    means = np.log(value).reshape(12, 3).mean(axis=1)
    assert found.tests["group"].statistic == pytest.approx(
        stats.ttest_ind(means[:6], means[6:]).statistic ** 2, rel=1e-3
    )
    assert found.tests["group:time"].freedom == 2


def test_null_twins_of_twelve_mice_hold_five_percent():
    """Student's t of animals; with the normal distribution 8 % would be called significant."""
    pytest.importorskip("statsmodels")
    rng = np.random.default_rng(40)
    found = {"group": 0, "group:time": 0}
    for _ in range(80):
        value, group, time, animal = _livers(rng)
        tests = mixed_model(
            value, {"group": group, "time": time}, animal, interactions=[("group", "time")], logarithmic=True
        ).tests
        for name in found:
            found[name] += tests[name].p_value <= 0.05
    for count in found.values():
        low, high = binomial_interval(count, 80)
        assert low <= 0.05 <= high


def test_lesions_of_patients_give_slope_and_intraclass_correlation():
    pytest.importorskip("statsmodels")
    rng = np.random.default_rng(14)
    patient = np.repeat(np.arange(60), 5)
    uptake = rng.normal(size=300)
    response = (
        0.5 * uptake + math.sqrt(0.6) * rng.normal(size=60)[patient] + math.sqrt(0.4) * rng.normal(size=300)
    )
    found = mixed_model(response, {"uptake": uptake}, patient)
    assert not found.coefficients["uptake"].interval.excludes(0.5)
    assert found.intraclass_correlation == pytest.approx(0.6, abs=0.12)
    assert "240" not in found.coefficients["uptake"].method
    assert "239 degrees" in found.coefficients["uptake"].method


def test_models_that_cannot_be_told_apart_are_refused(rng):
    pytest.importorskip("statsmodels")
    value, group, time, animal = _livers(rng)
    with pytest.raises(it.IllConditioned, match="repeat each other"):
        mixed_model(value, {"group": group, "arm": group}, animal)
    with pytest.raises(it.IllConditioned, match="measured once"):
        mixed_model(value, {"group": group}, np.arange(36))
    with pytest.raises(ValueError, match="names a term"):
        mixed_model(value, {"group": group}, animal, interactions=[("group", "dose")])
    with pytest.raises(it.ImplausibleValue, match="not above zero"):
        mixed_model(-value, {"group": group}, animal, logarithmic=True)
    with pytest.raises(ValueError, match="one level"):
        mixed_model(value, {"group": ["a"] * 36}, animal)
    assert time.size == 36
