"""``ultrasound`` commands on cines whose powers are chosen, and what they say where they refuse."""

from __future__ import annotations

import dataclasses
import json
import re

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.data import get_testdata_file

from imgtheranostics.cli.main import main
from imgtheranostics.io.loading import load
from imgtheranostics.io.saving import save
from imgtheranostics.regions import STATISTICS_COLUMNS

SHAPE = (24, 20, 1)
AFFINE = np.diag([-0.25, -0.25, 2.5, 1.0])
N_FRAMES, BEFORE = 12, 4
LOW, HIGH = 100, 200
"""Grey levels: 10^(60 * 100 / 2550) and 10^(60 * 200 / 2550), 23.53 dB apart."""

STEP_DB = 60.0 * (HIGH - LOW) / 255.0


def grey_cine() -> np.ndarray:
    """Tissue of one level; the first half of the tumour's columns rises to a higher one."""
    cine = np.full((*SHAPE, N_FRAMES), LOW, np.uint8)
    cine[4:8, 5:15, :, BEFORE:] = HIGH
    return cine


def masks() -> np.ndarray:
    labels = np.zeros(SHAPE, np.int16)
    labels[4:12, 5:15] = 1
    labels[15:22, 5:15] = 2
    return labels


def write(folder, cine, **sidecar):
    path = folder / "cine.nii.gz"
    nibabel.save(nibabel.Nifti1Image(cine, AFFINE), path)
    times = [0.1 * n for n in range(cine.shape[-1])]
    content = {"Modality": "US", "FrameTimes": times, "GreyMax": 255, "Units": "grey"} | sidecar
    kept = {name: value for name, value in content.items() if value is not None}
    path.with_name("cine.json").write_text(json.dumps(kept))
    return path


def with_regions(folder, regions):
    """The cine as DICOM whose header holds these regions."""
    volume = load(write(folder, grey_cine()))
    record = dataclasses.replace(volume.acquisition, regions=tuple(regions))
    save(volume.replace(acquisition=record), folder / "regions")
    return folder / "regions"


@pytest.fixture
def cine(tmp_path):
    return write(tmp_path, grey_cine())


@pytest.fixture
def rois(tmp_path):
    path = tmp_path / "rois.nii.gz"
    nibabel.save(nibabel.Nifti1Image(masks(), AFFINE), path)
    (tmp_path / "rois.tsv").write_text("index\tname\n1\ttumour\n2\tmuscle\n")
    return path


def rows_of(arguments, capsys):
    code = main([str(word) for word in [*arguments, "--json", "-q"]])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)["quantities"]


def mean(rows, region, quantity, *, at=None):
    (found,) = [
        row["mean"]
        for row in rows
        if row["region"] == region and row["quantity"] == quantity and row["axis_value"] == at
    ]
    return found


def refusal(arguments, capsys):
    code = main([str(word) for word in arguments])
    return code, " ".join(capsys.readouterr().err.split())


def usage(arguments, capsys):
    """What a wrong option is answered with, without the frame around it."""
    code, text = refusal(arguments, capsys)
    assert code == 2
    return re.sub(r"[│╭╮╰╯─]", "", text)


def test_enhancement_is_that_of_linear_power_and_not_of_grey(cine, rois, capsys):
    """Half of the pixels rise by 23.53 dB: power by (1 + 226)/2, 20.5 dB; grey by half of it, 11.8 dB."""
    arguments = ["ultrasound", "enhancement", cine, "--dynamic-range", 60, "--baseline-frames", BEFORE]
    rows = rows_of([*arguments, "--rois", rois, "--reference", "muscle"], capsys)
    expected = 10.0 * np.log10((10.0 ** (STEP_DB / 10.0) + 1.0) / 2.0)
    for quantity in ("echo_enhancement", "relative_echo_enhancement"):
        assert mean(rows, "tumour", quantity) == pytest.approx(expected, abs=1e-4)
        assert mean(rows, "tumour", quantity, at=0.1 * (BEFORE + 1)) == pytest.approx(expected, abs=1e-4)
    assert mean(rows, "tumour", "echo_gain") == pytest.approx(10.0 ** (expected / 10.0), rel=1e-5)
    assert mean(rows, "muscle", "echo_enhancement") == 0.0
    assert abs(expected - STEP_DB / 2.0) > 8.0


