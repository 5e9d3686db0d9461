"""Tables of lesions: metabolic volume, total lesion glycolysis, peak, and ratios to other regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.errors import Caution, GeometryMismatch, merge_cautions
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.mapping.region_tables import below_each_other
from imgtheranostics.nuclear.body import KINDS
from imgtheranostics.nuclear.uptake_ratios import UptakeRatio, ratio_of, region_uptakes
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.segmentation.outlines import THRESHOLD_CHANGE, lesion_record
from imgtheranostics.segmentation.search_regions import static_volume
from imgtheranostics.segmentation.sphere_peak import SPHERE_ML, region_peaks
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    import pandas as pd

_TOTALS = {
    "g/mL": ("total_lesion_glycolysis", "g"),
    "%/mL": ("id_per_region", "%"),
    "Bq/mL": ("region_activity", "Bq"),
}
_NUMBERS = ("mean", "sd", "standard_error", "median", "p05", "p95", "min", "max")
_WHOLE_SPHERE = 0.999

INTERVAL = ("interval_low", "interval_high")
"""Columns of the table beside the fixed ones: the interval of a ratio."""


def lesion_table(
    x: Volume | Estimate,
    lesions: Regions,
    *,
    references: Regions | None = None,
    backgrounds: Sequence[str] = (),
    threshold_uncertainty: float | None = None,
    peak: bool | None = None,
    level: float = 0.95,
    resolution_mm: float | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """What is in each lesion: uptake, volume, total, peak, and ratios to backgrounds.

    Parameters
    ----------
    x : Volume or Estimate
        SUV, SUL, %ID/g, %ID/mL or Bq/mL, without further axes.
    lesions : Regions
        As `imgtheranostics.segmentation` delineates them, or drawn.
    references : Regions, optional
        Other regions on the same grid, such as liver, blood and muscle; they get a row of uptake too.
    backgrounds : sequence of str
        Which of these regions (or of the lesions) the lesions are divided by.
    threshold_uncertainty : float, optional
        Relative standard uncertainty of the thresholds, such as 0.05, which becomes an error of volume and
        total. Without it the volume has none, and the total that of the mean.
    peak : bool, optional
        The highest mean in a sphere of 1 mL; by default where voxels are small enough.
    level : float
        Probability of the intervals of ratios.
    resolution_mm, subject, session, workers
        As in `imgtheranostics.regions.roi_statistics`.

    Returns
    -------
    pandas.DataFrame
        The columns of `imgtheranostics.regions.STATISTICS_COLUMNS`, and `INTERVAL`. Rows of each lesion:
        ``metabolic_tumour_volume`` in mL; the mean times the volume, as ``total_lesion_glycolysis`` in g of
        SUV in g/mL, ``id_per_region`` of %ID/mL, ``region_activity`` of Bq/mL; the quantity of `x`, of the
        references too; ``suv_peak``, ``sul_peak`` or ``uptake_peak``; of each pair ``uptake_ratio``, with
        the region ``tumour/liver``. ``attrs`` holds warnings and the details of each row.

    Raises
    ------
    UnknownChoice
        If a background does not exist, or two regions have one name.
    ValueError
        If an uncertainty or level makes no sense.
    GeometryMismatch
        If regions lie on another grid, or with ``peak=True`` voxels are larger than the sphere.
    NothingUsable, UnsupportedInput
        If a region of a ratio holds no value, or the image is a series.

    Notes
    -----
    The volume's error is ``u |V(0.9 T) - V(1.1 T)| / 0.2`` for a threshold T that is uncertain by u. Its
    share of the total's error is that of what is gained or lost at the edge, ``T`` times the error of the
    volume; in quadrature with the calibration, and the standard error of the mean times the volume. The
    spread within a lesion counts as noise there, so that this part is too large rather than too small.
    """
    v = static_volume(x)
    if threshold_uncertainty is not None and not 0 <= threshold_uncertainty < 1:
        raise ValueError(f"threshold_uncertainty is a share below 1, not {threshold_uncertainty!r}")
    fitted = lesions.fit_to(v.grid)
    everything = together(fitted, references.fit_to(v.grid) if references is not None else None)
    _check_names(backgrounds, everything)
    labels: dict[str, Any] = {"subject": subject, "session": session}
    uptake = roi_statistics(x, everything, resolution_mm=resolution_mm, workers=workers, **labels)
    uptake["warnings"] = [_codes(x, everything, name) for name in uptake["region"]]
    own = uptake.iloc[: len(fitted)]
    details = uptake.attrs["details"]
    shared = x.calibration_relative if isinstance(x, Estimate) else 0.0
    rows = _Rows(own, details[: len(fitted)], fitted, shared, threshold_uncertainty)
    tables = [rows.volumes()]
    if v.unit in _TOTALS:
        tables.append(rows.totals(*_TOTALS[v.unit]))
    tables.append(uptake)
    cautions = merge_cautions(x.warnings, everything.warnings)
    if peak is not False:
        peaks = rows.peaks(v, needed=bool(peak), workers=workers)
        tables.append(peaks)
        cautions = merge_cautions(cautions, tuple(peaks.attrs.get("warnings", ())))
    ratios = _ratios(x, everything, list(fitted), backgrounds, uptake, level)
    if ratios:
        tables.append(_ratio_rows(ratios, own))
        cautions = merge_cautions(cautions, *(ratio.warnings for ratio in ratios))
    for table in tables:
        table.attrs["warnings"] = ()
    found = below_each_other(tables)
    if not ratios:
        for column in INTERVAL:
            found[column] = np.nan
    found.attrs["warnings"] = cautions
    result: pd.DataFrame = found
    return result


def ratio_table(
    x: Volume | Estimate,
    regions: Regions,
    backgrounds: Sequence[str],
    *,
    level: float = 0.95,
    resolution_mm: float | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Each region's mean over that of each background, as rows ``uptake_ratio`` of regions ``tumour/liver``.

    Parameters
    ----------
    x : Volume or Estimate
        Without further axes.
    regions : Regions
    backgrounds : sequence of str
        Names of some of them.
    level, resolution_mm, subject, session, workers
        As in `lesion_table`.

    Returns
    -------
    pandas.DataFrame
        As `lesion_table`, with the ratios alone.

    Raises
    ------
    UnknownChoice
        If a background does not exist.
    NothingUsable, GeometryMismatch, UnsupportedInput
        As `uptake_ratio`.
    """
    fitted = regions.fit_to(static_volume(x).grid)
    _check_names(backgrounds, fitted)
    labels: dict[str, Any] = {"subject": subject, "session": session}
    uptake = roi_statistics(x, fitted, resolution_mm=resolution_mm, workers=workers, **labels)
    uptake["warnings"] = [_codes(x, fitted, name) for name in uptake["region"]]
    ratios = _ratios(x, fitted, list(fitted), backgrounds, uptake, level)
    table = _ratio_rows(ratios, uptake)
    table.attrs["warnings"] = merge_cautions(*(ratio.warnings for ratio in ratios))
    return table


