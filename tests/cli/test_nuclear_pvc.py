"""``nuclear pvc`` by the real command line: spheres come back, files and figures, wrong usage, refusals."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from imgtheranostics.cli.main import main
from imgtheranostics.nuclear.partial_volume import sphere_recovery

SHAPE, H = (60, 44, 32), 0.5
AFFINE = np.diag([H, H, H, 1.0])
FWHM = 1.6
HOT, WARM = 8e4, 1e4
SPHERES = {"d8": ((8.0, 8.0, 8.0), 8.0), "d6": ((20.0, 8.25, 8.0), 6.0), "d4": ((14.0, 16.5, 8.0), 4.0)}
DOSE_MBQ, HOURS = 10.0, 1.0


def masks():
    place = np.moveaxis(np.indices(SHAPE), 0, -1) * H
    return {
        name: np.linalg.norm(place - np.array(centre), axis=-1) <= diameter / 2
        for name, (centre, diameter) in SPHERES.items()
    }


def write(path, image, affine=AFFINE, **sidecar):
    nifti = nibabel.Nifti1Image(image.astype(np.float32), affine)
    nifti.header.set_xyzt_units("mm", "sec")
    nibabel.save(nifti, path)
    content = {
        "Modality": "PT", "Units": "Bq/mL", "TracerName": "tracer", "TracerRadionuclide": "F18",
        "InjectedRadioactivity": DOSE_MBQ, "InjectedRadioactivityUnits": "MBq", "TimeZero": "10:00:00",
        "InjectionStart": 0, "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 3600.0,
        "ScanStart": 3600.0, "FrameTimesStart": [3600.0], "FrameDuration": [600.0], "PatientWeight": 0.02,
    } | sidecar  # fmt: skip
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pvc")
    drawn = masks()
    sharp = np.where(sum(drawn.values()) > 0, HOT, WARM).astype(float)
    sd = FWHM / 2.354820045 / H
    blurred = ndimage.gaussian_filter(sharp, sd, mode="reflect")
    noise = ndimage.gaussian_filter(np.random.default_rng(4).standard_normal(SHAPE), sd)
    write(place / "pet.nii.gz", blurred + 0.02 * HOT * noise / noise.std())
    labels = np.zeros(SHAPE, np.int16)
    for n, mask in enumerate(drawn.values(), 1):
        labels[mask] = n
    image = nibabel.Nifti1Image(labels, AFFINE)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, place / "rois.nii.gz")
    rows = "".join(f"{n}\t{name}\n" for n, name in enumerate(drawn, 1))
    (place / "rois.tsv").write_text(f"index\tname\n{rows}")
    return place


@pytest.fixture
def scan(folder):
    return (folder / "pet.nii.gz", "--rois", folder / "rois.nii.gz")


def run(capsys, *words, code=0):
    capsys.readouterr()
    found = main([str(word) for word in ("nuclear", "pvc", *words)])
    assert found == code, capsys.readouterr().err
    return capsys.readouterr()


def rows_of(capsys, *words):
    rows = json.loads(run(capsys, *words, "--json", "-q").out)["quantities"]
    return {(row["region"], row["quantity"]): row for row in rows}


@pytest.mark.parametrize(
    ("words", "within"),
    [
        (("--fwhm", "1.6mm"), 0.03),
        (("--fwhm", "0.16cm", "--method", "rbv"), 0.03),
        (("--fwhm", "1.6,1.6,1.6mm", "--method", "iterative_yang", "--iterations", 20), 0.03),
        (("--fwhm", "1.6mm", "--method", "sphere", "--surroundings", WARM), 0.06),
        (("--estimate-psf", "d8=8mm"), 0.04),
    ],
    ids=["gtm", "rbv", "iterative_yang", "sphere", "estimated"],
)
def test_means_of_spheres_come_back(capsys, scan, words, within):
    found = rows_of(capsys, *scan, *words)
    for name in SPHERES:
        assert found[name, "activity_concentration"]["mean"] == pytest.approx(HOT, rel=within), name
        before = found[name, "uncorrected_mean"]["mean"]
        assert before < 0.92 * HOT
        share = before / found[name, "activity_concentration"]["mean"]
        assert found[name, "apparent_recovery"]["mean"] == pytest.approx(share, rel=1e-6)


def test_recovery_is_that_of_the_closed_form_and_its_error_that_of_the_width(capsys, scan):
    found = rows_of(capsys, *scan, "--fwhm", "1.6mm", "--fwhm-uncertainty", 0.1)
    for name, (_, diameter) in SPHERES.items():
        row = found[name, "recovery_coefficient"]
        assert row["mean"] == pytest.approx(sphere_recovery(diameter, FWHM)[0], rel=0.03)
        ends = [sphere_recovery(diameter, f * FWHM)[0] for f in (0.9, 1.1)]
        assert row["standard_error"] == pytest.approx((ends[0] - ends[1]) / 2, rel=0.05)
    known = rows_of(capsys, *scan, "--fwhm", "1.6mm")
    assert (
        known["d4", "activity_concentration"]["standard_error"]
        < found["d4", "activity_concentration"]["standard_error"]
    )


def test_a_scan_is_converted_first(capsys, scan):
    """%ID/g of 10 MBq of 18F, START-corrected to one hour after the injection."""
    found = rows_of(capsys, *scan, "--fwhm", "1.6mm", "--quantity", "id_per_g")
    left = DOSE_MBQ * 1e6 * 2 ** (-3600.0 / 6586.2)
    row = found["d8", "id_per_g"]
    assert row["mean"] == pytest.approx(100 * HOT / left, rel=0.03)
    assert row["standard_error"] / row["mean"] > 0.05, "what all voxels share of the dose"


@pytest.mark.parametrize("method", ["gtm", "rbv", "van_cittert"])
def test_maps_figures_and_record(capsys, scan, tmp_path, method):
    out = tmp_path / "out"
    run(capsys, *scan, "--fwhm", "1.6mm", "--method", method, "-o", out, "-q")
    names = {path.name for path in out.iterdir()}
    maps = {"activity_concentration.nii.gz", "activity_concentration_uncorrected.nii.gz"}
    assert {"quantities.tsv", "report.html"} <= names
    assert maps <= names if method != "gtm" else not maps & names
    page = (out / "report.html").read_text()
    assert "Activity concentration: what was recovered" in page
    assert ("Activity concentration: before and after" in page) == (method != "gtm")
    record = json.loads((out / "provenance.json").read_text())
    assert record["decisions"]["resolution"]["fwhm_mm"] == [1.6, 1.6, 1.6]
    assert record["parameters"]["fwhm"] == "1.6mm"
    svg = (out / "figures" / "recovery-regions_activity_concentration.svg").read_text()
    assert ("sphere, FWHM 1.6 mm" in svg) == (method == "gtm")


def test_frames_are_corrected_one_by_one(capsys, folder, scan):
    one = np.asanyarray(nibabel.load(folder / "pet.nii.gz").dataobj)
    path = write(
        folder / "frames.nii.gz", np.stack([one, 2 * one], axis=-1), FrameTimesStart=[3600.0, 4200.0],
        FrameDuration=[600.0, 600.0],
    )  # fmt: skip
    rows = json.loads(run(capsys, path, *scan[1:], "--fwhm", "1.6mm", "--json", "-q").out)["quantities"]
    found = [
        row["mean"] for row in rows if row["region"] == "d6" and row["quantity"] == "activity_concentration"
    ]
    assert found == [pytest.approx(HOT, rel=0.03), pytest.approx(2 * HOT, rel=0.03)]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((), "--fwhm"),
        (("--fwhm", "1.6"), "--fwhm"),
        (("--fwhm", "1.6kg"), "--fwhm"),
        (("--fwhm", "1.6,1.7mm"), "--fwhm"),
        (("--fwhm", "-1mm"), "--fwhm"),
        (("--fwhm", "wide"), "--fwhm"),
        (("--fwhm", "1.6mm", "--estimate-psf", "d8=8mm"), "--fwhm"),
        (("--estimate-psf", "d8"), "--estimate-psf"),
        (("--estimate-psf", "d8=8"), "--estimate-psf"),
        (("--estimate-psf", "d8=8mm", "--fwhm-uncertainty", "0.1"), "--fwhm-uncertainty"),
        (("--fwhm", "1.6mm", "--method", "magic"), "--method"),
        (("--fwhm", "1.6mm", "--iterations", "3"), "--iterations"),
        (("--fwhm", "1.6mm", "--method", "rbv", "--step", "1"), "--step"),
        (("--fwhm", "1.6mm", "--method", "van_cittert", "--no-background"), "--no-background"),
        (("--fwhm", "1.6mm", "--method", "sphere"), "--surroundings"),
        (("--fwhm", "1.6mm", "--surroundings", "0"), "--surroundings"),
        (("--fwhm", "1.6mm", "--method", "rbv", "--noise-fwhm", "1mm"), "--noise-fwhm"),
        (("--fwhm", "1.6mm", "--quantity", "magic"), "--quantity"),
        (("--fwhm", "1.6mm", "--weight-kg", "0.02"), "--weight-kg"),
        (("--fwhm", "1.6mm", "--decay-correction", "NONE"), "--decay-correction"),
    ],
)  # fmt: skip
def test_wrong_usage_names_the_option(capsys, scan, words, option):
    found = run(capsys, *scan, *words, code=2)
    assert option in found.err


def test_regions_are_needed(capsys, scan):
    assert "--rois" in run(capsys, scan[0], "--fwhm", "1.6mm", code=2).err


@pytest.mark.parametrize("method", ["gtm", "rbv", "iterative_yang", "sphere"])
def test_a_point_spread_larger_than_a_region_is_refused(capsys, scan, method):
    around = ("--surroundings", "0") if method == "sphere" else ()
    found = run(capsys, *scan, "--fwhm", "5mm", "--method", method, *around, code=6)
    assert "point spread is larger than a region" in found.err
    assert "d4" in found.err


def test_bad_data_are_refused(capsys, scan, folder, tmp_path):
    assert run(capsys, folder / "nothing.nii.gz", *scan[1:], "--fwhm", "1.6mm", code=3).err
    assert "narrower" in run(capsys, *scan, "--fwhm", "0.1mm", code=6).err
    found = run(capsys, *scan, "--fwhm", "1.6,1.6,2.1mm", "--method", "sphere", "--surroundings", 0, code=4)
    assert "all directions" in found.err
    assert "no such region" in run(capsys, *scan, "--estimate-psf", "d99=9mm", code=3).err
    assert run(capsys, *scan, "--estimate-psf", "d6=1mm", code=6).err
    elsewhere = folder / "elsewhere.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.int16), np.diag([H, H, 0.7, 1.0])), elsewhere)
    assert run(capsys, scan[0], "--rois", elsewhere, "--fwhm", "1.6mm", code=6).err
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert run(capsys, *scan, "--fwhm", "1.6mm", "-o", blocked, code=7).err
    without = write(folder / "undosed.nii.gz", np.ones(SHAPE), InjectedRadioactivity=None)
    words = (without, *scan[1:], "--fwhm", "1.6mm", "--quantity", "id_per_g")
    assert run(capsys, *words, code=5).err


def test_help_is_complete(capsys):
    assert main(["nuclear", "pvc", "--help"]) == 0
    text = capsys.readouterr().out
    for word in ("--fwhm", "--estimate-psf", "--method", "--no-background", "--surroundings", "--diameter",
                 "--iterations", "--quantity", "--fwhm-uncertainty"):  # fmt: skip
        assert word in text
