"""``nuclear segment`` by the real command line: spheres come back, files, wrong usage, refusals."""

from __future__ import annotations

import json
import math

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from imgtheranostics.cli.main import main
from imgtheranostics.io.regions import load_rois
from imgtheranostics.nuclear.body import lean_body_mass_janmahasatian
from imgtheranostics.segmentation.blurred_sphere import sphere_profile

SHAPE, SPACING = (64, 52, 48), 4.0
AFFINE = np.diag([SPACING] * 3 + [1.0])
AFFINE[:3, 3] = -0.5 * SPACING * (np.array(SHAPE) - 1)
FWHM = 6.0
KG, M, DOSE_MBQ = 70.0, 1.75, 300.0
PER_SUV = DOSE_MBQ * 1e6 * 2 ** (-3600.0 / 6586.2) / (1000.0 * KG)
"""Bq/mL of an SUV of 1, of 18F one hour after the injection."""
MUSCLE, LIVER, TUMOUR, NODE = 0.8, 2.0, 8.0, 6.0
PLACES = {
    "tumour": ((-58.7, 1.1, 0.6), 40.0),
    "node": ((0.7, 54.6, 20.9), 28.0),
    "liver": ((60.0, -20.0, 0.0), 72.0),
}


def distance(name):
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.linalg.norm(index * SPACING + AFFINE[:3, 3] - PLACES[name][0], axis=-1)


def ball(name, scale=1.0):
    return distance(name) <= 0.5 * scale * PLACES[name][1]


def write(path, image, affine=AFFINE, **sidecar):
    nifti = nibabel.Nifti1Image(image.astype(np.float32), affine)
    nifti.header.set_xyzt_units("mm", "sec")
    nibabel.save(nifti, path)
    content = {
        "Modality": "PT", "Units": "Bq/mL", "TracerName": "FDG", "TracerRadionuclide": "F18",
        "InjectedRadioactivity": DOSE_MBQ, "InjectedRadioactivityUnits": "MBq", "TimeZero": "10:00:00",
        "InjectionStart": 0, "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 3600.0,
        "ScanStart": 3600.0, "FrameTimesStart": [3600.0], "FrameDuration": [600.0], "PatientWeight": KG,
    } | sidecar  # fmt: skip
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(content))
    return path


def write_labels(path, **masks):
    labels = np.zeros(SHAPE, np.int16)
    for n, mask in enumerate(masks.values(), 1):
        labels[mask] = n
    image = nibabel.Nifti1Image(labels, AFFINE)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    rows = "".join(f"{n}\t{name}\n" for n, name in enumerate(masks, 1))
    path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text(f"index\tname\n{rows}")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("segment")
    blurred = np.full(SHAPE, MUSCLE)
    for name, level in (("liver", LIVER), ("tumour", TUMOUR), ("node", NODE)):
        blurred += (level - MUSCLE) * sphere_profile(distance(name), 0.5 * PLACES[name][1], FWHM)
    sd = FWHM / 2.354820045 / SPACING
    noise = ndimage.gaussian_filter(np.random.default_rng(4).standard_normal(SHAPE), sd)
    blurred += 0.05 * noise / noise.std()
    write(place / "pet.nii.gz", PER_SUV * blurred)
    frames = {"FrameTimesStart": [3600.0, 4200.0], "FrameDuration": [600.0, 600.0]}
    write(place / "two.nii.gz", np.stack([blurred, blurred], -1), **frames)
    muscle = np.zeros(SHAPE, bool)
    muscle[20:40, 4:12, 4:12] = True
    write_labels(place / "rois.nii.gz", muscle=muscle, liver=ball("liver", 30.0 / 72.0))
    write_labels(place / "search.nii.gz", tumour=ball("tumour", 1.6), node=ball("node", 1.6))
    return place


SEED = ("--seed", "-55,5,0")


@pytest.fixture
def scan(folder):
    return folder / "pet.nii.gz"


def run(capsys, *words, code=0):
    capsys.readouterr()
    found = main([str(word) for word in ("nuclear", "segment", *words)])
    assert found == code, capsys.readouterr().err
    return capsys.readouterr()


