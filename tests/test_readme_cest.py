"""The examples of README.md about CEST run as they are printed, on simulated scans with their names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest

from imgtheranostics.cest.bloch_mcconnell import ExchangePool, PoolSystem, PulseTrain, WaterPool, simulate
from imgtheranostics.cli.main import main

README = Path(__file__).resolve().parent.parent / "README.md"
SHAPE = (8, 6, 2)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
OFFSETS = np.linspace(-12.0, 12.0, 97)
KEX, CONCENTRATION_MM = 1000.0, 5.0
PH = {"low": 6.5, "mid": 6.8, "high": 7.1, "highest": 7.4}


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [block for block in found if "cest" in block]


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if " cest " in line]


def olsalazine(concentration_mm: float) -> PoolSystem:
    """Two hydroxyl protons per molecule at 9.8 ppm, 111 mol/L of water protons (cest.md, F16)."""
    pool = ExchangePool("hydroxyl", 2 * concentration_mm / 111e3, 1.0, 0.02, KEX, 9.8)
    exchange = (pool,) if concentration_mm else ()
    return PoolSystem(WaterPool(2.0, 0.045), exchange, None, 11.7)


def write(path: Path, z, b1_ut: float) -> None:
    signal = 800.0 * np.concatenate(
        [np.ones((*SHAPE, 1)), np.broadcast_to(z, (*SHAPE, OFFSETS.size))], axis=-1
    )
    nibabel.save(nibabel.Nifti1Image(signal.astype(np.float32), AFFINE), path)
    content = {
        "SaturationOffsets": [-300.0, *OFFSETS],
        "SaturationOffsetUnit": "ppm",
        "SaturationB1cwpe": b1_ut,
        "SaturationDuration": 3.0,
        "SaturationPulseShape": "block",
        "SaturationPulseDuration": 3.0,
        "SaturationPulseCount": 1,
        "MagneticFieldStrength": 11.7,
    }
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(content))


def two_amides(acidity: float):
    """Lines at both sites of iopamidol whose ratio rises with pH."""
    lines = [(0.85, 1.2, 0.0)]
    lines += [(0.04 * np.exp(sign * 0.5 * (acidity - 6.5)), 0.6, at) for sign, at in ((1, 4.2), (-1, 5.5))]
    return 1 - sum(a * (w / 2) ** 2 / ((w / 2) ** 2 + (OFFSETS - c) ** 2) for a, w, c in lines)


def labels(folder: Path, name: str, regions: list[str]) -> None:
    image = np.repeat(np.arange(1, len(regions) + 1), SHAPE[0] // len(regions))[:, None, None] * np.ones(
        SHAPE
    )
    nibabel.save(nibabel.Nifti1Image(image.astype(np.int16), AFFINE), folder / f"{name}.nii.gz")
    rows = "".join(f"{n}\t{region}\n" for n, region in enumerate(regions, 1))
    (folder / f"{name}.tsv").write_text(f"index\tname\n{rows}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("readme-cest")
    strong = PulseTrain(OFFSETS, [3.6], 3.0)
    before, muscle, tumour = simulate([olsalazine(amount) for amount in (0.0, 1.0, 6.87)], strong)
    after = np.where((np.arange(SHAPE[0]) < SHAPE[0] // 2)[:, None, None, None], muscle, tumour)
    write(place / "PRE_cest.nii.gz", before, 3.6)
    write(place / "POST_cest.nii.gz", after, 3.6)
    labels(place, "regions", ["muscle", "tumour"])
    for name, b1 in {"LOW": 1.2, "MID": 2.4, "HIGH": 3.6}.items():
        z = simulate(olsalazine(CONCENTRATION_MM), PulseTrain(OFFSETS, [b1], 3.0))
        write(place / f"{name}_cest.nii.gz", z, b1)
    nibabel.save(nibabel.Nifti1Image(np.full(SHAPE, 0.9, np.float32), AFFINE), place / "b1map.nii.gz")
    vials = np.stack([two_amides(acidity) for acidity in PH.values()])
    vials = np.repeat(vials, SHAPE[0] // len(PH), axis=0)[:, None, None, :]
    write(place / "VIALS_cest.nii.gz", vials, 3.0)
    write(place / "KIDNEYS_cest.nii.gz", two_amides(7.0), 3.0)
    labels(place, "vials", list(PH))
    (place / "known.csv").write_text("region,ph\n" + "".join(f"{name},{at}\n" for name, at in PH.items()))
    (place / "pools.yaml").write_text(
        "water_pool: {f: 1, t1: 2.0, t2: 0.045}\n"
        "cest_pool:\n  hydroxyl: {f: 9.009e-5, t1: 1.0, t2: 0.02, k: 1000, dw: 9.8}\n"
        "b0: 11.7\n"
    )
    return place


def test_every_command_has_an_example():
    assert {line.split()[2] for line in commands()} == {"contrast", "pools", "ph", "exchange", "simulate"}
    assert len(blocks("python")) == 1


def test_the_printed_commands_run_one_after_another(folder, tmp_path, monkeypatch, capsys):
    """In the order of the page: the calibration of one is read by the next."""
    monkeypatch.chdir(folder)
    for line in commands():
        words = shlex.split(line, comments=True)[1:]
        if "-o" in words:
            words[words.index("-o") + 1] = str(tmp_path / "out")
        code = main([*words, "--workers", "1"])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        assert "±SE" in printed.out
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_printed_fold_is_that_of_the_simulation(folder, monkeypatch, capsys):
    """A 6.5-fold signal needs a 6.87-fold concentration (systems.md, 3.5)."""
    monkeypatch.chdir(folder)
    line = next(one for one in commands() if "--fold-over" in one)
    words = shlex.split(line, comments=True)[1:]
    place = words.index("-o")
    del words[place : place + 2]
    assert main([*words, "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)["quantities"]
    fold = next(row for row in rows if row["quantity"] == "contrast_fold")
    assert fold["region"] == "tumour"
    assert fold["mean"] == pytest.approx(6.50, rel=0.005)


def test_the_printed_python_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (block,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own file
    change = names["change"].value.data
    assert np.nanmean(change[4:]) / np.nanmean(change[:4]) == pytest.approx(6.50, rel=0.005)
    assert names["amide"].unit == "%"
    assert names["z"].shape == (2, 2)
