"""T2 and T2*: bias near the noise, standard errors, flags and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import hyp1f1, ive

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.decay import T2_MODELS, T2STAR_MODELS, fit_t2, fit_t2star
from imgtheranostics.mri.noise_distribution import chi_table, largest_of_noise, noise_mean, noise_spread
from imgtheranostics.volume import Flag

IRON = np.linspace(1.2, 17.7, 12) * 1e-3
"""The echoes of the sheet, section 6."""

BODY = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]) * 1e-3


def magnitudes(times, time_constant, snr, n, seed, coils=1):
    """Magnitudes of a decay from 1 in the noise of `coils` channels."""
    rng = np.random.default_rng(seed)
    signal = np.exp(-times / time_constant) / np.sqrt(coils)
    power = np.zeros((n, times.size))
    for _ in range(coils):
        real = signal + rng.standard_normal((n, times.size)) / snr
        power += real**2 + (rng.standard_normal((n, times.size)) / snr) ** 2
    return np.sqrt(power)


@pytest.mark.parametrize(
    ("model", "short", "medium"),
    [
        ("log_linear", (438, 30), (65, 5)),
        ("wls", (198, 15), (24, 4)),
        ("exponential", (9, 2), (5, 1)),
        ("offset", (-13, 2), (-7, 1)),
        ("arlo", (20, 3), (4, 1)),
        ("noise_floor", (-2, 1), (-1, 0.7)),
    ],
)
def test_bias_in_the_iron_regime_is_the_known_one(model, short, medium):
    """Sheet, section 6: T2* 1.5 and 3 ms at a signal of 40 times the noise; percent and tolerance.

    The straight line has a heavy tail, so that its mean depends on the repeats.
    """
    for time_constant, (percent, digits) in ((1.5e-3, short), (3e-3, medium)):
        signal = magnitudes(IRON, time_constant, 40, 20_000, seed=1)
        fit = fit_t2star(signal, IRON, model=model, noise_sd=1 / 40)
        bias = 100 * (np.nanmean(fit.parameters["t2star_s"]) / time_constant - 1)
        assert bias == pytest.approx(percent, abs=digits)


@pytest.mark.parametrize("time_constant", [1.5e-3, 3e-3, 8e-3, 20e-3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exact_noise_floor_is_the_default_and_both_are_within_the_bar(time_constant, dtype):
    """Acceptance: within 3 % for T2* 1.5 ms at a signal of 40 times the noise."""
    signal = magnitudes(IRON, time_constant, 40, 10_000, seed=2).astype(dtype)
    fit = fit_t2star(signal, IRON, noise_sd=1 / 40)
    assert fit.parameters["t2star_s"].dtype == dtype
    assert np.mean(fit.parameters["t2star_s"]) == pytest.approx(time_constant, rel=0.01)
    exact = fit_t2star(signal, IRON, model="rician", noise_sd=1 / 40)
    assert_array_equal(fit.parameters["t2star_s"], exact.parameters["t2star_s"])
    square = fit_t2star(signal, IRON, model="noise_floor", noise_sd=1 / 40)
    assert np.mean(square.parameters["t2star_s"]) == pytest.approx(time_constant, rel=0.03)


@pytest.mark.parametrize(("time_constant", "snr"), [(1.5e-3, 20), (1.5e-3, 40), (3e-3, 20), (8e-3, 10)])
def test_exact_mean_has_the_smaller_bias(time_constant, snr):
    """The floor of the sheet's model is 1.414 sigma, that of noise 1.253 sigma; at low signal that shows."""
    signal = magnitudes(IRON, time_constant, snr, 20_000, seed=3)
    bias = {}
    for model in ("noise_floor", "rician"):
        fit = fit_t2star(signal, IRON, model=model, noise_sd=1 / snr)
        bias[model] = abs(np.nanmedian(fit.parameters["t2star_s"]) / time_constant - 1)
    assert bias["rician"] < 0.01
    assert bias["rician"] < bias["noise_floor"]


@pytest.mark.parametrize("coils", [4, 16])
def test_floor_of_several_coils(coils):
    signal = magnitudes(IRON, 3e-3, 40, 10_000, seed=4, coils=coils)
    told = fit_t2star(signal, IRON, noise_sd=1 / 40, n_coils=coils).parameters["t2star_s"]
    untold = fit_t2star(signal, IRON, noise_sd=1 / 40).parameters["t2star_s"]
    assert np.mean(told) == pytest.approx(3e-3, rel=0.03)
    assert np.mean(untold) > 1.05 * 3e-3


