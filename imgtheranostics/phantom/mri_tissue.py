"""What each region is made of while an MR scan runs: rates with the agent in it, temperature, fat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import MissingMetadata
from imgtheranostics.phantom import mri_kinetics as kinetics
from imgtheranostics.phantom.mri_scans import Scan, scanner_of
from imgtheranostics.phantom.pet import Curve
from imgtheranostics.phantom.spec import PhantomSpec, RegionSpec
from imgtheranostics.units import conversion_factor

FloatArray = npt.NDArray[np.float64]

ELEMENTS = {"gd_concentration": "Gd", "fe_concentration": "Fe"}
"""Quantities of a molar concentration and what it counts."""
PERFUSED = ("ktrans", "vp")
KINDS = ("r1", "r2", "r2star")
SPINS_PER_UNIT = 1e18
"""Number of 19F nuclei in a region that makes a magnetisation of 1."""

_VOLUME_TRUTHS = ("proton_density", "spins")


@dataclass(frozen=True, slots=True)
class Tissue:
    """What one region shows at one moment: equilibrium magnetisation, rates in 1/s, fat, warming."""

    m0: float
    r1: float
    r2: float
    r2star: float
    fat_fraction: float = 0.0
    warming_cel: float = 0.0


def tissue_at(spec: PhantomSpec, region: str, scan: Scan, time_s: float = 0.0) -> Tissue:
    """A region during a sample that is taken `time_s` after the start of the series.

    Raises
    ------
    MissingMetadata
        If the region states no relaxation time that is needed, or the agent no relaxivity.
    """
    held = spec.region(region)
    m0 = _magnetisation(spec, held, scan)
    if m0 == 0.0:
        return Tissue(0.0, 1.0, 1.0, 1.0)
    r1 = 1.0 / _required(held, "t1", scan)
    r2 = 1.0 / _required(held, "t2", scan)
    r2star = _stated(held, "r2star", scan)
    if r2star is None:
        t2star = _stated(held, "t2star", scan)
        r2star = r2 if t2star is None else 1.0 / t2star
    rates = {"r1": r1, "r2": r2, "r2star": r2star}
    if scan.agent:
        added = added_rates(spec, region, scan, time_s)
        rates = {kind: rates[kind] + added[kind] for kind in KINDS}
    fat = _stated(held, "fat_fraction", scan) or 0.0
    return Tissue(
        m0, rates["r1"], rates["r2"], rates["r2star"], fat, warming(held, scan)(np.array([time_s]))[0]
    )


def added_rates(spec: PhantomSpec, region: str, scan: Scan, time_s: float = 0.0) -> dict[str, float]:
    """What the agent adds to each rate of a region, 1/s."""
    scanner, held = scanner_of(spec), spec.region(region)
    added = dict.fromkeys(KINDS, 0.0)
    added["r2star"] += _stated(held, "delta_r2star", scan) or 0.0
    for quantity, element in ELEMENTS.items():
        amount = concentration_mmol_l(spec, region, scan, quantity, time_s)
        if amount > 0:
            for kind in KINDS:
                added[kind] += relaxivity(spec, region, element, kind, scan.field_t) * amount
    mass = _stated(held, "concentration", scan)
    for kind, slope in scanner.relaxation_per_mg_ml.items():
        added[kind] += slope * (mass or 0.0)
    return added


def concentration_mmol_l(
    spec: PhantomSpec, region: str, scan: Scan, quantity: str, time_s: float = 0.0
) -> float:
    """Molar concentration in a region, at the scan's time after the injection, or in its series."""
    held = spec.region(region)
    truth = held.states(quantity)
    if truth is not None:
        value = truth.in_own_unit(scan.case.get(truth.along) if truth.along else None)
        time = spec.axis_of("time")
        if value == 0 or time is None or time.layout == "dynamic" or "time" not in scan.case:
            return value
        seconds = conversion_factor(time.unit, "s")
        curve = Curve.from_kinetics(truth.kinetics, value, time.truth_at * seconds)
        return curve.at(float(scan.case["time"]) * seconds)
    if quantity == "gd_concentration" and any(held.states(name) for name in PERFUSED):
        series = perfused_mmol_l(spec, region, scan)
        axis = next(axis for axis in scan.axes if axis.name == "time")
        return float(series[int(np.argmin(np.abs(axis.values - time_s)))])
    return 0.0


