"""What lies in each voxel of a CT phantom during a scan: tissue, agent in pools, swelling and deformation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.phantom.ct_motion import Field, carried
from imgtheranostics.phantom.ct_pools import Altered, pool_job, pool_shares
from imgtheranostics.phantom.ct_scans import CtScan, scanner_of
from imgtheranostics.phantom.ct_tissue import (
    AIR_HU,
    concentration_mg_ml,
    filled_share,
    growth,
    material_of,
    materials_of,
    tissue_hu,
)
from imgtheranostics.phantom.misplacement import moved_grid
from imgtheranostics.phantom.mixture import Mixture, rasterise
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.templates import region_shapes

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Composition:
    """What lies in each voxel during a scan.

    Attributes
    ----------
    mixture : Mixture
        Of the regions, without the local part of a deformation.
    tissue_hu : (i, j, k) float32
        Without agent.
    mg_ml : mapping of material to (i, j, k) float32
    """

    mixture: Mixture
    tissue_hu: Float32Array
    mg_ml: dict[str, Float32Array]


def composed(
    spec: PhantomSpec,
    mixture: Mixture,
    scan: CtScan,
    level: int,
    offset_mm: npt.NDArray[np.float64] | None = None,
) -> Composition:
    """What the scanner looks at, at a level.

    Parameters
    ----------
    offset_mm : (3,) ndarray, optional
        Of the subject, beside what the phantom states.
    """
    scanner = scanner_of(spec)
    shift = np.zeros(3) if offset_mm is None else offset_mm
    if level >= 2:
        shift = shift + np.array(scanner.shift_mm)
    seen = still = mixture_of(spec, mixture, scan, shift)
    amounts = _amounts(spec, still, scan, shift, pooled=level >= 1)
    field = field_of(spec, scan) if level >= 2 else None
    if field is not None:
        seen = mixture_of(spec, mixture, scan, shift + field.shift_mm)
    tissue = seen.paint({r.name: tissue_hu(spec, r.name, scan) for r in spec.regions}, outside=AIR_HU)
    if field is not None:
        tissue = carried(tissue, still.grid, field, mass=False)
        amounts = {name: carried(image, still.grid, field, mass=True) for name, image in amounts.items()}
    return Composition(seen, tissue, amounts)


def mixture_of(
    spec: PhantomSpec, mixture: Mixture, scan: CtScan, shift_mm: npt.NDArray[np.float64] | None = None
) -> Mixture:
    """The regions as a scan finds them: swollen where they are, and all moved by a shift."""
    swollen = {region.name: growth(spec, region.name, scan) for region in spec.regions}
    shift = np.zeros(3) if shift_mm is None else shift_mm
    if not shift.any() and all(factor == 1.0 for factor in swollen.values()):
        return mixture
    shapes = {
        region.name: [
            Altered(shape, swollen[region.name] ** (1 / 3)) if swollen[region.name] > 1 else shape
            for shape in region_shapes(spec.template, region)
        ]
        for region in spec.painted()
    }
    x, y, z = (float(value) for value in shift)
    found = rasterise(shapes, moved_grid(mixture.grid, (x, y, z)))
    return Mixture(found.names, found.labels, found.mixed, found.shares, mixture.grid)


def field_of(spec: PhantomSpec, scan: CtScan) -> Field | None:
    """How the subject lies during a scan against the first fraction; None where it lies the same."""
    deformation = scanner_of(spec).deformation
    if deformation is None or scan.step == 0.0:
        return None
    centre = region_shapes(spec.template, spec.region(deformation.region))[0].norms().centre
    return Field.at(deformation, centre, scan.step)


def is_pooled(spec: PhantomSpec, region: str) -> bool:
    """Whether the agent lies in pools in a region."""
    pools = scanner_of(spec).pools
    return pools is not None and pools.region == region


def _amounts(
    spec: PhantomSpec, mixture: Mixture, scan: CtScan, shift_mm: npt.NDArray[np.float64], *, pooled: bool
) -> dict[str, Float32Array]:
    """Concentration of each material."""
    found: dict[str, Float32Array] = {}
    if not scan.agent:
        return found
    for material in materials_of(spec):
        values = dict.fromkeys(mixture.names, 0.0)
        for region in spec.regions:
            holds = region.states("concentration") is not None and material_of(spec, region.name) == material
            if holds and not (pooled and is_pooled(spec, region.name)):
                values[region.name] = concentration_mg_ml(spec, region.name, scan)
        found[material] = mixture.paint(values)
    pools = scanner_of(spec).pools
    if pooled and pools is not None:
        found[material_of(spec, pools.region)] += _pools(spec, mixture, scan, shift_mm)
    return found


def _pools(
    spec: PhantomSpec, mixture: Mixture, scan: CtScan, shift_mm: npt.NDArray[np.float64]
) -> Float32Array:
    """Concentration of a suspension that lies in pools, with the mass that the region holds on average."""
    pools = scanner_of(spec).pools
    assert pools is not None  # noqa: S101
    out = np.zeros(mixture.grid.shape, np.float32, order="F")
    share, bigger = filled_share(spec, pools.region, scan), growth(spec, pools.region, scan)
    if share == 0.0:
        return out
    shapes = region_shapes(spec.template, spec.region(pools.region))
    volume_ml = mixture.volumes_ml()[pools.region]
    x, y, z = (float(value) for value in shift_mm)
    job = pool_job(
        [Altered(shape, bigger ** (1 / 3), pools.margin_mm) for shape in shapes],
        round(volume_ml / bigger * share, 9),
        pools.size_mm,
        spec.seed,
        moved_grid(mixture.grid, (x, y, z)),
    )
    window, shares = pool_shares(job)
    mass_mg = concentration_mg_ml(spec, pools.region, scan) * volume_ml
    total = float(shares.sum(dtype=np.float64)) * mixture.grid.voxel_volume_ml
    out[window] = shares * np.float32(mass_mg / total)
    return out
