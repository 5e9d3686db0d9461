"""What a phantom file says of an ultrasound scanner: its scale, its speckle, and what it records."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.phantom.model import Model, Name, NotNegative, Number, Positive


class BolusSpec(Model):
    """A bolus of microbubbles: its lognormal curve stands on top of a region's echo intensity.

    Attributes
    ----------
    region
        Where it passes.
    area_s
        Area under the curve, echo intensity times s.
    log_mean, log_sd
        Of the passage times since arrival, s.
    arrival_s
        After the cine's first frame.
    """

    region: Name
    area_s: Positive
    log_mean: Number
    log_sd: Positive
    arrival_s: NotNegative = 0.0


class CineSpec(Model):
    """One cine, or one for each value of a time and a pH axis.

    Attributes
    ----------
    name
        One of the values of the phantom's axis ``protocol``.
    kind
        ``heating``: through all values of the axis ``temperature``; ``gas``: short clips along the axes
        ``time`` and ``ph``; ``switch``: half its frames in the first, half in the second of the states
        before and after; ``bolus``: a passage of microbubbles.
    frames
        Of the cine; of ``heating`` those at each temperature.
    time_constant_min
        Of the gas that forms: the echo comes to the truth at the last time as 1 - exp(-t / constant).
    """

    name: Name
    kind: Literal["heating", "gas", "switch", "bolus"]
    frames: Annotated[int, Field(ge=1, le=4096)]
    regions: tuple[Name, ...] = ()
    reacts_at_ph: dict[Name, Number] = Field(default_factory=dict)
    time_constant_min: Positive = 15.0
    bolus: BolusSpec | None = None

    @model_validator(mode="after")
    def _complete(self) -> CineSpec:
        if (self.kind == "bolus") != (self.bolus is not None):
            raise PydanticCustomError("cine", "kind: bolus and bolus: belong together")
        return self


class UltrasoundScanner(Model):
    """A B-mode or contrast-mode cine in one plane.

    Attributes
    ----------
    frame_rate_hz
    dynamic_range_db
        From grey level 0 to 255.
    full_scale_db
        Level of the largest grey over an echo intensity of 1.
    transition_width_cel
        Over which the echo rises from 10 to 90 % of its step, about the temperature of transition.
    speckle
        Whether the echo has any.
    speckle_fwhm_mm
        Of the resolution cell, lateral and axial (the amplitude of its pulse).
    speckle_lifetime_s
        Time in which scatterers of an agent are replaced, by flow or new gas; those of tissue stay.
    motion_mm, motion_rate_hz
        Breathing along the depth at level 2: amplitude, and how often.
    cines
        What is recorded, in order.
    """

    frame_rate_hz: Positive = 10.0
    dynamic_range_db: Positive = 60.0
    full_scale_db: Number = 20.0
    transition_width_cel: Positive | None = None
    speckle: bool = True
    speckle_fwhm_mm: tuple[Positive, Positive] = (0.6, 0.4)
    speckle_lifetime_s: Positive = 0.1
    motion_mm: NotNegative = 0.0
    motion_rate_hz: Positive = 1.5
    cines: tuple[CineSpec, ...] = ()
