"""The command line as a study uses it: its commands' options, and one command done in this process."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from typing import Any

import click
import typer

from imgtheranostics.study.jobs import Outcome


class CommandLine:
    """See `imgtheranostics.study.jobs.Program`."""

    def options(self, command: str) -> frozenset[str] | None:
        """Long options of a command without their dashes; None where there is no such command."""
        return _options().get(command)

    def run(self, arguments: Sequence[str]) -> Outcome:
        """Do one command; what it prints is kept from the terminal, its error comes back."""
        from imgtheranostics.cli.main import main

        said, told = io.StringIO(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(told):
            code = main(arguments)
        return Outcome(code) if code == 0 else Outcome(code, _error(said.getvalue(), told.getvalue()))


def _error(said: str, told: str) -> dict[str, Any]:
    """The error object of ``--json``; of a wrong option what the command line says of it."""
    try:
        return dict(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError):
        last = [line for line in told.splitlines() if line.strip()][-1:] or ["no message"]
        return {"type": "UsageError", "what": last[0].strip()}


@cache
def _options() -> dict[str, frozenset[str]]:
    from imgtheranostics.cli.main import app

    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)  # noqa: S101
    return {
        f"{verb} {name}": frozenset(
            text[2:]
            for parameter in command.params
            for text in (*parameter.opts, *parameter.secondary_opts)
            if text.startswith("--")
        )
        for verb, inner in group.commands.items()
        if isinstance(inner, click.Group)
        for name, command in inner.commands.items()
    }
