"""The splines through Z-spectra beside SciPy's `CubicSpline`, whose boundary condition is the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.cest.spline_design import design_of
from imgtheranostics.cest.z_spline import asymmetry, interpolated, spline_values


@st.composite
def measured(draw):
    """Different offsets in any order, spectra on them, places, and the position of water."""
    n = draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = rng.uniform(0.05, 1.0, n)
    offsets = np.cumsum(steps) - steps.sum() * draw(st.floats(0.2, 0.8))
    voxels = draw(st.integers(1, 5))
    z = rng.uniform(0, 1, (voxels, n))
    b0 = rng.uniform(-0.6, 0.6, voxels)
    at = rng.uniform(-0.7, 0.7, 4) * np.ptp(offsets)
    return offsets, rng.permutation(n), z, b0, at


def reference(offsets, z, places, derivative=0):
    """SciPy per spectrum, NaN outside; places (n_voxels, n_at)."""
    splines = [CubicSpline(offsets, spectrum, extrapolate=False) for spectrum in z]
    return np.array([spline(place, derivative) for spline, place in zip(splines, places, strict=True)])


@given(measured())
def test_values_and_slopes_are_those_of_scipy(case):
    offsets, order, z, b0, at = case
    found = interpolated(z[:, order], offsets[order], at, b0)
    places = at + b0[:, None]
    scale = np.abs(reference(offsets, z, np.tile(offsets, (len(z), 1)), 1)).max()
    np.testing.assert_allclose(found.value, reference(offsets, z, places), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        found.slope_per_ppm, reference(offsets, z, places, 1), rtol=1e-10, atol=1e-10 * scale
    )


@given(measured())
def test_asymmetry_is_the_mirror_difference_about_the_corrected_water(case):
    offsets, order, z, b0, at = case
    found = asymmetry(z[:, order], offsets[order], at, b0)
    right, left = b0[:, None] + at, b0[:, None] - at
    expected = reference(offsets, z, left) - reference(offsets, z, right)
    np.testing.assert_allclose(found.value, expected, rtol=1e-10, atol=1e-10)
    alone = spline_values(z[:, order], offsets[order], at, b0, mirror=True)
    np.testing.assert_array_equal(alone, found.value)


@given(measured())
def test_variance_factor_is_the_sum_of_squared_weights(case):
    offsets, order, z, b0, at = case
    weights = np.array([CubicSpline(offsets, np.eye(offsets.size), extrapolate=False)(at + b) for b in b0])
    mirrored = np.array([CubicSpline(offsets, np.eye(offsets.size), extrapolate=False)(b - at) for b in b0])
    single = interpolated(z[:, order], offsets[order], at, b0).variance_factor
    double = asymmetry(z[:, order], offsets[order], at, b0).variance_factor
    np.testing.assert_allclose(single, (weights**2).sum(axis=-1), rtol=1e-8, atol=1e-10)
    difference = ((mirrored - weights) ** 2).sum(axis=-1)
    np.testing.assert_allclose(double, difference, rtol=1e-8, atol=1e-8)


def test_scatter_over_repeats_is_the_noise_times_the_factor(rng):
    offsets = np.r_[-5:-2:0.5, -1.6:1.7:0.2, 2:5.1:0.5]
    curve = 1 - 0.9 / (1 + offsets**2)
    z = curve + 0.01 * rng.standard_normal((20_000, offsets.size))
    found = asymmetry(z, offsets, [0.7, 2.2, 3.6], 0.13)
    expected = 0.01 * np.sqrt(found.variance_factor[0])
    assert found.value.std(axis=0) == pytest.approx(expected, rel=0.03)


def test_slope_is_the_change_with_the_position_of_water(rng):
    offsets = np.linspace(-4, 4, 33)
    z = rng.uniform(0, 1, 33)
    step = 1e-6
    up, down = (asymmetry(z, offsets, [0.9, 2.3], 0.2 + sign * step).value for sign in (1, -1))
    found = asymmetry(z, offsets, [0.9, 2.3], 0.2).slope_per_ppm
    assert found == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-7)


def test_cubic_is_reproduced_to_the_ends_of_an_uneven_list():
    offsets = np.array([3.0, -5.0, 0.2, -1.7, 4.4, 1.1])
    places = np.linspace(-5, 4.4, 21)

    def cubic(x):
        return 0.3 + 0.02 * x - 0.01 * x**2 + 0.004 * x**3

    assert spline_values(cubic(offsets), offsets, places) == pytest.approx(cubic(places), abs=1e-13)


def test_ends_of_the_range_count_as_inside_in_spite_of_rounding():
    offsets = np.linspace(-0.3, 0.3, 7)
    z = offsets**2
    assert spline_values(z, offsets, [0.1], 0.2) == pytest.approx([0.09])
    assert np.isnan(spline_values(z, offsets, [0.1], 0.2001))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_type_and_leading_shape_stay(rng, dtype):
    offsets = np.linspace(-4, 4, 17)
    z = rng.uniform(0, 1, (2, 3, 5, 17)).astype(dtype)
    found = asymmetry(z, offsets, [1.0, 2.0], np.zeros((2, 3, 5)))
    assert found.value.shape == found.variance_factor.shape == (2, 3, 5, 2)
    assert found.value.dtype == dtype
    fortran = asymmetry(np.asfortranarray(z), offsets, [1.0, 2.0], np.zeros((2, 3, 5)))
    np.testing.assert_array_equal(found.value, fortran.value)


def test_spoilt_voxels_and_those_outside_the_mask_are_nan_and_leave_the_others(rng):
    offsets = np.linspace(-4, 4, 17)
    z = rng.uniform(0, 1, (300, 17))
    whole = spline_values(z, offsets, [1.0, -0.6], 0.1)
    spoilt = z.copy()
    spoilt[3, 0], spoilt[7, 16], spoilt[9, 5] = np.nan, np.inf, -np.inf
    b0 = np.full(300, 0.1)
    b0[11] = np.nan
    mask = np.arange(300) % 7 != 5
    found = spline_values(spoilt, offsets, [1.0, -0.6], b0, mask=mask)
    gone = ~mask | np.isin(np.arange(300), [3, 7, 9, 11])
    assert np.isnan(found[gone]).all()
    np.testing.assert_array_equal(found[~gone], whole[~gone])


def test_bytes_do_not_depend_on_the_threads(rng):
    offsets = np.linspace(-4, 4, 41)
    z = rng.uniform(0, 1, (5000, 41)).astype(np.float32)
    b0 = rng.uniform(-0.3, 0.3, 5000)
    one, two = (asymmetry(z, offsets, [1.0, 3.0], b0, workers=w) for w in (1, 2))
    for name in ("value", "variance_factor", "slope_per_ppm"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("n", [2, 3, 4, 9, 30])
def test_eliminated_system_has_the_slopes_of_scipy(rng, n):
    offsets = np.sort(rng.uniform(-9, 9, n))
    slopes = design_of(OffsetList.of(offsets)).sensitivity
    expected = CubicSpline(offsets, np.eye(n))(offsets, 1)
    np.testing.assert_allclose(slopes, expected, atol=1e-10 * np.abs(expected).max())


def test_many_offsets_packed_in_a_corner_are_found():
    offsets = np.r_[-80.0, -1e-3 * np.arange(50, 0, -1), 0.0, 60.0]
    z = np.cos(0.02 * offsets)
    expected = CubicSpline(offsets, z)([-0.0333, -0.0001, 40.0])
    assert spline_values(z, offsets, [-0.0333, -0.0001, 40.0]) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("at", [[[1.0]], [np.nan], [np.inf]])
def test_places_that_are_no_list_of_numbers_are_refused(at):
    with pytest.raises(ValueError, match="at_ppm"):
        spline_values(np.ones(5), np.arange(5.0), at)


def test_maps_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="b0_ppm has shape"):
        spline_values(np.ones((4, 5)), np.arange(5.0), [1.0], np.zeros(3))
    with pytest.raises(ValueError, match="mask has shape"):
        spline_values(np.ones((4, 5)), np.arange(5.0), [1.0], mask=np.ones(3, bool))
