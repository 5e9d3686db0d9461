"""What every part of a manifest is made of: frozen models, labels, names and texts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from imgtheranostics.errors import UnitMismatch
from imgtheranostics.units import parse_amount


class Part(BaseModel):
    """Frozen, and refuses every key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _label(value: Any) -> Any:
    """A label is text: of ``01`` without quotes, YAML keeps only the number 1."""
    if isinstance(value, str):
        return value
    raise PydanticCustomError("label", "a label in quotes, such as '01'")


Label = Annotated[str, BeforeValidator(_label), StringConstraints(pattern=r"^[A-Za-z0-9]+$", max_length=64)]
"""Name of a subject or session: letters and digits, as BIDS has it."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)]
Text = Annotated[str, Field(min_length=1, max_length=400)]


def amount_in(unit: str) -> BeforeValidator:
    """Text such as ``8.1 MBq`` as a number in `unit`; a bare number is refused, it has no unit."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            raise PydanticCustomError("unit", "a number with its unit, convertible to {unit}", {"unit": unit})
        try:
            return parse_amount(value, unit)
        except UnitMismatch as error:
            raise PydanticCustomError("unit", "{said}", {"said": error.needed or error.what}) from None

    return BeforeValidator(read)
