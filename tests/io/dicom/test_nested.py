"""The radiopharmaceutical item read from its bytes is what pydicom reads, in every encoding."""

from __future__ import annotations

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.dicom.header_reading import read_header
from imgtheranostics.io.dicom.nested import ATTRIBUTES, Item, items_of

SEQUENCE = "RadiopharmaceuticalInformationSequence"
PET = "1.2.840.10008.5.1.4.1.1.128"


def radiopharmaceutical():
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    item.Radiopharmaceutical = "FDG -- fluorodeoxyglucose"
    item.RadiopharmaceuticalStartTime = "083000.5"
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = "368500000", "6586.2"
    item.RadionuclidePositronFraction = "0.9673"
    item.RadiopharmaceuticalStartDateTime = "20200101083000+0100"
    item.RadionuclideCodeSequence, item.RadiopharmaceuticalCodeSequence = [code], []
    item.AdministrationRouteCodeSequence = [code]
    item.RadiopharmaceuticalRoute = "Intravenous"
    item.private_block(0x0009, "SOMEBODY", create=True).add_new(1, "OB", b"\1\2\3\4")
    return item


def write(path, items, syntax=ExplicitVRLittleEndian, *, undefined=False):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = PET, "1.2.3", "PT"
    setattr(dataset, SEQUENCE, items)
    dataset[SEQUENCE].is_undefined_length = undefined
    for item in items:
        item.is_undefined_length_sequence_item = undefined
        if "RadionuclideCodeSequence" in item:
            item["RadionuclideCodeSequence"].is_undefined_length = undefined
    dataset.Rows, dataset.Columns, dataset.PixelData = 1, 1, b"\0\0"
    dataset["PixelData"].VR = "OW"
    dataset.BitsAllocated, dataset.SamplesPerPixel, dataset.PixelRepresentation = 16, 1, 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = PET, "1.2.3"
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return read_header(path)


def same(found, expected):
    for keyword, vr in ATTRIBUTES.values():
        one, other = found.get(keyword), expected.get(keyword)
        if vr == b"SQ":
            assert len(one or []) == len(other or [])
            for a, b in zip(one or [], other or [], strict=True):
                same(a, b)
        else:
            assert (one or None) == (str(other or "").strip(" \0") or None), keyword


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_plain_items_equal_those_of_pydicom(tmp_path, syntax, undefined):
    header = write(
        tmp_path / "a.dcm", [radiopharmaceutical(), radiopharmaceutical()], syntax, undefined=undefined
    )
    found = items_of(header, SEQUENCE)
    assert [type(item) for item in found] == [Item, Item]
    for one, other in zip(found, getattr(pydicom.dcmread(tmp_path / "a.dcm"), SEQUENCE), strict=True):
        same(one, other)


def test_public_series_equal_pydicom(public_data):
    for path in sorted(public_data("pet/ibsi_suv").glob("*/PT"))[:9]:
        file = next(entry for entry in sorted(path.iterdir()) if entry.is_file())
        found = items_of(read_header(file), SEQUENCE)
        same(found[0], getattr(pydicom.dcmread(file), SEQUENCE)[0])


@pytest.mark.parametrize("name", ["Müller", "two\\values"])
def test_unusual_texts_are_left_to_pydicom(tmp_path, name):
    item = radiopharmaceutical()
    item.Radiopharmaceutical = name
    found = items_of(write(tmp_path / "a.dcm", [item]), SEQUENCE)
    assert isinstance(found[0], Dataset)


def test_big_endian_and_absent_sequences(tmp_path):
    header = write(tmp_path / "a.dcm", [radiopharmaceutical()], ExplicitVRBigEndian)
    assert isinstance(items_of(header, SEQUENCE)[0], Dataset)
    assert items_of(write(tmp_path / "b.dcm", []), SEQUENCE) == []
    assert items_of(header, "EnergyWindowInformationSequence") == []


@given(st.data())
def test_damaged_items_are_never_read_differently(tmp_path_factory, data):
    """Whatever a flipped byte does: pydicom's values, pydicom itself, or a typed refusal."""
    path = tmp_path_factory.mktemp("damaged") / "a.dcm"
    header = write(path, [radiopharmaceutical()])
    raw = bytearray(header.elements[SEQUENCE][1])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(path.read_bytes().replace(header.elements[SEQUENCE][1], bytes(raw)))
    try:
        damaged = read_header(path)
        found = items_of(damaged, SEQUENCE)
    except CorruptInput:
        return
    if not all(isinstance(item, Item) for item in found):
        return
    try:
        expected = damaged.sequence(SEQUENCE)
    except CorruptInput:
        return  # of an element that is not needed here
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        same(one, other)
