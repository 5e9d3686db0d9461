"""The window of images before the agent, which nobody may guess."""

from __future__ import annotations

from typing import Any

from imgtheranostics.errors import MissingMetadata


def required_baseline(baseline: tuple[int, int] | None, purpose: str) -> tuple[int, int]:
    """The window of images before the agent, which nobody may guess.

    Raises
    ------
    MissingMetadata
    """
    if baseline is None:
        raise MissingMetadata(
            f"the images before the agent are not stated; {purpose} needs them",
            where="--baseline (baseline=)",
            needed="first and stop, counted from 0, such as 0:5 for the first five images",
            next_step="give --baseline FIRST:STOP (baseline=(first, stop))",
        )
    return int(baseline[0]), int(baseline[1])


def baseline_decision(window: tuple[int, int]) -> dict[str, Any]:
    """For the record of decisions."""
    return {"rule": "given", "explanation": f"images {window[0]} to {window[1] - 1}, counted from 0"}
