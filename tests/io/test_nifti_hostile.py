"""Hostile and damaged NIfTI files: the behaviour that reference/inputs.md section 4 states, line by line."""

from __future__ import annotations

import gzip
import resource
import struct
import subprocess
import sys
import time
from contextlib import suppress

import nibabel
import numpy as np
import pytest

from imgtheranostics.errors import (
    CorruptInput,
    ImgTheranosticsError,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)
from imgtheranostics.io.nifti import is_nifti, load_nifti

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3.0, 0, -20], [0, 0, 4.0, 5], [0, 0, 0, 1]])


def values(dtype=np.int16, shape=(5, 4, 3)):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape, order="F")


def image(dtype=np.int16, shape=(5, 4, 3), *, kind=nibabel.Nifti1Image, **fields):
    made = kind(values(dtype, shape), AFFINE, dtype=dtype)
    made.header.set_xyzt_units("mm", "sec")
    made.header.set_slope_inter(1.0, 0.0)
    made.set_qform(AFFINE, code=1)
    made.set_sform(AFFINE, code=1)
    for name, value in fields.items():
        made.header[name] = value
    return made


def stored(made, patches=()):
    """Bytes of the image with header fields overwritten where nibabel would not write them."""
    raw = bytearray(made.to_bytes())
    for offset, form, value in patches:
        struct.pack_into(form, raw, offset, value)
    return bytes(raw)


DIM, DATATYPE, BITPIX, PIXDIM, VOX_OFFSET, SLOPE, INTER, UNITS = 40, 70, 72, 76, 108, 112, 116, 123
QFORM_CODE, SFORM_CODE, QUATERN_B, SROW_X, MAGIC = 252, 254, 256, 280, 344


