"""Changes of regions between two sets of frames, as rows of the table that all regions are reported in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from imgtheranostics.errors import Caution
from imgtheranostics.regions import SIZE_UNKNOWN, STATISTICS_COLUMNS
from imgtheranostics.ultrasound.pixel_change import Change
from imgtheranostics.ultrasound.speckle import FEWEST_CELLS
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Flag, Volume

if TYPE_CHECKING:
    import pandas as pd


class Row(NamedTuple):
    """One quantity of one region."""

    region: str
    quantity: str
    mean: float
    standard_error: float
    n_voxels: int
    change: Change


def change_table(
    volume: Volume, rows: Sequence[Row], cautions: tuple[Caution, ...], labels: Mapping[str, str | None]
) -> pd.DataFrame:
    """Rows with the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`."""
    import pandas as pd

    sized = not any(caution.code in SIZE_UNKNOWN for caution in volume.warnings)
    codes = ";".join(dict.fromkeys(caution.code for caution in cautions))
    records: list[dict[str, Any]] = [
        {
            "subject": labels.get("subject") or volume.source.subject,
            "session": labels.get("session") or volume.source.session,
            "region": row.region,
            "quantity": row.quantity,
            "unit": QUANTITIES[row.quantity].unit,
            "axis": "",
            "axis_value": float("nan"),
            "n_voxels": row.n_voxels,
            "n_valid": row.change.n_valid,
            "volume_ml": row.n_voxels * volume.grid.voxel_volume_ml if sized else float("nan"),
            "mean": row.mean,
            "standard_error": row.standard_error,
            "flags": ";".join(
                f"{flag.name}:{row.n_voxels}" for flag in Flag if row.change.flags & flag.value
            ),
            "warnings": codes,
        }
        for row in rows
    ]
    table = pd.DataFrame(records, columns=list(STATISTICS_COLUMNS))
    for column in ("sd", "median", "p05", "p95", "min", "max"):
        table[column] = float("nan")
    table.attrs["details"] = [
        {
            "region": row.region,
            "quantity": row.quantity,
            "before": row.change.before,
            "after": row.change.after,
            "n_effective": row.change.cells.n_effective,
        }
        for row in rows
    ]
    table.attrs["warnings"] = cautions
    return table


def few_cells(name: str, change: Change) -> tuple[Caution, ...]:
    """A caution where a region holds few independent cells, and one where its mean is refused."""
    if change.flags:
        why = "saturated" if change.flags & Flag.SATURATED.value else "at the floor, or missing"
        return (Caution("mean-refused", f"{name}: too many pixels are {why}", name),)
    if change.cells.n_effective >= FEWEST_CELLS:
        return ()
    return (
        Caution(
            "few-speckle-cells",
            f"{name}: only {change.cells.n_effective:.2g} independent speckle cells, or structure across all "
            "of the region: the standard error of its mean is not known",
            name,
        ),
    )
