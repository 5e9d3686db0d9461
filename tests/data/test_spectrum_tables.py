"""The table of spectra: in order, with source and licence, and without what is no measurement."""

from __future__ import annotations

from importlib.resources import files

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
