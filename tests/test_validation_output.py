"""What `validate` writes and prints: JUnit, output folder, terminal table, exit codes; each time the same."""

from __future__ import annotations

import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from imgtheranostics.cli.main import main
from imgtheranostics.cli.validation_table import as_text
from imgtheranostics.phantom.reading import library
from imgtheranostics.phantom.truth import Expectation
from imgtheranostics.validation import compare_phantoms, outcomes
from imgtheranostics.validation.junit import junit_xml
from imgtheranostics.validation.outcomes import (
    FAIL,
    NOT_IMPLEMENTED,
    PASS,
    REFUSED,
    Outcome,
    limits_of_agreement,
)
from imgtheranostics.validation.output import validation_object, write_validation

TRAP = "mm302-decaytrap"


@pytest.fixture(scope="module")
def wrong_trap(tmp_path_factory):
    """The decay trap with a truth that is 3 % too high and one that only the level-3 scanner could show."""
    text = (library() / f"{TRAP}.yaml").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("wrong") / "wrong.yaml"
    path.write_text(text.replace("value: 3.50\n", "value: 3.60\n"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def validation():
    return compare_phantoms(TRAP, (0, 3), pictures=True)


@pytest.fixture(scope="module")
def failed(wrong_trap):
    return compare_phantoms(wrong_trap, (0,))


@pytest.fixture(scope="module")
def folder(validation, tmp_path_factory):
    out = tmp_path_factory.mktemp("validation") / "out"
    write_validation(validation, out)
    return out


def expectation(**changes):
    given = {
        "claim": "1", "quantity": "suv_bw", "method": "mean", "region": "a", "places": ((0, 0),),
        "axis_value": "1", "truth": 10.0, "tolerance": 0.5, "level": 1, "provenance": "review",
    }  # fmt: skip
    return Expectation(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "measured", "refused", "verdict"),
    [
        ({}, [10.5, 9.5], 0, PASS),
        ({}, [10.0, 10.51], 0, FAIL),
        ({}, [10.0, math.nan], 0, FAIL),
        ({}, [], 0, FAIL),
        ({"truth": None, "method": "refusal"}, [math.nan, math.nan], 2, REFUSED),
        ({"truth": None, "method": "refusal"}, [math.nan, 3.0], 1, FAIL),
        ({"truth": None, "method": "refusal"}, [], 0, FAIL),
        ({"truth": 0.0, "tolerance": 0.1}, [0.1], 0, PASS),
        ({"truth": 0.0, "tolerance": 0.1}, [-0.2], 0, FAIL),
    ],
)
def test_verdicts(changes, measured, refused, verdict):
    outcome = Outcome("p", expectation(**changes), measured, refused=refused)
    assert outcome.verdict == verdict


def test_what_cannot_be_measured_is_never_a_pass():
    outcome = Outcome("p", expectation(), [10.0], missing=True)
    assert outcome.verdict == NOT_IMPLEMENTED
    assert math.isnan(outcome.row()["measured"])
    for changes, words in (
        ({"places": (), "modality": "MR"}, "no MR image"),
        ({"truth": None}, "does not state"),
        ({"method": "telepathy"}, "telepathy"),
    ):
        absent = Outcome("p", expectation(**changes))
        absent.add(None)
        assert absent.verdict == NOT_IMPLEMENTED
        assert words in absent.notes[0]


def test_limits_of_agreement_are_those_of_numpy(rng):
    errors = rng.normal(0.3, 2.0, size=37)
    low, high = limits_of_agreement(errors.tolist())
    assert low == pytest.approx(errors.mean() - 1.96 * errors.std(ddof=1), rel=1e-12)
    assert high == pytest.approx(errors.mean() + 1.96 * errors.std(ddof=1), rel=1e-12)
    assert all(math.isnan(limit) for limit in limits_of_agreement([1.0]))
    row = Outcome("p", expectation(), (10.0 + errors).tolist()).row()
    assert row["error"] == pytest.approx(errors.mean())
    assert (row["error_low"], row["error_high"]) == pytest.approx((low, high))


def test_one_phantom_is_also_read_from_nifti(validation):
    (row,) = validation.table[validation.table["method"] == "formats"].to_dict("records")
    assert row["verdict"] == PASS
    assert row["axis_value"] == "NIfTI, DICOM"
    assert row["measured"] < 1e-3


def test_a_nifti_that_shows_something_else_fails(monkeypatch):
    original = outcomes.measure

    def off(session, expected):
        return original(session, expected) * (1.01 if session.file_format == "nifti" else 1.0)

    monkeypatch.setattr(outcomes, "measure", off)
    found = compare_phantoms(TRAP, (0,)).table.set_index("method")
    assert found.loc["formats", "verdict"] == FAIL
    assert found.loc["formats", "measured"] == pytest.approx(0.01)


def test_junit_has_one_case_per_row(validation, failed):
    for result in (validation, failed):
        root = ElementTree.fromstring(junit_xml(result))  # noqa: S314 - our own text
        rows = result.table
        assert root.tag == "testsuites"
        assert len(root.findall(".//testcase")) == len(rows) == int(root.get("tests"))
        assert len(root.findall(".//failure")) == (rows["verdict"] == FAIL).sum() == int(root.get("failures"))
        skipped = (rows["verdict"] == NOT_IMPLEMENTED).sum()
        assert len(root.findall(".//skipped")) == skipped == int(root.get("skipped"))
        for suite in root.findall("testsuite"):
            assert int(suite.get("tests")) == len(suite.findall("testcase"))
            names = [case.get("name") for case in suite.findall("testcase")]
            assert len(set(names)) == len(names)
    message = root.find(".//failure").get("message")
    assert "truth 3.6" in message
    assert "measured 3.5" in message


def test_junit_survives_hostile_texts(failed):
    table = failed.table.copy()
    hostile = '</testcase>]]><x a="1">&amp;\x00\x1b\ufffe\ud800é'
    for column in ("note", "region", "axis_value", "claim"):
        table[column] = hostile
    object.__setattr__(
        broken := type(failed)(table, failed.repeats, failed.phantoms, (0,)), "source", hostile
    )
    root = ElementTree.fromstring(junit_xml(broken).encode("utf-8"))  # noqa: S314 - our own text
    assert len(root.findall(".//testcase")) == len(table)
    assert not root.findall(".//x")
    assert '<x a="1">&amp;' in root.find(".//testcase").get("name")


def test_the_folder_holds_table_record_and_report(validation, folder):
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"validation.tsv", "validation.json", "provenance.json", "report.html"} <= names
    assert any(name.startswith("figures/triptych_") for name in names)
    lines = (folder / "validation.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t")[:10] == [
        "slug", "claim", "quantity", "region", "axis_value", "truth", "measured", "error", "tolerance",
        "verdict",
    ]  # fmt: skip
    assert len(lines) == 1 + len(validation.table)
    content = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    assert content["passed"] is True
    assert [row["verdict"] for row in content["rows"]] == validation.table["verdict"].tolist()
    assert content["counts"][REFUSED] == 1
    start = next(row for row in content["rows"] if row["axis_value"] == "start")
    assert start["measured_by_seed"] == [pytest.approx(3.5, rel=2e-3)]
    assert start["error_low"] is None


