"""One image plane: where it lies, what tells it apart from others, and how its stored values scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from imgtheranostics.errors import CorruptInput, MissingMetadata
from imgtheranostics.io.dicom.clocks import acquisition_us
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.sop_classes import ENHANCED_CLASSES
from imgtheranostics.io.dicom.values import is_finite

Vector = tuple[float, ...]

MILLISECOND_PARAMETERS = {
    "echo_time": "EchoTime",
    "inversion_time": "InversionTime",
    "repetition_time": "RepetitionTime",
}

COMPONENTS = {
    "M": "magnitude",
    "MAGNITUDE": "magnitude",
    "P": "phase",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "R": "real",
    "REAL": "real",
    "I": "imaginary",
    "IMAGINARY": "imaginary",
}


@dataclass(slots=True)
class Frame:
    """One plane of one file.

    Attributes
    ----------
    header : Header
    index : int
        Frame within the file, from 0.
    position, orientation : tuple of float or None
        ImagePositionPatient (LPS mm) and ImageOrientationPatient (row, column cosines).
    spacing : tuple of float or None
        Distance between rows and between columns, mm.
    parameters : dict
        What may tell images at one position apart, in s, degrees, nm, kV.
    kind : tuple
        What separates images of one series into groups that are never merged.
    acquisition_us : int or None
        Start of acquisition on the file's clock.
    order : tuple of float
        Position in time as far as the file states it without clocks.
    tile : tuple of int or None
        Offset of a mosaic tile (row, column) and its size (rows, columns).
    slope, intercept : float or None
        Set where a functional group gives them per frame; otherwise the header's.
    details : dict
        Per-frame values for the acquisition record.
    window : tuple of (float, float)
        Ranges of the energy window of a gamma camera, keV; frames of different windows are not merged.
    """

    header: Header
    index: int = 0
    position: Vector | None = None
    orientation: Vector | None = None
    spacing: Vector | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    kind: tuple[object, ...] = ()
    acquisition_us: int | None = None
    order: Vector = ()
    tile: tuple[int, int, int, int] | None = None
    scale: tuple[float, float] | None = None
    details: dict[str, object] = field(default_factory=dict)
    window: tuple[tuple[float, float], ...] = ()

    @property
    def rows(self) -> int:
        """Rows of this plane."""
        return self.tile[2] if self.tile else self.header.required_integer("Rows")

    @property
    def columns(self) -> int:
        """Columns of this plane."""
        return self.tile[3] if self.tile else self.header.required_integer("Columns")


def is_enhanced(header: Header) -> bool:
    """Whether functional groups describe the frames."""
    return header.text("SOPClassUID") in ENHANCED_CLASSES


def classic_frame(header: Header, modality: str) -> Frame:
    """The plane of a file with one image and its geometry at the top level.

    Raises
    ------
    MissingMetadata
        If position, orientation or pixel spacing is absent.
    CorruptInput
        If they are malformed.
    """
    frame = Frame(
        header,
        position=vector(header, "ImagePositionPatient", 3),
        orientation=vector(header, "ImageOrientationPatient", 6),
        spacing=vector(header, "PixelSpacing", 2),
        acquisition_us=acquisition_us(header, strict=modality == "PT"),
    )
    if modality == "MR":
        _describe_mr(frame)
    elif modality == "PT":
        _describe_pet(frame)
    elif modality == "CT":
        _describe_ct(frame)
    return frame


def vector(header: Header, keyword: str, length: int) -> Vector:
    """The finite numbers of a geometry attribute."""
    values = header.numbers(keyword)
    if not values:
        raise MissingMetadata("the image geometry is incomplete", where=header.where(keyword))
    check_vector(values, length, header, keyword)
    return values


def check_vector(values: Vector, length: int, header: Header, keyword: str) -> None:
    """Refuse what is not that many finite numbers, spacings that are not positive, cosines that are none."""
    if len(values) != length or not is_finite(values):
        raise CorruptInput(
            "the image geometry is malformed",
            where=header.where(keyword),
            found=f"{len(values)} values" if len(values) != length else "values that are not finite",
            needed=f"{length} finite numbers",
        )
    if length == 2 and min(values) <= 0:
        raise CorruptInput(
            "the pixel spacing is not positive", where=header.where(keyword), found=str(values)
        )
    if length == 6 and not _are_cosines(values):
        raise CorruptInput(
            "row and column directions are not perpendicular unit vectors",
            where=header.where(keyword),
            found=str(values),
        )


@lru_cache(maxsize=4096)
def _are_cosines(values: Vector) -> bool:
    row, column = values[:3], values[3:]
    norms = sum(v * v for v in row), sum(v * v for v in column)
    dot = sum(a * b for a, b in zip(row, column, strict=True))
    return all(abs(n - 1.0) < 2e-2 for n in norms) and abs(dot) < 1e-2


def _describe_mr(frame: Frame) -> None:
    header = frame.header
    for name, keyword in MILLISECOND_PARAMETERS.items():
        value = header.number(keyword)
        if value is not None:
            frame.parameters[name] = value / 1000.0
    angle = header.number("FlipAngle")
    if angle is not None:
        frame.parameters["flip_angle"] = angle
    kinds = header.strings("ImageType")
    frame.details["component"] = mr_component(kinds, header)
    frame.kind = (kinds, frame.details["component"], header.number("DiffusionBValue"))
    position = header.number("TemporalPositionIdentifier")
    trigger = header.number("TriggerTime")
    number = header.number("AcquisitionNumber")
    frame.order = tuple(-1.0 if v is None else v for v in (position, trigger, number))


def mr_component(kinds: tuple[str, ...], header: Header) -> str | None:
    """Magnitude, phase, real or imaginary, from the several places where vendors put it; else None."""
    explicit = header.text("ComplexImageComponent")
    if explicit in COMPONENTS:
        return COMPONENTS[explicit]
    ge = header.private_number("GEMS_PARM_01", 0x0043, 0x2F, b"SS")
    if ge is not None:
        return {0: "magnitude", 1: "phase", 2: "real", 3: "imaginary"}.get(int(ge))
    for kind in kinds[2:]:
        word = kind.split("_")[0] if kind.endswith(("_SE", "_IR", "_FFE", "_MDME")) else kind
        if word in COMPONENTS:
            return COMPONENTS[word]
    return None


def _describe_pet(frame: Frame) -> None:
    header = frame.header
    reference, duration = header.number("FrameReferenceTime"), header.number("ActualFrameDuration")
    frame.details = {
        "frame_reference_time_s": None if reference is None else reference / 1000.0,
        "frame_duration_s": None if duration is None else duration / 1000.0,
        "decay_factor": header.number("DecayFactor"),
        "trigger_time_s": header.number("TriggerTime"),
    }
    frame.kind = tuple(header.text(keyword) for keyword in ("Units", "DecayCorrection", "SUVType"))
    index = header.number("ImageIndex")
    frame.order = (-1.0 if index is None else index,)


def _describe_ct(frame: Frame) -> None:
    header = frame.header
    kvp = header.number("KVP")
    if kvp is not None and kvp > 0:  # 0 stands for unknown
        frame.parameters["energy"] = kvp
    frame.kind = header.strings("ImageType")[2:3]
    position = header.number("TemporalPositionIdentifier")
    frame.order = (-1.0 if position is None else position,)
