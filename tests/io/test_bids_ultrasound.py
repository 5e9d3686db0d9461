"""Ultrasound sidecars: unit, dynamic range, full scale, gain and frame times."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata, UnitMismatch

US = {"Modality": "US", "FrameTimes": [0, 0.05, 0.12], "DynamicRange": 60, "GreyMax": 255, "Gain": 20}


@pytest.fixture
def write(tmp_path):
    """``write(sidecar, step)``: three frames of grey 100, 128 and 255 with that sidecar."""

    def make(sidecar, *, step=None, frames=3, name="scan_us"):
        data = np.stack([np.full((4, 4, 1), level) for level in (100, 128, 255)][:frames], axis=-1)
        image = nibabel.Nifti1Image(data.astype(np.float32), np.diag([0.1, 0.1, 1, 1]))
        image.header.set_xyzt_units("mm", "sec" if step else None)
        image.header.set_slope_inter(1.0, 0.0)
        if step:
            image.header["pixdim"][4] = step
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.json").write_text(json.dumps(sidecar))
        return tmp_path / f"{name}.nii.gz"

    return make


def test_all_keys_of_the_sheet_reach_the_record(write):
    volume = it.load(write(US))
    assert (volume.quantity, volume.unit) == ("signal", "[arb'U]")
    assert volume.axes[0].name == "time"
    assert_array_equal(volume.axes[0].values, [0, 0.05, 0.12])
    record = volume.acquisition
    assert isinstance(record, UltrasoundAcquisition)
    assert (record.dynamic_range_db, record.grey_max, record.gain_db) == (60.0, 255.0, 20.0)


def codes(volume):
    return {one.code for one in volume.warnings}


def test_rows_and_columns_are_no_place_in_a_patient(write, tmp_path):
    """Nobody knows which side of such an image is left; a map keeps that, also once it was saved."""
    volume = it.load(write(US))
    assert "no-patient-geometry" in codes(volume)
    level = it.ultrasound.enhancement_map(volume, baseline_frames=1)
    assert "no-patient-geometry" in codes(level.value)
    it.save(level.value, tmp_path / "map.nii.gz")
    assert "no-patient-geometry" in codes(it.load(tmp_path / "map.nii.gz"))


def test_a_turned_image_has_a_place_in_a_patient(write):
    """Only a tracked probe, or a registration, turns an image by 20 degrees."""
    path = write(US)
    turned = np.eye(4)
    angle = np.radians(20.0)
    turned[:2, :2] = 0.1 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj), turned), path)
    assert "no-patient-geometry" not in codes(it.load(path))


def test_own_quantity_with_a_sidecar_by_hand_has_no_place_either(write):
    path = write({"Modality": "US", "Quantity": "echo_level", "Units": "dB"}, frames=1)
    assert "no-patient-geometry" in codes(it.load(path))


def test_dynamic_range_of_the_sidecar_is_enough_to_linearise(write):
    linear = it.ultrasound.linearise(it.load(write(US)))
    assert linear.data[0, 0, 0, 1] == pytest.approx(1027.46, abs=0.01)


@pytest.mark.parametrize(
    ("unit", "quantity"),
    [
        ("grey", "signal"),
        ("gray", "signal"),
        ("linear", "echo_intensity"),
        ("dB", "echo_level"),
        ("db", "echo_level"),
    ],
)
def test_unit_says_what_the_values_are(write, unit, quantity):
    assert it.load(write(US | {"Units": unit})).quantity == quantity


def test_decibels_and_linear_values_are_not_linearised_again(write):
    decibel = it.ultrasound.linearise(it.load(write(US | {"Units": "dB"})))
    assert decibel.data[0, 0, 0, 0] == pytest.approx(1e10, rel=1e-6)
    linear = it.ultrasound.linearise(it.load(write(US | {"Units": "linear"}, name="b_us")))
    assert_array_equal(linear.data[0, 0, 0], [100, 128, 255])


def test_unknown_unit_is_refused(write):
    with pytest.raises(UnitMismatch, match="grey, linear or dB"):
        it.load(write(US | {"Units": "neper"}))


def test_keys_of_ultrasound_tell_the_modality(write):
    sidecar = {key: value for key, value in US.items() if key != "Modality"}
    assert isinstance(it.load(write(sidecar, name="scan")).acquisition, UltrasoundAcquisition)


def test_frame_times_come_from_the_list_then_the_step_then_the_header(write):
    assert it.load(write(US | {"FrameTime": 9}, step=8.0)).axes[0].values[1] == 0.05
    without = {key: value for key, value in US.items() if key != "FrameTimes"}
    assert it.load(write(without | {"FrameTime": 0.2}, step=8.0)).axes[0].values[1] == pytest.approx(0.2)
    assert it.load(write(without, step=0.5)).axes[0].values[1] == pytest.approx(0.5)


def test_cine_without_times_is_missing_metadata_unless_a_time_is_given(write):
    sidecar = {"Modality": "US", "FrameRate": 20}
    with pytest.raises(MissingMetadata, match="--frame-time"):
        it.load(write(sidecar))
    assert_array_equal(it.load(write(sidecar), frame_time_s=0.25).axes[0].values, [0, 0.25, 0.5])


@pytest.mark.parametrize("step", [0.0, -0.1, 1000.0])
def test_frame_time_given_must_be_one(write, step):
    with pytest.raises(ValueError, match="frame_time_s"):
        it.load(write({"Modality": "US"}), frame_time_s=step)


def test_frame_time_of_another_modality_is_a_usage_error(write):
    with pytest.raises(ValueError, match="ultrasound"):
        it.load(write({"Modality": "MR"}, step=2.0), frame_time_s=0.1)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"FrameTimes": [0, 0.05]}, CorruptInput, "FrameTimes"),
        ({"FrameTimes": [0, 0.1, 0.05]}, CorruptInput, "increase"),
        ({"FrameTimes": [0, 100, 200]}, ImplausibleValue, "FrameTimes"),
        ({"DynamicRange": 0}, CorruptInput, "DynamicRange"),
        ({"DynamicRange": 6000}, ImplausibleValue, "DynamicRange"),
        ({"DynamicRange": "high"}, CorruptInput, "DynamicRange"),
        ({"GreyMax": -1}, CorruptInput, "GreyMax"),
        ({"AcquisitionDateTime": "yesterday"}, CorruptInput, "AcquisitionDateTime"),
    ],
)
def test_keys_that_cannot_be_meant_are_refused_by_name(write, change, kind, said):
    with pytest.raises(kind, match=said):
        it.load(write(US | change))


def test_saved_cine_comes_back_also_to_readers_of_public_keys(write, tmp_path):
    before = it.load(write(US))
    it.save(before, tmp_path / "again_us.nii.gz")
    after = it.load(tmp_path / "again_us.nii.gz")
    assert after.axes[0].same_as(before.axes[0])
    assert after.acquisition.dynamic_range_db == 60.0
    content = json.loads((tmp_path / "again_us.json").read_text())
    assert (content["DynamicRange"], content["GreyMax"], content["FrameTimes"]) == (60, 255, [0, 0.05, 0.12])
    for key in ("Quantity", "Axes", "Acquisition", "Units"):
        del content[key]
    (tmp_path / "again_us.json").write_text(json.dumps(content))
    foreign = it.load(tmp_path / "again_us.nii.gz")
    assert foreign.axes[0].same_as(before.axes[0])
    assert foreign.acquisition.grey_max == 255.0


def test_dynamic_range_that_is_added_to_a_saved_sidecar_counts(write, tmp_path):
    """DICOM does not carry it: people convert, and write it in."""
    grey = it.load(write({key: value for key, value in US.items() if key != "DynamicRange"}))
    it.save(grey, tmp_path / "again_us.nii.gz")
    content = json.loads((tmp_path / "again_us.json").read_text())
    assert "DynamicRange" not in content
    (tmp_path / "again_us.json").write_text(json.dumps(content | {"DynamicRange": 50}))
    assert it.load(tmp_path / "again_us.nii.gz").acquisition.dynamic_range_db == 50.0


def test_linear_image_that_is_saved_is_not_linearised_again(write, tmp_path):
    linear = it.ultrasound.linearise(it.load(write(US)))
    it.save(linear, tmp_path / "linear_us.nii.gz")
    content = json.loads((tmp_path / "linear_us.json").read_text())
    assert "DynamicRange" not in content
    back = it.load(tmp_path / "linear_us.nii.gz")
    again = it.ultrasound.linearise(back)
    assert_array_equal(again.data, linear.data)
    masks = it.ultrasound.clipped(back)
    assert masks.known
    assert masks.saturated[..., 2].all()
