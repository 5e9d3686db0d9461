"""The transmit field relative to nominal: a map, one number, or an uncertainty where nobody measured it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from imgtheranostics.errors import Caution
from imgtheranostics.mapping.field_ratio import relative_field
from imgtheranostics.volume import Estimate, Volume

Array = npt.NDArray[Any]

B1_RELATIVE_UNCERTAINTY = 0.2 / 3.0**0.5
"""Of a field that was not mapped: even between 0.8 and 1.2 of nominal (the sheet's range, unconfirmed)."""


@dataclass(frozen=True, eq=False)
class TransmitField:
    """The transmit field relative to nominal, or that it is not known.

    Attributes
    ----------
    ratio : (i, j, k) ndarray or None
    relative_uncertainty : float
        Of the ratio; what a fit without a map does not know.
    """

    ratio: Array | None
    relative_uncertainty: float
    decision: dict[str, Any]
    warnings: tuple[Caution, ...] = ()


def transmit_field(
    b1: Volume | Estimate | npt.ArrayLike | None,
    v: Volume,
    *,
    resample: bool = False,
    relative_uncertainty: float | None = None,
) -> TransmitField:
    """A transmit-field map on the grid of `v`, as a ratio to nominal.

    Parameters
    ----------
    b1 : Volume, Estimate, (i, j, k) array_like or float, optional
        Ratio or percent; a median above 10 counts as percent. The standard errors of an estimate are not
        carried on; `relative_uncertainty` states what the map does not know.
    v : Volume
    resample : bool
        Bring a map from another grid by linear interpolation.
    relative_uncertainty : float, optional
        Of an unmapped field, or of the map; by default `B1_RELATIVE_UNCERTAINTY` without a map, 0 with one.

    Raises
    ------
    GeometryMismatch
        If it lies on another grid and `resample` is not asked for.
    UnitMismatch, ImplausibleValue
        If it is no transmit-field map.
    """
    if b1 is None:
        spread = B1_RELATIVE_UNCERTAINTY if relative_uncertainty is None else relative_uncertainty
        if spread == 0:
            return TransmitField(None, 0.0, {"rule": "nominal", "explanation": "no map; nominal flip angles"})
        caution = Caution(
            "b1-not-mapped",
            "no transmit-field map was given: the flip angles are taken as nominal, and the standard error "
            f"contains {200 * spread:.0f} % for it, as T1 goes with the square of the field",
            "--b1",
        )
        explanation = f"no map; nominal flip angles, uncertain by {100 * spread:.1f} %"
        return TransmitField(None, spread, {"rule": "nominal", "explanation": explanation}, (caution,))
    spread = relative_uncertainty or 0.0
    found = relative_field(b1, v, resample=resample)
    decision = dict(found.decision)
    if decision["rule"] == "map":
        decision["explanation"] = "flip angles are multiplied by the map"
    return TransmitField(found.ratio, spread, decision, found.warnings)
