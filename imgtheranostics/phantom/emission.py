"""Physics of emission images: activity over time, counting, resolution, and the header that goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import ImplausibleValue, UnsupportedInput
from imgtheranostics.phantom.cases import Case, cases_of
from imgtheranostics.phantom.clocks import emission_record, frames_of, scan_names
from imgtheranostics.phantom.misplacement import draw_shift, shapes_on_grid
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.pet import (
    Curve,
    Frame,
    blur,
    concentration_bq_ml,
    count_noise,
    frame_factor,
)
from imgtheranostics.phantom.physics import LazyVolumes
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.volume import Axis, Source, Volume, make_step

Float32Array = npt.NDArray[np.float32]


class Pet:
    """PET: activity concentration with the clocks, units and decay correction of a PT series."""

    modality = "PET"

    def levels(self, spec: PhantomSpec) -> tuple[int, ...]:
        """Levels that the file names."""
        return spec.physics.levels

    def names(self, spec: PhantomSpec) -> tuple[str, ...]:
        """A time such as ``t0024.00h``, ``dynamic``, or a header variant."""
        return scan_names(spec)

    def cases(self, spec: PhantomSpec) -> tuple[Case, ...]:
        """One per time, or one for a dynamic series, or one per header variant."""
        return cases_of(spec)

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """Refuse regions that together hold more than what was injected."""
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

    def volumes(
        self, spec: PhantomSpec, mixture: Mixture, level: int, seeds: Sequence[np.random.SeedSequence]
    ) -> LazyVolumes:
        """Activity concentration in Bq/mL, corrected to the reference time that the header names."""
        return LazyVolumes(len(seeds), lambda n: _volume(spec, mixture, level, n, seeds[n]))

    def region_truth(
        self, spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0
    ) -> float:
        """What a decay-corrected image of the quantity shows in a region, with a density of 1 g/mL.

        Decay correction assumes constant activity over the frame, so a changing region shows the mean of
        its curve weighted with the decay.
        """
        curve = curve_of(spec, region.removesuffix("_core"))
        image = frames_of(spec, volume)[frame]
        value = curve.decay_weighted_mean(image, decay_constant(spec))
        if quantity in ("id_per_g", "id_per_ml"):
            return 100 * value / spec.administration.activity_bq
        if quantity == "suv_bw":
            return value * spec.subject.weight_kg * 1000 / spec.administration.activity_bq
        raise UnsupportedInput("the phantom does not state this quantity", found=quantity)

    def truth_map(self, spec: PhantomSpec, mixture: Mixture, volume: int) -> Volume:
        """The ideal %ID/mL image: decay-corrected to injection, without any scanner."""
        frames = frames_of(spec, volume)
        curves, decay = curves_of(spec), decay_constant(spec)
        scale = 100.0 / spec.administration.activity_bq
        data = np.empty((*mixture.grid.shape, len(frames)), np.float32, order="F")
        for n, frame in enumerate(frames):
            data[..., n] = mixture.paint(
                {name: scale * curve.decay_weighted_mean(frame, decay) for name, curve in curves.items()}
            )
        axes = _time_axis(spec, frames)
        return Volume(data if axes else data[..., 0], mixture.grid.affine, "id_per_ml", "%/mL", axes)

    def resolution_mm(self, spec: PhantomSpec) -> float:
        """The stated resolution."""
        return spec.physics.psf_fwhm_mm


def decay_constant(spec: PhantomSpec) -> float:
    """Decay constant of the label, 1/s."""
    return nuclide(spec.agent.label).decay_constant_per_s


def curve_of(spec: PhantomSpec, region: str) -> Curve:
    """Activity concentration of one region over time, decay-corrected to injection, Bq/mL."""
    truth = spec.region(region).uptake
    start = concentration_bq_ml(truth, activity_bq=spec.administration.activity_bq, subject=spec.subject)
    return Curve.from_kinetics(truth.kinetics, start, spec.axis.truth_at * 3600)


def curves_of(spec: PhantomSpec) -> dict[str, Curve]:
    """Activity concentration of each region over time, decay-corrected to injection, Bq/mL."""
    return {region.name: curve_of(spec, region.name) for region in spec.regions}


def _time_axis(spec: PhantomSpec, frames: Sequence[Frame]) -> tuple[Axis, ...]:
    if spec.axis.kind != "time" or spec.axis.layout != "dynamic":
        return ()
    middles = np.array([frame.start_s - frames[0].start_s + frame.duration_s / 2 for frame in frames])
    return (Axis("time", middles, "s"),)


def _volume(
    spec: PhantomSpec, mixture: Mixture, level: int, number: int, seed: np.random.SeedSequence
) -> Volume:
    frames = frames_of(spec, number)
    acquisition, reference_s = emission_record(spec, number)
    data = np.empty((*mixture.grid.shape, len(frames)), np.float32, order="F")
    decay = decay_constant(spec)
    for n, (frame, child) in enumerate(zip(frames, seed.spawn(len(frames)), strict=True)):
        rng = np.random.Generator(np.random.Philox(child))
        here = mixture
        if level >= 3 and (number, n) != (0, 0):
            # the first image is where the regions are drawn
            shift = draw_shift(spec.physics.misplacement.shift_sd_mm, rng)
            here = shapes_on_grid(spec, mixture.grid, shift)
        image = _measured(spec, here, level, frame, rng)
        data[..., n] = image * np.float64(frame_factor(frame, decay, reference_s))
    axes = _time_axis(spec, frames)
    step = make_step("phantom", slug=spec.slug, level=level, volume=scan_names(spec)[number])
    return Volume(
        data if axes else data[..., 0],
        mixture.grid.affine,
        "activity_concentration",
        "Bq/mL",
        axes=axes,
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
