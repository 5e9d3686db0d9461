"""19F concentration from a reference tube: closed forms, the order of corrections, errors by repetition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import IllConditioned, ImplausibleValue
from imgtheranostics.mri.fluorine import ReferenceTube, fluorine_concentration, relaxation_weight, spins
from imgtheranostics.volume import Flag

NAME, LIMIT = "concentration_mm", "detection_limit_mm"


def magnitude(rng, amplitude, n, noise=1.0):
    return np.abs(amplitude + noise * (rng.normal(size=n) + 1j * rng.normal(size=n)))


def biased(amplitude, noise=1.0):
    """A magnitude whose debiased amplitude is exactly this."""
    return np.hypot(amplitude, np.sqrt(2) * noise)


TUBE = ReferenceTube(np.full(100, biased(50.0)), concentration_mm=100.0)


@given(st.floats(5, 500), st.floats(0.2, 1.0), st.floats(0.2, 1.0), st.floats(0.5, 2.0))
def test_formula(amplitude, weight, tube_weight, b1_factor):
    """mri.md F18: C_ref (S/S_ref)(W_ref/W) x B1 factor."""
    tube = ReferenceTube(TUBE.signal, 100.0, weight=tube_weight)
    fit = fluorine_concentration(biased(amplitude), tube, noise_sd=1.0, weight=weight, b1_factor=b1_factor)
    expected = 100 * amplitude / 50 * tube_weight / weight * b1_factor
    assert float(fit.parameters[NAME]) == pytest.approx(expected, rel=1e-9)
    assert float(fit.parameters[LIMIT]) == pytest.approx(expected * 3 / amplitude, rel=1e-9)


def test_relaxation_weight_in_closed_form():
    """F18: at 90 degrees, TR = T1 and TE = T2, W = (1 - 1/e)/e; and the Ernst angle is the best."""
    weight = relaxation_weight(flip_angle_deg=90, repetition_time_s=1.0, echo_time_s=0.1, t1_s=1.0, t2_s=0.1)
    assert float(weight) == pytest.approx((1 - np.exp(-1)) * np.exp(-1))
    ernst = np.degrees(np.arccos(np.exp(-0.5)))
    angles = [
        relaxation_weight(flip_angle_deg=a, repetition_time_s=0.5, echo_time_s=0.01, t1_s=1.0, t2_s=0.1)
        for a in (ernst - 3, ernst, ernst + 3)
    ]
    assert angles[1] > max(angles[0], angles[2])
    half = relaxation_weight(
        flip_angle_deg=60, repetition_time_s=1.0, echo_time_s=0.1, t1_s=1.0, t2_s=0.1, b1=0.5
    )
    assert float(half) == pytest.approx(
        float(
            relaxation_weight(flip_angle_deg=30, repetition_time_s=1.0, echo_time_s=0.1, t1_s=1.0, t2_s=0.1)
        )
    )


def test_noise_bias_is_removed_before_the_background_is_subtracted():
    """In the other order, sqrt((S - B)^2 - 2 sigma^2), the result would be another."""
    signal, background = biased(12.0), np.full(50, biased(4.0))
    fit = fluorine_concentration(signal, TUBE, noise_sd=1.0, background=background)
    assert float(fit.parameters[NAME]) == pytest.approx(100 * (12 - 4) / 50, rel=1e-9)
    wrong = 100 * np.sqrt((signal - background[0]) ** 2 - 2) / 50
    assert abs(wrong / float(fit.parameters[NAME]) - 1) > 0.01


def test_error_is_the_scatter_of_repeats_and_the_tubes_is_kept_apart(rng):
    fit = fluorine_concentration(magnitude(rng, 15.0, 5000), TUBE, noise_sd=1.0)
    assert fit.standard_errors[NAME].mean() == pytest.approx(fit.parameters[NAME].std(), rel=0.1)
    values, shared = [], []
    for _ in range(500):
        tube = ReferenceTube(magnitude(rng, 20.0, 30), 100 + 3 * rng.normal(), uncertainty_mm=3.0)
        one = fluorine_concentration(biased(15.0), tube, noise_sd=1.0, background=magnitude(rng, 4.0, 20))
        values.append(float(one.parameters[NAME]))
        shared.append(float(one.calibration_errors[NAME]))
    assert np.mean(shared) == pytest.approx(np.std(values), rel=0.1)


def test_voxels_of_noise_are_nan_and_weak_ones_flagged_by_the_limit_asked_for():
    fit = fluorine_concentration([1.0, biased(4.0), biased(6.0), np.nan], TUBE, noise_sd=1.0, detection_snr=5)
    np.testing.assert_array_equal(fit.flags, [Flag.BELOW_NOISE, Flag.BELOW_NOISE, 0, Flag.INVALID_INPUT])
    np.testing.assert_array_equal(np.isnan(fit.parameters[NAME]), [True, False, False, True])
    np.testing.assert_allclose(fit.parameters[LIMIT][:3], 10.0, rtol=1e-9)


def test_bad_weights_are_flagged_and_masked_voxels_left():
    fit = fluorine_concentration(
        np.full(4, 20.0), TUBE, noise_sd=1.0, weight=[1.0, 0.0, np.nan, 1.0], mask=[True, True, True, False]
    )
    np.testing.assert_array_equal(fit.flags, [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT, Flag.MASKED_OUT])


def test_cautions_say_what_relaxation_was_taken_for():
    plain = fluorine_concentration(20.0, TUBE, noise_sd=1.0)
    assert [caution.code for caution in plain.warnings] == ["relaxation-not-corrected"]
    weighted = fluorine_concentration(20.0, TUBE, noise_sd=1.0, weight=0.5)
    assert [caution.code for caution in weighted.warnings] == ["fluorine-t1-depends-on-oxygen"]


def test_a_tube_in_the_noise_is_refused(rng):
    with pytest.raises(IllConditioned, match="reference tube"):
        fluorine_concentration(20.0, ReferenceTube(magnitude(rng, 0.0, 50), 100.0), noise_sd=1.0)


@pytest.mark.parametrize(
    "values",
    [{"concentration_mm": 0.0}, {"concentration_mm": np.nan}, {"weight": 0.0}, {"uncertainty_mm": -1.0}],
)
def test_a_tube_that_cannot_be_is_refused(values):
    with pytest.raises(ImplausibleValue, match="tube"):
        ReferenceTube(**({"signal": [50.0], "concentration_mm": 100.0} | values))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"t1_s": 1000.0}, "t1_s"),
        ({"t2_s": 0.0}, "t2_s"),
        ({"flip_angle_deg": 1.5}, "radians"),
        ({"echo_time_s": 10.0}, "milliseconds"),
    ],
)
def test_weights_of_other_units_are_refused(change, match):
    protocol = {
        "flip_angle_deg": 60.0,
        "repetition_time_s": 1.0,
        "echo_time_s": 0.01,
        "t1_s": 1.0,
        "t2_s": 0.1,
    }
    with pytest.raises(ImplausibleValue, match=match):
        relaxation_weight(**(protocol | change))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"noise_sd": 0.0}, "noise_sd"),
        ({"detection_snr": 20}, "detection_snr"),
        ({"n_coils": 1.5}, "n_coils"),
    ],
)
def test_choices_that_do_not_fit_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        fluorine_concentration(20.0, TUBE, **({"noise_sd": 1.0} | options))


def test_nuclei_in_a_voxel():
    """1 mmol/L in 1 uL are 1 nmol: 6.022e14."""
    assert float(spins(1.0, 1e-3)) == pytest.approx(6.02214076e14)