def write(tmp_path, content, name="image.nii"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def load_bytes(tmp_path, content, name="image.nii"):
    return load_nifti([write(tmp_path, content, name)])[0]


def codes(volume):
    return [caution.code for caution in volume.warnings]


def refused(tmp_path, content, kind=ImgTheranosticsError, name="image.nii"):
    path = write(tmp_path, content, name)
    with pytest.raises(kind) as caught:
        load_nifti([path])
    assert name in str(caught.value)
    assert caught.value.exit_code == 4
    return caught.value


def test_good_twin_loads_without_caution(tmp_path):
    volume = load_bytes(tmp_path, stored(image()))
    assert volume.warnings == ()
    np.testing.assert_array_equal(volume.data, values())
    np.testing.assert_allclose(volume.affine, AFFINE)


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_empty_file_is_called_empty(tmp_path, name):
    assert "empty file" in str(refused(tmp_path, b"", CorruptInput, name))


def test_missing_file_is_nothing_usable(tmp_path):
    with pytest.raises(NothingUsable) as caught:
        load_nifti([tmp_path / "absent.nii"])
    assert caught.value.exit_code == 3


def test_lfs_pointer_is_named(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
    assert "LFS" in str(refused(tmp_path, pointer, CorruptInput))


@pytest.mark.parametrize("keep", [348, 352, 0.5, 0.99])
@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_truncated_body_is_refused_with_expected_and_found_bytes(tmp_path, keep, name):
    content = stored(image(shape=(20, 20, 20)))
    cut = content[: keep if isinstance(keep, int) else int(keep * len(content))]
    error = refused(tmp_path, gzip.compress(cut) if name.endswith("gz") else cut, CorruptInput, name)
    assert error.found
    assert error.needed
    assert "16000" in error.needed or "NIfTI" in str(error)


@pytest.mark.parametrize("keep", [5, 0.5, 0.99, -4, -1])
def test_cut_gzip_is_refused(tmp_path, keep):
    rng = np.random.default_rng(0)
    noisy = nibabel.Nifti1Image(rng.normal(size=(20, 20, 20)).astype(np.float32), AFFINE)
    whole = gzip.compress(noisy.to_bytes())
    cut = whole[:keep] if isinstance(keep, int) else whole[: int(keep * len(whole))]
    refused(tmp_path, cut, CorruptInput, "image.nii.gz")


@pytest.mark.parametrize("position", [-8, -5, -4, -1])
def test_wrong_checksum_or_length_is_refused(tmp_path, position):
    content = bytearray(gzip.compress(stored(image(shape=(20, 20, 20)))))
    content[position] ^= 0x01
    assert "incorrect" in str(refused(tmp_path, bytes(content), CorruptInput, "image.nii.gz"))


def test_checksum_is_checked_even_when_the_image_ends_before_it(tmp_path):
    content = bytearray(gzip.compress(stored(image()) + bytes(100_000)))
    content[-8] ^= 0xFF
    refused(tmp_path, bytes(content), CorruptInput, "image.nii.gz")


@pytest.mark.parametrize(("axis", "value"), [(1, -64), (2, -1), (3, 0)])
def test_impossible_extent_is_named(tmp_path, axis, value):
    error = refused(tmp_path, stored(image(), [(DIM + 2 * axis, "<h", value)]), CorruptInput)
    assert f"dim[{axis}]" in str(error)
    assert str(value) in str(error)


@pytest.mark.parametrize("rank", [0, 8, -1])
def test_impossible_rank_is_refused(tmp_path, rank):
    assert "dim[0]" in str(refused(tmp_path, stored(image(), [(DIM, "<h", rank)]), CorruptInput))


def test_two_axes_that_nobody_describes_are_missing_metadata(tmp_path):
    path = write(tmp_path, stored(image(shape=(2, 2, 2, 3, 3), pixdim=[1, 2, 3, 4, 0, 0, 0, 0])))
    with pytest.raises(MissingMetadata, match="Axes"):
        load_nifti([path])


@pytest.mark.parametrize("code", [0, 1])
def test_bad_spacing_beside_a_good_sform_with_either_qform_code(tmp_path, code):
    patches = [(PIXDIM + 4 * n, "<f", 0.0) for n in (1, 2, 3)] + [(QFORM_CODE, "<h", code)]
    volume = load_bytes(tmp_path, stored(image(), patches))
    assert volume.grid.voxel_volume_ml == pytest.approx(0.024)
    assert "spacing-conflict" in codes(volume)
    assert ("qform-unusable" in codes(volume)) == bool(code)


def test_more_than_five_dimensions_are_refused(tmp_path):
    error = refused(tmp_path, stored(image(shape=(2, 2, 2, 2, 2, 2))), UnsupportedInput)
    assert "five" in str(error)


@pytest.mark.parametrize("compressed", [False, True])
def test_enormous_extents_are_refused_before_allocation(tmp_path, compressed):
    """inputs.md section 9, bar 7: under 2 s and 500 MB to the error."""
    content = stored(image(), [(DIM + 2 * axis, "<h", 32767) for axis in (1, 2, 3)])
    path = write(tmp_path, gzip.compress(content) if compressed else content, "huge.nii")
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from imgtheranostics.errors import ImgTheranosticsError\n"
        "from imgtheranostics.io.nifti import load_nifti\n"
        "import nibabel\n"
        "start = time.perf_counter()\n"
        "try:\n    load_nifti([Path(sys.argv[1])])\n"
        "except ImgTheranosticsError as error:\n    code = error.exit_code\n"
        "seconds = time.perf_counter() - start\n"
        "with open('/proc/self/status') as status:\n"
        "    print(code, seconds, status.read().split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    code, seconds, peak_kb = done.stdout.split()
    assert code == "4"
    assert float(seconds) < 2.0
    assert int(peak_kb) < 500_000


def test_image_beyond_the_budget_is_refused_before_allocation(tmp_path, monkeypatch):
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", "1e-6")
    path = write(tmp_path, gzip.compress(stored(image(shape=(20, 20, 20)))), "image.nii.gz")
    with pytest.raises(UnsupportedInput, match="memory"):
        load_nifti([path])


def test_small_file_that_would_inflate_to_gigabytes_is_refused(tmp_path, monkeypatch):
    """1290^3 bytes are 2 GiB; 3 MB are enough for them by deflate's own limit of 1032 to 1."""
    content = stored(image(np.uint8), [(DIM + 2 * axis, "<h", 1290) for axis in (1, 2, 3)])
    path = write(tmp_path, gzip.compress(content) + bytes(3_000_000), "bomb.nii.gz")
    start = time.perf_counter()
    with pytest.raises(UnsupportedInput, match="inflate"):
        load_nifti([path])
    assert time.perf_counter() - start < 2.0
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", "100")
    with pytest.raises(CorruptInput, match="ends before"):
        load_nifti([path])


@pytest.mark.parametrize("value", ["lots", "-1", "nan", "1e999"])
def test_memory_budget_that_is_no_number_is_refused(tmp_path, monkeypatch, value):
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", value)
    path = write(tmp_path, gzip.compress(stored(image())), "image.nii.gz")
    with pytest.raises(UnsupportedInput, match="budget"):
        load_nifti([path])


def test_compressed_image_that_could_not_inflate_so_far_is_refused(tmp_path):
    """Deflate reaches a ratio of 1032 at most, so a small file cannot hold a large image."""
    content = stored(image(), [(DIM + 2 * axis, "<h", 600) for axis in (1, 2, 3)])
    error = refused(tmp_path, gzip.compress(content), CorruptInput, "image.nii.gz")
    assert "too small" in str(error)


def test_bitpix_that_contradicts_the_datatype_is_refused(tmp_path):
    assert "bitpix" in str(refused(tmp_path, stored(image(), [(BITPIX, "<h", 8)]), CorruptInput))


@pytest.mark.parametrize("code", [999, 0, 1, 128, 1536, 2304, -1])
def test_datatype_that_is_unknown_or_not_a_number_is_refused(tmp_path, code):
    assert "datatype" in str(refused(tmp_path, stored(image(), [(DATATYPE, "<h", code)]), UnsupportedInput))


def test_complex_voxels_are_refused_with_a_way_out(tmp_path):
    made = nibabel.Nifti1Image(np.ones((3, 3, 3), dtype=np.complex64), AFFINE)
    error = refused(tmp_path, made.to_bytes(), UnsupportedInput)
    assert "magnitude" in (error.next_step or "")


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_slope_zero_or_nan_means_unscaled_and_says_so(tmp_path, slope):
    volume = load_bytes(tmp_path, stored(image(), [(SLOPE, "<f", slope)]))
    np.testing.assert_array_equal(volume.data, values())
    assert codes(volume) == ["no-scaling"]


def test_float_image_with_nan_slope_is_what_nibabel_writes_and_no_reason_to_warn(tmp_path):
    assert load_bytes(tmp_path, stored(image(np.float32), [(SLOPE, "<f", np.nan)])).warnings == ()


@pytest.mark.parametrize(
    ("offset", "value", "name"), [(SLOPE, np.inf, "scl_slope"), (INTER, -np.inf, "scl_inter")]
)
@pytest.mark.parametrize("slope", [2.0, 0.0])
def test_infinite_scaling_is_refused(tmp_path, offset, value, name, slope):
    patches = [(SLOPE, "<f", slope), (offset, "<f", value)]
    assert name in str(refused(tmp_path, stored(image(), patches), CorruptInput))


def test_nan_intercept_with_a_slope_is_refused(tmp_path):
    patches = [(SLOPE, "<f", 2.0), (INTER, "<f", np.nan)]
    assert "scl_inter" in str(refused(tmp_path, stored(image(), patches), CorruptInput))


def test_negative_slope_is_used_and_told(tmp_path):
    volume = load_bytes(tmp_path, stored(image(), [(SLOPE, "<f", -2.0), (INTER, "<f", 3.0)]))
    np.testing.assert_array_equal(volume.data, -2.0 * values() + 3.0)
    assert codes(volume) == ["negative-slope"]


@pytest.mark.parametrize("offset", [np.nan, -5.0, 1e12, 100.0, 352.5, np.inf])
def test_impossible_voxel_offset_is_refused(tmp_path, offset):
    refused(tmp_path, stored(image(), [(VOX_OFFSET, "<f", offset)]), CorruptInput)


def test_voxel_offset_zero_means_after_the_header(tmp_path):
    np.testing.assert_array_equal(
        load_bytes(tmp_path, stored(image(), [(VOX_OFFSET, "<f", 0.0)])).data, values()
    )


@pytest.mark.parametrize("size", [16_000_000, 7, 0, -16])
def test_extension_that_leaves_the_header_is_refused(tmp_path, size):
    made = image()
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 40))
    assert "extension" in str(refused(tmp_path, stored(made, [(352, "<i", size)]), CorruptInput))


