"""What became of an expectation: its verdict, its bias and limits, and its row of the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.phantom.truth import Expectation
from imgtheranostics.validation.methods import MethodMissing, measure, unit_of

if TYPE_CHECKING:
    from imgtheranostics.phantom.spec import ExpectSpec, PhantomSpec
    from imgtheranostics.validation.session import Session

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

PASS, FAIL = "pass", "fail"
REFUSED = "refused-as-expected"
NOT_IMPLEMENTED, NOT_MEASURED = "not implemented", "not measured"
VERDICTS = (PASS, REFUSED, FAIL, NOT_IMPLEMENTED, NOT_MEASURED)
"""Every verdict there is; only `FAIL` means that something is outside tolerance."""

PLACEHOLDER = "unconfirmed (source: memory)"
"""Provenance of a truth that nobody has published: a placeholder."""

Row = dict[str, object]


class NotMeasured(Exception):
    """The table of another tool does not hold what the expectation needs."""


@dataclass(slots=True)
class Outcome:
    """One expectation and what each seed gave: a number, or the text of the refusal."""

    slug: str
    expectation: Expectation
    measured: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: bool = False
    not_measured: bool = False
    refused: int = 0

    def add(self, session: Session) -> None:
        """Measure once more and keep the result, whatever it is."""
        if not self.expectation.places:
            self.missing = True
            self.notes.append(f"there is no {self.expectation.modality or 'such'} image yet")
            return
        if self.expectation.truth is None and self.expectation.method != "refusal":
            self.missing = True
            self.notes.append("the phantom does not state this truth yet")
            return
        try:
            value = measure(session, self.expectation)
        except MethodMissing as error:
            self.missing = True
            self.notes.append(f"there is no {error} yet")
        except NotMeasured as error:
            self.not_measured = True
            self.notes.append(str(error))
        except ImgTheranosticsError as error:
            self.refused += 1
            self.measured.append(math.nan)
            self.notes.append(f"refused: {type(error).__name__}: {error.what}")
        else:
            self.measured.append(value)
            if math.isnan(value):
                self.notes.append("the region shows no value")

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`; a pass needs every repeat inside the tolerance."""
        expectation = self.expectation
        if self.missing:
            return NOT_IMPLEMENTED
        if self.not_measured:
            return NOT_MEASURED
        if expectation.truth is None:
            return REFUSED if self.refused and self.refused == len(self.measured) else FAIL
        truth, slack = expectation.truth, 1e-9 * abs(expectation.truth)
        inside = [abs(value - truth) <= expectation.tolerance + slack for value in self.measured]
        return PASS if inside and all(inside) else FAIL

    def row(self) -> Row:
        """The row of the table."""
        expectation = self.expectation
        known = [] if self.missing else self.measured
        measured = sum(known) / len(known) if known else math.nan
        truth = math.nan if expectation.truth is None else expectation.truth
        low, high = limits_of_agreement([value - truth for value in known])
        return {
            "slug": self.slug,
            "claim": expectation.claim,
            "quantity": expectation.quantity,
            "region": expectation.region,
            "axis_value": expectation.axis_value,
            "truth": truth,
            "measured": measured,
            "error": measured - truth,
            "tolerance": expectation.tolerance,
            "verdict": self.verdict,
            "unit": unit_of(expectation),
            "method": expectation.method,
            "level": expectation.level,
            "seeds": len(known),
            "error_low": low,
            "error_high": high,
            "provenance": provenance_words(expectation.provenance),
            "note": "; ".join(dict.fromkeys(self.notes)),
        }


def limits_of_agreement(errors: Sequence[float]) -> tuple[float, float]:
    """Bias -/+ 1.96 standard deviations of the errors (n - 1); NaN for fewer than two."""
    n = len(errors)
    if n < 2:
        return math.nan, math.nan
    bias = sum(errors) / n
    sd = math.sqrt(sum((error - bias) ** 2 for error in errors) / (n - 1))
    return bias - 1.96 * sd, bias + 1.96 * sd


def provenance_words(status: str) -> str:
    """The status of a truth; what is from memory says so."""
    return PLACEHOLDER if status == "unconfirmed" else status


def empty_row(spec: PhantomSpec, level: int, note: str) -> Row:
    """The row of a phantom that cannot be validated at a level at all: not implemented, with the reason."""
    row: Row = dict.fromkeys(COLUMNS, "")
    row.update(
        dict.fromkeys(("truth", "measured", "error", "tolerance", "error_low", "error_high"), math.nan)
    )
    row.update(slug=spec.slug, claim=spec.review_claim, level=level, seeds=0, verdict=NOT_IMPLEMENTED)
    row["note"] = note
    return row


def unmade_rows(spec: PhantomSpec, level: int, note: str) -> list[Row]:
    """Rows of a phantom whose images cannot be made yet: what its file expects, none of it measured."""
    rows = [
        _unmade(spec, item, region, level, note)
        for item in spec.expect
        if level in item.level
        for region in item.roi
    ]
    return rows or [empty_row(spec, level, note)]


def _unmade(spec: PhantomSpec, item: ExpectSpec, region: str, level: int, note: str) -> Row:
    truth = float(item.value) if isinstance(item.value, (int, float)) else math.nan
    tolerance = item.tol_abs if item.tol_abs is not None else abs(truth) * (item.tol_rel or 0.0)
    at = ", ".join(value if isinstance(value, str) else f"{value:g}" for value in item.at)
    return {
        **empty_row(spec, level, note),
        "claim": item.claim or spec.review_claim,
        "quantity": item.quantity,
        "region": f"{region}/{item.over}" if item.over else region,
        "axis_value": at,
        "truth": truth,
        "tolerance": tolerance,
        "method": item.method,
    }
