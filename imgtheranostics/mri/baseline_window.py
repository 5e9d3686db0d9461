"""The window of images before the agent, which nobody may guess."""

from __future__ import annotations

from typing import Any

from imgtheranostics.errors import MissingMetadata, UnsupportedInput


def required_baseline(
    baseline: tuple[int, int] | None, purpose: str, n_images: int | None = None
) -> tuple[int, int]:
    """The window of images before the agent, which nobody may guess.

    Raises
    ------
    MissingMetadata
        If nobody states it.
    UnsupportedInput
        If it is empty, or the series is not that long.
    """
    if baseline is None:
        raise MissingMetadata(
            f"the images before the agent are not stated; {purpose} needs them",
            where="--baseline (baseline=)",
            needed="first and stop, counted from 0, such as 0:5 for the first five images",
            next_step="give --baseline FIRST:STOP (baseline=(first, stop))",
        )
    first, stop = int(baseline[0]), int(baseline[1])
    if n_images is not None and not 0 <= first < stop <= n_images:
        raise UnsupportedInput(
            "the window of images before the agent does not lie within the series",
            where="--baseline (baseline=)",
            found=f"{first}:{stop}, {n_images} images",
            needed=f"FIRST:STOP with 0 <= FIRST < STOP <= {n_images}; STOP itself is not in it",
            next_step="give --baseline FIRST:STOP (baseline=(first, stop))",
        )
    return first, stop


def baseline_decision(window: tuple[int, int]) -> dict[str, Any]:
    """For the record of decisions."""
    return {"rule": "given", "explanation": f"images {window[0]} to {window[1] - 1}, counted from 0"}
