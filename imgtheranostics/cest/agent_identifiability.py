"""Whether spectra can tell agents apart whose pools overlap: the condition number of their sensitivities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.exchange_points import checked_b1
from imgtheranostics.cest.pool_design import UNIDENTIFIABLE
from imgtheranostics.cest.pool_system import ExchangePool, MtPool, PoolSystem, WaterPool
from imgtheranostics.cest.pulse_train import PulseTrain
from imgtheranostics.errors import IllConditioned

DoubleArray = npt.NDArray[np.float64]

RELATIVE_STEP = 1e-3
"""Of concentrations and rates in the central differences."""

STEP_PPM = 1e-3


@dataclass(frozen=True, eq=False)
class Identifiability:
    """How well the unknowns of several agents are told apart by spectra.

    Attributes
    ----------
    condition_number : float
        Of the sensitivities scaled to unit length: near 1 where each unknown changes the spectra in its own
        way, infinite where one cannot be told from the others.
    of_each : mapping of str to float
        The same for each agent alone. Where these are large already, the rate or the offset of one pool is to
        blame, not an overlap.
    parameters : tuple of str
        The unknowns, ``<agent>: <what>``.
    most_alike : (str, str)
        The two unknowns whose sensitivities resemble each other most.
    resemblance : float
        Their cosine, 0 to 1.
    limit : float
        Condition number above which the unknowns count as not identifiable.
    """

    condition_number: float
    of_each: Mapping[str, float]
    parameters: tuple[str, ...]
    most_alike: tuple[str, str]
    resemblance: float
    limit: float

    @property
    def identifiable(self) -> bool:
        """Whether the condition number is within the limit."""
        return self.condition_number <= self.limit

    def check(self) -> None:
        """Refuse what is not identifiable.

        Raises
        ------
        IllConditioned
        """
        if self.identifiable:
            return
        alone = ", ".join(f"{name} {value:.3g}" for name, value in self.of_each.items())
        raise IllConditioned(
            "the spectra do not tell these pools apart",
            found=f"condition number {self.condition_number:.3g} (alone: {alone}); most alike: "
            f"{self.most_alike[0]} and {self.most_alike[1]}, cosine {self.resemblance:.4f}",
            needed=f"at most {self.limit:g}",
            next_step="hold known rates or offsets, add saturation powers, or measure at a higher field",
        )


def identifiability(
    agents: Mapping[str, Sequence[ExchangePool]],
    offset_ppm: npt.ArrayLike,
    *,
    b1_ut: npt.ArrayLike,
    saturation_time_s: float,
    field_t: float,
    water: WaterPool,
    background: Sequence[ExchangePool] = (),
    mt: MtPool | None = None,
    free: Sequence[str] | Mapping[str, Sequence[str]] = (
        "concentration",
        "exchange_rate_per_s",
        "offset_ppm",
    ),
    limit: float = UNIDENTIFIABLE,
    workers: int | None = None,
) -> Identifiability:
    """Condition number of the unknowns of several agents in the spectra of a protocol.

    Parameters
    ----------
    agents : mapping of str to sequence of ExchangePool
        The pools of each agent at the concentrations that are expected, as `simulator_pools` gives them.
    offset_ppm : (n,) array_like
        Offsets of each spectrum.
    b1_ut : float or (m,) array_like
        Power of each spectrum, block saturation.
    saturation_time_s : float
    field_t : float
    water : WaterPool
    background : sequence of ExchangePool
        Other pools, all known.
    mt : MtPool, optional
    free : sequence of str, or mapping of agent to such
        What is not known: ``concentration`` (all pools of the agent together), ``exchange_rate_per_s`` and
        ``offset_ppm`` (of each pool).
    limit : float
    workers : int, optional
        Threads.

    Returns
    -------
    Identifiability
        Its ``check()`` refuses what lies above the limit.

    Raises
    ------
    ValueError
        If nothing is free, a concentration is 0, or names are unknown.
    """
    powers = checked_b1(b1_ut)
    trains = [PulseTrain(offset_ppm, [power], saturation_time_s) for power in powers]
    own = {name: tuple(pools) for name, pools in agents.items()}
    unknowns = _unknowns(own, free)

    def system(changed: Mapping[str, Sequence[ExchangePool]]) -> PoolSystem:
        pools = (*background, *(pool for group in changed.values() for pool in group))
        return PoolSystem(water, pools, mt, field_t)

    systems, steps = [], []
    for _, agent, change in unknowns:
        for sign in (-1.0, 1.0):
            moved, step = change(own[agent], sign)
            systems.append(system({**own, agent: moved}))
        steps.append(step)
    from imgtheranostics.cest.bloch_mcconnell import simulate

    spectra = np.concatenate([simulate(systems, train, workers=workers) for train in trains], axis=-1)
    columns = ((spectra[1::2] - spectra[::2]) / (2.0 * np.array(steps)[:, np.newaxis])).T
    lengths = np.linalg.norm(columns, axis=0)
    scaled = columns / np.where(lengths > 0, lengths, 1.0)
    names = tuple(name for name, *_ in unknowns)
    members = {agent: [k for k, row in enumerate(unknowns) if row[1] == agent] for agent in own}
    alike = np.abs(scaled.T @ scaled) - np.eye(len(names))
    first, second = np.unravel_index(int(alike.argmax()), alike.shape)
    return Identifiability(
        _condition(scaled),
        {agent: _condition(scaled[:, rows]) for agent, rows in members.items() if rows},
        names,
        (names[first], names[second]),
        float(max(alike[first, second], 0.0)),
        float(limit),
    )


Change = Callable[[tuple[ExchangePool, ...], float], tuple[tuple[ExchangePool, ...], float]]
"""Pools with one unknown moved up (1) or down (-1), and by how much."""


def _unknowns(
    own: Mapping[str, tuple[ExchangePool, ...]], free: Sequence[str] | Mapping[str, Sequence[str]]
) -> list[tuple[str, str, Change]]:
    """Name, agent and change of each unknown."""
    wanted = {agent: tuple(free) for agent in own} if not isinstance(free, Mapping) else dict(free)
    strange = [agent for agent in wanted if agent not in own]
    if strange:
        raise ValueError(f"free names {strange}; the agents are {', '.join(own)}")
    found: list[tuple[str, str, Change]] = []
    for agent, names in wanted.items():
        for name in names:
            if name == "concentration":
                if not any(pool.fraction > 0 for pool in own[agent]):
                    raise ValueError(f"{agent} has no pool of a fraction above 0")
                found.append((f"{agent}: concentration", agent, _concentrated))
            elif name in ("exchange_rate_per_s", "offset_ppm"):
                for k, pool in enumerate(own[agent]):
                    found.append((f"{agent}: {name} of {pool.name}", agent, _moved(k, name)))
            else:
                raise ValueError(
                    f"unknown parameter {name!r}; there are concentration, exchange_rate_per_s, offset_ppm"
                )
    if not found:
        raise ValueError("nothing is free: name at least one unknown")
    return found


def _concentrated(pools: tuple[ExchangePool, ...], sign: float) -> tuple[tuple[ExchangePool, ...], float]:
    factor = 1.0 + sign * RELATIVE_STEP
    return tuple(replace(pool, fraction=factor * pool.fraction) for pool in pools), RELATIVE_STEP


def _moved(which: int, name: str) -> Change:
    """The change of one pool's rate, relative, or offset, in ppm."""

    def change(pools: tuple[ExchangePool, ...], sign: float) -> tuple[tuple[ExchangePool, ...], float]:
        pool, others = pools[which], list(pools)
        if name == "offset_ppm":
            others[which], step = replace(pool, offset_ppm=pool.offset_ppm + sign * STEP_PPM), STEP_PPM
        else:
            rate = pool.exchange_rate_per_s * (1.0 + sign * RELATIVE_STEP)
            others[which], step = replace(pool, exchange_rate_per_s=rate), RELATIVE_STEP
        return tuple(others), step

    return change


def _condition(scaled: DoubleArray) -> float:
    """Condition number of columns of unit length; infinite where one has no effect."""
    sizes = np.linalg.svd(scaled, compute_uv=False)
    if scaled.shape[0] < scaled.shape[1] or not sizes[-1] > 0:
        return float("inf")
    return float(sizes[0] / sizes[-1])
