"""WASABI and WASABI with T1: the published formulas are inverted over the bounds, errors, flags, refusals."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy.optimize import least_squares

from imgtheranostics.cest import zspectrum
from imgtheranostics.cest.wasabi import wasabi, wasabi_t1
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.volume import Flag

GAMMA = 2 * np.pi * 42.5764
OFFSETS = np.linspace(-2, 2, 31)
AT_3T = {"pulse_duration_s": 0.005, "imaging_frequency_mhz": 127.7, "nominal_b1_ut": 3.7}
AT_7T = {"pulse_duration_s": 0.0037, "imaging_frequency_mhz": 298.0, "nominal_b1_ut": 5.12}


def column(*values):
    return [np.asarray(value, float)[..., np.newaxis] for value in values]


def published(offset_ppm, setting, b1_ut, b0_ppm, c, d):
    """cest.md F9, as written there."""
    b1_ut, b0_ppm, c, d = column(b1_ut, b0_ppm, c, d)
    shift = 2 * np.pi * setting["imaging_frequency_mhz"] * (offset_ppm - b0_ppm)
    w1 = GAMMA * b1_ut
    turned = np.sqrt(w1**2 + shift**2) * setting["pulse_duration_s"] / 2
    return np.abs(c - d * np.sin(np.arctan2(w1, shift)) ** 2 * np.sin(turned) ** 2)


def published_with_t1(offset_ppm, setting, recovery_s, b1_ut, b0_ppm, t1_s):
    """cest.md F10, as written there; numpy's sinc is the normalised one."""
    b1_ut, b0_ppm, t1_s = column(b1_ut, b0_ppm, t1_s)
    tp, nutation = setting["pulse_duration_s"], 42.5764 * b1_ut
    shift = setting["imaging_frequency_mhz"] * (offset_ppm - b0_ppm)
    pulse = 1 - 2 * (np.pi * nutation * tp) ** 2 * np.sinc(tp * np.sqrt(nutation**2 + shift**2)) ** 2
    return np.abs((1 - np.exp(-recovery_s / t1_s)) * pulse)


def test_field_and_shift_are_recovered_over_the_bounds(rng):
    """Noise-free at 7 T, B1 0.4 to 20 uT and b0 over +-2 ppm: the global minimum is found without starts."""
    m = 1500
    truth = rng.uniform(0.4, 20, m), rng.uniform(-2, 2, m), rng.uniform(0.3, 1, m), rng.uniform(0.5, 2, m)
    fit = wasabi(published(OFFSETS, AT_7T, *truth), OFFSETS, **AT_7T)
    for name, expected in zip(("b1_ut", "b0_ppm", "c", "d"), truth, strict=True):
        np.testing.assert_allclose(fit.parameters[name], expected, atol=1e-4)
    np.testing.assert_allclose(fit.parameters["relative_b1"], truth[0] / 5.12, atol=1e-4)
    assert not (fit.flags & ~np.uint16(Flag.OUTSIDE_RANGE)).any()
    np.testing.assert_array_equal(fit.flags != 0, published(OFFSETS, AT_7T, *truth).max(axis=-1) > 1.2)


def test_field_and_shift_of_usual_scans_are_recovered_from_noisy_data(rng):
    """3 T, B1 60 to 140 % of nominal, b0 within 1 ppm, 1 % noise: no outliers."""
    m = 2000
    truth = 3.7 * rng.uniform(0.6, 1.4, m), rng.uniform(-1, 1, m), np.full(m, 0.9), np.full(m, 1.7)
    z = published(OFFSETS, AT_3T, *truth) + rng.normal(0, 0.01, (m, OFFSETS.size))
    fit = wasabi(z, OFFSETS, **AT_3T)
    assert np.abs(fit.parameters["b0_ppm"] - truth[1]).max() < 0.05
    assert np.abs(fit.parameters["relative_b1"] - truth[0] / 3.7).max() < 0.05


