"""``nuclear dose`` by the real command line: numbers, files, wrong usage, refusals."""

from __future__ import annotations

import json
import math

import nibabel
import numpy as np
import pydicom
import pytest

from imgtheranostics.cli.main import main

SHAPE = (14, 12, 10)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
Y86_S, Y90_H = 14.74 * 3600.0, 64.05
BIOLOGICAL_H = 60.0
HOURS = (1.0, 4.0, 24.0, 48.0)
SHARE, DOSE_MBQ = 0.12, 8.0
LOCAL = 2.888
"""Gy/MBq of 90Y for 12 %ID/g that leaves with 60 h, local deposition (pet.md section 6)."""


def masks():
    tumour, liver = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    tumour[2:6, 2:6, 2:6], liver[8:12, 5:10, 3:8] = True, True
    return {"tumour": tumour, "liver": liver}


def write(path, image, hours, affine=AFFINE, **sidecar):
    nifti = nibabel.Nifti1Image(image.astype(np.float32), affine)
    nifti.header.set_xyzt_units("mm", "sec")
    nibabel.save(nifti, path)
    start = hours * 3600.0
    content = {
        "Modality": "PT", "Units": "Bq/mL", "TracerName": "tracer", "TracerRadionuclide": "Y86",
        "InjectedRadioactivity": DOSE_MBQ, "InjectedRadioactivityUnits": "MBq", "TimeZero": "10:00:00",
        "InjectionStart": 0, "ImageDecayCorrected": True, "ImageDecayCorrectionTime": start,
        "ScanStart": start, "FrameTimesStart": [start], "FrameDuration": [600.0], "PatientWeight": 0.02,
    } | sidecar  # fmt: skip
    content = {key: value for key, value in content.items() if value is not None}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(content))
    return path


def pet(hours):
    """As the scanner corrects it: to the start of a frame whose middle holds the biology."""
    left = 2 ** (-(hours * 3600.0) / Y86_S) * 2 ** (-(hours + 300 / 3600.0) / BIOLOGICAL_H)
    image = np.full(SHAPE, 0.002)
    for name, mask in masks().items():
        image[mask] = SHARE if name == "tumour" else 0.08
    return image * DOSE_MBQ * 1e6 * left


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("dose")
    labels = np.zeros(SHAPE, np.int16)
    for n, mask in enumerate(masks().values(), 1):
        labels[mask] = n
    image = nibabel.Nifti1Image(labels, AFFINE)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, place / "rois.nii.gz")
    (place / "rois.tsv").write_text("index\tname\n1\ttumour\n2\tliver\n")
    for hours in HOURS:
        write(place / f"h{hours:g}.nii.gz", pet(hours), hours)
    return place


@pytest.fixture
def scans(folder):
    return [folder / f"h{hours:g}.nii.gz" for hours in HOURS]


@pytest.fixture
def rois(folder):
    return ("--rois", folder / "rois.nii.gz")


LOCALLY = ("--method", "local", "--density", "1.0", "--model", "mono")


def run(capsys, *words, code=0):
    capsys.readouterr()
    assert main([str(word) for word in ("nuclear", "dose", *words, "--workers", 1)]) == code, (
        capsys.readouterr().err
    )
    return capsys.readouterr()


def rows_of(capsys, *words):
    rows = json.loads(run(capsys, *words, "--json", "-q").out)["quantities"]
    return {(row["region"], row["quantity"], row["axis_value"]): row for row in rows}


def test_dose_of_the_twin_per_activity(capsys, scans, rois):
    found = rows_of(capsys, *scans, *rois, *LOCALLY, "--nuclide", "Y-90", "--given-activity", "per-MBq")
    row = found["tumour", "absorbed_dose_per_activity", None]
    assert row["mean"] == pytest.approx(LOCAL, rel=2e-3)
    assert row["unit"] == "Gy/MBq"
    # the activity given has 5 %, which all voxels share
    assert row["standard_error"] == pytest.approx(0.05 * row["mean"], rel=0.1)
    for measure in ("d98", "d50", "d2"):
        assert found["tumour", f"{measure}_dose_at_volume", None]["mean"] == pytest.approx(LOCAL, rel=3e-3)


