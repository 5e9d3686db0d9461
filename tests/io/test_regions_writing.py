"""Regions written as NIfTI, SEG and RTSTRUCT and read back: the same voxels, names and order."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import (
    CtAcquisition,
    MrAcquisition,
    NuclearAcquisition,
    PhotoacousticAcquisition,
    UltrasoundAcquisition,
)
from imgtheranostics.errors import (
    GeometryMismatch,
    MissingMetadata,
    NothingUsable,
    OutputError,
    UnsupportedInput,
)
from imgtheranostics.io.dicom.header_modules import Labels
from imgtheranostics.io.dicom.source_series import SourceSeries
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.io.pseudonym import pseudonym
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Grid, Source, Volume

SHAPE = (8, 7, 5)
AFFINE = np.array([[-0.5, 0, 0, 11.5], [0, -0.75, 0, 7.25], [0, 0, 3.0, -20.125], [0, 0, 0, 1]])
PHANTOM = Labels("PHANTOM^TEST", "PHANTOM-test", phantom=True)
DICOM = pytest.mark.parametrize("name", ["r.seg.dcm", "r.rtstruct.dcm"], ids=["seg", "rtstruct"])
NAMES = pytest.mark.parametrize("name", ["r.nii.gz", "r.seg.dcm", "r.rtstruct.dcm"])


def ct(affine=AFFINE, shape=SHAPE) -> Volume:
    data = np.rint(np.random.default_rng(1).uniform(-1000, 1000, shape))
    record = CtAcquisition(tube_voltage_kv=80.0, acquisition_datetime=datetime(2026, 1, 6, 8))
    return Volume(data, affine, "attenuation", "[HU]", (), record, source=Source(subject="sub-1234abcd"))


def regions(grid: Grid, *, overlapping=True) -> Regions:
    """Noise with many corners, a tube with a wall, and where they overlap a second layer; a gap in one."""
    rng = np.random.default_rng(20221104)
    noise = rng.random(grid.shape) < 0.4
    tube = np.zeros(grid.shape, bool)
    tube[1:6, 1:6] = True
    tube[2:5, 2:5] = False
    tube[:, :, grid.shape[2] // 2] &= grid.shape[2] < 3
    kept = noise if overlapping else noise & ~tube
    return Regions.from_masks({"tumour, left": kept, "vessel wall": tube}, grid)


def assert_same(found: Regions, expected: Regions) -> None:
    assert list(found) == list(expected)
    for name in expected:
        assert_array_equal(found.mask(name), expected.mask(name))


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A CT series of a phantom and the image loaded from it."""
    folder = tmp_path_factory.mktemp("series") / "ct"
    write_dicom(ct(), folder, labels=PHANTOM)
    return folder, it.load(folder)


@NAMES
@pytest.mark.parametrize("overlapping", [True, False])
def test_voxels_names_and_order_survive(tmp_path, series, name, overlapping):
    folder, image = series
    written = regions(image.grid, overlapping=overlapping)
    files = it.save_rois(written, tmp_path / name, like_series=folder)
    assert all(file.is_file() for file in files)
    assert_same(it.load_rois(tmp_path / name, like=image), written)


@settings(max_examples=25)
@given(mask=arrays(bool, (8, 7, 5)))
@pytest.mark.parametrize("name", ["r.seg.dcm", "r.rtstruct.dcm"])
def test_any_mask_survives(tmp_path_factory, series, name, mask):
    folder, image = series
    mask[0, 0, 0] = True
    written = Regions.from_masks({"any": mask}, image.grid)
    path = tmp_path_factory.mktemp("any") / name
    it.save_rois(written, path, like_series=folder)
    assert_same(it.load_rois(path, like=image), written)


