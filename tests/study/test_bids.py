"""What ``study run`` leaves, read by the BIDS validator: names, sidecars, and what it is told to ignore."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

import imgtheranostics as it
from imgtheranostics.cli.main import main
from imgtheranostics.cli.study_program import CommandLine
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.regions import Regions
from imgtheranostics.study.bids_names import Naming, bids_name, camel
from imgtheranostics.study.derivative import place_maps
from imgtheranostics.study.jobs import Job
from imgtheranostics.study.manifest_files import read_manifest
from imgtheranostics.study.running import plan

SHAPE = (24, 22, 18)
AFFINE = np.eye(4)
ANGLES = (3.0, 10.0, 20.0)
DAYS = ("d1", "d2")


def _body(shift: tuple[int, int, int] = (0, 0, 0), seed: int = 0) -> np.ndarray:
    """An ellipse with three organs of different level."""
    place = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(shift)
    value = np.where((((place - [12, 11, 9]) / [9, 8, 7]) ** 2).sum(-1) < 1, 100.0, 5.0)
    for centre, radius, level in (
        ([8, 9, 8], 3, 180.0),
        ([16, 13, 10], 2.6, 30.0),
        ([12, 7, 12], 2.4, 240.0),
    ):
        value[np.linalg.norm(place - centre, axis=-1) < radius] = level
    return ndimage.gaussian_filter(value, 0.7) + np.random.default_rng(seed).standard_normal(SHAPE)


def _write(path: Path, data: np.ndarray, sidecar: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(data.astype(np.float32), AFFINE)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))


PET = {
    "Modality": "PT",
    "Units": "Bq/mL",
    "TracerName": "Doe^Jane's tracer",
    "TracerRadionuclide": "F-18",
    "InjectedRadioactivity": 8e6,
    "InjectedRadioactivityUnits": "Bq",
    "InjectedMass": 2.5,
    "InjectedMassUnits": "ug",
    "TimeZero": "09:00:00",
    "ScanStart": 0,
    "InjectionStart": -3600,
    "FrameTimesStart": [0],
    "FrameDuration": [600],
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PET, MR and CT study: PET and MR in a BIDS dataset, CT beside it; regions drawn on the first PET."""
    top = tmp_path_factory.mktemp("bids")
    raw = top / "raw"
    raw.mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.11.1"}')
    lines = ["study: three modalities", "agent: aguix", "subjects:"]
    for number, name in enumerate(("a01", "a02")):
        lines += [
            f"  - id: {name}",
            f"    group: {'ab'[number]}",
            "    sex: F",
            "    weight: 21 g",
            "    sessions:",
        ]
        for day, session in enumerate(DAYS):
            folder = raw / f"sub-{name}" / f"ses-{session}"
            shift = (day, -day, 0)
            _write(folder / "pet" / f"sub-{name}_ses-{session}_pet.nii.gz", 100 * _body(shift, day), PET)
            for n, angle in enumerate(ANGLES, 1):
                flip, e1 = np.radians(angle), np.exp(-0.005 / (0.5 + _body(seed=9) / 400))
                _write(
                    folder / "anat" / f"sub-{name}_ses-{session}_flip-{n}_VFA.nii.gz",
                    1000 * np.sin(flip) * (1 - e1) / (1 - e1 * np.cos(flip)),
                    {
                        "FlipAngle": angle,
                        "RepetitionTimeExcitation": 0.005,
                        "EchoTime": 0.002,
                        "MagneticFieldStrength": 7,
                        # stated of one subject only
                        **({"NonlinearGradientCorrection": True} if number == 0 else {}),
                    },
                )
            for role, gain in (("pre", 0.0), ("post", 80.0)):
                sidecar = {"Modality": "CT", "Units": "HU", "KVP": 120}
                _write(top / "ct" / f"{name}-{session}-{role}.nii.gz", _body(seed=3) + gain, sidecar)
            date = datetime(2026, 3, 1, 9) + timedelta(days=day)
            lines += [
                f"      - id: {session}",
                f"        date: {date.isoformat()}",
                "        scans:",
                f"          pet: raw/sub-{name}/ses-{session}/pet/sub-{name}_ses-{session}_pet.nii.gz",
                f"          vfa: raw/sub-{name}/ses-{session}/anat",
                f"          pre: ct/{name}-{session}-pre.nii.gz",
                f"          post: ct/{name}-{session}-post.nii.gz",
            ]
            if day == 0:
                lines.append("        regions: {path: rois.nii.gz, drawn_on: pet}")
    lines += [
        "analyses:",
        "  - {name: uptake, command: nuclear uptake, scans: [pet], options: {quantity: [id_per_g]}}",
        "  - {name: t1-vfa, command: mri t1, scans: [vfa], options: {rate: true}}",
        "  - {name: contrast, command: ct enhancement, scans: [pre, post]}",
    ]
    (top / "study.yaml").write_text("\n".join(lines) + "\n")
    organ = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - [8, 9, 8], axis=-1) < 3
    grid = it.load(raw / "sub-a01/ses-d1/pet/sub-a01_ses-d1_pet.nii.gz").grid
    it.save_rois(Regions.from_masks({"organ": organ}, grid), top / "rois.nii.gz")
    return top


