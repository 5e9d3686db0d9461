"""The pools of a fit as a user names them, checked against the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest import pools as array_level
from imgtheranostics.cest.pool_design import LORENTZIAN, UNIDENTIFIABLE, Pool, Range
from imgtheranostics.cest.pool_presets import Preset
from imgtheranostics.errors import Caution
from imgtheranostics.mapping.mr_signal import mr_record
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]

_SAME_FIELD = 0.1
_NO_BASELINE: Range = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class ChosenPools:
    """Lines to fit, and where they are from."""

    pools: tuple[Pool, ...]
    baseline: Range
    bandwidth_ppm: float | None
    preset: Preset | None

    @classmethod
    def of(
        cls,
        given: str | Sequence[Pool] | Preset,
        baseline: Range | None = None,
        bandwidth_ppm: float | None = None,
    ) -> ChosenPools:
        """A published set by its name, or lines.

        Raises
        ------
        UnknownChoice
            If there is no such set, or a pool's name cannot stand in a file's name.
        """
        if isinstance(given, str):
            try:
                given = array_level.preset(given)
            except ValueError as error:
                raise UnknownChoice(str(error)) from error
        preset = given if isinstance(given, Preset) else None
        pools = tuple(given)
        if not pools:
            raise UnknownChoice("there are no pools to fit")
        names = [pool.name.lower() for pool in pools]
        wrong = [pool.name for pool in pools if f"{pool.name.lower()}_amplitude" not in QUANTITIES]
        if wrong or len(set(names)) < len(names):
            raise UnknownChoice(
                "each pool needs a name of its own of letters, digits and single underscores, such as "
                f"amide, not {', '.join(wrong or names)}"
            )
        own = preset.baseline if preset is not None else _NO_BASELINE
        return cls(pools, baseline or own, bandwidth_ppm, preset)

    @property
    def name(self) -> str:
        """Name of the set, or the names of the pools."""
        return self.preset.name if self.preset is not None else ", ".join(pool.name for pool in self.pools)

    @property
    def line_shapes(self) -> dict[str, str]:
        """Line shape of each pool that is no Lorentzian."""
        return {pool.name: pool.line_shape for pool in self.pools if pool.line_shape != LORENTZIAN}

    def decision(self, offset_ppm: FloatArray) -> dict[str, Any]:
        """For the record: starts and bounds, their source, and how alike the lines are at these offsets."""
        condition = array_level.condition_number(offset_ppm, self.pools, bandwidth_ppm=self.bandwidth_ppm)
        found: dict[str, Any] = {
            "rule": self.name,
            "baseline": list(self.baseline),
            "condition_number": float(condition),
            "lines": {
                pool.name: {
                    "amplitude": list(pool.amplitude),
                    "width_ppm": list(pool.width_ppm),
                    "centre_ppm": list(pool.centre_ppm),
                    "line_shape": pool.line_shape,
                }
                for pool in self.pools
            },
        }
        if self.preset is not None:
            found["source"] = self.preset.record.source
            found["provenance"] = self.preset.record.provenance
        if self.bandwidth_ppm is not None:
            found["bandwidth_ppm"] = float(self.bandwidth_ppm)
        return found

    def cautions(self, scan: Volume, offset_ppm: FloatArray) -> tuple[Caution, ...]:
        """What a reader should know: another field, starts outside bounds, lines that are too alike."""
        found: list[Caution] = []
        if self.preset is not None:
            found += self.preset.cautions
            own, field = self.preset.field_t, mr_record(scan).field_strength_t
            if own is not None and field is not None and abs(field / own - 1.0) > _SAME_FIELD:
                found.append(
                    Caution(
                        "pools-of-another-field",
                        f"the set {self.preset.name} was made for {own:g} T, the scan is of {field:g} T: "
                        "widths of water and of the pools differ",
                        "--pools",
                    )
                )
        else:
            found += array_level.start_cautions(self.pools, self.baseline)
        low, high = float(np.min(offset_ppm)), float(np.max(offset_ppm))
        beyond = [pool.name for pool in self.pools if not low <= pool.centre_ppm[0] <= high]
        if beyond:
            found.append(
                Caution(
                    "pools-outside-offsets",
                    f"the spectra were measured from {low:g} to {high:g} ppm: of "
                    f"{', '.join(beyond)} they show at most the flank, and its depth means little",
                    "--pools",
                )
            )
        condition = array_level.condition_number(offset_ppm, self.pools, bandwidth_ppm=self.bandwidth_ppm)
        if condition > UNIDENTIFIABLE:
            alike = array_level.mimics(offset_ppm, self.pools, bandwidth_ppm=self.bandwidth_ppm)
            named = "; ".join(f"{name} by {', '.join(others)}" for name, others in alike.items() if others)
            found.append(
                Caution(
                    "pools-unidentifiable",
                    f"the lines are too alike at these offsets to be told apart (condition number "
                    f"{condition:.0f}, above {UNIDENTIFIABLE:g})" + (f": {named}" if named else ""),
                    "--pools",
                )
            )
        return tuple(found)
