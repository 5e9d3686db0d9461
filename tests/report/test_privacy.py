"""Nothing of a person in texts: the rules of the scrubber, and what it must leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.report.privacy import Scrubber
from imgtheranostics.report.run import Input

FILES = [
    Input(Path("/home/jdoe/Doe^Jane/FDG_2024/IM0001"), "00", 1),
    Input(Path("scans/Patient Seven/mask of Jane.nii.gz"), "01", 1),
    Input(Path("tumour.nii.gz"), "02", 1),
]
KNOWN = (
    ("PatientName", "DOE^JANE"),
    ("PatientID", "P-0042"),
    ("PatientBirthDate", "19620304"),
    ("AccessionNumber", "1234"),
    ("PatientSex", "F"),
    ("SeriesDescription", "PET"),
)
SCRUBBER = Scrubber(KNOWN, FILES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("read /home/jdoe/Doe^Jane/FDG_2024/IM0001.", "read [input 1]."),
        ("IM0001 is corrupt", "[input 1] is corrupt"),
        ("'mask of Jane.nii.gz' lies elsewhere", "'[input 2]' lies elsewhere"),
        ("scans/Patient Seven/mask of Jane.nii.gz", "[input 2]"),
        ("compare /data/Jane Doe/other.dcm", "compare [path]"),
        ("compare C:\\Users\\jdoe\\a.dcm", "compare [path]"),
        ("see ~/study/x and ../y", "see [path] and [path]"),
        ("267 files of FDG_2024", "267 files of [path]"),
        ("patient doe jane was born 19620304", "patient [withheld] was born [withheld]"),
        ("ID p-0042x", "ID [withheld]x"),
        ("room 1234, not 12345", "room [withheld], not 12345"),
        ("at 2024-03-01T10:20:30", "at [date withheld]"),
        ("on 20240301", "on [date withheld]"),
        ("UID 1.2.840.113619.2.55.3.604688", "UID [UID]"),
        ("UID 2.25.329800735698586629295641978511506172918", "UID [UID]"),
    ],
)
def test_identifying_parts_are_replaced(text, expected):
    assert SCRUBBER.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "voxels are Bq/mL, 12.5 %/g and 1/s",
        "PatientWeight (0010,1030) is absent; give --weight-kg",
        "the clocks differ by 2.4 % / frame",
        "mean / SE and max / min",
        "scaling is per slice and/or frame",
        "version 1.2.3, slope 0.00123456, half-life 45721.0 s",
        "20201 voxels of 99999999",
        "SeriesTime lies 30.5 min after AcquisitionTime",
        "F-18 and Cu-64",
    ],
)
def test_words_numbers_units_and_tags_stay(text):
    assert SCRUBBER.text(text) == text
    assert SCRUBBER.where(text) == text


def test_a_region_may_be_called_like_its_file_but_not_like_the_person():
    assert SCRUBBER.label("tumour") == "tumour"
    assert SCRUBBER.label("lesion Doe") == "lesion [withheld]"
    assert SCRUBBER.label("Jane_tumour") == "[withheld]_tumour"


def test_a_short_number_does_not_cost_a_region_its_name():
    """PatientID DRO and the region DRO_mask stand side by side in public reference objects."""
    scrubber = Scrubber([("PatientID", "DRO"), ("PatientName", "PETDRO PHANTOM")], [])
    assert scrubber.label("DRO_mask") == "DRO_mask"
    assert scrubber.text("patient DRO") == "patient [withheld]"
    assert scrubber.label("PETDRO") == "[withheld]"


def test_words_in_name_fields_that_name_nobody_stay():
    scrubber = Scrubber([("PatientName", "Phantom^Mouse"), ("PatientID", "anonymous")], [])
    assert scrubber.text("anonymous mouse phantom") == "anonymous mouse phantom"


def test_a_place_that_is_only_a_folder_goes():
    assert SCRUBBER.where("Doe^Jane") == "[path]"
    assert SCRUBBER.where("scans") == "[path]"
    assert SCRUBBER.text("scans of two days") == "scans of two days"


def test_two_files_of_one_name_are_both_hidden():
    twice = Scrubber([], [Input(Path("a1b2c3/x.dcm"), "", 0), Input(Path("d4e5f6/x.dcm"), "", 0)])
    assert twice.text("a1b2c3/x.dcm and d4e5f6/x.dcm") == "[input 1] and [input 2]"
    assert twice.text("x.dcm") == "[input 1]"


identifiers = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x17F, exclude_characters="^="), min_size=12, max_size=24
)


@given(
    identifiers.filter(lambda text: not text.replace(".", "").isdigit()),
    st.text(max_size=12),
    st.text(max_size=12),
)
def test_a_long_identifier_never_survives(identifier, before, after):
    scrubber = Scrubber([("PatientID", identifier)], [])
    for text in (
        scrubber.label(before + identifier + after),
        scrubber.text(f"{before} {identifier} {after}"),
    ):
        assert identifier.lower() not in text.lower().replace("[withheld]", "\0").replace("[path]", "\0")
