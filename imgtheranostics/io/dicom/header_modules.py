"""Parts of a header that every written object shares: patient, equipment, isotope, plane geometry, texts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import Radiopharmaceutical, Subject
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.volume import Grid

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

_SHEAR_LIMIT = 1e-4
_SEXES = ("M", "F", "O")


@dataclass(frozen=True, slots=True)
class Labels:
    """What the files call the subject and the series.

    Attributes
    ----------
    patient_name, patient_id : str
    description : str
    series_number : int
    phantom : bool
        Mark the subject as a quality-control phantom and keep its synthetic dates.
    """

    patient_name: str = "ANONYMOUS"
    patient_id: str = "ANONYMOUS"
    description: str = ""
    series_number: int = 1
    phantom: bool = False


def uid(*parts: object) -> UID:
    """A UID under 2.25 that derives from `parts`."""
    from pydicom.uid import UID

    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def plane_geometry(grid: Grid) -> tuple[Any, Any, npt.NDArray[np.float64]]:
    """Row and column cosines and the position of each slice, LPS mm."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    spacing = np.array(grid.spacing_mm)
    cosines = lps[:3, :3] / spacing
    skew = np.abs(cosines.T @ cosines - np.eye(3)).max()
    if skew > _SHEAR_LIMIT:
        raise UnsupportedInput(
            "the grid is sheared, which a DICOM image series cannot express",
            found=f"voxel axes {np.rad2deg(np.arcsin(min(skew, 1.0))):.3g} degrees from a right angle",
            next_step="resample it to a right-angled grid, or save it as NIfTI",
        )
    positions = lps[:3, 3] + np.arange(grid.shape[2])[:, np.newaxis] * lps[:3, 2]
    return cosines[:, 0], cosines[:, 1], positions


def file_meta(sop_class: str, syntax: UID) -> Any:
    """The file meta information of one object of a SOP class."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = uid("imgtheranostics", "implementation")
    meta.ImplementationVersionName = "IMGTHERANOSTICS"
    return meta


def patient(dataset: Dataset, subject: Subject, labels: Labels) -> None:
    """Patient and patient study modules of a pseudonymous subject or a phantom."""
    dataset.PatientName = labels.patient_name
    dataset.PatientID = labels.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = subject.sex if subject.sex in _SEXES else ""
    if labels.phantom:
        dataset.QualityControlSubject = "YES"
    else:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "imgtheranostics: pseudonym, dates moved by whole days"
    dataset.PatientWeight = None if subject.weight_kg is None else ds(subject.weight_kg)
    dataset.PatientSize = None if subject.height_m is None else ds(subject.height_m)
    if subject.species and subject.species.lower() not in ("human", "homo sapiens"):
        dataset.PatientSpeciesDescription = subject.species
        dataset.PatientSexNeutered = ""
        dataset.PatientBreedDescription = ""
        dataset.PatientBreedCodeSequence = []
        dataset.BreedRegistrationSequence = []
        dataset.ResponsiblePerson = ""
        dataset.ResponsibleOrganization = ""


def equipment(dataset: Dataset, manufacturer: str | None, model: str | None) -> None:
    """General equipment module."""
    from imgtheranostics._version import VERSION

    dataset.Manufacturer = manufacturer or ""
    if model:
        dataset.ManufacturerModelName = model
    dataset.SoftwareVersions = f"imgtheranostics {VERSION}"


def isotope(dataset: Dataset, record: Radiopharmaceutical) -> None:
    """The radiopharmaceutical sequence; the dose is written as the number that the record holds."""
    from pydicom import Dataset

    item = Dataset()
    if record.name:
        item.Radiopharmaceutical = record.name
        short = "".join(letter for letter in record.name.upper() if letter.isalnum())[:16]
        item.RadiopharmaceuticalCodeSequence = [code(short, "99IMGTHER", record.name)]
    if record.start_time is not None:
        item.RadiopharmaceuticalStartTime = record.start_time.strftime("%H%M%S.%f")
    if record.start_datetime is not None:
        item.RadiopharmaceuticalStartDateTime = datetime_text(record.start_datetime)
    if record.stop_datetime is not None:
        item.RadiopharmaceuticalStopDateTime = datetime_text(record.stop_datetime)
    for keyword, value in (
        ("RadionuclideTotalDose", record.total_dose),
        ("RadionuclideHalfLife", record.half_life_s),
        ("RadionuclidePositronFraction", record.positron_fraction),
    ):
        if value is not None:
            setattr(item, keyword, ds(value))
    item.RadionuclideCodeSequence = _nuclide_code(record.nuclide)
    dataset.RadiopharmaceuticalInformationSequence = [item]


def _nuclide_code(nuclide: str | None) -> list[Dataset]:
    """The nuclide's code from context groups 4020 (PET) and 18; no item when they do not have it."""
    from pydicom.sr.codedict import codes

    from imgtheranostics.io.dicom.nuclides import CODES

    for group in (codes.cid4020, codes.cid18):
        for known in (getattr(group, name) for name in group.dir()):
            if CODES.get(known.value) == nuclide:
                return [code(known.value, known.scheme_designator, known.meaning)]
    return []


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning[:64]
    return item


def clock_text(moment: datetime | None) -> str:
    """A TM value; empty for None."""
    return moment.strftime("%H%M%S.%f") if moment else ""


def datetime_text(moment: datetime) -> str:
    """A DT value, with the offset from UTC where the moment has one."""
    return moment.strftime("%Y%m%d%H%M%S.%f") + (moment.strftime("%z")[:5] if moment.tzinfo else "")


def offset_text(minutes: float) -> str:
    """An offset from UTC such as ``+0100``."""
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{int(abs(minutes)) // 60:02d}{int(abs(minutes)) % 60:02d}"


def ds(value: float) -> str:
    """A DS value of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return str(format_number_as_ds(float(value)))
