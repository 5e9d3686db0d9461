"""Kernels of T2 and T2* beside SciPy's optimiser, closed forms and plain NumPy."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import curve_fit

from imgtheranostics.kernels import (
    decay,
    decay_lanes,
    linear_decay,
    linear_decay_lanes,
    noise_floor,
    noise_floor_lanes,
)
from imgtheranostics.kernels.lanes import BLOCK
from imgtheranostics.mri.decay_lanes import noise_profile
from imgtheranostics.mri.decay_models import Echoes, empty_results
from imgtheranostics.mri.noise_distribution import chi_table
from imgtheranostics.volume import Flag

EQUAL = np.linspace(1.2, 17.7, 12) * 1e-3
UNEQUAL = np.array([1.5, 2.5, 5.0, 9.0, 16.0, 30.0, 55.0]) * 1e-3


def noisy_decays(times, n_voxels, seed, noise=2.0, offset=0.0):
    rng = np.random.default_rng(seed)
    constants = rng.uniform(0.003, 0.05, n_voxels)
    signal = 100 * np.exp(-times[:, np.newaxis] / constants) + offset
    return signal + noise * rng.standard_normal(signal.shape), constants


def fitted(samples, times, *, with_offset=False):
    echoes = Echoes.of(times)
    curves = echoes.curves
    if with_offset:
        curves -= curves.mean(axis=1, keepdims=True)
    curves /= np.linalg.norm(curves, axis=1, keepdims=True)
    results = empty_results(samples.shape[1])
    decay.fit_decays(
        samples, echoes.first_s, echoes.shifts, echoes.spacing, echoes.rates, curves, with_offset, *results
    )
    return results


def in_lanes(samples, times, chosen=None):
    n = samples.shape[1]
    out = np.empty((decay_lanes.N_RESULTS, n), np.float32)
    iterations, flags = np.empty(n, np.int16), np.empty(n, np.uint16)
    chosen = np.ones(n, bool) if chosen is None else chosen
    samples = np.ascontiguousarray(samples, np.float32)
    for array in (samples, chosen):
        array.setflags(write=False)
    decay_lanes.fit_decay_lanes(samples, chosen, times[0], times[1] - times[0], out, iterations, flags)
    return out, iterations, flags


def by_scipy(times, curve, start, with_offset=False):
    def model(t, time, amplitude, offset=0.0):
        return amplitude * np.exp(-t / time) + offset

    start = [start, 100.0, 0.0] if with_offset else [start, 100.0]
    values, covariance = curve_fit(model, times, curve, start, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    return values, np.sqrt(np.diag(covariance))


def test_flags_are_those_of_the_data_model():
    assert decay.BELOW_NOISE == Flag.BELOW_NOISE
    assert decay.INVALID_INPUT == Flag.INVALID_INPUT
    assert decay.AT_BOUND == Flag.AT_BOUND
    assert decay.NOT_CONVERGED == Flag.NOT_CONVERGED
    assert decay.OUTSIDE_RANGE == Flag.OUTSIDE_RANGE
    assert decay.ILL_CONDITIONED == Flag.ILL_CONDITIONED
    assert decay.NEGATIVE_AMPLITUDE == Flag.NEGATIVE_AMPLITUDE
    assert decay_lanes.UNSETTLED not in [flag.value for flag in Flag]


@pytest.mark.parametrize("times", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("with_offset", [False, True])
def test_values_and_errors_are_those_of_curve_fit(times, with_offset):
    offset = 20.0 if with_offset else 0.0
    samples, constants = noisy_decays(times, 40, seed=1, noise=0.5, offset=offset)
    keep = constants < 0.02  # with a longer one the optimiser of the comparison does not get to the end
    samples, constants = np.ascontiguousarray(samples[:, keep]), constants[keep]
    out, _, flags = fitted(samples, times, with_offset=with_offset)
    assert_array_equal(flags, 0)
    n = 3 if with_offset else 2
    for voxel in range(samples.shape[1]):
        values, errors = by_scipy(times, samples[:, voxel], constants[voxel], with_offset)
        assert_allclose(out[[decay.TIME, decay.AMPLITUDE, decay.OFFSET][:n], voxel], values, rtol=2e-6)
        rows = [decay.TIME_ERROR, decay.AMPLITUDE_ERROR, decay.OFFSET_ERROR][:n]
        assert_allclose(out[rows, voxel], errors, rtol=1e-4)


@pytest.mark.parametrize("with_offset", [False, True])
def test_powers_of_one_factor_are_the_exponentials_that_they_replace(with_offset):
    samples, _ = noisy_decays(EQUAL, 200, seed=2)
    shifted = EQUAL.copy()
    shifted[3] += 1e-8  # enough to count as unequally spaced
    assert Echoes.of(EQUAL).spacing > 0
    assert Echoes.of(shifted).spacing == 0
    equal, unequal = (fitted(samples, t, with_offset=with_offset)[0][decay.TIME] for t in (EQUAL, shifted))
    assert_allclose(equal, unequal, rtol=0.02 if with_offset else 1e-4)


def test_goodness_of_fit_is_that_of_the_residuals():
    samples, _ = noisy_decays(EQUAL, 30, seed=3)
    out, _, _ = fitted(samples, EQUAL)
    residuals = samples - out[decay.AMPLITUDE] * np.exp(-EQUAL[:, np.newaxis] / out[decay.TIME])
    assert_allclose(out[decay.RMSE], np.sqrt((residuals**2).mean(axis=0)), rtol=1e-8)
    expected = 1 - (residuals**2).sum(axis=0) / (samples.var(axis=0) * 12)
    assert_allclose(out[decay.R_SQUARED], expected, rtol=1e-8)


def test_noise_never_beats_the_search():
    """Pure noise has many valleys; none of a fine scan may be deeper than the one found."""
    samples = np.abs(np.random.default_rng(4).standard_normal((12, 300)))
    out, _, flags = fitted(samples, EQUAL)
    echoes = Echoes.of(EQUAL)
    rates = np.geomspace(decay.LEAST_RATE, echoes.rates[-1], 4000)
    curves = np.exp(-np.outer(rates, echoes.shifts))
    curves /= np.linalg.norm(curves, axis=1, keepdims=True)
    deepest = (samples**2).sum(axis=0) - ((curves @ samples) ** 2).max(axis=0)
    found = 12 * out[decay.RMSE] ** 2
    usable = np.isfinite(out[decay.TIME])
    assert np.count_nonzero(usable) > 100
    assert np.isin(flags[~usable], [Flag.OUTSIDE_RANGE]).all()
    assert np.all(found[usable] <= deepest[usable] * (1 + 1e-9))


@given(
    time_constant=st.floats(0.0015, 0.2),
    amplitude=st.floats(1e-6, 1e9),
    first=st.floats(0.5e-3, 20e-3),
    spacing=st.floats(0.5e-3, 10e-3),
    n=st.integers(3, 32),
)
def test_exact_decays_are_recovered(time_constant, amplitude, first, spacing, n):
    times = first + spacing * np.arange(n)
    samples = amplitude * np.exp(-times / time_constant)[:, np.newaxis]
    echoes = Echoes.of(times)
    out, _, flags = fitted(samples, times)
    if 1 / time_constant >= echoes.rates[-1]:
        assert flags[0] == Flag.AT_BOUND
        return
    assert flags[0] == 0
    # a signal that hardly falls within the echoes determines its constant less well: the slope over the span
    conditioning = max(1.0, time_constant / (times[-1] - times[0]))
    assert out[decay.TIME, 0] == pytest.approx(time_constant, rel=1e-9 * conditioning)
    assert out[decay.AMPLITUDE, 0] == pytest.approx(amplitude, rel=1e-7)


@given(scale=st.floats(1e-12, 1e12), seed=st.integers(0, 1000))
def test_the_unit_of_the_signal_does_not_matter(scale, seed):
    samples, _ = noisy_decays(UNEQUAL, 4, seed)
    plain, _, _ = fitted(samples, UNEQUAL)
    scaled, _, _ = fitted(samples * scale, UNEQUAL)
    assert_allclose(scaled[decay.TIME], plain[decay.TIME], rtol=1e-9)
    assert_allclose(scaled[decay.TIME_ERROR], plain[decay.TIME_ERROR], rtol=1e-8)
    assert_allclose(scaled[decay.AMPLITUDE], scale * plain[decay.AMPLITUDE], rtol=1e-9)
    assert_allclose(scaled[decay.AMPLITUDE_ERROR], scale * plain[decay.AMPLITUDE_ERROR], rtol=1e-8)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 12, 17])
def test_lanes_agree_with_the_float64_search(n):
    """performance.md asks for 1e-4; the rounding of float32 signals allows about 1e-7 over 1 - u."""
    times = 0.003 + 0.002 * np.arange(n)
    samples, _ = noisy_decays(times, 3 * BLOCK + 5, seed=n, noise=1.0)
    samples = samples.astype(np.float32)
    out, iterations, flags = in_lanes(samples, times)
    exact, _, _ = fitted(samples.astype(np.float64), times)
    settled = flags == 0
    assert settled.mean() > 0.8
    assert np.all(flags[~settled] == decay_lanes.UNSETTLED)
    assert np.all((iterations >= 1) & (iterations <= decay_lanes.MOST_STEPS))
    rows = [decay.TIME, decay.AMPLITUDE]
    assert_allclose(out[:2, settled], exact[rows][:, settled], rtol=5e-5)
    if n > 3:  # nothing, or hardly anything, is left of the residuals otherwise
        rows = [decay.TIME_ERROR, decay.AMPLITUDE_ERROR, decay.R_SQUARED, decay.RMSE]
        assert_allclose(out[2:, settled], exact[rows][:, settled], rtol=2e-3)


@given(
    seed=st.integers(0, 100_000),
    n=st.integers(2, 20),
    spacings=st.floats(0.2, 19.0),
    scale=st.floats(1e-25, 1e25),
)
def test_lanes_give_what_the_search_gives_or_leave_it_to_it(seed, n, spacings, scale):
    rng = np.random.default_rng(seed)
    times = 0.002 * spacings + 0.002 * np.arange(n)
    decays = np.exp(-(times[:, np.newaxis]) / rng.uniform(0.0005, 0.3, 32))
    decays *= scale / decays[0]
    samples = (decays + 0.1 * scale * rng.standard_normal((n, 32))).astype(np.float32)
    out, _, flags = in_lanes(samples, times)
    exact, _, _ = fitted(samples.astype(np.float64), times)
    settled = flags == 0
    assert_allclose(out[0, settled], exact[decay.TIME, settled], rtol=1e-4)
    assert_allclose(out[1, settled], exact[decay.AMPLITUDE, settled], rtol=1e-4)


def test_lanes_leave_what_is_no_decay():
    times = 0.003 + 0.002 * np.arange(8)
    good = np.exp(-times / 0.01)
    samples = np.stack([good, good, np.zeros(8), -good, good[::-1], 1e30 * good, np.full(8, 3.0)], axis=1)
    samples[2, 0], samples[3, 1] = np.nan, np.inf
    _, _, flags = in_lanes(samples, times)
    assert_array_equal(flags, decay_lanes.UNSETTLED)


def test_lanes_of_a_mask_are_those_of_the_whole():
    times = 0.003 + 0.002 * np.arange(8)
    samples, _ = noisy_decays(times, 9000, seed=7)
    everything, _, _ = in_lanes(samples, times)
    chosen = np.random.default_rng(8).random(9000) < 0.3
    some, iterations, flags = in_lanes(samples, times, chosen)
    assert_array_equal(some[:, chosen], everything[:, chosen])
    assert np.isnan(some[:, ~chosen]).all()
    assert_array_equal(flags[~chosen], Flag.MASKED_OUT)
    assert_array_equal(iterations[~chosen], 0)


def test_bytes_do_not_depend_on_the_threads():
    samples, _ = noisy_decays(EQUAL, 5000, seed=9)
    before = numba.get_num_threads()
    seen = []
    try:
        for threads in {1, before}:
            numba.set_num_threads(threads)
            seen.append((fitted(samples, EQUAL), in_lanes(samples, EQUAL)))
    finally:
        numba.set_num_threads(before)
    for first, second in zip(seen[0], seen[-1], strict=True):
        for one, other in zip(first, second, strict=True):
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("weighted", [False, True])
def test_line_is_that_of_polyfit(weighted):
    samples, _ = noisy_decays(UNEQUAL, 20, seed=10, noise=0.2)
    samples = np.abs(samples)
    echoes = Echoes.of(UNEQUAL)
    out, iterations, flags = empty_results(20)
    linear_decay.fit_lines(
        samples, echoes.first_s, echoes.shifts, echoes.spacing, weighted, out, iterations, flags
    )
    for voxel in range(20):
        y = samples[:, voxel]
        # polyfit takes weights for the residuals, not for their squares
        line, covariance = np.polyfit(UNEQUAL, np.log(y), 1, w=y if weighted else None, cov=True)
        time, amplitude = -1 / line[0], np.exp(line[1])
        assert out[decay.TIME, voxel] == pytest.approx(time, rel=1e-9)
        assert out[decay.AMPLITUDE, voxel] == pytest.approx(amplitude, rel=1e-9)
        assert out[decay.TIME_ERROR, voxel] == pytest.approx(time**2 * covariance[0, 0] ** 0.5, rel=1e-7)
        assert out[decay.AMPLITUDE_ERROR, voxel] == pytest.approx(
            amplitude * covariance[1, 1] ** 0.5, rel=1e-7
        )
        rmse = np.sqrt(np.mean((y - amplitude * np.exp(-UNEQUAL / time)) ** 2))
        assert out[decay.RMSE, voxel] == pytest.approx(rmse, rel=1e-7)


def test_arlo_is_the_published_ratio():
    samples, _ = noisy_decays(EQUAL, 20, seed=11)
    echoes = Echoes.of(EQUAL)
    out, iterations, flags = empty_results(20)
    linear_decay.fit_arlo(samples, echoes.first_s, echoes.shifts, echoes.spacing, out, iterations, flags)
    third = echoes.spacing / 3
    s = third * (samples[:-2] + 4 * samples[1:-1] + samples[2:])
    d = samples[:-2] - samples[2:]
    expected = ((s * s).sum(0) + third * (s * d).sum(0)) / (third * (d * d).sum(0) + (s * d).sum(0))
    assert_allclose(out[decay.TIME], expected, rtol=1e-12)


def arlo(samples):
    echoes = Echoes.of(EQUAL)
    results = empty_results(samples.shape[1])
    linear_decay.fit_arlo(samples, echoes.first_s, echoes.shifts, echoes.spacing, *results)
    return results[0]


def test_arlo_errors_are_carried_from_the_samples():
    """Against differences by each sample, scaled with the residuals about the decay found."""
    samples, _ = noisy_decays(EQUAL, 5, seed=12, noise=1.0)
    out = arlo(samples)
    step = 1e-5
    derivatives = np.empty((12, 2, 5))
    for i in range(12):
        up, down = samples.copy(), samples.copy()
        up[i] += step
        down[i] -= step
        derivatives[i] = (arlo(up) - arlo(down))[[decay.TIME, decay.AMPLITUDE]] / (2 * step)
    spread = out[decay.RMSE] * np.sqrt(12 / 10)
    expected = spread * np.sqrt((derivatives**2).sum(axis=0))
    assert_allclose(out[[decay.TIME_ERROR, decay.AMPLITUDE_ERROR]], expected, rtol=1e-5)


def with_floor(samples, times, sigma, *, exact=False, coils=1):
    echoes = Echoes.of(times)
    results = empty_results(samples.shape[1])
    table, step = chi_table(coils)
    noise_floor.fit_noise_floor(
        samples,
        np.full(samples.shape[1], sigma),
        float(coils),
        0.0,
        exact,
        echoes.first_s,
        echoes.shifts,
        echoes.spacing,
        echoes.rates,
        echoes.curves**2,
        table,
        step,
        *results,
    )
    return results


@pytest.mark.parametrize("times", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("coils", [1, 4])
def test_noise_floor_minimises_the_sheets_sum_of_squares(times, coils):
    rng = np.random.default_rng(13)
    sigma = 3.0
    truth = rng.uniform(0.002, 0.03, 25)
    samples = 100 * np.exp(-times[:, np.newaxis] / truth)
    parts = rng.standard_normal((2 * coils, *samples.shape)) * sigma
    parts[0] += samples
    samples = np.sqrt((parts**2).sum(axis=0))

    def model(t, time, amplitude):
        return np.sqrt(amplitude**2 * np.exp(-2 * t / time) + 2 * coils * sigma**2)

    out, _, flags = with_floor(samples, times, sigma, coils=coils)
    assert_array_equal(flags, 0)
    for voxel in range(25):
        values, _ = curve_fit(
            model, times, samples[:, voxel], [truth[voxel], 100.0], xtol=1e-13, ftol=1e-13, gtol=1e-13
        )
        assert_allclose(out[[decay.TIME, decay.AMPLITUDE], voxel], values, rtol=1e-5)


def test_without_noise_the_floor_is_none():
    samples, _ = noisy_decays(EQUAL, 50, seed=14, noise=0.5)
    samples = np.abs(samples)
    plain, _, _ = fitted(samples, EQUAL)
    for exact in (False, True):
        floored, _, flags = with_floor(samples, EQUAL, 0.0, exact=exact)
        assert_array_equal(flags, 0)
        assert_allclose(floored, plain, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("exact", [False, True])
@given(time_constant=st.floats(0.002, 0.1), sigma=st.floats(0.1, 10.0))
def test_expected_magnitudes_give_back_their_decay(exact, time_constant, sigma):
    amplitude = 100 * np.exp(-EQUAL / time_constant)
    if exact:
        table, step = chi_table(1)
        mean = [sigma * noise_floor.tabulated_mean(a / sigma, table, step, 1.0)[0] for a in amplitude]
        samples = np.array(mean)[:, np.newaxis]
    else:
        samples = np.sqrt(amplitude**2 + 2 * sigma**2)[:, np.newaxis]
    out, _, flags = with_floor(samples, EQUAL, sigma, exact=exact)
    assert flags[0] == 0
    assert out[decay.TIME, 0] == pytest.approx(time_constant, rel=1e-5)
    assert out[decay.AMPLITUDE, 0] == pytest.approx(100, rel=1e-5)


def test_all_floor_is_below_the_noise():
    samples = np.full((12, 1), 1.0)
    for exact in (False, True):
        out, _, flags = with_floor(samples, EQUAL, 1.0, exact=exact)
        assert flags[0] == Flag.BELOW_NOISE
        assert np.isnan(out).all()


def floor_in_lanes(samples, times, sigma, *, coils=1, detectable=0.0):
    n = samples.shape[1]
    out = np.empty((decay_lanes.N_RESULTS, n), np.float32)
    iterations, flags = np.empty(n, np.int16), np.empty(n, np.uint16)
    arrays = np.ascontiguousarray(samples, np.float32), np.atleast_1d(np.float32(sigma)), np.ones(n, bool)
    for array in arrays:
        array.setflags(write=False)
    noise_floor_lanes.fit_noise_floor_lanes(
        *arrays,
        float(coils),
        detectable,
        times[0],
        times[1] - times[0],
        *noise_profile(coils),
        out,
        iterations,
        flags,
    )
    return out, iterations, flags


def magnitudes(times, time_constants, snr, seed, coils=1):
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((2 * coils, times.size, time_constants.size))
    parts[0] += snr * np.exp(-times[:, np.newaxis] / time_constants)
    return np.sqrt((parts**2).sum(axis=0)).astype(np.float32)


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("snr", [20, 40, 200])
def test_floor_in_lanes_agrees_with_the_float64_search(snr, coils):
    truth = np.random.default_rng(15).uniform(0.002, 0.04, 3 * BLOCK + 5)
    samples = magnitudes(EQUAL, truth, snr, seed=16, coils=coils)
    out, iterations, flags = floor_in_lanes(samples, EQUAL, 1.0, coils=coils)
    exact, _, _ = with_floor(samples.astype(np.float64), EQUAL, 1.0, coils=coils)
    settled = flags == 0
    assert settled.mean() > 0.8
    assert np.all(flags[~settled] == decay_lanes.UNSETTLED)
    assert np.all((iterations > noise_floor_lanes.FIRST_STEPS) & (iterations <= noise_floor_lanes.MOST_STEPS))
    rows = [decay.TIME, decay.AMPLITUDE, decay.R_SQUARED, decay.RMSE]
    assert_allclose(out[[0, 1, 4, 5]][:, settled], exact[rows][:, settled], rtol=2e-5)
    # beyond 16 sigma the lanes take the last value of the table, which is within 0.2 % of what follows
    rows = [decay.TIME_ERROR, decay.AMPLITUDE_ERROR]
    assert_allclose(out[[2, 3]][:, settled], exact[rows][:, settled], rtol=2e-3)


@given(
    seed=st.integers(0, 100_000),
    n=st.integers(2, 20),
    spacings=st.floats(0.2, 19.0),
    snr=st.floats(3.0, 1000.0),
    scale=st.floats(1e-6, 1e6),
)
def test_floor_in_lanes_gives_what_the_search_gives_or_leaves_it_to_it(seed, n, spacings, snr, scale):
    times = 0.002 * spacings + 0.002 * np.arange(n)
    truth = np.random.default_rng(seed).uniform(0.0005, 0.3, 32)
    # the amplitude is that of the first echo
    samples = magnitudes(times - times[0], truth, snr, seed) * np.float32(scale)
    sigma = float(np.float32(scale))
    out, _, flags = floor_in_lanes(samples, times, sigma)
    exact, _, _ = with_floor(samples.astype(np.float64), times, sigma)
    settled = flags == 0
    assert_allclose(out[0, settled], exact[decay.TIME, settled], rtol=1e-4)
    assert_allclose(out[1, settled], exact[decay.AMPLITUDE, settled], rtol=2e-4)


def test_floor_in_lanes_leaves_what_is_no_decay_to_the_floor():
    times = 0.003 + 0.002 * np.arange(8)
    good = 100 * np.exp(-times / 0.01)
    samples = np.stack([good, good, 0 * good, -good, good[::-1], 1e30 * good, 0.01 * good, good], axis=1)
    samples[2, 0], samples[3, 1], samples[4, 7] = np.nan, np.inf, -1.0
    _, _, flags = floor_in_lanes(samples, times, 1.0, detectable=4.0)
    assert_array_equal(flags, decay_lanes.UNSETTLED)
    for sigma in (0.0, np.nan, -1.0):
        _, _, flags = floor_in_lanes(good[:, np.newaxis], times, sigma)
        assert flags[0] == decay_lanes.UNSETTLED


def test_floor_in_lanes_with_a_noise_level_per_voxel():
    truth = np.random.default_rng(17).uniform(0.002, 0.03, 400)
    samples = magnitudes(EQUAL, truth, 50, seed=18)
    scale = np.random.default_rng(19).uniform(0.1, 10, 400).astype(np.float32)
    one, _, settled = floor_in_lanes(samples, EQUAL, 1.0)
    many, _, _ = floor_in_lanes(samples * scale, EQUAL, scale)
    good = settled == 0
    assert_allclose(many[0, good], one[0, good], rtol=1e-4)
    assert_allclose(many[1, good], (scale * one[1])[good], rtol=1e-4)


def lines(samples, times, weighted):
    echoes = Echoes.of(times)
    results = empty_results(samples.shape[1])
    linear_decay.fit_lines(samples, echoes.first_s, echoes.shifts, echoes.spacing, weighted, *results)
    return results


def lines_in_lanes(samples, times, weighted):
    n = samples.shape[1]
    out = np.empty((decay_lanes.N_RESULTS, n), np.float32)
    iterations, flags = np.empty(n, np.int16), np.empty(n, np.uint16)
    arrays = np.ascontiguousarray(samples, np.float32), np.ones(n, bool)
    for array in arrays:
        array.setflags(write=False)
    shifts = (times - times[0]).astype(np.float32)
    linear_decay_lanes.fit_line_lanes(*arrays, times[0], shifts, weighted, out, iterations, flags)
    return out, flags


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("times", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_lines_in_lanes_agree_with_the_float64_kernel(times, weighted):
    samples, _ = noisy_decays(times, 3 * BLOCK + 5, seed=20, noise=2.0)
    samples = np.abs(samples).astype(np.float32)
    out, flags = lines_in_lanes(samples, times, weighted)
    exact, _, _ = lines(samples.astype(np.float64), times, weighted)
    settled = flags == 0
    assert settled.mean() > 0.99
    rows = [decay.TIME, decay.AMPLITUDE, decay.TIME_ERROR, decay.AMPLITUDE_ERROR, decay.R_SQUARED, decay.RMSE]
    assert_allclose(out[:, settled], exact[rows][:, settled], rtol=1e-4, atol=1e-5)


@given(
    seed=st.integers(0, 100_000),
    scale=st.floats(1e-20, 1e15),
    time_constant=st.floats(0.0005, 1.0),
    noise=st.floats(0.0, 0.5),
    weighted=st.booleans(),
)
def test_lines_in_lanes_give_what_float64_gives_or_leave_it(seed, scale, time_constant, noise, weighted):
    rng = np.random.default_rng(seed)
    samples = np.exp(-EQUAL[:, np.newaxis] / time_constant) + noise * rng.standard_normal((12, 16))
    samples = (scale * samples).astype(np.float32)
    out, flags = lines_in_lanes(samples, EQUAL, weighted)
    exact, _, _ = lines(samples.astype(np.float64), EQUAL, weighted)
    settled = flags == 0
    assert np.all(flags[~settled] == decay_lanes.UNSETTLED)
    assert_allclose(out[0, settled], exact[decay.TIME, settled], rtol=1e-4)
    assert_allclose(out[1, settled], exact[decay.AMPLITUDE, settled], rtol=1e-4)


def test_lines_in_lanes_leave_what_has_no_logarithm():
    times = 0.003 + 0.002 * np.arange(8)
    good = 100 * np.exp(-times / 0.01)
    samples = np.stack([good, good, 0 * good, -good, good[::-1], 1e-42 * good, good], axis=1)
    samples[2, 0], samples[3, 1], samples[4, 6] = np.nan, np.inf, 0.0
    for weighted in (False, True):
        _, flags = lines_in_lanes(samples, times, weighted)
        assert_array_equal(flags, decay_lanes.UNSETTLED)
