"""What a scan says about itself and what the user says instead: each value with where it is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.units import conversion_factor
from imgtheranostics.volume import Axis, Volume

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field of the record is spelled in DICOM, in a sidecar, and as an option."""

    words: str
    tag: str
    key: str
    option: str


FIELDS = {
    "repetition_time_s": _Field(
        "repetition time",
        "RepetitionTime (0018,0080)",
        "RepetitionTimeExcitation or RepetitionTime",
        "--repetition-time-s",
    ),
    "echo_time_s": _Field("echo time", "EchoTime (0018,0081)", "EchoTime", "--echo-time-s"),
    "inversion_time_s": _Field(
        "inversion time", "InversionTime (0018,0082)", "InversionTime", "--inversion-time-s"
    ),
    "flip_angle_deg": _Field("flip angle", "FlipAngle (0018,1314)", "FlipAngle", "--flip-angle-deg"),
    "field_strength_t": _Field(
        "field strength", "MagneticFieldStrength (0018,0087)", "MagneticFieldStrength", "--field-t"
    ),
}
"""Fields that methods ask for, by the name that they have in `MrAcquisition` and as a keyword."""

_UNITS = {"s": "s", "deg": "degrees", "t": "T"}
"""As a reader expects them, by the ending of a keyword."""

_AXES = {
    "repetition_time_s": "repetition_time",
    "echo_time_s": "echo_time",
    "inversion_time_s": "inversion_time",
    "flip_angle_deg": "flip_angle",
}


@dataclass(frozen=True, slots=True)
class Stated:
    """A value of the protocol, one for all samples or one for each, and who says it."""

    name: str
    value: float | tuple[float, ...]
    source: str

    @property
    def scalar(self) -> float:
        """The one value."""
        if isinstance(self.value, tuple):
            raise UnsupportedInput(
                f"the {FIELDS[self.name].words} varies within the series, but the method takes one",
                where=FIELDS[self.name].tag,
                found=", ".join(f"{value:g}" for value in self.value[:8]),
                needed="one value for all images",
                next_step=f"give {FIELDS[self.name].option} ({self.name}=)",
            )
        return self.value

    @property
    def shared(self) -> float | FloatArray:
        """The one value, or an array with one per sample."""
        return np.array(self.value) if isinstance(self.value, tuple) else self.value

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        values = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"rule": self.source, self.name: values}


def known(
    v: Volume, name: str, given: float | Sequence[float] | npt.NDArray[np.floating] | None = None
) -> Stated | None:
    """A value of the protocol: the one given, else that of the file; None when neither says it.

    One value per sample where the file has them: repetition times differ between inversion times on some
    scanners.
    """
    if given is not None:
        return Stated(name, _given(name, given), "given")
    record = mr_record(v)
    value = getattr(record, name)
    if value is not None:
        return Stated(name, float(value), "file")
    several = record.sample_parameters.get(_AXES.get(name, ""), ())
    if not several and name == "repetition_time_s":
        several = record.repetition_times_s
    if several:
        return Stated(name, tuple(float(item) for item in several), "file, one per image")
    return None


def required(
    v: Volume,
    name: str,
    given: float | Sequence[float] | npt.NDArray[np.floating] | None = None,
    *,
    purpose: str,
) -> Stated:
    """A value of the protocol that a method cannot do without.

    Raises
    ------
    MissingMetadata
        If neither the file nor the caller says it, with the tag, the key and the option.
    """
    stated = known(v, name, given)
    if stated is not None:
        return stated
    field = FIELDS[name]
    files = len(v.source.files)
    raise MissingMetadata(
        f"the {field.words} is not stated; {purpose} needs it",
        where=f"{field.tag}; sidecar key {field.key}" + (f"; in {files} file(s)" if files else ""),
        needed=f"the {field.words} in {_UNITS[name.rpartition('_')[2]]}",
        next_step=f"give {field.option} ({name}=), or write it into the sidecar",
    )


def _given(name: str, given: float | Sequence[float] | npt.NDArray[np.floating]) -> float | tuple[float, ...]:
    values = np.atleast_1d(np.asarray(given, np.float64))
    if not np.isfinite(values).all() or (values <= 0).any():
        raise UnknownChoice(f"{name} must be a positive number, or several, not {given!r}")
    return float(values[0]) if values.size == 1 else tuple(float(value) for value in values)


