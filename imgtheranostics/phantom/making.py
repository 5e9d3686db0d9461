"""A phantom made from its specification: images as if loaded, the truth, and regions to measure on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.io.budget import memory_budget_bytes
from imgtheranostics.phantom.cases import largest_samples
from imgtheranostics.phantom.misplacement import misdrawn, shapes_on_grid
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.pet import blur
from imgtheranostics.phantom.physics import LazyVolumes, Part, Seeds, joined, part_with, parts_of
from imgtheranostics.phantom.reading import load_spec, parse_spec
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.truth import Expectation, expectations_of
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Grid, Volume

if TYPE_CHECKING:
    from imgtheranostics.nuclear import Administration

CORE_RECOVERY = 0.97
"""Least share of its own signal that a voxel of a core region keeps at the phantom's resolution."""
_REGION_SEED = 2**31


@dataclass(frozen=True, eq=False)
class Phantom:
    """Images with a known answer.

    Attributes
    ----------
    slug : str
    spec : PhantomSpec
    level : int
        0 noise-free, 1 with noise, 2 with the scanner's resolution and field errors too, 3 with motion
        and wrongly drawn regions too.
    names : tuple of str
        Name of each volume: its time or header variant.
    volumes : sequence of Volume
        With a full acquisition record, as a loader returns them; each may be made when it is asked for.
    mixture : Mixture
        Share of each region in each voxel.
    truth : tuple of Expectation
        What an analysis must find at this level.
    regions : Regions
        Where to measure. At levels 0 and 1 a region is the voxels that lie wholly inside it. At level 2
        it is the voxels at least half inside, as somebody would draw it; ``<name>_core`` then holds the
        voxels that keep 97 % of their own signal at the phantom's resolution, where there are any. At
        level 3 the regions are drawn with errors, apart from the cores.
    """

    slug: str
    spec: PhantomSpec
    level: int
    names: tuple[str, ...]
    volumes: Sequence[Volume]
    mixture: Mixture
    truth: tuple[Expectation, ...]
    regions: Regions = field(repr=False)

    @property
    def grid(self) -> Grid:
        """The geometry of all volumes."""
        return self.mixture.grid

    @cached_property
    def administration(self) -> Administration:
        """What was injected, for the nuclear methods; the volumes' headers say the same."""
        from imgtheranostics.nuclear import Administration

        given, subject = self.spec.administration, self.spec.subject
        return Administration(
            activity_bq=given.activity_bq,
            at=given.at,
            nuclide=self.spec.agent.label,
            weight_kg=subject.weight_kg,
            height_m=subject.height_m,
            sex=subject.sex,
            relative_uncertainty=given.relative_uncertainty,
        )

    def truth_map(self, volume: int) -> Volume:
        """The ideal image behind one volume, without any scanner; for emission %ID/mL at injection."""
        physics, number = part_with(self.spec, volume)
        return physics.truth_map(self.spec, self.mixture, number, self.level)

    def release(self) -> None:
        """Forget the volume that was made last, which `volumes` keeps for the next question."""
        if isinstance(self.volumes, LazyVolumes):
            self.volumes.release()


def make(
    slug_or_spec: str | Path | PhantomSpec | Mapping[str, object],
    level: int = 0,
    rng: int | np.random.Generator = 0,
) -> Phantom:
    """Make a phantom.

    Parameters
    ----------
    slug_or_spec : str, Path, PhantomSpec or mapping
        Slug of a shipped phantom, path of a phantom file, or a specification.
    level : int
        0 noise-free, 1 with noise, 2 with the scanner's resolution and field errors too, 3 with motion
        and wrongly drawn regions too.
    rng : int or numpy.random.Generator
        Chooses the noise together with the phantom's own seed. The same integer gives the same bytes.

    Returns
    -------
    Phantom

    Raises
    ------
    PhysicsMissing
        If there is no physics of its modality yet.
    UnsupportedInput
        If the phantom does not offer the level, or its grid would not fit into memory.
    ImplausibleValue
        If its regions together hold more than what was injected.
    """
    spec = _spec(slug_or_spec)
    parts = parts_of(spec)
    _check_level(spec, parts, level)
    _check_memory(spec)
    mixture = shapes_on_grid(spec, grid_of(spec))
    mixture = replace(mixture, grid=parts[0].physics.place(mixture.grid))
    for part in parts:
        part.physics.check(spec, mixture)
    entropy = _entropy(spec, level, rng)
    volumes = [
        part.physics.volumes(spec, mixture, level, _seeds(spec, entropy, part, n))
        for n, part in enumerate(parts)
    ]
    return Phantom(
        slug=spec.slug,
        spec=spec,
        level=level,
        names=tuple(name for part in parts for name in part.names),
        volumes=joined(volumes),
        mixture=mixture,
        truth=expectations_of(spec, level),
        regions=_regions(spec, mixture, level, entropy),
    )


