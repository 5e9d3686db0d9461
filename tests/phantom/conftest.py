"""Small phantoms as plain data, so that a test can change one thing."""

from __future__ import annotations

import copy
import hashlib
import os
import subprocess
import sys
from typing import Any

import numba
import pytest

from imgtheranostics.phantom import make

IN_ANOTHER_PROCESS = """
import hashlib, sys
from imgtheranostics.phantom import make
p = make(sys.argv[1], int(sys.argv[2]), rng=3)
h = hashlib.sha256(b"".join(v.data.tobytes("F") for v in p.volumes))
h.update(p.regions.labels.tobytes())
print(h.hexdigest())
"""

SMALL: dict[str, Any] = {
    "slug": "small-sphere",
    "title": "one sphere in a box",
    "review_claim": "15",
    "modality": "PET",
    "grid": {"shape": [24, 20, 16], "voxel_mm": [1.0, 1.0, 1.5]},
    "subject": {"weight_kg": 0.02, "sex": "F", "species": "mouse"},
    "agent": {"record": "upsn", "label": "Y-86", "name": "86Y-test"},
    "administration": {"activity_bq": 5.0e6, "at": "2026-01-05T22:00:00"},
    "axis": {"kind": "time", "values": [6.0], "truth_at": 6.0},
    "order": "listed",
    "regions": [
        {
            "name": "box",
            "shape": {"kind": "box", "centre_mm": [0, 0, 0], "size_mm": [20, 16, 20]},
            "truth": {"quantity": "id_per_g", "value": 1.0, "unit": "%/g"},
        },
        {
            "name": "sphere",
            "shape": {"kind": "sphere", "centre_mm": [0.3, 0.2, 0.4], "diameter_mm": 9.0},
            "truth": {"quantity": "id_per_g", "value": 12.0, "unit": "%/g"},
        },
    ],
    "physics": {
        "levels": [0, 1, 2],
        "frame_duration_s": [600],
        "psf_fwhm_mm": 2.0,
        "sensitivity": 0.05,
    },
    "seed": 7,
    "outputs": ["dicom"],
    "provenance": {
        "regions.box.truth": {"status": "computed", "source": "chosen"},
        "regions.sphere.truth": {"status": "computed", "source": "chosen"},
    },
}


@pytest.fixture
def small() -> dict[str, Any]:
    """A one-sphere phantom as a mapping that the test may change."""
    return copy.deepcopy(SMALL)


@pytest.fixture
def dynamic(small) -> dict[str, Any]:
    """The same with three frames of different length in one dynamic series, and changing uptake."""
    small["slug"] = "small-dynamic"
    small["axis"] = {"kind": "time", "values": [0.5, 1.0, 2.0], "truth_at": 1.0, "layout": "dynamic"}
    small["physics"]["frame_duration_s"] = [300, 600, 1200]
    small["regions"][1]["truth"]["kinetics"] = {"uptake_half_time_h": 1.0, "clearance_half_life_h": 12.0}
    return small


@pytest.fixture
def digests():
    """``digests(phantom, level)``: of voxels and labels of seed 3, here and with another number of threads.

    A phantom is a slug or the path of a file.
    """

    def both(phantom, level: int) -> tuple[str, str]:
        n = "1" if numba.config.NUMBA_NUM_THREADS > 1 else "2"
        elsewhere = subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS, str(phantom), str(level)],
            env={**os.environ, "NUMBA_NUM_THREADS": n, "OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        made = make(phantom, level, rng=3)
        here = hashlib.sha256(b"".join(one.data.tobytes("F") for one in made.volumes))
        here.update(made.regions.labels.tobytes())
        return here.hexdigest(), elsewhere

    return both
