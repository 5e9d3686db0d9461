"""What each region of a CEST phantom is made of, as pools for the simulator."""

from __future__ import annotations

import math

from imgtheranostics.cest.bloch_mcconnell import ExchangePool, MtPool, PoolSystem, WaterPool
from imgtheranostics.cest.constants import WATER_PROTON_CONCENTRATION_MM
from imgtheranostics.errors import MissingMetadata
from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.cest_scanner import AgentPool, BoundPool, TissuePool
from imgtheranostics.phantom.cest_scans import CestScan, scanner_of
from imgtheranostics.phantom.spec import PhantomSpec, RegionSpec

LEAST_PROTON_DENSITY = 1e-6
AMOUNTS = ("molar_concentration", "concentration")
"""Quantities that say how much agent a region holds."""


def stated(region: RegionSpec, quantity: str, case: Case) -> float | None:
    """What a region states of a quantity for a case, in the quantity's own unit."""
    truth = region.states(quantity)
    if truth is None:
        return None
    return truth.in_own_unit(case.get(truth.along) if truth.along else None)


def proton_density(region: RegionSpec, case: Case) -> float:
    """Signal of a region without saturation; 0 where it states none."""
    return stated(region, "proton_density", case) or 0.0


def molar_mm(spec: PhantomSpec, region: RegionSpec, case: Case, pool: AgentPool | None = None) -> float:
    """How much agent a region holds, mmol/L; 0 where it states none.

    Raises
    ------
    MissingMetadata
        If it is stated in mg/mL and the pool does not say how much of that makes one mmol.
    """
    direct = stated(region, "molar_concentration", case)
    if direct is not None:
        return direct
    mass = stated(region, "concentration", case)
    if not mass:
        return 0.0
    used = pool or next(iter(agent_pools(spec, region)), None)
    if used is None or used.mg_per_mmol is None:
        raise MissingMetadata(
            f"the agent in {region.name} is stated in mg/mL",
            where="physics.mri.cest.agent_pools",
            needed="mg_per_mmol",
        )
    return 1000.0 * mass / used.mg_per_mmol


def agent_pools(spec: PhantomSpec, region: RegionSpec) -> tuple[AgentPool, ...]:
    """The pools of the agent that a region may hold."""
    record = region.agent or spec.agent.record
    return tuple(pool for pool in scanner_of(spec)[1].agent_pools if pool.agent == record)


def exchange_rate(pool: AgentPool, region: RegionSpec, case: Case) -> float:
    """Exchange rate of an agent's pool in a region, 1/s: what the region states, else the pool, at its pH.

    Raises
    ------
    MissingMetadata
        If nothing states it, or it depends on a pH that is not stated.
    """
    own = stated(region, "exchange_rate", case)
    if own is not None:
        return own
    if isinstance(pool.exchange_rate_per_s, float):
        return pool.exchange_rate_per_s
    ph = acidity(region, case)
    if pool.exchange_rate_per_s is None or ph is None:
        raise MissingMetadata(
            f"the exchange rate of {pool.name} in {region.name} is not known",
            where="physics.mri.cest.agent_pools",
            needed="exchange_rate_per_s, with a pH where it depends on one",
        )
    return rate_at(pool.exchange_rate_per_s, ph)


def acidity(region: RegionSpec, case: Case) -> float | None:
    """The pH of a region, or that of the scan's case."""
    own = stated(region, "ph", case)
    if own is not None:
        return own
    return float(case["ph"]) if "ph" in case else None


def rate_at(rates: dict[str, float], ph: float) -> float:
    """Exchange rate at a pH: its logarithm goes straight between the two points next to it."""
    known = [float(value) for value in rates]
    logs = [math.log(rate) for rate in rates.values()]
    low = max(0, min(len(known) - 2, sum(value <= ph for value in known) - 1))
    slope = (logs[low + 1] - logs[low]) / (known[low + 1] - known[low])
    return math.exp(logs[low] + slope * (ph - known[low]))


def pools_of(spec: PhantomSpec, name: str, scan: CestScan) -> PoolSystem:
    """The pools of a region during a scan.

    Raises
    ------
    MissingMetadata
        If the region states no relaxation time, or a rate is not known.
    """
    region = spec.region(name)
    _, cest, field_t = scanner_of(spec)
    times = {kind: stated(region, kind, scan.case) for kind in ("t1", "t2")}
    for kind, value in times.items():
        if not value:
            raise MissingMetadata(f"the region {name} of a CEST phantom states no {kind}")
    tissue = [_tissue_pool(pool) for pool in cest.tissue] if scan.tissue else []
    amount = molar_mm(spec, region, scan.case) if scan.agent else 0.0
    held = agent_pools(spec, region) if amount > 0 else ()
    return PoolSystem(
        water=WaterPool(t1_s=times["t1"] or 0.0, t2_s=times["t2"] or 0.0),
        exchange=(*tissue, *(_agent_pool(pool, region, scan.case, amount) for pool in held)),
        mt=_bound_pool(cest.bound) if cest.bound is not None and scan.tissue else None,
        field_t=field_t,
    )


def _tissue_pool(pool: TissuePool) -> ExchangePool:
    return ExchangePool(
        name=pool.name,
        fraction=pool.fraction,
        t1_s=pool.t1_ms * 1e-3,
        t2_s=pool.t2_ms * 1e-3,
        exchange_rate_per_s=pool.exchange_rate_per_s,
        offset_ppm=pool.offset_ppm,
    )


def _agent_pool(pool: AgentPool, region: RegionSpec, case: Case, amount_mm: float) -> ExchangePool:
    return ExchangePool(
        name=pool.name,
        fraction=pool.protons * amount_mm / WATER_PROTON_CONCENTRATION_MM,
        t1_s=pool.t1_ms * 1e-3,
        t2_s=pool.t2_ms * 1e-3,
        exchange_rate_per_s=exchange_rate(pool, region, case),
        offset_ppm=pool.offset_ppm,
    )


def _bound_pool(pool: BoundPool) -> MtPool:
    return MtPool(
        fraction=pool.fraction,
        t1_s=pool.t1_ms * 1e-3,
        t2_s=pool.t2_ms * 1e-3,
        exchange_rate_per_s=pool.exchange_rate_per_s,
        offset_ppm=pool.offset_ppm,
        line_shape=pool.line_shape,
    )
