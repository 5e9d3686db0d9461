"""``nuclear curves``: fits of curves whose half-lives are chosen, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from imgtheranostics.cli import nuclear_curve_groups
from imgtheranostics.cli.main import main
from imgtheranostics.nuclear import curve_models

HOUR = 3600.0
CU64_H = 12.7
"""ICRP-107: 12.700 h."""

SHAPE = (8, 6, 5)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
DOSE_MBQ = 7.4
UPTAKE = {"tumour": (12.0, 60.0), "liver": (8.0, 20.0)}
"""%ID/g at the injection, and biological half-life in h."""

FRAME_S = 600.0
HOURS = (1.0, 4.0, 12.0, 24.0, 48.0)


def place(region):
    return np.s_[:3] if region == "tumour" else np.s_[4:7]


def write_scan(folder, hours):
    """PET-BIDS, corrected to its own start, of what is there at the middle of the frame."""
    folder.mkdir()
    image = np.zeros(SHAPE)
    for region, (amount, half) in UPTAKE.items():
        kept = amount / 100 * 2 ** (-(hours + FRAME_S / 7200) / half)
        image[place(region)] = kept * DOSE_MBQ * 1e6 * 2 ** (-hours / CU64_H)
    nifti = nibabel.Nifti1Image(image.astype(np.float32), AFFINE)
    nifti.header.set_xyzt_units("mm", "sec")
    nibabel.save(nifti, folder / "pet.nii.gz")
    start = hours * HOUR
    content = {
        "Modality": "PT", "Units": "Bq/mL", "TracerRadionuclide": "Cu64", "InjectedRadioactivity": DOSE_MBQ,
        "InjectedRadioactivityUnits": "MBq", "TimeZero": "10:00:00", "InjectionStart": 0, "ScanStart": start,
        "FrameTimesStart": [start], "FrameDuration": [FRAME_S], "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": start, "PatientWeight": 0.02,
    }  # fmt: skip
    (folder / "pet.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    labels = np.zeros(SHAPE, np.int16)
    for n, region in enumerate(UPTAKE, 1):
        labels[place(region)] = n
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), folder / "rois.nii.gz")
    (folder / "rois.tsv").write_text("index\tname\n1\ttumour\n2\tliver\n")
    paths = [write_scan(folder / f"at_{hours:g}", hours) for hours in HOURS]
    return [str(path) for path in paths], ["--rois", str(folder / "rois.nii.gz")]


def table_of(folder, header="time [h],tumour [%ID/g],liver [%ID/g]", hours=HOURS, name="samples.csv"):
    rows = [header]
    for time in hours:
        values = [amount * 2 ** (-time / half) for amount, half in UPTAKE.values()]
        rows.append(",".join(map(repr, [float(time), *map(float, values)])))
    path = folder / name
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def rows_of(arguments, capsys):
    code = main([str(word) for word in [*arguments, "--json", "-q"]])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return {
        (row["region"], row["quantity"]): row
        for row in json.loads(printed.out)["quantities"]
        if not row["axis"]
    }


def refused(arguments, capsys):
    code = main([str(word) for word in [*arguments, "-q"]])
    return code, capsys.readouterr().err


def test_the_choices_of_the_options_are_those_of_the_library():
    assert ("none", *curve_models.MODELS) == nuclear_curve_groups.MODELS
    assert tuple(curve_models.TERMS) == nuclear_curve_groups.EXPONENTIALS
    assert nuclear_curve_groups.WEIGHTS == curve_models.WEIGHTS


def test_scans_give_half_lives_and_decays_per_gram(scans, capsys):
    """Closed form: 1/T_eff = 1/60 h + 1/12.7 h, area 0.12 T_eff / ln 2 per gram."""
    paths, rois = scans
    rows = rows_of(["nuclear", "curves", *paths, *rois, "--quantity", "id_per_g", "--model", "mono"], capsys)
    effective = 1 / (1 / 60 + 1 / CU64_H)
    assert rows["tumour", "effective_half_life"]["mean"] / HOUR == pytest.approx(effective, rel=2e-4)
    assert rows["tumour", "biological_half_life"]["mean"] / HOUR == pytest.approx(60, rel=2e-3)
    area = rows["tumour", "tiac_per_g"]
    assert area["mean"] == pytest.approx(0.12 * effective * HOUR / np.log(2), rel=1e-3)
    assert area["lower"] <= area["mean"] <= area["upper"]
    assert area["standard_error"] == pytest.approx(0.05 * area["mean"], rel=0.01)
    assert area["terms"] == 1.0
    share = 100 * 2 ** (-(48 + FRAME_S / 7200) / effective)
    assert rows["tumour", "extrapolated_fraction"]["mean"] == pytest.approx(share, rel=5e-3)


def test_scans_of_one_folder_are_chosen_by_their_series(scans, tmp_path, capsys):
    """The order of the command line counts, and that of the listing does not."""
    paths, rois = scans
    for name, path in zip("edcb", paths, strict=False):
        for suffix in ("nii.gz", "json"):
            (tmp_path / f"{name}.{suffix}").write_bytes(Path(path, f"pet.{suffix}").read_bytes())
    flat = ["nuclear", "curves", *[tmp_path] * 4, paths[4], *rois, "--model", "mono"]
    chosen = [word for series in (4, 3, 2, 1, "-") for word in ("--series", series)]
    assert rows_of([*flat, *chosen], capsys) == rows_of(
        ["nuclear", "curves", *paths, *rois, "--model", "mono"], capsys
    )
    code, said = refused([*flat, "--series", 4, "--series", 3], capsys)
    assert code == 2
    assert "2 times for 5 scans" in said


def test_people_read_hours_and_programs_seconds(tmp_path, capsys):
    """1 / (1/60 + 1/12.7) = 10.48 h."""
    words = ["nuclear", "curves", table_of(tmp_path), "--nuclide", "Cu-64", "--decay-corrected"]
    assert main([*words, "--model", "mono", "-q", "-o", str(tmp_path / "out")]) == 0
    line = next(row for row in capsys.readouterr().out.splitlines() if "effective_half_life" in row)
    assert line.split()[:3] == ["tumour", "effective_half_life", "10.48"]
    assert " h " in line
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Time-integrated activity per gram" in report
    assert 'title="UCUM code s/g">h/g<' in report
    rows = (tmp_path / "out" / "quantities.tsv").read_text().splitlines()
    cells = dict(
        zip(
            rows[0].split("\t"), next(row for row in rows if "effective_half" in row).split("\t"), strict=True
        )
    )
    assert cells["unit"] == "s"
    assert float(cells["mean"]) == pytest.approx(10.48 * HOUR, rel=1e-3)


def test_without_a_model_there_are_curves_alone(scans, capsys):
    paths, rois = scans
    assert not rows_of(["nuclear", "curves", *paths, *rois], capsys)


def test_trapezoids_with_their_tail(scans, capsys):
    """Exact for exponentials in logarithmic pieces; the physical tail is more than that of the last phase."""
    paths, rois = scans
    start = ["nuclear", "curves", *paths, *rois, "--quantity", "id_per_g", "--model", "linear_log"]
    own = rows_of([*start, "--tail", "last_phase", "--beginning", "physical"], capsys)["liver", "tiac_per_g"]
    effective = 1 / (1 / 20 + 1 / CU64_H)
    assert own["mean"] == pytest.approx(0.08 * effective * HOUR / np.log(2), rel=5e-3)
    physical = rows_of([*start, "--beginning", "physical"], capsys)["liver", "tiac_per_g"]
    none = rows_of([*start, "--beginning", "physical", "--tail", "none"], capsys)["liver", "tiac_per_g"]
    assert physical["mean"] > own["mean"] > none["mean"]


def test_maps_are_those_of_the_regions(scans, tmp_path, capsys):
    paths, rois = scans
    words = ["nuclear", "curves", *paths, *rois, "--quantity", "id_per_g", "--model", "mono", "--maps"]
    rows = rows_of([*words, "--threshold", "1", "-o", tmp_path / "out"], capsys)
    image = nibabel.load(tmp_path / "out" / "tiac_per_g.nii.gz").get_fdata()
    assert np.nanmean(image[place("tumour")]) == pytest.approx(rows["tumour", "tiac_per_g"]["mean"], rel=1e-3)
    assert np.isnan(image[3]).all()
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.svg")}
    assert {"activity-fits_id_per_g", "map_tiac_per_g", "curves_id_per_g"} <= figures
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Effective half-life" in report
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["parameters"]["model"] == "mono"


def test_samples_of_a_table_are_fitted_too(tmp_path, capsys):
    path = table_of(tmp_path)
    words = ["nuclear", "curves", path, "--nuclide", "Cu-64", "--decay-corrected", "--no-uptake"]
    rows = rows_of([*words, "--weights", "relative", "-o", tmp_path / "out"], capsys)
    assert rows["liver", "biological_half_life"]["mean"] / HOUR == pytest.approx(20, rel=1e-4)
    given = rows_of(
        ["nuclear", "curves", path, "--half-life", "12.7h", "--decay-corrected", "--model", "mono"], capsys
    )
    assert given["liver", "tiac_per_g"]["mean"] == pytest.approx(
        rows["liver", "tiac_per_g"]["mean"], rel=1e-3
    )
    assert (tmp_path / "out" / "figures" / "activity-fits_id_per_g.svg").is_file()


def test_intervals_by_the_bootstrap_have_a_seed(tmp_path, rng, capsys):
    rows = ["time [h],liver [%ID/g]"]
    rows += [
        f"{h},{8 * 2 ** (-h / 20) * (1 + 0.05 * rng.standard_normal())}" for h in (1, 3, 6, 12, 24, 36, 48)
    ]
    (tmp_path / "noisy.csv").write_text("\n".join(rows) + "\n")
    words = ["nuclear", "curves", tmp_path / "noisy.csv", "--nuclide", "Cu-64", "--decay-corrected"]
    words += ["--model", "mono", "--intervals", "bootstrap", "--level", "0.9"]
    one, same, other = (
        rows_of([*words, "--seed", seed], capsys)["liver", "tiac_per_g"] for seed in (1, 1, 2)
    )
    assert one["lower"] == same["lower"]
    assert one["lower"] != other["lower"]
    assert one["lower"] < one["mean"] < one["upper"]


def test_files_that_are_not_there(tmp_path, scans, capsys):
    paths, rois = scans
    code, said = refused(["nuclear", "curves", tmp_path / "none.csv", "--nuclide", "Cu-64"], capsys)
    assert code == 3
    assert "no such file" in said
    code, _ = refused(["nuclear", "curves", tmp_path / "none", *rois], capsys)
    assert code == 3
    code, _ = refused(["nuclear", "curves", *paths, "--rois", tmp_path / "none.nii.gz"], capsys)
    assert code == 3


SAMPLES = "time [h],liver [%ID/g]"


@pytest.mark.parametrize(
    ("text", "options", "code", "message"),
    [
        (f"{SAMPLES}\n1,5\n2,4\n", ["--model", "bi"], 6, "cannot be quantified"),
        (f"{SAMPLES}\n1,5\n4,3\n2,4\n8,1\n", [], 6, "do not increase"),
        (f"{SAMPLES}\n-1,5\n4,3\n6,2\n8,1\n", [], 6, "before the injection"),
        (f"{SAMPLES},decay_corrected\n1,5,yes\n2,4,no\n4,3,yes\n", [], 6, "mixed"),
        ("time [h],liver [%ID/oz]\n1,5\n2,4\n4,3\n", [], 6, "not known"),
        ("time,liver [%ID/g]\n1,5\n2,4\n4,3\n", [], 5, "unit of the times"),
        (f"{SAMPLES}\n1,5\n2,four\n4,3\n", [], 4, "no number"),
        (f"{SAMPLES}\n1,5\n2,0\n4,3\n8,2\n", ["--weights", "relative"], 6, "above zero"),
    ],
)
def test_bad_tables_are_refused_with_what_to_do(tmp_path, capsys, text, options, code, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    decay = [] if "mixed" in message else ["--decay-corrected"]
    words = ["nuclear", "curves", path, "--nuclide", "Cu-64", *decay]
    found, said = refused([*words, *(options or ["--model", "mono"])], capsys)
    assert found == code, said
    assert message in said


def test_negative_activity_is_said(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text(f"{SAMPLES}\n1,5\n2,4\n4,3\n8,-0.2\n")
    words = ["nuclear", "curves", str(path), "--nuclide", "Cu-64", "--decay-corrected", "--model", "mono"]
    assert main(words) == 0
    assert "negative-activity" in capsys.readouterr().err


def test_a_table_whose_reference_nobody_states_asks_for_it(tmp_path, capsys):
    code, said = refused(["nuclear", "curves", table_of(tmp_path), "--nuclide", "Cu-64"], capsys)
    assert code == 5
    assert "--as-measured" in said
    code, said = refused(["nuclear", "curves", table_of(tmp_path), "--decay-corrected"], capsys)
    assert code == 5
    assert "--nuclide" in said


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--model", "quartic"], "--model"),
        (["--tail", "none"], "--tail"),
        (["--model", "mono", "--tail", "none"], "--tail"),
        (["--model", "linear", "--weights", "equal"], "--weights"),
        (["--model", "mono", "--level", "95"], "--level"),
        (["--model", "mono", "--seed", "1"], "--seed"),
        (["--maps"], "--maps"),
        (["--model", "mono", "--threshold", "1"], "--threshold"),
        (["--half-life", "12h"], "--half-life"),
        (["--dose", "8kg"], "--dose"),
        (["--dose", "8"], "--dose"),
    ],
)
def test_options_that_cannot_be_are_named(scans, capsys, words, option):
    paths, rois = scans
    code, said = refused(["nuclear", "curves", *paths, *rois, *words], capsys)
    assert code == 2
    assert option in said


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--rois", "rois.nii.gz"], "--rois"),
        (["--series", "2"], "--series"),
        (["--maps"], "--maps"),
        (["--dose", "8MBq"], "--dose"),
        (["--model", "none"], "--model"),
        (["--half-life", "12MBq"], "--half-life"),
        (["--half-life", "12h", "--nuclide", "Cu-64"], "--half-life"),
        (["--quantity", "suv_bw"], "--quantity"),
    ],
)
def test_options_for_scans_are_refused_for_a_table(tmp_path, capsys, words, option):
    code, said = refused(["nuclear", "curves", table_of(tmp_path), "--decay-corrected", *words], capsys)
    assert code == 2
    assert option in said


def test_regions_are_asked_for_and_maps_of_suv_are_none(scans, capsys):
    paths, rois = scans
    code, said = refused(["nuclear", "curves", *paths], capsys)
    assert code == 2
    assert "--rois" in said
    words = ["nuclear", "curves", *paths, *rois, "--quantity", "suv_bw", "--model", "mono", "--maps"]
    code, said = refused(words, capsys)
    assert code == 2
    assert "quantity" in said


def test_identifiers_stay_out_of_the_record(tmp_path, capsys):
    path = table_of(tmp_path, name="Mustermann_Erika.csv")
    words = ["nuclear", "curves", path, "--nuclide", "Cu-64", "--decay-corrected", "--model", "mono"]
    assert main([*words, "-o", str(tmp_path / "out"), "-q"]) == 0
    capsys.readouterr()
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            assert b"Mustermann" not in file.read_bytes()
