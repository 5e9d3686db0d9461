"""Mean Z-spectra of regions with water at 0 ppm, ready to be drawn with what was measured on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.prepared_spectra import PreparedSpectra
from imgtheranostics.cest.voxel_spectra import BLOCK_VOXELS, Array
from imgtheranostics.fit import CurveFit
from imgtheranostics.mapping.region_curves import Place, region_places, typical_voxel
from imgtheranostics.regions import Regions

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

LINE_POINTS = 400
"""Points of a drawn line."""

_MOST = 0.95
_FEWEST = 4


class RegionSpectrum(NamedTuple):
    """Mean spectrum of some voxels, at the offsets where nearly all of them have a value."""

    place: Place
    offset_ppm: FloatArray
    z: FloatArray


def region_spectra(
    spectra: PreparedSpectra, regions: Regions | None, values: Array, *, single: Place | None = None
) -> list[RegionSpectrum]:
    """The mean spectrum of each region over the voxels that have a value, and that of one voxel.

    Parameters
    ----------
    spectra : PreparedSpectra
    regions : Regions, optional
        On the grid of the images.
    values : (i, j, k) ndarray
        Finite where a voxel counts.
    single : Place, optional
        The one voxel; by default that with the median value in the first region.
    """
    flat = np.asarray(values).ravel(order="F")
    usable = np.isfinite(flat) & spectra.voxels.inside.ravel(order="F")
    i, j, k = spectra.voxels.shape
    places = region_places(regions, usable)
    one = single or typical_voxel(regions, usable, flat, (i, j, k))
    found = [_mean_spectrum(spectra, place) for place in [*places, *([one] if one is not None else [])]]
    return [spectrum for spectrum in found if spectrum.offset_ppm.size >= _FEWEST]


def _mean_spectrum(spectra: PreparedSpectra, place: Place) -> RegionSpectrum:
    from imgtheranostics.cest import z_spline

    ppm = spectra.voxels.offset_ppm
    total, count = np.zeros(ppm.size), np.zeros(ppm.size, np.int64)
    for first in range(0, place.voxels.size, BLOCK_VOXELS):
        voxels = place.voxels[first : first + BLOCK_VOXELS]
        z = spectra.voxels.curves(voxels)
        if spectra.b0_ppm is not None:
            b0 = spectra.b0_ppm.ravel(order="F")[voxels]
            z = z_spline.interpolated(z, ppm, ppm, b0).value
        measured = np.isfinite(z)
        total += np.where(measured, z, 0.0).sum(axis=0, dtype=np.float64)
        count += measured.sum(axis=0)
    kept = count >= _MOST * place.voxels.size
    return RegionSpectrum(place, ppm[kept], total[kept] / count[kept])


def contrast_curves(
    spectra: PreparedSpectra,
    regions: Regions | None,
    values: Array,
    quantity: str,
    *,
    suffix: str,
    marks: tuple[float, ...],
    measure: Callable[[FloatArray, FloatArray, IndexArray], tuple[float, float]],
    single: Place | None = None,
) -> tuple[CurveFit, ...]:
    """Mean spectra with their splines and their asymmetry.

    Parameters
    ----------
    quantity : str
        That the contrast at the first offset is of.
    suffix : str
        Added to the labels.
    marks : tuple of float
        Offsets in ppm that the contrast is read at.
    measure : callable
        ``measure(z, offset_ppm, voxels)`` gives the contrast of a mean spectrum and its standard error.
    single : Place, optional
        As in `region_spectra`.

    Returns
    -------
    tuple of CurveFit
        `line` is the spline through the samples, so that `fitted` equals `measured`; `parts` hold
        ``mtr_asym`` at the downfield offsets, as fraction, NaN elsewhere.
    """
    from imgtheranostics.cest import z_spline

    found = []
    for place, ppm, z in region_spectra(spectra, regions, values, single=single):
        line_x = np.linspace(ppm[0], ppm[-1], LINE_POINTS)
        line = z_spline.interpolated(z[np.newaxis], ppm, line_x).value[0]
        asymmetry = np.full(line_x.size, np.nan)
        downfield = line_x > 0
        if downfield.any():
            asymmetry[downfield] = z_spline.asymmetry(z[np.newaxis], ppm, line_x[downfield]).value[0]
        value, error = measure(z, ppm, place.voxels)
        found.append(
            CurveFit(
                label=f"{place.label}{suffix}",
                quantity=quantity,
                axis="saturation_offset",
                axis_unit="ppm",
                x=ppm,
                measured=z,
                fitted=z.copy(),
                line_x=line_x,
                line=np.asarray(line, np.float64),
                unit="1",
                value=value,
                standard_error=error,
                n_voxels=int(place.voxels.size),
                parts={"mtr_asym": asymmetry},
                marks=marks,
            )
        )
    return tuple(found)
