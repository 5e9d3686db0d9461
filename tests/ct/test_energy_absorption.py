"""Energy absorption and the macroscopic dose enhancement that it makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.ct.attenuation import elements
from imgtheranostics.ct.energy_absorption import compton_share, energy_absorption, ratio_to_water
from imgtheranostics.ct.materials import dose_enhancement, mass_attenuation
from imgtheranostics.ct.xray_spectra import Beam, transmitted
from imgtheranostics.errors import ImplausibleValue, UnsupportedInput

NIST_KEV = (20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 400, 500, 600, 800)
NIST_GOLD = (
    65.22,
    23.49,
    11.09,
    6.124,
    3.751,
    1.720,
    2.074,
    1.026,
    0.5563,
    0.2289,
    0.1274,
    0.08523,
    0.06409,
    0.04427,
)
NIST_WATER_KEV = (30, 60, 80, 100, 150, 300, 600, 800)
NIST_WATER = (0.156, 0.0319, 0.0260, 0.0255, 0.0276, 0.0319, 0.0328, 0.0321)
"""cm2/g. Hubbell and Seltzer, NISTIR 5632, tables 3 and 4, doi:10.18434/T4D01F [published]."""

REFERENCE_KEV = (60, 80, 100, 150, 300)
REFERENCE = {"HfO2": (81, 100, 70, 28, 5.0), "Au": (127, 68, 83, 37, 7.2)}
"""Ratios to water, ct.md 4.6 [computed]. Those at 30 and 50 keV are not held against the model: see below."""


def test_gold_absorbs_as_nist_says():
    """Within 1.6 % up to 150 keV; without bremsstrahlung, 5.5 % high at 800 keV."""
    found = np.asarray(energy_absorption("Au", NIST_KEV)) / NIST_GOLD
    np.testing.assert_allclose(found[:8], 1, atol=0.016)
    np.testing.assert_allclose(found[8:], 1, atol=0.055)


def test_water_absorbs_as_nist_says():
    np.testing.assert_allclose(energy_absorption("H2O", NIST_WATER_KEV), NIST_WATER, rtol=0.015)


@pytest.mark.parametrize("material", REFERENCE)
def test_ratios_to_water_from_60_kev_up(material):
    """Within 6 %: the reference for gold at 60 keV is 8 % above that of NIST, 3.751 / .0319 = 117.6."""
    np.testing.assert_allclose(ratio_to_water(material, REFERENCE_KEV), REFERENCE[material], rtol=0.06)


def test_the_reference_at_30_kev_is_more_than_all_attenuation():
    """ct.md 4.6 says 160 and 239 at 30 keV. Absorption cannot exceed attenuation, 17.85 and 27.52 cm2/g
    (ct.md 4.1), which is 114 and 176 times the 0.156 of water (NIST).
    """
    for material, attenuation, printed in (("HfO2", 17.85, 160), ("Au", 27.52, 239)):
        bound = attenuation / 0.156
        assert printed > bound
        assert ratio_to_water(material, 30) < bound


@given(st.sampled_from(sorted(elements())[:90]), st.floats(10, 800))
def test_absorption_is_part_of_attenuation(symbol, energy):
    assert 0 < energy_absorption(symbol, energy) < mass_attenuation(symbol, energy)


def test_compton_electrons_take_the_share_of_the_integral():
    """Klein and Nishina by SciPy's quadrature."""
    from scipy.integrate import quad

    for energy in (10.0, 60.0, 150.0, 511.0, 800.0):

        def left(cosine, energy=energy):
            return 1 / (1 + energy / 510.99895 * (1 - cosine))

        def per_angle(cosine, left=left):
            kept = left(cosine)
            return kept**2 * (kept + 1 / kept - 1 + cosine**2)

        whole = quad(per_angle, -1, 1)[0]
        moved = quad(lambda cosine: per_angle(cosine) * (1 - left(cosine)), -1, 1)[0]
        assert float(compton_share(energy)) == pytest.approx(moved / whole, rel=1e-9)


@pytest.mark.parametrize(("material", "ratio", "expected"), [("HfO2", 81, 1.80), ("Au", 127, 2.26)])
def test_dose_enhancement_with_given_ratios(material, ratio, expected):
    """ct.md section 6, w = 0.01 at 60 keV, with the ratios of 4.6."""
    found = dose_enhancement(material, 0.01, ratio=ratio)
    assert found.value == pytest.approx(expected, abs=0.005)
    assert found.source == "given"


