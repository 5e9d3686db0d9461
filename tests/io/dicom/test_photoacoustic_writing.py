"""Photoacoustic images: one file per wavelength, frames placed in the volume's frame of reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnsupportedInput
from imgtheranostics.io.dicom.header_modules import Labels
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.volume import Axis, Source, Volume

SHAPE = (7, 6, 4)
AFFINE = np.array([[-0.1, 0, 0, 1.5], [0, -0.15, 0, 7.25], [0, 0, 0.5, -2.125], [0, 0, 0, 1]])
WAVELENGTHS = Axis("wavelength", [700, 757.5, 800, 850], "nm")
TIME = Axis("time", [0, 2.5], "s")


def image(axes=(WAVELENGTHS,), data=None, affine=AFFINE, **changes) -> Volume:
    record = replace(
        PhotoacousticAcquisition(
            manufacturer="iThera",
            model="One",
            wavelength_nm=(700.0, 757.5, 800.0, 850.0),
            laser_energy_mj=(70.0, 75.5, 80.0, 65.0),
            speed_of_sound_m_s=1520.0,
            image_type="p0",
        ),
        **changes,
    )
    shape = SHAPE + tuple(len(axis) for axis in axes)
    if data is None:
        data = np.random.default_rng(5).normal(0, 1, shape)
    source = Source(subject="sub-1234abcd")
    return Volume(data, affine, "optoacoustic_signal", "[arb'U]", axes, record, source=source)


@pytest.mark.parametrize("axes", [(WAVELENGTHS,), (TIME, WAVELENGTHS)], ids=["spectrum", "dynamic"])
def test_values_negative_ones_too_and_axes_survive(tmp_path, axes):
    volume = image(axes)
    files = write_dicom(volume, tmp_path / "out")
    assert len(files) == len(WAVELENGTHS)
    back = it.load(tmp_path / "out")
    assert [axis.name for axis in back.axes] == [axis.name for axis in axes]
    for mine, theirs in zip(axes, back.axes, strict=True):
        assert_allclose(theirs.values, mine.values)
    assert (back.quantity, back.unit) == ("optoacoustic_signal", "[arb'U]")
    assert back.grid.same_as(volume.grid)
    limit = np.ptp(volume.data, axis=(0, 1)) * 2.0**-15
    assert (np.abs(back.data - volume.data).max(axis=(0, 1)) <= limit).all()


def test_wavelengths_are_the_last_axis_however_they_were_written(tmp_path):
    volume = image((WAVELENGTHS, TIME))
    write_dicom(volume, tmp_path / "out")
    back = it.load(tmp_path / "out")
    assert [axis.name for axis in back.axes] == ["time", "wavelength"]
    assert_allclose(np.swapaxes(back.data, 3, 4), volume.data, atol=1e-3)


def test_record_survives(tmp_path):
    write_dicom(image(), tmp_path / "out", labels=Labels("P^T", "P-t", phantom=True))
    back = it.load(tmp_path / "out").acquisition
    assert back.wavelength_nm == (700.0, 757.5, 800.0, 850.0)
    assert back.laser_energy_mj == (70.0, 75.5, 80.0, 65.0)
    assert (back.speed_of_sound_m_s, back.image_type) == (1520.0, "p0")
    assert (back.manufacturer, back.model) == ("iThera", "One")


def test_energies_follow_their_wavelengths_when_the_axis_runs_down(tmp_path):
    data = np.random.default_rng(5).normal(0, 1, (*SHAPE, 4))
    falling = Axis("wavelength", WAVELENGTHS.values[::-1], "nm")
    write_dicom(image((falling,), data=data), tmp_path / "out")
    back = it.load(tmp_path / "out")
    assert_array_equal(back.axes[0].values, WAVELENGTHS.values)
    assert back.acquisition.laser_energy_mj == (70.0, 75.5, 80.0, 65.0)
    assert_allclose(back.data, data[..., ::-1], atol=1e-3)


def test_every_file_states_one_wavelength_and_the_macros_of_a_volume(tmp_path):
    """Attributes as the standard's 2023c edition names them (PS3.3 C.8.34)."""
    files = write_dicom(image(), tmp_path / "out")
    seen = []
    for path in files:
        dataset = pydicom.dcmread(path)
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.6.3"
        assert dataset.Modality == "PA"
        shared = dataset.SharedFunctionalGroupsSequence[0]
        (excitation,) = shared.PhotoacousticExcitationCharacteristicsSequence
        (used,) = dataset.ExcitationWavelengthSequence
        assert used.ExcitationWavelength == excitation.ExcitationWavelength
        seen.append(excitation.ExcitationWavelength)
        frame = dataset.PerFrameFunctionalGroupsSequence[0]
        assert "PlanePositionSequence" not in frame
        assert len(frame.PlanePositionVolumeSequence[0].ImagePositionVolume) == 3
        assert len(shared.PlaneOrientationVolumeSequence[0].ImageOrientationVolume) == 6
    assert seen == [700.0, 757.5, 800.0, 850.0]


