"""Magnetic heating: specific absorption rate of iron from the initial slope of temperature."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.fit import shortfall
from imgtheranostics.mapping.calibrated_fit import CalibratedFit
from imgtheranostics.mapping.voxel_blocks import (
    Curves,
    DoubleArray,
    checked_baseline,
    checked_times,
    stored,
)
from imgtheranostics.volume import Flag

RATE = "heating_rate_k_per_min"
SAR = "specific_absorption_rate_w_g"

_MOST_HEAT_CAPACITY = 10.0


def field_frequency_product(field_a_per_m: float, frequency_hz: float) -> float:
    """H f of an alternating field, A/(m s), which decides how much heat tissue itself takes up.

    Parameters
    ----------
    field_a_per_m, frequency_hz : float
        Amplitude and frequency.

    Raises
    ------
    ImplausibleValue
        If one is not positive.

    Examples
    --------
    >>> field_frequency_product(8e3, 230e3)
    1840000000.0
    """
    for name, value in (("field_a_per_m", field_a_per_m), ("frequency_hz", frequency_hz)):
        if not (math.isfinite(value) and value > 0):
            raise ImplausibleValue(f"{name} must be positive", where=name, found=f"{value:g}")
    return float(field_a_per_m) * float(frequency_hz)


def initial_heating_rate(
    specific_absorption_rate_w_g: float,
    iron_mg_ml: float,
    *,
    heat_capacity_j_g_k: float,
    density_g_ml: float = 1.0,
) -> float:
    """First temperature rise in K/min of a medium with iron that absorbs a power, SAR c_Fe / (c rho).

    Parameters
    ----------
    specific_absorption_rate_w_g : float
        W per g of iron.
    iron_mg_ml, heat_capacity_j_g_k, density_g_ml : float
        Of the medium.

    Raises
    ------
    ImplausibleValue
        If a value cannot be.

    Examples
    --------
    >>> round(initial_heating_rate(250.0, 1.0, heat_capacity_j_g_k=4.18), 1)
    3.6
    """
    per_gram = _heat_per_iron(iron_mg_ml, heat_capacity_j_g_k, density_g_ml)
    return 60.0 * float(specific_absorption_rate_w_g) / float(per_gram)


def specific_absorption_rate(
    temperature_c: npt.ArrayLike,
    time_s: npt.ArrayLike,
    *,
    window: tuple[int, int],
    iron_mg_ml: npt.ArrayLike,
    heat_capacity_j_g_k: float,
    density_g_ml: float = 1.0,
    order: int = 1,
    temperature_error: npt.ArrayLike | None = None,
    iron_relative_uncertainty: float = 0.0,
    heat_capacity_relative_uncertainty: float = 0.0,
    mask: npt.ArrayLike | None = None,
) -> CalibratedFit:
    """Power per gram of iron from the initial slope of temperature, SAR = c rho (dT/dt) / c_Fe.

    Heat that flows away bends the curve down and makes a straight line too flat: keep the window short, or
    take ``order=2``, whose slope is that at the window's first time.

    Parameters
    ----------
    temperature_c : (..., n) array_like
        Temperature or its change.
    time_s : (n,) array_like
    window : (first, stop)
        Samples from switching the field on.
    iron_mg_ml : float or (...) array_like
        Iron concentration, mg of the element per mL. Voxels without iron are NaN.
    heat_capacity_j_g_k, density_g_ml : float
        Of the medium; water has 4.18 J/(g K).
    order : {1, 2}
        Degree of the polynomial.
    temperature_error : float or (...) array_like, optional
        Standard error of one sample; without it, the scatter about the polynomial.
    iron_relative_uncertainty, heat_capacity_relative_uncertainty : float
        Common to all voxels.
    mask : (...) array_like of bool, optional

    Returns
    -------
    CalibratedFit
        ``heating_rate_k_per_min`` and ``specific_absorption_rate_w_g`` (W/g). `rmse` in Cel.

    Raises
    ------
    ValueError
        If shapes, window or order do not fit, or the window has fewer samples than the polynomial has terms.
    ImplausibleValue
        If heat capacity or density cannot be.
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}")
    times = checked_times(time_s)
    curves = Curves.of(temperature_c, times.size, mask, "temperature_c")
    first, stop = checked_baseline(window, times.size, "window")
    n, n_terms = stop - first, order + 1
    if n < n_terms:
        raise ValueError(f"a slope of order {order} needs at least {n_terms} samples, the window has {n}")
    iron = curves.flat(iron_mg_ml, "iron_mg_ml")
    heat = _heat_per_iron(1.0, heat_capacity_j_g_k, density_g_ml)
    design = np.vander(times[first:stop] - times[first], n_terms, increasing=True)
    inverse = np.linalg.pinv(design)
    given = None if temperature_error is None else curves.flat(temperature_error, "temperature_error")
    rows = np.full((4, curves.planes.n_voxels), np.nan)
    flags = curves.flags()
    for index in curves.blocks():
        samples = curves.samples(index)[first:stop]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            fitted = inverse @ samples
            squares = ((samples - design @ fitted) ** 2).sum(axis=0)
            about = ((samples - samples.mean(axis=0)) ** 2).sum(axis=0)
            spread = _spread(squares, n - n_terms) if given is None else given[index]
            rows[:, index] = (
                fitted[1], spread * np.linalg.norm(inverse[1]), np.sqrt(squares / n), 1.0 - squares / about
            )  # fmt: skip
        flags[index[~np.isfinite(fitted[1])]] |= Flag.INVALID_INPUT.value
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        bad = curves.chosen & ~((iron > 0) & np.isfinite(iron))
        flags[bad] |= Flag.INVALID_INPUT.value
        factor = np.where(bad, np.nan, heat / iron)
    common = math.hypot(float(iron_relative_uncertainty), float(heat_capacity_relative_uncertainty))
    return _heating_fit(
        curves,
        rows,
        factor,
        flags,
        common,
        {
            "rule": f"polynomial of order {order} over samples {first} to {stop - 1}",
            "heat_capacity_j_g_k": float(heat_capacity_j_g_k),
            "density_g_ml": float(density_g_ml),
        },
    )


