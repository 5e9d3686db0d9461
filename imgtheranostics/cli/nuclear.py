"""``nuclear`` and its commands."""

from __future__ import annotations

import typer

from imgtheranostics.cli import (
    nuclear_curves,
    nuclear_dose,
    nuclear_kinetics,
    nuclear_pairs,
    nuclear_pvc,
    nuclear_segment,
    nuclear_uptake,
)

app = typer.Typer(
    help="PET and SPECT: uptake, curves, kinetics, lesions, partial volume, pairs and dose.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("uptake")(nuclear_uptake.uptake)
app.command("curves")(nuclear_curves.curves)
app.command("kinetics")(nuclear_kinetics.kinetics)
app.command("dose")(nuclear_dose.dose)
app.command("pairs")(nuclear_pairs.pairs)
app.command("pvc")(nuclear_pvc.pvc)
app.command("segment")(nuclear_segment.segment)
