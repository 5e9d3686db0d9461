"""Tracer models against their differential equations, and their derivatives against differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from imgtheranostics.kernels import tracer_models as kernels

CODES = (kernels.TOFTS, kernels.EXTENDED_TOFTS, kernels.PATLAK, kernels.EXCHANGE, kernels.UPTAKE)
SEEDS = st.integers(0, 2**32 - 1)


def some_parameters(code, rng):
    """Per second; from tight vessels at low flow to well-perfused tumours."""
    ktrans, ps, fp = rng.uniform([1e-4, 1e-4, 5e-4], [0.02, 0.01, 0.02])
    ve, vp = rng.uniform([0.05, 0.01], [0.9, 0.3])
    return {
        kernels.TOFTS: (ktrans, ve),
        kernels.EXTENDED_TOFTS: (ktrans, ve, vp),
        kernels.PATLAK: (ps, vp),
        kernels.EXCHANGE: (fp, ps, ve, vp),
        kernels.UPTAKE: (fp, ps, vp),
    }[code]


def compartments(code, parameters):
    """Rate matrix, input column, output row, and the part of the plasma curve itself."""
    if code in (kernels.TOFTS, kernels.EXTENDED_TOFTS):
        ktrans, ve = parameters[:2]
        vp = parameters[2] if code == kernels.EXTENDED_TOFTS else 0.0
        return [[-ktrans / ve]], [ktrans / ve], [ve], vp
    if code == kernels.PATLAK:
        return [[0.0]], [parameters[0]], [1.0], parameters[1]
    if code == kernels.EXCHANGE:
        fp, ps, ve, vp = parameters
        return [[-(fp + ps) / vp, ps / vp], [ps / ve, -ps / ve]], [fp / vp, 0.0], [vp, ve], 0.0
    fp, ps, vp = parameters
    return [[-(fp + ps) / vp, 0.0], [ps, 0.0]], [fp / vp, 0.0], [vp, 1.0], 0.0


def by_differential_equation(code, parameters, time, plasma):
    """Exact solution for a piecewise-linear input by matrix exponentials of the augmented system."""
    rates, inflow, outflow, direct = (np.asarray(part, float) for part in compartments(code, parameters))
    size = len(rates)
    state, out = np.zeros(size), [direct * plasma[0]]
    for i in range(1, time.size):
        step = time[i] - time[i - 1]
        system = np.zeros((size + 2, size + 2))
        system[:size, :size], system[:size, size], system[size, size + 1] = rates * step, inflow * step, 1.0
        advance = expm(system)[:size]
        state = (
            advance[:, :size] @ state
            + advance[:, size] * plasma[i - 1]
            + advance[:, size + 1] * (plasma[i] - plasma[i - 1])
        )
        out.append(outflow @ state + direct * plasma[i])
    return np.array(out)


def evaluated(code, parameters, time, plasma, delay=None):
    parameters = np.array([*parameters] + ([delay] if delay is not None else []), float)
    bare = parameters.size - (delay is not None)
    basis = np.full((6, time.size), np.nan)
    basis[0] = plasma
    curve, jacobian = np.empty(time.size), np.empty((parameters.size, time.size))
    kernels.evaluate(
        code,
        parameters,
        time,
        time,
        plasma,
        delay is not None,
        True,
        np.empty(5),
        np.empty((5, bare)),
        basis,
        curve,
        jacobian,
    )
    return curve, jacobian


def scan(seed, n=12):
    rng = np.random.default_rng(seed)
    return rng, np.cumsum(rng.uniform(0.5, 12, n)), rng.uniform(0, 8, n)


@pytest.mark.parametrize("code", CODES)
@settings(max_examples=10)
@given(seed=SEEDS)
def test_model_solves_its_differential_equation(code, seed):
    rng, time, plasma = scan(seed)
    parameters = some_parameters(code, rng)
    curve, _ = evaluated(code, parameters, time, plasma)
    expected = by_differential_equation(code, parameters, time, plasma)
    np.testing.assert_allclose(curve, expected, atol=1e-11 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("delayed", [False, True])
@settings(max_examples=10)
@given(seed=SEEDS)
def test_derivatives_equal_central_differences(code, delayed, seed):
    rng, time, plasma = scan(seed)
    # A fixed step clear of the kinks that the plasma curve has at its samples.
    time = np.arange(time.size) * 3.0
    parameters = list(some_parameters(code, rng)) + ([rng.uniform(0.2, 2.8)] if delayed else [])

    def at(values):
        bare = values[:-1] if delayed else values
        return evaluated(code, bare, time, plasma, values[-1] if delayed else None)

    curve, jacobian = at(parameters)
    for j, value in enumerate(parameters):
        step = 1e-5 * value
        above, below = list(parameters), list(parameters)
        above[j], below[j] = value + step, value - step
        expected = (at(above)[0] - at(below)[0]) / (2 * step)
        # Truncation of the differences, and rounding of the curves that they divide by the step.
        allowed = 2e-7 * np.abs(expected).max() + 1e-14 * np.abs(curve).max() / step
        np.testing.assert_allclose(jacobian[j], expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("code", CODES)
@settings(max_examples=10)
@given(seed=SEEDS, delay=st.floats(-10, 60))
def test_a_delay_shifts_the_curve(code, seed, delay):
    """Against the model of an input function that was moved by hand, on the same straight lines."""
    rng, time, plasma = scan(seed)
    parameters = some_parameters(code, rng)
    curve, _ = evaluated(code, parameters, time, plasma, delay)
    inside = time - delay >= time[0]
    wanted = (time - delay)[inside]
    every = np.unique(np.concatenate([time, wanted]))
    expected = by_differential_equation(code, parameters, every, np.interp(every, time, plasma))
    found = expected[np.searchsorted(every, wanted)]
    np.testing.assert_allclose(curve[inside], found, atol=1e-9 * max(1, np.abs(found).max()))
    assert (curve[~inside] == 0).all()


@given(seed=SEEDS)
def test_limits_of_the_exchange_model(seed):
    """High flow gives extended Tofts, no exchange gives flow alone, a large ve gives uptake."""
    rng, time, plasma = scan(seed)
    _, ps, ve, vp = some_parameters(kernels.EXCHANGE, rng)
    # Blood passes in vp/Fp < 1e-6 s, in which the plasma curve changes by less than 2e-5 mmol/L.
    fast, _ = evaluated(kernels.EXCHANGE, (1e6, ps, ve, vp), time, plasma)
    tofts, _ = evaluated(kernels.EXTENDED_TOFTS, (ps, ve, vp), time, plasma)
    # At the first sample nothing has flowed in yet, however high the flow.
    np.testing.assert_allclose(fast[1:], tofts[1:], rtol=1e-4, atol=1e-5)
    sealed, jacobian = evaluated(kernels.EXCHANGE, (0.01, 0.0, ve, vp), time, plasma)
    flow, _ = evaluated(kernels.UPTAKE, (0.01, 0.0, vp), time, plasma)
    np.testing.assert_allclose(sealed, flow, atol=1e-12)
    assert np.isfinite(jacobian).all()
    endless, _ = evaluated(kernels.EXCHANGE, (0.01, ps, 1e9, vp), time, plasma)
    uptake, _ = evaluated(kernels.UPTAKE, (0.01, ps, vp), time, plasma)
    np.testing.assert_allclose(endless, uptake, rtol=1e-6, atol=1e-7)
