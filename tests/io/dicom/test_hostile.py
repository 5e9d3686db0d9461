"""Hostile files (input rules, section 4): a typed refusal, early, and small in memory."""

from __future__ import annotations

import contextlib
import resource
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

import imgtheranostics as it
from imgtheranostics.errors import (
    CorruptInput,
    ImgTheranosticsError,
    MissingMetadata,
    NothingUsable,
    UnsupportedInput,
)


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def us(number: int, value: int) -> bytes:
    return element(0x28, number, b"US", struct.pack("<H", value))


@pytest.mark.parametrize(
    ("old", "new", "error", "tag"),
    [
        (us(0x10, 5) + us(0x11, 6), us(0x10, 65535) + us(0x11, 65535), CorruptInput, "0028,0010"),
        (us(0x10, 5) + us(0x11, 6), us(0x10, 0) + us(0x11, 6), CorruptInput, "0028,0010"),
        (us(0x10, 5) + us(0x11, 6), us(0x10, 32000) + us(0x11, 32000), CorruptInput, "7FE0,0010"),
        (us(0x100, 16), us(0x100, 64), CorruptInput, "0028,0100"),
        (us(0x100, 16), us(0x100, 12), CorruptInput, "0028,0100"),
        (us(0x100, 16), us(0x100, 1), UnsupportedInput, "0028,0100"),
        (us(0x101, 16), us(0x101, 17), CorruptInput, "0028,0101"),
        (us(0x102, 15), us(0x102, 16), CorruptInput, "0028,0102"),
        (us(0x102, 15), us(0x102, 11), CorruptInput, "0028,0102"),
        (us(0x103, 1), us(0x103, 2), CorruptInput, "0028,0103"),
        (us(0x2, 1), us(0x2, 3), CorruptInput, "0028,0002"),
        (us(0x2, 1), us(0x2, 0), CorruptInput, "0028,0002"),
    ],
)
def test_impossible_pixel_description_names_file_and_tag(
    tmp_path, make_series, patch_bytes, old, new, error, tag
):
    paths = make_series(tmp_path)
    for path in paths:
        patch_bytes(path, old, new)
    with pytest.raises(error, match=tag) as caught:
        it.load(tmp_path)
    assert ".dcm" in str(caught.value)


def test_huge_number_of_frames_is_refused(tmp_path, make_series):
    def edit(ds, k):
        ds.NumberOfFrames = 2**31 - 1

    make_series(tmp_path, edit=edit)
    with pytest.raises(ImgTheranosticsError, match="NumberOfFrames"):
        it.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_pixels_are_refused(tmp_path, make_series, share):
    paths = make_series(tmp_path, stored=make_series.stored(4, 50, 60))
    raw = paths[2].read_bytes()
    start = len(raw) - 50 * 60 * 2
    paths[2].write_bytes(raw[: start + int(share * 50 * 60 * 2)])
    with pytest.raises(CorruptInput, match="truncated"):
        it.load(tmp_path)


@pytest.mark.parametrize("where", [40, 131, 140, 300, 700])
def test_file_cut_in_its_header_is_refused(tmp_path, make_series, where):
    paths = make_series(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:where])
    with pytest.raises(ImgTheranosticsError) as caught:
        it.load(paths)
    assert caught.value.exit_code in (3, 4)


def test_half_and_double_pixel_data_are_refused(tmp_path, make_series):
    for factor, words in ((0.5, "shorter"), (2.0, "longer")):
        folder = tmp_path / words

        def edit(ds, k, factor=factor):
            raw = ds.PixelData * 2
            ds.PixelData = raw[: int(len(raw) * factor / 2)]

        make_series(folder, edit=edit)
        with pytest.raises(CorruptInput, match=f"{words}.*60 bytes") as caught:
            it.load(folder)
        assert "7FE0,0010" in str(caught.value)


def test_few_trailing_bytes_load_with_a_caution(pydicom_file):
    volume = it.load(pydicom_file("MR_small_padded.dcm"))
    assert [w.code for w in volume.warnings] == ["trailing-pixel-bytes"]
    assert np.array_equal(volume.data, it.load(pydicom_file("MR_small.dcm")).data)


