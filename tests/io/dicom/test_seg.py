"""DICOM segmentations written by highdicom, read on their own grid and on that of an image."""

from __future__ import annotations

import contextlib

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImgTheranosticsError,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.io.dicom.seg import load_seg
from imgtheranostics.io.regions import load_rois
from imgtheranostics.regions import Regions
from imgtheranostics.volume import AxisMatch, Grid, Source, Volume

ROWS, COLUMNS, SLICES = 14, 18, 9
ANGLE = 0.35


def source_images():
    """Slices of an oblique CT series with columns of 1.5 mm, rows of 2 mm and slices of 2.5 mm."""
    across = np.array([np.cos(ANGLE), np.sin(ANGLE), 0.0])
    down = np.array([-np.sin(ANGLE) * 0.8, np.cos(ANGLE) * 0.8, -0.6])
    normal = np.cross(across, down)
    images = []
    for k in range(SLICES):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"1.2.3.{k + 1}"
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.9"
        image.PatientName, image.PatientID = "CANARY^NAME", "CANARY-ID"
        image.PatientBirthDate = image.PatientSex = image.AccessionNumber = image.StudyID = ""
        image.StudyDate = image.StudyTime = image.ReferringPhysicianName = ""
        image.Modality, image.InstanceNumber = "CT", k + 1
        image.Rows, image.Columns = ROWS, COLUMNS
        image.ImageOrientationPatient = [round(float(value), 8) for value in (*across, *down)]
        image.ImagePositionPatient = [round(float(v), 6) for v in np.array([-20, 31, 12]) + 2.5 * k * normal]
        image.PixelSpacing = [2.0, 1.5]
        image.SliceThickness = 2.5
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        images.append(image)
    return images


