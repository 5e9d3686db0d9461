"""A small study on disk: mice with one or two PET scans, drawn regions, and what was injected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

import imgtheranostics as it
from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.regions import Regions
from imgtheranostics.report.tables import as_tsv
from imgtheranostics.study.declared import outcomes_of, write_declared
from imgtheranostics.study.execution import SubjectStatus
from imgtheranostics.study.jobs import SubjectJobs
from imgtheranostics.study.manifest import Study
from imgtheranostics.study.results import COLUMNS, write_status, write_tables
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


@pytest.fixture
def make_results(tmp_path: Path) -> Callable[..., Path]:
    """Factory of folders as ``study run`` leaves them, from rows of values: no image is read or computed.

    Rows are (subject, session, region, value); further keys of the manifest are given as text.
    """

    def make(
        rows: Iterable[tuple[str, str, str, float]],
        *,
        groups: Mapping[str, str] | None = None,
        covariates: Mapping[str, Mapping[str, float]] | None = None,
        factors: Mapping[str, Mapping[str, str]] | None = None,
        outcomes: str = "",
        questions: str = "[]",
        top: Mapping[str, object] | None = None,
        units: Mapping[str, str] | None = None,
        failed: Mapping[str, str] | None = None,
        name: str = "out",
    ) -> Path:
        rows = list(rows)
        labels = list(dict.fromkeys([row[0] for row in rows] + list(failed or {})))
        sessions = sorted({row[1] for row in rows})
        days = {label: datetime(2026, 3, 1, 9) + timedelta(days=n) for n, label in enumerate(sessions)}
        study = Study.model_validate(
            {
                "study": "made results",
                "subjects": [
                    {
                        "id": label,
                        **({"group": groups[label]} if groups and label in groups else {}),
                        "covariates": dict((covariates or {}).get(label, {})),
                        "factors": dict((factors or {}).get(label, {})),
                        "sessions": [
                            {"id": session, "date": day, "scans": {"pet": "pet.nii.gz"}}
                            for session, day in days.items()
                        ],
                    }
                    for label in labels
                ],
                "analyses": [{"name": "uptake", "command": "nuclear uptake", "scans": ["pet"]}],
                "outcomes": "outcomes.tsv" if outcomes else None,
                "questions": yaml.safe_load(questions),
                **(top or {}),
            }
        )
        source = tmp_path / f"{name}-in"
        source.mkdir()
        (source / "outcomes.tsv").write_text(outcomes)
        output = tmp_path / name
        output.mkdir()
        write_declared(output, study, outcomes_of(study, source / "study.yaml"))
        planned = [SubjectJobs(label, ()) for label in labels]
        ended = {
            label: SubjectStatus(label, error={"type": "CorruptInput", "what": failed[label]})
            if failed and label in failed
            else SubjectStatus(label)
            for label in labels
        }
        write_tables(output, study, {})
        table = [
            dict.fromkeys(COLUMNS)
            | {
                "subject": subject,
                "session": session,
                "analysis": "uptake",
                "region": region,
                "quantity": "id_per_g",
                "unit": (units or {}).get(subject, "%/g"),
                "mean": value,
            }
            for subject, session, region, value in rows
        ]
        (output / "quantities.tsv").write_text(as_tsv(table, COLUMNS))
        write_status(output, study.study, planned, ended)
        return output

    return make
