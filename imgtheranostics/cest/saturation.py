"""What a scan says of its saturation: offsets, and B1 by its definition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.pulse_train import check_offsets
from imgtheranostics.errors import MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.mr_signal import check_signal, mr_record
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]

_SAME_B1 = 0.01
_CONTINUOUS = 1.0


def saturation_offsets(v: Volume) -> FloatArray:
    """The saturation offset of each image of a scan in ppm; NaN where the loader found a reference.

    Raises
    ------
    MissingMetadata
        If the file does not say at which offsets the images were taken, or they are in Hz and the imaging
        frequency is not known.
    UnsupportedInput
        If the images vary in something else too.
    UnitMismatch
        If it is no signal.
    ImplausibleValue
        If offsets in ppm must be in Hz.
    """
    check_signal(v, "CEST")
    axis = v.axis("saturation_offset")
    if axis is None:
        told = [one.message for one in v.warnings if one.code == "offsets-missing"]
        axes = ", ".join(f"{one.name} x {len(one)}" for one in v.axes) or "one image"
        raise MissingMetadata(
            "the saturation offset of each image is not known",
            where="sidecar key SaturationOffsets",
            found="; ".join([axes, *told]),
            needed="one offset in ppm for each image",
            next_step="write SaturationOffsets into the sidecar, or give the list of offsets (--offsets)",
        )
    if len(v.axes) > 1:
        raise UnsupportedInput(
            "the images vary in more than the saturation offset",
            found=", ".join(f"{one.name} x {len(one)}" for one in v.axes),
            needed="one Z-spectrum in each voxel",
            next_step="choose one sample of the other axis; or see correct_b1 and exchange_rate",
        )
    if axis.unit == "ppm":
        known = axis.values[np.isfinite(axis.values)]
        if known.size:
            check_offsets(known)
        return np.array(axis.values)
    if axis.unit != "Hz":
        raise UnitMismatch("the unit of the saturation offsets is not known", found=axis.unit, needed="ppm")
    return np.asarray(axis.values / imaging_frequency_mhz(v, "saturation offsets in Hz need"))


def imaging_frequency_mhz(v: Volume, purpose: str) -> float:
    """The imaging frequency; MissingMetadata, led in by `purpose`, where the file does not state it."""
    frequency = mr_record(v).imaging_frequency_mhz
    if frequency is None:
        raise MissingMetadata(
            f"{purpose} the imaging frequency",
            where="ImagingFrequency (0018,0084); sidecar key ImagingFrequency",
            needed="the imaging frequency in MHz",
            next_step="write ImagingFrequency into the sidecar, or give values in ppm",
        )
    return frequency


@dataclass(frozen=True, slots=True)
class SaturationB1:
    """B1 of the saturation as the continuous wave of equal power, uT, and what it was taken from."""

    b1_ut: float
    decision: dict[str, Any]


def saturation_b1(v: Volume, given_ut: float | None = None, *, purpose: str) -> SaturationB1:
    """The B1 of a scan's saturation by its definition.

    Parameters
    ----------
    v : Volume
    given_ut : float, optional
        Instead of the file's value, as the continuous wave of equal power.
    purpose : str
        What needs it.

    Raises
    ------
    MissingMetadata
        If no B1 is stated, or not by which definition, or the duty cycle of a train is not known.
    UnsupportedInput
        If it differs between the images.
    """
    if given_ut is not None:
        if not (np.isfinite(given_ut) and 0 < given_ut <= 200.0):
            raise UnknownChoice(f"b1_ut must lie between 0 and 200 uT, not {given_ut!r}")
        return SaturationB1(float(given_ut), {"rule": "given", "b1_cwpe_ut": float(given_ut)})
    stated = {name: _one_value(v, name) for name in ("b1_cwpe_ut", "b1_rms_ut", "b1_mean_ut")}
    if stated["b1_cwpe_ut"] is not None:
        return SaturationB1(
            stated["b1_cwpe_ut"], {"rule": "file, continuous-wave equivalent", **_known(stated)}
        )
    duty = duty_cycle(v)
    if stated["b1_rms_ut"] is not None and duty is not None:
        value = stated["b1_rms_ut"] * duty**0.5
        rule = "file, rms of the pulse times the root of the duty cycle"
        return SaturationB1(value, {"rule": rule, **_known(stated), "duty_cycle": duty, "b1_cwpe_ut": value})
    if stated["b1_mean_ut"] is not None and duty is not None and _is_block(v):
        value = stated["b1_mean_ut"] * duty**0.5
        rule = "file, mean of block pulses times the root of the duty cycle"
        return SaturationB1(value, {"rule": rule, **_known(stated), "duty_cycle": duty, "b1_cwpe_ut": value})
    found = ", ".join(f"{name} {value:g}" for name, value in _known(stated).items())
    raise MissingMetadata(
        f"the B1 of the saturation is not known by its definition; {purpose} needs it",
        where="sidecar keys SaturationB1cwpe, SaturationB1rms, SaturationDutyCycle",
        found=f"{found}, without " + ("the duty cycle" if duty is None else "the pulse shape")
        if found
        else None,
        needed="SaturationB1cwpe, or SaturationB1rms and SaturationDutyCycle (1 for continuous saturation)",
        next_step="write them into the sidecar, or give --b1-ut (b1_ut=) as continuous-wave equivalent",
    )


def stated_b1(v: Volume) -> dict[str, float]:
    """The B1 that a scan states, by definition, for the record of contrasts that depend on it."""
    names = ("b1_rms_ut", "b1_mean_ut", "b1_cwpe_ut")
    return _known({name: _one_value(v, name) for name in names})


def duty_cycle(v: Volume) -> float | None:
    """Share of the saturation that pulses take: stated, or from pulse and gap; 1 for a single pulse."""
    stated = _one_value(v, "duty_cycle")
    if stated is not None:
        return stated
    pulse, gap = _one_value(v, "pulse_duration_s"), _one_value(v, "pulse_interval_s")
    if pulse is not None and gap is not None and pulse > 0:
        return pulse / (pulse + gap)
    if _one_value(v, "pulse_count") == 1:
        return _CONTINUOUS
    return None


def pulse_duration_s(v: Volume) -> float | None:
    """Duration of one pulse, where the file states it."""
    return _one_value(v, "pulse_duration_s")


def saturation_time_s(v: Volume) -> float | None:
    """Duration of the saturation: stated, or that of the train."""
    stated = _one_value(v, "duration_s")
    if stated is not None:
        return stated
    pulse, gap, count = (
        _one_value(v, name) for name in ("pulse_duration_s", "pulse_interval_s", "pulse_count")
    )
    if pulse is None or count is None or (gap is None and count != 1):
        return None
    return count * (pulse + (gap or 0.0)) - (gap or 0.0)


def block_pulses(v: Volume) -> tuple[float, float, float, int]:
    """Amplitude in uT, duration and gap in s, and number of the block pulses that a scan states.

    Raises
    ------
    MissingMetadata
        If it does not state block pulses, or not all of that.
    """
    values = stated_b1(v)
    amplitude = values.get("b1_mean_ut", values.get("b1_rms_ut"))
    duty, count = duty_cycle(v), _one_value(v, "pulse_count")
    continuous = duty == _CONTINUOUS and count in (None, 1.0)
    if amplitude is None and continuous:
        amplitude = values.get("b1_cwpe_ut")
    duration = pulse_duration_s(v)
    if duration is None and continuous:
        duration, count = _one_value(v, "duration_s"), 1.0
    gap = _one_value(v, "pulse_interval_s")
    gap = 0.0 if gap is None and count == 1.0 else gap
    if (
        amplitude is None
        or duration is None
        or gap is None
        or count is None
        or not (_is_block(v) or continuous)
    ):
        raise MissingMetadata(
            "the saturation of the scan is not stated as block pulses; a simulation needs it",
            where="sidecar keys SaturationPulseShape, SaturationB1rms, SaturationPulseDuration, "
            "SaturationPulseInterval, SaturationPulseCount",
            needed="block pulses with B1, duration, interval and number; or the sequence",
            next_step="give the sequence: sequence=PulseTrain(...), or its .seq file",
        )
    return amplitude, duration, gap, round(count)


def _is_block(v: Volume) -> bool:
    shape = mr_record(v).saturation.get("pulse_shape")
    return isinstance(shape, str) and shape.lower() in ("block", "rect", "rectangular", "square", "hard")


def _known(stated: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in stated.items() if value is not None}


def _one_value(v: Volume, name: str) -> float | None:
    """A value of the saturation that is the same for all saturated images."""
    value = mr_record(v).saturation.get(name)
    if value is None:
        return None
    values = np.atleast_1d(np.asarray(value, np.float64))
    used = values[np.isfinite(values) & (values > 0)] if name.startswith("b1_") else values
    if not used.size:
        return None
    if np.ptp(used) > _SAME_B1 * abs(float(used[0])):
        raise UnsupportedInput(
            f"{name} differs between the images of one spectrum",
            found=f"{used.min():g} to {used.max():g}",
            needed="one value for all offsets",
            next_step="give the images of each value as a scan of their own",
        )
    return float(used[0])
