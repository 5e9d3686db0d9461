"""Cox regression against published estimates, and without its optional package."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.study.concordance import harrell
from imgtheranostics.study.statistics import cox_regression


@pytest.fixture
def cohort(rng):
    uptake = rng.lognormal(1.0, 0.9, 40)
    time = rng.exponential(6.0, 40) / 0.7 ** np.log2(uptake)
    return uptake, np.minimum(time, 12.0), time < 12.0


@pytest.fixture
def _statsmodels():
    pytest.importorskip("statsmodels")


@pytest.mark.usefixtures("_statsmodels")
def test_remissions_have_the_published_hazard_ratio(leukaemia):
    """R coxph, Efron ties: coefficient 1.572, SE 0.412; likelihood ratio 16.35 on 1 df; concordance 0.69."""
    time, event, group = leukaemia
    found = cox_regression(group == "placebo", time, event, logarithmic=False)
    assert found.coefficient == pytest.approx(1.572, abs=5e-4)
    assert found.standard_error == pytest.approx(0.412, abs=5e-4)
    assert found.likelihood_ratio_p_value == pytest.approx(math.erfc(math.sqrt(16.35 / 2)), rel=5e-3)
    assert found.concordance == pytest.approx(0.69, abs=5e-3)
    assert found.estimate == pytest.approx(math.exp(1.572), rel=1e-3)
    assert found.interval.low > 2
    assert (found.n, found.n_events) == (42, 30)


@pytest.mark.usefixtures("_statsmodels")
def test_limits_of_the_profile_lose_half_a_chi_square_quantile(cohort):
    from statsmodels.duration.hazard_regression import PHReg

    uptake, time, event = cohort
    found = cox_regression(uptake, time, event, n_resamples=0)
    model = PHReg(time, np.log2(uptake)[:, None], status=event.astype(int), ties="efron")
    best = model.loglike(np.array([found.coefficient]))
    for limit in found.interval:
        assert best - model.loglike(np.array([math.log(limit)])) == pytest.approx(1.920729, rel=1e-4)
    assert math.isnan(found.corrected_concordance)


@pytest.mark.usefixtures("_statsmodels")
def test_doubling_and_unit_scales_are_told_apart(cohort):
    uptake, time, event = cohort
    found = cox_regression(uptake, time, event, unit="%/kg", n_resamples=0)
    scaled = cox_regression(1000 * uptake, time, event, n_resamples=0)
    linear = cox_regression(uptake, time, event, logarithmic=False, unit="%/kg", n_resamples=0)
    tenfold = cox_regression(uptake / 10, time, event, logarithmic=False, n_resamples=0)
    assert found.measure == "hazard ratio per doubling of uptake"
    assert scaled.estimate == pytest.approx(found.estimate, rel=1e-6)
    assert linear.measure == "hazard ratio per %/kg of uptake"
    assert tenfold.coefficient == pytest.approx(10 * linear.coefficient, rel=1e-5)


@pytest.mark.usefixtures("_statsmodels")
def test_adjusted_model_with_ties_is_that_of_lifelines():
    """CoxPHFitter of lifelines 0.30.3 on the same 60 subjects."""
    rng = np.random.default_rng(3)
    uptake, dose = rng.lognormal(size=60), rng.normal(size=60)
    time = np.ceil(rng.exponential(8, 60) * np.exp(0.4 * dose))
    event = rng.uniform(size=60) < 0.7
    found = cox_regression(uptake, time, event, adjust={"dose": dose}, n_resamples=0)
    assert found.estimate == pytest.approx(0.938639, abs=1e-6)
    assert found.interval == pytest.approx((0.785729, 1.121307), abs=1e-5)
    assert found.adjusted_for["dose"] == pytest.approx(0.646701, abs=1e-6)
    assert found.wald_p_value == pytest.approx(0.485193, abs=1e-5)
    assert found.concordance == pytest.approx(0.634585, abs=1e-6)
    alone = cox_regression(uptake, time, event, n_resamples=0)
    assert (alone.coefficient, alone.standard_error) == pytest.approx((-0.028903, 0.091884), abs=1e-6)
    assert alone.likelihood_ratio_p_value == pytest.approx(0.753772, abs=1e-6)


@pytest.mark.usefixtures("_statsmodels")
def test_confounding_dose_is_adjusted_for():
    rng = np.random.default_rng(77)
    dose = rng.normal(size=200)
    uptake = np.exp(dose + 0.5 * rng.normal(size=200))
    time = rng.exponential(6.0, 200) * np.exp(dose)
    plain = cox_regression(uptake, time, np.ones(200), n_resamples=0)
    adjusted = cox_regression(uptake, time, np.ones(200), adjust={"dose": dose}, n_resamples=0)
    assert plain.interval.excludes(1.0)
    assert not adjusted.interval.excludes(1.0)
    assert adjusted.adjusted_for["dose"] == pytest.approx(math.exp(-1), rel=0.3)
    assert adjusted.p_value == adjusted.likelihood_ratio_p_value
    assert adjusted.p_value > 0.05


@pytest.mark.usefixtures("_statsmodels")
def test_concordance_loses_its_optimism_in_null_twins():
    """Without effect concordance is .5; fitted to 19 patients it is above, corrected it is near."""
    rng = np.random.default_rng(19)
    apparent, corrected = [], []
    for seed in range(30):
        time = rng.exponential(6.0, 19)
        found = cox_regression(
            rng.lognormal(size=19), np.minimum(time, 12), time < 12, rng=seed, n_permutations=99
        )
        apparent.append(found.concordance)
        corrected.append(found.corrected_concordance)
    assert np.mean(apparent) > 0.54
    assert abs(np.mean(corrected) - 0.5) < abs(np.mean(apparent) - 0.5)


def test_concordance_counts_pairs_as_defined():
    """Pairs: (2,5) and (2,7) right, (5,7) wrong; the subject censored at 1 is in none."""
    found = harrell(
        np.array([9.0, 5.0, 1.0, 3.0]), np.array([1.0, 2, 5, 7]), np.array([False, True, True, True])
    )
    assert found == pytest.approx(2 / 3)
    tied = harrell(np.array([1.0, 1.0]), np.array([1.0, 2.0]), np.array([True, True]))
    assert tied == 0.5
    assert math.isnan(harrell(np.ones(2), np.ones(2), np.array([False, True])) - 0.5) is False


@pytest.mark.usefixtures("_statsmodels")
def test_uptake_that_orders_all_events_has_no_hazard_ratio():
    with pytest.raises(it.IllConditioned, match="no finite estimate"):
        cox_regression(np.arange(1.0, 13.0), np.arange(12.0, 0.0, -1.0), np.ones(12))


@pytest.mark.usefixtures("_statsmodels")
def test_uptake_of_zero_has_no_logarithm(cohort):
    uptake, time, event = cohort
    uptake[3] = 0.0
    with pytest.raises(it.ImplausibleValue, match="not above zero in 1 subjects"):
        cox_regression(uptake, time, event)
    assert cox_regression(uptake, time, event, logarithmic=False, n_resamples=0).n == 40


@pytest.mark.usefixtures("_statsmodels")
def test_few_events_are_told(cohort):
    uptake, time, event = cohort
    event = event & (np.cumsum(event) <= 8)
    found = cox_regression(uptake, time, event, n_resamples=0)
    assert [warning.code for warning in found.warnings] == ["few-events"]
    assert found.n_events == 8


def test_without_the_extra_the_refusal_names_it(monkeypatch, cohort):
    for name in [one for one in sys.modules if one.startswith("statsmodels")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    with pytest.raises(it.UnsupportedInput, match="statsmodels") as refusal:
        cox_regression(*cohort)
    assert "imgtheranostics[stats]" in refusal.value.next_step
    with pytest.raises(it.UnsupportedInput, match="mixed model"):
        it.study.mixed_model(cohort[0], {"time": cohort[1]}, np.arange(40) // 2)