def grid_of_source():
    first, second = source_images()[:2]
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.ImageOrientationPatient[:3]) * 1.5
    affine[:3, 1] = np.array(first.ImageOrientationPatient[3:]) * 2.0
    affine[:3, 2] = np.array(second.ImagePositionPatient) - np.array(first.ImagePositionPatient)
    affine[:3, 3] = first.ImagePositionPatient
    return Grid((COLUMNS, ROWS, SLICES), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


GRID = grid_of_source()


def described(number, label):
    code = Code("M-01000", "SRT", "Morphologically Altered Structure")
    return highdicom.seg.SegmentDescription(number, label, code, code, "MANUAL")


def write(path, masks, kind="BINARY", *, labels=None, syntax=ExplicitVRLittleEndian, edit=None, **options):
    """`masks` is (slices, rows, columns[, segments])."""
    n = masks.shape[3] if masks.ndim == 4 else int(masks.max())
    labels = labels or [f"segment {number}" for number in range(1, n + 1)]
    dataset = highdicom.seg.Segmentation(
        source_images(), masks, kind,
        [described(number, label) for number, label in enumerate(labels, start=1)],
        generate_uid(), 1, generate_uid(), 1, "maker", "model", "1", "7",
        transfer_syntax_uid=syntax, content_label="LABEL", **options,
    )  # fmt: skip
    if edit is not None:
        edit(dataset)
    dataset.save_as(path)
    return path


def random_masks(n, seed=1, density=0.4):
    """Overlapping (slices, rows, columns, segments) masks, some of whose slices are empty."""
    rng = np.random.default_rng(seed)
    masks = rng.random((SLICES, ROWS, COLUMNS, n)) < density
    masks[[0, 4]] = False
    return masks.astype(np.uint8)


def in_grid_order(mask):
    return mask.transpose(2, 1, 0).astype(bool)


def test_overlapping_binary_segments_come_back_on_the_grid_of_the_image(tmp_path):
    masks = random_masks(3)
    path = write(tmp_path / "seg.dcm", masks, labels=["liver", "tumour", "rim"])
    regions = load_rois(path, like=GRID)
    assert list(regions) == ["liver", "tumour", "rim"]
    assert regions.grid is GRID
    for n, name in enumerate(regions):
        assert np.array_equal(regions.mask(name), in_grid_order(masks[..., n]))
    assert regions.warnings == ()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("flips", [(False, False, True), (True, False, False), (True, True, True)])
def test_the_image_may_store_its_axes_in_another_order(tmp_path, order, flips):
    masks = random_masks(2)
    match = AxisMatch(order, flips)
    regions = load_seg(write(tmp_path / "seg.dcm", masks), match.apply_to_grid(GRID))
    for n, name in enumerate(regions):
        assert np.array_equal(regions.mask(name), match.apply_to_array(in_grid_order(masks[..., n])))


def test_without_an_image_the_frames_make_their_own_grid_as_highdicom_does(tmp_path):
    masks = random_masks(2)
    path = write(tmp_path / "seg.dcm", masks)
    regions = load_rois(path)
    volume = highdicom.seg.segread(path).get_volume(combine_segments=False)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    theirs = Grid(volume.spatial_shape, affine)
    for n, name in enumerate(regions):
        expected = Regions.from_masks({"a": volume.array[..., n]}, theirs).fit_to(regions.grid)
        assert np.array_equal(regions.mask(name), expected.mask("a"))


def test_missing_empty_frames_leave_room_in_the_own_grid(tmp_path):
    masks = random_masks(1)
    masks[[1, 2, 5]] = 0
    regions = load_rois(write(tmp_path / "seg.dcm", masks))
    assert regions.grid.shape == (COLUMNS, ROWS, 6)
    assert regions.grid.spacing_mm == pytest.approx((1.5, 2.0, 2.5), abs=1e-4)
    in_slices = regions.mask("segment 1").any(axis=(0, 1))
    expected = [True, False, False, True, True, True]
    assert in_slices.tolist() in (expected, expected[::-1])


@pytest.mark.parametrize(("threshold", "code"), [(0.5, 128), (0.25, 64), (1.0, 255)])
def test_fractional_segments_are_cut_at_the_threshold(tmp_path, threshold, code):
    """Fractions are stored as whole parts of 255; one of exactly the threshold belongs to the segment."""
    rng = np.random.default_rng(3)
    stored = rng.integers(0, 256, (SLICES, ROWS, COLUMNS, 2))
    path = write(tmp_path / "seg.dcm", stored / 255, "FRACTIONAL")
    regions = load_rois(path, like=GRID, fractional_threshold=threshold)
    for n, name in enumerate(regions):
        assert np.array_equal(regions.mask(name), in_grid_order(stored[..., n] >= code))
    assert [caution.code for caution in regions.warnings] == ["segments-fractional"]


def test_a_label_map_gives_one_region_per_described_number(tmp_path):
    labels = np.random.default_rng(2).integers(0, 4, (SLICES, ROWS, COLUMNS)).astype(np.uint8)
    path = write(tmp_path / "seg.dcm", labels, "LABELMAP", labels=["a", "b", "c"])
    regions = load_rois(path, like=GRID)
    assert list(regions) == ["a", "b", "c"]
    for number, name in enumerate(regions, start=1):
        assert np.array_equal(regions.mask(name), in_grid_order(labels == number))


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_compressed_frames_are_read(tmp_path, kind):
    labels = np.random.default_rng(2).integers(0, 2, (SLICES, ROWS, COLUMNS)).astype(np.uint8)
    path = write(tmp_path / "seg.dcm", labels.copy(), kind, labels=["segment 1"], syntax=RLELossless)
    regions = load_rois(path, like=GRID)
    assert np.array_equal(regions.mask("segment 1"), in_grid_order(labels == 1))


def test_an_empty_segment_is_kept_with_a_caution(tmp_path):
    masks = random_masks(2)
    masks[..., 1] = 0
    regions = load_rois(write(tmp_path / "seg.dcm", masks), like=GRID)
    assert [voxels.size > 0 for voxels in regions.voxel_lists()] == [True, False]
    assert [caution.code for caution in regions.warnings] == ["region-empty"]


def test_a_segmentation_of_nothing_is_refused(tmp_path):
    path = write(tmp_path / "seg.dcm", random_masks(1) * 0, labels=["a"], omit_empty_frames=False)
    with pytest.raises(NothingUsable):
        load_rois(path, like=GRID)


def test_labels_that_repeat_are_told_apart(tmp_path):
    regions = load_rois(write(tmp_path / "seg.dcm", random_masks(2), labels=["GTV", "GTV"]), like=GRID)
    assert list(regions) == ["GTV", "GTV-2"]


def test_a_segmentation_of_part_of_the_image_lands_in_its_place(tmp_path):
    masks = random_masks(1)
    larger = np.eye(4)
    larger[:3, 3] = (-3, -2, -1)
    regions = load_rois(
        write(tmp_path / "seg.dcm", masks),
        like=Grid((COLUMNS + 5, ROWS + 5, SLICES + 5), GRID.affine @ larger),
    )
    expected = np.zeros((COLUMNS + 5, ROWS + 5, SLICES + 5), bool)
    expected[3:-2, 2:-3, 1:-4] = in_grid_order(masks[..., 0])
    assert np.array_equal(regions.mask("segment 1"), expected)


def test_a_segmentation_that_is_larger_than_the_image_says_how_much_is_lost(tmp_path):
    masks = np.ones((SLICES, ROWS, COLUMNS, 1), np.uint8)
    smaller = Grid((COLUMNS // 2, ROWS, SLICES), GRID.affine)
    regions = load_rois(write(tmp_path / "seg.dcm", masks), like=smaller)
    assert regions.mask("segment 1").all()
    (caution,) = regions.warnings
    assert caution.code == "segments-outside-image"
    assert caution.message.startswith("50 %")


@pytest.mark.parametrize(
    "change",
    [np.diag([1.2, 1, 1, 1]), np.array([[1, 0, 0, 0.4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])],
    ids=["spacing", "shifted by part of a voxel"],
)
def test_frames_that_are_not_voxels_of_the_image_need_resampling(tmp_path, change):
    masks = random_masks(2)
    path = write(tmp_path / "seg.dcm", masks)
    other = Grid(GRID.shape, GRID.affine @ change)
    with pytest.raises(GeometryMismatch) as caught:
        load_rois(path, like=other)
    assert caught.value.where == str(path)
    assert "--resample-rois" in caught.value.next_step
    regions = load_rois(path, like=other, resample=True)
    full = Regions.from_masks({f"segment {n + 1}": in_grid_order(masks[..., n]) for n in range(2)}, GRID)
    expected = full.resampled(other)
    assert np.array_equal(regions.labels, expected.labels)
    assert "regions-resampled" in {caution.code for caution in regions.warnings}


def image_in(frame):
    source = Source(identifiers={"FrameOfReferenceUID": frame})
    return Volume(np.zeros(GRID.shape, np.float32), GRID.affine, "signal", "[arb'U]", source=source)


def test_another_frame_of_reference_is_a_caution_where_the_frames_fit(tmp_path):
    path = write(tmp_path / "seg.dcm", random_masks(1))
    assert load_rois(path, like=image_in("1.2.9")).warnings == ()
    regions = load_rois(path, like=image_in("1.2.8"))
    assert [caution.code for caution in regions.warnings] == ["frame-of-reference-differs"]


def test_another_frame_of_reference_is_refused_where_they_would_be_resampled(tmp_path):
    path = write(tmp_path / "seg.dcm", random_masks(1))
    image = image_in("1.2.8")
    shifted = image.replace(affine=image.affine @ np.diag([1.3, 1, 1, 1]))
    with pytest.raises(GeometryMismatch, match="frame of reference"):
        load_rois(path, like=shifted, resample=True)


def pop_shared(keyword):
    def edit(dataset):
        for group in (dataset.SharedFunctionalGroupsSequence[0], *dataset.PerFrameFunctionalGroupsSequence):
            group.pop(keyword, None)

    return edit


def set_in_first_frame(sequence, keyword, value):
    def edit(dataset):
        group = dataset.PerFrameFunctionalGroupsSequence[0]
        setattr(getattr(group, sequence)[0], keyword, value)

    return edit


@pytest.mark.parametrize(
    ("edit", "error", "tag"),
    [
        (lambda ds: ds.pop("SegmentSequence"), CorruptInput, "(0062,0002)"),
        (lambda ds: setattr(ds.SegmentSequence[0], "SegmentNumber", 0), CorruptInput, "(0062,0004)"),
        (lambda ds: setattr(ds.SegmentSequence[0], "SegmentNumber", 2), CorruptInput, "(0062,0004)"),
        (lambda ds: ds.pop("SegmentationType"), UnsupportedInput, "(0062,0001)"),
        (lambda ds: setattr(ds, "Rows", 65535), CorruptInput, "(7FE0,0010)"),
        (lambda ds: setattr(ds, "Rows", 0), CorruptInput, "(0028,0010)"),
        (lambda ds: setattr(ds, "BitsAllocated", 16), CorruptInput, "(0028,0100)"),
        (lambda ds: setattr(ds, "NumberOfFrames", 2**31 - 1), UnsupportedInput, "memory"),
        (lambda ds: setattr(ds, "NumberOfFrames", 3), CorruptInput, "(7FE0,0010)"),
        (lambda ds: setattr(ds, "PixelData", ds.PixelData[:-6]), CorruptInput, "(7FE0,0010)"),
        (lambda ds: setattr(ds, "PixelData", ds.PixelData * 2), CorruptInput, "(7FE0,0010)"),
        (lambda ds: ds.pop("PixelData"), CorruptInput, "(7FE0,0010)"),
        (lambda ds: ds.PerFrameFunctionalGroupsSequence.pop(0), CorruptInput, "(5200,9230)"),
        (lambda ds: ds.pop("PerFrameFunctionalGroupsSequence"), CorruptInput, "(5200,9230)"),
        (pop_shared("PlanePositionSequence"), MissingMetadata, "(0020,0032)"),
        (pop_shared("PlaneOrientationSequence"), MissingMetadata, "(0020,0037)"),
        (pop_shared("PixelMeasuresSequence"), MissingMetadata, "(0028,0030)"),
        (pop_shared("SegmentIdentificationSequence"), CorruptInput, "(0062,000B)"),
        (
            set_in_first_frame("SegmentIdentificationSequence", "ReferencedSegmentNumber", 9),
            CorruptInput,
            "(0062,000B)",
        ),
        (
            lambda ds: setattr(
                ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0],
                "ImageOrientationPatient",
                [1, 0, 0, 1, 0, 0],
            ),
            CorruptInput,
            "(0020,0037)",
        ),
        (lambda ds: setattr(ds, "TotalPixelMatrixColumns", 1000), UnsupportedInput, "slides"),
    ],
)
def test_damaged_or_foreign_segmentations_are_refused_by_tag(tmp_path, edit, error, tag):
    path = write(tmp_path / "seg.dcm", random_masks(2), edit=edit)
    with pytest.raises(error) as caught:
        load_rois(path, like=GRID)
    assert tag in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_two_frames_of_one_segment_at_one_position_are_refused(tmp_path):
    def edit(dataset):
        groups = dataset.PerFrameFunctionalGroupsSequence
        position = groups[1].PlanePositionSequence[0].ImagePositionPatient
        groups[0].PlanePositionSequence[0].ImagePositionPatient = position

    with pytest.raises(UnsupportedInput, match="same position"):
        load_rois(write(tmp_path / "seg.dcm", random_masks(1), edit=edit), like=GRID)


def test_uneven_and_staggered_frames_make_no_grid_of_their_own(tmp_path):
    def move(step):
        def edit(dataset):
            position = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
            position.ImagePositionPatient = list(np.array(position.ImagePositionPatient) + step)

        return edit

    normal = np.cross(*np.reshape(source_images()[0].ImageOrientationPatient, (2, 3)))
    with pytest.raises(GeometryMismatch, match="unevenly"):
        load_rois(write(tmp_path / "a.dcm", random_masks(1), edit=move(0.7 * normal)))
    with pytest.raises(GeometryMismatch, match="stacked"):
        load_rois(write(tmp_path / "b.dcm", random_masks(1), edit=move(np.array([3.0, 0, 0]))))


def test_truncated_and_flipped_files_give_a_typed_error_or_the_same_regions(tmp_path):
    path = write(tmp_path / "seg.dcm", random_masks(1, density=0.1))
    whole = path.read_bytes()
    expected = load_rois(path, like=GRID).labels
    rng = np.random.default_rng(7)
    part = tmp_path / "part.dcm"
    for length in rng.integers(0, len(whole), 60):
        part.write_bytes(whole[:length])
        with pytest.raises(ImgTheranosticsError) as caught:
            load_rois(part, like=GRID)
        assert "CANARY" not in str(caught.value)
    for _ in range(60):
        content = bytearray(whole)
        for place in rng.integers(132, len(content), 2):
            content[place] = rng.integers(256)
        part.write_bytes(bytes(content))
        with contextlib.suppress(ImgTheranosticsError):
            assert load_rois(part, like=GRID).labels.shape[:3] == expected.shape[:3]


def test_frames_that_do_not_fit_their_count_in_a_public_file_are_refused():
    """The one-frame liver segmentation in the pydicom wheel describes three frames."""
    path = pydicom.data.get_testdata_file("liver_1frame.dcm", download=False)
    with pytest.raises(CorruptInput, match="PerFrameFunctionalGroupsSequence"):
        load_rois(path)
