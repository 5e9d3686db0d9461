"""The tissue of a frame: which region, in which unit, and areas in mm2."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import imgtheranostics as it
from imgtheranostics.errors import (
    Caution,
    GeometryMismatch,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)

SHAPE = (40, 30)
CM = {
    "spatial_format": "2d",
    "data_type": 1,
    "x0": 5,
    "y0": 2,
    "x1": 34,
    "y1": 21,
    "x_unit": "cm",
    "y_unit": "cm",
    "x_delta": 0.02,
    "y_delta": -0.03,
}
M_MODE = {**CM, "spatial_format": "m_mode", "x_unit": "s", "x_delta": 0.001, "y0": 22, "y1": 29}
UNKNOWN = Caution("pixel-spacing-unknown", "1 mm stands in")


@pytest.fixture
def frame(cine):
    def make(*regions, warnings=()):
        rng = np.random.default_rng(0)
        grey = rng.integers(1, 200, (*SHAPE, 2))
        return cine(grey, regions=regions, warnings=warnings, affine=np.diag([-0.2, -0.3, 1, 1]))

    return make


def test_bounds_are_inclusive(frame):
    mask = it.ultrasound.tissue_mask(frame(M_MODE, CM))
    assert mask.sum() == 30 * 20
    assert mask[5, 2].all()
    assert mask[34, 21].all()
    assert not mask[:, 22:].any()


def test_area_uses_both_deltas_in_cm(frame, boxes):
    volume = frame(CM)
    areas = it.ultrasound.area_mm2(volume, boxes(volume, a=(10, 20, 5, 10), edge=(30, 40, 5, 10)))
    assert areas["a"] == pytest.approx(50 * 0.2 * 0.3)
    assert areas["edge"] == pytest.approx(25 * 0.2 * 0.3), "columns 35 to 39 are no tissue"


@pytest.mark.parametrize("unit", ["none", "percent", "dB", "s", "Hz", "cm/s", "cm2", "deg", "unknown"])
@pytest.mark.parametrize("side", ["x_unit", "y_unit"])
def test_area_in_another_unit_is_refused(frame, boxes, unit, side):
    """Frame and unit trap of the sheet: the same cine in the wrong unit is a hundred times another area."""
    volume = frame({**CM, side: unit})
    with pytest.raises(UnitMismatch, match="cm"):
        it.ultrasound.area_mm2(volume, boxes(volume, a=(10, 20, 5, 10)))


def test_image_without_regions_has_no_area(frame, boxes):
    volume = frame(warnings=[UNKNOWN])
    assert it.ultrasound.tissue_mask(volume).all()
    with pytest.raises(MissingMetadata, match="0018,6011"):
        it.ultrasound.area_mm2(volume, boxes(volume, a=(10, 20, 5, 10)))
    with pytest.raises(MissingMetadata, match="0018,6011"):
        it.ultrasound.crop(volume)
    with pytest.raises(UnsupportedInput, match="no calibrated regions"):
        it.ultrasound.tissue_mask(volume, 0)


def test_only_two_dimensional_regions_enter(frame):
    with pytest.raises(UnsupportedInput, match="no two-dimensional"):
        it.ultrasound.tissue_mask(frame(M_MODE))
    with pytest.raises(UnsupportedInput, match="m_mode"):
        it.ultrasound.tissue_mask(frame(M_MODE, CM), 0)


def test_several_tissue_regions_are_listed_and_chosen_by_number(frame):
    right = {**CM, "x0": 20, "x_delta": 0.04}
    volume = frame({**CM, "x1": 19}, right, warnings=[UNKNOWN])
    with pytest.raises(UnsupportedInput) as caught:
        it.ultrasound.tissue_mask(volume)
    assert "0: 2d, columns 5-19" in str(caught.value)
    assert "1: 2d, columns 20-34" in str(caught.value)
    assert it.ultrasound.tissue_mask(volume, 1)[20:35].any()
    with pytest.raises(UnsupportedInput, match="0 to 1"):
        it.ultrasound.tissue_mask(volume, 2)


def test_cropping_keeps_places_and_takes_the_spacing_of_the_region(frame):
    volume = frame(CM)
    cut = it.ultrasound.crop(volume)
    assert cut.shape == (30, 20, 1, 2)
    assert_allclose(cut.grid.spacing_mm[:2], (0.2, 0.3))
    assert_allclose(cut.data[0, 0, 0], volume.data[5, 2, 0])
    assert_allclose(cut.affine[:3, 3], (volume.affine @ [5, 2, 0, 1])[:3])
    assert it.ultrasound.tissue_mask(cut).all()
    two = frame({**CM, "x1": 19}, {**CM, "x0": 20, "x_delta": 0.04}, warnings=[UNKNOWN])
    right = it.ultrasound.crop(two, 1)
    assert_allclose(right.grid.spacing_mm[:2], (0.4, 0.3))
    assert "pixel-spacing-unknown" not in [caution.code for caution in right.warnings]


def test_regions_beyond_the_image_give_pixels_but_no_lengths(frame, boxes):
    """As in a public file whose image was resized after its calibration."""
    volume = frame({**CM, "x1": 99, "y1": 99})
    assert it.ultrasound.tissue_mask(volume).sum() == 35 * 28
    with pytest.raises(GeometryMismatch, match="cut or resized"):
        it.ultrasound.area_mm2(volume, boxes(volume, a=(10, 20, 5, 10)))
    with pytest.raises(GeometryMismatch, match="cut or resized"):
        it.ultrasound.crop(volume)
    with pytest.raises(GeometryMismatch, match="within the image"):
        it.ultrasound.tissue_mask(frame({**CM, "x0": 60, "x1": 99}))


def test_grey_statistics_are_labelled_as_log_compressed(frame, boxes, codes):
    """Section 5: without a dynamic range only grey-level statistics, labelled so."""
    volume = frame(CM)
    table = it.ultrasound.grey_table(volume, boxes(volume, a=(10, 20, 5, 10)))
    assert (table["quantity"] == "log_compressed_grey").all()
    assert (table["unit"] == "[arb'U]").all()
    assert_allclose(table["mean"], volume.data[10:20, 5:10, 0].mean(axis=(0, 1)), rtol=1e-6)
    assert table["warnings"].str.contains("log-compressed-grey").all()
    assert "log-compressed-grey" in codes(table.attrs["warnings"])
    linear = it.ultrasound.linearise(volume, dynamic_range_db=60)
    with pytest.raises(UnitMismatch, match="grey"):
        it.ultrasound.grey_table(linear, boxes(volume, a=(10, 20, 5, 10)))


@pytest.mark.parametrize("code", ["pixel-spacing-unknown", "slice-thickness-unknown"])
def test_no_table_prints_a_volume_that_nobody_knows(frame, boxes, code):
    volume = frame(warnings=[Caution(code, "a stand-in")])
    assert it.roi_statistics(volume, boxes(volume, a=(10, 20, 5, 10)))["volume_ml"].isna().all()
    known = frame()
    assert it.roi_statistics(known, boxes(known, a=(10, 20, 5, 10)))["volume_ml"].notna().all()


def test_means_over_a_logarithmic_scale_are_labelled_in_every_table(frame, boxes):
    """Linear averaging is enforced where echo is measured; other tables of grey or dB say what they are."""
    volume = frame()
    rois = boxes(volume, a=(10, 20, 5, 10))
    assert it.roi_statistics(volume, rois)["warnings"].str.contains("log-compressed-grey").all()
    decibel = volume.replace(quantity="echo_level", unit="dB")
    assert it.roi_statistics(decibel, rois)["warnings"].str.contains("mean-of-decibels").all()
    linear = it.ultrasound.linearise(volume, dynamic_range_db=60)
    assert not it.roi_statistics(linear, rois)["warnings"].str.contains("decibels|grey").any()


def test_regions_in_pixels_of_the_file_are_not_laid_over_a_turned_image(frame):
    volume = frame(CM)
    turned = volume.reordered(volume.grid.axis_match(it.Grid((30, 40, 1), volume.affine[:, [1, 0, 2, 3]])))
    with pytest.raises(UnsupportedInput, match="turned"):
        it.ultrasound.tissue_mask(turned)
    cut = it.ultrasound.crop(volume)
    there = cut.grid.axis_match(it.Grid((20, 30, 1), cut.affine[:, [1, 0, 2, 3]]))
    assert it.ultrasound.tissue_mask(cut.reordered(there)).all()
