"""Regions: labelled masks on a grid, overlapping or not, and the statistics of a quantity inside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, GeometryMismatch, NothingUsable
from imgtheranostics.volume import Axis, AxisMatch, Estimate, Flag, Grid, Step, Volume

if TYPE_CHECKING:
    import pandas as pd

LabelArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

_LARGEST_TABLE = 1 << 16

FWHM_PER_SD = 2.3548200450309493
"""Full width at half maximum of a Gaussian over its standard deviation, sqrt(8 ln 2)."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Named regions on one grid.

    Parameters
    ----------
    labels : (i, j, k) or (i, j, k, n_layers) array_like of int
        Region number of each voxel, 0 outside. Regions that overlap lie in different layers; a region
        number belongs to one layer.
    names : mapping of int to str
        Name of each region number, in the order in which tables list them.
    grid : Grid
    """

    labels: LabelArray
    names: Mapping[int, str]
    grid: Grid
    warnings: tuple[Caution, ...] = ()
    history: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.ndim == 3:
            labels = labels[..., np.newaxis]
        if labels.ndim != 4 or labels.shape[:3] != self.grid.shape:
            raise GeometryMismatch(
                "labels do not fit the grid", found=str(labels.shape), needed=str(self.grid.shape)
            )
        names = {int(number): str(name) for number, name in self.names.items()}
        if any(number <= 0 for number in names):
            raise ValueError("region numbers are positive; 0 is the background")
        if len(set(names.values())) != len(names):
            raise ValueError(f"region names repeat: {sorted(names.values())}")
        frozen = np.asfortranarray(labels, dtype=np.int32).view()
        frozen.setflags(write=False)
        object.__setattr__(self, "labels", frozen)
        object.__setattr__(self, "names", MappingProxyType(names))

    @classmethod
    def from_masks(
        cls, masks: Mapping[str, npt.ArrayLike], grid: Grid, *, warnings: Sequence[Caution] = ()
    ) -> Self:
        """Regions from one mask per name; masks may overlap, and NaN is outside."""
        voxels: dict[str, IndexArray] = {}
        for name, mask in masks.items():
            values = np.asarray(mask)
            if values.shape != grid.shape:
                raise GeometryMismatch(
                    "a mask does not fit the grid", found=str(values.shape), needed=str(grid.shape)
                )
            inside = (values != 0) & (values == values)
            voxels[name] = np.flatnonzero(inside.ravel(order="F"))
        return cls.from_voxel_lists(voxels, grid, warnings=warnings)

    @classmethod
    def from_voxel_lists(
        cls, voxels: Mapping[str, IndexArray], grid: Grid, *, warnings: Sequence[Caution] = ()
    ) -> Self:
        """Regions from flat Fortran-order voxel indices per name: the inverse of `voxel_lists`.

        Each region goes into the first layer in which none of its voxels is taken.
        """
        if not voxels:
            raise NothingUsable("no regions were given")
        layers: list[LabelArray] = []
        for number, inside in enumerate(voxels.values(), start=1):
            layer = next((known for known in layers if not known[inside].any()), None)
            if layer is None:
                layer = np.zeros(grid.n_voxels, np.int32)
                layers.append(layer)
            layer[inside] = number
        labels = np.stack(layers).T.reshape(*grid.shape, len(layers), order="F")
        return cls(labels, dict(enumerate(voxels, start=1)), grid, tuple(warnings))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names.values())

    def number(self, name: str) -> int:
        """The number of a region; KeyError with the known names."""
        for number, known in self.names.items():
            if known == name:
                return number
        raise KeyError(f"no region {name!r}; there are {', '.join(self.names.values())}")

    def mask(self, name: str) -> BoolArray:
        """The region as a boolean (i, j, k) array."""
        return np.asarray((self.labels == self.number(name)).any(axis=-1))

    def union(self) -> npt.NDArray[np.bool_]:
        """Voxels of any of these regions, (i, j, k); of a subset those that it names."""
        # a subset keeps the labels of the others, which are no part of it
        return np.asarray(np.isin(self.labels, list(self.names)).any(axis=-1))

    def subset(self, names: Sequence[str]) -> Self:
        """Only these regions, in this order; KeyError when one does not exist."""
        return replace(self, names={self.number(name): name for name in names})

    def reordered(self, match: AxisMatch) -> Self:
        """The same regions with the spatial axes permuted and flipped; no interpolation."""
        if match.is_identity:
            return self
        return type(self)(
            match.apply_to_array(self.labels),
            self.names,
            match.apply_to_grid(self.grid),
            self.warnings,
            self.history,
        )

    def fit_to(self, grid: Grid, *, what: str = "the image") -> Self:
        """These regions on `grid`, when that takes no more than reordering axes.

        Raises
        ------
        GeometryMismatch
            If the grids differ otherwise, with the report of what differs and by how much.
        """
        same = grid.same_as(self.grid)
        if same:
            return self
        match = grid.axis_match(self.grid)
        if match is not None:
            return self.reordered(match)
        raise GeometryMismatch(
            f"the regions lie on another grid than {what}",
            found=str(same),
            needed=f"the same grid within {same.tolerance_mm:g} mm",
            next_step="draw the regions on this image, or give --resample-rois to resample them (nearest)",
        )

    def resampled(self, grid: Grid) -> Self:
        """These regions on another grid by nearest voxel; positions outside are background."""
        from imgtheranostics.volume import make_step

        match = grid.axis_match(self.grid)
        if match is not None:
            return self.reordered(match)
        out = np.zeros((*grid.shape, self.labels.shape[3]), np.int32, order="F")
        step = np.linalg.inv(self.grid.affine) @ grid.affine
        i, j = np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij")
        extent = np.array(self.grid.shape)
        for k in range(grid.shape[2]):
            index = np.stack([i, j, np.full_like(i, k)], axis=-1) @ step[:3, :3].T + step[:3, 3]
            nearest = np.floor(index + 0.5).astype(np.int64)
            inside = ((nearest >= 0) & (nearest < extent)).all(axis=-1)
            source = nearest[inside]
            out[:, :, k, :][inside] = self.labels[source[:, 0], source[:, 1], source[:, 2], :]
        done = make_step("resample_regions", interpolation="nearest", shape=list(grid.shape))
        caution = Caution("regions-resampled", "regions were resampled to the image grid by nearest voxel")
        return type(self)(out, self.names, grid, (*self.warnings, caution), (*self.history, done))

    def _renumbered(self) -> Regions:
        """The same regions numbered from 1, for labels too large for a table."""
        numbers = np.array(sorted(self.names), np.int64)
        place = np.searchsorted(numbers, self.labels).clip(0, numbers.size - 1)
        labels = np.where(numbers[place] == self.labels, place + 1, 0)
        names = {int(np.searchsorted(numbers, number)) + 1: name for number, name in self.names.items()}
        return replace(self, labels=labels.astype(np.int32), names=names)

    def voxel_lists(self) -> list[npt.NDArray[np.int64]]:
        """Flat Fortran-order voxel indices of each region, in the order of `names`, ascending."""
        from imgtheranostics.kernels.region_statistics import count_labels, list_voxels

        lists: dict[int, IndexArray] = {}
        numbers = np.array(sorted(self.names), np.int64)
        if numbers.size and numbers[-1] > _LARGEST_TABLE:
            return self._renumbered().voxel_lists()
        for layer in range(self.labels.shape[3]):
            flat = self.labels[..., layer].ravel(order="F")
            counts = np.zeros(int(numbers[-1]) + 1 if numbers.size else 1, np.int64)
            count_labels(flat, counts)
            here = numbers[counts[numbers] > 0]
            starts = np.concatenate([[0], np.cumsum(counts[here])])
            cursor = np.full(counts.size, -1, np.int64)
            cursor[here] = starts[:-1]
            voxels = np.empty(int(starts[-1]), np.int64)
            list_voxels(flat, cursor, voxels)
            for number, start, stop in zip(here, starts[:-1], starts[1:], strict=True):
                found, earlier = voxels[start:stop], lists.get(int(number))
                lists[int(number)] = found if earlier is None else np.union1d(earlier, found)
        return [lists.get(number, np.empty(0, np.int64)) for number in self.names]


STATISTICS_COLUMNS = (
    "subject",
    "session",
    "region",
    "quantity",
    "unit",
    "axis",
    "axis_value",
    "n_voxels",
    "n_valid",
    "volume_ml",
    "mean",
    "sd",
    "standard_error",
    "median",
    "p05",
    "p95",
    "min",
    "max",
    "flags",
    "warnings",
)
"""Columns of every table of region statistics, in order."""

SIZE_UNKNOWN = ("pixel-spacing-unknown", "slice-thickness-unknown")
"""Codes of cautions of images whose voxels have no known volume."""

_TABLE_COLUMNS = ("n_valid", "mean", "sd", "min", "max", "p05", "median", "p95")
_PROBABILITIES = np.array([0.05, 0.5, 0.95])
_FEWEST_PAIRS = 30
_NEGLIGIBLE = 1e-12
_PAIRS_KEPT = 4096


def roi_statistics(
    x: Volume | Estimate,
    regions: Regions,
    *,
    resolution_mm: float | Sequence[float] | None = None,
    subject: str | None = None,
    session: str | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Statistics of a quantity in each region and at each axis value, as a tidy table.

    The standard error is that of the region's mean: the spread of the voxels over the square root of the
    effective number of independent voxels, and in quadrature the calibration part of an Estimate, which
    averaging does not reduce. Voxels of an image are correlated by its resolution: a Gaussian point spread
    of standard deviation s gives neighbours at distance d the correlation exp(-d^2 / 4 s^2).

    Parameters
    ----------
    x : Volume or Estimate
        Voxels that are not finite are counted but left out.
    regions : Regions
        On the grid of `x`; another order of the voxel axes is accepted, another grid is not.
    resolution_mm : float or 3 floats, optional
        Full width at half maximum of the image's resolution. When it is not given, the correlation between
        neighbouring voxels is estimated inside each region; real structure then counts as correlation, so
        the standard error is not underestimated.
    subject, session : str, optional
        Labels for the table; by default the pseudonym of the source.
    workers : int, optional
        Threads; the numbers do not depend on it.

    Returns
    -------
    pandas.DataFrame
        One row per region and axis value with the columns of `STATISTICS_COLUMNS`. Volumes in mL are NaN
        where the image does not state the size of its pixels; means over decibels and over log-compressed
        grey carry the warnings ``mean-of-decibels`` and ``log-compressed-grey``. ``attrs["details"]`` holds
        per row the effective number of voxels, the resolution used and the parts of the standard error.

    Raises
    ------
    GeometryMismatch
        If the regions lie on another grid.
    """
    import pandas as pd

    value = x.value if isinstance(x, Estimate) else x
    fitted = regions.fit_to(value.grid)
    voxels, starts = _concatenated(fitted.voxel_lists())
    table = _region_table(value, VoxelRuns.of_lists(voxels, starts), workers)
    correlation, chords = _neighbours(value, voxels, starts, table, resolution_mm, workers)
    together = np.prod(correlated_voxels(correlation, chords), axis=-1)
    spread = _Spread.of(x, table, together, voxels, starts)
    n_samples, n_regions = table.shape[:2]
    axis, axis_value = zip(*axis_labels(value.axes), strict=True)
    columns: dict[str, Any] = {
        "subject": subject if subject is not None else value.source.subject,
        "session": session if session is not None else value.source.session,
        "region": list(fitted) * n_samples,
        "quantity": value.quantity,
        "unit": value.unit,
        "axis": np.repeat(np.array(axis, object), n_regions),
        "axis_value": np.repeat(np.array(axis_value, np.float64), n_regions),
        "n_voxels": np.tile(np.diff(starts), n_samples),
        "n_valid": table[..., 0].ravel().astype(np.int64),
        "volume_ml": np.tile(np.diff(starts) * _voxel_volume_ml(value), n_samples),
        "standard_error": np.hypot(spread.sampling, spread.calibration).ravel(),
        "flags": _flag_columns(x, voxels, starts, n_samples),
        "warnings": ";".join(
            dict.fromkeys((*(c.code for c in (*x.warnings, *regions.warnings)), *_of_means(value)))
        ),
    }
    columns |= {name: table[..., n].ravel() for n, name in enumerate(_TABLE_COLUMNS) if name != "n_valid"}
    frame = pd.DataFrame(columns, columns=list(STATISTICS_COLUMNS), index=range(n_samples * n_regions))
    names = ("region", "axis_value", "n_effective", "standard_error_sampling", "standard_error_calibration")
    parts = (*(frame[name].to_numpy() for name in names[:2]), *(part.ravel() for part in spread))
    frame.attrs["details"] = [
        {
            **dict(zip(names, values, strict=True)),
            "neighbour_correlation": neighbours,
            "resolution": "estimated" if resolution_mm is None else "given",
        }
        for *values, neighbours in zip(
            *(part.tolist() for part in parts), correlation.reshape(-1, 3).tolist(), strict=True
        )
    ]
    return frame


