"""JSON sidecars: read safely, with BIDS inheritance, as typed values that name file and key if wrong."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.whole_files import read_whole

MAXIMUM_BYTES = 32 * 2**20
MAXIMUM_DEPTH = 64
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".hdr.gz", ".img.gz", ".hdr", ".img")
DATASET_ROOT = "dataset_description.json"

_MAXIMUM_LEVELS = 8
_ENTITY = re.compile(r"^([a-zA-Z]+)-([a-zA-Z0-9+.]+)$")
_ABSENT = {"", "n/a", "unknown"}
_NO_NUMBER = {"na", "none", "null", "nan"}


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    A byte-order mark is dropped, NaN becomes None.

    Raises
    ------
    CorruptInput
        If the file is empty, too large, not UTF-8, not JSON, nested too deeply, or repeats a key.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) < len(items):
            names = [name for name, _ in items]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise CorruptInput(
                "a key stands twice", where=f"{path}, {', '.join(twice)}", needed="each key once"
            )
        return result

    raw = read_whole(path, "a JSON sidecar", most_bytes=MAXIMUM_BYTES, too_large=CorruptInput)
    try:
        text = raw.decode("utf-8-sig")
        content = json.loads(text, object_pairs_hook=pairs, parse_constant=_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else _position(error)
        raise CorruptInput("this is not a JSON file", where=str(path), found=reason) from error
    if _depth(content) > MAXIMUM_DEPTH:
        raise CorruptInput(
            "the JSON file is nested too deeply", where=str(path), needed=f"at most {MAXIMUM_DEPTH}"
        )
    return content


def _constant(text: str) -> float | None:
    return None if text == "NaN" else float(text.replace("Infinity", "inf"))


def _position(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number that cannot be read"


def _depth(content: Any) -> int:
    level, items = 0, [content]
    while items:
        level += 1
        if level > MAXIMUM_DEPTH:
            break
        inner: list[Any] = []
        for item in items:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(entry for entry in item if isinstance(entry, (dict, list)))
        items = inner
    return level


@dataclass(frozen=True, eq=False)
class Sidecar:
    """The metadata of one image, merged from its sidecars.

    Attributes
    ----------
    values : mapping
        Keys and values; those nearest to the image win.
    origin : mapping
        The file that each key came from, for error messages.
    image : Path
        The image, named where there is no sidecar.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Path] = field(default_factory=dict)
    image: Path = Path()

    @property
    def files(self) -> tuple[Path, ...]:
        """The sidecars that contributed."""
        return tuple(dict.fromkeys(self.origin.values()))

    def __contains__(self, key: object) -> bool:
        return key in self.values and self.values[str(key)] is not None

    def first(self, *keys: str) -> str | None:
        """The first of these keys that has a value."""
        return next((key for key in keys if key in self and not _is_absent(self.values[key])), None)

    def where(self, key: str) -> str:
        """File and key, for a message."""
        return f"{self.origin.get(key, self.image)}, {key}"

    def text(self, *keys: str) -> str | None:
        """The value of the first of these keys that is there, as text; a list of one counts as its entry."""
        key = self.first(*keys)
        if key is None:
            return None
        value = self.values[key]
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self._wrong(key, "text")
        return str(value).strip()

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, a single text being a list of one."""
        if self.first(key) is None:
            return ()
        value = self.values[key]
        return tuple(str(entry) for entry in (value if isinstance(value, list) else [value]))

    def flag(self, key: str) -> bool | None:
        """A truth value, also written as text or 0 and 1."""
        if self.first(key) is None:
            return None
        value = self.values[key]
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word in ("true", "yes", "1", "1.0"):
            return True
        if word in ("false", "no", "0", "0.0"):
            return False
        raise self._wrong(key, "true or false")

    def number(self, *keys: str) -> float | None:
        """A finite number, also written as text; a list of one counts as its entry."""
        key = self.first(*keys)
        if key is None:
            return None
        value = self.values[key]
        if isinstance(value, list):
            if len(value) != 1:
                raise self._wrong(key, "one number")
            value = value[0]
        return None if _is_no_number(value) else self._number(key, value)

    def positive(self, *keys: str) -> float | None:
        """A number above zero."""
        value = self.number(*keys)
        if value is not None and value <= 0:
            raise self._wrong(self.first(*keys) or keys[0], "a number above zero")
        return value

    def numbers(self, *keys: str) -> list[float | None] | None:
        """A list of finite numbers, None where an entry is null; a single number is a list of one."""
        key = self.first(*keys)
        if key is None:
            return None
        value = self.values[key]
        if isinstance(value, str) and len(value.split()) > 1:
            value = value.strip("[] ").replace(",", " ").split()
        entries = value if isinstance(value, list) else [value]
        return [
            None if _is_absent(entry) or _is_no_number(entry) else self._number(key, entry)
            for entry in entries
        ]

    def all_numbers(self, *keys: str) -> list[float] | None:
        """A list of finite numbers without gaps."""
        values = self.numbers(*keys)
        if values is None:
            return None
        whole = [value for value in values if value is not None]
        if len(whole) < len(values):
            raise self._wrong(self.first(*keys) or keys[0], "a number in every place")
        return whole

    def _number(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise self._wrong(key, "a number")
        try:
            number = float(value)
        except (ValueError, OverflowError) as error:
            raise self._wrong(key, "a number") from error
        if not math.isfinite(number):
            raise self._wrong(key, "a finite number")
        return number

    def _wrong(self, key: str, needed: str) -> CorruptInput:
        value = self.values[key]
        kind = f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
        shown = f"{value}" if isinstance(value, (int, float)) else kind
        return CorruptInput(
            f"the sidecar's {key} is not {needed}", where=self.where(key), found=shown, needed=needed
        )


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _ABSENT) or value == []


def _is_no_number(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in _NO_NUMBER


def image_stem(path: Path) -> str:
    """The file name without its image suffix."""
    lowered = path.name.lower()
    for suffix in IMAGE_SUFFIXES:
        if lowered.endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def entities(stem: str) -> tuple[dict[str, str], str]:
    """BIDS entities of a file name, and its suffix (the last part, which has no value)."""
    found: dict[str, str] = {}
    parts = stem.split("_")
    for part in parts:
        match = _ENTITY.match(part)
        if match:
            found.setdefault(match.group(1), match.group(2))
    suffix = "" if _ENTITY.match(parts[-1]) else parts[-1]
    return found, suffix


def find_sidecars(image: Path) -> list[Path]:
    """The sidecars that apply to an image, the farthest and most general first.

    One of the same name always applies. By BIDS, those whose suffix is the same and whose entities are a
    subset apply too: in the folder of the image and, inside a dataset, in the folders above up to its root.
    """
    stem = image_stem(image)
    mine, suffix = entities(stem)
    found: list[Path] = []
    if mine and suffix:
        for folder in reversed(_levels(image.parent)):
            matching = [path for path in sorted(folder.glob("*.json")) if _applies(path, mine, suffix)]
            found += sorted(matching, key=lambda path: len(entities(path.stem)[0]))
    exact = image.parent / f"{stem}.json"
    found = [path for path in found if path != exact]
    return [*found, exact] if exact.is_file() else found


def dataset_root(folder: Path) -> Path | None:
    """The folder above (or this one) that holds ``dataset_description.json``; None outside a dataset."""
    levels = _levels(folder)
    return levels[-1] if (levels[-1] / DATASET_ROOT).is_file() else None


def _levels(folder: Path) -> list[Path]:
    """The folder and those above it up to the dataset's root; only the folder where there is no root."""
    levels = [folder]
    current = folder.absolute()
    for _ in range(_MAXIMUM_LEVELS):
        if (current / DATASET_ROOT).is_file():
            return levels
        if current.parent == current:
            break
        current = current.parent
        levels.append(current)
    return [folder]


