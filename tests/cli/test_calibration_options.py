"""SPECT counts on the command line: the option that a refusal names makes the number."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from imgtheranostics.cli.calibration_options import NAMES, build
from imgtheranostics.cli.main import app
from imgtheranostics.nuclear.calibration import DEFAULT_RELATIVE_UNCERTAINTY
from imgtheranostics.phantom import make, write
from imgtheranostics.phantom.reading import parse_spec

NOTHING = dict.fromkeys(NAMES)
SPEC = {
    "slug": "small-spect",
    "title": "one sphere in a box",
    "review_claim": "10",
    "modality": "SPECT",
    "grid": {"shape": [24, 20, 16], "voxel_mm": [1.0, 1.0, 1.5]},
    "subject": {"weight_kg": 0.02, "sex": "F", "species": "mouse"},
    "agent": {"record": "tc99m-plga", "label": "Tc-99m", "name": "test"},
    "administration": {"activity_bq": 20.0e6, "at": "2026-01-05T09:00:00"},
    "axis": {"kind": "time", "values": [1.0, 24.0], "truth_at": 1.0},
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
        "levels": [0],
        "frame_duration_s": [1200],
        "sensitivity_cps_mbq": 847,
        "decay_correction": "NONE",
    },
    "seed": 7,
    "outputs": ["dicom"],
    "provenance": {"regions.*.truth": {"status": "computed", "source": "chosen"}},
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("spect") / "out"
    write(make(parse_spec(SPEC)), folder)
    return folder


def run(*words) -> tuple[int, dict]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout.strip() else {}


def mean(content, region, quantity="id_per_g"):
    rows = content["quantities"]
    return [row["mean"] for row in rows if row["region"] == region and row["quantity"] == quantity]


def test_uptake_of_counts_with_the_sensitivity(scans):
    words = ["nuclear", "uptake", scans / "dicom" / "t0001.00h", "--rois", scans / "regions.nii.gz"]
    code, content = run(*words, "--sensitivity-cps-mbq", 847)
    assert code == 0
    assert mean(content, "sphere") == [pytest.approx(12.0, rel=1e-3)]
    assert mean(content, "sphere", "suv_bw") == [pytest.approx(2.4, rel=1e-3)]


def test_counting_time_goes_before_the_file_s(scans):
    words = ["nuclear", "uptake", scans / "dicom" / "t0001.00h", "--rois", scans / "regions.nii.gz"]
    code, content = run(*words, "--sensitivity-cps-mbq", 847, "--counting-time-s", 600)
    assert code == 0
    # half the file's 1200 s doubles the rate; 99mTc decayed over 1200 s but is corrected for 600 s
    x = math.log(2) / (6.015 * 3600) * 600
    decay = -math.expm1(-2 * x) / (2 * x) / (-math.expm1(-x) / x)
    assert mean(content, "sphere") == [pytest.approx(24.0 * decay, rel=1e-3)]


def test_curves_of_counts_are_flat_although_the_label_decays(scans):
    folder = scans / "dicom"
    words = ["nuclear", "curves", folder / "t0001.00h", folder / "t0024.00h", "--quantity", "id_per_g"]
    code, content = run(*words, "--rois", scans / "regions.nii.gz", "--sensitivity-cps-mbq", 847)
    assert code == 0
    assert mean(content, "sphere") == [pytest.approx(12.0, rel=1e-3)] * 2


@pytest.mark.parametrize("verb", ["uptake", "curves"])
def test_without_a_sensitivity_the_refusal_names_the_option(scans, capfd, verb, monkeypatch):
    from imgtheranostics.cli.main import run as main

    words = [verb, scans / "dicom" / "t0001.00h", "--rois", scans / "regions.nii.gz"]
    monkeypatch.setattr("sys.argv", ["imgtheranostics", "nuclear", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 5
    assert "--sensitivity-cps-mbq" in capfd.readouterr().err


def test_options_become_a_calibration():
    how = build(
        {
            "sensitivity_cps_mbq": 847.0,
            "sensitivity_uncertainty": 0.0,
            "counting_time_s": 60.0,
            "dead_time": "2us",
            "dead_time_model": "paralysable",
        }
    )
    assert (how.sensitivity_cps_mbq, how.relative_uncertainty, how.duration_s) == (847.0, 0.0, 60.0)
    assert how.dead_time_s == pytest.approx(2e-6)
    plain = build({**NOTHING, "sensitivity_cps_mbq": 847.0})
    assert (plain.relative_uncertainty, plain.dead_time_s) == (DEFAULT_RELATIVE_UNCERTAINTY, 0.0)
    assert build(NOTHING) is None


@pytest.mark.parametrize("name", NAMES[1:])
def test_other_options_need_the_sensitivity(name):
    with pytest.raises(typer.BadParameter, match="--sensitivity-cps-mbq"):
        build({**NOTHING, name: "1us" if "time" in name else 0.1})
