"""Options of ``cest exchange --method bloch``: pools, their saturation, and what of them is free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cest.methods import SIMULATION_METHOD

if TYPE_CHECKING:
    from imgtheranostics.cest.scan_sequences import Saturation
    from imgtheranostics.volume import Volume

PARAMETERS = {
    "fraction": "fraction",
    "rate": "exchange_rate_per_s",
    "offset": "offset_ppm",
    "t1": "t1_s",
    "t2": "t2_s",
}
"""Words of ``--free`` and ``--bound``, and what the fit calls them."""

_WORDS = ", ".join(PARAMETERS)


@dataclass(frozen=True)
class SimulationFit:
    """Fit of simulated spectra to the measured ones."""

    pools: Annotated[
        Path | None,
        typer.Option("--pools", help="bloch: water and pools with their starting values, as YAML."),
    ] = None
    free: Annotated[
        list[str] | None,
        typer.Option(
            "--free",
            metavar="POOL:WORD,...",
            help=f"bloch: what is fitted of a pool ({_WORDS}); again for other pools.",
        ),
    ] = None
    bound: Annotated[
        list[str] | None,
        typer.Option(
            "--bound", metavar="POOL:WORD:LOW:HIGH", help="bloch: limits of what is free; may be given again."
        ),
    ] = None
    sequence: Annotated[
        list[Path] | None,
        typer.Option(
            "--sequence",
            help="bloch: Pulseq file (.seq) of each scan; else block pulses as the files or --b1-ut and "
            "--saturation-s state them.",
        ),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return [*([self.pools] if self.pools is not None else []), *(self.sequence or [])]

    def check_unused(self, method: str) -> None:
        """Refuse what belongs to the fit of the simulation with another method."""
        given = {
            "--pools": self.pools,
            "--free": self.free,
            "--bound": self.bound,
            "--sequence": self.sequence,
        }
        for option, value in given.items():
            if value:
                raise typer.BadParameter(
                    f"belongs to --method {SIMULATION_METHOD}, not to {method}", param_hint=option
                )

    def pool_file(self) -> Path:
        """The file of pools, which has to be given."""
        if self.pools is None:
            raise typer.BadParameter(
                f"--method {SIMULATION_METHOD} needs the pools that are simulated", param_hint="--pools"
            )
        return self.pools

    def free_parameters(self) -> dict[str, list[str]]:
        """``--free`` as the fit takes it."""
        if not self.free:
            raise typer.BadParameter(
                f"--method {SIMULATION_METHOD} needs what is fitted, such as label:fraction,rate",
                param_hint="--free",
            )
        found: dict[str, list[str]] = {}
        for text in self.free:
            pool, colon, words = text.partition(":")
            if not (pool and colon and words):
                raise typer.BadParameter("must be POOL:WORD,..., such as label:rate", param_hint="--free")
            found.setdefault(pool, []).extend(_parameter(word, "--free") for word in words.split(","))
        return found

    def bounds(self) -> dict[str, tuple[float, float]] | None:
        """``--bound`` as the fit takes it."""
        found = {}
        for text in self.bound or ():
            words = text.split(":")
            try:
                pool, word, low, high = words[0], words[1], float(words[2]), float(words[3])
            except (IndexError, ValueError):
                words = []
            if len(words) != 4:
                raise typer.BadParameter("must be POOL:WORD:LOW:HIGH", param_hint="--bound")
            found[f"{pool}_{_parameter(word, '--bound')}"] = (low, high)
        return found or None

    def saturation(
        self, scans: Sequence[Volume], b1_ut: Sequence[float] | None, saturation_s: Sequence[float] | None
    ) -> list[Saturation | Path] | None:
        """The saturation of each scan: sequence files, blocks by options, or None for what files state."""
        blocks = {"--b1-ut": b1_ut, "--saturation-s": saturation_s}
        if self.sequence:
            for option, value in blocks.items():
                if value:
                    raise typer.BadParameter("the sequence file says it", param_hint=option)
            return list(self.sequence)
        if not b1_ut and not saturation_s:
            return None
        for option, value in blocks.items():
            if not value:
                other = next(name for name in blocks if name != option)
                raise typer.BadParameter(f"{other} alone does not make a block pulse", param_hint=option)
        return list(_block_pulses(scans, b1_ut or (), saturation_s or ()))


def _block_pulses(
    scans: Sequence[Volume], b1_ut: Sequence[float], saturation_s: Sequence[float]
) -> list[Saturation]:
    import numpy as np

    from imgtheranostics.cest.pulse_train import PulseTrain
    from imgtheranostics.cest.saturation import saturation_offsets

    n = len(scans)
    if n == 1 and (powers := scans[0].axis("saturation_b1")) is not None:
        axis = scans[0].axis("saturation_offset")
        n, offsets = len(powers), [axis.values if axis is not None else np.zeros(1)] * len(powers)
    else:
        offsets = [np.asarray(saturation_offsets(scan), np.float64) for scan in scans]
    times = list(saturation_s) * (n if len(saturation_s) == 1 else 1)
    for option, values in (("--b1-ut", b1_ut), ("--saturation-s", times)):
        if len(values) != n:
            raise typer.BadParameter(f"must be given for each of the {n} scans", param_hint=option)
    try:
        return [
            PulseTrain(ppm[np.isfinite(ppm)], [b1], time)
            for ppm, b1, time in zip(offsets, b1_ut, times, strict=True)
        ]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--saturation-s") from error


def protons_by_pool(texts: Sequence[str] | None) -> dict[str, float] | None:
    """``--protons POOL:N``, once for each pool."""
    found = {}
    for text in texts or ():
        pool, _, number = text.rpartition(":")
        found[pool] = proton_count(number)
        if not pool:
            raise typer.BadParameter(
                f"--method {SIMULATION_METHOD} takes it by pool: POOL:N", param_hint="--protons"
            )
    return found or None


def proton_count(text: str) -> float:
    """A positive number of protons."""
    try:
        count = float(text)
    except ValueError:
        count = 0.0
    if not 0.0 < count < 1e6:
        raise typer.BadParameter("must be a positive number of protons", param_hint="--protons")
    return count


def _parameter(word: str, option: str) -> str:
    known: Mapping[str, str] = PARAMETERS
    if word not in known and word not in known.values():
        raise typer.BadParameter(f"there is no {word!r}; known: {_WORDS}", param_hint=option)
    return known.get(word, word)
