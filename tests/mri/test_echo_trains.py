"""Stimulated echoes: the train beside an independent phase graph, and the fit of T2 to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.mri.decay import fit_t2
from imgtheranostics.mri.epg import echo_train
from imgtheranostics.volume import Flag

SPACING = 0.01


def phase_graph(t2, t1, spacing, n, angle_rad):
    """Textbook extended phase graph: complex states, half spacings, recovery of equilibrium included.

    Rotation, relaxation and shift matrices as in Weigel, J Magn Reson Imaging 2015;41:266; excitation about
    y, refocusing about x.
    """
    states = np.zeros((3, 2 * n + 3), complex)  # F+, F-, Z by order
    states[0, 0] = states[1, 0] = 1.0
    half, c, s = angle_rad / 2, np.cos(angle_rad), np.sin(angle_rad)
    rotation = np.array(
        [
            [np.cos(half) ** 2, np.sin(half) ** 2, -1j * s],
            [np.sin(half) ** 2, np.cos(half) ** 2, 1j * s],
            [-0.5j * s, 0.5j * s, c],
        ]
    )
    relaxation = np.exp(-spacing / 2 / np.array([[t2], [t2], [t1]]))

    def half_spacing(states):
        states = relaxation * states
        states[2, 0] += 1 - relaxation[2, 0]
        moved = states.copy()
        moved[0, 1:] = states[0, :-1]
        moved[1, :-1] = states[1, 1:]
        moved[1, -1] = 0
        moved[0, 0] = np.conj(moved[1, 0])
        return moved

    echoes = []
    for _ in range(n):
        states = half_spacing(rotation @ half_spacing(states))
        echoes.append(states[0, 0])
    return np.array(echoes)


@given(
    t2=st.floats(0.005, 1.0),
    t1=st.floats(0.05, 5.0),
    spacing=st.floats(0.003, 0.03),
    n=st.integers(1, 24),
    angle=st.floats(5.0, 270.0),
)
def test_train_is_that_of_the_textbook(t2, t1, spacing, n, angle):
    expected = phase_graph(t2, t1, spacing, n, np.radians(angle))
    found = echo_train(t2, n, spacing, t1_s=t1, refocusing_angle_deg=angle)
    assert_allclose(expected.imag, 0, atol=1e-12)
    assert_allclose(found, expected.real, atol=1e-12)


def test_perfect_refocusing_is_exponential():
    found = echo_train(0.07, 20, SPACING, t1_s=0.3)
    assert_allclose(found, np.exp(-SPACING * np.arange(1, 21) / 0.07), rtol=1e-12)


def test_transmit_field_scales_the_angle():
    assert_allclose(
        echo_train(0.05, 8, SPACING, refocusing_angle_deg=160, relative_b1=0.75),
        echo_train(0.05, 8, SPACING, refocusing_angle_deg=120),
        rtol=1e-12,
    )


def test_first_echo_is_low_and_the_second_high():
    """Without relaxation, a train at 120 degrees: sin^2(60) = 3/4, then 1 - (1 - 3/4)^2 ... = 15/16."""
    found = echo_train(1e9, 2, SPACING, t1_s=1e9, refocusing_angle_deg=120)
    assert found[0] == pytest.approx(3 / 4)
    assert found[1] == pytest.approx(15 / 16)
    assert abs(phase_graph(1e9, 1e9, SPACING, 2, np.radians(120))[1]) == pytest.approx(15 / 16)


def trains(n_voxels, n, seed, angle=165.0):
    rng = np.random.default_rng(seed)
    t2, b1 = rng.uniform(0.01, 0.3, n_voxels), rng.uniform(0.55, 1.25, n_voxels)
    signal = [
        80 * echo_train(t, n, SPACING, t1_s=1.3, refocusing_angle_deg=angle, relative_b1=b)
        for t, b in zip(t2, b1, strict=True)
    ]
    return np.array(signal), SPACING * np.arange(1, n + 1), t2, b1


@pytest.mark.parametrize("drop_first", [False, True])
@pytest.mark.parametrize(("dtype", "digits"), [(np.float64, 1e-8), (np.float32, 1e-5)])
def test_map_of_the_transmit_field_removes_the_bias(drop_first, dtype, digits):
    signal, times, t2, b1 = trains(60, 16, seed=1)
    options = {"refocusing_angle_deg": 165, "t1_s": 1.3, "drop_first": drop_first}
    fit = fit_t2(signal.astype(dtype), times, model="epg", b1=b1, **options)
    assert_array_equal(fit.flags, 0)
    assert_allclose(fit.parameters["t2_s"], t2, rtol=digits)
    assert_allclose(fit.parameters["s0"], 80, rtol=digits)
    ignored = fit_t2(signal, times, model="exponential", drop_first=drop_first)
    assert np.max(ignored.parameters["t2_s"] / t2) > 1.2


def test_train_may_lack_its_first_echoes():
    signal, times, t2, b1 = trains(20, 12, seed=2)
    fit = fit_t2(signal[:, 2:], times[2:], model="epg", b1=b1, refocusing_angle_deg=165, t1_s=1.3)
    assert_allclose(fit.parameters["t2_s"], t2, rtol=1e-7)


def test_fit_is_that_of_curve_fit():
    """SciPy's errors are low by 0.9693 for eight degrees of freedom, c4 of the tables."""
    from scipy.optimize import curve_fit

    signal, times, t2, b1 = trains(10, 10, seed=3)
    signal = signal + np.random.default_rng(4).standard_normal(signal.shape)
    fit = fit_t2(signal, times, model="epg", b1=b1, refocusing_angle_deg=165, t1_s=1.3)

    for voxel in range(10):
        angle = np.radians(165 * b1[voxel])

        def model(_t, s0, t2, angle=angle):
            return s0 * np.abs(phase_graph(t2, 1.3, SPACING, 10, angle))

        values, covariance = curve_fit(model, times, signal[voxel], [80, t2[voxel]], xtol=1e-12, ftol=1e-12)
        assert fit.parameters["t2_s"][voxel] == pytest.approx(values[1], rel=1e-5)
        assert fit.standard_errors["t2_s"][voxel] == pytest.approx(
            covariance[1, 1] ** 0.5 / 0.96931, rel=1e-3
        )
        assert fit.standard_errors["s0"][voxel] == pytest.approx(covariance[0, 0] ** 0.5 / 0.96931, rel=1e-3)


