"""Slices into a stack: every patient orientation, and the refusals of traps 10 to 12 of the input rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, GeometryMismatch, MissingMetadata
from imgtheranostics.io.dicom.geometry import _best_grid

AXES = np.vstack([np.eye(3), -np.eye(3)])
ORIENTATIONS = [
    (tuple(row), tuple(column)) for row, column in itertools.product(AXES, AXES) if not np.dot(row, column)
]


def z_positions(*values: float) -> list[tuple[float, float, float]]:
    return [(0.0, 0.0, z) for z in values]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("row", "column"), ORIENTATIONS)
def test_hot_corner_keeps_its_place_in_the_patient(tmp_path, make_series, row, column, reverse):
    """24 pairs of axis directions, files in both orders: a bright corner, DICOM to NIfTI to SimpleITK.

    The place expected is DICOM's own formula (PS3.3 C.7.6.2.1.1), LPS turned into RAS.
    """
    stored = np.zeros((4, 5, 6), dtype=np.int16)
    stored[3, 4, 5] = 1000
    orientation = (*row, *column)
    paths = make_series(tmp_path, stored=stored, orientation=orientation, spacing=(1.5, 2.0), step_mm=3.0)
    volume = it.load(list(reversed(paths)) if reverse else paths)
    normal = np.cross(row, column)
    lps = (
        np.array([-10.0, -20.0, 5.0])
        + 3 * 3.0 * normal
        + 5 * 2.0 * np.array(row)
        + 4 * 1.5 * np.array(column)
    )
    expected = lps * [-1, -1, 1]
    hot = np.unravel_index(int(volume.data.argmax()), volume.shape)
    assert volume.grid.world_mm(hot) == pytest.approx(expected, abs=1e-6)
    nifti = volume.to_nibabel()
    assert (nifti.affine @ [*hot, 1])[:3] == pytest.approx(expected, abs=1e-4)
    image = volume.to_sitk()
    place = image.TransformIndexToPhysicalPoint([int(v) for v in hot])
    assert place == pytest.approx(lps, abs=1e-6)


@given(
    st.floats(-180, 180), st.floats(-180, 180), st.floats(-180, 180), st.floats(0.05, 5), st.integers(3, 30)
)
def test_any_rotation_is_a_regular_stack(a, b, c, step, n):
    from imgtheranostics.io.dicom.frames import Frame
    from imgtheranostics.io.dicom.geometry import stack

    cosines = _rotation(a, b, c)
    first = np.array([12.0, -7.0, 100.0])
    order = np.random.default_rng(n).permutation(n)
    frames = [
        Frame(
            None,
            position=tuple(first + k * step * cosines[2]),
            orientation=(*cosines[0], *cosines[1]),
            spacing=(0.4, 0.5),
        )
        for k in order
    ]
    stacked = stack(frames, None, "here")
    assert [int(order[m[0]]) for m in stacked.members] == list(range(n))
    lps = stacked.affine * np.array([[-1], [-1], [1], [1]])
    assert lps[:3, 3] == pytest.approx(first, abs=1e-6)
    assert lps[:3, 2] == pytest.approx(step * cosines[2], abs=1e-6)
    assert lps[:3, 0] == pytest.approx(0.5 * cosines[0], abs=1e-9)
    assert lps[:3, 1] == pytest.approx(0.4 * cosines[1], abs=1e-9)


def _rotation(a: float, b: float, c: float) -> np.ndarray:
    matrix = np.eye(3)
    for angle, (i, j) in zip(np.radians([a, b, c]), [(0, 1), (1, 2), (0, 2)], strict=True):
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def test_spacing_is_that_of_the_positions_not_the_slice_thickness(tmp_path, make_series):
    make_series(tmp_path, step_mm=3.0)  # SliceThickness 9 in every header
    assert it.load(tmp_path).grid.spacing_mm == pytest.approx((2.0, 1.5, 3.0))


def test_pixel_spacing_is_rows_first(tmp_path, make_series):
    """PixelSpacing = distance between rows, then between columns; i runs along a row."""
    make_series(tmp_path, spacing=(1.5, 2.0))
    volume = it.load(tmp_path)
    assert volume.shape == (6, 5, 4)
    assert volume.grid.spacing_mm[:2] == pytest.approx((2.0, 1.5))


def test_uneven_slices_are_refused_with_their_indices(tmp_path, make_series):
    """The example of the input rules: 0, 3, 6, 12, 15, 18."""
    make_series(tmp_path, stored=make_series.stored(6), positions=z_positions(0, 3, 6, 12, 15, 18))
    with pytest.raises(GeometryMismatch, match=r"uneven slice spacing.*from slice 2 to 3 \(6 mm\)") as caught:
        it.load(tmp_path)
    assert caught.value.exit_code == 6


def test_one_lost_slice_in_the_middle_of_many_is_found(tmp_path, make_series):
    places = [k * 2.0 for k in range(41) if k != 17]
    make_series(tmp_path, stored=make_series.stored(40, 2, 2), positions=z_positions(*places))
    with pytest.raises(GeometryMismatch, match="from slice 16 to 17"):
        it.load(tmp_path)


def test_duplicate_slice_is_refused_with_its_index(tmp_path, make_series):
    make_series(tmp_path, stored=make_series.stored(5), positions=z_positions(0, 3, 6, 6, 9))
    with pytest.raises(GeometryMismatch, match=r"duplicate.*at slice 2 \(2\)"):
        it.load(tmp_path)


def test_bed_joints_within_two_per_cent_load(tmp_path, make_series):
    """Real multi-bed PET: joints of 3.19 and 3.29 mm in a 3.27 mm grid."""
    steps = [3.27] * 10 + [3.29] + [3.27] * 10 + [3.19] + [3.27] * 10
    places = np.concatenate([[0.0], np.cumsum(steps)])
    make_series(tmp_path, stored=make_series.stored(len(places), 2, 2), positions=z_positions(*places))
    assert it.load(tmp_path).grid.spacing_mm[2] == pytest.approx(places[-1] / (len(places) - 1))


@pytest.mark.parametrize(("shift", "loads"), [(0.05, True), (0.15, False)])
def test_deviation_limit_is_two_per_cent_of_the_spacing(tmp_path, make_series, shift, loads):
    """One of nine slices out of place: the best grid takes less than half of the shift, the limit is 0.06."""
    places = [3.0 * k + (shift if k == 4 else 0.0) for k in range(9)]
    make_series(tmp_path, stored=make_series.stored(9, 2, 2), positions=z_positions(*places))
    if loads:
        assert it.load(tmp_path).shape == (2, 2, 9)
    else:
        with pytest.raises(GeometryMismatch, match="uneven"):
            it.load(tmp_path)


def test_micro_ct_spacing_has_a_floor_of_a_hundredth_mm(tmp_path, make_series):
    places = np.arange(8) * 0.02 + np.array([0, 0.004, 0, 0, 0, 0, 0, 0])
    make_series(tmp_path, stored=make_series.stored(8, 2, 2), positions=z_positions(*places))
    assert it.load(tmp_path).shape[2] == 8


def test_gantry_tilt_is_refused(tmp_path, make_series):
    """15 degrees: slices stacked along z while their normal is tilted."""
    tilt = np.radians(15)
    orientation = (1, 0, 0, 0, np.cos(tilt), np.sin(tilt))
    make_series(tmp_path, "CT", orientation=orientation, positions=z_positions(0, 3, 6, 9))
    with pytest.raises(GeometryMismatch, match=r"gantry tilt.*non-orthogonal.*15 degrees"):
        it.load(tmp_path)


def test_two_slices_are_too_few_and_one_is_a_plane(tmp_path, make_series):
    make_series(tmp_path / "two", stored=make_series.stored(2))
    make_series(tmp_path / "one", stored=make_series.stored(1))
    with pytest.raises(GeometryMismatch, match="too few slices"):
        it.load(tmp_path / "two")
    single = it.load(tmp_path / "one")
    assert single.shape == (6, 5, 1)
    assert single.grid.spacing_mm[2] == 9.0  # SliceThickness, for want of a neighbour


def test_single_slice_without_thickness_says_so(tmp_path, make_series):
    def edit(ds, k):
        del ds.SliceThickness

    make_series(tmp_path, stored=make_series.stored(1), edit=edit)
    assert [w.code for w in it.load(tmp_path).warnings] == ["slice-thickness-unknown"]


def test_images_at_one_position_are_no_volume(tmp_path, make_series):
    make_series(tmp_path, "CT", positions=z_positions(3, 3, 3, 3))
    with pytest.raises(GeometryMismatch, match="identical positions"):
        it.load(tmp_path)


def test_two_orientations_in_one_series_are_refused_and_can_be_chosen(tmp_path, make_series):
    make_series(tmp_path, "MR", prefix="a")
    make_series(tmp_path, "MR", prefix="b", orientation=(0, 1, 0, 0, 0, -1))
    with pytest.raises(GeometryMismatch, match="inconsistent orientation"):
        it.load(tmp_path)
    first, second = it.load(tmp_path, series=1), it.load(tmp_path, series=2)
    assert not first.grid.same_as(second.grid)
    assert all("inconsistent orientation" in one.problems[-1] for one in it.info(tmp_path))


def test_mixed_frames_of_reference_are_refused(tmp_path, make_series):
    def edit(ds, k):
        ds.FrameOfReferenceUID = "1.2.826.0.1.9" if k < 2 else "1.2.826.0.1.10"

    make_series(tmp_path, edit=edit)
    with pytest.raises(GeometryMismatch, match="mixed frames of reference"):
        it.load(tmp_path)


def test_slices_beside_the_line_are_refused(tmp_path, make_series):
    places = [(0.0, 0.0, 3.0 * k) for k in range(5)]
    places[2] = (0.5, 0.0, 6.0)
    make_series(tmp_path, stored=make_series.stored(5), positions=places)
    with pytest.raises(GeometryMismatch, match=r"not lie on one line.*slice 2"):
        it.load(tmp_path)


def test_images_side_by_side_are_refused(tmp_path, make_series):
    places = [(40.0 * (k // 3), 0.0, 3.0 * (k % 3)) for k in range(6)]
    make_series(tmp_path, "MR", stored=make_series.stored(6), positions=places)
    with pytest.raises(GeometryMismatch, match="beside each other"):
        it.load(tmp_path)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry_names_the_tag(tmp_path, make_series, keyword):
    def edit(ds, k):
        delattr(ds, keyword)

    make_series(tmp_path, edit=edit)
    with pytest.raises(MissingMetadata, match=keyword):
        it.load(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [2, 0, 0, 0, 2, 0]),
        ("ImagePositionPatient", [1, 2]),
        ("PixelSpacing", [0, 1]),
        ("PixelSpacing", [-1, 1]),
    ],
)
def test_malformed_geometry_is_corrupt(tmp_path, make_series, keyword, value):
    def edit(ds, k):
        setattr(ds, keyword, value)

    make_series(tmp_path, edit=edit)
    with pytest.raises(CorruptInput, match=keyword):
        it.load(tmp_path)


@pytest.mark.parametrize("word", [b"nan     ", b"inf     ", b"1e400   ", b"3,5     ", b"1_0     "])
def test_numbers_that_are_none_are_corrupt(tmp_path, make_series, patch_bytes, word):
    def edit(ds, k):
        ds.ImagePositionPatient = [0, 0, "7.654321" if k == 1 else str(3 * k)]

    paths = make_series(tmp_path, edit=edit)
    patch_bytes(paths[1], b"7.654321", word)
    with pytest.raises(CorruptInput, match="ImagePositionPatient"):
        it.load(tmp_path)


@given(st.integers(3, 80), st.floats(0.1, 10), st.floats(0, 0.5), st.integers(0, 10_000))
def test_best_grid_is_no_worse_than_least_squares(n, step, noise, seed):
    """The minimax deviation can only be below that of NumPy's least-squares line."""
    places = np.arange(n) * step + np.random.default_rng(seed).uniform(-noise, noise, n) * step
    residual, _ = _best_grid(places)
    line = np.polyval(np.polyfit(np.arange(n), places, 1), np.arange(n))
    assert np.abs(residual).max() <= np.abs(places - line).max() * (1 + 1e-9) + 1e-9
