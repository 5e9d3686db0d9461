"""The report of a study: what it says, who is missing, and that it is one quiet file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgtheranostics.cli.main import main
from imgtheranostics.errors import CorruptInput, NothingUsable
from imgtheranostics.study.declared import read_declared
from imgtheranostics.study.reporting import write_study_report
from imgtheranostics.study.wording import MEASURED, MM302_FUTILITY, claims_beyond_association

Make = Callable[..., Path]
MICE = tuple(f"m{n:02d}" for n in range(10))
QUESTIONS = """
- {name: liver, kind: group_difference, quantity: id_per_g, region: liver, session: "*"}
- {name: shrink, kind: association, quantity: id_per_g, region: liver, session: d1, outcome: shrinkage}
- {name: pfs, kind: survival, quantity: id_per_g, region: liver, session: d1, cutpoint: median, time_unit: mo}
- {name: kidney, kind: repeatability, quantity: id_per_g, region: kidney, session: "*"}
- name: days
  kind: agreement
  first: {quantity: id_per_g, region: liver, session: d1}
  second: {quantity: id_per_g, region: liver, session: d2}
"""


@pytest.fixture
def output(make_results: Make) -> Path:
    rng = np.random.default_rng(6)
    rows = [
        (name, session, region, level * math.exp(0.3 * rng.standard_normal()))
        for name in MICE
        for session in ("d1", "d2")
        for region, level in (("liver", 20.0), ("muscle", 0.8), ("a<b>&", 3.0))
    ]
    lines = ["subject\tshrinkage\ttime\tevent"]
    lines += [f"{name}\t{rng.normal():.3f}\t{rng.exponential(5):.3f}\t1" for name in MICE[1:]]
    lines += ["m77\t0.1\t3\t1"]
    return make_results(
        rows,
        groups={name: "treated" if n % 2 else "control" for n, name in enumerate(MICE)},
        outcomes="\n".join(lines) + "\n",
        questions=QUESTIONS,
        top={"study": "coh-mm302", "measured": "carrier"},
        failed={"m50": "the scan is truncated"},
    )


def test_one_offline_page_with_answers_reasons_and_the_fixed_sentences(output: Path) -> None:
    found = write_study_report(output)
    assert [path.name for path in found.files] == ["report.html", "answers.json", "answers.tsv"]
    page = (output / "report.html").read_text()
    for said in (
        "m50 failed: the scan is truncated",
        "1 subject has an outcome, but no scan in the study: m77",
        "2 subjects have scans, but no row in the table of outcomes: m00, m50",
        MEASURED["carrier"],
        MM302_FUTILITY,
        "corrected for 3 questions (Holm)",
        "not answered: no number of the study is meant",
        "would be found in",
        "a&lt;b&gt;&amp;",
        "prefers-color-scheme: dark",
        "@media print",
    ):
        assert said in page, said
    assert "<script" not in page
    assert "a<b>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    text = re.sub(r"data:[^\"]*", "", page)
    assert claims_beyond_association(re.sub(r"<[^>]+>", " ", text)) == ()


def test_each_kind_of_figure_is_there_with_words_for_who_cannot_see_it(output: Path) -> None:
    write_study_report(output)
    page = (output / "report.html").read_text()
    alts = re.findall(r'<img src="data:image/svg\+xml;base64,[^"]+" alt="([^"]*)"', page)
    for start in (
        "Uptake, liver [%ID/g], means of groups",
        "Change at the last session",
        "shrinkage against",
        "shrinkage of every subject",
        "Share without event",
        "Differences of two measures",
        "Estimates:",
        "Uptake [%ID/g] by region",
    ):
        assert any(alt.startswith(start) for alt in alts), start


def test_tables_of_answers_hold_what_the_page_says(output: Path) -> None:
    write_study_report(output)
    content = json.loads((output / "answers.json").read_text())
    assert content["failed"] == {"m50": "failed: the scan is truncated"}
    by_name = {one["name"]: one for one in content["questions"]}
    assert not by_name["kidney"]["answered"]
    tested = sorted(one["p_value"] for one in content["questions"] if one["p_value"] is not None)
    smallest = min(one["holm_p_value"] for one in content["questions"] if one["holm_p_value"] is not None)
    assert len(tested) == 3
    assert smallest == pytest.approx(min(1.0, 3 * tested[0]), rel=1e-12)
    lines = [line.split("\t") for line in (output / "answers.tsv").read_text().splitlines()]
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    primary = {row["question"]: row for row in rows if row["role"] == "primary"}
    assert set(primary) == {"liver", "shrink", "pfs", "days"}
    assert float(primary["pfs"]["estimate"]) == by_name["pfs"]["findings"][0]["estimate"]
    assert primary["days"]["holm_p_value"] == "n/a"


def test_the_same_folder_gives_the_same_bytes_elsewhere(output: Path, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_study_report(output).files]
    (tmp_path / "there").mkdir()
    again = write_study_report(output, tmp_path / "there" / "mine.html")
    assert [path.read_bytes() for path in again.files] == first
    assert again.files[0].name == "mine.html"


def test_command_line_says_the_same_and_ends_with_eight(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "report", str(output), "--json"]) == 8
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == ["m50"]
    assert told["unanswered"]["kidney"]["type"] == "NothingUsable"
    assert main(["study", "report", str(output), "-o", "report.txt"]) == 2
    capsys.readouterr()
    assert main(["study", "report", str(output)]) == 8
    assert "kidney: not answered: no number of the study is meant" in capsys.readouterr().out


def test_one_corrupt_scan_is_in_the_report_with_its_reason(
    make_study: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make_study(tmp_path / "in", 6)
    text = manifest.read_text()
    text += (
        "questions:\n- {name: g, kind: group_difference, quantity: id_per_g, region: tumour,"
        " logarithmic: false}\n"
    )
    manifest.write_text(text)
    scan = tmp_path / "in" / "m03.nii.gz"
    scan.write_bytes(scan.read_bytes()[:200])
    out = str(tmp_path / "out")
    assert main(["study", "run", str(manifest), "-o", out, "--no-report", "--quiet"]) == 8
    capsys.readouterr()
    assert main(["study", "report", out, "--json"]) == 8
    told = json.loads(capsys.readouterr().out)
    assert told["answers"][0]["n"] == 5
    reason = json.loads((tmp_path / "out" / "status.json").read_text())["subjects"]["m03"]["errors"][0][
        "what"
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count(f"m03 failed: {reason}") == 1
    # nothing of it is changed by a report, and a second run leaves the report alone
    before = (tmp_path / "out" / "report.html").read_bytes()
    assert main(["study", "run", str(manifest), "-o", out, "--no-report", "--quiet"]) == 8
    assert (tmp_path / "out" / "report.html").read_bytes() == before


def test_a_study_without_questions_is_described_and_not_tested(make_results: Make) -> None:
    output = make_results(
        [(name, "d1", organ, 1.0 + n) for n, name in enumerate(MICE) for organ in ("a", "b")]
    )
    assert write_study_report(output).complete
    page = (output / "report.html").read_text()
    assert "declares no questions" in page
    assert "They are read as the label" in page


def test_no_date_of_a_session_is_kept_beside_the_results(output: Path) -> None:
    assert "2026-" not in (output / "study.json").read_text()
    assert read_declared(output).hours["m00", "d2"] == 24.0


def test_what_is_no_study_or_a_damaged_one_is_refused(output: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingUsable):
        write_study_report(tmp_path / "nowhere")
    (output / "study.json").write_text('{"study": "x"}')
    with pytest.raises(CorruptInput, match="declared"):
        write_study_report(output)


def test_a_damaged_table_is_refused(output: Path) -> None:
    (output / "quantities.tsv").write_text("subject\tsession\nm01\n")
    with pytest.raises(CorruptInput, match="damaged"):
        write_study_report(output)
