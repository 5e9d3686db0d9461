"""YAML read with lines: what PyYAML alone would let through or not place."""

from __future__ import annotations

import contextlib
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import CorruptInput, NothingUsable
from imgtheranostics.yaml_lines import Document, parse, read


def parsed(text):
    return parse(text, where="x.yaml", subject="test file")


def refusal(text):
    with pytest.raises(CorruptInput) as caught:
        parsed(text)
    return caught.value


def test_each_entry_has_its_line():
    document = parsed("a:\n  b: 1\n  c:\n    - 2\n    - {d: 3}\n")
    assert document.content == {"a": {"b": 1, "c": [2, {"d": 3}]}}
    assert [document.place(path) for path in (("a",), ("a", "b"), ("a", "c", 0), ("a", "c", 1, "d"))] == [
        "x.yaml:1",
        "x.yaml:2",
        "x.yaml:4",
        "x.yaml:5",
    ]


def test_an_entry_without_a_line_is_placed_at_what_holds_it():
    document = parsed("a:\n  b: 1\n")
    assert document.place(("a", "absent", 3)) == "x.yaml:1"
    assert Document({}, "x.yaml").place(("a",)) == "x.yaml"


@pytest.mark.parametrize("text", ["7.4e6", "-1E-3", ".5", "2.", "1e3"])
def test_floats_of_yaml_1_2_are_numbers(text):
    assert parsed(f"v: {text}").content == {"v": float(text)}


def test_words_that_look_a_little_like_numbers_stay_words():
    assert parsed("v: [64Cu, e5, ., -, 1e, 99mTc]").content == {"v": ["64Cu", "e5", ".", "-", "1e", "99mTc"]}


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("", "empty", None),
        ("# only a comment\n", "empty", None),
        ("a: 1\nb: [1, 2", "not valid YAML", 2),
        ("a: 1\nb: !!python/object/apply:os.getcwd []\n", "not valid YAML", 2),
        ("a: &x 1\nb: *x\n", "alias", 2),
        ("a: 1\nb: 2\na: 3\n", "first on line 1", 3),
        ("n:\n  a: 1\n  a: 3\n", "n.a, first on line 2", 3),
        ("a: 1\n? [1, 2]\n: 3\n", "not a word", 2),
        ("a: 1\n---\nb: 2\n", "not valid YAML", 2),
        ("a: \x00", "not valid YAML", None),
        ("a: 2026-13-45", "not valid YAML", None),
        ("a:\n  " + "[" * 40 + "]" * 40, "nested too deeply", 2),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_line(text, said, line):
    error = refusal(text)
    assert said in str(error)
    found = re.fullmatch(r"x\.yaml(?::(\d+))?", error.where or "")
    assert found is not None
    assert (int(found[1]) if found[1] else None) == line
    assert "test file" in error.what


def test_a_file_that_is_absent_large_or_not_text_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    with pytest.raises(NothingUsable, match="does not exist"):
        read(path, subject="test file")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorruptInput, match="UTF-8"):
        read(path, subject="test file")
    path.write_text("#" * (1 << 20) + "\n", encoding="utf-8")
    with pytest.raises(CorruptInput, match="1 MiB"):
        read(path, subject="test file")
    path.write_text("\ufeffa: 1\n", encoding="utf-8")
    assert read(path, subject="test file").content == {"a": 1}


def test_a_name_that_is_no_file_name_is_refused():
    with pytest.raises(NothingUsable):
        read("a" * 5000 + ".yaml", subject="test file")
    with pytest.raises(NothingUsable):
        read("a\0b.yaml", subject="test file")


def no_number(text):
    """PyYAML writes the text 0E0 bare, because YAML 1.1 does not take it for a number; 1.2 does."""
    try:
        float(text)
    except ValueError:
        return True
    return False


words = st.text(max_size=5).filter(no_number)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(words, plain, min_size=1, max_size=4))
def test_plain_data_comes_back_as_it_was_written(content):
    """PyYAML's own writer is the judge; it uses aliases only for shared containers."""

    class Writer(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    assert parsed(yaml.dump(content, Dumper=Writer)).content == content


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(CorruptInput):
        assert isinstance(parsed(text), Document)
