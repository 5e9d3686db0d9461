"""Calibrations from scans of vials and rods, and the tables that say what they hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import CorruptInput, MissingMetadata, NothingUsable, UnitMismatch
from imgtheranostics.mapping.vial_table import read_known_values
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

SHAPE = (60, 40, 14)
BEAM = CtAcquisition(
    tube_voltage_kv=120.0, kernel="B30f", filter_material="ALUMINUM", filter_thickness_mm=7.0
)
AMOUNTS = {"a": 0.0, "b": 5.0, "c": 10.0, "d": 20.0}
PLACE = np.moveaxis(np.indices(SHAPE), 0, -1)
MASKS = {name: np.linalg.norm(PLACE - [8 + 14 * n, 8, 7], axis=-1) < 3.5 for n, name in enumerate(AMOUNTS)}
WATER = PLACE[..., 1] > 15


def noise(rng, sd=10.0):
    field = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.8)
    return sd * field / field.std()


def scan(rng, slope=26.6):
    hu = sum(slope * AMOUNTS[name] * mask for name, mask in MASKS.items()) + noise(rng)
    return Volume(hu, np.eye(4), "attenuation", "[HU]", acquisition=BEAM)


@pytest.fixture
def regions():
    return Regions.from_masks(
        {**MASKS, "water": WATER}, Volume(np.zeros(SHAPE), np.eye(4), "signal", "[arb'U]").grid
    )


def test_vials_give_the_slope_with_an_error_of_correlated_noise(rng, regions):
    """The scatter of 60 scans is what one of them states: sigma over the root of N would be far less."""
    found = [
        ct.calibrate_vials(scan(rng), regions, AMOUNTS, material="HfO2", blanks="water") for _ in range(60)
    ]
    slopes = np.array([one.slope.hu_per_mg_ml for one in found])
    stated = np.array([one.slope.standard_error for one in found])
    assert slopes.mean() == pytest.approx(26.6, abs=4 * slopes.std(ddof=1) / np.sqrt(60))
    assert stated.mean() == pytest.approx(slopes.std(ddof=1), rel=0.3)
    assert found[0].slope.kvp == 120.0
    assert found[0].slope.filter == "7 mm ALUMINUM"
    assert found[0].kernel == "B30f"


def test_without_blank_tissue_the_scatter_about_the_line_tells(rng, regions):
    found = ct.calibrate_vials(scan(rng), regions, AMOUNTS, material="HfO2")
    assert np.isnan(found.hu_standard_error).all()
    assert abs(found.slope.hu_per_mg_ml - 26.6) < 5 * found.slope.standard_error


def test_a_region_too_large_for_the_blanks_has_the_error_of_its_own_voxels(rng, regions):
    found = ct.calibrate_vials(scan(rng), regions, {**AMOUNTS, "water": 0.0}, material="HfO2", blanks="water")
    assert np.isfinite(found.hu_standard_error).all()
    assert found.hu_standard_error[-1] < found.hu_standard_error[0]


def test_rods_turn_grey_values_into_hu(rng, regions):
    nominal = {"a": -100.0, "b": 40.0, "c": 300.0, "d": 900.0}
    grey = 10000 + 8 * (sum(nominal[name] * mask for name, mask in MASKS.items()) + noise(rng))
    v = Volume(grey, np.eye(4), "stored_value", "{stored}", acquisition=CtAcquisition(tube_voltage_kv=50.0))
    rods = ct.calibrate_rod_scan(v, regions, nominal, blanks="water")
    assert rods.kvp == 50.0
    assert abs(rods.slope - 0.125) < 4 * rods.slope_error
    assert abs(float(rods.apply(v).data[WATER].mean())) < 4 * float(rods.standard_error(0.0))


def test_vials_that_are_not_among_the_regions_are_named(rng, regions):
    with pytest.raises(MissingMetadata, match="vials of the table") as caught:
        ct.calibrate_vials(scan(rng), regions, {"a": 0.0, "e": 5.0}, material="HfO2")
    assert caught.value.parts()["found"] == "e"
    with pytest.raises(MissingMetadata, match="vials of the table"):
        ct.calibrate_vials(scan(rng), regions, {}, material="HfO2")
    with pytest.raises(ValueError, match="no region 'oil'"):
        ct.calibrate_vials(scan(rng), regions, AMOUNTS, material="HfO2", blanks="oil")


def test_vials_in_another_quantity_are_refused(regions):
    density = Volume(np.ones(SHAPE), np.eye(4), "density", "g/mL")
    with pytest.raises(UnitMismatch):
        ct.calibrate_vials(density, regions, AMOUNTS, material="HfO2")


@pytest.mark.parametrize("text", ["region,mg_ml\na,0\nb,5\n", "MG_ML\tRegion\n0\ta\n5\tb\n"])
def test_a_table_by_comma_or_tabulator_in_any_order(tmp_path, text):
    path = tmp_path / "known.csv"
    path.write_text(text)
    found = read_known_values(path, ("mg_ml", "hu"))
    assert found.column == "mg_ml"
    assert found.values == {"a": 0.0, "b": 5.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("region,amount\na,0\n", "lacks a column"),
        ("name,mg_ml\na,0\n", "lacks a column"),
        ("region,mg_ml,hu\na,0,0\n", "two meanings"),
        ("region,mg_ml\na,much\n", "cannot be used"),
        ("region,mg_ml\na,nan\n", "cannot be used"),
        ("region,mg_ml\na,1\na,2\n", "cannot be used"),
    ],
)
def test_a_table_that_says_nothing_clear_is_refused(tmp_path, text, said):
    path = tmp_path / "known.csv"
    path.write_text(text)
    with pytest.raises(CorruptInput, match=said):
        read_known_values(path, ("mg_ml", "hu"))


def test_a_table_that_is_not_there_is_told(tmp_path):
    with pytest.raises(NothingUsable, match="does not exist"):
        read_known_values(tmp_path / "absent.csv", ("mg_ml",))
