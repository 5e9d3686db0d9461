"""Numbers of a ``.msot`` description, each in the unit that its own attributes state."""

from __future__ import annotations

import math
from pathlib import Path

from imgtheranostics.errors import CorruptInput, MissingMetadata, UnitMismatch
from imgtheranostics.io.xml_tree import Element

_MODIFIERS = {
    "none": 1.0,
    "": 1.0,
    "n": 1e-9,
    "u": 1e-6,
    "µ": 1e-6,
    "μ": 1e-6,
    "m": 1e-3,
    "c": 1e-2,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
}


def where(path: Path, *names: str) -> str:
    """A place in the description, for messages."""
    return f"{path}, {'/'.join(names)}"


def number(element: Element, path: Path) -> float:
    """The element's text as a finite number.

    Raises
    ------
    CorruptInput
        If it is something else; the text is not quoted, as it may be anything.
    """
    try:
        value = float(element.text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in element.text:
        raise CorruptInput(f"{element.name} is no number", where=where(path, element.name))
    return value


def whole_number(element: Element, path: Path) -> int:
    """The element's text as a whole number that is not negative.

    Raises
    ------
    CorruptInput
        If it is something else.
    """
    value = number(element, path)
    if value != int(value) or value < 0:
        raise CorruptInput(f"{element.name} is no whole number", where=where(path, element.name))
    return int(value)


def factor(element: Element, path: Path, unit: str) -> float:
    """What a number is to be multiplied with to be in `unit`, which is an SI unit without a prefix.

    Raises
    ------
    MissingMetadata
        If the element states no unit.
    UnitMismatch
        If it states another one or an unknown prefix.
    """
    stated = element.attributes.get("unit")
    if stated is None:
        raise MissingMetadata(
            f"{element.name} states no unit", where=where(path, element.name), needed=f"unit={unit!r}"
        )
    modifier = element.attributes.get("unit-modifier", "none").strip()
    if stated.strip() != unit or modifier not in _MODIFIERS:
        raise UnitMismatch(
            f"the unit of {element.name} is not known",
            where=where(path, element.name),
            needed=f"{unit} with a prefix among {', '.join(repr(one) for one in _MODIFIERS if one)}",
        )
    return _MODIFIERS[modifier]


def measured(element: Element, path: Path, unit: str) -> float:
    """The number of an element in an SI unit without a prefix."""
    return number(element, path) * factor(element, path, unit)


def required(root: Element, path: Path, *names: str) -> Element:
    """The first element at a path of names.

    Raises
    ------
    MissingMetadata
        If there is none.
    """
    found = root.first(*names)
    if found is None:
        raise MissingMetadata("an element of the description is absent", where=where(path, *names))
    return found


def optional(element: Element | None, path: Path, unit: str) -> float | None:
    """As `measured`, for what a scan can do without: None where it is absent or in no unit that is known."""
    if element is None or not element.text:
        return None
    try:
        return measured(element, path, unit)
    except (MissingMetadata, UnitMismatch):
        return None
