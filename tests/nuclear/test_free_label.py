"""Free-label patterns: organs by their names, references, limits, and what tables and curves carry on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import NuclearAcquisition, Radiopharmaceutical
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.nuclear import free_label_pattern, time_activity
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.free_label import PATTERNS, organ_of
from imgtheranostics.nuclear.quantities import Request, quantify
from imgtheranostics.phantom import make
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume


def codes(*given, **more) -> list[str]:
    return [caution.code for caution in free_label_pattern(*given, **more)]


@pytest.mark.parametrize(
    ("name", "organ"),
    [
        ("thyroid", "thyroid"),
        ("Thyroid_left", "thyroid"),
        ("STOMACH wall", "stomach"),
        ("gastric content", "stomach"),
        ("urinary-bladder", "bladder"),
        ("Parotid L", "salivary glands"),
        ("gall bladder", None),
        ("gallbladder", None),
        ("parathyroid", None),
        ("liver", "liver"),
        ("liver_tumour", None),
        ("bone marrow", None),
        ("femur", "bone"),
        ("skeletal muscle", "muscle"),
        ("blood pool", "blood"),
        ("heart", "blood"),
        ("kidneys", None),
        ("", None),
    ],
)
def test_organs_are_known_by_their_names(name, organ):
    assert organ_of(name) == organ


@pytest.mark.parametrize("organ", ["thyroid", "Stomach", "urinary bladder", "parotid"])
def test_pertechnetate_is_warned_of_where_it_collects(organ):
    assert codes({organ: 30.0, "blood": 1.5}, nuclide="Tc-99m") == ["free-label-pattern"]
    assert codes({organ: 3.0, "blood": 1.5}, nuclide="Tc-99m") == []


@pytest.mark.parametrize(
    ("label", "organ", "expected"),
    [
        ("99mTc", "thyroid", True),
        ("I-131", "thyroid", True),
        ("I-124", "stomach", True),
        ("Cu-64", "liver", True),
        ("Cu-64", "thyroid", False),
        ("Zr-89", "femur", True),
        ("Tc-99m", "liver", False),
        ("In-111", "thyroid", False),
        ("F-18", "bone", False),
    ],
)
def test_each_label_has_its_own_organs(label, organ, expected):
    assert bool(codes({organ: 50.0, "blood": 1.0}, nuclide=label)) is expected


def test_the_warning_names_regions_and_ratios_and_is_no_verdict():
    """42 over 1.5 and 49 over 1.5: 28 and 32.7 times the blood; the spleen plays no part."""
    (caution,) = free_label_pattern(
        {"stomach": 42.0, "thyroid": 49.0, "spleen": 80.0, "blood": 1.5, "muscle": 0.4}, nuclide="Tc-99m"
    )
    assert "thyroid 32.7 times blood" in caution.message
    assert "stomach 28 times blood" in caution.message
    assert "spleen" not in caution.message
    assert "may have" in caution.message
    assert "no proof" in caution.message


def test_muscle_stands_in_for_blood_with_its_own_limit():
    assert codes({"thyroid": 3.5, "muscle": 1.0}, nuclide="Tc-99m") == []
    assert codes({"thyroid": 7.0, "muscle": 1.0}, nuclide="Tc-99m") == ["free-label-pattern"]
    assert codes({"thyroid": 7.0, "muscle": 1.0, "blood": 6.0}, nuclide="Tc-99m") == []


def test_without_a_reference_the_organs_were_not_checked():
    assert codes({"thyroid": 7.0, "liver": 1.0}, nuclide="Tc-99m") == ["free-label-not-checked"]
    assert codes({"liver": 7.0, "spleen": 1.0}, nuclide="Cu-64") == []
    assert codes({"liver": 7.0, "spleen": 1.0}, nuclide="Tc-99m") == []


@pytest.mark.parametrize("values", [{"thyroid": np.nan, "blood": 1.0}, {"thyroid": 5.0, "blood": -1.0}, {}])
def test_values_that_cannot_be_compared_say_nothing(values):
    assert codes(values, nuclide="Tc-99m") == []


def test_limits_can_be_chosen_and_are_marked_unconfirmed():
    values = {"thyroid": 2.0, "blood": 1.0}
    assert codes(values, nuclide="Tc-99m") == []
    assert codes(values, nuclide="Tc-99m", blood_ratio=1.5) == ["free-label-pattern"]
    for wrong in (1.0, 0.0, -3.0, float("nan")):
        with pytest.raises(ValueError, match="above 1"):
            free_label_pattern(values, nuclide="Tc-99m", blood_ratio=wrong)
    assert {PATTERNS[name].status for name in ("Tc", "Cu")} == {"review"}
    assert {PATTERNS[name].status for name in ("I", "Zr", "Y", "Lu")} == {"unconfirmed"}


def test_an_unknown_label_says_nothing_and_a_wrong_one_is_refused():
    assert codes({"thyroid": 9.0, "blood": 1.0}, nuclide=None) == []
    with pytest.raises(UnsupportedInput):
        free_label_pattern({"thyroid": 9.0, "blood": 1.0}, nuclide="pertechnetate")


def test_a_table_of_several_times_tells_the_time_of_the_highest_ratio():
    rows = [
        {"region": region, "quantity": "id_per_ml", "axis_value": at, "mean": mean}
        for at, thyroid in ((3600.0, 4.0), (14_400.0, 20.0))
        for region, mean in (("thyroid", thyroid), ("blood", 2.0))
    ]
    (caution,) = free_label_pattern(pd.DataFrame(rows), nuclide="Tc-99m")
    assert "thyroid 10 times blood at 4 h" in caution.message
    whole = pd.DataFrame(rows).assign(quantity="id_per_region")
    assert free_label_pattern(whole, nuclide="Tc-99m") == ()


def scan(label="Tc-99m", thyroid=30.0) -> tuple[Volume, Regions]:
    """Two slabs, thyroid and blood, of an activity image that is not decay corrected."""
    from datetime import datetime

    start = datetime(2026, 1, 5, 10)
    labels = np.ones((4, 4, 4), np.int32)
    labels[2:] = 2
    half_life = nuclide(label).half_life_s
    record = NuclearAcquisition(
        frame_duration_s=600.0,
        series_datetime=start,
        acquisition_datetime=start,
        decay_correction="NONE",
        radiopharmaceutical=Radiopharmaceutical(label, half_life, None, 20e6, start - timedelta(hours=1)),
    )
    data = np.where(labels == 1, thyroid, 1.5).astype(np.float32) * 1e4
    v = Volume(data, np.diag([1, 1, 1, 1.0]), "activity_concentration", "Bq/mL", acquisition=record)
    return v, Regions(labels[..., None], {1: "Thyroid", 2: "Blood"}, v.grid)


def test_uptake_and_curves_carry_the_warning():
    v, regions = scan()
    for warnings in (
        quantify(v, regions, quantities=["id_per_g"]).warnings,
        time_activity(v, regions).attrs["warnings"],
    ):
        (caution,) = [one for one in warnings if one.code == "free-label-pattern"]
        assert "Thyroid 20 times Blood".lower() in caution.message.lower()
    for quiet in (scan(thyroid=2.0), scan("In-111")):
        assert "free-label" not in str(quantify(*quiet, quantities=["id_per_g"]).warnings)
        assert "free-label" not in str(time_activity(*quiet).attrs["warnings"])


def test_a_given_nuclide_goes_before_that_of_the_file():
    v, regions = scan("In-111")
    drug = Radiopharmaceutical(None, None, None, 20e6, v.acquisition.radiopharmaceutical.start_datetime)
    v = v.replace(acquisition=replace(v.acquisition, radiopharmaceutical=drug))
    request = Request(Administration(20e6, None, nuclide="99mTc"))
    assert "free-label-pattern" in str(
        quantify(v, regions, quantities=["id_per_g"], request=request).warnings
    )


def test_the_phantom_with_a_tenth_of_its_label_loose_is_warned_of():
    """P05: 5.5 + 0.5 + 4.0 = 10 % of the dose in stomach, thyroid and bladder."""
    phantom = make("tc99m-plga-mouse-spect", level=0)
    table = time_activity(
        phantom.volumes[1], phantom.regions, quantity="id_per_ml", sensitivity_cps_mbq=847.0, peak=False
    )
    (caution,) = [one for one in table.attrs["warnings"] if one.code == "free-label-pattern"]
    for organ in ("thyroid", "stomach", "bladder"):
        assert organ in caution.message
    assert it.nuclear.free_label_pattern(table, nuclide="Cu-64")[0].code == "free-label-pattern"  # the liver
