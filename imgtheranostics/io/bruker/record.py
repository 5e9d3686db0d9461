"""The acquisition record of a ParaVision scan; nothing in it names a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from imgtheranostics.acquisition import MrAcquisition, Subject
from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.io.bruker.axes import MILLISECONDS_PER_S, STEPPED
from imgtheranostics.io.bruker.dataset import Dataset
from imgtheranostics.io.bruker.frame_groups import IndexArray
from imgtheranostics.volume import Axis

PROTON_MHZ_PER_T = 42.577478
FREQUENCY_RATIO = {
    "1H": 1.0,
    "2H": 0.15350609,
    "3HE": 0.76179437,
    "7LI": 0.38863797,
    "13C": 0.25145020,
    "15N": 0.10136767,
    "17O": 0.13556457,
    "19F": 0.94094011,
    "23NA": 0.26451900,
    "31P": 0.40480742,
    "129XE": 0.27810186,
}
"""Resonance frequencies relative to the proton's: IUPAC 2001, doi:10.1351/pac200173111795."""

_LONGEST_S = {"echo_time": 5.0, "repetition_time": 60.0, "inversion_time": 60.0}
_SHORTEST_ECHO_S = 5e-5
_ULTRASHORT = ("UTE", "ZTE")
_FALLBACKS = {
    "echo_time": (("method", "PVM_EchoTime"), ("method", "EchoTime"), ("acqp", "ACQ_echo_time")),
    "repetition_time": (("method", "PVM_RepetitionTime"), ("acqp", "ACQ_repetition_time")),
    "flip_angle": (("acqp", "ACQ_flip_angle"),),
    "inversion_time": (),
}
_ECHO_KINDS = {"SPINECHO": ("SE",), "GRADIENTECHO": ("GR",), "BOTH": ("SE", "GR")}
COMPONENTS = {
    "MAGNITUDE_IMAGE": "magnitude",
    "PHASE_IMAGE": "phase",
    "REAL_IMAGE": "real",
    "IMAGINARY_IMAGE": "imaginary",
}


def acquisition_of(
    dataset: Dataset, chosen: IndexArray, axes: Sequence[Axis], component: str | None
) -> MrAcquisition:
    """The record of one volume.

    Parameters
    ----------
    dataset : Dataset
    chosen : (n_slices, *axes) ndarray
        Its frames.
    axes : sequence of Axis
    component : str or None
        Magnitude, phase, real or imaginary.

    Raises
    ------
    ImplausibleValue
        If a time cannot be one in ms.
    """
    visu = dataset.visu
    on_axes = {axis.name for axis in axes}
    single = {name: _single(dataset, name, chosen) for name in STEPPED if name not in on_axes}
    _check_times(dataset, single, axes)
    varying = _varying(dataset, chosen, on_axes)
    repetition = varying.get("repetition_time", ())
    nucleus = visu.text("VisuAcqImagedNucleus") or _acqp_text(dataset, "NUCLEUS")
    frequency = visu.number("VisuAcqImagingFrequency")
    repetitions = next((axis for axis in axes if axis.name == "time" and len(axis) > 1), None)
    return MrAcquisition(
        manufacturer="Bruker",
        model=visu.text("VisuStation"),
        field_strength_t=_field(dataset, nucleus, frequency),
        imaging_frequency_mhz=frequency,
        nucleus=nucleus,
        repetition_time_s=single.get("repetition_time"),
        echo_time_s=single.get("echo_time"),
        inversion_time_s=single.get("inversion_time"),
        flip_angle_deg=single.get("flip_angle"),
        echo_spacing_s=_echo_spacing(axes),
        sequence=visu.text("VisuAcqSequenceName"),
        scanning_sequence=_ECHO_KINDS.get((visu.text("VisuAcqEchoSequenceType") or "").upper(), ()),
        image_component=component,
        value_scale="rescaled",
        temporal_resolution_s=None if repetitions is None else float(np.diff(repetitions.values)[0]),
        acquisition_datetime=parse_moment(visu.text("VisuAcqDate")),
        sample_parameters=varying,
        repetition_times_s=repetition,
        subject=_subject(dataset),
    )


def absent_cautions(record: MrAcquisition, axes: Sequence[Axis]) -> tuple[Caution, ...]:
    """A caution that names the parameters that the files do not tell."""
    on_axes = {axis.name for axis in axes}
    names = {
        "field_strength_t": "field strength",
        "repetition_time_s": "repetition time",
        "echo_time_s": "echo time",
        "flip_angle_deg": "flip angle",
        "nucleus": "nucleus",
    }
    absent = [
        word
        for name, word in names.items()
        if getattr(record, name) is None
        and name.removesuffix("_s").removesuffix("_deg") not in on_axes
        and not (name == "repetition_time_s" and record.repetition_times_s)
    ]
    if not absent:
        return ()
    return (
        Caution(
            "acquisition-incomplete",
            f"the parameter files do not tell: {', '.join(absent)}",
            "visu_pars, method, acqp",
        ),
    )


