"""The examples of README.md about PET and SPECT run as printed, on simulated scans."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.signal import lfilter

from imgtheranostics.cli.main import main

README = Path(__file__).resolve().parent.parent / "README.md"

MOUSE_SHAPE = (24, 20, 16)
MOUSE_AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
Y86_S = 14.74 * 3600.0
DOSE_MBQ = 8.0
MOUSE_HOURS = {"MOUSE_1H": 1.0, "MOUSE_4H": 4.0, "MOUSE_24H": 24.0, "MOUSE_48H": 48.0}
MOUSE_ID_PER_G = {"tumour": 12.0, "liver": 8.0, "muscle": 1.0}
"""Decay corrected, at the injection; cleared with `MOUSE_BIOLOGICAL_H`."""

MOUSE_BIOLOGICAL_H = {"tumour": 60.0, "liver": 30.0, "muscle": 20.0}
FRAME_S = 600.0

SPECT_COUNTS = {"tumour": (60.0, 200.0), "liver": (150.0, 40.0), "muscle": (10.0, 10.0)}
"""Counts per voxel of 99mTc and 111In, each in its own window."""

SPECT_CROSSTALK = ((1.0, 0.25), (0.045, 1.0))
"""What the vials of the page show: 5,000 of 20,000, and 900 of 20,000."""

BRAIN_SHAPE = (16, 12, 6)
BRAIN_AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
BRAIN_FRAMES_S = np.array([10.0] * 12 + [30.0] * 6 + [60.0] * 5 + [300.0] * 16)
BRAIN_RATES = {"putamen": (0.1, 0.04), "cortex": (0.09, 0.06), "cerebellum": (0.08, 0.08)}
"""K1 in mL/cm3/min and k2 in 1/min of one tissue compartment each: VT 2.5, 1.5 and 1, BP 1.5 and 0.5."""


def section() -> str:
    """What README.md says about PET and SPECT."""
    text = README.read_text(encoding="utf-8")
    return text[text.index("**PET and SPECT, ") : text.index("**MRI, ")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", section(), flags=re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("imgtheranostics ")]


def ball(centre, radius, shape=MOUSE_SHAPE):
    place = np.moveaxis(np.indices(shape), 0, -1)
    return np.linalg.norm(place - np.array(centre), axis=-1) < radius


def mouse_masks() -> dict[str, np.ndarray]:
    return {
        "tumour": ball((6, 6, 8), 3.5),
        "liver": ball((15, 12, 8), 4.5),
        "muscle": ball((6, 15, 8), 2.5),
    }


def write_pet(folder: Path, image: np.ndarray, affine: np.ndarray, **sidecar) -> None:
    """A PET-BIDS image in Bq/mL, corrected to the start of its scan."""
    folder.mkdir(exist_ok=True)
    nifti = nibabel.Nifti1Image(image.astype(np.float32), affine)
    nifti.header.set_xyzt_units("mm", "sec")
    nibabel.save(nifti, folder / "pet.nii.gz")
    content = {
        "Modality": "PT",
        "Units": "Bq/mL",
        "TracerName": "tracer",
        "InjectedRadioactivityUnits": "MBq",
        "TimeZero": "10:00:00",
        "InjectionStart": 0,
        "ImageDecayCorrected": True,
    }
    (folder / "pet.json").write_text(json.dumps(content | sidecar))


def write_labels(place: Path, name: str, masks: dict[str, np.ndarray], affine: np.ndarray) -> None:
    image = np.zeros(next(iter(masks.values())).shape, np.int16)
    for n, mask in enumerate(masks.values(), 1):
        image[mask] = n
    nibabel.save(nibabel.Nifti1Image(image, affine), place / f"{name}.nii.gz")
    rows = "".join(f"{n}\t{region}\n" for n, region in enumerate(masks, 1))
    (place / f"{name}.tsv").write_text(f"index\tname\n{rows}")


def make_mouse(place: Path) -> None:
    """A mouse with 8 MBq of 86Y at four times, with noise of 2 %."""
    rng = np.random.default_rng(1)
    masks = mouse_masks()
    for name, hours in MOUSE_HOURS.items():
        image = np.zeros(MOUSE_SHAPE)
        start = hours * 3600.0
        for region, inside in masks.items():
            biological = MOUSE_BIOLOGICAL_H[region] * 3600.0
            share = MOUSE_ID_PER_G[region] / 100.0 * 2 ** -((start + FRAME_S / 2) / biological)
            image[inside] = share * DOSE_MBQ * 1e6 * 2 ** (-start / Y86_S)
        image *= 1.0 + 0.02 * rng.standard_normal(MOUSE_SHAPE)
        write_pet(
            place / name, image, MOUSE_AFFINE,
            TracerRadionuclide="Y86", InjectedRadioactivity=DOSE_MBQ, PatientWeight=0.02, ScanStart=start,
            FrameTimesStart=[start], FrameDuration=[FRAME_S], ImageDecayCorrectionTime=start,
        )  # fmt: skip
    write_labels(place, "regions", masks, MOUSE_AFFINE)


def make_samples(place: Path) -> None:
    """Counted samples of the mouse's organs, decay corrected, with errors of 1 %."""
    rng = np.random.default_rng(2)
    rows = ["time [h],tumour [%ID/g],liver [%ID/g]"]
    for hours in (0.5, 2.0, 6.0, 24.0, 48.0, 72.0):
        values = [
            MOUSE_ID_PER_G[region] * 2 ** (-hours / MOUSE_BIOLOGICAL_H[region]) * rng.normal(1.0, 0.01)
            for region in ("tumour", "liver")
        ]
        rows.append(f"{hours}," + ",".join(f"{value:.5f}" for value in values))
    (place / "samples.csv").write_text("\n".join(rows) + "\n")


