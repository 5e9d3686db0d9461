"""The Bloch-McConnell kernel against a dense step-by-step solution with SciPy's exponential."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from imgtheranostics.kernels import bloch_mcconnell as kernels
from imgtheranostics.kernels import mt_line
from imgtheranostics.kernels.threads import thread_limit

LARMOR = 802.546


def random_pools(rng: np.random.Generator, n_full: int, n_bound: int) -> np.ndarray:
    """Fraction, R1, R2, rate, shift."""
    k = n_full + n_bound
    pools = np.empty((k, 5))
    pools[:, 0] = rng.uniform(1e-4, 0.1, k)
    pools[:, 1] = rng.uniform(0.3, 3.0, k)
    pools[:, 2] = rng.uniform(3.0, 500.0, k)
    pools[:, 3] = rng.uniform(1.0, 3000.0, k)
    pools[:, 4] = rng.uniform(-8.0, 8.0, k) * LARMOR
    pools[0] = 1.0, rng.uniform(0.3, 2.0), rng.uniform(5.0, 50.0), 0.0, 0.0
    pools[n_full:, 2] = 2e4
    return pools


def dense_matrix(pools: np.ndarray, n_full: int, b0: float, frequency: float, w1: complex) -> np.ndarray:
    """dM/dt with x, y, z of each pool beside each other; its own code."""
    k = len(pools)
    n = 3 * n_full + (k - n_full) + 1
    matrix = np.zeros((n, n))
    for p, (fraction, r1, r2, _, shift) in enumerate(pools):
        detuning = shift + b0 - frequency
        if p < n_full:
            here = [3 * p, 3 * p + 1, 3 * p + 2]
            matrix[np.ix_(here, here)] = [
                [-r2, -detuning, w1.imag],
                [detuning, -r2, -w1.real],
                [-w1.imag, w1.real, -r1],
            ]
        else:
            here = [3 * n_full + p - n_full]
            matrix[here[0], here[0]] = -r1 - abs(w1) ** 2 / r2 / (1.0 + (detuning / r2) ** 2)
        matrix[here[-1], -1] = r1 * fraction
    for p, (fraction, _, _, rate, _) in enumerate(pools[1:], start=1):
        pairs = [(3 * p + c, c) for c in range(3)] if p < n_full else [(3 * n_full + p - n_full, 2)]
        for own, water in pairs:
            matrix[own, own] -= rate
            matrix[water, own] += rate
            matrix[own, water] += rate * fraction / pools[0, 0]
            matrix[water, water] -= rate * fraction / pools[0, 0]
    return matrix


def dense_water(pools: np.ndarray, n_full: int, b0: float, program: tuple[Any, ...], offset: int) -> float:
    """Water after the events of one offset, turned back to the frame of nominal water after each pulse."""
    samples, phases, first_sample, sample_s, delay_s, kind, item, frequency, start, _, first_event = program
    state = np.zeros(3 * n_full + len(pools) - n_full + 1)
    state[2 : 3 * n_full : 3] = pools[:n_full, 0]
    state[3 * n_full : -1] = pools[n_full:, 0]
    state[-1] = 1.0

    def turn(angle: float) -> None:
        for p in range(n_full):
            x, y = state[3 * p], state[3 * p + 1]
            state[3 * p] = np.cos(angle) * x - np.sin(angle) * y
            state[3 * p + 1] = np.sin(angle) * x + np.cos(angle) * y

    for event in range(first_event[offset], first_event[offset + 1]):
        number = item[event]
        if kind[event] == kernels.PULSE:
            for s in range(first_sample[number], first_sample[number + 1]):
                w1 = samples[s] * np.exp(1j * (phases[s] + start[event]))
                matrix = dense_matrix(pools, n_full, b0, frequency[event], w1)
                state = expm(matrix * sample_s[number]) @ state
            length = sample_s[number] * (first_sample[number + 1] - first_sample[number])
            turn(frequency[event] * length)
        elif kind[event] == kernels.DELAY:
            state = expm(dense_matrix(pools, n_full, b0, 0.0, 0j) * delay_s[number]) @ state
        else:
            state[: 3 * n_full].reshape(-1, 3)[:, :2] = 0.0
    return float(state[2] / pools[0, 0])


def random_program(rng: np.random.Generator, *, spoiled: bool, repeated: bool) -> tuple[Any, ...]:
    """Two offsets of four pulses, two shapes with phases, delays between."""
    n = 12
    shape = np.sin(np.linspace(0.1, 3.0, n)) * 900.0
    samples = np.concatenate([shape, 0.5 * shape, [400.0]])
    phases = np.concatenate([np.zeros(n), rng.uniform(-1.0, 1.0, n), [0.0]])
    first_sample = np.array([0, n, 2 * n, 2 * n + 1], np.int64)
    pulses = [0, 1, 0, 2]
    kind, item, frequency = [], [], []
    for offset in (3.5, -1.0):
        for number in pulses:
            kind += [kernels.PULSE] + [kernels.SPOIL] * spoiled + [kernels.DELAY]
            item += [number] + [0] * spoiled + [number % 2]
            frequency += [offset * LARMOR] + [0.0] * (1 + spoiled)
    events = len(kind)
    return (
        samples,
        phases,
        first_sample,
        np.array([2e-4, 1e-4, 3e-3]),
        np.array([2e-3, 5e-3]),
        np.array(kind, np.int64),
        np.array(item, np.int64),
        np.array(frequency),
        np.where(np.array(kind) == kernels.PULSE, rng.uniform(0.0, 6.0, events), 0.0),
        np.full(events, repeated),
        np.array([0, events // 2, events], np.int64),
    )


def run(
    pools: np.ndarray, n_full: int, program: tuple[Any, ...], longitudinal: bool, b0: float = 100.0
) -> np.ndarray:
    z = np.empty((1, len(program[-1]) - 1, len(pools)))
    one = np.ones(1)
    kernels.simulate(
        pools[np.newaxis],
        n_full,
        mt_line.LORENTZIAN,
        LARMOR,
        np.array([b0]),
        one,
        np.ascontiguousarray(pools[np.newaxis, :, 0]),
        np.zeros(1, np.int64),
        program,
        longitudinal,
        True,
        z,
    )
    return z[0, :, 0]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 1), st.booleans())
def test_trains_are_those_of_dense_step_by_step_exponentials(
    seed: int, n_full: int, n_bound: int, spoiled: bool
) -> None:
    rng = np.random.default_rng(seed)
    pools = random_pools(rng, n_full, n_bound)
    program = random_program(rng, spoiled=spoiled, repeated=True)
    expected = [dense_water(pools, n_full, 100.0, program, offset) for offset in range(2)]
    assert run(pools, n_full, program, spoiled) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("spoiled", [True, False])
def test_propagator_kept_for_a_pulse_is_the_product_of_its_steps(spoiled: bool) -> None:
    # cest.md section 6: to 1e-12. The same train with each pulse played sample by sample.
    rng = np.random.default_rng(1)
    pools = random_pools(rng, 4, 1)
    kept = run(pools, 4, random_program(np.random.default_rng(2), spoiled=spoiled, repeated=True), spoiled)
    steps = run(pools, 4, random_program(np.random.default_rng(2), spoiled=spoiled, repeated=False), False)
    assert np.abs(kept - steps).max() < 1e-12


def test_strong_pulse_of_few_samples_needs_no_interpolation() -> None:
    rng = np.random.default_rng(3)
    pools = random_pools(rng, 2, 1)
    program = random_program(rng, spoiled=False, repeated=True)
    program[3][:] = 5e-3
    expected = [dense_water(pools, 2, 0.0, program, offset) for offset in range(2)]
    assert run(pools, 2, program, False, b0=0.0) == pytest.approx(expected, abs=1e-10)


def test_result_is_the_same_to_the_last_bit_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(4)
    pools, program = random_pools(rng, 3, 1), random_program(rng, spoiled=True, repeated=True)
    found = []
    for workers in (1, 2):
        z = np.empty((7, 2, 4))
        with thread_limit(workers):
            kernels.simulate(
                pools[np.newaxis],
                3,
                mt_line.SUPER_LORENTZIAN,
                LARMOR,
                np.linspace(-200.0, 200.0, 7),
                np.ones(7),
                np.tile(pools[:, 0], (7, 1)),
                np.zeros(7, np.int64),
                program,
                True,
                True,
                z,
            )
        found.append(z.tobytes())
    assert found[0] == found[1]