def test_the_order_of_the_scans_does_not_matter(capsys, scans, rois):
    words = (*rois, *LOCALLY, "--nuclide", "Y-90")
    turned = rows_of(capsys, *reversed(scans), *words)
    assert turned["tumour", "absorbed_dose_per_activity", None]["mean"] == pytest.approx(LOCAL, rel=2e-3)


def test_an_activity_gives_gy_and_its_effect(capsys, scans, rois):
    """BED = D (1 + G D / (alpha/beta)) of one exponential: G = T_rep / (T_rep + T_eff)."""
    found = rows_of(
        capsys, *scans, *rois, *LOCALLY, "--nuclide", "Y-90", "--given-activity", "10 MBq",
        "--alpha-beta", "tumour=10,liver=2.5", "--repair-half-time", "90min", "--geud-a", "tumour=-10",
        "--geud-a", "liver=1", "--at-least-gy", "5,28.5", "--at-least-gy", "40",
    )  # fmt: skip
    dose = found["tumour", "absorbed_dose", None]["mean"]
    assert dose == pytest.approx(10 * LOCAL, rel=2e-3)
    g = 1.5 / (1.5 + 1 / (1 / Y90_H + 1 / BIOLOGICAL_H))
    assert found["tumour", "protraction_factor", None]["mean"] == pytest.approx(g, rel=5e-3)
    bed = dose * (1 + g * dose / 10)
    assert found["tumour", "biologically_effective_dose", None]["mean"] == pytest.approx(bed, rel=5e-3)
    assert found["tumour", "equieffective_dose_2gy", None]["mean"] == pytest.approx(bed / 1.2, rel=5e-3)
    assert found["tumour", "equivalent_uniform_dose", None]["mean"] == pytest.approx(dose, rel=2e-3)
    shares = [found["tumour", f"v{x}_volume_at_dose", None]["mean"] for x in ("5", "28_5", "40")]
    assert shares == [100.0, 100.0, 0.0]


def test_everything_is_written_and_rt_dose_holds_the_map(capsys, scans, rois, tmp_path):
    out = tmp_path / "out"
    run(
        capsys, *scans, *rois, "--nuclide", "Y-90", "--given-activity", "10MBq", "--dicom",
        "--alpha-beta", 10, "--repair-half-time", "1.5h", "-o", out, "-q",
    )  # fmt: skip
    names = {path.name for path in out.iterdir()}
    assert {"absorbed_dose.nii.gz", "absorbed_dose_se.nii.gz", "tiac_per_ml.nii.gz", "dose.dcm",
            "biologically_effective_dose.nii.gz", "equieffective_dose_2gy.nii.gz",
            "quantities.tsv", "report.html"} <= names  # fmt: skip
    dataset = pydicom.dcmread(out / "dose.dcm")
    assert (dataset.Modality, dataset.DoseUnits, dataset.DoseType) == ("RTDOSE", "GY", "PHYSICAL")
    written = dataset.pixel_array * float(dataset.DoseGridScaling)
    highest = float(np.nanmax(np.asanyarray(nibabel.load(out / "absorbed_dose.nii.gz").dataobj)))
    assert written.max() == pytest.approx(highest, rel=1e-5)
    page = (out / "report.html").read_text()
    for words in ("Absorbed dose: how much of each region", "Absorbed dose: where it is",
                  "Biologically effective dose (BED)", "D98: least dose in the hottest 98 %"):  # fmt: skip
        assert words in page
    record = json.loads((out / "provenance.json").read_text())
    assert record["decisions"]["radiobiology"]["tumour"]["alpha_beta_gy"] == 10.0
    assert record["decisions"]["decays"]["nuclide"] == "Y-90"
    assert record["parameters"]["given_activity"] == "10MBq"
    assert "dose.dcm" in json.dumps(record["outputs"])
    assert "same-biology" in {one["code"] for one in record["warnings"]}
    text = (out / "figures" / "dvh_absorbed_dose.svg").read_text()
    assert "tumour" in text
    assert "Absorbed dose [Gy]" in text
    again = rows_of(
        capsys, out / "tiac_per_ml.nii.gz", *rois, "--nuclide", "Y-90", "--given-activity", "10MBq"
    )
    lines = [line.split("\t") for line in (out / "quantities.tsv").read_text().splitlines()]
    first = dict(zip(lines[0], lines[1], strict=True))
    assert again["tumour", "absorbed_dose", None]["mean"] == pytest.approx(float(first["mean"]), rel=1e-5)