@pytest.mark.parametrize("setting", [AT_3T, AT_7T])
@pytest.mark.parametrize("noise_known", [True, False])
def test_standard_errors_are_the_scatter_of_repeats(setting, noise_known, rng):
    truth = 0.93 * setting["nominal_b1_ut"], 0.21, 0.85, 1.6
    z = published(OFFSETS, setting, *truth) + rng.normal(0, 0.01, (2000, OFFSETS.size))
    fit = wasabi(z, OFFSETS, noise_sd=0.01 if noise_known else None, **setting)
    assert not fit.flags.any()
    for name, expected in zip(("b1_ut", "b0_ppm", "c", "d"), truth, strict=True):
        scatter = fit.parameters[name].std(ddof=1)
        assert fit.standard_errors[name].mean() == pytest.approx(scatter, rel=0.08)
        assert fit.parameters[name].mean() == pytest.approx(expected, abs=4 * scatter / np.sqrt(500))
    nominal = setting["nominal_b1_ut"]
    np.testing.assert_allclose(
        fit.standard_errors["relative_b1"], fit.standard_errors["b1_ut"] / nominal, rtol=1e-12
    )


def test_the_minimum_is_that_of_bounded_least_squares(rng):
    """SciPy from the truth finds no lower sum of squares."""
    m = 40
    truth = np.stack([rng.uniform(2, 5, m), rng.uniform(-1, 1, m), np.full(m, 0.8), np.full(m, 1.5)])
    z = published(OFFSETS, AT_3T, *truth) + rng.normal(0, 0.02, (m, OFFSETS.size))
    fit = wasabi(z, OFFSETS, **AT_3T)
    for voxel in range(m):
        peer = least_squares(
            lambda p, y=z[voxel]: published(OFFSETS, AT_3T, *p) - y,
            truth[:, voxel],
            bounds=([0, -2, 0, 0], [20, 2, 1, 2]),
            xtol=1e-12,
        )
        assert fit.rmse[voxel] ** 2 * OFFSETS.size <= 2 * peer.cost * (1 + 1e-6)


def test_the_recovery_of_t1(rng):
    m = 600
    truth = 3.7 * rng.uniform(0.8, 1.2, m), rng.uniform(-0.9, 0.9, m), rng.uniform(0.5, 2.5, m)
    z = published_with_t1(OFFSETS, AT_3T, 2.0, *truth)
    fit = wasabi_t1(z, OFFSETS, recovery_time_s=2.0, **AT_3T)
    for name, expected in zip(("b1_ut", "b0_ppm", "t1_s"), truth, strict=True):
        np.testing.assert_allclose(fit.parameters[name], expected, atol=1e-4)
    assert not fit.flags.any()


def test_recovery_times_of_each_offset_tell_t1(rng):
    recovery = np.where(np.arange(OFFSETS.size) % 2, 0.6, 3.0)
    truth = 3.5, -0.3, 1.3
    z = published_with_t1(OFFSETS, AT_3T, recovery, *truth) + rng.normal(0, 0.002, (1500, OFFSETS.size))
    fit = wasabi_t1(z, OFFSETS, recovery_time_s=recovery, **AT_3T)
    for name, expected in zip(("b1_ut", "b0_ppm", "t1_s"), truth, strict=True):
        scatter = fit.parameters[name].std(ddof=1)
        assert fit.standard_errors[name].mean() == pytest.approx(scatter, rel=0.1)
        assert fit.parameters[name].mean() == pytest.approx(expected, abs=4 * scatter / np.sqrt(375))


def test_flags_say_why_there_is_no_value(rng):
    z = published(OFFSETS, AT_3T, *[np.full(6, value) for value in (3.7, 0.1, 0.9, 1.6)])
    z[1, 4], z[2, 4] = np.nan, np.inf
    z[3] = rng.normal(0.5, 0.2, OFFSETS.size)
    z[4] = published(OFFSETS, AT_3T, 3.7, 0.1, 1.05, 1.6)
    mask = np.arange(6) != 5
    fit = wasabi(z, OFFSETS, mask=mask, **AT_3T)
    expected = [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT, Flag.BELOW_NOISE, Flag.AT_BOUND, Flag.MASKED_OUT]
    np.testing.assert_array_equal(fit.flags, np.array(expected, np.uint16))
    np.testing.assert_array_equal(np.isfinite(fit.parameters["b0_ppm"]), [1, 0, 0, 0, 1, 0])
    assert fit.parameters["c"][4] == 1.0
    assert np.isnan(fit.standard_errors["c"][4])


