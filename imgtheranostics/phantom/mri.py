"""Physics of MR images: signals of tissues with an agent in them, fields, resolution, and noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import MrAcquisition, Subject
from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.phantom import mri_signal as signal
from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.misplacement import draw_shift, shapes_on_grid
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.mri_fields import Fields, fields_on, noisy
from imgtheranostics.phantom.mri_scanner import MrSequence
from imgtheranostics.phantom.mri_scans import Scan, mri_cases, scanner_of, scans_of
from imgtheranostics.phantom.mri_tissue import Tissue, tissue_at
from imgtheranostics.phantom.mri_truth import ideal_map, region_value
from imgtheranostics.phantom.pet import blur
from imgtheranostics.phantom.physics import LazyVolumes, Physics
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.units import conversion_factor
from imgtheranostics.volume import Source, Volume, make_step

FlatImage = npt.NDArray[np.floating] | npt.NDArray[np.complexfloating]
Sample = Mapping[str, float]

SCALE = 1000.0
"""Signal of water that shows all of its magnetisation."""

_SCANNING_SEQUENCE = {
    "spoiled_gradient_echo": ("GR",),
    "multi_echo": ("GR",),
    "phase_shift": ("GR",),
    "spin_echo": ("SE",),
    "inversion_recovery": ("SE", "IR"),
    "saturation_recovery": ("SE",),
}


class Mri(Physics):
    """Magnetic resonance: magnitude, or phase where the sequence measures it."""

    modality = "MRI"

    def names(self, spec: PhantomSpec) -> tuple[str, ...]:
        """Axis values such as ``dose-15_time-2``; scans beside the main one by their name."""
        return tuple(scan.name for scan in scans_of(spec))

    def cases(self, spec: PhantomSpec) -> Sequence[Case]:
        """Of the main scans, which come first; nothing is expected of the others."""
        return mri_cases(spec)

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """Refuse a sequence without physics, a scan without its parameters, a region without its times."""
        for scan in scans_of(spec):
            if scan.sequence.sequence not in _SCANNING_SEQUENCE:
                raise UnsupportedInput(
                    f"there are no images of the sequence of {spec.slug} yet", found=scan.sequence.sequence
                )
            for region in spec.regions:
                tissue_at(spec, region.name, scan)

    def volumes(
        self, spec: PhantomSpec, mixture: Mixture, level: int, seeds: Sequence[np.random.SeedSequence]
    ) -> LazyVolumes:
        """The scans, each made when it is asked for."""
        scans = scans_of(spec)
        # magnitude and phase are parts of one complex image
        sources = [_source(scans, number) for number in range(len(scans))]
        return LazyVolumes(
            len(seeds),
            lambda n: _volume(_Job(spec, mixture, level, scans[n], sources[n] == 0), seeds[sources[n]]),
        )

    def region_truth(
        self, spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0
    ) -> float:
        """What a perfect analysis finds in a region."""
        return region_value(spec, region.removesuffix("_core"), quantity, scans_of(spec)[volume], frame)

    def truth_map(self, spec: PhantomSpec, mixture: Mixture, volume: int, level: int = 0) -> Volume:
        """The ideal image of what the scan measures: T1, R2*, temperature, Ktrans."""
        return ideal_map(spec, mixture, scans_of(spec)[volume])


def _source(scans: Sequence[Scan], number: int) -> int:
    """The scan whose noise this one shares: the phase to a magnitude, else itself."""
    scan = scans[number]
    if scan.role != "magnitude":
        return number
    return next(n for n, other in enumerate(scans) if not other.role and other.case == scan.case)


@dataclass(frozen=True, eq=False)
class _Job:
    """One image to be made; `first` is whether it shows the subject where the regions are drawn."""

    spec: PhantomSpec
    mixture: Mixture
    level: int
    scan: Scan
    first: bool


def _volume(job: _Job, seed: np.random.SeedSequence) -> Volume:
    spec, scan = job.spec, job.scan
    physics, scanner = spec.physics_of("MRI"), scanner_of(spec)
    children = seed.spawn(scan.n_samples + 1)
    mixture = job.mixture
    if job.level >= 3 and not job.first:
        rng = np.random.Generator(np.random.Philox(children[-1]))
        mixture = shapes_on_grid(spec, mixture.grid, draw_shift(physics.misplacement.shift_sd_mm, rng))
    b1 = scan.case.get("relative_b1")
    fields = fields_on(scanner, mixture.grid, job.level, relative_b1=None if b1 is None else float(b1))
    painter = Painter(mixture, fields)
    sd = noise_sd(spec, scan) if job.level >= 1 else 0.0
    data = np.empty((mixture.grid.n_voxels, scan.n_samples), np.float32, order="F")
    for n, (sample, child) in enumerate(zip(scan.samples(), children[:-1], strict=True)):
        image = painter.paint(_echoes(spec, scan, sample, job.level))
        if job.level >= 2 and physics.psf_fwhm_mm > 0:
            image = _blurred(image, physics.psf_fwhm_mm, mixture)
        rng = np.random.Generator(np.random.Philox(child))
        if scan.sequence.sequence == "phase_shift":
            image = image.astype(np.complex64)
        image = noisy(image * fields.receive, sd, physics.noise, scanner.coils, rng)
        data[:, n] = np.angle(image) if scan.component == "phase" else np.abs(image)
    phase = scan.component == "phase"
    return Volume(
        data.reshape((*mixture.grid.shape, *(len(axis) for axis in scan.axes)), order="F"),
        mixture.grid.affine,
        "phase" if phase else "signal",
        "rad" if phase else "[arb'U]",
        axes=scan.axes,
        acquisition=_record(spec, scan),
        history=(make_step("phantom", slug=spec.slug, level=job.level, volume=scan.name),),
        source=Source(subject=f"PHANTOM-{spec.slug}", session=scan.name),
    )


Echo = Callable[[Fields], signal.Values | npt.NDArray[np.complex128]]
"""The signal of one tissue under some fields."""


class Painter:
    """Images of regions whose signal depends on the field at each voxel."""

    def __init__(self, mixture: Mixture, fields: Fields) -> None:
        self.mixture = mixture
        self.fields = fields
        self._whole: list[tuple[str, npt.NDArray[np.int64]]] = []
        if not fields.uniform:
            labels = mixture.labels.ravel(order="F").copy()
            labels[mixture.mixed] = 0
            self._whole = [
                (name, np.flatnonzero(labels == number)) for number, name in enumerate(mixture.names, 1)
            ]

    def paint(self, echoes: Mapping[str, Echo]) -> FlatImage:
        """The flat image, each voxel the sum of what its regions show at its fields."""
        if self.fields.uniform:
            return self._painted({name: complex(echo(self.fields)) for name, echo in echoes.items()})
        image = np.zeros(self.mixture.grid.n_voxels, np.complex64)
        for name, index in self._whole:
            image[index] = echoes[name](self._at(index))
        shared = self.mixture.mixed
        total = np.zeros(shared.size, np.complex128)
        for column, name in enumerate(self.mixture.names, 1):
            rows = np.flatnonzero(self.mixture.shares[:, column] > 0)
            total[rows] += self.mixture.shares[rows, column] * echoes[name](self._at(shared[rows]))
        image[shared] = total
        return image if np.any(image.imag) else image.real.copy()

    def _painted(self, values: Mapping[str, complex]) -> FlatImage:
        real = self.mixture.paint({name: value.real for name, value in values.items()}).ravel(order="F")
        if not any(value.imag for value in values.values()):
            return real
        imaginary = self.mixture.paint({name: value.imag for name, value in values.items()}).ravel(order="F")
        return np.asarray(real + 1j * imaginary)

    def _at(self, index: npt.NDArray[np.int64]) -> Fields:
        def chosen(field: signal.Values) -> signal.Values:
            return field[index] if isinstance(field, np.ndarray) else field

        fields = self.fields
        return Fields(
            chosen(fields.relative_b1),
            chosen(fields.offset_ppm),
            tuple(chosen(change) for change in fields.change_ppm),
        )


def _echoes(spec: PhantomSpec, scan: Scan, sample: Sample, level: int) -> dict[str, Echo]:
    """The signal of each region in one sample."""
    nucleus, seconds = scanner_of(spec).nucleus, sample.get("time", 0.0)
    drift_ppm = scanner_of(spec).drift_ppm_per_min * seconds / 60 if level >= 2 else 0.0

    def echo_of(tissue: Tissue) -> Echo:
        return lambda fields: echo(tissue, scan, sample, fields, drift_ppm=drift_ppm, nucleus=nucleus)

    return {region.name: echo_of(tissue_at(spec, region.name, scan, seconds)) for region in spec.regions}


def echo(
    tissue: Tissue,
    scan: Scan,
    sample: Sample,
    fields: Fields,
    *,
    drift_ppm: float = 0.0,
    nucleus: str = "1H",
) -> signal.Values | npt.NDArray[np.complex128]:
    """The signal of a tissue in one sample of a scan, under the fields of its voxels."""
    sequence, m0 = scan.sequence, SCALE * tissue.m0
    repetition_s = (sequence.repetition_time_ms or 0.0) * 1e-3
    echo_s = sample.get("echo_time", (sequence.echo_time_ms or 0.0) * 1e-3)
    b1 = fields.relative_b1
    if sequence.sequence == "inversion_recovery":
        recovered = signal.inversion_recovery(
            sample["inversion_time"],
            repetition_s,
            tissue.r1,
            m0=m0,
            efficiency=sequence.inversion_efficiency,
            relative_b1=b1,
        )
        return np.asarray(recovered * np.exp(-echo_s * tissue.r2))
    if sequence.sequence == "spin_echo":
        return signal.spin_echo(echo_s, tissue.r2, repetition_time_s=repetition_s, r1=tissue.r1, m0=m0)
    if sequence.sequence == "saturation_recovery":
        start = signal.spoiled_gradient_echo(
            90.0 * np.asarray(b1), sample["repetition_time"], tissue.r1, m0=m0
        )
        return np.asarray(start * np.exp(-echo_s * tissue.r2))
    flip = sample.get("flip_angle", flip_angle_deg(sequence))
    start = signal.spoiled_gradient_echo(flip * np.asarray(b1), repetition_s, tissue.r1, m0=m0)
    offset_ppm = np.asarray(fields.offset_ppm) + drift_ppm + signal.PRF_PPM_PER_CEL * tissue.warming_cel
    decay = signal.gradient_echo_decay(
        echo_s,
        tissue.r2star,
        frequency_hz=signal.frequency_hz(offset_ppm, scan.field_t, nucleus),
        fat_fraction=tissue.fat_fraction,
        fat_shift_hz=float(signal.frequency_hz(signal.FAT_SHIFT_PPM, scan.field_t)),
    )
    for change in fields.change_ppm:
        decay = decay * signal.through_voxel_dephasing(
            signal.frequency_hz(change, scan.field_t, nucleus), echo_s
        )
    return np.asarray(start * decay)


def flip_angle_deg(sequence: MrSequence) -> float:
    """The one flip angle of a sequence; 90 degrees where it names none."""
    if sequence.flip_angle_deg is not None:
        return sequence.flip_angle_deg
    return sequence.flip_angles_deg[0] if len(sequence.flip_angles_deg) == 1 else 90.0


def noise_sd(spec: PhantomSpec, scan: Scan) -> float:
    """Standard deviation of the noise in each part of a scan's complex signal.

    The signal-to-noise ratio is that of the brightest region in its brightest sample, without agent, by
    this scan's sequence at the nominal field.
    """
    physics = spec.physics_of("MRI")
    if physics.noise_sd is not None:
        return physics.noise_sd
    ratio = scan.snr or physics.snr
    if ratio is None or physics.noise in (None, "none"):
        return 0.0
    blank = scan.without_agent()
    brightest = max(
        float(np.abs(shown(Fields())))
        for sample in blank.samples()
        for shown in _echoes(spec, blank, sample, 0).values()
    )
    return brightest / ratio


def _blurred(image: FlatImage, fwhm_mm: float, mixture: Mixture) -> FlatImage:
    grid = mixture.grid

    def part(values: FlatImage) -> npt.NDArray[np.float32]:
        volume = np.asarray(values, np.float32).reshape(grid.shape, order="F")
        return blur(volume, fwhm_mm, grid.spacing_mm).ravel(order="F")

    if not np.iscomplexobj(image):
        return part(image)
    return np.asarray(part(image.real) + 1j * part(image.imag))


def _record(spec: PhantomSpec, scan: Scan) -> MrAcquisition:
    """What the header of a scan says."""
    sequence, scanner, subject = scan.sequence, scanner_of(spec), spec.subject
    physics = spec.physics_of("MRI")
    on_axes = {axis.name for axis in scan.axes}
    times = next((axis.values for axis in scan.axes if axis.name == "time"), np.zeros(0))
    echo_ms, flip = sequence.echo_time_ms, flip_angle_deg(sequence)
    animal = subject.species not in ("human", "none")
    return MrAcquisition(
        manufacturer=physics.manufacturer,
        model=physics.model,
        field_strength_t=scan.field_t,
        imaging_frequency_mhz=scan.field_t * signal.GYROMAGNETIC_MHZ_T[scanner.nucleus],
        nucleus=scanner.nucleus,
        repetition_time_s=None if sequence.repetition_time_ms is None else sequence.repetition_time_ms * 1e-3,
        echo_time_s=None if "echo_time" in on_axes or echo_ms is None else echo_ms * 1e-3,
        flip_angle_deg=None if "flip_angle" in on_axes else flip,
        sequence=sequence.sequence,
        scanning_sequence=_SCANNING_SEQUENCE[sequence.sequence],
        image_component=scan.component,
        temporal_resolution_s=float(times[1] - times[0]) if times.size > 1 else None,
        acquisition_datetime=_start(spec, scan),
        subject=Subject(
            weight_kg=subject.weight_kg,
            height_m=subject.height_m,
            sex=subject.sex,
            species=subject.species if animal else None,
        ),
    )


def _start(spec: PhantomSpec, scan: Scan) -> datetime:
    """On the scanner's clock: an hour before the injection without agent, else at the case's time."""
    if not scan.agent:
        return spec.administration.at - timedelta(hours=1)
    time = spec.axis_of("time")
    seconds = 0.0 if time is None else float(scan.case.get("time", 0.0)) * conversion_factor(time.unit, "s")
    return spec.administration.at + timedelta(seconds=seconds)
