"""Whole series in a folder, byte for byte, or nothing."""

from __future__ import annotations

import errno

import pytest

from imgtheranostics.errors import CorruptInput, OutputError
from imgtheranostics.io.dicomweb.fetching import fetch


@pytest.fixture
def filled(archive, write_series, tmp_path):
    archive.add(write_series(tmp_path / "in", series="1.2.3.1", n=3))
    archive.add(write_series(tmp_path / "in", series="1.2.3.2", modality="P/../T", n=2))
    return archive


def test_the_files_of_a_patient_are_those_of_the_archive(filled, tmp_path):
    said = []
    got = fetch(filled.url, tmp_path / "out", patient="animal 7", progress=said.append)
    assert {one.series.series_uid: len(one.files) for one in got.series} == {"1.2.3.1": 3, "1.2.3.2": 2}
    assert sorted(file.read_bytes() for one in got.series for file in one.files) == sorted(
        raw for raw, _ in filled.objects
    )
    on_disk = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert on_disk == sorted(file for one in got.series for file in one.files)
    assert sum(one.n_bytes for one in got.series) == sum(len(raw) for raw, _ in filled.objects)
    assert len(said) == 2
    assert "animal" not in "".join(said)


def test_names_are_made_of_hashes_and_letters_only_and_stay(filled, tmp_path):
    first = fetch(filled.url, tmp_path / "out", study="1.2.3")
    again = fetch(filled.url, tmp_path / "twice", study="1.2.3")
    names = [str(file.relative_to(tmp_path / "out")) for one in first.series for file in one.files]
    assert names == [str(file.relative_to(tmp_path / "twice")) for one in again.series for file in one.files]
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzCTP0123456789-/.") for name in names)
    assert not any("1.2.3" in name or ".." in name for name in names)


def test_one_image_sent_as_it_is_instead_of_in_parts_is_taken(archive, write_series, tmp_path):
    archive.add(write_series(tmp_path / "in", n=1))
    archive.faults.add("plain")
    got = fetch(archive.url, tmp_path / "out", series=["1.2.3.1"])
    assert got.series[0].files[0].read_bytes() == archive.objects[0][0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("breaks off", "only in part"),
        ("no end", "only in part"),
        ("one missing", "only in part"),
        ("plain", "only in part"),
        ("one twice", "twice"),
        ("another's", "another series"),
        ("junk", "cannot be read"),
        ("cut inside a file", "cannot be read"),
    ],
)
def test_a_series_that_is_not_whole_leaves_nothing(filled, tmp_path, fault, words):
    filled.faults.add(fault)
    with pytest.raises(CorruptInput, match=words) as caught:
        fetch(filled.url, tmp_path / "out", series=["1.2.3.1"])
    assert "Canary" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_folder_in_use_is_refused_before_the_archive_is_asked(filled, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        fetch(filled.url, tmp_path / "out", study="1.2.3")
    assert filled.asked == []
    fetch(filled.url, tmp_path / "out", study="1.2.3", force=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def test_a_full_disk_is_an_output_that_cannot_be_written(filled, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("imgtheranostics.io.dicomweb.fetching.write_parts", full)
    with pytest.raises(OutputError) as caught:
        fetch(filled.url, tmp_path / "out", study="1.2.3")
    assert caught.value.found == "No space left on device"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
