"""Percent change, enhancement ratio and change of rates: closed forms, errors by repetition, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.signal_change import (
    percent_change,
    rate_change,
    rate_change_from_times,
    relative_enhancement,
    signal_enhancement_ratio,
)
from imgtheranostics.volume import Flag

N = 4000


def agrees(reported, values):
    """Mean reported standard error within 10 % of the scatter of repeats (issue 4, acceptance)."""
    assert np.mean(reported) == pytest.approx(np.std(values), rel=0.1)


def test_percent_change_of_two_images():
    fit = percent_change(200.0, 250.0, pre_error=3.0, post_error=4.0)
    assert float(fit.parameters["enhancement_percent"]) == pytest.approx(25.0)
    # d/dpost = 100/200, d/dpre = -100 * 250/200^2
    assert float(fit.standard_errors["enhancement_percent"]) == pytest.approx(np.hypot(2.0, 1.875))
    assert fit.units == {"enhancement_percent": "%"}
    assert fit.parameters["enhancement_percent"].shape == ()


def test_percent_change_error_is_the_scatter_of_repeats(rng):
    pre, post = 100 + 2 * rng.normal(size=N), 160 + 3 * rng.normal(size=N)
    fit = percent_change(pre, post, pre_error=2.0, post_error=3.0)
    agrees(fit.standard_errors["enhancement_percent"], fit.parameters["enhancement_percent"])


@pytest.mark.parametrize(
    ("pre", "post", "flag"),
    [
        (0.0, 1.0, Flag.INVALID_INPUT),
        (-5.0, 1.0, Flag.INVALID_INPUT),
        (np.nan, 1.0, Flag.INVALID_INPUT),
        (1.0, np.inf, Flag.INVALID_INPUT),
        (2.0, 5.0, Flag.BELOW_NOISE),
    ],
)
def test_a_change_over_nothing_is_no_number(pre, post, flag):
    fit = percent_change([pre, 100.0], [post, 110.0], pre_error=1.0, post_error=1.0)
    assert np.isnan(fit.parameters["enhancement_percent"][0])
    assert np.isnan(fit.standard_errors["enhancement_percent"][0])
    assert fit.flags[0] & flag
    assert fit.parameters["enhancement_percent"][1] == pytest.approx(10.0)
    assert fit.flags[1] == 0


def test_without_errors_there_is_a_value_but_no_standard_error():
    fit = percent_change(np.array([100.0]), np.array([110.0]))
    assert fit.parameters["enhancement_percent"][0] == pytest.approx(10.0)
    assert np.isnan(fit.standard_errors["enhancement_percent"][0])


def test_masked_voxels_are_nan_and_flagged_and_single_precision_stays():
    fit = percent_change(np.ones(3, np.float32), np.full(3, 2, np.float32), mask=[True, False, True])
    np.testing.assert_array_equal(fit.flags, [0, Flag.MASKED_OUT, 0])
    np.testing.assert_array_equal(fit.parameters["enhancement_percent"], [100, np.nan, 100])
    assert fit.parameters["enhancement_percent"].dtype == np.float32


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="shape"):
        percent_change(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="mask has shape"):
        percent_change(np.ones(3), np.ones(3), mask=[True])


@given(st.floats(1, 1e4), st.floats(0.01, 100), st.floats(0.01, 1e4))
def test_percent_change_does_not_depend_on_the_scale(pre, ratio, scale):
    one = percent_change(pre, pre * ratio).parameters["enhancement_percent"]
    other = percent_change(pre * scale, pre * ratio * scale).parameters["enhancement_percent"]
    assert float(other) == pytest.approx(float(one), rel=1e-9, abs=1e-9)


def test_enhancement_ratio_of_three_images(rng):
    """mri.md F13: (S1 - S0) / (S2 - S0)."""
    fit = signal_enhancement_ratio(100.0, 180.0, 160.0)
    assert float(fit.parameters["signal_enhancement_ratio"]) == pytest.approx(80 / 60)
    noisy = [level + 2 * rng.normal(size=N) for level in (100, 180, 160)]
    fit = signal_enhancement_ratio(*noisy, pre_error=2.0, early_error=2.0, late_error=2.0)
    agrees(fit.standard_errors["signal_enhancement_ratio"], fit.parameters["signal_enhancement_ratio"])


def test_enhancement_ratio_without_enhancement_is_flagged():
    fit = signal_enhancement_ratio(
        [100, 100, np.nan], [120, 120, 1], [100, 103, 2], pre_error=1.0, late_error=1.0
    )
    assert np.isnan(fit.parameters["signal_enhancement_ratio"]).all()
    assert (fit.flags[:2] & Flag.NOT_ENHANCING).all()
    assert fit.flags[2] & Flag.INVALID_INPUT


@pytest.mark.parametrize("kind", ["r1", "r2", "r2star"])
def test_change_of_rate_from_rates_and_from_times(kind):
    name = f"delta_{kind}_per_s"
    rates = rate_change(1 / 1.4, 1 / 0.5, kind=kind, pre_error=0.01, post_error=0.02)
    times = rate_change_from_times(1.4, 0.5, kind=kind, pre_error=0.01 * 1.4**2, post_error=0.02 * 0.5**2)
    for fit in (rates, times):
        assert float(fit.parameters[name]) == pytest.approx(2 - 1 / 1.4)
        assert float(fit.standard_errors[name]) == pytest.approx(np.hypot(0.01, 0.02))
        assert fit.units[name] == "1/s"


def test_rate_error_from_times_is_the_scatter_of_repeats(rng):
    pre, post = 1.4 + 0.02 * rng.normal(size=N), 0.5 + 0.01 * rng.normal(size=N)
    fit = rate_change_from_times(pre, post, kind="r1", pre_error=0.02, post_error=0.01)
    agrees(fit.standard_errors["delta_r1_per_s"], fit.parameters["delta_r1_per_s"])


@pytest.mark.parametrize(("kind", "before", "after"), [("r1", 1400.0, 700.0), ("r2star", 25.0, 12.0)])
def test_relaxation_times_in_milliseconds_are_refused(kind, before, after):
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        rate_change_from_times([before, np.nan], [after, 0.0], kind=kind)
    masked = rate_change_from_times([before, 1.0], [after, 0.5], kind=kind, mask=[False, True])
    assert masked.parameters[f"delta_{kind}_per_s"][1] == 1.0


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_time_that_is_none_gives_no_rate(bad):
    fit = rate_change_from_times([bad, 1.0], [1.0, 0.5], kind="r2")
    assert np.isnan(fit.parameters["delta_r2_per_s"][0])
    assert fit.flags[0] & Flag.INVALID_INPUT
    assert fit.parameters["delta_r2_per_s"][1] == 1.0


def test_unknown_rate_is_refused():
    with pytest.raises(ValueError, match="r1, r2 or r2star"):
        rate_change(1.0, 2.0, kind="r3")


def test_relative_enhancement_over_an_explicit_baseline():
    """Point 0 is left out by the window, as the OSIPI curves need it (mri.md section 6)."""
    signal = np.array([500.0, 100.0, 102.0, 98.0, 150.0, 200.0])
    fit = relative_enhancement(signal, baseline=(1, 4))
    np.testing.assert_allclose(fit.parameters["enhancement_percent"], [400, 0, 2, -2, 50, 100], atol=1e-12)
    assert fit.flags.shape == signal.shape


def test_relative_enhancement_error_holds_for_every_sample_also_inside_the_baseline(rng):
    signal = np.r_[np.full(6, 100.0), 150.0, 300.0, 220.0] + 2 * rng.normal(size=(N, 9))
    for noise in (None, 2.0):
        fit = relative_enhancement(signal, baseline=(1, 6), noise_sd=noise)
        for sample in range(9):
            agrees(
                fit.standard_errors["enhancement_percent"][:, sample],
                fit.parameters["enhancement_percent"][:, sample],
            )


def test_one_baseline_sample_gives_no_standard_error():
    fit = relative_enhancement(np.array([100.0, 150.0]), baseline=(0, 1))
    assert fit.parameters["enhancement_percent"][1] == 50
    assert np.isnan(fit.standard_errors["enhancement_percent"]).all()


def test_baseline_that_is_not_positive_or_is_noise_is_flagged():
    signal = np.array(
        [[-1.0, -1.0, 5.0], [0.0, 0.0, 5.0], [np.nan, 1.0, 5.0], [1.0, -0.5, 5.0], [9, 10, np.nan]]
    )
    fit = relative_enhancement(signal, baseline=(0, 2))
    assert np.isnan(fit.parameters["enhancement_percent"][:4]).all()
    assert (fit.flags[:3] & Flag.INVALID_INPUT).all()
    assert (fit.flags[3] & Flag.BELOW_NOISE).all()
    np.testing.assert_array_equal(fit.flags[4], [0, 0, Flag.INVALID_INPUT])


def test_order_of_memory_does_not_matter(rng):
    signal = 100 + rng.normal(size=(3, 4, 2, 7))
    mask = rng.random((3, 4, 2)) > 0.3
    one = relative_enhancement(signal, baseline=(0, 3), mask=mask)
    other = relative_enhancement(np.asfortranarray(signal), baseline=(0, 3), mask=mask)
    np.testing.assert_array_equal(
        one.parameters["enhancement_percent"], other.parameters["enhancement_percent"]
    )
    np.testing.assert_array_equal(one.flags, other.flags)
    assert (one.flags[~mask] == Flag.MASKED_OUT).all()


@pytest.mark.parametrize("baseline", [(0, 0), (2, 1), (-1, 2), (0, 6), 3, (0.5, 2), ("a", 1)])
def test_a_baseline_that_is_no_window_is_refused(baseline):
    with pytest.raises(ValueError, match="baseline"):
        relative_enhancement(np.ones(5), baseline=baseline)
