"""Temperature from the phase of a series, thermal dose, heated volume and heating power, on Volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import MissingMetadata, UnitMismatch, UnsupportedInput, merge_cautions
from imgtheranostics.mri.change_maps import calculated_estimate
from imgtheranostics.mri.fitted_maps import estimate_of
from imgtheranostics.mri.pairs import second_on_first
from imgtheranostics.mri.preparation import Mask, chosen_voxels, mask_array
from imgtheranostics.mri.protocol import Series, mr_record, required, series_along
from imgtheranostics.mri.relaxation_plan import typed_refusals
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.volume import Estimate, Volume, make_step

if TYPE_CHECKING:
    import pandas as pd


def temperature_map(
    v: Volume,
    magnitude: Volume | None = None,
    *,
    reference: tuple[int, int] = (0, 1),
    unheated: Mask = None,
    drift_order: int = 1,
    fat: Mask = None,
    alpha_ppm_per_c: float = -0.01,
    alpha_relative_uncertainty: float = 0.0,
    echo_time_s: float | None = None,
    field_strength_t: float | None = None,
    noise_sd: float | None = None,
    unwrapped: bool = False,
    mask: Mask = None,
) -> Estimate:
    """Temperature change along time from the proton resonance frequency.

    Parameters
    ----------
    v : Volume
        Phase in rad along ``time``.
    magnitude : Volume, optional
        Beside it, on the same grid and times; with `noise_sd` it gives the standard error.
    reference : (first, stop)
        Images before heating.
    unheated : Volume, Regions or array, optional
        Where the temperature stays: the drift of the field is fitted there and taken away. Without it a
        caution says that drift remains.
    drift_order : {0, 1, 2}
        Of the polynomial in space.
    fat : Volume, Regions or array, optional
        Left out: protons of fat do not follow temperature.
    alpha_ppm_per_c, alpha_relative_uncertainty : float
        Temperature coefficient and its relative uncertainty, which all voxels share.
    echo_time_s, field_strength_t : float, optional
        Go before the file.
    noise_sd : float, optional
        Noise of the magnitude.
    unwrapped : bool
        Phases are continuous in time already.
    mask : Volume, Regions or array, optional

    Returns
    -------
    Estimate
        ``temperature_change`` in Cel along ``time``; `maps` hold the part of the error that all images of a
        voxel share.

    Raises
    ------
    UnitMismatch
        If the images are no phase in rad.
    MissingMetadata
        If echo time or field strength are not known.
    UnsupportedInput, GeometryMismatch, ImplausibleValue
    """
    from imgtheranostics.mri.thermometry import temperature_change

    _check_phase(v)
    series = series_along(v, "time")
    if series.others:
        raise UnsupportedInput(
            "temperature takes a phase along time alone",
            found=", ".join(axis.name for axis in v.axes),
            next_step="choose one echo with frame()",
        )
    purpose = "temperature from phase"
    echo = required(v, "echo_time_s", echo_time_s, purpose=purpose).scalar
    field_t = required(v, "field_strength_t", field_strength_t, purpose=purpose).scalar
    size = None if magnitude is None else _magnitude(series, magnitude)
    chosen = chosen_voxels(series.samples, v, mask=mask)
    with typed_refusals():
        fit = temperature_change(
            series.samples,
            echo_time_s=echo,
            field_t=field_t,
            reference=reference,
            alpha_ppm_per_c=alpha_ppm_per_c,
            alpha_relative_uncertainty=alpha_relative_uncertainty,
            magnitude=size,
            noise_sd=noise_sd,
            unheated=None if unheated is None else mask_array(unheated, v),
            drift_order=drift_order,
            fat=None if fat is None else mask_array(fat, v),
            unwrapped=unwrapped,
            mask=chosen.inside,
        )
    still = v.replace(axes=(), data=np.zeros(v.grid.shape, np.float32), history=(), warnings=())
    shared = still.replace(
        data=np.asarray(fit.parameters["shared_error_c"]), quantity="temperature_change", unit="Cel"
    )
    return calculated_estimate(
        v,
        fit,
        "temperature_change_c",
        "temperature_change",
        make_step("temperature_map", reference=list(reference), alpha_ppm_per_c=alpha_ppm_per_c),
        chosen,
        axes=(series.axis,),
        decisions={
            "method": {"rule": "proton resonance frequency", "echo_time_s": echo, "field_t": field_t},
            "thermometry": dict(fit.decisions),
            "mask": chosen.decision,
        },
        warnings=fit.warnings,
        beside={"shared_error": shared},
    )


def cem43_map(
    change: Estimate,
    start_c: float | Volume,
    *,
    start_error_c: float = 0.0,
    mask: Mask = None,
    **convention: float,
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
    mask : Volume, Regions or array, optional
    **convention
        ``rate_above``, ``rate_below``, ``reference_c``, ``nothing_below_c`` of
        `imgtheranostics.mri.thermal_dose.cem43`.

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
        decisions={**change.decisions, "start_temperature": {"rule": "given", "start_c": start}},
        warnings=change.warnings,
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
    known = np.isfinite(error).any()
    with typed_refusals():
        fit = specific_absorption_rate(
            series.samples.astype(np.float64),
            series.x,
            window=window,
            iron_mg_ml=_iron(iron_mg_ml, change.value),
            heat_capacity_j_g_k=heat_capacity_j_g_k,
            density_g_ml=density_g_ml,
            order=order,
            temperature_error=np.nanmedian(error, axis=-1) if known else None,
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


def _check_phase(v: Volume) -> None:
    mr_record(v)
    if v.quantity != "phase":
        raise UnitMismatch(
            "temperature starts from phase images in rad",
            found=f"{v.quantity} [{v.unit}]",
            needed="phase [rad]",
            next_step="give the phase series; a sidecar states it by ImageType PHASE and Units rad",
        )


def _check_change(change: Estimate) -> None:
    if change.quantity != "temperature_change":
        raise UnitMismatch(
            "a temperature change along time is needed",
            found=f"{change.quantity} [{change.unit}]",
            needed="temperature_change [Cel]",
            next_step="make it with temperature_map",
        )


def _magnitude(series: Series, magnitude: Volume) -> npt.NDArray[Any]:
    if magnitude.quantity != "signal":
        raise UnitMismatch("the magnitude is no signal", found=f"{magnitude.quantity} [{magnitude.unit}]")
    aligned, _, _ = second_on_first(series.volume, magnitude)
    beside = series_along(aligned, "time")
    if not np.allclose(beside.x, series.x, rtol=1e-6, atol=1e-3):
        raise UnsupportedInput(
            "magnitude and phase were taken at other times",
            found=f"{beside.x.size} and {series.x.size} images",
            needed="one magnitude for each phase image",
        )
    return beside.samples


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

    if isinstance(given, (int, float)):
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


def start_temperature(start_c: float | None) -> float:
    """The temperature before heating; MissingMetadata where nobody states it."""
    if start_c is None:
        raise MissingMetadata(
            "the temperature before heating is not stated; dose and heated volume need it",
            where="--start-c (start_c=)",
            needed="a temperature in Cel, such as 37",
            next_step="give --start-c",
        )
    return start_c
