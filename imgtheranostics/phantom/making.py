"""A phantom made from its specification: images as if loaded, the truth, and regions to measure on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import ImplausibleValue, UnsupportedInput
from imgtheranostics.phantom.clocks import emission_record, frames_of, scan_names
from imgtheranostics.phantom.mixture import Mixture, rasterise
from imgtheranostics.phantom.pet import (
    Curve,
    Frame,
    blur,
    concentration_bq_ml,
    count_noise,
    frame_factor,
)
from imgtheranostics.phantom.reading import load_spec, parse_spec
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.templates import region_shapes
from imgtheranostics.phantom.truth import Expectation, expectations_of
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Axis, Grid, Source, Volume, make_step

if TYPE_CHECKING:
    from imgtheranostics.nuclear import Administration

Float32Array = npt.NDArray[np.float32]
CORE_RECOVERY = 0.97
"""Least share of its own signal that a voxel of a core region keeps at the phantom's resolution."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """Images with a known answer.

    Attributes
    ----------
    slug : str
    spec : PhantomSpec
    level : int
        0 noise-free, 1 with counting noise, 2 with the scanner's resolution and background too.
    names : tuple of str
        Name of each volume: its time or header variant.
    volumes : tuple of Volume
        Activity concentration with a full acquisition record, as a loader returns it.
    mixture : Mixture
        Share of each region in each voxel.
    truth : tuple of Expectation
        What an analysis must find at this level.
    regions : Regions
        Where to measure. At levels 0 and 1 a region is the voxels that lie wholly inside it. At level 2
        it is the voxels at least half inside, as somebody would draw it; ``<name>_core`` then holds the
        voxels that keep 97 % of their own signal at the phantom's resolution, where there are any.
    """

    slug: str
    spec: PhantomSpec
    level: int
    names: tuple[str, ...]
    volumes: tuple[Volume, ...]
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
        """The ideal %ID/mL image behind one volume: decay-corrected to injection, without any scanner."""
        frames = frames_of(self.spec, volume)
        curves, decay = curves_of(self.spec), decay_constant(self.spec)
        scale = 100.0 / self.spec.administration.activity_bq
        planes = [
            self.mixture.paint({n: scale * c.decay_weighted_mean(frame, decay) for n, c in curves.items()})
            for frame in frames
        ]
        like = self.volumes[volume]
        data = np.stack(planes, axis=-1) if like.axes else planes[0]
        return Volume(data, self.grid.affine, "id_per_ml", "%/mL", like.axes)


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
        0 noise-free, 1 with counting noise, 2 with the scanner's resolution and background too.
    rng : int or numpy.random.Generator
        Chooses the noise together with the phantom's own seed. The same integer gives the same bytes.

    Returns
    -------
    Phantom

    Raises
    ------
    UnsupportedInput
        If the phantom does not offer the level.
    ImplausibleValue
        If its regions together hold more than what was injected.
    """
    spec = _spec(slug_or_spec)
    if level not in spec.physics.levels:
        raise UnsupportedInput(
            f"the phantom {spec.slug} has no level {level}",
            needed="one of " + ", ".join(str(known) for known in spec.physics.levels),
        )
    grid = grid_of(spec)
    mixture = rasterise({r.name: region_shapes(spec.template, r) for r in spec.regions}, grid)
    _check_mass(spec, mixture)
    seeds = _seeds(spec, level, rng)
    names = scan_names(spec)
    volumes = tuple(_volume(spec, mixture, level, n, seeds[n]) for n in range(len(names)))
    return Phantom(
        slug=spec.slug,
        spec=spec,
        level=level,
        names=names,
        volumes=volumes,
        mixture=mixture,
        truth=expectations_of(spec, level),
        regions=_regions(spec, mixture, level),
    )