def perfused_mmol_l(spec: PhantomSpec, region: str, scan: Scan) -> FloatArray:
    """Concentration in a perfused region at each time of the scan's series."""
    scanner, held = scanner_of(spec), spec.region(region)
    if scanner.plasma_input is None:
        raise MissingMetadata(
            f"{spec.slug} does not say what flows into its regions",
            where="physics.mri",
            needed="plasma_input",
        )
    axis = next(axis for axis in scan.axes if axis.name == "time")
    return _perfused(
        tuple(axis.values.tolist()),
        (scanner.plasma_input, scanner.bolus_arrival_s, scanner.haematocrit),
        (
            _stated(held, "ktrans", scan) or 0.0,
            _stated(held, "ve", scan) or 1.0,
            _stated(held, "vp", scan) or 0.0,
        ),
    )


@lru_cache(maxsize=64)
def _perfused(
    times: tuple[float, ...], blood: tuple[str, float, float], tissue: tuple[float, float, float]
) -> FloatArray:
    name, arrival_s, haematocrit = blood
    ktrans, ve, vp = tissue

    def plasma(time_s: FloatArray) -> FloatArray:
        return kinetics.blood_mmol_l(name, time_s, arrival_s=arrival_s) / (1.0 - haematocrit)

    return kinetics.extended_tofts(times, plasma, ktrans_per_min=ktrans, ve=ve, vp=vp)


def relaxivity(spec: PhantomSpec, region: str, element: str, kind: str, field_t: float) -> float:
    """Relaxivity of the agent in a region, L/mmol/s: the phantom's own, else that of the record.

    A transverse relaxivity that the record does not hold is taken as 0.
    """
    from imgtheranostics import agents

    scanner = scanner_of(spec)
    own: dict[str, float] = {str(name): value for name, value in scanner.relaxivity.items()}
    if own:
        return own.get(kind, 0.0)
    record = agents.get(spec.region(region).agent or spec.agent.record)
    try:
        return record.relaxivity(kind, field_t, medium=scanner.medium, per=element).value
    except MissingMetadata:
        if kind == "r1":
            raise
        return 0.0


def warming(region: RegionSpec, scan: Scan) -> Callable[[FloatArray], FloatArray]:
    """Rise of temperature of a region over the time since heating began, Cel."""
    power = _stated(region, "specific_absorption_rate", scan) or 0.0
    amount = _stated(region, "concentration", scan) or 0.0
    loss_per_s = (_stated(region, "heat_loss_rate", scan) or 0.0) / 60
    rate = kinetics.heating_rate_cel_per_s(power, amount)

    def rise(time_s: FloatArray) -> FloatArray:
        return kinetics.warming_cel(time_s, rate, loss_per_s)

    return rise


def _magnetisation(spec: PhantomSpec, region: RegionSpec, scan: Scan) -> float:
    nuclei = _stated(region, "spins", scan)
    if scanner_of(spec).nucleus == "19F":
        return (nuclei or 0.0) / SPINS_PER_UNIT
    return _stated(region, "proton_density", scan) or 0.0


def _required(region: RegionSpec, quantity: str, scan: Scan) -> float:
    value = _stated(region, quantity, scan)
    if not value:
        raise MissingMetadata(f"the region {region.name} of an MR phantom states no {quantity}")
    return value


def _stated(region: RegionSpec, quantity: str, scan: Scan) -> float | None:
    """What a region states of a quantity for the scan's case, in the quantity's own unit."""
    truth = region.states(quantity)
    if truth is None:
        return None
    return truth.in_own_unit(scan.case.get(truth.along) if truth.along else None)
