"""A small study on disk: mice with one or two PET scans, drawn regions, and what was injected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Volume

INJECTED = datetime(2026, 3, 1, 8)
HALF_LIFE_S = 6586.2
SHAPE = (12, 12, 8)
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])


def _scan(tumour: float, hours: float, seed: int) -> Volume:
    """18F at `hours`, decay corrected to the start of the scan; the tumour has its level in Bq/mL."""
    begin = INJECTED + timedelta(hours=hours)
    rng = np.random.default_rng(seed)
    data = 1000.0 + 30.0 * rng.standard_normal(SHAPE)
    data[4:8, 4:8, 2:6] += tumour
    record = EmissionAcquisition(
        units="BQML",
        decay_correction="START",
        corrections=("DECY", "ATTN", "SCAT"),
        series_type=("STATIC", "IMAGE"),
        series_datetime=begin,
        acquisition_datetime=np.array([[begin]], "datetime64[us]"),
        frame_reference_time_s=np.array([[0.0]]),
        frame_duration_s=np.array([[600.0]]),
        decay_factor=np.array([[1.0]]),
        radiopharmaceutical=Radiopharmaceutical(
            nuclide="F-18", half_life_s=HALF_LIFE_S, total_dose=8e6, start_datetime=INJECTED
        ),
        subject=Subject(weight_kg=0.021, sex="F"),
        n_images=SHAPE[2],
    )
    return Volume(data.astype(np.float32), AFFINE, "activity_concentration", "Bq/mL", acquisition=record)


@pytest.fixture(scope="session")
def make_study() -> Callable[..., Path]:
    """Factory of studies: a folder with `n` mice of one session each, and its manifest."""

    def make(folder: Path, n: int = 3, *, report: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        mask = np.zeros(SHAPE, bool)
        mask[4:8, 4:8, 2:6] = True
        grid = _scan(0.0, 1.0, 0).grid
        regions = Regions.from_masks({"tumour": mask, "muscle": np.roll(mask, 4, axis=0) & ~mask}, grid)
        it.save_rois(regions, folder / "rois.nii.gz", force=True)
        lines = ["study: small mice", "subjects:"]
        for number in range(n):
            name = f"m{number:02d}"
            it.save(_scan(5000.0 + 500.0 * number, 1.0, number), folder / f"{name}.nii.gz", force=True)
            lines += [
                f"  - id: {name}",
                f"    group: {'treated' if number % 2 else 'control'}",
                "    weight: 21 g",
                f"    covariates: {{dose_mg: {0.1 * (number + 1):.1f}}}",
                "    sessions:",
                "      - id: d1",
                "        date: 2026-03-01T09:00",
                f"        scans: {{pet: {name}.nii.gz}}",
                "        regions: rois.nii.gz",
            ]
        lines += [
            "analyses:",
            "  - name: uptake",
            "    command: nuclear uptake",
            "    scans: [pet]",
            "    options: {quantity: [id_per_g]}",
        ]
        manifest = folder / "study.yaml"
        manifest.write_text("\n".join(lines) + "\n")
        return manifest

    return make
