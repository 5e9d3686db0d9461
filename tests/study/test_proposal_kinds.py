"""Roles of gamma-camera windows, ultrasound clips and optoacoustic scans; flat folders of several series."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import imgtheranostics as it
from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.cli.main import main
from imgtheranostics.cli.study_program import CommandLine
from imgtheranostics.io.ithera.description import begin_of
from imgtheranostics.io.ithera.frames import moment_of
from imgtheranostics.regions import Regions
from imgtheranostics.study.manifest_files import read_manifest
from imgtheranostics.study.proposal import Proposal, ProposedSession, propose
from imgtheranostics.study.proposal_text import proposal_text
from imgtheranostics.volume import Volume

DAY = datetime(2025, 3, 1, 9)
CM = {
    "RegionSpatialFormat": 1,
    "RegionDataType": 1,
    "RegionLocationMinX0": 0,
    "RegionLocationMinY0": 0,
    "RegionLocationMaxX1": 5,
    "RegionLocationMaxY1": 4,
    "PhysicalUnitsXDirection": 3,
    "PhysicalUnitsYDirection": 3,
    "PhysicalDeltaX": 0.02,
    "PhysicalDeltaY": 0.03,
}
SPECTRAL = {"RegionSpatialFormat": 3, "PhysicalUnitsXDirection": 4, "PhysicalUnitsYDirection": 7}


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def image(kind: str, begin: datetime, frames: int, bits: int = 16, **values: Any) -> Dataset:
    """A multi-frame object of 5 rows and 6 columns."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    classes = {"NM": "20", "US": "3.1" if frames > 1 else "6.1"}
    ds.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{classes[kind]}"
    ds.SOPInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.826.0.1.3", "1.2.826.0.1.3.9"
    ds.Modality, ds.PatientID, ds.PatientName = kind, "P-1", "Doe^Jane"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = begin.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = begin.strftime("%H%M%S")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns, ds.NumberOfFrames = 5, 6, frames
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, 0
    ds.PixelData = np.full(frames * 30, 9, f"uint{bits}").tobytes()
    ds["PixelData"].VR = "OW"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