def test_voxels_without_a_field_or_t1_are_flagged():
    signal, times, _, _ = trains(5, 8, seed=5)
    b1 = np.array([1.0, 0.0, np.nan, -0.5, np.inf])
    fit = fit_t2(signal, times, model="epg", b1=b1)
    assert_array_equal(fit.flags, [0] + 4 * [Flag.INVALID_B1])
    assert_array_equal(np.isnan(fit.parameters["t2_s"]), [False, True, True, True, True])
    t1 = np.array([1.0, 0.0, np.nan, 1.0, 1.0])
    fit = fit_t2(signal, times, model="epg", t1_s=t1)
    assert_array_equal(fit.flags, [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT, 0, 0])


def test_bad_signals_are_flagged():
    good = 10 * echo_train(0.05, 8, SPACING)
    bad = np.array([good, good, 0 * good, -good, good[::-1]])
    bad[1, 2] = np.nan
    fit = fit_t2(bad, SPACING * np.arange(1, 9), model="epg")
    invalid = Flag.INVALID_INPUT
    assert_array_equal(fit.flags, [0, invalid, invalid, Flag.NEGATIVE_AMPLITUDE, Flag.OUTSIDE_RANGE])
    assert np.isnan(fit.parameters["t2_s"][1:]).all()


def test_bytes_do_not_depend_on_workers():
    signal, times, _, b1 = trains(300, 8, seed=6)
    one, more = (fit_t2(signal, times, model="epg", b1=b1, workers=w) for w in (1, None))
    assert one.parameters["t2_s"].tobytes() == more.parameters["t2_s"].tobytes()
    assert one.standard_errors["s0"].tobytes() == more.standard_errors["s0"].tobytes()


def test_what_is_no_train_is_refused():
    with pytest.raises(ValueError, match="equally spaced"):
        fit_t2(np.ones(4), [0.01, 0.02, 0.04, 0.05], model="epg")
    with pytest.raises(ValueError, match="multiples of their spacing"):
        fit_t2(np.ones(4), [0.014, 0.024, 0.034, 0.044], model="epg")
    with pytest.raises(ValueError, match="at least 2 echoes"):
        fit_t2(np.ones(2), [0.01, 0.02], model="epg", drop_first=True)
    with pytest.raises(ValueError, match="b1 has shape"):
        fit_t2(np.ones((3, 4)), 0.01 * np.arange(1, 5), model="epg", b1=np.ones(2))
    for t1 in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="t1_s must be above 0"):
            fit_t2(np.ones(4), 0.01 * np.arange(1, 5), model="epg", t1_s=t1)


def test_radians_and_percent_are_refused():
    times = 0.01 * np.arange(1, 5)
    with pytest.raises(ImplausibleValue, match="radians"):
        fit_t2(np.ones(4), times, model="epg", refocusing_angle_deg=np.pi)
    with pytest.raises(ImplausibleValue, match="percent"):
        fit_t2(np.ones((2, 4)), times, model="epg", b1=np.array([95.0, 103.0]))
