"""Amounts and exchange rates of agents by Bloch-McConnell fits to the spectra of regions.

What a user knows of the tissue by other scans is taken from the phantom file: relaxation times of water,
where the pools lie, and their relaxation. How much there is of each pool is fitted from a start that has
nothing to do with the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from imgtheranostics.cest.bloch_mcconnell import ExchangePool, MtPool, PoolSystem, PulseTrain, simulate
from imgtheranostics.cest.constants import WATER_PROTON_CONCENTRATION_MM
from imgtheranostics.errors import IllConditioned
from imgtheranostics.phantom.cest_scanner import AgentPool
from imgtheranostics.phantom.cest_scans import CestScan, scans_of
from imgtheranostics.phantom.cest_tissue import agent_pools, pools_of, rate_at
from imgtheranostics.validation.cest_spectra import RegionSpectrum, parts_by_b1, volume_of
from imgtheranostics.validation.mri_maps import api
from imgtheranostics.volume import Flag

if TYPE_CHECKING:
    from imgtheranostics.fit import Fit
    from imgtheranostics.validation.session import Session

Pool = TypeVar("Pool", ExchangePool, MtPool)

START_FRACTION, START_BOUND, START_MM, START_RATE = 1e-3, 0.1, 5.0, 1000.0
NEAR_WATER_PPM = 0.7
"""Samples closer to water are left out: their signal is that of the noise, and steep."""
TRIED_PH, MOST_STARTS = 5, 2
AS_GOOD = 1.001
"""Residuals of fits to the same spectra that ended in the same place differ by less than this factor."""
FRACTION, RATE, WATER_T2 = "fraction", "exchange_rate_per_s", "t2_s"


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pools as they were fitted, and what they mean for the agent.

    Attributes
    ----------
    pools : PoolSystem
    molar_mm, exchange_rate_per_s : mapping of str to float
        By pool of the agent.
    standard_error : mapping of str to float
        By parameter of the fit, such as ``hydroxyl_fraction``.
    """

    pools: PoolSystem
    molar_mm: Mapping[str, float]
    exchange_rate_per_s: Mapping[str, float]
    standard_error: Mapping[str, float]


def series(session: Session, scan: CestScan) -> list[CestScan]:
    """The main scans that differ from one in their saturation B1 alone, in ascending order of it."""

    def rest(one: CestScan) -> dict[str, float | str]:
        return {kind: value for kind, value in one.case.items() if kind != "saturation_b1"}

    found = [one for one in scans_of(session.phantom.spec) if not one.role and rest(one) == rest(scan)]
    return sorted(found, key=lambda one: one.b1_ut)


def tissue_start(session: Session, region: str, scan: CestScan) -> PoolSystem:
    """Water and the pools of the tissue, as much of each as nobody has measured yet."""
    known = pools_of(session.phantom.spec, region, replace(scan, agent=False))
    return replace(
        known,
        exchange=tuple(replace(pool, fraction=START_FRACTION) for pool in known.exchange),
        mt=None if known.mt is None else replace(known.mt, fraction=START_BOUND),
    )


def background(session: Session, region: str, before: CestScan) -> PoolSystem:
    """Water and the pools of the tissue, fitted to the scans without agent."""

    def make() -> PoolSystem:
        start = tissue_start(session, region, before)
        free = _fractions(start)
        return _with(start, fit_spectra(session, region, series(session, before), start, free))

    made: PoolSystem = session.kept(("background", region, before.name), make)
    return made


def labelled(
    session: Session,
    region: str,
    after: CestScan,
    *,
    rates: Mapping[str, float] | None = None,
) -> Labelled:
    """The agent in a region, fitted to the scans with it together with the pools of the tissue.

    Parameters
    ----------
    after : CestScan
        One of the scans with agent.
    rates : mapping of str to float, optional
        Exchange rate of each pool of the agent where it is known; otherwise it is fitted too.
    """
    agent = agent_pools(session.phantom.spec, session.phantom.spec.region(region))
    others = tissue_start(session, region, after)
    starts = [
        replace(others, exchange=(*others.exchange, *(label_start(pool, known) for pool in agent)))
        for known in ([rates] if rates else _start_rates(agent))
    ]
    free = _fractions(others) | {pool.name: (FRACTION,) if rates else (FRACTION, RATE) for pool in agent}

    def amounts(start: PoolSystem) -> tuple[float, PoolSystem]:
        found = fit_spectra(session, region, series(session, after), start, _fractions(start))
        return float(found.rmse), _with(start, found)

    def make() -> Labelled:
        nonlocal starts
        scans = series(session, after)
        if len(starts) > MOST_STARTS:
            by_rest = sorted((amounts(start) for start in starts), key=lambda one: one[0])
            starts = [start for _, start in by_rest[:MOST_STARTS]]
        fits = [fit_spectra(session, region, scans, start, free) for start in starts]
        found = _best(fits)
        pools = _with(starts[0], found)
        by_name = {pool.name: pool for pool in pools.exchange}
        return Labelled(
            pools,
            {pool.name: molar_mm(by_name[pool.name].fraction, pool) for pool in agent},
            {pool.name: by_name[pool.name].exchange_rate_per_s for pool in agent},
            {name: float(error) for name, error in found.standard_errors.items()},
        )

    key = ("labelled", region, after.name, tuple(sorted((rates or {}).items())))
    made: Labelled = session.kept(key, make)
    return made