def _check_names(backgrounds: Sequence[str], regions: Regions) -> None:
    unknown = [name for name in backgrounds if name not in list(regions)]
    if unknown:
        raise UnknownChoice(f"there is no region {unknown[0]!r}; there are {', '.join(regions)}")


def together(lesions: Regions, references: Regions | None) -> Regions:
    """Both as one set of regions on one grid.

    Raises
    ------
    UnknownChoice
        If two regions have one name.
    """
    if references is None:
        return lesions
    twice = sorted(set(lesions) & set(references))
    if twice:
        raise UnknownChoice(f"two regions are called {twice[0]!r}: a lesion and a reference")
    voxels = {
        name: inside
        for regions in (lesions, references)
        for name, inside in zip(regions, regions.voxel_lists(), strict=True)
    }
    warnings = merge_cautions(lesions.warnings, references.warnings)
    return Regions.from_voxel_lists(voxels, lesions.grid, warnings=warnings)


def _codes(x: Volume | Estimate, regions: Regions, name: str) -> str:
    """Codes of the image's warnings, and of those about this region."""
    others = set(regions) - {name}
    own = [caution.code for caution in regions.warnings if caution.where not in others]
    return ";".join(dict.fromkeys([*(caution.code for caution in x.warnings), *own]))


class _Rows:
    """Rows of lesions that follow from their rows of uptake."""

    def __init__(
        self,
        uptake: pd.DataFrame,
        details: list[dict[str, Any]],
        lesions: Regions,
        calibration_relative: float,
        threshold_uncertainty: float | None,
    ) -> None:
        self.uptake = uptake
        self.details = details
        self.lesions = lesions
        self.calibration_relative = calibration_relative
        self.records = [lesion_record(lesions, name) for name in lesions]
        self.volume_error = [_volume_error(record, threshold_uncertainty) for record in self.records]

    def made(
        self,
        quantity: str,
        unit: str,
        means: Sequence[float],
        errors: Sequence[float],
        details: Sequence[dict[str, Any]],
    ) -> pd.DataFrame:
        """One row for each lesion, with nothing but mean and standard error."""
        table = self.uptake.copy()
        table.attrs = {}
        for column in _NUMBERS:
            table[column] = np.nan
        table["quantity"], table["unit"], table["flags"] = quantity, unit, ""
        table["mean"], table["standard_error"] = list(means), list(errors)
        table.attrs["details"] = list(details)
        return table

    def volumes(self) -> pd.DataFrame:
        means = [float(value) for value in self.uptake["volume_ml"]]
        details = [
            {"region": name, "delineation": dict(record), "standard_error_threshold": error}
            for name, record, error in zip(self.lesions, self.records, self.volume_error, strict=True)
        ]
        return self.made("metabolic_tumour_volume", "mL", means, self.volume_error, details)

    def totals(self, quantity: str, unit: str) -> pd.DataFrame:
        voxel_ml = self.lesions.grid.voxel_volume_ml
        means, errors, details = [], [], []
        rows = zip(self.uptake["mean"], self.uptake["n_valid"], self.details, strict=True)
        for (mean, n_valid, detail), record, volume_error in zip(
            rows, self.records, self.volume_error, strict=True
        ):
            volume = float(n_valid) * voxel_ml
            total = float(mean) * volume if n_valid else math.nan
            sampling = float(detail["standard_error_sampling"]) * volume
            calibration = self.calibration_relative * abs(total)
            edge = float(record.get("threshold", math.nan)) * volume_error
            parts = {
                "standard_error_sampling": sampling,
                "standard_error_calibration": calibration,
                "standard_error_threshold": edge,
            }
            means.append(total)
            errors.append(math.hypot(sampling, calibration, 0.0 if math.isnan(edge) else edge))
            details.append({"region": detail["region"], **parts})
        return self.made(quantity, unit, means, errors, details)

    def peaks(self, v: Volume, *, needed: bool, workers: int | None) -> pd.DataFrame:
        quantity, unit = _peak_quantity(v)
        nothing = [math.nan] * len(self.lesions)
        details: list[dict[str, Any]] = [{"region": name} for name in self.lesions]
        try:
            found = region_peaks(v, self.lesions, workers=workers)
        except GeometryMismatch as refusal:
            if needed:
                raise
            table = self.made(quantity, unit, nothing, nothing, details)
            text = f"no peak was taken: {refusal.what}"
            table.attrs["warnings"] = (Caution("peak-not-possible", text, quantity),)
            return _with_codes(table, [True] * len(self.lesions), "peak-not-possible")
        for detail in details:
            # how much a maximum over many spheres gains from noise is not known: no standard error
            detail["calibration_relative"] = self.calibration_relative
        table = self.made(quantity, unit, [float(value) for value in found.value[0]], nothing, details)
        table = _with_codes(table, list(found.inside[0] < _WHOLE_SPHERE), "peak-sphere-clipped")
        return _with_small(table, self.uptake["volume_ml"].tolist(), quantity)


