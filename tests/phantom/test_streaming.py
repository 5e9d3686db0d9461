"""A long series is made and written in little more than its own memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHILD = """
import sys, tempfile
from pathlib import Path
from imgtheranostics.phantom import load_spec, make, write
from imgtheranostics.phantom.reading import parse_spec

def peak():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

def mouse(shape, voxel, frames, layout):
    content = load_spec("upsn-86y-mouse-pet").model_dump(mode="json", exclude_none=True)
    for region in content["regions"]:
        region["shape"] = region["shape"] or "template"
    content["grid"] = {"shape": shape, "voxel_mm": voxel}
    content["axis"].update(values=[1.0 + n for n in range(frames)], layout=layout)
    content["physics"]["frame_duration_s"] = [600]
    content["expect"] = []
    return parse_spec(content)

layout = sys.argv[1]
with tempfile.TemporaryDirectory() as folder:
    write(make(mouse([30, 26, 8], [0.9, 0.9, 11.0], 2, layout)), Path(folder) / "small", sys.argv[2])
    before = peak()
    write(make(mouse([200, 170, 10], [0.145, 0.145, 8.8], 30, layout)), Path(folder) / "large", sys.argv[2])
    print((peak() - before) / (200 * 170 * 10 * 30 * 4))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize(("layout", "fmt", "limit"), [("dynamic", "both", 2.0), ("separate", "nifti", 1.0)])
def test_thirty_frames_stay_below_twice_their_memory(layout, fmt, limit):
    """Peak of a child process above that of a small mouse, over the float32 bytes of all frames."""
    command = [sys.executable, "-c", CHILD, layout, fmt]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < limit
