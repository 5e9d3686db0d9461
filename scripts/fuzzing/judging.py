"""What became of a damaged file: the verdict, and which edits change a number with good reason."""

from __future__ import annotations

import gzip
import io
import json
import warnings
from typing import Any

from fuzzing.seeds import Outcome, Seed

GOOD = ("same", "caution", "refused", "edit")
BAD = ("changed", "untyped", "signal", "hang")
VERDICTS = (*GOOD, *BAD)
"""same: the same numbers. caution: others, with a caution that the good file does not raise. refused: a typed
error. edit: others because a listed value was edited into another valid one, which no reader can notice.
changed: others without a word. untyped: another exception. signal, hang: the process died or stood still."""

SEMANTIC_DICOM = frozenset(
    {
        "PixelData", "RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImagePositionPatient",
        "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices", "Units", "SUVType", "Modality",
        "SOPClassUID", "ImageType", "PixelRepresentation", "BitsStored", "HighBit", "PixelPaddingValue",
        "SmallestImagePixelValue", "PhotometricInterpretation", "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData", "Manufacturer",
        "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "FrameReferenceTime",
        "ActualFrameDuration", "DecayCorrection", "DecayFactor", "PatientWeight", "PatientSize", "PatientSex",
        "RadionuclideTotalDose", "RadionuclideHalfLife", "RadiopharmaceuticalStartTime",
        "RadiopharmaceuticalStartDateTime", "RadionuclideCodeSequence", "CodeValue", "TimezoneOffsetFromUTC",
        "SeriesInstanceUID", "FrameOfReferenceUID", "SliceVector", "DetectorInformationSequence",
        "RescaleType", "ExcitationWavelength", "PhysicalDeltaX", "PhysicalDeltaY", "FrameTime",
        "EchoTime", "FlipAngle", "InversionTime",
        "RadiopharmaceuticalInformationSequence", "RealWorldValueSlope", "RealWorldValueIntercept",
        "RealWorldValueMappingSequence", "RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped",
        # regions
        "ContourData", "ROIName", "ROINumber", "ReferencedROINumber", "SegmentLabel", "SegmentNumber",
        "ReferencedSegmentNumber", "StructureSetROISequence", "ROIContourSequence", "ContourSequence",
        "SegmentSequence", "SegmentationType", "ContourGeometricType", "PixelMeasuresSequence",
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    }
)  # fmt: skip
"""DICOM attributes of which a valid edit changes a number: voxels, their scale and place, what SUV needs."""

SEMANTIC_NIFTI = frozenset(
    {
        "pixdim", "scl_slope", "scl_inter", "srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y",
        "qoffset_z", "quatern_b", "quatern_c", "quatern_d", "qform_code", "sform_code", "xyzt_units",
        "datatype",        "voxels", "intent_code", "toffset", "dim",
    }
)  # fmt: skip
"""Fields of a NIfTI header of which the same holds; ``voxels`` stands for what follows the header."""


def judge(seed: Seed, good: Outcome | str, found: Outcome | str, content: bytes) -> tuple[str, str]:
    """The verdict on one damaged file, and a detail for the reader.

    Parameters
    ----------
    good, found : Outcome or str
        Of the seed and of its damaged twin; text for a refusal (``refused: ...``) or a crash.
    content : bytes
        The damaged file.
    """
    if isinstance(found, str):
        verdict, _, detail = found.partition(": ")
        return verdict, detail
    before: Outcome = {} if isinstance(good, str) else good
    differing = sorted(
        name
        for name in {*before, *found} - {"cautions"}
        if before.get(name) != found.get(name) and not str(found.get(name)).startswith("refused")
    )
    if not differing:
        return "same", ""
    if before and _series(before) != _series(found):
        return "refused", "the folder holds another number of series: a user is asked which one"
    if found["cautions"] - before.get("cautions", frozenset()):
        return "caution", ", ".join(sorted(found["cautions"]))
    edits = edited_fields(seed, content)
    if edits and edits & _listed(seed):
        return "edit", ", ".join(sorted(edits))
    return "changed", f"{', '.join(differing)}; edited: {', '.join(sorted(edits)) or 'cannot be said'}"


def _series(outcome: Outcome) -> set[str]:
    return {name.split()[0] for name in outcome if name != "cautions"}


