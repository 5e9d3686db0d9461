"""The table of region statistics: numbers, standard error, labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imgtheranostics.errors import Caution, GeometryMismatch
from imgtheranostics.regions import (
    STATISTICS_COLUMNS,
    Regions,
    correlated_voxels,
    region_curve,
    roi_statistics,
)
from imgtheranostics.volume import Axis, Estimate, Flag, Volume

FWHM = 2.3548200450309493


def box(shape, low, high):
    mask = np.zeros(shape, bool)
    mask[low:high, low:high, low:high] = True
    return mask


def volume(data, **changes):
    return Volume(data, np.diag([2.0, 2.0, 2.0, 1.0]), "suv_bw", "g/mL", **changes)


def estimate(value, relative, flags=None, noise=0.0):
    error = np.hypot(noise, relative * value.data)
    flagged = np.zeros(value.shape, np.uint16) if flags is None else flags
    return Estimate(
        value,
        value.replace(data=error),
        value.replace(data=flagged, quantity="flags", unit="1"),
        calibration_relative=relative,
    )


def test_columns_and_order_are_the_contract():
    table = roi_statistics(
        volume(np.ones((4, 4, 4))),
        Regions.from_masks({"a": np.ones((4, 4, 4))}, volume(np.ones((4, 4, 4))).grid),
    )
    assert tuple(table.columns) == STATISTICS_COLUMNS
    assert STATISTICS_COLUMNS[:7] == (
        "subject",
        "session",
        "region",
        "quantity",
        "unit",
        "axis",
        "axis_value",
    )


def test_numbers_equal_numpy_in_overlapping_regions(rng):
    image = volume(rng.gamma(2.0, size=(12, 12, 12)))
    masks = {"outer": box(image.shape, 1, 11), "inner": box(image.shape, 4, 8)}
    table = roi_statistics(image, Regions.from_masks(masks, image.grid)).set_index("region")
    for name, mask in masks.items():
        voxels = image.data[mask].astype(np.float64)
        row = table.loc[name]
        assert row["n_voxels"] == voxels.size
        assert row["volume_ml"] == pytest.approx(voxels.size * 0.008)
        assert row["mean"] == pytest.approx(voxels.mean(), rel=1e-12)
        assert row["sd"] == pytest.approx(voxels.std(ddof=1), rel=1e-12)
        assert row["median"] == pytest.approx(np.median(voxels), rel=1e-12)
        assert row["p95"] == pytest.approx(np.percentile(voxels, 95), rel=1e-12)


@pytest.mark.parametrize("given", [True, False])
def test_standard_error_predicts_the_scatter_of_smoothed_noise(given, rng):
    """200 repeats of noise with a 3.53-voxel resolution: the mean's scatter against its standard error.

    The tolerance is three standard errors of the observed scatter (1/sqrt(2*199) = 5 %), and 10 % for the
    estimated resolution, which the region's own finite size biases low.
    """
    means, errors = [], []
    mask = box((30, 30, 30), 5, 25)
    for _ in range(200):
        image = volume(gaussian_filter(rng.normal(size=mask.shape), 1.5))
        regions = Regions.from_masks({"a": mask}, image.grid)
        resolution = 1.5 * FWHM * 2.0 if given else None
        row = roi_statistics(image, regions, resolution_mm=resolution).iloc[0]
        means.append(row["mean"])
        errors.append(row["standard_error"])
    assert np.mean(errors) == pytest.approx(np.std(means, ddof=1), rel=0.15 if given else 0.25)


def test_white_noise_counts_every_voxel(rng):
    image = volume(rng.normal(size=(20, 20, 20)))
    table = roi_statistics(image, Regions.from_masks({"a": np.ones(image.shape)}, image.grid))
    assert table.attrs["details"][0]["n_effective"] == pytest.approx(8000, rel=0.1)


def test_correlated_voxels_is_the_gaussian_sum():
    """For a broad Gaussian the sum over lags is the integral sqrt(4 pi) s; s in voxels."""
    for sd in (1.0, 2.0, 5.0):
        neighbour = np.exp(-1.0 / (4.0 * sd**2))
        assert float(correlated_voxels(neighbour)) == pytest.approx(np.sqrt(4 * np.pi) * sd, rel=1e-3)


def test_calibration_part_does_not_shrink_with_voxels():
    image = volume(np.full((10, 10, 10), 4.0))
    table = roi_statistics(estimate(image, 0.05), Regions.from_masks({"a": np.ones(image.shape)}, image.grid))
    assert table["standard_error"][0] == pytest.approx(0.2)
    detail = table.attrs["details"][0]
    assert detail["standard_error_calibration"] == pytest.approx(0.2)
    assert detail["standard_error_sampling"] == 0.0


def test_single_voxel_without_an_error_has_none_in_the_table_either():
    value = volume(np.full((3, 3, 3), 5.0))
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    found = Estimate(
        value,
        value.replace(data=np.full((3, 3, 3), np.nan)),
        value.replace(data=np.zeros((3, 3, 3)), quantity="flags", unit="1"),
    )
    row = roi_statistics(found, Regions.from_masks({"one": mask}, value.grid)).iloc[0]
    assert row["mean"] == 5.0
    assert np.isnan(row["standard_error"])


def test_single_voxel_takes_the_error_of_the_voxel():
    image = volume(np.full((3, 3, 3), 4.0))
    regions = Regions.from_masks({"one": box(image.shape, 1, 2)}, image.grid)
    assert roi_statistics(estimate(image, 0.05, noise=0.3), regions)["standard_error"][0] == pytest.approx(
        np.hypot(0.3, 0.2), rel=1e-6
    )
    assert np.isnan(roi_statistics(image, regions)["standard_error"][0])


def test_nan_voxels_are_counted_and_left_out():
    data = np.ones((4, 4, 4))
    data[0, 0, 0] = np.nan
    flags = np.zeros(data.shape, np.uint16)
    flags[0, 0, 0] = Flag.INVALID_INPUT | Flag.MASKED_OUT
    image = volume(data)
    table = roi_statistics(
        estimate(image, 0.0, flags), Regions.from_masks({"a": np.ones(data.shape)}, image.grid)
    )
    assert (table["n_voxels"][0], table["n_valid"][0], table["mean"][0]) == (64, 63, 1.0)
    assert table["flags"][0] == "MASKED_OUT:1;INVALID_INPUT:1"


def test_empty_region_is_a_row_without_numbers():
    image = volume(np.ones((4, 4, 4)))
    row = roi_statistics(image, Regions.from_masks({"none": np.zeros(image.shape)}, image.grid)).iloc[0]
    assert (row["n_voxels"], row["n_valid"]) == (0, 0)
    assert np.isnan(row[["mean", "standard_error", "median"]].astype(float)).all()


def test_dynamic_series_gives_a_row_per_time_in_order(rng):
    image = volume(rng.normal(size=(4, 4, 4, 3)), axes=(Axis("time", [1.0, 2.0, 5.0], "s"),))
    regions = Regions.from_masks({"a": np.ones((4, 4, 4)), "b": box((4, 4, 4), 1, 3)}, image.grid)
    table = roi_statistics(image, regions)
    assert table["axis_value"].tolist() == [1.0, 1.0, 2.0, 2.0, 5.0, 5.0]
    assert table["mean"].to_numpy().reshape(3, 2) == pytest.approx(region_curve(image, regions), rel=1e-12)


def test_two_axes_are_labelled(rng):
    axes = (Axis("time", [0.0, 1.0], "s"), Axis("wavelength", [700.0, 800.0, 900.0], "nm"))
    image = volume(rng.normal(size=(2, 2, 2, 2, 3)), axes=axes)
    table = roi_statistics(image, Regions.from_masks({"a": np.ones((2, 2, 2))}, image.grid))
    assert table["axis"].unique().tolist() == [f"time at wavelength={w} nm" for w in (700, 800, 900)]
    picked = table[(table["axis"].str.contains("800")) & (table["axis_value"] == 1.0)]
    assert picked["mean"].item() == pytest.approx(image.data[:, :, :, 1, 1].mean(dtype=float))


def test_regions_with_flipped_axes_are_accepted_and_another_grid_is_refused(rng):
    image = volume(rng.normal(size=(4, 5, 6)))
    mask = np.zeros(image.shape, bool)
    mask[0, 1, 2] = True
    flipped = np.diag([-2.0, 2.0, 2.0, 1.0])
    flipped[0, 3] = 2.0 * 3
    regions = Regions.from_masks({"a": mask[::-1]}, Volume(image.data, flipped, "suv_bw", "g/mL").grid)
    assert roi_statistics(image, regions)["mean"][0] == image.data[0, 1, 2]
    moved = image.replace(affine=image.affine + np.array([[0, 0, 0, 5.0], [0] * 4, [0] * 4, [0] * 4]))
    with pytest.raises(GeometryMismatch, match="origin by 5 mm"):
        roi_statistics(moved, Regions.from_masks({"a": mask}, image.grid))


def test_warnings_travel_into_the_table():
    image = volume(np.ones((2, 2, 2)), warnings=(Caution("half-life-differs", "text"),))
    table = roi_statistics(image, Regions.from_masks({"a": np.ones((2, 2, 2))}, image.grid), subject="s1")
    assert (table["warnings"][0], table["subject"][0]) == ("half-life-differs", "s1")


def test_huge_label_numbers_need_no_huge_table(rng):
    image = volume(rng.normal(size=(4, 4, 4)))
    labels = np.zeros(image.shape, np.int32)
    labels[1] = 2**31 - 1
    labels[2] = 7
    regions = Regions(labels, {2**31 - 1: "far", 7: "near"}, image.grid)
    table = roi_statistics(image, regions)
    assert table["region"].tolist() == ["far", "near"]
    assert table["mean"].tolist() == pytest.approx([image.data[n].mean(dtype=float) for n in (1, 2)])
