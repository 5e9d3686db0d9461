"""HU per mg/mL of the spectrum model, against the two tables of ct.md section 4.2."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.ct import xray_spectra
from imgtheranostics.ct.materials import hu_per_mg_ml, mean_energy_kev
from imgtheranostics.ct.xray_spectra import Beam, transmitted
from imgtheranostics.data.hu_slopes import slope_tables, tabulated_materials
from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnsupportedInput

TOLERANCE = 0.05
"""The issue's acceptance."""

NOT_RECORDED_MM_AL = {"clinical": 7.0, "micro": 1.0}
"""Set B does not record its filters. Those of set A are taken for the clinical beams; for the micro-CT beams
1 mm Al, with which all 21 cells agree within 2.5 %: with the 0.5 mm of set A gold at 80 kVp is 7 % off."""


def cells(table):
    for material in tabulated_materials():
        for entry in slope_tables(material):
            if entry.name != table:
                continue
            for beam in entry.beams:
                yield pytest.param(
                    material, beam, id=f"{material}-{beam.kvp:g}kVp-{beam.water_cm:g}cm-{beam.filter}"
                )


@pytest.mark.parametrize(("material", "beam"), list(cells("A")))
def test_every_cell_of_set_a(material, beam):
    found = hu_per_mg_ml(
        material,
        beam.kvp,
        filtration_mm_al=beam.filtration_mm_al,
        water_cm=beam.water_cm,
        tin_mm=beam.tin_mm,
    )
    assert found == pytest.approx(beam.hu_per_mg_ml, rel=TOLERANCE)


@pytest.mark.parametrize(("material", "beam"), list(cells("B")))
def test_every_cell_of_set_b(material, beam):
    filtration = NOT_RECORDED_MM_AL["clinical" if beam.water_cm > 10 else "micro"]
    found = hu_per_mg_ml(material, beam.kvp, filtration_mm_al=filtration, water_cm=beam.water_cm)
    assert found == pytest.approx(beam.hu_per_mg_ml, rel=TOLERANCE)


@pytest.mark.parametrize(
    ("kvp", "expected", "options"),
    [
        (80, 58.8, {}),
        (100, 68.1, {}),
        (120, 76.9, {}),
        (140, 85.9, {}),
        (140, 98.7, {"tin_mm": 0.4}),
        (120, 81.1, {"water_cm": 32}),
        (40, 29.2, {"filtration_mm_al": 0.5, "water_cm": 3}),
        (80, 47.6, {"filtration_mm_al": 0.5, "water_cm": 3}),
    ],
)
def test_mean_energies_are_those_of_set_a(kvp, expected, options):
    """ct.md 4.2, set A, keV."""
    assert mean_energy_kev(kvp, **options) == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize(
    ("material", "plain", "tin"),
    [
        ("I", 1.83, 2.93),
        ("Fe", 1.77, 2.65),
        ("Ca", 1.61, 2.18),
        ("Gd", 1.45, 2.00),
        ("Bi", 1.21, 1.28),
        ("HfO2", 1.08, 1.16),
        ("Au", 1.01, 1.02),
    ],
)
def test_dual_energy_ratios(material, plain, tin):
    """ct.md 4.3. The ratios were made of spectra in 1 keV steps, which place the K-edge of hafnium 0.35 keV
    low: 2 % in the oxide.
    """
    low = hu_per_mg_ml(material, 80)
    assert low / hu_per_mg_ml(material, 140) == pytest.approx(plain, rel=0.02)
    assert low / hu_per_mg_ml(material, 140, tin_mm=0.4) == pytest.approx(tin, rel=0.02)


def test_an_oxide_counts_less_than_its_metal():
    """Per mg, HfO2 has 84.8 % of hafnium and 15.2 % of oxygen."""
    oxygen = hu_per_mg_ml("O", 120)
    expected = 0.848 * hu_per_mg_ml("Hf", 120) + 0.152 * oxygen
    assert hu_per_mg_ml("HfO2", 120) == pytest.approx(expected, rel=1e-4)


