"""Images that carry no standard error, such as a reconstruction: slices at the strongest wavelength."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imgtheranostics.report.figures import layout, picture, planes, scene, theme
from imgtheranostics.report.figures.scene import Scale, Scene
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number, quantity_words, with_unit
from imgtheranostics.volume import Estimate, Volume

SHOWN = ("optoacoustic_signal",)
"""Quantities that are drawn; others are only written."""

_FOOT_IN = 0.5
_TALLEST_IN = 6.2
_MOST_PIXELS = 500


def keys(run: Run) -> tuple[str, ...]:
    """Names of the images."""
    return tuple(name for name, image in run.images.items() if image.quantity in SHOWN)


def draw(run: Run, name: str) -> Drawing:
    """Grey slices, from the 1st to the 99.7th percentile."""
    image = run.images[name]
    chosen = _sharp(scene.scene_of(replace(run, estimates=(_estimate(image),), anatomy=None), image.quantity))
    scale = _scale(chosen.data)
    grid = layout.grid_of(chosen, chosen.tiles, left_in=0.0, width_in=theme.WIDTH_IN, tallest_in=_TALLEST_IN)
    bottom = max(item.top_in + item.height_in for item in grid) + layout.LABEL_IN
    figure = theme.new_figure(bottom + _FOOT_IN)
    for item in grid:
        values, inside = planes.sample(chosen.data, image.affine, chosen.stage, item.plane)
        axes, ink = picture.place(figure, item, scene.coloured(values, inside, scale), chosen)
        picture.outline(axes, chosen, item, ink)
    picture.colour_bar(figure, scale, with_unit(image.quantity, image.unit), 0.0)
    words = [scene.voxel_words(chosen)]
    if chosen.sample_words:
        words.append(f"shown at {chosen.sample_words}")
    words += _made(image)
    if any(one.code == "orientation-not-stated" for one in image.warnings):
        words.append("letters are those of the scanner's axes: nobody said how the animal lay")
    alt = (
        f"Slices of the {quantity_words(image.quantity).lower()}, grey from {number(scale.low)} to "
        f"{number(scale.high)}."
    )
    return Drawing(figure, "; ".join(words) + ".", alt)


def _estimate(image: Volume) -> Estimate:
    plain = image.replace(warnings=())
    nothing = np.zeros(image.shape, np.float32)
    flags = plain.replace(data=nothing.astype(np.uint16), quantity="flags", unit="1")
    return Estimate(image, plain.replace(data=nothing), flags)


def _sharp(chosen: Scene) -> Scene:
    """The scene with a pixel for each voxel, as far as these are not too many."""
    stage = chosen.stage
    finest = np.array(chosen.estimate.grid.spacing_mm).min()
    count = (stage.high_mm - stage.low_mm) / finest
    step = finest * max(1.0, float(np.ceil(count.max() / _MOST_PIXELS - 1e-6)))
    return replace(chosen, stage=replace(stage, pixel_mm=np.minimum(stage.pixel_mm, step)))


def _scale(data: scene.Array) -> Scale:
    values = scene.thinned(data)
    values = values[np.isfinite(values)]
    if not values.size:
        return Scale(0.0, 1.0, "gray")
    low, high = (float(value) for value in np.percentile(values, (1.0, 99.7)))
    return Scale(low, high if high > low else low + 1.0, "gray", "both")


def _made(image: Volume) -> list[str]:
    """How a reconstruction was made."""
    steps = [step.parameters for step in image.history if step.name == "reconstruct"]
    if not steps:
        return []
    method = str(steps[-1].get("method", "")).replace("_", " ").replace("backprojection", "back-projection")
    speed = steps[-1].get("speed_of_sound_m_s")
    source = {"focus": "of the sharpest image", "file": "as the file states it", "given": "as given"}
    words = [method] if method else []
    if isinstance(speed, float):
        words.append(
            f"speed of sound {number(speed)} m/s, {source.get(str(steps[-1].get('speed_of_sound_from')), '')}"
        )
    return words
