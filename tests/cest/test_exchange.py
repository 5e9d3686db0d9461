"""Exchange rates from powers and times of saturation, against the formulas of cest.md (F13-F15)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.cest import exchange
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.volume import Flag

GAMMA = 2 * np.pi * 42.5764
B1 = np.array([1.0, 2.0, 3.0, 4.0, 6.0])
TIMES = np.array([0.5, 1.0, 2.0, 3.0, 5.0, 8.0])
RATE, FRACTION, R1, TIME = 800.0, 1e-3, 0.5, 3.0
NAMES = ("exchange_rate_per_s", "fraction")


def mtr_asym(rate, fraction, *, b1=B1, time=TIME, r1=R1):
    alpha = (GAMMA * b1) ** 2 / ((GAMMA * b1) ** 2 + rate**2)
    total = r1 + fraction * rate
    return fraction * rate * alpha / total * (1 - np.exp(-total * time))


def mtr_rex(rate, fraction, *, b1=B1, r1=R1):
    return fraction * rate * (GAMMA * b1) ** 2 / ((GAMMA * b1) ** 2 + rate**2) / r1


def by_omega_plot(rate=RATE, fraction=FRACTION, *, noise=0.0, r1=R1, **more):
    return exchange.omega_plot(mtr_rex(rate, fraction) + noise, b1_ut=B1, r1_per_s=r1, **more)


def by_hanes_woolf(rate=RATE, fraction=FRACTION, *, noise=0.0, r1=R1, **more):
    return exchange.hanes_woolf(mtr_rex(rate, fraction) + noise, b1_ut=B1, r1_per_s=r1, **more)


def by_quesp(rate=RATE, fraction=FRACTION, *, noise=0.0, r1=R1, **more):
    values = mtr_asym(rate, fraction) + noise
    return exchange.quesp(values, b1_ut=B1, r1_per_s=r1, saturation_time_s=TIME, **more)


def by_inverse_quesp(rate=RATE, fraction=FRACTION, *, noise=0.0, r1=R1, **more):
    return exchange.quesp(mtr_rex(rate, fraction) + noise, b1_ut=B1, r1_per_s=r1, metric="mtr_rex", **more)


def by_quest(rate=RATE, fraction=FRACTION, *, noise=0.0, r1=R1, **more):
    values = mtr_asym(rate, fraction, b1=2.0, time=TIMES) + noise
    return exchange.quest(values, b1_ut=2.0, r1_per_s=r1, saturation_time_s=TIMES, **more)


def mtr_labelled(rate, fraction, *, b1=B1, time=TIME, r1=R1):
    met = fraction * rate * (GAMMA * b1) ** 2 / ((GAMMA * b1) ** 2 + rate**2)
    return met / (r1 + met) * (1 - np.exp(-(r1 + met) * time))


def by_labelled_quesp(rate=RATE, fraction=FRACTION, *, noise=0.0, r1=R1, **more):
    values = mtr_labelled(rate, fraction) + noise
    return exchange.quesp(values, b1_ut=B1, r1_per_s=r1, saturation_time_s=TIME, form="labelled", **more)


def by_growth(rate=RATE, fraction=FRACTION, *, noise=0.0, r1=R1, **more):
    values = mtr_labelled(rate, fraction, b1=4.0, time=TIMES) + noise
    return exchange.quest(values, b1_ut=4.0, r1_per_s=r1, saturation_time_s=TIMES, fraction=fraction, **more)


METHODS = (by_omega_plot, by_hanes_woolf, by_quesp, by_inverse_quesp, by_labelled_quesp, by_quest)


def samples(method):
    return TIMES.size if method is by_quest else B1.size


@pytest.mark.parametrize("method", METHODS)
@given(rate=st.floats(100, 5000), concentration_mm=st.floats(1, 100))
def test_points_of_the_formula_are_given_back_exactly(method, rate, concentration_mm):
    """The sheet's oracle: F14 returns f and k exactly from F13 points; f of two protons by F16."""
    fraction = 2 * concentration_mm / 111e3
    found = method(rate, fraction)
    assert found.flags == 0
    np.testing.assert_allclose(found.parameters["exchange_rate_per_s"], rate, rtol=1e-6)
    np.testing.assert_allclose(found.parameters["fraction"], fraction, rtol=1e-6)
    assert dict(found.units) == {"exchange_rate_per_s": "1/s", "fraction": "1"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("known", [False, True])
def test_standard_errors_are_the_scatter_of_repeats(method, known, rng):
    repeats, sd = 4000, 1e-3
    noise = rng.normal(0, sd, (repeats, samples(method)))
    found = method(noise=noise, noise_sd=sd) if known else method(noise=noise)
    assert (found.flags == 0).all()
    for name in NAMES:
        scatter = found.parameters[name].std()
        assert found.standard_errors[name].mean() == pytest.approx(scatter, rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_error_of_r1_is_carried_on(method, rng):
    """Repeats of R1 with its error, and hardly any noise besides."""
    r1 = R1 * (1 + 0.02 * rng.normal(size=2000))
    found = method(noise=np.zeros((2000, samples(method))), r1=r1, r1_se_per_s=0.02 * R1, noise_sd=1e-8)
    for name in NAMES:
        scatter = found.parameters[name].std() / found.parameters[name].mean()
        error = (found.standard_errors[name] / found.parameters[name]).mean()
        # A rate that does not depend on R1 keeps the error that the noise leaves it, some 1e-6.
        assert error == pytest.approx(scatter, rel=0.05, abs=2e-6)


def test_unequal_noise_is_weighted(rng):
    """The points that noise hides must not decide: the weighted lines scatter as least squares does."""
    sd = np.array([4e-3, 1e-3, 1e-3, 4e-3, 1e-3])
    noise = sd * rng.normal(size=(3000, 5))
    plain, best = by_omega_plot(noise=noise), by_omega_plot(noise=noise, noise_sd=sd)
    reference = by_inverse_quesp(noise=noise, noise_sd=sd)
    spread = [np.nanstd(fit.parameters["exchange_rate_per_s"]) for fit in (plain, best, reference)]
    assert spread[1] < 0.6 * spread[0]
    assert spread[1] == pytest.approx(spread[2], rel=0.02)
    np.testing.assert_allclose(
        by_hanes_woolf(noise=noise, noise_sd=sd).parameters["fraction"],
        best.parameters["fraction"],
        rtol=1e-9,
    )


def test_omega_plot_without_noise_level_is_the_published_line(rng):
    """A plain regression of 1/MTRrex over 1/w1^2, by numpy."""
    values = mtr_rex(RATE, FRACTION) + rng.normal(0, 2e-3, 5)
    slope, intercept = np.polyfit(1 / (GAMMA * B1) ** 2, 1 / values, 1)
    found = exchange.omega_plot(values, b1_ut=B1, r1_per_s=R1).parameters
    rate = np.sqrt(slope / intercept)
    assert found["exchange_rate_per_s"] == pytest.approx(rate, rel=1e-9)
    assert found["fraction"] == pytest.approx(R1 / (intercept * rate), rel=1e-9)
    slope, intercept = np.polyfit((GAMMA * B1) ** 2, (GAMMA * B1) ** 2 / values, 1)
    found = exchange.hanes_woolf(values, b1_ut=B1, r1_per_s=R1).parameters
    rate = np.sqrt(intercept / slope)
    assert found["exchange_rate_per_s"] == pytest.approx(rate, rel=1e-9)
    assert found["fraction"] == pytest.approx(R1 / (slope * rate), rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_weaker_field_scales_the_rate(method):
    """Labelling depends on w1/k alone, growth on f k: with 0.8 of the power, k is 0.8 and f 1/0.8 of it."""
    found = method(relative_b1=0.8)
    assert found.parameters["exchange_rate_per_s"] == pytest.approx(0.8 * RATE, rel=1e-6)
    assert found.parameters["fraction"] == pytest.approx(FRACTION / 0.8, rel=1e-6)
    assert method(relative_b1=0.0).flags == Flag.INVALID_B1


@pytest.mark.parametrize("method", [by_omega_plot, by_hanes_woolf, by_quesp, by_inverse_quesp])
def test_rate_far_above_the_powers_is_not_known(method, rng):
    """With 40,000/s at up to 6 uT (1,605 rad/s): the intercept is not above its error."""
    found = method(4e4, 1e-2, noise=rng.normal(0, 2e-3, (2000, 5)), noise_sd=2e-3)
    unknown = (found.flags & (Flag.ILL_CONDITIONED | Flag.OUTSIDE_RANGE | Flag.BELOW_NOISE)) != 0
    # An intercept of 0 is two standard errors above 0 in 2 % of repeats.
    assert unknown.mean() > 0.95
    np.testing.assert_array_equal(np.isnan(found.parameters["exchange_rate_per_s"]), unknown)
    np.testing.assert_array_equal(np.isnan(found.parameters["fraction"]), unknown)


def test_rate_far_below_the_powers_is_not_known(rng):
    """A rate of 5/s is labelled completely by every power: the slope is not above its error."""
    for method in (by_omega_plot, by_inverse_quesp):
        found = method(5.0, 2e-2, noise=rng.normal(0, 2e-3, (2000, 5)), noise_sd=2e-3)
        assert ((found.flags & (Flag.ILL_CONDITIONED | Flag.OUTSIDE_RANGE)) != 0).mean() > 0.95
        assert np.isnan(found.parameters["fraction"][found.flags != 0]).all()


def test_line_that_falls_the_wrong_way_is_outside_the_range():
    falling = 1 / mtr_rex(RATE, FRACTION)[::-1]
    for method in (exchange.omega_plot, exchange.hanes_woolf):
        found = method(1 / falling, b1_ut=B1, r1_per_s=R1)
        assert found.flags & Flag.OUTSIDE_RANGE
        assert np.isnan(found.parameters["exchange_rate_per_s"])


def test_fraction_of_one_or_more_is_refused():
    found = by_inverse_quesp(RATE, 1.5)
    assert found.flags == Flag.OUTSIDE_RANGE
    assert np.isnan(found.parameters["fraction"])


@pytest.mark.parametrize("method", METHODS)
def test_noise_alone_gives_nothing(method, rng):
    found = method(0.1, 1e-9, noise=rng.normal(0, 1e-2, (500, samples(method))), noise_sd=1e-2)
    assert (np.isnan(found.parameters["exchange_rate_per_s"])).mean() > 0.99
    assert ((found.flags & Flag.BELOW_NOISE) != 0).mean() > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_two_points_leave_no_error(method):
    chosen = np.array([0, 3])
    if method is by_quest:
        values = mtr_asym(RATE, FRACTION, b1=2.0, time=TIMES[chosen])
        found = exchange.quest(values, b1_ut=2.0, r1_per_s=R1, saturation_time_s=TIMES[chosen])
    elif method in (by_quesp, by_labelled_quesp):
        model, form = (mtr_asym, "published") if method is by_quesp else (mtr_labelled, "labelled")
        values = model(RATE, FRACTION, b1=B1[chosen])
        found = exchange.quesp(values, b1_ut=B1[chosen], r1_per_s=R1, saturation_time_s=TIME, form=form)
    else:
        values = mtr_rex(RATE, FRACTION, b1=B1[chosen])
        name = {by_omega_plot: "omega_plot", by_hanes_woolf: "hanes_woolf"}.get(method, "quesp")
        more = {"metric": "mtr_rex"} if name == "quesp" else {}
        found = getattr(exchange, name)(values, b1_ut=B1[chosen], r1_per_s=R1, **more)
    assert found.parameters["exchange_rate_per_s"] == pytest.approx(RATE, rel=1e-6)
    assert np.isnan(found.standard_errors["exchange_rate_per_s"])


def test_times_may_differ_between_powers():
    time = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = exchange.quesp(mtr_asym(RATE, FRACTION, time=time), b1_ut=B1, r1_per_s=R1, saturation_time_s=time)
    assert found.parameters["exchange_rate_per_s"] == pytest.approx(RATE, rel=1e-8)
    steady = exchange.quesp(
        mtr_asym(RATE, FRACTION, time=1e5), b1_ut=B1, r1_per_s=R1, saturation_time_s=np.inf
    )
    assert steady.parameters["fraction"] == pytest.approx(FRACTION, rel=1e-8)


def test_order_of_powers_does_not_matter(rng):
    order = rng.permutation(5)
    values = mtr_rex(RATE, FRACTION) + rng.normal(0, 1e-3, 5)
    one = exchange.omega_plot(values, b1_ut=B1, r1_per_s=R1)
    other = exchange.omega_plot(values[order], b1_ut=B1[order], r1_per_s=R1)
    for name in NAMES:
        assert other.parameters[name] == pytest.approx(one.parameters[name], rel=1e-10)
        assert other.standard_errors[name] == pytest.approx(one.standard_errors[name], rel=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_shapes_types_masks_and_bad_samples(method):
    values = np.zeros((2, 3, samples(method)))
    values[0, 1, 2], values[1, 2, 0] = np.nan, np.inf
    mask = np.ones((2, 3), bool)
    mask[0, 0] = False
    r1 = np.full((2, 3), R1)
    r1[1, 0], r1[1, 1] = np.nan, -1.0
    found = method(noise=values, mask=mask, r1=r1)
    expected = np.zeros((2, 3), int)
    expected[0, 0] = Flag.MASKED_OUT
    expected[[0, 1, 1, 1], [1, 0, 1, 2]] = Flag.INVALID_INPUT
    np.testing.assert_array_equal(found.flags, expected)
    for name in NAMES:
        np.testing.assert_array_equal(np.isnan(found.parameters[name]), expected != 0)
        assert found.parameters[name].dtype == np.float64
    single = method(noise=values.astype(np.float32)).parameters["fraction"]
    assert single.dtype == np.float64  # float32 noise on float64 values of this test


def test_single_precision_stays_single():
    values = mtr_rex(RATE, FRACTION).astype(np.float32)
    for found in (
        exchange.omega_plot(values, b1_ut=B1, r1_per_s=R1),
        exchange.quesp(values, b1_ut=B1, r1_per_s=R1, metric="mtr_rex"),
    ):
        arrays = [*found.parameters.values(), *found.standard_errors.values(), found.rmse, found.r_squared]
        assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
        assert found.parameters["exchange_rate_per_s"] == pytest.approx(RATE, rel=1e-5)


def test_goodness_of_fit_is_that_of_the_given_values(rng):
    values = mtr_rex(RATE, FRACTION) + rng.normal(0, 2e-3, 5)
    for method in (exchange.omega_plot, exchange.hanes_woolf, exchange.quesp):
        more = {"metric": "mtr_rex"} if method is exchange.quesp else {}
        found = method(values, b1_ut=B1, r1_per_s=R1, **more)
        residual = values - mtr_rex(*(float(found.parameters[name]) for name in NAMES))
        assert found.rmse == pytest.approx(np.sqrt((residual**2).mean()), rel=1e-6)
        explained = 1 - (residual**2).sum() / ((values - values.mean()) ** 2).sum()
        assert found.r_squared == pytest.approx(explained, rel=1e-6)


@pytest.mark.parametrize("method", [exchange.omega_plot, exchange.hanes_woolf, exchange.quesp])
def test_powers_that_cannot_be_are_refused(method):
    more = {"metric": "mtr_rex"} if method is exchange.quesp else {}
    values = mtr_rex(RATE, FRACTION)
    with pytest.raises(ValueError, match="at least 2 different"):
        method(values, b1_ut=[2.0] * 5, r1_per_s=R1, **more)
    with pytest.raises(ValueError, match="at least 2 different"):
        method(values[:1], b1_ut=[2.0], r1_per_s=R1, **more)
    with pytest.raises(ValueError, match="must have 4 samples"):
        method(values, b1_ut=B1[:4], r1_per_s=R1, **more)
    with pytest.raises(ValueError, match="positive"):
        method(values, b1_ut=B1 - 1, r1_per_s=R1, **more)
    with pytest.raises(ImplausibleValue, match="uT") as caught:
        method(values, b1_ut=B1 * 42.5764, r1_per_s=R1, **more)
    assert "divide Hz by 42.5764" in str(caught.value)
    with pytest.raises(ImplausibleValue, match="in T"):
        method(values, b1_ut=B1 * 1e-6, r1_per_s=R1, **more)
    strong = method(mtr_rex(2e4, 1e-3, b1=20 * B1), b1_ut=20 * B1, r1_per_s=R1, check_b1=False, **more)
    assert strong.parameters["exchange_rate_per_s"] == pytest.approx(2e4, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_units_are_refused(method):
    with pytest.raises(ImplausibleValue, match="1/T1"):
        method(r1=2000.0)
    with pytest.raises(ImplausibleValue, match="1/T1"):
        method(r1=1e-3)
    with pytest.raises(ValueError, match="no positive"):
        method(r1=np.nan)
    with pytest.raises(ValueError, match="noise_sd"):
        method(noise_sd=-0.1)
    with pytest.raises(ValueError, match="noise_sd"):
        method(noise_sd=[0.1, 0.2, 0.3])


@pytest.mark.parametrize("method", METHODS)
def test_values_without_noise_have_no_error(method):
    """A noise level of 0, as estimated from simulated images."""
    noise = np.zeros((2, samples(method)))
    noise[1] = np.nan
    found = method(noise=np.zeros((2, samples(method))), noise_sd=noise)
    assert list(found.flags) == [0, Flag.INVALID_INPUT]
    assert found.parameters["exchange_rate_per_s"][0] == pytest.approx(RATE, rel=1e-6)
    assert found.standard_errors["exchange_rate_per_s"][0] < 1e-3


def test_asymmetry_in_percent_is_refused():
    with pytest.raises(ImplausibleValue, match="percent"):
        exchange.quesp(100 * mtr_asym(RATE, FRACTION), b1_ut=B1, r1_per_s=R1, saturation_time_s=TIME)


def test_times_that_cannot_be_are_refused():
    values = mtr_asym(RATE, FRACTION, b1=2.0, time=TIMES)
    with pytest.raises(ValueError, match="at least 2 different saturation times"):
        exchange.quest(values, b1_ut=2.0, r1_per_s=R1, saturation_time_s=[3.0] * 6)
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        exchange.quest(values, b1_ut=2.0, r1_per_s=R1, saturation_time_s=1000 * TIMES)
    with pytest.raises(ValueError, match="positive"):
        exchange.quest(values, b1_ut=2.0, r1_per_s=R1, saturation_time_s=TIMES - 0.5)
    with pytest.raises(ValueError, match="2 values for 6 times"):
        exchange.quest(values, b1_ut=[2.0, 3.0], r1_per_s=R1, saturation_time_s=TIMES)
    with pytest.raises(ValueError, match="steady state"):
        exchange.quesp(mtr_asym(RATE, FRACTION), b1_ut=B1, r1_per_s=R1)
    with pytest.raises(ValueError, match="2 values for 5 powers"):
        exchange.quesp(mtr_asym(RATE, FRACTION), b1_ut=B1, r1_per_s=R1, saturation_time_s=[3.0, 4.0])
    with pytest.raises(ValueError, match="unknown metric"):
        exchange.quesp(mtr_asym(RATE, FRACTION), b1_ut=B1, r1_per_s=R1, metric="amplitude")
    with pytest.raises(ValueError, match="unknown form"):
        exchange.quesp(mtr_asym(RATE, FRACTION), b1_ut=B1, r1_per_s=R1, saturation_time_s=TIME, form="new")
    with pytest.raises(ValueError, match="one form"):
        exchange.quesp(mtr_rex(RATE, FRACTION), b1_ut=B1, r1_per_s=R1, metric="mtr_rex", form="labelled")


@pytest.mark.parametrize(("rate", "concentration_mm"), [(200.0, 5.0), (1000.0, 20.0), (2000.0, 5.0)])
def test_rates_of_simulated_spectra_are_found(rate, concentration_mm):
    """Bloch and McConnell's equations for a pool at 9.8 ppm and 11.7 T, in the steady state and before."""
    from imgtheranostics.cest.bloch_mcconnell import ExchangePool, PoolSystem, PulseTrain, WaterPool, simulate

    powers, fraction = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]), 2 * concentration_mm / 111e3
    system = PoolSystem(
        WaterPool(2.0, 0.5), (ExchangePool("label", fraction, 1.0, 0.1, rate, 9.8),), field_t=11.7
    )
    for time in (3.0, 15.0):
        z = np.array([simulate(system, PulseTrain([-9.8, 9.8], [b1], time)) for b1 in powers])
        common = {"b1_ut": powers, "r1_per_s": 0.5}
        found = [
            exchange.quesp(z[:, 0] - z[:, 1], saturation_time_s=time, form="labelled", **common),
        ]
        if time == 15.0:
            inverse = 1 / z[:, 1] - 1 / z[:, 0]
            found += [method(inverse, **common) for method in (exchange.omega_plot, exchange.hanes_woolf)]
            found.append(exchange.quesp(inverse, metric="mtr_rex", **common))
        for fit in found:
            assert fit.parameters["exchange_rate_per_s"] == pytest.approx(rate, rel=0.08)
            assert fit.parameters["fraction"] == pytest.approx(fraction, rel=0.08)


def test_hanes_woolf_is_the_more_precise_line_for_fast_exchange(rng):
    """Of the plain lines, as published (cest.md F15, PMC3784632); 3,000/s at up to 6 uT."""
    noise = rng.normal(0, 5e-4, (2000, 5))
    scatter = [
        np.nanstd(method(3000.0, 2e-3, noise=noise).parameters["exchange_rate_per_s"])
        for method in (by_omega_plot, by_hanes_woolf)
    ]
    assert scatter[1] < 0.7 * scatter[0]


@given(rate=st.floats(20, 900), concentration_mm=st.floats(1, 100))
def test_growth_of_a_known_amount_tells_the_rate(rate, concentration_mm):
    fraction = 2 * concentration_mm / 111e3
    found = by_growth(rate, fraction)
    assert found.flags == 0
    assert found.parameters["exchange_rate_per_s"] == pytest.approx(rate, rel=1e-6)
    assert found.parameters["fraction"] == pytest.approx(fraction, rel=1e-12)
    assert found.standard_errors["fraction"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("known", [False, True])
def test_rate_of_a_known_amount_has_the_scatter_of_repeats(known, rng):
    noise = rng.normal(0, 1e-3, (4000, TIMES.size))
    found = by_growth(500.0, noise=noise, noise_sd=1e-3 if known else None)
    scatter = found.parameters["exchange_rate_per_s"].std()
    assert found.standard_errors["exchange_rate_per_s"].mean() == pytest.approx(scatter, rel=0.1)
    r1 = R1 * (1 + 0.02 * rng.normal(size=2000))
    found = by_growth(500.0, noise=np.zeros((2000, TIMES.size)), r1=r1, r1_se_per_s=0.02 * R1, noise_sd=1e-8)
    scatter = found.parameters["exchange_rate_per_s"].std()
    assert found.standard_errors["exchange_rate_per_s"].mean() == pytest.approx(scatter, rel=0.05)


def test_growth_of_a_known_amount_in_a_weaker_field():
    """What 4 uT of nominal power does at 0.8 of it is what 3.2 uT does."""
    values = mtr_labelled(400.0, FRACTION, b1=3.2, time=TIMES)
    found = exchange.quest(
        values, b1_ut=4.0, relative_b1=0.8, r1_per_s=R1, saturation_time_s=TIMES, fraction=FRACTION
    )
    assert found.parameters["exchange_rate_per_s"] == pytest.approx(400.0, rel=1e-6)
    assert found.parameters["fraction"] == pytest.approx(FRACTION, rel=1e-9)


def test_transfer_that_a_known_amount_cannot_give_is_outside():
    """No rate makes more than f w1/2 of the pool's protons meet water labelled."""
    values = mtr_labelled(RATE, FRACTION, b1=4.0, time=TIMES)
    found = exchange.quest(values, b1_ut=4.0, r1_per_s=R1, saturation_time_s=TIMES, fraction=0.2 * FRACTION)
    assert found.flags & Flag.OUTSIDE_RANGE
    assert np.isnan(found.parameters["exchange_rate_per_s"])
    for more in ({"fraction": 0.0}, {"fraction": 1.0}, {"fraction": 0.1, "relative_b1": np.ones(2)}):
        with pytest.raises(ValueError, match="fraction"):
            exchange.quest(np.tile(values, (2, 1)), b1_ut=4.0, r1_per_s=R1, saturation_time_s=TIMES, **more)


def test_growth_of_simulated_spectra_tells_the_rate():
    """Bloch and McConnell's equations, 20 mM of two protons at 9.8 ppm and 11.7 T."""
    from imgtheranostics.cest.bloch_mcconnell import ExchangePool, PoolSystem, PulseTrain, WaterPool, simulate

    fraction = 40 / 111e3
    pool = ExchangePool("label", fraction, 1.0, 0.1, 300.0, 9.8)
    system = PoolSystem(WaterPool(2.0, 0.5), (pool,), field_t=11.7)
    z = np.array([simulate(system, PulseTrain([-9.8, 9.8], [4.0], time)) for time in TIMES])
    found = exchange.quest(
        z[:, 0] - z[:, 1], b1_ut=4.0, r1_per_s=0.5, saturation_time_s=TIMES, fraction=fraction
    )
    assert found.parameters["exchange_rate_per_s"] == pytest.approx(300.0, rel=0.05)


@pytest.mark.parametrize(
    ("water_t2_s", "powers", "expected"),
    [
        (0.5, [1.0, 1.5, 2.0, 3.0, 4.0, 6.0], [750, 980, 1005]),
        (0.045, [1.0, 2.0, 3.0, 4.0], [700, 870, 1006]),
    ],
)
def test_forms_against_the_simulation_in_the_steady_state(water_t2_s, powers, expected):
    """20 mM of 2 protons, k 1000/s, R1 0.5/s, 15 s: the figures that docstring and caution state."""
    from imgtheranostics.cest.bloch_mcconnell import ExchangePool, PoolSystem, PulseTrain, WaterPool, simulate

    pool = ExchangePool("label", 3.6036e-4, 1.0, 0.1, 1000.0, 9.8)
    system = PoolSystem(WaterPool(2.0, water_t2_s), (pool,), field_t=11.7)
    above, below = np.array([simulate(system, PulseTrain([9.8, -9.8], [b1], 15.0)) for b1 in powers]).T
    common = {"b1_ut": powers, "r1_per_s": 0.5}
    found = [
        exchange.quesp(below - above, saturation_time_s=15.0, **common),
        exchange.quesp(below - above, saturation_time_s=15.0, form="labelled", **common),
        exchange.quesp(1 / above - 1 / below, metric="mtr_rex", **common),
    ]
    rates = [float(fit.parameters["exchange_rate_per_s"]) for fit in found]
    np.testing.assert_allclose(rates, expected, rtol=0.01)


@pytest.mark.parametrize("value", [1e300, -1e300, 1e10])
def test_numbers_that_are_no_contrast_are_flagged(value):
    """Values as large overflow in every sum of squares."""
    values = np.stack([mtr_rex(RATE, FRACTION)] * 3)
    values[1, 0], values[2] = value, value
    for found in (
        exchange.omega_plot(values, b1_ut=B1, r1_per_s=R1),
        exchange.hanes_woolf(values, b1_ut=B1, r1_per_s=R1, noise_sd=1e-3),
        exchange.quesp(values, b1_ut=B1, r1_per_s=R1, metric="mtr_rex"),
    ):
        np.testing.assert_array_equal(found.flags, np.array([0, *[Flag.INVALID_INPUT] * 2], np.uint16))
        np.testing.assert_array_equal(np.isfinite(found.parameters["fraction"]), [True, False, False])
