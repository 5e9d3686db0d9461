"""Transforms to files and back, to the last bit; as SimpleITK reads them; and files that are none."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK

from imgtheranostics.errors import CorruptInput, OutputError, UnsupportedInput
from imgtheranostics.registration import Spline, Transform, load_transform, register, save_transform

LPS = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture
def linear():
    matrix = np.array([[0.96, -0.28, 0, 1.3], [0.28, 0.96, 0, -2.1], [0, 0, 1.05, 1 / 3], [0, 0, 0, 1]])
    return Transform(matrix, None, "affine")


@pytest.fixture
def deformed(linear, rng):
    lattice = np.array([[7.0, 0, 0, -20], [0, 0, -6.0, 15], [0, 5.0, 0, -18], [0, 0, 0, 1]])
    spline = Spline(rng.normal(size=(3, 6, 7, 5)), lattice)
    return Transform(linear.linear, spline, "bspline")


@pytest.mark.parametrize("suffix", [".tfm", ".json", ".txt"])
@pytest.mark.parametrize("kind", ["linear", "deformed"])
def test_what_was_saved_is_loaded(kind, suffix, request, tmp_path):
    transform = request.getfixturevalue(kind)
    path = tmp_path / f"one{suffix}"
    save_transform(transform, path)
    again = load_transform(path)
    assert again.model == transform.model
    points = np.random.default_rng(0).uniform(-8, 8, size=(50, 3))
    tolerance = 0 if suffix == ".json" else 1e-12
    np.testing.assert_allclose(again.apply(points), transform.apply(points), atol=tolerance, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["linear", "deformed"])
def test_itk_maps_the_same_points_in_its_own_coordinates(kind, request, tmp_path):
    transform = request.getfixturevalue(kind)
    save_transform(transform, tmp_path / "one.tfm")
    theirs = SimpleITK.ReadTransform(str(tmp_path / "one.tfm"))
    for point in np.random.default_rng(0).uniform(-8, 8, size=(20, 3)):
        expected = transform.apply(point)
        if np.isnan(expected).any():
            continue
        np.testing.assert_allclose(LPS @ theirs.TransformPoint((LPS @ point).tolist()), expected, atol=1e-9)


def test_a_rigid_transform_of_another_program_is_read(tmp_path):
    theirs = SimpleITK.Euler3DTransform([3.0, -2.0, 5.0], 0.1, -0.2, 0.3, [4.0, 5.0, -6.0])
    SimpleITK.WriteTransform(theirs, str(tmp_path / "slicer.tfm"))
    ours = load_transform(tmp_path / "slicer.tfm")
    point = np.array([12.0, -7.0, 3.0])
    np.testing.assert_allclose(
        ours.apply(point), LPS @ theirs.TransformPoint((LPS @ point).tolist()), atol=1e-9
    )
    back = ours.inverse().apply(ours.apply(point))
    np.testing.assert_allclose(back, point, atol=1e-9)


def test_a_registration_saves_its_quality(body, tmp_path):
    small = {"shape": (24, 24, 10)}
    found = register(body(**small), body(seed=1, **small), model="translation")
    found.save(tmp_path / "found.json")
    record = json.loads((tmp_path / "found.json").read_text())
    assert record["direction"].startswith("points of the fixed image to points of the moving")
    assert record["quality"]["converged"] is True
    assert record["quality"]["overlap"] == found.quality.overlap
    np.testing.assert_array_equal(load_transform(tmp_path / "found.json").linear, found.matrix)


def test_transforms_are_pickled_whole(deformed):
    again = pickle.loads(pickle.dumps(deformed))  # noqa: S301
    np.testing.assert_array_equal(again.spline.coefficients, deformed.spline.coefficients)
    assert not again.linear.flags.writeable
    with pytest.raises(UnsupportedInput, match="no inverse"):
        again.inverse()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a transform",
        b"{}",
        b"[1, 2]",
        b'{"format": "imgtheranostics-transform", "format_version": 1, "model": "rigid"}',
        b'{"format": "imgtheranostics-transform", "format_version": 1, "model": "rigid", "matrix": [[1]]}',
        b'{"format": "imgtheranostics-transform", "format_version": 9, "model": "rigid", "matrix": [[1]]}',
        b'{"format": "imgtheranostics-transform", "format_version": 1, "model": "rigid", "matrix": '
        b"[[NaN,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}",
        b'{"format": "imgtheranostics-transform", "format_version": 1, "model": "bspline", "matrix": '
        b'[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]], "spline": {"shape": [3, 2, 2], "affine": 1, '
        b'"coefficients_mm": []}}',
        b"[" * 5000,
        b"\xff\xfe\x00",
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".tfm"])
def test_files_that_hold_no_transform_are_refused(content, suffix, tmp_path):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(CorruptInput):
        load_transform(path)


def test_other_files_and_places_are_refused(linear, tmp_path):
    with pytest.raises(UnsupportedInput, match="tfm"):
        save_transform(linear, tmp_path / "one.mat")
    with pytest.raises(CorruptInput, match="does not exist"):
        load_transform(tmp_path / "none.tfm")
    with pytest.raises(OutputError):
        save_transform(linear, tmp_path / "no" / "folder" / "one.json")
    SimpleITK.WriteTransform(SimpleITK.Euler2DTransform(), str(tmp_path / "flat.tfm"))
    with pytest.raises(UnsupportedInput, match="three dimensions"):
        load_transform(tmp_path / "flat.tfm")
    field = SimpleITK.DisplacementFieldTransform(SimpleITK.Image([4, 4, 4], SimpleITK.sitkVectorFloat64))
    with pytest.raises(UnsupportedInput, match="kind"):
        Transform.from_sitk(field)


def test_simpleitk_is_loaded_by_those_who_register_only():
    """`registration` is reached from the package; SimpleITK takes half a second to load."""
    code = (
        "import sys, imgtheranostics as it\n"
        "from imgtheranostics.registration import register, resample, align_series, Transform\n"
        "import imgtheranostics.segmentation\n"
        "it.registration.Registration\n"
        "heavy = {'SimpleITK', 'skimage', 'matplotlib', 'pandas', 'scipy.ndimage', 'scipy.signal'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
