"""What a reader of maps of materials should know: voxels that failed, were saturated, or are held at zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.mapping.estimates import STATED_SHARE
from imgtheranostics.volume import Flag

FlagArray = npt.NDArray[np.uint16]

_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class FlagCounts:
    """How many voxels carry which flag.

    Attributes
    ----------
    worked_on : int
        Voxels inside the mask.
    solved, saturated, held : int
        With a result; at the top of the range; with a material that is held at zero.
    """

    worked_on: int
    solved: int
    saturated: int
    held: int

    @classmethod
    def of(cls, flags: FlagArray) -> FlagCounts:
        """Counted some at a time, so that no copy of the flags is made."""
        flat = flags.ravel(order="K")
        counts = np.zeros(4, np.int64)
        for first in range(0, flat.size, _AT_ONCE):
            part = flat[first : first + _AT_ONCE]
            within = (part & np.uint16(Flag.MASKED_OUT.value)) == 0
            counts += (
                np.count_nonzero(within),
                np.count_nonzero((part & np.uint16(0xFFFF ^ Flag.AT_BOUND.value)) == 0),
                np.count_nonzero(part & np.uint16(Flag.SATURATED.value)),
                np.count_nonzero(part & np.uint16(Flag.AT_BOUND.value)),
            )
        return cls(*counts.tolist())

    def cautions(self, quantities: Mapping[str, str]) -> tuple[Caution, ...]:
        """Cautions for the materials, whose quantities are given by name."""
        if self.worked_on == 0:
            names = ", ".join(quantities)
            return (Caution("nothing-estimated", f"{names}: no voxel was left to estimate it in"),)
        found = []
        failed = self.worked_on - self.solved
        if failed > STATED_SHARE * self.worked_on:
            share = f"{100 * failed / self.worked_on:.0f} %, more than {100 * STATED_SHARE:.0f} %"
            text = f"{failed} of {self.worked_on} voxels ({share}) could not be estimated and are NaN"
            found.append(Caution("many-failed", f"{text}; see the flags"))
        if self.saturated:
            text = (
                f"{self.saturated} voxels are at the top of the range of the images and were left out; metal "
                "there throws streaks into the rest of these slices"
            )
            found.append(Caution("saturated-voxels", text))
        if self.held > STATED_SHARE * max(1, self.solved):
            text = (
                f"{100 * self.held / self.solved:.0f} % of the voxels hold a material at zero, where noise "
                "would make it negative: means of regions with little of it are biased. For means give "
                "non_negative=False (--signed)"
            )
            found.append(Caution("held-at-zero", text))
        return tuple(found)