def test_two_scans_are_compared_as_two_states(tmp_path, rois, capsys):
    """Gas in one half of the tumour; the reference is as it was."""
    folders = [tmp_path / name for name in ("neutral", "acid")]
    for folder, frames in zip(folders, (np.s_[..., :BEFORE], np.s_[..., BEFORE:]), strict=True):
        folder.mkdir()
        write(folder, grey_cine()[frames])
    arguments = ["ultrasound", "enhancement", folders[1], "--before", folders[0], "--dynamic-range", 60]
    out = tmp_path / "out"
    rows = rows_of([*arguments, "--rois", rois, "--reference", "muscle", "-o", out, "--no-report"], capsys)
    expected = (10.0 ** (STEP_DB / 10.0) + 1.0) / 2.0
    assert mean(rows, "tumour", "echo_gain") == pytest.approx(expected, rel=1e-5)
    assert mean(rows, "tumour", "relative_echo_enhancement") == pytest.approx(
        10 * np.log10(expected), abs=1e-4
    )
    image = np.asarray(nibabel.load(out / "echo_enhancement.nii.gz").dataobj)
    assert image[5, 6, 0] == pytest.approx(STEP_DB, abs=1e-3)
    assert "--before" in usage([*arguments, "--baseline-frames", 2], capsys)
    assert refusal([*arguments[:4], tmp_path / "none", *arguments[5:]], capsys)[0] == 3


def test_gamma_gain_and_full_scale_are_used(cine, rois, capsys):
    arguments = ["ultrasound", "enhancement", cine, "--dynamic-range", 60, "--baseline-frames", BEFORE]
    given = ["--rois", rois, "--gamma", 2, "--gain", 3, "--grey-max", 250]
    rows = rows_of([*arguments, *given], capsys)
    low, high = (10.0 ** ((60.0 * (level / 250.0) ** 2 + 3.0) / 10.0) for level in (LOW, HIGH))
    assert mean(rows, "muscle", "echo_intensity", at=0.0) == pytest.approx(low, rel=1e-5)
    assert mean(rows, "tumour", "echo_gain") == pytest.approx((low + high) / 2 / low, rel=1e-5)


