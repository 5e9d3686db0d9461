"""The magnitude of a signal in the noise of one or several receive coils: the noncentral chi distribution.

With Gaussian noise of SD sigma in the real and the imaginary channel of each of n coils, combined as the root
of the sum of squares, and a true amplitude A, the magnitude M has E[M^2] = A^2 + 2 n sigma^2 and

    E[M] = sigma b 1F1(-1/2; n; -A^2 / (2 sigma^2)),    b = sqrt(2) Gamma(n + 1/2) / Gamma(n).

One coil is the Rice distribution, and without signal that of Rayleigh: mean 1.2533 sigma, SD 0.6551 sigma.

References
----------
.. [1] Koay, Basser, J Magn Reson 2006;179:317, doi:10.1016/j.jmr.2006.01.016
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma, sqrt

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

MOST_COILS = 256

_REACH = 16.0
_CELLS = 1024


def checked_coils(n_coils: int) -> int:
    """The number of coils.

    Raises
    ------
    ValueError
        If it is not a whole number from 1 to 256.
    """
    if int(n_coils) != n_coils or not 1 <= n_coils <= MOST_COILS:
        raise ValueError(f"n_coils must be a whole number from 1 to {MOST_COILS}, got {n_coils!r}")
    return int(n_coils)


def noise_mean(n_coils: int = 1) -> float:
    """Mean of the magnitude of noise alone, in units of sigma; 1.2533 for one coil."""
    return sqrt(2.0) * exp(lgamma(n_coils + 0.5) - lgamma(n_coils))


def noise_spread(n_coils: int = 1) -> float:
    """Standard deviation of the magnitude of noise alone, in units of sigma; 0.6551 for one coil."""
    return sqrt(2.0 * n_coils - noise_mean(n_coils) ** 2)


def largest_of_noise(n_samples: int, n_coils: int = 1, *, probability: float = 1e-3) -> float:
    """What the largest of some samples of noise alone exceeds with a given probability, in units of sigma."""
    from scipy.special import gammainccinv

    single = -np.expm1(np.log1p(-probability) / n_samples)
    return sqrt(2.0 * float(gammainccinv(n_coils, single)))


@lru_cache(maxsize=16)
def chi_table(n_coils: int = 1) -> tuple[DoubleArray, float]:
    """Mean, its derivative by the amplitude, and variance of the magnitude; for sigma 1.

    Returns
    -------
    table : (3, n_cells + 1) ndarray
        At amplitudes that rise from 0 in equal steps, to where the asymptotic series serves.
    step : float
        Spacing of the amplitudes in units of sigma.
    """
    from scipy.special import hyp1f1

    x = np.linspace(0.0, _REACH * sqrt(n_coils), _CELLS + 1)
    factor = noise_mean(n_coils)
    mean = factor * hyp1f1(-0.5, n_coils, -0.5 * x * x)
    slope = factor * x / (2.0 * n_coils) * hyp1f1(0.5, n_coils + 1, -0.5 * x * x)
    table = np.ascontiguousarray([mean, slope, 2.0 * n_coils + x * x - mean * mean])
    table.setflags(write=False)
    return table, float(x[1])
