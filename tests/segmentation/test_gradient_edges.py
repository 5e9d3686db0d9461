"""The watershed against where the closed form is steepest, and against SimpleITK's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation import gradient_watershed, lesion_record
from imgtheranostics.volume import Volume

AT = {"seeds_mm": [(2.0, 1.0, 0.0)], "reach_mm": 38.0}


@pytest.mark.parametrize("diameter", [17.0, 22.0, 28.0, 37.0, 50.0])
@pytest.mark.parametrize("smoothing", [1.5, 2.5])
def test_the_edge_is_where_the_blurred_sphere_is_steepest(spheres, profile, diameter, smoothing):
    v = spheres([((0.3, -0.2, 0.4), diameter, 8.0)])
    found = gradient_watershed(v, **AT, smoothing_mm=smoothing)
    total = math.hypot(5.0, smoothing * 2.3548200450309493)
    r = np.linspace(0.3 * diameter, 0.7 * diameter, 2001)
    steepest = r[np.argmin(np.gradient(profile(r, diameter, total), r))]
    expected = 4.0 / 3.0 * math.pi * steepest**3 / 1000.0
    # by voxels of 2 mm: a twentieth of a voxel at the edge of the largest, a fifth at that of the smallest
    shift = 3.0 * 0.3 / steepest
    assert lesion_record(found, "lesion")["volume_ml"] == pytest.approx(expected, rel=shift)


def test_it_agrees_with_the_watershed_of_simpleitk(spheres, rng):
    import SimpleITK
    from scipy import ndimage

    clean = spheres([((0.3, -0.2, 0.4), 30.0, 8.0)])
    noise = ndimage.gaussian_filter(rng.normal(size=clean.shape), 1.0)
    v = clean.replace(data=clean.data + 0.3 * noise / noise.std())
    found = gradient_watershed(v, **AT).mask("lesion")
    image = v.to_sitk()
    gradient = SimpleITK.GradientMagnitudeRecursiveGaussian(image, 2.0)
    distance = np.linalg.norm(
        np.stack(np.meshgrid(*[np.arange(n) for n in v.shape], indexing="ij"), -1) * 2.0 + v.affine[:3, 3],
        axis=-1,
    )
    markers = np.zeros(v.shape, np.uint8)
    markers[distance < 8.0] = 2
    markers[distance > 22.0] = 1
    seeds = SimpleITK.GetImageFromArray(markers.T)
    seeds.CopyInformation(image)
    flooded = SimpleITK.MorphologicalWatershedFromMarkers(gradient, seeds, markWatershedLine=False)
    reference = SimpleITK.GetArrayFromImage(flooded).T == 2
    dice = 2 * np.sum(found & reference) / (found.sum() + reference.sum())
    assert dice > 0.95


def test_contrast_does_not_move_the_edge(spheres):
    volumes = [
        lesion_record(gradient_watershed(spheres([((0, 0, 0), 28.0, level)]), **AT), "lesion")["volume_ml"]
        for level in (2.0, 8.0, 40.0)
    ]
    assert max(volumes) - min(volumes) < 0.03 * volumes[0]


def test_no_threshold_is_claimed(spheres):
    found = gradient_watershed(spheres([((0, 0, 0), 28.0, 8.0)]), **AT)
    record = lesion_record(found, "lesion")
    assert "threshold" not in record
    assert record["background"] == pytest.approx(1.0, abs=0.1)
    assert found.history[-1].parameters["method"] == "gradient"


def test_anisotropic_voxels_and_a_region(spheres):
    v = spheres([((0, 0, 0), 30.0, 8.0)], spacing=(2.0, 2.0, 3.0), shape=(44, 44, 30))
    box = np.zeros(v.grid.shape, bool)
    box[10:34, 10:34, 7:23] = True
    found = gradient_watershed(v, within=Regions.from_masks({"tumour": box}, v.grid), smoothing_mm=2.0)
    assert lesion_record(found, "tumour")["volume_ml"] == pytest.approx(14.14, rel=0.12)


def test_missing_voxels_do_not_become_edges(spheres):
    v = spheres([((0, 0, 0), 28.0, 8.0)])
    whole = lesion_record(gradient_watershed(v, **AT), "lesion")["volume_ml"]
    data = np.array(v.data)
    data[24, 30, 22] = np.nan
    holed = gradient_watershed(v.replace(data=data), **AT)
    assert lesion_record(holed, "lesion")["volume_ml"] == pytest.approx(whole, rel=0.02)
    assert "missing-voxels" in [caution.code for caution in holed.warnings]


def test_shear_and_bad_smoothing_are_refused():
    affine = np.eye(4)
    affine[0, 2] = 0.3
    v = Volume(np.ones((8, 8, 8)), affine, "suv_bw", "g/mL")
    with pytest.raises(UnsupportedInput, match="right angles"):
        gradient_watershed(v, seeds_mm=[(3, 3, 3)])
    with pytest.raises(ValueError, match="smoothing_mm"):
        gradient_watershed(v.replace(affine=np.eye(4)), seeds_mm=[(3, 3, 3)], smoothing_mm=-1.0)
