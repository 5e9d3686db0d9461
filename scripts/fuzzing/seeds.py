"""Good files of every kind that the package reads, made on the spot, and what reading them yields."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Outcome = dict[str, Any]
"""Name of a number -> its fingerprint; ``cautions`` -> the codes that came with it."""

PYDICOM_IMAGES = (
    "CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm",
    "MR_small_padded.dcm", "examples_overlay.dcm",
)  # fmt: skip
PYDICOM_COMPRESSED = (
    "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
    "J2K_pixelrep_mismatch.dcm", "examples_palette.dcm",
)  # fmt: skip
PYDICOM_OTHERS = ("badVR.dcm", "nested_priv_SQ.dcm", "UN_sequence.dcm", "reportsi.dcm", "waveform_ecg.dcm")


@dataclass(frozen=True)
class Seed:
    """A good input.

    Attributes
    ----------
    name, kind : str
    files : dict
        File name -> content; all of them are written into one folder.
    target : str
        The file that is damaged.
    read : callable
        Folder -> `Outcome`; raises what the package raises.
    header_bytes : int
        Where the voxels of the target begin.
    weight : float
        How often it is drawn; compressed pixels cost a child process each.
    """

    name: str
    kind: str
    files: dict[str, bytes]
    target: str
    read: Callable[[Path], Outcome]
    header_bytes: int
    weight: float = 1.0

    @property
    def content(self) -> bytes:
        """The target's bytes."""
        return self.files[self.target]


def fingerprint(volume: Any) -> Outcome:
    """What makes a Volume this Volume."""
    return {
        "voxels": hashlib.sha256(np.ascontiguousarray(volume.data.T).tobytes()).hexdigest()[:16],
        "shape": volume.shape,
        "affine": tuple(np.round(volume.affine, 9).ravel().tolist()),
        "meaning": (volume.quantity, volume.unit),
        "axes": tuple((axis.name, axis.unit, tuple(axis.values.tolist())) for axis in volume.axes),
    }


def read_images(folder: Path) -> Outcome:
    """List and load every series; the uptake too where the image is one of activity."""
    from imgtheranostics.errors import ImgTheranosticsError
    from imgtheranostics.io.loading import info, load_all
    from imgtheranostics.nuclear.analysis import suv

    info(folder)
    outcome: Outcome = {}
    cautions: set[str] = set()
    for number, volume in enumerate(load_all(folder)):
        outcome.update({f"{number} {name}": value for name, value in fingerprint(volume).items()})
        cautions.update(caution.code for caution in volume.warnings)
        if volume.quantity == "activity_concentration":
            try:
                estimate = suv(volume)
            except ImgTheranosticsError as error:
                outcome[f"{number} suv"] = f"refused: {type(error).__name__}"
            else:
                outcome[f"{number} suv"] = fingerprint(estimate.value)["voxels"]
                cautions.update(caution.code for caution in estimate.value.warnings)
    outcome["cautions"] = frozenset(cautions)
    return outcome


def read_regions(folder: Path) -> Outcome:
    """The regions beside ``image.nii``, on its grid."""
    from imgtheranostics.io.loading import load
    from imgtheranostics.io.regions import load_rois

    image = load(folder / "image.nii") if (folder / "image.nii").exists() else None
    path = next(folder / name for name in ("rois.nii", "rois.dcm") if (folder / name).exists())
    regions = load_rois(path, like=image)
    return {
        "labels": hashlib.sha256(np.ascontiguousarray(regions.labels).tobytes()).hexdigest()[:16],
        "names": tuple(sorted(regions.names.items())),
        "cautions": frozenset(caution.code for caution in regions.warnings),
    }


def make_seeds(scratch: Path) -> list[Seed]:
    """All seeds, in a fixed order."""
    from fuzzing.optoacoustic_seeds import make_optoacoustic_seeds

    seeds = [
        *_phantom_seeds(scratch),
        *_written_seeds(scratch),
        *_pydicom_seeds(),
        *_nifti_seeds(scratch),
        *_sidecar_seeds(scratch),
    ]
    return [*seeds, *_region_seeds(scratch), *make_optoacoustic_seeds()]


