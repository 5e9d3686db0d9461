"""``mri`` and its commands."""

from __future__ import annotations

import typer

from imgtheranostics.cli import mri_contrast, mri_relaxation, mri_temperature

app = typer.Typer(
    help="MRI: relaxation times, enhancement, concentration, perfusion and temperature.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("t1")(mri_relaxation.t1)
app.command("t2")(mri_relaxation.t2)
app.command("t2star")(mri_relaxation.t2star)
app.command("enhancement")(mri_contrast.enhancement)
app.command("concentration")(mri_contrast.concentration)
app.command("dce")(mri_contrast.dce)
app.command("temperature")(mri_temperature.temperature)
