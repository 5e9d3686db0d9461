"""Basis functions of the reference-tissue model: interpolation, and SciPy's minimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from imgtheranostics.kernels import reference_bases as kernels
from imgtheranostics.kernels.basis_rows import interpolated
from imgtheranostics.kernels.frame_convolution import frame_averages
from imgtheranostics.kernels.warmup import compile_all
from imgtheranostics.nuclear import kinetics

MID = np.r_[np.arange(10.0, 300.0, 20.0), np.arange(330.0, 900.0, 60.0), np.arange(1050.0, 6000.0, 300.0)]
REFERENCE = 100 * (np.exp(-MID / 3000) - np.exp(-MID / 200))
KNOTS, VALUES = np.r_[0.0, MID], np.r_[0.0, REFERENCE]


def basis(log_rate):
    """Convolution at the middles, and its slope along the logarithm of the rate (1/s)."""
    out, rate = np.empty((4, MID.size)), float(np.exp(log_rate))
    frame_averages(MID, MID, KNOTS, VALUES, rate, 0.0, np.empty((3, 6)), np.empty(9), np.empty(9), out)
    return out[2], -rate * out[3]


FIRST, LAST = np.log(0.005 / 60), np.log(1 / 60)
STEP = (LAST - FIRST) / 99
TABLE, SLOPES = map(np.array, zip(*[basis(FIRST + STEP * j) for j in range(100)], strict=True))


@given(place=st.floats(0, 99))
def test_between_two_rows_the_cubic_is_the_convolution(place):
    found, slope = np.empty(MID.size), np.empty(MID.size)
    interpolated(TABLE, SLOPES, STEP, place, found, slope)
    expected, change = basis(FIRST + STEP * place)
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.max())
    np.testing.assert_allclose(slope, change, atol=1e-4 * np.abs(change).max())


def model(p):
    r1, k2, bp = p
    rate = k2 / (1 + bp)
    return r1 * REFERENCE + (k2 - r1 * rate) / 60 * basis(np.log(rate / 60))[0]


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), r1=st.floats(0.6, 1.4), bp=st.floats(0.3, 4), k2=st.floats(0.05, 0.3))
def test_minimum_is_that_of_scipy(seed, r1, bp, k2):
    truth = [r1, k2, bp]
    noisy = model(truth) + np.random.default_rng(seed).normal(0, 0.3, MID.size)
    found = kinetics.srtm(noisy, REFERENCE, time_s=MID)
    best = least_squares(
        lambda p: model(p) - noisy, truth, x_scale=truth, xtol=1e-12, ftol=1e-14, bounds=(1e-4, 50)
    )
    # The cubic between two rows of the table is off by up to 1e-6 of the basis.
    assert found.rmse**2 * MID.size <= 2 * best.cost * (1 + 1e-5)
    if not found.flags:
        fitted = [float(found.parameters[name]) for name in ("R1", "k2", "BP_ND")]
        np.testing.assert_allclose(model(fitted), model(best.x), atol=0.01)


def test_threads_do_not_matter(rng):
    noisy = model([1.1, 0.1, 1.5]) + rng.normal(0, 0.5, (500, MID.size))
    for method in (kinetics.srtm, kinetics.srtm2):
        one, two = (method(noisy, REFERENCE, time_s=MID, workers=workers) for workers in (1, None))
        for name, values in one.parameters.items():
            np.testing.assert_array_equal(values, two.parameters[name])


def test_warmup_compiles_what_fits_use():
    dict(compile_all())["reference tissue"]()
    before = len(kernels.fit_reference_model.signatures)
    kinetics.srtm(model([1.1, 0.1, 1.5]).astype(np.float32), REFERENCE, time_s=MID)
    kinetics.srtm2(model([1.1, 0.1, 1.5]), REFERENCE, time_s=MID, k2_reference_per_min=0.09)
    assert len(kernels.fit_reference_model.signatures) == before


def test_a_curve_without_a_number_stays_apart():
    curves = np.stack([model([1.1, 0.1, 1.5])] * 2)
    curves[1, 3] = np.nan
    found = kinetics.srtm(curves, REFERENCE, time_s=MID)
    assert found.parameters["BP_ND"][0] == pytest.approx(1.5, rel=1e-4)
    assert np.isnan(found.parameters["BP_ND"][1])
