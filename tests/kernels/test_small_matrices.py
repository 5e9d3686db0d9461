"""Pieces of the bounded Levenberg-Marquardt fit against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares, lsq_linear

from imgtheranostics.kernels import small_matrices as pieces

SIZES = st.integers(1, 20)
SEEDS = st.integers(0, 2**32 - 1)


def positive_definite(seed, p, spread=2.0):
    """J'J of a random J whose columns have very different sizes, as parameters of different units give."""
    rng = np.random.default_rng(seed)
    jacobian = rng.normal(size=(p + 5, p)) * 10 ** rng.uniform(-spread, spread, p)
    return jacobian, jacobian.T @ jacobian


@given(SEEDS, SIZES)
def test_factor_and_solution_equal_numpy(seed, p):
    _, matrix = positive_definite(seed, p)
    factor = np.full((p, p), np.nan)
    assert pieces.cholesky(matrix, factor)
    expected = np.linalg.cholesky(matrix)
    size = np.sqrt(np.diag(matrix))[:, np.newaxis]
    np.testing.assert_allclose(np.tril(np.nan_to_num(factor)) / size, expected / size, atol=1e-9)
    right = np.random.default_rng(seed).normal(size=p) * size[:, 0]
    out = np.empty(p)
    pieces.solve_factored(factor, right, out)
    np.testing.assert_allclose(matrix @ out / size[:, 0], right / size[:, 0], atol=1e-9, rtol=1e-9)


def test_only_the_lower_triangle_is_read():
    _, matrix = positive_definite(3, 4)
    upper_wrong = np.tril(matrix) + np.triu(np.full((4, 4), 1e9), 1)
    factor, again = np.zeros((2, 4, 4))
    assert pieces.cholesky(matrix, factor)
    assert pieces.cholesky(upper_wrong, again)
    assert np.array_equal(factor, again)


@pytest.mark.parametrize(
    "matrix", [[[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[np.nan]], [[np.inf]], [[0.0]], [[-1.0]]]
)
def test_a_matrix_that_is_not_positive_definite_is_refused(matrix):
    matrix = np.array(matrix)
    assert not pieces.cholesky(matrix, np.empty_like(matrix))


@given(SEEDS, SIZES)
def test_diagonal_of_the_inverse_equals_numpy(seed, p):
    _, matrix = positive_definite(seed, p, spread=1.0)
    factor, out = np.empty((p, p)), np.empty(p)
    assert pieces.cholesky(matrix, factor)
    pieces.inverse_diagonal(factor, out)
    np.testing.assert_allclose(out, np.diag(np.linalg.inv(matrix)), rtol=1e-7)


def step_of(normal, gradient, parameters, lower, upper, damping):
    p = parameters.size
    free, step = np.empty(p, np.bool_), np.empty(p)
    factor, target = np.empty((p, p)), np.empty(p)
    done = pieces.bounded_step(
        normal, gradient, parameters, lower, upper, damping, free, factor, target, step
    )
    return done, step, free


@given(SEEDS, SIZES, st.sampled_from([0.0, 1e-3, 1.0, 1e6]))
def test_a_step_without_bounds_solves_the_damped_normal_equations(seed, p, damping):
    jacobian, normal = positive_definite(seed, p, spread=1.0)
    gradient = jacobian.T @ np.random.default_rng(seed).normal(size=p + 5)
    done, step, free = step_of(
        normal, gradient, np.zeros(p), np.full(p, -np.inf), np.full(p, np.inf), damping
    )
    assert done
    assert free.all()
    expected = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -gradient)
    np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@given(SEEDS, st.integers(1, 8), st.sampled_from([0.0, 1e-2]))
def test_a_bounded_step_stays_within_the_bounds_and_goes_downhill(seed, p, damping):
    jacobian, normal = positive_definite(seed, p, spread=0.5)
    rng = np.random.default_rng(seed)
    gradient = jacobian.T @ rng.normal(size=p + 5)
    lower, upper = -rng.uniform(0, 1, p), rng.uniform(0, 1, p)
    parameters = rng.choice([0, 1, 2], p)
    parameters = np.where(parameters == 0, lower, np.where(parameters == 1, upper, 0.0))
    done, step, free = step_of(normal, gradient, parameters, lower, upper, damping)
    assert done
    assert (parameters + step >= lower - 1e-12).all()
    assert (parameters + step <= upper + 1e-12).all()
    assert pieces.predicted_decrease(normal, gradient, step) >= -1e-12
    # The free parameters are at the minimum of the quadratic model, given where the others are.
    slope = gradient + normal @ step + damping * np.diag(normal) * step
    scale = np.sqrt(np.diag(normal)) * max(1.0, np.linalg.norm(gradient))
    np.testing.assert_allclose((slope / scale)[free], 0, atol=1e-9)