def _volume_error(record: Any, uncertainty: float | None) -> float:
    if uncertainty is None or "threshold" not in record:
        return math.nan
    change = abs(record["volume_ml_at_lower_threshold"] - record["volume_ml_at_higher_threshold"])
    return float(uncertainty * change / (2.0 * THRESHOLD_CHANGE))


def _peak_quantity(v: Volume) -> tuple[str, str]:
    kind = v.quantity.removeprefix("suv_")
    if kind in KINDS and v.unit == "g/mL":
        return ("sul_peak" if kind.startswith("lbm") else "suv_peak"), v.unit
    return "uptake_peak", v.unit


def _with_small(table: pd.DataFrame, volume_ml: Sequence[float], quantity: str) -> pd.DataFrame:
    """Say of which lesions the sphere of the peak is larger, so that it holds what surrounds them."""
    small = [volume < SPHERE_ML for volume in volume_ml]
    if any(small):
        names = ", ".join(name for name, one in zip(table["region"], small, strict=True) if one)
        text = f"the {SPHERE_ML:g} mL sphere of the peak is larger than the lesion: {names}"
        table.attrs["warnings"] = (Caution("peak-larger-than-lesion", text, quantity),)
    return _with_codes(table, small, "peak-larger-than-lesion")


def _with_codes(table: pd.DataFrame, noted: Sequence[bool], code: str) -> pd.DataFrame:
    table["warnings"] = [
        ";".join(filter(None, (codes, code if note else "")))
        for codes, note in zip(table["warnings"], noted, strict=True)
    ]
    return table


