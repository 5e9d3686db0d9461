"""Arrays of other programs as optoacoustic Volumes: the order of their axes is said, never guessed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import PhotoacousticAcquisition
from imgtheranostics.errors import Caution, CorruptInput, GeometryMismatch
from imgtheranostics.io.wavelength_units import check_count, checked_nm, repeated
from imgtheranostics.io.wavelengths import sorted_by_wavelength
from imgtheranostics.volume import Axis, Volume, make_step

_SPACE = ("x", "y", "z")
_NAMES = frozenset({*_SPACE, "time", "wavelength"})


def volume_from_array(
    values: npt.ArrayLike,
    axis_order: Sequence[str],
    *,
    wavelength_nm: Sequence[float],
    spacing_mm: Sequence[float],
    time_s: Sequence[float] | None = None,
    quantity: str = "optoacoustic_signal",
    unit: str | None = None,
) -> Volume:
    """An optoacoustic Volume from an array of any order of axes.

    Simulations put the wavelength first, reconstructions frame and wavelength: nothing in the numbers tells.

    Parameters
    ----------
    values : array_like
        One dimension per name of `axis_order`.
    axis_order : sequence of str
        ``wavelength``, ``time``, ``x``, ``y`` and ``z`` in the order of the array; what is left out but for
        the wavelength has length 1.
    wavelength_nm : sequence of float
        In the order of the array.
    spacing_mm : sequence of 3 float
        Along x, y and z; the image is centred.
    time_s : sequence of float, optional
        Needed where there is a time axis.
    quantity, unit : str
        ``optoacoustic_signal`` in ``[arb'U]``, or ``optical_absorption`` in ``1/cm``.

    Returns
    -------
    Volume
        (x, y, z, time, wavelength), wavelengths rising.

    Raises
    ------
    ValueError
        If names are unknown or repeated, the wavelength is missing, or times are.
    GeometryMismatch, CorruptInput
        If the array has another number of dimensions, wavelengths or times.
    UnitMismatch
        If wavelengths are no light in nm.

    Examples
    --------
    >>> v = volume_from_array(np.zeros((2, 4, 3)), ("wavelength", "x", "y"), wavelength_nm=(800, 700),
    ...                       spacing_mm=(0.1, 0.1, 1.0))
    >>> v.shape, v.axes[0].values.tolist()
    ((4, 3, 1, 2), [700.0, 800.0])
    """
    names = list(axis_order)
    if len(set(names)) < len(names) or not set(names) <= _NAMES or "wavelength" not in names:
        raise ValueError(
            f"axis_order must name wavelength, and of {sorted(_NAMES)} each at most once: {names}"
        )
    if ("time" in names) != (time_s is not None):
        raise ValueError("time_s is needed where axis_order names time, and only there")
    array = np.asarray(values)
    if array.ndim != len(names):
        raise GeometryMismatch(
            "the array does not have one dimension per name",
            where="axis_order",
            found=f"{array.ndim} dimensions",
            needed=f"{len(names)}: {', '.join(names)}",
        )
    wanted = [*_SPACE, *(name for name in ("time", "wavelength") if name in names)]
    for name in wanted:
        if name not in names:
            names.append(name)
            array = array[..., np.newaxis]
    ordered = array.transpose([names.index(name) for name in wanted])
    wavelengths = checked_nm(list(wavelength_nm), "wavelength_nm")
    check_count(wavelengths, ordered.shape[-1], "wavelength_nm")
    axes: tuple[Axis, ...] = (Axis("wavelength", wavelengths, "nm"),)
    if time_s is not None:
        if len(time_s) != ordered.shape[3]:
            raise CorruptInput(
                "there is not one time per image", found=f"{len(time_s)} times, an axis of {ordered.shape[3]}"
            )
        axes = (Axis("time", np.asarray(time_s, dtype=np.float64), "s"), *axes)
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError("spacing_mm must be three positive numbers, along x, y and z")
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -0.5 * (np.array(ordered.shape[:3]) - 1) * spacing
    volume = Volume(
        ordered,
        affine,
        quantity,
        unit or ("1/cm" if quantity == "optical_absorption" else "[arb'U]"),
        axes,
        PhotoacousticAcquisition(wavelength_nm=tuple(float(one) for one in wavelengths)),
        history=(make_step("from_array", axis_order=list(axis_order)),),
    )
    text = "the image lies in the frame of its array: how the subject lay in it is not stated"
    cautions = (Caution("no-patient-geometry", text), *repeated(wavelengths, "wavelength_nm"))
    return sorted_by_wavelength(volume.with_warnings(*cautions))