def test_provenance_names_versions_seeds_and_hashes(validation, folder):
    import hashlib

    record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert record["versions"]["numpy"] == np.__version__
    assert record["seeds"] == [0]
    assert record["phantom_seeds"] == {TRAP: 64}
    digest = hashlib.sha256((folder / "validation.tsv").read_bytes()).hexdigest()
    assert record["outputs"]["validation.tsv"] == digest


def test_the_same_validation_gives_the_same_bytes(folder, tmp_path):
    again = compare_phantoms(TRAP, (0, 3), pictures=True)
    write_validation(again, tmp_path / "again")
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes(), (
                path.name
            )


def test_another_first_seed_gives_other_noise():
    first, second = (compare_phantoms(TRAP, (2,), rng=seed) for seed in (0, 1))
    assert first.repeats != second.repeats
    assert first.table["verdict"].tolist() == second.table["verdict"].tolist()


def test_progress_names_every_phantom_and_level():
    lines = []
    compare_phantoms(TRAP, (0, 3), progress=lines.append)
    assert lines == [f"[1/1] {TRAP}, level 0", f"[1/1] {TRAP}, level 3"]


def test_the_terminal_table_fits_into_a_hundred_columns(validation, failed):
    for result in (validation, failed, compare_phantoms(TRAP, (2,), seeds=2)):
        text = as_text(result, 100)
        assert max(len(line) for line in text.splitlines()) <= 100
        last = text.splitlines()[-1]
        assert last.startswith("within tolerance" if result.passed else "OUTSIDE TOLERANCE")
        assert f"{len(result.table)} rows" in last
    assert "6 fail" in as_text(failed, 100)
    assert "SUV, spread" in as_text(failed, 100)


