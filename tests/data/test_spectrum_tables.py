"""The table of spectra: in order, with source and licence, and without what is no measurement."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from imgtheranostics.data.spectra import index_tables, spectrum_tables


@pytest.mark.parametrize("name", sorted(spectrum_tables()))
def test_a_spectrum_is_ordered_positive_and_sourced(name: str) -> None:
    table = spectrum_tables()[name]
    assert table.wavelength_nm.shape == table.values.shape
    assert np.all(np.diff(table.wavelength_nm) > 0)
    assert np.all(table.values > 0)
    assert table.source
    assert table.licence
    assert not table.values.flags.writeable


@pytest.mark.parametrize("name", sorted(index_tables()))
def test_an_index_is_ordered_positive_and_sourced(name: str) -> None:
    table = index_tables()[name]
    assert np.all(np.diff(table.wavelength_nm) > 0)
    assert np.all(table.n > 0)
    assert np.all(table.k > 0)
    assert table.source.count("doi:10.") == 1
    assert table.licence.startswith("CC0")


def test_every_entry_stands_in_the_list_of_licences() -> None:
    text = (files("imgtheranostics.data") / "LICENSES.md").read_text(encoding="utf-8")
    for name in (*spectrum_tables(), *index_tables()):
        assert f"`{name}`" in text


def test_gold_equals_the_rows_printed_in_1972() -> None:
    table = index_tables()["gold-johnson-christy-1972"]
    row = int(np.flatnonzero(table.wavelength_nm == 704.5)[0])
    assert (table.n[row], table.k[row]) == (0.13, 4.103)
    assert table.wavelength_nm.size == 49


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "generate_spectra.py"
    spec = spec_from_file_location("generate_spectra", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_zeros_of_a_table_are_taken_for_no_measurement(generator: ModuleType, tmp_path: Path) -> None:
    """As they stand in the dye's file: decimal commas, and zeros where its data end."""
    (tmp_path / "ICG.csv").write_text(
        "660,0000;15280,0020\n661,0000;47,0000\n662,0000;0,0000\n663,0;0,0001\n"
    )
    found = generator.icg(tmp_path)["icg"]
    assert found["wavelength_nm"] == [660.0, 661.0]
    assert found["values"] == [15280.0, 47.0]


def test_a_table_of_fat_in_another_scale_is_refused(generator: ModuleType, tmp_path: Path) -> None:
    """A 300th of 1/m where 1/cm are promised, as one library has it."""
    (tmp_path / "lipids.txt").write_text("nm\tmu_a(1/m)\n929\t4.3\n930\t4.37\n931\t4.3\n")
    place = tmp_path / "simpa" / "utils" / "libraries" / "absorption_spectra_data"
    place.mkdir(parents=True)
    np.savez(place / "Fat.npz", wavelengths=np.array([930]), values=np.array([0.131]))
    with pytest.raises(SystemExit, match="scale"):
        generator.lipid(tmp_path, tmp_path)
