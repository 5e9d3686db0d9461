"""The cines of an ultrasound phantom: when their frames are, how warm it is, and how bright each region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.phantom.cases import Case, printed
from imgtheranostics.phantom.spec import PhantomSpec, RegionSpec
from imgtheranostics.phantom.ultrasound_scanner import BolusSpec, CineSpec, UltrasoundScanner
from imgtheranostics.units import conversion_factor

FloatArray = npt.NDArray[np.float64]

PROTOCOL, TIME, ACIDITY, HEAT = "protocol", "time", "ph", "temperature"
BEFORE, AFTER = "before", "after"

_TENTH_TO_NINE_TENTHS = 2.0 * math.log(9.0)
"""Over which a logistic curve of scale 1 rises from 10 to 90 %."""


@dataclass(frozen=True, eq=False)
class Cine:
    """One recording.

    Attributes
    ----------
    name : str
        Fit for a file name.
    spec : CineSpec
    case : mapping
        Its protocol, and its time and pH where it has them.
    frame_s : (n,) ndarray
        Since its first frame.
    temperature_cel : (n,) ndarray or None
    """

    name: str
    spec: CineSpec
    case: Case
    frame_s: FloatArray
    temperature_cel: FloatArray | None = None


def scanner_of(spec: PhantomSpec) -> UltrasoundScanner:
    """The ultrasound scanner of a phantom.

    Raises
    ------
    MissingMetadata
        If the file describes none, or no cine.
    """
    scanner = spec.physics_of("US").ultrasound
    if scanner is None or not scanner.cines:
        raise MissingMetadata(
            f"{spec.slug} does not describe what its ultrasound scanner records",
            where="physics.ultrasound",
            needed="cines",
        )
    return scanner


def cines_of(spec: PhantomSpec) -> tuple[Cine, ...]:
    """All recordings, in the order of the file; of gas one for each time and pH."""
    scanner = scanner_of(spec)
    return tuple(cine for one in scanner.cines for cine in _recorded(spec, scanner, one))


def _recorded(spec: PhantomSpec, scanner: UltrasoundScanner, one: CineSpec) -> list[Cine]:
    frames = np.arange(one.frames) / scanner.frame_rate_hz
    if one.kind == "heating":
        steps = np.repeat(_numbers(spec, HEAT), one.frames)
        return [
            Cine(one.name, one, {PROTOCOL: one.name}, np.arange(steps.size) / scanner.frame_rate_hz, steps)
        ]
    if one.kind != "gas":
        return [Cine(one.name, one, {PROTOCOL: one.name}, frames)]
    found = []
    for time, acidity in product(_numbers(spec, TIME), _numbers(spec, ACIDITY)):
        case: Case = {PROTOCOL: one.name, TIME: float(time), ACIDITY: float(acidity)}
        name = f"{one.name}_time-{printed(float(time))}_ph-{printed(float(acidity))}"
        found.append(Cine(name, one, case, frames))
    return found


def _numbers(spec: PhantomSpec, kind: str) -> FloatArray:
    axis = spec.axis_of(kind)
    if axis is None:
        raise MissingMetadata(f"{spec.slug} has no axis {kind}, which one of its cines follows", where="axes")
    return np.array(axis.values, np.float64)


def echo_course(spec: PhantomSpec, region: RegionSpec, cine: Cine) -> FloatArray:
    """Echo intensity of a region in every frame of a cine, (n,).

    Raises
    ------
    MissingMetadata
        If the region states no echo intensity, or what a change of it needs.
    """
    truth = region.states("echo_intensity")
    if truth is None:
        raise MissingMetadata(
            f"the region {region.name} states no echo intensity", where=f"regions.{region.name}.truth"
        )
    n = cine.frame_s.size
    one = cine.spec
    if truth.along is None:
        level = np.full(n, truth.in_own_unit())
        bolus = one.bolus
        return level + bolus_course(bolus, cine.frame_s) if bolus and bolus.region == region.name else level
    low, high = truth.in_own_unit(BEFORE), truth.in_own_unit(AFTER)
    if region.name not in one.regions:
        return np.full(n, low)
    return np.asarray(low + (high - low) * _share_reacted(spec, region, cine))


def _share_reacted(spec: PhantomSpec, region: RegionSpec, cine: Cine) -> FloatArray:
    """How far a region has come from its state before to that after, in every frame."""
    one, n = cine.spec, cine.frame_s.size
    if one.kind == "switch":
        return np.asarray(np.arange(n) >= n // 2, np.float64)
    if one.kind == "heating":
        return _boiled(spec, region, cine)
    if one.kind == "gas":
        if one.reacts_at_ph.get(region.name, cine.case[ACIDITY]) != cine.case[ACIDITY]:
            return np.zeros(n)
        axis = spec.axis_of(TIME)
        factor = conversion_factor(axis.unit if axis else "min", "min")
        last = factor * float(_numbers(spec, TIME).max())
        share = -math.expm1(-factor * float(cine.case[TIME]) / one.time_constant_min)
        return np.full(n, share / -math.expm1(-last / one.time_constant_min))
    raise UnsupportedInput("no region changes its state during a bolus", found=region.name)


def _boiled(spec: PhantomSpec, region: RegionSpec, cine: Cine) -> FloatArray:
    turn, width = region.states("temperature"), scanner_of(spec).transition_width_cel
    if turn is None or width is None or cine.temperature_cel is None:
        raise MissingMetadata(
            f"{spec.slug} does not say how {region.name} boils",
            needed="temperature of the region, physics.ultrasound.transition_width_cel",
        )
    scale = width / _TENTH_TO_NINE_TENTHS
    return np.asarray(1.0 / (1.0 + np.exp(-(cine.temperature_cel - turn.in_own_unit()) / scale)))


def bolus_course(bolus: BolusSpec, frame_s: FloatArray) -> FloatArray:
    """The lognormal curve of a bolus (ultrasound.md U5)."""
    since = frame_s - bolus.arrival_s
    passed = np.where(since > 0, since, np.nan)
    shape = np.exp(-((np.log(passed) - bolus.log_mean) ** 2) / (2.0 * bolus.log_sd**2))
    curve = bolus.area_s * shape / (math.sqrt(2.0 * math.pi) * bolus.log_sd * passed)
    return np.nan_to_num(curve)
