"""The demo shows 12 %ID/g in the tumour, and why the scanner reads less."""

from __future__ import annotations

import json
import re

import pytest

from imgtheranostics.cli.main import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One run of the demo: its folder."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--out", str(folder), "--quiet"]) == 0
    return folder


def test_tables_show_what_a_scanner_of_that_resolution_reads(demo):
    """9.8 +-5 % for 12 %ID/g in an 8 mm sphere at 1.6 mm (systems.md, P01)."""
    rows = json.loads((demo / "result" / "quantities.json").read_text())["rows"]
    measured = {row["region"]: row["mean"] for row in rows if row["quantity"] == "id_per_g"}
    assert measured["tumour"] == pytest.approx(9.8, rel=0.05)
    assert measured["liver"] == pytest.approx(8.0, rel=0.15)
    assert set(measured) == {"tumour", "liver", "spleen", "kidneys", "muscle"}


def test_report_explains_truth_and_resolution(demo):
    text = re.sub(r"\s+", " ", (demo / "result" / "report.html").read_text())
    assert "The tumour holds 12 %ID/g" in text
    assert "must read 9.78 %ID/g" in text
    assert "measured and known" in text


def test_phantom_folder_is_real_dicom_with_its_truth(demo):
    files = sorted((demo / "phantom" / "dicom").glob("*/*.dcm"))
    assert len(files) == 6 * 180
    assert files[0].read_bytes()[128:132] == b"DICM"
    assert json.loads((demo / "phantom" / "truth" / "truth.json").read_text())["slug"] == "upsn-86y-mouse-pet"


def test_a_second_run_asks_for_force(demo, capsys):
    assert main(["demo", "--out", str(demo), "--quiet"]) == 7
    assert "--force" in capsys.readouterr().err


def test_curves_of_the_six_scans_follow_the_truth(demo, capsys):
    """Decay-corrected %ID/g of the tumour over time: uptake half-time 4 h, clearance 60 h, 12 at 24 h."""
    scans = sorted(str(path) for path in (demo / "phantom" / "dicom").iterdir())
    rois = str(demo / "phantom" / "regions.nii.gz")
    assert main(["nuclear", "curves", *scans, "--rois", rois, "--quantity", "id_per_g", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["quantities"]
    tumour = {round(row["axis_value"] / 3600, 1): row["mean"] for row in rows if row["region"] == "tumour"}
    assert sorted(tumour) == [0.5, 3.0, 6.0, 12.0, 24.0, 48.0]
    assert tumour[24.0] == pytest.approx(9.8, rel=0.05)
    assert tumour[0.5] < tumour[3.0] < tumour[12.0]
    assert tumour[48.0] < tumour[24.0]
