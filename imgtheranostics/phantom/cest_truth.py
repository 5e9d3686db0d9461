"""What a perfect analysis finds in CEST images: of one region, and as an ideal map."""

from __future__ import annotations

import math

import numpy as np

from imgtheranostics.errors import MissingMetadata, UnsupportedInput
from imgtheranostics.phantom.cest_scans import CestScan, scanner_of
from imgtheranostics.phantom.cest_table import Saturation
from imgtheranostics.phantom.cest_tissue import (
    LEAST_PROTON_DENSITY,
    agent_pools,
    exchange_rate,
    molar_mm,
    pools_of,
    proton_density,
    stated,
)
from imgtheranostics.phantom.mixture import Mixture
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Volume


def region_value(spec: PhantomSpec, region: str, quantity: str, scan: CestScan) -> float:
    """The truth of a quantity in a region during a scan, in the quantity's own unit.

    Raises
    ------
    UnsupportedInput
        If the phantom says nothing of it.
    """
    held = spec.region(region)
    if quantity == "mtr_asym":
        return asymmetry_percent(spec, region, scan)
    if quantity == "molar_concentration":
        return molar_mm(spec, held, scan.case) if scan.agent else 0.0
    if quantity == "concentration" and not scan.agent:
        return 0.0
    if quantity == "exchange_rate" and agent_pools(spec, held):
        return exchange_rate(agent_pools(spec, held)[0], held, scan.case)
    found = stated(held, quantity, scan.case)
    if found is None:
        raise UnsupportedInput("the phantom does not state this quantity", found=f"{quantity} of {region}")
    return found


def label_ppm(spec: PhantomSpec) -> float:
    """Offset of the first pool of the phantom's agent, at which asymmetry is shown.

    Raises
    ------
    MissingMetadata
        If the phantom has no agent pool.
    """
    _, cest, _ = scanner_of(spec)
    if not cest.agent_pools:
        raise MissingMetadata(
            f"{spec.slug} has no pool of an agent", where="physics.mri.cest", needed="agent_pools"
        )
    return cest.agent_pools[0].offset_ppm


def asymmetry_percent(spec: PhantomSpec, region: str, scan: CestScan, at_ppm: float | None = None) -> float:
    """Z(-w) - Z(+w) of a region at nominal fields, simulated, %."""
    at = label_ppm(spec) if at_ppm is None else at_ppm
    both = Saturation(scan.b1_ut, scan.saturation_s, (-at, at)).spectrum(pools_of(spec, region, scan))
    return 100.0 * float(both[0] - both[1])


def map_quantity(spec: PhantomSpec) -> str:
    """What the phantom is made for: pH where a region states one, else the asymmetry."""
    return "ph" if any(region.states("ph") for region in spec.regions) else "mtr_asym"


def ideal_map(spec: PhantomSpec, mixture: Mixture, scan: CestScan) -> Volume:
    """The image of `map_quantity` without any scanner; NaN where a region does not say."""
    quantity = map_quantity(spec)
    values = {region.name: _ideal(spec, region.name, quantity, scan) for region in spec.regions}
    unit = QUANTITIES[quantity].unit or "1"
    # a voxel of which a part has no pH has none either
    outside = np.nan if quantity == "ph" else 0.0
    return Volume(mixture.paint(values, outside=outside), mixture.grid.affine, quantity, unit)


def _ideal(spec: PhantomSpec, region: str, quantity: str, scan: CestScan) -> float:
    if quantity == "mtr_asym":
        shows = proton_density(spec.region(region), scan.case) > LEAST_PROTON_DENSITY
        return asymmetry_percent(spec, region, scan) if shows else 0.0
    found = stated(spec.region(region), quantity, scan.case)
    return math.nan if found is None else found
