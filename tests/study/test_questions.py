"""Questions of a manifest: what is read, and what is refused with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgtheranostics.errors import CorruptInput, ImgTheranosticsError
from imgtheranostics.study.manifest_files import manifest_text, read_manifest

START = """\
study: mice
measured: label
subjects:
  - id: m01
    group: active
    covariates: {dose_mg: 0.5}
    factors: {targeting: "yes"}
    sessions:
      - {id: d1, date: 2026-03-01T09:30, scans: {pet: pet.nii.gz}}
  - id: m02
    group: passive
    factors: {targeting: "no"}
    sessions:
      - {id: d1, date: 2026-03-01T09:30, scans: {pet: pet.nii.gz}}
analyses:
  - {name: uptake, command: nuclear uptake, scans: [pet]}
outcomes: outcomes.tsv
questions:
"""

EACH_KIND = """\
  - {name: a, kind: group_difference, quantity: suv_bw, region: l, groups: [passive, active], margin: 1.2}
  - {name: b, kind: association, quantity: id_per_g, region: "lesion*", lesions: mean, adjust: [dose_mg]}
  - {name: c, kind: survival, quantity: id_per_g, region: tumour, session: d1, cutpoint: 3.2, time_unit: mo}
  - name: d
    kind: agreement
    first: {quantity: concentration, region: tumour, analysis: uptake}
    second: {quantity: id_per_g, region: tumour}
  - {name: e, kind: repeatability, quantity: id_per_g, region: liver, session: "*"}
  - {name: f, kind: factorial, quantity: id_per_g, region: liver, factors: [targeting, dose_mg]}
  - {name: g, kind: share}
  - {name: h, kind: mixed, quantity: id_per_g, region: "lesion*", about: shrinkage, adjust_log: [dose_mg]}
  - {name: i, kind: mixed, quantity: id_per_g, region: liver, session: "*", groups: [passive, active]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("pet.nii.gz", "outcomes.tsv"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def written(folder: Path, questions: str, start: str = START) -> Path:
    (folder / "study.yaml").write_text(start + questions)
    return folder / "study.yaml"


def test_each_kind_is_read_and_written(folder: Path) -> None:
    study = read_manifest(written(folder, EACH_KIND))
    assert [one.kind for one in study.questions] == [
        "group_difference",
        "association",
        "survival",
        "agreement",
        "repeatability",
        "factorial",
        "share",
        "mixed",
        "mixed",
    ]
    (folder / "again.yaml").write_text(manifest_text(study))
    assert read_manifest(folder / "again.yaml") == study


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("{name: a, kind: difference, quantity: suv_bw, region: liver}", "group_difference"),
        ("{name: a, kind: share, outcome: x, p_hack: 1}", "a key of the specification"),
        ("{name: a, kind: association, quantity: id_per_g}", "region"),
        ("{name: a, kind: association, quantity: id_per_g, region: liver, session: d7}", "session d7"),
        ("{name: a, kind: association, quantity: id_per_g, region: liver, analysis: ct}", "analysis ct"),
        ("{name: a, kind: group_difference, quantity: i, region: liver, groups: [active, other]}", "other"),
        ("{name: a, kind: group_difference, quantity: i, region: l, groups: [active, active]}", "different"),
        ("{name: a, kind: group_difference, quantity: i, region: l, margin: 0.2}", "ratio above 1"),
        ('{name: a, kind: survival, quantity: i, region: l, session: "*"}', "one session"),
        ("{name: a, kind: factorial, quantity: i, region: l, factors: [targeting, size]}", "factor size"),
        ("{name: a, kind: association, quantity: i, region: l, within_groups: true, adjust: [x]}", "either"),
        (
            "{name: a, kind: mixed, quantity: i, region: l, about: dose_mg, groups: [active, passive]}",
            "about the",
        ),
        ("{name: a, kind: mixed, quantity: i, region: l, about: dose_mg, adjust: [dose_mg]}", "each once"),
        ("{name: a, kind: mixed, quantity: i, region: l, about: dose_mg, effect: 1.2}", "below 1"),
        ("{name: a, kind: mixed, quantity: i, region: l, groups: [active, other]}", "other"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused_with_its_line(
    folder: Path, question: str, told: str
) -> None:
    with pytest.raises(ImgTheranosticsError) as refused:
        read_manifest(written(folder, f"  - {question}\n"))
    assert told in str(refused.value)
    assert "study.yaml" in str(refused.value.where)


def test_questions_of_outcomes_need_a_table_and_names_stand_once(folder: Path) -> None:
    without = START.replace("outcomes: outcomes.tsv\n", "")
    with pytest.raises(CorruptInput, match="table of outcomes"):
        read_manifest(written(folder, "  - {name: g, kind: share}\n", without))
    with pytest.raises(CorruptInput, match="repeated"):
        read_manifest(written(folder, "  - {name: g, kind: share}\n" * 2))
