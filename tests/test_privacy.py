"""Canaries: unique words in every place that may name a person, and no trace of them in any output.

They are planted in every text element of DICOM files (top level, nested, private), in their file and folder
names, in the text fields of NIfTI headers and in the strings of sidecars. Every verb runs, and the bytes of
all that it wrote or printed are searched in UTF-8, both UTF-16 orders and base64. Names of regions are the
user's own words and are shown; so is the name of a mask file without names in it, which is what the user
calls that region. Paths appear on stderr as they were typed, in refusals only.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

import imgtheranostics
from imgtheranostics.cli.main import main
from imgtheranostics.io.dicom.writing import write_dicom
from imgtheranostics.io.saving import save
from imgtheranostics.phantom import make

CANARY = "ZqXcanary"
TEXTS = {"PN", "LO", "LT", "SH", "ST", "UT", "UC", "UN"}
MEANING = {
    # these say what the image is; free text in them would be another image
    "TimezoneOffsetFromUTC", "CodeValue", "CodingSchemeDesignator", "CodeMeaning", "RescaleType",
}  # fmt: skip
DATES = ("19580607", "1958-06-07", "195806")
"""Birth date in DICOM and ISO form."""


def needles(word):
    """The word as text, in both orders of UTF-16, and inside base64 at its three alignments."""
    found = []
    for text in {word, word.lower(), word.upper()}:
        for raw in (text.encode(), text.encode("utf-16-le"), text.encode("utf-16-be")):
            found.append(raw)
            for shift in range(3):
                packed = base64.b64encode(b"\0" * shift + raw)
                first, last = -(-shift * 8 // 6), (shift + len(raw)) * 8 // 6
                found.append(packed[first:last])
    return found


NEEDLES = [one for word in (CANARY, *DATES[:2]) for one in needles(word)]


def hits(content: bytes) -> list[bytes]:
    return [needle for needle in NEEDLES if needle in content]


def assert_clean(folder: Path, *, besides: set[str] = frozenset()) -> int:
    """No canary in the bytes or names of any file below a folder; the number of files searched."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        assert CANARY.lower() not in str(path.relative_to(folder)).lower()
        if path.name not in besides:
            assert not hits(path.read_bytes()), f"{path.name}: {hits(path.read_bytes())}"
    return len(files)


def plant(dataset: Dataset, depth: int = 0) -> None:
    """A canary in every text element that is there, and in every one that the dictionary knows."""
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                plant(item, depth + 1)
        elif element.VR in TEXTS and element.keyword not in MEANING and element.tag.group != 2:
            element.value = (
                [f"{CANARY}{depth}"] * max(1, element.VM) if element.VM > 1 else f"{CANARY}{depth}"
            )


