"""The scans of an MR phantom: the main one for each case of its axes, and those beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from imgtheranostics.errors import MissingMetadata
from imgtheranostics.phantom.cases import Case, cases_of, printed
from imgtheranostics.phantom.mri_scanner import MriScanner, MrSequence
from imgtheranostics.phantom.spec import AxisSpec, PhantomSpec
from imgtheranostics.units import conversion_factor
from imgtheranostics.volume import Axis

BEFORE = "before"
"""Value of a state axis at which there is no agent yet."""

_SAMPLED = {
    "spoiled_gradient_echo": ("flip_angle",),
    "multi_echo": ("echo",),
    "spin_echo": ("echo",),
    "inversion_recovery": ("inversion",),
    "saturation_recovery": ("repetition",),
    "phase_shift": (),
}
"""Axes along which one image of a sequence is sampled, apart from time."""
_NAMES = {
    "flip_angle": ("flip_angle", "deg"),
    "echo": ("echo_time", "s"),
    "inversion": ("inversion_time", "s"),
    "repetition": ("repetition_time", "s"),
}
_LISTS = {
    "flip_angle": "flip_angles_deg",
    "echo": "echo_times_ms",
    "inversion": "inversion_times_ms",
    "repetition": "repetition_times_ms",
}
_NEEDED = {
    "spoiled_gradient_echo": ("repetition_time_ms",),
    "multi_echo": ("repetition_time_ms", "flip_angle_deg"),
    "spin_echo": ("repetition_time_ms",),
    "inversion_recovery": ("repetition_time_ms",),
    "phase_shift": ("repetition_time_ms", "echo_time_ms"),
}


@dataclass(frozen=True, eq=False)
class Scan:
    """One image.

    Attributes
    ----------
    name : str
        Fit for a file name.
    role : str
        Empty for the main scan, else the name that the phantom file gives it.
    case : mapping
        Its value on each series axis; of a further scan only those it is repeated for.
    sequence : MrSequence
    component : str
        ``magnitude`` or ``phase``.
    agent : bool
        Whether the agent is in the subject.
    axes : tuple of Axis
        Its samples, the first fastest.
    field_t : float
    """

    name: str
    role: str
    case: Case
    sequence: MrSequence
    component: str
    agent: bool
    axes: tuple[Axis, ...]
    field_t: float

    def samples(self) -> Iterator[dict[str, float]]:
        """Value of each axis in each sample, in s and degrees."""
        for values in product(*(axis.values.tolist() for axis in reversed(self.axes))):
            yield {axis.name: value for axis, value in zip(reversed(self.axes), values, strict=True)}

    @property
    def snr(self) -> float | None:
        """Signal-to-noise ratio of its own, where the file gives it one."""
        return getattr(self.sequence, "snr", None)

    def without_agent(self) -> Scan:
        """The same scan before the agent."""
        return replace(self, agent=False)

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(np.prod([len(axis) for axis in self.axes], dtype=np.int64))


def scanner_of(spec: PhantomSpec) -> MriScanner:
    """The MR scanner of a phantom.

    Raises
    ------
    MissingMetadata
        If the file describes none.
    """
    scanner = spec.physics_of("MRI").mri
    if scanner is None:
        raise MissingMetadata(f"{spec.slug} does not describe its MR scanner", where="physics", needed="mri")
    return scanner


def scans_of(spec: PhantomSpec) -> tuple[Scan, ...]:
    """All scans: first the main one for each case, then the magnitude of phases, then those beside it."""
    scanner = scanner_of(spec)
    main = [_scan(spec, scanner, "", case) for case in mri_cases(spec)]
    found = [*main, *(_magnitude(scan) for scan in main if scan.component == "phase")]
    for further in scanner.scans:
        axes = [axis for axis in (spec.axis, *spec.axes) if axis.kind in further.per]
        for values in product(*(axis.values for axis in axes)):
            case: Case = {axis.kind: value for axis, value in zip(axes, values, strict=True)}
            found.append(_scan(spec, further, further.name, case))
    return tuple(found)


def mri_cases(spec: PhantomSpec) -> tuple[Case, ...]:
    """The cases of the main scan; of a phantom with a modality axis only those of MRI."""
    return tuple(case for case in cases_of(spec) if case.get("modality", "MRI") == "MRI")


def _scan(spec: PhantomSpec, sequence: MrSequence, role: str, case: Case) -> Scan:
    before = case.get("state") == BEFORE or getattr(sequence, "before", False)
    field = case.get("field", scanner_of(spec).field_t)
    if field is None:
        raise MissingMetadata(
            f"{spec.slug} does not say its field strength", where="physics.mri", needed="field_t"
        )
    for name in _NEEDED.get(sequence.sequence, ()):
        if getattr(sequence, name) is None:
            raise MissingMetadata(
                f"the scan {role or 'of ' + spec.slug} lacks a parameter", where="physics.mri", needed=name
            )
    words = [role, *(_part(kind, value) for kind, value in case.items() if kind != "modality")]
    return Scan(
        name="_".join(word for word in words if word) or "scan",
        role=role,
        case=case,
        sequence=sequence,
        component="phase" if sequence.sequence == "phase_shift" else "magnitude",
        agent=not before,
        axes=_axes(spec, sequence, main=not role),
        field_t=float(field),
    )


def _part(kind: str, value: float | str) -> str:
    return f"{kind.replace('_', '-')}-{printed(value)}"


def _magnitude(scan: Scan) -> Scan:
    name = f"{scan.name}_magnitude" if scan.name != "scan" else "magnitude"
    return replace(scan, name=name, role="magnitude", component="magnitude")


def _axes(spec: PhantomSpec, sequence: MrSequence, *, main: bool) -> tuple[Axis, ...]:
    """Axes of one image: what its sequence samples, then time where the main scan is a series.

    A further scan takes its own list, else the axis of the phantom, else the echoes of the main one.
    """
    found = []
    for kind in _SAMPLED.get(sequence.sequence, ()):
        name, unit = _NAMES[kind]
        axis, listed = spec.axis_of(kind), getattr(sequence, _LISTS[kind])
        if kind == "echo" and not listed:
            listed = scanner_of(spec).echo_times_ms
        if listed and not main:
            found.append(Axis(name, np.array(listed) * (1.0 if unit == "deg" else 1e-3), unit))
        elif axis is not None and axis.layout == "dynamic":
            found.append(Axis(name, _in_unit(axis, unit), unit))
        elif listed:
            found.append(Axis(name, np.array(listed) * (1.0 if unit == "deg" else 1e-3), unit))
        elif kind != "flip_angle":
            raise MissingMetadata(
                f"a scan of {spec.slug} has no samples", where="physics.mri", needed=_LISTS[kind]
            )
    time = spec.axis_of("time")
    if main and time is not None and time.layout == "dynamic":
        found.append(Axis("time", _in_unit(time, "s"), "s"))
    return tuple(found)


def _in_unit(axis: AxisSpec, unit: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    factor = conversion_factor(axis.unit, unit)
    return np.round(np.array([float(value) for value in axis.values]) * factor, 12)
