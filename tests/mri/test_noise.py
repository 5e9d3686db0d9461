"""The noise level of magnitude images from the air around the object."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.errors import ImplausibleValue, UnsupportedInput
from imgtheranostics.mri.noise import background_noise_sd, estimate_noise
from imgtheranostics.volume import Axis, Volume

TIMES = np.linspace(1.2, 17.7, 12) * 1e-3


def image(sigma, coils=1, n=12, seed=0):
    """A disc with two T2* and a bias field in air, (64, 64, 2, n); and where the disc is."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    disc = np.repeat((x * x + y * y < 0.5)[..., np.newaxis], 2, axis=2)
    t2star = np.where(x > 0, 0.02, 0.004)[..., np.newaxis, np.newaxis]
    true = 100 * (disc * (1 + 0.3 * x[..., np.newaxis]))[..., np.newaxis] * np.exp(-TIMES[:n] / t2star)
    power = np.zeros(true.shape)
    for _ in range(coils):
        power += (true / coils**0.5 + sigma * rng.standard_normal(true.shape)) ** 2
        power += (sigma * rng.standard_normal(true.shape)) ** 2
    return np.sqrt(power), disc


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("n", [1, 2, 12])
@pytest.mark.parametrize("sigma", [0.5, 3.0, 8.0])
def test_search_finds_the_level(sigma, n, coils):
    magnitude, disc = image(sigma, coils, n)
    found = estimate_noise(magnitude, n_coils=coils)
    assert found.sd == pytest.approx(sigma, rel=0.02)
    assert abs(found.sd - sigma) < 4 * found.standard_error + 0.005 * sigma
    assert found.share == pytest.approx(1 - disc.mean(), abs=0.03)
    assert background_noise_sd(magnitude, n_coils=coils) == found.sd


def test_search_takes_the_last_axis_of_a_volume():
    magnitude, _ = image(2.0)
    volume = Volume(magnitude, np.eye(4), "signal", "[arb'U]", (Axis("echo_time", TIMES, "s"),))
    assert background_noise_sd(volume) == pytest.approx(2.0, rel=0.01)
    assert background_noise_sd(volume.frame(3)) == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("n", [1, 12])
@pytest.mark.parametrize("sigma", [0.5, 3.0, 8.0])
def test_without_air_there_is_no_level(sigma, n, coils):
    """Blanked air, and a field of view inside the object, must not pass for noise."""
    magnitude, disc = image(sigma, coils, n)
    with pytest.raises(UnsupportedInput, match="no part of it is distributed like noise") as refusal:
        estimate_noise(magnitude * disc[..., np.newaxis], n_coils=coils)
    assert f"{100 * (1 - disc.mean()):.0f} % of the voxels are exactly 0" in str(refusal.value)
    assert "noise_sd" in str(refusal.value.next_step)
    with pytest.raises(UnsupportedInput):
        estimate_noise(magnitude[20:44, 20:44], n_coils=coils)


def test_filtered_air_is_no_noise():
    magnitude, disc = image(3.0)
    filtered = np.where(disc[..., np.newaxis], magnitude, magnitude**2)
    with pytest.raises(UnsupportedInput):
        estimate_noise(filtered)


def test_uneven_noise_gives_its_mean_level():
    """Corrected for a coil's sensitivity, the noise of a real image differs by some 15 % across the air."""
    rng = np.random.default_rng(3)
    magnitude, _ = image(0.01)
    level = np.linspace(2.5, 3.5, 64)[:, np.newaxis, np.newaxis, np.newaxis]
    noise = level * rng.rayleigh(1.0, magnitude.shape)
    found = estimate_noise(np.hypot(magnitude, noise))
    assert found.sd == pytest.approx(3.0, rel=0.05)


def test_air_of_a_scanner(public_data):
    """NIST phantom, Siemens: the four corners of the field of view, away from the ghosts, hold noise."""
    import imgtheranostics as it

    train = it.load(public_data("mri/nist_phantom/T2/site1_20200218"))
    corners = [train.data[a, b] for a in (slice(12), slice(-12, None)) for b in (slice(12), slice(-12, None))]
    levels = [corner.mean() / 1.2533 for corner in corners]
    assert min(levels) < estimate_noise(train).sd < 1.25 * max(levels)


def test_partly_blanked_air_still_serves():
    magnitude, _ = image(3.0)
    magnitude[:10] = 0.0
    assert estimate_noise(magnitude).sd == pytest.approx(3.0, rel=0.01)


def test_missing_voxels_are_left_out():
    magnitude, _ = image(3.0)
    magnitude[5, 5] = np.nan
    magnitude[6, 6, 0, 0] = np.inf
    assert estimate_noise(magnitude).sd == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize(
    "empty", [np.zeros((8, 8, 1, 3)), np.full((8, 8, 1, 3), np.nan), np.zeros((0, 4, 4, 3))]
)
def test_nothing_to_search_is_refused(empty):
    with pytest.raises(UnsupportedInput):
        estimate_noise(empty)


@pytest.mark.parametrize("method", ["mean", "sd", None])
@pytest.mark.parametrize("coils", [1, 8])
def test_given_background(method, coils):
    """Against the sheet: mean over 1.2533 or SD over 0.6551 for one coil."""
    magnitude, disc = image(3.0, coils)
    found = background_noise_sd(magnitude, background=~disc, n_coils=coils, method=method)
    assert found == pytest.approx(3.0, rel=0.01)
    if coils == 1:
        sample = magnitude[~disc]
        expected = sample.std(ddof=1) / 0.6551 if method == "sd" else sample.mean() / 1.2533
        assert found == pytest.approx(expected, rel=1e-4)


def test_sample_of_background_alone():
    sample = np.random.default_rng(1).rayleigh(2.0, 5000)
    assert background_noise_sd(sample, background=np.ones(5000, bool)) == pytest.approx(2.0, rel=0.03)


def test_background_that_is_no_noise_is_refused():
    magnitude, disc = image(3.0)
    for wrong, coils in ((disc, 1), (~disc, 4)):
        with pytest.raises(ImplausibleValue, match="not noise alone"):
            background_noise_sd(magnitude, background=wrong, n_coils=coils)
    with pytest.raises(ImplausibleValue):
        background_noise_sd(magnitude * disc[..., np.newaxis], background=~disc)


def test_usage():
    magnitude, disc = image(3.0)
    with pytest.raises(ValueError, match="background has shape"):
        background_noise_sd(magnitude, background=disc[:5])
    with pytest.raises(ValueError, match="at least 100"):
        background_noise_sd(magnitude, background=np.zeros_like(disc))
    with pytest.raises(ValueError, match="method"):
        background_noise_sd(magnitude, method="sd")
    with pytest.raises(ValueError, match="method"):
        background_noise_sd(magnitude, background=~disc, method="median")
    with pytest.raises(ValueError, match="n_coils"):
        estimate_noise(magnitude, n_coils=0)
    with pytest.raises(ValueError, match="real numbers"):
        estimate_noise(magnitude.astype(complex))
    with pytest.raises(UnsupportedInput, match="magnitudes"):
        estimate_noise(magnitude - 5)
