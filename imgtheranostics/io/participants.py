"""Body measures from the participants table of a BIDS dataset, where PET-BIDS keeps the weight."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from imgtheranostics.acquisition import Subject
from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue
from imgtheranostics.io.sidecar import MAXIMUM_BYTES, dataset_root, entities, image_stem, read_json

MASS_KG = {"kg": 1.0, "g": 1e-3, "kilograms": 1.0, "grams": 1e-3}
LENGTH_M = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "meters": 1.0, "centimeters": 1e-2}
_TALLEST_M = 3.0
_ABSENT = ("", "n/a")


def participant(image: Path) -> tuple[Subject | None, tuple[Caution, ...]]:
    """The subject of an image by ``participants.tsv`` at the root of its dataset; None where there is none.

    Raises
    ------
    CorruptInput
        If the table is not tab-separated UTF-8 text, or names the participant twice.
    ImplausibleValue
        If a weight or height is not a positive number.
    """
    root = dataset_root(image.parent)
    label = entities(image_stem(image))[0].get("sub")
    table = None if root is None else root / "participants.tsv"
    if table is None or label is None or not table.is_file():
        return None, ()
    rows = [row for row in table_rows(table) if row.get("participant_id", "").removeprefix("sub-") == label]
    if not rows:
        return None, ()
    if len(rows) > 1:
        raise CorruptInput(
            "a participant stands twice", where=f"{table}, participant_id", needed="one row each"
        )
    units = column_units(table.with_suffix(".json"))
    row = {key.lower(): value for key, value in rows[0].items()}
    weight, weight_cautions = body_measure(row, "weight", units, MASS_KG, table)
    height, height_cautions = body_measure(row, "height", units, LENGTH_M, table)
    sex = row.get("sex", "").strip()
    species = row.get("species", "").strip()
    subject = Subject(
        weight_kg=weight,
        height_m=height,
        sex=sex[:1].upper() if sex.lower() not in _ABSENT else None,
        species=species if species.lower() not in _ABSENT else None,
    )
    return subject, (*weight_cautions, *height_cautions)


def table_rows(table: Path) -> list[dict[str, str]]:
    """Rows of a tab-separated table; CorruptInput where it is none."""
    if table.stat().st_size > MAXIMUM_BYTES:
        raise CorruptInput(
            "the table is too large", where=str(table), needed=f"at most {MAXIMUM_BYTES} bytes"
        )
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorruptInput("the table is not UTF-8 text", where=str(table)) from error
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and "\t" not in lines[0] and any(mark in lines[0] for mark in ",;"):
        raise CorruptInput(
            "the table is not separated by tabs",
            where=str(table),
            needed="tab-separated values",
            next_step="write it with tabs; commas and semicolons may be part of a value",
        )
    rows = [list(row) for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    if any(len(row) != len(rows[0]) for row in rows):
        raise CorruptInput("a row has more or fewer cells than the header", where=str(table))
    if rows and len(set(rows[0])) < len(rows[0]):
        raise CorruptInput("a column stands twice", where=str(table))
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def column_units(path: Path) -> dict[str, Any]:
    """Column name -> unit, of the JSON that describes the table."""
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise CorruptInput("the description of the table is no JSON object", where=str(path))
    return {
        str(key).lower(): str(value["Units"]).strip().lower()
        for key, value in content.items()
        if isinstance(value, dict) and value.get("Units")
    }


def body_measure(
    row: dict[str, str], name: str, units: dict[str, Any], factors: dict[str, float], table: Path
) -> tuple[float | None, tuple[Caution, ...]]:
    """Weight or height of a row in SI units; None where it is absent, a caution where its unit is assumed."""
    text = row.get(name, "").strip()
    if text.lower() in _ABSENT:
        return None, ()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise ImplausibleValue(f"the {name} is not a positive number", where=f"{table}, {name}")
    unit = units.get(name)
    if unit is not None:
        if unit not in factors:
            raise ImplausibleValue(
                f"the unit of the {name} is not known", where=f"{table}, {name}", needed=" or ".join(factors)
            )
        return value * factors[unit], ()
    if name == "height" and value > _TALLEST_M:
        return value / 100, (
            Caution("height-in-cm", "a height above 3 is read as cm", "participants.tsv, height"),
        )
    standard = next(iter(factors))
    caution = Caution(
        "unit-assumed", f"the {name} has no unit: {standard} assumed", f"participants.tsv, {name}"
    )
    return value, (caution,)
