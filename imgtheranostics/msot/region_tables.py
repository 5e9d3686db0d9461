"""Regions of optoacoustic maps: means with the error of correlated voxels, saturations of mean blood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.mapping.region_tables import region_table as plain_region_table
from imgtheranostics.msot.oxygenation_maps import Oxygenation
from imgtheranostics.msot.region_averages import Blanks, RegionMean, region_mean_series
from imgtheranostics.msot.region_oxygenation import RegionSaturation, region_so2
from imgtheranostics.msot.region_ratios import HELD_SHARE
from imgtheranostics.msot.unmixed import Unmixed
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Flag, Volume

if TYPE_CHECKING:
    import pandas as pd

Maps = Volume | Estimate | Unmixed | Oxygenation

_UNKNOWN = dict.fromkeys(("sd", "standard_error", "median", "p05", "p95", "min", "max"), math.nan)
_CODES = {
    "below-detection-limit": "the mean lies below its limit of detection",
    "mean-of-bounded-amounts": "more than 5 % of the voxels are held at zero by non-negative unmixing, so "
    "that the mean is too high; unmix with method='ls' for regions",
    "no-blank-tissue": "no copies of the region fit into the blank tissue: the error of the mean is from "
    "the spread of its own voxels, and its limit of detection is not known",
}
_AMOUNTS = (
    "chromophore_concentration",
    "component_amplitude",
    "volume_fraction",
    "concentration",
    "id_per_g",
)


def region_table(
    maps: Maps | Sequence[Maps],
    regions: Regions,
    *,
    blanks: Blanks = None,
    resolution_mm: float | Sequence[float] | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Statistics of optoacoustic maps in regions.

    Parameters
    ----------
    maps : Volume, Estimate, Unmixed, Oxygenation, or sequence of them
        Of what was unmixed all components, each under its own name in ``attrs["details"]``; of an oxygenation
        saturation, total haemoglobin, and the saturation of each region's mean haemoglobin, ``region_so2``.
    regions : Regions
        On the grid of the maps.
    blanks : str, Volume, Regions or (i, j, k) array_like, optional
        Tissue without agent, for the errors and limits of detection of amounts.
    resolution_mm : float or 3 floats, optional
        Full width at half maximum of the resolution; without it, the correlation of voxels is estimated.
    subject, session : str, optional
        Labels for the table.
    workers : int, optional

    Returns
    -------
    pandas.DataFrame
        With the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`. Standard errors are those of
        `imgtheranostics.msot.region_means`, with what a calibration shares in quadrature.
        ``attrs["details"]`` has for each row the ``component``, the parts of the standard error, the
        ``detection_limit`` of the mean and its ``interval_95``; ``attrs["warnings"]`` are cautions.

    Raises
    ------
    ValueError
        If there are no maps.
    GeometryMismatch, NothingUsable, UnknownChoice
        As `imgtheranostics.msot.region_means`.
    """
    import pandas as pd

    given = [maps] if isinstance(maps, Maps) else list(maps)
    labels: dict[str, Any] = {"subject": subject, "session": session, "workers": workers}
    tables, notes = [], []
    for one, name in _single_maps(given):
        value = one.value if isinstance(one, Estimate) else one
        own_blanks = blanks if value.quantity in _AMOUNTS else None
        table, cautions = plain_region_table([one], regions, resolution_mm=resolution_mm, **labels)
        means = region_mean_series(
            one, regions, blanks=own_blanks, resolution_mm=resolution_mm, workers=workers, required=False
        )
        rows = [mean for frame in means for mean in frame]
        notes += [cautions, one.warnings, _written(table, rows, own_blanks, name or value.quantity)]
        for detail in table.attrs["details"]:
            detail["component"] = name
        tables.append(table)
    if not tables:
        raise ValueError("a table needs at least one map")
    for saturation in (one for one in given if isinstance(one, Oxygenation)):
        like = next(table for table in tables if table["quantity"].iloc[0] == saturation.thb.quantity)
        found = region_so2(saturation, regions, resolution_mm=resolution_mm, workers=workers)
        tables.append(_saturations(like, found))
    details = [row for table in tables for row in table.attrs.pop("details")]
    joined = pd.concat(tables, ignore_index=True)
    joined.attrs["details"] = details
    joined.attrs["warnings"] = merge_cautions(*notes)
    return joined


