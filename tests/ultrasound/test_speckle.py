"""Independent speckle cells: the standard error of a mean is the scatter of repeats, for any region."""

from __future__ import annotations

import numpy as np
import pytest

from imgtheranostics.ultrasound.speckle import Patch, count_cells, images_used

SHAPE = (160, 160)


def ellipse(shape, radii):
    x, y = np.indices(shape)
    middle = (np.array(shape) - 1) / 2
    return ((x - middle[0]) / radii[0]) ** 2 + ((y - middle[1]) / radii[1]) ** 2 <= 1


def box(shape, extent):
    mask = np.zeros(shape, bool)
    mask[10 : 10 + extent[0], 10 : 10 + extent[1]] = True
    return mask


def exact_variance(mask, sd):
    """Var(mean) of speckle of mean 1: the Gaussian correlation summed over all pairs of pixels, exactly."""
    padded = tuple(2 * n for n in mask.shape)
    pairs = np.fft.ifft2(np.abs(np.fft.fft2(mask.astype(float), padded)) ** 2).real
    lags = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in padded), indexing="ij")
    correlation = np.exp(-sum(lag**2 / (2 * s**2) for lag, s in zip(lags, sd, strict=True)))
    return float((pairs * correlation).sum()) / mask.sum() ** 2


def pixels_of(mask):
    return np.flatnonzero(mask.ravel(order="F"))


@pytest.mark.parametrize(
    ("mask", "sd", "repeats"),
    [
        (box(SHAPE, (50, 50)), (1.5, 3.0), 240),
        (ellipse(SHAPE, (30, 22)), (2.0, 1.2), 240),
        (box(SHAPE, (12, 120)), (1.5, 1.5), 240),
        (ellipse(SHAPE, (60, 50)), (3.0, 3.0), 160),
    ],
    ids=["box", "ellipse", "strip", "large"],
)
def test_standard_error_of_a_mean_is_the_scatter_of_repeats(speckle, mask, sd, repeats):
    """Within 10 %; beside the exact variance, which the simulation must show as well."""
    rng = np.random.default_rng(11)
    voxels = pixels_of(mask)
    patch = Patch.of(voxels, mask.shape)
    means, variances = [], []
    for _ in range(repeats):
        values = speckle(rng, mask.shape, sd).ravel(order="F")[voxels]
        cells = count_cells(patch, [values])
        means.append(values.mean())
        variances.append(values.var() * cells.variance_factor)
    exact = np.sqrt(exact_variance(mask, sd))
    # the scatter of so many repeats is itself known to 1 / sqrt(2 n)
    assert np.std(means, ddof=1) == pytest.approx(exact, rel=3.5 / np.sqrt(2 * repeats))
    assert np.sqrt(np.mean(variances)) == pytest.approx(exact, rel=0.1)
    naive = np.sqrt(1 / voxels.size)
    assert naive < 0.6 * exact, "pixels are no independent cells"


def test_pixels_without_correlation_are_cells(rng):
    patch = Patch.of(pixels_of(box(SHAPE, (40, 40))), SHAPE)
    cells = count_cells(patch, [rng.exponential(size=1600) for _ in range(4)])
    assert cells.n_effective == pytest.approx(1600, rel=0.05)
    assert cells.variance_factor * 1600 == pytest.approx(1, rel=0.05)


def test_several_images_tell_the_cells_of_a_small_region_better(speckle):
    """A region of 25 cells: single images scatter by a third, ten of them give the exact number in 10 %."""
    rng = np.random.default_rng(5)
    mask = box((64, 64), (25, 25))
    voxels, patch = pixels_of(mask), Patch.of(pixels_of(mask), mask.shape)
    factors = [
        count_cells(
            patch, [speckle(rng, mask.shape, (2.0, 2.0)).ravel(order="F")[voxels] for _ in range(10)]
        ).variance_factor
        for _ in range(40)
    ]
    exact = exact_variance(mask, (2.0, 2.0))
    # the factor belongs to the variance about the region's own mean, 1 - exact
    assert np.mean(factors) == pytest.approx(exact / (1 - exact), rel=0.1)


def test_scale_of_the_images_does_not_matter(speckle):
    rng = np.random.default_rng(2)
    mask = box((64, 64), (30, 30))
    voxels, patch = pixels_of(mask), Patch.of(pixels_of(mask), mask.shape)
    images = [speckle(rng, mask.shape).ravel(order="F")[voxels] for _ in range(3)]
    scaled = [image * factor for image, factor in zip(images, (1.0, 1e6, 1e-6), strict=True)]
    assert count_cells(patch, scaled).n_effective == pytest.approx(count_cells(patch, images).n_effective)


