"""Analytic shapes in patient millimetres, with their volumes in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

FloatArray = npt.NDArray[np.float64]

Position = tuple[float, float, float]
Length = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Finite = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Triple = tuple[Finite, Finite, Finite]
Lengths = tuple[Length, Length, Length]


@dataclass(frozen=True, eq=False)
class Norms:
    """A shape as ``|M_g (p - c)| <= 1`` for every group g of rows of M.

    A hollow one leaves out its bore, ``|M_0 (p - c)| < bore``.

    Attributes
    ----------
    centre : (3,) float
        In mm, or in voxel indices after `in_voxels`.
    rows : (3, 3) float
        M.
    groups : (3,) int
        Group of each row.
    bore : float
        Inner over outer radius of a tube; 0 for a solid shape.
    """

    centre: FloatArray
    rows: FloatArray
    groups: tuple[int, int, int]
    bore: float = 0.0

    def in_voxels(self, affine: FloatArray) -> Norms:
        """The same shape in voxel indices of a grid."""
        inverse = np.linalg.inv(affine)
        centre = inverse[:3, :3] @ self.centre + inverse[:3, 3]
        return Norms(centre, self.rows @ affine[:3, :3], self.groups, self.bore)

    def largest(self, points: FloatArray) -> FloatArray:
        """Largest norm of each point, (n, 3) -> (n,); at most 1 inside. The bore counts as inside."""
        squared = ((points - self.centre) @ self.rows.T) ** 2
        numbers = np.array(self.groups)
        sums = [squared[:, numbers == group].sum(axis=1) for group in set(self.groups)]
        return np.asarray(np.sqrt(np.max(sums, axis=0)))

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

    def _norms(
        self, half_mm: tuple[float, float, float], groups: tuple[int, int, int], bore: float = 0.0
    ) -> Norms:
        rows = np.diag(1.0 / np.asarray(half_mm)) @ _rotation(self.rotation_deg).T
        return Norms(np.asarray(self.centre_mm, dtype=np.float64), rows, groups, bore)


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


class Tube(_Placed):
    """A hollow cylinder along its own z with round walls; what lies in its bore is not part of it."""

    kind: Literal["tube"]
    outer_diameter_mm: Length
    inner_diameter_mm: Length
    length_mm: Length

    @model_validator(mode="after")
    def _has_a_wall(self) -> Tube:
        if self.inner_diameter_mm >= self.outer_diameter_mm:
            raise PydanticCustomError("shape", "the inner diameter of a tube is less than its outer one")
        return self

    @property
    def volume_ml(self) -> float:
        """Volume of the wall in closed form, mL."""
        return math.pi / 4 * (self.outer_diameter_mm**2 - self.inner_diameter_mm**2) * self.length_mm / 1000

    @property
    def smallest_half_mm(self) -> float:
        """Smallest half extent, mm: half of the wall or of the length."""
        return min((self.outer_diameter_mm - self.inner_diameter_mm) / 4, self.length_mm / 2)

    def norms(self) -> Norms:
        """The shape as norms."""
        outer = self.outer_diameter_mm / 2
        bore = self.inner_diameter_mm / self.outer_diameter_mm
        return self._norms((outer, outer, self.length_mm / 2), (0, 0, 1), bore)


class Rack(_Placed):
    """Equal upright vials in rows along y and columns along x, or one vial of them.

    `vial` is (row, column), from 1; row 1 lies at the front (+y), column 1 at -x.
    """

    kind: Literal["rack"]
    rows: Annotated[int, Field(ge=1, le=64)]
    columns: Annotated[int, Field(ge=1, le=64)]
    pitch_mm: Length
    diameter_mm: Length
    length_mm: Length
    vial: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None

    @model_validator(mode="after")
    def _vials_apart(self) -> Rack:
        if self.pitch_mm < self.diameter_mm:
            raise PydanticCustomError("shape", "the vials of a rack do not overlap: pitch at least diameter")
        if self.vial is not None and (self.vial[0] > self.rows or self.vial[1] > self.columns):
            raise PydanticCustomError("shape", "the rack has no such vial")
        return self

    def parts(self) -> tuple[Cylinder, ...]:
        """The vials as cylinders, row by row."""
        places = (
            [self.vial]
            if self.vial
            else [(row, column) for row in range(1, self.rows + 1) for column in range(1, self.columns + 1)]
        )
        return tuple(self._cylinder(row, column) for row, column in places)

    def _cylinder(self, row: int, column: int) -> Cylinder:
        x = (column - (self.columns + 1) / 2) * self.pitch_mm
        y = ((self.rows + 1) / 2 - row) * self.pitch_mm
        place = np.asarray(self.centre_mm) + _rotation(self.rotation_deg) @ np.array([x, y, 0.0])
        return Cylinder(
            kind="cylinder",
            centre_mm=(float(place[0]), float(place[1]), float(place[2])),
            rotation_deg=self.rotation_deg,
            semi_axes_mm=(self.diameter_mm / 2, self.diameter_mm / 2),
            length_mm=self.length_mm,
        )


Shape = Annotated[Sphere | Ellipsoid | Cylinder | Box | Tube | Rack, Field(discriminator="kind")]
Solid = Sphere | Ellipsoid | Cylinder | Box | Tube
"""A shape that the grid knows; a rack is several."""


def _rotation(degrees: tuple[float, float, float]) -> FloatArray:
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, dtype=np.float64)
