"""Fits of pools in lanes: lines and slopes against quadrature and differences, minima against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import least_squares, nnls

from imgtheranostics.cest.pool_block import Setting, run_kernel
from imgtheranostics.cest.pool_design import Design, Pool
from imgtheranostics.cest.pool_restarts import restart_weak_lines
from imgtheranostics.kernels import pool_fit, pool_lines, pool_scan
from imgtheranostics.kernels.lane_vector import LANES

OFFSETS = np.concatenate([[-20.0, -12.0, -8.0], np.linspace(-6, 6, 41), [8.0, 12.0, 20.0]])
FIVE = (
    Pool("water", (0.9, 0.02, 1.0), (1.4, 0.3, 10.0), (0.0, -1.0, 1.0)),
    Pool("amide", (0.025, 0.0, 0.2), (0.5, 0.4, 4.0), (3.5, 3.0, 4.0)),
    Pool("noe", (0.02, 0.0, 0.4), (5.0, 1.0, 5.0), (-3.5, -4.5, -2.0)),
    Pool("mt", (0.1, 0.0, 1.0), (25.0, 10.0, 100.0), (-2.0, -4.0, 4.0)),
    Pool("amine", (0.01, 0.0, 0.2), (1.0, 0.4, 2.5), (2.2, 1.0, 2.5)),
)
TABLE = pool_lines.super_lorentzian_table()


def setting(design, offsets=OFFSETS, tolerance=1e-10, max_iterations=300):
    starts = design.start[np.newaxis]
    return Setting(design, offsets, np.arange(offsets.size), starts, max_iterations, tolerance, workers=None)


def fitted(design, curves, offsets=OFFSETS, **options):
    curves = np.ascontiguousarray(np.atleast_2d(curves))
    return run_kernel(setting(design, offsets, **options), curves)


def spectrum(design, parameters, offsets=OFFSETS):
    """The model in plain NumPy, Lorentzians only."""
    k = design.n_pools
    z = np.full(offsets.size, parameters[0])
    shift = parameters[2 + k + 2 * design.water] if design.shared else 0.0
    for pool in range(k):
        width, centre = parameters[1 + k + 2 * pool], parameters[2 + k + 2 * pool]
        centre = centre + (shift if design.shared and pool != design.water else 0.0)
        away = offsets - centre
        away = away - np.clip(away, -design.half_plateau_ppm, design.half_plateau_ppm)
        z = z - parameters[1 + pool] * (width / 2) ** 2 / ((width / 2) ** 2 + away**2)
    return z


def brain(rng, m):
    """Parameters as in brain at 7 T, in the order of the design of FIVE."""
    ranges = [(0.98, 1.02), (0.6, 0.85), (0.02, 0.08), (0.03, 0.1), (0.05, 0.15), (0.01, 0.05)]
    ranges += [(1.2, 2.5), (-0.3, 0.3), (0.8, 2.5), (3.3, 3.7), (2, 4.5), (-3.8, -3.0)]
    ranges += [(20, 60), (-3, -1), (0.8, 2.0), (1.8, 2.2)]
    return np.array([rng.uniform(*r, m) for r in ranges]).T


def test_super_lorentzian_is_its_integral():
    """Against adaptive quadrature on both sides of the magic angle."""

    def integrand(m, u):
        gap = abs(3 * m * m - 1)
        return np.sqrt(2 / np.pi) / gap * np.exp(-2 * (u / gap) ** 2) if gap > 0 else 0.0

    magic = 1 / np.sqrt(3)
    places = np.linspace(pool_lines.FIRST_KNOT, pool_lines.LAST_KNOT, pool_lines.N_KNOTS)
    for knot in (300, 600, 800, 900):
        u = np.exp(places[knot])
        expected = quad(integrand, 0, magic, args=(u,), limit=200)[0]
        expected += quad(integrand, magic, 1, args=(u,), limit=200)[0]
        assert TABLE[0, knot] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(np.gradient(TABLE[0], places)[100:740], TABLE[1, 100:740], rtol=2e-3)


def test_super_lorentzian_has_no_pole_and_no_step():
    """The line is 1 at the centre, continuous with its slope where the parabola ends, and falls outwards."""
    far, out = np.linspace(-30, 30, 6001), np.empty(6001)
    pool_lines.super_lorentzian_line(far, np.full(6001, 15.0), TABLE, out)
    assert out[3000] == pytest.approx(1.0)
    slopes = np.diff(out)
    assert (slopes[:3000] > 0).all()
    assert (slopes[3000:] < 0).all()
    assert np.abs(np.diff(slopes)).max() < 1e-4
    np.testing.assert_allclose(out, out[::-1], rtol=1e-12)


@pytest.mark.parametrize("shape", ["lorentzian", "super_lorentzian"])
@pytest.mark.parametrize("plateau", [0.0, 0.4])
def test_slopes_of_lines_are_their_differences(shape, plateau):
    width, centre, change = 12.0, -1.333, 1e-6
    design = Design.of(
        [Pool("mt", (0.3, 0, 1), (width, 5, 100), (centre, -5, 5), shape)],
        (1, 1, 1),
        bandwidth_ppm=2 * plateau,
    )

    def rows(width, centre):
        values = np.repeat([1.0, 0.3, width, centre], LANES)
        basis = np.zeros(4 * OFFSETS.size * LANES)
        pool_lines.pool_rows(
            OFFSETS,
            values,
            design.shapes,
            -1,
            False,
            plateau,
            TABLE,
            design.row_of,
            basis,
            np.zeros(LANES),
        )
        return basis.reshape(4, OFFSETS.size, LANES)[:, :, 3]

    at = rows(width, centre)
    along_width = (rows(width + change, centre)[1] - rows(width - change, centre)[1]) / (2 * change)
    along_centre = (rows(width, centre + change)[1] - rows(width, centre - change)[1]) / (2 * change)
    np.testing.assert_allclose(at[2], width / 2 * along_width, atol=2e-8)
    np.testing.assert_allclose(at[3], width / 4 * along_centre, atol=2e-8)


def test_reaches_the_minimum_of_scipy_at_the_truth():
    """40 noisy spectra; SciPy starts from the truth, so that it is at its best."""
    rng, design = np.random.default_rng(3), Design.of(FIVE, (1, 0.5, 1.1))
    truths = brain(rng, 40)
    curves = np.array([spectrum(design, t) for t in truths]) + rng.normal(0, 1e-3, (40, OFFSETS.size))
    found = fitted(design, curves)
    assert (found.state == pool_fit.CONVERGED).all()
    for truth, curve, ours in zip(truths, curves, found.sums[:, 0], strict=True):
        theirs = least_squares(
            lambda p, curve=curve: spectrum(design, p) - curve,
            truth,
            bounds=(design.lower, design.upper),
            x_scale=np.abs(truth) + 0.01,
            ftol=1e-12,
            xtol=1e-12,
            gtol=1e-12,
            max_nfev=500,
        )
        assert ours <= 2 * theirs.cost * (1 + 1e-4)


@given(
    st.integers(0, 1000),
    st.integers(1, 7),
    st.booleans(),
    st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=25)
def test_returns_the_parameters_of_noise_free_spectra(seed, k, shared, bandwidth):
    """One to seven pools 3 ppm apart, widths of 0.8 to 1.6 ppm, baseline free: up to 22 parameters."""
    rng = np.random.default_rng(seed)
    centres = 3.0 * (np.arange(k) - k // 2)
    names = ["water" if place == 0 else f"pool{n}" for n, place in enumerate(centres)]
    pools = [
        Pool(name, (0.3, 0.0, 1.0), (1.2, 0.4, 4.0), (place, place - 0.6, place + 0.6))
        for name, place in zip(names, centres, strict=True)
    ]
    design = Design.of(pools, (1, 0.5, 1.5), shared_shift=shared, bandwidth_ppm=bandwidth)
    truth = design.start.copy()
    truth[0], truth[1 : 1 + k] = 0.97, rng.uniform(0.1, 0.8, k)
    truth[1 + k :: 2], truth[2 + k :: 2] = rng.uniform(0.8, 1.6, k), centres + rng.uniform(-0.25, 0.25, k)
    offsets = np.linspace(-14, 14, 141)
    found = fitted(design, spectrum(design, truth, offsets), offsets)
    assert found.state[0] == pool_fit.CONVERGED
    np.testing.assert_allclose(found.values[0], truth, atol=1e-6)


def test_a_voxel_does_not_see_its_neighbours():
    """The same bytes alone, among others in another order, and on any number of threads."""
    rng, design = np.random.default_rng(4), Design.of(FIVE, (1, 0.5, 1.1))
    curves = np.array([spectrum(design, t) for t in brain(rng, 1100)])
    curves += rng.normal(0, 3e-3, curves.shape)
    together, order = fitted(design, curves), rng.permutation(1100)
    shuffled = fitted(design, curves[order])
    for name in ("values", "variances", "sums", "conditions", "iterations", "state"):
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(together, name)[order])
    alone = fitted(design, curves[77])
    np.testing.assert_array_equal(alone.values[0], together.values[77])


def test_variances_are_those_of_the_inverse_normal_matrix():
    """Against NumPy with a Jacobian by differences."""
    rng, design = np.random.default_rng(5), Design.of(FIVE, (1, 0.5, 1.1))
    truth = brain(rng, 1)[0]
    found = fitted(design, spectrum(design, truth) + rng.normal(0, 1e-4, OFFSETS.size))
    at = found.values[0]
    steps = 1e-5 * np.maximum(np.abs(at), 0.1)
    jacobian = np.array(
        [
            (spectrum(design, at + step) - spectrum(design, at - step)) / (2 * step.sum())
            for step in np.diag(steps)
        ]
    )
    expected = np.linalg.inv(jacobian @ jacobian.T).diagonal()
    np.testing.assert_allclose(found.variances[0], expected, rtol=1e-4)
    lines = np.array(
        [(w / 2) ** 2 / ((w / 2) ** 2 + (OFFSETS - c) ** 2) for w, c in zip(at[6::2], at[7::2], strict=True)]
    )
    sizes = np.linalg.svd(lines / np.linalg.norm(lines, axis=1, keepdims=True), compute_uv=False)
    assert found.conditions[0] == pytest.approx(sizes[0] / sizes[-1], rel=1e-6)


def test_stops_where_it_cannot_undercut_its_goal():
    design = Design.of(FIVE, (1, 1, 1))
    curve = np.ascontiguousarray(spectrum(design, brain(np.random.default_rng(6), 1)[0])[np.newaxis])
    curve += np.random.default_rng(7).normal(0, 2e-3, curve.shape)
    free = run_kernel(setting(design), curve)
    held = run_kernel(setting(design), curve, goals=0.5 * free.sums[:, 0])
    assert free.state[0] == pool_fit.CONVERGED
    assert not held.state[0] & pool_fit.CONVERGED
    assert held.iterations[0] < free.iterations[0]


def test_the_warm_up_compiles_what_fits_call():
    from imgtheranostics.kernels import warmup

    dict(warmup.compile_all())["pools of Z-spectra"]()
    before, scans = list(pool_fit.fit_pools.signatures), list(pool_scan.scan_pairs.signatures)
    for shared in (False, True):
        design = Design.of(FIVE, (1, 1, 1), shared_shift=shared)
        fitted(design, np.full(OFFSETS.size, 0.9))
        curves = np.full((1, OFFSETS.size), 0.9)
        once = setting(design)
        restart_weak_lines(once, curves, run_kernel(once, curves))
    assert list(pool_fit.fit_pools.signatures) == before
    assert list(pool_scan.scan_pairs.signatures) == scans
    assert len(before) == len(scans) == 1


def test_places_of_two_lines_are_the_best_of_their_grid():
    """Two lines alone: the depths at each pair of places are those of SciPy's non-negative least squares."""
    rng = np.random.default_rng(9)
    two = (
        Pool("a", (0.1, 0, 9), (1.0, 0.4, 4.0), (3, 2, 4)),
        Pool("b", (0.1, 0, 9), (1.0, 0.4, 2.5), (1, 0, 2)),
    )
    design = Design.of(two, (1, 1, 1))
    curve = spectrum(design, np.array([1, 0.05, 0.04, 3.0, 3.2, 0.5, 1.4])) + rng.normal(
        0, 0.01, OFFSETS.size
    )
    grids = []
    for (_, *width), (_, *centre) in ((p.width_ppm, p.centre_ppm) for p in two):
        widths, centres = np.geomspace(*width, pool_scan.WIDTHS), np.linspace(*centre, pool_scan.CENTRES)
        grids.append([(w, c) for w in widths for c in centres])
    squares = {}
    for one in grids[0]:
        for other in grids[1]:
            lines = np.array([1 / (1 + (2 * (OFFSETS - c) / w) ** 2) for w, c in (one, other)]).T
            depths, left = nnls(lines, 1 - curve)
            if (depths > 0).all():
                squares[(*one, *other)] = left**2
    places, promised = np.zeros((1, 4, 4)), np.zeros((1, 4))
    # a line at its bound: the place where the lines are counts as well
    here, limit = np.array([[1, 0.0, 0.04, 4.0, 4.0, 0.4, 2.0]]), np.array([np.inf])
    pool_scan.scan_pairs(
        *(0, 1, curve[np.newaxis], OFFSETS, 0, 1, design.shapes, design.water, False, 0.0, TABLE),
        *(design.lower, design.upper, here, limit, places, promised),
    )
    best = min(squares, key=squares.__getitem__)
    assert promised[0, 0] == pytest.approx(squares[best], rel=1e-9)
    np.testing.assert_allclose(places[0, 0], best)
    assert (np.diff(promised[0]) >= 0).all()
