"""Gas challenges of images over time: one moment of change for all voxels, maps and a table of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, MissingMetadata, UnsupportedInput, merge_cautions
from imgtheranostics.fit import CurveFit, Fit
from imgtheranostics.mapping.estimates import share_cautions
from imgtheranostics.mapping.frame_seconds import frame_seconds
from imgtheranostics.mapping.refusals import UnknownChoice, typed_refusals
from imgtheranostics.mapping.voxels import Mask, mask_array
from imgtheranostics.msot import gas_challenge
from imgtheranostics.msot.challenge_regions import challenge_curve, challenge_table
from imgtheranostics.msot.challenge_voxels import voxel_changes
from imgtheranostics.msot.oxygenation_maps import Oxygenation
from imgtheranostics.msot.region_averages import known_regions
from imgtheranostics.msot.region_oxygenation import region_so2
from imgtheranostics.pickling import reduced
from imgtheranostics.regions import Regions, region_curve
from imgtheranostics.volume import Axis, Estimate, Flag, Volume, make_step

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GasChallenge:
    """What oxygen saturation did when the gas was changed.

    Attributes
    ----------
    delta : Estimate
        ``delta_so2`` of each voxel in %, with ``baseline``, ``challenge``, ``baseline_sd`` and ``responding``
        in `maps`.
    table : pandas.DataFrame or None
        One row per region with the columns of
        `imgtheranostics.msot.challenge_regions.COLUMNS`; from the saturation of its mean haemoglobin.
    curves : tuple of CurveFit
        Saturation of each region over time, with the two states drawn.
    change_s, change_low_s, change_high_s : float
        When the gas was changed, and the interval around it; the same for all voxels and regions.
    decisions : mapping
    warnings : tuple of Caution
    """

    delta: Estimate
    table: pd.DataFrame | None
    curves: tuple[CurveFit, ...]
    change_s: float
    change_low_s: float
    change_high_s: float
    decisions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Caution, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "decisions", MappingProxyType(dict(self.decisions)))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self, decisions=dict(self.decisions))


def delta_so2(
    given: Oxygenation | Estimate,
    rois: Regions | None = None,
    *,
    change_s: float | None = None,
    find_in: str | None = None,
    buffer_frames: int = gas_challenge.BUFFER_FRAMES,
    from_s: float | None = None,
    until_s: float | None = None,
    level: float = 0.95,
    mask: Mask = None,
    resolution_mm: float | Sequence[float] | None = None,
    workers: int | None = None,
) -> GasChallenge:
    """Change of oxygen saturation when the breathing gas is changed (msot.md M8).

    Parameters
    ----------
    given : Oxygenation or Estimate
        With an axis ``time``. Of an Oxygenation, voxels have the saturation of their mean amounts in either
        state, which weak voxels need, and regions that of their mean haemoglobin in each frame. Of an
        Estimate of ``so2``, both have means of saturations.
    rois : Regions, optional
    change_s : float, optional
        When the gas was changed, on the time axis. Without it, it is found once, in the mean curve.
    find_in : str, optional
        Region in whose mean the change is looked for; by default all regions together, without regions all
        voxels of the mask.
    buffer_frames : int
        Frames on each side of the change that belong to neither state.
    from_s, until_s : float, optional
        Frames in between are used, such as those before the gas is changed back.
    level : float
        Probability of the intervals, of the change and of its moment.
    mask : Volume, Regions or (i, j, k) array_like, optional
        For the maps.
    resolution_mm, workers
        As in `imgtheranostics.msot.region_means`.

    Returns
    -------
    GasChallenge

    Raises
    ------
    MissingMetadata
        If there is no time axis.
    IllConditioned
        If no change is given and none can be told from noise.
    UnsupportedInput
        If the image is no saturation, or too few frames are left.
    UnknownChoice
        If a region does not exist, or an option applies to nothing.
    GeometryMismatch
        If regions or mask lie on another grid.
    """
    saturation = given.so2 if isinstance(given, Oxygenation) else given
    times = _times(saturation)
    if find_in is not None and (rois is None or change_s is not None):
        raise UnknownChoice("find_in= applies where there are regions and the change is not given")
    options: dict[str, Any] = {
        "buffer_frames": buffer_frames,
        "from_s": from_s,
        "until_s": until_s,
        "level": level,
    }
    fitted = None if rois is None else rois.fit_to(saturation.grid)
    curves = {} if fitted is None else _region_curves(given, fitted, resolution_mm, workers)
    inside = None if mask is None else mask_array(mask, saturation.value)
    if change_s is None:
        curve, where = _searched(given, fitted, find_in, curves, inside, resolution_mm, workers)
        change = _found_change(curve, times, where, options)
    else:
        change, where = (float(change_s),) * 3, "given"
    with typed_refusals():
        maps = _voxels(given, saturation, times, change[0], options, inside)
        of_regions = {
            name: gas_challenge.delta_so2(curve, times, change_s=change[0], unit="%", **options)
            for name, curve in curves.items()
        }
    decisions = {
        "rule": "mean of the challenge minus mean of the baseline",
        "change": "given" if change_s is not None else f"found in the mean of {where}",
        "change_s": list(change),
        **options,
    }
    notes = merge_cautions(saturation.warnings, _cautions(change, times, buffer_frames))
    return GasChallenge(
        _delta_map(saturation, maps, decisions, notes),
        None if fitted is None else challenge_table(of_regions, change),
        tuple(
            challenge_curve(name, curves[name], fit, times, change[0], saturation.unit)
            for name, fit in of_regions.items()
        ),
        *change,
        decisions,
        notes,
    )


def _times(saturation: Estimate) -> FloatArray:
    if saturation.quantity != "so2":
        raise UnsupportedInput(
            "a gas challenge needs oxygen saturation",
            found=saturation.quantity,
            needed="so2, of msot.oxygenation",
        )
    axis: Axis | None = saturation.axes[0] if len(saturation.axes) == 1 else None
    if axis is None or axis.name != "time":
        raise MissingMetadata(
            "a gas challenge needs images over time",
            where="time axis",
            found=", ".join(axis.name for axis in saturation.axes) or "one image",
            needed="an axis of time and no other",
            next_step="load the frames as one series, with FrameTimes in the sidecar",
        )
    return frame_seconds(axis)


def _region_curves(
    given: Oxygenation | Estimate,
    regions: Regions,
    resolution_mm: float | Sequence[float] | None,
    workers: int | None,
) -> dict[str, FloatArray]:
    """Saturation of each region over time: of its mean haemoglobin, or the mean of the map."""
    if isinstance(given, Oxygenation):
        found = region_so2(given, regions, resolution_mm=resolution_mm, workers=workers)
        return {one.region: one.so2 for one in found}
    means = region_curve(given.value, regions, workers=workers)
    return dict(zip(regions, means.T, strict=True))


def _searched(
    given: Oxygenation | Estimate,
    regions: Regions | None,
    find_in: str | None,
    curves: Mapping[str, FloatArray],
    inside: npt.NDArray[np.bool_] | None,
    resolution_mm: float | Sequence[float] | None,
    workers: int | None,
) -> tuple[FloatArray, str]:
    """The curve in which the change is looked for, and what it is the mean of."""
    value = given.so2.value if isinstance(given, Oxygenation) else given.value
    if find_in is not None and regions is not None:
        known_regions(regions, [find_in])
        return curves[find_in], f"region {find_in}"
    where = "all regions" if regions is not None else "all voxels" if inside is None else "the mask"
    union = regions.union() if regions is not None else inside
    if union is None:
        union = np.ones(value.grid.shape, np.bool_)
    together = Regions.from_masks({where: union}, value.grid)
    return _region_curves(given, together, resolution_mm, workers)[where], where


def _found_change(
    curve: FloatArray, times: FloatArray, where: str, options: Mapping[str, Any]
) -> tuple[float, float, float]:
    used = np.ones(times.size, np.bool_)
    for name, outside in (("from_s", np.less), ("until_s", np.greater)):
        if options[name] is not None:
            used &= ~outside(times, options[name])
    with typed_refusals():
        found = gas_challenge.change_point(curve[used], times[used], level=options["level"])
    if found.flags:
        lost = bool(found.flags & Flag.INVALID_INPUT.value)
        chance = float(found.parameters["p_value"])
        raise IllConditioned(
            f"no change of oxygen saturation is seen in the mean of {where}",
            where="change_s",
            found="frames without a saturation"
            if lost
            else f"noise alone does as much in {chance:.2g} of cases",
            needed="a step above the noise, or the time at which the gas was changed",
            next_step="give change_s= (--challenge), or a region that responds with find_in= (--find-in)",
        )
    low, middle, high = (
        float(found.parameters[name]) for name in ("change_low_s", "change_s", "change_high_s")
    )
    return middle, low, high


def _voxels(
    given: Oxygenation | Estimate,
    saturation: Estimate,
    times: FloatArray,
    change_s: float,
    options: Mapping[str, Any],
    inside: npt.NDArray[np.bool_] | None,
) -> Fit:
    """Change of each voxel: of its mean amounts where these are known, else of its saturations."""
    if not isinstance(given, Oxygenation):
        return gas_challenge.delta_so2(
            saturation.value.data, times, change_s=change_s, unit="%", mask=inside, **options
        )
    chosen = {name: options[name] for name in ("buffer_frames", "from_s", "until_s")}
    states = gas_challenge.state_frames(times, change_s, **chosen)
    return voxel_changes(given.unmixed.fit, given.hbo2, given.hb, states, mask=inside)


def _cautions(
    change: tuple[float, float, float], times: FloatArray, buffer_frames: int
) -> tuple[Caution, ...]:
    """A caution where the change is less well known than the buffer is wide."""
    middle, low, high = change
    frames = max(
        np.count_nonzero((times > low) & (times < middle)),
        np.count_nonzero((times > middle) & (times < high)),
    )
    if frames <= buffer_frames:
        return ()
    text = (
        f"the change lies between {low:g} and {high:g} s, up to {frames} frames from where it was taken, and "
        f"only {buffer_frames} are left out: the means may hold frames of the other state"
    )
    return (Caution("change-uncertain", text, "change_s"),)


def _delta_map(
    saturation: Estimate, fit: Fit, decisions: Mapping[str, Any], notes: tuple[Caution, ...]
) -> Estimate:
    image = saturation.value
    weak = (saturation.flags.data & (Flag.BELOW_NOISE.value | Flag.NEGATIVE_AMPLITUDE.value)).any(axis=-1)
    flags = np.array(fit.flags)
    lost = (flags & Flag.INVALID_INPUT.value) != 0
    flags[lost & weak] = Flag.BELOW_NOISE.value
    step = make_step("delta_so2", change_s=decisions["change_s"][0], buffer_frames=decisions["buffer_frames"])
    value = image.derived(fit.parameters["delta_so2"], "delta_so2", "%", step, axes=())
    value = value.replace(warnings=notes).with_warnings(*share_cautions(flags, value.data, "delta_so2"))
    plain = value.replace(warnings=())
    beside: dict[str, Volume] = {
        name: plain.replace(data=fit.parameters[name], quantity="so2")
        for name in ("baseline", "challenge", "baseline_sd")
    }
    beside["responding"] = plain.replace(data=fit.parameters["responding"], quantity="responding", unit="1")
    return Estimate(
        value,
        plain.replace(data=fit.standard_errors["delta_so2"]),
        plain.replace(data=flags, quantity="flags", unit="1"),
        decisions={"delta_so2": dict(decisions), **saturation.decisions},
        maps=beside,
    )
