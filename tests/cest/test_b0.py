"""Positions of water in spectra of known position: the two-pool and background models of cest.md, section 6.

The models are integrated here through the eigenvalues of their matrix, apart from the package's simulator.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from imgtheranostics.cest.bloch_mcconnell import simulate
from imgtheranostics.cest.contrast import mtr_asym
from imgtheranostics.cest.pool_system import ExchangePool, PoolSystem, WaterPool
from imgtheranostics.cest.pulse_train import PulseTrain
from imgtheranostics.cest.z_spline import loss_to_sampling
from imgtheranostics.cest.zspectrum import b0_lorentzian, b0_minimum, b0_symmetry, correct_b0, interpolate
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.volume import Flag

METHODS = [b0_minimum, b0_symmetry, b0_lorentzian]
SHIFTS = np.array([0.0, 0.1, 0.3, 0.5, -0.1, -0.3, -0.5])
COARSE = np.linspace(-12, 12, 61)
FINE = np.linspace(-12, 12, 241)
GAMMA = 267.5154109126009

# Fraction, T1 s, T2 s, exchange rate 1/s, offset ppm; the semisolid pool has longitudinal magnetisation only.
MOUSE = ((1, 2.0, 0.045, 0, 0.0),)
BACKGROUND = (
    (7.2e-4, 1, 0.1, 30, 3.5),
    (4.5e-3, 1.3, 5e-3, 16, -3.5),
    (9e-4, 1, 0.1, 1000, 2.0),
)
MACROMOLECULES = (0.08, 1.0, 1e-5, 40.0, -2.4)
WHITE_MATTER = (
    (1, 1.0, 0.040, 0, 0.0),
    (9.009e-4, 1, 0.1, 50, 3.5),
    (9.009e-4, 1, 0.1, 1000, 2.0),
    (9.009e-4, 1, 0.1, 5000, 3.0),
    (9.009e-4, 1, 0.1, 3500, 1.0),
    (4.5e-3, 1.3, 5e-3, 20, -3.0),
)
WHITE_MACROMOLECULES = (0.1351, 1.0, 4e-5, 30.0, -3.0)


def label(mm):
    """Two protons at 9.8 ppm, 1000/s; fraction of 111 M water protons."""
    return ((2 * mm / 111e3, 1.0, 0.02, 1000.0, 9.8),)


def saturated(places, pools, semisolid, b1_ut, field_t, time_s):
    """Water Mz/M0 after a block pulse at each place (ppm from water), fully relaxed before."""
    n = 3 * len(pools) + (semisolid is not None)
    w1 = GAMMA * b1_ut
    a = np.zeros((len(places), n + 1, n + 1))
    start = np.zeros(n + 1)
    start[n] = 1.0
    for p, (fraction, t1, t2, rate, offset) in enumerate(pools):
        x, y, z = 3 * p, 3 * p + 1, 3 * p + 2
        turn = GAMMA * field_t * (offset - places)
        a[:, x, x] -= 1 / t2
        a[:, y, y] -= 1 / t2
        a[:, z, z] -= 1 / t1
        a[:, x, y], a[:, y, x] = -turn, turn
        a[:, y, z], a[:, z, y] = -w1, w1
        a[:, z, n] = fraction / t1
        start[z] = fraction
        for c in range(3 if p else 0):
            a[:, x + c, x + c] -= rate
            a[:, c, x + c] += rate
            a[:, c, c] -= rate * fraction
            a[:, x + c, c] += rate * fraction
    if semisolid is not None:
        fraction, t1, t2, rate, offset = semisolid
        m = n - 1
        turn = GAMMA * field_t * (offset - places)
        a[:, m, m] -= 1 / t1 + rate + w1**2 * t2 / (1 + (turn * t2) ** 2)
        a[:, 2, m] += rate
        a[:, 2, 2] -= rate * fraction
        a[:, m, 2] += rate * fraction
        a[:, m, n] = fraction / t1
        start[m] = fraction
    rates, modes = np.linalg.eig(a)
    parts = np.linalg.solve(modes, np.broadcast_to(start[:, None], (*a.shape[:2], 1)))[..., 0]
    return (modes[:, 2] * np.exp(rates * time_s) * parts).sum(axis=-1).real


@cache
def spectra(model, b1_ut, mm=5.0, step="coarse"):
    """A spectrum for each of SHIFTS."""
    offsets = COARSE if step == "coarse" else FINE
    semisolid = MACROMOLECULES if model == "background" else None
    pools = MOUSE + label(mm) + (BACKGROUND if model == "background" else ())
    places = (offsets - SHIFTS[:, None]).ravel()
    return saturated(places, pools, semisolid, b1_ut, 11.7, 3.0).reshape(SHIFTS.size, -1)


@cache
def white_matter(offsets, b1_ut, shift, time_s=2.0):
    places = np.array(offsets) - shift
    return saturated(places, WHITE_MATTER, WHITE_MACROMOLECULES, b1_ut, 3.0, time_s)


def found_b0(method, z, offsets, **options):
    fit = method(z, offsets, **options)
    return fit.parameters["b0_ppm"], fit.standard_errors["b0_ppm"], fit.flags


def test_model_of_this_file_is_that_of_the_reference():
    """cest.md, section 6: MTRasym(9.8) of 1, 5 and 20 mM, and of 5 mM with a shift of 0.3 ppm."""
    for mm, percent in ((1, 1.24), (5, 5.95), (20, 20.8)):
        right, left = saturated(np.array([9.8, -9.8]), MOUSE + label(mm), None, 3.6, 11.7, 3.0)
        assert 100 * (left - right) == pytest.approx(percent, rel=5e-3)
    right, left = saturated(np.array([10.1, -9.5]), MOUSE + label(5), None, 3.6, 11.7, 3.0)
    assert 100 * (left - right) == pytest.approx(3.62, abs=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_shifts_are_removed_to_within_1_percent_of_the_contrast(method):
    """Issue 5, acceptance; against the contrast without a shift, 5.95 %."""
    z = spectra("two pools", 3.6, step="fine")
    right, left = saturated(np.array([9.8, -9.8]), MOUSE + label(5), None, 3.6, 11.7, 3.0)
    b0, _, flags = found_b0(method, z, FINE)
    assert not flags.any()
    contrast = mtr_asym(z, FINE, at_ppm=9.8, b0_ppm=b0)[:, 0]
    assert contrast == pytest.approx(left - right, rel=0.01)
    corrected = correct_b0(z, FINE, b0)
    at = np.abs(FINE - 9.8).argmin(), np.abs(FINE + 9.8).argmin()
    assert corrected[:, at[1]] - corrected[:, at[0]] == pytest.approx(left - right, rel=0.01)
    uncorrected = mtr_asym(z, FINE, at_ppm=9.8)[1:, 0]
    assert (np.abs(uncorrected / (left - right) - 1) > 0.05).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("b1_ut", [1.2, 2.4, 3.6])
def test_coarse_list_of_the_olsalazine_protocol_loses_less_than_1_percent_to_the_position(method, b1_ut):
    """61 offsets each 0.4 ppm: against the same spectra corrected by the position that is known."""
    z = spectra("two pools", b1_ut)
    b0, _, _ = found_b0(method, z, COARSE)
    known = mtr_asym(z, COARSE, at_ppm=9.8, b0_ppm=SHIFTS)[:, 0]
    assert b0 == pytest.approx(SHIFTS, abs=0.004)
    assert mtr_asym(z, COARSE, at_ppm=9.8, b0_ppm=b0)[:, 0] == pytest.approx(known, rel=0.01)


@pytest.mark.parametrize(
    ("step", "b1_ut", "worst"),
    [(0.4, 1.2, 0.149), (0.4, 3.6, 0.068), (0.2, 1.2, 0.0166), (0.2, 3.6, 0.0048), (0.1, 1.2, 7e-4)],
)
def test_spacing_loses_of_a_narrow_label_what_the_documentation_says(step, b1_ut, worst):
    """Water known, anywhere between two samples; the Lorentzian of the exchange rate says nearly the same."""
    offsets = np.arange(-12, 12 + step / 2, step)
    shifts = np.linspace(-0.5, 0.5, 11)[:, np.newaxis] * step
    pools = MOUSE + label(5)
    z = saturated((offsets - shifts).ravel(), pools, None, b1_ut, 11.7, 3.0).reshape(11, -1)
    right, left = saturated(np.array([9.8, -9.8]), pools, None, b1_ut, 11.7, 3.0)
    loss = 1 - mtr_asym(z, offsets, at_ppm=9.8, b0_ppm=shifts[:, 0])[:, 0] / (left - right)
    assert loss.max() == pytest.approx(worst, rel=0.03)
    width = 2 * 1000 / (GAMMA * 11.7)
    told = loss_to_sampling(offsets, [9.8, -9.8], width_ppm=width)
    assert told[0] == pytest.approx(told[1])
    if b1_ut == 1.2:
        assert 0.7 * worst < told[0] < 2.5 * worst
    assert told[0] > 0.7 * worst


def test_sampling_of_lines_that_cannot_be():
    assert np.isnan(loss_to_sampling(COARSE, 13.0, width_ppm=1.0)).all()
    with pytest.raises(ValueError, match="width_ppm"):
        loss_to_sampling(COARSE, 3.5, width_ppm=0.0)


@pytest.mark.parametrize(
    ("method", "bias"), [(b0_minimum, 0.002), (b0_symmetry, 0.012), (b0_lorentzian, 0.010)]
)
def test_background_draws_the_position_and_the_difference_after_the_agent_little(method, bias):
    """NOE, amide, guanidine and a semisolid pool: 1 mM before, 6.87 mM after (P15 of systems.md)."""
    before, after = (spectra("background", 3.6, mm) for mm in (1.0, 6.87))
    changes = []
    for z in (before, after):
        b0, _, _ = found_b0(method, z, COARSE)
        assert b0 == pytest.approx(SHIFTS, abs=bias)
        known, mine = (mtr_asym(z, COARSE, at_ppm=9.8, b0_ppm=b)[:, 0] for b in (SHIFTS, b0))
        changes.append((known, mine))
    known, mine = (changes[1][k] - changes[0][k] for k in (0, 1))
    assert mine == pytest.approx(known, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("b1_ut", [0.7, 2.0])
def test_white_matter_with_pools_near_water(method, b1_ut):
    """Seven pools at 3 T each 0.25 ppm; the pools draw the minimum itself by 0.0035 ppm."""
    offsets = tuple(np.arange(-6, 6.01, 0.25))
    for shift in (0.0, 0.23, -0.4):
        b0, error, _ = found_b0(method, white_matter(offsets, b1_ut, shift), offsets)
        assert b0 == pytest.approx(shift, abs=0.004 if method is b0_minimum else 0.013)
        assert np.isfinite(error)


def test_narrow_scan_with_side_lobes_by_symmetry():
    """0.2 s of 0.5 uT turns water several times: side lobes as deep as the centre; samples each 0.05 ppm."""
    offsets = tuple(np.arange(-1, 1.01, 0.05))
    for shift in (0.0, 0.13, -0.24):
        z = white_matter(offsets, 0.5, shift, 0.2)
        for tilt in (True, False):
            assert b0_symmetry(z, offsets, tilt=tilt).parameters["b0_ppm"] == pytest.approx(shift, abs=0.007)


@pytest.mark.parametrize("method", METHODS)
def test_uneven_unsorted_lists_and_types(method, rng):
    offsets = np.r_[-12:-3:1.5, -2.6:2.7:0.3, 3:12.1:1.5]
    order = rng.permutation(offsets.size)
    z = 1 - 0.9 / (1 + (offsets - np.array([[0.17], [-0.31]])) ** 2)
    b0, _, _ = found_b0(method, z[:, order], offsets[order])
    assert b0 == pytest.approx([0.17, -0.31], abs=1e-3)
    single, error, flags = found_b0(method, z[:, order].astype(np.float32), offsets[order])
    assert single.dtype == error.dtype == np.float32
    assert flags.dtype == np.uint16
    assert single == pytest.approx(b0, abs=2e-5)


@given(
    st.floats(0.6, 3.0), st.floats(-0.8, 0.8), st.floats(0.3, 0.95), st.integers(31, 121), st.integers(0, 99)
)
def test_lorentzian_dip_is_found_wherever_it_lies(half, shift, depth, n, seed):
    """Closed form; the spacing is up to the half-width, and the error below 2 % of it."""
    rng = np.random.default_rng(seed)
    offsets = np.linspace(-9, 9, n) + rng.uniform(-0.1, 0.1, n) * 18 / n
    z = 0.97 - depth / (1 + ((offsets - shift) / half) ** 2)
    for method, part in ((b0_minimum, 0.02), (b0_symmetry, 0.02), (b0_lorentzian, 1e-4)):
        accuracy = part * np.diff(offsets).max()
        assert method(z, offsets).parameters["b0_ppm"] == pytest.approx(shift, abs=accuracy)


@given(st.integers(0, 2**31))
def test_minimum_is_that_of_the_spline_through_the_mapped_samples(seed):
    """Where the curvature is known: SciPy's spline through 1 / (1.1 - relative height)."""
    rng = np.random.default_rng(seed)
    offsets = np.cumsum(rng.uniform(0.1, 0.3, 41))
    offsets -= offsets[20] + rng.uniform(-0.2, 0.2)
    z = 1 - 0.8 / (1 + (offsets / 0.7) ** 2) - 0.1 / (1 + ((offsets - 1.5) / 0.9) ** 2)
    spline = CubicSpline(offsets, 1 / (1.1 - (z - z.min()) / np.ptp(z)))
    roots = spline.derivative().roots(extrapolate=False)
    expected = roots[spline(roots).argmin()]
    assert b0_minimum(z, offsets, noise_sd=1e-5).parameters["b0_ppm"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.2, -0.3])
