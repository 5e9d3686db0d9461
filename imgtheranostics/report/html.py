"""The report: one offline HTML file, made from what stands in the output folder and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgtheranostics._version import VERSION
from imgtheranostics.errors import CorruptInput, NothingUsable
from imgtheranostics.report.decisions import decision_list
from imgtheranostics.report.plain import as_json
from imgtheranostics.report.provenance import SCHEMA
from imgtheranostics.report.registry import Rendered
from imgtheranostics.report.tables import Row
from imgtheranostics.report.wording import (
    duration,
    flag_words,
    number,
    quantity_words,
    readers_unit,
    rounded,
    size,
    with_unit,
)
from imgtheranostics.units import QUANTITIES

TEMPLATE = "report.html.j2"
STYLESHEET = "report.css"
FIGURE_LIST = "figures/figures.json"
_LARGEST_TABLE = 600
_LARGEST_LIST = 40
_LARGEST_HEADLINE = 24
_MOST_OPEN, _OPEN_OF_MANY = 8, 6


@dataclass(frozen=True, slots=True)
class Headline:
    """The table of one quantity: values by region, or the peaks of its curves."""

    heading: str
    unit: str
    unit_code: str
    rows: tuple[Mapping[str, Any], ...]
    n_rows: int
    axis: str = ""
    extreme: str = "peak"
    note: str = ""
    without: str = ""


def render(quantities: Mapping[str, Any], provenance: Mapping[str, Any], figures: Sequence[Rendered]) -> str:
    """The whole report as HTML text.

    Parameters
    ----------
    quantities, provenance : mapping
        Contents of `quantities.json` and `provenance.json`.
    figures : sequence of Rendered

    Returns
    -------
    str
        Without script, without any reference to another file or host.
    """
    rows = list(quantities["rows"])
    headlines = headline_tables(rows, list(quantities.get("details") or []))
    return page(
        TEMPLATE,
        title=_title(rows, provenance),
        command=provenance["command"],
        subjects=_subjects(rows),
        lede=_lede(rows),
        headlines=headlines,
        open_tables=len(headlines) if len(headlines) <= _MOST_OPEN else _OPEN_OF_MANY,
        warnings=provenance["warnings"],
        figures=[embedded(figure) for figure in figures],
        decisions=decision_list(provenance["decisions"]),
        columns=quantities["columns"],
        rows=[_full_row(row) for row in rows[:_LARGEST_TABLE]],
        n_rows=len(rows),
        provenance=_provenance_view(provenance),
        version=provenance["version"],
    )


def page(template: str, **content: Any) -> str:
    """A page of this package's look: its template filled, its stylesheet inside, nothing from elsewhere.

    Parameters
    ----------
    template : str
        Name of a template that extends ``page.html.j2``.
    **content
        What the template shows; every text is escaped.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("imgtheranostics.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    source = environment.loader.get_source(environment, STYLESHEET)[0]  # type: ignore[union-attr]
    style = source.strip()
    return environment.get_template(template).render(
        style=Markup(style),  # noqa: S704 - our own stylesheet, without input
        style_hash=_csp_hash(style),
        rendered_by=VERSION,
        **content,
    )


def rebuild(folder: Path | str) -> Path:
    """Render `report.html` again from an output folder, with its figures or newly drawn ones.

    A folder that was written without a report has no figures; they are then drawn from its maps and
    table, without anatomy and outlines, which the folder does not hold.

    Raises
    ------
    NothingUsable
        If the folder has no `quantities.json` or `provenance.json`.
    CorruptInput
        If they are not what this package writes.
    """
    from jinja2 import UndefinedError

    from imgtheranostics.io.atomic import write_text

    place = Path(folder)
    quantities = _read_json(place / "quantities.json", "rows")
    provenance = _read_json(place / "provenance.json", "schema")
    if provenance["schema"] != SCHEMA:
        raise CorruptInput(
            "the provenance record is of another version",
            where=str(place / "provenance.json"),
            found=str(provenance["schema"])[:40],
            needed=SCHEMA,
        )
    figures = _stored_figures(place)
    try:
        text = render(quantities, provenance, _drawn_again(place) if figures is None else figures)
    except (KeyError, TypeError, AttributeError, ValueError, OSError, UndefinedError) as error:
        raise CorruptInput(
            "the output folder does not hold what this package writes",
            where=str(place),
            found=f"{type(error).__name__} while rendering",
            next_step="run the command again",
        ) from error
    write_text(place / "report.html", text)
    return place / "report.html"


def figure_list(figures: Sequence[Rendered]) -> str:
    """The content of `figures/figures.json`."""
    return as_json([{"file": f.file, "title": f.title, "caption": f.caption, "alt": f.alt} for f in figures])


def headline_tables(rows: Sequence[Row], details: Sequence[Mapping[str, Any]]) -> list[Headline]:
    """One table per quantity: regions from high to low, or the peak of each curve."""
    tables = []
    several_sessions = len({row["session"] for row in rows}) > 1
    quantities = dict.fromkeys(row["quantity"] for row in rows)
    for quantity in quantities:
        chosen = _whole_first([row for row in rows if row["quantity"] == quantity])
        curves = any(row["axis_value"] is not None for row in chosen)
        each = curves and _RETAINED in quantities
        shown = _peaks(chosen) if curves and not each else chosen
        several = several_sessions and not curves
        ordered = sorted(shown, key=lambda row: -(row["mean"] if row["mean"] is not None else float("-inf")))
        if each:
            ordered = _by_region(ordered)
        ordered, without = _with_value(ordered)
        unit = chosen[0]["unit"]
        ordered, words = _for_readers(ordered, quantity)
        tables.append(
            Headline(
                heading=quantity_words(quantity),
                unit=words,
                unit_code=unit,
                rows=tuple(_headline_row(row, several) for row in ordered[:_LARGEST_HEADLINE]),
                n_rows=len(ordered),
                axis=next((row["axis"] for row in chosen if row["axis"]), "") if curves else "",
                extreme="each follow-up" if each else _extreme(quantity),
                note=_calibration_note(rows, details, quantity),
                without=without,
            )
        )
    return tables


def _for_readers(rows: list[Row], quantity: str) -> tuple[list[Row], str]:
    """Rows of a quantity with means and errors in the unit of readers, and that."""
    means = [abs(row["mean"]) for row in rows if row["mean"] is not None]
    step, words = readers_unit(quantity, rows[0]["unit"] if rows else "", max(means, default=math.nan))
    if step == 1.0:
        return rows, words
    names = ("mean", "standard_error")
    scaled = [row | {name: row[name] / step for name in names if row[name] is not None} for row in rows]
    return scaled, words


def _whole_first(rows: list[Row]) -> list[Row]:
    """Those that hold for all of a series, where there are such: the highest of many frames is noise, too."""
    whole = [row for row in rows if row["axis_value"] is None]
    return whole or rows


def _with_value(rows: list[Row]) -> tuple[list[Row], str]:
    """Rows, and in words those without a value where they are many and others have one."""
    kept = [row for row in rows if row["mean"] is not None]
    empty = [row for row in rows if row["mean"] is None]
    if not kept or len(empty) <= _FEW_EMPTY:
        return rows, ""
    reasons = dict.fromkeys(
        flag_words(part.partition(":")[0]) for row in empty for part in row["flags"].split(";") if part
    )
    names = ", ".join(dict.fromkeys(row["region"] for row in empty))
    why = f" ({', '.join(reasons)})" if reasons else ""
    return kept, f"No value in {names}{why}."


_FEW_EMPTY = 2

_RETAINED = "retained_fraction"
"""Quantity of follow-ups, of which each matters and not the highest."""


def _by_region(rows: Sequence[Row]) -> list[Row]:
    """Follow-ups in order, of the region with the highest value first."""
    order = list(dict.fromkeys((row["subject"], row["region"]) for row in rows))
    place = {key: n for n, key in enumerate(order)}
    return sorted(rows, key=lambda row: (place[row["subject"], row["region"]], row["axis_value"] or 0.0))


_TROUGHS = frozenset({"z_spectrum"})
"""Quantities whose curves tell by their lowest point."""


def _extreme(quantity: str) -> str:
    """What is shown of a curve."""
    return "lowest" if quantity in _TROUGHS else "peak"


def _peaks(rows: Sequence[Row]) -> list[Row]:
    """The row with the highest mean (lowest of `_TROUGHS`) of each region of a subject, over all frames."""
    sign = -1.0 if rows and rows[0]["quantity"] in _TROUGHS else 1.0
    best: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row["subject"], row["region"])
        known = best.get(key)
        if known is None or (
            row["mean"] is not None and (known["mean"] is None or sign * row["mean"] > sign * known["mean"])
        ):
            best[key] = row
    return list(best.values())


