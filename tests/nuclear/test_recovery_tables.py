"""Regions before and after the correction for partial volume: noise-free spheres, errors, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from imgtheranostics.errors import IllConditioned, NothingUsable, UnsupportedInput
from imgtheranostics.nuclear.partial_volume import gtm, sphere_recovery
from imgtheranostics.nuclear.recovery_rows import sphere_diameter_mm
from imgtheranostics.nuclear.recovery_tables import METHODS, correct_partial_volume, partial_volume_table
from imgtheranostics.nuclear.sphere_resolution import psf_of_sphere
from imgtheranostics.regions import FWHM_PER_SD, STATISTICS_COLUMNS, Regions
from imgtheranostics.volume import Axis, Estimate, Volume

SHAPE, H = (60, 52, 36), 0.5
FWHM = 1.6
HOT, WARM = 12.0, 1.0
DIAMETERS = {"d8": 8.0, "d6": 6.0, "d4": 4.0}
CENTRES = {"d8": (8.25, 8.0, 9.0), "d6": (21.0, 8.25, 9.0), "d4": (14.0, 19.0, 9.25)}


def spheres():
    place = np.moveaxis(np.indices(SHAPE), 0, -1) * H
    return {
        name: np.linalg.norm(place - np.array(CENTRES[name]), axis=-1) <= d / 2
        for name, d in DIAMETERS.items()
    }


@pytest.fixture(scope="module")
def masks():
    return spheres()


@pytest.fixture(scope="module")
def image(masks):
    """SciPy's Gaussian of a piecewise uniform image."""
    sharp = np.where(sum(masks.values()) > 0, HOT, WARM)
    blurred = ndimage.gaussian_filter(sharp.astype(float), FWHM / FWHM_PER_SD / H, mode="reflect")
    return Volume(blurred, np.diag([H, H, H, 1.0]), "id_per_g", "%/g")


@pytest.fixture(scope="module")
def rois(masks, image):
    return Regions.from_masks(masks, image.grid)


def cell(table, region, quantity, column="mean"):
    found = table[(table["region"] == region) & (table["quantity"] == quantity)]
    assert len(found) == 1, (region, quantity, len(found))
    return float(found[column].iloc[0])


@pytest.mark.parametrize("method", ["gtm", "rbv", "iterative_yang", "sphere"])
def test_noise_free_spheres_come_back(image, rois, masks, method):
    """To 1 %; a sphere drawn on voxels is not quite one for the closed form, to 3 %."""
    options = {"surroundings": WARM} if method == "sphere" else {}
    found = correct_partial_volume(image, rois, psf_fwhm_mm=FWHM, method=method, **options)
    assert set(STATISTICS_COLUMNS) <= set(found.table.columns)
    for name, mask in masks.items():
        assert cell(found.table, name, "id_per_g") == pytest.approx(
            HOT, rel=0.03 if method == "sphere" else 0.01
        )
        before = float(image.data[mask].mean())
        assert cell(found.table, name, "uncorrected_mean") == pytest.approx(before, rel=1e-5)
        share = before / cell(found.table, name, "id_per_g")
        assert cell(found.table, name, "apparent_recovery") == pytest.approx(share, rel=1e-5)
        if method in ("gtm", "sphere"):
            kept = cell(found.table, name, "recovery_coefficient")
            assert kept == pytest.approx(sphere_recovery(DIAMETERS[name], FWHM)[0], rel=0.03)
    assert (found.map is None) == (method in ("gtm", "sphere"))


def test_background_is_a_region_of_its_own(image, rois):
    table = partial_volume_table(image, rois, psf_fwhm_mm=FWHM)
    assert cell(table, "background", "id_per_g") == pytest.approx(WARM, rel=0.01)
    without = partial_volume_table(image, rois, psf_fwhm_mm=FWHM, background=False)
    assert "background" not in set(without["region"])


