"""Linearisation, maps and regions of a contrast cine beside what a user would write, interleaved in one run.

Goals of ultrasound.md, section 7: linearisation and dB maps within twice the time of reading and writing the
memory; a cine of 30 frames in less than a second. `pytest tests/benchmarks --benchmark-only` runs it.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from imgtheranostics import ultrasound
from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

SHAPE = (512, 512)


def cine(n_frames):
    grey = np.random.default_rng(1).integers(1, 230, (n_frames, 1, *SHAPE[::-1]), np.uint8).T
    axis = Axis("time", np.arange(n_frames) * 0.05, "s")
    record = UltrasoundAcquisition(grey_max=255.0)
    return Volume(grey.astype(np.float32), np.diag([-0.1, -0.1, 1, 1]), "signal", "[arb'U]", (axis,), record)


def interleaved(first, second, repeats=7):
    """Fastest of each, one after the other in turn."""
    times = [[], []]
    for _ in range(repeats):
        for one, found in zip((first, second), times, strict=True):
            begin = time.perf_counter()
            one()
            found.append(time.perf_counter() - begin)
    return min(times[0]), min(times[1])


@pytest.mark.benchmark(group="ultrasound")
def test_linearisation_beside_memory_and_numpy(benchmark):
    """Against a copy, which reads and writes as much: the goal is twice its time on two idle cores."""
    volume = cine(100)
    ultrasound.linearise(volume, dynamic_range_db=60)

    def ours():
        return ultrasound.linearise(volume, dynamic_range_db=60)

    def numpy():
        return 10 ** (60 * volume.data / 2550)

    benchmark.pedantic(ours, rounds=5)
    mine, copy = interleaved(ours, lambda: volume.data.copy(order="F"))
    again, theirs = interleaved(ours, numpy)
    benchmark.extra_info |= {"over_copy": mine / copy, "numpy_over_ours": theirs / again}
    print(f"\nlinearise: {mine / copy:.2f} x a copy; NumPy {theirs / again:.1f} x ours")  # noqa: T201
    assert mine / copy < 4.0
    assert theirs / again > 1.0


@pytest.mark.benchmark(group="ultrasound")
def test_demonstration_of_thirty_frames_within_a_second(benchmark):
    volume = cine(30)
    labels = np.zeros((*SHAPE, 1), np.int32)
    for n in range(4):
        labels[20 + 120 * n : 120 + 120 * n, 100:220] = n + 1
    rois = Regions(labels, {n + 1: f"roi {n}" for n in range(4)}, volume.grid)

    def ours():
        return ultrasound.enhancement(volume, rois=rois, baseline_frames=10, dynamic_range_db=60)

    ours()
    benchmark.pedantic(ours, rounds=5)
    assert benchmark.stats["min"] < 1.0