def test_lists_with_few_samples_near_water(shift):
    """A list for amide with three offsets at water; five offsets without any for the noise."""
    sparse = np.array([-4, -3.75, -3.5, -3.25, -3, -0.5, 0, 0.5, 3, 3.25, 3.5, 3.75, 4])
    for method in METHODS:
        b0, _, flags = found_b0(method, 0.8 - 0.75 / (1 + ((sparse - shift) / 0.9) ** 2), sparse)
        assert b0 == pytest.approx(shift, abs=0.005)
        assert not flags
    few = np.array([-1, -0.5, 0, 0.5, 1])
    b0, error, flags = found_b0(b0_minimum, 0.8 - 0.75 / (1 + ((few - shift) / 0.9) ** 2), few)
    assert b0 == pytest.approx(shift, abs=0.025)
    if shift == 0.0:
        assert np.isnan(error)
        assert not flags
    else:  # two samples below half of the depth
        assert error == pytest.approx(0.5 / np.sqrt(12))
        assert flags == Flag.ILL_CONDITIONED


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spacing", [0.25, 0.5])
def test_narrow_water_between_samples_is_flagged_with_the_spacing_as_error(method, spacing):
    """A long T2 in weak saturation: fewer than three samples in the lower half of the dip."""
    offsets = np.arange(-4, 4.01, spacing)
    shifts = np.linspace(-0.5, 0.5, 21)[:, np.newaxis] * spacing
    z = 1 - 0.95 / (1 + ((offsets - shifts) / (0.45 * spacing)) ** 2)
    b0, error, flags = found_b0(method, z + 1e-4 * np.cos(37 * offsets), offsets)
    assert (flags == Flag.ILL_CONDITIONED).all()
    assert (error >= spacing / np.sqrt(12)).all()
    assert (np.abs(b0 - shifts[:, 0]) < 2 * error).all()