def _voxel_volume_ml(value: Volume) -> float:
    """Volume of a voxel; NaN where the image does not say how large its pixels are, or how thick."""
    if any(caution.code in SIZE_UNKNOWN for caution in value.warnings):
        return float("nan")
    return value.grid.voxel_volume_ml


def _of_means(value: Volume) -> tuple[str, ...]:
    """Codes of warnings for means over a logarithmic scale, which are no means of the echo."""
    if value.unit == "dB":
        return ("mean-of-decibels",)
    if value.quantity == "signal" and getattr(value.acquisition, "modality", "") == "US":
        return ("log-compressed-grey",)
    return ()


@dataclass(frozen=True, eq=False)
class VoxelRuns:
    """Regions as runs of consecutive voxels, made once and used for every frame and scan on that grid.

    Attributes
    ----------
    first, length : (n_runs,) int64
        First voxel (flat Fortran-order index) and length of each run.
    starts : (n_regions + 1,) int64
        Where the runs of each region begin.
    counts : (n_regions,) int64
        Voxels of each region.
    """

    first: IndexArray
    length: IndexArray
    starts: IndexArray
    counts: IndexArray

    @classmethod
    def of(cls, regions: Regions) -> Self:
        """The runs of these regions, in the order of their names."""
        return cls.of_lists(*_concatenated(regions.voxel_lists()))

    @classmethod
    def of_lists(cls, voxels: IndexArray, starts: IndexArray) -> Self:
        """The runs of concatenated voxel lists, ascending within each region."""
        begins = np.empty(voxels.size, bool)
        if voxels.size:
            begins[0] = True
            np.not_equal(voxels[1:], voxels[:-1] + 1, out=begins[1:])
            begins[starts[starts < voxels.size]] = True
        places = np.flatnonzero(begins)
        length = np.diff(np.append(places, voxels.size))
        return cls(voxels[places], length, np.searchsorted(places, starts), np.diff(starts))


