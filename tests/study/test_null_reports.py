"""What the report of a study finds in null twins of the cohorts, and in cohorts with effects.

The tables are those that `study run` leaves, of values that are drawn; answers are those of `study report`.
Numbers of cohorts are small here; ``scripts/null_reports`` does the same with 500 of each.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from imgtheranostics.cli.study_program import CommandLine
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.phantom import available_cohorts, load_cohort, make_cohort, write_cohort
from imgtheranostics.phantom.cohort_spec import CohortSpec
from imgtheranostics.study.drawn import answers_of_drawn, write_drawn
from imgtheranostics.study.findings import Finding, Interval
from imgtheranostics.study.intervals import binomial_interval
from imgtheranostics.study.manifest_files import read_manifest
from imgtheranostics.study.power import two_sample_power
from imgtheranostics.study.runner import Means
from imgtheranostics.study.running import plan, run_plan
from imgtheranostics.study.said import ANY, Said, counted, no_effect, said

TWINS = 20
TRUE_IN_TWINS = {
    # dose drives enhancement and response in the twin too: adjusting for it is what the question is about
    "not adjusted",
    # repeats of one tumour are alike in the twin too
    "share of variance between subjects",
}
ONE_OF_MANY = 1 - 0.05 / 100

loaded = cache(load_cohort)


@pytest.fixture(autouse=True)
def _unsynchronised(monkeypatch):
    """Tables that are read back at once need not reach the disk, which is most of the time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def changed(slug: str, *questions: Mapping[str, Any], **design: Any) -> CohortSpec:
    spec = loaded(slug)
    manifest = dict(spec.manifest) | ({"questions": list(questions)} if questions else {})
    return spec.model_copy(update={"manifest": manifest, "design": spec.design.model_copy(update=design)})


def reports(spec: CohortSpec, n: int, *, null: bool, first: int = 0) -> list[dict[Said, bool]]:
    return [
        said(answers_of_drawn(make_cohort(spec, null=null, seed=seed))) for seed in range(first, first + n)
    ]


@cache
def shipped_twins(slug: str) -> list[dict[Said, bool]]:
    return reports(loaded(slug), TWINS, null=True)


def holds(rate: float, yes: int, total: int, level: float = 0.95) -> bool:
    low, high = binomial_interval(yes, total, level).interval
    return low <= rate <= high


def table(file) -> dict[tuple[str, ...], dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    names = ("subject", "session", "analysis", "region", "quantity")
    return {tuple(row[name] for name in names): row for row in rows}


# The tables


@pytest.mark.parametrize(("slug", "share"), [("coh-in111", 1e-4), ("coh-olsa", 0.1)])
def test_tables_of_drawn_cohorts_are_those_that_study_run_leaves(slug, share, tmp_path):
    """Noise-free images of the same subjects; concentrations of Olsa become contrast in one ratio, nearly."""
    cohort = make_cohort(slug, subjects=2, seed=3)
    write_cohort(cohort, tmp_path / "in", "nifti")
    manifest = tmp_path / "in" / "manifest.yaml"
    study, program = read_manifest(manifest), CommandLine()
    run, drawn = tmp_path / "run", tmp_path / "drawn"
    drawn.mkdir()
    run_plan(plan(study, manifest, program), run, program, Means(report=False))
    write_drawn(cohort, drawn)
    found, expected = table(drawn / "quantities.tsv"), table(run / "quantities.tsv")
    assert found.keys() <= expected.keys()
    assert {key[0] for key in found} == {"m01", "m02"}
    for key, row in found.items():
        assert row["unit"] == expected[key]["unit"]
        assert float(row["mean"]) == pytest.approx(float(expected[key]["mean"]), rel=share)
    for name in ("participants.tsv", "participants.json", "quantities.json"):
        assert (drawn / name).read_bytes() == (run / name).read_bytes()
    assert (drawn / "outcomes.tsv").is_file() == (run / "outcomes.tsv").is_file() == (slug == "coh-olsa")


def test_quantities_that_do_not_follow_from_the_truth_are_refused(tmp_path):
    question = {"name": "q", "kind": "group_difference", "quantity": "t1", "region": "tumour"}
    with pytest.raises(UnsupportedInput, match="nothing says how t1 comes from"):
        write_drawn(make_cohort(changed("coh-olsa", question)), tmp_path)


# What counts as said


def finding(measure: str, interval: tuple[float, float] = (0.0, 1.0)) -> Finding:
    return Finding(
        measure=measure, estimate=0.5, interval=Interval(*interval), p_value=0.5, n=9, method="any"
    )


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("hazard ratio per doubling of uptake", 1.0),
        ("ratio of geometric means, b over a", 1.0),
        ("difference of means, b less a", 0.0),
        ("Spearman's rho, adjusted for dose_ratio", 0.0),
        ("area under the ROC curve", 0.5),
        ("intraclass correlation (one-way, single measurement)", 0.0),
        ("partial eta squared of size", None),
        ("share, 3 of 4", None),
        ("median time without event", None),
    ],
)
def test_no_effect_is_what_a_measure_is_without_any(measure, value):
    assert no_effect(finding(measure)) == value


