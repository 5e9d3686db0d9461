"""What a curve is made of: the image as it was loaded, and one factor per frame.

Statistics of regions scale with a positive factor, so voxels are multiplied only where slices need
different factors or a density map divides them; a long dynamic series is then read once and not copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import EmissionAcquisition
from imgtheranostics.errors import MissingMetadata, UnitMismatch
from imgtheranostics.nuclear.analysis import percent_id_per_gram, percent_id_per_ml, suv
from imgtheranostics.nuclear.calibration import calibration_uncertainty
from imgtheranostics.nuclear.decay import decay_factor
from imgtheranostics.nuclear.maps import LOWEST_DENSITY_G_ML, density_on_grid, multiplied, scaled_estimate
from imgtheranostics.nuclear.scale import image_scale
from imgtheranostics.nuclear.uptake import Choices, ScanTiming, per_voxel, time_origin_s, to_injection
from imgtheranostics.volume import Estimate, Volume, make_step

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CurveValues:
    """Voxels and what they are multiplied by.

    Attributes
    ----------
    image : Volume
    frame_factor : (n_frames,) ndarray
        Image to quantity.
    template : Estimate
        One voxel per slice: carries quantity, unit, calibration, decisions and warnings.
    """

    image: Volume
    frame_factor: FloatArray
    template: Estimate


def curve_values(
    v: Volume,
    record: EmissionAcquisition,
    quantity: str,
    timing: ScanTiming | None,
    choices: Choices,
    *,
    decay_corrected: bool,
    density_g_ml: float | Volume,
    subject: dict[str, Any],
) -> CurveValues:
    """Image and factors of one quantity, decay corrected or not.

    Parameters
    ----------
    v : Volume
    record : EmissionAcquisition
    quantity : str
    timing : ScanTiming or None
        None only for SUV series whose clocks are not usable.
    choices : Choices
    decay_corrected : bool
    density_g_ml : float or Volume
    subject : dict
        Keywords of `suv`.

    Raises
    ------
    MissingMetadata
        If the correction cannot be undone.
    UnitMismatch
        If the image does not hold the quantity.
    """
    image, density = v, density_g_ml
    if quantity == "id_per_g" and isinstance(density, Volume):
        image, density = _per_density(v, density), 1.0
    column = _one_column(v)
    if quantity == "activity_concentration":
        template = _activity(column, record, timing)
    else:
        template = _uptake(column, quantity, choices, density, subject)
    n_frames = v.shape[3] if v.axes else 1
    factor = np.asarray(template.value.data, np.float64).reshape(v.shape[2], n_frames)
    if not decay_corrected:
        since = per_voxel(column, _undone(timing, quantity))
        factor = factor * np.broadcast_to(since, column.shape).reshape(v.shape[2], n_frames)
    if (factor == factor[:1]).all():
        return CurveValues(image, factor[0], template)
    voxels = multiplied(image.data, factor.reshape((1, 1, *v.shape[2:])))
    return CurveValues(image.replace(data=voxels), np.ones(n_frames), template)


def _one_column(v: Volume) -> Volume:
    """Ones at one voxel per slice and frame, with the field of view of `v`."""
    affine = v.affine @ np.diag([v.shape[0], v.shape[1], 1.0, 1.0])
    return v.replace(data=np.ones((1, 1, *v.shape[2:]), np.float32), affine=affine)


def _per_density(v: Volume, density: Volume) -> Volume:
    known = density_on_grid(density, v)
    divisor = np.where(known >= LOWEST_DENSITY_G_ML, known, np.nan)
    return v.replace(data=np.asarray(v.data / divisor, np.float32, order="F"))


def _uptake(
    v: Volume, quantity: str, choices: Choices, density_g_ml: float | Volume, subject: dict[str, Any]
) -> Estimate:
    common: dict[str, Any] = {
        "decay_correction": choices.decay_correction,
        "strict_clock": choices.strict_clock,
    }
    if quantity == "id_per_g":
        return percent_id_per_gram(v, choices.administration, density_g_ml, **common)
    if quantity == "id_per_ml":
        return percent_id_per_ml(v, choices.administration, **common)
    return suv(v, quantity.removeprefix("suv_"), choices.administration, **common, **subject)


def _activity(v: Volume, record: EmissionAcquisition, timing: ScanTiming | None) -> Estimate:
    """Activity concentration corrected to the injection, or to the scan start where that is all."""
    scale = image_scale(v, record, dose_given=True)
    if scale.kind != "activity" or timing is None:
        raise UnitMismatch(
            "the image holds no activity concentration",
            found=f"{v.quantity} [{v.unit}]",
            needed="Bq/mL",
            next_step=f"ask for quantity='suv_{scale.kind}'",
        )
    return scaled_estimate(
        v,
        per_voxel(v, to_injection(timing) * scale.factor),
        "activity_concentration",
        "Bq/mL",
        make_step("decay_correct", to="injection" if timing.injection else "scan start"),
        relative_uncertainty=calibration_uncertainty(v),
        decisions={**timing.decisions(), "scaling": scale.decisions()},
        warnings=timing.warnings,
    )


def _undone(timing: ScanTiming | None, quantity: str) -> FloatArray:
    """Decay from the time origin to the mean of each slice and frame."""
    mid_s = None if timing is None else timing.reference.mid_s
    known = timing is not None and (timing.injection is not None or quantity == "activity_concentration")
    if timing is None or mid_s is None or not known:
        raise MissingMetadata(
            "when each frame was is not known, so the decay correction cannot be undone",
            where="AcquisitionTime (0008,0032), ActualFrameDuration (0018,1242), time of injection",
            needed="start and duration of every frame, and the injection",
            next_step="ask for decay_corrected=True, or give the administration",
        )
    return np.asarray(decay_factor(np.atleast_2d(mid_s) - time_origin_s(timing), timing.half_life.seconds))
