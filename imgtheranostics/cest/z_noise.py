"""Noise level of a Z-spectrum from what no smooth spectrum can explain."""

from __future__ import annotations

import numpy.typing as npt

from imgtheranostics.cest.sample_differences import LEAST_OFFSETS
from imgtheranostics.cest.z_kernel import Spectra, measure
from imgtheranostics.fit import FloatArray


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

    Returns
    -------
    ndarray
        NaN where a sample is not finite, and where fewer than 12 offsets leave nothing outside of the dip.

    Raises
    ------
    ValueError
        If there are fewer than 6 offsets.

    Notes
    -----
    From fourth divided differences of neighbouring samples, which vanish on cubics, without those that reach
    into the lowest 60 % of the water dip, or the lowest 30 % where 60 % leaves fewer than 8 others, or where
    they are three times as large as the others. Their level is that which their mean square, clipped at it,
    has for normal noise; the result is the root mean square of those within 2.5 times that level. Single wild
    samples, and lines that are narrow beside the spacing, therefore count little. One spectrum of 51
    offsets gives it to about 20 %: a mean or median over voxels is better where their noise is the same.

    What the offsets do not resolve counts as noise. Trains of pulses make side bands of water, 1 / (period x
    imaging frequency) ppm apart; in a solution of long T2 they change each sample by some hundredths whatever
    the noise is. In tissue they are below 0.002. Of simulated trains with a noise of 0.003 the median result
    is 1.2, 2.6 and 4 times that in T2 of 0.3 to 2 s each 0.1, 0.25 and 0.5 ppm, ten times it in a quarter of
    the protocols; in white matter 1.1, 1.3 and 1.6 times. The third of the differences farthest from water
    gives twice as much, since the bands reach there too. Give the noise where it is known.
    """
    spectra = Spectra.of(z, offset_ppm, mask, least=LEAST_OFFSETS, purpose="the noise level of a Z-spectrum")
    return spectra.restored(measure(spectra, find_noise=True, workers=workers).noise)
