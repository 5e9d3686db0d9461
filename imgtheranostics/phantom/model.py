"""What all parts of a phantom file share: strict models, plain types, and what a list may be written as."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Level = Literal[0, 1, 2, 3]
Modality = Literal["PET", "SPECT", "MRI", "CEST", "CT", "MSOT", "US", "MPI"]
EMISSION: tuple[Modality, ...] = ("PET", "SPECT")
Number = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=60)]


class Model(BaseModel):
    """A part of a phantom file; a key that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def as_tuple(value: Any) -> Any:
    """One value or a list of them, as a tuple."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
