"""What the voxels of an emission image are: activity, an uptake value already, or nothing usable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from imgtheranostics.acquisition import (
    EmissionAcquisition,
    NuclearAcquisition,
    OtherAcquisition,
    Radiopharmaceutical,
)
from imgtheranostics.data.nuclides import nuclide_name
from imgtheranostics.errors import MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.nuclear.calibration import counts_calibration
from imgtheranostics.volume import Volume

_UNITS = "Units (0054,1001)"
_PHILIPS_SUV = "Philips SUV scale factor (7053,1000)"
_PHILIPS_ACTIVITY = "Philips activity concentration scale factor (7053,1009)"


@dataclass(frozen=True, slots=True)
class Scale:
    """How voxels become activity concentration or an uptake value.

    Attributes
    ----------
    kind : str
        ``activity``, or the kind of SUV that voxels times `factor` are.
    factor : float
        To Bq/mL, or to the SUV.
    rule : str
    explanation : str
    """

    kind: str
    factor: float
    rule: str
    explanation: str

    def decisions(self) -> dict[str, Any]:
        """What was decided, as plain values."""
        return {"rule": self.rule, "explanation": self.explanation, "factor": self.factor}


def emission_record(v: Volume, label: str | None = None) -> EmissionAcquisition:
    """The acquisition of a volume as an emission record; an empty one where nothing is known.

    Parameters
    ----------
    v : Volume
    label : str, optional
        Nuclide that the user names: of a scan of several radiopharmaceuticals the one that the image shows.

    Raises
    ------
    UnsupportedInput
        If the volume comes from another modality.
    """
    record = v.acquisition
    if isinstance(record, EmissionAcquisition):
        return record
    if isinstance(record, NuclearAcquisition):
        return _from_gamma_camera(record, label)
    if record is None:
        return EmissionAcquisition()
    if isinstance(record, OtherAcquisition):
        return EmissionAcquisition(modality=record.modality, subject=record.subject)
    raise UnsupportedInput(
        "uptake needs an emission image (PET or SPECT)",
        where="Modality (0008,0060)",
        found=str(record.modality),
        needed="PT or NM",
    )


def _injected(record: NuclearAcquisition, label: str | None) -> Radiopharmaceutical:
    if label is None or not record.radiopharmaceuticals:
        return record.radiopharmaceutical
    name = nuclide_name(label)
    named = [drug for drug in record.radiopharmaceuticals if drug.nuclide == name]
    return named[0] if len(named) == 1 else record.radiopharmaceutical


def _from_gamma_camera(record: NuclearAcquisition, label: str | None) -> EmissionAcquisition:
    import numpy as np

    moment = record.acquisition_datetime
    local = None if moment is None else moment.replace(tzinfo=None)
    duration = record.acquisition_duration_s
    return EmissionAcquisition(
        modality="NM",
        manufacturer=record.manufacturer,
        model=record.model,
        decay_correction=record.decay_correction,
        corrections=record.corrections,
        series_datetime=record.series_datetime,
        acquisition_datetime=None if local is None else np.array([[local]], "datetime64[us]"),
        frame_duration_s=None if duration is None else np.array([[duration]]),
        utc_offset_min=record.utc_offset_min,
        radiopharmaceutical=_injected(record, label),
        subject=record.subject,
    )


def image_scale(v: Volume, record: EmissionAcquisition, *, dose_given: bool = False) -> Scale:
    """What the voxels are and what makes them activity concentration or SUV.

    Parameters
    ----------
    v : Volume
    record : EmissionAcquisition
        Of that volume.
    dose_given : bool
        Whether the user gives dose, time or weight; then a vendor's ready SUV factor does not apply.

    Raises
    ------
    UnsupportedInput
        For proportional counts, and for a quantity that is no emission.
    UnitMismatch
        For counts of a PET scanner without any calibration.
    MissingMetadata
        For counts of a gamma camera, whose calibration only its user knows.
    """
    units = (record.units or "").strip().upper()
    if units in ("PROPCPS", "PROPCNTS"):
        raise UnsupportedInput(
            "the voxels are only proportional to counts: there is no way to activity or SUV",
            where=_UNITS,
            found=units,
            needed="BQML, GML, CM2ML, or CNTS with the Philips factors",
            next_step="export the series in Bq/mL from the scanner",
        )
    if v.quantity.startswith("suv_") and v.quantity != "suv_peak":
        kind = v.quantity.removeprefix("suv_")
        text = "the voxels are an uptake value already: neither dose nor clock is used"
        return Scale(kind, 1.0, f"{units or 'suv'} of kind {kind}", text)
    if v.quantity == "activity_concentration":
        known = counts_calibration(v)
        if known is not None:
            rule = f"sensitivity {known['sensitivity_cps_mbq']:g} cps/MBq"
            return Scale("activity", 1.0, rule, "counts over sensitivity, counting time and voxel volume")
        return _activity_scale(record, units, dose_given)
    if v.quantity == "counts":
        return _counts_scale(record, units, dose_given)
    if v.quantity == "count_rate":
        return _rate_scale(record)
    raise UnsupportedInput(
        "uptake needs activity concentration, or counts with a calibration",
        where=_UNITS,
        found=f"{v.quantity} [{v.unit}]" + (f", {units[:16]}" if units else ""),
        needed="activity_concentration [Bq/mL], SUV, or calibrated counts",
        next_step="load a PET series, or say what the voxels are in the sidecar",
    )


def _usable(factor: float | None) -> float | None:
    return factor if factor is not None and math.isfinite(factor) and factor > 0 else None


def _activity_scale(record: EmissionAcquisition, units: str, dose_given: bool) -> Scale:
    suv, activity = _usable(record.philips_suv_factor), _usable(record.philips_activity_factor)
    if units == "CNTS" and suv is not None and activity is not None and not dose_given:
        text = "counts times the vendor's SUV factor; the dose in the header is not used"
        return Scale("bw", suv / activity, _PHILIPS_SUV, text)
    if units == "CNTS":
        return Scale(
            "activity", 1.0, _PHILIPS_ACTIVITY, "counts times the vendor's activity factor are Bq/mL"
        )
    ignored = suv is not None or activity is not None
    text = "the voxels are Bq/mL" + ("; Philips factors beside BQML are not applied" if ignored else "")
    return Scale("activity", 1.0, units or "activity_concentration", text)


def _counts_scale(record: EmissionAcquisition, units: str, dose_given: bool) -> Scale:
    if units == "CNTS":
        suv, activity = _usable(record.philips_suv_factor), _usable(record.philips_activity_factor)
        if suv is not None and not (dose_given and activity is not None):
            text = "counts times the vendor's SUV factor; the dose in the header is not used"
            return Scale("bw", suv, _PHILIPS_SUV, text)
        if activity is not None:
            text = "counts times the vendor's activity factor are Bq/mL"
            return Scale("activity", activity, _PHILIPS_ACTIVITY, text)
    if record.modality != "PT":
        raise MissingMetadata(
            "the voxels are counts without a calibration",
            where="RealWorldValueMappingSequence (0040,9096)",
            needed="the camera's sensitivity in counts/s per MBq, or a real-world value mapping in Bq/mL",
            next_step="give it: --sensitivity-cps-mbq (sensitivity_cps_mbq=), measured with a known activity",
        )
    raise UnitMismatch(
        "the voxels are counts without a calibration",
        where=f"{_UNITS}, {_PHILIPS_SUV}, {_PHILIPS_ACTIVITY}",
        found=f"{units or 'counts'}, no usable factor",
        needed="Bq/mL, or a factor that makes them Bq/mL",
        next_step="export the series in Bq/mL, or add a real-world value map with the camera's calibration",
    )


def _rate_scale(record: EmissionAcquisition) -> Scale:
    factor = _usable(record.dose_calibration_factor)
    if factor is None:
        raise MissingMetadata(
            "the voxels are counts per second without a dose calibration",
            where="DoseCalibrationFactor (0054,1322)",
            needed="the factor from counts per second to Bq/mL",
            next_step="export the series in Bq/mL, or give the camera's sensitivity: --sensitivity-cps-mbq "
            "(sensitivity_cps_mbq=)",
        )
    text = "counts per second times the dose calibration factor are Bq/mL"
    return Scale("activity", factor, "DoseCalibrationFactor (0054,1322)", text)
