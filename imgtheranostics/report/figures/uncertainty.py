"""How sure, voxel by voxel: the standard error on the map's slices, and why voxels have no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.report.figures import layout, picture, planes, scene, theme
from imgtheranostics.report.figures.scene import Scale, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import flag_words, number, quantity_words, unit_words
from imgtheranostics.volume import Estimate, Flag, Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW_IN = 1.75
_FOOT_IN = 0.5
_LEGEND_ROW_IN = 0.17
_FLAG_COLOURS = (
    "#a8afb6",
    "#3f86c4",
    "#e8606d",
    "#c9a227",
    "#a45cc0",
    "#d9772b",
    "#35a9b5",
    "#2f9e58",
    "#8c5a3c",
    "#6f7fd1",
    "#b83b5e",
    "#5b6b7a",
    "#1c7c7d",
)
_CLEAN = "#eceeef"


def keys(run: Run) -> tuple[str, ...]:
    """Maps of uptake with a standard error somewhere, or flags; parameters are shown with both at once."""
    return tuple(e.quantity for e in run.maps if scene.is_uptake(e.quantity) and has_doubt(e))


def has_doubt(estimate: Estimate) -> bool:
    """Whether a map has a standard error somewhere, or flags."""
    known = np.isfinite(scene.sample_of(estimate.standard_error, 0)).any()
    return bool(known or estimate.flags.data.any())


def draw(run: Run, quantity: str) -> Drawing:
    """The standard error of one map above, the flags below when there are any."""
    chosen = scene.scene_of(run, quantity)
    counts = flag_counts(chosen.estimate.flags)
    tiles = chosen.tiles if len(chosen.tiles) <= 6 else chosen.tiles[:6]
    top = layout.grid_of(chosen, tiles, left_in=0.0, width_in=theme.WIDTH_IN, tallest_in=_ROW_IN)
    upper = max(p.top_in + p.height_in for p in top) + layout.LABEL_IN
    legend_in = _LEGEND_ROW_IN * -(-(len(counts) + 1) // 3) if counts else 0.0
    lower = upper + 0.1 if counts else 0.0
    figure = theme.new_figure(upper + lower + _FOOT_IN + legend_in)
    error = scene.sample_of(chosen.estimate.standard_error, chosen.sample_index)
    flags = scene.sample_of(chosen.estimate.flags, chosen.sample_index)
    scale = error_scale(error, scene.region_reach(chosen, error))
    affine = chosen.estimate.value.affine
    for item in top:
        values, inside = planes.sample(error, affine, chosen.stage, item.plane)
        axes, ink = picture.place(figure, item, scene.coloured(values, inside, scale), chosen)
        picture.outline(axes, chosen, item, ink)
    if counts:
        below = layout.grid_of(
            chosen, tiles, left_in=0.0, width_in=theme.WIDTH_IN, tallest_in=_ROW_IN, top_in=upper + 0.1
        )
        for item in below:
            marks, inside = planes.sample(flags, affine, chosen.stage, item.plane)
            picture.place(figure, item, flag_picture(marks, inside), chosen, marked=False)
        _flag_legend(figure, counts)
    unit = unit_words(chosen.estimate.unit, quantity)
    picture.colour_bar(figure, scale, f"Standard error [{unit}]" if unit else "Standard error", legend_in)
    return Drawing(figure, _caption(chosen, counts), _alt(quantity, scale, counts))


def error_scale(error: npt.NDArray[Any], in_regions: float = 0.0, *, bound: bool = False) -> Scale:
    """From zero to the 99th percentile of the finite standard errors, or to that of the regions.

    With `bound`, errors outside the regions do not stretch it to more than twice theirs.
    """
    values = scene.thinned(error)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return Scale(0.0, 1.0, "cividis")
    high = max(float(np.percentile(values, 99.0)), in_regions)
    if bound and in_regions > 0:
        high = min(high, 2.0 * in_regions)
    high = high if high > 0 else float(values.max()) or 1.0
    return Scale(0.0, high, "cividis", "max" if values.max() > high else "neither")


def flag_counts(flags: Volume) -> dict[str, int]:
    """Voxels, over all samples, that carry each flag; flags that none carries are left out."""
    histogram = np.zeros(1 << 16, np.int64)
    for sample in flags.planar:
        if sample.any():
            histogram += np.bincount(sample, minlength=histogram.size)
    codes = np.flatnonzero(histogram)
    counts = {
        str(flag.name): int(histogram[codes[(codes & flag.value) != 0]].sum()) for flag in Flag if flag.name
    }
    return {name: count for name, count in counts.items() if count}


def flag_picture(marks: npt.NDArray[Any], inside: npt.NDArray[np.bool_]) -> scene.Picture:
    """RGB by the lowest flag of each voxel."""
    rgb = np.empty((*marks.shape, 3), np.uint8)
    rgb[...] = scene.rgb_bytes(_CLEAN)
    for flag, colour in reversed(list(zip(Flag, _FLAG_COLOURS, strict=False))):
        rgb[(marks & flag.value) != 0] = scene.rgb_bytes(colour)
    rgb[~inside] = 255
    return rgb


def flag_entries(counts: dict[str, int]) -> list[tuple[str, str]]:
    """Words and colour of each entry of a legend of flags."""
    colours = {str(flag.name): colour for flag, colour in zip(Flag, _FLAG_COLOURS, strict=True)}
    entries = [("no flag", _CLEAN)]
    entries += [
        (f"{flag_words(name)}: {count:,} voxels".replace(",", "\u202f"), colours[name])
        for name, count in counts.items()
    ]
    return entries


def legend_entry(figure: Figure, x_in: float, y_in: float, words: str, colour: str) -> None:
    """A patch of colour with its words, at inches from the lower left corner of the page."""
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches()
    figure.add_artist(
        Rectangle(
            (x_in / width, (y_in - 0.05) / height),
            0.16 / width,
            0.1 / height,
            facecolor=colour,
            edgecolor=theme.MUTED,
            linewidth=0.4,
            transform=figure.transFigure,
        )
    )
    figure.text((x_in + 0.22) / width, y_in / height, words, fontsize=7.5, va="center")


def _flag_legend(figure: Figure, counts: dict[str, int]) -> None:
    width, _ = figure.get_size_inches()
    entries = flag_entries(counts)
    rows = -(-len(entries) // 3)
    for n, (words, colour) in enumerate(entries):
        legend_entry(figure, (n % 3) * width / 3, _LEGEND_ROW_IN * (rows - n // 3 - 0.5), words, colour)


def _caption(chosen: Scene, counts: dict[str, int]) -> str:
    parts = [
        "Standard error of each voxel; the part that all voxels share (calibration) does not shrink when a "
        "region is averaged",
        scene.voxel_words(chosen),
    ]
    if chosen.sample_words:
        parts.append(f"shown at {chosen.sample_words}")
    parts.append("below, why voxels have no value or deserve care" if counts else "no voxel carries a flag")
    return "; ".join(parts) + "."


def _alt(quantity: str, scale: Scale, counts: dict[str, int]) -> str:
    flagged = ", ".join(f"{flag_words(name)} {count}" for name, count in counts.items()) or "none"
    return (
        f"Slices of the standard error of {quantity_words(quantity)}, "
        f"scale from 0 to {number(scale.high, 3)}. "
        f"Flagged voxels: {flagged}."
    )
