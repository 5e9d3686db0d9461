"""Time-intensity models fitted to many curves in blocks, and the results of a fit with their flags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from imgtheranostics.fit import Fit, shortfall
from imgtheranostics.kernels.threads import run_chunks
from imgtheranostics.mapping.voxel_blocks import Curves, stored
from imgtheranostics.ultrasound.bolus_models import BOLUS_MODELS, LANDMARKS, POWERS, landmarks
from imgtheranostics.volume import Flag

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

BLOCK_BYTES = 2 << 20
"""Size of one block of curves in float64, of which each thread has one."""

LEAST_GAIN = 40.0
"""A model must lower the sum of squares by so many variances of an independent sample, or there is no bolus:
of noise alone, even exponential speckle, the best of all places and widths explains less."""

LEAST_WIDTH = 2.5
"""Sampling intervals that a bolus must be wide at half its height: less is a single frame that stands out."""

MOST_ITERATIONS = 100

LAST_STEP, LAST_STEP_OF_IMAGES = 0.005, 0.2
"""Last step of a search in standard errors, for curves in float64 and in float32: a fifth of it is left."""

REACH_OF_IMAGES = 0.5
"""For float32, step in standard errors from the minimum of averages that needs no search of its own."""

WIDTH_LIMITS = {
    "lognormal": (0.02, 3.0),
    "gamma_variate": (1.01, 2000.0),
    "ldrw": (0.02, 2000.0),
    "first_passage": (0.02, 2000.0),
}
"""Bounds of s, a and L; where a fit ends there it is flagged."""

_TABLE_NODES = 1024
_NEARBY = 1e-5
"""Step of ln w for the slopes of the landmarks."""

_OWN_NAMES = {"lognormal": "log_mean", "gamma_variate": "amplitude"}
"""Parameters of models that do not scale with peak and time to peak."""


@dataclass(frozen=True, eq=False)
class Described:
    """Reported quantities of one block of curves, (K, m), with errors and flags."""

    rows: FloatArray
    errors: FloatArray
    squares: FloatArray
    iterations: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class _Table:
    """Landmarks of a model over ln w, for `bolus_landmarks.describe_curves`."""

    names: tuple[str, ...]
    lowest: float
    step: float
    values: FloatArray
    slopes: FloatArray
    powers: FloatArray


@lru_cache(maxsize=8)
def _table(model: str) -> _Table:
    """Values and slopes of the landmarks and of the model's own parameters at nodes of ln w."""
    low, high = np.log(WIDTH_LIMITS[model])
    nodes = np.linspace(low, high, _TABLE_NODES)
    # the ends are bounds of the width: the slope there is one-sided
    before, after = np.maximum(nodes - _NEARBY, low), np.minimum(nodes + _NEARBY, high)
    middle, early, late = (_functions(model, np.exp(place)) for place in (nodes, before, after))
    names = tuple(middle)
    values = np.array([middle[name][0] for name in names])
    slopes = np.array([(late[name][0] - early[name][0]) / (after - before) for name in names])
    powers = np.array([middle[name][1] for name in names], np.float64)
    return _Table(names, float(low), float(nodes[1] - nodes[0]), values, slopes, powers)


def _functions(model: str, w: FloatArray) -> dict[str, tuple[FloatArray, tuple[int, int, int]]]:
    """F and its powers of peak, time to peak and arrival, for everything that scales with them."""
    one, zero = np.ones(w.size), np.zeros(w.size)
    found: dict[str, tuple[FloatArray, tuple[int, int, int]]] = {
        "peak_enhancement": (one, (1, 0, 0)),
        "arrival_time_s": (zero, (0, 0, 1)),
        "peak_time_s": (one, (0, 1, 1)),
        "time_to_peak_s": (one, (0, 1, 0)),
    }
    marks = landmarks(model, w)
    found |= {name: (marks[name], (*POWERS[name], 0)) for name in LANDMARKS}
    if model == "lognormal":
        found["log_sd"] = (w, (0, 0, 0))
    elif model == "gamma_variate":
        found["exponent"] = (w, (0, 0, 0))
        found["scale_s"] = (1.0 / w, (0, 1, 0))
    else:
        share = 0.5 if model == "ldrw" else 1.5
        found["skewness"] = (w, (0, 0, 0))
        found["transit_time_s"] = ((np.sqrt(w**2 + share**2) + share) / w, (0, 1, 0))
    return found