def brain_masks() -> dict[str, np.ndarray]:
    edges = {"putamen": slice(1, 5), "cortex": slice(6, 10), "cerebellum": slice(11, 15)}
    masks = {}
    for region, columns in edges.items():
        masks[region] = np.zeros(BRAIN_SHAPE, bool)
        masks[region][columns, 2:10, 1:5] = True
    return masks


def make_brain(place: Path) -> None:
    """A dynamic 18F scan from the injection on, with noise of 1 %, its blood and its tissue curves."""
    end = np.cumsum(BRAIN_FRAMES_S)
    start = end - BRAIN_FRAMES_S
    time = np.arange(0.0, end[-1] + 1.0)
    plasma = 2e4 * (time / 30 * np.exp(-time / 40) + 0.1 * (np.exp(-time / 2500) - np.exp(-time / 40)))

    def means(curve):
        area = np.r_[0.0, np.cumsum(0.5 * (curve[1:] + curve[:-1]))]
        return np.diff(np.interp(np.r_[0.0, end], time, area)) / BRAIN_FRAMES_S

    rng = np.random.default_rng(3)
    image, curves = np.zeros((*BRAIN_SHAPE, end.size)), {}
    for region, (k1, k2) in BRAIN_RATES.items():
        decay = np.exp(-k2 / 60)
        tissue = k1 / 60 * lfilter([0.5, 0.5 * decay], [1.0, -decay], plasma)
        curves[region] = means(tissue)
        inside = brain_masks()[region]
        image[inside] = curves[region] * rng.normal(1.0, 0.01, (np.count_nonzero(inside), end.size))
    write_pet(
        place / "DYNAMIC_PET", image, BRAIN_AFFINE, TracerRadionuclide="F18", InjectedRadioactivity=370,
        PatientWeight=70, ScanStart=0, FrameTimesStart=start.tolist(), FrameDuration=BRAIN_FRAMES_S.tolist(),
        ImageDecayCorrectionTime=0,
    )  # fmt: skip
    write_labels(place, "brain", brain_masks(), BRAIN_AFFINE)
    rows = "".join(
        f"{t:g}\t{c / 1e3:.6f}\t{c / 1e3:.6f}\n" for t, c in zip(time[::3], plasma[::3], strict=True)
    )
    heading = "time\tplasma_radioactivity\twhole_blood_radioactivity\n"
    (place / "sub-01_blood.tsv").write_text(heading + rows)
    units = {name: {"Units": "kBq/mL"} for name in heading.split()[1:]} | {"time": {"Units": "s"}}
    (place / "sub-01_blood.json").write_text(json.dumps(units))
    rows = "".join(
        "\t".join(f"{value:.6f}" for value in (start[n], end[n], *(c[n] / 1e3 for c in curves.values())))
        + "\n"
        for n in range(end.size)
    )
    heading = "\t".join(["frame_start [s]", "frame_end [s]", *(f"{name} [kBq/mL]" for name in curves)])
    (place / "tacs.tsv").write_text(f"{heading}\n{rows}")


