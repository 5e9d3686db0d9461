"""Initial areas of many curves beside NumPy voxel by voxel, in one run."""

from __future__ import annotations

import time

import numpy as np

from imgtheranostics.mri.time_intensity import initial_area

TIMES = np.arange(0.0, 300.0, 5.0)


def with_numpy(curves, arrivals, window):
    areas = np.empty(len(curves))
    for n, (curve, begin) in enumerate(zip(curves, arrivals, strict=True)):
        inner = TIMES[slice(*np.searchsorted(TIMES, (begin, begin + window)))]
        knots = np.concatenate([[begin], inner, [begin + window]])
        areas[n] = np.trapezoid(np.interp(knots, TIMES, curve), knots)
    return areas


def test_initial_area_against_numpy(benchmark):
    rng = np.random.default_rng(1)
    curves = rng.random((200_000, TIMES.size)).astype(np.float32)
    arrivals = rng.uniform(20, 60, len(curves))
    few = slice(0, 4000)

    def ours():
        return initial_area(curves, TIMES, arrival_s=arrivals, windows_s=(60,)).parameters["iauc_60_mm_s"]

    np.testing.assert_allclose(ours()[few], with_numpy(curves[few], arrivals[few], 60), rtol=1e-6)
    mine, peer = [], []
    for _ in range(3):
        start = time.perf_counter()
        ours()
        mine.append((time.perf_counter() - start) / len(curves))
        start = time.perf_counter()
        with_numpy(curves[few], arrivals[few], 60)
        peer.append((time.perf_counter() - start) / 4000)
    benchmark.group = "initial area"
    benchmark.extra_info["ratio"] = round(float(np.median(peer) / np.median(mine)), 1)
    benchmark.pedantic(ours, rounds=3)
    print(f"\ninitial area: {benchmark.extra_info['ratio']} x, {1e9 * np.median(mine):.0f} ns per voxel")  # noqa: T201
