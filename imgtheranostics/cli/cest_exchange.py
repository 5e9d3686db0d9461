"""``cest exchange``: rate and fraction of a pool from scans at several powers or durations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cest.methods import EXCHANGE_METHODS, FORMS, METRICS, SIMULATION_METHOD
from imgtheranostics.cli import options, runs
from imgtheranostics.cli.cest_groups import (
    T1,
    CestScan,
    Correction,
    Offsets,
    one_or_several,
    t1_files,
    water_t1,
)
from imgtheranostics.cli.cest_simulation_fit import SimulationFit, proton_count, protons_by_pool
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.map_input import volume_of
from imgtheranostics.cli.map_runs import deliver

if TYPE_CHECKING:
    from imgtheranostics.cest.bloch_maps import BlochPlan
    from imgtheranostics.cest.exchange_maps import ExchangePlan
    from imgtheranostics.cest.prepared_spectra import CorrectionOptions
    from imgtheranostics.volume import Volume

    Prepare = Callable[[list[Volume], CorrectionOptions], BlochPlan | ExchangePlan]

Scans = Annotated[
    list[Path],
    typer.Argument(
        help="One scan per power (quest: duration) of the saturation, or one with several.",
        show_default=False,
    ),
]
Method = Annotated[
    str, typer.Option("--method", click_type=options.choice((*EXCHANGE_METHODS, SIMULATION_METHOD)))
]
B1 = Annotated[
    list[float] | None,
    typer.Option(
        "--b1-ut",
        min=0.0,
        help="B1 of each scan, continuous-wave equivalent, where the files do not state it.",
    ),
]
Duration = Annotated[
    list[float] | None,
    typer.Option("--saturation-s", min=0.0, help="Duration of saturation, where the files do not state it."),
]
Protons = Annotated[
    list[str] | None,
    typer.Option(
        "--protons",
        metavar="N|POOL:N",
        help="Exchanging protons of a molecule; gives its concentration. By pool for bloch.",
    ),
]


@dataclass(frozen=True)
class Label:
    """What the contrasts of one labelled pool are fitted with."""

    at_ppm: Annotated[
        float | None, typer.Option("--at-ppm", help="Offset of the pool from water; not for bloch.")
    ] = None
    t1: T1 = None
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", click_type=options.choice(METRICS), help="What quesp fits; default: mtr_rex."
        ),
    ] = None
    form: Annotated[
        str | None,
        typer.Option(
            "--form",
            click_type=options.choice(FORMS),
            help="Of quesp of mtr_asym: as published, or with back exchange of labelled protons only.",
        ),
    ] = None

    def check_unused(self) -> None:
        """Refuse options that the file of pools stands for."""
        given = {"--at-ppm": self.at_ppm, "--t1": self.t1, "--metric": self.metric, "--form": self.form}
        for option, value in given.items():
            if value is not None:
                raise typer.BadParameter("the file of pools says it", param_hint=option)

    def offset_ppm(self, method: str) -> float:
        """``--at-ppm``, which is needed."""
        if self.at_ppm is None:
            raise typer.BadParameter(f"{method} needs the offset of the pool", param_hint="--at-ppm")
        return self.at_ppm


@grouped
def exchange(
    paths: Scans,
    method: Method = "omega_plot",
    b1_ut: B1 = None,
    saturation_s: Duration = None,
    protons: Protons = None,
    *,
    label: Label,
    simulation: SimulationFit,
    offsets: Offsets,
    correction: Correction,
    common: CestScan,
) -> None:
    """Exchange rate and fraction of a pool, with how sure they are."""
    said = locals()
    runs.check_output(common.out, force=common.force)
    powers = Powers(b1_ut, saturation_s, protons)
    if method == SIMULATION_METHOD:
        label.check_unused()
        prepared = _simulated(simulation, powers)
    else:
        simulation.check_unused(method)
        prepared = _labelled(label, method, powers)
    scans = [volume_of(offsets.scan(path, common)) for path in paths]
    plan = prepared(scans, correction.keywords(common, offsets))
    estimates = list(plan.estimates().values())
    regions = runs.regions_for(estimates[0].value, common.rois, resample=common.resample_rois)
    deliver(
        "cest exchange",
        estimates,
        regions,
        common,
        said,
        inputs=paths,
        files=[*offsets.files, *correction.files, *t1_files(label.t1), *simulation.files],
        curves=plan.curves(regions if common.rois else None) if common.draws else (),
    )


@dataclass(frozen=True)
class Powers:
    """What the command line says of all scans together."""

    b1_ut: list[float] | None
    saturation_s: list[float] | None
    protons: list[str] | None


def _simulated(simulation: SimulationFit, powers: Powers) -> Prepare:
    """Fits of the simulation; what is wrong in the options is refused before any scan is read."""
    free, bounds, pool_file = simulation.free_parameters(), simulation.bounds(), simulation.pool_file()
    counts = protons_by_pool(powers.protons)

    def plan(scans: list[Volume], correction: CorrectionOptions) -> BlochPlan:
        from imgtheranostics.cest.bloch_maps import BlochPlan
        from imgtheranostics.cest.prepared_spectra import Handling

        sequence = simulation.saturation(scans, powers.b1_ut, powers.saturation_s)
        how = Handling.of(correction)
        return BlochPlan.of(
            _one_or_all(scans), how, pool_file, sequence, free=free, protons=counts, bounds=bounds
        )

    return plan


def _labelled(label: Label, method: str, powers: Powers) -> Prepare:
    """Fits of the contrasts of one pool."""
    at_ppm, protons = label.offset_ppm(method), powers.protons
    if protons is not None and len(protons) > 1:
        raise typer.BadParameter(f"{method} is of one pool: one number", param_hint="--protons")

    def plan(scans: list[Volume], correction: CorrectionOptions) -> ExchangePlan:
        from imgtheranostics.cest.exchange_maps import ExchangePlan
        from imgtheranostics.cest.prepared_spectra import Handling

        return ExchangePlan.of(
            _one_or_all(scans),
            Handling.of(correction),
            method=method,
            at_ppm=at_ppm,
            t1=water_t1(label.t1),
            b1_ut=powers.b1_ut,
            saturation_time_s=one_or_several(powers.saturation_s),
            metric=label.metric,
            form=label.form,
            protons=None if protons is None else proton_count(protons[0]),
        )

    return plan


def _one_or_all(scans: list[Volume]) -> Volume | list[Volume]:
    return scans if len(scans) > 1 else scans[0]
