"""Manifests proposed from plain folders of DICOM files: roles, sessions, regions, questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import imgtheranostics as it
from imgtheranostics.cli.main import main
from imgtheranostics.errors import MissingMetadata, NothingUsable
from imgtheranostics.io.survey import UidTails
from imgtheranostics.regions import Regions
from imgtheranostics.study.manifest_files import read_manifest
from imgtheranostics.study.proposal import Proposal, ProposedSession, propose
from imgtheranostics.study.proposal_text import proposal_table, proposal_text

SOP_CLASSES = {"CT": "2", "MR": "4", "PT": "128", "SC": "7", "SR": "88.67"}
DAY_1 = datetime(2025, 3, 1, 9)
DAY_8 = datetime(2025, 3, 8, 9)
SHAPE = (3, 6, 6)


class Tree:
    """Writes series of single-slice files below a folder, as scanners and archives leave them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._count = 0

    def series(
        self,
        folder: str,
        modality: str,
        patient: str,
        begin: datetime | None,
        *,
        study: str = "1",
        prefix: str = "",
        **values: Any,
    ) -> str:
        """Write one series; `values` are attributes that differ from the usual. Returns its UID."""
        self._count += 1
        uid = values.pop("SeriesInstanceUID", f"1.2.826.0.1.77.{self._count}")
        orientations = values.pop("orientations", [(1, 0, 0, 0, 1, 0)] * SHAPE[0])
        for k, orientation in enumerate(orientations):
            ds = _image(modality, patient, begin, f"1.2.826.0.1.{crc32(patient.encode())}.{study}", uid)
            ds.ImageOrientationPatient = list(orientation)
            ds.ImagePositionPatient = [0.0, 0.0, 2.0 * k]
            ds.SeriesNumber, ds.InstanceNumber = self._count, k + 1
            for name, value in values.items():
                setattr(ds, name, value)
            _save(ds, self.root / folder / f"{prefix or self._count}_{k}.dcm")
        return uid


def _image(modality: str, patient: str, begin: datetime | None, study: str, uid: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1." + SOP_CLASSES[modality]
    ds.SOPInstanceUID = generate_uid(entropy_srcs=None)
    ds.Modality = modality
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = patient, f"Canary^{patient}", "19700203"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, uid, study + ".9"
    if begin is not None:
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = begin.strftime("%Y%m%d")
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = begin.strftime("%H%M%S")
    ds.PixelSpacing, ds.SliceThickness = [2.0, 2.0], "2"
    _describe(ds, begin)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = SHAPE[1:]
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    ds.PixelData = (100 + np.arange(36, dtype=np.int16)).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def _describe(ds: Dataset, begin: datetime | None) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    if ds.Modality == "PT":
        ds.Units, ds.DecayCorrection, ds.PatientWeight = "BQML", "START", "0.021"
        ds.SeriesType, ds.CorrectedImage = ["STATIC", "IMAGE"], ["DECY", "ATTN"]
        ds.FrameReferenceTime, ds.ActualFrameDuration, ds.DecayFactor = "0", "600000", "1"
        item, code = Dataset(), Dataset()
        item.RadionuclideTotalDose, item.RadionuclideHalfLife = "8000000", "6586.2"
        if begin is not None:
            item.RadiopharmaceuticalStartDateTime = (begin - timedelta(hours=1)).strftime("%Y%m%d%H%M%S")
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "77004003", "SCT", "^18^Fluorine"
        item.RadionuclideCodeSequence = [code]
        ds.RadiopharmaceuticalInformationSequence = [item]
        ds.RescaleSlope, ds.RescaleIntercept = "10", "0"
    elif ds.Modality == "CT":
        ds.KVP, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "80", "1", "-1024", "HU"
    elif ds.Modality == "MR":
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        ds.EchoTime, ds.RepetitionTime, ds.FlipAngle, ds.ScanningSequence = "4", "20", "15", "GR"


def _save(ds: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)


def _object(ds_class: str, modality: str, patient: str) -> Dataset:
    ds = _image("CT", patient, DAY_1, "1.2.826.0.1.5", "1.2.826.0.1.5.1")
    del ds.PixelData
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1." + ds_class
    ds.Modality = modality
    return ds


def roles(session: ProposedSession) -> dict[str, bool]:
    """Role -> whether it is known."""
    return {one.role: one.found is not None for one in session.scans}


def written(proposal: Proposal, folder: Path) -> Path:
    path = folder / "study.yaml"
    path.write_text(proposal_text(proposal, path))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "scans")


