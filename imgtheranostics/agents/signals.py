"""How a particle shows in each modality, one model per kind of knowledge."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.agents.provenance import (
    Amount,
    Model,
    Number,
    Pair,
    Positive,
    Sourced,
    Text,
    Value,
    listed,
    span,
)
from imgtheranostics.data.hu_slopes import slope_tables, tabulated_materials

Medium = Literal["water", "saline", "plasma", "blood", "agarose", "tissue", "cells"]
_ELEMENT = re.compile(r"([A-Z][a-z]?)(\d*)")


class RecordedRelaxivity(Amount):
    """Relaxivity in L/mmol/s; field, temperature and medium are null where the source is silent."""

    kind: Literal["r1", "r2", "r2star"]
    per: Literal["Gd", "Fe", "Mn", "molecule", "particle"]
    field_t: Positive | None
    temperature_c: Number | None
    medium: Medium | None

    @property
    def unit(self) -> str:
        """Always L/mmol/s."""
        return "L/mmol/s"

    @property
    def context(self) -> str:
        """Kind and conditions."""
        where = "field not stated" if self.field_t is None else f"{self.field_t:g} T"
        heat = "temperature not stated" if self.temperature_c is None else f"{self.temperature_c:g} Cel"
        return listed(f"{self.kind} per {self.per}", where, heat, self.medium or "medium not stated")


class RelaxivityRatio(Amount):
    """r2 over r1 where the source gives only that."""

    field_t: Positive

    @property
    def unit(self) -> str:
        """Always 1."""
        return "1"

    @property
    def context(self) -> str:
        """The field."""
        return f"r2/r1, {self.field_t:g} T"


class Exchange(Amount):
    """Proton exchange rate in 1/s, at a pH or between two."""

    ph: Pair | None = None
    temperature_c: Number | None = None

    @property
    def unit(self) -> str:
        """Always 1/s."""
        return "1/s"

    @property
    def context(self) -> str:
        """Of which pH and temperature."""
        heat = "" if self.temperature_c is None else f"{self.temperature_c:g} Cel"
        return listed("exchange rate", f"pH {span(self.ph, '')}" if self.ph else "", heat)


class CestPool(Model):
    """Labile protons: offset from water (downfield positive), number, exchange.

    `instead_of` names the pool of the same record whose protons these are, in other surroundings: the two are
    never there at once.
    """

    name: Text
    instead_of: Text | None = None
    offset_ppm: Value
    protons: Amount | None = None
    exchange: tuple[Exchange, ...] = ()


class OpticalPeak(Model):
    """An absorption maximum or shoulder."""

    wavelength_nm: Amount
    molar_extinction_per_m_cm: Amount | None = None
    medium: str = ""


class GoldNanorod(Sourced):
    """A rod in the quasi-static limit. The source of the permittivity moves its peak by 7 to 61 nm."""

    kind: Literal["gold_nanorod"]
    aspect_ratio: Annotated[float, Field(strict=True, gt=1, le=20)]
    diameter_nm: Positive
    medium_index: Positive
    permittivity: Literal["johnson-christy-1972", "lorentz-drude-1998"]

    @property
    def text(self) -> str:
        """Shape and constants."""
        return f"gold nanorod, aspect ratio {self.aspect_ratio:g}, diameter {self.diameter_nm:g} nm"

    @property
    def context(self) -> str:
        """Constants."""
        return f"generator, medium index {self.medium_index:g}, permittivity {self.permittivity}"


class GoldSphere(Sourced):
    """A small sphere; `diameter_nm` is left out where the source gives none."""

    kind: Literal["gold_sphere"]
    diameter_nm: Positive | None = None
    undetectable_above_nm: Positive | None = None

    @property
    def text(self) -> str:
        """Where it is seen."""
        limit = self.undetectable_above_nm
        return "gold sphere" + (f", not detectable above {limit:g} nm" if limit else "")


class Optical(Model):
    """An absorber: a spectrum by name or a generator, with the peaks that are recorded."""

    component: Text
    spectrum: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] | None = None
    generator: Annotated[GoldNanorod | GoldSphere, Field(discriminator="kind")] | None = None
    peaks: tuple[OpticalPeak, ...] = ()
    data_end_nm: Amount | None = None

    @model_validator(mode="after")
    def _one(self) -> Optical:
        if (self.spectrum is None) == (self.generator is None):
            raise PydanticCustomError("form", "exactly one of spectrum and generator is needed")
        return self


class Composition(Sourced):
    """What attenuates: chemical formula and the mass fraction of each element."""

    formula: Annotated[str, Field(pattern=r"^([A-Z][a-z]?\d*)+$")]
    mass_fractions: dict[str, Annotated[float, Field(strict=True, gt=0, le=1)]]

    @model_validator(mode="after")
    def _adds_up(self) -> Composition:
        elements = {symbol for symbol, _ in _ELEMENT.findall(self.formula)}
        if elements != set(self.mass_fractions):
            raise PydanticCustomError("composition", "formula and mass_fractions name different elements")
        if abs(sum(self.mass_fractions.values()) - 1.0) > 2e-3:
            raise PydanticCustomError("composition", "mass fractions add up to 1")
        return self

    @property
    def text(self) -> str:
        """Formula and fractions."""
        return f"{self.formula}: " + listed(*(f"{k} {v:g}" for k, v in self.mass_fractions.items()))


class Beam(Model):
    """Slope in one X-ray beam, HU per mg of the material per mL."""

    kvp: Positive
    water_cm: Positive
    filter: str = ""
    hu_per_mg_ml: Positive


class HuSlopes(Sourced):
    """CT number per concentration of a material: a prior that a calibration of the scanner overrides."""

    material: Text
    name: Text
    beams: tuple[Beam, ...] = Field(min_length=1)

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """One row per beam."""
        for beam in self.beams:
            where = listed(f"{beam.kvp:g} kVp", f"{beam.water_cm:g} cm water", beam.filter)
            yield f"{self.material}, set {self.name}, {where}", f"{beam.hu_per_mg_ml:g}", "[HU] per mg/mL"


def _from_tables(value: Any) -> Any:
    """The rows of `data/hu_slopes.json` where a record names only the material of its tables."""
    if not isinstance(value, str):
        return value
    tables = slope_tables(value)
    if not tables:
        raise PydanticCustomError(
            "form",
            "no table of slopes holds {material}; known: {known}",
            {"material": value, "known": ", ".join(tabulated_materials())},
        )
    return tuple(
        HuSlopes(
            material=table.material,
            name=table.name,
            provenance=table.provenance,
            source=table.source,
            note=table.note,
            beams=tuple(
                Beam(kvp=b.kvp, water_cm=b.water_cm, filter=b.filter, hu_per_mg_ml=b.hu_per_mg_ml)
                for b in table.beams
            ),
        )
        for table in tables
    )


class Attenuation(Model):
    """How it shows on CT. `hu_slopes` is rows of its own, or the material whose shipped tables hold it."""

    composition: Composition
    density_g_ml: Amount | None = None
    k_edge_kev: Amount | None = None
    hu_slopes: Annotated[tuple[HuSlopes, ...], BeforeValidator(_from_tables)] = ()


class Gain(Amount):
    """Echo or signal after over before the trigger."""

    trigger: Text
    of: Text
    unit: Literal["1", "dB"] = "1"

    @property
    def context(self) -> str:
        """Of what, and by which trigger."""
        return f"gain of {self.of} by {self.trigger}"


class Acoustic(Model):
    """Phase change and gas."""

    gas: str = ""
    trigger: str = ""
    transition_temperature_c: Value | None = None
    transition_width_c: Amount | None = None
    gains: tuple[Gain, ...] = ()


class MagneticHeating(Model):
    """Alternating field and the power that iron takes from it."""

    frequency_khz: Amount | None = None
    field_ka_per_m: Amount | None = None
    specific_power_w_per_g_fe: Amount | None = None
    heating_rate_k_per_min: Amount | None = None
    target_temperature_c: Amount | None = None


class LinearRange(Amount):
    """Amounts over which the signal of a modality is proportional."""

    modality: Text
    of: Text
    unit: Literal["ug", "1"]

    @property
    def context(self) -> str:
        """Modality and what is counted."""
        return f"linear range, {self.modality}, {self.of}"
