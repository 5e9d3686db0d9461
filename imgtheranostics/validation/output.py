"""The output folder of a validation, and its rows as plain values."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgtheranostics._version import VERSION
from imgtheranostics.phantom.cases import FITTED, all_axes
from imgtheranostics.report.comparison import Comparison, PhantomLabel
from imgtheranostics.validation.pictures import curves_of

if TYPE_CHECKING:
    from imgtheranostics.phantom.spec import PhantomSpec
    from imgtheranostics.validation.comparing import Validation

SCHEMA = "imgtheranostics-validation-1"


def plain_rows(validation: Validation) -> list[dict[str, Any]]:
    """The rows of the table with None for missing numbers."""
    return [
        {str(name): _plain(value) for name, value in row.items()}
        for row in validation.table.astype(object).to_dict("records")
    ]


def validation_object(validation: Validation) -> dict[str, Any]:
    """What ``--json`` prints and `validation.json` holds."""
    rows = plain_rows(validation)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "command": "validate",
        "version": VERSION,
        "passed": validation.passed,
        "counts": counts,
        "levels": list(validation.levels),
        "seeds": validation.seeds,
        "rows": [
            {**row, "measured_by_seed": [_plain(value) for value in repeats]}
            for row, repeats in zip(rows, validation.repeats, strict=True)
        ],
    }
    if validation.source:
        content["measured_by"] = validation.source
        content["not_compared"] = list(validation.unused)
    return content


def comparison_of(validation: Validation) -> Comparison:
    """What the report shows of a validation."""
    return Comparison(
        rows=plain_rows(validation),
        repeats=validation.repeats,
        phantoms=[
            PhantomLabel(
                spec.slug, spec.title, " + ".join(spec.modalities), spec.review_claim, _axis_words(spec)
            )
            for spec in validation.phantoms
        ],
        levels=validation.levels,
        seeds=validation.seeds,
        rng=validation.rng,
        pictures=validation.pictures,
        recoveries=validation.recoveries,
        curves=curves_of(validation.recoveries),
        source=validation.source,
        unused=validation.unused,
    )


def provenance(validation: Validation, outputs: dict[str, str]) -> dict[str, Any]:
    """What `provenance.json` holds: versions, seeds, phantoms and the hashes of the results."""
    from imgtheranostics.report.plain import as_json
    from imgtheranostics.report.provenance import package_versions

    specifications = {
        spec.slug: hashlib.sha256(as_json(spec.model_dump(mode="json")).encode()).hexdigest()
        for spec in validation.phantoms
    }
    first = validation.rng
    return {
        "schema": "imgtheranostics-validation-provenance-1",
        "command": "validate",
        "version": VERSION,
        "versions": package_versions(),
        "levels": list(validation.levels),
        "seeds": [] if validation.source else list(range(first, first + validation.seeds)),
        "seed_rule": "NumPy Philox from the phantom's own seed, the level and the seed of the repeat",
        "phantom_seeds": {spec.slug: spec.seed for spec in validation.phantoms},
        "phantoms_sha256": specifications,
        "measured_by": validation.source or f"imgtheranostics {VERSION}",
        "outputs": outputs,
    }


def write_validation(validation: Validation, out: Path | str, *, force: bool = False) -> list[Path]:
    """Write a validation into a folder, all of it or nothing.

    ``validation.tsv``, ``validation.json``, ``provenance.json``, ``report.html`` and the folder `figures`.
    The same validation gives the same bytes.

    Parameters
    ----------
    validation : Validation
    out : path
        New or empty, unless `force`.
    force : bool
        Replace the files of an earlier result.

    Returns
    -------
    list of Path
        The files, sorted.

    Raises
    ------
    OutputError
        If the folder is not empty and `force` is not given, or cannot be written.
    """
    from imgtheranostics.io.atomic import output_folder
    from imgtheranostics.report.html import FIGURE_LIST, figure_list
    from imgtheranostics.report.plain import as_json
    from imgtheranostics.report.registry import render_comparison_figures
    from imgtheranostics.report.validation_html import render_comparison

    place = Path(out)
    with output_folder(place, force=force) as folder:
        texts = {
            "validation.tsv": as_tsv(validation),
            "validation.json": as_json(validation_object(validation)),
        }
        hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        record = provenance(validation, hashes)
        texts["provenance.json"] = as_json(record)
        comparison = comparison_of(validation)
        figures = render_comparison_figures(comparison)
        texts["report.html"] = render_comparison(comparison, record, figures)
        (folder / FIGURE_LIST).parent.mkdir()
        texts[FIGURE_LIST] = figure_list(figures)
        for name, text in texts.items():
            (folder / name).write_bytes(text.encode("utf-8"))
        for figure in figures:
            (folder / "figures" / figure.file).write_bytes(figure.svg)
        written = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [place / path for path in written]


def as_tsv(validation: Validation) -> str:
    """The table as tab-separated text with ``n/a`` for missing numbers."""
    text: str = validation.table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    return text


def _axis_words(spec: PhantomSpec) -> str:
    shown = [axis for axis in all_axes(spec) if axis.kind not in FITTED or axis.layout != "dynamic"]
    words = [axis.kind.replace("_", " ") + (f", {axis.unit}" if axis.unit else "") for axis in shown]
    return "; ".join(words)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
