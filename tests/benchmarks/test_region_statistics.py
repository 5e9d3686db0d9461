"""Region statistics and time-activity extraction beside NumPy masks, in one run."""

from __future__ import annotations

import time

import numpy as np
import pytest

from imgtheranostics.regions import Regions, VoxelRuns, region_curve, roi_statistics
from imgtheranostics.volume import Axis, Volume

SHAPE = (256, 256, 50)
FRAMES = 30
REGIONS = 20


@pytest.fixture(scope="module")
def scan():
    """A dynamic scan of 30 frames with 20 regions that fill 10 % of it (performance.md, job f)."""
    rng = np.random.default_rng(1)
    data = np.empty((*SHAPE, FRAMES), np.float32, order="F")
    for frame in range(FRAMES):
        data[..., frame] = rng.standard_normal(SHAPE, np.float32)
    image = Volume(
        data, np.eye(4), "activity_concentration", "Bq/mL", (Axis("time", np.arange(FRAMES), "s"),)
    )
    masks = {}
    for number in range(REGIONS):
        mask = np.zeros(SHAPE, bool)
        x, y = 4 + 48 * (number % 5), 4 + 60 * (number // 5)
        mask[x : x + 40, y : y + 40, 20:30] = True
        masks[f"region-{number}"] = mask
    return image, masks


def with_masks(image, masks, statistics):
    return [statistics(image.data[..., frame][mask]) for frame in range(FRAMES) for mask in masks.values()]


def measure(benchmark, group, ours, theirs, rounds=5):
    """Interleaved A B A B ..., medians; the ratio goes into the benchmark's record and is printed."""
    ours()
    mine, peer = [], []
    for _ in range(rounds):
        for function, times in ((ours, mine), (theirs, peer)):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    benchmark.group = group
    benchmark.extra_info["ratio"] = round(float(np.median(peer) / np.median(mine)), 1)
    benchmark.pedantic(ours, rounds=3)
    print(f"\n{group}: {benchmark.extra_info['ratio']} x")  # noqa: T201


def test_time_activity_against_numpy_masks(benchmark, scan):
    image, masks = scan
    regions = Regions.from_masks(masks, image.grid)
    runs = VoxelRuns.of(regions)
    expected = np.reshape(with_masks(image, masks, lambda x: x.mean(dtype=float)), (FRAMES, REGIONS))
    assert region_curve(image, runs) == pytest.approx(expected, rel=1e-6)
    measure(
        benchmark,
        "time-activity curve, 20 regions x 30 frames, against numpy masks",
        lambda: region_curve(image, runs),
        lambda: with_masks(image, masks, np.mean),
    )


def test_region_statistics_against_numpy_masks(benchmark, scan):
    image, masks = scan
    regions = Regions.from_masks(masks, image.grid)

    def everything(x):
        return x.mean(), x.std(), x.min(), x.max(), np.percentile(x, [5, 50, 95])

    measure(
        benchmark,
        "region statistics with quantiles, 20 regions x 30 frames, against numpy masks",
        lambda: roi_statistics(image, regions, resolution_mm=2.0),
        lambda: with_masks(image, masks, everything),
        rounds=3,
    )