@pytest.fixture(scope="module")
def output(source: Path) -> Path:
    assert (
        main(["study", "run", str(source / "study.yaml"), "-o", str(source / "out"), "-q", "--no-report"])
        == 0
    )
    return source / "out"


def errors_of(dataset: Path) -> dict[str, list[str]]:
    """Files that the validator finds wrong, by the code of the error."""
    issues = validated(dataset)["issues"]["issues"]
    found: dict[str, list[str]] = {}
    for one in issues:
        if one["severity"] == "error":
            found.setdefault(one["code"], []).append(one["location"])
    return found


def validated(dataset: Path) -> dict:
    pytest.importorskip("bids_validator_deno", reason="needs bids-validator-deno, of the extra test")
    command = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    assert command is not None
    ended = subprocess.run(
        [command, "--format", "json", str(dataset)], capture_output=True, text=True, check=False
    )
    return json.loads(ended.stdout)


def names(output: Path, subject: str) -> set[str]:
    """Folder and name of the maps of a subject on its second day, without subject and session."""
    return {
        f"{path.parent.name}/{path.name.split('_', 2)[2].removesuffix('.nii.gz')}"
        for path in output.glob(f"sub-{subject}/ses-d2/*/sub-*.nii.gz")
    }


def test_the_validator_finds_no_error(output: Path) -> None:
    assert errors_of(output) == {}
    summary = validated(output)["summary"]
    assert sorted(summary["subjects"]) == ["a01", "a02"]
    assert sorted(summary["sessions"]) == list(DAYS)
    assert {one.lower() for one in summary["modalities"]} == {"pet", "mri"}


def test_maps_have_names_of_bids_and_others_wait_for_theirs(output: Path) -> None:
    uptake = {"pet/desc-uptakeIdPerG_pet", "pet/desc-uptakeIdPerGStandardError_pet"}
    carried = {"pet/desc-regionsMoved_pet", "pet/desc-regions_dseg"}
    times = {f"anat/desc-t1Vfa{se}_{rate}map" for se in ("", "StandardError") for rate in ("T1", "R1")}
    change = {f"ct/desc-contrastDeltaAttenuation{which}_ct" for which in ("", "StandardError", "Pre", "Post")}
    fit = {f"mr/desc-t1VfaT1{which}_mrmap" for which in ("RSquared", "Rmse", "S0")}
    for subject in ("a01", "a02"):
        assert names(output, subject) == uptake | carried | times | change | fit


def test_a_map_is_the_file_that_the_command_wrote_and_says_where_it_comes_from(output: Path) -> None:
    folder = output / "sub-a01" / "ses-d2"
    image = folder / "pet" / "sub-a01_ses-d2_desc-uptakeIdPerG_pet.nii.gz"
    assert image.samefile(folder / "uptake" / "id_per_g.nii.gz")
    by_name, as_written = it.load(image), it.load(folder / "uptake" / "id_per_g.nii.gz")
    assert (by_name.quantity, by_name.unit) == (as_written.quantity, as_written.unit) == ("id_per_g", "%/g")
    assert np.array_equal(by_name.data, as_written.data, equal_nan=True)
    sidecar = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Units"] == "%/g"
    assert sidecar["Sources"] == [
        "bids:source:sub-a01/ses-d2/pet/sub-a01_ses-d2_pet.nii.gz",
        "bids::sub-a01/ses-d2/pet/sub-a01_ses-d2_desc-regions_dseg.nii.gz",
    ]
    described = json.loads((output / "dataset_description.json").read_text())
    assert (output / described["DatasetLinks"]["source"]).resolve() == (output.parent / "raw").resolve()
    assert described["GeneratedBy"] == [{"Name": "imgtheranostics", "Version": it.__version__}]
    record = json.loads((folder / "uptake" / "provenance.json").read_text())
    assert sidecar["SourceFiles"] == {"Number": len(record["inputs"]), "SHA256": record["inputs_sha256"]}


