"""Names of label numbers, from a JSON or TSV file beside the label image."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.region_names import clean_name
from imgtheranostics.io.sidecar import MAXIMUM_BYTES, entities, image_stem, read_json

_TABLE_KEYS = ("labels", "regions", "names", "LabelMap", "Labels", "Regions", "Names")
_DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon"}
_LARGEST_LABEL = 2**31 - 1


def read_names(image: Path) -> dict[int, str]:
    """Names of the label numbers of an image; empty where no file beside it tells them.

    ``<image>.json`` holds ``{"1": "tumour"}`` or ``{"tumour": 1}``, by itself or under a key ``labels``;
    ``<image>.tsv``, or the ``*_dseg.tsv`` of BIDS derivatives in the same folder, has the columns
    ``index`` and ``name``. The background 0 is left out.

    Raises
    ------
    CorruptInput
        If a table cannot be read without doubt, or if two tables contradict each other.
    """
    found: dict[int, str] = {}
    origin: Path | None = None
    for path in _tables(image):
        names = _from_json(path) if path.suffix.lower() == ".json" else _from_text(path)
        if not names:
            continue
        if origin is not None and names != found:
            raise CorruptInput(
                "two files beside the label image name its regions differently",
                where=f"{origin} and {path}",
                needed="one table of names",
                next_step="correct or remove one of them",
            )
        found, origin = names, path
    return found


def _tables(image: Path) -> list[Path]:
    stem = image_stem(image)
    exact = [image.parent / f"{stem}{suffix}" for suffix in (".json", ".tsv", ".csv")]
    tables = [path for path in exact if path.is_file()]
    mine, suffix = entities(stem)
    if suffix == "dseg" and not any(path.suffix == ".tsv" for path in tables):
        shared = [path for path in sorted(image.parent.glob("*dseg.tsv")) if _applies(path, mine)]
        tables += sorted(shared, key=lambda path: len(entities(path.stem)[0]))[-1:]
    return tables


def _applies(path: Path, mine: Mapping[str, str]) -> bool:
    theirs, suffix = entities(path.stem)
    return suffix == "dseg" and theirs.items() <= mine.items()


def _from_json(path: Path) -> dict[int, str]:
    content = read_json(path)
    if not isinstance(content, dict):
        return {}
    for key in _TABLE_KEYS:
        if isinstance(content.get(key), dict):
            names = _pairs(content[key])
            if names is None:
                raise CorruptInput(
                    "a table of region names is neither number to name nor name to number",
                    where=f"{path}, {key}",
                    needed='{"1": "tumour"} or {"tumour": 1}',
                )
            return _checked(names, path)
    return _checked(_pairs(content) or [], path)


def _pairs(content: Mapping[str, Any]) -> list[tuple[int, str]] | None:
    """Number and name of each entry, or None for what is no table of names."""
    if content and all(key.strip().isdecimal() and isinstance(value, str) for key, value in content.items()):
        return [(int(key), value) for key, value in content.items()]
    if content and all(type(value) is int for value in content.values()):
        return [(value, key) for key, value in content.items()]
    return None


def _from_text(path: Path) -> dict[int, str]:
    if path.stat().st_size > MAXIMUM_BYTES:
        raise CorruptInput("the table of region names is too large", where=str(path))
    try:
        lines = [line for line in path.read_bytes().decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise CorruptInput("the table of region names is not UTF-8 text", where=str(path)) from error
    if not lines:
        raise CorruptInput("empty file", where=str(path))
    delimiter = _delimiter(lines[0], path)
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise CorruptInput("the table of region names cannot be read", where=str(path)) from error
    header = [cell.strip().lower() for cell in rows[0]]
    if header.count("index") != 1 or header.count("name") != 1:
        raise CorruptInput(
            "the table of region names lacks a column",
            where=str(path),
            found=f"{len(header)} columns separated by {_DELIMITERS[delimiter]}",
            needed="index and name, once each",
        )
    number, name = header.index("index"), header.index("name")
    pairs: list[tuple[int, str]] = []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header) or not row[number].strip().isdecimal():
            raise CorruptInput(
                "a row of the table of region names does not fit its header",
                where=f"{path}, row {line}",
                found=f"{len(row)} cells",
                needed=f"{len(header)} cells, a whole number under index",
            )
        pairs.append((int(row[number]), row[name]))
    return _checked(pairs, path)


def _delimiter(header: str, path: Path) -> str:
    candidates = [delimiter for delimiter in _DELIMITERS if delimiter in header]
    if len(candidates) != 1:
        raise CorruptInput(
            "the delimiter of the table of region names is not clear",
            where=str(path),
            found=" and ".join(_DELIMITERS[one] for one in candidates) or "none in the header line",
            needed="tabs (or only commas, or only semicolons)",
        )
    return candidates[0]


def _checked(pairs: Iterable[tuple[int, str]], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, name in pairs:
        if number in names or not 0 <= number <= _LARGEST_LABEL:
            raise CorruptInput(
                "a label number is named twice or out of range",
                where=str(path),
                found=str(number),
                needed="each number once, 0 or above",
            )
        names[number] = clean_name(name, f"region-{number}")
    names.pop(0, None)
    return names
