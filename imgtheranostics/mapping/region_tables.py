"""Maps of one scan in its regions: one table, with a warning where too many voxels failed or hit a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.fit import CurveFit
from imgtheranostics.mapping.estimates import STATED_SHARE
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    import pandas as pd

_NOT_WORKED_ON = ("MASKED_OUT", "BELOW_NOISE")


@dataclass(frozen=True, eq=False)
class Quantified:
    """Maps, one table over all regions and quantities, curves with their fits, and warnings."""

    estimates: tuple[Estimate, ...]
    table: pd.DataFrame
    curves: tuple[CurveFit, ...] = ()
    warnings: tuple[Caution, ...] = ()


def region_table(
    maps: Sequence[Estimate | Volume],
    regions: Regions,
    *,
    resolution_mm: float | Sequence[float] | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
    more: Sequence[pd.DataFrame] = (),
) -> tuple[pd.DataFrame, tuple[Caution, ...]]:
    """Statistics of several maps in each region: means over the voxels that have a value, with their counts.

    A row in which more than 5 % of the voxels failed, or sit at a bound of the fit, carries the warning
    ``many-failed-in-region`` or ``many-at-bound-in-region``; voxels outside the mask or below the noise count
    as neither.

    Parameters
    ----------
    maps : sequence of Estimate or Volume
    regions : Regions
    resolution_mm, subject, session, workers
        As in `imgtheranostics.regions.roi_statistics`.
    more : sequence of pandas.DataFrame
        Rows of quantities that no map holds.

    Returns
    -------
    table : pandas.DataFrame
        With the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`.
    warnings : tuple of Caution
        One for each quantity and reason, with the number of regions.
    """
    import pandas as pd

    labels: dict[str, Any] = {"subject": subject, "session": session}
    tables = [
        roi_statistics(one, regions, resolution_mm=resolution_mm, workers=workers, **labels) for one in maps
    ]
    for rows in more:
        own = rows.copy()
        for column, label in labels.items():
            if label is not None:
                own[column] = label
        own.attrs["details"] = [{} for _ in range(len(own))]
        tables.append(own)
    details = [row for part in tables for row in part.attrs.pop("details", [])]
    table = pd.concat(tables, ignore_index=True)
    table.attrs["details"] = details
    cautions = _mark_rows(table)
    return table, cautions


def below_each_other(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Region tables as one, with the details and warnings of all; those without rows are left out."""
    import pandas as pd

    given = [one for one in tables if len(one)]
    details: list[dict[str, Any]] = []
    for one in given:
        details += one.attrs.get("details") or [{} for _ in range(len(one))]
    # without their attributes, which pandas compares part by part
    table = pd.concat([pd.DataFrame(one) for one in given], ignore_index=True)
    cautions = merge_cautions(*(tuple(one.attrs.get("warnings", ())) for one in given))
    table.attrs = {"details": details, "warnings": cautions}
    return table


def _mark_rows(table: pd.DataFrame) -> tuple[Caution, ...]:
    found: dict[tuple[str, str], set[str]] = {}
    for index, row in table.iterrows():
        counts = flag_counts(str(row["flags"]))
        left_out = sum(counts.get(name, 0) for name in _NOT_WORKED_ON)
        worked_on = int(row["n_voxels"]) - left_out
        failed = worked_on - int(row["n_valid"])
        codes = []
        if failed > STATED_SHARE * worked_on:
            codes.append("many-failed-in-region")
        if counts.get("AT_BOUND", 0) > STATED_SHARE * worked_on:
            codes.append("many-at-bound-in-region")
        if codes:
            known = [code for code in str(row["warnings"]).split(";") if code]
            table.loc[index, "warnings"] = ";".join(dict.fromkeys((*known, *codes)))
        for code in codes:
            found.setdefault((str(row["quantity"]), code), set()).add(str(row["region"]))
    words = {
        "many-failed-in-region": "could not be estimated; the mean is over the others",
        "many-at-bound-in-region": "sit at a bound of the fit",
    }
    return tuple(
        Caution(
            code,
            f"{quantity}: in {len(regions)} region{'s' if len(regions) > 1 else ''} more than "
            f"{100 * STATED_SHARE:.0f} % of the voxels {words[code]}; see the column flags",
            quantity,
        )
        for (quantity, code), regions in found.items()
    )


def flag_counts(text: str) -> dict[str, int]:
    """The column ``flags`` of a table as counts.

    >>> flag_counts("INVALID_INPUT:12;AT_BOUND:3")
    {'INVALID_INPUT': 12, 'AT_BOUND': 3}
    """
    parts = (part.partition(":") for part in text.split(";") if part)
    return {name: int(count) for name, _, count in parts}