def test_missing_pixels_are_left_out(speckle):
    rng = np.random.default_rng(3)
    mask = box((96, 96), (60, 60))
    voxels, patch = pixels_of(mask), Patch.of(pixels_of(mask), mask.shape)
    image = speckle(rng, mask.shape).ravel(order="F")[voxels]
    holes = image.copy()
    holes[::50] = np.nan
    assert count_cells(patch, [holes]).n_effective == pytest.approx(
        count_cells(patch, [image]).n_effective, rel=0.1
    )


def test_region_within_one_cell_does_not_invent_an_error(speckle):
    rng = np.random.default_rng(3)
    mask = box((96, 96), (6, 6))
    image = speckle(rng, mask.shape, (8.0, 8.0)).ravel(order="F")[pixels_of(mask)]
    cells = count_cells(Patch.of(pixels_of(mask), mask.shape), [image])
    assert np.isnan(cells.variance_factor)
    assert cells.n_effective < 5


@pytest.mark.parametrize("image", [np.ones(16), np.full(16, np.nan), np.zeros(16)])
def test_images_without_variation_leave_as_many_cells_as_pixels(image):
    cells = count_cells(Patch.of(pixels_of(box((8, 8), (4, 4)))[:0], (8, 8)), [])
    assert cells.n_effective == 1.0
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    assert count_cells(Patch.of(pixels_of(mask), (8, 8)), [image]).n_effective == 16


def test_correlations_are_measured_in_few_images_of_large_regions():
    small = Patch.of(pixels_of(box(SHAPE, (10, 10))), SHAPE)
    large = Patch.of(np.arange(1024 * 1024), (1024, 1024))
    assert images_used(small, 300).size == 16
    assert images_used(small, 5).tolist() == [0, 1, 2, 3, 4]
    assert images_used(large, 300).tolist() == [0, 299]


def test_simulated_speckle_is_fully_developed(speckle):
    """U17: power is exponential, SD = mean; amplitude is Rayleigh, SNR 1.913. U18: its dB lie too low."""
    rng = np.random.default_rng(0)
    power = np.stack([speckle(rng, SHAPE) for _ in range(12)])
    assert power.std() / power.mean() == pytest.approx(1.0, abs=0.02)
    amplitude = np.sqrt(power)
    assert amplitude.mean() / amplitude.std() == pytest.approx(1.913, abs=0.02)
    level = 10 * np.log10(power)
    assert level.mean() - 10 * np.log10(power.mean()) == pytest.approx(-2.507, abs=0.03)


def test_structure_across_a_region_makes_no_small_error(speckle):
    """Attenuation by a factor of 30 from top to bottom: what varies is no speckle of many cells."""
    rng = np.random.default_rng(1)
    mask = box((96, 96), (80, 80))
    depth = np.exp(-np.linspace(0, 3.4, 96))[:, np.newaxis]
    values = (depth * speckle(rng, mask.shape)).ravel(order="F")[pixels_of(mask)]
    cells = count_cells(Patch.of(pixels_of(mask), mask.shape), [values])
    assert np.isnan(cells.variance_factor) or cells.n_effective < 80


def test_point_spreads_that_are_not_gaussian_are_told_as_well():
    """A rectangular aperture: sinc across, Gaussian along; the correlation has side lobes."""
    rng = np.random.default_rng(1)
    shape, mask = (96, 96), box((96, 96), (50, 50))
    across, along = np.fft.fftfreq(96), np.fft.fftfreq(96)
    transfer = (np.abs(across) < 0.12)[:, np.newaxis] * np.exp(-((along / 0.12) ** 2))
    voxels, patch = pixels_of(mask), Patch.of(pixels_of(mask), shape)
    means, variances = [], []
    for _ in range(150):
        noise = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        power = np.abs(np.fft.ifft2(np.fft.fft2(noise) * transfer)) ** 2 / (2 * np.mean(transfer**2))
        values = power.ravel(order="F")[voxels]
        means.append(values.mean())
        variances.append(values.var() * count_cells(patch, [values]).variance_factor)
    # the scatter of 150 repeats is known to 6 %
    assert np.sqrt(np.mean(variances)) == pytest.approx(np.std(means, ddof=1), rel=0.13)
