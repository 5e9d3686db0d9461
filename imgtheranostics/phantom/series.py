"""What changes between the images of a phantom: named axes with units, and groups of animals."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.errors import UnitMismatch
from imgtheranostics.phantom.model import Model, Name, NotNegative, Number
from imgtheranostics.units import UNITS, canonical_unit

AxisKind = Literal[
    "time", "dose", "flip_angle", "echo", "inversion", "offset", "saturation_b1", "relative_b1", "field",
    "wavelength", "kvp", "energy", "fraction", "fill", "temperature", "frame", "concentration", "ph", "depth",
    "mass", "amount", "isotope", "group", "particle", "state", "protocol", "modality", "header_variant",
]  # fmt: skip

_DIMENSIONS: dict[str, tuple[str, ...]] = {
    "time": ("time",),
    "dose": ("mass per body mass", "activity", "substance per body mass"),
    "flip_angle": ("angle",),
    "echo": ("time",),
    "inversion": ("time",),
    "offset": ("number",),
    "saturation_b1": ("field",),
    "relative_b1": ("number",),
    "field": ("field",),
    "wavelength": ("length",),
    "kvp": ("voltage",),
    "energy": ("energy",),
    "fraction": ("time",),
    "fill": ("number",),
    "temperature": ("temperature",),
    "frame": ("number",),
    "concentration": ("substance concentration", "mass density", "activity concentration"),
    "ph": ("number",),
    "depth": ("length",),
    "mass": ("mass",),
    "amount": ("number",),
}
"""Dimensions of each axis that holds numbers; the other axes hold names."""


def evenly_spaced(value: Any) -> Any:
    """A list, or ``{start, stop, n}`` for evenly spaced numbers with both ends."""
    if not isinstance(value, dict):
        return value
    if set(value) != {"start", "stop", "n"} or not all(isinstance(v, (int, float)) for v in value.values()):
        raise PydanticCustomError("axis", "a list of values is needed, or start, stop and n")
    start, stop, n = value["start"], value["stop"], value["n"]
    if not isinstance(n, int) or not 2 <= n <= 4096:
        raise PydanticCustomError("axis", "n is a whole number from 2 to 4096")
    return [round(start + (stop - start) * m / (n - 1), 9) for m in range(n)]


class AxisSpec(Model):
    """One thing that changes between the images.

    A time axis holds mid-frame times after injection; `layout` says whether each is a scan of its own
    or a frame of one dynamic series. A header_variant axis holds names of `variants`, a group axis names
    of `groups`, an isotope axis nuclides. A fraction axis holds days of radiotherapy fractions, a fill
    axis the share of a region's volume that is filled.

    Attributes
    ----------
    truth_at
        Where along a time axis, or at which time of a header_variant axis, the truths are stated.
    """

    kind: AxisKind
    unit: str = ""
    values: Annotated[tuple[Number | Name, ...], BeforeValidator(evenly_spaced), Field(min_length=1)]
    truth_at: NotNegative = 0.0
    layout: Literal["separate", "dynamic"] = "separate"

    @model_validator(mode="before")
    @classmethod
    def _default_unit(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("kind") == "time" and "unit" not in given:
            return {**given, "unit": "h"}
        return given

    @model_validator(mode="after")
    def _values_fit(self) -> AxisSpec:
        wanted = float if self.kind in _DIMENSIONS else str
        if not all(isinstance(value, wanted) for value in self.values):
            raise PydanticCustomError("axis", f"{self.kind} needs a list of {wanted.__name__} values")
        if len(set(self.values)) != len(self.values):
            raise PydanticCustomError("axis", "axis values repeat")
        if wanted is float and list(self.values) != sorted(self.values, key=float):
            raise PydanticCustomError("axis", f"the values of {self.kind} are not in ascending order")
        self._check_unit()
        return self

    def _check_unit(self) -> None:
        if self.kind not in _DIMENSIONS:
            if self.unit:
                raise PydanticCustomError("unit", "{kind} holds names and has no unit", {"kind": self.kind})
            return
        allowed = _DIMENSIONS[self.kind]
        try:
            found = UNITS[canonical_unit(self.unit)].dimension
        except UnitMismatch:
            found = ""
        if found not in allowed:
            fitting = [code for code, unit in UNITS.items() if unit.dimension in allowed]
            raise PydanticCustomError(
                "unit",
                "an axis of {kind} needs a unit of {allowed}, not {unit}",
                {
                    "kind": self.kind,
                    "allowed": ", ".join(fitting),
                    "unit": self.unit or "none",
                },
            )

    @property
    def is_numeric(self) -> bool:
        """Whether it holds numbers."""
        return self.kind in _DIMENSIONS


class GroupSpec(Model):
    """Animals that are treated alike.

    Attributes
    ----------
    animals
        How many.
    variation
        Coefficient of variation between animals, lognormal, same factor for all organs of one.
    agent
        Record of the agent that this group got, when groups differ in it.
    """

    name: Name
    animals: Annotated[int, Field(ge=1, le=1000)] = 1
    variation: Annotated[float, Field(ge=0, lt=2)] = 0.0
    agent: Name | None = None
