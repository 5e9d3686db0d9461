"""Dose-volume measures of known distributions, and the table of regions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, NothingUsable, UnitMismatch
from imgtheranostics.nuclear.dose_volume import (
    dose_at_volume,
    dose_table,
    dose_volume_histogram,
    geud,
    volume_at_dose,
)
from imgtheranostics.volume import Estimate, Grid, Volume


def test_a_uniform_distribution_of_doses():
    """0 to 100 Gy evenly: D98 is 2 Gy, D50 50 Gy, D2 98 Gy, V30 70 %; its mean square root is 57.7 Gy."""
    doses = np.linspace(0, 100, 100_001)
    np.testing.assert_allclose(dose_at_volume(doses, [98, 50, 2]), [2, 50, 98], rtol=1e-9)
    assert float(volume_at_dose(doses, 30.0)) == pytest.approx(70, abs=2e-3)
    assert geud(doses, 1) == pytest.approx(50)
    assert geud(doses, 2) == pytest.approx(100 / math.sqrt(3), rel=1e-4)
    assert geud(doses, math.inf) == 100
    assert geud(doses, -5) == 0


def test_large_exponents_do_not_overflow():
    assert geud([1.0, 2.0, 400.0], 5000.0) == pytest.approx(400, rel=1e-3)
    assert geud([1.0, 2.0, 400.0], -5000.0) == pytest.approx(1, rel=1e-3)


@given(
    values=st.lists(st.floats(0, 1e3), min_size=1, max_size=50),
    percent=st.floats(0, 100),
)
def test_volume_and_dose_are_inverse_to_each_other(values, percent):
    """At least the share of voxels, less one voxel of the interpolation, has the dose that belongs to it."""
    dose = float(dose_at_volume(values, percent))
    assert min(values) <= dose <= max(values)
    # The interpolated dose may exceed a voxel's by rounding.
    share = float(volume_at_dose(values, dose * (1 - 1e-12)))
    assert share >= percent - 100 / len(values) - 1e-9


def test_histogram_falls_from_all_to_the_highest_dose():
    found = dose_volume_histogram([1.0, 2.0, 3.0, 4.0, np.nan], bins=4)
    assert found.dose_gy.tolist() == [0, 1, 2, 3, 4]
    assert found.volume_percent.tolist() == [100, 100, 75, 50, 25]


@pytest.mark.parametrize(
    "call",
    [
        lambda: dose_volume_histogram([np.nan]),
        lambda: dose_volume_histogram([1.0], bins=0),
        lambda: dose_at_volume([1.0], 101),
        lambda: geud([1.0], 0.0),
        lambda: geud([-1.0], 2.0),
    ],
)
def test_impossible_numbers_are_refused(call):
    with pytest.raises(ValueError, match=r"needs|must|negative"):
        call()


def test_without_any_known_dose_there_is_no_number():
    assert math.isnan(float(dose_at_volume([np.nan], 50)))
    assert math.isnan(float(volume_at_dose([], 1.0)))
    assert math.isnan(geud([np.nan], 2.0))


def _dose(shared=0.1):
    data = np.arange(27.0, dtype=np.float32).reshape(3, 3, 3)
    data[0, 0, 0] = np.nan
    v = Volume(data, np.eye(4), "absorbed_dose", "Gy")
    flags = v.replace(data=np.zeros((3, 3, 3), np.uint16), quantity="flags", unit="1")
    return Estimate(v, v.replace(data=0.1 * data), flags, shared)


def test_table_of_regions():
    dose = _dose()
    masks = {"upper": np.arange(27).reshape(3, 3, 3) >= 18, "all": np.ones((3, 3, 3))}
    regions = it.Regions.from_masks(masks, dose.grid)
    table = it.nuclear.dose_table(dose, regions, at_least_gy=[20.0], a=-5.0)
    found = table.set_index(["region", "measure"])
    assert found.loc[("upper", "mean"), "value"] == pytest.approx(22)
    assert found.loc[("upper", "mean"), "standard_error"] == pytest.approx(2.2)
    assert found.loc[("upper", "D50"), "value"] == pytest.approx(22)
    assert found.loc[("upper", "V20"), "value"] == pytest.approx(100 * 7 / 9)
    # Doses of 18 to 26 Gy a factor of exp(0.1) up or down: 18.1 Gy is reached by 8 voxels of 9, 22.1 Gy by 4.
    assert found.loc[("upper", "V20"), "standard_error"] == pytest.approx(100 * 0.5 * (8 - 4) / 9)
    expected = np.mean(np.arange(18.0, 27.0) ** -5) ** -0.2
    assert found.loc[("upper", "gEUD(-5)"), "value"] == pytest.approx(expected)
    assert found.loc[("all", "mean"), "value"] == pytest.approx(np.arange(1, 27).mean())
    assert (found.loc[("all", "mean"), "n_voxels"], found.loc[("all", "mean"), "n_valid"]) == (27, 26)
    plain = dose_table(dose.value, regions)
    assert plain["standard_error"].isna().all()


def test_what_is_no_dose_or_no_region_is_refused():
    dose = _dose()
    whole = it.Regions.from_masks({"all": np.ones((3, 3, 3))}, dose.grid)
    with pytest.raises(UnitMismatch, match="dose"):
        dose_table(dose.value.replace(quantity="activity_concentration", unit="Bq/mL"), whole)
    with pytest.raises(GeometryMismatch):
        dose_table(dose, it.Regions.from_masks({"all": np.ones((4, 3, 3))}, Grid((4, 3, 3), np.eye(4))))
    with pytest.raises(NothingUsable, match="no voxel"):
        dose_table(dose, it.Regions.from_masks({"none": np.zeros((3, 3, 3))}, dose.grid))
