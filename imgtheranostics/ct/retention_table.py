"""Rows of a table of retention: masses, shares and spread of each follow-up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgtheranostics.ct.agent_masses import RegionMass
from imgtheranostics.ct.injected_agent import Injection
from imgtheranostics.ct.retention_result import ScanRetention
from imgtheranostics.ct.tissue_dose import DoseRule
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions, roi_statistics
from imgtheranostics.units import QUANTITIES

if TYPE_CHECKING:
    import pandas as pd

_SECONDS_PER_DAY = 86400.0
_NUMBERS = ("mean", "sd", "standard_error", "median", "p05", "p95", "min", "max")
_DOSE = "dose_enhancement"
_MISSING = ("concentration", "agent_mass", "retained_fraction")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Labels:
    """What stands in every row, and how concentrations become dose enhancements, where that is asked."""

    subject: str
    session: str
    tumour: str
    dose: DoseRule | None = None


def as_table(rows: Sequence[tuple[Row, Row]]) -> pd.DataFrame:
    """Rows and their details as a table; the details are in its ``attrs``."""
    import pandas as pd

    table = pd.DataFrame([row for row, _ in rows], columns=list(STATISTICS_COLUMNS))
    table.attrs["details"] = [detail for _, detail in rows]
    return table


def missing_rows(number: int, day: float | None, labels: Labels) -> list[tuple[Row, Row]]:
    """Rows without numbers of a follow-up that was not made."""
    place = _place(number, day, labels)
    quantities = _MISSING if labels.dose is None else (*_MISSING, _DOSE)
    return [({**_absent(labels.tumour, quantity), **place}, {}) for quantity in quantities]


def scan_rows(
    scan: ScanRetention,
    regions: Regions,
    injection: Injection | None,
    labels: Labels,
    workers: int | None = None,
) -> list[tuple[Row, Row]]:
    """Rows of one follow-up, each with the parts of its standard error.

    Parameters
    ----------
    scan : ScanRetention
    regions : Regions
        Regions and shells, in the order of the scan's masses and shells.
    injection : Injection or None
    labels : Labels
    workers : int, optional
    """
    place = _place(scan.number, scan.day, labels)
    found = _scan_rows(scan, regions, injection, labels, workers)
    return [({**row, **place}, detail) for row, detail in found]


def _place(number: int, day: float | None, labels: Labels) -> Row:
    return {
        "subject": labels.subject,
        "session": labels.session,
        "axis": "scan" if day is None else "time",
        "axis_value": float(number) if day is None else day * _SECONDS_PER_DAY,
    }


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
    scan: ScanRetention, regions: Regions, injection: Injection | None, labels: Labels, workers: int | None
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
        if labels.dose is not None:
            yield _dose_row(base, part, labels.dose, per_ml)
        if part.region in scan.retained:
            kept = scan.retained[part.region]
            yield (
                _number(base, "retained_fraction", kept.percent, kept.standard_error),
                {"standard_error": kept.rule},
            )
        if part.region == labels.tumour:
            yield from _tumour_rows(scan, base, part, injection)


def _dose_row(base: Row, part: RegionMass, rule: DoseRule, per_ml: float) -> tuple[Row, Row]:
    """Dose enhancement at the mean concentration of a region."""
    noise, slope = part.noise_error_mg * per_ml, part.slope_error_mg * per_ml
    found = rule.at(part.concentration_mg_ml, noise, slope)
    return _number(base, _DOSE, found.value, found.standard_error), {
        "mass_fraction": found.mass_fraction,
        "standard_error_sampling": found.noise_error,
        "standard_error_calibration": found.slope_error,
        "standard_error_ratio": found.ratio_error,
    }


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
