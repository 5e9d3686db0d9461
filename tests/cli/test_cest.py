"""``cest`` commands on Lorentzian lines and on simulated pools: numbers, files, wrong usage, refusals."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from imgtheranostics.cli.main import main

SHAPE = (6, 5, 3)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
OFFSETS = np.linspace(-6.0, 6.0, 49)
LABELS = np.where(np.arange(SHAPE[0]) < 3, 1, 2)[:, None, None] * np.ones(SHAPE, np.int16)
B0 = np.linspace(-0.2, 0.2, SHAPE[1])[None, :, None] * np.ones(SHAPE)
POOLS = """
water_pool: {f: 1, t1: 2.0, t2: 0.045}
cest_pool:
  label: {f: 7.2e-4, t1: 1.0, t2: 0.02, k: 1000, dw: 9.8}
b0: 11.7
"""


def line(ppm, centre, width, amplitude):
    half = (width / 2) ** 2
    return amplitude * half / (half + (ppm - centre) ** 2)


def z_of(ppm, amide):
    """Water of 0.85 and 1.6 ppm, NOE of 6 % at -3.5 ppm, a label at 3.5 ppm."""
    return 1.0 - line(ppm, 0, 1.6, 0.85) - line(ppm, -3.5, 3.0, 0.06) - line(ppm, 3.5, 1.0, amide)


def asymmetry(amide, at=3.5):
    return 100 * (z_of(-at, amide) - z_of(at, amide))


AMIDE = {1: 0.02, 2: 0.06}


def write_scan(path, amide, *, noise=0.0, seed=0, **sidecar):
    amounts = np.where(LABELS == 1, amide[1], amide[2])
    z = z_of(OFFSETS - B0[..., None], amounts[..., None])
    signal = 900.0 * np.concatenate([np.ones((*SHAPE, 1)), z], axis=-1)
    signal += np.random.default_rng(seed).normal(0, noise, signal.shape) * 900.0
    nibabel.save(nibabel.Nifti1Image(signal.astype(np.float32), AFFINE), path)
    content = {
        "SaturationOffsets": [-300.0, *OFFSETS],
        "SaturationOffsetUnit": "ppm",
        "SaturationB1rms": 2.0,
        "SaturationDuration": 2.0,
        "MagneticFieldStrength": 7,
    } | sidecar
    content = {key: value for key, value in content.items() if value is not None}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cest")


@pytest.fixture(scope="module")
def rois(folder):
    path = folder / "rois.nii.gz"
    nibabel.save(nibabel.Nifti1Image(LABELS.astype(np.int16), AFFINE), path)
    (folder / "rois.tsv").write_text("index\tname\n1\tmuscle\n2\ttumour\n")
    return path


@pytest.fixture(scope="module")
def pre(folder):
    return write_scan(folder / "pre_cest.nii.gz", {1: 0.0, 2: 0.0})


@pytest.fixture(scope="module")
def post(folder):
    return write_scan(folder / "post_cest.nii.gz", AMIDE)


def run(capsys, *words, code=0):
    assert main([str(word) for word in words]) == code, capsys.readouterr().err
    return capsys.readouterr()


def rows_of(capsys, *words):
    rows = json.loads(run(capsys, *words, "--json").out)["quantities"]
    return {(row["region"], row["quantity"], row["axis_value"]): row for row in rows}


def test_contrast_of_a_scan_is_the_closed_form_where_water_has_moved(capsys, post, rois):
    """Each row of voxels has its own B0; the spline on 0.25 ppm steps costs less than 0.1 %."""
    rows = rows_of(capsys, "cest", "contrast", post, "--at-ppm", 3.5, "--rois", rois)
    for number, name in ((1, "muscle"), (2, "tumour")):
        row = rows[name, "mtr_asym", None]
        assert row["mean"] == pytest.approx(asymmetry(AMIDE[number]), abs=0.1)
        assert row["unit"] == "%"


def test_two_scans_give_the_change_and_its_fold_with_the_raw_ratio_refused(capsys, pre, post, rois):
    rows = rows_of(
        capsys, "cest", "contrast", pre, post, "--at-ppm", 3.5, "--rois", rois, "--fold-over", "muscle"
    )
    truth = {name: asymmetry(AMIDE[n]) - asymmetry(0.0) for n, name in ((1, "muscle"), (2, "tumour"))}
    for name, change in truth.items():
        assert rows[name, "delta_mtr_asym", None]["mean"] == pytest.approx(change, rel=0.01)
    fold = rows["tumour", "contrast_fold", None]
    assert fold["mean"] == pytest.approx(3.0, rel=0.01)
    assert ("muscle", "contrast_fold", None) not in rows


def test_contrast_writes_maps_figures_and_what_it_decided(capsys, pre, post, rois, tmp_path):
    out = tmp_path / "out"
    run(capsys, "cest", "contrast", pre, post, "--at-ppm", 3.5, "--rois", rois, "-o", out)
    names = {path.name for path in out.iterdir()}
    assert {"delta_mtr_asym.nii.gz", "delta_mtr_asym_se.nii.gz", "flags.nii.gz", "report.html"} <= names
    page = (out / "report.html").read_text()
    assert "Z-spectra and asymmetry" in page
    assert "Water frequency shift before: where water was" in page
    assert "Dotted: where the value above is read, 3.5, −3.5 ppm" in page.replace("-3.5", "−3.5")
    record = json.loads((out / "provenance.json").read_text())
    assert record["decisions"]["contrast"]["at_ppm"] == [3.5]


def test_offsets_from_a_file_replace_a_silent_sidecar(capsys, folder, rois, tmp_path):
    silent = write_scan(tmp_path / "silent_cest.nii.gz", AMIDE, SaturationOffsets=None)
    listed = tmp_path / "offsets.txt"
    listed.write_text("\n".join(["-300", *(f"{ppm:.4f}" for ppm in OFFSETS)]))
    rows = rows_of(
        capsys, "cest", "contrast", silent, "--offsets", listed, "--offset-unit", "ppm", "--at-ppm", 3.5,
        "--rois", rois,
    )  # fmt: skip
    assert rows["tumour", "mtr_asym", None]["mean"] == pytest.approx(asymmetry(0.06), abs=0.1)
    error = run(capsys, "cest", "contrast", silent, "--at-ppm", 3.5, code=5).err
    assert "--offsets" in error


def test_the_wrong_number_of_offsets_is_refused(capsys, folder, tmp_path):
    silent = write_scan(tmp_path / "silent_cest.nii.gz", AMIDE, SaturationOffsets=None)
    listed = tmp_path / "offsets.txt"
    listed.write_text("\n".join(f"{ppm:.4f}" for ppm in OFFSETS[:-2]))
    error = run(capsys, "cest", "contrast", silent, "--offsets", listed, "--at-ppm", 3.5, code=4).err
    assert "50" in error


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--fold-over", "muscle"], "--fold-over"),
        (["--offset-unit", "ppm"], "--offset-unit"),
        (["--m0", "a,b"], "--m0"),
        (["--denoise", "lots"], "--denoise"),
        (["--t1", "1.8"], "--t1"),
        (["--register"], "--register"),
        (["--at-ppm", "nan"], "--at-ppm"),
        (["--at-ppm", "0"], "water itself"),
        (["--at-ppm", "2", "--at-ppm", "2"], "twice"),
        (["--m0", "77"], "--m0"),
        (["--b1", "relative.nii.gz"], "--nominal-b1-ut"),
        (["--at-other-b1", "other.nii.gz"], "--nominal-b1-ut"),
        (["--resample-b1"], "--resample-b1"),
        (["--wasabi", "a.nii.gz", "--wassr", "b.nii.gz"], "--wasabi"),
        (["--wassr", "b.nii.gz", "--b0", "c.nii.gz"], "--b0"),
        (["--wasabi", "b.nii.gz", "--b0", "minimum"], "--b0"),
        (["--kind", "mtr_rex", "--duty-cycle", "0.5"], "--duty-cycle"),
    ],
)
def test_words_that_mean_nothing_are_refused_as_usage(capsys, pre, words, option):
    given = ["--at-ppm", "3.5"] if "--at-ppm" not in words else []
    assert option in run(capsys, "cest", "contrast", pre, *given, *words, code=2).err


@pytest.mark.parametrize("kind", ["mtr_asym", "mtr_rex", "lorentzian_difference"])
def test_an_offset_that_was_not_measured_is_refused_before_any_work(capsys, pre, tmp_path, kind):
    """Offsets go from -6 to 6 ppm."""
    out = tmp_path / "out"
    words = ("cest", "contrast", pre, "--kind", kind, "--at-ppm", 30, "-o", out)
    error = run(capsys, *words, code=4).err
    assert "--at-ppm" in error
    assert "-6 to 6 ppm" in error
    assert not out.exists()


def test_a_way_to_water_that_is_neither_a_word_nor_a_file_is_named(capsys, pre):
    error = run(capsys, "cest", "contrast", pre, "--at-ppm", 3.5, "--b0", "minimun", code=3).err
    assert "--b0 minimun" in error
    assert "symmetry" in error


def test_an_image_that_m0_leaves_out_is_no_reference_any_more(capsys, folder):
    """Of two references only the first one is named; 250 ppm from water the other one is no sample either."""
    two = [-300.0, *OFFSETS[:-1], 250.0]
    path = write_scan(folder / "two_cest.nii.gz", AMIDE, SaturationOffsets=two)
    record = json.loads(run(capsys, "cest", "contrast", path, "--at-ppm", 2, "--m0", 0, "--json").out)
    assert record["decisions"]["normalisation"]["m0"].endswith("images 0")
    assert record["decisions"]["normalisation"]["n_offsets"] == OFFSETS.size - 1


def test_a_contrast_without_an_offset_is_a_question_of_usage(capsys, pre):
    assert "--at-ppm" in run(capsys, "cest", "contrast", pre, code=2).err


LINES = """
baseline: 1
pools:
  - {name: water, amplitude: [0.9, 0.02, 1], width_ppm: [1.4, 0.3, 10], centre_ppm: [0, -1, 1]}
  - {name: noe, amplitude: [0.02, 0, 0.4], width_ppm: [2, 1, 5], centre_ppm: -3.5}
  - {name: label, amplitude: [0.02, 0, 0.4], width_ppm: [1.2, 0.4, 2.5], centre_ppm: 3.5}
