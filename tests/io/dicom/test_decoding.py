"""The child process for compressed pixels: equal results, one process per series, limits that hold."""

from __future__ import annotations

import os
import time

import numpy as np
import pydicom
import pytest

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.dicom import decoding
from imgtheranostics.io.dicom.decoding import Decoder, time_limit_s
from imgtheranostics.io.dicom.header_reading import read_header
from imgtheranostics.io.dicom.pixels import pixel_format


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
def test_compressed_twins_equal_the_plain_file(pydicom_file, name):
    assert np.array_equal(it.load(pydicom_file(name)).data, it.load(pydicom_file("MR_small.dcm")).data)


def test_sign_of_a_codestream_that_contradicts_its_header(pydicom_file):
    """J2K_pixelrep_mismatch.dcm: signed 13 bit by the header, unsigned by the codestream; -2000 is fill."""
    volume = it.load(pydicom_file("J2K_pixelrep_mismatch.dcm"))
    ds = pydicom.dcmread(pydicom_file("J2K_pixelrep_mismatch.dcm"))
    intercept = float(ds.RescaleIntercept)
    assert (volume.data.min(), volume.data.max()) == (-2000 + intercept, 1896 + intercept)


@pytest.fixture
def compressed(pydicom_file):
    header = read_header(pydicom_file("MR_small_RLE.dcm"))
    return header, pixel_format(header)


def test_one_process_serves_a_whole_series(compressed):
    header, found = compressed
    with Decoder() as decoder:
        first = decoder.decode(header, found)
        process = decoder._process
        again = decoder.decode(header, found)
        assert decoder._process is process
        assert process.poll() is None
    assert process.poll() is not None
    assert np.array_equal(first[0], again[0])


def test_hanging_decoder_is_stopped_by_the_clock(compressed, monkeypatch, tmp_path):
    header, found = compressed
    monkeypatch.setenv("IMGTHERANOSTICS_DECODE_SECONDS", "0.3")
    os.mkfifo(tmp_path / "hangs")  # opening a pipe that nobody writes to waits for ever
    header.path = tmp_path / "hangs"
    start = time.perf_counter()
    with Decoder() as decoder, pytest.raises(CorruptInput, match="time limit"):
        decoder.decode(header, found)
    assert time.perf_counter() - start < 5


def test_crashing_decoder_is_reported(compressed, monkeypatch):
    """The child reaches its memory limit while it starts, or is killed: the parent says so, by type."""
    header, found = compressed
    monkeypatch.setattr(decoding, "BASE_MEMORY", 2**20)
    with Decoder() as decoder, pytest.raises(CorruptInput, match="cannot be decoded"):
        decoder.decode(header, found)


def test_killed_decoder_is_reported_and_replaced(compressed):
    header, found = compressed
    with Decoder() as decoder:
        decoder.decode(header, found)
        decoder._process.kill()
        decoder._process.wait()
        assert len(decoder.decode(header, found)) == 1


def test_size_is_that_of_the_header_not_of_the_codestream(compressed):
    from dataclasses import replace

    header, found = compressed
    with Decoder() as decoder:
        with pytest.raises(CorruptInput):
            decoder.decode(header, replace(found, rows=32, columns=128))
        with pytest.raises(CorruptInput):
            decoder.decode(header, replace(found, frames=2))


def test_time_limit_grows_with_the_image(monkeypatch):
    monkeypatch.delenv("IMGTHERANOSTICS_DECODE_SECONDS", raising=False)
    assert time_limit_s(100) > time_limit_s(1) >= decoding.START_SECONDS


LOADABLE = {
    "693_J2KI.dcm": (512, 512, 1),
    "CT_small.dcm": (128, 128, 1),
    "ExplVR_BigEnd.dcm": (80, 60, 1),
    "J2K_pixelrep_mismatch.dcm": (512, 512, 1),
    "MR_small_bigendian.dcm": (64, 64, 1),
    "MR_small_expb.dcm": (64, 64, 1),
    "MR_small_implicit.dcm": (64, 64, 1),
    "examples_jpeg2k.dcm": (640, 480, 1),
    "examples_overlay.dcm": (484, 300, 1),
    "examples_palette.dcm": (800, 350, 1),
    "examples_rgb_color.dcm": (320, 240, 1),
}


@pytest.mark.parametrize("name", LOADABLE)
def test_images_of_the_wheel_load_with_their_values(pydicom_file, name):
    """Grey images against pydicom's own pixels and rescale; colour ones by their shape."""
    volume = it.load(pydicom_file(name))
    assert volume.shape == LOADABLE[name]
    ds = pydicom.dcmread(pydicom_file(name))
    if ds.PhotometricInterpretation != "MONOCHROME2":
        return
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    expected = (ds.pixel_array * slope + intercept).T.astype(np.float32)
    found = volume.data[:, :, 0]
    assert np.array_equal(found[~np.isnan(found)], expected[~np.isnan(found)])
