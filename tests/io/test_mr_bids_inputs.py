"""MR input rules for BIDS: units, suffixes of quantitative MRI, pairs of images, maps that load back."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import CorruptInput, ImplausibleValue, NothingUsable
from imgtheranostics.io.bids_mri import MR_SUFFIXES
from imgtheranostics.volume import Axis, Volume


def codes(volume):
    return [caution.code for caution in volume.warnings]


def write(folder, name, sidecar, value=1.0, shape=(3, 4, 5)):
    folder.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.full(shape, value, dtype=np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, folder / f"{name}.nii.gz")
    if sidecar is not None:
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    return folder / f"{name}.nii.gz"


def test_every_suffix_of_quantitative_bids_is_magnetic_resonance(tmp_path):
    """File collections of the qMRI appendix of BIDS 1.9."""
    named = ["VFA", "IRT1", "MP2RAGE", "MESE", "MEGRE", "MTR", "MTS", "MPM"]
    named += ["TB1DAM", "TB1EPI", "TB1AFI", "TB1TFL", "TB1RFM", "TB1SRGE", "RB1COR"]
    assert set(named) <= MR_SUFFIXES


@pytest.mark.parametrize(
    ("suffix", "entity", "key", "values", "name"),
    [
        ("VFA", "flip", "FlipAngle", {1: 3, 2: 15, 10: 9}, "flip_angle"),
        ("IRT1", "inv", "InversionTime", {1: 2.0, 2: 0.05, 10: 0.4}, "inversion_time"),
        ("MP2RAGE", "inv", "InversionTime", {1: 0.8, 2: 2.7}, "inversion_time"),
        ("MESE", "echo", "EchoTime", {1: 0.01, 2: 0.02, 10: 0.1}, "echo_time"),
        ("MEGRE", "echo", "EchoTime", {1: 0.002, 2: 0.004}, "echo_time"),
        ("TB1DAM", "flip", "FlipAngle", {1: 60, 2: 120}, "flip_angle"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_collection_is_ordered_by_the_value_of_its_field(
    tmp_path, suffix, entity, key, values, name, as_text
):
    """The index 10 comes before 2 by name, and numbers may be written as texts."""
    for number, value in values.items():
        stated = {
            key: str(value) if as_text else value,
            "RepetitionTimeExcitation": "0.9" if as_text else 0.9,
        }
        write(tmp_path, f"sub-01_{entity}-{number}_{suffix}", stated, value=number)
    volume = it.load(tmp_path)
    (axis,) = volume.axes
    assert (axis.name, axis.values.tolist()) == (name, sorted(values.values()))
    assert volume.data[0, 0, 0].tolist() == [n for n, _ in sorted(values.items(), key=lambda pair: pair[1])]
    assert volume.acquisition.repetition_time_s == 0.9


def test_actual_flip_angle_pair_is_a_repetition_time_series(tmp_path):
    for number, repetition in ((1, 0.02), (2, 0.1)):
        sidecar = {"RepetitionTimeExcitation": repetition, "FlipAngle": 55}
        write(tmp_path, f"sub-01_acq-tr{number}_TB1AFI", sidecar, value=number)
    volume = it.load(tmp_path)
    assert [(a.name, a.values.tolist()) for a in volume.axes] == [("repetition_time", [0.02, 0.1])]
    assert volume.acquisition.flip_angle_deg == 55.0


def test_other_acquisitions_stay_apart(tmp_path):
    for label in ("tr1", "tr2"):
        write(tmp_path, f"sub-01_acq-{label}_T1w", {"RepetitionTime": 0.5})
    with pytest.raises(NothingUsable, match="2 series"):
        it.load(tmp_path)


def test_excitation_goes_before_repetition_time(tmp_path):
    sidecar = {"RepetitionTimeExcitation": 0.015, "RepetitionTime": 5.0, "FlipAngle": 10}
    volume = it.load(write(tmp_path, "sub-01_VFA", sidecar))
    assert volume.acquisition.repetition_time_s == 0.015
    assert codes(volume) == []


def test_repetition_time_alone_is_taken_with_a_warning(tmp_path):
    volume = it.load(write(tmp_path, "sub-01_VFA", {"RepetitionTime": 0.015, "FlipAngle": 10}))
    assert volume.acquisition.repetition_time_s == 0.015
    assert codes(volume) == ["repetition-time-kind"]


@pytest.mark.parametrize(
    ("suffix", "sidecar"),
    [
        ("MEGRE", {"EchoTime": 16.5}),
        ("MEGRE", {"EchoTime": 2.3, "RepetitionTimeExcitation": 0.02}),
        ("IRT1", {"InversionTime": 800}),
        ("IRT1", {"InversionTime": 0.8, "RepetitionTimeExcitation": 2500}),
        ("VFA", {"RepetitionTimeExcitation": 15, "FlipAngle": 10}),
        ("VFA", {"RepetitionTimeExcitation": 1.5e-5, "FlipAngle": 10}),
        ("IRT1", {"InversionTime": -0.1}),
        ("MEGRE", {"EchoTime": 0}),
    ],
)
def test_milliseconds_and_impossible_times_are_refused(tmp_path, suffix, sidecar):
    with pytest.raises(ImplausibleValue):
        it.load(write(tmp_path, f"sub-01_{suffix}", sidecar))


@pytest.mark.parametrize(
    ("suffix", "sidecar"),
    [
        ("VFA", {"RepetitionTimeExcitation": 0.005, "FlipAngle": 2}),
        ("MESE", {"EchoTime": 0.4, "RepetitionTimeExcitation": 5.0}),
        ("IRT1", {"InversionTime": 0, "RepetitionTimeExcitation": 10.0}),
        ("MEGRE", {"EchoTime": 0.0012, "RepetitionTimeExcitation": 2.5}),
    ],
)
def test_plausible_times_raise_no_alarm(tmp_path, suffix, sidecar):
    assert codes(it.load(write(tmp_path, f"sub-01_{suffix}", sidecar))) == []


def test_flip_angles_in_radians_are_refused(tmp_path):
    for number, angle in ((1, 0.05), (2, 0.26)):
        write(tmp_path, f"sub-01_flip-{number}_VFA", {"FlipAngle": angle})
    with pytest.raises(ImplausibleValue, match="radians"):
        it.load(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "units", "stored", "quantity", "unit", "value"),
    [
        ("T1map", "s", 1.2, "t1", "s", 1.2),
        ("T1map", "ms", 1200.0, "t1", "s", 1.2),
        ("T2map", "s", 0.08, "t2", "s", 0.08),
        ("T2starmap", "ms", 35.0, "t2star", "s", 0.035),
        ("R1map", "1/s", 0.8, "r1", "1/s", 0.8),
        ("R2starmap", "1/s", 216.0, "r2star", "1/s", 216.0),
        ("M0map", "arbitrary", 900.0, "signal", "[arb'U]", 900.0),
        ("TB1map", "arbitrary", 0.93, "relative_b1", "1", 0.93),
        ("TB1map", "percent", 93.0, "relative_b1", "1", 0.93),
    ],
)
def test_maps_load_as_their_quantity(tmp_path, suffix, units, stored, quantity, unit, value):
    volume = it.load(write(tmp_path, f"sub-01_{suffix}", {"Units": units}, value=stored))
    assert (volume.quantity, volume.unit) == (quantity, unit)
    assert float(volume.data[0, 0, 0]) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("suffix", "units", "value"),
    [("T1map", "s", 1200.0), ("T1map", None, 1200.0), ("T2starmap", "s", 80.0), ("R1map", "1/s", 0.0008)],
)
def test_map_whose_values_are_another_unit_is_refused(tmp_path, suffix, units, value):
    """A relaxation time above a minute is none: 1200 are ms, whatever the sidecar says."""
    with pytest.raises(ImplausibleValue, match="ms"):
        it.load(write(tmp_path, f"sub-01_{suffix}", {"Units": units} if units else {}, value=value))


def test_own_standard_error_of_a_rate_may_be_small(tmp_path):
    path = write(tmp_path, "r1_se", {"Quantity": "r1", "Units": "1/s"}, value=0.001)
    assert it.load(path).quantity == "r1"


def test_failed_voxels_of_a_map_do_not_decide_its_unit(tmp_path):
    path = write(tmp_path, "sub-01_T1map", {"Units": "s"}, value=1.3)
    image = nibabel.load(path)
    data = np.asanyarray(image.dataobj).copy()
    data[0], data[1, 0] = np.nan, 0.0
    nibabel.save(nibabel.Nifti1Image(data, image.affine, image.header), path)
    assert it.load(path).quantity == "t1"


def test_percent_of_a_transmit_field_is_recorded(tmp_path):
    volume = it.load(write(tmp_path, "sub-01_TB1map", {}, value=104.0))
    assert codes(volume) == ["b1-in-percent"]
    assert "convert_unit" in [step.name for step in volume.history]


def test_map_saved_under_its_bids_name_loads_back(tmp_path):
    first = it.load(write(tmp_path, "sub-01_T1map", {"Units": "ms"}, value=1350.0))
    (tmp_path / "out").mkdir()
    it.save(first, tmp_path / "out" / "sub-01_T1map.nii.gz")
    sidecar = json.loads((tmp_path / "out" / "sub-01_T1map.json").read_text())
    assert sidecar["Units"] == "s"
    again = it.load(tmp_path / "out" / "sub-01_T1map.nii.gz")
    assert (again.quantity, again.unit, float(again.data[0, 0, 0])) == ("t1", "s", pytest.approx(1.35))


def test_magnitude_and_phase_are_two_series_with_their_quantities(tmp_path):
    for part, units in (("mag", "arbitrary"), ("phase", "rad")):
        for echo in (1, 2):
            sidecar = {"EchoTime": 0.005 * echo, "Units": units}
            write(tmp_path, f"sub-01_echo-{echo}_part-{part}_MEGRE", sidecar)
    volumes = it.load_all(tmp_path)
    assert [(v.quantity, v.unit, v.acquisition.image_component, len(v.axes[0])) for v in volumes] == [
        ("signal", "[arb'U]", "magnitude", 2),
        ("phase", "rad", "phase", 2),
    ]


def test_files_that_differ_in_one_parameter_become_one_volume_when_asked(tmp_path):
    """Names that BIDS does not know as one collection."""
    for number, repetition in ((1, 2.0), (2, 0.5)):
        write(
            tmp_path,
            f"sub-01_run-{number}_T1w",
            {"RepetitionTime": repetition, "EchoTime": 0.01},
            value=number,
        )
    volume = it.load(tmp_path, series="all")
    assert [(a.name, a.values.tolist()) for a in volume.axes] == [("repetition_time", [0.5, 2.0])]
    assert volume.data[0, 0, 0].tolist() == [2.0, 1.0]


@pytest.mark.parametrize("which", ["image", "sidecar"])
def test_pointer_instead_of_image_or_sidecar(tmp_path, which):
    path = write(tmp_path, "sub-01_T1w", {"EchoTime": 0.01})
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"
    (path if which == "image" else tmp_path / "sub-01_T1w.json").write_text(pointer)
    with pytest.raises(CorruptInput, match="LFS pointer"):
        it.load(path)


def test_an_edited_public_key_of_our_own_sidecar_counts(tmp_path):
    """RepetitionTimeExcitation stands beside our own record, and is the one that people edit."""
    v = Volume(
        np.ones((3, 3, 3, 2), np.float32), np.eye(4), "signal", "[arb'U]",
        (Axis("flip_angle", [5.0, 15.0], "deg"),),
        acquisition=MrAcquisition(repetition_time_s=0.008, field_strength_t=3.0),
    )  # fmt: skip
    it.save(v, tmp_path / "a.nii.gz")
    assert it.load(tmp_path / "a.nii.gz").acquisition.repetition_time_s == 0.008
    sidecar = tmp_path / "a.json"
    content = json.loads(sidecar.read_text())
    for edited in (0.012, 8.0):
        sidecar.write_text(json.dumps({**content, "RepetitionTimeExcitation": edited}))
        found = it.load(tmp_path / "a.nii.gz")
        assert found.acquisition.repetition_time_s == edited
        assert found.acquisition.field_strength_t == 3.0
    with pytest.raises(ImplausibleValue, match="milliseconds"):
        it.mri.t1_map(found)
