"""The voxels of a planned ParaVision image: value = stored number x slope + offset, frame by frame."""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue
from imgtheranostics.io.bruker.planning import BrukerPlan
from imgtheranostics.io.bruker.storage import Storage
from imgtheranostics.io.budget import check_budget
from imgtheranostics.io.nifti_voxels import not_finite_cautions
from imgtheranostics.io.offset_order import check_order
from imgtheranostics.io.pseudonym import pseudonym
from imgtheranostics.volume import Source, Volume, make_step

_IDENTIFYING = {
    "VisuSubjectId": "PatientID",
    "VisuSubjectName": "PatientName",
    "VisuSubjectBirthDate": "PatientBirthDate",
    "VisuStudyDate": "StudyDate",
    "VisuStudyUid": "StudyInstanceUID",
    "VisuUid": "SeriesInstanceUID",
    "VisuAcqDate": "AcquisitionDate",
    "VisuAcquisitionProtocol": "SeriesDescription",
}


def read(planned: BrukerPlan) -> Volume:
    """Read the voxels.

    Raises
    ------
    UnsupportedInput
        If the volume exceeds the memory budget.
    CorruptInput
        If the file is shorter than its header says.
    ImplausibleValue
        If scaled values exceed float32.
    """
    shape, storage = planned.shape, planned.storage
    check_budget(4 * math.prod(shape), where=planned.dataset.path)
    data = np.empty(shape, dtype=np.float32, order="F")
    three = len(storage.size) == 3
    with planned.dataset.path.open("rb") as stream:
        # frames in the order of the file
        for place in np.argsort(planned.chosen, axis=None, kind="stable"):
            index = np.unravel_index(int(place), planned.chosen.shape)
            target = data[(slice(None), slice(None), *((slice(None),) if three else index[:1]), *index[1:])]
            _fill(target, planned, stream, int(planned.chosen[index]))
    cautions = [*planned.cautions, *_phase_cautions(planned, data)]
    if storage.dtype.kind == "f":
        cautions += not_finite_cautions(data)
    quantity, unit = planned.quantity, planned.unit
    if any(caution.code == "phase-scale-unknown" for caution in cautions):
        quantity, unit = "signal", "[arb'U]"
    volume = Volume(
        data=data,
        affine=planned.affine,
        quantity=quantity,
        unit=unit,
        axes=planned.axes,
        acquisition=planned.acquisition,
        history=(
            make_step("load_bruker", files=len(planned.dataset.files), frames=int(planned.chosen.size)),
            make_step("scale", **_scale_parameters(planned)),
            *planned.history,
        ),
        warnings=tuple(dict.fromkeys(cautions)),
        source=_source(planned),
    )
    return volume.with_warnings(*check_order(volume))


def _fill(target: npt.NDArray[np.float32], planned: BrukerPlan, stream: BinaryIO, number: int) -> None:
    """Read one frame, scale it in float64, store it in float32."""
    storage = planned.storage
    n_bytes = storage.dtype.itemsize * math.prod(storage.size)
    stream.seek(number * n_bytes)
    raw = stream.read(n_bytes)
    if len(raw) < n_bytes:
        raise CorruptInput(
            "the file ends before the image does",
            where=str(planned.dataset.path),
            found=f"{len(raw)} bytes of frame {number}",
            needed=f"{n_bytes}",
        )
    stored = _unfolded(np.frombuffer(raw, dtype=storage.dtype), storage, number)
    # plane by plane, so that no float64 copy of a whole three-dimensional frame is made
    planes = [(..., k) for k in range(stored.shape[2])] if stored.ndim == 3 else [(...,)]
    for plane in planes:
        _scale(target[plane], stored[plane], planned, number)


def _scale(
    target: npt.NDArray[np.float32], stored: npt.NDArray[Any], planned: BrukerPlan, number: int
) -> None:
    storage = planned.storage
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = stored * storage.slope[number] + storage.offset[number]
        target[...] = scaled * planned.factor
    if not np.isfinite(target).all() and (~np.isfinite(target) & np.isfinite(stored)).any():
        raise ImplausibleValue(
            "scaled values are beyond what float32 can hold",
            where=planned.dataset.visu.where("VisuCoreDataSlope"),
            needed=f"magnitudes up to {np.finfo(np.float32).max:.4g}",
            next_step="reconstruct the images again",
        )


def _unfolded(raw: npt.NDArray[Any], storage: Storage, number: int) -> npt.NDArray[Any]:
    """One frame in the shape that the header says, without a copy."""
    swapped = storage.exchanged(number)
    shape = list(storage.size)
    if swapped is not None:
        shape[swapped[0]], shape[swapped[1]] = shape[swapped[1]], shape[swapped[0]]
    stored = raw.reshape(shape, order="F")
    if swapped is not None:
        stored = np.swapaxes(stored, *swapped)
    if storage.reversed_slices and stored.ndim == 3:
        stored = stored[:, :, ::-1]
    return stored


def _phase_cautions(planned: BrukerPlan, data: npt.NDArray[np.float32]) -> list[Caution]:
    """Phase images are angles in rad; values beyond a full turn show that these are not."""
    if planned.quantity != "phase" or not (np.abs(data) > 2 * np.pi * 1.001).any():
        return []
    return [
        Caution(
            "phase-scale-unknown",
            "phase values are on the scanner's own scale, not rad",
            "visu_pars: VisuCoreDataSlope",
        )
    ]


def _scale_parameters(planned: BrukerPlan) -> dict[str, Any]:
    """What the history keeps: one pair where all frames agree, else the range."""
    record: dict[str, Any] = {"rule": "visu_slope_offset_per_frame", "frames": int(planned.chosen.size)}
    if planned.factor != 1.0:
        record["factor"] = planned.factor
    for name, values in (("slope", planned.storage.slope), ("intercept", planned.storage.offset)):
        mine = values[planned.chosen.ravel()]
        low, high = float(mine.min()), float(mine.max())
        record[name] = low if low == high else {"minimum": low, "maximum": high}
    return record


def _source(planned: BrukerPlan) -> Source:
    visu = planned.dataset.visu
    kept = {key: text for name, key in _IDENTIFYING.items() if (text := visu.text(name))}
    kept["path"] = str(planned.dataset.path)
    subject = pseudonym(visu.text("VisuSubjectId") or "")
    return Source(files=planned.dataset.files, subject=subject, identifiers=kept)
