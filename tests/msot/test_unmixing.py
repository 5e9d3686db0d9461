"""Unmixing of spectra against SciPy's nnls, closed forms and the scatter of repeats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from imgtheranostics.errors import IllConditioned, UnitMismatch, UnsupportedInput
from imgtheranostics.msot.unmixing import unmix
from imgtheranostics.volume import Flag

WAVELENGTHS = np.arange(700.0, 881.0, 20.0)


def named(matrix):
    return {f"c{k}": column for k, column in enumerate(np.transpose(matrix))}


def amounts(fit):
    return np.stack(list(fit.parameters.values()), axis=-1)


def test_amounts_equal_scipy_nnls_and_least_squares(rng):
    matrix = rng.uniform(0, 1, (10, 4))
    spectra = rng.uniform(-1, 2, (300, 4)) @ matrix.T + 0.1 * rng.standard_normal((300, 10))
    fit = unmix(spectra, WAVELENGTHS, named(matrix))
    expected = np.array([nnls(matrix, one)[0] for one in spectra])
    np.testing.assert_allclose(amounts(fit), expected, atol=1e-12)
    assert 0.5 < (fit.flags == Flag.AT_BOUND.value).mean() < 1
    freely = np.linalg.lstsq(matrix, spectra.T, rcond=None)[0].T
    np.testing.assert_allclose(amounts(unmix(spectra, WAVELENGTHS, named(matrix), method="ls")), freely)


def test_components_alike_are_refused_unless_forced():
    line = np.linspace(1.0, 2.0, 10)
    alike = {"a": line, "b": line + 0.001 * line**2}
    with pytest.raises(IllConditioned, match="a and b cannot be told apart"):
        unmix(line, WAVELENGTHS, alike)
    fit = unmix(line, WAVELENGTHS, alike, force=True)
    assert [caution.code for caution in fit.warnings] == ["forced-unmixing"]
    with pytest.raises(IllConditioned, match="condition number above 1e"):
        unmix(line, WAVELENGTHS, {"a": line, "b": 2 * line}, force=True)


def test_fewer_wavelengths_than_components_are_refused():
    with pytest.raises(IllConditioned, match="3 components cannot be told apart by 2 wavelengths"):
        unmix([1.0, 2.0], [700, 800], {"a": [1, 0], "b": [0, 1], "c": [1, 1]})


@pytest.mark.parametrize("wavelengths", [[7e-7, 8e-7], [0.7, 0.8], [700, np.nan]])
def test_wavelengths_that_are_not_nm_are_refused(wavelengths):
    with pytest.raises(UnitMismatch, match="not in nm"):
        unmix([1.0, 2.0], wavelengths, {"a": [1, 2]})


def test_a_repeated_wavelength_is_refused():
    with pytest.raises(UnsupportedInput, match="stands more than once"):
        unmix([1.0, 2.0, 2.0], [700, 800, 800], {"a": [1, 2, 2]})
