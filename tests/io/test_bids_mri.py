"""MR sidecars: series of files, units of time and angle, maps."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
)
from imgtheranostics.io.nifti import load_nifti
from imgtheranostics.io.nifti_series import group_files
from imgtheranostics.io.saving import save


def write(folder, name, sidecar, value=0.0, shape=(3, 4, 5), affine=None, step=None):
    image = nibabel.Nifti1Image(
        np.full(shape, value, dtype=np.float32), np.eye(4) if affine is None else affine
    )
    image.header.set_xyzt_units("mm", "sec" if step else None)
    if step:
        image.header["pixdim"][4] = step
    folder.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, folder / f"{name}.nii.gz")
    if sidecar is not None:
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    return folder / f"{name}.nii.gz"


def codes(volume):
    return [caution.code for caution in volume.warnings]


def load_one(tmp_path, sidecar, name="sub-01_T1w", **more):
    return load_nifti([write(tmp_path, name, sidecar, **more)])[0]


def test_single_image(tmp_path):
    sidecar = {
        "Modality": "MR",
        "Manufacturer": "Bruker",
        "MagneticFieldStrength": 7,
        "ImagingFrequency": 300.3,
        "EchoTime": 0.003,
        "RepetitionTime": 0.5,
        "FlipAngle": 30,
        "ScanningSequence": ["GR", "IR"],
        "SequenceName": "FLASH",
    }
    volume = load_one(tmp_path, sidecar)
    record = volume.acquisition
    assert isinstance(record, MrAcquisition)
    assert (volume.quantity, volume.unit) == ("signal", "[arb'U]")
    assert (record.field_strength_t, record.imaging_frequency_mhz) == (7.0, 300.3)
    assert (record.echo_time_s, record.repetition_time_s, record.flip_angle_deg) == (0.003, 0.5, 30.0)
    assert record.scanning_sequence == ("GR", "IR")
    assert volume.warnings == ()


def test_inversion_series_is_ordered_by_time_and_not_by_name(tmp_path):
    """inv-10 sorts before inv-2 by name."""
    times = {1: 2.0, 2: 0.05, 10: 0.4}
    paths = [
        write(
            tmp_path, f"sub-01_inv-{n}_IRT1", {"InversionTime": t, "RepetitionTimeExcitation": 5.0}, value=n
        )
        for n, t in times.items()
    ]
    volumes = load_nifti(paths)
    assert len(volumes) == 1
    axis = volumes[0].axes[0]
    assert (axis.name, axis.unit) == ("inversion_time", "s")
    np.testing.assert_array_equal(axis.values, [0.05, 0.4, 2.0])
    np.testing.assert_array_equal(volumes[0].data[0, 0, 0], [2, 10, 1])
    assert volumes[0].acquisition.inversion_time_s is None
    assert volumes[0].acquisition.repetition_time_s == 5.0
    assert volumes[0].warnings == ()
    assert len([path for path in volumes[0].source.files if path.name.endswith(".nii.gz")]) == 3


def test_variable_flip_angle_series(tmp_path):
    sidecar = {"RepetitionTimeExcitation": 0.005, "EchoTime": 0.002}
    paths = [
        write(tmp_path, f"sub-01_flip-{n}_VFA", sidecar | {"FlipAngle": a}, a)
        for n, a in enumerate((20, 2, 10), 1)
    ]
    volume = load_nifti(paths)[0]
    assert (volume.axes[0].name, volume.axes[0].unit) == ("flip_angle", "deg")
    np.testing.assert_array_equal(volume.axes[0].values, [2, 10, 20])
    np.testing.assert_array_equal(volume.data[1, 1, 1], [2, 10, 20])
    assert volume.acquisition.echo_time_s == 0.002


def test_flip_angles_in_radians_are_refused(tmp_path):
    paths = [
        write(tmp_path, f"sub-01_flip-{n}_VFA", {"FlipAngle": a, "RepetitionTimeExcitation": 0.005})
        for n, a in enumerate((0.03, 0.17, 0.35), 1)
    ]
    with pytest.raises(ImplausibleValue, match="FlipAngle") as caught:
        load_nifti(paths)
    assert "radians" in (caught.value.next_step or "")


def test_echoes_inherit_what_they_share(tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    (tmp_path / "MESE.json").write_text(
        json.dumps({"MagneticFieldStrength": "3", "RepetitionTimeExcitation": "2.0"})
    )
    folder = tmp_path / "sub-01" / "anat"
    paths = [write(folder, f"sub-01_echo-{n}_MESE", {"EchoTime": f"{0.01 * n}"}, n) for n in range(1, 4)]
    volume = load_nifti(paths)[0]
    assert volume.axes[0].name == "echo_time"
    np.testing.assert_allclose(volume.axes[0].values, [0.01, 0.02, 0.03])
    assert volume.acquisition.field_strength_t == 3.0
    assert volume.acquisition.repetition_time_s == 2.0


def test_repetition_times_that_vary_are_kept_one_by_one(tmp_path):
    """Some scanners vary TR with TI: mri.md section 5."""
    paths = [
        write(
            tmp_path, f"sub-01_inv-{n}_IRT1", {"InversionTime": 0.1 * n, "RepetitionTimeExcitation": 1.0 + n}
        )
        for n in (1, 2, 3)
    ]
    volume = load_nifti(paths)[0]
    assert volume.acquisition.repetition_time_s is None
    assert volume.acquisition.repetition_times_s == (2.0, 3.0, 4.0)
    assert codes(volume) == ["series-field-varies"]


def test_repetition_time_stands_in_for_that_of_excitation_with_a_caution(tmp_path):
    volume = load_one(tmp_path, {"FlipAngle": 10, "RepetitionTime": 0.005}, "sub-01_flip-1_VFA")
    assert volume.acquisition.repetition_time_s == 0.005
    assert codes(volume) == ["repetition-time-kind"]
    both = {"FlipAngle": 10, "RepetitionTime": 3.0, "RepetitionTimeExcitation": 0.005}
    volume = load_one(tmp_path, both, "sub-02_flip-1_VFA")
    assert volume.acquisition.repetition_time_s == 0.005
    assert volume.warnings == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"EchoTime": 10.0},
        {"RepetitionTime": 2000.0},
        {"RepetitionTimeExcitation": 500},
        {"InversionTime": 400},
        {"EchoTime": 3.0, "RepetitionTime": 0.5},
        {"EchoTime": 0},
        {"EchoTime": -0.01},
        {"MagneticFieldStrength": 30000},
    ],
)
def test_milliseconds_and_nonsense_are_refused(tmp_path, wrong):
    with pytest.raises(ImplausibleValue) as caught:
        load_one(tmp_path, {"MagneticFieldStrength": 3} | wrong)
    assert any(key in str(caught.value) for key in wrong)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "good", [{"EchoTime": 0.5}, {"RepetitionTime": 15.0}, {"InversionTime": 5.0}, {"EchoTime": 0.0001}]
)
def test_plausible_times_raise_no_alarm(tmp_path, good):
    assert load_one(tmp_path, {"MagneticFieldStrength": 3} | good).warnings == ()


def test_series_without_the_field_is_refused(tmp_path):
    paths = [write(tmp_path, f"sub-01_echo-{n}_MEGRE", {"MagneticFieldStrength": 3}) for n in (1, 2)]
    with pytest.raises(MissingMetadata, match="EchoTime") as caught:
        load_nifti(paths)
    assert caught.value.exit_code == 5


def test_series_with_the_same_value_twice_is_refused(tmp_path):
    paths = [write(tmp_path, f"sub-01_echo-{n}_MEGRE", {"EchoTime": 0.005}) for n in (1, 2)]
    with pytest.raises(CorruptInput, match="same EchoTime"):
        load_nifti(paths)


def test_series_on_two_grids_is_refused(tmp_path):
    moved = np.eye(4)
    moved[0, 3] = 3.0
    first = write(tmp_path, "sub-01_echo-1_MEGRE", {"EchoTime": 0.005})
    second = write(tmp_path, "sub-01_echo-2_MEGRE", {"EchoTime": 0.01}, affine=moved)
    with pytest.raises(GeometryMismatch, match="3 mm"):
        load_nifti([first, second])


def test_empty_file_of_a_series_is_called_empty(tmp_path):
    first = write(tmp_path, "sub-01_echo-1_MEGRE", {"EchoTime": 0.005})
    (tmp_path / "sub-01_echo-2_MEGRE.nii.gz").write_bytes(b"")
    with pytest.raises(CorruptInput, match="empty file"):
        load_nifti([first, tmp_path / "sub-01_echo-2_MEGRE.nii.gz"])


def test_grouping_keeps_subjects_parts_and_runs_apart(tmp_path):
    names = [
        "sub-01_echo-1_part-mag_MEGRE",
        "sub-01_echo-2_part-mag_MEGRE",
        "sub-01_echo-1_part-phase_MEGRE",
        "sub-01_echo-2_part-phase_MEGRE",
        "sub-02_echo-1_part-mag_MEGRE",
        "sub-01_run-1_T1w",
        "sub-01_run-2_T1w",
        "scan_e1",
        "scan_e2",
        "scan_e2_ph",
        "other",
    ]
    groups = group_files([tmp_path / f"{name}.nii.gz" for name in names])
    assert [[path.name.removesuffix(".nii.gz") for path in group] for group in groups] == [
        names[0:2],
        names[2:4],
        names[4:5],
        names[5:6],
        names[6:7],
        names[7:9],
        names[9:10],
        names[10:11],
    ]


def test_echoes_of_several_flip_angles_stay_one_series_per_flip(tmp_path):
    names = [f"sub-01_echo-{e}_flip-{f}_MPM.nii" for f in (1, 2) for e in (1, 2)]
    groups = group_files([tmp_path / name for name in names])
    assert [[path.name for path in group] for group in groups] == [names[:2], names[2:]]


def test_converter_echoes_form_a_series(tmp_path):
    paths = [
        write(tmp_path, f"gre_3_e{n}", {"Modality": "MR", "EchoTime": 0.012 - 0.002 * n}, n) for n in (1, 2)
    ]
    volume = load_nifti(paths)[0]
    np.testing.assert_allclose(volume.axes[0].values, [0.008, 0.01])
    np.testing.assert_array_equal(volume.data[0, 0, 0], [2, 1])


@pytest.mark.parametrize(
    ("key", "values", "name"),
    [
        ("EchoTime", [0.01, 0.02, 0.03], "echo_time"),
        ("InversionTime", [0.1, 0.5, 2.0], "inversion_time"),
        ("FlipAngle", [2, 10, 20], "flip_angle"),
        ("RepetitionTime", [0.3, 1.0, 5.0], "repetition_time"),
    ],
)
def test_list_in_the_sidecar_is_the_fourth_axis(tmp_path, key, values, name):
    volume = load_one(tmp_path, {"Modality": "MR", key: values}, "scan", shape=(2, 2, 2, 3))
    assert volume.axes[0].name == name
    np.testing.assert_array_equal(volume.axes[0].values, values)


def test_list_of_another_length_is_refused(tmp_path):
    with pytest.raises(CorruptInput, match="one entry per volume"):
        load_one(tmp_path, {"Modality": "MR", "EchoTime": [0.01, 0.02]}, "scan", shape=(2, 2, 2, 3))


def test_flip_list_in_radians_is_refused(tmp_path):
    with pytest.raises(ImplausibleValue, match="FlipAngle"):
        load_one(tmp_path, {"Modality": "MR", "FlipAngle": [0.1, 0.2, 0.3]}, "scan", shape=(2, 2, 2, 3))


@pytest.mark.parametrize(
    ("sidecar", "step"), [({"RepetitionTime": 1.5}, None), ({}, 1.5), ({"VolumeTiming": [0, 1.5, 3.0]}, None)]
)
def test_time_series(tmp_path, sidecar, step):
    volume = load_one(tmp_path, {"Modality": "MR"} | sidecar, "scan", shape=(2, 2, 2, 3), step=step)
    assert volume.axes[0].name == "time"
    np.testing.assert_allclose(volume.axes[0].values, [0, 1.5, 3.0])


@pytest.mark.parametrize(
    ("suffix", "unit", "quantity", "ours", "scale"),
    [
        ("T1map", "s", "t1", "s", 1.0),
        ("T1map", "ms", "t1", "s", 1e-3),
        ("T2starmap", "ms", "t2star", "s", 1e-3),
        ("R1map", "1/s", "r1", "1/s", 1.0),
        ("R2starmap", "Hz", None, None, None),
    ],
)
def test_maps_of_bids(tmp_path, suffix, unit, quantity, ours, scale):
    if quantity is None:
        with pytest.raises(UnitMismatch, match="Units"):
            load_one(tmp_path, {"Units": unit}, f"sub-01_{suffix}", value=500.0)
        return
    volume = load_one(tmp_path, {"Units": unit}, f"sub-01_{suffix}", value=50.0)
    assert (volume.quantity, volume.unit) == (quantity, ours)
    np.testing.assert_allclose(volume.data, 50.0 * scale, rtol=1e-6)


def test_map_without_units_is_told(tmp_path):
    assert codes(load_one(tmp_path, {}, "sub-01_T1map", value=1.0)) == ["unit-assumed"]


@pytest.mark.parametrize(("value", "ratio", "warned"), [(0.9, 0.9, False), (90.0, 0.9, True)])
def test_transmit_field_in_percent_becomes_a_ratio(tmp_path, value, ratio, warned):
    volume = load_one(tmp_path, {}, "sub-01_TB1map", value=value)
    assert (volume.quantity, volume.unit) == ("relative_b1", "1")
    np.testing.assert_allclose(volume.data, ratio, rtol=1e-6)
    assert codes(volume) == (["b1-in-percent"] if warned else [])


@pytest.mark.parametrize(("units", "quantity"), [("rad", "phase"), ("arbitrary", "signal"), (None, "signal")])
def test_phase_image(tmp_path, units, quantity):
    sidecar = {"EchoTime": 0.005} | ({"Units": units} if units else {})
    volume = load_one(tmp_path, sidecar, "sub-01_echo-1_part-phase_MEGRE")
    assert volume.quantity == quantity
    assert volume.acquisition.image_component == "phase"


def test_magnetisation_transfer_keys_are_read(tmp_path):
    volume = load_one(tmp_path, {"Modality": "MR", "MTState": True, "MTOffsetFrequency": 2000}, "sub-01_MTS")
    assert volume.acquisition.saturation["mt_state"] is True
    assert volume.acquisition.saturation["mt_offset_hz"] == 2000.0


def test_series_survives_saving(tmp_path):
    paths = [
        write(tmp_path, f"sub-01_echo-{n}_MESE", {"EchoTime": 0.01 * n, "RepetitionTime": 2.0}, n)
        for n in (1, 2)
    ]
    before = load_nifti(paths)[0]
    save(before, tmp_path / "again.nii.gz")
    after = load_nifti([tmp_path / "again.nii.gz"])[0]
    assert after.axes[0].same_as(before.axes[0])
    assert after.acquisition.repetition_time_s == 2.0
    assert after.data.tobytes(order="F") == before.data.tobytes(order="F")
