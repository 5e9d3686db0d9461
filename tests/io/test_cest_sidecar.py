"""CEST sidecars beyond their offsets: signs, grids of B1, MT keys, pulses, suffixes, and the way back."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.io.cest_offsets import with_offsets
from imgtheranostics.io.nifti import load_nifti

OFFSETS = [-300, 3.5, 0, -3.5]


def load(folder, name, sidecar, n=4):
    folder.mkdir(parents=True, exist_ok=True)
    data = np.arange(8 * n, dtype=np.float32).reshape((2, 2, 2, n), order="F")
    image = nibabel.Nifti1Image(data, np.eye(4))
    image.header.set_xyzt_units("mm", None)
    nibabel.save(image, folder / f"{name}.nii.gz")
    if sidecar is not None:
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    return load_nifti([folder / f"{name}.nii.gz"])[0]


def cest(**more):
    return {"SaturationOffsets": OFFSETS, "SaturationOffsetUnit": "ppm", "MagneticFieldStrength": 7} | more


def codes(volume):
    return [one.code for one in volume.warnings]


def test_sign_is_stated_or_that_of_the_key(tmp_path):
    """The sidecar's offsets are downfield positive by definition; a stated sign overrules it."""
    plain = load(tmp_path, "a_cest", cest())
    assert plain.acquisition.saturation["sign"] == "downfield_positive"
    turned = load(tmp_path, "b_cest", cest(SaturationOffsetSign="upfield_positive"))
    np.testing.assert_array_equal(turned.axes[0].values, [np.nan, -3.5, 0, 3.5])
    assert turned.acquisition.saturation["recorded_offsets"] == (-300, 3.5, 0, -3.5)
    with pytest.raises(UnitMismatch, match="sign"):
        load(tmp_path, "c_cest", cest(SaturationOffsetSign="left"))


def test_stated_ppm_that_must_be_hertz_is_refused(tmp_path):
    with pytest.raises(ImplausibleValue, match="Hz"):
        load(tmp_path, "a_cest", cest(SaturationOffsets=[-90000, 1050, 0, -1050]))
    with pytest.raises(ImplausibleValue, match="Hz"):
        load(tmp_path, "b_cest", cest(SaturationOffsets=[-90000, 1050, 0, -1050], M0Index=[0]))


def test_full_grid_of_offsets_and_b1_has_two_axes(tmp_path):
    listed = [None, 3.5, -3.5] * 2
    volume = load(tmp_path, "a_cest", cest(SaturationOffsets=listed, SaturationB1rms=[0, 1, 1, 0, 2, 2]), n=6)
    assert [(axis.name, axis.unit) for axis in volume.axes] == [
        ("saturation_offset", "ppm"),
        ("saturation_b1", "uT"),
    ]
    np.testing.assert_array_equal(volume.axes[1].values, [1, 2])
    np.testing.assert_array_equal(volume.data[..., 1, 1], np.arange(32, 40).reshape((2, 2, 2), order="F"))
    other = load(
        tmp_path,
        "b_cest",
        cest(SaturationOffsets=[None, None, 3.5, 3.5, -3.5, -3.5], SaturationB1rms=[1, 2] * 3),
        n=6,
    )
    assert [axis.name for axis in other.axes] == ["saturation_b1", "saturation_offset"]
    assert other.acquisition.saturation["m0_index"] == (0,)


def test_several_definitions_of_b1_stay_together_on_a_grid(tmp_path):
    listed = [None, 3.5, -3.5] * 2
    powers = {"SaturationB1rms": [2, 2, 2, 4, 4, 4], "SaturationB1cwpe": [1, 1, 1, 2, 2, 2]}
    volume = load(tmp_path, "a_cest", cest(SaturationOffsets=listed, **powers), n=6)
    np.testing.assert_array_equal(volume.axis("saturation_b1").values, [1, 2])
    record = volume.acquisition.saturation
    assert (record["b1_rms_ut"], record["b1_cwpe_ut"]) == ((2, 4), (1, 2))
    odd = powers | {"SaturationB1rms": [2, 2, 3, 4, 4, 4]}
    single = load(tmp_path, "b_cest", cest(SaturationOffsets=listed, **odd), n=6)
    assert codes(single) == ["b1-varies"]


def test_grid_survives_saving(tmp_path):
    listed = [None, 3.5, -3.5] * 2
    before = load(tmp_path, "a_cest", cest(SaturationOffsets=listed, SaturationB1rms=[1, 1, 1, 2, 2, 2]), n=6)
    it.save(before, tmp_path / "again_cest.nii.gz")
    after = it.load(tmp_path / "again_cest.nii.gz")
    assert [one.same_as(other) for one, other in zip(before.axes, after.axes, strict=True)] == [True, True]
    assert after.acquisition.saturation == before.acquisition.saturation
    public = json.loads((tmp_path / "again_cest.json").read_text())
    assert public["SaturationOffsets"] == listed
    assert public["SaturationB1rms"] == [1, 1, 1, 2, 2, 2]


