"""Echo enhancement pixel by pixel: dB against the frames before the agent, of power averaged in a window.

A single pixel of speckle says little: its enhancement scatters by 5.57 dB, and by 7.9 dB against another
pixel of speckle. A window averages linear power over independent cells before anything becomes dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, UnsupportedInput, merge_cautions
from imgtheranostics.mapping.estimates import share_cautions
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.ultrasound.baseline_power import Frames, baseline_decision, frame_list
from imgtheranostics.ultrasound.echo_scale import EchoScale, linear_power, scale_decision
from imgtheranostics.ultrasound.speckle import Patch, count_cells, images_used
from imgtheranostics.ultrasound.tissue_area import tissue_mask
from imgtheranostics.volume import Axis, Estimate, Flag, Volume, make_step

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
FlagArray = npt.NDArray[np.uint16]

DECIBELS_PER_NEPER = 10.0 / np.log(10.0)
"""dB of a change of the natural logarithm of power."""

_MOST_CELL_PIXELS = 1 << 16
_TERMS = 400


def enhancement_map(
    volume: Volume,
    *,
    baseline_frames: Frames,
    frames: Frames | None = None,
    window: int = 1,
    dynamic_range_db: float | None = None,
    gamma: float = 1.0,
    gain_db: float = 0.0,
    grey_max: float | None = None,
    mask: Mask = None,
    region: int | None = None,
    workers: int | None = None,
) -> Estimate:
    """Echo enhancement of each pixel, in dB against the frames before the agent.

    Parameters
    ----------
    volume : Volume
        A cine: grey levels, dB or linear power.
    baseline_frames : int, slice, range, (first, stop) or sequence of int
        As in `imgtheranostics.ultrasound.enhancement`.
    frames : int, slice, range, (first, stop) or sequence of int, optional
        Frames whose mean power is compared with the baseline, for one map; without them there is a map of
        every frame.
    window : int
        Pixels along both sides of a square in which power is averaged, an odd number.
    dynamic_range_db, gamma, gain_db, grey_max, region
        As in `imgtheranostics.ultrasound.enhancement`.
    mask : Volume, Regions or (i, j, k) array_like, optional
        NaN and `Flag.MASKED_OUT` outside of it and of the tissue.
    workers : int, optional
        Threads of the linearisation.

    Returns
    -------
    Estimate
        ``echo_enhancement`` in dB; of one map, `Estimate.maps` holds the level ``before`` and ``after`` of
        each pixel in dB. Clipped pixels have none: `Flag.SATURATED` where a pixel of the window is
        saturated, `Flag.BELOW_NOISE` where all of it is at the floor. The standard error is that of fully
        developed speckle with as many independent cells as the window and the frames hold, less what the
        speckle of both shares.

    Raises
    ------
    MissingMetadata
        If the dynamic range or the baseline is not known.
    UnsupportedInput
        If it is no cine, or frames are not in it.
    ValueError
        If the window is not an odd number.
    """
    axis = volume.axis("time")
    if axis is None or len(volume.axes) != 1:
        raise UnsupportedInput(
            "a map of enhancement needs a cine", needed="frames along time, and no other axis"
        )
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be an odd number of pixels, not {window}")
    before = frame_list(baseline_frames, len(axis))
    groups = [np.array([n]) for n in range(len(axis))]
    if frames is not None:
        groups = [frame_list(frames, len(axis), "the map")]
    inside = tissue_mask(volume, region)
    if mask is not None:
        inside = inside & mask_array(mask, volume)
    linear = linear_power(
        volume,
        dynamic_range_db=dynamic_range_db,
        gamma=gamma,
        gain_db=gain_db,
        grey_max=grey_max,
        workers=workers,
    )
    axes = () if frames is not None else (axis,)
    return _maps(linear, before, groups, window, inside, axes)


@dataclass(frozen=True, eq=False)
class _State:
    """Mean power in the window, why it is none, and its spread in terms of cells.

    Attributes
    ----------
    power : (i, j, k) ndarray
    flags : (i, j, k) ndarray of uint16
    raw : (i, j, k) ndarray
        Mean over the frames, before the window.
    """

    power: FloatArray
    flags: FlagArray
    raw: FloatArray


def _maps(
    linear: Volume,
    before: npt.NDArray[np.int64],
    groups: list[npt.NDArray[np.int64]],
    window: int,
    inside: BoolArray,
    axes: tuple[Axis, ...],
) -> Estimate:
    scale = EchoScale.of(linear)
    baseline = _state(linear, before, window, scale)
    shape = (*linear.grid.shape, len(groups))
    value, error = np.full((2, *shape), np.nan, np.float32)
    flags = np.zeros(shape, np.uint16)
    cells = _window_cells(linear, inside, window, before)
    for n, frames in enumerate(groups):
        now = _state(linear, frames, window, scale)
        flags[..., n] = baseline.flags | now.flags
        with np.errstate(divide="ignore", invalid="ignore"):
            value[..., n] = 10.0 * np.log10(now.power / baseline.power)
        spread = _spread(now, baseline, frames.size, before.size, cells, inside)
        error[..., n] = DECIBELS_PER_NEPER * spread
    flags[(flags == 0) & ~np.isfinite(value)] = Flag.INVALID_INPUT.value
    flags[~inside] = Flag.MASKED_OUT.value
    value[flags != 0], error[flags != 0] = np.nan, np.nan
    levels: dict[str, FloatArray] = {}
    if not axes:
        value, error, flags = value[..., 0], error[..., 0], flags[..., 0]
        levels = {"before": _decibels(baseline, inside), "after": _decibels(now, inside)}
    return _estimate(linear, value, error, flags, axes, before, window, cells, levels)


def _decibels(state: _State, inside: BoolArray) -> FloatArray:
    """Level of a state without any window, as a picture to look at; NaN outside the tissue."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(inside & (state.raw > 0), 10.0 * np.log10(state.raw), np.nan))


