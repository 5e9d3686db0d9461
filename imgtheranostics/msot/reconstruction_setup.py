"""What a reconstruction works on: usable detectors, pixels, band and impulse response."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, ImplausibleValue
from imgtheranostics.msot.detector_array import (
    DetectorArray,
    check_image_grid,
    detector_array,
    distance_range,
)
from imgtheranostics.msot.frame_layout import FrameLayout
from imgtheranostics.msot.image_grid import ImageGrid, image_grid
from imgtheranostics.msot.signal_preparation import SignalFilter, usable_window
from imgtheranostics.optoacoustic_signals import OptoacousticSignals
from imgtheranostics.volume import FloatArray

LOW_HZ, HIGH_HZ = 5e4, 6.5e6
"""Band of detectors around 5 MHz."""

HIGHEST_OF_RATE = 0.4
"""Upper edge of the band over the sampling rate, at most, where none is given."""

LOWEST_EDGE_HZ = 1e5
"""A lower upper edge of the band is one in kHz or MHz: 15 mm is a wavelength of sound at 100 kHz."""

LOWEST_RATE_HZ = 1e6
"""A lower sampling rate is one in kHz or MHz: it would hold no sound of anything smaller than 3 mm."""

RESPONSE_OUTSIDE = 1e-3
"""Part of an impulse response's energy away from its middle that is worth a caution."""

Array32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Setup:
    """What does not depend on the speed of sound or the method.

    Attributes
    ----------
    array : DetectorArray
    grid : ImageGrid
    band_hz : (low, high)
    response : (samples,) ndarray or None
        Impulse response to take out.
    cautions : tuple of Caution
    """

    array: DetectorArray
    grid: ImageGrid
    band_hz: tuple[float, float]
    response: FloatArray | None
    cautions: tuple[Caution, ...]

    def signal_filter(self, signals: OptoacousticSignals, speeds_m_s: tuple[float, float]) -> SignalFilter:
        """The filter, with the window of all times of flight for the slowest and fastest speed."""
        distances = distance_range(self.array, self.grid.low_mm, self.grid.high_mm)
        rate, start, n = signals.sampling_rate_hz, signals.first_sample_s, signals.shape[3]
        window = usable_window(distances, speeds_m_s, rate, start, n)
        if window[1] <= window[0]:
            raise GeometryMismatch(
                "nothing of the image was recorded",
                where="samples",
                found=f"{start * 1e6:.3g} to {(start + n / rate) * 1e6:.3g} us after the laser pulse",
                needed=f"sound from {distances[0]:.3g} to {distances[1]:.3g} mm away",
                next_step="check centre_mm, the positions of the detectors and the first sample's time",
            )
        return SignalFilter(rate, start, self.band_hz, window, self.response)


def set_up(
    signals: OptoacousticSignals,
    pixel_mm: float,
    shape: tuple[int, ...] | None,
    centre_mm: npt.ArrayLike | None,
    band_hz: tuple[float, float] | None,
    deconvolve: bool,
) -> Setup:
    """Usable detectors, pixels, band and impulse response for the options of `reconstruct`."""
    array = detector_array(signals)
    grid = image_grid(array, pixel_mm=pixel_mm, shape=shape, centre_mm=centre_mm)
    check_image_grid(array, grid.low_mm, grid.high_mm)
    rate = signals.sampling_rate_hz
    if rate < LOWEST_RATE_HZ:
        raise ImplausibleValue(
            "the sampling rate is too low for sound of tissue",
            where="sampling_rate_hz",
            found=f"{rate:g} Hz",
            needed=f"{LOWEST_RATE_HZ:g} Hz at least",
            next_step="multiply it by 1e6 with signals.replace(sampling_rate_hz=...) if it is in MHz",
        )
    band = _band(band_hz, rate)
    response, cautions = _middle_of_response(signals) if deconvolve else (None, ())
    return Setup(array, grid, band, response, (*array.cautions, *cautions))


def _band(band_hz: tuple[float, float] | None, rate: float) -> tuple[float, float]:
    """The band that was asked for, or that of usual detectors within what the sampling rate holds."""
    if band_hz is None:
        return LOW_HZ, min(HIGH_HZ, HIGHEST_OF_RATE * rate)
    if np.shape(band_hz) != (2,):
        raise ValueError(f"band_hz must be two frequencies (low, high), found {band_hz}")
    low, high = float(band_hz[0]), float(band_hz[1])
    if not 0 <= low < high <= rate / 2:
        raise ValueError(
            f"band_hz must rise from 0 at least to half the sampling rate of {rate:g} Hz at most, "
            f"found {low:g} to {high:g}"
        )
    if high < LOWEST_EDGE_HZ:
        raise ImplausibleValue(
            "the band ends below all sound of small structures",
            where="band_hz",
            found=f"{low:g} to {high:g} Hz",
            needed=f"an upper edge of {LOWEST_EDGE_HZ:g} Hz at least",
            next_step="multiply both edges by 1e6 if they are in MHz, by 1e3 if in kHz",
        )
    return low, high


def _middle_of_response(signals: OptoacousticSignals) -> tuple[FloatArray | None, tuple[Caution, ...]]:
    """The middle half of the impulse response: some files keep a mark in the first sample."""
    response = signals.impulse_response
    if response is None:
        return None, ()
    quarter = response.size // 4
    middle = response.copy()
    middle[:quarter] = 0.0
    middle[response.size - quarter :] = 0.0
    if not np.isfinite(response).all() or not np.any(middle):
        text = "the impulse response has nothing finite around its middle and is not used"
        return None, (Caution("impulse-response-not-used", text, "impulse_response"),)
    if np.sum(middle**2) < (1 - RESPONSE_OUTSIDE) * np.sum(response**2):
        text = "samples away from the middle of the impulse response are taken for a mark and not used"
        return middle, (Caution("impulse-response-cut", text, "impulse_response"),)
    return middle, ()


def count_images(signals: OptoacousticSignals, layout: FrameLayout) -> int:
    """How many images there are: frames times wavelengths."""
    return (1 if layout.kind == "mean" else signals.n_frames) * signals.shape[1]


def images_of(signals: OptoacousticSignals, array: DetectorArray, layout: FrameLayout) -> Iterator[Array32]:
    """Signals of each image, wavelength after wavelength; within one, frames in their order."""
    for wavelength in range(signals.shape[1]):
        samples = signals.samples[:, wavelength]
        if layout.kind == "mean":
            yield samples[:, array.used].mean(axis=0, dtype=np.float64).astype(np.float32)
            continue
        for frame in layout.order:
            yield samples[frame, array.used]
