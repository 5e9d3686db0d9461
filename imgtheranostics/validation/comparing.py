"""The proof: make a phantom, write its DICOM, load and quantify it as a user would, compare with truth."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imgtheranostics.errors import ImgTheranosticsError, NothingUsable
from imgtheranostics.phantom.making import make
from imgtheranostics.phantom.reading import available, load_spec
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.truth import Expectation
from imgtheranostics.validation.methods import MethodMissing, measure, unit_of
from imgtheranostics.validation.session import Session

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "slug",
    "claim",
    "quantity",
    "region",
    "axis_value",
    "truth",
    "measured",
    "error",
    "tolerance",
    "verdict",
    "unit",
    "method",
    "level",
    "seeds",
    "error_low",
    "error_high",
    "provenance",
    "note",
)
"""Columns of the table; the first ten are the contract."""

PASS, FAIL, NOT_IMPLEMENTED = "pass", "fail", "not implemented"


@dataclass(slots=True)
class _Outcome:
    """One expectation and what each seed gave: a number, or the text of the refusal."""

    slug: str
    expectation: Expectation
    measured: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: bool = False
    refused: int = 0


def validate(
    slugs: str | Path | Sequence[str | Path] | None = None,
    level: int | Sequence[int] = 0,
    *,
    seeds: int = 1,
    rng: int = 0,
) -> pd.DataFrame:
    """Compare what the package measures in phantoms with their truth.

    Each phantom is made, written as DICOM into a temporary folder, loaded with `imgtheranostics.load`,
    quantified with `imgtheranostics.nuclear`, and measured with `imgtheranostics.roi_statistics`.

    Parameters
    ----------
    slugs : str, path or sequence of them, optional
        Shipped phantoms or phantom files; all shipped ones by default.
    level : int or sequence of int
        Levels of physics, see `imgtheranostics.phantom.make`.
    seeds : int
        Repeats with other noise; a row passes when every repeat does.
    rng : int
        First seed.

    Returns
    -------
    pandas.DataFrame
        One row per expectation with the columns of `COLUMNS`. `measured` is the mean over the seeds,
        `error` is measured minus truth in the unit of the quantity, `error_low` and `error_high` are the
        95 % limits of agreement over the seeds (NaN for one seed). `verdict` is ``pass``, ``fail`` or
        ``not implemented``; a method that does not exist yet is never a pass. ``attrs["passed"]`` is
        whether no row failed.

    Raises
    ------
    NothingUsable
        If there is no such phantom, or no repeat is asked for.
    """
    import pandas as pd

    if seeds < 1:
        raise NothingUsable("a validation needs at least one seed", found=str(seeds))
    wanted = [slugs] if isinstance(slugs, (str, Path)) else list(available() if slugs is None else slugs)
    levels = [level] if isinstance(level, int) else list(level)
    rows: list[dict[str, object]] = []
    for slug in wanted:
        spec = load_spec(slug)
        for one in levels:
            rows.extend(_validate_phantom(spec, one, range(rng, rng + seeds)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["passed"] = bool((table["verdict"] != FAIL).all())
    return table


def _validate_phantom(spec: PhantomSpec, level: int, seeds: range) -> Iterable[dict[str, object]]:
    if level not in spec.physics.levels:
        yield _absent(spec, level)
        return
    outcomes: list[_Outcome] = []
    for seed in seeds if level > 0 else seeds[:1]:
        phantom = make(spec, level=level, rng=seed)
        if not outcomes:
            outcomes = [_Outcome(spec.slug, expectation) for expectation in phantom.truth]
        with tempfile.TemporaryDirectory(prefix="imgtheranostics-validate-") as folder:
            session = Session(phantom, Path(folder))
            for outcome in outcomes:
                _measure(session, outcome)
    yield from (_row(outcome) for outcome in outcomes)


def _measure(session: Session, outcome: _Outcome) -> None:
    """Add one seed's result to the outcome."""
    try:
        value = measure(session, outcome.expectation)
    except MethodMissing as error:
        outcome.missing = True
        outcome.notes.append(f"there is no {error} yet")
        return
    except ImgTheranosticsError as error:
        outcome.refused += 1
        outcome.measured.append(math.nan)
        outcome.notes.append(f"refused: {type(error).__name__}: {error.what}")
        return
    outcome.measured.append(value)


def _row(outcome: _Outcome) -> dict[str, object]:
    expectation = outcome.expectation
    measured = sum(outcome.measured) / len(outcome.measured) if outcome.measured else math.nan
    truth = math.nan if expectation.truth is None else expectation.truth
    low, high = _limits([value - truth for value in outcome.measured])
    return {
        **_named(outcome.slug, expectation),
        "truth": truth,
        "measured": measured,
        "error": measured - truth,
        "tolerance": expectation.tolerance,
        "verdict": _verdict(outcome),
        "seeds": len(outcome.measured),
        "error_low": low,
        "error_high": high,
        "note": "; ".join(dict.fromkeys(outcome.notes)),
    }


def _named(slug: str, expectation: Expectation) -> dict[str, object]:
    source = " (source: memory)" if expectation.provenance == "unconfirmed" else ""
    return {
        "slug": slug,
        "claim": expectation.claim,
        "quantity": expectation.quantity,
        "region": expectation.region,
        "axis_value": expectation.axis_value,
        "unit": unit_of(expectation),
        "method": expectation.method,
        "level": expectation.level,
        "provenance": expectation.provenance + source,
    }


def _verdict(outcome: _Outcome) -> str:
    expectation = outcome.expectation
    if outcome.missing:
        return NOT_IMPLEMENTED
    if expectation.truth is None:
        return PASS if outcome.refused and outcome.refused == len(outcome.measured) else FAIL
    truth, slack = expectation.truth, 1e-9 * abs(expectation.truth)
    inside = [abs(value - truth) <= expectation.tolerance + slack for value in outcome.measured]
    return PASS if inside and all(inside) else FAIL


def _limits(errors: Sequence[float]) -> tuple[float, float]:
    """Bias -/+ 1.96 standard deviations of the errors; NaN for fewer than two."""
    n = len(errors)
    if n < 2:
        return math.nan, math.nan
    bias = sum(errors) / n
    sd = math.sqrt(sum((error - bias) ** 2 for error in errors) / (n - 1))
    return bias - 1.96 * sd, bias + 1.96 * sd


def _absent(spec: PhantomSpec, level: int) -> dict[str, object]:
    """The row of a level that the phantom does not offer."""
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row.update(
        dict.fromkeys(("truth", "measured", "error", "tolerance", "error_low", "error_high"), math.nan)
    )
    row.update(slug=spec.slug, claim=spec.review_claim, level=level, seeds=0, verdict=NOT_IMPLEMENTED)
    row["note"] = f"the phantom has no level {level}"
    return row
