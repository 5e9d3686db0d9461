"""``ct`` and its commands."""

from __future__ import annotations

import typer

from imgtheranostics.cli import ct_calibration, ct_change, ct_materials, ct_retention

app = typer.Typer(
    help="CT: change in HU, mg/mL of an agent, materials at several energies, what stays in a tumour.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("enhancement")(ct_change.enhancement)
app.command("concentration")(ct_change.concentration)
app.command("materials")(ct_materials.materials)
app.command("retention")(ct_retention.retention)
app.command("calibrate")(ct_calibration.calibrate)
