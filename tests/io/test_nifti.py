"""Reading NIfTI: geometry, scaling, types, pairs and Analyze against nibabel and SimpleITK."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nibabel.testing import data_path

from imgtheranostics.errors import CorruptInput, NothingUsable
from imgtheranostics.io.nifti import is_nifti, load_nifti, read_header

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]
TYPES = [
    np.uint8,
    np.int8,
    np.int16,
    np.uint16,
    np.int32,
    np.uint32,
    np.int64,
    np.uint64,
    np.float32,
    np.float64,
]


def oriented(order, signs, spacing=(1.5, 2.0, 3.5), origin=(12.5, -40.0, 7.25)):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(order)] * np.array(signs) * np.array(spacing)
    affine[:3, 3] = origin
    return affine


def save(data, affine, path, kind=nibabel.Nifti1Image, scaling=None, **options):
    made = kind(data, affine, dtype=data.dtype)
    if hasattr(made.header, "set_xyzt_units"):
        made.header.set_xyzt_units("mm", "sec")
    if scaling:
        made.header.set_slope_inter(*scaling)
    nibabel.save(made, path)
    return path


def codes(volume):
    return [caution.code for caution in volume.warnings]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_all_48_orientations_place_a_hot_corner_where_nibabel_and_simpleitk_do(tmp_path, order, signs):
    affine = oriented(order, signs)
    data = np.zeros((4, 5, 6), dtype=np.float32)
    data[3, 0, 5] = 7.0
    path = save(data, affine, tmp_path / "image.nii")
    volume = load_nifti([path])[0]
    hot = np.argwhere(volume.data == 7.0)[0]
    world = volume.grid.world_mm(hot)
    np.testing.assert_allclose(world, nibabel.affines.apply_affine(nibabel.load(path).affine, hot))
    image = SimpleITK.ReadImage(str(path))
    lps = image.TransformIndexToPhysicalPoint([int(n) for n in hot])
    np.testing.assert_allclose(world * [-1, -1, 1], lps, atol=1e-4)
    assert volume.warnings == ()


@given(
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    spacing=st.tuples(*[st.floats(0.05, 20.0)] * 3),
    origin=st.tuples(*[st.floats(-500.0, 500.0)] * 3),
    mirrored=st.booleans(),
    by_quaternion=st.booleans(),
)
def test_oblique_affines_equal_those_of_nibabel(
    tmp_path_factory, angles, spacing, origin, mirrored, by_quaternion
):
    affine = np.eye(4)
    affine[:3, :3] = nibabel.eulerangles.euler2mat(*angles) * np.array(spacing)
    affine[:3, 2] *= -1 if mirrored else 1
    affine[:3, 3] = origin
    made = nibabel.Nifti1Image(np.zeros((2, 3, 4), dtype=np.float32), None)
    made.header.set_xyzt_units("mm")
    if by_quaternion:
        made.set_qform(affine, code=1)
        made.set_sform(None, code=0)
    else:
        made.set_sform(affine, code=1)
        made.set_qform(affine, code=0)
    path = tmp_path_factory.getbasetemp() / "oblique.nii"
    nibabel.save(made, path)
    volume = load_nifti([path])[0]
    np.testing.assert_allclose(volume.affine, nibabel.load(path).affine, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scaling", [None, (0.25, -3.5)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_every_type_scale_and_byte_order_gives_the_values_of_nibabel(tmp_path, dtype, scaling, order, name):
    rng = np.random.default_rng(3)
    data = rng.integers(0, 100, (7, 6, 5)).astype(dtype)
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    header.set_data_shape(data.shape)
    header.set_sform(np.diag([1.0, 2, 3, 1]), code=1)
    header["scl_slope"], header["scl_inter"] = scaling or (1.0, 0.0)
    header["vox_offset"], header["xyzt_units"] = 352, 2
    header["pixdim"][1:4] = (1, 2, 3)
    content = header.binaryblock + bytes(4) + data.astype(header.get_data_dtype()).tobytes(order="F")
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    volume = load_nifti([path])[0]
    expected = data.astype(np.float64) * (scaling or (1, 0))[0] + (scaling or (1, 0))[1]
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, expected.astype(np.float32))
    np.testing.assert_array_equal(volume.data, nibabel.load(path).get_fdata().astype(np.float32))
    assert volume.warnings == ()


def test_scaling_near_the_type_limit_is_done_in_double_precision(tmp_path):
    """inputs.md trap 14: int16 raw times slope in float; 32767 * 1.3 exceeds int16."""
    data = np.array([[[32767, -32768, 32766]]], dtype=np.int16)
    volume = load_nifti([save(data, np.eye(4), tmp_path / "a.nii", scaling=(1.3, 0.1))])[0]
    slope, intercept = float(np.float32(1.3)), float(np.float32(0.1))
    np.testing.assert_allclose(
        volume.data[0, 0], np.array([32767, -32768, 32766]) * slope + intercept, rtol=1e-7
    )


@pytest.mark.parametrize("value", [32768, 65535])
def test_large_unsigned_values_stay_positive(tmp_path, value):
    data = np.full((2, 2, 2), value, dtype=np.uint16)
    assert load_nifti([save(data, np.eye(4), tmp_path / "a.nii")])[0].data.max() == value


@given(
    data=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=6),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    compressed=st.booleans(),
)
def test_float_voxels_keep_every_bit(tmp_path_factory, data, compressed):
    path = tmp_path_factory.getbasetemp() / ("bits.nii.gz" if compressed else "bits.nii")
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    volume = load_nifti([path])[0]
    assert volume.data.ravel(order="F").tobytes() == data.ravel(order="F").tobytes()


def test_uncompressed_float_image_is_a_read_only_map_of_the_file(tmp_path):
    """Zero copy: allocations stay far below the 8 MB of voxels."""
    data = np.random.default_rng(0).normal(size=(128, 128, 128)).astype(np.float32)
    path = save(data, np.eye(4), tmp_path / "a.nii")
    load_nifti([path])
    tracemalloc.start()
    volume = load_nifti([path])[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * data.nbytes
    assert volume.data.flags.f_contiguous
    assert not volume.data.flags.writeable
    np.testing.assert_array_equal(volume.data, data)
    with pytest.raises(ValueError, match="read-only"):
        volume.data[0, 0, 0] = 1


@pytest.mark.parametrize(("name", "size"), [("a.nii", 264), ("a.nii.gz", 264), ("a.nii", 128)])
def test_background_of_nan_is_counted_in_large_and_small_images(tmp_path, name, size):
    data = np.zeros((size, 256, 256), dtype=np.float32, order="F")
    data[:, :4, 5] = np.nan
    image = nibabel.Nifti1Image(data, np.eye(4))
    nibabel.save(image, tmp_path / name)
    message = next(
        one for one in load_nifti([tmp_path / name])[0].warnings if one.code == "not-finite-voxels"
    )
    assert f"{4 * size} NaN of {data.size} values" in message.message


@pytest.mark.parametrize("value", [1e30, -1e30, 3e38])
def test_values_whose_square_overflows_are_finite_all_the_same(tmp_path, value):
    path = save(np.full((5, 5, 5), value, dtype=np.float32), np.eye(4), tmp_path / "a.nii")
    assert load_nifti([path])[0].warnings == ()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_scaled_image_peaks_at_its_output_and_a_small_block(tmp_path, name):
    data = np.random.default_rng(0).integers(0, 1000, (128, 128, 64)).astype(np.int16)
    path = save(data, np.eye(4), tmp_path / name, scaling=(0.5, 1.0))
    load_nifti([path])
    tracemalloc.start()
    volume = load_nifti([path])[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < volume.data.nbytes + 12 * 2**20


@pytest.mark.parametrize("shape", [(7,), (7, 6), (7, 6, 1), (7, 6, 1, 1), (7, 6, 5, 1, 1)])
def test_missing_and_single_dimensions_become_three_of_space(tmp_path, shape):
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    volume = load_nifti([save(data, np.eye(4), tmp_path / "a.nii")])[0]
    assert len(volume.shape) == 3
    assert volume.data.size == data.size


def test_fourth_axis_is_time_when_the_header_says_so(tmp_path):
    data = np.zeros((2, 2, 2, 3), dtype=np.float32)
    made = nibabel.Nifti1Image(data, np.eye(4))
    made.header.set_xyzt_units("mm", "msec")
    made.header["pixdim"][4] = 2500.0
    nibabel.save(made, tmp_path / "a.nii")
    volume = load_nifti([tmp_path / "a.nii"])[0]
    assert volume.axes[0].name == "time"
    np.testing.assert_allclose(volume.axes[0].values, [0, 2.5, 5.0])


def test_fourth_axis_without_a_unit_is_numbered_and_told(tmp_path):
    made = nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), dtype=np.float32), np.eye(4))
    made.header.set_xyzt_units("mm")
    nibabel.save(made, tmp_path / "a.nii")
    volume = load_nifti([tmp_path / "a.nii"])[0]
    assert volume.axes[0].name == "component"
    assert codes(volume) == ["axis-unknown"]


def test_example4d_of_nibabel_says_seconds_with_2000(tmp_path):
    """inputs.md trap 17: TR 2000 labelled s."""
    volume = load_nifti([f"{data_path}/example4d.nii.gz"])[0]
    assert "time-unit-doubtful" in codes(volume)
    np.testing.assert_array_equal(
        volume.data, nibabel.load(f"{data_path}/example4d.nii.gz").get_fdata(dtype=np.float32)
    )


def test_functional_of_nibabel_has_a_good_time_unit():
    """inputs.md trap 17: s with 2.0 is good."""
    volume = load_nifti([f"{data_path}/functional.nii"])[0]
    assert "time-unit-doubtful" not in codes(volume)
    np.testing.assert_allclose(np.diff(volume.axes[0].values), 2.0)


@pytest.mark.parametrize("name", ["example_nifti2.nii.gz", "anatomical.nii", "standard.nii.gz"])
def test_images_of_nibabel_load_as_nibabel_reads_them(name):
    volume = load_nifti([f"{data_path}/{name}"])[0]
    expected = nibabel.load(f"{data_path}/{name}")
    np.testing.assert_allclose(volume.affine, expected.affine, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(volume.data, expected.get_fdata().astype(np.float32))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_pair_loads_by_either_half_and_counts_once(tmp_path, kind):
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    save(data, oriented((1, 0, 2), (1, -1, 1)), tmp_path / "a.img", kind)
    for given_paths in (["a.hdr"], ["a.img"], ["a.hdr", "a.img"]):
        volumes = load_nifti([tmp_path / name for name in given_paths])
        assert len(volumes) == 1
        np.testing.assert_array_equal(volumes[0].data, data)
    assert is_nifti(tmp_path / "a.hdr")
    assert is_nifti(tmp_path / "a.img")


@pytest.mark.parametrize("missing", ["a.hdr", "a.img"])
def test_half_of_a_pair_is_refused(tmp_path, missing):
    save(np.zeros((2, 3, 4), dtype=np.float32), np.eye(4), tmp_path / "a.img", nibabel.Nifti1Pair)
    (tmp_path / missing).unlink()
    other = next(tmp_path.glob("a.*"))
    with pytest.raises(NothingUsable, match="beside"):
        load_nifti([other])


def test_nifti2_single_file(tmp_path):
    data = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    path = save(data, oriented((2, 0, 1), (-1, 1, 1)), tmp_path / "a.nii", nibabel.Nifti2Image)
    volume = load_nifti([path])[0]
    np.testing.assert_array_equal(volume.data, data)
    assert read_header(path).header.kind == "NIfTI-2"


def test_analyze_loads_and_says_that_left_and_right_are_unknown(tmp_path):
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    made = nibabel.AnalyzeImage(data, None)
    made.header.set_zooms((1.0, 2.0, 3.0))
    nibabel.save(made, tmp_path / "a.img")
    volume = load_nifti([tmp_path / "a.hdr"])[0]
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, nibabel.load(tmp_path / "a.img").affine)
    assert "orientation-unknown" in codes(volume)
    assert is_nifti(tmp_path / "a.img")


def test_labels_are_read_as_whole_numbers_beyond_float_precision(tmp_path):
    """2**24 + 1 is the first whole number that float32 cannot hold."""
    data = np.full((2, 2, 2), 2**24 + 1, dtype=np.int32)
    volume = load_nifti([save(data, np.eye(4), tmp_path / "a.nii")], quantity="labels")[0]
    assert volume.data.dtype == np.int32
    assert volume.data.max() == 2**24 + 1


def test_fractions_are_no_labels(tmp_path):
    path = save(np.full((2, 2, 2), 0.5, dtype=np.float32), np.eye(4), tmp_path / "a.nii")
    with pytest.raises(CorruptInput, match="whole"):
        load_nifti([path], quantity="labels")


def test_label_intent_makes_labels(tmp_path):
    made = nibabel.Nifti1Image(np.ones((2, 2, 2), dtype=np.uint8), np.eye(4))
    made.header.set_intent("label")
    nibabel.save(made, tmp_path / "a.nii")
    assert load_nifti([tmp_path / "a.nii"])[0].quantity == "labels"


def test_sniffing_goes_by_content(tmp_path):
    save(np.zeros((2, 2, 2), dtype=np.float32), np.eye(4), tmp_path / "a.nii.gz")
    (tmp_path / "b.dcm").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "c.nii").write_bytes(b"no image at all")
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(b"no image at all" * 100))
    assert is_nifti(tmp_path / "a.nii.gz")
    assert is_nifti(tmp_path / "b.dcm")
    assert not is_nifti(tmp_path / "c.nii")
    assert not is_nifti(tmp_path / "d.nii.gz")
    assert not is_nifti(tmp_path)
    assert not is_nifti(tmp_path / "absent")


def test_nothing_given_is_refused():
    with pytest.raises(NothingUsable):
        load_nifti([])


def test_real_mask_loads_without_a_false_alarm(public_data):
    path = public_data("pet/ibsi_suv") / "DRO_0_0" / "mask" / "DRO_mask.nii.gz"
    volume = load_nifti([path])[0]
    np.testing.assert_array_equal(volume.data, nibabel.load(path).get_fdata())
    assert volume.warnings == ()


def test_reference_images_of_the_converter_load_as_nibabel_reads_them(public_data):
    """Nine twins of one mosaic; pixel sum 38 036 663 by the data README."""
    for path in sorted((public_data("dicom/transfer_syntaxes") / "Ref").glob("*.nii")):
        volume = load_nifti([path])[0]
        assert float(volume.data.sum(dtype=np.float64)) == pytest.approx(38_036_663, abs=0.5)
        np.testing.assert_allclose(volume.affine, nibabel.load(path).affine, atol=1e-5)
        assert volume.acquisition.modality == "MR"