def _headline_row(row: Row, several_sessions: bool) -> dict[str, Any]:
    shown = rounded(row["mean"], row["standard_error"])
    mean, error = row["mean"], row["standard_error"]
    relative = abs(error / mean) * 100.0 if mean and error is not None else None
    return {
        "region": row["region"],
        "session": row["session"] if several_sessions else "",
        "value": shown.value + (shown.power if shown.power else ""),
        "error": shown.error + (shown.power if shown.power and shown.error != "n/a" else ""),
        "relative": f"{number(relative, 2, zeros=True)} %" if relative is not None else "n/a",
        "at": _axis_words(row),
        "volume": number(row["volume_ml"], 3, zeros=True),
        "n": _count(row["n_valid"]),
        "left_out": _left_out(row),
    }


def _left_out(row: Row) -> str:
    """Voxels of the region that have no value, with their reasons."""
    if row["n_voxels"] is None or row["n_valid"] is None or row["n_voxels"] == row["n_valid"]:
        return ""
    missing = row["n_voxels"] - row["n_valid"]
    reasons = _reasons(row["flags"], missing)
    return f"{_count(missing)} of {_count(row['n_voxels'])} voxels have no value{reasons}"


def _reasons(flags: str, most: float = math.inf) -> str:
    """Flags of at most so many voxels: one of more than are missing is of some that have a value."""
    parts = [part.partition(":") for part in flags.split(";") if part]
    kept = [(name, count) for name, _, count in parts if not count.isdecimal() or int(count) <= most]
    words = ", ".join(f"{flag_words(name)} {count}".strip() for name, count in kept)
    return f" ({words})" if words else ""