def test_extension_is_skipped_and_its_text_never_kept(tmp_path):
    made = image(descrip=b"Canary^Name")
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Canary^Comment"))
    volume = load_bytes(tmp_path, stored(made))
    np.testing.assert_array_equal(volume.data, values())
    assert "Canary" not in repr(volume) + repr(volume.history) + repr(volume.warnings) + repr(volume.source)


@pytest.mark.parametrize("magic", [b"n+9\x00", b"abcd", b"\x00\x00\x00\x00"])
def test_bad_magic_is_refused(tmp_path, magic):
    raw = bytearray(stored(image()))
    raw[MAGIC : MAGIC + 4] = magic
    path = write(tmp_path, bytes(raw))
    with pytest.raises(CorruptInput, match="magic"):
        load_nifti([path])


def test_random_bytes_are_no_nifti(tmp_path):
    content = np.random.default_rng(1).integers(0, 256, 2000, dtype=np.uint8).tobytes()
    assert not is_nifti(write(tmp_path, content))
    refused(tmp_path, content, CorruptInput)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_unusable_sform_is_refused_although_the_qform_is_good(tmp_path, value):
    patches = [(SROW_X + 4 * n, "<f", value) for n in range(12)]
    error = refused(tmp_path, stored(image(), patches), CorruptInput)
    assert "sform" in str(error)
    assert "qform" in (error.next_step or "")


