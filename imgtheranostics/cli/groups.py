"""Options that several commands share, kept as dataclasses: a command takes one argument for each group."""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import typer

from imgtheranostics.cli import options
from imgtheranostics.cli.runs import Delivery
from imgtheranostics.mapping.refusals import UnknownChoice


@dataclass(frozen=True)
class Output:
    """Where and how a result goes."""

    out: options.Out = None
    force: options.Force = False
    workers: options.Workers = None
    as_json: options.AsJson = False
    keep_identifiers: options.KeepIdentifiers = False
    no_report: options.NoReport = False
    dicom: options.Dicom = False
    quiet: options.Quiet = False
    verbose: options.Verbose = 0

    def __post_init__(self) -> None:
        if self.dicom and self.out is None:
            raise typer.BadParameter("it needs --out, where the files go", param_hint="--dicom")

    @property
    def delivery(self) -> Delivery:
        """The same for `imgtheranostics.cli.runs.deliver`."""
        return Delivery(
            self.out,
            self.force,
            self.as_json,
            self.keep_identifiers,
            self.no_report,
            self.quiet,
            self.dicom,
        )

    @property
    def draws(self) -> bool:
        """Whether a report with figures is written."""
        return self.out is not None and not self.no_report


@dataclass(frozen=True)
class InRegions:
    """One scan and the regions in which it is measured."""

    rois: options.RoiPaths = None
    resample_rois: options.ResampleRois = False
    anatomy: options.Anatomy = None
    series: options.Series = None
    subject: options.Subject = None
    session: options.Session = None

    @property
    def files(self) -> list[Path]:
        """Files that were read beside the scan."""
        return [*(self.rois or []), *([self.anatomy] if self.anatomy is not None else [])]


@dataclass(frozen=True)
class Measured(InRegions):
    """One scan of a known resolution and the regions in which it is measured."""

    resolution_mm: options.Resolution = None

    def table_options(self) -> dict[str, Any]:
        """Keywords of region tables."""
        return {name: getattr(self, name) for name in ("resolution_mm", "subject", "session")}


@dataclass(frozen=True)
class Common(Output, Measured):
    """What every command takes that measures one scan in regions."""


@dataclass(frozen=True)
class MrScan(Common):
    """What every command takes that measures one MR scan in regions."""

    mr_scaling: options.MrScaling = None


def refuse_given(given: Mapping[str, Any], why: str) -> None:
    """Refuse options that would not be used.

    Parameters
    ----------
    given : mapping of str to object
        What was given for each option; None where nothing was.
    why : str

    Raises
    ------
    typer.BadParameter
        With `why`, of the first that was given.
    """
    for option, value in given.items():
        if value is not None:
            raise typer.BadParameter(why, param_hint=option)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each argument that is a group replaced by the options of that group.

    The parameters of the result are those of the function and of its groups, in order; typer reads them from
    the signature.
    """
    signature = inspect.signature(command, eval_str=True)
    groups = {
        name: one.annotation
        for name, one in signature.parameters.items()
        if isinstance(one.annotation, type) and is_dataclass(one.annotation)
    }
    parameters: list[inspect.Parameter] = []
    for name, one in signature.parameters.items():
        parameters += _expanded(groups[name]) if name in groups else [one]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        _check_numbers(given)
        built = {
            name: group(**{one.name: given.pop(one.name) for one in fields(group)})
            for name, group in groups.items()
        }
        try:
            command(**given, **built)
        except UnknownChoice as error:
            raise typer.BadParameter(_as_options(str(error))) from error

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _as_options(message: str) -> str:
    """A message about keywords of Python in the words of the command line.

    >>> _as_options("t1= (--t1) and duty_cycle= do not apply")
    '--t1 and --duty-cycle do not apply'
    """
    message = re.sub(r"\b\w+= \((--[\w-]+)\)", r"\1", message)
    return re.sub(r"\b([a-z]\w*)=(?![\w'\"=])", lambda found: "--" + found[1].replace("_", "-"), message)


def _check_numbers(given: Mapping[str, Any]) -> None:
    """Refuse nan and inf, which pass every limit of an option."""
    for name, value in given.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise typer.BadParameter("must be a number", param_hint=f"--{name.replace('_', '-')}")


def _expanded(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            one.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
            annotation=hints[one.name],
        )
        for one in fields(group)
    ]
