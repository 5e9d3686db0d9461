"""What one unit of a component absorbs, from names, agents' records, files and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imgtheranostics.agents import get
from imgtheranostics.errors import MissingMetadata, NothingUsable, UnsupportedInput
from imgtheranostics.msot import spectra
from imgtheranostics.msot.spectra import component

NM = (700.0, 750.0, 800.0, 850.0)


def test_a_molar_component_is_decadic_per_mole() -> None:
    found = component("HbO2", NM)
    assert (found.name, found.unit, found.model) == ("HbO2", "M", False)
    assert found.values.tolist() == spectra.molar_extinction("HbO2", NM).tolist()
    np.testing.assert_allclose(found.natural, np.log(10.0) * found.values)
    assert found.licence
    assert "Prahl" in found.source


def test_a_pure_substance_is_decadic_per_share_of_the_volume() -> None:
    found = component("water", NM)
    assert found.unit == "1"
    np.testing.assert_allclose(found.values * np.log(10.0), spectra.absorption("water", NM), rtol=1e-14)


def test_spectra_times_amounts_are_what_the_components_absorb() -> None:
    """70 umol/L HbO2 in tissue with 75 % water: natural absorption by M2, decadic by the columns."""
    matrix = np.stack([component(name, NM).values for name in ("HbO2", "water")], axis=1)
    decadic = matrix @ [70e-6, 0.75]
    natural = 2.302585 * 70e-6 * spectra.molar_extinction("HbO2", NM) + 0.75 * spectra.absorption("water", NM)
    np.testing.assert_allclose(decadic * 2.302585, natural, rtol=1e-6)


def test_a_gold_particle_by_name() -> None:
    rod = component("gold nanorod 4", NM, permittivity="johnson-christy-1972")
    expected = spectra.gold_nanorod(4.0, NM, permittivity="johnson-christy-1972")
    assert rod.values.tolist() == expected.tolist()
    assert "doi:10.1103/PhysRevB.6.4370" in rod.source
    assert "gold-permittivity" in {caution.code for caution in rod.cautions}
    sphere = component("gold sphere 20", NM)
    assert sphere.values.tolist() == spectra.gold_sphere(20.0, NM).tolist()
    wide = component("gold nanorod 4", NM, aspect_ratio_sd=0.5)
    assert wide.values.tolist() == spectra.gold_nanorod(4.0, NM, aspect_ratio_sd=0.5).tolist()


def test_an_agent_is_found_by_its_name() -> None:
    assert component("icg", NM).values.tolist() == spectra.molar_extinction("ICG", NM).tolist()
    assert component(get("icg"), NM).name == "ICG"


def test_an_agent_without_a_spectrum_has_that_of_what_it_carries_and_says_so() -> None:
    found = component("V7-RUBY", NM)
    assert found.name == "V7-RUBY"
    assert found.values.tolist() == spectra.molar_extinction("IR780", NM).tolist()
    assert {"carried-spectrum", "model-spectrum"} <= {caution.code for caution in found.cautions}


def test_an_agent_of_several_absorbers_needs_a_choice() -> None:
    with pytest.raises(UnsupportedInput, match="several absorbers") as refusal:
        component("gold-nanorod", NM)
    assert "gold nanorod 4.5 (lorentz-drude-1998)" in (refusal.value.found or "")
    found = component("gold-nanorod", NM, optical="gold nanorod 4.5", permittivity="lorentz-drude-1998")
    assert found.name == "gold nanorod 4.5"
    assert found.values.tolist() == spectra.gold_nanorod(4.5, NM).tolist()


def test_every_recorded_absorber_resolves() -> None:
    for agent in ("gold-nanorod", "icg", "ir780"):
        for entry in get(agent).optical:
            found = component(entry, NM)
            assert found.name == entry.component
            assert np.all(found.values > 0.0)


def test_recorded_peaks_of_nanorods_are_those_of_their_generators() -> None:
    """Above 601 nm, where the record of the shortest rod with the measured table begins."""
    wavelength = np.arange(601.0, 1000.0, 0.5)
    for entry in get("gold-nanorod").optical:
        found = component(entry, wavelength)
        peak = entry.peaks[0]
        assert wavelength[found.values.argmax()] == pytest.approx(peak.wavelength_nm.number(), abs=1.0)
        assert peak.molar_extinction_per_m_cm is not None
        assert found.values.max() == pytest.approx(peak.molar_extinction_per_m_cm.number(), rel=0.01)


def test_a_sphere_without_diameter_is_refused() -> None:
    with pytest.raises(MissingMetadata, match="diameter"):
        component("gold-sphere", NM)
    found = component("gold-sphere", NM, diameter_nm=20.0)
    assert found.values.tolist() == spectra.gold_sphere(20.0, NM).tolist()


def test_an_agent_that_does_not_absorb_is_refused() -> None:
    with pytest.raises(UnsupportedInput, match="no absorber"):
        component("aguix", NM)


def test_an_array_is_taken_as_it_is() -> None:
    found = component([1.0, 2.0, 3.0, 4.0], NM, name="dye")
    assert (found.name, found.unit, found.values.tolist()) == ("dye", "", [1.0, 2.0, 3.0, 4.0])
    assert component([1.0, 2.0, 3.0, 4.0], NM, unit="M").unit == "M"
    with pytest.raises(ValueError, match="one number per wavelength"):
        component([1.0, 2.0], NM)
    with pytest.raises(ValueError, match="finite"):
        component([1.0, np.nan, 3.0, 4.0], NM)


def test_a_component_is_matched_by_value_within_half_a_nanometre() -> None:
    """The trap of the sheet: 800 against 800.2, and wavelengths in another order."""
    found = component(component("Hb", NM), (800.2, 700.0))
    assert found.values.tolist() == spectra.molar_extinction("Hb", [800.0, 700.0]).tolist()
    with pytest.raises(UnsupportedInput) as refusal:
        component(component("Hb", NM), (800.0, 703.0))
    assert "703" in (refusal.value.found or "")
    assert "700, 750, 800, 850" in (refusal.value.needed or "")


def test_a_file_is_a_component(tmp_path: Path) -> None:
    path = tmp_path / "own dye.csv"
    path.write_text("wavelength_nm,molar_extinction_per_m_cm\n700,10\n900,30\n")
    for given in (path, str(path), spectra.read_spectrum(path)):
        found = component(given, NM)
        assert found.values.tolist() == [10.0, 15.0, 20.0, 25.0]
        assert found.unit == "M"
    with pytest.raises(UnsupportedInput, match="own dye"):
        component(path, (950.0,))


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ("HbO2", {"diameter_nm": 3.0}),
        ("HbO2", {"unit": "M"}),
        ("gold nanorod 4", {"aspect_ratio": 3.0}),
        ("gold sphere 20", {"aspect_ratio_sd": 0.1}),
        ([1.0, 2.0, 3.0, 4.0], {"permittivity": "lorentz-drude-1998"}),
        ([1.0, 2.0, 3.0, 4.0], {"unit": "mol"}),
        ("HbO2", {"colour": "red"}),
    ],
)
def test_options_that_would_be_ignored_are_refused(given: object, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"apply|unit=|name|takes no"):
        component(given, NM, **options)  # type: ignore[arg-type]


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(NothingUsable) as refusal:
        component("indocyanin green", NM)
    assert "near: icg" in (refusal.value.found or "")
    assert "melanin" in (refusal.value.found or "")


def test_a_carrier_moves_the_spectrum_of_its_dye() -> None:
    wavelength = np.arange(700.0, 900.0, 0.5)
    found = component("v7-ruby", wavelength, shift_nm=15.0)
    assert wavelength[found.values.argmax()] == 795.0
    assert found.values.tolist() == spectra.molar_extinction("IR780", wavelength - 15.0).tolist()
    assert found.wavelength_nm.tolist() == wavelength.tolist()
    assert "shifted-spectrum" in {caution.code for caution in found.cautions}
    for given in ("water", "gold nanorod 4", component("ICG", NM)):
        with pytest.raises(ValueError, match="dye"):
            component(given, NM, shift_nm=5.0)
    with pytest.raises(ValueError, match="50 nm"):
        component("ICG", NM, shift_nm=80.0)
    with pytest.raises(UnsupportedInput, match="indocyanine"):
        component("ICG", (660.0,), shift_nm=5.0)
