"""Rows of a table of retention: masses, shares and spread of each follow-up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgtheranostics.ct.agent_masses import RegionMass
from imgtheranostics.ct.injected_agent import Injection
from imgtheranostics.ct.retention_result import ScanRetention
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions, roi_statistics
from imgtheranostics.units import QUANTITIES

if TYPE_CHECKING:
    import pandas as pd

_SECONDS_PER_DAY = 86400.0
_NUMBERS = ("mean", "sd", "standard_error", "median", "p05", "p95", "min", "max")
_MISSING = ("concentration", "agent_mass", "retained_fraction")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Labels:
    """What stands in every row."""

    subject: str
    session: str
    tumour: str


def retention_rows(
    scans: Sequence[ScanRetention],
    masks: Sequence[Regions],
    days: Sequence[float] | None,
    n_follow_ups: int,
    injection: Injection | None,
    labels: Labels,
    workers: int | None = None,
) -> pd.DataFrame:
    """The table of all follow-ups in order; ``attrs["details"]`` holds the parts of each standard error.

    Parameters
    ----------
    scans : sequence of ScanRetention
        Those that were made.
    masks : sequence of Regions
        Regions and shells of each of them, in the order of its masses and shells.
    days : sequence of float, or None
        Of all follow-ups.
    n_follow_ups : int
    injection : Injection or None
    labels : Labels
    workers : int, optional
    """
    import pandas as pd

    made = {scan.number: (scan, regions) for scan, regions in zip(scans, masks, strict=True)}
    rows: list[Row] = []
    details: list[Row] = []
    for number in range(n_follow_ups):
        day = None if days is None else days[number]
        place: Row = {"subject": labels.subject, "session": labels.session}
        place["axis"] = "scan" if day is None else "time"
        place["axis_value"] = float(number) if day is None else day * _SECONDS_PER_DAY
        if number not in made:
            rows += [{**place, **_absent(labels.tumour, quantity)} for quantity in _MISSING]
            details += [{}] * len(_MISSING)
            continue
        scan, regions = made[number]
        for row, detail in _scan_rows(scan, regions, injection, labels.tumour, workers):
            rows.append({**row, **place})
            details.append(detail)
    table = pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))
    table.attrs["details"] = details
    return table


def _absent(region: str, quantity: str) -> Row:
    return {
        **dict.fromkeys(_NUMBERS, math.nan),
        "region": region,
        "quantity": quantity,
        "unit": QUANTITIES[quantity].unit,
        "n_voxels": 0,
        "n_valid": 0,
        "volume_ml": math.nan,
        "flags": "",
        "warnings": "missing-scan",
    }


def _scan_rows(
    scan: ScanRetention, regions: Regions, injection: Injection | None, tumour: str, workers: int | None
) -> Iterator[tuple[Row, Row]]:
    statistics = roi_statistics(scan.concentration, regions, workers=workers).to_dict("records")
    parts = (*scan.masses.values(), *scan.shells)
    for plain, part in zip(statistics, parts, strict=True):
        base: Row = {str(name): value for name, value in plain.items()}
        base |= {"volume_ml": part.volume_ml, "warnings": ";".join(part.codes)}
        per_ml = 1.0 / part.volume_ml if part.volume_ml > 0 else math.nan
        base |= {"mean": part.concentration_mg_ml, "standard_error": part.standard_error_mg * per_ml}
        yield base, _parts_of_error(part, per_ml)
        yield (
            _number(base, "agent_mass", part.mass_mg, part.standard_error_mg),
            _parts_of_error(part, 1.0),
        )
        if part.region in scan.retained:
            kept = scan.retained[part.region]
            yield (
                _number(base, "retained_fraction", kept.percent, kept.standard_error),
                {"standard_error": kept.rule},
            )
        if part.region == tumour:
            yield from _tumour_rows(scan, base, part, injection)


def _tumour_rows(
    scan: ScanRetention, base: Row, mass: RegionMass, injection: Injection | None
) -> Iterator[tuple[Row, Row]]:
    if injection is not None:
        per_mg = 100.0 / injection.mass_mg
        yield (
            _number(base, "recovered_fraction", per_mg * mass.mass_mg, per_mg * mass.standard_error_mg),
            {"injected_mg": injection.mass_mg, **_parts_of_error(mass, per_mg)},
        )
    spread = scan.spread
    limit = {"lod_mg_ml": spread.lod_mg_ml}
    yield _number(base, "occupancy", spread.occupancy_percent, math.nan), limit
    yield (
        _number(base, "coefficient_of_variation", spread.variation_percent, math.nan),
        {"with_noise_percent": spread.raw_variation_percent},
    )
    yield _number(base, "centroid_shift", *scan.shift_mm), {}
    yield _number(base, "detection_limit", mass.lod_mg / mass.volume_ml, math.nan), {}


def _number(base: Row, quantity: str, value: float, error: float) -> Row:
    """One number about a region, without statistics over its voxels."""
    return {
        **base,
        **dict.fromkeys(_NUMBERS, math.nan),
        "quantity": quantity,
        "unit": QUANTITIES[quantity].unit,
        "mean": value,
        "standard_error": error,
    }


def _parts_of_error(mass: RegionMass, factor: float) -> Row:
    return {
        "standard_error_sampling": abs(factor) * mass.noise_error_mg,
        "standard_error_calibration": abs(factor) * mass.slope_error_mg,
        "resolution": mass.blank.rule,
        "n_blanks": mass.blank.n_blanks,
        "blank_mean": mass.blank.mean,
        "n_saturated": mass.n_saturated,
    }
