"""RT Dose of any planning system: pydicom writes the files, DICOM's own formulas place the frames."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

import imgtheranostics as it
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

ROWS, COLUMNS, FRAMES = 5, 7, 4
SCALING = 2.5e-5
POSITION = (-12.5, 30.25, -80.0)
SPACING = (3.0, 2.0)
"""Between rows, between columns."""

STEP = 2.5


def stored(bits=32):
    top = 2**bits - 1
    return np.random.default_rng(5).integers(0, min(top, 2_000_000), (FRAMES, ROWS, COLUMNS), endpoint=True)


def dose_file(path, *, bits=32, orientation=(1, 0, 0, 0, 1, 0), offsets=None, syntax=None, **changes):
    """As planning systems write it; None takes an attribute away."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    dataset.Modality, dataset.PatientID, dataset.PatientName = "RTDOSE", "CANARY-9", "Canary^Doe"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.ImagePositionPatient = list(POSITION)
    dataset.ImageOrientationPatient = list(orientation)
    dataset.PixelSpacing = list(SPACING)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = ROWS, COLUMNS, FRAMES
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    dataset.FrameIncrementPointer = 0x3004000C
    dataset.GridFrameOffsetVector = list(STEP * np.arange(FRAMES)) if offsets is None else offsets
    dataset.DoseUnits, dataset.DoseType, dataset.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    dataset.DoseGridScaling = SCALING
    values = stored(bits).astype(f"<u{bits // 8}")
    dataset.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_values_are_stored_numbers_times_their_scaling(tmp_path, bits, syntax):
    v = it.load(dose_file(tmp_path / "dose.dcm", bits=bits, syntax=syntax))
    assert (v.quantity, v.unit, v.shape) == ("absorbed_dose", "Gy", (COLUMNS, ROWS, FRAMES))
    expected = stored(bits).transpose(2, 1, 0) * SCALING
    np.testing.assert_allclose(v.data, expected, rtol=1e-6)
    assert v.warnings == ()
    assert "CANARY" not in repr(v) + str(v.source.subject)


def oblique():
    row, column = np.array([0.6, 0.8, 0.0]), np.array([-0.48, 0.36, 0.8])
    return (*row, *column)


@pytest.mark.parametrize(
    "orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), oblique()]
)
@pytest.mark.parametrize("falling", [False, True])
def test_frames_lie_along_the_normal_from_the_first(tmp_path, orientation, falling):
    """P = position + column index x column spacing x row direction + ..., frames along row x column."""
    offsets = list((-STEP if falling else STEP) * np.arange(FRAMES))
    v = it.load(dose_file(tmp_path / "dose.dcm", orientation=orientation, offsets=offsets))
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    inverse = np.linalg.inv(v.affine)
    for frame, i, j in ((0, 0, 0), (3, 6, 4), (1, 2, 3)):
        lps = np.array(POSITION) + row * SPACING[1] * i + column * SPACING[0] * j
        lps += np.cross(row, column) * offsets[frame]
        index = (inverse @ [-lps[0], -lps[1], lps[2], 1.0])[:3]
        np.testing.assert_allclose(index, np.rint(index), atol=1e-4)
        a, b, c = np.rint(index).astype(int)
        assert v.data[a, b, c] == pytest.approx(stored()[frame, j, i] * SCALING, rel=1e-6)


def test_offsets_may_be_patient_coordinates_of_axial_frames(tmp_path):
    relative = it.load(dose_file(tmp_path / "a.dcm"))
    absolute = it.load(dose_file(tmp_path / "b.dcm", offsets=list(POSITION[2] + STEP * np.arange(FRAMES))))
    np.testing.assert_allclose(absolute.affine, relative.affine, atol=1e-9)
    np.testing.assert_array_equal(absolute.data, relative.data)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"DoseGridScaling": None}, MissingMetadata, "no scaling"),
        ({"DoseGridScaling": 0}, CorruptInput, "not a scale"),
        ({"DoseGridScaling": -1e-3}, CorruptInput, "not a scale"),
        ({"DoseUnits": "RELATIVE"}, UnitMismatch, "not in gray"),
        ({"DoseUnits": None}, MissingMetadata, "not in gray"),
        ({"DoseType": None}, MissingMetadata, "physical or effective"),
        ({"DoseType": "ERROR"}, UnsupportedInput, "no dose of a patient"),
        ({"GridFrameOffsetVector": None}, MissingMetadata, "do not say where"),
        ({"offsets": [0.0, 2.5, 5.0]}, CorruptInput, "malformed"),
        ({"offsets": [0.0, 2.5, 2.5, 5.0]}, CorruptInput, "malformed"),
        ({"offsets": [0.0, 5.0, 2.5, 7.5]}, CorruptInput, "malformed"),
        ({"offsets": [0.0, 2.5, 5.0, 9.0]}, GeometryMismatch, "uneven"),
        ({"offsets": [7.0, 9.5, 12.0, 14.5]}, CorruptInput, "begin neither"),
        ({"ImagePositionPatient": None}, MissingMetadata, "geometry"),
        ({"PixelSpacing": [0.0, 2.0]}, CorruptInput, "spacing"),
        ({"Rows": 9}, CorruptInput, "shorter"),
    ],
)
def test_bad_files_are_refused(tmp_path, changes, error, words):
    path = dose_file(tmp_path / "dose.dcm", **changes)
    with pytest.raises(error, match=words) as refused:
        it.load(path)
    assert "CANARY" not in str(refused.value)
    [summary] = it.info(path)
    assert summary.problems or words == "shorter"


