"""Manifests: what they hold, what is read from YAML and tables, and what is refused with its line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from imgtheranostics.errors import (
    CorruptInput,
    ImplausibleValue,
    MissingMetadata,
    NothingUsable,
    UnitMismatch,
)
from imgtheranostics.study.manifest import Analysis, ScanReference, split_reference
from imgtheranostics.study.manifest_files import manifest_text, read_analyses, read_manifest
from imgtheranostics.study.running import with_analyses

WHOLE = """\
study: upsn-mice
agent: upsn-86y
subjects:
  - id: m01
    group: treated
    weight: 21 g
    covariates: {injected_mass_mg: 0.5}
    sessions:
      - id: d2
        date: 2026-03-02T09:30
        scans: {pet: {path: pet2.nii.gz, series: "3"}}
      - id: d1
        date: 2026-03-01T09:30
        administration: {activity: 8.1 MBq, at: 2026-03-01T08:30, nuclide: Y-86, residual: 0.3 MBq}
        scans: {pet: pet.nii.gz, ct: ct.nii.gz}
        regions: {path: rois.nii.gz, drawn_on: ct}
analyses:
  - name: uptake
    command: nuclear uptake
    scans: [pet]
    options: {quantity: [id_per_g, suv_bw], ct: {scan: ct}, strict-dose: true}
  - name: curves
    command: nuclear curves
    scans: [pet@*]
