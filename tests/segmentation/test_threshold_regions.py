"""Fixed values and shares of the maximum against SimpleITK, scikit-image and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtheranostics import segmentation
from imgtheranostics.errors import (
    GeometryMismatch,
    ImplausibleValue,
    NothingUsable,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.nuclear.peak import region_peaks
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation import fixed_threshold, fraction_of_maximum, lesion_record
from imgtheranostics.volume import Axis, AxisMatch, Volume

SUV = {"quantity": "suv_bw"}


def noisy(rng, shape=(30, 28, 26), spacing=(2.0, 2.5, 3.0)):
    from scipy import ndimage

    data = ndimage.gaussian_filter(rng.normal(size=shape), 2.0)
    data = 3.0 + 2.0 * data / data.std()
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-20.0, 10.0, 5.0]
    return Volume(data, affine, "suv_bw", "g/mL")


def codes(regions):
    return [caution.code for caution in regions.warnings]


@pytest.mark.parametrize("connectivity", [6, 26])
def test_a_seed_grows_as_in_simpleitk(rng, connectivity):
    import SimpleITK

    v = noisy(rng)
    hill = np.unravel_index(np.argmax(v.data[8:22, 8:20, 8:18]), (14, 12, 10))
    seed = tuple(int(n) + 8 for n in hill)
    found = fixed_threshold(
        v, 4.0, **SUV, seeds_mm=[v.grid.world_mm(seed)], reach_mm=500.0, connectivity=connectivity
    )
    shape = SimpleITK.ConnectedThresholdImageFilter.FullConnectivity
    face = SimpleITK.ConnectedThresholdImageFilter.FaceConnectivity
    reference = SimpleITK.ConnectedThreshold(
        v.to_sitk(), seedList=[seed], lower=4.0, upper=1e9, connectivity=shape if connectivity == 26 else face
    )
    expected = SimpleITK.GetArrayFromImage(reference).T.astype(bool)
    assert 50 < expected.sum() < 0.5 * expected.size
    assert np.array_equal(found.mask("lesion"), expected)


def test_a_region_keeps_the_part_with_the_maximum_as_in_scikit_image(rng):
    from skimage import measure

    v = noisy(rng)
    box = np.zeros(v.grid.shape, bool)
    box[4:26, 3:24, 4:23] = True
    found = fraction_of_maximum(v, 0.5, within=Regions.from_masks({"tumour": box}, v.grid), connectivity=18)
    highest = v.data[box].max()
    labels = measure.label(box & (v.data >= 0.5 * highest), connectivity=2)
    expected = labels == labels[np.where(box & (v.data == highest))][0]
    assert list(found) == ["tumour"]
    assert np.array_equal(found.mask("tumour"), expected)
    assert lesion_record(found, "tumour")["threshold"] == pytest.approx(0.5 * highest)
    assert ("several-components" in codes(found)) == (labels.max() > 1)


@pytest.mark.parametrize(("fraction", "diameter"), [(0.41, 37.0), (0.5, 28.0), (0.5, 17.0)])
def test_volume_is_that_of_the_level_of_the_blurred_sphere(spheres, profile, fraction, diameter):
    v = spheres([((0.4, -0.7, 0.2), diameter, 8.0)])
    found = fraction_of_maximum(v, fraction, seeds_mm={"tumour": (3.0, 0.0, 0.0)}, reach_mm=35.0)
    r = np.linspace(0.0, diameter, 4001)
    shown = 1.0 + 7.0 * profile(r, diameter, 5.0)
    radius = r[np.flatnonzero(shown >= fraction * lesion_record(found, "tumour")["maximum"])[-1]]
    expected = 4.0 / 3.0 * math.pi * radius**3 / 1000.0
    assert lesion_record(found, "tumour")["volume_ml"] == pytest.approx(expected, rel=0.03)
    assert int(found.mask("tumour").sum()) * 8e-3 == pytest.approx(expected, rel=0.03)


def test_a_seed_on_the_slope_takes_the_maximum_of_what_hangs_together(spheres):
    # a shoulder with a hill of its own: the share is of the higher hill that it is joined to
    v = spheres([((-8.0, 0, 0), 16.0, 8.0), ((8.0, 0, 0), 16.0, 6.0)])
    found = fraction_of_maximum(v, 0.41, seeds_mm={"tumour": (12.0, 0.0, 0.0)}, reach_mm=40.0)
    record = lesion_record(found, "tumour")
    assert record["maximum"] == pytest.approx(float(v.data.max()))
    assert record["highest_at_mm"][0] < 0
    assert record["threshold"] == pytest.approx(0.41 * record["maximum"])


def test_share_of_the_peak_uses_the_sphere_of_one_millilitre(spheres):
    v = spheres([((0, 0, 0), 22.0, 8.0)])
    found = fraction_of_maximum(v, 0.5, of="peak", seeds_mm=[(0, 0, 0)], reach_mm=30.0)
    peak = region_peaks(v, found).value[0, 0]
    assert lesion_record(found, "lesion")["threshold"] == pytest.approx(0.5 * peak)
    assert peak < lesion_record(found, "lesion")["maximum"]


def test_parts_are_kept_as_asked(spheres):
    v = spheres([((-25.0, 0, 0), 20.0, 6.0), ((22.0, 0, 0), 26.0, 5.0), ((0, 30.0, 0), 10.0, 9.0)])
    everywhere = Regions.from_masks({"body": np.ones(v.grid.shape)}, v.grid)
    sizes = {}
    for keep in ("hottest", "all", "each"):
        found = fixed_threshold(v, 3.0, **SUV, within=everywhere, keep=keep)
        sizes[keep] = {name: int(found.mask(name).sum()) for name in found}
        assert ("several-components" in codes(found)) == (keep != "each")
    assert list(sizes["each"]) == ["body-1", "body-2", "body-3"]
    ordered = list(sizes["each"].values())
    assert ordered == sorted(ordered, reverse=True)
    assert sum(ordered) == sizes["all"]["body"] == int((v.data >= 3.0).sum())
    hottest = fixed_threshold(v, 3.0, **SUV, within=everywhere).mask("body")
    assert hottest[np.unravel_index(np.argmax(v.data), v.shape)]
    large = fixed_threshold(v, 3.0, **SUV, keep="each", least_ml=2.0)
    assert list(large) == ["lesion-1", "lesion-2"]


def test_volumes_of_other_thresholds_stand_in_the_record(spheres):
    v = spheres([((0, 0, 0), 28.0, 8.0)])
    record = lesion_record(fixed_threshold(v, 4.0, **SUV, seeds_mm=[(0, 0, 0)]), "lesion")
    for name, level in (("lower", 3.6), ("higher", 4.4)):
        again = fixed_threshold(v, level, **SUV, seeds_mm=[(0, 0, 0)])
        assert record[f"volume_ml_at_{name}_threshold"] == lesion_record(again, "lesion")["volume_ml"]
    assert record["volume_ml_at_lower_threshold"] > record["volume_ml"]


@settings(max_examples=20)
@given(st.permutations([0, 1, 2]), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_the_order_and_sign_of_voxel_axes_do_not_matter(order, flips):
    rng = np.random.default_rng(3)
    v = noisy(rng)
    match = AxisMatch(tuple(order), flips)
    seeds = {"tumour": v.grid.world_mm(np.unravel_index(np.argmax(v.data), v.shape))}
    one = fraction_of_maximum(v, 0.6, seeds_mm=seeds, reach_mm=18.0)
    other = fraction_of_maximum(v.reordered(match), 0.6, seeds_mm=seeds, reach_mm=18.0)
    assert np.array_equal(match.apply_to_array(one.mask("tumour")), other.mask("tumour"))


def test_the_history_tells_how(spheres):
    v = spheres([((0, 0, 0), 22.0, 8.0)]).with_step("suv", kind="bw")
    found = fixed_threshold(v, 4.0, **SUV, seeds_mm=[(1, 0, 0)])
    assert [step.name for step in found.history] == ["suv", "delineate"]
    said = found.history[-1].parameters
    assert (said["method"], said["quantity"], said["unit"], said["threshold"]) == (
        "fixed",
        "suv_bw",
        "g/mL",
        4.0,
    )
    assert lesion_record(found, "nobody") == {}


def test_a_seed_limits_the_search_to_regions_too(spheres):
    v = spheres([((0, 0, 0), 30.0, 8.0)])
    half = np.zeros(v.grid.shape, bool)
    half[: v.grid.shape[0] // 2] = True
    regions = Regions.from_masks({"left": half}, v.grid)
    found = fixed_threshold(v, 3.0, **SUV, seeds_mm=[(-5, 0, 0)], within=regions)
    mask = found.mask("lesion")
    assert mask.any()
    assert not (mask & ~half).any()
    with pytest.raises(GeometryMismatch, match="outside the regions"):
        fixed_threshold(v, 3.0, **SUV, seeds_mm=[(9, 0, 0)], within=regions)


def test_missing_voxels_belong_to_no_lesion_and_are_told(spheres):
    clean = spheres([((0, 0, 0), 22.0, 8.0)])
    data = np.array(clean.data)
    data[23:26, 22, 21] = np.nan
    found = fixed_threshold(clean.replace(data=data), 3.0, **SUV, seeds_mm=[(0, 6, 0)])
    assert not found.mask("lesion")[24, 22, 21]
    assert "missing-voxels" in codes(found)
    with pytest.raises(NothingUsable, match="without a value"):
        fixed_threshold(clean.replace(data=data), 3.0, **SUV, seeds_mm=[clean.grid.world_mm((24, 22, 21))])


def test_cautions_name_what_is_wrong(spheres):
    v = spheres([((0, 0, 0), 12.0, 8.0)], background=2.0)
    kw = {"seeds_mm": [(0, 0, 0)], "reach_mm": 25.0}
    assert codes(fraction_of_maximum(v, 0.5, **kw)) == []
    assert codes(fraction_of_maximum(v, 0.5, **kw, resolution_mm=7.0)) == ["lesion-below-resolution"]
    assert "lesion-of-few-voxels" in codes(fixed_threshold(v, 6.2, **SUV, **kw))
    leaked = fraction_of_maximum(v, 0.2, **kw)
    assert "lesion-leaks" in codes(leaked)
    drawn = np.zeros(v.grid.shape, bool)
    drawn[14:34, 13:33, 12:32] = True
    regions = Regions.from_masks({"tumour": drawn}, v.grid)
    assert "lesion-leaks" in codes(fraction_of_maximum(v, 0.2, within=regions))
    edge = spheres([((-45.0, 0, 0), 20.0, 8.0)])
    assert codes(fraction_of_maximum(edge, 0.5, seeds_mm=[(-44, 0, 0)], reach_mm=20)) == [
        "lesion-at-image-border"
    ]
    thick = spheres([((0, 0, 0), 28.0, 8.0)], spacing=(2.0, 2.0, 5.0), shape=(40, 40, 24))
    assert "voxels-anisotropic" in codes(fraction_of_maximum(thick, 0.5, seeds_mm=[(0, 0, 0)]))


def test_a_threshold_in_the_noise_of_the_background_is_told(spheres, rng):
    v = spheres([((0, 0, 0), 22.0, 4.0)])
    noise = v.replace(data=v.data + rng.normal(0, 0.6, v.shape))
    assert "threshold-near-background" in codes(fixed_threshold(noise, 2.0, **SUV, seeds_mm=[(0, 0, 0)]))
    assert "threshold-near-background" not in codes(fixed_threshold(v, 2.0, **SUV, seeds_mm=[(0, 0, 0)]))


def test_a_value_of_another_quantity_is_refused(spheres):
    activity = spheres([((0, 0, 0), 22.0, 8.0)]).replace(quantity="activity_concentration", unit="Bq/mL")
    with pytest.raises(UnitMismatch) as refusal:
        fixed_threshold(activity, 4.0, quantity="suv_bw", seeds_mm=[(0, 0, 0)])
    assert "activity_concentration" in refusal.value.found
    assert refusal.value.needed == "suv_bw"


def test_what_cannot_be_delineated_is_refused(spheres):
    v = spheres([((0, 0, 0), 22.0, 8.0)])
    seed = {"seeds_mm": [(0, 0, 0)]}
    with pytest.raises(NothingUsable, match="does not reach"):
        fixed_threshold(v, 9.0, **SUV, **seed)
    everywhere = Regions.from_masks({"body": np.ones(v.grid.shape)}, v.grid)
    with pytest.raises(NothingUsable, match="no voxel reaches"):
        fixed_threshold(v, 9.0, **SUV, within=everywhere)
    with pytest.raises(NothingUsable, match="smaller than the least volume"):
        fixed_threshold(v, 4.0, **SUV, within=everywhere, least_ml=100.0)
    with pytest.raises(GeometryMismatch, match="outside the image"):
        fixed_threshold(v, 4.0, **SUV, seeds_mm=[(0, 0, 400.0)])
    empty = Regions.from_masks({"none": np.zeros(v.grid.shape)}, v.grid)
    with pytest.raises(NothingUsable, match="no voxel"):
        fraction_of_maximum(v, within=empty)
    with pytest.raises(NothingUsable, match="with a value"):
        fraction_of_maximum(v.replace(data=np.full(v.shape, np.nan)), within=everywhere)
    with pytest.raises(ImplausibleValue, match="not above 0"):
        fraction_of_maximum(v.replace(data=-v.data), **seed)
    other = Regions.from_masks({"body": np.ones((4, 4, 4))}, spheres([], shape=(4, 4, 4)).grid)
    with pytest.raises(GeometryMismatch, match="another grid"):
        fraction_of_maximum(v, within=other)


def test_a_series_is_refused():
    data = np.ones((8, 8, 8, 2))
    v = Volume(data, np.eye(4), "suv_bw", "g/mL", (Axis("time", [0.0, 60.0], "s"),))
    with pytest.raises(UnsupportedInput, match="not on a series"):
        fixed_threshold(v, 0.5, **SUV)


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (fraction_of_maximum, {"fraction": 1.2, "seeds_mm": [(0, 0, 0)]}, "between 0 and 1"),
        (fraction_of_maximum, {"fraction": 0.0, "seeds_mm": [(0, 0, 0)]}, "between 0 and 1"),
        (fraction_of_maximum, {"of": "mean", "seeds_mm": [(0, 0, 0)]}, "of must be one of"),
        (fraction_of_maximum, {}, "give seeds_mm or within"),
        (fraction_of_maximum, {"seeds_mm": []}, "no seed"),
        (fraction_of_maximum, {"seeds_mm": [(0, 0)]}, "three numbers"),
        (fraction_of_maximum, {"seeds_mm": [(0, 0, np.nan)]}, "three numbers"),
        (fraction_of_maximum, {"seeds_mm": [(0, 0, 0)], "reach_mm": 0.0}, "above 0"),
        (fraction_of_maximum, {"seeds_mm": [(0, 0, 0)], "connectivity": 4}, "6, 18 or 26"),
        (fraction_of_maximum, {"seeds_mm": [(0, 0, 0)], "resolution_mm": -1.0}, "above 0"),
        (fixed_threshold, {"threshold": np.nan, **SUV}, "is a number"),
        (fixed_threshold, {"threshold": 2.0, **SUV, "keep": "largest"}, "keep must be one of"),
        (fixed_threshold, {"threshold": 2.0, **SUV, "least_ml": -1.0}, "is a volume"),
        (fixed_threshold, {"threshold": 2.0, **SUV, "reach_mm": 3.0}, "belongs to seeds_mm"),
    ],
)
def test_options_without_sense_are_refused(spheres, function, options, words):
    v = spheres([((0, 0, 0), 22.0, 8.0)])
    with pytest.raises(ValueError, match=words):
        function(v, **options)


def test_a_large_image_is_cut_before_work(rng):
    import tracemalloc

    data = np.zeros((160, 150, 140), np.float32, order="F")
    data[60:80, 60:80, 60:80] = 5.0
    v = Volume(data, np.diag([2.0, 2.0, 2.0, 1.0]), "suv_bw", "g/mL")
    labels = 4 * v.grid.n_voxels
    tracemalloc.start()
    found = fraction_of_maximum(v, 0.5, seeds_mm=[(140.0, 140.0, 140.0)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert int(found.mask("lesion").sum()) == 8000
    # the labels and one copy of them while they are made; no image of the whole scan in float64
    assert peak < 3.2 * labels
    assert segmentation.fixed_threshold(v, 5.0, **SUV).mask("lesion").sum() == 8000


def test_parts_that_grow_far_at_a_lower_threshold_are_followed():
    data = np.zeros((70, 30, 30))
    data[5:10, 12:17, 12:17], data[10:62, 14, 14], data[60:64, 12:17, 12:17] = 5.0, 3.8, 6.0
    v = Volume(data, np.diag([2.0, 2.0, 2.0, 1.0]), "suv_bw", "g/mL")
    found = fixed_threshold(v, 4.0, **SUV, keep="each")
    together = int((data > 0).sum()) * 8e-3
    for name, size in (("lesion-1", 125), ("lesion-2", 100)):
        record = lesion_record(found, name)
        assert record["volume_ml"] == pytest.approx(size * 8e-3)
        assert record["volume_ml_at_lower_threshold"] == pytest.approx(together)
        assert record["volume_ml_at_higher_threshold"] == pytest.approx(size * 8e-3)


def test_two_seeds_in_one_lesion_are_told(spheres):
    v = spheres([((-20.0, 0, 0), 22.0, 8.0), ((20.0, 0, 0), 22.0, 8.0)])
    twice = fraction_of_maximum(
        v, 0.5, seeds_mm={"a": (-20, 0, 0), "b": (-17, 3, 0), "c": (20, 0, 0)}, reach_mm=25
    )
    assert [caution.message for caution in twice.warnings] == [
        "a, b: lesions share voxels, which count in each of them"
    ]
    apart = fraction_of_maximum(v, 0.5, seeds_mm={"a": (-20, 0, 0), "c": (20, 0, 0)}, reach_mm=25)
    assert apart.warnings == ()


def test_names_of_parts_may_not_be_those_of_regions(spheres):
    v = spheres([((-20.0, 0, 0), 20.0, 8.0), ((20.0, 0, 0), 20.0, 8.0)])
    masks = {"body": np.ones(v.grid.shape), "body-1": np.ones(v.grid.shape)}
    left = np.zeros(v.grid.shape)
    left[:24] = 1
    regions = Regions.from_masks({**masks, "body-1": left}, v.grid)
    with pytest.raises(UnsupportedInput, match="one name"):
        fixed_threshold(v, 4.0, **SUV, within=regions, keep="each")
