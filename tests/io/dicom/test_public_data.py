"""The public DICOM sets: their published answers, and other readers as referees."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, NothingUsable

DROS = ["0_0", "1_0", "2_0", "2_2", "2_4", "3_1", "3_3", "4_1", "5_0"]
_UNITS = {
    "2_0": ("suv_bw", "g/mL"),
    "2_2": ("suv_ibw", "g/mL"),
    "2_4": ("counts", "{counts}"),
}


def sitk_series(files) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (i, j, k) and RAS affine by SimpleITK, of files sorted along z."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(f) for f in files])
    reader.SetOutputPixelType(SimpleITK.sitkFloat64)
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1
    return SimpleITK.GetArrayFromImage(image).T, affine


def sorted_by_z(folder: Path) -> list[Path]:
    headers = [(pydicom.dcmread(p, stop_before_pixels=True), p) for p in folder.iterdir()]
    return [p for _, p in sorted(headers, key=lambda pair: float(pair[0].ImagePositionPatient[2]))]


@pytest.mark.parametrize("name", DROS)
def test_suv_reference_object_equals_simpleitk(public_data, name):
    folder = public_data(f"pet/ibsi_suv/DRO_{name}/PT")
    volume = it.load(folder)
    voxels, affine = sitk_series(sorted_by_z(folder))
    assert (volume.quantity, volume.unit) == _UNITS.get(name, ("activity_concentration", "Bq/mL"))
    assert np.allclose(volume.affine, affine, rtol=1e-9, atol=1e-9)
    assert np.array_equal(volume.data, voxels.astype(np.float32))


@pytest.mark.parametrize("name", ["2_0"])
def test_gml_object_holds_its_published_suv(public_data, name):
    """expected.csv: SUV in the mask 0.20, 1.00, 4.00; a GML series needs no conversion."""
    root = public_data("pet/ibsi_suv")
    with (root / "expected.csv").open() as stream:
        assert len(list(csv.reader(stream))) > len(DROS)
    volume = it.load(root / f"DRO_{name}" / "PT")
    mask = np.asarray(nib.load(root / f"DRO_{name}" / "mask" / "DRO_mask.nii.gz").dataobj) > 0
    values = volume.data[mask]
    found = values.min(), np.median(values), values.max()
    assert found == pytest.approx((0.20, 1.00, 4.00), abs=0.005)


def test_reference_objects_keep_the_clocks_of_their_headers(public_data):
    root = public_data("pet/ibsi_suv")
    time_only = it.load(root / "DRO_4_1" / "PT").acquisition.radiopharmaceutical
    assert time_only.start_datetime is None
    assert time_only.start_time.hour == 10
    gallium = it.load(root / "DRO_5_0" / "PT").acquisition.radiopharmaceutical
    # the code value of this file means another nuclide than its meaning and its half-life
    assert (gallium.nuclide, gallium.half_life_s) == ("Ga-68", 4057.7)
    ge = it.load(root / "DRO_3_3" / "PT").acquisition
    assert ge.private_scan_datetime is not None
    admin = it.load(root / "DRO_3_1" / "PT").acquisition
    assert admin.decay_correction == "ADMIN"
    philips = it.load(root / "DRO_2_4" / "PT").acquisition
    assert (philips.units, philips.philips_suv_factor) == ("CNTS", 0.0005)


def test_clinical_series_with_bed_joints_loads(public_data):
    """STS_001: one slope per slice, joints of 3.19 and 3.29 mm in a 3.27 mm grid, maximum 273 860 Bq/mL."""
    volume = it.load(public_data("pet/sts_001/image"))
    assert volume.shape == (128, 128, 267)
    assert volume.data.max() == pytest.approx(273_860, abs=1)
    assert volume.grid.spacing_mm == pytest.approx((4.6875, 4.6875, 3.27), abs=1e-3)
    acquisition = volume.acquisition
    assert np.unique(acquisition.frame_reference_time_s) == pytest.approx([0, 243, 486, 729, 972, 1215])
    assert np.unique(acquisition.acquisition_datetime).size == 1
    assert acquisition.radiopharmaceutical.nuclide == "F-18"
    assert acquisition.radiopharmaceutical.total_dose == pytest.approx(388777472.0)
    scale = next(step for step in volume.history if step.name == "scale").parameters
    assert scale["slope"]["distinct"] > 200


def test_clinical_series_equals_pydicom_slice_by_slice(public_data):
    folder = public_data("pet/sts_001/image")
    volume = it.load(folder)
    for k, path in list(enumerate(sorted_by_z(folder)))[::20]:
        ds = pydicom.dcmread(path)
        values = ds.pixel_array.astype(float) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        assert np.array_equal(volume.data[:, :, k], values.T.astype(np.float32))
        world = volume.grid.world_mm([0, 0, k])
        # the regular grid may be off by 2 % of the spacing at a joint
        assert world * [-1, -1, 1] == pytest.approx([float(v) for v in ds.ImagePositionPatient], abs=0.066)


def test_published_suv_image_times_factor_agrees_with_raw(public_data):
    """README of the data: raw x 2.42903e-4 over the SUV image is 1 within 1e-4 above SUV 1."""
    raw = it.load(public_data("pet/sts_001/image"))
    suv = it.load(public_data("pet/sts_001/suv_expected/dicom/image"))
    assert suv.quantity == "suv_bw"
    corner = np.rint(raw.grid.index(suv.grid.world_mm([0, 0, 0]))).astype(int)
    i, j, k = corner
    part = raw.data[i : i + suv.shape[0], j : j + suv.shape[1], k : k + suv.shape[2]]
    above = suv.data > 1
    ratio = part[above].astype(float) * 2.42903e-4 / suv.data[above]
    assert np.median(ratio) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("gantrytilting/001", "non-orthogonal"),
        ("notavolume/001", "identical positions"),
        ("slicecount/001", "too few slices"),
        ("sliceincrement/001", "uneven slice spacing"),
        ("sliceincrement/002", "uneven slice spacing"),
        ("sliceorientation/001", "inconsistent orientation"),
    ],
)
def test_refusal_folder_is_refused_by_its_name(public_data, folder, words):
    path = public_data(f"dicom/refuse/{folder}")
    with pytest.raises(GeometryMismatch, match=words):
        it.load(path)
    assert any(words in problem for one in it.info(path) for problem in one.problems)


def test_missing_slice_is_named_by_its_place(public_data):
    with pytest.raises(GeometryMismatch, match=r"from slice 2 to 3 \(10 mm\)"):
        it.load(public_data("dicom/refuse/sliceincrement/001"))


@pytest.mark.parametrize("number", range(1, 10))
def test_transfer_syntaxes_are_bit_equal_to_the_reference(public_data, number):
    """Nine encodings of one Siemens mosaic and their NIfTI twins; the rows of those run the other way."""
    root = public_data("dicom/transfer_syntaxes")
    volume = it.load(root / "In" / f"{number}.dcm")
    reference = nib.load(root / "Ref" / f"{number}.nii")
    assert volume.shape == (64, 64, 35)
    assert np.array_equal(volume.data[:, ::-1], np.asarray(reference.dataobj))
    assert volume.data.sum(dtype=np.float64) == 38_036_663
    first_row_last = volume.grid.world_mm([0, 63, 0])
    assert first_row_last == pytest.approx(reference.affine[:3, 3], abs=1e-4)
    assert volume.affine[:3, 0] == pytest.approx(reference.affine[:3, 0], abs=1e-6)
    assert -volume.affine[:3, 1] == pytest.approx(reference.affine[:3, 1], abs=1e-6)
    assert volume.affine[:3, 2] == pytest.approx(reference.affine[:3, 2], abs=1e-6)


def test_mixed_transfer_syntaxes_of_one_series_load_together(public_data, tmp_path, make_series):
    """A time series of the same mosaic in three syntaxes is one series, ordered by its clock."""
    root = public_data("dicom/transfer_syntaxes/In")
    paths = []
    for n, number in enumerate((1, 2, 9)):
        ds = pydicom.dcmread(root / f"{number}.dcm")
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{n}"
        ds.AcquisitionTime = f"13493{n}.5"
        paths.append(tmp_path / f"{9 - n}.dcm")
        ds.save_as(paths[-1])
    volume = it.load(tmp_path)
    assert volume.axes[0].values == pytest.approx([0, 1, 2])
    assert np.array_equal(volume.data[..., 0], volume.data[..., 2])


@pytest.mark.parametrize(
    ("site", "first_ms", "n_echoes"),
    [("site1_20200218", 12.7, 32), ("site3_ge", 10.0, 8), ("site4_philips", 5.0, 32)],
)
def test_multi_echo_series_has_an_echo_axis(public_data, site, first_ms, n_echoes):
    folder = public_data(f"mri/nist_phantom/T2/{site}/plate4")
    volume = it.load(folder)
    echoes = sorted({float(pydicom.dcmread(p, stop_before_pixels=True).EchoTime) for p in folder.iterdir()})
    assert volume.axes[0].name == "echo_time"
    assert volume.axes[0].values == pytest.approx(np.array(echoes) / 1000.0)
    assert len(volume.axes[0]) == n_echoes
    by_echo = {float(pydicom.dcmread(p).EchoTime): pydicom.dcmread(p) for p in folder.iterdir()}
    stored = by_echo[echoes[3]].pixel_array.T.astype(float)
    share = volume.data[:, :, 0, 3] / np.where(stored > 0, stored, np.nan)
    assert np.nanstd(share) < 1e-6 * np.nanmean(share)


def test_philips_values_are_floating_point_not_display(public_data):
    """FP = (stored x RS + RI) / (RS x SS) with the scale slope of each image."""
    folder = public_data("mri/nist_phantom/T1/site4_philips/plate5")
    volume = it.load(folder, series=list(range(1, 7)))
    assert volume.acquisition.value_scale == "philips_floating_point"
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        slope, scale = float(ds.RescaleSlope), float(ds[0x2005, 0x100E].value)
        precise = (ds.pixel_array * slope + float(ds.RescaleIntercept)) / (slope * scale)
        sample = int(np.argmin(np.abs(volume.axes[0].values - float(ds.InversionTime) / 1000.0)))
        assert volume.data[:, :, 0, sample] == pytest.approx(precise.T, rel=1e-6)


def test_inversion_series_go_together_only_on_request(public_data):
    folder = public_data("mri/nist_phantom/T1/site1_20200218/plate5")
    with pytest.raises(NothingUsable, match="6 series"):
        it.load(folder)
    volume = it.load(folder, series=[6, 5, 4, 3, 2, 1])
    assert volume.axes[0].name == "inversion_time"
    assert volume.axes[0].values == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.6, 0.8])
    # the repetition time of this scanner grows with the inversion time
    varying = volume.acquisition.sample_parameters["repetition_time"]
    assert varying == pytest.approx((1.0, 1.0, 1.0, 1.26, 1.86, 2.46))
    assert volume.acquisition.repetition_time_s is None


def test_real_component_of_an_inversion_series_keeps_its_sign(public_data):
    """Siemens Sola, ImageType R, slope 2, intercept -4096: the shortest inversion has negative signal."""
    volume = it.load(public_data("mri/nist_phantom/T1/site2_20180925/plate5"), series=1)
    assert volume.acquisition.image_component == "real"
    assert volume.data.min() < -100


def test_folder_of_several_sets_lists_pet_and_other_objects(public_data):
    listed = it.info(public_data("pet/ibsi_suv/DRO_0_0"))
    kinds = [(one.kind, one.modality) for one in listed]
    assert ("dicom", "PT") in kinds
    assert ("other", "radiotherapy structure set") in kinds
