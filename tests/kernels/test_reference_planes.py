"""Three regressors in every voxel: NumPy's least squares, voxels without numbers, threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics.errors import IllConditioned
from imgtheranostics.fit import shortfall
from imgtheranostics.kernels import reference_planes as kernels
from imgtheranostics.kernels.warmup import compile_all
from imgtheranostics.nuclear import kinetics
from imgtheranostics.volume import Flag

DURATION = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 10)
END = np.cumsum(DURATION)
MID = END - DURATION / 2
FINE = np.arange(0.0, END[-1] + 0.5, 0.5)
PLASMA = 100.0 * (FINE / 30) * np.exp(-FINE / 40) + 20.0 * (np.exp(-FINE / 2500) - np.exp(-FINE / 40))
GIVEN = {"time_s": MID, "frame_duration_s": DURATION}


def tissue(k1, k2):
    """One compartment, per min, averaged over the frames: Euler's rule at half a second."""
    curve, level = np.empty(FINE.size), 0.0
    for i, value in enumerate(PLASMA):
        curve[i] = level
        level += 0.5 * (k1 * value - k2 * level) / 60
    whole = np.r_[0.0, np.cumsum(0.25 * (curve[1:] + curve[:-1]))]
    return (np.interp(END, FINE, whole) - np.interp(END - DURATION, FINE, whole)) / DURATION


REFERENCE = tissue(0.1, 0.1)


def middles(curve):
    """Integral up to the middle of each frame, min."""
    return (np.cumsum(curve * DURATION) - curve * DURATION / 2) / 60


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), start=st.sampled_from([0.0, 300.0]), weighted=st.booleans())
def test_equals_least_squares_of_numpy(seed, start, weighted):
    """Weights of the three regressors, and what follows from them by a numerical gradient.

    Covariance of equal noise in all samples, which are in the integral as well, by matrices.
    """
    rng = np.random.default_rng(seed)
    curve = tissue(0.12, 0.05) + rng.normal(0, 0.02, MID.size)
    weights = rng.uniform(0.2, 2, MID.size) if weighted else np.ones(MID.size)
    found = kinetics.mrtm(curve, REFERENCE, **GIVEN, start_s=start, weights=weights)
    used = start <= MID
    w = weights[used] / weights[used].mean()
    rows = np.stack([middles(REFERENCE), middles(curve), REFERENCE])[:, used] * np.sqrt(w)
    g, squares, _, _ = np.linalg.lstsq(rows.T, curve[used] * np.sqrt(w), rcond=None)
    freedom = used.sum() - 3
    step = np.diag(DURATION / 60 / 2) + np.tril(np.tile(DURATION / 60, (MID.size, 1)), -1)
    mixed = ((np.eye(MID.size) - g[1] * step)[used]) * np.sqrt(w)[:, np.newaxis]
    solve = np.linalg.inv(rows @ rows.T) @ rows
    rest = (np.eye(used.sum()) - rows.T @ solve) @ mixed
    per_variance = squares[0] / np.trace(rest.T @ rest) / shortfall(freedom) ** 2
    covariance = solve @ mixed @ mixed.T @ solve.T * per_variance
    for name, value in {
        "DVR": lambda g: -g[0] / g[1],
        "R1": lambda g: g[2],
        "k2_reference": lambda g: g[0] / g[2],
        "k2a": lambda g: -g[1],
        "BP_ND": lambda g: -g[0] / g[1] - 1,
        "k2": lambda g: g[0],
    }.items():
        assert found.parameters[name] == pytest.approx(value(g), rel=1e-5), name
        steps = np.diag(1e-6 * np.abs(g))
        slope = [(value(g + one) - value(g - one)) / (2 * one.sum()) for one in steps]
        if name != "k2":
            error = np.sqrt(slope @ covariance @ slope)
            assert found.standard_errors[name] == pytest.approx(error, rel=1e-3), name
    assert found.rmse == pytest.approx(np.sqrt(squares[0] / used.sum()), rel=1e-3)


@pytest.mark.parametrize(("k1", "k2"), [(0.12, 0.04), (0.08, 0.06), (0.1, 0.02)])
def test_one_compartment_each_is_recovered(k1, k2):
    """DVR = (K1/k2)/(K1'/k2'), R1 = K1/K1', k2' = 0.1 per min."""
    found = kinetics.mrtm(tissue(k1, k2), REFERENCE, **GIVEN)
    assert found.parameters["DVR"] == pytest.approx(k1 / k2, rel=5e-3)
    assert found.parameters["R1"] == pytest.approx(k1 / 0.1, rel=0.02)
    assert found.parameters["k2_reference"] == pytest.approx(0.1, rel=0.02)
    assert found.parameters["k2"] == pytest.approx(k1, rel=0.02)
    assert found.parameters["k2a"] == pytest.approx(k2, rel=0.02)
    assert not found.flags


def test_with_the_clearance_that_it_finds_two_regressors_agree(rng):
    curve = tissue(0.12, 0.05) + rng.normal(0, 0.02, MID.size)
    three = kinetics.mrtm(curve, REFERENCE, **GIVEN)
    two = kinetics.mrtm2(
        curve, REFERENCE, **GIVEN, k2_reference_per_min=float(three.parameters["k2_reference"])
    )
    assert two.parameters["DVR"] == pytest.approx(three.parameters["DVR"], rel=1e-5)
    assert two.rmse == pytest.approx(three.rmse, rel=1e-4)


def test_voxels_that_fail_do_so_alone(rng):
    curves = tissue(0.12, 0.05) + rng.normal(0, 0.02, (600, MID.size))
    curves[3, 7], curves[5] = np.nan, 2 * REFERENCE
    curves[6] = -curves[6]
    mask = np.ones(600, bool)
    mask[8] = False
    found = kinetics.mrtm(curves, REFERENCE, **GIVEN, mask=mask)
    assert found.flags[[3, 5, 6, 8]].tolist() == [
        Flag.INVALID_INPUT.value,
        Flag.ILL_CONDITIONED.value,
        Flag.NEGATIVE_AMPLITUDE.value,
        Flag.MASKED_OUT.value,
    ]
    assert np.count_nonzero(found.flags) == 4
    assert np.count_nonzero(np.isnan(found.parameters["DVR"])) == 3
    one = kinetics.mrtm(curves.astype(np.float32), REFERENCE, **GIVEN, mask=mask, workers=1)
    two = kinetics.mrtm(curves.astype(np.float32), REFERENCE, **GIVEN, mask=mask)
    for name, values in one.parameters.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, two.parameters[name])
        np.testing.assert_allclose(values, found.parameters[name], rtol=2e-3)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="3 parameters"):
        kinetics.mrtm(REFERENCE, REFERENCE, **GIVEN, start_s=MID[-2])
    growing, whole = np.ones(MID.size), DURATION[0] / 2
    for i in range(1, MID.size):
        whole += growing[i - 1] * DURATION[i - 1] / 2
        growing[i] = whole / (600.0 - DURATION[i] / 2)
        whole += growing[i] * DURATION[i] / 2
    with pytest.raises(IllConditioned, match="own integral"):
        kinetics.mrtm(REFERENCE, growing, **GIVEN, start_s=MID[1])


def test_warmup_compiles_what_fits_use():
    dict(compile_all())["reference planes"]()
    before = len(kernels.reference_planes.signatures)
    for dtype in (np.float32, np.float64):
        kinetics.mrtm(tissue(0.12, 0.05).astype(dtype), REFERENCE, **GIVEN)
    assert len(kernels.reference_planes.signatures) == before