def test_a_bounded_step_of_a_linear_model_is_the_bounded_solution():
    """Two correlated parameters: the free one must be solved anew once the other has stopped at its bound."""
    jacobian = np.array([[1.0, 0.9], [0.0, 0.3], [0.5, 0.5]])
    data = np.array([1.0, -2.0, 0.5])
    lower, upper = np.array([0.0, 0.0]), np.array([10.0, 10.0])
    start = np.array([0.1, 0.1])
    expected = lsq_linear(jacobian, data, (lower, upper), tol=1e-14).x
    _, step, free = step_of(
        jacobian.T @ jacobian, jacobian.T @ (jacobian @ start - data), start, lower, upper, 0.0
    )
    np.testing.assert_allclose(start + step, expected, atol=1e-9)
    assert free.tolist() == [True, False]


def test_a_parameter_without_effect_stays():
    normal = np.array([[2.0, 0.0], [0.0, 0.0]])
    done, step, free = step_of(
        normal, np.array([1.0, 0.0]), np.zeros(2), np.full(2, -9.0), np.full(2, 9.0), 0.0
    )
    assert done
    np.testing.assert_allclose(step, [-0.5, 0.0], rtol=1e-15)
    assert free.tolist() == [True, False]


def test_a_singular_system_is_refused_without_damping_only():
    normal, gradient = np.ones((2, 2)), np.ones(2)
    bounds = np.full(2, -9.0), np.full(2, 9.0)
    assert not step_of(normal, gradient, np.zeros(2), *bounds, 0.0)[0]
    assert step_of(normal, gradient, np.zeros(2), *bounds, 1e-3)[0]


def test_a_gradient_that_is_not_a_number_is_refused():
    normal, bounds = np.eye(2), (np.full(2, -9.0), np.full(2, 9.0))
    assert not step_of(normal, np.array([np.nan, 1.0]), np.zeros(2), *bounds, 0.0)[0]


def test_predicted_decrease_is_that_of_a_linear_model(rng):
    jacobian, data, step = rng.normal(size=(9, 4)), rng.normal(size=9), rng.normal(size=4)
    residual = -data
    before, after = (residual**2).sum(), ((residual + jacobian @ step) ** 2).sum()
    predicted = pieces.predicted_decrease(jacobian.T @ jacobian, jacobian.T @ residual, step)
    assert predicted == pytest.approx(before - after, rel=1e-12)


def test_damping_falls_after_good_steps_and_rises_after_bad_ones():
    assert pieces.next_damping(1.0, 0.9, 1.0) < 1.0
    assert pieces.next_damping(1.0, 0.5, 1.0) == 1.0
    assert pieces.next_damping(1.0, 0.1, 1.0) > 1.0
    assert pieces.next_damping(1.0, -0.1, 1.0) > 4.0
    assert pieces.next_damping(1.0, np.nan, 1.0) > 4.0
    assert pieces.next_damping(pieces.LEAST_DAMPING, 1.0, 1.0) == pieces.LEAST_DAMPING


def test_a_step_ends_on_the_bound_exactly():
    trial = np.empty(1)
    parameters, lower, upper = np.array([0.1]), np.array([0.0]), np.array([0.3])
    pieces.take_step(parameters, upper - parameters + 1e-17, lower, upper, trial)
    assert trial[0] == 0.3


def test_settled_compares_each_parameter_with_its_own_size():
    scale = np.array([1e-3, 1e-3])
    assert pieces.settled(np.array([1e3, 0.0]), np.array([1e-4, 1e-10]), scale, 1e-6)
    assert not pieces.settled(np.array([1e3, 0.0]), np.array([1e-4, 1e-8]), scale, 1e-6)
    assert not pieces.settled(np.array([1.0, 0.0]), np.array([np.nan, 0.0]), scale, 1e-6)


