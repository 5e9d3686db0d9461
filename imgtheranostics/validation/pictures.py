"""What a validation report draws: a slice of each phantom, and recovery against diameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import ImgTheranosticsError
from imgtheranostics.nuclear.partial_volume import sphere_recovery
from imgtheranostics.phantom.physics import part_with
from imgtheranostics.phantom.shapes import Sphere
from imgtheranostics.phantom.spec import PhantomSpec
from imgtheranostics.phantom.templates import region_shapes
from imgtheranostics.phantom.truth import Expectation
from imgtheranostics.report.comparison import Recovery, RecoveryCurve, Triptych
from imgtheranostics.report.figures import planes
from imgtheranostics.report.figures.planes import Plane
from imgtheranostics.report.wording import number
from imgtheranostics.validation.methods import MethodMissing
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    from imgtheranostics.validation.session import Session

_FAINT = 0.02
"""Share of the highest truth from which on a voxel belongs to what the picture must show."""
_POINTS = 60
CHANGES = (
    "change",
    "region_change",
    "change_ratio",
    "change_ratio_smoothed",
    "change_ratio_two_pool",
    "fitted_change_ratio",
    "fitted_ph",
    "fitted_ratio",
    "raw_ratio_refusal",
)
"""Methods whose last image shows what they measure."""


def triptych_of(session: Session) -> list[Triptych]:
    """The slice through the first measured region; none where the truth's quantity cannot be made."""
    phantom = session.phantom
    chosen = next((e for e in phantom.truth if e.truth is not None and e.places), None)
    if chosen is None:
        return []
    volume, frame = chosen.places[-1 if chosen.method in CHANGES else 0]
    ideal = phantom.truth_map(volume)
    try:
        found = session.quantified(volume, ideal.quantity)
    except (ImgTheranosticsError, MethodMissing):
        return []
    value = found.value if isinstance(found, Estimate) else found
    truth, measured = _frame(ideal, frame), _frame(value, frame)
    threshold = _FAINT * float(np.nanmax(truth, initial=0.0))
    box = planes.box_of(truth, ideal.grid, threshold)
    stage = planes.stage_for(ideal.grid, [] if box is None else [box])
    focus = _middle(session, chosen, truth)
    normal = max((planes.CORONAL, planes.AXIAL, planes.SAGITTAL), key=lambda n: _area(stage, n))
    plane = Plane(normal, float(focus[normal]))
    up = plane.in_plane[1]
    position = f"{planes.AXIS_WORDS[normal]} = {number(plane.position_mm, 3)} mm"
    return [
        Triptych(
            slug=phantom.slug,
            level=phantom.level,
            quantity=ideal.quantity,
            unit=ideal.unit,
            truth=_picture(truth, ideal, stage, plane),
            measured=_picture(measured, value, stage, plane),
            extent_mm=stage.extent(plane),
            letters=plane.letters,
            profile_row=int(np.argmin(np.abs(stage.centres(up) - focus[up]))),
            words=f"{planes.PLANE_NAMES[normal]} slice at {position} of the image {phantom.names[volume]}",
            region=_measured_region(chosen) if _measured_region(chosen) in phantom.regions else "",
        )
    ]


def recovery_of(spec: PhantomSpec, expectation: Expectation, measured: Sequence[float]) -> Recovery | None:
    """The recovery of one sphere as a figure shows it; None for anything else."""
    if expectation.method != "recovery" or expectation.truth is None or not expectation.places:
        return None
    shapes = region_shapes(spec.template, spec.region(expectation.region))
    physics, _ = part_with(spec, expectation.places[0][0])
    fwhm_mm = physics.resolution_mm(spec)
    if len(shapes) != 1 or not isinstance(shapes[0], Sphere) or not measured or fwhm_mm <= 0:
        return None
    return Recovery(
        spec.slug,
        expectation.region,
        expectation.level,
        shapes[0].diameter_mm,
        fwhm_mm,
        expectation.truth,
        tuple(measured),
    )


def curves_of(recoveries: Sequence[Recovery]) -> list[RecoveryCurve]:
    """The closed-form curve of each resolution that occurs, over the diameters that occur."""
    curves = []
    for fwhm in sorted({item.fwhm_mm for item in recoveries}):
        sizes = [item.diameter_mm for item in recoveries if item.fwhm_mm == fwhm]
        low, high = 0.5 * min(min(sizes), 2 * fwhm), 1.2 * max(sizes)
        diameters = [float(d) for d in np.linspace(low, high, _POINTS)]
        values = [float(sphere_recovery(d, fwhm)[0]) for d in diameters]
        curves.append(RecoveryCurve(fwhm, tuple(diameters), tuple(values)))
    return curves


def _frame(volume: Volume, frame: int) -> npt.NDArray[np.float32]:
    data = volume.data
    return np.asarray(data[..., frame] if data.ndim == 4 else data)


def _area(stage: planes.Stage, normal: int) -> float:
    across, up = Plane(normal, 0.0).in_plane
    return stage.size_mm(across) * stage.size_mm(up)


def _picture(
    data: npt.NDArray[np.float32], volume: Volume, stage: planes.Stage, plane: Plane
) -> npt.NDArray[np.float64]:
    shown, inside = planes.sample(data, volume.affine, stage, plane)
    return np.where(inside, np.asarray(shown, np.float64), np.nan)


def _middle(
    session: Session, expectation: Expectation, truth: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Centre of the measured region in world mm; the highest truth where it is no region of its own."""
    regions = session.phantom.regions
    name = _measured_region(expectation)
    numbers = [number for number, known in regions.names.items() if known == name]
    voxels = np.argwhere((regions.labels == numbers[0]).any(axis=-1)) if numbers else np.empty((0, 3))
    if not len(voxels):
        highest = np.unravel_index(int(np.argmax(truth)), truth.shape)
        return regions.grid.world_mm(np.array(highest, np.float64))
    return regions.grid.world_mm(voxels.mean(axis=0))


def _measured_region(expectation: Expectation) -> str:
    return expectation.region.partition("/")[0]
