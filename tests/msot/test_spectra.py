"""Shipped spectra against what was published or calculated independently.

Numbers are those of the reference sheet on optoacoustics, sections 3, 4 and 6, if nothing else is said.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics.errors import NothingUsable, UnitMismatch, UnsupportedInput
from imgtheranostics.msot import spectra

PRESET_NM = (700.0, 730.0, 750.0, 760.0, 770.0, 800.0, 820.0, 840.0, 850.0, 880.0)
"""The ten wavelengths of a usual scan."""


def haemoglobin_and_icg(wavelength_nm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.stack([spectra.molar_extinction(name, wavelength_nm) for name in ("Hb", "HbO2", "ICG")], axis=1)


def test_haemoglobin_equals_the_published_compilation() -> None:
    assert spectra.molar_extinction("HbO2", [700.0, 800.0]).tolist() == [290.0, 816.0]
    assert spectra.molar_extinction("Hb", [700.0, 800.0]).tolist() == [1794.28, 761.72]


def test_isosbestic_point_lies_at_796_8_nm() -> None:
    wavelength = np.arange(780.0, 820.0, 0.01)
    difference = spectra.molar_extinction("HbO2", wavelength) - spectra.molar_extinction("Hb", wavelength)
    crossing = wavelength[np.flatnonzero(np.diff(np.sign(difference)))]
    assert crossing.size == 1
    assert crossing[0] == pytest.approx(796.8, abs=0.1)


def test_blood_of_150_g_per_litre_absorbs_as_published() -> None:
    assert float(spectra.blood_absorption(700.0, so2=1.0)) == pytest.approx(1.55, abs=0.005)
    assert float(spectra.blood_absorption(700.0, so2=0.0)) == pytest.approx(9.61, abs=0.005)
    assert float(spectra.blood_absorption(800.0, so2=1.0)) == pytest.approx(0.0053555 * 816.0, rel=2e-4)


def test_names_are_found_in_any_spelling() -> None:
    for name in ("hbo2", "Oxyhaemoglobin", "oxy-hemoglobin", "OxyHemoglobin", "O2Hb"):
        assert float(spectra.molar_extinction(name, 700.0)) == 290.0
    for name in ("HHb", "deoxyhemoglobin", "deoxy-Hb", "HB"):
        assert float(spectra.molar_extinction(name, 700.0)) == 1794.28


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("water", (0.006, 0.026, 0.020, 0.068, 0.45)),
        ("water-2", (0.0062, 0.0279, 0.0227, 0.0641, 0.480)),
    ],
)
def test_both_tables_of_water(name: str, expected: tuple[float, ...]) -> None:
    found = spectra.absorption(name, [700.0, 750.0, 800.0, 900.0, 970.0])
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_the_tables_of_water_differ_by_up_to_14_percent() -> None:
    wavelength = [700.0, 750.0, 800.0, 900.0, 970.0]
    one, other = (spectra.absorption(name, wavelength) for name in ("water", "water-2"))
    assert np.abs(other / one - 1.0).max() == pytest.approx(0.14, abs=0.006)


def test_water_from_the_index_of_1973_agrees_with_the_table_that_follows_it() -> None:
    wavelength = [700.0, 750.0, 800.0, 900.0]
    index, table = (spectra.absorption(name, wavelength) for name in ("water-1973", "water"))
    # 4 pi k / wavelength with k of the publication, the table being rounded to two or three digits.
    np.testing.assert_allclose(index[0], 4.0 * np.pi * 3.35e-8 / 700e-7, rtol=1e-9)
    np.testing.assert_allclose(index, table, rtol=0.02)


def test_lipid_is_in_per_centimetre() -> None:
    assert float(spectra.absorption("lipid", 930.0)) == pytest.approx(0.131, abs=5e-4)
    assert float(spectra.absorption("fat", 930.0)) == float(spectra.absorption("lipid", 930.0))


def test_both_forms_of_melanin() -> None:
    assert float(spectra.absorption("melanin", 700.0)) == pytest.approx(213.6, abs=0.05)
    assert float(spectra.absorption("melanin-2", 700.0)) == pytest.approx(221.5, abs=0.1)
    found = spectra.component("melanin", [700.0])
    assert "two-forms" in {caution.code for caution in found.cautions}


def test_icg_peaks_as_its_table_says() -> None:
    wavelength = np.arange(660.0, 881.0)
    values = spectra.molar_extinction("ICG", wavelength)
    assert wavelength[values.argmax()] == 810.0
    assert values.max() == pytest.approx(190720.0, rel=1e-6)


@pytest.mark.parametrize(("name", "nm"), [("ICG", 885.0), ("ICG", 890.0), ("ICG", 882.0), ("Hb", 1002.0)])
def test_wavelengths_without_data_are_refused_by_component_and_wavelength(name: str, nm: float) -> None:
    with pytest.raises(UnsupportedInput) as refusal:
        spectra.molar_extinction(name, [800.0, nm])
    title = {"ICG": "indocyanine green", "Hb": "deoxyhaemoglobin"}[name]
    assert title in str(refusal.value)
    assert f"{nm:g}" in (refusal.value.found or "")
    assert "800" not in (refusal.value.found or "")


@pytest.mark.parametrize(
    ("name", "peak_nm", "extinction", "tolerance"),
    [("IR780", 780.0, 2.65e5, 0.25), ("icg-water", 780.0, 1.9e5, 0.25), ("icg-plasma", 805.0, 1.9e5, 0.25)],
)
def test_dye_models_peak_where_they_say_and_are_flagged(
    name: str, peak_nm: float, extinction: float, tolerance: float
) -> None:
    wavelength = np.arange(600.0, 1000.0, 0.25)
    found = spectra.component(name, wavelength)
    assert found.model
    assert "model-spectrum" in {caution.code for caution in found.cautions}
    assert "unconfirmed" in found.source
    assert abs(wavelength[found.values.argmax()] - peak_nm) <= tolerance
    assert found.values.max() == pytest.approx(extinction, rel=1e-4)


def test_ir780_has_its_shoulder_between_710_and_725_nm() -> None:
    wavelength = np.arange(690.0, 750.0, 0.5)
    values = spectra.molar_extinction("IR780", wavelength)
    bend = np.gradient(np.gradient(values, wavelength), wavelength)
    dip = wavelength[np.flatnonzero((bend[1:-1] < bend[:-2]) & (bend[1:-1] < bend[2:])) + 1]
    assert np.any((dip > 705.0) & (dip < 725.0))


def test_an_unknown_name_is_refused_with_near_ones() -> None:
    with pytest.raises(NothingUsable, match="near: hbo2"):
        spectra.molar_extinction("Hb02", 800.0)


@pytest.mark.parametrize(
    ("wavelength", "unit"), [([7e-7, 8e-7], "metres"), ([0.7, 0.8], "micrometres"), ([7e5], "picometres")]
)
def test_wavelengths_in_other_units_are_refused(wavelength: list[float], unit: str) -> None:
    with pytest.raises(UnitMismatch, match=unit):
        spectra.molar_extinction("Hb", wavelength)


@pytest.mark.parametrize("wavelength", [[np.nan], [-700.0], [np.inf], ["700"]])
def test_wavelengths_that_are_none_are_refused(wavelength: list[object]) -> None:
    with pytest.raises(ValueError, match="wavelength"):
        spectra.molar_extinction("Hb", wavelength)  # type: ignore[arg-type]


def test_a_pure_substance_has_no_molar_extinction() -> None:
    with pytest.raises(UnsupportedInput, match=r"spectra\.absorption"):
        spectra.molar_extinction("water", 800.0)


def test_absorption_of_a_dye_needs_its_concentration() -> None:
    with pytest.raises(ValueError, match="concentration_umol_l"):
        spectra.absorption("ICG", 800.0)
    with pytest.raises(ValueError, match="pure substance"):
        spectra.absorption("water", 800.0, concentration_umol_l=1.0)
    expected = np.log(10.0) * 816.0 * 70e-6
    assert float(spectra.absorption("HbO2", 800.0, concentration_umol_l=70.0)) == pytest.approx(expected)


@given(st.permutations(PRESET_NM), st.sampled_from(["HbO2", "ICG", "water", "melanin", "IR780"]))
def test_values_belong_to_their_wavelengths_in_any_order(order: list[float], name: str) -> None:
    known = dict(zip(PRESET_NM, spectra.component(name, PRESET_NM).values, strict=True))
    assert spectra.component(name, order).values.tolist() == [known[nm] for nm in order]


@given(st.floats(250.0, 1000.0), st.sampled_from(["Hb", "HbO2"]))
def test_interpolation_lies_between_the_rows_beside(nm: float, name: str) -> None:
    low = min(2.0 * np.floor(nm / 2.0), 998.0)
    a, value, b = (float(spectra.molar_extinction(name, at)) for at in (low, nm, low + 2.0))
    assert min(a, b) - 1e-9 * abs(a) <= value <= max(a, b) + 1e-9 * abs(b)


def test_shape_of_the_wavelengths_is_kept() -> None:
    assert spectra.molar_extinction("Hb", 700.0).shape == ()
    assert spectra.molar_extinction("Hb", np.full((2, 3), 700.0)).shape == (2, 3)


def test_condition_numbers_of_the_usual_wavelengths() -> None:
    """3.0 for haemoglobin alone; 1004 with water as absorption beside that of 150 g/L blood, unscaled."""
    haemoglobin = haemoglobin_and_icg(PRESET_NM)[:, :2]
    assert np.linalg.cond(haemoglobin) == pytest.approx(3.0, abs=0.05)
    blood = np.log(10.0) * 150.0 / 64500.0 * haemoglobin
    with_water = np.column_stack([blood, spectra.absorption("water", PRESET_NM)])
    assert np.linalg.cond(with_water) == pytest.approx(1004.0, rel=2e-3)
    assert spectra.condition_number(with_water) < 15.0


@pytest.mark.parametrize(
    ("wavelength", "icg_nmol_l"),
    [
        (PRESET_NM, 43.0),
        ((700.0, 730.0, 760.0, 800.0, 820.0, 840.0, 880.0), 48.0),
        ((700.0, 730.0, 760.0, 800.0, 850.0), 62.0),
        ((700.0, 780.0, 850.0), 102.0),
    ],
)
def test_conditions_and_scatter_of_icg_in_blood(wavelength: tuple[float, ...], icg_nmol_l: float) -> None:
    """Hb 30, HbO2 70, ICG 1 umol/L with noise of 5 % of the mean signal; the numbers of the sheet."""
    matrix = haemoglobin_and_icg(wavelength)
    assert 3.2 <= spectra.condition_number(matrix) <= 3.6
    assert 155.0 <= np.linalg.cond(matrix) <= 261.0
    noise = 0.05 * float(np.mean(matrix @ [30e-6, 70e-6, 1e-6]))
    covariance = noise**2 * np.linalg.inv(matrix.T @ matrix)
    assert 1e9 * np.sqrt(covariance[2, 2]) == pytest.approx(icg_nmol_l, abs=0.6)


def test_condition_number_scales_the_columns_first() -> None:
    matrix = np.array([[1.0, 1.0], [0.0, 1.0]])
    expected = float(spectra.condition_number(matrix))
    assert spectra.condition_number(matrix * [1.0, 1e-12]) == pytest.approx(expected, rel=1e-9)
    # Columns of length 1 at 45 degrees: singular values sqrt(1 +- cos 45).
    half = np.sqrt(0.5)
    assert expected == pytest.approx(np.sqrt((1 + half) / (1 - half)), rel=1e-12)


@pytest.mark.parametrize("matrix", [[[1.0, 2.0], [2.0, 4.0]], [[1.0, 0.0], [1.0, 0.0]], [[1.0, 2.0]]])
def test_condition_number_is_infinite_where_columns_depend_on_each_other(matrix: list[list[float]]) -> None:
    assert spectra.condition_number(matrix) == float("inf")


def test_condition_number_refuses_what_is_no_matrix() -> None:
    with pytest.raises(ValueError, match="finite"):
        spectra.condition_number([[np.nan, 1.0]])
    with pytest.raises(ValueError, match="matrix"):
        spectra.condition_number([1.0, 2.0])
