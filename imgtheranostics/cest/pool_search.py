"""Fits of pools to many Z-spectra: blocks, starts from neighbours, second starts, what failed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_block import Block, FloatArray, Indices, Setting, once_more, run_kernel
from imgtheranostics.cest.pool_design import UNIDENTIFIABLE, Design
from imgtheranostics.cest.pool_restarts import WEAK, restart_weak_lines, weak_lines
from imgtheranostics.fit import Fit, PlanarSignal, shortfall
from imgtheranostics.volume import Flag

BLOCK_BYTES = 5 << 19
"""Spectra in float64 that are fitted at a time."""

LARGEST_Z = 1.2
"""Z above this is no spectrum of a fully relaxed magnetisation (cest.md, section 2)."""

LARGEST = 1e100
"""Values whose squares would overflow are no better than infinite ones."""

CHANCE = 1e-3
"""Chance that noise alone passes as a Z-spectrum (F test)."""

TILE = 4
"""Voxels in a row of a tile that begin where the fit of its seed ended."""

EXCEEDING = 1.3
"""Squared residual over that of the noise above which a second start is worth its time."""


def fit_block(
    setting: Setting,
    curves: FloatArray,
    near: tuple[FloatArray, Indices] | None,
    noise_sd: FloatArray | None,
) -> Block:
    """Fit curves from the set's starts or, where that cannot matter, from those of a table."""
    if near is None:
        return _fit_anew(setting, curves, noise_sd)
    found = run_kernel(setting, curves, near=near)
    again = np.flatnonzero(_unsure(setting, found) | _unexplained(setting, curves, found, noise_sd))
    if again.size:
        noise = None if noise_sd is None else noise_sd[again]
        anew = _fit_anew(setting, np.ascontiguousarray(curves[again]), noise)
        found.take(anew, again, np.ones(again.size, np.bool_))
    return found


def _unsure(setting: Setting, found: Block) -> npt.NDArray[np.bool_]:
    """Fits with weak lines: the minimum of a neighbour may be another one, the set's starts decide there."""
    return np.asarray(weak_lines(setting, found, WEAK).any(axis=1))


