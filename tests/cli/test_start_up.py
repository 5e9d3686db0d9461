"""`--help` is quick because it imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import sys
from imgtheranostics.cli.main import main
code = main({arguments!r})
heavy = sorted(set(sys.modules) & {{"numpy", "numba", "scipy", "pandas", "pydicom", "nibabel", "SimpleITK",
               "skimage", "matplotlib", "h5py", "highdicom", "requests", "rich"}})
print("exit", code, "heavy", heavy)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["nuclear", "--help"],
        ["nuclear", "uptake", "--help"],
        ["nuclear", "curves", "--help"],
        ["nuclear", "kinetics", "--help"],
        ["nuclear", "dose", "--help"],
        ["nuclear", "pvc", "--help"],
        ["mri", "--help"],
        ["mri", "t1", "--help"],
        ["mri", "dce", "--help"],
        ["ct", "--help"],
        ["ultrasound", "--help"],
        ["ultrasound", "enhancement", "--help"],
        ["ultrasound", "curves", "--help"],
        ["ct", "concentration", "--help"],
        ["ct", "materials", "--help"],
        ["ct", "retention", "--help"],
        ["ct", "calibrate", "--help"],
        ["msot", "--help"],
        ["msot", "unmix", "--help"],
        ["msot", "oxygenation", "--help"],
        ["msot", "reconstruct", "--help"],
        ["validate", "--help"],
        ["convert", "--help"],
        ["info", "--help"],
        ["fetch", "--help"],
        ["store", "--help"],
    ],
)
def test_help_imports_no_numerics(arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(arguments=arguments)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "exit 0 heavy []", done.stdout + done.stderr


def test_importing_the_package_imports_no_numerics():
    code = "import sys, imgtheranostics; print(sorted({'numpy', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
