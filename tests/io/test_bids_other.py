"""CEST, photoacoustic and ultrasound sidecars, and our own keys in foreign hands."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from imgtheranostics.acquisition import (
    MrAcquisition,
    OtherAcquisition,
    PhotoacousticAcquisition,
    UltrasoundAcquisition,
)
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.io.nifti import load_nifti
from imgtheranostics.io.saving import save


def load(tmp_path, name, sidecar, *extents, step=None, dtype=np.float32):
    data = np.arange(8 * int(np.prod(extents, dtype=int)), dtype=dtype).reshape(
        (2, 2, 2, *extents), order="F"
    )
    image = nibabel.Nifti1Image(data, np.eye(4), dtype=dtype)
    image.header.set_xyzt_units("mm", "sec" if step else None)
    image.header.set_slope_inter(1.0, 0.0)
    if step:
        image.header["pixdim"][4] = step
    nibabel.save(image, tmp_path / f"{name}.nii.gz")
    if sidecar is not None:
        (tmp_path / f"{name}.json").write_text(json.dumps(sidecar))
    return load_nifti([tmp_path / f"{name}.nii.gz"])[0]


def codes(volume):
    return [caution.code for caution in volume.warnings]


CEST = {
    "MagneticFieldStrength": 7,
    "ImagingFrequency": 300.0,
    "SaturationOffsets": [-300, 3.5, 0, -3.5],
    "SaturationOffsetUnit": "ppm",
    "SaturationB1rms": 1.5,
    "SaturationPulseShape": "gauss",
    "SaturationPulseDuration": 0.05,
    "SaturationPulseCount": 20,
    "SaturationDutyCycle": 0.5,
    "RecoveryTime": 3.0,
}


def test_cest_offsets_are_an_axis_in_ppm_with_the_reference_marked(tmp_path):
    volume = load(tmp_path, "sub-01_cest", CEST, 4)
    assert (volume.axes[0].name, volume.axes[0].unit) == ("saturation_offset", "ppm")
    np.testing.assert_array_equal(volume.axes[0].values, [np.nan, 3.5, 0, -3.5])
    record = volume.acquisition
    assert isinstance(record, MrAcquisition)
    assert record.saturation["m0_index"] == (0,)
    assert record.saturation["recorded_offsets"] == (-300.0, 3.5, 0.0, -3.5)
    assert record.saturation["b1_rms_ut"] == 1.5
    assert record.saturation["pulse_duration_s"] == 0.05
    assert record.saturation["pulse_shape"] == "gauss"
    assert record.saturation["recovery_time_s"] == 3.0
    assert volume.warnings == ()


def test_order_and_sign_of_offsets_are_those_of_the_list(tmp_path):
    """inputs.md trap 20: unsorted lists, and the sign decides the asymmetry."""
    volume = load(tmp_path, "sub-01_cest", CEST | {"SaturationOffsets": [3.5, None, -3.5, 0.2]}, 4)
    np.testing.assert_array_equal(volume.axes[0].values, [3.5, np.nan, -3.5, 0.2])
    assert volume.acquisition.saturation["m0_index"] == (1,)
    np.testing.assert_array_equal(volume.data[..., 2], np.arange(16, 24).reshape((2, 2, 2), order="F"))


def test_hertz_become_ppm_by_the_imaging_frequency(tmp_path):
    sidecar = CEST | {"SaturationOffsets": [-90000, 1050, 0, -1050], "SaturationOffsetUnit": "Hz"}
    volume = load(tmp_path, "sub-01_cest", sidecar, 4)
    np.testing.assert_allclose(volume.axes[0].values, [np.nan, 3.5, 0, -3.5])
    assert volume.acquisition.saturation["recorded_unit"] == "Hz"
    assert any(step.name == "convert_unit" for step in volume.history)
    del sidecar["ImagingFrequency"]
    with pytest.raises(MissingMetadata, match="ImagingFrequency"):
        load(tmp_path, "sub-02_cest", sidecar, 4)


def test_hertz_without_a_unit_are_suspected(tmp_path):
    sidecar = {"SaturationOffsets": [0, 1050, -1050, 525, -525]}
    with pytest.raises(ImplausibleValue, match="Hz"):
        load(tmp_path, "sub-01_cest", sidecar, 5)


def test_unknown_unit_of_offsets_is_refused(tmp_path):
    with pytest.raises(UnitMismatch, match="ppm or Hz"):
        load(tmp_path, "sub-01_cest", CEST | {"SaturationOffsetUnit": "rad/s"}, 4)


def test_reference_list_wins(tmp_path):
    volume = load(
        tmp_path, "sub-01_cest", CEST | {"SaturationOffsets": [40, 3.5, 0, -3.5], "M0Index": [0]}, 4
    )
    assert volume.acquisition.saturation["m0_index"] == (0,)
    assert np.isnan(volume.axes[0].values[0])
    assert volume.warnings == ()


def test_offsets_between_20_and_100_ppm_without_a_reference_list_are_told(tmp_path):
    volume = load(tmp_path, "sub-01_cest", CEST | {"SaturationOffsets": [40, 3.5, 0, -3.5]}, 4)
    assert codes(volume) == ["reference-unknown"]
    assert volume.axes[0].values[0] == 40.0


@pytest.mark.parametrize("index", [[4], [-1], [0.5]])
def test_reference_that_is_not_there_is_refused(tmp_path, index):
    with pytest.raises(CorruptInput, match="M0Index"):
        load(tmp_path, "sub-01_cest", CEST | {"M0Index": index}, 4)


def test_number_of_offsets_must_be_that_of_volumes(tmp_path):
    with pytest.raises(CorruptInput, match="SaturationOffsets"):
        load(tmp_path, "sub-01_cest", CEST, 5)


def test_b1_in_tesla_is_refused_and_per_volume_lists_are_kept(tmp_path):
    with pytest.raises(ImplausibleValue, match="SaturationB1rms"):
        load(tmp_path, "sub-01_cest", CEST | {"SaturationB1rms": 1.5e-6}, 4)
    volume = load(tmp_path, "sub-02_cest", CEST | {"SaturationB1rms": [0, 1, 2, 3]}, 4)
    assert volume.acquisition.saturation["b1_rms_ut"] == (0.0, 1.0, 2.0, 3.0)


def test_b1_of_unknown_kind_is_not_used(tmp_path):
    sidecar = {key: value for key, value in CEST.items() if key != "SaturationB1rms"} | {"SaturationB1": 2.0}
    volume = load(tmp_path, "sub-01_cest", sidecar, 4)
    assert codes(volume) == ["b1-kind-unknown"]
    assert not any(name.startswith("b1") for name in volume.acquisition.saturation)


def test_cest_without_offsets_is_told(tmp_path):
    assert "offsets-missing" in codes(load(tmp_path, "sub-01_cest", {"MagneticFieldStrength": 7}, 4))


def test_cest_survives_saving_and_a_foreign_reader(tmp_path):
    before = load(tmp_path, "sub-01_cest", CEST, 4)
    save(before, tmp_path / "again_cest.nii.gz")
    after = load_nifti([tmp_path / "again_cest.nii.gz"])[0]
    assert after.axes[0].same_as(before.axes[0])
    assert after.acquisition.saturation == before.acquisition.saturation
    content = json.loads((tmp_path / "again_cest.json").read_text())
    assert content["SaturationOffsets"] == [None, 3.5, 0.0, -3.5]
    assert content["M0Index"] == [0]


PA = {
    "Modality": "PA",
    "Wavelengths": [700, 750, 800],
    "WavelengthUnits": "nm",
    "SpeedOfSound": 1510,
    "ImageType": "p0",
}


def test_photoacoustic_wavelengths_become_a_sorted_axis_and_the_record_keeps_their_order(tmp_path):
    """msot.md section 5.5: sorted wavelengths, original order kept in the record."""
    volume = load(
        tmp_path,
        "mouse_pa",
        PA | {"Wavelengths": [800, 700, 750], "LaserEnergies": [0.02, 0.03, 0.04], "LaserEnergyUnits": "J"},
        3,
    )
    assert (volume.quantity, volume.unit) == ("optoacoustic_signal", "[arb'U]")
    assert volume.axes[0].name == "wavelength"
    np.testing.assert_array_equal(volume.axes[0].values, [700, 750, 800])
    np.testing.assert_array_equal(volume.data[0, 0, 0], [8, 16, 0])
    record = volume.acquisition
    assert isinstance(record, PhotoacousticAcquisition)
    assert record.wavelength_nm == (800.0, 700.0, 750.0)
    assert record.laser_energy_mj == pytest.approx((20.0, 30.0, 40.0))
    assert record.speed_of_sound_m_s == 1510.0
    assert volume.warnings == ()


def test_photoacoustic_time_series_has_time_fourth_and_wavelength_fifth(tmp_path):
    volume = load(tmp_path, "mouse_pa", PA | {"FrameTimes": [0, 1.5]}, 2, 3)
    assert [axis.name for axis in volume.axes] == ["time", "wavelength"]
    np.testing.assert_array_equal(volume.axes[0].values, [0, 1.5])
    np.testing.assert_array_equal(volume.data[..., 1, 2], np.arange(40, 48).reshape((2, 2, 2), order="F"))
    with pytest.raises(CorruptInput, match="FrameTimes"):
        load(tmp_path, "other_pa", PA | {"FrameTimes": [0, 1.5, 3]}, 2, 3)


def test_single_wavelength_image_has_the_axis_too(tmp_path):
    volume = load(tmp_path, "mouse_pa", PA | {"Wavelengths": 700})
    assert volume.shape == (2, 2, 2, 1)
    np.testing.assert_array_equal(volume.axes[0].values, [700])


@pytest.mark.parametrize(("values", "unit"), [([7e-7, 7.5e-7, 8e-7], "m"), ([0.7, 0.75, 0.8], "um")])
def test_wavelengths_in_other_units_become_nm(tmp_path, values, unit):
    volume = load(tmp_path, "mouse_pa", PA | {"Wavelengths": values, "WavelengthUnits": unit}, 3)
    np.testing.assert_allclose(volume.axes[0].values, [700, 750, 800])


@pytest.mark.parametrize(
    ("values", "unit"),
    [([7e-7, 7.5e-7, 8e-7], "nm"), ([700, 750, 800], "m"), ([2, 2, 2], "nm"), ([700, 750, 800], "eV")],
)
def test_wavelengths_that_do_not_fit_their_unit_are_refused(tmp_path, values, unit):
    with pytest.raises(UnitMismatch, match="avelength"):
        load(tmp_path, "mouse_pa", PA | {"Wavelengths": values, "WavelengthUnits": unit}, 3)


def test_wavelength_count_must_fit(tmp_path):
    with pytest.raises(CorruptInput, match="Wavelengths"):
        load(tmp_path, "mouse_pa", PA, 4)


def test_repeated_wavelength_is_told(tmp_path):
    assert codes(load(tmp_path, "mouse_pa", PA | {"Wavelengths": [700, 700, 800]}, 3)) == [
        "wavelength-repeated"
    ]


def test_missing_wavelengths_name_the_three_ways(tmp_path):
    with pytest.raises(MissingMetadata) as caught:
        load(tmp_path, "mouse_pa", {"Modality": "PA"}, 3)
    for way in ("Wavelengths", ".wavelengths", "--wavelengths"):
        assert way in str(caught.value)
    assert caught.value.exit_code == 5
    with pytest.raises(MissingMetadata, match="WavelengthUnits"):
        load(tmp_path, "mouse_pa", {"Modality": "PA", "Wavelengths": [700, 750, 800]}, 3)


def test_file_of_wavelengths_beside_the_image(tmp_path):
    (tmp_path / "mouse_pa.wavelengths").write_bytes(b"\xef\xbb\xbf700\r\n750\r\n800\r\n")
    np.testing.assert_array_equal(
        load(tmp_path, "mouse_pa", {"Modality": "PA"}, 3).axes[0].values, [700, 750, 800]
    )
    (tmp_path / "mouse_pa.wavelengths").write_text("red\ngreen\nblue\n")
    with pytest.raises(CorruptInput, match="wavelengths"):
        load(tmp_path, "mouse_pa", {"Modality": "PA"}, 3)


def test_photoacoustic_image_survives_saving_and_a_foreign_reader(tmp_path):
    before = load(tmp_path, "mouse_pa", PA | {"FrameTimes": [0, 1.5]}, 2, 3)
    save(before, tmp_path / "again_pa.nii.gz")
    content = json.loads((tmp_path / "again_pa.json").read_text())
    for key in ("Quantity", "Axes", "Acquisition"):
        del content[key]
    (tmp_path / "again_pa.json").write_text(json.dumps(content))
    after = load_nifti([tmp_path / "again_pa.nii.gz"])[0]
    assert all(mine.same_as(theirs) for mine, theirs in zip(before.axes, after.axes, strict=True))
    assert after.acquisition.speed_of_sound_m_s == 1510.0


def test_ultrasound(tmp_path):
    volume = load(tmp_path, "scan", {"Modality": "US", "MechanicalIndex": 0.1}, 3, step=0.1)
    assert isinstance(volume.acquisition, UltrasoundAcquisition)
    assert volume.quantity == "signal"
    np.testing.assert_allclose(volume.axes[0].values, [0, 0.1, 0.2], rtol=1e-6)


def test_image_without_a_sidecar_is_a_signal(tmp_path):
    volume = load(tmp_path, "scan", None)
    assert isinstance(volume.acquisition, OtherAcquisition)
    assert (volume.quantity, volume.unit) == ("signal", "[arb'U]")


OWN = {"Quantity": "suv_bw", "Units": "g/mL"}


def record(**fields):
    return {"SoftwareName": "imgtheranostics", "Acquisition": {"record": "EmissionAcquisition", **fields}}


def test_hand_made_sidecar_with_our_keys_is_enough(tmp_path):
    volume = load(tmp_path, "scan", OWN)
    assert (volume.quantity, volume.unit) == ("suv_bw", "g/mL")


def test_hand_made_sidecar_in_another_unit_is_converted(tmp_path):
    volume = load(tmp_path, "scan", {"Quantity": "activity_concentration", "Units": "kBq/mL"})
    assert volume.unit == "Bq/mL"
    assert volume.data.max() == 7000.0


def test_our_quantity_with_the_keys_of_a_modality_keeps_both(tmp_path):
    volume = load(
        tmp_path,
        "scan",
        {"Quantity": "signal", "Units": "arbitrary", "MagneticFieldStrength": 3, "Modality": "MR"},
    )
    assert volume.acquisition.field_strength_t == 3.0


@pytest.mark.parametrize(
    ("quantity", "unit"), [("flags", "1"), ("labels", "1"), ("t1", "s"), ("suv_bw", "g/mL")]
)
def test_our_quantity_wins_over_the_modality_it_was_made_from(tmp_path, quantity, unit):
    volume = load(tmp_path, "sub-01_pet", {"Quantity": quantity, "Units": unit, "Modality": "PT"})
    assert (volume.quantity, volume.unit) == (quantity, unit)
    assert (volume.acquisition.modality == "PT") == (quantity == "suv_bw")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"Units": None}, CorruptInput),
        ({"Units": "Bq/mL"}, UnitMismatch),
        ({"Axes": [{"Name": "time", "Units": "s", "Values": [0, 1]}]}, CorruptInput),
        ({"Axes": [{"Name": "weather", "Units": "s", "Values": [0, 1, 2]}]}, CorruptInput),
        ({"Axes": "time"}, CorruptInput),
        ({"Axes": [{"Name": "time"}]}, CorruptInput),
        ({"SoftwareName": "imgtheranostics", "History": [1]}, CorruptInput),
        ({"SoftwareName": "imgtheranostics", "Acquisition": {"record": "os.system"}}, CorruptInput),
        (
            {
                "SoftwareName": "imgtheranostics",
                "Acquisition": {
                    "record": "MrAcquisition",
                    "saturation": 5,
                    "flip_angle_deg": {"seconds": "x"},
                },
            },
            CorruptInput,
        ),
        ({"SoftwareName": "imgtheranostics", "Acquisition": [1]}, CorruptInput),
        (record(frame_duration_s={"numbers": [[1]], "shape": [100000, 1000000, 1000]}), CorruptInput),
        (record(frame_duration_s={"numbers": [[1]], "shape": [1000000000, 1]}), CorruptInput),
        (record(frame_duration_s={"numbers": [[1, 2]], "shape": [3, 3]}), CorruptInput),
        (record(acquisition_datetime={"moments": [[1e300]], "shape": [1, 1]}), CorruptInput),
        (record(series_datetime={"seconds": 1e30}), CorruptInput),
        (record(series_datetime={"seconds": 1, "zone": 1e9}), CorruptInput),
        (
            {
                "SoftwareName": "imgtheranostics",
                "Acquisition": {"record": "MrAcquisition", "flip_angle_deg": "2"},
            },
            CorruptInput,
        ),
    ],
)
def test_broken_keys_of_our_own_are_refused_by_type(tmp_path, change, kind):
    with pytest.raises(kind):
        load(
            tmp_path,
            "scan",
            OWN | {"Axes": [{"Name": "time", "Units": "s", "Values": [0, 1, 2]}]} | change,
            3,
        )


def test_labels_and_flags_are_read_as_whole_numbers(tmp_path):
    assert load(tmp_path, "a", {"Quantity": "labels", "Units": "1"}, dtype=np.int16).data.dtype == np.int32
    assert load(tmp_path, "b", {"Quantity": "flags", "Units": "1"}, dtype=np.uint16).data.dtype == np.uint16