def test_every_question_of_a_manifest_is_counted_and_all_of_them_together():
    questions = [
        {"name": name, "kind": "group_difference", "quantity": "id_per_g", "region": "liver", "session": name}
        for name in ("h4", "h24", "h72")
    ]
    (report,) = reports(changed("coh-in111", *questions, ratio=4.0), 1, null=False)
    verdicts = {one.question: yes for one, yes in report.items() if one.kind == "verdict"}
    assert verdicts == {"h4": True, "h24": True, "h72": True, ANY: True}
    rate = counted([report, report])[Said("h4", "primary", "interval")]
    assert (rate.successes, rate.total) == (2, 2)


# Null twins


@pytest.mark.parametrize("slug", available_cohorts())
def test_reports_of_null_twins_answer_every_question(slug):
    for answer in answers_of_drawn(make_cohort(loaded(slug), null=True, seed=0)):
        assert answer.reply is not None, answer.error


@pytest.mark.parametrize("slug", available_cohorts())
def test_no_statement_of_a_report_is_made_of_too_many_null_twins(slug):
    """Each verdict, p value and interval; of some hundred statements, so that each has a wide interval."""
    for one, rate in counted(shipped_twins(slug), ONE_OF_MANY).items():
        if one.what not in TRUE_IN_TWINS and one.kind != "equivalence":
            assert rate.interval.low <= 0.05, f"{one}: {rate.successes} of {rate.total}"


def test_reports_of_null_twins_find_something_in_five_percent():
    """One verdict of each report, or the primary p value of a question without test; all cohorts together."""
    counts = []
    for slug in available_cohorts():
        for report in shipped_twins(slug):
            verdicts = [yes for one, yes in report.items() if one.kind == "verdict"]
            tests = [yes for one, yes in report.items() if (one.what, one.kind) == ("primary", "p value")]
            counts += [any(verdicts)] if verdicts else tests
    assert len(counts) >= 6 * TWINS
    assert holds(0.05, sum(counts), len(counts))


def test_several_questions_of_one_null_twin_are_wrong_together_in_five_percent():
    """Four questions about uptake and outcome, which without Holm would give more false findings."""
    uptake = {"quantity": "id_per_g", "region": "lesion_*", "lesions": "mean"}
    spec = changed(
        "coh-mm302",
        {"name": "months", "kind": "association", **uptake, "outcome": "time"},
        {"name": "most", "kind": "association", **uptake, "outcome": "time", "lesions": "maximum"},
        {"name": "yes-or-no", "kind": "association", **uptake, "outcome": "event"},
        {"name": "middle", "kind": "association", **uptake, "outcome": "event", "lesions": "median"},
    )
    twins = reports(spec, 60, null=True)
    together = sum(report[Said(ANY, "primary", "verdict")] for report in twins)
    alone = sum(any(yes for one, yes in report.items() if one.kind == "p value") for report in twins)
    assert binomial_interval(together, 60).interval.low <= 0.05
    assert alone > together


def test_lesions_that_are_not_brought_to_one_number_per_patient_are_not_answered():
    question = {"name": "pooled", "kind": "association", "quantity": "enhancement", "region": "lesion_*"}
    (answer,) = answers_of_drawn(make_cohort(changed("coh-nanorad", question), null=True))
    assert answer.reply is None
    assert "no independent witnesses" in answer.error["what"]


# Effects


def test_targeting_is_found_as_often_as_the_noncentral_f_says():
    """0.883 of the list's design, 15 animals an arm and one standard deviation 1.2 times apart."""
    spec = changed("coh-v7size", targeting_effect=1.2, size_effect=0.0)
    rates = counted(reports(spec, 100, null=False))
    rate = rates[Said("targeting-and-size", "targeted, F test", "p value")]
    assert holds(0.883, rate.successes, rate.total)


def test_a_ratio_of_livers_is_found_as_often_as_the_noncentral_t_says():
    """Six against six animals: between them 20 %, between three times of one 8 %."""
    scatter = math.sqrt(math.log1p(0.2**2) + math.log1p(0.08**2) / 3)
    exact = two_sample_power(6, 6, math.log(22 / 14) / scatter).power
    twins = reports(loaded("coh-in111"), TWINS, null=False)
    verdicts = [
        yes
        for report in twins
        for one, yes in report.items()
        if one.kind == "verdict" and one.question != ANY
    ]
    assert holds(exact, sum(verdicts), len(verdicts))


def test_rank_correlation_is_found_as_often_as_the_list_of_claims_says():
    """0.59 of 14 patients at one dose and a correlation of 0.6."""
    question = {
        "name": "rank",
        "kind": "association",
        "quantity": "enhancement",
        "region": "lesion_*",
        "lesions": "mean",
    }
    spec = changed("coh-nanorad", question, doses=(50.0,), dose_effect=0.0, volume_effect=0.0)
    rate = counted(reports(spec, 60, null=False))[Said("rank", "primary", "verdict")]
    assert holds(0.59, rate.successes, rate.total)


def test_effects_are_found_more_often_than_in_null_twins():
    """C1: the report finds the association of the list's hazard ratio in about half of the cohorts."""
    found = [
        np.mean([any(yes for one, yes in report.items() if one.kind == "verdict") for report in made])
        for made in (shipped_twins("coh-mm302"), reports(loaded("coh-mm302"), TWINS, null=False))
    ]
    assert found[1] > found[0] + 0.2