def fit_bolus(
    curves: Curves, time_s: FloatArray, model: str, *, free_baseline: bool, unit: str, workers: int | None
) -> Fit:
    """A bolus model fitted to all chosen curves; see `imgtheranostics.ultrasound.curves.fit`."""
    table = _table(model)
    names = ("baseline", *table.names, *_own_names(model, free_baseline))

    single = curves.planes.samples.dtype == np.float32
    ends = (LAST_STEP_OF_IMAGES, REACH_OF_IMAGES) if single else (LAST_STEP, 0.0)

    def describe(rows: FloatArray) -> Described:
        return _bolus_block(rows, time_s, model, table, free_baseline, ends)

    return in_blocks(curves, names, describe, unit, workers)


def _own_names(model: str, free_baseline: bool) -> tuple[str, ...]:
    """Parameters that do not scale with peak and time to peak."""
    own = (_OWN_NAMES[model],) if model in _OWN_NAMES else ()
    return (*own, "peak_enhancement_db") if free_baseline else own


def in_blocks(
    curves: Curves,
    names: tuple[str, ...],
    describe: Callable[[FloatArray], Described],
    unit: str,
    workers: int | None,
) -> Fit:
    """Run a fit block by block and gather what it finds in the type of the signal."""
    from imgtheranostics.kernels.curve_rows import gather_rows
    from imgtheranostics.kernels.lanes import read_only

    planes = curves.planes
    samples = read_only(planes.samples)
    n, n_voxels = samples.shape
    values = np.full((len(names), n_voxels), np.nan, samples.dtype)
    errors = values.copy()
    r_squared, rmse = curves.empty_map(), curves.empty_map()
    iterations, flags = np.zeros(n_voxels, np.int32), curves.flags()
    length = max(64, BLOCK_BYTES // (8 * n))
    index = np.flatnonzero(curves.chosen)

    def work(first: int, last: int) -> None:
        here = index[first:last]
        place = slice(here[0], here[-1] + 1) if here[-1] - here[0] == here.size - 1 else here
        rows, finite = np.empty((here.size, n)), np.empty(here.size, np.bool_)
        gather_rows(samples, here, rows, finite)
        found = describe(rows)
        found.flags[~finite] = Flag.INVALID_INPUT.value
        values[:, place] = stored(found.rows, values.dtype)
        errors[:, place] = stored(found.errors, values.dtype)
        r_squared[place], rmse[place] = _goodness(found, n)
        iterations[place] = found.iterations
        flags[place] |= found.flags

    run_chunks(work, index.size, length, workers)
    return Fit(
        {name: planes.restored(row) for name, row in zip(names, values, strict=True)},
        {name: planes.restored(row) for name, row in zip(names, errors, strict=True)},
        planes.restored(r_squared),
        planes.restored(rmse),
        planes.restored(iterations),
        planes.restored(flags),
        {name: parameter_unit(name, unit) for name in names},
    )


def _goodness(found: Described, n: int) -> tuple[FloatArray, FloatArray]:
    """1 - SSE / SST and the root mean square residual; NaN where nothing was fitted."""
    fitted = np.isfinite(found.rows[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = 1.0 - found.squares[0] / found.squares[1]
    return np.where(fitted, explained, np.nan), np.where(fitted, np.sqrt(found.squares[0] / n), np.nan)


def parameter_unit(name: str, unit: str) -> str:
    """UCUM code of a parameter of a signal in `unit`; the code of products is written with a dot."""
    if name.endswith("_db"):
        return "dB"
    if name.endswith("_per_s"):
        return "1/s"
    if name.endswith("_s"):
        return "s"
    if "area" in name:
        return "s" if unit == "1" else f"{unit}.s"
    if name in ("wash_in_rate", "wash_out_rate", "relative_flow"):
        return "1/s" if unit == "1" else f"{unit}/s"
    if name in ("log_mean", "log_sd", "exponent", "skewness"):
        return "1"
    return unit


def _bolus_block(
    rows: FloatArray,
    time_s: FloatArray,
    model: str,
    table: _Table,
    free_baseline: bool,
    ends: tuple[float, float],
) -> Described:
    from imgtheranostics.kernels import bolus_fit as kernels
    from imgtheranostics.kernels.bolus_landmarks import describe_curves

    m, n = rows.shape
    values, covariances = np.empty((m, 5)), np.empty((m, 5, 5))
    statistics = np.empty((m, kernels.N_STATISTICS))
    iterations, state = np.empty(m, np.int32), np.empty(m, np.uint8)
    limits = np.log(WIDTH_LIMITS[model])
    kernels.fit_bolus(
        BOLUS_MODELS.index(model),
        free_baseline,
        time_s,
        rows,
        limits,
        MOST_ITERATIONS,
        *ends,
        values,
        covariances,
        statistics,
        iterations,
        state,
    )
    n_free = 4 + int(free_baseline)
    covariances /= shortfall(n - n_free) ** 2
    found, deviations = np.empty((2, len(table.names) + 3, m))
    describe_curves(
        BOLUS_MODELS.index(model),
        values,
        covariances,
        table.lowest,
        table.step,
        table.values,
        table.slopes,
        table.powers,
        found,
        deviations,
    )
    fwhm = found[table.names.index("full_width_half_maximum_s")]
    step = (time_s[-1] - time_s[0]) / (n - 1)
    flags = _bolus_flags(state, statistics, n - n_free, fwhm / step)
    failed = (flags & _FAILED) != 0
    if failed.any():
        found[:, failed] = np.nan
        deviations[:, failed] = np.nan
    rows_of = _rows_of(model, table, free_baseline)
    return Described(found[rows_of], deviations[rows_of], statistics[:, :2].T, iterations, flags)


def _rows_of(model: str, table: _Table, free_baseline: bool) -> list[int]:
    """Rows of `describe_curves` in the order of the names: baseline, landmarks, the model's own, dB."""
    k = len(table.names)
    rows = [k + 2, *range(k)]
    rows += [k] if model in _OWN_NAMES else []
    return [*rows, k + 1] if free_baseline else rows


_FAILED = (
    Flag.NOT_ENHANCING.value
    | Flag.NOT_CONVERGED.value
    | Flag.ILL_CONDITIONED.value
    | Flag.OUTSIDE_RANGE.value
    | Flag.INVALID_INPUT.value
)


def _bolus_flags(
    state: npt.NDArray[np.uint8], statistics: FloatArray, freedom: int, width: FloatArray
) -> npt.NDArray[np.uint16]:
    """Why a curve has no result, or why it deserves care.

    A peak at the end of the recording has not been seen: OUTSIDE_RANGE, as is one narrower than the sampling.
    """
    from imgtheranostics.kernels import bolus_fit as kernels

    bound = state // kernels.BOUND
    flags = np.zeros(state.size, np.uint16)
    rises = (state & kernels.NO_RISE) == 0
    flags[rises & ((state & kernels.CONVERGED) == 0)] |= Flag.NOT_CONVERGED.value
    flags[rises & ((state & kernels.UNDETERMINED) != 0)] |= Flag.ILL_CONDITIONED.value
    flags[rises & ((bound & 2) != 0)] |= Flag.OUTSIDE_RANGE.value
    flags[rises & (width < LEAST_WIDTH)] |= Flag.OUTSIDE_RANGE.value
    flags[rises & ((bound & 12) != 0)] |= Flag.AT_BOUND.value
    flags[~rises | ~enhancing(statistics, freedom)] = Flag.NOT_ENHANCING.value
    return flags


def enhancing(statistics: FloatArray, freedom: int) -> npt.NDArray[np.bool_]:
    """Where a model explains more than it would of correlated noise alone.

    statistics : (m, 3) ndarray
        Sums of squares of residuals and about the mean, and correlation factor, NaN where it is not known.
    """
    left, around, factor = statistics.T
    factor = np.where(np.isfinite(factor), factor, 1.0)
    return np.asarray((around - left) * max(freedom, 1) > LEAST_GAIN * factor * left)


def fit_replenishment(
    curves: Curves, since_burst_s: FloatArray, *, free_baseline: bool, unit: str, workers: int | None
) -> Fit:
    """Replenishment fitted to all chosen curves; see `imgtheranostics.ultrasound.curves.fit`."""
    names = ("baseline", "amplitude", "rate_per_s", "relative_flow", "mean_transit_time_s")

    def describe(rows: FloatArray) -> Described:
        return _replenishment_block(rows, since_burst_s, free_baseline)

    return in_blocks(curves, names, describe, unit, workers)


def _replenishment_block(rows: FloatArray, time_s: FloatArray, free_baseline: bool) -> Described:
    from imgtheranostics.kernels import replenishment_fit as kernels

    m, n = rows.shape
    values, covariances, statistics = np.empty((m, 5)), np.empty((m, 5, 5)), np.empty((m, 3))
    iterations, state = np.empty(m, np.int32), np.empty(m, np.uint8)
    kernels.fit_replenishment(
        free_baseline, time_s, rows, replenishment_rates(time_s), MOST_ITERATIONS, values, covariances,
        statistics, iterations, state,
    )  # fmt: skip
    freedom = n - 2 - int(free_baseline)
    covariances /= shortfall(freedom) ** 2
    amplitude, rate = values[:, kernels.AMPLITUDE], np.exp(values[:, kernels.LN_RATE])
    own, by_rate, both = (covariances[:, j, k] for j, k in ((0, 0), (1, 1), (0, 1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.vstack((values[:, 4], amplitude, rate, amplitude * rate, 1.0 / rate))
        flow = rate * np.sqrt(own + amplitude**2 * by_rate + 2.0 * amplitude * both)
        known = np.sqrt(covariances[:, 4, 4]) if free_baseline else np.zeros(m)
        spread = np.sqrt(by_rate)
        deviations = np.vstack((known, np.sqrt(own), rate * spread, flow, spread / rate))
    flags = np.zeros(m, np.uint16)
    rises = (state & kernels.NO_RISE) == 0
    flags[rises & ((state & kernels.CONVERGED) == 0)] |= Flag.NOT_CONVERGED.value
    flags[rises & ((state & kernels.UNDETERMINED) != 0)] |= Flag.ILL_CONDITIONED.value
    flags[rises & ((state & kernels.AT_BOUND) != 0)] |= Flag.AT_BOUND.value
    flags[~rises | ~enhancing(statistics, freedom)] = Flag.NOT_ENHANCING.value
    found[:, (flags & _FAILED) != 0] = np.nan
    deviations[~np.isfinite(found)] = np.nan
    return Described(found, deviations, statistics[:, :2].T, iterations, flags)


def replenishment_rates(since_burst_s: FloatArray) -> FloatArray:
    """Rates to start from; the first and the last are bounds: a tenth of the growth seen, or one interval."""
    duration = float(since_burst_s[-1])
    shortest = float(np.diff(since_burst_s).min())
    return np.geomspace(0.1 / duration, 5.0 / shortest, 32)
