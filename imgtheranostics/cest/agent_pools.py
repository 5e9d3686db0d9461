"""Pools of drugs and agents from their records, for the simulator and for Lorentzian fits.

Offsets, proton counts and exchange rates that a record gives as one number are used, with a caution where
they are from memory; what it gives as a range, or not at all, has to be given by the user. So there is no
default for melphalan, of which nothing is confirmed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from imgtheranostics.agents import Agent
from imgtheranostics.cest.agent_identifiability import Identifiability, identifiability
from imgtheranostics.cest.agent_values import Given, Reading, checked_ph, chosen_pools, record_of
from imgtheranostics.cest.constants import WATER_PROTON_CONCENTRATION_MM
from imgtheranostics.cest.pool_design import Pool, Range
from imgtheranostics.cest.pool_system import ExchangePool
from imgtheranostics.errors import Caution, ImplausibleValue

__all__ = [
    "AgentPools",
    "Identifiability",
    "identifiability",
    "lorentzian_pools",
    "proton_fraction",
    "simulator_pools",
]

P = TypeVar("P")

LARGEST_CONCENTRATION_MM = 5000.0
"""Beyond, it was given in umol/L: iopamidol as it is sold has about 800 mmol/L."""


class AgentPools(tuple[P, ...]):
    """Pools of one agent, and what a reader must know of them.

    Attributes
    ----------
    warnings : tuple of Caution
        ``unconfirmed-value`` for each number from memory, ``outside-recorded-range``,
        ``extrapolated-exchange-rate``.
    """

    warnings: tuple[Caution, ...]

    def __new__(cls, pools: Iterable[P], warnings: Iterable[Caution] = ()) -> AgentPools[P]:
        """Pools and cautions."""
        made = super().__new__(cls, pools)
        made.warnings = tuple(warnings)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return AgentPools, (tuple(self), self.warnings)


def proton_fraction(concentration_mm: npt.ArrayLike, protons: float) -> npt.NDArray[np.float64]:
    """Exchanging protons relative to those of water, protons x concentration / 111,000 mmol/L.

    Parameters
    ----------
    concentration_mm : array_like
        mmol/L of the molecule.
    protons : float
        Exchanging protons of one molecule.

    Examples
    --------
    >>> f"{float(proton_fraction(20.0, 2)):.4e}"
    '3.6036e-04'
    """
    amount = np.asarray(concentration_mm, np.float64)
    fraction: npt.NDArray[np.float64] = protons * amount / WATER_PROTON_CONCENTRATION_MM
    return fraction


def simulator_pools(
    agent: str | Agent,
    *,
    concentration_mm: float,
    ph: float | None = None,
    exchange_rate_per_s: Given = None,
    protons: Given = None,
    offset_ppm: Given = None,
    t1_s: float = 1.0,
    t2_s: float | None = None,
    pools: Sequence[str] | None = None,
) -> AgentPools[ExchangePool]:
    """Pools of an agent for `imgtheranostics.cest.bloch_mcconnell`.

    Parameters
    ----------
    agent : str or Agent
        Name of a record, or the record.
    concentration_mm : float
        mmol/L of the molecule.
    ph : float, optional
        Where the record gives exchange rates at several pH: the logarithm of the rate goes straight between
        them, and on by at most 0.1 beyond them.
    exchange_rate_per_s, protons, offset_ppm : float or mapping of str to float, optional
        In place of the record: one number for the only pool, or numbers by the name of the pool. Needed where
        the record gives a range or nothing.
    t1_s : float
        T1 of the exchanging protons; hardly matters.
    t2_s : float
        T2 of the exchanging protons. No record states it, and it changes the contrast by some per cent: it
        has to be given.
    pools : sequence of str, optional
        Which pools of the record; all by default, but not those that stand for the same protons in other
        surroundings.

    Returns
    -------
    AgentPools
        A tuple of `ExchangePool`, named by record and pool, with ``warnings``.

    Raises
    ------
    MissingMetadata
        Naming every value that has to be given, and what the record says of it.
    ValueError
        If names of pools are not those of the record, or one number is given for several pools.
    ImplausibleValue
        If a value looks like another unit.

    Examples
    --------
    >>> pools = simulator_pools("olsalazine", concentration_mm=5.0, exchange_rate_per_s=1000.0, t2_s=0.02)
    >>> pools[0].offset_ppm, f"{pools[0].fraction:.3e}", pools[0].name
    (9.8, '9.009e-05', 'olsa_rvrr_hydroxyl')
    """
    record = record_of(agent)
    reading = Reading(record, chosen_pools(record, pools))
    at = checked_ph(ph)
    amount = _checked_concentration(concentration_mm)
    rows = []
    for pool in reading.pools:
        count = reading.value(pool.protons, protons, pool, "protons", "protons")
        offset = reading.value(pool.offset_ppm, offset_ppm, pool, "offset_ppm", "ppm")
        rate = reading.rate(exchange_rate_per_s, pool, at)
        if t2_s is None:
            reading.need("t2_s", pool, "not recorded")
        rows.append((pool_name(record, pool.name), count, offset, rate))
    warnings = reading.complete("a simulation")
    return AgentPools(
        (
            ExchangePool(
                name=name,
                fraction=float(proton_fraction(amount, count)),
                t1_s=t1_s,
                t2_s=float(t2_s if t2_s is not None else np.nan),
                exchange_rate_per_s=rate,
                offset_ppm=offset,
            )
            for name, count, offset, rate in rows
        ),
        warnings,
    )


def lorentzian_pools(
    agent: str | Agent,
    *,
    offset_ppm: Given = None,
    amplitude: Range = (0.02, 0.0, 0.5),
    width_ppm: Range = (1.0, 0.3, 5.0),
    centre_tolerance_ppm: float = 0.3,
    pools: Sequence[str] | None = None,
) -> AgentPools[Pool]:
    """Pools of an agent for `imgtheranostics.cest.pools.fit`, to be added to those of the tissue.

    Parameters
    ----------
    agent : str or Agent
        Name of a record, or the record.
    offset_ppm : float or mapping of str to float, optional
        In place of the record, as for `simulator_pools`.
    amplitude, width_ppm : (float, float, float)
        Start, lowest and highest value of every pool. These are the project's own choice, from no
        publication: the width of a line grows with the exchange rate and the power.
    centre_tolerance_ppm : float
        How far the centre may move from the offset.
    pools : sequence of str, optional
        Which pools of the record.

    Returns
    -------
    AgentPools
        A tuple of `Pool`, named by record and pool, with ``warnings``.

    Raises
    ------
    MissingMetadata, ValueError
        As `simulator_pools`.
    """
    record = record_of(agent)
    reading = Reading(record, chosen_pools(record, pools))
    if not (np.isfinite(centre_tolerance_ppm) and centre_tolerance_ppm >= 0):
        raise ValueError(f"centre_tolerance_ppm must be 0 or more, found {centre_tolerance_ppm}")
    offsets = [
        (pool_name(record, pool.name), reading.value(pool.offset_ppm, offset_ppm, pool, "offset_ppm", "ppm"))
        for pool in reading.pools
    ]
    warnings = reading.complete("a fit")
    reach = float(centre_tolerance_ppm)
    return AgentPools(
        (Pool(name, amplitude, width_ppm, (at, at - reach, at + reach)) for name, at in offsets), warnings
    )


def pool_name(agent: Agent, pool: str) -> str:
    """Record and pool as one word that can be part of a parameter's name."""
    return re.sub(r"\W+", "_", f"{agent.id}_{pool}").strip("_")


def _checked_concentration(concentration_mm: float) -> float:
    amount = float(concentration_mm)
    if not np.isfinite(amount) or amount < 0:
        raise ValueError(f"concentration_mm must be 0 or more, found {concentration_mm}")
    if amount > LARGEST_CONCENTRATION_MM:
        raise ImplausibleValue(
            "no solution is that concentrated",
            where="concentration_mm",
            found=f"{amount:g} mmol/L",
            needed=f"at most {LARGEST_CONCENTRATION_MM:g} mmol/L",
            next_step="divide umol/L by 1000",
        )
    return amount
