"""Concentrations of several materials from attenuation at several energies, some of them not negative.

The unconstrained solution is linear in the attenuation. Where a bounded material is negative there, the
bounded solution follows from it in closed form: among the 2^n ways to hold n bounded materials at zero (a
support), it is the one whose materials and whose multipliers are all not negative, and both are linear in the
unconstrained solution. A table has one matrix per support: a row of it gives the material where that is free,
and its multiplier where it is held.

`imgtheranostics.ct.support_tables` makes the tables. Voxels are taken in blocks in their own type, so that
the loops over lanes are vectors; a block in which a sample is missing, saturated or masked out goes through
once more, lane by lane.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 512
"""Lanes of a block: voxels that lie beside each other. A short block is padded with its first voxel, so that
every lane goes through the same instructions and the bytes do not depend on the chunks."""

MOST_BOUNDED = 6
"""Materials with a bound that a table of supports is made for."""

FAST = {"reassoc", "contract", "arcp", "nsz"}

_MASKED_OUT, _INVALID_INPUT, _AT_BOUND, _SATURATED = 1, 4, 8, 2048 + 32


@njit(cache=True, nogil=True, error_model="numpy")
def _load(plane, first, n, row):
    """Voxels [first, first + n) as the row of a block."""
    given = plane[first : first + n]
    for lane in range(n):
        row[lane] = given[lane]
    for lane in range(n, BLOCK):
        row[lane] = row[0]


@njit(cache=True, nogil=True, error_model="numpy")
def _share(chosen):
    """Whether some, and whether all of the lanes are chosen; chosen : (n,) uint8, 0 or 1"""
    some, every = np.uint8(0), np.uint8(1)
    for lane in range(chosen.size):
        some |= chosen[lane]
        every &= chosen[lane]
    return some != 0, every != 0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _take(samples, levels, background, ceiling, first, n, row, x):
    """Samples less background; True where all are finite and none is saturated.

    levels : (n_energies,), as samples; row : (BLOCK,), x : (n_energies * BLOCK,), as samples
    """
    zero, sound = samples.dtype.type(0.0), True
    for energy in range(samples.shape[0]):
        values = x[energy * BLOCK : (energy + 1) * BLOCK]
        _load(samples[energy], first, n, values)
        finite, full = zero, zero
        for lane in range(BLOCK):
            # What is not finite leaves a NaN here
            finite += values[lane] * zero
            full += samples.dtype.type(values[lane] >= ceiling)
        sound = sound and finite == zero and full == zero
        if levels[energy] != zero:
            for lane in range(BLOCK):
                values[lane] -= levels[energy]
        if background.shape[0] > 0:
            _load(background[energy], first, n, row)
            finite = zero
            for lane in range(BLOCK):
                finite += row[lane] * zero
                values[lane] -= row[lane]
            sound = sound and finite == zero
    return sound


@njit(cache=True, nogil=True, error_model="numpy")
def _reasons(sound, samples, x, chosen, ceiling, first, n, codes):
    """Why a lane has no result, if any has none; chosen : (n,) uint8, codes : (BLOCK,) uint16"""
    if sound:
        for lane in range(BLOCK):
            codes[lane] = np.uint16(0)
        return
    for lane in range(n):
        code = np.uint16(0)
        for energy in range(samples.shape[0]):
            if not np.abs(x[energy * BLOCK + lane]) < np.inf:
                code |= np.uint16(_INVALID_INPUT)
            elif samples[energy, first + lane] >= ceiling:
                code |= np.uint16(_SATURATED)
        codes[lane] = code if chosen[lane] else np.uint16(_MASKED_OUT)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _solve_freely(solver, x, found):
    """Every material free.

    solver : (n_materials, n_energies + 1), found : (n_materials * BLOCK,), as samples
    """
    n_energies = solver.shape[1] - 1
    for k in range(solver.shape[0]):
        row = found[k * BLOCK : (k + 1) * BLOCK]
        constant, factor = solver[k, n_energies], solver[k, 0]
        given = x[:BLOCK]
        for lane in range(BLOCK):
            row[lane] = constant + factor * given[lane]
        for energy in range(1, n_energies):
            factor = solver[k, energy]
            given = x[energy * BLOCK : (energy + 1) * BLOCK]
            for lane in range(BLOCK):
                row[lane] += factor * given[lane]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _below_zero(row):
    """Whether a lane is below zero."""
    zero = row.dtype.type(0.0)
    below = zero
    for lane in range(BLOCK):
        below += row.dtype.type(row[lane] < zero)
    return below > zero


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _two_of_two(samples, levels, solver, deviations, ceiling, place, first, n, values, errors):
    """Two unknowns of two energies in one pass over memory; whether all is sound, and the least of each.

    samples : from `place` on; values, errors : from `first` on; levels, solver, deviations as samples
    """
    x, y = samples[0, place : place + n], samples[1, place : place + n]
    one, two = values[0, first : first + n], values[1, first : first + n]
    error_one, error_two = errors[0, first : first + n], errors[1, first : first + n]
    a, b, c = solver[0, 0], solver[0, 1], solver[0, 2] - solver[0, 0] * levels[0] - solver[0, 1] * levels[1]
    d, e, f = solver[1, 0], solver[1, 1], solver[1, 2] - solver[1, 0] * levels[0] - solver[1, 1] * levels[1]
    spread_one, spread_two = deviations[0], deviations[1]
    zero = samples.dtype.type(0.0)
    unsound, below_one, below_two = zero, zero, zero
    # What is not finite leaves a NaN in `unsound`
    for lane in range(n):
        p = a * x[lane] + b * y[lane] + c
        q = d * x[lane] + e * y[lane] + f
        one[lane] = p
        two[lane] = q
        error_one[lane] = spread_one
        error_two[lane] = spread_two
        unsound += (p + q) * zero
        unsound += samples.dtype.type(x[lane] >= ceiling) + samples.dtype.type(y[lane] >= ceiling)
        below_one += samples.dtype.type(p < zero)
        below_two += samples.dtype.type(q < zero)
    return unsound == zero, below_one > zero, below_two > zero


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(table, bounds, free, rows):
    """Rows of a support for one voxel: the least of the bounded ones, and the bits of those below 0.

    table : (n_materials, n_materials + 1); free, rows : (n_materials,) float64
    """
    least, wrong = np.inf, 0
    for k in range(bounds.size):
        total = table[k, free.size]
        for j in range(free.size):
            total += table[k, j] * free[j]
        rows[k] = total
        if bounds[k] > 0:
            least = total if total < least else least
            if not total >= 0.0:
                wrong |= bounds[k]
                least = least if total == total else -np.inf
    return least, wrong


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_bounded(tables, bounds, free, support, rows):
    """The support whose rows are all at least 0, and its rows; -1 where there is none.

    Begins with a guess. Supports are changed where their rows are wrong, which ends at the right one after a
    step or two nearly always; else all are looked at. Where rounding leaves none, the nearest to it counts.
    """
    for _ in range(bounds.size + 1):
        least, wrong = _evaluate(tables[support], bounds, free, rows)
        if wrong == 0:
            return support
        if not least > -np.inf:
            break
        support ^= wrong
    best, nearest = -1, -np.inf
    for support in range(tables.shape[0]):
        least, wrong = _evaluate(tables[support], bounds, free, rows)
        if least > nearest:
            best, nearest = support, least
        if wrong == 0:
            return support
    if best >= 0:
        _evaluate(tables[best], bounds, free, rows)
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _bound_lanes(tables, bounds, n, found, codes, free, rows):
    """Solve the lanes again that have a bounded material below zero; what rounding leaves below becomes 0."""
    n_materials = bounds.size
    for lane in range(n):
        wrong = 0
        for k in range(n_materials):
            free[k] = found[k * BLOCK + lane]
            if free[k] < 0.0:
                wrong |= bounds[k]
        if wrong == 0 or codes[lane] != 0:
            continue
        support = _solve_bounded(tables, bounds, free, wrong, rows)
        codes[lane] = np.uint16(_AT_BOUND) if support >= 0 else np.uint16(_INVALID_INPUT)
        for k in range(n_materials):
            held = (support & bounds[k]) != 0 or (bounds[k] > 0 and rows[k] < 0.0)
            found[k * BLOCK + lane] = 0.0 if held else rows[k]


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _variation(x, n_energies, mean, around):
    """Sum of squares about the mean over the energies; x : (n_energies * BLOCK,), others (BLOCK,)."""
    share = x.dtype.type(1.0) / x.dtype.type(n_energies)
    for lane in range(BLOCK):
        mean[lane] = x[lane] * share
        around[lane] = x.dtype.type(0.0)
    for energy in range(1, n_energies):
        values = x[energy * BLOCK : (energy + 1) * BLOCK]
        for lane in range(BLOCK):
            mean[lane] += values[lane] * share
    for energy in range(n_energies):
        values = x[energy * BLOCK : (energy + 1) * BLOCK]
        for lane in range(BLOCK):
            around[lane] += (values[lane] - mean[lane]) * (values[lane] - mean[lane])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _residuals(design, x, found, row, squares, around):
    """Root mean square of the residuals into `squares`, share of the variation explained into `around`.

    design : as samples; row, squares, around : (BLOCK,), as samples
    """
    n_energies = design.shape[0]
    zero, one = x.dtype.type(0.0), x.dtype.type(1.0)
    _variation(x, n_energies, row, around)
    for lane in range(BLOCK):
        squares[lane] = zero
    for energy in range(n_energies):
        values = x[energy * BLOCK : (energy + 1) * BLOCK]
        for lane in range(BLOCK):
            row[lane] = values[lane]
        for k in range(design.shape[1]):
            factor, material = design[energy, k], found[k * BLOCK : (k + 1) * BLOCK]
            for lane in range(BLOCK):
                row[lane] -= factor * material[lane]
        for lane in range(BLOCK):
            squares[lane] += row[lane] * row[lane]
    share, nothing = one / x.dtype.type(n_energies), x.dtype.type(np.nan)
    for lane in range(BLOCK):
        explained = one - squares[lane] / around[lane]
        around[lane] = explained if around[lane] > zero else nothing
        squares[lane] = np.sqrt(squares[lane] * share)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _mapped_errors(solver, noise, first, n, row, total):
    """Standard error of one material by the noise of each voxel.

    solver : (n_energies + 1,); row, total : (BLOCK,), as samples
    """
    for lane in range(BLOCK):
        total[lane] = row.dtype.type(0.0)
    for energy in range(noise.shape[0]):
        factor = solver[energy] * solver[energy]
        _load(noise[energy], first, n, row)
        for lane in range(BLOCK):
            total[lane] += factor * row[lane] * row[lane]
    for lane in range(BLOCK):
        total[lane] = np.sqrt(total[lane])


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _shared_errors(shared, found, total):
    """Standard error of one material by the errors of the slopes of all.

    shared : (n_materials,), total : (BLOCK,), as samples
    """
    for lane in range(BLOCK):
        total[lane] = total.dtype.type(0.0)
    for k in range(shared.size):
        given, factor = found[k * BLOCK : (k + 1) * BLOCK], shared[k]
        for lane in range(BLOCK):
            total[lane] += factor * given[lane] * given[lane]
    for lane in range(BLOCK):
        total[lane] = np.sqrt(total[lane])


@njit(cache=True, nogil=True, error_model="numpy")
def _put(row, codes, sound, first, n, plane):
    """Write the lanes of a row, not a number where a lane has no result."""
    out = plane[first : first + n]
    for lane in range(n):
        out[lane] = row[lane]
    if not sound:
        for lane in range(n):
            if (codes[lane] | np.uint16(_AT_BOUND)) != _AT_BOUND:
                out[lane] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _put_codes(codes, first, n, flags):
    """Write the flags of a block."""
    out = flags[first : first + n]
    for lane in range(n):
        out[lane] = codes[lane]


@njit(cache=True, nogil=True, error_model="numpy")
def _as_samples(values, out):
    """A matrix in the type of the samples."""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            out[row, column] = values[row, column]


@njit(cache=True, nogil=True, error_model="numpy")
def decompose_voxels(
    samples,
    levels,
    background,
    noise,
    chosen,
    ceiling,
    solver,
    tables,
    bounds,
    design,
    deviations,
    shared,
    origin,
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
    samples : (n_energies, n) float32 or float64
        Attenuation of the voxels from `origin` on; a lane with a sample that is not finite gets a flag.
    levels : (n_energies,) float64
        Background of all voxels, subtracted first.
    background : (n_energies, n) or (0, 0), as `samples`
        Subtracted as well.
    noise : (n_energies, n) or (0, 0), as `samples`
        Standard deviation of each voxel; without it `deviations` serve.
    chosen : (n_voxels,) uint8
        1 where a voxel is worked on, else 0.
    ceiling : float
        Samples at or above it are saturated.
    solver : (n_materials, n_energies + 1) float64
        The unconstrained solution; its last column is a constant.
    tables : (n_supports, n_materials, n_materials + 1) float64
        Of each support, on the unconstrained solution; the last column is a constant.
    bounds : (n_materials,) int64
        The bit of a support that holds the material at zero; 0 for a material without a bound.
    design : (n_energies, n_materials) float64
    deviations : (n_materials,) float64
        Standard errors by the noise of the images.
    shared : (n_materials, n_materials) float64
        What the square of one material adds to the variance of another by the errors of the slopes.
    origin, begin, end : int
    values, errors : (n_materials, n_voxels), as `samples`
        Errors by noise are those of the unconstrained solution, also where a material is held at zero.
    calibration : (n_materials, n_voxels) or (0, 0), as `samples`
        Errors by the slopes.
    goodness : (2, n_voxels) or (0, 0), as `samples`
        Root mean square residual, and share of the variation over the energies that is explained.
    flags : (n_voxels,) uint16
    """
    n_energies, n_materials = samples.shape[0], bounds.size
    kind = samples.dtype
    x, found = np.empty(n_energies * BLOCK, kind), np.empty(n_materials * BLOCK, kind)
    row, total, around = np.empty(BLOCK, kind), np.empty(BLOCK, kind), np.empty(BLOCK, kind)
    free, rows, codes = np.empty(n_materials), np.empty(n_materials), np.empty(BLOCK, np.uint16)
    own_solver, own_design = np.empty(solver.shape, kind), np.empty(design.shape, kind)
    own_shared, own_levels = np.empty(shared.shape, kind), np.empty((1, n_energies), kind)
    _as_samples(solver, own_solver)
    _as_samples(design, own_design)
    _as_samples(shared, own_shared)
    own_deviations = np.empty((1, n_materials), kind)
    _as_samples(levels.reshape(1, n_energies), own_levels)
    _as_samples(deviations.reshape(1, n_materials), own_deviations)
    top = kind.type(ceiling)
    plain = n_energies == 2 and n_materials == 2 and calibration.shape[0] + goodness.shape[0] == 0
    plain = plain and background.shape[0] + noise.shape[0] == 0
    for first in range(begin, end, BLOCK):
        n, place = min(BLOCK, end - first), first - origin
        wanted = chosen[first : first + n]
        some, every = _share(wanted)
        if plain and every:
            sound, one, two = _two_of_two(
                samples, own_levels[0], own_solver, own_deviations[0], top, place, first, n, values, errors
            )
            if sound and not (one and bounds[0] > 0) and not (two and bounds[1] > 0):
                flags[first : first + n] = np.uint16(0)
                continue
        sound = _take(samples, own_levels[0], background, top, place, n, row, x) and every
        _reasons(sound, samples, x, wanted, ceiling, place, n, codes)
        if some:
            _solve_freely(own_solver, x, found)
            below = False
            for k in range(n_materials):
                below = below or (bounds[k] > 0 and _below_zero(found[k * BLOCK : (k + 1) * BLOCK]))
            if below:
                _bound_lanes(tables, bounds, n, found, codes, free, rows)
        for k in range(n_materials):
            _put(found[k * BLOCK : (k + 1) * BLOCK], codes, sound, first, n, values[k])
            if noise.shape[0] > 0:
                _mapped_errors(own_solver[k], noise, place, n, row, total)
            else:
                total[:] = own_deviations[0, k]
            _put(total, codes, sound, first, n, errors[k])
            if calibration.shape[0] > 0:
                _shared_errors(own_shared[k], found, total)
                _put(total, codes, sound, first, n, calibration[k])
        if goodness.shape[0] > 0:
            _residuals(own_design, x, found, row, total, around)
            _put(total, codes, sound, first, n, goodness[0])
            _put(around, codes, sound, first, n, goodness[1])
        _put_codes(codes, first, n, flags)