def _axis_words(row: Row) -> str:
    if row["axis_value"] is None:
        return ""
    if row["axis"] == "time":
        return duration(row["axis_value"])
    return number(row["axis_value"])


def _calibration_note(rows: Sequence[Row], details: Sequence[Mapping[str, Any]], quantity: str) -> str:
    """The share of the standard error that all regions have in common, where the details state it."""
    if len(details) != len(rows):
        return ""
    shares = [
        detail["standard_error_calibration"] / abs(row["mean"])
        for row, detail in zip(rows, details, strict=True)
        if row["quantity"] == quantity and row["mean"] and detail.get("standard_error_calibration")
    ]
    if not shares or max(shares) - min(shares) > 1e-6 * max(shares):
        return ""
    return (
        f"The standard errors contain a calibration part of {number(100 * shares[0], 2)} % that all regions "
        "share: it moves them together and does not shrink with more voxels."
    )


def _lede(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The first quantity's regions in words, highest first, three at most; of follow-ups what is retained."""
    if not rows:
        return []
    first = _leading(rows)
    chosen = _whole_first([row for row in rows if row["quantity"] == first and row["mean"] is not None])
    if first == _RETAINED:
        ordered = _by_region(chosen)[:3]
    else:
        ordered = sorted(_peaks(chosen), key=lambda row: -row["mean"])[:3]
    ordered, words = _for_readers(ordered, first)
    return [
        {
            "region": row["region"],
            "value": rounded(row["mean"], row["standard_error"]).value,
            "error": rounded(row["mean"], row["standard_error"]).error,
            "power": rounded(row["mean"], row["standard_error"]).power,
            "unit": words,
            "at": _axis_words(row),
            "extreme": "retained" if first == _RETAINED else _extreme(first),
        }
        for row in ordered
    ]


def _leading(rows: Sequence[Row]) -> str:
    """The quantity that stands on top: what is retained where there are follow-ups, else the first."""
    along = {row["quantity"] for row in rows if row["axis_value"] is not None}
    return _RETAINED if _RETAINED in along else str(rows[0]["quantity"])


def _full_row(row: Row) -> dict[str, Any]:
    shown = rounded(row["mean"], row["standard_error"])
    fixed: dict[str, Any] = {
        name: number(row[name], zeros=True)
        for name in ("sd", "median", "p05", "p95", "min", "max")
        if name in row
    }
    return {
        **fixed,
        "region": row["region"],
        "session": row["session"],
        "quantity": with_unit(row["quantity"], row["unit"]),
        "at": f"{row['axis'].replace('_', ' ')} {_axis_words(row)}" if row["axis_value"] is not None else "",
        "mean": shown.value + shown.power,
        "standard_error": shown.error + (shown.power if shown.error != "n/a" else ""),
        "n": f"{_count(row['n_valid'])} / {_count(row['n_voxels'])}",
        "volume": number(row["volume_ml"], 3, zeros=True),
        "flags": _reasons(row["flags"]).strip(" ()"),
    }


def _count(value: int | None) -> str:
    return "n/a" if value is None else f"{value:,}".replace(",", "\u202f")


def _title(rows: Sequence[Row], provenance: Mapping[str, Any]) -> str:
    names = dict.fromkeys(row["quantity"] for row in rows)
    known = [name for name in names if name in QUANTITIES]
    if not known:
        return str(provenance["command"])
    leading = _leading(rows)
    words = QUANTITIES[leading if leading in known else known[0]].description
    return words[:1].upper() + words[1:]


def _subjects(rows: Sequence[Row]) -> list[str]:
    """Subjects, each with its session or the number of its sessions."""
    sessions: dict[str, dict[str, None]] = {}
    for row in rows:
        sessions.setdefault(row["subject"], {})[row["session"]] = None
    shown = []
    for subject, found in sessions.items():
        session = next(iter(found)) if len(found) == 1 else f"{len(found)} sessions"
        shown.append(" · ".join(part for part in (subject, session) if part))
    return [name for name in shown if name][:_LARGEST_LIST]


def _provenance_view(record: Mapping[str, Any]) -> dict[str, Any]:
    inputs = record["inputs"]
    return {
        "n_inputs": len(inputs),
        "n_bytes": size(sum(item["bytes"] for item in inputs)),
        "inputs_sha256": record["inputs_sha256"],
        "inputs": inputs[:_LARGEST_LIST],
        "versions": record["versions"],
        "parameters": {key: _parameter(value) for key, value in record["parameters"].items()},
        "seed": record["seed"],
        "history": [
            (name, [(step["name"].replace("_", " "), _parameters(step["parameters"])) for step in steps])
            for name, steps in record["history"].items()
        ],
        "outputs": record["outputs"],
        "identifiers_kept": record["identifiers_kept"],
    }


def _parameter(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parameters(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {_parameter(value)}" for key, value in parameters.items())


def embedded(figure: Rendered) -> dict[str, str]:
    """A figure as the templates show it, its picture inside the page."""
    content = base64.b64encode(figure.svg).decode("ascii")
    return {
        "title": figure.title,
        "caption": figure.caption,
        "alt": figure.alt,
        "source": f"data:image/svg+xml;base64,{content}",
    }


def _csp_hash(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")


def _read_json(path: Path, key: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NothingUsable(
            "this is not an output folder: a file is missing",
            where=str(path),
            next_step="give a folder that a command of this package has written",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptInput("the file cannot be read as JSON", where=str(path)) from error
    if not isinstance(content, dict) or key not in content:
        raise CorruptInput("the file is not what this package writes", where=str(path), needed=f"key {key!r}")
    return content


def _stored_figures(folder: Path) -> list[Rendered] | None:
    """The figures that were written with the result; None where there are none."""
    listing = folder / FIGURE_LIST
    if not listing.is_file():
        return None
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
        return [
            Rendered(
                str(entry["file"]),
                str(entry["title"]),
                str(entry["caption"]),
                str(entry["alt"]),
                (listing.parent / Path(str(entry["file"])).name).read_bytes(),
            )
            for entry in entries
        ]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptInput("the list of figures cannot be read", where=str(listing)) from error


def _drawn_again(folder: Path) -> list[Rendered]:
    from imgtheranostics.report.output import read_estimates
    from imgtheranostics.report.registry import render_figures
    from imgtheranostics.report.run import Run
    from imgtheranostics.report.tables import read_tsv

    run = Run("report", read_estimates(folder), read_tsv(folder / "quantities.tsv"))
    return render_figures(run)