def test_one_scan_with_a_half_life(capsys, scans, rois):
    """T_eff of 90Y with 60 h of biology, by hand: the dose of all four scans."""
    half_life = 1 / (1 / Y90_H + 1 / BIOLOGICAL_H)
    words = (scans[1], *rois, "--nuclide", "Y-90", "--method", "local", "--density", 1)
    found = rows_of(capsys, *words, "--effective-half-life", f"{half_life}h")
    row = found["tumour", "absorbed_dose_per_activity", None]
    assert row["mean"] == pytest.approx(LOCAL, rel=2e-3)
    wider = rows_of(capsys, *words, "--effective-half-life", f"{half_life}h", "--half-life-uncertainty", 0.2)[
        "tumour", "absorbed_dose_per_activity", None
    ]
    part = 0.2 * (1 - math.log(2) * (4 + 1 / 12) / half_life)
    relative = math.hypot(row["standard_error"] / row["mean"], part)
    assert wider["standard_error"] / wider["mean"] == pytest.approx(relative, rel=1e-3)
    physical = rows_of(capsys, *words, "--effective-half-life", "physical")
    grown = 2 ** (-(4 + 1 / 12) / BIOLOGICAL_H) * Y90_H / half_life
    assert physical["tumour", "absorbed_dose_per_activity", None]["mean"] == pytest.approx(
        LOCAL * grown, rel=3e-3
    )


def test_dose_rate_falls_from_scan_to_scan(capsys, scans, rois, tmp_path):
    found = rows_of(capsys, *scans, *rois, "--dose-rate", "-o", tmp_path / "rate")
    times = [hours * 3600.0 + 300.0 for hours in HOURS]
    rates = [found["tumour", "absorbed_dose_rate", time]["mean"] for time in times]
    effective = 1 / (1 / Y86_S + 1 / (BIOLOGICAL_H * 3600))
    for time, rate in zip(times, rates, strict=True):
        assert rate / rates[0] == pytest.approx(2 ** (-(time - times[0]) / effective), rel=1e-3)
    assert "Absorbed dose per time: curves" in (tmp_path / "rate" / "report.html").read_text()


def test_density_of_a_ct_divides_the_energy(capsys, scans, rois, folder):
    hu = np.full(SHAPE, 500.0)
    path = folder / "ct.nii.gz"
    nifti = nibabel.Nifti1Image(hu.astype(np.float32), AFFINE)
    nifti.header.set_xyzt_units("mm")
    nibabel.save(nifti, path)
    (folder / "ct.json").write_text(json.dumps({"Modality": "CT", "Units": "HU", "KVP": 120}))
    words = (*scans, *rois, "--model", "mono", "--method", "local")
    dense = rows_of(capsys, *words, "--ct", path)["tumour", "absorbed_dose", None]["mean"]
    soft = rows_of(capsys, *words)["tumour", "absorbed_dose", None]["mean"]
    from imgtheranostics.io.loading import load
    from imgtheranostics.nuclear.maps import density_from_ct

    density = float(density_from_ct(load(path)).data[0, 0, 0])
    assert density > 1.2
    assert soft / dense == pytest.approx(density / 1.04, rel=1e-4)