@pytest.mark.parametrize(
    ("function", "name", "times", "time_constant", "snr", "model"),
    [
        (fit_t2star, "t2star_s", IRON, 20e-3, 100, "exponential"),
        (fit_t2star, "t2star_s", IRON, 8e-3, 60, "noise_floor"),
        (fit_t2star, "t2star_s", IRON, 3e-3, 40, "noise_floor"),
        (fit_t2star, "t2star_s", IRON, 1.5e-3, 40, "noise_floor"),
        (fit_t2star, "t2star_s", IRON, 1.5e-3, 40, "rician"),
        (fit_t2star, "t2star_s", IRON, 5e-3, 60, "arlo"),
        (fit_t2star, "t2star_s", IRON, 10e-3, 100, "offset"),
        (fit_t2, "t2_s", BODY, 50e-3, 100, "exponential"),
        (fit_t2, "t2_s", BODY, 50e-3, 100, "epg"),
        (fit_t2, "t2_s", BODY, 20e-3, 50, "noise_floor"),
    ],
)
def test_standard_errors_are_the_scatter(function, name, times, time_constant, snr, model):
    """Acceptance: over 2,000 repeats the mean standard error lies within 10 % of the observed scatter.

    The scatter itself is known to 1.6 %.
    """
    signal = magnitudes(times, time_constant, snr, 2000, seed=5)
    fit = function(signal, times, model=model, noise_sd=1 / snr)
    for parameter in (name, "s0"):
        values, errors = fit.parameters[parameter], fit.standard_errors[parameter]
        assert np.isfinite(values).all()
        assert np.nanmean(errors) == pytest.approx(np.std(values), rel=0.1)


def test_float32_is_float64_to_its_digits():
    rng = np.random.default_rng(6)
    truth = rng.uniform(2e-3, 60e-3, 4000)
    signal = np.exp(-IRON / truth[:, np.newaxis]) * 700 + rng.standard_normal((4000, 12)) * 7
    signal = np.abs(signal).astype(np.float32)
    for model in T2STAR_MODELS:
        single = fit_t2star(signal, IRON, model=model, noise_sd=7.0)
        double = fit_t2star(signal.astype(np.float64), IRON, model=model, noise_sd=7.0)
        assert single.parameters["s0"].dtype == np.float32
        assert double.parameters["s0"].dtype == np.float64
        assert_array_equal(single.flags, double.flags)
        for name in single.parameters:
            assert_allclose(single.parameters[name], double.parameters[name], rtol=1e-4)


def test_whole_numbers_are_fitted_in_float64():
    signal = np.round(1000 * np.exp(-IRON / 0.008)).astype(np.int16)
    fit = fit_t2star(signal, IRON)
    assert fit.parameters["t2star_s"].dtype == np.float64
    assert_array_equal(fit.parameters["t2star_s"], fit_t2star(signal * 1.0, IRON).parameters["t2star_s"])


@pytest.mark.parametrize("order", ["C", "F"])
def test_result_has_the_leading_shape(order):
    signal = np.exp(-IRON / np.linspace(0.003, 0.03, 24).reshape(2, 3, 4, 1)) * np.ones(12)
    fit = fit_t2star(np.array(signal, order=order), IRON)
    assert_allclose(fit.parameters["t2star_s"], np.linspace(0.003, 0.03, 24).reshape(2, 3, 4), rtol=1e-9)
    for array in (*fit.parameters.values(), *fit.standard_errors.values()):
        assert array.shape == (2, 3, 4)
    for array in (fit.r_squared, fit.rmse, fit.iterations, fit.flags):
        assert array.shape == (2, 3, 4)
    assert fit.flags.dtype == np.uint16
    assert fit.units == {"t2star_s": "s", "s0": "[arb'U]"}
    assert fit_t2star(signal[0, 0, 0], IRON).parameters["s0"].shape == ()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("model", T2STAR_MODELS)
def test_bad_voxels_are_nan_and_flagged_and_leave_the_others_alone(model, dtype):
    good = (100 * np.exp(-IRON / 0.006)).astype(dtype)
    bad = np.array([good] * 6)
    bad[0, 3] = np.nan
    bad[1, 5] = np.inf
    bad[2] = 0.0
    bad[3] = -good
    bad[4] = good[::-1]
    fit = fit_t2star(bad, IRON, model=model, noise_sd=0.5)
    alone = fit_t2star(good, IRON, model=model, noise_sd=0.5)
    assert np.isnan(fit.parameters["t2star_s"][:5]).all()
    assert np.isnan(fit.parameters["s0"][:5]).all()
    assert np.isnan(fit.standard_errors["t2star_s"][:5]).all()
    assert_array_equal(fit.flags[:3], Flag.INVALID_INPUT)
    logarithm_or_magnitude = model in ("log_linear", "wls", "noise_floor", "rician")
    assert fit.flags[3] == (Flag.INVALID_INPUT if logarithm_or_magnitude else Flag.NEGATIVE_AMPLITUDE)
    assert fit.flags[4] == (Flag.NEGATIVE_AMPLITUDE if model == "offset" else Flag.OUTSIDE_RANGE)
    assert fit.flags[5] == 0
    for name in fit.parameters:
        assert fit.parameters[name][5] == alone.parameters[name]