def _applies(path: Path, mine: Mapping[str, str], suffix: str) -> bool:
    theirs, other = entities(path.stem)
    if not theirs and path.stem != suffix:
        return False
    return other == suffix and theirs.items() <= mine.items()


def read_sidecar(image: Path, sidecars: Iterable[Path] | None = None) -> Sidecar:
    """The merged metadata of an image.

    Raises
    ------
    CorruptInput
        If a sidecar is not a JSON object, or two that are equally near contradict each other.
    """
    values: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    for path in find_sidecars(image) if sidecars is None else sidecars:
        content = read_json(path)
        if not isinstance(content, dict):
            raise CorruptInput(
                "a sidecar holds one JSON object", where=str(path), found=type(content).__name__
            )
        for key, value in content.items():
            earlier = origin.get(key)
            if earlier is not None and values[key] != value and _equally_near(earlier, path):
                raise CorruptInput(
                    "two sidecars that apply equally contradict each other",
                    where=f"{earlier} and {path}, {key}",
                    needed="one value",
                    next_step="correct one of them, or give the image a sidecar of its own name",
                )
            values[key], origin[key] = value, path
    return Sidecar(values, origin, image)


def _equally_near(earlier: Path, later: Path) -> bool:
    if earlier.parent != later.parent:
        return False
    return not entities(earlier.stem)[0].items() <= entities(later.stem)[0].items()
