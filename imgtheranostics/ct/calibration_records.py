"""What the files of calibrations share: numbers that may be missing, content that makes no calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from imgtheranostics.errors import CorruptInput, IllConditioned, ImplausibleValue, MissingMetadata


@contextmanager
def refitted(what: str, place: str) -> Iterator[None]:
    """Around a calibration that is made again from a file: what it lacks or contradicts is told as such.

    Raises
    ------
    CorruptInput
        If a number is missing, is none, or makes no calibration.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, ImplausibleValue, IllConditioned, MissingMetadata) as error:
        raise CorruptInput(
            f"the {what} does not make sense",
            where=place,
            found=type(error).__name__,
            next_step="calibrate again",
        ) from error


def stated_errors(values: Sequence[Any]) -> list[float] | None:
    """The standard errors of the points; None where none was given."""
    errors = [math.nan if one is None else float(one) for one in values]
    return None if all(map(math.isnan, errors)) else errors


def optional(value: Any) -> float | None:
    """A number that may be missing."""
    return None if value is None else float(value)
