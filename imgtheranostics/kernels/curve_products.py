"""Products of rows of samples that fits of one curve are made of."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def dot(a, b):
    """Sum of products of two rows."""
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def explained_by_two(a, b, c, x, y):
    """Sum of squares that two rows explain with weights not below zero, and the weights.

    a, b, c : their squares and their product; x, y : their products with the curve; b = 0 for one row alone
    """
    one, two = (max(x, 0.0) / a if a > 0.0 else 0.0), 0.0
    best = one * x
    if b > 0.0:
        alone = max(y, 0.0) / b
        if alone * y > best:
            best, one, two = alone * y, 0.0, alone
        determinant = a * b - c * c
        if determinant > 1e-12 * a * b:
            both_one, both_two = (b * x - c * y) / determinant, (a * y - c * x) / determinant
            if both_one >= 0.0 and both_two >= 0.0:
                best, one, two = both_one * x + both_two * y, both_one, both_two
    return best, one, two


@njit(cache=True, nogil=True, error_model="numpy")
def residual_squares(curve, fitted, residual):
    """Residuals, model less data, and the sum of their squares."""
    for i in range(curve.size):
        residual[i] = fitted[i] - curve[i]
    return dot(residual, residual)


@njit(cache=True, nogil=True, error_model="numpy")
def normal_equations(jacobian, residual, normal, gradient):
    """Lower triangle of J'J, and J'r; jacobian : (p, n) float64."""
    for row in range(jacobian.shape[0]):
        gradient[row] = dot(jacobian[row], residual)
        for column in range(row + 1):
            normal[row, column] = dot(jacobian[row], jacobian[column])
