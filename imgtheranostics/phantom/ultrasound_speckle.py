"""Fully developed speckle: complex fields of scatterers seen through a pulse, renewed as they go."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from imgtheranostics.regions import FWHM_PER_SD

ComplexArray = npt.NDArray[np.complex128]
FloatArray = npt.NDArray[np.float64]


def speckle_frames(
    shape: tuple[int, int],
    cell_pixels: tuple[float, float],
    n_frames: int,
    renewal: float,
    rng: np.random.Generator,
    shift_pixels: FloatArray | None = None,
) -> Iterator[ComplexArray]:
    """The field of scatterers in frame after frame, its square of expectation 1 in every pixel.

    Parameters
    ----------
    shape : (int, int)
    cell_pixels : (float, float)
        FWHM of the amplitude of the pulse, in pixels.
    n_frames : int
    renewal : float
        Correlation of the field from one frame to the next; 1 for scatterers that stay.
    rng : numpy.random.Generator
    shift_pixels : (n_frames,) ndarray, optional
        By which the scatterers have moved along the second direction.
    """
    transfer = _transfer(shape, cell_pixels)
    frequency = np.fft.fftfreq(shape[1])
    kept = math.sqrt(max(0.0, 1.0 - renewal**2))
    field = _white(shape, rng)
    for n in range(n_frames):
        if n and kept > 0:
            field = renewal * field + kept * _white(shape, rng)
        spectrum = np.fft.fft2(field) * transfer
        if shift_pixels is not None:
            spectrum = spectrum * np.exp(-2j * math.pi * frequency * shift_pixels[n])
        yield np.fft.ifft2(spectrum)


def _white(shape: tuple[int, int], rng: np.random.Generator) -> ComplexArray:
    pair = rng.standard_normal((2, *shape))
    return np.asarray((pair[0] + 1j * pair[1]) * math.sqrt(0.5))


def _transfer(shape: tuple[int, int], cell_pixels: tuple[float, float]) -> FloatArray:
    """Gaussian pulse in frequencies, of mean square 1, so that intensities keep the expectation 1."""
    lateral, axial = (
        np.exp(-2.0 * (math.pi * np.fft.fftfreq(n) * width / FWHM_PER_SD) ** 2)
        for n, width in zip(shape, cell_pixels, strict=True)
    )
    transfer = np.outer(lateral, axial)
    return np.asarray(transfer / math.sqrt(np.mean(transfer**2)))
