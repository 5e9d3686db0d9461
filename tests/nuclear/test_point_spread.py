"""The blur against SciPy and against what a Gaussian is, and which widths and images are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnsupportedInput,
)
from imgtheranostics.nuclear.point_spread import FWHM_PER_SD, PointSpread, gaussian
from imgtheranostics.volume import Volume


def image(data, spacing=(1.0, 1.0, 1.0), quantity="activity_concentration", unit="Bq/mL", **more):
    return Volume(np.asarray(data), np.diag([*spacing, 1.0]), quantity, unit, **more)


def test_the_blur_is_that_of_scipy(rng):
    """Anisotropic point spread and voxels; SciPy cuts at the same five standard deviations."""
    data = rng.normal(size=(20, 17, 13)).astype(np.float32)
    spacing, fwhm = (1.0, 1.5, 2.0), (3.0, 5.0, 6.0)
    sd = [f / FWHM_PER_SD / s for f, s in zip(fwhm, spacing, strict=True)]
    expected = gaussian_filter(data.astype(float), sd, radius=[math.ceil(5 * one) for one in sd])
    found = PointSpread.of(image(data, spacing), fwhm).blur(data)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(st.floats(1e-4, 30.0))
def test_weights_have_the_variance_asked_for(variance):
    weights = gaussian(variance)
    place = np.arange(weights.size) - weights.size // 2
    assert weights.sum() == pytest.approx(1)
    assert weights @ place**2 == pytest.approx(variance, rel=2e-4)
    assert (weights >= 0).all()


def test_means_over_voxels_are_blurred_less_by_their_own_width():
    """A box of width h has the variance h^2 / 12."""
    spread = PointSpread.of(image(np.zeros((3, 3, 3)), (2.0, 2.0, 2.0)), 6.0, voxel_mean=True)
    place = np.arange(spread.kernels[0].size) - spread.kernels[0].size // 2
    expected = (6.0 / FWHM_PER_SD / 2.0) ** 2 - 1 / 12
    assert spread.kernels[0] @ place**2 == pytest.approx(expected, rel=1e-4)


@given(st.integers(0, 2**32 - 1), st.floats(0.7, 9.0))
def test_the_blur_keeps_totals_and_is_its_own_transpose(seed, fwhm):
    a, b = np.random.default_rng(seed).uniform(0, 1, (2, 5, 6, 7)).astype(np.float32)
    spread = PointSpread.of(image(a), fwhm)
    assert spread.blur(a).sum() == pytest.approx(a.sum(), rel=1e-5)
    assert float((spread.blur(a) * b).sum()) == pytest.approx(float((a * spread.blur(b)).sum()), rel=1e-5)
    np.testing.assert_allclose(spread.blur(np.ones_like(a)), 1.0, rtol=1e-5)


@pytest.mark.parametrize("fwhm", [0, -1.0, math.nan, math.inf, (1.0, 2.0), (1.0, 2.0, -3.0)])
def test_widths_that_are_none(fwhm):
    with pytest.raises(ValueError, match="positive"):
        PointSpread.of(image(np.zeros((3, 3, 3))), fwhm)


def test_images_without_a_place_for_a_point_spread():
    data = np.zeros((3, 3, 3))
    with pytest.raises(ImplausibleValue, match="narrower than a voxel"):
        PointSpread.of(image(data, (1.0, 1.0, 4.0)), 2.0)
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(GeometryMismatch, match="right-angled"):
        PointSpread.of(Volume(data, sheared, "suv_bw", "g/mL"), 3.0)
    unknown = image(data, warnings=(Caution("pixel-spacing-unknown", "no spacing"),))
    with pytest.raises(MissingMetadata, match="size of the voxels"):
        PointSpread.of(unknown, 3.0)
    with pytest.raises(UnsupportedInput, match="labels"):
        PointSpread.of(image(data, quantity="labels", unit="1"), 3.0)
