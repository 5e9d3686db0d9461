"""Names, maps and rows of several materials; what the errors of slopes make of a region's mean."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.ct.material_tables import material_quantity
from imgtheranostics.regions import Regions
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Volume

SHAPE = (40, 40, 8)
SLOPES = {"I": [43.8, 23.8], "HfO2": [26.7, 24.7]}
RELATIVE = 0.05


def scans(rng, iodine, hafnium):
    images = []
    for n, kvp in enumerate((80.0, 140.0)):
        hu = SLOPES["I"][n] * iodine + SLOPES["HfO2"][n] * hafnium + rng.normal(0, 4.0, SHAPE)
        images.append(
            Volume(hu, np.eye(4), "attenuation", "[HU]", acquisition=CtAcquisition(tube_voltage_kv=kvp))
        )
    return images


@pytest.fixture
def amounts():
    iodine, hafnium = np.zeros(SHAPE), np.zeros(SHAPE)
    iodine[2:10, 2:10], hafnium[14:22, 2:10] = 5.0, 3.0
    return iodine, hafnium


@pytest.fixture
def found(rng, amounts):
    errors = {name: [RELATIVE * one for one in values] for name, values in SLOPES.items()}
    images = scans(rng, *amounts)
    return ct.decompose(images, materials=["I", "HfO2"], slopes=SLOPES, slope_errors=errors, noise_sd=4.0)


@pytest.mark.parametrize(
    ("material", "quantity", "expected"),
    [
        ("HfO2", "concentration", "hfo2_mass_concentration"),
        ("64Cu-MM-302", "concentration", "material_64cu_mm_302_mass_concentration"),
        ("water", "volume_fraction", "water_volume_fraction"),
        ("virtual_non_contrast", "attenuation", "virtual_non_contrast"),
    ],
)
def test_quantities_are_named_after_their_material_and_known(material, quantity, expected):
    assert material_quantity(material, quantity) == expected
    assert expected in QUANTITIES


def test_names_that_differ_in_signs_alone_are_refused(found):
    one = found["I"]
    with pytest.raises(ValueError, match="letters or digits"):
        ct.MaterialMaps.of({"V7-Ruby": one, "V7 Ruby": one})


def test_rows_of_each_material_and_of_its_limits(found, amounts):
    regions = Regions.from_masks({"I": amounts[0] > 0, "Hf": amounts[1] > 0}, found["I"].grid)
    maps = ct.MaterialMaps.of(found)
    assert [one.quantity for one in maps.estimates] == ["i_mass_concentration", "hfo2_mass_concentration"]
    blank = (amounts[0] + amounts[1]) == 0
    table = maps.table(regions, blanks=blank)
    assert len(table.attrs["details"]) == len(table)
    counts = table["quantity"].value_counts().to_dict()
    names = {f"{word}_{end}" for word in ("i", "hfo2") for end in (
        "mass_concentration", "detection_limit", "quantification_limit")}  # fmt: skip
    assert counts == dict.fromkeys(names, 2)
    without = maps.table(regions, blanks=np.zeros(SHAPE, bool))
    assert set(without["quantity"]) == {"i_mass_concentration", "hfo2_mass_concentration"}


def test_the_slopes_error_of_a_mean_is_that_of_its_own_mixture(found, amounts):
    """With c = A^-1 hu, an error of one slope moves pure iodine as A^-1 dA c, here in closed form.

    Iodine's own estimate where there is hafnium alone has an error of several mg/mL over a value of nothing:
    one relative error for all voxels would put that on every mean.
    """
    regions = Regions.from_masks({"I": amounts[0] > 0, "Hf": amounts[1] > 0}, found["I"].grid)
    table = ct.MaterialMaps.of(found).table(regions, blanks=(amounts[0] + amounts[1]) == 0)
    inverse = np.linalg.inv(np.array([SLOPES["I"], SLOPES["HfO2"]]).T)
    spread = RELATIVE * 5.0 * np.array(SLOPES["I"])
    expected = np.sqrt((inverse[0] * spread) @ (inverse[0] * spread))
    row = table.loc[(table["region"] == "I") & (table["quantity"] == "i_mass_concentration")].iloc[0]
    index = int(row.name)
    parts = table.attrs["details"][index]
    assert parts["standard_error_calibration"] == pytest.approx(expected, rel=0.02)
    assert row["standard_error"] == pytest.approx(
        np.hypot(expected, parts["standard_error_sampling"]), rel=0.02
    )


def test_maps_held_at_zero_have_no_limit_of_detection(rng, amounts):
    """Half of the blank voxels are 0 there: their scatter is no noise of a mean."""
    found = ct.decompose(
        scans(rng, *amounts), materials=["I", "HfO2"], slopes=SLOPES, noise_sd=4.0, non_negative=True
    )
    regions = Regions.from_masks({"I": amounts[0] > 0}, found["I"].grid)
    table = ct.MaterialMaps.of(found).table(regions, blanks=(amounts[0] + amounts[1]) == 0)
    assert set(table["quantity"]) == {"i_mass_concentration", "hfo2_mass_concentration"}