def test_b1_that_varies_without_a_grid_stays_a_list_with_a_word(tmp_path):
    volume = load(tmp_path, "a_cest", cest(SaturationB1rms=[0, 1, 2, 3]))
    assert [axis.name for axis in volume.axes] == ["saturation_offset"]
    assert volume.acquisition.saturation["b1_rms_ut"] == (0, 1, 2, 3)
    assert codes(volume) == ["b1-varies"]


def test_b1_without_definition_is_kept_apart(tmp_path):
    volume = load(tmp_path, "a_cest", cest(SaturationB1=2.0))
    assert volume.acquisition.saturation["unspecified_b1_ut"] == 2.0
    assert codes(volume) == ["b1-kind-unknown"]


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("SaturationDutyCycle", 90, ImplausibleValue),
        ("SaturationPulseDuration", 50, ImplausibleValue),
        ("SaturationPulseInterval", -0.01, ImplausibleValue),
        ("SaturationDuration", 2000, ImplausibleValue),
        ("RecoveryTime", 3500, ImplausibleValue),
        ("SaturationB1cwpe", 2e-6, ImplausibleValue),
        ("SaturationB1mean", 2000, ImplausibleValue),
        ("SaturationB1rms", [1, 2, 3], CorruptInput),
        ("SaturationPulseCount", "many", CorruptInput),
        ("M0Index", [0.5], CorruptInput),
    ],
)
def test_pulse_parameters_in_another_unit_are_refused(tmp_path, key, value, error):
    with pytest.raises(error, match=key):
        load(tmp_path, "a_cest", cest(**{key: value}))


def test_train_that_contradicts_itself_is_told(tmp_path):
    """F1 of the sheet: DC = tp/(tp + td), Tsat = n (tp + td) - td; 36 pulses of 50 ms with gaps of 5 ms."""
    train = {
        "SaturationPulseDuration": 0.05,
        "SaturationPulseInterval": 0.005,
        "SaturationPulseCount": 36,
        "SaturationDutyCycle": 0.909,
        "SaturationDuration": 1.975,
    }
    assert load(tmp_path, "a_cest", cest(**train)).warnings == ()
    wrong = load(tmp_path, "b_cest", cest(**(train | {"SaturationDutyCycle": 0.5})))
    assert codes(wrong) == ["pulse-train-inconsistent"]


def test_transfer_keys_of_bids_are_read(tmp_path):
    transfer = {
        "MTState": True,
        "MTOffsetFrequency": 1000.0,
        "MTPulseBandwidth": 200,
        "MTNumberOfPulses": 20,
        "MTPulseShape": "gauss",
        "MTPulseDuration": 0.05,
    }
    record = load(tmp_path, "a_cest", cest(**transfer)).acquisition.saturation
    assert (record["mt_state"], record["mt_offset_hz"], record["mt_pulse_bandwidth_hz"]) == (
        True,
        1000.0,
        200,
    )
    assert (record["pulse_count"], record["pulse_shape"], record["pulse_duration_s"]) == (20, "gauss", 0.05)
    own = load(tmp_path, "b_cest", cest(**transfer, SaturationPulseCount=36)).acquisition.saturation
    assert (own["pulse_count"], own["mt_pulse_count"]) == (36, 20)


def test_transfer_offsets_per_volume_are_an_axis(tmp_path):
    """Hz above the central frequency, as BIDS defines the key; volumes without a pulse are references."""
    sidecar = {
        "MTOffsetFrequency": [0, 1050, -1050, 0],
        "MTState": [False, True, True, True],
        "ImagingFrequency": 300.0,
        "MagneticFieldStrength": 7,
    }
    volume = load(tmp_path, "a_cest", sidecar)
    np.testing.assert_allclose(volume.axis("saturation_offset").values, [np.nan, 3.5, -3.5, 0])
    assert volume.acquisition.saturation["offsets_source"] == "bids_mt"
    del sidecar["ImagingFrequency"]
    with pytest.raises(MissingMetadata, match="ImagingFrequency"):
        load(tmp_path, "b_cest", sidecar)


@pytest.mark.parametrize("name", ["sub-01_cest", "sub-01_wassr", "sub-01_wasabi", "cest/sub-01_zspec"])
def test_suffixes_and_folder_mark_cest(tmp_path, name):
    folder = tmp_path / name.rpartition("/")[0]
    volume = load(folder, name.rpartition("/")[2], {"MagneticFieldStrength": 7})
    (caution,) = [one for one in volume.warnings if one.code == "offsets-missing"]
    assert "--offsets" in caution.message


def test_single_images_in_the_folder_are_what_they_are(tmp_path):
    (tmp_path / "cest").mkdir()
    labels = nibabel.Nifti1Image(np.zeros((2, 2, 2), dtype=np.uint8), np.eye(4))
    labels.header.set_intent("label")
    nibabel.save(labels, tmp_path / "cest" / "tumour.nii.gz")
    assert it.load(tmp_path / "cest" / "tumour.nii.gz").quantity == "labels"


