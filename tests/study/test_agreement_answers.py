"""One particle by several modalities: numbers become one concentration, or the question is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from imgtheranostics.report.tables import as_tsv
from imgtheranostics.study.answers import Answer, answers_of
from imgtheranostics.study.cohort import read_cohort
from imgtheranostics.study.results import COLUMNS

Make = Callable[..., Path]
Row = tuple[str, str, str, str, str, float]
"""Subject, analysis, region, quantity, unit, value."""

ORGANS = {"liver": 5.0, "spleen": 3.0, "tumour": 2.0, "kidney": 1.0, "muscle": 0.25}
ANALYSES = [
    {"name": "spect", "command": "nuclear uptake", "scans": ["spect"]},
    {
        "name": "ct",
        "command": "ct concentration",
        "scans": ["ct"],
        "options": {"material": "fe-au-trimodal", "slope": 37.0},
    },
    {"name": "gold", "command": "ct concentration", "scans": ["ct"], "options": {"material": "Au"}},
    {"name": "mri", "command": "mri concentration", "scans": ["mri"], "options": {"per": "Fe"}},
    {"name": "relaxed", "command": "mri concentration", "scans": ["mri"], "options": {"unit": "mg/mL"}},
]
HALVES = {"carries": {"Fe": "50 %", "Au": "50 %"}}
MG_PER_MMOL_FE = 0.055845
START = "kind: agreement, pairs: regions, relative: true"


@pytest.fixture
def asked(make_results: Make) -> Callable[..., dict[str, Answer]]:
    """Factory of answers from rows of values, subjects of 20 g with 1250 mg/kg injected."""

    def ask(
        rows: list[Row],
        questions: str,
        *,
        particle: Mapping[str, Any] | None = HALVES,
        administration: Mapping[str, str] | None = None,
    ) -> dict[str, Answer]:
        given = {"mass_per_weight": "1250 mg/kg"} if administration is None else administration
        subjects = [
            {
                "id": label,
                "weight": "20 g",
                "sessions": [
                    {
                        "id": "d1",
                        "date": "2026-03-01T09:00",
                        "scans": dict.fromkeys(("spect", "ct", "mri"), "scan.nii.gz"),
                        "administration": dict(given),
                    }
                ],
            }
            for label in dict.fromkeys(row[0] for row in rows)
        ]
        output = make_results(
            [(row[0], "d1", row[2], row[5]) for row in rows],
            questions=questions,
            top={"subjects": subjects, "analyses": ANALYSES, "particle": particle, "agent": "fe-au-trimodal"},
        )
        names = ("subject", "analysis", "region", "quantity", "unit", "mean")
        table = [
            dict.fromkeys(COLUMNS) | {"session": "d1"} | dict(zip(names, row, strict=True)) for row in rows
        ]
        (output / "quantities.tsv").write_text(as_tsv(table, COLUMNS))
        return {one.question.name: one for one in answers_of(read_cohort(output))}

    return ask


def trimodal(rng: np.random.Generator, subjects: int = 1) -> list[Row]:
    """Uptake of 25 mg, CT of the particle, iron by MRI: one concentration, each with 1 % of scatter."""
    rows: list[Row] = []
    for number in range(subjects):
        for organ, level in ORGANS.items():
            spect, ct, mri, gold = (level * (1 + 0.01 * rng.standard_normal(4))).tolist()
            who = f"m{number:02d}"
            rows += [
                (who, "spect", organ, "id_per_ml", "%/mL", spect / 0.25),
                (who, "spect", organ, "id_per_g", "%/g", spect / 0.25 / 1.05),
                (who, "ct", organ, "concentration", "mg/mL", ct),
                (who, "mri", organ, "fe_concentration", "mmol/L", mri / 2 / MG_PER_MMOL_FE),
                (who, "relaxed", organ, "concentration", "mg/mL", mri / 2),
                (who, "gold", organ, "concentration", "mg/mL", gold / 2),
            ]
    return rows


def measure(quantity: str, analysis: str, more: str = "") -> str:
    return f"{{quantity: {quantity}, analysis: {analysis}, region: '*'{more}}}"


def pair(name: str, first: str, second: str, more: str = "concentration: mg/mL") -> str:
    return f"{{name: {name}, {START}, first: {first}, second: {second}, {more}}}"


SPECT, CT, MRI = (
    measure("id_per_ml", "spect"),
    measure("concentration", "ct"),
    measure("fe_concentration", "mri"),
)


def test_uptake_gold_and_iron_become_one_concentration(
    asked: Callable[..., dict[str, Answer]], rng: np.random.Generator
) -> None:
    per_gram = measure("id_per_g", "spect", ", density_g_ml: 1.05")
    questions = [
        pair("a", SPECT, CT, "concentration: mg/mL, bias_limit: 5, limit: 10"),
        pair("b", SPECT, MRI),
        pair("c", CT, MRI),
        pair("d", per_gram, measure("concentration", "gold")),
        pair("e", SPECT, MRI, "concentration: mmol/L, of: Fe"),
    ]
    found = asked(trimodal(rng), f"[{', '.join(questions)}]")
    for name in "abcde":
        reply = found[name].reply
        assert reply is not None, found[name].error
        # five pairs with 1.4 % of scatter each: a mean is known to 0.6 %
        assert abs(reply.primary.estimate) < 2.0, name
        assert (reply.primary.unit, reply.primary.n) == ("%", 5)
        assert "one-subject" in [one.code for one in found[name].cautions]
    assert found["a"].verdict.startswith("On the mean they agree")
    reply = found["e"].reply
    assert reply is not None
    # 5 mg/mL of particle are 2.5 mg/mL of iron
    assert max(reply.shown[0].content.mean) == pytest.approx(2.5 / MG_PER_MMOL_FE, rel=0.03)
    line = dict(reply.beside)["Deming line"]
    assert line.estimate == pytest.approx(1.0, abs=0.05)
    assert any("stays on it" in note for note in reply.notes)
    assert any(what.startswith("Converted, fe_concentration") for what, _ in reply.facts)


def test_regions_of_several_subjects_are_no_independent_witnesses(
    asked: Callable[..., dict[str, Answer]], rng: np.random.Generator
) -> None:
    found = asked(trimodal(rng, 6), f"[{pair('a', SPECT, CT)}]")["a"]
    assert found.reply is not None
    primary = found.reply.primary
    assert primary.n == 30
    assert "6 subjects" in primary.method
    assert "over 6 subjects" in dict(found.reply.beside)["Deming line"].method
    assert "one-subject" not in [one.code for one in found.cautions]


def test_a_region_of_one_modality_alone_is_named(
    asked: Callable[..., dict[str, Answer]], rng: np.random.Generator
) -> None:
    rows = [row for row in trimodal(rng) if (row[1], row[2]) != ("ct", "muscle")]
    reply = asked(rows, f"[{pair('a', SPECT, CT)}]")["a"].reply
    assert reply is not None
    assert reply.primary.n == 4
    assert "m00 muscle: only by the first" in reply.left_out


@pytest.mark.parametrize(
    ("question", "particle", "administration", "error", "said"),
    [
        (pair("a", SPECT, CT), HALVES, {}, "MissingMetadata", "mass of the particles"),
        (pair("a", SPECT, MRI), None, None, "MissingMetadata", "how much Fe"),
        (pair("a", SPECT, measure("id_per_g", "spect")), HALVES, None, "MissingMetadata", "density"),
        (
            pair("a", SPECT, measure("concentration", "relaxed")),
            HALVES,
            None,
            "MissingMetadata",
            "what concentration counts",
        ),
        (
            pair("a", SPECT, measure("concentration", "gold", ", of: particle")),
            HALVES,
            None,
            "UnitMismatch",
            "counts something else",
        ),
        (pair("a", SPECT, CT, "alpha: 0.05"), HALVES, None, "UnitMismatch", "same kind of unit"),
        (
            pair("a", CT, measure("concentration", "gold"), "alpha: 0.05"),
            HALVES,
            None,
            "UnitMismatch",
            "need not count the same thing",
        ),
        (
            pair("a", CT, measure("concentration", "relaxed"), "alpha: 0.05"),
            HALVES,
            None,
            "UnitMismatch",
            "need not count the same thing",
        ),
        (
            pair("a", SPECT, CT, "concentration: mmol/L"),
            HALVES,
            None,
            "MissingMetadata",
            "molar mass of the particle",
        ),
    ],
    ids=["mass", "share", "density", "element", "contradiction", "unit", "gold", "unknown", "moles"],
)
def test_what_would_compare_unlike_things_is_refused(
    asked: Callable[..., dict[str, Answer]],
    rng: np.random.Generator,
    question: str,
    particle: dict[str, Any] | None,
    administration: dict[str, str] | None,
    error: str,
    said: str,
) -> None:
    found = asked(trimodal(rng), f"[{question}]", particle=particle, administration=administration)["a"]
    assert found.reply is None
    assert found.error["type"] == error
    assert said in found.error["what"]
    assert found.error["next"]


def test_what_counts_is_said_where_the_analysis_does_not(
    asked: Callable[..., dict[str, Answer]], rng: np.random.Generator
) -> None:
    iron = measure("concentration", "relaxed", ", of: Fe")
    reply = asked(trimodal(rng), f"[{pair('a', SPECT, iron)}]")["a"].reply
    assert reply is not None
    assert abs(reply.primary.estimate) < 2.0


def test_what_the_agent_carries_is_taken_from_its_record_and_said(make_results: Make) -> None:
    """AGuIX: 1 umol of gadolinium per mg, from memory."""
    rows = [("m00", "d1", organ, level) for organ, level in ORGANS.items()]
    subject = {
        "id": "m00",
        "sessions": [
            {
                "id": "d1",
                "date": "2026-03-01T09:00",
                "scans": {"pet": "a", "mri": "b"},
                "administration": {"mass": "2 mg"},
            }
        ],
    }
    analyses = [
        {"name": "pet", "command": "nuclear uptake", "scans": ["pet"]},
        {"name": "mri", "command": "mri concentration", "scans": ["mri"]},
    ]
    text = pair("a", measure("id_per_ml", "pet"), measure("gd_concentration", "mri"))
    output = make_results(
        rows, questions=f"[{text}]", top={"subjects": [subject], "analyses": analyses, "agent": "aguix"}
    )
    names = ("subject", "session", "analysis", "region", "quantity", "unit", "mean")
    table = [
        dict.fromkeys(COLUMNS) | dict(zip(names, cells, strict=True))
        for organ, level in ORGANS.items()
        for cells in (
            ("m00", "d1", "pet", organ, "id_per_ml", "%/mL", level),
            ("m00", "d1", "mri", organ, "gd_concentration", "mmol/L", level * 0.02),
        )
    ]
    (output / "quantities.tsv").write_text(as_tsv(table, COLUMNS))
    [answer] = answers_of(read_cohort(output))
    assert answer.reply is not None
    assert answer.reply.primary.estimate == pytest.approx(0.0, abs=1e-9)
    [said] = [one.message for one in answer.cautions if one.code == "payload-of-record"]
    assert "1 umol/mg, from memory" in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("of: Fe", "concentration"),
        ("first: {quantity: a, region: b, session: '*'}", "all sessions of both"),
        ("first: {quantity: a, region: b, lesions: mean}", "no lesions"),
        ("pairs: subjects, first: {quantity: a, region: b, session: '*'}", "one session"),
        ("concentration: mg", "mg/mL"),
    ],
)
def test_a_question_that_says_two_things_is_refused(more: str, said: str) -> None:
    from pydantic import ValidationError

    from imgtheranostics.study.questions import Agreement

    content = {
        "name": "a",
        "kind": "agreement",
        "pairs": "regions",
        "first": {"quantity": "id_per_ml", "region": "*"},
        "second": {"quantity": "concentration", "region": "*"},
        **yaml.safe_load(f"{{{more}}}"),
    }
    with pytest.raises(ValidationError, match=said):
        Agreement.model_validate(content)
