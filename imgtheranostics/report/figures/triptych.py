"""Truth, measurement and their difference side by side, with a profile through the measured region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.comparison import Comparison, Picture, Triptych
from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.scene import Scale, coloured
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.wording import number, shortened, unit_words, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP_IN = 0.14
_LABEL_IN = 0.2
_BAR_IN = 0.5
_TALLEST_IN = 3.7
_PROFILE_IN = 1.25
_NARROW = 0.62
_TRUTH_COLOUR, _MEASURED_COLOUR = theme.INK, "#3f86c4"
_TITLES = ("truth", "measured", "measured − truth")


@dataclass(frozen=True, slots=True)
class _Box:
    """A place on the page, in inches from the top left."""

    left: float
    top: float
    width: float
    height: float

    def on(self, figure: Figure) -> Axes:
        width, height = figure.get_size_inches()
        bottom = height - self.top - self.height
        return figure.add_axes((self.left / width, bottom / height, self.width / width, self.height / height))


def keys(comparison: Comparison) -> tuple[str, ...]:
    """Phantoms that have a picture."""
    return tuple(picture.slug for picture in comparison.pictures)


def draw(comparison: Comparison, slug: str) -> Drawing:
    """The triptych of one phantom."""
    chosen = next(picture for picture in comparison.pictures if picture.slug == slug)
    panels, profile, height = _layout(chosen)
    figure = theme.new_figure(height)
    scale, reach = _scale(chosen), _reach(chosen)
    scales = (scale, scale, Scale(-reach, reach, "RdBu_r"))
    pictures = (chosen.truth, chosen.measured, chosen.difference)
    for box, picture, shades, title in zip(panels, pictures, scales, _TITLES, strict=True):
        _panel(figure, box, picture, shades, title, chosen)
    below = panels[0].top + panels[0].height + 0.12
    wide = panels[1].left + panels[1].width - panels[0].left
    unit = with_unit(chosen.quantity, chosen.unit)
    _bar(figure, _Box(panels[0].left + 0.06, below, min(wide, 2.6), 0.085), scale)
    _bar(figure, _Box(panels[2].left + 0.06, below, panels[2].width - 0.12, 0.085), scales[2])
    beside = panels[0].left + min(wide, 2.6) + 0.16
    if wide - beside > 1.0:
        figure.text(beside / theme.WIDTH_IN, 1 - (below + 0.05) / height, unit, fontsize=7.5, va="center")
    _profile(profile.on(figure), chosen)
    return Drawing(figure, _caption(chosen), _alt(chosen, scale, reach))


def _layout(chosen: Triptych) -> tuple[list[_Box], _Box, float]:
    """Three panels of one size; the profile beside them where there is room, else below."""
    left, right, bottom, top = chosen.extent_mm
    shape = abs(top - bottom) / abs(left - right)
    width = (theme.WIDTH_IN - 2 * _GAP_IN) / 3
    height = min(width * shape, _TALLEST_IN)
    width = height / shape
    panels = [_Box(n * (width + _GAP_IN), _LABEL_IN, width, height) for n in range(3)]
    used = 3 * width + 2 * _GAP_IN
    end = _LABEL_IN + height + _BAR_IN
    if used < _NARROW * theme.WIDTH_IN:
        start = used + 0.75
        return (
            panels,
            _Box(start, _LABEL_IN + 0.1, theme.WIDTH_IN - start - 0.05, min(height - 0.5, 2.4)),
            end,
        )
    profile = _Box(0.55, end + 0.12, theme.WIDTH_IN - 0.6, _PROFILE_IN)
    return panels, profile, end + 0.12 + _PROFILE_IN + 0.45


def _panel(figure: Figure, box: _Box, picture: Picture, scale: Scale, title: str, chosen: Triptych) -> None:
    axes = box.on(figure)
    theme.bare(axes)
    pixels = coloured(picture, np.ones(picture.shape, bool), scale)
    axes.imshow(pixels, extent=chosen.extent_mm, origin="upper", aspect="auto", interpolation="none")
    axes.set_title(title, fontsize=7.5, pad=3, loc="left")
    rows = picture.shape[0]
    left, right, bottom, top = chosen.extent_mm
    y = top + (chosen.profile_row + 0.5) / rows * (bottom - top)
    span = left - right
    for start, end in ((left, left - 0.05 * span), (right + 0.05 * span, right)):
        axes.plot([start, end], [y, y], color="#d9772b", linewidth=1.2)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    if title == _TITLES[0]:
        _letters(axes, box, chosen)


def _letters(axes: Axes, box: _Box, chosen: Triptych) -> None:
    from matplotlib.patheffects import withStroke

    x, y = 0.05 / box.width, 0.05 / box.height
    height = (chosen.profile_row + 0.5) / chosen.truth.shape[0]
    # beside the marks of the profile, not under them
    middle = 0.5 if abs(height - 0.5) > 0.06 else 0.58
    places = (
        (x, middle, "left", "center"),
        (1 - x, middle, "right", "center"),
        (0.5, 1 - y, "center", "top"),
        (0.5, y, "center", "bottom"),
    )
    halo = [withStroke(linewidth=1.6, foreground=theme.LIGHT_MARK)]
    for letter, (across, up, ha, va) in zip(chosen.letters, places, strict=True):
        axes.text(
            across,
            up,
            letter,
            transform=axes.transAxes,
            ha=ha,
            va=va,
            fontsize=7,
            fontweight="bold",
            color=theme.DARK_MARK,
            path_effects=halo,
        )


def _bar(figure: Figure, box: _Box, scale: Scale) -> None:
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes = box.on(figure)
    mappable = ScalarMappable(Normalize(scale.low, scale.high), matplotlib.colormaps[scale.colours])
    bar = figure.colorbar(mappable, cax=axes, orientation="horizontal", extend=scale.beyond, extendfrac=0.03)
    bar.outline.set_linewidth(0.4)
    axes.tick_params(labelsize=7, length=2, pad=1.5)
    signed = scale.low < 0
    bar.locator = MaxNLocator(nbins=2 if signed else 4, steps=[1, 2, 2.5, 5, 10], symmetric=signed)
    bar.formatter = FuncFormatter(lambda value, _place: number(value, 3))
    bar.update_ticks()


def _profile(axes: Axes, chosen: Triptych) -> None:
    left, right, _, _ = chosen.extent_mm
    count = chosen.truth.shape[1]
    x = left + (np.arange(count) + 0.5) / count * (right - left)
    axes.step(x, chosen.truth[chosen.profile_row], where="mid", color=_TRUTH_COLOUR, linewidth=1.0)
    axes.plot(x, chosen.measured[chosen.profile_row], color=_MEASURED_COLOUR, linewidth=1.3)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom=min(0.0, float(np.nanmin(chosen.measured[chosen.profile_row]))))
    through = shortened(chosen.region, 20) or "the highest truth"
    axes.set_xlabel(f"mm, from {chosen.letters[0]} to {chosen.letters[1]}, through {through}")
    unit = unit_words(chosen.unit, chosen.quantity)
    axes.set_title(unit, fontsize=7.5, loc="left", pad=3)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    for x, text, colour in ((0.8, "truth", _TRUTH_COLOUR), (1.0, "measured", _MEASURED_COLOUR)):
        axes.text(
            x, 1.02, text, transform=axes.transAxes, color=colour, fontsize=7.5, ha="right", va="bottom"
        )


def _scale(chosen: Triptych) -> Scale:
    """From zero (or the lowest truth) to the highest truth of the slice."""
    high = float(np.nanmax(chosen.truth))
    low = min(0.0, float(np.nanmin(chosen.truth)))
    if not high > low:
        return Scale(low, low + 1.0, "gray_r")
    beyond = "max" if float(np.nanmax(chosen.measured)) > high * 1.001 else "neither"
    return Scale(low, high, "gray_r", beyond)


def _reach(chosen: Triptych) -> float:
    """Half the width of the difference's scale: its largest magnitude, two digits of it."""
    largest = float(np.nanmax(np.abs(chosen.difference), initial=0.0))
    if not largest > 0:
        return 1.0
    step = 10.0 ** (math.floor(math.log10(largest)) - 1)
    return math.ceil(largest / step) * step


def _caption(chosen: Triptych) -> str:
    return (
        f"Level {chosen.level}; {chosen.words}; {with_unit(chosen.quantity, chosen.unit)}. Truth and "
        "measured share one scale; the difference has its own. Orange marks: height of the profile. "
        "Radiological convention: the patient's right is on the left of the picture."
    )


def _alt(chosen: Triptych, scale: Scale, reach: float) -> str:
    return (
        f"Slice of {chosen.slug}: truth and measured on a scale from {number(scale.low)} to "
        f"{number(scale.high)} {unit_words(chosen.unit, chosen.quantity)}; they differ by up to "
        f"{number(reach, 2)}."
    )
