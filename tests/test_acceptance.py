"""Published data with known answers through the command line, the way a user asks for them.

The same data through the Python interface, slice by slice and rule by rule: io/dicom/test_public_data,
io/dicom/test_rtstruct and nuclear/test_public_data.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from imgtheranostics.cli.main import main

OBJECTS = (
    "DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_2_2", "DRO_2_4", "DRO_3_1", "DRO_3_3", "DRO_4_1", "DRO_5_0",
)  # fmt: skip
REFUSED = {
    "gantrytilting/001": "non-orthogonal",
    "notavolume/001": "identical positions",
    "slicecount/001": "too few slices",
    "sliceincrement/001": "uneven slice spacing",
    "sliceincrement/002": "uneven slice spacing",
    "sliceorientation/001": "inconsistent orientation",
}


@pytest.fixture
def run(capsys):
    """Runs a command with --json; its exit code and the object that it printed."""

    def call(*words):
        capsys.readouterr()
        code = main([*(str(word) for word in words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def expected(public_data, name):
    with (public_data("pet/ibsi_suv") / "expected.csv").open(encoding="utf-8") as stream:
        row = next(row for row in csv.DictReader(stream) if row["ID"] == name)
    values = {key: float(row[f"SUV{short}_expected"]) for key, short in COLUMNS.items()}
    return values, float(row["tolerance_abs"])


COLUMNS = {"min": "min", "median": "med", "max": "max"}


def regions_of(folder: Path, kind: str) -> Path:
    return folder / "mask" / "DRO_mask.nii.gz" if kind == "mask" else next((folder / "RS").iterdir())


@pytest.mark.parametrize("kind", ["mask", "contours"])
@pytest.mark.parametrize("name", OBJECTS)
def test_reference_object_has_its_published_suv(public_data, run, tmp_path, name, kind):
    folder = public_data(f"pet/ibsi_suv/{name}")
    words = ["nuclear", "uptake", folder / "PT", "--rois", regions_of(folder, kind), "--quantity", "suv_bw"]
    code, printed = run(*words, "-o", tmp_path / "out", "--no-report")
    assert code == 0, printed
    rows = [row for row in printed["quantities"] if row["quantity"] == "suv_bw"]
    answers, tolerance = expected(public_data, name)
    for column, answer in answers.items():
        if kind == "mask":
            assert len(rows) == 1
            assert abs(rows[0][column] - answer) <= tolerance, column
        else:
            found = [row[column] for row in rows]
            assert max(found) <= answers["max"] + tolerance
            assert min(found) >= answers["min"] - tolerance
    table = list(csv.DictReader((tmp_path / "out" / "quantities.tsv").open(encoding="utf-8"), delimiter="\t"))
    assert [float(row["median"]) for row in table] == [row["median"] for row in printed["quantities"]]
    assert {row["unit"] for row in table} == {"g/mL"}
    assert not any("PatientName" in text for text in map(str, printed["warnings"]))


def test_clinical_series_gives_the_published_factor_and_names_its_clock(public_data, run, tmp_path):
    root = public_data("pet/sts_001")
    series = [path for path in (root / "image").rglob("*") if path.is_file()]
    words = ["nuclear", "uptake", root / "image", "--rois", root / "mask" / "1-1.dcm", "--quantity", "suv_bw"]
    code, printed = run(*words, "-o", tmp_path / "out", "--no-report")
    assert code == 0, printed
    record = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert '"rule": "series_time"' in json.dumps(record) or '"rule": "earliest_time"' in json.dumps(record)
    assert len(record["inputs"]) >= 1
    ours = nibabel.load(tmp_path / "out" / "suv_bw.nii.gz")
    data = np.asarray(ours.dataobj)
    raw = max(
        float(one.pixel_array.max()) * float(one.RescaleSlope) + float(one.RescaleIntercept)
        for one in map(pydicom.dcmread, series)
    )
    assert raw == pytest.approx(273_860, rel=1e-5)
    assert data.max() / raw == pytest.approx(2.42903e-4, rel=1e-5)
    tumour = [row for row in printed["quantities"] if "Mass" in row["region"]]
    assert len(tumour) == 1
    assert tumour[0]["max"] == pytest.approx(7.9107, rel=1e-4)


@pytest.mark.parametrize("folder", REFUSED)
@pytest.mark.parametrize("verb", ["convert", "uptake"])
def test_irregular_series_is_refused_by_its_name(public_data, run, tmp_path, folder, verb):
    path = public_data(f"dicom/refuse/{folder}")
    words = ["convert", path, tmp_path / "a.nii"] if verb == "convert" else ["nuclear", "uptake", path]
    code, printed = run(*words)
    assert code == 6, printed
    assert printed["error"]["type"] == "GeometryMismatch"
    assert REFUSED[folder] in str(printed["error"])
    assert list(tmp_path.iterdir()) == []


def test_irregular_series_are_listed_with_their_problem(public_data, run):
    for folder, words in REFUSED.items():
        code, printed = run("info", public_data(f"dicom/refuse/{folder}"))
        assert code == 0
        assert any(words in problem for one in printed["series"] for problem in one["problems"]), folder


def test_every_transfer_syntax_converts_to_the_same_bytes_as_the_reference(public_data, run, tmp_path):
    root = public_data("dicom/transfer_syntaxes")
    written = set()
    for number in range(1, 10):
        target = tmp_path / f"{number}.nii"
        code, printed = run("convert", root / "In" / f"{number}.dcm", target)
        assert code == 0, printed
        image, reference = nibabel.load(target), nibabel.load(root / "Ref" / f"{number}.nii")
        ours, theirs = nibabel.as_closest_canonical(image), nibabel.as_closest_canonical(reference)
        np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=2e-4)
        written.add(target.read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("name", OBJECTS)
def test_nifti_twin_of_a_reference_object_gives_the_same_suv(public_data, run, tmp_path, name):
    """DICOM -> our NIfTI and sidecar -> the same command: nothing that SUV needs is lost on the way."""
    folder = public_data(f"pet/ibsi_suv/{name}")
    image = tmp_path / "sub-01_pet.nii.gz"
    assert run("convert", folder / "PT", image)[0] == 0
    words = ["--rois", regions_of(folder, "mask"), "--quantity", "suv_bw"]
    code, printed = run("nuclear", "uptake", image, *words)
    assert code == 0, printed
    answers, tolerance = expected(public_data, name)
    for column, answer in answers.items():
        assert abs(printed["quantities"][0][column] - answer) <= tolerance


def test_order_and_names_of_the_files_do_not_matter(public_data, run, tmp_path):
    folder = public_data("pet/ibsi_suv/DRO_1_0")
    rng = np.random.default_rng(5)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    files = [path for path in sorted((folder / "PT").iterdir()) if path.is_file()]
    for number, path in zip(rng.permutation(len(files)), files, strict=True):
        shutil.copyfile(path, (tmp_path / ("deep/er" if number % 2 else "deep")) / f"{number:03d}")
    words = ["--rois", regions_of(folder, "mask"), "--quantity", "suv_bw"]
    _, first = run("nuclear", "uptake", folder / "PT", *words)
    _, second = run("nuclear", "uptake", tmp_path / "deep", *words)
    assert first["quantities"] == second["quantities"]


def test_validation_of_the_clock_phantom_passes(run):
    code, printed = run("validate", "mm302-decaytrap")
    assert code == 0
    assert len(printed["rows"]) >= 7, "a row for every header variant"
