"""The multilinear reference-tissue model of three regressors in every voxel.

The tissue is ``g1 x + g2 A + g3 r``: the reference r and its integral x are the same for all voxels, the
integral A is the voxel's own. Its products with both are eliminated first, so that g2 is the slope of what x
and r leave of the tissue over what they leave of A. Sums are in float64, a block of voxels at a time.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from imgtheranostics.kernels.graphical_lines import (
    BLOCK,
    ILL_CONDITIONED,
    INVALID_INPUT,
    LEAST_SPREAD,
    MASKED_OUT,
    NEGATIVE_AMPLITUDE,
)

RATIO, DELIVERY, CLEARANCE, APPARENT = range(4)
"""Rows of the results and, four further, of their standard errors: DVR, R1, k2' and k2a."""

R_SQUARED, RMSE = 8, 9

ROWS = 10

AREA, AX, AR, AA, XC, RC, AC, CC, C = range(9)
"""Rows of the workspace: the integral, and products of x, r, A and the tissue C with each other."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _add(before, row, older, newer, counted, x, r, weight, sums):
    area, ax, ar, aa = sums[AREA], sums[AX], sums[AR], sums[AA]
    xc, rc, ac, cc, c = sums[XC], sums[RC], sums[AC], sums[CC], sums[C]
    for k in range(row.size):
        value = np.float64(row[k])
        area[k] += older * np.float64(before[k]) + newer * value
        if counted:
            wa, wc = weight * area[k], weight * value
            ax[k] += wa * x
            ar[k] += wa * r
            aa[k] += wa * area[k]
            xc[k] += wc * x
            rc[k] += wc * r
            ac[k] += wc * area[k]
            cc[k] += wc * value
            c[k] += wc


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(sums, k, shared, sum_w, per_freedom, out, v):
    """One voxel's results; False where the regressors cannot be told apart."""
    ixx, ixr, irr = shared[0], shared[1], shared[2]
    ax, ar, xc, rc = sums[AX, k], sums[AR, k], sums[XC, k], sums[RC, k]
    # What x and r make of A, and of the tissue.
    hx, hr = ixx * ax + ixr * ar, ixr * ax + irr * ar
    own = sums[AA, k] - hx * ax - hr * ar
    along = sums[AC, k] - hx * xc - hr * rc
    if not own > LEAST_SPREAD * sums[AA, k]:
        return False
    g2 = along / own
    g1, g3 = ixx * xc + ixr * rc - g2 * hx, ixr * xc + irr * rc - g2 * hr
    squares = max(sums[CC, k] - g1 * xc - g3 * rc - g2 * sums[AC, k], 0.0)
    variance = squares * per_freedom
    v2 = variance / own
    v1, v3, v13 = variance * ixx + v2 * hx * hx, variance * irr + v2 * hr * hr, variance * ixr + v2 * hx * hr
    ratio, clearance = -g1 / g2, g1 / g3
    out[RATIO, v], out[DELIVERY, v], out[CLEARANCE, v], out[APPARENT, v] = ratio, g3, clearance, -g2
    of_ratio = v1 + ratio * ratio * v2 - 2.0 * ratio * hx * v2
    of_clearance = v1 + clearance * clearance * v3 - 2.0 * clearance * v13
    out[4 + RATIO, v] = np.sqrt(max(of_ratio, 0.0)) / abs(g2)
    out[4 + DELIVERY, v] = np.sqrt(v3)
    out[4 + CLEARANCE, v] = np.sqrt(max(of_clearance, 0.0)) / abs(g3)
    out[4 + APPARENT, v] = np.sqrt(v2)
    out[R_SQUARED, v] = 1.0 - squares / (sums[CC, k] - sums[C, k] * sums[C, k] / sum_w)
    out[RMSE, v] = np.sqrt(squares / sum_w)
    return True


@njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def reference_planes(
    samples, chosen, first, older, newer, x, r, weights, shared, freedom, unbiased, out, flags
):
    """Least-squares fits of the voxel by the reference's integral, the voxel's own, and the reference.

    samples : (n, n_voxels) float32 or float64; the fit takes those from `first` on, the integral all
    chosen : (n_voxels,) bool
    older, newer : (n,) float64: integral up to sample i = that up to i - 1 + older s[i-1] + newer s[i]
    x, r : (n,) float64, integral and curve of the reference
    weights : (n,) float64, of the squares; zero before `first`, 1 on average from there
    shared : (4,) float64, inverse of the products of x and r (xx, xr, rr), and the sum of the weights
    freedom, unbiased : int, float; degrees of freedom and their c4
    out : (10, n_voxels), written; flags : (n_voxels,) uint16, written
    """
    n, n_voxels = samples.shape
    per_freedom = 1.0 / (freedom * unbiased * unbiased) if freedom > 0 else np.nan
    for block in prange((n_voxels + BLOCK - 1) // BLOCK):
        begin, end = block * BLOCK, min((block + 1) * BLOCK, n_voxels)
        sums = np.zeros((9, end - begin))
        for i in range(n):
            row, before = samples[i, begin:end], samples[max(i - 1, 0), begin:end]
            _add(before, row, older[i], newer[i], i >= first, x[i], r[i], weights[i], sums)
        for k in range(end - begin):
            v, flag = begin + k, 0
            if not chosen[v]:
                flag = MASKED_OUT
            elif not np.isfinite(sums[AA, k] + sums[CC, k]):
                flag = INVALID_INPUT
            elif not _solve(sums, k, shared, shared[3], per_freedom, out, v):
                flag = ILL_CONDITIONED
            elif sums[C, k] < 0.0 or out[DELIVERY, v] < 0.0:
                flags[v] = NEGATIVE_AMPLITUDE
                continue
            flags[v] = flag
            if flag:
                for line in range(ROWS):
                    out[line, v] = np.nan
