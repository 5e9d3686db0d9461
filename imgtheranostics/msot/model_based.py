"""Image whose simulated sound fits the signals best, without negative values: FISTA, no matrix stored.

A pixel is a ball of Gaussian profile, whose sound is known in closed form: a source p0 exp(-r^2 / 2 s^2) is
heard at distance d as p0 (d - c t) / (2 d) exp(-(d - c t)^2 / 2 s^2). The sound of all pixels then goes
through the detectors' impulse response and the filters that the signals went through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.kernels import optoacoustic_model as kernels
from imgtheranostics.msot.signal_preparation import SignalFilter
from imgtheranostics.volume import FloatArray

BALL_WIDTH = 0.6
"""Standard deviation of a pixel's ball in pixels: a uniform image is uniform to 0.2 %."""

PHASES = 64
"""Rows of the pulse's table per sample."""

PULSE_WIDTHS = 5.0
"""Half the length of the tabulated pulse in its standard deviations."""

VECTOR = 4
"""Half the length of a pulse is a multiple of it: no taps are left over when eight are taken at a time."""

FINEST_SAMPLES = 0.8
"""Standard deviation of a pulse in samples, at least: 4 % of a delta at the Nyquist frequency."""

POWER_ITERATIONS = 30

SAFETY = 1.05
"""On the largest eigenvalue, which power iteration finds from below."""

Array32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SoundModel:
    """Linear map from an image to the signals of the detectors.

    Attributes
    ----------
    points_mm, detectors_mm : (n, 3)
    pulse : (phases + 1, length) float32
        See `imgtheranostics.kernels.optoacoustic_model`.
    samples_per_mm, first : float
    n_samples : int
    spectrum : (length // 2 + 1,) complex64
        What the filters and the detectors do to the sound, at the frequencies of a transform of `length`.
    length : int
    workers : int or None
        Threads of the transforms.
    """

    points_mm: FloatArray
    detectors_mm: FloatArray
    pulse: Array32
    samples_per_mm: float
    first: float
    n_samples: int
    spectrum: npt.NDArray[np.complex64]
    length: int
    workers: int | None = None

    def forward(self, image: Array32) -> Array32:
        """Signals (detectors, samples) of an image (points,)."""
        out = np.empty((len(self.detectors_mm), self.n_samples), np.float32)
        kernels.forward(
            image, self.points_mm, self.detectors_mm, self.pulse, self.samples_per_mm, self.first, out
        )
        return self._filtered(out, self.spectrum)

    def adjoint(self, signals: Array32) -> Array32:
        """The transposed map, from signals to (points,)."""
        ends = self.pulse.shape[1]
        padded = np.pad(self._filtered(signals, self.spectrum.conj()), ((0, 0), (ends, ends)))
        out = np.empty(len(self.points_mm), np.float32)
        kernels.adjoint(
            padded, self.points_mm, self.detectors_mm, self.pulse, self.samples_per_mm, self.first, out
        )
        return out

    def _filtered(self, signals: Array32, spectrum: npt.NDArray[np.complex64]) -> Array32:
        import scipy.fft

        product = scipy.fft.rfft(signals, self.length, axis=1, workers=self.workers) * spectrum
        result: Array32 = scipy.fft.irfft(product, self.length, axis=1, workers=self.workers)
        return np.ascontiguousarray(result[:, : self.n_samples])


@dataclass(frozen=True, eq=False)
class ModelFit:
    """An image fitted to signals.

    Attributes
    ----------
    image : (points,) float32
    iterations : int
    converged : bool
    residual : float
        Root of the residual energy over the signals' energy.
    """

    image: Array32
    iterations: int
    converged: bool
    residual: float