def make_result_seeds(scratch: Path) -> list[Seed]:
    """The files of an output folder from which a report is written again; made by a process of its own."""
    import subprocess
    import sys

    folder, out = scratch / "for-result", scratch / "result"
    _write_pet(small_pet("start"), folder)
    code = "from imgtheranostics.cli.main import run; run()"
    words = ["nuclear", "uptake", str(folder), "-o", str(out), "--quantity", "suv_bw"]
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
    whole = {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.is_file()}
    figures = {f"figures/{path.name}": path.read_bytes() for path in sorted((out / "figures").iterdir())}
    with_figures = {**whole, **{name: text for name, text in figures.items() if len(text) < 200_000}}
    targets = [("provenance.json", with_figures, 1.0), ("quantities.json", with_figures, 1.0)]
    targets += [("figures/figures.json", with_figures, 0.5), ("quantities.tsv", whole, 0.1)]
    targets += [("suv_bw.json", whole, 0.1), ("suv_bw.nii.gz", whole, 0.1)]
    return [
        Seed(f"result {target}", "results", files, target, read_result, len(files[target]), weight)
        for target, files, weight in targets
    ]


def read_result(folder: Path) -> Outcome:
    """Write the report again; its content is for people, so only that it is made counts."""
    from imgtheranostics.report.html import rebuild

    text = rebuild(folder).read_text(encoding="utf-8")
    return {"complete": text.rstrip().endswith("</html>"), "cautions": frozenset()}


def _phantom_seeds(scratch: Path) -> Iterator[Seed]:
    for name in ("start", "philips-counts", "none"):
        volume = small_pet(name)
        folder = scratch / f"pet-{name}"
        _write_pet(volume, folder)
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        middle = sorted(files)[1]
        yield Seed(f"pet {name}", "dicom", files, middle, read_images, _pixels_at(files[middle]))