@pytest.mark.parametrize("model", ["log_linear", "wls"])
def test_no_logarithm_of_zero(model):
    signal = 100 * np.exp(-IRON / 0.006)
    signal[7] = 0.0
    fit = fit_t2star(signal, IRON, model=model)
    assert fit.flags == Flag.INVALID_INPUT
    assert np.isnan(fit.parameters["t2star_s"])
    assert fit_t2star(signal, IRON, model="exponential").flags == 0


def test_mask_leaves_the_outside_alone():
    signal = magnitudes(IRON, 0.005, 50, 400, seed=7).reshape(20, 20, 12)
    mask = np.zeros((20, 20), bool)
    mask[3:9, 5:] = True
    for model in T2STAR_MODELS:
        inside = fit_t2star(signal, IRON, model=model, noise_sd=0.02, mask=mask)
        everything = fit_t2star(signal, IRON, model=model, noise_sd=0.02)
        assert_array_equal(inside.flags[~mask], Flag.MASKED_OUT)
        assert np.isnan(inside.parameters["t2star_s"][~mask]).all()
        assert np.isnan(inside.rmse[~mask]).all()
        assert_array_equal(inside.parameters["t2star_s"][mask], everything.parameters["t2star_s"][mask])


def arrays(fit):
    return (*fit.parameters.values(), *fit.standard_errors.values(), fit.flags, fit.iterations, fit.rmse)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_do_not_depend_on_workers(dtype):
    signal = magnitudes(IRON, 0.004, 15, 5000, seed=8).astype(dtype)
    for model in T2STAR_MODELS:
        one, all_of_them = (
            fit_t2star(signal, IRON, model=model, noise_sd=1 / 15, workers=w) for w in (1, None)
        )
        for a, b in zip(arrays(one), arrays(all_of_them), strict=True):
            assert a.tobytes() == b.tobytes()


def test_noise_alone_is_below_the_noise():
    noise = magnitudes(IRON, 1e-9, 1.0, 20_000, seed=9)
    fit = fit_t2star(noise, IRON, noise_sd=1.0)
    below = fit.flags == Flag.BELOW_NOISE
    assert below.mean() > 0.998
    assert np.isnan(fit.parameters["t2star_s"][below]).all()


def test_noise_level_per_voxel():
    sigma = np.array([0.01, 0.05])
    signal = np.sqrt(np.exp(-2 * IRON / 0.003) + 2 * sigma[:, np.newaxis] ** 2)
    fit = fit_t2star(signal, IRON, model="noise_floor", noise_sd=sigma)
    assert_allclose(fit.parameters["t2star_s"], 0.003, rtol=1e-6)
    unknown = fit_t2star(signal, IRON, noise_sd=np.array([0.01, np.nan]))
    assert_array_equal(unknown.flags, [0, Flag.INVALID_INPUT])


def test_fast_decay_at_the_bound_keeps_its_value_without_error():
    signal = np.zeros(12)
    signal[0] = 1.0
    fit = fit_t2star(signal, IRON)
    assert fit.flags == Flag.AT_BOUND
    assert fit.parameters["t2star_s"] == pytest.approx(1.5e-4)
    assert np.isnan(fit.standard_errors["t2star_s"])


def test_two_echoes_give_no_standard_error():
    fit = fit_t2star(np.exp(-IRON[:2] / 0.004), IRON[:2])
    assert fit.parameters["t2star_s"] == pytest.approx(0.004)
    assert np.isnan(fit.standard_errors["t2star_s"])
    assert np.isnan(fit.standard_errors["s0"])


@pytest.mark.parametrize(
    ("model", "needed"),
    [("exponential", 2), ("noise_floor", 2), ("log_linear", 2), ("wls", 2), ("offset", 3), ("arlo", 3)],
)
def test_fewer_echoes_than_parameters_are_refused(model, needed):
    times = IRON[: needed - 1]
    with pytest.raises(ValueError, match=f"at least {needed} echoes, found {needed - 1}"):
        fit_t2star(np.ones(needed - 1), times, model=model, noise_sd=0.1)


