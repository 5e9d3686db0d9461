"""Small phantoms as plain data, so that a test can change one thing."""

from __future__ import annotations

import copy
from typing import Any

import pytest

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
