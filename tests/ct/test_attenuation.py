"""Mass attenuation, against the package xraydb itself and the table of ct.md section 4.1."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.ct.attenuation import element_attenuation, elements, water_attenuation
from imgtheranostics.ct.materials import mass_attenuation, monoenergetic
from imgtheranostics.errors import ImplausibleValue, UnsupportedInput


@pytest.fixture(scope="module")
def xraydb():
    return pytest.importorskip("xraydb")


TABLE_KEV = (30, 40, 50, 60, 70, 80, 100, 120, 140)
TABLE = {
    "H2O": (0.3756, 0.2683, 0.2269, 0.2059, 0.1929, 0.1837, 0.1707, 0.1614, 0.1538),
    "I": (8.562, 22.10, 12.32, 7.577, 5.016, 3.510, 1.942, 1.211, 0.8243),
    "Gd": (14.84, 6.919, 3.860, 11.75, 7.885, 5.574, 3.109, 1.937, 1.307),
    "Hf": (20.98, 9.826, 5.479, 3.420, 10.36, 7.351, 4.153, 2.602, 1.757),
    "HfO2": (17.85, 8.372, 4.678, 2.929, 8.810, 6.259, 3.545, 2.229, 1.511),
    "Au": (27.52, 12.98, 7.258, 4.529, 3.054, 2.185, 5.158, 3.252, 2.209),
    "Bi": (31.52, 14.95, 8.379, 5.233, 3.528, 2.522, 5.737, 3.629, 2.471),
    "Fe": (8.178, 3.629, 1.957, 1.205, 0.8164, 0.5952, 0.3717, 0.2693, 0.2146),
}
"""cm2/g, four digits, ct.md 4.1."""


@pytest.mark.parametrize("material", TABLE)
def test_attenuation_is_that_of_the_reference_table(material):
    np.testing.assert_allclose(mass_attenuation(material, TABLE_KEV), TABLE[material], rtol=5e-4)


@given(st.sampled_from(sorted(elements())), st.lists(st.floats(0.1, 800), min_size=1, max_size=20))
def test_every_element_has_the_attenuation_of_xraydb(symbol, energies):
    import xraydb

    energy = np.array(energies)
    expected = xraydb.mu_elam(symbol, energy * 1000)
    np.testing.assert_allclose(element_attenuation(symbol, energy), expected, rtol=1e-12)


def test_a_compound_has_the_attenuation_of_xraydb(xraydb):
    energy = np.linspace(20, 150, 261)
    for formula, density in (("HfO2", 9.7), ("Bi2S3", 6.78), ("Ca10(PO4)6(OH)2", 3.16)):
        plain = formula.replace("(PO4)6(OH)2", "P6O26H2")
        expected = xraydb.material_mu(plain, energy * 1000, density=density) / density
        np.testing.assert_allclose(mass_attenuation(formula, energy), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("symbol", "edge"), [("I", 33.169), ("Gd", 50.239), ("Hf", 65.351), ("Au", 80.725), ("Bi", 90.526)]
)
def test_the_k_edge_lies_where_the_table_says(symbol, edge):
    """ct.md 4.1: attenuation rises by the jump within 5 eV of the edge."""
    below, above = mass_attenuation(symbol, [edge - 0.005, edge + 0.005])
    assert above / below > 3


@pytest.mark.parametrize(
    ("material", "expected"),
    [
        ("I", (36.8, 19.1, 11.4, 5.36)),
        ("Gd", (57.1, 30.3, 18.2, 8.50)),
        ("HfO2", (14.2, 34.1, 20.8, 9.82)),
        ("Hf", (16.6, 40.0, 24.3, 11.4)),
        ("Au", (22.0, 11.9, 30.2, 14.4)),
        ("Bi", (25.4, 13.7, 33.6, 16.1)),
        ("Fe", (5.85, 3.24, 2.18, 1.40)),
    ],
)
def test_single_energy_slopes_are_those_of_the_reference(material, expected):
    """ct.md 4.1, at 60, 80, 100 and 140 keV, three digits."""
    np.testing.assert_allclose(monoenergetic(material, [60, 80, 100, 140]), expected, rtol=5e-3)


def test_hafnium_oxide_at_80_kev():
    """ct.md section 6: 34.07 HU per mg/mL from the printed 6.259 / .1837."""
    assert monoenergetic("HfO2", 80) == pytest.approx(34.07, abs=0.015)


def test_shapes_are_kept_and_one_energy_gives_a_number():
    assert isinstance(mass_attenuation("I", 60), float)
    assert mass_attenuation("I", np.full((2, 3), 60.0)).shape == (2, 3)
    assert water_attenuation(60.0).shape == ()


@pytest.mark.parametrize("energy", [0.05, 900.0, -1.0, np.nan, np.inf])
def test_energies_outside_of_the_tables_are_refused(energy):
    with pytest.raises(ImplausibleValue, match="outside the attenuation tables"):
        mass_attenuation("I", [60.0, energy])


def test_an_element_that_is_not_there_is_refused():
    with pytest.raises(UnsupportedInput, match="no element"):
        element_attenuation("Xx", 60.0)


def test_the_tables_answer_in_every_thread():
    """A session of xraydb belongs to one thread; these do not."""
    found = []
    threads = [
        threading.Thread(target=lambda s=s: found.append(float(element_attenuation(s, 60.0))))
        for s in ("Dy", "Ho", "Er", "Tm")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert min(found) > 0


def test_tables_that_cannot_be_read_are_refused(monkeypatch, tmp_path):
    from imgtheranostics.ct import xray_tables

    broken = tmp_path / "xraydb.sqlite"
    broken.write_bytes(b"not a database" * 100)
    monkeypatch.setattr(xray_tables, "_place", lambda: broken)
    with pytest.raises(UnsupportedInput, match="cannot be read"):
        xray_tables.rows("SELECT element FROM elements")


def test_a_missing_library_is_named(monkeypatch):
    from imgtheranostics.ct import xray_tables

    monkeypatch.setattr(xray_tables, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedInput, match="xraydb is not installed"):
        xray_tables.rows("SELECT element FROM elements")
