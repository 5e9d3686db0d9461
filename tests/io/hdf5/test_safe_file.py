"""HDF5 files that would lead elsewhere, or fill the memory (inputs.md sections 3 and 4)."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, NothingUsable, UnsupportedInput

SECRET = b"CANARY of a file that nobody may read"


def link(file):
    file["meta_data/elsewhere"] = h5py.ExternalLink("secret.hdf5", "/data")


def link_of_the_signals(file):
    del file["binary_time_series_data"]
    file["binary_time_series_data"] = h5py.ExternalLink("secret.hdf5", "/data")


def deep_link(file):
    file["a/b/c/d/elsewhere"] = h5py.ExternalLink("secret.hdf5", "/data")


def external_storage(file):
    del file["binary_time_series_data"]
    file.create_dataset(
        "binary_time_series_data", (4, 9), dtype="u1", external=[("secret.txt", 0, h5py.h5f.UNLIMITED)]
    )


def virtual(file):
    layout = h5py.VirtualLayout(shape=(4, 12, 3, 2), dtype="f8")
    layout[...] = h5py.VirtualSource("secret.hdf5", "data", shape=(4, 12, 3, 2))
    del file["binary_time_series_data"]
    file.create_virtual_dataset("binary_time_series_data", layout)


def user_defined_filter(file):
    del file["binary_time_series_data"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4, 12))
    plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((4, 12))
    h5py.h5d.create(file.id, b"binary_time_series_data", h5py.h5t.NATIVE_DOUBLE, space, plist)


def huge(file):
    del file["binary_time_series_data"]
    file.create_dataset("binary_time_series_data", (2**18, 2**15), dtype="f8", chunks=(64, 64))


def huge_contiguous(file):
    del file["binary_time_series_data"]
    file.create_dataset("binary_time_series_data", (2**18, 2**15), dtype="f8")


def not_stored(file):
    del file["binary_time_series_data"]
    file.create_dataset("binary_time_series_data", (4, 12, 3, 2), dtype="f8")


def partly_stored(file):
    del file["binary_time_series_data"]
    data = file.create_dataset("binary_time_series_data", (4, 12, 3, 2), dtype="f8", chunks=(2, 12, 3, 2))
    data[:2] = 1.0


def texts(file):
    del file["binary_time_series_data"]
    file["binary_time_series_data"] = np.array([b"a", b"b"])


def empty(file):
    del file["binary_time_series_data"]
    file.create_dataset("binary_time_series_data", (4, 0, 3, 2), dtype="f8")


def group(file):
    del file["binary_time_series_data"]
    file.create_group("binary_time_series_data")


EDITS = [link, link_of_the_signals, deep_link, external_storage, virtual, huge, huge_contiguous, not_stored]
EDITS += [partly_stored, user_defined_filter, texts, empty, group]


@pytest.fixture
def secret(tmp_path):
    """Files that a hostile one could name."""
    (tmp_path / "secret.txt").write_bytes(SECRET)
    with h5py.File(tmp_path / "secret.hdf5", "w") as file:
        file["data"] = np.full((4, 12, 3, 2), 42.0)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_file_that_leads_out_or_declares_too_much_is_refused(tmp_path, files, secret, edit, monkeypatch):
    monkeypatch.setenv("IMGTHERANOSTICS_MEMORY_GB", "1")
    path = files.ipasc(tmp_path / "hostile.hdf5", edit=edit)
    with pytest.raises((CorruptInput, UnsupportedInput)) as caught:
        it.msot.load_signals(path)
    assert caught.value.exit_code == 4
    assert "42" not in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("edit", [link, external_storage, virtual], ids=lambda edit: edit.__name__)
def test_hostile_files_are_refused_by_load_and_listed_by_info(tmp_path, files, secret, edit):
    path = files.ipasc(tmp_path / "hostile.hdf5", edit=edit)
    with pytest.raises(CorruptInput, match="other files"):
        it.load(path)
    (summary,) = it.info(path)
    assert "other files" in summary.problems[0]


def test_an_unreadable_file_beside_images_does_not_hinder_them(tmp_path, files, secret):
    (tmp_path / "folder").mkdir()
    files.images(tmp_path / "folder" / "good.hdf5")
    files.ipasc(tmp_path / "folder" / "hostile.hdf5", edit=link)
    assert it.load(tmp_path / "folder").shape == (5, 4, 1, 2, 3)
    assert {one.modality for one in it.info(tmp_path / "folder")} == {"PA", "unreadable HDF5 file"}


def test_links_within_the_file_do_no_harm(tmp_path, files):
    def edit(file):
        file["soft"] = h5py.SoftLink("/meta_data")
        file["nowhere"] = h5py.SoftLink("/nothing")
        file["meta_data/back"] = file["/"]

    assert it.msot.load_signals(files.ipasc(tmp_path / "a.hdf5", edit=edit)).shape == (2, 3, 4, 12)


def test_nothing_of_a_hostile_size_is_allocated(tmp_path, files):
    import resource

    path = files.ipasc(tmp_path / "hostile.hdf5", edit=huge)
    assert path.stat().st_size < 50_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImgTheranosticsError):
        it.msot.load_signals(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("keep", [8, 100, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_corrupt(tmp_path, files, keep):
    path = files.ipasc(tmp_path / "a.hdf5")
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep > 1 else int(keep * len(content))])
    for read in (it.msot.load_signals, it.load):
        with pytest.raises((CorruptInput, UnsupportedInput)):
            read(path)


def test_other_hdf5_files_are_no_optoacoustic_images(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["table"] = np.arange(4)
    with pytest.raises(UnsupportedInput, match="no optoacoustic images"):
        it.load(path)
    with pytest.raises(NothingUsable):
        it.load(tmp_path)
    with pytest.raises(UnsupportedInput, match="no raw optoacoustic signals"):
        it.msot.load_signals(path)
