"""Long block pulses by the rational approximation against the matrix exponential."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from imgtheranostics.kernels import bloch_mcconnell as equations
from imgtheranostics.kernels import long_pulse as kernels
from imgtheranostics.kernels import mt_line

LARMOR = 3130.0
"""rad/s in one ppm at 11.7 T."""


def approximation(x: complex) -> complex:
    """The rational function at -x."""
    pair = kernels.RESIDUES / (-x - kernels.POLES)
    mirrored = kernels.RESIDUES.conj() / (-x - kernels.POLES.conj())
    return complex(kernels.AT_INFINITY + (pair + mirrored).sum())


def test_coefficients_give_the_published_accuracy_on_the_axis() -> None:
    # 1.8e-14, the best approximation of order 14; the sum rounds.
    places = np.concatenate([[0.0], np.logspace(-4, 6, 2000)])
    assert max(abs(approximation(x) - np.exp(-x)) for x in places) < 3e-14


def test_what_precesses_and_has_decayed_is_nothing() -> None:
    for turned in np.linspace(0.0, 200.0, 500):
        x = kernels.LEAST_DECAY + 1j * turned
        assert abs(approximation(x) - np.exp(-x)) < 2e-10


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(0, 1),
    st.floats(-0.5, 1.0),
    st.floats(0.0, 4.0),
    st.booleans(),
)
def test_state_after_a_long_pulse_is_that_of_the_exponential(
    seed: int, n_full: int, n_bound: int, log_duration: float, log_w: float, transverse: bool
) -> None:
    rng = np.random.default_rng(seed)
    k, duration, w = n_full + n_bound, 10.0**log_duration, 10.0**log_w
    pools = np.empty((k, 5))
    pools[:, 0] = 10 ** rng.uniform(-5, -0.7, k)
    pools[:, 1] = 10 ** rng.uniform(-0.7, 0.7, k)
    pools[:, 2] = np.maximum(10 ** rng.uniform(0.3, 4, k), pools[:, 1] / 2)
    pools[:, 3] = 10 ** rng.uniform(0.3, 4, k)
    pools[:, 4] = rng.uniform(-10, 10, k) * LARMOR
    pools[0] = 1.0, rng.uniform(0.2, 2.0), 10 ** rng.uniform(0.5, 2.2), 0.0, 0.0
    pools[n_full:, 2] = 5e4
    assume(kernels.is_long(pools, n_full, duration))
    frequency = float(pools[rng.integers(k), 4] + rng.normal() * 300.0)
    n = 2 * n_full + k + 1
    matrix = np.empty((n, n))
    equations.fill_matrix(pools, n_full, mt_line.LORENTZIAN, LARMOR, 50.0, frequency, w, matrix)
    state = np.zeros((2, n, 1))
    state[0, 2 * n_full : -1, 0] = pools[:, 0]
    state[0, -1] = 1.0
    if transverse:
        state[0, : 2 * n_full, 0] = rng.normal(size=2 * n_full) * np.tile(pools[:n_full, 0], 2)
    expected = expm(matrix * duration) @ state[0, :, 0]
    work = (
        np.empty((k, 9), np.complex128),
        np.empty((k, 3), np.complex128),
        np.empty((k + 4, 3), np.complex128),
        np.empty((k, 3)),
    )
    place = (pools, n_full, mt_line.LORENTZIAN, LARMOR, 50.0)
    kernels.play_long(place, frequency, w, duration, work, state)
    # 4e5 rad and more are taken in 20 squarings by SciPy, which rounds to some 1e-10 itself.
    assert state[0, :, 0] == pytest.approx(expected, abs=1e-9)


def test_pulses_in_which_transverse_magnetisation_lives_on_are_not_long() -> None:
    # T2 of 45 ms decays by 32 in 2.8 s at half its rate; a pool with T2 of 1 s and slow exchange does not.
    water = [1.0, 0.5, 1 / 0.045, 0.0, 0.0]
    assert kernels.is_long(np.array([water]), 1, 3.0)
    assert not kernels.is_long(np.array([water]), 1, 2.5)
    assert not kernels.is_long(np.array([water, [1e-3, 1.0, 1.0, 5.0, 3000.0]]), 2, 3.0)
    assert kernels.is_long(np.array([water, [1e-3, 1.0, 1.0, 500.0, 3000.0]]), 2, 3.0)
