"""Names that are no text, that steer a terminal, that are no files; numbers that are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from imgtheranostics.cli.main import main
from imgtheranostics.cli.terminal import visible
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.io.loading import load
from imgtheranostics.io.saving import save
from imgtheranostics.phantom import make

COMMAND = (sys.executable, "-c", "from imgtheranostics.cli.main import run; run()")


@pytest.fixture(scope="module")
def volume():
    return make("mm302-decaytrap").volumes[0]


def test_control_characters_of_file_names_never_reach_the_terminal(volume, tmp_path, capsys):
    folder = tmp_path / "red\x1b[31m\nline\u202e"
    write_dicom(volume, folder)
    (folder / "\x1b[2Jbroken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 50)
    assert main(["info", str(folder)]) == 0
    assert main(["nuclear", "uptake", str(folder)]) == 4
    out, err = capsys.readouterr()
    assert "broken.dcm" in out
    assert "broken.dcm" in err
    for text in (out, err):
        assert not {"\x1b", "\u202e"} & set(text)
    assert len(err.splitlines()) <= 5, "one block of lines that the names do not break"


def test_visible_leaves_words_of_every_script_alone():
    assert visible("Größe 3 µm ± 1, 腫瘍") == "Größe 3 µm ± 1, 腫瘍"
    assert visible("a\tb\r\n") == "a\\tb\\r\\n"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_no_text_are_kept_as_escapes(volume, tmp_path):
    name = os.fsdecode(b"bad\xffname")
    write_dicom(volume, tmp_path / name)
    words = ["nuclear", "uptake", name, "-o", os.fsdecode(b"out\xff"), "--json", "--keep-identifiers"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONUTF8": "0"}
    command = [*COMMAND, *words, "--quantity", "suv_bw", "--no-report"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    printed = json.loads(done.stdout.decode("utf-8"))
    assert printed["output"] == os.fsdecode(b"out\xff")
    record = tmp_path / os.fsdecode(b"out\xff") / "provenance.json"
    assert b"\\udcff" in record.read_bytes()
    json.loads(record.read_bytes().decode("utf-8"))


def test_patient_id_that_is_no_text_has_a_pseudonym_and_survives_in_a_sidecar(volume, tmp_path):
    """JSON can say half of a surrogate pair, which no encoding of text has."""
    save(volume, tmp_path / "a.nii")
    sidecar = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    (tmp_path / "a.json").write_text(json.dumps({**sidecar, "PatientID": "\ud800x"}), encoding="utf-8")
    found = load(tmp_path)
    assert found.source.subject.startswith("sub-")
    written = save(found, tmp_path / "again.nii", keep_identifiers=True)
    assert b"\\ud800x" in written[1].read_bytes()


def test_a_terminal_without_our_letters_is_no_reason_to_fail(volume, tmp_path):
    write_dicom(volume, tmp_path / "scan")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [*COMMAND, "nuclear", "uptake", str(tmp_path / "scan"), "--quantity", "suv_bw"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "suv_bw" in done.stdout


@pytest.mark.parametrize("words", [["info"], ["nuclear", "uptake"]])
def test_pipes_and_devices_are_no_scans(tmp_path, words):
    """Opening a pipe would wait for somebody to write into it."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        done = subprocess.run([*COMMAND, *words, str(path)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 3
        assert "neither a file nor a folder" in done.stderr


@pytest.mark.parametrize("length", ["nan", "inf", "-1", "wide"])
def test_resolution_that_is_no_length_is_a_usage_error(tmp_path, capsys, length):
    assert main(["nuclear", "uptake", str(tmp_path), "--resolution-mm", length]) == 2
    assert "--resolution-mm" in capsys.readouterr().err
