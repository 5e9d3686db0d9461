"""What an analysis must find in a phantom, and where each of its values comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.phantom.model import Level, Modality, Model, Name, NotNegative, Number, as_tuple
from imgtheranostics.phantom.series import AxisKind
from imgtheranostics.phantom.stated import Provenance


class ExpectSpec(Model):
    """What an analysis must find.

    Attributes
    ----------
    method
        ``mean`` of the quantity in the region; ``ratio`` to the mean in `over`; ``recovery``, the share
        of the contrast of a sphere that a blurred image keeps; ``spread``, (largest - smallest) / mean
        over the axis; ``refusal``, an error instead of a number; ``partial_volume_corrected`` mean;
        ``change`` between the first and last of `at`, ``change_ratio`` of two regions' changes; ``slope``
        of a straight line over the axis; ``fit``, a parameter of the model that fits the axis;
        ``order``, 1 when the values ascend. Further names are those of the measuring methods that
        validation knows; it reports one that it does not know as not implemented.
    value
        A number, ``truth`` for what the regions and their curves say, or ``closed_form``.
    roi
        Region or regions, each with a row of its own; ``all`` takes them together.
    at, when
        Values along the first axis, and of the other axes by name.
    """

    quantity: Name
    roi: Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    over: Name | None = None
    at: Annotated[tuple[Number | Name, ...], BeforeValidator(as_tuple), Field(min_length=1)] = ("all",)
    when: dict[AxisKind, Number | Name] = Field(default_factory=dict)
    method: Name = "mean"
    modality: Modality | None = None
    value: Number | Literal["truth", "closed_form"] | None = None
    tol_rel: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    tol_abs: NotNegative | None = None
    level: Annotated[tuple[Level, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    claim: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> ExpectSpec:
        refusal = self.method == "refusal"
        if refusal == (self.value is not None):
            raise PydanticCustomError("expect", "a value is needed, or method: refusal without one")
        if refusal == ((self.tol_rel is None) != (self.tol_abs is None)):
            raise PydanticCustomError("expect", "exactly one of tol_rel and tol_abs is needed")
        if self.method == "ratio" and self.over is None:
            raise PydanticCustomError("expect", "method: ratio and over: belong together")
        if self.over is not None and self.method in ("mean", "recovery", "spread", "refusal"):
            raise PydanticCustomError("expect", "method: ratio and over: belong together")
        if (self.value == "closed_form") != (self.method == "recovery"):
            raise PydanticCustomError("expect", "value: closed_form and method: recovery belong together")
        return self


class ProvenanceSpec(Model):
    """Where a value comes from. What is unconfirmed is from memory and is no validated truth."""

    status: Provenance
    source: str = ""

    @model_validator(mode="after")
    def _sourced(self) -> ProvenanceSpec:
        if self.status == "unconfirmed" and self.source != "memory":
            raise PydanticCustomError("provenance", "an unconfirmed value carries source: memory")
        if self.status in ("published", "computed") and not self.source:
            raise PydanticCustomError(
                "provenance", "a {status} value needs its source", {"status": self.status}
            )
        return self
