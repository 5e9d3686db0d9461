"""The matrix exponential against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from imgtheranostics.kernels import matrix_exponential as kernels


def exponential(matrix: np.ndarray, factor: float = 1.0) -> np.ndarray:
    n = len(matrix)
    out = np.empty((n, n))
    kernels.exponential(np.ascontiguousarray(matrix), factor, np.empty((kernels.N_MATRICES, n, n)), out)
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(-4.0, 3.0))
def test_exponential_of_damped_rotations_is_that_of_scipy(seed: int, n: int, exponent: float) -> None:
    rng = np.random.default_rng(seed)
    loose = rng.normal(size=(n, n)) * 10.0**exponent
    matrix = loose - loose.T - np.diag(rng.uniform(0.0, 10.0**exponent, n))
    expected = expm(0.3 * matrix)
    assert np.allclose(
        exponential(matrix, 0.3), expected, rtol=0.0, atol=3e-15 * max(1.0, 10.0**exponent) * n
    )


def test_exponential_of_a_stiff_block_pulse_keeps_its_steady_state() -> None:
    # One pool at -300 ppm and 11.7 T for 40 T1, T1 = T2 = 1 s: 4e7 rad, 26 squarings of what relaxes by 1e-6.
    detuning, nutation = 9.4e5, 1000.0
    matrix = np.array(
        [[-1.0, -detuning, 0, 0], [detuning, -1.0, -nutation, 0], [0, nutation, -1.0, 1.0], [0, 0, 0, 0]]
    )
    z = exponential(matrix, 40.0)[2, 3]
    assert z == pytest.approx((1 + detuning**2) / (1 + detuning**2 + nutation**2), abs=1e-9)


def test_exponential_of_nothing_is_one() -> None:
    assert np.array_equal(exponential(np.zeros((3, 3))), np.eye(3))


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_product_is_that_of_numpy(seed: int, m: int, n: int, c: int) -> None:
    rng = np.random.default_rng(seed)
    first, second, out = rng.normal(size=(m, n)), rng.normal(size=(n, c)), np.empty((m, c))
    kernels.multiply(first, second, out)
    assert np.allclose(out, first @ second, rtol=0.0, atol=1e-13)
