"""The table of outcomes: what is used, what is named and counted, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError, MissingMetadata, NothingUsable
from imgtheranostics.study.answers import answers_of
from imgtheranostics.study.cohort import read_cohort
from imgtheranostics.study.outcomes import outcome_text, read_outcomes

SUBJECTS = ("m01", "m02", "m03")


def codes(text: str) -> dict[str, str]:
    return {one.code: one.message for one in read_outcomes(text, SUBJECTS).cautions}


def test_numbers_and_words_of_each_subject() -> None:
    found = read_outcomes(
        "subject\tresponse\ttime\nsub-m02\tyes\t3.5\nm01\tno\tn/a\nm03\tNA\t1e1\n", SUBJECTS
    )
    assert found.cautions == ()
    np.testing.assert_array_equal(found.numbers("response", SUBJECTS), [0.0, 1.0, np.nan])
    np.testing.assert_array_equal(found.numbers("time", SUBJECTS), [np.nan, 3.5, 10.0])


def test_outcomes_without_scan_and_scans_without_outcome_are_named_and_counted() -> None:
    told = codes("subject\tresponse\nm01\t1\nm77\t1\nm78\t0\n")
    assert told["outcome-without-scan"] == "2 subjects have an outcome, but no scan in the study: m77, m78"
    assert told["scan-without-outcome"].startswith("2 subjects have scans")
    assert told["scan-without-outcome"].endswith("m02, m03")


def test_a_subject_that_stands_twice_counts_once_or_not_at_all() -> None:
    text = "subject\tresponse\nm01\t1\nm01\t1\nm02\t1\nm02\t0\nm02\t1\nm03\t0\n"
    told = codes(text)
    assert told["repeated-outcomes"].endswith("m01")
    assert told["contradicting-outcomes"].endswith("m02")
    np.testing.assert_array_equal(read_outcomes(text, SUBJECTS).numbers("response", SUBJECTS), [1, np.nan, 0])


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("", CorruptInput, "empty"),
        ("subject\tresponse\n", NothingUsable, "no rows"),
        ("mouse\tresponse\nm01\t1\n", MissingMetadata, "subject"),
        ("subject\tresponse\nm01\t1\nm02\t1\t7\n", CorruptInput, "outcomes.tsv:3"),
        ("subject\tresponse\tresponse\nm01\t1\t1\n", CorruptInput, "twice"),
    ],
    ids=["empty", "no rows", "no subject", "too many cells", "column twice"],
)
def test_what_is_no_table_is_refused_before_anything_is_computed(
    tmp_path: Path, text: str, error: type[ImgTheranosticsError], told: str
) -> None:
    (tmp_path / "outcomes.tsv").write_text(text)
    with pytest.raises(error, match=told):
        outcome_text(tmp_path / "outcomes.tsv", ())


def test_only_the_columns_that_are_read_are_copied(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("participant_id,name,response,dose\nsub-m01,Jane Doe,1,7\n")
    assert outcome_text(tmp_path / "o.csv", {"dose"}) == "subject\tresponse\tdose\nsub-m01\t1\t7\n"


def test_a_word_among_numbers_is_refused_with_its_line() -> None:
    found = read_outcomes("subject\ttime\nm01\t3\nm02\tlong\n", SUBJECTS)
    with pytest.raises(CorruptInput, match=r"outcomes\.tsv:3"):
        found.numbers("time", SUBJECTS)


ROWS = [(f"m{n:02d}", "d1", "tumour", 1.0 + n) for n in range(8)]
SURVIVAL = "[{name: pfs, kind: survival, quantity: id_per_g, region: tumour}]"


def table(header: str, *cells: str) -> str:
    return "\n".join([header, *(f"m{n:02d}\t{one}" for n, one in enumerate(cells))]) + "\n"


@pytest.mark.parametrize(
    ("outcomes", "error", "told"),
    [
        (table("subject\ttime", *"12345678"), "MissingMetadata", "'event'"),
        (table("subject\tevent", *"11011011"), "MissingMetadata", "'time'"),
        (
            table(
                "subject\ttime\tevent\ttime_unit", *(f"{n + 1}\t1\t{'d' if n else 'mo'}" for n in range(8))
            ),
            "UnitMismatch",
            "mixes units",
        ),
        (table("subject\ttime\tevent", *(f"{n + 1}\t0" for n in range(8))), "IllConditioned", "censored"),
        (table("subject\ttime\tevent", *(f"{n + 1}\t2" for n in range(8))), "ValueError", "event must be 1"),
        (table("subject\ttime\tevent", *(f"{n - 3}\t1" for n in range(8))), "ImplausibleValue", "negative"),
    ],
    ids=["no event", "no time", "mixed units", "all censored", "event 2", "negative time"],
)
def test_outcomes_that_cannot_answer_leave_the_question_with_its_reason(
    make_results: Callable[..., Path], outcomes: str, error: str, told: str
) -> None:
    output = make_results(ROWS, outcomes=outcomes, questions=SURVIVAL)
    [answer] = answers_of(read_cohort(output))
    assert answer.reply is None
    assert answer.error["type"] == error
    assert told in f"{answer.error['what']} {answer.error.get('needed', '')}"
