"""PET and SPECT sidecars: PET-BIDS, and what either generation of dcm2niix writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition, Radiopharmaceutical, Subject
from imgtheranostics.data.nuclides import nuclide_in
from imgtheranostics.data.suv_types import QUANTITY_OF_SUV_TYPE
from imgtheranostics.errors import Caution, ImplausibleValue, UnitMismatch
from imgtheranostics.io.meaning import ARBITRARY, Meaning, convert_units, extra_axes, subject_of
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.participants import participant
from imgtheranostics.io.pet_clocks import (
    SPREAD_REFUSED,
    SPREAD_WARNED,
    Clocks,
    Frames,
    decay_factors,
    read_clocks,
    read_frames,
)
from imgtheranostics.io.sidecar import Sidecar
from imgtheranostics.units import canonical_unit, conversion_factor
from imgtheranostics.volume import Axis, Step

PET_KEYS = frozenset(
    {
        "TracerRadionuclide",
        "InjectedRadioactivity",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "ImageDecayCorrectionTime",
        "IsotopeHalfLife",
    }
)
"""Keys that only the sidecar of an emission image has."""

_DICOM_WORDS: Mapping[str, tuple[str, str]] = {
    "CNTS": ("counts", "{counts}"),
    "CPS": ("count_rate", "{counts}/s"),
    "PROPCNTS": ("signal", ARBITRARY),
    "PROPCPS": ("signal", ARBITRARY),
    "CM2ML": ("suv_bsa", "cm2/mL"),
}
_BY_UNIT = {
    "{counts}": "counts",
    "{counts}/s": "count_rate",
    "[arb'U]": "signal",
    "cm2/mL": "suv_bsa",
    "%/g": "id_per_g",
    "%/mL": "id_per_ml",
}
_SUV_WORDS = {"GML", "G/ML", "SUV", "SUVBW", "SUV_BW"}
_DICOM_UNIT = {
    "activity_concentration": "BQML",
    "counts": "CNTS",
    "count_rate": "CPS",
    "suv_bsa": "CM2ML",
}


def is_emission(sidecar: Sidecar) -> bool:
    """Whether a key says that the image is of radioactivity."""
    return any(key in sidecar for key in PET_KEYS)


def interpret_pet(sidecar: Sidecar, header: NiftiHeader, modality: str = "PT") -> Meaning:
    """The meaning of a PET image, or of SPECT in the same form.

    Raises
    ------
    CorruptInput, ImplausibleValue
        If frames do not fit the image, or the clocks contradict each other.
    UnitMismatch
        If the unit is not known.
    """
    n_frames = header.shape[3] if len(header.shape) > 3 else 1
    dose, dose_cautions = _dose(sidecar)
    half_life, half_life_cautions = _half_life(sidecar)
    frames = read_frames(sidecar, n_frames)
    clocks = read_clocks(sidecar, frames, half_life) if frames else Clocks(None, None, None, None, ())
    quantity, unit, factor, history, unit_cautions = _quantity(sidecar)
    axes, axis_cautions = _axes(sidecar, header, frames, modality)
    subject, subject_cautions = _subject(sidecar)
    tracer = Radiopharmaceutical(
        nuclide=_nuclide(sidecar),
        half_life_s=half_life,
        positron_fraction=sidecar.number("RadionuclidePositronFraction"),
        total_dose=dose,
        name=sidecar.text("TracerName", "Radiopharmaceutical"),
    )
    shared = {
        "manufacturer": sidecar.text("Manufacturer"),
        "model": sidecar.text("ManufacturersModelName"),
        "radiopharmaceutical": tracer,
        "subject": subject,
    }
    acquisition: EmissionAcquisition | NuclearAcquisition
    if modality == "NM" and frames is None:
        acquisition = NuclearAcquisition(**shared)  # type: ignore[arg-type]
    else:
        acquisition = _acquisition(sidecar, header, frames, clocks, quantity, modality, shared)
    cautions = (
        *subject_cautions,
        *unit_cautions,
        *dose_cautions,
        *half_life_cautions,
        *clocks.cautions,
        *axis_cautions,
    )
    return Meaning(quantity, unit, factor, axes, acquisition, history, cautions)


def _subject(sidecar: Sidecar) -> tuple[Subject, tuple[Caution, ...]]:
    """Body measures of the sidecar, and where it has none those of the dataset's table of participants."""
    own = subject_of(sidecar)
    listed, cautions = participant(sidecar.image)
    if listed is None:
        return own, ()
    values = {
        one.name: getattr(listed, one.name) if getattr(own, one.name) is None else getattr(own, one.name)
        for one in fields(Subject)
    }
    return Subject(**values), cautions


