"""CT sidecars: what the values are said to be, the beam, and the reconstruction."""

from __future__ import annotations

from imgtheranostics.acquisition import CtAcquisition
from imgtheranostics.errors import Caution, UnitMismatch
from imgtheranostics.io.meaning import Meaning, convert_units, extra_axes, subject_of
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.sidecar import Sidecar
from imgtheranostics.units import UNITS, canonical_unit, is_hounsfield
from imgtheranostics.volume import Step

UNITS_NOT_STATED = "units-not-stated"
"""Code of the caution that a CT image's file does not say what its values are."""

_KEYS = ("Units", "RescaleType")
_CONCENTRATION = "mg/mL"
_DENSITY = UNITS[_CONCENTRATION].dimension
_MGML = "MGML"


def is_ct(sidecar: Sidecar) -> bool:
    """Whether a sidecar without Modality describes CT: its values are in HU, or it names a tube voltage."""
    return sidecar.first("KVP") is not None or is_hounsfield(sidecar.text("Units"))


def interpret_ct(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """The meaning of a CT image: HU or mg/mL where Units or RescaleType say so, else stored values.

    Raises
    ------
    UnitMismatch
        If Units and RescaleType contradict each other.
    CorruptInput
        If a number is none, or not positive.
    """
    axes, cautions = extra_axes(header, sidecar)
    acquisition = read_ct(sidecar)
    stated = {key: text for key in _KEYS if (text := sidecar.text(key))}
    kinds = {_kind(text) for text in stated.values()}
    if len(kinds) > 1:
        raise UnitMismatch(
            "Units and RescaleType contradict each other",
            where=sidecar.where("Units"),
            found=" and ".join(stated),
            needed="one statement of what the values are",
            next_step="correct one of them",
        )
    kind = kinds.pop() if kinds else "unknown"
    if kind == "attenuation":
        return Meaning(kind, "[HU]", 1.0, axes, acquisition, (), cautions)
    if kind == "concentration":
        factor, history = _to_mg_ml(stated)
        notes = (*cautions, *_material_cautions(acquisition))
        return Meaning(kind, _CONCENTRATION, factor, axes, acquisition, history, notes)
    return Meaning("stored_value", "{stored}", 1.0, axes, acquisition, (), (*cautions, _doubt(stated)))


def _kind(text: str) -> str:
    """What a unit or rescale type says that the values are."""
    if is_hounsfield(text):
        return "attenuation"
    if text.upper() == _MGML:
        return "concentration"
    try:
        return "concentration" if UNITS[canonical_unit(text)].dimension == _DENSITY else "other"
    except UnitMismatch:
        return "other"


def _to_mg_ml(stated: dict[str, str]) -> tuple[float, tuple[Step, ...]]:
    unit = next((text for text in stated.values() if text.upper() != _MGML), _CONCENTRATION)
    return convert_units(unit, _CONCENTRATION, "Units")


def _doubt(stated: dict[str, str]) -> Caution:
    if stated:
        key = next(iter(stated))
        return Caution("not-hounsfield", "the values are stated to be something other than HU", key)
    text = "the sidecar does not say what the values are: they are taken for stored values, not for HU"
    return Caution(UNITS_NOT_STATED, text, "Units")


def _material_cautions(record: CtAcquisition) -> tuple[Caution, ...]:
    if record.contrast_material is not None:
        return ()
    text = "a mass concentration whose material the file does not state: state it wherever it is used"
    return (Caution("material-not-stated", text, "ContrastBolusIngredient"),)


def read_ct(sidecar: Sidecar) -> CtAcquisition:
    """The CT record of a sidecar.

    Raises
    ------
    CorruptInput
        If a number is none, or not positive where it must be.
    """
    materials = sidecar.texts("FilterMaterial")
    return CtAcquisition(
        manufacturer=sidecar.text("Manufacturer"),
        model=sidecar.text("ManufacturersModelName"),
        tube_voltage_kv=sidecar.positive("KVP", "XRayTubeVoltage", "TubeVoltage"),
        tube_current_ma=sidecar.number("XRayTubeCurrent", "TubeCurrent"),
        exposure_mas=sidecar.number("XRayExposure", "Exposure"),
        filtration=sidecar.text("FilterType"),
        filter_material="\\".join(materials) or None,
        filter_thickness_mm=_filter_thickness(sidecar),
        kernel=sidecar.text("ConvolutionKernel"),
        slice_thickness_mm=sidecar.positive("SliceThickness"),
        rescale_type=sidecar.text(*_KEYS),
        contrast_agent=sidecar.text("ContrastBolusAgent"),
        contrast_material=sidecar.text("ContrastBolusIngredient"),
        reconstruction_diameter_mm=sidecar.positive("ReconstructionDiameter"),
        subject=subject_of(sidecar),
    )


def _filter_thickness(sidecar: Sidecar) -> float | None:
    """Thickness of all filters in mm; a list holds one per material."""
    parts = sidecar.all_numbers("FilterThickness") or []
    total = float(sum(parts))
    return total if total > 0 else None
