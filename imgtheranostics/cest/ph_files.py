"""Calibrations of pH as small JSON files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtheranostics.cest.ph_conditions import Conditions
from imgtheranostics.errors import Caution, CorruptInput, ImplausibleValue, NothingUsable, UnsupportedInput

if TYPE_CHECKING:
    from imgtheranostics.cest.ph_calibration import Calibration
    from imgtheranostics.cest.ph_polynomial import Curve

FORMAT, VERSION = "imgtheranostics-ph-calibration", 1

LARGEST_BYTES = 1 << 20
"""A calibration takes a few kB."""


def save_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write a calibration; see `Calibration.save`."""
    from imgtheranostics.io.atomic import write_text

    curve = calibration.curve
    content = {
        "format": FORMAT,
        "version": VERSION,
        "coefficients": curve.coefficients.tolist(),
        "covariance": [[_plain(v) for v in row] for row in curve.covariance.tolist()],
        "logarithmic": curve.logarithmic,
        "inverse": curve.inverse,
        "centre": curve.centre,
        "half_span": curve.half_span,
        "residual_sd": _plain(curve.residual_sd),
        "left_out": _plain(curve.left_out),
        "ph_range": list(calibration.range),
        "ratio_range": list(calibration.ratio_range),
        "ambiguous": [list(one) for one in calibration.ambiguous],
        "n_points": calibration.n_points,
        "unknown_ph": calibration.unknown_ph,
        "conditions": calibration.conditions.as_dict(),
        "warnings": [
            {"code": caution.code, "message": caution.message, "where": caution.where}
            for caution in calibration.warnings
        ],
    }
    write_text(Path(path), json.dumps(content, indent=1, allow_nan=False) + "\n")


def load_calibration(path: str | Path) -> Calibration:
    """Read a calibration that `Calibration.save` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Calibration

    Raises
    ------
    NothingUsable
        If there is no such file.
    UnsupportedInput
        If it is another kind of file, or of a later version.
    CorruptInput
        If its numbers do not fit together.
    """
    place = Path(path)
    content = _read(place)
    if content.get("format") != FORMAT:
        raise UnsupportedInput(
            "this is no calibration of pH",
            where=place.name,
            found=f"format {content.get('format')!r}",
            needed=FORMAT,
            next_step="give a file that Calibration.save wrote",
        )
    if content.get("version") != VERSION:
        raise UnsupportedInput(
            "the calibration is of another version of this file",
            where=place.name,
            found=f"version {content.get('version')!r}",
            needed=str(VERSION),
            next_step="calibrate again",
        )
    try:
        return _restored(content)
    except (KeyError, TypeError, ValueError, ImplausibleValue) as error:
        raise CorruptInput(
            "the calibration of pH does not make sense",
            where=place.name,
            found=f"{type(error).__name__}: {error}",
            next_step="calibrate again",
        ) from error


def _read(place: Path) -> dict[str, Any]:
    try:
        if place.stat().st_size > LARGEST_BYTES:
            raise UnsupportedInput("the file is too large for a calibration of pH", where=place.name)
        content = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise NothingUsable(
            "the calibration of pH cannot be read", where=str(place), found=error.strerror
        ) from error
    except ValueError as error:
        raise CorruptInput("the calibration of pH is not valid JSON", where=place.name) from error
    if not isinstance(content, dict):
        raise UnsupportedInput("this is no calibration of pH", where=place.name, needed="a JSON object")
    return content


def _restored(content: dict[str, Any]) -> Calibration:
    from imgtheranostics.cest.ph_calibration import Calibration

    low, high = (float(v) for v in content["ratio_range"])
    lowest, highest = (float(v) for v in content["ph_range"])
    curve = _curve(content)
    if not np.isfinite([low, high, lowest, highest]).all() or not (low < high and lowest < highest):
        raise ValueError("a range is empty, or a number is not finite")
    twice = tuple((float(first), float(last)) for first, last in content.get("ambiguous", []))
    if any(not low <= first <= last <= high for first, last in twice):
        raise ValueError("ratios of two pH lie outside the range")
    unknown = float(content.get("unknown_ph", 0.0))
    if not 0.0 <= unknown < np.inf:
        raise ValueError("what is not known of the curve is no size")
    if curve.logarithmic and low <= 0:
        raise ValueError("a ratio of the range has no logarithm")
    return Calibration(
        curve,
        (lowest, highest),
        (low, high),
        int(content["n_points"]),
        Conditions(**content["conditions"]),
        tuple(Caution(**caution) for caution in content["warnings"]),
        unknown,
        twice,
    )


def _curve(content: dict[str, Any]) -> Curve:
    from imgtheranostics.cest.ph_polynomial import Curve, turning_places

    coefficients = np.array(content["coefficients"], np.float64)
    covariance = np.array([[_number(v) for v in row] for row in content["covariance"]], np.float64)
    half_span, centre = float(content["half_span"]), float(content["centre"])
    size = coefficients.size
    if coefficients.ndim != 1 or size < 2 or covariance.shape != (size, size):
        raise ValueError(f"{size} coefficients and a covariance of shape {covariance.shape}")
    if not np.isfinite([*coefficients, half_span, centre]).all() or half_span <= 0:
        raise ValueError("a coefficient is not finite")
    if turning_places(coefficients).size:
        raise ValueError("the polynomial is not one to one on its range")
    return Curve(
        coefficients,
        covariance,
        bool(content["logarithmic"]),
        bool(content["inverse"]),
        centre,
        half_span,
        _number(content["residual_sd"]),
        _number(content["left_out"]),
    )


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
