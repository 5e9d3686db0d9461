"""Manifests proposed from BIDS datasets (PET-BIDS, qMRI collections, derivatives) and NIfTI files."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import imgtheranostics as it
from imgtheranostics.cli.main import main
from imgtheranostics.errors import CorruptInput, MissingMetadata
from imgtheranostics.io.bids_tables import read_participants
from imgtheranostics.study.manifest import Study
from imgtheranostics.study.manifest_files import read_manifest
from imgtheranostics.study.proposal import Proposal, propose
from imgtheranostics.study.proposal_text import proposal_table, proposal_text

SHAPE = (6, 6, 4)
GRIDS = {"anat": np.diag([1.0, 1.0, 1.0, 1.0]), "pet": np.diag([2.0, 2.0, 2.0, 1.0])}
T1_S, TR_S = 1.2, 0.02
PET: dict[str, Any] = {
    "Modality": "PT",
    "Units": "Bq/mL",
    "TracerName": "FDG",
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
}


def image(path: Path, sidecar: dict[str, Any] | None, data: np.ndarray | None = None) -> None:
    """A small image on the grid of its folder, with its sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = GRIDS["pet" if "pet" in path.name or path.parent.name == "pet" else "anat"]
    values = np.full(SHAPE, 100.0, np.float32) if data is None else data
    made = nib.Nifti1Image(values, affine)
    made.header.set_xyzt_units("mm", "sec")
    nib.save(made, path)
    if sidecar is not None:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))


def labels(path: Path, like: str = "anat") -> None:
    data = np.zeros(SHAPE, np.int16)
    data[2:4, 2:4, 1:3] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, GRIDS[like]), path)
    name = path.name.replace(".nii.gz", ".tsv")
    path.with_name(name).write_text("index\tname\n1\ttumour\n")