def rows_of(capsys, *words):
    rows = json.loads(run(capsys, *words, "--json", "-q").out)["quantities"]
    return {(row["region"], row["quantity"]): row for row in rows}


def true_ml(name):
    return math.pi / 6.0 * PLACES[name][1] ** 3 / 1000.0


@pytest.mark.parametrize(
    ("words", "tumour", "node"),
    [
        (("--method", "adaptive"), 0.06, 0.10),
        (("--method", "adaptive", "--scheme", "sphere", "--resolution-mm", FWHM), 0.04, 0.06),
        (("--method", "adaptive", "--adapt-to", "muscle", "--weights", "0.5,0.5"), 0.06, 0.10),
        # the closed form has SUV 3.2 at 0.7 mm outside the tumour and 0.2 mm inside the node
        (("--method", "fixed", "--threshold", 3.2, "--quantity", "suv_bw"), 0.14, 0.09),
        (("--threshold", "50%"), 0.12, 0.12),
        (("--method", "gradient"), 0.25, 0.35),
    ],
    ids=["adaptive", "sphere", "own", "fixed", "fraction", "gradient"],
)
def test_volumes_of_spheres_come_back(capsys, scan, folder, words, tumour, node):
    rois = ("--rois", folder / "rois.nii.gz")
    found = rows_of(capsys, scan, *words, "--within", folder / "search.nii.gz", *rois)
    for name, within in (("tumour", tumour), ("node", node)):
        volume = found[name, "metabolic_tumour_volume"]
        assert (volume["unit"], volume["mean"]) == ("mL", pytest.approx(true_ml(name), rel=within))
        mean = found[name, "suv_bw"]["mean"]
        assert found[name, "total_lesion_glycolysis"]["mean"] == pytest.approx(mean * volume["mean"])
    assert found["tumour", "suv_peak"]["mean"] == pytest.approx(TUMOUR, rel=0.03)
    assert found["liver", "suv_bw"]["mean"] == pytest.approx(LIVER, rel=0.02)


def test_ratios_do_not_carry_the_error_of_the_dose(capsys, scan, folder):
    words = (scan, *SEED, "--rois", folder / "rois.nii.gz", "--background", "muscle", "--background", "liver")
    found = rows_of(capsys, *words, "--dose-uncertainty", 0.01)
    other = rows_of(capsys, *words, "--dose-uncertainty", 0.2)
    for name in ("lesion/muscle", "lesion/liver"):
        row, again = found[name, "uptake_ratio"], other[name, "uptake_ratio"]
        assert row["standard_error"] == again["standard_error"]
        assert row["interval_low"] < row["mean"] < row["interval_high"]
    assert other["lesion", "suv_bw"]["standard_error"] > 3 * found["lesion", "suv_bw"]["standard_error"]
    expected = found["lesion", "suv_bw"]["mean"] / found["muscle", "suv_bw"]["mean"]
    assert found["lesion/muscle", "uptake_ratio"]["mean"] == pytest.approx(expected)


def test_percist_measures_what_stands_out_of_the_liver(capsys, scan, folder):
    lean = lean_body_mass_janmahasatian(KG, M, "M") / KG
    body = ("--height-m", M, "--sex", "M")
    found = rows_of(capsys, scan, "--method", "percist", "--liver-at", "60,-20,0", *body)
    assert found["lesion-1", "sul_peak"]["mean"] == pytest.approx(TUMOUR * lean, rel=0.03)
    assert found["liver", "suv_lbm_janmahasatian"]["mean"] == pytest.approx(LIVER * lean, rel=0.02)
    lesions = {region for region, quantity in found if quantity == "metabolic_tumour_volume"}
    assert lesions == {"lesion-1", "lesion-2"}
    named = ("--reference", "liver", "--rois", folder / "rois.nii.gz")
    other = rows_of(capsys, scan, "--method", "percist", *named, *body)
    same = ("lesion-1", "suv_lbm_janmahasatian")
    assert other[same]["n_voxels"] == found[same]["n_voxels"]
    words = ("--method", "percist", "--percist", "blood", *named, *body, "--json", "-q")
    said = json.loads(run(capsys, scan, *words).out)["decisions"]["delineation"]["explanation"]
    assert said.startswith("lesions of a SULpeak of at least")
    assert "2 x the mean of the blood" in said