def region_curve(
    value: Volume, regions: Regions | VoxelRuns, *, workers: int | None = None
) -> npt.NDArray[np.float64]:
    """Mean of each region in each sample, (n_samples, n_regions): the fast way to a time-activity curve.

    Give `VoxelRuns` of regions on the grid of `value` to use them for many images.
    """
    from imgtheranostics.kernels.region_statistics import region_means
    from imgtheranostics.kernels.threads import thread_limit

    runs = regions if isinstance(regions, VoxelRuns) else VoxelRuns.of(regions.fit_to(value.grid))
    planar = value.planar
    out = np.empty((planar.shape[0], runs.counts.size))
    with thread_limit(workers):
        region_means(planar, runs.first, runs.length, runs.starts, runs.counts, out)
    return out


def _concatenated(lists: list[IndexArray]) -> tuple[IndexArray, IndexArray]:
    starts = np.concatenate([[0], np.cumsum([voxels.size for voxels in lists])]).astype(np.int64)
    return np.concatenate([np.empty(0, np.int64), *lists]), starts


def _region_table(value: Volume, runs: VoxelRuns, workers: int | None) -> npt.NDArray[np.float64]:
    from imgtheranostics.kernels.region_statistics import region_statistics
    from imgtheranostics.kernels.threads import thread_limit

    planar = value.planar
    out = np.empty((planar.shape[0], runs.counts.size, len(_TABLE_COLUMNS)))
    with thread_limit(workers):
        region_statistics(planar, runs.first, runs.length, runs.starts, runs.counts, _PROBABILITIES, out)
    return out