def _state(linear: Volume, frames: npt.NDArray[np.int64], window: int, scale: EchoScale | None) -> _State:
    shape = linear.grid.shape
    total, floor, top = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.bool_)
    for n in frames:
        frame = linear.data[..., n]
        power = frame.astype(np.float64)
        if scale is not None:
            low = frame <= np.float32(scale.floor)
            power[low] = scale.floor_edge / 2.0
            floor += low
            top |= frame >= np.float32(scale.ceiling)
        total += power
    raw = total / frames.size
    flags = np.zeros(shape, np.uint16)
    flags[_windowed(top.astype(np.float64), window) > 1e-9] |= Flag.SATURATED.value
    flags[_windowed(floor / frames.size, window) > 1.0 - 1e-9] |= Flag.BELOW_NOISE.value
    return _State(_windowed(raw, window), flags, raw)


def _windowed(image: FloatArray, window: int) -> FloatArray:
    """Mean over a square, of what of it lies within the image."""
    if window == 1:
        return image
    from scipy.ndimage import uniform_filter

    size = (window, window, 1)
    share = uniform_filter(np.ones(image.shape), size, mode="constant")
    return np.asarray(uniform_filter(image, size, mode="constant") / share)


def _window_cells(linear: Volume, inside: BoolArray, window: int, before: npt.NDArray[np.int64]) -> float:
    """Independent speckle cells of one window, from the correlation of the baseline in the tissue."""
    if window == 1:
        return 1.0
    voxels = np.flatnonzero(inside.ravel(order="F"))
    middle = voxels.size // 2
    kept = voxels[max(0, middle - _MOST_CELL_PIXELS // 2) : middle + _MOST_CELL_PIXELS // 2]
    patch = Patch.of(kept, linear.grid.shape)
    chosen = before[images_used(patch, before.size)]
    images = [linear.planar[n, kept].astype(np.float64) for n in chosen]
    known = [image / np.nanmean(image) for image in images]
    found = count_cells(patch, known)
    if not np.isfinite(found.variance_factor):
        return 1.0
    return _cells_of_square(kept.size * found.variance_factor, window)


def _cells_of_square(pixels_together: float, window: int) -> float:
    """Independent cells of a square, of a Gaussian correlation in which so many pixels count as one."""
    lags = np.arange(window)
    correlation = np.exp(-np.pi * lags**2 / max(pixels_together, 1e-6))
    pairs = np.where(lags == 0, 1.0, 2.0) * (1.0 - lags / window)
    return float(np.clip((window / np.sum(pairs * correlation)) ** 2, 1.0, window**2))


def _spread(
    now: _State, baseline: _State, n_now: int, n_before: int, cells: float, inside: BoolArray
) -> float:
    """Standard deviation of the logarithm of the ratio of two states of speckle.

    The logarithm of a mean of m exponential powers has the variance psi1(m); those of two such means whose
    correlation is r (Kibble's bivariate gamma distribution) have the covariance sum_k r^k B(m, k)/k, which is
    psi1(m) for r = 1 and the dilogarithm of r for m = 1.
    """
    from scipy.special import polygamma

    counts = [
        cells * _frames_together(state.raw, n, inside) for state, n in ((now, n_now), (baseline, n_before))
    ]
    variances = [float(polygamma(1, count)) for count in counts]
    both = inside & np.isfinite(now.raw) & np.isfinite(baseline.raw)
    r = 0.0
    if np.count_nonzero(both) > 2 and np.ptp(now.raw[both]) > 0 and np.ptp(baseline.raw[both]) > 0:
        r = float(np.clip(np.corrcoef(now.raw[both], baseline.raw[both])[0, 1], 0.0, 1.0))
    shared = _shared(r, float(np.sqrt(counts[0] * counts[1]))) * np.sqrt(variances[0] * variances[1])
    return float(np.sqrt(max(variances[0] + variances[1] - 2.0 * shared, 0.0)))


def _shared(r: float, m: float) -> float:
    """Correlation of the logarithms of two means of m cells whose own correlation is r."""
    from scipy.special import beta, polygamma

    if r >= 1.0:
        return 1.0
    k = np.arange(1, _TERMS + 1)
    return float(np.sum(r**k * beta(m, k) / k) / polygamma(1, m))


def _frames_together(raw: FloatArray, n_frames: int, inside: BoolArray) -> float:
    """Independent frames of a mean: its contrast, over that of fully developed speckle, falls with them."""
    values = raw[inside & np.isfinite(raw)]
    mean = float(values.mean()) if values.size else 0.0
    if n_frames == 1 or mean <= 0:
        return 1.0
    contrast = float(values.var()) / mean**2
    return float(np.clip(1.0 / contrast if contrast > 0 else n_frames, 1.0, n_frames))


def _estimate(
    linear: Volume,
    value: npt.NDArray[np.float32],
    error: npt.NDArray[np.float32],
    flags: FlagArray,
    axes: tuple[Axis, ...],
    before: npt.NDArray[np.int64],
    window: int,
    cells: float,
    levels: dict[str, FloatArray],
) -> Estimate:
    step = make_step("enhancement_map", baseline_frames=before.tolist(), window=window)
    notes: list[Caution] = list(share_cautions(flags, value, "echo_enhancement"))
    if cells < 2.0:
        notes.append(
            Caution(
                "single-cells",
                "each pixel is the echo of about one speckle cell, and scatters by more than 5 dB; average "
                "over regions, or give a window",
            )
        )
    result = linear.derived(value, "echo_enhancement", "dB", step, axes=axes)
    result = result.replace(warnings=merge_cautions(linear.warnings, tuple(notes)))
    plain = result.replace(warnings=())
    decisions: dict[str, Any] = {
        "baseline": baseline_decision(before),
        "window": {"rule": "mean of linear power in a square", "pixels": window, "cells": cells},
        "linearisation": scale_decision(linear),
        "clipped": {"rule": "saturated windows, and windows at the floor, have no value"},
    }
    return Estimate(
        result,
        plain.replace(data=error),
        plain.replace(data=flags, quantity="flags", unit="1"),
        decisions=decisions,
        maps={
            name: plain.replace(data=level.astype(np.float32), quantity="echo_level")
            for name, level in levels.items()
        },
    )
