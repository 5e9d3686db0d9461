"""QUESP beside what a user would pick: SciPy's `curve_fit`, voxel by voxel with the truth as its start."""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import curve_fit

from imgtheranostics.cest import exchange

POWER = (2 * np.pi * 42.5764 * np.linspace(1, 6, 6)) ** 2
R1, TIME = 0.5, 3.0


def model(power, rate, fraction):
    total = R1 + fraction * rate
    return fraction * rate * power / (power + rate**2) / total * (1 - np.exp(-total * TIME))


def test_quesp_against_curve_fit(benchmark):
    rng, few, m = np.random.default_rng(1), 40, 128 * 128
    truth = np.stack([rng.uniform(300, 3000, m), rng.uniform(3e-4, 3e-3, m)], axis=1)
    values = np.array([model(POWER, *row) for row in truth]) + rng.normal(0, 1e-3, (m, 6))

    def ours(n=m):
        return exchange.quesp(
            values[:n], b1_ut=np.linspace(1, 6, 6), r1_per_s=R1, saturation_time_s=TIME, workers=1
        )

    def theirs():
        return np.array(
            [
                curve_fit(model, POWER, row, p0=start, x_scale=start, method="trf")[0]
                for row, start in zip(values[:few], truth[:few], strict=True)
            ]
        )

    found, expected = ours(few), theirs()
    known = found.flags == 0
    assert known.sum() > few // 2
    np.testing.assert_allclose(found.parameters["exchange_rate_per_s"][known], expected[known, 0], rtol=1e-3)
    mine, peer = [], []
    for _ in range(3):
        for function, times in ((ours, mine), (theirs, peer)):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    rate = m / float(np.median(mine))
    ratio = rate * float(np.median(peer)) / few
    benchmark.group = "QUESP, 6 powers, one core"
    benchmark.extra_info["voxels_per_s"], benchmark.extra_info["ratio"] = round(rate), round(ratio, 1)
    benchmark.pedantic(ours, rounds=3)
    print(f"\n{benchmark.group}: {rate:.0f} voxels/s, {ratio:.0f} x")  # noqa: T201
    assert ratio >= 100
