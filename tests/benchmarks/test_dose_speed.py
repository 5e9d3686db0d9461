"""Dose convolution beside what a user would pick, interleaved in one run; ratios go to extra_info.

Goals of reference/performance.md section 5 for 128^3 voxels and kernels of 11^3 to 31^3: below 0.3 s, at
least 1.2 times as fast as scipy.signal.fftconvolve in float32, and 30 times as fast as scipy.ndimage.convolve
(of which a smaller part is run). `pytest tests/benchmarks --benchmark-only` runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import convolve as direct
from scipy.signal import fftconvolve

from imgtheranostics.nuclear.dosimetry import convolve, voxel_s

SIZE = 128


def seconds(*functions, rounds=9):
    """Interleaved A B A B ...; median by the wall."""
    times = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(rounds):
        for function, own in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            own.append(time.perf_counter() - start)
    return [float(np.median(own)) for own in times]


@pytest.mark.parametrize("width", [11, 21, 31])
def test_convolution_beside_fftconvolve_and_ndimage(benchmark, width):
    rng = np.random.default_rng(1)
    tia = rng.random((SIZE,) * 3, dtype=np.float32)
    kernel = rng.random((width,) * 3, dtype=np.float32)

    def ours():
        return convolve(tia, kernel)

    def peer():
        return fftconvolve(tia, kernel, mode="same")

    reference = peer() * 1e-3
    assert np.abs(ours() - reference).max() < 3e-6 * reference.max()
    mine, other = seconds(ours, peer)
    ratios = {"seconds": mine, "ratio_to_fftconvolve": other / mine}
    if width == 11:
        part = tia[:32]
        (slow,) = seconds(lambda: direct(part, kernel, mode="constant"), rounds=1)
        ratios["ratio_to_ndimage"] = slow * 4 / mine
        assert ratios["ratio_to_ndimage"] >= 30
    benchmark.extra_info.update(ratios)
    sys.stderr.write("\n" + ", ".join(f"{name} {value:.3g}" for name, value in ratios.items()) + "\n")
    benchmark.pedantic(ours, rounds=2)
    assert ratios["ratio_to_fftconvolve"] >= 1.2
    assert mine < 0.3


def test_kernel_of_mouse_voxels(benchmark):
    """90Y in anisotropic voxels of a mouse scan: some 50^3 voxels from spectra, before any cache."""
    from imgtheranostics.nuclear.dose_kernels import _voxel_s

    def ours():
        _voxel_s.cache_clear()
        return voxel_s("Y-90", (0.5, 0.5, 0.8))

    kernel = benchmark.pedantic(ours, rounds=2)
    sys.stderr.write(f"\n{kernel.shape} in {benchmark.stats.stats.min:.2f} s\n")
    assert benchmark.stats.stats.min < 20


_PEAK = """
import json, re
from pathlib import Path
import numpy as np
from imgtheranostics.nuclear.dosimetry import convolve

def kib(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

tia = np.random.default_rng(0).random((128, 128, 128), dtype=np.float32)
kernel = np.random.default_rng(1).random((31, 31, 31), dtype=np.float32)
convolve(tia[:8], kernel[:3, :3, :3])
Path("/proc/self/clear_refs").write_text("5")
before = kib("VmRSS")
done = convolve(tia, kernel)
print(json.dumps((kib("VmHWM") - before) / 1024))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux memory accounting")
def test_memory_above_input_and_output(benchmark):
    """128^3 by 31^3: at most 16 MiB and 1 MiB per thread (performance.md, section 5).

    The transform of the activity takes 10 MiB of them, that of the kernel along two axes 2.5 MiB.
    """

    def peak():
        run = [sys.executable, "-c", _PEAK]
        return json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)

    risen = benchmark.pedantic(peak, rounds=1) - 128**3 * 4 / 2**20
    sys.stderr.write(f"\n{risen:.1f} MiB above input and output\n")
    benchmark.extra_info["mib_above_output"] = risen
    assert risen <= 18
