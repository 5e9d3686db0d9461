"""What an agent's record tells of its pools, and what the user has to add: nothing unconfirmed is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imgtheranostics.agents import Agent, get
from imgtheranostics.agents.provenance import Value
from imgtheranostics.agents.signals import CestPool, Exchange
from imgtheranostics.errors import Caution, ImplausibleValue, MissingMetadata

Given = float | Mapping[str, float] | None
"""One value for the only pool, or values by the name of the pool in the record."""

EXTRAPOLATED_PH = 0.1
"""How far beyond the recorded pH an exchange rate may be continued, with a caution."""

PH_LIMITS = (3.0, 11.0)
"""Outside, it is no pH of anything that lives."""


def record_of(agent: str | Agent) -> Agent:
    """A record, by name or as it is."""
    return agent if isinstance(agent, Agent) else get(agent)


def chosen_pools(agent: Agent, names: Sequence[str] | None) -> tuple[CestPool, ...]:
    """The pools of a record that are there together, or those that are asked for.

    Raises
    ------
    MissingMetadata
        If the record holds none.
    ValueError
        If a name is unknown, or two pools are the same protons.
    """
    if not agent.cest_pools:
        carried = f"its signal is that of {', '.join(agent.carries)}: give that" if agent.carries else None
        raise MissingMetadata(
            f"the record of {agent.name} holds no pool for CEST",
            where=agent.id,
            next_step=carried or "give the pools yourself",
        )
    known = {pool.name: pool for pool in agent.cest_pools}
    if names is None:
        return tuple(pool for pool in agent.cest_pools if pool.instead_of is None)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f"{agent.id} has no pool {unknown}; there are {', '.join(known)}")
    taken = tuple(known[name] for name in dict.fromkeys(names))
    for pool in taken:
        if pool.instead_of is not None and pool.instead_of in names:
            raise ValueError(f"{pool.name} and {pool.instead_of} of {agent.id} are the same protons")
    return taken


@dataclass
class Reading:
    """Values of one record's pools, with the cautions that they carry and all that is missing.

    Attributes
    ----------
    agent : Agent
    pools : tuple of CestPool
    warnings : list of Caution
    missing : dict
        Keyword to ``pool: what is recorded``.
    """

    agent: Agent
    pools: tuple[CestPool, ...]
    warnings: list[Caution] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)

    def given(self, values: Given, pool: CestPool, keyword: str) -> float | None:
        """What the user says of a pool.

        Raises
        ------
        ValueError
            If one value is given for several pools, a name is unknown, or a value is no number.
        """
        if values is None:
            return None
        names = [one.name for one in self.pools]
        if not isinstance(values, Mapping):
            if len(names) > 1:
                raise ValueError(f"{self.agent.id} has the pools {', '.join(names)}: give {keyword} by name")
            values = {names[0]: values}
        unknown = [name for name in values if name not in names]
        if unknown:
            raise ValueError(f"{keyword} is given for {unknown}; the pools are {', '.join(names)}")
        if pool.name not in values:
            return None
        number = float(values[pool.name])
        if not math.isfinite(number):
            raise ValueError(f"{keyword} of {pool.name} is not a number")
        return number

    def need(self, keyword: str, pool: CestPool, recorded: str) -> float:
        """Note that the user must give something; the value stands in until all is known."""
        self.missing.setdefault(keyword, []).append(f"{pool.name}: {recorded}")
        return math.nan

    def value(self, recorded: Value | None, values: Given, pool: CestPool, keyword: str, unit: str) -> float:
        """What is given, else the single value of the record."""
        own = self.given(values, pool, keyword)
        if own is not None:
            if recorded is not None:
                self._compare(own, recorded.bounds, pool, keyword, unit)
            return own
        if recorded is None:
            return self.need(keyword, pool, "not recorded")
        if recorded.value is None:
            return self.need(keyword, pool, f"{recorded.text} {unit}, {recorded.provenance}")
        self._caution(recorded, f"{keyword} of {pool.name}, {recorded.text} {unit},")
        return recorded.value

    def rate(self, values: Given, pool: CestPool, ph: float | None) -> float:
        """What is given, else the recorded exchange rate at a pH, its logarithm straight between two pH."""
        keyword = "exchange_rate_per_s"
        own = self.given(values, pool, keyword)
        bounds = _rate_bounds(pool.exchange)
        if own is not None:
            if bounds is not None:
                self._compare(own, bounds, pool, keyword, "1/s")
            return own
        points = sorted(
            (entry.ph[0], entry)
            for entry in pool.exchange
            if entry.value is not None and entry.ph is not None and entry.ph[0] == entry.ph[1]
        )
        if len(points) >= 2:
            return self._between(points, pool, ph)
        if len(pool.exchange) == 1 and pool.exchange[0].value is not None:
            return self._single(pool.exchange[0], pool, ph)
        recorded = "; ".join(f"{e.text} 1/s ({e.context}), {e.provenance}" for e in pool.exchange)
        return self.need(keyword, pool, recorded or "not recorded")

    def _single(self, entry: Exchange, pool: CestPool, ph: float | None) -> float:
        if entry.ph is not None and ph is not None and not entry.ph[0] <= ph <= entry.ph[1]:
            return self.need("exchange_rate_per_s", pool, f"{entry.text} 1/s ({entry.context})")
        self._caution(entry, f"the exchange rate of {pool.name}, {entry.text} 1/s,")
        return float(entry.number())

    def _between(self, points: list[tuple[float, Exchange]], pool: CestPool, ph: float | None) -> float:
        known = [point for point, _ in points]
        if ph is None:
            return self.need("ph", pool, f"exchange rates at pH {known[0]:g} to {known[-1]:g}")
        beyond = max(known[0] - ph, ph - known[-1])
        if beyond > EXTRAPOLATED_PH + 1e-9:
            recorded = f"rates at pH {known[0]:g} to {known[-1]:g}, not at {ph:g}"
            return self.need("exchange_rate_per_s", pool, recorded)
        if beyond > 1e-9:
            self.warnings.append(
                Caution(
                    "extrapolated-exchange-rate",
                    f"the exchange rate of {pool.name} at pH {ph:g} continues those at pH {known[0]:g} to "
                    f"{known[-1]:g}",
                    f"{self.agent.id}: {pool.name}",
                )
            )
        for at, entry in points:
            self._caution(entry, f"the exchange rate of {pool.name} at pH {at:g}, {entry.text} 1/s,")
        low = max(0, min(len(points) - 2, sum(point <= ph for point in known) - 1))
        first, second = (math.log(points[low + k][1].number()) for k in (0, 1))
        return math.exp(first + (second - first) * (ph - known[low]) / (known[low + 1] - known[low]))

    def _caution(self, recorded: Value, what: str) -> None:
        for caution in recorded.warnings:
            message = f"{what} is from memory and is not a validated truth"
            self.warnings.append(Caution(caution.code, message, caution.where))

    def _compare(
        self, own: float, bounds: tuple[float, float], pool: CestPool, keyword: str, unit: str
    ) -> None:
        low, high = bounds
        if not low <= own <= high:
            self.warnings.append(
                Caution(
                    "outside-recorded-range",
                    f"{keyword} of {pool.name} is {own:g} {unit}, the record says "
                    + (f"{low:g}" if low == high else f"{low:g} to {high:g}"),
                    f"{self.agent.id}: {pool.name}",
                )
            )

    def complete(self, purpose: str) -> tuple[Caution, ...]:
        """The cautions, once nothing is missing.

        Raises
        ------
        MissingMetadata
            Naming each keyword that is needed, and what the record says of it.
        """
        if self.missing:
            found = "; ".join(f"{key} of {', '.join(told)}" for key, told in self.missing.items())
            raise MissingMetadata(
                f"the record of {self.agent.name} does not tell all that {purpose} needs",
                where=self.agent.id,
                found=found,
                needed=", ".join(self.missing),
                next_step="choose values that suit your experiment and give them explicitly",
            )
        return tuple(self.warnings)


def _rate_bounds(entries: Sequence[Exchange]) -> tuple[float, float] | None:
    if not entries:
        return None
    bounds = [entry.bounds for entry in entries]
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def checked_ph(ph: float | None) -> float | None:
    """A pH that can be one.

    Raises
    ------
    ImplausibleValue
        If it is outside 3 to 11.
    """
    if ph is None:
        return None
    low, high = PH_LIMITS
    if not low <= ph <= high:
        raise ImplausibleValue(
            "the pH cannot be that",
            where="ph",
            found=f"{ph:g}",
            needed=f"{low:g} to {high:g}",
            next_step="give the pH of the tissue or vial",
        )
    return float(ph)
