"""Change of attenuation between two CT scans: values, noise, alignment, and what is refused or flagged."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition, MrAcquisition
from imgtheranostics.errors import (
    GeometryMismatch,
    IllConditioned,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.regions import Regions
from imgtheranostics.registration import Quality, Registration, Transform
from imgtheranostics.volume import Axis, Flag, Volume

SHAPE = (48, 44, 24)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
BEAM = CtAcquisition(tube_voltage_kv=120.0, kernel="B30f", slice_thickness_mm=2.0, filter_material="ALUMINUM")


def body():
    """An ellipsoid of 40 HU with vertebrae, an organ and a lung, in air."""
    i, j, k = np.indices(SHAPE)
    inside = ((i - 24) / 20) ** 2 + ((j - 22) / 17) ** 2 + ((k - 10) / 18) ** 2 < 1
    hu = np.where(inside, 40.0, -1000.0)
    hu[20:27, 30:36, 2:7] = 700.0
    hu[21:27, 30:35, 10:14] = 600.0
    hu[11:18, 15:23, 4:12] = 110.0
    hu[14:20, 22:29, 14:19] = -700.0
    return hu


def tumour():
    return np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - [30, 16, 12], axis=-1) < 5


def noise(rng, sd=10.0):
    field = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 0.8, mode="wrap")
    return sd * field / field.std()


def scan(hu, acquisition=BEAM, affine=AFFINE):
    return Volume(hu, affine, "attenuation", "[HU]", acquisition=acquisition)


@pytest.fixture
def pair(rng):
    """40 HU of tissue, 142 HU more in the tumour, 10 HU of correlated noise in each scan."""
    return scan(body() + noise(rng)), scan(body() + 142.0 * tumour() + noise(rng))


def test_change_is_post_minus_pre_with_the_noise_of_both(pair):
    pre, post = pair
    found = ct.enhancement(pre, post)
    assert (found.quantity, found.unit) == ("delta_attenuation", "[HU]")
    assert np.array_equal(found.value.data, post.data - pre.data)
    assert found.value.data[tumour()].mean() == pytest.approx(142.0, abs=3.0)
    assert found.standard_error.data[tumour()] == pytest.approx(math.sqrt(200.0), rel=0.1)
    assert np.ptp(found.standard_error.data) == 0
    assert not found.flags.data.any()
    assert found.value.history[-1].name == "enhancement"
    assert found.decisions["alignment"]["rule"] == "one grid"
    assert found.decisions["noise"]["voxel_sd_hu"] == found.standard_error.data[0, 0, 0]
    assert np.array_equal(found.maps["pre"].data, pre.data)
    assert np.array_equal(found.maps["post"].data, post.data)


def test_noise_that_is_given_goes_before_the_estimate(pair):
    found = ct.enhancement(*pair, noise_sd=(3.0, 4.0))
    assert found.standard_error.data[tumour()] == pytest.approx(5.0)
    assert found.decisions["noise"]["rule"] == "noise of both scans, given"


def test_result_does_not_depend_on_threads(pair):
    one, more = (ct.enhancement(*pair, workers=workers) for workers in (1, None))
    assert one.value.data.tobytes() == more.value.data.tobytes()
    assert one.standard_error.data.tobytes() == more.standard_error.data.tobytes()


def test_outside_of_the_mask_there_is_nothing(pair):
    regions = Regions.from_masks({"tumour": tumour()}, pair[0].grid)
    for mask in (tumour(), regions, pair[0].replace(data=tumour().astype(float))):
        found = ct.enhancement(*pair, mask=mask)
        assert np.array_equal(np.isfinite(found.value.data), tumour())
        assert np.array_equal(found.flags.data == Flag.MASKED_OUT, ~tumour())
    assert found.decisions["mask"]["n_voxels"] == tumour().sum()


def test_padding_is_nan_and_flagged_and_a_mask_on_it_is_told(pair):
    pre, post = pair
    holes = post.data.copy()
    holes[:, :, 20:] = np.nan
    found = ct.enhancement(pre, post.replace(data=holes))
    assert np.isnan(found.value.data[:, :, 20:]).all()
    assert (found.flags.data[:, :, 20:] == Flag.INVALID_INPUT).all()
    assert [caution.code for caution in found.warnings] == ["partly-outside"]


def test_fill_of_scanners_is_no_change_of_zero(pair):
    """-3024 around the field of view in both scans: their difference would be 0 HU."""
    pre, post = (volume.data.copy() for volume in pair)
    for hu in (pre, post):
        hu[:5] = -3024.0
    found = ct.enhancement(scan(pre), scan(post))
    assert np.isnan(found.value.data[:5]).all()
    assert (found.flags.data[:5] == Flag.INVALID_INPUT).all()
    regions = Regions.from_masks({"edge": np.indices(SHAPE)[0] < 8}, found.grid)
    row = ct.region_changes(scan(pre), scan(post), regions).iloc[0]
    assert row["n_valid"] == 3 * SHAPE[1] * SHAPE[2]


def unseen(volume, border=30):
    """The scan with -1024 HU from one plane on, where the field of view ends; through the tumour."""
    data = volume.data.copy()
    data[border:] = -1024.0
    return volume.replace(data=data)


@pytest.mark.parametrize("filled", [(True, True), (True, False), (False, True)])
def test_a_region_partly_in_constant_air_is_the_mean_of_its_tissue_and_says_so(pair, filled):
    """Averaged in, the fill of both scans would dilute the change, that of one make it -1000 HU."""
    pre, post = (unseen(scan) if fill else scan for scan, fill in zip(pair, filled, strict=True))
    found = ct.enhancement(pre, post, mask=tumour())
    inside, cut = tumour(), np.indices(SHAPE)[0] >= 30
    assert np.isnan(found.value.data[inside & cut]).all()
    assert set(found.flags.data[inside & cut].tolist()) == {Flag.OUTSIDE_RANGE}
    assert found.value.data[inside & ~cut].mean() == pytest.approx(142.0, abs=4.0)
    assert "partly-outside" in {caution.code for caution in found.warnings}
    table = ct.region_table(ct.enhancement(pre, post), Regions.from_masks({"tumour": inside}, pre.grid))
    row = table.iloc[0]
    assert row["mean"] == pytest.approx(142.0, abs=4.0)
    assert "partly-outside" in row["warnings"]


def test_a_mask_wholly_in_constant_air_is_refused(pair):
    mask = np.zeros(SHAPE, np.bool_)
    mask[40:46, 3:9, 3:9] = True
    with pytest.raises(GeometryMismatch, match="outside the field of view"):
        ct.enhancement(*map(unseen, pair), mask=mask)


def test_air_that_noise_takes_to_the_end_of_the_range_stays(pair, rng):
    """-1000 +- 15 HU cut off at -1024: single voxels there are air, and nothing is told without a mask."""
    pre, post = (
        volume.replace(data=np.maximum(volume.data + 10 * rng.standard_normal(SHAPE), -1024.0))
        for volume in pair
    )
    assert np.count_nonzero(pre.data == -1024.0) > 100
    assert not ct.enhancement(pre, post).flags.data.any()
    found = ct.enhancement(unseen(pre), unseen(post))
    assert found.flags.data[30:].all()
    assert not found.flags.data[:29].any()
    assert "partly-outside" not in {caution.code for caution in found.warnings}


def test_constant_air_does_not_leak_through_the_registration(pair):
    """Half a voxel of motion would make half of -1024 HU of the plane before it."""
    shift = np.eye(4)
    shift[0, 3] = 1.0
    found = ct.enhancement(pair[0], unseen(pair[1]), register=Transform(shift))
    assert np.isnan(found.value.data[29:]).all()
    assert (found.flags.data[29:] == Flag.INVALID_INPUT).all()
    assert np.isfinite(found.value.data[:29]).all()


def test_the_range_of_the_stored_type_counts(pair):
    """8 bits from -1024 in steps of 16 HU end at 3056 HU."""
    pre, post = pair
    bright = post.data.copy()
    bright[30, 16, 12] = 3056.0
    stored = replace(BEAM, largest_storable=3056.0)
    found = ct.enhancement(pre, scan(bright, stored))
    assert found.flags.data[30, 16, 12] == Flag.SATURATED | Flag.OUTSIDE_RANGE
    regions = Regions.from_masks({"tumour": tumour()}, found.grid)
    assert ct.region_changes(pre, scan(bright, stored), regions)["n_saturated"][0] == 1


def test_a_mask_outside_of_the_field_of_view_is_refused(pair):
    pre, post = pair
    holes = post.data.copy()
    holes[:, :, 20:] = np.nan
    outside = np.zeros(SHAPE, bool)
    outside[:, :, 21:] = True
    with pytest.raises(GeometryMismatch, match="outside the field of view"):
        ct.enhancement(pre, post.replace(data=holes), mask=outside)
    with pytest.raises(GeometryMismatch, match="outside the field of view"):
        ct.enhancement(pre, post, mask=np.zeros(SHAPE, bool))


def test_a_mask_on_another_grid_is_refused(pair):
    far = np.array(AFFINE)
    far[:3, 3] = 500.0
    mask = Volume(tumour().astype(float), far, "signal", "[arb'U]")
    with pytest.raises(GeometryMismatch, match="mask does not lie on the grid"):
        ct.enhancement(*pair, mask=mask)
    with pytest.raises(GeometryMismatch):
        ct.enhancement(*pair, mask=Regions.from_masks({"tumour": tumour()}, mask.grid))


@pytest.mark.parametrize("which", ["pre", "post", "both"])
def test_saturated_voxels_are_left_out_flagged_and_counted(pair, which):
    """3071 HU and above are the top of the stored range: the change there is no measurement."""
    pre, post = (volume.data.copy() for volume in pair)
    for hu, name in ((pre, "pre"), (post, "post")):
        if which in (name, "both"):
            hu[30:33, 16, 12] = [3071.0, 3500.0, 3070.0]
    found = ct.enhancement(scan(pre), scan(post))
    assert np.isnan(found.value.data[30:32, 16, 12]).all()
    assert np.isfinite(found.value.data[32, 16, 12])
    flags = found.flags.data[30:32, 16, 12]
    assert (flags == (Flag.SATURATED | Flag.OUTSIDE_RANGE)).all()
    (caution,) = found.warnings
    assert caution.code == "saturated-voxels"
    assert caution.message.startswith("2 voxels in 1 slices")


def test_range_of_an_image_may_be_stated(pair):
    pre, post = pair
    bright = post.data.copy()
    bright[30, 16, 12] = 5000.0
    found = ct.enhancement(pre, post.replace(data=bright), saturation_hu=32767.0)
    assert not found.flags.data.any()
    assert found.value.data[30, 16, 12] == pytest.approx(5000.0 - pre.data[30, 16, 12])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tube_voltage_kv": 100.0}, "tube voltage"),
        ({"kernel": "B70f"}, "kernel"),
        ({"slice_thickness_mm": 5.0}, "slice thickness"),
        ({"filter_material": "TIN"}, "filter"),
    ],
)
def test_scans_of_another_beam_or_reconstruction_are_refused_unless_allowed(pair, change, words):
    pre, post = pair
    other = post.replace(acquisition=replace(BEAM, **change))
    with pytest.raises(UnitMismatch, match=words):
        ct.enhancement(pre, other)
    name = {"tube voltage": "kvp", "slice thickness": "slice_thickness"}.get(words, words)
    allowed = ct.enhancement(pre, other, allow_mismatch=[name])
    assert "settings-differ" in [caution.code for caution in allowed.warnings]


@pytest.mark.parametrize("register", [False, Transform(np.eye(4))])
def test_a_change_between_two_tube_voltages_has_that_of_the_scan_with_agent(pair, register):
    pre, post = pair
    later = post.replace(acquisition=replace(BEAM, tube_voltage_kv=80.0))
    change = ct.enhancement(pre, later, allow_mismatch=["kvp"], register=register)
    assert change.value.acquisition.tube_voltage_kv == 80.0
    assert ct.concentration(change, material="I").decisions["slope"]["kvp"] == 80.0
    with pytest.raises(UnitMismatch, match="tube voltage"):
        ct.concentration(change, material="I", kvp=120.0)


def test_one_scan_given_twice_is_told(pair):
    pre, post = pair
    padded = np.where(np.indices(SHAPE)[0] < 3, np.nan, pre.data)
    for one in (pre, scan(padded)):
        assert "same-scan" in [caution.code for caution in ct.enhancement(one, one).warnings]
    assert "same-scan" not in [caution.code for caution in ct.enhancement(pre, post).warnings]


def test_everything_that_differs_is_listed(pair):
    other = pair[1].replace(acquisition=replace(BEAM, tube_voltage_kv=80.0, kernel="B70f"))
    with pytest.raises(UnitMismatch) as refused:
        ct.enhancement(pair[0], other)
    assert "80" in str(refused.value)
    assert "b70f" in str(refused.value).lower()


def test_values_that_are_no_hounsfield_units_are_refused(pair):
    grey = Volume(pair[1].data, AFFINE, "stored_value", "{stored}", acquisition=BEAM)
    with pytest.raises((UnitMismatch, MissingMetadata)):
        ct.enhancement(pair[0], grey)
    magnetic = Volume(pair[1].data, AFFINE, "signal", "[arb'U]", acquisition=MrAcquisition())
    with pytest.raises(UnitMismatch, match="no computed tomography"):
        ct.enhancement(magnetic, pair[1])


def test_a_series_is_refused(pair):
    series = Volume(
        np.stack([pair[1].data] * 2, axis=-1), AFFINE, "attenuation", "[HU]",
        (Axis("time", [0.0, 1.0], "s"),), BEAM,
    )  # fmt: skip
    with pytest.raises(UnsupportedInput, match="must be one image"):
        ct.enhancement(pair[0], series)


def moved(hu, shift_mm):
    """The image on a grid of its own, as if the subject lay elsewhere: shifted by linear interpolation."""
    return ndimage.shift(hu, np.divide(shift_mm, 2.0), order=1, mode="constant", cval=-1000.0)


def test_other_grids_are_refused_with_the_report_of_what_differs(pair):
    other = np.array(AFFINE)
    other[0, 3] = 1.0
    with pytest.raises(GeometryMismatch, match="different grids") as refused:
        ct.enhancement(pair[0], scan(pair[1].data, affine=other))
    assert "origin" in str(refused.value)
    assert "register" in str(refused.value)


def test_registration_takes_the_motion_out(pair, rng):
    """A shift of 3 and -4 mm: the tumour's 142 HU come out as without it."""
    pre = pair[0]
    post = scan(moved(body() + 142.0 * tumour(), (3.0, -4.0, 0.0)) + noise(rng))
    found = ct.enhancement(pre, post, register="rigid")
    core = ndimage.binary_erosion(tumour())
    assert np.nanmean(found.value.data[core]) == pytest.approx(142.0, abs=5.0)
    assert found.decisions["alignment"]["largest_displacement_mm"] == pytest.approx(5.0, abs=0.5)
    assert {"overlap", "residual", "repeat_mm", "jacobian_range"} <= found.decisions["alignment"].keys()


