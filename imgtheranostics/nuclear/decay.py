"""Radioactive decay within and between frames; every function takes arrays of any shape.

References
----------
.. [1] Image Biomarker Standardisation Initiative, manual of the SUV digital reference objects.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_SMALL = 1e-2
"""Below this number of mean lives per frame the closed form loses digits and its series does not."""


def decay_constant(half_life_s: npt.ArrayLike) -> FloatArray:
    """Decay constant ln 2 / half-life, 1/s.

    Raises
    ------
    ValueError
        If a half-life is not positive and finite.
    """
    half_life = np.asarray(half_life_s, np.float64)
    if not (np.isfinite(half_life) & (half_life > 0)).all():
        raise ValueError(f"half-life must be positive and finite, not {half_life_s!r} s")
    return np.asarray(np.log(2.0) / half_life)


def decay_factor(elapsed_s: npt.ArrayLike, half_life_s: npt.ArrayLike) -> FloatArray:
    """Share of the activity that is left after `elapsed_s`; above 1 for negative times.

    Examples
    --------
    >>> float(decay_factor(3600.0, 3600.0))
    0.5
    """
    return np.asarray(np.exp(-decay_constant(half_life_s) * np.asarray(elapsed_s, np.float64)))


def _mean_lives(duration_s: npt.ArrayLike, half_life_s: npt.ArrayLike) -> FloatArray:
    duration = np.asarray(duration_s, np.float64)
    if (duration < 0).any():
        raise ValueError("a frame duration is negative")
    return np.asarray(duration * decay_constant(half_life_s))


def frame_mean_to_start(duration_s: npt.ArrayLike, half_life_s: npt.ArrayLike) -> FloatArray:
    """Factor from the mean activity during a frame to the activity at its start.

    With x = lambda T it is x / (1 - exp(-x)) [1]_.

    Parameters
    ----------
    duration_s : array_like
        Frame durations T in s, zero or more; NaN gives NaN.
    half_life_s : array_like
        Broadcast against `duration_s`.

    Raises
    ------
    ValueError
        If a duration is negative or a half-life is not positive.

    Examples
    --------
    >>> round(float(frame_mean_to_start(600.0, 6586.2)), 6)
    1.031905
    """
    x = _mean_lives(duration_s, half_life_s)
    positive = np.where(x == 0.0, 1.0, x)
    return np.asarray(np.where(x == 0.0, 1.0, positive / -np.expm1(-positive)))


def average_activity_time(duration_s: npt.ArrayLike, half_life_s: npt.ArrayLike) -> FloatArray:
    """Time after frame start at which the activity equals its mean over the frame, s.

    It is ln(x / (1 - exp(-x))) / lambda with x = lambda T, a little less than T / 2 [1]_.

    Parameters
    ----------
    duration_s, half_life_s : array_like
        As in `frame_mean_to_start`.

    Examples
    --------
    >>> round(float(average_activity_time(600.0, 6586.2)), 4)
    298.4214
    """
    x = _mean_lives(duration_s, half_life_s)
    small = np.abs(x) < _SMALL
    safe = np.where(small, 1.0, x)
    exact = np.log(safe / -np.expm1(-safe)) / safe
    series = 0.5 - x / 24.0 + x**3 / 2880.0
    return np.asarray(np.asarray(duration_s, np.float64) * np.where(small, series, exact))


def frame_decay_factor(frame_reference_time_s: npt.ArrayLike, half_life_s: npt.ArrayLike) -> FloatArray:
    """Factor that a decay-corrected frame was multiplied by: 2^(FrameReferenceTime / half-life).

    Examples
    --------
    >>> round(float(frame_decay_factor(600.0, 6586.2)), 5)
    1.06518
    """
    return np.asarray(1.0 / decay_factor(frame_reference_time_s, half_life_s))
