"""The examples of README.md about ultrasound run as they are printed, on simulated cines with their names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest

from imgtheranostics.cli.main import main

README = Path(__file__).resolve().parent.parent / "README.md"
SHAPE = (40, 30, 1)
AFFINE = np.diag([-0.25, -0.25, 2.5, 1.0])
DYNAMIC_RANGE_DB = 60.0
TISSUE_DB = 25.0
GAIN = 8.0
"""Peak of the bolus over the echo of tissue: 10 log10(1 + 8) = 9.54 dB."""

M, S, ARRIVAL_S = 1.2, 0.4, 3.0
"""Lognormal bolus: its peak is exp(m - s^2) = 2.83 s after arrival."""

T50_CEL, WIDTH_CEL = 31.0, 4.0


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [block for block in found if " ultrasound " in block or "it.ultrasound." in block]


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if " ultrasound " in line]


def labels() -> np.ndarray:
    image = np.zeros(SHAPE, np.int16)
    image[4:20, 5:25] = 1
    image[24:37, 5:25] = 2
    return image


def write(
    folder: Path, course: np.ndarray, frame_s: float, seed: int, shift: np.ndarray | None = None
) -> None:
    """A cine of speckle whose power in the tumour follows a course; tissue keeps its own."""
    rng = np.random.default_rng(seed)
    still = rng.exponential(1.0, SHAPE)
    where = labels() == 1
    frames = []
    for n, factor in enumerate(course):
        power = np.where(where, factor * rng.exponential(1.0, SHAPE), still) + 0.02
        if shift is not None:
            power = np.roll(power, int(shift[n]), axis=1)
        level = TISSUE_DB + 10.0 * np.log10(power)
        frames.append(np.clip(np.round(level / DYNAMIC_RANGE_DB * 255.0), 0, 255))
    folder.mkdir()
    image = nibabel.Nifti1Image(np.stack(frames, axis=-1).astype(np.uint8), AFFINE)
    nibabel.save(image, folder / "cine.nii.gz")
    times = [round(frame_s * n, 6) for n in range(course.size)]
    content = {"Modality": "US", "FrameTimes": times, "GreyMax": 255, "Units": "grey"}
    (folder / "cine.json").write_text(json.dumps(content))


def bolus(time_s: np.ndarray) -> np.ndarray:
    x = np.maximum(time_s - ARRIVAL_S, 1e-9)
    shape = np.exp(-((np.log(x) - M) ** 2) / (2 * S**2)) / x
    peak = np.exp(M - S**2)
    return 1.0 + GAIN * shape / (np.exp(-((np.log(peak) - M) ** 2) / (2 * S**2)) / peak)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("readme-ultrasound")
    time = 0.1 * np.arange(150)
    write(place / "BOLUS_CINE", bolus(time), 0.1, 1)
    breathing = np.round(1.5 * np.sin(np.arange(24)))
    write(place / "BREATHING_CINE", np.where(np.arange(24) < 12, 1.0, 4.0), 0.1, 2, breathing)
    write(place / "TARGETED_CINE", np.where(np.arange(40) < 20, 3.0, 1.0), 0.1, 3)
    temperature = 22.0 + 0.5 * np.arange(40)
    share = 1.0 / (1.0 + np.exp(-2.0 * np.log(9.0) * (temperature - T50_CEL) / WIDTH_CEL))
    write(place / "HEATED_CINE", 1.0 + 5.0 * share, 1.0, 4)
    (place / "bath.csv").write_text("temperature_cel\n" + "".join(f"{t}\n" for t in temperature))
    for name, power in (("NEUTRAL_CINE", 1.0), ("ACID_CINE", 2.25)):
        write(place / name, np.full(12, power), 0.1, 6)
    after = np.maximum(time[:80] - 1.0, 0.0)
    write(
        place / "REFILL_CINE", np.where(time[:80] < 1.0, 6.0, 1.0 + 5.0 * (1 - np.exp(-0.8 * after))), 0.1, 5
    )
    nibabel.save(nibabel.Nifti1Image(labels(), AFFINE), place / "regions.nii.gz")
    (place / "regions.tsv").write_text("index\tname\n1\ttumour\n2\tmuscle\n")
    return place


def run(line: str, capsys) -> list[dict]:
    """Rows of a printed command, with what it writes left out."""
    words = shlex.split(line, comments=True)[1:]
    if "-o" in words:
        del words[words.index("-o") : words.index("-o") + 2]
    assert main([*words, "--workers", "1", "--json", "-q"]) == 0
    return json.loads(capsys.readouterr().out)["quantities"]


def value(rows: list[dict], region: str, quantity: str) -> tuple[float, float]:
    (row,) = [
        row for row in rows if row["region"] == region and row["quantity"] == quantity and not row["axis"]
    ]
    return row["mean"], row["standard_error"]


def test_every_command_has_an_example():
    assert {line.split()[2] for line in commands()} == {"enhancement", "curves"}
    assert len(blocks("python")) == 1


def test_the_printed_commands_with_output_run(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for line in commands():
        words = shlex.split(line, comments=True)[1:]
        if "-o" in words:
            code = main([*words, "--workers", "1"])
            printed = capsys.readouterr()
            assert code == 0, printed.err
            assert "±SE" in printed.out
    assert (folder / "echo" / "report.html").is_file()
    assert (folder / "curves" / "echo_peak_enhancement_se.nii.gz").is_file()


def test_the_bolus_is_that_which_was_simulated(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    enhanced, fitted = (
        next(line for line in commands() if f" {verb} BOLUS_CINE" in line)
        for verb in ("enhancement", "curves")
    )
    rows = run(enhanced, capsys)
    along = [
        row["mean"]
        for row in rows
        if row["region"] == "tumour" and row["quantity"] == "relative_echo_enhancement" and row["axis"]
    ]
    assert len(along) == 150
    # 320 pixels of independent speckle: 0.24 dB of noise in each frame
    assert max(along) == pytest.approx(10.0 * np.log10(1.0 + GAIN), abs=1.0)
    found, error = value(run(fitted, capsys), "tumour", "time_to_peak")
    assert found == pytest.approx(np.exp(M - S**2), abs=3.0 * error)
    assert error < 0.2


def test_motion_is_taken_out(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    rows = run(next(line for line in commands() if "--motion rigid" in line), capsys)
    # 12 frames before and after a step of 4: the borders mix a little
    found, _ = value(rows, "tumour", "echo_gain")
    assert found == pytest.approx(4.0, rel=0.15)


def test_the_pulse_takes_away_what_was_bound(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    rows = run(next(line for line in commands() if "--burst-time find" in line), capsys)
    found, error = value(rows, "tumour", "targeted_enhancement")
    # two thirds of the first half's power, that of 25 dB times 3: 632
    assert found == pytest.approx(2.0 * 10.0 ** (TISSUE_DB / 10.0), abs=4.0 * error)
    assert error < 0.1 * found


def test_droplets_boil_where_they_were_made_to(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    rows = run(next(line for line in commands() if "--temperatures" in line), capsys)
    found, error = value(rows, "tumour", "activation_temperature")
    assert found == pytest.approx(T50_CEL, abs=3.0 * error)
    assert error < 0.3
    superheat, _ = value(rows, "tumour", "superheat")
    assert superheat == pytest.approx(found - 29.0)
    assert value(rows, "muscle", "activation_temperature") == (None, None)


def test_gas_raises_the_echo_by_what_was_made(folder, monkeypatch, capsys):
    """2.25 times, as of the review's MnO2; the same random numbers in both, so that only rounding is left."""
    monkeypatch.chdir(folder)
    rows = run(next(line for line in commands() if "--before" in line), capsys)
    assert value(rows, "tumour", "echo_gain")[0] == pytest.approx(2.25, rel=0.02)
    assert value(rows, "muscle", "echo_gain")[0] == pytest.approx(1.0)


def test_tissue_refills_at_its_rate(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    rows = run(next(line for line in commands() if "replenishment" in line), capsys)
    found, error = value(rows, "tumour", "replenishment_rate")
    assert found == pytest.approx(0.8, abs=3.0 * error)
    assert error < 0.1


def test_the_printed_python_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (block,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own file
    assert set(names["echo"]["quantity"]) >= {"echo_enhancement", "relative_echo_enhancement"}
    assert names["peak"].unit == "dB"
    assert names["bolus"].table is not None
    assert names["power"].quantity == "echo_intensity"
