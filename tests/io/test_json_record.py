"""Small results as JSON files that name their kind."""

from __future__ import annotations

import json
import math

import pytest

from imgtheranostics.errors import CorruptInput, NothingUsable, OutputError, UnsupportedInput
from imgtheranostics.io.json_record import read_record, write_record

KNOWN = {"kind": "a-kind", "version": 2}


def test_a_record_comes_back_and_what_is_no_number_is_null(tmp_path):
    path = tmp_path / "record.json"
    write_record(path, {"a": 0.1, "b": [1.0, math.nan], "c": {"d": math.inf, "e": "text"}}, **KNOWN)
    assert read_record(path, **KNOWN, what="record") == {
        "format": "a-kind",
        "version": 2,
        "a": 0.1,
        "b": [1.0, None],
        "c": {"d": None, "e": "text"},
    }


@pytest.mark.parametrize(
    ("text", "kind", "match"),
    [
        ("{", CorruptInput, "not valid JSON"),
        ("[1, 2]", UnsupportedInput, "no record"),
        ("{}", UnsupportedInput, "no record"),
        (json.dumps({"format": "other", "version": 2}), UnsupportedInput, "no record"),
        (json.dumps({"format": "a-kind", "version": 3}), UnsupportedInput, "another version"),
        (" " * (1 << 20) + "{}", UnsupportedInput, "too large"),
    ],
)
def test_another_file_is_refused(tmp_path, text, kind, match):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(kind, match=match) as caught:
        read_record(path, **KNOWN, what="record")
    assert caught.value.where == "record.json"


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(CorruptInput, match="not valid JSON"):
        read_record(path, **KNOWN, what="record")


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(NothingUsable, match="cannot be read"):
        read_record(tmp_path / "absent.json", **KNOWN, what="record")


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(OutputError):
        write_record(tmp_path / "absent" / "record.json", {}, **KNOWN)