@given(SEEDS, SIZES)
def test_variances_equal_numpy_whatever_the_units(seed, p):
    jacobian, normal = positive_definite(seed, p, spread=6.0)
    size = np.sqrt(np.diag(normal))
    out = np.empty(p)
    assert pieces.covariance_diagonal(normal, np.ones(p, np.bool_), 2.5, np.empty((p, p)), out)
    expected = 2.5 * np.diag(np.linalg.inv((jacobian / size).T @ (jacobian / size))) / size**2
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_variances_take_parameters_at_a_bound_as_known(rng):
    jacobian = rng.normal(size=(9, 3))
    out = np.empty(3)
    free = np.array([True, False, True])
    assert pieces.covariance_diagonal(jacobian.T @ jacobian, free, 1.0, np.empty((3, 3)), out)
    kept = jacobian[:, free]
    np.testing.assert_allclose(out[free], np.diag(np.linalg.inv(kept.T @ kept)))
    assert np.isnan(out[1])


@given(SEEDS, st.integers(2, 20))
def test_covariances_equal_numpy(seed, p):
    jacobian, normal = positive_definite(seed, p, spread=6.0)
    size, free, factor = np.sqrt(np.diag(normal)), np.ones(p, np.bool_), np.full((p, p), np.nan)
    first, second = np.random.default_rng(seed).choice(p, 2, replace=False)
    free[np.setdiff1d(np.arange(p), [first, second])[:1]] = False
    assert pieces.covariance_diagonal(normal, free, 2.5, factor, np.empty(p))
    kept = np.flatnonzero(free)
    expected = np.zeros((p, p))
    scaled = (jacobian / size)[:, kept]
    expected[np.ix_(kept, kept)] = 2.5 * np.linalg.inv(scaled.T @ scaled)
    found = pieces.covariance_of_two(normal, free, 2.5, factor, first, second)
    assert found == pytest.approx(expected[first, second] / (size[first] * size[second]), rel=1e-5, abs=1e-9)
    free[first] = False
    assert pieces.covariance_of_two(normal, free, 2.5, factor, first, second) == 0.0


@pytest.mark.parametrize("normal", [[[1.0, 1.0], [1.0, 1.0 + 1e-15]], [[1.0, 0.0], [0.0, 0.0]]])
def test_variances_of_undetermined_parameters_are_nan(normal):
    out = np.empty(2)
    assert not pieces.covariance_diagonal(np.array(normal), np.ones(2, np.bool_), 1.0, np.empty((2, 2)), out)
    assert np.isnan(out).all()


def fit_decay(time, data, start, lower, upper):
    """The loop that a model's kernel runs, on a two-parameter decay."""
    parameters = np.clip(start, lower, upper)
    free, factor = np.empty(2, np.bool_), np.empty((2, 2))
    target, step, trial = np.empty((3, 2))
    damping = pieces.FIRST_DAMPING

    def evaluate(at):
        shape = np.exp(-at[1] * time)
        residual = at[0] * shape - data
        jacobian = np.stack([shape, -at[0] * time * shape], axis=1)
        return jacobian.T @ jacobian, jacobian.T @ residual, float(residual @ residual)

    normal, gradient, squares = evaluate(parameters)
    for _ in range(200):
        if not pieces.bounded_step(
            normal, gradient, parameters, lower, upper, damping, free, factor, target, step
        ):
            damping *= 10
            continue
        pieces.take_step(parameters, step, lower, upper, trial)
        new = evaluate(trial)
        predicted = pieces.predicted_decrease(normal, gradient, step)
        decrease = squares - new[2]
        damping = pieces.next_damping(damping, decrease, predicted)
        small = pieces.settled(parameters, step, np.full(2, 1e-3), 1e-10)
        if decrease > 0:
            parameters = trial.copy()
            normal, gradient, squares = new
        if small:
            break
    return parameters, squares


@given(SEEDS, st.booleans())
def test_the_loop_reaches_the_minimum_that_scipy_finds(seed, tight):
    """SciPy's bounded trust-region fit; with a tight bound on the rate the minimum lies on it."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 3, 20)
    truth = rng.uniform([1, 0.3], [5, 2])
    data = truth[0] * np.exp(-truth[1] * time) + rng.normal(0, 0.05, time.size)
    lower, upper = np.array([0.0, 0.0]), np.array([20.0, 0.8 * truth[1] if tight else 10.0])
    found, squares = fit_decay(time, data, np.array([1.0, 0.1]), lower, upper)
    expected = least_squares(
        lambda at: at[0] * np.exp(-at[1] * time) - data,
        np.clip(truth, lower, upper * 0.99),
        bounds=(lower, upper),
        ftol=1e-14,
        xtol=1e-14,
        gtol=1e-14,
    )
    assert squares <= 2 * expected.cost * (1 + 1e-9)
    np.testing.assert_allclose(found, expected.x, rtol=1e-4)
