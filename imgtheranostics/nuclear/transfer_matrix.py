"""The geometric transfer matrix: true means of regions from their means in a blurred image.

The mean over region i is the sum over regions j of W_ij T_j, where W_ij is the mean over i of the blurred
region j. What no region covers is a region of its own. True means follow by the inverse of W, their errors by
the same inverse from those of the measured means.

References
----------
.. [1] Rousset OG, Ma Y, Evans AC, J Nucl Med 1998;39:904-911: the matrix and its inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, IllConditioned, merge_cautions
from imgtheranostics.nuclear.point_spread import LEAST_RECOVERY, FloatArray, PointSpread, Width
from imgtheranostics.nuclear.region_occupancy import GivenRegions, Occupancy, Tile
from imgtheranostics.regions import SIZE_UNKNOWN, STATISTICS_COLUMNS, Regions, axis_labels
from imgtheranostics.volume import Estimate, Volume

if TYPE_CHECKING:
    import pandas as pd

LARGEST_CONDITION = 100.0
"""Above it the inverse multiplies errors up to a hundredfold and is refused."""

_FEWEST_INDEPENDENT = 1.5


@dataclass(frozen=True, eq=False)
class TransferSolution:
    """True means of regions, frame by frame, and what they come from.

    Attributes
    ----------
    matrix : ndarray, shape (n_regions, n_regions)
        W of a frame without missing voxels.
    condition : ndarray, shape (n_frames,)
        Condition number of the matrix of each frame.
    true, measured, standard_error, residual_sd : ndarray, shape (n_regions, n_frames)
        Means after and before, the errors of the former, and the scatter about the model.
    valid : ndarray, shape (n_regions, n_frames)
        Voxels with a value, by share.
    """

    matrix: FloatArray
    condition: FloatArray
    true: FloatArray
    measured: FloatArray
    standard_error: FloatArray
    residual_sd: FloatArray
    valid: FloatArray

    @classmethod
    def of(cls, v: Volume, regions: Occupancy, noise: PointSpread | None) -> Self:
        """Solve for every frame of an image.

        Parameters
        ----------
        v : Volume
        regions : Occupancy
        noise : PointSpread or None
            The blur that makes the image's noise from independent voxels; None where they are independent.

        Raises
        ------
        IllConditioned
            If a region keeps too little of its signal, or the matrix cannot be inverted with sense.
        """
        matrix, sums, valid, own = _sums(v, regions)
        _check_matrix(matrix, regions.names)
        with np.errstate(divide="ignore", invalid="ignore"):
            measured = np.where(valid > 0, sums / valid, np.nan)
        true = np.full_like(measured, np.nan)
        inverses = np.full((measured.shape[1], *matrix.shape), np.nan)
        condition = np.full(measured.shape[1], np.nan)
        whole = np.linalg.inv(matrix)
        for frame in np.flatnonzero(np.isfinite(measured).all(axis=0)):
            if int(frame) in own:
                _check_matrix(own[int(frame)], regions.names)
            here = own.get(int(frame), matrix)
            inverses[frame] = np.linalg.inv(here) if int(frame) in own else whole
            condition[frame] = np.linalg.cond(here)
            true[:, frame] = inverses[frame] @ measured[:, frame]
        spread, error = _errors(v, regions, noise, true, valid, inverses)
        return cls(matrix, condition, true, measured, error, spread, valid)


def gtm(
    volume: Volume | Estimate,
    rois: GivenRegions,
    *,
    psf_fwhm_mm: Width,
    background: bool = True,
    noise_fwhm_mm: Width | None = None,
    subject: str | None = None,
    session: str | None = None,
) -> pd.DataFrame:
    """True mean of every region of a blurred image, by the geometric transfer matrix.

    It holds where regions, and what is between them, are uniform: draw organs and the air around a body as
    regions of their own where they differ from the rest.

    Parameters
    ----------
    volume : Volume or Estimate
        Any quantity; frames are corrected one by one. Voxels that are not finite are left out of the means.
        Negative values count as they are.
    rois : Regions, or mapping of name to mask or share
        Without overlap. Shares of voxels between 0 and 1 make better edges than masks.
    psf_fwhm_mm : float or 3 floats
        Full width at half maximum of the image's resolution along its voxel axes; the averaging over a voxel
        is part of it.
    background : bool
        Whatever no region covers is a region, ``background``. False: there is no activity.
    noise_fwhm_mm : float or 3 floats, optional
        Extent of the noise's correlation, as the width of the blur that would make it of independent voxels.
        Without it that of the resolution, as in filtered and iterative images; 0 for independent voxels.
    subject, session : str, optional
        Labels for the table.

    Returns
    -------
    pandas.DataFrame
        A row per frame and region with the columns of `imgtheranostics.regions.STATISTICS_COLUMNS`: ``mean``
        is the true one, ``sd`` the scatter of the voxels about the blurred model, and percentiles have no
        meaning. Then ``measured_mean``, ``recovery`` (share of its own signal that the region keeps) and
        ``condition``. The standard error contains the scatter through the inverse of the matrix and what
        an Estimate says that all voxels share. ``attrs`` holds ``matrix``, ``names``, ``decisions`` and
        ``warnings``.

    Raises
    ------
    IllConditioned
        If the point spread is larger than a region, a region keeps less than a tenth of its signal, or
        regions cannot be told apart.
    ImgTheranosticsError, ValueError
        As `Occupancy.of` and `PointSpread.of`.
    """
    v = volume.value if isinstance(volume, Estimate) else volume
    regions = Occupancy.of(v, rois, psf_fwhm_mm, background)
    noise, said = noise_of(v, regions, noise_fwhm_mm)
    found = TransferSolution.of(v, regions, noise)
    shared = volume.calibration_relative if isinstance(volume, Estimate) else 0.0
    cautions = merge_cautions(
        volume.warnings, rois.warnings if isinstance(rois, Regions) else (), missing_caution(v)
    )
    table = _table(v, regions, found, shared, cautions, (subject, session))
    table.attrs = {
        "matrix": found.matrix.tolist(),
        "names": list(regions.names),
        "decisions": {
            "psf": regions.spread.decision(),
            "background": {"rule": "own region" if regions.background else "none"},
            "noise": said,
        },
        "warnings": cautions,
    }
    return table


def noise_of(
    v: Volume, regions: Occupancy, fwhm_mm: Width | None
) -> tuple[PointSpread | None, dict[str, Any]]:
    """The blur of the noise, and the record of it."""
    if fwhm_mm is None:
        return regions.spread, {"rule": "correlated as the resolution"}
    if np.ndim(fwhm_mm) == 0 and fwhm_mm == 0:
        return None, {"rule": "independent voxels"}
    return PointSpread.of(v, fwhm_mm), {"rule": "given", "fwhm_mm": np.asarray(fwhm_mm).tolist()}


def missing_caution(v: Volume) -> tuple[Caution, ...]:
    """What is said where voxels have no value."""
    planar = v.planar
    unknown = sum(int(np.count_nonzero(~np.isfinite(frame))) for frame in planar)
    if not unknown:
        return ()
    text = f"{unknown} of {planar.size} voxels have no value and were left out"
    return (Caution("voxels-without-value", text),)


def frames_of(v: Volume, tile: Tile) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Values of the voxels of a tile, (n_frames, n_voxels), 0 where unknown; and which are known."""
    part = tile.of(v.planar, v.grid.shape)
    values = np.array(part, np.float64).reshape(part.shape[0], -1)
    known = np.isfinite(values)
    values[~known] = 0.0
    return values, known


