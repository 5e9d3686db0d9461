"""WASABI beside what a user would pick, in one run: bounded `curve_fit` per voxel from the published starts.

The reference is one `curve_fit` (trf, bounds, two-point Jacobian) from the sheet's start c = 1, d = 2,
nominal B1 and no shift, with the model in NumPy; ours searches the whole range of the bounds. No goal is
stated for it in reference/performance.md; 30x and nowhere a higher sum of squares is what is held here.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import curve_fit

from imgtheranostics.cest.wasabi import wasabi

GAMMA = 267.5154109126009
OFFSETS = np.linspace(-2, 2, 31)
PULSE = {"pulse_duration_s": 0.005, "imaging_frequency_mhz": 127.7, "nominal_b1_ut": 3.7}
BOUNDS = ([0, -2, 0, 0], [20, 2, 1, 2])


def model(offset_ppm, b1_ut, b0_ppm, c, d):
    shift = 2 * np.pi * PULSE["imaging_frequency_mhz"] * (offset_ppm - b0_ppm)
    square = (GAMMA * b1_ut) ** 2 + shift**2
    tip = (GAMMA * b1_ut) ** 2 / square * np.sin(np.sqrt(square) * PULSE["pulse_duration_s"] / 2) ** 2
    return np.abs(c - d * tip)


def test_wasabi_against_curve_fit(benchmark):
    rng, m, few = np.random.default_rng(5), 8000, 60
    b1, b0 = 3.7 * rng.uniform(0.7, 1.3, (m, 1)), rng.uniform(-0.6, 0.6, (m, 1))
    z = model(OFFSETS, b1, b0, 0.9, 1.6) + rng.normal(0, 0.01, (m, OFFSETS.size))

    def ours():
        return wasabi(z, OFFSETS, **PULSE)

    def theirs():
        return np.array(
            [curve_fit(model, OFFSETS, one, p0=[3.7, 0.0, 0.999, 1.999], bounds=BOUNDS)[0] for one in z[:few]]
        )

    found, peer = ours(), theirs()
    costs = [np.sum((model(OFFSETS, *p) - one) ** 2) for p, one in zip(peer, z[:few], strict=True)]
    assert (OFFSETS.size * found.rmse[:few] ** 2 <= np.array(costs) * (1 + 1e-6)).all()
    mine, other = [], []
    for _ in range(3):
        for job, times in ((ours, mine), (theirs, other)):
            start = time.perf_counter()
            job()
            times.append(time.perf_counter() - start)
    ratio = float(np.median(other)) / few * m / float(np.median(mine))
    benchmark.group = "WASABI, 31 offsets"
    benchmark.extra_info["voxels_per_s"] = round(m / float(np.median(mine)))
    benchmark.extra_info["ratio"] = round(ratio, 1)
    benchmark.pedantic(ours, rounds=3)
    print(f"\nWASABI: {m / float(np.median(mine)):.0f} voxels/s, {ratio:.0f} x")  # noqa: T201
    assert ratio >= 30


_PEAK = """
import re
from pathlib import Path
import numpy as np
from imgtheranostics.cest.wasabi import wasabi

def kib(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

offsets = np.linspace(-2, 2, 31)
pulse = {"pulse_duration_s": 0.005, "imaging_frequency_mhz": 127.7, "nominal_b1_ut": 3.7}
z = np.asfortranarray(np.random.default_rng(0).random((128, 128, 2, 31), np.float32))
wasabi(z[:2, :2, :2], offsets, **pulse)
Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
before = kib("VmRSS")
found = wasabi(z, offsets, **pulse)
kept = [*found.parameters.values(), *found.standard_errors.values(), found.r_squared, found.rmse]
kept += [found.iterations, found.flags]
print((kib("VmHWM") - before) / 1024 - sum(array.nbytes for array in kept) / 2**20)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux memory accounting")
def test_memory_above_input_and_output(benchmark):
    """At most 16 MiB and 1 MiB per thread (performance.md, section 5)."""

    def peak() -> float:
        run = [sys.executable, "-c", _PEAK]
        return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)

    above = benchmark.pedantic(peak, rounds=1)
    print(f"\nWASABI: {above:.1f} MiB above input and output")  # noqa: T201
    assert above <= 18


@pytest.mark.parametrize("m", [1, 100])
def test_a_few_voxels_answer_at_once(benchmark, m):
    z = np.tile(model(OFFSETS, 3.5, 0.1, 0.9, 1.6), (m, 1))
    benchmark.pedantic(lambda: wasabi(z, OFFSETS, **PULSE), rounds=5, warmup_rounds=1)
    assert benchmark.stats.stats.median < 0.2
