"""CT series of several tube voltages that are to become one Volume: they must lie on one grid."""

from __future__ import annotations

from collections.abc import Sequence

from imgtheranostics.errors import CorruptInput, GeometryMismatch
from imgtheranostics.grid import Grid
from imgtheranostics.io.dicom.planning import plan
from imgtheranostics.io.dicom.series import Series


def check_energies(several: Sequence[Series], where: str) -> None:
    """Refuse CT series that cannot be stacked along the energy, with what differs; other series pass.

    Raises
    ------
    GeometryMismatch
        If their grids differ; the message says by how much in shape, spacing, direction and origin.
    CorruptInput
        If two of them state one tube voltage, or one states none.
    """
    if any(one.modality != "CT" for one in several):
        return
    voltages = [{frame.parameters.get("energy") for frame in one.frames} for one in several]
    if any(len(found) != 1 for found in voltages):
        return  # energies within a series, which its own arrangement sorts out
    stated = [found.pop() for found in voltages]
    if len(set(stated)) == 1:
        return  # another parameter, such as time, tells them apart or does not
    if None in stated or len(set(stated)) < len(stated):
        raise CorruptInput(
            "the series to be put together do not have a tube voltage of their own each",
            where=f"{where}: KVP (0018,0060)",
            found=", ".join("none" if value is None else f"{value:g}" for value in stated),
            needed="one series per tube voltage",
            next_step="choose one series per tube voltage with series= (--series)",
        )
    first, *others = (plan(one) for one in several)
    grid = Grid((first.shape[0], first.shape[1], first.shape[2]), first.affine)
    for voltage, other in zip(stated[1:], others, strict=True):
        same = grid.same_as(Grid((other.shape[0], other.shape[1], other.shape[2]), other.affine))
        if not same:
            raise GeometryMismatch(
                "the series of the tube voltages lie on different grids",
                where=where,
                found=f"{stated[0]:g} kV and {voltage:g} kV: {same}",
                needed=f"the same grid within {same.tolerance_mm:g} mm",
                next_step="load them one by one, and register and resample one onto the other",
            )
