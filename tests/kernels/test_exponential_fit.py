"""The kernel of exponentials against plain NumPy and SciPy: amplitudes, minimum, state."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls

from imgtheranostics.kernels import exponential_fit as kernels
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


def test_every_mode_is_compiled_by_the_warm_up():
    names = dict(compile_all())
    names["exponentials of activity"]()
    assert len(kernels.fit_exponentials.signatures) == 1