@dataclass(frozen=True, eq=False)
class Series:
    """A signal along one axis: that axis last, its values ascending.

    Attributes
    ----------
    volume : Volume
        What it was made from.
    samples : (i, j, k, *others, n) ndarray
    axis : Axis
        Ascending, in s or degrees.
    others : tuple of Axis
        The axes that the result keeps.
    order : (n,) ndarray of int
        Where each sample stood before.
    """

    volume: Volume
    samples: Array
    axis: Axis
    others: tuple[Axis, ...]
    order: npt.NDArray[np.intp]

    @property
    def x(self) -> FloatArray:
        """Values of the axis."""
        return self.axis.values

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(int(n) for n in self.samples.shape[:-1])

    def in_order(self, stated: Stated) -> Stated:
        """Values that stood per sample in the order of this series."""
        if not isinstance(stated.value, tuple):
            return stated
        if len(stated.value) != self.order.size:
            raise UnsupportedInput(
                f"there are not as many values of the {FIELDS[stated.name].words} as images",
                found=f"{len(stated.value)} values, {self.order.size} images",
                next_step=f"give {FIELDS[stated.name].option} once, or once for each image",
            )
        return Stated(stated.name, tuple(stated.value[n] for n in self.order), stated.source)


_AXIS_UNITS = {"flip_angle": "deg", "time": "s"}
_AXIS_KEYS = {
    "flip_angle": "FlipAngle",
    "echo_time": "EchoTime",
    "inversion_time": "InversionTime",
    "repetition_time": "RepetitionTimeExcitation",
    "time": "FrameTimesStart",
}
_LOST = "component"
"""Axis of images of which the file says only how many they are."""


def refuse_lost_values(v: Volume, *names: str) -> None:
    """Refuse images that are numbered only, where the method needs the value of each.

    Raises
    ------
    MissingMetadata
        With the sidecar's key and the way in Python.
    """
    numbered = v.axis(_LOST)
    if numbered is None or any(v.axis(name) is not None for name in names):
        return
    words = " or ".join(name.replace("_", " ") for name in names)
    raise MissingMetadata(
        f"the {words} of each image is lost: the file only numbers its {len(numbered)} images",
        where="sidecar key " + " or ".join(_AXIS_KEYS[name] for name in names),
        found=f"an axis {_LOST} of {len(numbered)}",
        needed=f"{len(numbered)} values, in s or degrees",
        next_step=f"write them as a list into the sidecar beside the image, or, in Python, "
        f"v.replace(axes=(Axis({names[0]!r}, values, {_AXIS_UNITS.get(names[0], 's')!r}),))",
    )


def series_along(v: Volume, name: str) -> Series:
    """The signal along a named axis.

    Raises
    ------
    MissingMetadata
        If the images are several, but what they vary in was lost.
    UnsupportedInput
        If the volume has no such axis.
    """
    refuse_lost_values(v, name)
    place = next((n for n, axis in enumerate(v.axes) if axis.name == name), None)
    if place is None:
        raise UnsupportedInput(
            f"the images do not vary in {name.replace('_', ' ')}",
            found=", ".join(f"{axis.name} x {len(axis)}" for axis in v.axes) or "one image",
            needed=f"an axis {name}",
            next_step="give a folder or file with all images of the series",
        )
    axis = v.axes[place]
    values = axis.values * conversion_factor(axis.unit, _AXIS_UNITS.get(name, "s"))
    order = np.argsort(values, kind="stable")
    samples: Array = v.data
    if place != len(v.axes) - 1:
        samples = np.asfortranarray(np.moveaxis(samples, 3 + place, -1))
    if not np.array_equal(order, np.arange(order.size)):
        samples = np.asfortranarray(samples[..., order])
    ascending = Axis(name, values[order], _AXIS_UNITS.get(name, "s"))
    return Series(v, samples, ascending, v.axes[:place] + v.axes[place + 1 :], order)


def with_phase(series: Series, phase: Volume | None, moved: bool) -> Series:
    """A series of magnitudes as complex numbers.

    Raises
    ------
    MissingMetadata
        If there is no phase.
    UnitMismatch
        If it is none in rad.
    UnsupportedInput
        If it is of other images, or the magnitudes were moved.
    """
    if phase is None:
        raise MissingMetadata(
            "a complex fit needs the phase",
            where="--phase (phase=)",
            needed="phase in rad beside the magnitude",
            next_step="give --phase PATH (phase=), or fit magnitudes",
        )
    if phase.quantity != "phase":
        raise UnitMismatch(
            "the phase is not one in rad", found=f"{phase.quantity} [{phase.unit}]", needed="phase [rad]"
        )
    beside = series_along(phase, series.axis.name)
    same = beside.samples.shape == series.samples.shape and series.volume.grid.same_as(phase.grid)
    if moved or not same or series.axis.name != "inversion_time" or not np.allclose(beside.x, series.x):
        raise UnsupportedInput(
            "the phase does not belong to these magnitudes",
            found="magnitudes that were moved" if moved else f"phase {beside.samples.shape}",
            needed=f"one phase for each image, {series.samples.shape}, along inversion_time",
        )
    turned = series.samples * np.exp(1j * beside.samples.astype(np.complex64))
    return replace(series, samples=np.asfortranarray(turned, np.complex64))
