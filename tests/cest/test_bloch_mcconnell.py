"""Simulated Z-spectra against closed forms, limits and the figures of cest.md section 6."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from scipy.linalg import expm

from imgtheranostics.cest.bloch_mcconnell import (
    ExchangePool,
    MtPool,
    PoolSystem,
    PulseTrain,
    WaterPool,
    simulate,
    steady_state,
)
from imgtheranostics.cest.constants import GAMMA_RAD_PER_S_UT
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.kernels import bloch_mcconnell as kernels
from imgtheranostics.kernels import warmup

WHITE_MATTER = PoolSystem(
    WaterPool(1.0, 0.04),
    (
        ExchangePool("amide", 9.009e-4, 1.0, 0.1, 50.0, 3.5),
        ExchangePool("guanidine", 9.009e-4, 1.0, 0.1, 1000.0, 2.0),
        ExchangePool("amine", 9.009e-4, 1.0, 0.1, 5000.0, 3.0),
        ExchangePool("oh", 9.009e-4, 1.0, 0.1, 3500.0, 1.0),
        ExchangePool("noe", 0.0045, 1.3, 0.005, 20.0, -3.0),
    ),
    MtPool(0.1351, 1.0, 4e-5, 30.0, -3.0, "lorentzian"),
    3.0,
)
"""WM_3T_default_7pool of the public simulation library (cest.md 4.3)."""


def olsalazine(concentration_mm: float, *, t2_s: float = 0.02) -> PoolSystem:
    """The two-pool system of cest.md section 6, 11.7 T."""
    pool = ExchangePool("olsalazine", 2.0 * concentration_mm / 111e3, 1.0, t2_s, 1000.0, 9.8)
    return PoolSystem(WaterPool(2.0, 0.045), (pool,), None, 11.7)


PAIR = PulseTrain([-9.8, 9.8], [3.6], 3.0)
"""Block pulse of section 6; the difference of its two points is MTRasym(9.8)."""


def asymmetry_percent(z: np.ndarray) -> np.ndarray:
    return 100.0 * (z[..., 0] - z[..., 1])


def brute_force(pools: PoolSystem, train: PulseTrain, b0_ppm: float, relative_b1: float) -> np.ndarray:
    """Z by one dense exponential for each sample, in the frame of the pulses' frequency; its own code."""
    larmor = pools.field_t * pools.gamma_rad_per_s_ut
    full = [(1.0, pools.water.t1_s, pools.water.t2_s, 0.0, 0.0)]
    full += [(p.fraction, p.t1_s, p.t2_s, p.exchange_rate_per_s, p.offset_ppm) for p in pools.exchange]
    bound = []
    if pools.mt is not None:
        mt = pools.mt
        (full if mt.line_shape == "full" else bound).append(
            (mt.fraction, mt.t1_s, mt.t2_s, mt.exchange_rate_per_s, mt.offset_ppm)
        )
    n = 3 * len(full) + len(bound) + 1

    def matrix(offset: float, w1: float) -> np.ndarray:
        a = np.zeros((n, n))
        for p, (f, t1, t2, k, shift) in enumerate(full + bound):
            d = (shift + b0_ppm - offset) * larmor
            own = [3 * p, 3 * p + 1, 3 * p + 2] if p < len(full) else [n - 2]
            if p < len(full):
                a[np.ix_(own, own)] = [[-1 / t2, -d, 0.0], [d, -1 / t2, -w1], [0.0, w1, -1 / t1]]
            else:
                a[n - 2, n - 2] = -1 / t1 - w1 * w1 * t2 / (1 + (d * t2) ** 2)
            a[own[-1], -1] = f / t1
            for own_row, water in zip(own, (0, 1, 2) if p < len(full) else (2,), strict=True):
                a[own_row, own_row] -= k
                a[own_row, water] += k * f
                a[water, own_row] += k
                if p:
                    a[water, water] -= k * f
        return a

    found = []
    for offset in train.offsets:
        m = np.zeros(n)
        m[2 : 3 * len(full) : 3] = [pool[0] for pool in full]
        m[3 * len(full) : -1] = [pool[0] for pool in bound]
        m[-1] = 1.0
        pulse = np.eye(n)
        for b1 in train.samples:
            w1 = pools.gamma_rad_per_s_ut * b1 * relative_b1
            pulse = expm(matrix(offset, w1) * train.sample_s) @ pulse
        gap = expm(matrix(offset, 0.0) * train.pulse_interval_s)
        for number in range(train.n_pulses):
            m = pulse @ (gap @ m if number else m)
            if train.spoil_between_pulses:
                m[: 3 * len(full)].reshape(-1, 3)[:, :2] = 0.0
        found.append((expm(matrix(offset, 0.0) * train.post_delay_s) @ m)[2])
    return np.array(found)


