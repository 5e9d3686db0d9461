"""The study of README.md runs as printed, on mice that are made for it."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

import imgtheranostics as it
from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.cli.main import main
from imgtheranostics.regions import Regions
from imgtheranostics.study.manifest_files import read_manifest
from imgtheranostics.volume import Volume

README = Path(__file__).resolve().parent.parent / "README.md"
INJECTED = datetime(2026, 3, 1, 8, 30)
SHAPE = (14, 12, 8)
LEVELS = {"control": (6.0, 7.0, 6.5), "treated": (12.0, 13.0, 11.5)}
"""%ID/g in tumours; 8.1 MBq injected, 1 g/mL."""


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [block for block in found if "study" in block]


def scan(percent: float) -> Volume:
    begin = INJECTED + timedelta(hours=1)
    decayed = 8.1e6 / 100 * 2 ** (-3600 / 6586.2)
    data = np.full(SHAPE, 0.5 * decayed)
    data[4:8, 4:8, 2:6] = percent * decayed
    record = EmissionAcquisition(
        units="BQML",
        decay_correction="START",
        corrections=("DECY", "ATTN", "SCAT"),
        series_type=("STATIC", "IMAGE"),
        series_datetime=begin,
        acquisition_datetime=np.array([[begin]], "datetime64[us]"),
        frame_reference_time_s=np.array([[0.0]]),
        frame_duration_s=np.array([[300.0]]),
        decay_factor=np.array([[1.0]]),
        radiopharmaceutical=Radiopharmaceutical(nuclide="F-18", half_life_s=6586.2, start_datetime=INJECTED),
        subject=Subject(weight_kg=0.021),
        n_images=SHAPE[2],
    )
    data = data.astype(np.float32)
    return Volume(data, np.eye(4), "activity_concentration", "Bq/mL", acquisition=record)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The printed manifest with all of its mice, and their scans."""
    [text] = blocks("yaml")
    content = yaml.safe_load(text)
    [printed] = content["subjects"]
    content["subjects"] = []
    tumour = np.zeros(SHAPE, bool)
    tumour[4:8, 4:8, 2:6] = True
    number = 0
    for group, levels in LEVELS.items():
        for level in levels:
            number += 1
            name = f"m{number:02d}"
            here = tmp_path / name
            here.mkdir()
            it.save(scan(level), here / "pet.nii.gz")
            it.save_rois(Regions.from_masks({"tumour": tumour}, scan(level).grid), here / "regions.nii.gz")
            subject = yaml.safe_load(yaml.safe_dump(printed).replace("m01", name))
            content["subjects"].append({**subject, "id": name, "group": group})
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path


def test_the_printed_commands_answer_the_question(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    [block] = blocks("bash")
    lines = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    assert [line[1] for line in lines] == ["init", "run", "status", "report"]
    for line in lines[1:]:
        assert main(line) == 0
    told = capsys.readouterr().out
    assert "6 done" in told
    answers = (folder / "results" / "answers.tsv").read_text()
    assert "tumour-by-group" in answers
    row = dict(zip(*(text.split("\t") for text in answers.splitlines()[:2]), strict=True))
    # a ratio of geometric means: the question compares logarithms
    expected = np.exp(np.log(LEVELS["treated"]).mean() - np.log(LEVELS["control"]).mean())
    assert float(row["estimate"]) == pytest.approx(expected, rel=2e-3)


def test_the_printed_proposal_finds_every_mouse(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "study.yaml").unlink()
    scans = folder / "SCANS"
    scans.mkdir()
    for mouse in sorted(folder.glob("m0*")):
        mouse.rename(scans / mouse.name)
    monkeypatch.chdir(folder)
    [block] = blocks("bash")
    line = shlex.split(block.splitlines()[0], comments=True)[1:]
    assert main(line) == 0
    text = (folder / "study.yaml").read_text()
    assert [entry["id"] for entry in yaml.safe_load(text)["subjects"]] == [f"m{n:02d}" for n in range(1, 7)]
    assert text.count("pet.nii.gz") == 6


def test_the_printed_manifest_is_valid(folder: Path) -> None:
    study = read_manifest(folder / "study.yaml")
    assert study.n_scans == 6
