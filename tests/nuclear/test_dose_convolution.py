"""Convolution with voxel kernels against SciPy's direct sums, for any shape, order and type."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import convolve as direct
from scipy.signal import convolve as full
from scipy.signal import fftconvolve

from imgtheranostics.nuclear.dosimetry import convolve

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
HALVES = st.tuples(*[st.integers(0, 6)] * 3)


@given(shape=SHAPES, half=HALVES, seed=st.integers(0, 2**31), order=st.sampled_from("CF"))
def test_equals_the_direct_sum(shape, half, seed, order):
    """scipy.signal's direct method in float64; kernels may be larger than the volume and lopsided."""
    rng = np.random.default_rng(seed)
    tia = np.asarray(rng.uniform(0, 5, shape), np.float32, order=order)
    kernel = rng.uniform(0, 1, [2 * h + 1 for h in half])
    whole = full(tia.astype(float), kernel, mode="full", method="direct")
    expected = whole[tuple(slice(h, h + n) for h, n in zip(half, shape, strict=True))] * 1e-3
    found = convolve(tia, kernel)
    assert found.shape == shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6 * expected.max())
    assert (found >= 0).all()


@pytest.mark.parametrize("shape", [(130, 20, 190), (20, 150, 300)])
def test_blocks_join_without_a_seam(shape):
    """Large enough for several blocks along the first and the second axis: SciPy's transform in float64."""
    rng = np.random.default_rng(5)
    tia, kernel = rng.uniform(0, 5, shape).astype(np.float32), rng.uniform(0, 1, (9, 5, 7))
    expected = fftconvolve(tia.astype(float), kernel, mode="same") * 1e-3
    one = convolve(tia, kernel, workers=1)
    np.testing.assert_allclose(one, expected, atol=2e-6 * expected.max())
    np.testing.assert_array_equal(one, convolve(tia, kernel, workers=2))


def test_dose_of_a_single_voxel_is_the_kernel_in_its_own_direction():
    """A lopsided kernel is laid out from the source on, not towards it."""
    tia = np.zeros((9, 9, 9))
    tia[4, 4, 4] = 2.0
    kernel = np.zeros((3, 3, 3))
    kernel[1, 1, 1], kernel[2, 1, 1] = 1000.0, 500.0
    dose = convolve(tia, kernel)
    assert dose[4, 4, 4] == pytest.approx(2.0, rel=1e-6)
    assert dose[5, 4, 4] == pytest.approx(1.0, rel=1e-6)
    assert dose[3, 4, 4] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_very_small_and_very_large_numbers_keep_their_figures(scale):
    rng = np.random.default_rng(1)
    tia, kernel = rng.uniform(0, 1, (8, 8, 8)), rng.uniform(0, 1, (5, 5, 5))
    expected = direct(tia, kernel, mode="constant") * 1e-3
    found = convolve(tia * scale, kernel / scale)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_unknown_activity_leaves_no_dose_within_its_reach():
    """As the direct sum has it: NaN wherever a NaN takes part. With ``zero`` only its own voxel has none."""
    rng = np.random.default_rng(2)
    tia, kernel = rng.uniform(0, 1, (12, 10, 9)), rng.uniform(0.1, 1, (5, 3, 3))
    known = tia.copy()
    tia[6, 5, 4], known[6, 5, 4] = np.nan, 0.0
    expected = direct(known, kernel, mode="constant") * 1e-3
    spread, zero = convolve(tia, kernel), convolve(tia, kernel, missing="zero")
    reached = np.zeros(tia.shape, bool)
    reached[4:9, 4:7, 3:6] = True
    np.testing.assert_array_equal(np.isnan(spread), reached)
    np.testing.assert_allclose(spread[~reached], expected[~reached], rtol=1e-5)
    assert np.isnan(zero).sum() == 1
    other = ~np.isnan(zero)
    np.testing.assert_allclose(zero[other], expected[other], rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(convolve(np.where(tia > 2, 0, np.inf), kernel)), True)


def test_no_activity_is_no_dose_and_threads_change_nothing():
    assert not convolve(np.zeros((4, 5, 6)), np.ones((3, 3, 3))).any()
    assert convolve(np.zeros((0, 5, 6)), np.ones((3, 3, 3))).shape == (0, 5, 6)
    rng = np.random.default_rng(3)
    tia, kernel = rng.uniform(0, 1, (30, 31, 32)), rng.uniform(0, 1, (9, 9, 9))
    np.testing.assert_array_equal(convolve(tia, kernel, workers=1), convolve(tia, kernel, workers=2))


@pytest.mark.parametrize(
    ("tia", "kernel", "options", "match"),
    [
        (np.ones((3, 3)), np.ones((3, 3, 3)), {}, "three dimensions"),
        (np.ones((3, 3, 3)), np.ones((3, 3, 3, 1)), {}, "three dimensions"),
        (np.ones((3, 3, 3)), np.ones((3, 4, 3)), {}, "no middle"),
        (np.ones((3, 3, 3)), np.full((3, 3, 3), np.nan), {}, "not finite"),
        (np.ones((3, 3, 3)), np.ones((3, 3, 3)), {"missing": "ignore"}, "missing"),
    ],
)
def test_what_is_no_kernel_is_refused(tia, kernel, options, match):
    with pytest.raises(ValueError, match=match):
        convolve(tia, kernel, **options)
