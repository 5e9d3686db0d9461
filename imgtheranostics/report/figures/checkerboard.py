"""Two images as one checkerboard, before and after registration: edges run on where they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.registration import Registration, resample
from imgtheranostics.report.figures import theme
from imgtheranostics.report.figures.planes import PLANE_NAMES, Plane, Stage, sample, stage_for
from imgtheranostics.report.registry import Drawing
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import number
from imgtheranostics.volume import Volume

_TILES = 8
_GAP_IN = 0.1
_TITLE_IN = 0.22
_TALLEST_IN = 2.6
_SHADES = (1.0, 99.0)
_EMPTY = 0.35

Picture = npt.NDArray[np.float64]


def keys(run: Run) -> tuple[str, ...]:
    """Quantities made of two scans of which one was registered to the other."""
    return tuple(
        estimate.quantity
        for estimate in run.maps
        if {"pre", "post"} <= set(estimate.maps) and "overlap" in _alignment(estimate.decisions)
    )


def draw_run(run: Run, quantity: str) -> Drawing:
    """The scans before and after the agent in turns, as registered."""
    estimate = next(one for one in run.maps if one.quantity == quantity)
    found = _alignment(estimate.decisions)
    rows = (("as registered", estimate.maps["post"]),)
    return _drawing(estimate.maps["pre"], rows, str(found.get("rule", "registration")), found)


def draw(fixed: Volume, moving: Volume, registration: Registration) -> Drawing:
    """Fixed and moving image in turns, where the scanner put them (top) and as registered (bottom).

    Parameters
    ----------
    fixed, moving : Volume
        As given to `imgtheranostics.registration.register`.
    registration : Registration
    """
    quality = registration.quality
    found = {
        "largest_displacement_mm": quality.largest_displacement_mm,
        "repeat_mm": quality.repeat_mm,
        "overlap": quality.overlap,
    }
    rows = (("before", resample(moving, None, like=fixed)), ("after", registration.resampled))
    return _drawing(fixed, rows, f"model {registration.transform.model}", found)


def _alignment(decisions: Mapping[str, Any]) -> Mapping[str, Any]:
    found = decisions.get("alignment", {})
    return found if isinstance(found, Mapping) else {}


def _drawing(
    fixed: Volume, rows: Sequence[tuple[str, Volume]], rule: str, quality: Mapping[str, Any]
) -> Drawing:
    """One row of planes for each image that takes turns with the fixed one."""
    stage = stage_for(fixed.grid, [])
    planes = _planes(fixed)
    widths = np.array([stage.size_mm(plane.in_plane[0]) for plane in planes])
    heights = np.array([stage.size_mm(plane.in_plane[1]) for plane in planes])
    room = theme.WIDTH_IN - _GAP_IN * (len(planes) - 1)
    scale = min(room / widths.sum(), _TALLEST_IN / heights.max())
    row_in = float(heights.max()) * scale
    total_in = len(rows) * (row_in + _TITLE_IN)
    figure = theme.new_figure(total_in)
    for n, (word, image) in enumerate(rows):
        top, left = n * (row_in + _TITLE_IN) + _TITLE_IN, 0.0
        for plane, width, height in zip(planes, widths * scale, heights * scale, strict=True):
            axes = figure.add_axes(
                (
                    left / theme.WIDTH_IN,
                    1 - (top + height) / total_in,
                    width / theme.WIDTH_IN,
                    height / total_in,
                )
            )
            theme.bare(axes)
            axes.imshow(
                _checkered(fixed, image, stage, plane),
                cmap="gray",
                vmin=0.0,
                vmax=1.0,
                aspect="auto",
                interpolation="none",
            )
            letters = plane.letters
            title = f"{word}, {PLANE_NAMES[plane.normal]} ({letters[0]}–{letters[1]})"
            axes.set_title(title, fontsize=7.5, pad=3, loc="left")
            left += width + _GAP_IN
    return Drawing(figure, _caption(rule, quality), _alt(rows, quality))


def _planes(fixed: Volume) -> list[Plane]:
    """The three planes through the middle, or the plane of a single slice."""
    middle = fixed.grid.world_mm((np.array(fixed.shape[:3]) - 1.0) / 2.0)
    if fixed.shape[2] == 1:
        across = np.cross(fixed.affine[:3, 0], fixed.affine[:3, 1])
        normal = int(np.abs(across).argmax())
        return [Plane(normal, float(middle[normal]))]
    return [Plane(normal, float(middle[normal])) for normal in (2, 1, 0)]


def _checkered(fixed: Volume, other: Volume, stage: Stage, plane: Plane) -> Picture:
    """The pictures in turns on squares, each in its own shades of grey; grey where one of them ends."""
    first, inside = sample(_shades(fixed), fixed.affine, stage, plane)
    second, _ = sample(_shades(other), other.affine, stage, plane)
    across, up = plane.in_plane
    side_mm = max(stage.size_mm(across), stage.size_mm(up)) / _TILES
    column = np.arange(first.shape[1]) * stage.pixel_mm[across] // side_mm
    row = np.arange(first.shape[0]) * stage.pixel_mm[up] // side_mm
    turns = (row[:, np.newaxis] + column) % 2 == 0
    picture = np.where(turns, first, second)
    return np.where(inside & np.isfinite(picture), picture, _EMPTY)


def _shades(volume: Volume) -> Picture:
    values = volume.data[np.isfinite(volume.data)]
    low, high = np.percentile(values, _SHADES) if values.size else (0.0, 1.0)
    shades = (volume.data.astype(np.float64) - low) / (high - low if high > low else 1.0)
    return np.asarray(np.clip(shades, 0.0, 1.0))


def _caption(rule: str, quality: Mapping[str, Any]) -> str:
    return (
        "Squares of the fixed and of the moving image in turns, each in its own shades of grey; edges run on "
        f"from square to square where the images fit. {rule[:1].upper()}{rule[1:]}; largest displacement "
        f"{number(quality['largest_displacement_mm'])} mm; a second search ended "
        f"{number(quality['repeat_mm'], 2)} mm away; overlap {number(100 * quality['overlap'])} %. "
        "Radiological convention: the patient's right is on the left of the picture."
    )


def _alt(rows: Sequence[tuple[str, Volume]], quality: Mapping[str, Any]) -> str:
    words = " and ".join(word for word, _ in rows)
    return (
        f"Checkerboard of two images, {words}, with a largest displacement of "
        f"{number(quality['largest_displacement_mm'])} mm."
    )
