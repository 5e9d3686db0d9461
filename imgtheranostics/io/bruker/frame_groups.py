"""The frames of a 2dseq file: which groups count them, fastest first, and which value belongs to which."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import CorruptInput
from imgtheranostics.io.bruker.jcampdx import Value, as_number
from imgtheranostics.io.bruker.parameters import Parameters

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]

MOST_FRAMES = 1_000_000


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """One loop over frames.

    Attributes
    ----------
    name : str
        Such as ``FG_SLICE``.
    length : int
    dependents : mapping
        Parameters with one value per element of the group -> where in the parameter they begin.
    """

    name: str
    length: int
    dependents: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Frames:
    """All frames of a file.

    Attributes
    ----------
    groups : tuple of FrameGroup
        The first counts fastest.
    count : int
    """

    groups: tuple[FrameGroup, ...]
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the groups."""
        return tuple(group.length for group in self.groups)

    def find(self, name: str) -> int | None:
        """Place of a group, or None."""
        return next((n for n, group in enumerate(self.groups) if group.name == name), None)

    def number_of(self) -> IndexArray:
        """Frame numbers as an array with one axis per group."""
        return np.arange(self.count, dtype=np.intp).reshape(self.shape or (1,), order="F")

    def values(
        self, visu: Parameters, name: str, width: int = 1, *, strict: bool = False
    ) -> FloatArray | None:
        """The value of a parameter in each frame.

        Parameters
        ----------
        visu : Parameters
        name : str
        width : int
            Numbers per value, such as 3 for a position.
        strict : bool
            Accept one value, or one per frame, only.

        Returns
        -------
        (count, width) ndarray or None
            None where the parameter is absent.

        Raises
        ------
        CorruptInput
            If the values are neither one, nor one per frame, nor one per element of the groups that the
            file says they depend on.
        """
        numbers = visu.numbers(name)
        if numbers is None:
            return None
        if numbers.size % width:
            raise self._miscounted(visu, name, numbers.size, width)
        rows = numbers.reshape(-1, width)
        return rows[self._rows(visu, name, len(rows), strict)]

    def assigned(self, visu: Parameters, name: str) -> FloatArray | None:
        """One number per frame of a parameter that describes the acquisition; None where they do not fit.

        Raises
        ------
        CorruptInput
            If the parameter cannot be parsed as numbers at all.
        """
        numbers = visu.numbers(name)
        if numbers is None:
            return None
        try:
            return numbers.reshape(-1)[self._rows(visu, name, numbers.size, False)]
        except CorruptInput:
            return None

    def words(self, visu: Parameters, name: str) -> tuple[str, ...]:
        """The word or string of a parameter in each frame; empty where it is absent.

        Raises
        ------
        CorruptInput
            If there are several different words that cannot be assigned to frames.
        """
        words = visu.words(name)
        if not words:
            return ()
        if len(set(words)) == 1:
            return words[:1] * self.count
        return tuple(words[n] for n in self._rows(visu, name, len(words), False))

    def element_word(self, visu: Parameters, name: str, place: int, element: int) -> str:
        """The word or string that describes one element of a group; empty where there is none."""
        start = self.groups[place].dependents.get(name)
        words = visu.words(name)
        if start is None or start + element >= len(words):
            return ""
        return words[start + element].strip()

    def _rows(self, visu: Parameters, name: str, found: int, strict: bool) -> IndexArray:
        if found == 1:
            return np.zeros(self.count, dtype=np.intp)
        depending = [n for n, group in enumerate(self.groups) if name in group.dependents]
        if not depending and not strict and found != self.count:
            # older files have no table of dependencies
            depending = [n for n, group in enumerate(self.groups) if group.length == found]
            depending = depending if len(depending) == 1 else []
        if not depending or strict:
            if found != self.count:
                raise self._miscounted(visu, name, found, 1)
            return np.arange(self.count, dtype=np.intp)
        starts = {self.groups[n].dependents.get(name, 0) for n in depending}
        if len(starts) > 1:  # lists of several groups one after the other
            raise self._miscounted(visu, name, found, 1)
        start = starts.pop()
        needed = start + math.prod(self.groups[n].length for n in depending)
        if found < needed:
            if found == self.count:
                return np.arange(self.count, dtype=np.intp)
            raise self._miscounted(visu, name, found, 1)
        index = np.unravel_index(np.arange(self.count), self.shape, order="F")
        row = np.full(self.count, start, dtype=np.intp)
        stride = 1
        for n in depending:
            row += index[n] * stride
            stride *= self.groups[n].length
        return row

    def _miscounted(self, visu: Parameters, name: str, found: int, width: int) -> CorruptInput:
        return CorruptInput(
            "a parameter has neither one value nor one per frame",
            where=visu.where(name),
            found=f"{found} numbers",
            needed=f"{width}, or {width * self.count} for {self.count} frames",
        )


