"""Two scans of one subject: the second on the grid of the first, on one scale, by one protocol."""

from __future__ import annotations

import math
from typing import Any

from imgtheranostics.agents.relaxivity import SAME_FIELD
from imgtheranostics.errors import Caution, GeometryMismatch, UnitMismatch, UnsupportedInput
from imgtheranostics.mri.protocol import FIELDS, mr_record
from imgtheranostics.volume import Estimate, Volume

_SAME_PROTOCOL = 0.01


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


def check_comparable(first: Volume, second: Volume) -> None:
    """Refuse two signals that cannot be compared: other times or angles, or display values.

    Raises
    ------
    UnitMismatch
    """
    one, other = mr_record(first), mr_record(second)
    if "philips_display" in (one.value_scale, other.value_scale):
        raise UnitMismatch(
            "display values of two scans are on scales of their own",
            where="Scale Slope (2005,100E)",
            found="a series without scale slope",
            needed="floating-point values of both scans",
            next_step="export the private elements too, or compare relaxation times instead of signals",
        )
    for name, field in FIELDS.items():
        before, after = getattr(one, name), getattr(other, name)
        if before is None or after is None or math.isclose(before, after, rel_tol=_SAME_PROTOCOL):
            continue
        raise UnitMismatch(
            f"the two scans were acquired with another {field.words}, so their signals cannot be compared",
            where=field.tag,
            found=f"{before:g} and {after:g}",
            needed="one protocol before and after",
            next_step="compare relaxation times instead of signals",
        )


def check_same_field(first: Volume, second: Volume) -> None:
    """Refuse relaxation rates of two field strengths: they differ without any agent.

    Raises
    ------
    UnitMismatch
    """
    one, other = mr_record(first).field_strength_t, mr_record(second).field_strength_t
    if one is None or other is None or math.isclose(one, other, rel_tol=SAME_FIELD):
        return
    raise UnitMismatch(
        "the two scans were acquired at different field strengths, which change the rates by themselves",
        where=FIELDS["field_strength_t"].tag,
        found=f"{one:g} and {other:g} T",
        needed="one field strength before and after",
        next_step="give scans of one scanner, or the time before the agent at this field as a number",
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
