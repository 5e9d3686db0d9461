"""Scans that differ in the power or the duration of their saturation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.saturation import saturation_b1, saturation_time_s
from imgtheranostics.errors import MissingMetadata, UnitMismatch, UnsupportedInput
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.mapping.pairs import second_on_first
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Axis, Volume, make_step

FloatArray = npt.NDArray[np.float64]

_B1_AXIS = "saturation_b1"
_SAME_FIELD = 0.01


@dataclass(frozen=True, eq=False)
class PowerSeries:
    """Scans on one grid with the saturation of each.

    Attributes
    ----------
    scans : tuple of Volume
    b1_ut : (n,) ndarray
        Continuous-wave equivalent of each scan.
    saturation_time_s : (n,) ndarray or None
    decision : dict
    """

    scans: tuple[Volume, ...]
    b1_ut: FloatArray
    saturation_time_s: FloatArray | None
    decision: dict[str, Any]

    @classmethod
    def of(
        cls,
        scans: Volume | Sequence[Volume],
        *,
        b1_ut: Sequence[float] | float | None = None,
        saturation_time_s: Sequence[float] | float | None = None,
        needs_time: bool = False,
        purpose: str,
    ) -> PowerSeries:
        """From scans, with what they do not state.

        Raises
        ------
        UnsupportedInput
            If there is only one.
        MissingMetadata
            If B1 is not stated by its definition, or a needed duration is not.
        GeometryMismatch
            If they lie on different grids.
        UnitMismatch
            If they were acquired at different field strengths.
        """
        given = split_by_power(scans) if isinstance(scans, Volume) else list(scans)
        if len(given) < 2:
            raise UnsupportedInput(
                f"{purpose} needs scans at several powers or durations of the saturation",
                found=f"{len(given)} scan",
                needed="at least two scans, or a volume with an axis saturation_b1",
                next_step="give one scan for each power",
            )
        aligned = (given[0], *(second_on_first(given[0], one)[0] for one in given[1:]))
        _check_field(aligned)
        stated = _for_each(b1_ut, len(given), "b1_ut")
        found = [
            saturation_b1(scan, value, purpose=purpose) for scan, value in zip(aligned, stated, strict=True)
        ]
        b1 = np.array([one.b1_ut for one in found])
        times = _times(aligned, saturation_time_s, purpose) if needs_time else None
        decision: dict[str, Any] = {"b1_cwpe_ut": b1.tolist(), "b1": found[0].decision["rule"]}
        if times is not None:
            decision["saturation_time_s"] = times.tolist()
        return cls(aligned, b1, times, decision)

    @property
    def axis(self) -> tuple[str, str, FloatArray]:
        """What varies: name of the axis, its unit, and the values."""
        if self.saturation_time_s is not None and np.ptp(self.b1_ut) == 0:
            return "time", "s", self.saturation_time_s
        return _B1_AXIS, "uT", self.b1_ut

    def times_over_b1(self) -> tuple[FloatArray, FloatArray]:
        """Durations in the order of the powers, for a line between them."""
        if self.saturation_time_s is None:
            raise ValueError("no duration is known")
        order = np.argsort(self.b1_ut)
        return self.b1_ut[order], self.saturation_time_s[order]


def split_by_power(v: Volume) -> list[Volume]:
    """One scan for each sample of the axis ``saturation_b1``; a volume without that axis is one scan.

    What the record lists for each sample tells the definition of its values; without such a list they are
    continuous-wave equivalents.
    """
    place = next((n for n, axis in enumerate(v.axes) if axis.name == _B1_AXIS), None)
    if place is None:
        return [v]
    axis = v.axes[place]
    if axis.unit != "uT":
        raise UnitMismatch("the axis saturation_b1 must be in uT", found=axis.unit, needed="uT")
    others: tuple[Axis, ...] = v.axes[:place] + v.axes[place + 1 :]
    record = mr_record(v)
    kept = {name: value for name, value in record.saturation.items() if not name.startswith("b1_")}
    listed = {
        name: tuple(value)
        for name, value in record.saturation.items()
        if name.startswith("b1_") and isinstance(value, (tuple, list)) and len(value) == len(axis)
    } or {"b1_cwpe_ut": tuple(axis.values)}
    return [
        v.replace(
            data=np.asfortranarray(np.take(v.data, n, axis=3 + place)),
            axes=others,
            acquisition=replace(record, saturation=kept | {k: float(b1[n]) for k, b1 in listed.items()}),
            history=(*v.history, make_step("frame", axis=_B1_AXIS, value=float(value))),
        )
        for n, value in enumerate(axis.values)
    ]


def _for_each(given: Sequence[float] | float | None, n: int, name: str) -> list[float | None]:
    if given is None:
        return [None] * n
    values = np.atleast_1d(np.asarray(given, np.float64))
    if values.ndim != 1 or values.size not in (1, n) or not (np.isfinite(values) & (values > 0)).all():
        raise UnknownChoice(f"{name} must be one positive number, or one for each of the {n} scans")
    return [float(value) for value in np.broadcast_to(values, n)]


def _times(scans: Sequence[Volume], given: Sequence[float] | float | None, purpose: str) -> FloatArray:
    stated = _for_each(given, len(scans), "saturation_time_s")
    found = [
        value if value is not None else saturation_time_s(scan)
        for scan, value in zip(scans, stated, strict=True)
    ]
    if any(value is None for value in found):
        raise MissingMetadata(
            f"the duration of the saturation is not stated; {purpose} needs it",
            where="sidecar key SaturationDuration",
            needed="the duration in s",
            next_step="give --saturation-time-s (saturation_time_s=), or write it into the sidecar",
        )
    return np.array(found, np.float64)


def _check_field(scans: Sequence[Volume]) -> None:
    fields = [one for one in (mr_record(scan).field_strength_t for scan in scans) if one is not None]
    if fields and max(fields) > (1.0 + _SAME_FIELD) * min(fields):
        raise UnitMismatch(
            "the scans were acquired at different field strengths",
            where="MagneticFieldStrength (0018,0087)",
            found=f"{min(fields):g} and {max(fields):g} T",
            needed="one field strength",
        )
