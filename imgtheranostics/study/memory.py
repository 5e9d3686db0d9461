"""How much memory a job takes, from the headers of what it reads."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

from imgtheranostics.study.jobs import SubjectJobs

BASE_BYTES = 300_000_000
"""Of the program with its compiled kernels."""
TIMES_LARGEST = 3
"""Peak memory over the largest volume at float32."""
_HEADER_BYTES = 348
_DIMENSIONS_AT = 40


def needed_bytes(planned: SubjectJobs) -> int:
    """Of the largest job of a subject; results of earlier jobs are as large as the scans they come from."""
    paths = {path for job in planned.jobs for path in job.reads if not path.startswith("sub-")}
    largest = max((volume_bytes(Path(path)) for path in paths), default=0)
    return BASE_BYTES + TIMES_LARGEST * largest


def volume_bytes(path: Path) -> int:
    """Of a scan at float32: by the dimensions of a NIfTI header, else by the size of its files.

    Stored numbers of two bytes become four; compressed DICOM files may take more than is estimated.
    """
    if path.is_dir():
        return sum(2 * entry.stat().st_size for entry in _files(path))
    if not path.exists():
        return 0
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _nifti_bytes(path)
    return 2 * path.stat().st_size


def _files(folder: Path) -> list[os.DirEntry[str]]:
    found: list[os.DirEntry[str]] = []
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            found += _files(Path(entry.path))
        elif entry.is_file():
            found.append(entry)
    return found


def _nifti_bytes(path: Path) -> int:
    """Of the voxels by the header; a header that is broken is refused when the scan is loaded."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
        order = "<" if struct.unpack_from("<i", header, 0)[0] == _HEADER_BYTES else ">"
        n, *lengths = struct.unpack_from(f"{order}8h", header, _DIMENSIONS_AT)
    except (OSError, EOFError, struct.error, ValueError):
        return 0
    voxels = 4
    for length in lengths[: max(0, min(7, n))]:
        voxels *= max(1, length)
    return voxels
