"""CEST series in DICOM: Siemens protocol lists, order of acquisition, and what other vendors do not state.

The form of the list, Hz between ``l:`` and ``d:`` of ``sWipMemBlock.tFree``, to be divided by
lFrequency / 1e6, is that of the sheet on CEST, section 5.
"""

from __future__ import annotations

import random
import re
import struct
import time

import numpy as np
import pytest
from pydicom.dataset import Dataset

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, ImplausibleValue, MissingMetadata
from imgtheranostics.io.cest_offsets import with_offsets

MHZ = 123.249393
OFFSETS = [-300.0, 3.5, -3.5, 2.0, -2.0, 0.5, -0.5, 0.0]
SIGNAL = [1000, 780, 800, 700, 720, 300, 310, 90]


def protocol(free: str, frequency: str | None = "123249393", spelling: str = "sWipMemBlock") -> bytes:
    """A CSA series header as far as the reader looks at it: text between the marks of the protocol."""
    lines = ['ulVersion\t = \t0x14b44b6\ntSequenceFileName\t = \t"%CustomerSeq%\\\\cest"\n']
    if frequency is not None:
        lines.append(f"sTXSPEC.asNucleusInfo[0].lFrequency\t = \t{frequency}\n")
    lines.append(f'{spelling}.tFree\t = \t""{free}""\n')
    text = "### ASCCONV BEGIN object=MrProtDataImpl@MrProtocolData ###\n" + "".join(lines)
    return (
        b"SV10\4\3\2\1" + struct.pack("<i", 1) + b"<XProtocol>\n" + text.encode() + b"### ASCCONV END ###\0"
    )


def hertz(offsets) -> str:
    return "l:|" + "|".join(f"{v * MHZ:.4f}" for v in offsets) + "|d:1"


@pytest.fixture
def cest(tmp_path, make_series):
    """Three slices at each offset, numbered in the order of acquisition; file names are in another order."""

    def write(signal, *, maker="SIEMENS", raw=None, element=(0x0029, "SIEMENS CSA HEADER", 0x20), edit=None):
        for n, value in enumerate(signal):

            def change(ds, k, n=n):
                ds.Manufacturer = maker
                ds.SeriesDescription = "APT_CEST_3T"
                ds.ImagingFrequency = str(MHZ)
                ds.AcquisitionNumber = n + 1
                ds.AcquisitionTime = f"1015{2 * n:02d}"
                if raw is not None:
                    block = ds.private_block(element[0], element[1], create=True)
                    block.add_new(element[2], "OB", raw)
                if edit is not None:
                    edit(ds, n)

            stored = np.full((3, 5, 6), value, dtype=np.int16)
            make_series(tmp_path, "MR", stored=stored, prefix=f"{(n * 5) % 13:02d}_", edit=change)
        return it.load(tmp_path)

    return write


def codes(volume):
    return [one.code for one in volume.warnings]


@pytest.mark.parametrize("spelling", ["sWipMemBlock", "sWiPMemBlock"])
def test_list_of_the_protocol_becomes_the_axis(cest, spelling):
    volume = cest(SIGNAL, raw=protocol(hertz(OFFSETS), spelling=spelling))
    axis = volume.axis("saturation_offset")
    np.testing.assert_allclose(axis.values, [np.nan, *OFFSETS[1:]], atol=1e-5)
    np.testing.assert_allclose(volume.data[0, 0, 0], SIGNAL)
    record = volume.acquisition.saturation
    assert record["m0_index"] == (0,)
    assert record["offsets_source"] == "siemens_wip"
    assert record["recorded_unit"] == "Hz"
    assert "offset-sign-assumed" in codes(volume)
    assert "convert_unit" in [step.name for step in volume.history]


def test_protocol_of_later_software_is_found_too(cest):
    volume = cest(SIGNAL, raw=protocol(hertz(OFFSETS)), element=(0x0021, "SIEMENS MR SDS 01", 0x19))
    np.testing.assert_allclose(volume.axis("saturation_offset").values[1:], OFFSETS[1:], atol=1e-5)


def test_frequency_of_the_image_stands_in_for_that_of_the_protocol(cest):
    volume = cest(SIGNAL, raw=protocol(hertz(OFFSETS), frequency=None))
    np.testing.assert_allclose(volume.axis("saturation_offset").values[1:], OFFSETS[1:], atol=1e-5)


def test_list_of_another_length_is_not_used(cest):
    volume = cest(SIGNAL, raw=protocol(hertz(OFFSETS[:-1])))
    assert volume.axis("saturation_offset") is None
    assert "7 saturation offsets for 8 volumes" in str(volume.warnings)
    given = with_offsets(volume, OFFSETS)
    np.testing.assert_allclose(given.axis("saturation_offset").values[1:], OFFSETS[1:])
    assert "offsets-missing" not in codes(given)


