"""Noise level of a Z-spectrum from what no smooth spectrum can explain."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.offset_list import OffsetList
from imgtheranostics.fit import FloatArray, planar

_NORMAL_MEDIAN = 0.6744897501960817
"""Median of the magnitude of a standard normal variable."""

STENCIL = 5
"""Neighbouring samples of which a divided difference is taken: it vanishes on cubics."""

LEAST_OFFSETS = STENCIL + 1


def noise_sd(
    z: npt.ArrayLike,
    offset_ppm: npt.ArrayLike,
    *,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> FloatArray:
    """Standard deviation of the noise in each sample, (...).

    Parameters
    ----------
    z : (..., n) array_like
        Z-spectra, in the order of `offset_ppm`.
    offset_ppm : (n,) array_like
        Offsets, any order, each once; at least 6.
    mask : (...) array_like of bool, optional
        NaN outside.
    workers : int, optional
        Threads.

    Raises
    ------
    ValueError
        If there are fewer than 6 offsets.
    """
    offsets = OffsetList.of(offset_ppm, least=LEAST_OFFSETS, purpose="the noise level of a Z-spectrum")
    spectra = planar(z, offsets.n, "z")
    estimate = planar_noise(spectra.samples[offsets.order], offsets)
    estimate[~spectra.chosen(mask)] = np.nan
    kept: FloatArray = spectra.restored(estimate.astype(spectra.samples.dtype))
    return kept


def planar_noise(
    samples: FloatArray, offsets: OffsetList, *, workers: int | None = None
) -> npt.NDArray[np.float64]:
    """Noise of each spectrum, (n_voxels,); samples (n, n_voxels) in ascending order of the offsets."""
    residuals = np.abs(difference_weights(offsets.ppm) @ samples.astype(np.float64))
    estimate: npt.NDArray[np.float64] = np.median(residuals, axis=0) / _NORMAL_MEDIAN
    return estimate


def difference_weights(ppm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights of fourth divided differences scaled to unit length, (n - 4, n)."""
    n = ppm.size
    weights = np.zeros((n - STENCIL + 1, n))
    for row in range(n - STENCIL + 1):
        x = ppm[row : row + STENCIL]
        raw = np.array([1.0 / math.prod(a - b for b in x if b != a) for a in x])
        weights[row, row : row + STENCIL] = raw / np.linalg.norm(raw)
    return weights
