"""Every file is confirmed by the archive, or the refusal says how many are there."""

from __future__ import annotations

import json

import pytest

from imgtheranostics.errors import CorruptInput, MissingMetadata, NothingUsable, OutputError
from imgtheranostics.io.dicomweb import storing
from imgtheranostics.io.dicomweb.storing import store


def test_files_arrive_byte_for_byte(archive, write_series, tmp_path):
    files = write_series(tmp_path / "in", n=3)
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    stored = store(tmp_path / "in", archive.url)
    assert (stored.n_images, stored.n_series, stored.n_studies, stored.n_left_out) == (3, 1, 1, 1)
    assert stored.n_bytes == sum(file.stat().st_size for file in files)
    assert sorted(raw for raw, _ in archive.objects) == sorted(file.read_bytes() for file in files)
    assert stored.warnings == ()


def test_many_files_go_in_several_requests(archive, write_series, tmp_path, monkeypatch):
    files = write_series(tmp_path / "in", n=5)
    monkeypatch.setattr(storing, "_BATCH", 2 * files[0].stat().st_size)
    said = []
    assert store(files, archive.url, progress=said.append).n_images == 5
    assert len(archive.received) == 3
    assert said == ["sending 1 to 2 of 5 files", "sending 3 to 4 of 5 files", "sending 5 to 5 of 5 files"]


def test_a_refused_file_is_counted_with_its_reason(archive, write_series, tmp_path):
    archive.faults.add("refuses one")
    with pytest.raises(OutputError) as caught:
        store(write_series(tmp_path / "in", n=3), archive.url)
    assert caught.value.found == "2 of 3 files stored (1 x out of resources (A700))"
    assert caught.value.exit_code == 7


def test_files_that_the_archive_changed_are_spoken_of(archive, write_series, tmp_path):
    archive.faults.add("changes")
    stored = store(write_series(tmp_path / "in", n=3), archive.url)
    assert [one.code for one in stored.warnings] == ["changed-by-archive"]
    assert "3 files (3 x elements changed (B000))" in stored.warnings[0].message


@pytest.mark.parametrize("report", [b"", b"<html>", b"{}", b"[]"])
def test_an_archive_that_does_not_say_what_it_stored_is_asked(archive, write_series, tmp_path, report):
    archive.report = (200, report)
    assert store(write_series(tmp_path / "in", n=3), archive.url).n_images == 3
    assert any("/instances" in request for request in archive.asked)


def test_an_archive_that_says_so_and_lacks_a_file_is_not_believed(archive, write_series, tmp_path):
    files = write_series(tmp_path / "in", n=3)
    archive.report = (200, b"")
    list_them = archive.get

    def after_losing_one(handler):
        if "/instances" in handler.path and len(archive.objects) == 3:
            archive.objects.pop()
        list_them(handler)

    archive.get = after_losing_one
    with pytest.raises(OutputError, match="did not store everything") as caught:
        store(files, archive.url)
    assert caught.value.found == "2 of 3 files stored"


def test_a_report_with_an_error_status_counts(archive, write_series, tmp_path):
    files = write_series(tmp_path / "in", n=2)
    item = {"00081155": {"vr": "UI", "Value": ["1.2.3.1.1"]}}
    report = json.dumps({"00081199": {"vr": "SQ", "Value": [item]}, "00081198": {"vr": "SQ"}})
    archive.report = (400, report.encode())
    with pytest.raises(OutputError) as caught:
        store(files, archive.url)
    assert caught.value.found == "1 of 2 files stored"


def test_a_connection_that_ends_says_how_much_was_stored(archive, write_series, tmp_path, monkeypatch):
    files = write_series(tmp_path / "in", n=2)
    monkeypatch.setattr(storing, "_BATCH", files[0].stat().st_size)

    def after_the_first(line):
        if line.startswith("sending 2"):
            archive.faults.add("fails")

    with pytest.raises(OutputError) as caught:
        store(files, archive.url, progress=after_the_first)
    assert caught.value.found == "HTTP 500; 1 of 2 files stored before"


def test_nothing_to_store(archive, tmp_path):
    (tmp_path / "map.txt").write_text("no DICOM")
    for paths in (tmp_path, [tmp_path / "map.txt"], tmp_path / "missing"):
        with pytest.raises(NothingUsable):
            store(paths, archive.url)
    assert archive.asked == []


def test_one_file_twice_is_sent_once_and_two_with_one_uid_not_at_all(archive, write_series, tmp_path):
    (file,) = write_series(tmp_path / "in", n=1)
    copy = tmp_path / "in" / "copy.dcm"
    copy.write_bytes(file.read_bytes())
    assert store(tmp_path / "in", archive.url).n_images == 1
    copy.write_bytes(file.read_bytes()[:-2] + b"\1\1")
    with pytest.raises(CorruptInput, match="same SOPInstanceUID"):
        store(tmp_path / "in", archive.url)
    assert len(archive.received) == 1


def test_a_study_never_gets_a_second_patient(archive, write_series, tmp_path):
    files = write_series(tmp_path / "in", patient="animal 7")
    map_of_it = write_series(tmp_path / "map", patient="sub-3f9a01bc", series="1.2.3.9")
    archive.add(files)
    with pytest.raises(OutputError, match="another patient ID") as caught:
        store(map_of_it, archive.url)
    assert "--keep-identifiers" in (caught.value.next_step or "")
    assert "animal" not in str(caught.value)
    assert "sub-3f9a01bc" not in str(caught.value)
    with pytest.raises(CorruptInput, match="different patient IDs"):
        store([*files, *map_of_it], archive.url)
    assert archive.received == []
    same = write_series(tmp_path / "same", patient="animal 7", series="1.2.3.9")
    assert store(same, archive.url).n_images == 3


def test_damaged_files_are_refused_before_anything_is_sent(archive, write_series, tmp_path):
    import pydicom

    files = write_series(tmp_path / "in", n=2)
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:-20])
    with pytest.raises(CorruptInput):
        store(files, archive.url)
    files[1].write_bytes(whole)
    nameless = pydicom.dcmread(files[1])
    del nameless.StudyInstanceUID
    nameless.save_as(files[1])
    with pytest.raises(MissingMetadata, match="UID"):
        store(files, archive.url)
    assert archive.asked == []
