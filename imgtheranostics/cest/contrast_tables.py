"""How many times more the contrast changed in a region than in a reference region, as rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.errors import Caution, MissingMetadata, merge_cautions
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions, roi_statistics
from imgtheranostics.volume import Estimate

if TYPE_CHECKING:
    import pandas as pd

FOLD = "contrast_fold"
"""Quantity of the rows."""


def fold_table(
    delta: Estimate, regions: Regions, reference: str, *, resolution_mm: float | None = None
) -> tuple[pd.DataFrame, tuple[Caution, ...]]:
    """Change of the contrast in each region over that of the reference region.

    A fold is a ratio of two differences post minus pre: contrasts on an asymmetric background are not zero
    without agent, so that post over pre says nothing. That raw ratio stands in ``attrs["details"]`` with why
    it is none.

    Parameters
    ----------
    delta : Estimate
        Post minus pre, from `imgtheranostics.cest.contrast_maps.contrast` with two scans.
    regions : Regions
    reference : str
        Name of the reference region.
    resolution_mm : float, optional
        As in `imgtheranostics.regions.roi_statistics`.

    Returns
    -------
    table : pandas.DataFrame
        One row ``contrast_fold`` per region and offset, without the reference; NaN with a warning where the
        reference did not change by more than two of its standard errors.
    warnings : tuple of Caution

    Raises
    ------
    UnknownChoice
        If there is no such region.
    MissingMetadata
        If the estimate does not hold both scans.
    """
    import pandas as pd

    if reference not in list(regions):
        raise UnknownChoice(f"there is no region {reference!r}; known: {', '.join(regions)}")
    missing = [name for name in ("pre", "post") if name not in delta.maps]
    if missing:
        raise MissingMetadata(
            "a fold is defined on the difference of two scans",
            found=f"{delta.quantity} of one scan",
            needed="the contrast before and after",
            next_step="give both scans: contrast(pre, post, ...)",
        )
    parts = {
        name: roi_statistics(delta.maps[name], regions, resolution_mm=resolution_mm)
        for name in ("pre", "post")
    }
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    cautions: tuple[Caution, ...] = ()
    for axis_value in dict.fromkeys(_key(value) for value in parts["pre"]["axis_value"]):
        here = {name: _by_region(table, axis_value) for name, table in parts.items()}
        for region in (name for name in regions if name != reference):
            row, detail, found = _fold_row(here, region, reference)
            rows.append(row)
            details.append(detail)
            cautions = merge_cautions(cautions, found)
    table = pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))
    table.attrs["details"] = details
    return table, cautions


def _key(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _by_region(table: pd.DataFrame, axis_value: float | None) -> dict[str, Any]:
    return {str(row["region"]): row for _, row in table.iterrows() if _key(row["axis_value"]) == axis_value}


def _fold_row(
    here: dict[str, dict[str, Any]], region: str, reference: str
) -> tuple[dict[str, Any], dict[str, Any], tuple[Caution, ...]]:
    from imgtheranostics.cest.fold_change import difference, fold_change

    def pair(name: str) -> tuple[list[float], list[float], list[float], list[float]]:
        before, after = here["pre"][name], here["post"][name]
        means = [float(before["mean"])], [float(after["mean"])]
        return *means, [float(before["standard_error"])], [float(after["standard_error"])]

    pre, post, pre_se, post_se = pair(region)
    base = dict(here["post"][region])
    row = {name: base[name] for name in STATISTICS_COLUMNS}
    row |= {"quantity": FOLD, "unit": "1", "flags": ""} | dict.fromkeys(
        ("sd", "median", "p05", "p95", "min", "max"), np.nan
    )
    other = pair(reference)
    if not np.isfinite([*pre, *post, *other[0], *other[1]]).all():
        row |= {"mean": np.nan, "standard_error": np.nan, "warnings": "fold-undefined"}
        caution = Caution("fold-undefined", "a region without any value has no fold", FOLD)
        return row, {"reference": reference}, (caution,)
    control = difference(other[0], other[1], pre_se=other[2], post_se=other[3])
    found = fold_change(pre, post, reference=control, pre_se=pre_se, post_se=post_se)
    codes = [caution.code for caution in found.warnings]
    row |= {"mean": found.fold, "standard_error": found.standard_error, "warnings": ";".join(codes)}
    detail = {
        "reference": reference,
        "difference": float(found.difference.mean),
        "difference_of_reference": float(found.reference.mean),
        "raw_ratio_which_is_no_fold": float(found.raw_ratio),
    }
    marked = tuple(Caution(one.code, f"{region}: {one.message}", FOLD) for one in found.warnings)
    return row, detail, marked
