"""The kernels of differences of scans against NumPy on the same voxels."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtheranostics import ct
from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.ct.linear_concentration import NAME, from_change
from imgtheranostics.ct.region_changes import label_changes
from imgtheranostics.ct.slope import Slope
from imgtheranostics.kernels import ct_difference as kernel
from imgtheranostics.kernels import warmup
from imgtheranostics.kernels.lanes import read_only
from imgtheranostics.kernels.shifted_regions import shifted_means
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Flag, Volume

TOP = 3071.0
VALUES = st.floats(-1024, 3000, width=32) | st.sampled_from(
    [np.nan, np.inf, -np.inf, 3071.0, 3500.0, -1500.0, -3024.0]
)


def reference(pre, post, labels, number, threshold):
    """Count, saturated, above, mean, SD, extremes of one label with NumPy in float64."""
    inside = labels == number
    before, after = pre[inside].astype(np.float32), post[inside].astype(np.float32)
    fill = (before <= -1500) | (after <= -1500)
    bright = ((before >= TOP) | (after >= TOP)) & ~fill
    with np.errstate(invalid="ignore"):
        change = (after - before)[~bright & ~fill]
    change = change[np.isfinite(change)].astype(np.float64)
    above = int(np.count_nonzero(change > threshold))
    if not change.size:
        return inside.sum(), 0, bright.sum(), above, *[np.nan] * 4
    sd = change.std(ddof=1) if change.size > 1 else np.nan
    return (
        inside.sum(), change.size, bright.sum(), above, change.mean(), sd, change.min(), change.max()
    )  # fmt: skip


NAMES = ("n_voxels", "n_valid", "n_saturated", "n_above", "mean", "sd", "min", "max")


def agrees(pre, post, labels, numbers, threshold=50.0):
    found = label_changes(pre, post, labels, numbers, threshold=threshold)
    for place, number in enumerate(numbers):
        expected = reference(pre, post, labels, number, threshold)
        measured = [found[name][place] for name in NAMES]
        assert measured == pytest.approx(expected, rel=1e-9, abs=1e-3, nan_ok=True), number


@given(st.data())
def test_statistics_equal_numpy_for_any_labels_and_values(data):
    n = data.draw(st.integers(1, 200))
    run = data.draw(st.integers(1, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    labels = np.repeat(rng.integers(-1, 5, n), run)[:n].astype(np.int32)
    pre = np.array(data.draw(st.lists(VALUES, min_size=n, max_size=n)), np.float32)
    post = np.array(data.draw(st.lists(VALUES, min_size=n, max_size=n)), np.float32)
    agrees(pre, post, labels, [1, 3, 4])


@pytest.mark.parametrize("run", [1, 31, 32, 33, 700, 1023, 1057, 5000])
def test_runs_of_any_length_are_found_to_their_end(run, rng):
    labels = np.repeat(rng.integers(0, 3, -(-40_000 // run)), run)[:40_000].astype(np.int32)
    pre, post = rng.normal(40, 10, (2, 40_000)).astype(np.float32)
    post[::977] = np.nan
    agrees(pre, post, labels, [1, 2])


def test_integer_images_give_the_same_as_floats(rng):
    labels = np.repeat(rng.integers(0, 3, 500), 40).astype(np.int32)
    pre, post = rng.integers(-1024, 3072, (2, labels.size)).astype(np.int16)
    found = label_changes(pre, post, labels, [1, 2], threshold=50)
    floats = label_changes(pre.astype(np.float32), post.astype(np.float32), labels, [1, 2], threshold=50)
    assert all(found[name].tobytes() == floats[name].tobytes() for name in found)
    agrees(pre, post, labels, [1, 2])


@pytest.mark.parametrize("order", ["C", "F"])
def test_images_in_either_memory_order(order, rng):
    shape = (20, 18, 16)
    labels = np.asarray(rng.integers(0, 3, shape), np.int32, order=order)
    pre, post = (np.asarray(rng.normal(40, 10, shape), np.float32, order=order) for _ in range(2))
    agrees(pre, post, labels, [1, 2])
    mixed = label_changes(pre, np.asfortranarray(post), labels, [1, 2])
    same = label_changes(pre, post, labels, [1, 2])
    assert mixed["mean"] == pytest.approx(same["mean"], rel=1e-12)


def test_many_labels_fill_small_buffers(rng):
    labels = rng.integers(0, 4000, 60_000).astype(np.int32)
    pre, post = rng.normal(40, 10, (2, 60_000)).astype(np.float32)
    agrees(pre, post, labels, [1, 17, 3999])
    everything = label_changes(pre, post, labels, range(1, 4000))
    assert everything["n_voxels"].sum() == np.count_nonzero(labels)


def test_bytes_do_not_depend_on_threads(rng):
    labels = np.repeat(rng.integers(0, 6, 3000), 50).astype(np.int32)
    pre, post = rng.normal(40, 10, (2, labels.size)).astype(np.float32)
    one = label_changes(pre, post, labels, range(1, 6), workers=1)
    both = label_changes(pre, post, labels, range(1, 6), workers=numba.config.NUMBA_NUM_THREADS)
    assert all(one[name].tobytes() == both[name].tobytes() for name in one)


def test_each_image_has_its_own_top():
    """2000 in the first and 3000 in the second: values of 2500 are saturated before, not after."""
    pre, post = np.array([40, 2500, 40], np.float32), np.array([2500, 40, 3000], np.float32)
    found = label_changes(pre, post, np.ones(3, np.int32), [1], saturation_hu=(2000.0, 3000.0))
    assert (found["n_valid"][0], found["n_saturated"][0], found["mean"][0]) == (1, 2, 2460)


def test_shapes_and_labels_are_checked(rng):
    image = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="shapes differ"):
        label_changes(image, image, np.ones((4, 3), np.int32), [1])
    for numbers in ([], [0], [1 << 16]):
        with pytest.raises(ValueError, match="labels lie between"):
            label_changes(image, image, np.ones((4, 4), np.int32), numbers)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=60))
def test_subtraction_flags_what_is_no_measurement(pairs):
    pre, post = np.array(pairs, np.float32).T.copy()
    change, flags = np.empty(pre.size, np.float32), np.empty(pre.size, np.uint16)
    kernel.subtract(
        read_only(pre), read_only(post), np.float32(TOP), np.uint16(4), np.uint16(32), change, flags
    )
    with np.errstate(invalid="ignore"):
        difference = post - pre
    bright = (pre >= TOP) | (post >= TOP)
    assert np.array_equal(flags == 32, bright)
    assert np.array_equal(flags == 4, ~np.isfinite(difference) & ~bright)
    assert np.array_equal(change, np.where(flags == 0, difference, np.nan), equal_nan=True)


@given(
    st.lists(st.tuples(VALUES, st.floats(0.125, 50, width=32) | st.just(np.nan)), min_size=1, max_size=60),
    st.floats(1, 100),
    st.floats(0, 0.2),
    st.booleans(),
)
def test_concentrations_equal_those_of_the_array_level(pairs, slope, relative, masked):
    """NumPy's way, with its two parts of the error in quadrature."""
    change, noise = np.array(pairs, np.float32).T.copy()
    given = np.full(change.size, 1 if masked else 0, np.uint16)
    if masked:
        change[:] = np.nan
    out = np.empty((2, change.size), np.float32)
    flags = np.empty(change.size, np.uint16)
    marks = np.uint16(Flag.INVALID_INPUT.value), np.uint16(Flag.BELOW_NOISE.value)
    arrays = read_only(change), read_only(noise), read_only(given)
    kernel.concentrations(*arrays, 1 / slope, (0.0, relative), 3.3, marks, out[0], out[1], flags)
    wide = change.astype(np.float64), noise.astype(np.float64)
    fit = from_change(wide[0], Slope(slope, relative * slope, "I"), change_error=wide[1])
    np.testing.assert_allclose(out[0], fit.parameters[NAME], rtol=1e-6)
    np.testing.assert_allclose(out[1], fit.total_errors[NAME], rtol=1e-6)
    assert np.array_equal(flags, given if masked else fit.flags)


