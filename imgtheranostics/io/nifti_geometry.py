"""Where NIfTI voxels lie: sform, qform, units of length, and what to do when they contradict each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput

FloatArray = npt.NDArray[np.float64]

CONFLICT_MM = 0.1
"""Largest distance between the places that sform and qform give to a voxel without a caution."""

_LENGTH = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}
_PLAUSIBLE_SPACING_MM = (1e-4, 100.0)


def unit_of_length(code: int) -> tuple[float, tuple[Caution, ...]]:
    """Factor to mm of the spatial part of xyzt_units, and what a reader should know about it."""
    if code not in _LENGTH:
        raise CorruptInput(
            "the unit of length is not one of the format",
            where="xyzt_units",
            found=str(code),
            needed="0 (unknown), 1 (m), 2 (mm) or 3 (um)",
        )
    if code == 0:
        return 1.0, (
            Caution("length-unit-assumed", "the file states no unit of length: mm assumed", "xyzt_units"),
        )
    if code == 2:
        return 1.0, ()
    name = "m" if code == 1 else "um"
    return _LENGTH[code], (
        Caution("length-unit-converted", f"lengths converted from {name} to mm", "xyzt_units"),
    )


def read_affine(
    fields: Any, shape: tuple[int, ...], kind: str, length_factor: float
) -> tuple[FloatArray, tuple[Caution, ...]]:
    """The affine that the header means, in RAS+ mm, with cautions.

    The sform is taken when its code is set, else the qform, else the spacing alone.

    Raises
    ------
    CorruptInput
        If the transform that the header selects is not finite or has no volume, or qfac is not 1 or -1.
    """
    if kind == "Analyze":
        return _by_spacing(fields, shape, length_factor, kind)
    qfac = float(fields["pixdim"][0])
    if qfac not in (-1.0, 0.0, 1.0):
        raise CorruptInput(
            "qfac, which says whether the k axis is mirrored, is neither 1 nor -1",
            where="pixdim[0]",
            found=f"{qfac:g}",
            needed="1 or -1",
        )
    has_sform, has_qform = int(fields["sform_code"]) > 0, int(fields["qform_code"]) > 0
    if has_sform:
        sform = _sform(fields)
        cautions = _compare(sform, fields, shape, length_factor) if has_qform else ()
        return _in_mm(sform, length_factor, (*_spacing_cautions(fields, sform), *cautions))
    if has_qform:
        return _in_mm(_qform(fields), length_factor, ())
    return _by_spacing(fields, shape, length_factor, kind)


def _in_mm(
    affine: FloatArray, factor: float, cautions: tuple[Caution, ...]
) -> tuple[FloatArray, tuple[Caution, ...]]:
    affine = affine.copy()
    affine[:3] *= factor
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = _PLAUSIBLE_SPACING_MM
    if spacing.min() < low or spacing.max() > high:
        text = ", ".join(f"{value:.4g}" for value in spacing)
        cautions = (
            *cautions,
            Caution("spacing-implausible", f"voxels of {text} mm: check the unit of length", "xyzt_units"),
        )
    return affine, cautions


def _sform(fields: Any) -> FloatArray:
    affine = np.eye(4)
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        affine[row] = np.asarray(fields[name], dtype=np.float64)
    if not np.isfinite(affine).all():
        raise CorruptInput(
            "the sform is not finite",
            where="srow_x, srow_y, srow_z",
            found=str(affine[:3].tolist()),
            needed="finite numbers",
            next_step="correct the header; with sform_code 0 the qform is used",
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (lengths > 0).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6 * float(np.prod(lengths)):
        raise CorruptInput(
            "the sform is singular: voxels would have no volume",
            where="srow_x, srow_y, srow_z",
            found=str(affine[:3].tolist()),
            needed="three independent directions",
            next_step="correct the header; with sform_code 0 the qform is used",
        )
    return affine


def _qform(fields: Any) -> FloatArray:
    spacing = np.asarray(fields["pixdim"][1:4], dtype=np.float64)
    _need_spacing(spacing)
    quaternion = [float(fields[name]) for name in ("quatern_b", "quatern_c", "quatern_d")]
    origin = [float(fields[name]) for name in ("qoffset_x", "qoffset_y", "qoffset_z")]
    squares = sum(value * value for value in quaternion)
    if not all(math.isfinite(value) for value in (*quaternion, *origin)) or squares > 1 + 1e-5:
        raise CorruptInput(
            "the qform is not a rotation",
            where="quatern_b, quatern_c, quatern_d, qoffset",
            found=str([*quaternion, *origin]),
            needed="finite numbers, the squares of the quaternion at most 1",
        )
    b, c, d = quaternion
    a = math.sqrt(max(1.0 - squares, 0.0))
    if squares > 1:
        b, c, d = (value / math.sqrt(squares) for value in quaternion)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 2] *= -1.0 if float(fields["pixdim"][0]) < 0 else 1.0
    affine[:3, 3] = origin
    return affine


def _need_spacing(spacing: FloatArray) -> None:
    for axis, value in enumerate(spacing, start=1):
        if not math.isfinite(value) or value <= 0:
            raise CorruptInput(
                "the voxel spacing is not a positive number and no sform says better",
                where=f"pixdim[{axis}]",
                found=f"{value:g}",
                needed="a positive number",
            )


def _spacing_cautions(fields: Any, sform: FloatArray) -> tuple[Caution, ...]:
    """Whether pixdim, which the sform overrules, says something else."""
    stated = np.asarray(fields["pixdim"][1:4], dtype=np.float64)
    spacing = np.linalg.norm(sform[:3, :3], axis=0)
    usable = np.isfinite(stated) & (stated > 0)
    if usable.all() and (np.abs(stated - spacing) <= 1e-3 * spacing + 1e-6).all():
        return ()
    here, there = (", ".join(f"{value:.5g}" for value in group) for group in (stated, spacing))
    return (
        Caution(
            "spacing-conflict", f"pixdim says {here}, the sform {there}: the sform is used", "pixdim[1..3]"
        ),
    )


def _compare(
    sform: FloatArray, fields: Any, shape: tuple[int, ...], length_factor: float
) -> tuple[Caution, ...]:
    try:
        qform = _qform(fields)
    except CorruptInput as error:
        return (Caution("qform-unusable", f"{error.what}: the sform is used", error.where or "qform"),)
    corners = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]) * (
        np.array(shape[:3]) - 1
    )
    difference = corners @ (sform - qform)[:3, :3].T + (sform - qform)[:3, 3]
    apart = float(np.linalg.norm(difference, axis=1).max()) * length_factor
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    if apart <= CONFLICT_MM and not mirrored:
        return ()
    return (
        Caution(
            "sform-qform-conflict",
            f"sform and qform place voxels up to {apart:.4g} mm apart"
            + (" and with opposite handedness" if mirrored else "")
            + f": sform {_rows(sform)} is used, qform {_rows(qform)} is not",
            "sform, qform",
        ),
    )


def _rows(affine: FloatArray) -> str:
    return "[" + "; ".join(" ".join(f"{value:.5g}" for value in row) for row in affine[:3]) + "]"


def _by_spacing(
    fields: Any, shape: tuple[int, ...], length_factor: float, kind: str
) -> tuple[FloatArray, tuple[Caution, ...]]:
    """Spacing alone, centred, with the left-right flip that readers of Analyze files agree on."""
    spacing = np.asarray(fields["pixdim"][1:4], dtype=np.float64)
    _need_spacing(spacing)
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[:3]) - 1) / 2.0)
    caution = Caution(
        "orientation-unknown",
        f"the {kind} header says nothing of orientation or position: left and right may be exchanged",
        "sform_code, qform_code",
    )
    return _in_mm(affine, length_factor, (caution,))
