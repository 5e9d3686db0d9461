"""Whether the volumes of a CEST series are in the order of their offsets: the image can contradict that."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.volume import Volume

_ENOUGH_VOXELS = 200_000
_DARK_REFERENCE = 0.9
_NEAR_WATER_PPM = 1.0
_FAR_FROM_WATER_PPM = 1.5
_SMALLEST_DIP = 0.05
_FEWEST_OFFSETS = 5

FloatArray = npt.NDArray[np.float64]


def check_order(volume: Volume) -> tuple[Caution, ...]:
    """Compare the mean spectrum of bright voxels with its offsets.

    The unsaturated volumes should be the brightest, and water should be darkest near 0 ppm. One contradiction
    is a caution; both together mean that the offsets belong to other volumes.

    Parameters
    ----------
    volume : Volume
        With an axis ``saturation_offset``; without it nothing is checked.

    Raises
    ------
    ImplausibleValue
        If both are contradicted.
    """
    axis = volume.axis("saturation_offset")
    if axis is None or len(axis) < 2:
        return ()
    spectrum = _mean_spectrum(volume)
    if spectrum is None or spectrum.max() - spectrum.min() < _SMALLEST_DIP * spectrum.max():
        return ()
    dark = _reference_is_dark(spectrum, axis.values)
    misplaced = _minimum_is_far(spectrum, axis.values)
    if dark and misplaced:
        raise ImplausibleValue(
            "the offsets do not belong to the volumes in this order",
            where="saturation_offset",
            found=f"{dark}; {misplaced}",
            needed="the brightest volumes unsaturated and the darkest near 0 ppm",
            next_step="give the offsets in the order of acquisition, or confirm it with verify_order=False",
        )
    return tuple(
        Caution("offset-order-doubtful", f"{text}: check the order of the offsets", "saturation_offset")
        for text in (dark, misplaced)
        if text
    )


def _mean_spectrum(volume: Volume) -> FloatArray | None:
    """Mean of the brighter half of the voxels at each offset; None where there is no signal."""
    # the first sample of any other axis is enough, and takes no copy of the image
    index = tuple(slice(None) if axis.name == "saturation_offset" else 0 for axis in volume.axes)
    data = volume.data[(slice(None),) * 3 + index]
    flat = data.reshape(-1, data.shape[-1], order="F")
    some = flat[:: max(1, len(flat) // _ENOUGH_VOXELS)].astype(np.float64)
    some = some[np.isfinite(some).all(axis=1)]
    if not len(some):
        return None
    peak = some.max(axis=1)
    bright = some[peak >= 0.5 * np.percentile(peak, 99)]
    mean: FloatArray = bright.mean(axis=0)
    return mean if mean.max() > 0 else None


def _reference_is_dark(spectrum: FloatArray, offsets: FloatArray) -> str:
    reference = np.isnan(offsets)
    if not reference.any() or reference.all():
        return ""
    ratio = float(spectrum[reference].mean() / spectrum[~reference].max())
    if ratio >= _DARK_REFERENCE:
        return ""
    return f"the unsaturated volumes have {ratio:.2f} of the signal of the brightest saturated one"


def _minimum_is_far(spectrum: FloatArray, offsets: FloatArray) -> str:
    used = np.isfinite(offsets)
    near = used & (np.abs(offsets) <= _NEAR_WATER_PPM)
    if used.sum() < _FEWEST_OFFSETS or not near.any():
        return ""
    values, signal = offsets[used], spectrum[used]
    lowest = float(values[signal.argmin()])
    missing = float(spectrum[near].min() - signal.min())
    if abs(lowest) <= _FAR_FROM_WATER_PPM or missing <= 0.1 * float(spectrum.max() - signal.min()):
        return ""
    return f"the darkest volume is at {lowest:g} ppm, not near water"