def test_one_pool_under_continuous_wave_settles_at_the_closed_form() -> None:
    t1, t2, offset = 1.5, 0.08, np.array([-3.0, -0.4, 0.0, 0.7, 5.0])
    pools = PoolSystem(WaterPool(t1, t2), field_t=7.0)
    z = simulate(pools, PulseTrain(offset, [2.0], 60.0))
    w1, detuning = GAMMA_RAD_PER_S_UT * 2.0, offset * GAMMA_RAD_PER_S_UT * 7.0
    expected = (1 + (detuning * t2) ** 2) / (1 + (detuning * t2) ** 2 + w1**2 * t1 * t2)
    assert np.abs(z - expected).max() < 1e-9
    assert np.abs(steady_state(pools, PulseTrain(offset, [2.0], 1.0)) - expected).max() < 1e-12


def test_nutation_on_resonance_is_the_damped_cosine() -> None:
    # T1 = T2 = 1/R: z - iy relaxes at R - i w1 to R / (R - i w1).
    rate, w1 = 12.0, GAMMA_RAD_PER_S_UT * 3.7
    pools = PoolSystem(WaterPool(1 / rate, 1 / rate), field_t=3.0)
    for duration in (0.001, 0.005, 0.03, 0.4):
        z = simulate(pools, PulseTrain([0.0], [3.7], duration))
        end = rate / (rate - 1j * w1)
        expected = end + (1 - end) * np.exp((-rate + 1j * w1) * duration)
        assert z[0] == pytest.approx(expected.real, abs=1e-9)


def test_two_pools_without_transverse_magnetisation_settle_at_the_closed_form() -> None:
    # Water's transverse components are eliminated exactly: saturation w1^2 T2/(1 + (d T2)^2).
    t1, t2, f, k, r1b, t2b = 1.1, 0.07, 0.12, 35.0, 1.3, 1.2e-5
    pools = PoolSystem(WaterPool(t1, t2), (), MtPool(f, 1 / r1b, t2b, k, -2.0, "lorentzian"), 9.4)
    offset = np.array([-6.0, 1.2, 15.0])
    w1, larmor = GAMMA_RAD_PER_S_UT * 1.5, GAMMA_RAD_PER_S_UT * 9.4
    water = w1**2 * t2 / (1 + (offset * larmor * t2) ** 2)
    bound = w1**2 * t2b / (1 + ((offset + 2.0) * larmor * t2b) ** 2)
    through = k / (r1b + k + bound)
    expected = (1 / t1 + through * r1b * f) / (1 / t1 + water + k * f * (1 - through))
    assert np.abs(simulate(pools, PulseTrain(offset, [1.5], 60.0)) - expected).max() < 1e-8
    assert np.abs(steady_state(pools, PulseTrain(offset, [1.5], 1.0)) - expected).max() < 1e-12