"""


def test_pools_of_a_file_give_their_depths_and_the_position_of_water(capsys, post, rois, tmp_path):
    """The scan is a sum of just these lines, so that the fit returns what it was made of."""
    lines, out = tmp_path / "lines.yaml", tmp_path / "out"
    lines.write_text(LINES)
    rows = rows_of(
        capsys, "cest", "pools", post, "--pools", lines, "--rois", rois, "--show", "label", "-o", out
    )
    for number, name in ((1, "muscle"), (2, "tumour")):
        assert rows[name, "label_amplitude", None]["mean"] == pytest.approx(100 * AMIDE[number], abs=0.01)
        assert rows[name, "noe_amplitude", None]["mean"] == pytest.approx(6.0, abs=0.01)
    shift = nibabel.load(out / "b0_shift.nii.gz").get_fdata()
    assert shift == pytest.approx(B0, abs=1e-3)
    assert not (out / "label_width.nii.gz").exists()
    assert (out / "figures" / "fitted-curves_label_amplitude.svg").is_file()
    record = json.loads((out / "provenance.json").read_text())
    assert record["decisions"]["pools"]["condition_number"] < 50


def test_a_published_set_is_named_with_its_source(capsys, post, rois, tmp_path):
    out = tmp_path / "out"
    run(capsys, "cest", "pools", post, "--pools", "7t_5pool", "--rois", rois, "-o", out, "--no-report")
    record = json.loads((out / "provenance.json").read_text())
    assert record["decisions"]["pools"]["provenance"] == "published"


def test_pools_that_do_not_exist_are_refused(capsys, post, tmp_path):
    assert "7t_5pool" in run(capsys, "cest", "pools", post, "--pools", "9t", code=2).err
    words = ("cest", "pools", post, "--pools", "7t_5pool", "--show", "copper")
    assert "amide" in run(capsys, *words, code=2).err
    lines = tmp_path / "lines.yaml"
    lines.write_text(LINES.replace("centre_ppm: 3.5}", "centre: 3.5}"))
    error = run(capsys, "cest", "pools", post, "--pools", lines, code=4).err
    assert "lines.yaml:6" in error


ACIDITY = {"a": 6.5, "b": 6.8, "c": 7.1, "d": 7.4}
PH_OFFSETS = np.linspace(-8.0, 8.0, 65)


def amides(acidity):
    """Depths of two lines whose ratio rises by e in one unit of pH, from 1 at 6.5."""
    return 0.04 * np.exp(0.5 * (acidity - 6.5)), 0.04 * np.exp(-0.5 * (acidity - 6.5))


def write_vials(folder, acidity, **sidecar):
    """One column of voxels per vial, each with the two amides of iopamidol at its pH."""
    shape = (4, 5, 2)
    names = list(acidity)
    z = np.empty((*shape, PH_OFFSETS.size))
    for n, name in enumerate(names):
        first, second = amides(acidity[name])
        z[n] = 1.0 - line(PH_OFFSETS, 0, 1.2, 0.85)
        z[n] -= line(PH_OFFSETS, 4.2, 0.5, first) + line(PH_OFFSETS, 5.5, 0.5, second)
    signal = 700.0 * np.concatenate([np.ones((*shape, 1)), z], axis=-1)
    labels = np.arange(1, 5)[:, None, None] * np.ones(shape)
    path = folder / "vials_cest.nii.gz"
    nibabel.save(nibabel.Nifti1Image(signal.astype(np.float32), AFFINE), path)
    content = {
        "SaturationOffsets": [-300.0, *PH_OFFSETS],
        "SaturationOffsetUnit": "ppm",
        "SaturationB1cwpe": 3.0,
        "SaturationDuration": 5.0,
        "MagneticFieldStrength": 7,
    } | sidecar
    path.with_name("vials_cest.json").write_text(json.dumps(content))
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.int16), AFFINE), folder / "vials.nii.gz")
    (folder / "vials.tsv").write_text(
        "index\tname\n" + "".join(f"{n}\t{name}\n" for n, name in enumerate(names, 1))
    )
    (folder / "known.csv").write_text("region,ph\n" + "".join(f"{k},{v}\n" for k, v in acidity.items()))
    return path


def test_vials_calibrate_and_the_calibration_reads_another_scan_of_the_protocol(capsys, tmp_path):
    """The second scan holds pH between those of the vials; 0.02 is the tolerance of the phantom."""
    folder, other = tmp_path / "vials", tmp_path / "mouse"
    folder.mkdir()
    other.mkdir()
    vials = write_vials(folder, ACIDITY)
    rois, table, saved = folder / "vials.nii.gz", folder / "known.csv", folder / "calibration.json"
    words = ("--rois", rois, "--vials", table, "--save-calibration", saved, "--temperature-c", 37)
    rows = rows_of(capsys, "cest", "ph", vials, *words)
    for name, acidity in ACIDITY.items():
        if name in "bc":
            assert rows[name, "ph", None]["mean"] == pytest.approx(acidity, abs=0.02)
    between = {"a": 6.6, "b": 6.9, "c": 7.0, "d": 7.9}
    mouse = write_vials(other, between)
    words = ("--rois", other / "vials.nii.gz", "--calibration", saved, "--temperature-c", 37)
    out = tmp_path / "out"
    rows = rows_of(capsys, "cest", "ph", mouse, *words, "-o", out)
    for name in "abc":
        assert rows[name, "ph", None]["mean"] == pytest.approx(between[name], abs=0.02)
    outside = rows["d", "ph", None]
    assert outside["n_valid"] == 0
    assert "OUTSIDE_RANGE" in outside["flags"]
    assert (out / "figures" / "asymmetry_ph.svg").is_file()


def test_a_calibration_of_another_protocol_is_refused(capsys, tmp_path):
    vials = write_vials(tmp_path, ACIDITY)
    rois, table, saved = tmp_path / "vials.nii.gz", tmp_path / "known.csv", tmp_path / "calibration.json"
    run(capsys, "cest", "ph", vials, "--rois", rois, "--vials", table, "--save-calibration", saved)
    other = tmp_path / "other"
    other.mkdir()
    stronger = write_vials(other, ACIDITY, SaturationB1cwpe=1.5)
    assert "b1" in run(capsys, "cest", "ph", stronger, "--calibration", saved, code=6).err.lower()


def test_ph_without_a_calibration_is_a_question_of_usage(capsys, pre, tmp_path):
    assert "--calibration" in run(capsys, "cest", "ph", pre, code=2).err
    table = tmp_path / "known.csv"
    table.write_text("region,ph\na,7\n")
    assert "--rois" in run(capsys, "cest", "ph", pre, "--vials", table, code=2).err
    words = ("--calibration", table, "--save-calibration", table)
    assert "--vials" in run(capsys, "cest", "ph", pre, *words, code=2).err


@pytest.mark.parametrize("text", ["region,acidity\na,7\n", "region,ph\na,x\n", "region,ph\na,7\na,7.1\n"])
def test_a_table_of_vials_that_cannot_be_read_is_refused(capsys, tmp_path, text):
    vials = write_vials(tmp_path, ACIDITY)
    (tmp_path / "known.csv").write_text(text)
    words = ("--rois", tmp_path / "vials.nii.gz", "--vials", tmp_path / "known.csv")
    assert "known.csv" in run(capsys, "cest", "ph", vials, *words, code=4).err


def test_exchange_needs_scans_at_several_powers(capsys, pre):
    error = run(capsys, "cest", "exchange", pre, "--at-ppm", 3.5, "--t1", 1.8, code=4).err
    assert "power" in error


def write_powers(folder, b1s, text=POOLS):
    """Scans of a pool of 0.072 % and 1000 per s at 9.8 ppm, by the simulator, without noise."""
    from imgtheranostics.cest.bloch_mcconnell import PulseTrain, read_pools, simulate

    pools = folder / "pools.yaml"
    pools.write_text(text)
    ppm = np.linspace(-12.0, 12.0, 49)
    shape, found = (2, 2, 1), []
    for b1 in b1s:
        z = simulate(read_pools(pools), PulseTrain(ppm, [b1], 3.0))
        signal = 800.0 * np.concatenate([[1.0], z]) * np.ones((*shape, 1))
        path = folder / f"power{b1:g}_cest.nii.gz"
        nibabel.save(nibabel.Nifti1Image(signal.astype(np.float32), AFFINE), path)
        content = {
            "SaturationOffsets": [-300.0, *ppm],
            "SaturationOffsetUnit": "ppm",
            "SaturationB1cwpe": b1,
            "MagneticFieldStrength": 11.7,
        }
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(content))
        found.append(path)
    return pools, found


def test_a_fit_of_the_simulation_gives_back_rate_and_concentration(capsys, tmp_path):
    """7.2e-4 of 111 mol/L at two protons are 39.96 mmol/L; the fit begins at 60 % of both."""
    pools, scans = write_powers(tmp_path, (1.2, 3.6))
    pools.write_text(POOLS.replace("7.2e-4", "4.4e-4").replace("k: 1000", "k: 600"))
    words = (
        "cest",
        "exchange",
        *scans,
        "--method",
        "bloch",
        "--pools",
        pools,
        "--free",
        "label:fraction,rate",
    )
    blocks = ("--b1-ut", 1.2, "--b1-ut", 3.6, "--saturation-s", 3)
    rows = rows_of(capsys, *words, *blocks, "--protons", "label:2", "-o", tmp_path / "out")
    assert rows["image", "label_exchange_rate", None]["mean"] == pytest.approx(1000, rel=0.01)
    assert rows["image", "label_pool_concentration", None]["mean"] == pytest.approx(39.96, rel=0.01)
    assert "label_fraction" in (tmp_path / "out" / "report.html").read_text()


def test_a_background_stronger_than_the_label_is_named_as_why_there_is_no_rate(capsys, tmp_path):
    """A pool at -9.8 ppm makes the contrast at 9.8 ppm negative at every power; its points are drawn."""
    out = tmp_path / "out"
    _, scans = write_powers(tmp_path, (1.2, 2.4, 3.6), POOLS.replace("dw: 9.8", "dw: -9.8"))
    words = ("cest", "exchange", *scans, "--at-ppm", 9.8, "--t1", 2.0, "-o", out, "--json")
    found = json.loads(run(capsys, *words).out)
    assert {row["n_valid"] for row in found["quantities"]} == {0}
    assert "negative-contrast" in {one["code"] for one in found["warnings"]}
    assert (out / "figures" / "fitted-curves_exchange_rate.svg").is_file()


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--method", "bloch"], "--free"),
        (["--method", "bloch", "--free", "label:rate"], "--pools"),
        (["--method", "bloch", "--free", "label"], "--free"),
        (["--method", "bloch", "--free", "label:speed"], "fraction, rate"),
        (["--method", "bloch", "--free", "label:rate", "--at-ppm", "3.5"], "--at-ppm"),
        (["--method", "bloch", "--free", "label:rate", "--pools", "p.yaml", "--protons", "2"], "POOL:N"),
        (["--method", "bloch", "--free", "l:rate", "--pools", "p.yaml", "--bound", "l:rate:1"], "--bound"),
        (["--at-ppm", "3.5", "--free", "label:rate"], "--free"),
        (["--at-ppm", "3.5", "--protons", "none"], "--protons"),
        ([], "--at-ppm"),
    ],
)
def test_options_of_another_way_to_an_exchange_rate_are_refused(capsys, pre, words, option):
    assert option in run(capsys, "cest", "exchange", pre, *words, code=2).err


def test_a_contrast_at_the_nominal_b1_needs_scans_at_several(capsys, folder, post, tmp_path):
    """Contrasts on a line over B1; with 0.8 of the nominal field everywhere, 2.4 uT are set as 3 uT."""
    field = tmp_path / "field_b1map.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full(SHAPE, 0.8, np.float32), AFFINE), field)
    one, other = (
        write_scan(tmp_path / f"{name}_cest.nii.gz", {1: amide, 2: amide}, SaturationB1rms=b1)
        for name, amide, b1 in (("one", 0.03, 2.0), ("other", 0.06, 4.0))
    )
    words = ("cest", "contrast", one, "--at-ppm", 3.5, "--b1", field, "--nominal-b1-ut", 2.4)
    found = rows_of(capsys, *words, "--at-other-b1", other, "--b1-method", "linear")
    at = {amide: asymmetry(amide) for amide in (0.03, 0.06)}
    expected = at[0.03] + (at[0.06] - at[0.03]) * (2.4 / 0.8 - 2.0) / 2.0
    assert found["image", "mtr_asym", None]["mean"] == pytest.approx(expected, rel=0.02)
    assert "several B1" in run(capsys, *words, code=4).err
    assert "--nominal-b1-ut" in run(capsys, *words[:3], post, *words[3:], code=2).err


def test_lines_of_an_agent_join_those_of_the_tissue(capsys, post, rois):
    """Amide of iodixanol at 4.3 ppm, from memory: told so; a record that leaves it open asks for it."""
    words = ("cest", "pools", post, "--pools", "7t_5pool", "--rois", rois)
    found = json.loads(run(capsys, *words, "--agent", "iodixanol", "--json").out)
    assert found["decisions"]["pools"]["rule"] == "7t_5pool with iodixanol"
    assert found["decisions"]["pools"]["provenance"] == "published"
    assert {"iodixanol_amide_amplitude", "amide_amplitude"} <= {
        row["quantity"] for row in found["quantities"]
    }
    assert "unconfirmed-value" in {one["code"] for one in found["warnings"]}
    assert "--agent-ppm" in run(capsys, *words, "--agent", "gemcitabine", code=5).err
    far = json.loads(run(capsys, *words, "--agent", "olsalazine", "--json").out)
    assert "pools-outside-offsets" in {one["code"] for one in far["warnings"]}


def test_simulate_adds_an_agent_with_what_its_record_leaves_open(capsys, tmp_path):
    """20 mM olsalazine, its offset and two protons from the record: 20.8 % as with the pool file above."""
    pools = tmp_path / "water.yaml"
    pools.write_text("water_pool: {f: 1, t1: 2.0, t2: 0.045}\nb0: 11.7\n")
    words = ("cest", "simulate", pools, "--offset-range", "-9.8:9.8:3", "--b1-ut", 3.6, "--pulse-s", 3)
    agent = ("--agent", "olsalazine", "--concentration-mm", 20)
    rows = rows_of(capsys, *words, *agent, "--agent-rate", 1000, "--agent-t2-s", 0.02)
    z = {at: rows["simulated", "z_spectrum", at]["mean"] for at in (-9.8, 9.8)}
    assert 100 * (z[-9.8] - z[9.8]) == pytest.approx(20.8, abs=0.05)
    assert "--agent-rate" in run(capsys, *words, *agent, code=5).err
    assert "--concentration-mm" in run(capsys, *words, *agent[:2], code=2).err
    assert "--ph" in run(capsys, *words, "--ph", 7, code=2).err


def test_simulate_takes_offsets_in_hz_at_the_field_of_the_pools(capsys, tmp_path):
    """9.8 ppm at 11.7 T are 9.8 x 42.5764 x 11.7 = 4881.8 Hz."""
    pools, listed = tmp_path / "pools.yaml", tmp_path / "hz.txt"
    pools.write_text(POOLS)
    listed.write_text("-4881.8\n4881.8\n0\n")
    words = ("cest", "simulate", pools, "--offsets", listed, "--b1-ut", 3.6, "--pulse-s", 3)
    rows = rows_of(capsys, *words, "--offset-unit", "Hz")
    assert sorted(at for *_, at in rows) == pytest.approx([-9.8, 0.0, 9.8], abs=1e-4)
    assert "--pulse-s" in run(capsys, *words[:-1], 0, code=2).err


def test_simulate_prints_the_spectrum_of_the_pool_file(capsys, tmp_path):
    """20 mM of 2 protons, f = 3.6036e-4, 3.6 uT for 3 s at 11.7 T: MTRasym(9.8) is 20.8 % (cest.md)."""
    pools = tmp_path / "pools.yaml"
    pools.write_text(POOLS.replace("7.2e-4", "3.6036e-4"))
    words = ("cest", "simulate", pools, "--offset-range", "-9.8:9.8:3", "--b1-ut", 3.6, "--pulse-s", 3)
    rows = rows_of(capsys, *words)
    z = {at: rows["simulated", "z_spectrum", at]["mean"] for at in (-9.8, 9.8)}
    assert 100 * (z[-9.8] - z[9.8]) == pytest.approx(20.8, abs=0.05)


def test_simulate_gives_one_spectrum_for_each_field_error_and_writes_a_figure(capsys, tmp_path):
    pools, out = tmp_path / "pools.yaml", tmp_path / "out"
    pools.write_text(POOLS)
    words = ("cest", "simulate", pools, "--offset-range", "-12:12:49", "--b1-ut", 3.6, "--pulse-s", 3)
    rows = rows_of(capsys, *words, "--b0-ppm", 0, "--b0-ppm", 0.5, "-o", out)
    assert {region for region, *_ in rows} == {"+0 ppm, B1 x 1", "+0.5 ppm, B1 x 1"}
    assert rows["+0.5 ppm, B1 x 1", "z_spectrum", 0.5]["mean"] == pytest.approx(
        rows["+0 ppm, B1 x 1", "z_spectrum", 0.0]["mean"], abs=1e-9
    )
    assert (out / "figures" / "curves_z_spectrum.svg").is_file()


def test_simulate_says_what_is_missing(capsys, tmp_path):
    pools = tmp_path / "pools.yaml"
    pools.write_text(POOLS)
    assert "--b1-ut" in run(capsys, "cest", "simulate", pools, "--offset-range", "-1:1:5", code=2).err
    words = ("cest", "simulate", pools, "--b1-ut", 1, "--pulse-s", 1)
    assert "--offset-range" in run(capsys, *words, code=2).err
    assert "START:STOP:N" in run(capsys, *words, "--offset-range", "1:2", code=2).err


def test_before_and_after_show_the_same_voxel(pre, post, rois):
    """The voxel with the median change of the first region, in both scans; regions of the same voxels."""
    from imgtheranostics.cest.contrast_maps import ContrastChange, ContrastPlan
    from imgtheranostics.cest.prepared_spectra import Handling
    from imgtheranostics.io.loading import load
    from imgtheranostics.io.regions import load_rois

    how, first, second = Handling(), load(pre), load(post)
    plan = ContrastChange.of(ContrastPlan.of(first, how, at_ppm=3.5), first, second, how)
    curves = plan.curves(load_rois(rois, like=first))
    before, after = ([one for one in curves if one.label.endswith(when)] for when in (" before", " after"))
    assert len(before) == 3
    assert [one.label.removesuffix(" before") for one in before] == [
        one.label.removesuffix(" after") for one in after
    ]
    assert [one.n_voxels for one in before] == [one.n_voxels for one in after] == [45, 45, 1]
    assert all(one.marks == (3.5, -3.5) for one in curves)


def test_a_depth_inside_its_bounds_is_not_at_a_bound_because_a_width_is(capsys, post, rois, tmp_path):
    """The label is 1 ppm wide and may have 1.2 at least, so that its width alone ends at the bound."""
    lines = tmp_path / "lines.yaml"
    lines.write_text(LINES.replace("[1.2, 0.4, 2.5]", "[1.3, 1.2, 2.5]"))
    words = ("cest", "pools", post, "--pools", lines, "--rois", rois, "--widths-and-centres", "--json")
    found = json.loads(run(capsys, *words).out)
    rows = {(row["region"], row["quantity"]): row for row in found["quantities"]}
    assert "AT_BOUND" in rows["tumour", "label_width"]["flags"]
    for quantity in ("label_amplitude", "noe_amplitude", "water_amplitude", "b0_shift"):
        assert "AT_BOUND" not in rows["tumour", quantity]["flags"]
    told = [one for one in found["warnings"] if one["code"] == "many-at-bound"]
    assert [one["message"].partition(":")[0] for one in told] == ["label_width"]


HELP = """
import sys
from imgtheranostics.cli.main import main
codes = [main(["cest", command, "--help"]) for command in ("contrast", "pools", "ph", "exchange", "simulate")]
print(codes, sorted({"numpy", "numba", "pydantic", "yaml"} & set(sys.modules)))
"""


def test_help_of_every_command_is_there_without_numerics():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert done.stdout.count("Usage") == 5
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0, 0] []"


def test_noise_alone_gives_no_number_and_says_it_once(capsys, folder):
    """Nothing but noise in every voxel: one warning for all lines, none about the one region besides."""
    noise = folder / "noise_cest.nii.gz"
    write_scan(noise, AMIDE)
    image = np.abs(np.random.default_rng(3).normal(0, 10, (*SHAPE, OFFSETS.size + 1)))
    nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), AFFINE), noise)
    found = json.loads(run(capsys, "cest", "pools", noise, "--json").out)
    assert {row["n_valid"] for row in found["quantities"]} == {0}
    codes = [one["code"] for one in found["warnings"]]
    assert codes.count("nothing-estimated") == 1
    assert not [code for code in codes if code.endswith("-in-region")]


def test_the_form_of_quesp_is_an_option_and_belongs_to_it_alone(capsys, pre):
    words = ("cest", "exchange", pre, pre, pre, "--at-ppm", 3.5, "--t1", 2.0, "--form", "labelled")
    assert "--form" in run(capsys, *words, code=2).err
    words = ("cest", "exchange", pre, "--method", "bloch", "--pools", pre, "--form", "labelled")
    assert "--form" in run(capsys, *words, code=2).err


def test_the_figure_of_folds_speaks_of_no_percentiles(capsys, pre, post, rois, tmp_path):
    """A fold is one number for a region: only the figure of the voxels' changes has a spread to explain."""
    words = ("--at-ppm", 3.5, "--rois", rois, "--fold-over", "muscle", "-o", tmp_path / "out")
    run(capsys, "cest", "contrast", pre, post, *words)
    figures = json.loads((tmp_path / "out" / "figures" / "figures.json").read_text())
    listed = figures["figures"] if isinstance(figures, dict) else figures
    captions = {one["file"]: one["caption"] for one in listed}
    assert "percentile" not in captions["regions_contrast_fold.svg"]
    assert "percentile" in captions["regions_delta_mtr_asym.svg"]
