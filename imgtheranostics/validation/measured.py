"""Another tool's numbers for images of `phantom make`, compared with the same truth in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imgtheranostics.errors import CorruptInput, UnsupportedInput
from imgtheranostics.phantom.cases import places
from imgtheranostics.phantom.physics import PhysicsMissing, parts_of
from imgtheranostics.phantom.reading import available, load_spec
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.truth import Expectation, expectations_of
from imgtheranostics.validation.comparing import Collected, Validation, specifications
from imgtheranostics.validation.outcomes import NotMeasured, Outcome, empty_row, unmade_rows
from imgtheranostics.validation.session import Session
from imgtheranostics.validation.tool_table import Entry, Known, check_known, converted, read_tool_table
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.phantom.making import Phantom

CORE = "_core"


def compare_measured(
    path: Path | str, slugs: Sequence[str | Path] | None = None, *, level: int = 0
) -> Validation:
    """Compare what another tool measured in the images of `phantom make` with their truth.

    Means of regions are enough: ratios, recoveries and spreads are computed from them. A number that is
    not a mean (``partial_volume_corrected``) needs its method in the column ``method``; a tool that
    refuses an image, as it should with a wrong header, says ``refused`` in the column ``value``.

    Parameters
    ----------
    path : path
        Tab-separated table with the columns slug, quantity, region, axis_value, value and optionally
        level, method and unit; see `read_tool_table`.
    slugs : sequence of str or path, optional
        Phantoms to compare, also those that the table leaves out; by default those of the table.
    level : int
        Level of the images, where the table has no such column.

    Returns
    -------
    Validation
        With the verdict ``not measured`` for what the table leaves out, and the lines of which no
        expectation speaks in `unused`.

    Raises
    ------
    NothingUsable, CorruptInput, UnitMismatch
        If the table is not as needed; a fault is named by line and column.
    """
    path = Path(path)
    entries = [replace(e, level=level) if e.level is None else e for e in read_tool_table(path)]
    specs = _specs(entries, slugs, path)
    levels = _levels(entries, specs, level)
    expected: dict[tuple[str, int], tuple[Expectation, ...]] = {}
    unmade: dict[tuple[str, int], str] = {}
    for spec in specs.values():
        for one in levels[spec.slug]:
            try:
                expected[spec.slug, one] = expectations_of(spec, one)
            except PhysicsMissing as error:
                unmade[spec.slug, one] = error.what
                expected[spec.slug, one] = ()
    known = {
        key: _known(specs[key[0]], key[1], expectations)
        for key, expectations in expected.items()
        if key not in unmade
    }
    check_known([e for e in entries if (e.slug, e.level) not in unmade], known, path)
    return _compared(path, entries, specs, expected, unmade)


def _specs(
    entries: Iterable[Entry], slugs: Sequence[str | Path] | None, path: Path
) -> dict[str, PhantomSpec]:
    """The phantoms of the table, or those asked for, by slug."""
    specs = {spec.slug: spec for spec in specifications(slugs)} if slugs else {}
    for entry in entries:
        if entry.slug in specs:
            continue
        if slugs:
            raise CorruptInput(
                "the phantom is not among those to be compared",
                where=f"{path}, line {entry.line}, column slug",
                found=entry.slug,
                needed="one of " + ", ".join(specs),
            )
        if entry.slug not in available():
            raise CorruptInput(
                "there is no such phantom",
                where=f"{path}, line {entry.line}, column slug",
                found=entry.slug or "nothing",
                needed="one of " + ", ".join(available()),
                next_step="correct the slug, or give the phantom's .yaml file as an argument",
            )
        specs[entry.slug] = load_spec(entry.slug)
    return specs


def _levels(
    entries: Iterable[Entry], specs: dict[str, PhantomSpec], otherwise: int
) -> dict[str, tuple[int, ...]]:
    found: dict[str, set[int]] = {slug: set() for slug in specs}
    for entry in entries:
        found[entry.slug].add(otherwise if entry.level is None else entry.level)
    return {slug: tuple(sorted(levels or {otherwise})) for slug, levels in found.items()}


def _known(spec: PhantomSpec, level: int, expectations: Sequence[Expectation]) -> Known:
    regions = [region.name for region in spec.regions]
    asked = [part for item in spec.expect for part in (*item.roi, item.over) if part]
    cores = [f"{name}{CORE}" for name in regions] if level >= 2 else []
    return Known(
        spec.slug,
        level,
        tuple(dict.fromkeys(item.quantity for item in spec.expect)),
        tuple(dict.fromkeys([*regions, *asked, *cores])),
        tuple(dict.fromkeys([*printed_places(spec).values(), *(e.axis_value for e in expectations)])),
    )


def printed_places(spec: PhantomSpec, quantity: str = "") -> dict[tuple[int, int], str]:
    """The axis value, as tables print it, of every volume and frame of what is found of a quantity."""
    return {
        (part.first + volume, frame): printed
        for part in parts_of(spec)
        for volume, frame, printed in places(spec, part.physics.cases(spec), ("all",), {}, quantity)
    }


def _compared(
    path: Path,
    entries: Sequence[Entry],
    specs: dict[str, PhantomSpec],
    expected: dict[tuple[str, int], tuple[Expectation, ...]],
    unmade: dict[tuple[str, int], str],
) -> Validation:
    collected, used = Collected(), set()
    for (slug, level), expectations in expected.items():
        spec = specs[slug]
        for row in unmade_rows(spec, level, unmade[slug, level]) if (slug, level) in unmade else ():
            collected.add(row)
        if not expectations and (slug, level) not in unmade:
            collected.add(empty_row(spec, level, f"the phantom states no expectation at level {level}"))
        if not expectations:
            continue
        own = [entry for entry in entries if (entry.slug, entry.level) == (slug, level)]
        session = ToolSession(own, partial(printed_places, spec), path)
        for expectation in expectations:
            outcome = Outcome(slug, expectation)
            session.measure(outcome)
            collected.add_outcome(spec, outcome)
        used |= session.used
    return Validation(
        collected.table(),
        tuple(collected.repeats),
        tuple(specs.values()),
        tuple(sorted({level for _, level in expected})),
        recoveries=tuple(collected.recoveries),
        unused=tuple(_words(entry) for entry in entries if entry.line not in used),
        source=path.name,
    )


def _words(entry: Entry) -> str:
    return f"line {entry.line}: {entry.slug}, {entry.quantity} of {entry.region} at {entry.axis_value}"


class ToolSession(Session):
    """One phantom as another tool saw it: a table of values instead of images.

    Attributes
    ----------
    used : set of int
        Lines of the table that went into a comparison.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        printed: Callable[[str], Mapping[tuple[int, int], str]],
        path: Path,
    ) -> None:
        super().__init__(None, path.parent)
        self.used: set[int] = set()
        self._path = path
        self._entries = {(e.quantity, e.region, e.axis_value, e.method): e for e in entries}
        # the table speaks of axis values, the measuring methods of places
        self._printed = printed
        self._now: Expectation | None = None

    def measure(self, outcome: Outcome) -> None:
        """Put what the table says about an expectation into its outcome."""
        expectation = outcome.expectation
        key = (expectation.quantity, expectation.region, expectation.axis_value, expectation.method)
        entry = self._entries.get(key)
        self._now = expectation
        if entry is None or not expectation.places:
            outcome.add(self)
            return
        self.used.add(entry.line)
        value = converted(entry, expectation, self._path)
        if entry.refused:
            outcome.refused += 1
            outcome.notes.append(f"refused, line {entry.line}")
        outcome.measured.append(value)

    @property
    def phantom(self) -> Phantom:
        """There is none: the tool gave numbers."""
        raise NotMeasured(self._missing())

    def image(self, volume: int) -> Volume:
        """There is none: the tool gave numbers."""
        raise NotMeasured(self._missing())

    def quantified(self, volume: int, quantity: str) -> Volume | Estimate:
        """There is none: the tool gave numbers."""
        raise NotMeasured(self._missing())

    def mean(self, place: tuple[int, int], quantity: str, region: str) -> float:
        """What the table says of a region in the image at a place."""
        at = self._printed(quantity).get(place, "")
        entry = self._entries.get((quantity, region, at, "mean"))
        if entry is None:
            raise NotMeasured(f"the table has no {quantity} of {region} at {at or 'this place'}")
        self.used.add(entry.line)
        if entry.refused:
            raise UnsupportedInput(f"by the tool, line {entry.line}")
        assert self._now is not None  # noqa: S101
        plain = replace(self._now, quantity=quantity, method="mean")
        return converted(entry, plain, self._path)

    def _missing(self) -> str:
        now = self._now
        return f"the table has no line with the method {now.method}" if now is not None else "no line"
