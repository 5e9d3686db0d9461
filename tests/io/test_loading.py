"""load, load_all and info: what is listed, what is chosen, what is refused, what is never said."""

from __future__ import annotations

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import (
    CorruptInput,
    GeometryMismatch,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)


@pytest.fixture
def two_series(tmp_path, make_series):
    make_series(tmp_path, "PT", series_uid="1.2.3.111", prefix="a")
    make_series(tmp_path, "CT", series_uid="1.2.3.222", prefix="b", stored=make_series.stored(3))
    return tmp_path


def test_mixed_folder_lists_its_series_and_takes_a_choice(two_series):
    with pytest.raises(NothingUsable, match="2 series") as caught:
        it.load(two_series)
    text = str(caught.value)
    assert "1: CT 6 x 5 x 3" in text
    assert "2: PT 6 x 5 x 4" in text
    assert "series=" in text
    assert caught.value.exit_code == 3
    assert it.load(two_series, series=1).quantity == "attenuation"
    assert it.load(two_series, series="2").quantity == "activity_concentration"
    assert it.load(two_series, series="1.2.3.222").quantity == "attenuation"
    assert it.load(two_series, series="3.111").quantity == "activity_concentration"


@pytest.mark.parametrize("series", [3, 0, -1, "9.9", ""])
def test_choice_that_is_not_there_is_refused(two_series, series):
    with pytest.raises(NothingUsable, match="no series has that"):
        it.load(two_series, series=series)


def test_load_all_gives_every_series_in_the_order_of_info(two_series):
    volumes = it.load_all(two_series)
    assert [v.acquisition.modality for v in volumes] == [one.modality for one in it.info(two_series)]


def test_info_summarises_without_reading_pixels(two_series):
    listed = it.info(two_series)
    assert [(one.number, one.kind, one.n_images, one.shape) for one in listed] == [
        (1, "dicom", 3, (6, 5, 3)),
        (2, "dicom", 4, (6, 5, 4)),
    ]
    pet = listed[1]
    assert pet.spacing_mm == pytest.approx((2.0, 1.5, 3.0))
    assert (pet.quantity, pet.unit, pet.files, pet.problems) == ("activity_concentration", "Bq/mL", 4, ())
    assert pet.uid_tail == "1.2.3.111"[-8:]


def test_info_names_the_reason_of_a_refusal_instead_of_raising(tmp_path, make_series):
    make_series(tmp_path, positions=[(0.0, 0.0, z) for z in (0, 3, 9, 12)])
    (listed,) = it.info(tmp_path)
    assert listed.shape == ()
    assert listed.n_images == 4
    assert "GeometryMismatch: uneven slice spacing" in listed.problems[0]