def test_a_dose_that_exists_is_tabulated_and_not_calculated(capsys, scans, rois, tmp_path):
    """The RT Dose of an earlier result, as that of any planning system: no errors, and no second nuclide."""
    out = tmp_path / "out"
    words = (*LOCALLY, "--nuclide", "Y-90", "--given-activity", "10MBq", "--dicom", "--no-report")
    run(capsys, *scans, *rois, *words, "-o", out)
    path = out / "dose.dcm"
    found = rows_of(
        capsys, path, *rois, "--alpha-beta", "tumour=10", "--repair-half-time", "1.5h",
        "--dose-rate-half-life", "31h", "-o", tmp_path / "again",
    )  # fmt: skip
    dose = found["tumour", "absorbed_dose", None]
    assert dose["mean"] == pytest.approx(10 * LOCAL, rel=2e-3)
    assert dose["standard_error"] is None
    bed = dose["mean"] * (1 + 1.5 / 32.5 * dose["mean"] / 10)
    assert found["tumour", "biologically_effective_dose", None]["mean"] == pytest.approx(bed, rel=2e-3)
    assert "Absorbed dose: how much of each region" in (tmp_path / "again" / "report.html").read_text()
    for vain in (("--nuclide", "Y-90"), ("--density", "1.1"), ("--model", "mono"), ("--method", "local")):
        assert "map of dose" in run(capsys, path, *rois, *vain, code=2).err
    decays = out / "tiac_per_ml.nii.gz"
    assert "map of decays" in run(capsys, decays, *rois, "--model", "mono", code=2).err
    one = (scans[1], *rois, "--effective-half-life", "9h")
    assert "--threshold" in run(capsys, *one, "--threshold", "1", code=2).err
    words = ("--alpha-beta", "3", "--repair-half-time", "1.5h")
    assert "--dose-rate-half-life" in run(capsys, path, *rois, *words, code=5).err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--given-activity", "10"), "--given-activity"),
        (("--given-activity", "10mL"), "--given-activity"),
        (("--given-activity", "-3MBq"), "--given-activity"),
        (("--density", "-1"), "--density-g-ml"),
        (("--radius-mm", "0"), "--radius-mm"),
        (("--effective-half-life", "31"), "--effective-half-life"),
        (("--half-life-uncertainty", "0.1"), "--half-life-uncertainty"),
        (("--alpha-beta", "10"), "--alpha-beta"),
        (("--alpha-beta", "tumour", "--repair-half-time", "1h"), "--alpha-beta"),
        (("--alpha-beta", "-1", "--repair-half-time", "1h"), "--alpha-beta"),
        (("--repair-half-time", "1h"), "--repair-half-time"),
        (("--alpha-beta", "3", "--repair-half-time", "1mm"), "--repair-half-time"),
        (("--geud-a", "0"), "--geud-a"),
        (("--at-least-gy", "-5"), "--at-least-gy"),
        (("--at-least-gy", "x"), "--at-least-gy"),
        (("--method", "magic"), "--method"),
        (("--dicom",), "--dicom"),
        (("--dose-rate", "--nuclide", "Y-90"), "--nuclide"),
        (("--ct", "ct.nii.gz", "--density", "1.1"), "--ct"),
        (("--effective-half-life", "31h"), "--effective-half-life"),
        (("--tail", "last_phase"), "--tail"),
        (("--tail", "last_phase", "--model", "mono"), "--tail"),
        (("--method", "local", "--radius-mm", "9"), "--radius-mm"),
        (("--dose-rate", "--model", "mono"), "--model"),
    ],
)
def test_wrong_usage_names_the_option(capsys, scans, rois, words, option):
    found = run(capsys, *scans, *rois, *words, code=2)
    assert option in found.err