def test_executable_preamble_loads_with_a_caution_and_is_not_kept(tmp_path, make_series):
    paths = make_series(tmp_path)
    raw = paths[0].read_bytes()
    marker = b"MZ" + b"PAYLOADMARKER" * 9
    paths[0].write_bytes(marker[:128].ljust(128, b"\0") + raw[128:])
    volume = it.load(tmp_path)
    assert [w.code for w in volume.warnings] == ["executable-preamble"]
    out = tmp_path / "out" / "v.nii.gz"
    out.parent.mkdir()
    for written in it.save(volume, out):
        content = written.read_bytes()
        assert b"PAYLOADMARKER" not in content
        if written.suffix == ".gz":
            assert b"PAYLOADMARKER" not in zlib.decompress(content, 31)


def test_tiff_preamble_is_legal(tmp_path, make_series):
    paths = make_series(tmp_path)
    paths[0].write_bytes(b"II*\0".ljust(128, b"\0") + paths[0].read_bytes()[128:])
    assert it.load(tmp_path).warnings == ()


def test_headless_file_is_refused(tmp_path, make_series):
    paths = make_series(tmp_path)
    headless = tmp_path / "headless.dcm"
    headless.write_bytes(paths[0].read_bytes()[132:])
    with pytest.raises(CorruptInput, match="DICM at byte 128"):
        it.load(headless)


def test_file_without_transfer_syntax_is_refused(pydicom_file):
    with pytest.raises(CorruptInput, match="0002,0010"):
        it.load(pydicom_file("meta_missing_tsyntax.dcm"))


def test_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.dcm").touch()
    with pytest.raises(CorruptInput, match="empty file"):
        it.load(tmp_path / "empty.dcm")


