"""Noise bias of magnitudes: SciPy's Rice distribution, errors by repetition, what is below the noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rice

from imgtheranostics.mri.noise_bias import debias, region_amplitude
from imgtheranostics.volume import Flag

N = 20000


def magnitudes(rng, amplitude, noise=1.0, n_coils=1, n=N):
    """Sum of squares over coils; the amplitude is shared by them."""
    channels = noise * rng.normal(size=(n, 2 * n_coils))
    channels[:, 0] += amplitude
    return np.sqrt((channels**2).sum(axis=1))


@given(st.floats(0.1, 1e4), st.floats(1e-3, 10))
def test_formula(amplitude, noise):
    """mri.md F19: sqrt(S^2 - 2 sigma^2)."""
    fit = debias(np.hypot(amplitude, np.sqrt(2) * noise), noise)
    assert float(fit.parameters["amplitude"]) == pytest.approx(amplitude, rel=1e-6, abs=1e-6 * noise)


@pytest.mark.parametrize("n_coils", [1, 4])
@pytest.mark.parametrize("amplitude", [5.0, 10.0, 50.0])
def test_error_is_the_scatter_of_repeats_and_the_mean_square_is_unbiased(rng, amplitude, n_coils):
    """A root bends: the mean amplitude is low by sigma^2 / (2 A), the mean of its square is right."""
    fit = debias(magnitudes(rng, amplitude, n_coils=n_coils), 1.0, n_coils=n_coils)
    value, error = fit.parameters["amplitude"], fit.standard_errors["amplitude"]
    assert np.isfinite(value).mean() > 0.999
    assert np.nanmean(error) == pytest.approx(np.nanstd(value), rel=0.1)
    assert np.nanmean(value**2) == pytest.approx(amplitude**2, abs=5 * np.nanstd(value**2) / np.sqrt(N))
    assert np.nanmean(value) == pytest.approx(
        amplitude - 1 / (2 * amplitude), abs=5 * np.nanstd(value) / np.sqrt(N) + 0.3 / amplitude**2
    )


def test_magnitudes_of_noise_are_nan_and_weak_ones_flagged():
    fit = debias([1.0, 2.0, 3.0, 3.4, np.nan, -1.0], 1.0, detection_snr=3.0)
    np.testing.assert_array_equal(np.isnan(fit.parameters["amplitude"]), [1, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(
        fit.flags,
        [Flag.BELOW_NOISE, Flag.BELOW_NOISE, Flag.BELOW_NOISE, 0, Flag.INVALID_INPUT, Flag.INVALID_INPUT],
    )
    masked = debias([9.0, 9.0], [1.0, 0.0], mask=[True, False])
    np.testing.assert_array_equal(masked.flags, [0, Flag.MASKED_OUT])


@pytest.mark.parametrize("n_coils", [1, 4])
@pytest.mark.parametrize("amplitude", [1.0, 2.0, 20.0])
def test_region_is_unbiased_where_single_voxels_are_not(rng, amplitude, n_coils):
    found = [
        region_amplitude(magnitudes(rng, amplitude, n_coils=n_coils, n=400), 1.0, n_coils=n_coils)
        for _ in range(600)
    ]
    values, errors = (np.array(column, float) for column in zip(*found, strict=True))
    assert values.mean() == pytest.approx(amplitude, abs=4 * values.std() / np.sqrt(600) + 0.03 / amplitude)
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)


def test_region_of_rice_quantiles_gives_back_their_amplitude():
    """The distribution's own second moment, by SciPy."""
    ladder = rice.ppf((np.arange(200_000) + 0.5) / 200_000, 1.5)
    assert float(region_amplitude(ladder, 1.0)[0]) == pytest.approx(1.5, rel=1e-3)


def test_region_of_noise_alone_is_0_within_its_error(rng):
    value, error = region_amplitude(magnitudes(rng, 0.0), 1.0)
    assert 0 <= value < 3 * error
    assert region_amplitude(np.full(10, 0.5), 1.0)[0] == 0.0


def test_region_leaves_out_what_is_not_finite():
    assert region_amplitude([5.0, np.nan, 5.0], 1.0)[0] == region_amplitude([5.0, 5.0], 1.0)[0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"noise_sd": 0.0}, "noise_sd"),
        ({"noise_sd": np.nan}, "noise_sd"),
        ({"n_coils": 0}, "n_coils"),
        ({"detection_snr": 0.5}, "detection_snr"),
    ],
)
def test_choices_that_do_not_fit_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        debias([5.0], **({"noise_sd": 1.0} | options))


def test_a_region_without_noise_or_voxels_is_refused():
    with pytest.raises(ValueError, match="noise_sd"):
        region_amplitude([1.0], 0.0)
    for nothing in ([], [np.nan]):
        with pytest.raises(ValueError, match="no voxel"):
            region_amplitude(nothing, 1.0)
