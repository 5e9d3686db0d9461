"""The batched bolus fit against SciPy's bounded least squares, its errors against repeats, and its pieces."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy.optimize import least_squares

import imgtheranostics as it
from imgtheranostics.kernels import (
    bolus_fit,
    bolus_landmarks,
    bolus_shapes,
    curve_errors,
    curve_rows,
    replenishment_fit,
    three_unknowns,
    warmup,
)

curves = it.ultrasound.curves

TIME = np.arange(0.0, 60.0, 0.4)
MODELS = {"lognormal": 0, "gamma_variate": 1, "ldrw": 2, "first_passage": 3}


@njit
def _exponentials(x, out):
    for i in range(x.size):
        out[i] = bolus_shapes.exponential(x[i])


@njit
def _logarithms(x, out):
    for i in range(x.size):
        out[i] = bolus_shapes.logarithm(x[i])


def shape(model, time, peak, peak_time, arrival, width, base):
    """The models as their definitions have them, of peak time and width."""
    u = np.maximum(time - arrival, 1e-300) / (peak_time - arrival)
    if model == "lognormal":
        q = -(np.log(u) ** 2) / (2 * width**2)
    elif model == "gamma_variate":
        q = width * (np.log(u) - u + 1)
    else:
        share = 0.5 if model == "ldrw" else 1.5
        mu = (np.sqrt(width**2 + share**2) + share) / width
        with np.errstate(over="ignore"):
            q = -share * np.log(u) - 0.5 * width * ((u - 1) / mu + mu * (1 / u - 1))
    return base + np.where(time > arrival, peak * np.exp(np.clip(q, -700, 700)), 0)


def run(model, signal, *, time=TIME, free=True, limits=(0.05, 50.0), last_step=0.001, reach=0.0):
    signal = np.ascontiguousarray(np.atleast_2d(signal), np.float64)
    m = signal.shape[0]
    found = (
        np.empty((m, 5)),
        np.empty((m, 5, 5)),
        np.empty((m, 3)),
        np.empty(m, np.int32),
        np.empty(m, np.uint8),
    )
    bolus_fit.fit_bolus(
        MODELS[model], free, time, signal, np.log(np.array(limits)), 100, last_step, reach, *found
    )
    return found


def test_exponential_and_logarithm_are_those_of_numpy():
    x = np.linspace(-699, 699, 20_001)
    out = np.empty_like(x)
    _exponentials(x, out)
    np.testing.assert_allclose(out, np.exp(x), rtol=1e-11)
    x = np.geomspace(1e-9, 1e9, 20_001)
    _logarithms(x, out)
    np.testing.assert_allclose(out, np.log(x), rtol=0, atol=1e-11)


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("free", [True, False])
def test_minimum_is_that_of_scipy(rng, model, free):
    width = 0.5 if model == "lognormal" else 3.0
    base = 2.0 if free else 0.0
    truth = shape(model, TIME, 9.0, 13.0, 5.0, width, base)
    signal = truth + rng.normal(0, 0.3, (8, TIME.size))
    values, _, statistics, _, state = run(model, signal, free=free)
    assert (state == bolus_fit.CONVERGED).all()
    start = np.array([9.0, 13.0, 5.0, math.log(width), base])[: 4 + free]
    for curve, found, squares in zip(signal, values, statistics[:, 0], strict=True):

        def residual(p, y=curve):
            return shape(model, TIME, *p[:3], math.exp(p[3]), p[4] if free else 0.0) - y

        peer = least_squares(residual, start, xtol=1e-14, ftol=1e-14, gtol=1e-12)
        errors = np.sqrt(np.diag(np.linalg.inv(peer.jac.T @ peer.jac))) * 0.3
        assert np.abs(found[: start.size] - peer.x).max() < 1e-2 * errors.max()
        assert (np.abs(found[: start.size] - peer.x) < 0.005 * errors).all()
        assert squares == pytest.approx(2 * peer.cost, rel=1e-6)


def test_one_step_from_the_averages_stays_within_a_part_of_the_error(rng):
    """What images in float32 get: within a tenth of a standard error of the minimum."""
    time = np.arange(300) * 0.2
    signal = shape("lognormal", time, 9.0, 13.0, 5.0, 0.5, 2.0) + rng.normal(0, 0.5, (300, 300))
    exact = run("lognormal", signal, time=time)
    near = run("lognormal", signal, time=time, last_step=0.1, reach=0.3)
    both = ((exact[4] | near[4]) & ~np.uint8(1)) == 0
    assert both.mean() > 0.97
    errors = np.sqrt(exact[1][:, range(5), range(5)])
    apart = np.abs(near[0] - exact[0]) / errors
    assert np.quantile(apart[both], 0.99) < 0.1
    assert apart[both].max() < 0.35


@settings(max_examples=40)
@given(
    model=st.sampled_from(list(MODELS)),
    peak=st.floats(0.1, 1e5),
    arrival=st.floats(2, 15),
    duration=st.floats(4, 15),
    sharpness=st.floats(0.0, 1.0),
    base=st.floats(0, 1e3),
)
def test_noise_free_curves_give_their_parameters(model, peak, arrival, duration, sharpness, base):
    width = 0.25 + 0.4 * sharpness if model == "lognormal" else 2.0 + 6.0 * sharpness
    signal = shape(model, TIME, peak, arrival + duration, arrival, width, base * peak)
    values, _, _, _, state = run(model, signal)
    assert state[0] & bolus_fit.CONVERGED
    expected = [peak, arrival + duration, arrival, math.log(width), base * peak]
    np.testing.assert_allclose(values[0], expected, rtol=1e-5, atol=1e-5 * (1 + base * peak))


@pytest.mark.parametrize(
    ("noise", "name"),
    [
        (lambda rng, truth, m: truth + rng.normal(0, 0.2, (m, truth.size)), "constant"),
        (lambda rng, truth, m: truth * (1 + 0.1 * rng.normal(size=(m, truth.size))), "proportional"),
        (lambda rng, truth, m: truth * (1 + 0.06 * _correlated(rng, m, truth.size, 0.6)), "correlated"),
    ],
)
def test_standard_errors_are_the_scatter_of_repeats(rng, noise, name):
    truth = shape("lognormal", TIME, 9.0, 13.0, 5.0, 0.5, 2.0)
    values, covariances, _, _, state = run("lognormal", noise(rng, truth, 1500))
    good = state == bolus_fit.CONVERGED
    assert good.mean() > 0.99
    errors = np.sqrt(np.mean(covariances[good][:, range(5), range(5)], axis=0))
    scatter = values[good].std(axis=0)
    # correlation is told from the residuals of one curve, which few samples tell poorly
    np.testing.assert_allclose(errors / scatter, 1.0, atol=0.2 if name == "correlated" else 0.1)


def _correlated(rng, m, n, rho):
    noise = rng.normal(size=(m, n + 40))
    for i in range(1, n + 40):
        noise[:, i] = rho * noise[:, i - 1] + math.sqrt(1 - rho**2) * noise[:, i]
    return noise[:, 40:]


def test_covariance_is_the_sandwich_of_numpy(rng):
    """White noise of a known law: B (J' S J) B with the law that is fitted to the residuals."""
    n = 400
    rows = np.ones((5, n))
    rows[:4] = rng.normal(size=(4, n))
    level = 3 + rng.random(n)
    noise = 0.2 * level * rng.normal(size=n)
    jacobian = np.vstack((rows[:4], np.ones(n))).T
    inverse = np.linalg.inv(jacobian.T @ jacobian)
    residual = noise - jacobian @ (inverse @ (jacobian.T @ noise))
    covariance = np.empty((5, 5))
    factor = curve_errors.residual_covariance(
        rows, residual, level, inverse, np.empty((4, n)), np.empty((3, 5, 5)), covariance
    )
    assert factor == 1.0
    weighted = jacobian.T @ ((0.2 * level)[:, None] ** 2 * jacobian)
    np.testing.assert_allclose(np.diag(covariance), np.diag(inverse @ weighted @ inverse), rtol=0.25)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000))
