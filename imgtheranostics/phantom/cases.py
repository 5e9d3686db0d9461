"""The images of a phantom as cases: which value of each series axis every volume and frame belongs to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from imgtheranostics.phantom.series import AxisSpec
from imgtheranostics.phantom.spec import PhantomSpec

Value = float | str
Case = Mapping[str, Value]
"""Axis kind to the value that one volume has there."""


FITTED = frozenset({"flip_angle", "echo", "inversion", "offset", "wavelength"})
"""Dynamic axes of which an analysis makes one map; they make frames only where a value of them is named."""
WHOLE_SERIES = frozenset({"ktrans", "ve", "vp", "cem43", "specific_absorption_rate"})
"""Quantities of which a series in time gives one map."""


def all_axes(spec: PhantomSpec) -> tuple[AxisSpec, ...]:
    """Every series axis, the first one first."""
    return (spec.axis, *spec.axes)


def cases_of(spec: PhantomSpec) -> tuple[Case, ...]:
    """One case per volume: all combinations of the axes that make scans of their own, the last one fastest.

    A dynamic axis makes frames within a volume and is left out.
    """
    separate = [axis for axis in all_axes(spec) if axis.layout == "separate"]
    return tuple(
        {axis.kind: value for axis, value in zip(separate, values, strict=True)}
        for values in product(*(axis.values for axis in separate))
    )


def largest_samples(spec: PhantomSpec) -> int:
    """The most samples that one volume can have beyond space."""
    dynamic = [axis for axis in all_axes(spec) if axis.layout == "dynamic"]
    fitted = max((len(axis.values) for axis in dynamic if axis.kind in FITTED), default=1)
    return fitted * math.prod(len(axis.values) for axis in dynamic if axis.kind not in FITTED)


def frames_axis(spec: PhantomSpec, quantity: str, when: Mapping[Any, Value]) -> AxisSpec | None:
    """The axis whose values are frames of what an analysis finds of a quantity, or None.

    Parameters
    ----------
    spec : PhantomSpec
    quantity : str
        Empty for the image itself.
    when
        As `places`.
    """
    dynamic = [axis for axis in all_axes(spec) if axis.layout == "dynamic"]
    for axis in dynamic:
        if axis.kind in FITTED and axis.kind in when:
            return axis
    left = [axis for axis in dynamic if axis.kind not in FITTED]
    return left[0] if left and quantity not in WHOLE_SERIES else None


def places(
    spec: PhantomSpec,
    cases: Sequence[Case],
    at: Sequence[Value],
    when: Mapping[Any, Value],
    quantity: str = "",
) -> Iterator[tuple[int, int, str]]:
    """Volume, frame and printed axis value of everything that `at` and `when` choose.

    Parameters
    ----------
    spec : PhantomSpec
    cases : sequence of Case
        Of each volume.
    at : sequence of values
        ``all``, or values of any axis; of those axes that it names, one of its values is needed.
    when : mapping of axis kind to value
    quantity : str
        What is looked for there, which decides what its frames are.
    """
    frames = frames_axis(spec, quantity, when)
    named = {axis.kind: [value for value in at if value in axis.values] for axis in all_axes(spec)}
    for volume, case in enumerate(cases):
        for frame in range(len(frames.values) if frames else 1):
            here = dict(case)
            if frames:
                here[frames.kind] = frames.values[frame]
            wanted = all(here.get(kind) == value for kind, value in when.items())
            if "all" not in at:
                wanted = wanted and all(here.get(k) in values for k, values in named.items() if values)
            if wanted:
                yield volume, frame, ", ".join(printed(value) for value in here.values())


def printed(value: Value) -> str:
    """An axis value as a table prints it."""
    return value if isinstance(value, str) else f"{value:g}"
