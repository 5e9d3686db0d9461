"""Physics of magnetic particle imaging: signal in proportion to the tracer, blurred by its response."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imgtheranostics.acquisition import OtherAcquisition
from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.phantom.cases import Case, cases_of
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.mri_fields import noisy
from imgtheranostics.phantom.pet import blur
from imgtheranostics.phantom.physics import LazyVolumes, Physics
from imgtheranostics.phantom.scanner import MpiScanner
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.units import conversion_factor
from imgtheranostics.volume import Source, Volume, make_step

UG_PER_MG = conversion_factor("mg", "ug")


class Mpi(Physics):
    """Magnetic particle imaging. Tissue gives no signal; the image is the tracer's mass per volume.

    A region's mass is spread evenly over its closed-form volume.
    """

    modality = "MPI"

    def names(self, spec: PhantomSpec) -> tuple[str, ...]:
        """One scan."""
        return tuple("scan" for _ in self.cases(spec))

    def cases(self, spec: PhantomSpec) -> Sequence[Case]:
        """The case of the modality."""
        cases = [case for case in cases_of(spec) if case.get("modality", self.modality) == self.modality]
        if len(cases) > 1:
            raise UnsupportedInput("an MPI phantom has one image", where="axis", found=f"{len(cases)} cases")
        return cases

    def check(self, spec: PhantomSpec, mixture: Mixture) -> None:
        """Refuse a phantom without an MPI scanner, or with more than one image."""
        _scanner(spec)
        self.cases(spec)

    def volumes(
        self, spec: PhantomSpec, mixture: Mixture, level: int, seeds: Sequence[np.random.SeedSequence]
    ) -> LazyVolumes:
        """The scan."""
        return LazyVolumes(len(seeds), lambda n: _volume(spec, mixture, level, seeds[n]))

    def region_truth(
        self, spec: PhantomSpec, region: str, quantity: str, volume: int, frame: int = 0
    ) -> float:
        """Mass of the tracer in a region, mg."""
        if quantity != "agent_mass":
            raise UnsupportedInput("the phantom does not state this quantity", found=quantity)
        return mass_mg(spec, region.removesuffix("_core"))

    def truth_map(self, spec: PhantomSpec, mixture: Mixture, volume: int, level: int = 0) -> Volume:
        """Concentration of the tracer, mg/mL."""
        return Volume(
            mixture.paint(_concentrations(spec, mixture)), mixture.grid.affine, "concentration", "mg/mL"
        )

    def resolution_mm(self, spec: PhantomSpec) -> float:
        """FWHM of the tracer's response."""
        return _scanner(spec).response_fwhm_mm or 0.0


def mass_mg(spec: PhantomSpec, region: str) -> float:
    """Mass of the tracer in a region; 0 where it states none."""
    truth = spec.region(region).states("agent_mass")
    return 0.0 if truth is None else truth.in_own_unit()


def _scanner(spec: PhantomSpec) -> MpiScanner:
    scanner = spec.physics_of("MPI").mpi
    if scanner is None:
        raise MissingMetadata(f"{spec.slug} does not describe its MPI scanner", where="physics", needed="mpi")
    return scanner


def _concentrations(spec: PhantomSpec, mixture: Mixture) -> dict[str, float]:
    volumes = mixture.volumes_ml()
    return {name: mass_mg(spec, name) / volumes[name] for name in mixture.names}


def _volume(spec: PhantomSpec, mixture: Mixture, level: int, seed: np.random.SeedSequence) -> Volume:
    physics, scanner, grid = spec.physics_of("MPI"), _scanner(spec), mixture.grid
    per_mg_ml = scanner.slope_per_ug * UG_PER_MG * grid.voxel_volume_ml
    values = {name: per_mg_ml * value for name, value in _concentrations(spec, mixture).items()}
    image = mixture.paint(values)
    if level >= 2 and scanner.response_fwhm_mm:
        image = blur(image, scanner.response_fwhm_mm, grid.spacing_mm)
    if level >= 1:
        sd = physics.noise_sd or (max(values.values()) / physics.snr if physics.snr else 0.0)
        rng = np.random.Generator(np.random.Philox(seed))
        flat = noisy(image.ravel(order="F"), sd, physics.noise, 1, rng)
        image = np.asarray(flat, np.float32).reshape(grid.shape, order="F")
    return Volume(
        image,
        grid.affine,
        "signal",
        "[arb'U]",
        acquisition=OtherAcquisition(modality="MPI", manufacturer=physics.manufacturer, model=physics.model),
        history=(make_step("phantom", slug=spec.slug, level=level, volume="scan"),),
        source=Source(subject=f"PHANTOM-{spec.slug}", session="scan"),
    )
