"""Lines of graphical analysis against NumPy's least squares, one voxel at a time.

Where the voxel's own integral takes part, standard errors are those of equal noise in all samples, by
matrices: the noise of the equations is M times that of the samples, and of the solution P M.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics.fit import shortfall
from imgtheranostics.kernels import graphical_lines as kernels
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.kernels.warmup import compile_all
from imgtheranostics.nuclear import kinetics


def least_squares(design, ordinate, weights):
    """Solution, its standard errors and the weighted squares."""
    root = np.sqrt(weights)
    found = np.linalg.lstsq(design * root[:, np.newaxis], ordinate * root)[0]
    squares = float(weights @ (ordinate - design @ found) ** 2)
    freedom = np.count_nonzero(weights) - design.shape[1]
    normal = design.T @ (weights[:, np.newaxis] * design)
    covariance = squares / freedom * np.linalg.inv(normal) / shortfall(freedom) ** 2
    return found, covariance, squares


def followed_noise(design, weights, first, line, rows, older, newer):
    """Covariance of a solution per variance of the noise in all samples, and the squares that are left.

    An equation has the integral up to its sample less `line` times the sample in it, times its `rows`.
    """
    n = older.size
    integral = np.tril(np.tile(newer + np.r_[older[1:], 0.0], (n, 1)), -1) + np.diag(newer)
    mixed = ((integral - line * np.eye(n)) * rows[:, np.newaxis])[first:]
    solve = np.linalg.inv(design.T @ (weights[:, np.newaxis] * design)) @ (design.T * weights)
    rest = (np.eye(len(design)) - design @ solve) @ mixed
    return solve @ mixed @ mixed.T @ solve.T, np.trace(rest.T @ (weights[:, np.newaxis] * rest))


def areas(curve, older, newer):
    return np.cumsum(older * np.r_[0.0, curve[:-1]] + newer * curve)


def scan(rng, n, m):
    older, newer = rng.uniform(0.1, 1, n), rng.uniform(0.1, 1, n)
    older[0] = 0.0
    x = np.cumsum(rng.uniform(0.5, 2, n))
    weights = rng.uniform(0.5, 2, n)
    samples = rng.uniform(1, 3, (n, m))
    return samples, older, newer, x, weights


def run(kernel, samples, first, older, newer, x, weights, chosen=None):
    n, m = samples.shape
    inside = np.ones(m, np.bool_) if chosen is None else chosen
    used = np.where(np.arange(n) < first, 0.0, weights)
    used *= np.count_nonzero(used) / used.sum()
    freedom = int(np.count_nonzero(used)) - 2
    out, flags = np.full((kernels.ROWS, m), 7.0, samples.dtype), np.full(m, 7, np.uint16)
    kernel(
        read_only(samples), read_only(inside), first, older, newer, x, used, freedom, shortfall(freedom),
        out, flags,
    )  # fmt: skip
    return out, flags, used


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(6, 30), m=st.sampled_from([1, 3, 300]))
def test_own_lines_are_those_of_least_squares(seed, n, m):
    rng = np.random.default_rng(seed)
    samples, *rest = scan(rng, n, m)
    first = int(rng.integers(0, n - 3))
    out, flags, used = run(kernels.own_lines, samples, first, *rest)
    assert not flags.any()
    v = int(rng.integers(m))
    curve, (older, newer, x, _) = samples[:, v], rest
    design = np.stack([x / curve, np.ones(n)], axis=1)[first:]
    ordinate = (areas(curve, older, newer) / curve)[first:]
    found, _, squares = least_squares(design, ordinate, used[first:])
    mixed, left = followed_noise(design, used[first:], first, found[1], 1 / curve, older, newer)
    covariance = mixed * squares / left / shortfall(np.count_nonzero(used) - 2) ** 2
    np.testing.assert_allclose(out[:2, v], found, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(out[2:4, v], np.sqrt(np.diag(covariance)), rtol=1e-5)
    np.testing.assert_allclose(out[kernels.RMSE, v], np.sqrt(squares / used.sum()), rtol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(6, 30), m=st.sampled_from([1, 3, 300]))
def test_own_planes_are_those_of_least_squares(seed, n, m):
    rng = np.random.default_rng(seed)
    samples, *rest = scan(rng, n, m)
    first = int(rng.integers(0, n - 3))
    out, flags, used = run(kernels.own_planes, samples, first, *rest)
    assert not flags.any()
    v = int(rng.integers(m))
    curve, (older, newer, x, _) = samples[:, v], rest
    design = np.stack([x, areas(curve, older, newer)], axis=1)[first:]
    (one, two), _, squares = least_squares(design, curve[first:], used[first:])
    mixed, left = followed_noise(design, used[first:], first, 1 / two, np.full(n, -two), older, newer)
    covariance = mixed * squares / left / shortfall(np.count_nonzero(used) - 2) ** 2
    gradient = np.array([[-1 / two, one / two**2], [0.0, -1 / two**2]])
    expected = np.sqrt(np.diag(gradient @ covariance @ gradient.T))
    np.testing.assert_allclose(out[:2, v], [-one / two, 1 / two], rtol=1e-6)
    np.testing.assert_allclose(out[2:4, v], expected, rtol=1e-4)
    np.testing.assert_allclose(out[kernels.RMSE, v], np.sqrt(squares / used.sum()), rtol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 30))
def test_fixed_lines_are_those_of_least_squares(seed, n):
    rng = np.random.default_rng(seed)
    samples, scale = rng.normal(5, 1, (n + 2, 5)), rng.uniform(0.5, 2, n)
    x, weights = np.cumsum(rng.uniform(0.5, 2, n)), rng.uniform(0.5, 2, n)
    weights *= n / weights.sum()
    design = np.stack([x, np.ones(n)], axis=1)
    pseudo = np.linalg.inv(design.T @ (weights[:, np.newaxis] * design)) @ (design.T * weights)
    mean = weights @ x / n
    spread = weights @ (x - mean) ** 2
    unit = 1 / np.sqrt(n - 2) / shortfall(n - 2)
    scatter = np.array(
        [unit / np.sqrt(spread), unit * np.sqrt(1 / n + mean**2 / spread), n**-0.5, spread, mean]
    )
    out, flags = np.empty((kernels.ROWS, 5)), np.empty(5, np.uint16)
    chosen = read_only(np.ones(5, np.bool_))
    kernels.fixed_lines(
        read_only(samples), chosen, 2, scale, x, pseudo[0] * scale, pseudo[1] * scale, weights, scatter,
        out, flags,
    )  # fmt: skip
    for v in range(5):
        found, covariance, squares = least_squares(design, samples[2:, v] * scale, weights)
        np.testing.assert_allclose(out[:2, v], found, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(out[2:4, v], np.sqrt(np.diag(covariance)), rtol=1e-7)
        np.testing.assert_allclose(out[kernels.RMSE, v], np.sqrt(squares / n), rtol=1e-7)


@pytest.mark.parametrize("kernel", [kernels.own_lines, kernels.own_planes])
def test_own_lines_do_not_depend_on_threads_and_say_what_failed(kernel, rng):
    samples, *rest = scan(rng, 12, 1000)
    chosen = np.ones(1000, np.bool_)
    chosen[500], samples[7, 300] = False, np.nan
    with thread_limit(1):
        one, flags, _ = run(kernel, samples, 4, *rest, chosen=chosen)
    two, _, _ = run(kernel, samples, 4, *rest, chosen=chosen)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(np.flatnonzero(flags), [300, 500])
    np.testing.assert_array_equal(flags[[300, 500]], [kernels.INVALID_INPUT, kernels.MASKED_OUT])
    np.testing.assert_array_equal(np.isnan(one).any(axis=0), flags > 0)


def test_warmup_compiles_what_fits_use():
    dict(compile_all())["graphical analysis"]()
    compiled = (kernels.fixed_lines, kernels.own_lines, kernels.own_planes)
    before = [len(kernel.signatures) for kernel in compiled]
    mid = np.arange(30.0, 1800.0, 60.0)
    given = {"time_s": mid, "input_time_s": mid, "plasma": mid, "start_s": 300.0}
    for dtype in (np.float32, np.float64):
        for method in (kinetics.patlak, kinetics.logan, kinetics.ma1):
            method(np.asfortranarray(np.ones((3, 3, mid.size), dtype)), **given)
    assert [len(kernel.signatures) for kernel in compiled] == before