def _sums(v: Volume, regions: Occupancy) -> tuple[FloatArray, FloatArray, FloatArray, dict[int, FloatArray]]:
    """W, sums and valid volumes of each region and frame, and W of those frames in which voxels miss."""
    n, n_frames = len(regions.names), v.planar.shape[0]
    products = np.zeros((n, n))
    sums, valid = np.zeros((n, n_frames)), np.zeros((n, n_frames))
    missing: dict[int, FloatArray] = {}
    for tile in regions.tiles(n_frames):
        values, known = frames_of(v, tile)
        both = np.ix_(tile.rows, tile.rows)
        products[both] += tile.sharp @ tile.blurred.T
        sums[tile.rows] += tile.sharp @ values.T
        valid[tile.rows] += tile.sharp @ known.T
        for frame in np.flatnonzero(~known.all(axis=1)).tolist():
            gaps = np.flatnonzero(~known[frame])
            missing.setdefault(frame, np.zeros((n, n)))[both] += tile.sharp[:, gaps] @ tile.blurred[:, gaps].T
    matrix = products / regions.voxels[:, np.newaxis]
    valid[valid < 1e-6] = 0.0
    own = {
        frame: (products - lost) / valid[:, frame, np.newaxis]
        for frame, lost in missing.items()
        if (valid[:, frame] > 0).all()
    }
    return matrix, sums, valid, own