def test_step_of_three_unknowns_is_the_bounded_minimum(seed):
    """Never worse than what SciPy finds along it, within bounds, and exact where no bound matters."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(3, 3))
    normal, gradient = half @ half.T + 0.1 * np.eye(3), rng.normal(size=3)
    place, width = rng.uniform(-1, 1, 3), rng.choice([0.1, 10.0], 3)
    lower, upper, step = place - width, place + width, np.empty(3)
    promised = three_unknowns.bounded_step(normal, gradient, place, lower, upper, 0.0, step)
    assert ((place + step >= lower - 1e-12) & (place + step <= upper + 1e-12)).all()
    assert promised == pytest.approx(max(-(2 * gradient @ step + step @ normal @ step), 0.0), abs=1e-9)
    free = -np.linalg.solve(normal, gradient)
    if (np.abs(free) <= width).all():
        np.testing.assert_allclose(step, free, rtol=1e-8, atol=1e-10)


def test_not_a_number_and_constant_curves_are_told(rng):
    signal = np.tile(shape("lognormal", TIME, 9.0, 13.0, 5.0, 0.5, 2.0), (4, 1)).astype(np.float32)
    signal[1, 40] = np.nan
    signal[2] = 0.1
    rows, finite = np.empty((4, TIME.size)), np.empty(4, np.bool_)
    curve_rows.gather_rows(np.ascontiguousarray(signal.T), np.arange(4), rows, finite)
    assert finite.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(rows[0], signal[0])
    state = run("lognormal", rows)[4]
    assert state.tolist() == [1, bolus_fit.NO_RISE, bolus_fit.NO_RISE, 1]


def test_replenishment_is_that_of_scipy(rng):
    time = np.arange(0.0, 20.0, 0.25)
    signal = 3 + 50 * (1 - np.exp(-0.4 * time)) + rng.normal(0, 1, (6, time.size))
    m = signal.shape[0]
    found = (
        np.empty((m, 5)),
        np.empty((m, 5, 5)),
        np.empty((m, 3)),
        np.empty(m, np.int32),
        np.empty(m, np.uint8),
    )
    replenishment_fit.fit_replenishment(True, time, signal, np.geomspace(0.005, 20, 32), 100, *found)
    for curve, values in zip(signal, found[0], strict=True):

        def residual(p, y=curve):
            return p[2] + p[0] * (1 - np.exp(-math.exp(p[1]) * time)) - y

        peer = least_squares(residual, [50, math.log(0.4), 3], xtol=1e-14, ftol=1e-14, gtol=1e-12)
        np.testing.assert_allclose(values[[0, 1, 4]], peer.x, rtol=1e-6, atol=1e-6)


def test_results_do_not_depend_on_threads_or_neighbours(rng):
    signal = shape("lognormal", TIME, 9.0, 13.0, 5.0, 0.5, 2.0) + rng.normal(0, 0.5, (400, TIME.size))
    signal = signal.astype(np.float32)
    whole = curves.fit(signal, TIME, workers=None)
    single = curves.fit(signal, TIME, workers=1)
    some = curves.fit(signal[100:110], TIME)
    for name, values in whole.parameters.items():
        assert values.tobytes() == single.parameters[name].tobytes()
        np.testing.assert_array_equal(values[100:110], some.parameters[name])
    assert numba.get_num_threads() >= 1


def test_warm_up_compiles_what_the_fits_call(rng):
    dict(warmup.compile_all())["time-intensity curves"]()
    kernels = (
        bolus_fit.fit_bolus,
        bolus_landmarks.describe_curves,
        curve_rows.gather_rows,
        replenishment_fit.fit_replenishment,
    )
    compiled = [list(kernel.signatures) for kernel in kernels]
    for dtype in (np.float32, np.float64):
        signal = np.asfortranarray(rng.random((2, 3, 4, 60)).astype(dtype))
        signal.setflags(write=False)
        for shaped in (signal, signal[0], signal[0, 0, 0]):
            for model in curves.MODELS:
                curves.fit(shaped, np.arange(60), model=model, mask=np.ones(shaped.shape[:-1], bool))
                curves.fit(shaped, np.arange(60), model=model, baseline="zero")
    assert [list(kernel.signatures) for kernel in kernels] == compiled
