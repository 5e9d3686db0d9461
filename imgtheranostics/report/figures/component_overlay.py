"""Components of an optoacoustic image in one picture: each in its colour, over the image in grey."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.report.figures import layout, picture, planes, scene, theme
from imgtheranostics.report.figures.layout import Placed
from imgtheranostics.report.figures.scene import Picture, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, pool_words, unit_words
from imgtheranostics.units import pool_name_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from imgtheranostics.volume import Estimate

KEY = "components"
ENDINGS = ("_component_amplitude", "_chromophore_concentration")
_FIRST_COLOURS = {"hbo2": "#e8606d", "hb": "#3f86c4"}
_OTHER_COLOURS = ("#5fc23c", "#f0c419", "#c061e0")
_OF_TISSUE = ("hbo2", "hb", "water", "lipid", "melanin")
_MOST = 3
_FOOT_IN = 0.5
_GREY = 0.5
_OF_BLOOD = 0.6


def keys(run: Run) -> tuple[str, ...]:
    """One figure where there are several components."""
    return (KEY,) if len(components_of(run)) > 1 else ()


def components_of(run: Run) -> dict[str, Estimate]:
    """Maps of components by the word that they begin with: agents first, then blood, then other tissue."""
    found = {
        estimate.quantity.removesuffix(ending): estimate
        for estimate in run.maps
        for ending in ENDINGS
        if estimate.quantity.endswith(ending)
    }
    return {word: found[word] for word in agents_first(found)}


def agents_first(words: Iterable[str]) -> list[str]:
    """Agents, then blood, then other tissue."""
    return sorted(
        words, key=lambda word: _OF_TISSUE.index(word.lower()) if word.lower() in _OF_TISSUE else -1
    )


def component_colours(words: list[str]) -> dict[str, str]:
    """Oxygenated blood red, deoxygenated blue, what was injected green."""
    others = iter(_OTHER_COLOURS)
    fallback = (theme.region_colour(3 + n) for n in range(len(words)))
    return {word: _FIRST_COLOURS.get(word) or next(others, None) or next(fallback) for word in words}


def draw(run: Run, _key: str) -> Drawing:
    """Slices with up to three components."""
    every = components_of(run)
    shown = dict(list(every.items())[:_MOST])
    colours = component_colours(list(shown))
    chosen = scene.scene_of(run, next(iter(shown.values())).quantity)
    samples = {word: scene.sample_of(one.value, chosen.sample_index) for word, one in shown.items()}
    highs = {word: scene.scale_of(scene.scene_of(run, one.quantity)).high for word, one in shown.items()}
    placed, height = layout.mosaic(chosen)
    figure = theme.new_figure(height + _FOOT_IN)
    for item in placed:
        pixels = _blended(chosen, item, samples, highs, colours)
        axes, ink = picture.place(figure, item, pixels, chosen)
        picture.outline(axes, chosen, item, ink)
        if item.tile is None:
            picture.slice_marks(axes, chosen, item, ink)
    for n, (word, one) in enumerate(shown.items()):
        _bar(figure, n, word, colours[word], highs[word], unit_words(one.unit, one.quantity))
    return Drawing(figure, _caption(chosen, every, shown), _alt(shown, highs))


def _blended(
    chosen: Scene,
    item: Placed,
    samples: dict[str, scene.Array],
    highs: dict[str, float],
    colours: dict[str, str],
) -> Picture:
    """Grey where there is little of anything, the colours of tissue added up, and agents laid over them."""
    if chosen.anatomy is not None and chosen.anatomy_data is not None:
        grey = scene.anatomy_scale(chosen.anatomy_data, chosen.anatomy.quantity)
        below, inside = planes.sample(chosen.anatomy_data, chosen.anatomy.affine, chosen.stage, item.plane)
        painted = scene.coloured(below, inside, grey).astype(np.float64) * _GREY
    else:
        _, inside = planes.sample(chosen.data, chosen.estimate.value.affine, chosen.stage, item.plane)
        painted = np.zeros((*inside.shape, 3))
    shares = {}
    for word, data in samples.items():
        values, on_map = planes.sample(data, chosen.estimate.value.affine, chosen.stage, item.plane)
        share = np.clip(np.nan_to_num(np.asarray(values, np.float64)) / highs[word], 0.0, 1.0)
        shares[word] = np.where(on_map, share, 0.0)[..., np.newaxis]
    painted = painted * (1.0 - np.max(list(shares.values()), axis=0))
    for word in reversed(list(shares)):
        colour = np.array(scene.rgb_bytes(colours[word]), np.float64)
        if word in _OF_TISSUE:
            painted = painted + _OF_BLOOD * shares[word] * colour
        else:
            painted = painted + shares[word] * (colour - painted)
    return np.asarray(np.round(np.clip(painted, 0.0, 255.0)), np.uint8)


def _bar(figure: Figure, n: int, word: str, colour: str, high: float, unit: str) -> None:
    """A bar from black to the colour of one component."""
    width, height = figure.get_size_inches()
    each = width / _MOST
    left = n * each + 0.08
    axes = figure.add_axes((left / width, 0.2 / height, (each - 0.5) / width, 0.09 / height))
    ramp = np.linspace(0.0, 1.0, 64)[np.newaxis, :, np.newaxis] * np.array(scene.rgb_bytes(colour)) / 255.0
    axes.imshow(ramp, aspect="auto", extent=(0.0, high, 0.0, 1.0), interpolation="none")
    axes.set_yticks([])
    axes.set_xticks([0.0, high / 2.0, high], [number(value) for value in (0.0, high / 2.0, high)])
    axes.tick_params(labelsize=7, length=2, pad=1.5)
    label = pool_words(word)
    axes.text(
        0.0, 1.5, f"{label} [{unit}]" if unit else label, transform=axes.transAxes, fontsize=7.5, va="bottom"
    )


def _caption(chosen: Scene, every: dict[str, Estimate], shown: dict[str, Estimate]) -> str:
    parts = ["Components in their colours: those of tissue add up, what was injected is laid over them"]
    if chosen.anatomy is not None:
        parts.append("grey: the image behind them")
    if chosen.sample_words:
        parts.append(f"shown at {chosen.sample_words}")
    left = [pool_name_words(word) for word in every if word not in shown]
    if left:
        parts.append(f"not shown here: {', '.join(left)}")
    parts.append("negative amounts count as none")
    return "; ".join(parts) + "."


def _alt(shown: dict[str, Estimate], highs: dict[str, float]) -> str:
    listed = ", ".join(f"{pool_name_words(word)} up to {number(highs[word])}" for word in shown)
    return f"Slices with the components of the image in colours: {listed}."
