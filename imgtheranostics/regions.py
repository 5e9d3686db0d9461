"""Regions: labelled masks on a grid, overlapping or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, NothingUsable
from imgtheranostics.volume import AxisMatch, Grid, Step

LabelArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Regions:
    """Named regions on one grid.

    Parameters
    ----------
    labels : (i, j, k) or (i, j, k, n_layers) array_like of int
        Region number of each voxel, 0 outside. Regions that overlap lie in different layers; a region
        number belongs to one layer.
    names : mapping of int to str
        Name of each region number, in the order in which tables list them.
    grid : Grid
    """

    labels: LabelArray
    names: Mapping[int, str]
    grid: Grid
    warnings: tuple[Caution, ...] = ()
    history: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.ndim == 3:
            labels = labels[..., np.newaxis]
        if labels.ndim != 4 or labels.shape[:3] != self.grid.shape:
            raise GeometryMismatch(
                "labels do not fit the grid", found=str(labels.shape), needed=str(self.grid.shape)
            )
        names = {int(number): str(name) for number, name in self.names.items()}
        if 0 in names:
            raise ValueError("region number 0 is the background")
        if len(set(names.values())) != len(names):
            raise ValueError(f"region names repeat: {sorted(names.values())}")
        frozen = np.asfortranarray(labels, dtype=np.int32)
        frozen.setflags(write=False)
        object.__setattr__(self, "labels", frozen)
        object.__setattr__(self, "names", MappingProxyType(names))

    @classmethod
    def from_masks(
        cls, masks: Mapping[str, npt.ArrayLike], grid: Grid, *, warnings: Sequence[Caution] = ()
    ) -> Self:
        """Regions from one mask per name; masks may overlap."""
        layers: list[LabelArray] = []
        for number, mask in enumerate(masks.values(), start=1):
            inside = np.asarray(mask) != 0
            if inside.shape != grid.shape:
                raise GeometryMismatch(
                    "a mask does not fit the grid", found=str(inside.shape), needed=str(grid.shape)
                )
            layer = next((known for known in layers if not known[inside].any()), None)
            if layer is None:
                layer = np.zeros(grid.shape, np.int32, order="F")
                layers.append(layer)
            layer[inside] = number
        if not layers:
            raise NothingUsable("no regions were given")
        names = dict(enumerate(masks, start=1))
        return cls(np.stack(layers, axis=-1), names, grid, tuple(warnings))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names.values())

    def number(self, name: str) -> int:
        """The number of a region; KeyError with the known names."""
        for number, known in self.names.items():
            if known == name:
                return number
        raise KeyError(f"no region {name!r}; there are {', '.join(self.names.values())}")

    def mask(self, name: str) -> BoolArray:
        """The region as a boolean (i, j, k) array."""
        return np.asarray((self.labels == self.number(name)).any(axis=-1))

    def reordered(self, match: AxisMatch) -> Self:
        """The same regions with the spatial axes permuted and flipped; no interpolation."""
        if match.is_identity:
            return self
        return type(self)(
            match.apply_to_array(self.labels),
            self.names,
            match.apply_to_grid(self.grid),
            self.warnings,
            self.history,
        )

    def fit_to(self, grid: Grid, *, what: str = "the image") -> Self:
        """These regions on `grid`, when that takes no more than reordering axes.

        Raises
        ------
        GeometryMismatch
            If the grids differ otherwise, with the report of what differs and by how much.
        """
        same = grid.same_as(self.grid)
        if same:
            return self
        match = grid.axis_match(self.grid)
        if match is not None:
            return self.reordered(match)
        raise GeometryMismatch(
            f"the regions lie on another grid than {what}",
            found=str(same),
            needed=f"the same grid within {same.tolerance_mm:g} mm",
            next_step="draw the regions on this image, or give --resample-rois to resample them (nearest)",
        )

    def resampled(self, grid: Grid) -> Self:
        """These regions on another grid by nearest voxel; positions outside are background."""
        from imgtheranostics.volume import make_step

        match = grid.axis_match(self.grid)
        if match is not None:
            return self.reordered(match)
        out = np.zeros((*grid.shape, self.labels.shape[3]), np.int32, order="F")
        step = np.linalg.inv(self.grid.affine) @ grid.affine
        i, j = np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij")
        extent = np.array(self.grid.shape)
        for k in range(grid.shape[2]):
            index = np.stack([i, j, np.full_like(i, k)], axis=-1) @ step[:3, :3].T + step[:3, 3]
            nearest = np.floor(index + 0.5).astype(np.int64)
            inside = ((nearest >= 0) & (nearest < extent)).all(axis=-1)
            source = nearest[inside]
            out[:, :, k, :][inside] = self.labels[source[:, 0], source[:, 1], source[:, 2], :]
        done = make_step("resample_regions", interpolation="nearest", shape=list(grid.shape))
        caution = Caution("regions-resampled", "regions were resampled to the image grid by nearest voxel")
        return type(self)(out, self.names, grid, (*self.warnings, caution), (*self.history, done))

    def voxel_lists(self) -> list[npt.NDArray[np.int64]]:
        """Flat Fortran-order voxel indices of each region, in the order of `names`, ascending."""
        position = {number: n for n, number in enumerate(self.names)}
        lists: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64) for _ in self.names]
        for layer in range(self.labels.shape[3]):
            flat = self.labels[..., layer].ravel(order="F")
            inside = np.flatnonzero(flat)
            numbers = flat[inside]
            order = np.argsort(numbers, kind="stable")
            cuts = np.flatnonzero(np.diff(numbers[order])) + 1
            for voxels in np.split(inside[order], cuts):
                place = position.get(int(flat[voxels[0]])) if voxels.size else None
                if place is not None:
                    lists[place] = voxels
        return lists
