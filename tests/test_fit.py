"""Signals as planes: no copy for images of the data model, and every order finds its way back."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.fit import planar, shortfall


def test_an_image_in_fortran_order_becomes_planes_without_a_copy():
    image = np.asfortranarray(np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5))
    assert np.shares_memory(planar(image, 5).samples, image)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 7), (2, 3, 4, 7)])
def test_every_voxel_keeps_its_curve_and_its_place(order, shape, rng):
    signal = np.asarray(rng.normal(size=shape), order=order)
    planes = planar(signal, 7)
    np.testing.assert_array_equal(planes.restored(planes.samples[3]), signal[..., 3])
    np.testing.assert_array_equal(planes.restored(planes.flat(signal[..., 0], "map")), signal[..., 0])
    np.testing.assert_array_equal(planes.restored(planes.chosen(signal[..., 1] > 0)), signal[..., 1] > 0)


def test_float32_stays_and_whole_numbers_become_float64():
    assert planar(np.zeros((2, 3), np.float32), 3).samples.dtype == np.float32
    assert planar(np.zeros((2, 3), np.int16), 3).samples.dtype == np.float64


@pytest.mark.parametrize("signal", [np.zeros((3, 2)), np.float64(1.0), np.zeros((2, 3), complex)])
def test_a_signal_that_does_not_fit_its_samples_is_refused(signal):
    with pytest.raises(ValueError, match="signal"):
        planar(signal, 3)


def test_a_map_or_mask_of_another_shape_is_refused():
    planes = planar(np.zeros((4, 3)), 3)
    with pytest.raises(ValueError, match="b1 has shape"):
        planes.flat(np.ones(5), "b1")
    with pytest.raises(ValueError, match="mask has shape"):
        planes.chosen(np.ones(5, bool))


@pytest.mark.parametrize("order", ["C", "F"])
def test_curves_may_be_left_where_they_lie(order):
    signal = np.asarray(np.arange(24.0).reshape(2, 3, 4), order=order)
    planes = planar(signal, 4, contiguous=False)
    assert np.shares_memory(planes.samples, signal)
    assert np.array_equal(planes.samples, planar(signal, 4).samples)


@pytest.mark.parametrize(("dtype", "kept"), [(np.float32, np.float32), (np.int16, np.float64)])
def test_what_a_masked_array_hides_is_not_a_number(dtype, kept):
    """`numpy.asarray` would bring back what its owner took out."""
    hidden = np.array([[False, True, False], [False, False, False]])
    given = planar(np.ma.masked_array(np.array([[1, 999, 3], [4, 5, 6]], dtype), hidden), 3)
    assert given.samples.dtype == kept
    np.testing.assert_array_equal(given.samples.T, [[1, np.nan, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("freedom", "c4"), [(1, 0.7979), (2, 0.8862), (3, 0.9213), (4, 0.94), (9, 0.9727), (24, 0.9896)]
)
def test_shortfall_is_c4_of_the_tables_of_quality_control(freedom, c4):
    assert shortfall(freedom) == pytest.approx(c4, abs=5e-5)


def test_without_a_degree_of_freedom_there_is_no_standard_error():
    assert np.isnan(shortfall(0))