def _axes(
    sidecar: Sidecar, header: NiftiHeader, frames: Frames | None, modality: str
) -> tuple[tuple[Axis, ...], tuple[Caution, ...]]:
    """Mid-frame times from the start of the first frame; the header's step is never taken for PET frames.

    Converters write the length of the first frame there, which is not that of the others.
    """
    if len(header.shape) == 3:
        return (), ()
    if len(header.shape) > 4 or (frames is None and modality == "NM"):
        return extra_axes(header, sidecar)
    if frames is not None:
        return (Axis("time", np.array(frames.middles_s), "s"),), ()
    caution = Caution(
        "frame-times-missing",
        "the sidecar states neither FrameTimesStart nor FrameDuration: frames are numbered",
        "FrameTimesStart, FrameDuration",
    )
    return (Axis("component", np.arange(header.shape[3], dtype=np.float64), "1"),), (caution,)


def _acquisition(
    sidecar: Sidecar,
    header: NiftiHeader,
    frames: Frames | None,
    clocks: Clocks,
    quantity: str,
    modality: str,
    shared: Mapping[str, object],
) -> EmissionAcquisition:
    n_slices = header.shape[2]
    n_frames = header.shape[3] if len(header.shape) > 3 else 1

    def per_image(values: Sequence[float] | None) -> np.ndarray[tuple[int, int], np.dtype[np.float64]] | None:
        if values is None or len(values) != n_frames or all(math.isnan(value) for value in values):
            return None
        return np.tile(np.array(values, dtype=np.float64), (n_slices, 1))

    attenuation = (sidecar.text("AttenuationCorrection", "AttenuationCorrectionMethod") or "none").lower()
    decayed = clocks.decay_correction in ("START", "ADMIN")
    corrections = (("DECY",) if decayed else ()) + (() if attenuation.startswith("none") else ("ATTN",))
    return EmissionAcquisition(
        modality=modality,
        units=_dicom_unit(quantity, sidecar),
        suv_type=sidecar.text("SUVType"),
        decay_correction=clocks.decay_correction,
        corrections=corrections,
        series_type=("DYNAMIC" if n_frames > 1 else "STATIC", "IMAGE"),
        frame_duration_s=per_image(frames.durations_s if frames else None),
        frame_reference_time_s=per_image(sidecar.all_numbers("FrameReferenceTime")),
        decay_factor=per_image(decay_factors(sidecar, n_frames)),
        decay_reference=clocks.decay_reference,
        decay_reference_s=clocks.decay_reference_s,
        injection_to_first_frame_s=clocks.injection_to_first_frame_s,
        dose_calibration_factor=sidecar.number("DoseCalibrationFactor"),
        n_images=n_slices * n_frames,
        **shared,  # type: ignore[arg-type]
    )


def _dicom_unit(quantity: str, sidecar: Sidecar) -> str | None:
    if quantity.startswith("suv_") and quantity != "suv_bsa":
        return "GML"
    if quantity == "signal":
        return sidecar.text("Units", "Unit")
    return _DICOM_UNIT.get(quantity)