def test_a_known_transform_is_used_as_it_is(pair, rng):
    pre = pair[0]
    post = scan(moved(body() + 142.0 * tumour(), (4.0, 0.0, 0.0)) + noise(rng))
    shift = np.eye(4)
    shift[0, 3] = 4.0
    found = ct.enhancement(pre, post, register=Transform(shift))
    assert found.value.data[tumour()].mean() == pytest.approx(142.0, abs=4.0)
    assert found.decisions["alignment"]["rule"].endswith("transform, given")
    quality = Quality("correlation", 0.0, -0.9, 0.1, 0.93, (1.0, 1.0), 4.0, 0.1, 20, True)
    by_result = ct.enhancement(pre, post, register=Registration(Transform(shift), post, quality))
    assert by_result.value.data.tobytes() == found.value.data.tobytes()
    assert by_result.decisions["alignment"]["overlap"] == 0.93


def test_saturated_voxels_do_not_leak_through_the_registration(pair, rng):
    pre = pair[0]
    post = moved(body(), (3.0, 0.0, 0.0)) + noise(rng)
    post[24:26, 22:24, 11:13] = 3071.0
    shift = np.eye(4)
    shift[0, 3] = 3.0
    found = ct.enhancement(pre, scan(post), register=Transform(shift))
    bright = (found.flags.data & Flag.SATURATED) != 0
    assert 8 <= bright.sum() <= 3 * 2 * 2 + 4
    assert np.isnan(found.value.data[bright]).all()
    assert np.nanmax(found.value.data[21:28, 20:26, 9:14]) < 100.0
    outside = np.isnan(found.value.data) & ~bright
    assert (found.flags.data[outside] == Flag.INVALID_INPUT).all()


def test_a_failed_registration_is_refused(pair):
    far = np.array(AFFINE)
    far[0, 3] = 85.0
    with pytest.raises(IllConditioned, match="overlap too little"):
        ct.enhancement(pair[0], scan(pair[1].data, affine=far), register="rigid")


def test_unknown_ways_to_register_are_refused(pair):
    with pytest.raises(ValueError, match="register= must be one of"):
        ct.enhancement(*pair, register="elastic")
    with pytest.raises(ValueError, match="what may differ is one of"):
        ct.enhancement(*pair, allow_mismatch=["scanner"])
