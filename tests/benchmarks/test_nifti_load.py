"""Loading NIfTI beside nibabel's get_fdata and gzip, in one run; ratios and peaks go to extra_info.

Goals of reference/performance.md: an uncompressed float32 image at least 10 times faster than get_fdata(),
with a peak of at most 1.1 times the output.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest

from imgtheranostics.io.nifti import load_nifti

SHAPE = (200, 200, 100, 6)

PEAK = """
import json, sys
from imgtheranostics.io.nifti import load_nifti
import nibabel
def peak():
    with open("/proc/self/status") as status:
        return int(status.read().split("VmHWM:")[1].split()[0])
load_nifti([sys.argv[2]])
nibabel.load(sys.argv[2]).get_fdata()
before = peak()
image = load_nifti([sys.argv[1]])[0].data if sys.argv[3] == "ours" else nibabel.load(sys.argv[1]).get_fdata()
after = peak()
print(json.dumps([(after - before) * 1024, image.size * 4]))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """One 96 MB image as float32, as scaled int16, and the latter compressed; and a tiny one to warm up."""
    folder = tmp_path_factory.mktemp("nifti")
    rng = np.random.default_rng(0)
    counts = rng.poisson(20.0, SHAPE).astype(np.int16)
    plain = nibabel.Nifti1Image(counts.astype(np.float32), np.eye(4))
    scaled = nibabel.Nifti1Image(counts, np.eye(4))
    for image in (plain, scaled):
        image.header.set_xyzt_units("mm", "sec")
    scaled.header.set_slope_inter(0.37, 1.0)
    nibabel.save(plain, folder / "float32.nii")
    nibabel.save(scaled, folder / "int16.nii")
    nibabel.save(scaled, folder / "int16.nii.gz")
    nibabel.save(plain.slicer[:4, :4, :4], folder / "warm.nii")
    return folder


def seconds_of(function, rounds):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_over_output(folder, name, reader):
    """Peak resident memory above the start, over the float32 output, in a child of its own."""
    arguments = [sys.executable, "-c", PEAK, str(folder / name), str(folder / "warm.nii"), reader]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    peak, output = json.loads(done.stdout)
    return peak / output


@pytest.mark.parametrize("name", ["float32.nii", "int16.nii", "int16.nii.gz"])
def test_load_beside_get_fdata(benchmark, images, name):
    path = images / name
    expected = nibabel.load(path).get_fdata()
    np.testing.assert_allclose(load_nifti([path])[0].data, expected, rtol=1e-6)
    theirs = seconds_of(lambda: nibabel.load(path).get_fdata(), 3)
    benchmark.pedantic(lambda: load_nifti([path]), rounds=5, warmup_rounds=1)
    benchmark.extra_info["nibabel_get_fdata_s"] = theirs
    benchmark.extra_info["times_faster"] = theirs / benchmark.stats.stats.median
    benchmark.extra_info["peak_over_output"] = peak_over_output(images, name, "ours")
    benchmark.extra_info["peak_over_output_nibabel"] = peak_over_output(images, name, "nibabel")
