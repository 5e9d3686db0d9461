"""Phantoms made, measured and compared with their truth, level by level and seed by seed."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imgtheranostics.errors import NothingUsable
from imgtheranostics.phantom.making import Phantom, make
from imgtheranostics.phantom.physics import PhysicsMissing
from imgtheranostics.phantom.reading import available, load_spec
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.truth import Expectation
from imgtheranostics.report.comparison import Recovery, Triptych
from imgtheranostics.validation.outcomes import (
    COLUMNS,
    FAIL,
    Outcome,
    Row,
    empty_row,
    unmade_rows,
)
from imgtheranostics.validation.pictures import recovery_of, triptych_of
from imgtheranostics.validation.session import Session

if TYPE_CHECKING:
    import pandas as pd

FORMATS_AGREE = 0.001
"""Largest relative difference between what the DICOM and the NIfTI file of one image show."""

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Validation:
    """Everything that a validation found.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per expectation, see `COLUMNS`.
    repeats : tuple of tuple of float
        What each seed measured, row by row.
    phantoms : tuple of PhantomSpec
    levels : tuple of int
    seeds, rng : int
        Number of repeats and the first seed.
    pictures : tuple of Triptych
        Truth, measured and difference of each phantom, where they were asked for.
    recoveries : tuple of Recovery
        What images keep of the contrast of spheres.
    unused : tuple of str
        Lines of another tool's table that no expectation speaks of.
    source : str
        Empty when this package measured, else the name of the tool's table.
    """

    table: pd.DataFrame
    repeats: tuple[tuple[float, ...], ...]
    phantoms: tuple[PhantomSpec, ...]
    levels: tuple[int, ...]
    seeds: int = 1
    rng: int = 0
    pictures: tuple[Triptych, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    unused: tuple[str, ...] = ()
    source: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is outside tolerance; what is not implemented or not measured is no failure."""
        return bool((self.table["verdict"] != FAIL).all())


@dataclass
class Collected:
    """Rows with their repeats, as they come in."""

    rows: list[Row] = field(default_factory=list)
    repeats: list[tuple[float, ...]] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)

    def add_outcome(self, spec: PhantomSpec, outcome: Outcome) -> None:
        """Add what became of one expectation."""
        self.add(outcome.row(), outcome.measured)
        recovery = recovery_of(spec, outcome.expectation, outcome.measured)
        if recovery is not None:
            self.recoveries.append(recovery)

    def add(self, row: Row, repeats: Sequence[float] = ()) -> None:
        """Add one row."""
        self.rows.append(row)
        self.repeats.append(tuple(repeats))

    def table(self) -> pd.DataFrame:
        """The table, with ``attrs["passed"]``."""
        import pandas as pd

        table = pd.DataFrame(self.rows, columns=list(COLUMNS))
        table.attrs["passed"] = bool((table["verdict"] != FAIL).all())
        return table


def validate(
    slugs: str | Path | Sequence[str | Path] | None = None,
    level: int | Sequence[int] = 0,
    *,
    seeds: int = 1,
    rng: int = 0,
) -> pd.DataFrame:
    """Compare what the package measures in phantoms with their truth.

    Each phantom is made, written as DICOM into a temporary folder, loaded with `imgtheranostics.load`,
    quantified with the public API, and measured with `imgtheranostics.roi_statistics`. At level 0 one
    phantom of the run is also written as NIfTI and must show the same.

    Parameters
    ----------
    slugs : str, path or sequence of them, optional
        Shipped phantoms or phantom files; all shipped ones by default.
    level : int or sequence of int
        Levels of physics, see `imgtheranostics.phantom.make`.
    seeds : int
        Repeats with other noise; a row passes when every repeat does. Level 0 has no noise and no repeats.
    rng : int
        First seed.

    Returns
    -------
    pandas.DataFrame
        One row per expectation with the columns of `COLUMNS`. `measured` is the mean over the seeds,
        `error` is measured minus truth in the unit of the row, its bias; `error_low` and `error_high` are
        the 95 % limits of agreement over the seeds (NaN for one seed). `verdict` is ``pass``, ``fail``,
        ``refused-as-expected`` or ``not implemented``; what does not exist is never a pass.
        ``attrs["passed"]`` is whether no row failed.

    Raises
    ------
    NothingUsable
        If there is no such phantom, or no repeat is asked for.
    """
    levels = (level,) if isinstance(level, int) else tuple(level)
    return compare_phantoms(slugs, levels, seeds=seeds, rng=rng).table


def compare_phantoms(
    slugs: str | Path | Sequence[str | Path] | None,
    levels: Sequence[int],
    *,
    seeds: int = 1,
    rng: int = 0,
    pictures: bool = False,
    progress: Progress | None = None,
) -> Validation:
    """As `validate`, with the repeats, and with pictures for a report where they are wanted."""
    if seeds < 1:
        raise NothingUsable("a validation needs at least one seed", found=str(seeds))
    specs = specifications(slugs)
    levels = tuple(dict.fromkeys(levels))
    also_nifti = _smallest(specs) if 0 in levels else ""
    collected, drawn = Collected(), []
    for number, spec in enumerate(specs, start=1):
        shown = max((level for level in levels if level in spec.physics.levels), default=None)
        for level in levels:
            if progress is not None:
                progress(f"[{number}/{len(specs)}] {spec.slug}, level {level}")
            job = _Job(spec, level, range(rng, rng + seeds), collected, also_nifti=spec.slug == also_nifti)
            job.run(with_picture=pictures and level == shown)
            drawn += job.drawn
    return Validation(
        collected.table(),
        tuple(collected.repeats),
        tuple(specs),
        levels,
        seeds,
        rng,
        tuple(drawn),
        tuple(collected.recoveries),
    )


