"""Corrected Z-spectra of a scan, and maps of where water is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.prepared_spectra import Handling, PreparedSpectra
from imgtheranostics.cest.voxel_spectra import Array, VoxelMaps
from imgtheranostics.cest.water_sources import CORRECTED
from imgtheranostics.fit import Fit
from imgtheranostics.mapping.estimates import calculated_estimate
from imgtheranostics.mapping.voxels import Mask
from imgtheranostics.volume import Estimate, Flag, Step, Volume, make_step


def correct(
    v: Volume | Estimate,
    *,
    b0: str | Volume | Estimate | npt.ArrayLike | None = "auto",
    wassr: Volume | None = None,
    wasabi: Volume | None = None,
    b1: Volume | Estimate | npt.ArrayLike | None = None,
    resample_b1: bool = False,
    denoise: str | int | None = None,
    smooth: float | bool | None = None,
    m0_index: int | Sequence[int] | None = None,
    drift: str = "auto",
    mask: Mask = None,
    threshold: float | None = None,
    noise_sd: float | None = None,
    workers: int | None = None,
    average_mm: float | None = None,
) -> Estimate:
    """Z-spectra with water at 0 ppm.

    Parameters
    ----------
    v : Volume or Estimate
        Signals along ``saturation_offset``, or Z-spectra that were made before.
    b0 : str, Volume, Estimate, (i, j, k) array_like, float or None
        Where water is: ``minimum``, ``symmetry`` or ``lorentzian`` of each spectrum (of `wassr` where that is
        given); or a map, in ppm or in Hz; None leaves the spectra as they are, with a warning. ``auto`` takes
        `wassr` or `wasabi`, else the map that the sidecar names (B0Map), else the minimum.
    wassr : Volume, optional
        A scan with weak saturation close to water, along its own offsets.
    wasabi : Volume, optional
        A scan of which both B0 and B1 are fitted.
    b1 : Volume, Estimate, (i, j, k) array_like or float, optional
        Transmit field relative to nominal; else that of `wasabi`, or of the sidecar (B1Map). It is handed on;
        spectra of one B1 alone cannot be corrected for it, those of several by
        `imgtheranostics.cest.b1_maps.correct_b1`.
    resample_b1 : bool
        Bring a B1 map from another grid by linear interpolation.
    denoise : str or int, optional
        Keep so many principal components of the spectra of all voxels, before the shift: ``auto``, a
        criterion of `imgtheranostics.cest.denoising.denoise_pca`, or a number. Few components make regions
        alike that differ by less than the noise of a voxel; see there. A warning tells where neighbouring
        voxels hold a signal that was left out.
    smooth : bool or float, optional
        Smooth each spectrum by a spline, before the shift; the number is the smoothing parameter. With
        either, standard errors are those of the noise before it, an upper limit; those of a pH ratio know the
        smoothing.
    m0_index : int or sequence of int, optional
        The unsaturated images, counted from 0; by default those that the file or the offsets tell.
    drift : {"auto", "mean", "linear"}
        How several unsaturated images are used; see `imgtheranostics.cest.zspectrum.normalise`.
    mask : Volume, Regions or (i, j, k) array_like, optional
        Voxels outside are NaN and flagged.
    threshold : float, optional
        Voxels whose unsaturated signal stays below are flagged as below noise.
    noise_sd : float, optional
        Noise of a sample as fraction of the unsaturated signal; by default estimated in each voxel.
    workers : int, optional
    average_mm : float, optional
        Average the signals of neighbouring voxels of the mask with a Gaussian of this full width at half
        maximum, after `denoise` and before `smooth`: where one voxel is too noisy, as for ratios of small
        contrasts. Standard errors are those of the average; neighbours are then alike, also across borders.

    Returns
    -------
    Estimate
        ``z_spectrum`` over ascending offsets. NaN where an offset, once shifted, was not measured. `maps`
        hold ``b0_shift``, ``m0``, ``noise`` and, where known, ``relative_b1``. The standard error contains
        the noise through the interpolation, that of the unsaturated signal, and that of water's position.

    Raises
    ------
    MissingMetadata
        If offsets, the unsaturated image, or what a map in Hz needs are not known.
    GeometryMismatch
        If a map or scan lies on another grid.
    UnitMismatch, ImplausibleValue, UnsupportedInput
    """
    how = Handling(
        b0,
        wassr,
        wasabi,
        b1,
        resample_b1,
        denoise,
        smooth,
        m0_index,
        drift,
        mask,
        threshold,
        noise_sd,
        workers,
        average_mm,
    )
    return CorrectionPlan.of(v, how).estimate()


def b0_map(v: Volume | Estimate, **options: object) -> Estimate:
    """Where water is in each voxel, in ppm, with its standard error.

    Parameters
    ----------
    v : Volume or Estimate
    **options
        As `correct`.

    Returns
    -------
    Estimate
        ``b0_shift``.
    """
    return CorrectionPlan.of(v, Handling.of(options)).water_estimate()  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class CorrectionPlan:
    """The correction of one scan, ready to run."""

    spectra: PreparedSpectra
    workers: int | None = None

    @classmethod
    def of(cls, v: Volume | Estimate, how: Handling) -> CorrectionPlan:
        """From a scan and how it is to be handled."""
        return cls(how.prepare(v), how.workers)

    def _step(self) -> Step:
        water = self.spectra.water
        rule = "none" if water is None else str(water.decision.get("rule", ""))
        corrected = self.spectra.b0_ppm is not None
        return make_step(CORRECTED if corrected else "normalise", b0=rule)

    def estimate(self) -> Estimate:
        """The corrected spectra."""
        spectra = self.spectra
        n = spectra.voxels.offset_ppm.size
        shares = spectra.m0_shares
        m0_factor = None if shares is None else np.square(shares).sum(axis=1)
        compute = partial(_shifted, offset_ppm=spectra.voxels.offset_ppm, workers=self.workers)
        both = spectra.voxels.mapped(
            lambda z, maps: compute(z, maps, m0_factor=m0_factor),
            2 * n,
            b0=spectra.b0_ppm,
            b0_se=spectra.b0_se_ppm,
            noise=spectra.noise_sd,
        )
        value, error = both[..., :n], both[..., n:]
        outside = np.zeros(value.shape, np.uint16, order="F")
        outside[~np.isfinite(value)] = Flag.OUTSIDE_RANGE.value
        if spectra.water is not None:
            unknown = np.where(np.isfinite(spectra.water.ppm), np.uint16(0), spectra.water.flags)
            outside |= unknown.astype(np.uint16)[..., np.newaxis]
        fit = Fit({"z": value}, {"z": error}, value[..., 0], value[..., 0], np.zeros(1, np.int16), outside)
        step = self._step()
        return calculated_estimate(
            spectra.volume,
            fit,
            "z",
            "z_spectrum",
            step,
            spectra.chosen,
            axes=(spectra.axis,),
            decisions=spectra.all_decisions(),
            warnings=spectra.all_warnings(),
            beside=spectra.beside(step),
        )

    def water_estimate(self) -> Estimate:
        """Where water is."""
        spectra = self.spectra
        water = spectra.water
        if water is None:
            raise ValueError("water was not looked for")
        fit = Fit(
            {"b0_ppm": np.where(spectra.chosen.inside, water.ppm, np.nan)},
            {"b0_ppm": np.where(spectra.chosen.inside, water.standard_error, np.nan)},
            water.ppm,
            water.ppm,
            np.zeros(1, np.int16),
            water.flags,
        )
        return calculated_estimate(
            spectra.volume,
            fit,
            "b0_ppm",
            "b0_shift",
            make_step("b0_map", rule=str(water.decision.get("rule", ""))),
            spectra.chosen,
            axes=(),
            decisions=spectra.all_decisions(),
            warnings=spectra.all_warnings(),
        )


def _shifted(
    z: Array, maps: VoxelMaps, *, offset_ppm: Array, m0_factor: Array | None, workers: int | None
) -> Array:
    """Corrected spectra and their standard errors, side by side."""
    from imgtheranostics.cest import z_spline

    noise = np.asarray(maps["noise"], np.float64)[:, np.newaxis]
    if maps["b0"] is None:
        value, variance = np.asarray(z), np.broadcast_to(noise**2, z.shape)
    else:
        found = z_spline.interpolated(z, offset_ppm, offset_ppm, maps["b0"], workers=workers)
        value = found.value
        error = np.asarray(maps["b0_se"], np.float64)[:, np.newaxis]
        variance = noise**2 * found.variance_factor + (found.slope_per_ppm * error) ** 2
    if m0_factor is not None:
        variance = variance + (value * noise) ** 2 * m0_factor
    return np.concatenate([value, np.sqrt(variance)], axis=-1)
