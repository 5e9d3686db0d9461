"""No name from a ParaVision study reaches what is printed or written: strings, owner lines, folder names."""

from __future__ import annotations

import re

import pytest

import imgtheranostics as it
from imgtheranostics.cli.main import main

CANARY = "ZqXcanary"
STRINGS = (
    "VisuSubjectId",
    "VisuSubjectName",
    "VisuSubjectComment",
    "VisuSubjectBirthDate",
    "VisuStudyId",
    "VisuStudyUid",
    "VisuStudyReferringPhysician",
    "VisuStudyDescription",
    "VisuSeriesComment",
    "VisuInstitution",
    "VisuStation",
    "VisuUid",
    "VisuAcquisitionProtocol",
    "VisuAcqSequenceName",
    "VisuAcqDate",
    "VisuManufacturer",
)


@pytest.fixture
def study(tmp_path, scans):
    """A study whose strings, comments and folder all hold the canary."""
    visu = scans.visu([(3, "FG_SLICE", {}), (2, "FG_CYCLE", {})])
    visu |= {name: scans.string(CANARY) for name in STRINGS}
    method = {"Method": f"<User:{CANARY}>", "PVM_ScanTimeStr": scans.string(CANARY)}
    acqp = {"ACQ_operator": scans.string(CANARY), "ACQ_institution": scans.string(CANARY)}
    root = tmp_path / f"{CANARY}_20180109"
    scan = scans.write(root, visu, scans.stored(visu, (4, 3), 6), method=method, acqp=acqp)
    for path in (root / "subject", scan / "method", scan / "acqp", scan / "pdata" / "1" / "visu_pars"):
        text = path.read_text().replace("nmr@station", f"{CANARY}@{CANARY}").replace("=nmr", f"={CANARY}")
        path.write_text(text.replace("/opt/", f"/opt/{CANARY}/"))
    return root


def printed(words, capfd) -> tuple[int, str]:
    capfd.readouterr()
    code = main([str(word) for word in words])
    out, err = capfd.readouterr()
    return code, out + err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_info_names_nobody(study, capfd, options):
    code, text = printed(["info", study, *options], capfd)
    assert code == 0, text
    assert "scan 7" in text
    assert CANARY not in text


@pytest.mark.parametrize("target", ["image.nii.gz", "dicom"])
def test_converted_image_names_nobody(study, tmp_path, capfd, target):
    out = tmp_path / "out"
    out.mkdir()
    code, text = printed(["convert", study, out / target, "--json"], capfd)
    assert code == 0, text
    assert CANARY not in text
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) >= 2
    for path in written:
        assert CANARY.encode() not in path.read_bytes()
        assert CANARY not in path.name


_DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "open string": lambda text: text.replace(f"<{CANARY}>", f"<{CANARY}"),
    "word type": lambda text: re.sub("VisuCoreWordType=.*", f"VisuCoreWordType={CANARY}", text),
    "byte order": lambda text: re.sub("VisuCoreByteOrder=.*", f"VisuCoreByteOrder={CANARY}", text),
    "slope": lambda text: re.sub("VisuCoreDataSlope=.*\n.*", f"VisuCoreDataSlope={CANARY}", text),
    "group": lambda text: text.replace("FG_CYCLE", CANARY),
    "two groups": lambda text: text.replace("<FG_SLICE>", f"<{CANARY}>").replace("<FG_CYCLE>", "<FG_COIL>"),
    "units": lambda text: text.replace("<mm>", f"<{CANARY}>"),
    "time": lambda text: text.replace("VisuAcqEchoTime=( 1 )", f"VisuAcqEchoTime=( 1 ) {CANARY}"),
}


@pytest.mark.parametrize("damage", _DAMAGE)
@pytest.mark.parametrize("file", ["visu_pars", "method"])
def test_refusal_names_the_path_as_typed_and_nobody(study, tmp_path, capfd, monkeypatch, damage, file):
    plain = study.rename(tmp_path / "typed")
    path = plain / "7" / ("method" if file == "method" else "pdata/1/visu_pars")
    path.write_text(_DAMAGE[damage](path.read_text()))
    monkeypatch.chdir(tmp_path)
    code, text = printed(["convert", "typed", "out.nii.gz"], capfd)
    assert code in (0, 4, 5, 6)
    assert "Traceback" not in text
    assert CANARY not in text
    assert str(tmp_path) not in text
    if damage == "cut":
        assert f"typed/7/{'method' if file == 'method' else 'pdata/1/visu_pars'}" in text


@pytest.mark.parametrize("place", ["7/pdata/1", "7"])
def test_parameter_files_are_found_from_within_the_scan(study, monkeypatch, place):
    monkeypatch.chdir(study / place)
    assert it.load("." if place == "7" else "2dseq").shape == (4, 3, 3, 2)
    assert len(it.load(".").source.files) == 4