def test_files_of_a_run(capsys, scan, folder, tmp_path):
    words = (scan, "--seed", "tumour=-55,5,0", "--seed", "node=0,52,20", "--rois", folder / "rois.nii.gz")
    out = tmp_path / "out"
    run(capsys, *words, "--background", "muscle", "-o", out)
    from imgtheranostics.io.loading import load

    like = load(out / "suv_bw.nii.gz")
    labels = load_rois(out / "regions.nii.gz", like=like)
    assert list(labels) == ["tumour", "node"]
    record = json.loads((out / "provenance.json").read_text())
    step = record["history"]["delineated"][-1]
    assert step["name"] == "delineate"
    for name in labels:
        inside = like.data[labels.mask(name)]
        assert inside.min() >= 0.41 * inside.max() * (1 - 1e-6)
        assert step["parameters"]["lesions"][name]["threshold"] == pytest.approx(
            0.41 * inside.max(), rel=1e-5
        )
    rows = (out / "quantities.tsv").read_text()
    assert "tumour/muscle\tuptake_ratio\t1" in rows
    figures = {path.name for path in (out / "figures").iterdir()}
    assert {"lesions_suv_bw.svg", "map_suv_bw.svg"} <= figures
    report = (out / "report.html").read_text()
    assert "Metabolic tumour volume" in report
    assert "Outline of the lesions" in report
    again = tmp_path / "again"
    run(capsys, *words, "--background", "muscle", "-o", again, "--no-report")
    for name in ("regions.nii.gz", "regions.json", "quantities.json"):
        assert (out / name).read_bytes() == (again / name).read_bytes()
    run(capsys, *words, "-o", out, code=7)
    run(capsys, *words, "-o", out, "--force", "--no-report")


def test_errors_of_volumes_follow_the_threshold(capsys, scan):
    found = rows_of(capsys, scan, *SEED, "--threshold-uncertainty", 0.05)
    volume = found["lesion", "metabolic_tumour_volume"]
    lower, higher = (
        rows_of(capsys, scan, *SEED, "--threshold", share)["lesion", "metabolic_tumour_volume"]["mean"]
        for share in (0.369, 0.451)
    )
    assert volume["standard_error"] == pytest.approx(0.05 * (lower - higher) / 0.2)
    assert rows_of(capsys, scan, *SEED)["lesion", "metabolic_tumour_volume"]["standard_error"] is None


def test_other_quantities_have_their_totals(capsys, scan):
    activity = rows_of(capsys, scan, *SEED, "--quantity", "activity_concentration")
    total = activity["lesion", "region_activity"]
    assert total["unit"] == "Bq"
    suv = rows_of(capsys, scan, *SEED)["lesion", "total_lesion_glycolysis"]["mean"]
    assert total["mean"] == pytest.approx(PER_SUV * suv, rel=1e-4)
    assert ("lesion", "uptake_peak") in activity


