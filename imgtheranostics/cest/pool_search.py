"""Fits of pools to many Z-spectra: blocks, starts from neighbours, second starts, what failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pool_design import UNIDENTIFIABLE, Design
from imgtheranostics.fit import Fit, PlanarSignal, shortfall
from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

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

EXCEEDING, CLEARLY = 1.15, 1.3
"""Squared residual over that of the noise above which a second and a third start are worth their time."""

ACROSS = 0.1
"""Where in its range a width or centre begins that ended at the opposite bound."""

BETTER = 1e-9
"""Relative decrease of the sum of squares below which two fits are the same."""


@lru_cache(maxsize=1)
def _table() -> FloatArray:
    from imgtheranostics.kernels.pool_lines import super_lorentzian_table

    return super_lorentzian_table()


@dataclass(frozen=True, eq=False)
class Setting:
    """What all spectra share.

    Attributes
    ----------
    ppm : (n,) ndarray
        Ascending.
    order : (n,) ndarray of int
        Samples of the caller in that order.
    starts : (s, 3 k + 1) ndarray
        The set's own, and others within its bounds.
    """

    design: Design
    ppm: FloatArray
    order: npt.NDArray[np.int64]
    starts: FloatArray
    max_iterations: int
    tolerance: float
    workers: int | None


@dataclass(frozen=True, eq=False)
class Block:
    """What the kernel found for some spectra."""

    values: FloatArray
    variances: FloatArray
    sums: FloatArray
    conditions: FloatArray
    start_of: npt.NDArray[np.int64]
    iterations: npt.NDArray[np.int32]
    state: npt.NDArray[np.uint8]

    @classmethod
    def empty(cls, m: int, p: int) -> Block:
        """Room for m spectra with p parameters."""
        return cls(
            np.empty((m, p)),
            np.empty((m, p)),
            np.empty((m, 3)),
            np.empty(m),
            np.zeros(m, np.int64),
            np.zeros(m, np.int32),
            np.zeros(m, np.uint8),
        )

    def take(self, other: Block, rows: Indices, chosen: npt.NDArray[np.bool_]) -> None:
        """Put chosen spectra of a second fit of some rows in place of the first."""
        for name in ("values", "variances", "sums", "conditions", "state"):
            getattr(self, name)[rows[chosen]] = getattr(other, name)[chosen]
        self.iterations[rows] += other.iterations


def run_kernel(
    setting: Setting,
    curves: FloatArray,
    *,
    near: tuple[FloatArray, Indices] | None = None,
    avoided: Indices | None = None,
    goals: FloatArray | None = None,
) -> Block:
    """Fit curves (m, n); those that do not reach their goal do not settle.

    Each begins at the best of the setting's starts but the row `avoided`, or, with `near`, at the row of a
    table that is given for it.
    """
    from imgtheranostics.kernels.pool_fit import CHUNK, fit_pools
    from imgtheranostics.kernels.threads import run_chunks

    design, m = setting.design, len(curves)
    found = Block.empty(m, design.start.size)
    starts = setting.starts if near is None else near[0]
    if near is not None:
        found.start_of[:] = 2 * near[1]
    arguments = (
        curves,
        np.full(m, np.inf) if goals is None else goals,
        setting.ppm,
        design.active,
        design.row_of,
        design.shapes,
        design.water,
        design.shared,
        design.half_plateau_ppm,
        _table(),
        design.damping_weights,
        np.ascontiguousarray(np.clip(starts, design.lower, design.upper)),
        near is None,
        np.full(m, -1) if avoided is None else avoided,
        found.start_of,
        design.lower,
        design.upper,
        setting.max_iterations,
        setting.tolerance,
        found.values,
        found.variances,
        found.sums,
        found.conditions,
        found.iterations,
        found.state,
    )
    run_chunks(lambda first, last: fit_pools(first, last, *arguments), m, CHUNK, setting.workers)
    return found


def fit_block(
    setting: Setting,
    curves: FloatArray,
    near: tuple[FloatArray, Indices] | None,
    noise_sd: FloatArray | None,
) -> Block:
    """Fit curves, and those once more from the second start that the first did not explain."""
    found = run_kernel(setting, curves, near=near)
    tried = np.full(len(curves), -1) if near is not None else found.start_of // 2
    # what began at a neighbour gets the best start first, and the second best only if much is left
    for share in (EXCEEDING,) if near is None else (EXCEEDING, CLEARLY):
        again = np.flatnonzero(_unexplained(setting, curves, found, noise_sd, share))
        if again.size:
            tried[again] = _once_more(setting, curves, found, again, avoided=tried[again])
    _cross_over(setting, curves, found)
    return found


def _once_more(
    setting: Setting,
    curves: FloatArray,
    found: Block,
    rows: Indices,
    *,
    near: tuple[FloatArray, Indices] | None = None,
    avoided: Indices | None = None,
) -> Indices:
    """Fit some of the curves from another start, keep what is better; the rows of the starts taken."""
    from imgtheranostics.kernels.pool_fit import CONVERGED

    goals = np.where((found.state[rows] & CONVERGED) > 0, found.sums[rows, 0], np.inf)
    other = run_kernel(setting, np.ascontiguousarray(curves[rows]), near=near, avoided=avoided, goals=goals)
    found.take(other, rows, _better(other, found, rows))
    return other.start_of // 2


def _cross_over(setting: Setting, curves: FloatArray, found: Block) -> None:
    """Fit lines that ended at a bound of width or centre once more from the other side of the range.

    A weak line is narrow or broad, left or right, with a minimum for each.
    """
    design = setting.design
    first = 1 + design.n_pools
    low, high, here = design.lower[first:], design.upper[first:], found.values[:, first:]
    hit = ((here <= low) | (here >= high)) & (low < high)
    again = np.flatnonzero(hit.any(axis=1))
    if again.size == 0:
        return
    starts = found.values[again]
    share = np.where(here[again] >= high, ACROSS, 1.0 - ACROSS)
    inside = low + share * (high - low)
    inside[:, ::2] = low[::2] ** (1.0 - share[:, ::2]) * high[::2] ** share[:, ::2]
    starts[:, first:] = np.where(hit[again], inside, here[again])
    _once_more(setting, curves, found, again, near=(starts, np.arange(again.size)))


def _better(second: Block, found: Block, rows: Indices) -> npt.NDArray[np.bool_]:
    """Which of the second fits settled at a smaller sum of squares."""
    from imgtheranostics.kernels.pool_fit import CONVERGED

    settled, before = (second.state & CONVERGED) > 0, (found.state[rows] & CONVERGED) > 0
    lower = second.sums[:, 0] < found.sums[rows, 0] * (1.0 - BETTER)
    return np.asarray(settled & (lower | ~before))


def _unexplained(
    setting: Setting, curves: FloatArray, found: Block, noise_sd: FloatArray | None, share: float
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
    return np.asarray(((found.state & CONVERGED) == 0) | (left > np.maximum(share * limit, floor)))


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

    from imgtheranostics.kernels.pool_fit import CONVERGED, UNDETERMINED

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
    flags[unclear & usable] |= np.uint16(Flag.ILL_CONDITIONED)
    return flags, usable
