"""Which parameter a loop over frames steps through: a time of the sequence, an angle, or the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.io.bruker.dataset import Dataset
from imgtheranostics.io.bruker.frame_groups import FrameGroup
from imgtheranostics.io.bruker.parameters import Parameters
from imgtheranostics.io.bruker.saturation import saturation_of
from imgtheranostics.io.saturation_offsets import Placed
from imgtheranostics.volume import Axis

FloatArray = npt.NDArray[np.float64]

STEPPED = {
    "inversion_time": ("VisuAcqInversionTime", "s"),
    "echo_time": ("VisuAcqEchoTime", "s"),
    "flip_angle": ("VisuAcqFlipAngle", "deg"),
    "repetition_time": ("VisuAcqRepetitionTime", "s"),
}
"""Axis name -> Visu parameter and axis unit, in the order in which a loop is asked what it steps through."""

_LOOPS = frozenset({"FG_MOVIE", "FG_CYCLE", "FG_IRMODE", "FG_UNKNOWN"})
_ELSEWHERE = (
    ("method", "MultiRepTime", "repetition_time", _LOOPS),
    ("method", "PVM_SelIrInvTime", "inversion_time", _LOOPS),
    ("method", "EffectiveTE", "echo_time", frozenset({"FG_ECHO"})),
    ("acqp", "ACQ_inversion_time", "inversion_time", _LOOPS),
    ("acqp", "ACQ_repetition_time", "repetition_time", _LOOPS),
    ("acqp", "ACQ_echo_time", "echo_time", frozenset({"FG_ECHO"})),
)
"""Lists of the method and of the acquisition that stand for what visu_pars does not say."""

MILLISECONDS_PER_S = 1000.0
"""Divided by, so that 700 ms are 0.7 s and not 0.7000000000000001 s."""


@dataclass(frozen=True, slots=True)
class Stepping:
    """The axes of a file, one per group but slices and maps.

    Attributes
    ----------
    axes : mapping
        Place of the group -> its axis.
    along : mapping
        Parameters that vary along a group beside its axis: (group, axis name) -> values in s or degrees.
    cautions : tuple of Caution
    saturation : Placed or None
        Of the group that steps through saturation offsets.
    """

    axes: Mapping[int, Axis]
    along: Mapping[tuple[int, str], FloatArray] = field(default_factory=dict)
    cautions: tuple[Caution, ...] = ()
    saturation: Placed | None = None


def axes_of(dataset: Dataset, groups: Sequence[int]) -> Stepping:
    """The axes of some of a file's groups.

    Parameters
    ----------
    dataset : Dataset
    groups : sequence of int
        Places of the groups in the file's order.
    """
    axes: dict[int, Axis] = {}
    along: dict[tuple[int, str], FloatArray] = {}
    cautions = [
        _unassigned(parameter) for parameter, _ in STEPPED.values() if _does_not_fit(dataset, parameter)
    ]
    saturation: Placed | None = None
    for place in groups:
        stepped, uneven = _stepped(dataset, place)
        cautions += [_uneven(name) for name in uneven]
        group = dataset.frames.groups[place]
        placed = None
        if not stepped and saturation is None:
            placed = saturation_of(dataset, group.name, group.length)
        if placed is not None:
            saturation, axes[place] = placed, placed.axes[0]
            cautions += placed.cautions
            continue
        name, values = _chosen(dataset, place, stepped, axes)
        if name is None or values is None:
            axes[place] = Axis(
                "component", np.arange(dataset.frames.groups[place].length, dtype=np.float64), "1"
            )
            cautions.append(_unknown(dataset.frames.groups[place]))
            continue
        unit = "deg" if name == "flip_angle" else "s"
        axes[place] = Axis(name, values, unit)
        along.update({(place, other): v for other, v in stepped.items() if other != name})
    return Stepping(axes, along, tuple(dict.fromkeys(cautions)), saturation)


def steps_through_inversion(dataset: Dataset, place: int) -> bool:
    """Whether a group steps through inversion times, rather than through kinds of inversion."""
    found, _ = _stepped(dataset, place)
    group = dataset.frames.groups[place]
    return "inversion_time" in found or _elsewhere(dataset, group, taken=())[0] == "inversion_time"


def _chosen(
    dataset: Dataset, place: int, stepped: Mapping[str, FloatArray], axes: Mapping[int, Axis]
) -> tuple[str | None, FloatArray | None]:
    taken = tuple(axis.name for axis in axes.values())
    for stepped_name, stepped_values in stepped.items():
        if stepped_name not in taken:
            return stepped_name, stepped_values
    group = dataset.frames.groups[place]
    name, values = _elsewhere(dataset, group, taken)
    if name is None and group.name == "FG_CYCLE" and "time" not in taken:
        starts = _repetitions(dataset, place)
        return (None, None) if starts is None else ("time", starts)
    return name, values


def _stepped(dataset: Dataset, place: int) -> tuple[dict[str, FloatArray], list[str]]:
    """Parameters that vary along a group and with nothing else; and those that vary with slices too."""
    found: dict[str, FloatArray] = {}
    uneven: list[str] = []
    order = np.moveaxis(dataset.frames.number_of(), place, 0).reshape(dataset.frames.shape[place], -1)
    for name, (parameter, unit) in STEPPED.items():
        values = dataset.frames.assigned(dataset.visu, parameter)
        if values is None or not np.isfinite(values).all():
            continue
        table = values[order] / (MILLISECONDS_PER_S if unit == "s" else 1.0)
        if (table == table[0]).all():
            continue
        if (table == table[:, :1]).all():
            found[name] = table[:, 0]
        elif _varies_with_slices(dataset, values):
            uneven.append(name)
    return found, uneven


def _varies_with_slices(dataset: Dataset, values: FloatArray) -> bool:
    place = dataset.frames.find("FG_SLICE")
    if place is None:
        return False
    table = np.moveaxis(dataset.frames.number_of(), place, 0).reshape(dataset.frames.shape[place], -1)
    return bool((values[table] != values[table][:1]).any())


def _elsewhere(
    dataset: Dataset, group: FrameGroup, taken: Sequence[str]
) -> tuple[str | None, FloatArray | None]:
    for file, parameter, name, loops in _ELSEWHERE:
        source: Parameters | None = dataset.method if file == "method" else dataset.acqp
        if source is None or group.name not in loops or name in taken:
            continue
        values = source.numbers(parameter)
        if values is None or values.size != group.length or not np.isfinite(values).all():
            continue
        if (values != values.flat[0]).any():
            return name, values.ravel() / MILLISECONDS_PER_S
    return None, None


def _repetitions(dataset: Dataset, place: int) -> FloatArray | None:
    """Start times of repetitions, which share the scan time equally where nothing loops outside of them."""
    total = dataset.visu.number("VisuAcqScanTime")
    count = dataset.frames.groups[place].length
    outer = [
        group for group in dataset.frames.groups[place + 1 :] if group.name not in ("FG_SLICE", "FG_ECHO")
    ]
    if total is None or total <= 0 or any(group.length > 1 for group in outer):
        return None
    return np.arange(count, dtype=np.float64) * (total / MILLISECONDS_PER_S / count)


def _does_not_fit(dataset: Dataset, parameter: str) -> bool:
    return (
        dataset.visu.numbers(parameter) is not None
        and dataset.frames.assigned(dataset.visu, parameter) is None
    )


def _unassigned(parameter: str) -> Caution:
    return Caution(
        "parameter-not-assigned",
        "a list of the acquisition has neither one value per frame nor one per step of a loop: not used",
        f"visu_pars: {parameter}",
    )


def _uneven(name: str) -> Caution:
    return Caution(
        "differs-between-slices",
        f"the {name.replace('_', ' ')} differs between slices, so that it is no axis of the whole volume",
        f"visu_pars: {STEPPED[name][0]}",
    )


_GROUP_WORDS = {
    "FG_ECHO": "echoes",
    "FG_CYCLE": "repetitions",
    "FG_MOVIE": "movie frames",
    "FG_CARDIAC_MOVIE": "phases of the heart cycle",
    "FG_DIFFUSION": "diffusion weightings",
    "FG_DTI": "diffusion weightings",
    "FG_FLOW": "flow encodings",
    "FG_COIL": "coil elements",
}


def _unknown(group: FrameGroup) -> Caution:
    what = _GROUP_WORDS.get(group.name, "images")
    return Caution(
        "axis-unknown",
        f"no parameter tells the {group.length} {what} apart: they are numbered",
        "visu_pars: VisuGroupDepVals",
    )
