"""``msot oxygenation``: oxygen saturation and total haemoglobin, and what a change of gas does to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import runs
from imgtheranostics.cli.groups import grouped, refuse_given
from imgtheranostics.cli.map_input import is_number
from imgtheranostics.cli.msot_groups import Absorbers, DepthOptions, LightOptions, MsotScan
from imgtheranostics.cli.msot_runs import deliver, joined, prepared
from imgtheranostics.cli.msot_unmix import ImagePath
from imgtheranostics.cli.msot_words import as_usage

if TYPE_CHECKING:
    from imgtheranostics.msot.gas_challenge_maps import GasChallenge
    from imgtheranostics.msot.oxygenation_maps import Oxygenation
    from imgtheranostics.regions import Regions

FIND = "find"


@dataclass(frozen=True)
class ChallengeOptions:
    """A change of the breathing gas in an image over time."""

    challenge: Annotated[
        str | None,
        typer.Option(
            "--challenge",
            metavar="SECONDS|find",
            help="When the breathing gas was changed, on the time axis; find looks for it.",
        ),
    ] = None
    find_in: Annotated[
        str | None,
        typer.Option(
            "--find-in", metavar="REGION", help="Region whose mean shows the change; default all together."
        ),
    ] = None
    buffer_frames: Annotated[
        int | None,
        typer.Option(
            "--buffer-frames",
            min=0,
            help="Frames on each side of the change that belong to neither state; default 5.",
        ),
    ] = None
    baseline_from_s: Annotated[
        float | None,
        typer.Option("--baseline-from-s", help="Where the baseline begins; default at the start."),
    ] = None
    challenge_until_s: Annotated[
        float | None,
        typer.Option("--challenge-until-s", help="Where the challenge ends; default with the last frame."),
    ] = None

    def check(self, common: MsotScan) -> None:
        """Refuse what would not be used.

        Raises
        ------
        typer.BadParameter
        """
        given = {
            "--find-in": self.find_in,
            "--buffer-frames": self.buffer_frames,
            "--baseline-from-s": self.baseline_from_s,
            "--challenge-until-s": self.challenge_until_s,
        }
        if self.challenge is None:
            refuse_given(given, "belongs to --challenge, which is not given")
        if self.challenge is not None and self.challenge != FIND and not is_number(self.challenge):
            raise typer.BadParameter("must be a time in s, or find", param_hint="--challenge")
        if self.find_in is not None and (self.challenge != FIND or not common.rois):
            raise typer.BadParameter("applies to --challenge find with --rois", param_hint="--find-in")

    def found(self, given: Oxygenation, regions: Regions, mask: Any, common: MsotScan) -> GasChallenge:
        """The change of saturation."""
        from imgtheranostics import msot

        options: dict[str, Any] = {"from_s": self.baseline_from_s, "until_s": self.challenge_until_s}
        if self.buffer_frames is not None:
            options["buffer_frames"] = self.buffer_frames
        if self.find_in is not None and self.find_in not in list(regions):
            raise typer.BadParameter(
                f"there is no region {self.find_in!r}; regions: {', '.join(regions)}", param_hint="--find-in"
            )
        moment = None if self.challenge == FIND else float(self.challenge or "nan")
        return msot.delta_so2(
            given,
            regions,
            change_s=moment,
            find_in=self.find_in,
            mask=mask,
            resolution_mm=common.resolution_mm,
            workers=common.workers,
            **options,
        )


@grouped
def oxygenation(
    path: ImagePath,
    *,
    absorbers: Absorbers,
    light: LightOptions,
    depth: DepthOptions,
    challenge: ChallengeOptions,
    common: MsotScan,
) -> None:
    """Oxygen saturation in % and total haemoglobin, by voxel and of each region's mean haemoglobin."""
    from imgtheranostics.msot.component_curves import component_spectra
    from imgtheranostics.msot.curve_rows import challenge_details, challenge_rows, counted
    from imgtheranostics.msot.oxygenation_maps import oxygenation as make
    from imgtheranostics.msot.region_tables import region_table

    said = locals()
    runs.check_output(common.out, force=common.force)
    challenge.check(common)
    ready = prepared(path, absorbers, light, depth, common)
    with as_usage():
        found = make(ready.image, ready.components, **ready.keywords(absorbers, common))
    options = {**common.table_options(), "workers": common.workers}
    estimates = list(found.estimates)
    tables = [region_table(found, ready.regions, **options)]
    curves = list(component_spectra(found.unmixed, ready.regions))
    if challenge.challenge is not None:
        change = challenge.found(found, ready.regions, ready.mask, common)
        tables.append(region_table(change.delta, ready.regions, **options))
        rows = challenge_rows(change, ready.regions)
        rows.attrs["details"] = challenge_details(change)
        tables.append(rows)
        estimates.append(change.delta)
        curves += counted(change.curves, ready.regions)
    attenuation, shells = ready.shells(found.unmixed, depth, common)
    deliver(
        "msot oxygenation",
        ready,
        estimates,
        joined([*tables, *attenuation], common),
        common,
        said,
        path=path,
        residual=found.unmixed.residual,
        files=[*absorbers.files, *light.files, *depth.files],
        curves=[*curves, *shells],
    )
