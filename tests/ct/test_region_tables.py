"""Regions of CT maps: standard errors from blank tissue, limits of detection, contrast, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.ct.blank_regions import default_blanks
from imgtheranostics.errors import GeometryMismatch, MissingMetadata, UnitMismatch
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.volume import Flag, Volume

SHAPE = (56, 56, 20)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
BEAM = CtAcquisition(tube_voltage_kv=120.0, kernel="B30f", slice_thickness_mm=2.0)
SLOPE = ct.Slope(26.6, 0.5, "HfO2", kvp=120.0)


def noise(rng, sd=10.0, smoothing=1.0):
    field = ndimage.gaussian_filter(rng.standard_normal(SHAPE), smoothing, mode="wrap")
    return sd * field * (2.0 * math.sqrt(math.pi) * smoothing) ** 1.5


def body():
    i, j, _ = np.indices(SHAPE)
    return np.where(np.hypot(i - 28, j - 28) < 26, 40.0, -1000.0)


def ball(i, j, k, radius):
    return np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - [i, j, k], axis=-1) < radius


TUMOUR, MUSCLE = ball(36, 30, 10, 5), ball(16, 22, 10, 5)


def scan(hu):
    return Volume(hu, AFFINE, "attenuation", "[HU]", acquisition=BEAM)


def pair_of(rng, change=142.0):
    return scan(body() + noise(rng)), scan(body() + change * TUMOUR + noise(rng))


@pytest.fixture
def maps(rng):
    change = ct.enhancement(*pair_of(rng))
    return change, ct.concentration(change, material="HfO2", slope=SLOPE)


@pytest.fixture
def regions(maps):
    return Regions.from_masks({"tumour": TUMOUR, "muscle": MUSCLE}, maps[0].grid)


def row_of(table, region, quantity):
    (row,) = table.loc[(table["region"] == region) & (table["quantity"] == quantity)].to_dict("records")
    return row


def test_rows_and_columns(maps, regions):
    table = ct.region_table(maps, regions)
    assert tuple(table.columns) == STATISTICS_COLUMNS
    assert table["quantity"].value_counts().to_dict() == {
        "delta_attenuation": 2,
        "concentration": 2,
        "contrast_to_noise": 2,
        "detection_limit": 2,
        "quantification_limit": 2,
        "detectable_share": 2,
    }
    assert len(table.attrs["details"]) == len(table)


def test_mean_error_limits_and_contrast_of_a_region(maps, regions):
    change, agent = maps
    table = ct.region_table(maps, regions)
    noise_of_mean = ct.blank_noise(change, TUMOUR, default_blanks(change, regions))
    row = row_of(table, "tumour", "delta_attenuation")
    assert row["mean"] == pytest.approx(change.value.data[TUMOUR].mean(), rel=1e-6)
    assert row["standard_error"] == pytest.approx(noise_of_mean.standard_error, rel=1e-9)
    assert row["standard_error"] > 3 * 14.1 / math.sqrt(TUMOUR.sum())  # what sigma / sqrt(N) would say
    row = row_of(table, "tumour", "concentration")
    assert row["mean"] == pytest.approx(5.338, abs=4 * row["standard_error"])
    own = noise_of_mean.standard_error / 26.6
    assert row["standard_error"] == pytest.approx(math.hypot(own, row["mean"] * 0.5 / 26.6), rel=1e-4)
    lod = row_of(table, "tumour", "detection_limit")
    assert lod["mean"] == pytest.approx(3.3 * noise_of_mean.sd / 26.6, rel=1e-4)
    assert row_of(table, "tumour", "quantification_limit")["mean"] == pytest.approx(lod["mean"] / 0.33)
    contrast = row_of(table, "tumour", "contrast_to_noise")
    assert contrast["mean"] == pytest.approx(142.0 / math.sqrt(200.0), rel=0.1)
    assert row_of(table, "tumour", "detectable_share")["mean"] > 99.0
    assert row_of(table, "muscle", "detectable_share")["mean"] < 1.0
    assert agent.calibration_relative == pytest.approx(0.5 / 26.6)


def test_standard_error_is_the_scatter_of_repeated_scans():
    """Mean concentration over 60 pairs of scans: its SD equals the noise part of the stated error."""
    rng = np.random.default_rng(3)
    regions = Regions.from_masks({"tumour": TUMOUR}, scan(body()).grid)
    means, stated = [], []
    for _ in range(60):
        change = ct.enhancement(*pair_of(rng), noise_sd=10.0, workers=1)
        row = row_of(ct.region_table(change, regions, workers=1), "tumour", "delta_attenuation")
        means.append(row["mean"])
        stated.append(row["standard_error"])
    assert np.mean(means) == pytest.approx(142.0, abs=4 * np.std(means) / math.sqrt(60))
    assert np.mean(stated) == pytest.approx(np.std(means, ddof=1), rel=4 / math.sqrt(120))


def test_details_tell_what_the_error_rests_on(maps, regions):
    table = ct.region_table(maps, regions)
    detail = table.attrs["details"][0]
    assert detail["region"] == "tumour"
    assert detail["n_blanks"] >= 8
    assert detail["false_positive_rate_at_lod"] == ct.false_positive_rate(detail["n_blanks"])
    assert detail["blank_sd"] * 3.3 / 26.6 == pytest.approx(
        row_of(table, "tumour", "detection_limit")["mean"], rel=1e-4
    )


def test_blanks_as_a_mask_and_as_the_name_of_a_region(maps):
    grid = maps[0].grid
    around = (body() > 0) & ~ball(36, 30, 10, 8)
    regions = Regions.from_masks({"tumour": TUMOUR, "background": around}, grid)
    by_name = ct.region_table(maps, regions, blanks="background")
    by_mask = ct.region_table(maps, regions, blanks=around)
    for table in (by_name, by_mask):
        row = row_of(table, "tumour", "delta_attenuation")
        assert row["standard_error"] == pytest.approx(ct.blank_noise(maps[0], TUMOUR, around).standard_error)
    assert math.isfinite(row_of(by_name, "background", "delta_attenuation")["standard_error"])
    with pytest.raises(ValueError, match="no region 'fat'"):
        ct.region_table(maps, regions, blanks="fat")


def test_blanks_are_soft_tissue_away_from_every_region(maps, regions):
    blank = default_blanks(maps[0], regions)
    assert not (blank & (body() < 0)).any()
    assert not (blank & ndimage.binary_dilation(TUMOUR | MUSCLE, np.ones((5, 5, 5)))).any()
    assert blank.sum() > 0.7 * (body() > 0).sum()


def test_noise_leaves_no_holes_in_blank_tissue():
    """100 HU, as of a fast micro-CT: one voxel in a hundred leaves the range of soft tissue by chance."""
    rng = np.random.default_rng(2)
    pre, post = (scan(body() + noise(rng, sd=100.0, smoothing=0.6)) for _ in range(2))
    change = ct.enhancement(pre, post, noise_sd=100.0)
    regions = Regions.from_masks({"tumour": TUMOUR}, change.grid)
    row = row_of(ct.region_table(change, regions), "tumour", "delta_attenuation")
    assert "no-blank-tissue" not in row["warnings"]
    inner = np.hypot(*(np.indices(SHAPE)[:2] - 28)) < 24
    away = ~ndimage.binary_dilation(TUMOUR, np.ones((5, 5, 5)))
    assert default_blanks(change, regions)[inner & away].mean() > 0.999


def test_where_no_blank_tissue_is_known_it_must_be_given(maps, regions):
    from dataclasses import replace

    bare = replace(maps[0], maps={})
    with pytest.raises(MissingMetadata, match="where tissue without the agent is"):
        ct.region_table(bare, regions)
    assert len(ct.region_table(bare, regions, blanks=body() > 0))


def test_a_region_without_room_for_blanks_keeps_the_spread_of_its_voxels(maps):
    whole = Regions.from_masks({"body": body() > 0}, maps[0].grid)
    table = ct.region_table(maps, whole)
    row = row_of(table, "body", "concentration")
    assert "no-blank-tissue" in row["warnings"]
    assert row["standard_error"] > 0
    assert math.isnan(row_of(table, "body", "detection_limit")["mean"])
    assert "no-blank-tissue" in [caution.code for caution in table.attrs["warnings"]]


def test_means_below_their_limit_are_marked(maps, regions):
    table = ct.region_table(maps, regions)
    assert "below-detection-limit" in row_of(table, "muscle", "concentration")["warnings"]
    assert "below-detection-limit" not in row_of(table, "tumour", "concentration")["warnings"]


def test_means_below_zero_by_more_than_noise_are_told(rng, maps, regions):
    swapped = ct.concentration(ct.enhancement(*reversed(pair_of(rng))), material="HfO2", slope=SLOPE)
    table = ct.region_table(swapped, regions)
    assert "negative-amount" in row_of(table, "tumour", "concentration")["warnings"]
    assert "negative-amount" not in row_of(table, "muscle", "concentration")["warnings"]
    (told,) = (note for note in table.attrs["warnings"] if note.code == "negative-amount")
    assert "in tumour:" in told.message
    straight = ct.region_table(maps, regions)
    assert not straight["warnings"].str.contains("negative-amount").any()


def test_saturated_voxels_and_padding_are_counted_and_told(rng):
    pre, post = (volume.data.copy() for volume in pair_of(rng))
    post[36:38, 30, 10] = 3071.0
    pre[MUSCLE & (np.indices(SHAPE)[2] > 11)] = np.nan
    change = ct.enhancement(scan(pre), scan(post))
    regions = Regions.from_masks({"tumour": TUMOUR, "muscle": MUSCLE}, change.grid)
    table = ct.region_table(change, regions)
    row = row_of(table, "tumour", "delta_attenuation")
    assert row["n_valid"] == row["n_voxels"] - 2
    assert "SATURATED:2" in row["flags"]
    assert "saturated-in-region" in row["warnings"]
    assert "streaks-possible" in row["warnings"]
    assert "partly-outside" in row_of(table, "muscle", "delta_attenuation")["warnings"]
    codes = [caution.code for caution in table.attrs["warnings"]]
    assert {"saturated-in-region", "partly-outside"} <= set(codes)


def test_slices_with_metal_are_told_for_regions_that_hold_none_of_it(rng):
    pre, post = pair_of(rng)
    bright = post.data.copy()
    bright[28, 50, 14] = 3071.0
    change = ct.enhancement(pre, scan(bright))
    low = ball(30, 20, 4, 3)
    regions = Regions.from_masks({"tumour": TUMOUR, "low": low}, change.grid)
    table = ct.region_table(change, regions)
    codes = row_of(table, "tumour", "delta_attenuation")["warnings"].split(";")
    assert "streaks-possible" in codes
    assert "saturated-in-region" not in codes
    assert "streaks-possible" not in row_of(table, "low", "delta_attenuation")["warnings"]


def test_share_of_detectable_voxels_has_a_binomial_error(maps):
    """Half of the region is agent: share p with sqrt(p (1 - p) / n) of independent voxels, n below all."""
    half = TUMOUR | ball(26, 40, 10, 5)
    table = ct.region_table(maps, Regions.from_masks({"both": half}, maps[0].grid))
    row = row_of(table, "both", "detectable_share")
    assert row["mean"] == pytest.approx(50.0, abs=2.0)
    assert row["standard_error"] > 100 * math.sqrt(0.25 / half.sum())
    assert row["standard_error"] < 50.0


def test_a_region_outside_of_the_field_of_view_is_refused(rng):
    pre, post = pair_of(rng)
    holes = post.data.copy()
    holes[MUSCLE] = np.nan
    change = ct.enhancement(pre, scan(holes))
    regions = Regions.from_masks({"tumour": TUMOUR, "muscle": MUSCLE}, change.grid)
    with pytest.raises(GeometryMismatch, match="outside of the field of view") as refused:
        ct.region_table(change, regions)
    assert "muscle" in str(refused.value)


def test_regions_on_another_grid_are_refused(maps):
    far = np.array(AFFINE)
    far[:3, 3] = 400.0
    regions = Regions.from_masks({"tumour": TUMOUR}, Volume(body(), far, "attenuation", "[HU]").grid)
    with pytest.raises(GeometryMismatch, match="another grid"):
        ct.region_table(maps, regions)


def test_tissue_that_changed_without_agent_is_told(rng):
    """A drift of 15 HU between the scans: more than the noise of the mean of all blanks; not subtracted."""
    pre, post = pair_of(rng)
    change = ct.enhancement(pre, post.replace(data=post.data + 15.0))
    regions = Regions.from_masks({"tumour": TUMOUR}, change.grid)
    table = ct.region_table(change, regions)
    assert "blank-tissue-changed" in [caution.code for caution in table.attrs["warnings"]]
    assert row_of(table, "tumour", "delta_attenuation")["mean"] == pytest.approx(157.0, abs=10.0)


def test_table_without_maps_is_refused(regions):
    with pytest.raises(ValueError, match="at least one map"):
        ct.region_table([], regions)


def test_region_changes_equal_the_map(rng):
    pre, post = pair_of(rng)
    bright = post.data.copy()
    bright[36, 30, 10] = 3071.0
    post = scan(bright)
    regions = Regions.from_masks({"tumour": TUMOUR, "middle": ball(34, 30, 10, 3)}, pre.grid)
    assert regions.labels.shape[3] == 2  # they overlap
    found = ct.region_changes(pre, post, regions, slope=SLOPE, noise_sd=10.0)
    agent = ct.concentration(ct.enhancement(pre, post, noise_sd=10.0), material="HfO2", slope=SLOPE)
    for name, inside in (("tumour", TUMOUR), ("middle", ball(34, 30, 10, 3))):
        (row,) = found.loc[found["region"] == name].to_dict("records")
        change = (post.data - pre.data)[inside & (bright < 3071)].astype(float)
        assert row["n_voxels"] == inside.sum()
        assert row["n_saturated"] == 1
        assert row["n_valid"] == change.size
        assert row["volume_ml"] == pytest.approx(inside.sum() * 8e-3)
        measured = [row[f"{key}_hu"] for key in ("mean", "sd", "min", "max")]
        expected = [change.mean(), change.std(ddof=1), change.min(), change.max()]
        assert measured == pytest.approx(expected, rel=1e-9)
        values = agent.value.data[inside]
        assert row["concentration_mg_ml"] == pytest.approx(np.nanmean(values), rel=1e-5)
        assert row["concentration_sd"] == pytest.approx(np.nanstd(values, ddof=1), rel=1e-4)
        assert row["calibration_error"] == pytest.approx(row["concentration_mg_ml"] * 0.5 / 26.6)
        flags = agent.flags.data[inside]
        above = np.count_nonzero(flags == 0) / change.size
        assert row["lod_mg_ml"] == pytest.approx(3.3 * math.sqrt(200.0) / 26.6)
        assert row["share_above_lod"] == pytest.approx(above, abs=1e-9)
    assert not np.any((agent.flags.data & Flag.MASKED_OUT) != 0)


def test_region_changes_check_the_scans(rng):
    pre, post = pair_of(rng)
    regions = Regions.from_masks({"tumour": TUMOUR}, pre.grid)
    other = post.replace(acquisition=CtAcquisition(tube_voltage_kv=80.0))
    with pytest.raises(UnitMismatch, match="tube voltage"):
        ct.region_changes(pre, other, regions)
    shifted = np.array(AFFINE)
    shifted[0, 3] = 1.0
    with pytest.raises(GeometryMismatch, match="different grids"):
        ct.region_changes(pre, post.replace(affine=shifted), regions)
    with pytest.raises(UnitMismatch, match="another tube voltage"):
        ct.region_changes(pre, post, regions, slope=ct.Slope(23.0, 0.5, "I", kvp=140.0))


def test_region_changes_without_a_slope(rng):
    pre, post = pair_of(rng)
    numbers = Regions(TUMOUR * 70_000 + MUSCLE * 2, {70_000: "tumour", 2: "muscle"}, pre.grid)
    found = ct.region_changes(pre, post, numbers)
    assert list(found["region"]) == ["tumour", "muscle"]
    assert found["mean_hu"][0] == pytest.approx(142.0, abs=10.0)
    assert "concentration_mg_ml" not in found


def test_an_outline_of_the_body_leaves_its_tissue_to_the_blanks(maps):
    """Contours of treatment planning hold the whole body; what is blank is as if it were not drawn."""
    outline = body() > 0
    drawn = Regions.from_masks({"tumour": TUMOUR, "body": outline}, maps[0].grid)
    alone = Regions.from_masks({"tumour": TUMOUR}, maps[0].grid)
    np.testing.assert_array_equal(default_blanks(maps[0], drawn), default_blanks(maps[0], alone))
    table = ct.region_table(maps[1], drawn)
    assert "no-blank-tissue" not in row_of(table, "tumour", "concentration")["warnings"]
