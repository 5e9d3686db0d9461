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
    reach_of_samples,
)

RATIO, DELIVERY, CLEARANCE, APPARENT = range(4)
"""Rows of the results and, four further, of their standard errors: DVR, R1, k2' and k2a."""

R_SQUARED, RMSE = 8, 9

ROWS = 10

AREA, AX, AR, AA, XC, RC, AC, CC, C, HX, HR, OWN, LINE, REST = range(14)
"""Rows of the workspace: the integral; products of x, r, A and the tissue C with each other; shares of x
and r in A, squares of what they leave of it, 1/g2, and squares that are left of the tissue."""

SUMS = 14

SPREADS = 10
"""Rows of the workspace in which noise is followed through the integrals."""


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
def _solve(sums, k, shared, sum_w, out, v):
    """One voxel's values; False where the regressors cannot be told apart."""
    ixx, ixr, irr = shared[0], shared[1], shared[2]
    ax, ar, xc, rc = sums[AX, k], sums[AR, k], sums[XC, k], sums[RC, k]
    # What x and r make of A, and of the tissue.
    hx, hr = ixx * ax + ixr * ar, ixr * ax + irr * ar
    own = sums[AA, k] - hx * ax - hr * ar
    along = sums[AC, k] - hx * xc - hr * rc
    g2 = along / own
    g1, g3 = ixx * xc + ixr * rc - g2 * hx, ixr * xc + irr * rc - g2 * hr
    squares = max(sums[CC, k] - g1 * xc - g3 * rc - g2 * sums[AC, k], 0.0)
    sums[HX, k], sums[HR, k], sums[OWN, k], sums[LINE, k], sums[REST, k] = hx, hr, own, 1.0 / g2, squares
    out[RATIO, v], out[DELIVERY, v], out[CLEARANCE, v], out[APPARENT, v] = -g1 / g2, g3, g1 / g3, -g2
    out[R_SQUARED, v] = 1.0 - squares / (sums[CC, k] - sums[C, k] * sums[C, k] / sum_w)
    out[RMSE, v] = np.sqrt(squares / sum_w)
    return own > LEAST_SPREAD * sums[AA, k]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _spread(before, row, older, newer, reach, earlier, x, r, weight, shared, sums, spreads):
    """What noise of one size in every sample does to the three weights, from the last sample on.

    Rows of the pseudo-inverse are those of x and r alone, and of what both leave of A; each sample moves its
    own equation, by its integral less 1/g2, and those of all after it.
    """
    area, hx, hr, own, line = sums[AREA], sums[HX], sums[HR], sums[OWN], sums[LINE]
    later_a, later_b, later_q = spreads[0], spreads[1], spreads[2]
    aa, ab, aq = spreads[3], spreads[4], spreads[5]
    bb, bq, qq, squares = spreads[6], spreads[7], spreads[8], spreads[9]
    a, b = weight * (shared[0] * x + shared[1] * r), weight * (shared[1] * x + shared[2] * r)
    for k in range(row.size):
        q = weight * (area[k] - hx[k] * x - hr[k] * r) / own[k]
        point = newer - line[k]
        squares[k] += weight * (point * point + earlier)
        u, v, w = (
            reach * later_a[k] + point * a,
            reach * later_b[k] + point * b,
            reach * later_q[k] + point * q,
        )
        aa[k] += u * u
        ab[k] += u * v
        aq[k] += u * w
        bb[k] += v * v
        bq[k] += v * w
        qq[k] += w * w
        later_a[k] += a
        later_b[k] += b
        later_q[k] += q
        area[k] -= older * np.float64(before[k]) + newer * np.float64(row[k])


@njit(cache=True, nogil=True, error_model="numpy")
def _errors(sums, spreads, k, shared, earlier, usable, out, v):
    """Standard errors of one voxel from the squares that are left, over what noise of size 1 would leave."""
    hx, hr = sums[HX, k], sums[HR, k]
    a, b, q = spreads[0, k], spreads[1, k], spreads[2, k]
    aa, ab, aq = (
        spreads[3, k] + earlier * a * a,
        spreads[4, k] + earlier * a * b,
        spreads[5, k] + earlier * a * q,
    )
    bb, bq, qq = (
        spreads[6, k] + earlier * b * b,
        spreads[7, k] + earlier * b * q,
        spreads[8, k] + earlier * q * q,
    )
    determinant = shared[0] * shared[2] - shared[1] * shared[1]
    taken = (shared[2] * aa - 2.0 * shared[1] * ab + shared[0] * bb) / determinant + sums[OWN, k] * qq
    variance = usable * sums[REST, k] / (spreads[9, k] - taken)
    v1, v3 = aa - 2.0 * hx * aq + hx * hx * qq, bb - 2.0 * hr * bq + hr * hr * qq
    v12, v13 = aq - hx * qq, ab - hr * aq - hx * bq + hx * hr * qq
    ratio, clearance = np.float64(out[RATIO, v]), np.float64(out[CLEARANCE, v])
    of_ratio = v1 + ratio * ratio * qq + 2.0 * ratio * v12
    of_clearance = v1 + clearance * clearance * v3 - 2.0 * clearance * v13
    out[4 + RATIO, v] = np.sqrt(variance * max(of_ratio, 0.0)) * abs(sums[LINE, k])
    out[4 + DELIVERY, v] = np.sqrt(variance * max(v3, 0.0))
    out[4 + CLEARANCE, v] = np.sqrt(variance * max(of_clearance, 0.0)) / abs(out[DELIVERY, v])
    out[4 + APPARENT, v] = np.sqrt(variance * qq)


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

    Standard errors are those of noise that is as large in every sample, also before `first`, and goes into
    the integral as well.
    """
    n, n_voxels = samples.shape
    usable = 1.0 / (unbiased * unbiased) if freedom > 0 else np.nan
    reach, earlier = reach_of_samples(older, newer)
    for block in prange((n_voxels + BLOCK - 1) // BLOCK):
        begin, end = block * BLOCK, min((block + 1) * BLOCK, n_voxels)
        sums, spreads = np.zeros((SUMS, end - begin)), np.zeros((SPREADS, end - begin))
        for i in range(n):
            row, before = samples[i, begin:end], samples[max(i - 1, 0), begin:end]
            _add(before, row, older[i], newer[i], i >= first, x[i], r[i], weights[i], sums)
        for k in range(end - begin):
            v, flag = begin + k, 0
            apart = _solve(sums, k, shared, shared[3], out, v)
            if not chosen[v]:
                flag = MASKED_OUT
            elif not np.isfinite(sums[AA, k] + sums[CC, k]):
                flag = INVALID_INPUT
            elif not apart:
                flag = ILL_CONDITIONED
            elif sums[C, k] < 0.0 or out[DELIVERY, v] < 0.0:
                flag = NEGATIVE_AMPLITUDE
            flags[v] = flag
        for i in range(n - 1, first - 1, -1):
            row, before = samples[i, begin:end], samples[max(i - 1, 0), begin:end]
            _spread(
                before, row, older[i], newer[i], reach[i], earlier[i], x[i], r[i], weights[i], shared, sums,
                spreads,
            )  # fmt: skip
        for k in range(end - begin):
            v = begin + k
            _errors(sums, spreads, k, shared, earlier[first], usable, out, v)
            if flags[v] != 0 and flags[v] != NEGATIVE_AMPLITUDE:
                for line in range(ROWS):
                    out[line, v] = np.nan