def grid_of(spec: PhantomSpec) -> Grid:
    """The grid: its middle at the origin, i to the patient's left, j to the back, k to the head."""
    shape = (spec.grid.shape[0], spec.grid.shape[1], spec.grid.shape[2])
    affine = np.diag([*np.array(spec.grid.voxel_mm) * (-1.0, -1.0, 1.0), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def _spec(given: str | Path | PhantomSpec | Mapping[str, object]) -> PhantomSpec:
    if isinstance(given, PhantomSpec):
        return given
    return load_spec(given) if isinstance(given, (str, Path)) else parse_spec(given)


def _check_level(spec: PhantomSpec, parts: Sequence[Part], level: int) -> None:
    for part in parts:
        known = part.physics.levels(spec)
        if level not in known:
            raise UnsupportedInput(
                f"the phantom {spec.slug} has no level {level}",
                needed="one of " + ", ".join(str(one) for one in known),
            )


def _check_memory(spec: PhantomSpec) -> None:
    """Refuse a grid that would not fit: one volume with its frames, the labels, and room to work."""
    frames = largest_samples(spec)
    needed, budget = math.prod(spec.grid.shape) * (4 * frames + 24), memory_budget_bytes()
    if needed > budget:
        raise UnsupportedInput(
            f"the grid of {spec.slug} would take more memory than the budget allows",
            found=f"{needed / 2**30:.4g} GiB",
            needed=f"at most {budget / 2**30:.4g} GiB",
            next_step="take fewer or larger voxels; raise IMGTHERANOSTICS_MEMORY_GB if there is more",
        )


def _entropy(spec: PhantomSpec, level: int, rng: int | np.random.Generator) -> list[int]:
    chosen = int(rng.integers(2**63)) if isinstance(rng, np.random.Generator) else int(rng)
    return [spec.seed, level, chosen]


def _seeds(spec: PhantomSpec, entropy: Sequence[int], part: Part, position: int) -> Seeds:
    # One truth, one measurement, several headers: the voxels must be the same.
    shared = spec.axis.kind == "header_variant"
    return Seeds([*entropy, *([position] if position else [])], len(part.names), shared=shared)


def _regions(spec: PhantomSpec, mixture: Mixture, level: int, entropy: Sequence[int]) -> Regions:
    numbers = dict(enumerate(mixture.names, 1))
    if level < 2:
        return _present(mixture.pure()[..., np.newaxis], numbers, mixture.grid)
    nominal = mixture.nominal().astype(np.int32)
    core = np.zeros(mixture.grid.shape, np.int32, order="F")
    offset = len(numbers)
    i, j, k = np.max([part.physics.blur_mm(spec) for part in parts_of(spec)], axis=0).tolist()
    fwhm_mm = (i, j, k)
    for number, name in numbers.items():
        core[_core(mixture, name, fwhm_mm)] = number + offset
    if level >= 3:
        seed = np.random.SeedSequence(list(entropy), spawn_key=(_REGION_SEED,))
        rng = np.random.Generator(np.random.Philox(seed))
        nominal = misdrawn(spec, mixture.grid, rng)[1]
    layers = np.stack([nominal, core], axis=-1)
    cores = {number + offset: f"{name}_core" for number, name in numbers.items()}
    return _present(layers, {**numbers, **cores}, mixture.grid)


def _present(labels: npt.NDArray[np.integer], names: Mapping[int, str], grid: Grid) -> Regions:
    """Regions without the names that no voxel carries."""
    found = set(np.unique(labels).tolist())
    kept = {number: name for number, name in names.items() if number in found}
    return Regions(labels.astype(np.int32), kept, grid)


def _core(mixture: Mixture, name: str, fwhm_mm: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
    share = mixture.occupancy(name)
    out = np.zeros(mixture.grid.shape, np.bool_, order="F")
    reach = [
        int(np.ceil(3 * width / h)) + 1 for width, h in zip(fwhm_mm, mixture.grid.spacing_mm, strict=True)
    ]
    window = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(share.any(axis=others))
        window.append(slice(max(0, int(used[0]) - reach[axis]), int(used[-1]) + reach[axis] + 1))
    part = tuple(window)
    kept = share[part]
    if max(fwhm_mm) > 0:
        kept = blur(kept, fwhm_mm, mixture.grid.spacing_mm)
    out[part] = (kept >= CORE_RECOVERY) & (share[part] >= 1.0)
    return out
