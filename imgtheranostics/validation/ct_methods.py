"""Measuring methods of the CT phantoms: changes of HU, masses, retention, separated materials, agreement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.phantom.ct_tissue import concentration_mg_ml, material_of, materials_of, stated
from imgtheranostics.regions import roi_statistics
from imgtheranostics.validation import ct_maps
from imgtheranostics.validation.ct_drawing import around, drawn
from imgtheranostics.validation.methods import MethodMissing, method
from imgtheranostics.validation.mri_maps import api
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session

FloatArray = npt.NDArray[np.float64]

VIAL = "vial"
"""Beginning of the names of regions with a known concentration."""
_IODINE = "I"


def change_of_attenuation(session: Session, expectation: Expectation) -> float:
    """Change of HU against the scan without agent: of all images that which lies furthest from the truth."""
    if expectation.quantity != "delta_attenuation":
        raise MethodMissing(f"change of {expectation.quantity}")
    region = _best(session, expectation.region)
    found = [session.mean(place, expectation.quantity, region) for place in expectation.places]
    return _furthest(found, expectation.truth)


@method("mass_recovery", unit="1", short="recovery")
def mass_recovery(session: Session, expectation: Expectation) -> float:
    """Mass in a region that was drawn generously, over what was injected: of all images the worst."""
    found = []
    for volume, _ in expectation.places:
        table = roi_statistics(
            ct_maps.concentration(session, volume), drawn(session, volume, expectation.region)
        )
        mass_mg = float(table["mean"].iloc[0]) * float(table["volume_ml"].iloc[0])
        found.append(mass_mg / injected_mg(session, volume, expectation.region))
    return _furthest(found, expectation.truth)


def injected_mg(session: Session, volume: int, region: str) -> float:
    """What was injected into a region, mg."""
    spec = session.phantom.spec
    amount = stated(spec.region(region), "concentration", ct_maps.scan_of(session, volume).case)
    return (amount or 0.0) * session.phantom.mixture.volumes_ml()[region]


@method("iodine_against_heavy", short="I | heavy")
def iodine_against_heavy(session: Session, expectation: Expectation) -> float:
    """Iodine in a region, told from each of the heavy metals in turn: the one furthest from the truth."""
    heavy = [name for name in materials_of(session.phantom.spec) if name not in ct_maps.LIGHT]
    found = [
        _mean(session, ct_maps.separated(session, [_IODINE, name])[_IODINE], expectation.region)
        for name in heavy
    ]
    return _furthest(found, expectation.truth)


@method("heavy_against_iodine", short="heavy | I")
def heavy_against_iodine(session: Session, expectation: Expectation) -> float:
    """The heavy metal of a region, told from iodine."""
    metal = material_of(session.phantom.spec, expectation.region)
    return _mean(session, ct_maps.separated(session, [_IODINE, metal])[metal], expectation.region)


def vials(session: Session, volume: int) -> tuple[FloatArray, FloatArray]:
    """True and measured concentration of each vial, mg/mL."""
    scan, spec = ct_maps.scan_of(session, volume), session.phantom.spec
    names = [region.name for region in spec.regions if region.name.startswith(VIAL)]
    true = [concentration_mg_ml(spec, name, scan) for name in names]
    measured = [session.mean((volume, 0), "concentration", _best(session, name)) for name in names]
    return np.array(true), np.array(measured)


def _mean(session: Session, found: Volume | Estimate, region: str) -> float:
    """Mean of a map in a region, or in its core where it has one."""
    table = roi_statistics(found, session.phantom.regions)
    return float(dict(zip(table["region"], table["mean"], strict=True))[_best(session, region)])


def _best(session: Session, region: str) -> str:
    """The core of a region, where there is one: it keeps its signal at the image's resolution."""
    core = f"{region}_core"
    return core if core in session.phantom.regions.names.values() else region


def _furthest(found: list[float], truth: float | None) -> float:
    """The value that lies furthest from the truth; NaN if any is."""
    if any(np.isnan(value) for value in found):
        return float("nan")
    return max(found, key=lambda value: abs(value - (truth or 0.0)))


@method("k_edge", short="K-edge")
def k_edge(session: Session, expectation: Expectation) -> float:
    """The metal of a region, told from all others of the phantom by energy bins at their K-edges."""
    metal = material_of(session.phantom.spec, expectation.region)
    return _mean(session, ct_maps.binned(session)[metal], expectation.region)


@method("k_edge_crosstalk", unit="1", short="K-edge rest")
def k_edge_crosstalk(session: Session, expectation: Expectation) -> float:
    """The most that the energy bins show of any metal that a region does not hold, over what it holds."""
    spec, found = session.phantom.spec, ct_maps.binned(session)
    own = material_of(spec, expectation.region)
    means = {name: _mean(session, found[name], expectation.region) for name in materials_of(spec)}
    return max((means[name] for name in means if name != own), key=abs) / means[own]


@method("retention", unit="%", short="retained")
def retention(session: Session, expectation: Expectation) -> float:
    """What is retained at the later fractions, in % of the first, by `ct.retention`: the worst of them.

    The first scan is taken on the same table as that without agent; later ones are registered rigidly, on
    the part of the images around the region.
    """
    volumes = [volume for volume, _ in expectation.places]
    region = expectation.region
    part = around(drawn(session, volumes[0], region))
    material = material_of(session.phantom.spec, region)
    moved = session.phantom.level >= 2
    found = api("retention", "ct")(
        part.image(session.image(ct_maps.before_of(session, volumes[0]))),
        [part.image(session.image(volume)) for volume in volumes],
        part.regions,
        material=material,
        slope=ct_maps.slope_of(session, material, ct_maps.scan_of(session, volumes[0])),
        injected_mg=injected_mg(session, volumes[0], region),
        tumour=region,
        register=[None, *("rigid" if moved else None for _ in volumes[1:])],
    )
    table = found.table
    rows = table[(table["region"] == region) & (table["quantity"] == "retained_fraction")]
    later = [float(value) for value in rows["mean"]][1:]  # the first is all of itself
    return _furthest(later, expectation.truth)
