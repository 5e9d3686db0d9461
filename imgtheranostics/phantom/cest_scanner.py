"""What a CEST phantom saturates, and with what: pools of tissue and agent, pulses, companion scans."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.phantom.model import Model, Name, Number, Positive
from imgtheranostics.phantom.series import evenly_spaced

Offsets = Annotated[tuple[Number, ...], BeforeValidator(evenly_spaced), Field(min_length=5)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class PoolSpec(Model):
    """Protons that exchange with water: relaxation, exchange from the pool to water, offset from water."""

    t1_ms: Positive
    t2_ms: Positive
    offset_ppm: Number


class TissuePool(PoolSpec):
    """A pool that all tissue has. `fraction` is relative to the protons of water."""

    name: Name
    fraction: Fraction
    exchange_rate_per_s: Positive


class BoundPool(PoolSpec):
    """Protons bound to macromolecules, saturated by their line shape."""

    fraction: Fraction
    exchange_rate_per_s: Positive
    line_shape: Literal["lorentzian", "super_lorentzian", "full"] = "lorentzian"


class AgentPool(PoolSpec):
    """A pool of an agent, in the regions that state how much of it they hold.

    Attributes
    ----------
    agent
        Record of the agent.
    protons
        Exchanging protons per molecule.
    exchange_rate_per_s
        One number, or one per pH, between which its logarithm goes in a straight line and beyond which it
        goes on as it did; without it, what the region states.
    mg_per_mmol
        What of a truth in mg/mL makes one mmol: of iodine that its molecule holds.
    """

    agent: Name
    name: Name
    protons: Positive
    exchange_rate_per_s: Positive | dict[str, Positive] | None = None
    mg_per_mmol: Positive | None = None

    @field_validator("exchange_rate_per_s")
    @classmethod
    def _rates_by_ph(cls, given: float | dict[str, float] | None) -> float | dict[str, float] | None:
        if isinstance(given, dict):
            try:
                known = [float(ph) for ph in given]
            except ValueError:
                raise PydanticCustomError("pool", "exchange rates are given by pH") from None
            if len(known) < 2 or known != sorted(set(known)):
                raise PydanticCustomError("pool", "exchange rates are given at two or more ascending pH")
        return given


class FieldScan(Model):
    """A WASABI scan beside the main ones: one short pulse, whose spectrum shows B0 and B1."""

    b1_ut: Positive
    pulse_ms: Positive
    offsets_ppm: Offsets


class CestScanner(Model):
    """Saturation by one block pulse, then the image.

    Attributes
    ----------
    saturation_s
        Duration of the pulse.
    offsets_ppm, b1_ut
        Where the phantom has no axis ``offset`` or ``saturation_b1``.
    references
        Images without saturation: the first before the spectrum, the others after it.
    recovery_s
        Rest before each pulse, after which the magnetisation is taken as relaxed.
    tissue, bound
        Pools of every region.
    agent_pools
        Pools of the agents.
    wasabi
        Scan of the fields.
    without_tissue_b1_ut
        B1 at which the main scans are made once more in regions without the pools of the tissue.
    """

    saturation_s: Positive
    offsets_ppm: Offsets | None = None
    b1_ut: tuple[Positive, ...] = ()
    references: Annotated[int, Field(ge=1, le=16)] = 2
    recovery_s: Positive = 10.0
    tissue: tuple[TissuePool, ...] = ()
    bound: BoundPool | None = None
    agent_pools: tuple[AgentPool, ...] = ()
    wasabi: FieldScan | None = None
    without_tissue_b1_ut: tuple[Positive, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> CestScanner:
        for names in (
            [pool.name for pool in self.tissue],
            [(pool.agent, pool.name) for pool in self.agent_pools],
        ):
            if len(set(names)) != len(names):
                raise PydanticCustomError("pool", "the names of the pools differ")
        return self
