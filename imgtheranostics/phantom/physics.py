"""The interface between the engine and the physics of a modality, and the registry of those that exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.volume import Grid, Volume

if TYPE_CHECKING:
    from imgtheranostics.phantom.cases import Case
    from imgtheranostics.phantom.mixture import Mixture
    from imgtheranostics.phantom.spec import PhantomSpec

_HOMES: dict[str, tuple[str, str]] = {
    "PET": ("imgtheranostics.phantom.emission", "Pet"),
    "SPECT": ("imgtheranostics.phantom.emission", "Spect"),
    "MRI": ("imgtheranostics.phantom.mri", "Mri"),
    "MPI": ("imgtheranostics.phantom.mpi", "Mpi"),
    "CEST": ("imgtheranostics.phantom.cest", "Cest"),
    "CT": ("imgtheranostics.phantom.ct", "Ct"),
    "MSOT": ("imgtheranostics.phantom.msot", "Msot"),
    "US": ("imgtheranostics.phantom.ultrasound", "Ultrasound"),
}
"""Module and class of each modality's physics; a new modality adds a line."""


class PhysicsMissing(UnsupportedInput):
    """The specification is valid, but nothing here can make images of its modality yet."""


class Physics(Protocol):
    """What the engine asks of a modality.

    An implementation has no state of its own: everything comes from the specification, the shapes on the
    grid and the seeds, so that a volume can be made again at any time and is the same.
    """

    modality: str

    def levels(self, spec: PhantomSpec) -> tuple[int, ...]:
        """Levels of physics that this phantom offers: those that the file names."""
        return spec.physics_of(self.modality).levels

    def names(self, spec: PhantomSpec) -> tuple[str, ...]:
        """Name of each volume of this modality, fit for a file name."""

    def cases(self, spec: PhantomSpec) -> Sequence[Case]:
        """The axis values of each volume, in the order of the names; see `cases_of`."""

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """Refuse what cannot be, such as more activity in the regions than was injected."""

    def volumes(
        self, spec: PhantomSpec, mixture: Mixture, level: int, seeds: Sequence[np.random.SeedSequence]
    ) -> Sequence[Volume]:
        """The images as a loader returns them, one per name, with a full acquisition record.

        A `LazyVolumes` makes each when it is asked for, which keeps a long series out of memory.
        """

    def region_truth(
        self, spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0
    ) -> float:
        """What a perfect analysis finds in a region; `region` may end in ``_core``."""

    def truth_map(self, spec: PhantomSpec, mixture: Mixture, volume: int, level: int = 0) -> Volume:
        """The ideal image of the quantity that matters, without any scanner."""

    def resolution_mm(self, spec: PhantomSpec) -> float:
        """FWHM of the point spread at level 2; 0 for none."""
        return spec.physics_of(self.modality).psf_fwhm_mm

    def place(self, grid: Grid) -> Grid:
        """Where images of this modality lie whose voxels are those of a grid around the origin."""
        return grid

    def blur_mm(self, spec: PhantomSpec) -> tuple[float, float, float]:
        """FWHM of the point spread at level 2 along i, j and k, for the core regions."""
        fwhm_mm = self.resolution_mm(spec)
        return fwhm_mm, fwhm_mm, fwhm_mm


def physics_for(modality: str) -> Physics:
    """The physics of a modality.

    Raises
    ------
    PhysicsMissing
        If there is none yet; validation reports such a phantom as not implemented.
    """
    from importlib import import_module

    if modality not in _HOMES:
        raise PhysicsMissing(
            f"the physics of {modality} is not implemented yet",
            needed="one of " + ", ".join(implemented()),
            next_step="'phantom show' prints geometry, truth and expectations of such a phantom",
        )
    module, name = _HOMES[modality]
    found: Physics = getattr(import_module(module), name)()
    return found


def implemented() -> tuple[str, ...]:
    """Modalities whose physics exists."""
    return tuple(_HOMES)


@dataclass(frozen=True, slots=True)
class Part:
    """The volumes of one modality of a phantom.

    Attributes
    ----------
    physics : Physics
    first : int
        Position of its first volume among all of the phantom.
    names : tuple of str
        Of its volumes; with the modality in front where a phantom has several.
    """

    physics: Physics
    first: int
    names: tuple[str, ...]


def parts_of(spec: PhantomSpec) -> tuple[Part, ...]:
    """What can be made of a phantom, modality by modality.

    Raises
    ------
    PhysicsMissing
        If none of its modalities has physics yet.
    """
    known = [modality for modality in spec.modalities if modality in _HOMES]
    if not known:
        physics_for(spec.modality)
    parts: list[Part] = []
    first = 0
    for modality in known:
        physics = physics_for(modality)
        prefix = f"{modality.lower()}-" if len(spec.modalities) > 1 else ""
        names = tuple(prefix + name for name in physics.names(spec))
        parts.append(Part(physics, first, names))
        first += len(names)
    return tuple(parts)


def part_with(spec: PhantomSpec, volume: int) -> tuple[Physics, int]:
    """The physics of one volume of a phantom, and the volume's number among those of its modality."""
    for part in parts_of(spec):
        if part.first <= volume < part.first + len(part.names):
            return part.physics, volume - part.first
    raise UnsupportedInput("the phantom has no such volume", found=str(volume))


class Seeds(Sequence[np.random.SeedSequence]):
    """One seed per volume, made anew each time it is asked for.

    A SeedSequence counts the children that it gave; a volume that is made twice must get the same ones.
    """

    def __init__(self, entropy: Sequence[int], n: int, *, shared: bool = False) -> None:
        self._entropy = list(entropy)
        self._n = n
        self._shared = shared

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, number: int) -> np.random.SeedSequence: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[np.random.SeedSequence, ...]: ...
    def __getitem__(self, number: int | slice) -> np.random.SeedSequence | tuple[np.random.SeedSequence, ...]:
        if isinstance(number, slice):
            return tuple(self[n] for n in range(*number.indices(self._n)))
        place = range(self._n)[number]
        return np.random.SeedSequence(self._entropy, spawn_key=() if self._shared else (place,))


class LazyVolumes(Sequence[Volume]):
    """Volumes that are made when they are asked for; only the one asked for last is kept.

    Parameters
    ----------
    n : int
    build : callable
        Makes volume ``n``; the same every time.
    """

    def __init__(self, n: int, build: Callable[[int], Volume]) -> None:
        self._n = n
        self._build = build
        self._last: tuple[int, Volume] | None = None

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, number: int) -> Volume: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[Volume, ...]: ...
    def __getitem__(self, number: int | slice) -> Volume | tuple[Volume, ...]:
        if isinstance(number, slice):
            return tuple(self[n] for n in range(*number.indices(self._n)))
        place = range(self._n)[number]
        if self._last is None or self._last[0] != place:
            self._last = None  # the old one goes before the new one is made
            self._last = (place, self._build(place))
        return self._last[1]

    def release(self) -> None:
        """Forget the volume that was made last."""
        self._last = None


def joined(groups: Sequence[Sequence[Volume]]) -> Sequence[Volume]:
    """The volumes of several modalities in one sequence, none of them made before it is asked for."""
    if len(groups) == 1:
        return groups[0]
    homes = [(group, n) for group in groups for n in range(len(group))]
    return LazyVolumes(len(homes), lambda number: homes[number][0][homes[number][1]])
