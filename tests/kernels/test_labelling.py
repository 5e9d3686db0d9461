"""The batched fit of saturation transfer against SciPy's least squares and the formula of cest.md (F13)."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares

from imgtheranostics.kernels import labelling, warmup

GAMMA = 2 * np.pi * 42.5764
B1 = np.array([0.7, 1.2, 2.0, 3.5, 5.0, 7.0])
POWER = (GAMMA * B1) ** 2
LOWER, UPPER = np.log([1.0, 1e-8]), np.log([1e6, 1e4])


FORMS = {"published": labelling.PUBLISHED, "inverse": labelling.INVERSE, "labelled": labelling.LABELLED}


def model(rate, transfer, time, r1, *, form, power=POWER):
    alpha = power / (power + rate**2)
    if form == "inverse":
        return transfer * alpha / r1
    met = transfer * alpha if form == "labelled" else transfer
    share = 1.0 if form == "labelled" else alpha
    return share * met / (r1 + met) * (1 - np.exp(-(r1 + met) * time))


def run(values, time, r1, *, form, noise=None, power=POWER):
    values = np.atleast_2d(values)
    m, n = values.shape
    found = np.empty((m, 2)), np.empty((m, 5)), np.empty(m), np.empty(m, np.int32), np.empty(m, np.uint8)
    labelling.fit_labelling(
        values,
        np.ones((1, n)) if noise is None else noise,
        power,
        np.broadcast_to(time, n).astype(float),
        np.broadcast_to(r1, m).astype(float),
        FORMS[form],
        np.geomspace(1e-4, 100, 21),
        LOWER,
        UPPER,
        100,
        1e-10,
        *found,
    )
    return found


@pytest.mark.parametrize(
    ("form", "varied"),
    [("published", "power"), ("inverse", "power"), ("labelled", "power"), ("published", "time")],
)
def test_minimum_and_covariance_are_those_of_scipy(rng, form, varied):
    power = POWER if varied == "power" else np.full(6, POWER[2])
    time = np.full(6, 3.0) if varied == "power" else np.array([0.4, 0.8, 1.5, 3.0, 5.0, 9.0])
    noise = rng.uniform(0.0008, 0.0012, (1, 6))
    truth = model(700.0, 0.8, time, 0.6, form=form, power=power)
    values = truth + noise * rng.normal(size=(20, 6))
    places, known, squares, _, state = run(values, time, 0.6, form=form, noise=noise, power=power)
    assert (state == labelling.CONVERGED).all()
    for voxel in range(20):

        def residual(p, y=values[voxel], r1=0.6):
            return (model(*np.exp(p), time, r1, form=form, power=power) - y) / noise[0]

        peer = least_squares(residual, np.log([700.0, 0.8]), xtol=1e-14, ftol=1e-14, gtol=1e-14)
        np.testing.assert_allclose(places[voxel], peer.x, atol=2e-5)
        assert squares[voxel] <= 2 * peer.cost * (1 + 1e-9)
        covariance = np.linalg.inv(peer.jac.T @ peer.jac)
        np.testing.assert_allclose(known[voxel, :3], covariance[[0, 1, 0], [0, 1, 1]], rtol=1e-3)
        moved = [
            least_squares(
                residual, peer.x, xtol=1e-15, ftol=1e-15, gtol=1e-15, kwargs={"r1": 0.6 * np.exp(h)}
            ).x
            for h in (-1e-3, 1e-3)
        ]
        # Gauss and Newton's derivative leaves out the curvature of the residuals, which noise makes small.
        np.testing.assert_allclose(known[voxel, 3:], (moved[1] - moved[0]) / 2e-3, rtol=0.05, atol=0.05)


@given(
    rate=st.floats(80, 8000),
    transfer=st.floats(0.02, 5),
    r1=st.floats(0.25, 2),
    time=st.floats(0.3, 10),
    form=st.sampled_from(sorted(FORMS)),
)
def test_points_of_the_formula_give_it_back(rate, transfer, r1, time, form):
    values = model(rate, transfer, time, r1, form=form)
    places, *_, state = run(values, time, r1, form=form)
    assert state[0] & labelling.CONVERGED
    np.testing.assert_allclose(np.exp(places[0]), [rate, transfer], rtol=1e-6)


def test_result_does_not_depend_on_threads(rng):
    values = model(500.0, 0.5, 2.0, 0.5, form="published") + rng.normal(0, 2e-3, (500, 6))
    before = numba.get_num_threads()
    whole = run(values, 2.0, 0.5, form="published")
    try:
        numba.set_num_threads(1)
        single = run(values, 2.0, 0.5, form="published")
    finally:
        numba.set_num_threads(before)
    for one, other in zip(whole, single, strict=True):
        assert one.tobytes() == other.tobytes()


def test_noise_of_each_voxel_is_its_own(rng):
    values = model(500.0, 0.5, 2.0, 0.5, form="published") + rng.normal(0, 2e-3, (3, 6))
    noise = rng.uniform(1e-3, 4e-3, (3, 6))
    together = run(values, 2.0, 0.5, form="published", noise=noise)
    for voxel in range(3):
        alone = run(values[voxel], 2.0, 0.5, form="published", noise=noise[voxel : voxel + 1])
        np.testing.assert_array_equal(together[0][voxel], alone[0][0])


def test_rate_against_its_bound_is_told():
    """Powers far below k: only f/k shows, and any larger k explains the same."""
    power = POWER * 1e-4
    values = model(4e5, 50.0, 1e9, 0.5, form="inverse", power=power)
    *_, known, _, _, state = run(values * (1 + 0.01 * np.arange(6)), 1e9, 0.5, form="inverse", power=power)
    assert state[0] & labelling.AT_BOUND
    assert np.isnan(known[0, labelling.RATE_VARIANCE])


def test_warm_up_compiles_what_the_methods_call():
    from imgtheranostics.cest import exchange

    dict(warmup.compile_all())["exchange rates"]()
    compiled = list(labelling.fit_labelling.signatures)
    for dtype in (np.float32, np.float64):
        values = np.asfortranarray(
            np.tile(model(500.0, 0.5, 2.0, 0.5, form="published"), (2, 3, 4, 1)).astype(dtype)
        )
        values.setflags(write=False)
        r1 = np.full((2, 3, 4), 0.5, np.float32)
        exchange.quesp(values, b1_ut=B1, r1_per_s=r1, saturation_time_s=2.0)
        exchange.quesp(values, b1_ut=tuple(B1), r1_per_s=0.5, metric="mtr_rex", noise_sd=np.full(6, 0.01))
        exchange.quest(values, b1_ut=2.0, r1_per_s=0.5, saturation_time_s=np.arange(1, 7), noise_sd=values)
    assert labelling.fit_labelling.signatures == compiled
