"""Concentrations of several materials from attenuation at several energies, some of them not negative.

Weighted least squares with bounds has a closed form: among the 2^n ways to hold n bounded materials at zero
(a support), the solution is the one whose materials and whose multipliers are all not negative. Both are
linear in the attenuation, so that a table with one matrix per support does it: a row of it gives the material
where that is free, and its multiplier where it is held. The matrix of support 0, with every material free, is
the unconstrained solution; most voxels need no other.

`imgtheranostics.ct.support_tables` makes the table.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 256
"""Lanes of a block: voxels that lie beside each other. A short block is padded with its first voxel, so that
every lane goes through the same instructions and the bytes do not depend on the chunks."""

MOST_BOUNDED = 6
"""Materials with a bound that a table of supports is made for."""

FAST = {"reassoc", "contract", "arcp", "nsz"}

_MASKED_OUT, _INVALID_INPUT, _AT_BOUND, _SATURATED = 1, 4, 8, 2048 + 32


@njit(cache=True, nogil=True, error_model="numpy")
def _load(plane, first, n, row):
    """Voxels [first, first + n) as the float64 row of a block."""
    given = plane[first : first + n]
    for lane in range(n):
        row[lane] = given[lane]
    for lane in range(n, BLOCK):
        row[lane] = row[0]


@njit(cache=True, nogil=True, error_model="numpy")
def _take(samples, levels, background, chosen, ceiling, first, n, row, x, codes):
    """Samples less background, and why a lane has no result; True where one has.

    chosen : (n,) bool, of the block; x : (n_energies * BLOCK,) float64; codes : (BLOCK,) uint16
    """
    for lane in range(BLOCK):
        codes[lane] = np.uint16(0)
    for energy in range(samples.shape[0]):
        values = x[energy * BLOCK : (energy + 1) * BLOCK]
        _load(samples[energy], first, n, values)
        for lane in range(BLOCK):
            full = values[lane] >= ceiling and values[lane] < np.inf
            codes[lane] |= np.uint16(_SATURATED) if full else np.uint16(0)
            values[lane] -= levels[energy]
        if background.shape[0] > 0:
            _load(background[energy], first, n, row)
            for lane in range(BLOCK):
                values[lane] -= row[lane]
        for lane in range(BLOCK):
            codes[lane] |= np.uint16(0) if np.abs(values[lane]) < np.inf else np.uint16(_INVALID_INPUT)
    some = False
    for lane in range(n):
        codes[lane] = codes[lane] if chosen[lane] else np.uint16(_MASKED_OUT)
        some = some or codes[lane] == 0
    return some


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _solve_freely(table, x, n_energies, found):
    """Every material free; found : (n_materials * BLOCK,) float64."""
    for k in range(table.shape[0]):
        row = found[k * BLOCK : (k + 1) * BLOCK]
        constant = table[k, n_energies]
        for lane in range(BLOCK):
            row[lane] = constant
        for energy in range(n_energies):
            factor = table[k, energy]
            given = x[energy * BLOCK : (energy + 1) * BLOCK]
            for lane in range(BLOCK):
                row[lane] += factor * given[lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _below_zero(found, bounds, below):
    """Mark the lanes with a bounded material below zero; True where there is one. below : (BLOCK,) uint8"""
    for lane in range(BLOCK):
        below[lane] = np.uint8(0)
    for k in range(bounds.size):
        if bounds[k] > 0:
            row = found[k * BLOCK : (k + 1) * BLOCK]
            for lane in range(BLOCK):
                below[lane] |= np.uint8(1) if row[lane] < 0.0 else np.uint8(0)
    some = np.uint8(0)
    for lane in range(BLOCK):
        some |= below[lane]
    return some != 0


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(table, bounds, values, rows):
    """Rows of a support's matrix for one voxel: the least of the bounded ones, and the bits of those below 0.

    table : (n_materials, n_energies + 1); values : (n_energies,); rows : (n_materials,)
    """
    least, wrong = np.inf, 0
    for k in range(bounds.size):
        total = table[k, values.size]
        for energy in range(values.size):
            total += table[k, energy] * values[energy]
        rows[k] = total
        if bounds[k] > 0:
            least = total if total < least else least
            if not total >= 0.0:
                wrong |= bounds[k]
                least = least if total == total else -np.inf
    return least, wrong


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_bounded(tables, bounds, values, rows):
    """The support whose rows are all at least 0, and its rows; -1 where there is none.

    Supports are changed where their rows are wrong, which ends at the right one after a step or two nearly
    always; else all are looked at. Where rounding leaves none, the one that is nearest to it counts.
    """
    support = 0
    for _ in range(bounds.size + 1):
        least, wrong = _evaluate(tables[support], bounds, values, rows)
        if wrong == 0:
            return support
        if not least > -np.inf:
            break
        support ^= wrong
    best, nearest = -1, -np.inf
    for support in range(tables.shape[0]):
        least, wrong = _evaluate(tables[support], bounds, values, rows)
        if least > nearest:
            best, nearest = support, least
        if wrong == 0:
            return support
    if best >= 0:
        _evaluate(tables[best], bounds, values, rows)
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _bound_lanes(tables, bounds, x, n_energies, n, below, found, codes, values, rows):
    """Solve the lanes again that have a bounded material below zero; what rounding leaves below becomes 0."""
    for lane in range(n):
        if below[lane] == 0 or codes[lane] != 0:
            continue
        for energy in range(n_energies):
            values[energy] = x[energy * BLOCK + lane]
        support = _solve_bounded(tables, bounds, values, rows)
        codes[lane] = np.uint16(_AT_BOUND) if support >= 0 else np.uint16(_INVALID_INPUT)
        for k in range(bounds.size):
            held = (support & bounds[k]) != 0 or (bounds[k] > 0 and rows[k] < 0.0)
            found[k * BLOCK + lane] = 0.0 if held else rows[k]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _residuals(design, x, found, row, squares, mean, around):
    """Root mean square of the residuals into `squares`, share of the variation explained into `around`.

    row, squares, mean, around : (BLOCK,) float64
    """
    n_energies, n_materials = design.shape
    for lane in range(BLOCK):
        squares[lane] = 0.0
        mean[lane] = 0.0
        around[lane] = 0.0
    for energy in range(n_energies):
        values = x[energy * BLOCK : (energy + 1) * BLOCK]
        for lane in range(BLOCK):
            mean[lane] += values[lane] / n_energies
    for energy in range(n_energies):
        values = x[energy * BLOCK : (energy + 1) * BLOCK]
        for lane in range(BLOCK):
            row[lane] = values[lane]
            around[lane] += (values[lane] - mean[lane]) ** 2
        for k in range(n_materials):
            factor, material = design[energy, k], found[k * BLOCK : (k + 1) * BLOCK]
            for lane in range(BLOCK):
                row[lane] -= factor * material[lane]
        for lane in range(BLOCK):
            squares[lane] += row[lane] * row[lane]
    for lane in range(BLOCK):
        explained = 1.0 - squares[lane] / around[lane]
        around[lane] = explained if around[lane] > 0.0 else np.nan
        squares[lane] = np.sqrt(squares[lane] / n_energies)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _noise_errors(table, deviations, noise, first, n, row, total):
    """Standard error of one material by the noise of each voxel, or of the image where there is no map.

    table : (n_energies + 1,); row, total : (BLOCK,) float64
    """
    for lane in range(BLOCK):
        total[lane] = 0.0
    for energy in range(deviations.size):
        factor = table[energy] * table[energy]
        if noise.shape[0] > 0:
            _load(noise[energy], first, n, row)
        else:
            for lane in range(BLOCK):
                row[lane] = deviations[energy]
        for lane in range(BLOCK):
            total[lane] += factor * row[lane] * row[lane]
    for lane in range(BLOCK):
        total[lane] = np.sqrt(total[lane])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _shared_errors(shared, found, total):
    """Standard error of one material by the errors of the slopes of all.

    shared : (n_materials,); total : (BLOCK,) float64
    """
    for lane in range(BLOCK):
        total[lane] = 0.0
    for k in range(shared.size):
        given, factor = found[k * BLOCK : (k + 1) * BLOCK], shared[k]
        for lane in range(BLOCK):
            total[lane] += factor * given[lane] * given[lane]
    for lane in range(BLOCK):
        total[lane] = np.sqrt(total[lane])


@njit(cache=True, nogil=True, error_model="numpy")
def _put(row, codes, first, n, plane):
    """Write the lanes of a row, not a number where a lane has no result."""
    out = plane[first : first + n]
    for lane in range(n):
        bad = (codes[lane] | np.uint16(_AT_BOUND)) != _AT_BOUND
        out[lane] = np.nan if bad else row[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def decompose_voxels(
    samples,
    levels,
    background,
    noise,
    chosen,
    ceiling,
    tables,
    bounds,
    design,
    deviations,
    shared,
    begin,
    end,
    values,
    errors,
    calibration,
    goodness,
    flags,
):
    """Materials of the chosen voxels among [begin, end); released from the interpreter, for several threads.

    Parameters
    ----------
    samples : (n_energies, end - begin) float32 or float64
        Attenuation; a lane with a sample that is not finite gets a flag.
    levels : (n_energies,) float64
        Background of all voxels, subtracted first.
    background : (n_energies, end - begin) or (0, 0), as `samples`
        Subtracted as well.
    noise : (n_energies, end - begin) or (0, 0), as `samples`
        Standard deviation of each voxel; without it `deviations` serve.
    chosen : (n_voxels,) bool
    ceiling : float
        Samples at or above it are saturated.
    tables : (n_supports, n_materials, n_energies + 1) float64
        Matrix of each support, the last column a constant.
    bounds : (n_materials,) int64
        The bit of a support that holds the material at zero; 0 for a material without a bound.
    design : (n_energies, n_materials) float64
    deviations : (n_energies,) float64
    shared : (n_materials, n_materials) float64
        What the square of one material adds to the variance of another by the errors of the slopes.
    begin, end : int
    values, errors : (n_materials, n_voxels), as `samples`
        Errors by noise are those of the unconstrained solution, also where a material is held at zero.
    calibration : (n_materials, n_voxels) or (0, 0), as `samples`
        Errors by the slopes.
    goodness : (2, n_voxels) or (0, 0), as `samples`
        Root mean square residual, and share of the variation over the energies that is explained.
    flags : (n_voxels,) uint16
    """
    n_energies, n_materials = samples.shape[0], bounds.size
    x, found = np.empty(n_energies * BLOCK), np.empty(n_materials * BLOCK)
    row, total, mean, around = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    one, rows = np.empty(n_energies), np.empty(n_materials)
    codes, below = np.empty(BLOCK, np.uint16), np.empty(BLOCK, np.uint8)
    for first in range(begin, end, BLOCK):
        n = min(BLOCK, end - first)
        wanted = chosen[first : first + n]
        if _take(samples, levels, background, wanted, ceiling, first - begin, n, row, x, codes):
            _solve_freely(tables[0], x, n_energies, found)
            if _below_zero(found, bounds, below):
                _bound_lanes(tables, bounds, x, n_energies, n, below, found, codes, one, rows)
        for k in range(n_materials):
            material = found[k * BLOCK : (k + 1) * BLOCK]
            _put(material, codes, first, n, values[k])
            _noise_errors(tables[0, k], deviations, noise, first - begin, n, row, total)
            _put(total, codes, first, n, errors[k])
            if calibration.shape[0] > 0:
                _shared_errors(shared[k], found, total)
                _put(total, codes, first, n, calibration[k])
        if goodness.shape[0] > 0:
            _residuals(design, x, found, row, total, mean, around)
            _put(total, codes, first, n, goodness[0])
            _put(around, codes, first, n, goodness[1])
        for lane in range(n):
            flags[first + lane] = codes[lane]
