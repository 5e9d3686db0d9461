"""``msot`` commands on simulated images: numbers, files, wrong usage, refusals."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from imgtheranostics.cli.main import main
from imgtheranostics.cli.msot_words import component_words, wavelength_list
from imgtheranostics.msot import spectra

SHAPE = (24, 20, 6)
AFFINE = np.diag([0.3, 0.3, 0.5, 1.0])
WAVELENGTHS = (700.0, 730.0, 760.0, 780.0, 800.0, 830.0, 860.0, 880.0)
NOISE = 0.002
"""Of absorption in 1/cm; blood of 100 umol/L makes about 0.2."""


def ball(centre, radius):
    place = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.linalg.norm(place - np.array(centre), axis=-1) < radius


TUMOUR, LIVER, MUSCLE = ball((7, 7, 3), 3.2), ball((17, 7, 3), 3.2), ball((12, 15, 3), 4.2)
DYE = {"tumour": 0.7, "liver": 0.1, "muscle": 0.0}
"""IR780 in umol/L: seven times as much in the tumour as in the liver, as the review has it."""

HBO2, HB = 70.0, 30.0
LABELS = {"tumour": TUMOUR, "liver": LIVER, "muscle": MUSCLE}


def absorption(hbo2=HBO2, hb=HB, dye=DYE):
    """Absorption coefficients to base e in 1/cm, by M2 of the sheet on optoacoustics."""
    known = {"HbO2": np.full(SHAPE, hbo2), "Hb": np.full(SHAPE, hb), "IR780": np.zeros(SHAPE)}
    for name, inside in LABELS.items():
        known["IR780"][inside] = dye[name]
    per_micromolar = np.log(10.0) * 1e-6
    return sum(
        amount[..., np.newaxis] * per_micromolar * spectra.molar_extinction(name, WAVELENGTHS)
        for name, amount in known.items()
    )


def write(path, data, *, seed=0, noise=NOISE, **sidecar):
    image = data + noise * np.random.default_rng(seed).standard_normal(data.shape)
    header = nibabel.Nifti1Image(image.astype(np.float32), AFFINE)
    header.header.set_xyzt_units("mm")
    header.header["intent_name"] = b"MSOT"
    nibabel.save(header, path)
    content = {"Modality": "PA", "Wavelengths": list(WAVELENGTHS), "WavelengthUnits": "nm"}
    content |= {"Units": "1/cm", "ImageType": "mu_a", "AxisOrder": ["wavelength"]} | sidecar
    content = {key: value for key, value in content.items() if value is not None}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("msot")


@pytest.fixture(scope="module")
def rois(folder):
    image = np.zeros(SHAPE, np.int16)
    for n, mask in enumerate(LABELS.values(), 1):
        image[mask] = n
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "rois.nii.gz")
    rows = "".join(f"{n}\t{name}\n" for n, name in enumerate(LABELS, 1))
    (folder / "rois.tsv").write_text(f"index\tname\n{rows}")
    return folder / "rois.nii.gz"


@pytest.fixture(scope="module")
def scan(folder):
    return write(folder / "scan_pa.nii.gz", absorption())


@pytest.fixture(scope="module")
def unscaled(folder):
    """The same in arbitrary units."""
    data = 1000.0 * absorption()
    return write(folder / "raw_pa.nii.gz", data, noise=2.0, Units="[arb'U]", ImageType="raw-au")


@pytest.fixture(scope="module")
def over_time(folder):
    """Twenty frames: saturation rises from 70 to 80 % at 95 s, the dye comes at 30 s and decays by 0.01/s."""
    times = np.arange(20) * 10.0
    frames = []
    for at in times:
        share = 0.7 if at < 95.0 else 0.8
        left = np.exp(-0.01 * (at - 30.0)) if at >= 30.0 else 0.0
        dye = {name: amount * left for name, amount in DYE.items()}
        frames.append(absorption(100.0 * share, 100.0 * (1.0 - share), dye))
    data = np.stack(frames, axis=3)
    axes = ["time", "wavelength"]
    return write(folder / "frames_pa.nii.gz", data, AxisOrder=axes, FrameTimes=times.tolist())


def run(capsys, *words, code=0):
    found = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert found == code, printed.err
    return printed


def rows_of(capsys, *words):
    printed = run(capsys, *words, "--json", "-q", "--workers", "1")
    rows = json.loads(printed.out)["quantities"]
    return {(row["region"], row["quantity"], row["axis_value"]): row for row in rows}


@pytest.fixture(scope="module")
def result(scan, rois, folder):
    """One full run that several tests look at."""
    out = folder / "result"
    words = [
        "msot", "unmix", scan, "--rois", rois, "--components", "HbO2,Hb,agent:ir780", "--method", "ls",
        "--noise-sd", NOISE, "--over", "liver", "--blank", "muscle", "--molar-mass-g-mol", 667.1,
        "--injected-mg", 0.02, "--body", "muscle", "--depth-curves-mm", 0.3, "-o", out, "-q", "--workers", 1,
    ]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    table = json.loads((out / "quantities.json").read_text())["rows"]
    return out, {(row["region"], row["quantity"]): row for row in table}


def test_concentrations_are_those_that_absorb(result):
    _, rows = result
    for region, amount in DYE.items():
        row = rows[region, "ir780_chromophore_concentration"]
        assert row["unit"] == "umol/L"
        assert row["mean"] == pytest.approx(amount, abs=4 * row["standard_error"] + 1e-6)
        assert row["standard_error"] < 0.01
    assert rows["liver", "hbo2_chromophore_concentration"]["mean"] == pytest.approx(HBO2, rel=0.01)


def test_ratio_of_regions_is_that_of_the_truth(result):
    _, rows = result
    ratio = rows["tumour/liver", "ir780_region_ratio"]
    assert ratio["mean"] == pytest.approx(7.0, abs=4 * ratio["standard_error"])
    assert ratio["standard_error"] < 0.4
    assert ("liver/liver", "ir780_region_ratio") not in rows
    assert ("tumour/liver", "hbo2_region_ratio") not in rows


def test_mass_and_share_of_the_injection_follow_from_the_molar_mass(result):
    """M22: 0.7 umol/L of 667.1 g/mol are 4.67e-4 mg/mL, and 100 C / (1 g/mL 0.02 mg) = 2.335 %/g."""
    _, rows = result
    amount = rows["tumour", "ir780_chromophore_concentration"]["mean"]
    assert rows["tumour", "concentration"]["mean"] == pytest.approx(amount * 667.1e-6, rel=1e-4)
    assert rows["tumour", "id_per_g"]["mean"] == pytest.approx(amount * 667.1e-6 / 0.02 * 100.0, rel=1e-4)
    assert rows["tumour", "id_per_g"]["unit"] == "%/g"


def test_the_dye_is_detected_in_the_tumour_and_not_in_muscle(result):
    """The limit of a voxel is 3.3 standard deviations of blank voxels: 4.8e-4 of these exceed it."""
    _, rows = result
    limit = rows["any voxel", "ir780_voxel_detection_limit"]
    assert 0.0 < limit["mean"] < 0.2
    assert rows["tumour", "ir780_detected_share"]["mean"] == 100.0
    assert rows["muscle", "ir780_detected_share"]["mean"] < 1.0


def test_maps_have_errors_flags_and_what_belongs_to_them(result):
    out, _ = result
    names = {path.name for path in out.glob("*.nii.gz")}
    word = "ir780_chromophore_concentration"
    assert {f"{word}.nii.gz", f"{word}_se.nii.gz", f"{word}_detected.nii.gz"} <= names
    assert {"residual.nii.gz", "depth.nii.gz", "id_per_g.nii.gz", "id_per_g_se.nii.gz"} <= names
    assert "flags.nii.gz" in names or f"{word}_flags.nii.gz" in names
    sidecar = json.loads((out / f"{word}.json").read_text())
    assert sidecar["Units"] == "umol/L"
    found = nibabel.load(out / f"{word}.nii.gz").get_fdata()
    assert found[TUMOUR].mean() == pytest.approx(0.7, abs=0.02)


def test_report_has_the_figures_of_optoacoustics(result):
    out, _ = result
    names = {path.name for path in (out / "figures").iterdir()}
    assert {"components_components.svg", "spectra_optical_absorption.svg"} <= names
    assert "depth_effective_attenuation.svg" in names
    text = (out / "report.html").read_text()
    assert "Components together" in text
    assert "Spectra of components and regions" in text


def test_record_says_how_and_names_no_file(result, scan):
    out, _ = result
    record = json.loads((out / "provenance.json").read_text())
    assert record["command"] == "msot unmix"
    assert record["parameters"]["components"] == ["HbO2,Hb,agent:ir780"]
    assert len(record["inputs"]) == 2
    assert scan.name not in json.dumps(record)


def test_amounts_from_arbitrary_units_are_proportional_and_say_so(capsys, unscaled, rois):
    printed = run(
        capsys, "msot", "unmix", unscaled, "--rois", rois, "--components", "HbO2,Hb,IR780", "--over", "liver"
    )
    assert "arbitrary-units" in printed.err
    assert "fluence-not-corrected" in printed.err or "arbitrary" in printed.err
    assert "ir780_component_amplitude" in printed.out
    assert "umol/L" not in printed.out


def test_a_calibration_makes_mass_of_arbitrary_units(capsys, unscaled, rois, tmp_path):
    """The vials are the regions themselves: 0.7 of IR780 in a tumour that holds 0.35 mg/mL."""
    known = tmp_path / "vials.csv"
    known.write_text("region,mg_ml\ntumour,0.35\nmuscle,0\n")
    rows = rows_of(
        capsys, "msot", "unmix", unscaled, "--rois", rois, "--components", "HbO2,Hb,IR780", "--method", "ls",
        "--calibration", known,
    )  # fmt: skip
    row = rows["liver", "concentration", None]
    assert row["mean"] == pytest.approx(0.05, abs=4 * row["standard_error"])


def test_only_some_wavelengths_give_the_same_in_any_order(capsys, scan, rois):
    words = ("msot", "oxygenation", scan, "--rois", rois, "--components", "HbO2,Hb,IR780", "--only")
    one = rows_of(capsys, *words, "700,760,800,860")
    other = rows_of(capsys, *words, "860,700,800,760")
    assert one == other
    assert one["liver", "region_so2", None]["mean"] == pytest.approx(70.0, abs=0.5)


def test_wavelengths_may_be_stated_where_the_file_does_not(capsys, folder, rois, tmp_path):
    bare = write(tmp_path / "bare_pa.nii.gz", absorption(), Wavelengths=None, WavelengthUnits=None)
    printed = run(capsys, "msot", "oxygenation", bare, code=5)
    assert "--wavelengths" in printed.err
    listed = tmp_path / "nm.txt"
    listed.write_text("\n".join(f"{value:g} nm" for value in WAVELENGTHS))
    for given in (",".join(f"{value:g}" for value in WAVELENGTHS), listed):
        rows = rows_of(
            capsys, "msot", "oxygenation", bare, "--rois", rois, "--components", "HbO2,Hb,IR780",
            "--wavelengths", given,
        )  # fmt: skip
        assert rows["muscle", "region_so2", None]["mean"] == pytest.approx(70.0, abs=0.5)


def test_a_users_spectrum_is_a_component_under_its_name(capsys, scan, rois, tmp_path):
    file = tmp_path / "mine.csv"
    lines = [f"{nm:g},{spectra.molar_extinction('IR780', nm)[()]:g}" for nm in WAVELENGTHS]
    file.write_text("wavelength_nm,molar_extinction_per_m_cm\n" + "\n".join(lines))
    out = tmp_path / "out"
    words = ("--components", f"HbO2,Hb,{file}:dye", "--no-report", "-o", out)
    rows = rows_of(capsys, "msot", "unmix", scan, "--rois", rois, *words)
    record = json.loads((out / "provenance.json").read_text())
    assert record["parameters"]["components"] == ["HbO2,Hb,dye=file"]
    assert len(record["inputs"]) == 3
    assert str(tmp_path) not in json.dumps(record)
    assert "mine" not in json.dumps(record)
    assert rows["tumour", "dye_chromophore_concentration", None]["mean"] == pytest.approx(0.7, abs=0.02)
    file.write_text("wavelength_nm,molar_extinction_per_m_cm\n" + "\n".join(lines[:-2]))
    refused = run(capsys, "msot", "unmix", scan, "--components", f"HbO2,Hb,{file}", code=4)
    assert "860, 880 nm" in refused.err


def test_light_is_taken_out_by_what_the_tissue_holds(capsys, folder, rois, tmp_path):
    """An even slab lit from the front: the image is absorption times exp(-mu_eff depth), M10."""
    mu_a = absorption(dye=dict.fromkeys(DYE, 0.0))
    depth_cm = 0.03 * (SHAPE[1] - 0.5 - np.arange(SHAPE[1]))
    scattering = 18.9 * (np.array(WAVELENGTHS) / 500.0) ** -1.286
    mu_eff = np.sqrt(3 * mu_a * (mu_a + scattering))
    signal = 50.0 * mu_a * np.exp(-mu_eff * depth_cm[np.newaxis, :, np.newaxis, np.newaxis])
    dim = write(tmp_path / "dim_pa.nii.gz", signal, noise=0.0, Units="[arb'U]", ImageType="raw-au")
    body = tmp_path / "body.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.int16), AFFINE), body)
    words = ("msot", "oxygenation", dim, "--rois", rois)
    light = ("--fluence", "slab", "--body", body, "--illumination", "anterior", "--tissue",
             f"thb={HBO2 + HB},so2=70,water=0", "--signal-per-absorption", 50)  # fmt: skip
    rows = rows_of(capsys, *words, *light)
    for region in LABELS:
        assert rows[region, "region_so2", None]["mean"] == pytest.approx(70.0, abs=0.05)
        assert rows[region, "thb", None]["mean"] == pytest.approx(HBO2 + HB, rel=1e-3)
        assert rows[region, "thb", None]["unit"] == "umol/L"
    dark = rows_of(capsys, *words)
    assert abs(dark["liver", "region_so2", None]["mean"] - 70.0) > 0.2


def test_gas_challenge_finds_change_and_its_moment(capsys, over_time, rois, tmp_path):
    rows = rows_of(
        capsys, "msot", "oxygenation", over_time, "--rois", rois, "--components", "HbO2,Hb,IR780",
        "--challenge", "find", "--buffer-frames", 1, "--no-report", "-o", tmp_path / "gas",
    )  # fmt: skip
    for region in LABELS:
        row = rows[region, "region_delta_so2", None]
        assert row["mean"] == pytest.approx(10.0, abs=4 * row["standard_error"])
        assert row["standard_error"] < 0.5
    assert rows["all regions", "gas_change", None]["mean"] == pytest.approx(95.0, abs=5.0)
    assert (tmp_path / "gas" / "delta_so2_se.nii.gz").is_file()


def test_kinetics_of_the_dye(capsys, over_time, rois):
    rows = rows_of(
        capsys, "msot", "unmix", over_time, "--rois", rois, "--components", "HbO2,Hb,IR780", "--method", "ls",
        "--kinetics", "tail", "--baseline", "0:3",
    )  # fmt: skip
    row = rows["tumour", "decay_rate", None]
    assert row["mean"] == pytest.approx(0.01, abs=4 * row["standard_error"])
    assert row["standard_error"] < 0.001
    assert rows["tumour", "half_life", None]["mean"] == pytest.approx(np.log(2.0) / 0.01, rel=0.1)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--components", "HbO2,Hbb"), 3, "hb"),
        (("--components", "HbO2,agent:irr780"), 3, "ir780"),
        (("--components", "HbO2,missing.csv"), 3, "missing.csv"),
        (("--only", "700:880:30"), 4, "the nearest is"),
        (("--only", "700:880"), 2, "FIRST:LAST:STEP"),
        (("--components", "HbO2,HbO2"), 2, "stands twice"),
        (("--components", ""), 2, "names no component"),
        (("--components", "HbO2,x=Hb@colour=3"), 2, "@colour=3"),
        (("--components", "HbO2,=Hb"), 2, "no component"),
        (("--components", "HbO2,other=HbO2"), 6, "cannot be told apart"),
        (("--over", "livr"), 2, "tumour, liver, muscle"),
        (("--blank", "musle"), 2, "tumour, liver, muscle"),
        (("--mask", "musle"), 2, "tumour, liver, muscle"),
        (("--fluence", "slab"), 2, "--body"),
        (("--mu-a-per-cm", 0.2), 2, "belongs to --fluence"),
        (("--illumination", "left"), 2, "belongs to --body"),
        (("--fluence", "diffusion", "--body", "all", "--tissue", "thb=1,so2=70"), 2, "slab or a cylinder"),
        (("--fluence", "slab", "--body", "all", "--tissue", "thb=1"), 2, "so2=PERCENT"),
        (("--fluence", "slab", "--body", "all", "--tissue", "thb=100,so2=0.7"), 2, "in %"),
        (("--depth-curves-mm", 1), 2, "needs --body"),
        (("--only", "0.7um"), 2, "no wavelength in nm"),
        (("--only", "7e-7"), 2, "are 700"),
        (("--only", "705"), 4, "705 nm within 0.5 nm"),
        (("--only", "700"), 6, "as many wavelengths"),
        (("--noise-sd", "1,2"), 2, "--noise-sd"),
        (("--noise-sd", "-1"), 2, "above 0"),
        (("--noise-sd", "much"), 2, "or a file"),
        (("--injected-mg", 1), 2, "needs mg/mL"),
        (("--injected-nmol", 1), 2, "needs --molar-mass-g-mol"),
        (("--calibration-error", 1), 2, "belongs to --calibration"),
        (("--calibration", 3), 2, "say which component"),
        (("--calibration", 3, "--agent", "IR780"), 2, "no component 'IR780'"),
        (("--kinetics", "tail"), 2, "frames before the injection"),
        (("--baseline", "0:3"), 2, "belongs to --kinetics"),
        (("--method", "pinv"), 2, "nnls"),
    ],
)
def test_what_cannot_be_is_refused_in_words(capsys, scan, rois, words, code, told):
    printed = run(capsys, "msot", "unmix", scan, "--rois", rois, *words, code=code)
    assert told in " ".join(printed.err.split())
    assert printed.out == ""


def test_other_refusals(capsys, scan, unscaled, tmp_path, folder):
    assert "does not exist" in run(capsys, "msot", "unmix", tmp_path / "none.nii.gz", code=3).err
    assert "Hb among" in run(capsys, "msot", "oxygenation", scan, "--components", "HbO2", code=4).err
    assert "time" in run(capsys, "msot", "oxygenation", scan, "--challenge", "find", code=5).err
    assert "--challenge" in run(capsys, "msot", "oxygenation", scan, "--buffer-frames", 3, code=2).err
    assert "find" in run(capsys, "msot", "oxygenation", scan, "--challenge", "soon", code=2).err
    words = ("msot", "unmix", unscaled, "--components", "HbO2,Hb,IR780", "--molar-mass-g-mol", 667)
    assert "--calibration" in run(capsys, *words, code=5).err
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep")
    assert "not empty" in run(capsys, "msot", "unmix", scan, "-o", full, code=7).err


def test_a_real_scan_is_reconstructed_and_its_image_read_again(capsys, public_data, tmp_path):
    """Scan_9 of an iThera scanner; its speed of sound lies near that of warm water, 1480 to 1520 m/s."""
    raw = public_data("msot/ithera_scan_9")
    assert "imgtheranostics msot reconstruct" in run(capsys, "msot", "unmix", raw, code=4).err
    unstated = run(capsys, "msot", "reconstruct", raw, "--pixel-mm", 0.3, "--shape", "83,83", "--json")
    assert "speed-of-sound-focused" in unstated.out
    offset = run(capsys, "msot", "reconstruct", raw, "--speed-of-sound", 43, code=6)
    assert "TrimSpeedOfSound" in offset.err
    out = tmp_path / "image"
    rows = rows_of(
        capsys, "msot", "reconstruct", raw, "--speed-of-sound", "focus", "--pixel-mm", 0.15, "--shape",
        "166,166", "-o", out,
    )  # fmt: skip
    assert 1450.0 < rows["image", "speed_of_sound", None]["mean"] < 1520.0
    assert {"reconstruction_pa.nii.gz", "reconstruction_pa.json", "report.html"} <= {
        p.name for p in out.iterdir()
    }
    assert (out / "figures" / "image_reconstruction_pa.svg").is_file()
    again = run(capsys, "msot", "unmix", out / "reconstruction_pa.nii.gz", "--components", "HbO2")
    assert "hbo2_component_amplitude" in again.out
    assert "as many wavelengths" in run(capsys, "msot", "unmix", out / "reconstruction_pa.nii.gz", code=6).err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--speed-of-sound", "fast"), 2, "or focus"),
        (("--speed-of-sound", 1480, "--shape", "20"), 2, "2 or 3 numbers"),
        (("--speed-of-sound", 1480, "--shape", "20.5,20"), 2, "whole numbers"),
        (("--speed-of-sound", 1480, "--pixel-mm", 0), 2, "size in mm"),
        (("--speed-of-sound", 1480, "--band-mhz", "6,1"), 2, "must rise"),
        (("--speed-of-sound", 1480, "--orientation", "ABC"), 2, "three letters"),
        (("--speed-of-sound", 1480, "--regularisation", 0.1), 2, "belongs to --method model"),
        (("--speed-of-sound", 1480, "--pixel-mm", 0.5, "--shape", "300,300"), 6, "reaches the detectors"),
        (("--wavelengths", "700"), 4, "their own wavelengths"),
        (("--speed-of-sound", 1480, "--only", "800"), 4, "700 nm"),
    ],
)
def test_reconstructions_that_cannot_be_are_refused(capsys, public_data, words, code, told):
    raw = public_data("msot/ithera_scan_9")
    assert told in " ".join(run(capsys, "msot", "reconstruct", raw, *words, code=code).err.split())


def test_words_of_components_and_wavelengths():
    assert component_words(["HbO2, Hb", "gold nanorod 4"]) == ["HbO2", "Hb", "gold nanorod 4"]
    assert wavelength_list("700:760:30", "--only") == [700.0, 730.0, 760.0]
    assert wavelength_list(None, "--only") is None