def test_what_is_written(cine, rois, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["ultrasound", "enhancement", cine, "--dynamic-range", 60, "--baseline-frames", "0:4"]
    assert main([str(w) for w in [*arguments, "--rois", rois, "--frames", "6:10", "-o", out]]) == 0
    printed = capsys.readouterr().out
    assert "more rows" in printed
    names = {path.name for path in out.iterdir()}
    assert {"echo_enhancement.nii.gz", "echo_enhancement_se.nii.gz", "flags.nii.gz"} <= names
    assert {"quantities.tsv", "quantities.json", "provenance.json", "report.html"} <= names
    table = pd.read_csv(out / "quantities.tsv", sep="\t")
    assert list(table.columns) == list(STATISTICS_COLUMNS)
    record = json.loads((out / "provenance.json").read_text())
    assert record["decisions"]["period"]["frames"] == "6-9"
    assert record["decisions"]["linearisation"]["dynamic_range_db"] == 60.0
    assert record["parameters"]["dynamic_range"] == 60.0
    figures = {path.name for path in (out / "figures").iterdir()}
    assert "echo-change_echo_enhancement.svg" in figures
    image = np.asarray(nibabel.load(out / "echo_enhancement.nii.gz").dataobj)
    assert image[5, 6, 0] == pytest.approx(STEP_DB, abs=1e-3)
    assert image[20, 10, 0] == pytest.approx(0.0, abs=1e-3)
    again = [*arguments, "--rois", rois, "-o", out]
    assert refusal(again, capsys)[0] == 7
    bare = tmp_path / "bare"
    assert main([str(word) for word in [*again[:-1], bare, "--no-report", "-q"]]) == 0
    assert not (bare / "report.html").exists()


def test_dicom_gives_the_numbers_of_nifti(cine, rois, tmp_path, capsys):
    save(load(cine), tmp_path / "dicom")
    arguments = ["--dynamic-range", 60, "--baseline-frames", BEFORE, "--rois", rois]
    one, other = (
        rows_of(["ultrasound", "enhancement", path, *arguments], capsys)
        for path in (cine, tmp_path / "dicom")
    )
    assert [row["mean"] for row in one] == [row["mean"] for row in other]


def test_grey_without_a_dynamic_range_is_refused_with_the_reason(cine, rois, capsys):
    for verb in ("enhancement", "curves"):
        code, text = refusal(["ultrasound", verb, cine, "--baseline-frames", 4, "--rois", rois], capsys)
        assert code == 5
        assert "--dynamic-range" in text
        assert "DICOM does not carry it" in text
    assert "--grey-only" in text


def test_grey_only_is_labelled_as_no_measure_of_echo(cine, rois, capsys):
    assert main(["ultrasound", "enhancement", str(cine), "--grey-only", "--rois", str(rois), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["quantity"] for row in found["quantities"]} == {"log_compressed_grey"}
    assert mean(found["quantities"], "tumour", "log_compressed_grey", at=0.0) == LOW
    assert "log-compressed-grey" in {one["code"] for one in found["warnings"]}
    text = usage(["ultrasound", "enhancement", cine, "--grey-only", "--dynamic-range", 60], capsys)
    assert "--grey-only" in text


def test_a_sidecar_with_the_dynamic_range_needs_no_option(tmp_path, rois, capsys):
    path = write(tmp_path, grey_cine(), DynamicRange=60)
    rows = rows_of(["ultrasound", "enhancement", path, "--baseline-frames", 4, "--rois", rois], capsys)
    assert mean(rows, "muscle", "echo_gain") == 1.0


def test_frames_before_the_agent_have_to_be_stated(cine, capsys):
    code, text = refusal(["ultrasound", "enhancement", cine, "--dynamic-range", 60], capsys)
    assert (code, "--baseline-frames" in text) == (5, True)
    arguments = ["ultrasound", "enhancement", cine, "--dynamic-range", 60, "--baseline-frames"]
    assert refusal([*arguments, "0:99"], capsys)[0] == 4
    for wrong in ("four", "4:2", "0", "1,x"):
        assert "--baseline-frames" in usage([*arguments, wrong], capsys)


def test_a_cine_without_times_asks_for_them(tmp_path, rois, capsys):
    path = write(tmp_path, grey_cine(), FrameTimes=None)
    arguments = ["ultrasound", "enhancement", path, "--dynamic-range", 60, "--baseline-frames", 4]
    code, text = refusal(arguments, capsys)
    assert (code, "--frame-time" in text) == (5, True)
    rows = rows_of([*arguments, "--frame-time", 0.2, "--rois", rois], capsys)
    assert max(row["axis_value"] or 0.0 for row in rows) == pytest.approx(0.2 * (N_FRAMES - 1))


def test_a_misspelt_reference_is_answered_with_the_regions(cine, rois, capsys):
    arguments = ["--dynamic-range", 60, "--baseline-frames", 4, "--reference", "muscel"]
    for verb in ("enhancement", "curves"):
        text = usage(["ultrasound", verb, cine, *arguments, "--rois", rois], capsys)
        assert "tumour, muscle" in text
        assert "give --rois" in usage(["ultrasound", verb, cine, *arguments], capsys)


def test_several_tissue_regions_are_listed_and_chosen(tmp_path, rois, capsys):
    """Contrast and B-mode side by side: a region of the file for each."""
    one = {"spatial_format": "2d", "data_type": 1, "y0": 0, "y1": 19, "x_unit": "cm", "y_unit": "cm"}
    one |= {"x_delta": 0.025, "y_delta": 0.025}
    both = [{**one, "x0": 0, "x1": 13}, {**one, "x0": 14, "x1": 23}]
    path = with_regions(tmp_path, both)
    arguments = ["ultrasound", "enhancement", path, "--dynamic-range", 60, "--baseline-frames", 4]
    code, text = refusal(arguments, capsys)
    assert code == 4
    assert "--us-region" in text
    assert "columns 0-13" in text
    rows = rows_of([*arguments, "--us-region", 1], capsys)
    assert mean(rows, "tissue", "echo_gain") == 1.0
    (row,) = [row for row in rows if row["quantity"] == "echo_gain"]
    assert row["n_voxels"] == 10 * 20


def test_a_region_in_seconds_is_no_length(tmp_path, cine, capsys):
    """Unit code 4 of (0018,6024) is seconds."""
    save(load(cine), tmp_path / "dicom")
    (file,) = (tmp_path / "dicom").rglob("*.dcm")
    header = pydicom.dcmread(file)
    header.SequenceOfUltrasoundRegions[0].PhysicalUnitsXDirection = 4
    header.save_as(file)
    arguments = ["ultrasound", "enhancement", file, "--dynamic-range", 60, "--baseline-frames", 4]
    code, text = refusal(arguments, capsys)
    assert code == 6
    assert "UnitMismatch" in text
    assert "needed: cm" in text


def test_an_image_without_frames_is_refused(tmp_path, capsys):
    path = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(grey_cine()[..., 0], AFFINE), path)
    path.with_name("image.json").write_text(json.dumps({"Modality": "US", "GreyMax": 255}))
    for verb in ("enhancement", "curves"):
        arguments = ["ultrasound", verb, path, "--dynamic-range", 60, "--baseline-frames", 4]
        code, text = refusal(arguments, capsys)
        assert (code, "cine" in text) == (4, True)


def test_a_missing_file_is_told(tmp_path, capsys):
    code, _ = refusal(["ultrasound", "curves", tmp_path / "none.dcm", "--dynamic-range", 60], capsys)
    assert code == 3


def test_options_that_would_not_be_used_are_refused(cine, rois, capsys):
    base = ["ultrasound", "enhancement", cine, "--dynamic-range", 60, "--baseline-frames", 4]
    for given, named in (
        (["--settle", 1], "--burst-time"),
        (["--burst-time", "find", "--burst-duration", 1], "--burst-time"),
        (["--burst-time", "soon"], "find"),
        (["--boiling-point", 29], "--temperatures"),
        (["--motion-reference", 3], "--motion rigid"),
        (["--window", 2], "odd"),
    ):
        assert named in usage([*base, *given], capsys)
    curves = ["ultrasound", "curves", cine, "--dynamic-range", 60]
    for given, named in (
        (["--burst-time", 1], "replenishment"),
        (["--no-maps", "--window", 3], "--no-maps"),
        (["--no-maps", "--mask", rois], "--no-maps"),
    ):
        assert named in usage([*curves, *given], capsys)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("".join(f"{20 + n}\n" for n in range(5)), 4, "5 temperatures for 12 frames"),
        ("".join(f"{293 + n}\n" for n in range(12)), 6, "kelvin"),
        ("20\n" * 12, 4, "at least 5"),
        ("time_s,degrees\n0,20\n", 4, "temperature_cel"),
        ("temperature_cel\nwarm\n", 4, "line 2"),
        ("time_s,temperature_cel\n0,20\n0.5,25\n", 4, "from 0 to 1.1 s"),
        ("time_s,temperature_cel\n1,20\n0.5,25\n", 4, "do not increase"),
    ],
)
def test_temperatures_that_cannot_be_those_of_the_frames(cine, rois, tmp_path, capsys, text, code, said):
    path = tmp_path / "bath.csv"
    path.write_text(text)
    arguments = ["ultrasound", "enhancement", cine, "--dynamic-range", 60, "--baseline-frames", 4]
    found, message = refusal([*arguments, "--rois", rois, "--temperatures", path], capsys)
    assert found == code
    assert said in message


