"""Ratios of regions, such as tumour over liver, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from imgtheranostics.errors import Caution, merge_cautions
from imgtheranostics.mapping.ratio_interval import ratio_interval
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.msot.light_caution import light_cautions
from imgtheranostics.msot.region_averages import Blanks, RegionMean, region_mean_series
from imgtheranostics.pickling import reduced
from imgtheranostics.regions import Regions
from imgtheranostics.volume import Estimate, Volume

HELD_SHARE = 0.05
"""Share of a region's voxels held at zero above which its mean counts as biased."""


@dataclass(frozen=True, eq=False)
class RegionRatio:
    """One region's mean over another's.

    Attributes
    ----------
    value : float
        NaN where the denominator is not above 0.
    standard_error : float
        By the delta method; the interval, which is not symmetric, says more.
    low, high : float
        Interval by Fieller's theorem; `high` is infinite where the denominator is not above its noise.
    level : float
        Probability of the interval.
    numerator, denominator : RegionMean
    decisions : mapping
    warnings : tuple of Caution
    """

    value: float
    standard_error: float
    low: float
    high: float
    level: float
    numerator: RegionMean
    denominator: RegionMean
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "decisions", MappingProxyType(dict(self.decisions)))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self, decisions=dict(self.decisions))

    @property
    def interval(self) -> tuple[float, float]:
        """The two ends."""
        return self.low, self.high


def region_ratio(
    x: Volume | Estimate,
    rois: Regions,
    region: str,
    *,
    over: str,
    blanks: Blanks = None,
    resolution_mm: float | Sequence[float] | None = None,
    relative_uncertainty: float = 0.0,
    level: float = 0.95,
    workers: int | None = None,
) -> RegionRatio:
    """Mean of one region over that of another in one image, with an interval.

    What scales the whole image cancels: arbitrary units and the error of a calibration. What differs between
    the regions, such as light that was not corrected for, does not.

    Parameters
    ----------
    x : Volume or Estimate
        Amounts of a component, with negative voxels as they are.
    rois : Regions
    region, over : str
        Names of numerator and denominator.
    blanks, resolution_mm, workers
        As in `imgtheranostics.msot.region_means`: where the standard errors of the means are from.
    relative_uncertainty : float
        Standard uncertainty of each mean relative to it, which the two do not share: that of the light at
        either place. Without it the interval is that of noise alone.
    level : float
        Probability of the interval.

    Returns
    -------
    RegionRatio

    Raises
    ------
    GeometryMismatch, NothingUsable
        As `imgtheranostics.msot.region_means`.
    UnknownChoice
        If a region does not exist, or is its own denominator.
    ValueError
        If the image has further axes, or `level` is no probability.

    Notes
    -----
    Fieller's theorem: the interval holds all ratios r for which ``numerator - r denominator`` differs from 0
    by less than t of its standard errors, with the degrees of freedom of Welch and Satterthwaite. For a
    denominator within t of its standard errors of 0 no upper end exists.
    """
    value = x.value if isinstance(x, Estimate) else x
    if value.axes:
        raise ValueError(
            f"a ratio needs one image, not one along {value.axes[0].name}: use region_ratio_series"
        )
    (ratio,) = region_ratio_series(
        x,
        rois,
        region,
        over=over,
        blanks=blanks,
        resolution_mm=resolution_mm,
        relative_uncertainty=relative_uncertainty,
        level=level,
        workers=workers,
    )
    return ratio


def region_ratio_series(
    x: Volume | Estimate,
    rois: Regions,
    region: str,
    *,
    over: str,
    blanks: Blanks = None,
    resolution_mm: float | Sequence[float] | None = None,
    relative_uncertainty: float = 0.0,
    level: float = 0.95,
    workers: int | None = None,
) -> tuple[RegionRatio, ...]:
    """`region_ratio` of each image of a series, the last axis slowest; parameters and errors as there."""
    if region == over:
        raise UnknownChoice(f"region {region!r} cannot be its own denominator")
    if not 0.5 <= level < 1.0:
        raise ValueError(f"level is a probability from 0.5 up to but not 1, not {level!r}")
    if not 0.0 <= relative_uncertainty < math.inf:
        raise ValueError(f"relative_uncertainty is 0 or more, not {relative_uncertainty!r}")
    means = region_mean_series(
        x, rois, (region, over), blanks=blanks, resolution_mm=resolution_mm, workers=workers
    )
    pairs = [[_widened(mean, float(relative_uncertainty)) for mean in pair] for pair in means]
    return tuple(_ratio(x, above, below, level, relative_uncertainty) for above, below in pairs)


def _widened(mean: RegionMean, relative: float) -> RegionMean:
    return replace(mean, standard_error=math.hypot(mean.standard_error, relative * mean.value))


def _ratio(
    x: Volume | Estimate, above: RegionMean, below: RegionMean, level: float, relative: float
) -> RegionRatio:
    value = above.value / below.value if below.value > 0 else math.nan
    low, high = fieller(above, below, level)
    error = math.nan
    if math.isfinite(value):
        error = math.hypot(above.standard_error, value * below.standard_error) / below.value
    decisions = {
        "rule": "mean over mean, interval by Fieller's theorem",
        "numerator": above.decision(),
        "denominator": below.decision(),
        "relative_uncertainty_of_each": relative,
    }
    value_of = x.value if isinstance(x, Estimate) else x
    warnings = merge_cautions(x.warnings, light_cautions(value_of), _cautions(above, below, high))
    return RegionRatio(value, error, low, high, level, above, below, decisions, warnings)


def fieller(above: RegionMean, below: RegionMean, level: float) -> tuple[float, float]:
    """Both ends of the interval of a ratio that is not negative.

    Parameters
    ----------
    above, below : RegionMean
        Independent of each other.
    level : float
    """
    t = _quantile(level, above, below)
    parts = (t * above.standard_error) ** 2, (t * below.standard_error) ** 2
    return ratio_interval(above.value, below.value, *parts)


def _quantile(level: float, above: RegionMean, below: RegionMean) -> float:
    """Of Student's t, two-sided, for ``numerator - ratio denominator``."""
    from scipy import special

    ratio = above.value / below.value if below.value > 0 else 0.0
    parts = above.standard_error**2, (ratio * below.standard_error) ** 2
    weight = parts[0] ** 2 / above.freedom + parts[1] ** 2 / below.freedom
    freedom = (parts[0] + parts[1]) ** 2 / weight if weight > 0 else math.inf
    if not math.isfinite(freedom):
        return float(special.ndtri(0.5 + 0.5 * level))
    return float(special.stdtrit(freedom, 0.5 + 0.5 * level))


def _cautions(above: RegionMean, below: RegionMean, high: float) -> tuple[Caution, ...]:
    found = []
    if not math.isfinite(high):
        text = (
            f"the mean of {below.region} is not above its noise: the ratio has no upper end, only that it is "
            "larger than the lower one"
        )
        found.append(Caution("denominator-not-detected", text, below.region))
    held = [mean.region for mean in (above, below) if mean.held_at_zero > HELD_SHARE]
    if held:
        text = (
            f"in {' and '.join(held)} more than {100 * HELD_SHARE:.0f} % of the voxels are held at zero by "
            "non-negative unmixing, so that the mean is too high; unmix with method='ls' for regions"
        )
        found.append(Caution("mean-of-bounded-amounts", text, ", ".join(held)))
    return tuple(found)