def test_what_the_change_shares_is_not_noise():
    """Noise 3 and 4 % of 100 HU together 5 HU; at 10 HU per mg/mL: LOD by the 3 HU only."""
    change = np.array([100.0, 9.9, 9.8], np.float32)
    noise = np.hypot(3.0, 0.04 * change).astype(np.float32)
    out, flags = np.empty((2, 3), np.float32), np.empty(3, np.uint16)
    arrays = read_only(change), read_only(noise), read_only(np.zeros(3, np.uint16))
    marks = np.uint16(4), np.uint16(2)
    kernel.concentrations(*arrays, 0.1, (0.04, 0.05), 3.3, marks, out[0], out[1], flags)
    assert out[1, 0] == pytest.approx(np.hypot(0.3, 0.5), rel=1e-6)
    assert flags[0] == 0
    assert flags[2] == 2


def test_warming_up_compiles_what_volumes_use(rng):
    """One type of array from every caller, so that the commands find all of it compiled."""
    groups = dict(warmup.compile_all())
    groups["differences of scans"]()
    groups["shifted regions"]()
    used = (kernel.label_differences, kernel.subtract, kernel.concentrations, shifted_means)
    before = [len(one.signatures) for one in used]
    pre, post = (
        Volume(
            rng.normal(40, 10, (24, 24, 12)), np.eye(4), "attenuation", "[HU]", acquisition=CtAcquisition()
        )
        for _ in range(2)
    )
    mask = np.zeros((24, 24, 12), bool)
    mask[8:12, 8:12, 4:8] = True
    regions = Regions.from_masks({"tumour": mask}, pre.grid)
    agent = ct.concentration(ct.enhancement(pre, post), material="HfO2", slope=26.6, slope_error=0.5)
    ct.region_table(agent, regions)
    ct.region_changes(pre, post, regions)
    assert [len(one.signatures) for one in used] == before
