"""``ultrasound curves``: time-intensity curves of regions with a model, and maps pixel by pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.ultrasound_groups import (
    BaselineFrames,
    Cine,
    GreyScale,
    Reference,
    Window,
    frame_choice,
    odd,
)
from imgtheranostics.ultrasound.choices import BASELINES, MODELS

if TYPE_CHECKING:
    from imgtheranostics.volume import Estimate, Volume

Model = Annotated[
    str,
    typer.Option(
        "--model",
        click_type=options.choice(MODELS),
        help="A bolus (ldrw: local density random walk), or replenishment after a destruction pulse.",
    ),
]
Baseline = Annotated[
    str,
    typer.Option(
        "--baseline",
        click_type=options.choice(BASELINES),
        help="The level without agent: fitted along, or 0 because it was subtracted.",
    ),
]
Burst = Annotated[
    float | None,
    typer.Option("--burst-time", metavar="SECONDS", help="When the destruction pulse was; replenishment."),
]
Mask = Annotated[
    Path | None, typer.Option("--mask", help="Image whose zero pixels are left out of the maps.")
]
NoMaps = Annotated[bool, typer.Option("--no-maps", help="Curves of regions only.")]


@grouped
def curves(
    path: options.InputPath,
    model: Model = "lognormal",
    baseline: Baseline = "fit",
    baseline_frames: BaselineFrames = None,
    reference: Reference = None,
    burst_time: Burst = None,
    window: Window = 1,
    mask: Mask = None,
    no_maps: NoMaps = False,
    *,
    scale: GreyScale,
    common: Cine,
) -> None:
    """Peak enhancement, times, areas and rates of each region's curve and of each pixel's."""
    said = dict(locals())
    from imgtheranostics.cli.ultrasound_runs import Made, deliver
    from imgtheranostics.ultrasound.curve_maps import curves as time_intensity

    runs.check_output(common.out, force=common.force)
    if burst_time is not None and model != "replenishment":
        raise typer.BadParameter("belongs to --model replenishment", param_hint="--burst-time")
    _check_maps(no_maps, window, mask)
    scanned = common.scan(path)
    found = time_intensity(
        scanned.cine,
        rois=scanned.regions,
        model=model,
        baseline=baseline,
        baseline_frames=frame_choice(baseline_frames),
        reference=common.known(reference, scanned.regions),
        burst_time_s=burst_time,
        maps=not no_maps,
        mask=None if mask is None else _loaded(mask),
        window_pixels=odd(window),
        region=common.us_region,
        **scale.keywords(),
        **common.labels(),
    )
    assert found.table is not None  # noqa: S101
    made = Made(
        _goodness_once(list(found.estimates.values())),
        found.table,
        decisions=dict(found.decisions),
        curves=found.curves,
        figures=("fitted-curves", "fit"),
        warnings=found.warnings,
    )
    deliver("ultrasound curves", made, scanned, common, said, path, files=[mask] if mask else [])


def _goodness_once(estimates: list[Estimate]) -> list[Estimate]:
    """Maps of one fit: goodness and iterations beside the first of them only."""
    return [*estimates[:1], *(replace(one, maps={}) for one in estimates[1:])]


def _check_maps(no_maps: bool, window: int, mask: Path | None) -> None:
    for option, given in (("--window", window != 1), ("--mask", mask is not None)):
        if no_maps and given:
            raise typer.BadParameter("belongs to maps, which --no-maps leaves out", param_hint=option)


def _loaded(path: Path) -> Volume:
    from imgtheranostics.cli.map_input import loaded

    return loaded(path)
