"""What every part of a manifest is made of: frozen models, labels, names and texts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError


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
