"""SPECT on the command line: dead time, energy windows and the free-label warning, with wrong values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from imgtheranostics.cli.calibration_options import window_choice
from imgtheranostics.cli.main import app
from imgtheranostics.nuclear.dead_time import observed_rate
from imgtheranostics.phantom import make, write
from imgtheranostics.phantom.reading import parse_spec

SPEC = {
    "slug": "small-spect",
    "title": "a sphere called stomach in a box called blood",
    "review_claim": "10",
    "modality": "SPECT",
    "grid": {"shape": [24, 20, 16], "voxel_mm": [1.0, 1.0, 1.5]},
    "subject": {"weight_kg": 0.02, "sex": "F", "species": "mouse"},
    "agent": {"record": "tc99m-plga", "label": "Tc-99m", "name": "test"},
    "administration": {"activity_bq": 20.0e6, "at": "2026-01-05T09:00:00"},
    "axis": {"kind": "time", "values": [1.0, 4.0], "truth_at": 1.0},
    "order": "listed",
    "regions": [
        {
            "name": "blood",
            "shape": {"kind": "box", "centre_mm": [0, 0, 0], "size_mm": [20, 16, 20]},
            "truth": {"quantity": "id_per_g", "value": 1.0, "unit": "%/g"},
        },
        {
            "name": "stomach",
            "shape": {"kind": "sphere", "centre_mm": [0.3, 0.2, 0.4], "diameter_mm": 9.0},
            "truth": {"quantity": "id_per_g", "value": 12.0, "unit": "%/g"},
        },
    ],
    "physics": {
        "levels": [0],
        "frame_duration_s": [1200],
        "sensitivity_cps_mbq": 847,
        "decay_correction": "NONE",
        "energy_windows_kev": [[126.0, 154.0]],
    },
    "seed": 7,
    "outputs": ["dicom"],
    "provenance": {"regions.*.truth": {"status": "computed", "source": "chosen"}},
}
CAMERA = ("--sensitivity-cps-mbq", 847)


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("spect") / "out"
    write(make(parse_spec(SPEC)), folder)
    return folder


@pytest.fixture(scope="module")
def two_windows(scans, tmp_path_factory) -> Path:
    """The scan at 1 h with a second window that holds half the counts."""
    (file,) = (scans / "dicom" / "t0001.00h").glob("*.dcm")
    ds = pydicom.dcmread(file)
    frames = ds.pixel_array
    limits = Dataset()
    limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = 154.0, 188.0
    second = Dataset()
    second.EnergyWindowRangeSequence = [limits]
    ds.EnergyWindowInformationSequence = [*ds.EnergyWindowInformationSequence, second]
    ds.NumberOfEnergyWindows = 2
    n = len(frames)
    ds.NumberOfFrames = 2 * n
    ds.FrameIncrementPointer = [0x00540010, 0x00540080]
    ds.EnergyWindowVector = [1] * n + [2] * n
    ds.SliceVector = [*range(1, n + 1)] * 2
    ds.PixelData = np.concatenate([frames, frames // 2]).astype("<u2").tobytes()
    folder = tmp_path_factory.mktemp("windows")
    ds.save_as(folder / "recon.dcm")
    return folder


def run(*words) -> tuple[int, dict, str]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    content = json.loads(result.stdout) if result.stdout.strip().startswith("{") else {}
    return result.exit_code, content, result.stderr


def fails(capfd, monkeypatch, *words) -> tuple[int, str]:
    from imgtheranostics.cli.main import run as main

    monkeypatch.setattr("sys.argv", ["imgtheranostics", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0), capfd.readouterr().err


def uptake(scans, *words):
    return ["nuclear", "uptake", scans / "dicom" / "t0001.00h", "--rois", scans / "regions.nii.gz", *words]


def mean(content, region):
    rows = content["quantities"]
    return next(row["mean"] for row in rows if row["region"] == region and row["quantity"] == "id_per_g")


@pytest.mark.parametrize("model", [None, "non-paralysable", "paralysable"])
def test_dead_time_restores_the_counts(scans, model):
    """The total of the image is the observed rate; forward through the model it must come back."""
    _, plain, _ = run(*uptake(scans, *CAMERA))
    words = [] if model is None else ["--dead-time-model", model]
    code, content, _ = run(*uptake(scans, *CAMERA, "--dead-time", "30us", *words))
    assert code == 0
    factor = mean(content, "stomach") / mean(plain, "stomach")
    import imgtheranostics as it

    total = it.load(scans / "dicom" / "t0001.00h").data.sum(dtype=np.float64) / 1200
    back = observed_rate(total * factor, tau_s=30e-6, model=(model or "non-paralysable"))
    assert factor > 1.02
    assert float(back) == pytest.approx(total, rel=1e-5)


def test_its_error_and_a_measured_rate_count(scans):
    """1e4 /s seen by the camera and 20 us: 1 / 0.8; an error of 4 us leaves 4e-6 x 12,500 = 5 %."""
    exact = [*CAMERA, "--sensitivity-uncertainty", 0, "--dose-uncertainty", 0]
    _, plain, _ = run(*uptake(scans, *exact))
    words = [*exact, "--dead-time", "20us", "--dead-time-uncertainty", "4us", "--count-rate-cps", 1e4]
    code, content, _ = run(*uptake(scans, *words))
    assert code == 0
    assert mean(content, "stomach") / mean(plain, "stomach") == pytest.approx(1.25, rel=1e-5)
    rows = [r for r in content["quantities"] if r["quantity"] == "id_per_g" and r["region"] == "stomach"]
    assert rows[0]["standard_error"] / rows[0]["mean"] == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--dead-time", "5"], "--dead-time"),
        (["--dead-time", "5MBq"], "--dead-time"),
        (["--dead-time", "5us", "--dead-time-model", "other"], "--dead-time-model"),
        (["--dead-time", "5us", "--dead-time-uncertainty", "1"], "--dead-time-uncertainty"),
        (["--dead-time", "5us", "--count-rate-cps", "-3"], "--count-rate-cps"),
        (["--dead-time-model", "paralysable"], "--dead-time-model"),
        (["--count-rate-cps", "100"], "--count-rate-cps"),
        (["--window", "high"], "--window"),
        (["--window", "154-126"], "--window"),
        (["--window", "0"], "--window"),
    ],
)
def test_wrong_values_are_usage_errors_that_name_the_option(scans, words, option):
    code, _, told = run(*uptake(scans, *CAMERA, *words))
    assert code == 2
    assert option in told


@pytest.mark.parametrize(
    ("words", "code", "match"),
    [
        (["--dead-time", "5s"], 6, "dead time"),
        (["--dead-time", "5ms"], 6, "above what a camera"),
        (["--dead-time", "20us", "--count-rate-cps", "4.7e4"], 6, "saturation"),
        (
            ["--dead-time", "20us", "--count-rate-cps", "2e4", "--dead-time-model", "paralysable"],
            6,
            "above what",
        ),
        (["--window", "300"], 3, "no energy window"),
    ],
)
def test_impossible_values_are_refused(scans, capfd, monkeypatch, words, code, match):
    found, told = fails(capfd, monkeypatch, *uptake(scans, *CAMERA, *words))
    assert found == code
    assert match in told


def test_a_large_loss_is_told(scans):
    _, content, told = run(*uptake(scans, *CAMERA, "--dead-time", "20us", "--count-rate-cps", 2e4))
    assert "large-dead-time-loss" in json.dumps(content)
    assert "lost to dead time" in told


def test_a_scan_of_two_windows_is_asked_about_and_the_choice_is_kept(scans, two_windows, capfd, monkeypatch):
    words = ["nuclear", "uptake", two_windows, "--rois", scans / "regions.nii.gz", *CAMERA]
    code, told = fails(capfd, monkeypatch, *words)
    assert code == 3
    assert "energy window 126-154 keV" in told
    assert "energy window 154-188 keV" in told
    peak = run(*words, "--window", "140")
    upper = run(*words, "--window", "154-188keV")
    assert (peak[0], upper[0]) == (0, 0)
    assert mean(upper[1], "stomach") / mean(peak[1], "stomach") == pytest.approx(0.5, rel=2e-3)
    code, _, _ = run(*words, "--series", 1)
    assert code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["curves", "--quantity", "id_per_g"],
        ["segment", "--seed", "0,0,0"],
        ["pvc", "--fwhm", "2mm", "--quantity", "id_per_g"],
        ["dose", "--nuclide", "Tc-99m", "--effective-half-life", "5h"],
        ["pairs", "--given", "Tc-99m"],
        ["kinetics", "--model", "srtm", "--reference", "blood"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_asks_for_the_window_that_is_meant(scans, two_windows, capfd, monkeypatch, words):
    """The same option everywhere; an energy in no window is refused by name before anything is computed."""
    verb, *more = words
    given = ["nuclear", verb, two_windows, "--rois", scans / "regions.nii.gz", *CAMERA, *more]
    code, told = fails(capfd, monkeypatch, *given, "--window", "300")
    assert code == 3, told
    assert "no energy window is or contains 300 keV" in told


def test_curves_of_one_window(scans, two_windows):
    words = ["nuclear", "curves", two_windows, "--rois", scans / "regions.nii.gz", *CAMERA]
    found = [run(*words, "--window", window) for window in ("140", "171")]
    assert [code for code, _, _ in found] == [0, 0]
    means = [
        next(row["mean"] for row in content["quantities"] if row["region"] == "stomach")
        for _, content, _ in found
    ]
    assert means[1] / means[0] == pytest.approx(0.5, rel=2e-3)


def test_a_table_of_samples_has_no_window(tmp_path):
    (tmp_path / "samples.csv").write_text("time [h],tumour [%ID/g]\n1,10\n4,9\n24,5\n48,2\n")
    code, _, told = run(
        "nuclear", "curves", tmp_path / "samples.csv", "--nuclide", "Tc-99m", "--window", "140"
    )
    assert code == 2
    assert "--window" in told


def test_the_free_label_warning_is_on_the_terminal_in_json_and_in_the_report(scans, tmp_path):
    words = [*CAMERA, "--dead-time", "1us", "--window", "140", "--out", tmp_path / "out"]
    code, content, told = run(*uptake(scans, *words))
    assert code == 0
    text = "stomach 12 times blood: free pertechnetate collects there"
    assert text in " ".join(told.split())
    assert text in json.dumps(content)
    assert "free-label-pattern" in json.dumps(content)
    assert text in (tmp_path / "out" / "report.html").read_text()
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert "free-label-pattern" in json.dumps(record["warnings"])
    assert (record["parameters"]["dead_time"], record["parameters"]["window"]) == ("1us", "140")


def test_curves_warn_as_well_and_name_the_time(scans):
    folder = scans / "dicom"
    words = [
        "nuclear",
        "curves",
        folder / "t0001.00h",
        folder / "t0004.00h",
        "--rois",
        scans / "regions.nii.gz",
    ]
    code, content, _ = run(*words, *CAMERA, "--quantity", "id_per_g")
    assert code == 0
    assert "free-label-pattern" in json.dumps(content)
    assert "times blood at" in json.dumps(content)


def test_help_tells_every_option_with_its_unit():
    told = (
        CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["nuclear", "uptake", "--help"]).stdout
    )
    for text in (
        "--dead-time ",
        "5us",
        "--dead-time-model",
        "--dead-time-uncertainty",
        "--count-rate-cps",
        "--window",
    ):
        assert text in told
    assert "keV" in told


def test_windows_are_read_from_their_text():
    assert window_choice(None) is None
    assert window_choice("140.5") == 140.5
    assert window_choice(" 126 - 154 keV ") == (126.0, 154.0)
    assert math.isclose(window_choice("171KEV"), 171.0)
