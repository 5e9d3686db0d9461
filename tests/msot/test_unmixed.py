"""What can be detected after unmixing: limits by the noise of a voxel and by blank tissue."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import imgtheranostics as it
from imgtheranostics.errors import MissingMetadata
from imgtheranostics.volume import Axis, Volume

WAVELENGTHS = np.array([700.0, 730.0, 760.0, 780.0, 800.0, 850.0, 880.0])
BLOOD = {"Hb": 30.0, "HbO2": 70.0}
NAMES = ("Hb", "HbO2", "ICG")
RATE = norm.sf(3.3)
"""How often normal noise exceeds 3.3 of its standard deviations: 4.83e-4."""


def tissue(rng, icg, *, wavelengths=WAVELENGTHS, noise=0.05):
    """Blood with some dye in each voxel, (i, j, k) umol/L, and noise relative to the mean signal."""
    amounts = {**BLOOD, "ICG": np.asarray(icg)[..., np.newaxis]}
    clean = np.log(10) * sum(
        1e-6 * amount * it.msot.spectra.molar_extinction(name, wavelengths)
        for name, amount in amounts.items()
    )
    blood = np.log(10) * sum(
        1e-6 * amount * it.msot.spectra.molar_extinction(name, wavelengths) for name, amount in BLOOD.items()
    )
    sd = noise * float(blood.mean())
    data = clean + sd * rng.standard_normal((*np.shape(icg), len(wavelengths)))
    axes = (Axis("wavelength", wavelengths, "nm"),)
    return Volume(data, np.eye(4), "optical_absorption", "1/cm", axes), sd


def at_most(share, count, trials):
    """The count is not above what a binomial of that share exceeds once in 10,000 runs."""
    from scipy.stats import binom

    return count <= binom.ppf(0.9999, trials, share)


@pytest.mark.parametrize("method", ["nnls", "ls"])
@pytest.mark.parametrize("given", ["noise", "residuals", "blank"])
def test_blank_tissue_is_detected_as_often_as_stated(rng, method, given):
    """1,000 repeats of blanks of 60 voxels: 4.8e-4 of the voxels, 29 of 60,000, exceed the limit."""
    volume, sd = tissue(rng, np.zeros((60, 100, 10)))
    unmixed = it.msot.unmix(volume, NAMES, method=method, noise_sd=sd if given == "noise" else None)
    blank = np.zeros(volume.grid.shape, bool)
    blank[:5] = True
    mask = unmixed.detected("ICG", blank=blank if given == "blank" else None)
    count = int(np.count_nonzero(mask[5:]))
    assert at_most(RATE, count, 55_000)
    if given != "blank":  # whose one SD from 5,000 voxels moves the rate by a tenth
        assert count >= 8  # binomial: once in 10,000 runs below


def test_few_blank_voxels_raise_the_limit_so_that_the_rate_stays(rng):
    """1,000 repeats, each with a blank of 10 voxels and one reading: at most as many as 4.8e-4 allows."""
    volume, sd = tissue(rng, np.zeros((11, 1000, 1)))
    unmixed = it.msot.unmix(volume, NAMES, noise_sd=sd)
    readings, found = unmixed.estimates["ICG"].value.data[0, :, 0], 0
    for repeat, reading in enumerate(readings):
        blank = np.zeros((11, 1000, 1))
        blank[1:, repeat] = 1
        found += bool(reading > unmixed.limit_of_detection("ICG", blank=blank))
    assert at_most(RATE, found, 1000)


def test_dye_far_above_the_limit_is_detected_and_half_at_the_limit(rng):
    volume, sd = tissue(rng, np.full((20, 20, 5), 1.0))
    strong = it.msot.unmix(volume, NAMES, noise_sd=sd)
    assert strong.detected("ICG").all()
    limit = float(strong.limits("ICG").data[0, 0, 0])
    assert limit == pytest.approx(3.3 * float(strong.estimates["ICG"].standard_error.data[0, 0, 0]))
    volume, sd = tissue(rng, np.full((20, 20, 25), limit))
    share = float(it.msot.unmix(volume, NAMES, noise_sd=sd).detected("ICG").mean())
    assert share == pytest.approx(0.5, abs=0.02)
    assert strong.limits("ICG").unit == "umol/L"


def test_errors_from_few_residuals_need_more_of_them(rng):
    """Two degrees of freedom: Student's t exceeds 32.2 as often as normal noise 3.3."""
    volume, _ = tissue(rng, np.zeros((40, 50, 10)), wavelengths=WAVELENGTHS[[0, 2, 3, 4, 5]])
    unmixed = it.msot.unmix(volume, NAMES, method="ls")
    ratio = unmixed.limits("ICG").data / unmixed.estimates["ICG"].standard_error.data
    # times the mean of a standard deviation with 2 degrees of freedom, 0.8862
    np.testing.assert_allclose(ratio, 32.2 * 0.8862, rtol=2e-3)
    assert at_most(RATE, int(np.count_nonzero(unmixed.detected("ICG"))), 20_000)


