"""PERCIST: the threshold from liver and blood, and lesions whose peak reaches it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imgtheranostics.errors import GeometryMismatch, NothingUsable, UnitMismatch
from imgtheranostics.nuclear import percist_lesions, percist_threshold
from imgtheranostics.nuclear.peak import region_peaks
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation import ball_regions, lesion_record
from imgtheranostics.volume import Volume

LIVER_AT = {"liver": (40.0, 0.0, 0.0)}


def body(lesions, *, noise=0.2, quantity="suv_lbm_janmahasatian", shape=(80, 60, 50), spacing=2.0):
    rng = np.random.default_rng(5)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = -0.5 * spacing * (np.array(shape) - 1)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = index * spacing + affine[:3, 3]
    data = np.full(shape, 0.5)
    data[np.linalg.norm(world - LIVER_AT["liver"], axis=-1) < 24.0] = 1.6
    for centre, radius, level in lesions:
        data[np.linalg.norm(world - np.array(centre), axis=-1) < radius] = level
    return Volume(data + noise * rng.normal(size=shape), affine, quantity, "g/mL")


def liver(v):
    return ball_regions(v.grid, LIVER_AT, 30.0)


def test_threshold_is_that_of_the_formula():
    v = body([])
    found = percist_threshold(v, liver(v))
    inside = v.data[liver(v).mask("liver")].astype(float)
    assert found.volume_ml == pytest.approx(math.pi / 6 * 27.0, rel=0.02)
    assert found.value == pytest.approx(1.5 * inside.mean() + 2.0 * inside.std(ddof=1))
    assert found.value == pytest.approx(1.5 * 1.6 + 0.4, rel=0.02)
    assert found.warnings == ()
    blood = percist_threshold(v, liver(v), kind="blood")
    assert blood.value == pytest.approx(2.0 * inside.mean() + 2.0 * inside.std(ddof=1))
    assert percist_threshold(v, liver(v), factor=1.0).value < found.value


def test_only_lesions_whose_peak_reaches_it_are_measured():
    # the third is hot, but a few voxels: the mean of 1 mL around it is below the threshold of 2.8
    v = body([((-50, 0, 0), 14.0, 6.0), ((-10, 20, 0), 10.0, 4.0), ((0, -30, 20), 2.5, 7.0)])
    threshold = percist_threshold(v, liver(v))
    found = percist_lesions(v, threshold)
    assert list(found) == ["lesion-1", "lesion-2"]
    assert "lesions-not-measurable" in [caution.code for caution in found.warnings]
    peaks = region_peaks(v, found).value[0]
    for name, peak in zip(found, peaks, strict=True):
        assert peak >= threshold.value
        assert lesion_record(found, name)["sul_peak"] == pytest.approx(peak)
        assert v.data[found.mask(name)].min() >= threshold.value
    volume = int(found.mask("lesion-1").sum()) * 8e-3
    assert volume == pytest.approx(4.0 / 3.0 * math.pi * 1.4**3, rel=0.05)
    said = found.history[-1].parameters
    assert (said["reference"], said["factor"], said["sd_times"]) == ("liver", 1.5, 2.0)


def test_small_lesions_are_told():
    v = body([((-50, 0, 0), 8.0, 6.0)])
    found = percist_lesions(v, percist_threshold(v, liver(v)), seeds_mm={"node": (-48, 0, 0)})
    assert list(found) == ["node"]
    assert "lesion-below-percist-size" in [caution.code for caution in found.warnings]


def test_a_reference_of_another_size_is_told():
    v = body([])
    small = ball_regions(v.grid, LIVER_AT, 16.0)
    assert [caution.code for caution in percist_threshold(v, small).warnings] == ["reference-not-3-cm"]
    assert percist_threshold(v, small, kind="blood").warnings == ()


def test_no_measurable_lesion_is_refused():
    v = body([((-50, 0, 0), 10.0, 2.4)])
    with pytest.raises(NothingUsable, match="no lesion is measurable"):
        percist_lesions(v, percist_threshold(v, liver(v)))
    with pytest.raises(NothingUsable, match="no lesion is measurable"):
        percist_lesions(v, percist_threshold(v, liver(v)), seeds_mm=[(-50, 0, 0)])


@pytest.mark.parametrize(("quantity", "unit"), [("suv_bw", "g/mL"), ("activity_concentration", "Bq/mL")])
def test_anything_but_lean_body_mass_is_refused(quantity, unit):
    v = body([]).replace(quantity=quantity, unit=unit)
    with pytest.raises(UnitMismatch, match="lean body mass") as refusal:
        percist_threshold(v, liver(v))
    assert quantity in refusal.value.found


def test_bad_references_are_refused():
    v = body([])
    both = ball_regions(v.grid, {**LIVER_AT, "blood": (0.0, 0.0, 0.0)}, 20.0)
    with pytest.raises(ValueError, match="one region"):
        percist_threshold(v, both)
    with pytest.raises(ValueError, match="kind must be"):
        percist_threshold(v, liver(v), kind="spleen")
    with pytest.raises(ValueError, match="factor"):
        percist_threshold(v, liver(v), factor=-1.0)
    cold = v.replace(data=-np.abs(v.data))
    with pytest.raises(NothingUsable, match="no uptake"):
        percist_threshold(cold, liver(v))
    empty = Regions.from_masks({"liver": np.zeros(v.grid.shape)}, v.grid)
    with pytest.raises(NothingUsable, match="no uptake"):
        percist_threshold(v, empty)


def test_balls_hold_the_voxels_within_their_radius():
    v = body([])
    ball = ball_regions(v.grid, {"a": (0.0, 0.0, 0.0)}, 30.0)
    index = np.argwhere(ball.mask("a"))
    assert np.linalg.norm(v.grid.world_mm(index), axis=1).max() <= 15.0
    assert len(index) * 8e-3 == pytest.approx(math.pi / 6 * 27.0, rel=0.02)
    beyond = ball_regions(v.grid, {"a": (-78.0, 0.0, 0.0)}, 30.0)
    assert [caution.code for caution in beyond.warnings] == ["ball-beyond-image"]
    with pytest.raises(GeometryMismatch, match="outside the image"):
        ball_regions(v.grid, {"a": (300.0, 0.0, 0.0)}, 30.0)
    with pytest.raises(NothingUsable, match="no voxel centre"):
        ball_regions(v.grid, {"a": (0.0, 0.0, 0.0)}, 0.5)
    with pytest.raises(ValueError, match="three numbers"):
        ball_regions(v.grid, {"a": (0.0, 0.0)}, 30.0)
    with pytest.raises(ValueError, match="above 0"):
        ball_regions(v.grid, {"a": (0.0, 0.0, 0.0)}, 0.0)
