"""One tissue compartment by basis functions: SciPy's minimum, the general fit, and the ends of its ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from imgtheranostics.kernels import one_tissue_bases as kernels
from imgtheranostics.kernels.frame_convolution import frame_averages
from imgtheranostics.kernels.warmup import compile_all
from imgtheranostics.nuclear import compartments, kinetics
from imgtheranostics.volume import Flag

DURATION = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 10)
END = np.cumsum(DURATION)
TIME = np.r_[np.arange(0.0, 120.0, 3.0), np.arange(120.0, END[-1] + 60, 60.0)]
PLASMA = 100.0 * (TIME / 30) * np.exp(-TIME / 40) + 20.0 * (np.exp(-TIME / 2500) - np.exp(-TIME / 40))
BLOOD = 0.8 * PLASMA * (1 + 0.3 * TIME / TIME[-1])
FRAMES = {"frame_start_s": END - DURATION, "frame_end_s": END}
GIVEN = {**FRAMES, "input_time_s": TIME, "plasma": PLASMA, "whole_blood": BLOOD, "delay_s": 0.0}
NAMES = ("K1", "k2", "vB")


def averages(values, rate_per_min):
    """The curve, and its convolution with exp(-rate t), averaged over the frames."""
    out = np.empty((4, END.size))
    workspace = np.empty((3, 6)), np.empty(9), np.empty(9)
    frame_averages(END - DURATION, END, TIME, values, rate_per_min / 60, 0.0, *workspace, out)
    return out[0], out[2]


def modelled(k1, k2, vb):
    """Per min."""
    return (1 - vb) * k1 / 60 * averages(PLASMA, k2)[1] + vb * averages(BLOOD, 0.0)[0]


def by_scipy(curve, start):
    return least_squares(
        lambda p: modelled(*p) - curve,
        start,
        x_scale=[0.1, 0.1, 0.05],
        xtol=1e-13,
        ftol=1e-15,
        gtol=1e-15,
        bounds=([0, 0, 0], [10, 10, 1]),
    )


def general(curves, monkeypatch, **more):
    """The fit that the basis functions stand in for."""
    with monkeypatch.context() as patch:
        patch.setattr(compartments.OneTissueBases, "of", classmethod(lambda *_: None))
        return kinetics.fit("one_tissue", curves, **GIVEN, **more)


@settings(max_examples=40)
@given(
    k1=st.floats(0.03, 0.8),
    k2=st.floats(0.005, 1.0),
    vb=st.sampled_from([0.0, 0.02, 0.05, 0.3]),
    noise=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_minimum_is_that_of_scipy(k1, k2, vb, noise, seed):
    curve = modelled(k1, k2, vb)
    curve = curve + np.random.default_rng(seed).normal(0, noise, END.size)
    found = kinetics.fit("one_tissue", curve, **GIVEN)
    best = by_scipy(curve, [k1, k2, vb + 0.01])
    # The cubic between two rows of the table is off by some 1e-6 of the basis.
    rounding = 1e-5 * curve.max()
    assert found.rmse * np.sqrt(END.size) <= np.sqrt(2 * best.cost) * (1 + 1e-6) + rounding
    fitted = [float(found.parameters[name]) for name in NAMES]
    np.testing.assert_allclose(modelled(*fitted), modelled(*best.x), atol=rounding + 1e-3 * noise)
    if noise == 0.0:
        np.testing.assert_allclose(fitted, [k1, k2, vb], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("noise", [0.3, 3.0])
@pytest.mark.parametrize("fraction", [None, 0.0, 0.04])
def test_parameters_and_errors_are_those_of_the_general_fit(rng, monkeypatch, noise, fraction):
    """Region and voxel agree to a thousandth of a standard error; no minimum is worse."""
    truth = rng.uniform([0.02, 0.01, 0.0], [0.5, 0.5, 0.1], (400, 3))
    curves = np.array([modelled(*one) for one in truth]) + rng.normal(0, noise, (400, END.size))
    found = kinetics.fit("one_tissue", curves, **GIVEN, blood_fraction=fraction)
    other = general(curves, monkeypatch, blood_fraction=fraction)
    assert (found.rmse <= other.rmse * (1 + 1e-6)).all()
    same = other.rmse <= found.rmse * (1 + 1e-6)
    assert same.mean() > 0.99
    assert (found.flags == other.flags)[same].mean() > 0.995
    both = same & (found.flags == 0) & (other.flags == 0)
    assert both.mean() > 0.5
    for name in (*NAMES, "VT"):
        error = other.standard_errors[name][both]
        if name == "vB" and fraction is not None:
            assert np.isnan(found.standard_errors[name]).all()
            continue
        apart = np.abs(found.parameters[name] - other.parameters[name])[both]
        assert (apart <= 1e-3 * error).all()
        np.testing.assert_allclose(found.standard_errors[name][both], error, rtol=2e-3)


def test_weights_count(rng, monkeypatch):
    curves = modelled(0.1, 0.1, 0.05) + rng.normal(0, 1.0, (50, END.size))
    weights = rng.uniform(0.0, 2.0, END.size)
    weights[3] = 0.0
    curves[:, 3] = np.nan
    found = kinetics.fit("one_tissue", curves, **GIVEN, weights=weights)
    other = general(curves, monkeypatch, weights=weights)
    for name in NAMES:
        np.testing.assert_allclose(found.parameters[name], other.parameters[name], rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(found.r_squared, other.r_squared, rtol=1e-6)


def test_ends_of_the_ranges():
    """No tissue, no clearance, no blood, and an exchange faster than the bound."""
    kept = averages(PLASMA, 0.0)[1] / 600
    curves = np.array([0.2 * averages(BLOOD, 0.0)[0], kept, modelled(0.2, 0.1, 0.0), -kept])
    found = kinetics.fit("one_tissue", curves, **GIVEN)
    np.testing.assert_allclose(found.parameters["vB"], [0.2, 0.0, 0.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(found.parameters["K1"], [0.0, 0.1, 0.2, 0.0], atol=1e-5)
    assert found.parameters["k2"][1] == pytest.approx(0.0, abs=1e-5)
    assert np.isnan(found.parameters["k2"][[0, 3]]).all()
    assert (found.flags[[0, 3]] & Flag.NOT_ENHANCING).all()
    assert np.isnan(found.standard_errors["K1"][[0, 3]]).all()
    fast = kinetics.fit("one_tissue", 0.5 * averages(PLASMA, 60.0)[1], **GIVEN, blood_fraction=0.0)
    assert fast.flags & Flag.AT_BOUND
    assert max(fast.parameters["k2"], fast.parameters["K1"]) == pytest.approx(10.0)


def test_threads_and_neighbours_do_not_matter(rng):
    noisy = modelled(0.1, 0.1, 0.05) + rng.normal(0, 3.0, (300, END.size))
    one = kinetics.fit("one_tissue", noisy, **GIVEN, workers=1)
    two = kinetics.fit("one_tissue", noisy, **GIVEN)
    alone = kinetics.fit("one_tissue", noisy[37], **GIVEN)
    for name, values in one.parameters.items():
        np.testing.assert_array_equal(values, two.parameters[name])
        np.testing.assert_array_equal(alone.parameters[name], values[37])


def test_warmup_compiles_what_fits_use():
    dict(compile_all())["one tissue compartment"]()
    before = len(kernels.fit_one_tissue.signatures)
    curve = modelled(0.1, 0.1, 0.05)
    kinetics.fit("one_tissue", curve, **GIVEN)
    kinetics.fit("one_tissue", curve.astype(np.float32), **GIVEN, blood_fraction=0.05)
    assert len(kernels.fit_one_tissue.signatures) == before
