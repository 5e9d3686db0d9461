"""Exit codes and the error block: one block on stderr, no traceback, JSON on stdout when asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from imgtheranostics import errors
from imgtheranostics.cli import files
from imgtheranostics.cli.main import main

KINDS = [
    (errors.NothingUsable, 3),
    (errors.CorruptInput, 4),
    (errors.UnsupportedInput, 4),
    (errors.MissingMetadata, 5),
    (errors.GeometryMismatch, 6),
    (errors.UnitMismatch, 6),
    (errors.ImplausibleValue, 6),
    (errors.IllConditioned, 6),
    (errors.OutputError, 7),
]


def raising(monkeypatch, error):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("imgtheranostics.io.loading.info", fail)


@pytest.mark.parametrize(("kind", "code"), KINDS)
def test_each_refusal_has_its_exit_code(kind, code, monkeypatch, capsys):
    raising(monkeypatch, kind("a", where="b", found="c", needed="d", next_step="e"))
    assert main(["info", "."]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == f"error: {kind.__name__}: a"
    assert [line.split(":")[0].strip() for line in err.splitlines()[1:]] == [
        "where",
        "found",
        "needed",
        "what to do",
    ]


def test_json_refusal_is_one_object_on_stdout(monkeypatch, capsys):
    raising(monkeypatch, errors.MissingMetadata("no weight", where="PatientWeight (0010,1030)"))
    assert main(["info", ".", "--json"]) == 5
    fault = json.loads(capsys.readouterr().out)["error"]
    assert fault == {
        "type": "MissingMetadata",
        "exit_code": 5,
        "what": "no weight",
        "where": "PatientWeight (0010,1030)",
    }


def test_internal_error_shows_no_traceback_and_no_value_unless_asked(monkeypatch, capsys):
    raising(monkeypatch, RuntimeError("DOE^JANE"))
    assert main(["info", "."]) == 1
    err = capsys.readouterr().err
    assert "internal error: RuntimeError" in err
    assert "Traceback" not in err
    assert "DOE^JANE" not in err
    assert main(["info", ".", "-vv"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nonsense"], ["info"], ["info", ".", "--nonsense"], ["nuclear", "x"]])
def test_usage_errors_exit_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert "Usage" in capsys.readouterr().err


def test_missing_path_is_no_usable_input(tmp_path, capsys):
    assert main(["info", str(tmp_path / "absent")]) == 3
    assert main(["nuclear", "uptake", str(tmp_path / "absent")]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_empty_folder_is_no_usable_input(tmp_path, capsys):
    assert main(["nuclear", "uptake", str(tmp_path)]) == 3
    assert "NothingUsable" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["400", "MBq", "400 bananas", "4e"])
def test_dose_without_a_known_unit_is_a_usage_error(text, tmp_path, capsys):
    assert main(["nuclear", "uptake", str(tmp_path), "--dose", text]) == 2
    assert "--dose" in capsys.readouterr().err


def test_an_unknown_quantity_is_a_usage_error_that_lists_the_known_ones(tmp_path, capsys):
    assert main(["nuclear", "uptake", str(tmp_path), "--quantity", "suv"]) == 2
    assert "suv_bw" in capsys.readouterr().err


def test_output_is_checked_before_the_input_is_read(tmp_path, capsys):
    taken = tmp_path / "out"
    taken.mkdir()
    (taken / "mine.txt").write_text("keep")
    assert main(["nuclear", "uptake", str(tmp_path / "absent"), "-o", str(taken)]) == 7
    assert "not empty" in capsys.readouterr().err
    assert (taken / "mine.txt").read_text() == "keep"


def test_verbs_of_the_contract_exist(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for verb in ("info", "convert", "nuclear", "report", "validate", "demo", "warmup", "doctor"):
        assert f"\n  {verb} " in text
    assert callable(files.info)


def test_doctor_and_warmup_answer_in_json(capsys):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["warmup", "--json"]) == 0
    seconds = json.loads(capsys.readouterr().out)["seconds"]
    assert "region statistics" in seconds
    assert np.isfinite(list(seconds.values())).all()
