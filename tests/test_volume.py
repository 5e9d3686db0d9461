"""Grid, Axis, Volume and Estimate; exchange with nibabel and SimpleITK is exact."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from datetime import datetime

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imgtheranostics.acquisition import CtAcquisition, EmissionAcquisition, MrAcquisition, Radiopharmaceutical
from imgtheranostics.errors import Caution, CorruptInput, GeometryMismatch, UnitMismatch, UnsupportedInput
from imgtheranostics.volume import Axis, AxisMatch, Estimate, Grid, Source, Volume, make_step

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]

finite = st.floats(-1e3, 1e3)
spacings = st.tuples(*[st.floats(0.05, 20.0)] * 3)
angles = st.tuples(*[st.floats(-np.pi, np.pi)] * 3)


def rotation(turns):
    return nibabel.eulerangles.euler2mat(*turns)


def affine_of(turns=(0, 0, 0), spacing=(1.0, 2.0, 3.0), origin=(0, 0, 0), shear=0.0):
    affine = np.eye(4)
    affine[:3, :3] = rotation(turns) * np.array(spacing)
    affine[:3, 2] += shear * affine[:3, 0]
    affine[:3, 3] = origin
    return affine


def signal(data, affine=None, axes=()):
    return Volume(data, np.eye(4) if affine is None else affine, "signal", "[arb'U]", axes)


@pytest.mark.parametrize("shape", [(0, 1, 1), (2, 2), (2, 2, 2, 2), (-1, 2, 2)])
def test_grid_needs_three_positive_extents(shape):
    with pytest.raises(CorruptInput, match="extents"):
        Grid(shape, np.eye(4))


@pytest.mark.parametrize(
    ("affine", "word"),
    [
        (np.eye(3), "4 by 4"),
        (np.full((4, 4), np.nan), "finite"),
        (np.diag([1.0, 1, 0, 1]), "singular"),
        (np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
        (np.diag([1.0, 1, 1, 2]), "last row"),
    ],
)
def test_grid_refuses_affines_without_a_volume(affine, word):
    with pytest.raises(CorruptInput, match=word):
        Grid((2, 2, 2), affine)


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_singularity_does_not_depend_on_scale(scale):
    assert Grid((2, 2, 2), np.diag([scale, scale, scale, 1])).voxel_volume_ml == pytest.approx(
        scale**3 / 1000
    )


def test_voxel_volume_comes_from_the_determinant():
    """A shear of 15 degrees keeps the volume, not the product of the edge lengths."""
    grid = Grid((2, 2, 2), affine_of(shear=0.5))
    assert grid.voxel_volume_ml == pytest.approx(0.006)
    assert np.prod(grid.spacing_mm) > 6.0


@given(
    turns=angles,
    spacing=spacings,
    origin=st.tuples(finite, finite, finite),
    point=st.tuples(finite, finite, finite),
)
def test_world_and_index_are_inverse(turns, spacing, origin, point):
    grid = Grid((5, 6, 7), affine_of(turns, spacing, origin, 0.2))
    np.testing.assert_allclose(grid.index(grid.world_mm(point)), point, atol=1e-6)
    np.testing.assert_allclose(
        grid.world_mm(point), nibabel.affines.apply_affine(grid.affine, point), atol=1e-9
    )


def test_corners_are_voxel_centres():
    grid = Grid((2, 3, 4), np.diag([1.0, 2, 3, 1]))
    assert grid.corners_mm().tolist()[0] == [0, 0, 0]
    assert grid.corners_mm().tolist()[-1] == [1, 4, 9]


def test_grid_is_read_only_and_keeps_its_own_affine():
    mine = np.eye(4)
    grid = Grid((2, 2, 2), mine)
    mine[0, 0] = 5
    assert grid.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        grid.shape = (1, 1, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"origin": (3.0, 0, 0)}, ("origin by 3 mm", "3, 0, 0")),
        ({"spacing": (1.1, 2, 3)}, ("spacing 1, 2, 3 against 1.1, 2, 3 mm",)),
        ({"turns": (np.radians(2), 0, 0)}, ("direction by", "2, 2, 0 degrees")),
    ],
)
def test_comparison_says_what_differs_and_by_how_much(change, words):
    difference = Grid((10, 10, 10), affine_of()).same_as(Grid((10, 10, 10), affine_of(**change)))
    assert not difference
    assert difference.largest_displacement_mm > 0
    for word in words:
        assert word in str(difference)


def test_comparison_of_another_shape():
    difference = Grid((10, 10, 10), np.eye(4)).same_as(Grid((10, 10, 11), np.eye(4)))
    assert not difference
    assert "shape 10 x 10 x 10 against 10 x 10 x 11" in str(difference)


def test_origin_difference_too_small_for_every_single_test_still_differs():
    """Spacing, direction and origin each just below the tolerance add up at a corner."""
    first = Grid((100, 100, 100), np.eye(4))
    moved = np.diag([1.0009, 1.0009, 1.0009, 1])
    moved[:3, 3] = 0.04
    difference = first.same_as(Grid((100, 100, 100), moved), 0.1)
    assert not difference
    assert str(difference) != ""


@pytest.mark.parametrize(("shift", "same"), [(0.0199, True), (0.021, False)])
def test_default_tolerance_is_two_percent_of_the_smallest_spacing(shift, same):
    moved = affine_of()
    moved[0, 3] = shift
    assert bool(Grid((5, 5, 5), affine_of()).same_as(Grid((5, 5, 5), moved))) is same
    assert bool(Grid((5, 5, 5), affine_of()).same_as(Grid((5, 5, 5), moved), 1.0))


@given(turns=angles, spacing=spacings, origin=st.tuples(finite, finite, finite))
def test_a_grid_is_the_same_as_itself(turns, spacing, origin):
    grid = Grid((4, 5, 6), affine_of(turns, spacing, origin))
    assert grid.same_as(Grid((4, 5, 6), grid.affine.astype(np.float32).astype(np.float64)), 1e-2)
    assert grid.same_as(grid).largest_displacement_mm == 0


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_axis_match_finds_all_48_reorderings_of_an_oblique_grid(order, signs):
    shape = (4, 5, 6)
    base = affine_of((0.1, -0.2, 0.3), (1.0, 1.5, 2.5), (10, -20, 30))
    volume = signal(np.arange(120, dtype=np.float32).reshape(shape), base)
    match = AxisMatch(order, tuple(sign < 0 for sign in signs))
    other = volume.reordered(match)
    back = volume.grid.axis_match(other.grid)
    assert back is not None
    again = other.reordered(back)
    np.testing.assert_array_equal(again.data, volume.data)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-9)
    hot = (3, 1, 4)
    place = np.argwhere(other.data == volume.data[hot])[0]
    np.testing.assert_allclose(other.grid.world_mm(place), volume.grid.world_mm(hot), atol=1e-9)


@pytest.mark.parametrize(
    "other", [affine_of((0, 0, 0.1)), affine_of(origin=(0.5, 0, 0)), affine_of(spacing=(1, 2, 2.9))]
)
def test_axis_match_refuses_what_needs_interpolation(other):
    assert Grid((5, 5, 5), affine_of()).axis_match(Grid((5, 5, 5), other)) is None


def test_axis_match_of_a_grid_with_itself_changes_nothing():
    volume = signal(np.zeros((3, 4, 5)))
    match = volume.grid.axis_match(volume.grid)
    assert match is not None
    assert match.is_identity
    assert volume.reordered(match) is volume


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("weather", [1.0], "s"), ValueError),
        (("time", [1.0], "fortnight"), ValueError),
        (("time", [], "s"), ValueError),
        (("time", [[1.0]], "s"), ValueError),
    ],
)
def test_axis_refuses_what_it_does_not_know(arguments, error):
    with pytest.raises(error):
        Axis(*arguments)


def test_axis_keeps_its_own_values_and_compares_nan():
    values = np.array([1.0, np.nan])
    axis = Axis("time", values, "s")
    values[0] = 5
    assert axis.values[0] == 1
    assert axis.same_as(Axis("time", [1.0, np.nan], "s"))
    assert not axis.same_as(Axis("time", [1.0, np.nan], "ms"))
    assert not axis.same_as(Axis("time", [1.0, 2.0], "s"))
    with pytest.raises(ValueError, match="read-only"):
        axis.values[0] = 2


def test_float_data_in_the_right_form_are_not_copied():
    data = np.zeros((30, 30, 30), dtype=np.float32, order="F")
    volume = signal(data)
    assert np.shares_memory(volume.data, data)
    assert data.flags.writeable
    assert not volume.data.flags.writeable


def test_view_of_the_caller_stays_writeable():
    whole = np.zeros((3, 3, 3, 2), dtype=np.float32, order="F")
    part = whole[..., 0]
    volume = signal(part)
    assert part.flags.writeable
    assert not volume.data.flags.writeable
    assert np.shares_memory(volume.data, whole)


@pytest.mark.parametrize("dtype", [np.int16, np.float64, np.uint8, bool, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_data_become_float32_in_fortran_order(dtype, order):
    data = np.arange(24).reshape((2, 3, 4)).astype(dtype).copy(order=order)
    volume = signal(data)
    assert volume.data.dtype == np.float32
    assert volume.data.dtype.isnative
    assert volume.data.flags.f_contiguous
    np.testing.assert_array_equal(volume.data, data)


@pytest.mark.parametrize(("quantity", "dtype"), [("labels", np.int32), ("flags", np.uint16)])
def test_labels_and_flags_keep_whole_numbers(quantity, dtype):
    volume = Volume(np.ones((2, 2, 2), dtype=np.float64), np.eye(4), quantity, "1")
    assert volume.data.dtype == dtype
    for wrong in (0.5, -70000.0 if quantity == "flags" else 3e10, np.nan):
        with pytest.raises(CorruptInput, match="whole numbers"):
            Volume(np.full((2, 2, 2), wrong), np.eye(4), quantity, "1")


@pytest.mark.parametrize("data", [np.zeros((2, 2)), np.zeros((2, 2, 2, 3)), np.zeros((2, 2, 2, 2, 1))])
def test_data_must_fit_their_axes(data):
    with pytest.raises(GeometryMismatch, match="axes"):
        signal(data, axes=(Axis("time", [0, 1], "s"),))


def test_complex_data_are_no_volume():
    with pytest.raises(UnsupportedInput, match="real"):
        signal(np.ones((2, 2, 2), dtype=np.complex64))


@pytest.mark.parametrize(("quantity", "unit"), [("suv_bw", "Bq/mL"), ("weather", "1"), ("signal", "furlong")])
def test_quantity_and_unit_must_go_together(quantity, unit):
    with pytest.raises(UnitMismatch):
        Volume(np.zeros((2, 2, 2)), np.eye(4), quantity, unit)


def test_volume_cannot_be_changed():
    volume = signal(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="read-only"):
        volume.data[0, 0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.unit = "1"


def test_planar_view_has_voxels_contiguous_and_is_no_copy():
    data = np.arange(48, dtype=np.float32).reshape((2, 3, 4, 2), order="F")
    volume = signal(data, axes=(Axis("time", [0, 1], "s"),))
    assert volume.planar.shape == (2, 24)
    np.testing.assert_array_equal(volume.planar[1], np.arange(24, 48))
    assert np.shares_memory(volume.planar, volume.data)
    assert volume.planar.flags.c_contiguous
    assert signal(np.zeros((2, 2, 2))).planar.shape == (1, 8)


def test_frame_is_one_sample_of_the_last_axis():
    volume = signal(np.arange(16.0).reshape((2, 2, 2, 2), order="F"), axes=(Axis("time", [0.5, 3], "s"),))
    frame = volume.frame(1)
    np.testing.assert_array_equal(frame.data, volume.data[..., 1])
    assert np.shares_memory(frame.data, volume.data)
    assert frame.axes == ()
    assert frame.history[-1].parameters["value"] == 3.0
    with pytest.raises(ValueError, match="no axis"):
        frame.frame(0)
    with pytest.raises(IndexError):
        volume.frame(2)


def test_history_and_warnings_grow_and_never_repeat():
    caution = Caution("a", "b")
    volume = (
        signal(np.zeros((2, 2, 2)))
        .with_step("one", x=1)
        .with_warnings(caution, caution)
        .with_warnings(caution)
    )
    assert [step.name for step in volume.history] == ["one"]
    assert volume.history[0].parameters["x"] == 1
    assert volume.history[0].version
    assert volume.warnings == (caution,)
    derived = volume.derived(volume.data * 2, "enhancement", "%", make_step("two"))
    assert [step.name for step in derived.history] == ["one", "two"]
    assert derived.warnings == (caution,)


def test_representation_names_nobody():
    source = Source(files=(), subject="sub-1", identifiers={"PatientID": "Zq7Canary"})
    volume = Volume(np.zeros((2, 2, 2)), np.eye(4), "signal", "[arb'U]", source=source)
    assert "Zq7Canary" not in repr(volume) + str(volume) + repr(source)
    assert "2 x 2 x 2" in repr(volume)


@given(
    data=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=5, max_side=4),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    turns=angles,
    spacing=spacings,
    origin=st.tuples(finite, finite, finite),
)
def test_nibabel_and_back_is_exact(data, turns, spacing, origin):
    axes = tuple(Axis("component", np.arange(n), "1") for n in data.shape[3:])
    volume = signal(data, affine_of(turns, spacing, origin, 0.1), axes)
    image = volume.to_nibabel()
    again = Volume.from_nibabel(image, "signal", "[arb'U]", axes)
    assert again.data.tobytes(order="F") == volume.data.tobytes(order="F")
    np.testing.assert_array_equal(again.affine, volume.affine)


@given(
    data=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=5, max_side=4),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    turns=angles,
    spacing=spacings,
    origin=st.tuples(finite, finite, finite),
    mirrored=st.booleans(),
)
def test_simpleitk_and_back_is_exact(data, turns, spacing, origin, mirrored):
    """Bits of the voxels; the affine to what direction times spacing rounds to."""
    affine = affine_of(turns, spacing, origin)
    affine[:3, 0] *= -1 if mirrored else 1
    axes = tuple(Axis("component", np.arange(n), "1") for n in data.shape[3:])
    volume = signal(data, affine, axes)
    again = Volume.from_sitk(volume.to_sitk(), "signal", "[arb'U]", axes)
    assert again.shape == volume.shape
    assert again.data.tobytes(order="F") == volume.data.tobytes(order="F")
    np.testing.assert_allclose(again.affine, volume.affine, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_simpleitk_places_a_voxel_where_we_do(order, signs):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(order)] * np.array(signs) * np.array([1.5, 2.0, 3.5])
    affine[:3, 3] = (12.5, -40.0, 7.25)
    data = np.zeros((4, 5, 6), dtype=np.float32)
    data[3, 0, 5] = 7
    volume = signal(data, affine)
    image = volume.to_sitk()
    assert image.GetPixel(3, 0, 5) == 7
    lps = np.array(image.TransformIndexToPhysicalPoint((3, 0, 5)))
    np.testing.assert_allclose(volume.grid.world_mm((3, 0, 5)), lps * [-1, -1, 1], atol=1e-9)


def test_components_of_a_simpleitk_image_are_the_samples_in_order():
    volume = signal(
        np.arange(48, dtype=np.float32).reshape((2, 3, 4, 2), order="F"), axes=(Axis("time", [0, 1], "s"),)
    )
    image = volume.to_sitk()
    assert image.GetNumberOfComponentsPerPixel() == 2
    assert image.GetPixel(1, 2, 3) == (23.0, 47.0)


def test_single_component_axis_survives_simpleitk():
    axes = (Axis("time", [0.0], "s"),)
    volume = signal(np.arange(24.0).reshape((2, 3, 4, 1)), axes=axes)
    again = Volume.from_sitk(volume.to_sitk(), "signal", "[arb'U]", axes)
    np.testing.assert_array_equal(again.data, volume.data)


def test_sheared_grid_does_not_pretend_to_be_orthogonal_in_simpleitk():
    """An unorthogonal direction matrix must come back as it was, or be refused."""
    volume = signal(np.zeros((3, 3, 3)), affine_of(shear=0.3))
    try:
        image = volume.to_sitk()
    except (GeometryMismatch, RuntimeError):
        return
    again = Volume.from_sitk(image, "signal", "[arb'U]")
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-9)


def test_flat_simpleitk_image_is_refused():
    with pytest.raises(GeometryMismatch, match="three-dimensional"):
        Volume.from_sitk(SimpleITK.Image(4, 4, SimpleITK.sitkFloat32), "signal", "[arb'U]")


def test_labels_reach_simpleitk_as_whole_numbers():
    volume = Volume(np.full((2, 2, 2), 7), np.eye(4), "labels", "1")
    assert volume.to_sitk().GetPixelID() == SimpleITK.sitkInt32
    again = Volume.from_sitk(volume.to_sitk(), "labels", "1")
    np.testing.assert_array_equal(again.data, volume.data)


def test_nibabel_image_of_fewer_dimensions_gets_three():
    image = nibabel.Nifti1Image(np.ones((3, 4), dtype=np.float32), np.eye(4))
    assert Volume.from_nibabel(image, "signal", "[arb'U]").shape == (3, 4, 1)


def estimate(**changes):
    value = Volume(np.ones((2, 2, 2)), np.eye(4), "suv_bw", "g/mL")
    parts = {
        "value": value,
        "standard_error": value,
        "flags": Volume(np.zeros((2, 2, 2)), np.eye(4), "flags", "1"),
    }
    return Estimate(**(parts | changes))


def test_estimate_needs_one_grid_and_one_unit():
    whole = estimate(decisions={"clock": {"rule": "S"}})
    assert (whole.quantity, whole.unit, whole.axes) == ("suv_bw", "g/mL", ())
    with pytest.raises(TypeError):
        whole.decisions["clock"] = 1
    with pytest.raises(GeometryMismatch):
        estimate(flags=Volume(np.zeros((2, 2, 3)), np.eye(4), "flags", "1"))
    moved = np.eye(4)
    moved[0, 3] = 1
    with pytest.raises(GeometryMismatch):
        estimate(flags=Volume(np.zeros((2, 2, 2)), moved, "flags", "1"))
    with pytest.raises(GeometryMismatch):
        estimate(standard_error=Volume(np.ones((2, 2, 2)), np.eye(4), "id_per_g", "%/g"))


def test_estimate_gathers_the_warnings_of_its_parts():
    value = Volume(np.ones((2, 2, 2)), np.eye(4), "suv_bw", "g/mL").with_warnings(Caution("a", "b"))
    assert estimate(value=value, standard_error=value).warnings == (Caution("a", "b"),)


def test_estimate_and_its_parts_can_be_sent_to_another_process():
    whole = estimate(decisions={"clock": {"rule": "S"}})
    again = pickle.loads(pickle.dumps(whole))  # noqa: S301
    assert dict(again.decisions) == {"clock": {"rule": "S"}}
    with pytest.raises(TypeError):
        again.decisions["clock"] = 1
    axis = pickle.loads(pickle.dumps(Axis("time", [1.0], "s")))  # noqa: S301
    assert not axis.values.flags.writeable


def test_history_cannot_be_changed_afterwards():
    given_parameters = {"x": 1}
    step = make_step("one", **given_parameters)
    with pytest.raises(TypeError):
        step.parameters["x"] = 2


def test_volume_can_be_sent_to_another_process():
    volume = signal(np.arange(8.0).reshape((2, 2, 2))).with_step("one", x=1)
    again = pickle.loads(pickle.dumps(volume))  # noqa: S301
    np.testing.assert_array_equal(again.data, volume.data)
    assert not again.data.flags.writeable
    assert again.history[0].parameters["x"] == 1
    assert again.grid.same_as(volume.grid)


def test_acquisition_records_do_not_show_dates():
    """A date identifies; a record that lands in a log or a notebook must not tell it."""
    moment = datetime(1999, 8, 7, 6, 5)
    record = EmissionAcquisition(
        series_datetime=moment,
        private_scan_datetime=moment,
        acquisition_datetime=np.array([[moment]], "datetime64[us]"),
        radiopharmaceutical=Radiopharmaceutical(start_datetime=moment, start_time=moment.time()),
    )
    for other in (
        record,
        CtAcquisition(acquisition_datetime=moment),
        MrAcquisition(acquisition_datetime=moment),
    ):
        assert "1999" not in repr(other)
        assert "6, 5" not in repr(other)