def _single(dataset: Dataset, name: str, chosen: IndexArray) -> float | None:
    parameter, unit = STEPPED[name]
    divisor = MILLISECONDS_PER_S if unit == "s" else 1.0
    values = dataset.frames.assigned(dataset.visu, parameter)
    if values is not None:
        mine = values[chosen.ravel()]
        return float(mine[0]) / divisor if np.isfinite(mine).all() and (mine == mine[0]).all() else None
    for file, other in _FALLBACKS[name]:
        source = dataset.method if file == "method" else dataset.acqp
        value = None if source is None else source.number(other)
        if value is not None:
            return value / divisor
    return None


def _varying(dataset: Dataset, chosen: IndexArray, on_axes: set[str]) -> dict[str, tuple[float, ...]]:
    """Parameters that vary from sample to sample without being an axis, such as TR between inversions."""
    found: dict[str, tuple[float, ...]] = {}
    samples = chosen.reshape(len(chosen), -1, order="F")
    for name, (parameter, unit) in STEPPED.items():
        values = dataset.frames.assigned(dataset.visu, parameter)
        if name in on_axes or values is None:
            continue
        table = values[samples] / (MILLISECONDS_PER_S if unit == "s" else 1.0)
        if np.isfinite(table).all() and (table == table[:1]).all() and (table != table.flat[0]).any():
            found[name] = tuple(float(v) for v in table[0])
    return found


def _check_times(dataset: Dataset, single: dict[str, float | None], axes: Sequence[Axis]) -> None:
    values = {name: [value] for name, value in single.items() if value is not None}
    values |= {axis.name: axis.values.tolist() for axis in axes if axis.name in STEPPED}
    flips = values.get("flip_angle", [])
    if len(flips) > 1 and max(flips) <= np.pi:
        raise _implausible(dataset, "flip_angle", max(flips), "degrees: these look like radians")
    ultrashort = (dataset.visu.text("VisuAcqSequenceName") or "").upper()
    for name, longest in _LONGEST_S.items():
        for value in values.get(name, []):
            short = name == "echo_time" and 0 < value < _SHORTEST_ECHO_S
            if value > longest or value < 0 or (short and not any(w in ultrashort for w in _ULTRASHORT)):
                raise _implausible(dataset, name, value * MILLISECONDS_PER_S, "milliseconds")


def _implausible(dataset: Dataset, name: str, value: float, needed: str) -> ImplausibleValue:
    return ImplausibleValue(
        f"the {name.replace('_', ' ')} is not plausible",
        where=dataset.visu.where(STEPPED[name][0]),
        found=f"{value:g}",
        needed=needed,
        next_step="check the parameter file",
    )


def _field(dataset: Dataset, nucleus: str | None, frequency: float | None) -> float | None:
    """The stated field, else that of the resonance frequency of the nucleus."""
    stated = dataset.visu.number("VisuMagneticFieldStrength")
    if stated is not None and stated > 0:
        return stated
    ratio = FREQUENCY_RATIO.get((nucleus or "").upper())
    base = None if dataset.acqp is None else dataset.acqp.number("BF1")
    if base is not None and _acqp_text(dataset, "NUCLEUS") not in (None, nucleus):
        base = None
    measured = base or frequency
    return measured / (ratio * PROTON_MHZ_PER_T) if ratio and measured and measured > 0 else None


def _acqp_text(dataset: Dataset, name: str) -> str | None:
    return None if dataset.acqp is None else dataset.acqp.text(name)


def _echo_spacing(axes: Sequence[Axis]) -> float | None:
    echoes = next((axis.values for axis in axes if axis.name == "echo_time" and len(axis) > 1), None)
    if echoes is None:
        return None
    steps = np.diff(echoes)
    return float(steps.mean()) if np.allclose(steps, steps[0], rtol=1e-3) else None


def _subject(dataset: Dataset) -> Subject:
    weight = dataset.visu.number("VisuSubjectWeight")
    sex = (dataset.visu.text("VisuSubjectSex") or "").upper()
    return Subject(
        weight_kg=weight if weight is not None and weight > 0 else None,
        sex={"MALE": "M", "FEMALE": "F"}.get(sex),
    )


_PATTERNS = ("%H:%M:%S %d %b %Y", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f")


def parse_moment(text: str | None) -> datetime | None:
    """A moment as ParaVision 5 or 6 and later write it, on the scanner's clock; None for anything else."""
    for pattern in _PATTERNS if text else ():
        try:
            return datetime.strptime((text or "").replace(",", "."), pattern).replace(tzinfo=None)
        except ValueError:
            continue
    return None
