"""The bounded least squares of materials against SciPy's nnls and minimisers, voxel by voxel."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize, nnls

from imgtheranostics.ct.decomposition import k_edge, three_materials
from imgtheranostics.ct.support_tables import SupportTables
from imgtheranostics.kernels import ct_decomposition, warmup
from imgtheranostics.volume import Flag


def decompose(samples, tables, design, noise, *, workers_parts=1, dtype=np.float64, **given):
    """The kernel on samples (n_energies, n_voxels), in so many parts."""
    samples = np.asarray(samples, dtype)
    n_energies, n = samples.shape
    k = tables.bounds.size
    nothing = np.empty((0, 0), dtype)
    values, errors = np.empty((k, n), dtype), np.empty((k, n), dtype)
    full = given.get("goodness", True)
    calibration, goodness = (np.empty((rows, n), dtype) if full else nothing for rows in (k, 2))
    flags = np.empty(n, np.uint16)
    spread = np.sqrt(tables.solver[:, :-1] ** 2 @ np.square(noise))
    chosen = given.get("chosen", np.ones(n, bool))
    limits = np.linspace(0, n, workers_parts + 1).astype(int)
    for first, last in pairwise(limits):
        planes = [
            read_only(np.ascontiguousarray(part[:, first:last])) if part.size else read_only(nothing)
            for part in (samples, given.get("background", nothing), given.get("spread", nothing))
        ]
        ct_decomposition.decompose_voxels(
            planes[0], given.get("levels", np.zeros(n_energies)), planes[1], planes[2],
            read_only(chosen.view(np.uint8)),
            given.get("ceiling", np.inf), tables.solver, tables.matrices, tables.bounds,
            np.ascontiguousarray(design), spread, given.get("shared", np.zeros((k, k))), int(first),
            int(first), int(last), values, errors, calibration, goodness, flags,
        )  # fmt: skip
    return values, errors, calibration, goodness, flags


def read_only(array):
    view = array.view()
    view.setflags(write=False)
    return view


@st.composite
def problems(draw):
    k = draw(st.integers(1, 6))
    n_energies = draw(st.integers(k, k + 3))
    design = draw(arrays(float, (n_energies, k), elements=st.floats(1, 60)))
    assume(np.linalg.cond(design / np.linalg.norm(design, axis=0)) < 300)
    noise = draw(arrays(float, n_energies, elements=st.floats(1, 30)))
    samples = draw(arrays(float, (n_energies, 7), elements=st.floats(-500, 500)))
    return design, noise, samples


@given(problems())
def test_bounded_solution_equals_scipy_nnls(problem):
    design, noise, samples = problem
    tables = SupportTables.of(design, noise**2, np.ones(design.shape[1], bool))
    values, *_, flags = decompose(samples, tables, design, noise)
    weighted = design / noise[:, None]
    for voxel, sample in enumerate(samples.T):
        expected, norm = nnls(weighted, sample / noise)
        mine = np.linalg.norm(weighted @ values[:, voxel] - sample / noise)
        # Both minimise the same; where two supports are equally good to rounding, so are their values
        assert mine <= norm * (1 + 1e-9) + 1e-9
        np.testing.assert_allclose(values[:, voxel], expected, atol=1e-6 * (1 + np.abs(expected).max()))
        assert (values[:, voxel] >= 0).all()
    unbounded = np.linalg.lstsq(weighted, samples / noise[:, None], rcond=None)[0]
    at_bound = (flags & Flag.AT_BOUND.value) != 0
    assert (at_bound == (unbounded < 0).any(axis=0))[np.abs(unbounded).min(axis=0) > 1e-6].all()


@given(problems(), st.integers(0, 5))
def test_one_material_without_a_bound_equals_a_split_nnls(problem, free):
    design, noise, samples = problem
    k = design.shape[1]
    assume(free < k)
    bounded = np.arange(k) != free
    tables = SupportTables.of(design, noise**2, bounded)
    values, *_ = decompose(samples, tables, design, noise)
    split = np.column_stack([design, -design[:, free]]) / noise[:, None]
    for voxel, sample in enumerate(samples.T):
        norm = nnls(split, sample / noise)[1]
        mine = np.linalg.norm(design @ values[:, voxel] / noise - sample / noise)
        assert mine <= norm * (1 + 1e-7) + 1e-7
        assert (values[bounded, voxel] >= 0).all()


@pytest.mark.parametrize("n_energies", [2, 4])
def test_shares_of_the_volume_equal_a_constrained_minimiser(rng, n_energies):
    design = rng.uniform(-100, 300, (n_energies, 3))
    noise = rng.uniform(5, 15, n_energies)
    tables = SupportTables.of(design, noise**2, np.ones(3, bool), shares=np.ones(3))
    samples = design @ rng.dirichlet(np.ones(3), 40).T + 60 * rng.standard_normal((n_energies, 40))
    values, *_, flags = decompose(samples, tables, design, noise)
    np.testing.assert_allclose(values.sum(axis=0), 1.0, atol=1e-12)
    assert (values >= 0).all()
    assert 5 < np.count_nonzero(flags & Flag.AT_BOUND.value) < 40
    for voxel, sample in enumerate(samples.T):

        def squares(f, sample=sample):
            return float(np.sum(((design @ f - sample) / noise) ** 2))

        best = minimize(
            squares, np.full(3, 1 / 3), method="SLSQP", bounds=[(0, 1)] * 3, options={"ftol": 1e-12},
            constraints={"type": "eq", "fun": lambda f: f.sum() - 1},
        )  # fmt: skip
        assert squares(values[:, voxel]) <= best.fun * (1 + 1e-6) + 1e-9


def test_residuals_errors_and_flags_equal_their_formulas(rng):
    design, noise = rng.uniform(5, 40, (5, 3)), rng.uniform(5, 15, 5)
    samples = rng.uniform(0, 300, (5, 600))
    samples[2, 10], samples[0, 11], samples[4, 12] = np.nan, np.inf, 3071.0
    chosen = np.ones(600, bool)
    chosen[300:580] = False
    level, behind = rng.uniform(0, 40, 5), rng.uniform(0, 40, (5, 600))
    spread = rng.uniform(5, 15, (5, 600))
    shared = rng.uniform(0, 0.1, (3, 3))
    tables = SupportTables.of(design, noise**2, np.zeros(3, bool))
    values, errors, calibration, goodness, flags = decompose(
        samples, tables, design, noise, chosen=chosen, levels=level, background=behind, spread=spread,
        shared=shared, ceiling=3071.0,
    )  # fmt: skip
    clean = samples - level[:, None] - behind
    weights = np.diag(1 / noise**2)
    solver = np.linalg.inv(design.T @ weights @ design) @ design.T @ weights
    good = np.isfinite(samples).all(axis=0) & chosen & ~(samples >= 3071).any(axis=0)
    np.testing.assert_allclose(values[:, good], (solver @ clean)[:, good], rtol=1e-9)
    np.testing.assert_allclose(errors[:, good], np.sqrt(solver**2 @ spread**2)[:, good], rtol=1e-9)
    np.testing.assert_allclose(calibration[:, good], np.sqrt(shared @ values**2)[:, good], rtol=1e-9)
    left = (clean - design @ values)[:, good]
    np.testing.assert_allclose(goodness[0, good], np.sqrt((left**2).mean(axis=0)), rtol=1e-9)
    around = ((clean[:, good] - clean[:, good].mean(axis=0)) ** 2).sum(axis=0)
    np.testing.assert_allclose(goodness[1, good], 1 - (left**2).sum(axis=0) / around, rtol=1e-9)
    for rows in (values, errors, calibration, goodness):
        assert np.isnan(rows[:, ~good]).all()
    assert flags[10] == flags[11] == Flag.INVALID_INPUT.value
    assert flags[12] == Flag.SATURATED.value | Flag.OUTSIDE_RANGE.value
    assert (flags[300:580] == Flag.MASKED_OUT.value).all()
    assert (flags[good] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_do_not_depend_on_the_parts(rng, dtype):
    design, noise = rng.uniform(5, 40, (4, 3)), np.full(4, 10.0)
    samples = rng.uniform(-50, 300, (4, 5003))
    tables = SupportTables.of(design, noise**2, np.ones(3, bool))
    chosen = rng.random(5003) < 0.8
    results = [
        decompose(samples, tables, design, noise, dtype=dtype, chosen=chosen, workers_parts=parts)
        for parts in (1, 7, 100)
    ]
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert one.tobytes() == same.tobytes()


@pytest.mark.parametrize("bounded", [False, True])
def test_two_of_two_energies_take_a_shorter_way_to_the_same_numbers(rng, bounded):
    """Residuals lead through the general way."""
    given = {"I": (43.8, 23.8), "Hf": (26.7, 24.7)}
    hu = rng.uniform(-40, 300, (3001, 2))
    hu[7, 0], hu[1200, 1], hu[2000, 0], hu[2001, 1] = np.nan, np.inf, 3071.0, 4000.0
    design = np.array(list(given.values())).T
    tables = SupportTables.of(design, np.full(2, 100.0), np.full(2, bounded))
    options = {"levels": np.array([40.0, 30.0]), "ceiling": 3071.0}
    ways = [
        decompose(hu.T, tables, design, np.full(2, 10.0), goodness=goodness, **options)
        for goodness in (True, False)
    ]
    for general, short in zip(ways[0], ways[1], strict=True):
        if short.size:
            np.testing.assert_allclose(short, general, rtol=1e-12, atol=1e-12)
    assert np.flatnonzero(ways[1][-1] & ~np.uint16(8)).tolist() == [7, 1200, 2000, 2001]
    assert ((ways[1][-1] & 8) != 0).any() == bounded


def test_more_than_six_bounds_and_equal_columns_are_refused(rng):
    with pytest.raises(ValueError, match="at most 6"):
        SupportTables.of(rng.uniform(1, 9, (9, 7)), np.ones(9), np.ones(7, bool))
    with pytest.raises(ValueError, match="not determined"):
        SupportTables.of(np.ones((3, 2)), np.ones(3), np.ones(2, bool))


def test_decompositions_meet_what_the_warm_up_compiled(rng):
    dict(warmup.compile_all())["materials on CT"]()
    compiled = list(ct_decomposition.decompose_voxels.signatures)
    slopes = {"I": (40.0, 24.0, 10.0), "Hf": (20.0, 40.0, 22.0)}
    errors = dict.fromkeys(slopes, (1.0, 1.0, 1.0))
    for dtype in (np.float32, np.float64):
        images = np.asfortranarray(rng.uniform(0, 200, (3, 4, 5, 3)).astype(dtype))
        images.setflags(write=False)
        for hu in (images, images[0], images[0, 0, 0]):
            k_edge(hu, slopes, noise_sd=hu, background=hu, slope_errors=errors, mask=np.ones(hu.shape[:-1]))
            k_edge(hu, slopes, background="flat", noise_sd=5.0)
            three_materials(hu, {"water": (0, 0, 0), "fat": (-120, -100, -90), "I": (1e5, 6e4, 3e4)})
    assert list(ct_decomposition.decompose_voxels.signatures) == compiled
