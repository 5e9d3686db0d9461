"""Under what a ratio was measured: a calibration of pH holds for nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from imgtheranostics.cest.exchange_points import checked_b1, checked_times
from imgtheranostics.errors import Caution, ImplausibleValue

TOLERANCES = {
    "b1_ut": (0.05, 0.0),
    "saturation_time_s": (0.05, 0.0),
    "temperature_c": (0.0, 1.0),
    "field_t": (0.04, 0.0),
}
"""How far two scans may differ: relative, and absolute. Magnets of 2.89 T are sold as 3 T."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a ratio depends on besides pH; None where it is not stated.

    Attributes
    ----------
    kind : str or None
        How the transfer was measured, see `imgtheranostics.cest.ph.ratio`.
    at_ppm : tuple of float or None
        Offsets.
    b1_ut : tuple of float or None
        Power; two for the ratio of powers.
    saturation_time_s, temperature_c, field_t : float or None
    """

    kind: str | None = None
    at_ppm: tuple[float, ...] | None = None
    b1_ut: tuple[float, ...] | None = None
    saturation_time_s: float | None = None
    temperature_c: float | None = None
    field_t: float | None = None

    def __post_init__(self) -> None:
        for name in ("at_ppm", "b1_ut"):
            given = getattr(self, name)
            if given is not None:
                numbers = given if isinstance(given, (tuple, list)) else (given,)
                object.__setattr__(self, name, tuple(float(number) for number in numbers))
        if self.b1_ut is not None:
            checked_b1(self.b1_ut)
        if self.saturation_time_s is not None:
            checked_times(self.saturation_time_s)
        if self.temperature_c is not None and not -5.0 <= self.temperature_c <= 80.0:
            raise ImplausibleValue(
                "the temperature is not that of a sample in water",
                where="temperature_c",
                found=f"{self.temperature_c:g}",
                needed="-5 to 80 Cel",
                next_step="give degrees Celsius",
            )

    def check(self, scan: Conditions) -> tuple[Caution, ...]:
        """Compare with those of a scan that is to be converted.

        Returns
        -------
        tuple of Caution
            ``calibration-conditions-unknown`` where only one of the two states something.

        Raises
        ------
        ImplausibleValue
            If both state something and differ.
        """
        differing, unknown = [], []
        for one in fields(self):
            own, other = getattr(self, one.name), getattr(scan, one.name)
            if own is None and other is None:
                continue
            if own is None or other is None:
                unknown.append(one.name)
            elif not _alike(one.name, own, other):
                differing.append(f"{one.name} {_text(own)} in the calibration, {_text(other)} in the scan")
        if differing:
            raise ImplausibleValue(
                "the calibration of pH was measured under other conditions than the scan",
                found="; ".join(differing),
                needed="the same power, duration, temperature, field and offsets",
                next_step="calibrate under the conditions of the scan",
            )
        if not unknown:
            return ()
        told = ", ".join(unknown)
        message = (
            f"whether calibration and scan agree in {told} is not known: a ratio of one pH depends on it"
        )
        return (Caution("calibration-conditions-unknown", message, told),)

    def as_dict(self) -> dict[str, Any]:
        """What is stated, as plain data."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _alike(name: str, own: Any, other: Any) -> bool:
    if isinstance(own, str):
        return bool(own == other)
    first = own if isinstance(own, tuple) else (own,)
    second = other if isinstance(other, tuple) else (other,)
    relative, absolute = TOLERANCES.get(name, (0.0, 0.05))
    return len(first) == len(second) and all(
        abs(a - b) <= relative * max(abs(a), abs(b)) + absolute + 1e-9
        for a, b in zip(first, second, strict=True)
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "/".join(f"{number:g}" for number in (value if isinstance(value, tuple) else (value,)))
