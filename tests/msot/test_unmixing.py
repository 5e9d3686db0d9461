"""Unmixing of spectra against SciPy's nnls, closed forms and the scatter of repeats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from imgtheranostics.errors import IllConditioned, UnitMismatch, UnsupportedInput
from imgtheranostics.msot.spectra import molar_extinction
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


CONDITIONS = {
    10: [700, 730, 750, 760, 780, 800, 820, 840, 850, 880],
    7: [700, 730, 760, 780, 800, 850, 880],
    5: [700, 730, 760, 800, 850],
    3: [700, 780, 850],
}
"""Wavelengths for which msot.md section 6 gives the standard deviation of ICG."""

TRUTH = {"Hb": 30e-6, "HbO2": 70e-6, "ICG": 1e-6}
ICG_SD_NMOL_L = {10: 43.0, 7: 48.0, 5: 62.0, 3: 102.0}


def dye_in_blood(wavelengths):
    """Decadic absorption of 30 umol/L Hb, 70 umol/L HbO2 and 1 umol/L ICG, and its noise of 5 %."""
    signal = sum(amount * molar_extinction(name, wavelengths) for name, amount in TRUTH.items())
    return signal, 0.05 * signal.mean()


@pytest.mark.parametrize("count", CONDITIONS)
def test_dye_in_blood_has_the_published_error_and_condition(count):
    wavelengths = np.array(CONDITIONS[count], float)
    signal, noise = dye_in_blood(wavelengths)
    fit = unmix(signal, wavelengths, list(TRUTH), noise_sd=noise)
    assert [float(fit.parameters[name]) for name in TRUTH] == pytest.approx(list(TRUTH.values()))
    # The sheet rounds to whole nmol/L
    assert 1e9 * float(fit.standard_errors["ICG"]) == pytest.approx(ICG_SD_NMOL_L[count], abs=0.51)
    assert 3.15 < fit.condition_number < 3.65
    assert set(fit.units.values()) == {"mol/L"}


NOISES = {"even": np.ones(7), "uneven": np.array([0.4, 0.6, 2.0, 1.0, 0.5, 1.5, 1.0])}


SCATTER = [
    (method, kind, given)
    for method in ("ls", "wls", "nnls")
    for kind in NOISES
    for given in ("noise", "residuals")
    # Residuals tell one noise for all wavelengths
    if given == "noise" or (kind == "even" and method != "wls")
]


@pytest.mark.parametrize(("method", "kind", "given"), SCATTER)
def test_standard_errors_are_the_scatter_of_repeats(rng, method, kind, given):
    """20,000 repeats tell a standard deviation to 0.5 %; errors may be 3 % off, covariances 5 % of those."""
    wavelengths = np.array(CONDITIONS[7], float)
    signal, noise = dye_in_blood(wavelengths)
    noise = noise * NOISES[kind]
    repeats = signal + noise * rng.standard_normal((20_000, 7))
    fit = unmix(
        repeats, wavelengths, list(TRUTH), method=method, noise_sd=noise if given == "noise" else None
    )
    for name, amount in TRUTH.items():
        values, error = fit.parameters[name], fit.standard_errors[name]
        # As the mean of standard errors: those from residuals scatter themselves
        assert float(error.mean()) == pytest.approx(float(values.std()), rel=0.03)
        assert float(values.mean()) == pytest.approx(amount, abs=4 * float(values.std()) / np.sqrt(20_000))
    shared = np.cov(fit.parameters["Hb"], fit.parameters["HbO2"])
    expected = float(fit.covariance("Hb", "HbO2").mean())
    if given == "residuals":  # c4^2 of 4 degrees of freedom, since a mean of squares is not a square of means
        expected *= 0.8836
    assert expected == pytest.approx(shared[0, 1], abs=0.05 * np.sqrt(shared[0, 0] * shared[1, 1]))


def test_weights_of_the_noise_make_errors_smaller(rng):
    wavelengths = np.array(CONDITIONS[7], float)
    signal, noise = dye_in_blood(wavelengths)
    noise = noise * NOISES["uneven"]
    fits = {
        method: unmix(signal, wavelengths, list(TRUTH), method=method, noise_sd=noise)
        for method in ("ls", "wls", "nnls")
    }
    errors = {method: float(fit.standard_errors["ICG"]) for method, fit in fits.items()}
    assert errors["wls"] < 0.95 * errors["ls"]
    assert errors["nnls"] == errors["wls"]


def test_errors_beside_a_component_that_is_not_there_are_the_scatter_within_a_tenth(rng):
    """Half of the repeats hold the dye at zero: the errors of the others are those without it then."""
    wavelengths = np.array(CONDITIONS[7], float)
    signal = sum(TRUTH[name] * molar_extinction(name, wavelengths) for name in ("Hb", "HbO2"))
    noise = 0.05 * signal.mean()
    fit = unmix(signal + noise * rng.standard_normal((20_000, 7)), wavelengths, list(TRUTH), noise_sd=noise)
    held = fit.flags == Flag.AT_BOUND.value
    assert 0.48 < held.mean() < 0.52
    for name in ("Hb", "HbO2"):
        typical = float(np.sqrt(np.square(fit.standard_errors[name]).mean()))
        assert typical == pytest.approx(float(fit.parameters[name].std()), rel=0.1)
    freely = unmix(signal, wavelengths, list(TRUTH), method="ls", noise_sd=noise)
    assert (fit.parameters["ICG"][held] == 0).all()
    np.testing.assert_allclose(fit.standard_errors["ICG"], freely.standard_errors["ICG"])
    assert (fit.covariance("Hb", "ICG")[held] == 0).all()
    np.testing.assert_allclose(fit.covariance("ICG", "ICG"), fit.standard_errors["ICG"] ** 2)


@pytest.mark.parametrize("method", ["nnls", "ls", "wls"])
def test_shuffled_wavelengths_change_no_bit(rng, method):
    matrix, noise = rng.uniform(0, 1, (10, 4)), rng.uniform(0.05, 0.2, 10)
    spectra = rng.uniform(-1, 2, (500, 4)) @ matrix.T + noise * rng.standard_normal((500, 10))
    first = unmix(spectra, WAVELENGTHS, named(matrix), method=method, noise_sd=noise)
    order = rng.permutation(10)
    other = unmix(
        spectra[:, order], WAVELENGTHS[order], named(matrix[order]), method=method, noise_sd=noise[order]
    )
    for name in first.names:
        np.testing.assert_array_equal(first.parameters[name], other.parameters[name])
        np.testing.assert_array_equal(first.standard_errors[name], other.standard_errors[name])
    np.testing.assert_array_equal(first.rmse, other.rmse)
    assert first.condition_number == pytest.approx(other.condition_number)


def test_noise_of_every_sample_and_of_every_voxel(rng):
    matrix = rng.uniform(0, 1, (10, 3))
    spectra = rng.uniform(-1, 2, (40, 50, 3)) @ matrix.T
    profile, depth = rng.uniform(0.1, 0.2, 10), rng.uniform(1, 5, (40, 50, 1))
    one = unmix(spectra, WAVELENGTHS, named(matrix), noise_sd=profile)
    scaled = unmix(spectra, WAVELENGTHS, named(matrix), noise_sd=profile * depth)
    np.testing.assert_allclose(amounts(scaled), amounts(one), atol=1e-12)
    for name in one.names:
        np.testing.assert_allclose(scaled.standard_errors[name], one.standard_errors[name] * depth[..., 0])
    even = unmix(spectra, WAVELENGTHS, named(matrix), noise_sd=depth)
    plain = unmix(spectra, WAVELENGTHS, named(matrix), noise_sd=1.0)
    for name in one.names:
        np.testing.assert_allclose(even.standard_errors[name], plain.standard_errors[name] * depth[..., 0])


def test_as_many_wavelengths_as_components_leave_no_residuals_to_tell_errors():
    fit = unmix([1.0, 2.0, 3.0], [700, 750, 800], named(np.eye(3)), method="ls")
    assert all(np.isnan(error) for error in fit.standard_errors.values())
    known = unmix([1.0, 2.0, 3.0], [700, 750, 800], named(np.eye(3)), method="ls", noise_sd=0.5)
    assert [float(error) for error in known.standard_errors.values()] == [0.5, 0.5, 0.5]


def test_single_spectra_integers_and_masked_arrays(rng):
    matrix = np.array([[1, 0], [1, 1], [0, 2]])
    whole = unmix(np.array([3, 5, 4]), [700, 750, 800], named(matrix))
    assert [float(value) for value in whole.parameters.values()] == pytest.approx([3.0, 2.0])
    hidden = np.ma.masked_array([[3.0, 5.0, 4.0], [3.0, 5.0, 4.0]], [[0, 0, 0], [0, 1, 0]])
    fit = unmix(hidden, [700, 750, 800], named(matrix))
    assert np.isnan(fit.parameters["c0"]).tolist() == [False, True]


REFUSED = {
    "wls without noise": ({"method": "wls"}, "needs noise_sd"),
    "method": ({"method": "lasso"}, "method must be one of"),
    "noise zero": ({"noise_sd": 0.0}, "above 0"),
    "noise negative": ({"noise_sd": [1.0, -1.0, 1.0]}, "above 0"),
    "noise shape": ({"noise_sd": [1.0, 2.0]}, "noise_sd has shape"),
    "mask": ({"mask": [True, False]}, "mask has shape"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        unmix([1.0, 2.0, 3.0], [700, 750, 800], {"a": [1, 2, 3]}, **options)


def test_noise_that_is_negative_somewhere_is_refused_and_unknown_noise_is_an_unknown_error():
    spectra, noise = np.ones((4, 3)), np.ones((4, 1))
    noise[2] = np.nan
    fit = unmix(spectra, [700, 750, 800], {"a": [1, 2, 3]}, noise_sd=noise)
    assert np.isnan(fit.standard_errors["a"]).tolist() == [False, False, True, False]
    assert np.isfinite(fit.parameters["a"]).all()
    noise[1] = -1
    with pytest.raises(ValueError, match="nowhere negative"):
        unmix(spectra, [700, 750, 800], {"a": [1, 2, 3]}, noise_sd=noise)


def test_spectra_that_do_not_fit_are_refused():
    wavelengths = [700, 750, 800]
    with pytest.raises(ValueError, match="last axis must have 3"):
        unmix([1.0, 2.0], wavelengths, {"a": [1, 2, 3]})
    with pytest.raises(ValueError, match="the spectrum of a has shape"):
        unmix([1.0, 2.0, 3.0], wavelengths, {"a": [1, 2]})
    with pytest.raises(UnsupportedInput, match="no finite number at 750 nm"):
        unmix([1.0, 2.0, 3.0], wavelengths, {"a": [1, np.nan, 3]})
    with pytest.raises(ValueError, match="different names"):
        unmix([1.0, 2.0, 3.0], wavelengths, ["Hb", "Hb"])
    with pytest.raises(ValueError, match="need names"):
        unmix([1.0, 2.0, 3.0], wavelengths, [[1.0, 2.0, 3.0]])
    with pytest.raises(IllConditioned, match="a and b cannot be told apart"):
        unmix([1.0, 2.0, 3.0], wavelengths, {"a": [1, 2, 3], "b": [0, 0, 0]})
    with pytest.raises(ValueError, match="at most 10"):
        unmix(np.ones(31), 700.0 + np.arange(31), named(np.eye(31)[:, :11]))