@pytest.mark.parametrize("n", [9, 12, 16, 31, 51])
def test_without_any_pattern_nothing_is_reported(n, rng):
    offsets = np.linspace(-2, 2, n)
    assert int(wasabi(np.full(n, 0.8), offsets, **AT_3T).flags) == Flag.BELOW_NOISE
    fit = wasabi(np.abs(rng.normal(0.5, 0.3, (1000, n))), offsets, **AT_3T)
    assert np.isnan(fit.parameters["b0_ppm"]).mean() > 0.99
    signal = published(offsets, AT_3T, 3.5, 0.2, 0.9, 1.7) + rng.normal(0, 0.01, (200, n))
    assert np.isfinite(wasabi(signal, offsets, **AT_3T).parameters["b0_ppm"]).mean() > 0.97


def test_layout_precision_order_and_threads_do_not_matter(rng):
    truth = rng.uniform(3, 4.4, 60), rng.uniform(-1, 1, 60), np.full(60, 0.9), np.full(60, 1.6)
    z = published(OFFSETS, AT_3T, *truth) + rng.normal(0, 0.01, (60, OFFSETS.size))
    one = wasabi(z, OFFSETS, workers=1, **AT_3T)
    several = wasabi(z, OFFSETS, workers=numba.config.NUMBA_NUM_THREADS, **AT_3T)
    back = wasabi(z[:, ::-1], OFFSETS[::-1], **AT_3T)
    image = wasabi(np.asfortranarray(z.reshape(3, 4, 5, -1)), OFFSETS, **AT_3T)
    single = wasabi(z.astype(np.float32), OFFSETS, **AT_3T)
    for name, expected in one.parameters.items():
        np.testing.assert_array_equal(several.parameters[name], expected)
        np.testing.assert_array_equal(image.parameters[name], expected.reshape(3, 4, 5))
        np.testing.assert_allclose(back.parameters[name], expected, rtol=1e-5)
        np.testing.assert_allclose(single.parameters[name], expected, rtol=1e-3, atol=1e-5)
        assert single.parameters[name].dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pulse_duration_s": 5.0}, ImplausibleValue, "not in ms"),
        ({"imaging_frequency_mhz": 127.7e6}, ImplausibleValue, "not in Hz"),
        ({"imaging_frequency_mhz": 3.0}, ImplausibleValue, "field in T"),
        ({"imaging_frequency_mhz": 1300.0}, ImplausibleValue, "10 to 1200 MHz"),
        ({"nominal_b1_ut": 3.7e-6}, ImplausibleValue, "not in T"),
        ({"bounds": {"b1": (0, 5)}}, ValueError, "bounds are for b1_ut"),
        ({"bounds": {"b1_ut": (5, 1)}}, ValueError, "increase"),
        ({"bounds": {"c": (-1, 1)}}, ValueError, "not be below 0"),
    ],
)
def test_pulses_and_bounds_that_cannot_be_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        wasabi(np.ones(OFFSETS.size), OFFSETS, **(AT_3T | changes))
    if "bounds" not in changes:
        with pytest.raises(error, match=message):
            wasabi_t1(np.ones(OFFSETS.size), OFFSETS, recovery_time_s=2.0, **(AT_3T | changes))


def test_the_fewest_offsets_are_enough_without_noise():
    offsets = np.array([-0.9, -0.3, 0.2, 0.8])
    z = published_with_t1(offsets, AT_3T, 2.0, 3.6, 0.1, 1.2)
    fit = wasabi_t1(z, offsets, recovery_time_s=2.0, **AT_3T)
    assert float(fit.rmse) < 1e-6
    assert np.isfinite(fit.parameters["t1_s"])


def test_too_few_or_repeated_offsets_are_refused():
    with pytest.raises(ValueError, match="at least 5 offsets"):
        wasabi(np.ones(4), OFFSETS[:4], **AT_3T)
    with pytest.raises(ValueError, match="twice"):
        wasabi(np.ones(6), np.r_[OFFSETS[:5], OFFSETS[0]], **AT_3T)


@pytest.mark.parametrize("recovery", [0.0, -1.0, 2000.0, np.nan])
def test_a_recovery_time_that_cannot_be_is_refused(recovery):
    with pytest.raises(ImplausibleValue, match="recovery time"):
        wasabi_t1(np.ones(OFFSETS.size), OFFSETS, recovery_time_s=recovery, **AT_3T)
    with pytest.raises(ValueError, match="recovery_time_s has shape"):
        wasabi_t1(np.ones(OFFSETS.size), OFFSETS, recovery_time_s=[1.0, 2.0], **AT_3T)


