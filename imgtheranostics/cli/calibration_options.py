"""Options that say how a gamma camera's counts become activity."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from imgtheranostics.nuclear.calibration import Calibration

Sensitivity = Annotated[
    float | None,
    typer.Option(
        "--sensitivity-cps-mbq",
        help="Counts/s per MBq of the reconstructed image, for counts without a scale.",
    ),
]
SensitivityUncertainty = Annotated[
    float | None,
    typer.Option(
        "--sensitivity-uncertainty", min=0.0, max=0.99, help="Relative standard uncertainty (default 0.05)."
    ),
]
CountingTime = Annotated[
    float | None,
    typer.Option(
        "--counting-time-s", help="Time that the camera counted, all views together; default: the file's."
    ),
]
DeadTime = Annotated[
    float | None, typer.Option("--dead-time-us", min=0.0, help="Of a non-paralysable camera (default 0).")
]

NAMES = ("sensitivity_cps_mbq", "sensitivity_uncertainty", "counting_time_s", "dead_time_us")
"""Parameters of a command that takes these options."""


@dataclass(frozen=True)
class Calibrated:
    """How counts become activity."""

    sensitivity_cps_mbq: Sensitivity = None
    sensitivity_uncertainty: SensitivityUncertainty = None
    counting_time_s: CountingTime = None
    dead_time_us: DeadTime = None

    def calibration(self) -> Calibration | None:
        """As the options describe it, or None when no sensitivity is given."""
        return build(asdict(self))


def build(given: dict[str, Any]) -> Calibration | None:
    """The calibration that the options describe, or None when no sensitivity is given."""
    sensitivity = given.get("sensitivity_cps_mbq")
    others = [name for name in NAMES[1:] if given.get(name) is not None]
    if sensitivity is None:
        if others:
            option = "--" + others[0].replace("_", "-")
            raise typer.BadParameter("it needs --sensitivity-cps-mbq too", param_hint=option)
        return None
    from imgtheranostics.nuclear.calibration import DEFAULT_RELATIVE_UNCERTAINTY, Calibration

    uncertainty = given.get("sensitivity_uncertainty")
    return Calibration(
        sensitivity,
        DEFAULT_RELATIVE_UNCERTAINTY if uncertainty is None else uncertainty,
        given.get("counting_time_s"),
        (given.get("dead_time_us") or 0.0) * 1e-6,
    )