def test_archive_is_not_unpacked(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.writestr("../escaped.dcm", b"x")
    with pytest.raises(UnsupportedInput, match="not unpacked"):
        it.load(tmp_path / "scan.zip")
    assert not (tmp_path.parent / "escaped.dcm").exists()


def deflated(path, make_series, pixels: bytes, rows: int, columns: int) -> None:
    """A deflated PET slice with those raw pixel bytes, written by hand to escape pydicom's checks."""
    holder = path.parent / "source"
    (source,) = make_series(holder, stored=np.zeros((1, 5, 6), dtype=np.int16))
    ds = pydicom.dcmread(source)
    ds.Rows, ds.Columns = rows, columns
    del ds.PixelData
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    body = path.parent / "body"
    plain = pydicom.dcmread(source)
    del plain.PixelData
    plain.Rows, plain.Columns = rows, columns
    plain.save_as(body)
    raw = body.read_bytes()
    start = 132 + 12 + struct.unpack_from("<I", raw, 140)[0]
    head = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", len(pixels))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(raw[start:] + head)
    for n in range(0, len(pixels), 2**24):
        packed += packer.compress(pixels[n : n + 2**24])
    packed += packer.flush()
    meta = raw[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    length = struct.unpack_from("<I", raw, 140)[0] + 2
    meta = meta[:140] + struct.pack("<I", length) + meta[144:]
    at = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = meta[: at - 2] + struct.pack("<H", 22) + meta[at:]
    path.write_bytes(meta + packed)


def test_deflated_image_equals_its_plain_twin(tmp_path, make_series):
    stored = make_series.stored(1, 40, 30)
    path = tmp_path / "deflated.dcm"
    deflated(path, make_series, stored.tobytes(), 40, 30)
    assert np.array_equal(it.load(path).data[:, :, 0], stored[0].T * np.float32(2.5))


def test_deflated_wheel_file_is_read_by_its_structure(pydicom_file):
    """image_dfl.dcm is a secondary capture: seen as such, which needs its data set inflated."""
    with pytest.raises(UnsupportedInput, match="secondary capture"):
        it.load(pydicom_file("image_dfl.dcm"))


_LIMITED = """
import pathlib, sys, time
import imgtheranostics as it
from imgtheranostics.errors import ImgTheranosticsError
import imgtheranostics.io.loading
start = time.perf_counter()
try:
    it.load(sys.argv[1])
except ImgTheranosticsError as error:
    print(type(error).__name__, time.perf_counter() - start)
# VmHWM starts anew with this program; ru_maxrss still holds the peak of what forked it.
status = pathlib.Path("/proc/self/status").read_text()
print(status.split("VmHWM:")[1].split()[0])
"""


@pytest.mark.parametrize("honest", [False, True])
def test_deflate_bomb_is_refused_early_and_small(tmp_path, make_series, honest):
    """400 MB of zeros in 0.4 MB: refused by the declared length, or by how far it inflates."""
    path = tmp_path / "bomb.dcm"
    rows, columns = (14142, 14142) if honest else (5, 6)
    deflated(path, make_series, bytes(2 * 14142 * 14142), rows, columns)
    assert path.stat().st_size < 1_000_000
    run = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    first, rss = run.stdout.strip().splitlines()
    kind, seconds = first.split()
    assert kind in ("CorruptInput", "UnsupportedInput")
    assert float(seconds) < 2.0
    assert int(rss) * 1024 < 500e6


def test_hostile_sizes_are_refused_early_and_small(tmp_path, make_series, patch_bytes):
    """Input rules, bar 7: at most 500 MB and 2 s to the error."""
    paths = make_series(tmp_path)
    for path in paths:
        patch_bytes(path, us(0x10, 5) + us(0x11, 6), us(0x10, 32767) + us(0x11, 32767))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with pytest.raises(CorruptInput):
        it.load(tmp_path)
    assert time.perf_counter() - start < 2.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def nested(depth: int, *, undefined: bool) -> bytes:
    """A private sequence of that many levels, explicit little endian."""
    inner = b""
    for _ in range(depth):
        if undefined:
            item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0"
            value, length = item + b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xff\xff\xff"
        else:
            value = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
            length = struct.pack("<I", len(value))
        inner = b"\x0b\x00\x01\x10SQ\0\0" + length + value
    return inner


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize(("depth", "loads"), [(60, True), (400, False)])
def test_nesting_depth_is_capped(tmp_path, make_series, undefined, depth, loads):
    paths = make_series(tmp_path)
    raw = paths[0].read_bytes()
    at = raw.index(b"\x10\x00\x10\x00PN")
    paths[0].write_bytes(raw[:at] + nested(depth, undefined=undefined) + raw[at:])
    if loads:
        assert it.load(tmp_path).shape == (6, 5, 4)
    else:
        with pytest.raises(CorruptInput, match="nested too deep"):
            it.load(tmp_path)


def test_compressed_icon_in_a_sequence_is_not_the_image(tmp_path, make_series):
    """Encapsulated pixels of undefined length inside an item of explicit length, which pydicom misreads."""
    paths = make_series(tmp_path)
    raw = paths[0].read_bytes()
    fragments = encapsulate([bytes(range(256)) * 8]) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    icon = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + fragments
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(icon)) + icon
    sequence = b"\x88\x00\x00\x02SQ\0\0" + struct.pack("<I", len(item)) + item
    at = raw.rindex(b"\xe0\x7f\x10\x00OW")
    paths[0].write_bytes(raw[:at] + sequence + raw[at:])
    expected = it.load(make_series(tmp_path / "plain"))
    assert np.array_equal(it.load(paths).data, expected.data)


def test_icon_image_sequence_is_not_the_image(tmp_path, make_series):
    def edit(ds, k):
        icon = Dataset()
        make_series.set_pixels(icon, np.full((64, 64), 77, dtype=np.uint8))
        ds.IconImageSequence = [icon]

    make_series(tmp_path / "icon", edit=edit)
    make_series(tmp_path / "plain")
    assert np.array_equal(it.load(tmp_path / "icon").data, it.load(tmp_path / "plain").data)


@pytest.mark.parametrize("damage", ["garbage", "wrong size", "none left"])
def test_damaged_compressed_pixels_are_refused(tmp_path, make_series, public_data, damage):
    source = public_data("dicom/transfer_syntaxes/In/9.dcm")
    ds = pydicom.dcmread(source)
    assert ds.file_meta.TransferSyntaxUID.is_encapsulated
    if damage == "garbage":
        ds.PixelData = encapsulate([b"\x00\x01\x02\x03" * 500])
    elif damage == "wrong size":
        ds.Rows, ds.Columns = 192, 192
    else:
        ds.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"\0" * 200])
    path = tmp_path / "x.dcm"
    ds.save_as(path)
    with pytest.raises(CorruptInput) as caught:
        it.load(path)
    assert "x.dcm" in str(caught.value)


