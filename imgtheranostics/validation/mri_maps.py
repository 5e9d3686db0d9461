"""Maps of the MR phantoms as a user makes them: which scans go together, and what is known beside them.

What a user would know and no header says is taken from the phantom file: the agent and its relaxivity where
its record has none, the plasma input, the temperature at rest.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.phantom.mri_scans import Scan, scanner_of, scans_of
from imgtheranostics.phantom.mri_tissue import ELEMENTS
from imgtheranostics.phantom.mri_truth import T1_WEIGHTED_DEG
from imgtheranostics.phantom.physics import parts_of
from imgtheranostics.units import QUANTITIES
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.volume import Estimate, Volume, make_step

if TYPE_CHECKING:
    from imgtheranostics.phantom.spec import PhantomSpec
    from imgtheranostics.validation.session import Session

Map = Volume | Estimate

B1, BEFORE, T10, MAGNITUDE = "b1", "before", "t10", "magnitude"
"""Roles of scans beside the main one."""
PERFUSION = ("ktrans", "ve", "vp")
HEAT = ("temperature_change", "cem43", "specific_absorption_rate")


def quantified(session: Session, volume: int, quantity: str) -> Map:
    """The map of a quantity from one main scan of an MR phantom, by the public API.

    Raises
    ------
    MethodMissing
        If the package has no method for it yet.
    ImgTheranosticsError
        If the method refuses the images.
    """
    image = session.image(volume)
    if quantity == image.quantity:
        return image
    maker = _MAKERS.get(quantity)
    if maker is None:
        raise MethodMissing(f"method for {quantity}")
    return maker(session, volume, quantity)


def api(name: str, module: str = "mri") -> Any:
    """A function of the public API.

    Raises
    ------
    MethodMissing
        If it does not exist yet.
    """
    try:
        return getattr(import_module(f"imgtheranostics.{module}"), name)
    except (AttributeError, ImportError) as error:
        raise MethodMissing(f"imgtheranostics.{module}.{name}") from error


def scan_of(session: Session, volume: int) -> Scan:
    """The scan of a volume."""
    return scans_of(session.phantom.spec)[volume - _first(session.phantom.spec)]


def companion(session: Session, volume: int, role: str) -> int | None:
    """The scan of that role which belongs to a main scan, or None where the phantom has none."""
    spec = session.phantom.spec
    scans, case = scans_of(spec), scan_of(session, volume).case
    for number, scan in enumerate(scans):
        if scan.role == role and all(case.get(kind) == value for kind, value in scan.case.items()):
            return number + _first(spec)
    return None


def needed(session: Session, volume: int, role: str) -> int:
    """As `companion`; MethodMissing where the phantom has none."""
    found = companion(session, volume, role)
    if found is None:
        raise MethodMissing(f"scan {role!r} in the phantom")
    return found


def b1_map(session: Session, volume: int) -> Volume | None:
    """The transmit field by two flip angles at full relaxation; None where it was not scanned."""
    number = companion(session, volume, B1)
    if number is None:
        return None

    def make() -> Volume:
        image = session.image(number)
        axis = image.axis("flip_angle")
        assert axis is not None  # noqa: S101
        fit = api("double_angle", "mri.b1")(image.data, axis.values)
        return image.derived(
            fit.parameters["relative_b1"], "relative_b1", "1", make_step("double_angle"), axes=()
        )

    made: Volume = session.kept((B1, number), make)
    return made


def t1(session: Session, volume: int, quantity: str = "t1", *, with_b1: bool = True) -> Estimate:
    """T1 by the samples of the scan, with the B1 map where there is one."""
    field = b1_map(session, volume) if with_b1 else None
    options = {"b1": field} if session.image(volume).axis("flip_angle") is not None else {}
    found: Estimate = api("t1_map")(session.image(volume), **options)
    return found


def t1_before(session: Session, volume: int) -> Estimate:
    """T1 before the agent, from the scan that belongs to this one."""
    roles = [role for role in (BEFORE, T10) if companion(session, volume, role) is not None]
    number = needed(session, volume, roles[0] if roles else BEFORE)
    found: Estimate = session.kept((BEFORE, number), lambda: t1(session, number))
    return found


def molar_concentration(session: Session, volume: int, quantity: str) -> Estimate:
    """Concentration from the change of R1 since before the agent, else from that of the signal."""
    if not session.image(volume).axes:
        return signal_concentration(session, volume, quantity)
    options = agent_options(session.phantom.spec)
    after = t1(session, volume)
    found: Estimate = api("concentration")(after, t1_before(session, volume), **options)
    if found.quantity != quantity:
        raise MethodMissing(f"{quantity} of this agent")
    return found


def agent_options(spec: PhantomSpec) -> dict[str, Any]:
    """Agent or relaxivity, as a user gives them."""
    own = scanner_of(spec).relaxivity
    if own:
        return {"relaxivity": own["r1"], "per": "Gd"}
    records = [agent.record for agent in (spec.agent, *spec.agents) if _has_relaxivity(agent.record)]
    return {"agent": records[0]}


def rate(session: Session, volume: int, quantity: str) -> Volume:
    """R1, R2 or R2* as the inverse of the time that is fitted."""
    time = f"t{quantity[1:]}"
    fitted = t1(session, volume) if time == "t1" else api(f"{time}_map")(session.image(volume))
    value = fitted.value
    inverse = 1.0 / np.asarray(value.data, np.float64)
    unit = QUANTITIES[quantity].unit or "1/s"
    found: Volume = value.derived(inverse, quantity, unit, make_step("reciprocal", of=time))
    return found


def signal_concentration(session: Session, volume: int, quantity: str) -> Estimate:
    """Concentration from one image before and one after the agent, with a T1 that is known."""
    spec, before = session.phantom.spec, needed(session, volume, BEFORE)
    t1_s = {truth.in_own_unit() for region in spec.regions if (truth := region.states("t1")) is not None}
    if len(t1_s) != 1:
        raise MethodMissing("concentration from signals without a T1 that is the same everywhere")
    after = session.image(volume)
    found: Estimate = api("concentration")(after, session.image(before), t1=t1_s.pop(), **agent_options(spec))
    return found


def mass_concentration(session: Session, volume: int, quantity: str) -> Volume:
    """Concentration in mg/mL from the change of R2*, by the rate per mg/mL of a calibration in vials."""
    slope = scanner_of(session.phantom.spec).relaxation_per_mg_ml.get("r2star")
    if slope is None:
        raise MethodMissing("concentration in mg/mL without a calibration of R2*")
    after = session.image(volume)
    found = api("delta_r2star_map")(after, session.image(needed(session, volume, BEFORE)))
    value = found.value
    step = make_step("calibration", r2star_per_mg_ml=slope)
    made: Volume = value.derived(value.data / np.float32(slope), quantity, "mg/mL", step)
    return made


def enhancement(session: Session, volume: int, quantity: str) -> Estimate:
    """Relative enhancement of the T1-weighted image over that before the agent, %."""
    before = needed(session, volume, BEFORE)
    pre = session.kept(("weighted", before), lambda: _weighted(session.image(before)))
    found: Estimate = api("enhancement")(pre, _weighted(session.image(volume)))
    return found


def _weighted(image: Volume) -> Volume:
    """The image at the flip angle that weights T1; the image itself where it has one angle."""
    axis = image.axis("flip_angle")
    if axis is None:
        return image
    return image.frame(int(np.argmin(np.abs(axis.values - T1_WEIGHTED_DEG))))


def perfusion(session: Session, volume: int, quantity: str) -> Estimate:
    """Ktrans, ve or vp by the extended Tofts model with the population's input function."""
    spec = session.phantom.spec
    scanner = scanner_of(spec)

    def make() -> dict[str, Estimate]:
        image = session.image(volume)
        time = image.axis("time")
        assert time is not None  # noqa: S101
        found: dict[str, Estimate] = api("dce_map")(
            image,
            model="extended_tofts",
            aif=scanner.plasma_input,
            aif_delay_s=scanner.bolus_arrival_s,
            haematocrit=scanner.haematocrit,
            baseline=(0, int(np.searchsorted(time.values, scanner.bolus_arrival_s, side="right"))),
            t1=t1_before(session, volume),
            **agent_options(spec),
        )
        return {name: found[name] for name in PERFUSION}

    made: dict[str, Estimate] = session.kept(("perfusion", volume), make)
    return made[quantity]


def _heat(session: Session, volume: int, quantity: str) -> Estimate:
    from imgtheranostics.validation import mri_heat

    return mri_heat.quantified(session, volume, quantity)


_MAKERS: dict[str, Callable[[Session, int, str], Map]] = {
    "t1": t1,
    "r1": rate,
    "r2": rate,
    "r2star": rate,
    **dict.fromkeys(PERFUSION, perfusion),
    **dict.fromkeys(HEAT, _heat),
    "concentration": mass_concentration,
    "enhancement": enhancement,
    **dict.fromkeys(ELEMENTS, molar_concentration),
}


def _first(spec: PhantomSpec) -> int:
    """Position of the first MR image among all of the phantom."""
    return next(part.first for part in parts_of(spec) if part.physics.modality == "MRI")


def _has_relaxivity(record: str) -> bool:
    from imgtheranostics import agents

    return bool(agents.get(record).relaxivities)
