"""One step of a bounded Levenberg-Marquardt search for three unknowns, written out: `small_matrices` without
loops.

A search whose model costs a microsecond spends as much on the bookkeeping of general systems.
"""

from __future__ import annotations

from numba import njit

from imgtheranostics.kernels.lane_vector import keep_apart


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(a00, a10, a11, a20, a21, a22, b0, b1, b2):
    """Solution of a symmetric positive definite system; False where it is none."""
    if not a00 > 0.0:
        return False, 0.0, 0.0, 0.0
    l10, l20 = a10 / a00, a20 / a00
    d1 = a11 - l10 * a10
    if not d1 > 0.0:
        return False, 0.0, 0.0, 0.0
    c21 = a21 - l20 * a10
    l21 = c21 / d1
    d2 = a22 - l20 * a20 - l21 * c21
    if not d2 > 0.0:
        return False, 0.0, 0.0, 0.0
    y1 = b1 - l10 * b0
    y2 = b2 - l20 * b0 - l21 * y1
    x2 = y2 / d2
    x1 = y1 / d1 - l21 * x2
    return True, b0 / a00 - l10 * x1 - l20 * x2, x1, x2


@njit(cache=True, nogil=True, error_model="numpy")
def _held(value, gradient, lower, upper):
    """1 for an unknown that may move, 0 for one that the gradient presses against its bound."""
    pressed = (value <= lower and gradient >= 0.0) or (value >= upper and gradient <= 0.0)
    return 0.0 if pressed else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _way(value, now, target, lower, upper, free):
    """How far the way from a step to another goes until it meets a bound; 1 where it does not."""
    reached = value + target
    if free == 0.0 or lower <= reached <= upper:
        return 1.0
    bound = lower if reached < lower else upper
    return min(max((bound - value - now) / (target - now), 0.0), 1.0 - 1e-16)


@njit(cache=True, nogil=True, error_model="numpy")
def bounded_step(normal, gradient, place, lower, upper, damping, step):
    """Step of the damped normal equations within bounds, and the decrease of the sum of squares it promises.

    Where the minimum lies beyond a bound, the step goes as far as the first bound and on from there along it,
    so that it leads downhill all the way. A negative promise says that the system is singular.

    normal : (3, 3) float64, lower triangle; gradient, place, lower, upper : (3,); step : (3,), written
    """
    keep_apart()
    n00, n10, n11 = normal[0, 0], normal[1, 0], normal[1, 1]
    n20, n21, n22 = normal[2, 0], normal[2, 1], normal[2, 2]
    g0, g1, g2 = gradient[0], gradient[1], gradient[2]
    f0 = _held(place[0], g0, lower[0], upper[0])
    f1 = _held(place[1], g1, lower[1], upper[1])
    f2 = _held(place[2], g2, lower[2], upper[2])
    s0 = s1 = s2 = 0.0
    more = 1.0 + damping
    for _ in range(4):
        b0 = f0 * (-g0 - n10 * (1.0 - f1) * s1 - n20 * (1.0 - f2) * s2) + (1.0 - f0) * s0
        b1 = f1 * (-g1 - n10 * (1.0 - f0) * s0 - n21 * (1.0 - f2) * s2) + (1.0 - f1) * s1
        b2 = f2 * (-g2 - n20 * (1.0 - f0) * s0 - n21 * (1.0 - f1) * s1) + (1.0 - f2) * s2
        sound, t0, t1, t2 = _solve(
            n00 * more if f0 > 0.0 else 1.0,
            n10 * f0 * f1,
            n11 * more if f1 > 0.0 else 1.0,
            n20 * f0 * f2,
            n21 * f1 * f2,
            n22 * more if f2 > 0.0 else 1.0,
            b0,
            b1,
            b2,
        )
        if not sound:
            return -1.0
        w0 = _way(place[0], s0, t0, lower[0], upper[0], f0)
        w1 = _way(place[1], s1, t1, lower[1], upper[1], f1)
        w2 = _way(place[2], s2, t2, lower[2], upper[2], f2)
        way = min(w0, w1, w2)
        s0, s1, s2 = s0 + way * (t0 - s0), s1 + way * (t1 - s1), s2 + way * (t2 - s2)
        if way >= 1.0:
            break
        if w0 == way:
            s0, f0 = (lower[0] if place[0] + t0 < lower[0] else upper[0]) - place[0], 0.0
        elif w1 == way:
            s1, f1 = (lower[1] if place[1] + t1 < lower[1] else upper[1]) - place[1], 0.0
        else:
            s2, f2 = (lower[2] if place[2] + t2 < lower[2] else upper[2]) - place[2], 0.0
    step[0], step[1], step[2] = s0, s1, s2
    bent = s0 * (n00 * s0 + 2.0 * (n10 * s1 + n20 * s2)) + s1 * (n11 * s1 + 2.0 * n21 * s2) + s2 * n22 * s2
    return max(-2.0 * (g0 * s0 + g1 * s1 + g2 * s2) - bent, 0.0)
