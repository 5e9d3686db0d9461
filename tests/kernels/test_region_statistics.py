"""The region kernels against NumPy on the same voxels."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imgtheranostics.kernels.region_statistics import (
    neighbour_pairs,
    neighbour_products,
    region_means,
    region_statistics,
)

COLUMNS = ("n_valid", "mean", "sd", "min", "max", "p05", "median", "p95")
PROBABILITIES = np.array([0.05, 0.5, 0.95])
SINGLES = st.floats(-1e6, 1e6, width=32) | st.just(np.float32("nan"))


def one_run(size):
    length = np.array([size], np.int64)
    return np.array([0], np.int64), length, np.array([0, 1], np.int64), length


def statistics_of(values):
    planar = np.ascontiguousarray(values, np.float32).reshape(1, -1)
    out = np.empty((1, 1, len(COLUMNS)))
    region_statistics(planar, *one_run(planar.size), PROBABILITIES, out)
    return dict(zip(COLUMNS, out[0, 0], strict=True))


@given(hnp.arrays(np.float32, st.integers(1, 300), elements=SINGLES))
def test_statistics_equal_numpy(values):
    finite = values[np.isfinite(values)].astype(np.float64)
    measured = statistics_of(values)
    assert measured["n_valid"] == finite.size
    if finite.size == 0:
        assert all(np.isnan(measured[name]) for name in COLUMNS[1:])
        return
    scale = max(1.0, np.abs(finite).max())
    assert measured["mean"] == pytest.approx(finite.mean(), abs=1e-12 * scale)
    assert (measured["min"], measured["max"]) == (finite.min(), finite.max())
    # np.quantile interpolates between the same two order statistics.
    expected = np.quantile(finite, PROBABILITIES)
    assert [measured[n] for n in ("p05", "median", "p95")] == pytest.approx(expected, abs=1e-12 * scale)
    if finite.size > 1:
        assert measured["sd"] == pytest.approx(finite.std(ddof=1), rel=1e-9, abs=1e-9 * scale)


@pytest.mark.parametrize(
    "values", [np.zeros(5000), np.repeat([1, 2], 2500), np.arange(5000), -np.arange(5000)]
)
def test_quantiles_of_ties_and_sorted_lists(values):
    measured = statistics_of(values)
    assert [measured[n] for n in ("p05", "median", "p95")] == pytest.approx(
        np.quantile(values, PROBABILITIES)
    )


def test_infinite_voxels_are_left_out():
    measured = statistics_of([1.0, np.inf, 3.0, -np.inf])
    assert (measured["n_valid"], measured["mean"]) == (2, 2.0)


def test_sd_survives_a_large_offset():
    """Voxels near 1e6 with an SD of 1: a one-pass sum of squares in float32 would lose it."""
    values = (1e6 + np.tile([-1.0, 1.0], 5000)).astype(np.float32)
    assert statistics_of(values)["sd"] == pytest.approx(np.sqrt(10000 / 9999), rel=1e-12)


def test_same_bytes_on_one_and_two_threads(rng):
    planar = rng.normal(size=(7, 20_000)).astype(np.float32)
    voxels = np.sort(rng.choice(20_000, 15_000, replace=False)).astype(np.int64)
    starts = np.array([0, 3, 5000, 15_000], np.int64)
    results = []
    before = numba.get_num_threads()
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            table = np.empty((7, 3, len(COLUMNS)))
            means = np.empty((7, 3))
            runs = (voxels, np.ones_like(voxels), starts, np.diff(starts))
            region_statistics(planar, *runs, PROBABILITIES, table)
            region_means(planar, *runs, means)
            results.append(table.tobytes() + means.tobytes())
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


@given(st.integers(0, 2**32 - 1))
def test_neighbour_products_equal_shifted_arrays(seed):
    """Against whole-array shifts, which handle edges by slicing."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 6, 3))
    data = rng.normal(size=shape).astype(np.float32)
    data[rng.random(shape) < 0.1] = np.nan
    inside = rng.random(shape) < 0.6
    voxels = np.flatnonzero(inside.ravel(order="F")).astype(np.int64)
    out = np.empty((1, 1, 3, 2))
    first, second = np.empty((2, 1, 3, 300), np.int64)
    n_pairs = np.empty((1, 3), np.int64)
    starts = np.array([0, voxels.size], np.int64)
    neighbour_pairs(voxels, starts, np.array(shape, np.int64), first, second, n_pairs)
    planar = data.ravel(order="F")[np.newaxis]
    neighbour_products(planar, first, second, np.array([[0.25]]), out)
    residual = np.where(inside, data.astype(np.float64) - 0.25, np.nan)
    for axis in range(3):
        here = residual.take(range(shape[axis] - 1), axis)
        there = residual.take(range(1, shape[axis]), axis)
        product = here * there
        pair = inside.take(range(shape[axis] - 1), axis) & inside.take(range(1, shape[axis]), axis)
        assert n_pairs[0, axis] == pair.sum()
        assert out[0, 0, axis, 1] == np.isfinite(product).sum()
        assert out[0, 0, axis, 0] == pytest.approx(np.nansum(product), abs=1e-9)


def test_large_regions_keep_an_even_selection_of_pairs():
    voxels = np.arange(1000, dtype=np.int64)
    first, second = np.empty((2, 1, 3, 64), np.int64)
    n_pairs = np.empty((1, 3), np.int64)
    extents = np.array([10, 10, 10], np.int64)
    neighbour_pairs(voxels, np.array([0, 1000], np.int64), extents, first, second, n_pairs)
    assert n_pairs.tolist() == [[900, 900, 900]]
    kept = first[0, 2][first[0, 2] >= 0]
    assert kept.size == 57
    assert np.array_equal(second[0, 2][: kept.size], kept + 100)
    assert kept.max() > 800