def specifications(slugs: str | Path | Sequence[str | Path] | None) -> list[PhantomSpec]:
    """The phantoms that are meant, each once; all shipped ones by default."""
    wanted = [slugs] if isinstance(slugs, (str, Path)) else list(available() if slugs is None else slugs)
    found = {spec.slug: spec for spec in map(load_spec, wanted)}
    return list(found.values())


def _smallest(specs: Sequence[PhantomSpec]) -> str:
    """The phantom with the fewest voxels that is meant for DICOM and NIfTI."""
    both = {"dicom", "nifti"}
    sized = [(math.prod(spec.grid.shape), spec.slug) for spec in specs if both <= {*spec.outputs}]
    return min(sized)[1] if sized else ""


@dataclass
class _Job:
    """One phantom at one level."""

    spec: PhantomSpec
    level: int
    seeds: range
    collected: Collected
    also_nifti: bool
    drawn: list[Triptych] = field(default_factory=list)

    def run(self, *, with_picture: bool) -> None:
        """Make, measure and compare it once per seed."""
        if self.level not in self.spec.physics.levels:
            note = f"the phantom has no level {self.level}"
            self.collected.add(empty_row(self.spec, self.level, note))
            return
        outcomes: list[Outcome] = []
        formats: list[tuple[Row, tuple[float, ...]]] = []
        try:
            for phantom in self._made():
                if not outcomes:
                    outcomes = [Outcome(self.spec.slug, expectation) for expectation in phantom.truth]
                with tempfile.TemporaryDirectory(prefix="imgtheranostics-validate-") as folder:
                    session = Session(phantom, Path(folder))
                    for outcome in outcomes:
                        outcome.add(session)
                    if with_picture and not self.drawn:
                        self.drawn += triptych_of(session)
                if self.level == 0 and self.also_nifti:
                    formats.append(self._compare_formats(phantom, outcomes))
        except PhysicsMissing as error:
            for row in unmade_rows(self.spec, self.level, error.what):
                self.collected.add(row)
            return
        for outcome in outcomes:
            self.collected.add_outcome(self.spec, outcome)
        for row, repeats in formats:
            self.collected.add(row, repeats)
        if not outcomes:
            note = f"the phantom states no expectation at level {self.level} yet"
            self.collected.add(empty_row(self.spec, self.level, note))

    def _made(self) -> Iterator[Phantom]:
        for seed in self.seeds if self.level > 0 else self.seeds[:1]:
            yield make(self.spec, level=self.level, rng=seed)

    def _compare_formats(
        self, phantom: Phantom, outcomes: Sequence[Outcome]
    ) -> tuple[Row, tuple[float, ...]]:
        """One row more: everything measured again in NIfTI files must agree with DICOM."""
        with tempfile.TemporaryDirectory(prefix="imgtheranostics-validate-") as folder:
            session = Session(phantom, Path(folder), "nifti")
            again = [Outcome(outcome.slug, outcome.expectation) for outcome in outcomes]
            for outcome in again:
                outcome.add(session)
        return formats_row(self.spec, outcomes, again)


def formats_row(
    spec: PhantomSpec, dicom: Sequence[Outcome], nifti: Sequence[Outcome]
) -> tuple[Row, tuple[float, ...]]:
    """The row that compares two ways of storing one phantom: the largest relative difference."""
    pairs = [(a, b) for a, b in zip(dicom, nifti, strict=True) if not a.missing]
    result = Outcome(
        spec.slug,
        Expectation(
            claim=spec.review_claim,
            quantity=dicom[0].expectation.quantity if dicom else "",
            method="formats",
            region="all",
            places=((0, 0),),
            axis_value="NIfTI, DICOM",
            truth=0.0,
            tolerance=FORMATS_AGREE,
            level=0,
            provenance="computed",
        ),
        missing=not pairs,
    )
    if pairs:
        result.measured.append(max(_difference(a, b) for a, b in pairs))
        result.notes += [
            f"NIfTI {b.expectation.region} {b.expectation.axis_value}: {b.verdict}, DICOM: {a.verdict}"
            for a, b in pairs
            if a.verdict != b.verdict
        ]
    return {**result.row(), "unit": "1"}, tuple(result.measured)


def _difference(dicom: Outcome, nifti: Outcome) -> float:
    """Relative difference of two measurements; infinite where only one of them gave a number."""
    if dicom.refused or nifti.refused:
        return 0.0 if dicom.refused and nifti.refused else math.inf
    a, b = (outcome.measured[0] if outcome.measured else math.nan for outcome in (dicom, nifti))
    difference = abs(b - a) / (abs(dicom.expectation.truth or 0.0) or 1.0)
    return math.inf if math.isnan(difference) else difference
