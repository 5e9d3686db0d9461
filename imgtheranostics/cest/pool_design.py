"""Pools as a fit takes them: lines with starts and bounds, checked, and their order in the fitting kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, ImplausibleValue

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]
Range = tuple[float, float, float]
"""Start, lowest and highest value; a parameter is held where the last two are the same."""

LORENTZIAN, SUPER_LORENTZIAN = "lorentzian", "super_lorentzian"
SHAPES = (LORENTZIAN, SUPER_LORENTZIAN)

WATER = "water"
"""Name of the pool whose centre is the shift of the field."""

LEAST_WIDTH_PPM = 0.02
"""No offsets are so close that a narrower line could be told from none; a lowest width of 0 means this."""

LEAST_SUPER_WIDTH_PPM = 2.0
"""A super-Lorentzian narrower than the range in which its pole is cut off has no shape left."""

MOST_POOLS = 12

UNIDENTIFIABLE = 50.0
"""Condition number of the lines above which pools are not told apart (cest.md, section 6)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One line of a Z-spectrum: its depth, width and centre, each as ``(start, low, high)``.

    A parameter with ``low == high`` is held there. A start outside its bounds is moved to the nearer bound,
    which `start_cautions` tells.

    Attributes
    ----------
    name : str
        Becomes part of the parameters' names; ``water`` is the pool that the field's shift is taken from.
    amplitude : (float, float, float)
        Depth at the centre as a fraction of the unsaturated signal; negative only where the bounds allow it.
    width_ppm : (float, float, float)
        Full width at half maximum in ppm. For a super-Lorentzian 1/(pi T2 FREQ) with FREQ in MHz: the width
        of the Lorentzian of the same T2, since the line itself has a pole.
    centre_ppm : (float, float, float)
        Position in ppm, downfield positive; of pools other than water relative to water where the shift is
        shared.
    line_shape : {"lorentzian", "super_lorentzian"}

    Raises
    ------
    ValueError
        If a range is none, or a width or shape is not possible.
    ImplausibleValue
        If a centre or width looks like Hz.
    """

    name: str
    amplitude: Range
    width_ppm: Range
    centre_ppm: Range
    line_shape: str = LORENTZIAN

    def __post_init__(self) -> None:
        if not self.name or not self.name.isidentifier():
            raise ValueError(f"a pool's name becomes part of a parameter's name, found {self.name!r}")
        for field in ("amplitude", "width_ppm", "centre_ppm"):
            object.__setattr__(self, field, checked_range(getattr(self, field), f"{self.name}: {field}"))
        if self.line_shape not in SHAPES:
            raise ValueError(
                f"unknown line shape {self.line_shape!r} of {self.name}; there are {', '.join(SHAPES)}"
            )
        if self.width_ppm[1] < 0.0 or self.width_ppm[2] <= 0.0:
            raise ValueError(f"{self.name}: a width is above zero, found bounds {self.width_ppm[1:]}")
        if self.line_shape == SUPER_LORENTZIAN and self.width_ppm[1] < LEAST_SUPER_WIDTH_PPM:
            raise ValueError(
                f"{self.name}: the width of a super-Lorentzian is at least {LEAST_SUPER_WIDTH_PPM:g} ppm, "
                f"found {self.width_ppm[1]:g}"
            )
        if max(abs(self.centre_ppm[1]), abs(self.centre_ppm[2])) > 100.0 or self.width_ppm[2] > 1e4:
            raise ImplausibleValue(
                f"the line of {self.name} is not one in ppm",
                where="centre_ppm, width_ppm",
                found=f"centres {self.centre_ppm[1:]}, widths {self.width_ppm[1:]}",
                needed="centres within 100 ppm of water",
                next_step="divide Hz by the imaging frequency in MHz",
            )

    @property
    def ranges(self) -> dict[str, Range]:
        """The three ranges by the end of the parameter's name."""
        return {
            "amplitude": self.amplitude,
            "width_ppm": (self.width_ppm[0], max(self.width_ppm[1], LEAST_WIDTH_PPM), self.width_ppm[2]),
            "centre_ppm": self.centre_ppm,
        }

    def with_(self, **changes: Range | str) -> Pool:
        """The same pool with other ranges, name or shape."""
        return replace(self, **changes)  # type: ignore[arg-type]


def checked_range(values: Sequence[float], name: str) -> Range:
    """Start, low and high as floats.

    Raises
    ------
    ValueError
        If they are not three finite numbers, or the bounds are the wrong way round.
    """
    try:
        start, low, high = (float(value) for value in values)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be (start, low, high), found {values!r}") from None
    if not np.isfinite([start, low, high]).all() or low > high:
        raise ValueError(f"{name} needs finite numbers with low <= high, found {(start, low, high)}")
    return start, low, high


