"""The names of a run that its pictures and objects show, without what identifies a person."""

from __future__ import annotations

import dataclasses

from imgtheranostics.regions import Regions
from imgtheranostics.report.privacy import Scrubber
from imgtheranostics.report.run import Run


def labelled(run: Run, scrubber: Scrubber) -> Run:
    """The run with the names that pictures show scrubbed."""
    table = run.table.copy()
    for column in ("subject", "session", "region"):
        table[column] = [scrubber.label(str(text)) if isinstance(text, str) else "" for text in table[column]]
    regions = run.regions
    if regions is not None:
        names = distinct({number: scrubber.label(name) for number, name in regions.names.items()})
        regions = Regions(regions.labels, names, regions.grid, regions.warnings, regions.history)
    return dataclasses.replace(run, table=table, regions=regions)


def distinct(names: dict[int, str]) -> dict[int, str]:
    """Names that scrubbing has made equal get their number back."""
    taken = list(names.values())
    return {n: name if taken.count(name) == 1 else f"{name} {n}" for n, name in names.items()}
