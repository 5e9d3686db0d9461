"""What each region of a CT phantom holds during a scan: attenuation, agent, and slopes of the agent."""

from __future__ import annotations

from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.ct_scanner import CtScanner
from imgtheranostics.phantom.ct_scans import BINS, CtScan, scanner_of
from imgtheranostics.phantom.spec import PhantomSpec, RegionSpec

AIR_HU = -1000.0
_HU_PER_G_ML = 1000.0


def stated(region: RegionSpec, quantity: str, case: Case) -> float | None:
    """What a region states of a quantity for a case, in the quantity's own unit."""
    truth = region.states(quantity)
    if truth is None:
        return None
    return truth.in_own_unit(case.get(truth.along) if truth.along else None)


def tissue_hu(spec: PhantomSpec, region: str, scan: CtScan) -> float:
    """Attenuation of a region without agent, HU.

    Raises
    ------
    MissingMetadata
        If the region states none.
    """
    value = stated(spec.region(region), "attenuation", scan.case)
    if value is None:
        raise MissingMetadata(f"the region {region} of a CT phantom states no attenuation")
    return value


def concentration_mg_ml(spec: PhantomSpec, region: str, scan: CtScan) -> float:
    """Mean concentration of the agent in a region: diluted where it swells, less where some has left."""
    if not scan.agent:
        return 0.0
    held = spec.region(region)
    value = stated(held, "concentration", scan.case) or 0.0
    kept = stated(held, "retained_fraction", scan.case)
    return value * (1.0 if kept is None else kept / 100.0) / growth(spec, region, scan)


def growth(spec: PhantomSpec, region: str, scan: CtScan) -> float:
    """Volume of a region during a scan over that before the injection."""
    scanner = scanner_of(spec)
    swelling, pools = scanner.swelling, scanner.pools
    if swelling is None or swelling.region != region or not scan.agent:
        return 1.0
    if scan.case.get("state") != swelling.state:
        return 1.0
    if pools is None or pools.region != region:
        raise MissingMetadata(
            f"{spec.slug} does not say what {region} swells by",
            where="physics.ct",
            needed="pools in the same region, with the strength of the suspension",
        )
    return 1.0 + filled_share(spec, region, scan)


def filled_share(spec: PhantomSpec, region: str, scan: CtScan) -> float:
    """Volume of the injected suspension over that of the region before the injection."""
    pools = scanner_of(spec).pools
    if not scan.agent:
        return 0.0
    injected = stated(spec.region(region), "concentration", scan.case) or 0.0
    return injected / pools.strength_mg_ml if pools is not None else 0.0


def material_of(spec: PhantomSpec, region: str) -> str:
    """What the agent of a region is counted as: the only material with a slope, or that of its record.

    Raises
    ------
    MissingMetadata
        If neither says so.
    """
    from imgtheranostics import agents

    known = tuple(scanner_of(spec).slope_hu)
    if len(known) == 1:
        return known[0]
    record = agents.get(spec.region(region).agent or spec.agent.record)
    formula = None if record.attenuation is None else record.attenuation.composition.formula
    if formula is None or formula not in known:
        raise MissingMetadata(
            f"what the agent of {region} attenuates is not known",
            where="physics.ct.slope_hu",
            found=formula or "a record without composition",
            needed=f"one of {', '.join(known) or 'no material at all'}",
        )
    return formula


def materials_of(spec: PhantomSpec) -> tuple[str, ...]:
    """All materials that regions hold, in the order of the regions."""
    holding = [region.name for region in spec.regions if region.states("concentration") is not None]
    return tuple(dict.fromkeys(material_of(spec, name) for name in holding))


def slope_hu(spec: PhantomSpec, material: str, scan: CtScan, sample: int = 0) -> float:
    """HU per mg/mL of a material, as a calibration at the stated water gives it, without displacement.

    Tube voltages have it pinned; energy bins take it from the beam.

    Raises
    ------
    MissingMetadata
        If the file does not pin it.
    """
    scanner = scanner_of(spec)
    if scan.role == BINS:
        return scan.beams[sample].slope(material, scanner.water_cm)
    pinned = scanner.slope_hu.get(material, {})
    value = pinned.get(f"{scan.kvp:g}")
    if value is None:
        raise MissingMetadata(
            f"{spec.slug} pins no slope of {material} at {scan.kvp:g} kVp",
            where="physics.ct.slope_hu",
            found=", ".join(pinned) or "none",
            needed="HU per mg/mL",
        )
    return value


def displaced_hu(spec: PhantomSpec, material: str, scanner: CtScanner) -> float:
    """HU per mg/mL that particles take away by displacing water; 0 where no density is known."""
    from imgtheranostics import agents

    if not scanner.displacement:
        return 0.0
    for name in (spec.agent.record, *(agent.record for agent in spec.agents)):
        attenuation = agents.get(name).attenuation
        if attenuation is not None and attenuation.composition.formula == material:
            density = attenuation.density_g_ml
            return 0.0 if density is None else _HU_PER_G_ML / 1000.0 / density.number()
    return 0.0


def shown_slope_hu(spec: PhantomSpec, material: str, scan: CtScan, sample: int = 0) -> float:
    """HU per mg/mL that vials of the material show in this beam: with the water that it displaces."""
    return slope_hu(spec, material, scan, sample) - displaced_hu(spec, material, scanner_of(spec))


def region_value(spec: PhantomSpec, region: str, quantity: str, scan: CtScan, sample: int = 0) -> float:
    """The truth of a quantity in a region during a scan, in the quantity's own unit.

    Raises
    ------
    UnsupportedInput
        If the phantom says nothing of it.
    """
    if quantity == "concentration":
        return concentration_mg_ml(spec, region, scan)
    if quantity in ("attenuation", "delta_attenuation"):
        amount = concentration_mg_ml(spec, region, scan)
        change = amount * shown_slope_hu(spec, material_of(spec, region), scan, sample) if amount else 0.0
        return change if quantity == "delta_attenuation" else change + tissue_hu(spec, region, scan)
    found = stated(spec.region(region), quantity, scan.case)
    if found is None:
        raise UnsupportedInput("the phantom does not state this quantity", found=f"{quantity} of {region}")
    return found
