"""The nuclide table against both packages that hold ICRP-107, and against published rounded values."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files

import pytest

from imgtheranostics.data.nuclides import decays_in_chain, nuclide, nuclide_in, nuclide_name, nuclides
from imgtheranostics.errors import ImgTheranosticsError, UnsupportedInput

# ICRP Publication 107 as tabulated in the PET reference sheet: half-life in s, mean energies per decay in
# MeV (beta-, beta+, conversion + Auger, photon), positron yield, non-penetrating energy.
PUBLISHED = {
    "F-18": (6586.2, 0, 0.2416, 0, 0.989, 0.967, 0.2416),
    "Cu-64": (12.700 * 3600, 0.0743, 0.0484, 0.0021, 0.186, 0.174, 0.1248),
    "Cu-67": (61.83 * 3600, 0.1359, 0, 0.0145, 0.115, 0, 0.1504),
    "Ga-68": (67.71 * 60, 0, 0.7374, 0.0006, 0.949, 0.889, 0.7379),
    "Y-86": (14.74 * 3600, 0, 0.2119, 0.0059, 3.578, 0.319, 0.2179),
    "Y-90": (64.10 * 3600, 0.9329, 0, 0.0002, 0, 0, 0.9331),
    "Zr-89": (78.41 * 3600, 0, 0.0899, 0.0120, 1.158, 0.227, 0.1019),
    "Tc-99m": (6.015 * 3600, 0, 0, 0.0162, 0.127, 0, 0.0162),
    "In-111": (2.8047 * 86400, 0, 0, 0.0348, 0.406, 0, 0.0348),
    "I-123": (13.27 * 3600, 0, 0, 0.0282, 0.173, 0, 0.0282),
    "I-124": (4.1760 * 86400, 0, 0.1873, 0.0070, 1.113, 0.229, 0.1943),
    "I-131": (8.0207 * 86400, 0.1819, 0, 0.0100, 0.383, 0, 0.1918),
    "Lu-177": (6.647 * 86400, 0.1333, 0, 0.0147, 0.035, 0, 0.1479),
}
PUBLISHED_HALF_LIFE_AND_DELTA = {
    "Re-188": (17.004 * 3600, 0.7793),
    "Ho-166": (26.80 * 3600, 0.6963),
    "Au-198": (2.69517 * 86400, 0.3277),
    "Sm-153": (46.5 * 3600, 0.2699),
    "Tb-161": (6.906 * 86400, 0.2025),
    "Ac-225": (10.0 * 86400, 5.917),
}
WANTED = (
    "C-11 N-13 O-15 Sc-44 Sc-47 Tb-149 Tb-152 Tb-155 Re-186 Sr-89 At-211 Pb-212 Ra-223 Bi-213 Tl-201 Ga-67"
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_table_holds_the_published_values(name):
    half_life, beta_minus, beta_plus, electron, photon, yield_, delta = PUBLISHED[name]
    record = nuclide(name)
    assert record.half_life_s == pytest.approx(half_life, rel=1e-9)
    assert record.mean_beta_minus_mev == pytest.approx(beta_minus, abs=5.1e-5)
    assert record.mean_beta_plus_mev == pytest.approx(beta_plus, abs=5.1e-5)
    assert record.mean_electron_mev == pytest.approx(electron, abs=5.1e-5)
    assert record.mean_photon_mev == pytest.approx(photon, abs=6e-4)
    assert record.positron_yield == pytest.approx(yield_, abs=5.1e-4)
    assert record.delta_np_mev == pytest.approx(delta, abs=5.1e-5)


@pytest.mark.parametrize("name", PUBLISHED_HALF_LIFE_AND_DELTA)
def test_further_nuclides_hold_the_published_half_life_and_energy(name):
    half_life, delta = PUBLISHED_HALF_LIFE_AND_DELTA[name]
    assert nuclide(name).half_life_s == pytest.approx(half_life, rel=1e-9)
    assert nuclide(name).delta_np_mev == pytest.approx(delta, abs=5.1e-4)


def test_nuclides_of_imaging_and_therapy_are_there():
    assert set(WANTED.split()) <= set(nuclides())


@pytest.mark.filterwarnings("ignore")
def test_half_lives_and_progeny_equal_radioactivedecay():
    radioactivedecay = pytest.importorskip("radioactivedecay")
    for name, record in nuclides().items():
        known = radioactivedecay.Nuclide(name)
        assert record.half_life_s == pytest.approx(float(known.half_life("s")), rel=1e-12), name
        expected = dict(zip(known.progeny(), known.branching_fractions(), strict=True))
        assert dict(record.progeny) == pytest.approx(expected, rel=1e-5), name


def test_energies_equal_the_emissions_of_icrp107_database():
    pytest.importorskip("icrp107_database")
    kinds = {
        "mean_beta_minus_mev": ["beta-"],
        "mean_beta_plus_mev": ["beta+"],
        "mean_electron_mev": ["IE", "auger"],
        "mean_photon_mev": ["gamma", "X", "annihilation"],
        "mean_alpha_mev": ["alpha"],
        "mean_recoil_mev": ["alpha recoil"],
    }
    for name, record in nuclides().items():
        text = (files("icrp107_database") / "icrp107" / f"{name}.json").read_text()
        emissions = json.loads(json.loads(text))["emissions"]
        for field, lists in kinds.items():
            expected = sum(energy * number for kind in lists for energy, number in emissions[kind])
            assert getattr(record, field) == pytest.approx(expected, rel=1e-5, abs=1e-12), (name, field)


def test_non_penetrating_energy_is_the_sum_of_its_parts():
    for record in nuclides().values():
        parts = (
            record.mean_beta_minus_mev
            + record.mean_beta_plus_mev
            + record.mean_electron_mev
            + record.mean_alpha_mev
            + record.mean_recoil_mev
        )
        assert record.delta_np_mev == pytest.approx(parts, rel=2e-5, abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_generator_reproduces_the_shipped_table(tmp_path, request):
    pytest.importorskip("radioactivedecay")
    pytest.importorskip("icrp107_database")
    script = request.config.rootpath / "scripts" / "generate_nuclides.py"
    out = tmp_path / "nuclides.json"
    subprocess.run([sys.executable, script, "--out", out], check=True, capture_output=True)
    shipped = (files("imgtheranostics.data") / "nuclides.json").read_text()
    assert json.loads(out.read_text())["nuclides"] == json.loads(shipped)["nuclides"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("F-18", "F-18"),
        ("18F", "F-18"),
        ("F18", "F-18"),
        ("^18^Fluorine", "F-18"),
        ("Fluorine-18", "F-18"),
        ("FLUORINE 18", "F-18"),
        ("68Ga", "Ga-68"),
        ("^68^Gallium", "Ga-68"),
        ("^99m^Technetium", "Tc-99m"),
        ("99mTc", "Tc-99m"),
        ("Tc99m", "Tc-99m"),
        ("Technetium Tc-99m", None),
        ("99Mo", "Mo-99"),
        ("52Mn", "Mn-52"),
        ("^64^Copper", "Cu-64"),
        (" lu-177 ", "Lu-177"),
    ],
)
def test_spellings_of_headers_and_people(text, name):
    if name is None:
        with pytest.raises(UnsupportedInput):
            nuclide_name(text)
    else:
        assert nuclide_name(text) == name
        assert nuclide(text).name == name


@pytest.mark.parametrize("text", ["", "FDG", "18", "Xx-18", "F-", "F-19", "Fluorine", "1811F"])
def test_unknown_nuclides_are_refused_with_the_known_names(text):
    with pytest.raises(ImgTheranosticsError) as caught:
        nuclide(text)
    assert isinstance(caught.value, UnsupportedInput)
    assert caught.value.needed


def test_every_name_finds_itself_in_three_spellings():
    for name in nuclides():
        symbol, mass = name.split("-")
        for spelling in (name, symbol + mass, mass + symbol):
            assert nuclide(spelling).name == name


def test_chains_of_therapy_nuclides():
    """Branching of ICRP-107; four alpha particles of 225Ac give 27 to 28 MeV, with betas and recoils 28.7."""
    actinium = decays_in_chain("225Ac")
    assert list(actinium)[:3] == ["Ac-225", "Fr-221", "At-217"]
    alphas = sum(number * nuclide(name).mean_alpha_mev for name, number in actinium.items())
    assert 27.0 < alphas < 28.0
    lead = decays_in_chain("Pb-212")
    assert lead["Po-212"] == pytest.approx(0.6406, abs=1e-4)
    assert lead["Po-212"] + lead["Tl-208"] == pytest.approx(lead["Bi-212"], rel=1e-9)
    assert dict(decays_in_chain("At-211")) == {"At-211": 1.0, "Po-211": 0.582}
    assert dict(decays_in_chain("Y-90")) == {"Y-90": 1.0}


@pytest.mark.filterwarnings("ignore")
def test_the_table_holds_all_progeny_that_lives_less_than_a_century():
    radioactivedecay = pytest.importorskip("radioactivedecay")
    century = 100 * 365.25 * 86400
    for record in nuclides().values():
        for daughter in set(record.progeny) - set(nuclides()):
            assert radioactivedecay.Nuclide(daughter).half_life("s") > century, (record.name, daughter)


def test_hours_and_markers_are_no_nuclides():
    """Elements that are in the table only as progeny do not make one of a word beside a number."""
    for text in ("FDG 12 PM", "anti-CD20", "CD 4 cells", "Gd 1 mmol"):
        assert nuclide_in(text) is None, text
    assert nuclide_in("89Zr anti-CD20 at 2 PM") == "Zr-89"
    assert nuclide_in("133Ba source") == "Ba-133"
