"""Options that take the pools of a drug or contrast agent from its record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from imgtheranostics.cest.agent_pools import AgentPools
    from imgtheranostics.cest.pool_design import Pool
    from imgtheranostics.cest.pool_system import ExchangePool, PoolSystem
    from imgtheranostics.errors import Caution


@dataclass(frozen=True)
class AgentLines:
    """Lines of an agent beside those of the tissue."""

    agent: Annotated[
        str | None,
        typer.Option("--agent", help="Add the lines of this agent, such as olsalazine, from its record."),
    ] = None
    agent_ppm: Annotated[
        list[str] | None,
        typer.Option(
            "--agent-ppm",
            metavar="PPM|SITE:PPM",
            help="Offset of the agent's protons, where its record does not settle it.",
        ),
    ] = None

    def lines(self) -> AgentPools[Pool] | None:
        """The lines; None without an agent."""
        if self.agent is None:
            if self.agent_ppm:
                raise typer.BadParameter("belongs to --agent, which is not given", param_hint="--agent-ppm")
            return None
        from imgtheranostics.cest.agent_pools import lorentzian_pools

        with _refusals(("--agent-ppm",)):
            return lorentzian_pools(self.agent, offset_ppm=_values(self.agent_ppm, "--agent-ppm"))


@dataclass(frozen=True)
class AgentInSolution:
    """Pools of an agent beside those of the file."""

    agent: Annotated[
        str | None,
        typer.Option("--agent", help="Add the pools of this agent, such as olsalazine, from its record."),
    ] = None
    concentration_mm: Annotated[
        float | None, typer.Option("--concentration-mm", min=0.0, help="Of the agent, in mmol/L.")
    ] = None
    ph: Annotated[
        float | None, typer.Option("--ph", help="For agents whose exchange rates are recorded by pH.")
    ] = None
    agent_t2_s: Annotated[
        float | None, typer.Option("--agent-t2-s", min=1e-6, help="T2 of the agent's protons.")
    ] = None
    agent_rate: Annotated[
        list[str] | None,
        typer.Option("--agent-rate", metavar="HZ|SITE:HZ", help="Exchange rate, where it is not recorded."),
    ] = None
    agent_protons: Annotated[
        list[str] | None,
        typer.Option("--agent-protons", metavar="N|SITE:N", help="Protons of one molecule, likewise."),
    ] = None
    agent_ppm: Annotated[
        list[str] | None,
        typer.Option("--agent-ppm", metavar="PPM|SITE:PPM", help="Offset from water, likewise."),
    ] = None

    def added_to(self, system: PoolSystem) -> tuple[PoolSystem, tuple[Caution, ...]]:
        """The pools of the file with those of the agent, and what a reader must know of them."""
        if self.agent is None:
            self._check_unused()
            return system, ()
        if self.concentration_mm is None:
            raise typer.BadParameter("--agent needs it", param_hint="--concentration-mm")
        from dataclasses import replace

        pools = self._pools(self.agent, self.concentration_mm)
        with _refusals(()):
            return replace(system, exchange=(*system.exchange, *pools)), pools.warnings

    def _pools(self, agent: str, concentration_mm: float) -> AgentPools[ExchangePool]:
        from imgtheranostics.cest.agent_pools import simulator_pools

        options = {
            "exchange_rate_per_s": "--agent-rate",
            "protons": "--agent-protons",
            "offset_ppm": "--agent-ppm",
        }
        given: dict[str, Any] = {
            keyword: _values(getattr(self, option[2:].replace("-", "_")), option)
            for keyword, option in options.items()
        }
        with _refusals((*options.values(), "--agent-t2-s", "--ph")):
            return simulator_pools(
                agent, concentration_mm=concentration_mm, ph=self.ph, t2_s=self.agent_t2_s, **given
            )

    def _check_unused(self) -> None:
        for one in fields(self):
            if getattr(self, one.name) is not None:
                raise typer.BadParameter(
                    "belongs to --agent, which is not given", param_hint=f"--{one.name.replace('_', '-')}"
                )


@contextmanager
def _refusals(options: Sequence[str]) -> Iterator[None]:
    """What a record does not tell, with the options that say it instead."""
    from imgtheranostics.errors import MissingMetadata

    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--agent") from error
    except MissingMetadata as error:
        raise MissingMetadata(
            error.what,
            where=error.where,
            found=error.found,
            needed=error.needed,
            next_step=f"choose values that suit your experiment: {', '.join(options)}"
            if error.needed
            else error.next_step,
        ) from error


def _values(texts: Sequence[str] | None, option: str) -> float | dict[str, float] | None:
    """One number, or numbers by site."""
    found: dict[str, float] = {}
    for text in texts or ():
        site, _, number = text.rpartition(":")
        try:
            found[site] = float(number)
        except ValueError:
            raise typer.BadParameter("must be a number, or SITE:NUMBER", param_hint=option) from None
    if not found:
        return None
    if "" in found:
        if len(found) > 1 or len(texts or ()) > 1:
            raise typer.BadParameter("several numbers need their sites: SITE:NUMBER", param_hint=option)
        return found[""]
    return found
