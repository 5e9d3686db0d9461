"""Gas challenge: the moment of the change with its interval, differences of means and their errors."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.msot.gas_challenge import change_point, delta_so2
from imgtheranostics.volume import Flag

N = 60
TIMES = 10.0 * np.arange(N)
REPEATS = 4000


def steps(rng, *, before=25, jump=0.1, sd=0.03, repeats=REPEATS):
    curves = 0.6 + rng.normal(0.0, sd, (repeats, N))
    curves[:, before:] += jump
    return curves


@pytest.mark.parametrize("before", [10, 30, 48])
def test_the_interval_holds_the_change_as_often_as_it_says(before, rng):
    """4,000 repeats of a step of two standard deviations; steps are whole frames, so it is not exact."""
    fit = change_point(steps(rng, before=before, jump=0.06), TIMES)
    found = fit.flags == 0
    true = 0.5 * (TIMES[before - 1] + TIMES[before])
    low, high = fit.parameters["change_low_s"][found], fit.parameters["change_high_s"][found]
    assert found.mean() > 0.98
    assert 0.94 <= np.mean((low <= true) & (true <= high)) <= 0.995
    assert np.median(fit.parameters["change_s"][found]) == pytest.approx(true)


def test_a_step_without_noise_is_found_exactly():
    fit = change_point(np.where(np.arange(N) < 20, 0.6, 0.7), TIMES)
    assert float(fit.parameters["change_s"]) == 195.0
    assert float(fit.parameters["change_low_s"]) == 190.0
    assert float(fit.parameters["change_high_s"]) == 200.0


def test_noise_alone_has_no_change(rng):
    """At most 1 - level of curves of noise may show one."""
    fit = change_point(steps(rng, jump=0.0, repeats=20_000), TIMES)
    missing = fit.flags == Flag.NOT_ENHANCING.value
    assert 0.95 <= missing.mean() < 1.0
    assert np.isnan(fit.parameters["change_s"][missing]).all()
    assert (fit.parameters["p_value"][missing] > 0.05).all()


def test_the_change_does_not_depend_on_scale_or_offset(rng):
    curves = steps(rng, repeats=50)
    plain, scaled = change_point(curves, TIMES), change_point(1e4 * curves - 7.0, TIMES)
    np.testing.assert_array_equal(plain.parameters["change_s"], scaled.parameters["change_s"])


@pytest.mark.parametrize("change_s", [None, 245.0])
def test_difference_of_means_and_its_error_are_those_of_repeats(change_s, rng):
    """Frames beside the change are left out, so that a searched change biases nothing."""
    fit = delta_so2(steps(rng), TIMES, change_s=change_s)
    value = fit.parameters["delta_so2"]
    assert np.nanmean(value) == pytest.approx(0.1, abs=4 * np.nanstd(value) / np.sqrt(REPEATS))
    for name in ("delta_so2", "baseline", "challenge"):
        assert np.nanmean(fit.standard_errors[name]) == pytest.approx(
            np.nanstd(fit.parameters[name]), rel=0.05
        )
    assert np.nanmean(fit.parameters["baseline_sd"]) == pytest.approx(0.03, rel=0.02)


@pytest.mark.parametrize(("frames", "level"), [(60, 0.95), (60, 0.8), (14, 0.95)])
def test_the_interval_holds_the_difference_as_often_as_it_says(frames, level, rng):
    """4,000 repeats: known within 0.8 %; frames whose correlation is not real widen a few."""
    curves = steps(rng, before=frames // 2)[:, :frames]
    change_s = TIMES[frames // 2] - 5.0
    fit = delta_so2(curves, TIMES[:frames], change_s=change_s, buffer_frames=2, level=level)
    low, high = fit.parameters["delta_low"], fit.parameters["delta_high"]
    assert level - 0.012 < np.mean((low <= 0.1) & (high >= 0.1)) < level + 0.02


def test_errors_of_few_frames_are_not_too_small(rng):
    fit = delta_so2(steps(rng, jump=0.0)[:, :14], TIMES[:14], change_s=65.0, buffer_frames=3)
    assert np.mean(fit.standard_errors["delta_so2"]) == pytest.approx(
        np.std(fit.parameters["delta_so2"]), rel=0.05
    )


def test_errors_of_correlated_frames_are_widened(rng):
    """First-order autoregression with 0.6, as breathing and drift make."""
    noise = rng.normal(0.0, 0.03, (REPEATS, N))
    for frame in range(1, N):
        noise[:, frame] += 0.6 * noise[:, frame - 1]
    fit = delta_so2(0.6 + noise, TIMES, change_s=295.0)
    assert np.mean(fit.standard_errors["delta_so2"]) == pytest.approx(
        np.std(fit.parameters["delta_so2"]), rel=0.1
    )


def test_the_buffer_takes_the_transition_out():
    """A ramp of ten frames: with five frames on each side the plateaus alone are compared."""
    ramp = np.clip((np.arange(N) - 24.5) / 10.0 + 0.5, 0.0, 1.0) * 0.2
    assert float(delta_so2(ramp, TIMES, change_s=245.0).parameters["delta_so2"]) == pytest.approx(0.2)
    assert float(delta_so2(ramp, TIMES, change_s=245.0, buffer_frames=0).parameters["delta_so2"]) < 0.19


def test_responding_means_more_than_two_baseline_deviations():
    """msot.md M8; the scatter of the baseline is 0.01 exactly."""
    zigzag = 0.6 + 0.01 * np.sqrt(29.0 / 30.0) * (-1.0) ** np.arange(N)
    curves = np.stack([zigzag + jump * (np.arange(N) >= 30) for jump in (0.019, 0.021, -0.021)])
    fit = delta_so2(curves, TIMES, change_s=295.0, buffer_frames=0)
    assert fit.parameters["baseline_sd"] == pytest.approx([0.01] * 3)
    assert fit.parameters["responding"].tolist() == [0.0, 1.0, 1.0]


def test_no_difference_where_no_change_is_known_or_found(rng):
    fit = delta_so2(steps(rng, jump=0.0, repeats=200), TIMES)
    none = fit.flags == Flag.NOT_ENHANCING.value
    assert none.mean() > 0.9
    assert np.isnan(fit.parameters["delta_so2"][none]).all()
    assert (fit.parameters["responding"][none] == 0.0).all()


def test_only_the_stated_span_is_used(rng):
    """The gas is changed back after 400 s."""
    curve = steps(rng, repeats=1, sd=1e-4)[0]
    curve[40:] -= 0.1
    fit = delta_so2(curve, TIMES, until_s=399.0)
    assert float(fit.parameters["delta_so2"]) == pytest.approx(0.1, abs=1e-3)
    assert float(fit.parameters["change_s"]) == 245.0


def test_frames_that_are_no_numbers_spoil_only_the_means_that_they_are_in():
    curves = np.tile(np.where(np.arange(N) < 30, 0.6, 0.7), (3, 1))
    curves[0, 31], curves[1, 50] = np.nan, np.nan
    fit = delta_so2(curves, TIMES, change_s=295.0, mask=[True, True, False])
    assert float(fit.parameters["delta_so2"][0]) == pytest.approx(0.1)
    assert fit.flags.tolist() == [0, Flag.INVALID_INPUT.value, Flag.MASKED_OUT.value]
    assert np.isnan(fit.parameters["delta_so2"][1:]).all()
    assert np.isnan(fit.parameters["responding"][1:]).all()
    found = change_point(curves, TIMES)
    assert found.flags[:2].tolist() == [Flag.INVALID_INPUT.value] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"change_s": 20.0}, "fewer than 3 frames"),
        ({"buffer_frames": -1}, "whole number"),
        ({"buffer_frames": 1.5}, "whole number"),
        ({"level": 1.0}, "level"),
        ({"until_s": 30.0}, "at least 6 frames"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        delta_so2(np.zeros(N), TIMES, **options)


def test_times_must_fit():
    with pytest.raises(ValueError, match="increase"):
        change_point(np.zeros(N), TIMES[::-1])
    with pytest.raises(ValueError, match="samples"):
        change_point(np.zeros(N), TIMES[:-1])
