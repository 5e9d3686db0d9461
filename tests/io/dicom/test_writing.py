"""DICOM PET that other readers take: dciodvfy, pydicom, SimpleITK, and our own loader."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from imgtheranostics.acquisition import CtAcquisition, EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, OutputError, UnsupportedInput
from imgtheranostics.io.dicom.header_modules import Labels, uid
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.io.loading import load
from imgtheranostics.nuclear import suv
from imgtheranostics.volume import Axis, Source, Volume

SHAPE = (7, 6, 5)
AFFINE = np.array([[-2.0, 0, 0, 11.5], [0, -2.5, 0, 7.25], [0, 0, 3.0, -20.125], [0, 0, 0, 1]])
HALF_LIFE_S = 45720.0


def acquisition(n_slices=SHAPE[2], n_frames=1, **changes) -> EmissionAcquisition:
    start = np.datetime64("2026-01-06T08:00:00", "us")
    durations = np.arange(1, n_frames + 1) * 60.0
    offsets = np.concatenate([[0.0], np.cumsum(durations)[:-1]])
    shape = (n_slices, n_frames)
    middle = offsets + durations / 2
    times = start + (offsets * 1e6).astype("timedelta64[us]")
    record = EmissionAcquisition(
        manufacturer="Test Systems",
        model="One",
        units="BQML",
        decay_correction="START",
        corrections=("NORM", "ATTN", "DECY"),
        series_type=("STATIC" if n_frames == 1 else "DYNAMIC", "IMAGE"),
        counts_source="EMISSION",
        series_datetime=datetime(2026, 1, 6, 8),
        acquisition_datetime=np.array(np.broadcast_to(times, shape)),
        frame_reference_time_s=np.array(np.broadcast_to(middle, shape)),
        frame_duration_s=np.array(np.broadcast_to(durations, shape)),
        decay_factor=np.array(np.broadcast_to(2 ** (middle / HALF_LIFE_S), shape)),
        radiopharmaceutical=Radiopharmaceutical(
            nuclide="Cu-64",
            half_life_s=HALF_LIFE_S,
            positron_fraction=0.174,
            total_dose=400e6,
            start_datetime=datetime(2026, 1, 5, 23, 30),
            name="64Cu-test",
        ),
        subject=Subject(weight_kg=70.5, height_m=1.75, sex="F"),
        n_images=n_slices * n_frames,
    )
    return replace(record, **changes)


def image(data=None, affine=AFFINE, n_frames=0, **changes) -> Volume:
    rng = np.random.default_rng(4)
    shape = SHAPE + ((n_frames,) if n_frames else ())
    if data is None:
        # Slices of very different size, so that one slope for all would lose most of some.
        data = rng.uniform(0, 1, shape) * 10.0 ** np.arange(SHAPE[2]).reshape(
            (1, 1, -1) + (1,) * bool(n_frames)
        )
    axes = ()
    if n_frames:
        durations = np.arange(1, n_frames + 1) * 60.0
        axes = (Axis("time", np.concatenate([[0], np.cumsum(durations)[:-1]]) + durations / 2, "s"),)
    record = acquisition(n_frames=max(n_frames, 1), **changes)
    return Volume(
        np.asarray(data, np.float32),
        affine,
        "activity_concentration",
        "Bq/mL",
        axes=axes,
        acquisition=record,
        source=Source(subject="sub-1234abcd"),
    )


def headers(files):
    return [pydicom.dcmread(path) for path in files]


def test_every_slice_keeps_sixteen_bits_of_its_own_range(tmp_path):
    volume = image()
    write_dicom(volume, tmp_path / "out")
    back = load(tmp_path / "out")
    assert back.grid.same_as(volume.grid)
    largest = volume.data.max(axis=(0, 1))
    assert (np.abs(back.data - volume.data).max(axis=(0, 1)) <= 0.51 * largest / 65535).all()


def test_uniform_slope_reads_the_same_in_simpleitk(tmp_path):
    volume = image(np.random.default_rng(1).uniform(0, 5000, SHAPE))
    write_dicom(volume, tmp_path / "out", slopes="uniform")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "out")))
    other = Volume.from_sitk(reader.Execute(), "activity_concentration", "Bq/mL")
    assert volume.grid.same_as(other.grid, 1e-4)
    assert_allclose(other.data, volume.data, atol=0.51 * volume.data.max() / 65535)
    assert_allclose(load(tmp_path / "out").data, other.data, rtol=1e-6)


def test_oblique_geometry_reads_the_same_in_simpleitk_and_our_loader(tmp_path):
    angle = np.deg2rad(25)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ AFFINE[:3, :3]
    affine[:3, 3] = (3.25, -4.5, 6.125)
    volume = image(np.random.default_rng(1).uniform(0, 5000, SHAPE), affine=affine)
    write_dicom(volume, tmp_path / "out", slopes="uniform")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "out")))
    other = Volume.from_sitk(reader.Execute(), "activity_concentration", "Bq/mL")
    assert volume.grid.same_as(other.grid, 1e-3)
    assert volume.grid.same_as(load(tmp_path / "out").grid, 1e-3)


@settings(max_examples=15)
@given(
    data=arrays(np.float32, (3, 4, 3), elements=st.floats(-(2.0**40), 2.0**40, width=32)),
    spacing=st.tuples(*[st.floats(0.05, 8.0)] * 3),
)
def test_any_finite_values_survive_within_half_a_step(tmp_path_factory, data, spacing):
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    volume = Volume(data, affine, "activity_concentration", "Bq/mL", acquisition=acquisition(n_slices=3))
    folder = tmp_path_factory.mktemp("any")
    write_dicom(volume, folder)
    back = load(folder)
    largest = np.abs(data).max(axis=(0, 1))
    limit = 32767 if data.min() < 0 else 65535
    assert (
        np.abs(back.data - data).max(axis=(0, 1)) <= 0.51 * largest / limit + 1e-6 * largest + 1e-30
    ).all()


@pytest.mark.parametrize("n_frames", [0, 3])
def test_acquisition_record_of_a_phantom_survives(tmp_path, n_frames):
    volume = image(n_frames=n_frames)
    write_dicom(volume, tmp_path / "out", labels=Labels("PHANTOM^TEST", "PHANTOM-test", phantom=True))
    back = load(tmp_path / "out")
    assert [axis.name for axis in back.axes] == (["time"] if n_frames else [])
    for field in ("acquisition_datetime", "frame_reference_time_s", "frame_duration_s", "decay_factor"):
        mine, theirs = getattr(volume.acquisition, field), getattr(back.acquisition, field)
        assert mine.shape == theirs.shape
        if mine.dtype.kind == "M":
            assert_array_equal(mine, theirs)
        else:
            assert_allclose(theirs, mine, rtol=1e-9)
    for field in ("manufacturer", "model", "units", "decay_correction", "corrections", "series_datetime"):
        assert getattr(back.acquisition, field) == getattr(volume.acquisition, field)
    for field in ("nuclide", "half_life_s", "positron_fraction", "total_dose", "start_datetime", "name"):
        mine = getattr(volume.acquisition.radiopharmaceutical, field)
        assert getattr(back.acquisition.radiopharmaceutical, field) == mine
    assert back.acquisition.subject.weight_kg == 70.5


def test_free_text_of_a_person_is_not_written(tmp_path):
    """Names typed where a model, a tracer or a correction should be."""
    canary = "CanaryDoe"
    volume = image(
        manufacturer=f"{canary} Siemens",
        model=canary,
        corrections=("DECY", canary),
        counts_source=canary,
        radiopharmaceutical=Radiopharmaceutical(nuclide=canary, name=canary, total_dose=1e8),
        subject=Subject(weight_kg=70.0, sex=canary, species=canary),
    )
    files = write_dicom(volume, tmp_path / "out")
    assert canary.encode() not in b"".join(path.read_bytes() for path in files)
    assert headers(files)[0].Manufacturer == "Siemens"
    assert list(headers(files)[0].CorrectedImage) == ["DECY"] or headers(files)[0].CorrectedImage == "DECY"


def test_dates_are_moved_by_whole_days_unless_they_are_kept(tmp_path):
    volume = image()
    files = write_dicom(volume, tmp_path / "out")
    text = b"".join(path.read_bytes() for path in files)
    assert b"2026010" not in text
    back = load(tmp_path / "out").acquisition
    assert back.series_datetime == datetime(2000, 1, 1, 8)
    elapsed = back.series_datetime - back.radiopharmaceutical.start_datetime
    assert elapsed == timedelta(hours=8, minutes=30)


def test_subject_is_the_pseudonym(tmp_path):
    dataset = headers(write_dicom(image(), tmp_path / "out"))[0]
    assert str(dataset.PatientName) == dataset.PatientID == "sub-1234abcd"
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.PatientBirthDate == ""


def test_phantom_is_marked_as_one(tmp_path):
    labels = Labels(patient_name="PHANTOM^TEST", patient_id="PHANTOM-test", phantom=True)
    dataset = headers(write_dicom(image(), tmp_path / "out", labels=labels))[0]
    assert str(dataset.PatientName) == "PHANTOM^TEST"
    assert dataset.QualityControlSubject == "YES"
    assert dataset.SeriesDate == "20260106"


def test_nuclide_and_agent_are_coded(tmp_path):
    labels = Labels("PHANTOM^TEST", "PHANTOM-test", phantom=True)
    dataset = headers(write_dicom(image(), tmp_path / "out", labels=labels))[0]
    item = dataset.RadiopharmaceuticalInformationSequence[0]
    code = item.RadionuclideCodeSequence[0]
    # DICOM PS3.16 CID 4020: Copper-64.
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("3932008", "SCT", "^64^Copper")
    assert item.RadiopharmaceuticalCodeSequence[0].CodeMeaning == "64Cu-test"
    assert item.Radiopharmaceutical == "64Cu-test"


def test_frames_are_numbered_frame_by_frame(tmp_path):
    files = write_dicom(image(n_frames=3), tmp_path / "out")
    datasets = headers(files)
    assert [d.ImageIndex for d in datasets] == list(range(1, 16))
    assert {d.NumberOfTimeSlices for d in datasets} == {3}
    assert {d.NumberOfSlices for d in datasets} == {5}
    assert {tuple(d.SeriesType) for d in datasets} == {("DYNAMIC", "IMAGE")}
    assert [int(d.ActualFrameDuration) for d in datasets[::5]] == [60000, 120000, 180000]
    assert [float(d.FrameReferenceTime) for d in datasets[::5]] == [30000, 120000, 270000]


def test_uids_differ_where_they_must_and_repeat_with_the_content(tmp_path):
    one = headers(write_dicom(image(), tmp_path / "a"))
    two = headers(write_dicom(image(), tmp_path / "b"))
    other = headers(write_dicom(image(decay_correction="ADMIN"), tmp_path / "c"))
    assert len({d.SOPInstanceUID for d in one}) == 5
    assert len({d.SeriesInstanceUID for d in one}) == 1
    assert [d.SOPInstanceUID for d in one] == [d.SOPInstanceUID for d in two]
    assert one[0].SeriesInstanceUID != other[0].SeriesInstanceUID
    assert all(len(d.SOPInstanceUID) <= 64 for d in one)
    for d in one:
        assert d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID
        assert d.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert len({one[0].StudyInstanceUID, one[0].SeriesInstanceUID, one[0].FrameOfReferenceUID}) == 3


@given(parts=st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_uids_are_valid(parts):
    value = uid(*parts)
    assert value.is_valid
    assert value == uid(*parts)


def test_two_series_of_a_phantom_share_study_and_frame_of_reference(tmp_path):
    labels = Labels(patient_name="PHANTOM^TEST", patient_id="PHANTOM-test", phantom=True)
    one = headers(write_dicom(image(), tmp_path / "a", labels=labels))[0]
    two = headers(write_dicom(image(np.ones(SHAPE)), tmp_path / "b", labels=labels))[0]
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID


def test_counts_with_the_philips_factor_keep_the_activity(tmp_path):
    volume = image(units="CNTS", philips_activity_factor=0.25, philips_suv_factor=1e-4)
    dataset = headers(write_dicom(volume, tmp_path / "out"))[0]
    assert dataset.Units == "CNTS"
    assert float(dataset[0x7053, 0x1009].value) == 0.25
    assert dataset[0x7053, 0x0010].value == "Philips PET Private Group"
    stored = dataset.pixel_array.T.astype(float) * float(dataset.RescaleSlope)
    assert_allclose(stored, volume.data[..., 0] / 0.25, rtol=1e-3, atol=1e-4)
    back = load(tmp_path / "out")
    assert back.quantity == "activity_concentration"
    assert_allclose(back.data, volume.data, rtol=1e-3, atol=1e-4 * 10)


def test_ge_private_time_and_time_zones_are_written(tmp_path):
    zone = timezone(timedelta(hours=1))
    volume = image(
        manufacturer="GE MEDICAL SYSTEMS",
        series_datetime=datetime(2026, 1, 6, 9, tzinfo=zone),
        private_scan_datetime=datetime(2026, 1, 6, 8),
        utc_offset_min=60.0,
        radiopharmaceutical=Radiopharmaceutical(
            nuclide="Cu-64", start_datetime=datetime(2026, 1, 6, 1, tzinfo=timezone(timedelta(hours=-3.5)))
        ),
    )
    dataset = headers(write_dicom(volume, tmp_path / "out", keep_dates=True))[0]
    assert dataset.TimezoneOffsetFromUTC == "+0100"
    assert dataset[0x0009, 0x100D].value == "20260106080000.000000"
    item = dataset.RadiopharmaceuticalInformationSequence[0]
    assert item.RadiopharmaceuticalStartDateTime == "20260106010000.000000-0330"
    back = load(tmp_path / "out").acquisition
    assert back.radiopharmaceutical.start_datetime == datetime(2026, 1, 6, 5, 30, tzinfo=zone)


@pytest.mark.parametrize(
    ("quantity", "unit", "units", "suv_type"),
    [
        ("suv_bw", "g/mL", "GML", "BW"),
        ("suv_lbm_james128", "g/mL", "GML", "LBMJAMES128"),
        ("suv_lbm_janmahasatian", "g/mL", "GML", "LBMJANMA"),
        ("suv_ibw", "g/mL", "GML", "IBW"),
        ("suv_bsa", "cm2/mL", "CM2ML", "BSA"),
        ("counts", "{counts}", "CNTS", None),
        ("count_rate", "{counts}/s", "CPS", None),
    ],
)
def test_quantities_that_pet_can_hold(tmp_path, quantity, unit, units, suv_type):
    volume = replace(image(), quantity=quantity, unit=unit)
    dataset = headers(write_dicom(volume, tmp_path / "out"))[0]
    assert dataset.Units == units
    assert dataset.get("SUVType") == suv_type
    assert load(tmp_path / "out").quantity == quantity


def test_suv_map_without_any_clock_is_written(tmp_path):
    volume = Volume(np.ones(SHAPE), AFFINE, "suv_bw", "g/mL")
    write_dicom(volume, tmp_path / "out")
    back = load(tmp_path / "out")
    assert (back.quantity, back.unit) == ("suv_bw", "g/mL")
    assert_allclose(back.data, 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("volume", "kind", "said"),
    [
        (lambda: Volume(np.ones(SHAPE), AFFINE, "t1", "s"), UnsupportedInput, "cannot hold t1"),
        (lambda: Volume(np.ones(SHAPE), AFFINE, "id_per_g", "%/g"), UnsupportedInput, "cannot hold id_per_g"),
        (
            lambda: image(np.where(np.eye(7, 6)[..., None] > 0, np.nan, np.ones(SHAPE))),
            UnsupportedInput,
            "missing",
        ),
        (lambda: image(np.full(SHAPE, np.inf)), UnsupportedInput, "missing"),
        (
            lambda: Volume(
                np.ones((*SHAPE, 2)), AFFINE, "suv_bw", "g/mL", axes=(Axis("echo_time", [1, 2], "ms"),)
            ),
            UnsupportedInput,
            "no axis but time",
        ),
        (
            lambda: image(affine=AFFINE + np.array([[0, 0, 0.5, 0], *[[0] * 4] * 3])),
            UnsupportedInput,
            "sheared",
        ),
        (lambda: replace(image(), acquisition=CtAcquisition()), UnsupportedInput, "emission"),
        (lambda: replace(image(), acquisition=None), MissingMetadata, "decay correction"),
        (lambda: image(series_datetime=None), MissingMetadata, "series"),
        (
            lambda: replace(image(), acquisition=acquisition(n_frames=2)),
            GeometryMismatch,
            "record does not fit",
        ),
    ],
)
def test_what_dicom_cannot_hold_is_refused_and_nothing_is_left(tmp_path, volume, kind, said):
    with pytest.raises(kind, match=said):
        write_dicom(volume(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_in_use_is_refused_unless_forced(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        write_dicom(image(), folder)
    write_dicom(image(), folder, force=True)
    assert (folder / "note.txt").read_text() == "mine"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize(
    "case",
    ["plain", "phantom mouse", "dynamic", "suv", "none", "philips", "zones", "no nuclide"],
)
def test_dciodvfy_finds_no_error(tmp_path, case):
    labels = None
    volume = image()
    if case == "phantom mouse":
        labels = Labels("PHANTOM^MOUSE", "PHANTOM-mouse", "a mouse", phantom=True)
        volume = image(subject=Subject(weight_kg=0.02, species="mouse", sex="F"))
    elif case == "dynamic":
        volume = image(n_frames=2)
    elif case == "suv":
        volume = Volume(np.ones(SHAPE), AFFINE, "suv_bw", "g/mL")
    elif case == "none":
        volume = image(decay_correction="NONE", corrections=("ATTN",), decay_factor=None)
    elif case == "philips":
        volume = image(units="CNTS", philips_activity_factor=0.5)
    elif case == "zones":
        zone = timezone(timedelta(hours=2))
        volume = image(series_datetime=datetime(2026, 1, 6, 8, tzinfo=zone), utc_offset_min=120.0)
    elif case == "no nuclide":
        volume = image(radiopharmaceutical=Radiopharmaceutical())
    files = write_dicom(volume, tmp_path / "out", labels=labels)
    for path in (files[0], files[-1]):
        found = subprocess.run(
            [shutil.which("dciodvfy"), str(path)], capture_output=True, text=True, check=False
        )
        report = found.stdout + found.stderr
        assert "PETImage" in report
        assert "Error" not in report, report


@pytest.mark.parametrize("item", ["0_0", "1_0", "2_0", "2_2", "2_4", "3_1", "3_3", "4_1", "5_0"])
def test_published_reference_objects_keep_their_suv_when_rewritten(public_data, tmp_path, item):
    """Loaded, written by us, loaded again: the same SUV, and no date of the original."""
    volume = load(public_data(f"pet/ibsi_suv/DRO_{item}/PT"))
    files = write_dicom(volume, tmp_path / "out")
    before, after = suv(volume).value.data, suv(load(tmp_path / "out")).value.data
    assert_allclose(after, before, atol=1e-5 * before.max())
    assert b"20250101" not in files[0].read_bytes()