def _quantity(sidecar: Sidecar) -> tuple[str, str, float, tuple[Step, ...], tuple[Caution, ...]]:
    text = sidecar.text("Units", "Unit")
    if text is None:
        caution = Caution(
            "unit-missing",
            "the sidecar states no Units: values keep an arbitrary scale and give no uptake",
            "Units",
        )
        return "signal", ARBITRARY, 1.0, (), (caution,)
    word = text.upper().replace(" ", "")
    if word in _DICOM_WORDS:
        quantity, unit = _DICOM_WORDS[word]
        cautions: tuple[Caution, ...] = ()
        if quantity == "signal":
            cautions = (Caution("proportional-units", f"{word} is only proportional to activity", "Units"),)
        return quantity, unit, 1.0, (), cautions
    if word in _SUV_WORDS:
        return _suv(sidecar)
    if word in ("ARBITRARY", "ARB", "A.U.", "AU", "UNITLESS"):
        return "signal", ARBITRARY, 1.0, (), (Caution("unit-arbitrary", "the unit is arbitrary", "Units"),)
    try:
        own = _BY_UNIT.get(canonical_unit(text))
        if own is not None:
            return own, canonical_unit(text), 1.0, (), ()
        factor, history = convert_units(text, "Bq/mL", "Units")
    except UnitMismatch as error:
        error.where = sidecar.where("Units")
        raise
    return "activity_concentration", "Bq/mL", factor, history, ()


def _suv(sidecar: Sidecar) -> tuple[str, str, float, tuple[Step, ...], tuple[Caution, ...]]:
    stated = sidecar.text("SUVType")
    if stated is None:
        caution = Caution(
            "suv-type-assumed", "SUVType is absent: body weight assumed, as DICOM does", "SUVType"
        )
        return "suv_bw", "g/mL", 1.0, (), (caution,)
    quantity = QUANTITY_OF_SUV_TYPE.get(stated.upper())
    if quantity is None:
        raise UnitMismatch(
            "the kind of SUV is not known",
            where=sidecar.where("SUVType"),
            needed=", ".join(QUANTITY_OF_SUV_TYPE),
        )
    return quantity, "g/mL", 1.0, (), ()


def _nuclide(sidecar: Sidecar) -> str | None:
    for key in ("TracerRadionuclide", "Radionuclide", "Isotope", "IsotopeName", "RadionuclideCode"):
        text = sidecar.text(key)
        name = nuclide_in(text) if text else None
        if name:
            return name
    return None


def _dose(sidecar: Sidecar) -> tuple[float | None, tuple[Caution, ...]]:
    """Administered activity in Bq under the key of either generation."""
    key = sidecar.first("InjectedRadioactivity", "InjectedRadioActivity")
    stated = sidecar.positive(key) if key and (sidecar.number(key) or 0) > 0 else None
    total_key = sidecar.first("RadionuclideTotalDose", "Dosage")
    total = sidecar.positive(total_key) if total_key and (sidecar.number(total_key) or 0) > 0 else None
    if stated is None or key is None:
        return total, ()
    unit_key = sidecar.first(
        "InjectedRadioactivityUnits",
        "InjectedRadioactivityUnit",
        "InjectedRadioActivityUnits",
        "InjectedRadioActivityUnit",
    )
    if unit_key is None:
        caution = Caution(
            "dose-unit-missing", "InjectedRadioactivity has no unit: read as Bq", "InjectedRadioactivity"
        )
        return stated, (caution,)
    try:
        dose = stated * conversion_factor(canonical_unit(sidecar.text(unit_key) or ""), "Bq")
    except UnitMismatch as error:
        error.where = sidecar.where(unit_key)
        raise
    return dose, _agree(sidecar, "administered activity", dose, total, (key, total_key or ""))


def _half_life(sidecar: Sidecar) -> tuple[float | None, tuple[Caution, ...]]:
    stated, other = sidecar.positive("RadionuclideHalfLife"), sidecar.positive("IsotopeHalfLife")
    if stated is None:
        return other, ()
    return stated, _agree(sidecar, "half-life", stated, other, ("RadionuclideHalfLife", "IsotopeHalfLife"))


def _agree(
    sidecar: Sidecar, what: str, first: float, second: float | None, keys: tuple[str, str]
) -> tuple[Caution, ...]:
    if second is None:
        return ()
    spread = abs(first - second) / max(first, second)
    if spread > SPREAD_REFUSED:
        raise ImplausibleValue(
            f"the sidecar states two values of the {what}",
            where=f"{sidecar.where(keys[0])} and {keys[1]}",
            found=f"{first:g} and {second:g}",
            needed="one value",
            next_step="correct the sidecar",
        )
    if spread <= SPREAD_WARNED:
        return ()
    return (
        Caution(
            "values-disagree", f"{what}: {first:g} and {second:g}, the first is used", f"{keys[0]}, {keys[1]}"
        ),
    )
