"""Frame averages of convolutions against quadrature, and compartment models against difference quotients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

from imgtheranostics.kernels import compartment_models as models
from imgtheranostics.kernels.frame_convolution import exponential_integrals, frame_averages

TIME = np.array([0.0, 7.0, 14.0, 21.0, 40.0, 90.0, 200.0, 600.0])
VALUES = np.array([0.0, 30.0, 100.0, 60.0, 35.0, 20.0, 12.0, 5.0])
START = np.array([0.0, 10.0, 20.0, 60.0, 60.0, 180.0])
END = np.array([10.0, 20.0, 60.0, 60.0, 180.0, 580.0])


def averages(rate, delay=0.0, start=START, end=END):
    out = np.empty((4, start.size))
    workspace = np.empty((3, 6)), np.empty(9), np.empty(9)
    frame_averages(start, end, TIME, VALUES, rate, delay, *workspace, out)
    return out


def curve(t, delay=0.0):
    return np.interp(t - delay, TIME, VALUES, left=0.0)


@given(x=st.floats(0, 700))
def test_integrals_of_an_exponential_are_those_of_quadrature(x):
    found = exponential_integrals(x)
    assert found[0] == pytest.approx(np.exp(-x))
    for k in range(4):
        expected = quad(lambda v, k=k: v**k * np.exp(-x * v), 0, 1, points=[min(1, 5 / (x + 1))], epsabs=0)
        assert found[1 + k] == pytest.approx(expected[0], rel=1e-9)


@pytest.mark.parametrize("rate", [0.0, 1e-9, 1e-4, 0.01, 1.0])
@pytest.mark.parametrize("delay", [0.0, 13.0, -9.0])
def test_averages_are_those_of_the_differential_equation(rate, delay):
    """I' = c - rate I and M' = I - rate M, integrated by SciPy in pieces between the corners of c."""

    def slope(t, y):
        return [curve(t, delay), curve(t, delay) - rate * y[1], y[1] - rate * y[2], y[1], y[2]]

    corners = np.unique(np.r_[START, END, TIME + delay, 0.0])
    corners = corners[corners <= END[-1]]
    states = {corners[0]: np.zeros(5)}
    for one, two in itertools.pairwise(corners):
        done = solve_ivp(slope, (one, two), states[one], rtol=1e-11, atol=1e-9, method="DOP853")
        states[two] = done.y[:, -1]
    found = averages(rate, delay)
    for i, (start, end) in enumerate(zip(START, END, strict=True)):
        if start == end:
            expected = [curve(start, delay), states[start][1], states[start][2]]
        else:
            change = (states[end] - states[start]) / (end - start)
            expected = [change[0], change[3], change[4]]
            assert found[1, i] == pytest.approx((curve(end, delay) - curve(start, delay)) / (end - start))
        np.testing.assert_allclose(found[[0, 2, 3], i], expected, rtol=1e-7, atol=1e-6)


RATES = {
    models.ONE_TISSUE: ["k1", "k2"],
    models.IRREVERSIBLE: ["k1", "k2", "k3"],
    models.TWO_TISSUE: ["k1", "k2", "k3", "k4"],
}
INFLOW = np.stack([TIME, VALUES, 0.7 * VALUES])
FRAMES = np.stack([START, END, np.array([1.0, 0.5, 2.0, 1.0, 1.0, 1.5])])


def evaluated(model, parameters):
    n, p = START.size, len(parameters)
    curve, jacobian = np.empty(n), np.empty((p, n))
    workspace = np.empty(4), np.empty((4, p)), np.empty((models.BASIS_ROWS, n)), np.empty((3, 18))
    models.evaluate_tissue(
        model, np.array(parameters, float), FRAMES, INFLOW, False, *workspace, curve, jacobian
    )
    return curve, jacobian


@given(data=st.data(), model=st.sampled_from(sorted(RATES)))
def test_derivatives_are_those_of_difference_quotients(data, model):
    rates = [data.draw(st.floats(1e-4, 0.05), label=name) for name in RATES[model]]
    parameters = np.array([*rates, data.draw(st.floats(0, 0.5)), data.draw(st.floats(-4.9, -4.1))])
    _, jacobian = evaluated(model, parameters)
    for j in range(parameters.size):
        step = 1e-5 * max(abs(parameters[j]), 1e-3)
        shifted = np.zeros(parameters.size)
        shifted[j] = step
        up, down = evaluated(model, parameters + shifted)[0], evaluated(model, parameters - shifted)[0]
        scale = np.abs(jacobian[j]).max()
        np.testing.assert_allclose(jacobian[j], (up - down) / (2 * step), rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("model", sorted(RATES))
def test_derived_values_and_their_gradients(model):
    parameters = np.array([*[0.002, 0.004, 0.001, 0.0005][: len(RATES[model])], 0.05, 0.0])
    values, gradients = np.empty(2), np.empty((2, parameters.size))
    models.derived_values(model, parameters, values, gradients)
    expected = {
        models.ONE_TISSUE: (0.5, np.nan),
        models.IRREVERSIBLE: (np.nan, 0.0004),
        models.TWO_TISSUE: (1.5, 0.0004),
    }
    np.testing.assert_allclose(values, expected[model])
    for j in range(parameters.size):
        up, other = np.empty(2), np.empty_like(gradients)
        moved = parameters.copy()
        moved[j] += 1e-9
        models.derived_values(model, moved, up, other)
        known = np.isfinite(values)
        np.testing.assert_allclose(gradients[known, j], (up - values)[known] / 1e-9, rtol=1e-4, atol=1e-6)


def test_two_tissue_roots_of_the_reference_sheet():
    """pet.md section 6: K1 .1 k2 .3 k3 .05 k4 .02 per min has roots 0.016997 and 0.353003, VT 1.166667."""
    parameters = np.array([0.1, 0.3, 0.05, 0.02, 0.0, 0.0])
    terms, slopes, values = np.empty(4), np.empty((4, 6)), np.empty(2)
    assert models.tissue_terms(models.TWO_TISSUE, parameters, terms, slopes) == 2
    np.testing.assert_allclose(terms[[models.RATE_1, models.RATE_2]], [0.353003, 0.016997], atol=5e-7)
    assert terms[[models.WEIGHT_1, models.WEIGHT_2]].sum() == pytest.approx(0.1)
    models.derived_values(models.TWO_TISSUE, parameters, values, slopes[:2])
    assert values[0] == pytest.approx(1.166667, abs=5e-7)
