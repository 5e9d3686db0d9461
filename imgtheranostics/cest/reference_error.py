"""What the noise of the unsaturated signal does to fitted pools: it scales the whole spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_choice import ChosenPools
from imgtheranostics.cest.pool_curves import evaluate
from imgtheranostics.cest.pool_design import LORENTZIAN, WATER, Pool
from imgtheranostics.cest.voxel_spectra import Array, FloatArray
from imgtheranostics.fit import Fit

_BLOCK = 512
_STEP = 1e-5
_RIDGE = 1e-12
_PARTS = ("amplitude", "width_ppm", "centre_ppm")


def with_reference_error(
    fit: Fit,
    pools: ChosenPools,
    offset_ppm: FloatArray,
    noise_sd: Array,
    m0_shares: FloatArray,
    *,
    shared_shift: bool,
) -> Fit:
    """A fit whose standard errors contain the noise of the signal that spectra were divided by.

    An unsaturated signal, wrong by the share e, multiplies the samples that it enters by 1 - e, which is no
    noise of single samples: to first order, parameters change by (J'J)^-1 J' Z e. What of Z e the lines
    cannot take up is in the residuals, from which the fit has its errors; these are freed of it.

    Parameters
    ----------
    fit : Fit
        Of `imgtheranostics.cest.pools.fit`, arrays (...).
    pools : ChosenPools
    offset_ppm : (n,) ndarray
    noise_sd : (...) ndarray
        Noise of a sample as fraction of the unsaturated signal; what is not finite adds nothing.
    m0_shares : (n, m) ndarray
        How independent noise enters the unsaturated signal of each sample (`PreparedSpectra.m0_shares`).
    shared_shift : bool
        As in the fit.
    """
    names = ["baseline", *(f"{pool.name}_{part}" for pool in pools.pools for part in _PARTS)]
    order = np.asarray(fit.flags)
    values = {name: np.asarray(fit.parameters[name], np.float64).ravel() for name in names}
    errors = {name: np.array(part, np.float64).ravel() for name, part in fit.standard_errors.items()}
    noise = np.asarray(noise_sd, np.float64).ravel()
    depths = [name for name in names if not name.endswith("_ppm")]
    solved = np.isfinite(np.array([values[name] for name in depths])).all(axis=0)
    todo = np.flatnonzero(solved & np.isfinite(noise) & (noise > 0))
    for first in range(0, todo.size, _BLOCK):
        voxels = todo[first : first + _BLOCK]
        # A pool without depth has neither width nor centre; any will do for its line of zeros.
        at = {name: np.nan_to_num(part[voxels], nan=1.0) for name, part in values.items()}
        free = np.array([errors[name][voxels] > 0 for name in names]).T
        change, left = _change(at, names, pools, offset_ppm, m0_shares, free, shared_shift)
        freedom = np.maximum(offset_ppm.size - free.sum(axis=1), 1)
        own = 1.0 / np.sqrt(1.0 + left / freedom)
        for n, name in enumerate(names):
            total = np.hypot(errors[name][voxels] * own, change[:, n] * noise[voxels])
            errors[name][voxels] = np.where(free[:, n], total, errors[name][voxels])
    if shared_shift and "shift_ppm" in errors:
        errors["shift_ppm"] = errors[f"{WATER}_centre_ppm"]
    kept = {
        name: part.reshape(order.shape).astype(np.asarray(fit.standard_errors[name]).dtype)
        for name, part in errors.items()
    }
    return replace(fit, standard_errors=kept)


def _change(
    at: Mapping[str, FloatArray],
    names: Sequence[str],
    pools: ChosenPools,
    offset_ppm: FloatArray,
    m0_shares: FloatArray,
    free: npt.NDArray[np.bool_],
    shared_shift: bool,
) -> tuple[FloatArray, FloatArray]:
    """What noise of M0 changes: each parameter (v, p), and what is left of Z, squared (v,)."""
    v = at["baseline"].size
    jacobian = np.zeros((v, len(names), offset_ppm.size))
    jacobian[:, 0] = 1.0
    shift = at[f"{WATER}_centre_ppm"] if shared_shift else np.zeros(v)
    z = np.repeat(at["baseline"][:, np.newaxis], offset_ppm.size, axis=1)
    for k, pool in enumerate(pools.pools):
        own = {part: at[f"{pool.name}_{part}"] for part in _PARTS}
        if shared_shift and pool.name != WATER:
            own["centre_ppm"] = own["centre_ppm"] + shift
        line, slopes = _line(pool, own, pools, offset_ppm)
        z -= line
        for n, slope in enumerate(slopes):
            jacobian[:, 1 + 3 * k + n] = -slope
    if shared_shift:
        centres = [n for n, name in enumerate(names) if name.endswith("_centre_ppm")]
        jacobian[:, names.index(f"{WATER}_centre_ppm")] = jacobian[:, centres].sum(axis=1)
    jacobian *= free[..., np.newaxis]
    size = np.linalg.norm(jacobian, axis=-1)
    size[size == 0.0] = 1.0
    scaled = jacobian / size[..., np.newaxis]
    normal = scaled @ np.swapaxes(scaled, 1, 2)
    diagonal = np.arange(len(names))
    normal[:, diagonal, diagonal] += np.where(free, _RIDGE, 1.0)
    factors = z[..., np.newaxis] * m0_shares
    right = (scaled @ factors) * free[..., np.newaxis]
    change = np.linalg.solve(normal, right)
    left = factors - np.swapaxes(scaled, 1, 2) @ change
    return np.linalg.norm(change, axis=-1) / size, np.square(left).sum(axis=(1, 2))


def _line(
    pool: Pool, own: Mapping[str, FloatArray], pools: ChosenPools, offset_ppm: FloatArray
) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
    """Depth of one pool's line, (v, n), and its slopes over amplitude, width and centre."""
    amplitude, width, centre = (own[part][:, np.newaxis] for part in _PARTS)
    if pool.line_shape != LORENTZIAN:
        return _other_line(pool.name, own, pools, offset_ppm)
    distance = offset_ppm - centre
    if pools.bandwidth_ppm is not None:
        half = 0.5 * pools.bandwidth_ppm
        distance = distance - np.clip(distance, -half, half)
    u = 2.0 * distance / width
    shape = 1.0 / (1.0 + u**2)
    steep = 2.0 * amplitude * u * shape**2 / width
    return amplitude * shape, (shape, steep * u, 2.0 * steep)


def _other_line(
    name: str, own: Mapping[str, FloatArray], pools: ChosenPools, offset_ppm: FloatArray
) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
    """The same by differences."""

    def depth(values: Mapping[str, FloatArray]) -> FloatArray:
        given = {f"{name}_{part}": one for part, one in values.items()}
        baseline = {"baseline": np.ones_like(own["amplitude"])}
        curves = evaluate(
            {**baseline, **given},
            offset_ppm,
            line_shapes=pools.line_shapes,
            bandwidth_ppm=pools.bandwidth_ppm,
        )
        return np.asarray(curves.pools[name])

    line = depth(own)
    slopes = []
    for part in _PARTS:
        step = _STEP * (np.ones_like(own[part]) if part == "amplitude" else own["width_ppm"])
        slopes.append((depth({**own, part: own[part] + step}) - line) / step[:, np.newaxis])
    return line, (slopes[0], slopes[1], slopes[2])
