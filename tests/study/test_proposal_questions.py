"""Questions that a proposed manifest brings along: those that fit groups, factors, outcomes and regions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from imgtheranostics.cli.main import main
from imgtheranostics.errors import MissingMetadata
from imgtheranostics.io.bids_tables import read_participants, unused_columns
from imgtheranostics.study.manifest_files import read_manifest
from imgtheranostics.study.proposal import Proposal, propose
from imgtheranostics.study.proposal_text import proposal_table, proposal_text
from imgtheranostics.study.questions import Association, Factorial, GroupDifference, Survival

PET: dict[str, Any] = {
    "Modality": "PT",
    "Units": "Bq/mL",
    "TracerRadionuclide": "F18",
    "InjectedRadioactivity": 8.0,
    "InjectedRadioactivityUnits": "MBq",
    "InjectionStart": 0,
    "TimeZero": "10:00:00",
    "ScanStart": 3600,
    "FrameTimesStart": [3600],
    "FrameDuration": [600],
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 3600,
    "ScanDate": "2025-03-01",
}
LABELS = ("a1", "a2", "a3", "a4")
PEOPLE = (
    "participant_id\tgroup\ttargeting\tsize\tdose_mg\trecord_number\tbatch\tremark\n"
    "sub-a1\ttreated\tactive\tsmall\t0.5\t71824093\t1\tfine\n"
    "sub-a2\ttreated\tactive\tlarge\t0.6\t71824094\t1\tCanary\n"
    "sub-a3\tcontrol\tpassive\tsmall\t0.5\t71824095\t2\tn/a\n"
    "sub-a4\tcontrol\tpassive\tlarge\t0.7\t71824096\t2\tfine\n"
)


def dataset(
    root: Path, names: tuple[str, ...] = ("tumour", "liver"), sessions: tuple[str, ...] = ("",)
) -> Path:
    """Four animals with a PET, and regions of these names, in each session."""
    root.mkdir()
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0"}))
    (root / "participants.tsv").write_text(PEOPLE)
    data = np.zeros((4, 4, 4), np.int16)
    for number in range(len(names)):
        data[number] = number + 1
    for label in LABELS:
        for session in sessions:
            place, stem = root / f"sub-{label}", f"sub-{label}"
            if session:
                place, stem = place / f"ses-{session}", f"{stem}_ses-{session}"
            (place / "pet").mkdir(parents=True)
            image = nib.Nifti1Image(data.astype(np.float32), np.eye(4))
            nib.save(image, place / "pet" / f"{stem}_pet.nii.gz")
            day = "2025-03-02" if session == sessions[-1] and session else "2025-03-01"
            (place / "pet" / f"{stem}_pet.json").write_text(json.dumps({**PET, "ScanDate": day}))
            drawn = root / "derivatives" / "seg" / place.relative_to(root)
            drawn.mkdir(parents=True)
            nib.save(nib.Nifti1Image(data, np.eye(4)), drawn / f"{stem}_dseg.nii.gz")
            table = "index\tname\n" + "".join(f"{n}\t{name}\n" for n, name in enumerate(names, 1))
            (drawn / f"{stem}_dseg.tsv").write_text(table)
    return root


def outcomes(root: Path, text: str) -> None:
    (root / "outcomes.tsv").write_text(text)


OUTCOMES = "subject\tresponse\ttime\tevent\tdoctor\n" + "".join(
    f"{label}\t{'yes' if n % 2 else 'no'}\t{n + 1}.5\t1\tCanary\n" for n, label in enumerate(LABELS)
)


def kinds(proposal: Proposal) -> dict[str, str]:
    return {one.values["name"]: one.values["kind"] for one in proposal.asks}


def unmarked(text: str) -> str:
    """The manifest as a person makes it who wants every analysis and question."""
    head, _, analyses = text.partition("# analyses:")
    before, _, questions = head.partition("# questions:")
    wanted = ["analyses:", *(line for line in analyses.splitlines() if line.startswith("#   "))]
    asked = ["questions:", *(line for line in questions.splitlines() if line.startswith("#   "))]
    return before + "\n".join(line.removeprefix("# ") for line in (*asked, *wanted)) + "\n"


def test_groups_factors_and_outcomes_make_questions_that_can_be_asked(tmp_path: Path) -> None:
    root = dataset(tmp_path / "bids")
    outcomes(root, OUTCOMES + "a9\tno\t2\t0\tCanary\n")
    proposal = propose(root)
    assert kinds(proposal) == {
        "uptake-between-groups": "group_difference",
        "uptake-by-size-and-targeting": "factorial",
        "uptake-and-response": "association",
        "uptake-and-time": "survival",
        "responders": "share",
    }
    path = tmp_path / "study.yaml"
    path.write_text(proposal_text(proposal, path))
    assert read_manifest(path).questions == ()  # they are proposed, and none is asked by itself
    path.write_text(unmarked(path.read_text()))
    with pytest.raises(MissingMetadata, match=r"questions\.uptake-and-time\.time_unit"):
        read_manifest(path)
    path.write_text(path.read_text().replace('time_unit: "ask"', "time_unit: d"))
    groups, factors, response, time, _ = read_manifest(path).questions
    assert isinstance(groups, GroupDifference)
    assert (groups.quantity, groups.region, groups.analysis) == ("id_per_g", "tumour", "uptake")
    assert isinstance(factors, Factorial)
    assert factors.factors == ("size", "targeting")
    assert isinstance(response, Association)
    assert response.adjust == ("dose_mg",)
    assert isinstance(time, Survival)
    assert time.time_unit == "d"
    [note] = [one for one in proposal.notes if "outcomes.tsv" in one]
    assert "1 of 5 subjects have no scans" in note


def test_what_only_people_can_say_of_a_question_is_open(tmp_path: Path) -> None:
    root = dataset(tmp_path / "bids", ("lesion_1", "lesion_2"), sessions=("base", "late"))
    outcomes(root, OUTCOMES)
    proposal = propose(root)
    asks = {one.values["name"]: one for one in proposal.asks}
    groups = asks["uptake-between-groups"]
    assert (groups.values["region"], groups.values["session"]) == ("lesion*", "*")
    assert groups.values["lesions"] == "ask"
    response = asks["uptake-and-response"]
    assert (response.values["session"], response.choices["session"]) == ("ask", "base, late")
    path = tmp_path / "study.yaml"
    path.write_text(proposal_text(proposal, path))
    assert 'session: "ask"  # base, late' in path.read_text()
    path.write_text(unmarked(path.read_text()))
    with pytest.raises(MissingMetadata, match=r"questions\.uptake-between-groups\.lesions"):
        read_manifest(path)


def test_regions_without_a_target_among_them_are_listed(tmp_path: Path) -> None:
    proposal = propose(dataset(tmp_path / "bids", ("liver", "spleen")))
    [groups, _] = proposal.asks
    assert (groups.values["region"], groups.choices["region"]) == ("ask", "liver, spleen")


def test_without_groups_and_outcomes_nothing_is_asked(tmp_path: Path) -> None:
    root = dataset(tmp_path / "bids")
    (root / "participants.tsv").unlink()
    proposal = propose(root)
    assert proposal.asks == ()
    assert "questions" not in proposal_text(proposal, tmp_path / "study.yaml")


def test_a_table_of_outcomes_that_is_none_is_noted_and_gives_no_question(tmp_path: Path) -> None:
    root = dataset(tmp_path / "bids")
    outcomes(root, "patient\tresponse\na1\tyes\n")
    proposal = propose(root)
    assert "responders" not in kinds(proposal)
    assert any("outcomes.tsv will be refused" in note for note in proposal.notes)


def test_columns_of_participants_are_covariates_factors_or_neither(tmp_path: Path) -> None:
    root = dataset(tmp_path / "bids")
    people = read_participants(root)
    assert people["a2"].covariates == {"dose_mg": 0.6, "batch": 1.0}
    assert people["a2"].factors == {"targeting": "active", "size": "large"}
    # numbers of records and remarks of which one stands once
    assert unused_columns(root) == ("record_number", "remark")
    manifest = tmp_path / "study.yaml"
    manifest.write_text(proposal_text(propose(root), manifest))
    table = tmp_path / "study.tsv"
    table.write_text(proposal_table(propose(root), table))
    assert read_manifest(table).subjects == read_manifest(manifest).subjects
    assert read_manifest(table).subjects[1].factors == {"targeting": "active", "size": "large"}


@pytest.mark.parametrize(
    ("column", "values", "used"),
    [
        ("age", ("41", "52", "63", "41"), True),
        ("patient_id", ("1", "2", "3", "4"), False),
        ("birth_year", ("1950", "1961", "1970", "1981"), False),
        ("registry", ("1002003", "1002004", "1002005", "1002009"), False),
        # as large, and of a unit that is stated
        ("cells", ("1002003", "1002004", "1002005", "1002009"), True),
        ("clinic", ("north", "north", "south", "south"), True),
        ("surname", ("Doe", "Doe", "Roe", "Roe"), False),
        ("comment", ("a", "b", "c", "d"), False),
    ],
)
def test_a_column_that_may_name_people_is_not_taken(
    tmp_path: Path, column: str, values: tuple[str, ...], used: bool
) -> None:
    rows = "".join(f"sub-a{n}\t{value}\n" for n, value in enumerate(values, 1))
    (tmp_path / "participants.tsv").write_text(f"participant_id\t{column}\n{rows}")
    (tmp_path / "participants.json").write_text(json.dumps({"cells": {"Units": "1/mL"}}))
    assert unused_columns(tmp_path) == (() if used else (column,))
    found = read_participants(tmp_path)["a1"]
    assert bool(found.covariates or found.factors) is used


def test_json_has_the_questions_and_no_value_of_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = dataset(tmp_path / "bids")
    outcomes(root, OUTCOMES)
    path = tmp_path / "study.yaml"
    assert main(["study", "init", str(root), "-o", str(path), "--json"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed)["study_questions"]
    assert [one["kind"] for one in found][:1] == ["group_difference"]
    for text in ("Canary", "7182409"):
        assert text not in printed + path.read_text()
