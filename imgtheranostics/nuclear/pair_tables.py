"""Curves of regions of one nuclide, and what another one on the same carrier would do in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.errors import Caution, MissingMetadata, UnitMismatch, merge_cautions
from imgtheranostics.fit import CurveFit
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.nuclear.activity_curves import time_activity
from imgtheranostics.nuclear.administration import Administration
from imgtheranostics.nuclear.curve_models import AREAS
from imgtheranostics.nuclear.curve_rows import RegionCurve, region_curves
from imgtheranostics.nuclear.curve_tables import fit_curve
from imgtheranostics.nuclear.pair_curves import accepted_share
from imgtheranostics.nuclear.pair_drawings import drawn_pair
from imgtheranostics.nuclear.pair_records import biological_table, check_imaged, imaged_nuclide
from imgtheranostics.nuclear.pair_rows import REPLACED, Asked, Results, Row, region_rows
from imgtheranostics.nuclear.pair_rules import twins
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.volume import Volume

if TYPE_CHECKING:
    import pandas as pd


SHARES = ("id_per_g", "id_per_ml", "id_per_region")
"""Quantities of curves that become dose per activity: shares of what was injected."""


def pair_table(
    scans: pd.DataFrame | Volume | Sequence[Volume],
    regions: Regions | Sequence[Regions] | None = None,
    *,
    given: str,
    imaged: str | None = None,
    model: str = "auto",
    uptake: bool | None = None,
    tail: str = "physical",
    beginning: str = "linear",
    column: str = "mean",
    weights: str = "equal",
    level: float = 0.95,
    intervals: str = "covariance",
    rng: np.random.Generator | int = 0,
    n_resamples: int = 999,
    masses_g: Mapping[str, float] | None = None,
    density_g_ml: float = 1.0,
    progeny: str = "none",
    allow_other_element: bool = False,
    most_extrapolated: float | None = None,
    quantity: str | None = None,
    administration: Administration | None = None,
    **scanning: Any,
) -> pd.DataFrame:
    """What `given` would do in each region, from the curves of the nuclide that was imaged.

    The curves, as if nothing decayed, are those of the carrier; decay of one or the other nuclide is put on
    them. Two elements are refused as in `imgtheranostics.nuclear.pairs.transfer`.

    Parameters
    ----------
    scans : pandas.DataFrame, Volume or sequence of Volume
        A table of `time_activity` in %ID/g, %ID/mL or %ID; or scans of one subject, for which it is made.
    regions : Regions or sequence of Regions, optional
        For scans.
    given : str
        Nuclide that will be given, such as ``Y-90``.
    imaged : str, optional
        Nuclide that was imaged, where scans or table do not name it.
    model, uptake, tail, beginning, column, weights, level, intervals, rng, n_resamples
        As in `fit_curve`; of the biological curve.
    masses_g : mapping of str to float, optional
        Mass of regions by name; by default their volume times `density_g_ml`.
    density_g_ml : float
        Of all regions: makes %ID/g of scans, and masses of volumes.
    progeny : {"none", "in_place"}
        As in `imgtheranostics.nuclear.absorbed_dose`.
    allow_other_element : bool
        Confirm two elements.
    most_extrapolated : float, optional
        Refuse where a larger share of the decays of `given` is after the last image.
    quantity : str, optional
        Of the curves of scans: ``id_per_g`` (default) or ``id_per_ml``.
    administration : Administration, optional
        Of the scans; goes before what the headers say.
    **scanning
        Further keywords of `time_activity`.

    Returns
    -------
    pandas.DataFrame
        Per region ``local_dose_per_activity`` and, where the mass is known, ``self_dose_per_activity``,
        Gy/MBq;
        ``effective_half_life``, ``tiac_per_g`` (``tiac_per_ml``, ``tiac``), ``mean_residence_time`` and
        ``extrapolated_fraction`` of `given`; ``imaged_effective_half_life`` and ``imaged_tiac_per_g`` of the
        nuclide imaged; ``biological_half_life``, and the uptake ``id_per_g_at_injection`` by the curve of the
        carrier. Columns are those of `imgtheranostics.regions.STATISTICS_COLUMNS`; errors of areas and doses
        contain the calibration that all scans share, half-lives have none of it. ``attrs`` has the
        ``details`` of each row (interval, parts of the error, bounds of what is extrapolated), the ``curves``
        to draw, ``decisions`` and ``warnings``.

    Raises
    ------
    ValueError
        If a choice does not exist, or a mass is not positive or of no region.
    ImplausibleValue
        If the nuclides are of two elements, or do not fit the half-life of the scans.
    MissingMetadata
        If the nuclide that was imaged is not known.
    UnitMismatch
        If the curves are no shares of what was injected.
    IllConditioned
        If there are too few times, or more is extrapolated than accepted.
    ImgTheranosticsError
        As `time_activity` and `fit_curve`.
    """
    import pandas as pd

    accepted_share(most_extrapolated)
    if not (math.isfinite(density_g_ml) and density_g_ml > 0):
        raise ValueError(f"density_g_ml must be positive, not {density_g_ml!r}")
    if isinstance(scans, pd.DataFrame):
        if regions is not None or quantity is not None or administration is not None or scanning:
            raise UnknownChoice("regions, quantity, administration and options of scans are not for a table")
        table = scans
    else:
        table = _curves(scans, regions, imaged, administration, quantity, density_g_ml, scanning)
    source = imaged_nuclide(table.attrs, imaged)
    pair = twins(source.name, given, allow_other_element=allow_other_element)
    _check_shares(table)
    biological = biological_table(table, source.half_life_s)
    curves = region_curves(biological, column, pair.given.half_life_s, True)
    masses = _checked_masses(masses_g, curves)
    options: dict[str, Any] = {
        "model": model, "uptake": uptake, "tail": tail, "beginning": beginning, "column": column,
        "weights": weights, "level": level, "decay_corrected": True,
    }  # fmt: skip
    drawn: dict[str, Any] = {"intervals": intervals, "rng": rng, "n_resamples": n_resamples}
    found = fit_curve(biological, half_life_s=pair.given.half_life_s, **options, **drawn)
    own = fit_curve(biological, half_life_s=source.half_life_s, **options)
    asked = Asked(pair, model, uptake, weights, level, masses, density_g_ml, progeny, most_extrapolated)
    return _assembled(asked, curves, _Fitted.of(found), _Fitted.of(own), table)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A table of `fit_curve`, region by region: rows with their details by quantity."""

    regions: list[Results]
    curves: tuple[CurveFit, ...]
    warnings: tuple[Caution, ...]

    @classmethod
    def of(cls, found: Any) -> _Fitted:
        records = found.to_dict("records")
        details, curves = found.attrs["details"], found.attrs["curves"]
        each = len(records) // len(curves)
        parts = [
            {
                row["quantity"]: (row, detail)
                for row, detail in zip(records[n : n + each], details[n : n + each], strict=True)
            }
            for n in range(0, len(records), each)
        ]
        return cls(parts, curves, found.attrs["warnings"])


