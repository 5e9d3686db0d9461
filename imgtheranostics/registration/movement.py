"""What a list of transforms says about a series: shifts, turns, and what a reader should be told of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.volume import Volume

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

STILL_VOXELS = 0.1
"""Motion up to which a sample is left alone, unless somebody says otherwise."""

LARGE_VOXELS = 2.0
"""Motion from which it is flagged."""

MUCH_LEFT = 5.0
"""Times the threshold: what is left after correction is flagged beyond that."""


def reference_place(reference: int | str, count: int) -> int | None:
    """Number of the reference sample of `count`; None for the mean.

    Raises
    ------
    ValueError
        If there is no such sample.
    """
    if reference == "mean":
        return None
    if isinstance(reference, str) or not -count <= reference < count:
        raise ValueError(f"reference {reference!r} is not a sample from 0 to {count - 1}, or 'mean'")
    return int(reference) % count


def middle_mm(fixed: Volume, inside: BoolArray | None) -> FloatArray:
    """RAS+ mm of the middle of the image, or of what counts of it."""
    index = (np.array(fixed.shape) - 1.0) / 2.0 if inside is None else np.argwhere(inside).mean(axis=0)
    return fixed.grid.world_mm(index)


def angles_deg(matrix: FloatArray) -> FloatArray:
    """Angles about R, A and S of a rotation matrix Rz Ry Rx."""
    return np.degrees(
        [
            np.arctan2(matrix[2, 1], matrix[2, 2]),
            np.arcsin(np.clip(-matrix[2, 0], -1.0, 1.0)),
            np.arctan2(matrix[1, 0], matrix[0, 0]),
        ]
    )


def motion_cautions(
    displacement: FloatArray, left: FloatArray, registered: BoolArray, large: float, still: float
) -> tuple[Caution, ...]:
    """Cautions about samples that moved far, are still off, or could not be registered; all in mm."""
    cautions = []
    with np.errstate(invalid="ignore"):
        far, off = displacement > large, left > MUCH_LEFT * still
    if far.any():
        cautions.append(
            Caution(
                "large-motion",
                f"{_samples(far)} moved by more than {large:.3g} mm, up to {np.nanmax(displacement):.3g}; "
                "motion during those samples may have blurred them",
            )
        )
    if off.any():
        cautions.append(
            Caution(
                "residual-motion",
                f"{_samples(off)}: up to {np.nanmax(left):.3g} mm of motion left after correction",
            )
        )
    if not registered.all():
        cautions.append(
            Caution(
                "sample-not-registered",
                f"{_samples(~registered)} could not be registered and stay as they are",
            )
        )
    return tuple(cautions)


def _samples(chosen: BoolArray) -> str:
    numbers = np.flatnonzero(chosen).tolist()
    named = ", ".join(str(n) for n in numbers[:10])
    return f"sample{'s' if len(numbers) > 1 else ''} {named}" + (" and more" if len(numbers) > 10 else "")