def test_water_shows_as_its_own_density():
    """1 mg/mL more water without displacement is 1 HU, by definition of HU."""
    assert hu_per_mg_ml("water", 100) == pytest.approx(1)
    assert hu_per_mg_ml("water", 100, displacement=True, density_g_ml=1.0) == pytest.approx(0, abs=1e-12)


def test_displacement_of_hafnium_oxide():
    """F4: -0.10 HU per mg/mL at 9.7 g/mL."""
    plain, less = hu_per_mg_ml("nbtxr3", 120), hu_per_mg_ml("nbtxr3", 120, displacement=True)
    assert plain - less == pytest.approx(0.103, abs=5e-4)
    with pytest.raises(MissingMetadata, match="density"):
        hu_per_mg_ml("HfO2", 120, displacement=True)
    with pytest.raises(ValueError, match="positive"):
        hu_per_mg_ml("HfO2", 120, displacement=True, density_g_ml=0)


@given(st.floats(0.5, 12), st.floats(1, 35))
def test_the_slope_of_iron_falls_as_the_beam_hardens(filtration, water):
    """Above its K-edge at 7 keV, attenuation of iron over that of water falls with every energy."""
    plain = hu_per_mg_ml("Fe", 120, filtration_mm_al=filtration, water_cm=water)
    assert hu_per_mg_ml("Fe", 120, filtration_mm_al=filtration + 1, water_cm=water) < plain
    assert hu_per_mg_ml("Fe", 120, filtration_mm_al=filtration, water_cm=water + 1) < plain


def test_the_edge_of_a_step_of_the_spectrum_does_not_decide():
    """A K-edge inside of a 0.5 keV step would move the slope of hafnium by up to 2 %: refined by half, the
    integral stays within 0.3 %.
    """
    import spekpy

    from imgtheranostics.ct.attenuation import element_attenuation, water_attenuation

    energy, photons = spekpy.Spek(kvp=80, th=12, dk=0.05, physics="casim").get_spectrum()
    depth = 20 * water_attenuation(energy) + 0.7 * 2.699 * element_attenuation("Al", energy)
    signal = photons * energy * np.exp(-depth)
    expected = np.sum(signal * element_attenuation("Hf", energy)) / np.sum(signal * water_attenuation(energy))
    assert hu_per_mg_ml("Hf", 80) == pytest.approx(expected, rel=3e-3)


def test_the_spectrum_is_made_once_for_a_voltage(monkeypatch):
    import spekpy

    made = []
    original = spekpy.Spek

    def counted(**options):
        made.append(options["kvp"])
        return original(**options)

    monkeypatch.setattr(spekpy, "Spek", counted)
    xray_spectra.tube_spectrum.cache_clear()
    transmitted.cache_clear()
    for material in ("I", "W", "Ta"):
        for water in (17.0, 18.0):
            hu_per_mg_ml(material, 77, water_cm=water)
    assert made == [77.0]


def test_a_cached_spectrum_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        transmitted(Beam(120)).fluence[0] = 1.0


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"kvp": 0.12}, "kvp"),
        ({"kvp": 6000}, "kvp"),
        ({"kvp": np.nan}, "kvp"),
        ({"kvp": 120, "filtration_mm_al": -1}, "filtration_mm_al"),
        ({"kvp": 120, "water_cm": 200}, "water_cm"),
        ({"kvp": 120, "tin_mm": 40}, "tin_mm"),
    ],
)
def test_beams_that_no_scanner_has_are_refused(options, where):
    with pytest.raises(ImplausibleValue, match="not one of a CT scanner") as caught:
        hu_per_mg_ml("I", **options)
    assert caught.value.where == where


def test_an_unknown_material_is_refused():
    with pytest.raises(UnsupportedInput, match=r"near: I\b"):
        hu_per_mg_ml("iodin", 120)


def test_tables_and_attenuation_load_neither_library():
    """The model of the spectrum is the only thing that needs one (ct.md section 7)."""
    code = (
        "import sys; from imgtheranostics.ct import materials as m; m.prior_slope('I', 120, model='A'); "
        "m.monoenergetic('HfO2', 80); m.dose_enhancement('Au', 0.01, 60); "
        "print(sorted({'spekpy', 'xraydb', 'sqlalchemy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
