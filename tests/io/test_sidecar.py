"""Sidecars: JSON read safely, BIDS inheritance, typed values."""

from __future__ import annotations

import json

import pytest

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.sidecar import (
    MAXIMUM_BYTES,
    Sidecar,
    entities,
    find_sidecars,
    image_stem,
    read_json,
    read_sidecar,
)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) if not isinstance(content, str) else content, encoding="utf-8")
    return path


def test_byte_order_mark_and_windows_line_ends_are_dropped(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{\r\n"Units": "Bq/mL"\r\n}\r\n')
    assert read_json(path) == {"Units": "Bq/mL"}


@pytest.mark.parametrize("content", ['{"a": 1, "a": 2}', '{"x": {"b": 1, "b": 1}}'])
def test_repeated_key_is_refused(tmp_path, content):
    with pytest.raises(CorruptInput, match="twice") as caught:
        read_json(write(tmp_path / "a.json", content))
    assert "a.json" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe{\x00}\x00",
        b"{'a': 1}",
        b"[" * 100_000,
        b'{"a":' * 70 + b"1" + b"}" * 70,
        b"[" * 65 + b"]" * 65,
        b"1" * 5000,
    ],
    ids=["empty", "cut", "utf-16", "python", "deep and cut", "deep objects", "deep lists", "long number"],
)
def test_what_is_no_json_is_refused_by_type(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CorruptInput) as caught:
        read_json(path)
    assert caught.value.exit_code == 4


def test_sixty_levels_are_allowed(tmp_path):
    read_json(write(tmp_path / "a.json", "[" * 60 + "]" * 60))


def test_size_is_capped_before_reading(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as stream:
        stream.truncate(MAXIMUM_BYTES + 1)
    with pytest.raises(CorruptInput, match="too large"):
        read_json(path)


def test_not_a_number_becomes_none(tmp_path):
    assert read_json(write(tmp_path / "a.json", '{"a": [1, NaN]}')) == {"a": [1, None]}


def test_sidecar_that_is_a_list_is_refused(tmp_path):
    write(tmp_path / "a.json", [1])
    with pytest.raises(CorruptInput, match="one JSON object"):
        read_sidecar(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii.gz", "a"),
        ("a.b.nii", "a.b"),
        ("a.NII.GZ", "a"),
        ("a.hdr", "a"),
        ("a.img.gz", "a"),
        ("a.dat", "a.dat"),
    ],
)
def test_stem_of_an_image(tmp_path, name, stem):
    assert image_stem(tmp_path / name) == stem


def test_entities_and_suffix():
    assert entities("sub-01_ses-a_echo-2_part-mag_MESE") == (
        {"sub": "01", "ses": "a", "echo": "2", "part": "mag"},
        "MESE",
    )
    assert entities("scan") == ({}, "scan")
    assert entities("sub-01") == ({"sub": "01"}, "")


