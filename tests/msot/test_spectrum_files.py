"""A user's own spectrum: what is read, and what is refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgtheranostics.errors import (
    CorruptInput,
    ImgTheranosticsError,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.msot.spectra import read_spectrum

MOLAR = "wavelength_nm,molar_extinction_per_m_cm\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "dye.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        MOLAR + "700,1.5\n800,2.5\n",
        "\ufeff# measured in plasma\r\n" + MOLAR.replace("\n", "\r\n") + "700,1.5\r\n\r\n800,2.5\r\n",
        "wavelength_nm;molar_extinction_per_m_cm\n700,0;1,5\n800,0;2,5\n",
        "wavelength_nm\tmolar_extinction_per_m_cm\n800\t2,5\n700\t1,5\n",
        "molar_extinction_per_m_cm,wavelength_nm\n1.5,700\n2.5,800\n",
    ],
)
def test_forms_of_one_table(tmp_path: Path, content: str) -> None:
    found = read_spectrum(written(tmp_path, content))
    assert found.name == "dye"
    assert found.quantity == "molar_extinction"
    assert found.wavelength_nm.tolist() == [700.0, 800.0]
    assert found.values.tolist() == [1.5, 2.5]
    assert found.at([750.0]).tolist() == [2.0]


def test_absorption_is_told_from_molar_extinction(tmp_path: Path) -> None:
    found = read_spectrum(written(tmp_path, "wavelength_nm,absorption_per_cm\n700,1\n800,2\n"), name="ink")
    assert (found.name, found.quantity, found.unit) == ("ink", "absorption", "1/cm, base e")


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("700,1\n800,2\n", MissingMetadata, "does not name"),
        ("wavelength_nm,value\n700,1\n800,2\n", MissingMetadata, "does not name"),
        ("nm,molar_extinction_per_m_cm\n700,1\n800,2\n", MissingMetadata, "does not name"),
        (MOLAR + "700,1\n", CorruptInput, "two rows"),
        (MOLAR + "700,1\n800,2,3\n", CorruptInput, "dye.csv:3"),
        (MOLAR + "700,1\n800,x\n", CorruptInput, "dye.csv:3"),
        (MOLAR + "700,1\n800,nan\n", CorruptInput, "dye.csv:3"),
        (MOLAR + "700,0,1,5\n800,0,2,5\n", CorruptInput, "decimal commas"),
        (MOLAR + "700,1\n700,2\n800,3\n", CorruptInput, "stands twice"),
        (MOLAR + "700,1\n800,-2\n", ImplausibleValue, "negative"),
        (MOLAR + "7e-7,1\n8e-7,2\n", UnitMismatch, "metres"),
        (MOLAR + "0.7,1\n0.8,2\n", UnitMismatch, "micrometres"),
        ("", CorruptInput, "empty"),
        ("# nothing\n", CorruptInput, "no rows"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str, error: type[ImgTheranosticsError], words: str) -> None:
    with pytest.raises(error) as refusal:
        read_spectrum(written(tmp_path, content))
    assert words in str(refusal.value)


def test_a_missing_file_is_refused_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(NothingUsable) as refusal:
        read_spectrum(tmp_path / "none.csv")
    assert tmp_path.name not in str(refusal.value)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImgTheranosticsError):
        read_spectrum(written(tmp_path, b"\x00\x01\x02" * 50))
