"""How many independent speckle cells a region holds: the standard error of its mean power.

Speckle is correlated over the size of the point spread, so that N pixels are far fewer independent ones, and
the power of a single cell has a standard deviation as large as its mean. The variance of a region's mean is

    Var(mean) = (1/N^2) sum_k n_k C(k),

with C the covariance at lag k and n_k the pairs of pixels of the region at that lag. C is measured in the
region itself, by Fourier transforms, over as many images as there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

MOST_IMAGES = 16
"""Images over which a correlation is averaged: more gain nothing."""

FEWEST_CELLS = 5.0
"""With fewer independent cells the scatter within a region says nothing of that of its mean."""

_LARGEST_WORK = 1 << 22
_LEAST_CORRELATION = 0.05
_SIGNIFICANT = 2.0


@dataclass(frozen=True, slots=True)
class Cells:
    """Independent cells of a region.

    Attributes
    ----------
    variance_factor : float
        Variance of the mean over the variance of the pixels about their own mean (divided by N); NaN where
        the region holds fewer than `FEWEST_CELLS`, whose scatter does not tell it.
    n_effective : float
        Independent cells, from 1 to the number of pixels.
    """

    variance_factor: float
    n_effective: float


@dataclass(frozen=True, eq=False)
class Patch:
    """A region in the smallest box around it.

    Attributes
    ----------
    place : (n_pixels,) int64
        Flat C-order index of each pixel in the box.
    box : tuple of int
    """

    place: IndexArray
    box: tuple[int, ...]

    @classmethod
    def of(cls, voxels: IndexArray, shape: Sequence[int]) -> Patch:
        """From flat Fortran-order indices into an image of that shape."""
        index = np.stack(np.unravel_index(voxels, tuple(shape), order="F"))
        first = index.min(axis=1) if voxels.size else np.zeros(len(shape), np.int64)
        last = index.max(axis=1) if voxels.size else np.zeros(len(shape), np.int64)
        box = tuple(int(n) for n in last - first + 1)
        place = np.ravel_multi_index(tuple(index - first[:, np.newaxis]), box)
        return cls(np.asarray(place, np.int64), box)

    def padded(self) -> tuple[int, ...]:
        """Extents in which no lag wraps around."""
        from scipy.fft import next_fast_len

        return tuple(int(next_fast_len(2 * n - 1, real=True)) if n > 1 else 1 for n in self.box)

    def spectrum(self, values: FloatArray, padded: tuple[int, ...]) -> FloatArray:
        """Squared moduli of the Fourier transform: those of several images add up."""
        from scipy.fft import rfftn

        image = np.zeros(self.box)
        image.ravel()[self.place] = values
        found = rfftn(image, s=padded, axes=tuple(range(len(self.box))))
        return np.asarray(found.real**2 + found.imag**2)


def _products(spectrum: FloatArray, padded: tuple[int, ...]) -> FloatArray:
    """Sums of products at every lag, lag 0 first."""
    from scipy.fft import irfftn

    return np.asarray(irfftn(spectrum, s=padded, axes=tuple(range(len(padded)))))


def images_used(patch: Patch, n_images: int) -> IndexArray:
    """Which of the images a correlation is measured in: evenly spread, fewer of large regions."""
    work = int(np.prod(patch.padded()))
    count = min(n_images, MOST_IMAGES, max(2, _LARGEST_WORK // max(work, 1)))
    return np.unique(np.linspace(0, n_images - 1, count).round().astype(np.int64))


def count_cells(patch: Patch, images: Sequence[FloatArray]) -> Cells:
    """Independent cells of a region from images of it.

    The mean of the region is taken off each image, which lowers all covariances by the variance of that mean;
    that is put back. Lags count where the correlation stands out of its own noise, in one piece around lag 0;
    what a Gaussian correlation holds below that level is added.

    Parameters
    ----------
    patch : Patch
    images : sequence of (n_pixels,) ndarray
        One value per pixel of the patch; NaN is left out. Images without variation do not count.

    Returns
    -------
    Cells
        As many cells as pixels where no image varies.
    """
    n = patch.place.size
    padded = patch.padded()
    total: Any = 0.0
    used = 0
    for image in images:
        known = np.isfinite(image)
        size = int(np.count_nonzero(known))
        if size < 2:
            continue
        centred = np.where(known, image - image[known].mean(), 0.0)
        variance = float(np.sum(centred**2)) / size
        if variance > 0:
            total = total + patch.spectrum(centred / np.sqrt(variance * size / n), padded)
            used += 1
    if not used or n < 2:
        return Cells(1.0 / max(n, 1), float(max(n, 1)))
    pairs = np.rint(_products(patch.spectrum(np.ones(n), padded), padded))
    return _cells(_products(total / used, padded), pairs, n, used)


def _cells(products: FloatArray, pairs: FloatArray, n: int, n_images: int) -> Cells:
    """From summed products, normalised to a variance of 1, and pairs at each lag."""
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(pairs > 0, products / pairs, -1.0)
    factor, level = 1.0 / n, _LEAST_CORRELATION
    for _ in range(3):
        restored = (correlation + factor) / (1.0 + factor)
        support = _around_zero(restored > level)
        share = float(pairs[support].sum()) / n**2
        if share >= 1.0:
            return Cells(float("nan"), 1.0)
        beyond = (float(products[support].sum()) - n) / (1.0 - level)
        factor = max(1.0 + beyond / n, 1.0) / n / (1.0 - share)
        # noise of a correlation: one over the root of all independent cells that it was measured in
        level = min(0.5, max(_LEAST_CORRELATION, _SIGNIFICANT * np.sqrt(factor / n_images)))
    n_effective = float(np.clip((1.0 + factor) / factor, 1.0, n))
    return Cells(factor if n_effective >= FEWEST_CELLS else float("nan"), n_effective)


def _around_zero(above: BoolArray) -> BoolArray:
    """Lags in one piece with lag 0, across the edges of the box."""
    from scipy.ndimage import label

    centred = np.fft.fftshift(above)
    labels, _ = label(centred)
    middle = tuple(n // 2 for n in above.shape)
    own = labels[middle]
    if own == 0:
        alone = np.zeros(above.shape, np.bool_)
        alone[(0,) * above.ndim] = True
        return alone
    return np.asarray(np.fft.ifftshift(labels == own))