def camera(path: Path, windows: tuple[tuple[float, float], ...], begin: datetime = DAY) -> Path:
    """Three reconstructed slices in each window."""
    n = len(windows)
    tracer = item(
        RadionuclideTotalDose="150",
        RadiopharmaceuticalStartDateTime=(begin - timedelta(hours=4)).strftime("%Y%m%d%H%M%S"),
        RadionuclideHalfLife="242330",
    )
    place = item(ImagePositionPatient=[-8.0, -6.0, 50.0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    ds = image(
        "NM",
        begin,
        3 * n,
        ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
        Units="CNTS",
        PixelSpacing=[4, 4],
        SliceThickness=4,
        SpacingBetweenSlices=4,
        NumberOfSlices=3,
        FrameIncrementPointer=[0x00540010, 0x00540080],
        EnergyWindowVector=[k + 1 for _ in range(3) for k in range(n)],
        SliceVector=[k + 1 for k in range(3) for _ in range(n)],
        NumberOfDetectors=1,
        DetectorInformationSequence=[place],
        EnergyWindowInformationSequence=[
            item(EnergyWindowRangeSequence=[item(EnergyWindowLowerLimit=low, EnergyWindowUpperLimit=high)])
            for low, high in windows
        ],
        RotationInformationSequence=[
            item(ActualFrameDuration=20000, NumberOfFramesInRotation=60, ScanArc=360)
        ],
        RadiopharmaceuticalInformationSequence=[tracer],
    )
    return save(ds, path)


def clip(path: Path, minutes: float, frames: int = 3, *regions: dict[str, Any], **values: Any) -> Path:
    """An ultrasound image or clip of tissue, 40 ms from frame to frame."""
    ds = image("US", DAY + timedelta(minutes=minutes), frames, 8, FrameTime="40", **values)
    if frames > 1:
        ds.FrameIncrementPointer = 0x00181063
    ds.SequenceOfUltrasoundRegions = [item(**{**CM, **one}) for one in regions or ({},)]
    return save(ds, path)


def roles(session: ProposedSession) -> dict[str, str]:
    """Role and name of the file; nothing where a person has to choose."""
    return {one.role: one.found.path.name if one.found else "" for one in session.scans}


def commands(proposal: Proposal) -> list[str]:
    known = CommandLine()
    for one in proposal.analyses:
        assert set(one.options) <= (known.options(one.command) or set())
    return [one.command for one in proposal.analyses]


class TestGammaCamera:
    def test_each_energy_window_of_a_scan_has_a_role(self, tmp_path: Path) -> None:
        camera(tmp_path / "scans" / "in111.dcm", ((154.0, 188.0), (220.5, 270.0)))
        proposal = propose(tmp_path / "scans")
        [session] = proposal.subjects[0].sessions
        assert sorted(roles(session)) == ["spect-154-188kev", "spect-220p5-270kev"]
        assert proposal.questions == ()
        manifest = tmp_path / "study.yaml"
        manifest.write_text(proposal_text(proposal, manifest))
        scans = read_manifest(manifest).subjects[0].sessions[0].scans
        for role, limits in (
            ("spect-154-188kev", (154.0, 188.0)),
            ("spect-220p5-270kev", (220.5, 270.0)),
        ):
            volume = it.load(tmp_path / scans[role].path, series=scans[role].series)
            assert volume.acquisition.energy_windows_kev == (limits,)

    def test_counts_need_the_sensitivity_of_the_camera(self, tmp_path: Path) -> None:
        camera(tmp_path / "tc.dcm", ((126.0, 154.0),))
        proposal = propose(tmp_path)
        assert list(roles(proposal.subjects[0].sessions[0])) == ["spect"]
        assert commands(proposal) == ["nuclear uptake"]
        assert proposal.analyses[0].options["sensitivity-cps-mbq"] == "ask"

    def test_windows_of_two_times_are_two_sessions(self, tmp_path: Path) -> None:
        for hours in (4, 24):
            begin = DAY + timedelta(hours=hours)
            camera(tmp_path / f"t{hours}.dcm", ((154.0, 188.0), (220.0, 270.0)), begin)
        sessions = propose(tmp_path).subjects[0].sessions
        assert [sorted(roles(one)) for one in sessions] == [["spect-154-188kev", "spect-220-270kev"]] * 2


class TestUltrasound:
    def test_images_and_clips_are_told_apart(self, tmp_path: Path) -> None:
        clip(tmp_path / "still.dcm", 0, 1)
        clip(tmp_path / "bolus.dcm", 5, 4)
        clip(tmp_path / "flow.dcm", 9, 1, {"RegionDataType": 2})
        proposal = propose(tmp_path)
        [session] = proposal.subjects[0].sessions
        assert roles(session) == {"us": "still.dcm", "us-cine": "bolus.dcm", "us-flow": "flow.dcm"}
        assert commands(proposal) == ["ultrasound curves"]
        # no element of DICOM has the dynamic range
        assert proposal.analyses[0].options == {"dynamic-range": "ask"}

    def test_traces_over_time_are_no_images_of_tissue(self, tmp_path: Path) -> None:
        clip(tmp_path / "still.dcm", 0, 1)
        clip(tmp_path / "doppler.dcm", 3, 1, SPECTRAL)
        proposal = propose(tmp_path)
        assert roles(proposal.subjects[0].sessions[0]) == {"us": "still.dcm"}
        assert [one.path.name for one in proposal.left_out] == ["doppler.dcm"]
        assert "spectral Doppler" in proposal.left_out[0].reason

    def test_a_clip_beside_its_trace_is_an_image_of_tissue(self, tmp_path: Path) -> None:
        clip(tmp_path / "duplex.dcm", 0, 1, {}, {**SPECTRAL, "RegionLocationMinY0": 4})
        assert roles(propose(tmp_path).subjects[0].sessions[0]) == {"us": "duplex.dcm"}

    def test_two_clips_of_one_place_are_before_and_after(self, tmp_path: Path) -> None:
        clip(tmp_path / "one.dcm", 0, 3, SeriesDescription="US pre")
        clip(tmp_path / "two.dcm", 9, 3, SeriesDescription="US post")
        proposal = propose(tmp_path)
        assert roles(proposal.subjects[0].sessions[0]) == {"pre": "one.dcm", "post": "two.dcm"}
        assert commands(proposal) == ["ultrasound enhancement"]
        [analysis] = proposal.analyses
        assert analysis.scans == ("post",)
        assert [scan for _, scan in analysis.references] == [None, None]

    def test_more_clips_are_asked_for_in_the_order_of_their_times(self, tmp_path: Path) -> None:
        for name, minutes in (("c", 0), ("a", 10), ("b", 20)):
            clip(tmp_path / f"{name}.dcm", minutes)
        [question] = propose(tmp_path).questions
        assert question.about == "scans.us-cine"
        assert [choice[0] for choice in question.choices] == ["c", "a", "b"]


MSOT = """<?xml version="1.0" encoding="utf-8"?>
<DataModelMsotProject>
  <CreationTime>2020-10-01T12:32:32.6291456+01:00</CreationTime>
  <ScanNode><ScanFrames>{frames}</ScanFrames></ScanNode>
</DataModelMsotProject>
"""
FRAME = '<DataModelScanFrame><Frame timestamp="{ticks}"></Frame></DataModelScanFrame>'
TICKS = 637371523560823431
"""Of the first frame of a public scan, four seconds after its description says that it was made."""


class TestOptoacoustics:
    @pytest.mark.parametrize(
        ("ticks", "moment"),
        [
            ((TICKS, TICKS - 50_000_000), datetime(2020, 10, 1, 12, 32, 31, 82343)),
            # stamps that count from elsewhere, and none at all: the description's own time
            ((5, 10_000_005), datetime(2020, 10, 1, 12, 32, 32, 629145)),
            (("", "later"), datetime(2020, 10, 1, 12, 32, 32, 629145)),
        ],
    )
    def test_a_scan_began_with_its_first_frame(
        self, tmp_path: Path, ticks: tuple[object, ...], moment: datetime
    ) -> None:
        path = tmp_path / "Scan_1.msot"
        path.write_text(MSOT.format(frames="".join(FRAME.format(ticks=one) for one in ticks)))
        assert begin_of(path) == moment

    def test_a_description_without_times_says_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "Scan_1.msot"
        path.write_text(MSOT.format(frames="").replace("2020-10-01T12:32:32.6291456+01:00", "yesterday"))
        assert begin_of(path) is None

    def test_time_stamps_are_those_of_the_public_scan(self, public_data: Any) -> None:
        begin = begin_of(public_data("msot/ithera_scan_9") / "Scan_9.msot")
        # CreationTime of that file, on its own clock
        assert begin is not None
        assert timedelta(0) < begin - datetime(2020, 10, 1, 12, 32, 32) < timedelta(seconds=10)

    @pytest.mark.parametrize("ticks", [0, 10**15, 10**25])
    def test_a_stamp_that_is_no_date_of_a_scan_is_none(self, ticks: int) -> None:
        assert moment_of(ticks) is None

    def test_sessions_have_the_dates_of_their_scans(self, tmp_path: Path) -> None:
        """Image sequences in HDF5, whose stamps are those of the vendor's files."""
        root = tmp_path / "scans"
        for number, days in enumerate((3, 0)):
            path = root / "m01" / f"week{number}" / "scan.h5"
            path.parent.mkdir(parents=True)
            with h5py.File(path, "w") as file:
                made = file.create_dataset("recons/method/0", data=np.zeros((2, 3, 1, 4, 5)))
                made.attrs["RECONSTRUCTION_FIELD_OF_VIEW_X"] = 0.025
                made.attrs["RECONSTRUCTION_FIELD_OF_VIEW_Y"] = 0.020
                made.attrs["RECONSTRUCTION_FIELD_OF_VIEW_Z"] = 0.0
                file["wavelengths"] = np.array([700.0, 760.0, 800.0])
                stamps = TICKS + days * 864_000_000_000 + np.arange(6).reshape(2, 3) * 10**7
                file["timestamp"] = stamps
        proposal = propose(root)
        assert proposal.questions == ()
        begins = [session.begin for session in proposal.subjects[0].sessions]
        first = datetime(2020, 10, 1, 12, 32, 36, 82343)
        assert begins == [first, first + timedelta(days=3)]
        assert commands(proposal) == ["msot oxygenation"]


HALF_LIFE_S = 6586.2
SHAPE = (14, 14, 8)


def flat_pet(root: Path, hours: tuple[int, ...]) -> Path:
    """One mouse, at these times after 8 MBq of 18F, all slices of all scans in one folder beside its regions.

    Corrected to the injection, the n-th scan has n MBq/mL.
    """
    root.mkdir(parents=True)
    inside = np.zeros(SHAPE, bool)
    inside[5:8, 6:8, 4:6] = True
    for number, hour in enumerate(hours, 1):
        begin = DAY + timedelta(hours=hour)
        record = EmissionAcquisition(
            units="BQML",
            decay_correction="START",
            corrections=("DECY", "ATTN", "SCAT"),
            series_type=("STATIC", "IMAGE"),
            series_datetime=begin,
            acquisition_datetime=np.array([[begin]] * SHAPE[2], "datetime64[us]"),
            frame_reference_time_s=np.array([[0.0]] * SHAPE[2]),
            frame_duration_s=np.array([[60.0]] * SHAPE[2]),
            decay_factor=np.array([[1.0]] * SHAPE[2]),
            radiopharmaceutical=Radiopharmaceutical(
                nuclide="F-18", half_life_s=HALF_LIFE_S, total_dose=8e6, start_datetime=DAY
            ),
            subject=Subject(weight_kg=0.021, sex="F"),
            n_images=SHAPE[2],
        )
        level = number * 1e6 * 2 ** (-hour * 3600 / HALF_LIFE_S)
        data = np.full(SHAPE, 0.2 * level, np.float32)
        data[3:10, 4:10, 2:7] = level
        volume = Volume(data, np.eye(4), "activity_concentration", "Bq/mL", acquisition=record)
        part = root.parent.parent / f"part{number}"
        it.save(volume, part, keep_identifiers=True)
        if number == 1:
            regions = Regions.from_masks({"tumour": inside}, volume.grid)
            drawn = it.load(part)
            it.save_rois(regions, root / "rois.seg.dcm", like_series=drawn, keep_identifiers=True)
        for n, path in enumerate(sorted(part.iterdir())):
            path.rename(root / f"{number}_{n}.dcm")
    return root


def test_time_points_in_one_flat_folder_make_a_curve_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three scans of one mouse in one folder of DICOM: later scans are chosen by their series too."""
    root = flat_pet(tmp_path / "scans" / "m01", hours=(1, 5, 12)).parent
    manifest, out = tmp_path / "study.yaml", tmp_path / "out"
    assert main(["study", "init", str(root), "-o", str(manifest), "--quiet"]) == 0
    head, _, rest = manifest.read_text().partition("# analyses:")
    lines = [line.removeprefix("# ") for line in rest.splitlines() if line.startswith("#   ")]
    manifest.write_text(f"{head}analyses:\n" + "\n".join(lines) + "\n")
    [subject] = read_manifest(manifest).subjects
    assert len({session.scans["pet"].series for session in subject.sessions}) == 3
    assert main(["study", "run", str(manifest), "-o", str(out), "--no-report"]) == 0, capsys.readouterr()
    rows = (out / "quantities.tsv").read_text().splitlines()
    table = [dict(zip(rows[0].split("\t"), row.split("\t"), strict=True)) for row in rows[1:]]
    curve = {
        round(float(row["axis_value"]) / 3600): float(row["mean"]) for row in table if row["axis"] == "time"
    }
    # decay corrected to the injection, an uptake of 1, 2 and 3 MBq/mL stays what it was
    assert list(curve) == [1, 5, 12]
    assert list(curve.values()) == pytest.approx([1e6, 2e6, 3e6], rel=2e-3)
