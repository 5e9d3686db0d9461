"""``nuclear kinetics``: rates that are chosen, from scans and tables, and what is refused in which words."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest
from scipy.signal import lfilter

from imgtheranostics.cli import nuclear_kinetics_groups
from imgtheranostics.cli.main import main
from imgtheranostics.nuclear.kinetic_maps import METHODS

F18_S = 6586.2
"""ICRP-107, as in reference/pet.md section 4.1."""

SHAPE = (8, 6, 4)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
DURATION = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 10)
START = np.cumsum(DURATION) - DURATION
END = START + DURATION
FINE = np.arange(0.0, END[-1] + 1, 1.0)
PLASMA = 1e4 * (FINE / 30 * np.exp(-FINE / 40) + 0.2 * (np.exp(-FINE / 2500) - np.exp(-FINE / 40)))


def frame_means(curve):
    area = np.r_[0.0, np.cumsum(0.5 * (curve[1:] + curve[:-1]))]
    return (np.interp(END, FINE, area) - np.interp(START, FINE, area)) / DURATION


def one_tissue(k1, k2):
    """The convolution by trapezoids at steps of 1 s."""
    decay = np.exp(-k2 / 60)
    return frame_means(k1 / 60 * lfilter([0.5, 0.5 * decay], [1.0, -decay], PLASMA))


CURVES = {
    "striatum": one_tissue(0.1, 0.05),
    "cerebellum": one_tissue(0.06, 0.06),
    "aorta": frame_means(PLASMA),
}
"""VT 2 and 1: binding potential 1."""


def place(region):
    return np.s_[2 * tuple(CURVES).index(region) : 2 * tuple(CURVES).index(region) + 2]


def write_blood(folder, time=FINE[::5], plasma=PLASMA[::5], name="sub-01_blood.tsv", **units):
    rows = "\n".join(f"{t:g}\t{c / 1e3:.9g}" for t, c in zip(time, plasma, strict=True))
    path = folder / name
    path.write_text(f"time\tplasma_radioactivity\n{rows}\n")
    stated = {"time": "s", "plasma_radioactivity": "kBq/mL"} | units
    path.with_suffix(".json").write_text(json.dumps({key: {"Units": unit} for key, unit in stated.items()}))
    return path


def write_table(folder, curves=CURVES, name="tacs.tsv", start=START, end=END):
    heading = ["frame_start [s]", "frame_end [s]", *(f"{region} [kBq/mL]" for region in curves)]
    rows = ["\t".join(heading)]
    rows += [
        "\t".join(f"{value:.9g}" for value in (a, b, *(curve[n] / 1e3 for curve in curves.values())))
        for n, (a, b) in enumerate(zip(start, end, strict=True))
    ]
    path = folder / name
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dynamic PET-BIDS scan, its regions, its blood and its table of tissue curves."""
    folder = tmp_path_factory.mktemp("kinetics")
    image, labels = np.zeros((*SHAPE, START.size)), np.zeros(SHAPE, np.int16)
    for n, (region, curve) in enumerate(CURVES.items(), 1):
        image[place(region)], labels[place(region)] = curve, n
    (folder / "scan").mkdir()
    nifti = nibabel.Nifti1Image(image.astype(np.float32), AFFINE)
    nifti.header.set_xyzt_units("mm", "sec")
    nibabel.save(nifti, folder / "scan" / "pet.nii.gz")
    content = {
        "Modality": "PT", "Units": "Bq/mL", "TracerRadionuclide": "F18", "InjectedRadioactivity": 370,
        "InjectedRadioactivityUnits": "MBq", "TimeZero": "10:00:00", "InjectionStart": 0, "ScanStart": 0,
        "FrameTimesStart": START.tolist(), "FrameDuration": DURATION.tolist(), "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0, "PatientWeight": 70,
    }  # fmt: skip
    (folder / "scan" / "pet.json").write_text(json.dumps(content))
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), folder / "rois.nii.gz")
    names = "".join(f"{n}\t{region}\n" for n, region in enumerate(CURVES, 1))
    (folder / "rois.tsv").write_text(f"index\tname\n{names}")
    write_blood(folder)
    write_table(folder)
    return folder


