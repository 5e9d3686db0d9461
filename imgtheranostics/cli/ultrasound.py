"""``ultrasound`` and its commands."""

from __future__ import annotations

import typer

from imgtheranostics.cli import ultrasound_curves, ultrasound_enhancement

app = typer.Typer(
    help="Contrast ultrasound: echo enhancement in dB and time-intensity curves, from linear echo power.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("enhancement")(ultrasound_enhancement.enhancement)
app.command("curves")(ultrasound_curves.curves)
