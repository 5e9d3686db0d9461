"""Options that several ``mri`` commands share, as groups: voxels, gradient echo, agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from imgtheranostics.cli import mri_options as options
from imgtheranostics.cli.map_input import is_number, loaded, map_or_number, noise_level, window
from imgtheranostics.cli.mri_input import transmit_field


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

    t1: options.BaselineT1 = None
    baseline: options.Baseline = None
    repetition_time_s: options.RepetitionTime = None
    flip_angle_deg: options.FlipAngle = None
    echo_time_s: options.EchoTime = None
    with_decay: options.WithDecay = False
    b1: options.B1 = None
    resample_b1: options.ResampleB1 = False

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        t1 = [Path(self.t1)] if self.t1 is not None and not is_number(self.t1) else []
        return [*t1, *([self.b1] if self.b1 is not None else [])]

    def keywords(self, mr_scaling: str | None = None) -> dict[str, Any]:
        """As the functions on volumes take them."""
        return {
            "t1": map_or_number(self.t1, "--t1", mr_scaling),
            "baseline": window(self.baseline),
            "repetition_time_s": self.repetition_time_s,
            "flip_angle_deg": self.flip_angle_deg,
            "echo_time_s": self.echo_time_s,
            "with_decay": self.with_decay,
            "b1": transmit_field(self.b1, mr_scaling),
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
            click_type=options.choice(("Gd", "Fe", "Mn", "molecule", "particle")),
            help="What the relaxivity counts.",
        ),
    ] = None
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Allow a value between two recorded fields.")
    ] = False
    field_t: options.FieldT = None

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