def plant_everywhere(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    plant(dataset)
    for tag, (vr, vm, _, retired, keyword) in DicomDictionary.items():
        wanted = vr in TEXTS and keyword not in MEANING and not retired and tag >> 16 not in (0, 2, 4, 0xFFFE)
        if wanted and vm.startswith("1") and tag < 0x7FE00000 and tag not in dataset:
            dataset.add_new(tag, vr, CANARY.encode() if vr == "UN" else CANARY)
    dataset.PatientBirthDate = DATES[0]
    nested = Dataset()
    nested.PersonName, nested.TextString, nested.ReferencedRequestSequence = CANARY, CANARY, []
    deeper = Dataset()
    deeper.AccessionNumber, deeper.RequestedProcedureDescription = CANARY, CANARY
    nested.ReferencedRequestSequence.append(deeper)
    dataset.RequestAttributesSequence = [nested]
    block = dataset.private_block(0x0099, f"{CANARY} CREATOR", create=True)
    block.add_new(0x01, "LO", CANARY)
    block.add_new(0x02, "UN", CANARY.encode() + b"\0")
    block.add_new(0x03, "OB", CANARY.encode("utf-16-le"))
    dataset.save_as(path)


def scan():
    """A small phantom whose field of view fits its subject's weight."""
    phantom = make("mm302-decaytrap")
    return phantom.volumes[0], phantom.regions


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A DICOM series, its NIfTI twin and regions, full of canaries but for the names of the regions."""
    root = tmp_path_factory.mktemp("scene")
    volume, regions = scan()
    dicom = root / f"{CANARY}^family" / f"{CANARY}-study"
    dicom.parent.mkdir()
    write_dicom(volume, dicom)
    for number, path in enumerate(sorted(dicom.iterdir())):
        plant_everywhere(path)
        path.rename(path.with_name(f"{CANARY}{number:03d}.dcm"))
    nifti = root / f"{CANARY}-nifti"
    nifti.mkdir()
    image = nifti / f"sub-{CANARY}_ses-{CANARY}_pet.nii"
    save(volume, image)
    plant_nifti(image)
    plant_json(image.with_suffix(".json"))
    rois = root / "rois.nii"
    nibabel.save(nibabel.Nifti1Image(regions.labels[..., 0].astype(np.uint8), regions.grid.affine), rois)
    plant_nifti(rois)
    names = {
        "Labels": {str(n): name for n, name in regions.names.items()},
        "Author": CANARY,
        "Note": [CANARY],
    }
    rois.with_suffix(".json").write_text(json.dumps(names))
    return {"dicom": dicom, "nifti": image, "rois": rois, "volume": volume, "regions": regions}


def plant_nifti(path: Path) -> None:
    image = nibabel.load(path)
    data, header = np.asanyarray(image.dataobj).copy(), image.header.copy()
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        header[field] = CANARY.encode()[:10]
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY.encode()))
    header.extensions.append(nibabel.nifti1.Nifti1Extension("afni", f'<X NAME="{CANARY}">'.encode()))
    nibabel.save(nibabel.Nifti1Image(data, image.affine, header), path)


def plant_json(path: Path) -> None:
    content = json.loads(path.read_text())
    for key in ("Manufacturer", "ManufacturersModelName", "InstitutionName", "TracerName", "ReconMethodName"):
        content[key] = CANARY
    content |= {
        "PatientName": CANARY,
        "PatientID": CANARY,
        "PatientBirthDate": DATES[0],
        "Comments": [CANARY],
    }
    content |= {CANARY: CANARY, "Operator": {"Name": CANARY, CANARY: 3}}
    path.write_text(json.dumps(content))


def run(arguments, capfd) -> tuple[int, bytes]:
    """Exit code, and all that the command printed."""
    capfd.readouterr()
    code = main([str(word) for word in arguments])
    out, err = capfd.readouterr()
    return code, (out + err).encode()


SOURCES = ("dicom", "nifti")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_info_prints_no_canary(scene, source, options, capfd):
    code, printed = run(["info", scene[source], *options], capfd)
    assert code == 0, printed
    assert b"activity_concentration" in printed
    assert not hits(printed)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_uptake_with_report_holds_no_canary(scene, source, options, tmp_path, capfd):
    out = tmp_path / "out"
    words = ["nuclear", "uptake", scene[source], "--rois", scene["rois"], "-o", out, *options]
    code, printed = run(words, capfd)
    assert code == 0, printed
    assert b"sphere" in printed, "region names are shown"
    assert not hits(printed)
    assert assert_clean(out) >= 10
    assert {"report.html", "provenance.json", "quantities.tsv"} <= {path.name for path in out.iterdir()}


@pytest.mark.parametrize("source", SOURCES)
def test_curves_hold_no_canary(scene, source, tmp_path, capfd):
    out = tmp_path / "out"
    code, printed = run(["nuclear", "curves", scene[source], "--rois", scene["rois"], "-o", out], capfd)
    assert code == 0, printed
    assert not hits(printed)
    assert assert_clean(out) >= 3


@pytest.mark.parametrize("source", SOURCES)
def test_lesions_hold_no_canary(scene, source, tmp_path, capfd):
    out = tmp_path / "out"
    words = ["nuclear", "segment", scene[source], "--within", scene["rois"], "--threshold", "50%", "-o", out]
    code, printed = run(words, capfd)
    assert code == 0, printed
    assert not hits(printed)
    assert assert_clean(out) >= 10
    assert {"regions.nii.gz", "regions.json"} <= {path.name for path in out.iterdir()}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", ["image.nii.gz", "dicom"])
def test_converted_images_hold_no_canary(scene, source, target, tmp_path, capfd):
    out = tmp_path / "converted"
    out.mkdir()
    code, printed = run(["convert", scene[source], out / target, "--json"], capfd)
    assert code == 0, printed
    assert not hits(printed)
    assert assert_clean(out) >= 2


def test_report_written_again_holds_no_canary(scene, tmp_path, capfd):
    out = tmp_path / "out"
    words = ["nuclear", "uptake", scene["dicom"], "--rois", scene["rois"], "-o", out, "--no-report"]
    assert run(words, capfd)[0] == 0
    code, printed = run(["report", out], capfd)
    assert code == 0, printed
    assert not hits(printed)
    assert (out / "report.html").exists()
    assert_clean(out)


def test_own_process_leaves_no_canary_in_temporary_folders_settings_and_caches(scene, tmp_path):
    out, temporary, home = tmp_path / "out", tmp_path / "tmp", tmp_path / "home"
    temporary.mkdir()
    home.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    environment.pop("IMGTHERANOSTICS_SALT", None)
    command = [sys.executable, "-c", "from imgtheranostics.cli.main import run; run()"]
    words = ["nuclear", "uptake", scene["dicom"], "--rois", scene["rois"], "-o", out, "--json"]
    done = subprocess.run([*command, *map(str, words)], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert not hits(done.stdout + done.stderr)
    assert_clean(out)
    assert_clean(temporary)
    assert_clean(home)
    kernels = Path(imgtheranostics.__file__).parent / "kernels"
    assert_clean(kernels)


def test_identifiers_are_kept_in_the_record_only_and_only_when_asked_for(scene, tmp_path, capfd):
    out = tmp_path / "out"
    words = ["nuclear", "uptake", scene["dicom"], "--rois", scene["rois"], "-o", out, "--keep-identifiers"]
    code, printed = run(words, capfd)
    assert code == 0, printed
    assert not hits(printed)
    assert hits((out / "provenance.json").read_bytes()), "identifiers were asked for"
    assert_clean(out, besides={"provenance.json"})


def test_converted_sidecar_keeps_identifiers_only_when_asked_for(scene, tmp_path, capfd):
    code, printed = run(["convert", scene["dicom"], tmp_path / "a.nii.gz", "--keep-identifiers"], capfd)
    assert code == 0, printed
    assert not hits(printed)
    assert hits((tmp_path / "a.json").read_bytes())
    assert_clean(tmp_path, besides={"a.json"})


def test_structure_set_and_segmentation_show_their_region_names_alone(scene, tmp_path, capfd):
    path = tmp_path / f"{CANARY}.dcm"
    structure_set(scene, path)
    out = tmp_path / "out"
    code, printed = run(["nuclear", "uptake", scene["dicom"], "--rois", path, "-o", out], capfd)
    assert code == 0, printed
    assert b"lesion A" in printed
    assert not hits(printed)
    assert_clean(out)


def structure_set(scene, path: Path) -> None:
    grid = scene["volume"].grid
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.3.4"
    dataset.Modality, dataset.PatientName, dataset.PatientID = "RTSTRUCT", CANARY, CANARY
    dataset.StructureSetLabel, dataset.StructureSetName, dataset.OperatorsName = CANARY, CANARY, CANARY
    item, contours = Dataset(), Dataset()
    item.ROINumber, item.ROIName, item.ROIDescription = 1, "lesion A", CANARY
    frame = pydicom.dcmread(next(iter(sorted(scene["dicom"].iterdir()))), stop_before_pixels=True)
    item.ReferencedFrameOfReferenceUID = frame.FrameOfReferenceUID
    contours.ReferencedROINumber, contours.ContourSequence = 1, []
    for k in (11, 12):
        corners = [(20.5, 20.5, k), (26.5, 20.5, k), (26.5, 26.5, k), (20.5, 26.5, k)]
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
        contour.ContourData = [f"{v:.6g}" for v in (grid.world_mm(corners) * (-1, -1, 1)).ravel()]
        contours.ContourSequence.append(contour)
    observation = Dataset()
    observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
    observation.ROIInterpreter, observation.ROIObservationLabel = CANARY, CANARY
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [item], [contours]
    dataset.RTROIObservationsSequence = [observation]
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def broken(scene, folder: Path) -> dict[str, Path]:
    """Copies of the series that are refused, each for another reason, under names without canaries."""
    made = {}

    def copy(name, edit):
        target = folder / name
        target.mkdir()
        for number, path in enumerate(sorted(scene["dicom"].iterdir())):
            new = target / f"{number:03d}.dcm"
            shutil.copyfile(path, new)
            edit(number, new)
        made[name] = target

    def header(**values):
        def edit(_number, path):
            dataset = pydicom.dcmread(path)
            for keyword, value in values.items():
                if value is None:
                    delattr(dataset, keyword)
                else:
                    with pydicom.config.disable_value_validation():
                        setattr(dataset, keyword, value)
            dataset.save_as(path)

        return edit

    def injection(_number, path):
        dataset = pydicom.dcmread(path)
        item = dataset.RadiopharmaceuticalInformationSequence[0]
        item.RadiopharmaceuticalStartDateTime = None
        item.RadiopharmaceuticalStartTime = None
        dataset.save_as(path)

    copy("cut", lambda _, path: path.write_bytes(path.read_bytes()[:-90]))
    copy("gap", lambda n, path: path.unlink() if n == 7 else None)
    copy("two subjects", lambda n, path: header(PatientID=f"{CANARY}2")(n, path) if n == 3 else None)
    copy("weightless", header(PatientWeight=None))
    copy("unitless", header(Units="ODDWORD"))
    copy("dated", header(SeriesDate=CANARY, SeriesTime=CANARY))
    copy("half-life", lambda n, path: path.write_bytes(path.read_bytes().replace(b"64Cu", b"99Zz")))
    copy("uninjected", injection)
    copy("kind", header(Modality="ODDWORD"))
    copy("patterned", header(PhotometricInterpretation="ODDWORD"))
    copy("typed", header(SUVType="ODDWORD", Units="GML"))
    copy("corrected", header(DecayCorrection="ODDWORD"))
    return made


@pytest.mark.parametrize("verb", [["info"], ["nuclear", "uptake", "--quantity", "suv_bw"], ["convert"]])
def test_refusals_quote_tags_and_no_canary(scene, tmp_path, capfd, verb):
    codes = {}
    for name, folder in broken(scene, tmp_path).items():
        words = [*verb, folder] if verb[0] != "convert" else ["convert", folder, tmp_path / f"{name}.nii"]
        for options in ([], ["--json"]):
            code, printed = run([*words, *options], capfd)
            assert b"Traceback" not in printed
            assert not hits(printed), f"{name}: {printed.decode()}"
            assert code != 1, f"{name}: {printed.decode()}"
            (tmp_path / f"{name}.nii").unlink(missing_ok=True)
            (tmp_path / f"{name}.json").unlink(missing_ok=True)
        codes[name] = code
    if verb[0] == "nuclear":
        refused = {name for name, code in codes.items() if code}
        assert refused >= {"cut", "gap", "two subjects", "weightless", "dated", "typed", "corrected"}


def test_a_refusal_names_the_path_as_it_was_typed_and_nothing_more(scene, tmp_path, capfd, monkeypatch):
    shutil.copytree(scene["dicom"], tmp_path / "typed")
    victim = sorted((tmp_path / "typed").iterdir())[4]
    plain = victim.rename(victim.with_name("004.dcm"))
    plain.write_bytes(plain.read_bytes()[:-50])
    monkeypatch.chdir(tmp_path)
    code, printed = run(["nuclear", "uptake", "typed"], capfd)
    assert code == 4
    assert b"typed/004.dcm" in printed
    assert str(tmp_path).encode() not in printed
    assert not hits(printed)


def test_the_search_finds_what_it_looks_for():
    text = f"name {CANARY}".encode()
    assert hits(text)
    assert hits(text.decode().encode("utf-16-le"))
    assert hits(text.decode().encode("utf-16-be"))
    for shift in range(3):
        assert hits(base64.b64encode(b"x" * shift + text))
        assert hits(base64.b64encode(b"x" * shift + text.decode().encode("utf-16-le")))
    assert hits(CANARY.upper().encode())
    assert not hits(b"nothing")
