"""Speed of sound by focus: where it is right, what detectors hear adds up to the sharpest image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import IllConditioned
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.msot.beamforming import Beamformer
from imgtheranostics.msot.signal_preparation import prepare
from imgtheranostics.volume import FloatArray

SLOWEST_M_S, FASTEST_M_S = 1350.0, 1650.0
"""Speeds that are tried: from cold heavy water and fat to warm water and muscle."""

COARSE_M_S, FINE_M_S = 5.0, 1.0
"""Steps of the two searches."""

LEAST_CONTRAST = 0.05
"""How much the sharpest image must exceed the median of those tried, relative to it."""

NOISE_LIMIT = 2.1
"""Four standard deviations of the sharpness of noise over its mean, times the root of the pixels' number."""

ENOUGH_PIXELS = 150
"""Along x and y: of finer grids only so many are looked at."""


@dataclass(frozen=True, eq=False)
class FocusedSpeed:
    """Speed of sound that gives the sharpest image.

    Attributes
    ----------
    speed_of_sound_m_s : float
    tried_m_s : (n,) ndarray
        Speeds that were tried, rising.
    sharpness : (n,) ndarray
        Mean square over the squared mean magnitude of each image: 1.57 for noise, more for fine bright lines.
    """

    speed_of_sound_m_s: float
    tried_m_s: FloatArray
    sharpness: FloatArray


def sharpness(image: npt.ArrayLike) -> float:
    """Mean square over the squared mean magnitude of the finite pixels; 0 where there is nothing."""
    magnitude = np.abs(np.asarray(image, dtype=np.float64))
    magnitude = magnitude[np.isfinite(magnitude)]
    mean = float(magnitude.mean()) if magnitude.size else 0.0
    return float((magnitude**2).mean()) / mean**2 if mean > 0 else 0.0


def focused_speed(former: Beamformer, samples: npt.ArrayLike, workers: int | None = None) -> FocusedSpeed:
    """Speed of sound of the sharpest image of one frame.

    Coarse steps over the whole range, fine ones about the best, and a parabola between these.

    Parameters
    ----------
    former : Beamformer
        Of ``backprojection`` or ``delay_and_sum``.
    samples : (detectors, samples) array_like
    workers : int, optional

    Raises
    ------
    IllConditioned
        If no image is sharper than the others, or the sharpest is at an end of the range.
    """
    kind = "backprojection" if former.directional else "quadrature"
    nx, ny, nz = former.grid.shape
    every = max(1, min(nx, ny) // ENOUGH_PIXELS)
    out = np.empty((1, nz, -(-ny // every), -(-nx // every)), np.float32)
    least = 1 + max(LEAST_CONTRAST, NOISE_LIMIT / np.sqrt(out.size))
    found: dict[float, float] = {}
    with thread_limit(workers) as threads:
        prepared = prepare(samples, former.signal_filter, kind, threads)[np.newaxis]

        def look(speeds: FloatArray) -> float:
            for speed in (float(value) for value in speeds if float(value) not in found):
                former.image(prepared, speed, out, every)
                found[speed] = sharpness(out)
            return max(found, key=lambda speed: found[speed])

        best = look(np.arange(SLOWEST_M_S, FASTEST_M_S + COARSE_M_S / 2, COARSE_M_S))
        coarse = np.array(list(found.values()))
        if not SLOWEST_M_S < best < FASTEST_M_S:
            raise _no_focus(f"the sharpest image at {best:g} m/s, an end of the range")
        if coarse.max() < least * np.median(coarse):
            raise _no_focus(f"a sharpness of {coarse.max():.3g}, and of {np.median(coarse):.3g} elsewhere")
        best = look(np.arange(best - COARSE_M_S + FINE_M_S, best + COARSE_M_S - FINE_M_S / 2, FINE_M_S))
        look(np.array([best - FINE_M_S, best + FINE_M_S]))
    tried = np.array(sorted(found))
    values = np.array([found[speed] for speed in tried])
    return FocusedSpeed(_vertex(found, best), tried, values)


def _vertex(found: dict[float, float], best: float) -> float:
    """Where the parabola through the best speed and its neighbours has its top."""
    below, top, above = found[best - FINE_M_S], found[best], found[best + FINE_M_S]
    curvature = below - 2 * top + above
    return best if curvature >= 0 else best + FINE_M_S * 0.5 * (below - above) / curvature


def _no_focus(found: str) -> IllConditioned:
    return IllConditioned(
        "no speed of sound brings the image into focus",
        where="speed_of_sound_m_s",
        found=found,
        needed=f"one image from {SLOWEST_M_S:g} to {FASTEST_M_S:g} m/s that is sharper than the others",
        next_step="give speed_of_sound_m_s, or check the detectors' positions and the first sample's time",
    )
