"""Options in groups: a command takes one argument for each, the command line shows them all."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from imgtheranostics.cli.groups import Common, Measured, Output, grouped
from imgtheranostics.mapping.refusals import UnknownChoice


@dataclass(frozen=True)
class Colours:
    """Two options."""

    front: Annotated[str, typer.Option("--front", help="In front.")] = "red"
    back: Annotated[str | None, typer.Option("--back", help="Behind.")] = None


def paint(seen):
    @grouped
    def command(place: Annotated[str, typer.Argument()], size: int = 3, *, colours: Colours) -> None:
        """Paint."""
        seen.append((place, size, colours))

    return command


def test_the_signature_lists_the_options_of_the_group_after_the_others():
    parameters = inspect.signature(paint([])).parameters
    assert list(parameters) == ["place", "size", "front", "back"]
    assert parameters["front"].default == "red"
    assert parameters["place"].default is inspect.Parameter.empty


def test_the_command_gets_the_group_as_one_argument():
    seen = []
    paint(seen)(place="wall", size=4, front="blue", back=None)
    assert seen == [("wall", 4, Colours("blue", None))]


def test_typer_reads_them(capsys):
    seen = []
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(paint(seen))
    app(["wall", "--back", "green"], standalone_mode=False)
    assert seen == [("wall", 3, Colours("red", "green"))]
    app(["--help"], standalone_mode=False)
    out = capsys.readouterr().out
    assert "--front" in out
    assert "Behind." in out


def test_an_unknown_choice_is_a_usage_error_and_other_errors_stay_what_they_are():
    @grouped
    def picky(colours: Colours) -> None:
        raise UnknownChoice("no such colour") if colours.front == "red" else ValueError("a mistake")

    with pytest.raises(typer.BadParameter, match="no such colour"):
        picky(front="red", back=None)
    with pytest.raises(ValueError, match="a mistake"):
        picky(front="blue", back=None)


def test_common_options_are_those_of_its_parts():
    names = {name for part in (Output, Measured) for name in inspect.signature(part).parameters}
    assert set(inspect.signature(Common).parameters) == names
