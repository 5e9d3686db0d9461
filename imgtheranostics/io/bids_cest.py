"""CEST sidecars: saturation offsets in ppm as an axis, and what the saturation pulses were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue, MissingMetadata, UnitMismatch
from imgtheranostics.io.bids_mri import read_mr
from imgtheranostics.io.meaning import ARBITRARY, Meaning, check_length, extra_axes, refuse_implausible
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.sidecar import Sidecar
from imgtheranostics.volume import Axis, make_step

FAR_OFF_RESONANCE_PPM = 100.0
"""Offsets at least this far from water are unsaturated references."""

_DOUBTFUL_REFERENCE_PPM = 20.0
_LARGEST_USUAL_PPM = 60.0
_SMALLEST_B1_UT = 1e-3
_LARGEST_B1_UT = 200.0

_NUMBERS = {
    "SaturationB1rms": "b1_rms_ut",
    "SaturationB1mean": "b1_mean_ut",
    "SaturationB1cwpe": "b1_cwpe_ut",
    "SaturationPulseDuration": "pulse_duration_s",
    "SaturationPulseInterval": "pulse_interval_s",
    "SaturationPulseCount": "pulse_count",
    "SaturationDutyCycle": "duty_cycle",
    "SaturationDuration": "duration_s",
    "RecoveryTime": "recovery_time_s",
}
_TEXTS = {"SaturationPulseShape": "pulse_shape", "AcquisitionOrder": "acquisition_order"}


def is_cest(sidecar: Sidecar, suffix: str) -> bool:
    """Whether the image is a series of saturation offsets."""
    return suffix.lower() == "cest" or "SaturationOffsets" in sidecar


def interpret_cest(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """The meaning of a CEST image.

    The axis ``saturation_offset`` is in ppm and NaN at the unsaturated references, whose positions stand in
    ``acquisition.saturation["m0_index"]`` and whose recorded offsets in ``"recorded_offsets"``.

    Raises
    ------
    CorruptInput
        If the list does not fit the image, or M0Index points beyond it.
    MissingMetadata
        If offsets are in Hz and ImagingFrequency is absent.
    ImplausibleValue, UnitMismatch
        If offsets without a unit must be Hz, or the unit is neither ppm nor Hz.
    """
    saturation, cautions = _pulses(sidecar)
    history = ()
    axes: tuple[Axis, ...]
    if "SaturationOffsets" in sidecar:
        n = header.shape[3] if len(header.shape) > 3 else 1
        recorded = sidecar.numbers("SaturationOffsets") or []
        check_length(recorded, n, sidecar, "SaturationOffsets")
        offsets, unit = _in_ppm(recorded, sidecar)
        references, found = _references(offsets, sidecar)
        cautions = (*cautions, *found)
        saturation |= {
            "m0_index": references,
            "recorded_offsets": tuple(recorded),
            "recorded_unit": unit,
        }
        values = np.array([np.nan if value is None else value for value in offsets], dtype=np.float64)
        values[list(references)] = np.nan
        axes = (Axis("saturation_offset", values, "ppm"),)
        if unit == "Hz":
            history = (make_step("convert_unit", key="SaturationOffsets", found="Hz", to="ppm"),)  # type: ignore[assignment]
    else:
        axes, found = extra_axes(header, sidecar)
        missing = Caution(
            "offsets-missing",
            "the sidecar states no SaturationOffsets: volumes are not placed",
            "SaturationOffsets",
        )
        cautions = (*cautions, *found, missing)
    acquisition, mr_cautions = read_mr(sidecar, "cest", saturation)
    return Meaning("signal", ARBITRARY, 1.0, axes, acquisition, history, (*mr_cautions, *cautions))


def _in_ppm(recorded: Sequence[float | None], sidecar: Sidecar) -> tuple[list[float | None], str]:
    stated = sidecar.text("SaturationOffsetUnit", "SaturationOffsetsUnit", "SaturationOffsetUnits")
    unit = (stated or "ppm").lower()
    if unit == "ppm":
        known = [abs(value) for value in recorded if value is not None]
        beyond = [value for value in known if value > _LARGEST_USUAL_PPM]
        near = [value for value in beyond if value < FAR_OFF_RESONANCE_PPM]
        if stated is None and (near or len(beyond) > max(2, len(known) // 2)):
            raise refuse_implausible(
                sidecar,
                "SaturationOffsets",
                f"{len(beyond)} of {len(known)} offsets beyond {_LARGEST_USUAL_PPM:g}",
                "ppm, or SaturationOffsetUnit",
                "these look like Hz: write SaturationOffsetUnit and ImagingFrequency",
            )
        return list(recorded), "ppm"
    if unit != "hz":
        raise UnitMismatch(
            "the unit of the saturation offsets is not known",
            where=sidecar.where("SaturationOffsetUnit"),
            needed="ppm or Hz",
        )
    frequency = sidecar.positive("ImagingFrequency")
    if frequency is None:
        raise MissingMetadata(
            "saturation offsets in Hz need the imaging frequency",
            where=sidecar.where("ImagingFrequency"),
            needed="ImagingFrequency in MHz",
            next_step="add it to the sidecar, or give the offsets in ppm",
        )
    return [None if value is None else value / frequency for value in recorded], "Hz"


def _references(
    offsets: Sequence[float | None], sidecar: Sidecar
) -> tuple[tuple[int, ...], tuple[Caution, ...]]:
    """Positions of the unsaturated volumes: M0Index, else null or far offsets."""
    given = sidecar.all_numbers("M0Index")
    if given is not None:
        wrong = [value for value in given if value != int(value) or not 0 <= value < len(offsets)]
        if wrong:
            raise CorruptInput(
                "M0Index points to volumes that are not there",
                where=sidecar.where("M0Index"),
                found=", ".join(f"{value:g}" for value in wrong),
                needed=f"whole numbers from 0 to {len(offsets) - 1}",
            )
        missing = [n for n, value in enumerate(offsets) if value is None and n not in given]
        if missing:
            raise CorruptInput(
                "an offset is null although M0Index does not name that volume",
                where=sidecar.where("SaturationOffsets"),
                found=", ".join(str(n) for n in missing),
            )
        return tuple(sorted({int(value) for value in given})), ()
    found = tuple(
        n for n, value in enumerate(offsets) if value is None or abs(value) >= FAR_OFF_RESONANCE_PPM
    )
    if found:
        return found, ()
    far = [
        n for n, value in enumerate(offsets) if value is not None and abs(value) >= _DOUBTFUL_REFERENCE_PPM
    ]
    text = f"volumes {', '.join(str(n) for n in far)} at 20 to 100 ppm may be" if far else "no volume is"
    return (), (
        Caution("reference-unknown", f"M0Index is absent and {text} the unsaturated reference", "M0Index"),
    )


def _pulses(sidecar: Sidecar) -> tuple[dict[str, Any], tuple[Caution, ...]]:
    saturation: dict[str, Any] = {}
    for key, name in _NUMBERS.items():
        values = sidecar.all_numbers(key)
        if values is not None:
            saturation[name] = values[0] if len(values) == 1 else tuple(values)
            if name.startswith("b1_"):
                _check_b1(sidecar, key, values)
    for key, name in _TEXTS.items():
        text = sidecar.text(key)
        if text is not None:
            saturation[name] = text
    ambiguous = sidecar.first("SaturationB1", "B1", "B1Amplitude")
    if ambiguous and not any(name.startswith("b1_") for name in saturation):
        caution = Caution(
            "b1-kind-unknown",
            f"{ambiguous} does not say whether it is rms, mean or continuous-wave equivalent: not used",
            ambiguous,
        )
        return saturation, (caution,)
    return saturation, ()


def _check_b1(sidecar: Sidecar, key: str, values: Sequence[float]) -> None:
    used = [value for value in values if value != 0]
    if used and (min(used) < _SMALLEST_B1_UT or max(used) > _LARGEST_B1_UT):
        raise ImplausibleValue(
            f"{key} is not plausible",
            where=sidecar.where(key),
            found=f"{min(used):g} to {max(used):g}",
            needed=f"uT, {_SMALLEST_B1_UT:g} to {_LARGEST_B1_UT:g}",
            next_step="give B1 in microtesla",
        )
