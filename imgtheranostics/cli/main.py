"""Entry point: ``imgtheranostics VERB ...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from imgtheranostics._version import VERSION
from imgtheranostics.cli import (
    agents,
    cest,
    ct,
    files,
    mri,
    msot,
    nuclear,
    pacs,
    phantom,
    results,
    study,
    system,
    ultrasound,
    validating,
)
from imgtheranostics.cli.terminal import print_error
from imgtheranostics.errors import ImgTheranosticsError

app = typer.Typer(
    name="imgtheranostics",
    help="How much of the nanoparticle is where, how sure, and with what proof.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("info")(files.info)
app.command("convert")(files.convert)
app.command("fetch")(pacs.fetch)
app.command("store")(pacs.store)
app.add_typer(nuclear.app, name="nuclear")
app.add_typer(mri.app, name="mri")
app.add_typer(cest.app, name="cest")
app.add_typer(ct.app, name="ct")
app.add_typer(msot.app, name="msot")
app.add_typer(ultrasound.app, name="ultrasound")
app.add_typer(agents.app, name="agents")
app.add_typer(phantom.app, name="phantom")
app.add_typer(study.app, name="study")
app.command("report")(results.report)
app.command("validate")(validating.validate)
app.command("demo")(results.demo)
app.command("warmup")(system.warmup)
app.command("doctor")(system.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"imgtheranostics {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 ok, 1 internal error, 2 usage, 3 no usable input, 4 corrupt or unsupported input, 5 missing metadata,
    6 geometry, unit or plausibility, 7 output not writable, 8 some subjects failed, 9 outside tolerance.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    loud = "-vv" in given or sum(word in ("-v", "--verbose") for word in given) > 1
    _silence_libraries(loud)
    try:
        app(args=given, prog_name="imgtheranostics")
    except SystemExit as finished:
        return finished.code if isinstance(finished.code, int) else 0 if finished.code is None else 1
    except ImgTheranosticsError as error:
        print_error(error, as_json=as_json, show_traceback=loud)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except Exception as error:
        wrapped = ImgTheranosticsError(
            f"internal error: {type(error).__name__}",
            next_step="run again with -vv and report what it shows, without the patient's data",
        )
        wrapped.__cause__ = error
        print_error(wrapped, as_json=as_json, show_traceback=loud)
        return wrapped.exit_code
    return 0


def _silence_libraries(loud: bool) -> None:
    """Keep libraries from printing header values: their warnings may quote what identifies a person."""
    import logging
    import warnings

    if not loud:
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)


def run() -> None:
    """Console script."""
    import gc
    import io

    # importing makes a million objects that stay; looking for rubbish among them costs a fifth of a second
    gc.set_threshold(100_000, 20, 20)
    for stream in (sys.stdout, sys.stderr):
        # a terminal that knows no µ, and a file name that is no text, are no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