def start_cautions(pools: Sequence[Pool], baseline: Range = (1.0, 1.0, 1.0)) -> tuple[Caution, ...]:
    """Which starts lie outside their own bounds, and where the fit begins instead."""
    found = []
    named = {f"{p.name}_{end}": values for p in pools for end, values in p.ranges.items()}
    for name, (start, low, high) in {**named, "baseline": checked_range(baseline, "baseline")}.items():
        if not low <= start <= high:
            found.append(
                Caution(
                    "start-clamped",
                    f"the start {start:g} of {name} lies outside its bounds {low:g} to {high:g}; "
                    f"the fit begins at {min(max(start, low), high):g}",
                    name,
                )
            )
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Design:
    """Pools in the order of the kernel: baseline, amplitudes, then width and centre of each pool.

    Attributes
    ----------
    names : tuple of str
        Of all 3 k + 1 parameters.
    start, lower, upper : (3 k + 1,) ndarray
    shapes : (k,) ndarray of int
    water : int
        Which pool is water, -1 for none.
    shared : bool
        Whether the other centres are relative to that of water.
    half_plateau_ppm : float
    """

    names: tuple[str, ...]
    start: FloatArray
    lower: FloatArray
    upper: FloatArray
    shapes: IndexArray
    water: int
    shared: bool
    half_plateau_ppm: float

    @classmethod
    def of(
        cls,
        pools: Sequence[Pool],
        baseline: Range,
        *,
        shared_shift: bool = False,
        bandwidth_ppm: float | None = None,
    ) -> Design:
        """Check pools together.

        Raises
        ------
        ValueError
            If there are none or too many, two have the same name, or a shared shift has no water.
        """
        pools = tuple(pools)
        if not 1 <= len(pools) <= MOST_POOLS or not all(isinstance(pool, Pool) for pool in pools):
            raise ValueError(f"pools must be a list of 1 to {MOST_POOLS} Pool, found {len(pools)}")
        names = [pool.name for pool in pools]
        if len(set(names)) < len(names):
            raise ValueError(f"two pools have the same name: {', '.join(names)}")
        water = names.index(WATER) if WATER in names else -1
        if shared_shift and water < 0:
            raise ValueError(f"a shared shift is that of a pool named {WATER}, found {', '.join(names)}")
        width = 0.0 if bandwidth_ppm is None else float(bandwidth_ppm)
        if not 0.0 <= width <= 10.0:
            raise ValueError(f"bandwidth_ppm must be 1/(pulse duration x MHz), 0 to 10 ppm, found {width:g}")
        ranges = {"baseline": checked_range(baseline, "baseline")}
        ranges |= {f"{pool.name}_amplitude": pool.amplitude for pool in pools}
        for pool in pools:
            ranges |= {f"{pool.name}_{end}": pool.ranges[end] for end in ("width_ppm", "centre_ppm")}
        start, lower, upper = (np.array(column) for column in zip(*ranges.values(), strict=True))
        shapes = np.array([SHAPES.index(pool.line_shape) for pool in pools], np.int64)
        start = np.clip(start, lower, upper)
        return cls(tuple(ranges), start, lower, upper, shapes, water, shared_shift, width / 2.0)

    @property
    def n_pools(self) -> int:
        """How many pools there are."""
        return len(self.shapes)

    @property
    def held(self) -> npt.NDArray[np.bool_]:
        """Which parameters are held."""
        return self.lower >= self.upper

    @property
    def n_free(self) -> int:
        """How many parameters are fitted."""
        return int((~self.held).sum())

    @property
    def active(self) -> IndexArray:
        """Widths and centres with an effect of their own in the kernel: not held, or tied to water's."""
        first = 1 + self.n_pools
        moves = ~self.held
        if self.shared and moves[first + 2 * self.water + 1]:
            moves = moves.copy()
            moves[first + 1 :: 2] = True
        return np.flatnonzero(moves[first:]).astype(np.int64) + first

    @property
    def row_of(self) -> IndexArray:
        """Row of each parameter among the unknowns of the kernel, -1 for none."""
        rows = np.full(self.start.size, -1, np.int64)
        rows[: 1 + self.n_pools] = np.arange(1 + self.n_pools)
        rows[self.active] = np.arange(self.active.size) + 1 + self.n_pools
        return rows

    @property
    def damping_weights(self) -> FloatArray:
        """Depths and baseline are linear: their part of a step is not damped."""
        return np.repeat([0.0, 1.0], [1 + self.n_pools, self.active.size])
