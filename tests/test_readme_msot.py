"""The examples of README.md about MSOT run as they are printed, on simulated images with their names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest

from imgtheranostics.cli.main import main
from imgtheranostics.msot import spectra

README = Path(__file__).resolve().parent.parent / "README.md"
SHAPE = (30, 24, 6)
AFFINE = np.diag([0.3, 0.3, 0.5, 1.0])
WAVELENGTHS = np.arange(700.0, 881.0, 20.0)
THB, SO2, WATER = 100.0, 0.7, 0.75
DYE = {"tumour": 0.7, "liver": 0.1, "kidney": 0.06, "muscle": 0.0}
"""IR780 in umol/L, as the phantom v7-ruby-msot has it: 7 times the liver's and 11.7 times the kidney's."""

SCAN = "msot/ithera_scan_9"


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [block for block in found if " msot " in block or "it.msot." in block]


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if " msot " in line]


def ball(centre, radius):
    place = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.linalg.norm(place - np.array(centre), axis=-1) < radius


REGIONS = {
    "tumour": ball((7, 17, 3), 3.2),
    "liver": ball((22, 17, 3), 3.2),
    "kidney": ball((7, 8, 3), 3.2),
    "muscle": ball((20, 8, 3), 4.5),
}


def absorption(so2: float, left: float = 1.0) -> np.ndarray:
    """To base e in 1/cm: blood everywhere, the dye in regions."""
    amount = np.zeros(SHAPE)
    for name, inside in REGIONS.items():
        amount[inside] = left * DYE[name]
    per_micromolar = np.log(10.0) * 1e-6
    dye = amount[..., np.newaxis] * per_micromolar * spectra.molar_extinction("IR780", WAVELENGTHS)
    return blood(so2) + dye


def blood(so2: float) -> np.ndarray:
    both = zip((so2, 1.0 - so2), ("HbO2", "Hb"), strict=True)
    total = sum(share * spectra.molar_extinction(name, WAVELENGTHS) for share, name in both)
    return np.asarray(THB * np.log(10.0) * 1e-6 * total)


def light() -> np.ndarray:
    """Below a broad beam from the front, in tissue without dye: M10 and M12 of the sheet."""
    mu_a = blood(SO2) + WATER * spectra.absorption("water", WAVELENGTHS)
    mu_s = 18.9 * (WAVELENGTHS / 500.0) ** -1.286
    depth_cm = 0.03 * (SHAPE[1] - 0.5 - np.arange(SHAPE[1]))
    return np.exp(-np.sqrt(3 * mu_a * (mu_a + mu_s)) * depth_cm[:, np.newaxis])[np.newaxis, :, np.newaxis]


def write(folder: Path, data: np.ndarray, seed: int, times: np.ndarray | None = None) -> None:
    """An image in arbitrary units, with noise that makes some values negative where it is dark."""
    folder.mkdir(exist_ok=True)
    image = 100.0 * data
    image = image + 0.02 * np.random.default_rng(seed).standard_normal(image.shape)
    nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), AFFINE), folder / "image_pa.nii.gz")
    content = {"Modality": "PA", "Wavelengths": WAVELENGTHS.tolist(), "WavelengthUnits": "nm"}
    content |= {"Units": "[arb'U]", "ImageType": "raw-au", "AxisOrder": ["wavelength"]}
    if times is not None:
        content |= {"FrameTimes": times.tolist(), "AxisOrder": ["time", "wavelength"]}
    (folder / "image_pa.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("readme-msot")
    write(place / "MOUSE_PA", absorption(SO2) * light(), 1)
    times = np.arange(24) * 10.0
    gas = np.stack([absorption(SO2 if at < 115.0 else 0.8, 0.0) for at in times], axis=3)
    write(place / "GAS_PA", gas, 2, times)
    left = np.where(times >= 30.0, np.exp(-0.01 * (times - 30.0)), 0.0)
    write(place / "DYE_PA", np.stack([absorption(SO2, one) for one in left], axis=3), 3, times)
    image = np.zeros(SHAPE, np.int16)
    for n, mask in enumerate(REGIONS.values(), 1):
        image[mask] = n
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), place / "regions.nii.gz")
    rows = "".join(f"{n}\t{region}\n" for n, region in enumerate(REGIONS, 1))
    (place / "regions.tsv").write_text(f"index\tname\n{rows}")
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.int16), AFFINE), place / "body.nii.gz")
    lines = [f"{nm:g},{spectra.molar_extinction('IR780', nm)[()]:g}" for nm in WAVELENGTHS]
    (place / "mine.csv").write_text("wavelength_nm,molar_extinction_per_m_cm\n" + "\n".join(lines) + "\n")
    return place


def run(line: str, capsys, *more: str) -> str:
    code = main([*shlex.split(line, comments=True)[1:], *more])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def test_every_command_has_an_example():
    assert {line.split()[2] for line in commands()} == {"unmix", "oxygenation", "reconstruct"}
    assert len(blocks("python")) == 1


def test_the_printed_commands_run(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for line in commands():
        if " reconstruct " not in line:
            assert "±SE" in run(line, capsys, "--workers", "1", "--no-report")
    assert (folder / "dye" / "ir780_component_amplitude_se.nii.gz").is_file()
    assert (folder / "gas" / "delta_so2.nii.gz").is_file()


def test_the_printed_reconstruction_runs_on_a_real_scan(folder, public_data, monkeypatch, capsys):
    scan = public_data(SCAN)
    monkeypatch.chdir(folder)
    (folder / "SCAN_9").symlink_to(scan, target_is_directory=True)
    (line,) = (line for line in commands() if " reconstruct " in line)
    assert "speed_of_sound" in run(line, capsys, "--no-report")
    assert (folder / "image" / "reconstruction_pa.nii.gz").is_file()


def test_the_printed_oxygenation_is_that_of_the_truth(folder, monkeypatch, capsys):
    """Light is that of a slab with what the option states."""
    monkeypatch.chdir(folder)
    (line,) = (line for line in commands() if "--tissue" in line)
    rows = json.loads(run(line, capsys, "--json", "-q"))["quantities"]
    found = {row["region"]: row for row in rows if row["quantity"] == "region_so2"}
    for region in REGIONS:
        assert found[region]["mean"] == pytest.approx(
            100 * SO2, abs=4 * found[region]["standard_error"] + 0.05
        )


def test_the_printed_python_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (block,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own file
    ratio = names["ratio"]
    assert ratio.low < 7.0 < ratio.high
    assert ratio.standard_error < 0.5
    table = names["table"].set_index(["region", "quantity"])
    assert table.loc[("tumour", "region_so2"), "mean"] == pytest.approx(70.0, abs=1.0)
