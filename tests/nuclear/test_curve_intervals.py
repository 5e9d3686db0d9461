"""Confidence intervals of curves: nominal 95 % contain the truth in 92-98 % of 500 simulated curves."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.nuclear import curves

HOUR = 3600.0
Y90_S = 64.1 * HOUR
DECAY = np.log(2) / Y90_S
SCANS_S = np.array([1, 4, 24, 48, 72]) * HOUR
TIME_S = np.array([0.5, 1, 2, 4, 8, 16, 24, 48, 72, 96]) * HOUR

ONE = (SCANS_S, ((1.0, 2 * DECAY),), 0.05)
TWO = (TIME_S, ((1.0, 1.5 * DECAY), (2.0, 30 * DECAY)), 0.03)
UPTAKE = (TIME_S, ((1.0, 1.5 * DECAY), (-1.0, 20 * DECAY)), 0.02)


@pytest.mark.parametrize(
    ("case", "parameter", "options"),
    [
        (ONE, "effective_half_life_s", {"terms": 1}),
        (TWO, "tiac_s", {"terms": 2}),
        (UPTAKE, "tiac_s", {"terms": 1, "uptake": True}),
        (ONE, "tiac_s", {"terms": 1, "method": "bootstrap", "n_resamples": 199}),
        (TWO, "tiac_s", {"terms": 2, "method": "bootstrap", "n_resamples": 199}),
        (ONE, "tiac_s", {"terms": 1, "standard_error": np.full(5, 0.05)}),
    ],
)
def test_nominal_intervals_cover_the_truth(case, parameter, options):
    time_s, truth, noise = case
    rng = np.random.default_rng(20260708)
    clean = sum(a * np.exp(-k * time_s) for a, k in truth)
    expected = sum(a / k for a, k in truth) if parameter == "tiac_s" else np.log(2) / truth[0][1]
    inside = 0
    for seed in range(500):
        measured = clean + noise * rng.standard_normal(time_s.size)
        found = curves.interval(measured, time_s, parameter=parameter, half_life_s=Y90_S, rng=seed, **options)
        inside += found.lower <= expected <= found.upper
    assert 0.92 <= inside / 500 <= 0.98


def test_bands_cover_the_curve():
    """Of 300 curves, at each of three times: 95 % within three standard deviations of that many."""
    time_s, truth, noise = TWO
    rng = np.random.default_rng(7)
    at_s = np.array([0.75, 12, 60]) * HOUR
    clean, expected = (sum(a * np.exp(-k * t) for a, k in truth) for t in (time_s, at_s))
    inside = np.zeros(3)
    for seed in range(300):
        measured = clean + noise * rng.standard_normal(time_s.size)
        lower, upper = curves.band(
            measured, time_s, at_s, terms=2, half_life_s=Y90_S, rng=seed, n_resamples=99
        )
        inside += (lower <= expected) & (expected <= upper)
    assert (abs(inside / 300 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 300)).all()


def test_a_band_is_about_the_fit_of_the_same_reference():
    time_s, truth, _ = ONE
    activity = truth[0][0] * np.exp(-truth[0][1] * time_s) * np.array([1.02, 0.98, 1.02, 0.98, 1.02])
    corrected = activity * np.exp(DECAY * time_s)
    lower, upper = curves.band(corrected, time_s, time_s, terms=1, half_life_s=Y90_S, decay_corrected=True)
    assert ((lower < corrected * 1.03) & (corrected * 0.97 < upper)).all()
    nothing = curves.band([2.0, 1.0], SCANS_S[:2], SCANS_S, terms=1, half_life_s=Y90_S)
    assert np.isnan(nothing).all()


def test_both_methods_agree_where_the_noise_is_small(rng):
    time_s, truth, noise = TWO
    measured = sum(a * np.exp(-k * time_s) for a, k in truth) + 0.2 * noise * rng.standard_normal(time_s.size)
    first, second = (
        curves.interval(measured, time_s, terms=2, half_life_s=Y90_S, method=method, n_resamples=1999)
        for method in ("covariance", "bootstrap")
    )
    assert first.value == second.value
    widths = [np.log(found.upper / found.lower) for found in (first, second)]
    assert widths[1] == pytest.approx(widths[0], rel=0.25)


def test_choice_by_criterion_is_made_once(rng):
    time_s, truth, noise = UPTAKE
    measured = sum(a * np.exp(-k * time_s) for a, k in truth) + noise * rng.standard_normal(time_s.size)
    chosen = curves.interval(measured, time_s, terms="auto", half_life_s=Y90_S, method="bootstrap")
    fixed = curves.interval(measured, time_s, terms=1, uptake=True, half_life_s=Y90_S, method="bootstrap")
    assert (chosen.value, chosen.lower, chosen.upper) == (fixed.value, fixed.lower, fixed.upper)


def test_seeds_repeat_and_references_do_not_matter(rng):
    time_s, truth, noise = ONE
    activity = truth[0][0] * np.exp(-truth[0][1] * time_s) + noise * rng.standard_normal(time_s.size)
    options = {"terms": 1, "half_life_s": Y90_S, "method": "bootstrap", "rng": 3}
    first, second = (curves.interval(activity, time_s, **options) for _ in range(2))
    assert first == second
    corrected = activity * np.exp(DECAY * time_s)
    weights = np.exp(-2 * DECAY * time_s)
    third = curves.interval(corrected, time_s, decay_corrected=True, weights=weights, **options)
    assert third.value == pytest.approx(first.value, rel=1e-6)
    assert third.upper == pytest.approx(first.upper, rel=1e-3)


def test_no_interval_without_a_standard_error():
    """At the physical decay the half-life has no error; with as many samples as parameters nothing has."""
    constant = curves.interval(
        np.exp(-0.5 * DECAY * SCANS_S), SCANS_S, parameter="effective_half_life_s", terms=1, half_life_s=Y90_S
    )
    assert constant.value == pytest.approx(Y90_S)
    assert np.isnan([constant.lower, constant.upper]).all()
    for method in ("covariance", "bootstrap"):
        two = curves.interval([2.0, 1.0], SCANS_S[[0, 3]], terms=1, half_life_s=Y90_S, method=method)
        assert np.isfinite(two.value)
        assert np.isnan([two.lower, two.upper]).all()
    nothing = curves.interval(np.full(5, np.nan), SCANS_S, terms=1, half_life_s=Y90_S)
    assert np.isnan([nothing.value, nothing.lower, nothing.upper]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "guess"}, "method"),
        ({"level": 95}, "level"),
        ({"parameter": "auc"}, "parameter"),
        ({"n_resamples": 5}, "n_resamples"),
        ({"activity": np.ones((2, 5))}, "one curve"),
        ({"terms": 3}, "parameters"),
    ],
)
def test_what_has_no_interval_is_refused(change, words):
    arguments = {"activity": np.ones(5), "terms": 1, "half_life_s": Y90_S} | change
    with pytest.raises(ValueError, match=words):
        curves.interval(arguments.pop("activity"), SCANS_S, **arguments)