def test_without_sform_code_the_same_file_uses_its_qform(tmp_path):
    patches = [(SROW_X + 4 * n, "<f", np.nan) for n in range(12)] + [(SFORM_CODE, "<h", 0)]
    np.testing.assert_allclose(load_bytes(tmp_path, stored(image(), patches)).affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, np.nan, -2.0])
def test_bad_spacing_beside_a_good_sform_keeps_the_volume_and_warns(tmp_path, value):
    twin = load_bytes(tmp_path, stored(image()), "good.nii")
    volume = load_bytes(tmp_path, stored(image(), [(PIXDIM + 4, "<f", value), (QFORM_CODE, "<h", 0)]))
    assert volume.grid.voxel_volume_ml == twin.grid.voxel_volume_ml == pytest.approx(0.024)
    assert codes(volume) == ["spacing-conflict"]


@pytest.mark.parametrize("value", [0.0, np.nan, -2.0, np.inf])
def test_bad_spacing_without_a_sform_is_refused(tmp_path, value):
    patches = [(PIXDIM + 4, "<f", value), (SFORM_CODE, "<h", 0)]
    assert "pixdim[1]" in str(refused(tmp_path, stored(image(), patches), CorruptInput))


@pytest.mark.parametrize("qfac", [0.5, np.nan, -3.0])
@pytest.mark.parametrize("sform_code", [0, 1])
def test_qfac_other_than_one_is_refused(tmp_path, qfac, sform_code):
    patches = [(PIXDIM, "<f", qfac), (SFORM_CODE, "<h", sform_code)]
    assert "qfac" in str(refused(tmp_path, stored(image(), patches), CorruptInput))


