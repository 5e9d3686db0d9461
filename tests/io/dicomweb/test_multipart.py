"""Multipart bodies as RFC 2046 builds them, in pieces of any size, and cut anywhere."""

from __future__ import annotations

from contextlib import contextmanager
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.io.dicomweb.multipart import BadMultipart, boundary_of, write_parts

BOUNDARY = b"=_mark-1"
PARTS = st.lists(st.binary(max_size=60).filter(lambda one: b"=_mark" not in one), max_size=4)
HEADS = st.sampled_from([b"", b"Content-Type: application/dicom\r\n", b"A: b\r\nContent-Length: 5\r\n"])


def body_of(parts, head, preamble=b""):
    """Delimiter, head, empty line, content; the closing delimiter last (RFC 2046, section 5.1.1)."""
    built = preamble
    for part in parts:
        built += b"\r\n--" + BOUNDARY + b"\r\n" + head + b"\r\n" + part
    return built + b"\r\n--" + BOUNDARY + b"--"


def taken_apart(body, size):
    written: list[bytes] = []

    @contextmanager
    def keep(number):
        assert number == len(written)
        stream = BytesIO()
        yield stream
        written.append(stream.getvalue())

    chunks = (body[at : at + size] for at in range(0, len(body), size))
    assert write_parts(chunks, BOUNDARY, keep) == len(written)
    return written


@given(PARTS, HEADS, st.integers(1, 70), st.sampled_from([b"", b"to be ignored"]), st.binary(max_size=9))
def test_parts_come_back_whole_from_pieces_of_any_size(parts, head, size, preamble, epilogue):
    assert taken_apart(body_of(parts, head, preamble) + epilogue, size) == parts


@given(PARTS, HEADS, st.integers(1, 70))
def test_the_first_delimiter_may_stand_at_the_very_start(parts, head, size):
    body = body_of(parts, head)
    assert taken_apart(body.removeprefix(b"\r\n"), size) == parts


@given(PARTS, HEADS, st.integers(1, 70), st.data())
def test_a_body_that_breaks_off_anywhere_is_refused(parts, head, size, data):
    body = body_of(parts, head)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(BadMultipart):
        taken_apart(body[:cut], size)


def test_a_head_without_end_is_refused_before_it_fills_the_memory():
    endless = b"\r\n--" + BOUNDARY + b"\r\n" + b"x" * 200_000
    with pytest.raises(BadMultipart, match="head"):
        taken_apart(endless, 1000)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/related; boundary=abc", b"abc"),
        ('Multipart/Related; type="application/dicom"; boundary="a b;c"', b"a b;c"),
        ("multipart/related", None),
        ("application/dicom; boundary=abc", None),
        ("", None),
    ],
)
def test_the_boundary_is_that_of_the_header(content_type, boundary):
    assert boundary_of(content_type) == boundary
