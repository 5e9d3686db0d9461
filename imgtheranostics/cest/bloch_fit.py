"""Exchange rates, fractions and relaxation of pools from Z-spectra, by the Bloch-McConnell equations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.bloch_design import TRACE, UNITS, Design, condition_number, free_parameters
from imgtheranostics.cest.bloch_search import Search, improve, minimise
from imgtheranostics.cest.pool_system import PoolSystem
from imgtheranostics.cest.pool_tables import both_maps
from imgtheranostics.cest.pulse_program import DoubleArray
from imgtheranostics.cest.pulse_train import PulseTrain
from imgtheranostics.cest.seq_protocol import Protocol
from imgtheranostics.errors import IllConditioned
from imgtheranostics.fit import Fit, FloatArray, PlanarSignal, planar, shortfall
from imgtheranostics.volume import Flag

WORST_CONDITION = 50.0
"""Condition number of the Jacobian, its columns scaled to unit length, above which parameters are not told
apart (the issue's limit for overlapping pools)."""

LARGEST_Z = 1.2
NOISE_ALONE = 1.0 / 3.0
"""Noise relative to the unsaturated signal above which a voxel holds nothing else."""

BLOCK = 128
"""Voxels that are fitted together."""

DOUBTFUL_RESIDUAL = 1.5
"""Residual relative to the given noise above which another start is tried."""


def fit(
    z: npt.ArrayLike,
    pools: PoolSystem,
    sequence: PulseTrain | Protocol | Sequence[PulseTrain | Protocol],
    *,
    free: Mapping[str, str | Sequence[str]],
    b0_ppm: npt.ArrayLike = 0.0,
    relative_b1: npt.ArrayLike = 1.0,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    noise_sd: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    workers: int | None = None,
) -> Fit:
    """Parameters of pools with which the simulation gives the measured Z-spectra, by least squares.

    Parameters
    ----------
    z : (..., n) array_like
        Mz/M0 as fraction in the order of the sequence's offsets; of several sequences one behind the other.
    pools : PoolSystem
        What is known, and where the free parameters start from.
    sequence : PulseTrain or Protocol, or a sequence of them
        Saturation; several with different B1 tell exchange rate and fraction apart.
    free : mapping of str to str or sequence of str
        Pool (``water``, ``mt`` or its name) to the names of its free parameters: ``fraction``, ``t1_s``,
        ``t2_s``, ``exchange_rate_per_s``, ``offset_ppm``; of water the times alone.
    b0_ppm, relative_b1 : (...) array_like
        Position of water and actual over nominal B1, of the leading shape of `z` or one for all.
    bounds : mapping of str to (float, float), optional
        By parameter as results are named. Usual: fractions 0 to 0.5, offsets 1 ppm around the start, the
        others a factor of 50 around it.
    noise_sd : (...) array_like, optional
        Standard deviation of the noise in z, for the standard errors; from the residuals by default.
    mask : (...) array_like of bool, optional
        Voxels to fit.
    workers : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    Fit
        ``<pool>_<parameter>``. NaN with a flag where a sample is not finite or B0 is missing (INVALID_INPUT),
        B1 is missing or not above zero (INVALID_B1), the search did not settle (NOT_CONVERGED), noise
        is all there is (BELOW_NOISE), or the voxel's parameters cannot be told apart (ILL_CONDITIONED; of a
        pool whose fraction is zero, the fraction is kept). OUTSIDE_RANGE where a sample is above 1.2. A value
        at a bound is kept, with the flag AT_BOUND and no standard error.

    Raises
    ------
    IllConditioned
        If the design cannot tell the parameters apart at their starts: overlapping pools, or a fraction and
        its exchange rate where B1 does not part them.
    ImplausibleValue
        If a B0 shift or a relative B1 is in another unit.
    ValueError
        If shapes do not fit, there are fewer samples than parameters, or a name is not known.

    Notes
    -----
    A voxel whose search does not settle, ends at a bound or leaves more than the given noise is searched once
    more, from the best of twelve other starts. Standard errors are those of the covariance s^2 (J'J)^-1 over
    `shortfall`, or with the given noise for s.
    """
    from imgtheranostics.kernels.threads import thread_limit

    sequences = (sequence,) if isinstance(sequence, (PulseTrain, Protocol)) else tuple(sequence)
    if not sequences:
        raise ValueError("no saturation sequence is given")
    design = Design.of(pools, sequences, free_parameters(pools, free, bounds))
    planes = planar(z, design.n_samples, "z", contiguous=False)
    p = len(design.parameters)
    if design.n_samples < p:
        raise ValueError(f"{p} parameters need at least {p} samples, found {design.n_samples}")
    b0, b1 = (
        planes.flat(values, name) for values, name in ((b0_ppm, "b0_ppm"), (relative_b1, "relative_b1"))
    )
    both_maps(b0, b1)
    noise = None if noise_sd is None else np.asarray(planes.flat(noise_sd, "noise_sd"), np.float64)
    if noise is not None and (noise < 0).any():
        raise ValueError("noise_sd must not be negative")
    own_b0 = np.asarray(b0, np.float64) + pools.b0_inhomogeneity_ppm
    own_b1 = np.asarray(b1, np.float64) * pools.relative_b1
    result = _Result(planes, design, noise)
    todo = result.usable(planes.chosen(mask), own_b0, own_b1)
    with thread_limit(workers):
        _check_design(design)
        for first in range(0, todo.size, BLOCK):
            index = todo[first : first + BLOCK]
            samples = np.ascontiguousarray(planes.samples[:, index].T, np.float64)
            start = np.tile(design.start, (index.size, 1))
            search = minimise(design, samples, own_b0[index], own_b1[index], start)
            doubtful = result.doubtful(index, search)
            if doubtful.size:
                improve(design, search, doubtful, samples, own_b0[index], own_b1[index])
            result.store(index, samples, search)
    return result.fit()


def _check_design(design: Design) -> None:
    """Refuse parameters that the design does not tell apart where they start."""
    start = design.start[np.newaxis].copy()
    for j, parameter in enumerate(design.parameters):
        if parameter.quantity == "fraction" and parameter.start < TRACE:
            start[0, j] = min(TRACE, parameter.high)
    b0, b1 = np.array([design.pools.b0_inhomogeneity_ppm]), np.array([design.pools.relative_b1])
    jacobian = design.jacobian(start, design.spectra(start, b0, b1), b0, b1)
    condition = float(condition_number(jacobian)[0])
    if condition > WORST_CONDITION:
        raise IllConditioned(
            "the spectra cannot tell the free parameters apart",
            where=", ".join(parameter.name for parameter in design.parameters),
            found=f"condition number {condition:.3g}",
            needed=f"at most {WORST_CONDITION:g}",
            next_step="measure at several B1, or take fewer parameters as free",
        )


class _Result:
    """Arrays of a fit, filled block by block."""

    def __init__(self, planes: PlanarSignal, design: Design, noise: DoubleArray | None) -> None:
        count, dtype = planes.n_voxels, planes.samples.dtype
        self.planes, self.design, self.noise = planes, design, noise
        self.values = np.full((len(design.parameters), count), np.nan, dtype)
        self.errors = self.values.copy()
        self.quality = np.full((2, count), np.nan, dtype)
        self.iterations = np.zeros(count, np.int32)
        self.flags = np.zeros(count, np.uint16)

    def usable(
        self, chosen: npt.NDArray[np.bool_], b0_ppm: DoubleArray, relative_b1: DoubleArray
    ) -> npt.NDArray[np.intp]:
        """Voxels that can be fitted; the others are flagged."""
        samples = self.planes.samples
        bad = ~np.isfinite(samples).all(axis=0) | ~np.isfinite(b0_ppm)
        field = ~(relative_b1 > 0)
        loud = np.zeros(bad.shape, np.bool_) if self.noise is None else self.noise > NOISE_ALONE
        if self.noise is not None:
            bad |= ~np.isfinite(self.noise)
        with np.errstate(invalid="ignore"):
            high = (samples > LARGEST_Z).any(axis=0)
        for where, flag in (
            (bad, Flag.INVALID_INPUT),
            (field, Flag.INVALID_B1),
            (loud & ~bad, Flag.BELOW_NOISE),
            (high & ~bad, Flag.OUTSIDE_RANGE),
        ):
            self.flags[chosen & where] |= flag.value
        self.flags[~chosen] = Flag.MASKED_OUT.value
        return np.flatnonzero(chosen & ~bad & ~field & ~loud)

    def doubtful(self, index: npt.NDArray[np.intp], search: Search) -> npt.NDArray[np.intp]:
        """Which of a block did not settle, lie at a bound, or leave more than noise."""
        bound = (search.inner <= self.design.lower) | (search.inner >= self.design.upper)
        doubt = ~search.settled | bound.any(axis=1)
        if self.noise is not None:
            doubt |= search.squares > self.design.n_samples * (DOUBTFUL_RESIDUAL * self.noise[index]) ** 2
        return np.flatnonzero(doubt)

    def store(self, index: npt.NDArray[np.intp], samples: DoubleArray, search: Search) -> None:
        """What was found for a block of voxels."""
        from imgtheranostics.kernels.batched_steps import variances

        design, n = self.design, self.design.n_samples
        p = len(design.parameters)
        values = design.outer(search.inner)
        bound = (search.inner <= design.lower) | (search.inner >= design.upper)
        length = (search.jacobian**2).sum(axis=1)
        free = ~bound & (length > 0)
        freedom = n - p
        rmse = np.sqrt(search.squares / n)
        condition = condition_number(search.jacobian * free[:, np.newaxis])
        vague = (condition > WORST_CONDITION) & free.any(axis=1)
        variance = search.squares / freedom if freedom > 0 else np.full(len(index), np.nan)
        shrunk = shortfall(freedom)
        if self.noise is not None:
            variance, shrunk = self.noise[index] ** 2, 1.0
        spread = np.empty((len(index), p))
        turned = np.swapaxes(search.jacobian, 1, 2)
        normal = np.ascontiguousarray(turned @ search.jacobian)
        variances(normal, free, np.ascontiguousarray(variance), spread)
        errors = np.abs(design.slope(search.inner)) * np.sqrt(spread) / shrunk
        unknown = ~bound & ((length <= 0) | vague[:, np.newaxis])
        noise_alone = rmse > NOISE_ALONE
        failed = ~search.settled | noise_alone
        values[unknown | failed[:, np.newaxis]] = np.nan
        errors[~np.isfinite(values) | bound] = np.nan
        flags = np.zeros(len(index), np.uint16)
        for where, flag in (
            (bound.any(axis=1) & ~failed, Flag.AT_BOUND),
            (unknown.any(axis=1) & ~failed, Flag.ILL_CONDITIONED),
            (~search.settled, Flag.NOT_CONVERGED),
            (noise_alone, Flag.BELOW_NOISE),
        ):
            flags[where] |= flag.value
        total = ((samples - samples.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            explained = np.where(total > 0, 1.0 - search.squares / total, np.nan)
        self.values[:, index], self.errors[:, index] = values.T, errors.T
        self.quality[:, index] = explained, rmse
        self.iterations[index] = search.iterations
        self.flags[index] |= flags

    def fit(self) -> Fit:
        """All of it in the leading shape."""
        restored = self.planes.restored
        names = [parameter.name for parameter in self.design.parameters]

        def by_name(rows: FloatArray) -> dict[str, FloatArray]:
            return {name: restored(row) for name, row in zip(names, rows, strict=True)}

        return Fit(
            parameters=by_name(self.values),
            standard_errors=by_name(self.errors),
            r_squared=restored(self.quality[0]),
            rmse=restored(self.quality[1]),
            iterations=restored(self.iterations),
            flags=restored(self.flags),
            units={parameter.name: UNITS[parameter.quantity] for parameter in self.design.parameters},
        )
