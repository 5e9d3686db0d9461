"""``ct calibrate``: HU per mg/mL from a scan of vials, or HU of grey values from a scan of rods."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options, terminal
from imgtheranostics.cli.ct_groups import CtScan, Hounsfield
from imgtheranostics.cli.groups import grouped, refuse_given
from imgtheranostics.cli.map_input import loaded

if TYPE_CHECKING:
    from imgtheranostics.ct import RodCalibration, VialCalibration
    from imgtheranostics.regions import Regions
    from imgtheranostics.volume import Volume

COLUMNS = ("mg_ml", "hu")

Known = Annotated[
    Path,
    typer.Option(
        "--known",
        help="Table with the columns region and mg_ml (vials of --material), or region and hu (rods).",
        show_default=False,
    ),
]
Rois = Annotated[list[Path], typer.Option("--rois", help="Where the vials or rods are.", show_default=False)]
Save = Annotated[Path, typer.Option("--save", help="Where the calibration goes (JSON).", show_default=False)]
Material = Annotated[str | None, typer.Option("--material", help="What the vials hold, such as I or HfO2.")]
Kvp = Annotated[
    float | None, typer.Option("--kvp", min=1.0, help="Tube voltage, where the file does not state it.")
]
StockError = Annotated[
    float | None,
    typer.Option("--stock-error", min=0.0, max=0.99, help="Relative error of the stock that vials share."),
]
WaterCm = Annotated[float | None, typer.Option("--water-cm", min=0.0, help="Diameter of the phantom.")]
MaxResidual = Annotated[
    float | None, typer.Option("--max-residual-hu", min=0.0, help="Distance from the line that is refused.")
]
Blank = Annotated[
    str | None,
    typer.Option(
        "--blank",
        metavar="REGION|FILE",
        help="One even material, such as the water around the vials: its scatter is the error of the means.",
    ),
]


@grouped
def calibrate(
    path: options.InputPath,
    known: Known,
    rois: Rois,
    save: Save,
    material: Material = None,
    kvp: Kvp = None,
    water_cm: WaterCm = None,
    stock_error: StockError = None,
    max_residual_hu: MaxResidual = None,
    blank: Blank = None,
    resample_rois: options.ResampleRois = False,
    series: options.Series = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    *,
    hounsfield: Hounsfield,
) -> None:
    """Line through vials or rods in PATH; weighted, checked, and saved for --calibration or --rods."""
    from imgtheranostics import ct
    from imgtheranostics.cli.runs import regions_for
    from imgtheranostics.mapping.vial_table import read_known_values

    table = read_known_values(known, COLUMNS)
    rods = table.column == "hu"
    _check(rods, material, water_cm, stock_error, hounsfield)
    _check_target(save, force=force)
    common = CtScan(rois=rois, resample_rois=resample_rois, blank=blank)
    scan = loaded(path, series)
    if not rods:
        scan = hounsfield.in_hu(scan, common)
    regions = regions_for(scan, rois, resample=resample_rois)
    shared: dict[str, Any] = {
        "blanks": common.blanks(regions, scan),
        "kvp": kvp,
        "max_residual_hu": max_residual_hu,
    }
    if rods:
        found: RodCalibration | VialCalibration = ct.calibrate_rod_scan(scan, regions, table.values, **shared)
    else:
        found = ct.calibrate_vials(
            scan,
            regions,
            table.values,
            material=str(material),
            water_cm=water_cm,
            stock_relative_error=stock_error or 0.0,
            **shared,
        )
    found.save(save)
    _print(found, list(table.values), save, scan, regions, as_json=as_json, quiet=quiet)


def _check(
    rods: bool,
    material: str | None,
    water_cm: float | None,
    stock_error: float | None,
    hounsfield: Hounsfield,
) -> None:
    """Refuse options that the other kind of calibration takes."""
    if not rods:
        if material is None:
            raise typer.BadParameter("name what the vials hold, such as I or HfO2", param_hint="--material")
        return
    given = {"--material": material, "--water-cm": water_cm, "--stock-error": stock_error}
    refuse_given(given, "belongs to vials; the table has HU of rods")
    hounsfield.unused("the table has HU of rods, which are the calibration")


def _check_target(save: Path, *, force: bool) -> None:
    from imgtheranostics.errors import OutputError

    if save.exists() and not force:
        raise OutputError(
            "the file exists already", where=str(save), next_step="choose another name, or give --force"
        )


def _print(
    found: RodCalibration | VialCalibration,
    names: list[str],
    save: Path,
    scan: Volume,
    regions: Regions,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """The line and how far each vial lies from it."""
    from imgtheranostics.errors import merge_cautions
    from imgtheranostics.report.plain import plain
    from imgtheranostics.report.wording import number, rounded

    is_rods = not hasattr(found, "concentration_mg_ml")
    known = found.hu if is_rods else found.concentration_mg_ml  # type: ignore[union-attr]
    reading = found.grey if is_rods else found.hu  # type: ignore[union-attr]
    errors = found.grey_standard_error if is_rods else found.hu_standard_error  # type: ignore[union-attr]
    cautions = merge_cautions(scan.warnings, regions.warnings, getattr(found, "warnings", ()))
    terminal.print_cautions(cautions, quiet=quiet or as_json)
    rows = [
        {"region": name, "known": known[n], "measured": reading[n], "standard_error": errors[n],
         "residual_hu": found.residuals_hu[n]}
        for n, name in enumerate(names)
    ]  # fmt: skip
    if as_json:
        listed = [{"code": c.code, "message": c.message, "where": c.where} for c in cautions]
        terminal.print_json(
            plain(
                {
                    "command": "ct calibrate",
                    "kind": "rods" if is_rods else "vials",
                    "calibration": found.decision(),
                    "points": rows,
                    "warnings": listed,
                    "file": str(save),
                }
            )
        )
        return
    heads = ["region", "HU known" if is_rods else "mg/mL", "grey" if is_rods else "HU", "residual HU"]
    cells = [
        [
            str(row["region"]),
            number(float(row["known"])),
            str(rounded(float(row["measured"]), float(row["standard_error"]))),
            number(float(row["residual_hu"]), 3),
        ]
        for row in rows
    ]
    terminal.print_table("", heads, cells, set(heads[1:]))
    decision = found.decision()
    if is_rods:
        text = f"HU = {rounded(decision['slope'], decision['slope_error'])} x grey "
        text += f"{decision['intercept']:+.5g}"
    else:
        text = f"{rounded(decision['hu_per_mg_ml'], decision['standard_error'])} HU per mg/mL of "
        text += f"{decision['material']}; {rounded(decision['intercept_hu'], decision['intercept_error_hu'])}"
        text += " HU without it"
    typer.echo(text)
    if not quiet:
        typer.echo(f"wrote {save}")