def test_placeholders_carry_an_asterisk_in_the_terminal(validation):
    table = validation.table.copy()
    assert "*" not in as_text(validation)
    table["provenance"] = "unconfirmed (source: memory)"
    marked = type(validation)(table, validation.repeats, validation.phantoms, (0,))
    assert "pass *" in as_text(marked)
    assert "placeholder" in as_text(marked)


def test_a_phantom_without_physics_is_not_implemented_and_never_a_pass(tmp_path, monkeypatch):
    from imgtheranostics.phantom import physics

    monkeypatch.setattr(physics, "_HOMES", {})
    found = compare_phantoms(TRAP, (0, 1), pictures=True)
    assert set(found.table["verdict"]) == {NOT_IMPLEMENTED}
    assert found.table["measured"].isna().all()
    assert set(found.table["note"]) == {"the physics of PET is not implemented yet"}
    text = as_text(found)
    assert "level 0: not implemented, 3 numbers: the physics of PET is not implemented yet" in text
    assert "pass" not in text
    write_validation(found, tmp_path / "out")
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Nothing was measured" in report
    assert "Within tolerance" not in report


def test_exit_code_nine_means_outside_tolerance(wrong_trap, tmp_path, capsys):
    junit = tmp_path / "j.xml"
    code = main(["validate", str(wrong_trap), "--json", "--junit", str(junit), "-o", str(tmp_path / "out")])
    assert code == 9
    content = json.loads(capsys.readouterr().out)
    assert content["passed"] is False
    assert content["counts"][FAIL] == 6
    assert ElementTree.parse(junit).getroot().get("failures") == "6"  # noqa: S314 - our own file
    assert "Outside tolerance: 6 of 9" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_levels_are_a_list_and_may_repeat(capsys):
    assert main(["validate", TRAP, "--level", "3,0", "--level", "0", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["levels"] == [3, 0]
    assert content["rows"][0]["level"] == 3
    for wrong in ("4", "0;1", "", "0,,1", "one"):
        assert main(["validate", TRAP, "--level", wrong]) == 2


def test_a_tool_is_compared_from_the_command_line(tmp_path, capsys):
    table = tmp_path / "tool.tsv"
    heading = "slug\tlevel\tquantity\tregion\taxis_value\tvalue\tunit\n"
    table.write_text(heading + f"{TRAP}\t0\tsuv_bw\tsphere\tstart\t3.6\tg/mL\n")
    assert main(["validate", "--measured", str(table), "-o", str(tmp_path / "out"), "-q"]) == 9
    shown = capsys.readouterr().out
    assert "1 fail" in shown
    assert "not measured" in shown
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "measured by another tool: tool.tsv" in report
    assert main(["validate", "--measured", str(table), "--level", "0,2"]) == 2
    assert main(["validate", "--measured", str(table), "--seeds", "2"]) == 2
    table.write_text(heading + "nope\t0\tsuv_bw\tsphere\tstart\t3.6\tg/mL\n")
    assert main(["validate", "--measured", str(table)]) == 4
    assert "line 2, column slug" in capsys.readouterr().err


def test_a_folder_that_is_not_empty_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["validate", TRAP, "-o", str(tmp_path)]) == 7
    assert "--force" in capsys.readouterr().err


def test_the_object_of_a_tool_lists_what_was_not_compared(tmp_path):
    from imgtheranostics.validation.measured import compare_measured

    table = tmp_path / "t.tsv"
    table.write_text(
        f"slug\tquantity\tregion\taxis_value\tvalue\n{TRAP}\tsuv_bw\tbackground\tstart\t0.5\n",
        encoding="utf-8",
    )
    content = validation_object(compare_measured(table))
    assert content["not_compared"] == [f"line 2: {TRAP}, suv_bw of background at start"]
    assert content["measured_by"] == "t.tsv"