def make_spect(place: Path) -> None:
    """99mTc and 111In in one mouse, counted in two energy windows, and the regions of both."""
    from datetime import datetime, timedelta

    from imgtheranostics.acquisition import NuclearAcquisition, Radiopharmaceutical, Subject
    from imgtheranostics.io.dicom.header_modules import Labels
    from imgtheranostics.io.dicom.nm_writing import write_nm
    from imgtheranostics.volume import Volume

    masks = mouse_masks()
    amounts = np.zeros((*MOUSE_SHAPE, 2))
    for region, counts in SPECT_COUNTS.items():
        amounts[masks[region]] = counts
    start = datetime(2026, 1, 6, 10)
    drug = Radiopharmaceutical("In-111", 242_326.0, None, 5e6, start - timedelta(hours=24))
    for n, limits in enumerate(((126.0, 154.0), (154.0, 188.0))):
        record = NuclearAcquisition(
            energy_windows_kev=(limits,), frame_duration_s=20.0, n_projections=60, series_datetime=start,
            acquisition_datetime=start, decay_correction="NONE", radiopharmaceutical=drug,
            subject=Subject(weight_kg=0.02),
        )  # fmt: skip
        data = np.random.default_rng(n).poisson(amounts @ np.array(SPECT_CROSSTALK[n]))
        image = Volume(data.astype(np.float32), MOUSE_AFFINE, "counts", "{counts}", acquisition=record)
        labels = Labels("PHANTOM^SPECT", "PHANTOM-SPECT", "window", n + 1, phantom=True)
        write_nm(image, place / "MOUSE_SPECT" / f"window_{n + 1}", labels=labels)
    write_labels(place, "spect", masks, MOUSE_AFFINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything that the examples read, under the names that they print."""
    place = tmp_path_factory.mktemp("readme-nuclear")
    make_mouse(place)
    make_samples(place)
    make_brain(place)
    make_spect(place)
    return place


def test_every_command_has_an_example():
    verbs = {line.split()[2] for line in commands()}
    assert {"uptake", "curves", "kinetics", "pairs", "dose", "pvc", "segment"} <= verbs


def test_the_printed_commands_run_one_after_another(folder, monkeypatch, capsys):
    """In the order of the page: what one writes is read by the next."""
    monkeypatch.chdir(folder)
    for line in commands():
        words = shlex.split(line, comments=True)[1:]
        code = main([*words, "--workers", "1"])
        printed = capsys.readouterr()
        assert code == 0, f"{line}\n{printed.err}"
        if "-o" in words:
            assert (folder / words[words.index("-o") + 1] / "report.html").is_file()


def test_the_printed_uptake_is_what_was_put_there(folder, monkeypatch, capsys):
    """12 %ID/g in the tumour, cleared with 60 h from the injection to the middle of the scan."""
    monkeypatch.chdir(folder)
    line = next(one for one in commands() if " uptake " in one)
    words = shlex.split(line, comments=True)[1:]
    place = words.index("-o")
    del words[place : place + 2]
    assert main([*words, "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)["quantities"]
    found = next(row for row in rows if row["region"] == "tumour" and row["quantity"] == "id_per_g")
    expected = 12.0 * 2 ** (-(1.0 + FRAME_S / 7200.0) / 60.0)
    assert found["mean"] == pytest.approx(expected, rel=0.01)


def test_the_printed_pair_is_the_closed_form(folder, monkeypatch, capsys):
    """12 %ID/g cleared with 60 h: 31.0 h and 2.89 Gy/MBq of 90Y by local deposition (pet.md, section 6)."""
    monkeypatch.chdir(folder)
    line = next(one for one in commands() if " pairs " in one)
    words = shlex.split(line, comments=True)[1:]
    place = words.index("-o")
    del words[place : place + 2]
    assert main([*words, "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)["quantities"]
    found = {row["quantity"]: row["mean"] for row in rows if row["region"] == "tumour"}
    assert found["effective_half_life"] / 3600 == pytest.approx(31.0, rel=0.01)
    assert found["local_dose_per_activity"] == pytest.approx(2.89, rel=0.01)


def test_the_printed_dose_is_that_of_a_sphere_of_the_twin(folder, monkeypatch, capsys):
    """12 %ID/mL of 10 MBq with T_eff 31.0 h in a sphere of the tumour's volume, by its absorbed fraction."""
    from imgtheranostics.nuclear import absorbed_fraction

    monkeypatch.chdir(folder)
    line = next(one for one in commands() if " dose " in one)
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "--dicom"]
    place = words.index("-o")
    del words[place : place + 2]
    assert main([*words, "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)["quantities"]
    found = {row["quantity"]: row["mean"] for row in rows if row["region"] == "tumour"}
    volume_ml = np.count_nonzero(mouse_masks()["tumour"]) * 1e-3
    decays = 0.12 * volume_ml * 10.0 * 31.0 * 3600.0 / np.log(2)
    sphere = float(absorbed_fraction("Y-90", mass_g=1.04 * volume_ml).dose_gy(decays))
    assert found["absorbed_dose"] == pytest.approx(sphere, rel=0.05)
    assert found["biologically_effective_dose"] > found["absorbed_dose"] > found["d98_dose_at_volume"]


def test_the_printed_lesion_is_the_tumour(folder, monkeypatch, capsys):
    """A ball of the tumour's voxels, and what was left in tumour and muscle after 24 h over each other."""
    monkeypatch.chdir(folder)
    line = next(one for one in commands() if " segment " in one)
    words = shlex.split(line, comments=True)[1:]
    place = words.index("-o")
    del words[place : place + 2]
    assert main([*words, "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)["quantities"]
    found = {(row["region"], row["quantity"]): row["mean"] for row in rows}
    volume = found["lesion", "metabolic_tumour_volume"]
    assert volume == pytest.approx(np.count_nonzero(mouse_masks()["tumour"]) * 1e-3, rel=0.01)
    hours = 24.0 + FRAME_S / 7200.0
    left = {name: MOUSE_ID_PER_G[name] * 2 ** (-hours / MOUSE_BIOLOGICAL_H[name]) for name in MOUSE_ID_PER_G}
    ratio = left["tumour"] / left["muscle"]
    assert found["lesion/muscle", "uptake_ratio"] == pytest.approx(ratio, rel=0.01)


def test_the_printed_curves_and_rates_are_what_was_put_there(folder, monkeypatch, capsys):
    """Biological half-lives of 60 and 30 h; VT of 2.5 and BP of 1.5 without blood in tissue."""
    monkeypatch.chdir(folder)

    def means(word, other=""):
        line = next(one for one in commands() if word in one and other in one)
        words = shlex.split(line, comments=True)[1:]
        if "-o" in words:
            del words[words.index("-o") : words.index("-o") + 2]
        kept = [one for one in words if one != "--maps"]
        if "--threshold" in kept:
            del kept[kept.index("--threshold") : kept.index("--threshold") + 2]
        assert main([*kept, "--json", "-q"]) == 0
        rows = json.loads(capsys.readouterr().out)["quantities"]
        return {(row["region"], row["quantity"]): row for row in rows if not row["axis"]}

    scans, samples = means("nuclear curves MOUSE_1H"), means("samples.csv")
    for region, expected in (("tumour", 60.0), ("liver", 30.0)):
        for rows in (scans, samples):
            assert rows[region, "biological_half_life"]["mean"] / 3600 == pytest.approx(expected, rel=0.05)
    binding = means("--model srtm")["putamen", "binding_potential"]
    assert binding["mean"] == pytest.approx(1.5, rel=0.03)
    for model in ("two_tissue", "logan"):
        found = means(f"--model {model}")["putamen", "distribution_volume"]
        assert found["mean"] == pytest.approx(2.5, rel=0.02)


def test_the_printed_python_of_curves_and_kinetics_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    block = next(one for one in blocks("python") if "kinetics_table" in one)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own file
    decays = names["decays"].set_index(["region", "quantity"])["mean"]
    assert decays["tumour", "effective_half_life"] / 3600 == pytest.approx(1 / (1 / 60 + 1 / 14.74), rel=0.01)
    binding = names["binding"].set_index(["region", "quantity"])["mean"]
    assert binding["cortex", "binding_potential"] == pytest.approx(0.5, rel=0.05)
    volume = names["maps"]["distribution_volume"].value.data[brain_masks()["putamen"]]
    assert np.median(volume) == pytest.approx(2.5, rel=0.05)


def test_the_printed_isotopes_are_those_that_were_mixed(folder, monkeypatch):
    """60 and 200 counts per voxel of the tumour, 150 and 40 of the liver, within their standard errors."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(compile(next(one for one in blocks("python") if "crosstalk" in one), "README.md", "exec"), names)  # noqa: S102
    assert names["windows"].axis("energy").values.tolist() == [140.0, 171.0]
    for n, isotope in enumerate(("Tc-99m", "In-111")):
        found = names["isotopes"][isotope]
        for region, counts in SPECT_COUNTS.items():
            inside = mouse_masks()[region]
            mean = float(found.value.data[inside].mean(dtype=np.float64))
            error = float(found.maps["counting_error"].data[inside].mean()) / np.sqrt(
                np.count_nonzero(inside)
            )
            assert abs(mean - counts[n]) < 4 * error, (isotope, region)


def test_the_printed_uptake_of_spect_is_that_of_its_window(folder, monkeypatch, capsys):
    """By hand: counts over sensitivity and time, of 5 MBq of 111In after 24 h, before dead time (0.2 %)."""
    monkeypatch.chdir(folder)
    line = next(one for one in commands() if "MOUSE_SPECT" in one)
    words = shlex.split(line, comments=True)[1:]
    place = words.index("-o")
    del words[place : place + 2]
    assert main([*words, "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)["quantities"]
    found = next(row for row in rows if row["region"] == "tumour" and row["quantity"] == "id_per_g")
    counts = SPECT_CROSSTALK[1][0] * 60.0 + 200.0
    left = 5.0 * 2 ** (-(24.0 + 1200 / 7200) / (242_326.0 / 3600))
    assert found["mean"] == pytest.approx(100 * counts / (847 * 1200) * 1000 / left, rel=0.01)
