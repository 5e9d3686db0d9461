"""Shipped spectra against what was published or calculated independently (reference sheet, sections 3, 4 and 6)."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.errors import NothingUsable, UnitMismatch, UnsupportedInput
from imgtheranostics.msot import spectra


def test_haemoglobin_equals_the_published_compilation() -> None:
    assert spectra.molar_extinction("HbO2", [700.0, 800.0]).tolist() == [290.0, 816.0]
    assert spectra.molar_extinction("Hb", [700.0, 800.0]).tolist() == [1794.28, 761.72]


def test_isosbestic_point_lies_at_796_8_nm() -> None:
    wavelength = np.arange(780.0, 820.0, 0.01)
    difference = spectra.molar_extinction("HbO2", wavelength) - spectra.molar_extinction("Hb", wavelength)
    crossing = wavelength[np.flatnonzero(np.diff(np.sign(difference)))]
    assert crossing.size == 1
    assert crossing[0] == pytest.approx(796.8, abs=0.1)


def test_extrapolation_is_refused_by_component_and_wavelength() -> None:
    with pytest.raises(UnsupportedInput) as refusal:
        spectra.molar_extinction("Hb", [900.0, 1010.0])
    assert "deoxyhaemoglobin" in str(refusal.value)
    assert "1010" in str(refusal.value)


def test_an_unknown_name_is_refused_with_near_ones() -> None:
    with pytest.raises(NothingUsable, match="near: hbo2"):
        spectra.molar_extinction("Hb02", 800.0)


def test_wavelengths_in_metres_are_refused() -> None:
    with pytest.raises(UnitMismatch, match="metres"):
        spectra.molar_extinction("Hb", [7e-7, 8e-7])
