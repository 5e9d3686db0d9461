"""CT images at several energies from files: an energy axis, a folder with all series, or one path each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imgtheranostics.ct.saved_changes import QUANTITY, load_enhancement, saved_map
from imgtheranostics.ct.vial_calibration import VialCalibration
from imgtheranostics.errors import UnitMismatch
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Estimate, Volume


def load_energies(
    paths: Sequence[Path | str], series: str | None = None
) -> Volume | Estimate | list[Volume | Estimate]:
    """Images at several energies, to be given to `imgtheranostics.ct.decompose`.

    Parameters
    ----------
    paths : sequence of path
        One path that holds all energies: an image with an energy axis, or a folder whose series differ in
        their tube voltage; or one for each energy, scans or changes of attenuation that were saved.
    series : str, optional
        Of a single path: which of its series, by default all.

    Returns
    -------
    Volume, Estimate, or list of them

    Raises
    ------
    ValueError
        If there is no path, or `series` is given for several.
    ImgTheranosticsError
        As `imgtheranostics.load`.
    """
    if not paths:
        raise UnknownChoice("there are no images to decompose")
    if len(paths) > 1:
        if series is not None:
            raise UnknownChoice("series= chooses in one folder that holds all energies, not in several paths")
        return [load_enhancement(path) for path in paths]
    place = Path(paths[0])
    if place.is_dir() and saved_map(place, QUANTITY) == place:
        return load_enhancement(place, series or "all")
    return load_enhancement(place, series)


def arranged_calibrations(
    found: Sequence[VialCalibration], materials: Sequence[str], kvp: Sequence[float | None]
) -> dict[str, list[VialCalibration]]:
    """Calibrations of several materials at several tube voltages, in the order of the images.

    Parameters
    ----------
    found : sequence of VialCalibration
        In any order, one for each material and image.
    materials : sequence of str
    kvp : sequence of float or None
        Of the images, in order.

    Returns
    -------
    dict of str to list of VialCalibration
        As `imgtheranostics.ct.decompose` takes slopes.

    Raises
    ------
    UnitMismatch
        If an image has no calibration of a material at its tube voltage, or several have the same.
    """
    from imgtheranostics.ct.compounds import find_material
    from imgtheranostics.ct.slope import SAME_KVP

    arranged: dict[str, list[VialCalibration]] = {}
    used: set[int] = set()
    for name in materials:
        atoms = find_material(name).name
        column = []
        for voltage in kvp:
            fitting = [
                n
                for n, one in enumerate(found)
                if one.slope.material in (name, atoms)
                and voltage is not None
                and one.slope.kvp is not None
                and abs(one.slope.kvp - voltage) < SAME_KVP
            ]
            if len(fitting) != 1:
                shown = "an unknown tube voltage" if voltage is None else f"{voltage:g} kVp"
                listed = ", ".join(
                    f"{one.slope.material} at "
                    + ("an unknown voltage" if one.slope.kvp is None else f"{one.slope.kvp:g} kVp")
                    for one in found
                )
                number = "is more than one" if fitting else "is no"
                raise UnitMismatch(
                    f"there {number} calibration of {name} at {shown}",
                    found=listed or "none",
                    needed="one for each material and tube voltage",
                    next_step="calibrate with vials of this material in this beam",
                )
            column.append(found[fitting[0]])
            used.add(fitting[0])
        arranged[name] = column
    spare = [found[n].slope.material for n in range(len(found)) if n not in used]
    if spare:
        raise UnknownChoice(f"calibrations of {', '.join(spare)} would not be used")
    return arranged
