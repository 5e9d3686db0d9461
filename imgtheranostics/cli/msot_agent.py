"""The agent among the components of ``msot unmix``: its mass, %ID/g, and what it does over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options
from imgtheranostics.cli.map_input import is_number, window

if TYPE_CHECKING:
    from imgtheranostics.msot.dye_maps import DyeKinetics
    from imgtheranostics.msot.signal_calibration import SignalCalibration
    from imgtheranostics.msot.unmixed import Unmixed
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Estimate

KINETICS = ("tail", "two_compartments")
_MG_PER_NMOL = 1e-6
"""Of 1 g/mol."""


@dataclass(frozen=True)
class AgentOptions:
    """Which component was injected, and how much of it."""

    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            metavar="COMPONENT",
            help="The component that was injected; by default the only one that is not of tissue.",
        ),
    ] = None
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration",
            metavar="N|FILE",
            help="Amount per mg/mL of the agent, or a table of vials in the same image with the columns "
            "region,mg_ml: mg/mL of the agent.",
        ),
    ] = None
    calibration_error: Annotated[
        float | None,
        typer.Option(
            "--calibration-error",
            min=0.0,
            help="Standard error of a number of --calibration, in its unit; of vials the relative "
            "uncertainty of their concentrations in %.",
        ),
    ] = None
    molar_mass: Annotated[
        float | None,
        typer.Option("--molar-mass-g-mol", help="Of what is counted in umol/L: mg/mL of the agent."),
    ] = None
    molar_mass_error: Annotated[
        float | None, typer.Option("--molar-mass-error", min=0.0, help="Its standard error in g/mol.")
    ] = None
    injected_mg: Annotated[
        float | None, typer.Option("--injected-mg", help="Injected mass of the agent: %ID/g.")
    ] = None
    injected_nmol: Annotated[
        float | None,
        typer.Option("--injected-nmol", help="Instead: the injected amount, with --molar-mass-g-mol."),
    ] = None
    injected_error: Annotated[
        float | None,
        typer.Option("--injected-error", min=0.0, help="Its standard error, in mg or nmol."),
    ] = None
    density_g_ml: Annotated[
        float | None, typer.Option("--density-g-ml", help="Of the tissue, for %ID/g; default 1.0.")
    ] = None

    @property
    def files(self) -> list[Path]:
        """Files that were read."""
        named = Path(self.calibration) if self.calibration is not None else None
        return [named] if named is not None and named.is_file() else []

    def check(self) -> None:
        """Refuse options that contradict or need each other.

        Raises
        ------
        typer.BadParameter
        """
        by_nmol = self.injected_nmol is not None
        scaled = self.calibration is not None or self.molar_mass is not None
        injected = by_nmol or self.injected_mg is not None
        wrong = (
            (
                self.injected_mg is not None and by_nmol,
                "--injected-mg",
                "give it or --injected-nmol, not both",
            ),
            (by_nmol and self.molar_mass is None, "--injected-nmol", "needs --molar-mass-g-mol"),
            (
                injected and not scaled,
                "--injected-mg",
                "needs mg/mL: --calibration, or --molar-mass-g-mol where amounts are in umol/L",
            ),
            (
                self.calibration_error is not None and self.calibration is None,
                "--calibration-error",
                "belongs to --calibration, which is not given",
            ),
            (
                self.molar_mass_error is not None and self.molar_mass is None,
                "--molar-mass-error",
                "belongs to --molar-mass-g-mol, which is not given",
            ),
            (
                self.injected_error is not None and not injected,
                "--injected-error",
                "belongs to --injected-mg, which is not given",
            ),
            (
                self.density_g_ml is not None and not injected,
                "--density-g-ml",
                "belongs to --injected-mg, which is not given",
            ),
        )
        for is_wrong, option, words in wrong:
            if is_wrong:
                raise typer.BadParameter(words, param_hint=option)

    def name(self, unmixed: Unmixed, purpose: str) -> str:
        """The component that was injected.

        Raises
        ------
        typer.BadParameter
            If there is no such component, or several may be meant.
        """
        from imgtheranostics.msot.component_tables import agents_among

        known = list(unmixed.estimates)
        if self.agent is not None:
            if self.agent not in known:
                raise typer.BadParameter(
                    f"there is no component {self.agent!r}; components: {', '.join(known)}",
                    param_hint="--agent",
                )
            return self.agent
        found = agents_among(known)
        if len(found) != 1:
            raise typer.BadParameter(
                f"say which component {purpose}; components: {', '.join(known)}", param_hint="--agent"
            )
        return found[0]

    def masses(self, unmixed: Unmixed, regions: Regions, blanks: Any, common: Any) -> list[Estimate]:
        """``concentration`` in mg/mL and ``id_per_g`` of the agent, as far as they were asked for."""
        from imgtheranostics import msot

        if self.calibration is None and self.molar_mass is None:
            return []
        amount = unmixed.estimate(self.name(unmixed, "was injected"))
        if self.calibration is not None:
            scale: dict[str, Any] = {"calibration": self._calibration(amount, regions, blanks, common)}
        else:
            scale = {
                "molar_mass_g_mol": self.molar_mass,
                "molar_mass_error": self.molar_mass_error or 0.0,
            }
        mass = msot.mass_concentration(amount, **scale)
        factor = 1.0 if self.injected_nmol is None else _MG_PER_NMOL * (self.molar_mass or 0.0)
        injected = self.injected_mg if self.injected_nmol is None else self.injected_nmol
        if injected is None:
            return [mass]
        share = msot.percent_id_per_gram(
            mass,
            injected_mg=injected * factor,
            injected_error_mg=(self.injected_error or 0.0) * factor,
            density_g_ml=1.0 if self.density_g_ml is None else self.density_g_ml,
        )
        return [mass, share]

    def _calibration(self, amount: Estimate, regions: Regions, blanks: Any, common: Any) -> SignalCalibration:
        from imgtheranostics.msot.signal_calibration import SignalCalibration, calibrate

        given = str(self.calibration)
        if is_number(given):
            value = float(given)
            if not 0 < value < float("inf"):
                raise typer.BadParameter("must be above 0, or a file", param_hint="--calibration")
            return SignalCalibration(value, (self.calibration_error or 0.0) / value, amount.unit)
        from imgtheranostics.mapping.vial_table import read_known_values

        known = read_known_values(Path(given), ("mg_ml",))
        vials = dict(known.values)
        missing = [name for name in vials if name not in list(regions)]
        if missing:
            raise typer.BadParameter(
                f"names regions that are not in --rois: {', '.join(missing)}; regions: {', '.join(regions)}",
                param_hint="--calibration",
            )
        return calibrate(
            amount,
            regions,
            vials,
            relative_uncertainty=(self.calibration_error or 0.0) / 100.0,
            blanks=blanks,
            resolution_mm=common.resolution_mm,
            workers=common.workers,
        )


@dataclass(frozen=True)
class KineticsOptions:
    """What the agent does over time."""

    kinetics: Annotated[
        str | None,
        typer.Option(
            "--kinetics",
            click_type=options.choice(KINETICS),
            help="Peak, rise, area and decay of the agent in an image over time.",
        ),
    ] = None
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="FIRST:STOP", help="Frames before the injection, from 0."),
    ] = None
    injection_s: Annotated[
        float | None, typer.Option("--injection-s", help="When it was injected, on the time axis.")
    ] = None
    tail_from_s: Annotated[
        float | None, typer.Option("--tail-from-s", help="Where the tail begins; default after the peak.")
    ] = None

    def check(self) -> None:
        """Refuse what would not be used.

        Raises
        ------
        typer.BadParameter
        """
        given = {
            "--baseline": self.baseline,
            "--injection-s": self.injection_s,
            "--tail-from-s": self.tail_from_s,
        }
        for option, value in given.items():
            if value is not None and self.kinetics is None:
                raise typer.BadParameter("belongs to --kinetics, which is not given", param_hint=option)
        if self.kinetics is not None and self.baseline is None:
            raise typer.BadParameter(
                "--kinetics needs the frames before the injection", param_hint="--baseline"
            )

    def maps(self, amount: Estimate, regions: Regions, mask: Any, workers: int | None) -> DyeKinetics | None:
        """Kinetics of the agent, where they were asked for."""
        frames = window(self.baseline)
        if self.kinetics is None or frames is None:
            return None
        from imgtheranostics import msot

        return msot.dye_kinetics_maps(
            amount,
            regions,
            baseline=frames,
            injection_s=self.injection_s,
            model=self.kinetics,  # type: ignore[arg-type]
            tail_from_s=self.tail_from_s,
            mask=mask,
            workers=workers,
        )
