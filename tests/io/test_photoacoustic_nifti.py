"""Optoacoustic images as NIfTI with a ``_pa`` sidecar: every key of msot.md section 5.4, read and written."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import PhotoacousticAcquisition, UltrasoundAcquisition
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.io.wavelengths import with_wavelengths
from imgtheranostics.volume import Axis, Volume

PA = {"Modality": "PA", "Wavelengths": [800, 700, 750], "WavelengthUnits": "nm"}


def write(folder, sidecar, extents, name="mouse_pa", step=None):
    """An image whose voxels say which sample they are of."""
    shape = (2, 3, 2, *extents)
    samples = np.arange(int(np.prod(extents)), dtype=np.float32).reshape(extents, order="F")
    image = nibabel.Nifti1Image(np.broadcast_to(samples, shape).astype(np.float32), np.diag([0.1, 0.1, 1, 1]))
    image.header.set_xyzt_units("mm", "sec" if step else None)
    if step:
        image.header["pixdim"][4] = step
    nibabel.save(image, folder / f"{name}.nii.gz")
    if sidecar is not None:
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    return folder / f"{name}.nii.gz"


def codes(volume):
    return {caution.code for caution in volume.warnings}


def test_wavelengths_are_sorted_with_their_images(tmp_path):
    volume = it.load(write(tmp_path, PA, (3,)))
    assert_array_equal(volume.axes[0].values, [700, 750, 800])
    assert_array_equal(volume.data[0, 0, 0], [1, 2, 0])
    assert volume.acquisition.wavelength_nm == (800.0, 700.0, 750.0)
    assert volume.history[-1].parameters["found"] == [800.0, 700.0, 750.0]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_the_order_of_the_wavelengths_never_matters(tmp_path, order):
    """msot.md section 6: swap of the order in the data gives the same volume."""
    wavelengths = np.array([700, 750, 800])
    values = np.array([10.0, 20.0, 30.0], dtype=np.float32)
    image = nibabel.Nifti1Image(np.tile(values[order], (2, 2, 2, 1)), np.eye(4))
    nibabel.save(image, tmp_path / "mouse_pa.nii")
    sidecar = PA | {"Wavelengths": wavelengths[order].tolist()}
    (tmp_path / "mouse_pa.json").write_text(json.dumps(sidecar))
    volume = it.load(tmp_path / "mouse_pa.nii")
    assert_array_equal(volume.axes[0].values, wavelengths)
    assert_array_equal(volume.data[1, 1, 1], values)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, ["time", "wavelength"]),
        (["time", "wavelength"], ["time", "wavelength"]),
        (["x", "y", "z", "time", "wavelength"], ["time", "wavelength"]),
        ("i, j, k, time, wavelength", ["time", "wavelength"]),
        (["wavelength", "time"], ["time", "wavelength"]),
    ],
)
def test_axis_order_says_which_axis_is_which(tmp_path, order, expected):
    first = order is not None and order[0] == "wavelength"
    sidecar = PA | {"FrameTimes": [0, 2.5]} | ({"AxisOrder": order} if order else {})
    volume = it.load(write(tmp_path, sidecar, (3, 2) if first else (2, 3)))
    assert [axis.name for axis in volume.axes] == expected
    assert_array_equal(volume.axes[0].values, [0, 2.5])
    samples = np.arange(6).reshape((3, 2) if first else (2, 3), order="F")
    samples = samples.T if first else samples
    assert_array_equal(volume.data[0, 0, 0], samples[:, [1, 2, 0]])


@pytest.mark.parametrize(
    ("order", "extents"),
    [
        (["wavelength"], (2, 3)),
        (["time"], (3,)),
        (["wavelength", "time", "energy"], (2, 3)),
        (["wavelength", "wavelength"], (2, 3)),
        (["time", "wavelength", "x", "y", "z"], (2, 3)),
        (7, (3,)),
        ([1, 2], (3,)),
    ],
)
def test_an_axis_order_that_contradicts_the_image_is_refused(tmp_path, order, extents):
    with pytest.raises(CorruptInput, match="AxisOrder"):
        it.load(write(tmp_path, PA | {"AxisOrder": order}, extents))


def test_time_series_of_one_wavelength_may_leave_out_its_axis(tmp_path):
    sidecar = PA | {"Wavelengths": 700, "AxisOrder": ["time"], "FrameTimes": [0, 1, 2, 3]}
    volume = it.load(write(tmp_path, sidecar, (4,)))
    assert [axis.name for axis in volume.axes] == ["time", "wavelength"]
    assert volume.shape == (2, 3, 2, 4, 1)


def test_every_key_of_the_sidecar_reaches_the_record(tmp_path):
    sidecar = PA | {
        "ImageType": "p0",
        "LaserEnergies": [20, 30, 40],
        "EnergyCorrected": True,
        "FluenceCorrected": False,
        "SpeedOfSound": 1510,
        "Reconstruction": "backprojection",
        "Temperature": 34.5,
    }
    record = it.load(write(tmp_path, sidecar, (3,))).acquisition
    assert record.laser_energy_mj == (20.0, 30.0, 40.0)
    assert (record.energy_corrected, record.fluence_corrected) == (True, False)
    assert (record.reconstruction, record.temperature_cel) == ("backprojection", 34.5)
    assert (record.image_type, record.speed_of_sound_m_s) == ("p0", 1510.0)


@pytest.mark.parametrize(("energies", "fits"), [([20], True), ([1, 2], False), ([1, 2, 3, 4], False)])
def test_laser_energies_must_fit_the_wavelengths(tmp_path, energies, fits):
    path = write(tmp_path, PA | {"LaserEnergies": energies}, (3,))
    if fits:
        assert it.load(path).acquisition.laser_energy_mj == (20.0, 20.0, 20.0)
    else:
        with pytest.raises(CorruptInput, match="LaserEnergies"):
            it.load(path)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ("optoacoustic_signal", "[arb'U]", 1.0, set())),
        ({"ImageType": "raw-au"}, ("optoacoustic_signal", "[arb'U]", 1.0, set())),
        ({"ImageType": "mu_a", "Units": "1/cm"}, ("optical_absorption", "1/cm", 1.0, set())),
        ({"ImageType": "mu_a", "Units": "1/mm"}, ("optical_absorption", "1/cm", 10.0, set())),
        ({"ImageType": "mu_a", "Units": "cm^-1"}, ("optical_absorption", "1/cm", 1.0, set())),
        ({"ImageType": "mu_a"}, ("optical_absorption", "1/cm", 1.0, {"unit-assumed"})),
        (
            {"ImageType": "mu_a", "FluenceCorrected": False},
            ("optoacoustic_signal", "[arb'U]", 1.0, {"not-fluence-corrected"}),
        ),
    ],
)
def test_absorption_is_what_says_so_and_nothing_else(tmp_path, more, expected):
    quantity, unit, factor, told = expected
    volume = it.load(write(tmp_path, PA | more, (3,)))
    assert (volume.quantity, volume.unit) == (quantity, unit)
    assert_allclose(volume.data[0, 0, 0], factor * np.array([1, 2, 0]), rtol=1e-6)
    assert codes(volume) == told


def test_absorption_in_another_unit_is_refused(tmp_path):
    with pytest.raises(UnitMismatch):
        it.load(write(tmp_path, PA | {"ImageType": "mu_a", "Units": "Bq/mL"}, (3,)))


@pytest.mark.parametrize("sidecar", [None, {"Modality": "PA"}, {"SpeedOfSound": 1500}])
@pytest.mark.parametrize("name", ["mouse_pa", "mouse"])
def test_wavelengths_may_be_given_where_no_file_states_them(tmp_path, sidecar, name):
    volume = it.load(write(tmp_path, sidecar, (3,), name=name), wavelength_nm=[800, 700, 750])
    assert (volume.quantity, volume.axes[0].name) == ("optoacoustic_signal", "wavelength")
    assert_array_equal(volume.axes[0].values, [700, 750, 800])
    assert_array_equal(volume.data[0, 0, 0], [1, 2, 0])


def test_given_wavelengths_overrule_the_sidecar(tmp_path):
    path = write(tmp_path, PA | {"Wavelengths": [2, 2, 2]}, (3,))
    with pytest.raises(UnitMismatch):
        it.load(path)
    assert_array_equal(it.load(path, wavelength_nm=[700, 750, 800]).data[0, 0, 0], [0, 1, 2])


@pytest.mark.parametrize(
    ("given", "kind"),
    [([700, 800], CorruptInput), ([7e-7, 7.5e-7, 8e-7], UnitMismatch), ([np.nan, 700, 800], UnitMismatch)],
)
def test_given_wavelengths_are_checked(tmp_path, given, kind):
    with pytest.raises(kind):
        it.load(write(tmp_path, {"Modality": "PA"}, (3,)), wavelength_nm=given)


def test_wavelengths_are_refused_for_another_modality(tmp_path):
    path = write(tmp_path, {"Modality": "MR", "EchoTime": 0.005}, (3,), name="mouse_T2w")
    with pytest.raises(UnsupportedInput, match="another modality"):
        it.load(path, wavelength_nm=[700, 750, 800])


def test_without_wavelengths_nothing_is_guessed(tmp_path):
    with pytest.raises(MissingMetadata, match="wavelengths"):
        it.load(write(tmp_path, {"Modality": "PA"}, (3,)))


def saved(tmp_path, axes, shape, **record):
    data = np.random.default_rng(3).normal(size=shape)
    acquisition = PhotoacousticAcquisition(**record)
    volume = Volume(data, np.diag([0.1, 0.1, 1, 1]), "optoacoustic_signal", "[arb'U]", axes, acquisition)
    it.save(volume, tmp_path / "mouse_pa.nii.gz")
    content = json.loads((tmp_path / "mouse_pa.json").read_text())
    return volume, content, nibabel.load(tmp_path / "mouse_pa.nii.gz").header


COLOURS = Axis("wavelength", [700, 800], "nm")
RECORD = {
    "wavelength_nm": (700.0, 800.0),
    "laser_energy_mj": (20.0, 30.0),
    "energy_corrected": True,
    "fluence_corrected": False,
    "temperature_cel": 34.0,
    "speed_of_sound_m_s": 1510.0,
    "reconstruction": "backprojection",
    "image_type": "p0",
}


def test_written_header_does_not_pretend_that_wavelengths_are_time(tmp_path):
    """msot.md 5.4: intent_name MSOT, pixdim[4] = 0 and no unit of time in the 4-D case."""
    _, content, header = saved(tmp_path, (COLOURS,), (2, 3, 2, 2), **RECORD)
    assert header["intent_name"].item() == b"MSOT"
    assert header["pixdim"][4] == 0.0
    assert header.get_xyzt_units() == ("mm", "unknown")
    expected = {
        "Modality": "PA",
        "Wavelengths": [700.0, 800.0],
        "WavelengthUnits": "nm",
        "AxisOrder": ["wavelength"],
        "ImageType": "p0",
        "LaserEnergies": [20.0, 30.0],
        "LaserEnergyUnits": "mJ",
        "EnergyCorrected": True,
        "FluenceCorrected": False,
        "SpeedOfSound": 1510.0,
        "Reconstruction": "backprojection",
        "Temperature": 34.0,
        "SoftwareName": "imgtheranostics",
    }
    assert expected.items() <= content.items()
    assert "FrameTimes" not in content
    assert content["SoftwareVersion"]


def test_written_time_series_has_time_fourth_and_wavelength_fifth(tmp_path):
    axes = (Axis("time", [0.0, 1.5, 4.0], "s"), COLOURS)
    _, content, header = saved(tmp_path, axes, (2, 3, 2, 3, 2), **RECORD)
    assert header.get_data_shape() == (2, 3, 2, 3, 2)
    assert (content["AxisOrder"], content["FrameTimes"]) == (["time", "wavelength"], [0.0, 1.5, 4.0])
    assert header["intent_name"].item() == b"MSOT"


@pytest.mark.parametrize("ours", [True, False], ids=["own keys", "public keys alone"])
@pytest.mark.parametrize("times", [None, [0.0, 1.5, 4.0]])
def test_image_survives_with_our_keys_and_with_the_public_ones(tmp_path, ours, times):
    axes = (COLOURS,) if times is None else (Axis("time", times, "s"), COLOURS)
    volume, content, _ = saved(tmp_path, axes, (2, 3, 2, *(len(axis) for axis in axes)), **RECORD)
    if not ours:
        kept = {
            key: value for key, value in content.items() if key not in ("Quantity", "Axes", "Acquisition")
        }
        (tmp_path / "mouse_pa.json").write_text(json.dumps(kept))
    again = it.load(tmp_path / "mouse_pa.nii.gz")
    assert_array_equal(again.data, volume.data)
    assert all(a.same_as(b) for a, b in zip(volume.axes, again.axes, strict=True))
    for name, value in RECORD.items():
        assert getattr(again.acquisition, name) == value


def test_energies_are_written_beside_their_wavelengths(tmp_path):
    """The record keeps the order of the file, the axis is sorted: keys pair them by value."""
    _, content, _ = saved(
        tmp_path, (COLOURS,), (2, 3, 2, 2), wavelength_nm=(800.0, 700.0), laser_energy_mj=(30.0, 20.0)
    )
    assert (content["Wavelengths"], content["LaserEnergies"]) == ([700.0, 800.0], [20.0, 30.0])


def test_free_text_of_the_method_is_not_written(tmp_path):
    _, content, _ = saved(tmp_path, (COLOURS,), (2, 3, 2, 2), reconstruction="Canary's method")
    assert "Canary" not in json.dumps(content)


def volume_of(axes, **changes):
    shape = (2, 2, 2, *(len(axis) for axis in axes))
    values = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    return Volume(values, np.eye(4), "signal", "[arb'U]", axes, **changes)


def test_samples_of_unknown_meaning_are_placed_on_wavelengths():
    before = volume_of((Axis("component", [0, 1, 2], "1"),))
    after = with_wavelengths(before, [800, 700, 750])
    assert (after.quantity, after.axes[0].unit) == ("optoacoustic_signal", "nm")
    assert_array_equal(after.data, before.data[..., [1, 2, 0]])
    assert after.acquisition.wavelength_nm == (800.0, 700.0, 750.0)


def test_a_single_image_gets_an_axis_of_one_wavelength():
    after = with_wavelengths(volume_of(()), [700])
    assert after.shape == (2, 2, 2, 1)


@pytest.mark.parametrize(
    ("volume", "given", "kind"),
    [
        (volume_of(()), [700, 800], GeometryMismatch),
        (volume_of((Axis("echo_time", [1, 2], "s"),)), [700, 800], GeometryMismatch),
        (volume_of((Axis("component", [0, 1, 2], "1"),)), [700, 800], CorruptInput),
        (volume_of((COLOURS,), acquisition=UltrasoundAcquisition()), [700, 800], UnsupportedInput),
        (Volume(np.zeros((2, 2, 2, 2)), np.eye(4), "so2", "%", (COLOURS,)), [700, 800], UnsupportedInput),
    ],
)
def test_what_cannot_be_placed_on_wavelengths_is_refused(volume, given, kind):
    with pytest.raises(kind):
        with_wavelengths(volume, given)


def test_time_series_keep_their_time_when_wavelengths_are_replaced():
    before = volume_of((COLOURS, Axis("time", [0, 1, 2], "s")))
    after = with_wavelengths(before, [810, 710])
    assert [axis.name for axis in after.axes] == ["time", "wavelength"]
    assert_array_equal(after.data, np.swapaxes(before.data, 3, 4)[..., ::-1])
    assert "wavelengths-replaced" in codes(after)
