"""``msot`` and its commands."""

from __future__ import annotations

import typer

from imgtheranostics.cli import msot_oxygenation, msot_reconstruct, msot_unmix

app = typer.Typer(
    help="Optoacoustic imaging: amounts of absorbers, oxygen saturation, images from raw signals.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("unmix")(msot_unmix.unmix)
app.command("oxygenation")(msot_oxygenation.oxygenation)
app.command("reconstruct")(msot_reconstruct.reconstruct)
