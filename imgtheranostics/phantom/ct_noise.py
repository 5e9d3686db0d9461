"""Noise of a reconstructed CT image: Gaussian, and correlated as filtered back-projection leaves it.

References
----------
.. [1] Riederer, Pelc, Chesler, Phys. Med. Biol. 23:446, 1978: the noise power of filtered back-projection is
   |f| times the square of the kernel's modulation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.grid import Grid
from imgtheranostics.regions import FWHM_PER_SD

Float32Array = npt.NDArray[np.float32]


def noise_power(grid: Grid, fwhm_mm: float) -> npt.NDArray[np.float64]:
    """Power over the frequencies of a slice, (i, j // 2 + 1) with a mean of one over the whole plane.

    Parameters
    ----------
    grid : Grid
    fwhm_mm : float
        Of the kernel's point spread, Gaussian.
    """
    ni, nj, _ = grid.shape
    fi = np.fft.fftfreq(ni, grid.spacing_mm[0])[:, np.newaxis]
    fj = np.fft.rfftfreq(nj, grid.spacing_mm[1])
    squared = fi**2 + fj**2
    sd = fwhm_mm / FWHM_PER_SD
    power = np.sqrt(squared) * np.exp(-4 * np.pi**2 * sd**2 * squared)
    twice = np.full(fj.size, 2.0)
    twice[0] = 1.0
    if nj % 2 == 0:
        twice[-1] = 1.0
    return np.asarray(power * ni * nj / (power * twice).sum())


def kernel_noise(grid: Grid, sd: float, fwhm_mm: float, rng: np.random.Generator) -> Float32Array:
    """Noise with a standard deviation of `sd` in every voxel, (i, j, k) in Fortran order.

    Along k, slices that overlap share photons: a Gaussian of the same width, less what a slice itself blurs.
    Its edges wrap around, which leaves the standard deviation the same everywhere.
    """
    from scipy.fft import irfft2, rfft2
    from scipy.ndimage import gaussian_filter1d

    ni, nj, nk = grid.shape
    white = rng.standard_normal((nk, nj, ni), dtype=np.float32)
    gain = np.sqrt(noise_power(grid, fwhm_mm)).astype(np.float32).T
    planes = irfft2(rfft2(white, axes=(2, 1)) * gain, s=(ni, nj), axes=(2, 1))
    along = np.sqrt(max((fwhm_mm / FWHM_PER_SD) ** 2 - grid.spacing_mm[2] ** 2 / 12, 0.0))
    width = along / grid.spacing_mm[2]
    if width > 0 and nk > 1:
        impulse = np.zeros(nk)
        impulse[0] = 1.0
        kernel = gaussian_filter1d(impulse, width, mode="wrap")
        planes = gaussian_filter1d(planes, width, axis=0, mode="wrap") / np.float32(
            np.sqrt((kernel**2).sum())
        )
    return np.asarray(np.float32(sd) * planes, np.float32).T
