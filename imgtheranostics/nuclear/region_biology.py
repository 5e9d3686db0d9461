"""Radiobiology of regions whose dose comes from scans: alpha/beta as given, protraction from their curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imgtheranostics.data.nuclides import nuclide
from imgtheranostics.errors import Caution, MissingMetadata
from imgtheranostics.nuclear.dose_statistics import Biology, by_region, region_protraction
from imgtheranostics.nuclear.dose_volume import DOSES
from imgtheranostics.nuclear.radiobiology import g_factor
from imgtheranostics.nuclear.scan_dosimetry import INTEGRATED, Dosimetry
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume


def biology_of_regions(
    found: Dosimetry,
    scans: Sequence[Volume | Estimate],
    rois: Regions,
    *,
    alpha_beta_gy: Mapping[str, float] | float,
    repair_half_life_s: float,
    dose_rate_half_life_s: float | None = None,
    model: str = "auto",
    **keywords: Any,
) -> tuple[dict[str, Biology], tuple[Caution, ...]]:
    """What BED and EQD2 of each region need.

    Parameters
    ----------
    found : Dosimetry
        Of these scans.
    scans : sequence of Volume or Estimate
    rois : Regions
    alpha_beta_gy : float or mapping of region to float
        Of all regions, or of those that are named.
    repair_half_life_s : float
        Of sublethal damage.
    dose_rate_half_life_s : float, optional
        Of the dose rate of all regions. Without it that of a single scan's activity, or the exponentials of
        each region's mean curve.
    model, **keywords
        As in `region_protraction`.

    Returns
    -------
    dict of region to Biology, tuple of Caution

    Raises
    ------
    MissingMetadata
        If a map of decays or dose comes without the half-life of the dose rate.
    ImgTheranosticsError, ValueError
        As `region_protraction`.
    """
    ratios: dict[str, float] = by_region(alpha_beta_gy, rois)
    volumes = [one.value if isinstance(one, Estimate) else one for one in scans]
    cautions: tuple[Caution, ...] = ()
    half_life = dose_rate_half_life_s
    curve = found.decays.decisions.get("curve") if isinstance(found.decays, Estimate) else None
    if half_life is None and curve is not None:
        half_life = float(curve["effective_half_life_s"])
    if half_life is not None:
        factors = dict.fromkeys(ratios, float(g_factor(half_life, repair_half_life_s)))
    elif volumes[0].quantity in (*INTEGRATED, *DOSES):
        raise MissingMetadata(
            "a map of decays, or of dose, does not say how fast the dose was given",
            needed="the half-life of the dose rate",
            next_step="give dose_rate_half_life_s (--dose-rate-half-life 31h)",
        )
    else:
        decay_s = None if found.twin is None else nuclide(found.twin).half_life_s
        factors, cautions = region_protraction(
            volumes,
            rois.subset(list(ratios)),
            repair_half_life_s,
            half_life_s=decay_s,
            model=model,
            **keywords,
        )
    return {name: Biology(ratio, factors[name]) for name, ratio in ratios.items()}, cautions