def test_a_log_with_its_own_times_is_interpolated(tmp_path):
    from imgtheranostics.ultrasound import read_temperatures

    path = tmp_path / "log.csv"
    path.write_text("temperature_cel,time_s\n20,0\n30,1\n50,2\n")
    assert read_temperatures(path, [0.0, 0.5, 1.5]).tolist() == [20.0, 25.0, 40.0]


def test_the_fitted_bolus_is_the_one_that_was_drawn(tmp_path, rois, capsys):
    """Lognormal of ultrasound.md section 6, m = 2.3, s = .5: TTP 7.7679 s, mTT 11.30223 s; from dB."""
    time = 0.25 * np.arange(160)
    x = np.maximum(time - 3.0, 1e-9)
    curve = 100.0 / (np.sqrt(2 * np.pi) * 0.5 * x) * np.exp(-((np.log(x) - 2.3) ** 2) / (2 * 0.5**2))
    level = 10.0 * np.log10(2.0 + curve)
    data = np.full((*SHAPE, time.size), 3.0, np.float32)
    data[4:12, 5:15, 0] = level
    path = write(tmp_path, data, Units="dB", GreyMax=None, FrameTimes=time.tolist())
    rows = rows_of(
        ["ultrasound", "curves", path, "--rois", rois, "--reference", "tumour", "--no-maps"], capsys
    )
    for quantity, expected in (
        ("time_to_peak", 7.7679),
        ("mean_transit_time", 11.30223),
        ("echo_peak_enhancement", 9.06462),
        ("wash_in_area", 30.8538),
        ("rise_time", 5.27193),
    ):
        assert mean(rows, "tumour", quantity) == pytest.approx(expected, rel=2e-4)
    assert mean(rows, "tumour", "peak_enhancement_ratio") == 1.0
    assert mean(rows, "muscle", "time_to_peak") is None
    flat = rows_of(
        ["ultrasound", "curves", path, "--rois", rois, "--reference", "muscle", "--no-maps"], capsys
    )
    # a reference without a bolus has no ratio, not even to itself
    assert {row["mean"] for row in flat if row["quantity"].endswith("_ratio")} == {None}


