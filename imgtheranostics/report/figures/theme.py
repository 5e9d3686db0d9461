"""The look of all figures, and their bytes: matplotlib without pyplot, deterministic, light and dark."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b1d20"
MUTED = "#696f76"
RULE = "#d3d7db"
TILE = "#000000"
NO_VALUE = "#3d4854"
NO_VALUE_ON_WHITE = "#bccad6"
LIGHT_MARK = "#ffffff"
DARK_MARK = "#20242a"
WIDTH_IN = 7.6

REGION_COLOURS = (
    "#e8606d",
    "#3f86c4",
    "#2f9e58",
    "#c9a227",
    "#a45cc0",
    "#35a9b5",
    "#d9772b",
    "#8a94a0",
)
"""Colours of regions: told apart on white, on dark pages and on grey images, also without red and green."""

_DARK = {INK: "#e8eaec", MUTED: "#a0a7ae", RULE: "#3a4047"}
_FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_LOCK = threading.RLock()
_COMMENTS = re.compile(r"<!--.*?-->\s*", re.DOTALL)
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)

_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "figure.dpi": 100.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "imgtheranostics",
    "image.interpolation": "none",
    "image.composite_image": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's own defaults with this theme on top, whatever the user's settings say; one at a time."""
    import matplotlib

    with _LOCK, matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)  # type: ignore[arg-type]
        yield


def new_figure(height_in: float) -> Figure:
    """An empty figure of the width that all figures have."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_IN, height_in))


def as_svg(figure: Figure) -> bytes:
    """The figure as one self-contained SVG that follows the reader's light or dark preference."""
    stream = io.BytesIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=empty)
    text = _COMMENTS.sub("", _PROLOGUE.sub("", stream.getvalue().decode("utf-8")))
    end = text.index(">") + 1
    return (text[:end] + _stylesheet() + text[end:]).encode("utf-8")


def as_png(figure: Figure, dpi: float = 150.0) -> bytes:
    """The figure as PNG on white, without any text chunk."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _stylesheet() -> str:
    swaps = "".join(
        f'[style*="{name}: {light}"]{{{name}:{dark}!important}}'
        for light, dark in _DARK.items()
        for name in ("fill", "stroke")
    )
    return (
        f"<style>text{{font-family:{_FONTS}!important}}@media (prefers-color-scheme:dark){{{swaps}}}</style>"
    )


def region_colour(position: int) -> str:
    """Colour of the region at a position in the table; colours repeat when there are many."""
    return REGION_COLOURS[position % len(REGION_COLOURS)]


def bare(axes: Axes) -> None:
    """Take away ticks and frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