@pytest.mark.parametrize("method", METHODS)
def test_flat_bottom_between_steep_walls_is_flagged(method):
    """Three samples at 0 and none on the walls leave the centre open by their extent."""
    offsets = np.arange(-4, 4.01, 0.25)
    z = np.where(np.abs(offsets) < 0.3, 0.0, 0.98 - 0.05 / (1 + offsets**2))
    _, error, flags = found_b0(method, z, offsets, noise_sd=1e-3)
    assert flags == Flag.ILL_CONDITIONED
    assert error >= 0.5 / np.sqrt(12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("b1_ut", "step"), [(1.0, 0.1), (2.0, 0.1), (1.0, 0.25), (2.0, 0.25)])
def test_side_bands_of_pulses_in_narrow_water_are_not_taken_for_noise(method, b1_ut, step):
    """Water of T2 1.5 s and bands each 0.08 ppm (0.1 s at 3 T), which no such list resolves."""
    offsets = np.arange(-4, 4.01, step)
    shift = 0.06
    distance = offsets - shift
    share = (0.12 * b1_ut / distance) ** 2
    bands = 0.5 * (1 + np.cos(2 * np.pi * distance / 0.0783))
    z = 1 - share * (0.3 + 0.7 * bands) / (1 + share * (0.3 + 0.7 * bands)) * 0.99
    b0, _, flags = found_b0(method, z, offsets)
    assert b0 == pytest.approx(shift, abs=0.1)
    assert flags in (0, Flag.ILL_CONDITIONED, Flag.NOT_CONVERGED)