def test_people_see_a_table_and_the_warnings(capsys, scan):
    shown = run(capsys, scan, "--threshold", "8%", "--seed", "-55,5,0")
    assert "metabolic_tumour_volume" in shown.out
    assert "lesion-leaks" in shown.err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((), "--seed"),
        (("--seed", "1,2"), "--seed"),
        (("--seed", "a=1,2,3", "--seed", "4,5,6"), "--seed"),
        (("--method", "fixed", "--threshold", "4", *SEED), "--quantity"),
        (("--method", "fixed", "--quantity", "suv_bw", *SEED), "threshold"),
        (("--method", "fixed", "--quantity", "suv_bw", "--threshold", "41%", *SEED), "--threshold"),
        (("--quantity", "suv", *SEED), "--quantity"),
        (("--threshold", "41", *SEED), "--threshold"),
        (("--threshold", "much", *SEED), "--threshold"),
        (("--scheme", "nestle", *SEED), "--scheme"),
        (("--method", "adaptive", "--keep", "all", *SEED), "--keep"),
        (("--method", "adaptive", "--weights", "2,1", *SEED), "--weights"),
        (("--method", "adaptive", "--adapt-to", "muscle", *SEED), "--adapt-to"),
        (("--method", "otsu", *SEED), "--method"),
        (("--connectivity", "8", *SEED), "--connectivity"),
        (("--reach-mm", "nan", *SEED), "--reach-mm"),
        (("--reach-mm", "0", *SEED), "--reach-mm"),
        (("--method", "gradient", "--smoothing-mm", "0", *SEED), "--smoothing-mm"),
        (("--method", "gradient", "--adapt-to", "nan", *SEED), "--adapt-to"),
        (("--method", "fixed", "--quantity", "suv_bw", "--threshold", "4", "--reach-mm", "9"), "--reach-mm"),
        (("--background", "muscle", *SEED), "muscle"),
        (("--method", "percist", "--liver-at", "1,2"), "--liver-at"),
        (("--method", "percist", "--liver-at", "1,2,3", "--reference", "liver"), "--reference"),
    ],
)
def test_wrong_usage_names_the_option(capsys, scan, words, option):
    assert option in run(capsys, scan, *words, code=2).err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--seed", "0,0,900"), 6, "outside the image"),
        (("--method", "fixed", "--quantity", "suv_bw", "--threshold", "40", *SEED), 3, "does not reach"),
        (("--method", "percist", "--height-m", M, "--sex", "M"), 5, "PERCIST needs a reference"),
        (("--method", "percist", "--liver-at", "60,-20,0"), 5, "PatientSize"),
        (("--method", "percist", "--liver-at", "60,-20,0", "--quantity", "suv_bw"), 6, "lean body mass"),
        (("--method", "adaptive", "--scheme", "sphere", *SEED), 2, "resolution"),
        (("--quantity", "id_per_g", "--within", "nowhere.nii.gz"), 3, "nowhere"),
    ],
)
def test_what_cannot_be_done_is_refused(capsys, scan, words, code, said):
    assert said in run(capsys, scan, *words, code=code).err


def test_a_series_and_a_missing_file_are_refused(capsys, folder):
    assert "not on a series" in run(capsys, folder / "two.nii.gz", *SEED, code=4).err
    run(capsys, folder / "missing.nii.gz", *SEED, code=3)


def test_an_image_without_its_unit_is_refused(capsys, folder, tmp_path):
    image = nibabel.load(folder / "pet.nii.gz").get_fdata()
    write(tmp_path / "pet.nii.gz", image, Units="counts")
    error = run(capsys, tmp_path / "pet.nii.gz", *SEED, code=6).err
    assert "Bq/mL" in error


def test_uptake_has_ratios_of_drawn_regions_too(capsys, scan, folder):
    def uptake(*words, code=0):
        capsys.readouterr()
        given = ("nuclear", "uptake", scan, "--quantity", "suv_bw", *words)
        assert main([str(word) for word in given]) == code
        return capsys.readouterr()

    rois = ("--rois", folder / "rois.nii.gz")
    rows = json.loads(uptake(*rois, "--background", "muscle", "--json", "-q").out)["quantities"]
    found = {(row["region"], row["quantity"]): row for row in rows}
    row = found["liver/muscle", "uptake_ratio"]
    assert row["mean"] == pytest.approx(LIVER / MUSCLE, rel=0.02)
    assert row["mean"] == pytest.approx(found["liver", "suv_bw"]["mean"] / found["muscle", "suv_bw"]["mean"])
    assert row["interval_low"] < row["mean"] < row["interval_high"]
    assert "there is no region 'bone'" in uptake(*rois, "--background", "bone", code=2).err
    assert "--background" in uptake("--background", "muscle", code=2).err
