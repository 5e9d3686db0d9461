"""What the picture figures share: which sample, which slices, which grey and colour scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import GeometryMismatch
from imgtheranostics.regions import Regions
from imgtheranostics.report.figures import planes, theme
from imgtheranostics.report.figures.planes import Plane, Stage
from imgtheranostics.report.run import Run
from imgtheranostics.report.wording import duration, number, unit_words
from imgtheranostics.units import QUANTITIES
from imgtheranostics.volume import Estimate, Volume

Array = npt.NDArray[Any]
Picture = npt.NDArray[np.uint8]

_FEWEST_LONG_SLICES = 12
_TILES = 6
_NEAR = 0.04
_FLATTEST = 0.3
_OUTSIDE_REACH = 2.0
_UPTAKE = ("activity_concentration", "suv_", "id_per_", "count", "absorbed_dose")
_AMOUNTS = ("_mass_concentration", "_component_amplitude", "_chromophore_concentration")
_COMPONENTS = ("_component_amplitude", "_chromophore_concentration")
_SURE = 3.0
_ENOUGH = 100_000
WINDOW_HU = (-160.0, 240.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """A colour scale: limits, the name of a matplotlib map, and whether values lie beyond the limits."""

    low: float
    high: float
    colours: str
    beyond: str = "neither"


@dataclass(frozen=True, eq=False)
class Scene:
    """One sample of a map, ready to be drawn.

    Attributes
    ----------
    data : (i, j, k) ndarray
        The sample of the map that is shown.
    sample_index : int
        Which one it is, in planar order; `sample_words` says it in words.
    stage : Stage
    stack : int
        World axis along which the slices are stacked.
    tiles : tuple of Plane
        From high to low along the stack axis.
    focus_mm : (3,) ndarray
        Where the long views pass through: the highest value in the regions, or of all.
    """

    estimate: Estimate
    data: Array
    sample_index: int
    sample_words: str
    stage: Stage
    stack: int
    tiles: tuple[Plane, ...]
    focus_mm: npt.NDArray[np.float64]
    regions: Regions | None
    anatomy: Volume | None
    anatomy_data: Array | None

    @property
    def has_long_views(self) -> bool:
        """Whether the other two planes hold enough slices to be worth a look."""
        across = max(self.stage.size_mm(axis) for axis in range(3) if axis != self.stack)
        enough = self.stage.centres(self.stack).size >= _FEWEST_LONG_SLICES
        return bool(enough and self.stage.size_mm(self.stack) >= _FLATTEST * across)


def map_of(run: Run, quantity: str) -> Estimate:
    """The map of that quantity."""
    return next(estimate for estimate in run.maps if estimate.quantity == quantity)


def scene_of(run: Run, quantity: str) -> Scene:
    """Choose sample, planes and box for a map."""
    estimate = map_of(run, quantity)
    value = estimate.value
    index = _fullest_sample(value)
    data = sample_of(value, index)
    regions = _fitted(run.regions, value)
    anatomy_data = sample_of(run.anatomy, 0) if run.anatomy is not None else None
    stage = planes.stage_for(
        value.grid,
        _boxes(value, data, regions, run.anatomy, anatomy_data),
        run.anatomy.grid if run.anatomy is not None else None,
    )
    stack = _stack_axis(value)
    return Scene(
        estimate,
        data,
        index,
        _sample_words(value, index),
        stage,
        stack,
        _tiles(value, stage, stack, regions, surest(estimate, index, data)),
        _focus(value, surest(estimate, index, data), regions),
        regions,
        run.anatomy,
        anatomy_data,
    )


def sample_of(volume: Volume, index: int) -> Array:
    """One sample as an (i, j, k) view."""
    return np.asarray(volume.planar[index].reshape(volume.grid.shape, order="F"))


def is_uptake(quantity: str) -> bool:
    """Whether a map is one of activity, which is read as dark on white; all others are parameters."""
    return quantity.startswith(_UPTAKE)


def is_amount(quantity: str) -> bool:
    """Whether a map is one of amounts, whose few high voxels are what is looked for, and not of fits."""
    return is_uptake(quantity) or quantity == "concentration" or quantity.endswith(_AMOUNTS)


def surest(estimate: Estimate, index: int, data: Array) -> Array:
    """A sample of a component's map without the voxels that lie within three standard errors of zero.

    Where light is weak their noise is many times what stands out elsewhere. Other maps stay as they are.
    """
    if not estimate.quantity.endswith(_COMPONENTS):
        return data
    error = sample_of(estimate.standard_error, index)
    sure = np.where(data > _SURE * np.nan_to_num(error), data, np.nan)
    return sure if np.isfinite(sure).any() else data


def starts_at_zero(quantity: str) -> bool:
    """Whether 0 means none of it, so that a scale begins there."""
    return quantity != "ph" and not quantity.endswith("_centre")


def scale_of(scene: Scene) -> Scale:
    """Limits from the bulk of the map and from the hottest region, whichever reaches further.

    Of a parameter's map, voxels with a flag do not count, and values outside the regions do not stretch the
    scale to more than twice what the regions reach: a fit in air may end anywhere.
    """
    quantity = QUANTITIES[scene.estimate.quantity]
    amount = is_amount(scene.estimate.quantity)
    if scene.estimate.quantity.endswith(_COMPONENTS):
        return _component_scale(scene)
    data = scene.data if amount else without_flagged(scene, scene.data)
    values = thinned(data)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return Scale(0.0, 1.0, "gray")
    in_regions = region_reach(scene, data)
    if quantity.signed_change:
        reach = round_up(max(float(np.percentile(np.abs(values), 99.0)), abs(in_regions)))
        clipped = bool(np.abs(values).max() > reach)
        return Scale(-reach, reach, "RdBu_r", "both" if clipped else "neither")
    high = (
        max(float(np.percentile(values, 99.8)), in_regions)
        if in_regions
        else float(np.percentile(values, 99.8))
    )
    smallest, largest = float(values.min()), float(values.max())
    low = float(np.percentile(values, 0.5))
    if in_regions > 0 and not amount:
        high = min(high, _OUTSIDE_REACH * in_regions)
        low = max(low, -high)
    if starts_at_zero(scene.estimate.quantity) and float(np.percentile(values, 1.0)) > -0.1 * max(high, 0.0):
        low = 0.0
    high = low + round_up(high - low) if high > low else low + 1.0
    beyond = {(False, True): "max", (True, False): "min", (True, True): "both"}
    plain = "gray" if scene.estimate.unit == "[HU]" else "viridis"
    bare = "gray_r" if is_uptake(scene.estimate.quantity) else plain
    colours = bare if scene.anatomy is None else "inferno"
    # Noise a little below a limit of zero is not worth an arrow on the colour bar.
    return Scale(
        low, high, colours, beyond.get((smallest < low - 0.1 * (high - low), largest > high), "neither")
    )


def _component_scale(scene: Scene) -> Scale:
    """From zero to the bulk of what is surely there, or to the regions where these reach further."""
    values = thinned(surest(scene.estimate, scene.sample_index, scene.data))
    values = values[np.isfinite(values)]
    bulk = float(np.percentile(values, 99.0)) if values.size else 0.0
    high = round_up(max(bulk, region_reach(scene, scene.data)))
    every = scene.data[np.isfinite(scene.data)]
    below, above = (
        bool(every.size) and bool(one) for one in (np.any(every < -0.1 * high), np.any(every > high))
    )
    beyond = {(False, True): "max", (True, False): "min", (True, True): "both"}.get((below, above), "neither")
    return Scale(0.0, high, "viridis" if scene.anatomy is None else "inferno", beyond)


def without_flagged(scene: Scene, data: Array) -> Array:
    """The sample with NaN where a voxel has a flag; as it is when that leaves nothing."""
    flags = sample_of(scene.estimate.flags, scene.sample_index)
    clean = np.where(flags == 0, data, np.nan)
    return clean if np.isfinite(clean).any() else data


def thinned(data: Array) -> npt.NDArray[np.float64]:
    """Every n-th voxel as a flat float64 array."""
    step = planes.thinning(data)
    return np.asarray(data[::step, ::step, ::step], np.float64).ravel()


def coloured(picture: Array, inside: Array, scale: Scale) -> Picture:
    """RGB of a picture: values by the scale, missing ones slate, off the grid black."""
    import matplotlib

    values = np.asarray(picture, np.float64)
    shown = np.clip((np.nan_to_num(values) - scale.low) / (scale.high - scale.low), 0.0, 1.0)
    rgb = matplotlib.colormaps[scale.colours](shown)[..., :3]
    painted = np.asarray(np.round(rgb * 255.0), np.uint8)
    on_white = scale.colours == "gray_r"
    painted[~np.isfinite(values)] = rgb_bytes(theme.NO_VALUE_ON_WHITE if on_white else theme.NO_VALUE)
    painted[~inside] = rgb_bytes("#ffffff" if on_white else theme.TILE)
    return painted


def over_anatomy(scene: Scene, plane: Plane, scale: Scale, grey: Scale) -> Picture:
    """RGB of the map over the anatomy; colour fades out towards zero, and where there is no value."""
    assert scene.anatomy is not None  # noqa: S101
    assert scene.anatomy_data is not None  # noqa: S101
    below, on_anatomy = planes.sample(scene.anatomy_data, scene.anatomy.affine, scene.stage, plane)
    base = coloured(below, on_anatomy, grey).astype(np.float64)
    picture, inside = planes.sample(scene.data, scene.estimate.value.affine, scene.stage, plane)
    colour = coloured(picture, inside, scale).astype(np.float64)
    signed = scale.low < 0 < scale.high and scale.low == -scale.high
    height = np.abs(picture) / scale.high if signed else (picture - scale.low) / (scale.high - scale.low)
    opacity = 0.8 * np.clip(np.nan_to_num(np.asarray(height, np.float64)) / 0.2, 0.0, 1.0)
    opacity[~inside | ~np.isfinite(picture)] = 0.0
    blended = base + (colour - base) * opacity[..., np.newaxis]
    return np.asarray(np.round(blended), np.uint8)


def anatomy_scale(data: Array, quantity: str = "") -> Scale:
    """Grey scale of the anatomy, between its 2nd and 99.5th percentile; of CT a window of soft tissue."""
    if quantity == "attenuation":
        return Scale(*WINDOW_HU, "gray")
    values = thinned(data)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return Scale(0.0, 1.0, "gray")
    low, high = (float(v) for v in np.percentile(values, (2.0, 99.5)))
    return Scale(low, high if high > low else low + 1.0, "gray")


def has_place(scene: Scene) -> bool:
    """Whether the image lies in a patient, so that left and right mean something; ultrasound may not."""
    return not any(caution.code == _NOWHERE for caution in scene.estimate.value.warnings)


_NOWHERE = "no-patient-geometry"


def voxel_words(scene: Scene) -> str:
    """Number and size of the voxels that have a value, for captions."""
    spacing = " × ".join(number(v, 3) for v in scene.estimate.grid.spacing_mm)
    count = sum(int(np.count_nonzero(np.isfinite(scene.data[..., k]))) for k in range(scene.data.shape[2]))
    return f"n = {count:,} voxels of {spacing} mm".replace(",", "\u202f")


def rgb_bytes(colour: str) -> tuple[int, int, int]:
    """A colour such as ``#3d4854`` as three bytes."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def _fullest_sample(volume: Volume) -> int:
    planar = volume.planar
    if planar.shape[0] == 1:
        return 0
    step = max(1, planar.shape[1] * planar.shape[0] // 2_000_000)
    sums = [float(np.nansum(np.abs(sample[::step]), dtype=np.float64)) for sample in planar]
    return int(np.argmax(sums))


def _sample_words(volume: Volume, index: int) -> str:
    words = []
    for axis in volume.axes:
        index, place = divmod(index, len(axis))
        value = float(axis.values[place])
        shown = duration(value) if axis.unit == "s" else f"{number(value)} {unit_words(axis.unit)}".strip()
        words.append(f"{axis.name.replace('_', ' ')} {shown}")
    return ", ".join(words)


def follow_up_words(volume: Volume, index: int) -> str:
    """Which follow-up a sample of a map along time is; empty where there is no axis.

    Whole days are told as such, other times in their natural unit.
    """
    if not volume.axes:
        return ""
    axis = volume.axes[0]
    value = float(axis.values[index])
    if axis.name != "time":
        return f"Follow-up {number(value)}"
    days = value / 86400.0
    return f"Day {number(days)}" if days == round(days, 3) else duration(value)


def _fitted(regions: Regions | None, value: Volume) -> Regions | None:
    """The regions on the map's grid; those on another grid are drawn where they lie."""
    if regions is None or len(regions) == 0:
        return None
    try:
        return regions.fit_to(value.grid)
    except GeometryMismatch:
        return regions


def _boxes(
    value: Volume, data: Array, regions: Regions | None, anatomy: Volume | None, anatomy_data: Array | None
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    boxes = []
    if anatomy is not None and anatomy_data is not None:
        grey = anatomy_scale(anatomy_data, anatomy.quantity)
        boxes.append(planes.box_of(anatomy_data, anatomy.grid, grey.low + 0.1 * (grey.high - grey.low)))
    else:
        magnitudes = np.abs(thinned(data))
        magnitudes = magnitudes[np.isfinite(magnitudes)]
        if magnitudes.size:
            threshold = 0.04 * float(np.percentile(magnitudes, 99.8))
            boxes.append(planes.box_of(data, value.grid, threshold, absolute=True))
    if regions is not None:
        layers = [regions.labels[..., n] for n in range(regions.labels.shape[-1])]
        boxes += [planes.box_of(layer, regions.grid, 0.5) for layer in layers]
    return [box for box in boxes if box is not None]


def _stack_axis(value: Volume) -> int:
    """World axis of the slices: that of a voxel axis with few slices, else head to foot."""
    counts = value.grid.shape
    thin = int(np.argmin(counts))
    if counts[thin] >= _FEWEST_LONG_SLICES:
        return planes.AXIAL
    return int(np.argmax(np.abs(value.affine[:3, thin])))


def _tiles(
    value: Volume, stage: Stage, stack: int, regions: Regions | None, data: Array
) -> tuple[Plane, ...]:
    """Slices through the middle of each region, largest first, and evenly spaced ones to fill up."""
    centres = stage.centres(stack)
    wanted = min(_TILES, centres.size)
    chosen: list[float] = []

    def take(position: float) -> None:
        nearest = float(centres[int(np.argmin(np.abs(centres - position)))])
        if len(chosen) < wanted and nearest not in chosen:
            chosen.append(nearest)

    apart = _NEAR * abs(float(centres[0] - centres[-1]))
    for low, middle, high in _region_spans(regions, stack):
        if not any(low <= position <= high and abs(position - middle) < apart for position in chosen):
            take(middle)
    if regions is None:
        take(float(_focus(value, data, None)[stack]))
    for count in range(wanted, 4 * wanted):
        for share in (np.arange(count) + 0.5) / count:
            take(float(centres[0] + share * (centres[-1] - centres[0])))
    for position in centres:
        take(float(position))
    return tuple(Plane(stack, position) for position in sorted(chosen, reverse=True))


def _region_spans(regions: Regions | None, stack: int) -> list[tuple[float, float, float]]:
    """Lowest, middle and highest position of each region along the stack axis, largest region first."""
    if regions is None:
        return []
    lists = sorted(regions.voxel_lists(), key=lambda voxels: -voxels.size)
    spans = []
    for voxels in lists:
        if voxels.size:
            some = voxels[:: max(1, voxels.size // _ENOUGH)]
            index = np.stack(np.unravel_index(some, regions.grid.shape, order="F"), axis=-1)
            world = np.sort(regions.grid.world_mm(index)[:, stack])
            spans.append((float(world[0]), float(world[world.size // 2]), float(world[-1])))
    return spans


def _focus(value: Volume, data: Array, regions: Regions | None) -> npt.NDArray[np.float64]:
    """World position of the highest value in the regions, else of all."""
    flat = data.reshape(-1, order="F")
    candidates: npt.NDArray[np.int64] | None = None
    if regions is not None and value.grid.same_as(regions.grid):
        filled = [voxels for voxels in regions.voxel_lists() if voxels.size]
        candidates = np.concatenate(filled) if filled else None
    looked_at = flat if candidates is None else flat[candidates]
    if not np.isfinite(looked_at).any():
        return value.grid.world_mm((np.array(value.grid.shape) - 1) / 2.0)
    place = int(np.nanargmax(looked_at))
    voxel = place if candidates is None else int(candidates[place])
    return value.grid.world_mm(np.array(np.unravel_index(voxel, value.grid.shape, order="F")))


def region_reach(scene: Scene, data: Array) -> float:
    """How far a colour scale must reach to show the regions; 0 without regions on this grid.

    Flagged voxels of a region do not count, unless they are most of it: a parameter that sits at its bound
    all over a region is what the region shows.

    The 95th percentile of a region or half of its largest value, so that neither a hot spot in a large
    region nor the noise of a single voxel rules the scale; of a parameter the upper quartile, because fits of
    a model that does not hold somewhere end anywhere.
    """
    regions = scene.regions
    if regions is None or not scene.estimate.grid.same_as(regions.grid):
        return 0.0
    flat, with_flagged = (one.reshape(-1, order="F") for one in (data, scene.data))
    amount = is_amount(scene.estimate.quantity)
    highest = [0.0]
    for voxels in regions.voxel_lists():
        looked_at = voxels[:: max(1, voxels.size // _ENOUGH)]
        values, every = (one[looked_at][np.isfinite(one[looked_at])] for one in (flat, with_flagged))
        values = values if 2 * values.size >= every.size else every
        if values.size:
            extreme = float(values[np.argmax(np.abs(values))])
            highest.append(float(np.percentile(values, 95.0 if amount else 75.0)))
            if amount:
                highest.append(0.5 * extreme)
    return max(highest, key=abs)


def round_up(value: float) -> float:
    """The next number that reads well on a colour bar."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    steps = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
    return float(next(step for step in steps if step * power >= value * (1 - 1e-9)) * power)
