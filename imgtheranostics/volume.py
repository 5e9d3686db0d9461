"""Grid, Axis, Volume and Estimate: the one data model.

Affines map voxel indices to patient RAS+ millimetres. Voxels are float32 after all scanner scaling and
lie in Fortran order (i fastest, the last axis slowest), as NIfTI files and DICOM frames do.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from imgtheranostics.errors import Caution, CorruptInput, GeometryMismatch, UnsupportedInput, merge_cautions
from imgtheranostics.grid import Array, AxisMatch, FloatArray, Grid, GridDifference, times
from imgtheranostics.pickling import reduced
from imgtheranostics.units import UNITS, check_quantity

if TYPE_CHECKING:
    import nibabel
    import SimpleITK
    import xarray

__all__ = [
    "AXIS_NAMES",
    "Array",
    "Axis",
    "AxisMatch",
    "Estimate",
    "Flag",
    "FloatArray",
    "Grid",
    "GridDifference",
    "Source",
    "Step",
    "Volume",
    "make_step",
]

AXIS_NAMES = frozenset(
    {
        "time",
        "echo_time",
        "inversion_time",
        "repetition_time",
        "flip_angle",
        "saturation_offset",
        "saturation_b1",
        "wavelength",
        "energy",
        "dose",
        "component",
    }
)
"""The closed set of axis names."""

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Flag(enum.IntFlag):
    """Why a voxel was not estimated, or why its value deserves care."""

    MASKED_OUT = 1
    BELOW_NOISE = 2
    INVALID_INPUT = 4
    AT_BOUND = 8
    NOT_CONVERGED = 16
    OUTSIDE_RANGE = 32
    ILL_CONDITIONED = 64
    INITIALISATION_FAILED = 128
    NEGATIVE_AMPLITUDE = 256
    AMBIGUOUS_BRANCH = 512
    INVALID_B1 = 1024
    SATURATED = 2048
    NOT_ENHANCING = 4096


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a Volume's history: what was done, with what, by which version."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self, parameters=dict(self.parameters))


@dataclass(frozen=True, slots=True)
class Source:
    """Where a Volume came from, kept for provenance and never printed.

    `subject` and `session` are pseudonyms; `identifiers` holds what only ``--keep-identifiers`` may
    write (PatientID, dates, paths) and stays out of every representation.
    """

    files: tuple[Path, ...] = ()
    subject: str = ""
    session: str = ""
    identifiers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class Axis:
    """A named axis beyond space.

    Parameters
    ----------
    name : str
        One of `AXIS_NAMES`.
    values : (n,) array_like
        Coordinate of each sample, float64.
    unit : str
        UCUM code.
    """

    name: str
    values: FloatArray
    unit: str

    def __post_init__(self) -> None:
        if self.name not in AXIS_NAMES:
            raise ValueError(f"axis name {self.name!r} is not one of {sorted(AXIS_NAMES)}")
        if self.unit not in UNITS:
            raise ValueError(f"axis unit {self.unit!r} is not a unit of the table")
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"axis {self.name} needs a list of at least one value")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return int(self.values.size)

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    def same_as(self, other: Axis) -> bool:
        """Whether name, unit and every value are equal."""
        return (
            self.name == other.name
            and self.unit == other.unit
            and np.array_equal(self.values, other.values, equal_nan=True)
        )


@dataclass(frozen=True, eq=False)
class Volume:
    """An image: voxels, where they lie, what they mean, and how they came to be.

    Parameters
    ----------
    data : (i, j, k, *axes) array_like
        Values after all scanner scaling. Stored read-only in Fortran order as the quantity's type
        (float32 but for labels and flags); an array that already has that form is not copied.
    affine : (4, 4) array_like
        Voxel index to RAS+ mm.
    quantity, unit : str
        From the tables of `imgtheranostics.units`.
    axes : sequence of Axis
        One per dimension beyond the third, in order.
    acquisition : acquisition record, optional
        What the scanner did, as far as the file says.
    history : sequence of Step
        What was done since the file was read.
    warnings : sequence of Caution
        What a reader of the numbers should know.
    source : Source
        The files, for provenance.
    """

    data: Array
    affine: FloatArray
    quantity: str
    unit: str
    axes: tuple[Axis, ...] = ()
    acquisition: Any = None
    history: tuple[Step, ...] = ()
    warnings: tuple[Caution, ...] = ()
    source: Source = field(default=Source(), repr=False)

    def __post_init__(self) -> None:
        record = check_quantity(self.quantity, self.unit)
        axes = tuple(self.axes)
        data = np.asarray(self.data)
        expected = data.shape[:3] + tuple(len(axis) for axis in axes)
        if data.ndim != 3 + len(axes) or data.shape != expected:
            lengths = ", ".join(f"{axis.name} {len(axis)}" for axis in axes) or "none"
            raise GeometryMismatch(
                "data and axes do not fit",
                found=f"data {times(data.shape)}, axes: {lengths}",
                needed="data (i, j, k) plus one dimension per axis",
            )
        grid = Grid((data.shape[0], data.shape[1], data.shape[2]), self.affine)
        frozen = _frozen(data, np.dtype(record.dtype))
        for name, value in (
            ("data", frozen),
            ("affine", grid.affine),
            ("axes", axes),
            ("history", tuple(self.history)),
            ("warnings", tuple(self.warnings)),
            ("_grid", grid),
        ):
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    @property
    def grid(self) -> Grid:
        """The geometry."""
        return self._grid  # type: ignore[attr-defined,no-any-return]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data, space first."""
        return tuple(int(n) for n in self.data.shape)

    @property
    def planar(self) -> Array:
        """The voxels as a (n_samples, n_voxels) view without a copy, i fastest within a sample."""
        return self.data.reshape(self.grid.n_voxels, -1, order="F").T

    def axis(self, name: str) -> Axis | None:
        """The axis of that name, or None."""
        return next((axis for axis in self.axes if axis.name == name), None)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def with_step(self, name: str, /, **parameters: Any) -> Self:
        """A copy whose history records one more step, with this package's version."""
        return replace(self, history=(*self.history, make_step(name, **parameters)))

    def with_warnings(self, *cautions: Caution) -> Self:
        """A copy that carries more warnings; one that is there already is not repeated."""
        return replace(self, warnings=merge_cautions(self.warnings, cautions))

    def derived(self, data: Array, quantity: str, unit: str, step: Step, **changes: Any) -> Self:
        """A Volume computed from this one: same grid, axes, acquisition and source, one step more."""
        return replace(
            self, data=data, quantity=quantity, unit=unit, history=(*self.history, step), **changes
        )

    def frame(self, index: int) -> Self:
        """One sample of the last axis."""
        if not self.axes:
            raise ValueError("this volume has no axis beyond space")
        axis = self.axes[-1]
        return replace(
            self,
            data=self.data[..., index],
            axes=self.axes[:-1],
            history=(*self.history, make_step("frame", axis=axis.name, value=float(axis.values[index]))),
        )

    def reordered(self, match: AxisMatch) -> Self:
        """The same voxels with their spatial axes permuted and flipped; no interpolation."""
        if match.is_identity:
            return self
        grid = match.apply_to_grid(self.grid)
        step = make_step("reorder_axes", order=list(match.order), flips=list(match.flips))
        return replace(
            self,
            data=match.apply_to_array(self.data),
            affine=grid.affine,
            history=(*self.history, step),
        )

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis.name} [{axis.unit}] x {len(axis)}" for axis in self.axes)
        spacing = " x ".join(f"{value:.4g}" for value in self.grid.spacing_mm)
        return (
            f"Volume({self.quantity} [{self.unit}], {times(self.shape)}, {spacing} mm"
            + (f", {axes}" if axes else "")
            + (f", {len(self.warnings)} warnings" if self.warnings else "")
            + ")"
        )

    def to_nibabel(self) -> nibabel.Nifti1Image:
        """The volume as an in-memory NIfTI-1 image; units other than mm and s stand in the sidecar."""
        import nibabel

        image = nibabel.Nifti1Image(np.asarray(self.data), np.array(self.affine))
        image.header.set_xyzt_units("mm", "sec" if self.axes and self.axes[0].name == "time" else None)
        return image

    @classmethod
    def from_nibabel(
        cls, image: nibabel.Nifti1Image, quantity: str, unit: str, axes: Sequence[Axis] = ()
    ) -> Self:
        """A Volume from an in-memory image whose values are already in `unit`."""
        data = np.asanyarray(image.dataobj)
        while data.ndim < 3:
            data = data[..., np.newaxis]
        return cls(data, np.array(image.affine, dtype=np.float64), quantity, unit, tuple(axes))

    def to_sitk(self) -> SimpleITK.Image:
        """The volume as a SimpleITK image in LPS mm; samples beyond space become components."""
        import SimpleITK

        if self.axes:
            planes = np.ascontiguousarray(self.planar.T).reshape(*self.grid.shape[::-1], -1)
            image = SimpleITK.GetImageFromArray(planes, isVector=True)
        else:
            image = SimpleITK.GetImageFromArray(self.data.T)
        lps = _RAS_FROM_LPS @ self.affine
        spacing = np.array(self.grid.spacing_mm)
        image.SetOrigin([float(v) for v in lps[:3, 3]])
        image.SetSpacing([float(v) for v in spacing])
        image.SetDirection([float(v) for v in (lps[:3, :3] / spacing).ravel()])
        return image

    @classmethod
    def from_sitk(cls, image: SimpleITK.Image, quantity: str, unit: str, axes: Sequence[Axis] = ()) -> Self:
        """A Volume from a 3-D SimpleITK image; its components become the samples of `axes`."""
        import SimpleITK

        if image.GetDimension() != 3:
            raise GeometryMismatch("a three-dimensional image is needed", found=f"{image.GetDimension()}-D")
        lps = np.eye(4)
        lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
        lps[:3, 3] = image.GetOrigin()
        array = SimpleITK.GetArrayFromImage(image)
        shape = image.GetSize() + tuple(len(axis) for axis in axes)
        n_components = image.GetNumberOfComponentsPerPixel()
        data = array.T if not axes else array.reshape(-1, n_components).reshape(shape, order="F")
        return cls(data, _RAS_FROM_LPS @ lps, quantity, unit, tuple(axes))

    def to_xarray(self) -> xarray.DataArray:
        """The volume as an xarray.DataArray (needs the optional package xarray)."""
        import xarray

        dims = ("i", "j", "k", *(axis.name for axis in self.axes))
        coords = {axis.name: axis.values for axis in self.axes}
        attributes = {"units": self.unit, "affine": self.affine, "quantity": self.quantity}
        return xarray.DataArray(self.data, dims=dims, coords=coords, attrs=attributes, name=self.quantity)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What every quantification returns: value, standard error and flags on one grid.

    A voxel that could not be estimated is NaN in `value` and has a bit of `Flag` set in `flags`.

    Attributes
    ----------
    value, standard_error, flags : Volume
        One grid and one set of axes; `standard_error` has the unit of `value`.
    calibration_relative : float
        Relative standard uncertainty that all voxels share (dose calibrator, relaxivity, HU slope). It
        is contained in `standard_error` and does not shrink when voxels are averaged.
    decisions : mapping
        The rules that were applied, for the report and the provenance record.
    maps : mapping of str to Volume
        What came out beside the value, by a short name that goes into the file's name: amplitude, goodness
        of fit, iterations; on the same grid.
    """

    value: Volume
    standard_error: Volume
    flags: Volume
    calibration_relative: float = 0.0
    decisions: Mapping[str, Any] = field(default_factory=dict)
    maps: Mapping[str, Volume] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, volume in self.maps.items():
            if not self.value.grid.same_as(volume.grid):
                raise GeometryMismatch("a further map lies on another grid than the value", where=name)
        for part in (self.standard_error, self.flags):
            if part.shape != self.value.shape or not self.value.grid.same_as(part.grid):
                raise GeometryMismatch(
                    "value, standard error and flags must share one grid",
                    found=f"{times(part.shape)} against {times(self.value.shape)}",
                )
        if self.standard_error.unit != self.value.unit:
            raise GeometryMismatch("the standard error must have the unit of the value")
        object.__setattr__(self, "decisions", MappingProxyType(dict(self.decisions)))
        object.__setattr__(self, "maps", MappingProxyType(dict(self.maps)))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self, decisions=dict(self.decisions), maps=dict(self.maps))

    @property
    def grid(self) -> Grid:
        """The geometry."""
        return self.value.grid

    @property
    def quantity(self) -> str:
        """Name of the quantity."""
        return self.value.quantity

    @property
    def unit(self) -> str:
        """UCUM code of value and standard error."""
        return self.value.unit

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes beyond space."""
        return self.value.axes

    @property
    def warnings(self) -> tuple[Caution, ...]:
        """The warnings of the three volumes."""
        return merge_cautions(self.value.warnings, self.standard_error.warnings, self.flags.warnings)


def make_step(name: str, /, **parameters: Any) -> Step:
    """A history entry with the version of this package."""
    from imgtheranostics._version import VERSION

    return Step(name, parameters, VERSION)


def _frozen(data: Array, dtype: np.dtype[Any]) -> Array:
    """`data` as a read-only Fortran-ordered array of `dtype`, without a copy where it already is one."""
    if data.dtype.kind not in "biuf":
        raise UnsupportedInput("voxels are not real numbers", found=str(data.dtype), needed="real numbers")
    if data.dtype != dtype and dtype.kind in "iu":
        with np.errstate(invalid="ignore"):
            cast = data.astype(dtype)
        if not np.array_equal(cast, data):
            raise CorruptInput("labels or flags are not whole numbers in range", needed=str(dtype))
    ordered = np.asfortranarray(data, dtype=dtype)
    if ordered is data and ordered.flags.writeable:
        ordered = ordered.view()
    ordered.setflags(write=False)
    return ordered
