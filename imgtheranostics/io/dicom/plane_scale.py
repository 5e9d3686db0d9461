"""How one plane scales, and what is noted while the scales of a series are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgtheranostics.errors import Caution

REQUIRED = frozenset({"CT", "PT"})
"""Modalities whose stored values mean nothing without a slope."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How one plane scales.

    Attributes
    ----------
    slope, intercept : float
    rule : str
        ``none``, ``rescale``, ``inverted``, ``real_world_value_mapping``, ``philips_floating_point`` or
        ``dose_grid_scaling``.
    quantity, unit : str
        Set when the rule itself states what the values are.
    mapped : tuple of float or None
        Stored values that the mapping covers; others are NaN.
    """

    slope: float = 1.0
    intercept: float = 0.0
    rule: str = "none"
    quantity: str = ""
    unit: str = ""
    mapped: tuple[float, float] | None = None


@dataclass(slots=True)
class Notes:
    """Cautions, each code once."""

    cautions: list[Caution] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def add(self, code: str, message: str, where: str) -> None:
        """Note it, unless its code was noted before."""
        if code not in self.seen:
            self.seen.add(code)
            self.cautions.append(Caution(code, message, where))