@pytest.mark.parametrize("method", ["richardson_lucy", "van_cittert"])
def test_sharpening_brings_means_closer(image, rois, method):
    table = partial_volume_table(image, rois, psf_fwhm_mm=FWHM, method=method)
    for name in DIAMETERS:
        assert cell(table, name, "uncorrected_mean") < cell(table, name, "id_per_g") < 1.05 * HOT
    assert not (table["quantity"] == "recovery_coefficient").any()


def test_frames_are_corrected_one_by_one(image, rois):
    twice = Volume(
        np.stack([image.data, 3 * image.data], axis=-1), image.affine, "id_per_g", "%/g",
        (Axis("time", [60.0, 120.0], "s"),),
    )  # fmt: skip
    for method, options in (("gtm", {}), ("rbv", {}), ("sphere", {"surroundings": WARM})):
        table = partial_volume_table(twice, rois, psf_fwhm_mm=FWHM, method=method, **options)
        rows = table[(table["region"] == "d8") & (table["quantity"] == "id_per_g")]
        assert rows["axis_value"].tolist() == [60.0, 120.0]
        if method != "sphere":
            np.testing.assert_allclose(rows["mean"], [HOT, 3 * HOT], rtol=0.01)
        kept = table[(table["region"] == "d8") & (table["quantity"] == "recovery_coefficient")]
        assert len(kept) == (0 if method == "rbv" else 1)


def test_the_error_of_the_width_is_that_of_two_corrections(image, rois):
    """Half of the difference between widths one standard error larger and smaller."""
    known = partial_volume_table(image, rois, psf_fwhm_mm=FWHM)
    found = partial_volume_table(image, rois, psf_fwhm_mm=FWHM, fwhm_relative_uncertainty=0.1)
    ends = [gtm(image, rois, psf_fwhm_mm=f * FWHM).set_index("region")["mean"] for f in (1.1, 0.9)]
    for name in DIAMETERS:
        part = 0.5 * abs(float(ends[0][name] - ends[1][name]))
        own = cell(known, name, "id_per_g", "standard_error")
        assert cell(found, name, "id_per_g", "standard_error") == pytest.approx(math.hypot(own, part))
    assert math.isnan(cell(known, "d8", "recovery_coefficient", "standard_error"))
    assert cell(found, "d8", "recovery_coefficient", "standard_error") > 0


def test_calibration_that_voxels_share_stays(image, rois):
    zero = image.replace(data=np.zeros(SHAPE, np.uint16), quantity="flags", unit="1")
    shared = Estimate(image, image.replace(data=0.05 * image.data), zero, 0.05)
    table = partial_volume_table(shared, rois, psf_fwhm_mm=FWHM)
    relative = cell(table, "d8", "id_per_g", "standard_error") / cell(table, "d8", "id_per_g")
    assert relative == pytest.approx(0.05, rel=0.05)


def test_resolution_of_a_sphere_among_the_regions(image, rois):
    found = psf_of_sphere(image, rois, "d8", 8.0)
    assert found.fwhm_mm == pytest.approx(FWHM, rel=0.03)
    frames = Volume(
        np.stack([image.data, image.data], axis=-1), image.affine, "id_per_g", "%/g",
        (Axis("time", [60.0, 120.0], "s"),),
    )  # fmt: skip
    assert psf_of_sphere(frames, rois, "d8", 8.0).fwhm_mm == pytest.approx(found.fwhm_mm, rel=1e-6)
    with pytest.raises(NothingUsable, match="no such region"):
        psf_of_sphere(image, rois, "d99", 8.0)


@pytest.mark.parametrize("method", ["gtm", "rbv", "iterative_yang", "sphere"])
def test_a_point_spread_larger_than_a_region_is_refused(image, rois, method):
    options = {"surroundings": 0.0} if method == "sphere" else {}
    with pytest.raises(IllConditioned, match="larger than a region"):
        correct_partial_volume(image, rois, psf_fwhm_mm=4.6, method=method, **options)


