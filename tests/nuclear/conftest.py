"""Emission series made of header values, as the loaders would make them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.volume import Axis, Volume

SERIES = datetime(2025, 1, 1, 11)
INJECTED = SERIES - timedelta(hours=1)
F18_S = 6586.2


def _moments(*starts, shape=None):
    """(n_slices, n_frames) datetime64 from datetimes in slice-major order."""
    array = np.array(starts, "datetime64[us]")
    return array.reshape(shape or (1, -1))


def _record(**changes):
    """A clean BQML / START series of 18F: 368.08 MBq at 10:00, scan at 11:00 for 5 min, 70 kg.

    The values are those of the published SUV digital reference objects (IBSI, CC BY 4.0).
    """
    drug = {
        "nuclide": "F-18",
        "half_life_s": F18_S,
        "total_dose": 368.08e6,
        "start_datetime": INJECTED,
    }
    subject = {"weight_kg": 70.0, "height_m": 1.75, "sex": "O"}
    drug |= {
        name: changes.pop(name) for name in tuple(changes) if name in Radiopharmaceutical.__annotations__
    }
    subject |= {name: changes.pop(name) for name in tuple(changes) if name in Subject.__annotations__}
    plain = EmissionAcquisition(
        units="BQML",
        decay_correction="START",
        corrections=("NORM", "DTIM", "ATTN", "SCAT", "DECY", "RAN"),
        series_type=("STATIC", "IMAGE"),
        series_datetime=SERIES,
        acquisition_datetime=_moments(SERIES),
        frame_reference_time_s=np.array([[150.0]]),
        frame_duration_s=np.array([[300.0]]),
        decay_factor=np.array([[1.0]]),
        radiopharmaceutical=Radiopharmaceutical(**drug),
        subject=Subject(**subject),
        n_images=4,
    )
    return replace(plain, **changes)


def _series(
    acquisition=None, data=None, *, spacing=4.0, quantity="activity_concentration", unit="Bq/mL", **changes
):
    """A Volume of that series; 200 mm of field of view unless the spacing says otherwise."""
    if data is None:
        data = np.full((64, 64, 4), 1000.0)
    axes = ()
    if np.ndim(data) == 4:
        n = np.shape(data)[3]
        duration = np.broadcast_to(
            changes.get("frame_duration_s", 300.0) if acquisition is None else acquisition.frame_duration_s,
            (np.size(data, 2), n),
        )[0]
        begin = np.concatenate([[0.0], np.cumsum(duration)[:-1]])
        axes = (Axis("time", begin + duration / 2, "s"),)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    return Volume(data, affine, quantity, unit, axes, acquisition=acquisition or _record(**changes))


@pytest.fixture(scope="session")
def record():
    """Factory of header records; see `_record`."""
    return _record


@pytest.fixture(scope="session")
def series():
    """Factory of Volumes; see `_series`."""
    return _series


@pytest.fixture(scope="session")
def moments():
    """Factory of acquisition times; see `_moments`."""
    return _moments


@pytest.fixture(scope="session")
def scan_at():
    """Series time of the default record."""
    return SERIES
