"""RT Dose files read by pydicom and SimpleITK: the same doses at the same places, and nobody's name."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime

import numpy as np
import pydicom
import pytest
import SimpleITK

import imgtheranostics as it
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import (
    ImplausibleValue,
    NothingUsable,
    OutputError,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.io.pseudonym import pseudonym
from imgtheranostics.volume import Axis, Estimate, Source, Volume

SHAPE = (6, 5, 4)
AFFINE = np.array([[-2.0, 0, 0, 11.5], [0, -3.0, 0, 7.25], [0, 0, 4.0, -20.125], [0, 0, 0, 1]])


def dose(affine=AFFINE, quantity="absorbed_dose", **changes) -> Volume:
    data = np.random.default_rng(1).uniform(0, 37.5, SHAPE)
    return Volume(data, affine, quantity, "Gy", **changes)


def turned(flip):
    """An oblique grid, left-handed where the slices are turned round."""
    axis = np.array([0.2, -0.5, 0.9])
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + np.sin(0.7) * cross + (1 - np.cos(0.7)) * cross @ cross
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array([2.0, 3.0, -4.0 if flip else 4.0])
    affine[:3, 3] = [5.0, -7.0, 11.0]
    return affine


def ct_folder(folder, *, person=False):
    record = CtAcquisition(tube_voltage_kv=80.0, acquisition_datetime=datetime(2026, 1, 6, 8))
    image = Volume(np.zeros(SHAPE), AFFINE, "attenuation", "[HU]", (), record, source=Source(subject="sub-1"))
    for path in write_dicom(image, folder):
        if person:
            dataset = pydicom.dcmread(path)
            dataset.PatientName, dataset.PatientID, dataset.StudyDate = "Canary^Doe", "CANARY-77", "20260106"
            del dataset.PatientIdentityRemoved, dataset.DeidentificationMethod
            dataset.save_as(path)
    return folder


@pytest.mark.parametrize("affine", [AFFINE, turned(False), turned(True)], ids=["axial", "oblique", "left"])
def test_doses_stand_where_they_were(tmp_path, affine):
    """By pydicom's pixels and DICOM's own formula for the place of a frame; 32 bits keep ten figures."""
    written = dose(affine)
    (path,) = it.io.save_dose(written, tmp_path / "dose.dcm")
    dataset = pydicom.dcmread(path)
    gray = dataset.pixel_array.astype(np.float64) * float(dataset.DoseGridScaling)
    cosines = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*cosines)
    offsets = np.array(dataset.GridFrameOffsetVector, float)
    assert offsets[0] == 0
    assert (np.diff(offsets) > 0).all()
    origin = np.array(dataset.ImagePositionPatient, float)
    rows, columns = (float(value) for value in dataset.PixelSpacing)
    inverse = np.linalg.inv(affine)
    for frame, row, column in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):
        lps = origin + cosines[0] * columns * column + cosines[1] * rows * row + normal * offsets[frame]
        index = (inverse @ [-lps[0], -lps[1], lps[2], 1.0])[:3]
        i, j, k = np.rint(index).astype(int)
        np.testing.assert_allclose(index, (i, j, k), atol=1e-6)
        assert gray[frame, row, column] == pytest.approx(float(written.data[i, j, k]), rel=1e-7)


def test_another_reader_finds_the_same_doses(tmp_path):
    """SimpleITK takes the geometry from the file by itself; it leaves the scale to the caller."""
    written = dose()
    (path,) = it.io.save_dose(written, tmp_path / "dose.dcm")
    image = SimpleITK.ReadImage(str(path))
    scale = float(image.GetMetaData("3004|000e"))
    np.testing.assert_allclose(SimpleITK.GetArrayFromImage(image).T * scale, written.data, rtol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), (2.0, 3.0, 4.0))
    np.testing.assert_allclose(image.GetOrigin(), (-11.5, -7.25, -20.125))


def test_the_object_says_what_it_holds(tmp_path):
    for quantity, kind in (
        ("absorbed_dose", "PHYSICAL"),
        ("biologically_effective_dose", "EFFECTIVE"),
        ("equieffective_dose_2gy", "EFFECTIVE"),
    ):
        (path,) = it.io.save_dose(dose(quantity=quantity), tmp_path / f"{quantity}.dcm")
        dataset = pydicom.dcmread(path)
        assert (dataset.Modality, dataset.DoseUnits, dataset.DoseType) == ("RTDOSE", "GY", kind)
        assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == pydicom.uid.RTDoseStorage
        assert dataset.BitsAllocated == 32


def test_unknown_doses_are_refused_or_said(tmp_path):
    data = np.array(dose().data)
    data[0, 0, 0], data[1, 1, 1] = np.nan, -0.01
    written = dose().replace(data=data)
    with pytest.raises(ImplausibleValue, match="unknown dose") as caught:
        it.io.save_dose(written, tmp_path / "dose.dcm")
    assert "2 of 120" in str(caught.value)
    assert not (tmp_path / "dose.dcm").exists()
    (path,) = it.io.save_dose(written, tmp_path / "dose.dcm", fill=True)
    dataset = pydicom.dcmread(path)
    assert "zero in 2 voxels" in dataset.DoseComment
    assert dataset.pixel_array[0, 0, 0] == 0
    (path,) = it.io.save_dose(dose().replace(data=np.zeros(SHAPE)), tmp_path / "none.dcm")
    assert not pydicom.dcmread(path).pixel_array.any()


def test_dose_joins_the_study_of_its_images(tmp_path):
    folder = ct_folder(tmp_path / "ct")
    written = dose(turned(False))
    flags = written.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1")
    estimate = Estimate(written, written.replace(data=0.1 * written.data), flags)
    (path,) = it.io.save_dose(estimate, tmp_path / "dose.dcm", like_series=folder)
    dataset, source = pydicom.dcmread(path), pydicom.dcmread(next(folder.iterdir()))
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert dataset[keyword].value == source[keyword].value
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    first = path.read_bytes()
    it.io.save_dose(estimate, path, like_series=it.load(folder), force=True)
    assert path.read_bytes() == first


def test_a_person_is_a_pseudonym_unless_identifiers_are_kept(tmp_path):
    folder = ct_folder(tmp_path / "ct", person=True)
    (path,) = it.io.save_dose(dose(), tmp_path / "dose.dcm", like_series=folder)
    assert pydicom.dcmread(path).PatientID == pseudonym("CANARY-77")
    for canary in (b"anary", b"CANARY", b"20260106"):
        assert canary not in path.read_bytes()
    (path,) = it.io.save_dose(dose(), tmp_path / "kept.dcm", like_series=folder, keep_identifiers=True)
    assert pydicom.dcmread(path).PatientID == "CANARY-77"


@pytest.mark.parametrize("alone", [True, False])
def test_dciodvfy_finds_nothing_but_the_plan_that_there_is_not(tmp_path, alone):
    """The program stops at 32 bits, so that it judges the same header over 16-bit pixels."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    series = None if alone else ct_folder(tmp_path / "ct")
    (path,) = it.io.save_dose(dose(), tmp_path / "dose.dcm", like_series=series)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = (dataset.pixel_array >> 16).astype("<u2").tobytes()
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.save_as(path)
    found = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    report = found.stdout + found.stderr
    assert "RTDose" in report
    errors = [line for line in report.splitlines() if line.startswith("Error")]
    assert all("ReferencedRTPlanSequence" in line for line in errors), report


def test_what_is_no_dose_is_refused(tmp_path):
    with pytest.raises(UnitMismatch, match="holds dose"):
        it.io.save_dose(dose().replace(quantity="absorbed_dose_rate", unit="Gy/s"), tmp_path / "d.dcm")
    with pytest.raises(UnsupportedInput, match="another name"):
        it.io.save_dose(dose(), tmp_path / "d.nii.gz")
    frames = Volume(
        np.zeros((*SHAPE, 2)), AFFINE, "absorbed_dose", "Gy", (Axis("time", np.array([0.0, 1.0]), "s"),)
    )
    with pytest.raises(UnsupportedInput, match="one dose per voxel"):
        it.io.save_dose(frames, tmp_path / "d.dcm")
    sheared = AFFINE.copy()
    sheared[0, 1] = 1.0
    with pytest.raises(UnsupportedInput, match="sheared"):
        it.io.save_dose(dose(sheared), tmp_path / "d.dcm")
    with pytest.raises(NothingUsable):
        it.io.save_dose(dose(), tmp_path / "d.dcm", like_series=dose())
    (path,) = it.io.save_dose(dose(), tmp_path / "d.dcm")
    with pytest.raises(OutputError):
        it.io.save_dose(dose(), path)
