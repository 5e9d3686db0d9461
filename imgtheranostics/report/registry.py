"""The registry of figures: which there are, when they apply, and how they become one SVG file each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgtheranostics.report.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a maker returns: the figure, its caption, and the same in words for who cannot see it."""

    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class FigureMaker:
    """How to make one kind of figure.

    Attributes
    ----------
    name : str
        Stable identifier, for file names and for `Run.figures`.
    title : str
        Heading in the report; ``{}`` stands for the quantity.
    keys : callable
        Quantities of a run that it can draw; empty when it does not apply.
    draw : callable
        Draws one of them.
    """

    name: str
    title: str
    keys: Callable[[Run], tuple[str, ...]]
    draw: Callable[[Run, str], Drawing]

    def applies(self, run: Run) -> bool:
        """Whether there is anything to draw."""
        return bool(self.keys(run))


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished figure: file name, heading, words and SVG bytes."""

    file: str
    title: str
    caption: str
    alt: str
    svg: bytes


_MAKERS: dict[str, FigureMaker] = {}


def register(maker: FigureMaker) -> FigureMaker:
    """Add a figure; a name that is taken raises ValueError."""
    if maker.name in _MAKERS:
        raise ValueError(f"a figure named {maker.name!r} is registered already")
    _MAKERS[maker.name] = maker
    return maker


def makers() -> tuple[FigureMaker, ...]:
    """All registered figures in the order in which a report shows them."""
    import imgtheranostics.report.figures.registered  # noqa: F401 - importing it registers the figures

    return tuple(_MAKERS.values())


def render_figures(run: Run) -> list[Rendered]:
    """Draw every figure that applies, or those that `run.figures` names.

    Raises
    ------
    ValueError
        If `run.figures` names one that does not exist.
    """
    known = makers()
    unknown = set(run.figures) - {maker.name for maker in known}
    if unknown:
        raise ValueError(f"no figure named {sorted(unknown)}; there are {[maker.name for maker in known]}")
    return list(_rendered(run, known))


def _rendered(run: Run, known: tuple[FigureMaker, ...]) -> Iterator[Rendered]:
    from imgtheranostics.report.figures.theme import as_svg, style
    from imgtheranostics.report.wording import quantity_words

    for maker in known:
        if run.figures and maker.name not in run.figures:
            continue
        for key in maker.keys(run):
            with style():
                drawing = maker.draw(run, key)
                svg = as_svg(drawing.figure)
            title = maker.title.format(quantity_words(key))
            yield Rendered(f"{maker.name}_{key}.svg", title, drawing.caption, drawing.alt, svg)