def test_effective_doses_say_what_they_are(tmp_path):
    v = it.load(dose_file(tmp_path / "rbe.dcm", DoseType="EFFECTIVE"))
    assert v.quantity == "weighted_dose"
    assert {one.code for one in v.warnings} == {"weighted-dose"}
    named = it.load(dose_file(tmp_path / "eqd2.dcm", DoseType="EFFECTIVE", DoseComment="EQD2, alpha/beta 3"))
    assert named.quantity == "equieffective_dose_2gy"


def test_the_dose_of_one_beam_is_said_to_be_one(tmp_path):
    v = it.load(dose_file(tmp_path / "beam.dcm", DoseSummationType="BEAM"))
    assert [one.code for one in v.warnings] == ["partial-dose"]


def test_several_doses_are_several_series(tmp_path):
    for n in range(2):
        dose_file(tmp_path / f"beam{n}.dcm", DoseSummationType="BEAM", SeriesInstanceUID="1.2.3")
    assert [one.modality for one in it.info(tmp_path)] == ["RTDOSE", "RTDOSE"]
    with pytest.raises(NothingUsable, match="2 series"):
        it.load(tmp_path)
    assert it.load(tmp_path, series=2).quantity == "absorbed_dose"


def test_a_dose_beside_images_is_none_of_them(tmp_path):
    """A plan's folder is still that of one CT."""
    from imgtheranostics.acquisition import CtAcquisition
    from imgtheranostics.io.dicom.writing import write_dicom

    image = Volume(np.zeros((6, 5, 4)), np.diag([2.0, 2.0, 3.0, 1.0]), "attenuation", "[HU]", (),
                   CtAcquisition(tube_voltage_kv=120.0))  # fmt: skip
    write_dicom(image, tmp_path / "plan")
    dose_file(tmp_path / "plan" / "dose.dcm")
    assert it.load(tmp_path / "plan").quantity == "attenuation"
    assert next(one.modality for one in it.info(tmp_path / "plan")) == "CT"
    assert it.load(tmp_path / "plan" / "dose.dcm").quantity == "absorbed_dose"
    nifti = tmp_path / "mixed"
    nifti.mkdir()
    it.save(it.load(tmp_path / "plan"), nifti / "ct.nii.gz")
    shutil.copy(tmp_path / "plan" / "dose.dcm", nifti)
    assert it.load(nifti).quantity == "attenuation"


@pytest.mark.parametrize(
    "quantity", ["absorbed_dose", "biologically_effective_dose", "equieffective_dose_2gy"]
)
def test_what_we_write_comes_back(tmp_path, quantity):
    data = np.random.default_rng(1).uniform(0, 37.5, (6, 5, 4))
    affine = np.array([[-2.0, 0, 0, 11.5], [0, -3.0, 0, 7.25], [0, 0, 4.0, -20.125], [0, 0, 0, 1]])
    written = Volume(data, affine, quantity, "Gy")
    [path] = it.io.save_dose(written, tmp_path / "dose.dcm")
    v = it.load(path)
    assert v.quantity == quantity
    assert v.grid.same_as(written.grid)
    np.testing.assert_allclose(v.data, written.data, rtol=1e-6, atol=1e-7)
    rois = Regions.from_masks({"half": np.arange(120).reshape(6, 5, 4) % 2}, v.grid)
    one, other = (it.nuclear.dose_table(x, rois).set_index("measure")["value"] for x in (v, written))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_it_is_read_as_pydicom_reads_it(tmp_path):
    path = dose_file(tmp_path / "dose.dcm")
    dataset = pydicom.dcmread(path)
    expected = dataset.pixel_array * float(dataset.DoseGridScaling)
    np.testing.assert_allclose(it.load(path).data, expected.transpose(2, 1, 0), rtol=1e-6)
