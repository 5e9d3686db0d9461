"""Keywords that only some ways to a result take: those given, and a refusal of those given in vain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that differ from their defaults.

    >>> given_options({"n_coils": 1, "threshold": 20.0, "register": False})
    {'threshold': 20.0}
    """
    return {name: value for name, value in options.items() if not _is_default(name, value)}


def _is_default(name: str, value: Any) -> bool:
    default = _DEFAULTS.get(name)
    if value is None or value is False:
        return True
    return isinstance(default, (int, float)) and isinstance(value, (int, float)) and value == default
