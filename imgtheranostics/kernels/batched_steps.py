"""Steps and variances of many small least-squares problems, with the pieces of `small_matrices`.

For models that are too costly to be evaluated inside a loop over voxels: all voxels take one step together.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from imgtheranostics.kernels import small_matrices as pieces


@njit(cache=True, nogil=True, error_model="numpy")
def bounded_steps(normal, gradient, parameters, lower, upper, damping, steps, predicted):
    """A bounded, damped step of each problem; NaN where the system is singular.

    normal : (v, p, p) float64, J'J; gradient, parameters, steps : (v, p) float64
    lower, upper : (p,) float64; damping, predicted : (v,) float64, predicted decrease of the sum of squares
    """
    v, p = gradient.shape
    free, factor, target = np.empty(p, np.bool_), np.empty((p, p)), np.empty(p)
    for i in range(v):
        solved = pieces.bounded_step(
            normal[i], gradient[i], parameters[i], lower, upper, damping[i], free, factor, target, steps[i]
        )
        predicted[i] = pieces.predicted_decrease(normal[i], gradient[i], steps[i]) if solved else np.nan
        if not solved:
            for j in range(p):
                steps[i, j] = np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def variances(normal, free, variance, out):
    """Variances of the free parameters of each problem; NaN for the others and where undetermined.

    normal : (v, p, p) float64; free : (v, p) bool; variance : (v,) float64, of one sample; out : (v, p)
    """
    factor = np.empty(normal.shape[1:])
    for i in range(variance.size):
        pieces.covariance_diagonal(normal[i], free[i], variance[i], factor, out[i])
