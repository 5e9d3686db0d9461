"""The examples of README.md about PET and SPECT run as they are printed, on simulated scans of their names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything that the examples read, under the names that they print."""
    place = tmp_path_factory.mktemp("readme-nuclear")
    make_mouse(place)
    return place


def test_every_command_has_an_example():
    assert {"uptake", "curves", "dose", "pvc"} <= {line.split()[2] for line in commands()}


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
