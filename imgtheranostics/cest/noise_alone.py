"""Voxels whose images are magnitudes of noise alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.cest.sample_differences import LEAST_OFFSETS
from imgtheranostics.cest.z_kernel import Spectra
from imgtheranostics.fit import FloatArray

RAYLEIGH_MEAN = 1.9130583802711007
"""Mean over standard deviation of a magnitude that is noise alone, sqrt(pi / (4 - pi))."""

RAYLEIGH_REACH = 3.7605
"""What a single magnitude of noise alone exceeds the mean by once in a thousand, in standard deviations:
sqrt(4 ln(1000) / (4 - pi)) less the mean. A mean of n magnitudes exceeds it by less than this / sqrt(n)."""

SCATTER_REACH, SCATTER_OF_FEW = 4.81, 62.4
"""What the mean of n magnitudes of noise alone, over their own standard deviation, exceeds `RAYLEIGH_MEAN` by
once in 2,000: (the first + the second / n) / sqrt(n). These and the next from 400,000 spectra of 6 to 101
samples each, to 3 % from 13 samples."""

REFERENCE_OF_FEW = 5.3
"""A reference of noise alone, over the standard deviation of n samples, exceeds the reach of a known one by
this over n."""

EVENNESS, EVENNESS_OF_FEW = 6.6, 2.4
"""Squared steps between neighbouring samples over squared distances from their mean: 2 for noise alone, and
once in 2,000 less than that by the first (1 - the second / n) / sqrt(n). Of a curve that is sampled it is
far less: 0.2 for water ten steps wide."""

SKEWNESS = 0.6311106578189371
SKEWNESS_REACH, SKEWNESS_OF_FEW = 6.9, 1.4
"""That of magnitudes of noise alone, 2 (pi - 3) sqrt(pi) / (4 - pi)^(3/2); of n samples it is once in 2,000
less by the second (1 - the third / n) / sqrt(n). Water is a dip in what is else even: -3.5 to 0."""

WATER_HALF_PPM = (0.5, 1.0, 2.5)
LIKE_WATER = 3.6
"""Half-widths of dips at 0 ppm; and the hyperbolic arc tangent of the correlation that noise alone has with
one of them once in 5,000, times sqrt(n - 3)."""

LONGER_TAIL = 1.6
"""Power of the ratio that normal noise exceeds once in a thousand, which magnitudes do once in 1,000."""


def below_reach(noise: npt.NDArray[np.float64], n_references: int) -> npt.NDArray[np.bool_]:
    """Voxels whose references are no more than noise alone reaches once in a thousand."""
    with np.errstate(invalid="ignore"):
        alone: npt.NDArray[np.bool_] = noise * (RAYLEIGH_MEAN + RAYLEIGH_REACH / np.sqrt(n_references)) > 1.0
    return alone


def looks_like_noise(
    z: FloatArray, offsets: OffsetList, noise: npt.NDArray[np.float64], n_references: int
) -> npt.NDArray[np.bool_]:
    """Voxels whose samples and references are magnitudes that noise alone explains, of any level.

    Their mean, the references, the steps between neighbours, the skewness and the likeness to a dip at 0 ppm
    are what noise alone gives beside the scatter of the samples, and this is that of the estimated noise.
    Voxels without an estimate count as no noise.
    """
    n = offsets.n
    if n < LEAST_OFFSETS:
        return np.zeros(z.shape[1], np.bool_)
    longest = Spectra.ascending(z, offsets).least_ratio ** LONGER_TAIL
    few = 1.0 / n
    most_mean = RAYLEIGH_MEAN + (SCATTER_REACH + SCATTER_OF_FEW * few) * np.sqrt(few)
    reach = (RAYLEIGH_MEAN + RAYLEIGH_REACH / np.sqrt(n_references)) * (1.0 + REFERENCE_OF_FEW * few)
    least_steps = 2.0 - EVENNESS * (1.0 - EVENNESS_OF_FEW * few) * np.sqrt(few)
    least_skewness = SKEWNESS - SKEWNESS_REACH * (1.0 - SKEWNESS_OF_FEW * few) * np.sqrt(few)
    with np.errstate(all="ignore"):
        mean = z.mean(axis=0, dtype=np.float64)
        squares, cubes, steps = np.zeros((3, mean.size))
        before = mean
        for row, samples in enumerate(z):
            away = samples - mean
            squares += away * away
            cubes += away * away * away
            if row:
                steps += (away - before) ** 2
            before = away
        scatter = np.sqrt(squares / (n - 1))
        alone: npt.NDArray[np.bool_] = (mean < most_mean * scatter) & (scatter * reach > 1.0)
        alone &= (steps > least_steps * squares) & (cubes > n * least_skewness * scatter**3)
        alone &= scatter**2 < longest * noise**2
        for dip in _dips(offsets.ppm):
            alone &= dip @ z < np.tanh(LIKE_WATER / np.sqrt(n - 3.0)) * np.sqrt(squares)
    return alone


def _dips(ppm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Lorentzian dips at 0 ppm of several widths, each of mean 0 and length 1."""
    half = np.array(WATER_HALF_PPM)[:, np.newaxis]
    dips: npt.NDArray[np.float64] = -1.0 / (1.0 + (ppm / half) ** 2)
    dips -= dips.mean(axis=1, keepdims=True)
    dips /= np.linalg.norm(dips, axis=1, keepdims=True)
    return dips