def test_more_frames_than_fragments_are_refused(tmp_path, make_series, pydicom_file):
    ds = pydicom.dcmread(pydicom_file("MR_small_jp2klossless.dcm"))
    assert ds.file_meta.TransferSyntaxUID != JPEG2000Lossless or ds.Rows == 64
    ds.NumberOfFrames = 100_000
    path = tmp_path / "x.dcm"
    ds.save_as(path)
    with pytest.raises(ImgTheranosticsError, match="NumberOfFrames"):
        it.load(path)


def test_dicomdir_paths_are_never_followed(tmp_path, make_series, pydicom_file):
    """CVE-2026-32711: a DICOMDIR that names ``..`` must not make the loader open anything."""
    secret = tmp_path / "secret"
    make_series(secret)
    folder = tmp_path / "disc"
    folder.mkdir()
    directory = pydicom_file("DICOMDIR").read_bytes()
    (folder / "DICOMDIR").write_bytes(directory)
    with pytest.raises(UnsupportedInput, match="media directory"):
        it.load(folder)


def test_links_out_of_the_folder_are_not_followed(tmp_path, make_series):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    paths = make_series(outside)
    inside.mkdir()
    for path in paths:
        (inside / path.name).symlink_to(path)
    (inside / "folder").symlink_to(outside, target_is_directory=True)
    with pytest.raises(NothingUsable, match="4 links that lead out"):
        it.load(inside)


def test_links_within_the_folder_are_followed_once(tmp_path, make_series):
    make_series(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert it.load(tmp_path).shape == (6, 5, 4)


def test_unknown_transfer_syntax_is_unsupported(tmp_path, make_series, patch_bytes):
    (path,) = make_series(tmp_path, stored=make_series.stored(1))
    patch_bytes(path, b"1.2.840.10008.1.2.1\0", b"1.2.3.4.5.6.7.8.9.0\0")
    with pytest.raises(UnsupportedInput, match="0002,0010"):
        it.load(path)


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated", "PixelRepresentation"])
def test_absent_image_attribute_is_named(tmp_path, make_series, keyword):
    def edit(ds, k):
        delattr(ds, keyword)

    make_series(tmp_path, edit=edit)
    with pytest.raises(MissingMetadata, match=keyword):
        it.load(tmp_path)


def test_empty_manufacturer_does_not_disturb(tmp_path, make_series):
    def edit(ds, k):
        ds.Manufacturer = None

    for modality in ("PT", "MR", "CT"):
        make_series(tmp_path / modality, modality, edit=edit)
        assert it.load(tmp_path / modality).shape == (6, 5, 4)


@pytest.fixture(scope="module")
def seed_files(tmp_path_factory, make_series):
    root = tmp_path_factory.mktemp("seeds")
    return [
        make_series(root / m, m, stored=make_series.stored(1))[0].read_bytes() for m in ("PT", "CT", "MR")
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=400)
@given(st.data())
def test_mutants_load_or_raise_a_typed_error(tmp_path, seed_files, data):
    """Random bytes anywhere in the header, and random cuts: no other exception ever escapes."""
    raw = bytearray(data.draw(st.sampled_from(seed_files)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(128, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(100, len(raw))))
    path = tmp_path / "mutant.dcm"
    path.write_bytes(bytes(raw[:cut]))
    with contextlib.suppress(ImgTheranosticsError):
        it.load(path)
    with contextlib.suppress(ImgTheranosticsError):
        it.info(path)