def test_quaternion_that_is_no_rotation_is_refused(tmp_path):
    patches = [(QUATERN_B, "<f", 2.0), (SFORM_CODE, "<h", 0)]
    assert "rotation" in str(refused(tmp_path, stored(image(), patches), CorruptInput))


def test_sform_and_qform_that_differ_are_both_reported(tmp_path):
    made = image()
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.2
    made.set_sform(shifted, code=1)
    volume = load_bytes(tmp_path, stored(made))
    assert codes(volume) == ["sform-qform-conflict"]
    assert "10.2" in volume.warnings[0].message
    assert "0.2 mm" in volume.warnings[0].message
    np.testing.assert_allclose(volume.affine, shifted, atol=1e-6)


def test_sform_and_qform_within_a_tenth_of_a_millimetre_agree(tmp_path):
    made = image()
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.09
    made.set_sform(shifted, code=1)
    assert load_bytes(tmp_path, stored(made)).warnings == ()


def test_opposite_handedness_is_reported_even_for_a_single_slice(tmp_path):
    made = image(shape=(5, 4, 1))
    mirrored = AFFINE.copy()
    mirrored[2, 2] *= -1
    made.set_sform(mirrored, code=1)
    volume = load_bytes(tmp_path, stored(made))
    assert "handedness" in volume.warnings[0].message
    assert np.linalg.det(volume.affine[:3, :3]) == pytest.approx(24.0)


def test_conflict_is_none_of_our_business_when_the_qform_is_not_set(tmp_path):
    made = image()
    made.set_qform(np.diag([1.0, 1, 1, 1]), code=0)
    made.header["pixdim"][1:4] = (2, 3, 4)
    assert load_bytes(tmp_path, stored(made)).warnings == ()


@pytest.mark.parametrize(
    ("code", "factor", "caution"), [(0, 1.0, "length-unit-assumed"), (1, 1000.0, None), (3, 1e-3, None)]
)
def test_units_of_length(tmp_path, code, factor, caution):
    spacing = (
        np.diag([0.05, 0.05, 0.05, 1.0])
        if code == 1
        else np.diag([200.0, 200, 200, 1])
        if code == 3
        else AFFINE
    )
    made = image()
    made.set_sform(spacing, code=1)
    made.set_qform(spacing, code=1)
    volume = load_bytes(tmp_path, stored(made, [(UNITS, "<B", code | 8)]))
    np.testing.assert_allclose(volume.affine[:3], spacing[:3] * factor, rtol=1e-6)
    assert codes(volume) == [caution or "length-unit-converted"]


def test_unknown_unit_of_length_is_refused(tmp_path):
    assert "xyzt_units" in str(refused(tmp_path, stored(image(), [(UNITS, "<B", 5)]), CorruptInput))


def test_voxels_of_two_metres_are_doubted(tmp_path):
    assert "spacing-implausible" in codes(load_bytes(tmp_path, stored(image(), [(UNITS, "<B", 1 | 8)])))


def test_no_orientation_at_all_is_told(tmp_path):
    patches = [(SFORM_CODE, "<h", 0), (QFORM_CODE, "<h", 0)]
    content = stored(image(), patches)
    volume = load_bytes(tmp_path, content)
    assert codes(volume) == ["orientation-unknown"]
    np.testing.assert_allclose(volume.affine, nibabel.Nifti1Image.from_bytes(content).affine)


def test_nan_and_infinite_voxels_are_kept_and_counted(tmp_path):
    data = values(np.float32).copy()
    data[0, 0, 0], data[1, 2, 1], data[2, 2, 2] = np.nan, np.nan, -np.inf
    volume = load_bytes(tmp_path, nibabel.Nifti1Image(data, AFFINE).to_bytes())
    np.testing.assert_array_equal(volume.data, data)
    message = next(one.message for one in volume.warnings if one.code == "not-finite-voxels")
    assert "2 NaN" in message
    assert "1 infinite" in message


