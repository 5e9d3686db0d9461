"""Physics of emission images: activity over time, counting, resolution, and the header that goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition, NuclearAcquisition
from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import ImplausibleValue, MissingMetadata, UnsupportedInput
from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.clocks import camera_record, emission_record, reference_s
from imgtheranostics.phantom.exposures import Exposure, curve_of, curves_of, exposures
from imgtheranostics.phantom.misplacement import draw_shift, shapes_on_grid
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.pet import Frame, blur, count_noise, frame_factor
from imgtheranostics.phantom.physics import LazyVolumes, Physics
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.volume import Axis, Source, Volume, make_step

Float32Array = npt.NDArray[np.float32]

BQ_PER_MBQ = 1e6


class Emission(Physics):
    """What PET and SPECT share: the truth of a region, and images of counts over frames."""

    modality = ""
    quantity = ""
    unit = ""

    def names(self, spec: PhantomSpec) -> tuple[str, ...]:
        """Nuclide, group with animal, time such as ``t0024.00h``, ``dynamic``, or a header variant."""
        return tuple(scan.name for scan in exposures(spec, self.modality))

    def cases(self, spec: PhantomSpec) -> tuple[Case, ...]:
        """One per scan; the animals of a group share one case."""
        return tuple(scan.case for scan in exposures(spec, self.modality))

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """Refuse regions that together hold more than what was injected."""
        volumes = mixture.volumes_ml()
        for scan in exposures(spec, self.modality):
            curves = curves_of(spec, scan)
            for frame in scan.frames:
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
        """The scans, each made when it is asked for."""
        scans = exposures(spec, self.modality)
        return LazyVolumes(len(seeds), lambda n: self._volume(spec, mixture, level, (n, scans[n]), seeds[n]))

    def region_truth(
        self, spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0
    ) -> float:
        """What a decay-corrected image of the quantity shows in a region, with a density of 1 g/mL.

        Decay correction assumes constant activity over the frame, so a changing region shows the mean of
        its curve weighted with the decay.
        """
        scan = exposures(spec, self.modality)[volume]
        curve = curve_of(spec, region.removesuffix("_core"), scan)
        value = curve.decay_weighted_mean(scan.frames[frame], scan.decay_constant_per_s)
        if quantity in ("id_per_g", "id_per_ml"):
            return 100 * value / spec.administration.activity_bq
        if quantity == "suv_bw":
            return value * spec.subject.weight_kg * 1000 / spec.administration.activity_bq
        raise UnsupportedInput("the phantom does not state this quantity", found=quantity)

    def truth_map(self, spec: PhantomSpec, mixture: Mixture, volume: int, level: int = 0) -> Volume:
        """The ideal %ID/mL image: decay-corrected to injection, without any scanner."""
        scan = exposures(spec, self.modality)[volume]
        curves, decay = curves_of(spec, scan), scan.decay_constant_per_s
        scale = 100.0 / spec.administration.activity_bq
        data = np.empty((*mixture.grid.shape, len(scan.frames)), np.float32, order="F")
        for n, frame in enumerate(scan.frames):
            data[..., n] = mixture.paint(
                {name: scale * curve.decay_weighted_mean(frame, decay) for name, curve in curves.items()}
            )
        axes = _time_axis(spec, scan.frames)
        return Volume(data if axes else data[..., 0], mixture.grid.affine, "id_per_ml", "%/mL", axes)

    def resolution_mm(self, spec: PhantomSpec) -> float:
        """The coarsest resolution of its scans."""
        return max((scan.fwhm_mm for scan in exposures(spec, self.modality)), default=0.0)

    def _volume(
        self,
        spec: PhantomSpec,
        mixture: Mixture,
        level: int,
        numbered: tuple[int, Exposure],
        seed: np.random.SeedSequence,
    ) -> Volume:
        number, scan = numbered
        data = np.empty((*mixture.grid.shape, len(scan.frames)), np.float32, order="F")
        for n, (frame, child) in enumerate(zip(scan.frames, seed.spawn(len(scan.frames)), strict=True)):
            rng = np.random.Generator(np.random.Philox(child))
            here = mixture
            if level >= 3 and (number, n) != (0, 0):
                # the first image is where the regions are drawn
                shift = draw_shift(scan.physics.misplacement.shift_sd_mm, rng)
                here = shapes_on_grid(spec, mixture.grid, shift)
            image = self._counted(here, level, scan, _activity(spec, here, level, scan, frame), (frame, rng))
            factor = frame_factor(frame, scan.decay_constant_per_s, reference_s(scan))
            data[..., n] = image * np.float64(factor)
        axes = _time_axis(spec, scan.frames)
        return Volume(
            data if axes else data[..., 0],
            mixture.grid.affine,
            self.quantity,
            self.unit,
            axes=axes,
            acquisition=self._record(spec, scan),
            history=(make_step("phantom", slug=spec.slug, level=level, volume=scan.name),),
            source=Source(subject=f"PHANTOM-{spec.slug}", session=scan.name),
        )

    def _record(self, spec: PhantomSpec, scan: Exposure) -> EmissionAcquisition | NuclearAcquisition:
        raise NotImplementedError

    def _counted(
        self,
        mixture: Mixture,
        level: int,
        scan: Exposure,
        activity: Float32Array,
        moment: tuple[Frame, np.random.Generator],
    ) -> Float32Array:
        """What the scanner shows of the mean activity over a frame, with noise above level 0."""
        raise NotImplementedError


class Pet(Emission):
    """PET: activity concentration with the clocks, units and decay correction of a PT series."""

    modality = "PET"
    quantity, unit = "activity_concentration", "Bq/mL"

    def _record(self, spec: PhantomSpec, scan: Exposure) -> EmissionAcquisition:
        return emission_record(spec, scan)

    def _counted(
        self,
        mixture: Mixture,
        level: int,
        scan: Exposure,
        activity: Float32Array,
        moment: tuple[Frame, np.random.Generator],
    ) -> Float32Array:
        if level == 0:
            return activity
        frame, rng = moment
        positrons = nuclide(scan.label).positron_yield
        counts = scan.physics.sensitivity * positrons * frame.duration_s * mixture.grid.voxel_volume_ml
        return count_noise(activity, counts_per_bq_ml=counts, rng=rng)


class Spect(Emission):
    """SPECT: counts of a reconstruction that is scaled as its projections counted, as NM stores them.

    The stated sensitivity is that of the calibration. A drift of a single scan, and above level 1 only,
    changes what the camera counts and not what its user believes.
    """

    modality = "SPECT"
    quantity, unit = "counts", "{counts}"

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """As for PET; and a sensitivity must be stated, one frame be a scan, and the camera not be blind."""
        physics = spec.physics_of(self.modality)
        if physics.sensitivity_cps_mbq is None:
            raise MissingMetadata(
                f"{spec.slug} does not say what its camera counts",
                where="physics.sensitivity_cps_mbq",
                needed="counts/s per MBq",
            )
        if any(len(scan.frames) > 1 for scan in exposures(spec, self.modality)):
            raise UnsupportedInput("a SPECT scan is one frame", where="axis.layout", needed="separate")
        unknown = set(physics.calibration_drift) - set(self.names(spec))
        if unknown:
            raise UnsupportedInput(
                "a calibration drift speaks of a scan that is not there",
                where="physics.calibration_drift",
                found=", ".join(sorted(unknown)),
                needed="one of " + ", ".join(self.names(spec)),
            )
        super().check(spec, mixture)

    def _record(self, spec: PhantomSpec, scan: Exposure) -> NuclearAcquisition:
        return camera_record(spec, scan)

    def _counted(
        self,
        mixture: Mixture,
        level: int,
        scan: Exposure,
        activity: Float32Array,
        moment: tuple[Frame, np.random.Generator],
    ) -> Float32Array:
        frame, rng = moment
        physics = scan.physics
        drift = physics.calibration_drift.get(scan.name, 0.0) if level >= 2 else 0.0
        rate = (physics.sensitivity_cps_mbq or 0.0) * (1 + drift) / BQ_PER_MBQ * mixture.grid.voxel_volume_ml
        true_rate = float(activity.sum(dtype=np.float64)) * rate
        # a non-paralysable camera shows n / (1 + n tau) of a true rate n
        shown = rate * frame.duration_s / (1.0 + true_rate * physics.dead_time_s)
        expected = activity.ravel(order="F").astype(np.float64) * shown
        counts = expected if level == 0 else rng.poisson(np.maximum(expected, 0.0))
        return np.asarray(counts, np.float32).reshape(activity.shape, order="F")


def _activity(spec: PhantomSpec, mixture: Mixture, level: int, scan: Exposure, frame: Frame) -> Float32Array:
    """Mean activity over one frame at the scanner's resolution, not decay corrected, Bq/mL."""
    decay = scan.decay_constant_per_s
    values = {name: curve.mean_with_decay(frame, decay) for name, curve in curves_of(spec, scan).items()}
    image = mixture.paint(values)
    return _blurred(mixture, scan, image, values) if level >= 2 else image


def _blurred(
    mixture: Mixture, scan: Exposure, image: Float32Array, values: Mapping[str, float]
) -> Float32Array:
    if scan.fwhm_mm > 0:
        image = blur(image, scan.fwhm_mm, mixture.grid.spacing_mm)
    floor = scan.physics.prompt_gamma_floor
    if floor > 0:
        volumes = mixture.volumes_ml()
        mean = sum(values[name] * volumes[name] for name in values) / sum(volumes.values())
        image = image + np.float32(floor * mean)
    return image


def _time_axis(spec: PhantomSpec, frames: Sequence[Frame]) -> tuple[Axis, ...]:
    time = spec.axis_of("time")
    if time is None or time.layout != "dynamic":
        return ()
    middles = np.array([frame.start_s - frames[0].start_s + frame.duration_s / 2 for frame in frames])
    return (Axis("time", middles, "s"),)