outcomes: outcomes.tsv
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("pet.nii.gz", "pet2.nii.gz", "ct.nii.gz", "rois.nii.gz", "outcomes.tsv"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def written(folder: Path, text: str, name: str = "study.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_amounts_are_in_si_and_sessions_in_the_order_of_their_dates(folder: Path) -> None:
    study = read_manifest(written(folder, WHOLE))
    [subject] = study.subjects
    assert subject.weight == pytest.approx(0.021)
    assert [session.id for session in subject.in_time] == ["d1", "d2"]
    given = subject.in_time[0].administration
    assert given is not None
    assert (given.activity, given.residual) == (8.1e6, 0.3e6)
    assert given.at == datetime(2026, 3, 1, 8, 30)
    assert subject.in_time[1].scans["pet"].series == "3"
    assert study.n_scans == 3


def test_the_injection_may_be_so_long_before_the_scan(folder: Path) -> None:
    text = WHOLE.replace("at: 2026-03-01T08:30", "delay: 90 min")
    study = read_manifest(written(folder, text))
    given = study.subjects[0].in_time[0].administration
    assert given is not None
    assert given.delay == 5400.0
    assert read_manifest(written(folder, manifest_text(study), "again.yaml")) == study


def test_options_may_name_scans_and_sessions_decide_how_often_an_analysis_is_done(folder: Path) -> None:
    uptake, curves = read_manifest(written(folder, WHOLE)).analyses
    assert uptake.options["ct"] == ScanReference(scan="ct")
    assert uptake.options["strict-dose"] is True
    assert uptake.references == (("pet", None), ("ct", None))
    assert (uptake.per_subject, curves.per_subject) == (False, True)
    assert curves.references == (("pet", "*"),)


def test_a_manifest_that_is_written_says_the_same(folder: Path) -> None:
    study = read_manifest(written(folder, WHOLE))
    assert read_manifest(written(folder, manifest_text(study), "again.yaml")) == study


TABLE = """\
subject\tgroup\tweight\tsession\tdate\trole\tpath\tregions\tdrawn_on\tadministration_activity\tcovariate_dose_mg
m01\ttreated\t21 g\td1\t2026-03-01T09:30\tpet\tpet.nii.gz\trois.nii.gz\tct\t8.1 MBq\t0.5
sub-m01\t\t\tses-d1\t\tct\tct.nii.gz\t\t\t\tn/a
m02\tcontrol\t20 g\td1\t2026-03-01T11:00\tpet\tpet2.nii.gz\t\t\t7.9 MBq\t0.5
"""


def test_a_table_has_one_row_per_scan(folder: Path) -> None:
    study = read_manifest(written(folder, TABLE, "mice.tsv"))
    assert study.study == "mice"
    first, second = study.subjects
    assert (first.id, first.group, first.weight, first.covariates) == (
        "m01",
        "treated",
        0.021,
        {"dose_mg": 0.5},
    )
    [session] = first.sessions
    assert sorted(session.scans) == ["ct", "pet"]
    assert session.regions is not None
    assert session.regions.drawn_on == "ct"
    assert second.sessions[0].administration is not None
    assert second.sessions[0].administration.activity == 7.9e6


@pytest.mark.parametrize(
    ("old", "new", "kind", "line", "said"),
    [
        ("        date: 2026-03-02T09:30\n", "", MissingMetadata, 9, "date"),
        ("weight: 21 g", "weight: 21", UnitMismatch, 6, "unit"),
        ("weight: 21 g", "weight: 21 MBq", UnitMismatch, 6, "kg"),
        ("8.1 MBq", "-8.1 MBq", ImplausibleValue, 14, "greater"),
        ("id: d1", "id: d2", CorruptInput, 4, "repeated: d2"),
        ("id: d1", "id: 01", CorruptInput, 12, "in quotes"),
        ("group: treated", "groop: treated", CorruptInput, 5, "groop"),
        ("scans: [pet]", "scans: [spect]", CorruptInput, 1, "no session has a scan spect"),
        ("scans: [pet@*]", "scans: [pet@*, ct]", CorruptInput, 22, "session for every scan"),
        ("name: curves", "name: uptake", CorruptInput, 1, "repeated: uptake"),
        ("id: m01", "id: m_01", CorruptInput, 4, "pattern"),
        ("nuclide: Y-86", "delay: 60 min", CorruptInput, 14, "either at or delay"),
        ("at: 2026-03-01T08:30, ", "delay: 60 kg, ", UnitMismatch, 14, "needed: s"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(
    folder: Path, old: str, new: str, kind: type[Exception], line: int, said: str
) -> None:
    assert old in WHOLE
    with pytest.raises(kind) as caught:
        read_manifest(written(folder, WHOLE.replace(old, new)))
    assert said in str(caught.value)
    assert f"study.yaml:{line}" in str(caught.value)


def test_files_that_are_not_there_are_named_and_counted(folder: Path) -> None:
    (folder / "pet.nii.gz").unlink()
    (folder / "rois.nii.gz").unlink()
    with pytest.raises(NothingUsable, match=r"pet\.nii\.gz and 1 more") as caught:
        read_manifest(written(folder, WHOLE))
    assert "study.yaml:15" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "kind", "said"),
    [
        ("\tct\tct.nii.gz", "\tpet\tct.nii.gz", CorruptInput, "stands twice"),
        ("2026-03-01T09:30", "", MissingMetadata, "date"),
        ("sub-m01\t\t\t", "sub-m01\t\t22 g\t", CorruptInput, "two things of weight"),
        ("subject\tgroup", "subject\tarm", CorruptInput, "arm"),
        ("\trole\t", "\tkind\t", MissingMetadata, "'role'"),
        ("\tn/a\n", "\n", CorruptInput, "columns"),
        ("7.9 MBq", "7.9", UnitMismatch, "unit"),
    ],
)
def test_tables_are_refused_by_row(
    folder: Path, old: str, new: str, kind: type[Exception], said: str
) -> None:
    assert old in TABLE
    with pytest.raises(kind, match=said):
        read_manifest(written(folder, TABLE.replace(old, new, 1), "mice.tsv"))


def test_a_missing_manifest_is_no_study(tmp_path: Path) -> None:
    for name in ("none.yaml", "none.tsv"):
        with pytest.raises(NothingUsable, match="does not exist"):
            read_manifest(tmp_path / name)


def test_a_reference_is_a_role_and_a_session() -> None:
    assert split_reference("fraction-3@w2") == ("fraction-3", "w2")
    with pytest.raises(ValueError, match="no reference"):
        split_reference("PET 1")
    assert Analysis(name="a", command="ct retention", scans=("ct@base", "ct@w1")).per_subject


def test_a_table_with_weights_and_without_groups_takes_analyses(folder: Path) -> None:
    text = "subject\tsession\tdate\trole\tpath\tweight\nm01\td1\t2026-03-01T09:30\tpet\tpet.nii.gz\t21 g\n"
    study = read_manifest(written(folder, text, "study.tsv"))
    analyses = folder / "analyses.yaml"
    analyses.write_text(
        "analyses:\n- {name: uptake, command: nuclear uptake, scans: [pet]}\n"
        "outcomes: outcomes.tsv\nquestions:\n- {name: benefit, kind: share}\n"
    )
    found = with_analyses(study, read_analyses(analyses))
    assert [one.name for one in found.analyses] == ["uptake"]
    assert [one.name for one in found.questions] == ["benefit"]
    assert (found.subjects[0].weight, found.subjects[0].group) == (pytest.approx(0.021), "")
    analyses.write_text("analyses:\n- {name: change, command: ct change, scans: [ct]}\n")
    with pytest.raises(CorruptInput, match="no session has a scan ct"):
        with_analyses(study, read_analyses(analyses))


def test_factors_and_covariates_have_names_of_their_own(folder: Path) -> None:
    text = WHOLE.replace("    sessions:\n", "    factors: {injected_mass_mg: high}\n    sessions:\n", 1)
    with pytest.raises(CorruptInput, match="injected_mass_mg"):
        read_manifest(written(folder, text))
