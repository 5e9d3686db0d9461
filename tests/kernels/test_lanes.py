"""Vectors of several voxels: arithmetic, systems and bounded steps as one voxel at a time would give them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from imgtheranostics.kernels import lane_systems, lane_vector, small_matrices
from imgtheranostics.kernels.lane_vector import LANES


@njit
def compute(a, b, out):
    x, y = lane_vector.load(a, 0), lane_vector.load(b, 0)
    lane_vector.store(out, 0, x + y)
    lane_vector.store(out, LANES, x - y)
    lane_vector.store(out, 2 * LANES, x * y)
    lane_vector.store(out, 3 * LANES, x / y)
    lane_vector.store(out, 4 * LANES, lane_vector.smaller(x, y))
    lane_vector.store(out, 5 * LANES, lane_vector.larger(x, y))
    lane_vector.store(out, 6 * LANES, lane_vector.less(x, y))
    lane_vector.store(out, 7 * LANES, lane_vector.at_most(x, y))
    lane_vector.store(out, 8 * LANES, lane_vector.root(x))
    lane_vector.store(out, 9 * LANES, lane_vector.where(lane_vector.less(x, y), x, lane_vector.spread(7.0)))
    return lane_vector.any_lane(lane_vector.less(x, y))


number = st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6)
numbers = st.lists(number, min_size=LANES, max_size=LANES)


@given(numbers, numbers)
def test_arithmetic_is_that_of_numpy(first, second):
    a, b, out = np.array(first), np.array(second), np.empty(10 * LANES)
    found = compute(a, b, out)
    with np.errstate(invalid="ignore"):
        expected = [a + b, a - b, a * b, a / b, np.minimum(a, b), np.maximum(a, b), a < b, a <= b]
        expected += [np.sqrt(a), np.where(a < b, a, 7.0)]
    np.testing.assert_allclose(out, np.concatenate(expected), rtol=1e-15)
    assert found == bool((a < b).any())


def test_conditions_on_nan_do_not_hold():
    a, out = np.full(LANES, np.nan), np.empty(10 * LANES)
    assert not compute(a, np.ones(LANES), out)
    assert (out[6 * LANES : 8 * LANES] == 0.0).all()


def matrices(rng, p):
    """One positive definite matrix per lane, in lanes and as NumPy has them."""
    factors = rng.normal(size=(LANES, 2 * p, p)) * 10 ** rng.uniform(-3, 3, (LANES, 1, p))
    normal = np.einsum("lip,liq->lpq", factors, factors)
    return normal.transpose(1, 2, 0).flatten(), normal


@pytest.mark.parametrize("p", [1, 2, 5, 16, 22])
def test_systems_are_solved_as_numpy_does(rng, p):
    flat, normal = matrices(rng, p)
    right = rng.normal(size=(LANES, p))
    values, inverse = right.T.flatten(), np.empty(p * LANES)
    lane_systems.factor_lanes(flat, inverse, p, p, 1e-14)
    lane_systems.solve_lanes(flat, inverse, p, p, values)
    expected = np.linalg.solve(normal, right[..., np.newaxis])[..., 0]
    np.testing.assert_allclose(values.reshape(p, LANES).T, expected, rtol=1e-7)
    diagonal = np.empty(p * LANES)
    lane_systems.inverse_diagonal_lanes(flat, inverse, p, p, diagonal)
    expected = np.linalg.inv(normal).diagonal(axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal.reshape(p, LANES).T, expected, rtol=1e-7)


def test_an_unknown_that_another_one_mimics_gets_no_part():
    """Two columns that are the same: the first takes the whole, the second nothing."""
    flat = np.repeat([2.0, 2.0, 2.0, 2.0], LANES)
    inverse, values = np.empty(2 * LANES), np.repeat([1.0, 1.0], LANES)
    lane_systems.factor_lanes(flat, inverse, 2, 2, 1e-14)
    lane_systems.solve_lanes(flat, inverse, 2, 2, values)
    np.testing.assert_allclose(values, np.repeat([0.5, 0.0], LANES))


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.0, 1e-3, 1.0, 100.0]))
def test_bounded_steps_are_those_of_one_voxel(seed, p, damping):
    """Lane by lane `small_matrices.bounded_step`, whatever the bounds that the other lanes meet."""
    rng = np.random.default_rng(seed)
    flat, normal = matrices(rng, p)
    scale = 1 / np.sqrt(normal.diagonal(axis1=1, axis2=2))
    gradient, values = rng.normal(size=(LANES, p)) / scale, rng.normal(size=(LANES, p)) * scale
    lower, upper = (
        values - rng.uniform(0, 2, (LANES, p)) * scale,
        values + rng.uniform(0, 2, (LANES, p)) * scale,
    )
    at_bound = rng.random((LANES, p)) < 0.2
    lower = np.where(at_bound, values, lower)

    def in_lanes(array):
        return array.T.flatten()

    free, factor, inverse = np.empty(p * LANES), np.zeros(p * p * LANES), np.empty(p * LANES)
    scratch, step = np.zeros((2 * p + 1) * LANES), np.empty(p * LANES)
    lane_systems.bounded_step_lanes(
        flat,
        in_lanes(gradient),
        in_lanes(values),
        in_lanes(lower),
        in_lanes(upper),
        np.full(LANES, damping),
        np.ones(p),
        p,
        p,
        free,
        factor,
        inverse,
        scratch,
        step,
    )
    predicted = np.empty(LANES)
    predict(flat, in_lanes(gradient), step, p, predicted)
    for lane in range(LANES):
        freed, work, target, one = np.empty(p, bool), np.empty((p, p)), np.empty(p), np.empty(p)
        assert small_matrices.bounded_step(
            normal[lane],
            gradient[lane],
            values[lane],
            lower[lane],
            upper[lane],
            damping,
            freed,
            work,
            target,
            one,
        )
        np.testing.assert_allclose(
            step.reshape(p, LANES)[:, lane], one, rtol=1e-6, atol=1e-9 * scale[lane].max()
        )
        expected = small_matrices.predicted_decrease(normal[lane], gradient[lane], one)
        assert predicted[lane] == pytest.approx(expected, rel=1e-6)


@njit
def predict(normal, gradient, step, p, out):
    lane_vector.store(out, 0, lane_systems.predicted_decrease_lanes(normal, gradient, step, p, p))


def test_steps_lead_away_from_a_saddle():
    """A matrix that bends downwards along its second axis: the step still goes against the gradient."""
    flat = np.repeat([1.0, 2.0, 2.0, 3.0], LANES)
    inverse, values = np.empty(2 * LANES), np.repeat([0.0, -1.0], LANES)
    lane_systems.factor_lanes(flat, inverse, 2, 2, 1e-14)
    lane_systems.solve_lanes(flat, inverse, 2, 2, values)
    assert (values[LANES:] < 0).all()
