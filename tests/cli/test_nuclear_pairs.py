"""``nuclear pairs`` on mice whose uptake is chosen: what is written and printed, and where it refuses."""

from __future__ import annotations

import json
import math
import re

import nibabel
import numpy as np
import pandas as pd
import pytest

from imgtheranostics.cli.main import main
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.nuclear.absorbed_fractions import absorbed_fraction
from imgtheranostics.nuclear.dosimetry import local_s

HOUR = 3600.0
SHAPE = (14, 12, 10)
DOSE_MBQ = 8.0
FRAME_S = 600.0
HOURS = (1.0, 4.0, 24.0, 48.0)
UPTAKE = {"tumour": (12.0, 60.0), "liver": (8.0, 30.0)}
"""%ID/g at the injection and biological half-life in h."""


def masks():
    place = np.indices(SHAPE)
    inside = {"tumour": (3, 3, 5), "liver": (9, 8, 5)}
    return {
        name: np.linalg.norm(np.moveaxis(place, 0, -1) - np.array(centre), axis=-1) < 2.6
        for name, centre in inside.items()
    }


def make_scans(folder, name="Y86", half_life_s=None, hours=HOURS, noise=0.01, **sidecar):
    """PET-BIDS scans of a mouse, corrected to the start of each."""
    rng = np.random.default_rng(5)
    seconds = half_life_s or nuclide(name).half_life_s
    paths = []
    for after in hours:
        image, start = np.zeros(SHAPE), after * HOUR
        for region, inside in masks().items():
            amplitude, biological = UPTAKE[region]
            share = amplitude / 100 * 2 ** -((start + FRAME_S / 2) / biological / HOUR)
            image[inside] = share * DOSE_MBQ * 1e6 * 2 ** (-start / seconds)
        image *= 1.0 + noise * rng.standard_normal(SHAPE)
        place = folder / f"scan_{after:g}h"
        place.mkdir()
        nifti = nibabel.Nifti1Image(image.astype(np.float32), np.eye(4))
        nifti.header.set_xyzt_units("mm", "sec")
        nibabel.save(nifti, place / "pet.nii.gz")
        content = {
            "Modality": "PT", "Units": "Bq/mL", "TracerName": "particle", "TracerRadionuclide": name,
            "InjectedRadioactivity": DOSE_MBQ, "InjectedRadioactivityUnits": "MBq", "PatientWeight": 0.02,
            "TimeZero": "10:00:00", "InjectionStart": 0, "ScanStart": start, "FrameTimesStart": [start],
            "FrameDuration": [FRAME_S], "ImageDecayCorrected": True, "ImageDecayCorrectionTime": start,
        }  # fmt: skip
        kept = {key: value for key, value in (content | sidecar).items() if value is not None}
        (place / "pet.json").write_text(json.dumps(kept))
        paths.append(place)
    return paths


@pytest.fixture
def rois(tmp_path):
    image = np.zeros(SHAPE, np.int16)
    for n, inside in enumerate(masks().values(), 1):
        image[inside] = n
    path = tmp_path / "rois.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), path)
    (tmp_path / "rois.tsv").write_text("index\tname\n1\ttumour\n2\tliver\n")
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return make_scans(tmp_path_factory.mktemp("scans"))


def run(arguments, capsys):
    """What is printed as JSON, and the warnings."""
    code = main([str(word) for word in ["nuclear", "pairs", *arguments, "--json"]])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out), " ".join(printed.err.split())


def refusal(arguments, capsys):
    code = main([str(word) for word in ["nuclear", "pairs", *arguments]])
    return code, re.sub(r"[│╭╮╰╯─]", "", " ".join(capsys.readouterr().err.split()))


def value(result, region, quantity, column="mean"):
    (row,) = [one for one in result["quantities"] if one["region"] == region and one["quantity"] == quantity]
    return row[column]


def effective_s(biological_h, name):
    return HOUR / (1 / biological_h + HOUR / nuclide(name).half_life_s)


def table_file(folder, hours=HOURS, **columns):
    text = "time [h],tumour [%ID/g],decay_corrected\n"
    text += "".join(f"{h},{12 * 2 ** (-h / 60):.6f},true\n" for h in hours)
    path = folder / "samples.csv"
    path.write_text(text)
    return path


