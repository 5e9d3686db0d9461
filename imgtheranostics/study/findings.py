"""Finding: what every statistic of a study returns; an effect with its interval, never a bare p."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from imgtheranostics.errors import Caution


class Interval(NamedTuple):
    """Lower and upper limit of an interval; NaN where it could not be had."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside."""
        return value < self.low or value > self.high


NO_INTERVAL = Interval(math.nan, math.nan)
"""The interval of what has none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """One number of a study: how large, how sure, out of how many, and what was assumed.

    Attributes
    ----------
    measure : str
        What `estimate` is, in words.
    estimate : float
    interval : Interval
        Limits at `level`.
    p_value : float
        Two-sided unless `method` says otherwise; NaN where nothing was tested.
    n : int
        Independent units that were used: subjects, never lesions.
    method : str
        How the estimate, the interval and the p value were had.
    unit : str
        UCUM code of `estimate`.
    level : float
        Level of the interval.
    assumed : tuple of str
        What has to hold for the numbers to mean what they say.
    left_out : int
        Rows that were given and could not be used.
    warnings : tuple of Caution
    """

    measure: str
    estimate: float
    interval: Interval
    p_value: float
    n: int
    method: str
    unit: str = "1"
    level: float = 0.95
    assumed: tuple[str, ...] = ()
    left_out: int = 0
    warnings: tuple[Caution, ...] = ()

    def as_record(self) -> dict[str, object]:
        """What a table of findings holds of this one, ready for JSON but for NaN."""
        return {
            "measure": self.measure,
            "estimate": self.estimate,
            "unit": self.unit,
            "low": self.interval.low,
            "high": self.interval.high,
            "level": self.level,
            "p_value": self.p_value,
            "n": self.n,
            "left_out": self.left_out,
            "method": self.method,
            "assumed": "; ".join(self.assumed),
            "warnings": "; ".join(warning.message for warning in self.warnings),
        }

    def __str__(self) -> str:
        unit = "" if self.unit in ("1", "") else f" {self.unit}"
        text = f"{self.measure} {self.estimate:.3g}{unit}"
        if not math.isnan(self.interval.low + self.interval.high):
            text += f" ({100 * self.level:g} % interval {self.interval.low:.3g} to {self.interval.high:.3g})"
        if not math.isnan(self.p_value):
            text += f", p = {self.p_value:.2g}"
        return f"{text}, n = {self.n}"


def check_level(level: float) -> float:
    """A level of an interval; ValueError unless between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}, but must lie between 0 and 1")
    return float(level)


def normal_reach(level: float) -> float:
    """Half width of an interval in standard errors, for a normal estimate."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))
