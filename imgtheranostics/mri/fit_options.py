"""Keywords that only some ways to a result take: those given, and a refusal of those given in vain."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from imgtheranostics.mri.methods import UnknownChoice

_SERIES = frozenset(("threshold", "noise_sd", "n_coils", "motion_correct", "workers"))
_FIELD = frozenset(("b1", "resample_b1"))

FIT_OPTIONS: dict[str, frozenset[str]] = {
    "r1": _SERIES | _FIELD | {"method", "b1_relative_uncertainty", "repetition_time_s"},
    "r2": _SERIES | _FIELD | {"model", "drop_first", "refocusing_angle_deg", "t1_s"},
    "r2star": _SERIES | {"model"},
}
"""What the fit of a series to each rate takes."""

SIGNAL_OPTIONS = (
    _SERIES
    | _FIELD
    | {"t1", "baseline", "flip_angle_deg", "repetition_time_s", "echo_time_s", "with_decay", "register"}
)
"""What the conversion of spoiled gradient echoes takes."""

_DEFAULTS: dict[str, Any] = {"n_coils": 1, "refocusing_angle_deg": 180.0, "t1_s": 1.0}
_DOES_NOT_MATTER = frozenset(("workers",))


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that differ from their defaults.

    >>> given_options({"n_coils": 1, "threshold": 20.0, "register": False})
    {'threshold': 20.0}
    """
    return {name: value for name, value in options.items() if not _is_default(name, value)}


def applicable(given: Mapping[str, Any], allowed: Collection[str], purpose: str) -> dict[str, Any]:
    """The options, once it is certain that each of them matters.

    Raises
    ------
    UnknownChoice
        If one was given that this way does not take: it would be ignored.
    """
    vain = [name for name in given if name not in allowed and name not in _DOES_NOT_MATTER]
    if vain:
        names = ", ".join(f"{name}= (--{name.replace('_', '-')})" for name in vain)
        raise UnknownChoice(f"{names} {'do' if len(vain) > 1 else 'does'} not apply to {purpose}")
    return {name: value for name, value in given.items() if name in allowed}


def _is_default(name: str, value: Any) -> bool:
    default = _DEFAULTS.get(name)
    if value is None or value is False:
        return True
    return isinstance(default, (int, float)) and isinstance(value, (int, float)) and value == default