@pytest.mark.parametrize(
    "free", ["l:|0|0|0|0|0|0|0|0|d:", "vx_ep3d bb4d852", "l:|1|two|d:", "all:|1|2|d:", ""]
)
def test_other_free_texts_are_no_offsets(cest, free):
    volume = cest(SIGNAL, raw=protocol(free))
    assert volume.axis("saturation_offset") is None
    assert "offsets-missing" in codes(volume)


def test_image_that_contradicts_the_list_is_refused(cest):
    with pytest.raises(ImplausibleValue, match="order"):
        cest(SIGNAL[::-1], raw=protocol(hertz(OFFSETS)))


def test_protocol_with_hertz_beyond_sense_is_refused(cest):
    with pytest.raises(ImplausibleValue, match="SaturationOffsets"):
        cest(SIGNAL, raw=protocol(hertz([v * 1000 for v in OFFSETS]), frequency="123249393"))


def test_damaged_protocol_text_is_no_list(cest):
    raw = protocol(hertz(OFFSETS))
    volume = cest(SIGNAL, raw=raw[: raw.index(b"### ASCCONV END")] + b"\xff\xfe")
    assert volume.axis("saturation_offset") is None


@pytest.mark.parametrize(
    ("maker", "words"),
    [
        ("GE MEDICAL SYSTEMS", r"\(0018,9022\)"),
        ("Philips Medical Systems", "Philips"),
        ("SIEMENS", "protocol"),
        ("Other", "no saturation offsets"),
    ],
)
def test_vendors_that_state_no_offsets_are_told(cest, maker, words):
    """The GE tag that some scripts read is Blood Signal Nulling by the standard: it is never an offset."""

    def edit(ds, n):
        if maker.startswith("GE"):
            ds.add_new(0x00189022, "DS", f"{OFFSETS[n] * 100:g}")

    volume = cest(SIGNAL, maker=maker, edit=edit)
    assert volume.axis("saturation_offset") is None
    (caution,) = [one for one in volume.warnings if one.code == "offsets-missing"]
    assert "--offsets" in caution.message
    assert re.search(words, caution.message)


def test_series_of_another_name_gets_no_word_about_offsets(cest):
    def edit(ds, n):
        ds.SeriesDescription = "rest bold"

    assert "offsets-missing" not in codes(cest(SIGNAL, edit=edit))


def item(**values) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def test_enhanced_siemens_without_interoperability_mode_is_named(tmp_path, make_series):
    ds = make_series.new_dataset("enhanced MR")
    make_series.set_pixels(ds, np.array([np.full((2, 3), v) for v in SIGNAL], dtype=np.int16))
    ds.Manufacturer, ds.SeriesDescription = "Siemens Healthineers", "cest_3d"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[1.5, 2.0], SliceThickness=9)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")],
        )
    ]
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[-10, -20, 0])],
            FrameContentSequence=[
                item(TemporalPositionIndex=n + 1, FrameAcquisitionDateTime=f"202503011015{2 * n:02d}")
            ],
        )
        for n in range(len(SIGNAL))
    ]
    make_series.save(ds, tmp_path / "x.dcm")
    volume = it.load(tmp_path / "x.dcm")
    assert volume.axis("saturation_offset") is None
    assert "interoperability mode" in str(volume.warnings)
    given = with_offsets(volume, OFFSETS)
    np.testing.assert_allclose(given.data[0, 0, 0], SIGNAL)


def test_refusals_are_typed_for_damaged_private_headers(cest):
    """Bytes of the protocol changed at random are offsets, no offsets, or a typed refusal."""
    rng = random.Random(3)
    raw = bytearray(protocol(hertz(OFFSETS)))
    for _ in range(40):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    try:
        volume = cest(SIGNAL, raw=bytes(raw))
    except (CorruptInput, ImplausibleValue):
        return
    assert volume.shape[3] == len(SIGNAL)


def test_reason_stands_in_the_refusal_of_what_needs_offsets(cest):
    volume = cest(SIGNAL, maker="GE MEDICAL SYSTEMS")
    with pytest.raises(MissingMetadata, match="Blood Signal Nulling"):
        it.cest.correct(volume)


def test_protocol_of_many_beginnings_takes_no_time(cest):
    raw = b"SV10" + b"### ASCCONV BEGIN\n\n\n" * 100_000
    start = time.process_time()
    assert cest(SIGNAL, raw=raw, edit=None).axis("saturation_offset") is None
    assert time.process_time() - start < 10
