"""Options that say how a gamma camera's counts become activity."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgtheranostics.cli import options
from imgtheranostics.cli.administration_options import parse_amount
from imgtheranostics.cli.groups import refuse_given

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
    str | None,
    typer.Option(
        "--dead-time", help="Of one detector after an event, with its unit, such as 5us (default: none)."
    ),
]
DeadTimeModel = Annotated[
    str | None,
    typer.Option(
        "--dead-time-model",
        click_type=options.choice(("non-paralysable", "paralysable")),
        help="Whether an event that is lost prolongs the dead time (paralysable) or not (default).",
    ),
]
DeadTimeUncertainty = Annotated[
    str | None,
    typer.Option(
        "--dead-time-uncertainty", help="Standard error of the dead time, such as 0.3us (default 0)."
    ),
]
CountRate = Annotated[
    float | None,
    typer.Option(
        "--count-rate-cps",
        min=1e-6,
        help="Counts/s that one detector saw at all energies, for the dead time; default: the total of the "
        "image over the counting time.",
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        "--window",
        help="Which energy window of a gamma camera, where there are several: an energy in it, such as 140, "
        "or its limits, such as 126-154; keV.",
    ),
]

NAMES = (
    "sensitivity_cps_mbq", "sensitivity_uncertainty", "counting_time_s", "dead_time", "dead_time_model",
    "dead_time_uncertainty", "count_rate_cps",
)  # fmt: skip
"""Parameters of a command that takes these options."""


@dataclass(frozen=True)
class Calibrated:
    """Which counts of a gamma camera, and how they become activity."""

    sensitivity_cps_mbq: Sensitivity = None
    sensitivity_uncertainty: SensitivityUncertainty = None
    counting_time_s: CountingTime = None
    dead_time: DeadTime = None
    dead_time_model: DeadTimeModel = None
    dead_time_uncertainty: DeadTimeUncertainty = None
    count_rate_cps: CountRate = None
    window: Window = None

    def energies(self) -> float | tuple[float, float] | None:
        """The energy window to load, as `imgtheranostics.load` takes it."""
        return window_choice(self.window)

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
    tau = parse_amount(given.get("dead_time"), "--dead-time", "s", "5us")
    error = parse_amount(given.get("dead_time_uncertainty"), "--dead-time-uncertainty", "s", "0.3us")
    rest = ("dead_time_model", "dead_time_uncertainty", "count_rate_cps")
    if tau is None:
        refuse_given(
            {"--" + name.replace("_", "-"): given.get(name) for name in rest}, "it needs --dead-time too"
        )
    from imgtheranostics.nuclear.calibration import DEFAULT_RELATIVE_UNCERTAINTY, Calibration

    uncertainty = given.get("sensitivity_uncertainty")
    return Calibration(
        sensitivity,
        DEFAULT_RELATIVE_UNCERTAINTY if uncertainty is None else uncertainty,
        given.get("counting_time_s"),
        tau or 0.0,
        given.get("dead_time_model") or "non_paralysable",
        error or 0.0,
        given.get("count_rate_cps"),
    )


def window_choice(text: str | None) -> float | tuple[float, float] | None:
    """An energy, or the limits of a window, keV; a usage error where the text is neither.

    >>> window_choice("126-154 keV"), window_choice("140.5")
    ((126.0, 154.0), 140.5)
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+\.?\d*)\s*(?:-\s*(\d+\.?\d*)\s*)?(?:keV)?\s*", text, re.IGNORECASE)
    if match is None or not float(match[1]) > 0 or not float(match[1]) < float(match[2] or "inf"):
        raise typer.BadParameter(
            f"{text!r} is no energy in keV, such as 140, and no window, such as 126-154",
            param_hint="--window",
        )
    return float(match[1]) if match[2] is None else (float(match[1]), float(match[2]))
