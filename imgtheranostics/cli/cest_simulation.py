"""``cest simulate``: the Z-spectrum that a protocol makes of a system of pools."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, runs
from imgtheranostics.cli.cest_agents import AgentInSolution
from imgtheranostics.cli.cest_groups import SIGNS
from imgtheranostics.cli.groups import Output, grouped

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from imgtheranostics.cest.bloch_mcconnell import Protocol, PulseTrain

PoolFile = Annotated[
    Path, typer.Argument(help="Water and the pools that exchange with it: YAML.", show_default=False)
]
SequenceFile = Annotated[
    Path | None,
    typer.Argument(help="Saturation as Pulseq text (.seq); else by the options.", show_default=False),
]
Range = Annotated[
    str | None,
    typer.Option("--offset-range", metavar="START:STOP:N", help="Offsets in ppm, both ends included."),
]
OffsetsFile = Annotated[Path | None, typer.Option("--offsets", help="File of offsets.")]
Unit = Annotated[
    str | None,
    typer.Option(
        "--offset-unit",
        click_type=options.choice(("ppm", "Hz")),
        help="Unit of --offsets; Hz are downfield positive, at the field of the pools.",
    ),
]
B1 = Annotated[float | None, typer.Option("--b1-ut", min=0.0, help="B1 of block pulses.")]
Pulse = Annotated[float | None, typer.Option("--pulse-s", min=1e-9, help="Duration of one pulse.")]
Pulses = Annotated[int, typer.Option("--n-pulses", min=1)]
Interval = Annotated[float, typer.Option("--interval-s", min=0.0, help="Gap between two pulses.")]
Delay = Annotated[float, typer.Option("--post-delay-s", min=0.0, help="From the last pulse to the readout.")]
B0 = Annotated[
    list[float] | None, typer.Option("--b0-ppm", help="Where water is; again for several spectra.")
]
RelativeB1 = Annotated[
    list[float] | None,
    typer.Option("--relative-b1", help="Actual over nominal B1; again for several spectra."),
]


@grouped
def simulate(
    pools: PoolFile,
    sequence: SequenceFile = None,
    offset_range: Range = None,
    offsets: OffsetsFile = None,
    offset_unit: Unit = None,
    b1_ut: B1 = None,
    pulse_s: Pulse = None,
    n_pulses: Pulses = 1,
    interval_s: Interval = 0.0,
    post_delay_s: Delay = 0.0,
    b0_ppm: B0 = None,
    relative_b1: RelativeB1 = None,
    *,
    agent: AgentInSolution,
    common: Output,
) -> None:
    """Z-spectrum of a pool system by the Bloch-McConnell equations, without noise."""
    from imgtheranostics.cest.bloch_mcconnell import PulseTrain, read_pools, read_sequence, simulate
    from imgtheranostics.cest.spectrum_table import spectrum_table
    from imgtheranostics.mapping.refusals import typed_refusals
    from imgtheranostics.report.run import Run

    runs.check_output(common.out, force=common.force)
    if offset_unit is not None and offsets is None:
        raise typer.BadParameter("belongs to --offsets, which is not given", param_hint="--offset-unit")
    system, cautions = agent.added_to(read_pools(pools))
    saturation: Protocol | PulseTrain
    if sequence is not None:
        _check_unused(offset_range, offsets, b1_ut, pulse_s)
        saturation = read_sequence(sequence)
    else:
        if b1_ut is None or pulse_s is None:
            raise typer.BadParameter(
                "a sequence file, or --b1-ut and --pulse-s of block pulses, is needed", param_hint="SEQUENCE"
            )
        megahertz = system.gamma_rad_per_s_ut * system.field_t / (2.0 * math.pi)
        ppm = _offsets(offset_range, offsets, offset_unit, megahertz)
        with typed_refusals():
            saturation = PulseTrain(
                ppm,
                [b1_ut],
                pulse_s,
                n_pulses=n_pulses,
                pulse_interval_s=interval_s,
                post_delay_s=post_delay_s,
            )
    cases = list(product(b0_ppm or [0.0], relative_b1 or [1.0]))
    spectra = simulate(
        system,
        saturation,
        b0_ppm=[case[0] for case in cases],
        relative_b1=[case[1] for case in cases],
        workers=common.workers,
    )
    names = [_name(*case, several=len(cases) > 1) for case in cases]
    run = Run(
        "cest simulate",
        (),
        spectrum_table(spectra, saturation.offsets, names),
        parameters={
            name: value
            for name, value in (
                ("b1_ut", b1_ut),
                ("pulse_s", pulse_s),
                ("n_pulses", n_pulses),
                ("interval_s", interval_s),
                ("post_delay_s", post_delay_s),
                ("b0_ppm", b0_ppm),
                ("relative_b1", relative_b1),
                ("agent", agent.agent),
                ("concentration_mm", agent.concentration_mm),
                ("ph", agent.ph),
                ("agent_t2_s", agent.agent_t2_s),
            )
            if value is not None and not (sequence is not None and name.endswith(("_s", "_ut", "pulses")))
        },
        inputs=[path for path in (pools, sequence, offsets) if path is not None],
        warnings=cautions,
    )
    runs.deliver(run, common.delivery)


def _name(b0_ppm: float, relative_b1: float, *, several: bool) -> str:
    return f"{b0_ppm:+g} ppm, B1 x {relative_b1:g}" if several else "simulated"


def _check_unused(
    offset_range: str | None, offsets: Path | None, b1_ut: float | None, pulse_s: float | None
) -> None:
    given = {"--offset-range": offset_range, "--offsets": offsets, "--b1-ut": b1_ut, "--pulse-s": pulse_s}
    for option, value in given.items():
        if value is not None:
            raise typer.BadParameter("the sequence file says it", param_hint=option)


def _offsets(
    offset_range: str | None, offsets: Path | None, unit: str | None, megahertz: float
) -> npt.NDArray[np.float64]:
    import numpy as np

    if (offset_range is None) == (offsets is None):
        raise typer.BadParameter("give one of --offset-range and --offsets", param_hint="--offset-range")
    if offsets is not None:
        from imgtheranostics.io.cest_offsets import read_offsets
        from imgtheranostics.io.saturation_offsets import place

        found = read_offsets(offsets)
        if unit is not None:
            found = replace(found, unit=unit)
        if unit == "Hz":
            found = replace(found, imaging_frequency_mhz=megahertz, sign=SIGNS[0])
        ppm = place(found, len(found)).axes[0].values
        return ppm[np.isfinite(ppm)]  # unsaturated images show nothing of the pools
    words = str(offset_range).split(":")
    try:
        start, stop, n = float(words[0]), float(words[1]), int(words[2])
    except (ValueError, IndexError):
        n = 0
    if len(words) != 3 or n < 2 or not np.isfinite([start, stop]).all():
        raise typer.BadParameter("must be START:STOP:N, such as -6:6:49", param_hint="--offset-range")
    return np.linspace(start, stop, n)
