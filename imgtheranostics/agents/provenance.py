"""A value and where it is from: the piece that every agent record is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from imgtheranostics.errors import Caution, MissingMetadata

Provenance = Literal["review", "published", "computed", "unconfirmed"]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise PydanticCustomError("form", "the lower number comes first")
    return pair


Pair = Annotated[tuple[Number, Number], BeforeValidator(_pair), AfterValidator(_ascending)]
Text = Annotated[str, Field(min_length=1, max_length=400)]


class Model(BaseModel):
    """Frozen, and refuses every key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sourced(Model):
    """Something with a provenance.

    Attributes
    ----------
    provenance : {"review", "published", "computed", "unconfirmed"}
        Stated in the review article; read in a paper or registry; calculated; or from memory, and then never
        a validated truth.
    source : str
        DOI, PMID or title of what was read, or what it was calculated from. ``memory`` if unconfirmed.
    note : str
        What a reader must know to use it.
    """

    provenance: Provenance
    source: str = ""
    note: str = ""
    _place: str = PrivateAttr("")

    @model_validator(mode="after")
    def _sourced(self) -> Sourced:
        source = self.source.strip()
        if self.provenance == "unconfirmed" and source != "memory":
            raise PydanticCustomError("provenance", "an unconfirmed value carries source: memory")
        if self.provenance in ("published", "computed") and source in ("", "memory"):
            raise PydanticCustomError(
                "provenance",
                "a {provenance} value needs its source: a DOI, PMID or title, or what it is calculated from",
                {"provenance": self.provenance},
            )
        if self.provenance == "review" and source == "memory":
            raise PydanticCustomError("provenance", "what is from memory is unconfirmed, not from the review")
        return self

    @property
    def place(self) -> str:
        """Record and entry, such as ``aguix: relaxivities.1``; empty outside a record."""
        return self._place

    @property
    def warnings(self) -> tuple[Caution, ...]:
        """One ``unconfirmed-value`` when it is from memory, else nothing."""
        if self.provenance != "unconfirmed":
            return ()
        return (
            Caution(
                "unconfirmed-value", "the value is from memory and is not a validated truth", self._place
            ),
        )

    @property
    def context(self) -> str:
        """For what it holds, in words."""
        return ""

    @property
    def text(self) -> str:
        """What it says, for a table."""
        return ""

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Context, text and unit of each row that it takes in a table."""
        yield self.context, self.text, getattr(self, "unit", "")


class Value(Sourced):
    """A number: a value with its uncertainty, a range, or a bound, as the source gives it.

    Attributes
    ----------
    value : float, optional
    uncertainty : float, optional
        What the source prints after ±.
    between : pair of float, optional
        Lowest and highest that the source gives, when it gives no single value.
    at_most, at_least : float, optional
    """

    FORMS: ClassVar[tuple[str, ...]] = ("value", "between", "at_most", "at_least")

    value: Number | None = None
    uncertainty: NotNegative | None = None
    between: tuple[Number, Number] | None = None
    at_most: Number | None = None
    at_least: Number | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Value:
        given = [name for name in self.FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError("form", "exactly one of value, between, at_most and at_least is needed")
        if self.uncertainty is not None and self.value is None:
            raise PydanticCustomError("form", "an uncertainty belongs to a value")
        if self.between is not None and not self.between[0] < self.between[1]:
            raise PydanticCustomError("form", "between needs the lower number first")
        return self

    def number(self) -> float:
        """The value.

        Raises
        ------
        MissingMetadata
            If the record gives only a range or a bound.
        """
        if self.value is None:
            raise MissingMetadata(
                "the record gives no single value",
                where=self._place or None,
                found=self.text,
                next_step="choose a value inside what is recorded and give it explicitly",
            )
        return self.value

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest: the range, or the value twice; infinite where the bound is open."""
        if self.value is not None:
            return self.value, self.value
        if self.between is not None:
            return self.between
        low = self.at_least if self.at_least is not None else float("-inf")
        high = self.at_most if self.at_most is not None else float("inf")
        return low, high

    @property
    def text(self) -> str:
        """The number as people write it."""
        if self.value is not None:
            return f"{self.value:g}" + (f" ± {self.uncertainty:g}" if self.uncertainty is not None else "")
        if self.between is not None:
            return f"{self.between[0]:g} to {self.between[1]:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"


class Amount(Value):
    """A number that cannot be negative."""

    @model_validator(mode="after")
    def _not_negative(self) -> Amount:
        numbers = [self.value, self.at_most, self.at_least, *(self.between or ())]
        if any(number is not None and number < 0 for number in numbers):
            raise PydanticCustomError("implausible", "a number that is not negative is needed")
        return self


def span(pair: tuple[float, float] | None, unit: str) -> str:
    """A pair of numbers as text, one number when they are equal, nothing when there is none."""
    if pair is None:
        return ""
    low, high = pair
    number = f"{low:g}" if low == high else f"{low:g}-{high:g}"
    return f"{number} {unit}".strip()


def listed(*words: str) -> str:
    """The words that are not empty, with commas."""
    return ", ".join(word for word in words if word)
