"""Weak lines in noise: the lowest minimum, the same with neighbours, and errors beside lines at bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from imgtheranostics.cest import pools
from imgtheranostics.volume import Flag

OFFSETS = np.concatenate([np.arange(-10, -5, 1.0), np.arange(-5, 5.01, 0.25), np.arange(6, 11.0, 1)])
FIVE = pools.preset("7t_5pool")
BRAIN = np.array([0.8, 1.6, 0, 0.05, 1.2, 3.5, 0.06, 3.2, -3.4, 0.12, 30, -2, 0.03, 1.2, 2.0])


def bounds(preset):
    """Starts within bounds, and bounds, as depth, width and centre of each pool."""
    three = np.array([values for pool in preset for values in pool.ranges.values()])
    return np.clip(three[:, 0], three[:, 1], three[:, 2]), three[:, 1], three[:, 2]


def model(x):
    """Z of depth, width and centre of each pool."""
    a, g, c = (x[i::3, np.newaxis] for i in range(3))
    return 1 - (a / (1 + (2 * (OFFSETS - c) / g) ** 2)).sum(axis=0)


def jacobian(x):
    a, g, c = (x[i::3, np.newaxis] for i in range(3))
    u = 2 * (OFFSETS - c) / g
    s = 1 / (1 + u * u)
    columns = np.stack([-s, -2 * a / g * u * u * s * s, -4 * a / g * u * s * s], axis=1)
    return columns.reshape(-1, OFFSETS.size).T


def around(rng, m, sd):
    """Noisy spectra of parameters that differ by 10 %."""
    _, low, high = bounds(FIVE)
    truths = BRAIN * (1 + rng.normal(0, 0.1, (m, BRAIN.size)))
    truths[:, 2] = rng.uniform(-0.3, 0.3, m)
    truths = np.clip(truths, low + 0.02 * (high - low), high - 0.02 * (high - low))
    return np.array([model(truth) for truth in truths]) + rng.normal(0, sd, (m, OFFSETS.size))


@pytest.mark.parametrize("sd", [0.005, 0.02])
def test_no_minimum_of_scipy_is_lower(sd):
    """SciPy with the same start, bounds and an analytic Jacobian, on 100 spectra."""
    z = around(np.random.default_rng(5), 100, sd)
    start, low, high = bounds(FIVE)
    found = pools.fit(z, OFFSETS, FIVE)
    theirs = [
        least_squares(
            lambda x, curve=curve: model(x) - curve,
            start,
            jacobian,
            (low, high),
            x_scale=high - low,
            max_nfev=1000,
        ).cost
        for curve in z
    ]
    ratio = found.rmse**2 * OFFSETS.size / 2 / theirs
    assert ratio.max() <= 1.01
    assert np.median(ratio) <= 1.0005


def test_neighbours_do_not_change_fits_with_more_lines_than_there_are():
    """Water and amide fitted with five pools: starts from neighbours leave as little as the set's own."""
    truth = np.array([0.8, 1.5, 0, 0.05, 1.2, 3.5])
    z = model(truth) + np.random.default_rng(1).normal(0, 0.003, (16, 16, OFFSETS.size))
    alone, near = (pools.fit(z, OFFSETS, FIVE, neighbours=n) for n in (False, True))
    np.testing.assert_allclose(near.rmse**2, alone.rmse**2, rtol=2e-3)
    for pool in FIVE:
        name = f"{pool.name}_amplitude"
        assert np.abs(near.parameters[name] - alone.parameters[name]).max() < 1e-3


def test_errors_beside_a_parameter_at_its_bound_cover_the_scatter():
    """A free baseline and a broad line to +-10 ppm: not told apart where one of the two is at a bound."""
    four = pools.preset("3t_4pool")
    truth = np.array([0.75, 2.0, 0.1, 0.06, 3, 3.5, 0.08, 5, -3.5, 0.1, 60, -2.5])
    z = model(truth) - 0.1 + np.random.default_rng(2).normal(0, 0.003, (1000, OFFSETS.size))
    found = pools.fit(z, OFFSETS, four, baseline=four.baseline)
    confined = (found.flags & Flag.AT_BOUND) > 0
    assert 0.3 < confined.mean() < 0.95
    for name in ("baseline", "water_amplitude", "mt_amplitude", "mt_width_ppm", "amide_width_ppm"):
        value, error = found.parameters[name], found.standard_errors[name]
        scatter = np.subtract(*np.percentile(value, [84.13, 15.87])) / 2
        assert np.nanmedian(error) >= 0.9 * scatter, name
    for name in ("baseline", "mt_amplitude", "mt_width_ppm"):
        assert np.isnan(found.standard_errors[name][confined]).mean() > 0.95
    unknown = np.isnan(found.standard_errors["baseline"]) & (found.parameters["baseline"] < 1)
    assert ((found.flags[unknown] & Flag.ILL_CONDITIONED) > 0).all()
    assert not (found.flags[~confined] & Flag.ILL_CONDITIONED).any()
