"""JCAMP-DX of ParaVision 5, 6 and 360: every form of a value, and nothing but typed errors for the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, MissingMetadata
from imgtheranostics.io.bruker.jcampdx import DEEPEST, MOST_VALUES, parse_value, split_records
from imgtheranostics.io.bruker.parameters import read_parameters


def values(text):
    return parse_value(text, "file: name").values


@pytest.fixture
def parameters(tmp_path):
    def write(body: str):
        path = tmp_path / "visu_pars"
        path.write_text("##TITLE=Parameter List\n" + body + "\n##END=\n")
        return read_parameters(path)

    return write


@pytest.mark.parametrize(
    ("text", "dims", "expected"),
    [
        ("5", None, ["5"]),
        ("-1.5e-3", None, ["-1.5e-3"]),
        ("littleEndian", None, ["littleEndian"]),
        ("<text, with (brackets) @3*(1)>", None, ["text, with (brackets) @3*(1)"]),
        ("( 65 )\n<>", (65,), [""]),
        ("( 2 )\n80 64", (2,), ["80", "64"]),
        ("( 2 ) 200 128", (2,), ["200", "128"]),
        ("( 2, 65 )\n<mm> <mm>", (2, 65), ["mm", "mm"]),
        ("( 5 )\n1 2 \n3 4 \n5", (5,), ["1", "2", "3", "4", "5"]),
        ("( 0 )", (0,), []),
        ("( 2 )\n(0, 0) (1, 0.5)", (2,), [("0", "0"), ("1", "0.5")]),
        ("(0, 0)", None, [("0", "0")]),
        (
            "( 1 )\n(5, <FG_ISA>, <T2 relaxation: y=A+C*exp(-t/T2)>, 0, 2)",
            (1,),
            [("5", "FG_ISA", "T2 relaxation: y=A+C*exp(-t/T2)", "0", "2")],
        ),
        ("(<a>, (1, (2, 3)), <>)", None, [("a", ("1", ("2", "3")), "")]),
        ("(Yes, 1 2 3, x)", None, [("Yes", ("1", "2", "3"), "x")]),
        ("( 4 )\n@4*(0)", (4,), ["0"] * 4),
        ("( 6 )\n1 @2*(7 8) @1*(9)", (6,), ["1", "7", "8", "7", "8", "9"]),
        ("( 2 )\n@2*((3, <a>))", (2,), [("3", "a"), ("3", "a")]),
        ("(@3*(0), 1)", None, [(("0", "0", "0"), "1")]),
        ("( 4 )\n@2*(@2*(5))", (4,), ["5"] * 4),
        ("inf", None, ["inf"]),
    ],
)
def test_every_form_of_a_value(text, dims, expected):
    entry = parse_value(text, "file: name")
    assert (entry.dims, entry.values) == (dims, expected)


@pytest.mark.parametrize("text", ["( 3,\x1d3 )\n1 2", "( \u0663 )\n1 2 3", "@\u0663*(1)"])
def test_digits_and_spaces_are_those_of_ascii(text):
    """Other digits are words or damage, never counts."""
    try:
        entry = parse_value(text, "file: name")
    except CorruptInput:
        return
    assert entry.dims is None
    assert len(entry.values) < 6


def test_string_that_the_writer_wrapped_is_one_string():
    assert values("( 2048 )\n<Various Fruits to Test \nFile Structure>") == [
        "Various Fruits to Test File Structure"
    ]


def test_comment_lines_and_wrapped_records_belong_to_their_record():
    records, repeated = split_records(
        "##TITLE=x\n$$ who wrote it\n##$A=( 3 )\n1 2 \n$$ @vis= A B\n3\n##$B=7\r\n##END=\n##$C=8\n", "file"
    )
    assert parse_value(records["A"], "").values == ["1", "2", "3"]
    assert parse_value(records["B"], "").values == ["7"]
    assert "C" not in records  # behind the end record
    assert repeated == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "<open",
        "(1, 2",
        ")",
        "( 2 )\n(1, (2, 3)",
        "(" * (DEEPEST + 2) + ")" * (DEEPEST + 2),
        "( 9 )\n@999999999*(0)",
        "( 9 )\n@4000000*(@4000000*(0))",
        "( 9 )\n@3000*(@3000*(1 2 3))",
        f"( 9 )\n@{MOST_VALUES + 1}*()",
        "(1, 2))",
    ],
)
def test_damaged_or_exploding_values_are_refused(text):
    with pytest.raises(CorruptInput, match="cannot be read") as caught:
        values(text)
    assert "999999999" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"  \n ", "empty"),
        (b"\x00\x01##TITLE=", "not text"),
        (b"hello\n##TITLE=x\n##END=\n", "not a ParaVision parameter file"),
        (b"$$ only a comment\n", "no record"),
        (b"##TITLE=x\n##$A=( 3 )\n1 2", "ends before its end record"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3955\n", "LFS pointer"),
    ],
)
def test_what_is_no_parameter_file_is_refused(tmp_path, content, message):
    path = tmp_path / "visu_pars"
    path.write_bytes(content)
    with pytest.raises(CorruptInput, match=message):
        read_parameters(path)


def test_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "method"
    path.write_text("##TITLE=x\n##END=\n")
    monkeypatch.setattr("imgtheranostics.io.bruker.parameters.MAXIMUM_BYTES", 10)
    with pytest.raises(CorruptInput, match="too large"):
        read_parameters(path)


def test_numbers_come_in_their_declared_shape(parameters):
    found = parameters("##$M=( 2, 3 )\n1 2 3 \n4 5 6\n##$S=0.5\n##$I=( 2 )\ninf -inf\n##$E=( 0 )\n")
    assert found.numbers("M").tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found.number("S") == 0.5
    assert found.numbers("I").tolist() == [np.inf, -np.inf]
    assert found.numbers("E") is None
    assert found.numbers("absent") is None


@pytest.mark.parametrize("body", ["##$M=( 3 )\n1 2", "##$M=( 2 )\n1 2 3", "##$M=1 2", "##$M=( 2 )\n1 1_000"])
def test_numbers_that_are_not_as_declared_are_refused(parameters, body):
    with pytest.raises(CorruptInput, match="M"):
        parameters(body).numbers("M")


def test_parameter_with_two_values_is_refused_when_it_is_asked_for(parameters):
    found = parameters("##$A=1\n##$B=2\n##$A=3\n##$B=2")
    assert found.number("B") == 2.0
    with pytest.raises(CorruptInput, match="twice"):
        found.number("A")


def test_enumeration_with_a_shown_name_gives_its_name(parameters):
    """PV 6 and later write some enumerations as a pair."""
    found = parameters("##$M=(<Mode1>, <[1H] TX Volume>)\n##$N=<Bruker:FLASH>\n##$W=( 2 )\nspatial spatial")
    assert (found.text("M"), found.text("N"), found.text("W")) == ("Mode1", "Bruker:FLASH", "spatial")
    assert found.text("absent") is None


def test_absent_number_that_is_needed_names_file_and_parameter(parameters):
    with pytest.raises(MissingMetadata, match="VisuCoreFrameCount") as caught:
        parameters("##$A=1").integer("VisuCoreFrameCount")
    assert "visu_pars" in str(caught.value)


def test_value_is_never_quoted_in_an_error(parameters):
    found = parameters("##$VisuSubjectName=( 65 )\n<Canary^Name")
    with pytest.raises(CorruptInput) as caught:
        found.text("VisuSubjectName")
    assert "Canary" not in str(caught.value)


_PIECES = st.sampled_from(
    [
        "( 3 )\n",
        "(",
        ")",
        "<",
        ">",
        ",",
        " ",
        "\n",
        "@3*(",
        "@2*(",
        "1",
        "-2.5",
        "abc",
        "inf",
        "$$",
        "##",
        "=",
        "é",
    ]
)


@given(st.lists(_PIECES, max_size=40).map("".join) | st.text(max_size=60))
def test_any_text_is_a_value_or_a_typed_error(text):
    try:
        entry = parse_value(text, "file: name")
    except ImgTheranosticsError:
        return
    assert all(isinstance(value, (str, tuple)) for value in entry.values)


@given(
    st.binary(max_size=200)
    | st.lists(_PIECES, max_size=60).map(lambda p: ("##TITLE=x\n" + "".join(p)).encode())
)
def test_any_file_is_parameters_or_a_typed_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed_visu_pars"
    path.write_bytes(content)
    try:
        found = read_parameters(path)
        for name in found.names:
            found.text(name)
            found.numbers(name)
            found.structs(name)
    except ImgTheranosticsError:
        return


_SCALARS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(_SCALARS, min_size=1, max_size=50), st.integers(1, 30))
def test_numbers_survive_writing_with_wrapping(tmp_path_factory, numbers, width):
    """The writer of this test wraps after any number of values, as ParaVision does at 72 characters."""
    words = [repr(number) for number in numbers]
    lines = [" ".join(words[n : n + width]) + " " for n in range(0, len(words), width)]
    path = tmp_path_factory.getbasetemp() / "written_visu_pars"
    path.write_text(f"##TITLE=x\n##$A=( {len(numbers)} )\n" + "\n".join(lines) + "\n##END=\n")
    assert read_parameters(path).numbers("A").tolist() == [float(number) for number in numbers]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(-99, 99)), min_size=1, max_size=10))
def test_run_lengths_stand_for_what_they_repeat(runs):
    text = " ".join(f"@{count}*({value})" for count, value in runs)
    expected = [str(value) for count, value in runs for _ in range(count)]
    assert values(f"( {len(expected)} )\n{text}") == expected
