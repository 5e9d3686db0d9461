"""Concentrations of voxels against the limits of detection and quantification, beside noise alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.report.figures import scene, theme
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, shortened, unit_words, with_unit
from imgtheranostics.volume import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 4
_BINS = 60
_HEIGHT_IN = 2.7
_SDS = 3.3
_FEWEST = 20
_LOWEST_SHARE = 2e-3

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Sample:
    """Voxels of one region, or of one follow-up."""

    label: str
    colour: str
    values: Values

    def share_above(self, limit: float) -> float:
        """Percent of the voxels above a limit."""
        return 100.0 * float(np.count_nonzero(self.values > limit)) / self.values.size


def keys(run: Run) -> tuple[str, ...]:
    """Quantities whose limit of detection of a voxel is known."""
    return tuple(estimate.quantity for estimate in run.maps if _limits(estimate) is not None)


def _limits(estimate: Estimate) -> tuple[float, float] | None:
    found: Any = estimate.decisions.get("detection") or {}
    lod, loq = found.get("voxel_lod_mg_ml"), found.get("voxel_loq_mg_ml")
    if lod is None or loq is None or not (math.isfinite(lod) and lod > 0):
        return None
    return float(lod), float(loq)


def draw(run: Run, quantity: str) -> Drawing:
    """One line per region, on a logarithmic scale of shares."""
    estimate = scene.map_of(run, quantity)
    limits = _limits(estimate)
    assert limits is not None  # noqa: S101 - asked for by `keys`
    samples = _samples(run, estimate, limits[0])
    figure = theme.new_figure(_HEIGHT_IN)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.62 / width, 0.45 / height, 4.6 / width, (_HEIGHT_IN - 0.72) / height))
    _histograms(axes, samples, limits[0])
    axes.set_xlabel(with_unit(quantity, estimate.unit))
    axes.set_ylabel("Voxels [%]")
    _limit_lines(axes, limits)
    for n, sample in enumerate(samples):
        y = 1.0 - (0.3 + 0.34 * n) / height
        figure.text(5.35 / width, y, shortened(sample.label, 26), fontsize=8, color=sample.colour,
                    fontweight="bold", va="top")  # fmt: skip
        text = f"{number(sample.share_above(limits[0]), 3)} % above LOD; n = {sample.values.size:,}"
        figure.text(5.35 / width, y - 0.14 / height, text.replace(",", "\u202f"), fontsize=7, va="top",
                    color=theme.MUTED)  # fmt: skip
    y = 1.0 - (0.3 + 0.34 * len(samples)) / height
    figure.text(5.35 / width, y, "noise alone", fontsize=8, color=theme.MUTED, fontweight="bold", va="top")
    return Drawing(figure, _caption(limits, estimate), _alt(quantity, samples, limits))


def _samples(run: Run, estimate: Estimate, lod: float) -> list[_Sample]:
    """The regions with the most above the limit; of a series the follow-ups of the one with the most."""
    regions = run.regions
    n_samples = estimate.value.planar.shape[0]
    if regions is None or not estimate.grid.same_as(regions.grid):
        flat = [_finite(estimate.value.planar[n], None) for n in range(n_samples)]
        return [_Sample("image", theme.INK, flat[0])] if n_samples == 1 else _follow_ups(estimate, flat)
    first = estimate.value.planar[0]
    found = [
        _Sample(name, theme.region_colour(n), _finite(first, voxels))
        for n, (name, voxels) in enumerate(zip(regions, regions.voxel_lists(), strict=True))
    ]
    ranked = sorted(
        (one for one in found if one.values.size >= _FEWEST), key=lambda one: -one.share_above(lod)
    )
    if n_samples == 1 or not ranked:
        return ranked[:_MOST] or found[:1]
    voxels = regions.voxel_lists()[list(regions).index(ranked[0].label)]
    flat = [_finite(estimate.value.planar[n], voxels) for n in range(n_samples)]
    return _follow_ups(estimate, flat, ranked[0].label)


def _follow_ups(estimate: Estimate, flat: list[Values], region: str = "") -> list[_Sample]:
    found = []
    for n, values in enumerate(flat):
        words = scene.follow_up_words(estimate.value, n).lower()
        label = f"{region}, {words}" if region else words
        found.append(_Sample(label, theme.region_colour(n), values))
    keep = dict.fromkeys(round(float(one)) for one in np.linspace(0, len(found) - 1, min(len(found), _MOST)))
    return [found[n] for n in keep if found[n].values.size]


def _finite(sample: npt.NDArray[Any], voxels: npt.NDArray[Any] | None) -> Values:
    values = np.asarray(sample if voxels is None else sample[voxels], np.float64)
    return values[np.isfinite(values)]


def _histograms(axes: Axes, samples: list[_Sample], lod: float) -> None:
    sd = lod / _SDS
    largest = max(float(np.percentile(one.values, 99.9)) for one in samples)
    edges = np.linspace(-1.5 * lod, max(1.1 * largest, 3.5 * lod), _BINS + 1)
    step = edges[1] - edges[0]
    middle = 0.5 * (edges[1:] + edges[:-1])
    alone = 100.0 * step / (sd * math.sqrt(2 * math.pi)) * np.exp(-0.5 * (middle / sd) ** 2)
    fine = np.linspace(edges[0], 2.0 * lod, 240)
    curve = 100.0 * step / (sd * math.sqrt(2 * math.pi)) * np.exp(-0.5 * (fine / sd) ** 2)
    axes.fill_between(fine, _LOWEST_SHARE, np.maximum(curve, _LOWEST_SHARE), color=theme.RULE, zorder=1)
    highest = float(alone.max())
    for sample in samples:
        counts, _ = np.histogram(np.clip(sample.values, edges[0], edges[-1] - 1e-9 * step), edges)
        share = 100.0 * counts / sample.values.size
        highest = max(highest, float(share.max()))
        axes.stairs(np.maximum(share, _LOWEST_SHARE), edges, color=sample.colour, linewidth=1.2, zorder=3)
    axes.set_yscale("log")
    axes.set_ylim(_LOWEST_SHARE, 2.0 * highest)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_formatter(lambda value, _place: number(value))
    axes.yaxis.set_minor_formatter(lambda _value, _place: "")
    axes.xaxis.set_major_formatter(lambda value, _place: number(value))
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)


def _limit_lines(axes: Axes, limits: tuple[float, float]) -> None:
    for name, limit, style in (("LOD", limits[0], (0, (4, 2))), ("LOQ", limits[1], (0, (1, 1.5)))):
        if limit > axes.get_xlim()[1]:
            continue
        axes.axvline(limit, color=theme.INK, linewidth=0.9, linestyle=style, zorder=2)
        axes.annotate(
            name, (limit, 1.02), xycoords=("data", "axes fraction"), fontsize=7, ha="center", va="bottom"
        )


def _caption(limits: tuple[float, float], estimate: Estimate) -> str:
    unit = unit_words(estimate.unit)
    return (
        "Share of voxels at each concentration. Grey: what noise alone would give. Dashed: limit of "
        f"detection of one voxel, {number(limits[0], 3)} {unit}, exceeded by 0.05 % of noise; dotted: "
        f"limit of quantification, {number(limits[1], 3)} {unit}. The limits of region means are lower, see "
        "the table. What lies beyond an end stands in the last bin."
    )


def _alt(quantity: str, samples: list[_Sample], limits: tuple[float, float]) -> str:
    listed = "; ".join(f"{shortened(one.label)} {number(one.share_above(limits[0]), 3)} %" for one in samples)
    return f"Histogram of {quantity_words(quantity).lower()}; share of voxels above the limit: {listed}."