def grid_of(spec: PhantomSpec) -> Grid:
    """The grid: its middle at the origin, i to the patient's left, j to the back, k to the head."""
    shape = (spec.grid.shape[0], spec.grid.shape[1], spec.grid.shape[2])
    affine = np.diag([*np.array(spec.grid.voxel_mm) * (-1.0, -1.0, 1.0), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def decay_constant(spec: PhantomSpec) -> float:
    """Decay constant of the label, 1/s."""
    return nuclide(spec.agent.label).decay_constant_per_s


def curves_of(spec: PhantomSpec) -> dict[str, Curve]:
    """Activity concentration of each region over time, decay-corrected to injection, Bq/mL."""
    at_s = spec.axis.truth_at * 3600
    return {
        region.name: Curve.from_kinetics(
            region.truth.kinetics,
            concentration_bq_ml(
                region.truth, activity_bq=spec.administration.activity_bq, subject=spec.subject
            ),
            at_s,
        )
        for region in spec.regions
    }


def _spec(given: str | Path | PhantomSpec | Mapping[str, object]) -> PhantomSpec:
    if isinstance(given, PhantomSpec):
        return given
    return load_spec(given) if isinstance(given, (str, Path)) else parse_spec(given)


def _check_mass(spec: PhantomSpec, mixture: Mixture) -> None:
    volumes, curves = mixture.volumes_ml(), curves_of(spec)
    for n in range(len(scan_names(spec))):
        for frame in frames_of(spec, n):
            time_s = frame.start_s + frame.duration_s / 2
            held = sum(curves[name].at(time_s) * volumes[name] for name in curves)
            share = held / spec.administration.activity_bq
            if share > 1.0:
                raise ImplausibleValue(
                    f"the regions of {spec.slug} hold more than what was injected",
                    found=f"{100 * share:.4g} % of the injected activity at {time_s / 3600:.4g} h",
                    needed="at most 100 %",
                )


def _seeds(spec: PhantomSpec, level: int, rng: int | np.random.Generator) -> list[np.random.SeedSequence]:
    chosen = int(rng.integers(2**63)) if isinstance(rng, np.random.Generator) else int(rng)
    root, n = np.random.SeedSequence([spec.seed, level, chosen]), len(scan_names(spec))
    if spec.axis.kind == "header_variant":
        # One truth, one measurement, several headers: the voxels must be the same.
        return [np.random.SeedSequence([spec.seed, level, chosen]) for _ in range(n)]
    return root.spawn(n)


def _volume(
    spec: PhantomSpec, mixture: Mixture, level: int, number: int, seed: np.random.SeedSequence
) -> Volume:
    frames = frames_of(spec, number)
    acquisition, reference_s = emission_record(spec, number)
    dynamic = spec.axis.kind == "time" and spec.axis.layout == "dynamic"
    data = np.empty((*mixture.grid.shape, len(frames)), np.float32, order="F")
    decay = decay_constant(spec)
    for n, (frame, child) in enumerate(zip(frames, seed.spawn(len(frames)), strict=True)):
        image = _measured(spec, mixture, level, frame, np.random.Generator(np.random.Philox(child)))
        data[..., n] = image * np.float64(frame_factor(frame, decay, reference_s))
    middles = np.array([frame.start_s - frames[0].start_s + frame.duration_s / 2 for frame in frames])
    step = make_step("phantom", slug=spec.slug, level=level, volume=scan_names(spec)[number])
    return Volume(
        data if dynamic else data[..., 0],
        mixture.grid.affine,
        "activity_concentration",
        "Bq/mL",
        axes=(Axis("time", middles, "s"),) if dynamic else (),
        acquisition=acquisition,
        history=(step,),
        source=Source(subject=f"PHANTOM-{spec.slug}", session=scan_names(spec)[number]),
    )


def _measured(
    spec: PhantomSpec, mixture: Mixture, level: int, frame: Frame, rng: np.random.Generator
) -> Float32Array:
    """Mean activity over one frame as this scanner images it, not decay corrected, Bq/mL."""
    decay = decay_constant(spec)
    values = {name: curve.mean_with_decay(frame, decay) for name, curve in curves_of(spec).items()}
    image = mixture.paint(values)
    if level >= 2:
        image = _blurred(spec, mixture, image, values)
    if level == 0:
        return image
    physics = spec.physics
    counts = (
        physics.sensitivity
        * nuclide(spec.agent.label).positron_yield
        * frame.duration_s
        * mixture.grid.voxel_volume_ml
    )
    return count_noise(image, counts_per_bq_ml=counts, rng=rng)


def _blurred(
    spec: PhantomSpec, mixture: Mixture, image: Float32Array, values: Mapping[str, float]
) -> Float32Array:
    physics = spec.physics
    if physics.psf_fwhm_mm > 0:
        image = blur(image, physics.psf_fwhm_mm, mixture.grid.spacing_mm)
    if physics.prompt_gamma_floor > 0:
        volumes = mixture.volumes_ml()
        mean = sum(values[name] * volumes[name] for name in values) / sum(volumes.values())
        image = image + np.float32(physics.prompt_gamma_floor * mean)
    return image


def _regions(spec: PhantomSpec, mixture: Mixture, level: int) -> Regions:
    numbers = dict(enumerate(mixture.names, 1))
    if level < 2:
        return _present(mixture.pure()[..., np.newaxis], numbers, mixture.grid)
    nominal, core = mixture.nominal(), np.zeros(mixture.grid.shape, np.int32, order="F")
    offset = len(numbers)
    for number, name in numbers.items():
        core[_core(spec, mixture, name)] = number + offset
    layers = np.stack([nominal.astype(np.int32), core], axis=-1)
    cores = {number + offset: f"{name}_core" for number, name in numbers.items()}
    return _present(layers, {**numbers, **cores}, mixture.grid)


def _present(labels: npt.NDArray[np.integer], names: Mapping[int, str], grid: Grid) -> Regions:
    """Regions without the names that no voxel carries."""
    found = set(np.unique(labels).tolist())
    kept = {number: name for number, name in names.items() if number in found}
    return Regions(labels.astype(np.int32), kept, grid)


def _core(spec: PhantomSpec, mixture: Mixture, name: str) -> npt.NDArray[np.bool_]:
    share = mixture.occupancy(name)
    out = np.zeros(mixture.grid.shape, np.bool_, order="F")
    reach = [int(np.ceil(3 * spec.physics.psf_fwhm_mm / h)) + 1 for h in mixture.grid.spacing_mm]
    window = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(share.any(axis=others))
        window.append(slice(max(0, int(used[0]) - reach[axis]), int(used[-1]) + reach[axis] + 1))
    part = tuple(window)
    kept = share[part]
    if spec.physics.psf_fwhm_mm > 0:
        kept = blur(kept, spec.physics.psf_fwhm_mm, mixture.grid.spacing_mm)
    out[part] = (kept >= CORE_RECOVERY) & (share[part] >= 1.0)
    return out
