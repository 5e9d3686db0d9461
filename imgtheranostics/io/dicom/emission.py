"""PET headers to an EmissionAcquisition and the quantity that the voxels hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.data.suv_types import QUANTITY_OF_SUV_TYPE, SUV_TYPE_OF_QUANTITY
from imgtheranostics.errors import Caution, CorruptInput, UnitMismatch
from imgtheranostics.io.dicom.clocks import ABSENT, microseconds, series_start, utc_offset, with_zone
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.header import Header
from imgtheranostics.io.dicom.nested import items_of
from imgtheranostics.io.dicom.nuclides import nuclide_of
from imgtheranostics.io.dicom.plane_scale import Scale
from imgtheranostics.io.dicom.scaling import PHILIPS_PET
from imgtheranostics.io.dicom.timing import detail
from imgtheranostics.io.dicom.values import parse_datetime, parse_decimal, parse_text, parse_time

IndexArray = npt.NDArray[np.intp]

GE_PET = "GEMS_PETD_01"


def subject_of(header: Header, *, strict: bool = False) -> Subject:
    """Weight, height and sex as the file has them; nothing that identifies.

    Raises
    ------
    CorruptInput
        If `strict` and weight or height is malformed; otherwise they count as absent.
    """
    read = header.number if strict else header.soft_number
    return Subject(
        weight_kg=read("PatientWeight"),
        height_m=read("PatientSize"),
        sex=header.text("PatientSex"),
        species=header.text("PatientSpeciesDescription"),
    )


def emission_acquisition(frames: Sequence[Frame], order: IndexArray) -> EmissionAcquisition:
    """The PET record; arrays are (n_slices, n_frames) in the order of the Volume."""
    header = frames[0].header
    offset = utc_offset(header)
    acquired = np.array(
        [ABSENT if f.acquisition_us is None else f.acquisition_us for f in frames], dtype=np.int64
    )[order].view("datetime64[us]")
    suv_factor = header.private_number(PHILIPS_PET, 0x7053, 0x00, b"DS", without_creator=True)
    activity_factor = header.private_number(PHILIPS_PET, 0x7053, 0x09, b"DS", without_creator=True)
    scan = _private_datetime(header)
    correction, corrections, reference_s = _decay_statement(header, frames)
    return EmissionAcquisition(
        modality=header.text("Modality") or "PT",
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        units=units_of(frames[0]),
        suv_type=header.text("SUVType") or _suv_type(frames[0]),
        decay_correction=correction,
        corrections=corrections,
        series_type=header.strings("SeriesType"),
        counts_source=header.text("CountsSource"),
        series_datetime=series_start(header),
        private_scan_datetime=with_zone(scan, offset),
        acquisition_datetime=None if np.isnat(acquired).all() else acquired,
        frame_reference_time_s=_per_image(frames, order, "frame_reference_time_s"),
        frame_duration_s=_per_image(frames, order, "frame_duration_s"),
        decay_factor=_per_image(frames, order, "decay_factor"),
        decay_reference_s=reference_s,
        utc_offset_min=offset,
        dose_calibration_factor=header.number("DoseCalibrationFactor"),
        philips_suv_factor=_positive(suv_factor),
        philips_activity_factor=_positive(activity_factor),
        radiopharmaceutical=radiopharmaceutical_of(header),
        subject=subject_of(header, strict=True),
        n_images=len(frames),
    )


def _decay_statement(
    header: Header, frames: Sequence[Frame]
) -> tuple[str | None, tuple[str, ...], float | None]:
    """Decay correction, corrections, and the reference where an enhanced object states it outright."""
    stated = header.text("DecayCorrected")
    if header.has("DecayCorrection") or stated is None:
        return header.text("DecayCorrection"), header.strings("CorrectedImage"), None
    if stated.upper() != "YES":
        return "NONE", header.strings("CorrectedImage"), None
    moment = with_zone(header.datetime("DecayCorrectionDateTime"), utc_offset(header))
    starts = [frame.acquisition_us for frame in frames if frame.acquisition_us is not None]
    reference_s = None
    if moment is not None and starts:
        reference_s = (microseconds(moment) - min(starts)) / 1e6
    return "START", tuple(dict.fromkeys(("DECY", *header.strings("CorrectedImage")))), reference_s


def units_of(frame: Frame) -> str | None:
    """Units (0054,1001) in capitals; of an enhanced object, those of its real-world value mapping."""
    text = frame.header.text("Units")
    if text:
        return text.upper()
    mapping = frame.details.get("real_world")
    quantity = mapping.quantity if isinstance(mapping, Scale) else ""
    if quantity == "activity_concentration":
        return "BQML"
    if quantity == "suv_bsa":
        return "CM2ML"
    return "GML" if quantity.startswith("suv_") else None


def _suv_type(frame: Frame) -> str | None:
    mapping = frame.details.get("real_world")
    quantity = mapping.quantity if isinstance(mapping, Scale) else ""
    return SUV_TYPE_OF_QUANTITY.get(quantity)


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _per_image(frames: Sequence[Frame], order: IndexArray, name: str) -> Any:
    values = detail(frames, name)
    return None if np.isnan(values).all() else values[order]


def _private_datetime(header: Header) -> datetime | None:
    """The scan's date and time of GE (0009,xx0D); None when it is absent or not one."""
    ge = (header.text("Manufacturer") or "").upper().startswith("GE")
    found = header.private(GE_PET, 0x0009, 0x0D, without_creator=ge)
    if found is None:
        return None
    try:
        return parse_datetime(parse_text(found[1]))
    except ValueError:
        return None


