"""What a region holds: quantities with their units, over time, and per case where it differs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.errors import MissingMetadata, UnitMismatch
from imgtheranostics.phantom.model import Model, Name, NotNegative, Number, Positive
from imgtheranostics.units import QUANTITIES, UNITS, canonical_unit, conversion_factor

UPTAKE = ("id_per_g", "id_per_kg", "id_per_ml", "suv_bw", "activity_concentration")
"""Quantities that state a region's activity."""

_OWN_UNITS = {
    "id_per_kg": "%/kg",
    "proton_density": "1",
    "molar_concentration": "mmol/L",
    "exchange_rate": "1/s",
    "specific_absorption_rate": "W/g",
    "temperature": "Cel",
    "echo_intensity": "1",
    "absorption": "1/cm",
    "scattering": "1/cm",
    "agent_mass": "mg",
    "spins": "1",
    "volume_fraction": "%",
    "fat_fraction": "1",
    "heat_loss_rate": "1/min",
}
_SIGNED = frozenset({"attenuation", "delta_attenuation", "temperature", "b0_shift", "temperature_change"})


def own_unit(quantity: str) -> str | None:
    """The unit of a quantity that a phantom may state; None for one that is not known."""
    if quantity in _OWN_UNITS:
        return _OWN_UNITS[quantity]
    record = QUANTITIES.get(quantity)
    return record.unit if record is not None else None


class Kinetics(Model):
    """Biological curve (1 - 2^(-t/uptake)) 2^(-t/clearance), decay apart; without both it is flat."""

    uptake_half_time_h: Positive | None = None
    clearance_half_life_h: Positive | None = None


class Truth(Model):
    """One quantity of a region, at ``axis.truth_at`` where it changes over time.

    Attributes
    ----------
    quantity
        From the table of units, or one that only phantoms state.
    value
        The number, when it is the same in all cases.
    along, values
        Name of a series axis and one number per value of it, when it differs.
    unit
        Of the quantity's own dimension; `in_own_unit` converts.
    """

    quantity: str
    value: Number | None = None
    along: Name | None = None
    values: dict[str, Number] = Field(default_factory=dict)
    unit: str
    density_g_ml: Positive = 1.0
    kinetics: Kinetics = Kinetics()

    @model_validator(mode="after")
    def _complete(self) -> Truth:
        if (self.value is None) != bool(self.values) or bool(self.values) != (self.along is not None):
            raise PydanticCustomError("truth", "a value is needed, or along: an axis with values: per case")
        needed = own_unit(self.quantity)
        if needed is None:
            raise PydanticCustomError(
                "truth", "{quantity} is not a quantity that a region holds", {"quantity": self.quantity}
            )
        _same_dimension(self.quantity, self.unit, needed)
        numbers = [self.value] if self.value is not None else list(self.values.values())
        if self.quantity not in _SIGNED and min(numbers) < 0:
            raise PydanticCustomError(
                "greater_than_equal", "{quantity} is not negative", {"quantity": self.quantity}
            )
        return self

    def at(self, case: str | float | None = None) -> float:
        """The number for a case, in the stated unit.

        Raises
        ------
        MissingMetadata
            If it differs by case and this one is not stated.
        """
        if self.value is not None:
            return self.value
        key = f"{case:g}" if isinstance(case, (int, float)) else str(case)
        if key not in self.values:
            raise MissingMetadata(
                f"{self.quantity} is not stated for this case of {self.along}",
                found=key,
                needed="one of " + ", ".join(self.values),
            )
        return self.values[key]

    def in_own_unit(self, case: str | float | None = None) -> float:
        """The number for a case, in the quantity's own unit."""
        return self.at(case) * conversion_factor(self.unit, own_unit(self.quantity) or self.unit)


class Amount(Model):
    """An amount with its unit, such as the mass of agent per kilogram that was given."""

    value: NotNegative
    unit: str

    @model_validator(mode="after")
    def _known(self) -> Amount:
        if self.unit not in UNITS:
            raise PydanticCustomError("unit", "{unit} is not in the table of units", {"unit": self.unit})
        return self


def _same_dimension(quantity: str, unit: str, needed: str) -> None:
    try:
        known = UNITS[canonical_unit(unit)].dimension == UNITS[needed].dimension
    except UnitMismatch:
        known = False
    if not known or (quantity in UPTAKE and unit != needed):
        raise PydanticCustomError(
            "unit",
            "{quantity} is stated in {needed}, not in {unit}",
            {"quantity": quantity, "needed": needed, "unit": unit},
        )


Provenance = Literal["review", "published", "computed", "unconfirmed"]
