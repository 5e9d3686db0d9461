"""Scatter in a photopeak window, estimated from narrow windows beside it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import NuclearAcquisition
from imgtheranostics.errors import Caution, GeometryMismatch, ImplausibleValue, MissingMetadata
from imgtheranostics.nuclear.counting_errors import counting_variance
from imgtheranostics.volume import Estimate, Flag, Volume, make_step

FloatArray = npt.NDArray[np.float64]
Limits = tuple[float, float]

STEP = "triple_energy_window"


def triple_energy_window(
    peak: Volume,
    lower: Volume,
    upper: Volume | None = None,
    *,
    windows_kev: tuple[Limits, ...] | None = None,
    non_negative: bool = False,
) -> Estimate:
    """Counts of a photopeak without scatter, by two narrow windows on its sides.

    The scatter is the trapezoid under the peak: w/2 (C_lower/w_lower + C_upper/w_upper) [1]_. Without an
    upper window it is a triangle that ends at zero, for a peak with nothing above it, as that of 99mTc alone.

    Parameters
    ----------
    peak, lower, upper : Volume
        Counts, or counts per second, of the windows of one scan.
    windows_kev : tuple of (float, float), optional
        Lower and upper limit of each; by default those of the records.
    non_negative : bool
        Set what comes out below zero to zero; that biases weak regions upwards, and such voxels are flagged
        and have no standard error.

    Returns
    -------
    Estimate
        In the unit of `peak`, with the standard error of counting; negative voxels are flagged.

    Raises
    ------
    MissingMetadata
        If limits are not known.
    ImplausibleValue
        If the windows do not lie beside the peak, or counts are negative.
    GeometryMismatch, UnitMismatch
        If the images do not go together, or hold no counts.

    References
    ----------
    .. [1] Ogawa K et al., IEEE Trans Med Imaging 1991, doi:10.1109/42.97591.
    """
    images = [peak, lower] if upper is None else [peak, lower, upper]
    limits = _limits(images, windows_kev)
    _check_beside(limits)
    for other in images[1:]:
        if not peak.grid.same_as(other.grid) or other.shape != peak.shape or other.unit != peak.unit:
            raise GeometryMismatch(
                "the energy windows do not go together",
                found=f"{other.shape} {other.unit} against {peak.shape} {peak.unit}",
                needed="windows of one scan",
            )
    widths = [high - low for low, high in limits]
    factors = [1.0, *(-widths[0] / (2.0 * width) for width in widths[1:])]
    value = np.zeros(peak.shape, order="F")
    variance = np.zeros(peak.shape, order="F")
    cautions: tuple[Caution, ...] = ()
    for image, factor in zip(images, factors, strict=True):
        spread, found = counting_variance(image)
        value += factor * image.data.astype(np.float64)
        variance += factor**2 * spread
        cautions = tuple(dict.fromkeys((*cautions, *found)))
    error = np.sqrt(variance)
    flags = np.where(np.isfinite(value), 0, Flag.INVALID_INPUT.value).astype(np.uint16)
    negative = value < 0
    flags[negative] |= Flag.NEGATIVE_AMPLITUDE.value
    if non_negative:
        value[negative], error[negative] = 0.0, math.nan
        text = "scatter was kept from making counts negative: means over weak regions are biased upwards"
        cautions = (*cautions, Caution("non-negative-bias", text))
    error[~np.isfinite(value)] = math.nan
    step = make_step(
        STEP, windows_kev=[list(pair) for pair in limits], factors=factors, non_negative=non_negative
    )
    image = peak.derived(np.asfortranarray(value, np.float32), peak.quantity, peak.unit, step)
    image = image.with_warnings(*cautions)
    return Estimate(
        image,
        image.replace(data=np.asfortranarray(error, np.float32)),
        image.replace(data=np.asfortranarray(flags), quantity="flags", unit="1"),
        0.0,
        {
            "scatter": {
                "rule": "triple energy window" if upper is not None else "triangle",
                "factors": factors,
            }
        },
    )


def _limits(images: list[Volume], given: tuple[Limits, ...] | None) -> list[Limits]:
    if given is not None:
        if len(given) != len(images):
            raise ValueError(f"windows_kev has {len(given)} ranges for {len(images)} windows")
        return [(float(low), float(high)) for low, high in given]
    found = []
    for image in images:
        record = image.acquisition
        stated = record.energy_windows_kev if isinstance(record, NuclearAcquisition) else ()
        if len(stated) != 1:
            raise MissingMetadata(
                "the limits of an energy window are not known",
                where="EnergyWindowInformationSequence (0054,0012)",
                found=f"{len(stated)} ranges",
                needed="one range for each window",
                next_step="give them: windows_kev=((126, 154), (120, 126), (154, 160))",
            )
        found.append(stated[0])
    return found


def _check_beside(limits: list[Limits]) -> None:
    peak, lower, *upper = limits
    slack = 0.5
    wrong = any(not 0 < low < high for low, high in limits)
    wrong |= lower[1] > peak[0] + slack or any(low < peak[1] - slack for low, _ in upper)
    if wrong:
        raise ImplausibleValue(
            "the scatter windows do not lie on the two sides of the photopeak",
            where="energy windows",
            found="; ".join(f"{low:g}-{high:g} keV" for low, high in limits),
            needed="peak, then a window below it, then one above it",
        )
