"""Dose of regions as one long table: mean, dose at volume, volume at dose, equivalent doses, BED and EQD2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, NothingUsable, UnitMismatch
from imgtheranostics.mapping.region_tables import below_each_other
from imgtheranostics.nuclear.activity_curves import time_activity
from imgtheranostics.nuclear.curve_models import TERMS
from imgtheranostics.nuclear.curve_tables import fit_curve
from imgtheranostics.nuclear.dose_sampling import (
    dose_at_volume_error,
    geud_error,
    volume_at_dose_error,
)
from imgtheranostics.nuclear.dose_volume import PERCENTS, dose_table
from imgtheranostics.nuclear.radiobiology import bed_map, g_factor
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions, roi_statistics
from imgtheranostics.volume import Estimate, Flag, Volume

if TYPE_CHECKING:
    import pandas as pd

_MOST_TERMS = 4
_ROW = ("subject", "session", "region", "n_voxels", "n_valid", "volume_ml", "flags", "warnings")


@dataclass(frozen=True, slots=True)
class Biology:
    """What makes an effect of the dose in a region.

    Attributes
    ----------
    alpha_beta_gy : float
    g : float
        Protraction factor: 1 for a dose given at once.
    """

    alpha_beta_gy: float
    g: float


def dose_statistics(
    dose: Estimate,
    rois: Regions,
    *,
    at_least_gy: Sequence[float] = (),
    percents: Sequence[float] = PERCENTS,
    geud_a: Mapping[str, float] | float | None = None,
    biology: Mapping[str, Biology] | None = None,
    resolution_mm: float | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """All measures of dose by region, in long form.

    Parameters
    ----------
    dose : Estimate
        ``absorbed_dose`` or ``absorbed_dose_per_activity``.
    rois : Regions
    at_least_gy : sequence of float
        Doses x of Vx, in the unit of the map.
    percents : sequence of float
        Of the dose at volume.
    geud_a : float or mapping of region to float, optional
        Exponent of the equivalent uniform dose.
    biology : mapping of region to Biology, optional
        Regions for which BED and EQD2 are given.
    resolution_mm, subject, session, workers
        As in `imgtheranostics.regions.roi_statistics`.

    Returns
    -------
    pandas.DataFrame
        With the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`. The mean has the standard error of
        `roi_statistics`; ``d98_dose_at_volume``, ``v20_volume_at_dose``, ``equivalent_uniform_dose`` in the
        same way that of as many independent voxels, and of what all voxels share, see `dose_table`. Then
        ``biologically_effective_dose``, ``equieffective_dose_2gy`` and ``protraction_factor``.

    Raises
    ------
    UnitMismatch
        If BED is asked for of a dose per activity, to which it is not proportional.
    NothingUsable
        If a named region does not exist, or one has no voxel.
    ImgTheranosticsError, ValueError
        As `dose_table` and `bed_map`.
    """
    exponents = by_region(geud_a, rois)
    effects = by_region(biology, rois)
    if effects and dose.quantity != "absorbed_dose":
        raise UnitMismatch(
            "an effect follows from an absorbed dose, to which it is not proportional",
            found=f"{dose.quantity} [{dose.unit}]",
            needed="absorbed_dose [Gy]",
            next_step="give the activity that is given (--given-activity 10MBq)",
        )
    common: dict[str, Any] = {
        "resolution_mm": resolution_mm,
        "subject": subject,
        "session": session,
        "workers": workers,
    }
    whole = roi_statistics(dose, rois, **common)
    tables = [whole, _measures(dose, rois, whole, at_least_gy, percents, exponents)]
    for name, one in effects.items():
        region = rois.subset([name])
        for as_eqd2 in (False, True):
            effect = bed_map(dose, one.alpha_beta_gy, g=one.g, as_eqd2=as_eqd2)
            tables.append(roi_statistics(effect, region, **common))
        row = whole[whole["region"] == name].iloc[0]
        tables.append(_rows([{**_of(row), "quantity": "protraction_factor", "unit": "1", "mean": one.g}]))
    return below_each_other(tables)


def bed_maps(dose: Estimate, rois: Regions, biology: Mapping[str, Biology]) -> tuple[Estimate, ...]:
    """BED and EQD2 of the voxels of regions; nothing where regions overlap, whose voxels have two effects.

    Raises
    ------
    ImgTheranosticsError, ValueError
        As `dose_statistics`.
    """
    effects = by_region(biology, rois)
    inside = {
        name: voxels
        for name, voxels in zip(rois, rois.fit_to(dose.grid).voxel_lists(), strict=True)
        if name in effects
    }
    every = np.concatenate(list(inside.values())) if inside else np.zeros(0, np.int64)
    if not inside or np.unique(every).size < every.size:
        return ()
    return tuple(_assembled(dose, inside, effects, as_eqd2) for as_eqd2 in (False, True))


def region_protraction(
    scans: Volume | Sequence[Volume],
    rois: Regions,
    repair_half_life_s: float,
    *,
    half_life_s: float | None = None,
    model: str = "auto",
    **keywords: Any,
) -> tuple[dict[str, float], tuple[Caution, ...]]:
    """Protraction factor of each region from the exponentials of its mean curve.

    The dose rate is taken to fall as the activity of the region itself does.

    Parameters
    ----------
    scans : Volume or sequence of Volume
    rois : Regions
    repair_half_life_s : float
        Of sublethal damage.
    half_life_s : float, optional
        Physical half-life of the nuclide that gives the dose; that of the scans without it.
    model : str
        As in `fit_curve`; ``auto`` in the place of trapezoids, which are no exponentials.
    **keywords
        `administration`, `decay_correction`, `sensitivity_cps_mbq`, `strict_clock`, `workers` of
        `time_activity`.

    Returns
    -------
    dict of region to float, tuple of Caution

    Raises
    ------
    IllConditioned
        If a curve is not described by exponentials.
    ImgTheranosticsError, ValueError
        As `time_activity`, `fit_curve` and `g_factor`.
    """
    table = time_activity(scans, rois, quantity="activity_concentration", peak=False, **keywords)
    kind = model if model in TERMS else "auto"
    found = cast("pd.DataFrame", fit_curve(table, kind, half_life_s=half_life_s))
    rows = found[found["quantity"] == "time_integrated_activity"]
    factors = {}
    for place, name in zip(rows.index, rows["region"], strict=True):
        detail = found.attrs["details"][place]
        terms = [n for n in range(1, _MOST_TERMS + 1) if np.isfinite(detail.get(f"rate_{n}_per_s", np.nan))]
        if not terms:
            raise IllConditioned(
                "the curve of a region is not one of exponentials, so its dose rate is not known",
                where=f"region {name}",
                next_step="give the effective half-life of the dose rate (--dose-rate-half-life)",
            )
        rates = np.array([detail[f"rate_{n}_per_s"] for n in terms])
        amplitudes = np.array([detail[f"amplitude_{n}"] for n in terms])
        factors[str(name)] = float(g_factor(np.log(2.0) / rates, repair_half_life_s, amplitudes))
    return factors, tuple(found.attrs["warnings"])


def measure_name(measure: str) -> str:
    """Name of the quantity of a measure: ``D98`` is ``d98_dose_at_volume``, ``V0.5`` ``v0_5_volume_at_dose``.

    >>> measure_name("D98"), measure_name("V0.5")
    ('d98_dose_at_volume', 'v0_5_volume_at_dose')
    """
    ending = "dose_at_volume" if measure[0] == "D" else "volume_at_dose"
    return f"{measure.lower().replace('.', '_')}_{ending}"


def by_region(given: Any, rois: Regions) -> dict[str, Any]:
    """What is given for each region; one value for all of them.

    Raises
    ------
    NothingUsable
        If a region that is named does not exist.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(rois, given)
    unknown = [name for name in given if name not in list(rois)]
    if unknown:
        raise NothingUsable(
            "there is no such region", found=", ".join(unknown), needed="one of " + ", ".join(rois)
        )
    return dict(given)


def _measures(
    dose: Estimate,
    rois: Regions,
    whole: pd.DataFrame,
    at_least_gy: Sequence[float],
    percents: Sequence[float],
    exponents: Mapping[str, float],
) -> pd.DataFrame:
    rows = []
    fitted = rois.fit_to(dose.grid)
    flat = dose.value.data.reshape(-1, order="F")
    inside = dict(zip(fitted, fitted.voxel_lists(), strict=True))
    effective = {detail["region"]: float(detail["n_effective"]) for detail in whole.attrs["details"]}
    for name in rois:
        values = flat[inside[name]].astype(np.float64)
        values = values[np.isfinite(values)]
        found: Any = dose_table(
            dose,
            rois.subset([name]),
            at_least_gy=at_least_gy,
            a=exponents.get(name),
            percents=percents,
        )
        row = whole[whole["region"] == name].iloc[0]
        for one in found.itertuples(index=False):
            if one.measure in ("mean", "min", "max"):
                continue
            quantity = one.quantity if str(one.measure).startswith("gEUD") else measure_name(str(one.measure))
            measured = {"quantity": quantity, "unit": one.unit, "mean": one.value}
            sampling = _sampling_error(
                str(one.measure), one.value, values, effective[name], exponents.get(name)
            )
            error = float(np.hypot(one.standard_error, sampling))
            rows.append({**_of(row), **measured, "standard_error": error})
    return _rows(rows)


def _sampling_error(
    measure: str, value: float, dose: npt.NDArray[np.float64], n_effective: float, a: float | None
) -> float:
    if measure[0] == "D":
        return dose_at_volume_error(dose, float(measure[1:]), n_effective)
    if measure[0] == "V":
        return volume_at_dose_error(value, n_effective, dose.size)
    return geud_error(dose, float(a or 1.0), n_effective)


def _of(row: Any) -> dict[str, Any]:
    return {name: row[name] for name in _ROW}


def _rows(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    empty = {"axis": "", "axis_value": np.nan}
    numbers = ("sd", "standard_error", "median", "p05", "p95", "min", "max")
    return pd.DataFrame(
        [{**empty, **dict.fromkeys(numbers, np.nan), **row} for row in rows], columns=list(STATISTICS_COLUMNS)
    )


def _assembled(
    dose: Estimate, inside: Mapping[str, Any], effects: Mapping[str, Biology], as_eqd2: bool
) -> Estimate:
    """The effect in the voxels of each region; elsewhere none."""
    n = int(np.prod(dose.value.shape))
    value, error = np.full(n, np.nan), np.full(n, np.nan)
    flags = np.full(n, Flag.MASKED_OUT.value, np.uint16)
    shared, numbers = 0.0, {}
    effect = dose
    for name, voxels in inside.items():
        one = effects[name]
        effect = bed_map(dose, one.alpha_beta_gy, g=one.g, as_eqd2=as_eqd2)
        value[voxels] = effect.value.data.reshape(-1, order="F")[voxels]
        error[voxels] = effect.standard_error.data.reshape(-1, order="F")[voxels]
        flags[voxels] = effect.flags.data.reshape(-1, order="F")[voxels]
        shared = max(shared, effect.calibration_relative)
        numbers[name] = {"alpha_beta_gy": one.alpha_beta_gy, "g": one.g}
    shape = dose.value.shape
    return Estimate(
        effect.value.replace(data=value.reshape(shape, order="F")),
        effect.standard_error.replace(data=error.reshape(shape, order="F")),
        effect.flags.replace(data=flags.reshape(shape, order="F")),
        shared,
        {**dose.decisions, "radiobiology": numbers},
    )
