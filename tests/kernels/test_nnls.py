"""The bounded unmixing kernel against SciPy's nnls, spectrum by spectrum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls

from imgtheranostics.kernels import nnls as kernels
from imgtheranostics.kernels import warmup
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.threads import run_chunks
from imgtheranostics.msot.bounded_solutions import BoundedSolutions
from imgtheranostics.volume import Flag


def solve(
    spectra, matrix, *, bounded=True, by_voxel=True, workers=1, chosen=None, direct=False, weights=None
):
    """The kernel on spectra (n_voxels, n_wavelengths)."""
    spectra = np.ascontiguousarray(spectra if by_voxel else spectra.T)
    n, n_components = spectra.shape[0 if by_voxel else 1], matrix.shape[1]
    weights = np.ones(len(matrix)) if weights is None else weights
    tables = BoundedSolutions.of(np.ascontiguousarray(matrix), weights, bounded=bounded)
    deviations = np.ascontiguousarray(tables.from_residuals()[0].T)
    values, errors, goodness = (
        np.empty((rows, n), spectra.dtype) for rows in (n_components, n_components, 2)
    )
    flags, supports = np.empty(n, np.uint16), np.empty(n, np.uint16)
    marked = read_only(np.ones(n, np.bool_) if chosen is None else chosen)

    def task(first, last):
        kernels.unmix_voxels(
            read_only(spectra), by_voxel, np.arange(len(matrix)), marked, tables.basis, tables.tables,
            tables.triangle, tables.inverses, tables.columns, tables.unit, deviations, False, direct,
            first, last, values, errors, goodness, flags, supports,
        )  # fmt: skip

    run_chunks(task, n, 1024, workers)
    return values, errors, goodness, flags, supports


def compare(spectra, matrix):
    """Every amount within 1e-6 of the largest, and the residual: where columns are alike, that alone."""
    values, _, goodness, *_ = solve(spectra, matrix)
    condition = np.linalg.cond(matrix / np.linalg.norm(matrix, axis=0))
    for voxel, spectrum in enumerate(spectra):
        expected, norm = nnls(matrix, spectrum)
        found = values[:, voxel]
        assert (found >= 0).all()
        scale = np.linalg.norm(spectrum) + 1e-300
        assert np.linalg.norm(matrix @ found - spectrum) <= norm + 1e-9 * scale
        assert abs(goodness[0, voxel] * np.sqrt(len(matrix)) - norm) <= 1e-6 * norm + 1e-9 * scale
        if condition < 1e6:
            assert np.abs(found - expected).max() <= 1e-6 * max(np.abs(expected).max(), 1e-12 * scale)


@pytest.mark.parametrize("k", range(1, 8))
@pytest.mark.parametrize(
    "kind", ["plain", "all alike", "nearly alike", "mostly clipped", "exact", "on a face"]
)
def test_a_hundred_thousand_spectra_equal_scipy_nnls(kind, k):
    """42 cases with 8 matrices of 300 spectra each, 100,800 in all, of 5 to 31 wavelengths."""
    rng = np.random.default_rng([k, len(kind)])
    for _ in range(8):
        n_wavelengths = int(rng.integers(max(5, k), 32))
        matrix = rng.uniform(0.01, 1, (n_wavelengths, k)) * 10.0 ** rng.uniform(-3, 5, k)
        if kind == "all alike":
            matrix[:, -1] = 3 * matrix[:, 0]
        if kind == "nearly alike":
            matrix[:, -1] = matrix[:, 0] * (1 + 1e-4 * rng.standard_normal(n_wavelengths))
        truth = rng.uniform(-1, 2, (300, k)) / np.linalg.norm(matrix, axis=0)
        if kind == "mostly clipped":
            truth -= 1 / np.linalg.norm(matrix, axis=0)
        if kind == "on a face":
            truth[rng.random(truth.shape) < 0.6] = 0
        spectra = truth @ matrix.T
        if kind not in ("exact", "on a face"):
            spectra += 0.1 * rng.standard_normal(spectra.shape)
        spectra[::97] = 0
        compare(spectra, matrix)


@given(st.integers(1, 7).flatmap(lambda k: st.tuples(
    arrays(float, (9, k), elements=st.floats(0.01, 10)), arrays(float, (4, 9), elements=st.floats(-10, 10))
)))  # fmt: skip
def test_any_problem_equals_scipy_nnls(problem):
    matrix, spectra = problem
    values, *_ = solve(spectra, matrix)
    for voxel, spectrum in enumerate(spectra):
        norm = nnls(matrix, spectrum)[1]
        assert (values[:, voxel] >= 0).all()
        assert np.linalg.norm(matrix @ values[:, voxel] - spectrum) <= norm + 1e-7


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_every_support_is_found_and_an_amount_of_exactly_zero_is_not_held(k):
    """Columns at right angles: an amount is held where its own product is negative."""
    signs = np.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=k)))
    spectra = np.pad(signs * np.arange(1.0, k + 1), ((0, 0), (0, 7 - k)))
    values, _, _, flags, supports = solve(spectra, np.eye(7, k) * 2.0 ** np.arange(k))
    expected = np.maximum(signs * np.arange(1.0, k + 1) / 2.0 ** np.arange(k), 0.0)
    np.testing.assert_allclose(values.T, expected, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(supports, (signs < 0) @ (1 << np.arange(k)))
    np.testing.assert_array_equal(flags, np.where((signs < 0).any(axis=1), Flag.AT_BOUND.value, 0))


@pytest.mark.parametrize("k", [2, 3, 4])
def test_lanes_and_the_walk_find_the_same(rng, k):
    """The two ways to a support, on columns that are alike a little and much."""
    left, _, right = np.linalg.svd(rng.uniform(0, 1, (12, k)), full_matrices=False)
    ways = set()
    for condition in (3.0, 30.0, 300.0, 3000.0):
        matrix = (left * np.geomspace(condition, 1, k)) @ right
        matrix /= np.linalg.norm(matrix, axis=0)
        tables = BoundedSolutions.of(matrix, np.ones(12), bounded=True)
        ways.add(len(tables.inverses) > 0)
        spectra = rng.uniform(-1, 2, (2000, k)) @ matrix.T + 0.1 * rng.standard_normal((2000, 12))
        expected = np.array([nnls(matrix, spectrum)[0] for spectrum in spectra])
        values, errors, goodness, _, supports = solve(spectra, matrix)
        np.testing.assert_allclose(values.T, expected, atol=1e-9 * np.abs(expected).max())
        np.testing.assert_array_equal(supports, (expected == 0) @ (1 << np.arange(k)))
        squares = ((spectra - expected @ matrix.T) ** 2).sum(axis=1)
        np.testing.assert_allclose(goodness[0], np.sqrt(squares / 12), rtol=1e-8)
        expected_errors = tables.from_residuals()[0][supports].T * np.sqrt(squares)
        np.testing.assert_allclose(errors, expected_errors, rtol=1e-8)
    assert ways == {True, False}


def test_without_bounds_equals_least_squares_with_its_errors_and_residuals(rng):
    matrix, spectra = rng.uniform(0, 1, (12, 6)), rng.standard_normal((700, 12))
    values, errors, goodness, flags, _ = solve(spectra, matrix, bounded=False)
    expected, squares, *_ = np.linalg.lstsq(matrix, spectra.T, rcond=None)
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(goodness[0], np.sqrt(squares / 12), rtol=1e-10)
    around = ((spectra - spectra.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    np.testing.assert_allclose(goodness[1], 1 - squares / around, rtol=1e-9)
    spread = np.sqrt(np.outer(np.diag(np.linalg.inv(matrix.T @ matrix)), squares / 6))
    # Mean of a standard deviation with 6 degrees of freedom: 0.9594 of the true one
    np.testing.assert_allclose(errors, spread / 0.9593687, rtol=1e-6)
    assert (flags == 0).all()


def test_residuals_far_below_the_signal_are_summed_one_by_one(rng):
    matrix = rng.uniform(0, 1, (10, 3))
    left = np.linalg.qr(np.column_stack([matrix, rng.standard_normal(10)]))[0][:, 3]
    spectra = np.outer(np.logspace(-9, -1, 40), left) + matrix @ [1.0, 2.0, 3.0]
    goodness = solve(spectra, matrix)[2]
    np.testing.assert_allclose(goodness[0] * np.sqrt(10), np.logspace(-9, -1, 40), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [3, 6])
def test_bytes_depend_neither_on_threads_nor_on_layout(rng, dtype, k):
    matrix = rng.uniform(0, 1, (11, k))
    spectra = (rng.uniform(-1, 2, (5000, k)) @ matrix.T).astype(dtype)
    spectra[::7, 3] = np.nan
    chosen = rng.random(5000) < 0.7
    first = solve(spectra, matrix, chosen=chosen)
    for other in ({"workers": 2}, {"by_voxel": False}, {"by_voxel": False, "workers": 2}):
        for one, two in zip(first, solve(spectra, matrix, chosen=chosen, **other), strict=True):
            np.testing.assert_array_equal(one, two)
    alone = solve(spectra[123:124], matrix)
    for one, two in zip(alone, solve(spectra, matrix), strict=True):
        np.testing.assert_array_equal(one[..., 0], two[..., 123])


def test_lanes_without_a_result_carry_why_and_disturb_no_other(rng):
    matrix = rng.uniform(0, 1, (8, 3))
    spectra = rng.uniform(-1, 2, (600, 3)) @ matrix.T
    clean = solve(spectra, matrix)
    chosen = np.ones(600, bool)
    chosen[[5, 300]] = False
    spectra[[5, 17], 2], spectra[400, 7] = np.nan, -np.inf
    values, errors, goodness, flags, supports = solve(spectra, matrix, chosen=chosen)
    assert flags[[5, 300]].tolist() == [Flag.MASKED_OUT.value] * 2
    assert flags[[17, 400]].tolist() == [Flag.INVALID_INPUT.value] * 2
    bad = np.isin(np.arange(600), [5, 300, 17, 400])
    assert (supports[bad] == 0).all()
    for mine, expected in zip((values, errors, goodness), clean, strict=False):
        assert np.isnan(mine[:, bad]).all()
        np.testing.assert_array_equal(mine[:, ~bad], expected[:, ~bad])
    np.testing.assert_array_equal(flags[~bad], clean[3][~bad])
    assert set(np.unique(clean[3])) == {0, Flag.AT_BOUND.value}


def test_errors_by_the_noise_of_each_voxel_equal_their_sum(rng):
    squares = rng.uniform(0, 1, (2, 3, 5))
    noise, supports = rng.uniform(0, 1, (4, 5)), np.array([0, 1, 1, 0], np.uint16)
    flags = np.array([0, Flag.AT_BOUND.value, Flag.INVALID_INPUT.value, 0], np.uint16)
    errors = np.empty((3, 4))
    kernels.mapped_errors(noise, squares, supports, flags, 0, 4, errors)
    expected = np.sqrt(np.einsum("vkj,vj->kv", squares[supports], noise**2))
    np.testing.assert_allclose(errors[:, [0, 1, 3]], expected[:, [0, 1, 3]])
    assert np.isnan(errors[:, 2]).all()


def test_warming_up_compiles_what_is_used(rng):
    dict(warmup.compile_all())["spectral unmixing"]()
    before = len(kernels.unmix_voxels.signatures), len(kernels.mapped_errors.signatures)
    for dtype in (np.float32, np.float64):
        solve(rng.standard_normal((3, 5)).astype(dtype), rng.uniform(0, 1, (5, 2)))
    assert (len(kernels.unmix_voxels.signatures), len(kernels.mapped_errors.signatures)) == before