def test_rt_dose_of_a_dose_per_activity_is_refused(capsys, scans, rois, tmp_path):
    found = run(capsys, *scans, *rois, "--nuclide", "Y-90", "--dicom", "-o", tmp_path / "out", "-q", code=6)
    assert "RT Dose holds dose" in found.err
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_refused_first(capsys, scans, rois, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    found = run(capsys, *scans, *rois, "--dicom", "-o", blocked, code=7)
    assert "not a folder" in found.err


def test_missing_files_and_regions_are_refused(capsys, scans, rois, folder):
    assert run(capsys, folder / "nothing.nii.gz", *rois, code=3).err
    found = run(capsys, *scans, *rois, *LOCALLY, "--geud-a", "spleen=3", code=3)
    assert "no such region" in found.err
    empty = folder / "empty.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE), empty)
    assert run(capsys, *scans, "--rois", empty, code=3).err


def test_bad_scans_are_refused(capsys, scans, rois, folder):
    shifted = AFFINE.copy()
    shifted[0, 3] = 5.0
    other = write(folder / "shifted.nii.gz", pet(4.0), 4.0, affine=shifted)
    assert "different grids" in run(capsys, scans[0], other, scans[2], *rois, code=6).err
    same = write(folder / "same.nii.gz", pet(4.0), 4.0)
    assert "same time" in run(capsys, *scans, same, *rois, code=6).err
    found = run(capsys, scans[1], *rois, code=6)
    assert "--effective-half-life" in found.err
    counts = write(folder / "counts.nii.gz", pet(4.0), 4.0, Units="counts")
    assert "calibration" in run(capsys, scans[0], counts, scans[2], *rois, code=6).err
    assert "more slowly" in run(capsys, scans[1], *rois, "--effective-half-life", "20h", code=6).err


def test_nuclides_that_do_not_fit_are_refused(capsys, scans, rois, folder):
    assert "nuclide" in run(capsys, *scans, *rois, "--nuclide", "Xx-1", code=4).err
    found = run(capsys, *scans, *rois, "--nuclide", "Lu-177", code=6)
    assert "--other-element" in found.err
    unnamed = [
        write(folder / f"unnamed{h:g}.nii.gz", pet(h), h, TracerRadionuclide=None, TracerName="x")
        for h in HOURS
    ]
    run(capsys, *unnamed, *rois, "--nuclide", "Y-90", code=5)
    words = (*unnamed, *rois, *LOCALLY, "--nuclide", "Y-90", "--imaged-nuclide", "Y-86")
    row = rows_of(capsys, *words)["tumour", "absorbed_dose_per_activity", None]
    assert row["mean"] == pytest.approx(LOCAL, rel=2e-3)


def test_mixed_decay_references_are_brought_to_one(capsys, scans, rois, folder):
    """A scan that its file corrects to the injection, beside others corrected to their start."""
    grown = pet(24.0) * 2 ** (24.0 * 3600.0 / Y86_S)
    mixed = write(folder / "admin.nii.gz", grown, 24.0, ImageDecayCorrectionTime=0)
    found = rows_of(capsys, scans[0], scans[1], mixed, scans[3], *rois, *LOCALLY, "--nuclide", "Y-90")
    assert found["tumour", "absorbed_dose_per_activity", None]["mean"] == pytest.approx(LOCAL, rel=2e-3)


def test_help_is_complete(capsys):
    assert main(["nuclear", "dose", "--help"]) == 0
    text = capsys.readouterr().out
    for word in ("--nuclide", "--given-activity", "--effective-half-life", "--model", "--tail", "--method",
                 "--ct", "--alpha-beta", "--repair-half-time", "--geud-a", "--at-least-gy", "--dicom",
                 "--dose-rate", "--progeny", "--imaged-nuclide", "--density"):  # fmt: skip
        assert word in text


def test_rt_dose_of_dicom_scans_joins_their_study(capsys, tmp_path):
    """One frame of reference for both."""
    from imgtheranostics.phantom import make
    from imgtheranostics.phantom import write as write_phantom

    write_phantom(make("mm302-decaytrap"), tmp_path / "phantom")
    scan = tmp_path / "phantom" / "dicom" / "start"
    run(
        capsys, scan, "--rois", tmp_path / "phantom" / "regions.nii.gz", "--effective-half-life", "physical",
        "--dicom", "--no-report", "-o", tmp_path / "out", "-q",
    )  # fmt: skip
    dose = pydicom.dcmread(tmp_path / "out" / "dose.dcm")
    image = pydicom.dcmread(next(path for path in sorted(scan.rglob("*")) if path.is_file()))
    assert dose.FrameOfReferenceUID == image.FrameOfReferenceUID
    assert dose.StudyInstanceUID == image.StudyInstanceUID
