"""``agents list`` and ``agents show``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from imgtheranostics.cli import options, terminal

if TYPE_CHECKING:
    from imgtheranostics.agents.listing import Row

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Nanoparticle records: what is known of each, and whence.",
)


@app.command("list")
def list_agents(as_json: options.AsJson = False) -> None:
    """Every shipped record: name, kind, modalities, and how many of its values are from where."""
    from imgtheranostics import agents
    from imgtheranostics.agents.listing import counts

    records = [agents.get(name) for name in agents.available()]
    if as_json:
        rows = [
            {
                "id": record.id,
                "name": record.name,
                "aliases": list(record.aliases),
                "kind": record.kind,
                "summary": record.summary,
                "modalities": list(record.modalities),
                "claims": list(record.claims),
                "values": counts(record),
            }
            for record in records
        ]
        terminal.print_json({"command": "agents list", "agents": rows})
        return
    headings = ("agent", "kind", "modalities", "claims", "review", "published", "computed", "unconfirmed")
    terminal.print_table(
        "",
        headings,
        [
            (
                record.id,
                record.kind,
                " ".join(record.modalities),
                " ".join(record.claims),
                *(str(number or "–") for number in counts(record).values()),
            )
            for record in records
        ],
        set(headings[4:]),
    )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A record's name or alias, or a .yaml file of your own.")],
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """One record: every value with its unit, its provenance and its source."""
    from imgtheranostics import agents
    from imgtheranostics.agents.listing import as_plain, rows

    record = agents.get(name)
    if as_json:
        warnings = [{"code": caution.code, "message": caution.message} for caution in record.warnings]
        terminal.print_json({"command": "agents show", **as_plain(record), "warnings": warnings})
        return
    _say(f"{record.name} ({record.id}), {record.kind}: {record.summary}")
    _say(f"seen by {', '.join(record.modalities)}; the signal is that of the {record.signal_of}")
    for heading, words in (
        ("also called", record.aliases),
        ("review claims", record.claims),
        ("trials", record.trials),
        ("carries", record.carries),
    ):
        if words:
            _say(f"{heading}: {', '.join(words)}")
    typer.echo("")
    _print_values(rows(record))
    for note in record.notes:
        _say(f"note: {note}")
    terminal.print_cautions(record.warnings, quiet=quiet)


def _say(text: str) -> None:
    typer.echo(terminal.visible(text))


def _print_values(table: Sequence[Row]) -> None:
    """The values, with sources and notes numbered below, because many share one."""
    if not table:
        typer.echo("no value is recorded")
        return
    remarks = list(dict.fromkeys(text for row in table for text in (row.source, row.note) if text))
    numbers = {text: f"[{n}]" for n, text in enumerate(remarks, 1)}
    terminal.print_table(
        "",
        ("", "value of", "number", "unit", "provenance", "see"),
        [
            (
                *map(terminal.visible, (row.section, row.what, row.value, row.unit, row.provenance)),
                " ".join(numbers[text] for text in (row.source, row.note) if text),
            )
            for row in table
        ],
        {"number"},
    )
    for text, number in numbers.items():
        _say(f"{number} {text}")
