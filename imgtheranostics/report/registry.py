"""The registry of figures: which there are, when they apply, and how they become one SVG file each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from imgtheranostics.report.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from imgtheranostics.report.comparison import Comparison

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")

Shown = TypeVar("Shown")
"""What a figure is drawn from: the run of a command, or a comparison with truth."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a maker returns: the figure, its caption, and the same in words for who cannot see it."""

    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class FigureMaker(Generic[Shown]):
    """How to make one kind of figure.

    Attributes
    ----------
    name : str
        Stable identifier, for file names and for `Run.figures`.
    title : str
        Heading in the report; ``{}`` stands for the quantity, or for the key in words.
    keys : callable
        Quantities of a run (phantoms or levels of a comparison) that it can draw; empty when it does not
        apply.
    draw : callable
        Draws one of them.
    """

    name: str
    title: str
    keys: Callable[[Shown], tuple[str, ...]]
    draw: Callable[[Shown, str], Drawing]

    def applies(self, shown: Shown) -> bool:
        """Whether there is anything to draw."""
        return bool(self.keys(shown))


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished figure: file name, heading, words and SVG bytes."""

    file: str
    title: str
    caption: str
    alt: str
    svg: bytes


_MAKERS: dict[str, FigureMaker[Run]] = {}
_COMPARISON_MAKERS: dict[str, FigureMaker[Comparison]] = {}


def register(maker: FigureMaker[Run]) -> FigureMaker[Run]:
    """Add a figure of runs; a name that is taken raises ValueError."""
    return _added(_MAKERS, maker)


def register_comparison(maker: FigureMaker[Comparison]) -> FigureMaker[Comparison]:
    """Add a figure of comparisons with truth; a name that is taken raises ValueError."""
    return _added(_COMPARISON_MAKERS, maker)


def _added(makers: dict[str, FigureMaker[Shown]], maker: FigureMaker[Shown]) -> FigureMaker[Shown]:
    if maker.name in makers:
        raise ValueError(f"a figure named {maker.name!r} is registered already")
    makers[maker.name] = maker
    return maker


def makers() -> tuple[FigureMaker[Run], ...]:
    """All registered figures of runs in the order in which a report shows them."""
    import imgtheranostics.report.figures.registered  # noqa: F401 - importing it registers the figures

    return tuple(_MAKERS.values())


def comparison_makers() -> tuple[FigureMaker[Comparison], ...]:
    """All registered figures of comparisons in the order in which a report shows them."""
    import imgtheranostics.report.figures.registered  # noqa: F401 - importing it registers the figures

    return tuple(_COMPARISON_MAKERS.values())


def render_figures(run: Run) -> list[Rendered]:
    """Draw every figure that applies, or those that `run.figures` names.

    Raises
    ------
    ValueError
        If `run.figures` names one that does not exist.
    """
    from imgtheranostics.report.wording import quantity_words

    known = makers()
    unknown = set(run.figures) - {maker.name for maker in known}
    if unknown:
        raise ValueError(f"no figure named {sorted(unknown)}; there are {[maker.name for maker in known]}")
    chosen = (maker for maker in known if not run.figures or maker.name in run.figures)
    return list(_rendered(run, chosen, quantity_words))


def render_comparison_figures(comparison: Comparison) -> list[Rendered]:
    """Draw every figure of a comparison with truth that applies."""
    return list(_rendered(comparison, comparison_makers(), lambda key: key))


def _rendered(
    shown: Shown, chosen: Iterable[FigureMaker[Shown]], words: Callable[[str], str]
) -> Iterator[Rendered]:
    from imgtheranostics.report.figures.theme import as_svg, style

    for maker in chosen:
        for key in maker.keys(shown):
            with style():
                drawing = maker.draw(shown, key)
                svg = as_svg(drawing.figure)
            title = maker.title.format(words(key))
            yield Rendered(
                f"{maker.name}_{_UNSAFE.sub('-', key)}.svg", title, drawing.caption, drawing.alt, svg
            )
