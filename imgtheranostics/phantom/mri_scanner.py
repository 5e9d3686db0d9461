"""The magnetic-resonance scanner of a phantom: its sequence, its fields, and scans beside the main one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imgtheranostics.phantom.cest_scanner import CestScanner
from imgtheranostics.phantom.model import Model, Name, NotNegative, Number, Positive, Share
from imgtheranostics.phantom.series import AxisKind

Interval = tuple[Number, Number]
SequenceName = Literal[
    "spoiled_gradient_echo", "multi_echo", "spin_echo", "inversion_recovery", "saturation_recovery",
    "phase_shift", "saturation",
]  # fmt: skip


class MrSequence(Model):
    """What is played out. Lists make the samples of one image, where no axis of the phantom does.

    Attributes
    ----------
    sequence
        ``spoiled_gradient_echo`` (one echo, one or several flip angles), ``multi_echo`` (gradient echoes),
        ``spin_echo`` (a train), ``inversion_recovery`` (spin-echo readout), ``saturation_recovery`` (90
        degrees at several repetition times), ``phase_shift`` (phase of a gradient echo over time),
        ``saturation`` (CEST).
    inversion_efficiency
        1 for a perfect inversion.
    """

    sequence: SequenceName
    repetition_time_ms: Positive | None = None
    echo_time_ms: Positive | None = None
    flip_angle_deg: Positive | None = None
    flip_angles_deg: tuple[Positive, ...] = ()
    echo_times_ms: tuple[Positive, ...] = ()
    inversion_times_ms: tuple[Positive, ...] = ()
    repetition_times_ms: tuple[Positive, ...] = ()
    inversion_efficiency: Annotated[float, Field(gt=0, le=1)] = 1.0


class MrScan(MrSequence):
    """A scan beside the main one, such as a B1 map by two flip angles, or T1 before the agent.

    Attributes
    ----------
    name
        Fit for a file name.
    before
        Without the agent.
    per
        Axes of which it is repeated for each value; once for the whole phantom without them.
    snr
        Its own signal-to-noise ratio; by default that of the phantom.
    """

    name: Name
    before: bool = False
    snr: Positive | None = None
    per: tuple[AxisKind, ...] = ()


class MriScanner(MrSequence):
    """Magnetic resonance: sequence and fields. Ranges are (lowest, highest) over the grid.

    Attributes
    ----------
    relative_b1, b0_ppm
        Field errors of level 2, smooth over the grid.
    bias_field
        Receive sensitivity of level 2: 1 plus or minus this share.
    coils
        Receive channels that are combined as the root of the sum of squares; their noise is not
        Rician but non-central chi from two channels on.
    medium
        Of the agent's relaxivity, where its record has several.
    relaxivity
        In L/mmol/s, instead of the agent's record where that has none at this field.
    relaxation_per_mg_ml
        Relaxation rate in 1/s per mg/mL of the agent, for truths stated as mass concentration.
    cest
        Pools and pulses of a saturation sequence.
    plasma_input, bolus_arrival_s, haematocrit
        Concentration in whole blood after an injection by its name, when it arrives in the series, and
        what makes plasma of it.
    drift_ppm_per_min
        Drift of the field, level 2.
    scans
        Further scans.
    """

    field_t: Positive | None = None
    nucleus: Literal["1H", "19F"] = "1H"
    relative_b1: Interval = (1.0, 1.0)
    b0_ppm: Interval = (0.0, 0.0)
    bias_field: Share = 0.0
    coils: Annotated[int, Field(ge=1, le=64)] = 1
    medium: Name | None = None
    relaxivity: dict[Literal["r1", "r2", "r2star"], Positive] = Field(default_factory=dict)
    relaxation_per_mg_ml: dict[Literal["r1", "r2", "r2star"], Positive] = Field(default_factory=dict)
    cest: CestScanner | None = None
    plasma_input: Name | None = None
    bolus_arrival_s: NotNegative = 0.0
    haematocrit: Annotated[float, Field(ge=0, lt=1)] = 0.42
    drift_ppm_per_min: Number = 0.0
    scans: tuple[MrScan, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> MriScanner:
        if self.relative_b1[0] > self.relative_b1[1] or self.b0_ppm[0] > self.b0_ppm[1]:
            raise PydanticCustomError("field", "the lowest value of a field comes first")
        if self.relative_b1[0] <= 0:
            raise PydanticCustomError("greater_than", "a relative B1 is more than 0")
        names = [scan.name for scan in self.scans]
        if len(set(names)) != len(names):
            raise PydanticCustomError("scan", "the names of the scans differ")
        return self
