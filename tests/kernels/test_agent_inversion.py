"""The inversions of gradient-echo signals against SciPy's root finder and minimiser, voxel by voxel."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from imgtheranostics.kernels.agent_inversion import fit_echoes, invert_with_decay

ECHOES = np.array([0.002, 0.005, 0.011])


def log_ratio(c, r10, r1, decay, repetition, flip):
    def recovery(rate):
        left = np.exp(-repetition * rate)
        return np.log((1 - left) / (1 - left * np.cos(flip)))

    return recovery(r10 + r1 * c) - recovery(r10) - decay * c


def invert(
    ratio, spread=np.nan, *, r10=0.7, flip=0.3, r1=5.0, r2star=60.0, repetition=0.01, echo=0.004, highest=20.0
):
    ratio = np.atleast_2d(ratio).astype(float)
    m = ratio.shape[1]
    out, flags = np.empty((4, *ratio.shape)), np.zeros(ratio.shape, np.uint16)
    invert_with_decay(
        ratio, np.full(ratio.shape, spread), np.full(m, r10), np.full(m, flip), r1, r2star, repetition, echo,
        highest, out, flags,
    )  # fmt: skip
    return out, flags


@given(
    st.floats(0.0, 0.97), st.floats(0.3, 4.0), st.floats(0.05, 1.2), st.floats(1.0, 30.0),
    st.floats(1.0, 150.0), st.floats(0.003, 0.05),
)  # fmt: skip
def test_lower_root_and_slope_equal_scipy(share, r10, flip, r1, r2star, repetition):
    decay = 0.004 * r2star
    setting = (r10, r1, decay, repetition, flip)
    top = minimize_scalar(lambda c: -log_ratio(c, *setting), bounds=(-r10 / r1 + 1e-9, 500), method="bounded")
    assume(1e-3 < top.x < 400)
    wanted = share * -top.fun
    root = brentq(lambda c: log_ratio(c, *setting) - wanted, 0, top.x, xtol=1e-15, rtol=1e-13)
    out, _ = invert(np.exp(wanted), r10=r10, flip=flip, r1=r1, r2star=r2star, repetition=repetition)
    assert out[0, 0, 0] == pytest.approx(root, rel=1e-6, abs=1e-10)
    step = 1e-6 * (abs(root) + r10 / r1)
    slope = (log_ratio(root + step, *setting) - log_ratio(root - step, *setting)) / (2 * step)
    assert out[1, 0, 0] == pytest.approx(slope, rel=1e-3, abs=1e-6)


@given(st.floats(-12, 30), st.floats(0.3, 4.0), st.floats(0.5, 500.0))
def test_any_ratio_gives_a_root_or_a_flag(log_of_ratio, r10, r2star):
    out, flags = invert(np.exp(log_of_ratio), r10=r10, r2star=r2star)
    if np.isfinite(out[0, 0, 0]):
        found = log_ratio(out[0, 0, 0], r10, 5.0, 0.004 * r2star, 0.01, 0.3)
        assert found == pytest.approx(log_of_ratio, abs=1e-6)
    else:
        assert flags[0, 0] != 0


def test_flagged_samples_are_left_alone():
    ratio = np.array([[1.2, 1.3]])
    out, flags = np.empty((4, 1, 2)), np.array([[4, 0]], np.uint16)
    one = np.ones(2)
    invert_with_decay(ratio, ratio, one, 0.3 * one, 5.0, 60.0, 0.01, 0.004, 20.0, out, flags)
    assert np.isnan(out[0, 0, 0])
    assert np.isfinite(out[0, 0, 1])
    assert flags[0, 0] == 4


def pairs(rng, concentration, noise=0.5):
    r10, flip, r1, r2star, repetition = 0.7, 0.3, 10.0, 57.0, 0.01
    ratio = np.exp([log_ratio(concentration, r10, r1, echo * r2star, repetition, flip) for echo in ECHOES])
    before = 100 * np.exp(-20 * ECHOES)[:, np.newaxis] + noise * rng.normal(size=ratio.shape)
    after = 100 * np.exp(-20 * ECHOES)[:, np.newaxis] * ratio + noise * rng.normal(size=ratio.shape)
    return before, after


def fitted(before, after, highest=20.0):
    m = before.shape[1]
    out, flags = np.empty((8, m)), np.zeros(m, np.uint16)
    fit_echoes(before, after, ECHOES, np.full(m, 0.7), np.full(m, 0.3), 10.0, 57.0, 0.01, highest, out, flags)
    return out, flags


def misfit(c, before, after):
    ratio = np.exp([log_ratio(c, 0.7, 10.0, echo * 57.0, 0.01, 0.3) for echo in ECHOES])
    return ((after - before * ratio) ** 2 / (1 + ratio**2)).sum()


def test_joint_fit_is_the_minimum_that_scipy_finds_from_a_grid(rng):
    concentration = rng.uniform(0.0, 5.0, 12)
    before, after = pairs(rng, concentration)
    out, flags = fitted(before, after)
    assert not flags.any()
    grid = np.linspace(-0.06, 12, 400)
    for v in range(12):
        near = grid[np.argmin([misfit(c, before[:, v], after[:, v]) for c in grid])]
        best = minimize_scalar(
            misfit, args=(before[:, v], after[:, v]), bounds=(max(near - 0.05, -0.0699), near + 0.05),
            method="bounded", options={"xatol": 1e-12},
        )  # fmt: skip
        assert out[1, v] <= best.fun * (1 + 1e-9)
        assert out[0, v] == pytest.approx(best.x, abs=1e-5)


def test_sums_are_numerical_derivatives(rng):
    """Curvature is J'J of the scaled residuals; checked on the misfit's second derivative without noise."""
    before, after = pairs(rng, np.array([0.4]), noise=0.0)
    out, _ = fitted(before, after)
    step = 1e-5
    second = sum(w * misfit(0.4 + s * step, before[:, 0], after[:, 0]) for w, s in ((1, 1), (-2, 0), (1, -1)))
    assert out[3, 0] == pytest.approx(second / step**2 / 2, rel=1e-3)


def test_same_bytes_on_one_and_two_threads(rng):
    before, after = pairs(rng, rng.uniform(0, 5, 1500))
    known = numba.get_num_threads()
    results = []
    for threads in (1, known):
        numba.set_num_threads(threads)
        out, flags = fitted(before, after)
        inverted, marks = invert(after / before)
        results.append(out.tobytes() + flags.tobytes() + inverted.tobytes() + marks.tobytes())
    numba.set_num_threads(known)
    assert results[0] == results[1]
