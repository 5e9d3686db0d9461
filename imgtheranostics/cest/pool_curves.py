"""Curves of pools: the spectrum of given parameters, each pool's line, and how alike the lines are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.cest.label_reference import PairKind, pair_contrast, rate_factor
from imgtheranostics.cest.pool_design import (
    LORENTZIAN,
    SUPER_LORENTZIAN,
    UNIDENTIFIABLE,
    WATER,
    Design,
    Pool,
)
from imgtheranostics.errors import IllConditioned
from imgtheranostics.fit import Fit

FloatArray = npt.NDArray[np.float64]

_END = "_amplitude"


@dataclass(frozen=True, eq=False)
class PoolCurves:
    """A spectrum and the lines that it is the baseline less the sum of.

    Attributes
    ----------
    offset_ppm : (m,) ndarray
    total : (..., m) ndarray
        Fitted Z.
    pools : mapping of str to (..., m) ndarray
        Depth of each line.
    baseline : (...) ndarray
    """

    offset_ppm: FloatArray
    total: FloatArray
    pools: Mapping[str, FloatArray]
    baseline: FloatArray

    def reference(self, name: str) -> FloatArray:
        """The spectrum without one pool, Z + L (..., m)."""
        return self.total + self.pools[name]


def evaluate(
    fitted: Fit | Mapping[str, npt.ArrayLike],
    offset_ppm: npt.ArrayLike,
    *,
    line_shapes: Mapping[str, str] | None = None,
    bandwidth_ppm: float | None = None,
) -> PoolCurves:
    """The curves of fitted or given parameters at any offsets.

    Parameters
    ----------
    fitted : Fit or mapping
        Result of `fit`, or parameters by its names, of any common leading shape. Where ``shift_ppm`` is
        among them, centres of pools other than water are relative to it.
    offset_ppm : (m,) array_like
        Offsets in ppm, any order.
    line_shapes : mapping of str to str, optional
        Line shape of each pool that is no Lorentzian, as in the fit.
    bandwidth_ppm : float, optional
        As in the fit.

    Returns
    -------
    PoolCurves
        NaN where a fit failed. A pool of amplitude 0 has a line of zeros, whatever its width.

    Raises
    ------
    ValueError
        If no pool's parameters are complete.
    """
    given = fitted.parameters if isinstance(fitted, Fit) else fitted
    values = {name: np.asarray(value, dtype=np.float64) for name, value in given.items()}
    names = [name[: -len(_END)] for name in values if name.endswith(_END)]
    wanted = ["baseline", *(f"{n}_{end}" for n in names for end in ("amplitude", "width_ppm", "centre_ppm"))]
    missing = [name for name in wanted if name not in values]
    if missing or not names:
        raise ValueError(f"the parameters of the pools are not complete: {', '.join(missing) or 'no pool'}")
    offsets = np.atleast_1d(np.asarray(offset_ppm, dtype=np.float64))
    shapes = dict(line_shapes or {})
    shift = values.get("shift_ppm")
    half_plateau = 0.0 if bandwidth_ppm is None else bandwidth_ppm / 2.0
    lines = {}
    for name in names:
        amplitude, width, centre = (
            values[f"{name}_{end}"] for end in ("amplitude", "width_ppm", "centre_ppm")
        )
        if shift is not None and name != WATER:
            centre = centre + shift
        shape = _shape(
            offsets, width[..., None], centre[..., None], shapes.get(name, LORENTZIAN), half_plateau
        )
        lines[name] = np.where(amplitude[..., None] == 0.0, 0.0, amplitude[..., None] * shape)
    baseline = values["baseline"]
    total = baseline[..., None] - np.sum(list(lines.values()), axis=0)
    return PoolCurves(offsets, np.asarray(total), lines, baseline)


def _shape(
    offsets: FloatArray, width: FloatArray, centre: FloatArray, shape: str, half_plateau: float
) -> FloatArray:
    """The line of height 1."""
    distance = offsets - centre
    if shape == SUPER_LORENTZIAN:
        return _super_lorentzian(distance, width / 2.0)
    distance = distance - np.clip(distance, -half_plateau, half_plateau)
    return np.asarray(1.0 / (1.0 + (2.0 * distance / width) ** 2))


def _super_lorentzian(distance: FloatArray, half_width: FloatArray) -> FloatArray:
    from imgtheranostics.kernels.pool_lines import super_lorentzian_line, super_lorentzian_table

    far, half = (np.array(part).ravel() for part in np.broadcast_arrays(distance, half_width))
    out = np.empty(far.size)
    super_lorentzian_line(far, half, super_lorentzian_table(), out)
    return out.reshape(np.broadcast_shapes(distance.shape, half_width.shape))


def reference(fitted: Fit, name: str, offset_ppm: npt.ArrayLike, **options: object) -> FloatArray:
    """The fitted spectrum as it would be without one pool, Z + L (..., m): the reference of its contrast.

    Parameters
    ----------
    fitted : Fit
        Result of `fit`.
    name : str
        The pool.
    offset_ppm : (m,) array_like
    **options
        `line_shapes`, `bandwidth_ppm` of `evaluate`.

    Raises
    ------
    ValueError
        If there is no such pool.
    """
    curves = evaluate(fitted, offset_ppm, **options)  # type: ignore[arg-type]
    if name not in curves.pools:
        raise ValueError(f"no pool is named {name!r}; there are {', '.join(curves.pools)}")
    return curves.reference(name)


def pool_contrast(
    fitted: Fit,
    name: str,
    at_ppm: npt.ArrayLike,
    *,
    kind: PairKind = "mtr_rex",
    t1_s: npt.ArrayLike | None = None,
    duty_cycle: float | None = None,
    line_shapes: Mapping[str, str] | None = None,
    bandwidth_ppm: float | None = None,
) -> FloatArray:
    """Contrast of one pool from a fit: the fitted spectrum against the same without the pool.

    Parameters
    ----------
    fitted : Fit
        Result of `fit`, arrays (...).
    name : str
        The pool.
    at_ppm : (m,) array_like
        Offsets in ppm.
    kind : {"mtr_rex", "arex", "mtr_norm_ref", "pcm", "mtr_asym"}
        Formula of label and reference, see `imgtheranostics.cest.contrast`; ``mtr_asym`` is their difference.
    t1_s, duty_cycle
        T1 of water in s, and duty cycle of the pulses, for ``arex``.
    line_shapes, bandwidth_ppm
        As in `evaluate`.

    Returns
    -------
    (..., m) ndarray
        As fraction, or 1/s for ``arex``. NaN where the fit failed or a signal that is divided by is not above
        zero.

    Raises
    ------
    ValueError
        If there is no such pool, or T1 is missing.
    """
    curves = evaluate(fitted, at_ppm, line_shapes=line_shapes, bandwidth_ppm=bandwidth_ppm)
    if name not in curves.pools:
        raise ValueError(f"no pool is named {name!r}; there are {', '.join(curves.pools)}")
    found = pair_contrast(kind, curves.total, curves.reference(name)).value
    if kind == "arex":
        found = found * rate_factor(t1_s, duty_cycle, curves.baseline.shape)[0]
    return np.asarray(found)


def _columns(
    offsets: FloatArray, pools: Sequence[Pool], bandwidth_ppm: float | None, shared_shift: bool
) -> tuple[tuple[str, ...], FloatArray]:
    """Names and effect of each fitted parameter at the starts, each scaled to unit length."""
    design = Design.of(pools, (1.0, 1.0, 1.0), shared_shift=shared_shift, bandwidth_ppm=bandwidth_ppm)
    free = [name for name, held in zip(design.names, design.held, strict=True) if not held]
    values = dict(zip(design.names, design.start, strict=True))
    if shared_shift:
        values["shift_ppm"] = values[f"{WATER}_centre_ppm"]
    shapes = {pool.name: pool.line_shape for pool in pools}

    def spectrum(name: str, change: float) -> FloatArray:
        moved = {**values, name: values[name] + change}
        for pool in pools:
            # what a pool without depth would change is told by its line
            depth = f"{pool.name}{_END}"
            moved[depth] = moved[depth] if moved[depth] != 0.0 else 1e-3
        if shared_shift and name == f"{WATER}_centre_ppm":
            moved["shift_ppm"] = moved[name]
        return evaluate(moved, offsets, line_shapes=shapes, bandwidth_ppm=bandwidth_ppm).total

    effects = []
    for name in free:
        step = 1e-4 * max(values[name], 0.1) if name.endswith("_ppm") else 1e-3
        effects.append((spectrum(name, step) - spectrum(name, -step)) / (2.0 * step))
    matrix = np.array(effects)
    return tuple(free), matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def condition_number(
    offset_ppm: npt.ArrayLike,
    pools: Sequence[Pool],
    *,
    parameters: str = "amplitudes",
    bandwidth_ppm: float | None = None,
    shared_shift: bool = False,
) -> float:
    """How alike the pools are at these offsets: condition number of what their parameters do to the spectrum.

    Parameters
    ----------
    offset_ppm : (n,) array_like
        Offsets of the measurement.
    pools : sequence of Pool
        Taken at their starts; parameters that are held do not count.
    parameters : {"amplitudes", "all"}
        The lines alone, or the effects of widths and centres with them; each is scaled to unit length. Some
        hundreds are usual for ``all``, whose unknowns all bend the same lines.
    bandwidth_ppm, shared_shift
        As in `fit`.

    Returns
    -------
    float
        1 for lines that do not overlap; infinite where two are the same.
    """
    names, effects = _columns(np.asarray(offset_ppm, np.float64), pools, bandwidth_ppm, shared_shift)
    if parameters not in ("amplitudes", "all"):
        raise ValueError(f"parameters must be 'amplitudes' or 'all', found {parameters!r}")
    chosen = [row for row, name in enumerate(names) if parameters == "all" or name.endswith(_END)]
    if not chosen:
        return 1.0
    sizes = np.linalg.svd(effects[chosen], compute_uv=False)
    return float(sizes[0] / sizes[-1]) if sizes[-1] > 1e-12 * sizes[0] else float("inf")


def mimics(
    offset_ppm: npt.ArrayLike, pools: Sequence[Pool], *, bandwidth_ppm: float | None = None
) -> dict[str, tuple[str, ...]]:
    """Which other pools imitate a pool's line: for each pool, those that its best imitation is made of.

    Empty for a pool of whose line, as far as it is its own, more than 1/50 is left by the others together.
    """
    names, effects = _columns(np.asarray(offset_ppm, np.float64), pools, bandwidth_ppm, False)
    rows = {name[: -len(_END)]: effects[i] for i, name in enumerate(names) if name.endswith(_END)}
    found: dict[str, tuple[str, ...]] = {}
    for name, own in rows.items():
        others = [other for other in rows if other != name]
        if not others:
            found[name] = ()
            continue
        basis = np.array([rows[other] for other in others]).T
        weights = np.linalg.lstsq(basis, own, rcond=None)[0]
        left = float(np.linalg.norm(own - basis @ weights))
        close = left < 1.0 / UNIDENTIFIABLE * np.sqrt(2.0)
        found[name] = tuple(o for o, w in zip(others, weights, strict=True) if close and abs(w) > 0.05)
    return found


def identifiable(
    offset_ppm: npt.ArrayLike,
    pools: Sequence[Pool],
    *,
    bandwidth_ppm: float | None = None,
    most: float = UNIDENTIFIABLE,
    refuse: bool = False,
) -> bool:
    """Whether the depths of the pools can be told apart at these offsets.

    Parameters
    ----------
    offset_ppm, pools, bandwidth_ppm
        As in `condition_number`.
    most : float
        Condition number of the lines above which they are unidentifiable.
    refuse : bool
        Raise instead of returning False.

    Raises
    ------
    IllConditioned
        With `refuse`, naming the pools that mimic each other.
    """
    condition = condition_number(offset_ppm, pools, bandwidth_ppm=bandwidth_ppm)
    if condition <= most:
        return True
    if refuse:
        alike = mimics(offset_ppm, pools, bandwidth_ppm=bandwidth_ppm)
        pairs = "; ".join(f"{name} by {', '.join(by)}" for name, by in alike.items() if by)
        raise IllConditioned(
            "these pools are not told apart by these offsets"
            + (f": the line of {pairs} is imitated" if pairs else ""),
            where="pools, offset_ppm",
            found=f"condition number {condition:.3g}",
            needed=f"at most {most:g}",
            next_step="leave one of them out, hold its amplitude, or measure offsets where they differ",
        )
    return False