def _single_maps(given: Sequence[Maps]) -> list[tuple[Volume | Estimate, str]]:
    """Each map with the name of its component, where it is one."""
    found: list[tuple[Volume | Estimate, str]] = []
    for one in given:
        if isinstance(one, Unmixed):
            found += [(estimate, name) for name, estimate in one.estimates.items()]
        elif isinstance(one, Oxygenation):
            found += [(estimate, "") for estimate in one.estimates]
        else:
            decisions = one.decisions if isinstance(one, Estimate) else {}
            found.append((one, str(decisions.get("component", ""))))
    return found


def _written(
    table: pd.DataFrame, rows: Sequence[RegionMean], blanks: Blanks, what: str
) -> tuple[Caution, ...]:
    """Standard errors and codes into the rows of one map; a caution for each code."""
    concerned: dict[str, list[str]] = {}
    # pandas copies the attributes with every row and column that is looked at
    attributes, table.attrs = table.attrs, {}
    quantity = str(table["quantity"].iloc[0]) if len(table) else ""
    warnings = [str(text) for text in table["warnings"]]
    for index, (mean, detail) in enumerate(zip(rows, attributes["details"], strict=True)):
        codes = list(_codes(mean, blanks, quantity))
        known = [code for code in warnings[index].split(";") if code]
        warnings[index] = ";".join(dict.fromkeys((*known, *codes)))
        detail |= {
            "standard_error_sampling": mean.standard_error,
            "degrees_of_freedom": mean.freedom,
            "detection_limit": mean.detection_limit,
            "interval_95": mean.interval(),
            "rule": mean.rule,
        }
        for code in codes:
            concerned.setdefault(code, []).append(mean.region)
    table["warnings"] = warnings
    table["standard_error"] = [mean.total_error for mean in rows]
    table.attrs = attributes
    return tuple(
        Caution(code, f"{what}: in {', '.join(dict.fromkeys(names))}: {_CODES[code]}", what)
        for code, names in concerned.items()
    )


def _codes(mean: RegionMean, blanks: Blanks, quantity: str) -> Sequence[str]:
    found = []
    if mean.value < mean.detection_limit:
        found.append("below-detection-limit")
    if mean.held_at_zero > HELD_SHARE and quantity in _AMOUNTS:
        found.append("mean-of-bounded-amounts")
    if blanks is not None and not math.isfinite(mean.detection_limit):
        found.append("no-blank-tissue")
    return found


def _saturations(like: pd.DataFrame, found: Sequence[RegionSaturation]) -> pd.DataFrame:
    """Rows of ``region_so2``, from those of total haemoglobin: regions within frames."""
    rows = [(one, frame) for frame in range(len(like) // len(found)) for one in found]
    table = like.copy()
    table.attrs = {}
    table = table.assign(**_UNKNOWN, quantity="region_so2", unit="%")
    table["mean"] = [one.so2[frame] for one, frame in rows]
    table["standard_error"] = [one.standard_error[frame] for one, frame in rows]
    table["flags"] = [
        ";".join(f"{bit.name}:1" for bit in Flag if one.flags[frame] & bit.value) for one, frame in rows
    ]
    table.attrs["details"] = [
        {
            "region": one.region,
            "component": "",
            "rule": "saturation of the mean haemoglobin",
            "standard_error_sampling": float(one.standard_error[frame]),
            "degrees_of_freedom": float(one.freedom[frame]),
        }
        for one, frame in rows
    ]
    return table
