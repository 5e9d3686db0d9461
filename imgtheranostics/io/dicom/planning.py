"""Everything about a series except its voxels: geometry, axes, scale, record; without reading a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, UnsupportedInput
from imgtheranostics.io.dicom.frames import Frame
from imgtheranostics.io.dicom.geometry import stack
from imgtheranostics.io.dicom.quantities import describe
from imgtheranostics.io.dicom.samples import arrange
from imgtheranostics.io.dicom.scaling import Scaling, series_scaling
from imgtheranostics.io.dicom.series import Series
from imgtheranostics.io.dicom.ultrasound import timed_frames
from imgtheranostics.volume import Axis, Step

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a series except its voxels.

    Attributes
    ----------
    series : Series
    affine : (4, 4) ndarray
    axes : tuple of Axis
    order : (n_slices, n_samples) ndarray
        Frame indices.
    scaling : Scaling
    quantity, unit : str
    acquisition : acquisition record
    cautions : tuple of Caution
    history : tuple of Step
        Conversions of the axes.
    """

    series: Series
    affine: FloatArray
    axes: tuple[Axis, ...]
    order: npt.NDArray[np.intp]
    scaling: Scaling
    quantity: str
    unit: str
    acquisition: Any
    cautions: tuple[Caution, ...] = ()
    history: tuple[Step, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the Volume."""
        frame = self.series.frames[0]
        return (frame.columns, frame.rows, self.order.shape[0], *(len(axis) for axis in self.axes))


def plan(series: Series, mr_scaling: str | None = None, frame_time_s: float | None = None) -> Plan:
    """Check geometry, axes, scale and metadata of a series, without reading a pixel.

    Parameters
    ----------
    series : Series
    mr_scaling : str, optional
        Which values of MR images: one of `imgtheranostics.io.dicom.scaling.MR_SCALINGS`.
    frame_time_s : float, optional
        Time between the frames of an ultrasound cine, instead of what its file says.

    Raises
    ------
    ImgTheranosticsError
        The typed refusal of whatever does not fit.
    ValueError
        If a frame time is given for what is no ultrasound cine.
    """
    if series.failure is not None:
        raise series.failure
    frames = series.frames
    where = common_place(series.files)
    _check_one_subject(frames, where)
    _check_frame_of_reference(frames, where)
    if frame_time_s is not None and series.modality != "US":
        raise ValueError("frame_time_s is that of ultrasound cines")
    cautions = timed_frames(frames, frame_time_s) if series.modality == "US" else []
    stacked = stack(frames, _thickness(frames, cautions), where)
    arrangement = arrange(frames, stacked.members, series.modality, where)
    scaling = series_scaling(frames, series.modality, mr_scaling)
    described = describe(series.modality, frames, arrangement, scaling, where)
    cautions += _header_cautions(frames, series.modality)
    return Plan(
        series=series,
        affine=stacked.affine,
        axes=described.axes,
        order=arrangement.order,
        scaling=replace(scaling, factor=described.factor),
        quantity=described.quantity,
        unit=described.unit,
        acquisition=described.acquisition,
        cautions=(*cautions, *arrangement.cautions, *scaling.cautions, *described.cautions),
        history=described.history,
    )


def common_place(files: Sequence[Path]) -> str:
    """The file, or the folder of several, as messages name it."""
    return str(files[0]) if len(files) == 1 else str(files[0].parent)


def _check_one_subject(frames: Sequence[Frame], where: str) -> None:
    if len({frame.header.text("PatientID") for frame in frames}) > 1:
        raise UnsupportedInput(
            "the images of one series name different subjects",
            where=f"{where}: PatientID (0010,0020)",
            needed="one subject per series",
        )


def _check_frame_of_reference(frames: Sequence[Frame], where: str) -> None:
    if len({frame.header.text("FrameOfReferenceUID") for frame in frames}) > 1:
        raise GeometryMismatch(
            "mixed frames of reference: the positions of the images do not compare",
            where=f"{where}: FrameOfReferenceUID (0020,0052)",
            needed="images that share one frame of reference",
            next_step="load each series on its own, and bring them together by registration",
        )


def _thickness(frames: Sequence[Frame], cautions: list[Caution]) -> float | None:
    """Slice thickness, which is the spacing of a single slice and of nothing else."""
    header = frames[0].header
    stated = frames[0].details.get("slice_thickness_mm")
    thickness = stated if isinstance(stated, float) else header.number("SliceThickness")
    if thickness is not None and thickness > 0:
        return thickness
    if len({frame.position for frame in frames}) == 1:
        cautions.append(
            Caution(
                "slice-thickness-unknown",
                "a single slice without thickness: volumes in mL cannot be computed from it",
                "SliceThickness (0018,0050)",
            )
        )
    return None


def _header_cautions(frames: Sequence[Frame], modality: str) -> list[Caution]:
    cautions = []
    headers = list(dict.fromkeys(frame.header for frame in frames))
    executable = next((header for header in headers if header.executable_preamble), None)
    if executable is not None:
        cautions.append(
            Caution(
                "executable-preamble",
                "the preamble of a file carries the signature of a program; it was not copied",
                str(executable.path),
            )
        )
    stated = {(header.text("BurnedInAnnotation") or "").upper() for header in headers}
    if "YES" in stated or (modality == "US" and "NO" not in stated):
        cautions.append(
            Caution(
                "burned-in-text",
                "the pixels may show names or dates; pictures of them are not free of identifiers",
                "BurnedInAnnotation (0028,0301)",
            )
        )
    return cautions
