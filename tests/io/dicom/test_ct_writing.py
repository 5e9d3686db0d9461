"""CT series that other readers take: dciodvfy, pydicom, SimpleITK, dcm2niix, and our own loader."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import CtAcquisition, Subject
from imgtheranostics.errors import OutputError, UnsupportedInput
from imgtheranostics.io.dicom.header_modules import Labels
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.volume import Axis, Source, Volume

SHAPE = (7, 6, 5)
AFFINE = np.array([[-0.5, 0, 0, 11.5], [0, -0.75, 0, 7.25], [0, 0, 3.0, -20.125], [0, 0, 0, 1]])
PHANTOM = Labels("PHANTOM^TEST", "PHANTOM-test", "a rod", phantom=True)


def hounsfield(shape=SHAPE, whole=False) -> np.ndarray:
    values = np.random.default_rng(5).uniform(-1000, 2000, shape)
    return np.rint(values) if whole else values


def image(data=None, affine=AFFINE, axes=(), **changes) -> Volume:
    record = replace(
        CtAcquisition(
            manufacturer="Siemens",
            model="One",
            tube_voltage_kv=80.0,
            tube_current_ma=200.0,
            exposure_mas=100.0,
            filtration="WEDGE_1",
            kernel="B30",
            filter_material="ALUMINUM\\COPPER",
            filter_thickness_mm=2.5,
            slice_thickness_mm=4.0,
            contrast_agent="iopamidol",
            contrast_material="IODINE",
            reconstruction_diameter_mm=250.0,
            acquisition_datetime=datetime(2026, 1, 6, 8, 30),
        ),
        **changes,
    )
    data = hounsfield() if data is None else data
    source = Source(subject="sub-1234abcd")
    return Volume(data, affine, "attenuation", "[HU]", axes=axes, acquisition=record, source=source)


def headers(files):
    return [pydicom.dcmread(path) for path in files]


def test_whole_hounsfield_units_are_stored_exactly_with_slope_one(tmp_path):
    volume = image(hounsfield(whole=True))
    datasets = headers(write_dicom(volume, tmp_path / "out"))
    assert {(str(d.RescaleSlope), str(d.RescaleIntercept), d.RescaleType) for d in datasets} == {
        ("1.0", "-1024.0", "HU")
    }
    back = it.load(tmp_path / "out")
    assert_array_equal(back.data, volume.data)
    assert (back.quantity, back.unit) == ("attenuation", "[HU]")
    assert back.grid.same_as(volume.grid)


def test_other_values_are_within_half_a_sixteenth(tmp_path):
    """3024 HU above air need steps of 2^-4 in 16 bits: 3024 x 16 = 48384 < 65535 < 3024 x 32."""
    volume = image()
    datasets = headers(write_dicom(volume, tmp_path / "out"))
    assert {float(d.RescaleSlope) for d in datasets} == {1 / 16}
    assert np.abs(it.load(tmp_path / "out").data - volume.data).max() <= 1 / 32 + 1e-4


def test_missing_voxels_are_padding_below_all_values(tmp_path):
    data = hounsfield(whole=True)
    data[0, :, 2] = np.nan
    files = write_dicom(image(data), tmp_path / "out")
    dataset = headers(files)[2]
    assert dataset.PixelPaddingValue == 0
    assert (dataset.pixel_array.T[0] == 0).all()
    assert float(dataset.RescaleIntercept) == -2048  # below any air, for readers that know no padding
    back = it.load(tmp_path / "out")
    assert_array_equal(back.data, data.astype(np.float32))
    assert back.acquisition.padding_voxels == SHAPE[1]


def test_simpleitk_reads_the_same(tmp_path, read_sitk):
    volume = image()
    write_dicom(volume, tmp_path / "out")
    other = read_sitk(tmp_path / "out", "attenuation", "[HU]")
    assert volume.grid.same_as(other.grid, 1e-4)
    assert_allclose(other.data, it.load(tmp_path / "out").data, atol=1e-4)


def test_dcm2niix_reads_the_same(tmp_path, dcm2niix):
    volume = image(hounsfield(whole=True))
    write_dicom(volume, tmp_path / "out", labels=PHANTOM)
    (path,) = dcm2niix(tmp_path / "out")
    found = nibabel.load(path)
    other = Volume.from_nibabel(found, "attenuation", "[HU]")
    match = volume.grid.axis_match(other.grid, 1e-3)
    assert match is not None
    assert_allclose(other.reordered(match).data, volume.data, atol=1e-3)


@settings(max_examples=12)
@given(
    angles=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    flip=st.booleans(),
    spacing=st.tuples(*[st.floats(0.05, 8.0)] * 3),
)
def test_any_orientation_survives(tmp_path_factory, rotation, angles, flip, spacing):
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) @ np.diag(spacing)
    affine[:3, 3] = (12.5, -7.25, 100.125)
    if flip:
        affine[:3, 0] *= -1
    data = hounsfield((3, 4, 3), whole=True)
    folder = tmp_path_factory.mktemp("any") / "out"
    write_dicom(image(data, affine), folder)
    back = it.load(folder)
    match = it.Grid((3, 4, 3), affine).axis_match(back.grid, 1e-3)
    assert match is not None
    assert_array_equal(back.reordered(match).data, data)


@pytest.mark.parametrize(
    "axis", [Axis("energy", [80, 140], "kV"), Axis("time", [0, 90.5], "s")], ids=["energy", "time"]
)
def test_axes_of_a_ct_survive(tmp_path, axis):
    data = hounsfield((*SHAPE, 2), whole=True)
    volume = image(data, axes=(axis,))
    datasets = headers(write_dicom(volume, tmp_path / "out"))
    back = it.load(tmp_path / "out")
    assert back.axes[0].same_as(axis)
    assert_array_equal(back.data, data)
    if axis.name == "energy":
        assert {float(d.KVP) for d in datasets} == {80.0, 140.0}


@pytest.mark.parametrize("materials", [("ALUMINUM", "TIN"), ("TIN", None), (None, "TIN")])
def test_the_filter_of_each_energy_survives(tmp_path, materials):
    filters = {"filter_material": None, "filter_thickness_mm": None, "filter_thicknesses_mm": (7.0, 0.4)}
    volume = image(
        hounsfield((*SHAPE, 2), whole=True),
        axes=(Axis("energy", [80, 140], "kV"),),
        filter_materials=materials,
        **filters,
    )
    write_dicom(volume, tmp_path / "out")  # of a person: only words of the vocabulary
    back = it.load(tmp_path / "out").acquisition
    assert (back.filter_materials, back.filter_thicknesses_mm) == (materials, (7.0, 0.4))


def test_record_of_a_phantom_survives_and_the_phantom_is_marked(tmp_path):
    volume = image(subject=Subject(weight_kg=0.02, species="mouse", sex="F"))
    dataset = headers(write_dicom(volume, tmp_path / "out", labels=PHANTOM))[0]
    assert (dataset.QualityControlSubject, str(dataset.PatientName)) == ("YES", "PHANTOM^TEST")
    back = it.load(tmp_path / "out").acquisition
    for field in (
        "manufacturer",
        "model",
        "tube_voltage_kv",
        "tube_current_ma",
        "exposure_mas",
        "filtration",
        "kernel",
        "filter_material",
        "filter_thickness_mm",
        "slice_thickness_mm",
        "contrast_agent",
        "contrast_material",
        "reconstruction_diameter_mm",
        "acquisition_datetime",
    ):
        assert getattr(back, field) == getattr(volume.acquisition, field)
    assert back.subject.weight_kg == 0.02


def test_a_person_is_a_pseudonym_without_dates_and_free_text(tmp_path):
    canary = "CanaryDoe"
    texts = ("model", "kernel", "contrast_agent", "contrast_material", "filtration", "filter_material")
    volume = image(filter_materials=(canary, "TIN"), **dict.fromkeys(texts, canary))
    files = write_dicom(volume, tmp_path / "out")
    written = b"".join(path.read_bytes() for path in files)
    assert canary.encode() not in written
    assert b"20260106" not in written
    dataset = headers(files)[0]
    assert (dataset.PatientID, dataset.PatientIdentityRemoved) == ("sub-1234abcd", "YES")
    assert it.load(tmp_path / "out").acquisition.acquisition_datetime == datetime(2000, 1, 1, 8, 30)
    kept = headers(write_dicom(volume, tmp_path / "kept", keep_dates=True))[0]
    assert kept.SeriesDate == "20260106"


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    one = write_dicom(image(), tmp_path / "a")
    two = write_dicom(image(), tmp_path / "b")
    other = write_dicom(image(tube_voltage_kv=140.0), tmp_path / "c")
    assert [a.read_bytes() for a in one] == [b.read_bytes() for b in two]
    assert headers(one)[0].SeriesInstanceUID != headers(other)[0].SeriesInstanceUID
    assert len({d.SOPInstanceUID for d in headers(one)}) == SHAPE[2]


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        (lambda: replace(image(), quantity="delta_attenuation"), "cannot hold delta_attenuation"),
        (lambda: image(hounsfield((*SHAPE, 2)), axes=(Axis("dose", [1, 2], "mg"),)), "NIfTI"),
        (lambda: image(hounsfield((*SHAPE, 2)), axes=(Axis("time", [5, 9], "s"),)), "first is 0"),
        (lambda: image(hounsfield((*SHAPE, 2)), axes=(Axis("energy", [80, 80], "kV"),)), "same energy"),
        (lambda: image(np.full(SHAPE, np.inf)), "infinite"),
        (lambda: image(affine=AFFINE + np.array([[0, 0, 0.5, 0], *[[0] * 4] * 3])), "sheared"),
    ],
)
def test_what_ct_cannot_hold_is_refused_and_nothing_is_left(tmp_path, volume, said):
    with pytest.raises(UnsupportedInput, match=said):
        write_dicom(volume(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_in_use_is_refused(tmp_path):
    write_dicom(image(), tmp_path / "out")
    with pytest.raises(OutputError, match="not empty"):
        write_dicom(image(), tmp_path / "out")


def test_mass_concentration_is_no_attenuation(tmp_path):
    volume = replace(image(hounsfield() + 1000), quantity="concentration", unit="mg/mL")
    write_dicom(volume, tmp_path / "out")
    back = it.load(tmp_path / "out")
    assert (back.quantity, back.unit) == ("concentration", "mg/mL")
    assert_allclose(back.data, volume.data, atol=3000 / 2**16)


@pytest.mark.parametrize("case", ["person", "phantom mouse", "padding", "energy", "time", "bare"])
def test_dciodvfy_finds_no_error(tmp_path, dciodvfy, case):
    volume, labels = image(), None
    if case == "phantom mouse":
        volume, labels = image(subject=Subject(weight_kg=0.02, species="mouse", sex="F")), PHANTOM
    elif case == "padding":
        volume = image(np.where(np.eye(7, 6)[..., None] > 0, np.nan, hounsfield()))
    elif case == "energy":
        volume = image(hounsfield((*SHAPE, 2)), axes=(Axis("energy", [80, 140], "kV"),))
    elif case == "time":
        volume = image(hounsfield((*SHAPE, 2)), axes=(Axis("time", [0, 140], "s"),))
    elif case == "bare":
        volume = Volume(hounsfield(), AFFINE, "attenuation", "[HU]")
    files = write_dicom(volume, tmp_path / "out", labels=labels)
    for path in (files[0], files[-1]):
        report = dciodvfy(path)
        assert "CTImage" in report
        assert "Error" not in report, report