def scan(folder):
    return ["nuclear", "kinetics", folder / "scan", "--rois", folder / "rois.nii.gz"]


def table(folder):
    return ["nuclear", "kinetics", folder / "tacs.tsv", "--decay-corrected"]


def blood(folder):
    return ["--blood", folder / "sub-01_blood.tsv"]


def rows_of(arguments, capsys):
    code = main([str(word) for word in [*arguments, "--json", "-q"]])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return {(row["region"], row["quantity"]): row for row in json.loads(printed.out)["quantities"]}


def refused(arguments, capsys):
    code = main([str(word) for word in [*arguments, "-q"]])
    return code, capsys.readouterr().err


def test_the_models_are_those_of_the_library():
    assert sorted(nuclear_kinetics_groups.MODELS) == sorted(METHODS)


@pytest.mark.parametrize("source", [scan, table])
@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("one_tissue", (), {"tissue_influx": 0.1, "tissue_efflux": 0.05, "distribution_volume": 2.0}),
        ("logan", ("--start", "20min"), {"distribution_volume": 2.0}),
        ("ma1", ("--start", "20min", "--end", "60min"), {"distribution_volume": 2.0}),
    ],
)
def test_parameters_are_those_that_were_put_there(data, source, model, options, expected, capsys):
    rows = rows_of([*source(data), "--model", model, *blood(data), *options], capsys)
    for quantity, value in expected.items():
        found = rows["striatum", quantity]
        assert found["mean"] == pytest.approx(value, rel=0.02)
        assert found["lower"] <= found["mean"] <= found["upper"]
    assert rows["cerebellum", "distribution_volume"]["mean"] == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("srtm", ()),
        ("srtm2", ("--k2-reference", "0.06")),
        ("mrtm2", ("--k2-reference", "0.06")),
        ("mrtm", ()),
        ("logan_reference", ("--start", "20min", "--k2-reference", "0.06")),
    ],
)
def test_binding_against_a_reference_region(data, model, options, capsys):
    rows = rows_of([*scan(data), "--model", model, "--reference", "cerebellum", *options], capsys)
    assert rows["striatum", "binding_potential"]["mean"] == pytest.approx(1.0, rel=0.02)
    assert not any(region == "cerebellum" for region, _ in rows)


def test_patlak_of_a_tracer_that_is_not_trapped_is_flat(data, capsys):
    """Its influx falls towards zero the later the line begins."""
    words = [*table(data), *blood(data), "--model", "patlak"]
    early, late = (
        rows_of([*words, "--start", start], capsys)["striatum", "net_influx"]["mean"]
        for start in ("10min", "40min")
    )
    assert 0 < late < early


def test_a_region_with_blood_is_the_input(data, capsys):
    words = [*scan(data), "--model", "logan", "--start", "20min", "--input-region", "aorta"]
    rows = rows_of(words, capsys)
    assert rows["striatum", "distribution_volume"]["mean"] == pytest.approx(2.0, rel=0.03)
    assert not any(region == "aorta" for region, _ in rows)
    scaled = rows_of([*words, "--plasma-over-blood", "0.5"], capsys)
    assert scaled["striatum", "distribution_volume"]["mean"] == pytest.approx(4.0, rel=0.03)


def test_spill_in_is_taken_from_the_surroundings(data, tmp_path, capsys):
    """A recovery of 0.8 in striatum: 0.8 blood and 0.2 of that, whose VT of 2 makes 1.2 of the area."""
    shown = {**CURVES, "aorta": 0.8 * CURVES["aorta"] + 0.2 * CURVES["striatum"]}
    words = ["nuclear", "kinetics", write_table(tmp_path, shown), "--decay-corrected", "--model", "logan"]
    words += ["--start", "20min", "--input-region", "aorta"]
    right = rows_of([*words, "--recovery", "0.8", "--spill-in", "striatum"], capsys)
    wrong = rows_of(words, capsys)
    assert right["striatum", "distribution_volume"]["mean"] == pytest.approx(2.0, rel=0.03)
    assert wrong["striatum", "distribution_volume"]["mean"] == pytest.approx(2.0 / 1.2, rel=0.05)