def test_two_exchanging_pools_settle_where_the_equations_are_zero() -> None:
    # The six equations written out, solved by NumPy.
    offset, b1 = np.array([9.8, 9.5, -9.8, 0.3]), 3.6
    t1, t2, f, k, r1b, r2b = 2.0, 0.045, 2 * 5 / 111e3, 1000.0, 1.0, 50.0
    larmor, w = GAMMA_RAD_PER_S_UT * 11.7, GAMMA_RAD_PER_S_UT * b1
    expected = []
    for at in offset:
        da, db = -at * larmor, (9.8 - at) * larmor
        kf = k * f
        equations = [
            [-1 / t2 - kf, -da, 0, k, 0, 0],
            [da, -1 / t2 - kf, -w, 0, k, 0],
            [0, w, -1 / t1 - kf, 0, 0, k],
            [kf, 0, 0, -r2b - k, -db, 0],
            [0, kf, 0, db, -r2b - k, -w],
            [0, 0, kf, 0, w, -r1b - k],
        ]
        expected.append(np.linalg.solve(np.array(equations), [0, 0, -1 / t1, 0, 0, -r1b * f])[2])
    assert np.abs(simulate(olsalazine(5.0), PulseTrain(offset, [b1], 80.0)) - expected).max() < 1e-8
    assert np.abs(steady_state(olsalazine(5.0), PulseTrain(offset, [b1], 3.0)) - expected).max() < 1e-12


def test_approach_to_the_steady_state_has_the_rate_of_r1rho() -> None:
    # The slowest eigenvalue of the matrix, by NumPy, against the decay between two long pulses.
    pools, at = olsalazine(5.0), 9.8
    end = steady_state(pools, PulseTrain([at], [3.6], 1.0))[0]
    first, second = (simulate(pools, PulseTrain([at], [3.6], t))[0] for t in (2.0, 3.0))
    larmor, w, f, k = GAMMA_RAD_PER_S_UT * 11.7, GAMMA_RAD_PER_S_UT * 3.6, 10 / 111e3, 1000.0
    a = np.zeros((6, 6))
    a[:3, :3] = [[-1 / 0.045, at * larmor, 0], [-at * larmor, -1 / 0.045, -w], [0, w, -0.5]]
    a[3:, 3:] = [[-50.0, 0, 0], [0, -50.0, -w], [0, w, -1.0]]
    for c in range(3):
        a[c, c] -= k * f
        a[3 + c, 3 + c] -= k
        a[c, 3 + c] += k
        a[3 + c, c] += k * f
    slowest = -np.linalg.eigvals(a).real.max()
    assert np.log((first - end) / (second - end)) == pytest.approx(slowest, rel=1e-6)


@pytest.mark.parametrize(("b1_ut", "rate"), [(1.0, 150.0), (2.0, 400.0), (3.6, 1000.0)])
def test_large_shift_gives_r1rho_of_the_published_formula_within_one_percent(
    b1_ut: float, rate: float
) -> None:
    # F12 at the pool's resonance; f k = 0.018-0.09 against R2 = 22 1/s, shift 9.8 ppm at 11.7 T.
    f, t1, t2, r2b, larmor = 9e-5, 2.0, 0.045, 50.0, GAMMA_RAD_PER_S_UT * 11.7
    pools = PoolSystem(WaterPool(t1, t2), (ExchangePool("x", f, 1.0, 1 / r2b, rate, 9.8),), None, 11.7)
    w1, detuning = GAMMA_RAD_PER_S_UT * b1_ut, 9.8 * larmor
    cosine2 = detuning**2 / (detuning**2 + w1**2)
    exchange = f * rate * w1**2 / (w1**2 + rate * (rate + r2b))
    r1rho = cosine2 / t1 + (1 - cosine2) / t2 + exchange
    assert simulate(pools, PulseTrain([9.8], [b1_ut], 60.0))[0] == pytest.approx(
        cosine2 / t1 / r1rho, rel=0.01
    )
    # What the exchange alone does is met within 5 %: the formula leaves out relaxation of the pool.
    without = simulate(dataclasses.replace(pools, exchange=()), PulseTrain([9.8], [b1_ut], 60.0))[0]
    inverse = 1 / simulate(pools, PulseTrain([9.8], [b1_ut], 60.0))[0] - 1 / without
    assert inverse * cosine2 / t1 == pytest.approx(exchange, rel=0.05)


