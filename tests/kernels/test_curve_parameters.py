"""The curve kernels against NumPy, and their gradients against finite differences."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.polynomial import Polynomial

from imgtheranostics.kernels.curve_parameters import LANDMARKS, initial_areas, landmarks

TIMES = np.cumsum(np.r_[0.0, 3 + np.sin(np.arange(39)) ** 2])
SETTING = (0, 8)


def landmarks_of(samples, *, half=1, relative=0, arrival=np.nan, noise=0.5, shared=0.0):
    samples = np.atleast_2d(samples).T.copy()
    m = samples.shape[1]
    out, errors = np.empty((2, LANDMARKS, m))
    flags = np.zeros(m, np.uint16)
    arrivals = np.full(m, arrival)
    own, common = np.full(samples.shape, noise), np.full(samples.shape, shared)
    landmarks(samples, own, common, TIMES, *SETTING, 4.0, 2, half, relative, arrivals, out, errors, flags)
    return out, errors, flags


def areas_of(samples, windows, arrival, shared=0.0):
    samples = np.atleast_2d(samples).T.copy()
    m = samples.shape[1]
    moments = np.empty((2, m))
    areas, errors = np.empty((2, len(windows), m))
    flags = np.zeros(m, np.uint16)
    noise, common = np.full(samples.shape, 0.5), np.full(samples.shape, shared)
    initial_areas(
        samples, noise, common, TIMES, *SETTING, 4.0, 2, np.array(windows, float), np.full(m, arrival),
        moments, areas, errors, flags,
    )  # fmt: skip
    return areas, errors, flags


def curve(rng, n=1):
    x = np.clip((TIMES - rng.uniform(27, 35, (n, 1))) / 25, 0, None)
    return 100 + 60 * x * np.exp(1 - x) + 0.1 * rng.normal(size=(n, TIMES.size))


def plain_landmarks(y, half):
    """What the kernel calculates for one curve, with NumPy's own polynomials."""
    base = y[slice(*SETTING)].mean()
    enhanced = y - base > 4 * 0.5
    start = next(i for i in range(SETTING[1], y.size - 1) if enhanced[i] and enhanced[i + 1])
    line = Polynomial.fit(TIMES[start : start + 2], y[start : start + 2] - base, 1)
    arrival = line.roots()[0]
    top = SETTING[1] + int(np.argmax(y[SETTING[1] :]))
    around = slice(top - half, top + half + 1)
    parabola = Polynomial.fit(TIMES[around], y[around], 2)
    moment = parabola.deriv().roots()[0]
    height = parabola(moment)
    return np.array(
        [
            arrival,
            moment - arrival,
            height - base,
            (height - base) / (moment - arrival),
            (y[-1] - height) / (TIMES[-1] - moment),
        ]
    )


@pytest.mark.parametrize("half", [1, 2, 3])
def test_landmarks_equal_a_plain_calculation(rng, half):
    curves = curve(rng, 30)
    out, _, flags = landmarks_of(curves, half=half)
    expected = np.array([plain_landmarks(y, half) for y in curves]).T
    assert not flags.any()
    np.testing.assert_allclose(out, expected, rtol=1e-7)


@pytest.mark.parametrize("relative", [0, 1, -1])
@pytest.mark.parametrize("arrival", [np.nan, 30.0])
@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_errors_follow_the_numerical_gradient(rng, relative, arrival, shared):
    """Noise of 0.5 in each sample by itself, and an error that all share."""
    sign = -1.0 if relative < 0 else 1.0
    y = curve(rng)[0] if sign > 0 else curve(rng)[0] - 300
    _, errors, _ = landmarks_of(y, half=2, relative=relative, arrival=arrival, shared=shared)
    step = 1e-5
    shifted = np.stack([y + step * unit * way for unit in np.eye(y.size) for way in (1, -1)])
    out, _, _ = landmarks_of(shifted, half=2, relative=relative, arrival=arrival)
    gradient = (out[:, ::2] - out[:, 1::2]) / (2 * step)
    expected = np.hypot(0.5 * np.linalg.norm(gradient, axis=1), shared * gradient.sum(axis=1))
    np.testing.assert_allclose(errors[:, 0], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_area_errors_follow_the_numerical_gradient(rng, shared):
    y = curve(rng)[0] - 100
    _, errors, _ = areas_of(y, [20, 45.5], np.nan, shared)
    step = 1e-5
    shifted = np.stack([y + step * unit * way for unit in np.eye(y.size) for way in (1, -1)])
    areas, _, _ = areas_of(shifted, [20, 45.5], np.nan)
    gradient = (areas[:, ::2] - areas[:, 1::2]) / (2 * step)
    expected = np.hypot(0.5 * np.linalg.norm(gradient, axis=1), shared * gradient.sum(axis=1))
    np.testing.assert_allclose(errors[:, 0], expected, rtol=1e-5)


@given(
    hnp.arrays(np.float64, TIMES.size, elements=st.floats(-1e3, 1e3)),
    st.floats(0.0, 100.0),
    st.floats(0.1, 60.0),
)
def test_areas_equal_interpolation_and_trapezoids(y, begin, window):
    """NumPy's interp and trapezoid over the curve with both ends put in."""
    end = begin + window
    areas, errors, flags = areas_of(y, [window], begin)
    if end > TIMES[-1]:
        assert np.isnan(areas[0, 0])
        assert flags[0] == 32
        return
    inner = TIMES[slice(*np.searchsorted(TIMES, (begin, end)))]
    knots = np.concatenate([[begin], inner, [end]])
    expected = np.trapezoid(np.interp(knots, TIMES, y), knots)
    assert areas[0, 0] == pytest.approx(expected, rel=1e-9, abs=1e-7)
    assert 0 < errors[0, 0] <= 0.5 * window


@given(hnp.arrays(np.float64, TIMES.size, elements=st.floats(allow_nan=True, allow_infinity=True, width=32)))
def test_any_curve_gives_a_value_or_a_flag(y):
    with np.errstate(all="ignore"):
        out, _, flags = landmarks_of(y)
    assert np.isfinite(out).all() or flags[0] != 0


def test_same_bytes_on_one_and_two_threads(rng):
    curves = curve(rng, 2000)
    before = numba.get_num_threads()
    results = []
    for threads in (1, before):
        numba.set_num_threads(threads)
        out, errors, flags = landmarks_of(curves)
        results.append(out.tobytes() + errors.tobytes() + flags.tobytes())
    numba.set_num_threads(before)
    assert results[0] == results[1]