@settings(max_examples=8)
@given(
    angles=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    spacing=st.tuples(*[st.floats(0.05, 8.0)] * 3),
    flip=st.booleans(),
)
def test_any_orientation_survives(tmp_path_factory, angles, spacing, flip):
    """Regions on the phantom's own grid, a series that the loader may turn round, and back."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        step = np.eye(3)
        one, two = [n for n in range(3) if n != axis]
        step[one, one] = step[two, two] = np.cos(angle)
        step[one, two], step[two, one] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = (12.5, -7.25, 100.125)
    if flip:
        affine[:3, 0] *= -1
    folder = tmp_path_factory.mktemp("any")
    volume = ct(affine, (5, 4, 3))
    write_dicom(volume, folder / "ct")
    written = regions(volume.grid)
    for name in ("r.seg.dcm", "r.rtstruct.dcm"):
        it.save_rois(written, folder / name, like_series=folder / "ct")
        assert_same(it.load_rois(folder / name, like=volume), written)


def signal(axes=(), **changes) -> Volume:
    shape = SHAPE + tuple(len(axis) for axis in axes)
    data = np.random.default_rng(2).uniform(0, 1, shape)
    return replace(Volume(data, AFFINE, "signal", "[arb'U]", axes, MrAcquisition()), **changes)


ECHOES = Axis("echo_time", [0.01, 0.02], "s")
TIME = Axis("time", [0, 0.5], "s")
SOURCES = {
    "MR with echoes": (signal((ECHOES,)), {}),
    "enhanced MR with echoes": (signal((ECHOES,)), {"enhanced": True}),
    "photoacoustic": (
        signal(
            (Axis("wavelength", [700, 800], "nm"), TIME),
            quantity="optoacoustic_signal",
            acquisition=PhotoacousticAcquisition(),
        ),
        {},
    ),
    "ultrasound": (
        Volume(
            np.full((8, 7, 1, 2), 9),
            np.diag([-0.1, -0.2, 1, 1]),
            "signal",
            "[arb'U]",
            (TIME,),
            UltrasoundAcquisition(),
        ),
        {},
    ),
    "SPECT": (signal(quantity="counts", unit="{counts}", acquisition=NuclearAcquisition()), {}),
    "PET": (signal(quantity="suv_bw", unit="g/mL", acquisition=None), {}),
}


@DICOM
@pytest.mark.parametrize("source", SOURCES)
def test_every_object_that_is_written_here_can_carry_regions(tmp_path, name, source):
    volume, options = SOURCES[source]
    write_dicom(volume, tmp_path / "images", labels=PHANTOM, **options)
    image = it.load(tmp_path / "images")
    written = regions(image.grid)
    it.save_rois(written, tmp_path / name, like_series=image)
    found = it.load_rois(tmp_path / name, like=image)
    assert_same(found, written)
    assert "frame-of-reference-differs" not in [one.code for one in found.warnings]


@DICOM
def test_references_point_at_the_frames_of_the_first_sample(tmp_path, name):
    """Two echoes of five slices in one file: the regions belong to frames 1 to 5."""
    write_dicom(signal((ECHOES,)), tmp_path / "images", enhanced=True)
    source = pydicom.dcmread(tmp_path / "images" / "enhanced.dcm", stop_before_pixels=True)
    it.save_rois(regions(Grid(SHAPE, AFFINE)), tmp_path / name, like_series=tmp_path / "images")
    dataset = pydicom.dcmread(tmp_path / name)
    if "seg" in name:
        seen = [
            (float(group.PlanePositionSequence[0].ImagePositionPatient[2]), item)
            for group in dataset.PerFrameFunctionalGroupsSequence
            for item in group.DerivationImageSequence[0].SourceImageSequence
        ]
    else:
        seen = [
            (float(contour.ContourData[2]), contour.ContourImageSequence[0])
            for roi in dataset.ROIContourSequence
            for contour in roi.ContourSequence
        ]
    assert {int(item.ReferencedFrameNumber) for _, item in seen} == {1, 2, 3, 4, 5}
    for z, item in seen:
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        frame = source.PerFrameFunctionalGroupsSequence[int(item.ReferencedFrameNumber) - 1]
        assert float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) == pytest.approx(z, abs=1e-3)


def test_highdicom_reads_the_segments(tmp_path, series):
    folder, image = series
    written = regions(image.grid)
    (path,) = it.save_rois(written, tmp_path / "r.seg.dcm", like_series=folder)
    found = hd.seg.segread(path)
    assert found.SegmentationType == "BINARY"
    assert [found.get_segment_description(n).segment_label for n in (1, 2)] == list(written)
    for number, name in enumerate(written, start=1):
        uids = [frame.header.text("SOPInstanceUID") for frame in SourceSeries.of(folder).frames]
        pixels = found.get_pixels_by_source_instance(
            uids,
            segment_numbers=[number],
            assert_missing_frames_are_empty=True,
        )
        assert_array_equal(pixels[..., 0].T.astype(bool), written.mask(name))


def test_contours_are_closed_planar_on_their_slices(tmp_path, series):
    folder, image = series
    tube = regions(image.grid).subset(["vessel wall"])
    (path,) = it.save_rois(tube, tmp_path / "r.rtstruct.dcm", like_series=folder)
    dataset = pydicom.dcmread(path)
    (roi,) = dataset.StructureSetROISequence
    assert roi.ROIName == "vessel wall"
    assert roi.ReferencedFrameOfReferenceUID == image.source.identifiers["FrameOfReferenceUID"]
    contours = dataset.ROIContourSequence[0].ContourSequence
    # Four slices hold the tube: its outside and its hole on each, four corners and no point between them.
    assert len(contours) == 8
    heights = {float(one.ContourData[2]) for one in contours}
    slices = image.affine[2, 3] + 3.0 * np.array([0, 1, 3, 4])
    assert sorted(heights) == pytest.approx(slices.tolist())
    assert {one.ContourGeometricType for one in contours} == {"CLOSED_PLANAR"}
    assert {int(one.NumberOfContourPoints) for one in contours} == {4}
    areas = sorted({round(_area(one.ContourData), 3) for one in contours})
    assert areas == [3 * 3 * 0.5 * 0.75, 5 * 5 * 0.5 * 0.75]


def _area(data) -> float:
    x, y, _ = np.array(data, float).reshape(-1, 3).T
    return abs(0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))))


def test_contours_longer_than_an_element_are_cut(tmp_path):
    """A comb of 700 teeth has 2800 corners, about 75 kB of text: more than the 65534 bytes of an element."""
    volume = ct(np.diag([-0.5, -0.5, 3, 1]), (1400, 3, 1))
    write_dicom(volume, tmp_path / "ct")
    comb = np.zeros((1400, 3, 1), bool)
    comb[:, 0] = True
    comb[::2, 1] = True
    written = Regions.from_masks({"comb": comb}, volume.grid)
    (path,) = it.save_rois(written, tmp_path / "r.rtstruct.dcm", like_series=tmp_path / "ct")
    contours = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    assert len(contours) > 1
    assert_same(it.load_rois(path, like=volume), written)


@NAMES
def test_an_empty_region_is_kept_beside_others(tmp_path, series, name):
    folder, image = series
    some = np.zeros(SHAPE, bool)
    some[3, 2, 1] = True
    written = Regions.from_masks({"some": some, "none": ~some & some}, image.grid)
    it.save_rois(written, tmp_path / name, like_series=folder)
    found = it.load_rois(tmp_path / name, like=image)
    assert_same(found, written)
    assert "region-empty" in [one.code for one in found.warnings]


@NAMES
def test_the_same_regions_give_the_same_bytes(tmp_path, series, name):
    folder, image = series
    one = it.save_rois(regions(image.grid), tmp_path / name, like_series=folder)
    before = [path.read_bytes() for path in one]
    it.save_rois(regions(image.grid), tmp_path / name, like_series=image, force=True)
    assert [path.read_bytes() for path in one] == before
    it.save_rois(regions(image.grid, overlapping=False), tmp_path / name, like_series=folder, force=True)
    assert one[0].read_bytes() != before[0]


def test_nifti_labels_keep_their_numbers_and_name_them(tmp_path):
    labels = np.zeros(SHAPE, np.int32)
    labels[1], labels[2] = 7, 3
    written = Regions(labels, {7: "liver", 3: "spleen"}, Grid(SHAPE, AFFINE))
    image, names = it.save_rois(written, tmp_path / "r.nii.gz")
    assert_array_equal(np.asarray(nibabel.load(image).dataobj), labels)
    assert json.loads(names.read_text())["Labels"] == {"7": "liver", "3": "spleen"}
    assert it.load_rois(image).names == {7: "liver", 3: "spleen"}


def test_nifti_of_a_subset_holds_no_other_label(tmp_path):
    labels = np.zeros(SHAPE, np.int32)
    labels[1], labels[2] = 7, 3
    written = Regions(labels, {7: "liver", 3: "spleen"}, Grid(SHAPE, AFFINE)).subset(["spleen"])
    image, _ = it.save_rois(written, tmp_path / "r.nii.gz")
    assert set(np.unique(np.asarray(nibabel.load(image).dataobj))) == {0, 3}


def person(folder):
    """A CT series as a scanner writes it: a name, an ID, dates."""
    files = write_dicom(ct(), folder)
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = "Canary^Doe", "CANARY-77"
        dataset.PatientBirthDate, dataset.StudyDate = "19700203", "20260106"
        dataset.StudyID, dataset.StudyDescription = "CANARY-ID", "canary study"
        del dataset.PatientIdentityRemoved, dataset.DeidentificationMethod
        dataset.save_as(path)
    return folder


@DICOM
def test_a_person_is_a_pseudonym_unless_identifiers_are_kept(tmp_path, name):
    folder = person(tmp_path / "ct")
    written = regions(Grid(SHAPE, AFFINE))
    (path,) = it.save_rois(written, tmp_path / name, like_series=folder)
    dataset = pydicom.dcmread(path)
    assert dataset.PatientID == str(dataset.PatientName) == pseudonym("CANARY-77")
    for canary in (b"anary", b"CANARY", b"19700203", b"20260106"):
        assert canary not in path.read_bytes()
    (path,) = it.save_rois(written, tmp_path / f"kept_{name}", like_series=folder, keep_identifiers=True)
    kept = pydicom.dcmread(path)
    assert (kept.PatientID, str(kept.PatientName), kept.StudyDate) == ("CANARY-77", "Canary^Doe", "20260106")
    assert "PatientIdentityRemoved" not in kept


@DICOM
def test_a_phantom_is_marked_as_its_images_are_and_shares_their_study(tmp_path, series, name):
    folder, image = series
    (path,) = it.save_rois(regions(image.grid), tmp_path / name, like_series=folder)
    dataset = pydicom.dcmread(path)
    source = pydicom.dcmread(next(folder.iterdir()))
    assert dataset.QualityControlSubject == "YES"
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        if keyword in dataset:
            assert dataset[keyword].value == source[keyword].value
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


@DICOM
@pytest.mark.parametrize("source", ["CT of a person", "phantom", *SOURCES])
def test_dciodvfy_finds_no_error(tmp_path, name, source):
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    if source == "photoacoustic":
        pytest.skip("this object refers to Photoacoustic Images, which dciodvfy may be too old to know")
    volume, options = SOURCES.get(source, (ct(), {}))
    labels = None if source == "CT of a person" else PHANTOM
    write_dicom(volume, tmp_path / "images", labels=labels, **options)
    image = it.load(tmp_path / "images")
    (path,) = it.save_rois(regions(image.grid), tmp_path / name, like_series=image)
    found = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    report = found.stdout + found.stderr
    assert ("Segmentation" if "seg" in name else "RTStructureSet") in report
    assert "Error" not in report, report


def test_the_kind_follows_the_name_unless_it_is_given(tmp_path, series):
    folder, image = series
    written = regions(image.grid)
    for name, modality in (("a.dcm", "SEG"), ("a_RTSS.dcm", "RTSTRUCT"), ("structures.DCM", "RTSTRUCT")):
        (path,) = it.save_rois(written, tmp_path / name, like_series=folder)
        assert pydicom.dcmread(path).Modality == modality
    (path,) = it.save_rois(written, tmp_path / "mine", like_series=folder, kind="rtstruct")
    assert pydicom.dcmread(path).Modality == "RTSTRUCT"
    with pytest.raises(UnsupportedInput, match="format"):
        it.save_rois(written, tmp_path / "mine.txt", like_series=folder)
    with pytest.raises(UnsupportedInput, match="another name"):
        it.save_rois(written, tmp_path / "mine.dcm", kind="nifti")


@DICOM
def test_dicom_without_a_series_is_refused(tmp_path, name):
    written = regions(Grid(SHAPE, AFFINE))
    with pytest.raises(MissingMetadata, match="like_series"):
        it.save_rois(written, tmp_path / name)
    with pytest.raises(NothingUsable, match="not loaded from a DICOM series"):
        it.save_rois(written, tmp_path / name, like_series=ct())
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingUsable, match="0 series"):
        it.save_rois(written, tmp_path / name, like_series=tmp_path / "empty")
    assert not (tmp_path / name).exists()


@DICOM
def test_two_series_another_grid_and_no_frame_of_reference_are_refused(tmp_path, series, name):
    folder, image = series
    shutil.copytree(folder, tmp_path / "both" / "one")
    write_dicom(signal(), tmp_path / "both" / "two", labels=PHANTOM)
    with pytest.raises(NothingUsable, match="2 series"):
        it.save_rois(regions(image.grid), tmp_path / name, like_series=tmp_path / "both")
    moved = image.affine.copy()
    moved[0, 3] += 3.3
    with pytest.raises(GeometryMismatch, match="the series"):
        it.save_rois(regions(Grid(SHAPE, moved)), tmp_path / name, like_series=folder)
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    for path in bare.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.FrameOfReferenceUID
        dataset.save_as(path)
    with pytest.raises(MissingMetadata, match="0020,0052"):
        it.save_rois(regions(image.grid), tmp_path / name, like_series=bare)


@NAMES
def test_an_existing_file_is_kept_unless_forced(tmp_path, series, name):
    folder, image = series
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        it.save_rois(regions(image.grid), tmp_path / name, like_series=folder)
    assert (tmp_path / name).read_text() == "mine"


def test_nifti_is_fitted_to_the_image_that_is_given(tmp_path, series):
    _, image = series
    turned = AFFINE @ np.diag([-1, 1, 1, 1])
    turned[:3, 3] += AFFINE[:3, 0] * (SHAPE[0] - 1)
    written = regions(Grid(SHAPE, turned))
    path, _ = it.save_rois(written, tmp_path / "r.nii.gz", like_series=image)
    found = it.load_rois(path)
    assert found.grid.same_as(image.grid)
    assert_same(found, written.fit_to(image.grid))
