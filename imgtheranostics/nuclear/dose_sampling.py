"""Standard errors of measures of a dose distribution from the spread of its voxels, as for their mean.

Voxels that count as independent follow from those that `imgtheranostics.regions.roi_statistics` finds for the
mean. What is structure and not noise widens the errors too, so that they are too large rather than too small.

References
----------
.. [1] Woodruff RS, J Am Stat Assoc 1952;47:635-646 (quantiles).
.. [2] Cramer H, Leadbetter MR, Stationary and related stochastic processes, Wiley 1967 (shares).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


_SERIES = 40


def independent_voxels(share: float, n_effective: float, n: int) -> float:
    """Voxels that count as independent for the share of a region below some dose, at most all.

    Whether two correlated voxels lie below a dose is less correlated than their doses, by the series of
    Hermite polynomials of normal noise [2]_; the volume of a Gaussian correlation to the power k is less by
    k^1.5.
    """
    normal = NormalDist()
    z = normal.inv_cdf(share)
    every = share * (1.0 - share) / normal.pdf(z) ** 2
    earlier, polynomial, factorial, correlated = 0.0, 1.0, 1.0, 0.0
    for k in range(1, _SERIES + 1):
        factorial *= k
        correlated += polynomial * polynomial / factorial * k**-1.5
        earlier, polynomial = polynomial, z * polynomial - (k - 1) * earlier
    return min(n_effective * every / correlated, max(float(n), n_effective))


def dose_at_volume_error(dose: FloatArray, percent: float, n_effective: float) -> float:
    """Of the least dose in the hottest `percent` of the volume: the share's error over the density there.

    NaN for the highest and the lowest dose, whose error the spread does not tell.
    """
    share = 1.0 - percent / 100.0
    if not (0.0 < share < 1.0 and dose.size > 1 and n_effective > 0):
        return math.nan
    step = math.sqrt(share * (1.0 - share) / independent_voxels(share, n_effective, dose.size))
    ends = np.clip([share - step, share + step], 0.0, 1.0)
    low, high = np.quantile(dose, ends)
    return float(step * (high - low) / (ends[1] - ends[0]))


def volume_at_dose_error(percent: float, n_effective: float, n: int) -> float:
    """Of the percent of a volume of `n` voxels that has at least some dose; 0 for none and all of it."""
    if not n_effective > 0:
        return math.nan
    share = percent / 100.0
    if not 0.0 < share < 1.0:
        return 0.0
    return 100.0 * math.sqrt(share * (1.0 - share) / independent_voxels(1.0 - share, n_effective, n))


def geud_error(dose: FloatArray, a: float, n_effective: float) -> float:
    """Of the equivalent uniform dose (mean of D^a)^(1/a); NaN where it is an extreme, or zero."""
    values = np.maximum(dose, 0.0)
    outer = float(values.max() if a > 0 else values.min()) if values.size > 1 else 0.0
    if not (outer > 0.0 and math.isfinite(a) and n_effective > 0):
        return math.nan
    powers = (values / outer) ** a
    mean = float(powers.mean())
    equivalent = outer * math.pow(mean, 1.0 / a)
    return float(equivalent / abs(a) * powers.std(ddof=1) / mean / math.sqrt(n_effective))
