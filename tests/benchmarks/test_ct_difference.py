"""Change of attenuation in regions of a CT pair beside NumPy masks, interleaved in one run; memory of it.

Goal of reference/performance.md, section 5, and of ct.md, section 7: 25 times faster than boolean masks for a
pair of 512 x 512 x 200 with 10 labels that fill 10 % of it; at most 16 MiB and 1 MiB per thread above input
and output. `pytest tests/benchmarks --benchmark-only` runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from numba import njit, prange

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.ct.region_changes import label_changes
from imgtheranostics.kernels import ct_difference as kernel
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

SHAPE = (512, 512, 200)
LABELS = 10


def labels_of(shape=SHAPE):
    """Ten boxes of 72 x 145 x 50 voxels, 10 % of the volume, i fastest as in images."""
    labels = np.zeros(shape, np.int32, order="F")
    for n in range(LABELS):
        i, j = 20 + 100 * (n % 5), 60 + 220 * (n // 5)
        labels[i : i + 72, j : j + 145, 50:100] = n + 1
    return labels


@pytest.fixture(scope="module")
def pair():
    """Stored values of two scans as int16, and labels; in the order of images."""
    rng = np.random.default_rng(1)
    pre = rng.integers(-100, 200, SHAPE[::-1], np.int16).T
    post = rng.integers(-100, 400, SHAPE[::-1], np.int16).T
    return pre, post, labels_of()


def with_masks(pre, post, labels, slices_first=False):
    """What a user writes: the difference in float32, and mean, SD and extremes under one mask per label.

    On the arrays as Volumes and nibabel hold them, or turned round so that slices come first, as some readers
    of DICOM stack them: NumPy is several times faster on that order.
    """
    if slices_first:
        pre, post, labels = pre.T, post.T, labels.T
    change = post.astype(np.float32) - pre.astype(np.float32)
    rows = []
    for number in range(1, LABELS + 1):
        inside = change[np.equal(labels, number)]
        rows.append((inside.mean(dtype=float), inside.std(), inside.min(), inside.max()))
    return np.array(rows)


def interleaved(ours, theirs, rounds=5):
    """A B A B ...: median seconds of both, on the wall and on the processor."""
    ours()
    theirs()
    spent = {ours: [], theirs: []}
    for _ in range(rounds):
        for function, times in spent.items():
            start = time.perf_counter(), time.process_time()
            function()
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return np.median([spent[ours], spent[theirs]], axis=1)


def measure(benchmark, group, ours, theirs):
    """How many times faster ours is on the wall; both cores of the machine must be free for that."""
    (fast, fast_cpu), (slow, slow_cpu) = interleaved(ours, theirs)
    benchmark.group = group
    found = {"ratio": slow / fast, "processor_ratio": slow_cpu / fast_cpu, "seconds": fast, "peer": slow}
    benchmark.extra_info.update({name: float(value) for name, value in found.items()})
    benchmark.pedantic(ours, rounds=3)
    sys.stderr.write(
        f"\n{group}: {slow / fast:.1f} x ({1e3 * fast:.1f} against {1e3 * slow:.1f} ms), "
        f"{slow_cpu / fast_cpu:.1f} x by processor time ({1e3 * fast_cpu:.1f} ms)\n"
    )
    return slow / fast


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_changes_by_label_beside_masks(benchmark, pair, dtype):
    pre, post, labels = pair
    pre, post = (np.asfortranarray(image, dtype=dtype) for image in (pre, post))
    numbers = range(1, LABELS + 1)
    found = label_changes(pre, post, labels, numbers, threshold=50.0)
    expected = with_masks(pre, post, labels)
    measured = np.stack([found[name] for name in ("mean", "sd", "min", "max")], axis=-1)
    np.testing.assert_allclose(measured, expected, rtol=1e-5)
    ratio = measure(
        benchmark,
        f"change of attenuation by label, {np.dtype(dtype)}, against numpy masks",
        lambda: label_changes(pre, post, labels, numbers, threshold=50.0),
        lambda: with_masks(pre, post, labels),
    )
    assert ratio >= 25.0


def test_changes_by_label_beside_masks_on_slices_first(benchmark, pair):
    """Beside the order of axes that NumPy likes best; 16 to 22 times on two cores, 25 are not reached."""
    pre, post, labels = pair
    numbers = range(1, LABELS + 1)
    ratio = measure(
        benchmark,
        "change of attenuation by label, int16, against numpy masks on slices first",
        lambda: label_changes(pre, post, labels, numbers, threshold=50.0),
        lambda: with_masks(pre, post, labels, slices_first=True),
    )
    assert ratio >= 10.0


def test_volumes_and_regions_beside_masks(benchmark, pair):
    """The same with everything that a call on Volumes checks, and a table as its result."""
    pre, post, labels = pair
    beam = CtAcquisition(tube_voltage_kv=120.0)
    before, after = (
        Volume(image, np.diag([0.7, 0.7, 1.0, 1.0]), "attenuation", "[HU]", acquisition=beam)
        for image in (pre, post)
    )
    regions = Regions(labels, {n: f"region {n}" for n in range(1, LABELS + 1)}, before.grid)
    slope = ct.Slope(26.6, 1.3, "HfO2", kvp=120.0)
    ratio = measure(
        benchmark,
        "region changes and concentrations of volumes, against numpy masks",
        lambda: ct.region_changes(before, after, regions, slope=slope, noise_sd=10.0),
        lambda: with_masks(pre, post, labels),
    )
    assert ratio >= 25.0


@njit(parallel=True, cache=True)
def _moved(a, b, c, d, e, f):
    """What cannot be avoided: three arrays read and three written."""
    for n in prange(a.size):
        d[n] = a[n]
        e[n] = b[n]
        f[n] = c[n]


def test_concentration_maps_beside_moving_the_memory(benchmark):
    """Change, noise and flags in; value, error and flags out: within twice of copying them."""
    n = 512 * 512 * 100
    change, noise = np.full((2, n), 40.0, np.float32)
    noise[:] = 14.0
    given, flags = np.zeros((2, n), np.uint16)
    value, error = np.empty((2, n), np.float32)
    arrays = [read_only(array) for array in (change, noise, given)]
    marks = np.uint16(4), np.uint16(2)

    def ours():
        kernel.concentrations(*arrays, 1 / 26.6, (0.0, 0.05), 3.3, marks, value, error, flags)

    def by_formula():
        found = change / np.float32(26.6)
        own = noise / np.float32(26.6)
        return (
            found,
            np.hypot(own, np.float32(0.05) * found),
            np.where(found < 3.3 * own, 2, 0).astype(np.uint16),
        )

    ours()
    np.testing.assert_allclose(error, by_formula()[1], rtol=1e-5)
    measure(benchmark, "concentration maps, against the formula in numpy", ours, by_formula)
    measured = interleaved(ours, lambda: _moved(*arrays, value, error, flags))
    share = float(measured[0, 1] / measured[1, 1])
    benchmark.extra_info["processor_time_over_copy"] = share
    sys.stderr.write(f"concentration maps: {share:.2f} of the processor time of copying the same memory\n")
    assert share <= 2.0


_PEAK = """
import json, re
from pathlib import Path
import numba
import numpy as np
from imgtheranostics.ct.region_changes import label_changes

def kib(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

shape = (512, 512, 40)
labels = np.zeros(shape, np.int32, order="F")
for n in range(10):
    labels[20 + 48 * n : 60 + 48 * n, 100:400, 5:35] = n + 1
pre, post = (np.full(shape, value, np.float32, order="F") for value in (40.0, 182.0))
small = slice(0, 2)
label_changes(pre[..., small], post[..., small], labels[..., small], range(1, 11))
before = kib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
label_changes(pre, post, labels, range(1, 11))
print(json.dumps({"kib": kib("VmHWM") - before, "threads": numba.get_num_threads()}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_above_images_and_result(benchmark):
    done = benchmark.pedantic(
        lambda: subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True),
        rounds=1,
    )
    found = json.loads(done.stdout)
    benchmark.extra_info.update(found)
    sys.stderr.write(f"\nchange of attenuation by label: {found['kib'] / 1024:.1f} MiB above in and out\n")
    assert found["kib"] <= 1024 * (16 + found["threads"])
