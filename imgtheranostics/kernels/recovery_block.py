"""A few steps of the search along the rate for a whole block in float64 lanes.

They leave most voxels so near the minimum that the search of `imgtheranostics.kernels.recovery_voxel` has
only to confirm it. Notation is that of that module.
"""

from __future__ import annotations

from numba import njit

from imgtheranostics.kernels.lanes import BLOCK

FAST = {"reassoc", "contract", "arcp", "nsz"}

STEPS = 4

REACH = 1.15
"""How far from the grid point a step may lead, as a factor: a little more than the grid's own."""

RATE, LEAST, MOST, C1, C2, S11, S12, S22, B1, B2, SLOPE, JJ, J1, J2, LAST_RATE, LAST_SLOPE = range(
    0, 16 * BLOCK, BLOCK
)
ROWS = 16 * BLOCK
"""Length of the workspace of a block."""


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _decays(time, rates, out):
    """Fill a row with exp(-rate time) to 2e-11: the 128th power of a polynomial, since lanes have no exp.

    rates : (BLOCK,) float64 or longer; out : (BLOCK,) float64
    """
    for lane in range(BLOCK):
        x = max(-rates[lane] * time, -60.0)
        r = x * (1.0 / 128.0) + 0.235
        p = 1.0 / 40320.0 + r * (1.0 / 362880.0)
        p = 1.0 / 720.0 + r * (1.0 / 5040.0 + r * p)
        p = 1.0 / 24.0 + r * (1.0 / 120.0 + r * p)
        p = 0.5 + r * (1.0 / 6.0 + r * p)
        p = 1.0 + r * (1.0 + r * p)
        p = p * p
        p = p * p
        p = p * p
        p = p * p
        p = p * p
        p = p * p
        p = p * p
        out[lane] = p * 8.638174725859421e-14  # exp(-128 x 0.235)


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _amplitudes(y, negative, model, pair, finite, e, d, rows):
    """Best amplitudes of every lane at its rate."""
    k0, k1, k2, m2 = model[2, 0], model[2, 1], model[2, 2], model[2, 3]
    for lane in range(BLOCK):
        rows[S11 + lane] = 0.0
        rows[S12 + lane] = 0.0
        rows[S22 + lane] = 0.0
        rows[B1 + lane] = 0.0
        rows[B2 + lane] = 0.0
    rates = rows[RATE : RATE + BLOCK]
    for i in range(y.shape[0]):
        _decays(model[0, i], rates, e[i])
        if finite:
            _decays(model[1, i], rates, d[i])
        y_row, e_row, d_row = y[i], e[i], d[i]
        for lane in range(BLOCK):
            g1 = k0 + k1 * e_row[lane] + k2 * d_row[lane]
            g2 = e_row[lane] + m2 * d_row[lane]
            value = -y_row[lane] if i < negative[lane] else y_row[lane]
            rows[S11 + lane] += g1 * g1
            rows[S12 + lane] += g1 * g2
            rows[S22 + lane] += g2 * g2
            rows[B1 + lane] += g1 * value
            rows[B2 + lane] += g2 * value
    for lane in range(BLOCK):
        s11, s12, s22 = rows[S11 + lane], rows[S12 + lane], rows[S22 + lane]
        if pair:
            share = 1.0 / (s11 * s22 - s12 * s12)
            rows[C1 + lane] = (rows[B1 + lane] * s22 - rows[B2 + lane] * s12) * share
            rows[C2 + lane] = (rows[B2 + lane] * s11 - rows[B1 + lane] * s12) * share
        else:
            rows[C1 + lane] = rows[B1 + lane] / s11
            rows[C2 + lane] = 0.0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _slopes(y, negative, model, e, d, rows):
    """Slope of half the sum of squares along the rate, and what the curvature is made of."""
    k0, k1, k2, m2 = model[2, 0], model[2, 1], model[2, 2], model[2, 3]
    for lane in range(BLOCK):
        rows[SLOPE + lane] = 0.0
        rows[JJ + lane] = 0.0
        rows[J1 + lane] = 0.0
        rows[J2 + lane] = 0.0
    for i in range(y.shape[0]):
        time, wait = model[0, i], model[1, i]
        y_row, e_row, d_row = y[i], e[i], d[i]
        for lane in range(BLOCK):
            g1 = k0 + k1 * e_row[lane] + k2 * d_row[lane]
            g2 = e_row[lane] + m2 * d_row[lane]
            e_slope, d_slope = -time * e_row[lane], -wait * d_row[lane]
            value = -y_row[lane] if i < negative[lane] else y_row[lane]
            residual = value - rows[C1 + lane] * g1 - rows[C2 + lane] * g2
            along = rows[C1 + lane] * (k1 * e_slope + k2 * d_slope)
            along += rows[C2 + lane] * (e_slope + m2 * d_slope)
            rows[SLOPE + lane] += residual * along
            rows[JJ + lane] += along * along
            rows[J1 + lane] += along * g1
            rows[J2 + lane] += along * g2


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _step(pair, first, rows):
    """One step of every lane: Gauss and Newton's, or the secant's where that is like it."""
    for lane in range(BLOCK):
        s11, s12, s22 = rows[S11 + lane], rows[S12 + lane], rows[S22 + lane]
        j1, j2 = rows[J1 + lane], rows[J2 + lane]
        shared = j1 * j1 / s11
        if pair:
            shared = (j1 * j1 * s22 - 2.0 * j1 * j2 * s12 + j2 * j2 * s11) / (s11 * s22 - s12 * s12)
        curvature = rows[JJ + lane] - shared
        rate, slope = rows[RATE + lane], rows[SLOPE + lane]
        if not first:
            secant = (rows[LAST_SLOPE + lane] - slope) / (rate - rows[LAST_RATE + lane])
            curvature = secant if secant > 0.2 * curvature and secant < 5.0 * curvature else curvature
        target = max(min(rate + slope / curvature, rows[MOST + lane]), rows[LEAST + lane])
        rows[LAST_RATE + lane] = rate
        rows[LAST_SLOPE + lane] = slope
        rows[RATE + lane] = target


@njit(cache=True, nogil=True, error_model="numpy")
def refine(y, negative, model, pair, low, high, e, d, rows):
    """Move the rate of every lane, which is a point of the grid, towards the smallest sum of squares.

    y : (n, BLOCK) float64; negative : (BLOCK,) int64, how many samples at the beginning are negative
    model : (3, n) or wider float64; rows : (ROWS,) float64
    e, d : (n, BLOCK) float64, scratch; d is zero on entry
    """
    finite = model[2, 2] != 0.0 or model[2, 3] != 0.0
    for lane in range(BLOCK):
        rows[LEAST + lane] = max(rows[RATE + lane] / REACH, low)
        rows[MOST + lane] = min(rows[RATE + lane] * REACH, high)
    for step in range(STEPS):
        _amplitudes(y, negative, model, pair, finite, e, d, rows)
        _slopes(y, negative, model, e, d, rows)
        _step(pair, step == 0, rows)
