"""Multipart answers (RFC 2046) taken apart while they arrive, each part straight into its file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from email.message import Message
from typing import BinaryIO

_CRLF = b"\r\n"
_HEAD_END = b"\r\n\r\n"
_LARGEST_HEAD = 64 * 1024

OpenPart = Callable[[int], AbstractContextManager[BinaryIO]]


class BadMultipart(Exception):
    """The answer ends before its end mark, or is built otherwise than RFC 2046 says."""


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a multipart answer; None where it is none.

    >>> boundary_of('multipart/related; type="application/dicom"; boundary="a b"')
    b'a b'
    >>> boundary_of("application/dicom")
    """
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_maintype() != "multipart":
        return None
    boundary = message.get_param("boundary")
    return boundary.encode() if isinstance(boundary, str) and boundary else None


def write_parts(chunks: Iterable[bytes], boundary: bytes, open_part: OpenPart) -> int:
    """Write each part of a multipart body through the stream that `open_part` gives for its number.

    Parameters
    ----------
    chunks : iterable of bytes
        The body as it arrives, in pieces of any size.
    boundary : bytes
    open_part : callable
        From the number of a part, counted from 0, to a context manager of a binary stream.

    Returns
    -------
    int
        Number of parts.

    Raises
    ------
    BadMultipart
        If the body ends before the mark of its end.
    """
    body = _Body(chunks)
    delimiter = _CRLF + b"--" + boundary
    body.through(delimiter, _nowhere)
    number = 0
    while not body.starts_with(b"--"):
        body.through(_HEAD_END, _head_counter())
        with open_part(number) as stream:
            body.through(delimiter, stream.write)
        number += 1
    return number


class _Body:
    """The pieces of a body, read up to marks that may lie across two of them."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        # the first delimiter may stand at the very start, where no line end comes before it
        self._held = bytearray(_CRLF)

    def through(self, mark: bytes, sink: Callable[[bytes], object]) -> None:
        """Give `sink` everything before the next mark, and pass the mark."""
        while (at := self._held.find(mark)) < 0:
            ready = len(self._held) - len(mark) + 1
            if ready > 0:
                sink(bytes(self._held[:ready]))
                del self._held[:ready]
            self._receive()
        if at:
            sink(bytes(self._held[:at]))
        del self._held[: at + len(mark)]

    def starts_with(self, mark: bytes) -> bool:
        while len(self._held) < len(mark):
            self._receive()
        return self._held.startswith(mark)

    def _receive(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise BadMultipart("the end mark is missing")
        self._held += chunk


def _nowhere(_: bytes) -> None:
    """What stands before the first part is no part (RFC 2046, section 5.1.1)."""


def _head_counter() -> Callable[[bytes], None]:
    """A sink for the head of a part, which must not go on for ever."""
    size = 0

    def count(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size > _LARGEST_HEAD:
            raise BadMultipart("a part has no end of its head")

    return count
