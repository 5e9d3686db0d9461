"""Everything about the volumes of a 2dseq file except their voxels."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import MrAcquisition
from imgtheranostics.errors import Caution, CorruptInput, UnsupportedInput
from imgtheranostics.io.bruker.axes import Stepping, axes_of, steps_through_inversion
from imgtheranostics.io.bruker.dataset import Dataset, open_dataset, place_of
from imgtheranostics.io.bruker.frame_groups import IndexArray
from imgtheranostics.io.bruker.placement import Package, packages
from imgtheranostics.io.bruker.record import COMPONENTS, absent_cautions, acquisition_of
from imgtheranostics.io.bruker.storage import Storage, read_storage
from imgtheranostics.units import UNITS, conversion_factor
from imgtheranostics.volume import Axis, Step

FloatArray = npt.NDArray[np.float64]

_UID = re.compile(r"^[0-9.]{1,64}$")
_GROUP_NAME = re.compile(r"^FG_[A-Z_]{1,24}$")
_SEPARATE = frozenset({"FG_ISA", "FG_COMPLEX", "FG_IRMODE"})
_MAP_NAMES = (
    (re.compile(r"^\s*T1\s+relaxation\s+time", re.IGNORECASE), "t1"),
    (re.compile(r"^\s*T2\s*(\*|star)\s+relaxation\s+time", re.IGNORECASE), "t2star"),
    (re.compile(r"^\s*T2\s+relaxation\s+time", re.IGNORECASE), "t2"),
)


@dataclass(frozen=True, slots=True)
class BrukerPlan:
    """One volume of a 2dseq file.

    Attributes
    ----------
    dataset : Dataset
    storage : Storage
    chosen : (n_slices, *axes) ndarray
        Frame numbers.
    affine : (4, 4) ndarray
    axes : tuple of Axis
    quantity, unit : str
    factor : float
        From the scaled values to `unit`.
    acquisition : MrAcquisition
    label : str
        Scan, reconstruction and which of its images.
    cautions : tuple of Caution
    history : tuple of Step
        Conversions of the axes.
    """

    dataset: Dataset
    storage: Storage
    chosen: IndexArray
    affine: FloatArray
    axes: tuple[Axis, ...]
    quantity: str
    unit: str
    factor: float
    acquisition: MrAcquisition
    label: str
    cautions: tuple[Caution, ...]
    history: tuple[Step, ...] = ()

    @property
    def uid(self) -> str:
        """The identifier of the images; empty where the file has none, or a text that may name somebody."""
        stated = self.dataset.visu.text("VisuUid") or ""
        return stated if _UID.match(stated) else ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the Volume."""
        size = self.storage.size
        third = size[2] if len(size) == 3 else len(self.chosen)
        return (size[0], size[1], third, *(len(axis) for axis in self.axes))


def plans(path: Path) -> list[BrukerPlan]:
    """The volumes of a 2dseq file: one per orientation, map, kind of inversion, or part of a complex number.

    Parameters
    ----------
    path : Path
        The 2dseq file.

    Raises
    ------
    ImgTheranosticsError
        The typed refusal of what cannot be a right number.
    """
    dataset = open_dataset(path)
    storage = read_storage(dataset)
    apart = _groups_apart(dataset)
    slice_group = dataset.frames.find("FG_SLICE")
    kept = [
        place
        for place, group in enumerate(dataset.frames.groups)
        if place != slice_group and place not in apart and group.length > 1
    ]
    stepping = axes_of(dataset, kept)
    _check_axes(dataset, stepping)
    found = []
    several = packages(dataset.visu, dataset.frames, storage.size)
    for (number, package), elements in itertools.product(
        enumerate(several, start=1), _elements(dataset, apart)
    ):
        words = [place_of(path), *_labels(dataset, elements)]
        if len(several) > 1:
            words.append(f"slice package {number} of {len(several)}")
        label = ", ".join(word for word in words if word)
        found.append(_plan(dataset, storage, package, dict(elements), kept, stepping, label))
    return found


def _groups_apart(dataset: Dataset) -> list[int]:
    """Groups whose elements are images of their own and no steps of one parameter."""
    return [
        place
        for place, group in enumerate(dataset.frames.groups)
        if group.name in _SEPARATE
        and group.length > 1
        and not (group.name == "FG_IRMODE" and steps_through_inversion(dataset, place))
    ]


def _elements(dataset: Dataset, apart: list[int]) -> Iterator[tuple[tuple[int, int], ...]]:
    lengths = [range(dataset.frames.groups[place].length) for place in apart]
    for chosen in itertools.product(*lengths):
        yield tuple(zip(apart, chosen, strict=True))


