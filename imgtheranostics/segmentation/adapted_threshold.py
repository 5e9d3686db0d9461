"""Lesions by a threshold that follows their own uptake and the background around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imgtheranostics.errors import Caution, NothingUsable
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation.blurred_sphere import edge_over_mean
from imgtheranostics.segmentation.growing import check_connectivity, grown
from imgtheranostics.segmentation.outlines import Outline, as_regions
from imgtheranostics.segmentation.search_regions import (
    BoolArray,
    Place,
    SearchRegion,
    Seeds,
    search_regions,
    static_volume,
)
from imgtheranostics.segmentation.surroundings import FEWEST, Background, given_background, surroundings
from imgtheranostics.segmentation.threshold_regions import highest
from imgtheranostics.volume import Estimate, Volume

CORE = 0.7
"""Share of the maximum above which voxels are the core of a lesion, whose mean is its uptake."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """``threshold = core_weight x mean of the core + background_weight x background``.

    Attributes
    ----------
    core_weight, background_weight : float or None
        None where both follow from size and resolution.
    source, provenance : str
    """

    core_weight: float | None
    background_weight: float | None
    source: str
    provenance: str


SCHEMES = {
    "half_way": Scheme(
        0.5,
        0.5,
        "half way from background to uptake, where a symmetric blur leaves the edge of a large object",
        "computed",
    ),
    "sphere": Scheme(
        None,
        None,
        "the level at the edge of a sphere of that volume and mean, blurred by the resolution; after Jentzen",
        "computed",
    ),
    "nestle": Scheme(0.15, 1.0, "Nestle 2005, J Nucl Med 46:1342", "unconfirmed"),
}
"""The schemes by name; weights of an own scanner can be given instead."""

FEW_IN_CORE = "uptake-of-few-voxels"
"""Code of the caution that noise or uneven uptake raises a threshold."""

_MOST_ROUNDS = 60
_SETTLED = 1e-4
_NEARLY = 0.95
_LEAST_CORE = 0.2  # of the lesion: a point spread alone has 0.37
_SMALLEST_RADIUS = 0.5  # of the resolution: half of it, where a sphere looks like the point spread


def adaptive_threshold(
    x: Volume | Estimate,
    scheme: str = "half_way",
    *,
    weights: tuple[float, float] | None = None,
    background: Background = None,
    seeds_mm: Seeds | None = None,
    within: Regions | None = None,
    reach_mm: float | None = None,
    resolution_mm: float | None = None,
    connectivity: int = 6,
) -> Regions:
    """Voxels above a threshold between background and uptake, found by iteration.

    The uptake is the mean of the lesion's core, of all voxels that reach 70 % of the maximum, or for
    ``sphere`` the mean of the lesion, which noise raises less; the background is the median of a shell around
    the lesion, or given. Both follow the lesion as it is found.

    Parameters
    ----------
    x : Volume or Estimate
    scheme : {"half_way", "sphere", "nestle"}
        See `SCHEMES`. ``half_way`` is right to 5 % for spheres of four times the resolution or more and to
        10 % for those of twice; smaller ones come out too large. ``sphere`` knows the resolution and is right
        for spheres down to twice it, as far as the voxels allow [1]_. ``nestle`` has the constants of one
        scanner [2]_.
    weights : (float, float), optional
        Of the core and of the background, as calibrated on an own scanner with spheres; instead of a scheme.
    background : float or Regions, optional
        In the unit of `x`, or one region of it. By default the shell around the lesion, three voxels thick,
        after a gap of three voxels, or of the resolution where that is given.
    seeds_mm, within, reach_mm, connectivity
        As in `fixed_threshold`; one of seeds and regions is needed.
    resolution_mm : float, optional
        Full width at half maximum of the image's resolution; needed by ``sphere``.

    Returns
    -------
    Regions
        The history tells threshold, background, uptake and number of rounds of each lesion.

    Raises
    ------
    ValueError
        If an option makes no sense.
    NothingUsable
        If a lesion does not stand out from its background, or has none around it.
    ImplausibleValue, GeometryMismatch, UnsupportedInput
        As `fraction_of_maximum`.

    References
    ----------
    .. [1] van Dalen JA et al., Nucl Med Commun 2007;28:485: thresholds that follow size and resolution;
       Jentzen W, J Nucl Med Technol 2015;43:28: by the mean of the lesion instead of its maximum.
    .. [2] Nestle U et al., J Nucl Med 2005;46:1342.
    """
    v = static_volume(x)
    check_connectivity(connectivity)
    rule = _rule(scheme, weights, resolution_mm)
    level = given_background(v, background)
    searches = search_regions(
        v,
        seeds_mm=seeds_mm,
        within=within,
        reach_mm=reach_mm,
        surroundings_mm=(resolution_mm or 0.0) + 4.0 * max(v.grid.spacing_mm),
    )

    def outlined(search: SearchRegion) -> Sequence[Outline]:
        return [settled_outline(search, rule, level, resolution_mm, connectivity)]

    return as_regions(
        v,
        searches,
        outlined,
        "adaptive",
        connectivity=connectivity,
        resolution_mm=resolution_mm,
        scheme="own" if weights is not None else scheme,
        core_weight=rule.core_weight,
        background_weight=rule.background_weight,
        source=rule.source,
        provenance=rule.provenance,
        background_from="given" if level is not None else "shell around the lesion",
        resolution_given_mm=resolution_mm,
    )


def _rule(scheme: str, weights: tuple[float, float] | None, resolution_mm: float | None) -> Scheme:
    if weights is not None:
        core, around = (float(value) for value in weights)
        if not (0 < core <= 1 and 0 <= around < np.inf):
            raise ValueError(f"weights are one above 0 up to 1 and one not below 0, not {weights!r}")
        return Scheme(core, around, "own calibration", "given")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, not {scheme!r}")
    if scheme == "sphere" and resolution_mm is None:
        raise ValueError("the scheme sphere needs resolution_mm")
    return SCHEMES[scheme]


def settled_outline(
    search: SearchRegion,
    rule: Scheme,
    background: float | None,
    resolution_mm: float | None,
    connectivity: int,
) -> Outline:
    """Iterate threshold, lesion, core and background until the threshold stays.

    Parameters
    ----------
    search : SearchRegion
    rule : Scheme
    background : float, optional
        Given; else that around the lesion.
    resolution_mm : float, optional
    connectivity : int
    """
    top = search.top()
    low = background if background is not None else _low_level(search)
    threshold = low + 0.5 * (float(search.values[top]) - low)
    seen: list[float] = []
    done = turning = False
    for _ in range(_MOST_ROUNDS):
        mask = grown(search, threshold, top, connectivity)
        top = highest(search, mask)
        around = background
        if around is None:
            shell = surroundings(search, mask, resolution_mm=resolution_mm, below=threshold)
            if shell.n_voxels < FEWEST and threshold < _NEARLY * float(search.values[top]):
                # the lesion took its background in: begin again from higher up
                threshold = 0.5 * (threshold + float(search.values[top]))
                continue
            around = shell.known(search)
        core, core_share = _uptake(search, mask, top, rule)
        wanted = _threshold(search, mask, rule, core, around, resolution_mm)
        if not around < wanted < float(search.values[top]):
            raise NothingUsable(
                "a lesion does not stand out from its background",
                where=search.name,
                found=f"a threshold of {wanted:.4g} between {around:.4g} around it and "
                f"{search.values[top]:.4g} {search.volume.unit} in it",
                next_step="look where the seed or region lies, or give the background",
            )
        done = abs(wanted - threshold) <= _SETTLED * abs(wanted)
        turning = wanted in seen
        seen.append(wanted)
        if done or turning:
            break
        threshold = wanted
    cautions = () if done or turning else (_unsettled(search),)
    if core_share < _LEAST_CORE:
        cautions = (*cautions, _few_in_core(search, core_share))
    found = {"uptake": core, "rounds": len(seen)}
    return Outline(mask, top, threshold, around, found, warnings=cautions)


def _low_level(search: SearchRegion) -> float:
    """A level that a quarter of the search region and its surroundings lie below, to begin with."""
    values = search.values[np.isfinite(search.values)]
    return float(np.percentile(values, 25.0))


def _uptake(search: SearchRegion, mask: BoolArray, top: Place, rule: Scheme) -> tuple[float, float]:
    """Uptake of a lesion, and the share of its voxels that it is the mean of."""
    if rule.core_weight is None:
        return float(np.mean(search.values[mask], dtype=np.float64)), 1.0
    core = mask & (search.values >= CORE * float(search.values[top]))
    share = np.count_nonzero(core) / np.count_nonzero(mask)
    return float(np.mean(search.values[core], dtype=np.float64)), float(share)


def _threshold(
    search: SearchRegion,
    mask: BoolArray,
    rule: Scheme,
    core: float,
    around: float,
    resolution_mm: float | None,
) -> float:
    if rule.core_weight is not None and rule.background_weight is not None:
        return rule.core_weight * core + rule.background_weight * around
    assert resolution_mm is not None  # noqa: S101
    volume_mm3 = 1000.0 * np.count_nonzero(mask) * search.grid.voxel_volume_ml
    radius = max((3.0 * volume_mm3 / (4.0 * np.pi)) ** (1.0 / 3.0), _SMALLEST_RADIUS * resolution_mm)
    return around + edge_over_mean(float(radius), resolution_mm) * (core - around)


def _unsettled(search: SearchRegion) -> Caution:
    text = f"{search.name}: the threshold did not settle in {_MOST_ROUNDS} rounds; the last one was taken"
    return Caution("threshold-not-settled", text, search.name)


def _few_in_core(search: SearchRegion, share: float) -> Caution:
    text = (
        f"{search.name}: only {100 * share:.0f} % of the lesion's voxels reach 70 % of its maximum: noise or "
        "uneven uptake raises the threshold; scheme sphere, or a smoothed image, suffers less from it"
    )
    return Caution(FEW_IN_CORE, text, search.name)
