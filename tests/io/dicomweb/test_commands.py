"""``fetch`` and ``store`` as they are typed: exit codes, JSON, and no trace of a person in the output."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path

import pytest

from imgtheranostics.cli.main import main

CANARY = "ZqXcanary"
README = Path(__file__).resolve().parents[3] / "README.md"


@pytest.fixture
def filled(archive, write_series, tmp_path):
    archive.add(write_series(tmp_path / "in", patient=CANARY, series="1.2.3.1", n=3))
    archive.add(write_series(tmp_path / "in", patient=CANARY, series="1.2.3.2", modality="PT", n=2))
    return archive


def run(capsys, *words):
    """Exit code, stdout, stderr."""
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert CANARY not in printed.out + printed.err
    assert "Canary" not in printed.out + printed.err
    return code, printed.out, printed.err


def test_fetch_prints_a_table_with_pseudonyms(filled, tmp_path, capsys):
    code, out, _ = run(capsys, "fetch", filled.url, "--patient", CANARY, "-o", tmp_path / "out")
    assert code == 0
    assert "sub-" in out
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 5


def test_fetch_as_json(filled, tmp_path, capsys):
    words = ["fetch", filled.url, "--patient", CANARY, "--modality", "pt", "-o", tmp_path / "out", "--json"]
    code, out, err = run(capsys, *words)
    record = json.loads(out)
    assert (code, err) == (0, "")
    (one,) = record["series"]
    assert (one["modality"], one["n_images"], one["series_uid"]) == ("PT", 2, "1.2.3.2")
    assert len(list((tmp_path / "out" / one["folder"]).iterdir())) == 2
    assert one["n_bytes"] == sum(file.stat().st_size for file in (tmp_path / "out" / one["folder"]).iterdir())


def test_the_patients_id_may_come_from_stdin(filled, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{CANARY}\n"))
    code, out, _ = run(capsys, "fetch", filled.url, "--patient", "-", "--dry-run", "--json")
    assert code == 0
    assert [one["series_uid"] for one in json.loads(out)["series"]] == ["1.2.3.1", "1.2.3.2"]


def test_store_says_what_it_sent(archive, write_series, tmp_path, capsys):
    files = write_series(tmp_path / "in", patient=CANARY, n=3)
    code, out, _ = run(capsys, "store", tmp_path / "in", archive.url)
    assert code == 0
    assert "3 files" in out
    code, out, _ = run(capsys, "store", *files, archive.url, "--json")
    record = json.loads(out)
    assert code == 0
    assert (record["command"], record["n_images"], record["n_left_out"]) == ("store", 3, 0)
    assert (record["n_series"], record["n_studies"]) == (1, 1)


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "out"],
        ["--patient", "*", "-o", "out"],
        ["--patient", "a"],
        ["--study", "../1", "-o", "out"],
        ["--series", "1.2/3", "-o", "out"],
        ["--patient", "", "-o", "out"],
        ["--patient", "a", "-o", "out", "--timeout", "0"],
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(filled, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "fetch", filled.url, *words)
    assert code == 2
    assert "Error" in err or "Invalid" in err
    assert filled.asked == []
    assert not (tmp_path / "out").exists()


def test_an_empty_line_on_stdin_is_no_patient(filled, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(capsys, "fetch", filled.url, "--patient", "-", "-o", tmp_path / "out")[0] == 2
    assert filled.asked == []


@pytest.mark.parametrize("loudness", [[], ["-vv"]])
@pytest.mark.parametrize(
    ("fault", "code"),
    [("fails", 3), ("web page", 3), ("forbidden", 3), ("breaks off", 4), ("junk", 4), ("another's", 4)],
)
def test_a_failed_fetch_has_its_code_and_no_trace_of_the_patient(
    filled, tmp_path, capsys, fault, code, loudness
):
    filled.faults.add(fault)
    words = ["fetch", filled.url, "--patient", CANARY, "-o", tmp_path / "out", *loudness]
    found, _, err = run(capsys, *words)
    assert (found, err.count("error: ")) == (code, 1)
    assert not (tmp_path / "out").exists()


def test_a_failed_store_is_an_output_that_cannot_be_written(filled, write_series, tmp_path, capsys):
    filled.faults.add("refuses one")
    code, _, err = run(capsys, "store", tmp_path / "in", filled.url)
    assert code == 7
    assert "4 of 5 files stored" in err
    assert run(capsys, "store", tmp_path / "nowhere", filled.url)[0] == 3


def test_the_commands_of_the_readme_run_as_printed(archive, write_series, tmp_path, capsys, monkeypatch):
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = re.findall(r"^imgtheranostics (?:fetch|store) .*", "\n".join(blocks), flags=re.MULTILINE)
    assert len(lines) >= 3
    monkeypatch.chdir(tmp_path)
    archive.add(write_series(tmp_path / "in", patient="4711", series="1.2.3.1", modality="PT"))
    archive.add(write_series(tmp_path / "in", patient="4711", series="1.2.3.2", modality="CT"))
    write_series(tmp_path / "result", patient="4711", series="1.2.3.9")
    for line in lines:
        words = shlex.split(line.replace("https://pacs.example.org/dicom-web", archive.url), comments=True)
        assert run(capsys, *words[1:])[0] == 0, line
    assert len(list((tmp_path / "scans").rglob("*.dcm"))) == 3
    assert {str(ds.SeriesInstanceUID) for _, ds in archive.objects} == {"1.2.3.1", "1.2.3.2", "1.2.3.9"}
