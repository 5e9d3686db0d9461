"""Motion of a cine, the fast way beside the search frame by frame, interleaved in one run.

Goal of the project: seconds per scan. `pytest tests/benchmarks --benchmark-only` runs it.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imgtheranostics import ultrasound
from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.volume import Axis, Volume


def cine(shape, n_frames):
    """Speckle that breathes by whole pixels, with noise of a grey level."""
    rng = np.random.default_rng(1)
    power = sum(gaussian_filter(rng.normal(size=shape), (1.5, 1.0)) ** 2 for _ in range(2))
    grey = np.clip(255 / 60 * (10 * np.log10(power / power.mean()) + 40), 0, 255)
    data = np.empty((*shape, 1, n_frames), np.float32, order="F")
    for n in range(n_frames):
        moved = np.roll(grey, (round(2 * np.cos(0.9 * n)), round(4 * np.sin(0.9 * n))), axis=(0, 1))
        data[:, :, 0, n] = np.rint(moved + rng.normal(size=shape))
    axis = Axis("time", np.arange(n_frames) * 0.05, "s")
    record = UltrasoundAcquisition(grey_max=255.0)
    return Volume(data, np.diag([-0.1, -0.1, 1, 1]), "signal", "[arb'U]", (axis,), record)


def cpu(run):
    """Seconds of all threads."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


@pytest.mark.benchmark(group="ultrasound")
def test_fast_matching_beside_the_search(benchmark):
    """Twenty times less at the least: 10 frames are searched for while 100 are matched."""
    volume = cine((120, 96), 100)
    few = volume.replace(
        data=np.asfortranarray(volume.data[..., :10]), axes=(Axis("time", volume.axes[0].values[:10], "s"),)
    )

    def ours():
        _, motion = ultrasound.motion_compensate(volume, method="auto", workers=1)
        assert motion.searched == motion.rejected == ()

    def search():
        ultrasound.motion_compensate(few, method="search", workers=1)

    ours()
    benchmark.pedantic(ours, rounds=3)
    times = [(cpu(ours) / 100, cpu(search) / 10) for _ in range(3)]
    mine, theirs = np.min(times, axis=0)
    benchmark.extra_info |= {"ms_per_frame": 1e3 * mine, "search_over_ours": theirs / mine}
    print(f"\nmotion: {1e3 * mine:.2f} ms a frame; search {theirs / mine:.0f} x")  # noqa: T201
    assert theirs / mine > 20


@pytest.mark.benchmark(group="ultrasound")
def test_six_hundred_large_frames_in_ten_seconds_of_cpu(benchmark):
    """600 frames of 512 by 512, taken from the time of 150."""
    volume = cine((512, 512), 150)

    def ours():
        ultrasound.motion_compensate(volume, workers=1)

    ours()
    benchmark.pedantic(ours, rounds=1)
    seconds = 4 * min(cpu(ours) for _ in range(3))
    benchmark.extra_info["cpu_s_per_600"] = seconds
    print(f"\nmotion: 600 frames of 512 x 512 in {seconds:.1f} s of CPU")  # noqa: T201
    assert seconds < 10