def test_patients_studies_and_series_mixed_in_one_folder_are_told_apart(tree: Tree, tmp_path: Path) -> None:
    for patient in ("A-1", "B-2"):
        for study, day in (("1", DAY_1), ("2", DAY_8)):
            tree.series("all", "PT", patient, day, study=study)
            tree.series("all", "CT", patient, day - timedelta(minutes=5), study=study)
    proposal = propose(tree.root)
    assert proposal.questions == ()
    assert len(proposal.subjects) == 2
    for subject in proposal.subjects:
        assert [roles(session) for session in subject.sessions] == [{"ct": True, "pet": True}] * 2
        assert [session.begin for session in subject.sessions] == [
            day - timedelta(minutes=5) for day in (DAY_1, DAY_8)
        ]
    study = read_manifest(written(proposal, tmp_path))
    scans = [scan for one in study.subjects for session in one.sessions for scan in session.scans.values()]
    # one folder holds all: each is chosen by the end of its UID, and is another series
    loaded = [it.load(tmp_path / scan.path, series=scan.series) for scan in scans]
    assert len({volume.source.identifiers["SeriesInstanceUID"] for volume in loaded}) == 8


def test_nobody_is_named_anywhere(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree.series("all", "PT", "PATIENT77", DAY_1, SeriesDescription="Canary series")
    tree.series("all", "MR", "PATIENT77", DAY_1, ProtocolName="Canary protocol")
    assert main(["study", "init", str(tree.root), "-o", str(tmp_path / "s.yaml"), "--json"]) == 0
    printed = capsys.readouterr()
    everything = (tmp_path / "s.yaml").read_text() + printed.out + printed.err + repr(propose(tree.root))
    for text in ("PATIENT77", "Canary", "19700203", "1970", "1.2.826"):
        assert text not in everything
    # dates stand in the manifest, which needs them, and nowhere else
    assert "2025-03-01T09:00:00" in (tmp_path / "s.yaml").read_text()
    assert "2025" not in printed.out + printed.err
    json.loads(printed.out)


def test_without_a_patient_the_folder_is_the_subject(tree: Tree) -> None:
    tree.series("mouse-01/pet", "PT", "", DAY_1, PatientName="")
    tree.series("mouse-02/pet", "PT", "", DAY_1, PatientName="")
    assert [one.id for one in propose(tree.root).subjects] == ["mouse01", "mouse02"]


def test_without_patient_and_folder_the_subject_is_asked_for(tree: Tree, tmp_path: Path) -> None:
    tree.series("", "PT", "", DAY_1, PatientName="")
    proposal = propose(tree.root)
    assert [(one.about, one.subject) for one in proposal.questions] == [("id", "")]
    with pytest.raises(MissingMetadata, match=r"open questions.*subjects\.ask\.id"):
        read_manifest(written(proposal, tmp_path))


def test_a_session_without_date_is_asked_for(tree: Tree, tmp_path: Path) -> None:
    tree.series("a", "MR", "A", None)
    proposal = propose(tree.root)
    [question] = proposal.questions
    assert (question.about, question.session) == ("date", "s1")
    path = written(proposal, tmp_path)
    with pytest.raises(MissingMetadata, match="open questions") as caught:
        read_manifest(path)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "date: ask" in text)
    assert f"study.yaml:{line}" in str(caught.value)
    path.write_text(path.read_text().replace("date: ask", "date: 2025-03-01T09:00"))
    assert read_manifest(path).subjects[0].sessions[0].date == datetime(2025, 3, 1, 9)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localiser"),
        ({"SeriesDescription": "3-plane scout"}, "localiser"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "reformatted"),
        ({"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}, "projected"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SUBTRACTION"]}, "scanner computed"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "derived from other images"),
        ({"SeriesDescription": "Dose Report"}, "screenshot or report"),
        ({"PixelSpacing": [2.0, -1.0]}, "cannot be loaded"),
    ],
)
def test_what_is_no_scan_is_left_out_with_the_reason(tree: Tree, values: dict[str, Any], reason: str) -> None:
    tree.series("ct", "CT", "A", DAY_1)
    tree.series("other", "CT", "A", DAY_1, **values)
    proposal = propose(tree.root)
    assert roles(proposal.subjects[0].sessions[0]) == {"ct": True}
    assert any(reason in one.reason and one.path.name == "other" for one in proposal.left_out)