@pytest.mark.parametrize("spoiled", [True, False])
@pytest.mark.parametrize("line_shape", ["lorentzian", "full"])
def test_pulse_train_is_the_brute_force_solution(spoiled: bool, line_shape: str) -> None:
    # The issue asks for 5e-4.
    shape = 3.0 * np.exp(-0.5 * np.linspace(-2.5, 2.5, 40) ** 2)
    train = PulseTrain(
        [-3.1, 0.2, 1.9, 3.5],
        shape,
        0.05 / 40,
        n_pulses=12,
        pulse_interval_s=0.03,
        post_delay_s=6.5e-3,
        spoil_between_pulses=spoiled,
    )
    assert WHITE_MATTER.mt is not None
    pools = dataclasses.replace(
        WHITE_MATTER,
        exchange=WHITE_MATTER.exchange[::2],
        mt=dataclasses.replace(WHITE_MATTER.mt, line_shape=line_shape),
    )
    found = simulate(pools, train, b0_ppm=0.07, relative_b1=0.9)
    assert np.abs(found - brute_force(pools, train, 0.07, 0.9)).max() < 1e-10


def test_block_pulse_is_the_brute_force_solution() -> None:
    # The issue asks for 2e-6.
    train = PulseTrain([-300.0, -4.0, 0.1, 2.0, 3.5], [2.0], 2.0, post_delay_s=6.5e-3)
    found = simulate(WHITE_MATTER, train, b0_ppm=-0.1, relative_b1=1.1)
    assert np.abs(found - brute_force(WHITE_MATTER, train, -0.1, 1.1)).max() < 1e-9


@pytest.mark.parametrize(
    ("concentration_mm", "expected"), [(1.0, 1.24), (2.0, 2.45), (5.0, 5.95), (10.0, 11.4), (20.0, 20.8)]
)
def test_olsalazine_contrast_is_that_of_the_reference_sheet(concentration_mm: float, expected: float) -> None:
    # Printed with three digits.
    half_digit = 0.005 if expected < 10 else 0.05
    found = asymmetry_percent(simulate(olsalazine(concentration_mm), PAIR))
    assert found == pytest.approx(expected, abs=half_digit)


def test_contrast_depends_on_t2_of_the_label_as_in_the_sheet() -> None:
    found = [asymmetry_percent(simulate(olsalazine(5.0, t2_s=t2), PAIR)) for t2 in (0.1, 0.015)]
    assert found == pytest.approx([6.07, 5.90], abs=0.0055)


def test_six_and_a_half_fold_signal_needs_the_concentration_of_the_sheet() -> None:
    one, more = asymmetry_percent(simulate([olsalazine(1.0), olsalazine(6.87)], PAIR))
    assert more / one == pytest.approx(6.50, abs=0.005)


@pytest.mark.parametrize(
    ("shift_ppm", "expected"), [(0.1, 5.46), (0.3, 3.62), (0.5, 1.89), (-0.1, 5.93), (-0.3, 4.87)]
)
def test_both_offsets_shifted_give_the_contrast_of_the_sheet(shift_ppm: float, expected: float) -> None:
    # Offsets shifted by +x are water at -x.
    z = simulate(olsalazine(5.0), PAIR, b0_ppm=-shift_ppm)
    assert asymmetry_percent(z) == pytest.approx(expected, abs=0.0051)
    shifted = PulseTrain(PAIR.offsets + shift_ppm, [3.6], 3.0)
    assert np.abs(z - simulate(olsalazine(5.0), shifted)).max() < 1e-10


def test_lower_b1_gives_the_contrast_of_the_sheet() -> None:
    z = simulate(olsalazine(5.0), PAIR, relative_b1=0.8)
    assert asymmetry_percent(z) == pytest.approx(4.71, abs=0.005)
    assert np.abs(z - simulate(olsalazine(5.0), PulseTrain(PAIR.offsets, [2.88], 3.0))).max() < 1e-12


def test_background_makes_the_raw_ratio_nonsense_as_in_the_sheet() -> None:
    # The sheet gives -2.4 %, -0.47 and 6.57 without the parameters of NOE and MT; these reproduce all three.
    noe = ExchangePool("noe", 0.0045, 1.0, 3e-4, 20.0, -3.5)
    bound = MtPool(0.07, 1.5, 9e-6, 30.0, -2.4, "full")
    systems = [
        dataclasses.replace(olsalazine(c), exchange=(*olsalazine(c).exchange, noe), mt=bound)
        for c in (0.0, 1.0, 6.87)
    ]
    none, before, after = asymmetry_percent(simulate(systems, PAIR))
    assert none == pytest.approx(-2.4, abs=0.05)
    assert after / before == pytest.approx(-0.47, abs=0.005)
    assert (after - none) / (before - none) == pytest.approx(6.57, abs=0.005)