def test_a_template_is_scaled_to_the_samples(data, tmp_path, capsys):
    shape = write_blood(tmp_path, plasma=PLASMA[::5] * 7.0, name="template_blood.tsv")
    few = write_blood(tmp_path, FINE[1500:1700:100], PLASMA[1500:1700:100], "few_blood.tsv")
    words = [*table(data), "--model", "logan", "--start", "20min", "--template", shape, "--blood", few]
    rows = rows_of(words, capsys)
    assert rows["striatum", "distribution_volume"]["mean"] == pytest.approx(2.0, rel=0.02)


def test_blood_as_measured_is_decay_corrected(data, tmp_path, capsys):
    decayed = write_blood(tmp_path, plasma=(PLASMA * 2 ** (-FINE / F18_S))[::5])
    words = [*table(data), "--nuclide", "F-18", "--model", "logan", "--start", "20min", "--blood", decayed]
    rows = rows_of([*words, "--blood-as-measured"], capsys)
    assert rows["striatum", "distribution_volume"]["mean"] == pytest.approx(2.0, rel=0.02)
    mixed = rows_of(words, capsys)
    assert mixed["striatum", "distribution_volume"]["mean"] > 2.1


def test_what_is_written(data, tmp_path, capsys):
    words = [*scan(data), "--model", "one_tissue", *blood(data), "--maps", "-o", tmp_path / "out"]
    rows = rows_of([*words, "--bolus-delay", "0s", "--blood-fraction", "0"], capsys)
    image = nibabel.load(tmp_path / "out" / "distribution_volume.nii.gz").get_fdata()
    assert np.nanmean(image[place("striatum")]) == pytest.approx(
        rows["striatum", "distribution_volume"]["mean"], rel=1e-3
    )
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.svg")}
    assert {"kinetic-fits_distribution_volume", "map_tissue_influx"} <= figures
    assert "Volume of distribution VT" in (tmp_path / "out" / "report.html").read_text()
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["parameters"]["model"] == "one_tissue"
    plot = [*table(data), "--model", "logan", "--start", "20min", *blood(data), "-o", tmp_path / "plot", "-q"]
    assert main([str(word) for word in plot]) == 0
    capsys.readouterr()
    assert (tmp_path / "plot" / "figures" / "kinetic-plots_distribution_volume.svg").is_file()


def test_weights_hold_for_regions_and_maps_alike(data, tmp_path, capsys):
    """The plot of a tracer that is not trapped is bent, so that its slope depends on the weights."""
    words = [*scan(data), *blood(data), "--model", "patlak", "--start", "10min", "--maps"]
    found = []
    for weights in ("equal", "frames"):
        out = tmp_path / weights
        rows = rows_of([*words, "--weights", weights, "-o", out, "--no-report"], capsys)
        image = nibabel.load(out / "net_influx.nii.gz").get_fdata()[place("striatum")]
        found.append(rows["striatum", "net_influx"]["mean"])
        assert np.nanmean(image) == pytest.approx(found[-1], rel=1e-3)
    assert abs(found[0] - found[1]) > 0.01 * found[0]


