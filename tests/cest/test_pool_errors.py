"""Standard errors of pool fits are the scatter of repeats."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.cest import pools

OFFSETS = np.concatenate([[-20.0, -12.0, -8.0], np.linspace(-6, 6, 45), [8.0, 12.0, 20.0]])
REPEATS = 2000


def repeated(given, offsets, noise):
    z = pools.evaluate(given, offsets).total
    return z + np.random.default_rng(11).normal(0, noise, (REPEATS, offsets.size))


def check(found, names, share=0.1):
    for name in names:
        value, error = found.parameters[name], found.standard_errors[name]
        assert np.isfinite(value).all()
        assert np.nanmean(error) == pytest.approx(value.std(ddof=1), rel=share), name


def test_errors_of_three_pools_are_their_scatter():
    given = {"baseline": 0.98, "water_amplitude": 0.75, "water_width_ppm": 1.6, "water_centre_ppm": 0.1}
    given |= {"amide_amplitude": 0.08, "amide_width_ppm": 1.2, "amide_centre_ppm": 3.5}
    given |= {"noe_amplitude": 0.1, "noe_width_ppm": 2.5, "noe_centre_ppm": -3.3}
    three = [
        pools.Pool(n, (0.1, 0.0, 1.0), (w, w / 3, 3 * w), (c, c - 1, c + 1))
        for n, w, c in (("water", 1.4, 0.0), ("amide", 1.0, 3.5), ("noe", 3.0, -3.5))
    ]
    found = pools.fit(repeated(given, OFFSETS, 2e-3), OFFSETS, three, baseline=(1, 0.5, 1.1))
    assert (found.flags == 0).all()
    check(found, given)


def test_errors_with_few_degrees_of_freedom_are_the_scatter_too():
    """Seven offsets for one line and the baseline: the residual's deviation alone is 8 % too small."""
    offsets = np.array([-3.0, -1.5, -0.5, 0.2, 0.6, 1.4, 3.0])
    given = {"baseline": 1.0, "water_amplitude": 0.7, "water_width_ppm": 1.5, "water_centre_ppm": 0.1}
    one = [pools.Pool("water", (0.9, 0.0, 1.5), (1.4, 0.3, 10.0), (0.0, -1.0, 1.0))]
    found = pools.fit(repeated(given, offsets, 5e-3), offsets, one, baseline=(1, 0.5, 1.5))
    check(found, given)


def test_errors_of_the_amide_among_five_pools_are_its_scatter():
    given = {"baseline": 1.0, "water_amplitude": 0.7, "water_width_ppm": 1.8, "water_centre_ppm": 0.05}
    given |= {"amide_amplitude": 0.08, "amide_width_ppm": 1.2, "amide_centre_ppm": 3.5}
    given |= {"noe_amplitude": 0.1, "noe_width_ppm": 2.8, "noe_centre_ppm": -3.3}
    given |= {"mt_amplitude": 0.1, "mt_width_ppm": 40.0, "mt_centre_ppm": -2.0}
    given |= {"amine_amplitude": 0.06, "amine_width_ppm": 1.2, "amine_centre_ppm": 1.8}
    found = pools.fit(repeated(given, OFFSETS, 1e-3), OFFSETS, pools.preset("7t_5pool"))
    assert (found.flags == 0).mean() > 0.99
    check(found, [f"amide_{end}" for end in ("amplitude", "width_ppm", "centre_ppm")])
    check(found, ["water_amplitude", "noe_amplitude", "amine_amplitude"])


def test_errors_of_a_shared_shift_are_its_scatter():
    given = {"baseline": 1.0, "water_amplitude": 0.7, "water_width_ppm": 2.0, "water_centre_ppm": 0.2}
    given |= {"amide_amplitude": 0.1, "amide_width_ppm": 1.5, "amide_centre_ppm": 3.5, "shift_ppm": 0.2}
    two = [
        pools.Pool("water", (0.9, 0.0, 1.0), (1.4, 0.3, 10.0), (0.0, -1.0, 1.0)),
        pools.Pool("amide", (0.1, 0.0, 1.0), (1.4, 0.3, 10.0), (3.5, 3.0, 4.0)),
    ]
    found = pools.fit(repeated(given, OFFSETS, 2e-3), OFFSETS, two, shared_shift=True)
    check(found, ["shift_ppm", "amide_centre_ppm", "amide_amplitude"])
