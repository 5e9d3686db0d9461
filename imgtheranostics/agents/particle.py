"""How a particle is built and labelled, where it goes, and what was seen of it."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.agents.provenance import (
    Amount,
    Model,
    Pair,
    Positive,
    Sourced,
    Text,
    Value,
    listed,
    span,
)
from imgtheranostics.data.nuclides import Nuclide, nuclide, nuclide_name, nuclides
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.units import QUANTITIES, UNITS, conversion_factor

Species = Literal["human", "mouse", "rat", "rabbit"]


class Payload(Amount):
    """How much of something a particle carries: a count per particle, or umol per mg of particle."""

    of: Text
    unit: Literal["1", "umol/mg"] = "1"

    @property
    def context(self) -> str:
        """What is carried."""
        return f"{self.of} per {'particle' if self.unit == '1' else 'mass of particle'}"


class Particle(Model):
    """Size and mass. `diameter_nm` is used where the source does not say which diameter it is."""

    core_diameter_nm: Amount | None = None
    hydrodynamic_diameter_nm: Amount | None = None
    diameter_nm: Amount | None = None
    molar_mass_g_mol: Amount | None = None
    payload: tuple[Payload, ...] = ()


class Label(Sourced):
    """A radionuclide and how it is held; its half-life and energies are those of the nuclide table."""

    nuclide: str
    name: str = ""
    chelator: str = ""
    position: Literal["surface", "bilayer", "lumen", "core", "shell", "matrix"] | None = None
    use: Literal["imaging", "therapy"] = "imaging"

    @model_validator(mode="after")
    def _known(self) -> Label:
        try:
            spelled = nuclide_name(self.nuclide)
        except UnsupportedInput as error:
            raise PydanticCustomError("nuclide", "a nuclide such as Cu-64 is needed") from error
        if spelled != self.nuclide or spelled not in nuclides():
            known = (
                "it is written {spelled}" if spelled in nuclides() else "the nuclide table does not hold it"
            )
            raise PydanticCustomError("nuclide", known, {"spelled": spelled})
        return self

    @property
    def record(self) -> Nuclide:
        """The nuclide's entry in the table."""
        return nuclide(self.nuclide)

    @property
    def half_life_s(self) -> float:
        """Physical half-life, s."""
        return self.record.half_life_s

    @property
    def context(self) -> str:
        """How the label is held."""
        return listed(self.name, self.chelator, self.position or "", self.use)

    @property
    def text(self) -> str:
        """The nuclide with its half-life."""
        return f"{self.nuclide} (half-life {self.half_life_s / 3600:.4g} h)"


class HalfLife(Amount):
    """Biological half-life in a compartment; physical decay is the label's."""

    compartment: Text
    species: Species
    unit: Literal["min", "h", "d"] = "h"

    @property
    def context(self) -> str:
        """Compartment and species."""
        return f"half-life, {self.compartment}, {self.species}"

    @property
    def seconds(self) -> float:
        """The half-life in s; refused like `number` when only a range is recorded."""
        return self.number() * conversion_factor(self.unit, "s")


class Uptake(Amount):
    """Injected share in an organ at a time; `name` tells apart values that the literature holds together."""

    organ: Text
    unit: Literal["%/g", "%/kg", "%/mL", "%"]
    species: Species
    time_h: Pair | None = None
    name: str = ""
    label: str = ""

    @property
    def context(self) -> str:
        """Organ, species, time, name and label."""
        return listed(self.organ, self.species, span(self.time_h, "h"), self.name, self.label)


class Pharmacokinetics(Model):
    """Prior knowledge of where it goes and how long it stays."""

    half_lives: tuple[HalfLife, ...] = ()
    biodistribution: tuple[Uptake, ...] = ()


class Dose(Amount):
    """An administered amount."""

    unit: Literal["MBq", "mg/kg", "g/kg", "mmol/kg", "mg/mL", "%"]
    of: Text
    species: Species
    route: str = ""

    @property
    def context(self) -> str:
        """Of what and in whom."""
        return listed(self.of, self.species, self.route)


class Observation(Value):
    """An effect that an image analysis should find: a change, a ratio, a contrast."""

    quantity: str
    unit: str
    region: Text
    over: str = ""
    species: Species | None = None
    field_t: Positive | None = None
    time_h: Pair | None = None
    conditions: str = ""

    @model_validator(mode="after")
    def _unit_fits(self) -> Observation:
        if self.quantity == "ratio":
            needed: str | None = "1"
        elif self.quantity in QUANTITIES:
            needed = QUANTITIES[self.quantity].unit
        else:
            raise PydanticCustomError("quantity", "a quantity of the table of units, or ratio, is needed")
        if self.unit not in UNITS or (needed is not None and self.unit != needed):
            raise PydanticCustomError(
                "unit",
                "{quantity} is stated in {needed}",
                {"quantity": self.quantity, "needed": needed or "a UCUM unit"},
            )
        if (self.quantity == "ratio") != bool(self.over):
            raise PydanticCustomError("form", "quantity: ratio and over: belong together")
        return self

    @property
    def context(self) -> str:
        """Quantity, region and conditions."""
        where = f"{self.region} over {self.over}" if self.over else self.region
        field = f"{self.field_t:g} T" if self.field_t else ""
        return listed(
            self.quantity, where, self.species or "", field, span(self.time_h, "h"), self.conditions
        )
