"""Options of the ``mri`` commands, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgtheranostics.cli.options import choice
from imgtheranostics.mri.methods import (
    CONCENTRATION_UNITS,
    DCE_MODELS,
    DECAY_MODELS,
    RATES,
    T1_METHODS,
)

T1Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        click_type=choice(*T1_METHODS.values()),
        help="Flip angles: nlls, linear, wlls. Inversion times: magnitude, signed, complex, two_parameter, "
        "look_locker. Repetition times: two_parameter, three_parameter. The first of each is the default.",
    ),
]
T2Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        click_type=choice(DECAY_MODELS["t2"]),
        help="Default: exponential, or rician (noise floor, exact) with a noise level.",
    ),
]
T2starModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        click_type=choice(DECAY_MODELS["t2star"]),
        help="Default: rician (noise floor, exact) with a noise level, given or estimated, else exponential.",
    ),
]
DceModel = Annotated[str, typer.Option("--model", click_type=choice(DCE_MODELS))]
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
Phase = Annotated[
    Path | None, typer.Option("--phase", help="Phase in rad beside inversion-recovery magnitudes.")
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
PostSeries = Annotated[
    str | None, typer.Option("--post-series", help="Series of POST; --series is that of PRE.")
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
        click_type=choice(RATES),
        help="Which rate echoes tell, where the file does not say spin or gradient echo.",
    ),
]
Unit = Annotated[
    str,
    typer.Option("--unit", click_type=choice(CONCENTRATION_UNITS), help="mg/mL is that of the element."),
]
WithDecay = Annotated[
    bool, typer.Option("--with-decay", help="Signals: take the decay by r2* until the echo into account.")
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        click_type=choice(*T1_METHODS.values(), *DECAY_MODELS.values()),
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
    typer.Option("--aif-delay-s", help="When a population's bolus arrives; else as the mean curve shows it."),
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
