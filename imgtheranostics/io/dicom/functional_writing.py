"""Functional groups and dimensions of multi-frame objects being written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from imgtheranostics.io.dicom.header_modules import code, uid
from imgtheranostics.io.dicom.series_header import item

if TYPE_CHECKING:
    from pydicom import Dataset

FRAME_CONTENT = 0x00209111
_STACK = (0x00209056, FRAME_CONTENT)
_POSITION_IN_STACK = (0x00209057, FRAME_CONTENT)


def add_dimensions(dataset: Dataset, pointers: Sequence[tuple[int, int]], digest: str) -> None:
    """The multi-frame dimension module: the given dimensions, then stack and position in it.

    Parameters
    ----------
    pointers : sequence of (int, int)
        Tag that a dimension counts, and the functional group in which it stands.
    """
    from pydicom.tag import Tag

    organization = uid("dimensions", digest)
    dataset.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    dataset.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=Tag(tag),
            FunctionalGroupPointer=Tag(group),
        )
        for tag, group in (*pointers, _STACK, _POSITION_IN_STACK)
    ]


def add_multi_frame(dataset: Dataset, shared: Dataset, frames: Sequence[Dataset]) -> None:
    """The functional groups that all frames share, and those of each frame."""
    dataset.NumberOfFrames = len(frames)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = list(frames)


def real(value: float) -> float:
    """A double without the last digits of a product such as seconds times 1000."""
    return float(np.format_float_positional(float(value), precision=12, unique=True))


def whole_body() -> Dataset:
    """The item of the frame anatomy macro that claims no more than that it is a body."""
    return item(FrameLaterality="U", AnatomicRegionSequence=[code("38266002", "SCT", "Entire body")])


def without_laterality(dataset: Dataset) -> None:
    """Take out the series' laterality, which may not stand beside that of the frames."""
    if "Laterality" in dataset:
        del dataset.Laterality
