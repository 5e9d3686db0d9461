"""Echo enhancement: linear averaging, clipped pixels, standard errors of speckle, baseline, reference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import imgtheranostics as it
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    ImplausibleValue,
    MissingMetadata,
    UnsupportedInput,
)
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions

SHAPE = (64, 80)
ROI = (5, 55, 5, 60)
OTHER = (5, 55, 62, 78)


def rows(table, quantity, region="a"):
    return table[(table.quantity == quantity) & (table.region == region)]


def test_enhancement_is_the_truth_where_averaging_decibels_is_not(cine, boxes, compressed):
    """Issue: half of the pixels rise tenfold. Truth 10 log10(5.5) = 7.40 dB; the mean of dB says 5.00 dB."""
    power = np.full((*SHAPE, 6), 1e3)
    power[::2, :, 3:] *= 10.0
    grey = compressed(power)
    volume = cine(grey)
    table = it.ultrasound.enhancement(
        volume, rois=boxes(volume, a=(4, 54, 5, 60)), baseline_frames=[0, 1, 2], dynamic_range_db=60
    )
    found = rows(table, "echo_enhancement")["mean"].to_numpy()
    # one grey level of 255 is 0.24 dB, so that rounding is up to 0.12 dB
    assert_allclose(found, [0, 0, 0, *[10 * np.log10(5.5)] * 3], atol=0.12)
    of_grey = (grey[4:54, 5:60, 3].mean() - grey[4:54, 5:60, 0].mean()) * 60 / 255
    assert of_grey == pytest.approx(5.0, abs=0.12)
    assert abs(of_grey - found[3]) > 2.3


def test_table_has_the_columns_of_all_tables_and_a_row_per_frame(cine, boxes, compressed):
    volume = cine(compressed(np.full((*SHAPE, 4), 500.0)))
    rois = boxes(volume, a=ROI, b=OTHER)
    table = it.ultrasound.enhancement(volume, rois=rois, baseline_frames=2, dynamic_range_db=60)
    assert tuple(table.columns) == STATISTICS_COLUMNS
    assert len(table) == 2 * 2 * 4
    assert set(table.unit) == {"1", "dB"}
    assert_allclose(rows(table, "echo_enhancement").axis_value, [0, 0.1, 0.2, 0.3])
    assert len(table.attrs["details"]) == len(table)
    assert table.attrs["decisions"]["baseline"]["frames"] == [0, 1]


def test_grey_decibels_and_linear_power_give_one_enhancement(speckle, cine, boxes, compressed):
    rng = np.random.default_rng(0)
    power = np.stack([speckle(rng, SHAPE) * 1e4 * gain for gain in (1, 1, 3)], axis=-1)
    grey = compressed(power)
    level = grey * 60 / 255
    found = []
    for data, quantity, options in (
        (grey, "signal", {"dynamic_range_db": 60}),
        (level, "echo_level", {}),
        (10 ** (level / 10), "echo_intensity", {}),
    ):
        volume = cine(data, quantity)
        table = it.ultrasound.enhancement(volume, rois=boxes(volume, a=ROI), baseline_frames=2, **options)
        found.append(rows(table, "echo_enhancement")["mean"].to_numpy())
    assert_allclose(found[1], found[0], atol=1e-4)
    assert_allclose(found[2], found[0], atol=1e-4)


def test_linear_agent_ladder_has_the_slope_of_theory(speckle, cine, boxes, compressed):
    """U3: 10 dB per decade of agent, 9.22 to 9.57 measured by others is the accepted band below it."""
    rng = np.random.default_rng(4)
    amounts = np.array([1, 3, 10, 30, 100.0])
    power = np.stack([speckle(rng, SHAPE) * 1e3 * amount for amount in amounts], axis=-1)
    volume = cine(compressed(power))
    table = it.ultrasound.enhancement(
        volume, rois=boxes(volume, a=ROI), baseline_frames=[0], dynamic_range_db=60, largest_saturated=0.2
    )
    line = np.polyfit(np.log10(amounts), rows(table, "echo_enhancement")["mean"], 1)
    assert line[0] == pytest.approx(10.0, abs=0.5)


@pytest.mark.parametrize("frozen", [False, True], ids=["new speckle", "frozen speckle"])
def test_standard_errors_are_the_scatter_of_repeats(speckle, cine, boxes, frozen):
    """Within 10 %: of power and enhancement, whether speckle changes from frame to frame or stays."""
    rng = np.random.default_rng(8)
    power, decibels, errors, errors_db = [], [], [], []
    shape = (48, 48)
    for _ in range(150):
        still = speckle(rng, shape)
        frames = [
            (still if frozen else speckle(rng, shape)) * gain + 0.2 * speckle(rng, shape)
            for gain in (1, 1, 3)
        ]
        volume = cine(np.stack(frames, axis=-1) * 1e3, "echo_intensity")
        table = it.ultrasound.enhancement(volume, rois=boxes(volume, a=(3, 45, 3, 45)), baseline_frames=2)
        last, change = rows(table, "echo_intensity").iloc[-1], rows(table, "echo_enhancement").iloc[-1]
        power.append(last["mean"])
        errors.append(last["standard_error"])
        decibels.append(change["mean"])
        errors_db.append(change["standard_error"])
    # the scatter of 150 repeats is known to 6 %
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(power), rel=0.13)
    assert np.sqrt(np.mean(np.square(errors_db))) == pytest.approx(np.std(decibels), rel=0.13)
    naive = 1 / np.sqrt(42 * 42) * np.mean(power)
    assert naive < 0.5 * np.std(power)
    assert (np.std(decibels) < 0.15) == frozen


def test_floor_pixels_are_bounded_and_not_dropped(cine, boxes):
    """Exponential power of mean 8 over a floor at 1: 12 % at the floor. Dropping them is high by 0.5 dB."""
    rng = np.random.default_rng(3)
    power = rng.exponential(8.0, size=(*SHAPE, 4)) * np.array([1, 1, 1, 5.0])
    level = 10 * np.log10(power)
    grey = np.clip(np.rint(255 * level / 60), 0, 255)
    volume = cine(grey)
    table = it.ultrasound.enhancement(
        volume, rois=boxes(volume, a=ROI), baseline_frames=3, dynamic_range_db=60
    )
    inside = power[5:55, 5:60]
    truth = inside.mean(axis=(0, 1))
    found = rows(table, "echo_intensity")["mean"].to_numpy()
    assert_allclose(10 * np.log10(found / truth), 0, atol=0.03)
    first = grey[5:55, 5:60, 0]
    assert 0.1 < (first == 0).mean() < 0.14
    dropped = 10 ** (6 * first[first > 0] / 255)
    assert 10 * np.log10(dropped.mean() / truth[0]) > 0.45
    details = table.attrs["details"]
    assert details[0]["n_floor"] == int((first == 0).sum())
    # half of 12 % of a power of 1.06, over 8
    assert details[0]["floor_open_db"] == pytest.approx(
        4.343 * 0.5 * 1.056 * (first == 0).mean() / 8, rel=0.1
    )
    truth_db = 10 * np.log10(truth / truth[:3].mean())
    assert_allclose(rows(table, "echo_enhancement")["mean"], truth_db, atol=0.03)
    assert "BELOW_NOISE" in rows(table, "echo_intensity")["flags"].iloc[0]


def test_region_at_the_floor_is_refused_not_given_a_number(cine, boxes, codes):
    """All baseline pixels at the floor: the enhancement is at least something, but nobody knows how much."""
    grey = np.zeros((*SHAPE, 4))
    grey[..., 3] = 100
    volume = cine(grey)
    table = it.ultrasound.enhancement(
        volume, rois=boxes(volume, a=ROI), baseline_frames=3, dynamic_range_db=60
    )
    change = rows(table, "echo_enhancement")
    assert change["mean"].isna().all()
    assert change["flags"].str.contains("BELOW_NOISE").all()
    assert rows(table, "echo_intensity")["mean"].notna().tolist() == [False, False, False, True]
    assert "floor-pixels" in codes(table.attrs["warnings"])


def test_few_saturated_pixels_are_told_and_more_are_refused(speckle, cine, boxes, compressed, codes):
    """U2, and bad input of the issue: of speckle the mean is low by the saturated share; 1 % is the limit."""
    rng = np.random.default_rng(6)
    top = 1e6
    power = np.stack([speckle(rng, SHAPE) * top * share for share in (0.05, 0.05, 0.19, 1.0)], axis=-1)
    volume = cine(compressed(power))
    rois = boxes(volume, a=ROI)
    table = it.ultrasound.enhancement(volume, rois=rois, baseline_frames=2, dynamic_range_db=60)
    change = rows(table, "echo_enhancement")
    assert change["mean"].notna().tolist() == [True, True, True, False]
    assert change["standard_error"].notna().tolist() == [True, True, True, False]
    saturated = (volume.data[5:55, 5:60, 0] == 255).sum(axis=(0, 1))
    assert 0 < saturated[2] <= 0.01 * 2750
    assert change["flags"].iloc[2] == f"SATURATED:{saturated[2]}"
    assert f"SATURATED:{saturated[3]}" in change["flags"].iloc[3]
    assert "saturated-pixels" in codes(table.attrs["warnings"])
    # with the limit raised the number is a lower bound: of exponential power by the saturated share
    bound = it.ultrasound.enhancement(
        volume, rois=rois, baseline_frames=2, dynamic_range_db=60, largest_saturated=1.0
    )
    linear = rows(bound, "echo_intensity")["mean"].iloc[3]
    truth = power[5:55, 5:60, 3].mean()
    assert linear / truth == pytest.approx(1 - saturated[3] / 2750, abs=0.05)


def test_cine_that_is_saturated_all_over_is_refused(cine, boxes):
    volume = cine(np.full((*SHAPE, 4), 255.0))
    with pytest.raises(ImplausibleValue, match="saturated"):
        it.ultrasound.enhancement(volume, rois=boxes(volume, a=ROI), baseline_frames=2, dynamic_range_db=60)


def test_saturated_baseline_leaves_no_enhancement(cine, boxes):
    grey = np.full((*SHAPE, 4), 100.0)
    grey[:, :, 0] = 255
    volume = cine(grey)
    table = it.ultrasound.enhancement(
        volume, rois=boxes(volume, a=ROI), baseline_frames=2, dynamic_range_db=60
    )
    assert rows(table, "echo_enhancement")["mean"].isna().all()
    assert rows(table, "echo_intensity")["mean"].notna().tolist() == [False, True, True, True]


def test_dynamic_range_is_needed(cine, boxes):
    volume = cine(np.full((*SHAPE, 3), 100.0))
    with pytest.raises(MissingMetadata, match="--dynamic-range"):
        it.ultrasound.enhancement(volume, rois=boxes(volume, a=ROI), baseline_frames=1)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (3, [0, 1, 2]),
        ([0, 2], [0, 2]),
        (range(1, 3), [1, 2]),
        (slice(0, 2), [0, 1]),
        ((0, 3), [0, 1, 2]),
        ((2, 0, 1), [0, 1, 2]),
        (np.array([1, 1, 0]), [0, 1]),
    ],
)
def test_baseline_is_a_fixed_list_of_frames(cine, boxes, frames, expected):
    volume = cine(np.full((*SHAPE, 4), 100.0))
    table = it.ultrasound.enhancement(
        volume, rois=boxes(volume, a=ROI), baseline_frames=frames, dynamic_range_db=60
    )
    assert table.attrs["decisions"]["baseline"]["frames"] == expected


@pytest.mark.parametrize("frames", [0, [], [4], [-1, 0], range(9)])
def test_baseline_outside_the_cine_is_refused(cine, boxes, frames):
    volume = cine(np.full((*SHAPE, 4), 100.0))
    with pytest.raises(UnsupportedInput, match="before the agent"):
        it.ultrasound.enhancement(
            volume, rois=boxes(volume, a=ROI), baseline_frames=frames, dynamic_range_db=60
        )


@pytest.mark.parametrize("frames", [(3, 1), (2, 2), 2.5, [0.5, 1], True, "3", [True, False, True, True]])
def test_baseline_that_is_no_frames_is_a_usage_error(cine, boxes, frames):
    """A window that runs backwards is not its two ends, and a mask of frames is not frames 0 and 1."""
    volume = cine(np.full((*SHAPE, 4), 100.0))
    with pytest.raises(ValueError, match="frames"):
        it.ultrasound.enhancement(
            volume, rois=boxes(volume, a=ROI), baseline_frames=frames, dynamic_range_db=60
        )


def test_baseline_that_nobody_states_is_missing(cine, boxes):
    volume = cine(np.full((*SHAPE, 4), 100.0))
    with pytest.raises(MissingMetadata, match="--baseline"):
        it.ultrasound.enhancement(
            volume, rois=boxes(volume, a=ROI), baseline_frames=None, dynamic_range_db=60
        )


@pytest.mark.parametrize(("rise", "told"), [(0.0, False), (0.5, True)])
@pytest.mark.parametrize("n_baseline", [2, 8])
def test_rising_baseline_is_told(speckle, cine, boxes, codes, rise, told, n_baseline):
    """Section 5: a baseline with rising signal is a warning; noise alone is none."""
    rng = np.random.default_rng(12)
    still = speckle(rng, SHAPE)
    gains = 1 + rise * np.arange(10) / n_baseline
    power = np.stack([1e3 * gain * (still + 0.1 * speckle(rng, SHAPE)) for gain in gains], axis=-1)
    volume = cine(power, "echo_intensity")
    table = it.ultrasound.enhancement(volume, rois=boxes(volume, a=ROI), baseline_frames=n_baseline)
    assert ("rising-baseline" in codes(table.attrs["warnings"])) == told
    assert table["warnings"].str.contains("rising-baseline").all() == told


def test_quiet_baselines_are_not_called_rising(speckle, cine, boxes, codes):
    """False alarms: fewer than 3 of 40 cines of noise, where one in a thousand is the rule."""
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(40):
        power = np.stack([speckle(rng, (48, 48)) for _ in range(7)], axis=-1) * 1e3
        volume = cine(power, "echo_intensity")
        table = it.ultrasound.enhancement(volume, rois=boxes(volume, a=(2, 46, 2, 46)), baseline_frames=6)
        found = codes(table.attrs["warnings"])
        alarms += "rising-baseline" in found or "baseline-scatter" in found
    assert alarms < 3


def test_frames_that_scatter_beyond_speckle_have_larger_errors(speckle, cine, boxes, codes):
    """Breathing: the whole region goes up and down by 20 %, which frozen speckle alone does not show."""
    rng = np.random.default_rng(9)
    still = speckle(rng, SHAPE)
    gains = 1 + 0.2 * np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 5.0])
    volume = cine(np.stack([1e3 * g * still for g in gains], axis=-1), "echo_intensity")
    table = it.ultrasound.enhancement(volume, rois=boxes(volume, a=ROI), baseline_frames=10)
    assert "baseline-scatter" in codes(table.attrs["warnings"])
    error = rows(table, "echo_enhancement")["standard_error"].iloc[-1]
    scatter = np.std(gains[:10], ddof=1) * np.sqrt(1 + 1 / 10)
    assert error == pytest.approx(10 / np.log(10) * scatter, rel=0.01)


def test_reference_region_takes_out_what_both_share(speckle, cine, boxes):
    """Report ratios to a reference region: a gain change of 4.8 dB in all of the image is not enhancement."""
    rng = np.random.default_rng(1)
    still = speckle(rng, SHAPE)
    agent = np.ones(SHAPE)
    agent[:60, :61] = 2.0
    frames = [1e3 * still, 1e3 * still, 3e3 * still * agent]
    volume = cine(np.stack(frames, axis=-1), "echo_intensity")
    rois = boxes(volume, a=ROI, muscle=OTHER)
    table = it.ultrasound.enhancement(volume, rois=rois, baseline_frames=2, reference="muscle")
    assert rows(table, "echo_enhancement")["mean"].iloc[-1] == pytest.approx(10 * np.log10(6), abs=1e-4)
    beyond = rows(table, "relative_echo_enhancement")
    assert beyond["mean"].iloc[-1] == pytest.approx(10 * np.log10(2), abs=1e-4)
    assert beyond["standard_error"].iloc[-1] < 1e-4
    ratio = rows(table, "echo_ratio")
    truth = still[5:55, 5:60].mean() * 2 / still[5:55, 62:78].mean()
    assert ratio["mean"].iloc[-1] == pytest.approx(truth, rel=1e-5)
    relative = ratio["standard_error"] / ratio["mean"]
    intensity = [rows(table, "echo_intensity", name) for name in ("a", "muscle")]
    parts = [(one["standard_error"] / one["mean"]).to_numpy() for one in intensity]
    assert_allclose(relative, np.hypot(*parts), rtol=1e-6)
    own = rows(table, "echo_ratio", "muscle")
    assert (own["mean"] == 1).all()
    assert (own["standard_error"] == 0).all()
    with pytest.raises(KeyError, match="liver"):
        it.ultrasound.enhancement(volume, rois=rois, baseline_frames=2, reference="liver")


REGION = {
    "spatial_format": "2d",
    "data_type": 1,
    "x0": 0,
    "y0": 0,
    "x1": 29,
    "y1": 79,
    "x_unit": "cm",
    "y_unit": "cm",
    "x_delta": 0.01,
    "y_delta": 0.01,
}


def test_pixels_outside_the_tissue_never_enter(cine, boxes, codes):
    """A region of interest that reaches into the colour bar: its bright pixels do not count."""
    power = np.full((*SHAPE, 3), 1e3)
    power[30:] = 1e5
    volume = cine(power, "echo_intensity", regions=(REGION,))
    table = it.ultrasound.enhancement(volume, rois=boxes(volume, a=(10, 40, 10, 40)), baseline_frames=2)
    assert_allclose(rows(table, "echo_intensity")["mean"], 1e3)
    assert (table["n_voxels"] == 20 * 30).all()
    assert "outside-tissue" in codes(table.attrs["warnings"])
    with pytest.raises(GeometryMismatch, match="outside the tissue"):
        it.ultrasound.enhancement(volume, rois=boxes(volume, a=(35, 50, 10, 40)), baseline_frames=2)


def test_one_of_several_tissue_regions_has_to_be_chosen(cine, boxes):
    other = {**REGION, "x0": 30, "x1": 63}
    volume = cine(np.full((*SHAPE, 3), 1e3), "echo_intensity", regions=(REGION, other))
    rois = boxes(volume, a=(35, 50, 10, 40))
    with pytest.raises(UnsupportedInput, match="2 tissue regions") as caught:
        it.ultrasound.enhancement(volume, rois=rois, baseline_frames=2)
    assert "columns 30-63" in str(caught.value)
    table = it.ultrasound.enhancement(volume, rois=rois, baseline_frames=2, region=1)
    assert (table["n_voxels"] == 15 * 30).all()


def test_missing_pixels_are_left_out_of_both_frames(cine, boxes):
    """NaN that a moved frame leaves at its edge: the same pixels are compared with the baseline."""
    power = np.tile(np.linspace(1e3, 5e3, SHAPE[0])[:, np.newaxis, np.newaxis], (1, SHAPE[1], 3))
    power[:20, :, 2] = np.nan
    volume = cine(power, "echo_intensity")
    table = it.ultrasound.enhancement(volume, rois=boxes(volume, a=ROI), baseline_frames=2)
    change = rows(table, "echo_enhancement")
    assert_allclose(change["mean"], 0, atol=1e-5)
    assert change["n_valid"].tolist() == [2750, 2750, 35 * 55]


def test_single_images_and_other_grids_are_refused(cine, boxes):
    volume = cine(np.full((*SHAPE, 3), 100.0))
    rois = boxes(volume, a=ROI)
    with pytest.raises(UnsupportedInput, match="cine"):
        it.ultrasound.enhancement(volume.frame(0), rois=rois, baseline_frames=1, dynamic_range_db=60)
    elsewhere = Regions(rois.labels, rois.names, it.Grid(rois.grid.shape, np.diag([-0.2, -0.1, 1, 1])))
    with pytest.raises(GeometryMismatch):
        it.ultrasound.enhancement(volume, rois=elsewhere, baseline_frames=1, dynamic_range_db=60)


def test_volumes_in_ml_need_a_known_pixel_size(cine, boxes):
    unknown = cine(np.full((*SHAPE, 3), 100.0), warnings=[Caution("pixel-spacing-unknown", "1 mm stands in")])
    table = it.ultrasound.enhancement(
        unknown, rois=boxes(unknown, a=ROI), baseline_frames=1, dynamic_range_db=60
    )
    assert table["volume_ml"].isna().all()
    known = cine(np.full((*SHAPE, 3), 100.0))
    table = it.ultrasound.enhancement(known, rois=boxes(known, a=ROI), baseline_frames=1, dynamic_range_db=60)
    assert_allclose(table["volume_ml"], 2750 * 0.1 * 0.1 * 1.0 / 1000)


def test_the_caller_s_image_is_not_changed(cine, boxes):
    volume = cine(np.full((*SHAPE, 3), 100.0))
    before = volume.data.copy()
    it.ultrasound.enhancement(volume, rois=boxes(volume, a=ROI), baseline_frames=1, dynamic_range_db=60)
    assert_array_equal(volume.data, before)
