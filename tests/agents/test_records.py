"""The shipped records: complete, sourced number by number, and right where something else can judge."""

from __future__ import annotations

import math
import re
from functools import cache

import numpy as np
import pytest
import radioactivedecay as rd
import yaml

from imgtheranostics.agents import available, get
from imgtheranostics.agents.listing import as_plain, counts, rows
from imgtheranostics.agents.loading import library
from imgtheranostics.agents.signals import Attenuation
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.phantom.reading import library as phantom_library
from imgtheranostics.units import UNITS

ISSUE_LIST = {
    "MM-302": {"labels", "pharmacokinetics", "dosing"},
    "UPSN": {"labels", "pharmacokinetics", "particle", "observations"},
    "99mTc-PLGA": {"labels", "pharmacokinetics"},
    "111In liposome": {"labels", "pharmacokinetics"},
    "64Cu micelle": {"labels"},
    "AGuIX": {"relaxivities", "particle", "attenuation", "pharmacokinetics", "dosing"},
    "Gd@C82-Ala": {"relaxivities", "particle"},
    "ferumoxytol": {"relaxivities", "observations"},
    "SPION cluster": {"heating", "particle"},
    "USPION": {"relaxivities", "particle"},
    "olsalazine-RVRR": {"cest_pools", "observations"},
    "gemcitabine": {"cest_pools"},
    "melphalan": {"cest_pools"},
    "iopamidol": {"cest_pools", "attenuation"},
    "iodixanol liposome": {"carries", "dosing"},
    "V7-RUBY": {"carries", "observations"},
    "IR780": {"optical"},
    "ICG": {"optical"},
    "gold nanorod": {"optical", "carries"},
    "gold sphere": {"optical"},
    "NBTXR3": {"attenuation", "dosing", "particle"},
    "Au": {"attenuation"},
    "Bi": {"attenuation"},
    "perfluoropentane": {"acoustic"},
    "perfluorohexane": {"acoustic"},
    "CaCO3": {"acoustic"},
    "ICG-HA-MnO2": {"acoustic", "carries"},
    "Fe@Au": {"labels", "carries"},
    "19F": {"linear_ranges"},
    "MPI tracer": {"linear_ranges", "response_blur_mm"},
}
"""The systems that the work order names, and the parts that each must hold."""


