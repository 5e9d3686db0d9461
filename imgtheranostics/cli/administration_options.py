"""Options that say what was injected, when and into whom, where the file does not or is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from imgtheranostics.nuclear.administration import Administration

Dose = Annotated[
    str | None, typer.Option("--dose", help="Activity in the syringe with its unit, such as 400MBq or 10mCi.")
]
InjectedAt = Annotated[
    str | None,
    typer.Option(
        "--injected-at", help="Injection: 2022-03-01T09:30, with +01:00 for a time zone, or a time of day."
    ),
]
Delay = Annotated[
    str | None,
    typer.Option(
        "--delay", help="Time from injection to the start of the scan, such as 60min, when no clock is known."
    ),
]
Residual = Annotated[
    str | None, typer.Option("--residual", help="Activity left in the syringe, such as 3MBq.")
]
ResidualAt = Annotated[
    str | None, typer.Option("--residual-at", help="When the residual was measured; default: at injection.")
]
Infiltrated = Annotated[
    str | None,
    typer.Option("--infiltrated", help="Activity at the injection site, decay-corrected to injection."),
]
DoseUncertainty = Annotated[
    float | None,
    typer.Option(
        "--dose-uncertainty", min=0.0, max=1.0, help="Relative standard uncertainty (default 0.05)."
    ),
]
Nuclide = Annotated[str | None, typer.Option("--nuclide", help="Such as F-18 or Cu-64.")]
WeightKg = Annotated[float | None, typer.Option("--weight-kg", help="Body weight in kg (a mouse: 0.02).")]
HeightM = Annotated[float | None, typer.Option("--height-m", help="Height in m.")]
Sex = Annotated[str | None, typer.Option("--sex", help="M, F or O.")]


@dataclass(frozen=True)
class Administered:
    """What was injected, when, and into whom."""

    dose: Dose = None
    injected_at: InjectedAt = None
    delay: Delay = None
    residual: Residual = None
    residual_at: ResidualAt = None
    infiltrated: Infiltrated = None
    dose_uncertainty: DoseUncertainty = None
    nuclide: Nuclide = None
    weight_kg: WeightKg = None
    height_m: HeightM = None
    sex: Sex = None

    def administration(self) -> Administration | None:
        """As the options describe it, or None when the file's own shall be used."""
        return build(**asdict(self))


def parse_amount(text: str | None, option: str, unit: str, example: str) -> float | None:
    """A number with its unit, converted to `unit`; a usage error when the unit is missing or unknown."""
    from imgtheranostics.errors import UnitMismatch
    from imgtheranostics.units import parse_amount as amount

    if text is None:
        return None
    try:
        return amount(text, unit)
    except UnitMismatch as error:
        raise typer.BadParameter(f"{error.what}; write it like {example}", param_hint=option) from error


def parse_moment(text: str | None, option: str) -> datetime | time | None:
    """An ISO 8601 date and time with or without an offset from UTC, or a time of day."""
    if text is None:
        return None
    for parse in (time.fromisoformat, datetime.fromisoformat):
        try:
            return parse(text)
        except ValueError:
            continue
    raise typer.BadParameter(f"{text!r} is not like 2022-03-01T09:30 or 09:30", param_hint=option)


def build(
    *,
    dose: str | None,
    injected_at: str | None,
    delay: str | None,
    residual: str | None,
    residual_at: str | None,
    infiltrated: str | None,
    dose_uncertainty: float | None,
    nuclide: str | None,
    weight_kg: float | None,
    height_m: float | None,
    sex: str | None,
) -> Administration | None:
    """The administration that the options describe, or None when the file's own shall be used."""
    if injected_at is not None and delay is not None:
        raise typer.BadParameter("give --injected-at or --delay, not both", param_hint="--delay")
    activity = parse_amount(dose, "--dose", "Bq", "400MBq")
    at = parse_moment(injected_at, "--injected-at") or parse_amount(delay, "--delay", "s", "60min")
    given: dict[str, Any] = {
        "residual_bq": parse_amount(residual, "--residual", "Bq", "3MBq"),
        "residual_at": parse_moment(residual_at, "--residual-at"),
        "infiltrated_bq": parse_amount(infiltrated, "--infiltrated", "Bq", "1MBq"),
        "relative_uncertainty": dose_uncertainty,
        "nuclide": nuclide,
        "weight_kg": weight_kg,
        "height_m": height_m,
        "sex": sex.upper() if sex else None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if activity is None and at is None and not given:
        return None
    from imgtheranostics.nuclear.administration import Administration

    return Administration(activity, at, **given)
