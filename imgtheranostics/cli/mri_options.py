"""Options of the ``mri`` commands, spelled once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from imgtheranostics.mri.methods import DCE_MODELS, DECAY_MODELS, T1_METHODS

if TYPE_CHECKING:
    from imgtheranostics.volume import Volume


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
    typer.Option("--b1", help="Transmit-field map, ratio or percent, for the flip angles."),
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
Baseline = Annotated[
    str | None,
    typer.Option("--baseline", metavar="FIRST:STOP", help="Images before the agent, counted from 0: 0:5."),
]
BaselineT1 = Annotated[
    str | None,
    typer.Option("--t1", metavar="FILE|SECONDS", help="T1 before the agent: a map, or one value in s."),
]
Pre = Annotated[
    Path | None, typer.Option("--pre", help="The same scan, or map, before the agent.", show_default=False)
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


def map_or_number(text: str | None, option: str) -> Volume | float | None:
    """A number as it is, anything else as the path of a map."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return loaded(Path(text))
    if not (math.isfinite(value) and value > 0):
        raise typer.BadParameter("must be a positive number, or a file", param_hint=option)
    return value