def _spread(squares: DoubleArray, freedom: int) -> DoubleArray:
    """Noise of one sample from its scatter about the polynomial; NaN without degrees of freedom."""
    if freedom < 1:
        return np.full_like(squares, np.nan)
    noise: DoubleArray = np.sqrt(squares / freedom) / shortfall(freedom)
    return noise


def _heating_fit(
    curves: Curves,
    rows: DoubleArray,
    factor: DoubleArray,
    flags: npt.NDArray[np.uint16],
    relative: float,
    decisions: dict[str, object],
) -> CalibratedFit:
    slope, error, rmse, r_squared = rows
    dtype = curves.planes.samples.dtype

    def shaped(values: DoubleArray) -> npt.NDArray[np.floating]:
        return curves.restored(stored(values, dtype))

    with np.errstate(over="ignore", invalid="ignore"):
        power, power_error = slope * factor, error * factor
        common = np.abs(power) * relative
    flags[(flags == 0) & ~np.isfinite(stored(power, dtype))] |= Flag.OUTSIDE_RANGE.value
    return CalibratedFit(
        {RATE: shaped(60.0 * slope), SAR: shaped(power)},
        {RATE: shaped(60.0 * error), SAR: shaped(power_error)},
        shaped(r_squared),
        shaped(rmse),
        np.zeros(curves.planes.shape, np.int32),
        curves.restored(flags),
        {RATE: "K/min", SAR: "W/g"},
        calibration_errors={SAR: shaped(common)},
        calibration_relative=relative,
        decisions=decisions,
    )


def _heat_per_iron(iron_mg_ml: float, heat_capacity_j_g_k: float, density_g_ml: float) -> float:
    """J per K and gram of iron at a concentration."""
    for name, value, most in (
        ("iron_mg_ml", iron_mg_ml, 1e3),
        ("heat_capacity_j_g_k", heat_capacity_j_g_k, _MOST_HEAT_CAPACITY),
        ("density_g_ml", density_g_ml, 25.0),
    ):
        if not 0 < value <= most:
            raise ImplausibleValue(
                f"{name} cannot be that",
                where=name,
                found=f"{value:g}",
                needed=f"above 0 and at most {most:g}",
                next_step="heat capacity is in J/(g K), density in g/mL, iron in mg of the element per mL",
            )
    return float(heat_capacity_j_g_k) * float(density_g_ml) / (float(iron_mg_ml) * 1e-3)
