"""How well maps of one agent by CT and by other modalities agree, voxel by voxel after registration."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.phantom.cases import Case
from imgtheranostics.phantom.physics import Part, parts_of
from imgtheranostics.regions import FWHM_PER_SD
from imgtheranostics.units import conversion_factor
from imgtheranostics.validation import ct_maps
from imgtheranostics.validation.methods import MethodMissing, method
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

COMMON_FWHM_MM = 1.5
"""Resolution at which maps are compared: noise of single voxels is not what two modalities have in common."""
CORE = "_core"
_LEAST_WEIGHT = 0.5


@method("correlation", unit="1", short="correlation")
def correlation(session: Session, expectation: Expectation) -> float:
    """Correlation of voxels of the CT map with those of CEST in the same state: the lowest of all states.

    Over all tissue that shows in both, at a common resolution.
    """
    found = []
    for volume, _ in expectation.places:
        of_ct = _value(ct_maps.concentration(session, volume))
        of_cest = _value(session.quantified(_cest_of(session, volume), "mtr_asym"))
        inside = np.isfinite(of_ct.data) & np.isfinite(of_cest.data) & _tissue(session)
        x, y = (_smooth(image.data, inside, image.grid.spacing_mm) for image in (of_ct, of_cest))
        kept = np.isfinite(x) & np.isfinite(y)
        found.append(float(np.corrcoef(x[kept], y[kept])[0, 1]))
    return min(found)


@method("agreement", unit="1", short="agreement")
def agreement(session: Session, expectation: Expectation) -> float:
    """Bland-Altman bias of concentration by SPECT, CT and MRI, relative: the largest of all pairs.

    Over the voxels of organs that hold the agent, away from their edges, at a common resolution; what tissue
    without an organ of its own holds is too little for a relative difference.
    """
    spec = session.phantom.spec
    maps = [_concentration(session, part) for part in parts_of(spec)]
    if len(maps) < 2:
        raise MethodMissing("agreement of one modality")
    inside = _organs(session)
    smooth = [_smooth(one.data, np.isfinite(one.data), one.grid.spacing_mm)[inside] for one in maps]
    biases = [float(np.nanmean(2 * (a - b) / (a + b))) for a, b in combinations(smooth, 2)]
    return max(biases, key=abs)


def _concentration(session: Session, part: Part) -> Volume:
    """Concentration of the particle, mg/mL, by one modality; from uptake by what was injected."""
    spec = session.phantom.spec
    if part.physics.modality in ("CT", "MRI"):
        return _value(session.quantified(part.first, "concentration"))
    dose = spec.administration.dose
    if part.physics.modality not in ("PET", "SPECT") or dose is None:
        raise MethodMissing(f"concentration by {part.physics.modality}")
    injected_mg = dose.value * conversion_factor(dose.unit, "mg/kg") * spec.subject.weight_kg
    uptake = _value(session.quantified(part.first, "id_per_ml"))
    return uptake.replace(
        data=uptake.data * np.float32(injected_mg / 100), quantity="concentration", unit="mg/mL"
    )


def _cest_of(session: Session, volume: int) -> int:
    """The CEST scan of the same state as a CT scan, at the strongest saturation."""
    case = ct_maps.scan_of(session, volume).case
    for part in parts_of(session.phantom.spec):
        if part.physics.modality == "CEST":
            cases = part.physics.cases(session.phantom.spec)
            alike = [n for n, other in enumerate(cases) if _same(case, other)]
            if alike:
                return part.first + max(alike, key=lambda n: float(cases[n].get("saturation_b1", 0.0)))
    raise MethodMissing("CEST scan of the same state")


def _same(case: Case, other: Case) -> bool:
    return all(other.get(kind) == value for kind, value in case.items())


def _value(found: Volume | Estimate) -> Volume:
    value = found.value if isinstance(found, Estimate) else found
    return value.frame(0) if value.data.ndim > 3 else value


def _tissue(session: Session) -> BoolArray:
    """Regions that show in MR images."""
    phantom = session.phantom
    shown = [r for r in phantom.spec.regions if (t := r.states("proton_density")) and t.in_own_unit() > 0.5]
    names = [region.name for region in shown if region.name in phantom.regions.names.values()]
    return np.asarray(np.any([phantom.regions.mask(name) for name in names], axis=0))


def _organs(session: Session) -> BoolArray:
    """Cores of the regions that hold at least a fifth of the most that any holds."""
    phantom = session.phantom
    held = {r.name: t.in_own_unit() for r in phantom.spec.regions if (t := r.states("concentration"))}
    known = phantom.regions.names.values()
    names = [f"{name}{CORE}" for name, value in held.items() if value >= 0.2 * max(held.values())]
    return np.asarray(np.any([phantom.regions.mask(name) for name in names if name in known], axis=0))


def _smooth(
    image: npt.NDArray[np.floating], inside: BoolArray, spacing_mm: tuple[float, float, float]
) -> FloatArray:
    """A map at the common resolution, of the voxels inside alone; NaN where they weigh too little."""
    from scipy.ndimage import gaussian_filter

    sd = [COMMON_FWHM_MM / FWHM_PER_SD / spacing for spacing in spacing_mm]
    weight = gaussian_filter(inside.astype(np.float64), sd)
    total = gaussian_filter(np.where(inside, image, 0.0).astype(np.float64), sd)
    enough = inside & (weight > _LEAST_WEIGHT)
    return np.where(enough, total / np.maximum(weight, _LEAST_WEIGHT), np.nan)
