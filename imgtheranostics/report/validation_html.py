"""The report of a validation: verdict, every number beside its truth, figures, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgtheranostics.report.comparison import (
    Comparison,
    PhantomLabel,
    Row,
    is_placeholder,
    relative_percent,
)
from imgtheranostics.report.figures.agreement import levels as agreement_by_level
from imgtheranostics.report.html import embedded, page
from imgtheranostics.report.registry import Rendered
from imgtheranostics.report.wording import number, quantity_words, unit_words

TEMPLATE = "validation.html.j2"
FAILED, REFUSED = "fail", "refused-as-expected"
ABSENT, UNMEASURED = "not implemented", "not measured"
_SHORT_TABLE = 14
_LONGEST_LIST = 6
_LEVEL_WORDS = {
    0: "noise-free",
    1: "with noise",
    2: "with the scanner's resolution",
    3: "with motion and segmentation error",
}
_METHOD_WORDS = {
    "mean": "",
    "refusal": "must be refused",
    "partial_volume_corrected": "partial-volume corrected",
    "formats": "NIfTI against DICOM",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one phantom that share level, quantity, method and claim; `heading` says them once."""

    heading: str
    rows: tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one phantom, ready to be shown."""

    label: PhantomLabel
    blocks: tuple[Block, ...]
    summary: str
    failed: bool
    is_open: bool


def render_comparison(
    comparison: Comparison, provenance: Mapping[str, Any], figures: Sequence[Rendered]
) -> str:
    """The whole report as HTML text, without script and without any reference to another file or host.

    Parameters
    ----------
    comparison : Comparison
    provenance : mapping
        Content of `provenance.json`.
    figures : sequence of Rendered
    """
    shown = [(figure.file.partition("_")[0], embedded(figure)) for figure in figures]
    failures = [row for row in comparison.rows if row["verdict"] == FAILED]
    return page(
        TEMPLATE,
        title=_title(comparison),
        command=provenance["command"],
        version=provenance["version"],
        subject=_subject(comparison),
        passed=not failures,
        counts=_counts(comparison),
        failures=[_failure(row) for row in failures],
        agreement=_agreement(comparison),
        several=comparison.seeds > 1,
        groups=[
            _group(comparison, label) for label in comparison.phantoms if label.slug in _made(comparison)
        ],
        figures=[item for name, item in shown if name != "triptych"],
        pictures=[_titled(item, comparison) for name, item in shown if name == "triptych"],
        undrawn=_undrawn(comparison),
        placeholders=_placeholders(comparison),
        absent=_absent(comparison, ABSENT),
        unmeasured=_absent(comparison, UNMEASURED),
        unused=list(comparison.unused),
        source=comparison.source,
        levels=[(level, _LEVEL_WORDS.get(level, "")) for level in comparison.levels],
        provenance=provenance,
    )


def _title(comparison: Comparison) -> str:
    counts = comparison.counts
    if counts.get(FAILED):
        total = sum(counts.values())
        return f"Outside tolerance: {counts[FAILED]} of {total} numbers"
    return "Within tolerance" if len(comparison.rows) > counts.get(ABSENT, 0) else "Nothing was measured"


def _subject(comparison: Comparison) -> str:
    n = len(comparison.phantoms)
    levels = ", ".join(str(level) for level in comparison.levels)
    parts = [
        f"{n} phantom{'' if n == 1 else 's'}",
        f"level{'' if len(comparison.levels) == 1 else 's'} {levels}",
    ]
    if comparison.source:
        parts.append(f"measured by another tool: {comparison.source}")
    else:
        parts.append(f"{comparison.seeds} seed{'' if comparison.seeds == 1 else 's'}")
    return " · ".join(parts)


def _counts(comparison: Comparison) -> list[tuple[str, int, str]]:
    words = {
        "pass": "within tolerance",
        REFUSED: "refused as expected",
        FAILED: "outside tolerance",
        ABSENT: "not implemented",
        UNMEASURED: "not measured",
    }
    found = comparison.counts
    return [
        (words.get(verdict, verdict), found[verdict], verdict.replace(" ", "-"))
        for verdict in words
        if found.get(verdict)
    ]


def _agreement(comparison: Comparison) -> list[dict[str, str]]:
    return [
        {
            "level": str(level),
            "words": _LEVEL_WORDS.get(level, ""),
            "n": str(found.n),
            "bias": _signed(found.bias),
            "low": _signed(found.low),
            "high": _signed(found.high),
        }
        for level, found in agreement_by_level(comparison).items()
    ]


def _group(comparison: Comparison, label: PhantomLabel) -> Group:
    rows = [row for row in comparison.rows if row["slug"] == label.slug]
    failed = sum(row["verdict"] == FAILED for row in rows)
    inside = sum(row["verdict"] in ("pass", REFUSED) for row in rows)
    absent = sum(row["verdict"] == ABSENT for row in rows)
    unmeasured = sum(row["verdict"] == UNMEASURED for row in rows)
    parts = [f"{inside} of {len(rows)} as expected"]
    parts += [f"{failed} outside tolerance"] if failed else []
    parts += [f"{absent} not implemented"] if absent else []
    parts += [f"{unmeasured} not measured"] if unmeasured else []
    return Group(
        label,
        tuple(_blocks(rows, label)),
        ", ".join(parts),
        bool(failed),
        bool(failed) or len(rows) <= _SHORT_TABLE,
    )


def _blocks(rows: Sequence[Row], label: PhantomLabel) -> Iterator[Block]:
    by_key: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        by_key.setdefault((row["level"], what(row), row["unit"], row["claim"]), []).append(row)
    for (level, words, _, claim), chosen in by_key.items():
        unit = _unit(chosen[0])
        heading = f"Level {level}"
        if words:
            heading += f": {words}{f' [{unit}]' if unit else ''}"
        if claim and claim != label.claim:
            heading += f", claim {claim}"
        yield Block(heading, tuple(_shown(row) for row in chosen))


def _unit(row: Row) -> str:
    return unit_words(row["unit"], row["quantity"]) if row["unit"] != "1" else ""


def what(row: Row) -> str:
    """The measured thing in words: quantity, and method where it is not a plain mean."""
    if not row["quantity"]:
        return ""
    words = quantity_words(row["quantity"])
    method = _METHOD_WORDS.get(row["method"], row["method"].replace("_", " "))
    return f"{words}, {method}" if method else words


def _shown(row: Row) -> dict[str, str]:
    return {
        "what": what(row),
        "unit": _unit(row),
        "region": str(row["region"]).replace("/", " / "),
        "at": str(row["axis_value"]),
        "level": str(row["level"]),
        "provenance": "from memory" if is_placeholder(row) else str(row["provenance"]),
        "placeholder": "yes" if is_placeholder(row) else "",
        "truth": _amount(row["truth"]),
        "measured": "refused" if row["verdict"] == REFUSED else _amount(row["measured"]),
        "error": _difference(row, row["error"]),
        "limits": _limits(row),
        "tolerance": _tolerance(row),
        "verdict": "as expected" if row["verdict"] == REFUSED else str(row["verdict"]),
        "state": str(row["verdict"]).replace(" ", "-"),
        "note": str(row["note"]),
    }


def _amount(value: float | None) -> str:
    return "" if value is None else number(value, zeros=bool(value))


def _difference(row: Row, value: float | None) -> str:
    if value is None:
        return ""
    percent = relative_percent(row, value)
    return _signed(value) if percent is None else f"{_signed(percent)} %"


def _limits(row: Row) -> str:
    low, high = row["error_low"], row["error_high"]
    if low is None or high is None:
        return ""
    percent = relative_percent(row, low), relative_percent(row, high)
    if percent[0] is not None and percent[1] is not None:
        return f"{_signed(percent[0])} to {_signed(percent[1])} %"
    return f"{_signed(low)} to {_signed(high)}"


def _tolerance(row: Row) -> str:
    value = row["tolerance"]
    if value is None or row["truth"] is None:
        return ""
    percent = relative_percent(row, value)
    return f"± {number(value, 3)}" if percent is None else f"± {number(percent, 3)} %"


def _signed(value: float | None) -> str:
    if value is None or value != value:
        return "n/a"
    shown = number(abs(value), 2)
    if abs(value) < 1e-3:
        shown = f"{abs(value):.4f}".rstrip("0").rstrip(".")
    sign = "" if shown == "0" else "+" if value > 0 else "−"
    return sign + shown


def _failure(row: Row) -> dict[str, str]:
    return {**_shown(row), "slug": str(row["slug"])}


def _titled(figure: Mapping[str, str], comparison: Comparison) -> dict[str, str]:
    label = comparison.label(figure["title"])
    return {**figure, "title": f"{label.slug}: {label.title}"}


def _made(comparison: Comparison) -> set[str]:
    """Phantoms of which anything at all is implemented."""
    return {row["slug"] for row in comparison.rows if row["verdict"] != ABSENT}


def _undrawn(comparison: Comparison) -> list[str]:
    drawn = {picture.slug for picture in comparison.pictures}
    made = _made(comparison)
    return [p.slug for p in comparison.phantoms if p.slug not in drawn and p.slug in made]


def _placeholders(comparison: Comparison) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for row in comparison.rows:
        if is_placeholder(row):
            words = f"{what(row)} of {row['region']}"
            known = found.setdefault(row["slug"], [])
            if words not in known:
                known.append(words)
    return [{"slug": slug, "items": items} for slug, items in found.items()]


def _absent(comparison: Comparison, verdict: str) -> list[dict[str, Any]]:
    """What is missing, by phantom and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in comparison.rows:
        if row["verdict"] == verdict:
            where = f"{what(row)} of {row['region']} at {row['axis_value']}" if row["quantity"] else ""
            level = f"level {row['level']}"
            words = f"{where} ({level})" if where else level
            known = found.setdefault((row["slug"], row["note"]), [])
            if words not in known:
                known.append(words)
    return [
        {
            "slug": slug,
            "reason": reason,
            "items": items if len(items) <= _LONGEST_LIST else [f"{len(items)} numbers"],
        }
        for (slug, reason), items in found.items()
    ]
