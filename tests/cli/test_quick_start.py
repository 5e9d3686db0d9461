"""A short command imports little."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from imgtheranostics.phantom import make, write

UPTAKE = """
import json, sys
from imgtheranostics.cli.main import run
sys.argv = ["imgtheranostics", *sys.argv[1:]]
try:
    run()
except SystemExit as finished:
    code = finished.code
print(json.dumps({"exit": code, "modules": sorted(sys.modules)}), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "decay"
    write(make("mm302-decaytrap"), folder)
    return folder


def test_uptake_without_report_imports_no_plotting_and_no_registration(phantom, tmp_path):
    words = ["nuclear", "uptake", phantom / "dicom" / "start", "--rois", phantom / "regions.nii.gz"]
    words += ["-o", tmp_path / "out", "--no-report", "-q"]
    done = subprocess.run([sys.executable, "-c", UPTAKE, *map(str, words)], capture_output=True, text=True)
    found = json.loads(done.stderr.splitlines()[-1])
    assert found["exit"] == 0
    unwanted = {"matplotlib", "skimage", "SimpleITK", "h5py", "jinja2", "highdicom"}
    assert unwanted & set(found["modules"]) == set()
    assert "numba" in found["modules"], "the kernels did run"
