"""``cest`` and its commands."""

from __future__ import annotations

import typer

from imgtheranostics.cli import cest_contrast, cest_exchange, cest_ph, cest_pools, cest_simulation

app = typer.Typer(
    help="CEST: contrasts, pools, pH and exchange from Z-spectra, and their simulation.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("contrast")(cest_contrast.contrast)
app.command("pools")(cest_pools.pools)
app.command("ph")(cest_ph.ph)
app.command("exchange")(cest_exchange.exchange)
app.command("simulate")(cest_simulation.simulate)