@pytest.mark.parametrize("step", [0.25, 0.5])
def test_water_of_pulses_with_a_few_samples_is_flagged_where_they_miss_a_smooth_dip(step):
    """The package's simulation: 15 block pulses of 0.1 s, half of the time, in water of T2 0.8 s at 3 T.

    Without a look at how smooth the dip is, a fifth of these are wrong and not flagged.
    """
    offsets = np.arange(-round(6 / step), round(6 / step) + 1) * step
    shifts = np.linspace(-0.24, 0.24, 17)
    pools = PoolSystem(WaterPool(2.5, 0.8), (ExchangePool("amide", 7e-4, 1.0, 0.1, 60.0, 3.5),), None, 3.0)
    missed = []
    for b1_ut in (0.6, 1.0, 2.0, 3.0):
        train = PulseTrain(offsets, [b1_ut], 0.1, n_pulses=15, pulse_interval_s=0.1)
        z = simulate(pools, train, b0_ppm=shifts) + 1e-3 * np.cos(91 * offsets)
        b0, error, flags = found_b0(b0_minimum, z, offsets, noise_sd=1e-3)
        missed.append((np.abs(b0 - shifts) > np.maximum(0.05, 4 * error)) & (flags == 0))
    assert np.mean(missed) < 0.04


@pytest.mark.parametrize("step", [0.15, 0.25, 0.33, 0.5])
def test_smooth_dips_are_not_taken_for_ripples(step, rng):
    """White matter at 3 T with 7 pools, at a noise of 0.3 %; three samples lie in the lower half at least."""
    offsets = np.arange(-round(6 / step), round(6 / step) + 1) * step
    for b1_ut in (0.7, 1.5, 3.0):
        for part in (0.0, 0.2, 0.45):
            z = white_matter(tuple(offsets), b1_ut, part * step)
            z = z + 0.003 * rng.standard_normal((200, offsets.size))
            assert (found_b0(b0_minimum, z, offsets, noise_sd=0.003)[2] == 0).mean() > 0.99