def sound_model(
    signal_filter: SignalFilter,
    points_mm: FloatArray,
    detectors_mm: FloatArray,
    *,
    speed_m_s: float,
    pixel_mm: float,
    n_axes: int,
    n_samples: int,
    workers: int | None = None,
) -> SoundModel:
    """The model of signals that went through `signal_filter`.

    Parameters
    ----------
    signal_filter : SignalFilter
    points_mm, detectors_mm : (n, 3)
    speed_m_s, pixel_mm : float
    n_axes : int
        Axes along which the image has more than one pixel: the balls are scaled so that a uniform image 1 has
        the initial pressure 1.
    n_samples : int
        Length of the signals.
    workers : int, optional

    Raises
    ------
    ValueError
        If pixels are too fine for the sampling rate.
    """
    rate, speed = signal_filter.sampling_rate_hz, speed_m_s * 1e3
    width = BALL_WIDTH * pixel_mm / speed * rate
    if width < FINEST_SAMPLES:
        finest = FINEST_SAMPLES * speed / rate / BALL_WIDTH
        raise ValueError(
            f"pixels of {pixel_mm:g} mm are finer than sound sampled at {rate:g} Hz: a model needs "
            f"pixel_mm of {finest:.3g} at least"
        )
    half = -(-int(np.ceil(PULSE_WIDTHS * width) + 1) // VECTOR) * VECTOR
    delay = (np.arange(2 * half) - half - np.arange(PHASES + 1)[:, np.newaxis] / PHASES) / width
    peak = 0.5 * BALL_WIDTH * pixel_mm / (np.sqrt(2 * np.pi) * BALL_WIDTH) ** n_axes
    pulse = np.ascontiguousarray(-peak * delay * np.exp(-(delay**2) / 2), dtype=np.float32)
    length = signal_filter.length(n_samples)
    spectrum, response = signal_filter.transfer(length), signal_filter.response(length)
    if response is not None:
        spectrum = spectrum * response
    return SoundModel(
        points_mm,
        detectors_mm,
        pulse,
        rate / speed,
        signal_filter.first_sample_s * rate,
        n_samples,
        spectrum.astype(np.complex64),
        length,
        workers,
    )


def fit_image(
    model: SoundModel,
    signals: Array32,
    *,
    non_negative: bool = True,
    regularisation: float = 0.0,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
) -> ModelFit:
    """Image x with the least |A x - y|^2 + (regularisation |A|)^2 |x|^2, by accelerated projected gradients.

    Parameters
    ----------
    model : SoundModel
    signals : (detectors, samples) float32
    non_negative : bool
    regularisation : float
        Relative to the largest singular value of the model.
    max_iterations : int
    tolerance : float
        Converged when a gradient step changes the image by less than this part of its norm.

    Returns
    -------
    ModelFit

    References
    ----------
    .. [1] Beck and Teboulle, doi:10.1137/080716542; restarts as doi:10.1007/s10208-013-9150-3.
    """
    size = len(model.points_mm)
    largest = _largest_eigenvalue(lambda x: model.adjoint(model.forward(x)), size)
    ridge = regularisation**2 * largest
    step = 1 / (SAFETY * largest + ridge)
    image = np.zeros(size, np.float32)
    ahead, momentum, iterations, converged = image, 1.0, 0, False
    while iterations < max_iterations and not converged:
        iterations += 1
        gradient = model.adjoint(model.forward(ahead) - signals) + np.float32(ridge) * ahead
        moved: Array32 = np.asarray(ahead - np.float32(step) * gradient, dtype=np.float32)
        if non_negative:
            moved = np.maximum(moved, np.float32(0.0))
        converged = _norm(moved - ahead) <= tolerance * _norm(moved)
        change = moved - image
        if float(np.sum((ahead - moved) * change, dtype=np.float64)) > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + np.float32((momentum - 1) / following) * change
        image, momentum = moved, following
    scale = _norm(signals)
    residual = _norm(model.forward(image) - signals) / scale if scale > 0 else 0.0
    return ModelFit(image, iterations, converged, residual)


def _norm(array: npt.NDArray[np.floating]) -> float:
    """Root of the sum of squares, added in an order that does not depend on threads."""
    return float(np.sqrt(np.sum(np.square(array, dtype=np.float64))))


def _largest_eigenvalue(product: Callable[[Array32], Array32], size: int) -> float:
    """Largest eigenvalue of a symmetric product, from the same start every time."""
    vector: Array32 = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    value = 1.0
    for _ in range(POWER_ITERATIONS):
        vector = product((vector / _norm(vector)).astype(np.float32))
        value = _norm(vector)
    return value
