"""The DICOM attributes that the loader reads, with their tag and value representation."""

from __future__ import annotations

from typing import NamedTuple


class Tag(NamedTuple):
    """Tag number, and the value representation that implicit files leave out."""

    number: int
    vr: bytes


TAGS: dict[str, Tag] = {
    "ImageType": Tag(0x00080008, b"CS"),
    "SOPClassUID": Tag(0x00080016, b"UI"),
    "SOPInstanceUID": Tag(0x00080018, b"UI"),
    "SeriesDate": Tag(0x00080021, b"DA"),
    "AcquisitionDate": Tag(0x00080022, b"DA"),
    "ContentDate": Tag(0x00080023, b"DA"),
    "StudyDate": Tag(0x00080020, b"DA"),
    "AcquisitionDateTime": Tag(0x0008002A, b"DT"),
    "StudyTime": Tag(0x00080030, b"TM"),
    "SeriesTime": Tag(0x00080031, b"TM"),
    "AcquisitionTime": Tag(0x00080032, b"TM"),
    "ContentTime": Tag(0x00080033, b"TM"),
    "Modality": Tag(0x00080060, b"CS"),
    "Manufacturer": Tag(0x00080070, b"LO"),
    "TimezoneOffsetFromUTC": Tag(0x00080201, b"SH"),
    "SeriesDescription": Tag(0x0008103E, b"LO"),
    "ManufacturerModelName": Tag(0x00081090, b"LO"),
    "ComplexImageComponent": Tag(0x00089208, b"CS"),
    "PatientName": Tag(0x00100010, b"PN"),
    "PatientID": Tag(0x00100020, b"LO"),
    "PatientBirthDate": Tag(0x00100030, b"DA"),
    "PatientSex": Tag(0x00100040, b"CS"),
    "PatientSize": Tag(0x00101020, b"DS"),
    "PatientWeight": Tag(0x00101030, b"DS"),
    "PatientSpeciesDescription": Tag(0x00102201, b"LO"),
    "ContrastBolusAgent": Tag(0x00180010, b"LO"),
    "ScanningSequence": Tag(0x00180020, b"CS"),
    "SequenceName": Tag(0x00180024, b"SH"),
    "SliceThickness": Tag(0x00180050, b"DS"),
    "KVP": Tag(0x00180060, b"DS"),
    "RepetitionTime": Tag(0x00180080, b"DS"),
    "EchoTime": Tag(0x00180081, b"DS"),
    "InversionTime": Tag(0x00180082, b"DS"),
    "ImagingFrequency": Tag(0x00180084, b"DS"),
    "ImagedNucleus": Tag(0x00180085, b"SH"),
    "MagneticFieldStrength": Tag(0x00180087, b"DS"),
    "SpacingBetweenSlices": Tag(0x00180088, b"DS"),
    "TriggerTime": Tag(0x00181060, b"DS"),
    "FrameTime": Tag(0x00181063, b"DS"),
    "FrameTimeVector": Tag(0x00181065, b"DS"),
    "ContrastBolusIngredient": Tag(0x00181048, b"CS"),
    "ReconstructionDiameter": Tag(0x00181100, b"DS"),
    "ScanArc": Tag(0x00181143, b"DS"),
    "XRayTubeCurrent": Tag(0x00181151, b"IS"),
    "Exposure": Tag(0x00181152, b"IS"),
    "FilterType": Tag(0x00181160, b"SH"),
    "ConvolutionKernel": Tag(0x00181210, b"SH"),
    "ActualFrameDuration": Tag(0x00181242, b"IS"),
    "FlipAngle": Tag(0x00181314, b"DS"),
    "TransducerFrequency": Tag(0x00186030, b"UL"),
    "MechanicalIndex": Tag(0x00185022, b"DS"),
    "FilterMaterial": Tag(0x00187050, b"CS"),
    "FilterThicknessMinimum": Tag(0x00187052, b"DS"),
    "FilterThicknessMaximum": Tag(0x00187054, b"DS"),
    "EchoPulseSequence": Tag(0x00189008, b"CS"),
    "DiffusionBValue": Tag(0x00189087, b"FD"),
    "DecayCorrectionDateTime": Tag(0x00189701, b"DT"),
    "DecayCorrected": Tag(0x00189758, b"CS"),
    "StudyInstanceUID": Tag(0x0020000D, b"UI"),
    "SeriesInstanceUID": Tag(0x0020000E, b"UI"),
    "SeriesNumber": Tag(0x00200011, b"IS"),
    "AcquisitionNumber": Tag(0x00200012, b"IS"),
    "InstanceNumber": Tag(0x00200013, b"IS"),
    "ImagePositionPatient": Tag(0x00200032, b"DS"),
    "ImageOrientationPatient": Tag(0x00200037, b"DS"),
    "FrameOfReferenceUID": Tag(0x00200052, b"UI"),
    "VolumeFrameOfReferenceUID": Tag(0x00209312, b"UI"),
    "TemporalPositionIdentifier": Tag(0x00200100, b"IS"),
    "TemporalResolution": Tag(0x00200110, b"DS"),
    "SamplesPerPixel": Tag(0x00280002, b"US"),
    "PhotometricInterpretation": Tag(0x00280004, b"CS"),
    "NumberOfFrames": Tag(0x00280008, b"IS"),
    "Rows": Tag(0x00280010, b"US"),
    "Columns": Tag(0x00280011, b"US"),
    "PixelSpacing": Tag(0x00280030, b"DS"),
    "CorrectedImage": Tag(0x00280051, b"CS"),
    "BitsAllocated": Tag(0x00280100, b"US"),
    "BitsStored": Tag(0x00280101, b"US"),
    "HighBit": Tag(0x00280102, b"US"),
    "PixelRepresentation": Tag(0x00280103, b"US"),
    "PixelPaddingValue": Tag(0x00280120, b"US"),
    "PixelPaddingRangeLimit": Tag(0x00280121, b"US"),
    "BurnedInAnnotation": Tag(0x00280301, b"CS"),
    "RescaleIntercept": Tag(0x00281052, b"DS"),
    "RescaleSlope": Tag(0x00281053, b"DS"),
    "RescaleType": Tag(0x00281054, b"LO"),
    "RealWorldValueMappingSequence": Tag(0x00409096, b"SQ"),
    "RadiopharmaceuticalInformationSequence": Tag(0x00540016, b"SQ"),
    "NumberOfSlices": Tag(0x00540081, b"US"),
    "NumberOfTimeSlices": Tag(0x00540101, b"US"),
    "SeriesType": Tag(0x00541000, b"CS"),
    "Units": Tag(0x00541001, b"CS"),
    "CountsSource": Tag(0x00541002, b"CS"),
    "SUVType": Tag(0x00541006, b"CS"),
    "DecayCorrection": Tag(0x00541102, b"CS"),
    "FrameReferenceTime": Tag(0x00541300, b"DS"),
    "DecayFactor": Tag(0x00541321, b"DS"),
    "DoseCalibrationFactor": Tag(0x00541322, b"DS"),
    "ImageIndex": Tag(0x00541330, b"US"),
    "DoseUnits": Tag(0x30040002, b"CS"),
    "DoseType": Tag(0x30040004, b"CS"),
    "DoseComment": Tag(0x30040006, b"LO"),
    "DoseSummationType": Tag(0x3004000A, b"CS"),
    "GridFrameOffsetVector": Tag(0x3004000C, b"DS"),
    "DoseGridScaling": Tag(0x3004000E, b"DS"),
}
"""Top-level attributes by keyword."""

WANTED: dict[int, str] = {tag.number: keyword for keyword, tag in TAGS.items()}

PRIVATE_ELEMENTS: dict[int, frozenset[int]] = {
    0x0009: frozenset({0x0D}),
    0x0019: frozenset({0x0A}),
    0x0029: frozenset({0x10}),
    0x0043: frozenset({0x2F}),
    0x2005: frozenset({0x0E}),
    0x7053: frozenset({0x00, 0x09}),
}
"""Low bytes of the private elements that are read, by group; the block comes from the private creator."""

PIXEL_DATA = 0x7FE00010
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_PIXEL_DATA = 0x7FE00009


def label(keyword: str) -> str:
    """Keyword and tag as messages quote them, for example ``PixelSpacing (0028,0030)``."""
    tag = TAGS.get(keyword)
    if tag is None:
        return keyword
    return f"{keyword} ({tag.number >> 16:04X},{tag.number & 0xFFFF:04X})"
