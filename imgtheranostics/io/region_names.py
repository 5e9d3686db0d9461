"""Names of regions: cleaned for tables and terminals, and each used once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from imgtheranostics.errors import Caution

MAXIMUM_LENGTH = 64
"""Longest name that is kept, as many characters as DICOM allows in a label."""


def clean_name(text: object, fallback: str) -> str:
    """A name on one line without control characters; `fallback` when nothing is left."""
    printable = "".join(char if char.isprintable() else " " for char in str(text or ""))
    return " ".join(printable.split())[:MAXIMUM_LENGTH].strip() or fallback


def unique_names(names: Iterable[str], *, where: str = "") -> tuple[list[str], tuple[Caution, ...]]:
    """The names in order, a repeated one with a number behind it, and a caution for each that changed."""
    given = list(names)
    taken: set[str] = set()
    unique: list[str] = []
    cautions: list[Caution] = []
    for name in given:
        free, count = name, 1
        while free in taken or (count > 1 and free in given):
            count += 1
            free = f"{name}-{count}"
        if free != name:
            cautions.append(
                Caution("region-renamed", f"a second region {name!r} is listed as {free!r}", where)
            )
        taken.add(free)
        unique.append(free)
    return unique, tuple(cautions)


def name_of_file(path: Path) -> str:
    """A region name from the name of a mask file, without suffixes and without BIDS subject and session.

    A BIDS ``label-`` entity names the region by itself.
    """
    stem = re.sub(r"(\.nii)?(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    entities = stem.split("_")
    labels = [part.removeprefix("label-") for part in entities if re.fullmatch(r"label-[A-Za-z0-9]+", part)]
    if len(labels) == 1:
        return labels[0]
    kept = [part for part in entities if not re.fullmatch(r"(sub|ses)-[A-Za-z0-9]+", part)]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", "_".join(kept)).strip("_")[:MAXIMUM_LENGTH] or "region-1"
