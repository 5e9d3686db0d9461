"""Fits of compartment models: recovered from their own curves, and SciPy's minimum under noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from imgtheranostics.kernels import compartment_fit, compartment_models
from imgtheranostics.kernels.warmup import compile_all
from imgtheranostics.nuclear import kinetics
from imgtheranostics.nuclear.compartments import MODELS

DURATION = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 10)
END = np.cumsum(DURATION)
TIME = np.r_[np.arange(0.0, 120.0, 3.0), np.arange(120.0, END[-1] + 60, 60.0)]
PLASMA = 100.0 * (TIME / 30) * np.exp(-TIME / 40) + 20.0 * (np.exp(-TIME / 2500) - np.exp(-TIME / 40))
BLOOD = 0.8 * PLASMA * (1 + 0.3 * TIME / TIME[-1])
GIVEN = {"frame_start_s": END - DURATION, "frame_end_s": END, "input_time_s": TIME, "plasma": PLASMA}
RANGES = {"K1": (0.03, 0.8), "k2": (0.03, 0.6), "k3": (0.02, 0.3), "k4": (0.01, 0.1)}


def modelled(model, parameters):
    """Curve of parameters per min, vB and delay."""
    rates = [value / 60 for value in parameters[:-2]]
    vector = np.array([*rates, *parameters[-2:]])
    n, p = END.size, vector.size
    curve, jacobian = np.empty(n), np.empty((p, n))
    frames = np.stack([END - DURATION, END, np.ones(n)])
    workspace = np.empty(4), np.empty((4, p)), np.empty((compartment_models.BASIS_ROWS, n)), np.empty((3, 18))
    inflow = np.stack([TIME, PLASMA, BLOOD])
    code = MODELS[model][0]
    compartment_models.evaluate_tissue(code, vector, frames, inflow, False, *workspace, curve, jacobian)
    return curve


@settings(max_examples=40)
@given(data=st.data(), model=st.sampled_from(sorted(MODELS)))
def test_any_curve_of_a_model_is_fitted_by_it(data, model):
    """The table of starts leads to the minimum: nothing is left of a curve without noise."""
    rates = [data.draw(st.floats(*RANGES[name]), label=name) for name in MODELS[model][1]]
    vb, delay = data.draw(st.floats(0.01, 0.2), label="vB"), data.draw(st.floats(-8, 25), label="delay")
    curve = modelled(model, [*rates, vb, delay])
    found = kinetics.fit(model, curve, **GIVEN, whole_blood=BLOOD)
    assert found.rmse < 2e-4 * curve.max()
    assert found.parameters["K1"] == pytest.approx(rates[0], rel=2e-2)


def test_minimum_is_that_of_scipy(rng):
    truth = [0.15, 0.12, 0.06, 0.03, 0.05, 4.0]
    noisy = modelled("two_tissue", truth) + rng.normal(0, 0.1, (5, END.size))
    found = kinetics.fit("two_tissue", noisy, **GIVEN, whole_blood=BLOOD)
    names = ("K1", "k2", "k3", "k4", "vB", "delay_s")
    for i, curve in enumerate(noisy):
        best = least_squares(
            lambda p, curve=curve: modelled("two_tissue", p) - curve, truth, x_scale=truth, xtol=1e-12
        )
        fitted = [float(found.parameters[name][i]) for name in names]
        assert found.rmse[i] ** 2 * END.size <= 2 * best.cost * (1 + 1e-6)
        np.testing.assert_allclose(fitted, best.x, rtol=2e-3)
        covariance = np.linalg.inv(best.jac.T @ best.jac) * 2 * best.cost / (END.size - 6)
        errors = [float(found.standard_errors[name][i]) for name in names]
        np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=0.03)


def test_threads_and_neighbours_do_not_matter(rng):
    noisy = modelled("one_tissue", [0.1, 0.1, 0.05, 2.0]) + rng.normal(0, 0.3, (100, END.size))
    one = kinetics.fit("one_tissue", noisy, **GIVEN, workers=1)
    two = kinetics.fit("one_tissue", noisy, **GIVEN)
    alone = kinetics.fit("one_tissue", noisy[37], **GIVEN)
    for name, values in one.parameters.items():
        np.testing.assert_array_equal(values, two.parameters[name])
        assert alone.parameters[name] == values[37]


def test_warmup_compiles_what_fits_use():
    dict(compile_all())["compartments"]()
    kernel = compartment_fit.fit_compartments
    before = len(kernel.signatures)
    curve = modelled("one_tissue", [0.1, 0.1, 0.05, 2.0])
    kinetics.fit("one_tissue", curve, **GIVEN)
    kinetics.fit("two_tissue", curve.astype(np.float32), **GIVEN, whole_blood=BLOOD, delay_s=0.0)
    assert len(kernel.signatures) == before
