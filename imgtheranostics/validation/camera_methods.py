"""Measuring methods of gamma cameras: counts left, loose label, lost counts, two isotopes at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.nuclear import (
    Crosstalk,
    correct_dead_time,
    crosstalk_from_vials,
    free_label_pattern,
    separate_isotopes,
    time_activity,
)
from imgtheranostics.phantom.physics import parts_of
from imgtheranostics.validation.detection import straight_line
from imgtheranostics.validation.emission_methods import vials_of
from imgtheranostics.validation.methods import MethodMissing, best, exposure_of, method

if TYPE_CHECKING:
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session
    from imgtheranostics.volume import Volume

FREE_PERTECHNETATE = ("stomach", "thyroid", "bladder")
"""Where 99mTc goes that came loose from its carrier (pertechnetate)."""

SPILL = ((1.0, 0.25), (0.05, 1.0))
"""Counts of two isotopes (columns) in the energy windows of both, over those in their own; made up."""


@method("count_fraction", unit="1", short="counts left")
def count_fraction(session: Session, expectation: Expectation) -> float:
    """Activity at the last of the times as it was, over that at the first, decay-corrected to injection."""
    first, last = expectation.places[0][0], expectation.places[-1][0]
    region = best(session, expectation.region)
    at_injection = session.curve(first, "activity_concentration")[region].mean
    return session.curve(last, "activity_concentration", decay_corrected=False)[region].mean / at_injection


@method("free_pertechnetate", unit="%", short="free label")
def free_pertechnetate(session: Session, expectation: Expectation) -> float:
    """Share of the injected dose in the organs of free 99mTc: %ID/mL times the volume that is known."""
    volumes = session.phantom.mixture.volumes_ml()
    place = expectation.places[0]
    return sum(
        session.mean(place, "id_per_ml", best(session, organ)) * volumes[organ]
        for organ in FREE_PERTECHNETATE
    )


@method("free_label_warning", unit="1", short="free label?")
def free_label_warning(session: Session, expectation: Expectation) -> float:
    """1 where the table of the regions carries the warning that the label may have come loose."""
    volume = expectation.places[0][0]
    table = _table(session, volume, session.image(volume), expectation.quantity)
    found = free_label_pattern(table, nuclide=exposure_of(session, volume).label)
    told = {caution.code for caution in (*table.attrs["warnings"], *found)}
    return float("free-label-pattern" in told)


@method("restored_factor", unit="1", short="restored")
def restored_factor(session: Session, expectation: Expectation) -> float:
    """As the calibration factor, with lost counts restored in the image before it is calibrated."""
    volume = expectation.places[0][0]
    return _factor(session, volume, _restored(session, volume))


@method("separated_factor", unit="1", short="separated")
def separated_factor(session: Session, expectation: Expectation) -> float:
    """As the calibration factor, out of a scan of two isotopes at once.

    The phantom is scanned with each isotope alone. A scan of both is the sum of its images and of what each
    spills into the other's window, counts of their own above level 0. The crosstalk is measured as with a
    vial of each, with other counts again.
    """
    asked = expectation.places[0][0]
    volumes = [
        part.first + number
        for part in parts_of(session.phantom.spec)
        if part.physics.modality == "SPECT"
        for number in range(len(part.names))
    ]
    if len(volumes) != 2:
        raise MethodMissing("separation of other than two isotopes")
    labels = [exposure_of(session, volume).label for volume in volumes]
    alone = [_restored(session, volume) for volume in volumes]
    rng = np.random.Generator(np.random.Philox(session.phantom.spec.seed))

    def counts(expected: Any) -> Any:
        return rng.poisson(np.maximum(expected, 0.0)) if session.phantom.level else expected

    windows = [
        image.replace(data=np.float32(image.data + counts(SPILL[n][1 - n] * alone[1 - n].data)))
        for n, image in enumerate(alone)
    ]
    totals = [float(image.data.sum(dtype=np.float64)) for image in alone]
    vials = [[counts(SPILL[window][n] * total) for window in (0, 1)] for n, total in enumerate(totals)]
    crosstalk: Crosstalk = crosstalk_from_vials(vials, labels)
    found = separate_isotopes(windows, crosstalk=crosstalk)
    return _factor(session, asked, found[exposure_of(session, asked).label].value)


def _restored(session: Session, volume: int) -> Volume:
    known = session.calibration(volume)
    if known is None:
        raise MethodMissing("image of counts")
    return correct_dead_time(session.image(volume), tau_s=known.dead_time_s)


def _table(session: Session, volume: int, image: Volume, quantity: str, **options: Any) -> Any:
    known = session.calibration(volume)
    options = {"sensitivity_cps_mbq": known, **options}
    return time_activity(image, session.phantom.regions, quantity=quantity, peak=False, **options)


def _factor(session: Session, volume: int, image: Volume) -> float:
    """Slope of measured over true activity concentration of the vials, of counts without losses."""
    known = session.calibration(volume)
    assert known is not None  # noqa: S101
    table = _table(
        session,
        volume,
        image,
        "activity_concentration",
        sensitivity_cps_mbq=replace(known, dead_time_s=0.0),
    )
    curve = dict(zip(table["region"], zip(table["axis_value"], table["mean"], strict=True), strict=True))
    return straight_line(*vials_of(session, volume, curve))[0]
