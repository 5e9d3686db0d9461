"""Which series of each scan is meant, for commands that take several scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from imgtheranostics.volume import Volume

THE_ONLY = "-"
"""In place of a series: the scan has no other."""

ScanSeries = Annotated[
    list[str] | None,
    typer.Option(
        "--series",
        help="Which series, where folders hold several: number or end of its UID, once for each in order "
        f"({THE_ONLY}: the only one); given once, that of every scan.",
    ),
]


def series_of_scans(given: Sequence[str] | None, n_scans: int, option: str = "--series") -> list[str | None]:
    """The choice of each scan, None for those that have one series.

    Raises
    ------
    typer.BadParameter
        If it was given neither once nor once for each scan.
    """
    if not given:
        return [None] * n_scans
    if len(given) not in (1, n_scans):
        raise typer.BadParameter(
            f"given {len(given)} times for {n_scans} scans: once, or once for each", param_hint=option
        )
    each = list(given) * n_scans if len(given) == 1 else list(given)
    return [None if one == THE_ONLY else one for one in each]


def scans_at(
    paths: Sequence[Path],
    given: Sequence[str] | None,
    window_kev: float | tuple[float, float] | None = None,
) -> list[Volume]:
    """The scans at paths, each of its series."""
    from imgtheranostics.io.loading import load

    chosen = series_of_scans(given, len(paths))
    return [
        load(path, series=series, window_kev=window_kev) for path, series in zip(paths, chosen, strict=True)
    ]