def _ratios(
    x: Volume | Estimate,
    regions: Regions,
    lesions: list[str],
    backgrounds: Sequence[str],
    uptake: pd.DataFrame,
    level: float,
) -> list[UptakeRatio]:
    if not backgrounds:
        return []
    means = region_uptakes(x, regions, table=uptake)
    shared = x.calibration_relative if isinstance(x, Estimate) else 0.0
    return [
        ratio_of(means[lesion], means[background], level=level, calibration_relative=shared)
        for background in dict.fromkeys(backgrounds)
        for lesion in lesions
        if lesion != background
    ]


def _ratio_rows(ratios: Sequence[UptakeRatio], uptake: pd.DataFrame) -> pd.DataFrame:
    place = {name: n for n, name in enumerate(uptake["region"])}
    table = uptake.iloc[[place[ratio.numerator] for ratio in ratios]].copy()
    table.attrs = {}
    for column in _NUMBERS:
        table[column] = np.nan
    table["region"] = [f"{ratio.numerator}/{ratio.denominator}" for ratio in ratios]
    table["quantity"], table["unit"], table["flags"] = "uptake_ratio", "1", ""
    table["mean"] = [ratio.value for ratio in ratios]
    table["standard_error"] = [ratio.standard_error for ratio in ratios]
    for column, which in zip(INTERVAL, ("low", "high"), strict=True):
        table[column] = [getattr(ratio, which) for ratio in ratios]
    table["warnings"] = [
        ";".join(dict.fromkeys([*filter(None, [codes]), *(caution.code for caution in ratio.warnings)]))
        for codes, ratio in zip(table["warnings"], ratios, strict=True)
    ]
    table.attrs["details"] = [
        {
            "region": name,
            "level": ratio.level,
            "interval": [ratio.low, ratio.high],
            "correlation": ratio.correlation,
            "calibration_relative_cancelled": ratio.calibration_relative,
        }
        for name, ratio in zip(table["region"], ratios, strict=True)
    ]
    return table