def test_offsets_given_to_an_image_survive_saving(tmp_path):
    bare = load(tmp_path, "a_cest", {"MagneticFieldStrength": 7, "ImagingFrequency": 300.0})
    listed = [None, 1050.0, 0.0, -1050.0]
    before = with_offsets(bare, listed, unit="Hz", sign="downfield_positive", verify_order=False)
    it.save(before, tmp_path / "again_cest.nii.gz")
    after = it.load(tmp_path / "again_cest.nii.gz")
    assert after.axes[0].same_as(before.axes[0])
    assert after.acquisition.saturation == before.acquisition.saturation
    assert [step.name for step in after.history][:2] == [step.name for step in before.history][:2]


def test_list_beside_the_image_is_told_but_not_taken(tmp_path):
    (tmp_path / "a_cest.txt").write_text("\n".join(map(str, OFFSETS)))
    volume = load(tmp_path, "a_cest", {"MagneticFieldStrength": 7})
    assert volume.axis("saturation_offset") is None
    assert ".txt file of the same name" in str(volume.warnings)


def test_field_maps_of_cest_are_read_by_their_suffix(tmp_path):
    b1 = load(tmp_path / "fmap", "sub-01_b1map", {"Units": "percent"})
    assert b1.quantity == "relative_b1"
    b0 = load(tmp_path / "fmap", "sub-01_b0map", {"Units": "ppm"})
    assert (b0.quantity, b0.unit) == ("b0_shift", "ppm")
    hertz = load(tmp_path / "fmap", "sub-02_b0map", {"Units": "Hz", "ImagingFrequency": 300.0})
    assert float(hertz.data[1, 0, 0, 0]) == pytest.approx(1 / 300)
    with pytest.raises(MissingMetadata, match="ImagingFrequency"):
        load(tmp_path / "fmap", "sub-03_b0map", {"Units": "Hz"})
    with pytest.raises(UnitMismatch, match="ppm"):
        load(tmp_path / "fmap", "sub-04_b0map", {"Units": "s"})
    bare = load(tmp_path / "fmap", "sub-05_b0map", {"MagneticFieldStrength": 7})
    assert bare.quantity == "signal"
    assert "map-unit-missing" in codes(bare)


def test_everything_survives_saving(tmp_path):
    sidecar = cest(
        ImagingFrequency=300.0,
        M0Index=[0],
        SaturationB1cwpe=2.0,
        SaturationPulseShape="gauss",
        SaturationPulseDuration=0.05,
        SaturationPulseInterval=0.005,
        SaturationPulseCount=36,
        RecoveryTime=3.5,
        AcquisitionOrder="alternating",
    )
    before = load(tmp_path, "a_cest", sidecar)
    it.save(before, tmp_path / "again_cest.nii.gz")
    after = it.load(tmp_path / "again_cest.nii.gz")
    assert after.axes[0].same_as(before.axes[0])
    assert after.acquisition.saturation == before.acquisition.saturation
    assert after.warnings == before.warnings
    public = json.loads((tmp_path / "again_cest.json").read_text())
    assert public["SaturationOffsets"] == [None, 3.5, 0.0, -3.5]
    assert public["SaturationOffsetSign"] == "downfield_positive"
    for key in ("SaturationB1cwpe", "SaturationPulseShape", "SaturationPulseCount", "RecoveryTime"):
        assert public[key] == sidecar[key]


def test_free_texts_of_a_sidecar_are_not_written(tmp_path):
    volume = load(
        tmp_path, "a_cest", cest(SaturationPulseShape="Canary^Name", AcquisitionOrder="Canary^Name")
    )
    it.save(volume, tmp_path / "again_cest.nii.gz")
    assert "Canary" not in (tmp_path / "again_cest.json").read_text()
    again = it.load(tmp_path / "again_cest.nii.gz")
    assert "pulse_shape" not in again.acquisition.saturation


def test_offsets_and_pulses_edited_in_our_own_sidecar_count(tmp_path):
    it.save(load(tmp_path, "a_cest", cest(SaturationB1rms=1.5)), tmp_path / "b_cest.nii.gz")
    path = tmp_path / "b_cest.json"
    content = json.loads(path.read_text())
    content["SaturationOffsets"] = [3.4, 0, None, -3.4]
    content["M0Index"] = [2]
    content["SaturationB1rms"] = 2.0
    path.write_text(json.dumps(content))
    volume = it.load(tmp_path / "b_cest.nii.gz")
    np.testing.assert_array_equal(volume.axes[0].values, [3.4, 0, np.nan, -3.4])
    assert volume.acquisition.saturation["m0_index"] == (2,)
    assert volume.acquisition.saturation["b1_rms_ut"] == 2.0


def test_b1_alone_edited_in_our_own_sidecar_counts(tmp_path):
    it.save(load(tmp_path, "a_cest", cest(SaturationB1rms=1.5)), tmp_path / "b_cest.nii.gz")
    path = tmp_path / "b_cest.json"
    path.write_text(path.read_text().replace('"SaturationB1rms": 1.5', '"SaturationB1rms": 2.5'))
    volume = it.load(tmp_path / "b_cest.nii.gz")
    assert volume.acquisition.saturation["b1_rms_ut"] == 2.5
    assert volume.acquisition.saturation["m0_index"] == (0,)
