"""Principal components and smoothing splines: rank and signal are kept, noise falls, nothing is invented."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from imgtheranostics.cest.denoising import denoise_pca, smooth
from imgtheranostics.volume import Flag

OFFSETS = np.linspace(-6, 6, 51)
NOISE = 0.01
CRITERIA = ["median", "malinowski", "nelson", "marchenko_pastur"]


def line(amplitude, width, centre, ppm=OFFSETS):
    half = (np.asarray(width) / 2) ** 2
    return amplitude * half / (half + (ppm - centre) ** 2)


SHAPES = np.stack([line(1, 3, 0), line(1, 2, 3.5), line(1, 4, -3.5), line(1, 1.5, 2.0)])
"""Four lines of fixed place and width: spectra of rank four beside their mean."""


def spectra(rng, m, noise=NOISE):
    amounts = np.array([0.8, 0.1, 0.12, 0.08]) * rng.uniform(0.3, 1.0, (m, 4))
    exact = 1 - amounts @ SHAPES
    return exact, exact + rng.normal(0, noise, (m, OFFSETS.size))


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("noise", [0.003, 0.01])
def test_the_rank_of_low_rank_spectra_is_found(criterion, noise, rng):
    _, noisy = spectra(rng, 3000, noise)
    found = denoise_pca(noisy, rank=criterion)
    assert found.rank == found.criteria[criterion] == 4
    assert set(found.criteria) == set(CRITERIA)
    assert found.noise_sd == pytest.approx(noise, rel=0.02)


def test_noise_falls_as_the_rank_and_the_signal_stays(rng):
    """Bias of the mean over voxels below a hundredth of the noise; what is left of it is sqrt(rank / n)."""
    exact, noisy = spectra(rng, 5000)
    found = denoise_pca(noisy)
    left = found.z - exact
    assert left.std() == pytest.approx(NOISE * found.noise_factor, rel=0.1)
    assert found.noise_factor == pytest.approx(np.sqrt(4 / 51))
    np.testing.assert_allclose(left.mean(axis=0), (noisy - exact).mean(axis=0), atol=1e-12)
    strong = exact[:, 0] < np.quantile(exact[:, 0], 0.1)
    assert np.abs(left[strong].mean(axis=0)).max() < 0.1 * NOISE


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_components_are_the_spectra_themselves(dtype, rng):
    noisy = spectra(rng, 200)[1].astype(dtype)
    found = denoise_pca(noisy, rank=OFFSETS.size)
    np.testing.assert_array_equal(found.z, noisy)
    assert found.z.dtype == dtype
    assert np.isnan(found.noise_sd)


def test_components_are_those_of_the_singular_value_decomposition(rng):
    noisy = spectra(rng, 400)[1]
    centred = noisy - noisy.mean(axis=0)
    left, size, right = np.linalg.svd(centred, full_matrices=False)
    for rank in (0, 3, 20):
        expected = noisy.mean(axis=0) + (left[:, :rank] * size[:rank]) @ right[:rank]
        np.testing.assert_allclose(denoise_pca(noisy, rank=rank).z, expected, atol=1e-12)
    np.testing.assert_allclose(denoise_pca(noisy, rank=0).eigenvalues, size**2 / 399, rtol=1e-8)


def test_noise_alone_has_no_components_and_a_caution(rng):
    noise = rng.normal(0.5, NOISE, (4000, 51))
    for criterion in ("median", "marchenko_pastur"):
        found = denoise_pca(noise, rank=criterion)
        assert found.rank == 0
        assert [caution.code for caution in found.warnings] == ["denoising-rank"]


def test_masked_and_broken_voxels_take_no_part(rng):
    _, noisy = spectra(rng, 800)
    air = rng.normal(0, 5, (200, 51))
    image = np.concatenate([noisy, air]).reshape(20, 25, 2, 51)
    mask = (np.arange(1000) < 800).reshape(20, 25, 2)
    image[0, 0, 0, 5], image[0, 1, 0, 5], image[0, 2, 0, 5] = np.nan, np.inf, 1e300
    found = denoise_pca(image, mask=mask)
    used = np.ones(800, bool)
    used[[0, 2, 4]] = False
    alone = denoise_pca(noisy[used])
    assert found.rank == alone.rank == 4
    np.testing.assert_allclose(found.z.reshape(-1, 51)[:800][used], alone.z, atol=1e-12)
    assert np.isnan(found.z[~mask]).all()
    assert (found.flags[~mask] == Flag.MASKED_OUT).all()
    assert found.flags[0, 0, 0] == found.flags[0, 1, 0] == found.flags[0, 2, 0] == Flag.INVALID_INPUT
    assert np.isnan(found.z[0, 0, 0]).all()
    assert np.count_nonzero(found.flags) == 203


def test_layout_does_not_matter(rng):
    image = spectra(rng, 600)[1].reshape(10, 6, 10, 51)
    one, other = denoise_pca(image), denoise_pca(np.asfortranarray(image))
    np.testing.assert_allclose(other.z, one.z, atol=1e-13)


def test_components_and_smoothing_take_little_memory(rng):
    image = np.asfortranarray(rng.random((64, 64, 16, 51), np.float32))
    for job in (denoise_pca, lambda z: smooth(z, OFFSETS)):
        tracemalloc.start()
        made = job(image)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        size = made.nbytes if isinstance(made, np.ndarray) else made.z.nbytes
        assert peak - size < 16 * 2**20


@pytest.mark.parametrize(
    ("z", "rank", "message"),
    [
        (np.ones(51), "median", "components of one spectrum"),
        (np.ones((51, 51)), "median", "more voxels"),
        (np.ones((99, 51)), 52, "between 0 and 51"),
        (np.ones((99, 51)), "kaiser", "rank must be an int or one of"),
    ],
)
def test_what_has_no_components_is_refused(z, rank, message):
    with pytest.raises(ValueError, match=message):
        denoise_pca(z, rank=rank)


@pytest.mark.parametrize(("width", "loss"), [(4, 0.07), (8, 0.011)])
def test_smoothing_lowers_noise_by_a_third_and_lines_by_what_is_stated(width, loss, rng):
    exact = line(0.1, width * 0.24, 0.0)
    noisy = exact + rng.normal(0, NOISE, (2000, OFFSETS.size))
    clean, made = smooth(exact, OFFSETS), smooth(noisy, OFFSETS)
    assert np.abs(clean - exact).max() < loss * 0.1
    assert (made - clean).std() == pytest.approx(0.66 * NOISE, rel=0.05)


def test_smoothing_of_one_interpolates_and_of_little_is_a_straight_line(rng):
    z = rng.random((3, 51))
    np.testing.assert_array_equal(smooth(z, OFFSETS, smoothing=1.0), z)
    straight = smooth(z, OFFSETS, smoothing=1e-9)
    slope, level = np.polyfit(OFFSETS, z[0], 1)
    np.testing.assert_allclose(straight[0], slope * OFFSETS + level, atol=1e-5)


def test_smoothing_keeps_order_shape_and_precision(rng):
    z = rng.random((2, 3, 51)).astype(np.float32)
    order = rng.permutation(51)
    made = smooth(z, OFFSETS)
    assert made.dtype == np.float32
    np.testing.assert_allclose(smooth(z[..., order], OFFSETS[order]), made[..., order], atol=1e-6)
    z[0, 1, 4] = np.nan
    mask = np.ones((2, 3), bool)
    mask[1, 2] = False
    some = smooth(z, OFFSETS, mask=mask)
    np.testing.assert_array_equal(np.isnan(some).all(axis=-1), [[False, True, False], [False, False, True]])
    np.testing.assert_array_equal(np.isnan(some).any(axis=-1), np.isnan(some).all(axis=-1))


@pytest.mark.parametrize("smoothing", [0.0, -1.0, 1.5, np.nan])
def test_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(ValueError, match="smoothing must be"):
        smooth(np.ones(51), OFFSETS, smoothing=smoothing)
