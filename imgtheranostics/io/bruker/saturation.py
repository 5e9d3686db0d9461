"""Saturation offsets and pulses of ParaVision methods: magnetisation and saturation transfer modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput, MissingMetadata
from imgtheranostics.io.bruker.dataset import Dataset
from imgtheranostics.io.bruker.jcampdx import as_number
from imgtheranostics.io.bruker.parameters import Parameters
from imgtheranostics.io.saturation_offsets import (
    LARGEST_B1_UT,
    UNSPECIFIED_B1,
    Placed,
    SaturationOffsets,
    place,
)

FloatArray = npt.NDArray[np.float64]

_OTHER_GROUPS = frozenset(
    {"FG_SLICE", "FG_ECHO", "FG_CARDIAC_MOVIE", "FG_DIFFUSION", "FG_DTI", "FG_FLOW", "FG_COIL"}
    | {"FG_ISA", "FG_COMPLEX", "FG_IRMODE"}
)
_PPM = "PVM_SatTransFreqValues"
_HERTZ = ("PVM_SatTransFL", "PVM_MagTransFL")
_SWITCHES = {_PPM: "PVM_SatTransOnOff", _HERTZ[0]: "PVM_SatTransOnOff", _HERTZ[1]: "PVM_MagTransOnOff"}
_SAME_PPM = 0.01
_MILLI = 1e-3


def saturation_of(dataset: Dataset, group: str, length: int) -> Placed | None:
    """Offsets of a loop over frames, where the method lists as many; None where it does not.

    ``PVM_SatTransFreqValues`` is in ppm (unless its unit says Hz), ``PVM_SatTransFL`` and ``PVM_MagTransFL``
    in Hz, to be divided by ``BF1``. Where there are several they must agree.

    Raises
    ------
    CorruptInput
        If the lists contradict each other.
    MissingMetadata
        If offsets in Hz come without the basic frequency.
    """
    method = dataset.method
    if method is None or group in _OTHER_GROUPS or length < 2:
        return None
    lists = {name: values for name in _SWITCHES if (values := _listed(method, name, length)) is not None}
    if not lists:
        return None
    in_ppm = {name: _in_ppm(dataset, method, name, values) for name, values in lists.items()}
    name = next(iter(in_ppm))
    for other, values in in_ppm.items():
        if not np.allclose(values, in_ppm[name], rtol=1e-4, atol=_SAME_PPM):
            raise CorruptInput(
                "two lists of saturation offsets contradict each other",
                where=f"{method.path}: {name} and {other}",
                needed="the same offsets in ppm and Hz / BF1",
                next_step="correct the method file: one of the two lists was not used",
            )
    hertz = _is_hertz(method, name)
    offsets = SaturationOffsets(
        tuple(float(v) for v in lists[name]),
        "Hz" if hertz else "ppm",
        "downfield_positive",
        imaging_frequency_mhz=_basic_frequency(dataset),
        record=_pulses(method, "MagTrans" if name == _HERTZ[1] else "SatTrans"),
        source="bruker",
        where=method.where(name),
    )
    return place(offsets, length)


def _listed(method: Parameters, name: str, length: int) -> FloatArray | None:
    """A list of the module that is switched on, with one finite number per step of the loop."""
    switch = method.text(_SWITCHES[name])
    if switch is not None and switch.lower() not in ("on", "yes"):
        return None
    values = method.numbers(name) if name in method else None
    if values is None or values.size != length or not np.isfinite(values).all():
        return None
    return values.ravel()


def _is_hertz(method: Parameters, name: str) -> bool:
    return name in _HERTZ or "hz" in (method.text("PVM_SatTransFreqUnit") or "unit_ppm").lower()


def _in_ppm(dataset: Dataset, method: Parameters, name: str, values: FloatArray) -> FloatArray:
    if not _is_hertz(method, name):
        return values
    frequency = _basic_frequency(dataset)
    if frequency is None:
        raise MissingMetadata(
            "saturation offsets in Hz need the basic frequency",
            where=method.where(name),
            needed="BF1 of the file acqp, in MHz",
            next_step="export the scan with its file acqp",
        )
    return np.asarray(values / frequency)


def _basic_frequency(dataset: Dataset) -> float | None:
    stated = dataset.acqp.number("BF1") if dataset.acqp is not None else None
    frequency = stated if stated is not None else dataset.visu.number("VisuAcqImagingFrequency")
    return frequency if frequency is not None and frequency > 0 else None


def _pulses(method: Parameters, module: str) -> dict[str, Any]:
    """Count, gap, duration and B1 of the pulses; B1 has a definition for block pulses only."""
    saturation = module == "SatTrans"
    count = method.number("PVM_SatTransNPulses" if saturation else "PVM_MagTransPulsNumb")
    gap = method.number("PVM_SatTransInterPulseDelay" if saturation else "PVM_MagTransInterDelay")
    pulse = "PVM_SatTransPulse" if saturation else "PVM_MagTransPulse1"
    b1 = method.number("PVM_SatTransPulseAmpl_uT" if saturation else "PVM_MagTransPower")
    structs = method.structs(pulse) if pulse in method else ()
    duration = _first_number(structs)
    shape = (method.text(f"{pulse}Enum") or "").lower()
    record: dict[str, Any] = {
        "pulse_count": count,
        "pulse_interval_s": None if gap is None else gap * _MILLI,
        "pulse_duration_s": None if duration is None else duration * _MILLI,
    }
    if b1 is not None and 0 < b1 <= LARGEST_B1_UT:
        block = saturation and shape.startswith("bp")
        names = ("b1_rms_ut", "b1_mean_ut") if block else (UNSPECIFIED_B1,)
        record |= dict.fromkeys(names, b1)
        if block:
            record["pulse_shape"] = "block"
    return {key: value for key, value in record.items() if value is not None}


def _first_number(structs: tuple[tuple[Any, ...], ...]) -> float | None:
    value = as_number(structs[0][0]) if structs and structs[0] else None
    return value if value is not None and value > 0 else None
