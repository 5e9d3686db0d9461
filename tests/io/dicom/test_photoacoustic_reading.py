"""Photoacoustic Image objects: what belongs together, what never does, and what numbers are (msot.md 5.1)."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.dataset import Dataset

import imgtheranostics as it
from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import (
    CorruptInput,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.volume import Axis, Volume

SHAPE = (5, 4, 3)
AFFINE = np.array([[-0.1, 0, 0, 1], [0, -0.2, 0, 2], [0, 0, 0.5, -3], [0, 0, 0, 1.0]])


def item(**values) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def image(wavelengths=(700.0, 800.0, 850.0), times=None, seed=5) -> Volume:
    axes = (Axis("wavelength", wavelengths, "nm"),)
    if times is not None:
        axes = (Axis("time", times, "s"), *axes)
    shape = SHAPE + tuple(len(axis) for axis in axes)
    data = np.random.default_rng(seed).integers(-400, 30000, shape).astype(np.float32)
    return Volume(data, AFFINE, "optoacoustic_signal", "[arb'U]", axes)


def written(folder, volume=None, edit=None):
    """Files of one wavelength each, after an edit of each by its number."""
    write_dicom(volume or image(), folder)
    files = sorted(folder.iterdir())
    for number, path in enumerate(files):
        dataset = pydicom.dcmread(path)
        if edit is not None:
            edit(number, dataset)
        dataset.save_as(path)
    return files


def in_one_file(files, path, *, per_frame=True):
    """The published examples have a file for each wavelength; others hold all, told by a dimension index."""
    parts = [pydicom.dcmread(file) for file in files]
    whole, groups, pixels = parts[0], [], b""
    excitations = [
        part.SharedFunctionalGroupsSequence[0].PhotoacousticExcitationCharacteristicsSequence
        for part in parts
    ]
    for number, (part, excitation) in enumerate(zip(parts, excitations, strict=True), start=1):
        for group in part.PerFrameFunctionalGroupsSequence:
            if per_frame:
                group.PhotoacousticExcitationCharacteristicsSequence = excitation
            content = group.FrameContentSequence[0]
            content.DimensionIndexValues = [number, *content.DimensionIndexValues]
            groups.append(group)
        pixels += part.PixelData
    del whole.SharedFunctionalGroupsSequence[0].PhotoacousticExcitationCharacteristicsSequence
    whole.PerFrameFunctionalGroupsSequence = groups
    whole.NumberOfFrames = len(groups)
    whole.PixelData = pixels
    whole.ExcitationWavelengthSequence = [
        item(ExcitationWavelength=e[0].ExcitationWavelength) for e in excitations
    ]
    pointer = item(DimensionIndexPointer=0x00189826, FunctionalGroupPointer=0x00189821)
    whole.DimensionIndexSequence = [pointer, *whole.DimensionIndexSequence]
    whole.save_as(path)
    return path


@pytest.mark.parametrize("per_frame", [True, False], ids=["macro per frame", "dimension index alone"])
@pytest.mark.parametrize("times", [None, [0.0, 2.5]], ids=["spectrum", "dynamic"])
def test_several_wavelengths_in_one_file_are_those_of_several_files(tmp_path, per_frame, times):
    volume = image(times=times)
    files = written(tmp_path / "apart", volume)
    together = it.load(in_one_file(files, tmp_path / "whole.dcm", per_frame=per_frame))
    apart = it.load(tmp_path / "apart")
    assert_array_equal(together.data, apart.data)
    assert [axis.name for axis in together.axes] == [axis.name for axis in volume.axes]
    assert all(a.same_as(b) for a, b in zip(together.axes, apart.axes, strict=True))
    assert_allclose(apart.data, volume.data, atol=0.5)


def test_frames_without_wavelength_or_index_are_refused(tmp_path):
    path = in_one_file(written(tmp_path / "apart"), tmp_path / "whole.dcm", per_frame=False)
    dataset = pydicom.dcmread(path)
    dataset.DimensionIndexSequence[0].DimensionIndexPointer = 0x00209057
    dataset.save_as(path)
    with pytest.raises(MissingMetadata, match="0018,9826"):
        it.load(path)


def test_wavelengths_that_are_series_of_their_own_go_together_in_one_frame_of_reference(tmp_path):
    def edit(number, dataset):
        dataset.SeriesInstanceUID = f"1.2.3.{number}"

    written(tmp_path / "a", edit=edit)
    volume = it.load(tmp_path / "a")
    assert_array_equal(volume.axes[0].values, [700, 800, 850])
    assert_allclose(volume.data, image().data, atol=0.5)
    (summary,) = it.info(tmp_path / "a")
    assert summary.axes == {"wavelength": 3}


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "VolumeFrameOfReferenceUID"])
def test_wavelengths_in_other_frames_of_reference_are_never_merged(tmp_path, keyword):
    def edit(number, dataset):
        if number == 2:
            setattr(dataset, keyword, "1.2.3.4.5")

    written(tmp_path / "a", edit=edit)
    with pytest.raises(NothingUsable, match="2 series"):
        it.load(tmp_path / "a")
    assert [one.axes for one in it.info(tmp_path / "a")] == [{"wavelength": 2}, {}]


def test_two_scans_of_the_same_wavelengths_are_never_merged(tmp_path):
    def edit(number, dataset):
        dataset.SeriesInstanceUID = "1.2.3.4"

    written(tmp_path / "a")
    written(tmp_path / "b", edit=edit)
    with pytest.raises(NothingUsable, match="2 series"):
        it.load(tmp_path)


def test_combined_frames_stay_out_and_the_single_ones_load(tmp_path):
    """msot.md 5.1 a: several items in the per-frame sequence are a combined frame."""

    def edit(number, dataset):
        if number == 2:
            shared = dataset.SharedFunctionalGroupsSequence[0]
            shared.PhotoacousticExcitationCharacteristicsSequence = [
                item(ExcitationWavelength=700.0),
                item(ExcitationWavelength=850.0),
            ]

    written(tmp_path / "a", edit=edit)
    listed = it.info(tmp_path / "a")
    assert sorted(len(one.shape) for one in listed) == [0, 4]
    good = next(one for one in listed if one.shape)
    bad = next(one for one in listed if not one.shape)
    assert_array_equal(it.load(tmp_path / "a", series=good.number).axes[0].values, [700, 800])
    with pytest.raises(UnsupportedInput, match="several wavelengths"):
        it.load(tmp_path / "a", series=bad.number)
    with pytest.raises(UnsupportedInput, match="several wavelengths"):
        it.load_all(tmp_path / "a")


def test_a_value_of_the_frame_overrules_the_shared_one(tmp_path):
    def edit(number, dataset):
        for group in dataset.PerFrameFunctionalGroupsSequence:
            group.PhotoacousticExcitationCharacteristicsSequence = [
                item(ExcitationWavelength=710.0 + number, ExcitationEnergy=12.5)
            ]

    written(tmp_path / "a", edit=edit)
    volume = it.load(tmp_path / "a")
    assert_array_equal(volume.axes[0].values, [710, 711, 712])
    assert volume.acquisition.laser_energy_mj == (12.5, 12.5, 12.5)


def test_energies_that_differ_between_frames_are_told_as_their_mean(tmp_path):
    def edit(_, dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        wavelength = shared.PhotoacousticExcitationCharacteristicsSequence[0].ExcitationWavelength
        for n, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            group.PhotoacousticExcitationCharacteristicsSequence = [
                item(ExcitationWavelength=wavelength, ExcitationEnergy=10.0 + n)
            ]

    written(tmp_path / "a", edit=edit)
    assert it.load(tmp_path / "a").acquisition.laser_energy_mj == (11.0, 11.0, 11.0)


@pytest.mark.parametrize("wavelength", [7e-7, 0.7, 70000.0])
def test_wavelengths_in_m_or_um_are_refused(tmp_path, wavelength):
    def edit(number, dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PhotoacousticExcitationCharacteristicsSequence[0].ExcitationWavelength = wavelength * (
            1 + number
        )

    written(tmp_path / "a", edit=edit)
    with pytest.raises(UnitMismatch, match="0018,9826"):
        it.load(tmp_path / "a")


def test_rescale_of_each_frame_is_applied(tmp_path):
    def edit(number, dataset):
        for group in dataset.PerFrameFunctionalGroupsSequence:
            group.PixelValueTransformationSequence[0].RescaleSlope = 2.0
            group.PixelValueTransformationSequence[0].RescaleIntercept = -7.0 - number

    files = written(tmp_path / "a", edit=edit)
    volume = it.load(tmp_path / "a")
    for n, file in enumerate(files):
        stored = pydicom.dcmread(file).pixel_array.astype(float)
        assert_array_equal(volume.data[..., n], 2.0 * stored.transpose(2, 1, 0) - 7.0 - n)


@pytest.mark.parametrize(
    ("unit", "factor", "quantity"),
    [
        ("/cm", 1.0, "optical_absorption"),
        ("/mm", 10.0, "optical_absorption"),
        ("1", 1.0, "optoacoustic_signal"),
    ],
)
def test_real_world_map_is_applied_before_the_rescale(tmp_path, unit, factor, quantity):
    def edit(_, dataset):
        units = item(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)
        mapping = item(
            RealWorldValueSlope=0.001,
            RealWorldValueIntercept=-0.5,
            RealWorldValueFirstValueMapped=0,
            RealWorldValueLastValueMapped=65535,
            MeasurementUnitsCodeSequence=[units],
        )
        dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]

    files = written(tmp_path / "a", edit=edit)
    volume = it.load(tmp_path / "a")
    assert volume.quantity == quantity
    stored = pydicom.dcmread(files[1]).pixel_array.astype(float).transpose(2, 1, 0)
    assert_allclose(volume.data[..., 1], (0.001 * stored - 0.5) * factor, rtol=1e-6, atol=1e-6)


def test_temperature_of_the_couplant_and_speed_of_sound_are_read(tmp_path):
    def edit(_, dataset):
        dataset.AcousticCouplingMediumTemperature = 33.5
        mechanism = item(
            CodeValue="130818", CodingSchemeDesignator="DCM", CodeMeaning="x", ObjectSoundSpeed=1515.0
        )
        dataset.SoundSpeedCorrectionMechanismCodeSequence = [mechanism]

    written(tmp_path / "a", edit=edit)
    record = it.load(tmp_path / "a").acquisition
    assert (record.temperature_cel, record.speed_of_sound_m_s) == (33.5, 1515.0)


def test_writer_never_puts_several_wavelengths_into_one_file(tmp_path):
    for file in written(tmp_path / "a", image(times=[0.0, 1.0])):
        dataset = pydicom.dcmread(file)
        assert len(dataset.ExcitationWavelengthSequence) == 1
        shared = dataset.SharedFunctionalGroupsSequence[0]
        assert len(shared.PhotoacousticExcitationCharacteristicsSequence) == 1
        assert not any(
            "PhotoacousticExcitationCharacteristicsSequence" in one
            for one in dataset.PerFrameFunctionalGroupsSequence
        )


def test_given_wavelengths_replace_those_of_the_files_and_say_so(tmp_path):
    written(tmp_path / "a")
    volume = it.load(tmp_path / "a", wavelength_nm=[710, 810, 860])
    assert_array_equal(volume.axes[0].values, [710, 810, 860])
    assert "wavelengths-replaced" in {caution.code for caution in volume.warnings}


def cine(folder, n_frames, sidecar):
    """A plain ultrasound file whose frames say their number, and a sidecar."""
    data = np.broadcast_to(np.arange(n_frames) + 1.0, (*SHAPE[:2], 1, n_frames))
    time = (Axis("time", 0.1 * np.arange(n_frames), "s"),) if n_frames > 1 else ()
    flat = np.diag([-0.1, -0.1, 1.0, 1.0])
    if not time:
        data = data[..., 0]
    volume = Volume(data, flat, "signal", "[arb'U]", time, acquisition=UltrasoundAcquisition())
    write_dicom(volume, folder)
    (path,) = sorted(folder.iterdir())
    if sidecar is not None:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


PLAIN = {"Modality": "PA", "Wavelengths": [800, 700, 750], "WavelengthUnits": "nm"}


def test_plain_ultrasound_frames_are_photoacoustic_only_with_our_sidecar(tmp_path):
    """msot.md 5.1 e."""
    plain = it.load(cine(tmp_path / "a", 3, None))
    assert (plain.quantity, [axis.name for axis in plain.axes]) == ("signal", ["time"])
    with pytest.raises(UnsupportedInput, match="not optoacoustic"):
        it.load(tmp_path / "a", wavelength_nm=[700, 750, 800])
    volume = it.load(cine(tmp_path / "b", 3, PLAIN))
    assert (volume.quantity, volume.unit) == ("optoacoustic_signal", "[arb'U]")
    assert_array_equal(volume.axes[0].values, [700, 750, 800])
    assert_array_equal(volume.data[0, 0, 0], [2, 3, 1])
    assert volume.acquisition.modality == "PA"


@pytest.mark.parametrize("order", [["wavelength", "time"], ["time", "wavelength"]])
def test_frames_of_times_and_wavelengths_need_their_order(tmp_path, order):
    with pytest.raises(MissingMetadata, match="AxisOrder"):
        it.load(cine(tmp_path / "a", 6, PLAIN))
    volume = it.load(cine(tmp_path / "b", 6, PLAIN | {"AxisOrder": order, "FrameTimes": [0, 2]}))
    assert [axis.name for axis in volume.axes] == ["time", "wavelength"]
    frames = np.arange(1, 7).reshape((2, 3) if order[0] == "wavelength" else (3, 2))
    frames = frames if order[0] == "wavelength" else frames.T
    assert_array_equal(volume.data[0, 0, 0], frames[:, [1, 2, 0]])


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"Wavelengths": [700, 800]}, CorruptInput),
        ({"WavelengthUnits": "m"}, UnitMismatch),
        ({"Wavelengths": None}, MissingMetadata),
    ],
)
def test_wavelengths_of_plain_frames_are_checked(tmp_path, change, kind):
    with pytest.raises(kind):
        it.load(cine(tmp_path / "a", 3, PLAIN | change))
