"""Measuring methods of the ultrasound phantoms: transition temperature, gains, bolus, linear averaging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import MissingMetadata
from imgtheranostics.phantom.physics import parts_of
from imgtheranostics.phantom.ultrasound_cines import ACIDITY, TIME, Cine, cines_of, scanner_of
from imgtheranostics.validation.methods import MethodMissing, method
from imgtheranostics.validation.mri_maps import api

if TYPE_CHECKING:
    import pandas as pd

    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.regions import Regions
    from imgtheranostics.validation.session import Session
    from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]

BASELINE = 5
"""Frames before anything happens, of the heating and of the bolus."""


@method("transition", unit="Cel", short="transition")
def transition(session: Session, expectation: Expectation) -> float:
    """Temperature at which the echo of a region of droplets has risen half way."""
    volume, cine = _cines(session, expectation)[0]
    power = _course(session, expectation.region, _still(session, volume))
    # a frame that was given up has no power
    known = np.isfinite(power)
    temperature_cel = np.asarray(cine.temperature_cel)[known]
    found = api("activation_temperature", "ultrasound")(power[known], temperature_cel)
    return float(found.parameters["t50_cel"])


@method("last_over_first", unit="1", short="gain")
def last_over_first(session: Session, expectation: Expectation) -> float:
    """Mean linear echo power of a region in the last clip over that in the first, of those at one pH."""
    cines = _cines(session, expectation)
    acid = min(float(cine.case[ACIDITY]) for _, cine in cines)
    clips = sorted((float(cine.case[TIME]), volume) for volume, cine in cines if cine.case[ACIDITY] == acid)
    first, last = clips[0][1], clips[-1][1]
    return _gain(session, expectation.region, session.image(first), session.image(last))


@method("switch_ratio", unit="1", short="gain")
def switch_ratio(session: Session, expectation: Expectation) -> float:
    """Mean linear echo power of a region in the second half of a cine over that in the first."""
    cine = _still(session, _cines(session, expectation)[0][0])
    half = cine.data.shape[-1] // 2
    return _gain(session, expectation.region, _frames(cine, slice(0, half)), _frames(cine, slice(half, None)))


_OF_CURVE = {
    "time_to_peak": "time_to_peak_s",
    "mean_transit_time": "mean_transit_time_s",
    "rise_time": "rise_time_s",
}


@method("bolus", short="bolus")
def bolus(session: Session, expectation: Expectation) -> float:
    """A measure of the lognormal curve that fits the echo power of a region during a bolus."""
    cine = _still(session, _cines(session, expectation)[0][0])
    power = _course(session, expectation.region, cine)
    known = np.isfinite(power)
    fitted = api("fit", "ultrasound.curves")(power[known], cine.axes[0].values[known], model="lognormal")
    found = fitted.parameters
    if expectation.quantity in _OF_CURVE:
        return float(found[_OF_CURVE[expectation.quantity]])
    if expectation.quantity == "peak_enhancement_ratio":
        return float(found["peak_enhancement"] / found["baseline"])
    raise MethodMissing(f"measure {expectation.quantity} of a bolus")


@method("linear_averaging", unit="1", short="linear")
def linear_averaging(session: Session, expectation: Expectation) -> float:
    """1 where grey levels have no enhancement without a dynamic range, and with it that of their mean power.

    The region is taken together with the skin: its mean grey level is not that of its mean power.
    """
    cine = session.image(_cines(session, expectation)[0][0])
    mixed = _together(session, (_core(session, expectation.region), "skin"))
    enhancement = api("enhancement", "ultrasound")
    try:
        enhancement(cine, rois=mixed, baseline_frames=BASELINE)
    except MissingMetadata:
        pass
    else:
        return 0.0
    table = enhancement(cine, rois=mixed, baseline_frames=BASELINE, dynamic_range_db=_range_db(session))
    found = table[table["quantity"] == "echo_intensity"]["mean"].to_numpy()
    grey = cine.data[mixed.mask("mixed")].astype(np.float64)
    levels_db = _range_db(session) * grey / float(getattr(cine.acquisition, "grey_max", None) or 255.0)
    power = np.mean(10.0 ** (levels_db / 10.0), axis=0)
    far = np.abs(levels_db.mean(axis=0) - 10.0 * np.log10(power)) > _CLOSE_DB
    return float(np.all(np.abs(10.0 * np.log10(found / power)) < _CLOSE_DB) and far.all())


_CLOSE_DB = 0.1
"""Less than what one grey level is, of 60 dB in 255."""


def _cines(session: Session, expectation: Expectation) -> list[tuple[int, Cine]]:
    """The cines of an expectation, with the number of their images."""
    spec = session.phantom.spec
    first = next(part.first for part in parts_of(spec) if part.physics.modality == "US")
    cines = cines_of(spec)
    return [(volume, cines[volume - first]) for volume, _ in expectation.places]


def _range_db(session: Session) -> float:
    """What the user reads off the scanner's screen."""
    return scanner_of(session.phantom.spec).dynamic_range_db


def _still(session: Session, volume: int) -> Volume:
    """A cine with its frames brought onto each other, where the subject breathes."""
    cine = session.image(volume)
    if session.phantom.level < 2:
        return cine

    def make() -> Any:
        # a frame that is given up does not count
        return api("motion_compensate", "ultrasound")(cine, rejected="nan")[0]

    still: Volume = session.kept(("still", volume), make)
    return still


def _core(session: Session, region: str) -> str:
    """The part of a region that blur and breathing leave alone, where there is one."""
    name = f"{region}_core"
    return name if name in session.phantom.regions else region


def _course(session: Session, region: str, cine: Volume) -> FloatArray:
    """Mean linear echo power of a region in every frame."""
    name = _core(session, region)
    table = api("enhancement", "ultrasound")(
        cine,
        rois=session.phantom.regions.subset([name]),
        baseline_frames=BASELINE,
        dynamic_range_db=_range_db(session),
    )
    return np.asarray(table[table["quantity"] == "echo_intensity"]["mean"], np.float64)


def _gain(session: Session, region: str, before: Volume, after: Volume) -> float:
    name = _core(session, region)
    table: pd.DataFrame = api("gain", "ultrasound")(
        before,
        after,
        rois=session.phantom.regions.subset([name]),
        dynamic_range_db=_range_db(session),
    )
    return float(table[table["quantity"] == "echo_gain"]["mean"].iloc[0])


def _frames(cine: Volume, which: slice) -> Volume:
    """Some of the frames of a cine."""
    from dataclasses import replace

    axis = replace(cine.axes[0], values=cine.axes[0].values[which])
    return cine.replace(data=np.asfortranarray(cine.data[..., which]), axes=(axis,))


def _together(session: Session, names: tuple[str, ...]) -> Regions:
    """Several regions as one."""
    from imgtheranostics.regions import Regions

    regions = session.phantom.regions
    union = np.logical_or.reduce([regions.mask(name) for name in names])
    return Regions.from_masks({"mixed": union}, regions.grid)