@cache
def raw(name):
    return yaml.safe_load((library() / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ISSUE_LIST)
def test_every_system_of_the_review_has_a_record_with_its_parts(name):
    agent = get(name)
    missing = {part for part in ISSUE_LIST[name] if not getattr(agent, part)}
    assert missing == set()
    assert agent.claims


@pytest.mark.parametrize("name", available())
def test_a_shipped_record_is_valid_and_named_as_its_file(name):
    agent = get(name)
    assert agent.id == name
    assert all(get(other).id != name for other in agent.carries)
    for text in (agent.summary, *agent.notes):
        assert not re.search(r"predict(s|ed)\b|radiosensiti", text), "a word that needs a control arm"


def test_no_two_records_share_a_name():
    named = [
        (re.sub(r"[^a-z0-9]", "", word.lower()), name)
        for name in available()
        for word in {name, get(name).name, *get(name).aliases}
    ]
    owners: dict[str, set[str]] = {}
    for word, name in named:
        owners.setdefault(word, set()).add(name)
    assert {word: sorted(names) for word, names in owners.items() if len(names) > 1} == {}
    for name in available():
        for alias in get(name).aliases:
            assert get(alias).id == name


def named_records(here):
    """Every agent record that a phantom file names."""
    if isinstance(here, dict):
        for key, value in here.items():
            if key == "record" and isinstance(value, str):
                yield value
            yield from named_records(value)
    elif isinstance(here, list):
        for item in here:
            yield from named_records(item)


def test_each_phantom_names_agents_that_exist():
    files = sorted(phantom_library().glob("*.yaml"))
    named = {
        name for file in files for name in named_records(yaml.safe_load(file.read_text(encoding="utf-8")))
    }
    assert named
    assert {get(name).id for name in named} <= set(available())


def unsourced(here, sourced=False, path=()):
    """Paths of the numbers that neither they nor anything around them gives a provenance for."""
    if isinstance(here, dict):
        inside = sourced or "provenance" in here
        for key, value in here.items():
            yield from unsourced(value, inside, (*path, key))
    elif isinstance(here, list):
        for n, value in enumerate(here):
            yield from unsourced(value, sourced, (*path, n))
    elif isinstance(here, (int, float)) and not sourced:
        yield path


@pytest.mark.parametrize("name", available())
def test_every_number_of_a_file_has_a_provenance(name):
    assert list(unsourced(raw(name))) == []


@pytest.mark.parametrize("name", available())
def test_every_value_says_where_it_is_from_and_what_is_from_memory_warns(name):
    agent = get(name)
    for path, entry in agent.values():
        assert entry.place == f"{name}: {path}"
        assert (entry.provenance == "unconfirmed") == (entry.source == "memory")
        assert [caution.code for caution in entry.warnings] == (
            ["unconfirmed-value"] if entry.provenance == "unconfirmed" else []
        )
        if entry.provenance == "published":
            assert re.search(
                r"doi:10\.\d{4}|PMID \d{7}|PMC\d{6}|20\d\d|\d+:\d{4}|abstract|trial|table|spectrum|ijpr-",
                entry.source,
            )
    doubtful = counts(agent)["unconfirmed"]
    assert bool(agent.warnings) == bool(doubtful)
    assert len(as_plain(agent)["unconfirmed"]) == doubtful


@pytest.mark.parametrize("name", available())
def test_half_lives_are_those_of_the_nuclide_table_and_of_icrp_107(name):
    for label in get(name).labels:
        assert label.half_life_s == nuclide(label.nuclide).half_life_s
        assert label.half_life_s == pytest.approx(rd.Nuclide(label.nuclide).half_life("s"), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "index", "hours"),
    [
        ("mm-302", 0, 12.700),
        ("upsn", 0, 14.74),
        ("upsn", 1, 64.10),
        ("tc99m-plga", 0, 6.015),
        ("in111-liposome", 0, 2.8047 * 24),
        ("i131-pei-au", 0, 8.0207 * 24),
        ("ga68-pamam-ionp", 0, 67.71 / 60),
    ],
)
def test_half_lives_are_those_of_the_specification(name, index, hours):
    assert get(name).labels[index].half_life_s / 3600 == pytest.approx(hours, rel=1e-3)


def test_a_physical_half_life_stands_in_no_record():
    for name in available():
        assert all("half_life" not in key for label in raw(name).get("labels", []) for key in label)


def test_what_the_review_has_wrong_is_not_encoded():
    """E2: 56 Cel is perfluorohexane, not perfluoropropane. E3: 99mTc is for SPECT. E4: 68Ga, not 69Ga."""
    temperatures = {
        name: get(name).acoustic.transition_temperature_c.number()
        for name in available()
        if get(name).acoustic and get(name).acoustic.transition_temperature_c
    }
    assert temperatures == {"perfluoropentane-droplet": 29, "perfluorohexane-droplet": 56}
    names = {word.lower() for name in available() for word in (name, get(name).name, *get(name).aliases)}
    assert not any("propane" in word for word in names)
    for name in available():
        for label in get(name).labels:
            record = label.record
            assert not ("PET" in get(name).modalities and label.nuclide == "Tc-99m")
            if get(name).modalities == ("PET",) and label.use == "imaging":
                assert record.positron_yield > 0.1


def test_size_decides_no_relaxivity():
    """E8: the 10 nm rule is about the core; USPION has its diameters and its relaxivities apart."""
    uspion = get("uspion")
    assert uspion.particle.core_diameter_nm.bounds[1] == 10
    assert {entry.kind for entry in uspion.relaxivities} == {"r1", "r2", "r2star"}


