"""From log-compressed grey to linear echo power, and which pixels the compression cut off.

Scanners store the logarithm of the echo. A mean over grey levels is a mean over decibels, which is low by 2.5
dB for speckle and wrong by any amount for mixed tissue: every mean of this package is taken over linear
power.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.acquisition import UltrasoundAcquisition
from imgtheranostics.errors import (
    Caution,
    ImplausibleValue,
    MissingMetadata,
    UnitMismatch,
    UnsupportedInput,
)
from imgtheranostics.volume import Step, Volume, make_step

BoolArray = npt.NDArray[np.bool_]

LINEARISE = "linearise"
"""Name of the step in the history that says how grey became power."""

LARGEST_RANGE_DB = 200.0
"""Dynamic ranges beyond this are none: 16-bit hardware reaches 100 dB."""

_EIGHT_BITS = 255.0
_LARGEST_TABLE = 1 << 16


@dataclass(frozen=True, slots=True)
class EchoScale:
    """How grey levels follow from echo power: P = 10^((DR (g/g_max)^gamma + gain)/10).

    Attributes
    ----------
    dynamic_range_db : float
        From level 0 to the largest grey level.
    grey_max : float
        Full scale of the stored range.
    gamma, gain_db : float
    """

    dynamic_range_db: float
    grey_max: float
    gamma: float = 1.0
    gain_db: float = 0.0

    def __post_init__(self) -> None:
        for name in ("dynamic_range_db", "grey_max", "gamma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be above 0, not {value:g}")
        if not math.isfinite(self.gain_db):
            raise ValueError(f"gain_db must be a number, not {self.gain_db:g}")
        if self.dynamic_range_db > LARGEST_RANGE_DB or abs(self.gain_db) > LARGEST_RANGE_DB:
            raise ImplausibleValue(
                "the log compression is not one in decibels",
                where="--dynamic-range (dynamic_range_db=), --gain (gain_db=)",
                found=f"{self.dynamic_range_db:g} dB, gain {self.gain_db:g} dB",
                needed=f"a dynamic range of at most {LARGEST_RANGE_DB:g} dB; 40 to 60 dB is usual",
            )

    def power(self, grey: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Echo power of grey levels; 10^(gain/10) for level 0."""
        share = np.asarray(grey, np.float64) / self.grey_max
        decibel = self.dynamic_range_db * share**self.gamma + self.gain_db
        return np.asarray(10.0 ** (decibel / 10.0))

    @property
    def floor(self) -> float:
        """Power of grey level 0, in float32 as images hold it: the true one is anything from 0 up to it."""
        return float(np.float32(self.power(0.0)))

    @property
    def ceiling(self) -> float:
        """Power of the largest grey level, in float32: the true one is this or anything above."""
        return float(np.float32(self.power(self.grey_max)))

    @property
    def floor_edge(self) -> float:
        """Power of grey level 1: no pixel of level 0 was above it, however the scanner rounds."""
        return float(self.power(min(1.0, self.grey_max)))

    def step(self) -> Step:
        """The entry of the history that `of` reads back."""
        return make_step(
            LINEARISE,
            dynamic_range_db=self.dynamic_range_db,
            grey_max=self.grey_max,
            gamma=self.gamma,
            gain_db=self.gain_db,
        )

    @classmethod
    def of(cls, volume: Volume) -> Self | None:
        """The scale by which the volume was linearised; None where its history does not tell."""
        names = ("dynamic_range_db", "grey_max", "gamma", "gain_db")
        for step in reversed(volume.history):
            if step.name == LINEARISE and all(name in step.parameters for name in names):
                return cls(**{name: float(step.parameters[name]) for name in names})
        return None


@dataclass(frozen=True, eq=False)
class ClippedPixels:
    """Pixels at the ends of the grey scale, whose power is only known to lie below or above it.

    Attributes
    ----------
    floor, saturated : (i, j, k, *axes) ndarray of bool
    known : bool
        Whether the volume tells; where not, both are False everywhere.
    """

    floor: BoolArray
    saturated: BoolArray
    known: bool = True

    @property
    def any_saturated(self) -> bool:
        """Whether at least one pixel is saturated."""
        return bool(self.saturated.any())


def linear_power(volume: Volume, **scale: Any) -> Volume:
    """A volume as `linearise` gives it; what is linear already stays, without saying so."""
    linear = linearise(volume, **scale)
    return volume if volume.quantity == "echo_intensity" else linear


