"""Second readers and checkers of DICOM, each skipped where it is not installed."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from imgtheranostics.volume import Volume


@pytest.fixture
def dciodvfy():
    """The report of dciodvfy on a file."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")

    def check(path) -> str:
        found = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
        return found.stdout + found.stderr

    return check


@pytest.fixture
def dcm2niix(tmp_path):
    """The NIfTI images that dcm2niix makes of a folder."""
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix is not installed")

    def convert(folder):
        out = tmp_path / "converted"
        out.mkdir()
        subprocess.run(
            [program, "-z", "n", "-f", "%p_%s_%e", "-o", str(out), str(folder)],
            capture_output=True,
            check=True,
        )
        return sorted(out.glob("*.nii"))

    return convert


@pytest.fixture(scope="session")
def read_sitk():
    """A DICOM series as SimpleITK reads it, which takes the slope of the first slice for all."""

    def read(folder, quantity: str, unit: str) -> Volume:
        import SimpleITK as sitk  # noqa: N813 - its usual name

        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        return Volume.from_sitk(reader.Execute(), quantity, unit)

    return read


@pytest.fixture(scope="session")
def rotation():
    """Rotation matrix of three angles about x, y and z."""

    def matrix(angles) -> np.ndarray:
        turned = np.eye(3)
        for axis, angle in enumerate(angles):
            one, two = [n for n in range(3) if n != axis]
            step = np.eye(3)
            step[one, one] = step[two, two] = np.cos(angle)
            step[one, two], step[two, one] = -np.sin(angle), np.sin(angle)
            turned = step @ turned
        return turned

    return matrix
