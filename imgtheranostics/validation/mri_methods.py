"""Measuring methods of the MR and MPI phantoms: ratios of T1, changes, slopes over vials, heat."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.phantom.cases import cases_of
from imgtheranostics.phantom.mri_tissue import ELEMENTS
from imgtheranostics.phantom.physics import part_with
from imgtheranostics.regions import roi_statistics
from imgtheranostics.units import conversion_factor
from imgtheranostics.validation import ct_methods, mri_amounts, mri_heat, mri_maps
from imgtheranostics.validation.detection import straight_line
from imgtheranostics.validation.methods import MethodMissing, method
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.phantom.truth import Expectation
    from imgtheranostics.validation.session import Session

FloatArray = npt.NDArray[np.float64]

VIAL = "vial"
"""Beginning of the names of regions with a known concentration."""


def region_mean(session: Session, found: Volume | Estimate, region: str) -> float:
    """Mean of a map in a region, or in its core where it has one."""
    table = roi_statistics(found, session.phantom.regions)
    means = dict(zip(table["region"], table["mean"], strict=True))
    return float(means[best(session, region)])


def best(session: Session, region: str) -> str:
    """The core of a region, where there is one: it keeps its signal at the image's resolution."""
    core = f"{region}_core"
    return core if core in session.phantom.regions.names.values() else region


def _truth(session: Session, expectation: Expectation, place: tuple[int, int]) -> float:
    physics, number = part_with(session.phantom.spec, place[0])
    return physics.region_truth(
        session.phantom.spec, expectation.region, expectation.quantity, number, place[1]
    )


@method("ratio_without_b1", unit="1", short="no B1 map")
def ratio_without_b1(session: Session, expectation: Expectation) -> float:
    """T1 over its truth where the flip angles are taken as nominal."""
    place = expectation.places[0]
    found = mri_maps.t1(session, place[0], with_b1=False)
    return region_mean(session, found, expectation.region) / _truth(session, expectation, place)


@method("ratio_with_b1", unit="1", short="B1 map")
def ratio_with_b1(session: Session, expectation: Expectation) -> float:
    """T1 with the B1 map over its truth: of all images the ratio that lies furthest from 1."""
    ratios = []
    for place in expectation.places:
        found = mri_maps.t1(session, place[0])
        truth = _truth(session, expectation, place)
        ratios.append(region_mean(session, found, expectation.region) / truth)
    return max(ratios, key=lambda ratio: abs(ratio - 1.0))


@method("order", unit="1", short="order")
def order(session: Session, expectation: Expectation) -> float:
    """1 when the enhancement rises from each image to the next, else 0."""
    if expectation.quantity != "enhancement":
        raise MethodMissing(f"order of {expectation.quantity}")
    region = best(session, expectation.region)
    values = [session.mean((volume, 0), "enhancement", region) for volume, _ in expectation.places]
    return float(all(low < high for low, high in pairwise(values)))


@method("half_life", unit="h", short="half-life")
def half_life(session: Session, expectation: Expectation) -> float:
    """Half-life of one exponential through the concentrations of all doses, each with its amplitude, h."""
    spec = session.phantom.spec
    time, cases = spec.axis_of("time"), cases_of(spec)
    if time is None:
        raise MethodMissing("half-life without times")
    hours = conversion_factor(time.unit, "h")
    groups: dict[tuple[object, ...], list[tuple[float, float]]] = {}
    region = best(session, expectation.region)
    for place in expectation.places:
        case = cases[place[0]]
        others = tuple(value for kind, value in case.items() if kind != "time")
        value = session.mean(place, expectation.quantity, region)
        groups.setdefault(others, []).append((hours * float(case["time"]), value))
    series = [np.array(sorted(points)).T for points in groups.values()]
    return common_half_life([(times, values) for times, values in series])


def common_half_life(series: list[tuple[FloatArray, FloatArray]]) -> float:
    """Least-squares half-life that several curves share, by golden section over its logarithm.

    Parameters
    ----------
    series : list of (times, values)
        Each curve has an amplitude of its own, solved in closed form.

    Returns
    -------
    float
        In the unit of the times.
    """

    def misfit(log_half_life: float) -> float:
        total = 0.0
        for times, values in series:
            shape = np.exp2(-times / np.exp(log_half_life))
            left = values - shape * (shape @ values) / (shape @ shape)
            total += float(left @ left)
        return total

    longest = max(float(times.max()) for times, _ in series)
    low, high = np.log(longest / 1000), np.log(longest * 10)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(80):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, second) if misfit(first) < misfit(second) else (first, high)
    return float(np.exp((low + high) / 2))


@method("change", short="change")
def change(session: Session, expectation: Expectation) -> float:
    """Change of a rate between the first and the last state, as a map of the change; or of HU in CT."""
    if session.modality(expectation.places[0][0]) == "CT":
        return ct_methods.change_of_attenuation(session, expectation)
    if not expectation.quantity.startswith("delta_"):
        raise MethodMissing(f"change of {expectation.quantity}")
    (first, _), (last, _) = expectation.places[0], expectation.places[-1]
    pre = session.kept(("image", first), lambda: session.image(first))
    found = mri_maps.api(f"{expectation.quantity}_map")(session.image(last), pre)
    return region_mean(session, found, expectation.region)