def _assembled(
    asked: Asked, curves: list[RegionCurve], found: _Fitted, own: _Fitted, table: pd.DataFrame
) -> pd.DataFrame:
    import pandas as pd

    rows: list[Row] = []
    details: list[Row] = []
    drawings: list[CurveFit] = []
    cautions: list[Caution] = []
    for curve, given, imaged, fitted in zip(curves, found.regions, own.regions, found.curves, strict=True):
        made = region_rows(asked, curve, given, imaged)
        detail = given[AREAS[curve.quantity][0]][1]
        rows += [row for row, _ in made.rows]
        details += [detail for _, detail in made.rows]
        cautions += made.cautions
        results = {row["quantity"]: (row["mean"], row["standard_error"]) for row, _ in made.rows}
        drawings.append(
            drawn_pair(
                curve,
                fitted,
                detail,
                asked.pair.given,
                asked.model,
                asked.uptake,
                asked.weights,
                asked.level,
                results,
            )
        )
    result = pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))
    kept = tuple(one for one in found.warnings if one.code not in REPLACED)
    result.attrs = {
        "details": details,
        "curves": tuple(drawings),
        "decisions": {"pair": asked.pair.decisions(), "scans": list(table.attrs.get("decisions", ()))},
        "warnings": merge_cautions(asked.pair.said(), kept, tuple(cautions)),
    }
    return result


def _curves(
    scans: Volume | Sequence[Volume],
    regions: Regions | Sequence[Regions] | None,
    imaged: str | None,
    administration: Administration | None,
    quantity: str | None,
    density_g_ml: float,
    scanning: Mapping[str, Any],
) -> pd.DataFrame:
    """The table of `time_activity`, decay corrected, in a share of what was injected."""
    if regions is None:
        raise UnknownChoice("regions must be given for scans")
    if imaged is not None:
        check_imaged(scans, imaged)
        if administration is None or administration.nuclide is None:
            administration = replace(administration or Administration(None, None), nuclide=imaged)
    return time_activity(
        scans,
        regions,
        quantity=quantity or "id_per_g",
        decay_corrected=True,
        administration=administration,
        density_g_ml=density_g_ml,
        **scanning,
    )


def _check_shares(table: pd.DataFrame) -> None:
    if "quantity" not in table.columns:
        return
    found = sorted({str(name) for name in table["quantity"]})
    if len(found) != 1 or found[0] not in SHARES:
        raise UnitMismatch(
            "dose per activity needs curves of a share of what was injected",
            found=", ".join(found),
            needed=f"one of {', '.join(SHARES)}",
            next_step="make the curves with quantity='id_per_g', which needs the injected activity",
        )


def _checked_masses(masses_g: Mapping[str, float] | None, curves: list[RegionCurve]) -> dict[str, float]:
    masses = {str(name): float(mass) for name, mass in (masses_g or {}).items()}
    known = {curve.region for curve in curves}
    strange = sorted(set(masses) - known)
    if strange:
        raise UnknownChoice(f"masses_g= (--mass) must name regions: there is no {', '.join(strange)}")
    for name, mass in masses.items():
        if not (math.isfinite(mass) and mass > 0):
            raise ValueError(f"masses_g must be positive, not {mass!r} for {name}")
    for curve in curves:
        if curve.quantity == "id_per_region" and curve.region not in masses and not curve.volume_ml > 0:
            raise MissingMetadata(
                "the mass of a region is not known, so its share of the activity gives no dose",
                where=f"region {curve.region}",
                next_step="give masses_g (--mass NAME=G)",
            )
    return masses