def radiopharmaceutical_of(header: Header) -> Radiopharmaceutical:
    """The first item of the radiopharmaceutical sequence; empty when the file has none.

    Raises
    ------
    CorruptInput
        If a number, date or time in it is malformed.
    """
    items = _drug_items(header)
    return _drug(items[0], header) if items else Radiopharmaceutical()


def radiopharmaceuticals_of(header: Header) -> tuple[Radiopharmaceutical, ...]:
    """All items of the radiopharmaceutical sequence, as `radiopharmaceutical_of` reads the first."""
    return tuple(_drug(item, header) for item in _drug_items(header))


def _drug_items(header: Header) -> list[Any]:
    if not header.elements.get("RadiopharmaceuticalInformationSequence", (b"", b""))[1]:
        return []
    return items_of(header, "RadiopharmaceuticalInformationSequence")


def _drug(item: Any, header: Header) -> Radiopharmaceutical:
    offset = utc_offset(header)
    return Radiopharmaceutical(
        nuclide=nuclide_of(item),
        half_life_s=_item_number(item, "RadionuclideHalfLife", header),
        positron_fraction=_item_number(item, "RadionuclidePositronFraction", header),
        total_dose=_item_number(item, "RadionuclideTotalDose", header),
        start_datetime=with_zone(
            _item_clock(item, "RadiopharmaceuticalStartDateTime", parse_datetime, header), offset
        ),
        start_time=_item_clock(item, "RadiopharmaceuticalStartTime", parse_time, header),
        stop_datetime=with_zone(
            _item_clock(item, "RadiopharmaceuticalStopDateTime", parse_datetime, header), offset
        ),
        name=item_text(item, "Radiopharmaceutical"),
    )


def item_text(item: Any, keyword: str) -> str | None:
    """A text of a sequence item, stripped, or None."""
    value = _item_value(item, keyword)
    return (str(value).strip(" \0") or None) if value is not None else None


def _item_value(item: Any, keyword: str) -> Any:
    try:
        return item.get(keyword)
    except Exception:
        return "malformed"


def _item_number(item: Any, keyword: str, header: Header) -> float | None:
    value = _item_value(item, keyword)
    if value is None or value == "":
        return None
    try:
        number = parse_decimal(str(value).strip())
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise CorruptInput(
            "a value of the radiopharmaceutical is no finite number", where=f"{header.path}: {keyword}"
        )
    return number


def _item_clock(item: Any, keyword: str, parse: Any, header: Header) -> Any:
    text = item_text(item, keyword)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError:
        raise CorruptInput(
            "a date or time of the radiopharmaceutical is malformed", where=f"{header.path}: {keyword}"
        ) from None


def emission_quantity(acquisition: EmissionAcquisition, where: str) -> tuple[str, str, float, list[Caution]]:
    """Quantity, unit and the factor that brings the rescaled values there.

    Raises
    ------
    UnitMismatch
        If an SUV series is of a type that is not known.
    """
    units = acquisition.units
    if units == "BQML":
        return "activity_concentration", "Bq/mL", 1.0, []
    if units in ("GML", "CM2ML"):
        kind = (acquisition.suv_type or "").upper() or ("BSA" if units == "CM2ML" else "")
        quantity = QUANTITY_OF_SUV_TYPE.get(kind or "BW")
        if quantity is None or (quantity == "suv_bsa") != (units == "CM2ML"):
            raise UnitMismatch(
                "the type of SUV is not known or does not go with its unit",
                where=f"{where}: SUVType (0054,1006)",
                found=f"{kind} in {units}",
                needed=", ".join(sorted(QUANTITY_OF_SUV_TYPE)),
            )
        return quantity, "cm2/mL" if units == "CM2ML" else "g/mL", 1.0, []
    if units == "CNTS" and acquisition.philips_activity_factor is not None:
        return "activity_concentration", "Bq/mL", acquisition.philips_activity_factor, []
    if units == "CNTS":
        return "counts", "{counts}", 1.0, []
    if units == "CPS":
        return "count_rate", "{counts}/s", 1.0, []
    caution = Caution(
        "pet-units-without-scale",
        "the units of the series are proportional or not stated: values are signal on an arbitrary scale",
        "Units (0054,1001)",
    )
    return "signal", "[arb'U]", 1.0, [caution]
