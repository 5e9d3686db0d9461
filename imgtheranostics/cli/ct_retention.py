"""``ct retention``: how much of an injected agent stays in a tumour, from scan to scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import runs
from imgtheranostics.cli.ct_groups import Comparison, CtScan, Hounsfield, SlopeOptions, existing
from imgtheranostics.cli.ct_runs import deliver
from imgtheranostics.cli.groups import grouped
from imgtheranostics.cli.map_input import number_list
from imgtheranostics.cli.scan_series import series_of_scans

if TYPE_CHECKING:
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Volume

MISSING = "-"

Baseline = Annotated[
    Path, typer.Argument(help="Scan before the injection: DICOM folder or file, NIfTI.", show_default=False)
]
FollowUps = Annotated[
    list[str],
    typer.Argument(
        metavar="FOLLOWUP...",
        help="Scans after it, in order; - stands for one that was planned and not made.",
        show_default=False,
    ),
]
OwnRois = Annotated[
    list[Path] | None,
    typer.Option(
        "--followup-rois",
        help="Regions drawn on a follow-up, once for each that was made, instead of --rois on the baseline.",
    ),
]
FollowUpSeries = Annotated[
    list[str] | None,
    typer.Option(
        "--followup-series",
        help="Series of each follow-up that was made, as --series is that of the baseline; - for one with one"
        " series.",
    ),
]
Tumour = Annotated[str, typer.Option("--tumour", help="Name of the region that was injected.")]
Days = Annotated[
    list[str] | None,
    typer.Option(
        "--day", metavar="DAY[,DAY]", help="Day of each follow-up, also of those not made. Or given again."
    ),
]
Shells = Annotated[
    list[str] | None,
    typer.Option(
        "--shell-mm",
        metavar="MM[,MM]",
        help="Outer distances of the shells in which leakage is looked for; default 5,10. Or given again.",
    ),
]
NoShells = Annotated[bool, typer.Option("--no-shells", help="Look for leakage nowhere.")]
RequireRecovery = Annotated[
    bool, typer.Option("--require-recovery", help="Refuse to go on where the injected mass is not known.")
]


@dataclass(frozen=True)
class Dose:
    """Macroscopic dose enhancement."""

    photon_kev: Annotated[
        float | None,
        typer.Option(
            "--photon-kev",
            help="Photon energy, 10 to 800, of the macroscopic dose enhancement of each region; nanoscale "
            "effects are not modelled.",
        ),
    ] = None
    dose_ratio: Annotated[
        float | None,
        typer.Option(
            "--dose-ratio",
            help="Energy absorption of the material over that of water, from your own table, instead of the "
            "model; needed above 800 keV.",
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """As `imgtheranostics.ct.retention` takes them.

        Raises
        ------
        typer.BadParameter
            If the ratio is not a positive number.
        """
        if self.dose_ratio is not None and not 0 < self.dose_ratio < float("inf"):
            raise typer.BadParameter("must be positive and finite", param_hint="--dose-ratio")
        return {"photon_kev": self.photon_kev, "dose_ratio": self.dose_ratio}


FIGURES = ("retention", "before-after", "detection", "map")


@dataclass(frozen=True)
class Injected:
    """What was injected."""

    injected_mg: Annotated[
        float | None, typer.Option("--injected-mg", help="Mass of the material that was injected.")
    ] = None
    injected_ml: Annotated[
        float | None, typer.Option("--injected-ml", help="Volume of the suspension that was injected.")
    ] = None
    suspension_mg_ml: Annotated[
        float | None,
        typer.Option(
            "--suspension-mg-ml", help="Its strength; by default that of the agent's record (nbtxr3: 53.3)."
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """As `imgtheranostics.ct.retention` takes them."""
        return {
            "injected_mg": self.injected_mg,
            "injected_ml": self.injected_ml,
            "suspension_mg_ml": self.suspension_mg_ml,
        }


@grouped
def retention(
    baseline: Baseline,
    followups: FollowUps,
    followup_rois: OwnRois = None,
    followup_series: FollowUpSeries = None,
    tumour: Tumour = "tumour",
    day: Days = None,
    shell_mm: Shells = None,
    no_shells: NoShells = False,
    require_recovery: RequireRecovery = False,
    *,
    injected: Injected,
    dose: Dose,
    slope: SlopeOptions,
    comparison: Comparison,
    hounsfield: Hounsfield,
    common: CtScan,
) -> None:
    """Mass in a tumour at each follow-up, how much of the first is still there, and what leaked."""
    from imgtheranostics import ct

    said = locals()
    runs.check_output(common.out, force=common.force)
    scans = [None if text == MISSING else existing(Path(text), "FOLLOWUP") for text in followups]
    if not common.rois and not followup_rois:
        raise typer.BadParameter("needs the region of the tumour", param_hint="--rois")
    keywords = slope.keywords()
    before = hounsfield.scan(baseline, common, common.series, comparison.allowed)
    made = [path for path in scans if path is not None]
    chosen = iter(series_of_scans(followup_series, len(made), "--followup-series"))
    after = [
        None if path is None else hounsfield.scan(path, common, next(chosen), comparison.allowed)
        for path in scans
    ]
    drawn = _regions(before, after, followup_rois, common)
    regions = drawn if not isinstance(drawn, list) else next(one for one in drawn if one is not None)
    found = ct.retention(
        before,
        after,
        drawn,
        tumour=tumour,
        days=_numbers(day, "--day"),
        recovery=require_recovery,
        blanks=_blanks(common, regions, before),
        subject=common.subject,
        session=common.session,
        workers=common.workers,
        **_shells(shell_mm, no_shells),
        **injected.keywords(),
        **dose.keywords(),
        **keywords,
        **comparison.keywords(default="rigid"),
    )
    deliver(
        "ct retention",
        [ct.retention_map(found, baseline=before)],
        found.table,
        regions,
        common,
        said,
        inputs=[baseline, *made],
        files=[*slope.files, *comparison.files, *hounsfield.files, *(followup_rois or [])],
        figures=FIGURES,
        decisions=found.decisions,
        warnings=found.warnings,
    )


def _regions(
    before: Volume, after: list[Volume | None], own: list[Path] | None, common: CtScan
) -> Regions | list[Regions | None]:
    """Regions on the baseline, or those of each follow-up that was made."""
    if not own:
        return runs.regions_for(before, common.rois, resample=common.resample_rois)
    if common.rois:
        raise typer.BadParameter("give it or --rois, not both", param_hint="--followup-rois")
    made = [scan for scan in after if scan is not None]
    if len(own) != len(made):
        raise typer.BadParameter(
            f"{len(own)} for {len(made)} follow-ups that were made", param_hint="--followup-rois"
        )
    files = iter(own)
    return [
        None if scan is None else runs.regions_for(scan, [next(files)], resample=common.resample_rois)
        for scan in after
    ]


def _blanks(common: CtScan, regions: Regions, before: Volume) -> Any:
    """``--blank`` as a mask on the baseline."""
    found = common.blanks(regions, before)
    return regions.subset([found]) if isinstance(found, str) else found


def _numbers(texts: list[str] | None, option: str) -> list[float] | None:
    if not texts:
        return None
    return [value for text in texts for value in number_list(text, option) or ()]


def _shells(texts: list[str] | None, none: bool) -> dict[str, Any]:
    given = _numbers(texts, "--shell-mm")
    if none and given is not None:
        raise typer.BadParameter("give it or --shell-mm, not both", param_hint="--no-shells")
    return {"shell_mm": ()} if none else {} if given is None else {"shell_mm": given}
