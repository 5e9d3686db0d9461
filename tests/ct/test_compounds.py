"""Names of materials: elements, formulas, compounds, agents' records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.ct.attenuation import elements
from imgtheranostics.ct.compounds import COMPOUND_NAMES, atoms_of, find_material
from imgtheranostics.errors import MissingMetadata, NothingUsable, UnsupportedInput


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("I", "I"),
        ("iodine", "I"),
        ("Iodine", "I"),
        ("au", "Au"),
        ("gold", "Au"),
        ("HfO2", "HfO2"),
        ("hfo2", "HfO2"),
        ("hafnium oxide", "HfO2"),
        ("Hafnium-Oxide", "HfO2"),
        (" bismuth ", "Bi"),
        ("iron", "Fe"),
        ("tin", "Sn"),
        ("water", "H2O"),
    ],
)
def test_a_material_has_one_formula_under_all_its_names(name, formula):
    assert find_material(name).name == formula


def test_mass_fractions_of_hafnium_oxide():
    """Standard atomic weights 178.49 and 15.999: 0.848 and 0.152 (agents/nbtxr3.yaml)."""
    fractions = find_material("HfO2").mass_fractions
    assert fractions["Hf"] == pytest.approx(0.8480, abs=5e-5)
    assert sum(fractions.values()) == pytest.approx(1)


def test_an_agent_brings_composition_and_density():
    found = find_material("nbtxr3")
    assert (found.name, found.density_g_ml, found.agent) == ("HfO2", 9.7, "nbtxr3")
    assert found.mass_fractions["Hf"] == pytest.approx(0.848)


def test_an_agent_that_carries_a_metal_has_the_metal():
    assert find_material("gold-nanorod").name == "Au"
    assert find_material("iodixanol-liposome").name == "I"


def test_a_formula_goes_before_an_agent_of_the_same_name():
    """HfO2 is an alias of the record nbtxr3, but as a formula it says nothing of particles."""
    assert find_material("HfO2").density_g_ml is None


@pytest.mark.parametrize("typed", ["BI", "HFO2", "HF", "NB"])
def test_capitals_that_change_the_material_are_refused(typed):
    with pytest.raises(UnsupportedInput, match="capitals") as caught:
        find_material(typed)
    assert typed.title() in caught.value.needed or "HfO2" in caught.value.needed


def test_abbreviations_of_particles_are_no_formulas():
    """As formulas they would hold uranium, iodine and phosphorus."""
    assert find_material("AuNP").name == "Au"
    assert find_material("BiNP").agent == "bismuth-nanoparticle"
    for typed in ("USPION", "UPSN", "PFH"):
        with pytest.raises(MissingMetadata, match="nothing about its attenuation"):
            find_material(typed)
    for typed in ("SPION", "PVP", "HfO2NP"):
        with pytest.raises(UnsupportedInput, match="not known"):
            find_material(typed)
    assert find_material("H1C1N1").name == "H1C1N1"


@pytest.mark.parametrize(
    ("typed", "near"),
    [("iodin", "I"), ("hafniun oxide", "hafnium oxide"), ("bismut", "Bi"), ("nbtxr", "nbtxr3")],
)
def test_an_unknown_material_is_refused_with_near_names(typed, near):
    with pytest.raises(UnsupportedInput, match="not known") as caught:
        find_material(typed)
    assert near in caught.value.found.split("near: ")[1].split(", ")


@pytest.mark.parametrize("typed", ["", "Xx", "I(", "H2O)", "2H", "H-2", "H0", "H2.O", "()", "Fe2O3+"])
def test_what_is_no_formula_is_refused(typed):
    assert atoms_of(typed) is None
    with pytest.raises(UnsupportedInput):
        find_material(typed)


def test_an_agent_without_attenuation_is_refused():
    with pytest.raises(MissingMetadata, match="says nothing about its attenuation") as caught:
        find_material("perfluorohexane-droplet")
    assert "formula" in caught.value.next_step


def test_a_record_of_the_user_counts(tmp_path):
    record = tmp_path / "own.yaml"
    record.write_text(
        "id: own\nname: Own\nkind: other\nsummary: tungsten oxide particles\nmodalities: [CT]\n"
        "signal_of: carrier\nattenuation:\n  composition:\n    formula: WO3\n"
        "    mass_fractions: {W: 0.793, O: 0.207}\n    provenance: computed\n    source: atomic weights\n"
        "  density_g_ml: {value: 7.16, provenance: computed, source: crystal}\n"
    )
    found = find_material(str(record))
    assert (found.name, found.density_g_ml) == ("WO3", 7.16)
    record.write_text(record.read_text().replace("7.16", "7.2"))
    assert find_material(record).density_g_ml == 7.2
    with pytest.raises(NothingUsable):
        find_material(str(tmp_path / "absent.yaml"))


@given(st.lists(st.tuples(st.sampled_from(sorted(elements())), st.integers(1, 40)), min_size=1, max_size=5))
def test_atoms_of_a_formula_are_those_that_it_was_written_from(parts):
    expected: dict[str, float] = {}
    for symbol, n in parts:
        expected[symbol] = expected.get(symbol, 0) + n
    formula = "".join(f"{symbol}{n}" for symbol, n in parts)
    assert atoms_of(formula) == expected
    assert atoms_of(f"({formula})3") == {symbol: 3 * n for symbol, n in expected.items()}


@pytest.mark.parametrize("formula", COMPOUND_NAMES.values())
def test_the_formulas_of_the_named_compounds_hold(formula):
    assert sum(find_material(formula).mass_fractions.values()) == pytest.approx(1)
