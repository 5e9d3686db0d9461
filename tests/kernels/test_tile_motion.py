"""Images beneath a rigid motion against SciPy, and quadratics, which cubic convolution keeps exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.tile_motion import N_SUMS, add_moved, binned, smoothed, tile_sums


def rigid(shift, degrees, middle=(10.0, 8.0)):
    turn = np.radians(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([matrix, middle - matrix @ middle + shift])


def summed(image, places, basis, first, motion):
    sums, outside = np.empty((len(first) - 1, N_SUMS)), np.empty(len(first) - 1, np.int64)
    basis = np.ascontiguousarray(basis.T, np.float32)
    tile_sums(np.float32(image), np.int32(places), basis, np.int64(first), motion, sums, outside)
    return sums, outside


def test_blocks_are_averaged_and_what_is_left_over_is_dropped(rng):
    image = rng.normal(size=(13, 17)).astype(np.float32)
    out = np.empty((4, 5), np.float32)
    binned(read_only(image), 3, out)
    assert_allclose(out, image[:12, :15].reshape(4, 3, 5, 3).mean(axis=(1, 3)), atol=1e-6)


def test_smoothing_is_a_convolution_whose_edges_go_on(rng):
    image = rng.normal(size=(9, 12)).astype(np.float32)
    out = np.empty_like(image)
    smoothed(read_only(image), np.empty(12, np.float32), out)
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    assert_allclose(out, ndimage.convolve(image, weights, mode="nearest"), atol=1e-6)


coefficient = st.floats(-2, 2)


@settings(max_examples=40)
@given(
    terms=st.tuples(*[coefficient] * 5),
    shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    degrees=st.floats(-5, 5),
)
def test_sums_of_a_quadratic_are_those_of_its_values_between_the_pixels(terms, shift, degrees):
    """Cubic convolution reproduces quadratics (Keys 1981): the sums follow from the polynomial itself."""

    def polynomial(x, y):
        x, y = x / 10 - 1, y / 10 - 1
        return terms[0] * x + terms[1] * y + terms[2] * x * x + terms[3] * x * y + terms[4] * y * y

    y, x = np.indices((18, 22))
    inner = (x >= 6) & (x < 15) & (y >= 6) & (y < 11)
    places = np.stack([x[inner], y[inner]], axis=1)
    basis = np.stack([np.ones(len(places)), places[:, 0] / 10, places[:, 1] / 10, np.cos(places[:, 0])], 1)
    motion = rigid(shift, degrees)
    sums, outside = summed(polynomial(x, y), places, basis, [0, 20, len(places)], motion)
    u, v = motion[:, :2] @ places.T + motion[:, 2:]
    values = polynomial(u, v)
    for n, part in enumerate((slice(0, 20), slice(20, None))):
        some = values[part]
        assert_allclose(sums[n, :2], [some.sum(), (some**2).sum()], atol=2e-4, rtol=1e-5)
        assert_allclose(sums[n, 2:], some @ basis[part].astype(np.float32), atol=2e-4, rtol=1e-5)
    assert_array_equal(outside, 0)


def test_beyond_its_edges_the_image_goes_on_and_pixels_are_counted(rng):
    image = rng.normal(size=(6, 7)).astype(np.float32)
    places = np.array([(0, 0), (3, 3), (6, 5)])
    basis = np.ones((3, 4))
    sums, outside = summed(image, places, basis, [0, 1, 2, 3], rigid((4.0, 0.0), 0.0))
    assert_allclose(sums[:, 0], [image[0, 4], image[3, 6], image[5, 6]], atol=1e-6)
    assert_array_equal(outside, [0, 1, 1])


def test_moved_images_add_up_where_they_reach(rng):
    image = rng.normal(size=(6, 7)).astype(np.float32)
    total, count = np.zeros((2, 6, 7), np.float32)
    for shift in ((0.0, 0.0), (2.0, 1.0)):
        add_moved(image, rigid(shift, 0.0), total, count)
    expected = image.copy()
    expected[:5, :5] += image[1:, 2:]
    assert_allclose(total, expected, atol=1e-6)
    reached = np.ones((6, 7))
    reached[:5, :5] = 2
    assert_array_equal(count, reached)


def test_an_image_between_pixels_is_close_to_a_spline_of_it(rng):
    """Against SciPy's cubic spline, on an image without fine detail."""
    image = ndimage.gaussian_filter(rng.normal(size=(40, 44)), 3).astype(np.float32)
    motion = rigid((0.4, -0.7), 2.0, (20.0, 18.0))
    total, count = np.zeros((2, 40, 44), np.float32)
    add_moved(image, motion, total, count)
    y, x = np.indices(image.shape)
    u, v = np.tensordot(motion[:, :2], np.stack([x, y]), 1) + motion[:, 2, np.newaxis, np.newaxis]
    spline = ndimage.map_coordinates(image, [v, u], order=3, mode="nearest")
    inner = ndimage.binary_erosion(count > 0, iterations=3)
    assert_allclose(total[inner], spline[inner], atol=0.01 * image.std())
