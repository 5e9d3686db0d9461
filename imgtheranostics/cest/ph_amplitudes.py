"""Ratio of two fitted amplitudes, with what they have in common where their lines overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import pools as fitting
from imgtheranostics.cest.ph_ratio import LEAST_ERRORS
from imgtheranostics.cest.pool_design import LORENTZIAN, Pool, Range
from imgtheranostics.fit import Fit
from imgtheranostics.volume import Flag

DoubleArray = npt.NDArray[np.float64]

PRESET = "iopamidol_4pool"

FARTHEST_POOL_PPM = 0.5
"""How far the start of a pool's centre may be from the offset that it is asked for at."""

_BLOCK = 4096
_LOST = Flag.MASKED_OUT | Flag.INVALID_INPUT | Flag.NOT_CONVERGED | Flag.BELOW_NOISE


def amplitude_ratio(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    at_ppm: Sequence[float],
    *,
    pools: Sequence[Pool] | None,
    baseline: Range | None,
    noise_sd: npt.ArrayLike | None,
    mask: npt.ArrayLike | None,
    workers: int | None,
) -> Fit:
    """Fit pools and divide the amplitudes of the two whose centres start nearest to `at_ppm`."""
    if pools is None:
        chosen = fitting.preset(PRESET)
        pools, baseline = tuple(chosen), chosen.baseline if baseline is None else baseline
    names = [_nearest(pools, at) for at in at_ppm]
    if names[0] == names[1]:
        raise ValueError(f"at_ppm {tuple(at_ppm)} are both nearest to the pool {names[0]}")
    if any(pool.line_shape != LORENTZIAN for pool in pools):
        raise ValueError("a ratio of amplitudes takes Lorentzian pools only")
    fit = fitting.fit(
        z,
        offset_ppm,
        pools,
        baseline=(1.0, 1.0, 1.0) if baseline is None else baseline,
        shared_shift=any(pool.name == "water" for pool in pools),
        noise_sd=noise_sd,
        mask=mask,
        workers=workers,
    )
    return _divided(fit, pools, names, np.asarray(offset_ppm, np.float64))


def _nearest(pools: Sequence[Pool], at: float) -> str:
    pool = min(pools, key=lambda one: abs(one.centre_ppm[0] - at))
    if abs(pool.centre_ppm[0] - at) > FARTHEST_POOL_PPM:
        raise ValueError(
            f"no pool begins within {FARTHEST_POOL_PPM:g} ppm of {at:g}; the centres begin at "
            + ", ".join(f"{one.centre_ppm[0]:g} ({one.name})" for one in pools)
        )
    return pool.name


def _divided(fit: Fit, pools: Sequence[Pool], names: list[str], offsets: DoubleArray) -> Fit:
    above, below = (np.asarray(fit.parameters[f"{name}_amplitude"], np.float64) for name in names)
    errors = [np.asarray(fit.standard_errors[f"{name}_amplitude"], np.float64) for name in names]
    correlation = _correlation(fit, pools, names, offsets)
    # An amplitude at its bound has no standard error; the ratio then has none either.
    with np.errstate(invalid="ignore", divide="ignore"):
        value = above / below
        covariance = correlation * errors[0] * errors[1]
        variance = (errors[0] ** 2 + (value * errors[1]) ** 2 - 2.0 * value * covariance) / below**2
        lost = (fit.flags & np.uint16(_LOST)) != 0
        hidden = ~lost & ~(below > LEAST_ERRORS * np.where(np.isfinite(errors[1]), errors[1], 0.0))
        error = np.sqrt(np.maximum(variance, 0.0))
    flags = np.asarray(fit.flags | np.where(hidden, np.uint16(Flag.BELOW_NOISE), np.uint16(0)), np.uint16)
    missing = lost | hidden
    dtype = fit.rmse.dtype
    return Fit(
        {"ratio": np.where(missing, np.nan, value).astype(dtype)},
        {"ratio": np.where(missing, np.nan, error).astype(dtype)},
        fit.r_squared,
        fit.rmse,
        fit.iterations,
        flags,
        {"ratio": "1"},
    )


def _correlation(fit: Fit, pools: Sequence[Pool], names: list[str], offsets: DoubleArray) -> DoubleArray:
    """Correlation of the two amplitudes from the model's derivatives, parameters at bounds known."""
    parameters = {name: np.ravel(values).astype(np.float64) for name, values in fit.parameters.items()}
    free = {
        name: np.isfinite(np.ravel(errors)) & (np.ravel(errors) > 0)
        for name, errors in fit.standard_errors.items()
    }
    out = np.zeros(fit.flags.size)
    for first in range(0, out.size, _BLOCK):
        part = slice(first, first + _BLOCK)
        here = {name: values[part] for name, values in parameters.items()}
        columns, rows = _jacobian(here, pools, offsets)
        known = np.stack([free[name][part] for name in rows], axis=1)
        columns = np.where(known[:, :, np.newaxis] & np.isfinite(columns), columns, 0.0)
        normal = np.einsum("vpn,vqn->vpq", columns, columns)
        size = np.sqrt(np.einsum("vpp->vp", normal))
        size = np.where(size > 0, size, 1.0)
        scaled = normal / size[:, :, np.newaxis] / size[:, np.newaxis, :]
        index = np.arange(len(rows))
        scaled[:, index, index] = np.where(scaled[:, index, index] > 0, scaled[:, index, index], 1.0)
        inverse = np.linalg.pinv(scaled, hermitian=True)
        i, j = (rows.index(f"{name}_amplitude") for name in names)
        both = np.sqrt(np.maximum(inverse[:, i, i] * inverse[:, j, j], 1e-300))
        out[part] = np.where(known[:, i] & known[:, j], inverse[:, i, j] / both, 0.0)
    return np.clip(out, -1.0, 1.0).reshape(fit.flags.shape)


def _jacobian(
    parameters: dict[str, DoubleArray], pools: Sequence[Pool], offsets: DoubleArray
) -> tuple[DoubleArray, list[str]]:
    """Derivatives of the spectrum (v, p, n), and the parameters that they are by."""
    shift = parameters.get("shift_ppm")
    columns: dict[str, DoubleArray] = {}
    moved = np.zeros((parameters["baseline"].size, offsets.size))
    for pool in pools:
        amplitude, width, centre = (
            parameters[f"{pool.name}_{end}"][:, np.newaxis]
            for end in ("amplitude", "width_ppm", "centre_ppm")
        )
        relative = shift is not None and pool.name != "water"
        distance = offsets - centre - (shift[:, np.newaxis] if relative and shift is not None else 0.0)
        half = 0.5 * width
        line = half**2 / (half**2 + distance**2)
        columns[f"{pool.name}_amplitude"] = -line
        columns[f"{pool.name}_width_ppm"] = -amplitude * line * (1.0 - line) / half
        by_centre = -amplitude * 2.0 * distance * line**2 / half**2
        columns[f"{pool.name}_centre_ppm"] = by_centre
        moved = moved + np.where(np.isfinite(by_centre), by_centre, 0.0)
    columns["baseline"] = np.ones_like(moved)
    if shift is not None:
        # The shift of the field moves all lines: it takes the place of water's own centre.
        columns["water_centre_ppm"] = np.zeros_like(moved)
        columns["shift_ppm"] = moved
    rows = [name for name in columns if name in parameters]
    return np.stack([columns[name] for name in rows], axis=1), rows
