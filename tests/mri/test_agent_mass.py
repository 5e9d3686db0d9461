"""Mass and particles: figures of the sheet, and refusals where the record is silent."""

from __future__ import annotations

import pytest
import yaml

from imgtheranostics.agents import get
from imgtheranostics.agents.loading import library, parse_agent
from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnsupportedInput
from imgtheranostics.mri.agent_mass import mg_per_ml, molar_mass_cautions, molar_mass_g_mol, particle_count


@pytest.mark.parametrize(("element", "ug_ml"), [("Fe", 55.845), ("Gd", 157.25)])
def test_1_mm_in_micrograms_per_millilitre(element, ug_ml):
    """mri.md section 4.2."""
    assert 1000 * float(mg_per_ml(1.0, element)) == pytest.approx(ug_ml, rel=1e-12)
    assert float(mg_per_ml([2.0], element, molar_mass=100.0)[0]) == pytest.approx(0.2)


def test_molar_mass_from_memory_says_so():
    assert molar_mass_cautions("Fe") == ()
    assert molar_mass_cautions("Gd")[0].code == "unconfirmed-value"


@pytest.mark.parametrize("counted", ["molecule", "particle", "", "Xe"])
def test_mass_of_what_has_none_is_refused(counted):
    with pytest.raises(UnsupportedInput, match="mass"):
        molar_mass_g_mol(counted)
    with pytest.raises(UnsupportedInput, match="mass"):
        mg_per_ml(1.0, counted)


@pytest.mark.parametrize("mass", [0.0, -1.0, float("nan")])
def test_a_molar_mass_that_is_none_is_refused(mass):
    with pytest.raises(ImplausibleValue, match="molar mass"):
        mg_per_ml(1.0, "Fe", molar_mass=mass)


def test_particles_of_the_fullerene_hold_three_gadolinium():
    """3 mmol/L of Gd are 1 mmol/L of cages: 6.02214076e17 per mL."""
    agent = get("gd3n-c80-peg")
    assert float(particle_count(agent, "Gd").particles_per_ml(3.0)) == pytest.approx(6.02214076e17)
    assert float(particle_count(agent, "molecule").particles_per_ml(1.0)) == pytest.approx(6.02214076e17)


def test_amount_per_mass_needs_the_mass_of_the_particle():
    """AGuIX: 1 umol/mg; with 10 kg/mol a particle would hold 10 Gd."""
    with pytest.raises(MissingMetadata, match="AGuIX") as refusal:
        particle_count(get("aguix"), "Gd")
    assert "molar mass" in str(refusal.value)
    record = yaml.safe_load((library() / "aguix.yaml").read_text(encoding="utf-8"))
    record["particle"]["molar_mass_g_mol"] = {
        "value": 10000.0, "provenance": "computed", "source": "a test"
    }  # fmt: skip
    count = particle_count(parse_agent(record), "Gd")
    assert count.per_particle == pytest.approx(10.0)
    assert count.warnings[0].code == "unconfirmed-value"


def test_an_agent_without_payload_is_refused_by_name():
    with pytest.raises(MissingMetadata, match="Ferumoxytol") as refusal:
        particle_count(get("ferumoxytol"), "Fe")
    assert "Fe a particle holds" in str(refusal.value)
