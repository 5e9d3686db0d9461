"""The scans of an emission phantom: which nuclide, animal, time and header each image has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import ImplausibleValue
from imgtheranostics.phantom.cases import Case, cases_of, printed
from imgtheranostics.phantom.pet import Curve, Frame, concentration_bq_ml
from imgtheranostics.phantom.scanner import PhysicsSpec
from imgtheranostics.phantom.spec import PhantomSpec, VariantSpec

LEAST_POSITRON_YIELD = 0.01
"""Below it a nuclide is imaged by its photons: 90Y has 3e-5 positrons per decay."""

_WIDEST = 20.0
_HALVINGS = 80


@dataclass(frozen=True, eq=False)
class Exposure:
    """One scan.

    Attributes
    ----------
    name : str
        Fit for a file name.
    case : mapping
        Its value on each series axis.
    label : str
        Nuclide, such as ``Cu-64``.
    frames : tuple of Frame
    physics : PhysicsSpec
        Of its modality.
    animal : float
        Factor of this animal's uptake, 1 on average over its group.
    variant : VariantSpec
        How its header is written.
    """

    name: str
    case: Case
    label: str
    frames: tuple[Frame, ...]
    physics: PhysicsSpec
    animal: float
    variant: VariantSpec

    @property
    def decay_constant_per_s(self) -> float:
        """Of its nuclide."""
        return nuclide(self.label).decay_constant_per_s

    @property
    def fwhm_mm(self) -> float:
        """Resolution for its nuclide."""
        return self.physics.isotope_fwhm_mm.get(self.label, self.physics.psf_fwhm_mm)


def exposures(spec: PhantomSpec, modality: str) -> tuple[Exposure, ...]:
    """The scans of one emission modality, in the order of the phantom's cases.

    A phantom with both modalities images positron emitters with PET and the others with SPECT. Each animal
    of a group is a scan of its own.
    """
    both = {"PET", "SPECT"} <= set(spec.modalities)
    found: list[Exposure] = []
    for case in cases_of(spec):
        label = str(case.get("isotope", spec.agent.label))
        positrons = nuclide(label).positron_yield > LEAST_POSITRON_YIELD
        if both and positrons != (modality == "PET"):
            continue
        for number, factor in enumerate(_animals(spec, case), start=1):
            found.append(_exposure(spec, modality, case, label, (number, factor)))
    return tuple(found)


def animal_factors(animals: int, variation: float) -> tuple[float, ...]:
    """Uptake of each of `animals` over the group's mean: the middles of strata of a lognormal distribution.

    Their mean is 1 and their standard deviation (n - 1) is `variation` exactly, so that the truth of a
    group is that of its animals and a phantom tests the analysis, not the luck of six draws.

    Raises
    ------
    ImplausibleValue
        If so few positive numbers cannot vary that much.
    """
    if animals < 2 or variation <= 0:
        return (1.0,) * animals
    strata = [NormalDist().inv_cdf((k + 0.5) / animals) for k in range(animals)]
    low, high = 0.0, _WIDEST
    if _variation(_spread(strata, high)) < variation:
        raise ImplausibleValue(
            f"{animals} animals cannot have this coefficient of variation",
            where="groups",
            found=f"{variation:g}",
            needed="more animals, or less variation",
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _variation(_spread(strata, middle)) > variation else (middle, high)
    return _spread(strata, low)


def _spread(strata: Sequence[float], sd: float) -> tuple[float, ...]:
    raw = [math.exp(sd * position) for position in strata]
    mean = sum(raw) / len(raw)
    return tuple(value / mean for value in raw)


def _variation(factors: Sequence[float]) -> float:
    return math.sqrt(sum((value - 1.0) ** 2 for value in factors) / (len(factors) - 1))


def curve_of(spec: PhantomSpec, region: str, exposure: Exposure) -> Curve:
    """Activity concentration of one region over time, decay-corrected to injection, Bq/mL."""
    truth = spec.region(region).uptake
    value = concentration_bq_ml(
        truth,
        activity_bq=spec.administration.activity_bq,
        subject=spec.subject,
        case=exposure.case.get(truth.along) if truth.along else None,
    )
    return Curve.from_kinetics(truth.kinetics, value * exposure.animal, _truth_at_h(spec) * 3600)


def curves_of(spec: PhantomSpec, exposure: Exposure) -> Mapping[str, Curve]:
    """Activity concentration of each region over time, decay-corrected to injection, Bq/mL."""
    return {region.name: curve_of(spec, region.name, exposure) for region in spec.regions}


def _exposure(
    spec: PhantomSpec, modality: str, case: Case, label: str, animal: tuple[int, float]
) -> Exposure:
    physics = spec.physics_of(modality)
    number, factor = animal
    return Exposure(
        name=_name(case, number if "group" in case else None),
        case=case,
        label=label,
        frames=_frames(spec, physics, case),
        physics=physics,
        animal=factor,
        variant=_variant(spec, physics, case),
    )


def _animals(spec: PhantomSpec, case: Case) -> tuple[float, ...]:
    if "group" not in case:
        return (1.0,)
    group = spec.group(str(case["group"]))
    return animal_factors(group.animals, group.variation)


def _name(case: Case, animal: int | None) -> str:
    parts = []
    for kind, value in case.items():
        parts.append(f"t{float(value):07.2f}h" if kind == "time" else printed(value))
        if kind == "group" and animal is not None:
            parts.append(f"a{animal}")
    return "_".join(parts) or "dynamic"


def _frames(spec: PhantomSpec, physics: PhysicsSpec, case: Case) -> tuple[Frame, ...]:
    durations = physics.frame_duration_s
    time = spec.axis_of("time")
    if time is None:
        position = spec.axis.values.index(case[spec.axis.kind]) if spec.axis.kind in case else 0
        return (_centred(spec.axis.truth_at, durations[min(position, len(durations) - 1)]),)
    frames = tuple(
        _centred(float(value), durations[min(n, len(durations) - 1)]) for n, value in enumerate(time.values)
    )
    return frames if time.layout == "dynamic" else (frames[time.values.index(case["time"])],)


def _truth_at_h(spec: PhantomSpec) -> float:
    time = spec.axis_of("time")
    return (time or spec.axis).truth_at


def _centred(middle_h: float, duration_s: float) -> Frame:
    return Frame(middle_h * 3600 - duration_s / 2, duration_s)


def _variant(spec: PhantomSpec, physics: PhysicsSpec, case: Case) -> VariantSpec:
    if "header_variant" in case:
        return spec.variant(str(case["header_variant"]))
    return VariantSpec(name="as-scanned", decay_correction=physics.decay_correction)