def test_compressed_image_named_nii_is_read_by_its_content(tmp_path):
    volume = load_bytes(tmp_path, gzip.compress(stored(image())), "image.nii")
    np.testing.assert_array_equal(volume.data, values())
    assert codes(volume) == ["name-and-content-differ"]


def test_plain_image_named_gz_is_read_by_its_content(tmp_path):
    volume = load_bytes(tmp_path, stored(image()), "image.nii.gz")
    np.testing.assert_array_equal(volume.data, values())
    assert codes(volume) == ["name-and-content-differ"]


@pytest.mark.parametrize("compressed", [False, True])
def test_trailing_data_is_told_and_not_used(tmp_path, compressed):
    content = stored(image()) + b"tail" * 25
    name = "image.nii.gz" if compressed else "image.nii"
    volume = load_bytes(tmp_path, gzip.compress(content) if compressed else content, name)
    np.testing.assert_array_equal(volume.data, values())
    assert codes(volume) == ["trailing-data"]
    assert "100 bytes" in volume.warnings[0].message


def test_bytes_after_the_compressed_stream_are_told(tmp_path):
    volume = load_bytes(tmp_path, gzip.compress(stored(image())) + b"garbage", "image.nii.gz")
    np.testing.assert_array_equal(volume.data, values())
    assert codes(volume) == ["trailing-data"]


def test_zero_padding_after_the_compressed_stream_is_usual(tmp_path):
    assert load_bytes(tmp_path, gzip.compress(stored(image())) + bytes(700), "image.nii.gz").warnings == ()


@pytest.mark.parametrize("cut", [1, 100, 348, 400])
def test_concatenated_gzip_members_are_one_stream(tmp_path, cut):
    content = stored(image())
    packed = gzip.compress(content[:cut]) + gzip.compress(content[cut:])
    volume = load_bytes(tmp_path, packed, "image.nii.gz")
    np.testing.assert_array_equal(volume.data, values())
    assert volume.warnings == ()


def test_small_image_with_a_gibibyte_behind_it_loads_with_a_caution_in_bounded_time(tmp_path):
    """inputs.md section 4: 64 voxels and a 1 GiB tail in a 1 MB file; nibabel needed 2.7 s."""
    tail = gzip.compress(bytes(1 << 24))
    path = write(tmp_path, gzip.compress(stored(image())) + 64 * tail, "image.nii.gz")
    assert path.stat().st_size < 1.1 * 2**20
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    volume = load_nifti([path])[0]
    assert time.perf_counter() - start < 15.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert codes(volume) == ["trailing-data"]
    np.testing.assert_array_equal(volume.data, values())


def test_scaled_values_beyond_float32_are_refused(tmp_path):
    made = nibabel.Nifti1Image(np.full((2, 2, 2), 1e300), AFFINE)
    path = write(tmp_path, made.to_bytes())
    with pytest.raises(ImgTheranosticsError, match="float32"):
        load_nifti([path])


@pytest.mark.parametrize("seed", range(4))
def test_header_mutants_are_refused_by_type_or_load(tmp_path, seed):
    """A small slice of the fuzz bar: no exception but ours, whatever the header says."""
    rng = np.random.default_rng(seed)
    original = stored(image(shape=(6, 6, 6)))
    for n in range(60):
        raw = bytearray(original)
        for _ in range(int(rng.integers(1, 4))):
            raw[int(rng.integers(0, 352))] = int(rng.integers(0, 256))
        cut = len(raw) if n % 3 else int(rng.integers(0, len(raw)))
        path = write(tmp_path, bytes(raw[:cut]), f"{n}.nii")
        is_nifti(path)
        with suppress(ImgTheranosticsError):
            assert load_nifti([path])[0].data.dtype in (np.float32, np.int32)
