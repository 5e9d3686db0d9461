"""Samples of the voxels that are worked on, some at a time, and results of all voxels put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit
from imgtheranostics.mapping.refusals import typed_refusals

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

BLOCK_VOXELS = 32_768
"""Voxels handed to the array level at once: what it needs beside in and out stays small."""


@dataclass(frozen=True, eq=False)
class VoxelCurves:
    """Samples of every voxel of an image, and which voxels are worked on.

    Attributes
    ----------
    samples : (i, j, k, n) ndarray
        float32 in Fortran order.
    inside : (i, j, k) ndarray of bool
        Voxels to work on.
    """

    samples: Array
    inside: npt.NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        return tuple(int(n) for n in self.inside.shape)

    @property
    def planes(self) -> Array:
        """(n, n_voxels), i fastest, without a copy."""
        return self.samples.reshape(-1, self.samples.shape[-1], order="F").T

    def blocks(self) -> Iterator[IndexArray]:
        """Flat Fortran-order indices of the voxels to work on, in fixed portions."""
        index = np.flatnonzero(self.inside.ravel(order="F"))
        for first in range(0, index.size, BLOCK_VOXELS):
            yield index[first : first + BLOCK_VOXELS]

    def curves(self, voxels: IndexArray) -> Array:
        """The samples of some voxels, (m, n)."""
        whole = voxels.size == self.inside.size
        planes = self.planes if whole else np.ascontiguousarray(self.planes[:, voxels])
        return planes.T

    def mapped(
        self, compute: Callable[[Array, VoxelMaps], npt.NDArray[Any]], n: int = 0, **maps: Array | None
    ) -> Array:
        """What `compute` gives for blocks of voxels, as an image; NaN elsewhere.

        Parameters
        ----------
        compute : callable
            ``compute(samples (m, n), maps)`` gives (m,), or (m, `n`).
        n : int
            Length of the results' last axis, 0 for one value per voxel.
        **maps : (i, j, k) ndarray or None
            Given to `compute` for the voxels of the block.
        """
        out = np.full((self.inside.size, n) if n else self.inside.size, np.nan, np.float32, order="F")
        for voxels in self.blocks():
            with typed_refusals():
                out[voxels] = compute(self.curves(voxels), _at(maps, voxels))
        return out.reshape((*self.shape, n) if n else self.shape, order="F")

    def fitted(self, compute: Callable[[Array, VoxelMaps], Fit], **maps: Array | None) -> Fit:
        """What `compute` fits to blocks of voxels, as images; NaN without a flag elsewhere.

        Parameters
        ----------
        compute, **maps
            As in `mapped`; a `Fit` of arrays (m,) or (m, several).
        """
        whole: dict[str, Array] = {}
        units: Mapping[str, str] = {}
        for voxels in self.blocks():
            parts, units = self._fit(compute, maps, voxels)
            if not whole:
                whole = {name: self._room(part) for name, part in parts.items()}
            for name, part in parts.items():
                whole[name][voxels] = part
        if not whole:
            # No voxel is worked on: one that is thrown away tells which results there would be.
            parts, units = self._fit(compute, maps, np.zeros(1, np.int64))
            whole = {name: self._room(part) for name, part in parts.items()}
        return self._joined(whole, units)

    def _fit(
        self, compute: Callable[[Array, VoxelMaps], Fit], maps: VoxelMaps, voxels: IndexArray
    ) -> tuple[dict[str, Array], Mapping[str, str]]:
        with typed_refusals():
            found = compute(self.curves(voxels), _at(maps, voxels))
        return _parts(found), found.units

    def _room(self, part: Array) -> Array:
        """Space for a result of every voxel."""
        floating = part.dtype.kind == "f"
        shape = (self.inside.size, *part.shape[1:])
        return np.full(shape, np.nan if floating else 0, np.float32 if floating else part.dtype, order="F")

    def _joined(self, whole: Mapping[str, Array], units: Mapping[str, str]) -> Fit:
        images = {
            name: part.reshape((*self.shape, *part.shape[1:]), order="F") for name, part in whole.items()
        }
        named = {
            kind: {name[len(kind) :]: image for name, image in images.items() if name.startswith(kind)}
            for kind in ("value ", "error ")
        }
        return Fit(
            parameters=named["value "],
            standard_errors=named["error "],
            r_squared=images["r_squared"],
            rmse=images["rmse"],
            iterations=images["iterations"],
            flags=images["flags"],
            units=dict(units),
        )


@dataclass(frozen=True, eq=False)
class VoxelSpectra(VoxelCurves):
    """Z-spectra of an image.

    Attributes
    ----------
    offset_ppm : (n,) ndarray
        Ascending.
    """

    offset_ppm: FloatArray


VoxelMaps = Mapping[str, Array | None]
"""Values of some voxels by name; None where a map is not there."""


def _at(maps: VoxelMaps, voxels: IndexArray) -> dict[str, Array | None]:
    return {name: None if one is None else one.ravel(order="F")[voxels] for name, one in maps.items()}


def _parts(fit: Fit) -> dict[str, Array]:
    return {
        **{f"value {name}": np.asarray(array) for name, array in fit.parameters.items()},
        **{f"error {name}": np.asarray(array) for name, array in fit.standard_errors.items()},
        "r_squared": np.asarray(fit.r_squared),
        "rmse": np.asarray(fit.rmse),
        "iterations": np.asarray(fit.iterations),
        "flags": np.asarray(fit.flags),
    }
