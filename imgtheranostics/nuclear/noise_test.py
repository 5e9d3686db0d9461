"""Whether a model explains more of a curve than noise alone would let it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LEVEL = 0.01
"""Share of curves of pure noise that the test lets pass, for a model that is linear."""


def no_better_than_zero(
    squares: FloatArray, of_curve: FloatArray, n_parameters: int, freedom: int
) -> npt.NDArray[np.bool_]:
    """F test of a model against a curve that is zero, at `LEVEL`.

    Parameters
    ----------
    squares, of_curve : ndarray, shape (m,)
        Weighted sums of squares of the residual and of the curve itself.
    n_parameters, freedom : int
        Fitted parameters, and degrees of freedom; without any of the latter nothing can be said.

    Returns
    -------
    ndarray of bool, shape (m,)
        True where the curve is as well explained by nothing.

    Examples
    --------
    >>> no_better_than_zero(np.array([9.0, 1.0]), np.array([10.0, 10.0]), 2, 20).tolist()
    [True, False]
    """
    from scipy.special import fdtri

    if freedom < 1 or n_parameters < 1:
        return np.zeros(squares.shape, bool)
    least = float(fdtri(n_parameters, freedom, 1.0 - LEVEL))
    gain = (of_curve - squares) / n_parameters
    return np.asarray(~(gain > least * squares / freedom))