def test_scans_become_the_dose_of_the_twin(scans, rois, capsys):
    """12 %ID/g cleared with 60 h: T_eff 31.0 h and 2.89 Gy/MBq of 90Y (pet.md); noise of 1 %."""
    result, said = run([*scans, "--rois", rois, "--given", "Y-90", "--model", "mono"], capsys)
    for region, (amplitude, biological) in UPTAKE.items():
        effective = effective_s(biological, "Y-90")
        area = amplitude / 100 * effective / math.log(2)
        assert value(result, region, "effective_half_life") == pytest.approx(effective, rel=5e-3)
        assert value(result, region, "tiac_per_g") == pytest.approx(area, rel=5e-3)
        imaged = amplitude / 100 * effective_s(biological, "Y-86") / math.log(2)
        assert value(result, region, "imaged_tiac_per_g") == pytest.approx(imaged, rel=5e-3)
        dose = area * local_s("Y-90") * 1e-3
        assert value(result, region, "local_dose_per_activity") == pytest.approx(dose, rel=5e-3)
        lower, upper = (value(result, region, "local_dose_per_activity", end) for end in ("lower", "upper"))
        assert lower < value(result, region, "local_dose_per_activity") < upper
        mass = np.count_nonzero(masks()[region]) * 1e-3
        sphere = float(absorbed_fraction("Y-90", mass_g=mass, density_g_ml=1.0).dose_gy(area * mass))
        assert value(result, region, "self_dose_per_activity") == pytest.approx(sphere, rel=5e-3)
        assert value(result, region, "id_per_g_at_injection") == pytest.approx(amplitude, rel=5e-3)
    assert value(result, "tumour", "local_dose_per_activity") == pytest.approx(2.89, rel=5e-3)
    assert value(result, "tumour", "local_dose_per_activity", "standard_error") > 0.04 * 2.89
    for sentence in ("Y-90 is taken to be carried", "an image shows the label", "628, 1077 keV"):
        assert sentence in said
    assert "34 % of the decays of Y-90" in said