def test_spectrum_moves_with_water() -> None:
    # Zcorr(w) = Z(w + b0): water at +0.3 ppm.
    offset = np.linspace(-1.0, 1.0, 41)
    z = simulate(WHITE_MATTER, PulseTrain(offset, [1.0], 1.0), b0_ppm=0.3)
    assert offset[np.argmin(z)] == pytest.approx(0.3, abs=0.026)
    corrected = simulate(WHITE_MATTER, PulseTrain(offset + 0.3, [1.0], 1.0), b0_ppm=0.3)
    assert np.abs(corrected - simulate(WHITE_MATTER, PulseTrain(offset, [1.0], 1.0))).max() < 1e-10


def test_inhomogeneity_and_b1_of_the_pool_system_join_those_of_the_call() -> None:
    train = PulseTrain([-1.0, 0.5, 2.0], [1.5], 1.0)
    own = dataclasses.replace(WHITE_MATTER, b0_inhomogeneity_ppm=0.1, relative_b1=0.9)
    found = simulate(own, train, b0_ppm=0.05, relative_b1=1.1)
    assert np.abs(found - simulate(WHITE_MATTER, train, b0_ppm=0.15, relative_b1=0.99)).max() < 1e-12


def test_maps_and_several_systems_give_leading_axes() -> None:
    train = PulseTrain([-2.0, 3.5], [2.0], 1.0)
    shift, field = np.array([[0.0], [0.1], [-0.2]]), np.array([0.9, 1.0])
    systems = [WHITE_MATTER, olsalazine(3.0), dataclasses.replace(WHITE_MATTER, mt=None)]
    z = simulate(systems, train, b0_ppm=shift, relative_b1=field)
    assert z.shape == (3, 3, 2, 2)
    for s, i, j in ((0, 1, 0), (1, 2, 1), (2, 0, 0)):
        alone = simulate(systems[s], train, b0_ppm=shift[i, 0], relative_b1=field[j])
        assert np.array_equal(z[s, i, j], alone)


def test_not_a_number_in_a_map_is_one_in_the_spectrum() -> None:
    z = simulate(WHITE_MATTER, PulseTrain([1.0], [1.0], 1.0), b0_ppm=[0.0, np.nan], relative_b1=[1.0, 1.0])
    assert np.isfinite(z[0]).all()
    assert np.isnan(z[1]).all()
    z = simulate(WHITE_MATTER, PulseTrain([1.0], [1.0], 1.0), relative_b1=[np.nan, 1.0])
    assert np.isnan(z[0]).all()
    assert np.isfinite(z[1]).all()


def test_nothing_happens_without_b1_or_to_a_pool_that_is_not_there() -> None:
    train = PulseTrain([-1.0, 0.0, 3.5], [0.0], 1.0)
    assert np.abs(simulate(WHITE_MATTER, train) - 1.0).max() < 1e-11
    empty = ExchangePool("x", 0.0, 1.0, 0.01, 500.0, 3.5)
    played = PulseTrain([-1.0, 0.0, 3.5], [2.0], 1.0)
    water = PoolSystem(WaterPool(1.0, 0.05), (empty,), None, 3.0)
    alone = dataclasses.replace(water, exchange=())
    assert np.abs(simulate(water, played) - simulate(alone, played)).max() < 1e-12


def test_magnetisation_before_an_offset_is_scaled() -> None:
    # Without saturation it recovers from 0.5 with T1.
    pools = PoolSystem(WaterPool(1.2, 0.05), field_t=3.0, scale=0.5)
    z = simulate(pools, PulseTrain([3.0], [0.0], 0.7))
    assert z[0] == pytest.approx(1.0 - 0.5 * np.exp(-0.7 / 1.2), abs=1e-12)


