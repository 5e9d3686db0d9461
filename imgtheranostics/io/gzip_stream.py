"""Inflating a gzip stream straight into one buffer, to its end, so that checksum and length are checked."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from imgtheranostics.errors import CorruptInput

GZIP_MAGIC = b"\x1f\x8b"

_INPUT_BYTES = 1 << 18
_OUTPUT_BYTES = 1 << 20
_GZIP_WINDOW = 31


class GzipStream:
    """A forward-only reader of a gzip file of one or several members.

    zlib compares the CRC and the length that each member carries when the member ends, so a stream that
    was read to its end is known to be whole.

    Parameters
    ----------
    path : Path
        File that begins with the gzip magic bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_out = 0
        self.bytes_after_the_end = 0
        self._file: BinaryIO = path.open("rb")
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)
        self._pending = b""
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, n_bytes: int) -> bytes:
        """Up to `n_bytes` of inflated data; fewer only at the end of the stream."""
        parts: list[bytes] = []
        missing = n_bytes
        while missing > 0:
            piece = self._inflate(min(missing, _OUTPUT_BYTES))
            if not piece:
                break
            parts.append(piece)
            missing -= len(piece)
        return b"".join(parts)

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer`; the number of bytes written is smaller only at the end of the stream."""
        target = buffer.cast("B")
        filled = 0
        while filled < len(target):
            piece = self._inflate(min(len(target) - filled, _OUTPUT_BYTES))
            if not piece:
                break
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def skip(self, n_bytes: int) -> int:
        """Inflate and drop up to `n_bytes`; the number that there was."""
        skipped = 0
        while skipped < n_bytes:
            piece = self._inflate(min(n_bytes - skipped, _OUTPUT_BYTES))
            if not piece:
                break
            skipped += len(piece)
        return skipped

    def drain(self, limit: int) -> int:
        """Inflate the rest, so that checksum and length are verified; the bytes that there were.

        Raises
        ------
        CorruptInput
            If more than `limit` bytes follow, or the stream is damaged.
        """
        extra = self.skip(limit)
        if extra >= limit and not self._finished and self._inflate(1):
            raise CorruptInput(
                "the compressed stream goes on far beyond the image that its header declares",
                where=str(self.path),
                found=f"more than {limit / 2**30:.3g} GiB after the image",
                needed="a stream that ends with the image",
                next_step="write the file again with the tool that made it",
            )
        return extra

    def _inflate(self, n_bytes: int) -> bytes:
        while not self._finished:
            if not self._pending and not self._inflater.eof:
                self._pending = self._file.read(_INPUT_BYTES)
                at_end = not self._pending
            else:
                at_end = False
            if self._inflater.eof and not self._next_member():
                break
            try:
                piece = self._inflater.decompress(self._pending, n_bytes)
            except zlib.error as error:
                raise self._damaged(str(error).rpartition(":")[2].strip() or str(error)) from error
            self._pending = self._inflater.unconsumed_tail or self._inflater.unused_data
            if piece:
                self.bytes_out += len(piece)
                return piece
            if at_end and not self._inflater.eof:
                raise self._damaged("the stream ends before its checksum")
        return b""

    def _next_member(self) -> bool:
        """Begin the next gzip member; False at the end of the file, with zero padding allowed."""
        rest = self._pending or self._file.read(_INPUT_BYTES)
        while rest and not rest.strip(b"\x00"):
            rest = self._file.read(_INPUT_BYTES)
        rest = rest.lstrip(b"\x00")
        if len(rest) == 1:
            rest += self._file.read(_INPUT_BYTES)
        if rest[:2] == GZIP_MAGIC:
            self._inflater = zlib.decompressobj(_GZIP_WINDOW)
            self._pending = rest
            return True
        self.bytes_after_the_end = len(rest)
        self._finished = True
        return False

    def _damaged(self, reason: str) -> CorruptInput:
        return CorruptInput(
            "the compressed stream is damaged or truncated",
            where=str(self.path),
            found=f"{reason}, after {self.bytes_out} inflated bytes",
            needed="a gzip stream with a matching checksum and length",
            next_step="copy or write the file again",
        )


def is_gzip(path: Path) -> bool:
    """Whether the file begins as a gzip stream does, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC
