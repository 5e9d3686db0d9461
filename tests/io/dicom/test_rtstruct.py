"""RT structure sets: public data, the rules of contours, and damaged files."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImgTheranosticsError,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.io.dicom.rtstruct import RT_STRUCTURE_SET, load_rtstruct, read_structures
from imgtheranostics.io.regions import load_rois
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid, Source, Volume

GRID = Grid((20, 16, 8), [[-2.0, 0, 0, 10], [0, -2.0, 0, 12], [0, 0, 3.0, -6], [0, 0, 0, 1]])
SQUARE = [(3, 4), (9, 4), (9, 10), (3, 10)]
"""Around the centres 3..8 and 4..9 when it is shifted by half a voxel."""


def contour(index_points, k, kind="CLOSED_PLANAR", grid=GRID):
    points = [(i - 0.5, j - 0.5, k) for i, j in index_points]
    lps = grid.world_mm(points) * (-1, -1, 1)
    item = Dataset()
    item.ContourGeometricType = kind
    item.NumberOfContourPoints = len(points)
    item.ContourData = [f"{value:.6g}" for value in lps.ravel()]
    return item


def structure_set(regions, frame="1.2.3"):
    """A structure set from a mapping of name to contour items; None leaves out the contours."""
    dataset = Dataset()
    dataset.SOPClassUID = RT_STRUCTURE_SET
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.Modality = "RTSTRUCT"
    dataset.PatientName = "CANARY^NAME"
    dataset.PatientID = "CANARY-ID"
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    for number, (name, contours) in enumerate(regions.items(), start=1):
        item = Dataset()
        item.ROINumber, item.ROIName, item.ReferencedFrameOfReferenceUID = number, name, frame
        dataset.StructureSetROISequence.append(item)
        if contours is not None:
            item = Dataset()
            item.ReferencedROINumber, item.ContourSequence = number, contours
            dataset.ROIContourSequence.append(item)
    return dataset


def write(dataset, path, syntax=ExplicitVRLittleEndian):
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def series(folder):
    """Slices of an axial series in ascending z, and their grid, by pydicom alone."""
    slices = sorted(
        (pydicom.dcmread(path) for path in folder.iterdir()), key=lambda one: one.ImagePositionPatient[2]
    )
    first, last = slices[0], slices[-1]
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.ImageOrientationPatient[:3], float) * first.PixelSpacing[1]
    affine[:3, 1] = np.array(first.ImageOrientationPatient[3:], float) * first.PixelSpacing[0]
    affine[:3, 3] = first.ImagePositionPatient
    affine[:3, 2] = (np.array(last.ImagePositionPatient) - affine[:3, 3]) / (len(slices) - 1)
    stored = np.stack([one.pixel_array.T * float(one.RescaleSlope) for one in slices], axis=-1)
    return slices, stored, Grid(stored.shape, np.diag([-1, -1, 1, 1]) @ affine)


def dro_names():
    return ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_2_2", "DRO_2_4", "DRO_3_1", "DRO_3_3", "DRO_4_1", "DRO_5_0"]


@pytest.mark.parametrize("name", dro_names())
def test_contours_of_the_reference_objects_hold_the_published_range(public_data, name):
    """Over the median, published as 1.00, the region spans the published 0.20 to 4.00.

    Both numbers of a ratio have the published tolerance of 0.005.
    """
    folder = public_data(f"pet/ibsi_suv/{name}")
    _, values, grid = series(folder / "PT")
    (path,) = (folder / "RS").iterdir()
    regions = load_rtstruct(path, grid)
    inside = values[regions.mask("region_1")]
    with (folder.parent / "expected.csv").open() as stream:
        row = next(row for row in csv.DictReader(stream) if row["ID"] == name)
    minimum, maximum = float(row["SUVmin_expected"]), float(row["SUVmax_expected"])
    median = np.median(inside)
    assert abs(inside.min() / median - minimum) < 0.005 * (1 + minimum)
    assert abs(inside.max() / median - maximum) < 0.005 * (1 + maximum)
    assert regions.warnings == ()


def test_contours_of_a_reference_object_lie_within_its_mask_and_leave_out_its_shell(public_data):
    """The outline was drawn about 0.9 voxels inside the mask and ends one slice earlier at each end."""
    from scipy.ndimage import binary_erosion

    folder = public_data("pet/ibsi_suv/DRO_0_0")
    _, _, grid = series(folder / "PT")
    (path,) = (folder / "RS").iterdir()
    inside = load_rtstruct(path, grid).mask("region_1")
    mask = np.asarray(nibabel.load(folder / "mask/DRO_mask.nii.gz").dataobj) != 0
    core = binary_erosion(mask, np.ones((3, 3, 3)), iterations=2)
    assert not (inside & ~mask).any()
    assert not (core & ~inside).any()


def test_suv_of_a_reference_object_in_its_contours(public_data):
    """SUV = Bq/mL x weight / dose decayed from injection to series start: 0.20, 1.00, 4.00."""
    folder = public_data("pet/ibsi_suv/DRO_0_0")
    slices, values, grid = series(folder / "PT")
    drug = slices[0].RadiopharmaceuticalInformationSequence[0]

    def seconds(text):
        text = str(text)
        return int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])

    injected = (
        str(drug.get("RadiopharmaceuticalStartDateTime", ""))[8:14] or drug.RadiopharmaceuticalStartTime
    )
    elapsed = seconds(slices[0].SeriesTime) - seconds(injected)
    dose = float(drug.RadionuclideTotalDose) * 2 ** (-elapsed / float(drug.RadionuclideHalfLife))
    suv = values * 1000 * float(slices[0].PatientWeight) / dose
    (path,) = (folder / "RS").iterdir()
    inside = suv[load_rtstruct(path, grid).mask("region_1")]
    assert [inside.min(), np.median(inside), inside.max()] == pytest.approx([0.20, 1.00, 4.00], abs=0.005)


def test_the_sarcoma_contours_give_the_published_mask_voxel_by_voxel(public_data):
    folder = public_data("pet/sts_001")
    _, values, grid = series(folder / "image")
    regions = load_rtstruct(folder / "mask/1-1.dcm", grid)
    image = nibabel.load(folder / "suv_expected/nifti/PET_mask.nii.gz")
    published = Regions.from_masks(
        {"published": np.asarray(image.dataobj)}, Grid(image.shape, image.affine)
    ).resampled(grid)
    assert list(regions) == ["GTV_Mass", "GTV_Edema"]
    assert np.array_equal(regions.mask("GTV_Mass"), published.mask("published"))
    suv = 2.42903e-4 * values[regions.mask("GTV_Mass")]
    assert suv.size == 5095
    assert suv.min() == pytest.approx(0.1686, abs=5e-4)
    assert suv.mean() == pytest.approx(2.5551, abs=5e-4)
    assert suv.max() == pytest.approx(7.9107, abs=5e-4)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_encoding_gives_the_voxels_that_the_contour_surrounds(tmp_path, syntax):
    path = write(structure_set({"tumour": [contour(SQUARE, k) for k in (2, 3)]}), tmp_path / "rs", syntax)
    expected = np.zeros(GRID.shape, bool)
    expected[3:9, 4:10, 2:4] = True
    assert np.array_equal(load_rtstruct(path, GRID).mask("tumour"), expected)


def test_a_repeated_last_point_changes_nothing(tmp_path):
    path = write(structure_set({"a": [contour([*SQUARE, SQUARE[0]], 2)]}), tmp_path / "rs")
    assert read_structures(path).contours["a"][0].shape == (4, 3)
    assert load_rtstruct(path, GRID).mask("a").sum() == 36


def test_points_and_open_lines_are_left_out_with_a_caution(tmp_path):
    contours = [
        contour(SQUARE, 2),
        contour([(1, 1)], 2, "POINT"),
        contour(SQUARE, 3, "OPEN_PLANAR"),
        contour(SQUARE[:2], 4),
    ]
    regions = load_rtstruct(write(structure_set({"a": contours}), tmp_path / "rs"), GRID)
    assert regions.mask("a").sum() == 36
    assert [caution.code for caution in regions.warnings] == ["contours-ignored"] * 2


def test_regions_that_overlap_are_both_complete(tmp_path):
    regions = {"inner": [contour(SQUARE, 2)], "outer": [contour([(1, 1), (15, 1), (15, 14), (1, 14)], 2)]}
    found = load_rtstruct(write(structure_set(regions), tmp_path / "rs"), GRID)
    assert found.mask("inner").sum() == 36
    assert found.mask("outer").sum() == 14 * 13


def test_layers_of_overlapping_regions_stay_within_the_memory_budget(tmp_path, monkeypatch):
    regions = {f"ring {n}": [contour([(1, 1), (5 + n, 1), (5 + n, 14), (1, 14)], 2)] for n in range(10)}
    path = write(structure_set(regions), tmp_path / "rs")
    one_layer = GRID.n_voxels * 4
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", str(10.5 * one_layer / 2**30))
    monkeypatch.setattr("imgtheranostics.io.dicom.parsing.check_budget", lambda *_, **__: None)
    assert load_rtstruct(path, GRID).labels.shape[3] == 10
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", str(9.5 * one_layer / 2**30))
    with pytest.raises(UnsupportedInput, match="10 layers"):
        load_rtstruct(path, GRID)


def test_empty_regions_are_kept_with_a_caution(tmp_path):
    regions = {"a": [contour(SQUARE, 2)], "none": None, "empty": []}
    found = load_rois(write(structure_set(regions), tmp_path / "rs"), like=GRID)
    assert [voxels.size for voxels in found.voxel_lists()] == [36, 0, 0]
    assert [caution.code for caution in found.warnings] == ["region-empty", "region-empty"]


def test_a_structure_set_without_any_contour_is_refused(tmp_path):
    with pytest.raises(NothingUsable, match="all regions are empty"):
        load_rois(write(structure_set({"a": None}), tmp_path / "rs"), like=GRID)


def test_repeated_and_blank_names_are_told_apart(tmp_path):
    dataset = structure_set({name: [contour(SQUARE, 2)] for name in ("x", "y", "z")})
    for item, name in zip(dataset.StructureSetROISequence, ("GTV", "GTV", ""), strict=True):
        item.ROIName = name
    found = load_rtstruct(write(dataset, tmp_path / "rs"), GRID)
    assert list(found) == ["GTV", "GTV-2", "region-3"]
    assert [caution.code for caution in found.warnings] == ["region-renamed"]


@pytest.mark.parametrize(("charset", "name"), [("ISO_IR 192", "Läsion ♯1"), ("ISO_IR 100", "Läsion")])
def test_names_are_read_in_the_character_set_of_the_file(tmp_path, charset, name):
    dataset = structure_set({name: [contour(SQUARE, 2)]})
    dataset.SpecificCharacterSet = charset
    assert list(load_rtstruct(write(dataset, tmp_path / "rs"), GRID)) == [name]


def test_a_folder_gives_its_structure_set_and_leaves_the_images_alone(tmp_path):
    write(structure_set({"a": [contour(SQUARE, 2)]}), tmp_path / "rs.dcm")
    image = structure_set({})
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
    write(image, tmp_path / "pet.dcm")
    assert list(load_rois(tmp_path, like=GRID)) == ["a"]
    with pytest.raises(UnsupportedInput, match="another kind"):
        load_rois(tmp_path / "pet.dcm", like=GRID)


def test_contours_without_an_image_are_refused(tmp_path):
    path = write(structure_set({"a": [contour(SQUARE, 2)]}), tmp_path / "rs")
    with pytest.raises(MissingMetadata) as caught:
        load_rois(path)
    assert "like=" in caught.value.next_step


def test_contours_between_slices_need_the_option(tmp_path):
    path = write(structure_set({"a": [contour(SQUARE, k + 0.4) for k in (2, 3)]}), tmp_path / "rs")
    with pytest.raises(GeometryMismatch) as caught:
        load_rois(path, like=GRID)
    assert caught.value.where == str(path)
    assert "--resample-rois" in caught.value.next_step
    assert load_rois(path, like=GRID, resample=True).mask("a").sum(axis=(0, 1)).tolist() == [
        0, 0, 36, 36, 0, 0, 0, 0,
    ]  # fmt: skip


def image_in(frame):
    source = Source(identifiers={"FrameOfReferenceUID": frame})
    return Volume(np.zeros(GRID.shape, np.float32), GRID.affine, "signal", "[arb'U]", source=source)


def test_another_frame_of_reference_is_a_caution_where_positions_fit_and_a_refusal_where_they_do_not(
    tmp_path,
):
    path = write(structure_set({"a": [contour(SQUARE, 2)]}, frame="9.8.7"), tmp_path / "rs")
    assert load_rois(path, like=image_in("9.8.7")).warnings == ()
    codes = [caution.code for caution in load_rois(path, like=image_in("9.8.6")).warnings]
    assert codes == ["frame-of-reference-differs"]
    with pytest.raises(GeometryMismatch) as caught:
        load_rois(path, like=image_in("9.8.6"), resample=True)
    assert "9.8" not in str(caught.value)


def damaged(change):
    dataset = structure_set({"a": [contour(SQUARE, 2), contour(SQUARE, 3)], "b": [contour(SQUARE, 2)]})
    change(dataset)
    return dataset


def first_contour(dataset):
    return dataset.ROIContourSequence[0].ContourSequence[0]


@pytest.mark.parametrize(
    ("change", "tag"),
    [
        (lambda ds: ds.pop("StructureSetROISequence"), "(3006,0020)"),
        (lambda ds: ds.StructureSetROISequence.clear(), "(3006,0020)"),
        (lambda ds: ds.StructureSetROISequence[0].pop("ROINumber"), "(3006,0022)"),
        (lambda ds: setattr(ds.StructureSetROISequence[1], "ROINumber", 1), "(3006,0022)"),
        (lambda ds: ds.ROIContourSequence[0].pop("ReferencedROINumber"), "(3006,0084)"),
        (lambda ds: setattr(ds.ROIContourSequence[0], "ReferencedROINumber", 77), "(3006,0020)"),
        (lambda ds: first_contour(ds).pop("ContourData"), "(3006,0050)"),
        (lambda ds: setattr(first_contour(ds), "NumberOfContourPoints", 5), "(3006,0050)"),
        (lambda ds: setattr(first_contour(ds), "ContourData", ["1"] * 11), "(3006,0050)"),
        (lambda ds: setattr(first_contour(ds), "ContourData", ["1e300"] * 12), "(3006,0050)"),
        (lambda ds: setattr(first_contour(ds), "ContourOffsetVector", [0, 0, 5]), "(3006,0045)"),
    ],
)
def test_contradictions_are_corrupt_input_that_names_the_tag(tmp_path, change, tag):
    path = write(damaged(change), tmp_path / "rs")
    with pytest.raises(CorruptInput) as caught:
        load_rois(path, like=GRID)
    assert tag in str(caught.value)
    assert str(path) in caught.value.where


@pytest.mark.parametrize("bad", [b"nan", b"inf", b"1_0", b"abc", b"0x1", b"1e", b"--1"])
def test_numbers_that_are_none_are_refused_without_being_quoted(tmp_path, bad):
    path = write(damaged(lambda ds: None), tmp_path / "rs")
    content = path.read_bytes()
    start = content.index(b"-5\\-5\\0\\") if b"-5\\-5\\0\\" in content else content.index(b"\\0\\") - 4
    path.write_bytes(content[:start] + bad.ljust(3, b" ") + content[start + 3 :])
    with pytest.raises(CorruptInput) as caught:
        load_rois(path, like=GRID)
    assert "(3006,0050)" in str(caught.value)
    assert bad.decode() not in str(caught.value).replace("cannot", "").replace("path", "")


def regions_or_message(path):
    try:
        return load_rois(path, like=GRID)
    except ImgTheranosticsError as error:
        return str(error)


def test_a_truncated_file_is_never_read_as_fewer_regions(tmp_path):
    whole = write(damaged(lambda ds: None), tmp_path / "rs").read_bytes()
    expected = load_rois(tmp_path / "rs", like=GRID)
    part = tmp_path / "part"
    for length in range(len(whole) - 1):
        part.write_bytes(whole[:length])
        found = regions_or_message(part)
        if isinstance(found, Regions):
            assert np.array_equal(found.labels, expected.labels), length
        else:
            assert "CANARY" not in found


def test_flipped_bytes_give_a_typed_error_or_regions(tmp_path):
    whole = write(damaged(lambda ds: None), tmp_path / "rs").read_bytes()
    rng = np.random.default_rng(5)
    part = tmp_path / "part"
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(132, len(content), 3):
            content[place] = rng.integers(256)
        part.write_bytes(bytes(content))
        assert "CANARY" not in str(regions_or_message(part))


def test_deep_nesting_is_a_typed_error_or_ignored(tmp_path):
    dataset = structure_set({"a": [contour(SQUARE, 2)]})
    inner = Dataset()
    inner.ROIName = "x"
    for _ in range(200):
        outer = Dataset()
        outer.ROIContourSequence = [inner]
        inner = outer
    dataset.RTROIObservationsSequence = [inner]
    path = write(dataset, tmp_path / "rs")
    found = regions_or_message(path)
    assert str(path) in found if isinstance(found, str) else found.mask("a").sum() == 36


def test_a_deflated_bomb_stops_at_the_memory_budget(tmp_path, monkeypatch):
    dataset = structure_set({"a": [contour(SQUARE, 2)]})
    dataset.add_new(0x00091001, "UN", bytes(20 * 2**20))
    path = write(dataset, tmp_path / "rs", DeflatedExplicitVRLittleEndian)
    assert path.stat().st_size < 2**17
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", "0.01")
    with pytest.raises(UnsupportedInput, match="memory"):
        load_rois(path, like=GRID)


def test_no_identifying_value_in_representations_or_cautions(tmp_path):
    path = write(structure_set({"a": [contour(SQUARE, 2)], "b": None}), tmp_path / "rs")
    structures = read_structures(path)
    regions = load_rois(path, like=GRID)
    assert "CANARY" not in repr(structures) + repr(regions.warnings) + repr(regions.history)
    assert "1.2.3" not in repr(structures)