def test_offsets_follow_each_other_where_magnetisation_is_not_reset() -> None:
    pools = PoolSystem(WaterPool(1.0, 0.05), field_t=3.0, scale=0.0, reset_magnetisation=False)
    z = simulate(pools, PulseTrain([3.0, -3.0, 2.0], [0.0], 0.5))
    assert z == pytest.approx(1.0 - np.exp(-np.array([0.5, 1.0, 1.5])), abs=1e-12)


@pytest.mark.parametrize("gap_s", [0.0, 0.01])
def test_long_train_ends_in_its_steady_state(gap_s: float) -> None:
    # 24 s or more against R1rho above 1 1/s and rates of MT of 30 1/s: exp(-24) of 4e-11 is the slowest rest.
    train = PulseTrain(
        [-3.0, 0.5, 3.5],
        [1.0, 3.0, 1.0],
        0.005,
        n_pulses=1600,
        pulse_interval_s=gap_s,
        post_delay_s=0.0065,
    )
    shift = [0.0, 0.2]
    found = steady_state(WHITE_MATTER, train, b0_ppm=shift)
    assert np.abs(found - simulate(WHITE_MATTER, train, b0_ppm=shift)).max() < 1e-9


def test_steady_state_of_pulses_that_are_not_spoiled_is_refused() -> None:
    train = PulseTrain([1.0], [1.0, 2.0], 0.01, n_pulses=5, spoil_between_pulses=False)
    with pytest.raises(ValueError, match="spoil_between_pulses"):
        steady_state(WHITE_MATTER, train)


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    train = PulseTrain(np.linspace(-5, 5, 11), [1.0, 2.0, 1.0], 0.01, n_pulses=3, pulse_interval_s=0.01)
    one, all_threads = (simulate(WHITE_MATTER, train, workers=workers) for workers in (1, None))
    assert one.tobytes() == all_threads.tobytes()


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [("b0_ppm", 64.0, "-20 to 20"), ("relative_b1", 95.0, "0 to 5"), ("relative_b1", -0.1, "0 to 5")],
)
def test_maps_in_another_unit_are_refused(name: str, value: float, needed: str) -> None:
    with pytest.raises(ImplausibleValue) as caught:
        simulate(WHITE_MATTER, PAIR, **{name: [1.0, value]})  # type: ignore[arg-type]
    assert caught.value.needed == needed


def test_shapes_that_do_not_fit_and_no_system_are_refused() -> None:
    with pytest.raises(ValueError, match="fit together"):
        simulate(WHITE_MATTER, PAIR, b0_ppm=np.zeros(3), relative_b1=np.ones(2))
    with pytest.raises(ValueError, match="no pool system"):
        simulate([], PAIR)


def test_simulation_meets_what_the_warm_up_compiled() -> None:
    dict(warmup.compile_all())["exchange of pools"]()
    compiled = list(kernels.simulate.signatures)
    simulate(WHITE_MATTER, PAIR, b0_ppm=[0.0, 0.1])
    shaped = PulseTrain(
        [1.0], [1.0, 2.0], 0.01, n_pulses=2, pulse_interval_s=0.01, spoil_between_pulses=False
    )
    simulate([WHITE_MATTER, olsalazine(1.0)], shaped)
    steady_state(WHITE_MATTER, PulseTrain([1.0], [1.0, 2.0], 0.01, pulse_interval_s=0.01))
    assert list(kernels.simulate.signatures) == compiled


def test_many_voxels_need_little_memory_beside_the_result() -> None:
    # 15,000 spectra of 20 points and 2 pools; the magnetisation of all pools would be 4.8 MB more.
    train = PulseTrain(np.linspace(-5.0, 5.0, 20), [0.0], 1e-6)
    shift = np.zeros(15_000)
    simulate(olsalazine(1.0), train, b0_ppm=shift[:100])
    tracemalloc.start()
    z = simulate(olsalazine(1.0), train, b0_ppm=shift)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert z.shape == (15_000, 20)
    assert peak - z.nbytes - 8 * shift.nbytes < (4 << 20)
