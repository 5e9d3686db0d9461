"""Figures of studies: which kind, of what, and how they become SVG."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from imgtheranostics.report.registry import Drawing, Rendered

KINDS = (
    "association",
    "forest",
    "group_curves",
    "kaplan_meier",
    "method_agreement",
    "organ_points",
    "spider",
    "waterfall",
)
"""Modules of `imgtheranostics.report.figures` whose ``draw`` takes what a `Shown` holds."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, eq=False)
class Shown:
    """A figure to be drawn.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    title : str
    content : object
        What that figure is drawn from; see its module.
    """

    kind: str
    title: str
    content: Any


def render_shown(shown: Iterable[Shown], name: str) -> list[Rendered]:
    """Draw figures of one question; `name` is part of their file names.

    Raises
    ------
    ValueError
        If a kind is unknown.
    """
    from imgtheranostics.report.figures.theme import as_svg, style

    drawn = []
    for number, one in enumerate(shown, start=1):
        if one.kind not in KINDS:
            raise ValueError(f"no figure named {one.kind!r}; there are {', '.join(KINDS)}")
        draw: Callable[[Any], Drawing] = import_module(f"imgtheranostics.report.figures.{one.kind}").draw
        with style():
            drawing = draw(one.content)
            svg = as_svg(drawing.figure)
        file = f"{_UNSAFE.sub('-', name)}_{number}_{one.kind}.svg"
        drawn.append(Rendered(file, one.title, drawing.caption, drawing.alt, svg))
    return drawn


def group_colours(groups: Sequence[str]) -> dict[str, str]:
    """A colour for each group, in sorted order; the first is blue, as red alone says danger."""
    from imgtheranostics.report.figures.theme import INK, region_colour

    named = sorted({one for one in groups if one})
    order = (1, 6, 2, 4, 3, 5, 0, 7)
    colours = {name: region_colour(order[place % len(order)]) for place, name in enumerate(named)}
    return {**colours, "": INK}
