"""Detector signals made ready for back-projection: offset, window, band-pass, impulse response.

All filters have zero phase: a pulse stays where it is in time. They are applied in the frequency domain to
signals that are padded to twice their length, so nothing wraps round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.volume import FloatArray

ORDER = 4
"""Order of the Butterworth filters of both edges, which are applied forwards and backwards."""

TAPER_S = 1e-6
"""Length of each end of the window, and what it leaves beside the times of flight from the image."""

RESPONSE_NOISE = 0.03
"""Power of noise over that of the signal where the detectors respond best, for the Wiener filter."""

DETECTORS = 32
"""Detectors that are transformed at a time."""

SignalArray = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complexfloating]


@dataclass(frozen=True, eq=False)
class SignalFilter:
    """What is done to each detector's signal.

    Attributes
    ----------
    sampling_rate_hz : float
    first_sample_s : float
        Time from the laser pulse to the first sample.
    band_hz : (low, high)
        Where the band-pass halves the amplitude.
    window : (first, last) int
        Samples that are kept; the ends are tapered outside of them.
    impulse_response : (n,) ndarray or None
        Of the detectors, centred on sample n // 2; taken out by a Wiener filter where it is given.
    response_noise : float
        See `RESPONSE_NOISE`.
    """

    sampling_rate_hz: float
    first_sample_s: float
    band_hz: tuple[float, float]
    window: tuple[int, int]
    impulse_response: FloatArray | None = None
    response_noise: float = RESPONSE_NOISE

    def gain(self, frequency_hz: npt.NDArray[np.floating]) -> FloatArray:
        """Amplitude of the band-pass."""
        return band_gain(frequency_hz, self.band_hz)

    def response(self, length: int) -> ComplexArray | None:
        """Spectrum of the impulse response at the frequencies of a transform of `length`, largest value 1."""
        if self.impulse_response is None:
            return None
        n = self.impulse_response.size
        padded = np.zeros(length)
        padded[:n] = self.impulse_response
        spectrum = np.fft.rfft(np.roll(padded, -(n // 2)))
        inside = self.gain(np.fft.rfftfreq(length, 1 / self.sampling_rate_hz)) > 0.5
        return np.asarray(spectrum / np.abs(spectrum[inside]).max())

    def transfer(self, length: int) -> ComplexArray:
        """What the spectrum of a signal is multiplied by: band-pass and inverse of the impulse response."""
        frequency_hz = np.fft.rfftfreq(length, 1 / self.sampling_rate_hz)
        gain = self.gain(frequency_hz).astype(np.complex128)
        response = self.response(length)
        if response is None:
            return gain
        return np.asarray(gain * response.conj() / (np.abs(response) ** 2 + self.response_noise))

    def length(self, n_samples: int) -> int:
        """Length of the transforms."""
        import scipy.fft

        return int(scipy.fft.next_fast_len(2 * n_samples, real=True))


def band_gain(frequency_hz: npt.NDArray[np.floating], band_hz: tuple[float, float]) -> FloatArray:
    """Amplitude of a zero-phase Butterworth band-pass, 1/2 at both edges."""
    low, high = band_hz
    upper = 1 / (1 + (frequency_hz / high) ** (2 * ORDER))
    if low <= 0:
        return np.asarray(upper)
    ratio = np.divide(low, frequency_hz, out=np.full(frequency_hz.shape, 1e6), where=frequency_hz > 0)
    return np.asarray(upper / (1 + np.minimum(ratio, 1e6) ** (2 * ORDER)))


def prepare(
    samples: npt.ArrayLike, signal_filter: SignalFilter, kind: str, workers: int | None = None
) -> SignalArray:
    """Filtered signals of one image.

    Parameters
    ----------
    samples : (detectors, samples) array_like
    signal_filter : SignalFilter
    kind : {"pressure", "quadrature", "backprojection"}
        The filtered pressure p; its Hilbert transform with the sign that makes an absorber positive; or the
        back-projection term 2 p - 2 t dp/dt.
    workers : int, optional
        Threads of the transforms.

    Returns
    -------
    (detectors, samples) float32
    """
    samples = np.asarray(samples)
    n_detectors, n = samples.shape
    rate = signal_filter.sampling_rate_hz
    length = signal_filter.length(n)
    transfer = signal_filter.transfer(length)
    window = _window(n, *signal_filter.window, rate)
    time = (2 * (signal_filter.first_sample_s * rate + np.arange(n))).astype(np.float32)
    factors: list[ComplexArray] = [transfer * (-1j if kind == "quadrature" else 1.0)]
    if kind == "backprojection":
        factors.append(transfer * 2j * np.pi * np.fft.rfftfreq(length, 1 / rate) / rate)
    spectra = [factor.astype(np.complex64) for factor in factors]
    out = np.empty((n_detectors, n), np.float32)
    for begin in range(0, n_detectors, DETECTORS):
        rows = slice(begin, begin + DETECTORS)
        filtered = _filtered(samples[rows], signal_filter.window, window, spectra, length, workers)
        out[rows] = filtered[0] if kind != "backprojection" else 2 * filtered[0] - time * filtered[1]
    return out


def _filtered(
    samples: npt.NDArray[Any],
    kept: tuple[int, int],
    window: SignalArray,
    spectra: list[npt.NDArray[np.complex64]],
    length: int,
    workers: int | None,
) -> list[SignalArray]:
    """Signals (detectors, samples) without offset, windowed, and multiplied by each of the spectra."""
    import scipy.fft

    n = samples.shape[1]
    offset = samples[:, kept[0] : kept[1] + 1].mean(axis=1, dtype=np.float64, keepdims=True)
    windowed = (samples.astype(np.float32, copy=False) - offset.astype(np.float32)) * window
    spectrum = scipy.fft.rfft(windowed, length, axis=1, workers=workers)
    return [scipy.fft.irfft(spectrum * factor, length, axis=1, workers=workers)[:, :n] for factor in spectra]


def _window(n: int, first: int, last: int, sampling_rate_hz: float) -> SignalArray:
    """1 from `first` to `last`, falling to 0 as a squared cosine within `TAPER_S` outside."""
    taper = max(1.0, TAPER_S * sampling_rate_hz)
    index = np.arange(n)
    outside = np.maximum(np.maximum(first - index, index - last), 0) / taper
    return np.asarray(np.cos(np.minimum(outside, 1.0) * np.pi / 2) ** 2, dtype=np.float32)


def usable_window(
    distances_mm: tuple[float, float],
    speeds_m_s: tuple[float, float],
    sampling_rate_hz: float,
    first_sample_s: float,
    n_samples: int,
) -> tuple[int, int]:
    """First and last sample that can come from the image.

    Parameters
    ----------
    distances_mm : (nearest, furthest)
        Between a detector and the image.
    speeds_m_s : (slowest, fastest)
    sampling_rate_hz, first_sample_s : float
    n_samples : int

    Returns
    -------
    (first, last)
        Within the recording; first > last where nothing of the image was recorded.
    """
    earliest = distances_mm[0] * 1e-3 / speeds_m_s[1] - TAPER_S - first_sample_s
    latest = distances_mm[1] * 1e-3 / speeds_m_s[0] + TAPER_S - first_sample_s
    first = max(0, int(np.floor(earliest * sampling_rate_hz)))
    return first, min(n_samples - 1, int(np.ceil(latest * sampling_rate_hz)))
