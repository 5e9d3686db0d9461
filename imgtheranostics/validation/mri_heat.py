"""Temperature, thermal dose and heating power of the phantoms whose phase follows their temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtheranostics.errors import UnsupportedInput
from imgtheranostics.phantom.mri_kinetics import HEAT_CAPACITY_J_ML_K
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.validation.mri_maps import MAGNITUDE, api, needed
from imgtheranostics.volume import Estimate

if TYPE_CHECKING:
    from imgtheranostics.phantom.spec import PhantomSpec
    from imgtheranostics.validation.session import Session

UNHEATED = "muscle"
"""Region that is known to stay at its temperature, for the drift of the field."""
FIRST_IMAGES = 3
"""Images for the slope at the start: a parabola goes through three."""


def quantified(session: Session, volume: int, quantity: str) -> Estimate:
    """Temperature change along time, dose in equivalent minutes, or power per gram of iron."""
    change = temperature_change(session, volume)
    found: Estimate = change
    if quantity == "cem43":
        found = api("cem43_map")(change, resting_cel(session.phantom.spec))
    elif quantity == "specific_absorption_rate":
        found = api("specific_absorption_rate_map")(
            change,
            iron_mg_ml(session.phantom.spec),
            window=(0, FIRST_IMAGES),
            heat_capacity_j_g_k=HEAT_CAPACITY_J_ML_K,
            order=2,
        )
    return found


def temperature_change(session: Session, volume: int) -> Estimate:
    """Temperature change from phase and magnitude; where the magnitude is noise alone there is none."""

    def make() -> Estimate:
        phase, magnitude = session.image(volume), session.image(needed(session, volume, MAGNITUDE))
        try:
            noise_sd = api("background_noise_sd", "mri.noise")(magnitude)
        except UnsupportedInput:
            noise_sd = None  # an image without noise
        found: Estimate = api("temperature_map")(
            phase,
            magnitude,
            unheated=session.phantom.regions.mask(UNHEATED),
            noise_sd=noise_sd,
            mask=(magnitude.data > 0).all(axis=-1),
        )
        return found

    made: Estimate = session.kept(("temperature", volume), make)
    return made


def resting_cel(spec: PhantomSpec) -> float:
    """Temperature before heating, as a thermometer shows it."""
    return next(
        truth.in_own_unit() for region in spec.regions if (truth := region.states("temperature")) is not None
    )


def iron_mg_ml(spec: PhantomSpec) -> float:
    """Iron in the heated region, as it was injected.

    Raises
    ------
    MethodMissing
        If no region states it.
    """
    stated = [region.states("concentration") for region in spec.regions]
    known = [truth.in_own_unit() for truth in stated if truth is not None]
    if not known:
        raise MethodMissing("iron concentration in the phantom")
    return known[0]


def heating_rate_per_min(power_w_g: float, spec: PhantomSpec) -> float:
    """Warming at the start that belongs to a measured power per gram of iron, Cel/min."""
    return power_w_g * iron_mg_ml(spec) * 1e-3 / HEAT_CAPACITY_J_ML_K * 60
