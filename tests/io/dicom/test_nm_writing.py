"""Reconstructed SPECT as multi-frame NM: read by our loader, pydicom, SimpleITK, and judged by dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, time, timedelta

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import NuclearAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.errors import OutputError, UnsupportedInput
from imgtheranostics.io.dicom.header_modules import Labels
from imgtheranostics.io.dicom.nm_writing import write_nm
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.volume import Axis, Source, Volume

SCAN = datetime(2026, 1, 6, 10, 30, 15)
TURNED = np.array([[-1.6, 0.0, -1.2, 12.5], [0.0, -2.0, 0.0, 7.0], [-1.2, 0.0, 1.6, -3.25], [0, 0, 0, 1.0]])
"""A right-handed grid turned by 36.87 degrees (3-4-5), voxels of 2 mm."""


def record(**changes) -> NuclearAcquisition:
    plain = NuclearAcquisition(
        manufacturer="imgtheranostics",
        model="phantom",
        image_type=("ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"),
        energy_windows_kev=((154.0, 188.0), (221.0, 270.0)),
        frame_duration_s=30.0,
        n_projections=64,
        scan_arc_deg=360.0,
        series_datetime=SCAN,
        acquisition_datetime=SCAN,
        corrections=("ATTN", "SCAT"),
        decay_correction="NONE",
        radiopharmaceutical=Radiopharmaceutical(
            nuclide="In-111",
            half_life_s=242326.1,
            total_dose=15e6,
            start_datetime=SCAN - timedelta(days=1),
            start_time=time(10, 30, 15),
            name="liposome",
        ),
        subject=Subject(weight_kg=0.021, sex="F", species="mouse"),
    )
    return replace(plain, **changes)


def spect(quantity="counts", unit="{counts}", affine=TURNED, acquisition=None, data=None) -> Volume:
    if data is None:
        data = np.random.default_rng(4).poisson(30.0, (6, 5, 4))
        data = data if quantity == "counts" else data * 1234.5678
    return Volume(
        np.asarray(data, np.float32),
        affine,
        quantity,
        unit,
        acquisition=acquisition or record(),
        source=Source(subject="mouse-1"),
    )


LABELS = Labels("PHANTOM^SPECT", "PHANTOM-SPECT", "test", 3, phantom=True)


def test_whole_counts_come_back_exactly_without_any_scale(tmp_path):
    volume = spect()
    (path,) = write_nm(volume, tmp_path / "nm", labels=LABELS)
    loaded = it.load(tmp_path / "nm")
    assert (loaded.quantity, loaded.unit) == ("counts", "{counts}")
    assert_array_equal(loaded.data, volume.data)
    assert_allclose(loaded.affine, TURNED, atol=1e-9)
    dataset = pydicom.dcmread(path)
    assert "RealWorldValueMappingSequence" not in dataset
    assert "RescaleSlope" not in dataset
    stored = dataset.pixel_array  # frames, rows, columns
    assert_array_equal(stored.transpose(2, 1, 0), volume.data)


@pytest.mark.parametrize(
    ("quantity", "unit", "code"),
    [
        ("activity_concentration", "Bq/mL", "Bq/ml"),
        ("count_rate", "{counts}/s", "{counts}/s"),
        ("counts", "{counts}", "{counts}"),
    ],
)
def test_other_values_come_back_within_half_a_step_by_a_real_world_mapping(tmp_path, quantity, unit, code):
    volume = spect(quantity, unit, data=np.random.default_rng(4).random((6, 5, 4)) * 5e4)
    (path,) = write_nm(volume, tmp_path / "nm")
    loaded = it.load(path)
    assert (loaded.quantity, loaded.unit) == (quantity, unit)
    assert np.abs(loaded.data - volume.data).max() <= volume.data.max() / 65535 * 0.5001
    mapping = pydicom.dcmread(path).RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == code
    assert mapping.MeasurementUnitsCodeSequence[0].CodingSchemeDesignator == "UCUM"


def test_negative_values_are_kept(tmp_path):
    data = np.random.default_rng(0).normal(size=(6, 5, 4)) * 100
    volume = spect("activity_concentration", "Bq/mL", data=data)
    loaded = it.load(write_nm(volume, tmp_path / "nm"))
    assert np.abs(loaded.data - volume.data).max() <= np.abs(data).max() / 32767 * 0.5001


def test_counts_beyond_sixteen_bits_are_scaled_not_wrapped(tmp_path):
    data = np.full((6, 5, 4), 7.0)
    data[0, 0, 0] = 200_000
    loaded = it.load(write_nm(spect(data=data), tmp_path / "nm"))
    assert loaded.data[0, 0, 0] == pytest.approx(200_000)
    assert loaded.data[1, 1, 1] == pytest.approx(7, abs=200_000 / 65535 / 2)


def test_a_left_handed_grid_comes_back_as_the_same_image_in_space(tmp_path):
    """NM slices count along the normal, so the file holds them in reverse; positions in space agree."""
    volume = spect(affine=TURNED @ np.diag([1, 1, -1, 1]))
    loaded = it.load(write_nm(volume, tmp_path / "nm"))
    corner = volume.affine @ [2, 3, 1, 1]
    index = np.rint(np.linalg.solve(loaded.affine, corner)).astype(int)[:3]
    assert_allclose(loaded.affine @ [*index, 1], corner, atol=1e-6)
    assert loaded.data[tuple(index)] == volume.data[2, 3, 1]


def test_one_slice(tmp_path):
    volume = spect(data=np.arange(30.0).reshape(6, 5, 1))
    loaded = it.load(write_nm(volume, tmp_path / "nm"))
    assert_array_equal(loaded.data, volume.data)
    assert_allclose(loaded.affine, TURNED, atol=1e-9)


def test_the_record_comes_back(tmp_path):
    loaded = it.load(write_nm(spect(), tmp_path / "nm", labels=LABELS)).acquisition
    wanted = record()
    for name in (
        "manufacturer",
        "model",
        "energy_windows_kev",
        "frame_duration_s",
        "n_projections",
        "scan_arc_deg",
        "series_datetime",
        "acquisition_datetime",
        "corrections",
        "decay_correction",
    ):
        assert getattr(loaded, name) == getattr(wanted, name), name
    assert loaded.acquisition_duration_s == 1920.0
    for name in ("nuclide", "half_life_s", "total_dose", "start_datetime", "start_time", "name"):
        assert getattr(loaded.radiopharmaceutical, name) == getattr(wanted.radiopharmaceutical, name), name
    assert (loaded.subject.weight_kg, loaded.subject.sex, loaded.subject.species) == (0.021, "F", "mouse")


def test_the_dose_is_written_in_megabecquerel_as_nm_has_it(tmp_path):
    """PS3.3 C.8.4.10.1.7: RadionuclideTotalDose of NM is in MBq; of PET in Bq."""
    (path,) = write_nm(spect(), tmp_path / "nm")
    item = pydicom.dcmread(path).RadiopharmaceuticalInformationSequence[0]
    assert float(item.RadionuclideTotalDose) == 15.0


@pytest.mark.parametrize(("typed", "bq"), [(740.0, 740e6), (15.0, 15e6), (7.4e8, 7.4e8), (0.5, 5e5)])
def test_a_dose_typed_in_bq_is_recognised(tmp_path, typed, bq):
    """More than 100 GBq is never injected; such a number was typed in Bq."""
    (path,) = write_nm(spect(), tmp_path / "nm")
    dataset = pydicom.dcmread(path)
    dataset.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = typed
    dataset.save_as(path)
    assert it.load(path).acquisition.radiopharmaceutical.total_dose == pytest.approx(bq)


@pytest.mark.parametrize("correction", ["START", "ADMIN", "NONE", None])
def test_corrected_image_agrees_with_the_decay_correction(tmp_path, correction):
    (path,) = write_nm(spect(acquisition=record(decay_correction=correction)), tmp_path / "nm")
    dataset = pydicom.dcmread(path)
    assert ("DECY" in dataset.CorrectedImage) == (correction in ("START", "ADMIN"))
    assert dataset.get("DecayCorrection") == correction
    assert it.load(path).acquisition.decay_correction == correction


def test_percent_per_gram_is_the_same_before_and_after(tmp_path):
    """Dates are moved by whole days, so elapsed times and uptake stay."""
    before = it.nuclear.percent_id_per_gram(spect(), sensitivity_cps_mbq=847)
    write_dicom(spect(), tmp_path / "nm")
    after = it.nuclear.percent_id_per_gram(it.load(tmp_path / "nm"), sensitivity_cps_mbq=847)
    assert_allclose(after.value.data, before.value.data, rtol=1e-6)


def test_a_mapping_in_bq_per_ml_needs_no_sensitivity(tmp_path):
    """15 MBq, decayed for a day and half of 32 min: 150 kBq/mL of what was injected are 1 %ID/mL."""
    left = 2 ** (-86400 / 242326.1)
    volume = spect(
        "activity_concentration",
        "Bq/mL",
        acquisition=record(decay_correction="START"),
        data=np.full((6, 5, 4), 150e3 * left),
    )
    loaded = it.load(write_nm(volume, tmp_path / "nm"))
    found = it.nuclear.percent_id_per_ml(loaded)
    assert_allclose(found.value.data, 1.0, rtol=1e-4)
    assert it.nuclear.suv(loaded).value.data.flat[0] == pytest.approx(0.21, rel=1e-4)


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
def test_dcm2niix_finds_the_same_counts_at_the_same_places(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([-1.5, -2.0, 3.0, 1.0])
    affine[:3, 3] = [4.0, 5.0, -6.0]
    volume = spect(affine=affine)
    write_nm(volume, tmp_path / "nm")
    command = [shutil.which("dcm2niix"), "-z", "n", "-f", "image", "-o", str(tmp_path), str(tmp_path / "nm")]
    subprocess.run(command, capture_output=True, check=True)
    image = nibabel.load(tmp_path / "image.nii")
    voxels = np.asanyarray(image.dataobj)
    for index in ((0, 0, 0), (5, 4, 3), (2, 3, 1)):
        place = np.linalg.solve(image.affine, volume.affine @ [*index, 1])[:3]
        assert_allclose(place, np.rint(place), atol=1e-3)
        assert voxels[tuple(np.rint(place).astype(int))] == volume.data[index]


def test_save_takes_the_same_way(tmp_path):
    files = it.save(spect(), tmp_path / "out")
    assert [pydicom.dcmread(file).Modality for file in files] == ["NM"]


def test_dates_and_free_text_stay_out_unless_they_are_asked_for(tmp_path):
    odd = record(
        model="Mary Miller", radiopharmaceutical=replace(record().radiopharmaceutical, name="Mary Miller")
    )
    (path,) = write_nm(spect(acquisition=odd), tmp_path / "nm")
    raw = path.read_bytes()
    assert b"2026" not in raw
    assert b"Miller" not in raw
    dataset = pydicom.dcmread(path)
    assert (dataset.SeriesDate, dataset.SeriesTime[:6]) == ("20000101", "103015")
    assert dataset.PatientID == "mouse-1"
    (kept,) = write_nm(spect(), tmp_path / "kept", keep_dates=True)
    assert pydicom.dcmread(kept).SeriesDate == "20260106"


def test_a_record_without_any_date_writes_none(tmp_path):
    undated = record(series_datetime=None, acquisition_datetime=None)
    (path,) = write_nm(spect(acquisition=undated), tmp_path / "nm")
    assert b"2026" not in path.read_bytes()
    assert it.load(path).acquisition.series_datetime is None


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    first, second = (write_nm(spect(), tmp_path / name)[0].read_bytes() for name in ("a", "b"))
    assert first == second
    other = write_nm(spect(acquisition=record(decay_correction="START")), tmp_path / "c")[0]
    assert (
        pydicom.dcmread(other).SOPInstanceUID != pydicom.dcmread(tmp_path / "a" / other.name).SOPInstanceUID
    )


def test_simpleitk_reads_the_same_stored_values(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    volume = spect()
    (path,) = write_nm(volume, tmp_path / "nm")
    image = sitk.ReadImage(str(path))
    assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), volume.data)
    assert image.GetSpacing()[:2] == pytest.approx((2.0, 2.0))


@pytest.mark.parametrize(
    ("volume", "match"),
    [
        (lambda: spect("suv_bw", "g/mL"), "suv_bw"),
        (lambda: spect(data=np.full((6, 5, 4), np.nan)), "missing"),
        (
            lambda: spect(affine=np.array([[2, 1, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])),
            "sheared",
        ),
        (
            lambda: Volume(
                np.ones((3, 3, 3, 2), np.float32),
                TURNED,
                "counts",
                "{counts}",
                (Axis("time", np.array([1.0, 2.0]), "s"),),
                acquisition=record(),
            ),
            "axis",
        ),
    ],
)
def test_what_nm_cannot_hold_is_refused_and_leaves_nothing(tmp_path, volume, match):
    with pytest.raises(UnsupportedInput, match=match):
        write_nm(volume(), tmp_path / "nm")
    assert not (tmp_path / "nm").exists()


def test_an_occupied_folder_is_not_touched(tmp_path):
    (tmp_path / "nm").mkdir()
    (tmp_path / "nm" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError):
        write_nm(spect(), tmp_path / "nm")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize(
    "case",
    [
        lambda: (spect(), LABELS),
        lambda: (spect(), None),
        lambda: (spect("activity_concentration", "Bq/mL"), LABELS),
        lambda: (spect("activity_concentration", "Bq/mL", data=np.full((4, 4, 1), -1.0)), LABELS),
        lambda: (spect(acquisition=NuclearAcquisition()), None),
        lambda: (spect(acquisition=record(decay_correction="START", utc_offset_min=60)), LABELS),
    ],
)
def test_dciodvfy_finds_no_error(tmp_path, case):
    volume, labels = case()
    (path,) = write_nm(volume, tmp_path / "nm", labels=labels)
    tool = shutil.which("dciodvfy")
    result = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).splitlines()
    assert [line for line in lines if line.startswith("Error")] == []
    assert "NMImage" in lines
