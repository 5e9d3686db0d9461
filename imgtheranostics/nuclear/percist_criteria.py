"""PERCIST: the uptake above which a lesion can be measured, from liver or blood, and the lesions above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from imgtheranostics.errors import Caution, NothingUsable, UnitMismatch
from imgtheranostics.regions import Regions
from imgtheranostics.segmentation.growing import check_connectivity
from imgtheranostics.segmentation.lesion_cautions import equivalent_diameter_mm
from imgtheranostics.segmentation.outlines import Outline, as_regions
from imgtheranostics.segmentation.search_regions import SearchRegion, Seeds, search_regions, static_volume
from imgtheranostics.segmentation.sphere_peak import peak_of_voxels
from imgtheranostics.segmentation.threshold_regions import parts_above
from imgtheranostics.volume import Estimate, Volume

Reference = Literal["liver", "blood"]

FACTORS: dict[Reference, float] = {"liver": 1.5, "blood": 2.0}
"""What the mean of the reference is multiplied by [unconfirmed]; twice its standard deviation is added."""

SD_TIMES = 2.0

LIVER_BALL_MM = 30.0
"""Diameter of the ball in the right lobe of the liver."""

LEAST_MM = 20.0
"""Diameter of a lesion below which PERCIST does not recommend to follow it."""

_VOLUME_SLACK = 0.25


@dataclass(frozen=True)
class PercistThreshold:
    """The least SULpeak of a measurable lesion.

    Attributes
    ----------
    value : float
        `factor` x `mean` + 2 x `sd`, in g/mL.
    reference : {"liver", "blood"}
    region : str
    mean, sd : float
        Of the voxels of the reference.
    n_voxels : int
    volume_ml : float
    factor : float
    warnings : tuple of Caution
    """

    value: float
    reference: Reference
    region: str
    mean: float
    sd: float
    n_voxels: int
    volume_ml: float
    factor: float
    warnings: tuple[Caution, ...] = ()


def percist_threshold(
    x: Volume | Estimate,
    reference: Regions,
    *,
    kind: Reference = "liver",
    factor: float | None = None,
) -> PercistThreshold:
    """The least SULpeak of a lesion that PERCIST measures.

    1.5 times the mean of the liver plus two standard deviations, in a ball of 3 cm in its right lobe; where
    the liver is diseased, 2 times the mean of the blood in the aorta plus two standard deviations [1]_.

    Parameters
    ----------
    x : Volume or Estimate
        SUV by lean body mass (SUL), without further axes.
    reference : Regions
        One region; `imgtheranostics.segmentation.ball_regions` makes the ball in the liver.
    kind : {"liver", "blood"}
    factor : float, optional
        Instead of 1.5 or 2.

    Returns
    -------
    PercistThreshold

    Raises
    ------
    UnitMismatch
        If the image is no SUL.
    ValueError
        If the kind is not known, or there are several regions.
    NothingUsable
        If the reference has fewer than two voxels with a value, or no uptake.
    GeometryMismatch, UnsupportedInput
        If it lies on another grid, or the image is a series.

    References
    ----------
    .. [1] Wahl RL et al., J Nucl Med 2009;50 Suppl 1:122S, doi:10.2967/jnumed.108.057307.
    """
    v = _lean(x)
    if kind not in FACTORS:
        raise ValueError(f"kind must be one of {', '.join(FACTORS)}, not {kind!r}")
    if len(reference) != 1:
        raise ValueError(f"the reference is one region, not {len(reference)}: use Regions.subset")
    times = FACTORS[kind] if factor is None else float(factor)
    if not 0 < times < np.inf:
        raise ValueError(f"factor is a number above 0, not {factor!r}")
    name = next(iter(reference))
    (voxels,) = reference.fit_to(v.grid).voxel_lists()
    values = v.planar[0][voxels].astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size < 2 or not values.mean() > 0:
        raise NothingUsable(
            "the reference of PERCIST holds no uptake",
            where=name,
            found=f"{values.size} voxels with a value",
            needed="a ball of 3 cm in the liver, or a piece of the aorta",
        )
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    volume = values.size * v.grid.voxel_volume_ml
    return PercistThreshold(
        times * mean + SD_TIMES * sd,
        kind,
        name,
        mean,
        sd,
        int(values.size),
        volume,
        times,
        _reference_cautions(name, kind, volume, voxels.size - values.size),
    )


def _lean(x: Volume | Estimate) -> Volume:
    v = static_volume(x)
    if not v.quantity.startswith("suv_lbm_"):
        raise UnitMismatch(
            "PERCIST needs SUV by lean body mass (SUL)",
            found=f"{v.quantity} [{v.unit}]",
            needed="suv_lbm_janmahasatian, suv_lbm_james120 or suv_lbm_james128",
            next_step="quantify it so: nuclear.suv(v, 'lbm_janmahasatian') needs weight, height and sex",
        )
    return v


def _reference_cautions(name: str, kind: Reference, volume_ml: float, n_missing: int) -> tuple[Caution, ...]:
    found = []
    if kind == "liver":
        ball = np.pi / 6.0 * (0.1 * LIVER_BALL_MM) ** 3
        if abs(volume_ml - ball) > _VOLUME_SLACK * ball:
            text = (
                f"the reference in the liver is {volume_ml:.3g} mL, not a ball of 3 cm ({ball:.3g} mL): its "
                "standard deviation, and so the threshold, depends on size and place"
            )
            found.append(Caution("reference-not-3-cm", text, name))
    if n_missing:
        found.append(Caution("missing-voxels", f"{name}: {n_missing} voxels have no value", name))
    return tuple(found)


def percist_lesions(
    x: Volume | Estimate,
    threshold: PercistThreshold,
    *,
    seeds_mm: Seeds | None = None,
    within: Regions | None = None,
    reach_mm: float | None = None,
    connectivity: int = 6,
    resolution_mm: float | None = None,
) -> Regions:
    """Measurable lesions: connected voxels above the threshold whose SULpeak reaches it as well.

    Parameters
    ----------
    x : Volume or Estimate
        SUL, the image of the threshold.
    threshold : PercistThreshold
    seeds_mm, within, reach_mm, connectivity, resolution_mm
        As in `imgtheranostics.segmentation.fixed_threshold`. Every part of a region above the threshold is a
        lesion of its own; without regions and seeds the whole image is searched, with brain, heart and
        bladder.

    Returns
    -------
    Regions
        The history tells the SULpeak of each; a caution tells how many parts were not measurable.

    Raises
    ------
    UnitMismatch
        If the image is no SUL.
    NothingUsable
        If no lesion is measurable.
    ValueError, GeometryMismatch, UnsupportedInput
        As `fixed_threshold`; also where voxels are larger than the sphere of the peak.
    """
    v = _lean(x)
    check_connectivity(connectivity)
    searches = search_regions(v, seeds_mm=seeds_mm, within=within, reach_mm=reach_mm, whole=True)
    kept: dict[str, list[Outline]] = {}
    left_out: dict[str, int] = {}
    highest = 0.0
    for search in searches:
        parts, refused, seen = _measurable(search, threshold, connectivity)
        kept[search.name], left_out[search.name] = parts, refused
        highest = max(highest, seen)
    if not any(kept.values()):
        raise NothingUsable(
            "no lesion is measurable by PERCIST",
            found=f"a SULpeak of at most {highest:.3g} {v.unit}",
            needed=f"{threshold.value:.3g} {v.unit}",
            next_step="measure with another method (fraction, adaptive), or check the reference",
        )
    found = as_regions(
        v,
        [search for search in searches if kept[search.name]],
        lambda search: kept[search.name],
        "percist",
        connectivity=connectivity,
        resolution_mm=resolution_mm,
        threshold=threshold.value,
        reference=threshold.reference,
        reference_mean=threshold.mean,
        reference_sd=threshold.sd,
        reference_volume_ml=threshold.volume_ml,
        factor=threshold.factor,
        sd_times=SD_TIMES,
    )
    cautions = (*threshold.warnings, *found.warnings, *_left_out(left_out))
    return Regions(found.labels, found.names, found.grid, cautions, found.history)


def _measurable(
    search: SearchRegion, threshold: PercistThreshold, connectivity: int
) -> tuple[list[Outline], int, float]:
    """Lesions, how many parts were none, and the highest SULpeak."""
    if not (search.values[search.inside] >= threshold.value).any():
        return [], 0, float(search.values[search.inside].max())
    try:
        parts = parts_above(search, threshold.value, "each", connectivity)
    except NothingUsable:
        if search.seed is None:
            raise
        return [], 1, float(search.values[search.climbed()])
    kept: list[tuple[Outline, float]] = []
    highest = 0.0
    for part in parts:
        box = part.search or search
        peak = peak_of_voxels(search.volume, box.flat(part.mask))
        highest = max(highest, peak)
        if peak >= threshold.value:
            kept.append((part, peak))
    digits = len(str(len(kept)))
    lesions = [
        Outline(
            part.mask,
            part.top,
            threshold.value,
            found={"sul_peak": peak},
            search=part.search,
            suffix=f"-{number:0{digits}d}" if len(kept) > 1 else "",
            warnings=_small(search, part),
        )
        for number, (part, peak) in enumerate(kept, start=1)
    ]
    return lesions, len(parts) - len(kept), highest


def _small(search: SearchRegion, part: Outline) -> tuple[Caution, ...]:
    across = equivalent_diameter_mm(int(np.count_nonzero(part.mask)) * search.grid.voxel_volume_ml)
    if across >= LEAST_MM:
        return ()
    text = f"{search.name}: a lesion is {across:.3g} mm across; PERCIST recommends {LEAST_MM:g} mm or more"
    return (Caution("lesion-below-percist-size", text, search.name),)


def _left_out(counts: dict[str, int]) -> tuple[Caution, ...]:
    return tuple(
        Caution(
            "lesions-not-measurable",
            f"{name}: {count} parts above the threshold have a SULpeak below it, and were left out",
            name,
        )
        for name, count in counts.items()
        if count
    )
