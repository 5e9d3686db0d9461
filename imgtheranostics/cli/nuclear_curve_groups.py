"""Options of ``nuclear curves``: the model of curves, and their maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from imgtheranostics.cli import options
from imgtheranostics.cli.groups import refuse_given

MODELS = ("none", "auto", "mono", "bi", "tri", "linear", "linear_log")
EXPONENTIALS = MODELS[1:5]
WEIGHTS = ("equal", "relative", "standard_error")

TABLES = (".csv", ".tsv", ".txt")
"""Endings of files that are tables of samples and no images."""

Samples = Annotated[
    list[Path],
    typer.Argument(
        help="One scan per time point, or one dynamic scan; or one table of samples (.csv, .tsv) with the "
        "columns time [h], region and activity [%ID/g], or a column for each region.",
        show_default=False,
    ),
]

SampleRegions = Annotated[
    list[Path] | None,
    typer.Option("--rois", help="Regions, for all scans or one file per scan. Not for a table."),
]


@dataclass(frozen=True)
class CurveModel:
    """What is made of curves."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            click_type=options.choice(MODELS),
            help="Exponentials (auto: by AICc), or areas by trapezoids, straight or logarithmic where they "
            "fall; none for the curves alone. Default: none for scans, auto for a table.",
        ),
    ] = None
    uptake: Annotated[
        bool | None,
        typer.Option(
            "--uptake/--no-uptake",
            help="Exponentials with a phase that takes the curve up from zero, or without; default: where "
            "the curve shows one.",
        ),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            click_type=options.choice(WEIGHTS),
            help="Of the samples of exponentials: all alike (default), by an error in proportion to each, or "
            "by the standard error of each.",
        ),
    ] = None
    column: Annotated[
        str | None,
        typer.Option(
            "--statistic",
            click_type=options.choice(("mean", "median", "max", "peak")),
            help="Which value of each region makes the curve; default: mean.",
        ),
    ] = None
    tail: Annotated[
        str | None,
        typer.Option(
            "--tail",
            click_type=options.choice(("physical", "last_phase", "none")),
            help="After the last sample of trapezoids: physical decay alone (default, an upper bound), the "
            "rate of the last three samples but never slower than decay, or nothing.",
        ),
    ] = None
    beginning: Annotated[
        str | None,
        typer.Option(
            "--beginning",
            click_type=options.choice(("linear", "physical", "none")),
            help="Before the first sample of trapezoids: a rise from 0 (default), decay alone, or nothing.",
        ),
    ] = None
    level: Annotated[
        float | None,
        typer.Option("--level", min=0.5, max=0.999, help="Of intervals and bands; default: 0.95."),
    ] = None
    intervals: Annotated[
        str | None,
        typer.Option(
            "--intervals",
            click_type=options.choice(("covariance", "bootstrap")),
            help="How intervals of exponentials are made; default: covariance.",
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the random numbers of the bootstrap; default: 0.")
    ] = None

    @property
    def of_exponentials(self) -> dict[str, Any]:
        """Options that only exponentials take."""
        return {
            "--uptake": self.uptake, "--weights": self.weights, "--level": self.level,
            "--intervals": self.intervals, "--seed": self.seed,
        }  # fmt: skip

    def checked(self, *, table: bool) -> str:
        """The model, once it is certain that every option matters."""
        model = self.model or ("auto" if table else "none")
        areas = {"--tail": self.tail, "--beginning": self.beginning}
        if model == "none":
            if table:
                raise typer.BadParameter("a table has its curves already: name a model", param_hint="--model")
            refuse_given(
                {**self.of_exponentials, **areas, "--statistic": self.column},
                "needs a --model for the curves",
            )
        elif model in EXPONENTIALS:
            refuse_given(areas, "belongs to --model linear or linear_log")
        else:
            refuse_given(self.of_exponentials, "belongs to exponentials, not to trapezoids")
        if self.seed is not None and self.intervals != "bootstrap":
            raise typer.BadParameter("belongs to --intervals bootstrap", param_hint="--seed")
        return model

    def given(self) -> dict[str, Any]:
        """Keywords of `imgtheranostics.nuclear.fit_curve` that were given."""
        words = {
            "uptake": self.uptake, "weights": self.weights, "column": self.column, "tail": self.tail,
            "beginning": self.beginning, "level": self.level, "intervals": self.intervals, "rng": self.seed,
        }  # fmt: skip
        return {name: value for name, value in words.items() if value is not None}


@dataclass(frozen=True)
class ActivityMaps:
    """Maps of time-integrated activity, and what they are limited to."""

    maps: Annotated[
        bool, typer.Option("--maps", help="Also time-integrated activity voxel by voxel, with the model.")
    ] = False
    mask: Annotated[
        Path | None, typer.Option("--mask", help="Image whose zero voxels are left out of the maps.")
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0.0, help="Voxels of maps whose largest sample reaches it, in its unit."
        ),
    ] = None

    def check(self, model: str) -> None:
        """Refuse what would not be used."""
        if self.maps and model == "none":
            raise typer.BadParameter("needs a --model", param_hint="--maps")
        if not self.maps:
            refuse_given({"--mask": self.mask, "--threshold": self.threshold}, "belongs to --maps")
