"""Small DICOM series made with pydicom, one slice per file, for every kind of edit."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "US": "1.2.840.10008.5.1.4.1.1.3.1",
    "PA": "1.2.840.10008.5.1.4.1.1.6.3",
    "enhanced PT": "1.2.840.10008.5.1.4.1.1.130",
    "enhanced MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "enhanced CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "legacy PT": "1.2.840.10008.5.1.4.1.1.128.1",
}


def new_dataset(kind: str, series_uid: str = "1.2.826.0.1.1") -> Dataset:
    """What every image has; `kind` is a modality, with ``enhanced`` or ``legacy`` before it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SOP_CLASSES[kind]
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=None)
    ds.Modality = kind.split()[-1]
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = "animal 7", "Canary^Name", "19700203"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1", series_uid
    ds.FrameOfReferenceUID = "1.2.826.0.1.9"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20250301"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "101500"
    return ds


def set_pixels(ds: Dataset, stored: np.ndarray) -> None:
    """Native pixels of one (rows, columns) or several (frames, rows, columns) frames."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        ds.NumberOfFrames = len(stored)
    ds.BitsAllocated = ds.BitsStored = 8 * stored.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    raw = np.ascontiguousarray(stored).tobytes()
    ds.PixelData = raw + b"\0" * (len(raw) % 2)
    ds["PixelData"].VR = "OW" if stored.dtype.itemsize > 1 else "OB"


def describe(ds: Dataset) -> None:
    """The attributes of each modality that its images have."""
    if ds.Modality == "PT":
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.Units, ds.DecayCorrection = "BQML", "START"
        ds.SeriesType, ds.CorrectedImage = ["STATIC", "IMAGE"], ["DECY", "ATTN"]
        ds.FrameReferenceTime, ds.ActualFrameDuration, ds.DecayFactor = "300000", "600000", "1.032"
        ds.PatientWeight = "0.02"
        item = Dataset()
        item.RadionuclideTotalDose, item.RadionuclideHalfLife = "7000000", "6586.2"
        item.RadiopharmaceuticalStartDateTime = "20250301091500"
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = "77004003", "SCT"
        code.CodeMeaning = "^18^Fluorine"
        item.RadionuclideCodeSequence = [code]
        ds.RadiopharmaceuticalInformationSequence = [item]
        ds.RescaleSlope, ds.RescaleIntercept = "2.5", "0"
    elif ds.Modality == "CT":
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.KVP = "80"
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", "-1024", "HU"
    elif ds.Modality == "MR":
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        ds.Manufacturer = "SIEMENS"
        ds.EchoTime, ds.RepetitionTime, ds.FlipAngle = "4.5", "20", "15"
        ds.MagneticFieldStrength = "3"


def save(ds: Dataset, path) -> None:
    """Write a file with preamble and meta information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)


class SeriesMaker:
    """Writes series of single-slice files."""

    new_dataset = staticmethod(new_dataset)
    set_pixels = staticmethod(set_pixels)
    save = staticmethod(save)

    def stored(self, n: int = 4, rows: int = 5, columns: int = 6, dtype: str = "int16") -> np.ndarray:
        """Stored values, all different."""
        return np.arange(n * rows * columns).reshape(n, rows, columns).astype(dtype)

    def __call__(
        self,
        folder,
        modality: str = "PT",
        *,
        stored: np.ndarray | None = None,
        positions=None,
        orientation=(1, 0, 0, 0, 1, 0),
        spacing=(1.5, 2.0),
        step_mm: float = 3.0,
        series_uid: str = "1.2.826.0.1.1",
        prefix: str = "",
        edit=None,
    ):
        """Write one file per plane of `stored`; `edit(ds, k)` changes each before it is written."""
        stored = self.stored() if stored is None else stored
        cosines = np.array(orientation, dtype=float)
        normal = np.cross(cosines[:3], cosines[3:])
        paths = []
        for k, plane in enumerate(stored):
            ds = new_dataset(modality, series_uid)
            describe(ds)
            place = (
                np.array([-10.0, -20.0, 5.0]) + k * step_mm * normal if positions is None else positions[k]
            )
            ds.ImagePositionPatient = [round(float(v), 6) for v in place]
            ds.ImageOrientationPatient = [round(float(v), 9) for v in cosines]
            ds.PixelSpacing = list(spacing)
            ds.SliceThickness, ds.InstanceNumber = "9", k + 1
            set_pixels(ds, plane)
            if edit is not None:
                edit(ds, k)
            # the order of names is not the order of slices
            path = folder / f"{prefix}{(k * 7) % 11:02d}_{k}.dcm"
            save(ds, path)
            paths.append(path)
        return paths


@pytest.fixture(scope="session")
def make_series() -> SeriesMaker:
    """Writes a series of files into a folder and returns their paths, first slice first."""
    return SeriesMaker()


@pytest.fixture
def patch_bytes():
    """Replace bytes of a file by others of the same length, which must be there once."""

    def patch(path, old: bytes, new: bytes) -> None:
        raw = path.read_bytes()
        assert len(old) == len(new)
        assert raw.count(old) == 1
        path.write_bytes(raw.replace(old, new))

    return patch


@pytest.fixture(scope="session")
def pydicom_file():
    """A test file of the pydicom wheel."""
    from pydicom.data import get_testdata_file

    def find(name: str):
        from pathlib import Path

        found = get_testdata_file(name, download=False)
        assert found is not None
        return Path(found)

    return find