class _Scatter:
    """What noise of one size in the voxels of a region adds to the covariances of the means of all.

    For every region k the sum over voxels of s_k w_i w_j, of which most are zero: only regions whose blur
    reaches into the box of k are kept.
    """

    def __init__(self, regions: Occupancy) -> None:
        wide, core = regions.reaches("box"), regions.reaches("core")[:, np.newaxis]
        meet = np.asarray(((wide[..., 0] < core[..., 1]) & (core[..., 0] < wide[..., 1])).all(axis=-1))
        n = len(regions.names)
        self.meet = np.ones((n, n), bool)
        self.meet[: len(meet), : len(meet)] = meet
        self.rows = [np.flatnonzero(row) for row in self.meet]
        self.sums = [np.zeros((rows.size, rows.size)) for rows in self.rows]

    def add(self, rows: npt.NDArray[np.intp], sharp: FloatArray, weights: FloatArray) -> None:
        """Take in the voxels of a tile, with the occupancies of some regions."""
        for row, share in zip(rows, sharp, strict=True):
            voxels = np.flatnonzero(share)
            if voxels.size:
                here = np.flatnonzero(self.meet[row, rows])
                part = weights[np.ix_(here, voxels)]
                place = np.searchsorted(self.rows[row], rows[here])
                self.sums[row][np.ix_(place, place)] += (part * share[voxels]) @ part.T

    def divide(self, power: float, size: FloatArray) -> None:
        """Take sums to means, and to noise that is blurred: by the sizes of the regions and the power."""
        for rows, sums in zip(self.rows, self.sums, strict=True):
            sums /= power * np.outer(size[rows], size[rows])

    def covariance(self, variance: FloatArray) -> FloatArray:
        """Of the means of all regions, from the variance of the voxels of each."""
        n = len(self.rows)
        total = np.zeros((n, n))
        for rows, sums, one in zip(self.rows, self.sums, variance, strict=True):
            total[np.ix_(rows, rows)] += one * sums
        return total