@pytest.mark.parametrize(("pet", "volume"), [("rwrd_1", 3.86), ("cgyu_1", 2.19)])
def test_published_curves_by_the_command_line(public_data, tmp_path, pet, volume, capsys):
    """Guide values of pet.md section 6, frontal cortex, +-2 %."""
    folder = public_data("pet/pbr28")

    def rows(name):
        with (folder / name).open() as file:
            return [row for row in csv.DictReader(file) if row["PET"] == pet]

    lines = ["frame_start [s]\tframe_duration [s]\tweights\tFC [kBq/mL]"]
    lines += [
        "\t".join(row[name] for name in ("StartTime", "Duration", "Weights", "FC"))
        for row in rows("pbr28_tacdata.csv")
    ]
    (tmp_path / "tacs.tsv").write_text("\n".join(lines) + "\n")
    lines = ["time\tplasma_radioactivity\twhole_blood_radioactivity"]
    lines += [
        "\t".join(row[name] for name in ("Time", "Cpl_metabcorr", "Cbl_dispcorr"))
        for row in rows("pbr28_blooddata.csv")
    ]
    (tmp_path / "blood.tsv").write_text("\n".join(lines) + "\n")
    units = {"time": "s", "plasma_radioactivity": "kBq/mL", "whole_blood_radioactivity": "kBq/mL"}
    (tmp_path / "blood.json").write_text(json.dumps({key: {"Units": unit} for key, unit in units.items()}))
    words = ["nuclear", "kinetics", tmp_path / "tacs.tsv", "--model", "two_tissue", "--decay-corrected"]
    found = rows_of([*words, "--blood", tmp_path / "blood.tsv"], capsys)
    assert found["FC", "distribution_volume"]["mean"] == pytest.approx(volume, rel=0.02)
    assert 0.025 < found["FC", "blood_fraction"]["mean"] < 0.045


def test_files_that_are_not_there(data, tmp_path, capsys):
    model = ["--model", "one_tissue"]
    assert refused([*table(data), *model, "--blood", tmp_path / "none.tsv"], capsys)[0] == 3
    words = ["nuclear", "kinetics", tmp_path / "none.tsv", *model, *blood(data)]
    assert refused(words, capsys)[0] == 3
    words = ["nuclear", "kinetics", tmp_path / "none", "--rois", data / "rois.nii.gz", *model, *blood(data)]
    assert refused(words, capsys)[0] == 3
    alone = write_blood(tmp_path)
    alone.with_suffix(".json").unlink()
    code, said = refused([*table(data), *model, "--blood", alone], capsys)
    assert code == 5
    assert "sidecar" in said


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"time": FINE[:1200:5], "plasma": PLASMA[:1200:5]}, 6, "do not cover the scan"),
        ({"time": FINE[::-5], "plasma": PLASMA[::-5]}, 4, "do not increase"),
        ({"plasma": (PLASMA - 3e3)[::5]}, 6, "negative"),
        ({"plasma_radioactivity": "mg/mL"}, 6, "activity per volume"),
        ({"time": FINE[60::5], "plasma": PLASMA[60::5]}, 6, "do not cover the scan"),
    ],
)
def test_blood_that_cannot_drive_the_scan(data, tmp_path, capsys, change, code, message):
    words = [*scan(data), "--model", "one_tissue", "--blood", write_blood(tmp_path, **change)]
    found, said = refused(words, capsys)
    assert found == code, said
    assert message in said


def test_tables_that_cannot_be_fitted(data, tmp_path, capsys):
    def run(path, *words):
        start = ["nuclear", "kinetics", path, "--model", "two_tissue", *blood(data), *words]
        return refused(start, capsys)

    few = {name: curve[-4:] for name, curve in CURVES.items()}
    code, said = run(write_table(tmp_path, few, "few.tsv", START[-4:], END[-4:]), "--decay-corrected")
    assert code == 6
    assert "at least 6 frames, found 4" in said
    order = np.r_[1, 0, 2 : START.size]
    code, said = run(write_table(tmp_path, CURVES, "order.tsv", START[order], END[order]))
    assert code == 4
    assert "do not increase" in said
    path = tmp_path / "mixed.csv"
    path.write_text("frame_start [s],frame_end [s],decay_corrected,A [Bq/mL]\n0,60,yes,1\n60,120,no,2\n")
    code, said = run(path)
    assert code == 6
    assert "mixed" in said
    code, said = run(data / "tacs.tsv", "--as-measured")
    assert code == 5
    assert "--nuclide" in said


def test_negative_activity_and_assumed_corrections_are_said(data, tmp_path, capsys):
    sunk = {**CURVES, "striatum": CURVES["striatum"] - 0.2 * CURVES["striatum"].max()}
    words = ["nuclear", "kinetics", write_table(tmp_path, sunk), "--model", "one_tissue", *blood(data)]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().err.replace("\n  ", "")
    for code in ("negative-activity", "tissue-decay-assumed", "blood-decay-assumed"):
        assert code in said


