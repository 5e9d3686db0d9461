"""CEST sidecars: saturation offsets in ppm as an axis, and what the saturation pulses were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue
from imgtheranostics.io.bids_mri import MR_SUFFIXES, read_mr
from imgtheranostics.io.meaning import ARBITRARY, Meaning, extra_axes, refuse_implausible
from imgtheranostics.io.nifti_header import NiftiHeader
from imgtheranostics.io.saturation_offsets import (
    LARGEST_B1_UT,
    SMALLEST_B1_UT,
    UNSPECIFIED_B1,
    Placed,
    SaturationOffsets,
    place,
)
from imgtheranostics.io.sidecar import Sidecar, image_stem

CEST_SUFFIXES = frozenset({"cest", "wassr", "wasabi"})
CEST_FOLDER = "cest"

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
SATURATION_KEYS = {name: key for key, name in _NUMBERS.items()} | {
    "pulse_shape": "SaturationPulseShape",
    "acquisition_order": "AcquisitionOrder",
}
"""Entries of ``acquisition.saturation`` and the keys of the sidecar that hold them."""

_TEXTS = {"SaturationPulseShape": "pulse_shape", "AcquisitionOrder": "acquisition_order"}
_TRANSFER_NUMBERS = {
    "MTOffsetFrequency": "mt_offset_hz",
    "MTPulseBandwidth": "mt_pulse_bandwidth_hz",
    "MTNumberOfPulses": "mt_pulse_count",
    "MTPulseDuration": "mt_pulse_duration_s",
}
_TRANSFER_FOR = {
    "mt_pulse_count": "pulse_count",
    "mt_pulse_duration_s": "pulse_duration_s",
    "mt_pulse_shape": "pulse_shape",
}
_LONGEST_S = {
    "pulse_duration_s": 20.0,
    "pulse_interval_s": 20.0,
    "duration_s": 60.0,
    "recovery_time_s": 120.0,
}
_TRAIN_TOLERANCE = 0.05


def is_cest(sidecar: Sidecar, suffix: str, header: NiftiHeader) -> bool:
    """Whether the image is a series of saturation offsets: by its suffix, its keys, or its folder.

    The folder marks series only: single images in it may be anything, labels too.
    """
    if suffix.lower() in CEST_SUFFIXES or "SaturationOffsets" in sidecar:
        return True
    if len(header.shape) < 4 or header.shape[3] < 2:
        return False
    in_folder = sidecar.image.absolute().parent.name.lower() == CEST_FOLDER
    return in_folder and suffix not in MR_SUFFIXES and not suffix.lower().endswith("map")


def interpret_cest(sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """The meaning of a CEST image.

    The axis ``saturation_offset`` is in ppm and NaN at the unsaturated references, whose positions stand in
    ``acquisition.saturation["m0_index"]`` and whose recorded offsets in ``"recorded_offsets"``. Volumes that
    are a full grid of offsets and B1 get the axis ``saturation_b1`` too.

    Raises
    ------
    CorruptInput
        If a list does not fit the image, or M0Index points beyond it.
    MissingMetadata
        If offsets are in Hz and ImagingFrequency is absent.
    ImplausibleValue, UnitMismatch
        If offsets without a unit must be Hz, unit or sign is unknown, or a pulse parameter cannot be meant.
    """
    n_volumes = int(np.prod(header.shape[3:], dtype=np.int64)) if len(header.shape) > 3 else 1
    offsets = offsets_of_sidecar(sidecar)
    if offsets.values:
        _check_per_volume(offsets, sidecar, n_volumes)
        placed = place(offsets, n_volumes)
    else:
        axes, found = extra_axes(header, sidecar)
        placed = Placed(axes, dict(offsets.record), (), (*offsets.cautions, *found, _missing(sidecar)))
    acquisition, mr_cautions = read_mr(sidecar, "cest", placed.record)
    cautions = (*mr_cautions, *placed.cautions)
    return Meaning("signal", ARBITRARY, 1.0, placed.axes, acquisition, placed.history, cautions)


def offsets_of_sidecar(sidecar: Sidecar) -> SaturationOffsets:
    """Offsets, B1 and pulses as the keys of a sidecar state them; without values where it states none.

    Raises
    ------
    CorruptInput
        If a value is not of its type.
    ImplausibleValue
        If B1 or a time of the pulses cannot be in its unit.
    """
    record, cautions = _pulses(sidecar)
    values = tuple(sidecar.numbers("SaturationOffsets") or ())
    unit = sidecar.text("SaturationOffsetUnit", "SaturationOffsetsUnit", "SaturationOffsetUnits")
    sign = sidecar.text("SaturationOffsetSign", "SaturationOffsetsSign")
    source, key = "sidecar", "SaturationOffsets"
    if not values:
        transfer = _transfer_offsets(sidecar)
        if len(transfer) > 1:
            values, unit, source, key = transfer, "Hz", "bids_mt", "MTOffsetFrequency"
            # An offset from the central frequency in Hz, as BIDS defines it, is positive downfield.
            sign = sign or "downfield_positive"
    return SaturationOffsets(
        values,
        unit,
        sign.strip().lower() if sign else None,
        _reference_index(sidecar),
        imaging_frequency_mhz=sidecar.positive("ImagingFrequency"),
        record=record,
        source=source,
        where=sidecar.where(key),
        cautions=cautions,
    )


def with_edited_offsets(meaning: Meaning, sidecar: Sidecar, header: NiftiHeader) -> Meaning:
    """Our own record with the offsets, references and pulses of the public keys, where these were edited."""
    record = meaning.acquisition
    axis = next((one for one in meaning.axes if one.name == "saturation_offset"), None)
    if not isinstance(record, MrAcquisition) or axis is None or "SaturationOffsets" not in sidecar:
        return meaning
    if len(meaning.axes) != 1 or meaning.quantity != "signal":
        return meaning
    stated = interpret_cest(sidecar, header)
    found, told = stated.acquisition.saturation, dict(record.saturation)
    edited = {key: found[key] for key in SATURATION_KEYS if key in found and found[key] != told.get(key)}
    if np.allclose(stated.axes[0].values, axis.values, rtol=1e-6, atol=1e-9, equal_nan=True):
        if not edited:
            return meaning
        return replace(meaning, acquisition=replace(record, saturation=told | edited))
    acquisition = replace(record, saturation=told | dict(found))
    return replace(
        meaning, axes=stated.axes, acquisition=acquisition, cautions=(*meaning.cautions, *stated.cautions)
    )


def _missing(sidecar: Sidecar) -> Caution:
    """The caution of an image without offsets; it tells of a list beside the image, which is not read."""
    beside = [
        suffix
        for suffix in (".txt", ".csv", ".tsv", ".seq")
        if (sidecar.image.parent / f"{image_stem(sidecar.image)}{suffix}").is_file()
    ]
    hint = f"; a {beside[0]} file of the same name lies beside it" if beside else ""
    return Caution(
        "offsets-missing",
        "the sidecar states no SaturationOffsets: volumes are not placed; give them as a list or file "
        f"(with_offsets, --offsets FILE){hint}",
        "SaturationOffsets",
    )


def _reference_index(sidecar: Sidecar) -> tuple[int, ...] | None:
    given = sidecar.all_numbers("M0Index")
    if given is None:
        return None
    if any(value != int(value) for value in given):
        raise CorruptInput(
            "M0Index points to volumes that are not there",
            where=sidecar.where("M0Index"),
            found=", ".join(f"{value:g}" for value in given),
            needed="whole numbers from 0",
        )
    return tuple(sorted({int(value) for value in given}))


def _transfer_offsets(sidecar: Sidecar) -> tuple[float | None, ...]:
    """MTOffsetFrequency per volume, None where MTState says that there was no pulse."""
    values = sidecar.numbers("MTOffsetFrequency") or []
    states = sidecar.values.get("MTState")
    if isinstance(states, list) and len(states) == len(values):
        return tuple(v if state else None for v, state in zip(values, states, strict=True))
    return tuple(values)


def _check_per_volume(offsets: SaturationOffsets, sidecar: Sidecar, n_volumes: int) -> None:
    for name, key in SATURATION_KEYS.items():
        value = offsets.record.get(name)
        if isinstance(value, tuple) and len(value) != n_volumes:
            raise CorruptInput(
                f"{key} does not have one entry per volume of the image",
                where=sidecar.where(key),
                found=f"{len(value)} entries, {n_volumes} volumes",
                needed="one number, or one per volume",
            )


def _pulses(sidecar: Sidecar) -> tuple[dict[str, Any], tuple[Caution, ...]]:
    saturation = _transfer(sidecar)
    for key, name in _NUMBERS.items():
        values = sidecar.all_numbers(key)
        if values is not None:
            saturation[name] = values[0] if len(values) == 1 else tuple(values)
            _check_number(sidecar, key, name, values)
    for key, name in _TEXTS.items():
        text = sidecar.text(key)
        if text is not None:
            saturation[name] = text
    cautions = _inconsistent_train(saturation)
    ambiguous = sidecar.first("SaturationB1", "B1", "B1Amplitude")
    if ambiguous and not any(name.startswith("b1_") for name in saturation):
        stated = [value for value in sidecar.numbers(ambiguous) or [] if value is not None]
        _check_b1(sidecar, ambiguous, stated)
        if stated:
            saturation[UNSPECIFIED_B1] = stated[0] if len(stated) == 1 else tuple(stated)
        cautions += (
            Caution(
                "b1-kind-unknown",
                f"{ambiguous} does not say whether it is rms, mean or continuous-wave equivalent: not used",
                ambiguous,
            ),
        )
    return saturation, cautions


def _transfer(sidecar: Sidecar) -> dict[str, Any]:
    """The MT keys of BIDS, and what of them stands for a pulse parameter that is not given itself."""
    found: dict[str, Any] = {}
    for key, name in _TRANSFER_NUMBERS.items():
        values = [value for value in sidecar.numbers(key) or [] if value is not None]
        if values:
            found[name] = values[0] if len(set(values)) == 1 else tuple(values)
    shape = sidecar.text("MTPulseShape")
    if shape is not None:
        found["mt_pulse_shape"] = shape
    state = sidecar.values.get("MTState")
    if state is not None:
        found["mt_state"] = (
            tuple(bool(s) for s in state) if isinstance(state, list) else sidecar.flag("MTState")
        )
    return found | {other: found[name] for name, other in _TRANSFER_FOR.items() if name in found}


def _check_number(sidecar: Sidecar, key: str, name: str, values: Sequence[float]) -> None:
    if name.startswith("b1_"):
        _check_b1(sidecar, key, values)
        return
    found = f"{min(values):g} to {max(values):g}" if len(values) > 1 else f"{values[0]:g}"
    if min(values) < 0:
        raise refuse_implausible(sidecar, key, found, "a number not below zero", "correct the sidecar")
    if name == "duty_cycle" and max(values) > 1:
        raise refuse_implausible(sidecar, key, found, "a fraction from 0 to 1", "divide percent by 100")
    if name in _LONGEST_S and max(values) > _LONGEST_S[name]:
        raise refuse_implausible(
            sidecar, key, found, f"s, at most {_LONGEST_S[name]:g}", "divide by 1000 if these are ms"
        )


def _check_b1(sidecar: Sidecar, key: str, values: Sequence[float]) -> None:
    used = [value for value in values if value != 0]
    if used and (min(used) < SMALLEST_B1_UT or max(used) > LARGEST_B1_UT):
        raise ImplausibleValue(
            f"{key} is not plausible",
            where=sidecar.where(key),
            found=f"{min(used):g} to {max(used):g}",
            needed=f"uT, {SMALLEST_B1_UT:g} to {LARGEST_B1_UT:g}",
            next_step="give B1 in microtesla",
        )


def _inconsistent_train(record: dict[str, Any]) -> tuple[Caution, ...]:
    """Whether duty cycle and duration are those of the pulses: tp/(tp + td), and n (tp + td) - td."""
    parts = [record.get(name) for name in ("pulse_duration_s", "pulse_interval_s", "pulse_count")]
    if not all(isinstance(one, (int, float)) for one in parts):
        return ()
    pulse, gap, count = (float(one) for one in parts if one is not None)
    if pulse <= 0:
        return ()
    expected = {"duty_cycle": pulse / (pulse + gap), "duration_s": count * (pulse + gap) - gap}
    wrong = [
        SATURATION_KEYS[name]
        for name, value in expected.items()
        if isinstance(record.get(name), (int, float)) and abs(record[name] - value) > _TRAIN_TOLERANCE * value
    ]
    if not wrong:
        return ()
    text = f"{' and '.join(wrong)} are not those of the pulse duration, interval and count"
    return (Caution("pulse-train-inconsistent", text, wrong[0]),)