GOLDEN = {
    "AGuIX dose levels [review]": (
        lambda: [dose.number() for dose in get("aguix").dosing if dose.unit == "mg/kg"],
        [15, 30, 50, 75, 100],
    ),
    "MM-302 activity [review]": (lambda: get("mm-302").dosing[0].number(), 400),
    "Gd@C82-Ala diameter [review]": (lambda: get("gd-c82-ala").particle.diameter_nm.number(), 130),
    "NBTXR3 diameter [review]": (lambda: get("nbtxr3").particle.diameter_nm.number(), 50),
    "NBTXR3 strength [published]": (lambda: get("nbtxr3").dosing[0].number(), 53.3),
    "cluster field [review]": (
        lambda: (
            get("spion-cluster").heating.frequency_khz.number(),
            get("spion-cluster").heating.field_ka_per_m.number(),
        ),
        (230, 8),
    ),
    "olsalazine fold change [review]": (lambda: get("olsalazine").observations[0].number(), 6.5),
    "olsalazine offset [unconfirmed]": (lambda: get("olsalazine").cest_pools[0].offset_ppm.number(), 9.8),
    "iopamidol offsets [published]": (
        lambda: [pool.offset_ppm.number() for pool in get("iopamidol").cest_pools],
        [4.2, 5.5],
    ),
    "iopamidol exchange, pH 6.5 and 7.4 [unconfirmed]": (
        lambda: [(e.ph[0], e.number()) for e in get("iopamidol").cest_pools[1].exchange],
        [(6.5, 1000), (7.4, 4500)],
    ),
    "salicylic acid offset [published]": (
        lambda: get("salicylate").cest_pools[0].offset_ppm.number(),
        9.3,
    ),
    "MnO2 gain [review]": (lambda: get("icg-ha-mno2").acoustic.gains[0].number(), 2.25),
    "V7 ratios [published]": (
        lambda: [entry.bounds[0] for entry in get("v7-ruby").observations],
        [7, 4, 10],
    ),
    "ICG peak [published]": (
        lambda: (
            get("icg").optical[0].peaks[0].wavelength_nm.number(),
            get("icg").optical[0].peaks[0].molar_extinction_per_m_cm.number(),
        ),
        (810, 190720),
    ),
    "dextran contrast [published]": (
        lambda: [(entry.number(), entry.uncertainty) for entry in get("dextran").observations],
        [(4.2, 0.2), (0.0, 0.5)],
    ),
    "liver iron [published]": (
        lambda: [
            (e.field_t, e.number(), e.uncertainty)
            for e in get("feraheme").observations
            if e.region == "liver"
        ],
        [(1.5, 216, 33), (3.0, 276, 70)],
    ),
    "PVP-SPION [published]": (
        lambda: [entry.number() for entry in get("spion-pvp").relaxivities],
        [141.2, 338.1],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_value(name):
    found, expected = GOLDEN[name]
    assert found() == expected


def slope(agent, table, kvp, water_cm=20, filtered=""):
    (slopes,) = [entry for entry in get(agent).attenuation.hu_slopes if entry.name == table]
    (beam,) = [b for b in slopes.beams if (b.kvp, b.water_cm, b.filter) == (kvp, water_cm, filtered)]
    return beam.hu_per_mg_ml


MATERIALS = {
    "I": "iopamidol",
    "Gd": "aguix",
    "HfO2": "nbtxr3",
    "Au": "gold-nanoparticle",
    "Bi": "bismuth-nanoparticle",
    "Fe": "ferumoxytol",
}


@pytest.mark.parametrize(
    ("material", "plain", "tin"),
    [
        ("I", 1.83, 2.93),
        ("Fe", 1.77, 2.65),
        ("Gd", 1.45, 2.00),
        ("Bi", 1.21, 1.28),
        ("HfO2", 1.08, 1.16),
        ("Au", 1.01, 1.02),
    ],
)
def test_dual_energy_ratios_of_set_a(material, plain, tin):
    """Ratios of the 80 and 140 kVp slopes, calculated apart from the slopes; both are rounded."""
    agent = MATERIALS[material]
    low = slope(agent, "A", 80)
    assert low / slope(agent, "A", 140) == pytest.approx(plain, rel=0.015)
    assert low / slope(agent, "A", 140, filtered="0.4 mm Sn") == pytest.approx(tin, rel=0.015)


@pytest.mark.parametrize(
    ("first", "second", "condition"),
    [
        ("I", "HfO2", 8.4),
        ("I", "Au", 7.4),
        ("Gd", "HfO2", 15.4),
        ("I", "Gd", 19.1),
        ("Bi", "Au", 22.4),
        ("Bi", "HfO2", 34.4),
        ("HfO2", "Au", 64.0),
    ],
)
def test_condition_of_two_materials_at_two_energies(first, second, condition):
    """NumPy's condition number of the slopes against the table that was calculated apart."""
    matrix = [[slope(MATERIALS[m], "A", kvp) for m in (first, second)] for kvp in (80, 140)]
    assert np.linalg.cond(matrix) == pytest.approx(condition, rel=0.05)


@pytest.mark.parametrize("material", MATERIALS)
def test_the_two_sets_of_slopes_differ_by_little(material):
    """At most 4.4 % on the clinical beams; one more for rounding of iron's two digits."""
    agent = MATERIALS[material]
    for kvp, water_cm in ((80, 20), (100, 20), (120, 20), (140, 20), (120, 32)):
        a, b = (slope(agent, table, kvp, water_cm) for table in "AB")
        assert a == pytest.approx(b, rel=0.05)


def test_the_slopes_that_the_phantoms_pin():
    assert slope("nbtxr3", "B", 120) == 26.6
    assert slope("iopamidol", "B", 65, 2.5) == 54.5
    dose = get("nbtxr3").dosing[0].number()
    seen = [entry.number() for entry in get("nbtxr3").observations]
    assert seen == [round(dose * share * 26.6) for share in (0.1, 0.2)] + [
        pytest.approx(dose * 26.6, rel=0.005)
    ]


def test_hafnium_oxide_is_made_of_its_elements():
    """Standard atomic weights: Hf 178.49, O 15.999."""
    fractions = get("nbtxr3").attenuation.composition.mass_fractions
    assert fractions["Hf"] == pytest.approx(178.49 / (178.49 + 2 * 15.999), abs=5e-4)


def lorentz_drude_gold(energy_ev):
    """Permittivity of gold, doi:10.1364/AO.37.005271."""
    plasma = 9.03
    strength = (0.760, 0.024, 0.010, 0.071, 0.601, 4.384)
    width = (0.053, 0.241, 0.345, 0.870, 2.494, 2.214)
    centre = (0.0, 0.415, 0.830, 2.969, 4.304, 13.32)
    total = 1 - strength[0] * plasma**2 / (energy_ev * (energy_ev + 1j * width[0]))
    for f, g, w in zip(strength[1:], width[1:], centre[1:], strict=True):
        total += f * plasma**2 / (w**2 - energy_ev**2 - 1j * energy_ev * g)
    return total


def rod_peak(ratio, diameter_nm, index):
    """Wavelength and molar extinction of the long-axis peak by Gans' theory of a spheroid."""
    wavelength = np.arange(450.0, 1100.0, 0.5)
    eccentric = math.sqrt(1 - 1 / ratio**2)
    along = (1 - eccentric**2) / eccentric**2
    along *= math.log((1 + eccentric) / (1 - eccentric)) / (2 * eccentric) - 1
    gold, medium = lorentz_drude_gold(1239.841984 / wavelength), index**2
    radius, length = diameter_nm / 2, ratio * diameter_nm
    volume = math.pi * radius**2 * (length - diameter_nm) + 4 / 3 * math.pi * radius**3
    polarisability = sum(
        (gold - medium) / (medium + factor * (gold - medium))
        for factor in (along, (1 - along) / 2, (1 - along) / 2)
    )
    area_nm2 = 2 * math.pi * index / wavelength * (volume / 3 * polarisability).imag
    best = int(np.argmax(area_nm2))
    return wavelength[best], area_nm2[best] * 1e-14 * 6.02214076e23 / 2303


@pytest.mark.parametrize("ratio", [2, 3, 3.5, 4, 4.5, 5])
def test_nanorod_peaks_follow_from_the_theory(ratio):
    """Gans' theory coded here against the recorded table, for the permittivity that has a closed form."""
    (entry,) = [
        optical
        for optical in get("gold-nanorod").optical
        if optical.generator.aspect_ratio == ratio and optical.generator.permittivity == "lorentz-drude-1998"
    ]
    peak, extinction = rod_peak(ratio, entry.generator.diameter_nm, entry.generator.medium_index)
    assert entry.peaks[0].wavelength_nm.number() == pytest.approx(peak, abs=1.0)
    assert entry.peaks[0].molar_extinction_per_m_cm.number() == pytest.approx(extinction, rel=0.02)


def test_the_two_permittivities_of_gold_differ_as_stated():
    """7 to 61 nm between the two tables, more for longer rods."""
    shifts = []
    for ratio in (2, 3, 3.5, 4, 4.5, 5):
        pair = {
            optical.generator.permittivity: optical.peaks[0].wavelength_nm.number()
            for optical in get("gold-nanorod").optical
            if optical.generator.aspect_ratio == ratio
        }
        shifts.append(pair["lorentz-drude-1998"] - pair["johnson-christy-1972"])
    assert shifts == sorted(shifts)
    assert (round(shifts[0]), round(shifts[-1])) == (7, 60)


def test_a_sphere_has_no_peak_in_the_near_infrared():
    sphere = get("gold-sphere").optical[0]
    assert sphere.generator.undetectable_above_nm == 650
    assert sphere.peaks == ()


def test_alternating_field_times_frequency():
    """H f = 1.84e9 A/(m s) [computed]."""
    heating = get("spion-cluster").heating
    product = heating.frequency_khz.number() * 1e3 * heating.field_ka_per_m.number() * 1e3
    assert product == pytest.approx(1.84e9)


@pytest.mark.parametrize("name", available())
def test_each_value_has_a_row_with_words_a_number_and_a_unit(name):
    known = {
        *UNITS,
        "L/mol/cm",
        "W/g",
        "K/min",
        "kA/m",
        "g/mol",
        "[HU] per mg/mL",
        "umol/mg",
        "mg/kg",
        "g/kg",
    }
    known |= {"mmol/kg", "1/s", ""}
    table = rows(get(name))
    assert len(table) >= len(list(get(name).values()))
    for row in table:
        assert row.what
        assert row.value
        assert row.unit in known
    for row in table:
        if row.unit == "":
            assert row.section in {"label", "attenuation", "optical"}, row


def test_slopes_named_by_material_are_those_of_the_tables():
    """ct.md 4.2, sets A and B, HfO2 at 140 kVp with tin (A only) and at 65 kVp micro-CT (B only)."""
    tables = {entry.name: entry for entry in get("nbtxr3").attenuation.hu_slopes}
    assert {name: len(entry.beams) for name, entry in tables.items()} == {"A": 10, "B": 8}
    assert [b.hu_per_mg_ml for b in tables["A"].beams if b.filter == "0.4 mm Sn"] == [22.9]
    assert [b.hu_per_mg_ml for b in tables["B"].beams if b.kvp == 65] == [37.0]
    assert {entry.provenance for entry in tables.values()} == {"computed"}


def test_slopes_of_a_material_that_no_table_holds_are_refused():
    attenuation = {
        "composition": {"formula": "W", "mass_fractions": {"W": 1.0}, "provenance": "review"},
        "hu_slopes": "W",
    }
    with pytest.raises(ValueError, match="no table of slopes holds W; known: I, Gd, HfO2, Hf, Au, Bi, Fe"):
        Attenuation.model_validate(attenuation)