def test_images_of_three_orientations_are_a_localiser(tree: Tree) -> None:
    tree.series("mr", "MR", "A", DAY_1)
    planes = [(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)]
    tree.series("first", "MR", "A", DAY_1, orientations=planes)
    proposal = propose(tree.root)
    assert roles(proposal.subjects[0].sessions[0]) == {"mr": True}
    assert [one.reason for one in proposal.left_out] == [
        "a localiser: few images, which are not parallel"
    ] * 3


def test_screenshots_reports_and_plans_are_left_out(tree: Tree) -> None:
    tree.series("ct", "CT", "A", DAY_1)
    for name, (ds_class, modality) in {
        "shot": ("7", "SC"),
        "dose": ("88.67", "SR"),
        "plan": ("481.5", "RTPLAN"),
        "registration": ("66.1", "REG"),
    }.items():
        _save(_object(ds_class, modality, "A"), tree.root / name / "one.dcm")
    left = {one.path.name: one.reason for one in propose(tree.root).left_out}
    assert "screenshot" in left["shot"]
    assert "dose" in left["dose"]
    assert "plan" in left["plan"]
    assert "registration" in left["registration"]


def test_a_damaged_file_and_a_copied_series_are_named(tree: Tree) -> None:
    tree.series("ct", "CT", "A", DAY_1)
    (tree.root / "copy").mkdir()
    for path in (tree.root / "ct").iterdir():
        (tree.root / "copy" / path.name).write_bytes(path.read_bytes())
    (tree.root / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02")
    proposal = propose(tree.root)
    reasons = {one.path.name: one.reason for one in proposal.left_out}
    assert "cannot be read" in reasons["broken.dcm"]
    assert sum("a copy of a series" in reason for reason in reasons.values()) == 1
    assert proposal.n_scans == 1


def test_pet_without_attenuation_correction_gives_way_to_the_same_scan_with_it(tree: Tree) -> None:
    tree.series("nac", "PT", "A", DAY_1, CorrectedImage=["DECY"])
    tree.series("ac", "PT", "A", DAY_1)
    proposal = propose(tree.root)
    [scan] = proposal.subjects[0].sessions[0].scans
    assert scan.found is not None
    assert scan.found.path.name == "ac"
    assert "attenuation" in proposal.left_out[0].reason


def test_time_points_of_one_study_are_sessions_and_take_their_ct(tree: Tree) -> None:
    for hours in (1, 4, 24):
        tree.series(f"t{hours}", "PT", "A", DAY_1 + timedelta(hours=hours))
        tree.series(f"c{hours}", "CT", "A", DAY_1 + timedelta(hours=hours, minutes=-4))
    proposal = propose(tree.root)
    sessions = proposal.subjects[0].sessions
    assert [session.id for session in sessions] == ["s1", "s2", "s3"]
    found = [{one.role: one.found.path.name for one in session.scans if one.found} for session in sessions]
    assert found == [{"ct": f"c{hours}", "pet": f"t{hours}"} for hours in (1, 4, 24)]
    assert [one.command for one in proposal.analyses] == ["nuclear uptake", "nuclear curves"]


def test_scans_of_two_consoles_within_hours_are_one_visit(tree: Tree) -> None:
    tree.series("pet", "PT", "A", DAY_1, study="1")
    tree.series("ct", "CT", "A", DAY_1 + timedelta(hours=1), study="2")
    assert [roles(one) for one in propose(tree.root).subjects[0].sessions] == [{"ct": True, "pet": True}]


@pytest.mark.parametrize(
    ("first", "second", "known"),
    [
        ({}, {"ContrastBolusAgent": "Gd"}, True),
        ({"SeriesDescription": "FLASH pre"}, {"SeriesDescription": "FLASH post"}, True),
        ({"SeriesDescription": "before"}, {}, True),
        ({}, {"SeriesDescription": "before"}, False),
        ({}, {}, False),
        ({"ContrastBolusAgent": "Gd"}, {}, False),
    ],
    ids=[
        "agent in the header",
        "words",
        "one word",
        "a word that times contradict",
        "nothing",
        "agent before",
    ],
)
def test_pre_and_post_are_known_by_agent_or_words_and_else_asked_for(
    tree: Tree, tmp_path: Path, first: dict[str, str], second: dict[str, str], known: bool
) -> None:
    tree.series("one", "MR", "A", DAY_1, **first)
    tree.series("two", "MR", "A", DAY_1 + timedelta(minutes=20), **second)
    proposal = propose(tree.root)
    [session] = proposal.subjects[0].sessions
    assert roles(session) == {"post": known, "pre": known}
    assert [one.command for one in proposal.analyses] == ["mri enhancement"]
    if known:
        paths = {one.role: one.found.path.name for one in session.scans if one.found}
        assert paths == {"pre": "one", "post": "two"}
        assert proposal.questions == ()
        return
    assert [one.about for one in proposal.questions] == ["scans.post", "scans.pre"]
    path = written(proposal, tmp_path)
    with pytest.raises(MissingMetadata, match=r"scans\.post.*scans\.pre"):
        read_manifest(path)
    path.write_text(_answered(path.read_text(), {"pre": 0, "post": 1}))
    scans = read_manifest(path).subjects[0].sessions[0].scans
    assert (scans["pre"].path, scans["post"].path) == ("scans/one", "scans/two")


def _answered(text: str, choice: dict[str, int]) -> str:
    """The manifest with one candidate of each role in place of ``ask``, as a person edits it."""
    lines = text.splitlines()
    for role, number in choice.items():
        at = next(n for n, line in enumerate(lines) if line.strip() == f"{role}: ask")
        lines[at] = lines[at + 1 + number].replace("# ", "", 1)
    return "\n".join(lines) + "\n"


def test_two_series_of_one_role_are_asked_for_with_both_candidates(tree: Tree, tmp_path: Path) -> None:
    tree.series("soft", "CT", "A", DAY_1, ConvolutionKernel="SOFT")
    tree.series("sharp", "CT", "A", DAY_1, ConvolutionKernel="SHARP")
    proposal = propose(tree.root)
    [question] = proposal.questions
    assert question.about == "scans.ct"
    assert [choice.split(" ")[0] for choice in question.choices] == ["sharp", "soft"]
    path = tmp_path / "study.tsv"
    path.write_text(proposal_table(proposal, path))
    with pytest.raises(MissingMetadata, match=r"role \(.*study.tsv:2\); role \(.*study.tsv:3\)"):
        read_manifest(path)
    rows = path.read_text().splitlines()
    path.write_text("\n".join((rows[0], rows[2].replace("\task\t", "\tct\t"))) + "\n")
    assert read_manifest(path).subjects[0].sessions[0].scans["ct"].path == "scans/soft"


def test_flip_angles_of_several_series_are_one_scan(tree: Tree, tmp_path: Path) -> None:
    for angle in ("2", "10", "20"):
        tree.series(f"flip{angle}", "MR", "A", DAY_1, FlipAngle=angle)
    tree.series("anatomy", "MR", "A", DAY_1, RepetitionTime="2000", EchoTime="30", FlipAngle="90")
    proposal = propose(tree.root)
    assert proposal.questions == ()
    assert roles(proposal.subjects[0].sessions[0]) == {"mr": True, "vfa": True}
    [analysis] = proposal.analyses
    assert (analysis.command, analysis.scans) == ("mri t1", ("vfa",))
    scan = read_manifest(written(proposal, tmp_path)).subjects[0].sessions[0].scans["vfa"]
    volume = it.load(tmp_path / scan.path, series=scan.series)
    np.testing.assert_allclose(volume.axis("flip_angle").values, [2, 10, 20])


def test_fractions_are_known_by_their_words(tree: Tree) -> None:
    for k in (1, 2):
        day = DAY_1 + timedelta(days=k)
        tree.series(f"f{k}", "MR", "A", day, study=str(k), SeriesDescription=f"Fx {k} TRUFI")
    sessions = propose(tree.root).subjects[0].sessions
    assert [roles(session) for session in sessions] == [{"fraction-1": True}, {"fraction-2": True}]


@pytest.mark.parametrize(
    ("drop", "lacking"),
    [
        (["RadionuclideTotalDose"], ("activity",)),
        (["RadiopharmaceuticalStartDateTime"], ("at",)),
        (["RadionuclideCodeSequence", "RadionuclideHalfLife"], ("nuclide",)),
        (["RadionuclideTotalDose", "RadiopharmaceuticalStartDateTime"], ("activity", "at")),
    ],
)
def test_what_was_injected_is_asked_for_where_the_header_is_silent(
    tree: Tree, tmp_path: Path, drop: list[str], lacking: tuple[str, ...]
) -> None:
    tree.series("pet", "PT", "A", DAY_1)
    for path in (tree.root / "pet").iterdir():
        ds = pydicom.dcmread(path)
        for name in drop:
            delattr(ds.RadiopharmaceuticalInformationSequence[0], name)
        ds.save_as(path)
    proposal = propose(tree.root)
    assert proposal.subjects[0].sessions[0].no_injection == lacking
    assert [one.about for one in proposal.questions] == ["administration"]
    with pytest.raises(MissingMetadata, match=rf"administration\.{lacking[0]}"):
        read_manifest(written(proposal, tmp_path))


@pytest.mark.parametrize("name", ["regions.seg.dcm", "regions.rtstruct.dcm"])
def test_regions_go_to_the_series_that_they_name(tree: Tree, tmp_path: Path, name: str) -> None:
    for study, day in (("1", DAY_1), ("2", DAY_8)):
        tree.series(f"{study}/pet", "PT", "A", day, study=study)
        tree.series(f"{study}/ct", "CT", "A", day, study=study)
    volume = it.load(tree.root / "2" / "ct")
    mask = np.zeros(volume.shape, bool)
    mask[1:4, 1:4, 1:] = True
    regions = Regions.from_masks({"tumour": mask}, volume.grid)
    it.save_rois(regions, tree.root / name, like_series=volume, keep_identifiers=True)
    proposal = propose(tree.root)
    first, second = proposal.subjects[0].sessions
    assert first.regions is None
    assert second.regions is not None
    assert (second.regions.path, second.regions.drawn_on) == (tree.root / name, "ct")
    session = read_manifest(written(proposal, tmp_path)).subjects[0].sessions[1]
    assert session.regions is not None
    assert (session.regions.path, session.regions.drawn_on) == (f"scans/{name}", "ct")


def test_several_files_of_regions_are_asked_for(tree: Tree, tmp_path: Path) -> None:
    tree.series("ct", "CT", "A", DAY_1)
    volume = it.load(tree.root / "ct")
    mask = np.zeros(volume.shape, bool)
    mask[2:4, 2:4, 1:] = True
    regions = Regions.from_masks({"tumour": mask}, volume.grid)
    (tree.root / "rois").mkdir()
    it.save_rois(regions, tree.root / "rois" / "one.seg.dcm", like_series=volume, keep_identifiers=True)
    it.save_rois(regions, tree.root / "masks.nii.gz")
    proposal = propose(tree.root)
    assert [one.about for one in proposal.questions] == ["regions"]
    with pytest.raises(MissingMetadata, match=r"s1\.regions"):
        read_manifest(written(proposal, tmp_path))


def test_a_proposed_manifest_runs_with_its_analysis_once_it_is_answered(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for animal in ("A", "B"):
        tree.series(f"{animal}/pet", "PT", animal, DAY_1)
        volume = it.load(tree.root / animal / "pet")
        regions = Regions.from_masks({"whole": np.ones(volume.shape, bool)}, volume.grid)
        target = tree.root / animal / "rois.seg.dcm"
        it.save_rois(regions, target, like_series=volume, keep_identifiers=True)
    manifest, out = tmp_path / "study.yaml", tmp_path / "out"
    assert main(["study", "init", str(tree.root), "-o", str(manifest), "--quiet"]) == 0
    head, _, rest = manifest.read_text().partition("# analyses:")
    lines = rest.split("# Left out")[0].splitlines()
    analyses = "\n".join(line.removeprefix("# ").removeprefix("#") for line in lines)
    manifest.write_text(f"{head}analyses:{analyses}\n")
    assert [one.name for one in read_manifest(manifest).analyses] == ["uptake"]
    assert main(["study", "run", str(manifest), "-o", str(out), "--no-report"]) == 0
    rows = (out / "quantities.tsv").read_text().splitlines()
    header = rows[0].split("\t")
    table = [dict(zip(header, row.split("\t"), strict=True)) for row in rows[1:]]
    # mean of the stored numbers 100 to 135 times slope 10, back by an hour of 18F, over 8 MBq
    expected = 1175.0 * 2 ** (3600 / 6586.2) / 8e6 * 100
    assert len({row["subject"] for row in table}) == 2
    for row in table:
        assert (row["session"], row["region"]) == ("s1", "whole")
        assert float(row["mean"]) == pytest.approx(expected, rel=1e-4)
    capsys.readouterr()


def test_an_older_manifest_is_kept_and_other_names_are_refused(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.series("ct", "CT", "A", DAY_1)
    path = tmp_path / "study.yaml"
    path.write_text("mine")
    assert main(["study", "init", str(tree.root), "-o", str(path)]) == 7
    assert path.read_text() == "mine"
    assert main(["study", "init", str(tree.root), "-o", str(path), "--force"]) == 0
    assert path.read_text().startswith("# no regions")
    assert main(["study", "init", str(tree.root), "-o", str(tmp_path / "study.txt")]) == 2
    assert main(["study", "init", str(tmp_path / "none"), "-o", str(tmp_path / "x.yaml")]) == 3
    assert not (tmp_path / "x.yaml").exists()
    capsys.readouterr()


def test_a_folder_without_scans_says_what_is_there(tmp_path: Path) -> None:
    _save(_object("481.5", "RTPLAN", "A"), tmp_path / "plan.dcm")
    with pytest.raises(NothingUsable, match="treatment plan"):
        propose(tmp_path)


def test_no_voxel_is_read(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.series("pet", "PT", "A", DAY_1)
    for path in (tree.root / "pet").iterdir():
        path.write_bytes(path.read_bytes()[:-30])  # the pixels end early
    monkeypatch.setattr("imgtheranostics.io.dicom.reading.read", _never)
    assert propose(tree.root).n_scans == 1


_never: Callable[..., Any] = pytest.fail


def test_an_identifier_that_stands_for_everybody_is_none(tree: Tree) -> None:
    for animal in ("m1", "m2"):
        tree.series(f"{animal}/ct", "CT", "ANONYMOUS", DAY_1, PatientName="Anonymized")
    assert [one.id for one in propose(tree.root).subjects] == ["m1", "m2"]


def test_one_identifier_of_two_people_is_asked_for(tree: Tree, tmp_path: Path) -> None:
    tree.series("a", "CT", "17", DAY_1, PatientSex="F")
    tree.series("b", "CT", "17", DAY_8, PatientSex="M", study="2")
    proposal = propose(tree.root)
    [question] = proposal.questions
    assert (question.about, "one subject or several" in question.text) == ("id", True)
    with pytest.raises(MissingMetadata, match="open questions"):
        read_manifest(written(proposal, tmp_path))


def test_a_damaged_file_beside_a_scan_is_noted(tree: Tree) -> None:
    tree.series("ct", "CT", "A", DAY_1)
    (tree.root / "ct" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02")
    [note] = [one for one in propose(tree.root).notes if "refused" in one]
    assert "ct/broken.dcm" in note


@pytest.mark.parametrize(
    ("uids", "expected"),
    [
        (["1.2.3.111111111", "1.2.3.222222222"], ["11111111", "22222222"]),
        # ends that are shared, and ends that are a number of a listing
        (["1.2.34.5.00012345", "1.2.35.5.00012345"], ["4.5.00012345", "5.5.00012345"]),
        (["1.2.3.00000007"], [".00000007"]),
        # one UID of two groups, and one that is the end of another
        (["1.2", "1.2"], ["", ""]),
        (["2.3.444444444", "1.2.3.444444444"], ["", ".2.3.444444444"]),
    ],
)
def test_ends_of_uids_choose_one_series(uids: list[str], expected: list[str]) -> None:
    tails = UidTails(uids)
    assert [tails.of(uid) for uid in uids] == expected
