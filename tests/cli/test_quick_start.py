"""A short command imports little: what it leaves out, and that nothing is missing afterwards."""

from __future__ import annotations

import json
import os
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
AFTERWARDS = """
import sys
import os
os.environ["IMGTHERANOSTICS_OWN_PROCESS"] = "1"
from imgtheranostics.kernels.region_statistics import count_labels
from imgtheranostics.io.lean_nibabel import nibabel_for_headers
nibabel_for_headers()
assert "pydicom" not in sys.modules and "scipy.linalg" not in sys.modules
import numpy as np
import pydicom, scipy.linalg, scipy.linalg.cython_blas, numba
assert pydicom.dcmread and scipy.linalg.inv(np.eye(2))[0, 0] == 1
assert numba.njit(lambda a: np.dot(a, a))(np.ones(3)) == 3
assert list(numba.njit(lambda a: np.convolve(a, a))(np.ones(2))) == [1, 2, 1]
"""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "decay"
    write(make("mm302-decaytrap"), folder)
    return folder


def test_uptake_without_report_imports_no_dicom_library_and_no_plotting(phantom, tmp_path):
    words = ["nuclear", "uptake", phantom / "dicom" / "start", "--rois", phantom / "regions.nii.gz"]
    words += ["-o", tmp_path / "out", "--no-report", "-q"]
    done = subprocess.run([sys.executable, "-c", UPTAKE, *map(str, words)], capture_output=True, text=True)
    found = json.loads(done.stderr.splitlines()[-1])
    assert found["exit"] == 0
    unwanted = {"pydicom", "gdcm", "matplotlib", "PIL", "skimage", "SimpleITK", "h5py", "jinja2", "highdicom"}
    assert unwanted & set(found["modules"]) == set()
    assert "scipy.linalg" not in found["modules"]
    assert "numba" in found["modules"], "the kernels did run"


def test_libraries_that_were_left_out_can_be_imported_later():
    subprocess.run([sys.executable, "-c", AFTERWARDS], check=True)


def test_a_process_of_somebody_else_gets_libraries_as_they_are():
    code = (
        "from imgtheranostics.io.lean_nibabel import nibabel_for_headers as get; import sys; get();"
        "from nibabel.nifti1 import have_dicom; assert have_dicom and 'pydicom' in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if k != "IMGTHERANOSTICS_OWN_PROCESS"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
