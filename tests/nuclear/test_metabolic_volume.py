"""Tables of lesions against sums over voxels, closed forms, and the published FDG lesion of STS_001."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imgtheranostics.errors import GeometryMismatch, MissingMetadata
from imgtheranostics.io.loading import load
from imgtheranostics.io.regions import load_rois
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.nuclear import lesion_table, percent_id_per_ml, percent_id_per_region, uptake_ratio
from imgtheranostics.nuclear.delineation import delineate, delineation_decision
from imgtheranostics.nuclear.peak import region_peaks
from imgtheranostics.regions import STATISTICS_COLUMNS, Regions
from imgtheranostics.segmentation import (
    adaptive_threshold,
    fixed_threshold,
    fraction_of_maximum,
    gradient_watershed,
    lesion_record,
)
from imgtheranostics.volume import Estimate, Volume


def ball_image(spacing=2.0, radius=14.0, shape=(40, 38, 36), quantity="suv_bw", unit="g/mL"):
    """Falls from 10 in the middle to 1 at the radius along a line, so that sums have a closed form."""
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = -0.5 * spacing * (np.array(shape) - 1)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    r = np.linalg.norm(index * spacing + affine[:3, 3], axis=-1)
    return Volume(np.maximum(10.0 - 9.0 * r / radius, 1.0), affine, quantity, unit)


def with_error(v, relative):
    error = v.replace(data=relative * np.abs(v.data))
    flags = v.replace(data=np.zeros(v.shape), quantity="flags", unit="1")
    return Estimate(v, error, flags, relative)


def boxes(v, **corners):
    masks = {}
    for name, (i, j, k) in corners.items():
        masks[name] = np.zeros(v.grid.shape, bool)
        masks[name][i : i + 5, j : j + 5, k : k + 5] = True
    return Regions.from_masks(masks, v.grid)


def one(table, quantity, region="lesion"):
    rows = table[(table["quantity"] == quantity) & (table["region"] == region)]
    assert len(rows) == 1
    return rows.iloc[0]


def detail(table, quantity, region="lesion"):
    place = table.index[(table["quantity"] == quantity) & (table["region"] == region)][0]
    return table.attrs["details"][place]


def test_volume_and_total_have_their_closed_forms():
    v = ball_image(spacing=0.5, shape=(66, 66, 66))
    lesion = fixed_threshold(v, 4.0, quantity="suv_bw", seeds_mm=[(0, 0, 0)], reach_mm=15.0)
    table = lesion_table(v, lesion)
    radius = 14.0 * 6.0 / 9.0
    volume = 4.0 / 3.0 * math.pi * radius**3 / 1000.0
    # integral of (10 - 9 r/14) over the ball
    total = 4.0 * math.pi * (10.0 * radius**3 / 3.0 - 9.0 / 14.0 * radius**4 / 4.0) / 1000.0
    assert one(table, "metabolic_tumour_volume")["mean"] == pytest.approx(volume, rel=0.01)
    tlg = one(table, "total_lesion_glycolysis")
    assert (tlg["unit"], one(table, "metabolic_tumour_volume")["unit"]) == ("g", "mL")
    assert tlg["mean"] == pytest.approx(total, rel=0.01)
    inside = v.data[lesion.mask("lesion")].astype(float)
    assert tlg["mean"] == pytest.approx(inside.sum() * 1.25e-4, rel=1e-6)
    uptake = one(table, "suv_bw")
    assert uptake["mean"] * one(table, "metabolic_tumour_volume")["mean"] == pytest.approx(tlg["mean"])
    assert uptake["max"] == pytest.approx(inside.max())


def test_the_table_has_the_fixed_columns_and_details_for_each_row():
    v = ball_image()
    lesion = fixed_threshold(v, 4.0, quantity="suv_bw", seeds_mm={"tumour": (0, 0, 0)})
    table = lesion_table(
        v, lesion, references=boxes(v, muscle=(2, 2, 2)), backgrounds=["muscle"], subject="m1"
    )
    assert list(table.columns) == [*STATISTICS_COLUMNS, "interval_low", "interval_high"]
    assert len(table.attrs["details"]) == len(table)
    assert set(table["subject"]) == {"m1"}
    assert table["quantity"].tolist() == [
        "metabolic_tumour_volume",
        "total_lesion_glycolysis",
        "suv_bw",
        "suv_bw",
        "suv_peak",
        "uptake_ratio",
    ]
    assert table["region"].tolist() == ["tumour", "tumour", "tumour", "muscle", "tumour", "tumour/muscle"]


def test_errors_of_volume_and_total_say_what_is_in_them():
    v = ball_image(spacing=0.8, shape=(42, 42, 42))
    lesion = fixed_threshold(v, 4.0, quantity="suv_bw", seeds_mm=[(0, 0, 0)])
    plain = lesion_table(v, lesion)
    assert math.isnan(one(plain, "metabolic_tumour_volume")["standard_error"])
    table = lesion_table(with_error(v, 0.08), lesion, threshold_uncertainty=0.05)
    low = lesion_record(fixed_threshold(v, 3.6, quantity="suv_bw", seeds_mm=[(0, 0, 0)]), "lesion")
    high = lesion_record(fixed_threshold(v, 4.4, quantity="suv_bw", seeds_mm=[(0, 0, 0)]), "lesion")
    volume_error = 0.05 * (low["volume_ml"] - high["volume_ml"]) / 0.2
    assert one(table, "metabolic_tumour_volume")["standard_error"] == pytest.approx(volume_error)
    parts, total = detail(table, "total_lesion_glycolysis"), one(table, "total_lesion_glycolysis")
    assert parts["standard_error_calibration"] == pytest.approx(0.08 * total["mean"])
    assert parts["standard_error_threshold"] == pytest.approx(4.0 * volume_error)
    together = [parts[f"standard_error_{name}"] for name in ("sampling", "calibration", "threshold")]
    assert total["standard_error"] == pytest.approx(math.hypot(*together))
    # moving the threshold by 5 % moves the total by what lies at the edge
    moved = [
        one(
            lesion_table(v, fixed_threshold(v, t, quantity="suv_bw", seeds_mm=[(0, 0, 0)])),
            "total_lesion_glycolysis",
        )
        for t in (3.8, 4.2)
    ]
    assert 0.5 * (moved[0]["mean"] - moved[1]["mean"]) == pytest.approx(4.0 * volume_error, rel=0.05)


def test_the_gradient_has_no_error_of_a_threshold():
    v = ball_image()
    lesion = gradient_watershed(v, seeds_mm=[(0, 0, 0)])
    table = lesion_table(v, lesion, threshold_uncertainty=0.05)
    assert math.isnan(one(table, "metabolic_tumour_volume")["standard_error"])
    assert math.isfinite(one(table, "total_lesion_glycolysis")["standard_error"])


@pytest.mark.parametrize(
    ("quantity", "unit", "total", "total_unit", "peak"),
    [
        ("suv_lbm_janmahasatian", "g/mL", "total_lesion_glycolysis", "g", "sul_peak"),
        ("id_per_ml", "%/mL", "id_per_region", "%", "uptake_peak"),
        ("activity_concentration", "Bq/mL", "region_activity", "Bq", "uptake_peak"),
        ("id_per_g", "%/g", None, None, "uptake_peak"),
        ("suv_bsa", "cm2/mL", None, None, "uptake_peak"),
    ],
)
def test_each_quantity_has_its_total_and_peak(quantity, unit, total, total_unit, peak):
    v = ball_image(quantity=quantity, unit=unit)
    lesion = fraction_of_maximum(v, 0.5, seeds_mm=[(0, 0, 0)])
    table = lesion_table(v, lesion)
    totals = set(table["quantity"]) - {quantity, "metabolic_tumour_volume", peak}
    assert totals == ({total} if total else set())
    if total:
        assert one(table, total)["unit"] == total_unit
    row = one(table, peak)
    assert row["unit"] == unit
    assert row["mean"] == pytest.approx(region_peaks(v, lesion).value[0, 0])
    assert row["mean"] < one(table, quantity)["max"]


def test_total_of_injected_activity_is_that_of_the_region(series):
    v = series(data=np.full((24, 24, 4), 500.0), weight_kg=70.0)
    regions = boxes(v, lesion=(5, 5, 0))
    estimate = percent_id_per_ml(v)
    expected = percent_id_per_region(v, regions).iloc[0]
    found = one(lesion_table(estimate, regions, peak=False), "id_per_region")
    assert found["mean"] == pytest.approx(expected["mean"])
    assert found["standard_error"] == pytest.approx(expected["standard_error"], nan_ok=True)


def test_ratios_of_the_table_are_those_of_the_function():
    v = ball_image()
    lesion = fixed_threshold(v, 4.0, quantity="suv_bw", seeds_mm=[(0, 0, 0)])
    references = boxes(v, muscle=(2, 2, 2), blood=(30, 30, 28))
    noise = v.replace(data=v.data + np.random.default_rng(1).normal(0, 0.2, v.shape))
    table = lesion_table(
        with_error(noise, 0.1), lesion, references=references, backgrounds=["muscle", "blood"]
    )
    both = Regions.from_masks(
        {name: regions.mask(name) for regions in (lesion, references) for name in regions}, v.grid
    )
    for name in ("muscle", "blood"):
        expected = uptake_ratio(noise, both, "lesion", name)
        row = one(table, "uptake_ratio", f"lesion/{name}")
        assert (row["mean"], row["standard_error"]) == (expected.value, expected.standard_error)
        assert (row["interval_low"], row["interval_high"]) == expected.interval
        assert row["unit"] == "1"


def test_cautions_stand_in_the_rows_of_their_lesion():
    v = ball_image()
    lesions = fixed_threshold(v, 8.6, quantity="suv_bw", seeds_mm={"small": (1, 1, 1)})
    other = boxes(v, liver=(3, 3, 3))
    table = lesion_table(v, lesions, references=other)
    assert "lesion-of-few-voxels" in one(table, "metabolic_tumour_volume", "small")["warnings"]
    assert "lesion-of-few-voxels" not in one(table, "suv_bw", "liver")["warnings"]
    assert "lesion-of-few-voxels" in [caution.code for caution in table.attrs["warnings"]]


def test_a_lesion_smaller_than_the_sphere_of_the_peak_is_named():
    small, large = ball_image(radius=4.0, spacing=1.0), ball_image(radius=14.0, spacing=1.0)
    for v, expected in ((small, True), (large, False)):
        lesion = fraction_of_maximum(v, 0.5, seeds_mm={"lesion": (0, 0, 0)})
        table = lesion_table(v, lesion)
        assert ("peak-larger-than-lesion" in one(table, "suv_peak")["warnings"]) is expected
        told = [caution.message for caution in table.attrs["warnings"] if "sphere" in caution.message]
        assert any("larger than the lesion: lesion" in text for text in told) is expected
    # mean 3.25 of a cone of 4 mm and 1 around it, in a sphere of 6.2 mm
    share = (4.0 / 6.2035) ** 3
    lesion = fraction_of_maximum(small, 0.5, seeds_mm=[(0, 0, 0)])
    peak = one(lesion_table(small, lesion), "suv_peak")["mean"]
    assert peak == pytest.approx(share * 3.25 + (1 - share), rel=0.03)


def test_voxels_larger_than_the_sphere_have_no_peak():
    v = ball_image(spacing=14.0, radius=60.0, shape=(16, 16, 16))
    lesion = fixed_threshold(v, 4.0, quantity="suv_bw", seeds_mm=[(0, 0, 0)])
    table = lesion_table(v, lesion)
    row = one(table, "suv_peak")
    assert math.isnan(row["mean"])
    assert "peak-not-possible" in row["warnings"]
    assert "suv_peak" not in set(lesion_table(v, lesion, peak=False)["quantity"])
    with pytest.raises(GeometryMismatch, match="larger than"):
        lesion_table(v, lesion, peak=True)


def test_bad_choices_are_refused():
    v = ball_image()
    lesion = fixed_threshold(v, 4.0, quantity="suv_bw", seeds_mm={"tumour": (0, 0, 0)})
    with pytest.raises(UnknownChoice, match="no region 'liver'"):
        lesion_table(v, lesion, backgrounds=["liver"])
    with pytest.raises(UnknownChoice, match="two regions are called 'tumour'"):
        lesion_table(v, lesion, references=boxes(v, tumour=(2, 2, 2)))
    with pytest.raises(ValueError, match="threshold_uncertainty"):
        lesion_table(v, lesion, threshold_uncertainty=1.5)
    with pytest.raises(GeometryMismatch, match="another grid"):
        lesion_table(ball_image(spacing=3.0), lesion)


@pytest.fixture(scope="module")
def sarcoma(public_data):
    """The published SUV image around the lesion of STS_001, and its drawn outline."""
    folder = public_data("pet/sts_001/suv_expected")
    v = load(folder / "dicom" / "image")
    masks = sorted(folder.rglob("*.nii*"))
    outline = next(path for path in masks if "mask" in str(path).lower() or "GTV" in path.name)
    return v, load_rois(outline, like=v)


def test_the_drawn_lesion_of_sts_001(sarcoma):
    v, drawn = sarcoma
    name = next(iter(drawn))
    table = lesion_table(v, drawn)
    row = one(table, "suv_bw", name)
    # published with the data: 5095 voxels, SUV 0.1686 to 7.9107, mean 2.5551
    assert row["n_voxels"] == 5095
    assert (row["mean"], row["max"], row["min"]) == pytest.approx((2.5551, 7.9107, 0.1686), abs=2e-4)
    volume = 5095 * v.grid.voxel_volume_ml
    assert one(table, "metabolic_tumour_volume", name)["mean"] == pytest.approx(volume)
    assert one(table, "total_lesion_glycolysis", name)["mean"] == pytest.approx(2.5551 * volume, rel=1e-4)
    assert 2.5551 < one(table, "suv_peak", name)["mean"] < 7.9107


@pytest.mark.parametrize("fraction", [0.41, 0.5])
def test_shares_of_the_maximum_of_sts_001_are_those_of_simpleitk(sarcoma, fraction):
    import SimpleITK

    v, drawn = sarcoma
    name = next(iter(drawn))
    found = fraction_of_maximum(v, fraction, within=drawn)
    inside = np.where(drawn.mask(name), v.data, 0.0)
    highest = float(inside.max())
    seed = [int(n) for n in np.unravel_index(np.argmax(inside), inside.shape)]
    image = v.replace(data=inside).to_sitk()
    grown = SimpleITK.ConnectedThreshold(image, seedList=[seed], lower=fraction * highest, upper=1e3)
    assert np.array_equal(found.mask(name), SimpleITK.GetArrayFromImage(grown).T.astype(bool))


def test_methods_differ_in_the_order_that_their_thresholds_have(sarcoma):
    v, drawn = sarcoma
    name = next(iter(drawn))
    volumes = [
        one(lesion_table(v, regions, peak=False), "metabolic_tumour_volume", name)["mean"]
        for regions in (
            fixed_threshold(v, 2.5, quantity="suv_bw", within=drawn),
            fraction_of_maximum(v, 0.41, within=drawn),
            fraction_of_maximum(v, 0.5, within=drawn),
        )
    ]
    assert volumes == sorted(volumes, reverse=True)
    adapted = lesion_record(adaptive_threshold(v, within=drawn), name)
    assert adapted["background"] < adapted["threshold"] < adapted["uptake"]


def test_one_way_to_all_methods_refuses_options_of_others():
    v = ball_image()
    at = {"seeds_mm": [(1, 1, 1)]}
    same = delineate(v, "fixed", threshold=4.0, quantity="suv_bw", **at)
    own = fixed_threshold(v, 4.0, quantity="suv_bw", **at)
    assert np.array_equal(same.labels, own.labels)
    assert delineation_decision(same)["explanation"] == "voxels of at least 4 g/mL of suv_bw"
    assert delineation_decision(boxes(v, muscle=(2, 2, 2))) == {"rule": "drawn"}
    with pytest.raises(UnknownChoice, match="method must be one of"):
        delineate(v, "otsu", **at)
    with pytest.raises(UnknownChoice, match="does not apply to the method gradient"):
        delineate(v, "gradient", threshold=4.0, **at)
    with pytest.raises(UnknownChoice, match="needs quantity"):
        delineate(v, "fixed", threshold=4.0, **at)
    with pytest.raises(UnknownChoice, match="needs seeds"):
        delineate(v, "adaptive")
    with pytest.raises(UnknownChoice, match="needs resolution_mm"):
        delineate(v, "adaptive", scheme="sphere", **at)
    with pytest.raises(MissingMetadata, match="needs a reference"):
        delineate(v.replace(quantity="suv_lbm_james128"), "percist")
