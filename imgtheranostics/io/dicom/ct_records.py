"""Headers of CT images to their acquisition record, and whether their values are Hounsfield units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from imgtheranostics.acquisition import FILTERS_OF_ENERGIES, CtAcquisition
from imgtheranostics.errors import Caution, CorruptInput, UnitMismatch
from imgtheranostics.io.dicom.emission import subject_of
from imgtheranostics.io.dicom.frames import Frame, is_enhanced
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.real_world import foreign_unit
from imgtheranostics.io.dicom.records import first_start
from imgtheranostics.io.dicom.scaling import Scaling
from imgtheranostics.io.free_text import harmless_text
from imgtheranostics.units import is_hounsfield
from imgtheranostics.volume import Axis

MASS_CONCENTRATION = "MGML"
_RESCALE_TYPE = "RescaleType (0028,1054)"
_MAPPING = "RealWorldValueMappingSequence (0040,9096)"

Parts = dict[str, str | float | None]


def ct_acquisition(frames: Sequence[Frame], axes: Sequence[Axis] = ()) -> CtAcquisition:
    """The CT record; a setting that varies within the series is None.

    Filters that differ between the energies of an axis are kept one by one. The tube voltage of a virtual
    monoenergetic image says nothing of its attenuation and is None too.
    """
    header = frames[0].header
    energies = {frame.parameters.get("energy") for frame in frames}
    if _is_monoenergetic(frames):
        energies = {None}
    record = CtAcquisition(
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        tube_voltage_kv=energies.pop() if len(energies) == 1 else None,
        tube_current_ma=header.soft_number("XRayTubeCurrent"),
        exposure_mas=header.soft_number("Exposure"),
        rescale_type=_rescale_types(frames)[0],
        acquisition_datetime=first_start(frames),
        subject=subject_of(header),
    )
    return replace(record, **_common(frames), **_filters(frames, axes))  # type: ignore[arg-type]


def _common(frames: Sequence[Frame]) -> Parts:
    """The settings that all frames share; None for the others."""
    settings = [_settings(frame) for frame in _distinct(frames)]
    return {
        name: value if all(one[name] == value for one in settings) else None
        for name, value in settings[0].items()
    }


def _filters(frames: Sequence[Frame], axes: Sequence[Axis]) -> dict[str, tuple[str | float | None, ...]]:
    """Filters of each energy of an axis, where they differ."""
    energies = next((axis.values for axis in axes if axis.name == "energy"), ())
    if not len(energies) or len(axes) > 1:
        return {}
    each = [_common([frame for frame in frames if frame.parameters.get("energy") == one]) for one in energies]
    listed = {many: tuple(parts[one] for parts in each) for one, many in FILTERS_OF_ENERGIES.items()}
    return {many: values for many, values in listed.items() if len(set(values)) > 1}


def _distinct(frames: Sequence[Frame]) -> Iterator[Frame]:
    """One frame for each set of elements that settings are read from."""
    seen: set[tuple[object, ...]] = set()
    for frame in frames:
        stated = frame.details.get("ct_settings")
        key: tuple[object, ...] = (
            tuple(stated.items())
            if isinstance(stated, dict)
            else tuple(frame.header.elements.get(keyword) for keyword in _KEYWORDS)
        )
        if key not in seen:
            seen.add(key)
            yield frame


_KEYWORDS = (
    "FilterType",
    "FilterMaterial",
    "FilterThicknessMinimum",
    "FilterThicknessMaximum",
    "ConvolutionKernel",
    "SliceThickness",
    "ContrastBolusAgent",
    "ContrastBolusIngredient",
    "ReconstructionDiameter",
)


def _settings(frame: Frame) -> Parts:
    """What describes beam and reconstruction; the functional groups of an enhanced object come first."""
    header = frame.header
    found: Parts = {
        "filtration": header.text("FilterType"),
        "filter_material": "\\".join(header.strings("FilterMaterial")) or None,
        "filter_thickness_mm": _filter_thickness(header),
        "kernel": header.text("ConvolutionKernel"),
        "slice_thickness_mm": _positive(header.soft_number("SliceThickness")),
        "contrast_agent": header.text("ContrastBolusAgent"),
        "contrast_material": "\\".join(header.strings("ContrastBolusIngredient")) or None,
        "reconstruction_diameter_mm": _positive(header.soft_number("ReconstructionDiameter")),
    }
    stated = frame.details.get("ct_settings")
    if isinstance(stated, dict):
        found |= {name: value for name, value in stated.items() if value is not None}
    return found


def _filter_thickness(header: Header) -> float | None:
    """Thickness of all filters in the middle of the beam, in mm, where a bow-tie filter is thinnest."""
    try:
        parts = header.numbers("FilterThicknessMinimum") or header.numbers("FilterThicknessMaximum")
    except CorruptInput:
        return None
    return _positive(sum(parts)) if parts else None


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _is_monoenergetic(frames: Sequence[Frame]) -> bool:
    kinds = frames[0].header.strings("ImageType")[2:]
    return any(kind.startswith("VMI") or "MONO" in kind for kind in kinds)


def _rescale_types(frames: Sequence[Frame]) -> tuple[str | None, ...]:
    """The different RescaleTypes of a series, in first-seen order."""
    found: dict[str | None, None] = {}
    for frame in frames:
        stated = frame.details.get("rescale_type")
        found[str(stated) if stated else frame.header.text("RescaleType")] = None
    return tuple(found)


def ct_quantity(
    frames: Sequence[Frame], scaling: Scaling, record: CtAcquisition, axes: Sequence[Axis] = ()
) -> tuple[str, str, list[Caution]]:
    """Quantity and unit: HU where the file says so, or where it is a plain CT image that says nothing.

    Raises
    ------
    UnitMismatch
        If the images of the series state different rescale types.
    """
    cautions = [*_energy_cautions(frames), *_voltage_cautions(frames, axes)]
    if scaling.quantity:
        return scaling.quantity, scaling.unit, [*cautions, *_material_cautions(scaling.quantity, record)]
    kinds = _rescale_types(frames)
    if len(kinds) > 1:
        raise UnitMismatch(
            "the images of one series state different rescale types",
            where=f"{frames[0].header.path.parent}: {_RESCALE_TYPE}",
            found=", ".join(_named(kind) for kind in kinds),
            needed="one type for all images",
            next_step="load the images of each type on their own",
        )
    why = _no_attenuation(frames, kinds[0])
    if why is not None:
        return "signal", "[arb'U]", [why]
    if kinds[0] is None or is_hounsfield(kinds[0]):
        return "attenuation", "[HU]", cautions
    return "concentration", "mg/mL", [*cautions, *_material_cautions("concentration", record)]


def _no_attenuation(frames: Sequence[Frame], kind: str | None) -> Caution | None:
    """Why the values are neither HU nor a mass concentration; None if they are one of them."""
    header = frames[0].header
    if "LOCALIZER" in header.strings("ImageType"):
        return _not_hu("a localizer is a projection, not attenuation", "ImageType (0008,0008)")
    foreign = _foreign_unit(frames)
    if foreign is not None:
        return _not_hu(f"a real-world value mapping states the unit {foreign}", _MAPPING)
    if kind is None and is_enhanced(header):
        return _not_hu("an enhanced CT image without a rescale type does not say what they are")
    if kind is None or is_hounsfield(kind) or kind.upper() == MASS_CONCENTRATION:
        return None
    return _not_hu(f"the rescale type is {_named(kind)}, not HU")


def _foreign_unit(frames: Sequence[Frame]) -> str | None:
    seen: set[Any] = set()
    for frame in frames:
        stated = frame.details.get("real_world_unit")
        if isinstance(stated, str):
            return harmless_text("unit", stated) or "of another quantity"
        element = frame.header.elements.get("RealWorldValueMappingSequence")
        if element is None or element in seen or is_enhanced(frame.header):
            continue
        seen.add(element)
        unit = foreign_unit(frame.header.sequence("RealWorldValueMappingSequence"))
        if unit is not None:
            return harmless_text("unit", unit) or "of another quantity"
    return None


def _named(kind: str | None) -> str:
    """A rescale type as messages name it; what looks like free text is not quoted."""
    return "none" if kind is None else harmless_text("rescale_type", kind) or "one that is not known"


def _not_hu(why: str, where: str = _RESCALE_TYPE) -> Caution:
    return Caution("not-hounsfield", f"values are not Hounsfield units: {why}", where)


def _energy_cautions(frames: Sequence[Frame]) -> list[Caution]:
    if not _is_monoenergetic(frames):
        return []
    text = "a virtual monoenergetic image: the tube voltage is not its energy and is left out"
    return [Caution("monoenergetic-image", text, "ImageType (0008,0008)")]


def _voltage_cautions(frames: Sequence[Frame], axes: Sequence[Axis]) -> list[Caution]:
    """A caution where slices of one image were made at different tube voltages."""
    found = {frame.parameters.get("energy") for frame in frames}
    if len(found) < 2 or any(axis.name == "energy" for axis in axes) or _is_monoenergetic(frames):
        return []
    words = ", ".join("not stated" if one is None else f"{one:g}" for one in sorted(found, key=_known_first))
    text = (
        f"the tube voltage differs between the slices of one image ({words} kV), and HU per mg/mL with it: "
        "no one slope holds for all of them"
    )
    return [Caution("voltage-varies", text, "KVP (0018,0060)")]


def _known_first(value: float | None) -> float:
    return float("inf") if value is None else float(value)


def _material_cautions(quantity: str, record: CtAcquisition) -> list[Caution]:
    if quantity != "concentration" or record.contrast_material is not None:
        return []
    text = "a mass concentration whose material the file does not state: state it wherever it is used"
    return [Caution("material-not-stated", text, "ContrastBolusIngredient (0018,1048)")]
