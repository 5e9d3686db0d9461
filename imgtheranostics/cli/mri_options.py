"""Options of the ``mri`` commands, spelled once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from imgtheranostics.mri.methods import (
    CONCENTRATION_UNITS,
    DCE_MODELS,
    DECAY_MODELS,
    RATES,
    T1_METHODS,
)

if TYPE_CHECKING:
    from imgtheranostics.volume import Estimate, Volume


def _choice(*groups: Sequence[str]) -> click.Choice[str]:
    return click.Choice(list(dict.fromkeys(name for group in groups for name in group)))


T1Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        click_type=_choice(*T1_METHODS.values()),
        help="Flip angles: nlls, linear, wlls. Inversion times: magnitude, signed, two_parameter, "
        "look_locker. Repetition times: two_parameter, three_parameter. The first of each is the default.",
    ),
]
T2Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        click_type=_choice(DECAY_MODELS["t2"]),
        help="Default: exponential, or noise_floor when a noise level is given.",
    ),
]
T2starModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        click_type=_choice(DECAY_MODELS["t2star"]),
        help="Default: noise_floor where a noise level is given or can be estimated, else exponential.",
    ),
]
DceModel = Annotated[str, typer.Option("--model", click_type=_choice(DCE_MODELS))]
B1 = Annotated[
    Path | None,
    typer.Option("--b1", help="Transmit-field map (ratio or percent), or a double-angle or AFI pair."),
]
ResampleB1 = Annotated[
    bool, typer.Option("--resample-b1", help="Bring the transmit-field map from another grid, linearly.")
]
DropFirst = Annotated[
    bool, typer.Option("--drop-first", help="Leave out the first echo, which stimulated echoes do not reach.")
]
RefocusingAngle = Annotated[
    float,
    typer.Option("--refocusing-angle-deg", min=1.0, max=180.0, help="Nominal, for the epg model."),
]
Rate = Annotated[bool, typer.Option("--rate", help="Also give the rate, 1/s.")]
RepetitionTimes = Annotated[
    list[float] | None,
    typer.Option(
        "--repetition-time-s",
        help="Repetition time, where the file does not say it; again for each image where they differ.",
    ),
]
RepetitionTime = Annotated[
    float | None, typer.Option("--repetition-time-s", min=0.0, help="Where the file does not say it.")
]
EchoTime = Annotated[
    float | None, typer.Option("--echo-time-s", min=0.0, help="Where the file does not say it.")
]
FlipAngle = Annotated[
    float | None, typer.Option("--flip-angle-deg", min=0.0, help="Where the file does not say it.")
]
FieldT = Annotated[
    float | None, typer.Option("--field-t", min=0.0, help="Field strength, where the file does not say it.")
]
EpgT1 = Annotated[float, typer.Option("--t1-s", min=1e-3, help="T1 for the epg model, s.")]
Post = Annotated[
    Path | None,
    typer.Argument(
        help="The scan after the agent; without it, PRE is a series over time.", show_default=False
    ),
]
Register = Annotated[bool, typer.Option("--register", help="Align the second scan to the first, rigidly.")]
TimeIntensity = Annotated[
    bool,
    typer.Option(
        "--time-intensity", help="Also arrival, time to peak, peak, wash-in and wash-out of a series."
    ),
]
Falling = Annotated[
    bool, typer.Option("--falling", help="The agent takes signal away: the peak is a trough.")
]
Contrast = Annotated[
    str | None,
    typer.Option(
        "--contrast",
        click_type=_choice(RATES),
        help="Which rate echoes tell, where the file does not say spin or gradient echo.",
    ),
]
Unit = Annotated[
    str,
    typer.Option("--unit", click_type=_choice(CONCENTRATION_UNITS), help="mg/mL is that of the element."),
]
WithDecay = Annotated[
    bool, typer.Option("--with-decay", help="Signals: take the decay by r2* until the echo into account.")
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        click_type=_choice(*T1_METHODS.values(), *DECAY_MODELS.values()),
        help="Of the fit of a series, as in mri t1, t2 and t2star.",
    ),
]
InputFunction = Annotated[
    str,
    typer.Option(
        "--aif",
        metavar="NAME|FILE|region:NAME",
        help="parker, georgiou, weinmann, mcgrath_rodent; a table with time_s and plasma_mm or blood_mm; "
        "or a region of --rois in a vessel.",
    ),
]
AifDelay = Annotated[
    float | None,
    typer.Option("--aif-delay-s", help="When a population's bolus arrives; else at the end of the baseline."),
]
Haematocrit = Annotated[
    float | None, typer.Option("--haematocrit", help="The input function is of whole blood with this one.")
]
BloodT1 = Annotated[
    float | None, typer.Option("--t1-blood-s", min=1e-3, help="T1 of blood, for a vessel as input.")
]
Concentrations = Annotated[
    bool, typer.Option("--concentrations", help="PATH holds concentrations in mmol/L and does not say so.")
]
FitDelay = Annotated[
    bool, typer.Option("--fit-delay", help="Fit by how much each voxel lags behind the input function.")
]
Baseline = Annotated[
    str | None,
    typer.Option("--baseline", metavar="FIRST:STOP", help="Images before the agent, counted from 0: 0:5."),
]
BaselineT1 = Annotated[
    str | None,
    typer.Option("--t1", metavar="FILE|SECONDS", help="T1 before the agent: a map, or one value in s."),
]
Pre = Annotated[
    str | None,
    typer.Option(
        "--pre",
        metavar="PATH|SECONDS",
        help="The same scan, or map, before the agent; for relaxation times also one value in s.",
    ),
]


Magnitude = Annotated[
    Path | None,
    typer.Option("--magnitude", help="Magnitude beside the phase; gives the error of each voxel."),
]
NoiseSd = Annotated[
    float | None, typer.Option("--noise-sd", min=0.0, help="Noise of the magnitude, in its unit.")
]
Reference = Annotated[
    str, typer.Option("--reference", metavar="FIRST:STOP", help="Images before heating, counted from 0.")
]
Unheated = Annotated[
    Path | None, typer.Option("--unheated", help="Mask of what stays at its temperature, for the drift.")
]
Fat = Annotated[Path | None, typer.Option("--fat", help="Mask of fat, which is left out.")]
DriftOrder = Annotated[int, typer.Option("--drift-order", min=0, max=2, help="Of the polynomial in space.")]
Alpha = Annotated[float, typer.Option("--alpha-ppm-per-c", help="Temperature coefficient.")]
AlphaUncertainty = Annotated[
    float, typer.Option("--alpha-relative-uncertainty", min=0.0, help="Relative, shared by all voxels.")
]
StartC = Annotated[
    float | None,
    typer.Option("--start-c", help="Temperature before heating, Cel; gives dose and heated volume."),
]
AboveC = Annotated[float, typer.Option("--above-c", help="For the heated volume.")]
MaskPath = Annotated[Path | None, typer.Option("--mask", help="Image whose zero voxels are left out.")]
Iron = Annotated[
    float | None,
    typer.Option(
        "--iron-mg-ml", min=1e-6, help="Iron in the heated medium; gives the power per gram of iron."
    ),
]
Heating = Annotated[
    str | None,
    typer.Option(
        "--heating", metavar="FIRST:STOP", help="Images from switching the field on, with --iron-mg-ml."
    ),
]
HeatCapacity = Annotated[
    float, typer.Option("--heat-capacity-j-g-k", min=1e-3, help="Of the medium; 4.18 is that of water.")
]


@dataclass(frozen=True)
class Voxels:
    """Which voxels are worked on, and what is known of their noise."""

    mask: Annotated[Path | None, typer.Option("--mask", help="Image whose zero voxels are left out.")] = None
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Leave out voxels whose signal stays below this everywhere."),
    ] = None
    noise_sd: Annotated[
        str | None,
        typer.Option(
            "--noise-sd",
            metavar="NUMBER|estimate",
            help="Standard deviation of the noise in units of the signal, or estimate: from the background.",
        ),
    ] = None
    n_coils: Annotated[int, typer.Option("--n-coils", min=1, help="Coils whose squares were summed.")] = 1
    motion_correct: Annotated[
        bool, typer.Option("--motion-correct", help="Align the images of the series to the first, rigidly.")
    ] = False

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return [self.mask] if self.mask is not None else []

    def keywords(self) -> dict[str, Any]:
        """As the functions on volumes take them."""
        return {
            "mask": None if self.mask is None else loaded(self.mask),
            "threshold": self.threshold,
            "noise_sd": noise_level(self.noise_sd),
            "n_coils": self.n_coils,
            "motion_correct": self.motion_correct,
        }


@dataclass(frozen=True)
class GradientEcho:
    """A spoiled gradient echo, and what it met before the agent."""

    t1: BaselineT1 = None
    baseline: Baseline = None
    repetition_time_s: RepetitionTime = None
    flip_angle_deg: FlipAngle = None
    echo_time_s: EchoTime = None
    with_decay: WithDecay = False
    b1: B1 = None
    resample_b1: ResampleB1 = False

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        t1 = [Path(self.t1)] if self.t1 is not None and not is_number(self.t1) else []
        return [*t1, *([self.b1] if self.b1 is not None else [])]

    def keywords(self) -> dict[str, Any]:
        """As the functions on volumes take them."""
        return {
            "t1": map_or_number(self.t1, "--t1"),
            "baseline": window(self.baseline),
            "repetition_time_s": self.repetition_time_s,
            "flip_angle_deg": self.flip_angle_deg,
            "echo_time_s": self.echo_time_s,
            "with_decay": self.with_decay,
            "b1": transmit_field(self.b1),
            "resample_b1": self.resample_b1,
        }


@dataclass(frozen=True)
class Agent:
    """What was injected, and how it relaxes."""

    agent: Annotated[
        str | None,
        typer.Option("--agent", help="Agent record, see agents list; or a .yaml file of your own."),
    ] = None
    relaxivity: Annotated[
        float | None, typer.Option("--relaxivity", help="L/mmol/s, instead of the record's value.")
    ] = None
    relaxivity_uncertainty: Annotated[
        float | None,
        typer.Option("--relaxivity-uncertainty", min=0.0, help="Standard uncertainty of it, L/mmol/s."),
    ] = None
    medium: Annotated[
        str | None, typer.Option("--medium", help="plasma, blood, saline, water ... of the record's value.")
    ] = None
    temperature_c: Annotated[
        float | None, typer.Option("--temperature-c", help="Temperature of the record's value.")
    ] = None
    per: Annotated[
        str | None,
        typer.Option(
            "--per",
            click_type=_choice(("Gd", "Fe", "Mn", "molecule", "particle")),
            help="What the relaxivity counts.",
        ),
    ] = None
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Allow a value between two recorded fields.")
    ] = False
    field_t: FieldT = None

    def keywords(self) -> dict[str, Any]:
        """As the functions on volumes take them."""
        return {
            "agent": self.agent,
            "relaxivity": self.relaxivity,
            "relaxivity_uncertainty": self.relaxivity_uncertainty,
            "medium": self.medium,
            "temperature_c": self.temperature_c,
            "per": self.per,
            "interpolate": self.interpolate,
            "field_strength_t": self.field_t,
        }


def noise_level(text: str | None) -> float | str | None:
    """``--noise-sd``: a number of at least 0, or the word estimate."""
    if text is None or text == "estimate":
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter("must be a number of at least 0, or estimate", param_hint="--noise-sd")
    return value


def window(text: str | None, option: str = "--baseline") -> tuple[int, int] | None:
    """``FIRST:STOP`` as two whole numbers."""
    if text is None:
        return None
    first, colon, stop = text.partition(":")
    if not colon or not first.strip().isdecimal() or not stop.strip().isdecimal():
        raise typer.BadParameter("must be FIRST:STOP, such as 0:5", param_hint=option)
    found = int(first), int(stop)
    if found[0] >= found[1]:
        raise typer.BadParameter("FIRST must be smaller than STOP", param_hint=option)
    return found


def loaded(path: Path, series: str | None = None) -> Volume:
    """A volume from a file or folder."""
    from imgtheranostics.io.loading import load

    return load(path, series=series)


def mapped(path: Path, series: str | None = None) -> Volume | Estimate:
    """A scan or a map, with its standard error where that lies beside it."""
    from imgtheranostics.mri.rate_entry import load_map

    return load_map(path, series)


def transmit_field(path: Path | None) -> Volume | None:
    """A transmit-field map, calculated where the path holds the pair of scans for it."""
    if path is None:
        return None
    from imgtheranostics.mri.transmit_maps import b1_map, is_b1_series

    image = loaded(path)
    return b1_map(image).value if is_b1_series(image) else image


def is_number(text: str) -> bool:
    """Whether an option that takes a number or a file holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def map_or_number(text: str | None, option: str) -> Volume | Estimate | float | None:
    """A number as it is, anything else as the path of a map."""
    if text is None:
        return None
    if not is_number(text):
        return mapped(Path(text))
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter("must be a positive number, or a file", param_hint=option)
    return value
