"""The tag walk against pydicom: same elements, same bytes, same place of the pixels."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError
from imgtheranostics.io.dicom.header_reading import read_header
from imgtheranostics.io.dicom.tags import TAGS, label
from imgtheranostics.io.dicom.walk import NeedMoreBytes, StructureFault, TooDeep, Walker

FILES = sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_wheel_file_reads_as_pydicom_or_is_refused(path):
    try:
        header = read_header(path)
    except ImgTheranosticsError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path)
        for keyword, (_, raw) in header.elements.items():
            element = ds.get_item(keyword) if keyword in ds else None
            if element is None or not isinstance(getattr(element, "value", None), bytes):
                continue
            assert raw == element.value, keyword
        if "PixelData" in ds and not header.encapsulated:
            n = len(ds.PixelData)
            source = header.inflated if header.inflated is not None else path.read_bytes()
            assert header.layout.pixel_length == n or path.name == "MR_truncated.dcm"
            assert source[header.layout.pixel_offset :][:n] == ds.PixelData


def test_tags_are_those_of_the_dictionary():
    from pydicom.datadict import dictionary_keyword, dictionary_VR

    for keyword, (number, vr) in TAGS.items():
        assert dictionary_keyword(number) == keyword
        assert vr.decode() in dictionary_VR(number)


def test_label_quotes_keyword_and_tag():
    assert label("PixelSpacing") == "PixelSpacing (0028,0030)"


def nested_sequence(draw_depth: int, width: int) -> Sequence:
    ds = Dataset()
    ds.CodeValue = "x" * width
    if draw_depth > 1:
        ds.ConceptNameCodeSequence = nested_sequence(draw_depth - 1, width)
    return Sequence([ds, Dataset()])


@given(
    st.integers(1, 12),
    st.integers(0, 16),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(False, False), (True, False), (False, True)]),
)
def test_nested_sequences_are_skipped_whatever_their_encoding(depth, width, long, undefined, encoding):
    implicit, big = encoding
    ds = Dataset()
    ds.Modality = "PT"
    ds.ConceptNameCodeSequence = nested_sequence(depth, width)
    ds["ConceptNameCodeSequence"].is_undefined_length = undefined
    if long:
        ds.ContentSequence = Sequence([Dataset() for _ in range(80)])
    ds.Rows = 7
    ds.PixelData = b"\x01\x02"
    ds["PixelData"].VR = "OW"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, ds, implicit_vr=implicit, little_endian=not big)
    raw = stream.getvalue()
    layout = Walker(implicit=implicit, big_endian=big).walk(raw, 0)
    assert layout.elements["Rows"][1] == struct.pack(">H" if big else "<H", 7)
    assert layout.pixel_offset == len(raw) - 2
    assert layout.pixel_length == 2


@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_end_in_a_known_way(raw, implicit):
    with contextlib.suppress(NeedMoreBytes, StructureFault, TooDeep):
        Walker(implicit=implicit, big_endian=False).walk(raw, 0)


def test_elements_in_the_wrong_order_and_large_private_ones_are_read(tmp_path, make_series):
    """A private element beyond the first read, and a position that follows it."""

    def edit(ds, k):
        block = ds.private_block(0x0011, "ACME", create=True)
        block.add_new(0x01, "OB", b"\xaa" * 300_000)

    paths = make_series(tmp_path, stored=make_series.stored(3), edit=edit)
    header = read_header(paths[1])
    assert header.numbers("ImagePositionPatient") == (-10.0, -20.0, 8.0)
    raw = paths[1].read_bytes()
    assert raw[header.layout.pixel_offset :] == np.ascontiguousarray(make_series.stored(3)[1]).tobytes()


def test_unknown_representation_falls_back_to_pydicom(tmp_path, make_series, patch_bytes):
    (path,) = make_series(tmp_path, stored=make_series.stored(1))
    patch_bytes(path, b"\x10\x00\x30\x00DA", b"\x10\x00\x30\x00ZZ")
    header = read_header(path)
    assert header.by_pydicom
    assert header.numbers("PixelSpacing") == (1.5, 2.0)


def test_length_beyond_the_file_is_truncation(tmp_path, make_series):
    (path,) = make_series(tmp_path, stored=make_series.stored(1))
    raw = path.read_bytes()
    at = raw.index(b"\x10\x00\x20\x00LO") + 6
    path.write_bytes(raw[:at] + b"\xf0\xff" + raw[at + 2 :])
    with pytest.raises(CorruptInput, match="truncated"):
        read_header(path)


@pytest.mark.parametrize("nested", [False, True])
def test_a_short_element_may_be_the_last_of_a_file(tmp_path, make_series, nested):
    """Objects without pixels may end in eight bytes of head and two of value."""
    ds = make_series.new_dataset("CT")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.5"
    last = Dataset()
    last.BeamDescription, last.BeamType = "long enough to be walked " * 30, "A"
    if nested:
        ds.BeamSequence = [last]
    else:
        ds.update(last)
    make_series.save(ds, tmp_path / "plan.dcm")
    header = read_header(tmp_path / "plan.dcm")
    assert header.text("Modality") == "CT"
    assert header.layout.pixel_offset == -1