def _best(fits: Sequence[Fit]) -> Fit:
    """The fit that leaves least, of those that are as good as it one that settled."""
    left = np.array([np.nan_to_num(float(fit.rmse), nan=np.inf) for fit in fits])
    as_good = [fit for fit, rmse in zip(fits, left, strict=True) if rmse <= AS_GOOD * left.min()]
    return next((fit for fit in as_good if not int(fit.flags) & Flag.NOT_CONVERGED), as_good[0])


def _fractions(pools: PoolSystem) -> dict[str, tuple[str, ...]]:
    """The fraction of every pool, as what is free.

    Of water alone it is T2: near water, an error of B1 of 1 part in 1000 is as large as 1 mmol/L of an amine,
    and it looks like one of T2.
    """
    free: dict[str, tuple[str, ...]] = {pool.name: (FRACTION,) for pool in pools.exchange}
    if pools.mt is not None:
        free["mt"] = (FRACTION,)
    return free or {"water": (WATER_T2,)}


def molar_mm(fraction: float, pool: AgentPool) -> float:
    """Concentration of the molecule that a fraction of protons stands for, mmol/L."""
    return fraction * WATER_PROTON_CONCENTRATION_MM / pool.protons


def label_start(pool: AgentPool, rates: Mapping[str, float] | None = None) -> ExchangePool:
    """A pool of an agent before anything was fitted."""
    return ExchangePool(
        name=pool.name,
        fraction=pool.protons * START_MM / WATER_PROTON_CONCENTRATION_MM,
        t1_s=pool.t1_ms * 1e-3,
        t2_s=pool.t2_ms * 1e-3,
        exchange_rate_per_s=rates[pool.name] if rates else START_RATE,
        offset_ppm=pool.offset_ppm,
    )


def _start_rates(agent: Sequence[AgentPool]) -> list[dict[str, float]]:
    """Exchange rates to start from: those of all pools at several pH where they are known, else one for all.

    Pools next to each other have minima where one of them has taken over the other's part; rates that belong
    together lead around them, most of all those that fit best while only the amounts are free.
    """
    by_ph = [pool.exchange_rate_per_s for pool in agent if isinstance(pool.exchange_rate_per_s, dict)]
    if not by_ph or len(by_ph) < len(agent):
        return [{pool.name: START_RATE for pool in agent}]
    known = sorted(float(ph) for ph in by_ph[0])
    return [
        {pool.name: rate_at(rates, ph) for pool, rates in zip(agent, by_ph, strict=True)}
        for ph in np.linspace(known[0], known[-1], TRIED_PH).tolist()
    ]


def fit_spectra(
    session: Session,
    region: str,
    scans: Sequence[CestScan],
    start: PoolSystem,
    free: Mapping[str, tuple[str, ...]],
) -> Fit:
    """Fit pools to the mean spectra of a region in several scans at once."""
    parts = [parts_by_b1(session, volume_of(session, scan), region) for scan in scans]
    pairs = [(part, scan) for scan, found in zip(scans, parts, strict=True) for part in found]
    return fit_together([part for part, _ in pairs], [scan for _, scan in pairs], start, free)


def fit_together(
    spectra: Sequence[RegionSpectrum],
    scans: Sequence[CestScan],
    start: PoolSystem,
    free: Mapping[str, tuple[str, ...]],
) -> Fit:
    """Fit pools to spectra that were measured at several B1, without the samples next to water."""
    field = float(np.mean([spectrum.relative_b1 for spectrum in spectra]))
    kept = [np.abs(spectrum.offset_ppm) >= NEAR_WATER_PPM for spectrum in spectra]
    trains = [
        PulseTrain(spectrum.offset_ppm[used], [scan.b1_ut * spectrum.relative_b1 / field], scan.saturation_s)
        for spectrum, scan, used in zip(spectra, scans, kept, strict=True)
    ]
    z = np.concatenate([spectrum.z[used] for spectrum, used in zip(spectra, kept, strict=True)])
    found: Fit = api("fit", "cest.bloch_fit")(z, start, trains, free=free, relative_b1=field)
    return found


def all_known(fit: Fit) -> None:
    """Refuse a fit that gave no numbers.

    Raises
    ------
    IllConditioned
    """
    if not all(np.isfinite(value).all() for value in fit.parameters.values()):
        raise IllConditioned(
            "the fit of pools to the mean spectrum of a region failed",
            found=", ".join(flag.name or "" for flag in Flag if int(fit.flags) & flag),
        )


def _with(start: PoolSystem, fit: Fit) -> PoolSystem:
    """The pools with what was fitted of them; IllConditioned where nothing was."""
    all_known(fit)

    def value(pool: ExchangePool | MtPool, name: str, field: str) -> float:
        found = fit.parameters.get(f"{name}_{field}")
        return float(getattr(pool, field) if found is None else found)

    def changed(pool: Pool, name: str) -> Pool:
        return replace(
            pool,
            fraction=value(pool, name, FRACTION),
            exchange_rate_per_s=value(pool, name, RATE),
        )

    water_t2_s = float(fit.parameters.get(f"water_{WATER_T2}", start.water.t2_s))
    return replace(
        start,
        water=replace(start.water, t2_s=water_t2_s),
        exchange=tuple(changed(pool, pool.name) for pool in start.exchange),
        mt=None if start.mt is None else changed(start.mt, "mt"),
    )


def asymmetry_percent(pools: PoolSystem, scan: CestScan, at_ppm: float) -> float:
    """Asymmetry of fitted pools at nominal fields, %."""
    both = simulate(pools, PulseTrain([-at_ppm, at_ppm], [scan.b1_ut], scan.saturation_s))
    return 100.0 * float(both[0] - both[1])
