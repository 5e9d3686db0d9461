"""Rows of regions before and after a correction for partial volume, in long form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.errors import Caution
from imgtheranostics.mapping.region_tables import below_each_other
from imgtheranostics.regions import STATISTICS_COLUMNS
from imgtheranostics.volume import Estimate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class PartialVolume:
    """Regions after a correction for partial volume.

    Attributes
    ----------
    table : pandas.DataFrame
        With the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`: per region the quantity of the
        image, corrected; ``uncorrected_mean``; ``apparent_recovery``, the one over the other; and
        ``recovery_coefficient``, the share of its own signal that a region keeps, of methods that know it.
    map : Estimate or None
        The corrected image of methods that make one.
    fwhm_mm : tuple of float
    decisions : mapping
    warnings : tuple of Caution
    """

    table: pd.DataFrame
    map: Estimate | None
    fwhm_mm: tuple[float, float, float]
    decisions: Mapping[str, Any]
    warnings: tuple[Caution, ...]


def long_rows(rows: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """One row per region, sample and result.

    Parameters
    ----------
    rows : pandas.DataFrame
        One row per region and sample with the columns of `STATISTICS_COLUMNS`, ``measured_mean``,
        ``measured_se``, ``recovery`` (NaN where it is not known) and, if known, ``recovery_se``.
    quantity : str
        Of the image.
    """
    bare = rows[list(STATISTICS_COLUMNS)].assign(quantity=quantity)
    other = bare.copy()
    for name in ("sd", "median", "p05", "p95", "min", "max"):
        other[name] = np.nan
    before = other.assign(
        quantity="uncorrected_mean", mean=rows["measured_mean"], standard_error=rows["measured_se"]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        share = rows["measured_mean"].to_numpy() / rows["mean"].to_numpy()
    share = np.where(np.isfinite(share), share, np.nan)
    apparent = other.assign(quantity="apparent_recovery", unit="1", mean=share, standard_error=np.nan)
    kept = other.assign(
        quantity="recovery_coefficient",
        unit="1",
        mean=rows["recovery"],
        standard_error=rows.get("recovery_se", np.nan),
        axis="",
        axis_value=np.nan,
    )
    kept = kept[kept["mean"].notna()].drop_duplicates(subset="region")
    return below_each_other([bare, before, apparent, kept])


def same_place(one: float, other: float) -> bool:
    """Whether two values of an axis are one; NaN, where there is no axis, is."""
    return one == other or (math.isnan(one) and math.isnan(other))


def sphere_diameter_mm(volume_ml: float) -> float:
    """Diameter of a sphere of that volume.

    >>> round(sphere_diameter_mm(0.5236), 3)
    10.0
    """
    return float((6000.0 * volume_ml / math.pi) ** (1.0 / 3.0))
