"""Ultrasound cines: 8-bit grey, calibrated regions, frame times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import GeometryMismatch, UnsupportedInput
from imgtheranostics.io.dicom.header_modules import Labels
from imgtheranostics.io.dicom.ultrasound_writing import log_compressed
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.volume import Axis, Source, Volume

AFFINE = np.diag([-0.1, -0.2, 1.5, 1.0])
TIME = Axis("time", [0, 0.05, 0.1, 0.15, 0.2], "s")


def image(data=None, axes=(TIME,), affine=AFFINE, **changes) -> Volume:
    record = replace(
        UltrasoundAcquisition(
            manufacturer="VisualSonics", mechanical_index=0.2, transducer_frequency_mhz=21.0
        ),
        **changes,
    )
    if data is None:
        shape = (9, 7, 1, *(len(axis) for axis in axes))
        data = np.random.default_rng(5).integers(0, 256, shape)
    source = Source(subject="sub-1234abcd")
    return Volume(data.astype(float), affine, "signal", "[arb'U]", axes, record, source=source)


@settings(max_examples=10)
@given(data=arrays(np.uint8, (5, 3, 1, 5)))
def test_grey_levels_survive_exactly(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any") / "out"
    write_dicom(image(data), folder)
    back = it.load(folder)
    assert_array_equal(back.data, data)
    assert back.axes[0].same_as(TIME)
    assert back.grid.same_as(it.Grid((5, 3, 1), AFFINE))


def test_unequal_frame_times_survive(tmp_path):
    axis = Axis("time", [0, 0.04, 0.09, 0.12, 0.5], "s")
    write_dicom(image(axes=(axis,)), tmp_path / "out")
    assert_allclose(it.load(tmp_path / "out").axes[0].values, axis.values, rtol=1e-12)


def test_one_frame_and_other_levels_are_rounded_to_whole_ones(tmp_path):
    data = np.random.default_rng(5).uniform(0, 255, (9, 7, 1))
    write_dicom(image(data, axes=()), tmp_path / "out")
    back = it.load(tmp_path / "out")
    assert back.axes == ()
    assert_array_equal(back.data, np.rint(data))


def test_regions_and_record_survive_twice(tmp_path):
    write_dicom(image(), tmp_path / "a", labels=Labels("P^T", "P-t", phantom=True))
    once = it.load(tmp_path / "a")
    (region,) = once.acquisition.regions
    assert (region["x0"], region["y0"], region["x1"], region["y1"]) == (0, 0, 8, 6)
    assert (region["x_unit"], region["x_delta"], region["y_delta"]) == ("cm", 0.01, 0.02)
    assert (once.acquisition.mechanical_index, once.acquisition.transducer_frequency_mhz) == (0.2, 21.0)
    write_dicom(once, tmp_path / "b")
    assert it.load(tmp_path / "b").acquisition.regions == once.acquisition.regions


def test_other_readers_see_the_frames_and_the_calibration(tmp_path):
    volume = image()
    (path,) = write_dicom(volume, tmp_path / "out")
    dataset = pydicom.dcmread(path)
    assert_array_equal(dataset.pixel_array.T, volume.data[:, :, 0])
    assert float(dataset.FrameTime) == 50.0
    assert dataset.FrameIncrementPointer == 0x00181063
    (region,) = dataset.SequenceOfUltrasoundRegions
    assert (region.RegionSpatialFormat, region.PhysicalUnitsXDirection) == (1, 3)
    assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, volume.data[:, :, 0])


def test_log_compression_follows_its_definition(tmp_path):
    """Grey = 255 (1 + (L - Lmax) / DR), cut at both ends: 0, -30 and -60 dB of 60 give 255, 128 and 0."""
    levels = np.array([0.0, -30.0, -60.0, -90.0, 6.0]).reshape(5, 1, 1)
    volume = Volume(levels, AFFINE, "echo_level", "dB", acquisition=UltrasoundAcquisition())
    grey = log_compressed(volume, dynamic_range_db=60, maximum_db=0.0)
    assert grey.data.ravel().tolist() == [255, 128, 0, 0, 255]
    assert grey.history[-1].parameters["dynamic_range_db"] == 60
    assert log_compressed(volume, dynamic_range_db=96).data.ravel()[[4, 3]].tolist() == [255, 0]
    write_dicom(grey, tmp_path / "out")
    assert_array_equal(it.load(tmp_path / "out").data, grey.data)
    with pytest.raises(ValueError, match="dynamic_range_db"):
        log_compressed(volume, dynamic_range_db=0)
    with pytest.raises(UnsupportedInput, match="echo levels"):
        log_compressed(grey, dynamic_range_db=60)


MOVED = AFFINE + np.array([[0, 0, 0, 3.0], *[[0] * 4] * 3])
REGION = {
    "spatial_format": "2d",
    "data_type": 1,
    "x0": 0,
    "y0": 0,
    "x1": 8,
    "y1": 6,
    "x_unit": "cm",
    "y_unit": "cm",
    "x_delta": 0.5,
    "y_delta": 0.02,
}


@pytest.mark.parametrize(
    ("volume", "kind", "said"),
    [
        (lambda: image(np.full((4, 4, 1, 5), 256)), UnsupportedInput, "0 to 255"),
        (lambda: image(np.full((4, 4, 1, 5), -1)), UnsupportedInput, "0 to 255"),
        (lambda: image(np.full((4, 4, 1, 5), np.nan)), UnsupportedInput, "0 to 255"),
        (lambda: image(np.ones((4, 4, 3, 5))), UnsupportedInput, "3 slices"),
        (lambda: image(affine=MOVED), UnsupportedInput, "origin"),
        (lambda: image(axes=(Axis("energy", [1, 2], "kV"),)), UnsupportedInput, "NIfTI"),
        (lambda: replace(image(), quantity="echo_level", unit="dB"), UnsupportedInput, "echo_level"),
        (lambda: image(regions=(REGION,)), GeometryMismatch, "calibrated regions"),
    ],
)
def test_what_a_cine_cannot_hold_is_refused(tmp_path, volume, kind, said):
    with pytest.raises(kind, match=said):
        write_dicom(volume(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", ["person", "phantom", "vector", "one frame"])
def test_dciodvfy_finds_no_error(tmp_path, dciodvfy, case):
    volume, labels = image(), None
    if case == "phantom":
        labels = Labels("PHANTOM^TEST", "PHANTOM-test", "a tube", phantom=True)
    elif case == "vector":
        volume = image(axes=(Axis("time", [0, 0.04, 0.09, 0.12, 0.5], "s"),))
    elif case == "one frame":
        volume = image(axes=())
    (path,) = write_dicom(volume, tmp_path / "out", labels=labels)
    report = dciodvfy(path)
    assert "USMultiFrameImage" in report
    assert "Error" not in report, report


def test_the_same_cine_gives_the_same_bytes_and_no_free_text(tmp_path):
    (one,) = write_dicom(image(model="CanaryDoe"), tmp_path / "a")
    (two,) = write_dicom(image(model="CanaryDoe"), tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()
    assert b"CanaryDoe" not in one.read_bytes()
