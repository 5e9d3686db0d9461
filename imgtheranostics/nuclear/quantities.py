"""Several quantities of one scan in its regions: which are possible, the maps, and one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.errors import (
    Caution,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.nuclear import analysis
from imgtheranostics.nuclear.administration import Administration, label_given
from imgtheranostics.nuclear.body import KINDS
from imgtheranostics.nuclear.calibration import Calibration, calibrate, calibration_uncertainty
from imgtheranostics.nuclear.free_label import free_label_pattern, label_of
from imgtheranostics.nuclear.maps import scaled_estimate
from imgtheranostics.regions import Regions, roi_statistics
from imgtheranostics.volume import Estimate, Volume, make_step

if TYPE_CHECKING:
    import pandas as pd

DEFAULTS = ("suv_bw", "id_per_g")
"""What is computed when nothing is asked for, as far as the data allow."""

MAPS = (*(f"suv_{kind}" for kind in KINDS), "id_per_g", "id_per_ml")
TABLE_ONLY = ("id_per_region",)
QUANTITIES = (*MAPS, *TABLE_ONLY)
"""Every quantity that `quantify` computes."""

_CANNOT_BE_HAD = (MissingMetadata, UnitMismatch, UnsupportedInput, ImplausibleValue)


@dataclass(frozen=True, eq=False)
class Quantified:
    """Maps, one table over all regions and quantities, and what to know about them."""

    estimates: tuple[Estimate, ...]
    table: pd.DataFrame
    warnings: tuple[Caution, ...]


@dataclass(frozen=True)
class Request:
    """How to quantify; the fields are those of `imgtheranostics.nuclear.analysis`."""

    administration: Administration | None = None
    density_g_ml: float | Volume = 1.0
    decay_correction: str | None = None
    strict: bool = False
    strict_clock: bool = False
    confirm_weight: bool = False
    sensitivity_cps_mbq: float | Calibration | None = None

    def dose(self) -> dict[str, Any]:
        """How to read dose and clock."""
        return {
            "decay_correction": self.decay_correction,
            "strict": self.strict,
            "strict_clock": self.strict_clock,
        }

    def estimate(self, volume: Volume, quantity: str) -> Estimate:
        """The map of one quantity."""
        dose = self.dose()
        if quantity == "id_per_g":
            return analysis.percent_id_per_gram(volume, self.administration, self.density_g_ml, **dose)
        if quantity == "id_per_ml":
            return analysis.percent_id_per_ml(volume, self.administration, **dose)
        kind = quantity.removeprefix("suv_")
        return analysis.suv(volume, kind, self.administration, confirm_weight=self.confirm_weight, **dose)


def activity_estimate(volume: Volume) -> Estimate:
    """An image in Bq/mL as an Estimate, with the error of its calibration.

    Raises
    ------
    UnitMismatch
        If it is in another unit.
    """
    if volume.quantity != "activity_concentration":
        raise UnitMismatch(
            "the image is not in activity per volume",
            found=f"{volume.quantity} [{volume.unit}]",
            needed="activity_concentration [Bq/mL]",
            next_step="calibrate counts, or choose the quantity that the image is",
        )
    return scaled_estimate(
        volume,
        np.ones((1,) * volume.data.ndim),
        volume.quantity,
        volume.unit,
        make_step("activity_concentration"),
        relative_uncertainty=calibration_uncertainty(volume),
        decisions={},
    )


def quantify(
    volume: Volume,
    regions: Regions,
    *,
    quantities: Sequence[str] | None = None,
    request: Request | None = None,
    resolution_mm: float | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> Quantified:
    """Compute quantities of a scan and their statistics in each region.

    Regions named like organs in which a free label collects are compared with blood or muscle; see
    `imgtheranostics.nuclear.free_label_pattern`.

    Parameters
    ----------
    volume : Volume
        PET or SPECT.
    regions : Regions
    quantities : sequence of str, optional
        Of `QUANTITIES`. When it is not given, `DEFAULTS` as far as the data allow: a quantity that cannot be
        had is left out with a caution that says why, and the refusal is raised when none is left.
    request : Request, optional
    resolution_mm, subject, session, workers
        See `imgtheranostics.regions.roi_statistics`.

    Raises
    ------
    ImgTheranosticsError
        If a quantity that was asked for, or each of the defaults, cannot be had.
    """
    import pandas as pd

    wanted = tuple(dict.fromkeys(quantities or DEFAULTS))
    unknown = [name for name in wanted if name not in QUANTITIES]
    if unknown:
        raise UnsupportedInput(
            "a quantity is not known", found=", ".join(unknown), needed="of " + ", ".join(QUANTITIES)
        )
    how = request or Request()
    volume = calibrate(volume, how.sensitivity_cps_mbq)
    labels: dict[str, Any] = {"subject": subject, "session": session}
    maps = [name for name in wanted if name in MAPS]
    estimates, cautions = _estimates(volume, maps, how, optional=not quantities)
    tables = [
        roi_statistics(estimate, regions, resolution_mm=resolution_mm, workers=workers, **labels)
        for estimate in estimates
    ]
    if "id_per_region" in wanted:
        per_region = analysis.percent_id_per_region(
            volume,
            regions,
            how.administration,
            resolution_mm=resolution_mm,
            workers=workers,
            **how.dose(),
        )
        for column, label in labels.items():
            if label is not None:
                per_region[column] = label
        tables.append(per_region)
    details = [row for part in tables for row in part.attrs.pop("details", [])]
    table = pd.concat(tables, ignore_index=True)
    table.attrs["details"] = details
    label = label_of(volume.acquisition, label_given(how.administration))
    cautions += free_label_pattern(table, nuclide=label)
    return Quantified(estimates, table, cautions)


def _estimates(
    volume: Volume, names: Sequence[str], how: Request, *, optional: bool
) -> tuple[tuple[Estimate, ...], tuple[Caution, ...]]:
    estimates: list[Estimate] = []
    cautions: list[Caution] = []
    refusals: list[ImgTheranosticsError] = []
    for name in names:
        try:
            estimates.append(how.estimate(volume, name))
        except _CANNOT_BE_HAD as refusal:
            if not optional:
                raise
            refusals.append(refusal)
            cautions.append(
                Caution("quantity-left-out", f"{name} was left out: {refusal.what}", refusal.where or "")
            )
    if refusals and not estimates:
        raise refusals[0]
    return tuple(estimates), tuple(cautions)