def _labels(dataset: Dataset, elements: tuple[tuple[int, int], ...]) -> list[str]:
    words = {"FG_ISA": "map", "FG_COMPLEX": "component", "FG_IRMODE": "inversion mode"}
    return [
        f"{words[dataset.frames.groups[place].name]} {element + 1} of {dataset.frames.groups[place].length}"
        for place, element in elements
    ]


def _check_axes(dataset: Dataset, stepping: Stepping) -> None:
    names = [axis.name for axis in stepping.axes.values()]
    if len(set(names)) < len(names):
        raise UnsupportedInput(
            "several loops over frames step through nothing that the files tell",
            where=dataset.visu.where("VisuFGOrderDesc"),
            found=", ".join(
                name if _GROUP_NAME.match(name) else "another group"
                for name in (dataset.frames.groups[place].name for place in stepping.axes)
            ),
            needed="at most one loop without a parameter",
        )


def _plan(
    dataset: Dataset,
    storage: Storage,
    package: Package,
    elements: dict[int, int],
    kept: list[int],
    stepping: Stepping,
    label: str,
) -> BrukerPlan:
    chosen = _chosen(dataset, package, elements, kept)
    axes = tuple(stepping.axes[place] for place in kept)
    quantity, unit, factor, component, cautions = _meaning(dataset, int(chosen.flat[0]), elements)
    record = acquisition_of(dataset, chosen, axes, component)
    placed = stepping.saturation
    if placed is not None:
        record = replace(record, saturation=placed.record)
    return BrukerPlan(
        dataset=dataset,
        storage=storage,
        chosen=chosen,
        affine=package.affine,
        axes=axes,
        quantity=quantity,
        unit=unit,
        factor=factor,
        acquisition=record,
        label=label,
        cautions=(*dataset.cautions(), *absent_cautions(record, axes), *stepping.cautions, *cautions),
        history=() if placed is None else placed.history,
    )


def _chosen(dataset: Dataset, package: Package, elements: dict[int, int], kept: list[int]) -> IndexArray:
    """Frame numbers as (slices, *axes)."""
    numbers = dataset.frames.number_of()
    slice_group = dataset.frames.find("FG_SLICE")
    lengths = dataset.frames.shape or (1,)
    index = tuple(
        package.slices
        if place == slice_group
        else np.arange(length)
        if place in kept
        else [elements.get(place, 0)]
        for place, length in enumerate(lengths)
    )
    table = numbers[np.ix_(*index)]
    order = [*([] if slice_group is None else [slice_group]), *kept]
    rest = [place for place in range(table.ndim) if place not in order]
    table = np.transpose(table, [*order, *rest]).reshape([table.shape[place] for place in order])
    return table if slice_group is not None else table[np.newaxis]


def _meaning(
    dataset: Dataset, frame: int, elements: dict[int, int]
) -> tuple[str, str, float, str | None, list[Caution]]:
    """Quantity, unit, factor, component and cautions of one image."""
    kinds = dataset.frames.words(dataset.visu, "VisuCoreFrameType")
    kind = kinds[frame].strip().upper() if kinds else ""
    component = COMPONENTS.get(kind)
    names = [dataset.frames.groups[place].name for place in elements]
    if "FG_COMPLEX" in names:
        place = next(p for p in elements if dataset.frames.groups[p].name == "FG_COMPLEX")
        if dataset.frames.groups[place].length != 2:
            raise CorruptInput(
                "complex images need a real and an imaginary part",
                where=dataset.visu.where("VisuFGOrderDesc"),
            )
        component = ("real", "imaginary")[elements[place]]
    elif kind == "COMPLEX_IMAGE":
        raise UnsupportedInput(
            "complex images without a group for their two parts are not handled",
            where=dataset.visu.where("VisuCoreFrameType"),
            next_step="reconstruct magnitude and phase images",
        )
    if "FG_ISA" in names:
        place = next(p for p in elements if dataset.frames.groups[p].name == "FG_ISA")
        return (*_map_meaning(dataset, place, elements[place]), component, [_own_map()])
    if component == "phase":
        return "phase", "rad", 1.0, component, []
    return "signal", "[arb'U]", 1.0, component, []


def _map_meaning(dataset: Dataset, place: int, element: int) -> tuple[str, str, float]:
    """A relaxation time where the element's comment and unit say so, else an image in its own scale."""
    comment = dataset.frames.element_word(dataset.visu, "VisuFGElemComment", place, element)
    unit = dataset.frames.element_word(dataset.visu, "VisuCoreDataUnits", place, element)
    quantity = next((name for pattern, name in _MAP_NAMES if pattern.match(comment)), None)
    if quantity is None or unit not in UNITS or UNITS[unit].dimension != "time":
        return "signal", "[arb'U]", 1.0
    return quantity, "s", conversion_factor(unit, "s")


def _own_map() -> Caution:
    return Caution(
        "scanner-map",
        "an image that ParaVision itself calculated; how it was fitted is not known here",
        "visu_pars: FG_ISA",
    )
