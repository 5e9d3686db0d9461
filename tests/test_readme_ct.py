"""The examples of README.md about CT run as they are printed, on simulated scans with their names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from imgtheranostics.cli.main import main

README = Path(__file__).resolve().parent.parent / "README.md"
SHAPE = (60, 48, 30)
AFFINE = np.diag([2.5, 2.5, 2.5, 1.0])
SLOPE = {"HfO2": {120: 26.6, 80: 26.2, 140: 24.3}, "I": {80: 42.7, 140: 23.0}}
"""HU per mg/mL: table B of ct.md 4.2."""

INJECTED_ML, STRENGTH_MG_ML = 3.4, 53.3
KEPT = {"DAY0_CT": 1.0, "DAY5_CT": 0.9}


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [block for block in found if " ct " in block or "it.ct." in block]


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if " ct " in line]


def ball(centre, radius, shape=SHAPE):
    place = np.moveaxis(np.indices(shape), 0, -1)
    return np.linalg.norm(place - np.array(centre), axis=-1) < radius


def body() -> np.ndarray:
    """An ellipse with a spine, ribs and an organ, which tell a registration where it is."""
    i, j, _ = np.indices(SHAPE)
    hu = np.where(((i - 30) / 27) ** 2 + ((j - 24) / 21) ** 2 < 1, 40.0, -1000.0)
    hu[ball((30, 38, 15), 4.0)] = 500.0
    for n, at in enumerate((4, 13, 22)):
        hu[ball((12 + 2 * n, 12, at), 3.0)] = 600.0
        hu[ball((48 - 3 * n, 14, at + 3), 3.0)] = 450.0
    hu[ball((22, 24, 18), 6.5)] = 75.0
    return hu


TUMOUR = ball((42, 26, 15), 5.5)
TUMOUR_ML = np.count_nonzero(TUMOUR) * 2.5**3 / 1000.0
MUSCLE = ball((34, 12, 15), 3.5)


def write(folder: Path, hu: np.ndarray, kvp: float, seed: int, name: str = "ct") -> None:
    """A scan with noise that neighbours share, as reconstructions have it."""
    folder.mkdir(exist_ok=True)
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(hu.shape), 0.7)
    image = hu + 8.0 * field / field.std()
    nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), AFFINE), folder / f"{name}.nii.gz")
    content = {"Modality": "CT", "Units": "HU", "KVP": kvp, "ConvolutionKernel": "B30f"}
    content |= {"SliceThickness": 2.5, "FilterMaterial": "ALUMINUM", "FilterThickness": 7.0}
    (folder / f"{name}.json").write_text(json.dumps(content))


def labels(place: Path, name: str, masks: dict[str, np.ndarray]) -> None:
    image = np.zeros(SHAPE, np.int16)
    for n, mask in enumerate(masks.values(), 1):
        image[mask] = n
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), place / f"{name}.nii.gz")
    rows = "".join(f"{n}\t{region}\n" for n, region in enumerate(masks, 1))
    (place / f"{name}.tsv").write_text(f"index\tname\n{rows}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("readme-ct")
    full = INJECTED_ML * STRENGTH_MG_ML / TUMOUR_ML
    slope = SLOPE["HfO2"][120]
    write(place / "PRE_CT", body(), 120.0, 1)
    write(place / "POST_CT", body() + slope * full * TUMOUR, 120.0, 2)
    for n, (name, kept) in enumerate(KEPT.items()):
        write(place / name, body() + slope * full * kept * TUMOUR, 120.0, 3 + n)
    labels(place, "regions", {"tumour": TUMOUR, "muscle": MUSCLE})
    vials = {f"vial_{n}": ball((12 + 12 * n, 24, 15), 4.5) for n in range(4)}
    amounts = dict(zip(vials, (0.0, 5.0, 10.0, 20.0), strict=True))
    bath = np.sum([slope * amounts[name] * vials[name] for name in vials], axis=0)
    write(place / "VIALS_CT", bath, 120.0, 9)
    labels(place, "vials", vials)
    rows = "".join(f"{name},{amount}\n" for name, amount in amounts.items())
    (place / "known.csv").write_text(f"region,mg_ml\n{rows}")
    for n, kvp in enumerate((80, 140)):
        hu = SLOPE["I"][kvp] * 5.0 * TUMOUR + SLOPE["HfO2"][kvp] * 8.0 * MUSCLE
        write(place / "DUAL_ENERGY", hu, float(kvp), 20 + n, f"kv{kvp}")
    return place


def test_every_command_has_an_example():
    verbs = {line.split()[2] for line in commands()}
    assert verbs == {"enhancement", "concentration", "materials", "retention", "calibrate"}
    assert len(blocks("python")) == 1


def test_the_printed_commands_run_one_after_another(folder, monkeypatch, capsys):
    """In the order of the page: the change and the calibration of one are read by the next."""
    monkeypatch.chdir(folder)
    for line in commands():
        words = shlex.split(line, comments=True)[1:]
        code = main([*words] if words[1] == "calibrate" else [*words, "--workers", "1"])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        assert "±SE" in printed.out or "HU per mg/mL of HfO2" in printed.out
    assert (folder / "change" / "report.html").is_file()
    assert (folder / "retention" / "report.html").is_file()


def test_the_printed_retention_is_what_was_put_there(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    line = next(one for one in commands() if " retention " in one)
    words = shlex.split(line, comments=True)[1:]
    place = words.index("-o")
    del words[place : place + 2]
    assert (
        main([*words, "--slope", "26.6", "--slope-error", "0.3", "--register", "none", "--json", "-q"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)["quantities"]
    kept = [row for row in rows if row["quantity"] == "retained_fraction" and row["region"] == "tumour"]
    assert [row["axis_value"] for row in kept] == [0.0, 432000.0, 1036800.0]
    assert kept[1]["mean"] == pytest.approx(90.0, abs=3.0 * kept[1]["standard_error"])
    assert kept[1]["standard_error"] < 1.0
    assert kept[2]["mean"] is None
    found = next(row for row in rows if row["quantity"] == "recovered_fraction")
    assert found["mean"] == pytest.approx(100.0, abs=3.0 * found["standard_error"])


def test_the_printed_python_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    if not (folder / "hafnium.json").is_file():
        line = next(one for one in commands() if " calibrate " in one)
        assert main(shlex.split(line, comments=True)[1:]) == 0
    (block,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own file
    row = names["table"].set_index(["region", "quantity"]).loc[("tumour", "concentration")]
    expected = INJECTED_ML * STRENGTH_MG_ML / TUMOUR_ML
    assert row["mean"] == pytest.approx(expected, abs=3 * row["standard_error"])
    assert row["standard_error"] < 0.02 * expected
    assert names["separated"]["I"].unit == "mg/mL"
    assert names["kept"].retained_percent[1] == pytest.approx(90.0, abs=1.0)
