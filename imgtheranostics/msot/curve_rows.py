"""What curves of regions led to, as rows of the table of region statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imgtheranostics.fit import CurveFit
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.volume import Flag

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.msot.dye_maps import DyeKinetics
    from imgtheranostics.msot.gas_challenge_maps import GasChallenge

CHANGE = "all regions"
"""What the row of the moment of a gas challenge has for a region."""


def kinetics_rows(found: DyeKinetics, regions: Regions) -> pd.DataFrame:
    """Kinetics of the mean curve of each region."""
    if found.table is None:
        return _frame([])
    flags = [
        ";".join(f"{bit.name}:1" for bit in Flag if int(value) & bit.value) for value in found.table["flags"]
    ]
    rows = found.table.assign(flags=flags).to_dict("records")
    return _frame(
        _row(
            regions,
            str(one["region"]),
            (str(one["quantity"]), str(one["unit"])),
            (one["value"], one["standard_error"]),
            str(one["flags"]),
        )
        for one in rows
        if one["quantity"]
    )


def challenge_rows(found: GasChallenge, regions: Regions) -> pd.DataFrame:
    """Change of the saturation of each region's mean haemoglobin, and when the gas was changed."""
    if found.table is None:
        return _frame([])
    rows = [
        _row(
            regions,
            str(one["region"]),
            ("region_delta_so2", "%"),
            (one["delta_so2"], one["standard_error"]),
            ";".join(f"{name}:1" for name in str(one["flags"]).split(";") if name),
        )
        for one in found.table.to_dict("records")
    ]
    moment = _row(regions, CHANGE, ("gas_change", "s"), (found.change_s, math.nan), "")
    return _frame([*rows, moment])


def challenge_details(found: GasChallenge) -> list[dict[str, Any]]:
    """Beside each of `challenge_rows`: the two states, the intervals, and whether the region responds."""
    if found.table is None:
        return []
    keys = ("delta_low", "delta_high", "responding", "baseline", "challenge", "baseline_sd")
    rows = [{key: one[key] for key in keys} for one in found.table.to_dict("records")]
    return [*rows, {"interval": (found.change_low_s, found.change_high_s)}]


def counted(curves: Iterable[CurveFit], regions: Regions) -> list[CurveFit]:
    """Curves of regions with the number of voxels that they are means of."""
    counts = dict(zip(regions, (voxels.size for voxels in regions.voxel_lists()), strict=True))
    return [replace(curve, n_voxels=counts.get(curve.label, curve.n_voxels)) for curve in curves]


def _row(
    regions: Regions, region: str, what: tuple[str, str], value: tuple[Any, Any], flags: str
) -> dict[str, Any]:
    known = region in list(regions)
    count = int(regions.mask(region).sum()) if known else 0
    row: dict[str, Any] = dict.fromkeys(STATISTICS_COLUMNS, math.nan)
    return row | {
        "subject": "",
        "session": "",
        "region": region,
        "quantity": what[0],
        "unit": what[1],
        "axis": "",
        "n_voxels": count,
        "n_valid": count,
        "volume_ml": count * regions.grid.voxel_volume_ml if known else math.nan,
        "mean": float(value[0]),
        "standard_error": float(value[1]),
        "flags": flags,
        "warnings": "",
    }


def _frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(STATISTICS_COLUMNS))