@method("region_change", short="region change")
def region_change(session: Session, expectation: Expectation) -> float:
    """Change of R2* between the states, each from the root mean square of the region's magnitudes.

    Of the square of a magnitude the noise floor is known exactly, so that the average over the region comes
    before the fit, where single voxels are too noisy for a rate.
    """
    if expectation.quantity != "delta_r2star":
        raise MethodMissing(f"region change of {expectation.quantity}")
    inside = session.phantom.regions.mask(best(session, expectation.region))
    rates = []
    for volume, _ in (expectation.places[0], expectation.places[-1]):
        image = session.image(volume)
        axis = image.axis("echo_time")
        assert axis is not None  # noqa: S101
        curve = np.sqrt(np.square(image.data[inside], dtype=np.float64).mean(axis=0))
        sd = mri_maps.api("background_noise_sd", "mri.noise")(image)
        fit = mri_maps.api("fit_t2star", "mri.relaxometry")(
            curve, axis.values, model="noise_floor", noise_sd=sd
        )
        rates.append(1.0 / float(fit.parameters["t2star_s"]))
    return rates[1] - rates[0]


@method("state_ratio", unit="1", short="state ratio")
def state_ratio(session: Session, expectation: Expectation) -> float:
    """Mean of a quantity in the last state over that in the first."""
    first, last = (
        session.mean(place, expectation.quantity, expectation.region)
        for place in (expectation.places[0], expectation.places[-1])
    )
    return last / first


_SCANS = {"r1": "inversion", "r2": "spin-echo", "r2star": ""}
"""Scan that a rate of the vials is measured with; empty for the main one."""


@method("slope", short="slope")
def slope(session: Session, expectation: Expectation) -> float:
    """Slope over the vials: rate over concentration (a relaxivity), or measured over true amount."""
    place = expectation.places[0]
    if expectation.quantity not in _SCANS:
        return mri_amounts.slope_over_vials(session, place[0], expectation.quantity)
    volume = place[0]
    if _SCANS[expectation.quantity]:
        volume = mri_maps.needed(session, volume, _SCANS[expectation.quantity])
    concentration, rates = _over_vials(
        session, mri_maps.quantified(session, volume, expectation.quantity), volume
    )
    return straight_line(concentration, rates)[0]


def molar_vials(session: Session, volume: int) -> tuple[FloatArray, FloatArray]:
    """True and measured molar concentration of each vial, mmol/L."""
    spec = session.phantom.spec
    quantity = next(name for name in ELEMENTS if any(region.states(name) for region in spec.regions))
    return _over_vials(session, session.quantified(volume, quantity), volume)


def _over_vials(session: Session, found: Volume | Estimate, volume: int) -> tuple[FloatArray, FloatArray]:
    """True molar concentration of each vial, mmol/L, and the mean of a map in it."""
    physics, number = part_with(session.phantom.spec, volume)
    table = roi_statistics(found, session.phantom.regions)
    means = dict(zip(table["region"], table["mean"], strict=True))
    true, measured = [], []
    for region in session.phantom.spec.regions:
        quantity = next((name for name in ELEMENTS if region.states(name)), None)
        if region.name.startswith(VIAL) and quantity is not None:
            true.append(physics.region_truth(session.phantom.spec, region.name, quantity, number))
            measured.append(float(means[best(session, region.name)]))
    rank = np.argsort(true)
    return np.array(true)[rank], np.array(measured)[rank]


@method("sign_flip", unit="mmol/L", short="sign flip")
def sign_flip(session: Session, expectation: Expectation) -> float:
    """Concentration at which darkening cancels brightening: the signal of the vial without agent again."""
    volume, frame = expectation.places[0]
    concentration, signals = _over_vials(session, session.image(volume).frame(frame), volume)
    return crossing(concentration, np.log(signals / signals[0]))


def crossing(x: FloatArray, y: FloatArray) -> float:
    """Last place where a sampled smooth curve falls through zero, by a cubic through four neighbours.

    Raises
    ------
    MethodMissing
        If it does not.
    """
    falls = np.flatnonzero((y[:-1] > 0) & (y[1:] <= 0))
    if not falls.size:
        raise MethodMissing("sign flip within the concentrations of the vials")
    n = int(falls[-1])
    start = min(max(n - 1, 0), x.size - 4)
    near = slice(start, start + 4)
    # x as a function of y, which is monotone around the crossing
    return float(sum(_lagrange(y[near], m) * x[near][m] for m in range(4)))


def _lagrange(nodes: FloatArray, m: int) -> float:
    """Weight at 0 of one of the nodes."""
    others = np.delete(nodes, m)
    return float(np.prod(-others / (nodes[m] - others)))


@method("dice_above_41", unit="1", short="Dice > 41 Cel")
def dice_above_41(session: Session, expectation: Expectation) -> float:
    """Overlap of the region with where the last image is warmer than 41 Cel, as Dice's coefficient.

    The region is that of the voxels of which it fills at least half, at every level.
    """
    volume, frame = expectation.places[-1]
    found = session.quantified(volume, "temperature_change")
    rise = (found.value if isinstance(found, Estimate) else found).data[..., frame]
    warm = rise + mri_heat.resting_cel(session.phantom.spec) > 41.0
    mixture = session.phantom.mixture
    inside = mixture.nominal() == mixture.names.index(expectation.region) + 1
    return float(2 * np.sum(warm & inside) / (np.sum(warm) + np.sum(inside)))


@method("initial_slope", unit="Cel/min", short="initial slope")
def initial_slope(session: Session, expectation: Expectation) -> float:
    """Warming at the start of the series, Cel/min: from the power per gram of iron."""
    found = session.quantified(expectation.places[0][0], "specific_absorption_rate")
    power = region_mean(session, found, expectation.region)
    return mri_heat.heating_rate_per_min(power, session.phantom.spec)


@method("background", short="background")
def background(session: Session, expectation: Expectation) -> float:
    """Amount that the signal around the vials would stand for, in the unit of the quantity."""
    return mri_amounts.background_amount(session, expectation.places[0][0], expectation.quantity)
