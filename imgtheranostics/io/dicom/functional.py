"""Enhanced multi-frame objects: every frame described by shared and per-frame functional groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from imgtheranostics.errors import CorruptInput, MissingMetadata
from imgtheranostics.io.dicom.clocks import acquisition_us, microseconds, utc_offset, with_zone
from imgtheranostics.io.dicom.frames import COMPONENTS, Frame, Vector, check_vector, mr_component
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.photoacoustic import describe_photoacoustic
from imgtheranostics.io.dicom.real_world import foreign_unit, read_real_world
from imgtheranostics.io.dicom.scaling import PHILIPS_MR
from imgtheranostics.io.dicom.values import parse_datetime

_PIXEL_KEYWORD = "PerFrameFunctionalGroupsSequence"
_PHILIPS_GROUPS = "Philips MR Imaging DD 005"


class Groups:
    """The functional groups of one frame; a per-frame value overrules a shared one."""

    def __init__(self, shared: Any, own: Any, header: Header) -> None:
        self.shared = shared
        self.own = own
        self.header = header

    def macro(self, *keywords: str) -> Any:
        """The first item of the first macro that is there, or None."""
        for keyword in keywords:
            for source in (self.own, self.shared):
                items = None if source is None else source.get(keyword)
                if items:
                    return items[0]
        return None

    def items(self, keyword: str) -> list[Any]:
        """All items of a macro."""
        for source in (self.own, self.shared):
            items = None if source is None else source.get(keyword)
            if items:
                return list(items)
        return []

    def numbers(self, macros: Sequence[str], keyword: str) -> Vector:
        """The numbers of an attribute of a macro; empty when it is absent."""
        item = self.macro(*macros)
        if item is None:
            return ()
        value = item.get(keyword)
        if value is None or value == "":
            return ()
        try:
            listed = [value] if isinstance(value, (str, int, float)) else list(value)
            return tuple(float(v) for v in listed)
        except (TypeError, ValueError):
            raise CorruptInput(
                "an attribute that must hold numbers does not", where=f"{self.header.path}: {keyword}"
            ) from None

    def number(self, macros: Sequence[str], keyword: str) -> float | None:
        """The one finite number of an attribute of a macro, or None."""
        values = self.numbers(macros, keyword)
        if not values:
            return None
        if len(values) > 1 or not math.isfinite(values[0]):
            raise CorruptInput(
                "an attribute that must hold one finite number does not",
                where=f"{self.header.path}: {keyword}",
            )
        return values[0]

    def text(self, macros: Sequence[str], keyword: str) -> str | None:
        """A text of a macro, or None."""
        item = self.macro(*macros)
        value = None if item is None else item.get(keyword)
        return (str(value).strip() or None) if value is not None else None


def enhanced_frames(header: Header, modality: str) -> list[Frame]:
    """All frames of an enhanced or legacy-converted object.

    Raises
    ------
    MissingMetadata
        If a frame has no position, orientation or pixel spacing.
    CorruptInput
        If the groups do not fit the number of frames.
    """
    count = header.integer("NumberOfFrames") or 1
    per_frame = header.sequence(_PIXEL_KEYWORD)
    shared_items = header.sequence("SharedFunctionalGroupsSequence")
    if len(per_frame) != count:
        raise CorruptInput(
            "the functional groups do not describe every frame",
            where=f"{header.path}: {_PIXEL_KEYWORD} (5200,9230)",
            found=f"{len(per_frame)} groups",
            needed=f"{count}, as NumberOfFrames (0028,0008) says",
        )
    shared = shared_items[0] if shared_items else None
    file_start = acquisition_us(header)
    dimensions = _dimensions(header)
    return [
        _frame(Groups(shared, own, header), index, modality, file_start, dimensions)
        for index, own in enumerate(per_frame)
    ]


def _dimensions(header: Header) -> tuple[int, ...]:
    """Tags that DimensionIndexValues count, in their order."""
    tags = []
    for item in header.sequence("DimensionIndexSequence"):
        pointer = item.get("DimensionIndexPointer")
        tags.append(int(pointer) if pointer is not None else 0)
    return tuple(tags)


def _frame(
    groups: Groups, index: int, modality: str, file_start: int | None, dimensions: tuple[int, ...]
) -> Frame:
    header = groups.header
    frame = Frame(
        header,
        index=index,
        position=_vector(groups, _POSITION, 3),
        orientation=_vector(groups, _ORIENTATION, 6),
        spacing=_vector(groups, _SPACING, 2),
        acquisition_us=_frame_start(groups, file_start),
        scale=_rescale(groups, modality),
    )
    thickness = groups.number(["PixelMeasuresSequence"], "SliceThickness")
    frame.details["slice_thickness_mm"] = thickness
    mappings = groups.items("RealWorldValueMappingSequence")
    if mappings:
        frame.details["real_world"] = read_real_world(mappings, header, modality)
        frame.details["real_world_unit"] = foreign_unit(mappings) if modality == "CT" else None
    if modality == "MR":
        frame.details["philips_scale_slope"] = _philips_scale_slope(groups)
    frame.order = _temporal_order(groups, dimensions)
    if modality == "PA":
        describe_photoacoustic(frame, groups, dimensions)
        return frame
    describe = {"MR": _describe_mr, "CT": _describe_ct, "PT": _describe_pet}[modality]
    describe(frame, groups)
    return frame


_POSITION = (
    (("PlanePositionSequence", "UnassignedPerFrameConvertedAttributesSequence"), "ImagePositionPatient"),
    (("PlanePositionVolumeSequence",), "ImagePositionVolume"),
)
_ORIENTATION = (
    (("PlaneOrientationSequence", "UnassignedSharedConvertedAttributesSequence"), "ImageOrientationPatient"),
    (("PlaneOrientationVolumeSequence",), "ImageOrientationVolume"),
)
_SPACING = ((("PixelMeasuresSequence",), "PixelSpacing"),)


def _vector(groups: Groups, places: Sequence[tuple[Sequence[str], str]], length: int) -> Vector:
    for macros, keyword in places:
        values = groups.numbers(macros, keyword)
        if values:
            check_vector(values, length, groups.header, keyword)
            return values
    raise MissingMetadata(
        "a frame does not say where it lies",
        where=f"{groups.header.path}: {places[0][1]} of the functional groups",
    )


def _rescale(groups: Groups, modality: str) -> tuple[float, float] | None:
    slope = groups.number(["PixelValueTransformationSequence"], "RescaleSlope")
    if slope is None:
        return None
    intercept = groups.number(["PixelValueTransformationSequence"], "RescaleIntercept")
    if intercept is None and modality == "CT":
        raise MissingMetadata(
            "a frame has no rescale intercept; its HU scale is unknown",
            where=f"{groups.header.path}: RescaleIntercept (0028,1052) of the functional groups",
        )
    return slope, intercept or 0.0


def _philips_scale_slope(groups: Groups) -> float | None:
    """The scale slope (2005,100E) of a frame, which Philips keeps in a private sequence of its group."""
    for source in (groups.own, groups.shared):
        if not hasattr(source, "private_block"):
            continue
        try:
            outer = source.private_block(0x2005, _PHILIPS_GROUPS)[0x0F].value
            value = outer[0].private_block(0x2005, PHILIPS_MR)[0x0E].value
            return float(value)
        except (KeyError, IndexError, AttributeError, TypeError):
            continue
        except ValueError:
            raise CorruptInput(
                "a private attribute that must hold a number does not",
                where=f"{groups.header.path}: (2005,100E) of a frame",
            ) from None
    return None


def _frame_start(groups: Groups, file_start: int | None) -> int | None:
    moment = _moment(groups, ["FrameContentSequence"], "FrameAcquisitionDateTime")
    return file_start if moment is None else microseconds(moment)


def _moment(groups: Groups, macros: Sequence[str], keyword: str) -> datetime | None:
    text = groups.text(macros, keyword)
    if text is None:
        return None
    try:
        moment = parse_datetime(text)
    except ValueError:
        raise CorruptInput("a date or time is malformed", where=f"{groups.header.path}: {keyword}") from None
    zoned = with_zone(moment, utc_offset(groups.header))
    return None if zoned is None else zoned.replace(tzinfo=None)


_TEMPORAL_POINTERS = frozenset({0x00209128, 0x0020930D, 0x00209153, 0x00189074})


def _temporal_order(groups: Groups, dimensions: tuple[int, ...]) -> Vector:
    """Place in time: the temporal position, else the dimension index that counts one."""
    content = ["FrameContentSequence"]
    position = groups.number(content, "TemporalPositionIndex")
    offset = groups.number(["TemporalPositionSequence"], "TemporalPositionTimeOffset")
    counted = groups.numbers(content, "DimensionIndexValues")
    indexed = [value for tag, value in zip(dimensions, counted, strict=False) if tag in _TEMPORAL_POINTERS]
    keys = (position, offset, indexed[0] if indexed else None)
    return tuple(-1.0 if key is None else key for key in keys)


def _seconds(value: float | None) -> float | None:
    return None if value is None else value / 1000.0


def _describe_mr(frame: Frame, groups: Groups) -> None:
    legacy = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
    inversion = groups.numbers(["MRModifierSequence"], "InversionTimes")
    values = {
        "echo_time": _seconds(
            groups.number(["MREchoSequence"], "EffectiveEchoTime") or groups.number(legacy, "EchoTime")
        ),
        "inversion_time": _seconds(
            inversion[0] if len(inversion) == 1 else groups.number(legacy, "InversionTime")
        ),
        "repetition_time": _seconds(
            groups.number(["MRTimingAndRelatedParametersSequence", *legacy], "RepetitionTime")
        ),
        "flip_angle": groups.number(["MRTimingAndRelatedParametersSequence", *legacy], "FlipAngle"),
    }
    frame.parameters = {name: value for name, value in values.items() if value is not None}
    kinds = _frame_type(groups, "MRImageFrameTypeSequence")
    stated = groups.text(["MRImageFrameTypeSequence"], "ComplexImageComponent")
    component = COMPONENTS.get(stated or "") or mr_component(kinds, frame.header)
    frame.details["component"] = component
    b_value = groups.number(["MRDiffusionSequence"], "DiffusionBValue")
    frame.kind = (kinds, component, b_value)


def _frame_type(groups: Groups, macro: str) -> tuple[str, ...]:
    item = groups.macro(macro)
    value = None if item is None else item.get("FrameType")
    if value is None:
        return groups.header.strings("ImageType")
    return (str(value),) if isinstance(value, str) else tuple(str(v) for v in value)


def _describe_ct(frame: Frame, groups: Groups) -> None:
    legacy = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
    beam = ("CTXRayDetailsSequence", *legacy)
    reconstruction = ("CTReconstructionSequence", *legacy)
    energy = groups.number(beam, "KVP")
    if energy is not None and energy > 0:
        frame.parameters["energy"] = energy
    frame.details["rescale_type"] = groups.text(["PixelValueTransformationSequence"], "RescaleType")
    frame.details["ct_settings"] = {
        "filtration": groups.text(beam, "FilterType"),
        "filter_material": groups.text(beam, "FilterMaterial"),
        "kernel": groups.text(reconstruction, "ConvolutionKernel"),
        "slice_thickness_mm": frame.details["slice_thickness_mm"],
        "reconstruction_diameter_mm": groups.number(reconstruction, "ReconstructionDiameter"),
        **_contrast(groups.header),
    }
    frame.kind = _frame_type(groups, "CTImageFrameTypeSequence")[2:3]


def _contrast(header: Header) -> dict[str, str | None]:
    """Agent and its ingredient by the meaning of their codes."""
    agents = header.sequence("ContrastBolusAgentSequence")
    if not agents:
        return {"contrast_agent": None, "contrast_material": None}
    ingredients = agents[0].get("ContrastBolusIngredientCodeSequence") or []
    material = str(ingredients[0].get("CodeMeaning", "")).strip() if len(ingredients) else ""
    agent = str(agents[0].get("CodeMeaning", "")).strip()
    return {"contrast_agent": agent or None, "contrast_material": material or None}


def _describe_pet(frame: Frame, groups: Groups) -> None:
    content = ["FrameContentSequence"]
    legacy = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
    duration = groups.number(content, "FrameAcquisitionDuration") or groups.number(
        legacy, "ActualFrameDuration"
    )
    frame.details.update(
        {
            "frame_duration_s": _seconds(duration),
            "frame_reference_time_s": _seconds(groups.number(legacy, "FrameReferenceTime")),
            "decay_factor": groups.number(["PETFrameCorrectionFactorsSequence"], "DecayFactor")
            or groups.number(legacy, "DecayFactor"),
        }
    )
    reference = _moment(groups, content, "FrameReferenceDateTime")
    if reference is not None:
        frame.details["frame_reference_us"] = microseconds(reference)
