"""Analytic shapes in patient millimetres, with their volumes in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

FloatArray = npt.NDArray[np.float64]

Position = tuple[float, float, float]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Triple = tuple[Finite, Finite, Finite]
Lengths = tuple[Length, Length, Length]


@dataclass(frozen=True, eq=False)
class Norms:
    """A shape as ``|M_g (p - c)| <= 1`` for every group g of rows of M.

    Attributes
    ----------
    centre : (3,) float
        In mm, or in voxel indices after `in_voxels`.
    rows : (3, 3) float
        M.
    groups : (3,) int
        Group of each row.
    """

    centre: FloatArray
    rows: FloatArray
    groups: tuple[int, int, int]

    def in_voxels(self, affine: FloatArray) -> Norms:
        """The same shape in voxel indices of a grid."""
        inverse = np.linalg.inv(affine)
        return Norms(inverse[:3, :3] @ self.centre + inverse[:3, 3], self.rows @ affine[:3, :3], self.groups)

    @property
    def reach(self) -> FloatArray:
        """Half extents of an upright box around the shape, (3,)."""
        inverse = np.linalg.inv(self.rows)
        numbers = np.array(self.groups)
        return np.asarray(sum(np.sqrt((inverse[:, numbers == g] ** 2).sum(axis=1)) for g in set(self.groups)))


class _Placed(BaseModel):
    """A shape somewhere in the patient, turned about x, then y, then z."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    centre_mm: Triple
    rotation_deg: Triple = (0.0, 0.0, 0.0)

    def _norms(self, half_mm: tuple[float, float, float], groups: tuple[int, int, int]) -> Norms:
        rows = np.diag(1.0 / np.asarray(half_mm)) @ _rotation(self.rotation_deg).T
        return Norms(np.asarray(self.centre_mm, dtype=np.float64), rows, groups)


class Sphere(_Placed):
    """A sphere."""

    kind: Literal["sphere"]
    diameter_mm: Length

    @property
    def volume_ml(self) -> float:
        """Volume in closed form, mL."""
        return math.pi / 6 * self.diameter_mm**3 / 1000

    @property
    def smallest_half_mm(self) -> float:
        """Smallest half extent, mm."""
        return self.diameter_mm / 2

    def norms(self) -> Norms:
        """The shape as norms."""
        half = self.diameter_mm / 2
        return self._norms((half, half, half), (0, 0, 0))


class Ellipsoid(_Placed):
    """An ellipsoid with semi-axes along its own x, y, z."""

    kind: Literal["ellipsoid"]
    semi_axes_mm: Lengths

    @property
    def volume_ml(self) -> float:
        """Volume in closed form, mL."""
        return 4 / 3 * math.pi * math.prod(self.semi_axes_mm) / 1000

    @property
    def smallest_half_mm(self) -> float:
        """Smallest half extent, mm."""
        return min(self.semi_axes_mm)

    def norms(self) -> Norms:
        """The shape as norms."""
        return self._norms(self.semi_axes_mm, (0, 0, 0))


class Cylinder(_Placed):
    """A cylinder along its own z with an elliptic section."""

    kind: Literal["cylinder"]
    semi_axes_mm: tuple[Length, Length]
    length_mm: Length

    @property
    def volume_ml(self) -> float:
        """Volume in closed form, mL."""
        return math.pi * math.prod(self.semi_axes_mm) * self.length_mm / 1000

    @property
    def smallest_half_mm(self) -> float:
        """Smallest half extent, mm."""
        return min(*self.semi_axes_mm, self.length_mm / 2)

    def norms(self) -> Norms:
        """The shape as norms."""
        a, b = self.semi_axes_mm
        return self._norms((a, b, self.length_mm / 2), (0, 0, 1))


class Box(_Placed):
    """A box."""

    kind: Literal["box"]
    size_mm: Lengths

    @property
    def volume_ml(self) -> float:
        """Volume in closed form, mL."""
        return math.prod(self.size_mm) / 1000

    @property
    def smallest_half_mm(self) -> float:
        """Smallest half extent, mm."""
        return min(self.size_mm) / 2

    def norms(self) -> Norms:
        """The shape as norms."""
        x, y, z = self.size_mm
        return self._norms((x / 2, y / 2, z / 2), (0, 1, 2))


Shape = Annotated[Sphere | Ellipsoid | Cylinder | Box, Field(discriminator="kind")]


def _rotation(degrees: tuple[float, float, float]) -> FloatArray:
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, dtype=np.float64)
