"""Oxygen saturation: closed form, errors by repetition, haemoglobin that is absent or negative, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.msot.oxygenation import so2
from imgtheranostics.volume import Flag

REPEATS = 40_000


def scalar(fit, name="so2"):
    return float(fit.parameters[name]), float(fit.standard_errors[name])


def test_saturation_and_error_of_the_reference_sheet():
    """msot.md section 6: Hb 30, HbO2 70, standard errors of 2 each, no covariance: 0.700 +- 0.01523."""
    fit = so2(70.0, 30.0, hbo2_se=2.0, hb_se=2.0)
    assert scalar(fit) == pytest.approx((0.7, 0.01523), abs=5e-6)
    assert scalar(fit, "thb") == pytest.approx((100.0, np.sqrt(8.0)))
    assert fit.flags == 0
    assert fit.units == {"so2": "1", "thb": "[arb'U]"}


@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.6])
def test_errors_are_the_scatter_of_repeats(correlation, rng):
    """Issue 7: standard errors within 10 % of the observed scatter; here also the correlation matters."""
    sd = np.array([5.0, 4.0])
    shared = correlation * sd[0] * sd[1]
    noisy = rng.multivariate_normal([70.0, 30.0], [[25.0, shared], [shared, 16.0]], REPEATS)
    fit = so2(noisy[:, 0], noisy[:, 1], hbo2_se=sd[0], hb_se=sd[1], covariance=shared)
    for name in ("so2", "thb"):
        reported = np.sqrt(np.mean(fit.standard_errors[name] ** 2))
        assert reported == pytest.approx(np.std(fit.parameters[name]), rel=0.03)


@pytest.mark.parametrize(("detection", "kept"), [(3.0, 0.5), (4.0, 0.84), (6.0, 0.998)])
def test_errors_hold_down_to_the_threshold(detection, kept, rng):
    """Issue 7: within 10 % of the scatter, for total haemoglobin of so many of its standard errors.

    Of normal noise half pass at 3, and those above -1 and -3 standard deviations at 4 and 6.
    """
    error = 100.0 / detection / np.sqrt(2.0)
    noisy = np.array([70.0, 30.0]) + rng.normal(0.0, error, (REPEATS, 2))
    fit = so2(noisy[:, 0], noisy[:, 1], hbo2_se=error, hb_se=error)
    passed = np.isfinite(fit.parameters["so2"])
    assert passed.mean() == pytest.approx(kept, abs=0.01)
    value, reported = fit.parameters["so2"][passed], fit.standard_errors["so2"][passed]
    assert np.sqrt(np.mean(reported**2)) == pytest.approx(np.std(value), rel=0.1)


@pytest.mark.parametrize(
    ("hbo2", "hb"), [(0.0, 0.0), (3.0, -3.0), (2.0, -5.0), (-1.0, -1.0)], ids=["zero", "cancel", "-3", "-2"]
)
def test_no_saturation_without_haemoglobin(hbo2, hb):
    """msot.md section 2: THb = 0 is not a saturation of 0, and negative THb must not pass."""
    fit = so2(hbo2, hb, hbo2_se=0.0, hb_se=0.0)
    assert np.isnan(scalar(fit)).all()
    assert fit.flags & Flag.NEGATIVE_AMPLITUDE.value
    assert scalar(fit, "thb")[0] == hbo2 + hb


def test_haemoglobin_below_three_errors_is_masked_and_just_above_is_not():
    fit = so2([2.9, 3.1], [0.0, 0.0], hbo2_se=1.0, hb_se=0.0)
    assert np.isnan(fit.parameters["so2"]).tolist() == [True, False]
    assert fit.flags.tolist() == [Flag.BELOW_NOISE.value, 0]
    assert fit.parameters["thb"] == pytest.approx([2.9, 3.1])


def test_a_negative_amount_gives_a_saturation_outside_of_its_range_that_is_kept_and_flagged():
    fit = so2([12.0, -2.0], [-2.0, 12.0], hbo2_se=0.5, hb_se=0.5)
    assert fit.parameters["so2"] == pytest.approx([1.2, -0.2])
    assert (fit.flags == Flag.OUTSIDE_RANGE.value).all()


def test_what_is_no_number_or_outside_of_the_mask_is_nan_and_flagged():
    fit = so2(
        [np.nan, 7.0, np.inf, 7.0],
        [3.0, 3.0, 3.0, 3.0],
        hbo2_se=[0.1, np.nan, 0.1, 0.1],
        hb_se=0.1,
        mask=[True, True, True, False],
    )
    assert np.isnan(fit.parameters["so2"]).all()
    assert np.isnan(fit.standard_errors["so2"]).all()
    assert (fit.flags[:3] == Flag.INVALID_INPUT.value).all()
    assert fit.flags[3] == Flag.MASKED_OUT.value
    assert np.isnan(fit.parameters["thb"][3])


def test_single_precision_stays_single():
    fit = so2(np.float32([70.0]), np.float32([30.0]), hbo2_se=2.0, hb_se=2.0)
    assert fit.parameters["so2"].dtype == np.float32


@pytest.mark.parametrize(
    ("errors", "covariance", "message"),
    [((-1.0, 1.0), 0.0, "0 or more"), ((1.0, 1.0), 1.1, "covariance"), ((1.0, 1.0), -1.1, "covariance")],
)
def test_impossible_errors_are_refused(errors, covariance, message):
    with pytest.raises(ValueError, match=message):
        so2(7.0, 3.0, hbo2_se=errors[0], hb_se=errors[1], covariance=covariance)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="shape"):
        so2(np.ones(3), np.ones(2), hbo2_se=0.1, hb_se=0.1)
    with pytest.raises(ValueError, match="mask"):
        so2(np.ones(3), np.ones(3), hbo2_se=0.1, hb_se=0.1, mask=[True])


@given(oxygenated=st.floats(0.01, 1e6), deoxygenated=st.floats(0.0, 1e6), scale=st.floats(1e-3, 1e3))
def test_saturation_does_not_depend_on_the_scale_of_the_amounts(oxygenated, deoxygenated, scale):
    """What arbitrary units share cancels."""
    error = 0.01 * (oxygenated + deoxygenated)
    plain = so2(oxygenated, deoxygenated, hbo2_se=error, hb_se=error)
    scaled = so2(scale * oxygenated, scale * deoxygenated, hbo2_se=scale * error, hb_se=scale * error)
    assert scalar(scaled) == pytest.approx(scalar(plain), rel=1e-9)
    assert 0.0 <= scalar(plain)[0] <= 1.0
