"""Whole-pixel shift of a frame by phase correlation, one transform of the reference for all frames.

The phases of the spectrum hardly change where the agent brightens a region. High spatial frequencies of
speckle are noise, and left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_TAPER = 0.04
"""Width of the soft edge of the window, as a share of the image."""

_CUTOFF = 0.2
"""Cycles per pixel at which the spectrum counts 1/e of what it does at low frequencies."""


@dataclass(frozen=True, slots=True)
class Peak:
    """Where the correlation of a frame is highest.

    Attributes
    ----------
    shift : (float, float)
        Pixels along y and x by which what the reference shows has moved.
    height : float
        Above the mean of the correlation, in its standard deviations over all shifts.
    """

    shift: tuple[float, float]
    height: float


@dataclass(frozen=True, eq=False)
class PhaseReference:
    """Spectrum of the reference, and the window and weights that apply to every frame."""

    window: Float32Array
    spectrum: npt.NDArray[np.complex64]
    weight: Float32Array
    size: tuple[int, int]

    @classmethod
    def of(cls, image: Float32Array, inside: BoolArray) -> PhaseReference:
        """Of the reference image, (ny, nx), and its tissue."""
        from scipy import fft

        size = (fft.next_fast_len(image.shape[0], real=True), fft.next_fast_len(image.shape[1], real=True))
        frequency = np.hypot(np.fft.fftfreq(size[0])[:, np.newaxis], np.fft.rfftfreq(size[1]))
        weight = np.exp(-((frequency / _CUTOFF) ** 2)).astype(np.float32)
        window = _window(inside)
        return cls(window, np.conj(_spectrum(image, window, size)), weight, size)

    def peak(self, image: Float32Array) -> Peak:
        """The shift of another image."""
        from scipy import fft

        cross = self.spectrum * _spectrum(image, self.window, self.size)
        length = np.abs(cross)
        cross *= self.weight / np.maximum(length, np.finfo(np.float32).tiny)
        surface = fft.irfft2(cross, self.size, workers=1)
        place = divmod(int(np.argmax(surface)), self.size[1])
        spread = float(surface.std(dtype=np.float64))
        height = float(surface[place]) - float(surface.mean(dtype=np.float64))
        shift = tuple(_refined(surface, place, axis) for axis in (0, 1))
        return Peak((shift[0], shift[1]), height / spread if spread > 0 else 0.0)


def _spectrum(image: Float32Array, window: Float32Array, size: tuple[int, int]) -> npt.NDArray[Any]:
    from scipy import fft

    mean = np.float32(np.vdot(image, window) / window.sum(dtype=np.float64))
    return np.asarray(fft.rfft2((image - mean) * window, size, workers=1))


def _window(inside: BoolArray) -> Float32Array:
    """The tissue with a soft edge within it: a hard one would correlate with itself at rest."""
    from scipy.ndimage import distance_transform_edt

    width = max(2.0, _TAPER * max(inside.shape))
    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.minimum(depth / width, 1.0)), np.float32)


def _refined(surface: Float32Array, place: tuple[int, int], axis: int) -> float:
    """Top of the parabola through the highest value and its two neighbours, as a signed shift."""
    n = surface.shape[axis]
    line = surface[:, place[1]] if axis == 0 else surface[place[0]]
    top = place[axis]
    left, middle, right = (float(line[(top + step) % n]) for step in (-1, 0, 1))
    bend = left - 2.0 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return (top if top <= n // 2 else top - n) + offset
