"""Measured values beside what is known: the truth of a phantom, or what theory says the scanner must read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.points import static_rows
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import KnownValue, Run
from imgtheranostics.report.tables import Row, run_rows
from imgtheranostics.report.wording import quantity_words, rounded, shortened, unit_words, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_IN = 0.3
_MARKERS = ("|", "D", "s")
_COLOURS = (theme.INK, "#3f86c4", "#d9772b")


def keys(run: Run) -> tuple[str, ...]:
    """Quantities with a known value for a region of the table."""
    measured = {(row["quantity"], row["region"]) for row in static_rows(run_rows(run))}
    return tuple(
        dict.fromkeys(known.quantity for known in run.known if (known.quantity, known.region) in measured)
    )


def draw(run: Run, quantity: str) -> Drawing:
    """One line per region that has a known value, in the order in which they were given."""
    known = [value for value in run.known if value.quantity == quantity]
    rows = {row["region"]: row for row in static_rows(run_rows(run)) if row["quantity"] == quantity}
    regions = [name for name in dict.fromkeys(value.region for value in known) if name in rows]
    labels = list(dict.fromkeys(value.label for value in known))
    figure = theme.new_figure(0.62 + _ROW_IN * len(regions))
    width, height = figure.get_size_inches()
    axes = figure.add_axes((1.55 / width, 0.45 / height, 4.1 / width, _ROW_IN * len(regions) / height))
    for place, region in enumerate(reversed(regions)):
        _line(axes, place, rows[region], [value for value in known if value.region == region], labels)
    _frame(axes, regions, rows, with_unit(quantity, rows[regions[0]]["unit"]))
    words = [f"{label}: {_MARKER_WORDS[n % 3]}" for n, label in enumerate(labels)]
    caption = (
        f"Dot and thick line: measured mean and its standard error. {'; '.join(words)}. {run.known_note}"
    )
    return Drawing(figure, caption.strip(), _alt(quantity, regions, rows, known))


_MARKER_WORDS = ("upright line", "open diamond", "open square")


def _line(axes: Axes, y: int, row: Row, known: list[KnownValue], labels: list[str]) -> None:
    mean, error = float(row["mean"]), row["standard_error"]
    if error is not None:
        axes.plot([mean - error, mean + error], [y, y], color=theme.MUTED, linewidth=2.6, zorder=2)
    axes.plot([mean], [y], marker="o", markersize=4.6, color=theme.INK, markeredgewidth=0, zorder=3)
    for value in known:
        n = labels.index(value.label) % 3
        size = 11.0 if n == 0 else 6.5
        axes.plot(
            [value.value],
            [y],
            marker=_MARKERS[n],
            markersize=size,
            markeredgewidth=1.2,
            markerfacecolor="none",
            color=_COLOURS[n],
            zorder=4,
        )


def _frame(axes: Axes, regions: list[str], rows: dict[str, Row], label: str) -> None:
    axes.set_ylim(-0.6, len(regions) - 0.4)
    axes.set_yticks(range(len(regions)), [shortened(name, 26) for name in reversed(regions)])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.0), high)
    for place, name in enumerate(reversed(regions)):
        row = rows[name]
        unit = unit_words(row["unit"], row["quantity"])
        axes.annotate(
            f"{rounded(row['mean'], row['standard_error'])} {unit}".rstrip(),
            (1.025, place),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            ha="left",
            va="center",
            annotation_clip=False,
        )


def _alt(quantity: str, regions: list[str], rows: dict[str, Row], known: list[KnownValue]) -> str:
    parts = []
    for name in regions:
        expected = ", ".join(f"{value.label} {value.value:.4g}" for value in known if value.region == name)
        parts.append(
            f"{name} measured {rounded(rows[name]['mean'], rows[name]['standard_error'])}, {expected}"
        )
    return f"{quantity_words(quantity)} measured and known: {'; '.join(parts)}."