def test_what_is_written(scans, rois, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [*scans, "--rois", rois, "--given", "90Y", "--model", "mono", "-o", out]
    assert main([str(word) for word in ["nuclear", "pairs", *arguments]]) == 0
    printed = capsys.readouterr()
    assert "local_dose_per_activity" in printed.out
    assert "[same-biology]" in printed.err
    table = pd.read_csv(out / "quantities.tsv", sep="\t")
    assert set(table["region"]) == {"tumour", "liver"}
    record = json.loads((out / "provenance.json").read_text())
    assert record["decisions"]["pair"]["imaged"] == "Y-86"
    assert {"imaged": "Y-86", "given": "Y-90", "model": "mono"}.items() <= record["parameters"].items()
    assert record["decisions"]["pair"]["explanation"].startswith("Y-90 is taken to be carried")
    page = (out / "report.html").read_text()
    assert "the carrier and its therapy" in page
    assert "Y-90, predicted" in (out / "figures" / "pair_id_per_g.svg").read_text()
    assert main([str(word) for word in ["nuclear", "pairs", *arguments]]) == 7
    assert main([str(word) for word in ["nuclear", "pairs", *arguments, "--force", "-q"]]) == 0


def test_maps_hold_the_cross_fire_that_regions_do_not(scans, rois, tmp_path, capsys):
    """Kernel doses of a small sphere are those of its absorbed fraction, local ones those of the table."""
    common = [*scans, "--rois", rois, "--given", "Y-90", "--model", "mono"]
    local, _ = run([*common, "--dose-maps", "local"], capsys)
    quantity = "absorbed_dose_per_activity"
    expected = value(local, "tumour", "local_dose_per_activity")
    assert value(local, "tumour", quantity) == pytest.approx(expected, rel=5e-3)
    out = tmp_path / "out"
    kernel, _ = run([*common, "--dose-maps", "kernel", "-o", out, "--no-report"], capsys)
    sphere = value(kernel, "tumour", "self_dose_per_activity")
    assert value(kernel, "tumour", quantity) == pytest.approx(sphere, rel=0.08)
    assert value(kernel, "tumour", quantity) < 0.6 * expected
    image = nibabel.load(out / "absorbed_dose_per_activity.nii.gz").get_fdata()
    assert image[masks()["tumour"]].mean() == pytest.approx(value(kernel, "tumour", quantity), rel=1e-4)
    assert (out / "tiac_per_ml_extrapolated_fraction.nii.gz").is_file()


def test_a_table_of_samples_gives_the_same(tmp_path, capsys):
    path = table_file(tmp_path)
    result, said = run([path, "--imaged", "86Y", "--given", "Y-90", "--mass", "tumour=0.2"], capsys)
    assert value(result, "tumour", "local_dose_per_activity") == pytest.approx(2.889, rel=1e-3)
    area = 0.12 * effective_s(60.0, "Y-90") / math.log(2)
    sphere = float(absorbed_fraction("Y-90", mass_g=0.2, density_g_ml=1.0).dose_gy(area * 0.2))
    assert value(result, "tumour", "self_dose_per_activity") == pytest.approx(sphere, rel=1e-3)
    assert "Y-90 is taken to be carried" in said
    measured, _ = run(
        [path, "--imaged", "Y-86", "--given", "Y-90", "--terms", "1", "--intervals", "bootstrap"], capsys
    )
    assert value(measured, "tumour", "tiac_per_g") == pytest.approx(area, rel=1e-3)
    assert "self_dose_per_activity" not in {row["quantity"] for row in measured["quantities"]}


def test_two_elements_are_refused_or_said(tmp_path, capsys):
    path = table_file(tmp_path, (1.0, 24.0, 48.0, 120.0))
    code, said = refusal([path, "--imaged", "Zr-89", "--given", "Lu-177"], capsys)
    assert code == 6
    assert "different elements" in said
    assert "--other-element" in said
    _, said = run([path, "--imaged", "Zr-89", "--given", "Lu-177", "--other-element"], capsys)
    assert "not one element" in said
    _, said = run([path, "--imaged", "In-111", "--given", "Y-90"], capsys)
    assert "yttrium that did goes to bone" in said


def test_much_extrapolation_is_said_and_refused_where_asked(tmp_path, capsys):
    path = table_file(tmp_path, (0.5, 1.0, 2.0, 4.0))
    arguments = [path, "--imaged", "Ga-68", "--given", "Lu-177", "--model", "mono"]
    _, said = run(arguments, capsys)
    assert "94 % of the decays of Lu-177" in said
    assert "more assumed than measured" in said
    code, said = refusal([*arguments, "--most-extrapolated", 90], capsys)
    assert code == 6
    assert "94 %" in said
    assert refusal([*arguments, "--most-extrapolated", 95], capsys)[0] == 0


def test_the_nuclide_that_was_imaged_must_be_known(tmp_path, rois, capsys):
    paths = make_scans(tmp_path, half_life_s=nuclide("Y-86").half_life_s, TracerRadionuclide=None,
                       TracerHalfLife=None)  # fmt: skip
    code, said = refusal([*paths, "--rois", rois, "--given", "Y-90"], capsys)
    assert code == 5
    assert "--nuclide" in said or "--imaged" in said
    result, _ = run([*paths, "--rois", rois, "--given", "Y-90", "--imaged", "86Y", "--model", "1"], capsys)
    assert value(result, "tumour", "local_dose_per_activity") == pytest.approx(2.89, rel=5e-3)


def test_scans_of_another_nuclide_than_is_said_are_refused(scans, rois, capsys):
    code, said = refusal([*scans, "--rois", rois, "--given", "Cu-67", "--imaged", "Cu-64"], capsys)
    assert code == 6
    assert "another nuclide than is said" in said


@pytest.mark.parametrize(
    ("extra", "option"),
    [
        (["--given", "Y-90"], "--rois"),
        (["--rois", "ROIS"], "--given"),
        (["--rois", "ROIS", "--given", "Y-90", "--mass", "tumour"], "--mass"),
        (["--rois", "ROIS", "--given", "Y-90", "--mass", "tumour=-1"], "--mass"),
        (["--rois", "ROIS", "--given", "Y-90", "--mass", "kidney=1"], "--mass"),
        (["--rois", "ROIS", "--given", "Y-90", "--model", "spline"], "--model"),
        (["--rois", "ROIS", "--given", "Y-90", "--tail", "physical"], "--tail"),
        (["--rois", "ROIS", "--given", "Y-90", "--model", "linear", "--level", "0.9"], "--level"),
        (["--rois", "ROIS", "--given", "Y-90", "--seed", "1"], "--seed"),
        (["--rois", "ROIS", "--given", "Y-90", "--most-extrapolated", "0"], "--most-extrapolated"),
        (["--rois", "ROIS", "--given", "Y-90", "--most-extrapolated", "120"], "--most-extrapolated"),
        (["--rois", "ROIS", "--given", "Y-90", "--progeny", "some"], "--progeny"),
        (["--rois", "ROIS", "--given", "Y-90", "--dose-maps", "monte-carlo"], "--dose-maps"),
        (["--rois", "ROIS", "--given", "Y-90", "--quantity", "suv_bw"], "--quantity"),
        (["--rois", "ROIS", "--given", "Y-90", "--density-g-ml", "nan"], "--density-g-ml"),
        (["--rois", "ROIS", "--given", "Y-90", "--dose", "8"], "--dose"),
        (["--rois", "ROIS", "--given", "Y-90", "--dose", "8kg"], "--dose"),
        (["--rois", "ROIS", "--given", "Y-90", "--as-measured"], "--decay-corrected"),
    ],
)
def test_wrong_options_are_named(scans, rois, extra, option, capsys):
    words = [rois if word == "ROIS" else word for word in extra]
    code, said = refusal([*scans, *words], capsys)
    assert code == 2, said
    assert option in said


@pytest.mark.parametrize(
    ("extra", "option"),
    [
        (["--given", "Y-90"], "--imaged"),
        (["--given", "Y-90", "--imaged", "Y-86", "--dose", "8MBq"], "--dose"),
        (["--given", "Y-90", "--imaged", "Y-86", "--rois", "ROIS"], "--rois"),
        (["--given", "Y-90", "--imaged", "Y-86", "--dose-maps", "local"], "--dose-maps"),
        (["--given", "Y-90", "--imaged", "Y-86", "--strict-clock"], "--strict-clock"),
    ],
)
def test_options_of_scans_are_refused_for_a_table(tmp_path, rois, extra, option, capsys):
    words = [rois if word == "ROIS" else word for word in extra]
    code, said = refusal([table_file(tmp_path), *words], capsys)
    assert code == 2, said
    assert option in said


def test_files_that_cannot_be_used_have_their_exit_codes(tmp_path, scans, rois, capsys):
    assert refusal([tmp_path / "none", "--rois", rois, "--given", "Y-90"], capsys)[0] == 3
    assert refusal([tmp_path / "none.csv", "--imaged", "Y-86", "--given", "Y-90"], capsys)[0] == 3
    assert refusal([*scans, "--rois", rois, "--given", "Xy-90"], capsys)[0] == 4
    code, said = refusal([scans[0], "--rois", rois, "--given", "Y-90"], capsys)
    assert code == 6
    assert "cannot be quantified" in said
    bare = tmp_path / "bare.csv"
    bare.write_text("time [h],tumour\n1,3\n2,2\n3,1\n")
    assert refusal([bare, "--imaged", "Y-86", "--given", "Y-90"], capsys)[0] == 5
    kilobecquerel = tmp_path / "kbq.csv"
    kilobecquerel.write_text("time [h],tumour [kBq/mL],decay_corrected\n1,3,true\n2,2,true\n3,1,true\n")
    code, said = refusal([kilobecquerel, "--imaged", "Y-86", "--given", "Y-90"], capsys)
    assert code == 6
    assert "share of what was injected" in said


def test_scans_without_injected_activity_are_refused(tmp_path, rois, capsys):
    paths = make_scans(tmp_path, InjectedRadioactivity=None, InjectedRadioactivityUnits=None)
    code, said = refusal([*paths, "--rois", rois, "--given", "Y-90"], capsys)
    assert code == 5
    assert "--dose" in said
    result, _ = run([*paths, "--rois", rois, "--given", "Y-90", "--dose", "8MBq", "--terms", "mono"], capsys)
    assert value(result, "tumour", "local_dose_per_activity") == pytest.approx(2.89, rel=5e-3)


def test_mixed_decay_references_and_decreasing_times_of_a_table_are_refused(tmp_path, capsys):
    path = tmp_path / "mixed.csv"
    path.write_text("time [h],tumour [%ID/g],decay_corrected\n1,3,true\n2,2,false\n3,1,true\n")
    code, said = refusal([path, "--imaged", "Y-86", "--given", "Y-90"], capsys)
    assert code == 6
    assert "decay references" in said
    path.write_text("time [h],tumour [%ID/g],decay_corrected\n3,3,true\n2,2,true\n1,1,true\n")
    code, said = refusal([path, "--imaged", "Y-86", "--given", "Y-90"], capsys)
    assert code == 6
    assert "do not increase" in said
