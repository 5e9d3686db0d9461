"""Signal to concentration against the signal equation run forwards, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.dce import signal_to_concentration

SCAN = {
    "flip_angle_deg": 20.0,
    "repetition_time_s": 0.005,
    "t1_s": 1.2,
    "relaxivity": 4.5,
    "baseline": (0, 3),
}


def signal_of(concentration, *, flip_angle_deg, repetition_time_s, t1_s, relaxivity, b1=1.0, s0=700.0, **_):
    """The spoiled gradient-echo equation (F1), without T2* decay."""
    angle = np.radians(flip_angle_deg) * b1
    e1 = np.exp(-repetition_time_s * (1 / t1_s + relaxivity * concentration))
    return s0 * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))


@given(
    st.floats(5, 60),
    st.floats(0.002, 0.05),
    st.floats(0.2, 4),
    st.floats(1, 30),
    st.floats(0.6, 1.3),
    st.integers(0, 2**32 - 1),
)
def test_inverts_the_signal_equation(flip, repetition, t1, relaxivity, b1, seed):
    truth = np.concatenate([np.zeros(4), np.random.default_rng(seed).uniform(0, 5, 20)])
    scan = {"flip_angle_deg": flip, "repetition_time_s": repetition, "t1_s": t1, "relaxivity": relaxivity}
    found = signal_to_concentration(signal_of(truth, **scan, b1=b1), **scan, b1=b1, baseline=(0, 4))
    saturation = repetition * (1 / t1 + relaxivity * truth)
    # Near saturation the signal no longer tells: rounding of the signal grows like exp(TR R1).
    np.testing.assert_allclose(
        found, truth, atol=1e-11 * np.exp(saturation.max()) / (repetition * relaxivity)
    )


def test_equals_a_plain_loop_in_double_precision(rng):
    """One voxel at a time with math from the formula F9; the sheet asks for 1e-9."""
    signal = rng.uniform(90, 140, (2, 3, 12))
    t1, b1 = rng.uniform(0.5, 2, (2, 3)), rng.uniform(0.8, 1.2, (2, 3))
    found = signal_to_concentration(signal, **{**SCAN, "t1_s": t1, "baseline": (1, 5)}, b1=b1)
    for i, j in np.ndindex(2, 3):
        cosine = np.cos(np.radians(20) * b1[i, j])
        e10 = np.exp(-0.005 / t1[i, j])
        for k in range(12):
            a = signal[i, j, k] / np.mean(signal[i, j, 1:5]) * (1 - e10) / (1 - e10 * cosine)
            expected = (-np.log((1 - a) / (1 - a * cosine)) / 0.005 - 1 / t1[i, j]) / 4.5
            assert found[i, j, k] == pytest.approx(expected, abs=1e-9)


def test_a_signal_that_no_concentration_gives_is_not_a_number():
    """Above full saturation E1 would be negative, at or below zero it would be above 1: never clipped."""
    base = signal_of(0.0, **SCAN)
    saturated = 700.0 * np.sin(np.radians(20))
    signal = np.array([base, base, base, 1.001 * saturated, 50 * saturated, 0.0, -base, 0.99 * saturated])
    found = signal_to_concentration(signal, **SCAN)
    assert np.isnan(found[3:7]).all()
    assert np.isfinite(found[[0, 1, 2, 7]]).all()
    assert found[7] > 50


def test_noise_below_the_baseline_stays_negative():
    base = signal_of(0.0, **SCAN)
    found = signal_to_concentration(np.array([base, base, base, 0.97 * base]), **SCAN)
    assert found[3] < 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("t1_s", 0.0), ("t1_s", np.nan), ("t1_s", -1.0), ("b1", 0.0), ("b1", np.nan), ("b1", -1.0)],
)
def test_a_voxel_without_t1_or_transmit_field_is_not_a_number(name, value):
    signal = np.tile(signal_of(np.zeros(5), **SCAN), (2, 1))
    maps = {"t1_s": np.full(2, 1.2), "b1": np.ones(2)}
    maps[name][0] = value
    found = signal_to_concentration(signal, **{**SCAN, **maps})
    assert np.isnan(found[0]).all()
    assert np.abs(found[1]).max() < 1e-12


def test_a_baseline_that_is_not_above_zero_is_not_a_number():
    found = signal_to_concentration(np.array([[0.0, 0, 0, 5, 6], [-1, 1, -1, 5, 6]]), **SCAN)
    assert np.isnan(found).all()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_layout_and_type_of_the_signal_are_kept(rng, order, dtype):
    signal = np.asarray(rng.uniform(80, 120, (4, 3, 2, 9)).astype(dtype), order=order)
    found = signal_to_concentration(signal, **SCAN)
    assert found.shape == signal.shape
    assert found.dtype == (np.float32 if dtype == np.float32 else np.float64)
    expected = signal_to_concentration(signal.astype(np.float64).copy(order="C"), **SCAN)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


def test_many_blocks_give_the_same_as_one(rng):
    signal = rng.uniform(80, 120, (3000, 400))
    found = signal_to_concentration(signal, **SCAN)
    assert np.array_equal(found[2990:], signal_to_concentration(signal[2990:], **SCAN))


@pytest.mark.parametrize(
    "window", [(0, 0), (3, 2), (-2, 3), (0, 6), (5, 6), (0.5, 2), None, 3, (1,), "ab", (0, 1, 2)]
)
def test_a_window_outside_the_series_is_refused(window):
    with pytest.raises(ValueError, match="baseline"):
        signal_to_concentration(np.ones(5), **{**SCAN, "baseline": window})


def test_the_window_is_not_optional():
    with pytest.raises(TypeError, match="baseline"):
        signal_to_concentration(np.ones(5), **{name: SCAN[name] for name in SCAN if name != "baseline"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flip_angle_deg": 0.35}, "radians"),
        ({"flip_angle_deg": 0.0}, "flip angle"),
        ({"repetition_time_s": 25.0}, "milliseconds"),
        ({"repetition_time_s": 5.0}, "milliseconds"),
        ({"repetition_time_s": 0.0}, "repetition_time_s"),
        ({"t1_s": 1200.0}, "milliseconds"),
        ({"b1": np.full(1, 98.0)}, "percent"),
    ],
)
def test_values_in_another_unit_are_refused(change, words):
    with pytest.raises(ImplausibleValue, match=words):
        signal_to_concentration(np.ones((1, 5)), **{**SCAN, **change})


@pytest.mark.parametrize("relaxivity", [0.0, -4.5, np.nan, np.inf])
def test_a_relaxivity_that_is_not_above_zero_is_refused(relaxivity):
    with pytest.raises(ValueError, match="relaxivity"):
        signal_to_concentration(np.ones(5), **{**SCAN, "relaxivity": relaxivity})


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="t1_s has shape"):
        signal_to_concentration(np.ones((4, 5)), **{**SCAN, "t1_s": np.ones(3)})
