"""Real-world value mappings (0040,9096): what they state that stored values are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.plane_scale import REQUIRED, Notes, Scale

_REAL_WORLD_QUANTITIES: dict[str, tuple[str, str, float]] = {
    "bq/ml": ("activity_concentration", "Bq/mL", 1.0),
    "kbq/ml": ("activity_concentration", "Bq/mL", 1e3),
    "mbq/ml": ("activity_concentration", "Bq/mL", 1e6),
    "bq/cm3": ("activity_concentration", "Bq/mL", 1.0),
    "kbq/cm3": ("activity_concentration", "Bq/mL", 1e3),
    "mbq/cm3": ("activity_concentration", "Bq/mL", 1e6),
    "[hnsf'u]": ("attenuation", "[HU]", 1.0),
    "hu": ("attenuation", "[HU]", 1.0),
    "{counts}": ("counts", "{counts}", 1.0),
    "{counts}/s": ("count_rate", "{counts}/s", 1.0),
    "mg/ml": ("concentration", "mg/mL", 1.0),
    "mg/cm3": ("concentration", "mg/mL", 1.0),
    "mmol/l": ("gd_concentration", "mmol/L", 1.0),
    "{suvbw}g/ml": ("suv_bw", "g/mL", 1.0),
    "g/ml{suvbw}": ("suv_bw", "g/mL", 1.0),
    "{suvlbm}g/ml": ("suv_lbm_james120", "g/mL", 1.0),
    "g/ml{suvlbm}": ("suv_lbm_james120", "g/mL", 1.0),
    "{suvlbm(james128)}g/ml": ("suv_lbm_james128", "g/mL", 1.0),
    "{suvlbm(janma)}g/ml": ("suv_lbm_janmahasatian", "g/mL", 1.0),
    "{suvbsa}cm2/ml": ("suv_bsa", "cm2/mL", 1.0),
    "cm2/ml{suvbsa}": ("suv_bsa", "cm2/mL", 1.0),
    "{suvibw}g/ml": ("suv_ibw", "g/mL", 1.0),
    "g/ml{suvibw}": ("suv_ibw", "g/mL", 1.0),
}
_OPTICAL_QUANTITIES: dict[str, tuple[str, str, float]] = {
    "/cm": ("optical_absorption", "1/cm", 1.0),
    "1/cm": ("optical_absorption", "1/cm", 1.0),
    "cm-1": ("optical_absorption", "1/cm", 1.0),
    "/mm": ("optical_absorption", "1/cm", 10.0),
    "1/mm": ("optical_absorption", "1/cm", 10.0),
    "mm-1": ("optical_absorption", "1/cm", 10.0),
}
"""Units that mean absorption of light in photoacoustic images, and something else elsewhere."""
_DIMENSIONLESS = frozenset({"1", "", "no units", "{unitless}", "us", "[arb'u]"})


def real_world_scale(items: list[Any], header: Header, modality: str, notes: Notes) -> Scale | None:
    """The real-world value mapping that states a unit of the table, else None; of CT the one in HU if any."""
    chosen: Scale | None = None
    unknown: str | None = None
    where = header.where("RealWorldValueMappingSequence")
    known = _REAL_WORLD_QUANTITIES | (_OPTICAL_QUANTITIES if modality == "PA" else {})
    for item in items:
        unit = _ucum(item)
        if unit.startswith("mBq"):  # UCUM tells milli from mega by the case alone
            unknown = unit
            continue
        if unit.lower() in _DIMENSIONLESS and modality not in REQUIRED:
            quantity, target, factor = "", "", 1.0
        elif unit.lower() in known:
            quantity, target, factor = known[unit.lower()]
        else:
            unknown = unit
            continue
        scale = _mapping(item, quantity, target, factor, where)
        if chosen is None or (quantity and not chosen.quantity) or _preferred(quantity, modality, chosen):
            chosen = scale
    if chosen is None and unknown is not None:
        notes.add(
            "real-world-unit-not-used",
            "a real-world value mapping is in a unit that is not known here; the rescale slope is used",
            where,
        )
    return chosen


def _preferred(quantity: str, modality: str, chosen: Scale) -> bool:
    wanted = {"CT": "attenuation", "NM": "activity_concentration", "PT": "activity_concentration"}.get(
        modality
    )
    return quantity == wanted and chosen.quantity != wanted


def foreign_unit(items: Sequence[Any]) -> str | None:
    """The unit that overrides a CT image being one: that of mappings none of which is in a known unit."""
    units = [_ucum(item) for item in items]
    if not units or any(unit.lower() in _REAL_WORLD_QUANTITIES for unit in units):
        return None
    return units[0] or "none"


def read_real_world(items: Sequence[Any], header: Header, modality: str) -> Scale | None:
    """The mapping of a functional group; None when it states no unit of the table."""
    return real_world_scale(list(items), header, modality, Notes())


def _ucum(item: Any) -> str:
    codes = item.get("MeasurementUnitsCodeSequence")
    return str(codes[0].get("CodeValue", "") or "") if codes else ""


def _mapping(item: Any, quantity: str, unit: str, factor: float, where: str) -> Scale:
    slope, intercept = item.get("RealWorldValueSlope"), item.get("RealWorldValueIntercept")
    if slope is None or intercept is None:
        raise UnsupportedInput(
            "a real-world value mapping by lookup table is not handled",
            where=where,
            needed="slope, intercept",
        )
    try:
        numbers = float(slope) * factor, float(intercept) * factor
    except (TypeError, ValueError):
        numbers = math.nan, math.nan
    if not all(math.isfinite(v) for v in numbers) or numbers[0] == 0:
        raise CorruptInput("the real-world value mapping is not a scale", where=where)
    first = item.get("RealWorldValueFirstValueMapped", item.get("DoubleFloatRealWorldValueFirstValueMapped"))
    last = item.get("RealWorldValueLastValueMapped", item.get("DoubleFloatRealWorldValueLastValueMapped"))
    mapped = None
    if isinstance(first, (int, float)) and isinstance(last, (int, float)) and first < last:
        mapped = (float(first), float(last))
    return Scale(numbers[0], numbers[1], "real_world_value_mapping", quantity, unit, mapped)
