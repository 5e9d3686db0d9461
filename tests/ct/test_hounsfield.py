"""What counts as Hounsfield units, what saturates, and which two scans can be compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import CtAcquisition, MrAcquisition
from imgtheranostics.errors import Caution, MissingMetadata, UnitMismatch
from imgtheranostics.volume import Axis, Volume

RECORD = CtAcquisition(
    tube_voltage_kv=120.0,
    filtration="WEDGE_1",
    filter_material="ALUMINUM",
    filter_thickness_mm=7.0,
    kernel="B30f",
    slice_thickness_mm=1.0,
)


def image(values=(0.0, 250.0), quantity="attenuation", unit="[HU]", record=RECORD, **fields) -> Volume:
    data = np.resize(np.array(values, np.float32), (2, 3, 4))
    return Volume(data, np.eye(4), quantity, unit, acquisition=record, **fields)


def test_attenuation_is_taken_as_it_is():
    volume = image()
    assert it.ct.require_hu(volume) is volume


def test_a_file_without_units_is_refused_and_can_be_stated():
    grey = image(quantity="stored_value", unit="{stored}", record=CtAcquisition())
    with pytest.raises(MissingMetadata, match="Units") as caught:
        it.ct.require_hu(grey)
    assert caught.value.exit_code == 5
    stated = it.ct.require_hu(grey, units="HU")
    assert (stated.quantity, stated.unit) == ("attenuation", "[HU]")
    assert np.array_equal(stated.data, grey.data)
    assert stated.history[-1].name == "hounsfield_stated"
    with pytest.raises(ValueError, match="HU only"):
        it.ct.require_hu(grey, units="1/cm")


@pytest.mark.parametrize("kind", ["US", "OD", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"])
def test_a_stated_rescale_type_is_named_and_nobody_can_overrule_it(kind):
    grey = image(quantity="signal", unit="[arb'U]", record=CtAcquisition(rescale_type=kind))
    for units in (None, "HU"):
        with pytest.raises(UnitMismatch, match="RescaleType") as caught:
            it.ct.require_hu(grey, units=units)
        assert caught.value.found == kind
    assert caught.value.exit_code == 6


def test_the_reason_of_the_loader_is_repeated():
    why = Caution(
        "not-hounsfield", "values are not Hounsfield units: a localizer is a projection", "ImageType"
    )
    localizer = image(
        quantity="signal", unit="[arb'U]", record=CtAcquisition(rescale_type="HU"), warnings=(why,)
    )
    with pytest.raises(UnitMismatch, match="localizer"):
        it.ct.require_hu(localizer, units="HU")


@pytest.mark.parametrize(
    ("quantity", "unit"), [("concentration", "mg/mL"), ("delta_attenuation", "[HU]"), ("density", "g/mL")]
)
def test_another_quantity_is_refused(quantity, unit):
    with pytest.raises(UnitMismatch, match=quantity):
        it.ct.require_hu(image(quantity=quantity, unit=unit), units="HU")


def test_another_modality_is_refused():
    with pytest.raises(UnitMismatch, match="modality MR"):
        it.ct.require_hu(image(quantity="signal", unit="[arb'U]", record=MrAcquisition()), units="HU")


def test_saturation_starts_at_the_top_of_twelve_bits():
    volume = image((3070.0, 3071.0, 30000.0, -1024.0, np.nan, 0.0))
    assert it.ct.saturated(volume).ravel()[:6].tolist() == [False, True, True, False, False, False]
    assert not it.ct.saturated(volume, limit_hu=40000.0).any()


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"tube_voltage_kv": 80.0}, "kvp", "120 and 80"),
        ({"filtration": "FLAT"}, "filter", "WEDGE_1 ALUMINUM 7 and FLAT ALUMINUM 7"),
        ({"filter_material": "TIN"}, "filter", "ALUMINUM 7 and WEDGE_1 TIN 7"),
        ({"filter_thickness_mm": 0.4}, "filter", "7 and WEDGE_1 ALUMINUM 0.4"),
        ({"kernel": "B70f"}, "kernel", "B30f and B70f"),
        ({"slice_thickness_mm": 5.0}, "slice_thickness", "1 and 5"),
    ],
)
def test_each_setting_that_differs_is_named_and_can_be_allowed(change, name, words):
    pre, post = image(), image(record=replace(RECORD, **change))
    with pytest.raises(UnitMismatch) as caught:
        it.ct.comparable(pre, post)
    assert words in (caught.value.found or "")
    assert name in (caught.value.next_step or "")
    (note,) = it.ct.comparable(pre, post, allow=[name])
    assert note.code == "settings-differ"
    assert words in note.message


def test_all_that_differs_is_listed_at_once():
    other = replace(RECORD, tube_voltage_kv=80.0, kernel="B70f", slice_thickness_mm=5.0)
    with pytest.raises(UnitMismatch) as caught:
        it.ct.comparable(image(), image(record=other), allow=("kernel",))
    assert "120 and 80" in (caught.value.found or "")
    assert "1 and 5" in (caught.value.found or "")
    assert "B70f" not in (caught.value.found or "")


def test_one_protocol_is_comparable_without_a_word():
    spelled = replace(RECORD, kernel=" b30F ", tube_voltage_kv=120)
    assert it.ct.comparable(image(), image(record=spelled)) == ()


def test_what_a_file_does_not_state_is_told_and_not_invented():
    bare = replace(RECORD, kernel=None, filtration=None)
    (note,) = it.ct.comparable(image(), image(record=bare))
    assert note.code == "settings-not-stated"
    assert "kernel" in note.message
    assert "filter" not in note.message  # its material and thickness are compared


def test_energies_of_two_dual_energy_scans_are_compared():
    def dual(kvp):
        data = np.zeros((2, 2, 2, len(kvp)), np.float32)
        record = replace(RECORD, tube_voltage_kv=None)
        return Volume(data, np.eye(4), "attenuation", "[HU]", (Axis("energy", kvp, "kV"),), record)

    assert it.ct.comparable(dual([80, 140]), dual([80, 140])) == ()
    with pytest.raises(UnitMismatch, match="80 140 and 100 140"):
        it.ct.comparable(dual([80, 140]), dual([100, 140]))


def test_a_tin_filter_at_the_higher_energy_counts():
    data = np.zeros((2, 2, 2, 2), np.float32)
    axes = (Axis("energy", [80, 140], "kV"),)

    def dual(*materials):
        record = CtAcquisition(filter_materials=materials, filter_thicknesses_mm=(7.0, 0.4))
        return Volume(data, np.eye(4), "attenuation", "[HU]", axes, record)

    with pytest.raises(UnitMismatch, match=r"ALUMINUM 7 TIN 0\.4 and ALUMINUM 7 COPPER 0\.4"):
        it.ct.comparable(dual("ALUMINUM", "TIN"), dual("ALUMINUM", "COPPER"))
    assert RECORD.of_energy(0, 80).tube_voltage_kv == 80.0
    second = dual("ALUMINUM", "TIN").acquisition.of_energy(1, 140)
    assert (second.filter_material, second.filter_thickness_mm, second.filter_materials) == ("TIN", 0.4, ())


def test_what_looks_like_free_text_is_not_quoted():
    named = replace(RECORD, kernel="Canary of Doe", filtration="Canary")
    with pytest.raises(UnitMismatch) as caught:
        it.ct.comparable(image(), image(record=named))
    assert "Canary" not in str(caught.value)
    assert "B30f and another" in (caught.value.found or "")


def test_grey_values_are_not_compared():
    grey = image(quantity="stored_value", unit="{stored}", record=CtAcquisition())
    with pytest.raises(MissingMetadata):
        it.ct.comparable(image(), grey)


def test_an_unknown_name_cannot_be_allowed():
    with pytest.raises(ValueError, match="slice_thickness"):
        it.ct.comparable(image(), image(), allow=("thickness",))


def test_frames_of_an_energy_axis_keep_the_filter_of_their_energy():
    from imgtheranostics.ct.energy_images import EnergyImages

    record = CtAcquisition(filter_materials=("ALUMINUM", "TIN"), filter_thicknesses_mm=(7.0, 0.4))
    data = np.zeros((2, 2, 2, 2), np.float32)
    dual = Volume(data, np.eye(4), "attenuation", "[HU]", (Axis("energy", [80, 140], "kV"),), record)
    images = EnergyImages.of(dual, [80, 140])
    assert images.tin_mm == (0.0, 0.4)
    assert images.kvp == (80.0, 140.0)