def linearise(
    volume: Volume,
    *,
    dynamic_range_db: float | None = None,
    gamma: float = 1.0,
    gain_db: float = 0.0,
    grey_max: float | None = None,
    workers: int | None = None,
) -> Volume:
    """Linear echo power of log-compressed grey levels, or of levels in dB.

    P = 10^((DR (g/g_max)^gamma + gain)/10), so that level 0 has the power 1 without a gain. The scale is
    arbitrary: powers compare within one scan and setting, and ratios to a baseline or a reference mean
    something.

    Parameters
    ----------
    volume : Volume
        ``signal``: grey levels from 0 to `grey_max`; ``echo_level``: dB, which become 10^(L/10);
        ``echo_intensity``: linear already, which stays as it is with a caution.
    dynamic_range_db : float, optional
        Of the log compression. DICOM does not carry it; only a sidecar (``DynamicRange``) may. Needed for
        grey.
    gamma : float
        Exponent on g/g_max, that undoes a display curve.
    gain_db : float
        Added to the level: 10 dB more receive gain during one of two scans is ``gain_db=-10`` for that scan.
    grey_max : float, optional
        Full scale of the stored range; by default that of the file (bits stored), else 255 where the values
        are whole and none is above, with a caution.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    Volume
        ``echo_intensity``, unit 1; NaN stays NaN. `clipped` tells which pixels the scale cut off.

    Raises
    ------
    MissingMetadata
        If the dynamic range, or the full scale of the grey levels, is not known.
    ImplausibleValue
        If values are no grey levels of that scale, or the dynamic range is none.
    UnitMismatch
        If the volume holds another quantity.
    UnsupportedInput
        If `gamma` or `gain_db` is given for what is not grey, or the image was drawn with a colour map.
    ValueError
        If an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> grey = Volume(np.full((1, 1, 1), 128.0), np.eye(4), "signal", "[arb'U]")
    >>> round(float(linearise(grey, dynamic_range_db=60, grey_max=255).data[0, 0, 0]), 2)
    1027.46
    """
    if volume.quantity != "signal":
        return _not_grey(volume, in_vain=gamma != 1.0 or gain_db != 0.0 or grey_max is not None)
    scale, cautions = scale_of(
        volume, dynamic_range_db=dynamic_range_db, gamma=gamma, gain_db=gain_db, grey_max=grey_max
    )
    power = _power(volume, scale, workers)
    return volume.derived(power, "echo_intensity", "1", scale.step()).with_warnings(*cautions)


def clipped(volume: Volume, *, grey_max: float | None = None) -> ClippedPixels:
    """Pixels at the floor (grey 0) and at the top (grey_max) of the log compression.

    Parameters
    ----------
    volume : Volume
        Grey levels, or what `linearise` made of them.
    grey_max : float, optional
        As in `linearise`, for grey levels only.

    Returns
    -------
    ClippedPixels
        `ClippedPixels.known` is False for dB and for linear images from elsewhere.

    Raises
    ------
    MissingMetadata, UnitMismatch
        As `linearise`.
    """
    if volume.quantity == "signal":
        largest, _ = full_scale(volume, grey_max)
        return ClippedPixels(volume.data == 0, volume.data >= np.float32(largest))
    _check_quantity(volume)
    scale = EchoScale.of(volume) if volume.quantity == "echo_intensity" else None
    if scale is None:
        nowhere = np.zeros(volume.shape, np.bool_, order="F")
        return ClippedPixels(nowhere, nowhere, known=False)
    return ClippedPixels(volume.data <= np.float32(scale.floor), volume.data >= np.float32(scale.ceiling))


def scale_of(
    volume: Volume,
    *,
    dynamic_range_db: float | None,
    gamma: float = 1.0,
    gain_db: float = 0.0,
    grey_max: float | None = None,
) -> tuple[EchoScale, tuple[Caution, ...]]:
    """The scale of a grey image, from the options and its record, with what to know of it.

    Raises
    ------
    MissingMetadata
        If the dynamic range or the full scale is not known.
    """
    record = volume.acquisition
    stated = record.dynamic_range_db if isinstance(record, UltrasoundAcquisition) else None
    cautions: tuple[Caution, ...] = ()
    if dynamic_range_db is None:
        if stated is None:
            raise MissingMetadata(
                "the dynamic range of the log compression is not known; no mean of echo power can be taken",
                where="--dynamic-range (dynamic_range_db=), or DynamicRange in the sidecar",
                found="grey levels of an unknown scale; DICOM does not carry it",
                needed="the dynamic range in dB that the scanner was set to",
                next_step="give --dynamic-range DB; without it there are only statistics of log-compressed "
                "grey, labelled so (--grey-only, ultrasound.grey_table)",
            )
        dynamic_range_db = stated
    elif stated is not None and abs(stated - dynamic_range_db) > 1e-6 * stated:
        cautions = (
            Caution(
                "dynamic-range-differs",
                f"the dynamic range given, {dynamic_range_db:g} dB, is not the file's {stated:g} dB; "
                "the one given is used",
                "DynamicRange",
            ),
        )
    largest, found = full_scale(volume, grey_max)
    return EchoScale(float(dynamic_range_db), largest, float(gamma), float(gain_db)), (*cautions, *found)


def scale_decision(linear: Volume) -> dict[str, Any]:
    """How grey levels became power, for the record."""
    scale = EchoScale.of(linear)
    if scale is None:
        return {"rule": "linear or dB input, not linearised again"}
    return {
        "rule": "10^(0.1 (DR (g / g_max)^gamma + gain))",
        "dynamic_range_db": scale.dynamic_range_db,
        "grey_max": scale.grey_max,
        "gamma": scale.gamma,
        "gain_db": scale.gain_db,
    }