@pytest.mark.parametrize(("material", "reference", "limit"), [("HfO2", 1.80, 0.03), ("Au", 2.26, 0.03)])
def test_dose_enhancement_of_the_model(material, reference, limit):
    """ct.md section 6 within 3 %, and gold within 1.5 % of what the values of NIST make: 2.166."""
    found = dose_enhancement(material, 0.01, 60)
    assert found.value == pytest.approx(reference, rel=limit)
    if material == "Au":
        assert found.value == pytest.approx(1 + 0.01 * (3.751 / 0.0319 - 1), rel=0.015)
        assert abs(found.value - 2.166) < 2 * found.standard_error


def test_the_result_says_that_it_is_macroscopic():
    found = dose_enhancement("HfO2", 0.01, 60)
    assert "macroscopic" in found.label
    assert found.decision()["quantity"] == found.label
    assert [caution.code for caution in found.warnings] == ["macroscopic-only"]
    assert "Auger" in found.warnings[0].message


@pytest.mark.parametrize("energy", [801, 1250, 6000, 5])
def test_energies_where_the_data_do_not_hold_are_refused(energy):
    with pytest.raises(ImplausibleValue, match="not known at this photon energy") as caught:
        dose_enhancement("HfO2", 0.01, energy)
    assert "ratio=" in caught.value.next_step


def test_ratios_of_ones_own_go_above():
    assert dose_enhancement("HfO2", 0.01, 6000, ratio=1.1).value == pytest.approx(1.001)


def test_a_spectrum_weighs_by_the_energy_that_it_carries():
    """Two lines with 3 photons of 40 keV and 1 of 120 keV carry the same energy."""
    found = dose_enhancement("Au", 0.02, [40, 120], fluence=[3, 1])
    expected = sum(energy_absorption("Au", [40, 120])) / sum(energy_absorption("H2O", [40, 120]))
    assert found.ratio == pytest.approx(expected)


def test_the_spectrum_of_a_tube_lies_between_its_energies():
    spectrum = transmitted(Beam(120, water_cm=5))
    found = dose_enhancement("I", 0.01, spectrum)
    assert ratio_to_water("I", 120) < found.ratio < ratio_to_water("I", 50)
    again = dose_enhancement("I", 0.01, spectrum.energy_kev[100:], fluence=spectrum.fluence[100:])
    assert again.ratio == pytest.approx(found.ratio, rel=1e-6)


def test_no_metal_is_no_enhancement():
    assert dose_enhancement("Au", 0, 60).value == 1
    assert dose_enhancement("water", 0.5, 60).value == pytest.approx(1)


def test_errors_of_ratio_and_mass_fraction_add_in_quadrature():
    """F19 differentiated: w s_ratio = 0.05 and (ratio - 1) s_w = 0.12 make 0.13."""
    found = dose_enhancement("Au", 0.01, ratio=121, ratio_error=5, mass_fraction_error=0.001)
    assert found.standard_error == pytest.approx(0.13)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mass_fraction": 1.5, "energy_kev": 60}, "mass_fraction"),
        ({"mass_fraction": float("nan"), "energy_kev": 60}, "mass_fraction"),
        ({"mass_fraction": 0.01}, "give energy_kev"),
        ({"mass_fraction": 0.01, "ratio": -1}, "ratio is positive"),
        ({"mass_fraction": 0.01, "energy_kev": [50, 60]}, "need fluence"),
        ({"mass_fraction": 0.01, "energy_kev": [50, 60], "fluence": [1]}, "shape"),
        ({"mass_fraction": 0.01, "energy_kev": [50, 60], "fluence": [0, 0]}, "not all 0"),
        ({"mass_fraction": 0.01, "energy_kev": 60, "ratio_error": -1}, "ratio_error"),
        ({"mass_fraction": 0.01, "energy_kev": 60, "mass_fraction_error": -1}, "mass_fraction_error"),
    ],
)
def test_numbers_that_make_no_sense_are_errors_of_use(options, match):
    with pytest.raises(ValueError, match=match):
        dose_enhancement("Au", **options)


def test_a_spectrum_and_a_fluence_are_one_too_many():
    with pytest.raises(ValueError, match="own fluence"):
        dose_enhancement("Au", 0.01, transmitted(Beam(120)), fluence=[1.0])


def test_an_unknown_material_is_refused():
    with pytest.raises(UnsupportedInput, match="not known"):
        dose_enhancement("unobtanium", 0.01, 60)
