"""Measuring methods of groups of animals: means, ratios and scatter of groups, and a scan that drifted."""

from __future__ import annotations

import math
from statistics import mean, median, stdev
from typing import TYPE_CHECKING

from imgtheranostics.validation.methods import MethodMissing, best, exposure_of, method

if TYPE_CHECKING:
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session


@method("group_ratio", unit="1", short="group ratio")
def group_ratio(session: Session, expectation: Expectation) -> float:
    """Mean over the animals of the first group over that of the second."""
    spec = session.phantom.spec
    groups = [str(value) for axis in (spec.axis, *spec.axes) if axis.kind == "group" for value in axis.values]
    if len(groups) != 2:
        raise MethodMissing("ratio of other than two groups")
    found: dict[str, list[float]] = {name: [] for name in groups}
    for volume, value in _animals(session, expectation).items():
        found[str(exposure_of(session, volume).case["group"])].append(value)
    means = [mean(values) for values in found.values()]
    return means[0] / means[1]


@method("group_mean", short="group mean")
def group_mean(session: Session, expectation: Expectation) -> float:
    """Mean over the animals."""
    return mean(_animals(session, expectation).values())


@method("group_variation", unit="1", short="group CV")
def group_variation(session: Session, expectation: Expectation) -> float:
    """Standard deviation (n - 1) over the animals, over their mean."""
    values = list(_animals(session, expectation).values())
    return stdev(values) / mean(values)


@method("largest_drift", unit="1", short="drift")
def largest_drift(session: Session, expectation: Expectation) -> float:
    """Relative deviation of that scan that deviates most from the other times of its animal, as others do.

    With the logarithm of each animal's mean as animal plus time, the time is the median over the animals
    of the difference to the animal's other times.
    """
    by_animal: dict[str, dict[float, float]] = {}
    for volume, value in _animals(session, expectation).items():
        scan = exposure_of(session, volume)
        animal, _, _ = scan.name.rpartition("_t")
        by_animal.setdefault(animal, {})[float(scan.case["time"])] = math.log(value)
    times = sorted({time for curve in by_animal.values() for time in curve})
    if len(times) < 2 or any(len(curve) != len(times) for curve in by_animal.values()):
        raise MethodMissing("drift of animals without the same times")
    found = []
    for time in times:
        steps = [
            curve[time] - mean(other for at, other in curve.items() if at != time)
            for curve in by_animal.values()
        ]
        usual = median(steps)
        found += [step - usual for step in steps]
    # a drifted scan is part of what its animal's other scans are compared with, too
    return math.expm1(max(found, key=abs))


def _animals(session: Session, expectation: Expectation) -> dict[int, float]:
    """Mean of the region in each image of the expectation."""
    region = best(session, expectation.region)
    return {place[0]: session.mean(place, expectation.quantity, region) for place in expectation.places}
