"""``ct`` commands on simulated scans: numbers, files, calibrations, wrong usage, refusals."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from imgtheranostics.cli.main import main

SHAPE = (40, 36, 12)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
VOXEL_ML = 0.008
SLOPE, AMOUNT = 26.6, 5.33
"""HfO2 at 120 kVp, table B; NBTXR3 that fills a tenth of the tumour (ct.md 4.2, 4.5)."""

SLOPES = {"I": (43.8, 23.8), "HfO2": (26.7, 24.7)}
"""At 80 and 140 kVp, table A."""


def ball(centre, radius):
    place = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.linalg.norm(place - np.array(centre), axis=-1) < radius


TUMOUR, MUSCLE = ball((12, 12, 6), 4.5), ball((28, 24, 6), 4.5)
TUMOUR_MG = AMOUNT * np.count_nonzero(TUMOUR) * VOXEL_ML


def body():
    i, j, _ = np.indices(SHAPE)
    return np.where(((i - 20) / 18) ** 2 + ((j - 18) / 16) ** 2 < 1, 40.0, -1000.0)


def write(path, hu, *, seed=0, noise=10.0, **sidecar):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 0.6)
    image = hu + noise * field / field.std()
    header = nibabel.Nifti1Image(image.astype(np.float32), AFFINE)
    header.header.set_xyzt_units("mm")
    nibabel.save(header, path)
    content = {"Modality": "CT", "Units": "HU", "KVP": 120, "ConvolutionKernel": "B30f"}
    content |= {"SliceThickness": 2.0, "FilterMaterial": "ALUMINUM", "FilterThickness": 7.0} | sidecar
    content = {key: value for key, value in content.items() if value is not None}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(content))
    return path


def labels(path, **masks):
    image = np.zeros(SHAPE, np.int16)
    for n, mask in enumerate(masks.values(), 1):
        image[mask] = n
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), path)
    rows = "".join(f"{n}\t{name}\n" for n, name in enumerate(masks, 1))
    path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text(f"index\tname\n{rows}")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ct")


@pytest.fixture(scope="module")
def rois(folder):
    return labels(folder / "rois.nii.gz", tumour=TUMOUR, muscle=MUSCLE)


@pytest.fixture(scope="module")
def pre(folder):
    return write(folder / "pre.nii.gz", body(), seed=1)


@pytest.fixture(scope="module")
def post(folder):
    return write(folder / "post.nii.gz", body() + SLOPE * AMOUNT * TUMOUR, seed=2)


@pytest.fixture(scope="module")
def change(folder, pre, post, rois):
    out = folder / "change"
    words = ["ct", "enhancement", pre, post, "--rois", rois, "-o", out, "-q", "--json", "--workers", 1]
    assert main([str(word) for word in words]) == 0
    return out


def run(capsys, *words, code=0):
    capsys.readouterr()
    assert main([str(word) for word in words]) == code, capsys.readouterr().err
    return capsys.readouterr()


def rows_of(capsys, *words):
    rows = json.loads(run(capsys, *words, "--json").out)["quantities"]
    return {(row["region"], row["quantity"], row["axis_value"]): row for row in rows}


def within(row, truth, errors=3.0):
    assert abs(row["mean"] - truth) < errors * row["standard_error"], (row["mean"], row["standard_error"])


def test_enhancement_is_the_change_with_an_error_that_fits(capsys, pre, post, rois):
    rows = rows_of(capsys, "ct", "enhancement", pre, post, "--rois", rois)
    within(rows["tumour", "delta_attenuation", None], SLOPE * AMOUNT)
    within(rows["muscle", "delta_attenuation", None], 0.0)
    assert rows["tumour", "delta_attenuation", None]["standard_error"] < 5.0
    contrast = rows["tumour", "contrast_to_noise", None]
    assert contrast["mean"] == pytest.approx(SLOPE * AMOUNT / np.hypot(10.0, 10.0), rel=0.1)


def test_enhancement_writes_what_the_next_step_reads(change):
    names = {path.name for path in change.iterdir()}
    assert {"delta_attenuation.nii.gz", "delta_attenuation_se.nii.gz", "delta_attenuation_pre.nii.gz",
            "flags.nii.gz", "quantities.tsv", "provenance.json", "report.html"} <= names  # fmt: skip
    page = (change / "report.html").read_text()
    assert "Change of X-ray attenuation: before and after" in page
    record = json.loads((change / "provenance.json").read_text())
    assert record["decisions"]["noise"]["voxel_sd_hu"] == pytest.approx(np.hypot(10.0, 10.0), rel=0.1)


@pytest.mark.parametrize("given", ["folder", "map"])
def test_concentration_of_a_saved_change_is_that_of_the_two_scans(capsys, change, pre, post, rois, given):
    path = change if given == "folder" else change / "delta_attenuation.nii.gz"
    slope = ("--material", "HfO2", "--slope", SLOPE, "--slope-error", 0.5, "--rois", rois)
    saved = rows_of(capsys, "ct", "concentration", path, *slope)
    scans = rows_of(capsys, "ct", "concentration", post, "--baseline", pre, *slope)
    assert saved.keys() == scans.keys()
    for key, row in scans.items():
        for name in ("mean", "standard_error", "n_valid"):
            assert saved[key][name] == pytest.approx(row[name], rel=2e-3), (key, name)
    row = saved["tumour", "concentration", None]
    within(row, AMOUNT)
    assert row["standard_error"] > 0.5 / SLOPE * row["mean"]
    limit = saved["tumour", "detection_limit", None]
    assert 0 < limit["mean"] < saved["tumour", "quantification_limit", None]["mean"]
    assert "below-detection-limit" in saved["muscle", "concentration", None]["warnings"]


def test_a_prior_says_so_and_calibrated_slopes_are_not_priors(capsys, change, rois):
    record = json.loads(run(capsys, "ct", "concentration", change, "--material", "nbtxr3", "--json").out)
    slope = record["decisions"]["slope"]
    assert slope["prior"] is True
    assert slope["filter"] == "7 mm Al"
    assert "assumed-beam" in {one["code"] for one in record["warnings"]}
    words = ("--material", "HfO2", "--prior", "B", "--water-cm", 20, "--json")
    table = json.loads(run(capsys, "ct", "concentration", change, *words).out)
    assert table["decisions"]["slope"]["hu_per_mg_ml"] == 26.6
    assert table["decisions"]["slope"]["source"] == "prior: table B"


def test_a_known_background_stands_in_for_the_scan_before(capsys, post, rois):
    words = ("ct", "concentration", post, "--background-hu", 40, "--material", "HfO2", "--slope", SLOPE)
    rows = rows_of(capsys, *words, "--rois", rois, "--blank", "muscle")
    within(rows["tumour", "concentration", None], AMOUNT)
    record = json.loads(run(capsys, *words, "--json").out)
    assert "assumed-background" in {one["code"] for one in record["warnings"]}


def test_micro_ct_grey_values_by_numbers_regions_and_rods_agree(capsys, folder, rois):
    """Grey 10000 is water and 2000 air, so 1 HU is 8 grey values (ct.md F2)."""
    grey = {
        name: write(folder / f"{name}.nii.gz", 10000 + 8 * hu, noise=0.4, seed=7 + n, Units=None, KVP=50)
        for n, (name, hu) in enumerate({"grey_pre": body(), "grey_post": body() + 100.0 * TUMOUR}.items())
    }
    air = ball((2, 2, 6), 2.0)
    places = labels(folder / "places.nii.gz", tumour=TUMOUR, muscle=MUSCLE, air=air)
    known = folder / "rods.csv"
    known.write_text("region,hu\nmuscle,40\nair,-1000\ntumour,140\n")
    rods = folder / "rods.json"
    run(capsys, "ct", "calibrate", grey["grey_post"], "--known", known, "--rois", places, "--save", rods)
    pair = ("ct", "enhancement", grey["grey_pre"], grey["grey_post"], "--rois", rois)
    for words in (("--water", 10000, "--air", 2000), ("--rods", rods)):
        row = rows_of(capsys, *pair, *words)["tumour", "delta_attenuation", None]
        assert row["mean"] == pytest.approx(100.0, rel=2e-3)
    regions = ("--water", "region:muscle", "--air", "region:air")
    row = rows_of(capsys, *pair[:-1], places, *regions)["tumour", "delta_attenuation", None]
    assert row["mean"] == pytest.approx(100.0 * 1000 / 1040, rel=2e-3)


@pytest.fixture(scope="module")
def dual(folder):
    iodine, hafnium = 5.0 * TUMOUR, 8.0 * MUSCLE
    place = folder / "dual"
    place.mkdir()
    for n, kvp in enumerate((140, 80)):
        hu = SLOPES["I"][1 - n] * iodine + SLOPES["HfO2"][1 - n] * hafnium
        write(place / f"{'ab'[n]}.nii.gz", hu, seed=30 + n, noise=4.0, KVP=kvp)
    return place


MEASURED = ("--slopes", "I=43.8,23.8", "--slopes", "HfO2=26.7,24.7")


def test_materials_of_a_folder_are_ordered_by_tube_voltage(capsys, dual, rois):
    """The files are named in the other order."""
    rows = rows_of(capsys, "ct", "materials", dual, "--materials", "I,HfO2", *MEASURED, "--rois", rois)
    within(rows["tumour", "i_mass_concentration", None], 5.0)
    within(rows["tumour", "hfo2_mass_concentration", None], 0.0)
    within(rows["muscle", "hfo2_mass_concentration", None], 8.0)


def test_one_material_comes_with_the_image_without_it(capsys, dual, rois, tmp_path):
    words = (
        "ct",
        "materials",
        dual / "b.nii.gz",
        dual / "a.nii.gz",
        "--materials",
        "I",
        "-o",
        tmp_path / "out",
    )
    run(capsys, *words, "--slopes", "I=43.8,23.8", "--rois", rois)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"i_mass_concentration.nii.gz", "virtual_non_contrast.nii.gz", "report.html"} <= names
    table = (tmp_path / "out" / "quantities.tsv").read_text()
    assert "virtual_non_contrast" in table
    assert "virtual_non_contrast_detection_limit" not in table


def test_what_two_energies_cannot_tell_apart_is_refused_with_its_number(capsys, dual):
    words = ("ct", "materials", dual, "--materials", "HfO2,Au")
    error = run(capsys, *words, code=6).err
    assert "condition number" in error
    assert "--force-ill-posed" in error
    forced = json.loads(run(capsys, *words, "--force-ill-posed", "--json").out)
    assert "forced-separation" in {one["code"] for one in forced["warnings"]}
    three = run(capsys, "ct", "materials", dual, "--materials", "HfO2,Au,Bi", "--force-ill-posed", code=6).err
    assert "condition number" in three


def test_vials_calibrate_and_their_file_is_read_by_the_next_command(capsys, folder, change, rois, dual):
    known = folder / "known.csv"
    known.write_text("region,mg_ml\nmuscle,0\ntumour,5.33\n")
    saved = folder / "hafnium.json"
    vials = write(folder / "vials.nii.gz", SLOPE * AMOUNT * TUMOUR, seed=5)
    water = ball((28, 10, 6), 4.0) | ball((12, 26, 6), 4.0) | MUSCLE
    blank = folder / "water.nii.gz"
    nibabel.save(nibabel.Nifti1Image(water.astype(np.int16), AFFINE), blank)
    words = (
        "ct",
        "calibrate",
        vials,
        "--known",
        known,
        "--rois",
        rois,
        "--material",
        "HfO2",
        "--save",
        saved,
    )
    record = json.loads(run(capsys, *words, "--blank", blank, "--stock-error", 0.02, "--json").out)
    found = record["calibration"]
    assert abs(found["hu_per_mg_ml"] - SLOPE) < 3 * found["standard_error"]
    assert found["standard_error"] > 0.02 * SLOPE
    assert found["kvp"] == 120.0
    assert "exists already" in run(capsys, *words, code=7).err
    rows = rows_of(capsys, "ct", "concentration", change, "--calibration", saved, "--rois", rois)
    within(rows["tumour", "concentration", None], AMOUNT)
    error = run(capsys, "ct", "materials", dual, "--materials", "I", "--calibration", saved, code=6).err
    assert "no calibration of I at 80 kVp" in error


@pytest.fixture(scope="module")
def followups(folder):
    return [
        write(folder / f"day{n}.nii.gz", body() + kept * SLOPE * AMOUNT * TUMOUR, seed=40 + n)
        for n, kept in enumerate((1.0, 0.8))
    ]


def test_retention_counts_what_stays_and_what_was_not_scanned(capsys, pre, followups, rois, tmp_path):
    first, last = followups
    out = tmp_path / "out"
    words = ("ct", "retention", pre, first, "-", last, "--rois", rois, "--material", "HfO2")
    words += ("--slope", SLOPE, "--slope-error", 0.3, "--register", "none", "--day", "0,5", "--day", 12)
    words += ("--injected-mg", TUMOUR_MG, "--shell-mm", 4, "-o", out)
    rows = rows_of(capsys, *words)
    day = 86400.0
    within(rows["tumour", "recovered_fraction", 0.0], 100.0)
    within(rows["tumour", "retained_fraction", 12 * day], 80.0)
    assert rows["tumour", "retained_fraction", 5 * day]["warnings"] == "missing-scan"
    assert rows["tumour", "retained_fraction", 12 * day]["standard_error"] < 3.0
    within(rows["shell 0-4 mm", "agent_mass", 0.0], 0.0)
    image = nibabel.load(out / "concentration.nii.gz")
    assert image.shape == (*SHAPE, 2)
    assert json.loads((out / "concentration.json").read_text())["Axes"][0]["Values"] == [0.0, 12 * day]
    page = (out / "report.html").read_text()
    assert "What is retained" in page
    assert "one follow-up was not made" in page


def test_follow_ups_of_one_folder_are_chosen_by_their_series(capsys, followups, rois, pre, tmp_path):
    words = ("ct", "retention", "--rois", rois, "--material", "HfO2", "--slope", SLOPE, "--register", "none")
    words += ("--no-shells", "--json")
    for name, path in zip("cab", (pre, *followups), strict=True):
        (tmp_path / f"{name}.nii.gz").write_bytes(path.read_bytes())
        (tmp_path / f"{name}.json").write_bytes(path.with_name(f"{path.name[:-7]}.json").read_bytes())
    chosen = ("--series", 3, "--followup-series", 1, "--followup-series", 2)
    one = json.loads(run(capsys, *words, *[tmp_path] * 3, *chosen).out)["quantities"]
    assert one == json.loads(run(capsys, *words, pre, *followups).out)["quantities"]


def test_retention_with_the_macroscopic_dose_enhancement(capsys, pre, followups, rois):
    words = ("ct", "retention", pre, followups[0], "--rois", rois, "--material", "HfO2", "--register", "none")
    words += ("--slope", SLOPE, "--no-shells")
    record = json.loads(run(capsys, *words, "--photon-kev", 60, "--json").out)
    told = [one["message"] for one in record["warnings"] if one["code"] == "macroscopic-only"]
    assert len(told) == 1
    assert "nanoscale" in told[0]
    row = next(one for one in record["quantities"] if one["quantity"] == "dose_enhancement")
    assert row["unit"] == "1"
    # ratio 81 at 60 keV in ct.md 4.6
    assert abs(row["mean"] - 1 - 80 * AMOUNT / (1000 + AMOUNT)) < 3 * row["standard_error"]
    error = run(capsys, *words, "--photon-kev", 6000, code=6).err
    assert "10 to 800 keV" in error
    assert "--dose-ratio" in error
    given = rows_of(capsys, *words, "--photon-kev", 6000, "--dose-ratio", 1.0)
    assert given["tumour", "dose_enhancement", 0.0]["mean"] == 1.0
    assert "--dose-ratio" in run(capsys, *words, "--dose-ratio", 0, code=2).err


def test_without_the_injected_mass_only_the_recovery_is_missing(capsys, pre, followups, rois):
    words = ("ct", "retention", pre, *followups, "--rois", rois, "--material", "HfO2", "--register", "none")
    record = json.loads(run(capsys, *words, "--json").out)
    assert "injected-mass-not-given" in {one["code"] for one in record["warnings"]}
    quantities = {row["quantity"] for row in record["quantities"]}
    assert "retained_fraction" in quantities
    assert "recovered_fraction" not in quantities
    assert "--injected-mg" in run(capsys, *words, "--require-recovery", code=5).err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["enhancement", "PRE", "POST80"], 6, "tube voltage (kV) 120 and 80"),
        (["enhancement", "SILENT", "POST"], 5, "--units HU"),
        (["enhancement", "PRE", "POST", "--water", "100"], 2, "--air"),
        (["enhancement", "PRE", "POST", "--noise-sd", "a"], 2, "--noise-sd"),
        (["enhancement", "PRE", "POST", "--noise-sd", "1,2,3"], 2, "--noise-sd"),
        (["enhancement", "PRE", "POST", "--blank", "nothing"], 2, "--blank"),
        (["enhancement", "PRE", "POST", "--register-mask", "PRE"], 2, "--register"),
        (["enhancement", "PRE", "absent.nii.gz"], 3, "does not exist"),
        (["concentration", "POST", "--material", "HfO2"], 2, "--baseline"),
        (["concentration", "CHANGE"], 2, "--material"),
        (["concentration", "CHANGE", "--material", "HfO3x"], 4, "HfO3x"),
        (["concentration", "CHANGE", "--material", "HfO2", "--kvp", "80"], 6, "120"),
        (["concentration", "CHANGE", "--material", "HfO2", "--register", "rigid"], 2, "--register"),
        (["concentration", "CHANGE", "--material", "HfO2", "--units", "HU"], 2, "--units"),
        (["concentration", "CHANGE", "--material", "HfO2", "--slope-error", "1"], 2, "--slope-error"),
        (["concentration", "CHANGE", "--material", "HfO2", "--slope", "26", "--prior", "A"], 2, "prior"),
        (["concentration", "POST", "--background-error-hu", "2", "--material", "I"], 2, "--background-hu"),
        (["concentration", "POST", "--background-hu", "4", "--baseline", "PRE", "--material", "I"],
         2, "not both"),
        (["materials", "PRE", "--materials", "I,I"], 2, "--materials"),
        (["materials", "PRE", "--materials", "I,HfO2", "--slopes", "I"], 2, "--slopes"),
        (["materials", "PRE", "POST", "--materials", "I,HfO2", "--series", "1"], 2, "--series"),
        (["retention", "PRE", "POST", "--material", "I"], 2, "--rois"),
        (["retention", "PRE", "gone.nii.gz", "--material", "I", "--rois", "ROIS"], 3, "gone.nii.gz"),
        (["retention", "PRE", "POST", "--material", "I", "--rois", "ROIS", "--tumour", "node"], 2, "node"),
        (["retention", "PRE", "POST", "--material", "I", "--rois", "ROIS", "--day", "1,2"], 2, "days"),
        (["retention", "PRE", "-", "--material", "I", "--rois", "ROIS"], 3, "no scan after"),
        (["retention", "PRE", "POST", "--material", "I", "--rois", "ROIS", "--no-shells", "--shell-mm", "3"],
         2, "--no-shells"),
    ],
)  # fmt: skip
def test_wrong_words_and_wrong_scans_are_told(capsys, folder, pre, post, change, rois, words, code, said):
    named = {"PRE": pre, "POST": post, "CHANGE": change, "ROIS": rois}
    if "POST80" in words:
        named["POST80"] = write(folder / "post80.nii.gz", body(), KVP=80)
    if "SILENT" in words:
        named["SILENT"] = write(folder / "silent.nii.gz", body(), Units=None)
    error = run(capsys, "ct", *(named.get(word, word) for word in words), code=code).err
    assert said in error


def test_stated_units_and_allowed_differences_open_what_was_refused(capsys, folder, post, rois):
    silent = write(folder / "silent.nii.gz", body(), Units=None, seed=1)
    rows = rows_of(capsys, "ct", "enhancement", silent, post, "--units", "HU", "--rois", rois)
    within(rows["tumour", "delta_attenuation", None], SLOPE * AMOUNT)
    other = write(folder / "kernel.nii.gz", body(), ConvolutionKernel="B70f", seed=1)
    assert "kernel" in run(capsys, "ct", "enhancement", other, post, code=6).err
    record = json.loads(
        run(capsys, "ct", "enhancement", other, post, "--allow-mismatch", "kernel", "--json").out
    )
    assert "settings-differ" in {one["code"] for one in record["warnings"]}


def test_metal_is_left_out_and_said(capsys, folder, pre, rois):
    hu = body() + SLOPE * AMOUNT * TUMOUR
    hu[12, 12, 6] = 3071.0
    metal = write(folder / "metal.nii.gz", hu, noise=0.0)
    record = json.loads(run(capsys, "ct", "enhancement", pre, metal, "--rois", rois, "--json").out)
    assert "saturated-voxels" in {one["code"] for one in record["warnings"]}
    (row,) = [row for row in record["quantities"]
              if (row["region"], row["quantity"]) == ("tumour", "delta_attenuation")]  # fmt: skip
    assert row["n_valid"] == row["n_voxels"] - 1
    assert "saturated-in-region" in row["warnings"]
