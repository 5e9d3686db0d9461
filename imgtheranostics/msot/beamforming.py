"""Images from signals by back-projection: preparation, kernel and threads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.kernels.backprojection import project_back
from imgtheranostics.kernels.threads import thread_limit
from imgtheranostics.msot.detector_array import DetectorArray
from imgtheranostics.msot.image_grid import ImageGrid
from imgtheranostics.msot.signal_preparation import SignalFilter, prepare

GROUP = 4
"""Images whose prepared signals are held at a time: times of flight are worked out once for all of them."""

KINDS = {"backprojection": "backprojection", "delay_and_sum": "quadrature", "model": "pressure"}
"""What signals are prepared to for each method."""

Array32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Beamformer:
    """Back-projection of prepared signals onto a grid.

    Attributes
    ----------
    grid : ImageGrid
    detectors : (n, 6) float32
        Positions in mm and normals.
    directional : bool
        Whether detectors weigh by the solid angle that they subtend.
    signal_filter : SignalFilter
    """

    grid: ImageGrid
    detectors: Array32
    directional: bool
    signal_filter: SignalFilter

    def image(self, prepared: Array32, speed_m_s: float, out: Array32, every: int = 1) -> None:
        """Fill `out` (images, nz, ny, nx) from `prepared` (images, detectors, samples).

        With `every`, only each such pixel along x and y.
        """
        x, y, z = (self.grid.coordinates(axis).astype(np.float32) for axis in range(3))
        x, y = (np.ascontiguousarray(places[::every]) for places in (x, y))
        rate = self.signal_filter.sampling_rate_hz
        scale = np.float32(rate / (speed_m_s * 1e3))
        first = np.float32(self.signal_filter.first_sample_s * rate)
        project_back(prepared, self.detectors, self.directional, x, y, z, scale, first, out)


def beamformer(array: DetectorArray, grid: ImageGrid, method: str, signal_filter: SignalFilter) -> Beamformer:
    """The beamformer of ``backprojection`` (weighted by solid angle) or ``delay_and_sum`` (not weighted)."""
    directional = method == "backprojection"
    detectors = np.zeros((len(array.used), 6), np.float32)
    detectors[:, :3] = array.positions_mm
    if directional:
        detectors[:, 3:] = array.normals(grid.centre_mm)
    return Beamformer(grid, detectors, directional, signal_filter)


def back_project(
    former: Beamformer,
    images: Iterable[Array32],
    count: int,
    kind: str,
    speed_m_s: float,
    workers: int | None,
) -> Array32:
    """Images (count, nz, ny, nx) of signals (detectors, samples) each."""
    nx, ny, nz = former.grid.shape
    out = np.empty((count, nz, ny, nx), np.float32)
    held = np.empty((0, 0, 0), np.float32)
    with thread_limit(workers) as threads:
        for number, samples in enumerate(images):
            if number == 0:
                held = np.empty((min(GROUP, count), *samples.shape), np.float32)
            place = number % GROUP
            held[place] = prepare(samples, former.signal_filter, kind, threads)
            if place == GROUP - 1 or number == count - 1:
                former.image(held[: place + 1], speed_m_s, out[number - place : number + 1])
    return out
