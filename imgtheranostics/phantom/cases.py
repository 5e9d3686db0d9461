"""The images of a phantom as cases: which value of each series axis every volume and frame belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from imgtheranostics.phantom.series import AxisSpec
from imgtheranostics.phantom.spec import PhantomSpec

Value = float | str
Case = Mapping[str, Value]
"""Axis kind to the value that one volume has there."""


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


def dynamic_axis(spec: PhantomSpec) -> AxisSpec | None:
    """The axis whose values are frames of one volume, or None."""
    return next((axis for axis in all_axes(spec) if axis.layout == "dynamic"), None)


def places(
    spec: PhantomSpec, cases: Sequence[Case], at: Sequence[Value], when: Mapping[Any, Value]
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
    """
    frames = dynamic_axis(spec)
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