def test_offset_is_returned():
    fit = fit_t2star(5.0 + 100 * np.exp(-IRON / 0.004), IRON, model="offset")
    assert fit.parameters["offset"] == pytest.approx(5.0)
    assert fit.units["offset"] == "[arb'U]"


def test_straight_fall_cannot_be_told_from_a_long_decay_with_a_constant():
    fit = fit_t2star(100 - 1000 * IRON, IRON, model="offset")
    assert fit.flags == Flag.AT_BOUND
    assert np.isnan(fit.standard_errors["t2star_s"])


def test_unequal_spacing_is_fitted_but_not_by_arlo():
    times = np.array([2.0, 4.0, 7.0, 11.0]) * 1e-3
    signal = np.exp(-times / 0.005)
    for model in ("exponential", "offset", "log_linear", "wls"):
        assert fit_t2star(signal, times, model=model).parameters["t2star_s"] == pytest.approx(0.005)
    with pytest.raises(ValueError, match=r"equally spaced echoes, found spacings from 2 to 4 ms"):
        fit_t2star(signal, times, model="arlo")


def test_rounded_echo_times_are_no_unequal_spacing_for_arlo():
    times = np.array([2.46, 4.92, 7.38, 9.85, 12.31]) * 1e-3
    fit = fit_t2star(np.exp(-times / 0.01), times, model="arlo")
    assert fit.parameters["t2star_s"] == pytest.approx(0.01, rel=5e-3)


@pytest.mark.parametrize("function", [fit_t2, fit_t2star])
def test_unsorted_or_repeated_echoes_are_refused(function):
    for times in ([0.01, 0.03, 0.02], [0.01, 0.01, 0.02]):
        with pytest.raises(ValueError, match="increase"):
            function(np.ones(3), times)


@pytest.mark.parametrize("function", [fit_t2, fit_t2star])
def test_milliseconds_are_refused(function):
    with pytest.raises(ImplausibleValue) as refusal:
        function(np.ones(3), [10.0, 20.0, 30.0])
    assert "milliseconds" in str(refusal.value)
    assert "1000" in str(refusal.value.next_step)


@pytest.mark.parametrize("function", [fit_t2, fit_t2star])
def test_wrong_shapes_and_words_are_refused(function):
    with pytest.raises(ValueError, match="last axis must have 12"):
        function(np.ones((12, 5)), IRON)
    with pytest.raises(ValueError, match="mask has shape"):
        function(np.ones((5, 12)), IRON, mask=np.ones(4, bool))
    with pytest.raises(ValueError, match="not one of"):
        function(np.ones(12), IRON, model="bayes")
    with pytest.raises(ValueError, match="must be real"):
        function(np.ones(12, complex), IRON)
    with pytest.raises(ValueError, match="needs noise_sd"):
        function(np.ones(12), IRON, model="noise_floor")
    for sigma in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="noise_sd"):
            function(np.ones(12), IRON, model="noise_floor", noise_sd=sigma)
    for coils in (0, 1.5, 1000):
        with pytest.raises(ValueError, match="n_coils"):
            function(np.ones(12), IRON, noise_sd=0.1, n_coils=coils)