def test_limit_from_blanks_follows_their_noise_and_not_their_bound(rng):
    """Half of the blanks are held at zero; the limit is that of the unbounded solution."""
    volume, sd = tissue(rng, np.zeros((40, 50, 5)))
    blank = np.ones(volume.grid.shape)
    held = it.msot.unmix(volume, NAMES, noise_sd=sd)
    freely = it.msot.unmix(volume, NAMES, method="ls", noise_sd=sd)
    assert held.limit_of_detection("ICG", blank=blank) == freely.limit_of_detection("ICG", blank=blank)
    expected = 3.3 * float(freely.estimates["ICG"].standard_error.data[0, 0, 0])
    assert held.limit_of_detection("ICG", blank=blank) == pytest.approx(expected, rel=0.06)


def test_limit_from_blanks_weighs_wavelengths_as_the_maps_do(rng):
    noise = 0.02 * np.array([1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0])
    volume, _ = tissue(rng, np.zeros((40, 50, 5)), noise=0.0)
    volume = volume.replace(data=volume.data + noise * rng.standard_normal(volume.shape))
    held = it.msot.unmix(volume, NAMES, noise_sd=noise)
    expected = it.msot.unmix(volume, NAMES, method="wls", noise_sd=noise).limits("ICG").data[0, 0, 0]
    limit = held.limit_of_detection("ICG", blank=np.ones(volume.grid.shape))
    assert limit == pytest.approx(expected, rel=0.06)


def test_what_is_not_there_is_refused(rng):
    volume, sd = tissue(rng, np.zeros((4, 4, 2)))
    unmixed = it.msot.unmix(volume, NAMES, noise_sd=sd)
    with pytest.raises(ValueError, match="component must be one of Hb, HbO2, ICG"):
        unmixed.detected("gold")
    with pytest.raises(ValueError, match="component must be one of"):
        unmixed.covariance("Hb", "gold")
    with pytest.raises(ValueError, match="blank= must be given"):
        unmixed.limit_of_detection("ICG", blank=None)
    few = np.zeros((4, 4, 2))
    few[0, :2] = 1
    with pytest.raises(MissingMetadata, match="too few blank voxels") as refusal:
        unmixed.limit_of_detection("ICG", blank=few)
    assert refusal.value.found == "4"


def test_covariance_is_that_of_the_arrays(rng):
    volume, sd = tissue(rng, np.zeros((4, 4, 2)))
    unmixed = it.msot.unmix(volume, NAMES, method="ls", noise_sd=sd)
    matrix = 1e-6 * np.log(10) * np.stack(
        [it.msot.spectra.molar_extinction(name, WAVELENGTHS) for name in NAMES], axis=1
    )  # fmt: skip
    expected = sd**2 * np.linalg.inv(matrix.T @ matrix)
    np.testing.assert_allclose(unmixed.covariance("Hb", "HbO2"), expected[0, 1], rtol=1e-5)
    np.testing.assert_allclose(
        unmixed.estimates["ICG"].standard_error.data, np.sqrt(expected[2, 2]), rtol=1e-5
    )
    assert unmixed.condition_number == pytest.approx(3.19, abs=0.01)