def full_scale(volume: Volume, grey_max: float | None = None) -> tuple[float, tuple[Caution, ...]]:
    """The largest storable grey level of a grey image.

    Raises
    ------
    MissingMetadata
        If nobody states it and the values do not look like 8 bits.
    UnsupportedInput
        If the image was drawn with a colour map.
    """
    if grey_max is not None:
        return float(grey_max), ()
    if any(caution.code == "colour-map" for caution in volume.warnings):
        raise UnsupportedInput(
            "the image is drawn with a colour map: its levels are not those of the log compression",
            where="PhotometricInterpretation (0028,0004)",
            found="luminance of colours",
            needed="an image in grey, or with a palette whose brightness grows with its index",
            next_step="export the cine in grey; or give grey_max, the luminance of the brightest colour of a "
            "map whose luminance is proportional to its level",
        )
    record = volume.acquisition
    if isinstance(record, UltrasoundAcquisition) and record.grey_max is not None:
        return float(record.grey_max), ()
    data = volume.data
    largest = float(np.fmax.reduce(data, axis=None, initial=0.0))
    if largest > _EIGHT_BITS or not _whole(data):
        raise MissingMetadata(
            "the full scale of the grey levels is not known",
            where="--grey-max (grey_max=), or GreyMax in the sidecar",
            found=f"values up to {largest:g}",
            needed="the largest grey level that the scanner can store, such as 255",
            next_step="give --grey-max, or write GreyMax into the sidecar",
        )
    caution = Caution(
        "grey-max-assumed",
        "the full scale of the grey levels is not stated: whole values up to "
        f"{largest:g} are taken as 8 bits, full scale 255",
        "GreyMax",
    )
    return _EIGHT_BITS, (caution,)


def _whole(data: npt.NDArray[Any]) -> bool:
    """Whether all values are whole or NaN; frame by frame, without a copy of all."""
    planes = data.reshape(-1, order="F")
    for first in range(0, planes.size, 1 << 20):
        part = planes[first : first + (1 << 20)]
        if ((part != np.rint(part)) & ~np.isnan(part)).any():
            return False
    return True


def _power(volume: Volume, scale: EchoScale, workers: int | None) -> npt.NDArray[np.float32]:
    from imgtheranostics.kernels.echo_power import BLOCK, linear_power
    from imgtheranostics.kernels.threads import thread_limit

    grey = volume.data.ravel(order="F")
    power = np.empty(volume.shape, np.float32, order="F")
    levels = np.arange(min(int(scale.grey_max) + 1, _LARGEST_TABLE))
    table = scale.power(levels).astype(np.float32)
    invalid = np.zeros(-(-grey.size // BLOCK), np.int64)
    with thread_limit(workers):
        linear_power(
            grey,
            table,
            scale.dynamic_range_db,
            scale.gamma,
            scale.gain_db,
            scale.grey_max,
            power.ravel(order="F"),
            invalid,
        )
    outside = int(invalid.sum())
    if outside:
        raise ImplausibleValue(
            "values are no grey levels of the scale",
            where="--grey-max (grey_max=)",
            found=f"{outside} values outside 0 to {scale.grey_max:g}, "
            f"from {np.nanmin(volume.data):g} to {np.nanmax(volume.data):g}",
            needed="grey levels from 0 to the full scale",
            next_step="give --grey-max; or, if the values are dB or linear, write Units: dB or linear into "
            "the sidecar",
        )
    return power


def _check_quantity(volume: Volume) -> None:
    if volume.quantity not in ("signal", "echo_level", "echo_intensity"):
        raise UnitMismatch(
            "this is no ultrasound image",
            found=f"{volume.quantity} [{volume.unit}]",
            needed="grey levels (signal), echo_level [dB] or echo_intensity [1]",
        )


def _not_grey(volume: Volume, *, in_vain: bool) -> Volume:
    _check_quantity(volume)
    if in_vain:
        raise UnsupportedInput(
            "gamma, gain_db and grey_max describe log-compressed grey levels, which these values are not",
            found=f"{volume.quantity} [{volume.unit}]",
            needed="grey levels (signal)",
            next_step="leave them out",
        )
    if volume.quantity == "echo_level":
        power = 10.0 ** (volume.data.astype(np.float64) / 10.0)
        if float(np.fmax.reduce(power, axis=None, initial=0.0)) > np.finfo(np.float32).max:
            raise ImplausibleValue(
                "the levels are too high to be echo levels in dB",
                found=f"up to {np.nanmax(volume.data):g} dB",
                needed="dB",
            )
        return volume.derived(power, "echo_intensity", "1", make_step("linearise_decibels"))
    if (volume.data < 0).any():
        raise ImplausibleValue(
            "linear echo power is negative", found=f"{np.nanmin(volume.data):g}", needed="values from 0"
        )
    return volume.with_warnings(
        Caution("already-linear", "the image is linear already and was not linearised again")
    )