@pytest.mark.parametrize("model", [name for name in T2_MODELS if name != "epg"])
def test_t2_models_are_those_of_t2star(model):
    signal = magnitudes(BODY, 0.03, 60, 50, seed=10)
    spin = fit_t2(signal, BODY, model=model, noise_sd=1 / 60)
    gradient = fit_t2star(signal, BODY, model=model, noise_sd=1 / 60)
    assert_array_equal(spin.parameters["t2_s"], gradient.parameters["t2star_s"])
    assert_array_equal(spin.standard_errors["s0"], gradient.standard_errors["s0"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_echo_is_dropped(dtype):
    signal = np.exp(-BODY / 0.05)
    signal[0] *= 0.8
    signal = signal.astype(dtype)
    assert fit_t2(signal, BODY, drop_first=True).parameters["t2_s"] == pytest.approx(0.05, rel=1e-5)
    assert fit_t2(signal, BODY).parameters["t2_s"] > 1.1 * 0.05
    with pytest.raises(ValueError, match="at least 2 echoes, found 1"):
        fit_t2(signal[:2], BODY[:2], drop_first=True)


def test_moments_of_noise_are_those_of_rayleigh_and_chi():
    """Rayleigh: sqrt(pi/2) and sqrt(2 - pi/2), the sheet's 1.2533 and 0.6551; four coils from a sample."""
    assert noise_mean(1) == pytest.approx(np.sqrt(np.pi / 2), rel=1e-12)
    assert noise_spread(1) == pytest.approx(np.sqrt(2 - np.pi / 2), rel=1e-12)
    assert round(noise_mean(1), 4) == 1.2533
    assert round(noise_spread(1), 4) == 0.6551
    sample = np.sqrt((np.random.default_rng(11).standard_normal((8, 400_000)) ** 2).sum(axis=0))
    assert noise_mean(4) == pytest.approx(sample.mean(), rel=2e-3)
    assert noise_spread(4) == pytest.approx(sample.std(), rel=5e-3)


def test_table_is_the_distribution_of_rice():
    """One coil in closed form: exp(-q) ((1 + 2q) I0(q) + 2q I1(q)) sqrt(pi/2), q a quarter of A^2."""
    table, step = chi_table(1)
    x = step * np.arange(table.shape[1])
    q = x * x / 4
    mean = np.sqrt(np.pi / 2) * ((1 + 2 * q) * ive(0, q) + 2 * q * ive(1, q))
    assert_allclose(table[0], mean, rtol=1e-10)
    assert_allclose(table[1, 1:-1], np.gradient(mean, x)[1:-1], rtol=1e-3)
    assert_allclose(table[2], 2 + x * x - mean**2, rtol=1e-7)


@pytest.mark.parametrize("coils", [1, 2, 8, 32])
def test_mean_between_and_beyond_the_table(coils):
    from imgtheranostics.kernels.noise_floor import tabulated_mean

    table, step = chi_table(coils)
    for x in (0.013, 0.7, 3.3, 15.9 * coils**0.5, 16.1 * coils**0.5, 40.0 * coils**0.5):
        mean, slope, bend = tabulated_mean(x, table, step, float(coils))
        z = -x * x / 2
        assert mean == pytest.approx(noise_mean(coils) * hyp1f1(-0.5, coils, z), rel=1e-8)
        expected = noise_mean(coils) * x / (2 * coils) * hyp1f1(0.5, coils + 1, z)
        assert slope == pytest.approx(expected, abs=1e-6)
        near = [tabulated_mean(x + h, table, step, float(coils))[1] for h in (-1e-5, 1e-5)]
        assert bend == pytest.approx((near[1] - near[0]) / 2e-5, rel=1e-2, abs=1e-6)


def test_threshold_is_reached_by_one_noise_voxel_in_a_thousand():
    noise = magnitudes(IRON, 1e-9, 1.0, 200_000, seed=12)
    assert np.mean(noise.max(axis=1) > largest_of_noise(12)) == pytest.approx(1e-3, rel=0.25)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("model", T2STAR_MODELS)
def test_nothing_to_fit_and_extreme_scales(model, dtype):
    """No voxel, no voxel in the mask, and signals near the ends of float32; warnings are errors here."""
    empty = fit_t2star(np.zeros((0, 3, 12), dtype), IRON, model=model, noise_sd=0.1)
    assert empty.flags.shape == (0, 3)
    outside = fit_t2star(np.ones((2, 12), dtype), IRON, model=model, noise_sd=0.1, mask=np.zeros(2, bool))
    assert_array_equal(outside.flags, Flag.MASKED_OUT)
    decay = np.exp(-IRON / 0.005)
    scaled = np.array([1e-30 * decay, decay, 1e30 * decay]).astype(dtype)
    fit = fit_t2star(scaled, IRON, model=model, noise_sd=0.0)
    assert_array_equal(fit.flags, 0)
    assert_allclose(fit.parameters["t2star_s"], 0.005, rtol=1e-4)
    assert_allclose(fit.parameters["s0"], [1e-30, 1.0, 1e30], rtol=1e-4)


def test_amplitude_out_of_reach_is_none():
    """First echo 120 time constants after the excitation at the fastest decay: exp(1200) is no number."""
    times = np.array([60.0, 60.5, 61.0, 61.5]) * 1e-3
    fit = fit_t2star(np.array([1.0, 0.0, 0.0, 0.0]), times)
    assert fit.flags == Flag.OUTSIDE_RANGE
    assert np.isnan(fit.parameters["s0"])


def test_a_transmit_field_that_would_be_ignored_is_refused():
    with pytest.raises(ValueError, match="epg"):
        fit_t2(np.exp(-IRON / 0.003), IRON, b1=0.9)


def test_no_worker_at_all_is_refused():
    with pytest.raises(ValueError, match="workers must be at least 1"):
        fit_t2star(np.exp(-IRON / 0.003), IRON, workers=0)