def spoiled(angle_deg: float) -> np.ndarray:
    """The signal of a spoiled gradient echo of T1 1.2 s."""
    e1, angle = np.exp(-TR_S / T1_S), np.deg2rad(angle_deg)
    level = 1000 * np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))
    return np.full(SHAPE, level, np.float32)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two animals: a PET and qMRI in two sessions, tables, derivatives and source data."""
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0"}))
    (root / "participants.tsv").write_text(
        "participant_id\tgroup\tsex\tweight\tage\tspecies\tnote\n"
        "sub-01\ttreated\tF\t21\t9\tmus musculus\tok\n"
        "sub-02\tcontrol\tmale\t23.5\tn/a\tmus musculus\tn/a\n"
    )
    (root / "participants.json").write_text(json.dumps({"weight": {"Units": "g"}, "age": {"Units": "weeks"}}))
    for subject in ("01", "02"):
        (root / f"sub-{subject}").mkdir()
        (root / f"sub-{subject}" / f"sub-{subject}_sessions.tsv").write_text(
            "session_id\tacq_time\nses-base\t2025-03-01T09:00:00\nses-late\t2025-03-08T09:00:00\n"
        )
        for session in ("base", "late"):
            _session(root / f"sub-{subject}" / f"ses-{session}", f"sub-{subject}_ses-{session}")
        regions = root / "derivatives" / "seg" / f"sub-{subject}" / "ses-base" / "anat"
        labels(regions / f"sub-{subject}_ses-base_desc-organs_dseg.nii.gz")
        image(regions / f"sub-{subject}_ses-base_T1map.nii.gz", None)
    (root / "sourcedata").mkdir()
    image(root / "sourcedata" / "old.nii.gz", None)
    return root


def _session(folder: Path, stem: str) -> None:
    image(folder / "pet" / f"{stem}_pet.nii.gz", PET)
    for number, angle in enumerate((2, 8, 20), start=1):
        sidecar = {"FlipAngle": angle, "RepetitionTimeExcitation": TR_S, "EchoTime": 0.003}
        image(folder / "anat" / f"{stem}_flip-{number}_VFA.nii.gz", sidecar, spoiled(angle))
    for number, echo in enumerate((0.003, 0.006, 0.012), start=1):
        sidecar = {"FlipAngle": 15, "RepetitionTime": 0.05, "EchoTime": echo}
        image(folder / "anat" / f"{stem}_echo-{number}_MEGRE.nii.gz", sidecar)
    image(folder / "anat" / f"{stem}_T2w.nii.gz", {"EchoTime": 0.06, "RepetitionTime": 3.0})


def saved(proposal: Proposal, folder: Path) -> Path:
    path = folder / "study.yaml"
    path.write_text(proposal_text(proposal, path))
    return path


def study_of(proposal: Proposal, folder: Path) -> Study:
    return read_manifest(saved(proposal, folder))


def test_every_series_of_a_dataset_has_its_role_and_nothing_is_asked(dataset: Path, tmp_path: Path) -> None:
    proposal = propose(dataset)
    assert proposal.questions == ()
    study = study_of(proposal, tmp_path)
    assert [one.id for one in study.subjects] == ["01", "02"]
    for subject in study.subjects:
        assert [session.id for session in subject.in_time] == ["base", "late"]
        for session in subject.sessions:
            assert sorted(session.scans) == ["megre", "pet", "t2w", "vfa"]
            assert session.administration is None  # it is in the files
    assert study.n_scans == 16


def test_collections_are_one_scan_that_loads_with_its_axis(dataset: Path, tmp_path: Path) -> None:
    session = study_of(propose(dataset), tmp_path).subjects[0].sessions[0]
    flips = it.load(tmp_path / session.scans["vfa"].path, series=session.scans["vfa"].series)
    echoes = it.load(tmp_path / session.scans["megre"].path, series=session.scans["megre"].series)
    np.testing.assert_allclose(flips.axis("flip_angle").values, [2, 8, 20])
    np.testing.assert_allclose(echoes.axis("echo_time").values, [0.003, 0.006, 0.012])


def test_participants_and_times_come_from_the_tables(dataset: Path, tmp_path: Path) -> None:
    first, second = study_of(propose(dataset), tmp_path).subjects
    assert (first.group, first.sex, first.species) == ("treated", "F", "mus musculus")
    assert first.weight == pytest.approx(0.021)
    assert (second.group, second.sex) == ("control", "M")
    assert first.covariates == {"age_weeks": 9.0}
    assert second.covariates == {}
    assert [one.date for one in first.sessions] == [datetime(2025, 3, 1, 9), datetime(2025, 3, 8, 9)]


def test_scans_table_comes_before_the_sessions(dataset: Path) -> None:
    folder = dataset / "sub-01" / "ses-late"
    (folder / "sub-01_ses-late_scans.tsv").write_text(
        "filename\tacq_time\npet/sub-01_ses-late_pet.nii.gz\t2025-03-05T14:30:00\n"
    )
    sessions = propose(dataset).subjects[0].sessions
    assert {session.id: session.begin for session in sessions}["late"] == datetime(2025, 3, 5, 14, 30)


def test_label_maps_of_derivatives_are_regions_drawn_on_the_scan_of_their_grid(
    dataset: Path, tmp_path: Path
) -> None:
    proposal = propose(dataset)
    sessions = study_of(proposal, tmp_path).subjects[0].sessions
    assert sessions[0].regions is not None
    assert sessions[0].regions.path.endswith("sub-01_ses-base_desc-organs_dseg.nii.gz")
    assert sessions[0].regions.drawn_on in ("megre", "t2w", "vfa")
    assert sessions[1].regions is None
    reasons = {one.path.name: (one.reason, one.files) for one in proposal.left_out}
    assert reasons == {"seg": ("a derivative: no scan", 2), "sourcedata": ("what the dataset was made of", 1)}


def test_space_says_what_regions_were_drawn_on(dataset: Path) -> None:
    folder = dataset / "derivatives" / "seg" / "sub-01" / "ses-late" / "anat"
    labels(folder / "sub-01_ses-late_space-T2w_dseg.nii.gz")
    session = propose(dataset).subjects[0].sessions[1]
    assert session.regions is not None
    assert session.regions.drawn_on == "t2w"


def test_a_session_without_date_is_asked_for_and_named(dataset: Path, tmp_path: Path) -> None:
    (dataset / "sub-02" / "sub-02_sessions.tsv").write_text(
        "session_id\tacq_time\nses-base\t2025-03-01T09:00:00\nses-late\tn/a\n"
    )
    proposal = propose(dataset)
    [question] = proposal.questions
    assert (question.subject, question.session, question.about) == ("02", "late", "date")
    path = saved(proposal, tmp_path)
    assert "# ASK: when was it?" in path.read_text()
    with pytest.raises(MissingMetadata, match=r"subjects\.02\.sessions\.late\.date"):
        read_manifest(path)


def test_missing_injection_is_asked_for(dataset: Path, tmp_path: Path) -> None:
    for path in (dataset / "sub-01" / "ses-base" / "pet").glob("*.json"):
        without = {key: value for key, value in PET.items() if not key.startswith("InjectedRadio")}
        path.write_text(json.dumps(without))
    proposal = propose(dataset)
    [question] = proposal.questions
    assert (question.session, question.about) == ("base", "administration")
    assert "how much" in question.text
    assert "when" not in question.text.split(":")[1]
    path = saved(proposal, tmp_path)
    path.write_text(path.read_text().replace("activity: ask", 'activity: "8 MBq"'))
    administration = read_manifest(path).subjects[0].sessions[0].administration
    assert administration is not None
    assert administration.activity == 8e6


def test_reconstructions_and_runs_are_told_apart_by_their_entities(dataset: Path) -> None:
    folder = dataset / "sub-01" / "ses-base"
    image(folder / "pet" / "sub-01_ses-base_rec-nacstat_pet.nii.gz", PET)
    image(folder / "anat" / "sub-01_ses-base_run-2_T2w.nii.gz", {"EchoTime": 0.06, "RepetitionTime": 3.0})
    image(folder / "anat" / "sub-01_ses-base_ce-gd_T2w.nii.gz", {"EchoTime": 0.06, "RepetitionTime": 3.0})
    roles = [one.role for one in propose(dataset).subjects[0].sessions[0].scans]
    assert roles == ["megre", "pet", "pet-rec-nacstat", "t2w", "t2w-ce-gd", "t2w-run-2", "vfa"]


def test_weight_without_a_unit_is_asked_for(dataset: Path, tmp_path: Path) -> None:
    (dataset / "participants.json").unlink()
    proposal = propose(dataset)
    assert [(one.subject, one.about) for one in proposal.questions] == [("01", "weight"), ("02", "weight")]
    path = saved(proposal, tmp_path)
    assert "weight: ask  # 21 kg?" in path.read_text()
    path.write_text(path.read_text().replace("weight: ask  # 21 kg?", "weight: 21 g"))
    with pytest.raises(MissingMetadata, match=r"02\.weight"):
        read_manifest(path)


def test_participants_and_scans_that_do_not_meet_are_noted(dataset: Path) -> None:
    table = dataset / "participants.tsv"
    table.write_text(table.read_text().replace("sub-02", "sub-03"))
    notes = propose(dataset).notes
    assert "participants without scans: 03" in notes
    assert "scans of subjects that participants.tsv does not have: 02" in notes


def test_one_unreadable_image_is_left_out_with_the_reason(dataset: Path) -> None:
    path = dataset / "sub-01" / "ses-base" / "anat" / "sub-01_ses-base_T2w.nii.gz"
    path.write_bytes(b"")
    proposal = propose(dataset)
    assert any(one.path == path and "empty file" in one.reason for one in proposal.left_out)
    assert proposal.n_scans == 15


def test_a_table_that_is_none_is_refused(dataset: Path) -> None:
    (dataset / "participants.tsv").write_text("participant_id,group\nsub-01,a\n")
    with pytest.raises(CorruptInput, match="tabs"):
        read_participants(dataset)


def test_the_table_of_a_dataset_says_the_same_as_the_yaml(dataset: Path, tmp_path: Path) -> None:
    proposal = propose(dataset)
    path = tmp_path / "bids.tsv"
    path.write_text(proposal_table(proposal, path))
    table, yaml = read_manifest(path), study_of(proposal, tmp_path)
    assert table.subjects == yaml.subjects


def test_a_proposed_manifest_of_a_dataset_runs(dataset: Path, tmp_path: Path) -> None:
    manifest, out = tmp_path / "study.yaml", tmp_path / "out"
    assert main(["study", "init", str(dataset), "-o", str(manifest), "--quiet"]) == 0
    text = manifest.read_text().split("# Left out")[0]
    head, _, rest = text.partition("# analyses:")
    wanted = [block for block in rest.split("#   - ")[1:] if block.startswith("name: t1\n")]
    lines = "".join("  - " + block.replace("#     ", "    ") for block in wanted)
    late = dataset / "sub-01" / "ses-late" / "anat"
    labels(late / "rois.nii.gz")
    manifest.write_text(f"{head}analyses:\n{lines}")
    study = read_manifest(manifest)
    assert [(one.name, one.command) for one in study.analyses] == [("t1", "mri t1")]
    # the sessions that are not drawn on are flat, so nothing could be registered: drop them
    keep = [one.model_copy(update={"sessions": one.sessions[:1]}) for one in study.subjects]
    from imgtheranostics.study.manifest_files import manifest_text

    manifest.write_text(manifest_text(study.model_copy(update={"subjects": tuple(keep)})))
    assert main(["study", "run", str(manifest), "-o", str(out), "--no-report"]) == 0
    rows = (out / "quantities.tsv").read_text().splitlines()
    table = [dict(zip(rows[0].split("\t"), row.split("\t"), strict=True)) for row in rows[1:]]
    found = [float(row["mean"]) for row in table if row["quantity"] == "t1" and row["region"] == "tumour"]
    assert found == pytest.approx([T1_S, T1_S], rel=1e-3)


def test_json_lists_scans_questions_and_what_is_left_out(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / "sub-02" / "sub-02_sessions.tsv").unlink()
    assert main(["study", "init", str(dataset), "-o", str(tmp_path / "s.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["subject"] for one in found["subjects"]] == ["01", "02"]
    late = found["subjects"][0]["sessions"][1]
    assert late["seconds_after_first"] == 7 * 86400
    assert {scan["role"] for scan in late["scans"]} == {"megre", "pet", "t2w", "vfa"}
    assert [(one["subject"], one["about"]) for one in found["questions"]] == [("02", "date")] * 2
    assert len(found["left_out"]) == 2
    assert "mri t1" in [one["command"] for one in found["analyses"]]


def test_terminal_shows_sessions_questions_and_counts(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / "sub-02" / "sub-02_sessions.tsv").unlink()
    assert main(["study", "init", str(dataset), "-o", str(tmp_path / "s.yaml")]) == 0
    told = capsys.readouterr().out
    assert "megre, pet, t2w, vfa" in told
    assert "ask: 02, late, date: when was it?" in told
    assert "left out: sourcedata" in told
    assert "2 subjects, 16 scans, 2 open questions" in told


def test_proposed_analyses_are_commands_that_there_are(dataset: Path) -> None:
    from imgtheranostics.cli.study_program import CommandLine

    analyses = propose(dataset).analyses
    assert [one.command for one in analyses] == [
        "mri t2star",
        "nuclear uptake",
        "nuclear curves",
        "mri t1",
    ]
    for one in analyses:
        known = CommandLine().options(one.command)
        assert known is not None
        assert set(one.options) <= known


def test_plain_nifti_files_go_by_folder_and_name_and_ask_for_the_rest(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    image(root / "m01" / "pet.nii.gz", PET)
    image(root / "m01" / "scan.nii.gz", None)
    labels(root / "m01" / "rois.nii.gz", like="pet")
    proposal = propose(root)
    [subject] = proposal.subjects
    assert subject.id == "m01"
    [session] = subject.sessions
    assert {one.role: one.found is not None for one in session.scans} == {"image": False, "pet": True}
    assert session.regions is not None
    assert session.regions.drawn_on == "pet"
    assert [one.about for one in proposal.questions] == ["date", "scans.image"]


def test_computed_maps_beside_scans_are_left_out(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    image(root / "m01" / "pet.nii.gz", PET)
    volume = it.load(root / "m01" / "pet.nii.gz")
    it.save(it.nuclear.percent_id_per_gram(volume), root / "m01" / "uptake.nii.gz")
    proposal = propose(root)
    assert [one.role for one in proposal.subjects[0].sessions[0].scans] == ["pet"]


def test_raw_optoacoustic_signals_are_left_out_with_what_makes_images(
    public_data: Any, tmp_path: Path
) -> None:
    scan = public_data("msot/ithera_scan_9")
    root = tmp_path / "msot"
    root.mkdir()
    for path in scan.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    image(root / "pet.nii.gz", PET)
    [left] = propose(root).left_out
    assert left.path.suffix == ".msot"
    assert "msot reconstruct" in left.reason


def test_paravision_scans_have_their_role_and_date(public_data: Any, tmp_path: Path) -> None:
    proposal = propose(public_data("mri/bruker_banana"))
    [session] = proposal.subjects[0].sessions
    [scan] = session.scans
    assert (scan.role, scan.found is not None and scan.found.path.name) == ("mr", "2dseq")
    # VisuAcqDate of the file
    assert session.begin == datetime(2011, 11, 30, 12, 20, 46)
    assert proposal.questions == ()


def test_inversion_times_of_measured_phantoms_are_one_scan(public_data: Any) -> None:
    proposal = propose(public_data("mri/nist_phantom") / "T1" / "site1_20200218")
    [session] = proposal.subjects[0].sessions
    [scan] = session.scans
    # six inversion times, each a series of its own with its own repetition time
    assert (scan.role, scan.found is not None and scan.found.axes["inversion_time"]) == ("ir", 6)