def test_pixels_at_the_floor_are_counted_and_said_only_where_they_matter(tmp_path, rois, capsys):
    """One of 80 pixels at level 0: 10^0.024/2 of 226 at most, 2e-5 dB; and all but one."""
    codes = []
    for n in (1, 79):
        data = grey_cine()
        tumour = data[4:12, 5:15].reshape(80, N_FRAMES).copy()
        tumour[:n] = 0
        data[4:12, 5:15] = tumour.reshape(8, 10, 1, N_FRAMES)
        path = write(tmp_path, data)
        arguments = ["ultrasound", "enhancement", path, "--dynamic-range", 60, "--baseline-frames", 4]
        assert main([str(word) for word in [*arguments, "--rois", rois, "--json", "-q"]]) == 0
        found = json.loads(capsys.readouterr().out)
        codes.append({one["code"] for one in found["warnings"]})
        (row, *_) = [row for row in found["quantities"] if row["region"] == "tumour" and row["axis"]]
        assert f"BELOW_NOISE:{n}" in row["flags"]
    assert "floor-pixels" not in codes[0]
    assert "floor-pixels" in codes[1]


def test_maps_of_curves_carry_errors_and_their_goodness_once(tmp_path, rois, capsys):
    rng = np.random.default_rng(3)
    time = 0.25 * np.arange(80)
    rise = 1.0 - np.exp(-0.5 * time)
    data = (2.0 + 5.0 * rise + rng.normal(0, 0.05, (*SHAPE, time.size))).astype(np.float32)
    path = write(tmp_path, 10 * np.log10(data), Units="dB", GreyMax=None, FrameTimes=time.tolist())
    out = tmp_path / "out"
    arguments = ["ultrasound", "curves", path, "--rois", rois, "--model", "replenishment", "-o", out, "-q"]
    assert main([str(word) for word in [*arguments, "--no-report"]]) == 0
    names = {path.name for path in out.glob("*.nii.gz")}
    assert {"replenishment_rate.nii.gz", "replenishment_rate_se.nii.gz", "relative_flow_se.nii.gz"} <= names
    assert sum(name.endswith("r_squared.nii.gz") for name in names) == 1
    rate = np.asarray(nibabel.load(out / "replenishment_rate.nii.gz").dataobj)
    error = np.asarray(nibabel.load(out / "replenishment_rate_se.nii.gz").dataobj)
    assert np.nanmedian(np.abs(rate - 0.5) / error) == pytest.approx(0.6745, abs=0.15)


def test_identifiers_stay_out_of_errors(tmp_path, capsys):
    path = get_testdata_file("examples_ybr_color.dcm")
    header = pydicom.dcmread(path)
    header.PatientName, header.PatientID = "Canary^Yellow", "CANARY-7"
    header.save_as(tmp_path / "cine.dcm")
    arguments = ["ultrasound", "enhancement", tmp_path / "cine.dcm"]
    for more in ([], ["--dynamic-range", 60, "--baseline-frames", "0:99"]):
        code = main([str(word) for word in [*arguments, *more]])
        printed = capsys.readouterr()
        assert code in (4, 5)
        assert "anary" not in (printed.out + printed.err).lower()


def test_a_public_cine_is_measured_in_its_calibrated_region(tmp_path, capsys):
    """examples_ybr_color of pydicom: 30 frames, 33.333 ms apart, burned-in text outside its region."""
    path = get_testdata_file("examples_ybr_color.dcm")
    rows = rows_of(["ultrasound", "enhancement", path, "--dynamic-range", 60, "--baseline-frames", 6], capsys)
    times = sorted({row["axis_value"] for row in rows if row["axis"] == "time"})
    assert len(times) == 30
    assert times[1] == pytest.approx(0.033333)
    assert {row["region"] for row in rows} == {"tissue"}
    assert all(row["n_voxels"] < 320 * 240 for row in rows)
    assert all(row["volume_ml"] is None for row in rows)
