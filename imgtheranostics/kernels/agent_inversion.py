"""Concentration from spoiled gradient-echo signals where relaxivity shortens T1 and T2* at once.

The logarithm of the signal ratio after over before,
    L(C) = ln g(R10 + r1 C) - ln g(R10) - TE r2* C,    g(R) = (1 - E) / (1 - E cos a),    E = exp(-TR R),
is concave in C: it rises to one maximum and falls. Newton's method from outside the two roots therefore moves
towards them without ever stepping over, so it needs no bracket.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

CHUNK = 256
MOST_STEPS = 100
TOLERANCE = 1e-12

CERTAIN = 5.0
"""Standard errors by which a signal must have fallen before a negative concentration is ruled out."""

LEAST_FALL = 0.01
"""Share by which it must have fallen all the same: images without noise are still rounded."""

INVALID_INPUT = 4
AT_BOUND = 8
NOT_CONVERGED = 16
OUTSIDE_RANGE = 32
INITIALISATION_FAILED = 128
AMBIGUOUS_BRANCH = 512
INVALID_B1 = 1024


@njit(cache=True, nogil=True, error_model="numpy")
def _log_recovery(rate, repetition_s, cosine):
    """Logarithm of g(R) and its derivative by R."""
    loss = -np.expm1(-repetition_s * rate)
    left = 1.0 - loss
    steady = 1.0 - left * cosine
    return np.log(loss / steady), repetition_s * left * (1.0 - cosine) / (loss * steady)


@njit(cache=True, nogil=True, error_model="numpy")
def _rate_at_maximum(repetition_s, cosine, share):
    """R1 where d ln g / dR1 equals `share` = TE r2* / r1; infinite where the signal has no maximum."""
    if share <= 0.0:
        return np.inf
    b = share * (1.0 + cosine) + repetition_s * (1.0 - cosine)
    discriminant = b * b - 4.0 * share * share * cosine
    return -np.log(2.0 * share / (b + np.sqrt(discriminant))) / repetition_s


@njit(cache=True, nogil=True, error_model="numpy")
def _newton(start, wanted, r10, r1, decay, repetition_s, cosine):
    """Root of L(C) = wanted from a start where L is lower; C, its slope, d ln g / dR there, and steps."""
    reference, _ = _log_recovery(r10, repetition_s, cosine)
    c = start
    slope = growth = np.nan
    for step in range(MOST_STEPS):
        value, growth = _log_recovery(r10 + r1 * c, repetition_s, cosine)
        slope = r1 * growth - decay
        move = (wanted - (value - reference - decay * c)) / slope
        c += move
        if not np.isfinite(c):
            break
        if abs(move) <= TOLERANCE * (abs(c) + r10 / r1):
            _, growth = _log_recovery(r10 + r1 * c, repetition_s, cosine)
            return c, r1 * growth - decay, growth, step + 1
    return np.nan, slope, growth, MOST_STEPS


@njit(cache=True, nogil=True, error_model="numpy")
def _lower(wanted, r10, r1, decay, repetition_s, cosine):
    """Root on the branch where the signal still rises with concentration; it may be negative."""
    start = 0.0
    if wanted < 0.0:
        reference, _ = _log_recovery(r10, repetition_s, cosine)
        bound = wanted + reference - decay * r10 / r1
        rate = np.exp(bound) * (1.0 - cosine) / repetition_s
        start = (min(rate, r10) - r10) / r1
    return _newton(start, wanted, r10, r1, decay, repetition_s, cosine)


@njit(cache=True, nogil=True, error_model="numpy")
def _upper(wanted, r10, r1, decay, repetition_s, cosine):
    """Root on the branch where the signal falls with concentration."""
    reference, _ = _log_recovery(r10, repetition_s, cosine)
    return _newton((-reference - wanted) / decay, wanted, r10, r1, decay, repetition_s, cosine)


@njit(cache=True, nogil=True, error_model="numpy")
def _invert(ratio, r10, r1, decay, repetition_s, cosine, highest, certain, out):
    """Concentration of one signal ratio into out: C, dL/dC, d ln g / dR at C, steps; its flags.

    A log ratio below -`certain` cannot be a concentration of 0 seen through noise.
    """
    out[:3] = np.nan
    out[3] = 0.0
    if not ratio > 0.0:
        return OUTSIDE_RANGE
    wanted = np.log(ratio)
    reference, _ = _log_recovery(r10, repetition_s, cosine)
    turning = _rate_at_maximum(repetition_s, cosine, decay / r1)
    rising = turning > r10
    most = -reference
    if np.isfinite(turning):
        most = _log_recovery(turning, repetition_s, cosine)[0] - reference - decay * (turning - r10) / r1
    if wanted >= most:
        return OUTSIDE_RANGE
    flags = 0
    if rising:
        out[0], out[1], out[2], out[3] = _lower(wanted, r10, r1, decay, repetition_s, cosine)
        if np.isfinite(turning):
            there, _ = _log_recovery(r10 + r1 * highest, repetition_s, cosine)
            if r10 + r1 * highest > turning and there - reference - decay * highest <= wanted:
                flags = AMBIGUOUS_BRANCH
                if wanted < -certain:
                    out[0], out[1], out[2], out[3] = _upper(wanted, r10, r1, decay, repetition_s, cosine)
    else:
        out[0], out[1], out[2], out[3] = _upper(wanted, r10, r1, decay, repetition_s, cosine)
    if not np.isfinite(out[0]):
        flags |= NOT_CONVERGED
    return flags


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def invert_with_decay(ratio, spread, r10, flip_rad, r1, r2star, repetition_s, echo_s, highest, out, flags):
    """Concentration from the ratio of the signal after to that before, with decay by r2*.

    ratio : (n, n_voxels) float64
    spread : (n, n_voxels) float64; standard error of its logarithm, NaN where it is not known
    r10, flip_rad : (n_voxels,) float64; 1/s and rad, both positive
    out : (4, n, n_voxels) float64; mmol/L, dL/dC in L/mmol, d ln g / dR in s, Newton steps
    flags : (n, n_voxels) uint16

    Below the maximum of the signal the lower of the two concentrations is taken, and AMBIGUOUS_BRANCH set
    where the other one is at most `highest`. A signal that is lower than before by more than noise explains
    has only that other one. Where the signal falls from 0 on, there is one.
    """
    n, n_voxels = ratio.shape
    decay = echo_s * r2star
    for chunk in prange((n_voxels + CHUNK - 1) // CHUNK):
        found = np.empty(4)
        for v in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n_voxels)):
            cosine = np.cos(flip_rad[v])
            for k in range(n):
                out[:, k, v] = np.nan
                out[3, k, v] = 0.0
                if flags[k, v] != 0:
                    continue
                certain = max(CERTAIN * spread[k, v], LEAST_FALL) if np.isfinite(spread[k, v]) else np.inf
                flags[k, v] |= _invert(
                    ratio[k, v], r10[v], r1, decay, repetition_s, cosine, highest, certain, found
                )
                out[:, k, v] = found


@njit(cache=True, nogil=True, error_model="numpy")
def _residuals(c, before, after, echo_s, r10, r1, r2star, repetition_s, cosine, sums):
    """Sum of squares of the scaled residuals at C, and the sums that a step and the errors need.

    A pair's residual (after - before x ratio) / sqrt(1 + ratio^2) has the noise of one image.
    sums : J'J, J'r, J'(dr/dR10), J'(dr/dr1), J'(dr/dr2*)
    """
    reference, growth_before = _log_recovery(r10, repetition_s, cosine)
    value, growth = _log_recovery(r10 + r1 * c, repetition_s, cosine)
    sums[:] = 0.0
    total = 0.0
    for j in range(echo_s.size):
        ratio = np.exp(value - reference - echo_s[j] * r2star * c)
        norm = 1.0 + ratio * ratio
        residual = (after[j] - before[j] * ratio) / np.sqrt(norm)
        by_log = -ratio * (before[j] + after[j] * ratio) / (norm * np.sqrt(norm))
        slope = by_log * (r1 * growth - echo_s[j] * r2star)
        total += residual * residual
        sums[0] += slope * slope
        sums[1] += slope * residual
        sums[2] += slope * by_log * (growth - growth_before)
        sums[3] += slope * by_log * growth * c
        sums[4] += slope * by_log * -echo_s[j] * c
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _descend(c, before, after, echo_s, r10, r1, r2star, repetition_s, cosine, sums, trial):
    """Gauss-Newton with halved steps from C; C, sum of squares, steps, and whether it settled."""
    lowest = -0.999 * r10 / r1
    c = max(c, lowest)
    total = _residuals(c, before, after, echo_s, r10, r1, r2star, repetition_s, cosine, sums)
    for step in range(MOST_STEPS):
        if not sums[0] > 0.0:
            return c, total, step, False
        move = -sums[1] / sums[0]
        accepted = False
        for _ in range(30):
            ahead = max(c + move, lowest)
            lower = _residuals(ahead, before, after, echo_s, r10, r1, r2star, repetition_s, cosine, trial)
            if lower <= total:
                accepted = True
                break
            move *= 0.5
        if not accepted:
            return c, total, step + 1, True
        moved = abs(ahead - c)
        c, total = ahead, lower
        sums[:] = trial
        if moved <= 1e-10 * (abs(c) + r10 / r1):
            return c, total, step + 1, True
    return c, total, MOST_STEPS, False


@njit(cache=True, nogil=True, error_model="numpy")
def _decay_start(before, after, echo_s, r2star):
    """Concentration from the slope of the log ratio over echo time; NaN with fewer than two echoes."""
    n = 0
    weight = sx = sy = sxx = sxy = 0.0
    for j in range(echo_s.size):
        if before[j] > 0.0 and after[j] > 0.0:
            n += 1
            w = 1.0 / (1.0 / (before[j] * before[j]) + 1.0 / (after[j] * after[j]))
            y = np.log(after[j] / before[j])
            weight += w
            sx += w * echo_s[j]
            sy += w * y
            sxx += w * echo_s[j] * echo_s[j]
            sxy += w * echo_s[j] * y
    spread = weight * sxx - sx * sx
    if n < 2 or spread <= 0.0:
        return np.nan
    return -(weight * sxy - sx * sy) / spread / r2star


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_echoes(before, after, echo_s, r10, r1, r2star, repetition_s, cosine, highest, work, out):
    """Best concentration of one voxel over three starts; flags.

    work : (3, 5); out : C, sum of squares, steps, then the five sums of `_residuals` at C
    """
    best, sums, trial = work[0], work[1], work[2]
    out[:] = np.nan
    out[2] = 0.0
    found = np.empty(4)
    settled = False
    for start in range(3):
        c = np.nan
        if start == 0:
            c = _decay_start(before, after, echo_s, r2star)
        elif before[0] > 0.0 and after[0] > 0.0:
            decay = echo_s[0] * r2star
            ratio = after[0] / before[0]
            if start == 1:
                _invert(ratio, r10, r1, decay, repetition_s, cosine, highest, np.inf, found)
                c = found[0]
            else:
                c = _upper(np.log(ratio), r10, r1, decay, repetition_s, cosine)[0]
        if not np.isfinite(c):
            continue
        c, total, steps, done = _descend(
            c, before, after, echo_s, r10, r1, r2star, repetition_s, cosine, sums, trial
        )
        if np.isnan(out[1]) or total < out[1]:
            out[0], out[1], settled = c, total, done
            best[:] = sums
        out[2] += steps
    out[3:] = best
    if np.isnan(out[1]):
        return INITIALISATION_FAILED
    if not settled:
        return NOT_CONVERGED
    return AT_BOUND if out[0] <= -0.9989 * r10 / r1 else 0


@njit(cache=True, nogil=True, error_model="numpy", parallel=True)
def fit_echoes(before, after, echo_s, r10, flip_rad, r1, r2star, repetition_s, highest, out, flags):
    """Concentration from gradient echoes before and after the agent, T1 and T2* effects together.

    before, after : (n_echoes, n_voxels) float64, the same noise in every image
    echo_s : (n_echoes,) float64, positive
    r10, flip_rad : (n_voxels,) float64
    out : (8, n_voxels) float64; mmol/L, sum of squares, steps, and the sums of `_residuals`
    flags : (n_voxels,) uint16; a voxel with a flag is not fitted
    """
    n_echoes, n_voxels = before.shape
    for chunk in prange((n_voxels + CHUNK - 1) // CHUNK):
        work = np.empty((3, 5))
        first, second, found = np.empty(n_echoes), np.empty(n_echoes), np.empty(8)
        for v in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n_voxels)):
            out[:, v] = np.nan
            out[2, v] = 0.0
            if flags[v] != 0:
                continue
            first[:] = before[:, v]
            second[:] = after[:, v]
            flags[v] |= _fit_echoes(
                first,
                second,
                echo_s,
                r10[v],
                r1,
                r2star,
                repetition_s,
                np.cos(flip_rad[v]),
                highest,
                work,
                found,
            )
            out[:, v] = found
