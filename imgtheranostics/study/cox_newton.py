"""Coefficients of a Cox model by Newton's method: for hundreds of refits of one bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imgtheranostics.study.samples import DoubleArray

_MOST_STEPS = 30
_HALVINGS = 12


def newton_coefficients(
    design: DoubleArray, time: DoubleArray, event: npt.NDArray[np.bool_], *, steepest: float = 12.0
) -> DoubleArray | None:
    """Coefficients of the partial likelihood, ties by Efron; the standard errors are not computed.

    Parameters
    ----------
    design : (n, p) ndarray
        About standardised columns.
    time : (n,) ndarray
    event : (n,) ndarray of bool
    steepest : float
        A coefficient beyond this is no estimate.

    Returns
    -------
    (p,) ndarray or None
        None where the likelihood has no maximum.

    References
    ----------
    .. [1] Efron, J. Am. Stat. Assoc. 72 (1977) 557.
    """
    model = _Partial.of(design, time, event)
    beta = np.zeros(design.shape[1])
    value, gradient, information = model.at(beta)
    for _ in range(_MOST_STEPS):
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        for _ in range(_HALVINGS):
            found = model.at(beta + step)
            if found[0] >= value - 1e-12 * abs(value):
                break
            step = step / 2.0
        beta, (value, gradient, information) = beta + step, found
        if np.abs(beta).max() > steepest:
            return None
        if np.abs(step).max() < 1e-9:
            return np.asarray(beta)
    return None


@dataclass(frozen=True, eq=False)
class _Partial:
    """Subjects, the latest first, with those at risk at each event.

    Attributes
    ----------
    design : (n, p) ndarray
    events : (d,) ndarray of int
        Subjects with events.
    last : (d,) ndarray of int
        The last subject at risk at the time of each.
    before, until : (d,) ndarray of int
        The events of its time, as a range among all.
    share : (d,) ndarray
        Which part of the risk of these is left out for it: 0, 1/m ... of m events at one time.
    """

    design: DoubleArray
    events: npt.NDArray[np.intp]
    last: npt.NDArray[np.intp]
    before: npt.NDArray[np.intp]
    until: npt.NDArray[np.intp]
    share: DoubleArray

    @classmethod
    def of(cls, design: DoubleArray, time: DoubleArray, event: npt.NDArray[np.bool_]) -> _Partial:
        order = np.argsort(-time, kind="stable")
        backward, seen = -time[order], event[order]
        events = np.flatnonzero(seen)
        moments = backward[events]
        before, until = (np.searchsorted(moments, moments, side) for side in ("left", "right"))
        return cls(
            design[order],
            events,
            np.searchsorted(backward, moments, "right") - 1,
            before,
            until,
            (np.arange(events.size) - before) / (until - before),
        )

    def at(self, beta: DoubleArray) -> tuple[float, DoubleArray, DoubleArray]:
        """Logarithm of the partial likelihood, its gradient, and its information matrix."""
        linear = self.design @ beta
        risk = np.exp(linear - linear.max())
        first = self.design * risk[:, None]
        second = first[:, :, None] * self.design[:, None, :]
        weight, mean, square = (self._at_risk(one) for one in (risk, first, second))
        mean, square = mean / weight[:, None], square / weight[:, None, None]
        value = float(np.sum(linear[self.events] - linear.max() - np.log(weight)))
        gradient = np.sum(self.design[self.events] - mean, axis=0)
        information = np.sum(square - mean[:, :, None] * mean[:, None, :], axis=0)
        return value, np.asarray(gradient), np.asarray(information)

    def _at_risk(self, values: DoubleArray) -> DoubleArray:
        """Sums over those at risk at each event, less the part of those with events at its time."""
        whole = np.cumsum(values, axis=0)[self.last]
        tied = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values[self.events], axis=0)])
        share = self.share.reshape(-1, *(1,) * (values.ndim - 1))
        return np.asarray(whole - share * (tied[self.until] - tied[self.before]))