def _neighbours(
    value: Volume,
    voxels: IndexArray,
    starts: IndexArray,
    table: npt.NDArray[np.float64],
    resolution_mm: float | Sequence[float] | None,
    workers: int | None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Correlation of neighbours and mean chord of the region in voxels along i, j and k.

    Both (n_samples, n_regions, 3). A region of n voxels with p neighbouring pairs along an axis consists of
    n - p chords.
    """
    from imgtheranostics.kernels.region_statistics import neighbour_pairs, neighbour_products
    from imgtheranostics.kernels.threads import thread_limit

    n_regions = starts.size - 1
    first, second = np.empty((2, n_regions, 3, _PAIRS_KEPT), np.int64)
    n_pairs = np.empty((n_regions, 3), np.int64)
    with thread_limit(workers):
        neighbour_pairs(voxels, starts, np.array(value.grid.shape, np.int64), first, second, n_pairs)
    count = np.diff(starts)[:, np.newaxis]
    chords = np.broadcast_to(
        np.where(count > 0, count / np.maximum(count - n_pairs, 1), 1.0), (*table.shape[:2], 3)
    )
    if resolution_mm is not None:
        sd_mm = np.broadcast_to(np.asarray(resolution_mm, np.float64), (3,)) / FWHM_PER_SD
        with np.errstate(divide="ignore"):
            known = np.exp(-((np.array(value.grid.spacing_mm) / (2.0 * sd_mm)) ** 2))
        return np.broadcast_to(known, chords.shape), chords
    products = np.empty((*table.shape[:2], 3, 2))
    with thread_limit(workers):
        neighbour_products(value.planar, first, second, table[..., 1], products)
    pairs, sums = products[..., 1], products[..., 0]
    variance = (table[..., 2] ** 2)[..., np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        own = sums / pairs / variance
        seen = pairs > 0
        pooled = np.sum(np.where(seen, sums, 0.0), axis=1, keepdims=True) / np.nansum(
            np.where(seen, pairs * variance, 0.0), axis=1, keepdims=True
        )
    estimate = np.where(pairs >= _FEWEST_PAIRS, own, np.broadcast_to(pooled, own.shape))
    return np.asarray(np.clip(np.nan_to_num(estimate, nan=0.0), 0.0, 0.9999)), chords


def correlated_voxels(
    neighbour: npt.ArrayLike, chord: npt.ArrayLike = np.inf, limit: int = 200
) -> npt.NDArray[np.float64]:
    """Voxels along one axis that count as one in a mean over a chord of that length.

    The sum over lags k of ``(1 - k / chord) neighbour^(k^2)``, the Gaussian correlation weighted by how many
    pairs of that lag the chord holds.

    >>> correlated_voxels([0.0, 0.5]).round(4).tolist()
    [1.0, 2.1289]
    """
    given = np.asarray(neighbour, np.float64)
    largest = float(np.clip(np.max(given, initial=0.0), 1e-300, 1.0 - 1e-9))
    reach = int(np.ceil(np.sqrt(np.log(_NEGLIGIBLE) / np.log(largest)))) + 1
    lags = np.arange(1, min(limit, reach), dtype=np.float64)
    correlation = given[..., np.newaxis] ** (lags**2)
    pairs = np.clip(1.0 - lags / np.asarray(chord, np.float64)[..., np.newaxis], 0.0, 1.0)
    return np.asarray(1.0 + 2.0 * np.sum(pairs * correlation, axis=-1))


class _Spread(NamedTuple):
    """Effective number of voxels and the two parts of the standard error, each (n_samples, n_regions)."""

    n_effective: npt.NDArray[np.float64]
    sampling: npt.NDArray[np.float64]
    calibration: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls,
        x: Volume | Estimate,
        table: npt.NDArray[np.float64],
        together: npt.NDArray[np.float64],
        voxels: IndexArray,
        starts: IndexArray,
    ) -> Self:
        """From the spread of the voxels; `together` voxels count as one.

        The spread of n voxels around their own mean falls short of the variance by the variance of that
        mean, so ``SE^2 = SD^2 (n - 1) / (n (n_eff - 1))``. A region within one resolution element has no
        spread to tell; n_eff is then taken as 1.5. A single voxel takes its own standard error.
        """
        n_valid, mean, sd = (table[..., n] for n in range(3))
        n_effective = np.where(n_valid > 0, np.clip(n_valid / together, 1.0, np.maximum(n_valid, 1.0)), 0.0)
        calibration = np.zeros_like(mean)
        if isinstance(x, Estimate):
            calibration = x.calibration_relative * np.abs(mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            independent = np.maximum(n_effective, 1.5) - 1.0
            sampling = np.where(n_valid > 1, sd * np.sqrt((n_valid - 1.0) / n_valid / independent), np.nan)
        if isinstance(x, Estimate):
            for sample, region in np.argwhere(n_valid == 1):
                inside = voxels[starts[region] : starts[region + 1]]
                errors = x.standard_error.planar[sample, inside].astype(np.float64)
                known = errors[np.isfinite(errors)]
                if known.size:  # else nobody knows the error of the one voxel
                    own = max(0.0, float(known.max()) ** 2 - calibration[sample, region] ** 2)
                    sampling[sample, region] = np.sqrt(own)
        return cls(n_effective, sampling, calibration)


def _flag_columns(
    x: Volume | Estimate, voxels: IndexArray, starts: IndexArray, n_samples: int
) -> str | list[str]:
    """Reasons and counts per row; one empty text when nothing is flagged anywhere."""
    if not isinstance(x, Estimate) or not x.flags.data.any():
        return ""
    planar = x.flags.planar
    return [
        _flag_counts(planar[sample, voxels[start:stop]])
        for sample in range(n_samples)
        for start, stop in pairwise(starts)
    ]


def _flag_counts(flags: npt.NDArray[np.uint16]) -> str:
    """Counts per reason such as ``INVALID_INPUT:12;AT_BOUND:3``, empty when nothing is flagged."""
    if not flags.any():
        return ""
    counts = {flag.name: int(np.count_nonzero(flags & flag.value)) for flag in Flag}
    return ";".join(f"{name}:{count}" for name, count in counts.items() if count)


def axis_labels(axes: Sequence[Axis]) -> list[tuple[str, float]]:
    """Axis name and value of each sample, the last axis slowest; the first axis names the value."""
    if not axes:
        return [("", float("nan"))]
    if len(axes) == 1:
        return [(axes[0].name, float(v)) for v in axes[0].values]
    outer = [
        ", ".join(
            f"{axis.name}={axis.values[place]:g} {axis.unit}"
            for axis, place in zip(axes[1:], places, strict=True)
        )
        for places in np.ndindex(*(len(axis) for axis in reversed(axes[1:])))
        for places in [places[::-1]]
    ]
    return [(f"{axes[0].name} at {label}", float(v)) for label in outer for v in axes[0].values]
