"""The input function of a perfusion analysis: a population's, a file's, an array's, or a vessel's."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imgtheranostics.errors import Caution, CorruptInput, MissingMetadata, NothingUsable, UnsupportedInput
from imgtheranostics.mapping.refusals import typed_refusals
from imgtheranostics.mri.methods import POPULATION_AIFS
from imgtheranostics.regions import Regions

FloatArray = npt.NDArray[np.float64]
Aif = str | Path | npt.ArrayLike | tuple[npt.ArrayLike, npt.ArrayLike] | Regions

HAEMATOCRIT = 0.42
"""Of people, where nobody states it (published default of a DCE tool; mri.md section 4.2)."""

_IN_PLASMA = ("weinmann",)
_TIMES = {"time_s": 1.0, "time_min": 60.0}
_VALUES = {"plasma_mm": "plasma", "blood_mm": "blood", "plasma_mmol_l": "plasma", "blood_mmol_l": "blood"}
_MOST_ROWS = 100_000


@dataclass(frozen=True, eq=False)
class PlasmaCurve:
    """An input function at the times of the images, or at closer ones of its own.

    Attributes
    ----------
    values : (k,) ndarray
        mmol/L, in whole blood where `haematocrit` is set, else in plasma.
    haematocrit : float or None
    shares_relaxivity : bool
        Whether it was made with the relaxivity of the tissue, whose uncertainty then cancels.
    decision : mapping
    warnings : tuple of Caution
    time_s : (k,) ndarray or None
        Times of the values; None for those of the images.
    """

    values: FloatArray
    haematocrit: float | None
    shares_relaxivity: bool
    decision: dict[str, Any]
    warnings: tuple[Caution, ...] = ()
    time_s: FloatArray | None = None


def population_curve(
    name: str, time_s: FloatArray, *, delay_s: float, haematocrit: float | None
) -> PlasmaCurve:
    """A population's input function; whole blood, but for those that were measured in plasma.

    It is known between the images too, so that slow images do not miss the bolus.
    """
    from imgtheranostics.mri.input_function import population_aif, population_times

    closer = population_times(time_s, delay_s)
    with typed_refusals():
        values = population_aif(name, closer, delay_s=delay_s)
    decision: dict[str, Any] = {"rule": f"population, {name}", "delay_s": float(delay_s)}
    if name in _IN_PLASMA:
        if haematocrit is not None:
            raise UnsupportedInput(
                f"the {name} curve was measured in plasma, so no haematocrit applies",
                where="--haematocrit (haematocrit=)",
                next_step="leave the haematocrit out",
            )
        return PlasmaCurve(values, None, False, {**decision, "compartment": "plasma"}, time_s=closer)
    warnings: tuple[Caution, ...] = ()
    if haematocrit is None:
        haematocrit = HAEMATOCRIT
        text = f"the haematocrit is not stated: {HAEMATOCRIT:g}, that of people, is assumed"
        warnings = (Caution("haematocrit-assumed", text, "--haematocrit"),)
    decision |= {"compartment": "whole blood", "haematocrit": haematocrit}
    return PlasmaCurve(values, haematocrit, False, decision, warnings, closer)


def measured_curve(
    time_s: npt.ArrayLike,
    values: npt.ArrayLike,
    at_s: FloatArray,
    *,
    haematocrit: float | None,
    compartment: str | None,
    rule: str,
    shares_relaxivity: bool = False,
) -> PlasmaCurve:
    """A measured curve at its own times, which must reach the last image: closer samples are not thinned out.

    Raises
    ------
    MissingMetadata
        If it is not stated whether the curve is of plasma, and no haematocrit is given either.
    """
    from imgtheranostics.mri.input_function import measured_aif

    with typed_refusals():
        measured_aif(values, time_s, at_s=at_s)
        curve = measured_aif(values, time_s)
    if haematocrit is None and compartment != "plasma":
        raise MissingMetadata(
            "the haematocrit is not stated; a curve of whole blood needs it",
            where="--haematocrit (haematocrit=)",
            needed="a fraction such as 0.42, or a curve of plasma",
            next_step="give --haematocrit, or name the column plasma_mm (compartment='plasma')",
        )
    if haematocrit is not None and compartment == "plasma":
        raise UnsupportedInput(
            "the curve is one of plasma, so no haematocrit applies",
            where="--haematocrit (haematocrit=)",
            next_step="leave the haematocrit out, or name the column blood_mm",
        )
    decision = {
        "rule": rule,
        "compartment": "plasma" if haematocrit is None else "whole blood",
        **({} if haematocrit is None else {"haematocrit": haematocrit}),
        "peak_mmol_l": float(curve.max()),
    }
    own = np.array(time_s, np.float64)
    return PlasmaCurve(curve, haematocrit, shares_relaxivity, decision, time_s=own)


def read_curve(path: Path | str) -> tuple[FloatArray, FloatArray, str]:
    """Time in s, concentration in mmol/L, and compartment of an input function in a text file.

    The file is separated by tabs or commas, with one heading of ``time_s`` or ``time_min`` and one of
    ``plasma_mm`` or ``blood_mm`` (mmol/L).

    Raises
    ------
    NothingUsable, CorruptInput
        If the file is not there, lacks a column, or holds what is no number.
    """
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NothingUsable(
            "the input function is neither a population's name nor a file that can be read",
            where=str(path),
            needed="one of " + ", ".join(POPULATION_AIFS) + ", or a table",
        ) from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    separator = "\t" if lines and "\t" in lines[0] else ","
    rows = list(csv.DictReader(lines[:_MOST_ROWS], delimiter=separator))
    headings = [name.strip().lower() for name in (rows[0] if rows else {}) if name]
    time_name = next((name for name in _TIMES if name in headings), None)
    value_name = next((name for name in _VALUES if name in headings), None)
    if time_name is None or value_name is None:
        raise CorruptInput(
            "the input function lacks a column",
            where=str(path),
            found=", ".join(headings) or "no rows",
            needed="time_s or time_min, and plasma_mm or blood_mm (mmol/L), in the first line",
        )
    try:
        plain = [{(name or "").strip().lower(): cell for name, cell in row.items()} for row in rows]
        time = np.array([float(row[time_name]) for row in plain]) * _TIMES[time_name]
        values = np.array([float(row[value_name]) for row in plain])
    except (TypeError, ValueError) as error:
        raise CorruptInput(
            "the input function holds what is no number", where=str(path), needed="numbers"
        ) from error
    return time, values, _VALUES[value_name]


def is_population(aif: Any) -> bool:
    """Whether an input function is the name of a population's."""
    return isinstance(aif, str) and aif in POPULATION_AIFS


def given_arrays(aif: Any, at_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Times and values of an input function that was given as arrays."""
    if isinstance(aif, tuple) and len(aif) == 2:
        return np.asarray(aif[0], np.float64), np.asarray(aif[1], np.float64)
    values = np.asarray(aif, np.float64)
    if values.shape != at_s.shape:
        raise UnsupportedInput(
            "the input function does not fit the series",
            found=f"{values.size} values",
            needed=f"one per image, {at_s.size}, or a pair of times and values",
        )
    return at_s, values
