"""``ultrasound enhancement``: echo in dB against the frames before the agent, per region, frame and pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.groups import grouped, refuse_given
from imgtheranostics.cli.map_input import is_number
from imgtheranostics.cli.ultrasound_groups import (
    BaselineFrames,
    Cine,
    GreyScale,
    Reference,
    Scanned,
    Window,
    frame_choice,
    odd,
)
from imgtheranostics.cli.ultrasound_states import Before, BeforeSeries, of_two_scans

if TYPE_CHECKING:
    from imgtheranostics.cli.ultrasound_runs import Made
    from imgtheranostics.errors import Caution
    from imgtheranostics.fit import CurveFit

_FIND = "find"

Period = Annotated[
    str | None,
    typer.Option(
        "--frames",
        metavar="N|FIRST:STOP|N,N,...",
        help="Frames whose mean power the map and the rows without a time compare with the baseline; "
        "default all after it.",
    ),
]
GreyOnly = Annotated[
    bool,
    typer.Option(
        "--grey-only",
        help="Without a dynamic range: statistics of log-compressed grey, which are no measure of echo.",
    ),
]


@dataclass(frozen=True)
class Pulse:
    """A destruction pulse, which takes bound bubbles away."""

    burst_time: Annotated[
        str | None,
        typer.Option(
            "--burst-time",
            metavar="SECONDS|find",
            help="Begin of a destruction pulse: echo before minus after it, of targeted bubbles. find takes "
            "the one abrupt drop, and refuses where none stands out.",
        ),
    ] = None
    burst_duration: Annotated[
        float | None, typer.Option("--burst-duration", min=0.0, help="Of a given pulse, in s; default 0.")
    ] = None
    settle: Annotated[
        float | None,
        typer.Option("--settle", min=0.0, help="Seconds after the pulse that do not count; default 0."),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """As the functions on volumes take them.

        Raises
        ------
        typer.BadParameter
            If it is no time, or something belongs to a time that is not given.
        """
        finds = self.burst_time == _FIND
        if self.burst_time is not None and not finds and not is_number(self.burst_time):
            raise typer.BadParameter("must be a time in s, or find", param_hint="--burst-time")
        if self.burst_duration is not None and (finds or self.burst_time is None):
            raise typer.BadParameter(
                "belongs to a time given with --burst-time", param_hint="--burst-duration"
            )
        if self.settle is not None and self.burst_time is None:
            raise typer.BadParameter("belongs to --burst-time, which is not given", param_hint="--settle")
        return {
            "burst_time_s": None if finds or self.burst_time is None else float(self.burst_time),
            "burst_duration_s": self.burst_duration or 0.0,
            "settle_s": self.settle or 0.0,
        }


@dataclass(frozen=True)
class Heating:
    """Temperatures of a cine in which droplets are heated."""

    temperatures: Annotated[
        Path | None,
        typer.Option(
            "--temperatures",
            metavar="FILE",
            help="Of the frames, in Cel: one per line, or columns time_s and temperature_cel. Gives the "
            "temperature at which the echo of droplets has risen half way (T50).",
        ),
    ] = None
    boiling_point: Annotated[
        float | None,
        typer.Option(
            "--boiling-point",
            metavar="CEL",
            help="Of the bulk liquid: the superheat of the droplets is reported too.",
        ),
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        return [self.temperatures] if self.temperatures is not None else []

    def check(self) -> None:
        """Refuse a boiling point without temperatures.

        Raises
        ------
        typer.BadParameter
        """
        if self.boiling_point is not None and self.temperatures is None:
            raise typer.BadParameter(
                "belongs to --temperatures, which is not given", param_hint="--boiling-point"
            )


@grouped
def enhancement(
    path: options.InputPath,
    baseline_frames: BaselineFrames = None,
    before: Before = None,
    before_series: BeforeSeries = None,
    frames: Period = None,
    reference: Reference = None,
    window: Window = 1,
    grey_only: GreyOnly = False,
    *,
    pulse: Pulse,
    heating: Heating,
    scale: GreyScale,
    common: Cine,
) -> None:
    """Echo enhancement in dB, averaged as linear power, of each region and frame, and a map of it."""
    said = dict(locals())
    from imgtheranostics.cli.ultrasound_runs import deliver

    runs.check_output(common.out, force=common.force)
    burst, period = pulse.keywords(), frame_choice(frames, "--frames")
    baseline = frame_choice(baseline_frames)
    heating.check()
    odd(window)
    along = {
        "--baseline-frames": baseline_frames,
        "--frames": frames,
        "--burst-time": pulse.burst_time,
        "--temperatures": heating.temperatures,
    }
    if before is None:
        refuse_given({"--before-series": before_series}, "belongs to --before, which is not given")
    else:
        refuse_given(along, "does not apply to --before, which compares two scans")
    if grey_only:
        why = "does not apply to --grey-only: log-compressed grey has no enhancement"
        scale.unused(why)
        others = {"--reference": reference, "--window": None if window == 1 else window, "--before": before}
        refuse_given(along | others, why)
    scanned = common.scan(path)
    if grey_only:
        deliver("ultrasound enhancement", _grey(scanned, common), scanned, common, said, path)
        return
    known = common.known(reference, scanned.regions)
    if before is not None:
        states = of_two_scans(
            before,
            before_series,
            scanned,
            common,
            reference=known,
            window=window,
            scale=scale.keywords(),
        )
        deliver("ultrasound enhancement", states, scanned, common, said, path, files=[before])
        return
    how = Comparison(baseline, period, known, window, scale.keywords(), common)
    made = how.made(scanned, burst if pulse.burst_time is not None else None, heating)
    deliver("ultrasound enhancement", made, scanned, common, said, path, files=heating.files)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is compared with what."""

    before: Any
    period: Any
    reference: str | None
    window: int
    scale: dict[str, Any]
    common: Cine

    def made(self, scanned: Scanned, burst: dict[str, Any] | None, heating: Heating) -> Made:
        """Rows of the period, of a pulse and of heating, those of every frame, and the map of the period."""
        from imgtheranostics import ultrasound
        from imgtheranostics.cli.ultrasound_runs import Made
        from imgtheranostics.mapping.region_tables import below_each_other

        cine, shared = scanned.cine, {**self.scale, "region": self.common.us_region}
        measured = {"rois": scanned.regions, **shared}
        along = ultrasound.enhancement(
            cine,
            baseline_frames=self.before,
            reference=self.reference,
            **measured,
            **self.common.labels(),
        )
        whole = ultrasound.period_gain(
            cine,
            baseline_frames=self.before,
            frames=self.period,
            reference=self.reference,
            **measured,
            **self.common.labels(),
        )
        estimate = ultrasound.enhancement_map(
            cine,
            baseline_frames=self.before,
            frames=self.period if self.period is not None else _after(cine, self.before),
            window=self.window,
            workers=self.common.workers,
            **shared,
        )
        tables = [whole]
        curves: Sequence[CurveFit] = ()
        warnings: Sequence[Caution] = ()
        decisions = {**estimate.decisions, **along.attrs["decisions"], **whole.attrs["decisions"]}
        if burst is not None:
            labels = {name: value for name, value in self.common.labels().items() if name != "workers"}
            table = ultrasound.targeted_enhancement(cine, **burst, **measured, **labels)
            tables.append(table)
            decisions |= table.attrs["decisions"]
        if heating.temperatures is not None:
            temperature = ultrasound.read_temperatures(heating.temperatures, cine.axes[0].values)
            heated = ultrasound.region_activation(
                along, temperature, bulk_transition_cel=heating.boiling_point
            )
            tables.append(heated.table)
            decisions |= heated.decisions
            curves, warnings = heated.curves, heated.warnings
        table = below_each_other([*tables, along])
        return Made([estimate], table, decisions, curves, _FIGURES, (*warnings, *table.attrs["warnings"]))


_FIGURES = ("echo-change", "map", "regions", "curves", "fit", "fitted-curves")
"""No curves on a logarithmic axis: dB are logarithms already."""


def _after(cine: Any, before: Any) -> list[int]:
    """All frames after the baseline."""
    from imgtheranostics.ultrasound.baseline_power import frame_list
    from imgtheranostics.ultrasound.frame_periods import period_of

    n_frames = len(cine.axes[0])
    return [int(n) for n in period_of(None, frame_list(before, n_frames), n_frames)]


def _grey(scanned: Scanned, common: Cine) -> Made:
    from imgtheranostics import ultrasound
    from imgtheranostics.cli.ultrasound_runs import Made

    table = ultrasound.grey_table(scanned.cine, scanned.regions, region=common.us_region, **common.labels())
    decisions = {"scale": {"rule": "log-compressed grey, of an unknown dynamic range; no measure of echo"}}
    return Made([], table, decisions, warnings=table.attrs["warnings"])