def test_one_wavelength_without_an_axis_comes_from_the_record(tmp_path):
    volume = image((), wavelength_nm=(800.0,), laser_energy_mj=(80.0,))
    write_dicom(volume, tmp_path / "out")
    back = it.load(tmp_path / "out")
    assert back.axes == ()
    assert back.acquisition.wavelength_nm == (800.0,)


def test_missing_voxels_stay_missing(tmp_path):
    data = np.random.default_rng(5).normal(0, 1, (*SHAPE, 4))
    data[2, 3] = np.nan
    write_dicom(image(data=data), tmp_path / "out")
    assert_array_equal(np.isnan(it.load(tmp_path / "out").data), np.isnan(data))


@settings(max_examples=8)
@given(angles=st.tuples(*[st.floats(-3.0, 3.0)] * 3))
def test_any_orientation_survives(tmp_path_factory, rotation, angles):
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) @ np.diag([0.2, 0.3, 0.9])
    folder = tmp_path_factory.mktemp("any") / "out"
    volume = image(affine=affine)
    write_dicom(volume, folder)
    back = it.load(folder)
    match = volume.grid.axis_match(back.grid, 1e-3)
    assert match is not None
    assert_allclose(back.reordered(match).data, volume.data, atol=1e-3)


def test_same_bytes_and_no_free_text_of_a_person(tmp_path):
    canary = "CanaryDoe"
    one = write_dicom(image(model=canary), tmp_path / "a")
    two = write_dicom(image(model=canary), tmp_path / "b")
    assert [a.read_bytes() for a in one] == [b.read_bytes() for b in two]
    assert canary.encode() not in b"".join(path.read_bytes() for path in one)
    assert len({pydicom.dcmread(path).SeriesInstanceUID for path in one}) == 1


@pytest.mark.parametrize(
    ("volume", "kind", "said"),
    [
        (lambda: image(()), MissingMetadata, "wavelength"),
        (lambda: image((Axis("component", [1, 2], "1"),)), UnsupportedInput, "NIfTI"),
        (lambda: image((Axis("wavelength", [700, 700], "nm"),)), UnsupportedInput, "same wavelength"),
        (lambda: image(laser_energy_mj=(1.0, 2.0)), GeometryMismatch, "energies"),
        (lambda: replace(image(), quantity="so2", unit="%"), UnsupportedInput, "cannot hold so2"),
    ],
)
def test_what_the_object_cannot_hold_is_refused(tmp_path, volume, kind, said):
    with pytest.raises(kind, match=said):
        write_dicom(volume(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_dciodvfy_finds_no_error_where_it_knows_the_object(tmp_path, dciodvfy):
    for path in write_dicom(image(), tmp_path / "out"):
        report = dciodvfy(path)
        if "Information Object Not found" in report:
            pytest.skip("this dciodvfy is older than the Photoacoustic Image object (needs October 2023)")
        assert "Error" not in report, report


@pytest.mark.parametrize("missing", [False, True])
def test_absorption_comes_back_with_its_unit(tmp_path, missing):
    data = np.random.default_rng(6).random((*SHAPE, 4)) * 3.0
    if missing:
        data[1, 2] = np.nan
    volume = image(data=data).replace(quantity="optical_absorption", unit="1/cm")
    write_dicom(volume, tmp_path / "out")
    back = it.load(tmp_path / "out")
    assert (back.quantity, back.unit) == ("optical_absorption", "1/cm")
    assert_allclose(back.data, data, atol=3.0 * 2.0**-15)
    assert [caution.code for caution in back.warnings if "mapping" in caution.code] == []
