"""The recovery kernels against NumPy: the grid, one point of the search, and its minimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.kernels import recovery_grid, recovery_voxel
from imgtheranostics.kernels.lanes import BLOCK
from imgtheranostics.mri import recovery_model as models

TIMES = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 2.0])
WAITS = TIMES + 1.5
MODELS = (
    models.INVERSION,
    models.INVERSION_FINITE,
    models.PERFECT_INVERSION,
    models.PERFECT_INVERSION_FINITE,
    models.SATURATION,
)


def design(model, rate):
    """Columns of the model as its docstring has them."""
    e, d = np.exp(-rate * TIMES), np.exp(-rate * WAITS)
    k0, k1, k2, m2 = model.coefficients
    columns = [k0 + k1 * e + k2 * d] + ([e + m2 * d] if model.pair else [])
    return np.stack(columns, axis=1)


def point(model, y, rate):
    packed = models.packed(model, TIMES, WAITS)
    work, out = np.empty((4, y.size)), np.empty(10)
    recovery_voxel.point(y, packed[0], packed[1], packed[2], model.pair, rate, work, out)
    return out


@pytest.mark.parametrize("model", MODELS)
@given(rate=st.floats(0.3, 15.0), seed=st.integers(0, 1000))
def test_a_point_is_linear_least_squares_and_its_slope_the_derivative(model, rate, seed):
    y = np.random.default_rng(seed).normal(size=TIMES.size)
    out = point(model, y, rate)
    amplitudes, sums, *_ = np.linalg.lstsq(design(model, rate), y, rcond=None)
    assert out[recovery_voxel.SSE] == pytest.approx(sums[0], rel=1e-7)
    np.testing.assert_allclose(
        out[[recovery_voxel.C1, recovery_voxel.C2]][: amplitudes.size], amplitudes, rtol=1e-5, atol=1e-8
    )
    step = 1e-5 * rate
    lower, upper = (point(model, y, rate + side * step)[recovery_voxel.SSE] for side in (-1, 1))
    assert -2 * out[recovery_voxel.SLOPE] == pytest.approx((upper - lower) / (2 * step), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_the_covariance_is_that_of_the_jacobian(model, rng):
    """NumPy: s^2 (J'J)^-1 of (T, c1, c2) with J by central differences."""
    rate = 1.1
    amplitudes = np.array([900.0, -1700.0])[: 2 if model.pair else 1]
    y = design(model, rate) @ amplitudes + rng.normal(size=TIMES.size)
    packed = models.packed(model, TIMES, WAITS)
    work, out, trial, values = np.empty((5, y.size)), np.empty(10), np.empty(10), np.empty(10)
    found, _, settled = recovery_voxel.descend(
        y, packed[0], packed[1], packed[2], model.pair, 1.0, 0.05, 50.0, work, out, trial
    )
    recovery_voxel.report(y, found, out, model.pair, values)
    assert settled
    c = out[[recovery_voxel.C1, recovery_voxel.C2]][: amplitudes.size]
    t = 1 / found
    by_t = (design(model, 1 / (t + 1e-6)) - design(model, 1 / (t - 1e-6))) @ c / 2e-6
    jacobian = np.column_stack([by_t, design(model, found)])
    variance = out[recovery_voxel.SSE] / (y.size - jacobian.shape[1])
    covariance = variance * np.linalg.inv(jacobian.T @ jacobian)
    assert values[4] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-5)
    assert values[5] == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-5)
    if model.pair:
        k = -c[1] / c[0]
        for place, slope in ((6, [0, -k / c[0], -1 / c[0]]), (7, [k - 1, -t * k / c[0], -t / c[0]])):
            assert values[place] == pytest.approx(np.sqrt(slope @ covariance @ slope), rel=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_the_scan_finds_the_best_grid_point_of_every_polarity(model, rng):
    rates, first, second = models.grid(model, TIMES, WAITS, 0.1, 40.0)
    n = TIMES.size
    signal = np.abs(rng.normal(size=(n, BLOCK))).astype(np.float32)
    scaled = signal.copy()
    rows, best = np.empty(recovery_grid.ROWS, np.float32), np.empty(2 * n * BLOCK, np.float32)
    recovery_grid.normalise(scaled, rows)
    np.testing.assert_allclose(scaled, signal / signal.max(axis=0), rtol=1e-6)
    recovery_grid.scan(scaled, first, second, n, rows, best)
    records = best.reshape(n, 2, BLOCK)
    for lane in (0, 5, 255):
        for j in range(n):
            y = np.where(np.arange(n) < j, -scaled[:, lane], scaled[:, lane]).astype(float)
            explained = []
            for rate in rates:
                q, _ = np.linalg.qr(design(model, rate))
                explained.append(np.sum((q.T @ y) ** 2))
            assert records[j, 0, lane] == pytest.approx(max(explained), rel=1e-4)
            assert explained[int(records[j, 1, lane])] == pytest.approx(max(explained), rel=1e-4)