def _errors(
    v: Volume,
    regions: Occupancy,
    noise: PointSpread | None,
    true: FloatArray,
    valid: FloatArray,
    inverses: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Scatter of the voxels of each region about the model, and standard errors of the true means."""
    n, n_frames = true.shape
    noisy = None if noise is None else regions if noise is regions.spread else regions.blurred_by(noise)
    squares = np.zeros((n, n_frames))
    scatter = _Scatter(regions if noisy is None else noisy)
    means = np.nan_to_num(true)
    for tile in regions.tiles(n_frames, noisy):
        values, known = frames_of(v, tile)
        rest = np.where(known, values - means[tile.rows].T @ tile.blurred, 0.0)
        squares[tile.rows] += tile.sharp @ (rest**2).T
        if noisy is None:
            weights = tile.sharp
        elif noisy is regions:
            weights = tile.blurred
        else:
            weights = noisy.dense(tile.box, tile.rows, "blurred")
        scatter.add(tile.rows, tile.sharp, weights)
    size = regions.voxels
    scatter.divide(1.0 if noise is None else noise.power, size)
    alone = np.minimum(np.diag(scatter.covariance(np.ones(n))), 1 / _FEWEST_INDEPENDENT)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(valid > 0, squares / valid / (1 - alone)[:, np.newaxis], np.nan)
        scale = np.sqrt(size[:, np.newaxis] / valid)
    variance[:, np.isnan(true).any(axis=0)] = np.nan
    error = np.full_like(true, np.nan)
    for frame in np.flatnonzero(np.isfinite(true).all(axis=0)):
        inverse = inverses[frame] * scale[:, frame]
        along = inverse @ scatter.covariance(variance[:, frame])
        error[:, frame] = np.sqrt(np.maximum(np.einsum("ij,ij->i", along, inverse), 0.0))
    return np.sqrt(variance), error


def _check_matrix(matrix: FloatArray, names: tuple[str, ...]) -> None:
    recovery = np.diag(matrix)
    worst = int(np.argmin(recovery))
    if recovery[worst] < LEAST_RECOVERY:
        raise IllConditioned(
            "a region keeps too little of its signal to be corrected",
            where=names[worst],
            found=f"{100 * recovery[worst]:.2g} %",
            needed=f"at least {100 * LEAST_RECOVERY:g} %",
            next_step="join it with its neighbour, or report the uncorrected mean as a lower bound",
        )
    condition = float(np.linalg.cond(matrix))
    if not condition <= LARGEST_CONDITION:
        raise IllConditioned(
            "the regions cannot be told apart at this resolution",
            where="rois",
            found=f"condition number {condition:.3g} of the transfer matrix",
            needed=f"at most {LARGEST_CONDITION:g}",
            next_step="join regions that lie within one width of the point spread",
        )


def _table(
    v: Volume,
    regions: Occupancy,
    found: TransferSolution,
    shared: float,
    cautions: tuple[Caution, ...],
    labels: tuple[str | None, str | None],
) -> pd.DataFrame:
    import pandas as pd

    n, n_frames = found.true.shape
    axis, axis_value = zip(*axis_labels(v.axes), strict=True)
    voxel_ml = float("nan") if any(c.code in SIZE_UNKNOWN for c in v.warnings) else v.grid.voxel_volume_ml
    lost = np.rint(regions.voxels[:, np.newaxis] - found.valid).astype(int).T.ravel()
    mean = found.true.T.ravel()
    columns: dict[str, Any] = {
        "subject": v.source.subject if labels[0] is None else labels[0],
        "session": v.source.session if labels[1] is None else labels[1],
        "region": list(regions.names) * n_frames,
        "quantity": v.quantity,
        "unit": v.unit,
        "axis": np.repeat(np.array(axis, object), n),
        "axis_value": np.repeat(np.array(axis_value, np.float64), n),
        "n_voxels": np.tile(np.rint(regions.voxels).astype(np.int64), n_frames),
        "n_valid": np.rint(found.valid.T.ravel()).astype(np.int64),
        "volume_ml": np.tile(regions.voxels * voxel_ml, n_frames),
        "mean": mean,
        "sd": found.residual_sd.T.ravel(),
        "standard_error": np.hypot(found.standard_error.T.ravel(), shared * np.abs(mean)),
        **dict.fromkeys(("median", "p05", "p95", "min", "max"), np.nan),
        "flags": [f"INVALID_INPUT:{count}" if count else "" for count in lost],
        "warnings": ";".join(dict.fromkeys(caution.code for caution in cautions)),
        "measured_mean": found.measured.T.ravel(),
        "recovery": np.tile(np.diag(found.matrix), n_frames),
        "condition": np.repeat(found.condition, n),
    }
    names = [*STATISTICS_COLUMNS, "measured_mean", "recovery", "condition"]
    return pd.DataFrame(columns, columns=names, index=range(n * n_frames))