def test_deep_dip_is_no_noise_whatever_its_width():
    """One sample in 81: the depth is 90 times the noise, the scatter of all only ten times."""
    offsets = np.arange(-4, 4.01, 0.1)
    z = 1 - 0.9 / (1 + (offsets / 0.03) ** 2)
    b0, error, flags = found_b0(b0_lorentzian, z, offsets, noise_sd=0.01)
    assert b0 == pytest.approx(0.0, abs=0.05)
    assert error >= 0.1 / np.sqrt(12)
    assert flags == Flag.ILL_CONDITIONED


@pytest.mark.parametrize(("n", "part"), [(7, 0.03), (9, 0.01), (11, 0.005), (13, 0.005), (21, 0.005)])
def test_noise_alone_in_few_offsets_is_flagged(n, part, rng):
    z = 0.5 + 0.1 * rng.standard_normal((4000, n))
    b0, _, flags = found_b0(b0_minimum, z, np.linspace(-5, 5, n))
    assert (flags == 0).mean() < part
    assert np.isnan(b0[flags == Flag.BELOW_NOISE]).all()
    assert (flags & (Flag.BELOW_NOISE | Flag.ILL_CONDITIONED) > 0).mean() > 0.99 - part


CASES = {
    "two pools, 0.4 ppm": (COARSE, lambda: spectra("two pools", 3.6)[2], 0.01),
    "background, 0.4 ppm": (COARSE, lambda: spectra("background", 1.2)[4], 0.02),
    "white matter, 0.25 ppm": (
        np.arange(-6, 6.01, 0.25),
        lambda: white_matter(tuple(np.arange(-6, 6.01, 0.25)), 0.7, 0.1),
        0.01,
    ),
    "narrow scan, 0.05 ppm": (
        np.arange(-1, 1.01, 0.05),
        lambda: white_matter(tuple(np.arange(-1, 1.01, 0.05)), 0.1, 0.1, 0.2),
        0.01,
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES)
def test_standard_error_is_the_scatter_over_repeats(method, case, rng):
    """To 10 %, with 2,000 repeats, whose own scatter is 1.6 %."""
    offsets, curve, noise = CASES[case]
    z = curve() + noise * rng.standard_normal((2000, offsets.size))
    b0, error, _ = found_b0(method, z, offsets, noise_sd=noise)
    usable = np.isfinite(error)
    assert usable.mean() > 0.99
    scatter = b0[usable].std()
    assert error[usable].mean() == pytest.approx(scatter, rel=0.1)


def test_minimum_knows_its_error_without_being_told_the_noise(rng):
    z = spectra("two pools", 2.4)[1] + 0.01 * rng.standard_normal((2000, 61))
    b0, error, _ = found_b0(b0_minimum, z, COARSE)
    assert np.sqrt((error**2).mean()) == pytest.approx(b0.std(), rel=0.1)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("tilt", [True, False])
@pytest.mark.parametrize("level", [0.01, 0.02])
def test_symmetry_has_an_error_wherever_it_has_a_value(level, tilt, known, rng):
    """White matter at 3 T each 0.25 ppm at the noise of a scan, where slopes are noise in part."""
    offsets = np.arange(-6, 6.01, 0.25)
    z = white_matter(tuple(offsets), 0.7, 0.1) + level * rng.standard_normal((2000, offsets.size))
    b0, error, flags = found_b0(b0_symmetry, z, offsets, tilt=tilt, noise_sd=level if known else None)
    usable = np.isfinite(b0)
    assert usable.mean() > 0.98
    assert np.isfinite(error[usable]).all()
    sure = flags == 0
    assert sure.mean() > (0.98 if known else 0.92)
    assert np.sqrt((error[sure] ** 2).mean()) == pytest.approx(b0[sure].std(), rel=0.1)


@pytest.mark.parametrize(
    ("b1_ut", "step", "part", "level"),
    [
        (2.0, 0.5, 0.0, 0.01),
        (2.0, 0.5, 0.45, 0.01),
        (3.0, 0.25, 0.45, 0.003),
        (1.5, 0.25, 0.45, 0.008),
        (2.0, 0.15, 0.45, 0.004),
        (0.7, 0.1, 0.3, 0.01),
    ],
)
def test_error_of_symmetry_with_a_background_that_leans(b1_ut, step, part, level, rng):
    """Macromolecules at -3 ppm and five pools, water between samples; to 10 %, with 2,000 repeats."""
    offsets = np.arange(-round(6 / step), round(6 / step) + 1) * step
    z = white_matter(tuple(offsets), b1_ut, part * step) + level * rng.standard_normal((2000, offsets.size))
    b0, error, flags = found_b0(b0_symmetry, z, offsets, noise_sd=level)
    sure = flags == 0
    assert sure.mean() > 0.9
    assert error[sure].mean() == pytest.approx(b0[sure].std(), rel=0.1)


def test_fine_sampling_of_a_wide_dip_does_not_catch_on_the_noise(rng):
    """Each 0.1 ppm in a dip of 2.5 ppm, where the lowest wrinkle of a spline scatters by 0.17 ppm."""
    offsets = np.arange(-5, 5.01, 0.1)
    z = white_matter(tuple(offsets), 2.0, 0.1) + 0.01 * rng.standard_normal((1000, offsets.size))
    b0, error, _ = found_b0(b0_minimum, z, offsets)
    assert np.nanstd(b0) < 0.035
    assert np.sqrt(np.nanmean(error**2)) == pytest.approx(np.nanstd(b0), rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_water_outside_the_measured_range_is_flagged(method):
    offsets = np.linspace(1, 9, 41)
    for shift in (0.0, 0.99, 9.5):
        b0, error, flags = found_b0(method, 1 - 0.9 / (1 + (offsets - shift) ** 2), offsets)
        assert np.isnan(b0)
        assert np.isnan(error)
        assert flags == Flag.OUTSIDE_RANGE
    inside, _, _ = found_b0(b0_minimum, 1 - 0.9 / (1 + (offsets - 3.0) ** 2), offsets)
    assert inside == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_noise_alone_is_flagged(method, rng):
    offsets = np.linspace(-5, 5, 51)
    z = np.hypot(*rng.standard_normal((2, 4000, 51)))
    b0, _, flags = found_b0(method, z / z.mean(), offsets)
    assert np.isnan(b0).mean() > 0.998
    assert (flags == Flag.BELOW_NOISE).mean() > 0.99
    flat, _, flag = found_b0(method, np.full(51, 0.7), offsets)
    assert np.isnan(flat)
    assert flag == Flag.BELOW_NOISE


@pytest.mark.parametrize("method", METHODS)
def test_spoilt_samples_and_masks(method):
    z = np.tile(spectra("two pools", 2.4)[1], (4, 1))
    z[1, 60], z[2, 3] = np.nan, -np.inf
    b0, error, flags = found_b0(method, z, COARSE, mask=[True, True, True, False])
    assert np.isfinite(b0).tolist() == [True, False, False, False]
    assert np.isfinite(error).tolist() == [True, False, False, False]
    assert flags.tolist() == [0, Flag.INVALID_INPUT, Flag.INVALID_INPUT, Flag.MASKED_OUT]


@pytest.mark.parametrize("method", METHODS)
def test_voxels_do_not_depend_on_their_neighbours_nor_on_threads(method, rng):
    z = (spectra("background", 2.4)[:1] + 0.01 * rng.standard_normal((3000, 61))).astype(np.float32)
    one, error, flags = found_b0(method, z, COARSE, workers=1)
    two, _, _ = found_b0(method, z, COARSE, workers=2)
    np.testing.assert_array_equal(one, two)
    part, part_error, part_flags = found_b0(method, z[1500:1510], COARSE)
    np.testing.assert_array_equal(part, one[1500:1510])
    np.testing.assert_array_equal(part_error, error[1500:1510])
    np.testing.assert_array_equal(part_flags, flags[1500:1510])
    image, _, _ = found_b0(method, z.reshape(30, 10, 10, 61), COARSE)
    np.testing.assert_array_equal(image.ravel(), one)


@pytest.mark.parametrize("method", METHODS)
def test_lists_that_cannot_be_right_are_refused(method):
    z = np.ones(21)
    with pytest.raises(ValueError, match="occurs twice"):
        method(z, np.r_[np.linspace(-5, 5, 20), 5.0])
    with pytest.raises(ValueError, match="occurs twice"):
        method(z, np.r_[np.linspace(-5, 5, 20), 5.00001])
    with pytest.raises(ValueError, match="normalise"):
        method(z, np.r_[np.nan, np.linspace(-5, 5, 20)])
    with pytest.raises(ImplausibleValue, match="too far from water"):
        method(z, np.linspace(-600, 600, 21))
    with pytest.raises(ImplausibleValue, match="normalise"):
        method(z, np.r_[-300.0, np.linspace(-5, 5, 20)])
    with pytest.raises(ValueError, match="21 samples"):
        method(np.ones(20), np.linspace(-5, 5, 21))
    with pytest.raises(ValueError, match="at least"):
        method(np.ones(3), [-1, 0, 1])


@pytest.mark.parametrize("options", [{"level": 0.0}, {"level": 1.5}, {"half_width_ppm": 0}])
def test_windows_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="must be above 0"):
        b0_lorentzian(np.ones(21), np.linspace(-5, 5, 21), **options)


@pytest.mark.parametrize("method", [b0_symmetry, b0_lorentzian])
def test_window_by_its_half_width(method):
    z = spectra("two pools", 2.4)
    b0, _, _ = found_b0(method, z, COARSE, half_width_ppm=2.0)
    assert b0 == pytest.approx(SHIFTS, abs=0.004)
    wide, _, flags = found_b0(method, z, COARSE, half_width_ppm=0.5)
    assert np.isfinite(wide).all() or (flags != 0).any()


def test_corrected_spectrum_has_water_at_zero_and_nothing_from_beyond_the_range():
    """Zcorr(w) = Z(w + b0), in the caller's order."""
    offsets = np.array([3.0, -3.0, 0.5, -2.0, 2.0, 0.0, -1.0, 1.0, -0.5])
    z = CubicSpline(np.sort(offsets), 1 - 0.9 / (1 + np.sort(offsets) ** 2))
    found = correct_b0(z(offsets), offsets, 0.25)
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx(z(offsets[1:] + 0.25), abs=1e-12)
    assert correct_b0(z(offsets), offsets, 0.0) == pytest.approx(z(offsets), abs=1e-14)
    assert np.isnan(correct_b0(z(offsets), offsets, np.nan)).all()
    assert interpolate(z(offsets), offsets, [0.1, 9.0], 0.25)[0] == pytest.approx(z(0.35), abs=1e-12)
    assert np.isnan(interpolate(z(offsets), offsets, [0.1, 9.0])[1])


def test_asymmetric_list_is_mirrored_on_the_common_range_only():
    offsets = np.linspace(-2, 6, 33)
    z = 1 - 0.9 / (1 + (offsets - 0.2) ** 2)
    found = mtr_asym(z, offsets, at_ppm=[1.0, 2.1, 2.3, 5.0], b0_ppm=0.2)
    assert found[:2] == pytest.approx(0.0, abs=1e-4)  # the spline at 0.25 ppm
    assert np.isnan(found[2:]).all()
