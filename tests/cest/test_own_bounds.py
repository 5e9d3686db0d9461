"""A parameter is at a bound when it is itself, not when another one of the same fit is."""

from __future__ import annotations

import numpy as np

from imgtheranostics.cest.own_bounds import own_flags
from imgtheranostics.fit import Fit
from imgtheranostics.volume import Flag


def test_only_the_parameter_without_a_standard_error_is_at_its_bound():
    """Voxels: depth inside and width at its bound, both at their bounds, both inside, and a failed fit."""
    nan = np.nan
    both = np.uint16(Flag.AT_BOUND | Flag.ILL_CONDITIONED)
    flags = np.array([both, Flag.AT_BOUND, 0, Flag.AT_BOUND | Flag.NOT_CONVERGED], np.uint16)
    fit = Fit(
        {"depth": np.array([1.0, 0.0, 2.0, nan]), "width": np.array([4.0, 4.0, 1.0, nan])},
        {"depth": np.array([0.1, nan, 0.1, nan]), "width": np.array([nan, nan, 0.2, nan])},
        np.ones(4),
        np.ones(4),
        np.ones(4, np.int16),
        flags,
    )
    assert own_flags(fit, "depth").tolist() == [Flag.ILL_CONDITIONED, Flag.AT_BOUND, 0, flags[3]]
    assert own_flags(fit, "width").tolist() == flags.tolist()


def test_a_value_between_its_bounds_is_at_none_though_it_has_no_standard_error():
    """Another parameter at its bound can take the standard error away: the value tells."""
    flags = np.full(3, Flag.AT_BOUND | Flag.ILL_CONDITIONED, np.uint16)
    value = np.array([0.5, 0.3, 0.0], np.float32)
    fit = Fit(
        {"depth": value}, {"depth": np.full(3, np.nan)}, np.ones(3), np.ones(3), np.ones(3, np.int16), flags
    )
    assert own_flags(fit, "depth", (0.0, 0.3)).tolist() == [
        int(Flag.AT_BOUND | Flag.ILL_CONDITIONED),
        int(Flag.AT_BOUND | Flag.ILL_CONDITIONED),
        int(Flag.AT_BOUND | Flag.ILL_CONDITIONED),
    ]
    assert own_flags(fit, "depth", (0.0, 1.0)).tolist() == [
        int(Flag.ILL_CONDITIONED),
        int(Flag.ILL_CONDITIONED),
        int(Flag.AT_BOUND | Flag.ILL_CONDITIONED),
    ]
