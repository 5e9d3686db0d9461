"""Regions from NIfTI files, name tables, folders and lists."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    ImgTheranosticsError,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.io.region_names import clean_name, name_of_file, unique_names
from imgtheranostics.io.regions import load_rois
from imgtheranostics.volume import AxisMatch, Estimate, Grid, Volume

GRID = Grid((9, 8, 7), [[-2.0, 0, 0.1, 10], [0, -2.5, 0.2, 12], [0.1, 0, 3.0, -6], [0, 0, 0, 1]])


def write(path, data, affine=GRID.affine):
    image = nibabel.Nifti1Image(np.asarray(data), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def label_map(seed=0, numbers=(1, 2, 5), dtype=np.int16):
    rng = np.random.default_rng(seed)
    return rng.choice([0, *numbers], size=GRID.shape).astype(dtype)


def codes(regions):
    return [caution.code for caution in regions.warnings]


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64]
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_labels_of_every_type_keep_their_numbers(tmp_path, dtype, suffix):
    labels = label_map(dtype=dtype)
    regions = load_rois(write(tmp_path / f"seg{suffix}", labels), like=GRID)
    assert dict(regions.names) == {1: "region-1", 2: "region-2", 5: "region-5"}
    for number, name in regions.names.items():
        assert np.array_equal(regions.mask(name), labels == number)
    assert regions.warnings == ()


def test_scaled_labels_are_read_after_scaling(tmp_path):
    path = write(tmp_path / "seg.nii", label_map())
    image = nibabel.load(path)
    image.header["scl_slope"], image.header["scl_inter"] = 2, 0
    content = image.header.binaryblock + path.read_bytes()[348:]
    path.write_bytes(content)
    assert list(load_rois(path).names) == [2, 4, 10]


def test_a_single_mask_is_named_after_its_file(tmp_path):
    regions = load_rois(write(tmp_path / "DRO_mask.nii.gz", label_map(numbers=(1,))), like=GRID)
    assert list(regions) == ["DRO_mask"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("DRO_mask.nii.gz", "DRO_mask"),
        ("sub-01_ses-2_label-tumour_mask.nii.gz", "tumour"),
        ("sub-Meier_ses-20240101_mask.nii", "mask"),
        ("left kidney (2).nii", "left_kidney_2"),
        ("../x.nii", "x"),
        (".nii", "region-1"),
        ("Leber-ä.nii.gz", "Leber-"),
    ],
)
def test_names_from_file_names_hold_only_plain_characters(tmp_path, file, name):
    assert name_of_file(tmp_path / file) == name


@given(names=st.lists(st.text(max_size=80), min_size=1, max_size=12))
def test_names_are_cleaned_and_made_unique(names):
    cleaned = [clean_name(name, f"region-{n}") for n, name in enumerate(names)]
    unique, cautions = unique_names(cleaned)
    assert len(set(unique)) == len(names)
    assert len(cautions) == sum(a != b for a, b in zip(unique, cleaned, strict=True))
    assert all(name.isprintable() and name == name.strip() and name for name in unique)


@pytest.mark.parametrize(
    "content",
    [
        {"1": "liver", "2": "tumour", "5": "rim"},
        {"liver": 1, "tumour": 2, "rim": 5},
        {"background": 0, "liver": 1, "tumour": 2, "rim": 5},
        {"labels": {"1": "liver", "2": "tumour", "5": "rim"}, "Description": "by hand"},
    ],
)
def test_names_come_from_the_json_beside_the_image(tmp_path, content):
    path = write(tmp_path / "seg.nii.gz", label_map())
    (tmp_path / "seg.json").write_text(json.dumps(content))
    assert dict(load_rois(path).names) == {1: "liver", 2: "tumour", 5: "rim"}


def test_a_json_that_holds_no_names_is_no_table_of_names(tmp_path):
    path = write(tmp_path / "seg.nii.gz", label_map())
    (tmp_path / "seg.json").write_text(json.dumps({"SeriesNumber": 3, "Manufacturer": "x"}))
    assert list(load_rois(path)) == ["region-1", "region-2", "region-5"]


TABLE = "index\tname\tcolor\n1\tliver\t#aa0000\n2\ttumour\t#00aa00\n5\trim\t#0000aa\n"


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        TABLE.replace("\t", ","),
        TABLE.replace("\t", ";"),
        "\ufeff" + TABLE,
        TABLE.replace("\n", "\r\n"),
        TABLE + "\n\n",
        TABLE.replace("index\tname\tcolor", "Index\tNAME\tcolor"),
        TABLE.replace("color\n", "color\n0\tbackground\tn/a\n"),
        TABLE.replace("\t", ",").replace("liver", '"liver"'),
    ],
    ids=["tab", "comma", "semicolon", "BOM", "CRLF", "blank lines", "capitals", "background", "quoted"],
)
@pytest.mark.parametrize("name", ["sub-01_dseg.tsv", "dseg.tsv"])
def test_names_come_from_the_table_of_bids_derivatives(tmp_path, text, name):
    path = write(tmp_path / "sub-01_dseg.nii.gz", label_map())
    (tmp_path / name).write_bytes(text.encode())
    assert dict(load_rois(path).names) == {1: "liver", 2: "tumour", 5: "rim"}


def test_a_table_of_another_subject_or_description_does_not_apply(tmp_path):
    path = write(tmp_path / "sub-01_desc-a_dseg.nii.gz", label_map())
    for other in ("sub-02_dseg.tsv", "sub-01_desc-b_dseg.tsv"):
        (tmp_path / other).write_text(TABLE)
    assert list(load_rois(path)) == ["region-1", "region-2", "region-5"]
    (tmp_path / "desc-a_dseg.tsv").write_text(TABLE)
    assert list(load_rois(path)) == ["liver", "tumour", "rim"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "index\tname,color\n1\ta,b\n",
        "index name\n1 liver\n",
        "number\tname\n1\tliver\n",
        "index\tname\n1\tliver\n1\ttumour\n",
        "index\tname\n1\tliver\textra\n",
        "index\tname\none\tliver\n",
        "index\tname\n-1\tliver\n",
        "index\tname\n1.5\tliver\n",
        "index\tname\n99999999999\tliver\n",
        "index\tname\tname\n1\tliver\tx\n",
    ],
)
def test_a_table_that_leaves_doubt_is_refused_by_file(tmp_path, text):
    path = write(tmp_path / "sub-01_dseg.nii.gz", label_map())
    (tmp_path / "sub-01_dseg.tsv").write_text(text)
    with pytest.raises(CorruptInput) as caught:
        load_rois(path)
    assert "sub-01_dseg.tsv" in caught.value.where


@pytest.mark.parametrize(
    "text",
    [
        '{"1": "a", "1": "b"}',
        '{"labels": {"1": 2.5}}',
        '{"labels": {}}',
        '{"a": 1, "b": 1}',
        "{",
        '{"-1": "a"',
    ],
)
def test_a_json_that_leaves_doubt_is_refused_by_file(tmp_path, text):
    path = write(tmp_path / "seg.nii", label_map())
    (tmp_path / "seg.json").write_text(text)
    with pytest.raises(CorruptInput) as caught:
        load_rois(path)
    assert "seg.json" in caught.value.where


def test_two_tables_that_contradict_each_other_are_refused(tmp_path):
    path = write(tmp_path / "seg.nii", label_map())
    (tmp_path / "seg.tsv").write_text(TABLE)
    (tmp_path / "seg.json").write_text('{"1": "spleen"}')
    with pytest.raises(CorruptInput, match="differently"):
        load_rois(path)
    (tmp_path / "seg.json").write_text('{"1": "liver", "2": "tumour", "5": "rim"}')
    assert list(load_rois(path)) == ["liver", "tumour", "rim"]


def test_named_but_absent_and_present_but_unnamed_labels_are_pointed_out(tmp_path):
    path = write(tmp_path / "seg.nii", label_map())
    (tmp_path / "seg.json").write_text('{"1": "liver", "7": "spleen"}')
    regions = load_rois(path)
    assert dict(regions.names) == {1: "liver", 7: "spleen", 2: "region-2", 5: "region-5"}
    assert sorted(codes(regions)) == ["region-empty", "region-unnamed"]
    assert regions.voxel_lists()[1].size == 0


def test_an_all_empty_mask_is_refused(tmp_path):
    with pytest.raises(NothingUsable, match="empty"):
        load_rois(write(tmp_path / "mask.nii", np.zeros(GRID.shape, np.uint8)), like=GRID)


def test_fractions_are_cut_at_the_threshold_with_a_caution(tmp_path):
    data = np.random.default_rng(1).integers(0, 5, GRID.shape).astype(np.float32) / 4
    path = write(tmp_path / "tumour.nii", data)
    regions = load_rois(path, fractional_threshold=0.75)
    assert np.array_equal(regions.mask("tumour"), data >= 0.75)
    assert codes(regions) == ["mask-fractional"]


def test_an_image_given_by_mistake_is_refused(tmp_path):
    rng = np.random.default_rng(1)
    with pytest.raises(UnsupportedInput, match="no label map"):
        load_rois(write(tmp_path / "pet.nii", rng.random(GRID.shape).astype(np.float32) * 9))
    counts = np.arange(np.prod((20, 20, 20))).reshape(20, 20, 20).astype(np.int16)
    with pytest.raises(UnsupportedInput, match="too many"):
        load_rois(write(tmp_path / "counts.nii", counts))


@pytest.mark.parametrize(
    ("value", "error"),
    [(np.nan, CorruptInput), (np.inf, CorruptInput), (-1, CorruptInput), (2.0**25, UnsupportedInput)],
)
def test_voxels_that_cannot_be_labels_are_refused(tmp_path, value, error):
    data = label_map(dtype=np.float32)
    data[0, 0, 0] = value
    with pytest.raises(error) as caught:
        load_rois(write(tmp_path / "seg.nii", data))
    assert "seg.nii" in caught.value.where


def test_a_fourth_dimension_holds_overlapping_masks(tmp_path):
    masks = np.random.default_rng(4).random((*GRID.shape, 3)) < 0.5
    regions = load_rois(write(tmp_path / "stack.nii", masks.astype(np.uint8)), like=GRID)
    assert list(regions) == ["region-1", "region-2", "region-3"]
    for n, name in enumerate(regions):
        assert np.array_equal(regions.mask(name), masks[..., n])


def test_a_label_in_two_layers_of_a_stack_is_refused(tmp_path):
    stack = np.stack([label_map(numbers=(1, 2)), label_map(numbers=(2, 3))], axis=-1)
    with pytest.raises(UnsupportedInput, match="several layers"):
        load_rois(write(tmp_path / "stack.nii", stack))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_a_mask_stored_in_another_order_fits_the_image_exactly(tmp_path, order):
    labels = label_map()
    match = AxisMatch(order, (True, False, True))
    stored = match.apply_to_grid(GRID)
    path = write(tmp_path / "seg.nii", np.ascontiguousarray(match.apply_to_array(labels)), stored.affine)
    regions = load_rois(path, like=GRID)
    for number, name in regions.names.items():
        assert np.array_equal(regions.mask(name), labels == number)
    assert regions.warnings == ()


def test_a_mask_on_another_grid_is_refused_with_what_differs_and_resampled_on_request(tmp_path):
    affine = GRID.affine @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = (GRID.affine @ [-0.25, -0.25, -0.25, 1])[:3]
    fine = np.kron(label_map(), np.ones((2, 2, 2), np.int16))
    path = write(tmp_path / "seg.nii", fine, affine)
    with pytest.raises(GeometryMismatch) as caught:
        load_rois(path, like=GRID)
    assert caught.value.where == str(path)
    assert "spacing" in caught.value.found
    shifted = Grid(GRID.shape, GRID.affine + np.array([[0, 0, 0, 1e-3]] * 3 + [[0] * 4]))
    regions = load_rois(path, like=shifted, resample=True)
    assert np.array_equal(regions.labels[..., 0], label_map())
    assert "regions-resampled" in codes(regions)


def test_resampling_says_how_much_lies_outside_the_image(tmp_path):
    path = write(tmp_path / "seg.nii", np.ones((10, 8, 7), np.uint8))
    half = Grid((5, 8, 7), GRID.affine)
    regions = load_rois(path, like=half, resample=True)
    (message,) = [one.message for one in regions.warnings if one.code == "regions-outside-image"]
    assert message.startswith("50 %")


def test_like_may_be_a_volume_or_an_estimate(tmp_path):
    path = write(tmp_path / "seg.nii", label_map())
    image = Volume(np.zeros(GRID.shape, np.float32), GRID.affine, "signal", "[arb'U]")
    flags = image.replace(data=np.zeros(GRID.shape, np.uint16), quantity="flags", unit="1")
    for like in (image, Estimate(image, image, flags)):
        assert load_rois(path, like=like).grid.same_as(GRID)


def test_a_folder_of_masks_becomes_overlapping_regions(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    masks = {
        name: np.random.default_rng(n).random(GRID.shape) < 0.5 for n, name in enumerate(("liver", "rim"))
    }
    for name, mask in masks.items():
        write(folder / f"{name}.nii.gz", mask.astype(np.uint8))
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.nii").write_bytes(b"x")
    for given_path in (folder, [folder / "liver.nii.gz", folder / "rim.nii.gz"]):
        regions = load_rois(given_path, like=GRID)
        assert list(regions) == ["liver", "rim"]
        for name, mask in masks.items():
            assert np.array_equal(regions.mask(name), mask)


def test_an_empty_mask_among_others_is_kept(tmp_path):
    write(tmp_path / "a.nii", label_map(numbers=(1,)))
    write(tmp_path / "b.nii", np.zeros(GRID.shape, np.uint8))
    regions = load_rois(tmp_path, like=GRID)
    assert [voxels.size > 0 for voxels in regions.voxel_lists()] == [True, False]
    assert codes(regions) == ["region-empty"]


def test_masks_of_one_folder_on_different_grids_are_refused_without_an_image(tmp_path):
    write(tmp_path / "a.nii", label_map(numbers=(1,)))
    write(tmp_path / "b.nii", label_map(numbers=(1,)), GRID.affine @ np.diag([1.5, 1, 1, 1]))
    with pytest.raises(GeometryMismatch) as caught:
        load_rois(tmp_path)
    assert caught.value.where.endswith("b.nii")


def test_equal_names_of_several_files_are_told_apart(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "tumour.nii", label_map(numbers=(1,)))
    regions = load_rois([tmp_path / "x", tmp_path / "y"], like=GRID)
    assert list(regions) == ["tumour", "tumour-2"]
    assert codes(regions) == ["region-renamed"]


@pytest.mark.parametrize("content", [b"hello", bytes(400), b"\x00" * 128 + b"DICM" + b"\x00" * 40])
def test_a_file_without_regions_is_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ImgTheranosticsError) as caught:
        load_rois(path)
    assert caught.value.exit_code == 4
    assert str(path) in caught.value.where


def test_a_missing_or_empty_path_is_refused(tmp_path):
    with pytest.raises(NothingUsable, match="does not exist"):
        load_rois(tmp_path / "nothing.nii")
    with pytest.raises(NothingUsable, match="no regions"):
        load_rois(tmp_path)
    (tmp_path / "empty.nii").touch()
    with pytest.raises(CorruptInput, match="empty file"):
        load_rois(tmp_path / "empty.nii")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_label_map_is_refused(tmp_path, part, suffix):
    path = write(tmp_path / f"seg{suffix}", label_map())
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ImgTheranosticsError):
        load_rois(path, like=GRID)


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_a_threshold_that_makes_no_sense_is_refused(tmp_path, threshold):
    with pytest.raises(ValueError, match="fractional_threshold"):
        load_rois(tmp_path, fractional_threshold=threshold)


@pytest.mark.parametrize("name", ["DRO_0_0", "DRO_2_2", "DRO_3_1"])
def test_the_masks_of_the_reference_objects_hold_the_published_range(public_data, name):
    import pydicom

    folder = public_data(f"pet/ibsi_suv/{name}")
    slices = sorted(
        (pydicom.dcmread(p) for p in (folder / "PT").iterdir()), key=lambda s: s.ImagePositionPatient[2]
    )
    values = np.stack([s.pixel_array.T * float(s.RescaleSlope) for s in slices], axis=-1)
    affine = np.diag([-4.0, -4.0, 4.0, 1.0])
    affine[:3, 3] = np.array(slices[0].ImagePositionPatient) * (-1, -1, 1)
    regions = load_rois(folder / "mask", like=Grid(values.shape, affine))
    inside = values[regions.mask("DRO_mask")]
    median = np.median(inside)
    assert abs(inside.min() / median - 0.2) < 0.005 * 1.2
    assert abs(inside.max() / median - 4.0) < 0.005 * 5
