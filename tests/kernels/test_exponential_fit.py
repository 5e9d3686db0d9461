"""The kernel of exponentials against plain NumPy and SciPy: amplitudes, minimum, state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls

from imgtheranostics.kernels import exponential_fit as kernels
from imgtheranostics.kernels import exponential_pair_lanes as lanes
from imgtheranostics.kernels.warmup import compile_all
from imgtheranostics.nuclear.exponential_models import Model, setting_of

TIME = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0])


def run(model, curves, root=None, slowest=0.5, decay=0.0, most=80):
    root = np.ones(TIME.size) if root is None else root
    setting = setting_of(model, TIME, root, slowest)
    m, n = len(curves), model.n_exponentials
    values, errors = np.empty((2, m, 2 * n + kernels.N_SUMMARIES))
    squares, iterations, state = np.empty((m, 2)), np.empty(m, np.int32), np.empty(m, np.uint8)
    kernels.fit_exponentials(
        model.mode, curves, TIME, root, setting.lower, setting.upper, decay, False, setting.table,
        setting.combinations, setting.inverses, setting.starts, most, 1e-9, values, errors, squares,
        iterations, state,
    )  # fmt: skip
    return values, errors, squares, state


def least_squares_left(model, rates, curve, root):
    """Sum of squares with the best amplitudes, by the non-negative least squares of SciPy."""
    columns = (np.exp(-np.outer(TIME, rates)) @ model.columns()) * root[:, np.newaxis]
    return nnls(columns, curve * root)[1] ** 2


@given(
    seed=st.integers(0, 2**31),
    terms=st.integers(1, 3),
    uptake=st.sampled_from([None, True, False]),
    noise=st.floats(0.001, 0.3),
)
def test_amplitudes_are_those_of_non_negative_least_squares(seed, terms, uptake, noise):
    """Given the rates that the kernel found, SciPy's amplitudes leave the same sum of squares."""
    random = np.random.default_rng(seed)
    model = Model(terms, uptake)
    curve = np.exp(-2 * TIME) + noise * random.standard_normal(TIME.size)
    root = random.uniform(0.5, 1.5, TIME.size)
    values, _, squares, _ = run(model, curve[np.newaxis], root)
    n = model.n_exponentials
    amplitudes, rates = values[0, :n], values[0, n : 2 * n]
    there = amplitudes != 0
    left = np.exp(-np.outer(TIME, rates[there])) @ amplitudes[there] - curve
    assert np.isclose(np.sum((root * left) ** 2), squares[0, 0], rtol=1e-6, atol=1e-14)
    if there.all():
        best = least_squares_left(model, rates, curve, root)
        assert squares[0, 0] <= best * (1 + 1e-6) + 1e-12


def test_no_simplex_search_finds_a_lower_minimum(rng):
    model = Model(2, None)
    measured = np.exp(-TIME) + 2 * np.exp(-8 * TIME) + 0.05 * rng.standard_normal((20, TIME.size))
    values, _, squares, state = run(model, measured)
    assert (state & kernels.CONVERGED).all()
    root = np.ones(TIME.size)
    for row, curve in enumerate(measured):

        def left(logs, y=curve):
            rates = 0.5 + np.cumsum(np.exp(logs))
            return least_squares_left(model, rates, y, root)

        start = np.log(np.maximum(np.diff(values[row, 2:4], prepend=0.5), 1e-6))
        peer = minimize(left, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-14})
        assert squares[row, 0] <= peer.fun * (1 + 1e-6)


def test_more_exponentials_never_leave_more(rng):
    measured = np.exp(-TIME) + np.exp(-8 * TIME) + 0.05 * rng.standard_normal((200, TIME.size))
    one, two = (run(Model(n, False), measured)[2][:, 0] for n in (1, 2))
    assert (two <= one * (1 + 1e-9)).all()


@pytest.mark.parametrize("uptake", [None, False])
@pytest.mark.parametrize("known", [False, True])
def test_lanes_find_what_the_voxel_kernel_finds(rng, uptake, known):
    """Values and errors of the curves that they do not leave to it, which are most."""
    model, root = Model(2, uptake), np.sqrt(np.linspace(1, 2, TIME.size))
    measured = np.exp(-2 * TIME) + 2 * np.exp(-20 * TIME) + 0.02 * rng.standard_normal((300, TIME.size))
    measured[::7] -= 2.6 * np.exp(-20 * TIME)
    measured[5], measured[6] = 0.0, -1.0
    setting = setting_of(model, TIME, root, 0.5)
    given = (
        measured, TIME, root, setting.lower, setting.upper, 0.3, known, setting.table,
        setting.combinations, setting.inverses, setting.starts,
    )  # fmt: skip
    first, second = (
        (np.empty((300, 8)), np.empty((300, 8)), np.empty((300, 2)), np.empty(300, np.int32),
         np.empty(300, np.uint8))
        for _ in range(2)
    )  # fmt: skip
    lanes.fit_pairs(model.mode, *given, *first)
    kernels.fit_exponentials(model.mode, *given, 60, 1e-9, *second)
    held = first[4] != lanes.LEFT
    assert not held[[5, 6]].any()
    assert held.mean() > (0.9 if uptake is None else 0.8)
    assert (first[4][held] == second[4][held]).all()
    assert (first[2][held, 0] <= second[2][held, 0] * (1 + 1e-6)).all()
    same = np.isclose(first[2][held, 0], second[2][held, 0], rtol=1e-6)
    assert same.mean() > 0.99
    for mine, other in zip(first[:2], second[:2], strict=True):
        assert np.isclose(mine[held][same], other[held][same], rtol=2e-4).all()


def test_lanes_do_not_depend_on_their_neighbours(rng):
    model, root = Model(2, None), np.ones(TIME.size)
    measured = np.exp(-2 * TIME) + 2 * np.exp(-20 * TIME) + 0.05 * rng.standard_normal((150, TIME.size))
    setting = setting_of(model, TIME, root, 0.5)

    def values(curves):
        m = len(curves)
        found = (
            np.empty((m, 8)),
            np.empty((m, 8)),
            np.empty((m, 2)),
            np.empty(m, np.int32),
            np.empty(m, np.uint8),
        )
        lanes.fit_pairs(
            model.mode, curves, TIME, root, setting.lower, setting.upper, 0.0, False, setting.table,
            setting.combinations, setting.inverses, setting.starts, *found,
        )  # fmt: skip
        return found

    whole, part = values(measured), values(np.ascontiguousarray(measured[37:90]))
    for one, other in zip(whole, part, strict=True):
        assert one[37:90].tobytes() == other.tobytes()


def test_every_mode_is_compiled_by_the_warm_up():
    names = dict(compile_all())
    names["exponentials of activity"]()
    assert len(kernels.fit_exponentials.signatures) == 1
    assert len(lanes.fit_pairs.signatures) == 1