def _enhanced(path: Path) -> Seed:
    """Two echoes of three slices in functional groups."""
    import pydicom
    from pydicom.dataset import Dataset

    def group(**values: Any) -> list[Any]:
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return [item]

    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    dataset.NumberOfFrames, dataset.Rows = 6, 10
    dataset.PixelData = dataset.PixelData[: 64 * 10 * 2 * 6]
    shared = Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=[1.5, 1.5], SliceThickness=3.0)
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number in range(6):
        frame = Dataset()
        frame.PlanePositionSequence = group(ImagePositionPatient=[-40, -40, 3.0 * (number // 2)])
        frame.MREchoSequence = group(EffectiveEchoTime=5.0 + 5.0 * (number % 2))
        frame.FrameContentSequence = group(DimensionIndexValues=[number // 2 + 1, number % 2 + 1])
        frame.PixelValueTransformationSequence = group(
            RescaleSlope=1.5 + number, RescaleIntercept=0, RescaleType="US"
        )
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime"):
        delattr(dataset, keyword)
    content = _as_file(dataset)
    return Seed("enhanced", "dicom", {"a.dcm": content}, "a.dcm", read_images, _pixels_at(content))


def _written_seeds(scratch: Path) -> Iterator[Seed]:
    """What our own writers make of the other modalities."""
    from imgtheranostics.acquisition import MrAcquisition, UltrasoundAcquisition
    from imgtheranostics.io.dicom.writing import write_dicom
    from imgtheranostics.volume import Axis, Volume

    rng = np.random.default_rng(2)
    affine, flat = np.diag([1.0, 1.0, 2.0, 1.0]), np.diag([-1.0, -1.0, 2.0, 1.0])
    echo, colour = Axis("echo_time", [0.005, 0.01], "s"), Axis("wavelength", [700.0, 800.0, 900.0], "nm")
    cine = Axis("time", [0.0, 0.1, 0.2], "s")
    arbitrary = "[arb'U]"
    volumes = {
        "written ct": Volume(rng.normal(size=(9, 8, 4)) * 50, affine, "attenuation", "[HU]"),
        "written mr": Volume(
            rng.random((9, 8, 4, 2)), affine, "signal", arbitrary, (echo,), acquisition=MrAcquisition()
        ),
        "written photoacoustic": Volume(
            rng.random((9, 8, 1, 3)), affine, "optoacoustic_signal", arbitrary, (colour,)
        ),
        "written ultrasound": Volume(
            np.rint(rng.random((9, 8, 1, 3)) * 200),
            flat,
            "signal",
            arbitrary,
            (cine,),
            acquisition=UltrasoundAcquisition(),
        ),
    }
    for name, volume in volumes.items():
        folder = scratch / name.replace(" ", "-")
        write_dicom(volume, folder)
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        target = sorted(files)[len(files) // 2]
        yield Seed(name, "dicom", files, target, read_images, _pixels_at(files[target]), 1.5)
    yield _mapped(scratch / "written-mr")


def _mapped(folder: Path) -> Seed:
    """A slice whose values a real-world value map brings to mmol/L."""
    import pydicom
    from pydicom.dataset import Dataset

    dataset = pydicom.dcmread(min(folder.iterdir()))
    unit, item = Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "mmol/l", "UCUM", "mmol/l"
    item.MeasurementUnitsCodeSequence, item.LUTExplanation, item.LUTLabel = [unit], "T1", "T1"
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 65535
    item["RealWorldValueFirstValueMapped"].VR = item["RealWorldValueLastValueMapped"].VR = "US"
    item.RealWorldValueSlope, item.RealWorldValueIntercept = 0.5, 3.0
    dataset.RealWorldValueMappingSequence = [item]
    content = _as_file(dataset)
    return Seed("mapped", "dicom", {"a.dcm": content}, "a.dcm", read_images, _pixels_at(content))


_PER_IMAGE = ("acquisition_datetime", "frame_reference_time_s", "frame_duration_s", "decay_factor")


@cache
def _phantom() -> Any:
    from imgtheranostics.phantom import make

    return make("mm302-decaytrap")


def small_pet(name: str) -> Any:
    """Three slices of the sphere of the clock phantom, with one of its headers."""
    volume = _phantom().volumes[_phantom().names.index(name)]
    affine = volume.affine.copy()
    affine[:3, :3] *= 4.0  # a field of view that fits the weight
    affine[:3, 3] += affine[:3, :3] @ np.array([18, 18, 10])
    record = volume.acquisition
    per_image = {name: getattr(record, name) for name in _PER_IMAGE}
    kept = {name: values[10:13] for name, values in per_image.items() if values is not None}
    data = volume.data[18:30, 18:30, 10:13]
    return volume.replace(data=data, affine=affine, acquisition=replace(record, **kept))


def _write_pet(volume: Any, folder: Path) -> None:
    from imgtheranostics.io.dicom.writing import write_dicom

    write_dicom(volume, folder)


def _pixels_at(content: bytes) -> int:
    """Where the pixel data begins, or the length of the file."""
    position = max(content.rfind(b"\xe0\x7f\x10\x00"), content.rfind(b"\x7f\xe0\x00\x10"))
    return position if position > 0 else len(content)


def _pydicom_seeds() -> Iterator[Seed]:
    import pydicom

    home = Path(pydicom.__file__).parent / "data" / "test_files"
    for names, weight in ((PYDICOM_IMAGES, 1.0), (PYDICOM_COMPRESSED, 0.1), (PYDICOM_OTHERS, 0.3)):
        for name in names:
            path = home / name
            if path.exists() and path.stat().st_size < 600_000:
                content = path.read_bytes()
                files = {name: content}
                yield Seed(name, "dicom", files, name, read_images, _pixels_at(content), weight)
    yield _deflated(home / "MR_small.dcm")
    yield _frames_of_a_gamma_camera(home / "MR_small.dcm")
    yield _enhanced(home / "MR_small.dcm")


def _as_file(dataset: Any) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _deflated(path: Path) -> Seed:
    import pydicom

    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    content = _as_file(dataset)
    return Seed("deflated", "dicom", {"a.dcm": content}, "a.dcm", read_images, len(content))


def _frames_of_a_gamma_camera(path: Path) -> Seed:
    """Three frames of what says that it is a reconstructed emission image."""
    import pydicom
    from pydicom.dataset import Dataset

    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.20"
    dataset.Modality, dataset.ImageType = "NM", ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    detector = Dataset()
    detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    detector.ImagePositionPatient = [-32, -32, 0]
    dataset.DetectorInformationSequence = [detector]
    dataset.NumberOfFrames, dataset.SpacingBetweenSlices, dataset.NumberOfSlices = 3, 2.0, 3
    dataset.SliceVector, dataset.FrameIncrementPointer = [1, 2, 3], 0x00540080
    dataset.PixelData = dataset.PixelData[: 64 * 16 * 2] * 3
    dataset.Rows = 16
    content = _as_file(dataset)
    return Seed("gamma camera", "dicom", {"a.dcm": content}, "a.dcm", read_images, _pixels_at(content))


def _nifti_seeds(scratch: Path) -> Iterator[Seed]:
    import nibabel

    rng = np.random.default_rng(1)
    affine = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.3) * [2.0, 2.0, 3.0], [-9, -8, -7])
    whole = rng.integers(-500, 4000, (7, 6, 5)).astype(np.int16)
    series = rng.normal(size=(5, 4, 3, 6)).astype(np.float32)
    one, two, analyze = nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.AnalyzeImage
    cases: list[tuple[str, Any, Any, str]] = [
        ("nifti-1 int16", one, whole, "a.nii"),
        ("nifti-1 int16 gz", one, whole, "a.nii.gz"),
        ("nifti-1 float32 gz", one, series[..., 0], "a.nii.gz"),
        ("nifti-1 series", one, series, "a.nii"),
        ("nifti-2 int16", two, whole, "a.nii"),
        ("nifti-2 float32 gz", two, series, "a.nii.gz"),
        ("nifti-1 pair", nibabel.Nifti1Pair, whole, "a.img"),
        ("nifti-2 pair", nibabel.Nifti2Pair, series, "a.img"),
        ("analyze pair", analyze, whole, "a.img"),
    ]
    for name, kind, data, file in cases:
        image = kind(data, affine if kind is not analyze else np.diag([2.0, 2.0, 3.0, 1.0]))
        if kind is not analyze:
            image.header.set_xyzt_units("mm", "sec")
        if data is whole and kind is not analyze:
            image.header.set_slope_inter(0.25, 3.0)
        yield _nifti_seed(name, image, file, scratch)
    extended = one(whole, affine)
    extended.header.set_xyzt_units("mm", "sec")
    extended.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a comment" * 8))
    yield _nifti_seed("nifti-1 extension", extended, "a.nii", scratch)
    swapped = one(whole, affine, header=nibabel.Nifti1Header(endianness=">"))
    yield _nifti_seed("nifti-1 big endian", swapped, "a.nii", scratch)


def _nifti_seed(name: str, image: Any, file: str, scratch: Path) -> Seed:
    import nibabel

    folder = scratch / name.replace(" ", "-")
    folder.mkdir()
    nibabel.save(image, folder / file)
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    target = next((name for name in files if name.endswith(".hdr")), file)
    if target.endswith(".gz"):
        # fixed bytes whatever the time of day
        files[target] = gzip.compress(gzip.decompress(files[target]), mtime=0)
    size = len(files[target]) if target.endswith((".gz", ".hdr")) else 544 if "nifti-2" in name else 352
    return Seed(name, "nifti", files, target, read_images, size)


PET_SIDECAR = {
    "Modality": "PT", "Units": "Bq/mL", "TracerRadionuclide": "F18", "TimeZero": "10:00:00",
    "ScanStart": 0, "InjectionStart": -3600, "InjectedRadioactivity": 370,
    "InjectedRadioactivityUnits": "MBq",
    "FrameTimesStart": [0], "FrameDuration": [600], "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0, "DecayCorrectionFactor": [1.031905], "BodyWeight": 70.0,
    "RadionuclideHalfLife": 6586.2, "ScatterFraction": [0.3], "ReconMethodName": "OSEM",
}  # fmt: skip


def _sidecar_seeds(scratch: Path) -> Iterator[Seed]:
    import nibabel

    from imgtheranostics.io.saving import save

    folder = scratch / "pet-bids"
    folder.mkdir()
    data = np.linspace(100, 9000, 60, dtype=np.float32).reshape(5, 4, 3)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([40.0, 40, 40, 1])), folder / "sub-1_pet.nii")
    image = (folder / "sub-1_pet.nii").read_bytes()
    text = json.dumps(PET_SIDECAR, indent=1).encode()
    files = {"sub-1_pet.nii": image, "sub-1_pet.json": text}
    yield Seed("pet-bids sidecar", "json", files, "sub-1_pet.json", read_images, len(text), 2.0)
    own = scratch / "own"
    own.mkdir()
    save(small_pet("start"), own / "pet.nii")
    files = {path.name: path.read_bytes() for path in sorted(own.iterdir())}
    yield Seed("own sidecar", "json", files, "pet.json", read_images, len(files["pet.json"]), 2.0)
    echoes: dict[str, bytes] = {}
    for number, seconds in enumerate((0.004, 0.009, 0.014), start=1):
        content = {"EchoTime": seconds, "RepetitionTime": 0.8, "FlipAngle": 25, "MagneticFieldStrength": 7}
        echoes[f"sub-1_echo-{number}_MEGRE.nii"] = image
        echoes[f"sub-1_echo-{number}_MEGRE.json"] = json.dumps(content).encode()
    target = "sub-1_echo-2_MEGRE.json"
    yield Seed("echo sidecar", "json", echoes, target, read_images, len(echoes[target]))


def _region_seeds(scratch: Path) -> Iterator[Seed]:
    import nibabel
    import pydicom

    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    labels = np.zeros((10, 9, 6), np.uint8)
    labels[2:6, 2:6, 1:4], labels[7:9, 3:8, 2:5] = 1, 2
    folder = scratch / "regions"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.float32), affine), folder / "image.nii")
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "rois.nii")
    image, mask = (folder / "image.nii").read_bytes(), (folder / "rois.nii").read_bytes()
    names = json.dumps({"Labels": {"1": "liver", "2": "tumour"}}).encode()
    table = b"index\tname\n1\tliver\n2\ttumour\n"
    files = {"image.nii": image, "rois.nii": mask, "rois.json": names}
    yield Seed("label map", "regions", files, "rois.nii", read_regions, 352)
    yield Seed("names in json", "json", files, "rois.json", read_regions, len(names))
    files = {"image.nii": image, "rois.nii": mask, "rois.tsv": table}
    yield Seed("names in tsv", "table", files, "rois.tsv", read_regions, len(table))
    structures = _structure_set(affine)
    files = {"image.nii": image, "rois.dcm": structures}
    yield Seed("structure set", "regions", files, "rois.dcm", read_regions, len(structures), 2.0)
    home = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("liver_1frame.dcm", "liver_expb_1frame.dcm"):
        dataset = pydicom.dcmread(home / name)
        dataset.PerFrameFunctionalGroupsSequence = list(dataset.PerFrameFunctionalGroupsSequence)[:1]
        content = _as_file(dataset)
        files = {"rois.dcm": content}
        yield Seed(f"segmentation {name}", "regions", files, "rois.dcm", read_regions, _pixels_at(content))


def _structure_set(affine: np.ndarray) -> bytes:
    """Two boxes drawn half a voxel outside their voxels' centres."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.3.4"
    dataset.Modality, dataset.PatientName = "RTSTRUCT", "SEED^A"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, (low, high)) in enumerate({"liver": (2, 6), "tumour": (3, 8)}.items(), start=1):
        item = Dataset()
        item.ROINumber, item.ROIName, item.ReferencedFrameOfReferenceUID = number, name, "1.2.3"
        dataset.StructureSetROISequence.append(item)
        contours = []
        for k in (1, 2, 3):
            corners = np.array([(low, low), (high, low), (high, high), (low, high)]) - 0.5
            points = np.column_stack([corners * 2.0 * -1.0, np.full(4, k * affine[2, 2])])
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
            contour.ContourData = [f"{value:g}" for value in points.ravel()]
            contours.append(contour)
        item = Dataset()
        item.ReferencedROINumber, item.ContourSequence = number, contours
        dataset.ROIContourSequence.append(item)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return _as_file(dataset)
