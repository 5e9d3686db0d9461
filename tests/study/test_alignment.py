"""Scans of one subject brought onto each other, and regions carried over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import imgtheranostics as it
from imgtheranostics.cli.main import main
from imgtheranostics.errors import IllConditioned
from imgtheranostics.regions import Regions
from imgtheranostics.study.alignment import align
from imgtheranostics.volume import Axis, Volume

SHIFT_MM = np.array([3.0, -2.0, 1.0])
SHAPE = (36, 32, 28)
AFFINE = np.eye(4)


def body(shift=(0.0, 0.0, 0.0), seed=0) -> np.ndarray:
    """An ellipse with three organs of different grey, moved, with noise."""
    place = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(shift)
    value = np.where((((place - [18, 16, 14]) / [14, 11, 11]) ** 2).sum(-1) < 1, 100.0, 0.0)
    for centre, radius, level in (
        ([12, 14, 12], 4, 180.0),
        ([24, 19, 16], 3.5, 30.0),
        ([19, 10, 18], 3, 240.0),
    ):
        value[np.linalg.norm(place - centre, axis=-1) < radius] = level
    smooth = ndimage.gaussian_filter(value, 0.7)
    return (smooth + np.random.default_rng(seed).standard_normal(SHAPE)).astype(np.float32)


def volume(data) -> Volume:
    axes = (Axis("time", np.arange(data.shape[3]) * 60.0, "s"),) if data.ndim == 4 else ()
    return Volume(data, AFFINE, "signal", "1", axes)


def organ(shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    place = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(shift)
    return np.linalg.norm(place - np.array([24, 19, 16]), axis=-1) < 3.5


def test_regions_follow_the_body() -> None:
    fixed, moving = volume(body()), volume(body(SHIFT_MM, seed=1))
    drawn = Regions.from_masks({"organ": organ(SHIFT_MM)}, moving.grid)
    found = align(fixed, moving, regions=drawn)
    assert found.registration is not None
    assert found.registration.matrix is not None
    assert found.registration.matrix[:3, 3] == pytest.approx(SHIFT_MM, abs=0.15)
    assert found.regions is not None
    carried, true = found.regions.mask("organ"), organ()
    dice = 2 * (carried & true).sum() / (carried.sum() + true.sum())
    assert dice > 0.95


def test_a_series_is_registered_by_its_mean_and_moved_as_a_whole() -> None:
    frames = np.stack([body(SHIFT_MM, seed=n) * (1 + 0.2 * n) for n in range(3)], axis=-1)
    found = align(volume(body()), volume(frames))
    assert found.moved.shape == (*SHAPE, 3)
    inside = organ()
    means = [float(found.moved.data[..., n][inside].mean()) for n in range(3)]
    assert means[2] / means[0] == pytest.approx(1.4, abs=0.02)


def test_a_region_that_leaves_the_image_is_refused() -> None:
    fixed = volume(body())
    wide = np.zeros((60, 32, 28), np.float32)
    wide[:36] = body(SHIFT_MM, seed=1)
    far = np.zeros(wide.shape, bool)
    far[55:58, 10:14, 10:14] = True
    moving = volume(wide)
    with pytest.raises(IllConditioned, match="outside of the scan") as caught:
        align(fixed, moving, regions=Regions.from_masks({"far": far}, moving.grid))
    assert caught.value.where == "far"


def test_the_command_writes_scan_regions_and_transform(tmp_path: Path) -> None:
    it.save(volume(body()), tmp_path / "fixed.nii.gz")
    it.save(volume(body(SHIFT_MM, seed=1)), tmp_path / "moving.nii.gz")
    drawn = Regions.from_masks({"organ": organ(SHIFT_MM)}, volume(body()).grid)
    it.save_rois(drawn, tmp_path / "rois.nii.gz")
    paths = [str(tmp_path / name) for name in ("fixed.nii.gz", "moving.nii.gz")]
    rois = ["--rois", str(tmp_path / "rois.nii.gz")]
    assert main(["study", "align", *paths, *rois, "-o", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("moved.json", "moved.nii.gz", "regions.json", "regions.nii.gz", "transform.json")
    ]
    fixed = it.load(tmp_path / "fixed.nii.gz")
    carried = it.load_rois(tmp_path / "out" / "regions.nii.gz", like=fixed)
    assert list(carried) == ["organ"]
    transform = it.registration.load_transform(tmp_path / "out" / "transform.json")
    assert transform.matrix[:3, 3] == pytest.approx(SHIFT_MM, abs=0.15)
    assert main(["study", "align", *paths, "-o", str(tmp_path / "out")]) == 7
    assert main(["study", "align", *paths, "--model", "elastic", "-o", str(tmp_path / "no")]) == 2


def test_by_position_nothing_moves_but_the_grid(tmp_path: Path) -> None:
    """Regions of a finer grid whose origin lies elsewhere; the images share no structure to register."""
    coarse = volume(np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32))
    finer = np.diag([0.5, 0.5, 0.5, 1.0])
    finer[:3, 3] = [4.0, 5.0, 6.0]
    fine = Volume(np.ones((30, 30, 30), np.float32), finer, "signal", "1")
    drawn = np.zeros((30, 30, 30), bool)
    drawn[10:20, 10:20, 10:20] = True
    found = align(coarse, fine, regions=Regions.from_masks({"organ": drawn}, fine.grid), model="position")
    assert found.registration is None
    assert found.regions is not None
    # fine voxels 10 to 19 reach from 8.75 to 13.75 mm along the first axis: coarse voxels 9 to 13
    where = np.argwhere(found.regions.mask("organ"))
    assert where.min(axis=0).tolist() == [9, 10, 11]
    assert where.max(axis=0).tolist() == [13, 14, 15]
    it.save(coarse, tmp_path / "a.nii.gz")
    it.save(fine, tmp_path / "b.nii.gz")
    line = ["study", "align", str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz"), "--model", "position"]
    assert main([*line, "-o", str(tmp_path / "out"), "-q"]) == 0
    told = json.loads((tmp_path / "out" / "transform.json").read_text())
    assert told["matrix"] == np.eye(4).tolist()
