"""Addresses, log-in data and what the failures of an archive are called."""

from __future__ import annotations

import traceback

import pytest

from imgtheranostics.errors import NothingUsable, OutputError, UnsupportedInput
from imgtheranostics.io.dicomweb.archive import (
    PASSWORD_VARIABLE,
    TOKEN_VARIABLE,
    USER_VARIABLE,
    open_archive,
)
from imgtheranostics.io.dicomweb.fetching import fetch
from imgtheranostics.io.dicomweb.searching import find_series
from imgtheranostics.io.dicomweb.storing import store

PATIENT = "Canary-4711"


def refusal_of(url, kind=NothingUsable, **more):
    with pytest.raises(kind) as caught:
        find_series(url, patient=PATIENT, **more)
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value)
    assert PATIENT not in shown
    assert "Canary^Name" not in shown
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "pacs.example.org/dicom-web",
        "ftp://pacs.example.org/",
        "file:///etc/passwd",
        "http://",
        "http://host:99999/dicom-web",
        "http://host/dicom-web?token=abc",
        "http://host/dicom-web#part",
        "",
    ],
)
def test_what_is_no_root_of_a_service_is_refused(url):
    error = refusal_of(url, UnsupportedInput)
    assert "address" in error.what


def test_log_in_data_in_the_address_are_refused_and_not_repeated():
    error = refusal_of("https://reader:open-sesame@pacs.example.org/dicom-web", UnsupportedInput)
    assert "open-sesame" not in str(error)
    assert USER_VARIABLE in (error.next_step or "")


def test_nothing_listens(archive):
    archive.close()
    assert refusal_of(archive.url).what == "the archive cannot be reached"


def test_a_host_without_a_name_cannot_be_reached(archive):
    # the domain .invalid never resolves (RFC 6761)
    assert refusal_of("http://pacs.invalid/dicom-web").what == "the archive cannot be reached"


def test_https_spoken_to_an_archive_without_it(archive):
    error = refusal_of(archive.url.replace("http:", "https:"))
    assert "https" in error.what


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("forbidden", "does not allow"),
        ("redirects", "another address"),
        ("fails", "failed"),
        ("busy", "busy"),
        ("web page", "not that of a DICOMweb service"),
    ],
)
def test_each_failure_has_its_words_without_the_servers_text(archive, fault, words):
    archive.faults.add(fault)
    assert words in refusal_of(archive.url).what


def test_silence_ends(archive):
    archive.faults.add("hangs")
    error = refusal_of(archive.url, timeout_s=1.0)
    assert error.what == "the archive does not answer in time"
    assert error.needed == "an answer within 1 s"


def test_every_request_names_host_and_port(archive, tmp_path, write_series):
    archive.add(write_series(tmp_path / "in"))
    fetch(archive.url, tmp_path / "out", study="1.2.3")
    store(tmp_path / "out", archive.url)
    assert archive.hosts == {archive.url.split("/")[2]}


def test_a_busy_archive_is_asked_again(archive, tmp_path, write_series):
    archive.add(write_series(tmp_path / "in"))
    archive.faults.add("busy once")
    assert len(find_series(archive.url, study="1.2.3")) == 1


def test_user_and_password_of_the_environment_log_in(archive, tmp_path, monkeypatch, write_series, basic):
    archive.add(write_series(tmp_path / "in"))
    archive.log_in = basic("reader", "Grüße:1")
    assert refusal_of(archive.url).what == "the archive refused the log-in"
    monkeypatch.setenv(USER_VARIABLE, "reader")
    monkeypatch.setenv(PASSWORD_VARIABLE, "Grüße:1")
    assert len(find_series(archive.url, study="1.2.3")) == 1


def test_a_token_logs_in_also_where_netrc_names_the_host(archive, tmp_path, monkeypatch, write_series, basic):
    archive.add(write_series(tmp_path / "in"))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    archive.log_in = basic("other", "other")
    assert len(find_series(archive.url, study="1.2.3")) == 1
    archive.log_in = "Bearer abc.def"
    monkeypatch.setenv(TOKEN_VARIABLE, "abc.def")
    assert len(find_series(archive.url, study="1.2.3")) == 1


@pytest.mark.parametrize(
    "given",
    [
        {USER_VARIABLE: "reader"},
        {PASSWORD_VARIABLE: "open-sesame"},
        {USER_VARIABLE: "reader", PASSWORD_VARIABLE: "open-sesame", TOKEN_VARIABLE: "abc"},
        {TOKEN_VARIABLE: "open-sesame\r\nX-Other: 1"},
    ],
)
def test_incomplete_or_doubled_log_in_data_are_refused_before_anything_is_sent(archive, monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    error = refusal_of(archive.url, UnsupportedInput)
    assert "open-sesame" not in str(error)
    assert archive.asked == []


def test_log_in_data_are_in_no_error_and_no_representation(archive, monkeypatch, basic):
    monkeypatch.setenv(USER_VARIABLE, "reader")
    monkeypatch.setenv(PASSWORD_VARIABLE, "open-sesame")
    archive.log_in = basic("reader", "another")
    assert "open-sesame" not in str(refusal_of(archive.url))
    with open_archive(archive.url) as opened:
        assert "open-sesame" not in repr(opened)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://pacs.example.org/dicom-web", True),
        ("https://pacs.example.org/dicom-web", False),
        ("http://127.0.0.1:8042/dicom-web", False),
        ("http://localhost:8042/dicom-web", False),
    ],
)
def test_images_that_travel_unencrypted_are_spoken_of(url, said):
    with open_archive(url) as opened:
        assert [one.code for one in opened.cautions()] == ["unencrypted-connection"] * said


def test_a_target_that_fails_is_an_output_that_cannot_be_written(archive, tmp_path, write_series):
    files = write_series(tmp_path / "in")
    archive.faults.add("forbidden")
    with pytest.raises(OutputError, match="does not allow"):
        store(files, archive.url)


def test_a_source_that_fails_leaves_no_folder(archive, tmp_path):
    archive.faults.add("fails")
    with pytest.raises(NothingUsable):
        fetch(archive.url, tmp_path / "out", patient=PATIENT)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_its_name_is_said(archive, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    error = refusal_of(archive.url, UnsupportedInput)
    assert "imgtheranostics[pacs]" in (error.next_step or "")