def test_what_the_scan_states_goes_with_the_map_but_no_free_text(output: Path) -> None:
    [file] = output.glob("sub-a01/ses-d1/pet/*desc-uptakeIdPerG_pet.json")
    sidecar = json.loads(file.read_text())
    assert sidecar["TracerName"] == "aguix"  # of the manifest
    assert (sidecar["InjectedMass"], sidecar["InjectedMassUnits"]) == (2.5, "ug")
    assert "SpecificRadioactivity" not in sidecar
    assert (sidecar["InjectedRadioactivity"], sidecar["InjectionStart"]) == (8e6, -3600.0)
    stated = {
        subject: json.loads(next(output.glob(f"sub-{subject}/ses-d1/anat/*_T1map.json")).read_text())
        for subject in ("a01", "a02")
    }
    assert stated["a01"]["NonlinearGradientCorrection"] is True
    assert "NonlinearGradientCorrection" not in stated["a02"]


def test_free_text_of_a_scan_is_in_no_file(output: Path) -> None:
    files = [path for path in output.rglob("*") if path.suffix in (".json", ".tsv", ".md")]
    assert len(files) > 50
    assert not [path for path in files if "Doe" in path.read_text()]


def test_every_label_is_described(output: Path) -> None:
    lines = (output / "descriptions.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["desc_id", "description"]
    described = {line.split("\t")[0] for line in lines[1:]}
    used = {path.name.split("_")[2] for path in output.glob("sub-*/ses-*/*/sub-*.nii.gz")}
    assert described == used
    assert "desc-t1Vfa\tt1-vfa, by mri t1" in lines


def test_regions_have_a_table_of_their_names(output: Path) -> None:
    [table] = output.glob("sub-a01/ses-d2/pet/*_dseg.tsv")
    assert table.read_text() == "index\tname\n1\torgan\n"


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda out: _edit(out, "pet/*G_pet.json", "SkullStripped"), "SIDECAR_KEY_REQUIRED"),
        (lambda out: _edit(out, "pet/*G_pet.json", FrameDuration=[1, 2]), "PET_FRAME_CONSISTENCY"),
        (lambda out: _edit(out, "anat/*_T1map.json", SkullStripped="no"), "JSON_SCHEMA_VALIDATION_ERROR"),
        (lambda out: _edit(out, "anat/*_T1map.json", "SkullStripped"), "SIDECAR_KEY_REQUIRED"),
        (lambda out: shutil.copy(out / "README.md", out / "sub-a01/ses-d1/pet/notes.md"), "NOT_INCLUDED"),
        (lambda out: (out / ".bidsignore").unlink(), "NOT_INCLUDED"),
    ],
    ids=["PET without a key", "frames", "wrong kind", "T1 without a key", "stray file", "nothing ignored"],
)
def test_the_validator_does_look(output: Path, tmp_path: Path, spoil, code: str) -> None:
    copy = tmp_path / "out"
    shutil.copytree(output, copy)
    spoil(copy)
    assert code in errors_of(copy)


def _edit(dataset: Path, pattern: str, without: str = "", **changes: object) -> None:
    file = next(dataset.glob(f"sub-a01/ses-d1/{pattern}"))
    content = json.loads(file.read_text()) | changes
    content.pop(without, None)
    file.write_text(json.dumps(content))


def _state(output: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in output.rglob("*") if path.is_file() and ".hashes" not in path.parts]
    return {
        str(path.relative_to(output)): (
            path.stat().st_mtime_ns * path.name.startswith("sub-"),
            path.read_bytes(),
        )
        for path in files
        if path.name not in (".lock", "status.json")
    }


@pytest.fixture
def again(source: Path, output: Path) -> Iterator[Path]:
    """The results, and afterwards all of them done again."""
    yield output
    _run(source)


def _run(source: Path) -> int:
    return main(["study", "run", str(source / "study.yaml"), "-o", str(source / "out"), "-q", "--no-report"])


def test_a_rerun_does_nothing_anew_and_mends_what_a_killed_run_left(source: Path, again: Path) -> None:
    before = _state(again)
    done = {path: path.stat().st_mtime_ns for path in again.rglob("job.json")}
    folder = again / "sub-a01" / "ses-d1" / "pet"
    [image, sidecar] = [next(folder.glob(f"*G_pet{end}")) for end in (".nii.gz", ".json")]
    image.unlink()
    sidecar.write_text("{")
    (folder / "sub-a01_ses-d1_desc-gone_pet.json").write_text("{}")
    (again / "sub-a02" / "ct").mkdir()
    (again / "sub-a02" / "ct" / "sub-a02_desc-gone_ct.nii.gz").write_bytes(b"")
    assert _run(source) == 0
    after = _state(again)
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }
    # moved scans are read with the table of participants, which a first run must not have missed
    assert {path: path.stat().st_mtime_ns for path in again.rglob("job.json")} == done
    assert not (again / "sub-a02" / "ct").exists()


