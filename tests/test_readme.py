"""The examples of README.md that are about MRI run as they are printed, on small scans with their names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pydicom
import pytest

import imgtheranostics as it
from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.cli.main import main
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Volume

README = Path(__file__).resolve().parent.parent / "README.md"
SHAPE = (16, 14, 4)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
ANGLES = np.array([2.0, 5.0, 10.0, 15.0, 20.0])
ECHOES = np.array([0.002, 0.005, 0.008, 0.011, 0.014, 0.017])
TIMES = np.arange(40.0) * 5.0
INVERSIONS = np.array([0.05, 0.2, 0.5, 1.0, 2.5])
T1_S, GD_MM, FE_MM = 1.2, 0.1, 0.5
R1_AGUIX, R2STAR_FERUMOXYTOL = 8.9, 55.7
"""At 3 T: review; published (plasma)."""


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    return [block for block in found if "mri" in block]


def commands() -> list[str]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("imgtheranostics mri ")]


def spgr(r1_per_s, angle_deg, tr_s):
    angle, e1 = np.radians(angle_deg), np.exp(-tr_s * np.asarray(r1_per_s))
    return 1000.0 * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))


def scan(curve, axis, unit="s", quantity="signal", seed=1, **record):
    """A curve in a disc of tissue, and noise around it; cold water in a corner."""
    rng = np.random.default_rng(seed)
    name, values = axis
    data = np.zeros((*SHAPE, len(values)))
    data[3:13, 3:11] = curve
    if quantity == "signal":
        data = np.hypot(data + rng.normal(0, 0.05, data.shape), rng.normal(0, 0.05, data.shape))
    about = MrAcquisition(field_strength_t=3.0, **{"repetition_time_s": 0.005, **record})
    si = "rad" if quantity == "phase" else "[arb'U]"
    return Volume(data, AFFINE, quantity, si, (Axis(name, np.asarray(values), unit),), about)


def mask(place):
    data = np.zeros(SHAPE, np.int16)
    data[place] = 1
    return data


def in_one_session(folder):
    """The series of a folder as a scanner writes them: one frame of reference."""
    files = sorted(folder.rglob("*.dcm"))
    shared = pydicom.dcmread(files[0]).FrameOfReferenceUID
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.FrameOfReferenceUID = shared
        dataset.save_as(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scans with the names of the README: T1 1.2 s, 0.1 mM Gd as AGuIX, 0.5 mM Fe as ferumoxytol."""
    place = tmp_path_factory.mktemp("readme")
    before, after = 1 / T1_S, 1 / T1_S + R1_AGUIX * GD_MM
    vfa = {"VFA_FOLDER": before, "VFA_PRE": before, "VFA_POST": after}
    for name, r1 in vfa.items():
        it.save(scan(spgr(r1, ANGLES, 0.005), ("flip_angle", ANGLES), "deg"), place / name)
    for n, inversion in enumerate(INVERSIONS):
        one = scan(
            [abs(900 * (1 - 2 * np.exp(-inversion / T1_S)))], ("time", [0.0]),
            repetition_time_s=20.0, inversion_time_s=float(inversion), seed=n,
        ).frame(0)  # fmt: skip
        it.save(one, place / "IR_FOLDER" / str(n))
    in_one_session(place / "IR_FOLDER")
    for name, r2star in {
        "GRE_FOLDER": 40.0, "GRE_PRE": 40.0, "GRE_POST": 40.0 + R2STAR_FERUMOXYTOL * FE_MM
    }.items():  # fmt: skip
        echoes = scan(
            900 * np.exp(-ECHOES * r2star), ("echo_time", ECHOES), scanning_sequence=("GR",),
            repetition_time_s=0.05, flip_angle_deg=20.0,
        )  # fmt: skip
        it.save(echoes, place / name)
    gd = np.where(TIMES < 25, 0.0, 0.3 * (1 - np.exp(-(TIMES - 25) / 40)))
    dynamic = spgr(1 / 1.4 + 4.97 * gd, 15.0, 0.005)
    it.save(scan(dynamic, ("time", TIMES), flip_angle_deg=15.0, echo_time_s=0.002), place / "DYNAMIC")
    heating = scan(
        -np.linspace(0, 0.5, 10), ("time", np.arange(10) * 10.0), quantity="phase", echo_time_s=0.01,
        image_component="phase",
    )  # fmt: skip
    (place / "PHASE").mkdir()
    it.save(heating, place / "PHASE" / "phase.nii.gz")
    field = Volume(np.ones(SHAPE), AFFINE, "relative_b1", "1")
    it.save(field, place / "sub-01_TB1map.nii.gz")
    it.save(Volume(np.full(SHAPE, 1.4), AFFINE, "t1", "s"), place / "t1.nii.gz")
    grid = field.grid
    it.save_rois(Regions.from_masks({"lesion": mask(np.s_[4:12, 4:10]) > 0}, grid), place / "regions.nii.gz")
    it.save_rois(Regions.from_masks({"cold": mask(np.s_[:3, :3]) > 0}, grid), place / "cold.nii.gz")
    return place


def test_there_are_examples():
    verbs = {line.split()[2] for line in commands()}
    assert verbs == {"t1", "t2star", "concentration", "dce", "temperature"}
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("line", commands())
def test_a_printed_command_runs(line, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = shlex.split(line, comments=True)[1:]
    if "-o" in words:
        words[words.index("-o") + 1] = str(tmp_path / "out")
    code = main([*words, "--workers", "1"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "±SE" in printed.out
    if "-o" in words:
        assert (tmp_path / "out" / "report.html").is_file()


def test_the_printed_python_runs_and_gives_the_amounts(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (block,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own file
    gd, t1 = names["gd"].value.data[4:12, 4:10], names["t1"].value.data[4:12, 4:10]
    assert np.nanmedian(gd) == pytest.approx(GD_MM, rel=0.02)
    assert np.nanmedian(t1) == pytest.approx(1 / (1 / T1_S + R1_AGUIX * GD_MM), rel=0.01)
    assert names["ktrans"].value.unit == "1/min"


def test_iron_of_the_printed_command_is_that_of_the_scans(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    line = next(one for one in commands() if "ferumoxytol" in one)
    words = [*shlex.split(line, comments=True)[1:], "--rois", "regions.nii.gz", "--json", "-q"]
    assert main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)["quantities"]
    assert row["quantity"] == "fe_concentration"
    assert row["mean"] == pytest.approx(FE_MM, rel=0.02)
