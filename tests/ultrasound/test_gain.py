"""Echo gain between two states: ratio of linear means, its error, reference, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import imgtheranostics as it
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnsupportedInput
from imgtheranostics.ultrasound.pixel_change import variance_of_mean

SHAPE = (64, 64)
ROI = (4, 40, 4, 60)
OTHER = (44, 60, 4, 60)


def row(table, region="a", quantity="echo_gain"):
    return table[(table.region == region) & (table.quantity == quantity)].iloc[0]


def test_oxygen_gain_of_the_review_is_the_ratio_of_linear_means(speckle, cine, boxes, compressed):
    """MnO2: 2.25 (P23, within 0.5 % without noise); the mean grey of both states would not tell it."""
    still = speckle(np.random.default_rng(0), SHAPE)
    before, after = (cine((1e4 * gain * still)[..., np.newaxis], "echo_intensity") for gain in (1, 2.25))
    table = it.ultrasound.gain(before, after, rois=boxes(before, a=ROI))
    assert row(table)["mean"] == pytest.approx(2.25, rel=1e-5)
    assert row(table)["standard_error"] < 1e-4
    decibels = row(table, quantity="echo_enhancement")
    assert decibels["mean"] == pytest.approx(10 * np.log10(2.25), abs=1e-4)
    assert decibels["unit"] == "dB"
    grey = [cine(compressed(1e4 * gain * still)[..., np.newaxis]) for gain in (1, 2.25)]
    stored = it.ultrasound.gain(*grey, rois=boxes(before, a=ROI), dynamic_range_db=60)
    assert row(stored)["mean"] == pytest.approx(2.25, rel=0.005)


@pytest.mark.parametrize("n_frames", [1, 6])
def test_standard_error_is_the_scatter_of_repeats(speckle, cine, boxes, n_frames):
    """Within 10 %, for single images and cines of changing speckle; and the mean is 2.25."""
    rng = np.random.default_rng(3)
    ratios, errors = [], []
    shape, rois = (40, 40), None
    for _ in range(120):
        states = [
            cine(
                np.stack([1e3 * gain * speckle(rng, shape) for _ in range(n_frames)], axis=-1),
                "echo_intensity",
            )
            for gain in (1, 2.25)
        ]
        rois = rois or boxes(states[0], a=(2, 38, 2, 38))
        found = row(it.ultrasound.gain(*states, rois=rois))
        ratios.append(np.log(found["mean"]))
        errors.append(found["standard_error"] / found["mean"])
    # the scatter of 120 repeats is known to 6.5 %
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(ratios), rel=0.14)
    assert np.mean(ratios) == pytest.approx(np.log(2.25), abs=4 * np.std(ratios) / np.sqrt(120))


def test_reference_region_divides_out_a_change_of_the_scanner(speckle, cine, boxes):
    rng = np.random.default_rng(1)
    still = speckle(rng, SHAPE)
    factor = np.full(SHAPE, 1.7)
    factor[:42] *= 2.25
    before = cine((1e3 * still)[..., np.newaxis], "echo_intensity")
    after = cine((1e3 * still * factor)[..., np.newaxis], "echo_intensity")
    rois = boxes(before, a=ROI, muscle=OTHER)
    assert row(it.ultrasound.gain(before, after, rois=rois))["mean"] == pytest.approx(1.7 * 2.25, rel=1e-5)
    table = it.ultrasound.gain(before, after, rois=rois, reference="muscle")
    assert row(table)["mean"] == pytest.approx(2.25, rel=1e-5)
    assert row(table, "muscle")["mean"] == 1.0
    assert table.attrs["decisions"]["gain"]["reference"] == "muscle"


def test_receive_gain_that_was_changed_is_taken_out(cine, boxes):
    """10 dB more receive gain in the second scan: the same tissue, 10 dB brighter."""
    before = cine(np.full((*SHAPE, 1), 100.0))
    after = cine(np.full((*SHAPE, 1), 100.0 + 255 / 6))
    rois = boxes(before, a=ROI)
    plain = it.ultrasound.gain(before, after, rois=rois, dynamic_range_db=60, grey_max=255)
    assert row(plain)["mean"] == pytest.approx(10, rel=1e-4)
    taken = it.ultrasound.gain(before, after, rois=rois, dynamic_range_db=60, gain_db=(0, -10))
    assert row(taken)["mean"] == pytest.approx(1, rel=1e-4)


def test_saturated_state_gives_no_gain(cine, boxes, codes):
    before, after = (cine(np.full((*SHAPE, 1), level)) for level in (100.0, 255.0))
    table = it.ultrasound.gain(before, after, rois=boxes(before, a=ROI), dynamic_range_db=60)
    assert np.isnan(row(table)["mean"])
    assert "SATURATED" in row(table)["flags"]
    assert "mean-refused" in codes(table.attrs["warnings"])


def test_small_regions_have_no_error_to_print(speckle, cine, boxes, codes):
    rng = np.random.default_rng(1)
    states = [cine(speckle(rng, SHAPE, (4, 4))[..., np.newaxis], "echo_intensity") for _ in range(2)]
    table = it.ultrasound.gain(*states, rois=boxes(states[0], a=(4, 9, 4, 9)))
    assert np.isfinite(row(table)["mean"])
    assert np.isnan(row(table)["standard_error"])
    assert "few-speckle-cells" in codes(table.attrs["warnings"])


def test_what_cannot_be_compared_is_refused(cine, boxes):
    before = cine(np.full((*SHAPE, 1), 100.0))
    rois = boxes(before, a=ROI)
    with pytest.raises(MissingMetadata, match="--dynamic-range"):
        it.ultrasound.gain(before, before, rois=rois)
    elsewhere = cine(np.full((*SHAPE, 1), 100.0), affine=np.diag([-0.2, -0.1, 1, 1]))
    with pytest.raises(GeometryMismatch):
        it.ultrasound.gain(before, elsewhere, rois=rois, dynamic_range_db=60)
    spectral = before.replace(axes=(it.Axis("component", [0], "1"),))
    with pytest.raises(UnsupportedInput, match="component"):
        it.ultrasound.gain(spectral, spectral, rois=rois, dynamic_range_db=60)
    with pytest.raises(KeyError, match="liver"):
        it.ultrasound.gain(before, before, rois=rois, dynamic_range_db=60, reference="liver")


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_variance_of_a_mean_of_correlated_frames(correlation):
    """AR(1) of coefficient r: (1 + r)/(1 - r)/n, which independent frames would call 1/n."""
    rng = np.random.default_rng(5)
    n, repeats = 60, 400
    noise = rng.normal(size=(n, repeats)) * np.sqrt(1 - correlation**2)
    series = np.empty((n, repeats))
    series[0] = rng.normal(size=repeats)
    for k in range(1, n):
        series[k] = correlation * series[k - 1] + noise[k]
    seen = series.mean(axis=0).std()
    assert np.sqrt(variance_of_mean(series).mean()) == pytest.approx(seen, rel=0.12)
    assert_allclose(variance_of_mean(np.ones((5, 2))), 0)
    assert_allclose(variance_of_mean(np.ones((2, 3))), 0)
