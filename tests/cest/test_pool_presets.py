"""Published sets of pools: what is published, and pools that cannot be."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from imgtheranostics.cest import pools
from imgtheranostics.errors import ImplausibleValue


def ranges(name):
    return {pool.name: (pool.amplitude, pool.width_ppm, pool.centre_ppm) for pool in pools.preset(name)}


def test_sets_are_those_of_the_sheet():
    """Section 4.2 of the CEST sheet, row by row."""
    seven = ranges("7t_5pool")
    assert seven["water"] == ((0.9, 0.02, 1), (1.4, 0.3, 10), (0, -1, 1))
    assert seven["amide"] == ((0.025, 0, 0.2), (0.5, 0.4, 4), (3.5, 3, 4))
    assert seven["noe"] == ((0.02, 0, 0.4), (7, 1, 5), (-3.5, -4.5, -2))
    assert seven["mt"] == ((0.1, 0, 1), (25, 10, 100), (-2, -4, 4))
    assert seven["amine"] == ((0.01, 0, 0.2), (1, 0.4, 2.5), (2.2, 1, 2.5))
    batch = ranges("7t_5pool_batch")
    assert batch["amide"][1][1:] == (0.4, 3)
    assert batch["mt"][2][1:] == (-4, -1)
    assert batch["amine"][1][1:] == (1, 3.5)
    mplf = ranges("3t_mplf")
    assert mplf["water"] == ((0.9, 0.4, 1), (2.3, 1, 6), (0, -2, 2))
    assert mplf["mt"] == ((0.1, 0.001, 0.35), (60, 30, 150), (-2.5, -2.5, -2.5))
    assert mplf["guanidine"] == ((0, 0, 0.25), (2, 0, 12.5), (2, 2, 2))
    library = ranges("3t_4pool")
    assert list(library) == ["water", "amide", "noe", "mt"]
    assert library["noe"] == ((0.1, 0, 0.2), (4, 2, 12.5), (-3.5, -3.5, -3.5))
    assert pools.preset("3t_4pool").baseline[1:] == (0.5, 1)
    assert ranges("3t_two_stage_background")["mt"] == ((0.15, 0, 0.5), (40, 30, 60), (-1, -2.5, 0))
    assert ranges("3t_two_stage_difference")["amine"][2][1:] == (1.8, 2.2)
    assert [pool[2][0] for pool in ranges("3t_prostate").values()] == [0, 3.5, -3.5, 0, 1.9, 1.6]
    iopamidol = ranges("iopamidol_4pool")
    assert [pool[0][0] for pool in iopamidol.values()] == [0.9, 0.7, 0.5, 0.5]
    assert [pool[2] for pool in iopamidol.values()][1:] == [(1, 0.5, 2), (4.2, 3.2, 5.2), (5.6, 5.1, 6.1)]


@pytest.mark.parametrize("name", pools.preset_names())
def test_every_set_says_where_it_is_from_and_can_be_fitted(name, rng):
    made = pools.preset(name)
    assert made.record.source
    assert made.record.provenance == "published"
    assert made.name == name
    assert isinstance(made, tuple)
    offsets = np.concatenate([np.linspace(-7, 7, 57), [-40, -20, -10, 10, 20, 40]])
    assert pools.identifiable(offsets, made)
    given = {"baseline": made.baseline[0]}
    for pool in made:
        for end, (start, low, high) in pool.ranges.items():
            given[f"{pool.name}_{end}"] = min(max(start, low + 0.3 * (high - low)), high)
    z = pools.evaluate(given, offsets).total
    found = pools.fit(z, offsets, made, baseline=made.baseline)
    np.testing.assert_allclose(pools.evaluate(found, offsets).total, z, atol=2e-4)


def test_six_to_eight_pools_add_the_published_positions():
    assert [len(pools.preset(f"7t_{n}pool")) for n in (5, 6, 7, 8)] == [5, 6, 7, 8]
    eight = ranges("7t_8pool")
    assert eight["noe2"][2][0] == -1.6
    assert eight["amine"][2][1:] == (2.7, 3)
    assert eight["hydroxyl"][2][1:] == (0.9, 1.3)


def test_a_start_outside_its_bounds_is_told_and_moved(rng):
    made = pools.preset("7t_5pool")
    assert [caution.code for caution in made.cautions] == ["start-clamped"]
    assert "noe_width_ppm" in made.cautions[0].message
    z = 1 - 0.8 / (1 + np.linspace(-6, 6, 51) ** 2)
    moved = [pool.with_(width_ppm=(5, 1, 5)) if pool.name == "noe" else pool for pool in made]
    first, second = (pools.fit(z, np.linspace(-6, 6, 51), given) for given in (made, moved))
    assert first.parameters["noe_amplitude"] == second.parameters["noe_amplitude"]
    assert pools.start_cautions(moved) == ()
    assert pools.start_cautions(moved, (1.5, 0.5, 1.0))[0].where == "baseline"


def test_no_set_is_offered_for_higher_fields_but_by_the_unconfirmed_rule():
    """The width of water scales as 1/field; nothing public is known at 11.7 T."""
    assert not [name for name in pools.preset_names() if name.startswith(("9", "11"))]
    scaled = pools.scaled_to_field(pools.preset("3t_mplf"), 11.7)
    assert scaled[0].width_ppm == pytest.approx((2.3 * 3 / 11.7, 3 / 11.7, 6 * 3 / 11.7))
    assert scaled[1:] == pools.preset("3t_mplf")[1:]
    assert scaled.record.provenance == "unconfirmed"
    assert [caution.code for caution in scaled.cautions] == ["unconfirmed-pool-widths"]
    with pytest.raises(ValueError, match="known field"):
        pools.scaled_to_field(pools.preset("iopamidol_4pool"), 9.4)
    with pytest.raises(ImplausibleValue):
        pools.scaled_to_field(pools.preset("3t_mplf"), 400.0)


def test_sets_are_copied_with_their_source():
    made = pools.scaled_to_field(pools.preset("7t_5pool"), 9.4)
    for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):  # noqa: S301
        assert other == made
        assert other.record == made.record
        assert other.cautions == made.cautions


def test_an_unknown_set_is_refused_with_the_names_that_there_are():
    with pytest.raises(ValueError, match="7t_5pool"):
        pools.preset("11.7t")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "part of a parameter's name"),
        ({"name": "amide 3.5"}, "part of a parameter's name"),
        ({"amplitude": (0.1, 0.2)}, "amplitude must be"),
        ({"amplitude": 0.1}, "amplitude must be"),
        ({"width_ppm": (1, 3, 2)}, "low <= high"),
        ({"width_ppm": (1, -1, 2)}, "above zero"),
        ({"width_ppm": (0, 0, 0)}, "above zero"),
        ({"centre_ppm": (np.nan, 0, 1)}, "finite"),
        ({"line_shape": "gaussian"}, "unknown line shape"),
        ({"line_shape": "super_lorentzian"}, "at least 2 ppm"),
    ],
)
def test_pools_that_cannot_be_are_refused(change, message):
    given = {"name": "a", "amplitude": (0.1, 0, 1), "width_ppm": (1, 0.5, 2), "centre_ppm": (2, 1, 3)}
    with pytest.raises(ValueError, match=message):
        pools.Pool(**given | change)


def test_a_centre_in_hz_is_refused():
    with pytest.raises(ImplausibleValue, match="not one in ppm"):
        pools.Pool("amide", (0.1, 0, 1), (1, 0.5, 2), (1050, 1000, 1100))
