"""The batched fit of tracer models against SciPy's bounded least squares, curve by curve."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy.optimize import least_squares

from imgtheranostics.kernels import tracer_fit, tracer_models
from imgtheranostics.mri.dce_models import MODELS, Inflow, delay_parameter, search
from imgtheranostics.mri.input_function import population_aif

TIME = np.arange(0.5, 300, 2.0)
PLASMA = population_aif("parker", TIME, delay_s=20) / 0.58
CASES = [(name, delayed) for name in MODELS for delayed in (False, True)]


def setting(name, delayed):
    model = MODELS[name]
    delay = delay_parameter((-5, 30), float(np.ptp(TIME))) if delayed else None
    parameters = (*model.parameters, *([delay] if delayed else []))
    factors = np.array([parameter.factor for parameter in parameters])
    lower = np.array([parameter.lower for parameter in parameters]) / factors
    upper = np.array([parameter.upper for parameter in parameters]) / factors
    scale = np.array([parameter.negligible for parameter in parameters]) / factors
    return model, search(model, TIME, Inflow(TIME, PLASMA, True), delay), lower, upper, scale


def run(name, delayed, curves, *, max_iterations=200, tolerance=1e-9):
    model, places, lower, upper, scale = setting(name, delayed)
    m, p = len(curves), lower.size
    values, variances, covariances, squares = (np.empty(shape) for shape in ((m, p), (m, p), m, (m, 2)))
    iterations, state = np.empty(m, np.int32), np.empty(m, np.uint8)
    tracer_fit.fit_tracer_models(
        model.code,
        np.ascontiguousarray(curves),
        TIME,
        TIME,
        PLASMA,
        delayed,
        True,
        lower,
        upper,
        scale,
        places.table,
        places.gram,
        places.pairs,
        places.rates,
        places.delays,
        max_iterations,
        tolerance,
        values,
        variances,
        covariances,
        squares,
        iterations,
        state,
    )
    return values, variances, squares, iterations, state, covariances


def forward(name, delayed, parameters):
    parameters = np.asarray(parameters, float)
    p = parameters.size
    basis = np.empty((6, TIME.size))
    basis[0] = PLASMA
    curve, jacobian = np.empty(TIME.size), np.empty((p, TIME.size))
    tracer_models.evaluate(
        MODELS[name].code,
        parameters,
        TIME,
        TIME,
        PLASMA,
        delayed,
        True,
        np.empty(5),
        np.empty((5, p - delayed)),
        basis,
        curve,
        jacobian,
    )
    return curve, jacobian


def random_parameters(name, delayed, rng):
    """Per second, within what tumours show."""
    ranges = {
        "ktrans_per_min": (0.03, 0.6),
        "ps_per_min": (0.02, 0.2),
        "fp_ml_100ml_min": (15, 80),
        "ve": (0.1, 0.6),
        "vp": (0.02, 0.15),
    }
    drawn = [rng.uniform(*ranges[item.name]) / item.factor for item in MODELS[name].parameters]
    return np.array(drawn + ([rng.uniform(-3, 10)] if delayed else []))


@pytest.mark.parametrize(("name", "delayed"), CASES)
def test_reaches_the_minimum_that_scipy_finds(name, delayed):
    """20 noisy curves each; SciPy starts from the truth, so that it is at its best."""
    rng = np.random.default_rng(7)
    truths = [random_parameters(name, delayed, rng) for _ in range(20)]
    curves = np.array([forward(name, delayed, truth)[0] for truth in truths])
    curves += rng.normal(0, 0.01, curves.shape)
    values, _, squares, _, state, _ = run(name, delayed, curves)
    _, _, lower, upper, _ = setting(name, delayed)
    assert (state & tracer_fit.CONVERGED).all()
    for curve, truth, found, ours in zip(curves, truths, values, squares[:, 0], strict=True):
        theirs = least_squares(
            lambda at, curve=curve: forward(name, delayed, at)[0] - curve,
            truth,
            jac=lambda at: forward(name, delayed, at)[1].T,
            bounds=(lower, upper),
            x_scale=np.abs(truth) + 1e-6,
            xtol=1e-13,
            ftol=1e-13,
            gtol=1e-13,
        )
        assert ours <= 2 * theirs.cost * (1 + 1e-7)
        assert ours == pytest.approx(float(((forward(name, delayed, found)[0] - curve) ** 2).sum()), rel=1e-9)
        if ours >= 2 * theirs.cost * (1 - 1e-9) and not delayed:
            np.testing.assert_allclose(found, theirs.x, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize(("name", "delayed"), CASES)
def test_recovers_the_truth_without_noise(name, delayed):
    rng = np.random.default_rng(11)
    truths = np.array([random_parameters(name, delayed, rng) for _ in range(50)])
    curves = np.array([forward(name, delayed, truth)[0] for truth in truths])
    values, _, _, _, state, _ = run(name, delayed, curves)
    assert (state & tracer_fit.CONVERGED).all()
    np.testing.assert_allclose(values, truths, rtol=1e-4, atol=1e-4 if delayed else 1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_variances_are_those_of_the_normal_equations(name):
    rng = np.random.default_rng(3)
    truth = random_parameters(name, False, rng)
    curve = forward(name, False, truth)[0] + rng.normal(0, 0.01, TIME.size)
    values, variances, squares, _, _, covariances = run(name, False, curve[np.newaxis])
    jacobian = forward(name, False, values[0])[1]
    expected = np.linalg.inv(jacobian @ jacobian.T) * squares[0, 0] / (TIME.size - truth.size)
    np.testing.assert_allclose(variances[0], np.diag(expected), rtol=1e-5)
    np.testing.assert_allclose(covariances[0], expected[0, 1], rtol=1e-4)


def test_total_squares_are_about_the_mean(rng):
    curves = rng.normal(size=(5, TIME.size))
    squares = run("patlak", False, curves)[2]
    np.testing.assert_allclose(squares[:, 1], curves.var(axis=1) * TIME.size)


def test_no_iteration_left_is_not_converged():
    curve = forward("extended_tofts", False, [0.004, 0.3, 0.05])[0]
    assert run("extended_tofts", False, curve[np.newaxis], max_iterations=1)[4][0] & tracer_fit.CONVERGED == 0


def test_a_curve_of_zeros_stays_finite():
    for name, delayed in CASES:
        values, _, squares, _, _, _ = run(name, delayed, np.zeros((1, TIME.size)))
        assert np.isfinite(values).all()
        assert squares[0, 0] < 1e-6


def test_same_bytes_on_one_and_two_threads(rng):
    truths = [random_parameters("extended_tofts", True, rng) for _ in range(70)]
    curves = np.array([forward("extended_tofts", True, truth)[0] for truth in truths])
    curves += rng.normal(0, 0.02, curves.shape)
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            results.append(b"".join(part.tobytes() for part in run("extended_tofts", True, curves)))
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]