def test_a_scan_that_fails_leaves_a_valid_dataset(source: Path, again: Path) -> None:
    scan = source / "ct" / "a01-d1-post.nii.gz"
    content = scan.read_bytes()
    scan.write_bytes(content[:100])
    code = _run(source)
    scan.write_bytes(content)
    assert code == 8
    assert not list(again.glob("sub-a01/ses-d1/ct"))
    assert list(again.glob("sub-a01/ses-d2/ct/*_ct.nii.gz"))
    assert errors_of(again) == {}


def test_without_hard_links_maps_are_copies(
    source: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    copy = tmp_path / "out"
    shutil.copytree(output, copy)
    for image in copy.glob("sub-*/ses-*/*/sub-*.nii.gz"):
        image.unlink()
    assert main(["study", "run", str(source / "study.yaml"), "-o", str(copy), "-q", "--no-report"]) == 0
    images = sorted(copy.glob("sub-*/ses-*/*/sub-*.nii.gz"))
    assert [one.read_bytes() for one in images] == [
        (output / one.relative_to(copy)).read_bytes() for one in images
    ]
    assert len(images) > 30


def test_an_analysis_is_not_named_as_a_folder_of_bids(source: Path) -> None:
    file = source / "other.yaml"
    file.write_text((source / "study.yaml").read_text().replace("name: contrast", "name: ct"))
    with pytest.raises(UnsupportedInput, match="folder of BIDS") as caught:
        plan(read_manifest(file), file, CommandLine())
    assert caught.value.next_step == "give it another name, such as ct-enhancement"


class TestNames:
    def test_labels_are_letters_and_digits(self) -> None:
        assert camel("id_per_g") == "idPerG"
        assert camel("pet-onto-ct") == "petOntoCt"

    @pytest.mark.parametrize(
        ("quantity", "modality", "expected"),
        [
            ("t2star", "MR", "anat/x_T2starmap"),
            ("ktrans", "MR", "mr/xKtrans_mrmap"),
            ("delta_r1", "MR", "mr/xDeltaR1_mrmap"),
            ("so2", "PA", "pa/xSo2_pa"),
            ("echo_enhancement", "US", "us/xEchoEnhancement_us"),
            ("id_per_g", "NM", "nm/xIdPerG_spect"),
            ("net_influx", "PT", "pet/xNetInflux_mimap"),
            ("suv_bw", "PT", "pet/xSuvBw_pet"),
            ("concentration", "", "other/xConcentration_map"),
        ],
    )
    def test_of_each_modality(self, quantity: str, modality: str, expected: str) -> None:
        own = {"Quantity": quantity, "Modality": modality}
        named = bids_name("x", quantity, own, {}, Naming())
        assert f"{named.folder}/{named.label}_{named.suffix}" == expected

    def test_frames_that_do_not_fit_the_image_are_no_pet(self) -> None:
        own = {"Quantity": "suv_bw", "Modality": "PT", "FrameTimesStart": [0, 1], "FrameDuration": [1, 1]}
        assert bids_name("x", "suv_bw", own, {}, Naming()).suffix == "mimap"
        frames = {"Axes": [{"Name": "time", "Units": "s", "Values": [0.5, 1.5]}]}
        assert bids_name("x", "suv_bw", own | frames, {}, Naming()).suffix == "pet"

    def test_two_analyses_whose_names_differ_by_a_sign_keep_apart(self, tmp_path: Path) -> None:
        folders = ("t1-a", "t1_a")
        jobs = []
        for name in folders:
            folder = tmp_path / "sub-x" / name
            folder.mkdir(parents=True)
            (folder / "t1.nii.gz").write_bytes(name.encode())
            (folder / "t1.json").write_text('{"Quantity": "t1", "Modality": "MR", "Units": "s"}')
            jobs.append(Job(name, f"sub-x/{name}", ("mri", "t1"), ("/nowhere/scan.nii.gz",), ()))
        work = tmp_path / "work"
        work.mkdir()
        found = place_maps(jobs, [one.folder for one in jobs], tmp_path, Naming(), work)
        assert set(found.descriptions) == {"t1A", "t1A2"}
        assert (tmp_path / "sub-x/anat/sub-x_desc-t1A2_T1map.nii.gz").read_bytes() == b"t1_a"