def test_a_start_after_the_last_frame_is_refused(data, capsys):
    words = [*scan(data), "--model", "logan", *blood(data), "--start", "5h"]
    code, said = refused(words, capsys)
    assert code == 6
    assert "found 0" in said


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--model", "three_tissue"], "--model"),
        (["--model", "one_tissue"], "--blood"),
        (["--model", "logan", "BLOOD"], "--start"),
        (["--model", "logan", "BLOOD", "--start", "30"], "--start"),
        (["--model", "logan", "BLOOD", "--start", "30kBq"], "--start"),
        (["--model", "one_tissue", "BLOOD", "--start", "30min"], "--start"),
        (["--model", "one_tissue", "BLOOD", "--bolus-delay", "5"], "--bolus-delay"),
        (["--model", "one_tissue", "BLOOD", "--blood-fraction", "5"], "--blood-fraction"),
        (["--model", "one_tissue", "BLOOD", "--reference", "cerebellum"], "--reference"),
        (["--model", "one_tissue", "BLOOD", "--input-region", "aorta"], "--blood"),
        (["--model", "one_tissue", "BLOOD", "--recovery", "0.5"], "--recovery"),
        (["--model", "one_tissue", "BLOOD", "--k2-reference", "0.1"], "--k2-reference"),
        (["--model", "one_tissue", "--input-region", "vena"], "--input-region"),
        (["--model", "one_tissue", "--input-region", "aorta", "--spill-in", "fat"], "--spill-in"),
        (["--model", "srtm"], "--reference"),
        (["--model", "srtm", "--reference", "pons"], "--reference"),
        (["--model", "srtm", "--reference", "cerebellum", "BLOOD"], "--blood"),
        (["--model", "mrtm2", "--reference", "cerebellum"], "--k2-reference"),
        (["--model", "one_tissue", "BLOOD", "--mask", "m.nii.gz"], "--mask"),
        (["--model", "one_tissue", "BLOOD", "--unit", "Bq/mL"], "--unit"),
    ],
)
def test_options_that_cannot_be_are_named(data, capsys, words, option):
    given = [part for word in words for part in (blood(data) if word == "BLOOD" else [word])]
    code, said = refused([*scan(data), *given], capsys)
    assert code == 2, said
    assert option in said


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--rois", "rois.nii.gz"], "--rois"),
        (["--maps"], "--maps"),
        (["--injected-at", "09:30"], "--injected-at"),
        (["--resolution-mm", "4"], "--resolution-mm"),
    ],
)
def test_options_for_scans_are_refused_for_a_table(data, capsys, words, option):
    code, said = refused([*table(data), "--model", "one_tissue", *blood(data), *words], capsys)
    assert code == 2
    assert option in said


def test_an_unknown_reference_is_answered_with_the_regions(data, capsys):
    code, said = refused([*scan(data), "--model", "srtm", "--reference", "pons"], capsys)
    assert code == 2
    assert "striatum, cerebellum, aorta" in said


def test_a_scan_without_regions_or_frames_is_refused(data, tmp_path, capsys):
    words = ["nuclear", "kinetics", data / "scan", "--model", "one_tissue", *blood(data)]
    code, said = refused(words, capsys)
    assert code == 2
    assert "--rois" in said
    (tmp_path / "static").mkdir()
    image = nibabel.load(data / "scan" / "pet.nii.gz").slicer[..., 0]
    nibabel.save(image, tmp_path / "static" / "pet.nii.gz")
    content = json.loads((data / "scan" / "pet.json").read_text())
    content |= {"FrameTimesStart": [0], "FrameDuration": [10]}
    (tmp_path / "static" / "pet.json").write_text(json.dumps(content))
    words = ["nuclear", "kinetics", tmp_path / "static", "--rois", data / "rois.nii.gz"]
    code, said = refused([*words, "--model", "one_tissue", *blood(data)], capsys)
    assert code == 4
    assert "dynamic" in said
