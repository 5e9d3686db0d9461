"""Options of ``nuclear kinetics``: what drives the tissue, how it is fitted, maps, and tables of curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options
from imgtheranostics.cli.administration_options import parse_amount
from imgtheranostics.cli.groups import refuse_given

if TYPE_CHECKING:
    from imgtheranostics.nuclear.input_functions import InputFunction
    from imgtheranostics.nuclear.tissue_curves import TissueCurves

COMPARTMENTS = ("one_tissue", "two_tissue", "two_tissue_irreversible")
PLASMA_PLOTS = ("patlak", "logan", "ma1")
BY_REFERENCE = ("patlak_reference", "logan_reference", "mrtm2", "mrtm", "srtm", "srtm2")
MODELS = (*COMPARTMENTS, *PLASMA_PLOTS, *BY_REFERENCE)


@dataclass(frozen=True)
class InputOptions:
    """What drives the tissue."""

    blood: Annotated[
        list[Path] | None,
        typer.Option(
            "--blood",
            help="*_blood.tsv of PET-BIDS with its JSON file: plasma, whole blood, parent fraction. May be "
            "given again, for a manual table beside that of an autosampler.",
        ),
    ] = None
    blood_as_measured: Annotated[
        bool,
        typer.Option(
            "--blood-as-measured", help="Blood samples are not decay corrected: they will be, to time zero."
        ),
    ] = False
    plasma_over_blood: Annotated[
        float | None,
        typer.Option(
            "--plasma-over-blood",
            min=1e-3,
            help="Plasma over whole blood, where plasma was not measured (default 1 for --input-region).",
        ),
    ] = None
    template: Annotated[
        Path | None,
        typer.Option(
            "--template",
            help="Blood table of other subjects, whose shape is scaled to the plasma samples of --blood.",
        ),
    ] = None
    input_region: Annotated[
        str | None, typer.Option("--input-region", help="Region with blood that is the input function.")
    ] = None
    recovery: Annotated[
        float | None,
        typer.Option(
            "--recovery", min=1e-3, max=1.0, help="Recovery coefficient of --input-region (default 1)."
        ),
    ] = None
    surroundings: Annotated[
        str | None,
        typer.Option("--spill-in", help="Region around --input-region whose activity spills into it."),
    ] = None
    reference: Annotated[
        str | None, typer.Option("--reference", help="Region without binding, for models with a reference.")
    ] = None

    def check(self, model: str) -> None:
        """Refuse what would not be used, and what is missing."""
        by_blood = {"--blood": self.blood, "--template": self.template, "--input-region": self.input_region}
        of_region = {"--recovery": self.recovery, "--spill-in": self.surroundings}
        if model in BY_REFERENCE:
            refuse_given(
                {
                    **by_blood, **of_region, "--plasma-over-blood": self.plasma_over_blood,
                    "--blood-as-measured": self.blood_as_measured or None,
                },
                f"{model} takes a reference tissue and no blood",
            )  # fmt: skip
            if self.reference is None:
                raise typer.BadParameter(
                    f"{model} needs one region without binding", param_hint="--reference"
                )
            return
        refuse_given({"--reference": self.reference}, f"{model} takes an input function and no reference")
        if self.input_region is not None:
            refuse_given({"--blood": self.blood, "--template": self.template}, "or --input-region, not both")
            return
        refuse_given(of_region, "belongs to --input-region")
        if not self.blood:
            raise typer.BadParameter(
                f"{model} needs an input function: give --blood or --input-region", param_hint="--blood"
            )

    @property
    def files(self) -> list[Path]:
        """Tables that are read, with the files beside them."""
        tables = [*(self.blood or []), *([self.template] if self.template else [])]
        return [path for table in tables for path in (table, table.with_suffix(".json")) if path.is_file()]

    def inflow(self, curves: TissueCurves, model: str) -> InputFunction | None:
        """The input function; None for models with a reference tissue."""
        if model in BY_REFERENCE:
            return None
        from imgtheranostics.nuclear.input_functions import read_blood, scaled_template
        from imgtheranostics.nuclear.kinetic_tables import region_input

        if self.input_region is not None:
            return region_input(
                curves,
                self.input_region,
                recovery=1.0 if self.recovery is None else self.recovery,
                surroundings=self.surroundings,
                plasma_over_blood=1.0 if self.plasma_over_blood is None else self.plasma_over_blood,
            )
        how: dict[str, Any] = {
            "decay_corrected": False if self.blood_as_measured else None,
            "half_life_s": curves.half_life_s,
            "plasma_over_blood": self.plasma_over_blood,
        }
        samples = read_blood(list(self.blood or []), **how)
        if self.template is None:
            return samples
        shape = read_blood(self.template, **how)
        return scaled_template(shape, sample_time_s=samples.time_s, samples=samples.plasma)


@dataclass(frozen=True)
class FitOptions:
    """How the model is fitted."""

    start: Annotated[
        str | None,
        typer.Option(
            "--start", help="t* of plots with its unit, such as 30min: frames from here on make the line."
        ),
    ] = None
    end: Annotated[
        str | None, typer.Option("--end", help="Frames up to here make the line, such as 90min.")
    ] = None
    k2_reference: Annotated[
        float | None,
        typer.Option(
            "--k2-reference",
            min=1e-9,
            help="Clearance of the reference tissue in 1/min: needed by mrtm2; logan_reference, srtm2.",
        ),
    ] = None
    blood_fraction: Annotated[
        float | None,
        typer.Option(
            "--blood-fraction", min=0.0, max=0.99, help="vB of compartments where known; default: fitted."
        ),
    ] = None
    bolus_delay: Annotated[
        str | None,
        typer.Option(
            "--bolus-delay",
            help="By how much tissue lags behind the blood samples, such as 5s; default: fitted in regions, "
            "0s in maps.",
        ),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            click_type=options.choice(("given", "equal", "frames")),
            help="Of the frames: those of the table (default, else equal), all alike, or length times decay.",
        ),
    ] = None
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Of intervals and bands.")] = (
        0.95
    )

    def given(self) -> dict[str, Any]:
        """Options of the method that were given, in s and 1/min."""
        words = {
            "start_s": parse_amount(self.start, "--start", "s", "30min"),
            "end_s": parse_amount(self.end, "--end", "s", "90min"),
            "k2_reference_per_min": self.k2_reference,
            "blood_fraction": self.blood_fraction,
            "delay_s": parse_amount(self.bolus_delay, "--bolus-delay", "s", "5s"),
        }
        return {name: value for name, value in words.items() if value is not None}

    def check(self, model: str) -> None:
        """Refuse what the model does not take, and ask for what it needs."""
        plots = model in PLASMA_PLOTS or model in BY_REFERENCE[:4]
        if not plots:
            refuse_given({"--start": self.start, "--end": self.end}, f"does not belong to {model}")
        if model not in COMPARTMENTS:
            refuse_given(
                {"--blood-fraction": self.blood_fraction, "--bolus-delay": self.bolus_delay},
                f"does not belong to {model}",
            )
        if model not in ("logan_reference", "mrtm2", "srtm2"):
            refuse_given({"--k2-reference": self.k2_reference}, f"does not belong to {model}")
        if plots and model not in ("mrtm", "mrtm2") and self.start is None:
            raise typer.BadParameter(
                f"from when on the plot of {model} is straight depends on the tracer: give t*, such as 30min",
                param_hint="--start",
            )
        if model == "mrtm2" and self.k2_reference is None:
            raise typer.BadParameter("mrtm2 needs it, as srtm finds it", param_hint="--k2-reference")


@dataclass(frozen=True)
class KineticMaps:
    """Maps, and what they are limited to."""

    maps: Annotated[bool, typer.Option("--maps", help="Also every parameter voxel by voxel.")] = False
    mask: Annotated[
        Path | None, typer.Option("--mask", help="Image whose zero voxels are left out of the maps.")
    ] = None

    def check(self) -> None:
        """Refuse what would not be used."""
        if not self.maps:
            refuse_given({"--mask": self.mask}, "belongs to --maps")


@dataclass(frozen=True)
class TableOptions:
    """What a table of tissue curves does not say itself."""

    unit: Annotated[
        str | None, typer.Option("--unit", help="Of a table whose headings state none, such as kBq/mL.")
    ] = None
    time_unit: Annotated[
        str | None, typer.Option("--time-unit", help="Of the frames of such a table: s, min or h.")
    ] = None
    decay_corrected: Annotated[
        bool | None,
        typer.Option(
            "--decay-corrected/--as-measured",
            help="Of a table: corrected to the injection (assumed, with a warning), or not yet (--nuclide).",
        ),
    ] = None
