"""Two scans of one subject: the second on the grid of the first."""

from __future__ import annotations

from typing import Any

from imgtheranostics.errors import Caution, GeometryMismatch, UnsupportedInput
from imgtheranostics.volume import Estimate, Volume


def second_on_first(
    first: Volume, second: Volume, *, register: bool = False, mask: Volume | None = None
) -> tuple[Volume, dict[str, Any], tuple[Caution, ...]]:
    """The second scan on the grid of the first.

    Parameters
    ----------
    first, second : Volume
    register : bool
        Align rigidly and resample; otherwise only the order of the voxel axes may differ.
    mask : Volume, optional
        Where the registration looks.

    Returns
    -------
    volume, decision, warnings

    Raises
    ------
    GeometryMismatch
        If the grids differ and `register` is not asked for.
    """
    if register:
        return _registered(first, second, mask)
    same = first.grid.same_as(second.grid)
    if same:
        return second, {"rule": "one grid"}, ()
    match = first.grid.axis_match(second.grid)
    if match is not None:
        return second.reordered(match), {"rule": "one grid, voxel axes reordered"}, ()
    raise GeometryMismatch(
        "the two scans lie on different grids",
        found=str(same),
        needed=f"the same grid within {same.tolerance_mm:g} mm",
        next_step="give --register (register=True), or resample one of them first",
    )


def _registered(
    first: Volume, second: Volume, mask: Volume | None
) -> tuple[Volume, dict[str, Any], tuple[Caution, ...]]:
    from imgtheranostics.registration import register

    found = register(first, second, model="rigid", mask=mask)
    decision = {
        "rule": "rigid registration of the second scan to the first",
        "largest_displacement_mm": found.quality.largest_displacement_mm,
        "repeat_mm": found.quality.repeat_mm,
        "residual": found.quality.residual,
        "overlap": found.quality.overlap,
    }
    return found.resampled, decision, found.warnings


def estimate_on(first: Volume, second: Estimate) -> Estimate:
    """An estimate in the voxel order of a volume; GeometryMismatch when more is needed."""
    same = first.grid.same_as(second.grid)
    if same:
        return second
    match = first.grid.axis_match(second.grid)
    if match is None:
        raise GeometryMismatch(
            "the two maps lie on different grids",
            found=str(same),
            needed=f"the same grid within {same.tolerance_mm:g} mm",
            next_step="register and resample the images before they are fitted",
        )
    return Estimate(
        second.value.reordered(match),
        second.standard_error.reordered(match),
        second.flags.reordered(match),
        second.calibration_relative,
        second.decisions,
        {name: volume.reordered(match) for name, volume in second.maps.items()},
    )


def single_image(v: Volume, what: str) -> None:
    """Refuse a series where one image is needed."""
    if v.axes:
        raise UnsupportedInput(
            f"{what} must be one image",
            found=", ".join(f"{axis.name} x {len(axis)}" for axis in v.axes),
            needed="one image, or a series alone with its baseline",
            next_step="choose one image with frame(), or leave out the second scan and give --baseline",
        )
