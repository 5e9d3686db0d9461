"""Noise of images at several energies: given, of an Estimate, or estimated from soft tissue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.ct.energy_images import EnergyImages, FloatPlane, flat
from imgtheranostics.ct.noise import SOFT_TISSUE_HU
from imgtheranostics.errors import Caution, ImplausibleValue
from imgtheranostics.mapping.refusals import UnknownChoice
from imgtheranostics.volume import Estimate, Volume

DoubleArray = npt.NDArray[np.float64]

_SAMPLED = 1 << 20
_MAD_TO_SD = 1.4826022185056018
_LAG, _LAG_ACROSS = 8, 4
_FEWEST_PAIRS = 200
_ROUNDING = 1.0 / math.sqrt(12.0)
"""HU: least noise of an image beside noisy ones, that of values in whole numbers."""

_RULE = "median difference of soft-tissue voxels eight apart in a plane, or a few slices, if that is less"


@dataclass(frozen=True, eq=False)
class EnergyNoise:
    """Noise of a voxel of each image.

    Attributes
    ----------
    deviations : (n_energies,) ndarray
        HU; NaN where nothing is known. Of maps the median.
    maps : tuple of (n_voxels,) ndarray
        Noise of each voxel at each energy, where the images are Estimates.
    rule : str
    warnings : tuple of Caution
    """

    deviations: DoubleArray
    maps: tuple[FloatPlane, ...] = ()
    rule: str = ""
    warnings: tuple[Caution, ...] = ()

    @classmethod
    def of(
        cls,
        images: EnergyImages,
        noise_sd: float | Sequence[float] | None = None,
        background: Sequence[Volume] = (),
    ) -> EnergyNoise:
        """The noise that is known of these images.

        Parameters
        ----------
        images : EnergyImages
        noise_sd : float or sequence of float, optional
            Goes before everything.
        background : sequence of Volume
            Subtracted from the images: what is estimated then is the noise of the difference.

        Raises
        ------
        ImplausibleValue
            If it is negative or no number, or 0 in some images only.
        ValueError
            If there is not one for each image.
        """
        n = len(images.images)
        if noise_sd is not None:
            if np.ndim(noise_sd) > 0 and np.size(noise_sd) != n:
                raise UnknownChoice(f"noise_sd= has {np.size(noise_sd)} values for {n} images")
            given = np.array(np.broadcast_to(np.asarray(noise_sd, np.float64), (n,)))
            return cls(_checked(given, images), rule="given")
        if all(isinstance(image, Estimate) for image in images.images) and not background:
            maps = tuple(_of_estimate(image) for image in images.images if isinstance(image, Estimate))
            medians = np.array([_median(plane) for plane in maps])
            if np.isfinite(medians).all():
                return cls(_checked(medians, images), maps, "standard errors of the images, median of each")
        return cls._estimated(images, background)

    @classmethod
    def _estimated(cls, images: EnergyImages, background: Sequence[Volume]) -> EnergyNoise:
        deviations = np.array(
            [
                image_noise(volume, background[n] if background else None)
                for n, volume in enumerate(images.values)
            ]
        )
        if not np.isfinite(deviations).all():
            text = "the noise of the images is not known: all weigh the same, and errors by noise are missing"
            return cls(
                np.full(deviations.size, np.nan),
                rule="not known",
                warnings=(Caution("noise-unknown", text),),
            )
        if (deviations > 0).any():
            deviations = np.maximum(deviations, _ROUNDING)
        return cls(_checked(deviations, images), rule=_RULE)

    @property
    def judged(self) -> DoubleArray | None:
        """For the judgement of a separation: None where nothing is known."""
        return self.deviations if np.isfinite(self.deviations).all() else None

    def decision(self) -> dict[str, Any]:
        """For the record of decisions."""
        known = [None if math.isnan(sd) else sd for sd in self.deviations.tolist()]
        return {"rule": self.rule, "voxel_sd_hu": known}


def image_noise(volume: Volume, background: Volume | None = None) -> float:
    """Noise of one voxel of an image in HU, from differences of its soft tissue.

    The median absolute difference of two voxels, over sqrt(2) and scaled to a standard deviation. They lie
    eight apart in a plane, or in slices that do not overlap, where noise is hardly correlated any more;
    structure makes it larger, so that the least of the three directions counts.

    Parameters
    ----------
    volume : Volume
        Attenuation, or its change, without axes.
    background : Volume, optional
        Subtracted.

    Returns
    -------
    float
        NaN where no direction has 200 pairs of voxels from -200 to 300 HU.
    """
    thickness = getattr(volume.acquisition, "slice_thickness_mm", None) or 0.0
    across = max(_LAG_ACROSS, math.ceil(2.0 * thickness / volume.grid.spacing_mm[2]))
    least = math.nan
    for axis, lag in enumerate((_LAG, _LAG, across)):
        lag = min(lag, volume.grid.shape[axis] // 2) if axis < 2 else lag
        if not 0 < lag < volume.grid.shape[axis]:
            continue
        pairs = _apart(volume, background, axis, lag)
        if pairs.size >= _FEWEST_PAIRS:
            least = np.fmin(least, _MAD_TO_SD * float(np.median(np.abs(pairs))) / math.sqrt(2.0))
    return float(least)


def _apart(volume: Volume, background: Volume | None, axis: int, lag: int) -> DoubleArray:
    """Differences of voxels `lag` apart along an axis, both soft tissue, of about a million pairs."""
    thinner = max(1, round((volume.data.size / _SAMPLED) ** (1.0 / 3.0)))
    low, high = SOFT_TISSUE_HU
    ends = []
    for places in (slice(None, -lag), slice(lag, None)):
        window = tuple(
            slice(places.start, places.stop, thinner) if n == axis else slice(None, None, thinner)
            for n in range(3)
        )
        tissue = volume.data[window].astype(np.float64)
        tissue[~((tissue >= low) & (tissue <= high))] = np.nan
        ends.append(tissue if background is None else tissue - background.data[window])
    found = ends[1] - ends[0]
    return np.asarray(found[np.isfinite(found)])


def _checked(deviations: DoubleArray, images: EnergyImages) -> DoubleArray:
    if not (np.isfinite(deviations) & (deviations >= 0)).all():
        raise ImplausibleValue(
            "noise is given as standard deviations in HU", found=str(deviations.tolist()), needed="at least 0"
        )
    if (deviations > 0).any() and not (deviations > 0).all():
        text = ", ".join(
            f"{sd:.3g} HU at {label}" for sd, label in zip(deviations, images.labels, strict=True)
        )
        raise ImplausibleValue(
            "some images have noise and others have none, so that they cannot be weighed",
            found=text,
            needed="the noise of each image",
            next_step="give noise_sd= for each image",
        )
    return deviations


def _of_estimate(image: Estimate) -> FloatPlane:
    """Noise of each voxel: the standard error without what a calibration shares."""
    error = flat(image.standard_error)
    if not image.calibration_relative:
        return error
    shared = np.float32(image.calibration_relative) * flat(image.value)
    return np.asarray(np.sqrt(np.maximum(np.float32(0.0), error * error - shared * shared)))


def _median(plane: FloatPlane) -> float:
    """Median of what is finite, of at most a million voxels."""
    part = plane[:: max(1, plane.size // _SAMPLED)]
    finite = part[np.isfinite(part)]
    return float(np.median(finite)) if finite.size else float("nan")