def _listed(seed: Seed) -> frozenset[str]:
    if seed.kind in ("json", "table", "msot", "hdf5"):
        return frozenset({"value"})
    return SEMANTIC_NIFTI if _is_nifti(seed) else SEMANTIC_DICOM


def _is_nifti(seed: Seed) -> bool:
    return seed.target.endswith((".nii", ".nii.gz", ".hdr"))


def edited_fields(seed: Seed, content: bytes) -> set[str]:
    """What the damage changed, as another reader of the format sees it; empty if that cannot read it."""
    try:
        if seed.kind == "json":
            return _edited_json(seed.content, content)
        if seed.kind == "table" or (seed.kind == "msot" and not seed.target.endswith(".msot")):
            return {"value"}
        if seed.kind == "msot":
            return {"value"} if _xml(seed.content) != _xml(content) else set()
        if seed.kind == "hdf5":
            return {"value"} if _hdf5(seed.content) != _hdf5(content) else set()
        if _is_nifti(seed):
            return _edited_nifti(seed.content, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _edited_dicom(seed.content, content)
    except Exception:
        return set()


def _edited_json(before: bytes, after: bytes) -> set[str]:
    """``value`` for another document that is strict JSON, keys and values being of equal right."""
    old, new = json.loads(before), json.loads(after.decode("utf-8-sig"))
    return {"value"} if isinstance(new, dict) and new != old else set()


def _xml(content: bytes) -> list[tuple[str, tuple[tuple[str, str], ...], str]]:
    """Every element with its attributes and text."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(content)  # noqa: S314 - made here from a good file
    return [(one.tag, tuple(sorted(one.attrib.items())), (one.text or "").strip()) for one in root.iter()]


def _hdf5(content: bytes) -> dict[str, Any]:
    """Every array and attribute by its path; what cannot be read is told apart from what can."""
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, held: Any) -> None:
        try:
            found.update({f"{name}@{key}": repr(held.attrs[key]) for key in held.attrs})
            if isinstance(held, h5py.Dataset):
                found[name] = (held.shape, str(held.dtype), held[()].tobytes())
        except Exception as error:  # the library raises many types over damaged files
            found[name] = type(error).__name__

    with h5py.File(io.BytesIO(content), "r") as file:
        try:
            file.visititems(visit)
        except Exception as error:
            found["/"] = type(error).__name__
    return found


def _edited_nifti(before: bytes, after: bytes) -> set[str]:
    import nibabel

    old, new = _inflated(before), _inflated(after)
    kind = nibabel.Nifti2Header if old[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Header
    size = 540 if kind is nibabel.Nifti2Header else 348
    first = kind(old[:size], check=False)
    second = kind(new[:size], endianness=first.endianness, check=False)
    fields = {
        name
        for name in first.structarr.dtype.names
        if first.structarr[name].tobytes() != second.structarr[name].tobytes()
    }
    return fields | ({"voxels"} if old[size + 4 :] != new[size + 4 :] else set())


def _inflated(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _edited_dicom(before: bytes, after: bytes) -> set[str]:
    import pydicom

    old, new = pydicom.dcmread(io.BytesIO(before)), pydicom.dcmread(io.BytesIO(after))
    return _differing_keywords(old, new)


def _differing_keywords(old: Any, new: Any) -> set[str]:
    from pydicom.datadict import keyword_for_tag

    found: set[str] = set()
    for tag in {*old.keys(), *new.keys()}:
        name = keyword_for_tag(tag) or ("private" if tag.is_private else f"{tag}")
        try:
            if tag in old and tag in new and old.get_item(tag) == new.get_item(tag):
                continue
            found.update(_differing(old.get(tag), new.get(tag), name))
        except Exception:  # pydicom cannot make sense of the value: then it was edited
            found.add(name)
    return found


def _differing(one: Any, other: Any, name: str) -> set[str]:
    if one is None or other is None:
        return {name}
    if one.VR == "SQ" and other.VR == "SQ":
        return _differing_items(one.value, other.value, name)
    return {name} if one.VR != other.VR or one.value != other.value else set()


def _differing_items(old: Any, new: Any, name: str) -> set[str]:
    if len(old) != len(new):
        return {name}
    return set().union(*(_differing_keywords(a, b) for a, b in zip(old, new, strict=True)))
