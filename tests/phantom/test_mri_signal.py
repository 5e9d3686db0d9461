"""Signal models of the MR phantoms against simulations of the magnetisation and published numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import gamma

from imgtheranostics.phantom import mri_signal as signal
from imgtheranostics.phantom.mri_fields import Fields, fields_on, noisy
from imgtheranostics.phantom.mri_scanner import MriScanner
from imgtheranostics.volume import Grid


def turned(magnetisation, degrees):
    """A pulse about x."""
    a = math.radians(degrees)
    x, y, z = magnetisation
    return np.array([x, math.cos(a) * y + math.sin(a) * z, -math.sin(a) * y + math.cos(a) * z])


def relaxed(magnetisation, seconds, r1, r2=0.0):
    e1, e2 = math.exp(-seconds * r1), math.exp(-seconds * r2)
    return np.array([e2 * magnetisation[0], e2 * magnetisation[1], 1 + (magnetisation[2] - 1) * e1])


def spoiled(magnetisation):
    return np.array([0.0, 0.0, magnetisation[2]])


@pytest.mark.parametrize("flip", [2.0, 15.0, 60.0, 120.0])
@pytest.mark.parametrize("t1", [0.1, 1.4])
def test_spoiled_gradient_echo_is_the_steady_state_of_a_bloch_simulation(flip, t1):
    repetition, state = 0.008, np.array([0.0, 0.0, 1.0])
    for _ in range(5000):
        pulsed = turned(state, flip)
        state = spoiled(relaxed(pulsed, repetition, 1 / t1))
    assert_allclose(signal.spoiled_gradient_echo(flip, repetition, 1 / t1), pulsed[1], rtol=1e-9)


@pytest.mark.parametrize(("efficiency", "b1"), [(1.0, 1.0), (0.92, 1.0), (1.0, 0.85), (0.95, 1.1)])
def test_inversion_recovery_is_the_steady_state_of_a_bloch_simulation(efficiency, b1):
    t1, inversion, repetition, state = 1.1, 0.3, 2.0, np.array([0.0, 0.0, 1.0])
    for _ in range(60):
        inverted = np.array([0.0, 0.0, -efficiency * state[2]])
        read = turned(relaxed(inverted, inversion, 1 / t1), 90 * b1)
        state = spoiled(relaxed(read, repetition - inversion, 1 / t1))
    found = signal.inversion_recovery(inversion, repetition, 1 / t1, efficiency=efficiency, relative_b1=b1)
    assert_allclose(found, read[1], rtol=1e-9)


def test_perfect_inversion_recovery_is_the_textbook_form():
    t1, repetition = 0.9, 2.5
    for inversion in (0.05, 0.4, 1.6):
        expected = 1 - 2 * math.exp(-inversion / t1) + math.exp(-repetition / t1)
        assert_allclose(signal.inversion_recovery(inversion, repetition, 1 / t1), expected, rtol=1e-12)


def test_spin_echo_decays_with_t2_and_starts_where_the_repetition_time_lets_it():
    first = signal.spin_echo(0.01, 20.0, repetition_time_s=1.0, r1=1.0)
    assert signal.spin_echo(0.06, 20.0, repetition_time_s=1.0, r1=1.0) / first == pytest.approx(math.exp(-1))
    assert first == pytest.approx((1 - math.exp(-1)) * math.exp(-0.2))


def test_enhancement_table_of_the_reference_sheet():
    """T1 1.4 s, T2* 50 ms, r1 8.9, r2* 11, TR 8 ms, TE 3 ms, 15 degrees (mri.md section 6, three digits)."""

    def shown(concentration):
        start = signal.spoiled_gradient_echo(15.0, 0.008, 1 / 1.4 + 8.9 * concentration)
        return float(start * signal.gradient_echo_decay(0.003, 20 + 11 * concentration))

    found = [100 * (shown(c) / shown(0.0) - 1) for c in (0.01, 0.02, 0.04, 0.06, 0.1, 0.2)]
    assert_allclose(found, [10.5, 20.6, 39.8, 57.7, 90.3, 156], rtol=3.5e-3)


@pytest.mark.parametrize(("b1", "ratio"), [(0.85, 0.721), (0.9, 0.809), (1.0, 1.0), (1.1, 1.212)])
def test_t1_by_a_line_through_flip_angles_without_b1_has_the_ratio_of_the_sheet(b1, ratio):
    """mri.md section 6, uncorrected B1; the line of DESPOT1 through noise-free signals."""
    flips, repetition = np.array([2.0, 5, 10, 15, 20]), 0.008
    s = signal.spoiled_gradient_echo(b1 * flips, repetition, 1 / 1.4)
    angle = np.deg2rad(flips)
    slope = np.polyfit(s / np.tan(angle), s / np.sin(angle), 1)[0]
    assert -repetition / math.log(slope) / 1.4 == pytest.approx(ratio, rel=0.005)


def test_fat_and_water_oppose_each_other_half_a_period_apart():
    """3.4 ppm at 1.5 T is 217 Hz: out of phase at 2.3 ms, in phase at 4.6 ms."""
    shift = float(signal.frequency_hz(signal.FAT_SHIFT_PPM, 1.5))
    half = 0.5 / abs(shift)
    assert half == pytest.approx(2.3e-3, rel=0.01)
    out = signal.gradient_echo_decay(half, 0.0, fat_fraction=0.4, fat_shift_hz=shift)
    same = signal.gradient_echo_decay(2 * half, 0.0, fat_fraction=0.4, fat_shift_hz=shift)
    assert_allclose([abs(out), abs(same)], [0.2, 1.0], atol=1e-12)


def test_phase_per_degree_is_that_of_the_sheet():
    """0.08026 rad per Cel at 3 T and an echo of 10 ms, for 0.01 ppm."""
    hertz = signal.frequency_hz(signal.PRF_PPM_PER_CEL, 3.0)
    echo = signal.gradient_echo_decay(0.01, 0.0, frequency_hz=hertz)
    assert float(np.angle(echo)) == pytest.approx(-0.08026, rel=2e-4)


def test_a_gradient_across_a_voxel_leaves_the_mean_over_its_frequencies():
    spread = np.linspace(-0.5, 0.5, 20001) * 80.0
    expected = np.exp(2j * np.pi * spread * 0.006).mean().real
    assert float(signal.through_voxel_dephasing(80.0, 0.006)) == pytest.approx(expected, rel=1e-3)


def scanner(**changes):
    return MriScanner(sequence="multi_echo", **changes)


GRID = Grid((24, 20, 16), np.eye(4))


def test_fields_reach_their_limits_and_are_smooth():
    given = scanner(relative_b1=(0.85, 1.1), b0_ppm=(-0.3, 0.3), bias_field=0.2)
    fields = fields_on(given, GRID, 2)
    for field, limits in (
        (fields.relative_b1, (0.85, 1.1)),
        (fields.offset_ppm, (-0.3, 0.3)),
        (fields.receive, (0.8, 1.2)),
    ):
        assert_allclose([field.min(), field.max()], limits, rtol=1e-12)
        image = field.reshape(GRID.shape, order="F")
        steps = max(float(np.abs(np.diff(image, axis=axis)).max()) for axis in range(3))
        assert steps < 0.12 * (limits[1] - limits[0])
    change = fields.change_ppm[0].reshape(GRID.shape, order="F")
    image = fields.offset_ppm.reshape(GRID.shape, order="F")
    assert_allclose(change[5], (image[6] - image[4]) / 2, rtol=1e-12)


def test_there_are_no_field_errors_below_level_two():
    given = scanner(relative_b1=(0.85, 1.1), b0_ppm=(-0.3, 0.3), bias_field=0.2)
    for level in (0, 1):
        fields = fields_on(given, GRID, level)
        assert (fields.relative_b1, fields.offset_ppm, fields.receive) == (1.0, 0.0, 1.0)
    assert fields_on(given, GRID, 0, relative_b1=0.9).relative_b1 == 0.9
    assert Fields().uniform


@pytest.mark.parametrize("coils", [1, 4])
def test_noise_of_a_background_has_the_mean_of_the_chi_distribution(coils):
    """Mean sd sqrt(2) Gamma(n + 1/2) / Gamma(n); for one coil 1.2533 sd."""
    found = noisy(np.zeros(400_000), 2.0, "rician", coils, np.random.default_rng(1))
    expected = 2.0 * math.sqrt(2) * gamma(coils + 0.5) / gamma(coils)
    assert float(found.mean()) == pytest.approx(expected, rel=3e-3)
    if coils == 1:
        assert expected == pytest.approx(2.0 * 1.2533, rel=1e-4)


def test_noise_over_signal_is_that_of_rice():
    """E S^2 = A^2 + 2 sd^2 for one coil."""
    found = noisy(np.full(400_000, 3.0), 1.5, "rician", 1, np.random.default_rng(2))
    assert float((found**2).mean()) == pytest.approx(9 + 2 * 2.25, rel=4e-3)


def test_gaussian_noise_keeps_phases_and_plain_images():
    rng = np.random.default_rng(3)
    complex_image = noisy(np.full(100_000, 10.0 + 0j), 0.5, "gaussian", 1, rng)
    assert float(np.angle(complex_image).std()) == pytest.approx(0.05, rel=0.02)
    plain = noisy(np.zeros(100_000), 0.5, "gaussian", 1, rng)
    assert float(plain.min()) < 0
    assert float(plain.std()) == pytest.approx(0.5, rel=0.02)
    assert noisy(np.ones(3), 0.5, "none", 1, rng).tolist() == [1, 1, 1]
