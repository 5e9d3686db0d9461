"""Exponentials fitted to activity curves: closed forms, SciPy's least squares, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import least_squares

from imgtheranostics.nuclear import curves
from imgtheranostics.volume import Flag

HOUR = 3600.0
Y90_S = 64.1 * HOUR
TIME_S = np.array([0.5, 1, 2, 4, 8, 16, 24, 48, 72, 96]) * HOUR
DECAY = np.log(2) / Y90_S


def exponentials(time_s, *terms):
    return sum(a * np.exp(-k * np.asarray(time_s)) for a, k in terms)


def value(fit, name):
    return float(fit.parameters[name])


def test_one_phase_has_the_half_lives_and_the_area_of_the_closed_form():
    """12 %ID/g, biological 60 h, 90Y: effective 31.0 h; area f T_eff / ln 2 (pet.md, sections 3.4 and 6)."""
    share = 0.12 * 2 ** (-TIME_S / Y90_S - TIME_S / (60 * HOUR))
    fit = curves.fit_exponential(share, TIME_S, terms=1, half_life_s=Y90_S)
    effective = 1 / (1 / 64.1 + 1 / 60)
    assert value(fit, "effective_half_life_s") / HOUR == pytest.approx(effective, rel=1e-9)
    assert value(fit, "biological_half_life_s") / HOUR == pytest.approx(60, rel=1e-8)
    assert value(fit, "tiac_s") == pytest.approx(0.12 * effective * HOUR / np.log(2), rel=1e-9)
    assert value(fit, "mean_residence_time_s") == pytest.approx(effective * HOUR / np.log(2), rel=1e-9)
    assert value(fit, "extrapolated_fraction") == pytest.approx(2 ** (-96 / effective), rel=1e-9)
    assert fit.flags == 0
    assert fit.units["tiac_s"] == "s"
    assert fit.units["rate_1_per_s"] == "1/s"


TRUTHS = {
    "two phases": ((1.0, 1.5 * DECAY), (2.0, 30 * DECAY)),
    "uptake and clearance": ((1.0, 1.5 * DECAY), (-0.8, 30 * DECAY)),
    "uptake from nothing": ((1.0, 1.5 * DECAY), (-1.0, 30 * DECAY)),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_two_phases_are_recovered_from_samples_without_noise(name):
    truth = TRUTHS[name]
    fit = curves.fit_exponential(exponentials(TIME_S, *truth), TIME_S, terms=2, half_life_s=Y90_S)
    for j, (amplitude, rate) in enumerate(truth, 1):
        assert value(fit, f"amplitude_{j}") == pytest.approx(amplitude, rel=1e-6)
        assert value(fit, f"rate_{j}_per_s") == pytest.approx(rate, rel=1e-6)
    area = quad(lambda t: float(exponentials(t, *truth)), 0, 60 * Y90_S, limit=500, epsabs=0)[0]
    assert value(fit, "tiac_s") == pytest.approx(area, rel=1e-6)
    moment = quad(lambda t: t * float(exponentials(t, *truth)), 0, 80 * Y90_S, limit=500, epsabs=0)[0]
    assert value(fit, "mean_residence_time_s") == pytest.approx(moment / area, rel=1e-6)


def test_three_phases_with_uptake_are_recovered():
    time_s = np.geomspace(0.05, 200, 24) * HOUR
    truth = ((1.0, 1.3 * DECAY), (2.0, 8 * DECAY), (-3.0, 200 * DECAY))
    fit = curves.fit_exponential(
        exponentials(time_s, *truth), time_s, terms=2, half_life_s=Y90_S, uptake=True
    )
    found = [(value(fit, f"amplitude_{j}"), value(fit, f"rate_{j}_per_s")) for j in (1, 2, 3)]
    assert np.array(found) == pytest.approx(np.array(truth), rel=1e-5)


def test_decay_corrected_samples_give_the_same_answer():
    truth = TRUTHS["two phases"]
    activity = exponentials(TIME_S, *truth)
    plain = curves.fit_exponential(activity, TIME_S, terms=2, half_life_s=Y90_S)
    corrected = curves.fit_exponential(
        activity * np.exp(DECAY * TIME_S), TIME_S, terms=2, half_life_s=Y90_S, decay_corrected=True
    )
    for name in ("tiac_s", "effective_half_life_s", "rate_2_per_s", "mean_residence_time_s"):
        assert value(corrected, name) == pytest.approx(value(plain, name), rel=1e-6)


@given(
    biological=st.floats(0.3, 20.0),
    faster=st.floats(4.0, 15.0),
    share=st.floats(0.2, 5.0),
    size=st.floats(1e-6, 1e8),
)
def test_phases_far_enough_apart_are_found_at_any_scale(biological, faster, share, size):
    rate = DECAY * (1 + biological / 10)
    truth = ((size, rate), (share * size, faster * rate))
    time_s = np.array([0.1, 0.3, 0.6, 1, 2, 3, 5, 8, 12, 18, 30]) / rate / 8
    fit = curves.fit_exponential(exponentials(time_s, *truth), time_s, terms=2, half_life_s=Y90_S)
    area = sum(a / k for a, k in truth)
    assert value(fit, "tiac_s") == pytest.approx(area, rel=1e-4)


def test_minimum_and_errors_equal_those_of_scipy(rng):
    """Bounded least squares of SciPy from the truth; errors from its Jacobian over c4 of 6 degrees."""
    truth = TRUTHS["two phases"]
    measured = exponentials(TIME_S, *truth) + 0.03 * rng.standard_normal((20, TIME_S.size))
    weights = np.linspace(1, 3, TIME_S.size)
    fit = curves.fit_exponential(measured, TIME_S, terms=2, half_life_s=Y90_S, weights=weights, uptake=False)
    scaled = TIME_S / TIME_S[-1]
    least = DECAY * TIME_S[-1]
    for row, curve in enumerate(measured):
        peer = least_squares(
            lambda p, y=curve: (
                np.sqrt(weights) * (p[0] * np.exp(-p[1] * scaled) + p[2] * np.exp(-p[3] * scaled) - y)
            ),
            [1.0, 1.5 * least, 2.0, 30 * least],
            bounds=([0, least, 0, least], np.inf),
            x_scale=[1, least, 1, 30 * least],
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
        )
        a, k, b, q = peer.x
        assert fit.parameters["tiac_s"][row] == pytest.approx((a / k + b / q) * TIME_S[-1], rel=1e-5)
        assert fit.flags[row] == 0
        covariance = np.linalg.inv(peer.jac.T @ peer.jac) * 2 * peer.cost / 6
        slope = np.array([1 / k, -a / k**2, 1 / q, -b / q**2])
        error = np.sqrt(slope @ covariance @ slope) * TIME_S[-1] / 0.9594
        assert fit.standard_errors["tiac_s"][row] == pytest.approx(error, rel=1e-3)
        by_rate = np.sqrt(covariance[1, 1]) / TIME_S[-1] / 0.9594
        assert fit.standard_errors["rate_1_per_s"][row] == pytest.approx(by_rate, rel=1e-3)


def test_standard_errors_are_the_scatter_of_repeats(rng):
    truth = exponentials(TIME_S, *TRUTHS["two phases"])
    measured = truth + 0.02 * rng.standard_normal((4000, TIME_S.size))
    fit = curves.fit_exponential(measured, TIME_S, terms=2, half_life_s=Y90_S)
    for name in ("tiac_s", "amplitude_1", "rate_1_per_s", "extrapolated_fraction"):
        scatter = fit.parameters[name].std()
        assert fit.standard_errors[name].mean() == pytest.approx(scatter, rel=0.05), name


def test_given_errors_replace_the_residuals(rng):
    share = exponentials(TIME_S, (1.0, 2 * DECAY))
    once = curves.fit_exponential(
        share, TIME_S, terms=1, half_life_s=Y90_S, standard_error=np.full(TIME_S.size, 0.01)
    )
    twice = curves.fit_exponential(
        share, TIME_S, terms=1, half_life_s=Y90_S, standard_error=np.full(TIME_S.size, 0.02)
    )
    assert once.standard_errors["tiac_s"] > 0
    assert twice.standard_errors["tiac_s"] == pytest.approx(2 * once.standard_errors["tiac_s"], rel=1e-9)


def test_nothing_falls_more_slowly_than_the_nuclide_decays():
    """A curve that grows biologically is taken as constant: effective half-life the physical one."""
    growing = np.exp(-0.5 * DECAY * TIME_S)
    fit = curves.fit_exponential(growing, TIME_S, terms=1, half_life_s=Y90_S)
    assert value(fit, "effective_half_life_s") == pytest.approx(Y90_S, rel=1e-12)
    assert np.isinf(value(fit, "biological_half_life_s"))
    assert np.isnan(fit.standard_errors["effective_half_life_s"])
    assert np.isfinite(fit.standard_errors["tiac_s"])
    assert fit.flags & Flag.AT_BOUND.value


@pytest.mark.parametrize("corrected", [False, True])
@given(seed=st.integers(0, 10_000))
def test_rates_never_pass_the_physical_decay(corrected, seed):
    noise = np.random.default_rng(seed).standard_normal((30, TIME_S.size))
    measured = np.exp(-1.01 * DECAY * TIME_S * (0 if corrected else 1)) + 0.2 * noise
    for terms in (1, 2):
        fit = curves.fit_exponential(
            measured, TIME_S, terms=terms, half_life_s=Y90_S, decay_corrected=corrected
        )
        rate = fit.parameters["terminal_rate_per_s"]
        assert np.nanmin(rate) >= DECAY * (1 - 1e-12)


@pytest.mark.parametrize(
    ("truth", "terms"),
    [
        (((1.0, 1.5 * DECAY),), 1),
        (((1.0, 1.5 * DECAY), (2.0, 30 * DECAY)), 2),
        (((1.0, 1.5 * DECAY), (-1.0, 30 * DECAY)), 1),
    ],
)
def test_criterion_takes_the_model_that_made_the_curve(rng, truth, terms):
    """AICc of Burnham and Anderson; an uptake from nothing costs one parameter less than a second phase."""
    measured = exponentials(TIME_S, *truth) + 0.005 * rng.standard_normal((200, TIME_S.size))
    fit = curves.fit_exponential(measured, TIME_S, terms="auto", half_life_s=Y90_S)
    assert np.mean(fit.parameters["terms"] == terms) > 0.8
    assert (np.nan_to_num(fit.parameters["amplitude_2"]) < 0).mean() == pytest.approx(
        float(truth[-1][0] < 0), abs=0.2
    )


def test_criterion_is_that_of_the_formula(rng):
    measured = exponentials(TIME_S, (1.0, 2 * DECAY)) + 0.01 * rng.standard_normal(TIME_S.size)
    fit = curves.fit_exponential(measured, TIME_S, terms=1, half_life_s=Y90_S)
    n, k = TIME_S.size, 3
    expected = (
        n * np.log(value(fit, "aicc") * 0 + float(fit.rmse) ** 2) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    )
    assert value(fit, "aicc") == pytest.approx(expected, rel=1e-9)


def test_few_samples_leave_only_the_model_that_they_carry():
    share = exponentials(TIME_S[:3], (1.0, 2 * DECAY))
    fit = curves.fit_exponential(share, TIME_S[:3], terms="auto", half_life_s=Y90_S)
    assert value(fit, "terms") == 1
    two = curves.fit_exponential(share[:2], TIME_S[:2], terms=1, half_life_s=Y90_S)
    assert value(two, "rate_1_per_s") == pytest.approx(2 * DECAY, rel=1e-6)
    assert np.isnan(two.standard_errors["rate_1_per_s"])


def test_samples_of_weight_zero_do_not_count():
    share = exponentials(TIME_S, (1.0, 2 * DECAY))
    spoilt, weights = share.copy(), np.ones(TIME_S.size)
    spoilt[3], weights[3] = 50.0, 0.0
    fit = curves.fit_exponential(spoilt, TIME_S, terms=1, half_life_s=Y90_S, weights=weights)
    assert value(fit, "rate_1_per_s") == pytest.approx(2 * DECAY, rel=1e-7)


def test_curves_that_are_not_finite_are_nan_and_flagged():
    share = np.tile(exponentials(TIME_S, (1.0, 2 * DECAY)), (4, 1)).astype(np.float32)
    share[0, 2] = np.nan
    share[1, 5] = np.inf
    mask = np.array([True, True, True, False])
    fit = curves.fit_exponential(share, TIME_S, terms=1, half_life_s=Y90_S, mask=mask)
    assert fit.parameters["tiac_s"].dtype == np.float32
    assert np.isnan(fit.parameters["tiac_s"][[0, 1, 3]]).all()
    assert list(fit.flags) == [Flag.INVALID_INPUT.value] * 2 + [0, Flag.MASKED_OUT.value]


def test_negative_activity_is_flagged_and_never_a_negative_result():
    share = np.stack([exponentials(TIME_S, (1.0, 2 * DECAY))] * 3)
    share[0, -1] = -0.01
    share[1] *= -1
    share[2] = 0.0
    fit = curves.fit_exponential(share, TIME_S, terms=1, half_life_s=Y90_S)
    assert fit.flags[0] & Flag.NEGATIVE_AMPLITUDE.value
    assert fit.parameters["tiac_s"][0] > 0
    assert fit.flags[1] == Flag.NEGATIVE_AMPLITUDE.value | Flag.BELOW_NOISE.value
    assert fit.flags[2] == Flag.BELOW_NOISE.value
    assert np.isnan(fit.parameters["tiac_s"][1:]).all()


def test_a_phase_that_is_not_there_is_flagged():
    share = exponentials(TIME_S, (1.0, 2 * DECAY)) + np.array([0.02, -0.02] * 5)
    fit = curves.fit_exponential(np.maximum(share, 0), TIME_S, terms=3, half_life_s=Y90_S, uptake=False)
    assert fit.flags & (Flag.AT_BOUND.value | Flag.ILL_CONDITIONED.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time_s": TIME_S[::-1]}, "increase"),
        ({"time_s": np.r_[TIME_S[0], TIME_S[:-1]]}, "increase"),
        ({"time_s": TIME_S - HOUR}, "injection"),
        ({"time_s": np.r_[TIME_S[:-1], np.nan]}, "finite"),
        ({"terms": 4}, "terms"),
        ({"terms": True}, "terms"),
        ({"uptake": "yes"}, "uptake"),
        ({"half_life_s": 0.0}, "half-life"),
        ({"half_life_s": np.inf}, "half-life"),
        ({"half_life_s": [1.0, 2.0]}, "one number"),
        ({"activity": np.ones(9)}, "samples"),
        ({"activity": np.ones(3), "time_s": TIME_S[:3], "terms": 2}, "4 parameters"),
        ({"activity": np.ones(5), "time_s": TIME_S[:5], "terms": 3}, "6 parameters"),
        ({"weights": [1, 1, 0, 0, 0, 0, 0, 0, 0, 0], "terms": 2}, "4 parameters"),
        ({"weights": -np.ones(10)}, "weights"),
        ({"weights": np.ones(4)}, "weights"),
        ({"standard_error": np.zeros(10)}, "standard_error"),
        ({"standard_error": np.ones(10), "weights": np.ones(10)}, "not both"),
        ({"administered": 0.0}, "administered"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, words):
    arguments = {"activity": np.ones(10), "time_s": TIME_S, "terms": 1, "half_life_s": Y90_S} | change
    with pytest.raises(ValueError, match=words):
        curves.fit_exponential(arguments.pop("activity"), arguments.pop("time_s"), **arguments)


def test_times_too_close_for_the_phases_are_refused():
    time_s = 1e7 + np.arange(7.0)
    with pytest.raises(ValueError, match="too close"):
        curves.fit_exponential(np.ones(7), time_s, terms=3, half_life_s=Y90_S)
    fit = curves.fit_exponential(np.ones(7), time_s, terms="auto", half_life_s=Y90_S)
    assert value(fit, "terms") == 1


def test_measured_plasma_curves_have_the_minimum_of_scipy(public_data):
    """Fall of [11C]PBR28 in plasma after 3 min, two phases; SciPy's bounded search from four starts each."""
    rows = (public_data("pet/pbr28") / "pbr28_blooddata.csv").read_text().split()[1:]
    whole = {}
    for row in rows:
        name, seconds, _, plasma = row.split(",")
        whole.setdefault(name, []).append((float(seconds), float(plasma)))
    half_life_s, checked = 1221.8, 0
    for name in sorted(whole)[:12]:
        time_s, activity = np.array(whole[name]).T
        later = np.flatnonzero(time_s >= 180)
        later = later[:: max(1, later.size // 40)]
        time_s, activity = time_s[later], activity[later] * np.exp(-np.log(2) / half_life_s * time_s[later])
        fit = curves.fit_exponential(activity, time_s, terms=2, half_life_s=half_life_s)
        if fit.flags:
            continue
        scaled, least = time_s / time_s[-1], np.log(2) / half_life_s * time_s[-1]

        def left(p, t=scaled, y=activity):
            return p[0] * np.exp(-p[1] * t) + p[2] * np.exp(-p[3] * t) - y

        peers = [
            least_squares(
                left, [activity[-1], slow * least, activity[0], fast * least],
                bounds=([0, least, 0, least], [np.inf, np.inf, np.inf, 5 / scaled[0]]), xtol=1e-13,
                ftol=1e-13,
            )
            for slow in (1.2, 3) for fast in (5, 20)
        ]  # fmt: skip
        best = min(peer.cost for peer in peers) * 2
        assert float(fit.rmse) ** 2 * time_s.size <= best * (1 + 1e-6)
        checked += 1
    assert checked >= 6


def test_a_single_phase_may_have_fallen_far_before_the_first_sample():
    """Ten half-lives before the first scan: the rate is that of the scans."""
    time_s = np.array([10.0, 11, 12, 13]) * HOUR
    fit = curves.fit_exponential(2.0 ** (-time_s / HOUR), time_s, terms=1, half_life_s=1.5 * HOUR)
    assert value(fit, "effective_half_life_s") == pytest.approx(HOUR, rel=1e-8)
    assert value(fit, "amplitude_1") == pytest.approx(1.0, rel=1e-7)
    assert fit.flags == 0


def test_no_phase_is_made_of_the_first_sample(rng):
    """A first sample that is high by noise is not the end of a phase that nobody saw.

    Without a bound its area, extrapolated to the injection, exceeds that of the curve by orders of magnitude.
    """
    time_s = np.r_[180.0, 183, 186, 189, 192, 240, 600, 2400, 4200]
    activity = np.exp(-time_s / 1500)
    activity[0] += 0.2
    fit = curves.fit_exponential(activity, time_s, terms=2, half_life_s=1221.8)
    assert value(fit, "rate_2_per_s") - value(fit, "rate_1_per_s") <= 5 / 180 * (1 + 1e-9)
    assert value(fit, "tiac_s") < 3 * 1500
    assert fit.flags & (Flag.AT_BOUND.value | Flag.ILL_CONDITIONED.value)


def test_numbers_do_not_depend_on_the_threads(rng):
    measured = exponentials(TIME_S, *TRUTHS["two phases"]) + 0.05 * rng.standard_normal((3000, 10))
    one, two = (
        curves.fit_exponential(measured, TIME_S, terms=2, half_life_s=Y90_S, workers=n) for n in (1, 2)
    )
    for name, found in one.parameters.items():
        assert found.tobytes() == two.parameters[name].tobytes()