def test_inheritance_from_the_root_of_the_dataset_nearest_wins(tmp_path):
    """The inheritance principle of BIDS: farther and more general first."""
    write(tmp_path / "data" / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.8.0"})
    write(tmp_path / "data" / "MESE.json", {"A": "root", "B": "root", "C": "root", "D": "root"})
    write(tmp_path / "data" / "sub-01" / "sub-01_MESE.json", {"B": "subject", "C": "subject", "D": "subject"})
    folder = tmp_path / "data" / "sub-01" / "anat"
    write(folder / "sub-01_MESE.json", {"C": "folder", "D": "folder"})
    write(folder / "sub-01_echo-1_MESE.json", {"D": "image"})
    write(folder / "sub-01_echo-2_MESE.json", {"D": "other echo"})
    write(folder / "sub-01_MEGRE.json", {"A": "other suffix"})
    write(tmp_path / "MESE.json", {"A": "outside the dataset"})
    sidecar = read_sidecar(folder / "sub-01_echo-1_MESE.nii.gz")
    assert sidecar.values == {"A": "root", "B": "subject", "C": "folder", "D": "image"}
    assert [path.name for path in sidecar.files] == [
        "MESE.json",
        "sub-01_MESE.json",
        "sub-01_MESE.json",
        "sub-01_echo-1_MESE.json",
    ]


def test_outside_a_dataset_only_the_folder_of_the_image_counts(tmp_path):
    write(tmp_path / "MESE.json", {"A": 1})
    folder = tmp_path / "sub-01"
    write(folder / "sub-01_MESE.json", {"B": 1})
    assert read_sidecar(folder / "sub-01_echo-1_MESE.nii.gz").values == {"B": 1}


def test_two_that_apply_equally_and_contradict_are_refused(tmp_path):
    write(tmp_path / "sub-01_MESE.json", {"EchoTime": 0.01})
    write(tmp_path / "run-1_MESE.json", {"EchoTime": 0.02})
    with pytest.raises(CorruptInput, match="contradict"):
        read_sidecar(tmp_path / "sub-01_run-1_MESE.nii.gz")


def test_name_that_is_no_bids_has_only_its_own_sidecar(tmp_path):
    write(tmp_path / "scan.json", {"A": 1})
    write(tmp_path / "other.json", {"B": 1})
    assert find_sidecars(tmp_path / "scan.nii") == [tmp_path / "scan.json"]
    assert find_sidecars(tmp_path / "none.nii") == []


@pytest.mark.parametrize("value", ["none", "NaN", "null", "NA"])
def test_words_for_no_number_are_texts_all_the_same(value):
    """DecayCorrection NONE is a value, a weight of none is not."""
    sidecar = given(a=value, b=[1, value])
    assert sidecar.text("a") == value
    assert sidecar.number("a") is None
    assert sidecar.numbers("b") == [1.0, None]


def given(**values):
    return Sidecar(values)


def test_numbers_as_text_are_converted():
    sidecar = given(a="0.005", b=["1", 2, " 3e-1 "], c=[0.1], d="1 2 3", e=7)
    assert sidecar.number("a") == 0.005
    assert sidecar.numbers("b") == [1.0, 2.0, 0.3]
    assert sidecar.number("c") == 0.1
    assert sidecar.numbers("d") == [1.0, 2.0, 3.0]
    assert sidecar.numbers("e") == [7.0]


@pytest.mark.parametrize("value", [None, "n/a", "N/A", "", [], " unknown "])
def test_absent_values_are_absent(value):
    sidecar = given(a=value, b=5)
    assert sidecar.number("a") is None
    assert sidecar.text("a") is None
    assert sidecar.number("a", "b") == 5


@pytest.mark.parametrize("value", ["abc", True, {"x": 1}, [1, 2], float("inf"), "1e999", "1,5"])
def test_what_is_no_number_is_refused_by_key(value):
    with pytest.raises(CorruptInput) as caught:
        given(EchoTime=value).number("EchoTime")
    assert "EchoTime" in str(caught.value)


def test_free_text_of_a_wrong_value_is_not_quoted():
    """It may be a name."""
    with pytest.raises(CorruptInput) as caught:
        given(PatientWeight="Jane^Doe").number("PatientWeight")
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize("value", [0, -1.0, "0"])
def test_positive_number(value):
    with pytest.raises(CorruptInput, match="above zero"):
        given(a=value).positive("a")


def test_list_with_gaps():
    assert given(a=[1, None, "n/a"]).numbers("a") == [1.0, None, None]
    with pytest.raises(CorruptInput, match="every place"):
        given(a=[1, None]).all_numbers("a")


@pytest.mark.parametrize(
    ("value", "truth"), [(True, True), ("false", False), (1, True), ("No", False), (None, None)]
)
def test_truth_values(value, truth):
    assert given(a=value).flag("a") is truth


def test_truth_value_that_is_none_is_refused():
    with pytest.raises(CorruptInput, match="true or false"):
        given(a="maybe").flag("a")