def test_sharpening_says_what_it_cannot_resolve(image, rois):
    found = correct_partial_volume(image, rois, psf_fwhm_mm=4.6, method="van_cittert")
    [caution] = [one for one in found.warnings if one.code == "region-below-resolution"]
    assert caution.message.startswith("d4:")


def test_spheres_need_their_surroundings_and_one_width(image, rois, masks):
    with pytest.raises(ValueError, match="surroundings"):
        correct_partial_volume(image, rois, psf_fwhm_mm=FWHM, method="sphere")
    with pytest.raises(UnsupportedInput, match="same in all directions"):
        correct_partial_volume(image, rois, psf_fwhm_mm=(1.6, 1.6, 2.1), method="sphere", surroundings=0.0)
    with pytest.raises(NothingUsable, match="no such region"):
        correct_partial_volume(image, rois, psf_fwhm_mm=FWHM, method="sphere", surroundings="muscle")
    around = np.zeros(SHAPE, bool)
    around[:, -6:] = True
    drawn = Regions.from_masks({**masks, "muscle": around}, image.grid)
    found = correct_partial_volume(
        image, drawn, psf_fwhm_mm=FWHM, method="sphere", surroundings="muscle", diameters_mm={"d8": 8.0}
    )
    assert cell(found.table, "d8", "id_per_g") == pytest.approx(HOT, rel=0.03)
    assert "muscle" not in set(found.table["region"])
    wrong = correct_partial_volume(
        image, rois, psf_fwhm_mm=FWHM, method="sphere", surroundings=WARM, diameters_mm={"d8": 5.0}
    )
    assert "region-not-sphere" in {one.code for one in wrong.warnings}


def test_options_in_vain_and_unknown_methods_are_refused(image, rois):
    with pytest.raises(ValueError, match="one of gtm"):
        correct_partial_volume(image, rois, psf_fwhm_mm=FWHM, method="magic")
    with pytest.raises(ValueError, match="not apply"):
        correct_partial_volume(image, rois, psf_fwhm_mm=FWHM, iterations=3)
    with pytest.raises(ValueError, match="from 0"):
        correct_partial_volume(image, rois, psf_fwhm_mm=FWHM, fwhm_relative_uncertainty=-0.1)
    with pytest.raises(ValueError, match="positive"):
        correct_partial_volume(image, rois, psf_fwhm_mm=-1.0)
    assert len(METHODS) == 6


@settings(max_examples=20, deadline=None)
@given(
    st.floats(1e-3, 1e4), st.sampled_from(["gtm", "rbv", "iterative_yang", "van_cittert", "richardson_lucy"])
)
def test_corrections_do_not_depend_on_the_unit(factor, method):
    """Another unit of the image: every mean times the factor, every recovery as it was."""
    place = np.moveaxis(np.indices((14, 12, 10)), 0, -1) * 1.0
    mask = np.linalg.norm(place - np.array([6.0, 6.0, 5.0]), axis=-1) <= 3.2
    values = ndimage.gaussian_filter(np.where(mask, 5.0, 1.0), 0.8, mode="reflect")
    small = Volume(values, np.eye(4), "id_per_g", "%/g")
    rois = Regions.from_masks({"one": mask}, small.grid)
    scaled = small.replace(data=values * factor)
    one, other = (
        partial_volume_table(x, rois, psf_fwhm_mm=2.0, method=method).set_index(["region", "quantity"])[
            "mean"
        ]
        for x in (small, scaled)
    )
    for key, value in one.items():
        expected = value if key[1] in ("apparent_recovery", "recovery_coefficient") else factor * value
        assert other[key] == pytest.approx(expected, rel=1e-4)


def test_diameter_of_a_volume():
    assert sphere_diameter_mm(4 / 3 * math.pi * 0.5**3) == pytest.approx(10.0)