def read_frames(visu: Parameters) -> Frames:
    """The frame groups of a file.

    Raises
    ------
    CorruptInput
        If the groups do not make up the number of frames.
    MissingMetadata
        If the number of frames is absent.
    """
    count = visu.integer("VisuCoreFrameCount")
    if not 1 <= count <= MOST_FRAMES:
        raise CorruptInput(
            "the number of frames is not possible",
            where=visu.where("VisuCoreFrameCount"),
            found=str(count),
            needed=f"1 to {MOST_FRAMES}",
        )
    described = visu.structs("VisuFGOrderDesc")
    names = visu.structs("VisuGroupDepVals")
    groups = tuple(_group(visu, one, names) for one in described)
    if not groups and count > 1:
        groups = (FrameGroup(_undescribed(visu, count), count),)
    if math.prod(group.length for group in groups) != count:
        raise CorruptInput(
            "the frame groups do not make up the number of frames",
            where=visu.where("VisuFGOrderDesc"),
            found=" x ".join(str(group.length) for group in groups),
            needed=f"{count}, as VisuCoreFrameCount says",
        )
    return Frames(groups, count)


def _undescribed(visu: Parameters, count: int) -> str:
    """What many frames without a description are: slices where each has a place of its own."""
    positions = visu.numbers("VisuCorePosition")
    if positions is None or positions.size != 3 * count:
        return "FG_UNKNOWN"
    return "FG_SLICE" if len(np.unique(positions.reshape(-1, 3), axis=0)) == count else "FG_UNKNOWN"


def _group(
    visu: Parameters, described: tuple[Value, ...], names: tuple[tuple[Value, ...], ...]
) -> FrameGroup:
    numbers = [as_number(value) for value in (*described[:1], *described[3:5])]
    if len(described) < 2 or numbers[0] is None or not isinstance(described[1], str):
        raise _malformed(visu, "VisuFGOrderDesc")
    length, start, wanted = (_whole(number) for number in (*numbers, 0.0, 0.0)[:3])
    if not 1 <= length <= MOST_FRAMES:
        raise _malformed(visu, "VisuFGOrderDesc")
    dependents: dict[str, int] = {}
    for entry in names[max(start, 0) : max(start + wanted, 0)]:
        if not entry or not isinstance(entry[0], str):
            raise _malformed(visu, "VisuGroupDepVals")
        dependents[entry[0].strip()] = _whole(as_number(entry[1])) if len(entry) > 1 else 0
    return FrameGroup(described[1].strip().upper(), length, dependents)


def _whole(number: float | None) -> int:
    """A small whole number; 0 for anything else."""
    if number is None or not 0 <= number <= MOST_FRAMES or number != int(number):
        return 0
    return int(number)


def _malformed(visu: Parameters, name: str) -> CorruptInput:
    return CorruptInput(
        "the description of the frame groups cannot be read",
        where=visu.where(name),
        needed="(n, <FG_...> ...)",
    )
