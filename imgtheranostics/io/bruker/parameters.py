"""One ParaVision parameter file: visu_pars, method, acqp or reco, with typed access to its parameters."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, MissingMetadata
from imgtheranostics.io.bruker.jcampdx import Entry, Text, Value, as_number, parse_value, split_records
from imgtheranostics.io.git_lfs import is_lfs_pointer, refuse_lfs_pointer

FloatArray = npt.NDArray[np.float64]

MAXIMUM_BYTES = 64 * 2**20


class Parameters:
    """The parameters of one file, parsed as they are asked for.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path: Path, records: dict[str, str], repeated: frozenset[str]) -> None:
        self.path = path
        self._records = records
        self._repeated = repeated
        self._parsed: dict[str, Entry] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._records

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters."""
        return tuple(self._records)

    def where(self, name: str) -> str:
        """File and parameter, for a message."""
        return f"{self.path}: {name}"

    def entry(self, name: str) -> Entry | None:
        """The parsed value, or None where the parameter is absent.

        Raises
        ------
        CorruptInput
            If it cannot be parsed, or stands twice with different values.
        """
        if name not in self._records:
            return None
        if name in self._repeated:
            raise CorruptInput(
                "a parameter stands twice with different values",
                where=self.where(name),
                needed="each parameter once",
            )
        if name not in self._parsed:
            self._parsed[name] = parse_value(self._records[name], self.where(name))
        return self._parsed[name]

    def numbers(self, name: str) -> FloatArray | None:
        """The numbers of a parameter in its declared shape (0-d for a scalar); None when absent or empty.

        Raises
        ------
        CorruptInput
            If an entry is no number, or the entries are not as many as declared.
        """
        entry = self.entry(name)
        if entry is None or not entry.values:
            return None
        found = [as_number(value) for value in entry.values]
        if any(value is None for value in found):
            raise CorruptInput(
                "a parameter that must hold numbers does not", where=self.where(name), needed="numbers"
            )
        values = np.array(found, dtype=np.float64)
        if entry.dims is None:
            if values.size != 1:
                raise self._miscounted(name, values.size, 1)
            return values.reshape(())
        declared = math.prod(entry.dims)
        if declared != values.size:
            raise self._miscounted(name, values.size, declared)
        return values.reshape(entry.dims)

    def number(self, name: str) -> float | None:
        """The one finite number of a parameter, or of a list of equal numbers; else None."""
        values = self.numbers(name)
        if values is None or not np.isfinite(values).all() or (values != values.flat[0]).any():
            return None
        return float(values.flat[0])

    def integer(self, name: str) -> int:
        """The whole number of a parameter that every image has.

        Raises
        ------
        MissingMetadata, CorruptInput
            If it is absent, or not one whole number.
        """
        values = self.numbers(name)
        if values is None:
            raise self.missing(name)
        if values.size != 1 or not math.isfinite(values.flat[0]) or values.flat[0] != int(values.flat[0]):
            raise CorruptInput("a parameter that must be one whole number is not", where=self.where(name))
        return int(values.flat[0])

    def text(self, name: str) -> str | None:
        """The first word or string of a parameter; of a pair of name and shown name, the name."""
        words = self.words(name)
        return (words[0].strip() or None) if words else None

    def words(self, name: str) -> tuple[str, ...]:
        """All words or strings of a parameter; empty when it is absent."""
        entry = self.entry(name)
        return tuple(_word(value) for value in entry.values) if entry is not None else ()

    def structs(self, name: str) -> tuple[tuple[Value, ...], ...]:
        """The structs of a parameter; empty when it is absent.

        Raises
        ------
        CorruptInput
            If an entry is no struct.
        """
        entry = self.entry(name)
        if entry is None:
            return ()
        found = tuple(value for value in entry.values if isinstance(value, tuple))
        if len(found) != len(entry.values):
            raise CorruptInput(
                "a parameter that must hold structs does not", where=self.where(name), needed="(a, b ...)"
            )
        return found

    def numbers_of_structs(self, name: str) -> FloatArray | None:
        """Structs that hold numbers only as (n, fields); None where absent.

        Raises
        ------
        CorruptInput
            If a field is no finite number, or the structs differ in length.
        """
        rows = [[as_number(value) for value in struct] for struct in self.structs(name)]
        if not rows:
            return None
        if len({len(row) for row in rows}) > 1 or any(
            value is None or not math.isfinite(value) for row in rows for value in row
        ):
            raise CorruptInput(
                "a parameter that must hold structs of numbers does not", where=self.where(name)
            )
        return np.array(rows, dtype=np.float64)

    def missing(self, name: str, next_step: str | None = None) -> MissingMetadata:
        """The refusal for an absent parameter."""
        return MissingMetadata(
            "a parameter that the image needs is absent",
            where=self.where(name),
            needed=name,
            next_step=next_step or "export the scan again with its parameter files",
        )

    def _miscounted(self, name: str, found: int, declared: int) -> CorruptInput:
        return CorruptInput(
            "a parameter does not have as many values as it declares",
            where=self.where(name),
            found=f"{found} values",
            needed=f"{declared}",
            next_step="copy the file again",
        )


def _word(value: Value) -> str:
    while isinstance(value, tuple):
        if not value:
            return ""
        value = value[0]
    return str(value) if isinstance(value, Text) else value


def read_parameters(path: Path) -> Parameters:
    """Read a parameter file.

    Raises
    ------
    CorruptInput
        If it is empty, too large, binary, truncated or no JCAMP-DX text.
    """
    try:
        size = path.stat().st_size
        if size > MAXIMUM_BYTES:
            raise CorruptInput(
                "the parameter file is too large for one",
                where=str(path),
                found=f"{size} bytes",
                needed=f"at most {MAXIMUM_BYTES}",
            )
        raw = path.read_bytes()
    except OSError as error:
        raise CorruptInput("the file cannot be read", where=str(path), found=error.strerror) from None
    if not raw.strip():
        raise CorruptInput("empty file", where=str(path))
    if is_lfs_pointer(raw):
        raise refuse_lfs_pointer(path)
    if b"\0" in raw:
        raise CorruptInput("the parameter file is not text", where=str(path), found="bytes of value 0")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return Parameters(path, *split_records(text, str(path)))