@pytest.mark.parametrize("noise_known", [True, False])
def test_standard_errors_with_t1_are_the_scatter_of_repeats(noise_known, rng):
    truth = 3.9, 0.2, 1.3
    z = published_with_t1(OFFSETS, AT_3T, 2.0, *truth) + rng.normal(0, 0.01, (2000, OFFSETS.size))
    noise = 0.01 if noise_known else None
    fit = wasabi_t1(z, OFFSETS, recovery_time_s=2.0, noise_sd=noise, **AT_3T)
    for name in ("b1_ut", "b0_ppm", "t1_s"):
        scatter = fit.parameters[name].std(ddof=1)
        assert fit.standard_errors[name].mean() == pytest.approx(scatter, rel=0.1)


SIGNS = [(AT_3T, (3.22, -0.28, 1.18)), (AT_7T, (3.74, -0.34, 2.32)), (AT_3T, (3.46, 0.06, 0.66))]
"""Where samples lie within 2 % of zero, so that noise changes the sign of what the magnitude is of."""


@pytest.mark.parametrize(("setting", "truth"), SIGNS)
@pytest.mark.parametrize("magnitude_of_noise", [True, False])
def test_standard_errors_hold_where_the_sign_of_samples_is_not_certain(
    setting, truth, magnitude_of_noise, rng
):
    """With the derivatives alone they were 7 to 10 % too small."""
    tp, nutation = setting["pulse_duration_s"], 42.5764 * truth[0]
    shift = setting["imaging_frequency_mhz"] * (OFFSETS - truth[1])
    turned = np.sinc(tp * np.sqrt(nutation**2 + shift**2)) ** 2
    signed = (1 - np.exp(-2.0 / truth[2])) * (1 - 2 * (np.pi * nutation * tp) ** 2 * turned)
    np.testing.assert_allclose(np.abs(signed), published_with_t1(OFFSETS, setting, 2.0, *truth), atol=1e-12)
    noise = rng.normal(0, 0.01, (4000, OFFSETS.size))
    z = np.abs(signed + noise) if magnitude_of_noise else np.abs(signed) + noise
    fit = wasabi_t1(z, OFFSETS, recovery_time_s=2.0, noise_sd=0.01, **setting)
    for name in ("b1_ut", "b0_ppm", "t1_s"):
        scatter = fit.parameters[name].std(ddof=1)
        assert fit.standard_errors[name].mean() == pytest.approx(scatter, rel=0.08)


def test_a_sample_within_its_noise_counts_by_its_sign(rng):
    """The errors are those of the derivatives, weighed by erf(Z / (sqrt(2) noise))^2 (NumPy, SciPy)."""
    from scipy.special import erf

    setting, truth = SIGNS[0]
    z = published_with_t1(OFFSETS, setting, 2.0, *truth) + rng.normal(0, 0.01, OFFSETS.size)
    fit = wasabi_t1(z, OFFSETS, recovery_time_s=2.0, noise_sd=0.02, **setting)
    names = ("b1_ut", "b0_ppm", "t1_s")
    best = np.array([float(fit.parameters[name]) for name in names])
    curve = published_with_t1(OFFSETS, setting, 2.0, *best)
    sides = [published_with_t1(OFFSETS, setting, 2.0, *(best + h)) for h in [*1e-6 * np.eye(3)]]
    slopes = (np.array(sides) - curve) / 1e-6
    scatter = float(fit.rmse) * np.sqrt(OFFSETS.size / (OFFSETS.size - 3))
    weights = erf(curve / (np.sqrt(2) * scatter)) ** 2
    assert weights.min() < 0.99
    errors = 0.02 * np.sqrt(np.diag(np.linalg.inv((slopes * weights) @ slopes.T)))
    np.testing.assert_allclose([float(fit.standard_errors[name]) for name in names], errors, rtol=1e-3)


def test_they_are_reached_through_the_spectra():
    assert zspectrum.wasabi is wasabi
    assert zspectrum.wasabi_t1 is wasabi_t1
