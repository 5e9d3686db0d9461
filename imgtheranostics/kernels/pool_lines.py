"""Line shapes of exchanging pools and their slopes, for `LANES` voxels at once.

With the distance d from the pool's centre (less half a plateau) and u = d/(G/2) a line of width G is S(u), 1
at the centre. Its rows in a workspace are S, its slope along the width as (G/2) dS/dG and along the centre as
(G/4) dS/dc, so that they do not depend on the amplitude:

    Lorentzian: S = 1/(1 + u^2), and the slopes are u^2 S^2 and u S^2.

The super-Lorentzian is a function of u = dw T2 as well, so that G is 1/(pi T2 FREQ) in ppm, the width of the
Lorentzian of the same T2. It has a pole at u = 0; within `POLE_PPM` of the centre it is the parabola that
continues its value and slope.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from imgtheranostics.kernels.lane_vector import LANES, keep_apart, larger, load, smaller, spread, store

LORENTZIAN, SUPER_LORENTZIAN = 0, 1
"""Codes of the line shapes."""

POLE_PPM = 1.0
"""Distance from the centre within which the super-Lorentzian is not taken by its word."""

FIRST_KNOT, LAST_KNOT, N_KNOTS = -12.0, 3.7, 1025
"""Range of ln u of the table of the super-Lorentzian, and its knots: beyond, it is below 1e-300."""


def super_lorentzian_table() -> npt.NDArray[np.float64]:
    """The super-Lorentzian and its slope at equidistant ln u, (2, N_KNOTS) float64.

    f(u) = int_0^1 sqrt(2/pi)/|3 m^2 - 1| exp(-2 (u/(3 m^2 - 1))^2) dm, by Gauss-Legendre quadrature on
    intervals that shrink towards the magic angle; the slope is along ln u.
    """
    u = np.exp(np.linspace(FIRST_KNOT, LAST_KNOT, N_KNOTS))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    magic = 1.0 / np.sqrt(3.0)
    table = np.zeros((2, N_KNOTS))
    for edge in (0.0, 1.0):
        ends = magic + (edge - magic) * np.append(2.0 ** -np.arange(40.0), 0.0)
        for near, far in zip(ends[1:], ends[:-1], strict=True):
            m = 0.5 * (near + far) + 0.5 * (far - near) * nodes
            # 3 m^2 - 1 from the distance to the magic angle, where the difference would cancel
            distance = m - magic
            gap = np.abs(3.0 * distance * (distance + 2.0 * magic))
            ratio = np.minimum(u[:, np.newaxis] / gap, 1e150)
            with np.errstate(under="ignore"):
                decay = np.exp(-2.0 * ratio**2)
                value = np.sqrt(2.0 / np.pi) / gap * decay
                area = 0.5 * abs(far - near) * weights
                table[0] += value @ area
                table[1] += (-4.0 * np.minimum(ratio, 1e100) ** 2 * value) @ area
    return table


@njit(cache=True, nogil=True, error_model="numpy")
def _from_table(table, u):
    """f, u f' and (u d/du)^2 f of the table's cubic Hermite interpolation."""
    step = (LAST_KNOT - FIRST_KNOT) / (N_KNOTS - 1)
    place = (np.log(max(u, 1e-300)) - FIRST_KNOT) / step
    if not place < N_KNOTS - 1.001:
        return 0.0, 0.0, 0.0
    place = max(place, 0.0)
    k = int(place)
    t = place - k
    f0, f1 = table[0, k], table[0, k + 1]
    d0, d1 = table[1, k] * step, table[1, k + 1] * step
    c2 = 3.0 * (f1 - f0) - 2.0 * d0 - d1
    c3 = 2.0 * (f0 - f1) + d0 + d1
    value = f0 + t * (d0 + t * (c2 + t * c3))
    slope = (d0 + t * (2.0 * c2 + 3.0 * t * c3)) / step
    return value, slope, (2.0 * c2 + 6.0 * t * c3) / (step * step)


@njit(cache=True, nogil=True, error_model="numpy")
def super_lorentzian_point(distance_ppm, half_width, table):
    """The line without its pole at a distance from the centre, and both scaled slopes (see above)."""
    u1 = POLE_PPM / half_width
    f1, slope1, curve1 = _from_table(table, u1)
    # the parabola f1 + slope1 (x^2 - 1)/2 with x = d/POLE_PPM; slope1 = u1 f'(u1)
    top = f1 - 0.5 * slope1
    # along the half width h: u ~ 1/h, so that h d/dh = -d/d(ln u)
    top_slope = -(slope1 - 0.5 * curve1)
    x = abs(distance_ppm) / POLE_PPM
    if x < 1.0:
        line = f1 + 0.5 * slope1 * (x * x - 1.0)
        width = -(slope1 + 0.5 * curve1 * (x * x - 1.0))
        along = slope1 * x / POLE_PPM
    else:
        line, slope, _ = _from_table(table, abs(distance_ppm) / half_width)
        width = -slope
        along = slope / abs(distance_ppm)
    if not top > 0.0:
        return 0.0, 0.0, 0.0
    value = line / top
    width = 0.5 * (width - value * top_slope) / top
    away = -1.0 if distance_ppm >= 0.0 else 1.0
    return value, width, 0.5 * half_width * away * along / top


@njit(cache=True, nogil=True, error_model="numpy")
def _lorentzian_rows(x, n, centre, half_width, plateau, basis, line, width, position):
    scale, one = spread(1.0) / half_width, spread(1.0)
    flat, other = spread(plateau), spread(-plateau)
    for i in range(n):
        distance = spread(x[i]) - centre
        distance = distance - larger(smaller(distance, flat), other)
        u = distance * scale
        s = one / (one + u * u)
        store(basis, line + i * LANES, s)
        if width >= 0:
            store(basis, width + i * LANES, s - s * s)
        if position >= 0:
            store(basis, position + i * LANES, u * s * s)


@njit(cache=True, nogil=True, error_model="numpy")
def _super_lorentzian_rows(x, n, values, centre, width_place, table, basis, line, width, position):
    """The same, lane by lane."""
    for lane in range(LANES):
        half_width = 0.5 * values[width_place + lane]
        for i in range(n):
            s, along_width, along_centre = super_lorentzian_point(x[i] - centre[lane], half_width, table)
            basis[line + i * LANES + lane] = s
            if width >= 0:
                basis[width + i * LANES + lane] = along_width
            if position >= 0:
                basis[position + i * LANES + lane] = along_centre


@njit(cache=True, nogil=True, error_model="numpy")
def pool_rows(x, values, shapes, water, shared, plateau, table, row_of, basis, centre):
    """Fill the rows of all pools: lines, and slopes where a row is asked for.

    x : (n,) float64, offsets in ppm
    values : parameters in lanes: baseline, k amplitudes, then width and centre of each pool
    shapes : (k,) int64, codes; water : int, pool that the others' centres are relative to, where `shared`
    plateau : float, half of the flat part in ppm; table : of `super_lorentzian_table`
    row_of : (3 k + 1,) int64, row of each parameter in the basis, -1 for none
    basis : rows of n * LANES; row 0 is that of the baseline; centre : (LANES,) workspace
    """
    keep_apart()
    n, k = x.size, shapes.size
    length = n * LANES
    for i in range(n):
        store(basis, i * LANES, spread(1.0))
    for pool in range(k):
        at = (1 + k + 2 * pool) * LANES
        place = load(values, at + LANES)
        if shared and pool != water:
            place = place + load(values, (2 + k + 2 * water) * LANES)
        store(centre, 0, place)
        line = row_of[1 + pool] * length
        width = row_of[1 + k + 2 * pool] * length
        position = row_of[2 + k + 2 * pool] * length
        if shapes[pool] == SUPER_LORENTZIAN:
            _super_lorentzian_rows(x, n, values, centre, at, table, basis, line, width, position)
        else:
            half_width = spread(0.5) * load(values, at)
            _lorentzian_rows(x, n, place, half_width, plateau, basis, line, width, position)


@njit(cache=True, nogil=True, error_model="numpy")
def super_lorentzian_line(distance_ppm, half_width, table, out):
    """The super-Lorentzian without its pole, 1 at the centre; all (m,) float64."""
    for i in range(out.size):
        if half_width[i] == half_width[i] and distance_ppm[i] == distance_ppm[i]:
            out[i] = super_lorentzian_point(distance_ppm[i], half_width[i], table)[0]
        else:
            out[i] = np.nan