def _fit_anew(setting: Setting, curves: FloatArray, noise_sd: FloatArray | None) -> Block:
    """Fit curves, once more those that the first start did not explain, and those with weak lines."""
    found = run_kernel(setting, curves)
    again = np.flatnonzero(_unexplained(setting, curves, found, noise_sd))
    if again.size:
        once_more(setting, curves, found, again, avoided=found.start_of[again] // 2)
    restart_weak_lines(setting, curves, found)
    return found


def _unexplained(
    setting: Setting, curves: FloatArray, found: Block, noise_sd: FloatArray | None
) -> npt.NDArray[np.bool_]:
    """Fits that did not settle or whose squared residual is larger than a share of that of the noise.

    Without a known noise level it is that of neighbouring residuals' differences, which a smooth misfit does
    not raise.
    """
    from imgtheranostics.kernels.pool_fit import CONVERGED

    n = setting.ppm.size
    freedom = n - setting.design.n_free
    left = found.sums[:, 0]
    if noise_sd is not None:
        limit = noise_sd**2 * freedom
    else:
        limit = found.sums[:, 2] / (2.0 * (n - 1)) * max(freedom, 1)
    floor = 1e-18 * np.einsum("ij,ij->i", curves, curves)
    return np.asarray(((found.state & CONVERGED) == 0) | (left > np.maximum(EXCEEDING * limit, floor)))


class Result:
    """Parameters of all spectra, filled block by block."""

    def __init__(
        self,
        spectra: PlanarSignal,
        setting: Setting,
        noise_sd: npt.NDArray[np.floating] | None,
    ) -> None:
        self.spectra, self.setting, self.noise_sd = spectra, setting, noise_sd
        dtype, count = spectra.samples.dtype, spectra.n_voxels
        shape = (setting.design.start.size, count)
        self.values, self.errors = np.full(shape, np.nan, dtype), np.full(shape, np.nan, dtype)
        self.r_squared, self.rmse = np.full(count, np.nan, dtype), np.full(count, np.nan, dtype)
        self.iterations = np.zeros(count, np.int32)
        self.flags = np.zeros(count, np.uint16)
        self.unsure: npt.NDArray[np.bool_] | None = None

    def blocks(self, voxels: Indices) -> Iterator[Indices]:
        """Parts of a list of voxels of which the spectra fit into `BLOCK_BYTES`."""
        from imgtheranostics.kernels.pool_fit import CHUNK

        per_block = max(64, BLOCK_BYTES // (8 * self.setting.ppm.size))
        # whole chunks for two or four threads
        per_block -= per_block % (4 * CHUNK) if per_block > 4 * CHUNK else 0
        for first in range(0, voxels.size, per_block):
            yield voxels[first : first + per_block]

    def add(self, voxels: Indices, table: FloatArray | None = None, start_of: Indices | None = None) -> None:
        """Fit the spectra of some voxels, from the set's starts or each from its row of a table."""
        whole = voxels[-1] - voxels[0] + 1 == voxels.size
        part = slice(voxels[0], voxels[-1] + 1) if whole else voxels
        curves = np.empty((voxels.size, self.setting.ppm.size))
        for row, sample in enumerate(self.setting.order):
            curves[:, row] = self.spectra.samples[sample, part]
        with np.errstate(invalid="ignore"):
            finite = np.abs(curves).max(axis=1) < LARGEST
            self.flags[voxels[finite & (curves.max(axis=1) > LARGEST_Z)]] |= np.uint16(Flag.OUTSIDE_RANGE)
        self.flags[voxels[~finite]] |= np.uint16(Flag.INVALID_INPUT)
        if not finite.all():
            curves, voxels = curves[finite], voxels[finite]
            start_of = None if start_of is None else start_of[finite]
        if voxels.size:
            near = None if table is None or start_of is None else (table, start_of)
            noise = None if self.noise_sd is None else self.noise_sd[voxels].astype(np.float64)
            self._store(voxels, fit_block(self.setting, curves, near, noise))

    def _store(self, voxels: Indices, found: Block) -> None:
        design, n = self.setting.design, self.setting.ppm.size
        flags, usable = _judged(design, n, found)
        self.flags[voxels] |= flags
        self.iterations[voxels] = found.iterations
        if self.unsure is not None:
            self.unsure[voxels] = _unsure(self.setting, found)
        freedom = n - design.n_free
        with np.errstate(invalid="ignore", divide="ignore"):
            explained = 1.0 - found.sums[:, 0] / found.sums[:, 1]
            self.r_squared[voxels] = np.where(usable, explained, np.nan)
            self.rmse[voxels] = np.where(usable, np.sqrt(found.sums[:, 0] / n), np.nan)
            noise = np.sqrt(found.sums[:, 0] / freedom) / shortfall(freedom) if freedom > 0 else np.nan
            unknown = _without_meaning(design, found.values)
            for row in range(design.start.size):
                values = np.where(usable & ~unknown[:, row], found.values[:, row], np.nan)
                errors = np.sqrt(found.variances[:, row]) * noise
                if design.held[row]:
                    errors = np.zeros(voxels.size)
                self.values[row, voxels] = values
                self.errors[row, voxels] = np.where(np.isnan(values), np.nan, errors)

    def fit(self) -> Fit:
        """Everything in the leading shape of the spectra."""
        back, design = self.spectra.restored, self.setting.design
        values = {name: back(row) for name, row in zip(design.names, self.values, strict=True)}
        errors = {name: back(row) for name, row in zip(design.names, self.errors, strict=True)}
        if design.shared:
            for table in (values, errors):
                table["shift_ppm"] = table["water_centre_ppm"]
        units = {name: "ppm" if name.endswith("_ppm") else "1" for name in values}
        return Fit(
            values,
            errors,
            back(self.r_squared),
            back(self.rmse),
            back(self.iterations),
            back(self.flags),
            units,
        )


def _without_meaning(design: Design, values: FloatArray) -> npt.NDArray[np.bool_]:
    """Fitted widths and centres of lines without any depth."""
    k = design.n_pools
    unknown = np.zeros(values.shape, np.bool_)
    for pool in range(k):
        gone = (values[:, 1 + pool] == 0.0) & ~(design.held[1 + pool])
        for row in (1 + k + 2 * pool, 2 + k + 2 * pool):
            unknown[:, row] = gone & ~design.held[row]
    return unknown


def _judged(design: Design, n: int, found: Block) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    """Flags of each spectrum, and whether its parameters are known."""
    from scipy.special import fdtri

    from imgtheranostics.kernels.pool_fit import CONFINED, CONVERGED, UNDETERMINED

    flags = np.zeros(len(found.values), np.uint16)
    failed = (found.state & CONVERGED) == 0
    flags[failed] |= np.uint16(Flag.NOT_CONVERGED)
    p = max(design.n_free, 2)
    left, whole = found.sums[:, 0], found.sums[:, 1]
    least = fdtri(p - 1, n - p, 1.0 - CHANCE) * (p - 1) / (n - p) if n > p else 0.0
    silent = ~(whole - left > least * left)
    flags[silent] |= np.uint16(Flag.BELOW_NOISE)
    usable = ~(failed | silent)
    free = ~design.held
    at_bound = ((found.values <= design.lower) | (found.values >= design.upper)) & free
    flags[at_bound.any(axis=1) & usable] |= np.uint16(Flag.AT_BOUND)
    unclear = (found.conditions > UNIDENTIFIABLE) | ((found.state & UNDETERMINED) > 0)
    unclear |= (found.state & CONFINED) > 0
    flags[unclear & usable] |= np.uint16(Flag.ILL_CONDITIONED)
    return flags, usable
