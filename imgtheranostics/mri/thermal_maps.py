"""What heat does: thermal dose, heated volume and heating power, from a temperature change along time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnitMismatch, merge_cautions
from imgtheranostics.mapping.estimates import calculated_estimate, estimate_of
from imgtheranostics.mapping.pairs import second_on_first
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.mapping.voxels import Mask, chosen_voxels
from imgtheranostics.mri.protocol import series_along
from imgtheranostics.mri.thermal_dose import NOTHING_BELOW_C, RATE_ABOVE, RATE_BELOW, REFERENCE_C
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.volume import Estimate, Volume, make_step

if TYPE_CHECKING:
    import pandas as pd


def cem43_map(
    change: Estimate,
    start_c: float | Volume,
    *,
    start_error_c: float = 0.0,
    rate_above: float = RATE_ABOVE,
    rate_below: float = RATE_BELOW,
    reference_c: float = REFERENCE_C,
    nothing_below_c: float = NOTHING_BELOW_C,
    mask: Mask = None,
) -> Estimate:
    """Thermal dose in cumulative equivalent minutes at 43 Cel.

    Parameters
    ----------
    change : Estimate
        ``temperature_change`` along time, as `temperature_map` gives it.
    start_c : float or Volume
        Temperature before heating, Cel, which the phase cannot tell.
    start_error_c : float
        Its standard error.
    rate_above, rate_below : float
        Factor per degree of the isoeffective time, above and below `reference_c`.
    reference_c, nothing_below_c : float
        Temperature of the convention, and that below which no dose counts, Cel.
    mask : Volume, Regions or array, optional

    Returns
    -------
    Estimate
        ``cem43`` in min.

    Raises
    ------
    UnitMismatch, UnsupportedInput, ImplausibleValue
    """
    from imgtheranostics.mri.thermal_dose import cem43

    temperature, time_s = _absolute(change, start_c)
    convention = {
        "rate_above": rate_above,
        "rate_below": rate_below,
        "reference_c": reference_c,
        "nothing_below_c": nothing_below_c,
    }
    chosen = chosen_voxels(temperature, change.value, mask=mask)
    own = change.maps.get("shared_error")
    from_reference = 0.0 if own is None else np.nan_to_num(own.data.astype(np.float64))
    error = np.nan_to_num(change.standard_error.data.astype(np.float64))
    common = np.broadcast_to(np.asarray(from_reference)[..., np.newaxis], error.shape)
    error = np.sqrt(np.maximum(error**2 - common**2, 0.0))
    with typed_refusals():
        fit = cem43(
            temperature,
            time_s=time_s,
            temperature_error=error if error.any() else None,
            shared_error=np.hypot(from_reference, start_error_c),
            mask=chosen.inside,
            **convention,
        )
    start = float(start_c) if not isinstance(start_c, Volume) else "map"
    return calculated_estimate(
        change.value,
        fit,
        "cem43_min",
        "cem43",
        make_step("cem43_map", start_c=start, **convention),
        chosen,
        decisions={
            **change.decisions,
            "start_temperature": {"rule": "given", "start_c": start},
            "thermal_dose": dict(fit.decisions),
        },
        warnings=merge_cautions(change.warnings, fit.warnings),
    )


def specific_absorption_rate_map(
    change: Estimate,
    iron_mg_ml: float | Volume | Estimate,
    *,
    window: tuple[int, int],
    heat_capacity_j_g_k: float,
    density_g_ml: float = 1.0,
    order: int = 1,
    iron_relative_uncertainty: float = 0.0,
    heat_capacity_relative_uncertainty: float = 0.0,
    mask: Mask = None,
) -> Estimate:
    """Heating power per gram of iron from the initial slope of temperature.

    Parameters
    ----------
    change : Estimate
        ``temperature_change`` along time.
    iron_mg_ml : float, Volume or Estimate
        Iron per mL: one value in mg/mL, or a map (``fe_concentration`` in mmol/L is converted).
    window : (first, stop)
        Images from switching the field on, as in a slice.
    heat_capacity_j_g_k, density_g_ml, order, iron_relative_uncertainty, heat_capacity_relative_uncertainty
        As in `imgtheranostics.mri.heating.specific_absorption_rate`.
    mask : Volume, Regions or array, optional

    Returns
    -------
    Estimate
        ``specific_absorption_rate`` in W/g.

    Raises
    ------
    UnitMismatch, UnsupportedInput, ImplausibleValue, GeometryMismatch
    """
    from imgtheranostics.mri.heating import specific_absorption_rate

    _check_change(change)
    series = series_along(change.value, "time")
    chosen = chosen_voxels(series.samples, change.value, mask=mask)
    error = change.standard_error.data.astype(np.float64)
    known = np.isfinite(error).any(axis=-1)
    typical = np.full(known.shape, np.nan)
    typical[known] = np.nanmedian(error[known], axis=-1)
    with typed_refusals():
        fit = specific_absorption_rate(
            series.samples.astype(np.float64),
            series.x,
            window=window,
            iron_mg_ml=_iron(iron_mg_ml, change.value),
            heat_capacity_j_g_k=heat_capacity_j_g_k,
            density_g_ml=density_g_ml,
            order=order,
            temperature_error=typical if known.any() else None,
            iron_relative_uncertainty=iron_relative_uncertainty,
            heat_capacity_relative_uncertainty=heat_capacity_relative_uncertainty,
            mask=chosen.inside,
        )
    return estimate_of(
        change.value,
        fit,
        "specific_absorption_rate_w_g",
        "specific_absorption_rate",
        make_step("specific_absorption_rate_map", window=list(window), order=order),
        chosen,
        calibration_relative=fit.calibration_relative,
        decisions={**change.decisions, "heating": dict(fit.decisions)},
        warnings=merge_cautions(change.warnings, fit.warnings),
    )


def heated_volume(
    change: Estimate, regions: Regions, start_c: float | Volume, *, above_c: float = 41.0
) -> pd.DataFrame:
    """Volume above a temperature in each region at each time.

    Parameters
    ----------
    change : Estimate
        ``temperature_change`` along time.
    regions : Regions
    start_c : float or Volume
        Temperature before heating, Cel.
    above_c : float
        41 Cel is where hyperthermia begins (review).

    Returns
    -------
    pandas.DataFrame
        Columns of `imgtheranostics.regions.STATISTICS_COLUMNS` with quantity ``heated_volume`` in mL: `mean`
        is the volume, `min` and `max` what it is when every voxel is one standard error colder or warmer, and
        `standard_error` half of their difference.
    """
    import pandas as pd

    from imgtheranostics.mri.thermal_dose import area_above

    temperature, time_s = _absolute(change, start_c)
    fitted = regions.fit_to(change.grid)
    rows: list[dict[str, Any]] = []
    for name in fitted:
        inside = fitted.mask(name)
        with typed_refusals():
            found = area_above(
                temperature,
                above_c=above_c,
                temperature_error=change.standard_error.data.astype(np.float64),
                voxel_volume_ml=change.grid.voxel_volume_ml,
                mask=inside,
            )
        rows += [_volume_row(change, name, inside, time_s[n], n, found) for n in range(time_s.size)]
    return pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))


def _volume_row(
    change: Estimate, name: str, inside: npt.NDArray[np.bool_], time_s: float, n: int, found: Any
) -> dict[str, Any]:
    each = change.grid.voxel_volume_ml
    low, high = each * float(found.n_voxels_low[n]), each * float(found.n_voxels_high[n])
    missing = dict.fromkeys(("sd", "median", "p05", "p95"), np.nan)
    return {
        "subject": change.value.source.subject,
        "session": change.value.source.session,
        "region": name,
        "quantity": "heated_volume",
        "unit": "mL",
        "axis": "time",
        "axis_value": float(time_s),
        "n_voxels": int(np.count_nonzero(inside)),
        "n_valid": int(found.n_valid[n]),
        "volume_ml": each * int(np.count_nonzero(inside)),
        "mean": each * float(found.n_voxels[n]),
        "standard_error": (high - low) / 2.0,
        "min": low,
        "max": high,
        "flags": "",
        "warnings": ";".join(dict.fromkeys(caution.code for caution in change.warnings)),
        **missing,
    }


def _check_change(change: Estimate) -> None:
    if change.quantity != "temperature_change":
        raise UnitMismatch(
            "a temperature change along time is needed",
            found=f"{change.quantity} [{change.unit}]",
            needed="temperature_change [Cel]",
            next_step="make it with temperature_map",
        )


def _absolute(
    change: Estimate, start_c: float | Volume
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Temperature in Cel along time, and the times."""
    from imgtheranostics.mri.thermometry import absolute_temperature

    _check_change(change)
    series = series_along(change.value, "time")
    if isinstance(start_c, Volume):
        start: npt.ArrayLike = second_on_first(change.value, start_c)[0].data
    else:
        start = float(start_c)
    with typed_refusals():
        return absolute_temperature(series.samples, start), series.x


def _iron(given: float | Volume | Estimate, v: Volume) -> npt.ArrayLike:
    from imgtheranostics.mri.agent_mass import mg_per_ml

    if isinstance(given, (int, float, np.integer, np.floating)):
        return float(given)
    image = second_on_first(v, given.value if isinstance(given, Estimate) else given)[0]
    if image.quantity == "fe_concentration":
        return mg_per_ml(image.data, "Fe")
    if image.quantity == "concentration":
        return image.data.astype(np.float64)
    raise UnitMismatch(
        "an iron concentration is needed",
        found=f"{image.quantity} [{image.unit}]",
        needed="fe_concentration [mmol/L] or concentration [mg/mL]",
    )