def test_info_lists_unreadable_files_and_load_refuses_them(tmp_path, make_series):
    paths = make_series(tmp_path)
    paths[3].write_bytes(paths[3].read_bytes()[:701])
    assert [one.kind for one in it.info(tmp_path)] == ["dicom", "other"]
    for function in (it.load, it.load_all):
        with pytest.raises(CorruptInput, match="truncated"):
            function(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\0" * 500])
def test_damaged_last_slice_is_not_dropped_silently(tmp_path, make_series, content):
    """Without its last slice a stack is still regular: only the file itself tells."""
    paths = make_series(tmp_path)
    paths[3].write_bytes(content)
    with pytest.raises(CorruptInput):
        it.load(tmp_path)
    with pytest.raises(CorruptInput):
        it.load(paths)


def test_junk_beside_the_images_is_ignored(tmp_path, make_series):
    make_series(tmp_path)
    for name in ("README.txt", ".DS_Store", "Thumbs.db", "LICENSE", "notes.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "empty.txt").touch()
    assert it.load(tmp_path).shape == (6, 5, 4)


def test_objects_that_are_no_images_are_listed_not_loaded(tmp_path, make_series, pydicom_file):
    make_series(tmp_path / "both")
    for name in ("rtdose.dcm", "liver_1frame.dcm", "reportsi.dcm"):
        (tmp_path / "both" / name).write_bytes(pydicom_file(name).read_bytes())
    assert it.load(tmp_path / "both").shape == (6, 5, 4)
    others = {one.modality for one in it.info(tmp_path / "both") if one.kind == "other"}
    assert others == {"radiotherapy dose", "segmentation", "structured report"}
    with pytest.raises(UnsupportedInput, match=r"no image series.*structured report"):
        it.load(pydicom_file("reportsi.dcm"))
    # alone a dose is read, but this one is relative
    with pytest.raises(UnitMismatch, match="not in gray"):
        it.load(pydicom_file("rtdose.dcm"))


def test_one_slice_of_another_matrix_is_another_group(tmp_path, make_series):
    make_series(tmp_path, prefix="a")
    make_series(tmp_path, prefix="b", stored=make_series.stored(3, 7, 7))
    with pytest.raises(NothingUsable, match="2 series"):
        it.load(tmp_path)


def test_b_values_and_components_are_never_merged(tmp_path, make_series):
    def weighted(ds, k):
        ds.add_new(0x00189087, "FD", 800.0)

    def phase(ds, k):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]

    make_series(tmp_path, "MR", prefix="a")
    make_series(tmp_path, "MR", prefix="b", edit=weighted)
    make_series(tmp_path, "MR", prefix="c", edit=phase)
    assert len(it.info(tmp_path)) == 3


def test_series_go_together_when_they_differ_in_one_parameter(tmp_path, make_series):
    for n, angle in enumerate((25, 5, 15)):
        stored = make_series.stored(3) + 1000 * n
        make_series(
            tmp_path,
            "MR",
            stored=stored,
            series_uid=f"1.2.3.{n}",
            prefix=f"{n}",
            edit=lambda ds, k, angle=angle: setattr(ds, "FlipAngle", str(angle)),
        )
    volume = it.load(tmp_path, series=[1, 2, 3])
    assert volume.axes[0].values.tolist() == [5, 15, 25]
    assert volume.data[0, 0, 0].tolist() == [1000, 2000, 0]


def test_series_of_different_grids_do_not_go_together(two_series):
    with pytest.raises(GeometryMismatch, match="do not go together"):
        it.load(two_series, series=[1, 2])


def test_nifti_and_dicom_are_listed_together(tmp_path, make_series):
    make_series(tmp_path)
    volume = it.load(tmp_path)
    it.save(volume, tmp_path / "converted.nii.gz")
    listed = it.info(tmp_path)
    assert [one.kind for one in listed] == ["dicom", "nifti"]
    again = it.load(tmp_path, series=2)
    assert np.array_equal(again.data, volume.data)
    assert again.grid.same_as(volume.grid)


@pytest.mark.parametrize("name", ["nothing", "missing"])
def test_path_without_images_is_refused(tmp_path, name):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(NothingUsable):
        it.load(tmp_path / name)
    with pytest.raises(NothingUsable):
        it.info(tmp_path / name)
    with pytest.raises(NothingUsable):
        it.load_all([])


def test_raw_optoacoustic_data_name_their_own_reader(tmp_path):
    (tmp_path / "Scan_1.msot").write_text("<DataModelMsotProject/>")
    with pytest.raises(UnsupportedInput, match="load_signals"):
        it.load(tmp_path / "Scan_1.msot")


CANARIES = ("Canary^Name", "animal 7", "19700203", "20250301", "KANARIENVOGEL")


def test_nothing_that_identifies_is_ever_said(tmp_path, make_series):
    """Messages, cautions, listings and representations of good and of refused series."""

    def edit(ds, k):
        ds.SeriesDescription = ds.ReferringPhysicianName = "KANARIENVOGEL"
        ds.RescaleSlope = "-1"

    make_series(tmp_path / "good", edit=edit)
    uneven = [(0.0, 0.0, z) for z in (0, 3, 9, 12)]
    make_series(tmp_path / "gap", positions=uneven, series_uid="1.2.3", edit=edit)
    volume = it.load(tmp_path / "good")
    said = [repr(volume), *map(str, volume.warnings), str(volume.history), repr(volume.source)]
    said += [repr(it.info(tmp_path / name)) for name in ("good", "gap")]
    for path in (tmp_path, tmp_path / "gap"):
        with pytest.raises(GeometryMismatch if path.name == "gap" else NothingUsable) as caught:
            it.load(path)
        said += [str(caught.value), repr(caught.value)]
    assert volume.warnings
    for text in said:
        assert not any(canary in text for canary in CANARIES)
    assert volume.source.subject.startswith("sub-")
    assert volume.source.identifiers["PatientID"] == "animal 7"


def test_pseudonym_is_stable_and_differs_between_subjects(tmp_path, make_series):
    def other(ds, k):
        ds.PatientID = "animal 8"

    make_series(tmp_path / "a")
    make_series(tmp_path / "b")
    make_series(tmp_path / "c", edit=other)
    first, second, third = (it.load(tmp_path / n).source.subject for n in "abc")
    assert first == second != third
